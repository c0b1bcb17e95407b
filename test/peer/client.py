"""What the tests of `tunnel` share: the client itself, curl, the peers, a relay that can cut."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

from rig import BIN, ENV, FOUND, Answer, Listener, Miss, PEER, PYTHON, WAIT, Peer, Proc

TUNNEL = f"{BIN}/tunnel"


class Client(Proc):
    """`tunnel connect`; at the end it is asked to stop, and must do so with status 0."""

    def __init__(self, rig, argv, env, program=TUNNEL):
        self.rig, self.over = rig, False
        self.secret = env.get("TUNNEL_TOKEN") if env else None
        super().__init__([program, *argv], env)

    def ready(self, wait=WAIT):
        """The URL of the line that says where callers can come."""
        return self.wait_line(self.lines, re.compile(r"^(http\S+) -> ").search, "URL line", wait).group(1)

    def says(self, pattern, wait=WAIT, start=0):
        return self.wait_line(self.errs, re.compile(pattern).search, f"line /{pattern}/", wait, start)

    def marks(self):
        with self.cond:
            return len(self.errs)

    def ends(self, what, status, wait=WAIT):
        """It exits by itself with this status."""
        self.over = True
        try:
            got = self.exit(wait)
        except Miss:
            self.kill()
            got = f"none: it still runs, and said {[l for l in self.errs if l][-3:]}"
        return self.rig.equal(f"{what}: exit status", got, status)

    def kill9(self):
        self.over = True
        self.kill()
        self.exit()

    def stop(self, number=signal.SIGTERM, what="the client stops when asked to"):
        """How long that takes."""
        start = time.monotonic()
        self.kill(number)
        self.ends(what, 0)
        return time.monotonic() - start

    def close(self):
        if not self.over:
            if not self.alive():
                self.rig.check("the client is still there", False, f"{self.p.returncode}: {self.errs[-5:]}")
            self.stop()
        text = "\n".join(l for l in self.lines + self.errs if l)
        if self.secret:
            self.rig.check("the client never shows its token", self.secret not in text)
        if found := FOUND.search(text):
            self.rig.check("no sanitizer report", False, text[max(0, found.start() - 200):][:6000])


def client(rig, d, target, *args, token=None, env=None, ready=True, program=TUNNEL):
    """A client of ours on the daemon d, which may also be the URL of an endpoint."""
    endpoint = d if isinstance(d, str) else f"http://127.0.0.1:{d.port}"
    token = token or getattr(d, "token", None) or "tn_" + "x" * 43
    c = rig.keep(Client(rig, ["connect", str(target), "--endpoint", endpoint, *args],
                        {"TUNNEL_TOKEN": token, **(env or {})}, program))
    if ready:
        c.url = c.ready()
    return c


class Curl(Answer):
    """One run of curl through the daemon; what it got."""

    def __init__(self, d, path="/", *args, host="a.localhost", stdin=None, wait=WAIT):
        """d: a daemon, a port, or the beginning of a URL, whose host is asked for then."""
        base = d if isinstance(d, str) else f"http://127.0.0.1:{d if isinstance(d, int) else d.port}"
        where = [] if isinstance(d, str) else ["-H", f"Host: {host}"]
        mark = "\n--curl--"
        p = subprocess.run(["curl", "-sS", "-m", str(wait), "-i", *where, "-w",
                            mark + "%{http_code} %{size_upload} %{size_download}", *args, base + path],
                           env=ENV, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                           capture_output=True, timeout=wait + 10, check=False)
        out, _, tail = p.stdout.rpartition(mark.encode())
        self.exit, self.err = p.returncode, p.stderr.decode("utf-8", "replace")
        words = tail.split()
        self.status, self.sent = int(words[0] or 0), int(words[1])
        while True:
            head, _, out = out.partition(b"\r\n\r\n")
            if not re.match(rb"HTTP/[0-9.]+ 1\d\d ", head):
                break
        self.version, self.body = head.partition(b" ")[0].decode("latin-1"), out
        self.fields = [tuple(l.split(": ", 1)) for l in head.decode("latin-1").split("\r\n")[1:] if ": " in l]

    def sent_fields(self, name):
        """What /echo says came under this name."""
        return [v for n, v in self.json().get("headers", []) if n.lower() == name.lower()]

    def __repr__(self):
        return f"<{self.status} exit {self.exit} {self.fields} {self.body[:200]!r} {self.err!r}>"


def start_curl(rig, d, path, *args, host="a.localhost", wait=60):
    """curl in the background: its output lines as they come."""
    return rig.spawn("curl", "-sSN", "-m", str(wait), "-H", f"Host: {host}", *args,
                     f"http://127.0.0.1:{d.port}{path}", kind=Proc)


def direct(origin, path):
    """Ask the local service itself, past the tunnel."""
    host, _, port = origin.target.rpartition(":")
    c = http.client.HTTPConnection(host, int(port), timeout=WAIT + 15)
    try:
        c.request("GET", path, headers={"Connection": "close"})
        return json.loads(c.getresponse().read())
    finally:
        c.close()


def ws_server(rig, *args):
    p = rig.spawn(PYTHON, f"{PEER}/wsserver.py", *args)
    p.port = p.event(port=lambda n: n)["port"]
    p.target = f"127.0.0.1:{p.port}"
    return p


def ws_client(port, path, *args, host="a.localhost", scheme="ws"):
    """A whole conversation; what the peer made of it."""
    p = subprocess.run([PYTHON, f"{PEER}/wsclient.py", f"{scheme}://127.0.0.1:{port}{path}", "--host", host, *args],
                       env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT + 30, check=False)
    try:
        return json.loads(p.stdout)
    except ValueError:
        return {"ok": False, "error": p.stdout + p.stderr}


def fake_daemon(rig, *args, **more):
    """The independent daemon; its URL stands in .url."""
    p = rig.spawn(PYTHON, f"{PEER}/native.py", "server", *args, kind=Peer, **more)
    p.port = p.event(event="listening")["port"]
    p.url, p.token = f"http://127.0.0.1:{p.port}", None
    return p


def wsproxyd(rig, *args):
    """wsproxy itself, as peer/wsproxyd.py plays it."""
    p = rig.spawn(PYTHON, f"{PEER}/wsproxy.py", "server", *args)
    p.port = p.event(event="listening")["port"]
    return p


def connect_proxy(rig, *args):
    """The independent HTTP proxy; its URL stands in .url."""
    p = rig.spawn(PYTHON, f"{PEER}/connect.py", *args, kind=Peer)
    p.port = p.event(port=lambda n: n)["port"]
    p.url = f"http://127.0.0.1:{p.port}"
    return p


def free_port(rig):
    """A port where nothing listens.  It stays bound, so that nobody is given it who does not ask for it by number."""
    s = rig.keep(socket.socket())
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


def refused(port, host="127.0.0.1"):
    """Nobody listens there."""
    try:
        socket.create_connection((host, port), WAIT).close()
    except ConnectionRefusedError:
        return True
    except OSError:     # it was being closed just then
        pass
    return False


def preload(r, name, what):
    """The library for LD_PRELOAD that peer/NAME.c is; None where none can be made, which costs the tests of what."""
    lib = f"{r.tmp}/{name}.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", lib, f"{PEER}/{name}.c", "-ldl"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        print(f"SKIP {what}: no library for LD_PRELOAD can be made here", flush=True)
        return None
    return lib


def ipv6():
    """This machine has ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def read(path):
    """A file of a program's own, as far as there is one."""
    try:
        with open(path, encoding="latin-1") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def alive(pid):
    """It runs, and is no zombie, whose last thread has let go of what they have in common."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def hwm(p):
    """Peak resident memory of a program, KiB."""
    with open(f"/proc/{p.p.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))


def cpu(p):
    """Processor seconds that a program has used."""
    with open(f"/proc/{p.p.pid}/stat", encoding="latin-1") as f:
        words = f.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def asleep(pid):
    """All of a process's threads sleep: none has anything to do, nor waits for a processor."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/stat", encoding="latin-1") as f:
                if f.read().rpartition(")")[2].split()[0] != "S":
                    return False
        except OSError:
            pass        # it has ended
    return True


def parked(p, looks=4):
    """All of a program's threads sleep, as often as one looks: what an answer leaves to be done behind it, which nothing
    tells of, is done."""
    end, quiet = time.monotonic() + WAIT, 0
    while quiet < looks and time.monotonic() < end:
        time.sleep(0.01)
        quiet = quiet + 1 if asleep(p.p.pid) else 0


class Relay(Listener):
    """TCP in between, so that one connection of several can be cut."""

    def __init__(self, port):
        self.to, self.pairs, self.lock = port, [], threading.Lock()
        super().__init__()
        self.url = f"http://{self.target}"

    def take(self, sock):
        self.admit()
        try:
            far = socket.create_connection(("127.0.0.1", self.to), WAIT)
        except OSError:
            sock.close()
            return
        far.settimeout(None)
        with self.lock:
            self.pairs.append((sock, far))
        for a, b in ((sock, far), (far, sock)):
            threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    def admit(self):
        """Somebody has come, and is not there yet."""

    @staticmethod
    def copy(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def peer(self, i):
        """The address that the daemon sees of the connection."""
        return "%s:%d" % self.pairs[i][1].getsockname()[:2]

    def cut(self, i):
        for s in self.pairs[i]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        super().close()
        for i in range(len(self.pairs)):
            self.cut(i)


def run_tool(*args, env=None, stdin=None, wait=WAIT, umask=-1):
    """`tunnel` to its end: (status, stdout, stderr)."""
    try:
        p = subprocess.run([TUNNEL, *args], env={**ENV, **(env or {})}, input=stdin, capture_output=True, text=True,
                           stdin=None if stdin is not None else subprocess.DEVNULL, timeout=wait, check=False, umask=umask)
    except subprocess.TimeoutExpired:
        return f"none, still running after {wait} s", "", ""
    return p.returncode, p.stdout, p.stderr


def children(pid):
    """All descendants that live."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="latin-1") as f:
                    parents[int(entry)] = int(f.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    found, more = [], [pid]
    while more:
        at = more.pop()
        below = [p for p, parent in parents.items() if parent == at]
        found += below
        more += below
    return found
