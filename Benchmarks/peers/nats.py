#!/usr/bin/env python3
"""NATS JetStream as a peer of the log: publish and read 300-byte messages, in messages per CPU second of the server.

The publisher speaks NATS' own protocol over one connection from a buffer that is made beforehand, with a window of
publishes under way, so that it costs little and never waits for single answers. Each publish asks for its
acknowledgement. `sync_interval: always` is the policy of an fsync before each acknowledgement; without it the server
syncs every two minutes, which is its default.
"""

import argparse
import json
import os
import shutil
import time

from _measure import ROOT, Server, connect, folder, free_port, result, write_json

SIZE = 300


class Connection:
    """One NATS connection: a socket and what it has not read yet."""

    def __init__(self, socket):
        self.socket = socket
        self.rest = b""
        self.read_line()  # INFO
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"lang":"bench"}\r\nPING\r\n')
        while self.read_line() != b"PONG":
            pass

    def read_line(self):
        while b"\r\n" not in self.rest:
            data = self.socket.recv(65536)
            if not data:
                raise RuntimeError("the server closed the connection")
            self.rest += data
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def read_message(self):
        while True:
            line = self.read_line()
            if line == b"PING":
                self.socket.sendall(b"PONG\r\n")
                continue
            if line.startswith(b"MSG "):
                size = int(line.split()[-1])
                while len(self.rest) < size + 2:
                    self.rest += self.socket.recv(65536)
                body, self.rest = self.rest[:size], self.rest[size + 2:]
                return body
            if line.startswith(b"-ERR"):
                raise RuntimeError(line.decode())

    def request(self, subject, document):
        body = json.dumps(document).encode()
        self.socket.sendall(
            b"SUB _INBOX.api 1\r\nUNSUB 1 1\r\nPUB %s _INBOX.api %d\r\n%s\r\n" % (subject.encode(), len(body), body))
        answer = json.loads(self.read_message())
        if "error" in answer:
            raise RuntimeError(f"{subject}: {answer['error']}")
        return answer


def publish(port, server, count, window):
    """Publishes with a window of unanswered ones; returns wall and processor seconds."""
    connection = Connection(connect(port, server))
    connection.socket.sendall(b"SUB _INBOX.ack 2\r\n")
    payload = os.urandom(SIZE // 2).hex().encode()
    one = b"PUB bench _INBOX.ack %d\r\n%s\r\n" % (SIZE, payload)
    chunk = max(1, window // 4)
    block = one * chunk
    sent = answered = 0
    tail = b""
    cpu, started = server.cpu_seconds(), time.monotonic()
    while answered < count:
        while sent < count and sent - answered <= window - chunk:
            number = min(chunk, count - sent)
            connection.socket.sendall(block if number == chunk else one * number)
            sent += number
        data = connection.socket.recv(1 << 20)
        if not data:
            raise RuntimeError("the server closed the connection")
        if b'"error"' in data or b"-ERR" in data:
            raise RuntimeError(data[:500].decode("utf-8", "replace"))
        # An acknowledgement is one line that starts with MSG; a start that two reads share is counted with the second.
        joined = tail + data
        answered += joined.count(b"MSG _INBOX.ack")
        tail = b"" if joined.endswith(b"MSG _INBOX.ack") else joined[-13:]
        if b"PING\r\n" in data:
            connection.socket.sendall(b"PONG\r\n")
    wall, cpu = time.monotonic() - started, server.cpu_seconds() - cpu
    connection.socket.close()
    return wall, cpu


def read(port, server, count):
    """Has the server push the whole stream; returns wall and processor seconds."""
    connection = Connection(connect(port, server))
    body = json.dumps({
        "stream_name": "BENCH",
        "config": {"deliver_subject": "deliver", "ack_policy": "none", "deliver_policy": "all"}}).encode()
    cpu, started = server.cpu_seconds(), time.monotonic()
    # The answer comes among the messages.
    connection.socket.sendall(
        b"SUB deliver 3\r\nSUB _INBOX.api 1\r\nPUB $JS.API.CONSUMER.CREATE.BENCH _INBOX.api %d\r\n%s\r\n"
        % (len(body), body))
    seen = 0
    tail = connection.rest
    while seen < count:
        data = connection.socket.recv(1 << 20)
        if not data:
            raise RuntimeError("the server closed the connection")
        if b'"error"' in data:
            raise RuntimeError(data[:500].decode("utf-8", "replace"))
        joined = tail + data
        seen += joined.count(b"MSG bench 3 ")
        # A start that two reads share is counted with the second; one that is whole at the end is not kept.
        tail = b"" if joined.endswith(b"MSG bench 3 ") else joined[-11:]
    wall, cpu = time.monotonic() - started, server.cpu_seconds() - cpu
    connection.socket.close()
    return wall, cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the results there too")
    parser.add_argument("--messages", type=int, default=400_000, help="messages without a sync for each")
    parser.add_argument("--synced-messages", type=int, default=20_000, help="messages with a sync before each answer")
    options = parser.parse_args()
    program = os.path.join(ROOT, ".venv", "bin", "nats-server")
    if not os.path.exists(program):
        program = shutil.which("nats-server")
    if not program:
        raise SystemExit("there is no nats-server; install it with: scripts/bootstrap --bench")
    records = []
    for policy, count in (("always", options.synced_messages), ("2m", options.messages)):
        with folder() as place:
            port = free_port()
            path = os.path.join(place, "nats.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write(
                    f'listen: "127.0.0.1:{port}"\njetstream {{\n  store_dir: "{place}/js"\n  sync_interval: {policy}\n'
                    f"  max_file_store: 20GB\n}}\n")
            server = Server([program, "-c", path], os.path.join(place, "log"))
            try:
                Connection(connect(port, server)).request(
                    "$JS.API.STREAM.CREATE.BENCH",
                    {"name": "BENCH", "subjects": ["bench"], "storage": "file", "retention": "limits", "num_replicas": 1})
                # A first part warms it up.
                warm = count // 10
                publish(port, server, warm, 1000)
                wall, cpu = publish(port, server, count, 4000)
                records.append(result(f"nats/publish/sync={policy}", "messages", count, wall, cpu, bytes=count * SIZE))
                total = warm + count
                wall, cpu = read(port, server, total)
                records.append(result(f"nats/read/sync={policy}", "messages", total, wall, cpu, bytes=total * SIZE))
            finally:
                server.stop()
    write_json(options.json, records)


if __name__ == "__main__":
    main()
