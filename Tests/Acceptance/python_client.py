#!/usr/bin/env python3
"""Goal: the short client of docs/protocol.md works against the program as it is.

Method: the example is run against a fresh broker; it publishes messages and must read all of them back, in order.
"""

import os
import subprocess
import sys

from _harness import ROOT, equal, main, say

EXAMPLE = os.path.join(ROOT, "examples", "python-client", "run-example")


def body(bench, options):
    broker = bench.start(
        "broker", "broker", "--data-dir", bench.path("broker"), "--tcp-listen", "127.0.0.1:0", "--http-listen",
        "127.0.0.1:0")
    host, port = broker.address("tcp")
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--broker", f"{host}:{port}"], capture_output=True, timeout=120, check=False, text=True)
    equal(done.returncode, 0, f"the exit status of the example ({done.stdout[-500:]}{done.stderr[-1500:]})")
    say(done.stdout.strip().splitlines()[-1])
    broker.stop()


if __name__ == "__main__":
    main(__doc__, body)
