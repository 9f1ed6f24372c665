#!/usr/bin/env python3
"""The program as a server, measured as its peers are: processor time of the process, by the kernel.

The log: 300-byte messages over one connection of the TCP door, each in a frame of its own or a hundred in one, with a
window of unanswered ones; then read back by one subscriber. Ingest: exporter pages as text through the same door, and
the frames of a streamer, until they are in the store. Latency: from just before a sample is published until a query
over HTTP answers with it.
"""

import argparse
import http.client
import json
import os
import re
import struct
import time

from _measure import ROOT, Server, connect, folder, page, result, write_json

SIZE = 300


class Apus(Server):
    """A role of the program, with the addresses it prints."""

    def __init__(self, program, place, *arguments):
        self.out = os.path.join(place, f"{arguments[0]}.out")
        super().__init__([program, *arguments, "--log-level", "warning"], self.out)

    def port(self, listener):
        deadline = time.monotonic() + 30
        while True:
            self.check_running()
            with open(self.out, encoding="utf-8") as file:
                found = re.search(rf"^listening {listener} \S+:(\d+)$", file.read(), re.MULTILINE)
            if found:
                return int(found.group(1))
            if time.monotonic() > deadline:
                raise RuntimeError(f"no line \"listening {listener}\" in {self.out}")
            time.sleep(0.05)


def frame(document):
    body = json.dumps(document).encode()
    return struct.pack(">I", len(body)) + body


class Answers:
    """Cuts answers out of a connection."""

    def __init__(self, connection):
        self.connection = connection
        self.rest = b""

    def more(self):
        data = self.connection.recv(1 << 20)
        if not data:
            raise RuntimeError("the broker closed the connection")
        self.rest += data

    def frames(self):
        """The whole frames that are there."""
        found, position = [], 0
        while len(self.rest) - position >= 4:
            size = struct.unpack_from(">I", self.rest, position)[0]
            if len(self.rest) - position - 4 < size:
                break
            found.append(self.rest[position + 4:position + 4 + size])
            position += 4 + size
        self.rest = self.rest[position:]
        return found

    def next(self):
        while True:
            found = self.frames()
            if found:
                # The rest of what came with it is not lost: requests are made one at a time here.
                if len(found) != 1:
                    raise RuntimeError("more than one answer")
                answer = json.loads(found[0])
                if answer["type"] == "error":
                    raise RuntimeError(found[0].decode())
                return answer
            self.more()


def publish(server, port, topic, count, per_frame, window):
    """Publishes with a window of unanswered messages; returns wall and processor seconds."""
    value = os.urandom(SIZE // 2).hex()
    if per_frame == 1:
        one = frame({"type": "publish", "topic": topic, "message": {"value": value}})
    else:
        one = frame({"type": "publish", "topic": topic, "messages": [{"value": value}] * per_frame})
    connection = connect(port, server)
    answers = Answers(connection)
    frames = count // per_frame
    chunk = max(1, window // per_frame // 4)
    block = one * chunk
    sent = answered = 0
    cpu, started = server.cpu_seconds(), time.monotonic()
    while answered < frames:
        while sent < frames and (sent - answered) * per_frame <= window - chunk * per_frame:
            number = min(chunk, frames - sent)
            connection.sendall(block if number == chunk else one * number)
            sent += number
        answers.more()
        for answer in answers.frames():
            if not answer.startswith(b'{"type":"published"'):
                raise RuntimeError(answer.decode())
            answered += 1
    wall, cpu = time.monotonic() - started, server.cpu_seconds() - cpu
    connection.close()
    return wall, cpu


def read(server, port, topic, count):
    """Reads a topic from its start as JSON messages; returns wall and processor seconds."""
    connection = connect(port, server)
    cpu, started = server.cpu_seconds(), time.monotonic()
    connection.sendall(frame({"type": "subscribe", "topic": topic, "from": "earliest", "credit_bytes": 1 << 40}))
    seen = 0
    tail = b""
    while seen < count:
        data = connection.recv(1 << 20)
        if not data:
            raise RuntimeError("the broker closed the connection")
        joined = tail + data
        seen += joined.count(b'{"offset":')
        # A start that two reads share is counted with the second; one that is whole at the end is not kept.
        tail = b"" if joined.endswith(b'{"offset":') else joined[-9:]
    wall, cpu = time.monotonic() - started, server.cpu_seconds() - cpu
    connection.close()
    return wall, cpu


def log(program, records, options):
    for durability, count in (("every", options.messages), ("interval", options.messages), ("none", options.messages)):
        with folder() as place:
            broker = Apus(
                program, place, "broker", "--data-dir", os.path.join(place, "data"), "--tcp-listen", "127.0.0.1:0",
                "--http-listen", "127.0.0.1:0", "--durability", durability)
            try:
                port = broker.port("tcp")
                publish(broker, port, "warm", 20_000, 1, 4000)
                wall, cpu = publish(broker, port, "single", count, 1, 4000)
                records.append(
                    result(f"apus/publish/{durability}", "messages", count, wall, cpu, bytes=count * SIZE))
                many = count * 4
                wall, cpu = publish(broker, port, "hundred", many, 100, 40_000)
                records.append(
                    result(f"apus/publish-100/{durability}", "messages", many, wall, cpu, bytes=many * SIZE))
                if durability == "none":
                    wall, cpu = read(broker, port, "single", count)
                    records.append(result("apus/read", "messages", count, wall, cpu, bytes=count * SIZE))
            finally:
                broker.stop()


def metric(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    total = 0.0
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith(name) and line[len(name)] in " {":
            total += float(line.rsplit(" ", 1)[1])
    connection.close()
    return total


def up(program, place, *arguments):
    return Apus(
        program, place, "up", "--data-dir", os.path.join(place, "data"), "--api-listen", "127.0.0.1:0", "--tcp-listen",
        "127.0.0.1:0", "--http-listen", "127.0.0.1:0", *arguments)


FLUSHED = "gpu_telemetry_collector_samples_flushed_total"


def ingest_text(program, records, options):
    """Pages of text through the TCP door, made durable, parsed and stored."""
    with folder() as place:
        server = up(program, place)
        try:
            tcp, api = server.port("tcp"), server.port("api")
            samples = options.nodes * 8 * 20
            turns = []
            for seed in range(4):
                frames = []
                for node in range(options.nodes):
                    text = page(node, 8, seed * 1000 + node).decode()
                    frames.append(frame({
                        "type": "publish", "topic": "gpu-telemetry",
                        "message": {"value": text, "key": f"node-{node}",
                                    "headers": {"content-type": "text/plain; version=0.0.4"}}}))
                turns.append(frames)
            connection = connect(tcp, server)
            answers = Answers(connection)

            def turn(frames):
                waiting = 0
                for one in frames:
                    connection.sendall(one)
                    waiting += 1
                    while waiting > 16:
                        answers.more()
                        waiting -= len(answers.frames())
                while waiting > 0:
                    answers.more()
                    waiting -= len(answers.frames())

            turn(turns[0])
            wait_for(api, samples)
            before = metric(api, FLUSHED)
            cpu, started = server.cpu_seconds(), time.monotonic()
            for number in range(options.turns):
                turn(turns[number % len(turns)])
            wait_for(api, before + samples * options.turns)
            wall, cpu = time.monotonic() - started, server.cpu_seconds() - cpu
            total = samples * options.turns
            records.append(result(
                "apus/ingest-text", "samples", total, wall, cpu, cpu_seconds_per_million=round(cpu / total * 1e6, 3),
                resident_megabytes=round(server.resident_bytes() / 1e6)))
        finally:
            server.stop()


def wait_for(port, count, timeout=120):
    deadline = time.monotonic() + timeout
    while metric(port, FLUSHED) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{metric(port, FLUSHED)} of {count} samples are in the store after {timeout} s")
        time.sleep(0.02)


def ingest_frames(program, records, options):
    """A simulated fleet at the scrape rate of the Prometheus run: the simulator's own time is in the number."""
    with folder() as place:
        server = up(program, place, "--simulate", f"{options.nodes}x8", "--interval", "1s")
        try:
            api = server.port("api")
            wait_for(api, options.nodes * 8 * 20 * 3)
            cpu, samples, started = server.cpu_seconds(), metric(api, FLUSHED), time.monotonic()
            time.sleep(options.seconds)
            cpu, samples = server.cpu_seconds() - cpu, metric(api, FLUSHED) - samples
            wall = time.monotonic() - started
            records.append(result(
                "apus/ingest-simulated", "samples", samples, wall, cpu,
                cpu_seconds_per_million=round(cpu / samples * 1e6, 3),
                resident_megabytes=round(server.resident_bytes() / 1e6)))
        finally:
            server.stop()


def latency(program, records, options):
    """From just before publishing one sample until a query answers with it; a connection each, one at a time."""
    for durability in ("every", "none"):
        with folder() as place:
            server = up(program, place, "--durability", durability)
            try:
                connection = connect(server.port("tcp"), server)
                answers = Answers(connection)
                api = http.client.HTTPConnection("127.0.0.1", server.port("api"), timeout=30)
                times = []
                cpu, begun = server.cpu_seconds(), time.monotonic()
                for number in range(options.latencies):
                    # 2025-01-01 and a second for each sample, so that the newest row is told by its time.
                    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1735689600 + number))
                    row = {"timestamp": stamp, "metric_name": "LATENCY", "gpu_id": "0", "uuid": "GPU-latency",
                           "Hostname": "node-1", "value": number}
                    one = frame({"type": "publish", "topic": "gpu-telemetry", "message": {"value": json.dumps(row)}})
                    started = time.monotonic()
                    connection.sendall(one)
                    answers.next()
                    while True:
                        api.request("GET", "/api/v1/gpus/GPU-latency/telemetry?limit=1")
                        answer = api.getresponse()
                        body = answer.read()
                        if answer.status == 200 and json.loads(body)[-1:] and json.loads(body)[-1]["value"] == number:
                            break
                        if time.monotonic() - started > 10:
                            raise RuntimeError(f"sample {number} is not queryable after 10 s: {body[:300]!r}")
                    times.append(time.monotonic() - started)
                wall, cpu = time.monotonic() - begun, server.cpu_seconds() - cpu
                times.sort()
                records.append(result(
                    f"apus/latency/{durability}", "samples", len(times), wall, cpu,
                    p50_ms=round(times[len(times) // 2] * 1000, 3), p99_ms=round(times[len(times) * 99 // 100] * 1000, 3),
                    max_ms=round(times[-1] * 1000, 3)))
            finally:
                server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apus", default=os.path.join(ROOT, ".build", "release", "apus"))
    parser.add_argument("--json", help="write the results there too")
    parser.add_argument("--messages", type=int, default=400_000)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--latencies", type=int, default=1000)
    options = parser.parse_args()
    records = []
    log(options.apus, records, options)
    ingest_text(options.apus, records, options)
    ingest_frames(options.apus, records, options)
    latency(options.apus, records, options)
    write_json(options.json, records)


if __name__ == "__main__":
    main()
