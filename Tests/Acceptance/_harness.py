"""What the end-to-end scripts share: processes of the built program, addresses, waiting, and checks that say what they saw.

Standard library only. Every process is started here, in a session of its own, and only those are ever signalled.
Everything stays on loopback. A script's folder is removed when it passed, and kept and named when it failed.
"""

import argparse
import contextlib
import csv
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REAL_EXPORT = os.path.join(ROOT, "..", "shared", "data", "dcgm_metrics_20250718_134233.csv")
FIXTURE = os.path.join(ROOT, "Tests", "Acceptance", "fixtures", "dcgm_247_gpus.csv.gz")


class CheckFailed(AssertionError):
    """A promise that was not kept, in a sentence."""


def check(condition, sentence):
    """Fails with the sentence when the condition does not hold."""
    if not condition:
        raise CheckFailed(sentence)


def equal(found, expected, what):
    """Fails when the two differ, and shows both."""
    if found != expected:
        raise CheckFailed(f"{what}: expected {short(expected)}, found {short(found)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + "…"


def eventually(body, timeout, what, every=0.05):
    """Runs the body until it no longer fails a check (or a connection), and returns what it returns."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return body()
        except (CheckFailed, OSError, http.client.HTTPException) as error:
            if time.monotonic() > deadline:
                raise CheckFailed(f"{what}: not within {timeout} s; last seen: {error}") from error
        time.sleep(every)


def say(text):
    print(f"  {text}", flush=True)


class Process:
    """One process of the built program, its output in files."""

    def __init__(self, bench, name, arguments, environment=None):
        self.bench = bench
        self.name = name
        self.arguments = [str(argument) for argument in arguments]
        self.out_path = os.path.join(bench.folder, f"{name}.out")
        self.err_path = os.path.join(bench.folder, f"{name}.err")
        # What earlier runs of the same role printed stays in the files; only what comes from here on counts.
        self.out_start = os.path.getsize(self.out_path) if os.path.exists(self.out_path) else 0
        self.err_start = os.path.getsize(self.err_path) if os.path.exists(self.err_path) else 0
        settings = {key: value for key, value in os.environ.items() if not key.startswith("APUS_")}
        settings["SWIFT_BACKTRACE"] = "enable=no"
        settings.update(environment or {})
        with open(self.out_path, "ab") as out, open(self.err_path, "ab") as err:
            self.process = subprocess.Popen(
                [bench.apus, *self.arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=bench.folder,
                env=settings, start_new_session=True)
        bench.processes.append(self)

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        with open(self.out_path, "rb") as file:
            file.seek(self.out_start)
            return file.read().decode("utf-8", "replace")

    def errors(self):
        with open(self.err_path, "rb") as file:
            file.seek(self.err_start)
            return file.read().decode("utf-8", "replace")

    def is_running(self):
        return self.process.poll() is None

    def address(self, listener, timeout=30):
        """(host, port) of a line `listening LISTENER HOST:PORT` on standard output."""

        def look():
            found = re.search(rf"^listening {re.escape(listener)} (\S+):(\d+)$", self.output(), re.MULTILINE)
            if not found and not self.is_running():
                raise RuntimeError(
                    f"{self.name} ended with {self.process.returncode} before it listened: {self.errors()[-2000:]}")
            check(found, f"{self.name} has not printed \"listening {listener} HOST:PORT\"")
            return found.group(1).strip("[]"), int(found.group(2))

        return eventually(look, timeout, f"{self.name} listens as {listener}")

    def http(self, listener="api"):
        return Http(*self.address(listener))

    def wait(self, timeout):
        """The exit status, once the process ends by itself."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{self.name} has not ended within {timeout} s") from None

    def stop(self, within=10):
        """SIGTERM; checks that it exits with 0 in time, and returns how long it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.wait(within)
        took = time.monotonic() - started
        equal(status, 0, f"the exit status of {self.name} after SIGTERM ({self.errors()[-500:]})")
        return took

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/status") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Http:
    """Requests to one server; a connection each, so that a restart in between is no matter."""

    def __init__(self, host, port, timeout=30):
        self.host, self.port, self.timeout = host, port, timeout

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def json(self, path):
        """The document, of an answer that must be 200."""
        status, _, body = self.get(path)
        check(status == 200, f"GET {path} answered {status}: {body[:500]!r}")
        return json.loads(body)

    def all_pages(self, path):
        """Every item of a list, following the links to the next page."""
        items = []
        while path:
            status, headers, body = self.get(path)
            check(status == 200, f"GET {path} answered {status}: {body[:500]!r}")
            items += json.loads(body)
            found = re.search(r'<([^>]*)>;\s*rel="next"', headers.get("link", ""))
            path = None
            if found:
                target = found.group(1)
                path = re.sub(r"^https?://[^/]+", "", target)
        return items

    def metrics(self):
        """The numbers of /metrics by `name` and `name{labels}`."""
        status, _, body = self.get("/metrics")
        check(status == 200, f"GET /metrics answered {status}")
        numbers = {}
        for line in body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                numbers[name] = float(value)
        return numbers

    def metric(self, name):
        """The sum over all series of a metric; 0 where there is none."""
        return sum(value for key, value in self.metrics().items() if key == name or key.startswith(name + "{"))


class Bench:
    """A folder for one script and the processes it started."""

    def __init__(self, apus):
        self.apus = apus
        self.folder = tempfile.mkdtemp(prefix="apus-acceptance-")
        self.processes = []

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def start(self, name, *arguments, environment=None):
        return Process(self, name, arguments, environment)

    def run(self, *arguments, timeout=120, environment=None):
        """Runs a command to its end: (status, standard output, standard error)."""
        settings = {key: value for key, value in os.environ.items() if not key.startswith("APUS_")}
        settings["SWIFT_BACKTRACE"] = "enable=no"
        settings.update(environment or {})
        done = subprocess.run(
            [self.apus, *[str(argument) for argument in arguments]], stdin=subprocess.DEVNULL, capture_output=True,
            timeout=timeout, cwd=self.folder, env=settings, check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def close(self, failed):
        for process in self.processes:
            if process.is_running():
                process.process.kill()
                process.process.wait()
        if not failed:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        print(f"\nThe logs are in {self.folder}; their ends:", file=sys.stderr)
        for process in self.processes:
            with contextlib.suppress(OSError):
                status = process.process.returncode
                print(f"--- {process.name} (exit {status}): {' '.join(process.arguments)}", file=sys.stderr)
                print(process.errors()[-3000:], file=sys.stderr)


def free_ports(count):
    """Ports that are free now, for roles that must come back on the same one."""
    sockets = []
    for _ in range(count):
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        sockets.append(one)
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def export_path(bench):
    """The real DCGM export where it is at hand, else the fixture of the same shape, unpacked."""
    if os.path.exists(REAL_EXPORT):
        return os.path.abspath(REAL_EXPORT)
    import gzip

    path = bench.path("export.csv")
    with gzip.open(FIXTURE, "rb") as packed, open(path, "wb") as plain:
        shutil.copyfileobj(packed, plain)
    return path


def read_rows(path):
    """The rows of a CSV as dictionaries, with the value as a number and the time in milliseconds."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["number"] = number(row["value"])
        row["milliseconds"] = milliseconds(row["timestamp"])
    return rows


def number(value):
    """A value as JSON or CSV writes it; NaN is made comparable."""
    result = float(str(value).replace("Inf", "inf"))
    return "NaN" if result != result else result


def milliseconds(text):
    """RFC 3339 to milliseconds since 1970, without rounding through a float."""
    found = re.fullmatch(r"(\d+)-(\d+)-(\d+)[Tt ](\d+):(\d+):(\d+)(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)", text)
    check(found, f"\"{text}\" is not RFC 3339")
    import datetime

    year, month, day, hour, minute, second = (int(found.group(index)) for index in range(1, 7))
    moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc)
    seconds = int(moment.timestamp())
    zone = found.group(8)
    if zone not in "Zz":
        sign = 1 if zone[0] == "+" else -1
        seconds -= sign * (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60)
    fraction = (found.group(7) or "0")[:3].ljust(3, "0")
    return seconds * 1000 + int(fraction)


def sample_key(row):
    """What makes a telemetry row one sample."""
    return (milliseconds(row["timestamp"]), row["uuid"], row["metric_name"])


def main(description, body, arguments=None):
    """Runs a script's body with a bench and its flags; prints what failed and exits by it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--apus", default=os.path.join(ROOT, ".build", "release", "apus"), help="the program to drive")
    parser.add_argument("--seed", type=int, default=None, help="repeat the random choices of an earlier run")
    for names, settings in arguments or []:
        parser.add_argument(*names, **settings)
    options = parser.parse_args()
    options.apus = os.path.abspath(options.apus)
    if not os.access(options.apus, os.X_OK):
        print(f"there is no program at {options.apus}; build it with: make build", file=sys.stderr)
        sys.exit(66)
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(4), "big")
    random.seed(options.seed)
    print(f"{os.path.basename(sys.argv[0])}: seed {options.seed}", flush=True)
    bench = Bench(options.apus)
    started = time.monotonic()
    failed = True
    try:
        body(bench, options)
        failed = False
    except CheckFailed as error:
        print(f"FAILED: {error}", file=sys.stderr)
    finally:
        # Reached with any other exception too: it shows its own traceback.
        bench.close(failed)
    if failed:
        print(f"failed after {time.monotonic() - started:.1f} s; seed {options.seed}", file=sys.stderr)
        sys.exit(1)
    print(f"passed in {time.monotonic() - started:.1f} s")
