#!/usr/bin/env python3
"""Goal: hostile clients and a full disk cost the others nothing.

Method: (1) Clients send oversized frames, bad JSON, unknown types, half frames, HTTP and noise to the TCP door while a
good client goes on publishing and reading; each gets an error frame or is let go. (2) The broker's folder is a small
file system that fills up (a tmpfs, which needs root; without it this part is skipped and says so): publishing is refused
as `disk_full`, readers go on, and writing resumes when there is room.
"""

import contextlib
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


def body(bench, options):
    hostile_clients(bench)
    full_disk(bench)


if __name__ == "__main__":
    main(__doc__, body)
