#!/usr/bin/env python3
"""Goal: what was acknowledged is there exactly once, in the topic and in the store, however often processes are killed.

Method: a file of at least a million simulated samples is replayed from a streamer to a broker to a collector, each a
process. While it runs, 20 times over, the broker and then the collector are ended by kill -9 at random moments (the seed
is printed; `--seed` repeats the moments) and started again. At the end the topic is read from its first offset through
the TCP door and the store through the REST API, and both are compared sample by sample with the file. A second collector
with an empty store reads the topic from the start and must meet no duplicate.
"""

import collections
import csv
import os
import random
import time

from _door import Door
from _harness import check, equal, eventually, free_ports, main, milliseconds, number, sample_key, say

SAMPLES_MIN = 1_000_000


def simulate(bench, options):
    path = bench.path("replay.csv")
    started = time.monotonic()
    status, _, err = bench.run(
        "simulate", options.fleet, "--for", options.span, "--seed", options.seed, "--csv", path, timeout=300)
    equal(status, 0, f"the exit status of apus simulate ({err[-500:]})")
    expected = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = (milliseconds_cached(row["timestamp"]), row["uuid"], row["metric_name"])
            check(key not in expected, f"the simulator wrote {key} twice")
            expected[key] = number(row["value"])
    size = os.path.getsize(path) / 1e6
    say(f"{len(expected):,} samples in {size:.0f} MB, made and read in {time.monotonic() - started:.1f} s")
    return path, expected


_times = {}


def milliseconds_cached(text):
    if text not in _times:
        _times[text] = milliseconds(text)
    return _times[text]


class Fleet:
    """The processes, and how to bring one back."""

    def __init__(self, bench, options):
        self.bench = bench
        self.options = options
        self.tcp, self.broker_http, self.collector_http = free_ports(3)
        self.url = f"tcp://127.0.0.1:{self.tcp}"
        self.broker = None
        self.collector = None

    def start_broker(self):
        self.broker = self.bench.start(
            "broker", "broker", "--data-dir", self.bench.path("broker"), "--tcp-listen", f"127.0.0.1:{self.tcp}",
            "--http-listen", f"127.0.0.1:{self.broker_http}", "--segment-bytes", "4MiB")

    def start_collector(self):
        self.collector = self.bench.start(
            "collector", "collect", "--broker", self.url, "--data-dir", self.bench.path("collector"), "--http-listen",
            f"127.0.0.1:{self.collector_http}", "--head-bytes", "4MiB")


def kill_often(fleet, streamer, options):
    """The rounds of killing, all of them while the file is still being replayed."""
    for turn in range(1, options.rounds + 1):
        time.sleep(random.uniform(0.05, 1.5))
        check(streamer.is_running(),
              f"the replay ended before round {turn} of {options.rounds}; give a lower --rate (or it failed: "
              f"{streamer.errors()[-500:]})")
        fleet.broker.kill()
        time.sleep(random.choice([0, 0, random.uniform(0, 0.5)]))
        fleet.start_broker()
        fleet.broker.address("tcp", timeout=60)
        time.sleep(random.uniform(0.05, 1.0))
        fleet.collector.kill()
        time.sleep(random.choice([0, 0, random.uniform(0, 0.5)]))
        fleet.start_collector()
        fleet.collector.address("http", timeout=60)
    say(f"{options.rounds} rounds: broker and collector killed {options.rounds} times each")


def check_topic(fleet, expected):
    """Every sample of the file exactly once in the topic, read through the TCP door."""
    seen = collections.Counter()
    wrong = 0
    with Door("127.0.0.1", fleet.tcp) as door:
        for sample in door.samples("gpu-telemetry"):
            key = (sample[0], sample[1], sample[2])
            seen[key] += 1
            if expected.get(key) != sample[3]:
                wrong += 1
    twice = [key for key, count in seen.items() if count > 1]
    missing = expected.keys() - seen.keys()
    strange = seen.keys() - expected.keys()
    check(not twice, f"{len(twice):,} samples are in the topic more than once, such as {twice[:2]}")
    check(not missing, f"{len(missing):,} samples are not in the topic, such as {list(missing)[:2]}")
    check(not strange, f"{len(strange):,} samples in the topic are not in the file, such as {list(strange)[:2]}")
    equal(wrong, 0, "samples of the topic with another value")
    say(f"the topic has each of the {len(seen):,} samples exactly once")


def check_store(api, expected, what):
    """Every sample of the file exactly once in the store, read through the REST API."""
    by_gpu = collections.defaultdict(dict)
    for (instant, uuid, metric), value in expected.items():
        by_gpu[uuid][(instant, uuid, metric)] = value
    for uuid, samples in by_gpu.items():
        rows = api.all_pages(f"/api/v1/gpus/{uuid}/telemetry?limit=10000")
        found = {}
        for row in rows:
            key = (milliseconds_cached(row["timestamp"]), row["uuid"], row["metric_name"])
            check(key not in found, f"{what} answers twice with {key}")
            found[key] = number(row["value"])
        missing = samples.keys() - found.keys()
        check(not missing, f"{what}: {len(missing):,} of {len(samples):,} samples of {uuid} are missing, such as "
              f"{list(missing)[:2]}")
        check(found == samples, f"{what}: the samples of {uuid} are not the file's")
    say(f"{what} has each of the {len(expected):,} samples exactly once")


def body(bench, options):
    path, expected = simulate(bench, options)
    if not options.fleet_is_small:
        check(len(expected) >= SAMPLES_MIN, f"{len(expected):,} samples are fewer than {SAMPLES_MIN:,}")
    fleet = Fleet(bench, options)
    fleet.start_broker()
    fleet.broker.address("tcp")
    fleet.start_collector()
    fleet.collector.address("http")
    rate = options.rate or len(expected) / 80
    started = time.monotonic()
    streamer = bench.start(
        "streamer", "stream", "--csv", path, "--timestamps", "original", "--rate", f"{rate:.0f}", "--flush-interval",
        "100ms", "--encoding", options.encoding, "--broker", fleet.url, "--data-dir", bench.path("streamer"),
        "--http-listen", "127.0.0.1:0")
    streamer.address("http")
    kill_often(fleet, streamer, options)
    equal(streamer.wait(600), 0, f"the exit status of the streamer at the end of its file ({streamer.errors()[-800:]})")
    say(f"the replay took {time.monotonic() - started:.1f} s")

    store = f"http://127.0.0.1:{fleet.collector_http}"
    gateway = bench.start("api", "api", "--store", store, "--api-listen", "127.0.0.1:0")
    api = gateway.http("api")

    def drained():
        collector = fleet.collector.http("http")
        equal(collector.metric("gpu_telemetry_collector_backlog"), 0.0, "the collector's backlog")

    eventually(drained, 120, "the collector has read everything", every=0.25)
    check_topic(fleet, expected)
    check_store(api, expected, "the store")

    # A store that has seen nothing yet tells duplicates in the topic apart from those that the first one took for
    # repeats; then a restart of everything must find the same again.
    second = bench.start(
        "second-collector", "collect", "--broker", fleet.url, "--from", "earliest", "--data-dir", bench.path("second"),
        "--http-listen", "127.0.0.1:0")

    def caught_up():
        equal(second.http("http").metric("gpu_telemetry_collector_backlog"), 0.0, "the second collector's backlog")
        received = second.http("http").metric("gpu_telemetry_collector_messages_received_total")
        check(received > 0, "the second collector has received nothing")

    eventually(caught_up, 120, "the second collector has read everything", every=0.25)
    statistics = second.http("http").json("/stats")
    equal(find(statistics, "samples_duplicate"), 0, "the duplicates that a fresh store met")
    second.stop()
    gateway.stop()
    fleet.collector.stop()
    fleet.broker.stop()
    fleet.start_broker()
    fleet.start_collector()
    fleet.collector.address("http")
    gateway = bench.start("api-again", "api", "--store", store, "--api-listen", "127.0.0.1:0")
    check_store(gateway.http("api"), expected, "the store after a restart of everything")


def find(document, name):
    """The first member of that name, at any depth."""
    if isinstance(document, dict):
        if name in document:
            return document[name]
        document = list(document.values())
    if isinstance(document, list):
        for item in document:
            found = find(item, name)
            if found is not None:
                return found
    return None


if __name__ == "__main__":
    main(__doc__, body, [
        (("--fleet",), {"default": "16x8", "help": "how many simulated nodes and GPUs"}),
        (("--span",), {"default": "70m", "help": "the simulated time"}),
        (("--rate",), {"type": float, "default": None, "help": "rows a second; by default for 80 s of replay"}),
        (("--rounds",), {"type": int, "default": 20, "help": "how often to kill both"}),
        (("--encoding",), {"default": "frame", "help": "what the streamer writes: frame, json or text"}),
        (("--fleet-is-small",), {"action": "store_true", "help": "allow fewer than a million samples (to try the script)"}),
    ])
