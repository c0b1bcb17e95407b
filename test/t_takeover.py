"""A new daemon in place of the running one: nobody notices, and whatever fails, one of the two goes on."""
import array
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import Client, asleep, client, free_port, ipv6, read
from rig import BIN, ENV, FOUND, PEER, PYTHON, SANITIZED, TLS, WAIT, Caller, Miss, main, serving, test
# pylint: enable=wrong-import-position

RATE = 100 if SANITIZED else 500    # requests a second
SIX = ("--listen", "[::1]:0") if ipv6() else ()


def successor(r, d, *args, name="d", **more):
    """A daemon in the place of d, which ends by itself."""
    n = r.daemon("--takeover", *args, name=name, scope=None, **more)
    n.token, n.token_id, d.ended = d.token, d.token_id, True
    n.log("event=takeover")
    d.log("event=draining")
    return n


def attempt(r, *args, name="d", env=None):
    """A new daemon that does not come to be: its status and what it said."""
    done = subprocess.run([f"{BIN}/tunneld", "--takeover", "--state", f"{r.tmp}/{name}",
                           *(() if "--listen" in args else ("--listen", "127.0.0.1:0")), *args],
                          env={**ENV, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def told(r, what, got, status, pattern):
    r.equal(f"{what}: exit status", got[0], status)
    r.check(f"{what}: one line", got[1].count("\n") == 1, got[1])
    r.has(f"{what}: what it says", pattern, got[1])


def descriptors(d):
    return len(os.listdir(f"/proc/{d.p.pid}/fd"))


def paths(r):
    """A local service that keeps its connections, and answers with the request's path; /bytes sends many, /up is upgraded."""
    def handle(conn, head):
        while True:
            path = head.split(" ")[1]
            if path == "/up":
                conn.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                while conn.buf or conn.more():
                    conn.send(conn.buf)
                    conn.buf = b""
                return
            body = b"0123456789abcdef" * 262144 if path == "/bytes" else path.encode()
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = conn.until(b"\r\n\r\n").decode("latin-1")
    return r.service(handle)


class Load:
    """So many requests a second, half of them on connections that are kept, none of them ever sent again."""

    def __init__(self, r, port, names, rate, threads=20):
        self.r, self.port, self.names = r, port, names
        self.over, self.lock = threading.Event(), threading.Lock()
        self.done, self.closes, self.wrong, self.longest = 0, 0, [], 0.0
        self.threads = [threading.Thread(target=self.run, args=(i, threads / rate, i % 2 == 0), daemon=True) for i in range(threads)]
        for t in self.threads:
            t.start()

    def run(self, i, period, keep):
        c, n, due = None, 0, time.monotonic() + i * period / len(self.threads)
        while not self.over.wait(max(0, due - time.monotonic())):
            # what cannot be kept up with is left out, not saved up
            due, n = max(due + period, time.monotonic() - period), n + 1
            name, path, began = self.names[(i * 7 + n) % len(self.names)], f"/{i}/{n}", time.monotonic()
            try:
                c = c or Caller(self.port, wait=180)
                c.send(f"GET {path} HTTP/1.1\r\nHost: {name}.localhost\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n")
                res = c.response()
                ok = res.status == 200 and path in res.body.decode("latin-1") and res.end == "length"
                end = res.get("Connection") == "close"
            except (OSError, ValueError, Miss) as e:
                res, ok, end = repr(e), False, True
            with self.lock:
                self.done += 1
                self.closes += keep and end
                self.longest = max(self.longest, time.monotonic() - began)
                if not ok:
                    self.wrong.append((round(began - self.began, 2) if hasattr(self, "began") else 0, name, path, keep, res))
            if end and c:
                c.close()
            c = None if end else c
        if c:
            c.close()

    def count(self):
        with self.lock:
            return self.done

    def pass_by(self, n):
        """So many more have been answered."""
        want = self.count() + n
        self.r.until(f"{n} more requests", lambda: self.count() >= want, 60)

    def end(self):
        self.over.set()
        for t in self.threads:
            t.join(70)
        self.r.equal("requests that failed", (len(self.wrong), self.wrong[:3]), (0, []))
        if os.environ.get("TEST_TIMES"):
            print(f"LOAD {self.r.name}: {self.done} requests, {len(self.wrong)} failed, {self.closes} connections closed with an answer, "
                  f"the longest took {self.longest:.2f} s", file=sys.stderr)


def twenty(r, d):
    """Twenty tunnels, of our own client and of the independent one, each alone and several in a session: their names."""
    target = paths(r).target.rpartition(":")[2]
    for name in ("c0", "c1"):
        client(r, d, target, "--name", name, "--quiet")
    for group in (range(2, 6), range(6, 10)):
        c = r.keep(Client(r, ["connect", *(f"c{i}={target}" for i in group), "--quiet", "--endpoint", f"http://127.0.0.1:{d.port}"],
                          {"TUNNEL_TOKEN": d.token}))
        r.until("several tunnels", lambda c=c: len([l for l in c.lines if l]) == 4)
    r.client(d, "p0", "--follow-drain", "--quiet")
    for group in (range(1, 4), range(4, 10)):
        p = r.client(d, f"p{group[0]}", "--follow-drain", "--quiet", *(a for i in group[1:] for a in (
            "--listen", json.dumps({"op": "listen", "id": i + 100, "kind": "http", "name": f"p{i}"}))))
        for i in group[1:]:
            p.ready(i + 100)
    return [f"{who}{i}" for i in range(10) for who in "cp"]


def finished(r, d):
    r.equal("the old one exits 0", d.exit(60), 0)
    r.has("its last words", "event=stopped$", [l for l in d.errs if l][-1])


# ---- nobody notices ------------------------------------------------------------

@test
def under_load(r):
    d = r.daemon("--drain", "60", "--queue", "1000")
    names = twenty(r, d)
    download = r.caller(d, "GET /bytes HTTP/1.1\r\nHost: c0.localhost\r\n\r\n", rcvbuf=4096, wait=180)
    download.until(b"\r\n\r\n")
    up = r.caller(d, "GET /up HTTP/1.1\r\nHost: c3.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", wait=180)
    r.equal("an upgraded connection", up.interim().status, 101)
    idle = r.caller(d, "GET /idle HTTP/1.1\r\nHost: c1.localhost\r\n\r\n", wait=180)
    idle.response()
    load = Load(r, d.port, names, RATE)
    load.began = time.monotonic()
    load.pass_by(RATE)
    old = d
    for i in range(4):      # the second comes upon the first
        load.pass_by(1 if i == 1 else 3 * RATE)
        new = successor(r, old, "--drain", "60", "--queue", "1000")
        r.equal("it has the old one's port", new.port, old.port)
        new.log("event=takeover names=20 old=drains")
        old.log(f"event=handed_over pid={new.p.pid}$")
        up.send(f"ping {i}")
        r.equal("the upgraded connection goes on", up.exactly(6), f"ping {i}".encode())
        if i == 0:
            first = old
        else:
            finished(r, old)    # nobody is left there
        r.until("all have come over", lambda d=new: sorted({t["name"] for t in d.status() if not t["lost"]}) == sorted(names))
        old = new
    load.pass_by(RATE)
    load.end()
    r.check("kept connections were asked to come again", load.closes >= 10 * 3, load.closes)
    r.check("the first one has a download, an upgraded and an idle connection left", first.alive())
    rest = download.exactly(16 * 262144)
    r.check("the download is whole", rest == b"0123456789abcdef" * 262144, len(rest))
    idle.send("GET /later HTTP/1.1\r\nHost: c1.localhost\r\n\r\n")
    res = idle.response()
    r.equal("the idle one is answered, and closed then", (res.status, res.body, res.get("Connection")), (200, b"/later", "close"))
    up.send("last")
    r.equal("upgraded to the end", up.exactly(4), b"last")
    for c in (download, up, idle):
        c.close()
    finished(r, first)
    new.ended = True
    r.equal("stop is for the new one", new.tool("stop").returncode, 0)
    r.equal("it exits 0", new.exit(60), 0)
    r.check("and takes the control socket along", not os.path.exists(f"{new.state}/control"))


@test
def idle(r):
    """A connection on which nothing runs is served yet, by a client that has moved, and closed with its answer; that was the last one."""
    d = r.daemon("--drain", "60")
    target = paths(r).target
    client(r, d, target, "--name", "a", "--quiet")
    r.client(d, "p", "--follow-drain", "--target", target)
    kept = [r.caller(d, f"GET /1 HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n") for name in "ap"]
    r.equal("two connections", [c.response().body for c in kept], [b"/1"] * 2)
    n = successor(r, d)
    r.until("the clients have come", lambda: [t["lost"] for t in n.status()] == [False] * 2)
    time.sleep(1.5)         # longer than sessions stay that cannot be in two places
    for c, name in zip(kept, "ap"):
        c.send(f"GET /2 HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n")
        res = c.response()
        r.equal(f"{name} is served", (res.status, res.body, res.get("Connection")), (200, b"/2", "close"))
        r.equal(f"{name}: and closed", c.over(), "fin")
        c.close()
    finished(r, d)


@test
def again_and_again(r):
    """Nothing is left over from one to the next."""
    d = r.daemon("--listen", "127.0.0.1:0", *SIX)
    client(r, d, paths(r).target, "--name", "a", "--quiet")
    counts = []
    for i in range(6):
        n = successor(r, d, "--listen", "127.0.0.1:0", *SIX)
        r.equal(f"{i}: it answers", r.get(n, path=f"/{i}").body, f"/{i}".encode())
        finished(r, d)
        r.until("the client is here alone", lambda d=n: [t["lost"] for t in d.status()] == [False])
        counts.append(descriptors(n))
        # those of connections that are about to be closed may be among them
        r.until(f"{i}: descriptors do not grow", lambda d=n: descriptors(d) <= min(counts) + 2)
        d = n


@test
def two_at_once(r):
    """One takes over from the other, and the tunnel goes along."""
    d = r.daemon()
    client(r, d, paths(r).target, "--name", "a", "--quiet")
    # pylint: disable=consider-using-with
    new = [r.keep(Started([f"{BIN}/tunneld", "--takeover", "--state", d.state, "--listen", "127.0.0.1:0", "--log", f"{r.tmp}/log{i}"]))
           for i in range(3)]
    finished(r, d)
    d.ended = True
    r.until("one is left", lambda: len([n for n in new if n.p.poll() is None]) == 1 and d.tool("status").returncode == 0, 60)
    r.equal("the others exit 0", [n.p.poll() for n in new if n.p.poll() is not None], [0, 0])
    r.equal("it serves", r.get(d, path="/x").body, b"/x")

    def told():
        logs = "".join(read(f"{r.tmp}/log{i}") for i in range(3))
        return len(re.findall("event=takeover ", logs)), len(re.findall("event=handed_over", logs))
    r.until("each has taken over", lambda: told()[0] >= 3)
    r.equal("handed over by each in turn", told(), (3, 2))
    logs = "".join(read(f"{r.tmp}/log{i}") for i in range(3))
    r.check("no sanitizer report", not FOUND.search(logs), logs)


@test
def drain_ends(r):
    """What is not finished within --drain is cut, and an idle connection closed."""
    d = r.daemon("--drain", "1")
    client(r, d, paths(r).target, "--name", "a", "--quiet")
    r.client(d, "hang", "--never-answer", "--follow-drain")
    idle = r.caller(d, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    idle.response()
    waiting = r.caller(d, "GET / HTTP/1.1\r\nHost: hang.localhost\r\n\r\n")
    r.until("it waits", lambda: any(t["running"] for t in d.status()))
    n = successor(r, d)
    r.equal("who waits gets 504", waiting.response().status, 504)
    r.equal("the idle one is closed", idle.over(), "fin")
    finished(r, d)
    r.equal("and the tunnel is there", r.get(n, path="/x").body, b"/x")


@test
def names_are_kept(r):
    """For the credential that had them, while its client is on its way."""
    d = r.daemon("--grace", "60")
    p = r.client(d, "a", "--path", "--listen", '{"op":"listen","id":2,"kind":"http","name":"plain"}')     # it does not follow
    p.ready(2)
    other = d.issue("--global")
    n = successor(r, d)
    r.equal("they wait", [(t["name"], t["lost"], t["path"], t["token"] == d.token_id) for t in sorted(n.status(), key=lambda t: t["name"])],
            [("a", True, True, False), ("plain", True, False, False)])
    thief = r.spawn(PYTHON, f"{PEER}/native.py", "client", "--endpoint", f"ws://127.0.0.1:{n.port}", "--token", other, "--name", "a")
    r.equal("not for another credential", thief.ready().get("code"), "name_in_use")
    by_path = r.caller(n, "GET /a/x HTTP/1.1\r\nHost: x\r\n\r\n")
    by_name = r.caller(n, "GET /y HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
    r.client(n, "a", "--path", token=p.argv[p.argv.index("--token") + 1])
    r.equal("requests have waited", [c.response().json().get("request_line") for c in (by_path, by_name)],
            ["GET /x HTTP/1.1", "GET /y HTTP/1.1"])
    late = r.get(d, host="nobody.localhost")
    r.equal("a name that nobody had", late.status, 503)
    p.kill(signal.SIGTERM)
    finished(r, d)


@test
def bifrost(r):
    """Its clients cannot be in two places: they come when their exchanges are done, and requests wait."""
    d, go_on = r.daemon("--drain", "60", "--grace", "60"), threading.Event()

    def handle(conn, head):
        if "/held" in head:
            go_on.wait(WAIT)
        serving(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + head.split(" ")[1][:6].encode())(conn, head)
    s = r.service(handle)
    p = r.spawn(PYTHON, f"{PEER}/bifrost.py", "--endpoint", f"http://127.0.0.1:{d.port}", "--token", d.token, "--name", "a", "--unit", "300",
                "--target", s.target)
    d.log("event=tunnel_open")
    kept = r.caller(d, "GET /kept HTTP/1.1\r\nHost: a.localhost\r\n\r\n", wait=180)
    kept.response()
    running = r.caller(d, "GET /held. HTTP/1.1\r\nHost: a.localhost\r\n\r\n", wait=180)
    s.wait(lambda: len(s.heads) == 2, "the request")
    n = successor(r, d)
    early = r.caller(n, "GET /early HTTP/1.1\r\nHost: a.localhost\r\n\r\n", wait=180)
    d.log("event=draining")
    time.sleep(1.5)         # longer than sessions that are idle stay
    r.check("it stays while an exchange runs", p.alive() and not p.seen(event="closed"))
    go_on.set()
    res = running.response()
    r.equal("which ends well", (res.status, res.body, res.get("Connection")), (200, b"/held.", None))
    r.equal("then it is sent away", p.closed(60)["code"], 1001)
    r.equal("the request that waited", early.response().body, b"/early")
    early.send("GET /later HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
    r.equal("and more", early.response().body, b"/later")
    running.close()
    kept.send("GET /late HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
    res = kept.response()
    r.equal("on the old one's connection: come again", (res.status, res.get("Retry-After"), res.get("Connection")), (503, "1", "close"))
    d.log("event=refused status=503 reason=moved")
    kept.close()
    finished(r, d)


@test
def bifrost_host(r):
    """Beside --domain its clients are found by the name.tunnel. rule, while they are on their way and while they are lost, too."""
    d = r.daemon("--domain", "t.test", "--grace", "60")
    s = r.service(serving(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    p = r.spawn(PYTHON, f"{PEER}/bifrost.py", "--endpoint", f"http://127.0.0.1:{d.port}", "--token", d.token, "--name", "a", "--unit", "2000",
                "--target", s.target)
    d.log("event=tunnel_open")
    n = successor(r, d, "--domain", "t.test", "--grace", "60")
    for host in ("a.t.test", "a.tunnel.test"):
        r.equal(f"on its way: {host}", r.get(n, host=host).status, 200)
    p.kill()
    n.log("event=session_end")
    m = successor(r, n, "--domain", "t.test", "--grace", "60", name="d")
    waiting = r.caller(m, "GET / HTTP/1.1\r\nHost: a.tunnel.test\r\n\r\n", wait=180)
    q = r.spawn(PYTHON, f"{PEER}/bifrost.py", "--endpoint", f"http://127.0.0.1:{d.port}", "--token", d.token, "--name", "a", "--target", s.target)
    r.equal("lost", waiting.response().status, 200)
    q.kill(signal.SIGTERM)
    finished(r, d)
    finished(r, n)


@test
def bifrost_load(r):
    """Callers of such a tunnel, one request each connection: none fails."""
    d = r.daemon("--drain", "30", "--queue", "1000")
    p = r.spawn(PYTHON, f"{PEER}/bifrost.py", "--endpoint", f"http://127.0.0.1:{d.port}", "--token", d.token, "--name", "a", "--unit", "100", "--quiet")
    d.log("event=tunnel_open")
    load = Load(r, d.port, ["a"], 50)
    load.began = time.monotonic()
    load.pass_by(50)
    n = successor(r, d, "--queue", "1000")
    p.event(event="closed", code=1001)
    n.log("event=tunnel_open")
    load.pass_by(50)
    load.end()
    finished(r, d)


# ---- listeners -----------------------------------------------------------------

def certificate(r):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=tunnel.test", "-keyout", f"{r.tmp}/key.pem", "-out", f"{r.tmp}/cert.pem"],
                   check=True, capture_output=True, timeout=WAIT)
    return "--cert", f"{r.tmp}/cert.pem", "--key", f"{r.tmp}/key.pem"


def over_tls(port, *requests):
    """The answers' status lines and Connection fields, on one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), WAIT) as sock, context.wrap_socket(sock) as s:
        for request in requests:
            if callable(request):
                request()
                continue
            s.sendall(f"GET {request} HTTP/1.1\r\nHost: a.localhost\r\n\r\n".encode())
            got = b""
            while not got.endswith(request.encode()):
                if not (data := s.recv(65536)):
                    break
                got += data
            yield got.split(b" ")[1], b"Connection: close" in got


@test
def over_tls_too(r):
    if TLS == "none":
        return
    more = ("--listen", "127.0.0.1:0,tls", "--listen", "127.0.0.1:0", *SIX, *certificate(r))
    d = r.daemon(*more)
    r.until("all are told", lambda: d.logged("event=listening") == more.count("--listen"))
    listening = sorted(m for l in list(d.errs) if l for m in re.findall(r"event=listening (.*)", l))
    d.port = int(d.log(r"event=listening addr=127.0.0.1:(\d+)").group(1))
    secure = int(d.log(r"event=listening proto=https addr=.*:(\d+)").group(1))
    client(r, d, paths(r).target, "--name", "a", "--quiet")
    new = []
    got = list(over_tls(secure, "/1", lambda: new.append(successor(r, d, *more)), "/2"))
    r.equal("a TLS connection of the old one is served, and closed with its answer", got, [(b"200", False), (b"200", True)])
    n = new[0]
    n.log("event=takeover")
    r.equal("the same listeners", sorted(m for l in list(n.errs) if l for m in re.findall(r"event=listening (.*)", l)), listening)
    n.port = d.port
    r.until("the client comes over", lambda: [t["lost"] for t in n.status()] == [False])
    r.equal("TLS at the new one", list(over_tls(secure, "/3")), [(b"200", False)])
    r.equal("plain at the new one", r.get(n, path="/4").body, b"/4")
    finished(r, d)


@test
def other_listeners(r):
    """The configuration has changed: one is bound anew, one is closed."""
    kept, gone = free_port(r), free_port(r)
    d = r.daemon("--listen", f"127.0.0.1:{kept}", "--listen", f"127.0.0.1:{gone}", "--drain", "1")
    r.until("both are told", lambda: d.logged("event=listening") == 2)
    other = "::1" if SIX else "127.0.0.2"
    n = successor(r, d, "--listen", f"[{other}]:0" if SIX else f"{other}:0", "--listen", f"127.0.0.1:{kept}")
    n.log("event=takeover")
    fresh = int(n.log(rf"event=listening addr=\[?{re.escape(other)}\]?:(\d+)").group(1))
    finished(r, d)
    for host, port in (("127.0.0.1", kept), (other, fresh)):
        with Caller(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", host=host) as c:
            r.equal(f"{host} port", c.response().status, 200)
    try:
        Caller(gone).close()
        r.check("the other is closed", False)
    except ConnectionRefusedError:
        r.check("the other is closed", True)
    taken = r.keep(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
    told(r, "an address that is taken", attempt(r, "--listen", f"127.0.0.1:{taken}"), 1, f"cannot listen on 127.0.0.1:{taken}")
    n.log("event=takeover_failed")
    with Caller(kept, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as c:
        r.equal("the running one goes on", c.response().status, 200)


LAUNCH = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"


@test
def given_by_a_supervisor(r):
    """Sockets that were there before the first daemon go from hand to hand, whatever --listen says."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        state, argv = f"{r.tmp}/given", []
        argv = [PYTHON, "-c", LAUNCH, str(s.fileno()), f"{BIN}/tunneld", "--state", state]
        # pylint: disable=consider-using-with
        first = subprocess.Popen(argv, env=ENV, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(s.fileno(),), text=True)
        r.has("it listens there", f"event=listening addr=127.0.0.1:{port}$", next((l for l in first.stderr if "event=listening" in l), ""))
    d = r.daemon("--takeover", "--listen", "127.0.0.1:0", name="given", scope=None)
    d.token = d.token_id = None
    r.equal("and so does the next", d.port, port)
    r.equal("the first has ended", first.wait(WAIT), 0)
    rest = first.stderr.read()
    r.check("no sanitizer report", not FOUND.search(rest), rest)
    first.stderr.close()
    with Caller(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as c:
        r.equal("it answers", c.response().status, 200)
    n = successor(r, d, "--listen", "127.0.0.1:0", name="given")
    r.equal("and the one after", n.port, port)


# ---- in the background, and for a supervisor -----------------------------------

class Detached:
    """A daemon in the background, by its process id."""

    def __init__(self, r, *args, env=None):
        self.r, self.state = r, f"{r.tmp}/bg"
        self.done = subprocess.run([f"{BIN}/tunneld", "--daemon", "--state", self.state, "--listen", "127.0.0.1:0", "--drain", "2", *args],
                                   env={**ENV, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        self.pid = int(read(f"{self.state}/tunneld.pid") or 0)
        r.equal("the parent's exit and words", (self.done.returncode, self.done.stdout, self.done.stderr), (0, "", ""))
        r.keep(self)

    def alive(self):
        stat = read(f"/proc/{self.pid}/stat").rpartition(")")[2].split()
        return bool(stat) and stat[0] != "Z"

    def gone(self, what):
        self.r.until(what, lambda: not self.alive())

    def close(self):
        if self.pid and self.alive():
            os.kill(self.pid, signal.SIGKILL)
        if found := FOUND.search(read(f"{self.state}/tunneld.log")):
            self.r.check("no sanitizer report", False, read(f"{self.state}/tunneld.log")[found.start():][:4000])


def tool(r, *args, name="bg"):
    return subprocess.run([f"{BIN}/tunneld", *args, "--state", f"{r.tmp}/{name}"], env=ENV, capture_output=True, text=True, timeout=WAIT, check=False)


@test
def background(r):
    a = Detached(r)
    port = int(re.search(r"event=listening addr=.*:(\d+)", read(f"{a.state}/tunneld.log")).group(1))
    for _ in range(3):
        b = Detached(r, "--takeover")
        r.check("the pid file is the new one's", b.pid not in (0, a.pid) and b.alive(), (a.pid, b.pid))
        a.gone("the old one ends")
        r.equal("and stays so", read(f"{a.state}/tunneld.pid"), f"{b.pid}\n")
        r.equal("status", tool(r, "status").returncode, 0)
        with Caller(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as c:
            r.equal("it answers", c.response().status, 200)
        a = b
    f = r.daemon("--takeover", name="bg", scope=None)
    f.log("event=takeover")
    r.equal("one in the foreground takes over from it", f.port, port)
    a.gone("it ends")
    r.until("there is no pid file then", lambda: not os.path.exists(f"{a.state}/tunneld.pid"))
    f.ended = True
    b = Detached(r, "--takeover")
    r.equal("and the other way round", f.exit(), 0)
    r.equal("status", tool(r, "status").returncode, 0)
    r.equal("stop", tool(r, "stop").returncode, 0)
    b.gone("it stops")
    r.check("nothing is left", not {"control", "tunneld.pid"} & {*os.listdir(b.state)}, os.listdir(b.state))


@test
def main_process(r):
    """systemd is told by both: by the one it knows, and by the new one."""
    path = f"{r.tmp}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WAIT)
        sock.bind(path)
        d = r.daemon(env={"NOTIFY_SOCKET": path})
        r.equal("ready", sock.recv(4096), b"READY=1")
        n = successor(r, d, env={"NOTIFY_SOCKET": path})
        pid = f"MAINPID={n.p.pid}".encode()
        r.equal("who is the daemon now, twice, and ready", sorted(sock.recv(4096) for _ in range(3)), [pid, pid, b"READY=1"])
        finished(r, d)
        n.ended = True
        n.tool("stop")
        n.exit()
        r.equal("the old one has not said that all stops", sock.recv(4096), b"STOPPING=1")
        sock.setblocking(False)
        try:
            r.check("and no more", False, sock.recv(4096))
        except BlockingIOError:
            r.check("and no more", True)


def pending(pid):
    return int(re.search(r"ShdPnd:\s*(\w+)", read(f"/proc/{pid}/status")).group(1), 16)


@test
def signals(r):
    """One that drains for a new one lets the first SIGTERM pass, for it does so already; the second ends it."""
    d = r.daemon("--drain", "60")
    up = paths(r)
    client(r, d, up.target, "--name", "a", "--quiet")
    c = r.caller(d, "GET /up HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    c.interim()
    n = successor(r, d)
    d.log("event=draining")
    d.kill(signal.SIGTERM)
    r.until("it has taken notice", lambda: not pending(d.p.pid) & 1 << signal.SIGTERM - 1)
    c.send("still")
    r.equal("it goes on", c.exactly(5), b"still")
    d.kill(signal.SIGTERM)
    r.equal("the second ends it", d.exit(), 1)
    r.equal("the new one is the daemon", n.tool("status").returncode, 0)


# ---- what fails ----------------------------------------------------------------

@test
def none_runs(r):
    os.mkdir(f"{r.tmp}/d", 0o700)
    told(r, "none", attempt(r), 1, "^tunneld: no daemon runs with state folder .*/d: start without --takeover$")
    d = r.daemon()
    d.kill()
    d.exit()
    d.ended = True
    told(r, "one that was killed", attempt(r), 1, "no daemon runs with state folder")
    told(r, "no folder", attempt(r, name="nowhere"), 1, "no daemon runs with state folder")
    r.check("none is made", not os.path.exists(f"{r.tmp}/nowhere"))


def serves(r, d, what):
    r.equal(f"{what}: the running one goes on", (r.get(d, path="/x").status, d.tool("status").returncode), (200, 0))
    d.log("event=session_start")
    r.check(f"{what}: its client has not moved", d.logged("event=session_start") == 1 and d.logged("event=draining") == 0)


@test
def bad_configuration(r):
    d = r.daemon()
    client(r, d, paths(r).target, "--name", "a", "--quiet")
    told(r, "an option", attempt(r, "--slots", "many"), 2, "--slots")
    told(r, "a certificate", attempt(r, "--listen", "127.0.0.1:0,tls", "--cert", f"{r.tmp}/none.pem"),
         1, "none.pem|TLS")
    told(r, "a log", attempt(r, "--log", "/nowhere/log"), 1, "/nowhere/log")
    serves(r, d, "a bad configuration")
    before = descriptors(d) + 4
    for _ in range(5):
        attempt(r, "--log", "/nowhere/log")
    d.log("event=takeover_failed", start=0)
    r.until("descriptors are given back", lambda: descriptors(d) <= before)
    with open(f"{d.state}/tokens", "a", encoding="ascii") as f:
        f.write("nonsense\n")
    d.log("event=tokens_bad")
    told(r, "tokens", attempt(r), 1, "tokens:2")
    serves(r, d, "damaged tokens")


class NewOne:
    """What a new daemon says, as takeover.h has it, with whatever faults a test wants."""

    def __init__(self, d):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT)
        self.sock.connect(f"{d.state}/control")
        self.buf, self.fds = b"", []
        self.sock.sendall(b"takeover\n")

    def line(self):
        while b"\n" not in self.buf:
            data, extra, flags, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(64 * 4))
            if flags & socket.MSG_CTRUNC:
                raise ValueError("descriptors were cut off")
            for level, kind, raw in extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array("i")
                    fds.frombytes(raw[:len(raw) // 4 * 4])
                    self.fds += fds
            if not data:
                return None
            self.buf += data
        line, _, self.buf = self.buf.partition(b"\n")
        return json.loads(line)

    def until(self, op):
        """All lines up to this one."""
        got = []
        while not got or got[-1]["op"] != op:
            line = self.line()
            if line is None:
                raise EOFError(f"no {op} after {got}")
            got.append(line)
        return got

    def say(self, **line):
        self.sock.sendall(json.dumps(line).encode() + b"\n")

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.sock.close()


@test
def new_one_fails(r):
    """It dies, or talks nonsense, at every step before it accepts: the running one goes on."""
    d = r.daemon()
    client(r, d, paths(r).target, "--name", "a", "--quiet")
    serves(r, d, "at first")
    before = descriptors(d) + 4     # connections that are about to be closed come and go
    for i, steps in enumerate(("", "offer", "offer ready", "offer ready go", "offer ready go nonsense", "offer nonsense", "offer long")):
        mark = d.marks()
        n = NewOne(d)
        for step in steps.split():
            if step in ("offer", "go"):
                got = n.until(step)
                if step == "offer":
                    r.equal("what comes", [(x["op"], x.get("kind"), x.get("any"), x.get("tls")) for x in got],
                            [("socket", "public", True, False), ("socket", "control", None, None), ("offer", None, None, None)])
                    r.equal("sockets", [socket.socket(fileno=os.dup(fd)).getsockname() for fd in n.fds],
                            [("127.0.0.1", d.port), f"{d.state}/control"])
                else:
                    r.equal("the names", [(x["name"], x["who"], x["path"], x["ms"]) for x in got if x["op"] == "name"],
                            [("a", f"token:{d.token_id}", False, 10000)])
            elif step == "ready":
                n.say(op="ready", pid=os.getpid(), unheard_of=[1])
            elif step == "nonsense":
                n.sock.sendall(b"nonsense\n")
                r.equal("it is refused", n.until("refused")[-1]["op"], "refused")
            else:
                n.sock.sendall(b"x" * 5000)
                r.equal("it is refused", n.until("refused")[-1]["op"], "refused")
        n.close()
        d.log("event=takeover_failed reason=", start=mark)
        serves(r, d, f"step {i}")
    r.until("descriptors are given back", lambda: descriptors(d) <= before)
    n = successor(r, d)
    r.until("a good one comes after all", lambda: [t["lost"] for t in n.status()] == [False])
    finished(r, d)


def halfway(r, d):
    """A real one that has the sockets, and waits for somebody to read its log; and where that is."""
    path = f"{r.tmp}/fifo"
    os.mkfifo(path)
    p = r.keep(Started([f"{BIN}/tunneld", "--takeover", "--state", d.state, "--listen", "127.0.0.1:0", "--log", path]))
    # the old one first: it has said all that it has to say before the new one sleeps in open(2)
    r.until("it has the sockets", lambda: asleep(d.p.pid) and p.sockets() >= 3 and asleep(p.p.pid))
    return p, path


class Started:
    def __init__(self, argv):
        # pylint: disable=consider-using-with
        self.p = subprocess.Popen(argv, env=ENV, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def sockets(self):
        where = f"/proc/{self.p.pid}/fd"
        n = 0
        for f in os.listdir(where):
            try:
                n += "socket" in os.readlink(f"{where}/{f}")
            except FileNotFoundError:
                pass    # closed since the folder was read
        return n

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.communicate()


@test
def new_one_is_killed(r):
    """A real one, when it has the sockets."""
    d = r.daemon()
    client(r, d, paths(r).target, "--name", "a", "--quiet")
    p, _ = halfway(r, d)
    p.p.kill()
    p.p.wait()
    d.log('event=takeover_failed reason="the new daemon has gone"')
    serves(r, d, "killed")


@test
def old_one_is_killed(r):
    """A real one, when its sockets are out: the new one goes on, and the client comes."""
    d = r.daemon()
    client(r, d, paths(r).target, "--name", "a", "--quiet")
    p, path = halfway(r, d)
    d.ended = True
    d.kill()
    d.exit()
    with open(path, encoding="latin-1") as log:
        lines = iter(log.readline, "")
        r.check("it goes on alone", any("event=takeover names=0 old=gone" in l for l in lines))
        r.check("the client comes", any("event=tunnel_open name=a" in l for l in lines))
        r.equal("and is served", r.get(d, path="/x").body, b"/x")
        r.equal("stop is for the new one", d.tool("stop").returncode, 0)
        rest = log.read()
    r.equal("it exits 0", p.p.wait(WAIT), 0)
    r.check("no sanitizer report", not FOUND.search(rest + p.p.stderr.read().decode()), rest)


@test
def new_one_hangs(r):
    d = r.daemon()
    n = NewOne(d)
    n.until("offer")
    r.has("it is waited for, but not for ever", "timed out", n.until("refused")[-1]["reason"])
    n.close()
    d.log("event=takeover_failed")
    r.equal("status", d.tool("status").returncode, 0)


class OldOne:
    """A running daemon, as takeover.h has it, that dies or errs when the test wants."""

    def __init__(self, r, steps, name="fake"):
        os.makedirs(f"{r.tmp}/{name}", 0o700, exist_ok=True)
        self.state, self.steps = f"{r.tmp}/{name}", steps
        self.control, self.public = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
        if os.path.exists(f"{self.state}/control"):
            os.unlink(f"{self.state}/control")
        self.control.bind(f"{self.state}/control")
        self.control.listen()
        self.port = self.public.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        c, _ = self.control.accept()
        c.settimeout(WAIT)
        got = b""
        try:
            for step in self.steps:
                if isinstance(step, str):
                    while step.encode() not in got:
                        if not (data := c.recv(4096)):
                            return
                        got += data
                elif isinstance(step, bytes):
                    c.sendall(step)
                else:
                    line, fds = step
                    line = json.dumps(line).encode() + b"\n"
                    sent = socket.send_fds(c, [line[:1]], [f.fileno() for f in fds]) if fds else 0
                    c.sendall(line[sent:])
        except OSError:
            pass
        finally:
            c.close()
            self.close()

    def close(self):
        self.control.close()
        self.public.close()


def offer(old, **more):
    return [({"op": "socket", "kind": "public", "tls": False, "any": True, "given": False, "unheard-of": {}, **more}, [old.public]),
            ({"op": "socket", "kind": "control"}, [old.control]), ({"op": "unheard-of"}, []), ({"op": "offer"}, [])]


HOLD = {"op": "name", "name": "a", "who": "token:0badcafe", "path": False, "ms": 60000}


@test
def old_one_dies(r):
    """At any step after its sockets are out: the new one has them, and goes on."""
    for i, tail in enumerate(([], ['"ready"'], ['"ready"', (HOLD, [])], ['"ready"', (HOLD, []), ({"op": "go"}, [])],
                              ['"ready"', (HOLD, []), ({"op": "go"}, []), '"taken"'],
                              ['"ready"', (HOLD, []), ({"op": "go"}, []), '"taken"', ({"op": "done"}, [])])):
        name = f"fake{i}"
        old = OldOne(r, [], name)
        old.steps = ["takeover\n", *offer(old), *tail]
        d = r.daemon("--takeover", name=name, scope=None)
        r.equal(f"{i}: its port", d.port, old.port)
        d.log("event=takeover names=%d old=%s" % ("name" in str(tail), "drains" if "done" in str(tail) else "gone"))
        with Caller(d.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as c:
            r.equal(f"{i}: it answers", c.response().status, 200)
        r.equal(f"{i}: status", [(t["name"], t["lost"]) for t in d.status()], [("a", True)] if "name" in str(tail) else [])
        d.ended = True
        r.equal(f"{i}: stop", d.tool("stop").returncode, 0)
        r.equal(f"{i}: it exits 0", d.exit(), 0)


@test
def old_one_errs(r):
    """What it sends is not believed, and a word of no is a no."""
    refused = {"op": "refused", "reason": "not today"}
    plain = socket.socket()
    r.keep(plain)
    cases = [("unknown command", [b"unknown command\n"], "stop it, and start without --takeover"),
             ("nothing", [], "cannot be taken over: it has gone"),
             ("no sockets", [({"op": "offer"}, [])], "it has no sockets to give"),
             ("a refusal", [(refused, [])], "it refused: not today"),
             ("a long line", [b"{" * 5000], "stop it, and"),
             ("a socket that does not listen", [({"op": "socket", "kind": "public"}, [plain]), ({"op": "offer"}, [])], "stop it, and"),
             ("a socket without a socket", [({"op": "socket", "kind": "public"}, []), ({"op": "offer"}, [])], "stop it, and"),
             ("flags of no sense", [({"op": "socket", "kind": "public", "tls": 7}, ["public"])], "stop it, and"),
             ("two at once", [({"op": "socket", "kind": "control"}, ["control", "control"])], "stop it, and"),
             ("a late refusal", ["offer", '"ready"', (refused, [])], "the running daemon stays: it refused: not today"),
             ("a very late refusal", ["offer", '"ready"', ({"op": "go"}, []), '"taken"', (refused, [])],
              "the running daemon stays: it refused: not today")]
    for i, (what, steps, want) in enumerate(cases):
        old = OldOne(r, [], f"fake{i}")
        steps = [x for s in steps for x in (offer(old) if s == "offer" else [s])]
        old.steps = ["takeover\n", *((s[0], [getattr(old, fd) if isinstance(fd, str) else fd for fd in s[1]])
                                     if isinstance(s, tuple) else s for s in steps)]
        got = attempt(r, name=f"fake{i}")
        got = (got[0], "\n".join(l for l in got[1].splitlines() if l.startswith("tunneld:")) + "\n")
        told(r, what, got, 1, want)
    bad = [{**HOLD, "name": "UPPER"}, {**HOLD, "name": ""}, {**HOLD, "who": "x" * 500}, {**HOLD, "ms": -1}, {**HOLD, "path": 3}, {"op": "name"}, HOLD, HOLD]
    old = OldOne(r, [], "names")
    old.steps = ["takeover\n", *offer(old), '"ready"', *((b, []) for b in bad), ({"op": "go"}, []), '"taken"', ({"op": "done"}, [])]
    d = r.daemon("--takeover", name="names", scope=None)
    d.log("event=takeover names=1 old=drains")
    r.equal("a good name among bad ones", [t["name"] for t in d.status()], ["a"])


if __name__ == "__main__":
    main()
