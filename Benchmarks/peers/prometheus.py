#!/usr/bin/env python3
"""Prometheus as a peer of ingest: processor time of the server for each million samples that it scrapes and stores.

Pages of a simulated fleet (20 metrics of 8 GPUs a node, the series always the same, the values not) are served from
memory on loopback; Prometheus scrapes all of them every second. Samples are counted by its own
`prometheus_tsdb_head_samples_appended_total`, processor time by the kernel, both over the same span.
"""

import argparse
import http.client
import os
import shutil
import socketserver
import threading
import time

from _measure import Server, folder, free_port, page, result, write_json


class Pages(socketserver.StreamRequestHandler):
    """Answers `GET /NODE` with that node's next page; connections stay open."""

    variants = []
    disable_nagle_algorithm = True

    def handle(self):
        turn = 0
        while True:
            line = self.rfile.readline()
            if not line:
                return
            node = int(line.split()[1].strip(b"/").split(b"?")[0])
            while self.rfile.readline() not in (b"\r\n", b"\n", b""):
                pass
            body = self.variants[node][turn % len(self.variants[node])]
            turn += 1
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body)


class Threaded(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512


def appended(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    total = 0.0
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith("prometheus_tsdb_head_samples_appended_total"):
            total += float(line.rsplit(" ", 1)[1])
    connection.close()
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the results there too")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    program = shutil.which("prometheus")
    if not program:
        raise SystemExit("there is no prometheus; install it with: scripts/bootstrap --bench")
    Pages.variants = [
        [page(node, options.gpus, seed * 1000 + node) for seed in range(4)] for node in range(options.nodes)]
    with Threaded(("127.0.0.1", 0), Pages) as pages, folder() as place:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        source = pages.server_address[1]
        port = free_port()
        path = os.path.join(place, "prometheus.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n")
            for node in range(options.nodes):
                file.write(
                    f"- job_name: n{node}\n  metrics_path: /{node}\n  static_configs:\n  - targets: ['127.0.0.1:{source}']\n")
        server = Server(
            [program, f"--config.file={path}", f"--storage.tsdb.path={place}/tsdb", f"--web.listen-address=127.0.0.1:{port}"],
            os.path.join(place, "log"))
        try:
            deadline = time.monotonic() + 60
            while True:
                server.check_running()
                try:
                    if appended(port) > options.nodes * options.gpus * 20 * 3:
                        break
                except OSError:
                    pass
                if time.monotonic() > deadline:
                    raise SystemExit("Prometheus scraped nothing for a minute")
                time.sleep(0.5)
            cpu, samples, started = server.cpu_seconds(), appended(port), time.monotonic()
            time.sleep(options.seconds)
            cpu, samples = server.cpu_seconds() - cpu, appended(port) - samples
            wall = time.monotonic() - started
            records = [
                result("prometheus/scrape", "samples", samples, wall, cpu, cpu_seconds_per_million=round(cpu / samples * 1e6, 3),
                       resident_megabytes=round(server.resident_bytes() / 1e6))]
        finally:
            server.stop()
            pages.shutdown()
    write_json(options.json, records)


if __name__ == "__main__":
    main()
