#!/usr/bin/env python3
"""The benchmark: figures of the tunnel beside nginx and ssh; see README.md.

Every figure is measured once a round for each of its set-ups, in turn, so that
a machine that drifts does so for all of them; what is shown are medians.
"""
import argparse
import fnmatch
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from setups import (BIG, ORIGIN, SMALL, Daemon, Direct, Fail, FarSsh, FarTunnel, Nginx, Nginx2, Nginx2Wide, Place, Proc,
                    Ssh, Tunnel, Wss, address, descriptors, free_port, helper, issue, memory_free, nginx, own, start_origin, tool)
from table import METRIC, METRICS, SESSIONS, show, machine, table

HERE = os.path.dirname(os.path.abspath(__file__))
LIFE = 590                  # seconds after which it ends, whatever is missing
ALL = (Direct, Nginx, Nginx2, Ssh, Tunnel)
STREAMS = (Direct, Nginx, Nginx2, Nginx2Wide, Ssh, Tunnel, Wss)
DOWNLOAD_RATE = 200_000_000  # bytes a second, of each download that p99load runs beside
PROBE_US = 2000             # from one probe of p99 to the next


# What one measurement may end with; AttributeError: a tool's output is not what it was.
ERRORS = (Fail, OSError, ValueError, KeyError, AttributeError, subprocess.SubprocessError)


class Stop(BaseException):
    """A signal."""


FIGURES = []


@dataclass
class Figure:
    function: object
    setups: tuple           # empty: measured once, after the rounds
    needs: tuple
    metrics: tuple

    @property
    def name(self):
        return self.function.__name__


def figure(*setups, needs=(), metrics=()):
    """Declares one: a function of the Bench and, if there are set-ups, one of those, that returns {metric: value}."""
    def note(function):
        FIGURES.append(Figure(function, setups, needs, metrics or (function.__name__,)))
        return function
    return note


# The tools.

def wrk(bench, url, connections, seconds):
    """wrk's requests a second, and its median latency in microseconds."""
    said = bench.place.run([tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency",
                            "-H", f"Host: {url.host}", f"http://{url.address}{url.path}"])
    if bad := re.findall(r"^ *(Socket errors.*|Non-2xx.*)$", said, re.M):
        raise Fail(f"wrk: {'; '.join(bad)}")
    number, unit = re.search(r"^ *50% +([\d.]+)(us|ms|s)", said, re.M).groups()
    rate = float(re.search(r"^Requests/sec: +([\d.]+)", said, re.M).group(1))
    return rate, float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def load_begin(bench, url, *options):
    """load, running; its time is up after 5 seconds if -d says nothing else."""
    return Proc(bench.place, "load", [helper("load"), *map(str, options), "-H", url.host, url.address, url.path])


def load_end(bench, proc):
    """What load found, which must be no errors."""
    found = json.loads(bench.place.result(proc))
    if found["errors"]:
        raise Fail(f"{found['requests']} requests and: {proc.errors()}")
    return found


def load(bench, url, *options):
    return load_end(bench, load_begin(bench, url, *options))


def curl(bench, url, *options):
    """Bytes a second of a transfer that had to be complete; the options have the count of bytes printed."""
    said = bench.place.run([tool("curl"), "-q", "-sS", "-w", "%{http_code} %{time_total}", *options,
                            "-H", f"Host: {url.host}", f"http://{url.address}{url.path}"], wait=90)
    if not (found := re.fullmatch(rf"{BIG}\n200 ([\d.]+)", said)):
        raise Fail(f"curl: bytes, status and time are {said[:200]!r}")
    return BIG / float(found.group(1))


def memory(pid, name):
    """Rss (KiB) by the exact count of smaps_rollup, or another field of status."""
    with open(f"/proc/{pid}/{'smaps_rollup' if name == 'Rss' else 'status'}", encoding="ascii") as f:
        return int(re.search(rf"^{name}:\s*(\d+)", f.read(), re.M).group(1))


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as f:
        f.write("5")


# The figures of the rounds.

@figure(*ALL, Wss, needs=("wrk",))
def get32(bench, setup):
    return {"get32": wrk(bench, setup.small, 32, bench.seconds(3))[0]}


@figure(*ALL, needs=("wrk",))
def get200(bench, setup):
    return {"get200": wrk(bench, setup.small, 200, bench.seconds(3))[0]}


@figure(*ALL, Wss, needs=("wrk",))
def get1(bench, setup):
    return {"get1": wrk(bench, setup.small, 1, bench.seconds(2))[1]}


@figure(*STREAMS, needs=("curl",), metrics=("download", "peak_daemon", "peak_client"))
def download(bench, setup):
    pids = {"peak_daemon": setup.daemon.pid, "peak_client": setup.client.p.pid} if isinstance(setup, Tunnel) else {}
    for pid in pids.values():
        forget_peak(pid)
    rate = curl(bench, setup.big, "-o", "/dev/null", "-w", "%{size_download}\n%{http_code} %{time_total}")
    return {"download": rate, **{name: memory(pid, "VmHWM") / 1024 for name, pid in pids.items()}}


@figure(*STREAMS, needs=("curl",))
def upload(bench, setup):
    """What has arrived is counted by the sink, which answers with it."""
    return {"upload": curl(bench, setup.up, "-T", bench.big, "-H", "Expect:")}


@figure(Nginx2, Nginx2Wide, Ssh, Tunnel, metrics=("p99idle", "p99load", "p99rate"))
def p99load(bench, setup):
    probe = ("-c", 1, "-i", PROBE_US, "-d")
    idle = load(bench, setup.small, *probe, bench.seconds(2))
    downloads = load_begin(bench, setup.big, "-c", 4, "-r", DOWNLOAD_RATE, "-d", bench.seconds(3) + 1)
    time.sleep(0.5)
    beside = load(bench, setup.small, *probe, bench.seconds(3))
    downloads = load_end(bench, downloads)
    return {"p99idle": idle["p99_us"], "p99load": beside["p99_us"], "p99rate": downloads["bytes_per_s"]}


@figure(Nginx2, Ssh, Tunnel)
def stall(bench, setup):
    """Without, with, and without again, so that a drift cancels out."""
    before, beside, after = (load(bench, setup.big, "-c", 7, "-d", bench.seconds(2), *more)["bytes_per_s"]
                             for more in ((), ("-s",), ()))
    return {"stall": 2 * beside / (before + after)}


@figure(FarSsh, FarTunnel)
def rtt100(bench, setup):
    """The rate once the windows have grown: without the first third of the time."""
    seconds, buf = bench.seconds(6), bytearray(1 << 18)
    host, port = setup.big.address.split(":")
    got, mark = 0, None
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(f"GET {setup.big.path} HTTP/1.1\r\nHost: {setup.big.host}\r\nConnection: close\r\n\r\n".encode())
        begun = now = time.monotonic()
        while now < begun + seconds and (n := s.recv_into(buf)):
            got, now = got + n, time.monotonic()
            if mark is None and now > begun + seconds / 3:
                mark = (now, got)
    if got < BIG and now < begun + seconds:
        raise Fail(f"it ended after {got} bytes: {bytes(buf[:100])!r}")
    return {"rtt100": (got - mark[1]) / (now - mark[0])}


# Those measured once.

@figure(metrics=("start", "size_daemon", "size_client"), needs=("strip",))
def startup(bench):
    """The time to the first accepted connection, of 20 starts, and the programs' sizes."""
    place, found = bench.place, {"start": []}
    state = place.file("state.start")
    issue(place, state)
    for _ in range(20):
        found["start"].append(start_ms(place, state))
    for name, program in (("size_daemon", "tunneld"), ("size_client", "tunnel")):
        place.run([tool("strip"), "-o", place.file(program), own(program)])
        found[name] = os.path.getsize(place.file(program)) / 1024
    return found


def start_ms(place, state):
    port = free_port()
    argv = [own("tunneld"), "--state", state, "--listen", address(port)]
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    begun = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, place.env, file_actions=silent, setpgroup=0)
    try:
        while time.perf_counter() < begun + 5:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return (time.perf_counter() - begun) * 1e3
            time.sleep(20e-6)
        raise Fail("tunneld accepts no connection")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@figure(needs=("valgrind", "nginx"), metrics=("ir_daemon", "ir_client"))
def instructions(bench):
    """By callgrind: what more requests cost more, so that start and end cancel out; twice."""
    few, many = 200, 200 + bench.scaled(2000)
    origin = address(nginx(bench.place, "origin", ORIGIN, folder="/nonexistent", small=SMALL.replace("\n", "\\n")))
    return {metric: [(counted(bench, origin, program, many) - counted(bench, origin, program, few)) / (many - few)
                     for _ in (1, 2)]
            for metric, program in (("ir_daemon", "tunneld"), ("ir_client", "tunnel"))}


def counted(bench, origin, program, requests):
    """The instructions of a whole run of one of the two programs, with so many requests in sequence."""
    out = bench.place.file(f"callgrind.{bench.place.number()}")
    wrap = [tool("valgrind"), "-q", "--tool=callgrind", f"--callgrind-out-file={out}"]
    daemon = Daemon(bench.place, wrap if program == "tunneld" else ())
    client = daemon.client(origin, "get", wrap=wrap if program == "tunnel" else ())
    done = load(bench, daemon.url("get", "/small"), "-c", 1, "-n", requests, "-d", 50)["requests"]
    if done != requests:
        raise Fail(f"{done} requests instead of {requests}")
    bench.place.end(client, daemon.proc)
    with open(out, encoding="utf-8", errors="replace") as f:
        return int(re.search(r"^(?:totals|summary): (\d+)", f.read(), re.M).group(1))


@figure(metrics=("sessions", "session_rss", "session_rss2", "session_bad", "session_threads", "session_fds"))
def sessions(bench):
    return crowd(bench)


@figure(metrics=("tls_sessions", "tls_session_rss", "tls_session_rss2", "tls_session_bad"), needs=("openssl",))
def tls_sessions(bench):
    found = crowd(bench, tls=True)
    return {f"tls_{name}": found[name] for name in ("sessions", "session_rss", "session_rss2", "session_bad")}


def crowd(bench, tls=False):
    """Many idle sessions, and then a request to each."""
    def gather(count):
        daemon = Daemon(bench.place, tls=tls)
        before = memory(daemon.pid, "Rss"), open_files(daemon.pid)
        clients = Proc(bench.place, "sessions", [helper("sessions"), "-n", str(count), "-p", "s",
                                                 *(("-t",) if tls else ()), daemon.clients],
                       stdin=subprocess.PIPE, TUNNEL_TOKEN=daemon.token)
        clients.line(rf"ready {count}", 90)
        time.sleep(1)       # what the last registrations still do
        return daemon, before, clients

    limit = descriptors(5 * SESSIONS + 4000)
    daemon, before, clients = gather(20)
    each = (open_files(daemon.pid) - before[1]) / 20
    bench.place.end(clients, daemon.proc)
    count = possible_sessions(bench, limit, each, (256 if tls else 128) << 10)
    daemon, before, clients = gather(count)
    found = {"sessions": count, "session_rss": (memory(daemon.pid, "Rss") - before[0]) / count,
             "session_threads": memory(daemon.pid, "Threads"), "session_fds": open_files(daemon.pid)}
    found["session_bad"] = ask_all(bench, daemon, count)
    found["session_rss2"] = (memory(daemon.pid, "Rss") - before[0]) / count
    bench.place.end(clients, daemon.proc)
    return found


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def possible_sessions(bench, limit, each, room_for_one):
    """SESSIONS, or as many as descriptors, threads, maps and memory allow; tells what stands against it."""
    def read(path):
        try:
            with open(path, encoding="ascii") as f:
                return int(f.read())
        except (OSError, ValueError):   # not there, or "max"
            return 1 << 30
    room = {f"{limit} descriptors, {each:g} for each,": int((limit - 500) / max(each, 1)),
            "kernel.pid_max": read("/proc/sys/kernel/pid_max") - 2000,
            "kernel.threads-max": read("/proc/sys/kernel/threads-max") - 2000,
            "pids.max": read("/sys/fs/cgroup/pids.max") - 500,
            "vm.max_map_count": (read("/proc/sys/vm/max_map_count") - 1000) // 3,
            "memory": memory_free() // room_for_one}
    least = min(room, key=room.get)
    if room[least] >= SESSIONS:
        return SESSIONS
    if room[least] < 100:
        raise Fail(f"no room for sessions: {least}")
    bench.note(f"sessions: {least} would not do for {SESSIONS} but for {room[least]}")
    return room[least]


def ask_all(bench, daemon, count):
    """One request to each name, through a few kept connections: how many went wrong."""
    host, port = daemon.address.split(":")
    callers = [http.client.HTTPConnection(host, int(port), timeout=10) for _ in range(4)]
    bad, what, end = 0, {}, time.monotonic() + 60
    for i in range(count):
        caller = callers[i % len(callers)]
        try:
            if time.monotonic() > end:
                raise Fail("no time left")
            caller.request("GET", "/", headers={"Host": f"s{i}.localhost"})
            answer = caller.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise Fail(f"{answer.status} {body[:60]!r}")
        except (Fail, OSError, http.client.HTTPException) as e:
            bad += 1
            what[str(e)] = what.get(str(e), 0) + 1
            caller.close()
    for caller in callers:
        caller.close()
    for text, times in sorted(what.items(), key=lambda w: -w[1])[:3]:
        bench.note(f"sessions: {times} × {text}")
    return bad


# Running it.

class Bench:
    def __init__(self, options):
        self.rounds, self.short = options.rounds, options.short
        self.begun = time.monotonic()
        self.values = {}        # (metric, set-up's name): a list
        self.notes, self.failed = [], 0
        self.place = self.big = None
        self.chosen = [f for f in FIGURES if chosen(f, options.only)]

    def seconds(self, full):
        return 1 if self.short else full

    def scaled(self, full):
        return full // 10 if self.short else full

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)
            print(f"note: {text}", flush=True)

    def fail(self, text):
        self.failed += 1
        self.note(text)

    def left(self):
        return self.begun + LIFE - time.monotonic()

    def keep(self, found, name):
        for metric, values in found.items():
            self.values.setdefault((metric, name), []).extend(values if isinstance(values, list) else [values])

    def measure(self, fig, setup=None):
        name = setup.name if setup else "tunnel"
        begun = time.monotonic()
        try:
            found = fig.function(self, *filter(None, (setup,)))
        except ERRORS as e:
            self.fail(f"{fig.name} {name}: {type(e).__name__}: {e}")
            return
        self.keep(found, name)
        shown = "  ".join(f"{m} {show(v if not isinstance(v, list) else statistics.median(v), METRIC[m].unit)}"
                          for m, v in found.items())
        print(f"  {fig.name:13}{name:8}{shown}  [{time.monotonic() - begun:.1f} s]", flush=True)

    def run(self):
        kinds, figures = [], []
        for fig in self.chosen:
            missing = [n for n in fig.needs if not tool(n)]
            usable = tuple(k for k in fig.setups if all(map(tool, k.needs)))
            if missing or fig.setups and not usable:
                self.note(f"{fig.name}: left out, for want of {' '.join(missing) or 'set-ups'}")
                continue
            figures.append((fig, usable))
            kinds += [k for k in usable if k not in kinds]
        self.note_missing(kinds)
        setups = self.start(kinds) if kinds else {}
        in_rounds, once = ([f for f in figures if bool(f[0].setups) == each] for each in (True, False))
        spent = 0.0
        for number in range(self.rounds if in_rounds else 0):
            if spent and self.left() < spent + (150 if once else 10):
                self.note(f"only {number} rounds: no time for more")
                break
            begun = time.monotonic()
            print(f"round {number + 1} of {self.rounds}", flush=True)
            for fig, usable in in_rounds:
                at = number % len(usable)   # nobody is always the first
                for kind in usable[at:] + usable[:at]:
                    if kind in setups:
                        self.measure(fig, setups[kind])
            spent = time.monotonic() - begun
        if once:
            print("once", flush=True)
        for fig, _ in once:
            self.measure(fig)

    def start(self, kinds):
        """The origin and these set-ups, by class; without what does not start."""
        origin, sink, self.big = start_origin(self.place)
        setups = {}
        for kind in kinds:
            try:
                setups[kind] = kind(self.place)
                setups[kind].start(origin, sink)
            except ERRORS as e:
                self.fail(f"{kind.name}: {type(e).__name__}: {e}")
                del setups[kind]
        return setups

    def note_missing(self, kinds):
        for kind in {k for f in self.chosen for k in f.setups} - set(kinds):
            if missing := [n for n in kind.needs if not tool(n)]:
                self.note(f"set-up {kind.name}: left out, for want of {' '.join(missing)}")

    def result(self):
        return {"machine": machine(), "rounds": self.rounds, "seconds": round(time.monotonic() - self.begun),
                "short": self.short, "notes": self.notes,
                "figures": [{"metric": m.name, "setup": s, "unit": m.unit, "values": self.values[m.name, s]}
                            for m in METRICS for s in NAMES if (m.name, s) in self.values]}


NAMES = [k.name for k in STREAMS]


def chosen(fig, patterns):
    return not patterns or any(fnmatch.fnmatch(name, p) for p in patterns for name in (fig.name, *fig.metrics))


def arguments():
    parser = argparse.ArgumentParser(description="Figures of the tunnel beside nginx and ssh; see bench/README.md.")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="measure the figures of these names")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often in turn (3)")
    parser.add_argument("--short", action="store_true", help="a second each: to try the benchmark itself")
    parser.add_argument("--json", metavar="FILE", default=os.path.join(HERE, "result.json"),
                        help="where the values go (bench/result.json)")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument("--show", metavar="FILE", help="measure nothing, print the table of that JSON file")
    parser.add_argument("--list", action="store_true", help="print the figures' names")
    return parser.parse_args()


def interrupted(number, _):
    for n in SIGNALS:       # the clean-up is not to be disturbed
        signal.signal(n, signal.SIG_IGN)
    raise Stop(number)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def main():
    options = arguments()
    if options.list:
        for fig in FIGURES:
            print(f"{fig.name:13}{' '.join(k.name for k in fig.setups) or 'tunnel, once'}: "
                  f"{', '.join(METRIC[m].what for m in fig.metrics)}")
        return 0
    if options.show:
        with open(options.show, encoding="utf-8") as f:
            print(table(json.load(f), options.markdown))
        return 0
    if not sys.platform.startswith("linux"):
        sys.exit("bench.py: knows Linux only")
    bench = Bench(options)
    if not bench.chosen:
        sys.exit("bench.py: no figure has such a name; see --list")
    status = 0
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        signal.signal(number, interrupted)
    bench.place = Place()
    signal.alarm(LIFE)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        bench.run()
    except ERRORS as e:
        bench.fail(f"{type(e).__name__}: {e}")
    except Stop as e:
        status = 128 + e.args[0]
        bench.fail(f"ended by {signal.Signals(e.args[0]).name}")
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        bench.place.close()
    if bench.values and status in (0, 128 + signal.SIGALRM):
        result = bench.result()
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
            f.write("\n")
        print(f"\n{table(result, options.markdown)}")
    return status or (1 if bench.failed else 0)


if __name__ == "__main__":
    sys.exit(main())
