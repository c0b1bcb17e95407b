"""The metrics of bench.py with their targets, and how its results are shown."""
import os
import platform
import re
import statistics
import subprocess
import time
from dataclasses import dataclass, field

from setups import own, tool

SESSIONS = 10_000


@dataclass
class Target:
    """The value must be >= or <= so many of its unit, or of what another set-up or metric has."""
    op: str
    factor: float
    setup: str = ""
    metric: str = ""
    floor: float = 0        # a lesser demand, told of when the target is missed
    of: str = "tunnel"      # the set-up whose value it is about

    def judge(self, metric, value, medians):
        """Met or not, and what to print; None if there is nothing to compare with."""
        if self.setup or self.metric:
            unit = medians.get((self.metric or metric.name, self.setup or self.of))
            name = f"× {self.setup or self.metric}"
        else:
            unit, name, _ = SHOWN[metric.unit]
        if not unit:
            return None
        ratio = value / unit
        met = ratio >= self.factor if self.op == ">=" else ratio <= self.factor
        text = f"{'≥' if self.op == '>=' else '≤'} {self.factor:g} {name}".rstrip()
        text += ": met" if met else f": MISSED ({ratio:.2f})"
        if not met and self.floor:
            text += f", floor {self.floor:g}: {'met' if ratio >= self.floor else 'MISSED'}"
        return met, text


@dataclass
class Metric:
    name: str
    what: str
    unit: str
    targets: list = field(default_factory=list)


# How a unit is shown: its divisor, its name, digits after the point.
SHOWN = {"/s": (1, "/s", 0), "us": (1, "µs", 0), "B/s": (1e6, "MB/s", 0), "KiB": (1, "KiB", 1), "MiB": (1, "MiB", 1),
         "ms": (1, "ms", 1), "": (1, "", 3), "n": (1, "", 0)}

METRICS = [
    Metric("get32", "small GETs, 32 connections", "/s",
           [Target(">=", 1, "nginx2", floor=0.75), Target(">=", 1.5, "ssh"), Target(">=", 1, "ssh", of="wss")]),
    Metric("get200", "small GETs, 200 connections", "/s", [Target(">=", 0.9, "nginx2")]),
    Metric("get1", "a small GET alone, median", "us", [Target("<=", 1.2, "nginx2")]),
    Metric("download", "1 GiB, one stream", "B/s",
           [Target(">=", 2, "nginx2"), Target(">=", 1.5, "ssh"), Target(">=", 1, "ssh", of="wss")]),
    Metric("peak_daemon", "tunneld's memory during it, at most", "MiB"),
    Metric("peak_client", "tunnel's", "MiB"),
    Metric("upload", "1 GiB, one stream", "B/s", [Target(">=", 2, "nginx2"), Target(">=", 1.5, "ssh")]),
    Metric("p99idle", "a small GET every 2 ms, p99", "us"),
    Metric("p99load", "the same beside 4 downloads of 200 MB/s", "us",
           [Target("<=", 0.2, "ssh"), Target("<=", 10, metric="p99idle")]),
    Metric("p99rate", "what those downloads reached", "B/s"),
    Metric("stall", "7 downloads beside a stalled one, to 7 alone", "", [Target(">=", 0.95)]),
    Metric("rtt100", "one download, round trip 100 ms", "B/s", [Target(">=", 26)]),
    Metric("start", "start of tunneld to its first connection", "ms", [Target("<=", 10)]),
    Metric("size_daemon", "tunneld, stripped", "KiB", [Target("<=", 200)]),
    Metric("size_client", "tunnel, stripped", "KiB", [Target("<=", 200)]),
    Metric("ir_daemon", "instructions a request, tunneld", "n"),
    Metric("ir_client", "instructions a request, tunnel", "n"),
    Metric("sessions", "idle sessions", "n"),
    Metric("session_rss", "tunneld's memory for each", "KiB", [Target("<=", 24)]),
    Metric("session_rss2", "the same after a request to each", "KiB"),
    Metric("session_bad", "requests to them that failed", "n", [Target("<=", 0)]),
    Metric("session_threads", "tunneld's threads meanwhile", "n"),
    Metric("session_fds", "tunneld's descriptors", "n"),
    Metric("tls_sessions", "idle sessions over TLS", "n"),
    Metric("tls_session_rss", "tunneld's memory for each", "KiB", [Target("<=", 64)]),
    Metric("tls_session_rss2", "the same after a request to each", "KiB", [Target("<=", 64)]),
    Metric("tls_session_bad", "requests to them that failed", "n", [Target("<=", 0)]),
]
METRIC = {m.name: m for m in METRICS}


def machine():
    """Lines that describe it and the programs."""
    def first(*argv):
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
            return ((done.stdout + done.stderr).strip().splitlines() or ["?"])[0]
        except (OSError, subprocess.SubprocessError, TypeError):
            return "not there"
    def read(path, pattern):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                return re.search(pattern, f.read(), re.M).group(1)
        except (OSError, AttributeError):
            return "?"
    system = read("/etc/os-release", 'PRETTY_NAME="?([^"]*)')
    gib = int(read("/proc/meminfo", r"^MemTotal: *(\d+)")) / (1 << 20)
    return {
        "machine": f"{os.cpu_count()} × {read('/proc/cpuinfo', '^model name.*: (.*)')}, {gib:.0f} GiB, "
                   f"{platform.system()} {platform.release()}, {system}",
        "tunnel": first(own("tunneld"), "-V"),
        "others": "; ".join((first(tool("nginx"), "-v").replace("nginx version: ", ""), first(tool("ssh"), "-V"),
                             " ".join(first(tool("wrk"), "-v").split()[:2]), " ".join(first(tool("curl"), "-V").split()[:2]),
                             first(tool("valgrind"), "--version"), first("cc", "--version"))),
        "when": f"{time.strftime('%Y-%m-%d %H:%M')}, load average at the end {os.getloadavg()[0]:.1f}",
    }


def show(value, unit):
    divisor, name, digits = SHOWN[unit]
    return f"{value / divisor:.{digits}f} {name}".rstrip()


def rows(result):
    """(metric, set-up, median, range, ratio to nginx2, targets) as text; how many targets were met, and missed."""
    medians = {(f["metric"], f["setup"]): statistics.median(f["values"]) for f in result["figures"]}
    lines, count = [], {True: 0, False: 0}
    for f in result["figures"]:
        metric, values = METRIC[f["metric"]], f["values"]
        median = medians[f["metric"], f["setup"]]
        judged = [j for t in metric.targets if f["setup"] == t.of and (j := t.judge(metric, median, medians))]
        for met, _ in judged:
            count[met] += 1
        base = medians.get((f["metric"], "nginx2"))
        lines.append((f["metric"], metric.what, f["setup"], show(median, metric.unit),
                      f"{show(min(values), metric.unit)} – {show(max(values), metric.unit)}" if len(values) > 1 else "",
                      f"{median / base:.2f}" if base else "", "; ".join(text for _, text in judged)))
    return lines, count


HEAD = ("figure", "what", "set-up", "median", "min – max", "× nginx2", "target")


def table(result, markdown):
    lines, count = rows(result)
    before = None
    body = []
    for line in lines:      # a figure's name and meaning once
        body.append(line if line[0] != before else ("", "") + line[2:])
        before = line[0]
    if markdown:
        text = [f"- {k}: {v}" for k, v in result["machine"].items()]
        text += ["", "| " + " | ".join(HEAD) + " |", "|---|---|---|--:|--:|--:|---|"]
        text += ["| " + " | ".join(line) + " |" for line in body]
    else:
        text = [f"{k:8} {v}" for k, v in result["machine"].items()] + [""]
        widths = [max(map(len, column)) for column in zip(HEAD, *body)]
        text += ["  ".join(c.rjust(w) if i in (3, 4, 5) else c.ljust(w)
                           for i, (c, w) in enumerate(zip(line, widths))).rstrip() for line in (HEAD, *body)]
    text += [""] + [f"{'- ' if markdown else ''}note: {n}" for n in result["notes"]]
    text += [f"{'- ' if markdown else ''}{count[True]} targets met, {count[False]} missed; {result['seconds']} s"]
    return "\n".join(text)
