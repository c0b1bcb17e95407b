"""The public side: statuses, strictness, fields, framing, routing, callers that leave."""
import calendar
import email.utils
import os
import re
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import cpu, direct, parked, refused
from frames import FIN, RST, FrameClient
from rig import Caller, Miss, READY, SANITIZED, WAIT, main, serving, test
# pylint: enable=wrong-import-position

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST = "Host: a.localhost\r\n"
GET = f"GET / HTTP/1.1\r\n{HOST}\r\n".encode()


def upgrade(path, host="127.0.0.1", more=""):
    return (f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n")


def fields(res):
    """What the canned client says it got: name in lower case -> values."""
    got = {}
    for n, v in res.json().get("headers", []):
        got.setdefault(n.lower(), []).append(v)
    return got


def names(res):
    return [n for n, _ in res.json().get("headers", [])]


def streams(client):
    return len(client.seen(event="stream"))


def until(client, n):
    """The client has seen n streams; no fewer in time is a Miss."""
    client.wait_line(client.lines, lambda _: streams(client) >= n, f"stream number {n}")


def logged(r, d, what, res):
    """The request id of an error stands in the log, once."""
    rid = res.get("X-Request-Id") or "none"
    end = time.monotonic() + WAIT
    while not d.logged(f"id={rid}( |$)") and time.monotonic() < end:
        time.sleep(0.02)
    r.equal(f"{what}: log lines with its request id", d.logged(f"id={rid}( |$)"), 1)


# ---- heads -----------------------------------------------------------------

# what comes, without "Host: a.localhost" only where the row says so -> the status
BAD = [
    ("no version", f"GET /\r\n{HOST}\r\n", 400),
    ("HTTP/0.9 in full", f"GET / HTTP/0.9\r\n{HOST}\r\n", 505),
    ("HTTP/2.0", f"GET / HTTP/2.0\r\n{HOST}\r\n", 505),
    ("the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    ("http/1.1 in lower case", f"GET / http/1.1\r\n{HOST}\r\n", 400),
    ("HTTP/1.10", f"GET / HTTP/1.10\r\n{HOST}\r\n", 400),
    ("two blanks in the request line", f"GET  / HTTP/1.1\r\n{HOST}\r\n", 400),
    ("a blank inside the target", f"GET /a b HTTP/1.1\r\n{HOST}\r\n", 400),
    ("a tab for a blank", f"GET\t/ HTTP/1.1\r\n{HOST}\r\n", 400),
    ("a blank before the method", f" GET / HTTP/1.1\r\n{HOST}\r\n", 400),
    ("a method that is no token", f"G@T / HTTP/1.1\r\n{HOST}\r\n", 400),
    ("a fragment in the target", f"GET /a#b HTTP/1.1\r\n{HOST}\r\n", 400),
    ("a target that is no path", f"GET a HTTP/1.1\r\n{HOST}\r\n", 400),
    ("* without OPTIONS", f"GET * HTTP/1.1\r\n{HOST}\r\n", 400),
    ("CONNECT", "CONNECT a.localhost:443 HTTP/1.1\r\nHost: a.localhost:443\r\n\r\n", 400),
    ("absolute-form of another scheme", f"GET ftp://a.localhost/ HTTP/1.1\r\n{HOST}\r\n", 400),
    ("absolute-form with userinfo", f"GET http://u@a.localhost/ HTTP/1.1\r\n{HOST}\r\n", 400),
    ("TLS's first bytes", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("bare LF for every line", "GET / HTTP/1.1\nHost: a.localhost\n\n", 400),
    ("bare LF after a field", "GET / HTTP/1.1\r\nHost: a.localhost\nX: 1\r\n\r\n", 400),
    ("bare LF as the last line", "GET / HTTP/1.1\r\nHost: a.localhost\r\n\n", 400),
    ("bare CR in a value", f"GET / HTTP/1.1\r\n{HOST}X: 1\r2\r\n\r\n", 400),
    ("bare CR for every line", "GET / HTTP/1.1\rHost: a.localhost\r\r", 400),
    ("NUL in a value", f"GET / HTTP/1.1\r\n{HOST}X: 1\x002\r\n\r\n", 400),
    ("NUL in the target", f"GET /\x00 HTTP/1.1\r\n{HOST}\r\n", 400),
    ("a control byte in a value", f"GET / HTTP/1.1\r\n{HOST}X: \x01\r\n\r\n", 400),
    ("DEL in a value", f"GET / HTTP/1.1\r\n{HOST}X: \x7f\r\n\r\n", 400),
    ("obsolete folding", f"GET / HTTP/1.1\r\n{HOST}X: 1\r\n 2\r\n\r\n", 400),
    ("obsolete folding with a tab", f"GET / HTTP/1.1\r\n{HOST}X: 1\r\n\t2\r\n\r\n", 400),
    ("a first field that is folded", "GET / HTTP/1.1\r\n Host: a.localhost\r\n\r\n", 400),
    ("a space before the colon", f"GET / HTTP/1.1\r\n{HOST}X : 1\r\n\r\n", 400),
    ("a tab before the colon", f"GET / HTTP/1.1\r\n{HOST}X\t: 1\r\n\r\n", 400),
    ("no colon", f"GET / HTTP/1.1\r\n{HOST}X\r\n\r\n", 400),
    ("an empty field name", f"GET / HTTP/1.1\r\n{HOST}: 1\r\n\r\n", 400),
    ("a field name that is no token", f"GET / HTTP/1.1\r\n{HOST}X(y): 1\r\n\r\n", 400),
    ("a field name with a high byte", f"GET / HTTP/1.1\r\n{HOST}X\xe9: 1\r\n\r\n", 400),
    ("no Host", "GET / HTTP/1.1\r\nX: 1\r\n\r\n", 400),
    ("two Hosts", f"GET / HTTP/1.1\r\n{HOST}Host: b.localhost\r\n\r\n", 400),
    ("two equal Hosts", f"GET / HTTP/1.1\r\n{HOST}{HOST}\r\n", 400),
    ("a list in Host", "GET / HTTP/1.1\r\nHost: a.localhost, b.localhost\r\n\r\n", 400),
    ("Host with a path", "GET / HTTP/1.1\r\nHost: a.localhost/x\r\n\r\n", 400),
    ("Host with userinfo", "GET / HTTP/1.1\r\nHost: x@a.localhost\r\n\r\n", 400),
    ("Host with a port that is none", "GET / HTTP/1.1\r\nHost: a.localhost:80x\r\n\r\n", 400),
    ("three empty lines first", f"\r\n\r\n\r\nGET / HTTP/1.1\r\n{HOST}\r\n", 400),
    # framing, and what smuggling lives on
    ("Content-Length and chunked", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked and Content-Length", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    ("lengths that differ", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
    ("lengths that differ in a list", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 4, 5\r\n\r\nabcde", 400),
    ("a signed length", f"POST / HTTP/1.1\r\n{HOST}Content-Length: +4\r\n\r\nabcd", 400),
    ("a negative length", f"POST / HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n", 400),
    ("a length in hexadecimal", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 0x4\r\n\r\nabcd", 400),
    ("a length with a blank inside", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 1 0\r\n\r\nabcd", 400),
    ("an empty length", f"POST / HTTP/1.1\r\n{HOST}Content-Length:\r\n\r\n", 400),
    ("a length beyond 64 bits", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 18446744073709551620\r\n\r\nabcd", 400),
    ("gzip, chunked", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("identity", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: identity\r\n\r\n", 501),
    ("xchunked", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("chunked before another coding", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", (400, 501)),
    ("chunked twice", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked in two fields", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked with an empty element", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400),
    ("chunked in quotes", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", (400, 501)),
    ("chunked with a parameter", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", (400, 501)),
    ("an empty coding", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding:\r\n\r\n", 400),
    ("chunked after a vertical tab", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked in HTTP/1.0", f"POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # sizes
    ("a target of 8193 bytes", f"GET /{'a' * 8192} HTTP/1.1\r\n{HOST}\r\n", 414),
    ("a target without end", f"GET /{'a' * 20000}", 414),
    ("a head of 32769 bytes", None, 431),
    ("a head without end", f"GET / HTTP/1.1\r\n{HOST}X: {'a' * 40000}", 431),
    ("a method without end", "G" * 40000, (400, 431, 501)),
    ("fields without end", f"GET / HTTP/1.1\r\n{HOST}" + "X: 1\r\n" * 500, 431),
    ("129 fields", f"GET / HTTP/1.1\r\n{HOST}" + "X: 1\r\n" * 128 + "\r\n", 431),
]


def sized(n):
    """A GET whose head is n bytes long."""
    start = f"GET / HTTP/1.1\r\n{HOST}"
    room = n - len(start) - 2
    text = start
    while room > 0:
        k = min(room, 4000) if room - min(room, 4000) not in range(1, 8) else room - 100
        text += "X-Fill: " + "f" * (k - 10) + "\r\n"
        room -= k
    assert len(text) + 2 == n
    return text + "\r\n"


@test
def heads_refused(r):
    d = r.daemon()
    n = r.client(d, "a")
    smuggled = f"GET /smuggled HTTP/1.1\r\n{HOST}\r\n"
    for what, data, want in BAD:
        c = r.caller(d)
        try:
            c.send((sized(32769) if data is None else data) + (smuggled if "without end" not in what else ""))
        except ConnectionError:
            pass        # answered before it was all there
        res = c.response()
        r.check(f"{what}: {want}", res.status in (want if isinstance(want, tuple) else (want,)), res)
        r.equal(f"{what}: Connection: close", res.get("Connection"), "close")
        r.check(f"{what}: nothing more is served", c.over() in ("fin", "reset"), c.buf)
        logged(r, d, what, res)
    r.equal("none of them reaches the client", streams(n), 0)


@test
def heads_taken(r):
    d = r.daemon()
    n = r.client(d, "a")
    rows = [
        ("a head of 32768 bytes", sized(32768)),
        ("a target of 8192 bytes", f"GET /{'a' * 8191} HTTP/1.1\r\n{HOST}\r\n"),
        ("128 fields", f"GET / HTTP/1.1\r\n{HOST}" + "X: 1\r\n" * 127 + "\r\n"),
        ("two empty lines first", f"\r\n\r\nGET / HTTP/1.1\r\n{HOST}\r\n"),
        ("equal lengths", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
        ("equal lengths in a list", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 2, 2\r\n\r\nok"),
        ("an upper-case Host", "GET / HTTP/1.1\r\nHost: A.LocalHost\r\n\r\n"),
        ("a Host with a port", "GET / HTTP/1.1\r\nHost: a.localhost:8080\r\n\r\n"),
        ("a Host with its final dot", "GET / HTTP/1.1\r\nHost: a.localhost.\r\n\r\n"),
        ("HTTP/1.2", f"GET / HTTP/1.2\r\n{HOST}\r\n"),
        ("a strange method", f"M-SEARCH!~ / HTTP/1.1\r\n{HOST}\r\n"),
        ("high bytes in a value", f"GET / HTTP/1.1\r\n{HOST}X: \xe9\xff\r\n\r\n"),
        ("bytes that need no escape in a target", f"GET /a%00%2f//..;a=b?x=%zz&'\"<>{{}} HTTP/1.1\r\n{HOST}\r\n"),
        ("absolute-form", "GET http://a.localhost/x?y HTTP/1.1\r\nHost: other.example\r\n\r\n"),
        ("absolute-form without a path", "GET http://a.localhost HTTP/1.1\r\nHost: a.localhost\r\n\r\n"),
        ("an empty field value", f"GET / HTTP/1.1\r\n{HOST}X-Empty:\r\n\r\n"),
    ]
    for what, data in rows:
        res = r.ask(d, data)
        r.equal(what, res.status, 200)
        if "sent" in what or "target" in what:
            r.equal(f"{what}: untouched", res.json().get("request_line", " ").split(" ")[1], data.split(" ")[1])
        if what.startswith("equal"):
            r.equal(f"{what}: said once", fields(res).get("content-length"), ["2"])
        if what == "absolute-form":
            r.equal("absolute-form: its authority is the Host", fields(res).get("host"), ["a.localhost"])
            r.has("absolute-form: origin-form goes on", "^GET /x[?]y HTTP/1.1$", res.json().get("request_line", ""))
    res = r.ask(d, sized(32768))
    r.equal("a big head comes through whole", sum(len(v) for v in fields(res).get("x-fill", [])),
            sum(len(l) - 8 for l in sized(32768).split("\r\n") if l.startswith("X-Fill")))
    c = r.caller(d)
    for byte in GET:
        c.send(bytes([byte]))
    r.equal("a head byte by byte", c.response().status, 200)
    until(n, len(rows) + 2)
    r.equal("all of them reach the client, once", streams(n), len(rows) + 2)


@test
def error_bodies(r):
    d = r.daemon()
    for what, accept, kind in (
            ("text", "", "text/plain"), ("text", "Accept: */*\r\n", "text/plain"),
            ("text", "Accept: text/html\r\n", "text/plain"), ("JSON", "Accept: application/json\r\n", "application/json"),
            ("JSON", "Accept: text/html, application/json;q=0.9\r\n", "application/json")):
        res = r.get(d, "a.localhost", fields=accept)
        rid = res.get("X-Request-Id") or "none"
        r.equal(f"503 as {what}", res.status, 503)
        r.equal(f"{accept}: its type", (res.get("Content-Type") or "").split(";")[0], kind)
        r.check(f"{accept}: one line", res.body.count(b"\n") == 1 and res.body.endswith(b"\n"), res.body)
        if kind == "text/plain":
            r.check("text names the request id and the status", rid.encode() in res.body and b"503" in res.body, res.body)
        else:
            obj = res.json()
            r.check("JSON names the request id and the status",
                    obj.get("request_id") == rid and obj.get("status") == 503 and isinstance(obj.get("error"), str), obj)
        logged(r, d, f"503, nobody holds the name, {accept[:-2]}", res)
        r.check("not for nosy caches", (res.get("Cache-Control") or "") == "no-store")
    ids = {r.get(d, "a.localhost").get("X-Request-Id") for _ in range(20)}
    r.equal("every request has an id of its own", len(ids), 20)
    c = r.caller(d, f"HEAD / HTTP/1.1\r\n{HOST}\r\n" + f"GET / HTTP/1.1\r\n{HOST}\r\n")
    res = c.response("HEAD")
    r.check("an error to HEAD has no content", res.status == 503 and int(res.get("Content-Length") or 0) > 0, res)
    r.equal("the connection is good for the next request", c.response().status, 503)
    res = r.get(d, "a.localhost", fields="X-Request-Id: stolen\r\n")
    r.check("a caller cannot choose its id", res.get("X-Request-Id") != "stolen")
    res = r.get(d, "x\"y.localhost", fields="Accept: application/json\r\n")
    r.equal("no Host can break out", res.status, 400)


@test
def routing(r):
    d = r.daemon()
    a, up = r.client(d, "a"), upgrade
    custom = r.client(d, "www.shop.example")
    path = r.client(d, "p", "--path")

    def to(client, host, target="/", more=""):
        before = streams(client)
        res = r.get(d, host, target, more)
        if res.status == 200:
            until(client, before + 1)
        return res
    r.check("<name>.localhost", to(a, "a.localhost").status)
    r.check("<name>.tunnel.<anything>", to(a, "a.tunnel.example.org").status)
    r.check("<name>.tunnel.localhost:port", to(a, f"a.tunnel.localhost:{d.port}").status)
    r.check("custom domain", to(custom, "www.shop.example").status)
    r.check("custom domain, upper case and port", to(custom, "WWW.Shop.Example:80").status)
    r.equal("a name nobody holds", r.get(d, "b.localhost").status, 503)
    r.equal("its Retry-After", (r.get(d, "b.localhost").get("Retry-After") or "").isdigit(), True)
    r.equal("a domain nobody holds", r.get(d, "nobody.example").status, 200)      # the landing page
    r.equal("a sub-label of a name", r.get(d, "x.a.localhost").status, 200)
    for target in ("/health", "/healthz", "/_bifrost/ping", "/p/x", "/_tunnel"):
        r.check(f"Host wins over {target}", to(a, "a.localhost", target).json().get("request_line") == f"GET {target} HTTP/1.1")
    res = r.ask(d, up("/_tunnel", "a.localhost"))
    r.equal("Host wins over an upgrade of /_tunnel", res.status, 200)
    # endpoints
    for target in ("/health", "/healthz"):
        res = r.get(d, "127.0.0.1", target)
        r.check(f"{target}", res.status == 200 and res.body == b"ok\n", res)
        r.equal(f"{target} CORS", res.get("Access-Control-Allow-Origin"), "*")
        res = r.get(d, "127.0.0.1", target, method="OPTIONS")
        r.check(f"OPTIONS {target}", res.status == 204 and res.get("Access-Control-Allow-Methods"), res)
        res = r.get(d, "127.0.0.1", target, method="HEAD")
        r.check(f"HEAD {target}", res.status == 200 and res.get("Content-Length") == "3", res)
    r.equal("/health?x", r.get(d, "127.0.0.1", "/health?x").status, 200)
    r.equal("POST /health is no endpoint", r.get(d, "127.0.0.1", "/health", method="POST").status, 503)
    res = r.ask(d, up("/relay"))
    r.equal("upgrade of /relay is off", res.status, 404)
    logged(r, d, "404, /relay is off", res)
    res = r.ask(d, up("/tunnel"))
    r.equal("upgrade of /tunnel is for whoever has a credential", (res.status, res.body), (401, b"unauthorized\n"))
    res = r.get(d, "127.0.0.1", "/_bifrost/ping")
    r.equal("/_bifrost/ping", (res.status, res.body), (200, b"ok"))
    for target in ("/relay", "/tunnel", "/_tunnel", "/_tunnel/a", "/nothing", "/b/x"):
        res = r.get(d, "127.0.0.1", target)
        r.equal(f"{target} without upgrade is nobody's", res.status, 503)
        r.equal(f"{target}: no CORS", res.get("Access-Control-Allow-Origin"), None)
    r.equal("/_tunnel without upgrade: OPTIONS", r.get(d, "127.0.0.1", "/_tunnel", method="OPTIONS").status, 503)
    # the page
    res = r.get(d, "127.0.0.1", "/")
    r.check("GET / is a short page", res.status == 200 and b"tunneld" in res.body and len(res.body) < 2000, res)
    res = r.get(d, "127.0.0.1", "/", method="HEAD")
    r.check("HEAD / too", res.status == 200 and int(res.get("Content-Length")) > 0, res)
    r.equal("POST / is not", r.get(d, "127.0.0.1", "/", method="POST").status, 503)
    r.equal("an upgrade of / is not", r.ask(d, up("/?token=abc", more="Sec-WebSocket-Protocol: vite-hmr\r\n")).status, 503)
    # path tunnels
    for target, want in (("/p", "/"), ("/p/", "/"), ("/p/x/y?z=1", "/x/y?z=1"), ("/p?q", "/?q"), ("/p//x", "//x"), ("/p/%2e%2e/", "/%2e%2e/")):
        res = to(path, "127.0.0.1", target)
        r.equal(f"path tunnel: {target}", res.json().get("request_line"), f"GET {want} HTTP/1.1")
        r.equal(f"path tunnel: {target}: prefix", fields(res).get("x-forwarded-prefix"), ["/p"])
    res = to(path, "p.localhost", "/p/x")
    r.equal("by its name nothing is stripped", res.json().get("request_line"), "GET /p/x HTTP/1.1")
    r.equal("by its name there is no prefix", fields(res).get("x-forwarded-prefix"), None)
    r.equal("a longer segment is another name", r.get(d, "127.0.0.1", "/px/").status, 503)
    r.equal("a tunnel without path is not found by it", r.get(d, "127.0.0.1", "/a/").status, 503)
    long = "/p?" + "q" * 8189
    r.check("a target of 8 KiB under a prefix", to(path, "127.0.0.1", long).status, 200)
    # default
    fallback = r.client(d, "default")
    for host, target in (("127.0.0.1", "/"), ("nobody.example", "/x"), ("localhost", "/_tunnel"), ("[::1]", "/"), ("", "/")):
        r.check(f"default: {host}{target}", to(fallback, host, target).status)
    r.check("default by its name", to(fallback, "default.localhost").status)
    r.check("the path tunnel comes first", to(path, "127.0.0.1", "/p/").status)
    r.equal("so does /health", r.get(d, "127.0.0.1", "/health").body, b"ok\n")
    r.equal("an endpoint that is off stays off", r.ask(d, up("/relay")).status, 404)
    r.equal("a name nobody holds stays 503", r.get(d, "b.localhost").status, 503)
    res = r.ask(d, up("/?token=abc", more="Sec-WebSocket-Protocol: vite-hmr\r\n"))
    r.check("a hot-reload socket goes to default", fields(res).get("sec-websocket-protocol") == ["vite-hmr"], res)
    res = r.ask(d, "GET / HTTP/1.0\r\n\r\n")
    r.equal("HTTP/1.0 without Host goes to default", res.status, 200)


@test
def routing_domain(r):
    d = r.daemon("--domain", "t.example.com")
    a = r.client(d, "a")
    r.client(d, "shop.example")
    r.equal("name.domain", r.get(d, "a.t.example.com").status, 200)
    r.equal("NAME.Domain:port", r.get(d, "A.T.example.COM:99").status, 200)
    r.equal("the custom domain", r.get(d, "shop.example").status, 200)
    r.equal("a name nobody holds", r.get(d, "b.t.example.com").status, 503)
    for host in ("a.localhost", "a.example.com", "x.a.t.example.com", "t.example.com"):
        r.check(f"{host} is the base", r.get(d, host).body.startswith(b"<!DOCTYPE html>\n<title>tunneld</title>"))
    r.equal("<name>.tunnel. is for bifrost's clients then", r.get(d, "a.tunnel.localhost").status, 503)
    r.equal("health on the base domain", r.get(d, "t.example.com", "/health").status, 200)
    until(a, 2)
    r.equal("one stream for each", streams(a), 2)
    r.has("the URL told", r"^http://a\.t\.example\.com:\d+$", a.event(op="ready")["url"])


# ---- fields ----------------------------------------------------------------

@test
def fields_to_the_service(r):
    d = r.daemon()
    r.client(d, "a")
    res = r.get(d, fields="X-One: 1\r\nCookie: a=1\r\nX-Two: 2\r\nCookie: b=2\r\nx-one: 3\r\nX-Obs: a, b,,c \r\n")
    got = [(n, v) for n, v in res.json()["headers"] if n in ("X-One", "x-one", "X-Two", "Cookie", "X-Obs")]
    r.equal("duplicates in order, as they were written", got,
            [("X-One", "1"), ("Cookie", "a=1"), ("X-Two", "2"), ("Cookie", "b=2"), ("x-one", "3"), ("X-Obs", "a, b,,c")])
    res = r.get(d, fields="Connection: X-Private, keep-alive, X-Other\r\nX-Private: 1\r\nx-other: 2\r\nX-Public: 3\r\n"
                "Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nProxy-Authorization: Basic eDp5\r\nTE: gzip\r\n"
                "Authorization: Bearer mine\r\nUpgrade: foo\r\nProxy-Authenticate: x\r\n")
    got = fields(res)
    r.equal("hop-by-hop fields are removed", [n for n in ("connection", "x-private", "x-other", "keep-alive", "proxy-connection",
            "proxy-authorization", "proxy-authenticate", "te", "upgrade") if n in got], [])
    r.equal("the others stay", (got.get("x-public"), got.get("authorization")), (["3"], ["Bearer mine"]))
    r.check("one Host, and it comes first", names(res)[0] == "Host" and got["host"] == ["a.localhost"], names(res))
    res = r.get(d, fields="Connection: Host, Content-Length, X-Forwarded-For, Cookie\r\nContent-Length: 2\r\nCookie: x\r\n",
                method="POST", body=b"ok")
    got = fields(res)
    r.check("Connection cannot take Host, length or our claims away",
            "host" in got and res.json()["body_length"] == 2 and "x-forwarded-for" in got, got)
    res = r.get(d, fields="TE: trailers, deflate\r\nConnection: TE\r\n")
    r.equal("TE: trailers goes on as exactly that", fields(res).get("te"), ["trailers"])
    # upgrades
    for what, text, want in (
            ("one protocol", "Upgrade: foo/2\r\nConnection: upgrade\r\n", (["foo/2"], ["Upgrade"])),
            ("the first of several", "Upgrade: foo, bar\r\nConnection: keep-alive, Upgrade\r\n", (["foo"], ["Upgrade"])),
            ("h2c is dropped", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n", (None, None)),
            ("not named by Connection", "Upgrade: foo\r\n", (None, None)),
            ("no token", "Upgrade: f o\r\nConnection: Upgrade\r\n", (None, None))):
        got = fields(r.get(d, fields=text))
        r.equal(f"Upgrade: {what}", (got.get("upgrade"), got.get("connection")), want)
        r.equal(f"Upgrade: {what}: no HTTP2-Settings", got.get("http2-settings"), None)
    got = fields(r.ask(d, f"GET / HTTP/1.0\r\n{HOST}Upgrade: foo\r\nConnection: Upgrade\r\n\r\n"))
    r.equal("no Upgrade in HTTP/1.0", (got.get("upgrade"), got.get("connection")), (None, None))


@test
def forwarded_fields(r):
    claims = ("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n"
              "X-Real-IP: 203.0.113.9\r\nX-Request-Id: chosen-1\r\nForwarded: for=203.0.113.9\r\n"
              "X_Forwarded_For: 203.0.113.9\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\n")
    d = r.daemon()
    r.client(d, "a")
    res = r.get(d, "a.localhost:7", fields=claims)
    got = fields(res)
    r.equal("X-Forwarded-For is the peer", got.get("x-forwarded-for"), ["127.0.0.1"])
    r.equal("X-Real-IP is the peer", got.get("x-real-ip"), ["127.0.0.1"])
    r.equal("X-Forwarded-Proto", got.get("x-forwarded-proto"), ["http"])
    r.equal("X-Forwarded-Host is Host as it came", got.get("x-forwarded-host"), ["a.localhost:7"])
    r.equal("Host too", got.get("host"), ["a.localhost:7"])
    r.equal("X-Request-Id is ours, and the caller's to see", got.get("x-request-id"), [res.get("X-Request-Id")])
    r.equal("no claim of the caller passes", [n for n in ("forwarded", "x_forwarded_for", "x-forwarded-prefix", "x-forwarded-port")
                                              if n in got], [])
    for trust in ("127.0.0.1", "127.0.0.0/8"):
        d = r.daemon("--trust", trust, "--trust", "2001:db8::/32", name="trust" + trust[-1])
        r.client(d, "a")
        res = r.get(d, fields=claims)
        got = fields(res)
        r.equal(f"--trust {trust}: X-Forwarded-For grows", got.get("x-forwarded-for"), ["203.0.113.9, 198.51.100.1, 127.0.0.1"])
        r.equal("trusted: proto, host, address", [got.get(n) for n in ("x-forwarded-proto", "x-forwarded-host", "x-real-ip")],
                [["https"], ["evil.example"], ["203.0.113.9"]])
        r.equal("trusted: the request id is kept, both ways", (got.get("x-request-id"), res.get("X-Request-Id")), (["chosen-1"], "chosen-1"))
        r.equal("another spelling is nobody's", got.get("x_forwarded_for"), None)
    res = r.get(d, "b.localhost", fields="X-Request-Id: chosen-2\r\n")
    r.check("trusted: an error names that id", b"chosen-2" in res.body, res)
    d = r.daemon("--trust", "10.0.0.0/8", name="far")
    r.client(d, "a")
    r.equal("another network is not trusted", fields(r.get(d, fields=claims)).get("x-forwarded-for"), ["127.0.0.1"])


@test
def fields_to_the_caller(r):
    d = r.daemon()
    o = r.origin()
    r.client(d, "a", "--target", o.target)
    res = r.get(d, path="/dup")
    got = [(n, v) for n, v in res.fields if n in ("Set-Cookie", "set-cookie", "X-Between", "Link")]
    r.equal("duplicates in order, as they were written", got, [("Set-Cookie", "a=1"), ("X-Between", "1"), ("Set-Cookie", "b=2; Path=/"),
            ("set-cookie", "a=3"), ("Link", "</1>"), ("Link", "</2>")])
    r.check("the request id is told", res.get("X-Request-Id"))
    res = r.get(d, path="/hop")
    r.equal("hop-by-hop fields are removed", [n for n in ("X-Private", "Keep-Alive", "Proxy-Connection", "Connection") if res.all(n)], [])
    r.equal("the others stay", res.get("X-Public"), "kept")
    c = r.caller(d, f"GET /hop HTTP/1.1\r\n{HOST}\r\n" * 3)
    r.equal("a local Connection field is not the caller's", [c.response().status for _ in range(3)], [200] * 3)
    for code in (204, 304, 404, 500, 503):
        c = r.caller(d, f"GET /status?code={code} HTTP/1.1\r\n{HOST}\r\n{GET.decode()}")
        res = c.response()
        r.check(f"status {code}", res.status == code and res.body == (b"" if code in (204, 304) else b"status %d\n" % code), res)
        r.equal(f"after {code} the connection goes on", c.response().body, b"origin\n")


@test
def dates(r):
    """RFC 9110 section 6.6.1: on what the daemon says itself, and on what it passes on without one."""
    form = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT"
    d = r.daemon()
    given = {"/none": "", "/own": "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"}
    s = r.service(lambda conn, head: conn.send(f"HTTP/1.1 200 OK\r\n{given[head.split()[1]]}Content-Length: 0\r\nConnection: close\r\n\r\n"))
    r.client(d, "a", "--target", s.target)
    for what, host, path, status in (("an endpoint", "x", "/health", 200), ("the page", "x", "/", 200), ("an error", "no.localhost", "/", 503),
                                     ("a request that is none", "a b", "/", 400), ("a service without a clock", "a.localhost", "/none", 200)):
        before = int(time.time())
        res = r.get(d, host, path)
        after = time.time()
        date = (res.all("Date") or [""])[0]
        r.check(f"{what}: one Date", res.status == status and len(res.all("Date")) == 1 and re.fullmatch(form, date), res)
        r.check(f"{what}: which is now", before <= calendar.timegm(email.utils.parsedate(date)) <= after, (before, date, after))
    r.equal("a service's own is kept", r.get(d, "a.localhost", "/own").all("Date"), ["Sun, 06 Nov 1994 08:49:37 GMT"])


# ---- framing ---------------------------------------------------------------

@test
def bodies(r):
    d = r.daemon()
    o = r.origin()
    r.client(d, "a", "--target", o.target)
    n = r.client(d, "c")
    res = r.get(d, "c.localhost", method="POST", fields="Content-Length: 11\r\n", body=b"hello world")
    r.check("Content-Length to the service", fields(res).get("content-length") == ["11"] and res.json()["body_length"] == 11)
    res = r.get(d, "c.localhost", method="PUT", fields="Content-Length: 0\r\n")
    r.equal("an empty body says so", fields(res).get("content-length"), ["0"])
    r.equal("no body, no length", fields(r.get(d, "c.localhost", method="DELETE")).get("content-length"), None)
    c = r.caller(d, "POST / HTTP/1.1\r\nHost: c.localhost\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n")
    for byte in b"5;name=value\r\nhello\r\n000A;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 5\r\nX-More: yes\r\nHost: evil\r\nContent-Length: 7\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n":
        c.send(bytes([byte]))
    res = c.response()
    obj = res.json()
    r.check("chunks byte by byte", obj.get("chunked") and obj.get("body_length") == 15, res)
    r.equal("trailers, filtered like heads", obj.get("trailers"), ["X-Sum: 5", "X-More: yes"])
    r.equal("Trailer is kept", fields(res).get("trailer"), ["X-Sum"])
    res = r.get(d, path="/trailers")
    r.check("chunks and trailers to the caller", res.end == "chunked" and res.body == b"hello"
            and res.trailers == ["X-Sum: 5", "X-More: yes"] and res.get("Trailer"), (res, res.trailers))
    res = r.get(d, path="/bytes?n=300000&chunked=1&piece=1000")
    r.check("many chunks", res.end == "chunked" and len(res.body) == 300000, res.end)
    res = r.get(d, path="/bytes?n=300000&eof=1")
    r.check("a body to the end becomes chunks", res.end == "chunked" and len(res.body) == 300000, res)
    res = r.get(d, path="/http10")
    r.check("an HTTP/1.0 response", res.status == 200 and res.version == "HTTP/1.1" and res.body == b"old school\n", res)
    for path in ("/bytes?n=5", "/trailers", "/bytes?n=5&chunked=1"):
        c = r.caller(d, f"HEAD {path} HTTP/1.1\r\n{HOST}\r\n" + GET.decode())
        res = c.response("HEAD")
        r.check(f"HEAD {path}", res.status == 200 and res.get("Content-Length") == ("5" if path == "/bytes?n=5" else None), res)
        r.equal(f"HEAD {path}: the next response", c.response().body, b"origin\n")
    # broken chunks
    late = False
    for what, text in (("no size", "x\r\n"), ("a size too large", "1000000000000000\r\n"), ("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
                       ("bare LF behind the size", "5\nhello\r\n0\r\n\r\n"), ("no CRLF behind the data", "5\r\nhelloXX0\r\n\r\n"),
                       ("bare LF behind the data", "5\r\nhello\n0\r\n\r\n"), ("0x", "0x5\r\nhello\r\n0\r\n\r\n"),
                       ("a blank before the size", " 5\r\nhello\r\n0\r\n\r\n"), ("bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
                       ("an extension without end", "5;" + "a" * 5000), ("a folded trailer", "0\r\nX: 1\r\n 2\r\n\r\n"),
                       ("a trailer without a colon", "0\r\nX\r\n\r\n"), ("bare LF in the trailers", "0\r\nX: 1\nY: 2\r\n\r\n"),
                       ("trailers over 8 KiB", "0\r\n" + "X-T: " + "t" * 9000 + "\r\n\r\n")):
        before, late = streams(n), not late
        c = r.caller(d, "POST / HTTP/1.1\r\nHost: c.localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        if late:        # else it may never get to the client
            until(n, before + 1)
        c.send(f"{text}GET /smuggled HTTP/1.1\r\nHost: c.localhost\r\n\r\n")
        res = c.response()
        r.equal(f"chunks: {what}: 400", res.status, 400)
        r.check(f"chunks: {what}: the connection ends", c.over() in ("fin", "reset"), c.buf)
        logged(r, d, f"chunks: {what}", res)
        mine = [e for e in n.seen(event="stream") if e["peer"].endswith(f":{c.port}")]
        r.check(f"chunks: {what}: nothing is smuggled", len(mine) <= 1, mine)
    r.check("no smuggled request", not [l for l in n.lines if l and "/smuggled" in l])
    r.until("what came to the client is reset", lambda: len(n.seen(event="reset")) >= 7)


@test
def connections(r):
    d = r.daemon("--keep-alive", "400ms")
    n = r.client(d, "a")
    c = r.caller(d, "".join(f"GET /{i} HTTP/1.1\r\n{HOST}\r\n" for i in range(50)))
    got = [c.response().json()["request_line"] for _ in range(50)]
    r.equal("50 pipelined requests in order", got, [f"GET /{i} HTTP/1.1" for i in range(50)])
    started = time.monotonic()
    c = r.caller(d, f"POST /1 HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhelloPOST /2 HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
                 f"3\r\nabc\r\n0\r\n\r\nGET /3 HTTP/1.1\r\n{HOST}\r\n")
    got = [(o["request_line"][:7], o["body_length"]) for o in (c.response().json() for _ in range(3))]
    r.equal("pipelined requests with content", got, [("POST /1", 5), ("POST /2", 3), ("GET /3 ", 0)])
    r.equal("an idle connection is closed", c.over(), "fin")
    r.check("after --keep-alive", 0.3 < time.monotonic() - started < 30, time.monotonic() - started)
    for what, text, kept in (
            ("HTTP/1.1", "HTTP/1.1\r\n", True), ("HTTP/1.1 with close", "HTTP/1.1\r\nConnection: close\r\n", False),
            ("HTTP/1.1 with Close among others", "HTTP/1.1\r\nConnection: x, Close\r\n", False),
            ("HTTP/1.0", "HTTP/1.0\r\n", False), ("HTTP/1.0 with keep-alive", "HTTP/1.0\r\nConnection: Keep-Alive\r\n", True)):
        c = r.caller(d, f"GET /1 {text}{HOST}\r\nGET /2 {text}{HOST}\r\n")
        one, two = c.response(), c.response()
        r.equal(f"{what}: answered", one.status, 200)
        r.equal(f"{what}: kept", two.status == 200, kept)
        r.equal(f"{what}: says so", one.get("Connection"), None if what == "HTTP/1.1" else "keep-alive" if kept else "close")
    r.check("the version is our own", one.version == "HTTP/1.1")
    c = r.caller(d, f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n")
    res = c.response()
    r.equal("OPTIONS * goes to the tunnel", res.json().get("request_line"), "OPTIONS * HTTP/1.1")
    r.equal("no CORS of ours", res.get("Access-Control-Allow-Origin"), None)
    r.equal("an error of ours keeps the connection", [x.status for c in [r.caller(d, f"GET / HTTP/1.1\r\nHost: b.localhost\r\n\r\n{GET.decode()}")]
                                                     for x in (c.response(), c.response())], [503, 200])
    c = r.caller(d, f"POST / HTTP/1.1\r\nHost: b.localhost\r\nContent-Length: 30\r\n\r\nGET /x HTTP/1.1\r\n{HOST}\r\n")
    res = c.response()
    r.check("an error while content is unread closes", res.status == 503 and res.get("Connection") == "close", res)
    r.check("and serves nothing more", c.over() in ("fin", "reset"))
    r.check("nothing of it was taken for a request", not [l for l in n.lines if l and '"/x' in l])


@test
def old_callers(r):
    d = r.daemon()
    o = r.origin()
    r.client(d, "a", "--target", o.target)
    for path, size, how in (("/bytes?n=3000&chunked=1", 3000, "eof"), ("/bytes?n=3000&eof=1", 3000, "eof"),
                            ("/bytes?n=3000", 3000, "length"), ("/trailers", 5, "eof")):
        res = r.ask(d, f"GET {path} HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n\r\n")
        r.check(f"HTTP/1.0 {path}", res.status == 200 and len(res.body) == size and res.end == how
                and not res.get("Transfer-Encoding"), res)
        if how == "eof":
            r.equal(f"HTTP/1.0 {path}: close", res.get("Connection"), "close")
    c = r.caller(d, f"GET /1xx HTTP/1.0\r\n{HOST}\r\n")
    res = c.response()
    r.check("no interim responses to HTTP/1.0", res.status == 200 and not res.interim, res.interim)
    res = r.ask(d, f"POST /continue HTTP/1.0\r\n{HOST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok")
    r.check("Expect is dropped in HTTP/1.0", res.status == 200 and not res.interim and res.json().get("asked") is False, res)
    c = r.caller(d, f"GET /die-mid-chunked HTTP/1.0\r\n{HOST}\r\n")
    c.response()
    r.equal("a cut that HTTP/1.0 could not tell from the end is a reset", c.ended, "reset")


@test
def interim_responses(r):
    d = r.daemon()
    o = r.origin()
    r.client(d, "a", "--target", o.target)
    c = r.caller(d, f"GET /1xx HTTP/1.1\r\n{HOST}\r\n" + GET.decode())
    res = c.response()
    r.check("103 and then the final head", [s for s, _ in res.interim] == [103] and res.body == b"final\n", (res.interim, res))
    r.equal("the fields of a 103", dict(res.interim[0][1]).get("Link") if res.interim else None, "</style.css>; rel=preload")
    r.equal("the next response", c.response().body, b"origin\n")
    # Expect, end to end
    c = r.caller(d, f"POST /continue HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    r.equal("100 comes from the service", c.interim().status, 100)
    c.send("hello")
    obj = c.response().json()
    r.check("then the content goes", obj.get("asked") and not obj.get("body_before_100") and obj.get("body_length") == 5, obj)
    c = r.caller(d, f"POST /expect-reject HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    res = c.response()
    r.check("the service may refuse", res.status == 417 and not res.interim and res.get("Connection") == "close", res)
    c = r.caller(d, f"POST /continue HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
    r.equal("a caller that does not wait", c.response().json().get("body_length"), 5)
    short = r.daemon("--timeout", "1500ms", "--idle", "1500ms", name="short")
    r.client(short, "mute", "--never-answer")
    c = r.caller(short, "POST / HTTP/1.1\r\nHost: mute.localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    res = c.response()
    r.check("the daemon says no 100 of its own, and 504 in the end", res.status == 504 and not res.interim, (res, res.interim))
    # 101
    for what, answer in (("101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: foo\\r\\nConnection: Upgrade\\r\\n\\r\\n"),):
        name = "sw"
        r.client(d, name, "--bad-response", answer)
        r.equal(what, r.get(d, "sw.localhost").status, 502)
        r.equal("101 for h2c, which was not asked on", r.get(d, "sw.localhost", fields="Upgrade: h2c\r\nConnection: Upgrade\r\n").status, 502)
        r.equal("asked for, the same is good", r.get(d, "sw.localhost", fields="Upgrade: foo\r\nConnection: Upgrade\r\n").status, 101)
    s = r.service(serving(b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + b"HTTP/1.1 102 Processing\r\n\r\n"))
    r.client(d, "busy", "--target", s.target, "--lenient").may_violate = True
    res = r.get(d, "busy.localhost")
    r.equal("interim heads are no final one", res.status, 502)
    r.equal("all of them came", len(res.interim), 51)


@test
def upgrades(r):
    d = r.daemon("--half-close", "4", "--idle", "4", "--timeout", "4", "--keep-alive", "4")
    o = r.origin()
    r.client(d, "a", "--target", o.target)
    c = r.caller(d, f"GET /upgrade HTTP/1.1\r\n{HOST}Upgrade: foo\r\nConnection: Upgrade\r\n\r\nearly")
    res = c.interim()
    r.check("101 with its protocol", res.status == 101 and res.get("Upgrade") == "foo" and res.get("Connection") == "Upgrade", res.fields)
    r.equal("bytes sent before the 101 arrive", c.exactly(5), b"early")
    big = os.urandom(3 << 20)
    t = threading.Thread(target=c.send, args=(big,))
    t.start()
    r.check("3 MiB there and back", c.exactly(len(big)) == big)
    t.join()
    time.sleep(4.7)     # longer than every time-out of an exchange: none may apply
    c.send("late")
    r.equal("an idle upgrade stays", c.exactly(4), b"late")
    c.half_close()
    r.equal("half-close arrives and comes back", c.over(), "fin")
    # the service half-closes first
    def first(conn, _):
        conn.send(b"HTTP/1.1 101 S\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\nbye")
        conn.half_close()
        while conn.more():
            pass
        s.note(conn.buf)
    s = r.service(first)
    r.client(d, "b", "--target", s.target)
    c = r.caller(d, "GET / HTTP/1.1\r\nHost: b.localhost\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n")
    c.interim()
    r.equal("the service's half-close", c.over(), "fin after b'bye'")
    c.send("still here")
    c.half_close()
    s.wait(lambda: s.ends, "the end")
    r.equal("the other direction stays open", s.ends, [b"still here"])
    c = r.caller(d, f"GET /upgrade HTTP/1.1\r\n{HOST}Upgrade: foo\r\nConnection: Upgrade\r\n\r\n")
    c.interim()
    c.reset()
    r.until("a caller's reset ends both sides", lambda: not [t for t in d.status() if t["running"]])


# ---- time and load ---------------------------------------------------------

@test
def time_outs(r):
    d = r.daemon("--head-timeout", "400ms", "--idle", "400ms", "--timeout", "700ms")
    n = r.client(d, "mute", "--never-answer")
    waiting = r.caller(d, "GET / HTTP/1.1\r\nHost: mute.localhost\r\n\r\n")
    silent = r.caller(d)
    started = time.monotonic()
    c = r.caller(d, "GET / HT")
    res = c.response()
    r.check("408 for half a head", res.status == 408 and res.get("Connection") == "close", res)
    r.check("after --head-timeout", 0.3 < time.monotonic() - started < 8)
    r.equal("a connection without a byte is closed silently", silent.over(), "fin")
    c = r.caller(d, "GET / HTTP/1.1\r\n")
    end = time.monotonic() + 3
    try:
        while time.monotonic() < end and not c.buf:
            c.send("X: 1\r\n")
            c.sock.settimeout(0.1)
            try:
                c.more()
            except Miss:
                pass
    except ConnectionError:
        pass
    r.check("a head that drips is cut off too", c.buf.startswith(b"HTTP/1.1 408 "), c.buf)
    res = waiting.response()
    r.equal("504 without a response head", res.status, 504)
    n.event(event="reset")
    r.check("the stream is reset then", True)
    c = r.caller(d, "POST / HTTP/1.1\r\nHost: mute.localhost\r\nContent-Length: 10\r\n\r\nhello")
    res = c.response()
    r.check("408 for half a body", res.status == 408 and res.get("Connection") == "close", res)
    d = r.daemon("--idle", "4", "--timeout", "6", name="patient")
    r.client(d, "a")
    s = r.service(lambda conn, _: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"), time.sleep(7), conn.send(b"cd")))
    r.client(d, "slow", "--target", s.target)
    slow = r.caller(d, "GET / HTTP/1.1\r\nHost: slow.localhost\r\n\r\n")
    c = r.caller(d, f"POST / HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\n")
    for byte in b"0123456789":
        time.sleep(0.7)
        c.send(bytes([byte]))
    r.equal("a body that drips is fine, and the clock starts behind it", c.response().json().get("body_length"), 10)
    r.equal("after the head the body may take its time", slow.response().body, b"abcd")


@test
def slots(r):
    d = r.daemon("--slots", "4")
    one = r.client(d, "one", "--never-answer")
    two = r.client(d, "two", "--never-answer")
    r.client(d, "good")
    waiting = [r.caller(d, "GET / HTTP/1.1\r\nHost: one.localhost\r\n\r\n") for _ in range(2)]
    r.until("two requests wait at one", lambda: streams(one) == 2)
    res = r.get(d, "one.localhost")
    r.check("a tunnel holds half of the slots at most", res.status == 429 and res.get("Retry-After"), res)
    r.equal("others are served", r.get(d, "good.localhost").status, 200)
    r.until("and are over", lambda: not [t for t in d.status() if t["name"] == "good" and t["running"]])
    waiting += [r.caller(d, "GET / HTTP/1.1\r\nHost: two.localhost\r\n\r\n") for _ in range(2)]
    r.until("two requests wait at two", lambda: streams(two) == 2)
    r.equal("no slot is left: 429", r.get(d, "good.localhost").status, 429)
    logged(r, d, "429", r.get(d, "good.localhost"))
    for c in waiting[:2]:
        c.reset()
    r.until("callers that leave give their slots back", lambda: r.get(d, "good.localhost").status == 200)
    # a slot is held until the head, not until the end of the body
    s = r.service(lambda conn, _: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"), conn.more()))
    r.client(d, "body", "--target", s.target)
    held = []
    for _ in range(8):
        c = r.caller(d, "GET / HTTP/1.1\r\nHost: body.localhost\r\n\r\n")
        r.check("a running body holds no slot", c.interim().status == 200)
        held.append(c)


@test
def load(r):
    d = r.daemon("--callers", "3", "--streams", "2", "--queue", "2", "--grace", "700ms")
    n = r.client(d, "a", "--never-answer")
    waiting = [r.caller(d, GET) for _ in range(2)]
    r.until("two wait", lambda: streams(n) == 2)
    res = r.get(d)
    r.check("--streams: 503", res.status == 503 and res.get("Retry-After"), res)
    r.until("streams_full is logged", lambda: d.logged("streams_full"))
    for c in waiting:
        c.reset()
    r.until("the streams are over", lambda: len(n.seen(event="reset")) == 2)
    # the queue of a lost tunnel
    d2 = r.daemon("--queue", "2", "--grace", "4", name="q")
    n = r.client(d2, "a")
    n.kill()
    n.exit()
    r.until("it is lost", lambda: [t["lost"] for t in d2.status()] == [True])
    waiting = [r.caller(d2, GET) for _ in range(2)]
    parked(d2)          # nothing else tells that a request has queued
    res = r.get(d2)
    r.check("--queue: 503 at once", res.status == 503 and res.get("Retry-After"), res)
    r.equal("those that wait get 503 when grace runs out", [c.response().status for c in waiting], [503, 503])
    r.check("the name is free then", r.get(d2).status == 503 and not d2.status())
    # callers in all
    d3 = r.daemon("--callers", "3", name="c")
    some = [r.caller(d3) for _ in range(3)]
    for c in some:
        c.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        c.response()
    c = r.caller(d3)
    res = c.response()
    r.check("--callers: 503", res.status == 503 and res.get("Retry-After") and res.get("Connection") == "close", res)
    r.until("callers_full is logged", lambda: d3.logged("callers_full"))
    some[0].close()
    r.until("one that left makes room", lambda: r.get(d3, "127.0.0.1", "/health").status == 200)


@test
def answers_that_are_none(r):
    d = r.daemon()
    o = r.origin()
    for i, (what, text) in enumerate((
            ("nothing", ""), ("no HTTP", "SSH-2.0-OpenSSH\\r\\n"), ("an open end", "HTTP/1.1 200 OK\\r\\nContent-Le"),
            ("HTTP/2", "HTTP/2.0 200 OK\\r\\n\\r\\n"), ("a status of two digits", "HTTP/1.1 99 X\\r\\n\\r\\n"),
            ("a status above 599", "HTTP/1.1 600 X\\r\\n\\r\\n"),
            ("length and chunked", "HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"),
            ("two lengths", "HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\nContent-Length: 2\\r\\n\\r\\nab"),
            ("gzip", "HTTP/1.1 200 OK\\r\\nTransfer-Encoding: gzip\\r\\n\\r\\n"),
            ("folding", "HTTP/1.1 200 OK\\r\\nX: 1\\r\\n 2\\r\\nContent-Length: 0\\r\\n\\r\\n"),
            ("bare LF", "HTTP/1.1 200 OK\\nContent-Length: 0\\n\\n"), ("NUL", "HTTP/1.1 200 OK\\r\\nX: \\x00\\r\\nContent-Length: 0\\r\\n\\r\\n"),
            ("a head without end", "HTTP/1.1 200 OK\\r\\nX: " + "a" * 50000),
            ("a broken first chunk", "HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\n"))):
        r.client(d, f"bad{i}", "--bad-response", text)
        res = r.get(d, f"bad{i}.localhost")
        r.equal(f"{what}: 502", res.status, 502)
        logged(r, d, f"502, {what}", res)
        c = r.caller(d, f"GET / HTTP/1.1\r\nHost: bad{i}.localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        r.equal(f"{what}: the connection goes on", (c.response().status, c.response().status), (502, 200))
    r.client(d, "a", "--target", o.target)
    r.client(d, "refused", "--target", "127.0.0.1:1")
    res = r.get(d, "refused.localhost")
    r.check("a refused connection: 502 and why", res.status == 502 and res.get("X-Tunnel-Error") == "refused", res)
    for path in ("/die-before", "/die-before?reset=1", "/nonsense", "/die-mid-head"):
        r.equal(f"{path}: 502", r.get(d, path=path).status, 502)
    for path in ("/die-mid", "/die-mid?reset=1", "/die-mid-chunked"):
        c = r.caller(d, f"GET {path} HTTP/1.1\r\n{HOST}\r\n{GET.decode()}")
        res = c.response()
        r.check(f"{path}: cut", res.status == 200 and res.end == "cut" and c.ended, res.end)
    r.client(d, "cut", "--bad-response", "HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\nzz\\r\\n")
    res = r.get(d, "cut.localhost")
    r.check("broken chunks in a response: cut, or 502", res.status == 502 or res.status == 200 and res.end == "cut", res)
    r.client(d, "more", "--bad-response", "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nokHTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nwrong")
    c = r.caller(d, "GET / HTTP/1.1\r\nHost: more.localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    r.equal("what stands behind a response is nobody's", (c.response().body, c.response().body), (b"ok", b"ok\n"))


@test
def early_responses(r):
    d = r.daemon()
    o = r.origin()
    r.client(d, "a", "--target", o.target)
    c = r.caller(d, f"POST /early HTTP/1.1\r\n{HOST}Content-Length: 100000000\r\n\r\n" + "x" * 1000)
    res = c.response()
    r.check("an early response arrives, with Connection: close", res.status == 413 and res.body == b"too large\n"
            and res.get("Connection") == "close", res)
    started = time.monotonic()
    try:
        while time.monotonic() - started < 40:
            c.send(b"x" * 65536)
    except ConnectionError:
        pass
    r.check("the rest of the body is not read for ever", time.monotonic() - started < 30)
    # a body that a service reads on is forwarded to its end
    def reader(conn, _):
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
        s.note(len(conn.exactly(2000000)))
    s = r.service(reader)
    n = r.client(d, "b", "--target", s.target, "--lenient")
    n.may_violate = True
    c = r.caller(d, "POST / HTTP/1.1\r\nHost: b.localhost\r\nContent-Length: 2000000\r\n\r\n" + "x" * 10)
    res = c.response()
    r.check("an early response of a service that reads on", res.status == 200 and res.get("Connection") == "close", res)


@test
def half_close(r):
    d = r.daemon("--half-close", "4")
    s = r.service(lambda conn, h: (time.sleep(float(h.split(" ")[1][1:] or 0)), conn.send(OK), s.note(conn.over())))
    n = r.client(d, "a", "--target", s.target)
    c = r.caller(d, f"GET /0.2 HTTP/1.1\r\n{HOST}\r\n")
    c.half_close()
    res = c.response()
    r.check("a half-closed caller is answered", res.status == 200 and res.body == b"ok", res)
    r.equal("then the connection ends", c.over(), "fin")
    c = r.caller(d, f"POST /0.1 HTTP/1.1\r\n{HOST}Content-Length: 3\r\n\r\nabc" + f"GET /0.1 HTTP/1.1\r\n{HOST}\r\n")
    c.half_close()
    got = [c.response().status]
    if c.more() or c.buf:
        got.append(c.response().status)
    r.equal("with pipelined requests, all of them", got, [200, 200])
    resets = len(n.seen(event="reset"))
    c = r.caller(d, f"GET /12 HTTP/1.1\r\n{HOST}\r\n")
    started = time.monotonic()
    c.half_close()
    r.equal("no answer in time: the caller has left", c.over(), "fin")
    r.check("after --half-close", 3.8 < time.monotonic() - started < 10, time.monotonic() - started)
    n.wait_line(n.lines, lambda _: len(n.seen(event="reset")) > resets, "reset")
    # a body that goes on, slower than half-close in all, but not in any pause
    def drip(conn, _):
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            time.sleep(0.7)
            conn.send(b"x")
    s2 = r.service(drip)
    r.client(d, "drip", "--target", s2.target)
    c = r.caller(d, "GET / HTTP/1.1\r\nHost: drip.localhost\r\n\r\n")
    c.half_close()
    r.equal("an answer that comes slowly comes whole", c.response().body, b"xxxxxxxx")


@test
def callers_that_leave(r):
    d = r.daemon("--half-close", "500ms")
    o = r.origin()
    n = r.client(d, "a", "--target", o.target)
    dropped = 0

    def gone(what):
        nonlocal dropped
        dropped += 1
        got = r.get(d, path=f"/dropped?n={dropped}").json()
        r.check(f"{what}: the service's connection ends", got.get("ok"), got)
        r.until(f"{what}: its stream is reset", lambda: len(n.seen(event="reset")) == dropped)
    c = r.caller(d, f"GET /hang HTTP/1.1\r\n{HOST}\r\n")
    r.get(d, path="/hung?n=1")
    c.reset()
    gone("a reset before the head")
    c = r.caller(d, f"GET /hang HTTP/1.1\r\n{HOST}\r\n")
    r.get(d, path="/hung?n=1")
    c.close()
    gone("a close before the head")
    c = r.caller(d, f"GET /hang?part=1000 HTTP/1.1\r\n{HOST}\r\n")
    c.until(b"\r\n\r\n")
    c.exactly(1000)
    c.reset()
    gone("a reset inside the body")
    c = r.caller(d, f"GET /hang?part=1000 HTTP/1.1\r\n{HOST}\r\n")
    c.until(b"\r\n\r\n")
    c.close()
    gone("a close inside the body")
    for what, data in (("inside a body", f"POST /hang HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\nabc"),
                       ("inside a chunk", f"POST /hang HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nab")):
        c = r.caller(d, data)
        r.get(d, path="/hung?n=1")
        c.half_close()
        r.equal(f"EOF {what}: nothing is answered", c.over(), "fin")
        gone(f"EOF {what}")
    c = r.caller(d, "GET / HTTP/1.1\r\nHost")
    c.half_close()
    r.equal("EOF inside a head", c.over(), "fin")
    # a pipelined request hides the end of the caller; the answer still finds out
    r.until("nothing runs any more", lambda: [t["running"] for t in d.status()] == [0])


@test
def callers_that_stall(r):
    d = r.daemon("--stall", "5")
    o = r.origin()
    n = r.client(d, "a", "--target", o.target)
    c = r.caller(d, f"GET /stall?n=1000000000 HTTP/1.1\r\n{HOST}\r\n", rcvbuf=4096)
    c.until(b"\r\n\r\n")
    got = r.get(d, path="/stalled?started=1").json()
    r.check("a caller that does not read holds the service up", got.get("sent", 0) < 200 << 20, got)
    size = 4 << 20 if SANITIZED else 32 << 20
    r.equal("others go on", len(r.get(d, path=f"/bytes?n={size}").body), size)
    n.event(event="reset")
    r.until("after --stall it is thrown out", lambda: d.logged("caller_stalled"))


@test
def request_window(r):
    """A service that does not read stops the caller, and nobody else."""
    d = r.daemon("--timeout", "8")
    r.client(d, "a", "--no-read", "--lenient").may_violate = True
    r.client(d, "b")
    c = r.caller(d, f"POST / HTTP/1.1\r\n{HOST}Content-Length: 50000000\r\n\r\n")
    c.sock.settimeout(0.3)
    sent = 0
    try:
        while sent < 50000000:
            sent += c.sock.send(b"x" * 65536)
    except TimeoutError:
        pass
    except ConnectionError:
        pass
    r.check("the caller is held up", sent < 20000000, sent)
    r.equal("others go on", r.get(d, "b.localhost", method="POST", fields="Content-Length: 3000000\r\n",
                                  body=b"y" * 3000000).json().get("body_length"), 3000000)
    c.sock.settimeout(20)
    r.equal("504 in the end", c.response().status, 504)


@test
def draining(r):
    d = r.daemon("--drain", "10")
    go = threading.Event()
    s = r.service(lambda conn, h: (s.note("in"), conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"),
                                   go.wait(WAIT), conn.send(b"cd")))
    r.client(d, "a", "--target", s.target)
    idle = r.caller(d, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    idle.response()
    c = r.caller(d, GET)
    s.wait(lambda: s.ends, "the request")
    d.ended = True
    d.kill(signal.SIGTERM)
    d.log("event=draining")
    idle.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    res = idle.response()
    r.check("a kept connection's next request: Connection: close", res.status == 200 and res.get("Connection") == "close", res)
    r.until("it stops accepting", lambda: refused(d.port))
    go.set()
    r.equal("a running exchange finishes", c.response().body, b"abcd")
    r.equal("then it exits 0", d.exit(), 0)
    d = r.daemon("--drain", "300ms", name="short")
    n = r.client(d, "a", "--never-answer")
    c = r.caller(d, GET)
    n.event(event="stream")
    d.ended = True
    d.kill(signal.SIGTERM)
    res = c.response()
    r.equal("when --drain runs out: 504", res.status, 504)
    r.equal("exits 0 all the same", d.exit(), 0)
    r.equal("the client hears 1001", n.closed()["code"], 1001)
    d = r.daemon("--drain", "60", name="twice")
    n = r.client(d, "a", "--never-answer")
    c = r.caller(d, GET)
    n.event(event="stream")
    d.ended = True
    d.kill(signal.SIGTERM)
    d.log("event=draining")
    started = time.monotonic()
    d.kill(signal.SIGTERM)
    d.exit()
    r.check("a second SIGTERM ends it now", time.monotonic() - started < 20)


@test
def content_of_any_size(r):
    d = r.daemon()
    o = r.origin()
    r.client(d, "a", "--target", o.target)
    for n in (0, 1, 16383, 16384, 16385, 65023, 65024, 65025, 65536, 130049, 262143, 262144, 262145, 1 << 20, 5000003):
        res = r.get(d, path=f"/bytes?n={n}")
        r.check(f"{n} bytes down", res.end == "length" and len(res.body) == n)
        res = r.get(d, path="/upload", method="POST", fields=f"Content-Length: {n}\r\n", body=b"z" * n)
        r.equal(f"{n} bytes up", res.json().get("body_length"), n)


@test
def random_bytes(r):
    """Noise on the public side ends that connection and nothing else."""
    import random   # pylint: disable=import-outside-toplevel
    rng = random.Random(7)
    d = r.daemon("--head-timeout", "300ms", "--idle", "300ms")
    n = r.client(d, "a")
    good = [GET, f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode(), upgrade("/_tunnel").encode()]
    for i in range(150):
        data = bytearray(good[i % 3])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            how = rng.randrange(3)
            if how == 0:
                data[at] = rng.randrange(256)
            elif how == 1:
                del data[at:at + rng.randint(1, 5)]
            else:
                data[at:at] = bytes(rng.randrange(256) for _ in range(3))
            data = data or bytearray(b"x")
        with Caller(d.port, bytes(data)) as c:
            c.half_close()
            while c.more():
                pass
    r.equal("150 damaged requests later it serves", r.get(d).status, 200)
    r.check("the client's session is the first one", n.alive() and not n.seen(event="closed"))


# ---- what comes too late to be said ------------------------------------------

@test
def error_behind_a_head(r):
    """An error may not stand where the caller takes it for content, or for the next answer."""
    d = r.daemon()
    s = r.service(lambda conn, _: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 50), conn.over()))
    r.client(d, "a", "--target", s.target)
    c = r.caller(d, f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    r.equal("the head", c.interim().status, 200)
    r.equal("what came of the content", c.exactly(50), b"x" * 50)
    c.send("zz\r\n")
    r.check("a bad chunk then: the end, and no 400", c.over() in ("fin", "reset"), c.buf)


@test
def errors_and_methods(r):
    """Content that looks like another method is none."""
    d = r.daemon("--timeout", "500ms")
    n = r.client(d, "a", "--never-answer")
    cs = []
    for i, (method, content) in enumerate((("POST", "HEADxxxx"), ("HEAD", "POSTxxxx"))):
        cs.append(r.caller(d, f"{method} / HTTP/1.1\r\n{HOST}Content-Length: 8\r\nConnection: close\r\n\r\n"))
        until(n, i + 1)
        cs[i].send(content)
    res = cs[0].response()
    r.check("POST: 504 with its content", res.status == 504 and res.end == "length" and len(res.body) > 0, res)
    res = cs[1].response("HEAD")
    r.check("HEAD: 504 that tells its length", res.status == 504 and int(res.get("Content-Length") or 0) > 0, res)
    r.equal("and has none", cs[1].over(), "fin")


@test
def leaves_behind_a_byte(r):
    """What a caller has sent ahead does not hide that it has left."""
    d = r.daemon("--half-close", "500ms")
    event = b"data: 1\n\n"
    s = r.service(lambda conn, _: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event),
                                   s.note(conn.over())))
    n = r.client(d, "a", "--target", s.target)
    for i, end in enumerate((Caller.close, Caller.half_close)):
        c = r.caller(d, GET)
        c.until(event)
        c.send("x")
        end(c)
        n.wait_line(n.lines, lambda _, i=i: len(n.seen(event="reset")) > i, "reset")
        s.wait(lambda i=i: len(s.ends) > i, "the end")
    r.until("nothing runs any more", lambda: [t["running"] for t in d.status()] == [0])


# ---- the client's side frame by frame ------------------------------------------

def send_all(c, data):
    """As much as the daemon wants of it."""
    try:
        c.send(data)
    except OSError:
        pass


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
SHORT = 5 if SANITIZED else 1       # times what is short elsewhere


def by_hand(r, *args, **more):
    d = r.daemon(*args, **more)
    return d, r.keep(FrameClient(d, "a"))


def finished(r, d, what, f, n):
    """So many exchanges ended well, on both sides."""
    r.until(f"{what}: nothing runs any more", lambda: [t["running"] for t in d.status()] == [0])
    for k in range(1, n + 1):
        f.flagged(2 * k, FIN | RST, f"the end of stream {2 * k}")
    r.equal(f"{what}: no stream is reset", [x for x in f.frames if x.flags & RST], [])
    r.equal(f"{what}: none counts as failed", d.logged("event=(exchange_failed|refused)"), 0)


@test
def slow_answers(r):
    """An answer that comes after the caller's thread has fallen asleep for good, and the next request."""
    d, f = by_hand(r)
    c, k = r.caller(d), 0
    for before, inside in ((0.2, 0.2), (0.2, 0), (0, 0.2), (0, 0), (0.03, 0.03)):
        for last in (0, FIN):   # with the last byte, or behind it
            k += 1
            c.send(GET)
            s = f.request(k)
            time.sleep(before)
            f.answer(s, HEAD + b"ab", 0)
            c.interim()
            time.sleep(inside)
            f.answer(s, b"cd", last)
            r.equal(f"answered after {before} and {inside} s, FIN {last}", c.exactly(4), b"abcd")
            if not last:
                f.answer(s, b"")
    finished(r, d, "slow answers", f, k)


@test
def sent_ahead(r):
    """A caller sends its next request while the answer comes, or before."""
    d, f = by_hand(r)
    c = r.caller(d)
    for k, when in ((1, "head"), (3, "body"), (5, "half")):
        c.send(GET)
        s = f.request(k)
        if when == "head":      # while it is waited for
            c.send(GET)
        f.answer(s, HEAD + b"ab", 0)
        c.interim()
        if when == "body":
            c.send(GET)
        elif when == "half":
            c.send(GET[:20])
            parked(d)
        f.answer(s, b"cd")
        r.equal(f"{when}: the answer", c.exactly(4), b"abcd")
        if when == "half":
            c.send(GET[20:])
        f.answer(f.request(k + 1), OK)
        r.equal(f"{when}: the next one", c.response().body, b"ok")
    # all at once: each is taken as soon as the one before it is answered
    k = 6

    def twenty():
        nonlocal k
        c.send(GET * 20)
        at = time.monotonic()
        for _ in range(20):
            k += 1
            f.answer(f.request(k), OK)
        r.equal("twenty: the answers", [c.response().body for _ in range(20)], [b"ok"] * 20)
        return time.monotonic() - at
    r.soon("twenty: nobody waits", 0.6 * SHORT, twenty)
    # far ahead: more than the daemon reads of it
    c.send(GET)
    k += 1
    s = f.request(k)
    n = 3000
    t = threading.Thread(target=c.send, args=("GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * n,))
    t.start()
    f.answer(s, HEAD + b"ab", 0)
    parked(d)
    used = cpu(d)
    time.sleep(0.3)     # nothing tells of what does not happen
    used = cpu(d) - used
    r.check("far ahead: no spinning", used < 0.1, used)
    f.answer(s, b"cd")
    r.equal("far ahead: the answer", c.response().body, b"abcd")
    r.equal("and all of the others", [c.response().body for _ in range(n)].count(b"ok\n"), n)
    t.join()
    finished(r, d, "sent ahead", f, k)


@test
def leaves_with_the_answer(r):
    """Callers that half-close with their request, or reset when they have the answer."""
    d, f = by_hand(r)
    k = 0
    for wait in (0, 0, 0.08):
        k += 1
        c = r.caller(d, GET)
        c.half_close()
        s = f.request(k)
        time.sleep(wait)
        f.answer(s, OK)
        r.equal(f"half-closed, {wait} s", (c.response().body, c.over()), (b"ok", "fin"))
    for wait in (0, 0, 0, 0, 0.03, 0.08):
        for last in (0, FIN):
            k += 1
            c = r.caller(d, GET)
            s = f.request(k)
            time.sleep(wait)
            f.answer(s, OK, last)
            r.equal(f"reset behind the answer, {wait} s", c.response().body, b"ok")
            c.reset()
            if not last:
                time.sleep(0.02)
                f.answer(s, b"")
    finished(r, d, "leaves with the answer", f, k)


@test
def leaves_before_the_answer(r):
    """The client is told at once that a caller has left."""
    d, f = by_hand(r)
    k = 0

    def leaves(ahead):
        nonlocal k
        k += 1
        c = r.caller(d, GET)
        s = f.request(k)
        c.send(ahead)       # the kernel holds what the daemon does not read
        time.sleep(0.08)    # beyond its thread's first, short sleep
        at = time.monotonic()
        c.reset()
        return f.flagged(s, RST, "RST").at - at
    for what, ahead in (("asleep", b""), ("behind a byte", b"x"), ("behind more than is read of it", b"x" * 300000)):
        r.soon(f"{what}: at once", 0.1 * SHORT, lambda a=ahead: leaves(a))
    r.until("nothing runs any more", lambda: [t["running"] for t in d.status()] == [0])
    r.equal("each is logged once", d.logged("event=exchange_failed .*reason=caller_left"), k)


@test
def ends_in_time(r):
    """What nobody is woken for is over a moment later all the same."""
    d, f = by_hand(r)
    c, k, fins = r.caller(d), 0, []

    def answered(of_fin):
        nonlocal k
        k += 1
        c.send(GET)
        s = f.request(k)
        f.answer(s, OK)
        r.equal("answered", c.response().body, b"ok")
        at = time.monotonic()
        fins.append(f.flagged(s, FIN, "FIN, with nothing else to send").at - at)
        r.until("nothing runs any more", lambda: [t["running"] for t in d.status()] == [0])
        return fins[-1] if of_fin else time.monotonic() - at
    r.soon("FIN, which waits for company, but not for long", 0.12 * SHORT, lambda: answered(True))
    r.soon("running: 0", 0.2 * SHORT, lambda: answered(False))
    for _ in range(8):
        if max(fins) <= 0.03:
            answered(True)
    r.check("FIN waits for company", max(fins) > 0.03, fins)
    d, f = by_hand(r, "--timeout", "400ms", name="short")
    c, k = r.caller(d), 0

    def late():
        nonlocal k
        k += 1
        at = time.monotonic()
        c.send(GET)
        r.equal("504 to one who sleeps", c.response().status, 504)
        took = time.monotonic() - at
        r.check("not before its time", took > 0.39, took)
        return took
    r.soon("in time", 0.4 + 0.4 * SHORT, late)

    def stopped():
        d, f = by_hand(r, name=f"d{len(r.procs)}")
        c = r.caller(d)
        c.send(GET)
        f.answer(f.request(1), OK)
        r.equal("the answer", c.response().body, b"ok")
        d.ended = True
        at = time.monotonic()
        d.kill(signal.SIGTERM)
        r.equal("SIGTERM behind an answer: exit", d.exit(), 0)
        return time.monotonic() - at
    r.soon("at once", 0.6 * SHORT, stopped)


@test
def one_after_the_other(r):
    """What is over makes room at once, though its thread and its FIN take a moment longer."""
    d, f = by_hand(r, "--streams", "1")
    cs = [r.caller(d) for _ in range(2)]
    for k in range(1, 21):
        cs[k % 2].send(GET)
        f.answer(f.request(k), OK if k <= 10 else b"HTTP/1.1 200 OK\r\n\r\nto its end")
        r.equal("--streams 1, one at a time", cs[k % 2].response().status, 200)
        parked(d, 1)        # the answer is out a moment before it is over
    cs[0].send(GET)
    f.request(21)
    cs[1].send(GET)
    r.equal("--streams 1, another beside it", cs[1].response().status, 503)
    # of several holders, the next is for the one where nothing runs any more
    d = r.daemon(name="shared")
    f, g = (r.keep(FrameClient(d, "b", share=True)) for _ in range(2))
    ask = b"GET / HTTP/1.1\r\nHost: b.localhost\r\n\r\n"
    r.caller(d, ask)
    r.until("one request waits", lambda: f.content(2) or g.content(2))
    if g.content(2):
        f, g = g, f
    cs, at = [r.caller(d) for _ in range(2)], {f: 2, g: 1}
    for k in range(30):
        cs[k % 2].send(ask)
        r.until("a request comes", lambda: [x for x in at if b"\r\n\r\n" in x.content(2 * at[x])])
        x = f if f.content(2 * at[f]) else g
        x.answer(x.request(at[x]), OK)
        at[x] += 1
        r.equal("its answer", cs[k % 2].response().status, 200)
        parked(d, 1)        # the answer is out a moment before it is over
    r.check("few for the one that is busy", at[f] - 2 < 8, at[f] - 2)


@test
def idle_without_threads(r):
    """Callers that wait for their next request, or for the answer to one, have no thread each."""
    if READY == "none":
        return
    d = r.daemon("--head-timeout", "300", "--keep-alive", "300", "--timeout", "300")
    o = r.origin("--wait", "300")
    n = r.client(d, "a", "--target", o.target)
    cs = [r.caller(d) for _ in range(64)]

    def threads():
        return len(os.listdir(f"/proc/{d.p.pid}/task"))

    for k in range(2):
        for c in cs:
            c.send(GET)
            r.equal(f"request {k}", c.response().status, 200)
    r.until("their threads end", lambda: threads() < 40)
    for c in cs:
        c.send(f"GET /held HTTP/1.1\r\n{HOST}\r\n")
    r.until("all wait for their answers", lambda: [t["running"] for t in d.status()] == [64])
    r.until("without a thread each", lambda: threads() < 40)
    direct(o, "/release")
    r.equal("which come", [c.response().status for c in cs].count(200), 64)
    for c in cs[:32]:
        c.close()
    for c in cs[32:]:
        c.send(GET + GET)
        r.equal("two at once", [c.response().status, c.response().status], [200, 200])
    r.check("the client lives", n.alive())


@test
def answered_and_stuck(r):
    """The answer is whole, and the client grants no window for the rest of the request: its FIN ends the exchange."""
    d, f = by_hand(r)
    k = 0

    def stuck(what, n, with_answer):
        """How long its end takes."""
        nonlocal k
        k += 1
        c = r.caller(d)
        t = threading.Thread(target=send_all, args=(c, f"POST / HTTP/1.1\r\n{HOST}Content-Length: {n}\r\n\r\n" + "x" * n))
        t.start()
        s = f.request(k)
        r.until(f"{what}: the window is used up", lambda: len(f.content(s)) == 262144)
        parked(d)
        f.answer(s, OK, FIN if with_answer else 0)
        res = c.response()
        r.equal(f"{what}: the answer", (res.body, res.get("Connection")), (b"ok", "close" if n > 1 << 20 else None))
        if not with_answer:
            parked(d)
            f.answer(s, b"")
        at = time.monotonic()
        took = f.flagged(s, RST, "RST").at - at
        if n > 1 << 20:
            r.check(f"{what}: the connection ends", c.over() in ("fin", "reset"))
        else:
            c.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            r.equal(f"{what}: the connection goes on", c.response().body, b"ok\n")
        t.join()
        return took
    for row in (("all of it read", 262144 + 10000, False), ("all of it read", 262144 + 10000, True),
                ("more than is read of it", 4 << 20, False), ("more than is read of it", 4 << 20, True)):
        r.soon(f"{row[0]}, FIN {row[2]}: over at once", 0.1 * SHORT, lambda row=row: stuck(*row))
    r.until("nothing runs any more", lambda: [t["running"] for t in d.status()] == [0])


@test
def quick_and_many(r):
    """More connections than half of the slots, to a tunnel that answers at once: none is refused, none waits long."""
    d, f = by_hand(r, "--slots", "8")
    k, callers, each = 0, 20, 25

    def answer(askers):
        nonlocal k
        while any(t.is_alive() for t in askers):
            with f.cond:
                if not f.cond.wait_for(lambda: b"\r\n\r\n" in f.content(2 * k + 2), 0.1):
                    continue
            k += 1
            f.answer(f.request(k), OK)

    def all_of_them():
        """The longest time that one waited; if they all waited, in proportion.  Who is refused has waited for a second."""
        done, waited, lock = [], [], threading.Lock()

        def ask():
            with Caller(d.port) as c:
                for _ in range(each):
                    at = time.monotonic()
                    c.send(GET)
                    got = c.response().status
                    with lock:
                        done.append(got)
                        waited.append(time.monotonic() - at)
        askers = [threading.Thread(target=ask, daemon=True) for _ in range(callers)]
        for t in askers:
            t.start()
        answer(askers)
        r.equal("all are answered", len(done), callers * each)
        r.equal("none is refused at once", [(s, t) for s, t in zip(done, waited) if s != 200 and t < 0.9], [])
        if set(done) != {200}:
            return WAIT
        return max(waited) / max(1, 10 * sum(waited) / len(waited) / (0.9 * SHORT))
    r.soon("none waits for a second, unless they all do", 0.9 * SHORT, all_of_them)


main()
