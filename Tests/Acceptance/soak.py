#!/usr/bin/env python3
"""Goal: hours of work leave no trace in memory, open files or threads.

Method: `apus up` takes in a simulated fleet as fast as it scrapes while clients query; resident memory, open files and
threads are noted; after the first third, none of them may grow beyond a bound. `make soak FOR=10m` runs it.
"""

import os
import random
import re
import threading
import time

from _harness import check, main, say

MEGABYTE = 1 << 20
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text):
    parts = re.findall(r"(\d+)([smh])", text)
    check(parts and "".join(number + unit for number, unit in parts) == text, f"\"{text}\" is not like 90s, 10m or 1h30m")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def query(api, stopping, counts):
    paths = [
        "/api/v1/gpus?limit=100", "/api/v1/nodes", "/api/v1/metrics/latest", "/stats", "/metrics",
        "/api/v1/gpus/0/telemetry?metric=DCGM_FI_DEV_GPU_TEMP&limit=1000", "/api/v1/gpus/node-1:0/telemetry?limit=5000"]
    while not stopping.is_set():
        status, _, _ = api.get(random.choice(paths))
        counts[status] = counts.get(status, 0) + 1


def body(bench, options):
    span = seconds(options.span)
    up = bench.start(
        "up", "up", "--simulate", options.fleet, "--interval", "250ms", "--data-dir", bench.path("data"), "--api-listen",
        "127.0.0.1:0", "--tcp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--head-bytes", "16MiB",
        "--segment-bytes", "16MiB", "--log-retention", "10s", "--log-retention-size", "256MiB", "--retention-size", "2GiB")
    api = up.http("api")
    stopping = threading.Event()
    counts = {}
    clients = [threading.Thread(target=query, args=(api, stopping, counts), daemon=True) for _ in range(2)]
    for client in clients:
        client.start()
    samples = []
    started = time.monotonic()
    while time.monotonic() - started < span:
        time.sleep(min(1.0, span / 60))
        check(up.is_running(), f"apus up ended: {up.errors()[-800:]}")
        files = len(os.listdir(f"/proc/{up.pid}/fd"))
        threads = len(os.listdir(f"/proc/{up.pid}/task"))
        samples.append((up.resident_bytes(), files, threads))
    stopping.set()
    for client in clients:
        client.join(30)
    third = samples[len(samples) // 3:]
    half = len(third) // 2
    for index, what, bound in ((0, "resident memory", 96 * MEGABYTE), (1, "open files", 64), (2, "threads", 16)):
        early = max(sample[index] for sample in third[:half])
        late = max(sample[index] for sample in third[half:])
        say(f"{what}: at most {early:,} early, {late:,} late")
        check(late - early <= bound, f"{what} grew from {early:,} to {late:,}, by more than {bound:,}")
    flushed = api.metric("gpu_telemetry_collector_samples_flushed_total")
    check(not any(status >= 500 for status in counts), f"answers by status: {counts}")
    say(f"{flushed:,.0f} samples taken in and {sum(counts.values()):,} queries answered in {span} s")
    check(flushed > 0, "nothing was taken in")
    up.stop()


if __name__ == "__main__":
    main(__doc__, body, [
        (("--for",), {"dest": "span", "default": "60s", "help": "how long, like 10m"}),
        (("--fleet",), {"default": "50x8", "help": "how many simulated nodes and GPUs"}),
    ])
