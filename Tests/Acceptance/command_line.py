#!/usr/bin/env python3
"""Goal: every command explains itself and says in one sentence what was wrong with what it was given.

Method: the `--help` of each command is a golden file in golden/help; wrong flags, values, files and addresses must give
their exit code and one line that names the culprit. `--update` writes the golden files anew.
"""

import os
import socket

from _harness import ROOT, CheckFailed, check, equal, main, say

GOLDEN = os.path.join(ROOT, "Tests", "Acceptance", "golden", "help")

COMMANDS = [
    [], ["up"], ["broker"], ["stream"], ["collect"], ["api"], ["simulate"], ["topics"], ["topics", "list"],
    ["topics", "create"], ["topics", "describe"], ["topics", "delete"], ["store"], ["store", "flush"],
    ["store", "compact"], ["store", "snapshot"], ["store", "restore"], ["store", "verify"], ["store", "inspect"],
    ["store", "delete"], ["config"], ["config", "check"], ["version"],
]


def help_text(bench, command):
    status, out, err = bench.run(*command, "--help", environment={"COLUMNS": "100", "LANG": "C.UTF-8"})
    equal(status, 0, f"the exit status of apus {' '.join(command)} --help ({err[-300:]})")
    return "\n".join(line.rstrip() for line in out.splitlines()) + "\n"


def check_help(bench, update):
    differing = []
    for command in COMMANDS:
        name = "-".join(["apus", *command]) + ".txt"
        path = os.path.join(GOLDEN, name)
        text = help_text(bench, command)
        check("OVERVIEW:" in text and "USAGE:" in text, f"apus {' '.join(command)} --help has no overview and usage")
        if update:
            os.makedirs(GOLDEN, exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            continue
        if not os.path.exists(path):
            differing.append(f"{name} is missing")
            continue
        with open(path, encoding="utf-8") as file:
            if file.read() != text:
                differing.append(f"{name} differs")
    check(not differing, "; ".join(differing) + "; look at the change and run command_line.py --update")
    say(f"the help of {len(COMMANDS)} commands is as recorded")


def check_refusals(bench):
    """One line each: what was wrong. The number is the exit status."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        folder = bench.path("data")
        cases = [
            (["frobnicate"], 64, "frobnicate"),
            (["up", "--no-such-flag"], 64, "--no-such-flag"),
            (["up", "--simulate", "four-by-eight"], 64, "--simulate"),
            (["up", "--interval", "30"], 64, "--interval"),
            (["up", "--retention", "tomorrow"], 64, "--retention"),
            (["up", "--durability", "sometimes"], 64, "--durability"),
            (["up", "--api-listen", "nowhere"], 64, "--api-listen"),
            (["broker", "--segment-bytes", "64"], 64, "--segment-bytes"),
            (["stream", "--broker", "carrier-pigeon://x", "--simulate", "1x1"], 64, "--broker"),
            (["stream", "--csv", bench.path("absent.csv"), "--data-dir", folder], 66, "absent.csv"),
            (["up", "--data-dir", folder, "--simulate", "1x1", "--api-listen", f"127.0.0.1:{port}", "--tcp-listen",
              "127.0.0.1:0", "--http-listen", "127.0.0.1:0"], 75, "--api-listen"),
            (["up", "--config", bench.path("absent.yaml")], 64, "absent.yaml"),
            (["up", "--store-compression", "zip"], 64, "--store-compression"),
            (["store", "flush", "--api", "nowhere"], 64, "--api"),
            (["store", "flush", "--api", "http://127.0.0.1:1"], 69, "127.0.0.1:1"),
            (["store", "verify", bench.path("absent")], 66, "absent"),
            (["store", "restore", bench.path("absent"), "--data-dir", folder], 66, "absent"),
            (["store", "snapshot", "..", "--api", "http://127.0.0.1:1"], 64, ".."),
        ]
        for arguments, expected, named in cases:
            status, out, err = bench.run(*arguments, timeout=60)
            line = f"apus {' '.join(arguments)}"
            equal(status, expected, f"the exit status of {line} ({err[-400:]})")
            check(named in err, f"{line} does not name {named}: {err[-400:]!r}")
            check("Fatal error" not in err and "Stack dump" not in err, f"{line} crashed: {err[-400:]}")
            others = [text for text in out.splitlines() if not text.startswith("listening ")]
            equal(others, [], f"what {line} printed to standard output")
        say(f"{len(cases)} mistakes are refused by name")


def check_configuration(bench):
    """apus.yaml is checked, and an unknown key gets the nearest match."""
    good = bench.path("good.yaml")
    with open(good, "w", encoding="utf-8") as file:
        file.write("interval: 30s\ndurability: interval\n")
    status, _, err = bench.run("config", "check", "--config", good)
    equal(status, 0, f"the exit status of config check on a good file ({err[-300:]})")
    bad = bench.path("bad.yaml")
    with open(bad, "w", encoding="utf-8") as file:
        file.write("intervall: 30s\n")
    status, out, err = bench.run("config", "check", "--config", bad)
    check(status != 0, "config check let an unknown key pass")
    check("intervall" in out + err and "interval" in (out + err).replace("intervall", ""),
          f"config check does not name the nearest key: {(out + err)[-300:]!r}")


def check_version(bench):
    status, out, _ = bench.run("version")
    equal(status, 0, "the exit status of apus version")
    check(out.startswith("apus "), f"apus version printed {out!r}")


def body(bench, options):
    check_help(bench, options.update)
    check_refusals(bench)
    check_configuration(bench)
    check_version(bench)


if __name__ == "__main__":
    try:
        main(__doc__, body, [(("--update",), {"action": "store_true", "help": "write the golden files anew"})])
    except CheckFailed as error:
        raise SystemExit(str(error)) from error
