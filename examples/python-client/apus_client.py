"""A client of the Apus broker's TCP door, in nothing but the standard library.

    with Client("127.0.0.1", 9000) as broker:
        first = broker.publish("gpu-telemetry", [{"key": "node-1", "value": "{...}"}])
        for message in broker.subscribe("gpu-telemetry", start=first["base_offset"]):
            print(message["offset"], message["value"])

The protocol is described in docs/protocol.md.
"""

import base64
import json
import socket
import struct


class BrokerError(Exception):
    """An `error` frame: `code` is for programs, the text for people."""

    def __init__(self, frame):
        super().__init__(f"{frame['code']}: {frame['message']}")
        self.code = frame["code"]
        self.details = frame.get("details", {})


class Client:
    """One connection. Not to be shared between threads."""

    def __init__(self, host="127.0.0.1", port=9000, timeout=60):
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._socket.makefile("rb")
        self._last_id = 0
        self._deliveries = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._input.close()
        self._socket.close()

    # Frames: a 4-byte big-endian length, a JSON object, and the payload that the object announces.

    def send(self, request, payload=b""):
        if payload:
            request = {**request, "payload_bytes": len(payload)}
        body = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + payload
        self._socket.sendall(struct.pack(">I", len(body)) + body)

    def receive(self):
        """The next frame and its payload."""
        (length,) = struct.unpack(">I", self._read(4))
        body = self._read(length)
        # A payload may hold any bytes, so the object is taken from the front and the rest is the payload.
        frame, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
        frame = json.loads(body[:end])
        payload = body[end:]
        if len(payload) != frame.get("payload_bytes", 0):
            raise ConnectionError("a frame's payload is not as long as it says")
        return frame, payload

    def request(self, **members):
        """Sends a request and waits for its answer; deliveries that come before it are kept."""
        self._last_id += 1
        self.send({"id": self._last_id, **members})
        while True:
            frame, payload = self.receive()
            if frame.get("id") == self._last_id:
                if frame["type"] == "error":
                    raise BrokerError(frame)
                return frame
            self._keep(frame, payload)

    # What the broker offers.

    def ping(self):
        self.request(type="ping")

    def publish(self, topic, messages, **members):
        """Returns when the messages are durable. A message is a dict: `value` or `value_base64`, `key`, `headers`,
        `timestamp`. Further members: `partition`, or `producer_id`, `epoch` and `sequence`."""
        return self.request(type="publish", topic=topic, messages=messages, **members)

    def publish_many(self, topic, batches, window=64, **members):
        """Publishes lists of messages without waiting for each answer, at most `window` at a time; yields the answers
        in order."""
        waiting = 0
        for messages in batches:
            self._last_id += 1
            self.send({"type": "publish", "id": self._last_id, "topic": topic, "messages": messages, **members})
            waiting += 1
            if waiting == window:
                yield self._answer()
                waiting -= 1
        for _ in range(waiting):
            yield self._answer()

    def register_producer(self):
        """An identity for publishes that may be repeated: the broker knows a repeat by its sequence."""
        answer = self.request(type="register_producer")
        return {"producer_id": answer["producer_id"], "epoch": answer["epoch"]}

    def create_topic(self, topic, partitions=1, **settings):
        return self.request(type="create_topic", topic=topic, partitions=partitions, **settings)

    def delete_topic(self, topic):
        return self.request(type="delete_topic", topic=topic)

    def topics(self):
        return self.request(type="topics")["topics"]

    def offset(self, topic, partition=0, start="latest"):
        return self.request(type="offset", topic=topic, partition=partition, **{"from": start})["offset"]

    def subscribe(self, topic, start="latest", partition="all", credit=1000):
        """Yields messages as they come, for ever: each a dict with `partition`, `offset`, `timestamp`, `key`, `value`
        (bytes where the message is not text) and `headers`. Stop by leaving the loop."""
        members = {"from": start, "credit_messages": credit}
        number = self.request(type="subscribe", topic=topic, partition=partition, **members)["subscription"]
        unpaid = 0
        try:
            while True:
                frame = self._deliveries.pop(0) if self._deliveries else self._keep(*self.receive())
                if frame is None or frame.get("subscription") != number:
                    continue
                if frame["type"] == "error":
                    raise BrokerError(frame)
                for message in frame["messages"]:
                    yield _decoded(message, frame["partition"])
                unpaid += len(frame["messages"])
                # Credit is given back when half of it is used, so that the broker never has to wait for it.
                if unpaid * 2 >= credit:
                    self.send({"type": "credit", "subscription": number, "credit_messages": unpaid})
                    unpaid = 0
        finally:
            self.request(type="unsubscribe", subscription=number)
            self._deliveries.clear()

    def _answer(self):
        while True:
            frame, payload = self.receive()
            if "id" in frame:
                if frame["type"] == "error":
                    raise BrokerError(frame)
                return frame
            self._keep(frame, payload)

    def _keep(self, frame, _payload):
        if frame.get("fatal"):
            raise BrokerError(frame)
        if "subscription" in frame and "id" not in frame:
            self._deliveries.append(frame)

    def _read(self, count):
        data = self._input.read(count)
        if len(data) < count:
            raise ConnectionError("the broker closed the connection")
        return data


def _decoded(message, partition):
    for name in ("key", "value"):
        if f"{name}_base64" in message:
            message[name] = base64.b64decode(message.pop(f"{name}_base64"))
    return {"partition": partition, "key": None, "headers": {}, **message}
