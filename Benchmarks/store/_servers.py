"""The servers that the store is measured beside, and the program itself: how each is started, fed, told to write
everything out and to merge, asked for its samples, and measured. Everything on loopback, in a folder of its own; only
processes that were started here are ever signalled.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))

from _measure import ROOT, Server, free_port  # noqa: E402


class Fleet:
    """A generated fleet, as `apus-fleet` understands it."""

    def __init__(self, hosts=125, gpus=8, scrapes=360, interval=10_000, start=0, seed=1, pods="none", spread=False):
        self.hosts, self.gpus, self.scrapes, self.interval = hosts, gpus, scrapes, interval
        self.start, self.seed, self.pods, self.spread = start, seed, pods, spread

    @property
    def series(self):
        return self.hosts * self.gpus * 20

    @property
    def samples(self):
        return self.series * self.scrapes

    def arguments(self):
        return [
            "--hosts", str(self.hosts), "--gpus", str(self.gpus), "--scrapes", str(self.scrapes), "--interval",
            str(self.interval), "--start", str(self.start), "--seed", str(self.seed), "--pods", self.pods,
            *(["--spread"] if self.spread else [])]


class Tool:
    """`apus-fleet`: sends a fleet to a server and compares what comes back."""

    def __init__(self, program):
        self.program = program

    def load(self, port, fleet, format, path=None, part=None, hosts_per_request=1, shuffled=None):
        arguments = ["load", "--port", str(port), "--format", format, *fleet.arguments(), "--hosts-per-request",
                     str(hosts_per_request)]
        if path:
            arguments += ["--path", path]
        if part:
            arguments += ["--from", str(part[0]), "--to", str(part[1])]
        if shuffled:
            arguments += ["--shuffled", str(shuffled)]
        return self.run(arguments)

    def verify(self, port, fleet, server, part=None):
        arguments = ["verify", "--port", str(port), "--server", server, *fleet.arguments()]
        if part:
            arguments += ["--from", str(part[0]), "--to", str(part[1])]
        return self.run(arguments)

    def uuid(self, fleet, host):
        """The UUID of a host's first GPU, from the host's page."""
        page = subprocess.run(
            [self.program, "page", "--format", "text", "--host", str(host), *fleet.arguments()], check=True,
            stdout=subprocess.PIPE).stdout.decode()
        return re.search(r'UUID="([^"]+)"', page).group(1)

    def run(self, arguments):
        done = subprocess.run([self.program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        text = done.stderr.decode("utf-8", "replace").strip()
        if done.returncode == 2:
            return {**json.loads(done.stdout), "examples": text.splitlines()}
        if done.returncode != 0:
            raise RuntimeError(f"apus-fleet {' '.join(arguments[:6])} …: {text}")
        return json.loads(done.stdout)


class Memory(threading.Thread):
    """The most anonymous memory (no pages of mapped files) that a process has, looked at twenty times a second."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path = f"/proc/{pid}/status"
        self.peak = 0
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.05):
            try:
                with open(self.path) as file:
                    for line in file:
                        if line.startswith("RssAnon:"):
                            self.peak = max(self.peak, int(line.split()[1]) * 1024)
                            break
            except OSError:
                return

    def stop(self):
        self.ended.set()
        self.join()
        return self.peak


def folder_bytes(path):
    """What a folder takes: the lengths of its files, and the blocks of the disk that they have."""
    apparent = allocated = 0
    for base, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(os.path.join(base, name))
            except FileNotFoundError:
                continue
            apparent += status.st_size
            allocated += status.st_blocks * 512
    return apparent, allocated


class StoreServer:
    """What all have in common. `place` is an empty folder on the disk that is measured."""

    name = ""
    ways = ()
    verifier = ""

    def __init__(self, tool, place):
        self.tool = tool
        self.place = place
        self.server = None
        self.port = 0
        self.memory = None
        self.memory_peak = 0

    def arguments(self):
        raise NotImplementedError

    def start(self, timeout=120):
        """Starts the process; returns the seconds until it answered that it is ready."""
        begun = time.monotonic()
        self.server = Server(self.arguments(), os.path.join(self.place, f"{self.name}.log"))
        self.memory = Memory(self.server.process.pid)
        while True:
            self.server.check_running()
            try:
                if self.is_ready():
                    return time.monotonic() - begun
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() - begun > timeout:
                raise RuntimeError(f"{self.name} is not ready after {timeout} s")
            time.sleep(0.01)

    def is_ready(self):
        return self.request("GET", self.ready_path)[0] in (200, 204)

    def request(self, method, path, body=None, headers=None, timeout=600):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, method, path):
        status, body = self.request(method, path)
        if not 200 <= status < 300:
            raise RuntimeError(f"{self.name} answered {method} {path} with {status}: {body[:300]!r}")
        return body

    def cpu(self):
        return self.server.cpu_seconds()

    def load(self, fleet, way, **more):
        format, path = self.ways[way]
        return self.tool.load(self.port, fleet, format, path, **more)

    def wait_queryable(self, fleet, timeout=120):
        """Returns once the last scrape of the first and the last host is answered with. A server that makes samples
        visible before it acknowledges them is asked once."""
        deadline = time.monotonic() + timeout
        for host in (0, fleet.hosts - 1):
            uuid = self.tool.uuid(fleet, host)
            last = fleet.start + (fleet.scrapes - 1) * fleet.interval
            while self.count_at(uuid, last, last + (fleet.interval - 1 if fleet.spread else 0)) < 20:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} does not show the last scrape of host {host} after {timeout} s")
                time.sleep(0.1)

    def count_at(self, uuid, first, last):
        raise NotImplementedError

    def flush(self):
        """Everything that is in memory goes to disk."""

    def merge(self):
        """Everything is merged that can be."""

    def data_path(self):
        return os.path.join(self.place, self.name)

    def disk(self):
        apparent, allocated = folder_bytes(self.data_path())
        return {"bytes": apparent, "allocated": allocated}

    def verify(self, fleet, part=None):
        return self.tool.verify(self.port, fleet, self.verifier, part)

    def stop(self):
        if self.memory:
            self.memory_peak = max(self.memory_peak, self.memory.stop())
            self.memory = None
        if self.server:
            self.server.stop()

    def kill(self):
        """As a crash does it: no chance to write anything."""
        self.memory_peak = max(self.memory_peak, self.memory.stop())
        self.memory = None
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()

    def peak(self):
        return max(self.memory_peak, self.memory.peak if self.memory else 0)


class Apus(StoreServer):
    name = "apus"
    verifier = "apus"
    ready_path = "/ready"
    ways = {
        "text": ("text", "/api/v1/import/prometheus"),
        "remote-write": ("remote-write", "/api/v1/write"),
        "line": ("line", "/write?precision=ms"),
    }

    def __init__(self, tool, place, program, *more):
        super().__init__(tool, place)
        self.program = program
        self.more = more

    def arguments(self):
        self.out = os.path.join(self.place, f"{self.name}.log")
        with open(self.out, "wb"):
            pass
        self.port = 0
        return [
            self.program, "up", "--data-dir", self.data_path(), "--api-listen", "127.0.0.1:0", "--tcp-listen",
            "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-level", "warning", *self.more]

    def is_ready(self):
        if not self.port:
            with open(self.out, encoding="utf-8") as file:
                found = re.search(r"^listening api \S+:(\d+)$", file.read(), re.MULTILINE)
            if not found:
                return False
            self.port = int(found.group(1))
        return super().is_ready()

    def count_at(self, uuid, first, last):
        status, body = self.request(
            "GET", f"/api/v1/gpus/{uuid}/telemetry?start_time={first / 1000:.3f}&end_time={last / 1000:.3f}&limit=100")
        return len(json.loads(body)) if status == 200 else 0

    def flush(self):
        self.ask("POST", "/api/v1/admin/store/flush")

    def merge(self):
        self.ask("POST", "/api/v1/admin/store/compact")

    def disk(self):
        store, log = (folder_bytes(os.path.join(self.data_path(), part)) for part in ("store", "log"))
        whole = folder_bytes(self.data_path())
        return {"bytes": whole[0], "allocated": whole[1], "log": log[0], "store": store[0]}

    def stats(self):
        return json.loads(self.ask("GET", "/stats"))


class Victoria(StoreServer):
    name = "victoria-metrics"
    verifier = "victoria"
    ready_path = "/health"
    ways = {
        "text": ("text", "/api/v1/import/prometheus"),
        "remote-write": ("remote-write", "/api/v1/write"),
        "line": ("line", "/write?precision=ms"),
    }

    def __init__(self, tool, place, program):
        super().__init__(tool, place)
        self.program = program

    def arguments(self):
        self.port = free_port()
        return [
            self.program, f"-storageDataPath={self.data_path()}", f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y", "-loggerLevel=WARN"]

    def count_at(self, uuid, first, last):
        match = urllib.parse.quote('{UUID="%s"}' % uuid)
        status, body = self.request(
            "GET", f"/api/v1/export?match[]={match}&start={first / 1000:.3f}&end={last / 1000:.3f}")
        return body.count(b"\n") if status == 200 else 0

    def flush(self):
        self.ask("GET", "/internal/force_flush")
        # Parts in memory go to disk within five seconds (-inmemoryDataFlushInterval).
        time.sleep(6)

    def merge(self):
        self.ask("GET", "/internal/force_merge")
        time.sleep(1)
        deadline, quiet, before = time.monotonic() + 600, 0, None
        while quiet < 3:
            now = folder_bytes(self.data_path())
            quiet = quiet + 1 if now == before and not self.merges() else 0
            before = now
            if time.monotonic() > deadline:
                raise RuntimeError("VictoriaMetrics is still merging after 10 minutes")
            time.sleep(0.5)

    def merges(self):
        text = self.ask("GET", "/metrics").decode()
        running = re.findall(r"^vm_active_(?:force_)?merges(?:{[^}]*})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for value in running)


class Prometheus(StoreServer):
    name = "prometheus"
    verifier = "prometheus"
    ready_path = "/-/ready"
    ways = {"remote-write": ("remote-write", "/api/v1/write")}

    def __init__(self, tool, place):
        super().__init__(tool, place)
        self.program = shutil.which("prometheus")

    def arguments(self):
        self.port = free_port()
        configuration = os.path.join(self.place, "prometheus.yml")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write("global: {}\n")
        return [
            self.program, f"--config.file={configuration}", f"--storage.tsdb.path={self.data_path()}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
            "--web.enable-admin-api", "--storage.tsdb.retention.time=100y", "--query.max-samples=200000000",
            "--log.level=warn"]

    def count_at(self, uuid, first, last):
        query = urllib.parse.quote('{UUID="%s"}[%dms]' % (uuid, last - first + 1))
        status, body = self.request("GET", f"/api/v1/query?query={query}&time={last / 1000:.3f}")
        return len(json.loads(body)["data"]["result"]) if status == 200 else 0

    def merge(self):
        """The head is made a block for a snapshot only; the snapshot is what its disk will take."""
        self.ask("POST", "/api/v1/admin/tsdb/snapshot")

    def disk(self):
        whole = folder_bytes(self.data_path())
        snapshot = folder_bytes(os.path.join(self.data_path(), "snapshots"))
        found = {"bytes": whole[0] - snapshot[0], "allocated": whole[1] - snapshot[1]}
        if snapshot[0]:
            found["blocks"] = snapshot[0]
        return found


class Influx(StoreServer):
    name = "influxdb"
    verifier = "influx"
    ready_path = "/ping"
    ways = {"line": ("line", "/write?db=bench&precision=ms")}

    def __init__(self, tool, place):
        super().__init__(tool, place)
        self.program = shutil.which("influxd")

    def arguments(self):
        self.port = free_port()
        data = self.data_path()
        configuration = os.path.join(self.place, "influxdb.conf")
        with open(configuration, "w", encoding="utf-8") as file:
            # What cools down is written and merged within seconds instead of minutes and hours.
            file.write(
                f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n[meta]\ndir = "{data}/meta"\n'
                f'[data]\ndir = "{data}/data"\nwal-dir = "{data}/wal"\nindex-version = "tsi1"\n'
                'cache-snapshot-write-cold-duration = "5s"\ncompact-full-write-cold-duration = "8s"\n'
                'max-series-per-database = 0\nmax-values-per-tag = 0\ncache-max-memory-size = "4g"\n'
                'query-log-enabled = false\n'
                f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\nmax-body-size = 0\n'
                '[monitor]\nstore-enabled = false\n[logging]\nlevel = "warn"\n')
        return [self.program, "-config", configuration]

    def start(self, timeout=120):
        took = super().start(timeout)
        self.ask("POST", "/query?q=" + urllib.parse.quote("CREATE DATABASE bench"))
        return took

    def count_at(self, uuid, first, last):
        query = urllib.parse.quote(
            f"""SELECT count(value) FROM /.*/ WHERE "UUID"='{uuid}' AND time >= {first}ms AND time <= {last}ms""")
        status, body = self.request("GET", f"/query?db=bench&q={query}")
        return len(json.loads(body)["results"][0].get("series", [])) if status == 200 else 0

    def disk(self):
        # Its series files are made at their full length and take what is written.
        apparent, allocated = folder_bytes(self.data_path())
        return {"bytes": min(apparent, allocated), "allocated": allocated}

    def merge(self):
        """It is waited for: nothing changed for twelve seconds."""
        before, since, deadline = None, time.monotonic(), time.monotonic() + 300
        while time.monotonic() - since < 12 and time.monotonic() < deadline:
            now = folder_bytes(self.data_path())
            if now != before:
                before, since = now, time.monotonic()
            time.sleep(0.5)


def program_version(program, *arguments):
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode("utf-8", "replace").strip().splitlines()[:1]


__all__ = ["Apus", "Fleet", "Influx", "Prometheus", "ROOT", "StoreServer", "Tool", "Victoria", "folder_bytes"]
