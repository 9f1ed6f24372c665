#!/usr/bin/env python3
"""Goal: every role says how it is, in the same way, and stops in order.

Method: each role is started on free ports and asked for `/health`, `/ready`, `/stats` and `/metrics`; the metrics' names,
types and help texts are golden files in golden/metrics (`--update` writes them anew); SIGTERM must end it with 0 in time.
"""

import os
import re
import time

from _harness import ROOT, check, equal, eventually, main, say

GOLDEN = os.path.join(ROOT, "Tests", "Acceptance", "golden", "metrics")
REFERENCE = os.path.join(ROOT, "docs", "reference", "metrics.md")


def families(page):
    """`name type help` of each family, and the checks that any scraper makes."""
    lines, seen = [], set()
    help_text = {}
    current = None
    for line in page.splitlines():
        found = re.fullmatch(r"# HELP (\S+) (.*)", line)
        if found:
            help_text[found.group(1)] = found.group(2)
            continue
        found = re.fullmatch(r"# TYPE (\S+) (\S+)", line)
        if found:
            current = found.group(1)
            check(current not in seen, f"the family {current} is there twice")
            seen.add(current)
            check(help_text.get(current), f"{current} has no help text")
            lines.append(f"{current} {found.group(2)} {help_text[current]}")
            continue
        if line:
            found = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\})? (\S+)", line)
            check(found, f"a line is no sample: {line!r}")
            float(found.group(3).replace("Inf", "inf"))
            check(current and found.group(1).startswith(current), f"{found.group(1)} stands below {current}")
    return "\n".join(sorted(lines)) + "\n"


def check_role(bench, role, arguments, listener, update):
    process = bench.start(role, role, *arguments)
    http = process.http(listener)
    status, headers, _ = http.get("/health")
    equal(status, 200, f"/health of apus {role}")
    eventually(lambda: equal(http.get("/ready")[0], 200, f"/ready of apus {role}"), 20, f"apus {role} is ready")
    check(isinstance(http.json("/stats"), dict), f"/stats of apus {role} is no object")
    equal(http.get("/nowhere")[0], 404, f"an unknown path of apus {role}")
    path = os.path.join(GOLDEN, f"{role}.txt")

    def page():
        status, headers, body = http.get("/metrics")
        equal(status, 200, f"/metrics of apus {role}")
        check(headers["content-type"].startswith("text/plain; version=0.0.4"), f"/metrics is {headers['content-type']}")
        return families(body.decode())

    if update:
        # What counts by label appears with its first count.
        time.sleep(2)
        os.makedirs(GOLDEN, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(page())
        return process
    with open(path, encoding="utf-8") as file:
        expected = set(file.read().splitlines())
    with open(REFERENCE, encoding="utf-8") as file:
        documented = set(re.findall(r"^\| `([a-z_0-9]+)` \|", file.read(), re.MULTILINE))

    def as_recorded():
        lines = set(page().splitlines())
        missing = expected - lines
        check(not missing, f"/metrics of apus {role} lacks {sorted(missing)[:3]}; run roles.py --update after a look")
        unknown = {line.split()[0] for line in lines} - documented
        check(not unknown, f"docs/reference/metrics.md lacks {sorted(unknown)[:3]} of apus {role}")

    eventually(as_recorded, 20, f"the metrics of apus {role}")
    return process


def body(bench, options):
    none = ["127.0.0.1:0"]
    broker = check_role(
        bench, "broker", ["--data-dir", bench.path("broker"), "--tcp-listen", *none, "--http-listen", *none], "http",
        options.update)
    url = "tcp://{}:{}".format(*broker.address("tcp"))
    collector = check_role(
        bench, "collect", ["--broker", url, "--data-dir", bench.path("collector"), "--http-listen", *none], "http",
        options.update)
    store = "http://{}:{}".format(*collector.address("http"))
    api = check_role(bench, "api", ["--store", store, "--api-listen", *none], "api", options.update)
    streamer = check_role(
        bench, "stream",
        ["--simulate", "1x1", "--interval", "100ms", "--broker", url, "--data-dir", bench.path("streamer"),
         "--http-listen", *none], "http", options.update)
    up = check_role(
        bench, "up",
        ["--simulate", "1x1", "--interval", "100ms", "--data-dir", bench.path("up"), "--api-listen", *none,
         "--tcp-listen", *none, "--http-listen", *none], "api", options.update)
    for process in (up, streamer, api, collector, broker):
        say(f"apus {process.name}: SIGTERM to exit 0 took {process.stop(within=10):.2f} s")


if __name__ == "__main__":
    main(__doc__, body, [(("--update",), {"action": "store_true", "help": "write the golden files anew"})])
