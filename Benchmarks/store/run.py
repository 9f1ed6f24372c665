#!/usr/bin/env python3
"""The store beside its peers: all are fed the same generated fleet, in alternating rounds, and every sample is read
back from each of them and compared. Prints a table with ratios to VictoriaMetrics and writes what was measured as JSON.

    make bench-store                                       all rows, about half an hour
    make bench-store ROWS=text,disk ROUNDS=1 HOURS=1       some of them
    Benchmarks/store/run.py --small                        the program alone on a small fleet, to see that it runs

Rows: text (a page a host a request; also memory, disk and queries of that fleet), bulk (all hosts in one request),
frames (the streamers' own encoding, in one process), disk (bytes at each of HOURS), start (after kill -9), churn-page,
churn-hour, lone. docs/performance.md says how to read them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.parse

import victoria
from _servers import ROOT, Apus, Fleet, Influx, Prometheus, Tool, Victoria

from _measure import folder, machine

ROWS = ["text", "bulk", "frames", "disk", "start", "churn-page", "churn-hour", "lone"]


class Failed(Exception):
    """A server did not give back what it was sent."""


def say(text):
    print(text, flush=True)


def check(name, found):
    """Every sample must have come back as it was sent."""
    ok = found["missing"] == found["wrong"] == found["unknown"] == found["repeated"] == 0
    say(f"    {name}: {found['compared']:,} of {found['expected']:,} samples are equal"
        + ("" if ok else f"; {found}"))
    return ok


class Bench:
    def __init__(self, options):
        self.options = options
        self.tool = Tool(options.fleet_tool)
        self.small = options.small
        self.victoria = None
        self.records = []
        self.failures = []
        self.peers = ["apus"]
        if not self.small:
            self.find_peers()

    def find_peers(self):
        wanted = self.options.peers.split(",")
        if "victoria-metrics" in wanted:
            try:
                self.victoria = self.options.victoria_metrics or victoria.program()
                self.peers.append("victoria-metrics")
            except victoria.NotAvailable as reason:
                say(f"going on without VictoriaMetrics: {reason}")
        for name, kind in (("prometheus", Prometheus), ("influxdb", Influx)):
            if name not in wanted:
                continue
            if kind(self.tool, "").program:
                self.peers.append(name)
            else:
                say(f"going on without {name}: it is not installed (scripts/bootstrap --bench)")

    def server(self, peer, place, *more):
        if peer == "apus":
            # What the store covers is dropped at once, so that the data folder shows what stays.
            return Apus(self.tool, place, self.options.apus, "--log-retention", "1s", *more)
        if peer == "victoria-metrics":
            return Victoria(self.tool, place, self.victoria)
        return Prometheus(self.tool, place) if peer == "prometheus" else Influx(self.tool, place)

    def fleet(self, hours, **more):
        """The fleet of the issue, ending before now, beginning at an even hour so that no run is cut otherwise."""
        if self.small:
            more = {"hosts": 3, "gpus": 4, **more}
        scrapes = 30 if self.small else round(hours * 360)
        begin = int((time.time() - hours * 3600) // 7200 * 7200)
        # A month's end within the range would be one more partition for VictoriaMetrics alone.
        while time.gmtime(begin).tm_mon != time.gmtime(begin + int(hours * 3600)).tm_mon:
            begin -= 7200
        return Fleet(**{"scrapes": scrapes, "start": begin * 1000, **more})

    def record(self, row, peer, **values):
        self.records.append({"row": row, "peer": peer, **values})
        shown = "  ".join(
            f"{name} {value:,.3f}" if isinstance(value, float) else f"{name} {value:,}"
            for name, value in values.items() if isinstance(value, (int, float)))
        say(f"  {row:12} {peer:17} {shown}")

    def verify(self, server, fleet):
        found = server.verify(fleet)
        if not check(server.name, found):
            # What a peer loses is told; only the program itself must not.
            if server.name == "apus":
                self.failures.append(found)
        return found

    def run(self):
        for row in self.options.rows.split(","):
            if row not in ROWS:
                raise SystemExit(f"there is no row \"{row}\"; there are {', '.join(ROWS)}")
        rows = self.options.rows.split(",")
        for turn in range(self.options.rounds):
            say(f"round {turn + 1} of {self.options.rounds}")
            for row in rows:
                if turn > 0 and row in ("frames", "disk", "churn-hour"):
                    continue
                getattr(self, row.replace("-", "_"))(turn)

    # The rows

    def feed(self, row, peer, fleet, way, verify_head=False, more=(), **load):
        """Feeds a fresh server and measures it until all is queryable, then written out, then merged; then compares."""
        os.sync()
        with folder() as place:
            server = self.server(peer, place, *more)
            try:
                server.start()
                cpu, begun = server.cpu(), time.monotonic()
                sent = server.load(fleet, way, **load)
                server.wait_queryable(fleet)
                cpu_queryable, wall = server.cpu() - cpu, time.monotonic() - begun
                peak_load = server.peak()
                if verify_head:
                    self.verify(server, fleet)
                    # The comparison's reading is not of the work that is measured.
                    cpu = server.cpu() - cpu_queryable
                at_once = server.disk()
                server.flush()
                flushed = server.disk()
                server.merge()
                merged = self.settled(server)
                cpu_settled, peak = server.cpu() - cpu, server.peak()
                query = self.queries(server, fleet) if row == "text" else {}
                self.verify(server, fleet)
                self.record(
                    row, peer, samples=fleet.samples, wall=wall, cpu=cpu_queryable,
                    per_cpu_second=fleet.samples / max(cpu_queryable, 0.01), cpu_settled=cpu_settled,
                    peak_mib=(peak_load if verify_head else peak) / 2**20,
                    bytes_flushed=flushed["bytes"] / fleet.samples,
                    bytes_merged=merged.get("blocks", merged["bytes"]) / fleet.samples, sent=sent, at_once=at_once,
                    flushed=flushed, merged=merged,
                    **({"log_bytes": merged["log"] / fleet.samples, "log_at_once": at_once["log"] / fleet.samples}
                       if "log" in merged else {}), **query)
            finally:
                server.stop()

    def settled(self, server):
        """The folder's size once what is covered has been dropped from the log; of other servers at once."""
        found, since = server.disk(), time.monotonic()
        # The log looks every ten seconds for what it may drop.
        while server.name == "apus" and time.monotonic() - since < (0.5 if self.small else 12):
            now = server.disk()
            if now != found:
                found, since = now, time.monotonic()
            time.sleep(0.25)
        return found

    def queries(self, server, fleet):
        """One metric of one GPU over the whole time, 200 times: what a panel of a dashboard asks for."""
        if server.name not in ("apus", "victoria-metrics"):
            return {}
        uuid = self.tool.uuid(fleet, fleet.hosts // 2)
        first, last = fleet.start / 1000, fleet.start / 1000 + fleet.scrapes * fleet.interval / 1000
        metric = "DCGM_FI_DEV_POWER_USAGE"
        if server.name == "apus":
            path = (f"/api/v1/gpus/{uuid}/telemetry?metric={metric}&start_time={first:.3f}&end_time={last:.3f}"
                    "&limit=10000&format=csv")
        else:
            match = urllib.parse.quote('%s{UUID="%s"}' % (metric, uuid))
            path = f"/api/v1/export?match[]={match}&start={first:.3f}&end={last:.3f}"
        times = []
        for _ in range(20 if self.small else 200):
            begun = time.monotonic()
            server.ask("GET", path)
            times.append(time.monotonic() - begun)
        return {"query_ms": statistics.median(times) * 1000}

    def text(self, turn):
        ways = {"prometheus": "remote-write", "influxdb": "line"}
        for peer in self.peers:
            self.feed("text", peer, self.fleet(1), ways.get(peer, "text"), verify_head=turn == 0)

    def bulk(self, turn):
        fleet = self.fleet(1)
        for peer in self.peers[:2]:
            self.feed("bulk", peer, fleet, "text", hosts_per_request=fleet.hosts)

    def disk(self, turn):
        for hours in self.options.hours.split(","):
            fleet = self.fleet(float(hours))
            fed = [record for record in self.records if record["row"] == "bulk"]
            if float(hours) == 1 and fed:
                # The same fleet by the same way in was measured this run.
                self.records += [{**record, "row": f"disk-{hours}h"} for record in fed]
                continue
            for peer in self.peers[:2]:
                self.feed(f"disk-{hours}h", peer, fleet, "text", hosts_per_request=fleet.hosts)

    def churn_page(self, turn):
        """10,000 series a page; at each scrape one GPU has another pod."""
        fleet = self.fleet(1, hosts=1, gpus=16 if self.small else 500, pods="one")
        for peer in self.peers[:2]:
            self.feed("churn-page", peer, fleet, "text")

    def churn_hour(self, turn):
        """Half a million series at a time, every pod another one on the hour: a million in two hours."""
        size = {"hosts": 2, "gpus": 8} if self.small else {"hosts": 25, "gpus": 1000}
        fleet = self.fleet(2, pods="hourly", interval=300_000, **{**size, "scrapes": 24})
        for peer in self.peers[:2]:
            self.feed(
                "churn-hour", peer, fleet, "text",
                more=("--series-limit", "4000000") if peer == "apus" else ())

    def lone(self, turn):
        """Every series with times of its own, in requests of 2,000 series in no order."""
        fleet = self.fleet(1, spread=True)
        for peer in self.peers[:2]:
            self.feed("lone", peer, fleet, "remote-write", shuffled=50 if self.small else 2000)

    def start(self, turn):
        """Two hours are taken in and not written to blocks; then kill -9, and the same folder again."""
        fleet = self.fleet(2)
        for peer in self.peers[:2]:
            os.sync()
            with folder() as place:
                server = self.server(peer, place)
                try:
                    server.start()
                    server.load(fleet, "text", hosts_per_request=fleet.hosts)
                    server.wait_queryable(fleet)
                    at_once = server.disk()
                    if peer == "apus" and at_once["store"] > fleet.samples // 100 + 4096:
                        raise Failed(f"the head was written to blocks before it was to be replayed: {at_once}")
                    server.kill()
                    ready = server.start()
                    begun = time.monotonic()
                    lost = 0
                    try:
                        server.wait_queryable(fleet, timeout=60 if peer == "apus" else 5)
                    except RuntimeError:
                        lost = 1
                        if peer == "apus":
                            raise
                    queryable = ready + time.monotonic() - begun
                    cpu, peak = server.cpu(), server.peak()
                    found = server.verify(fleet)
                    if not check(server.name, found) and peer == "apus":
                        self.failures.append(found)
                    self.record(
                        "start", peer, ready=ready, queryable=None if lost else queryable, cpu=cpu,
                        peak_mib=peak / 2**20, lost=found["missing"], disk=at_once)
                finally:
                    server.stop()

    def frames(self, turn):
        """In one process: no sockets, the log on the disk that is measured."""
        path = os.path.join(ROOT, ".build", "bench", "pipeline.json")
        subprocess.run(
            [self.options.bench_tool, *(["--small"] if self.small else []), "--json", path, "pipeline"], check=True,
            cwd=ROOT, stdout=subprocess.DEVNULL)
        with open(path, encoding="utf-8") as file:
            for one in json.load(file):
                self.record(
                    "frames", one["name"].split("/")[-1], per_cpu_second=one["count"] / one["cpu_seconds"],
                    measured=one)


# The table

def best(records, row, peer, key, smallest=True):
    values = [r[key] for r in records if r["row"] == row and r["peer"] == peer and r.get(key) is not None]
    if not values:
        return None, None
    return (min(values) if smallest else max(values)), statistics.median(values)


class Table:
    """Lines of the program's best and median, its peers' best, and the ratio to VictoriaMetrics."""

    def __init__(self, records, peers):
        self.records = records
        self.peers = peers[1:]
        self.lines = [("", "Apus, best", "median", *self.peers, "to VM", "aim", "")]

    def line(self, what, row, key, form, most=True, least=None, limit=None, least_ratio=None, limit_ratio=None):
        """`least` and `limit` bound the number, `least_ratio` and `limit_ratio` that by VictoriaMetrics' of the same
        run; `most` says that more is better."""
        ours, median = best(self.records, row, "apus", key, not most)
        if ours is None:
            return
        others = {peer: best(self.records, row, peer, key, not most)[0] for peer in self.peers}
        theirs = others.get("victoria-metrics")
        ratio = ours / theirs if theirs else None
        aims = [
            *([(f"≥ {form.format(least)}", ours >= least)] if least is not None else []),
            *([(f"≤ {form.format(limit)}", ours <= limit)] if limit is not None else []),
            *([(f"≥ {least_ratio:g} ×", ratio and ratio >= least_ratio)] if least_ratio is not None else []),
            *([(f"≤ {limit_ratio:g} ×", ratio and ratio <= limit_ratio)] if limit_ratio is not None else [])]
        # Without the peer an aim beside it is neither met nor missed.
        known = [met for _, met in aims if met is not None]
        self.lines.append((
            what, form.format(ours), form.format(median),
            *("–" if value is None else form.format(value) for value in others.values()),
            "–" if ratio is None else f"{ratio:.2f}", ", ".join(text for text, _ in aims),
            "" if not known else "met" if all(known) else "missed"))

    def show(self):
        widths = [max(len(line[column]) for line in self.lines) for column in range(len(self.lines[0]))]
        for line in self.lines:
            say("  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths))).rstrip())


def table(records, peers):
    rate, size, seconds = "{:,.0f}", "{:.3f}", "{:.2f}"
    lines = Table(records, peers)
    for row, what in (("text", "a page a request"), ("bulk", "all hosts a request")):
        lines.line(f"text, {what}: samples/CPU s", row, "per_cpu_second", rate, least=4e6, least_ratio=4)
    for name in ("one-streamer", "streamer-a-host"):
        found = [{**record, "peer": "apus"} for record in records if record["peer"] == name]
        frames = Table(found, peers)
        frames.line(f"frames, {name.replace('-', ' ')}: samples/CPU s", "frames", "per_cpu_second", rate, least=20e6)
        lines.lines += frames.lines[1:]
    disks = sorted({record["row"] for record in records if record["row"].startswith("disk-")}) or ["text"]
    for row in disks:
        hours = row.removeprefix("disk-").replace("text", "1h")
        lines.line(
            f"disk, merged, {hours}: B/sample", row, "bytes_merged", size, most=False,
            limit_ratio=0.5 if hours in ("1h", "1.0h") else 0.7)
        lines.line("  before merging", row, "bytes_flushed", size, most=False)
        lines.line("  of it the log", row, "log_bytes", size, most=False)
        lines.line("  the log before it is dropped", row, "log_at_once", size, most=False)
    lines.line("peak memory, 20,000 series: MiB", "text", "peak_mib", "{:.0f}", most=False, limit=120)
    lines.line("one series of an hour: ms", "text", "query_ms", seconds, most=False)
    lines.line("kill -9 with 2 h in the head: s to ready", "start", "ready", seconds, most=False)
    lines.line("  s to all queryable", "start", "queryable", seconds, most=False, limit=2)
    lines.line("  samples lost", "start", "lost", "{:,}", most=False, limit=0)
    for row, what in (
            ("churn-page", "10,000 a page, a pod a scrape"), ("churn-hour", "a million series by the hour"),
            ("lone", "series alone, remote write")):
        lines.line(f"{what}: samples/CPU s", row, "per_cpu_second", rate, least_ratio=1)
        lines.line("  CPU s until all is merged", row, "cpu_settled", "{:.1f}", most=False, limit_ratio=1)
        lines.line("  peak memory: MiB", row, "peak_mib", "{:.0f}", most=False, limit_ratio=1)
        lines.line("  disk, merged: B/sample", row, "bytes_merged", size, most=False, limit_ratio=1)
    lines.show()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    release = os.path.join(ROOT, ".build", "release")
    parser.add_argument("--apus", default=os.path.join(release, "apus"))
    parser.add_argument("--fleet-tool", default=os.path.join(release, "apus-fleet"))
    parser.add_argument("--bench-tool", default=os.path.join(release, "apus-bench"))
    parser.add_argument("--victoria-metrics", help="the server's program; else see victoria.py")
    parser.add_argument("--peers", default="victoria-metrics,prometheus,influxdb")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--hours", default="1,6", help="of the row disk, parted by commas")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", default=os.path.join(ROOT, ".build", "bench", "store.json"))
    options = parser.parse_args()
    if options.small:
        options.rounds, options.hours = 1, "1"
    os.makedirs(os.path.dirname(options.json), exist_ok=True)
    bench = Bench(options)
    try:
        bench.run()
    finally:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "peers": bench.peers, "results": bench.records}, file, indent=2)
            file.write("\n")
    if not options.small:
        # The numbers of a small fleet say nothing.
        say("")
        table(bench.records, bench.peers)
    if bench.failures:
        sys.exit(f"{len(bench.failures)} comparisons failed: not every sample came back as it was sent")


if __name__ == "__main__":
    main()
