"""A client of the broker's TCP door, as docs/protocol.md describes it: frames of a 4-byte big-endian length and a JSON
object, which may be followed by raw bytes.
"""

import base64
import json
import socket
import struct

from _harness import CheckFailed, check
from _records import RecordReader


class DoorRefused(Exception):
    """The broker answered with an `error` frame."""

    def __init__(self, frame):
        super().__init__(f"{frame['code']}: {frame['message']}")
        self.code = frame["code"]
        self.frame = frame


class Door:
    """One connection. Requests wait for their answers; deliveries that come meanwhile are kept."""

    def __init__(self, host, port, timeout=60):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, document, payload=b""):
        body = json.dumps(document).encode() + payload
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def receive(self):
        """The next frame: (object, payload, size)."""
        size = struct.unpack(">I", self.take(4))[0]
        frame = self.take(size)
        # What follows the object is raw bytes, so its end is looked for in a text of one character a byte, and the
        # object is then read as the UTF-8 that it is.
        _, end = json.JSONDecoder().raw_decode(frame.decode("latin-1"))
        return json.loads(frame[:end].decode("utf-8")), frame[end:], size + 4

    def take(self, count):
        while len(self.rest) < count:
            data = self.socket.recv(1 << 20)
            check(data, "the broker closed the connection")
            self.rest += data
        part, self.rest = self.rest[:count], self.rest[count:]
        return part

    def request(self, document):
        """Sends a request and returns its answer; `DoorRefused` for an error."""
        self.number += 1
        self.send({**document, "id": self.number})
        while True:
            answer, _, _ = self.receive()
            if answer.get("id") != self.number:
                continue
            if answer["type"] == "error":
                raise DoorRefused(answer)
            return answer

    def ping(self):
        check(self.request({"type": "ping"})["type"] == "pong", "a ping was not answered by a pong")

    def create_topic(self, topic, partitions=1):
        return self.request({"type": "create_topic", "topic": topic, "partitions": partitions})

    def topics(self):
        return {topic["topic"]: topic for topic in self.request({"type": "topics"})["topics"]}

    def publish(self, topic, values, **more):
        """Publishes texts as one request; returns the answer with their offsets."""
        return self.request(
            {"type": "publish", "topic": topic, "messages": [{"value": value} for value in values], **more})

    def messages(self, topic, partition=0):
        """Every message from the first offset up to the end that the partition has when it is begun."""
        described = self.topics().get(topic)
        check(described is not None, f"there is no topic {topic}")
        end = described["partitions"][partition]["high_watermark"]
        position = described["partitions"][partition]["log_start"]
        if position >= end:
            return
        subscribed = self.request({
            "type": "subscribe", "topic": topic, "partition": partition, "from": "earliest", "credit_bytes": 4 << 20})
        number = subscribed["subscription"]
        while position < end:
            frame, _, size = self.receive()
            if frame["type"] == "error":
                raise DoorRefused(frame)
            if frame["type"] != "messages" or frame["subscription"] != number:
                continue
            for message in frame["messages"]:
                check(message["offset"] >= position, f"offset {message['offset']} came after {position - 1}")
                position = message["offset"] + 1
                if message["offset"] < end:
                    yield message
            position = max(position, frame["next_offset"])
            self.send({"type": "credit", "subscription": number, "credit_bytes": size})
        self.request({"type": "unsubscribe", "subscription": number})

    def samples(self, topic):
        """Every sample of a telemetry topic, record by record."""
        for partition in range(len(self.topics()[topic]["partitions"])):
            reader = RecordReader()
            for message in self.messages(topic, partition):
                try:
                    yield from reader.samples(value_of(message), header(message, "content-type"))
                except CheckFailed as error:
                    raise CheckFailed(f"{topic}/{partition} offset {message['offset']}: {error}") from error


def value_of(message):
    """The bytes of a message's value."""
    if "value_base64" in message:
        return base64.b64decode(message["value_base64"])
    return message["value"].encode()


def header(message, name):
    return message.get("headers", {}).get(name)
