#!/usr/bin/env python3
"""Goal: memory stays bounded when others are slow or away.

Method: (1) A broker takes in a few hundred megabytes while one subscriber has asked for everything and reads nothing and
no collector runs: its resident memory must stay below the bound that docs/reference/configuration.md states. (2) The
broker goes away while a streamer of a live source runs with a small spool: the streamer's memory and its folder must
stop growing, and once the broker is back the newest scrapes arrive.
"""

import os
import time

from _door import Door
from _harness import check, equal, eventually, free_ports, main, say

MEGABYTE = 1 << 20
# docs/reference/configuration.md, "Memory of the broker": what it needs at rest, and --queue-bytes, the publishes under
# way, once; both with room for the allocator.
BROKER_BOUND = 256 * MEGABYTE
# A streamer holds its buffers (docs/reference/configuration.md, "Memory of a streamer").
STREAMER_GROWTH_BOUND = 32 * MEGABYTE


def folder_bytes(path):
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            try:
                total += os.path.getsize(os.path.join(place, name))
            except OSError:
                pass
    return total


def slow_subscriber(bench, options):
    broker = bench.start(
        "broker", "broker", "--data-dir", bench.path("broker"), "--tcp-listen", "127.0.0.1:0", "--http-listen",
        "127.0.0.1:0", "--segment-bytes", "16MiB")
    host, port = broker.address("tcp")
    with Door(host, port) as slow, Door(host, port) as publisher:
        publisher.create_topic("bulk")
        slow.request({"type": "subscribe", "topic": "bulk", "from": "earliest", "credit_bytes": 1 << 40})
        at_rest = broker.resident_bytes()
        message = "x" * 1000
        published = highest = 0
        while published < options.megabytes * MEGABYTE:
            publisher.publish("bulk", [message] * 2000)
            published += 2000 * len(message)
            highest = max(highest, broker.resident_bytes())
        say(f"broker: {at_rest / MEGABYTE:.0f} MiB at rest, at most {highest / MEGABYTE:.0f} MiB while "
            f"{published / MEGABYTE:.0f} MiB went in and a subscriber read nothing")
        check(highest < BROKER_BOUND, f"the broker grew to {highest / MEGABYTE:.0f} MiB, beyond its bound of "
              f"{BROKER_BOUND / MEGABYTE:.0f} MiB")
        # The slow one slows itself only: a quick one gets everything meanwhile.
        with Door(host, port) as quick:
            count = sum(1 for _ in quick.messages("bulk"))
        equal(count, published // len(message), "the messages that another subscriber got")
    broker.stop()


def broker_away(bench, options):
    tcp, http = free_ports(2)

    def start_broker():
        broker = bench.start(
            "broker-away", "broker", "--data-dir", bench.path("broker-away"), "--tcp-listen", f"127.0.0.1:{tcp}",
            "--http-listen", f"127.0.0.1:{http}")
        broker.address("tcp")
        return broker

    broker = start_broker()
    streamer = bench.start(
        "streamer", "stream", "--simulate", "200x8", "--interval", "20ms", "--flush-interval", "100ms", "--broker",
        f"tcp://127.0.0.1:{tcp}", "--spool", bench.path("spool"), "--spool-size", "16MiB", "--data-dir",
        bench.path("streamer"), "--http-listen", "127.0.0.1:0")
    status = streamer.http("http")
    published = "gpu_telemetry_streamer_items_published_total"
    eventually(lambda: check(status.metric(published) > 0, "nothing published"), 30, "the streamer publishes")
    broker.kill()

    # At this rate (32,000 samples every 20 ms) the buffer is full within seconds, then the spool; from there on the
    # streamer lives on what it has.
    def spilling():
        check(streamer.is_running(), f"the streamer ended: {streamer.errors()[-500:]}")
        size = folder_bytes(bench.path("spool"))
        check(size > 8 * MEGABYTE, f"the spool has {size / MEGABYTE:.1f} MiB")

    eventually(spilling, 120, "the streamer spills", every=0.25)
    full = streamer.resident_bytes()
    started = time.monotonic()
    highest = spooled = 0
    while time.monotonic() - started < options.seconds_away:
        time.sleep(0.25)
        check(streamer.is_running(), f"the streamer ended: {streamer.errors()[-500:]}")
        highest = max(highest, streamer.resident_bytes())
        spooled = max(spooled, folder_bytes(bench.path("spool")))
    say(f"streamer: {full / MEGABYTE:.0f} MiB once its buffer is full, at most {highest / MEGABYTE:.0f} MiB in the "
        f"{options.seconds_away:.0f} s after; spool at most {spooled / MEGABYTE:.1f} MiB")
    check(highest - full < STREAMER_GROWTH_BOUND, f"the streamer grew by {(highest - full) / MEGABYTE:.0f} MiB")
    check(spooled < 24 * MEGABYTE, f"the spool of 16 MiB takes {spooled / MEGABYTE:.1f} MiB")
    before = status.metric(published)
    broker = start_broker()
    eventually(lambda: check(status.metric(published) > before, "nothing more published"), 60,
               "the streamer publishes again")

    # What had to give way is counted once the spool is read past it.
    def counted():
        dropped = status.metric("gpu_telemetry_streamer_dropped_records_total")
        check(dropped > 0, "the spool was full and nothing was counted as dropped")
        return dropped

    say(f"{eventually(counted, 60, 'what was dropped is counted'):,.0f} records had to give way, and are counted")
    streamer.stop()
    broker.stop()


def body(bench, options):
    slow_subscriber(bench, options)
    broker_away(bench, options)


if __name__ == "__main__":
    main(__doc__, body, [
        (("--megabytes",), {"type": int, "default": 400, "help": "how much the broker takes in"}),
        (("--seconds-away",), {"type": float, "default": 20, "help": "how long the broker is away once the streamer is full"}),
    ])
