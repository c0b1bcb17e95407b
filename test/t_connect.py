"""The CONNECT proxy: what it lets through, where it leads, and what it tells those whom it does not serve.

Its callers are curl, git and npm, and sockets of the test's own; the servers behind it Python's, nginx where real HTTPS is
wanted, and clients as vtunnel's (peer/vtgo.py), whose domains it knows.
"""
import base64
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from certs import Certs
from client import refused
from relaypeer import asked, dns
from rig import BIN, ENV, PEER, PYTHON, ROOT, SANITIZED, WAIT, Caller, Plain, Proc, echo, in_parallel, main, serving, test
# pylint: enable=wrong-import-position

HERE = ("--proxy-pass", "allow 127.0.0.0/8", "--proxy-pass", "allow localhost")
ESTABLISHED = b"HTTP/1.1 200 Connection Established\r\n\r\n"
OK = serving(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
PRIV = "vt-priv-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
PUB = "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
SSH = os.environ.get("SSH") != "no"         # without it there are no clients that register domains
PATIENT = ("--half-close", "300", "--timeout", "300")       # with many, all of whose other ends are threads of this process
MANY = int(os.environ.get("TUNNEL_TEST_CALLS") or (20 if SANITIZED else 100))
BULK = int(os.environ.get("TUNNEL_TEST_BYTES") or (16 if SANITIZED else 64) << 20)
C = Certs(f"{ROOT}/certs")
CA = C.make("ca", ca=True)
LEAF = C.make("leaf", CA, san=("DNS:localhost", "DNS:myapi.local", "IP:127.0.0.1"))


def proxyd(r, *args, **more):
    """A daemon, its proxy on proxy_port."""
    d = r.daemon("--proxy", "0", *args, **more)
    d.proxy_port = int(d.log(r"event=listening proto=proxy addr=127\.0\.0\.1:(\d+)").group(1))
    return d


def caller(r, d, data=b"", **more):
    return r.keep(Caller(d.proxy_port, data, **more))


def connect(r, d, target, rest=b"", **more):
    if isinstance(target, int):
        target = f"127.0.0.1:{target}"
    return caller(r, d, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode() + rest, **more)


def connected(r, d, target, rest=b"", **more):
    c = connect(r, d, target, rest, **more)
    c.established = c.exactly(len(ESTABLISHED))
    return c


def ask(d, data, method="GET"):
    with Caller(d.proxy_port, data) as c:
        return c.response(method)


def get(d, target, path="/", fields="", method="GET", body=b""):
    return ask(d, f"{method} http://{target}{path} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n".encode("latin-1") + body, method)


def status_of(r, d, target):
    """What a CONNECT is told: the status and the words."""
    res = connect(r, d, target).response("CONNECT")
    return res.status, res.body.decode().partition(" (request")[0]


def dead_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def plain(r, handle=echo):
    return r.keep(Plain(handle))


# ---- CONNECT -------------------------------------------------------------------------------------

@test
def bytes_pass(r):
    d, t = proxyd(r, *HERE), plain(r)
    for host in ("127.0.0.1", "localhost", "LOCALHOST.", "[::ffff:127.0.0.1]"):
        c = connected(r, d, f"{host}:{t.port}", b"early")
        r.equal(f"{host}: the answer, to the letter", c.established, ESTABLISHED)
        r.equal(f"{host}: bytes behind the head", c.exactly(5), b"early")
        data = os.urandom(300000)
        c.send(data)
        r.check(f"{host}: and more", c.exactly(len(data)) == data)
        c.half_close()
        r.equal(f"{host}: both ends end", c.over(), "fin")
    c = caller(r, d, f"CONNECT 127.0.0.1:{t.port} HTTP/1.0\r\n\r\n")
    r.equal("HTTP/1.0 without Host", c.exactly(len(ESTABLISHED)), ESTABLISHED)
    c = caller(r, d, f"CONNECT 127.0.0.1:{t.port} HTTP/1.1\r\nHost: elsewhere:1\r\nContent-Length: 0\r\n\r\nx")
    r.equal("the target counts, not Host", c.exactly(len(ESTABLISHED) + 1), ESTABLISHED + b"x")


@test
def ends_pass(r):
    d = proxyd(r, *HERE)

    def first(conn):        # speaks first, ends its direction, then reads
        conn.send(b"SSH-2.0-x\r\n")
        conn.half_close()
        while conn.more():
            pass
        t.note((conn.ended, conn.buf))

    t = plain(r, first)
    c = connected(r, d, t.port)
    r.equal("the server speaks first", c.exactly(11), b"SSH-2.0-x\r\n")
    r.equal("and ends its direction", c.over(), "fin")
    c.send(b"still")
    c.half_close()
    r.equal("the other one is open still", t.noted(), ("fin", b"still"))
    t = plain(r, lambda conn: conn.reset() if conn.exactly(1) else None)
    c = connected(r, d, t.port, b"x")
    r.equal("a reset of the server's", c.over(), "reset")
    d.log('event=exchange_failed name=127.0.0.1:[0-9]+ reason="the server reset the connection" peer=')

    def done(conn):         # ends its direction, and goes while there is more for it
        conn.half_close()
        conn.exactly(1)
        conn.reset()

    c = connected(r, d, plain(r, done).port)
    r.equal("the server's end", c.over(), "fin")

    def breaks():
        try:
            c.send(b"x" * 1000)
        except OSError:
            return True
        return False

    r.until("and that nobody takes the rest is told", breaks)

    def wait(conn):
        while conn.more():
            pass
        t.note(conn.ended)

    t = plain(r, wait)
    connected(r, d, t.port, b"x").reset()
    r.equal("a reset of the caller's", t.noted(), "reset")
    c = connected(r, d, t.port, b"x")
    c.half_close()
    r.equal("its end", t.noted(2), "fin")
    r.equal("comes back", c.over(), "fin")


def whole(d, target, data):
    """A whole connection to an echo."""
    with Caller(d.proxy_port, f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n") as c:
        c.exactly(len(ESTABLISHED))
        sender = threading.Thread(target=lambda: (c.send(data), c.half_close()))
        sender.start()
        got = c.exactly(len(data))
        sender.join(WAIT)
        return got == data and c.over() == "fin"


@test
def many(r):
    d, t = proxyd(r, *HERE, "--access-log", "stderr", *PATIENT), plain(r)
    data = os.urandom(1 << 20)
    got = in_parallel([lambda i=i: whole(d, f"localhost:{t.port}", data[i:]) for i in range(MANY)], WAIT * 5)
    r.equal(f"{MANY} at once, each byte-exact", [g for g in got if g is not True], [])
    r.until("and each in the access log", lambda: d.logged(r'^127\.0\.0\.1 - - \[.*\] "CONNECT localhost:\d+ HTTP/1\.1" 200 \d+ ') == MANY)


def rss(p):
    with open(f"/proc/{p.p.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


@test
def slow_readers(r):
    """Who does not read stops who sends, and all of it comes in the end."""
    d = proxyd(r, *HERE)
    block = os.urandom(1 << 20)
    sent = []

    def push(conn):
        sent.append(0)
        at = len(sent) - 1
        for _ in range(BULK >> 20):
            conn.send(block)
            sent[at] += len(block)
        conn.half_close()
        conn.over()

    t, h = plain(r, push), hashlib.sha256()
    before = rss(d)
    c = connected(r, d, t.port, rcvbuf=16384)
    last = [-1]

    def still():
        stopped, last[0] = bool(sent) and sent[0] == last[0] and sent[0] > 0, sent[0] if sent else -1
        time.sleep(0.2)
        return stopped

    r.until("the server is stopped", still)
    r.check("long before its end", sent[0] < BULK, sent)
    if not SANITIZED:
        r.check("the daemon holds little of it", rss(d) - before < 4096, f"{rss(d) - before} KiB")
    n = 0
    while c.buf or c.more():
        n += len(c.buf)
        h.update(c.buf)
        c.buf = b""
    want = hashlib.sha256()
    for _ in range(BULK >> 20):
        want.update(block)
    r.check("then all of it comes", h.digest() == want.digest(), n)

    def swallow(conn):
        go.wait(WAIT)
        got = hashlib.sha256()
        while conn.buf or conn.more():
            got.update(conn.buf)
            conn.buf = b""
        t.note(got.digest())

    go = threading.Event()
    t = plain(r, swallow)
    c = connected(r, d, t.port)
    sender = threading.Thread(target=lambda: ([c.send(block) for _ in range(BULK >> 20)], c.half_close()))
    sender.start()
    if not SANITIZED:
        r.check("nor of what the server does not read", rss(d) - before < 4096, f"{rss(d) - before} KiB")
    go.set()
    r.check("the other way, too", t.noted() == want.digest())
    sender.join(WAIT)


@test
def idle(r):
    d = proxyd(r, *HERE, "--proxy-idle", "4")

    def tick(conn):
        for _ in range(30):
            conn.send(b".")
            time.sleep(0.2)

    t = plain(r, tick)
    c = connected(r, d, t.port)
    r.equal("bytes one way keep the other from being idle", (c.exactly(30), c.over()), (b"." * 30, "fin"))
    t = plain(r)
    c = connected(r, d, t.port, b"x")
    r.equal("one that is idle", (c.exactly(1), c.over()), (b"x", "reset"))
    d.log("event=exchange_failed name=127.0.0.1:[0-9]+ reason=idle peer=")


# ---- plain HTTP ----------------------------------------------------------------------------------

@test
def http_passes(r):
    d, o = proxyd(r, *HERE), r.origin()
    auth = "Proxy-Authorization: Basic c2VjcmV0OnNlY3JldA==\r\n"
    res = get(d, o.target, "/echo?q=%20", auth + "Proxy-Connection: keep-alive\r\nX-One: 1\r\nx-one: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
              "X-Forwarded-For: 192.0.2.9\r\nTE: trailers\r\n")
    got = res.json()
    fields = [(n.lower(), v) for n, v in got["headers"]]
    r.equal("the target in origin-form", (res.status, got["target"], got["version"]), (200, "/echo?q=%20", "HTTP/1.1"))
    r.equal("and all that is the server's", [f for f in fields if f[0] != "via"],
            [("host", o.target), ("x-one", "1"), ("x-one", "2"), ("x-forwarded-for", "192.0.2.9"), ("connection", "TE, close"), ("te", "trailers")])
    r.has("we are in Via, there", r"^1\.1 tunneld-[0-9a-f]{8}$", dict(fields)["via"])
    r.has("and in the answer", r"^1\.1 tunneld-[0-9a-f]{8}$", res.get("via") or "")
    r.equal("which has no field of the daemon's own", res.get("x-request-id"), None)
    d.stop()
    d.ended = True
    r.check("the credential is in no log", not any(l and "c2Vjc" in l for l in d.errs))


@test
def methods_and_bodies(r):
    d, o = proxyd(r, *HERE), r.origin()
    body = os.urandom(100000)
    digest = hashlib.sha256(body).hexdigest()
    chunked = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(body[i:i + 7777]), body[i:i + 7777]) for i in range(0, len(body), 7777)) + b"0\r\nX-T: 1\r\n\r\n"
    with Caller(d.proxy_port) as c:         # all of it on one connection, to two servers
        other = r.service(OK)
        for what, data, method, judge in (
                ("a length", b"PUT http://%b/echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (o.target.encode(), len(body), body), "PUT",
                 lambda res: res.json().get("body_sha256") == digest),
                ("chunks and a trailer", b"POST http://%b/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n%b" % (o.target.encode(), chunked),
                 "POST", lambda res: res.json().get("body_sha256") == digest and res.json()["trailers"] == ["X-T: 1"]),
                ("another server", b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n\r\n" % other.target.encode(), "GET", lambda res: res.body == b"ok"),
                ("HEAD", b"HEAD http://%b/bytes?n=5 HTTP/1.1\r\nHost: x\r\n\r\n" % o.target.encode(), "HEAD",
                 lambda res: (res.get("content-length"), res.body) == ("5", b"")),
                ("an answer in chunks", b"GET http://%b/bytes?n=300000&chunked HTTP/1.1\r\nHost: x\r\n\r\n" % o.target.encode(), "GET",
                 lambda res: (len(res.body), res.end) == (300000, "chunked")),
                ("one that ends with its connection", b"GET http://%b/bytes?n=300000&eof HTTP/1.1\r\nHost: x\r\n\r\n" % o.target.encode(), "GET",
                 lambda res: (len(res.body), res.end) == (300000, "chunked")),
                ("origin-form", b"GET /echo HTTP/1.1\r\nHost: %b\r\n\r\n" % o.target.encode(), "GET", lambda res: res.json()["target"] == "/echo"),
                ("an error of ours, and on", b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % dead_port(), "GET", lambda res: res.status == 502),
                ("and on", b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n\r\n" % other.target.encode(), "GET", lambda res: res.body == b"ok")):
            c.send(data)
            res = c.response(method)
            r.check(f"{what}, on the same connection", judge(res), res)
    with Caller(d.proxy_port, f"PUT http://{o.target}/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n") as c:
        r.equal("100 (Continue) is the server's", c.interim().status, 100)
        c.send(b"hi")
        r.equal("and then its answer", c.response("PUT").json()["body_sha256"], hashlib.sha256(b"hi").hexdigest())
    for answer, want in ((b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", "length")),
                         (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", (304, b"", "length")),
                         (b"HTTP/1.0 200 OK\r\n\r\nold", (200, b"old", "chunked")),
                         (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, b"", "length"))):
        res = get(d, r.service(serving(answer)).target)
        r.equal(f"{answer[:30]}", (res.status, res.body, res.end), want)
    t = r.service(lambda conn, head: (conn.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"), echo(conn)))
    with Caller(d.proxy_port, f"GET http://{t.target}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n") as c:
        r.equal("an upgrade", c.response().status, 101)
        c.send(b"raw")
        r.equal("and its bytes", c.exactly(3), b"raw")
        c.half_close()
        r.equal("to the end", c.over(), "fin")


@test
def bad_answers(r):
    d = proxyd(r, *HERE, "--timeout", "1")
    for answer, want in ((b"", 502), (b"SSH-2.0-x\r\n", 502), (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502),
                         (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 502), (b"HTTP/1.1 200 OK\nX: y\n\n", 502),
                         (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 502),
                         (b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", 502), (b"HTTP/1.1 200 OK\r\n X: folded\r\n\r\n", 502)):
        res = get(d, r.service(serving(answer)).target)
        r.equal(f"{answer[:60]}", (res.status, res.body[:4]), (want, b"502 "))
    res = get(d, r.service(serving(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut")).target)
    r.equal("one that is cut short", (res.status, res.body, res.end), (200, b"cut", "cut"))
    hang = plain(r, lambda conn: conn.over())
    res = get(d, hang.target)
    r.equal("one that never comes", (res.status, res.body[:4]), (504, b"504 "))
    p = r.spawn(PYTHON, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0", kind=Proc)
    port = int(p.wait_line(p.lines, re.compile(r"port (\d+)").search, "port").group(1))
    p.kill(signal.SIGSTOP)
    r.equal("a server that is stopped", get(d, f"127.0.0.1:{port}").status, 504)
    c = connected(r, d, port, b"GET / HTTP/1.0\r\n\r\n")
    p.kill(signal.SIGCONT)
    r.equal("goes on", c.exactly(12), b"HTTP/1.0 200")


# ---- who is not served ---------------------------------------------------------------------------

@test
def refusals(r):
    d, t = proxyd(r, *HERE, "--access-log", "stderr"), r.service(OK)
    a = t.target
    port = t.target.split(":")[1]
    rows = (
        (f"CONNECT {a} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 400),
        (f"CONNECT {a} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"CONNECT u:p@{a} HTTP/1.1\r\nHost: x\r\n\r\n", 400), (f"CONNECT http://{a}/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT 127.0.0.1: HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("CONNECT 127.0.0.1:0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT 127.0.0.1:65536 HTTP/1.1\r\nHost: x\r\n\r\n", 400), (f"CONNECT :{port} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (f"CONNECT 127.0.0.1 :{port} HTTP/1.1\r\nHost: x\r\n\r\n", 400), (f"CONNECT {a}\r\nX: y HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (f"CONNECT {a} HTTP/1.1\r\n\r\n", 400), (f"CONNECT {a} HTTP/2.0\r\nHost: x\r\n\r\n", 505), ("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400), (f"GET http://u:p@{a}/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (f"GET ftp://{a}/ HTTP/1.1\r\nHost: x\r\n\r\n", 400), (f"GET https://{a}/ HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (f"GET http://{a}\\@other/ HTTP/1.1\r\nHost: x\r\n\r\n", 400), (f"GET http://{a}?q HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (f"TRACE http://{a}/ HTTP/1.1\r\nHost: x\r\n\r\n", 405), (f"OPTIONS http://{a}/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n", 501),
        # what two parsers could read in two ways
        (f"POST http://{a}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"POST http://{a}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        (f"POST http://{a}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello!", 400),
        (f"POST http://{a}/ HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", 400),
        (f"POST http://{a}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n", 501),
        (f"POST http://{a}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (f"POST http://{a}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (f"GET http://{a}/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400), (f"GET http://{a}/ HTTP/1.1\r\n\r\n", 400),
        (f"GET http://{a}/ HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n", 400), (f"GET http://{a}/\n HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (f"GET http://{a}/ HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 400), (f"GET http://{a}/ HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400))
    for data, want in rows:
        res = ask(d, data)
        r.equal(f"{data[:70]!r}", (res.status, res.body[:4].decode(), res.body.count(b"\n")), (want, f"{want} ", 1))
    r.equal("none of them has reached anybody", t.heads, [])
    for target in (f"http://ann:hid/den@{a}/x", f"HTTPS://hidden@{a}", f"ann:hidden@{a}", f"ann:hidden@{a}/?http://x", f"http://{a}/relay?token=hidden", f"http://{a}/x?y&%74oken=hidden"):
        r.equal(f"{target}: refused", ask(d, f"GET {target} HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n").status, 400)
    d.log(r'"GET http://127.0.0.1:[0-9]+/x\?y&%74oken="? 400 ')
    r.check("no password or token in the log, not even of a bad request", not any(l and re.search("hid/?den|u:p", l) for l in d.errs), d.errs[-8:])
    with Caller(d.proxy_port, f"CONNECT 127.0.0.1:{dead_port()} HTTP/1.1\r\nHost: x\r\n\r\nGET http://{a}/ HTTP/1.1\r\nHost: x\r\n\r\n") as c:
        r.equal("behind a CONNECT that failed", c.response().status, 502)
        r.equal("nothing is a request", c.over(), "fin")
    res = ask(d, f"POST http://{a}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    r.equal("chunks that are none", res.status, 400)
    res = ask(d, f"GET http://127.0.0.1:{d.proxy_port}/ HTTP/1.1\r\nHost: x\r\n\r\n")
    r.equal("a request to the proxy by way of the proxy", (res.status, b"come back" in res.body), (502, True))
    res = ask(d, f"GET http://{a}/ HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nVia: 1.1 tunneld-00000000\r\n\r\n")
    r.equal("another daemon's Via is none", res.status, 200)


@test
def only_itself(r):
    d, t = proxyd(r), r.service(OK)
    for path in ("/health", "/healthz", "/_bifrost/ping", "/"):
        r.equal(f"{path}: the proxy's listener serves no endpoint",
                ask(d, f"GET {path} HTTP/1.1\r\nHost: tunneld.test\r\n\r\n").status, 403)
    r.equal("nor a client", ask(d, f"GET /_tunnel HTTP/1.1\r\nHost: tunneld.test\r\nAuthorization: Bearer {d.token}\r\nConnection: Upgrade\r\n"
                                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n").status, 403)
    r.equal("and the public one no CONNECT", r.ask(d, f"CONNECT {t.target} HTTP/1.1\r\nHost: {t.target}\r\n\r\n").status, 400)
    r.equal("nor another host", r.ask(d, f"GET http://{t.target}/ HTTP/1.1\r\nHost: {t.target}\r\n\r\n").status, 200)     # its own page
    r.equal("which nobody was asked for", t.heads, [])
    a = r.origin()
    r.client(d, "web", "--target", a.target)
    r.equal("a tunnel's name is no name here", ask(d, "GET http://web.localhost/ HTTP/1.1\r\nHost: x\r\n\r\n").status, 403)


@test
def rules(r):
    t = plain(r)
    none = proxyd(r, name="none")
    r.equal("without --proxy-pass it leads nowhere", status_of(r, none, f"127.0.0.1:{t.port}"),
            (403, "403 nobody has registered this domain, and this proxy leads nowhere else"))
    r.equal("nor for plain HTTP", get(none, "example.com").status, 403)
    d = proxyd(r, "--proxy-pass", "any", name="any")
    for host in ("127.0.0.1", "localhost", "127.1.2.3", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
                 "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"):
        r.equal(f"any does not hold {host}", status_of(r, d, f"{host}:{t.port}"), (403, "403 this proxy does not lead there"))
        r.equal(f"nor for plain HTTP: {host}", get(d, f"{host}:{t.port}").status, 403)
    for host in ("127.1", "0x7f000001", "2130706433", "017700000001", "localhost%00", "loc_alhost", "-x.test"):
        r.equal(f"{host} is no host", connect(r, d, f"{host}:{t.port}").response().status, 403)
    d.log(f"event=proxy_failed target=127.0.0.1:{t.port} reason=\"no rule allows it\" peer=127")
    d = proxyd(r, "--proxy-pass", "deny 127.0.0.2", "--proxy-pass", f"allow 127.0.0.0/8:{t.port}", "--proxy-pass", "deny localhost", name="some")
    r.equal("rules by address, port and name", [connect(r, d, h).response().status if h.startswith(("127.0.0.2", "localhost")) or h.endswith(":1")
                                                else connected(r, d, h).established for h in
                                                (f"127.0.0.1:{t.port}", f"127.0.0.2:{t.port}", "127.0.0.1:1", f"localhost:{t.port}")],
            [ESTABLISHED, 403, 403, 403])
    d = proxyd(r, "--proxy-pass", "allow *", name="names")
    r.equal("a name that leads to the daemon's own machine", status_of(r, d, f"localhost:{t.port}"), (403, "403 this proxy does not lead there"))
    d, dead = proxyd(r, *HERE, name="dead"), dead_port()
    r.equal("nobody listens", status_of(r, d, f"127.0.0.1:{dead}"), (502, "502 the server cannot be reached"))
    d.log(f"event=proxy_failed target=127.0.0.1:{dead} reason=refused peer=127")
    r.equal("nor for plain HTTP", get(d, f"127.0.0.1:{dead_port()}").status, 502)


@test
def names(r):
    """Each address of a name is judged; it is looked up once, and not where no rule could allow it."""
    env = dns(r, ["good.test 127.0.0.1", "two.test 127.0.0.9 127.0.0.1", "mixed.test 127.0.0.1 10.0.0.1", "mixed6.test ::1 127.0.0.1", "nat.test 64:ff9b::a00:1",
                  "mapped.test ::ffff:127.0.0.1", "me.lab.test 127.0.0.1"])
    if env is None:
        return
    t, s = plain(r), r.service(OK)
    d = proxyd(r, "--proxy-pass", f"allow 127.0.0.0/8:{t.port}", "--proxy-pass", f"allow 127.0.0.0/8:{s.target.split(':')[1]}", "--proxy-pass", "allow *.lab.test:1",
               env=env)
    for host, want in (("good.test", 200), ("two.test", 200), ("mapped.test", 200), ("mixed.test", 403), ("mixed6.test", 403), ("nat.test", 403), ("missing.test", 502)):
        n = len(asked(r))
        with Caller(d.proxy_port, f"CONNECT {host}:{t.port} HTTP/1.1\r\nHost: x\r\n\r\nhi") as c:
            r.equal(host, c.interim().status, want)
            r.check(f"{host}: is reached", want != 200 or c.exactly(2) == b"hi")
        r.equal(f"{host}: is looked up once", asked(r)[n:], [host])
    r.equal("a request's, too", get(d, f"good.test:{s.target.split(':')[1]}").body, b"ok")
    r.has("with its Host", "^GET / HTTP/1.1\r\nHost: good.test:", s.heads[-1])
    n = len(asked(r))
    r.equal("a port that no rule has", (status_of(r, d, "good.test:2")[0], asked(r)[n:]), (403, []))
    r.equal("a pattern does not hold this machine", (status_of(r, d, "me.lab.test:1")[0], asked(r)[n:]), (403, ["me.lab.test"]))
    e = proxyd(r, "--proxy-pass", "any", env=env, name="any")
    r.equal("nor does any", [status_of(r, e, f"{host}:{t.port}")[0] for host in ("good.test", "mixed.test", "nat.test", "mapped.test")], [403] * 4)


def check_conf(*args, env=None):
    p = subprocess.run([f"{BIN}/tunneld", "-n", *args], env={**ENV, **(env or {})}, capture_output=True, text=True, timeout=WAIT, check=False)
    return p.returncode, p.stderr


@test
def options(r):
    users = f"{r.tmp}/users"
    for text, ok in (("# who\n\nann:secret\nbob:x:y\n", True), ("", False), ("# nobody\n", False), ("ann\n", False), (":x\n", False), ("ann:\n", False)):
        with open(users, "w", encoding="ascii") as f:
            f.write(text)
        rc, err = check_conf("--proxy", "0.0.0.0:0", "--proxy-auth-file", users)
        r.check(f"--proxy-auth-file with {text!r}", (rc == 0) == ok and err.count("\n") == (not ok) and "secret" not in err, (rc, err))
    with open(users, "w", encoding="ascii") as f:
        f.write("ann:secret\n")
    for args, words in ((("--proxy", "0.0.0.0:0"), "which is not loopback, needs --proxy-auth-file"), (("--proxy", "*:0"), "needs --proxy-auth-file"),
                        (("--proxy", "[::]:0"), "needs --proxy-auth-file"), (("--proxy", "x"), "is not [HOST:]PORT"), (("--proxy", "127.0.0.1"), "is not [HOST:]PORT"),
                        (("--proxy-pass", "any"), "off without --proxy"), (("--proxy-auth-file", users), "off without --proxy"),
                        (("--proxy", "0", "--proxy-auth-file", f"{r.tmp}/none"), "none: No such file"),
                        (("--proxy", "0", "--proxy-pass", "allow"), "is without its TARGET"), (("--proxy", "0", "--proxy-pass", "permit x"), "is not any"),
                        (("--proxy", "0", "--proxy-pass", "none", "--proxy-pass", "any"), "which stands alone"),
                        (("--proxy", "0", "--proxy-pass", "any", "--proxy-pass", "none"), "which stands alone")):
        rc, err = check_conf(*args)
        r.check(f"{args}", rc != 0 and words in err and err.count("\n") == 1, (rc, err))
        p = subprocess.run([f"{BIN}/tunneld", "--state", f"{r.tmp}/s", "--listen", "127.0.0.1:0", *args], env=ENV, capture_output=True, text=True,
                           timeout=WAIT, check=False)
        r.check(f"{args}: nor does it start", p.returncode != 0 and words in p.stderr, p)
    for args in (("--proxy", "0"), ("--proxy", "localhost:0"), ("--proxy", "[::1]:0"), ("--proxy", "127.8.8.8:0"), ("--proxy", "0", "--proxy-pass", "none"),
                 ("--proxy", "0", "--proxy", "0", "--proxy-pass", "deny 10.0.0.0/8", "--proxy-pass", "any:443", "--proxy-idle", "0")):
        r.equal(f"{args}", check_conf(*args), (0, ""))
    r.equal("from the environment", check_conf(env={"TUNNELD_PROXY": "0 localhost:0", "TUNNELD_PROXY_PASS": "deny 10.0.0.0/8 any:443 allow x.test"}), (0, ""))


@test
def users(r):
    path = f"{r.tmp}/users"
    with open(path, "w", encoding="ascii") as f:
        f.write("ann:secret\nbob:x:y\n")
    d, t = proxyd(r, *HERE, "--proxy-auth-file", path, "--login-failures", "3", "--access-log", "stderr"), r.service(OK)

    def fields(user):
        return f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n"

    res = get(d, t.target)
    r.equal("without a user", (res.status, res.get("proxy-authenticate"), res.get("www-authenticate")),
            (407, 'Basic realm="tunneld", charset="UTF-8"', None))
    res = ask(d, f"CONNECT {t.target} HTTP/1.1\r\nHost: x\r\n\r\n")
    r.equal("for CONNECT likewise, which ends the connection", (res.status, res.get("connection")), (407, "close"))
    r.equal("with one", [get(d, t.target, "/", fields(u)).status for u in ("ann:secret", "bob:x:y")], [200, 200])
    r.equal("Authorization is the server's", get(d, t.target, "/", fields("ann:secret") + "Authorization: Basic eA==\r\n").status, 200)
    r.check("which gets it, and not ours", "Authorization: Basic eA==" in t.heads[-1] and "Proxy-A" not in "".join(t.heads), t.heads)
    c = caller(r, d, f"CONNECT {t.target} HTTP/1.1\r\nHost: x\r\n{fields('bob:x:y')}\r\n")
    r.equal("CONNECT with one", c.exactly(len(ESTABLISHED)), ESTABLISHED)
    r.equal("others", [get(d, t.target, "/", f).status for f in (fields("ann:other"), fields("ann:secret") + fields("ann:secret"), "Authorization: Basic eA==\r\n")],
            [407, 407, 407])
    r.equal("curl without a user", curl(proxy_env(d), f"http://{t.target}/")[0], "407")
    r.equal("and with one", curl(proxy_env(d, "bob:x%3Ay@"), f"http://{t.target}/"), ("200", b"ok"))
    r.until("whoever guesses has to wait", lambda: get(d, t.target, "/", fields(f"ann:{time.monotonic()}")).status == 429)
    r.check("no password in a log", not any(l and ("secret" in l or "YW5u" in l) for l in d.errs))


@test
def quotas(r):
    d = proxyd(r, *HERE, "--exchanges-per-ip", "2")
    t = plain(r)
    held = [connected(r, d, t.port) for _ in range(2)]
    r.equal("connections count", status_of(r, d, f"127.0.0.1:{t.port}")[0], 429)
    r.equal("as requests do", get(d, t.target).status, 429)
    held[0].half_close()
    r.equal("until they end", held[0].over(), "fin")
    r.equal("then there is room", connected(r, d, t.port).established, ESTABLISHED)
    d = proxyd(r, *HERE, "--callers", "1", name="callers")
    with Caller(d.proxy_port, f"CONNECT 127.0.0.1:{t.port} HTTP/1.1\r\nHost: x\r\n\r\n") as c:
        c.exactly(len(ESTABLISHED))
        with Caller(d.proxy_port) as other:
            r.equal("one caller too many", other.response().status, 503)


@test
def drains(r):
    d, t = proxyd(r, *HERE), plain(r)
    c = connected(r, d, t.port, b"x")
    c.exactly(1)
    d.kill(signal.SIGTERM)
    d.log("event=draining")
    r.until("nobody new", lambda: refused(d.proxy_port))
    c.send(b"still here")
    r.equal("what runs goes on", c.exactly(10), b"still here")
    c.half_close()
    c.over()
    d.ended = True
    r.equal("and ends the daemon, when it ends", d.exit(), 0)


@test
def several_listeners(r):
    d = proxyd(r, "--proxy", "127.0.0.2:0", *HERE)
    t = plain(r)
    d.proxy_port = int(d.log(r"event=listening proto=proxy addr=127\.0\.0\.2:(\d+)").group(1))
    with Caller(d.proxy_port, f"CONNECT 127.0.0.1:{t.port} HTTP/1.1\r\nHost: x\r\n\r\n", host="127.0.0.2") as c:
        r.equal("the second one serves, too", c.interim().status, 200)


@test
def takes_over(r):
    d, t = proxyd(r, *HERE), plain(r)
    c = connected(r, d, t.port, b"x")
    c.exactly(1)
    n = r.daemon("--takeover", "--proxy", "0", *HERE, scope=None)
    n.log("event=takeover")
    r.equal("the next daemon has the same port", int(n.log(r"event=listening proto=proxy addr=127\.0\.0\.1:(\d+)").group(1)), d.proxy_port)
    d.log("event=handed_over")
    c.send(b"y")
    r.equal("what runs goes on", c.exactly(1), b"y")
    r.equal("new ones come there", connected(r, d, t.port).established, ESTABLISHED)
    c.half_close()
    c.over()
    d.ended = True
    r.equal("the old one ends", d.exit(), 0)
    r.equal("which its public port is not", r.ask(n, f"CONNECT {t.target} HTTP/1.1\r\nHost: x\r\n\r\n").status, 400)


@test
def takes_domains_over(r):
    """What is mapped leads nowhere else at the next daemon either, though its client comes only when what runs at this one is over."""
    if not SSH:
        return
    seen = r.service(OK)
    more = ("--proxy-pass", "allow *.test", "--proxy-pass", "allow 127.0.0.0/8", "--grace", "15")
    d, t = mapped(r, *more), plain(r)
    p = go(r, d, f"echo.test={t.target}", f"*.wide.test={seen.target}", f"127.0.0.9:{t.port}={t.target}", more=("--header", "X-Set: " + "y" * 500))
    q = go(r, d, f"big.test={seen.target}", f"raw.test={t.target}", more=("--header", "X-Big: " + "z" * 3000))
    others = connected(r, d, "raw.test:443", b"x")
    others.exactly(1)
    running = connected(r, d, "echo.test:443", b"x")
    running.exactly(1)
    ports = {e["port"] for e in p.seen(event="listening") + q.seen(event="listening")}
    n = r.daemon("--vtunnel-key", PUB, "--takeover", "--proxy", "0", *more, scope=None)
    n.log("event=takeover")
    d.log("event=handed_over")
    waits = connect(r, d, "echo.test:443", b"y")
    wide = caller(r, d, "GET http://a.wide.test/ HTTP/1.1\r\nHost: x\r\n\r\n")
    big = caller(r, d, "GET http://big.test/ HTTP/1.1\r\nHost: x\r\n\r\n")
    address = connect(r, d, f"[::ffff:127.0.0.9]:{t.port}", b"z")
    r.equal("what runs goes on", (running.send(b"z"), running.exactly(1))[1], b"z")
    for c in (running, others):
        c.half_close()
        c.over()
    r.equal("who has come meanwhile has waited for the client", waits.exactly(len(ESTABLISHED) + 1), ESTABLISHED + b"y")
    r.equal("for a pattern, too", wide.response().status, 200)
    r.check("with the fields that are set there", any("X-Set: " + "y" * 500 in h for h in seen.heads), seen.heads)
    r.equal("and for one with many of them", big.response().status, 200)
    r.equal("and for an address, however it is written", address.exactly(len(ESTABLISHED) + 1), ESTABLISHED + b"z")
    r.check("its ports are those it had", ports and ports >= {int(x) for x in re.findall(r"name=tcp:(\d+)", "\n".join(l for l in n.errs if l and "proxy_mapped" in l))}, ports)
    d.ended = True
    r.equal("the old one ends", d.exit(), 0)


@test
def supervised(r):
    launch = ("import os,sys;os.dup2(100,3);os.dup2(101,4);os.closerange(5,300);os.environ.update(LISTEN_FDS='2',LISTEN_PID=str(os.getpid()),"
              "LISTEN_FDNAMES='web:connect-proxy');os.execv(sys.argv[1],sys.argv[1:])")
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as proxy:
        # pylint: disable=subprocess-popen-preexec-fn,consider-using-with
        p = subprocess.Popen([PYTHON, "-c", launch, f"{BIN}/tunneld", "--state", f"{r.tmp}/d", *HERE], env=ENV, stderr=subprocess.PIPE, text=True,
                             close_fds=False, preexec_fn=lambda: (os.dup2(web.fileno(), 100), os.dup2(proxy.fileno(), 101)))
        try:
            t = plain(r)
            with Caller(proxy.getsockname()[1], f"CONNECT {t.target} HTTP/1.1\r\nHost: x\r\n\r\n") as c:
                r.equal("a socket of the supervisor's is the proxy", c.exactly(len(ESTABLISHED)), ESTABLISHED)
            with Caller(web.getsockname()[1], f"CONNECT {t.target} HTTP/1.1\r\nHost: x\r\n\r\n") as c:
                r.equal("and the other is not", c.response().status, 400)
        finally:
            p.terminate()
            r.equal("it ends", p.wait(WAIT), 0)
            p.stderr.close()


# ---- real programs -------------------------------------------------------------------------------

def proxy_env(d, user=""):
    proxy = f"http://{user}127.0.0.1:{d.proxy_port}"
    return {**ENV, "http_proxy": proxy, "https_proxy": proxy, "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""}


def curl(env, *args):
    """The status, and what came."""
    p = subprocess.run(["curl", "-s", "--max-time", str(WAIT), "-w", "\\n%{http_code}", *args], env=env, capture_output=True, timeout=2 * WAIT, check=False)
    body, _, status = p.stdout.rpartition(b"\n")
    return status.decode(), body


class Site:
    """A folder by Python's HTTP server, with TLS if there is a certificate."""

    def __init__(self, folder, pair=None, handler=http.server.SimpleHTTPRequestHandler):
        handler = functools.partial(type("Quiet", (handler,), {"log_message": lambda *_: None}), directory=folder)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self.server.server_address[1]
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.both)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def folder(r, size=3 << 20):
    path = f"{r.tmp}/www"
    os.makedirs(path)
    with open(f"{path}/file", "wb") as f:
        f.write(os.urandom(size))
    return path


def content(path):
    with open(path, "rb") as f:
        return f.read()


@test
def with_curl(r):
    d, www = proxyd(r, *HERE, program="test/tunneld-strict"), folder(r)
    plain_site, secure = r.keep(Site(www)), r.keep(Site(www, LEAF))
    env = {**proxy_env(d), "CURL_CA_BUNDLE": CA.cert}
    want = content(f"{www}/file")
    r.check("http_proxy=... curl", curl(env, f"http://localhost:{plain_site.port}/file") == ("200", want))
    r.check("HTTPS_PROXY=... curl", curl(env, f"https://localhost:{secure.port}/file") == ("200", want))
    r.check("by an address", curl(env, f"https://127.0.0.1:{secure.port}/file") == ("200", want))
    r.equal("a status passes", curl(env, f"https://localhost:{secure.port}/none")[0], "404")
    p = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_connect}", f"https://10.0.0.1:{secure.port}/"], env=env, capture_output=True,
                       text=True, timeout=WAIT, check=False)
    r.equal("curl is told of what is denied", (p.returncode, p.stdout), (56, "403"))
    r.equal("and for plain HTTP", curl(env, "http://10.0.0.1/")[0], "403")


def run(r, what, *argv, cwd=None, env=None):
    p = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=3 * WAIT, check=False)
    return r.check(what, p.returncode == 0, (p.stdout + p.stderr)[-1500:])


@test
def with_git(r):
    if not shutil.which("git"):
        print("SKIP git is not here")
        return
    d, work = proxyd(r, *HERE, "--access-log", "stderr"), f"{r.tmp}/work"
    os.makedirs(work)
    env = {**proxy_env(d), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_SSL_CAINFO": CA.cert,
           **{f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}}
    with open(f"{work}/file", "wb") as f:
        f.write(os.urandom(1 << 20))
    for argv in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "first"), ("clone", "-q", "--bare", ".", f"{r.tmp}/www/repo.git")):
        run(r, f"git {argv[0]}", "git", *argv, cwd=work, env=env)
    run(r, "git update-server-info", "git", "update-server-info", cwd=f"{r.tmp}/www/repo.git", env=env)
    for scheme, site in (("http", r.keep(Site(f"{r.tmp}/www"))), ("https", r.keep(Site(f"{r.tmp}/www", LEAF)))):
        if run(r, f"git clone {scheme}://", "git", "clone", "-q", f"{scheme}://localhost:{site.port}/repo.git", f"{r.tmp}/{scheme}", env=env):
            r.check("and what came", content(f"{r.tmp}/{scheme}/file") == content(f"{work}/file"))
    r.check("by way of the proxy", d.logged(r'"CONNECT localhost:\d+ HTTP/1\.1" 200') > 0 and d.logged(r'"GET http://localhost:\d+/repo\.git/') > 0)


@test
def with_npm(r):
    if not shutil.which("npm"):
        print("SKIP npm is not here")
        return
    d, package, www = proxyd(r, *HERE, "--access-log", "stderr"), f"{r.tmp}/package", f"{r.tmp}/www"
    for path in (package, www, f"{r.tmp}/app"):
        os.makedirs(path)
    with open(f"{package}/package.json", "w", encoding="ascii") as f:
        json.dump({"name": "small", "version": "1.0.0", "main": "index.js"}, f)
    with open(f"{package}/index.js", "w", encoding="ascii") as f:
        f.write("module.exports = 7;\n")
    subprocess.run(["tar", "-czf", f"{www}/small-1.0.0.tgz", "-C", r.tmp, "package"], check=True, timeout=WAIT)
    for scheme, pair in (("http", None), ("https", LEAF)):
        site = r.keep(Site(www, pair))
        with open(f"{www}/small", "w", encoding="ascii") as f:     # what a registry says of a package
            json.dump({"name": "small", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": "small", "version": "1.0.0", "dist": {
                "tarball": f"{scheme}://localhost:{site.port}/small-1.0.0.tgz",
                "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content(f"{www}/small-1.0.0.tgz")).digest()).decode()}}}}, f)
        env = {**proxy_env(d), "npm_config_cache": f"{r.tmp}/cache-{scheme}", "npm_config_cafile": CA.cert, "npm_config_update_notifier": "false",
               "npm_config_audit": "false", "npm_config_fund": "false", "npm_config_fetch_retries": "0", "npm_config_noproxy": ""}
        app = f"{r.tmp}/app/{scheme}"
        os.makedirs(app)
        run(r, f"npm install from {scheme}://", "npm", "install", "--no-save", "--registry", f"{scheme}://localhost:{site.port}/", "small", cwd=app, env=env)
        run(r, "and what came works", "node", "-e", "process.exit(require('small') === 7 ? 0 : 1)", cwd=app, env=env)
        r.check("by way of the proxy", d.logged(f"localhost:{site.port}") > 0)


# ---- registered domains --------------------------------------------------------------------------

def go(r, d, *forwards, more=()):
    """vtunnel's client, with these domains; ready when they are answered."""
    p = r.spawn(PYTHON, f"{PEER}/vtgo.py", "client", f"ws://127.0.0.1:{d.port}/", "--wait-factor", "0.05", "--key", PRIV,
                *(a for f in forwards for a in ("--forward", f)), *more)
    p.event(event="up")
    return p


def mapped(r, *args, **more):
    return proxyd(r, "--vtunnel-key", PUB, *args, scope=None, **more)


@test
def domains(r):
    """V9 and V10, and who answers for what."""
    if not SSH:
        return
    d, t, e = mapped(r, "--access-log", "stderr"), r.origin(), plain(r)
    go(r, d, f"myapi.local={t.target}", f"*.wild.test:7={e.target}", f"gitlab.example.com:443={e.target}",
       more=("--header", "Authorization: Bearer t0ken", "--header", "Host: another.test", "--header", "X-Two: a"))
    res = get(d, "myapi.local", "/echo", "Authorization: Basic mine\r\nX-Keep: 1\r\n")
    fields = [(n.lower(), v) for n, v in res.json()["headers"]]
    r.equal("V9: plain HTTP, with the fields that were registered", (res.status, [f for f in fields if f[0] != "via"]),
            (200, [("host", "myapi.local"), ("x-keep", "1"), ("authorization", "Bearer t0ken"), ("x-two", "a"), ("connection", "close")]))
    r.equal("in any case, with its port", get(d, "MyApi.Local.:80", "/echo").status, 200)
    c = connected(r, d, "myapi.local:443", b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
    r.check("V9: CONNECT, bytes as they are", "t0ken" not in str(c.response().json()["headers"]))
    with Caller(d.proxy_port) as c:
        for i in range(3):
            c.send(f"POST http://myapi.local/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {70000 * i}\r\n\r\n".encode() + b"x" * 70000 * i)
            r.equal("requests on one connection", c.response().json().get("body_length"), 70000 * i)
    for target in ("gitlab.example.com:443", "GITLAB.example.com.:443", "gitlab.example.com", "a.wild.test:7", "b.A.Wild.Test:7"):
        c = connected(r, d, target, b"x")
        r.equal(f"V10: {target}", (c.established, c.exactly(1)), (ESTABLISHED, b"x"))
        c.close()
    for target in ("wild.test:7", "a.wild.test:8", "xwild.test:7", "gitlab.example.com:80", "myapi.local:8080"):
        r.equal(f"{target} is none", status_of(r, d, target)[0], 403)
    d.log(r'"GET http://myapi\.local/echo HTTP/1\.1" 200 \d+ "-" "-" tcp:\d+ ')
    d.log(r'"CONNECT gitlab\.example\.com:443 HTTP/1\.1" 200 1 "-" "-" tcp:\d+ ')


@test
def one_port_apart(r):
    """A domain, and one of its ports elsewhere: each has a port of its own, and keeps it."""
    if not SSH:
        return
    d, rest, http = mapped(r), plain(r), r.service(OK)
    p = go(r, d, f"both.test={rest.target}", f"both.test:80={http.target}")
    for what in ("at first", "and when it has come back"):
        r.equal(f"{what}: the one port", get(d, "both.test").status, 200)
        c = connected(r, d, "both.test:443", b"x")
        r.equal(f"{what}: the other", (c.established, c.exactly(1)), (ESTABLISHED, b"x"))
        ports = {e["port"] for e in p.seen(event="listening")}
        r.equal(f"{what}: two ports", len(ports), 2)
        c.close()
        ups = len(p.seen(event="up"))
        p.kill(signal.SIGUSR2)      # cuts its connection, and comes again
        r.until("it is back", lambda n=ups: len(p.seen(event="up")) > n)


@test
def away(r):
    """A client that is away, and its services."""
    if not SSH:
        return
    d, t = mapped(r, *HERE, "--grace", "1", "--timeout", "2"), plain(r)
    p = go(r, d, f"echo.test={t.target}", f"dead.test=127.0.0.1:{dead_port()}", f"localhost:9={t.target}")
    r.equal("it is here", connected(r, d, "echo.test:443").established, ESTABLISHED)
    c = connect(r, d, "dead.test:443")
    r.check("a service that is not there", c.exactly(12) in (b"HTTP/1.1 502", b"HTTP/1.1 200") and c.over())     # Go's clients confirm before they dial
    r.equal("of plain HTTP", get(d, "dead.test").status, 502)
    r.equal("a domain that leads here, too, otherwise", connected(r, d, "localhost:9").established, ESTABLISHED)
    p.kill(signal.SIGSTOP)
    status, text = status_of(r, d, "echo.test:443")
    r.equal("one that is stopped", (status, text), (504, "504 no response in time"))
    p.kill(signal.SIGCONT)
    r.equal("and goes on", connected(r, d, "echo.test:443").established, ESTABLISHED)
    running = connected(r, d, "echo.test:443", b"x")
    running.exactly(1)
    p.kill()
    r.equal("one that has gone takes its connections with it", running.over(), "reset")
    for what in ("echo.test:443", "localhost:9"):
        status, text = status_of(r, d, what)
        r.equal(f"{what}: away, and not passed on", (status, text), (503, "503 the client that serves this domain is away"))
    r.equal("for plain HTTP", get(d, "echo.test").status, 503)
    r.equal("with when to come again", connect(r, d, "echo.test:443").response().get("retry-after"), "1")
    go(r, d, f"echo.test={t.target}")
    r.equal("back again", connected(r, d, "echo.test:443").established, ESTABLISHED)


@test
def comes_back(r):
    if not SSH:
        return
    d, t = mapped(r, "--grace", "15"), plain(r)
    p = go(r, d, f"echo.test={t.target}", more=("--wait-factor", "1"))
    p.kill(signal.SIGUSR2)      # cuts its connection, and comes again
    d.log("event=session_end")
    leaves = connect(r, d, "echo.test:443")
    waits = connect(r, d, "echo.test:443", b"x")
    leaves.reset()
    r.equal("whoever comes in its grace period waits", waits.exactly(len(ESTABLISHED) + 1), ESTABLISHED + b"x")


@test
def not_anothers(r):
    """A port may be another's by now, a domain is not."""
    if not SSH:
        return
    d, t = proxyd(r, "--vtunnel-key", PUB, *HERE, "--grace", "0"), r.service(OK)
    p = go(r, d, f"mine.test={t.target}")
    port = p.event(event="listening")["port"]
    r.equal("the domain's client", get(d, "mine.test").status, 200)
    p.kill()
    d.log("event=session_end")
    r.client(d, None, "--kind", "tcp", "--port", str(port), "--target", t.target)
    with Caller(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") as c:
        r.equal("another credential has its port", c.response().status, 200)
    for _ in range(2):
        r.equal("which does not get the domain's callers", get(d, "mine.test").status, 503)
    r.equal("nor its CONNECTs", status_of(r, d, "mine.test:443")[0], 503)
    r.equal("and no request", len(t.heads), 2)


@test
def ends_mapped(r):
    """A Go program ends a channel both ways at once."""
    if not SSH:
        return
    d, data = mapped(r, "--half-close", "1", "--access-log", "stderr"), os.urandom(60000)

    def close_early(conn):
        conn.exactly(1)
        conn.send(data)

    def late(conn):
        conn.exactly(1)
        time.sleep(0.3)
        conn.send(b"late")
        conn.over()

    early, slow = plain(r, close_early), plain(r, late)
    p = go(r, d, f"early.test={early.target}", f"late.test={slow.target}")
    c = connected(r, d, "early.test:443", b"x")
    p.event(event="closed")
    c.send(b"y" * 300000)       # which nobody takes
    d.log('"CONNECT early.test:443 HTTP/1.1" 200 60000 ')
    r.equal("what the server sent before it closed, all of it, and its end", (c.exactly(len(data)) == data, c.over()), (True, "fin"))
    c = connected(r, d, "late.test:443", b"x")
    c.half_close()
    r.equal("an answer to whoever has ended its direction", c.exactly(4), b"late")
    r.equal("and the end, when nothing more comes", c.over(), "fin")


@test
def many_mapped(r):
    if not SSH:
        return
    d, t = mapped(r, "--half-close", "15", "--timeout", "300"), plain(r)
    go(r, d, f"echo.test={t.target}")
    data = os.urandom(200000)
    got = in_parallel([lambda i=i: whole(d, "echo.test", data[i:]) for i in range(MANY)], WAIT * 5)
    r.equal(f"{MANY} at once through a client, each byte-exact", [g for g in got if g is not True], [])


@test
def one_after_the_other(r):
    """Who closes has ended one direction, as far as anybody knows: he must not keep a stream of the session from the next for seconds."""
    if not SSH:
        return
    d, t = mapped(r, "--streams", "16"), plain(r)
    go(r, d, f"echo.test={t.target}")
    served = 0
    for _ in range(100):
        with Caller(d.proxy_port, "CONNECT echo.test HTTP/1.1\r\nHost: x\r\n\r\n") as c:
            served += c.exactly(len(ESTABLISHED)) == ESTABLISHED and not c.send(b"ping") and c.exactly(4) == b"ping"
    r.equal("who come and go one after the other", served, 100)


@test
def mapped_tls(r):
    """HTTPS end to end through a client's tunnel, by curl and git's library."""
    if not SSH:
        return
    d, www = mapped(r, program="test/tunneld-strict"), folder(r, 1 << 20)
    secure, bare = r.keep(Site(www, LEAF)), r.keep(Site(www))
    go(r, d, f"myapi.local:443=127.0.0.1:{secure.port}", f"myapi.local:80=127.0.0.1:{bare.port}")
    env = {**proxy_env(d), "CURL_CA_BUNDLE": CA.cert}
    want = content(f"{www}/file")
    r.check("https://", curl(env, "https://myapi.local/file") == ("200", want))
    r.check("http://", curl(env, "http://myapi.local/file") == ("200", want))
    r.equal("what is not registered", curl(env, "https://other.local/")[0], "000")


main()
