#!/usr/bin/env python3
"""Goal: a backup is the store at one moment, and what is restored from it goes on as if nothing had happened.

Method: `apus up` takes in a simulated fleet; a snapshot is made meanwhile, then the process is ended by kill -9. The
snapshot is verified and restored beside a copy of the log, and every sample of one metric is compared with the original's;
beside an empty log it must be refused until its positions are forgotten. Then flush, compact, delete and bytes by part
are compared with the files, and a flipped byte must be named by verify.
"""

import json
import os
import shutil
import time

from _harness import check, equal, eventually, main, say


def telemetry(http, metric="DCGM_FI_DEV_GPU_TEMP"):
    """Every sample of one metric, of every GPU."""
    rows = []
    for gpu in http.all_pages("/api/v1/gpus?limit=1000"):
        rows += http.all_pages(f"/api/v1/gpus/{gpu['uuid']}/telemetry?metric={metric}&start_time=0&limit=10000")
    return sorted((row["timestamp"], row["uuid"], row["value"]) for row in rows)


def post(http, path):
    status, _, body = http.request("POST", path)
    check(status == 200, f"POST {path} answered {status}: {body[:500]!r}")
    return json.loads(body)


def up(bench, name, data, *sources):
    return bench.start(
        name, "up", "--data-dir", data, "--api-listen", "127.0.0.1:0", "--tcp-listen", "127.0.0.1:0", "--http-listen",
        "127.0.0.1:0", *sources)


def samples(http):
    store = http.json("/stats")["store"]
    return store["samples_in_head"] + store["samples_in_blocks"]


def settled(http):
    """How many samples there are once everything in the log has been taken in."""

    def look():
        equal(http.metric("gpu_telemetry_collector_backlog"), 0, "records that wait")
        before = samples(http)
        time.sleep(0.5)
        equal(samples(http), before, "samples a moment later")
        check(before > 0, "no samples yet")
        return before

    return eventually(look, 60, "the store has caught up with the log")


def apus(bench, *arguments, status=0):
    """A command of the program; its standard output."""
    found, out, err = bench.run(*arguments)
    equal(found, status, f"the exit status of apus {' '.join(arguments)} ({out[-400:]}{err[-400:]})")
    return out


def refuse(bench, *arguments, status, named):
    """A command that must fail with a status and name something."""
    found, out, err = bench.run(*arguments)
    line = f"apus {' '.join(arguments)}"
    equal(found, status, f"the exit status of {line} ({out[-400:]}{err[-400:]})")
    check(named in err, f"{line} does not name {named}: {err[-400:]!r}")


def snapshot_while_ingesting(bench):
    say("a snapshot while samples come in, then kill -9")
    data = bench.path("data")
    process = up(bench, "live", data, "--simulate", "4x8", "--interval", "100ms")
    http = process.http()
    api = f"http://{http.host}:{http.port}"
    eventually(lambda: check(samples(http) > 20_000, "few samples yet"), 60, "samples come in")
    flushed = apus(bench, "store", "flush", "--api", api)
    check("flushed:" in flushed, flushed)
    eventually(lambda: check(samples(http) > 40_000, "few samples yet"), 60, "samples go on")
    before = samples(http)
    made = apus(bench, "store", "snapshot", "first", "--api", api)
    check(made.startswith("snapshot first:"), made)
    eventually(lambda: check(samples(http) > before, "no more samples"), 30, "samples come in behind the snapshot")
    refuse(bench, "store", "snapshot", "first", "--api", api, status=65, named="first")
    live = apus(bench, "store", "verify", data)
    check("sound" in live and "running process" in live, live)
    process.kill()
    return data, before


def restore_and_compare(bench, data, before):
    say("restore beside the log that it belongs to: nothing is missing, nothing twice")
    snapshot = os.path.join(data, "store", "snapshots", "first")
    equal(apus(bench, "store", "verify", snapshot).strip().endswith("sound"), True, "the snapshot is sound")
    refuse(bench, "store", "restore", snapshot, "--data-dir", data, status=65, named="not empty")

    original = up(bench, "original", data)
    total = settled(original.http())
    truth = telemetry(original.http())
    original.stop()

    copy = bench.path("copy")
    os.makedirs(copy)
    shutil.copytree(os.path.join(data, "log"), os.path.join(copy, "log"))
    said = apus(bench, "store", "restore", snapshot, "--data-dir", copy)
    check("read on from offset" in said, said)
    restored = up(bench, "restored", copy)
    http = restored.http()
    equal(settled(http), total, "samples of the restored store")
    equal(telemetry(http), truth, "every sample of the restored store")
    restored.stop()

    say("restore beside an empty log: refused, until the positions are forgotten")
    other = bench.path("other")
    apus(bench, "store", "restore", snapshot, "--data-dir", other)
    refused = up(bench, "refused", other, "--simulate", "1x1", "--interval", "1s")
    equal(refused.wait(30), 65, f"the exit status with another log: {refused.errors()[-800:]}")
    check("--reset-positions" in refused.errors(), refused.errors()[-800:])
    shutil.rmtree(os.path.join(other, "store"))
    said = apus(bench, "store", "restore", snapshot, "--data-dir", other, "--reset-positions")
    check("from its beginning" in said, said)
    going = up(bench, "going", other)
    http = going.http()
    restored_samples = settled(http)
    check(restored_samples >= before, f"{restored_samples} samples of at least {before} were restored")
    # The other log has later samples of its own.
    wanted = set(truth)
    found = [row for row in telemetry(http) if row[0] <= truth[-1][0]]
    check(len(found) > 100 and all(row in wanted for row in found), "what was restored is among what there was")
    going.stop()
    return other


def operations(bench, data):
    say("compact, delete, bytes by part")
    process = up(bench, "operations", data)
    http = process.http()
    api = f"http://{http.host}:{http.port}"
    apus(bench, "store", "compact", "--api", api)
    equal(post(http, "/api/v1/admin/store/compact")["blocks_merged"], 0, "blocks left to merge")
    post(http, "/api/v1/admin/store/flush")
    store = http.json("/stats")["store"]
    folder = os.path.join(data, "store")
    on_disk = sum(os.path.getsize(os.path.join(folder, "blocks", name)) for name in os.listdir(f"{folder}/blocks"))
    on_disk += os.path.getsize(os.path.join(folder, "MANIFEST"))
    equal(store["bytes_on_disk"], on_disk, "the bytes of the files")
    had = len(telemetry(http))
    refuse(bench, "store", "delete", "DCGM_FI_DEV_GPU_TEMP{gpu=~'0'}", "--api", api, status=65, named="=~")
    apus(bench, "store", "delete", 'DCGM_FI_DEV_GPU_TEMP{gpu="0"}', "--api", api)
    left = len(telemetry(http))
    check(0 < left < had, f"{left} of {had} rows are left after a delete")
    apus(bench, "store", "compact", "--api", api)
    equal(len(telemetry(http)), left, "rows after the merge")
    process.stop()


def damage(bench, data):
    say("a flipped byte: verify names the file, inspect reads the rest")
    folder = os.path.join(data, "store", "blocks")
    name = sorted(os.listdir(folder))[0]
    report = json.loads(apus(bench, "store", "inspect", data, "--output", "json"))
    equal(sum(report["bytes_by_part"].values()), report["bytes"], "the parts of the files")
    check("DCGM_FI_DEV_GPU_TEMP" in report["metrics"], "metrics of the store")
    equal(apus(bench, "store", "verify", data).strip().endswith("sound"), True, "before the damage")
    path = os.path.join(folder, name)
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 3)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 16]))
    said = apus(bench, "store", "verify", data, status=1)
    check(path in said and "checksum" in said, said)
    backup = bench.path("backup")
    refuse(bench, "store", "snapshot", "--offline", data, "--to", backup, status=65, named=name)
    check(not os.path.exists(backup), "nothing is left of a backup that failed")


def body(bench, options):
    data, before = snapshot_while_ingesting(bench)
    other = restore_and_compare(bench, data, before)
    operations(bench, data)
    damage(bench, other)


if __name__ == "__main__":
    main(__doc__, body)
