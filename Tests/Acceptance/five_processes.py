#!/usr/bin/env python3
"""Goal: five processes over real sockets answer as one does, the newest scrape included.

Method: broker, two streamers that share the file by shard, collector and API gateway, each on free ports; the answers of
the gateway are compared with the file's rows. The file's last rows are
among them, so nothing waits in a buffer. Then a simulated fleet is streamed on top and must be seen to move.
"""

import urllib.parse

from _harness import check, equal, eventually, export_path, main, number, read_rows, sample_key, say


def telemetry(api, gpu, **parameters):
    query = urllib.parse.urlencode({"limit": 10000, **parameters})
    return api.all_pages(f"/api/v1/gpus/{urllib.parse.quote(gpu, safe='')}/telemetry?{query}")


def body(bench, options):
    path = export_path(bench)
    rows = read_rows(path)
    broker = bench.start(
        "broker", "broker", "--data-dir", bench.path("broker"), "--tcp-listen", "127.0.0.1:0", "--http-listen",
        "127.0.0.1:0")
    host, port = broker.address("tcp")
    url = f"tcp://{host}:{port}"
    collector = bench.start(
        "collector", "collect", "--broker", url, "--data-dir", bench.path("collector"), "--http-listen", "127.0.0.1:0")
    store_host, store_port = collector.address("http")
    gateway = bench.start(
        "api", "api", "--store", f"http://{store_host}:{store_port}", "--api-listen", "127.0.0.1:0")
    streamers = [
        bench.start(
            f"streamer-{shard}", "stream", "--csv", path, "--shard", f"{shard}/2", "--timestamps", "original",
            "--broker", url, "--data-dir", bench.path(f"streamer-{shard}"), "--http-listen", "127.0.0.1:0")
        for shard in (1, 2)
    ]
    for streamer in streamers:
        equal(streamer.wait(60), 0, f"the exit status of {streamer.name} at the end of its file")
    say("both streamers have come to the end of the file")
    api = gateway.http("api")

    def arrived():
        equal(sum(len(telemetry(api, str(index))) for index in range(8)), 2470, "the samples that have arrived")

    eventually(arrived, 60, "the whole file is in the store", every=0.2)
    for uuid in sorted({row["uuid"] for row in rows}):
        wanted = {sample_key(row): row["number"] for row in rows if row["uuid"] == uuid}
        found = {sample_key(row): number(row["value"]) for row in telemetry(api, uuid)}
        equal(found, wanted, f"the samples of {uuid}")
    equal({node["node_id"] for node in api.json("/api/v1/nodes?limit=10000")}, {row["Hostname"] for row in rows},
          "the nodes")
    say("the gateway answers with the file's samples")

    live = bench.start(
        "streamer-live", "stream", "--simulate", "2x4", "--interval", "200ms", "--flush-interval", "100ms", "--broker",
        url, "--data-dir", bench.path("streamer-live"), "--http-listen", "127.0.0.1:0")

    def newest():
        found = telemetry(api, "node-1:0", metric="DCGM_FI_DEV_GPU_TEMP")
        check(len(found) >= 5, f"{len(found)} scrapes of the live source have arrived")
        return sample_key(found[-1])[0]

    first = eventually(newest, 30, "the live source is seen")

    def goes_on():
        check(newest() > first, f"the newest scrape is still the one of {first}")

    eventually(goes_on, 30, "newer scrapes go on arriving")
    live.stop()

    # What the streamer had taken in is drained to the log on SIGTERM; once the collector has read it all, nothing moves.
    def settled():
        before = newest()
        equal(collector.http("http").metric("gpu_telemetry_collector_backlog"), 0.0, "the collector's backlog")
        equal(newest(), before, "the newest scrape")

    eventually(settled, 30, "the collector has read everything")
    latest = api.json("/api/v1/nodes")
    check({"node-1", "node-2"} <= {node["node_id"] for node in latest}, "the simulated nodes are not in /api/v1/nodes")
    for process in (gateway, collector, broker):
        say(f"{process.name}: SIGTERM to exit 0 took {process.stop(within=10):.2f} s")


if __name__ == "__main__":
    main(__doc__, body)
