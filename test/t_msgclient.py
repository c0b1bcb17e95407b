"""The client towards servers that are no tunneld: `tunnel connect --dialect pipegate` and bifrost.

peer/msgserver.py stands for the original servers; it shares no code with ours, and finds fault with every message that
could hurt them.  What it does not show is tried with our own daemon in these dialects.
"""
import base64
import gzip
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import uuid

import jwt

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import Client, Relay, client, connect_proxy, free_port, hwm, run_tool
from rig import BIN, PEER, PYTHON, SANITIZED, WAIT, Caller, Clock, main, serving, test

SECRET = "vector-secret-0123456789abcdef-0123456789"
BF = "bf_000102030405060708090a0b0c0d0e0f1011121314151617"
MIB = 1 << 20


def token(sub="demo", secret=SECRET, ttl=3600):
    now = int(time.time())
    return jwt.encode({"sub": sub, "exp": now + ttl, "nbf": now, "iat": now, "iss": "pipegate", "aud": "pipegate",
                       "jti": uuid.uuid4().hex}, secret, "HS256")


class Where:
    """A server for our client, and how callers and the test reach it."""

    def __init__(self, r, dialect, *args, port=0):
        self.r, self.dialect = r, dialect
        self.p = r.spawn(PYTHON, f"{PEER}/msgserver.py", dialect, "--port", str(port), *args)
        ports = self.p.event(event="listening")
        self.port, self.clients = ports["port"], ports["clients"]
        self.url = f"ws://127.0.0.1:{self.clients}"

    def connect(self, target, *args, text=None, url=None, **more):
        more.setdefault("token", text or (token() if self.dialect == "pipegate" else BF))
        return client(self.r, url or self.url, target, "--dialect", self.dialect, *args, **more)

    def target(self, path):
        return f"/demo{path}" if self.dialect == "pipegate" else path

    def get(self, path="/", fields="", method="GET", body=b"", wait=WAIT, host="default.example"):
        with Caller(self.port, f"{method} {self.target(path)} HTTP/1.1\r\nHost: {host}\r\n{fields}"
                    f"{f'Content-Length: {len(body)}' + chr(13) + chr(10) if body else ''}\r\n".encode("latin-1") + body, wait=wait) as c:
            return c.response(method)

    def control(self, what, body=b""):
        with Caller(self.port, f"POST /_ctl/{what} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body) as c:
            return c.response()

    def inject(self, m, how=""):
        """A message of the test's own making: its answer."""
        ident = m["correlation_id" if self.dialect == "pipegate" else "id"]
        return json.loads(self.control(f"send?id={ident}{how}", json.dumps(m).encode()).body or "{}")


BOTH = ("pipegate", "bifrost")


def ok(body=b"ok\n", fields=""):
    return serving(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n" % (len(body), fields.encode("latin-1")) + body)


def describe(conn, head):
    """What the local service was asked, as JSON."""
    lines = head.split("\r\n")
    fields = [list(l.partition(": ")[::2]) for l in lines[1:] if l]
    length = sum(int(v) for k, v in fields if k.lower() == "content-length")
    data = conn.exactly(length)
    method, target, _ = lines[0].split(" ")
    ok(json.dumps({"method": method, "target": target, "headers": fields, "body_length": len(data)}).encode())(conn, head)


# ---- requests and answers ---------------------------------------------------------

@test
def requests_pipegate(r):
    """Checklist: the token in the query, exactly the four keys in text frames; V3, V8; and what a request becomes."""
    s, o = Where(r, "pipegate"), r.service(describe)
    c = s.connect(o.target)
    e = s.p.event(event="connected")
    r.equal("the URL that is shown", c.url, f"http://127.0.0.1:{s.clients}/demo/")
    r.equal("the client tells what it takes, and offers nothing", {k: v for k, v in e["fields"].items() if k != "user-agent"},
            {"x-pipegate-max-message": "104857600"})
    r.check("the client pings", s.p.event(event="ping"))
    res = s.get("/echo/api/v1%20x?a=1&a=2&b&c=%2B+", "Content-Type: text/plain\r\n", "POST", b"a=1").json()
    r.equal("V3", (res.get("method"), res.get("target"), res.get("body_length")), ("POST", "/echo/api/v1%20x?a=1&a=2&b=&c=%2B+", 3))
    fields = {k.lower(): v for k, v in res.get("headers", [])}
    r.equal("Host is the service's, content-type stays", (fields.get("host"), fields.get("content-type"), fields.get("content-length")),
            (o.target, "text/plain", "3"))
    r.has("the correlation id is seen", "^[0-9a-f]{32}$", fields.get("x-pipegate-correlation-id", ""))
    r.equal("where the caller thinks it is", [fields.get(f"x-forwarded-{n}") for n in ("host", "proto", "prefix")],
            ["default.example", "http", "/demo"])
    r.equal("V8: the root", s.get("/echo").json().get("target"), "/echo")
    c.says(r" POST /echo/api/v1%20x\?a=1&a=2&b=&c=%2B\+ 200 ")


@test
def requests_bifrost(r):
    """Checklist: the header alone, id echoed, strings only; V5."""
    s, o = Where(r, "bifrost"), r.service(describe)
    c = s.connect(o.target, "--name", "Preview")
    e = s.p.event(event="connected")
    r.equal("the handshake", (e["path"], e["ident"], sorted(e["fields"])), ("/_bifrost/preview", "preview", ["user-agent"]))
    r.equal("the URL that is shown", c.url, f"http://preview.127.0.0.1:{s.clients}")
    host = "preview.tunnel.example.com"
    res = s.get("/echo/v1?x=1&x=2&\"|{", "X-Dup: a\r\nX-Dup: b\r\nContent-Type: text/plain\r\n", "POST", b"a=1", host=host).json()
    r.equal("V5", (res.get("method"), res.get("target"), res.get("body_length")), ("POST", "/echo/v1?x=1&x=2&\"|{", 3))
    fields = {k.lower(): v for k, v in res.get("headers", [])}
    r.equal("fields", {k: fields.get(k) for k in ("x-dup", "x-forwarded-host", "x-forwarded-proto", "content-length", "host")},
            {"x-dup": "a, b", "x-forwarded-host": host, "x-forwarded-proto": "https", "content-length": "3", "host": o.target})
    r.equal("the default host is another tunnel", s.get().status, 503)


@test
def default_name_bifrost(r):
    for endpoint, path in (("", "/_bifrost"), ("/", "/_bifrost"), ("/_bifrost", "/_bifrost"), ("/_bifrost/", "/_bifrost")):
        s = Where(r, "bifrost")
        s.connect(r.service(ok()).target, url=s.url + endpoint)
        r.equal(f"endpoint {endpoint!r}", s.p.event(event="connected")["path"], path)
        r.equal("it serves", s.get().body, b"ok\n")


@test
def prefixes(r):
    """A proxy in front may have put the server below a path."""
    s = Where(r, "bifrost", "--prefix", "/pre")
    c = s.connect(r.service(ok()).target, url=s.url.replace("ws:", "http:") + "/pre/_bifrost")
    r.equal("bifrost below a path", (s.p.event(event="connected")["path"], c.url), ("/pre/_bifrost", f"http://127.0.0.1:{s.clients}"))


@test
def answers(r):
    """Checklist: several Set-Cookie, gzip, HEAD with content-length, binary, 204, 304, redirections: unchanged."""
    packed, raw = gzip.compress(b"hello" * 100), bytes(range(256)) * 300

    def answer(conn, head):
        path = head.split(" ")[1]
        conn.send({
            "/cookies": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Expires=Thu, 01 Jan 2030 00:00:00 GMT\r\nSet-Cookie: b=2\r\nset-cookie: c=3\r\n"
                        b"Date: d\r\nServer: s\r\nVary: a\r\nVary: b\r\nX-L: caf\xe9\tx\r\nContent-Length: 0\r\n\r\n",
            "/gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,
            "/head": b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
            "/binary": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n" +
                       b"".join(b"%x\r\n%s\r\n" % (len(raw[i:i + 1000]), raw[i:i + 1000]) for i in range(0, len(raw), 1000)) + b"0\r\nX: y\r\n\r\n",
            "/204": b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
            "/304": b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n",
            "/302": b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            "/eof": b"HTTP/1.0 200 OK\r\n\r\nto the end",
            "/103": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "/599": b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n",
        }[path])
    for dialect in BOTH:
        s = Where(r, dialect)
        s.connect(r.service(answer).target)
        res = s.get("/cookies")
        r.equal(f"{dialect}: cookies", res.all("set-cookie"), ["a=1; Expires=Thu, 01 Jan 2030 00:00:00 GMT", "b=2", "c=3"])
        r.equal(f"{dialect}: joined, latin-1, tabs", (res.get("vary"), res.get("x-l")[:4], res.get("x-l")[-1]), ("a, b", "café", "x"))
        r.equal(f"{dialect}: date and server, once", (len(res.all("date")), len(res.all("server"))), (1, 1))
        res = s.get("/gzip")
        r.equal(f"{dialect}: gzip", (res.body, res.get("content-encoding")), (packed, "gzip"))
        res = s.get("/head", method="HEAD")
        r.equal(f"{dialect}: HEAD", (res.status, res.get("content-length")), (200, "1234"))
        res = s.get("/binary")
        r.equal(f"{dialect}: binary", (res.body == raw, res.end), (True, "length"))
        r.equal(f"{dialect}: 204", (s.get("/204").status, s.get("/204").get("x-a"), s.get("/204").get("content-length")), (204, "1", None))
        res = s.get("/304")
        r.equal(f"{dialect}: 304", (res.status, res.get("etag"), res.get("content-length")), (304, '"x"', "77"))
        r.equal(f"{dialect}: 302", s.get("/302").get("location"), "/elsewhere")
        r.equal(f"{dialect}: to the end", s.get("/eof").body, b"to the end")
        r.equal(f"{dialect}: 103", s.get("/103").body, b"ok")
        r.equal(f"{dialect}: 599", s.get("/599").status, 599)


@test
def methods(r):
    for dialect in BOTH:
        s, o = Where(r, dialect), r.service(describe)
        s.connect(o.target)
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            r.equal(f"{dialect}: {method}", s.get("/echo", method=method).json().get("method"), method)
        with Caller(s.port, f"POST {s.target('/echo')} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\n0\r\n\r\n") as c:
            res = c.response().json()
        r.equal(f"{dialect}: a chunked upload", (res.get("body_length"), [v for k, v in res["headers"] if k.lower() == "transfer-encoding"]), (3, []))
        body = os.urandom(10 * MIB)
        res = s.get("/echo", method="PUT", body=body, wait=180).json()
        r.equal(f"{dialect}: 10 MiB up", res.get("body_length"), len(body))


@test
def many_at_once(r):
    """Answers in any order; a slow service holds up nobody, and the reader not at all."""
    gate = threading.Event()

    def answer(conn, head):
        if "/slow" in head:
            gate.wait(WAIT)
        ok(head.split(" ")[1].encode())(conn, head)
    for dialect in BOTH:
        gate.clear()
        s = Where(r, dialect)
        s.connect(r.service(answer).target)
        got, threads = {}, []

        def ask(i, path, s=s, got=got):
            got[i] = s.get(path).body
        for i in range(60):
            threads.append(threading.Thread(target=ask, args=(i, f"/slow{i}"), daemon=True))
            threads[-1].start()
        r.equal(f"{dialect}: one that is quick", s.get("/quick").body, b"/quick")
        r.check(f"{dialect}: the slow ones wait", not got)
        gate.set()
        for t in threads:
            t.join(WAIT)
        r.equal(f"{dialect}: each gets its own", got, {i: b"/slow%d" % i for i in range(60)})


# ---- what can be wrong ----------------------------------------------------------------

@test
def injected_pipegate(r):
    s, o = Where(r, "pipegate"), r.service(describe)
    c = s.connect(o.target)
    good = {"correlation_id": "3F2D442122BB4D3DBC0A328AD6C72E12", "url_path": "echo", "url_query": "[]", "method": "GET", "headers": "{}", "body": ""}
    for how in ("", "&binary=1", "&fragments=1"):
        a = s.inject(good, how)
        r.equal(f"an id is echoed as it is{how}", (list(a), a.get("correlation_id"), a.get("status_code")),
                (["correlation_id", "headers", "body", "status_code"], good["correlation_id"], 200))
    a = s.inject({**good, "url_path": "echo/ä€😀", "headers": json.dumps({"x": "é"}), "url_query": json.dumps([["ä", "😀"]])})
    res = json.loads(base64.b64decode(a["body"]))
    r.equal("UTF-8 in path and query", res["target"], "/echo/%C3%A4%E2%82%AC%F0%9F%98%80?%C3%A4=%F0%9F%98%80")
    for what, change in (("a missing key", {"url_path": None}), ("no method", {"method": ""}), ("a strange method", {"method": "a b"}),
                         ("headers no object", {"headers": "[]"}), ("a line feed in a value", {"headers": '{"x":"a\\r\\nb: c"}'}),
                         ("no query", {"url_query": ""}), ("no base64", {"body": "!"}), ("too long", {"url_path": "x" * 9000})):
        a = s.inject({**good, "correlation_id": "x", **change})
        r.equal(f"{what}: 502 at once", a.get("status_code"), 502)
        r.check(f"{what}: it says so", "x-tunnel-error" in a.get("headers", ""), a)
    for junk in (b"junk", b"null", b"{}", b"5", b"[]", b"", b'{"correlation_id":5}', b"[" * 100000):
        s.control("send", junk)
    c.says("the server sent what is no request")
    r.equal("after junk it lives on", s.inject(good).get("status_code"), 200)
    with c.cond:
        r.equal("and says so once", sum("no request" in l for l in c.errs if l), 1)


@test
def injected_bifrost(r):
    s, o = Where(r, "bifrost"), r.service(describe)
    s.connect(o.target)
    good = {"id": "anything \u00e9", "method": "PURGE", "url": "/echo", "headers": {"x": ["a", "b"], "Transfer-Encoding": "chunked"}, "body": ""}
    for how in ("", "&binary=1", "&fragments=1"):
        a = json.loads(s.control("send?id=anything%20%C3%A9" + how, json.dumps(good).encode()).body or "{}")
        r.equal(f"an id is echoed as it is{how}", (list(a), a.get("id"), a.get("status")), (["id", "status", "headers", "body"], good["id"], 200))
    r.equal("arrays", [v for k, v in json.loads(base64.b64decode(a["body"]))["headers"] if k == "x"], ["a", "b"])
    a = s.inject({"id": "m", "method": "GET", "url": "/echo"})
    r.equal("what may be missing", a.get("status"), 200)
    for what, change in (("no method", {"method": None}), ("a blank in the url", {"url": "/a b"}), ("a value with a line feed", {"headers": {"x": "a\nb"}}),
                         ("body a number", {"body": 5}), ("a header name with a blank", {"headers": {"a b": "c"}})):
        a = s.inject({**good, "id": "x", **change})
        r.equal(f"{what}: 502 at once", a.get("status"), 502)
    for junk in (b"junk", b"null", b"{}", b"5", b"[]"):
        s.control("send", junk)
    r.equal("after junk it lives on", s.inject({"id": "m", "method": "GET", "url": "/echo"}).get("status"), 200)


@test
def service_fails(r):
    """V6, V7: there is always an answer."""
    def answer(conn, head):
        path = head.split(" ")[1]
        if path == "/cut":
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        elif path == "/nonsense":
            conn.send(b"no HTTP\r\n\r\n")
        elif path == "/101":
            conn.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        elif path == "/slow":
            conn.over()
        elif path == "/drip":
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            conn.over()
    patience = 5        # time enough for answers that do come
    for dialect in BOTH:
        s = Where(r, dialect)
        c = s.connect(r.service(answer).target, "--timeout", str(patience))
        r.equal(f"{dialect}: it breaks off", s.get("/cut").status, 502)
        r.equal(f"{dialect}: it speaks no HTTP", s.get("/nonsense").status, 502)
        r.equal(f"{dialect}: it ends the connection", s.get("/end").status, 502)
        r.equal(f"{dialect}: 101", s.get("/101").status, 502)
        start = time.monotonic()
        res = s.get("/slow")
        r.equal(f"{dialect}: it takes too long", (res.status, res.get("x-tunnel-error")), (504, "timeout"))
        r.check(f"{dialect}: after --timeout", patience <= time.monotonic() - start < patience + 20, time.monotonic() - start)
        r.equal(f"{dialect}: in the middle of its answer", s.get("/drip").status, 502)
        c.says(r" /slow 504 .* timeout")
        s2 = Where(r, dialect)
        s2.connect("127.0.0.1:%d" % free_port(r))
        res = s2.get()
        r.equal(f"{dialect}: nothing listens", (res.status, res.get("x-tunnel-error")), (502, "refused"))


@test
def too_large(r):
    """13: messages below 16 MiB; else 502, and the tunnel lives."""
    def answer(conn, head):
        n = int(head.split(" ")[1][1:])
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n)
        while n > 0:
            conn.send(b"x" * min(n, 65536))
            n -= min(n, 65536)
    s = Where(r, "pipegate")
    c = s.connect(r.service(answer).target)
    r.equal("as much as goes into it", len(s.get(f"/{12 * MIB - 300}", wait=180).body), 12 * MIB - 300)
    for n in (12 * MIB - 3, 12 * MIB, 20 * MIB):
        res = s.get(f"/{n}", wait=180)
        r.equal(f"{n} bytes", (res.status, res.get("x-tunnel-error")), (502, "too large"))
    c.says("too large")
    r.equal("the tunnel lives", len(s.get("/1000").body), 1000)
    r.equal("over one connection", len(s.p.seen(event="connected")), 1)
    s = Where(r, "bifrost")
    c = s.connect(r.service(answer).target)
    r.equal("bifrost: 20 MiB", len(s.get(f"/{20 * MIB}", wait=120).body), 20 * MIB)
    res = s.get(f"/{76 * MIB}", wait=120)
    r.equal("bifrost: 76 MiB", (res.status, res.get("x-tunnel-error")), (502, "too large"))
    r.check("memory is bounded", SANITIZED or hwm(c) < 450 * 1024, hwm(c))


# ---- life -------------------------------------------------------------------------------

@test
def refused(r):
    s = Where(r, "pipegate")
    for what, text in (("another secret", token(secret="x" * 40)), ("expired", token(ttl=-10))):
        c = s.connect("1", text=text, ready=False)
        c.ends(f"403, {what}", 3)
        r.check(f"403, {what}: one line says so", any("403" in l for l in c.errs if l), c.errs)
        r.equal("and nothing is shown to be there", [l for l in c.lines if l], [])
    for args, code, line in ((("--token", "other"), 3, "unauthorized"), (("--scope", "else"), 3, "unauthorized"),
                             (("--token", "o", "--reason", ""), 3, "unauthorized"), (("--token", "o", "--reason", "invalid path\x1b[1m"), 3, r"\x1b")):
        s = Where(r, "bifrost", *args)
        c = s.connect("1", ready=False)
        c.ends(f"1008 {args}", code)
        r.check(f"1008 {args}: it says so", any(line in l for l in c.errs if l), c.errs)
        r.equal("no URL was shown", [l for l in c.lines if l], [])


@test
def policy_later(r):
    for dialect in BOTH:
        s = Where(r, dialect)
        c = s.connect(r.service(ok()).target)
        s.control("close?code=1008&reason=revoked")
        c.ends(f"{dialect}: 1008 in a session", 3)


@test
def name_in_use(r):
    """The relay may hold the name for a while after a link broke."""
    s = Where(r, "bifrost", "--busy", "2")
    c = s.connect(r.service(ok()).target, ready=False)
    c.says("name already in use.*trying again in")
    c.ready()
    r.equal("it is served in the end", s.get().body, b"ok\n")


@test
def comes_back(r):
    """Whatever ends a session but 1008, it comes again: 1012, 1000, 1001, 1011, a cut."""
    for dialect in BOTH:
        for what in ("close?code=1012", "close?code=1000", "close?code=1001", "close?code=1011", "kick"):
            s = Where(r, dialect)
            c = s.connect(r.service(ok()).target)
            s.p.event(event="connected", n=1)
            s.control(what)
            s.p.event(event="connected", n=2)
            c.says("is back")
            r.equal(f"{dialect}: after {what}", s.get().body, b"ok\n")


@test
def server_gone(r):
    """Likewise a server that is killed, and not there for a while."""
    for dialect in BOTH:
        s = Where(r, dialect, port=free_port(r))
        c = s.connect(r.service(ok()).target)
        s.p.kill()
        s.p.exit()
        c.says("connection lost")
        c.says("cannot reach")
        again = Where(r, dialect, port=s.clients)
        again.p.event(event="connected")
        c.says("is back")
        r.equal(f"{dialect}: after a killed server", again.get().body, b"ok\n")


@test
def stops(r):
    for dialect in BOTH:
        s = Where(r, dialect)
        c = s.connect(r.service(ok()).target)
        c.stop()
        r.equal(f"{dialect}: a close frame tells the server", s.p.event(event="closed")["code"], 1000)


@test
def not_there(r):
    """Anything but a refusal of the token is tried again."""
    for dialect, status in (("pipegate", 404), ("pipegate", 401), ("pipegate", 503), ("bifrost", 403), ("bifrost", 404), ("bifrost", 502)):
        s = r.service(serving(b"HTTP/1.1 %d X\r\nLocation: /secret\r\nContent-Length: 0\r\n\r\n" % status))
        c = client(r, f"http://{s.target}", "1", "--dialect", dialect, token=token(), ready=False)
        c.says(f"answered {status} .*trying again in")
        s.wait(lambda s=s: len(s.heads) >= 2, "a second attempt")


@test
def stays(r):
    """Pings both ways: the server's are answered."""
    s = Where(r, "pipegate", "--ping", "3")
    s.connect(r.service(ok()).target)
    s.p.event(event="connected")
    end = time.monotonic() + 10
    while time.monotonic() < end:       # nothing else would tell that it has held
        r.check("still there", s.get().status == 200)
        time.sleep(1)
    r.equal("one connection", len(s.p.seen(event="connected")), 1)


class Ghost(Relay):
    """The server is not told that the client has gone, until it is."""

    frozen = False

    def __init__(self, port):
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(port)

    def admit(self):
        self.gate.wait(WAIT)

    def copy(self, a, b):       # pylint: disable=arguments-differ
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        if not self.frozen:
            for s in (a, b):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def drop(self, i):
        self.frozen = True
        self.pairs[i][0].shutdown(socket.SHUT_RDWR)

    def die(self, i):
        self.frozen = False
        self.pairs[i][1].shutdown(socket.SHUT_RDWR)


@test
def unclean_loss(r):
    """16: the old socket may live on at the server and take the new one along when it dies; 45 s later it is made anew."""
    s, clock = Where(r, "pipegate", "--wait", "5"), Clock(r)
    g = r.keep(Ghost(s.clients))
    c = s.connect(r.service(ok()).target, url=f"ws://127.0.0.1:{g.port}", env=clock.env, program=f"{BIN}/test/tunnel-clock")
    s.p.event(event="connected", n=1)
    g.drop(0)
    s.p.event(event="connected", n=2)
    c.says("is back")
    r.equal("the server knows of no end", s.p.seen(event="closed"), [])
    g.die(0)
    s.p.event(event="closed", n=1)
    r.equal("the original has forgotten the living one", s.get().status, 504)
    g.gate.clear()      # the original forgets a client that comes while it closes another
    clock.move(46)
    r.equal("it is closed in order", s.p.event(event="closed", n=2)["code"], 1000)
    g.gate.set()
    c.says("to connect anew")
    s.p.event(event="connected", n=3)
    r.equal("callers reach it again", s.get().body, b"ok\n")
    mark = c.marks()
    clock.move(46)
    g.gate.clear()
    s.control("close?code=1012")
    s.p.event(event="closed", n=3)
    g.gate.set()
    s.p.event(event="connected", n=4)
    clock.move(60)
    c.says("is back", start=mark)
    r.equal("once", (s.get().body, len([l for l in c.errs if l and "connect anew" in l])), (b"ok\n", 1))


@test
def silent_server(r):
    """A server from which nothing comes, not even pongs, is left."""
    clock = Clock(r)
    s = Where(r, "bifrost")
    c = s.connect(r.service(ok()).target, env=clock.env, program=f"{BIN}/test/tunnel-clock")
    s.p.event(event="connected", n=1)
    s.p.kill(signal.SIGSTOP)
    clock.move(61)      # the next ping is due; the one after it comes in its own time
    try:
        c.says("no answer to ping", wait=180)
    finally:
        os.kill(s.p.p.pid, signal.SIGCONT)


# ---- options ------------------------------------------------------------------------------

@test
def options(r):
    jwt_env = {"TUNNEL_TOKEN": token()}
    base = ("connect", "3000", "--endpoint", "ws://127.0.0.1:1")

    def usage(what, *args, word, env=None):
        code, out, err = run_tool(*args, env=env or jwt_env)
        r.equal(f"{what}: exit status", code, 2)
        r.check(f"{what}: one line", out == "" and err.count("\n") == 1 and re.search(word, err), out + err)
        r.check(f"{what}: no token", jwt_env["TUNNEL_TOKEN"] not in err)
    for dialect in BOTH:
        d = (*base, "--dialect", dialect)
        usage("path", *d, "--path", word=f"{dialect} has no --path")
        usage("share", *d, "--share", word="--share")
        usage("connections", *d, "--connections", "2", word="--connections")
        usage("allow", *d, "--allow", "10.0.0.0/8", word="let any caller in")
        usage("auth", *d, word="let any caller in", env={**jwt_env, "TUNNEL_AUTH": "a:b"})
        usage("two", "connect", "a=1", "b=2", "--endpoint", "ws://127.0.0.1:1", "--dialect", dialect, word="one tunnel")
        usage("query", "connect", "1", "--endpoint", f"ws://127.0.0.1:1/?token={token()}", "--dialect", dialect, word="query")
    usage("name", *base, "--dialect", "pipegate", "--name", "other", word="sub is the name")
    usage("no JWT", *base, "--dialect", "pipegate", word="JWT", env={"TUNNEL_TOKEN": "tn_x"})
    usage("a JWT with more behind it", *base, "--dialect", "pipegate", word="JWT", env={"TUNNEL_TOKEN": token() + "&token=x"})
    usage("custom domain", *base, "--dialect", "bifrost", "--name", "a.example.org", word="custom domains")
    usage("dialect", *base, "--dialect", "ssh", word="native, pipegate, bifrost or vtunnel")
    usage("timeout", *base, "--timeout", "5", word="--timeout is for")
    usage("timeout 0", *base, "--dialect", "bifrost", "--timeout", "0", word="--timeout: '0'")
    usage("native path", "connect", "1", "--endpoint", "ws://127.0.0.1:1/x", word="has a path")
    c = client(r, "ws://127.0.0.1:%d" % free_port(r), "demo=1", "--dialect", "pipegate", token=token("Demo"), ready=False)
    c.says("cannot reach")      # its own name is no wrong one


@test
def saved(r):
    """tunnel use keeps the dialect with the endpoint."""
    s, folder = Where(r, "pipegate"), f"{r.tmp}/saved"
    env = {"TUNNEL_CONFIG_DIR": folder}
    code, _, err = run_tool("use", "--dialect", "pipegate", s.url, "-", stdin=token() + "\n", env=env)
    r.equal("use", (code, err), (0, ""))
    with open(f"{folder}/dialect", encoding="ascii") as f:
        r.equal("it is kept", f.read(), "pipegate\n")
    c = r.keep(Client(r, ["connect", r.service(ok()).target], env))
    c.ready()
    r.equal("and used", s.get().body, b"ok\n")
    code, _, err = run_tool("forward", "0=1", env=env)
    r.equal("no ports there", (code, err.count("\n")), (2, 1))
    code, _, err = run_tool("use", "--dialect", "pipegate", s.url, "tn_x", env=env)
    r.equal("what would not do is not saved", (code, "JWT" in err), (2, True))
    code, _, _ = run_tool("use", s.url, "tn_x", env=env)
    r.equal("another endpoint: its dialect, too", (code, os.path.exists(f"{folder}/dialect")), (0, False))


@test
def through_a_proxy(r):
    s, p = Where(r, "pipegate"), connect_proxy(r)
    s.connect(r.service(ok()).target, "--proxy", p.url)
    r.equal("through a proxy", s.get().body, b"ok\n")


# ---- with our own daemon -----------------------------------------------------------------

def own(r, *args):
    d = r.daemon(*args, env={"TUNNELD_JWT_SECRET": SECRET}, scope="preview")
    return d


@test
def own_daemon_pipegate(r):
    d, o = own(r), r.service(describe)
    c = client(r, f"ws://127.0.0.1:{d.port}", o.target, "--dialect", "pipegate", token=token())
    res = r.get(d, "x", "/demo/echo/a%2Fb%3F?x=1&x=2").json()
    r.equal("the URL", c.url, f"http://127.0.0.1:{d.port}/demo/")
    r.equal("escapes and query", res.get("target"), "/echo/a%2Fb%3F?x=1&x=2")
    body = os.urandom(9 * MIB)
    res = r.get(d, "x", "/demo/echo", f"Content-Length: {len(body)}\r\n", "POST", body, wait=180)
    r.check("9 MiB up: the daemon knows that the client takes them", (res.status, res.json().get("body_length")) == (200, len(body)), (res, c.errs, d.errs))
    big = r.service(ok(b"y" * 20 * MIB))
    c.stop()
    client(r, f"ws://127.0.0.1:{d.port}", big.target, "--dialect", "pipegate", token=token())
    res = r.get(d, "x", "/demo/", wait=180)
    r.equal("20 MiB down: the client knows that the daemon takes them", (res.status, len(res.body)), (200, 20 * MIB))
    r.check("no token in the log", not d.logged("eyJ"))


@test
def own_daemon_rewrite(r):
    d = own(r)
    s = r.service(serving(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nSet-Cookie: a=1; Path=/x\r\nContent-Length: 0\r\n\r\n"))
    client(r, f"ws://127.0.0.1:{d.port}", s.target, "--dialect", "pipegate", "--rewrite", token=token())
    res = r.get(d, "x", "/demo/a")
    r.equal("--rewrite", (res.get("location"), res.get("set-cookie")), ("/demo/next", "a=1; Path=/demo/x"))
    w = Where(r, "pipegate")
    w.connect(s.target, "--rewrite")
    res = w.get("/a")
    r.check("--rewrite at an original server", res.get("location") == "/demo/next", res)


@test
def own_daemon_bifrost(r):
    d, o = own(r), r.service(describe)
    c = client(r, d, o.target, "--dialect", "bifrost", "--name", "preview", token=d.token)
    res = r.get(d, "preview.tunnel.x", "/echo?x=1").json()
    r.equal("bifrost with our daemon", res.get("target"), "/echo?x=1")
    body = os.urandom(10 * MIB)
    res = r.get(d, "preview.tunnel.x", "/echo", f"Content-Length: {len(body)}\r\n", "POST", body, wait=180).json()
    r.equal("10 MiB", res.get("body_length"), len(body))
    other = client(r, d, o.target, "--dialect", "bifrost", "--name", "other", token=d.token, ready=False)
    other.ends("a name out of scope", 3)
    r.check("the daemon's word", any("unauthorized" in l for l in other.errs if l), other.errs)
    d.kill(signal.SIGTERM)
    c.says("trying again")
    d.ended = True


@test
def own_daemon_expiry(r):
    d = own(r)
    c = client(r, f"ws://127.0.0.1:{d.port}", r.service(ok()).target, "--dialect", "pipegate", token=token(ttl=12))
    r.equal("it serves", r.get(d, "x", "/demo/").body, b"ok\n")
    c.ends("the token expires", 3)


if __name__ == "__main__":
    main(4)
