"""wsproxy's /tunnel: registration, requests, raw connections, both kinds of client, hostile ones, and nothing left over.

peer/wsproxy.py has two clients that share no code with ours: one that speaks text, and one with the habits of the real
browser client.  Wire is a client in the hands of the test itself, message by message.
"""
import hashlib
import json
import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import free_port
from rig import PEER, PYTHON, SANITIZED, WAIT, Caller, Miss, main, test

DOMAIN = "t.example.com"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEADER = 16     # bytes of a data frame's
PIECE = 4096
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NOBODY = "0123456789ab"


def pool(r, n=8):
    """Ports of this test alone."""
    return ",".join(str(free_port(r)) for _ in range(n))


def start(r, d, kind="text", *args, query="", **more):
    """A client of peer/wsproxy.py, registered."""
    p = r.spawn(PYTHON, f"{PEER}/wsproxy.py", kind, f"ws://127.0.0.1:{d.port}/tunnel{query}", "--token", d.token, *args, **more)
    ready = p.event(event="ready")
    p.host, p.port = ready["url"].rpartition("/")[2], ready["port"]
    return p


def relay(r, *args, ports=True, **more):
    return r.daemon("--domain", DOMAIN, *(("--ports", pool(r)) if ports else ()), *args, **more)


def ask(r, d, p, path="/", fields="", method="GET", body=None, **more):
    if body is not None:
        fields += f"Content-Length: {len(body)}\r\n"
    return r.get(d, p.host, path, fields, method, body or b"", **more)


def call(r, port, data=b"", **more):
    return r.keep(Caller(port, data, **more))


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), WAIT).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:    # it was being closed just then
        pass
    return False


def turned_away(r, port):
    try:
        return call(r, port).over() == "reset"
    except ConnectionResetError:    # at once
        return True


def stays(r, port):
    try:
        call(r, port, wait=1).more()
    except Miss:
        return True
    except ConnectionResetError:
        pass
    return False


def whole(c):
    """All that still comes."""
    while c.more():
        pass
    return c.buf


def upgrade(d, query="", more="", token=True):
    return (f"GET /tunnel?{f'token={d.token}' if token else ''}{query} HTTP/1.1\r\nHost: relay.test\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n")


class Wire:
    """A client message by message: what it gets is what is on the wire."""

    def __init__(self, r, d, query="", more="", **opts):
        self.c = r.caller(d, upgrade(d, query, more), **opts)
        self.response = self.c.interim()
        self.host = self.port = None
        if self.response.status == 101 and (ready := self.text() if "control=binary" not in query else self.binary()):
            self.ready = ready
            m = json.loads(ready)
            self.host, self.port = m["tunnelUrl"].rpartition("/")[2], m["rawPort"]

    def frame(self):
        """The next frame: (opcode, payload); a ping is answered."""
        while True:
            head = self.c.exactly(2)
            if len(head) < 2:
                raise EOFError(f"{self.c.ended}")
            n = head[1]
            if n > 125:
                n = int.from_bytes(self.c.exactly(2 if n == 126 else 8), "big")
            data = self.c.exactly(n)
            if head[0] & 15 != PING:
                return head[0], data
            self.send(PONG, data)

    def get(self, opcode):
        """The next message, which is of this kind."""
        first, data = self.frame()
        if first & 15 != opcode:
            raise ValueError(f"opcode {first:#x} with {data[:200]!r}")
        while not first & 128:
            first, more = self.frame()
            data += more
        return data

    def text(self):
        return self.get(TEXT).decode()

    def binary(self):
        return self.get(BINARY)

    def json(self, opcode=TEXT):
        return json.loads(self.get(opcode))

    def send(self, opcode, data, mask=b"\x37\xfa\x21\x3d", fin=128):
        n = len(data)
        size = bytes([128 | n]) if n < 126 else struct.pack(">BH", 254, n) if n < 65536 else struct.pack(">BQ", 255, n)
        key = (mask * (n // 4 + 1))[:n]
        self.c.send(bytes([fin | opcode]) + size + mask +
                    (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(n, "big"))

    def say(self, **m):
        self.send(TEXT, json.dumps(m).encode())

    def cut(self, data):
        """A write of the browser client's."""
        for at in range(0, len(data), PIECE):
            self.send(BINARY, data[at:at + PIECE])

    def write(self, conn, data):
        self.cut(b"\0\0\0\x0c" + conn.encode() + data)

    def control(self, m):
        self.cut(json.dumps(m, sort_keys=True, separators=(",", ":")).encode())

    def code(self):
        """The close frame that ends it."""
        while True:
            first, data = self.frame()
            if first & 15 == CLOSE:
                self.send(CLOSE, data[:2])
                return int.from_bytes(data[:2], "big"), data[2:].decode()

    def sync(self):
        """All that was sent has been read."""
        self.send(PING, b"sync")
        if self.frame() != (128 | PONG, b"sync"):
            raise ValueError("no pong")

    def close(self):
        self.send(CLOSE, b"")
        self.c.close()


def threads(d):
    with open(f"/proc/{d.p.pid}/status", encoding="ascii") as f:
        return int(re.search(r"Threads:\s+(\d+)", f.read()).group(1))


def sockets(d):
    """How many the daemon has open; what it keeps for the next callers are pipes."""
    n = 0
    for name in os.listdir(f"/proc/{d.p.pid}/fd"):
        try:
            n += os.readlink(f"/proc/{d.p.pid}/fd/{name}").startswith("socket:")
        except FileNotFoundError:   # closed just then
            pass
    return n


def pattern(n, seed=7):
    return random.Random(seed).randbytes(n)


# ---- registration ------------------------------------------------------------------------

@test
def registration(r):
    """E4 and E5."""
    d = relay(r)
    ports = d.argv[d.argv.index("--ports") + 1].split(",")
    w = Wire(r, d)
    r.equal("101, no extension, no subprotocol", (w.response.status, w.response.get("Sec-WebSocket-Accept"),
            w.response.get("Sec-WebSocket-Extensions"), w.response.get("Sec-WebSocket-Protocol")),
            (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", None, None))
    m = re.fullmatch(r'\{"type":"tunnel_ready","tunnelUrl":"https://([0-9a-f]{16})\.t\.example\.com","rawPort":(\d+)\}', w.ready)
    r.check("E5", m and m[2] in ports, w.ready)
    status = {t["name"]: t for t in d.status()}
    name, port = "wsproxy:" + m[1], "tcp:" + m[2]
    r.equal("status", {n: (t["dialect"], t["url"], t["lost"]) for n, t in status.items()},
            {name: ("wsproxy", f"https://{m[1]}.t.example.com", False), port: ("wsproxy", f"tcp://127.0.0.1:{m[2]}", False)})
    d.log(f"event=session_start dialect=wsproxy peer=\\S+ who=token:{d.token_id}$")
    r.check("logged", d.logged(f"event=tunnel_open name={name} ") == 1 and d.logged(f"event=tunnel_open name={port} addr=127.0.0.1:{m[2]} ") == 1)
    other = Wire(r, d)
    r.check("another one has others", (other.host, other.port) != (w.host, w.port) and other.port, other.ready)
    w.close()
    d.log("event=session_end .*code=1005")
    r.until("its port is closed", lambda: refused(w.port))
    res = r.get(d, w.host)
    r.equal("and its name gone", (res.status, res.body, res.get("Content-Type"), res.get("X-Content-Type-Options")),
            (404, b"tunnel not found\n", "text/plain; charset=utf-8", "nosniff"))
    r.equal("upper case is the same", r.get(d, other.host.upper(), method="HEAD", fields="X: \r\n", path="/x" * 4000 + "x" * 5000).status, 414)
    for host in ("0123456789abcde." + DOMAIN, "0123456789abcdeg." + DOMAIN):
        r.equal(f"{host} is no such name", r.get(d, host).status, 503)
    res = r.ask(d, upgrade(d, token=False))
    r.equal("E4", (res.status, res.body), (401, b"unauthorized\n"))
    r.equal("a wrong token", r.ask(d, upgrade(d, "token=tn_wrong", token=False)).status, 401)
    res = r.ask(d, upgrade(d, token=False, more=f"Authorization: Bearer {d.token}\r\n").replace("Version: 13", "Version: 12"))
    r.equal("the handshake comes behind that", res.status, 400)
    other.close()
    d.log("event=session_end", start=d.marks() - 1)


@test
def addresses(r):
    """What tunnel_ready says, by the daemon's options."""
    d = r.daemon(name="plain")
    w = Wire(r, d)
    r.equal("no domain, no pool", w.ready, '{"type":"tunnel_ready","tunnelUrl":"","rawPort":0}')
    (name,) = (t["name"] for t in d.status())
    r.equal("its name is there all the same", r.get(d, name.partition(":")[2] + ".localhost", fields="Upgrade: websocket\r\nConnection: upgrade\r\n"
                                                    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n").status, 501)
    for url, want in (("https://tunnel.example.com:8443", r"https://[0-9a-f]{16}\.t\.example\.com:8443"),
                      ("http://localhost", r"http://[0-9a-f]{16}\.t\.example\.com")):
        d = relay(r, "--url", url, name=url[4:5] + "url")
        r.check(f"--url {url}", re.fullmatch(want, json.loads(Wire(r, d).ready)["tunnelUrl"]))
    d = relay(r, "--trust", "127.0.0.1", name="trust")
    ready = Wire(r, d, more="X-Forwarded-Proto: https\r\n").ready
    r.check("behind a proxy with TLS, the port it was found at", re.fullmatch(r"https://[0-9a-f]{16}\.t\.example\.com", json.loads(ready)["tunnelUrl"]), ready)
    busy = r.keep(socket.create_server(("127.0.0.1", 0)))
    d = r.daemon("--domain", DOMAIN, "--ports", str(busy.getsockname()[1]), name="busy")
    r.equal("a port that cannot be bound is none", Wire(r, d).port, 0)
    d.log("event=no_port name=wsproxy:.* reason=\"every port of the pool is taken\"")
    d = relay(r, "--open", "wsproxy", name="open")
    c = r.caller(d, upgrade(d, token=False))
    r.equal("--open wsproxy", c.interim().status, 101)
    d.log("event=session_start dialect=wsproxy .*who=anonymous")


@test
def names_are_out_of_reach(r):
    """No scope holds such a name; and one that is somebody's own is his."""
    d = relay(r)
    w = Wire(r, d)
    label = w.host.partition(".")[0]
    n = r.client(d, label)
    with r.caller(d, f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n") as c:
        r.equal("who may have every name can have it", (c.response().status, w.port > 0), (200, True))
    n.kill(signal.SIGTERM)
    n.exit()
    r.until("and it is ours again", lambda: label not in [t["name"] for t in d.status()])
    with r.caller(d, f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n"):
        r.equal("the request comes", w.json()["type"], "http_request")
    own = r.client(d, "fedcba9876543210")
    res = r.get(d, "fedcba9876543210." + DOMAIN)
    r.equal("16 digits may be a name", res.status, 200)
    own.kill()
    own.exit()
    r.check("no scope holds ours", d.tool("token", "issue", "--scope", "wsproxy:" + label).returncode != 0)


# ---- requests ----------------------------------------------------------------------------

@test
def requests_on_the_wire(r):
    """E6 in both directions, and what section 9 says of the fields."""
    d = relay(r)
    w = Wire(r, d)
    with r.caller(d, f"POST /api?x=1&y=2 HTTP/1.1\r\nHost: {w.host}\r\nContent-Type: text/plain\r\nCookie: s=1\r\nContent-Length: 2\r\n\r\nhi") as c:
        text = w.text()
        m = re.fullmatch(r'\{"type":"http_request","id":"([0-9a-f]{12})","method":"POST","path":"/api\?x=1\\u0026y=2",'
                         r'"headers":\{"Content-Type":"text/plain"\},"body":"hi"\}', text)
        r.check("E6, as 15.2 betters it", m, text)
        w.send(TEXT, b'{"type":"http_response","id":"%s","status":201,"headers":{"X-App":"1","Set-Cookie":"a=b"},"body":"b2s=",'
                     b'"bodyEncoding":"base64"}' % m[1].encode())
        res = c.response()
        r.equal("E6's answer", (res.status, res.reason, res.get("X-App"), res.get("Set-Cookie"), res.get("Content-Length"), res.body),
                (201, "Created", "1", None, "2", b"ok"))
        c.send(f"PUT /b HTTP/1.1\r\nHost: {w.host}\r\nX-A: 1\r\nx-a: 2\r\nAuthorization: Bearer x\r\nTransfer-Encoding: chunked\r\n\r\n"
               "2\r\n\xff\x00\r\n1\r\nz\r\n0\r\n\r\n")
        m = w.json()
        r.equal("bytes, in chunks", (m["headers"], m["body"], m["bodyEncoding"]), ({"X-A": "1, 2"}, "/wB6", "base64"))
        w.say(type="http_response", id=m["id"], status=200, headers={"Transfer-Encoding": "chunked"}, body="1\r\na\r\n0\r\n\r\n")
        r.equal("chunks that were not decoded", c.response().body, b"a")
        c.send(f"HEAD / HTTP/1.1\r\nHost: {w.host}\r\n\r\n")
        w.say(type="http_response", id=w.json()["id"], status=200, headers={"Content-Length": "5", "ETag": "e"})
        res = c.response("HEAD")
        r.equal("HEAD", (res.status, res.get("Content-Length"), res.get("ETag")), (200, "5", "e"))
        c.send(f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n")
        w.say(type="http_response", id=w.json()["id"], status=404, body="nicht da\u00df")
        res = c.response()
        r.equal("404 of its own", (res.status, res.body), (404, "nicht da\u00df".encode()))
    bad = (({"status": 99}, "invalid response from tunnel"), ({"status": 700}, "invalid response from tunnel"),
           ({}, "invalid response from tunnel"), ({"status": 200, "body": "x", "bodyEncoding": "gzip"}, "invalid body encoding from tunnel"),
           ({"status": 200, "body": "x", "bodyEncoding": "base64"}, "invalid base64 response from tunnel"))
    for more, words in bad:
        with r.caller(d, f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n") as c:
            w.say(type="http_response", id=w.json()["id"], headers={"X-A": "1"}, **more)
            res = c.response()
            r.equal(f"{more}: nothing of it was sent before", (res.status, res.get("X-A"), res.body), (502, None, words.encode() + b"\n"))
    d.log("event=bad_answer reason=\"invalid base64 response from tunnel\" name=wsproxy:")


@test
def text_client(r):
    d = relay(r)
    p = start(r, d)
    body = pattern(200000)
    res = ask(r, d, p, "/post?a=%20b", "Content-Type: application/x\r\n", "POST", body)
    r.equal("a POST of bytes", (res.status, res.json()["sha256"], res.json()["line"]),
            (200, hashlib.sha256(body).hexdigest(), "POST /post?a=%20b HTTP/1.1"))
    r.equal("one length", [k for k, _ in res.json()["fields"]].count("Content-Length"), 1)
    res = ask(r, d, p, method="HEAD")
    r.equal("HEAD", (res.status, res.body), (200, b""))
    r.equal("404", ask(r, d, p, fields="X-Status: 404\r\n").status, 404)
    size = 1 << 20 if SANITIZED else 7 << 20
    r.equal(f"{size} bytes", hashlib.sha256(ask(r, d, p, fields=f"X-Size: {size}\r\n").body).digest(), hashlib.sha256(pattern(size)).digest())
    for do in ("junk", "lenient", "twice"):
        r.check(f"{do}: the answer comes", ask(r, d, p, fields=f"X-Do: {do}\r\n").status in (200, 203))
    r.equal("and the next", ask(r, d, p).status, 200)
    res = ask(r, d, p, "/raw", "X-Do: raw\r\nX-How: fragments\r\n", "POST",
              b'{"type":"http_response","id":"ID","status":202,"body":"parts"}')
    r.equal("a message in fragments", (res.status, res.body), (202, b"parts"))
    held = [r.caller(d, f"GET /{i} HTTP/1.1\r\nHost: {p.host}\r\nX-Do: hold\r\n\r\n") for i in range(5)]
    for i in range(5):
        p.event(event="request", path=f"/{i}")
    ask(r, d, p, fields="X-Do: release\r\n")
    r.equal("answers in any order", [c.response().json()["line"].split()[1] for c in held], [f"/{i}" for i in range(5)])
    res = r.get(d, p.host, fields="Content-Length: 10485761\r\n", method="POST")
    r.equal("413 instead of a part", (res.status, res.body), (413, b"request too large for tunnel\n"))
    big = b"a" * (1 << 20 if SANITIZED else 10485760)
    r.equal("all that may be", ask(r, d, p, method="POST", body=big).json().get("sha256"), hashlib.sha256(big).hexdigest())
    mark = d.marks()
    res = ask(r, d, p, fields=f"X-Do: huge\r\nX-Size: {10485761}\r\n")
    r.equal("a message too long: 502", (res.status, res.body), (502, b"tunnel disconnected\n"))
    r.equal("and 1009", p.closed()["code"], 1009)
    d.log("event=session_end .*code=1009", start=mark)
    r.equal("the tunnel is gone", ask(r, d, p).status, 404)


@test
def limits(r):
    d = relay(r, "--wsproxy-timeout", "1500ms")
    w = Wire(r, d)
    began = time.monotonic()
    with r.caller(d, f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n") as c:
        ident = w.json()["id"]
        w.say(type="http_response", id=ident, status=103)
        w.say(type="http_response", id=ident, status=100)
        res = c.response()
        r.equal("no response in time; an interim one is none", (res.status, res.body), (504, b"tunnel response timeout\n"))
        r.check("in that time", 1.4 < time.monotonic() - began < WAIT, time.monotonic() - began)
    w.say(type="http_response", id=ident, status=200)
    d.log("event=bad_answer reason=\"nobody waits for it\"")
    with r.caller(d, f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n") as c:
        w.text()
        w.c.reset()
        res = c.response()
        r.equal("the tunnel drops", (res.status, res.body), (502, b"tunnel disconnected\n"))
    d.log("event=session_end .*code=1006")
    r.equal("at once gone", r.get(d, w.host).status, 404)
    w = Wire(r, d)
    w.send(TEXT, b"x" * 10485760)   # junk, but of a length that may be
    w.send(BINARY, b"x" * 10485761)
    r.equal("a message over 10 MiB", w.code()[0], 1009)


# ---- the browser client ------------------------------------------------------------------

@test
def browser_client(r):
    d = relay(r, "--wsproxy-hold", "4")     # its dials take a moment, and longer where much else runs
    p = start(r, d, "wasm")
    r.check("the ready message as binary, and as text", p.event(event="text_ignored"))
    res = ask(r, d, p, "/p", "Content-Type: text/plain\r\nAccept-Encoding: gzip\r\n", "POST", "h\u00e9llo <&>".encode())
    fields = [k.lower() for k, _ in res.json()["fields"]]
    r.equal("a small body unencoded, one length", (res.status, res.json()["body"].encode("latin-1").decode(), fields.count("content-length")),
            (200, "h\u00e9llo <&>", 1))
    r.check("no coding that it would spoil", ["Accept-Encoding", "identity"] in res.json()["fields"], res.json())
    for size in (10240, 4000, 4096, 8192, 65536, 1000000):
        res = ask(r, d, p, fields=f"X-Size: {size}\r\n")
        r.check(f"{size} bytes in pieces", res.body == pattern(size), (res.status, len(res.body)))
    text = "".join(random.Random(3).choices("abc\"\\{}[]\u00e9\u2028 \n", k=30000))
    for n in (*range(3700, 3990), 30000):   # answers whose JSON ends anywhere about a piece's end
        if n % 7 == 0 or n == 30000:
            res = ask(r, d, p, "/x", "X-Type: text/plain\r\n", "POST", text[:n].encode())
            r.equal(f"{n} characters", res.json()["sha256"], hashlib.sha256(text[:n].encode()).hexdigest())
    r.equal("then it was told in binary alone", len(p.seen(event="text_ignored")), 2)
    r.equal("chunks it does not decode", ask(r, d, p, fields="X-Chunked: 1\r\n").json().get("line"), "GET / HTTP/1.1")
    res = r.get(d, p.host, fields="Content-Length: 65536\r\n", method="POST")
    r.equal("413 at once for what it would lose", (res.status, res.body), (413, b"request too large for tunnel\n"))
    res = ask(r, d, p, method="POST", body=b"<" * 20000)   # six bytes each
    r.equal("413 when it turns out so", res.status, 413)
    body = b"b" * 60000
    r.equal("what fits", ask(r, d, p, method="POST", body=body).json().get("sha256"), hashlib.sha256(body).hexdigest())
    r.check("nothing was cut", not p.seen(event="cut_message") and not p.seen(event="json_lost"))
    data = pattern(1 << 20, 9)
    with Caller(p.port, b"TAKE 1048576\n" + data) as c:
        r.equal("1 MiB up, sent before it was there for it", whole(c).decode(), hashlib.sha256(data).hexdigest())
    with Caller(p.port, b"GIVE 3000000\n") as c:
        r.check("3 MB down, in pieces", whole(c) == pattern(3000000), len(c.buf))
    r.check("no early data was lost", not p.seen(event="data_lost"), p.seen(event="data_lost")[:2])
    both = [call(r, p.port, b"FIRST\n") for _ in range(4)]
    for c in both:
        r.equal("who speaks first", c.exactly(11), b"SSH-2.0-x\r\n")
    for n in (1, 100, 4080, 4096, 8176, 20000):
        for i, c in enumerate(both):
            c.send(pattern(n, i))
        for i, c in enumerate(both):
            r.check("several at a time, kept apart", c.exactly(n) == pattern(n, i), n)


@test
def control_both_ways(r):
    d = relay(r)
    w = Wire(r, d, more="Origin: https://app.example.com\r\n")
    r.equal("a browser: the same in binary", w.binary().decode(), w.ready)
    with r.caller(d, f"GET /1 HTTP/1.1\r\nHost: {w.host}\r\n\r\n") as c:
        copies = [w.frame(), w.frame()]
        r.equal("a request, twice", (sorted(f & 15 for f, _ in copies), copies[0][1]), ([1, 2], copies[1][1]))
        ident = json.loads(copies[0][1])["id"]
        w.send(TEXT, b'{"type":"what"}')
        w.send(BINARY, b"{}")
        c2 = r.caller(d, f"GET /2 HTTP/1.1\r\nHost: {w.host}\r\n\r\n")
        r.equal("garbage shows nothing", sorted(f & 15 for f, _ in (w.frame(), w.frame())), [1, 2])
        w.control({"type": "http_response", "id": ident, "status": 200, "body": "1"})
        r.equal("an answer in binary", c.response().body, b"1")
        c.send(f"GET /3 HTTP/1.1\r\nHost: {w.host}\r\n\r\n")
        m = w.json(BINARY)
        w.say(type="http_response", id=m["id"], status=200, body="3")
        r.equal("from now on so it is told; a text is understood all the same", c.response().body, b"3")
        c.send(f"GET /4 HTTP/1.1\r\nHost: {w.host}\r\n\r\n")
        r.equal("and changes nothing", w.json(BINARY)["path"], "/4")
        c2.close()
    w = Wire(r, d, more="Origin: https://app.example.com\r\n")
    w.binary()
    w.say(type="tcp_close", connId=NOBODY)
    w.sync()
    with r.caller(d, f"POST / HTTP/1.1\r\nHost: {w.host}\r\nContent-Length: 100000\r\n\r\n" + "x" * 100000):
        r.equal("one who speaks text is told in text, at any length", w.json()["body"], "x" * 100000)
    w = Wire(r, d, "&control=binary")
    call(r, w.port)
    r.equal("on request, in binary alone", w.json(BINARY)["type"], "tcp_open")
    w = Wire(r, d, "&control=text", "Origin: https://app.example.com\r\n")
    call(r, w.port)
    r.equal("or in text alone", w.json()["type"], "tcp_open")
    w = Wire(r, d)
    c = call(r, w.port)
    conn = w.json()["connId"]
    w.control({"type": "tcp_close", "connId": conn})
    r.equal("no browser, and yet", c.over(), "fin")
    w.json(BINARY)


@test
def pieces_on_the_wire(r):
    """E8, and the ambiguities that remain: one client of each kind would never send all of this."""
    d = relay(r)
    w = Wire(r, d, "&control=binary")
    a, b = call(r, w.port), call(r, w.port)
    ids = [w.json(BINARY)["connId"], w.json(BINARY)["connId"]]
    for i in (0, 1):        # which is which
        w.write(ids[i], b"%d" % i)
    a, b = sorted((a, b), key=lambda c: c.exactly(1))
    w.write(ids[0], pattern(9984))
    r.check("E8, a read in three pieces", a.exactly(9984) == pattern(9984))
    for n in (PIECE - HEADER, 2 * PIECE - HEADER, 5 * PIECE - HEADER):
        w.write(ids[0], pattern(n))
        w.write(ids[1], pattern(n, 8))
        w.write(ids[0], b"more")
        r.check(f"{n}: no end but what comes next", a.exactly(n) == pattern(n) and b.exactly(n) == pattern(n, 8) and a.exactly(4) == b"more")
    c = r.caller(d, f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n")
    ident = w.json(BINARY)["id"]
    # bytes that look like control objects where they are cut, while somebody waits
    for at in (b"{", b"{}", b'{"connId":"%s","type":"tcp_close"}' % NOBODY.encode(), b'{"body":"', b"\0\0\0\x0c" + NOBODY.encode() + b"x",
               b'{"id":"%s","status":200,"type":"http_response"}' % NOBODY.encode()):
        data = b"x" * (PIECE - HEADER) + at.ljust(PIECE, b"z") + b"end"
        w.write(ids[0], data)
        r.check(f"{at}: it is data", a.exactly(len(data)) == data)
        data = b"x" * (PIECE - HEADER) + at
        w.write(ids[0], data)
        r.check(f"{at}: it is data", a.exactly(len(data)) == data)
    # an object behind a whole number of pieces, long itself
    w.write(ids[1], pattern(PIECE - HEADER))
    w.control({"type": "http_response", "id": ident, "status": 200, "headers": {}, "body": "r" * 10000})
    r.equal("a response", c.response().body, b"r" * 10000)
    r.check("behind a frame", b.exactly(PIECE - HEADER) == pattern(PIECE - HEADER))
    # held, for it might be an object; then nobody waits any more, and nothing else comes
    d2 = relay(r, "--wsproxy-timeout", "1", name="stale")
    v = Wire(r, d2, "&control=binary")
    e = call(r, v.port)
    conn = v.json(BINARY)["connId"]
    c2 = r.caller(d2, f"GET / HTTP/1.1\r\nHost: {v.host}\r\n\r\n")
    v.json(BINARY)
    data = b"x" * (PIECE - HEADER) + b'{"body":"'.ljust(PIECE, b"z")
    v.write(conn, data)
    r.equal("nobody answered", c2.response().status, 504)
    v.sync()
    r.check("what was held comes after all", e.exactly(len(data)) == data)
    # a connection that has gone: all its pieces go with it
    a.close()
    r.equal("its end", w.json(BINARY), {"type": "tcp_close", "connId": ids[0]})
    w.control({"type": "tcp_close", "connId": ids[0]})
    w.write(ids[0], b"z" * 10000)
    w.write(ids[1], b"b" * (2 * PIECE - HEADER))
    w.write(ids[0], b"z" * (3 * PIECE - HEADER))
    w.write(ids[1], b"last")
    r.equal("nothing of it is another's", b.exactly(2 * PIECE - HEADER + 4), b"b" * (2 * PIECE - HEADER) + b"last")
    big = b'{"body":"' + b"j" * ((16 << 20) + 2 * PIECE)
    try:
        w.cut(big)
    except OSError:
        pass
    r.equal("an object over 16 MiB", w.code()[0], 1009)


@test
def pieces_of_both(r):
    """Responses and a connection's bytes in pieces between each other, and bytes that look like messages."""
    d = relay(r)
    p = start(r, d, "wasm", "--dial", "0")
    want = {size: pattern(size) for i in range(12) for size in [4096 * (i % 5) + i]}
    failed = []

    def request(i):
        size = 4096 * (i % 5) + i
        res = ask(r, d, p, fields=f"X-Size: {size}\r\n")
        if (res.status, res.body) != (200, want[size]):
            failed.append((i, res))

    def echo(i):
        # like messages and headers of frames, at every offset of a piece
        data = b"ECHO\n" + (b'{"type":"tcp_close","connId":"%s"}\0\0\0\x0c%s%d' % (NOBODY.encode(), NOBODY.encode(), i)) * 3000
        with Caller(p.port) as v:
            back = threading.Thread(target=v.send, args=(data,))
            back.start()
            got = v.exactly(len(data))
            back.join(WAIT)
        if got != data:
            failed.append((i, len(got)))
    work = [threading.Thread(target=f, args=(i,)) for i in range(12) for f in (request, echo)]
    for t in work:
        t.start()
    for t in work:
        t.join(2 * WAIT)
    r.check("all have ended", not any(t.is_alive() for t in work))
    r.equal("all byte-exact", failed, [])
    for event in ("cut_message", "json_lost", "data_lost", "overload"):
        r.equal(f"no {event}", p.seen(event=event), [])


# ---- raw connections ---------------------------------------------------------------------

@test
def raw_on_the_wire(r):
    """E7, to the byte."""
    d = relay(r)
    w = Wire(r, d)
    c = call(r, w.port)
    first, text = w.frame()
    m = re.fullmatch(rb'\{"type":"tcp_open","connId":"([0-9a-f]{12})"\}', text)
    r.check("E7: tcp_open", first == 0x81 and len(text) == 0x2b and m, text)
    conn = m[1]
    w.send(BINARY, b"\0\0\0\x0c" + conn + b"SSH-2.0-x\r\n")
    r.equal("E7: to the visitor", c.exactly(11), b"SSH-2.0-x\r\n")
    c.send(b"SSH-2.0-x\r\n")
    first, data = w.frame()
    r.equal("E7: from it", (first, data.hex()), (0x82, "0000000c" + conn.hex() + "5353482d322e302d780d0a"))
    for frame in ("0000000001", "00000041" + "61" * 65, "0000000c3031", "0000000c" + conn.hex(), "", "ff" * 50,
                  "0000000c" + NOBODY.encode().hex() + "78"):
        w.send(BINARY, bytes.fromhex(frame))
    w.send(BINARY, b"\0\0\0\x0c" + conn + b"still")
    r.equal("E9: dropped", c.exactly(5), b"still")
    w.send(TEXT, b'{"type":"tcp_close","connId":"%s"}' % conn)
    r.equal("E7: the client's end", c.over(), "fin")
    c.close()
    r.equal("E7: our own", w.json(), {"type": "tcp_close", "connId": conn.decode()})
    c = call(r, w.port)
    m = w.json()
    data = pattern(300000)
    c.send(data)
    c.close()
    got, last = b"", None
    while last is None:
        first, part = w.frame()
        if first & 15 == TEXT:
            last = json.loads(part)
            continue
        r.check("at most 32768 bytes each, and some", HEADER < len(part) <= HEADER + 32768 and part[:HEADER] == b"\0\0\0\x0c" + m["connId"].encode(), len(part))
        got += part[HEADER:]
    r.check("all of it before the end", got == data, len(got))
    r.equal("the visitor's end", last, {"type": "tcp_close", "connId": m["connId"]})
    c = call(r, w.port)
    conn = w.json()["connId"]
    w.send(BINARY, b"\0\0\0\x0c" + conn.encode() + pattern(9000000))
    w.say(type="tcp_close", connId=conn)
    r.check("all of it before the client's end, in a message of any size", whole(c) == pattern(9000000) and c.ended == "fin", (len(c.buf), c.ended))


@test
def half_close(r):
    """A visitor that has said all still hears what the client sends, if that client goes on."""
    d = relay(r, "--half-close", "6")
    p = start(r, d, "wasm", "--dial", "0")      # it ignores tcp_close
    c = call(r, p.port, b"GIVE 100000\n")
    c.half_close()
    r.check("the browser client's answer", whole(c) == pattern(100000) and c.ended == "fin", (len(c.buf), c.ended))
    w = Wire(r, d)
    c = call(r, w.port)
    conn = w.json()["connId"].encode()
    c.half_close()
    r.equal("told at once", w.json()["type"], "tcp_close")
    for i in range(4):      # longer than that in all, but never silent for so long
        time.sleep(2)
        w.send(BINARY, b"\0\0\0\x0c" + conn + b"%d" % i)
        r.equal("it goes on", c.exactly(1), b"%d" % i)
    began = time.monotonic()
    r.equal("until it is silent", c.over(), "fin")
    r.check("for that long", 5 < time.monotonic() - began < WAIT, time.monotonic() - began)
    c = call(r, w.port, b"x")
    w.json(), w.binary()
    c.reset()
    r.equal("a reset is an end, too", w.json()["type"], "tcp_close")


@test
def early_data(r):
    """What a visitor says at once is held for a client that may not be ready, and for no other."""
    d = relay(r, "--wsproxy-hold", "30")
    w = Wire(r, d, "&control=binary")
    c = call(r, w.port, b"early")
    conn = w.json(BINARY)["connId"].encode()
    w.send(BINARY, b"\0\0\0\x0c" + conn + b"hello")
    r.equal("until it says something", (w.binary(), c.exactly(5)), (b"\0\0\0\x0c" + conn + b"early", b"hello"))
    c.send(b"later")
    r.equal("once", w.binary()[HEADER:], b"later")
    c = call(r, w.port, b"early")
    conn = w.json(BINARY)["connId"]
    w.control({"type": "tcp_close", "connId": conn})
    r.equal("or closes it", (c.over(), w.json(BINARY)["type"]), ("fin", "tcp_close"))
    for _ in range(10):     # nor does what was held slip out to who closes it
        many = [call(r, w.port, b"early") for _ in range(20)]
        ids = [w.json(BINARY)["connId"] for _ in many]
        for conn in ids:
            w.control({"type": "tcp_close", "connId": conn})
        got = [w.binary() for _ in many]
        r.equal("and hears no more of it", [g for g in got if b"tcp_close" not in g], [])
        for c in many:
            r.equal("nor does the visitor", c.over(), "fin")
            c.close()
    w = Wire(r, d)
    call(r, w.port, b"early")
    r.equal("a text client gets it at once", (w.json()["type"], w.binary()[HEADER:]), ("tcp_open", b"early"))
    d = relay(r, "--wsproxy-hold", "500ms", name="short")
    w = Wire(r, d, "&control=binary")
    began = time.monotonic()
    call(r, w.port, b"early")
    w.json(BINARY)
    r.check("or for so long", w.binary()[HEADER:] == b"early" and time.monotonic() - began > 0.45, time.monotonic() - began)
    p = start(r, relay(r, "--wsproxy-hold", "5", name="dial"), "wasm", "--dial", "400")
    with Caller(p.port, b"TAKE 5\nabcde") as c:
        r.equal("long enough for a dial", whole(c).decode(), hashlib.sha256(b"abcde").hexdigest())


def push(w, conn, n):
    """So many MiB for a visitor, then answers to what is asked. The connection is the thread's alone from then on."""
    def work():
        try:
            for _ in range(n):
                w.send(BINARY, b"\0\0\0\x0c" + conn.encode() + b"s" * (1 << 20))
            while True:
                first, data = w.frame()
                if first & 15 == TEXT and (m := json.loads(data))["type"] == "http_request":
                    w.say(type="http_response", id=m["id"], status=200, body="in time")
        except (OSError, EOFError, Miss):
            pass
    threading.Thread(target=work, daemon=True).start()


def stall_alone(r):
    """A visitor that is alone is waited for, and pings, which nobody hears meanwhile, are not missed; but not when others come."""
    d = relay(r, "--window", "1M", "--bodies", "64M", "--ping", "2", name="alone")
    w = Wire(r, d)
    c = call(r, w.port, rcvbuf=65536)
    push(w, w.json()["connId"], 40)
    c.exactly(1000)
    time.sleep(5)       # two pings
    got = 1000
    while got < 40 << 20 and (part := c.exactly(min(65536, (40 << 20) - got))):
        got += len(part)
    r.equal("what is not read at once is not lost, nor the tunnel", (got, d.logged("event=(call_failed|session_end)")), (40 << 20, 0))
    w = Wire(r, d)
    c = call(r, w.port, rcvbuf=65536)
    push(w, w.json()["connId"], 40)
    c.exactly(1000)
    time.sleep(1)
    res = r.get(d, w.host)
    r.equal("a request is answered all the same", (res.status, res.body), (200, b"in time"))
    d.log("event=call_failed name=tcp:.* reason=stream_reset")


@test
def stalled_visitor(r):
    """It stops nobody else, holds no more than it may, and is cut alone."""
    d = relay(r, "--window", "1M", "--bodies", "64M")
    p = start(r, d)
    stalled = call(r, p.port, b"GIVE %d\n" % (64 << 20), rcvbuf=4096)
    stalled.exactly(1)
    for _ in range(5):
        r.equal("requests go on", ask(r, d, p).status, 200)
        with Caller(p.port, b"GIVE 500000\n") as c:
            r.check("connections, too", whole(c) == pattern(500000), len(c.buf))
    d.log("event=call_failed name=tcp:.* reason=stream_reset")
    p.event(event="tcp_close")
    r.check("it was cut", whole(stalled) is not None and stalled.ended == "reset", stalled.ended)
    stall_alone(r)
    d = relay(r, "--stall", "1", name="stall")
    w = Wire(r, d)
    c = call(r, w.port, rcvbuf=4096)
    conn = w.json()["connId"].encode()
    for _ in range(200):
        w.send(BINARY, b"\0\0\0\x0c" + conn + b"s" * 32000)
    d.log("event=call_failed name=tcp:.* reason=caller_stalled")
    r.equal("who takes nothing for long", w.json(), {"type": "tcp_close", "connId": conn.decode()})
    c.close()


def read_slowly(c, n):
    """All that comes until there are n bytes, some 1.5 MB in a second."""
    try:
        while len(c.buf) < n and (data := c.sock.recv(65536)):
            c.buf += data
            time.sleep(0.04)
    except ConnectionError:
        c.ended = "reset"
    return c.buf


def slow_visitor(r, beside, **more):
    """Who reads all the time, if slower than the client sends, gets everything, whatever else there is."""
    d = relay(r, "--window", "256K", "--bodies", "16M", **more)
    p = start(r, d)
    n = 10 << 20
    slow = call(r, p.port, b"GIVE %d\n" % n, rcvbuf=65536)
    done = threading.Event()
    t = threading.Thread(target=beside, args=(d, p, done))
    t.start()
    try:
        got = read_slowly(slow, n)
    finally:
        done.set()
    t.join(2 * WAIT)
    r.check("all of it", not t.is_alive() and got == pattern(n), (len(got), slow.ended))
    return d


@test
def slow_beside_idle(r):
    def idle(_, p, done):
        with Caller(p.port, b"hello\n") as c:
            r.equal("the idle one", c.exactly(6), b"hello\n")
            done.wait(4 * WAIT)
    d = slow_visitor(r, idle)
    r.equal("nobody was reset", d.logged("event=call_failed"), 0)


@test
def slow_beside_requests(r):
    def requests(d, p, done):
        got = []
        while not done.is_set():
            got.append(ask(r, d, p).status)
        r.check("requests are answered", set(got) == {200}, got)
    d = slow_visitor(r, requests)
    r.equal("nobody was reset", d.logged("event=call_failed"), 0)


@test
def slow_beside_stalled(r):
    def stalled(d, p, done):
        with Caller(p.port, b"GIVE %d\n" % (64 << 20), rcvbuf=4096) as c:
            c.exactly(1)
            d.log("event=call_failed name=tcp:.* reason=stream_reset")
            r.check("the stalled one is cut", whole(c) is not None and c.ended == "reset", c.ended)
            done.wait(4 * WAIT)
    d = slow_visitor(r, stalled)
    r.equal("and no other", d.logged("event=call_failed"), 1)


@test
def many(r):
    """Many connections at once, of one tunnel, kept apart; and not more than may be."""
    d = relay(r)
    p = start(r, d)
    n = 30 if SANITIZED else 100
    said = [pattern(50000, i) for i in range(n)]
    wrong = []

    def one(i):
        with Caller(p.port, b"FIRST\n") as c:
            if c.exactly(11) != b"SSH-2.0-x\r\n":
                wrong.append(("banner", i, c.ended))
                return
            sender = threading.Thread(target=c.send, args=(said[i],))
            sender.start()
            if c.exactly(len(said[i])) != said[i]:
                wrong.append((i, c.ended))
            sender.join()

    threads_ = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads_:
        t.start()
    for t in threads_:
        t.join()
    r.check("each got its own back", not wrong, wrong[:5])
    w = Wire(r, d)
    calls = [call(r, w.port) for _ in range(100)]
    conns = {w.json()["connId"] for _ in calls}
    r.equal("100 at once", len(conns), 100)
    r.check("the next is turned away", turned_away(r, w.port))
    d.log("event=call_failed name=tcp:.* reason=streams_full")
    calls[0].reset()
    w.json()
    r.until("one leaves: there is room", lambda: stays(r, w.port))
    r.equal("for another one", w.json()["type"], "tcp_open")


# ---- ends --------------------------------------------------------------------------------

@test
def ends(r):
    d = relay(r, "--drain", "1")
    w = Wire(r, d, "&control=text")
    c = call(r, w.port)
    w.json()
    w.c.reset()
    r.equal("visitors go with the tunnel", c.over(), "reset")
    r.until("so does the port", lambda: refused(w.port))
    w = Wire(r, d)
    token = d.token_id
    c = call(r, w.port)
    w.json()
    d.issue("--global")
    d.tool("token", "revoke", token)
    r.equal("a revoked credential's", w.code(), (1008, "revoked"))
    r.equal("its visitors, too", c.over(), "reset")
    d.issue("--global", "--expires", "5")
    w = Wire(r, d)
    r.equal("one that expires", w.code(), (1008, "expired"))
    d.issue("--global")
    w = Wire(r, d)
    d.kill(signal.SIGTERM)
    d.ended = True
    code, _ = w.code()
    r.equal("1001 at the daemon's end", code, 1001)
    r.equal("which is orderly", d.exit(), 0)


@test
def quotas(r):
    d = relay(r, "--exchanges-per-ip", "1", "--port-callers", "2")
    w = Wire(r, d)
    c = r.caller(d, f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n")
    ident = w.json()["id"]
    res = r.get(d, w.host)
    r.equal("a second exchange of an address", (res.status, res.body), (429, b"too many connections\n"))
    w.say(type="http_response", id=ident, status=200)
    r.equal("the first one goes on", c.response().status, 200)
    calls = [call(r, w.port) for _ in range(2)]
    r.equal("two connections", [w.json()["type"] for _ in calls], ["tcp_open"] * 2)
    r.check("and no third", turned_away(r, w.port))


@test
def silence(r):
    """A client that does not answer pings is given up, one that is idle is not."""
    d = relay(r, "--ping", "3")
    p = start(r, d)
    mute = start(r, d, "text", "--no-pong")
    d.log("event=session_end .*reason=\"no answer to ping\"")
    mute.closed()
    r.equal("its name is gone", ask(r, d, mute).status, 404)
    r.equal("the other's is not", ask(r, d, p).status, 200)
    r.equal("ended once", d.logged("event=session_end"), 1)


@test
def hostile(r):
    """Whatever a client sends, the daemon and the others live on."""
    d = relay(r)
    good = start(r, d)
    rng = random.Random(11)
    for i in range(15 if SANITIZED else 60):
        w = Wire(r, d, rng.choice(("", "&control=binary", "&control=text")))
        c = call(r, w.port, b"x")
        try:
            first, data = w.frame()
            conn = json.loads(data)["connId"].encode()
            for _ in range(30):
                kind = rng.randrange(7)
                data = rng.randbytes(rng.choice((0, 1, 5, 16, 17, 100, 4096, 5000)))
                if kind == 0:
                    w.send(TEXT, data)
                elif kind == 1:
                    w.send(BINARY, data)
                elif kind == 2:
                    w.send(BINARY, b"\0\0\0\x0c" + conn + data)
                elif kind == 3:
                    w.send(BINARY, b'{"body":"'.ljust(PIECE, b"q"))
                elif kind == 4:
                    w.send(TEXT, b"[" * rng.choice((10, 70000)))
                elif kind == 5:
                    w.send(TEXT, b'{"type":"http_response","id":"%s"' % NOBODY.encode() + data)
                else:
                    w.send(rng.choice((TEXT, BINARY)), data, fin=0)
                    w.send(0, b"}")
            if i % 3 == 0:
                w.c.reset()
            elif i % 3 == 1:
                w.c.send(rng.randbytes(200))
                w.c.close()
            else:
                w.close()
        except (OSError, EOFError):
            pass
        c.close()
    r.equal("the good one is served", ask(r, d, good).status, 200)
    with Caller(good.port, b"FIRST\n") as c:
        r.equal("and its visitors", c.exactly(11), b"SSH-2.0-x\r\n")


def abrupt(r, d, rounds):
    """Tunnels with visitors and requests, ended in every way."""
    for i in range(rounds):
        w = []
        while not w or w[-1].host is None:      # the one before still counts for a moment
            w.append(Wire(r, d, ("", "&control=binary")[i % 2]))
        w = w[-1]
        calls = [call(r, w.port, b"x" * 100000) for _ in range(5)]
        asked = r.caller(d, f"POST / HTTP/1.1\r\nHost: {w.host}\r\nContent-Length: 1000\r\n\r\n" + "x" * (1000 if i % 3 else 500))
        if i % 4 == 0:
            w.c.reset()
        elif i % 4 == 1:
            w.close()
        elif i % 4 == 2:
            calls[0].reset()
            w.c.close()
        else:
            w.send(TEXT, b"x", fin=0)
            w.send(TEXT, b"x")      # breaks the protocol
            w.c.close()
        for c in (*calls, asked):
            c.close()
    r.until("no session", lambda: not d.status())


@test
def nothing_left(r):
    """Descriptors, threads and counters after ends of every kind."""
    d = relay(r, "--conns-per-ip", "4", "--ping", "8")
    before = sockets(d)
    abrupt(r, d, 12 if SANITIZED else 40)
    r.until(f"no more than {before} sockets", lambda: sockets(d) <= before)
    r.check("nor more than is kept for the next callers", len(os.listdir(f"/proc/{d.p.pid}/fd")) < before + 100)
    r.until("nor threads but those that wait for work", lambda: threads(d) <= 60)
    four = []
    r.until("all that an address may have", lambda: (w := Wire(r, d)).host and (four.append(w) or len(four) == 4))
    res = r.ask(d, upgrade(d))
    r.equal("and no more", (res.status, res.body), (429, b"too many connections\n"))
    four[0].c.reset()
    r.until("until one has gone", lambda: Wire(r, d).response.status == 101)


@test
def takeover(r):
    """Its clients cannot be in two places: the old daemon keeps them while something runs."""
    d = relay(r, "--drain", "30")
    w = Wire(r, d)
    c = r.caller(d, f"GET / HTTP/1.1\r\nHost: {w.host}\r\n\r\n")
    ident = w.json()["id"]
    new = r.daemon("--listen", f"127.0.0.1:{d.port}", "--domain", DOMAIN, *d.argv[d.argv.index("--ports"):d.argv.index("--ports") + 2], "--takeover",
                   scope=None)
    d.ended = True
    w.say(type="http_response", id=ident, status=200, body="ok")
    r.equal("what runs is finished", c.response().body, b"ok")
    c.close()
    r.equal("then it is told to come again", w.code()[0], 1001)
    r.equal("nobody waits for its old name", r.get(new, w.host).status, 404)
    new.token = d.token
    again = Wire(r, new)
    r.check("it gets a new one", again.host and again.host != w.host and again.port, again.response)
    d.exit()


main()
