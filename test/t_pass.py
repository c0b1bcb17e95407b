"""What passes through daemon and client, with real peers at both ends."""
import hashlib
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
import bulk
from bulk import GIB, blocks, rss
from client import Curl, Relay, client, direct, free_port, start_curl, ws_client, ws_server
from origin import BLOCK
from rig import Caller, SANITIZED, WAIT, main, test

SHORT = 3 if SANITIZED else 1       # seconds for what happens at once


def pair(r, *options, args=(), target=None, name="a", port=0):
    """A daemon, an origin and a client in front of it."""
    d = r.daemon(*options)
    o = r.origin("--port", str(port)) if target is None else None
    c = client(r, d, target or o.target, "--name", name, *args)
    return d, o, c


def status(d, name="a"):
    return [t for t in d.status() if t["name"] == name]


def took(function, *args, **more):
    """(seconds, what it returned)"""
    start = time.monotonic()
    got = function(*args, **more)
    return time.monotonic() - start, got


def served(r, d, what="a request", status=200):
    """How long a request takes."""
    t, got = took(Curl, d, "/echo")
    r.equal(what, got.status, status)
    return t


class Later(threading.Thread):
    """A function on a thread; .got is what it returned, .at when."""

    def __init__(self, function, *args, **more):
        super().__init__(daemon=True)
        self.call, self.got, self.at = (function, args, more), None, None
        self.start()

    def run(self):
        function, args, more = self.call
        self.got = function(*args, **more)
        self.at = time.monotonic()

    def result(self):
        self.join(WAIT + 20)
        return self.got


# ---- requests and responses --------------------------------------------------

@test
def methods(r):
    d, _, _ = pair(r)
    body = os.urandom(50000)
    digest = hashlib.sha256(body).hexdigest()
    c = Curl(d, "/echo?x=%2F%20y&z=a+b")
    r.equal("GET", (c.status, c.json().get("method"), c.json().get("body_length")), (200, "GET", 0))
    r.equal("path and query pass untouched", c.json().get("target"), "/echo?x=%2F%20y&z=a+b")
    for method, args in (("POST", ["--data-binary", "@-"]), ("PUT", ["-X", "PUT", "--data-binary", "@-"]),
                         ("PATCH", ["-X", "PATCH", "--data-binary", "@-"])):
        c = Curl(d, "/echo", *args, stdin=body)
        r.equal(method, (c.status, c.json().get("method"), c.json().get("body_sha256")), (200, method, digest))
    c = Curl(d, "/bytes?n=12345", "-I")
    r.equal("HEAD", (c.status, c.exit, c.get("Content-Length"), c.body), (200, 0, "12345", b""))
    c = Curl(d, "/echo", "-X", "OPTIONS", "-H", "Origin: http://x.example")
    r.equal("OPTIONS", (c.status, c.json().get("method")), (200, "OPTIONS"))
    r.equal("OPTIONS is the service's to answer", c.get("Access-Control-Allow-Origin"), None)
    c = Curl(d, "/", "-X", "OPTIONS", "--request-target", "*")
    r.equal("OPTIONS * reaches the service", (c.status, c.json().get("target")), (404, "*"))
    c = Curl(d, "/echo", "-X", "DELETE")
    r.equal("DELETE", (c.status, c.json().get("method")), (200, "DELETE"))
    for code in (204, 304, 404, 500):
        c = Curl(d, f"/status?code={code}")
        r.equal(f"status {code}", (c.status, c.exit), (code, 0))
    c = Curl(d, "/http10")
    r.equal("an HTTP/1.0 answer that ends with its connection", (c.status, c.exit, c.body), (200, 0, b"old school\n"))


@test
def repeated_fields(r):
    d, _, _ = pair(r)
    c = Curl(d, "/echo", "-H", "X-A: 1", "-H", "X-B: between", "-H", "X-A: 2", "-H", "x-a: 3, 4", "-H", "Cookie: a=b; c=d")
    got = [(n, v) for n, v in c.json().get("headers", []) if n.lower() in ("x-a", "x-b")]
    r.equal("request fields, repeated, in order", got, [("X-A", "1"), ("X-B", "between"), ("X-A", "2"), ("x-a", "3, 4")])
    r.equal("a cookie", c.sent_fields("cookie"), ["a=b; c=d"])
    c = Curl(d, "/dup")
    got = [(n.lower(), v) for n, v in c.fields if n.lower() in ("set-cookie", "x-between", "link")]
    r.equal("response fields, repeated, in order", got,
            [("set-cookie", "a=1"), ("x-between", "1"), ("set-cookie", "b=2; Path=/"), ("set-cookie", "a=3"),
             ("link", "</1>"), ("link", "</2>")])


@test
def chunked(r):
    d, _, _ = pair(r)
    body = os.urandom(300000)
    c = Curl(d, "/upload", "-T", "-", stdin=body)
    r.equal("a chunked request stays chunked", (c.status, c.json().get("chunked")), (200, True))
    r.equal("a chunked request, byte-exact", c.json().get("body_sha256"), hashlib.sha256(body).hexdigest())
    for piece in (1, 1000, 100000):
        n = 3000 if piece == 1 else 3 << 20
        c = Curl(d, f"/bytes?n={n}&chunked&piece={piece}")
        r.equal(f"a chunked response of {piece}-byte pieces",
                (c.exit, c.get("Transfer-Encoding"), c.body == (BLOCK * 3)[:n]), (0, "chunked", True))
    c = Curl(d, f"/bytes?n={3 << 20}&eof")
    r.equal("a response that ends with its connection", (c.exit, c.body == BLOCK * 3), (0, True))


@test
def trailers(r):
    d, _, _ = pair(r)
    c = Curl(d, "/trailers", "-H", "TE: trailers")
    r.equal("a response with trailers", (c.status, c.exit), (200, 0))
    with Caller(d.port, b"GET /trailers HTTP/1.1\r\nHost: a.localhost\r\nTE: trailers\r\n\r\n") as caller:
        res = caller.response()
    r.equal("trailers of a response", (res.body, sorted(res.trailers)), (b"hello", ["X-More: yes", "X-Sum: 5"]))
    r.equal("Trailer of a response", res.get("Trailer"), "X-Sum, X-More")
    res = r.get(d, path="/echo", method="POST", fields="Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n",
                body=b"5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n")
    r.equal("trailers of a request", (res.json().get("body_length"), res.json().get("trailers")), (5, ["X-Sum: 5"]))
    with open(f"{r.tmp}/head", "wb"):
        pass
    Curl(d, "/trailers", "-D", f"{r.tmp}/head")
    with open(f"{r.tmp}/head", encoding="latin-1") as f:
        r.has("curl sees them", r"(?m)^X-Sum: 5\r?$", f.read())


@test
def expect(r):
    d, _, _ = pair(r)
    body = os.urandom(200000)
    c = Curl(d, "/continue", "-H", "Expect: 100-continue", "--expect100-timeout", "50", "--data-binary", "@-", stdin=body)
    r.equal("Expect: 100-continue reaches the service, and its 100 the caller",
            (c.status, c.json().get("asked"), c.json().get("body_before_100"), c.json().get("body_length")),
            (200, True, False, len(body)))
    c = Curl(d, "/expect-reject", "-H", "Expect: 100-continue", "--expect100-timeout", "50", "--data-binary", "@-", stdin=body)
    r.equal("a 417 comes without the content having been sent", (c.status, c.sent, c.body), (417, 0, b"rejected\n"))
    c = Curl(d, "/interim")
    r.equal("a response after a 103", (c.status, c.body), (200, b"final\n"))
    res = r.get(d, path="/interim")
    r.equal("the 103 itself", [s for s, _ in res.interim], [103])


@test
def events(r):
    d, o, _ = pair(r)
    p = start_curl(r, d, "/sse?id=e&n=3")
    p.wait_line(p.lines, lambda l: l == "data: event 0", "first event")
    r.check("the first event comes while the response runs", p.alive() and status(d)[0]["running"] == 1)
    for i in (1, 2):
        direct(o, "/sse-next?id=e")
        p.wait_line(p.lines, lambda l, i=i: l == f"data: event {i}", f"event {i}")
    r.equal("events end in order", p.exit(), 0)


@test
def early_answer(r):
    d, _, _ = pair(r)
    c = Curl(d, "/early?drain=1", "-H", "Expect:", "--data-binary", "@-", stdin=bytes(8 << 20))
    r.equal("an answer before the content's end", (c.status, c.body), (413, b"too large\n"))
    r.equal("the next request", Curl(d, "/echo").status, 200)


# ---- WebSocket ---------------------------------------------------------------

@test
def websocket(r):
    d = r.daemon()
    w = ws_server(r)
    client(r, d, w.target, "--name", "a")
    got = ws_client(d.port, "/ws", "--text", "grüße, 世界", "--text", "", "--ping")
    r.equal("WebSocket text", (got["ok"], got.get("code")), (True, 1000))
    got = ws_client(d.port, "/ws", "--binary-size", str(1 << 20), "--repeat", "3")
    r.equal("WebSocket binary, 1 MiB", (got["ok"], got["echoed"]), (True, 3 << 20))
    got = ws_client(d.port, "/report?x=1", "--report", "--deflate", "--text", "x" * 10000, "--header", "Origin: http://o.example")
    report = got.get("report", {})
    r.equal("path and query of an upgrade", report.get("path"), "/report?x=1")
    r.check("fields of an upgrade", ["Origin", "http://o.example"] in report.get("headers", []), report)
    got = ws_client(d.port, "/ws", "--text", "close 4321", "--wait-close")
    r.equal("a close of the service's", (got.get("code"), got.get("reason")), (4321, "as you wish"))
    r.until("no exchange is left", lambda: status(d)[0]["running"] == 0)


@test
def hot_reload(r):
    d = r.daemon("--domain", "tunnel.test")
    w = ws_server(r)
    client(r, d, w.target)
    for what, query in (("a short token", "abc"), ("a token shaped like a JWS", "eyJh.eyJi.c2ln")):
        got = ws_client(d.port, f"/?token={query}", "--subprotocol", "vite-hmr", "--text", '{"type":"ping"}', host="tunnel.test")
        r.equal(f"hot reload by the base host, {what}", (got["ok"], got.get("subprotocol")), (True, "vite-hmr"))
    got = ws_client(d.port, "/?token=abc", "--subprotocol", "vite-hmr", "--text", "x", host="default.tunnel.test")
    r.equal("hot reload by name", (got["ok"], got.get("subprotocol")), (True, "vite-hmr"))
    got = ws_client(d.port, "/?token=abc", "--text", "x", host=f"127.0.0.1:{d.port}")
    r.check("hot reload by address, without a subprotocol", got["ok"], got)


# ---- bulk --------------------------------------------------------------------

@test
def download(r):
    d, _, c = pair(r)
    got = bulk.download("-H", "Host: a.localhost", f"http://127.0.0.1:{d.port}/bytes?n={GIB}")
    r.equal("a large download, byte-exact", got, (0, GIB, True))
    rss(r, "a large download", d, c)
    r.until("the bytes are counted", lambda: status(d)[0]["out"] >= GIB)


@test
def upload(r):
    d, _, c = pair(r)
    want = Later(blocks, GIB)
    got = bulk.upload("-H", "Host: a.localhost", f"http://127.0.0.1:{d.port}/upload")
    r.equal("a large upload, byte-exact", got, (0, GIB, want.result()))
    rss(r, "a large upload", d, c)
    with open(f"{r.tmp}/up", "wb") as f:
        f.write(BLOCK * 40)
    got = Curl(d, "/upload", "-H", "Expect:", "-T", f"{r.tmp}/up")
    r.equal("an upload of known length", (got.json().get("chunked"), got.json().get("body_sha256")),
            (False, blocks(40 * len(BLOCK))))


@test
def many_downloads(r):
    d, _, _ = pair(r)
    n, size = 200, 400000
    callers = []
    for _ in range(n):      # each has its head before the next begins
        k = r.caller(d, f"GET /bytes?n={size} HTTP/1.1\r\nHost: a.localhost\r\n\r\n", rcvbuf=4096)
        if (res := k.interim()).status != 200:
            r.check("a head among many downloads", False, res)
        callers.append(k)
    r.equal("slow downloads run at the same time", status(d)[0]["running"], n)
    r.soon("a short request among them", SHORT * 2, lambda: served(r, d))
    want, left = BLOCK[:size], list(callers)
    while left:             # a little of each in turn
        for k in list(left):
            at = getattr(k, "at", 0)
            data = k.exactly(min(16384, size - at))
            if data != want[at:at + len(data)] or not data:
                r.check("a slow download, byte-exact", False, f"at {at} of {size}")
                left.remove(k)
                continue
            k.at = at + len(data)
            if k.at == size:
                left.remove(k)
    r.equal("slow downloads, byte-exact", sum(k.at == size for k in callers), n)
    r.until("none is left", lambda: status(d)[0]["running"] == 0)


@test
def stopped_reader(r):
    d, o, c = pair(r)
    size = (16 if SANITIZED else 128) << 20

    def once():
        t, got = took(Curl, d, f"/bytes?n={size}", "-o", "/dev/null")
        return t if got.exit == 0 and got.status == 200 else None
    alone = min(filter(None, (once(), once())), default=None)
    stuck = [r.caller(d, "GET /stall HTTP/1.1\r\nHost: a.localhost\r\n\r\n", rcvbuf=4096) for _ in range(8)]
    r.until("callers who do not read hold the service back", lambda: direct(o, "/stalled?started=1")["blocked"])
    r.check("a caller alone is served", alone)
    r.soon("others go on at full speed", (alone or 0) * 3 + 0.5, lambda: once() or WAIT)
    rss(r, "callers who do not read", d, c)
    r.equal("they still run", status(d)[0]["running"], len(stuck))
    late = r.caller(d, f"GET /bytes?n={24 << 20} HTTP/1.1\r\nHost: a.localhost\r\n\r\n", rcvbuf=4096)
    r.until("another is held back", lambda: sum(t["running"] for t in status(d)) == len(stuck) + 1)
    r.equal("others pass it", Curl(d, "/echo").status, 200)
    r.check("one that reads again misses nothing", late.response().body == BLOCK * 24)
    for k in stuck:
        k.reset()
    r.until("the service sees them all leave", lambda: len(direct(o, "/stalled")["ended"]) == len(stuck))


# ---- leaving and dying -------------------------------------------------------

@test
def caller_leaves(r):
    d, o, _ = pair(r, "--half-close", "300ms")
    n = 0

    def leaves(what, how, path):
        nonlocal n
        if how == "is killed":
            p = start_curl(r, d, path, "-o", "/dev/null")
        else:
            k = r.caller(d, f"GET {path} HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            if "part" in path:
                k.interim()
        r.check(f"{what}: it hangs", direct(o, "/hung")["ok"])
        start = time.monotonic()
        if how == "is killed":
            p.kill()
            p.exit()
        else:
            getattr(k, how[:-1])()
        n += 1
        got = direct(o, f"/dropped?n={n}")
        r.check(f"{what}: the service sees it", got["ok"], got)
        return time.monotonic() - start
    for when, path in (("before the response", "/hang"), ("during the response", "/hang?part=100000")):
        for how in ("resets", "closes", "is killed"):
            what = f"a caller {how} {when}"
            r.soon(f"{what}: in time", 2 + SHORT, lambda w=what, h=how, p=path: leaves(w, h, p))
    k = r.caller(d, "POST /upload HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1000000\r\n\r\n" + "x" * 1000)
    r.until("an upload has begun", lambda: status(d)[0]["running"] == 1)
    k.close()
    r.until("a caller who leaves inside a request is gone", lambda: status(d)[0]["running"] == 0)
    r.equal("the service too", direct(o, "/conns?open=1")["open"], 1)


@test
def service_dies(r):
    port = free_port(r)
    d, o, _ = pair(r, port=port)

    def dies(path, *want):
        t, c = took(Curl, d, path)
        r.check(f"{path}: 502, or the caller sees that it is cut", (c.status, c.exit) in want, c)
        return t
    for path in ("/die-before", "/die-before?reset=1", "/die-mid-head", "/nonsense"):
        r.soon(f"{path}: at once", SHORT + 1, lambda p=path: dies(p, (502, 0)))
    for path in ("/die-mid", "/die-mid?reset=1", "/die-mid-chunked"):
        r.soon(f"{path}: at once", SHORT + 1, lambda p=path: dies(p, (200, 18), (200, 56)))
    c = Curl(d, "/die-mid?n=100000")
    r.equal("what came before is passed on", c.body, BLOCK[:50000])

    def killed():
        nonlocal o
        part = f"{r.tmp}/part{len(r.procs)}"
        before = Later(Curl, d, "/hang")
        during = Later(Curl, d, "/hang?part=100000", "-o", part)
        direct(o, "/hung?n=2")
        r.until("a part of the answer is there", lambda: os.path.exists(part) and os.path.getsize(part) > 50000)
        start = time.monotonic()
        o.kill()
        r.equal("a service killed before the answer", before.result().status, 502)
        c = during.result()
        r.check("a service killed in the middle", c.status == 200 and c.exit in (18, 56), c)
        c = Curl(d, "/")
        r.equal("a service that is not there", (c.status, c.get("X-Tunnel-Error")), (502, "refused"))
        o = r.origin("--port", str(port))
        r.equal("the service is back", Curl(d, "/echo").status, 200)
        return max(before.at, during.at) - start
    r.soon("both at once", SHORT, killed)


@test
def client_killed(r):
    d, o, c = pair(r, "--grace", "60")
    times, url = 0, c.url

    def killed():
        nonlocal c, times
        if times:
            c = client(r, d, o.target, "--name", "a")
        times += 1
        hanging = [Later(Curl, d, "/hang") for _ in range(3)]
        running = r.caller(d, "GET /hang?part=100000 HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
        running.interim()
        direct(o, "/hung?n=4")
        mark = d.marks()
        start = time.monotonic()
        c.kill9()
        got = [h.result() for h in hanging]
        r.equal("the client killed: 502 for those without a head", [g.status for g in got], [502] * 3)
        got = running.exactly(1 << 20)
        r.check("a response that runs is cut", len(got) <= 100000 and running.over() in ("fin", "reset"), len(got))
        r.check("its local connections are closed", direct(o, f"/dropped?n={4 * times}")["ok"])
        d.log("event=session_end", start=mark)
        return max(h.at for h in hanging) - start
    r.soon("at once", SHORT, killed)
    waiting = [Later(Curl, d, "/echo") for _ in range(3)]
    r.equal("the name is kept", [t["lost"] for t in status(d)], [True])
    r.check("requests wait", all(w.is_alive() for w in waiting))
    again = client(r, d, o.target, "--name", "a")
    r.equal("waiting requests are served after its return", [w.result().status for w in waiting], [200] * 3)
    r.equal("under the same URL", again.url, url)
    again.stop()
    r.soon("a client that stops in order frees its name at once", SHORT, lambda: served(r, d, "the name is free", 503))


@test
def grace_over(r):
    d = r.daemon("--grace", "1")

    def over():
        c = client(r, d, "3000", "--name", "a")
        mark = d.marks()
        c.kill9()
        d.log("event=session_end", start=mark)
        t, g = took(Curl, d, "/")
        r.check("503 when the grace period is over", g.status == 503 and g.get("Retry-After"), g)
        return t
    r.soon("no later", 1 + SHORT, over)


def restarted(r, number):
    port = free_port(r)
    d, o, c = pair(r, "--listen", f"127.0.0.1:{port}")
    if number == signal.SIGTERM:
        running = Later(Curl, d, "/held")
        r.until("a request runs", lambda: status(d)[0]["running"] == 1)
    d.ended = True
    d.kill(number)
    if number == signal.SIGTERM:
        d.log("event=draining")
        direct(o, "/release")
    code = d.exit()
    if number == signal.SIGTERM:
        r.equal("the daemon stops in order", code, 0)
        r.equal("what runs is finished before it stops", running.result().status, 200)
    c.says("trying again")
    again = r.daemon("--listen", f"127.0.0.1:{port}", scope=None)
    again.token = d.token
    r.until("the client returns by itself", lambda: Curl(again, "/echo").status == 200)
    c.says("is back")
    r.equal("its URL is shown once", len([l for l in c.lines if l]), 1)


@test
def daemon_killed(r):
    restarted(r, signal.SIGKILL)


@test
def daemon_stopped(r):
    restarted(r, signal.SIGTERM)


# ---- several clients ---------------------------------------------------------

@test
def taken_over(r):
    d, o, first = pair(r)
    other = r.origin()
    running = Later(Curl, d, "/held")
    r.until("a request runs at the first", lambda: status(d)[0]["running"] == 1)
    second = client(r, d, other.target, "--name", "a")
    got = Curl(d, "/conns").json()
    r.equal("the second client serves", (got.get("accepted"), direct(other, "/conns")["requests"]), (1, 2))
    direct(o, "/release")
    r.equal("what the first was serving is finished", running.result().status, 200)
    first.ends("a client whose name the same token took over", 4)
    r.has("it says why", "taken_over|taken over|took", "\n".join(l for l in first.errs if l))
    r.equal("one tunnel is left", len(status(d)), 1)
    r.equal("the second goes on", Curl(d, "/echo").status, 200)
    r.check("the second is not asked to leave", second.alive())
    r.equal("the first's service is not asked any more", direct(o, "/conns")["requests"], 3)


@test
def refused(r):
    d, o, first = pair(r)
    token = d.issue("--global")
    c = client(r, d, o.target, "--name", "a", token=token, ready=False)
    c.ends("a client with another token", 4)
    r.has("it says why", "name_in_use|in use", "\n".join(l for l in c.errs if l))
    r.equal("nothing on its stdout", [l for l in c.lines if l], [])
    r.equal("the first goes on", (Curl(d, "/echo").status, first.alive()), (200, True))


def spread(r, d, what, sessions, each):
    """each × sessions requests hang; they are spread evenly."""
    hang = [Later(Curl, d, "/hang") for _ in range(sessions * each)]
    r.until(f"{what}: requests run", lambda: sum(t["running"] for t in status(d)) == len(hang))
    r.equal(f"{what}: they are spread over the sessions", [t["running"] for t in status(d)], [each] * sessions)
    return hang


@test
def connections(r):
    d = r.daemon("--timeout", "300")
    o, relay = r.origin(), r.keep(Relay(d.port))
    c = client(r, relay.url, o.target, "--name", "a", "--connections", "4", token=d.token)
    r.until("four sessions come", lambda: len(status(d)) == 4)
    r.equal("one URL line", len([l for l in c.lines if l]), 1)
    r.check("none of them is back: none was gone", not any("is back" in l for l in c.errs), c.errs)
    hang = spread(r, d, "--connections", 4, 2)
    relay.cut(1)
    r.until("the two of the session that was cut end", lambda: sum(not h.is_alive() for h in hang) == 2)
    r.equal("with 502", sorted(h.got.status for h in hang if h.got), [502, 502])
    r.until("the session comes back", lambda: sum(not t["lost"] for t in status(d)) == 4)
    r.equal("the others go on", (sum(h.is_alive() for h in hang), len(status(d))), (6, 4))
    r.soon("requests are served at once", SHORT, lambda: served(r, d))
    o.kill()
    for h in hang:
        h.result()


@test
def share(r):
    d = r.daemon("--timeout", "300")
    o = [r.origin() for _ in range(3)]
    c = [client(r, d, p.target, "--name", "a", "--share") for p in o]
    r.equal("three share a name", len(status(d)), 3)
    hang = spread(r, d, "--share", 3, 2)
    r.equal("each service has its part", [direct(p, "/hung?n=2")["hanging"] for p in o], [2] * 3)
    c[1].kill9()
    r.until("the two of the one that was killed end", lambda: sum(not h.is_alive() for h in hang) == 2)
    r.equal("with 502", sorted(h.got.status for h in hang if h.got), [502, 502])
    r.soon("new requests go to the others at once", SHORT * 2, lambda: sum(served(r, d) for _ in range(6)))
    r.equal("the others go on", sum(h.is_alive() for h in hang), 4)
    alone = client(r, d, o[1].target, "--name", "a")
    for i in (0, 2):
        c[i].over = True
    r.check("one without --share takes over all", alone.alive())
    for p in o:
        p.kill()
    for h in hang:
        h.result()
    for i in (0, 2):
        c[i].ends("a sharing client that was taken over", 4)


@test
def revoked(r):
    d = r.daemon(scope=None)

    def revoke():
        d.issue("--global")
        c = client(r, d, "3000", "--name", "a")
        start = time.monotonic()
        r.equal("the token is revoked", d.tool("token", "revoke", d.token_id).returncode, 0)
        r.until("its tunnel is gone", lambda: not status(d))
        t = time.monotonic() - start
        c.ends("a client whose token is revoked", 3)
        r.has("it says why", "revoked", "\n".join(l for l in c.errs if l))
        return t
    r.soon("within a second", 1 + (SHORT if SANITIZED else 0.2), revoke)
    r.equal("503 afterwards", Curl(d, "/").status, 503)


@test
def reset_upgrade(r):
    """After a 101 a reset stays one: a clean end would say that all has come."""
    s = r.service(lambda conn, _: (conn.send(b"HTTP/1.1 101 S\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n"),
                                   conn.until(b"bye"), conn.reset()))
    d, _, _ = pair(r, target=s.target)
    r.client(d, "b", "--target", s.target)
    for name in ("a", "b"):
        c = r.caller(d, f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n")
        r.equal(f"{name}: 101", c.interim().status, 101)
        c.send("bye")
        r.equal(f"{name}: the service's reset is the caller's", c.over(), "reset")


main()
