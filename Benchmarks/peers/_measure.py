"""What the scripts that measure peers share: starting a server, its processor time, and the pages of a simulated fleet.

Standard library only; everything on loopback; only processes started here are ever signalled.
"""

import contextlib
import json
import os
import platform
import random
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Server:
    """A process and the processor time of all its threads."""

    def __init__(self, arguments, log_path, environment=None):
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **(environment or {})})

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def check_running(self):
        if self.process.poll() is not None:
            with open(self.log_path, "rb") as log:
                tail = log.read()[-2000:].decode("utf-8", "replace")
            raise RuntimeError(f"the server ended with {self.process.returncode}:\n{tail}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def connect(port, server, timeout=30):
    """A connection, once the server listens."""
    deadline = time.monotonic() + timeout
    while True:
        server.check_running()
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def folder(keep=False):
    """A folder on the disk that is measured: below the repository's build folder, not in memory."""
    base = os.path.join(ROOT, ".build", "bench-data")
    os.makedirs(base, exist_ok=True)
    path = tempfile.mkdtemp(dir=base)
    try:
        yield path
    finally:
        if not keep:
            shutil.rmtree(path, ignore_errors=True)


def result(name, unit, count, wall, cpu, **details):
    """One line for people; the record for the summary."""
    record = {
        "name": name, "unit": unit, "count": count, "wall_seconds": wall, "cpu_seconds": cpu,
        "per_second": count / wall, "per_cpu_second": count / cpu if cpu > 0 else None, **details}
    per_cpu = f"{count / cpu:14,.0f} {unit}/CPU s" if cpu > 0 else "         (no processor time measured)"
    extra = "".join(f"  {key} {value}" for key, value in details.items())
    print(f"{name:44} {count / wall:14,.0f} {unit}/s {per_cpu}{extra}", flush=True)
    return record


def write_json(path, records):
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "results": records}, file, indent=2)
            file.write("\n")


def machine():
    """What it ran on."""
    model = ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform()}


# Name, type, help and a typical value of what dcgm-exporter ships by default.
METRICS = [
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).", lambda r: r.choice([345, 1980, 1755])),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", lambda r: 2619),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C).", lambda r: r.randint(40, 90)),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C).", lambda r: r.randint(30, 85)),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W).", lambda r: round(r.uniform(60, 700), 3)),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy since boot (in mJ).", lambda r: r.randint(10**9, 10**12)),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", lambda r: 0),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", lambda r: r.randint(0, 100)),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %).", lambda r: r.randint(0, 100)),
    ("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (in %).", lambda r: 0),
    ("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (in %).", lambda r: 0),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered.", lambda r: 0),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB).", lambda r: r.randint(0, 81000)),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", lambda r: r.randint(0, 81000)),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "counter", "Total number of NVLink bandwidth counters.", lambda r: r.randint(0, 10**9)),
    ("DCGM_FI_DEV_VGPU_LICENSE_STATUS", "gauge", "vGPU License status", lambda r: 0),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for uncorrectable errors", lambda r: 0),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for correctable errors", lambda r: 0),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed", lambda r: 0),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active.", lambda r: round(r.random(), 6)),
]


def page(node, gpus, seed):
    """One exporter page of a node; the values change with the seed, the series do not."""
    values = random.Random(seed)
    lines = []
    for name, kind, text, value in METRICS:
        lines.append(f"# HELP {name} {text}")
        lines.append(f"# TYPE {name} {kind}")
        for gpu in range(gpus):
            uuid = f"GPU-{node:08x}-{gpu:04x}-4a5b-8c7d-0123456789ab"
            lines.append(
                f'{name}{{gpu="{gpu}",UUID="{uuid}",pci_bus_id="00000000:{gpu + 1:02X}:00.0",device="nvidia{gpu}",'
                f'modelName="NVIDIA H100 80GB HBM3",Hostname="node-{node}",DCGM_FI_DRIVER_VERSION="535.129.03"}} '
                f"{value(values)}")
    return ("\n".join(lines) + "\n").encode()
