#!/usr/bin/env python3
"""Goal: `apus up --csv FILE --timestamps original` answers with what is in the file, and a restart keeps it.

Method: a DCGM export of 2,470 samples of 247 GPUs on 31 hosts is replayed into a fresh folder; every answer of the REST
API is compared with the file's rows, then the process is stopped by SIGTERM, started again without the file, and asked
the same.
"""

import collections
import json
import urllib.parse

from _harness import check, equal, eventually, export_path, main, read_rows, sample_key, number, say


def telemetry(api, gpu, **parameters):
    query = urllib.parse.urlencode({"limit": 10000, **parameters})
    return api.all_pages(f"/api/v1/gpus/{urllib.parse.quote(gpu, safe='')}/telemetry?{query}")


def check_fleet(api, rows):
    """The lists of GPUs and nodes."""
    gpus = api.json("/api/v1/gpus?limit=10000")
    equal({gpu["uuid"] for gpu in gpus}, {row["uuid"] for row in rows}, "the UUIDs of /api/v1/gpus")
    equal(len(gpus), 247, "the GPUs of /api/v1/gpus")
    hosts = {row["Hostname"] for row in rows}
    equal({gpu["hostname"] for gpu in gpus}, hosts, "the hosts of /api/v1/gpus")
    paged = api.all_pages("/api/v1/gpus?limit=50")
    equal([gpu["uuid"] for gpu in paged], [gpu["uuid"] for gpu in gpus], "the GPUs in pages of 50")
    nodes = api.json("/api/v1/nodes?limit=10000")
    equal({node["node_id"] for node in nodes}, hosts, "the nodes of /api/v1/nodes")


def check_samples(api, rows):
    """Every sample of every GPU, with its value."""
    expected = collections.defaultdict(dict)
    for row in rows:
        expected[row["uuid"]][sample_key(row)] = row["number"]
    total = 0
    for uuid, samples in expected.items():
        found = telemetry(api, uuid)
        total += len(found)
        equal(len(found), 10, f"the samples of {uuid}")
        equal({sample_key(row): number(row["value"]) for row in found}, samples, f"the samples of {uuid}")
        times = [sample_key(row)[0] for row in found]
        equal(times, sorted(times), f"the order of the samples of {uuid}")
        check(all(isinstance(row["value"], (int, float)) for row in found), f"a value of {uuid} is not a JSON number")
    equal(total, 2470, "all samples")


def check_labels(api, rows):
    """The columns come back as they were."""
    row = rows[0]
    found = telemetry(api, row["uuid"], metric=row["metric_name"])
    equal(len(found), 1, "the samples of one metric")
    for column in ("uuid", "metric_name", "gpu_id", "device", "modelName", "Hostname"):
        equal(found[0][column], row[column], f"the column {column}")


def check_ranges(api, rows):
    """start_time and end_time include their ends."""
    uuid = rows[0]["uuid"]
    of_gpu = [row for row in rows if row["uuid"] == uuid]
    times = sorted({row["timestamp"] for row in of_gpu})
    for start in times:
        for end in times:
            if end < start:
                continue
            wanted = {sample_key(row) for row in of_gpu if start <= row["timestamp"] <= end}
            found = telemetry(api, uuid, start_time=start, end_time=end)
            equal({sample_key(row) for row in found}, wanted, f"the samples of {uuid} from {start} to {end}")
    seconds = sorted({row["milliseconds"] // 1000 for row in of_gpu})
    found = telemetry(api, uuid, start_time=seconds[0], end_time=seconds[0])
    wanted = {sample_key(row) for row in of_gpu if row["milliseconds"] == seconds[0] * 1000}
    equal({sample_key(row) for row in found}, wanted, "the samples of one second given as Unix time")


def check_index(api, rows):
    """A bare index means that GPU of every host; host:index means one."""
    hosts = {row["Hostname"] for row in rows if row["gpu_id"] == "0"}
    found = telemetry(api, "0")
    equal({row["Hostname"] for row in found}, hosts, "the hosts that answer for the bare index 0")
    equal(len(found), 10 * len(hosts), "the samples of the bare index 0")
    host = rows[0]["Hostname"]
    found = telemetry(api, f"{host}:0")
    equal({row["Hostname"] for row in found}, {host}, f"the hosts that answer for {host}:0")
    equal(len(found), 10, f"the samples of {host}:0")


def check_errors(api):
    """A mistake names the parameter."""
    for path, parameter in (
        ("/api/v1/gpus?limit=0", "limit"),
        ("/api/v1/gpus?limit=many", "limit"),
        ("/api/v1/gpus/0/telemetry?start_time=yesterday", "start_time"),
    ):
        status, headers, body = api.get(path)
        equal(status, 400, f"the status of GET {path}")
        check(headers["content-type"].startswith("application/problem+json"), f"GET {path} answered no problem document")
        equal(json.loads(body).get("parameter"), parameter, f"the parameter that GET {path} blames")
    status, _, _ = api.get("/api/v1/gpus/GPU-there-is-none")
    equal(status, 404, "the status for a GPU that is not there")


def check_csv(api, rows):
    """The same as CSV."""
    import csv
    import io

    uuid = rows[0]["uuid"]
    status, headers, body = api.get(f"/api/v1/gpus/{uuid}/telemetry?limit=10000", {"Accept": "text/csv"})
    equal(status, 200, "the status of telemetry as CSV")
    check(headers["content-type"].startswith("text/csv"), f"asked for CSV, answered {headers['content-type']}")
    found = list(csv.DictReader(io.StringIO(body.decode())))
    wanted = {sample_key(row): row["number"] for row in rows if row["uuid"] == uuid}
    equal({sample_key(row): number(row["value"]) for row in found}, wanted, "the samples as CSV")


def body(bench, options):
    path = export_path(bench)
    rows = read_rows(path)
    equal(len(rows), 2470, f"the rows of {path}")
    data = bench.path("data")
    common = ["--data-dir", data, "--api-listen", "127.0.0.1:0", "--tcp-listen", "127.0.0.1:0", "--http-listen",
              "127.0.0.1:0"]
    up = bench.start("up", "up", "--csv", path, "--timestamps", "original", *common)
    api = up.http("api")

    def arrived():
        equal(sum(len(telemetry(api, str(index))) for index in range(8)), 2470, "the samples that have arrived")

    eventually(arrived, 60, "the whole file is in the store", every=0.2)
    say("the file is in the store")
    for which in ("first start", "restart"):
        check_fleet(api, rows)
        check_samples(api, rows)
        check_labels(api, rows)
        check_ranges(api, rows)
        check_index(api, rows)
        check_csv(api, rows)
        check_errors(api)
        equal(api.get("/health")[0], 200, "the status of /health")
        equal(api.get("/ready")[0], 200, "the status of /ready")
        took = up.stop(within=10)
        say(f"{which}: all answers are the file's; SIGTERM to exit 0 took {took:.2f} s")
        if which == "first start":
            up = bench.start("up-again", "up", *common)
            api = up.http("api")
            eventually(arrived, 30, "the samples are there after the restart")


if __name__ == "__main__":
    main(__doc__, body)
