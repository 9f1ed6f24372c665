"""Record values as docs/format/records.md draws them, read by an implementation of its own: what the program writes is
checked against the document, not against the program.

A sample is (milliseconds, uuid, metric, value); NaN is the text "NaN", so that it equals itself.
"""

import json
import struct

from _harness import CheckFailed, check, milliseconds, number

SET, SCRAPE, SAMPLES = 1, 2, 3
COLUMNAR = "application/vnd.apus.scrape"


class Reader:
    """Fields from bytes, each checked against the end."""

    def __init__(self, data, position=0):
        self.data, self.position = data, position

    def take(self, count):
        check(count >= 0 and self.position + count <= len(self.data), f"the record ends early, at {self.position}")
        start = self.position
        self.position += count
        return self.data[start:self.position]

    def fixed(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def varint(self):
        result = shift = 0
        while True:
            byte = self.take(1)[0]
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7

    def zigzag(self):
        raw = self.varint()
        return (raw >> 1) ^ -(raw & 1)

    def text(self):
        return self.take(self.varint()).decode()


class RecordReader:
    """Turns the records of one partition, in order, into samples."""

    def __init__(self):
        self.sets = {}

    def samples(self, value, content_type=None):
        """The samples of one record."""
        if content_type == COLUMNAR:
            return self.columnar(value)
        if content_type is None or content_type.startswith("application/json"):
            document = json.loads(value)
            rows = document if isinstance(document, list) else [document]
            return [
                (milliseconds(row["timestamp"]), row["uuid"], row["metric_name"], number(row["value"])) for row in rows]
        raise CheckFailed(f"a record of content type {content_type!r} cannot be counted here")

    def columnar(self, value):
        kind, version, flags, reserved = value[:4]
        check(version == 1 and reserved == 0, f"record version {version}, reserved byte {reserved}")
        reader = Reader(value, 4)
        if kind == SET:
            self.read_set(reader, flags)
            return []
        if kind == SCRAPE:
            return self.read_scrape(reader, flags)
        check(kind == SAMPLES, f"record kind {kind}")
        return self.read_samples(reader)

    def read_set(self, reader, flags):
        identity = reader.take(16)
        series = []
        if flags & 1:
            base = reader.take(16)
            reader.fixed("q")
            check(base in self.sets, "a set adds to a base that has not been seen")
            series = list(self.sets[base])
        count = reader.varint()
        pairs = [(reader.text(), reader.text()) for _ in range(reader.varint())]
        for _ in range(count):
            series.append(labels_of(reader, pairs))
        for _ in range(reader.varint()):
            reader.text(), reader.take(1), reader.text(), reader.text()
        check(reader.position == len(reader.data), "bytes follow the end of a set")
        self.sets[identity] = series

    def read_scrape(self, reader, flags):
        identity = reader.take(16)
        _, instant, count = reader.fixed("qqI")
        check(identity in self.sets, "a scrape names a set that has not been seen")
        series = self.sets[identity]
        check(len(series) == count, f"a scrape of {count} values for a set of {len(series)} series")
        values = reader.fixed(f"{count}d")
        absent = reader.fixed(f"{(count + 63) // 64}Q") if flags & 1 else ()
        check(reader.position == len(reader.data), "bytes follow the end of a scrape")
        result = []
        for index, (uuid, metric) in enumerate(series):
            if absent and absent[index >> 6] >> (index & 63) & 1:
                continue
            value = values[index]
            result.append((instant, uuid, metric, value if value == value else "NaN"))
        return result

    def read_samples(self, reader):
        result = []
        count = reader.varint()
        pairs = [(reader.text(), reader.text()) for _ in range(reader.varint())]
        for _ in range(count):
            uuid, metric = labels_of(reader, pairs)
            number_of_samples = reader.varint()
            instants = []
            for index in range(number_of_samples):
                instants.append(reader.zigzag() if index == 0 else instants[-1] + reader.varint())
            for instant, value in zip(instants, reader.fixed(f"{number_of_samples}d")):
                result.append((instant, uuid, metric, value if value == value else "NaN"))
        check(reader.position == len(reader.data), "bytes follow the end of the samples")
        return result


def labels_of(reader, pairs):
    """(UUID, metric) of the next label set."""
    labels = dict(pairs[reader.varint()] for _ in range(reader.varint()))
    return labels.get("UUID", ""), labels.get("__name__", "")
