#!/usr/bin/env python3
"""Goal: what real clients send to the ways in is there for the next query, exactly, and outlives a kill -9.

Method: `apus up` is fed by curl (exposition text), a real Prometheus (remote write), InfluxDB's Python client (line
protocol) and OpenTelemetry's SDK (OTLP); the REST API is asked right behind each answer and compared with what was sent,
for Prometheus with what Prometheus itself says. Then requests of all kinds go on until the process is killed in the
middle; after a restart everything that was answered is there. At last `apus api` takes in for a broker and a collector
in processes of their own.
"""

import gzip
import http.server
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

from _harness import ROOT, check, equal, eventually, free_ports, main, number, sample_key, say

VENV = os.path.join(ROOT, ".venv", "bin", "python")
try:
    import influxdb_client
    from influxdb_client.client.write_api import SYNCHRONOUS
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.metrics import Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
except ImportError:
    # The clients lie in the checkout's own environment (scripts/bootstrap --test).
    if os.access(VENV, os.X_OK) and not sys.prefix.startswith(os.path.join(ROOT, ".venv")):
        os.execv(VENV, [VENV, *sys.argv])
    print("the clients are not there; install them with: scripts/bootstrap --test", file=sys.stderr)
    sys.exit(69)

METRICS = [f"DCGM_FI_DEV_TEST_{number}" for number in range(10)]


def telemetry(api, uuid, **parameters):
    query = urllib.parse.urlencode({"limit": 10000, "start_time": 0, **parameters})
    return api.all_pages(f"/api/v1/gpus/{uuid}/telemetry?{query}")


def found(api, uuid):
    """The samples of a GPU: value by time and metric."""
    return {
        (milliseconds, metric): number(row["value"])
        for row in telemetry(api, uuid)
        for milliseconds, _, metric in [sample_key(row)]
    }


def page(host, gpus, milliseconds, samples):
    """A page of exposition text; what it says is added to `samples` by GPU."""
    lines = []
    for metric in METRICS:
        lines.append(f"# TYPE {metric} gauge")
        for gpu in range(gpus):
            uuid = f"GPU-{host}-{gpu}"
            value = random.choice([random.randint(0, 100), round(random.gauss(300, 12), 2), random.random() * 1e12])
            samples.setdefault(uuid, {})[(milliseconds, metric)] = float(value)
            lines.append(f'{metric}{{gpu="{gpu}",UUID="{uuid}",Hostname="{host}"}} {value!r} {milliseconds}')
    return "\n".join(lines) + "\n"


def compare(api, samples, what):
    for uuid, wanted in samples.items():
        equal(found(api, uuid), wanted, f"the samples of {uuid} ({what})")


def curl(bench, api, path, body, *arguments):
    """Sends a body with curl; returns the status and what was answered."""
    name = bench.path("body")
    with open(name, "wb") as file:
        file.write(body)
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", "--data-binary", f"@{name}", "--write-out", "\n%{http_code}",
         *arguments, f"http://{api.host}:{api.port}{path}"], capture_output=True, check=True, timeout=90)
    answer, _, status = done.stdout.decode().rpartition("\n")
    return int(status), answer


def text_by_curl(bench, api):
    samples = {}
    now = int(time.time() * 1000)
    for instant in range(5):
        status, answer = curl(bench, api, "/api/v1/import/prometheus",
                              page("curl-a", 4, now - 50_000 + instant * 10_000, samples).encode())
        equal(status, 204, f"the status of a page by curl ({answer})")
        compare(api, samples, "text by curl")
    # Many hosts and instants in one compressed body, which is larger than what curl sends without asking first.
    body = "".join(
        page(f"many-{host}", 8, now - 600_000 + instant * 10_000 + host, samples)
        for instant in range(30) for host in range(12))
    packed = gzip.compress(body.encode())
    started = time.monotonic()
    status, answer = curl(bench, api, "/api/v1/import/prometheus", packed, "--header", "Content-Encoding: gzip")
    equal(status, 204, f"the status of many hosts by curl ({answer})")
    compare(api, samples, "many hosts in one body")
    say(f"curl: {sum(map(len, samples.values()))} samples of text are there, the last {len(body)} bytes of it in one body "
        f"({time.monotonic() - started:.2f} s)")
    status, answer = curl(bench, api, "/api/v1/import/prometheus",
                          page("curl-b", 1, now, samples).encode() + b"not a line {\n")
    equal(status, 400, "the status of a page with a wrong line")
    problem = json.loads(answer)
    equal((problem["accepted"], problem["rejected"], problem["errors"][0]["line"]), (10, 1, 21), "what it says")
    compare(api, samples, "beside a wrong line")


class Exporter(http.server.BaseHTTPRequestHandler):
    """What Prometheus scrapes: values that change each time, with a type and a help."""

    scrapes = 0

    def do_GET(self):
        Exporter.scrapes += 1
        lines = ["# HELP DCGM_FI_DEV_GPU_TEMP GPU temperature.", "# TYPE DCGM_FI_DEV_GPU_TEMP gauge"]
        for gpu in range(4):
            lines.append(
                f'DCGM_FI_DEV_GPU_TEMP{{gpu="{gpu}",UUID="GPU-prom-{gpu}",Hostname="prom-node"}} {Exporter.scrapes + gpu / 8}')
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def prometheus(bench, api):
    """A Prometheus that scrapes an exporter and writes on to Apus."""
    program = shutil.which("prometheus")
    check(program, "there is no prometheus; install it with: scripts/bootstrap --test")
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    config = bench.path("prometheus.yml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"""
global: {{scrape_interval: 250ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: dcgm
    static_configs: [{{targets: ["127.0.0.1:{exporter.server_port}"]}}]
remote_write:
  - url: http://{api.host}:{api.port}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
    metadata_config: {{send_interval: 500ms}}
""")
    port = free_ports(1)[0]
    with open(bench.path("prometheus.err"), "wb") as errors:
        process = subprocess.Popen(
            [program, f"--config.file={config}", f"--storage.tsdb.path={bench.path('prometheus')}",
             f"--web.listen-address=127.0.0.1:{port}"], stdout=errors, stderr=errors, start_new_session=True)
    try:
        def arrived():
            rows = found(api, "GPU-prom-3")
            check(len(rows) >= 12, f"{len(rows)} samples have come from Prometheus")
            return rows

        rows = eventually(arrived, 60, "Prometheus' samples arrive", every=0.3)
        newest = max(time for time, _ in rows) / 1000
        query = urllib.parse.urlencode({"query": "DCGM_FI_DEV_GPU_TEMP[5m]", "time": newest})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=20) as answer:
            result = json.load(answer)["data"]["result"]
        equal(len(result), 4, "the series that Prometheus has")
        total = 0
        for series in result:
            labels = dict(series["metric"])
            uuid = labels["UUID"]
            wanted = {(round(at * 1000), labels["__name__"]): float(value) for at, value in series["values"]}
            mine = {key: value for key, value in found(api, uuid).items() if key[0] <= newest * 1000}
            # Prometheus sends a series' first samples late when it has just started, but it sends them.
            eventually(
                lambda: equal({k: v for k, v in found(api, uuid).items() if k[0] <= newest * 1000}, wanted,
                              f"the samples of {uuid} by remote write"), 20, "both have the same samples", every=0.3)
            total += len(mine)
            raw = telemetry(api, uuid)[0]["labels_raw"]
            check('job="dcgm"' in raw and "instance=" in raw, f"the labels of a scrape are not there: {raw}")
        equal(api.metric('gpu_telemetry_ingest_requests_total{status="400",way="remote_write"}'), 0, "refused requests")
        say(f"Prometheus: {total} samples of 4 series are as Prometheus itself has them")
    finally:
        process.terminate()
        process.wait(20)
        exporter.shutdown()


def influx(bench, api):
    """The Python client of InfluxDB 2, and version 1's address by hand."""
    url = f"http://{api.host}:{api.port}"
    client = influxdb_client.InfluxDBClient(url=url, token="any", org="any", enable_gzip=True)
    check(client.ping(), "the client's ping")
    write = client.write_api(write_options=SYNCHRONOUS)
    now = int(time.time())
    samples = {}
    for instant in range(20):
        point = (influxdb_client.Point("gpu").tag("UUID", "GPU-influx").tag("gpu", "0").field("power", 300.25 + instant)
                 .field("xid", instant).field("busy", instant % 2 == 0).field("note", "a text")
                 .time(now + instant, influxdb_client.WritePrecision.S))
        write.write(bucket="gpus", record=point, write_precision=influxdb_client.WritePrecision.S)
        for field, value in (("power", 300.25 + instant), ("xid", instant), ("busy", instant % 2 == 0)):
            samples[((now + instant) * 1000, f"gpu_{field}")] = float(value)
        if instant in (0, 19):
            equal(found(api, "GPU-influx"), samples, "the samples of InfluxDB's client")
    try:
        write.write(bucket="gpus", record="gpu,UUID=GPU-influx-bad value=1\nnonsense", write_precision="s")
        raise AssertionError("a wrong line was not refused")
    except influxdb_client.rest.ApiException as error:
        equal(error.status, 400, "the status of a wrong line")
        check("line 2" in error.body.decode() if isinstance(error.body, bytes) else "line 2" in error.body, error.body)
    equal(len(found(api, "GPU-influx-bad")), 1, "the samples beside the wrong line")
    client.close()
    status, answer = curl(bench, api, "/write?db=gpus&precision=ms", f"temp,UUID=GPU-v1 value=41i {now * 1000}".encode())
    equal(status, 204, f"the status of version 1's address ({answer})")
    equal(found(api, "GPU-v1"), {(now * 1000, "temp"): 41.0}, "the samples of version 1's address")
    say(f"InfluxDB's client: {len(samples)} samples of 20 points, strings left out")


def opentelemetry(bench, api):
    """OpenTelemetry's SDK: a gauge, a counter and a histogram."""
    exporter = OTLPMetricExporter(endpoint=f"http://{api.host}:{api.port}/v1/metrics", compression=Compression.Gzip)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], Resource.create({"service.name": "trainer", "service.instance.id": "i-1"}))
    meter = provider.get_meter("test")
    attributes = {"UUID": "GPU-otel", "gpu": "0"}
    meter.create_observable_gauge("gpu.power", [lambda _: [Observation(321.5, attributes)]], unit="W")
    counter = meter.create_counter("jobs", unit="1")
    counter.add(3, attributes)
    counter.add(4, attributes)
    histogram = meter.create_histogram("step.duration", unit="s", explicit_bucket_boundaries_advisory=[0.5, 2])
    for value in (0.25, 1, 5):
        histogram.record(value, attributes)
    check(provider.force_flush(20_000), "the SDK's flush")
    by_metric = {}
    for (_, metric), value in found(api, "GPU-otel").items():
        by_metric.setdefault(metric, []).append(value)
    equal(by_metric.get("gpu_power_watts"), [321.5], "the gauge")
    equal(by_metric.get("jobs_total"), [7.0], "the counter")
    equal(by_metric.get("step_duration_seconds_count"), [3.0], "the histogram's count")
    equal(by_metric.get("step_duration_seconds_sum"), [6.25], "the histogram's sum")
    buckets = [row for row in telemetry(api, "GPU-otel") if row["metric_name"] == "step_duration_seconds_bucket"]
    equal(sorted(number(row["value"]) for row in buckets), [1.0, 2.0, 3.0], "the histogram's buckets")
    check('job="trainer"' in buckets[0]["labels_raw"], f"the job is not there: {buckets[0]['labels_raw']}")
    provider.shutdown()
    say("OpenTelemetry's SDK: gauge, counter and histogram under Prometheus' names")


def killed(bench, up, arguments, rounds):
    """Requests of several connections until the process is killed right behind an answer."""
    samples = {}
    base = int(time.time() * 1000) - 3_600_000
    for round_number in range(rounds):
        lock = threading.Lock()
        stop = threading.Event()
        target = random.randint(20, 80)
        answered = [0]
        process = up

        def send(worker, api):
            instant = 0
            while not stop.is_set():
                mine = {}
                host = f"killed-{round_number}-{worker}"
                at = base + instant * 1000
                if worker % 3 == 2:
                    mine[f"GPU-{host}-0"] = {(at, "lane"): float(instant)}
                    body, path = f"lane,UUID=GPU-{host}-0 value={instant} {at}\n", "/write?precision=ms"
                else:
                    body, path = page(host, 2, at, mine), "/api/v1/import/prometheus"
                try:
                    status, _, _ = api.request("POST", path, body=body.encode())
                except OSError:
                    return
                except Exception:  # The answer was cut off by the kill.
                    return
                check(status == 204, f"POST {path} answered {status}")
                with lock:
                    if stop.is_set() and answered[0] > target:
                        # Answered before the kill all the same.
                        pass
                    for uuid, values in mine.items():
                        samples.setdefault(uuid, {}).update(values)
                    answered[0] += 1
                    if answered[0] == target:
                        stop.set()
                        process.kill()
                instant += 1

        api = process.http("api")
        workers = [threading.Thread(target=send, args=(worker, api)) for worker in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        check(stop.is_set(), f"the process was not killed: {answered[0]} answers")
        up = bench.start(f"up-after-kill-{round_number}", "up", *arguments)
        api = up.http("api")

        def there():
            for uuid, wanted in samples.items():
                mine = found(api, uuid)
                missing = {key: value for key, value in wanted.items() if mine.get(key) != value}
                check(not missing, f"{len(missing)} answered samples of {uuid} are not there")

        eventually(there, 30, "everything that was answered is there after kill -9", every=0.3)
    say(f"kill -9, {rounds} times: {sum(map(len, samples.values()))} answered samples are there")
    return up


def separate(bench):
    """`apus api` publishes to a broker; the collector's store shows it soon."""
    broker = bench.start("broker", "broker", "--data-dir", bench.path("broker"), "--tcp-listen", "127.0.0.1:0",
                         "--http-listen", "127.0.0.1:0")
    host, port = broker.address("tcp")
    collector = bench.start("collect", "collect", "--broker", f"tcp://{host}:{port}", "--data-dir", bench.path("collect"),
                            "--http-listen", "127.0.0.1:0")
    store_host, store_port = collector.address("http")
    store = f"http://{store_host}:{store_port}"
    closed = bench.start("api-closed", "api", "--store", store, "--api-listen", "127.0.0.1:0")
    status, _, body = closed.http("api").request("POST", "/write", body=b"x value=1")
    equal(status, 503, "the status of a way in without a log")
    check(b"--broker" in body, f"the answer does not name the flag: {body[:300]!r}")
    closed.stop()
    gateway = bench.start("api", "api", "--store", store, "--broker", f"tcp://{host}:{port}", "--api-listen", "127.0.0.1:0")
    api = gateway.http("api")
    samples = {}
    for instant in range(10):
        status, answer = curl(bench, api, "/api/v1/import/prometheus", page("far", 3, 1_000_000 + instant, samples).encode())
        equal(status, 204, f"the status of a page to apus api ({answer})")
    eventually(lambda: compare(api, samples, "through a broker"), 30, "the collector has it", every=0.2)
    name = "gpu_telemetry_ingest_visible_latency_seconds_count"
    eventually(lambda: check(api.metric(name) >= 1, "no latency was measured"), 10, "the lag is measured")
    broker.kill()
    status, _ = curl(bench, api, "/api/v1/import/prometheus", page("far", 3, 2_000_000, {}).encode())
    equal(status, 503, "the status while the broker is away")
    say("apus api with a broker: taken when durable, seen when collected; 503 while the broker is away")
    gateway.stop()
    collector.stop()


def body(bench, options):
    arguments = ["--data-dir", bench.path("data"), "--api-listen", "127.0.0.1:0", "--tcp-listen", "127.0.0.1:0",
                 "--http-listen", "127.0.0.1:0", "--log-level", "warning"]
    up = bench.start("up", "up", *arguments)
    api = up.http("api")
    text_by_curl(bench, api)
    influx(bench, api)
    opentelemetry(bench, api)
    prometheus(bench, api)
    up = killed(bench, up, arguments, 3)
    up.stop()
    separate(bench)


if __name__ == "__main__":
    main(__doc__, body)
