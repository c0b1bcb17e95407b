"""The common ground of the tests in Python: daemons, peers, callers and a count.

A test is a function marked @test; it takes a Rig, on which it starts what it
needs and checks facts.  Tests run a few at a time, each with daemons of its
own.  What a Rig has started is ended by it, and nothing else.
"""
import atexit
import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.environ.get("TUNNEL_BIN_DIR") or os.path.dirname(HERE)
PEER = os.path.join(HERE, "peer")
PYTHON = os.environ.get("PYTHON") or sys.executable
TLS = os.environ.get("TLS", "bearssl")      # the library of the build, as config.mk has it; or none
READY = os.environ.get("READY", "linux" if sys.platform == "linux" else "none")
SANITIZED = bool(os.environ.get("SANITIZED"))
WAIT = 60               # seconds any condition may take to come true
LIFE = 900              # the whole process ends after this
FOUND = re.compile(r"ERROR: AddressSanitizer|WARNING: ThreadSanitizer|runtime error:|LeakSanitizer")

ROOT = tempfile.mkdtemp(prefix="tunnel-test.")
ENV = {k: v for k, v in os.environ.items() if not k.startswith("TUNNEL") and not k.lower().endswith("_proxy")}
ENV.update(HOME=ROOT, XDG_STATE_HOME=ROOT + "/state", XDG_CONFIG_HOME=ROOT + "/config",
           TUNNEL_CONFIG_DIR=ROOT + "/client", TUNNELD_CONFIG=ROOT + "/tunneld.conf",
           TUNNELD_LOG_ALL="yes")      # tests count lines
with open(ENV["TUNNELD_CONFIG"], "w", encoding="ascii"):
    pass

tests, lock = [], threading.Lock()
count = {True: 0, False: 0}
living = set()


def test(function):
    tests.append(function)
    return function


class Miss(Exception):
    """Something did not happen in time; ends its test."""


class Lines(list):
    """The lines of a pipe, as they come; None at its end."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe, self.rest = pipe, b""
        os.set_blocking(pipe.fileno(), False)

    def over(self):
        return self and self[-1] is None

    def take(self):
        """Take in what has been written until now; has anything?"""
        before = len(self)
        while not self.over():
            try:
                data = os.read(self.pipe.fileno(), 65536)
            except BlockingIOError:
                break
            *whole, self.rest = (self.rest + data).split(b"\n")
            if not data and self.rest:
                whole.append(self.rest)
            self += [line.decode("utf-8", "replace") for line in whole]
            if not data:
                self.append(None)
        return len(self) > before


class Proc:
    """A program, its output lines kept as they come: what it has written when somebody looks is there."""

    p = None

    def __init__(self, argv, env=None):
        self.argv = argv
        self.cond = threading.Condition()
        # pylint: disable=consider-using-with
        self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, env={**ENV, **(env or {})})
        living.add(self)
        self.out, self.err = Lines(self.p.stdout), Lines(self.p.stderr)
        self.readers = [threading.Thread(target=self.read, args=a, daemon=True) for a in ((self.out,), (self.err,))]
        for reader in self.readers:
            reader.start()

    @property
    def lines(self):
        return self.taken(self.out)

    @property
    def errs(self):
        return self.taken(self.err)

    def taken(self, lines):
        with self.cond:
            if lines.take():
                self.cond.notify_all()
        return lines

    def read(self, lines):
        """For those who wait."""
        poll = select.poll()
        poll.register(lines.pipe, select.POLLIN)
        while not self.taken(lines).over():
            poll.poll()

    def wait_line(self, lines, judge, what, wait=WAIT, start=0):
        """The first line from index start on that judge() finds true; what judge() made of it."""
        end, at = time.monotonic() + wait, start
        with self.cond:
            while True:
                while at < len(lines):
                    if lines[at] is None:
                        break
                    if found := judge(lines[at]):
                        return found
                    at += 1
                left = end - time.monotonic()
                if left <= 0 or at < len(lines):
                    raise Miss(f"no {what} from {os.path.basename(self.argv[1 if 'python' in self.argv[0] else 0])}; "
                               f"it said {[l for l in lines if l][-6:]} {[l for l in self.errs if l][-3:]}")
                self.cond.wait(left)

    def alive(self):
        return self.p.poll() is None

    def kill(self, number=signal.SIGKILL):
        if not self.alive():
            return
        self.p.send_signal(number)
        if number == signal.SIGSTOP:    # one thread takes it, in its own time; until then the others go on
            os.waitid(os.P_PID, self.p.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def exit(self, wait=WAIT):
        """Its exit status; all of its output has been read then."""
        try:
            status = self.p.wait(wait)
        except subprocess.TimeoutExpired:
            raise Miss(f"{self.argv[0]} still runs") from None
        for reader in self.readers:
            reader.join(5)
        living.discard(self)
        return status


class Peer(Proc):
    """A peer that prints JSON lines."""

    @staticmethod
    def match(want):
        def judge(line):
            try:
                obj = json.loads(line)
            except ValueError:
                return None
            return obj if isinstance(obj, dict) and all(
                v(obj.get(k)) if callable(v) else obj.get(k) == v for k, v in want.items()) else None
        return judge

    def event(self, wait=WAIT, start=0, **want):
        return self.wait_line(self.lines, self.match(want), f"{want}", wait, start)

    def seen(self, **want):
        with self.cond:
            return [o for o in map(self.match(want), [l for l in self.lines if l]) if o]

    def ready(self, lid=1):
        return self.event(op=lambda op: op in ("ready", "error"), id=lid)

    def closed(self, wait=WAIT):
        return self.event(event="closed", wait=wait)


class Daemon(Proc):
    def __init__(self, rig, args, program="tunneld", env=None, name="d", scope="--global"):
        self.rig, self.state, self.ended = rig, f"{rig.tmp}/{name}", False
        if scope:
            self.issue(*([scope] if scope.startswith("--") else ["--scope", scope]))
        super().__init__([f"{BIN}/{program}", "--state", self.state,
                          *(() if {"--listen", "--config"} & {*args} else ("--listen", "127.0.0.1:0")), *args], env)
        self.port = int(self.log(r"event=listening addr=.*:(\d+)").group(1))

    def log(self, pattern, wait=WAIT, start=0):
        """The first log line with it: the match."""
        return self.wait_line(self.errs, re.compile(pattern).search, f"log line /{pattern}/", wait, start)

    def logged(self, pattern):
        with self.cond:
            return sum(1 for l in self.errs if l and re.search(pattern, l))

    def marks(self):
        """Where the log is now, for start=."""
        with self.cond:
            return len(self.errs)

    def issue(self, *args):
        """Issue a token, and wait until the daemon, if it runs, has read it."""
        running = self.p is not None
        mark = self.marks() if running else 0
        out = subprocess.run([f"{BIN}/tunneld", "token", "issue", "--state", self.state, *args],
                             env=ENV, capture_output=True, text=True, timeout=WAIT, check=True).stdout
        self.token = re.search("^token: (.*)$", out, re.M).group(1)
        self.token_id = re.search("^id: (.*)$", out, re.M).group(1)
        if running:
            self.log("event=tokens_read", start=mark)
        return self.token

    def tool(self, *args):
        return subprocess.run([f"{BIN}/tunneld", *args, "--state", self.state], env=ENV,
                              capture_output=True, text=True, timeout=WAIT, check=False)

    def status(self):
        return json.loads(self.tool("status", "--json").stdout)

    def stop(self):
        """End it, in order if it will; it may not have ended before on its own."""
        if not self.alive() and not self.ended:
            self.rig.check("the daemon is still there", False, f"status {self.p.returncode}: {self.errs[-30:]}")
        self.kill(signal.SIGTERM)
        try:
            self.exit(3)
        except Miss:
            self.kill(signal.SIGTERM)
            try:
                self.exit()
            except Miss:
                self.rig.check("the daemon stops on a second SIGTERM", False)
                self.kill()
                self.exit()


class Answer:
    """What an answer's .fields and .body say."""

    fields, body = (), b""

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name):
        return (self.all(name) or [None])[0]

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


class Response(Answer):
    def __init__(self):
        self.status, self.reason, self.fields, self.body = None, "", [], b""
        self.interim, self.trailers, self.end, self.version = [], [], None, ""

    def __repr__(self):
        return f"<{self.status} {self.fields} {self.body[:200]!r} {self.end}>"


class Caller:
    """A public connection, byte by byte.  Reading is strict: what is wrong raises ValueError."""

    broken = False      # it was reset: a write has found that, and no read will
    taken = b""         # the last that until() has found

    def __init__(self, port, data=b"", host="127.0.0.1", wait=WAIT, rcvbuf=None):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(wait)
        self.buf = b""
        self.ended = None
        try:
            self.sock.connect((host, port))
        except ConnectionResetError:    # it was accepted, and reset before that was known here
            self.ended = "reset"
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.sock.getsockname()[1]
        if data and not self.ended:
            try:
                self.send(data)
            except ConnectionError:     # refused before it was all there: what came before that can be read
                self.broken = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as e:
            if e.errno != errno.ENOTCONN:       # it was reset meanwhile
                raise
            self.broken = True

    def more(self):
        if self.ended:
            return False
        try:
            data = self.sock.recv(262144)
        except ConnectionError:
            self.ended = "reset"
            return False
        except TimeoutError:
            raise Miss(f"nothing more for the caller, which has {self.buf[:200]!r} behind {self.taken[:200]!r}") from None
        if not data:
            self.ended = "reset" if self.broken else "fin"
        self.buf += data
        return bool(data)

    def until(self, mark):
        while mark not in self.buf:
            if not self.more():
                raise EOFError(f"{self.ended} after {self.buf[:200]!r}")
        self.taken, _, self.buf = self.buf.partition(mark)
        return self.taken

    def exactly(self, n):
        whole = bytearray()     # adding to buf piece by piece would copy all of it each time
        more = True
        try:
            while more and len(whole) + len(self.buf) < n:
                whole += self.buf
                self.buf = b""
                more = self.more()
        finally:
            self.buf = bytes(whole) + self.buf
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def head(self, res):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        m = re.fullmatch(r"(HTTP/1\.1) ([1-5]\d\d) ?(.*)", lines[0])
        if not m:
            raise ValueError(f"status line {lines[0]!r}")
        res.version, res.status, res.reason = m.group(1), int(m.group(2)), m.group(3)
        res.fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or "\n" in line:
                raise ValueError(f"field line {line!r}")
            res.fields.append((name, value.strip(" \t")))

    def interim(self):
        """One head, final or not."""
        res = Response()
        self.head(res)
        return res

    def response(self, method="GET"):
        """The next whole response; end: length, chunked, eof, or cut."""
        res = Response()
        try:
            while res.status is None or 100 <= res.status < 200 and res.status != 101:
                self.head(res)
                if res.status < 200 and res.status != 101:
                    res.interim.append((res.status, res.fields))
        except EOFError:
            res.status, res.end = None, "none"
            return res
        length, coding = res.all("content-length"), res.all("transfer-encoding")
        if length and coding or len(length) > 1 or len(coding) > 1:
            raise ValueError(f"framing {res.fields}")
        if method == "HEAD" or res.status in (101, 204, 304) or (method == "CONNECT" and res.status // 100 == 2):
            res.end = "length"
        elif coding:
            self.chunked(res)
        elif length:
            res.body = self.exactly(int(length[0]))
            res.end = "length" if len(res.body) == int(length[0]) else "cut"
        else:
            while self.more():
                pass
            res.body, self.buf = self.buf, b""
            res.end = "eof" if self.ended == "fin" else "cut"
        return res

    def chunked(self, res):
        res.end = "cut"
        try:
            while size := int(self.until(b"\r\n"), 16):
                data = self.exactly(size)
                res.body += data
                if len(data) < size:
                    return
                if self.exactly(2) != b"\r\n":
                    raise ValueError("no CRLF after a chunk")
            while line := self.until(b"\r\n"):
                res.trailers.append(line.decode("latin-1"))
            res.end = "chunked"
        except EOFError:
            pass

    def over(self):
        """How the daemon ends the connection, once it does; nothing more may come."""
        while self.more():
            pass
        return self.ended if not self.buf else f"{self.ended} after {self.buf[:300]!r}"


class Listener:
    """Takes connections at a port of the kernel's; serve(conn) runs for each, on a thread; conn is a Caller's like."""

    def __init__(self, wait=WAIT):
        self.limit, self.cond, self.ends = wait, threading.Condition(), []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.target = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.take(sock)

    def take(self, sock):
        threading.Thread(target=self.visited, args=(sock,), daemon=True).start()

    def visited(self, sock):
        conn = Caller.__new__(Caller)
        conn.sock, conn.buf, conn.ended = sock, b"", None
        sock.settimeout(self.limit)
        try:
            self.serve(conn)
        except (EOFError, OSError, Miss):
            pass
        finally:
            conn.close()

    def serve(self, conn):
        raise NotImplementedError

    def note(self, what):
        """For a test: how a connection ended, say."""
        with self.cond:
            self.ends.append(what)
            self.cond.notify_all()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)    # wakes accept(), which else goes on, at whatever has the number next
        except OSError:
            pass
        self.listener.close()


class Service(Listener):
    """A local service: handle(conn, request head) runs for each request."""

    def __init__(self, handle):
        self.handle, self.heads = handle, []
        super().__init__()

    def serve(self, conn):
        head = conn.until(b"\r\n\r\n").decode("latin-1")
        with self.cond:
            self.heads.append(head)
            self.cond.notify_all()
        self.handle(conn, head)

    def wait(self, judge, what):
        with self.cond:
            if not self.cond.wait_for(judge, WAIT):
                raise Miss(f"the local service never saw {what}")


class Plain(Listener):
    """A local service without HTTP: handle(conn) runs for each connection."""

    def __init__(self, handle, wait=WAIT):
        self.handle = handle
        super().__init__(wait)

    def serve(self, conn):
        self.handle(conn)

    def noted(self, n=1):
        with self.cond:
            if not self.cond.wait_for(lambda: len(self.ends) >= n, WAIT):
                raise Miss(f"the service noted {self.ends}, not {n}")
            return self.ends[n - 1]


def echo(conn):
    while conn.buf or conn.more():
        conn.send(conn.buf)
        conn.buf = b""
    if conn.ended == "fin":
        conn.half_close()


def serving(answer):
    """A handle() that reads nothing more and sends these bytes."""
    return lambda conn, head: conn.send(answer)


class Clock:
    """The time of a test/tunneld-clock or tunnel-clock that is started with .env; a test moves it."""

    def __init__(self, rig):
        self.now = 0
        file, self.path = tempfile.mkstemp(prefix="clock.", dir=rig.tmp)
        os.close(file)
        self.env = {"TUNNEL_CLOCK": self.path}

    def move(self, seconds):
        """So far on, in place: the file stays open there."""
        self.now += int(seconds * 1000)
        with open(self.path, "r+", encoding="ascii") as f:
            f.write(f"{self.now}\n")


def in_parallel(calls, wait=None):
    """Run them all at a time; what they returned, or the exceptions."""
    got = [None] * len(calls)

    def one(i):
        try:
            got[i] = calls[i]()
        except Exception as e:      # pylint: disable=broad-except
            got[i] = e
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(wait)
    return got


class Rig:
    def __init__(self, name):
        self.name, self.procs, self.things = name, [], []
        self.tmp = f"{ROOT}/{name}"
        os.mkdir(self.tmp)

    def check(self, what, ok, detail=""):
        with lock:
            count[bool(ok)] += 1
            if not ok:
                print(f"FAIL {self.name}: {what}{': ' if detail != '' else ''}{str(detail)[:2000]}", flush=True)
        return ok

    def equal(self, what, got, want):
        return self.check(what, got == want, f"got {got!r}, want {want!r}")

    def has(self, what, pattern, text):
        return self.check(what, re.search(pattern, text), f"no /{pattern}/ in {text[:600]!r}")

    def keep(self, thing):
        self.things.append(thing)
        return thing

    def daemon(self, *args, **more):
        d = Daemon(self, args, **more)
        self.procs.append(d)
        return d

    def spawn(self, *argv, kind=Peer, env=None):
        p = kind(list(argv), env)
        self.procs.append(p)
        return p

    def client(self, d, name, *args, token=None, ready=True, **more):
        """The independent client; it answers with a description of the request unless told otherwise."""
        p = self.spawn(PYTHON, f"{PEER}/native.py", "client", "--endpoint", f"ws://127.0.0.1:{d.port}",
                       "--token", d.token if token is None else token, *(("--name", name) if name else ()), *args, **more)
        if ready and p.ready()["op"] != "ready":
            raise Miss(f"{name} is not ready: {p.lines}")
        return p

    def origin(self, *args):
        p = self.spawn(PYTHON, f"{PEER}/origin.py", *args)
        p.target = f"127.0.0.1:{p.event(port=lambda n: n)['port']}"
        return p

    def service(self, handle):
        return self.keep(Service(handle))

    def caller(self, d, data=b"", **more):
        return self.keep(Caller(d.port, data, **more))

    def ask(self, d, data, method="GET", **more):
        """One request on a connection of its own."""
        with Caller(d.port, data, **more) as c:
            return c.response(method)

    def get(self, d, host="a.localhost", path="/", fields="", method="GET", body=b"", **more):
        return self.ask(d, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode("latin-1") + body,
                        method, **more)

    def until(self, what, judge, wait=WAIT):
        """For conditions nothing announces; checks that it came true."""
        end = time.monotonic() + wait
        while not (got := judge()) and time.monotonic() < end:
            time.sleep(0.02)
        self.check(what, got)
        return got

    def soon(self, what, limit, attempt, tries=8):
        """attempt() takes less than limit, as it says itself.  A program that waits for a clock does so each time, while a
        busy machine is late now and then: one attempt in time is enough, of so many at least, and of all within WAIT."""
        took, end = [], time.monotonic() + WAIT
        while not took or min(took) >= limit and (len(took) < tries or time.monotonic() < end):
            took.append(attempt())
        return self.check(what, min(took) < limit, took)

    def end(self):
        for thing in self.things:
            thing.close()
        for p in self.procs:
            if not isinstance(p, Daemon):
                if any('"violation"' in l for l in p.lines if l) and not getattr(p, "may_violate", False):
                    self.check("the peer finds no violation", False, [l for l in p.lines if l and "violation" in l])
                p.kill()
        for p in self.procs:
            if not isinstance(p, Daemon):
                p.exit()
        for p in self.procs:
            if isinstance(p, Daemon):
                p.stop()
            text = "\n".join(l for l in p.errs if l)
            if found := FOUND.search(text):
                self.check("no sanitizer report", False, text[max(0, found.start() - 200):][:6000])


def run(function):
    rig = Rig(function.__name__)
    started = time.monotonic()
    try:
        function(rig)
    except Exception as e:      # pylint: disable=broad-except
        where = traceback.extract_tb(e.__traceback__)
        lines = [f"{os.path.basename(f.filename)}:{f.lineno}" for f in where if f.filename != __file__]
        rig.check(f"runs to its end (at {', '.join(lines[-2:])})", False, f"{type(e).__name__}: {e}")
    finally:
        try:
            rig.end()
        except Exception as e:      # pylint: disable=broad-except
            rig.check("ends what it started", False, repr(e))
        if os.environ.get("TEST_TIMES"):
            print(f"TIME {time.monotonic() - started:6.2f} {function.__name__}", file=sys.stderr)


def clean():
    for p in list(living):
        p.kill()
    shutil.rmtree(ROOT, ignore_errors=True)


def main(at_once=6):
    """Runs the tests, or those named on the command line; prints the count; exits."""
    atexit.register(clean)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: (clean(), os._exit(1)))
    signal.signal(signal.SIGALRM, lambda *_: (clean(), os._exit(1)))
    signal.alarm(LIFE)
    chosen = [t for t in tests if len(sys.argv) < 2 or t.__name__ in sys.argv[1:]]
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(run, chosen))
    print(f"{count[True]} passed, {count[False]} failed", flush=True)
    sys.exit(0 if count[True] and not count[False] else 1)
