#!/usr/bin/env python3
"""Sets what was measured side by side: per processor second, the program over its peer."""

import json
import os
import sys

PAIRS = [
    ("publish, synced before each answer, one message a frame", "apus/publish/every", "nats/publish/sync=always"),
    ("publish, synced before each answer, a hundred a frame", "apus/publish-100/every", "nats/publish/sync=always"),
    ("publish, not synced, one message a frame", "apus/publish/none", "nats/publish/sync=2m"),
    ("publish, not synced, a hundred a frame", "apus/publish-100/none", "nats/publish/sync=2m"),
    ("read by one subscriber", "apus/read", "nats/read/sync=2m"),
    ("ingest of exporter pages as text", "apus/ingest-text", "prometheus/scrape"),
    ("ingest of scrapes, as streamed", "apus/ingest-simulated", "prometheus/scrape"),
]


def main():
    folder = sys.argv[1]
    found = {}
    for name in ("apus", "nats", "prometheus"):
        path = os.path.join(folder, f"{name}.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found.update({record["name"]: record for record in json.load(file)["results"]})
    print(f"\n{'per processor second':60} {'Apus':>14} {'peer':>14} {'ratio':>8}")
    for what, ours, theirs in PAIRS:
        if ours in found and theirs in found:
            left, right = found[ours]["per_cpu_second"], found[theirs]["per_cpu_second"]
            print(f"{what:60} {left:14,.0f} {right:14,.0f} {left / right:8.2f}")


if __name__ == "__main__":
    main()
