#!/usr/bin/env python3
"""Goal: hostile clients and a full disk cost the others nothing.

Method: (0) Requests that are cut off, mislabelled, bombs or noise go to the ways in over HTTP while a good client goes on;
each is refused by its status, memory stays bounded, and what was good is there. (1) Clients send oversized frames, bad JSON, unknown types, half frames, HTTP and noise to the TCP door while a
good client goes on publishing and reading; each gets an error frame or is let go. (2) The broker's folder is a small
file system that fills up (a tmpfs, which needs root; without it this part is skipped and says so): publishing is refused
as `disk_full`, readers go on, and writing resumes when there is room.
"""

import contextlib
import gzip
import os
import random
import socket
import struct
import subprocess
import threading
import time

from _door import Door, DoorRefused
from _harness import check, equal, eventually, main, say


def frame(body):
    return struct.pack(">I", len(body)) + body


def raw(address, data, timeout=30, half_close=False):
    """Sends bytes and returns what comes back until the other side closes, or nothing comes for a second."""
    with socket.create_connection(address, timeout=timeout) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        answer = b""
        connection.settimeout(1)
        with contextlib.suppress(OSError):
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                answer += part
        return answer


class GoodClient(threading.Thread):
    """Publishes and counts until told to stop; the others must not disturb it."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address = address
        self.stopping = threading.Event()
        self.published = 0
        self.slowest = 0.0
        self.error = None

    def run(self):
        try:
            with Door(*self.address) as door:
                while not self.stopping.is_set():
                    started = time.monotonic()
                    door.publish("good", [f"message {self.published}"])
                    door.ping()
                    self.slowest = max(self.slowest, time.monotonic() - started)
                    self.published += 1
        except Exception as error:  # Shown by the main thread.
            self.error = error


def hostile_clients(bench):
    broker = bench.start(
        "broker", "broker", "--data-dir", bench.path("broker"), "--tcp-listen", "127.0.0.1:0", "--http-listen",
        "127.0.0.1:0")
    address = broker.address("tcp")
    good = GoodClient(address)
    good.start()
    expected = [
        ("an oversized frame", struct.pack(">I", 0x7FFFFFFF) + b"x" * 100, b"frame_too_large"),
        ("an empty frame", struct.pack(">I", 0), b"empty_frame"),
        ("bad JSON", frame(b"{\"type\": \"ping\","), b"invalid_json"),
        ("no JSON at all", frame(bytes(range(256))), b"invalid_json"),
        ("an unknown type", frame(b"{\"type\": \"make_coffee\", \"id\": 7}"), b"unknown_type"),
        ("no type", frame(b"{\"id\": 7}"), b"invalid_request"),
        ("a topic that cannot be", frame(b"{\"type\": \"publish\", \"topic\": \"a/b\", \"message\": {\"value\": \"x\"}}"),
         b"invalid_topic_name"),
        ("a message without value", frame(b"{\"type\": \"publish\", \"topic\": \"a\", \"message\": {}}"), b"invalid_request"),
        ("a topic that is not there", frame(b"{\"type\": \"subscribe\", \"topic\": \"nowhere\", \"from\": \"earliest\", \"credit_bytes\": 1}"),
         b"unknown_topic"),
        ("deep nesting", frame(b"{\"type\":" + b"[" * 5000 + b"}"), b"invalid_"),
    ]
    for what, data, code in expected:
        answer = raw(address, data)
        check(code in answer, f"{what} was answered with {answer[:300]!r}, not with {code.decode()}")
    # HTTP's first four bytes announce a frame of a gigabyte.
    answer = raw(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    check(b"frame_too_large" in answer, f"an HTTP request was answered with {answer[:300]!r}")
    for _ in range(50):
        raw_quick(address, random.randbytes(random.randint(1, 2000)))
    # Half a frame, then silence: the connections are held open while the good client goes on.
    idle = []
    for _ in range(100):
        connection = socket.create_connection(address, timeout=10)
        connection.sendall(struct.pack(">I", 1000) + b"{\"type\"")
        idle.append(connection)
    before = good.published
    eventually(lambda: check(good.published > before + 20, "the good client is stuck"), 20, "the good client goes on")
    for connection in idle:
        connection.close()
    good.stopping.set()
    good.join(30)
    check(good.error is None, f"the good client failed: {good.error!r}")
    with Door(*address) as door:
        equal(sum(1 for _ in door.messages("good")), good.published, "the messages of the good client")
    say(f"11 kinds of bad frames were refused by name; the good client published {good.published} messages, the slowest "
        f"in {good.slowest * 1000:.0f} ms")
    broker.stop()


def raw_quick(address, data):
    with socket.create_connection(address, timeout=10) as connection, contextlib.suppress(OSError):
        connection.sendall(data)


@contextlib.contextmanager
def small_disk(bench, megabytes):
    """A file system of its own; None where it cannot be mounted."""
    path = bench.path("small-disk")
    os.makedirs(path)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], capture_output=True, check=False)
    if done.returncode != 0:
        yield None
        return
    try:
        yield path
    finally:
        for process in bench.processes:
            if process.is_running():
                process.kill()
        subprocess.run(["umount", path], check=False)


def full_disk(bench):
    with small_disk(bench, 24) as path:
        if path is None:
            print("  SKIPPED: the full disk needs a tmpfs, and mounting one needs root", flush=True)
            return
        broker = bench.start(
            "broker-small-disk", "broker", "--data-dir", os.path.join(path, "data"), "--tcp-listen", "127.0.0.1:0",
            "--http-listen", "127.0.0.1:0", "--segment-bytes", "4MiB")
        address = broker.address("tcp")
        ballast = os.path.join(path, "ballast")
        with open(ballast, "wb") as file:
            file.write(b"x" * (12 << 20))
        accepted = 0
        refused = None
        with Door(*address) as door:
            for _ in range(100):
                try:
                    door.publish("full", [f"{accepted + index:08d}" + "x" * 992 for index in range(500)])
                    accepted += 500
                except DoorRefused as error:
                    refused = error
                    break
            check(refused is not None, f"{accepted} kilobytes went onto a disk that has no room for them")
            equal(refused.code, "disk_full", f"the code of the refusal ({refused})")
            say(f"after {accepted} messages publishing was refused: {refused}")
            # Readers go on, and get what was acknowledged, all of it.
            values = [message["value"] for message in door.messages("full")]
            equal([int(value[:8]) for value in values[:accepted]], list(range(accepted)), "what a reader gets meanwhile")
            equal(len(values), accepted, "how many messages a reader gets meanwhile")
        status, _, _ = broker.http("http").get("/health")
        check(status in (200, 503), f"/health answered {status}")
        os.remove(ballast)

        def publishes():
            with Door(*address) as door:
                try:
                    door.publish("full", [f"{accepted:08d}" + "x" * 992])
                except DoorRefused as error:
                    check(False, f"still refused: {error}")

        eventually(publishes, 30, "writing resumes when there is room", every=0.2)
        with Door(*address) as door:
            values = [int(message["value"][:8]) for message in door.messages("full")]
        equal(values, list(range(accepted + 1)), "what is in the topic afterwards")
        broker.stop()
        say("readers went on, and writing resumed when there was room again")


def varint(value):
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def snappy_bomb(megabytes):
    """One byte, then copies of 64 bytes of it: 21 times its own length."""
    total = megabytes << 20
    return varint(total) + b"\x00a" + b"\xfe\x01\x00" * ((total - 1) // 64)


def http_request(path, body, *headers, length=None):
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(address, request):
    """Sends a request and returns the status of its answer; None where the connection is closed without one."""
    with socket.create_connection(address, timeout=60) as connection:
        sending = threading.Thread(target=send_all, args=(connection, request), daemon=True)
        sending.start()
        answer = b""
        with contextlib.suppress(ConnectionError):
            while b"\r\n\r\n" not in answer:
                part = connection.recv(65536)
                if not part:
                    break
                answer += part
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sending.join(60)
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def send_all(connection, data):
    with contextlib.suppress(OSError):
        connection.sendall(data)


def ways_in(bench):
    up = bench.start(
        "up", "up", "--data-dir", bench.path("up"), "--api-listen", "127.0.0.1:0", "--tcp-listen", "127.0.0.1:0",
        "--http-listen", "127.0.0.1:0", "--ingest-body-limit", "8MiB", "--log-level", "error")
    address = up.address("api")
    api = up.http("api")
    text, write, lines, otlp = "/api/v1/import/prometheus", "/api/v1/write", "/write", "/v1/metrics"
    protobuf = "Content-Type: application/x-protobuf"
    page = b"".join(b'good{UUID="GPU-good",gpu="0",n="%d"} %d 1000\n' % (n, n) for n in range(100))
    packed = gzip.compress(page)
    bomb = gzip.compress(b"\0" * (200 << 20))
    noise = random.randbytes(5000)
    expected = [
        ("truncated gzip", http_request(text, packed[:-20], "Content-Encoding: gzip"), {400}),
        ("gzip that is none", http_request(lines, page, "Content-Encoding: gzip"), {400}),
        ("a gzip bomb", http_request(text, bomb, "Content-Encoding: gzip"), {413}),
        ("a gzip bomb of OTLP", http_request(otlp, bomb, "Content-Encoding: gzip", protobuf), {413}),
        ("a gzip whose length lies", http_request(text, packed[:-4] + b"\xff\xff\xff\xff", "Content-Encoding: gzip"), {400, 413}),
        ("a snappy bomb", http_request(write, snappy_bomb(40), protobuf), {413}),
        ("snappy within the bound, and no message", http_request(write, snappy_bomb(4), protobuf), {400}),
        ("snappy that claims 4 GiB", http_request(write, b"\xff\xff\xff\xff\x0f" + noise, protobuf), {413}),
        ("snappy noise", http_request(write, noise, protobuf), {400, 413}),
        ("a body without encoding", http_request(write, page, protobuf), {400, 413}),
        ("noise as OTLP", http_request(otlp, b"\xff" * 100, protobuf), {400}),
        ("text as OTLP", http_request(otlp, page), {415}),
        ("JSON as OTLP", http_request(otlp, b"{}", "Content-Type: application/json"), {415}),
        ("an encoding that is not known", http_request(text, page, "Content-Encoding: br"), {415}),
        ("a body beyond the limit", http_request(text, b"", length=9 << 20), {413}),
        ("a body of 100 TB", http_request(lines, b"", length=100 << 40), {413}),
        ("a length that is none", http_request(text, page, length="many"), {400}),
        ("a length below zero", http_request(text, page, length=-5), {400}),
        ("noise as text", http_request(text, b"\x00\xff{" + noise.replace(b"\n", b"")), {400}),
        ("noise as lines", http_request(lines, b"\x00\xff{" + noise), {400}),
        ("one line of 8 MB", http_request(text, b"a" * (8 << 20)), {400}),
        ("a name of 8 MB", http_request(lines, b"a" * (7 << 20) + b" value=1"), {400}),
        ("a header of 100 MB", b"POST /write HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (100 << 20), {400, 431, None}),
        ("a header too many", http_request(text, b"", *[f"X-{n}: 1" for n in range(1000)]), {400, 431, None}),
        ("a parameter that is not there", http_request(text + "?db=x", page), {400}),
    ]
    before = up.resident_bytes()
    for what, request, wanted in expected:
        status = status_of(address, request)
        check(status in wanted, f"{what} was answered with {status}, not with one of {wanted}")
        equal(api.request("POST", text, body=page)[0], 204, f"the status of a good page behind {what}")
    # Bodies that never come: each holds a connection and nothing else.
    idle = []
    for _ in range(50):
        connection = socket.create_connection(address, timeout=10)
        connection.sendall(http_request(text, b"a 1", length=7 << 20))
        idle.append(connection)
    equal(api.request("POST", text, body=page)[0], 204, "the status of a good page beside bodies that do not come")
    for connection in idle:
        connection.close()
    # In chunks, without a length: the limit holds all the same.
    chunk = b"%x\r\n" % (1 << 20) + b"a" * (1 << 20) + b"\r\n"
    chunked = b"POST /write HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    equal(status_of(address, chunked + chunk * 10 + b"0\r\n\r\n"), 413, "the status of 10 MB in chunks")
    grown = up.resident_bytes() - before
    check(grown < 200 << 20, f"{grown >> 20} MiB more are in memory")
    rows = api.all_pages("/api/v1/gpus/GPU-good/telemetry?limit=10000&start_time=0")
    equal(sorted(row["value"] for row in rows), list(range(100)), "the good samples")
    equal(api.get("/health")[0], 200, "the status of /health")
    up.stop()
    say(f"{len(expected) + 1} kinds of bad requests to the ways in were refused by their status; {grown >> 20} MiB more memory")


def body(bench, options):
    ways_in(bench)
    hostile_clients(bench)
    full_disk(bench)


if __name__ == "__main__":
    main(__doc__, body)
