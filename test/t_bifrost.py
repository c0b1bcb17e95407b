"""The bifrost dialect: handshake, refusals, messages, faults, loss and return.

peer/bifrost.py stands for the unmodified client; it shares no code with ours.
"""
import base64
import hashlib
import json
import os
import random
import re
import select
import signal
import struct
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
from client import Relay, hwm   # pylint: disable=wrong-import-position
from rig import PEER, PYTHON, SANITIZED, Caller, main, test   # pylint: disable=wrong-import-position

MAX = 10485760
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
A = "bf_000102030405060708090a0b0c0d0e0f1011121314151617"
B = "bf_ffeeddccbbaa99887766554433221100ffeeddccbbaa9988"
UNAUTHORIZED = bytes.fromhex("880e03f0756e617574686f72697a6564")
IN_USE = bytes.fromhex("881503f06e616d6520616c726561647920696e20757365")


def bif(r, d, name=None, *args, token=None, ready=True, port=None):
    """The independent client; its tunnel is there when this returns."""
    mark = d.marks()
    p = r.spawn(PYTHON, f"{PEER}/bifrost.py", "--endpoint", f"http://127.0.0.1:{port or d.port}",
                "--token", token or d.token, *(("--name", name) if name else ()), *args)
    if ready:
        d.log(f"event=tunnel_open name={(name or 'default').lower()} ", start=mark)
        p.event(event="open")
    return p


def handshake(token, path="/_bifrost/a", method="GET", host="relay.test", key=KEY, auth="Authorization: Bearer {}\r\n",
              more="", version="13", upgrade="websocket"):
    return (f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n"
            + (f"Sec-WebSocket-Version: {version}\r\n" if version else "") + key + auth.format(token) + more + "\r\n")


def frame(first, payload=b"", mask=True, length=None):
    n = len(payload) if length is None else length
    bit = 0x80 if mask else 0
    head = bytes([first, bit | n]) if n < 126 else bytes([first, bit | 126]) + struct.pack("!H", n) \
        if n < 65536 else bytes([first, bit | 127]) + struct.pack("!Q", n)
    return head + (b"\0\0\0\0" if mask else b"") + payload


def last_frame(c):
    """The close frame, behind whatever comes before it; and ours for it."""
    while True:
        while len(c.buf) < 2 or len(c.buf) < 2 + c.buf[1]:
            if not c.more():
                c.close()
                return c.buf
        got, c.buf = c.buf[:2 + c.buf[1]], c.buf[2 + c.buf[1]:]
        if got[0] == 0x88:
            c.close()
            return got


def lost(d, name):
    return [t["lost"] for t in d.status() if t["name"] == name]


def do(what, **more):
    return f"X-Do: {what}\r\n" + "".join(f"X-{k}: {v}\r\n" for k, v in more.items())


def ask(r, d, host="a.tunnel.x", path="/", fields="", method="GET", body=None, **more):
    if body is not None:
        fields += f"Content-Length: {len(body)}\r\n"
    return r.get(d, host, path, fields, method, body or b"", **more)


def raw(r, d, text, how="text", host="a.tunnel.x", method="POST"):
    text = text if isinstance(text, bytes) else text.encode()
    return ask(r, d, host, "/raw", do("raw", How=how), method, text)


def start(r, d, fields, host="a.tunnel.x", path="/", p=None):
    """A caller; its request is with the client p when this returns."""
    c = r.caller(d, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
    if p:
        p.event(event="request", url=path)
    return c


def requests(p):
    return len(p.seen(event="request"))


@test
def handshakes(r):
    """V2 to V4, what may be written otherwise, and what is refused before the 101."""
    d = r.daemon("--grace", "0", scope="preview,default,foo")
    c = r.caller(d, handshake(d.token, "/_bifrost/Preview"))
    res = c.interim()
    r.check("V2: 101", (res.status, res.reason, res.get("Upgrade"), res.get("Connection"), res.get("Sec-WebSocket-Accept"))
            == (101, "Switching Protocols", "websocket", "Upgrade", ACCEPT), res)
    d.log("event=tunnel_open name=preview ")
    r.equal("V2: named in lower case", [t["name"] for t in d.status()], ["preview"])
    r.check("nothing follows but a ping", c.buf[:1] in (b"", b"\x89") and len(c.buf) in (0, 2, 10), c.buf)
    c2 = r.caller(d, handshake("bf_wrong", "/_bifrost/preview"))
    r.equal("V3: 101 first", c2.interim().status, 101)
    r.equal("V3: wrong token", last_frame(c2), UNAUTHORIZED)
    c.close()
    r.until("a connection that is closed ends the tunnel", lambda: not d.status())
    for path, name in (("/_bifrost", "default"), ("/_bifrost/", "default"), ("/_bifrost/default", "default"),
                       ("/_bifrost?x=1", "default"), ("//_bifrost", "default"), ("//_bifrost/Foo?a=b", "foo"),
                       ("/_BIFROST/Foo", "foo"), ("/_bifrost/foo/", "foo"), ("/_BiFrOsT/", "default")):
        mark = d.marks()
        c = r.caller(d, handshake(d.token, path))
        res = c.interim()
        r.equal(f"{path}: 101", res.status, 101)
        r.check(f"{path}: the tunnel {name}", d.log(f"event=tunnel_open name={name} ", start=mark))
        c.send(frame(0x88))
        r.check(f"{path}: a close without a code is answered", last_frame(c)[:1] == b"\x88")
        c.close()
        d.log("event=session_end .*code=1005", start=mark)
    for path in ("/_BIFROST", "/_bifrostx", "/_bifros", "/_bifrost/-a", "/_bifrost/a_b", "/_bifrost/a.b", "/_bifrost/a/b",
                 "/_bifrost/" + "a" * 64, "/_bifrost/%61", "///_bifrost", "/x/_bifrost", "/_bifrost/" + "a" * 400):
        res = r.ask(d, handshake(d.token, path))
        r.check(f"{path[:40]}: an HTTP error", res.status in (400, 404, 503) and res.body, res)
    for what, want, more in (
            ("POST", 400, {"method": "POST"}), ("no key", 400, {"key": ""}), ("a bad key", 400, {"key": "Sec-WebSocket-Key: x\r\n"}),
            ("two keys", 400, {"key": KEY + KEY}), ("version 12", 426, {"version": "12"}), ("no version", 426, {"version": ""}),
            ("content", 400, {"more": "Content-Length: 3\r\n"}), ("another protocol", 503, {"upgrade": "h2c"})):
        res = r.ask(d, handshake(d.token, "/_bifrost", **more))
        r.equal(f"{what}: {want}", res.status, want)
        r.check(f"{what}: the version that is known", want != 426 or res.get("Sec-WebSocket-Version") == "13", res)
    c = r.caller(d, handshake(d.token, "/_bifrost/foo", more="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"))
    res = c.interim()
    r.check("compression is offered, and not taken", res.status == 101 and not res.get("Sec-WebSocket-Extensions"), res)
    res = r.ask(d, handshake(d.token, "/_bifrost/foo", host="preview.tunnel.x"))
    r.equal("a Host that names a tunnel comes first", res.status, 503)
    r.check("no token in the log", d.token not in "\n".join(l for l in d.errs if l))


@test
def vectors_of_tokens(r):
    """V1: tokens of bifrost's own shape, by their hash alone."""
    d = r.daemon("--grace", "0", scope=None)
    for token in (("--global",), ("--scope", "preview")):
        d.issue(*token)
    path = f"{d.state}/tokens"
    with open(path, encoding="ascii") as f:
        lines = [l.split(" ") for l in f.read().splitlines()]
    hashes = ["adf9f237f56169c9b264291ad4e6d08871609a2ed7f8e974ab6dca0aa1131756",
              "534717ce15879fc4c2376ce0cf30d0a9f593822163cf9b4346da1b4cc8311ff2"]
    at = next(i for i, w in enumerate(lines[0]) if len(w) == 64)
    for words, h in zip(lines, hashes):
        words[at] = h
    mark = d.marks()
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write("".join(" ".join(words) + "\n" for words in lines))
    os.chmod(path + ".new", 0o600)
    os.rename(path + ".new", path)
    d.log("event=tokens_read", start=mark)
    for token, names in ((A, {"preview": 1, "default": 1, "staging": 1}), (B, {"preview": 1, "PREVIEW": 1, "default": 0, "staging": 0})):
        for name, fits in names.items():
            c = r.caller(d, handshake(token, f"/_bifrost/{name}"))
            c.interim()
            c.send(frame(0x88))
            got = last_frame(c)
            r.check(f"{token[:6]} {name}: {'fits' if fits else 'unauthorized'}",
                    got == UNAUTHORIZED if not fits else got != UNAUTHORIZED and got[:1] == b"\x88", got)
            c.close()
    r.until("all are gone", lambda: not d.status())


@test
def credentials(r):
    d = r.daemon("--grace", "0", scope="a,default")
    t = d.token
    for what, auth, good in (
            ("none", "", 0), ("bearer in lower case", "Authorization: bearer {}\r\n", 0), ("BEARER", "Authorization: BEARER {}\r\n", 0),
            ("Basic", "Authorization: Basic {}\r\n", 0), ("two blanks", "Authorization: Bearer  {}\r\n", 0),
            ("a tab", "Authorization: Bearer\t{}\r\n", 0), ("no blank", "Authorization: Bearer{}\r\n", 0),
            ("Bearer alone", "Authorization: Bearer\r\n", 0), ("an empty field", "Authorization:\r\n", 0),
            ("a byte more", "Authorization: Bearer {}x\r\n", 0), ("a byte less", f"Authorization: Bearer {t[:-1]}\r\n", 0),
            ("a list", "Authorization: Bearer {},x\r\n", 0), ("a huge one", "Authorization: Bearer " + "x" * 20000 + "\r\n", 0),
            ("a wrong one first", "Authorization: Bearer x\r\nAuthorization: Bearer {}\r\n", 0),
            ("the first of two", "Authorization: Bearer {}\r\nAuthorization: Bearer x\r\n", 1),
            ("blanks around", "Authorization: \t Bearer {} \t\r\n", 1), ("the name in another case", "aUTHORIZATION: Bearer {}\r\n", 1)):
        c = r.caller(d, handshake(t, auth=auth))
        r.equal(f"{what}: 101", c.interim().status, 101)
        c.send(frame(0x88))
        got = last_frame(c)
        c.close()
        r.check(f"{what}: {'accepted' if good else 'unauthorized'}", (got == UNAUTHORIZED) != bool(good), got)
    r.equal("a scope that does not fit", last_frame(after_101(r, d, t, "/_bifrost/b")), UNAUTHORIZED)
    r.until("none of them stays", lambda: not d.status())
    p = bif(r, d, "c", ready=False)
    r.equal("a client that is refused: rejected", p.event(event="rejected")["reason"], "unauthorized")
    r.equal("and exits 1", p.exit(), 1)
    r.check("it saw it come open", p.seen(event="open"))
    r.check("the log says why, and no token", d.logged("event=refused .*reason=unauthorized") and d.logged(t) == 0
            and d.logged("x" * 50) == 0)
    # issued after the start: at once
    d.issue("--scope", "c")
    p = bif(r, d, "c")
    p.kill(signal.SIGTERM)
    r.equal("an orderly end", p.exit(), 0)
    r.until("frees the name", lambda: not d.status())


def after_101(r, d, token, path):
    c = r.caller(d, handshake(token, path))
    c.interim()
    return c


@test
def endpoints(r):
    """Section 3, as design.md's routing has it."""
    d = r.daemon()
    res = r.get(d, "relay.test", "/_bifrost/ping")
    r.check("ping", (res.status, res.get("Content-Type"), res.body) == (200, "text/plain", b"ok"), res)
    res = r.get(d, "relay.test", "/")
    r.check("the page", res.status == 200 and "text/html" in res.get("Content-Type") and b"relay running" in res.body, res)
    for method in ("HEAD", "POST", "OPTIONS", "PURGE"):
        res = r.get(d, "127.0.0.1", "/_bifrost/ping", method=method)
        r.check(f"ping by {method}", (res.status, res.body) == (200, b"" if method == "HEAD" else b"ok"), res)
    for path in ("/_bifrost", "/_bifrost/ping/", "/_bifrost/ping?x", "/_bifrost/x", "/a.json", "/?"):
        res = r.get(d, "relay.test", path)
        r.equal(f"GET {path} without a tunnel", res.status, 200 if path == "/?" else 503)
    bif(r, d, "ping")
    r.check("a tunnel may be called ping", r.get(d, "ping.tunnel.x").json().get("tunnel") == "ping"
            and r.get(d, "relay.test", "/_bifrost/ping").body == b"ok")
    res = r.get(d, "a.tunnel.x", "/_bifrost/ping")
    r.check("a Host that names a tunnel comes first", res.status == 503 and res.get("Retry-After"), res)
    r.equal("V9: Accept", r.get(d, "a.tunnel.x", "/a", "Accept: application/json\r\n").json().get("status"), 503)
    bif(r, d)
    bif(r, d, "preview")
    for host, path in (("relay.test", "/"), ("relay.test", "/_bifrost"), ("tunnel.example.com", "/x"), ("a.b.tunnel.x", "/"),
                       ("-a.tunnel.x", "/"), ("a_b.tunnel.x", "/"), ("a.tunnelx.y", "/"), ("preview.tunnel", "/"), ("preview.tunnel:80", "/"),
                       ("127.0.0.1", "/"), ("[::1]:80", "/_bifrost/ping?x"), ("tunnel.localhost", "/")):
        res = r.get(d, host, path)
        r.check(f"{host}{path}: default", res.status == 200 and res.json().get("tunnel", "") is None and res.json().get("url") == path, res)
    bif(r, d, "tunnel")
    for host, name in (("preview.tunnel.example.com", "preview"), ("PreView.TUNNEL.x:8443", "preview"), ("preview.tunnel.x.", "preview"),
                       ("preview.tunnel.", "preview"), ("preview.tunnel.:80", "preview"), ("tunnel.tunnel.x", "tunnel"),
                       ("preview.tunnel." + "x" * 300, "preview"), ("preview.tunnel.tunnel.x", "preview")):
        res = r.get(d, host, "/p")
        r.check(f"{host[:40]}: {name}", res.json().get("tunnel") == name, res)
    for n in (63, 64, 253, 254, 400):
        res = r.get(d, "l" * n + ".tunnel.x")
        r.check(f"a label of {n}: nobody's, and not default's", res.status == 503, res)
    res = r.ask(d, "GET /old HTTP/1.0\r\n\r\n")
    r.check("HTTP/1.0 without Host: default, no x-forwarded-host", res.json().get("url") == "/old"
            and "x-forwarded-host" not in res.json()["headers"], res)
    r.equal("ping beside a default tunnel", r.get(d, "relay.test", "/_bifrost/ping").body, b"ok")


@test
def there_from_the_101_on(r):
    """Silence behind the 101 means accepted: whoever has seen it can be called."""
    d = r.daemon()
    n = 0
    for n in range(1, 101):
        with after_101(r, d, d.token, f"/_bifrost/at-once-{n}") as c, \
                r.caller(d, f"GET / HTTP/1.1\r\nHost: at-once-{n}.tunnel.x\r\n\r\n"):
            c.until(b'"method"')
    r.equal("all of them were called", n, 100)


@test
def with_domain(r):
    """Bifrost's rule beside --domain: for its clients alone, and never for the daemon's own hosts."""
    d = r.daemon("--domain", "t.test", "--url", "https://relay.tunnel.corp", scope="a,n,relay,t,default,shop.tunnel.example")
    bif(r, d, "a", "--quiet")
    for host in ("a.t.test", "a.tunnel.t.test", "A.Tunnel.anything:80", "a.tunnel."):
        r.check(f"{host}: a", r.get(d, host, "/x").json().get("tunnel") == "a")
    bif(r, d, "relay")
    res = r.get(d, "relay.tunnel.corp")
    r.check("the host of --url is the daemon's own", b"relay running" in res.body, res)
    for path in ("/_bifrost/t", "/_tunnel"):
        c = r.caller(d, handshake(d.token, path, host="a.tunnel.x", more="Sec-WebSocket-Protocol: tunnel.v1\r\n" if path == "/_tunnel" else ""))
        r.equal(f"a name takes no handshakes for {path}", c.interim().status, 101)
        c.close()
    r.equal("nor the ping", r.get(d, "a.tunnel.x", "/_bifrost/ping").body, b"ok")
    r.equal("/health is its own", r.get(d, "a.tunnel.x", "/health").json().get("tunnel"), "a")
    r.client(d, "n")
    r.check("a native client's is at --domain alone", r.get(d, "n.t.test").status == 200 and r.get(d, "n.tunnel.x").status == 503)
    r.client(d, "shop.tunnel.example")
    bif(r, d)
    r.check("a custom domain comes first", "preface" in r.get(d, "shop.tunnel.example").json())
    r.equal("others are default's", r.get(d, "x.example").json().get("tunnel", ""), None)
    res = r.get(d, "gone.tunnel.x")
    r.check("but not what is meant for a tunnel that is not there", res.status == 503 and res.get("Retry-After"), res)
    res = r.get(d, "127.0.0.1", "/_tunnel/ask?domain=a.tunnel.evil.test")
    r.equal("nobody gets certificates for such a host", res.status, 404)
    d2 = r.daemon("--domain", "a.tunnel.test", name="d2", scope="a,b")
    bif(r, d2, "a")
    bif(r, d2, "b")
    r.check("--domain that looks like a tunnel's host", r.get(d2, "b.a.tunnel.test").json().get("tunnel") == "b"
            and b"relay running" in r.get(d2, "a.tunnel.test").body and r.get(d2, "a.a.tunnel.test").json().get("tunnel") == "a")


@test
def names_of_digits(r):
    d = r.daemon("--grace", "0", scope=None)
    for args, fits in ((("--global",), ("8080", "0", "80-90")), (("--scope", "name:8080,name:80-90"), ("8080", "80-90")), (("--scope", "8080,80-90"), ())):
        token = d.issue(*args)
        for name in ("8080", "0", "80-90"):
            c = after_101(r, d, token, f"/_bifrost/{name}")
            c.send(frame(0x88))
            r.equal(f"{args}: {name}", last_frame(c) != UNAUTHORIZED, name in fits)
            r.until("gone", lambda: not d.status())
    d.issue("--global")
    bif(r, d, "8080")
    r.equal("it is served", r.get(d, "8080.tunnel.x").json().get("tunnel"), "8080")
    r.client(d, "9090")
    r.equal("native, too", r.get(d, "9090.tunnel.x").status, 200)
    for host in ("127.0.0.1", "192.0.2.1:80", "1.2"):
        r.check(f"{host} is no name", b"relay running" in r.get(d, host).body)


@test
def imported(r):
    """V1: tokens.json as it stands, in both dialects."""
    d = r.daemon("--grace", "0", scope=None)

    def entry(i, scope, token="x", **more):
        return {"id": f"{i:08x}", "hash": hashlib.sha256(token.encode()).hexdigest(), "scope": scope, "created": "2026-01-02T03:04:05.678Z", **more}
    v1 = [entry(0xa1b2c3d4, "*", A), entry(0x0badcafe, "preview", B)]
    r.equal("V1: the hashes", [e["hash"][:8] for e in v1], ["adf9f237", "534717ce"])
    path = f"{d.state}/../tokens.json"

    def take(content):
        with open(path, "w", encoding="utf-8") as f:
            f.write(content if isinstance(content, str) else json.dumps(content, indent=2) + "\n")
        return d.tool("token", "import", path)
    for what, bad in (("no array", {}), ("not JSON", "["), ("nothing", ""), ("an entry that is none", v1 + [5]), ("a list of names", [entry(1, "a,b")]),
                      ("a custom domain", [entry(1, "a.b")]), ("no scope", [entry(1, "")]), ("upper case", [entry(1, "A")]), ("all and more", [entry(1, "*,a")]),
                      ("a long name", [entry(1, "a" * 64)]), ("a hash too short", [entry(1, "a", hash="ab")]), ("an id", [entry(1, "a", id="xyz")])):
        res = take(bad)
        r.check(f"{what}: refused, in one line", res.returncode == 1 and len(res.stderr.splitlines()) == 1 and path in res.stderr, res)
    r.equal("and nothing is changed", d.tool("token", "list").stdout, "")
    mark = d.marks()
    res = take(v1 + [entry(1, "8080", "digits"), entry(2, "80-90", "range")])
    r.check("taken", res.returncode == 0 and res.stdout == "imported: 4, there already: 0\n", res)
    d.log("event=tokens_read", start=mark)
    r.equal("again: there already", take(v1).stdout, "imported: 0, there already: 2\n")
    listed = d.tool("token", "list").stdout
    r.check("listed", re.search(r"^id=a1b2c3d4 scope=\* created=2026-01-02T03:04:05Z expires=never note=from bifrost$", listed, re.M)
            and "scope=name:8080 " in listed and "scope=name:80-90 " in listed and "adf9f237" not in listed, listed)
    for token, names in ((A, {"preview": 1, "default": 1}), (B, {"preview": 1, "PREVIEW": 1, "default": 0, "staging": 0}),
                         ("digits", {"8080": 1, "a": 0}), ("range", {"80-90": 1, "85": 0})):
        for name, fits in names.items():
            c = after_101(r, d, token, f"/_bifrost/{name}")
            c.send(frame(0x88))
            r.equal(f"{token[:6]} {name}: {'fits' if fits else 'unauthorized'}", last_frame(c) != UNAUTHORIZED, bool(fits))
            r.until("gone", lambda: not d.status())
    r.client(d, "preview", token=B)
    r.equal("in the native dialect", r.get(d, "preview.tunnel.x").status, 200)
    r.equal("there, too, its scope counts", r.client(d, "other", token=B, ready=False).event(event="rejected")["status"], 403)
    bif(r, d, "b", token=A)
    r.equal("revoked by its id", d.tool("token", "revoke", "a1b2c3d4").returncode, 0)
    r.equal("it counts no more, at once", last_frame(after_101(r, d, A, "/_bifrost/c")), UNAUTHORIZED)
    r.equal("and import does not bring back what is in no file", take(v1[1:]).stdout, "imported: 0, there already: 1\n")


@test
def holders(r):
    d = r.daemon()
    first = bif(r, d, "a")
    mine = d.token
    p = bif(r, d, "A", ready=False)
    r.equal("a live holder, the same token: refused", p.event(event="closed")["reason"], "name already in use")
    r.equal("which is final", p.exit(), 1)
    r.equal("V3: to the byte", last_frame(after_101(r, d, mine, "/_bifrost/a")), IN_USE)
    d.issue("--global")
    r.equal("another token", last_frame(after_101(r, d, d.token, "/_bifrost/a")), IN_USE)
    r.equal("native, another token: name_in_use", r.client(d, "a", ready=False).ready().get("code"), "name_in_use")
    r.check("the holder does not notice", first.alive() and ask(r, d).status == 200)
    n = r.client(d, "n", token=mine)
    for token in (mine, d.token):
        r.equal("a name that a native client holds", last_frame(after_101(r, d, token, "/_bifrost/n")), IN_USE)
    r.check("which does not notice", r.get(d, "n.tunnel.x").status == 200 and n.alive())
    # a native client of the same credential takes over: what runs finishes first
    c = start(r, d, do("hold"), path="/held", p=first)
    r.client(d, "a", token=mine)
    r.check("taken over", "preface" in r.get(d, "a.tunnel.x").json())
    r.check("what runs goes on", not first.seen(event="closed"))
    left = start(r, d, "", host="n.tunnel.x")
    left.close()
    c.reset()   # its caller leaves: with nothing left to do the session is closed
    closed = first.closed()
    r.equal("and the old session is closed", (closed["code"], closed["reason"]), (1008, "name already in use"))
    r.equal("the new one serves", r.get(d, "a.tunnel.x").status, 200)


@test
def taken_over_while_running(r):
    d = r.daemon("--timeout", "2")
    p = bif(r, d, "a", "--once")
    c = start(r, d, do("hold"), path="/held", p=p)
    r.client(d, "a")
    res = c.response()
    r.equal("nothing answers what still ran", res.status, 504)
    r.equal("then the old session is closed", p.closed()["code"], 1008)


@test
def ghosts(r):
    d = r.daemon("--grace", "60")
    p = bif(r, d, "a", "--once")
    c = start(r, d, do("silent"), path="/s", p=p)
    p.kill(signal.SIGSTOP)
    began = time.monotonic()
    new = bif(r, d, "a")
    r.check("a stopped holder is probed, and its token takes over", time.monotonic() - began < 30)
    r.equal("its request is lost", c.response().status, 502)
    res = ask(r, d)
    r.check("the new one serves", res.status == 200 and new.event(event="request", n=1), res)
    p.kill(signal.SIGCONT)
    r.check("the old one comes to know", p.closed()["code"] in (1006, 1008))
    r.check("and takes nothing with it", ask(r, d).status == 200 and len(d.status()) == 1)


@test
def ghost_without_pongs(r):
    d = r.daemon("--grace", "60")
    p = bif(r, d, "a", "--no-pong", "--once")
    other = d.token
    d.issue("--scope", "a")
    r.equal("another token than a ghost's is refused", last_frame(after_101(r, d, d.token, "/_bifrost/a")), IN_USE)
    r.check("and does it no harm", not p.seen(event="closed") and ask(r, d).status == 200)
    bif(r, d, "a", token=other)
    r.equal("its own takes over", p.closed()["code"], 1006)
    r.equal("and serves", ask(r, d).status, 200)


@test
def busy_is_no_ghost(r):
    """A long answer in one frame, which no pong overtakes: the connection lives."""
    d = r.daemon()
    p = bif(r, d, "a")
    c = start(r, d, do("slowly"), path="/slow", p=p)
    got = last_frame(after_101(r, d, d.token, "/_bifrost/a"))
    r.equal("it is probed and found alive", got, IN_USE)
    res = c.response()
    r.check("and its answer arrives", res.status == 200 and len(res.body) == 2250, res)


@test
def revoked(r):
    d = r.daemon("--grace", "60")
    p = bif(r, d, "a")
    c = start(r, d, do("silent"), path="/s", p=p)
    began = time.monotonic()
    r.equal("revoke", d.tool("token", "revoke", d.token_id).returncode, 0)
    closed = p.closed()
    r.equal("1008 unauthorized", (closed["code"], closed["reason"]), (1008, "unauthorized"))
    r.check("soon", time.monotonic() - began < 15, time.monotonic() - began)
    r.equal("the client gives up", p.exit(), 1)
    r.equal("its caller gets 502", c.response().status, 502)
    r.equal("no grace", (ask(r, d).status, d.status()), (503, []))


@test
def messages(r):
    """V5: what the client is told, and what the caller gets."""
    d = r.daemon("--trust", "127.0.0.1", scope="preview")
    p = bif(r, d, "preview")
    res = r.ask(d, "POST /api/v1?x=1&x=2 HTTP/1.1\r\nHost: preview.tunnel.example.com\r\nX-Forwarded-For: 198.51.100.7\r\n"
                "X-Dup: a\r\nX-Dup: b\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\na=1")
    m = res.json()
    h = m.get("headers", {})
    r.equal("V5: method, url, body", (m.get("method"), m.get("url"), m.get("body")), ("POST", "/api/v1?x=1&x=2", "YT0x"))
    for name, want in (("host", "preview.tunnel.example.com"), ("x-forwarded-for", "198.51.100.7, 127.0.0.1"), ("x-dup", "a, b"),
                       ("content-type", "text/plain"), ("content-length", "3"), ("x-forwarded-host", "preview.tunnel.example.com"),
                       ("x-forwarded-proto", "http")):
        r.equal(f"V5: {name}", h.get(name), want)
    d = r.daemon(name="plain")
    p = bif(r, d, "a")
    fields = ("Cookie: a=1\r\nCookie: b=2\r\nSet-Cookie: x\r\nset-cookie: y\r\nX-A: 1\r\nAccept: text/html\r\nx-a: 2\r\nX-a:\r\n"
              "User-Agent: one\r\nUser-Agent: two\r\nReferer: r1\r\nReferer: r2\r\nAuthorization: Basic eA==\r\nX-Empty:\r\n"
              "If-None-Match: \"a\"\r\nX-Quote: a\"b\\c\r\nX-Tab: a\tb\r\nX-Raw: \xe9\xff\x80\r\n"
              "Connection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n"
              "TE: trailers, gzip\r\nTrailer: X-T\r\nUpgrade: foo\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"
              "X-Forwarded-Host: evil\r\nX-Real-IP: 1.2.3.4\r\nX_Forwarded_For: 6.6.6.6\r\nAccept-Encoding: gzip\r\n")
    res = ask(r, d, path='/a"|{}\\^`%00%zz?[x]', fields=fields)
    m = res.json()
    h = m.get("headers", {})
    r.equal("the target untouched", m.get("url"), '/a"|{}\\^`%00%zz?[x]')
    for name, want in (("cookie", "a=1; b=2"), ("set-cookie", ["x", "y"]), ("x-a", "1, 2, "), ("user-agent", "one"), ("referer", "r1"),
                       ("authorization", "Basic eA=="), ("x-empty", ""), ("if-none-match", '"a"'), ("x-quote", 'a"b\\c'),
                       ("x-tab", "a\tb"), ("x-raw", "\xe9\xff\x80"), ("accept-encoding", "gzip"), ("x-forwarded-for", "127.0.0.1"),
                       ("x-forwarded-proto", "http"), ("x-forwarded-host", "a.tunnel.x"), ("x-real-ip", "127.0.0.1"),
                       ("x-private", None), ("connection", None), ("keep-alive", None), ("te", None), ("trailer", None),
                       ("upgrade", None), ("proxy-connection", None), ("proxy-authorization", None), ("x_forwarded_for", None),
                       ("content-length", None), ("transfer-encoding", None), ("expect", None)):
        r.equal(f"field {name}", h.get(name), want)
    order = [k for k in m.get("keys", []) if k in ("cookie", "set-cookie", "x-a", "accept", "user-agent")]
    r.equal("in the order of their first", order, ["cookie", "set-cookie", "x-a", "accept", "user-agent"])
    for method in ("PURGE", "PROPFIND", "OPTIONS", "DELETE", "M-SEARCH", "!#$%&'*+.^_`|~"):
        r.equal(f"method {method}", ask(r, d, method=method).json().get("method"), method)
    r.equal("OPTIONS *", ask(r, d, method="OPTIONS", path="*").json().get("url"), "*")
    r.equal("a target of 8 KiB", len(ask(r, d, path="/" + "q" * 8000).json().get("url", "")), 8001)
    res = ask(r, d, method="POST", body=b"")
    r.check("an empty POST: no content-length but 0", res.json()["headers"].get("content-length") in (None, "0"), res)
    every = bytes(range(256)) * 11
    res = ask(r, d, method="PUT", body=every)
    r.check("every byte", base64.b64decode(res.json()["body"]) == every and res.json()["headers"]["content-length"] == "2816")
    c = r.caller(d, "POST / HTTP/1.1\r\nHost: a.tunnel.x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n")
    for piece in (b"5;x=y\r\nhello\r\n", b"1\r\n \r\n5\r\nworld", b"\r\n0\r\nX-T: 1\r\n", b"\r\n"):
        c.send(piece)
    m = c.response().json()
    r.check("chunks become one body; trailers are dropped", m["body"] == base64.b64encode(b"hello world").decode()
            and m["headers"].get("content-length") == "11" and "x-t" not in m["headers"] and "transfer-encoding" not in m["headers"], m)
    c = r.caller(d, "POST / HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    r.equal("Expect: 100 from the daemon", c.interim().status, 100)
    c.send("hello")
    m = c.response().json()
    r.check("and is not passed on", m["body_length"] == 5 and "expect" not in m["headers"], m)
    c.send("GET /next HTTP/1.1\r\nHost: a.tunnel.x\r\n\r\nGET /pipelined HTTP/1.1\r\nHost: a.tunnel.x\r\n\r\n")
    r.equal("the connection goes on", (c.response().json().get("url"), c.response().json().get("url")), ("/next", "/pipelined"))
    ids = [m["id"] for m in p.seen(event="request")]
    r.check("every id is fresh", len(ids) == len(set(ids)) and all(uuid.UUID(i).version == 4 for i in ids))


@test
def hostile_requests(r):
    """6.5: what would kill the original never reaches it."""
    d = r.daemon()
    p = bif(r, d, "a")
    host = b"Host: a.tunnel.x\r\n"
    for what, data, want in (
            ("a byte above 7e in the target", b"GET /\xff HTTP/1.1\r\n" + host + b"\r\n", {400}),
            ("UTF-8 in the target", b"GET /\xc3\xa9 HTTP/1.1\r\n" + host + b"\r\n", {400}),
            ("DEL in the target", b"GET /\x7f HTTP/1.1\r\n" + host + b"\r\n", {400}),
            ("a control in the target", b"GET /\x01 HTTP/1.1\r\n" + host + b"\r\n", {400}),
            ("a NUL in the target", b"GET /\x00 HTTP/1.1\r\n" + host + b"\r\n", {400}),
            ("a method that is no token", b"G(T / HTTP/1.1\r\n" + host + b"\r\n", {400}),
            ("a field name that is no token", b"GET / HTTP/1.1\r\n" + host + b"a(b: c\r\n\r\n", {400}),
            ("a control in a value", b"GET / HTTP/1.1\r\n" + host + b"a: \x01\r\n\r\n", {400}),
            ("DEL in a value", b"GET / HTTP/1.1\r\n" + host + b"a: \x7f\r\n\r\n", {400}),
            ("a bare CR", b"GET / HTTP/1.1\r\n" + host + b"a: b\rc: d\r\n\r\n", {400}),
            ("folding", b"GET / HTTP/1.1\r\n" + host + b"a: b\r\n c\r\n\r\n", {400}),
            ("two lengths", b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", {400}),
            ("length and chunks", b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
            ("two hosts", b"GET / HTTP/1.1\r\n" + host + host + b"\r\n", {400}),
            ("broken chunks", b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {400}),
            ("a chunked body of nothing", b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {200}),
            ("Content-Length: 0", b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n", {200}),
            ("names that JavaScript knows", b"GET / HTTP/1.1\r\n" + host + b"__proto__: x\r\nconstructor: y\r\n\r\n", {200}),
            ("128 fields", b"GET / HTTP/1.1\r\n" + host + b"".join(b"x%d: y\r\n" % i for i in range(127)) + b"\r\n", {200}),
            ("a huge head of bytes that grow", b"GET / HTTP/1.1\r\n" + host + b"x: " + b"\xff" * 30000 + b"\r\n\r\n", {200}),
            ("quotes that grow", b"GET / HTTP/1.1\r\n" + host + b"x: " + b'"\\' * 15000 + b"\r\n\r\n", {200}),
            ("absolute-form", b"GET http://a.tunnel.x/abs?q HTTP/1.1\r\n" + host + b"\r\n", {200}),
            ("an upgrade to WebSocket", b"GET / HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Version: 13\r\n" + KEY.encode() + b"\r\n", {501})):
        res = r.ask(d, data)
        r.check(f"{what}: what a server is asked (RFC 9112, 3.2.2)", what != "absolute-form" or res.json().get("url") == "/abs?q", res)
        r.check(f"{what}: {want}", res.status in want, res)
    res = ask(r, d)
    r.check("the client lives, on the same connection", res.status == 200 and p.alive() and not p.seen(event="closed"), res)


@test
def answers(r):
    """V6 to V8, and more of what a client may say."""
    d = r.daemon("--timeout", "10")
    p = bif(r, d, "a")
    res = raw(r, d, '{"id":"ID","status":201,"headers":{"content-type":"application/json","set-cookie":["s=1; Path=/","t=2"],'
                    '"content-length":"12"},"body":"eyJvayI6dHJ1ZX0K"}')
    r.check("V5", res.status == 201 and res.all("set-cookie") == ["s=1; Path=/", "t=2"] and res.body == b'{"ok":true}\n', res)
    res = raw(r, d, '{"id":"ID","status":502,"headers":{"content-type":"text/plain"},"body":"bG9jYWwgc2VydmVyIGVycm9y"}')
    r.check("V6", (res.status, res.get("content-type"), res.body) == (502, "text/plain", b"local server error"), res)
    wide = "/".join("%d" % i for i in range(2000))
    for what, text, status, body, fields in (
            ("V7: nothing but the id", '{"id":"ID"}', 200, b"", {}),
            ("V7: status as text", '{"id":"ID","status":"404","headers":null,"body":""}', 404, b"", {}),
            ("V7: a number as value", '{"id":"ID","status":200,"headers":{"x-n":5},"body":"AP/+gA=="}', 200, b"\0\xff\xfe\x80", {"x-n": "5"}),
            ("null as value", '{"id":"ID","headers":{"x-n":null}}', 200, b"", {"x-n": "null"}),
            ("status 0", '{"id":"ID","status":0}', 200, b"", {}), ("status null", '{"id":"ID","status":null}', 200, b"", {}),
            ("unknown keys, another order", ' { "body" : "aGk=" , "x" : [ { } ] , "id" : "ID" } ', 200, b"hi", {}),
            ("the URL-safe alphabet", '{"id":"ID","body":"__79-A=="}', 200, b"\xff\xfe\xfd\xf8", {}),
            ("no padding", '{"id":"ID","body":"aGVsbG8"}', 200, b"hello", {}),
            ("escapes in the body", '{"id":"ID","body":"aGk\\u003d"}', 200, b"hi", {}),
            ("latin-1", '{"id":"ID","headers":{"x-l":"\u00e9\\u00ff"}}', 200, b"", {"x-l": "\xe9\xff"}),
            ("another content-length", '{"id":"ID","headers":{"content-length":"99","Content-Length":"1"},"body":"aGk="}', 200, b"hi", {"content-length": "2"}),
            ("hop-by-hop", '{"id":"ID","headers":{"connection":"x-p","x-p":"1","keep-alive":"5","transfer-encoding":"chunked",'
             '"Transfer-Encoding":"gzip","upgrade":"h2c","te":"x","proxy-authenticate":"x","trailer":"x-t"},"body":"aGk="}', 200, b"hi",
             {"x-p": None, "keep-alive": None, "transfer-encoding": None, "upgrade": None, "te": None, "proxy-authenticate": None,
              "trailer": None}),
            ("an empty array", '{"id":"ID","headers":{"x-a":[]}}', 200, b"", {"x-a": None}),
            ("the last of one name", '{"id":"x","status":500,"headers":[],"id":"ID","status":201,"headers":{"x-a":"1","x-a":"2"}}', 201, b"", {"x-a": "2"}),
            ("a surrogate alone, elsewhere", '{"id":"ID","x":"\\ud800"}', 200, b"", {}), ("in a value", '{"id":"ID","headers":{"x":"\\ud800"}}', 502, None, {}),
            ("deep", '{"x":%s%s,"id":"ID"}' % ("[" * 5000, "]" * 5000), 200, b"", {}), ("deeper", '{"id":"ID","x":%s%s}' % ("[" * 70000, "]" * 70000), 502, None, {}),
            ("many values", '{"id":"ID","x":[%s]}' % ",".join("{}" for _ in range(20000)), 200, b"", {}),
            ("names that differ at their end", '{"id":"ID",%s}' % ",".join('"%s%d":1' % ("n" * 200, i) for i in range(2000)), 200, b"", {}),
            ("V8: status 99", '{"id":"ID","status":99}', 502, None, {}), ("status 100", '{"id":"ID","status":100}', 502, None, {}),
            ("status 101", '{"id":"ID","status":101,"headers":{"upgrade":"websocket","connection":"upgrade"}}', 502, None, {}),
            ("status 600", '{"id":"ID","status":600}', 502, None, {}), ("status 2e2", '{"id":"ID","status":2e2}', 502, None, {}),
            ("status -200", '{"id":"ID","status":-200}', 502, None, {}), ("status []", '{"id":"ID","status":[]}', 502, None, {}),
            ("status 1e400", '{"id":"ID","status":1e400}', 502, None, {}), ("status 200\\r\\n", '{"id":"ID","status":"200\\r\\n"}', 502, None, {}),
            ("V8: a header injected", '{"id":"ID","headers":{"x":"a\\r\\nb: c"}}', 502, None, {"b": None}),
            ("in a name", '{"id":"ID","headers":{"x: y\\r\\nb":"c"}}', 502, None, {"b": None}),
            ("in an array", '{"id":"ID","headers":{"set-cookie":["a","b\\nc: d"]}}', 502, None, {"c": None, "set-cookie": None}),
            ("a NUL", '{"id":"ID","headers":{"x":"a\\u0000b"}}', 502, None, {}), ("DEL", '{"id":"ID","headers":{"x":"\\u007f"}}', 502, None, {}),
            ("a name of nothing", '{"id":"ID","headers":{"":"c"}}', 502, None, {}), ("a long name", '{"id":"ID","headers":{"%s":"c"}}' % ("n" * 300), 502, None, {}),
            ("U+0100", '{"id":"ID","headers":{"x":"\u0100"}}', 502, None, {}), ("an object as value", '{"id":"ID","headers":{"x":{}}}', 502, None, {}),
            ("an array in an array", '{"id":"ID","headers":{"x":[["y"]]}}', 502, None, {}), ("headers []", '{"id":"ID","headers":[]}', 502, None, {}),
            ("headers as text", '{"id":"ID","headers":"x: y"}', 502, None, {}), ("V8: body 5", '{"id":"ID","body":5}', 502, None, {}),
            ("body {}", '{"id":"ID","body":{}}', 502, None, {}), ("a body that is no base64", '{"id":"ID","body":"!!!!"}', 502, None, {}),
            ("a body of one character", '{"id":"ID","body":"a"}', 502, None, {}),
            ("a head too long", '{"id":"ID","headers":{"x":"%s"}}' % ("y" * 40000), 502, None, {}),
            ("fields too many", '{"id":"ID","headers":{"x":[%s]}}' % ",".join('"%d"' % i for i in range(200)), 502, None, {}),
            ("a status with a body that may have none", '{"id":"ID","status":204,"headers":{"content-length":"5"},"body":"aGk="}', 204, b"", {"content-length": None}),
            ("304", '{"id":"ID","status":304,"headers":{"etag":"x","content-length":"5"},"body":"aGk="}', 304, b"", {"etag": "x", "content-length": "5"}),
            ("wide", '{"id":"ID","body":"%s"}' % base64.b64encode(wide.encode()).decode(), 200, wide.encode(), {})):
        res = raw(r, d, text)
        r.check(f"{what}: {status}", res.status == status and (body is None or res.body == body)
                and all(res.get(k) == v for k, v in fields.items()), res)
    res = raw(r, d, b'{"id":"ID","headers":{"x":"\xff"}}', "binary")
    r.equal("no UTF-8 in a binary message", res.status, 502)
    for how in ("binary", "fragments", "bytes"):
        res = raw(r, d, '{"id":"ID","status":202,"body":"AP/+gA=="}', how)
        r.check(f"V7: {how}", res.status == 202 and res.body == b"\0\xff\xfe\x80", res)
    res = ask(r, d, method="HEAD", fields=do("raw"), body=b'{"id":"ID","headers":{"content-length":"77"},"body":"aGk="}')
    r.check("HEAD: its own length, no content", res.status == 200 and res.get("content-length") == "77", res)
    c = r.caller(d, "HEAD / HTTP/1.1\r\nHost: a.tunnel.x\r\n\r\n")
    r.equal("HEAD with a body in the answer", c.response("HEAD").status, 200)
    c.send("GET /behind HTTP/1.1\r\nHost: a.tunnel.x\r\n\r\n")
    r.equal("nothing of it is left over", c.response().json().get("url"), "/behind")
    res = r.ask(d, "GET / HTTP/1.0\r\nHost: a.tunnel.x\r\n\r\n")
    r.check("HTTP/1.0", res.status == 200 and res.get("Content-Length"), res)
    res = ask(r, d, fields=do("junk"))
    r.check("V8: junk is ignored", res.status == 200, res)
    res = ask(r, d, fields=do("twice"))
    r.equal("the first of two answers counts", res.status, 200)
    res = ask(r, d, fields=do("wrong"))
    r.equal("ids that nobody asked with", res.status, 200)
    r.check("all on one connection", len(p.seen(event="open")) == 1 and not p.seen(event="closed") and ask(r, d).status == 200)
    other = bif(r, d, "b")
    c = start(r, d, do("hold"), path="/held", p=p)
    held = p.seen(event="request", url="/held")[0]["id"]
    res = ask(r, d, "b.tunnel.x", "/steal", do("steal"), "POST", held.encode())
    r.equal("an answer from another client", res.status, 200)
    ask(r, d, fields=do("release"))
    res = c.response()
    r.check("counts for nothing: the one that was asked answers", res.status == 200 and res.json().get("url") == "/held", res)
    r.check("both go on", other.alive() and p.alive())


@test
def local_service(r):
    """The second checklist's contents, through to a local service and back."""
    d = r.daemon("--timeout", "60")
    o = r.origin()
    p = bif(r, d, "Foo", "--target", o.target)
    host = "foo.tunnel.anything"
    port = o.target.rpartition(":")[2]
    r.equal("not through the default host", r.get(d, "relay.test", "/echo").status, 503)
    res = ask(r, d, host, "/echo?q")
    h = dict((k.lower(), v) for k, v in res.json()["headers"])
    r.check("host and x-forwarded-*", h.get("host") == f"localhost:{port}" and h.get("x-forwarded-host") == host
            and h.get("x-forwarded-for") == "127.0.0.1" and h.get("x-forwarded-proto") == "http", h)
    res = ask(r, d, host, "/dup")
    r.check("several Set-Cookie", res.all("Set-Cookie") == ["a=1", "b=2; Path=/", "a=3"] and res.body == b"dup\n", res)
    r.equal("others joined", res.all("Link"), ["</1>, </2>"])
    res = ask(r, d, host, "/hop")
    r.check("hop-by-hop fields", not res.get("X-Private") and not res.get("Keep-Alive") and res.get("X-Public") == "kept", res)
    for n in (0, 1, 65535, 65536, 65537, 300000, MAX):
        res = ask(r, d, host, f"/bytes?n={n}", wait=180)
        r.check(f"{n} bytes down", res.end == "length" and hashlib.sha256(res.body).digest()
                == hashlib.sha256((random.Random(1).randbytes(1 << 20) * (n // (1 << 20) + 1))[:n]).digest(), (res.end, len(res.body)))
    res = ask(r, d, host, "/bytes?n=300000&chunked=1&piece=777")
    r.check("chunks down", res.status == 200 and len(res.body) == 300000 and not res.get("Transfer-Encoding"), res.fields)
    res = ask(r, d, host, "/bytes?n=30000&eof=1")
    r.check("to the end", len(res.body) == 30000, res.fields)
    res = ask(r, d, host, "/bytes?n=1000", method="HEAD")
    r.check("HEAD", res.status == 200 and res.get("Content-Length") == "1000", res)
    for code in (204, 304):
        res = ask(r, d, host, f"/status?code={code}")
        r.check(f"{code}", res.status == code and not res.body and res.end == "length", res)
    res = ask(r, d, host, "/trailers")
    r.check("trailers are lost", res.body == b"hello" and not res.trailers and not res.get("Trailer"), res)
    res = ask(r, d, host, "/1xx")
    r.check("1xx is lost", res.body == b"final\n" and not res.interim, res)
    r.equal("the local service breaks off", ask(r, d, host, "/die-before").status, 502)
    for n in (0, 1, 4095, 4096, 4097, 65536, 1000000):
        body = random.Random(n).randbytes(n)
        want = {"body_length": n, "body_sha256": hashlib.sha256(body).hexdigest()}
        res = ask(r, d, host, "/upload", method="POST", body=body)
        r.check(f"{n} bytes up", {k: res.json().get(k) for k in want} == want, res)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(x), x) for x in (body[:n // 3], body[n // 3:]) if x) + b"0\r\n\r\n"
        res = r.get(d, host, "/upload", "Transfer-Encoding: chunked\r\n", "POST", chunks)
        r.check(f"{n} bytes in chunks", {k: res.json().get(k) for k in want} == want and res.json().get("chunked") is False, res)
    r.check("one connection", len(p.seen(event="open")) == 1 and not p.seen(event="stuck"))


@test
def large_bodies(r):
    """V10."""
    d = r.daemon("--timeout", "180")
    p = bif(r, d, "a")
    for what, fields, body in (("10 MiB", f"Content-Length: {MAX}\r\n", b"x" * MAX),
                               ("in chunks", "Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (MAX, b"x" * MAX))):
        res = r.get(d, "a.tunnel.x", "/", fields, "POST", body, wait=180)
        r.equal(f"{what}: passes", res.json().get("body_length"), MAX)
    n = requests(p)
    c = r.caller(d, f"POST / HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: {MAX + 1}\r\n\r\n")
    res = c.response()
    r.check("a byte more, by its length: 413 before it is read", res.status == 413 and res.get("Connection") == "close", res)
    c = r.caller(d, f"POST / HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: {10 ** 14}\r\nExpect: 100-continue\r\n\r\n")
    res = c.response()
    r.check("no 100 before a 413", res.status == 413 and not res.interim, res)
    for what, fields, body in (("a byte more, sent nevertheless", f"Content-Length: {MAX + 1}\r\n", b"x" * (MAX + 1)),
                               ("in one chunk", "Transfer-Encoding: chunked\r\n", b"%x\r\n" % (MAX + 1) + b"x" * (MAX + 1) + b"\r\n0\r\n\r\n"),
                               ("in a chunk of its own", "Transfer-Encoding: chunked\r\n", b"%x\r\n" % MAX + b"x" * MAX + b"\r\n1\r\nx\r\n0\r\n\r\n")):
        c = r.caller(d, f"POST / HTTP/1.1\r\nHost: a.tunnel.x\r\n{fields}\r\n")
        try:
            c.send(body)
        except OSError:
            pass        # it has closed: the answer is there nevertheless
        r.equal(f"{what}: 413", c.response().status, 413)
    r.equal("none of them reached the client", requests(p), n)
    res = ask(r, d, fields=do("huge", Size=20 << 20), wait=180)
    r.check("20 MiB down", res.status == 200 and len(res.body) == 20 << 20, res.end)


@test
def limits(r):
    d = r.daemon("--slots", "4", "--timeout", "4")
    p = bif(r, d, "a")
    bif(r, d, "b")
    cs = [start(r, d, do("silent"), path=f"/s{i}", p=p) for i in range(2)]
    res = ask(r, d)
    r.check("429: a tunnel has half of the slots", res.status == 429 and res.get("Retry-After"), res)
    r.equal("others have theirs", ask(r, d, "b.tunnel.x").status, 200)
    r.equal("504 for a silent client", [c.response().status for c in cs], [504, 504])
    # the connection goes on, and a later answer is nobody's
    cs[0].send("GET /again HTTP/1.1\r\nHost: a.tunnel.x\r\n\r\n")
    r.equal("again", cs[0].response().json().get("url"), "/again")
    c = start(r, d, do("hold"), path="/late", p=p)
    r.equal("504 for a late one", c.response().status, 504)
    r.equal("its answer comes, and is ignored", ask(r, d, path="/r", fields=do("release")).json().get("url"), "/r")
    c.send("GET /next HTTP/1.1\r\nHost: a.tunnel.x\r\n\r\n")
    r.equal("nor does it reach the next request", c.response().json().get("url"), "/next")
    r.equal("slots are free again", [ask(r, d).status for _ in range(6)], [200] * 6)
    r.until("nothing runs", lambda: not any(t["running"] for t in d.status()))


@test
def leaving(r):
    d = r.daemon("--half-close", "300ms", "--grace", "60")
    p = bif(r, d, "a", "--unit", "50")
    c = start(r, d, do("hold"), path="/l1", p=p)
    c.reset()
    r.until("a caller that resets is dropped", lambda: d.status()[0]["running"] == 0)
    c = start(r, d, do("hold"), path="/l2", p=p)
    c.close()
    r.until("one that closes too", lambda: d.status()[0]["running"] == 0)
    c = r.caller(d, "POST / HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: 100\r\n\r\nhalf")
    r.until("it runs", lambda: d.status()[0]["running"] == 1)
    c.close()
    r.until("one that leaves within its request", lambda: d.status()[0]["running"] == 0)
    r.equal("later answers are nobody's", ask(r, d, path="/r", fields=do("release")).json().get("url"), "/r")
    p.event(event="request", url="/r")
    r.equal("half a request is never sent", [m["url"] for m in p.seen(event="request")], ["/l1", "/l2", "/r"])
    c = start(r, d, "", path="/h")
    c.half_close()
    r.equal("a half-closed caller is answered", c.response().json().get("url"), "/h")
    for how, code in (("cut", 1006), ("close", 1000), ("half", 1006), ("utf8", 1007), ("oversize", 1009), ("unmasked", 1002)):
        mark = d.marks()
        c = start(r, d, do("silent"), path=f"/pending-{how}", p=p)
        c2 = start(r, d, do(how, Cut="1") if how == "half" else do(how), path=f"/{how}")
        began = time.monotonic()
        r.equal(f"{how}: 502 for what is pending, at once", (c.response().status, c2.response().status), (502, 502))
        r.check(f"{how}: in time", time.monotonic() - began < 15, time.monotonic() - began)
        d.log(f"event=session_end .*code={code}", start=mark)
        d.log("event=tunnel_open name=a ", start=mark)
        r.equal(f"{how}: it comes back", ask(r, d).status, 200)
    r.equal("the codes it saw", [e["code"] for e in p.seen(event="closed")], [1006, 1000, 1006, 1007, 1009, 1002])
    r.check("a frame's close has no token in it", d.logged(d.token) == 0)
    c = start(r, d, do("silent"), path="/k", p=p)
    p.kill()
    began = time.monotonic()
    r.equal("V9: killed with a request pending: 502", c.response().status, 502)
    r.check("at once", time.monotonic() - began < 15)


@test
def in_flight(r):
    """Many requests on one connection, answered in the opposite order."""
    d = r.daemon("--slots", "1000")
    p = bif(r, d, "a", "--quiet")
    cs = [r.caller(d, f"POST /f{i} HTTP/1.1\r\nHost: a.tunnel.x\r\n{do('hold')}Content-Length: {i * 400}\r\n\r\n" + "x" * (i * 400))
          for i in range(200)]
    r.until("all of them run", lambda: d.status()[0]["running"] == 200)
    released = []

    def release():      # again: one that runs may not have been sent yet, and is held after that
        released.append(ask(r, d, path="/go", fields=do("release")).json().get("url"))
        return d.status()[0]["running"] == 0
    r.until("released", release)
    r.check("each time", set(released) == {"/go"}, released)
    got = [c.response().json() for c in cs]
    late = [i for i, m in enumerate(got) if m.get("url") != f"/f{i}" or m.get("body_length") != i * 400]
    r.equal("each has its own answer", late, [])
    r.check("on one connection", len(p.seen(event="open")) == 1)

    def work(k):
        with Caller(d.port) as c:
            for i in range(25):
                c.send(f"POST /w{k}-{i} HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: {k * 999}\r\n\r\n" + "y" * (k * 999))
                m = c.response().json()
                if m.get("url") != f"/w{k}-{i}" or m.get("body_length") != k * 999:
                    return
        done.append(k)
    done = []
    ts = [threading.Thread(target=work, args=(k,)) for k in range(10)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    r.equal("10 connections with 25 requests each", sorted(done), list(range(10)))
    r.until("none runs", lambda: d.status()[0]["running"] == 0)
    t = d.status()[0]
    r.check("tunneld status", t["name"] == "a" and d.token_id in str(t) and t["requests"] == 450 + len(released)
            and t["in"] > 200 * 199 * 200 and t["out"] > 451 * 100 and not t["lost"], t)
    r.has("for people too", r"\ba\b", d.tool("status").stdout)


@test
def budget(r):
    d = r.daemon("--bodies", "4M")
    p = bif(r, d, "a")
    bif(r, d, "b", "--unit", "50")
    r.equal("what fits passes", ask(r, d, method="POST", body=b"x" * 1000000).status, 200)
    c = r.caller(d, f"POST / HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: {MAX}\r\n\r\n")
    try:
        c.send(b"x" * MAX)
    except OSError:
        pass
    res = c.response()
    r.check("the budget is used up: 503", res.status == 503 and res.get("Retry-After"), res)
    r.equal("and there again", ask(r, d, method="POST", body=b"x" * 1000000).status, 200)
    # two that are half there hold it; one that is refused, because an answered request is not freed yet, comes again
    cs = [None, None]

    def full():
        for i, c in enumerate(cs):
            if c is None or select.select([c.sock], [], [], 0)[0]:
                cs[i] = r.caller(d, "POST / HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: 2000000\r\n\r\n")
                try:
                    cs[i].send(b"x" * 1900000)
                except OSError:
                    pass
        return ask(r, d, method="POST", body=b"x" * 100000).status == 503
    r.until("another one finds none", full, 60)
    r.equal("requests without content go on", ask(r, d, "b.tunnel.x").status, 200)
    for c in cs:
        c.reset()
    r.until("who leaves gives it back", lambda: ask(r, d, method="POST", body=b"x" * 1000000).status == 200)
    res = ask(r, d, fields=do("huge", Size=8 << 20))
    r.check("an answer beyond it: 503 for that request", res.status == 503 and res.get("Retry-After"), res)
    r.until("and its client serves again", lambda: ask(r, d, "a.tunnel.x", method="POST", body=b"x" * 1000000).status == 200)
    r.check("its session goes on", p.alive() and len(p.seen(event="open")) == 1)


@test
def shares(r):
    """What one session holds does not starve others."""
    d = r.daemon("--bodies", "8M", "--timeout", "60")
    p = bif(r, d, "a")
    bif(r, d, "b")
    c = start(r, d, do("hoard", Size=3 << 20), path="/hoard", p=p)
    p.event(event="hoards", size=3 << 20)
    r.equal("half an answer of one: others go on", ask(r, d, "b.tunnel.x", method="POST", body=b"x" * 1500000).status, 200)
    cs = [r.caller(d, "POST / HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: 3000000\r\n\r\n") for _ in range(4)]
    for u in cs:
        try:
            u.send(b"x" * 2900000)
        except OSError:
            pass        # refused before it is sent
    r.equal("and half requests, too", ask(r, d, "b.tunnel.x", method="POST", body=b"x" * 400000).status, 200)
    for u in cs:
        u.reset()
    # 503 as long as what the half requests held is not free again
    r.until("its client is told to finish", lambda: ask(r, d, path="/finish", fields=do("finish")).status == 200)
    r.equal("the answer comes when its end comes", len(c.response().body), (3 << 20) * 3 // 4)
    c = start(r, d, do("hoard", Size=9 << 20), path="/more", p=p)
    res = c.response()
    r.check("one that can never be held: 503 at once", res.status == 503, res)
    p.event(event="hoards", size=9 << 20)
    ask(r, d, path="/finish", fields=do("finish"))
    r.check("and the session goes on", ask(r, d).status == 200 and len(p.seen(event="open")) == 1)


@test
def half_a_message(r):
    d = r.daemon("--ping", "4", "--grace", "60")
    p = bif(r, d, "a", "--once")
    c = start(r, d, do("hoard", Size=100000), path="/h", p=p)
    r.equal("it answers pings, and goes on with nothing", p.closed()["code"], 1006)
    r.equal("its request", c.response().status, 502)
    d.log("event=session_end .*half a message")


@test
def slow_link(r):
    """A request that the client takes too slowly fails; its session does not."""
    d = r.daemon("--timeout", "20", "--slots", "64")
    p = bif(r, d, "a", "--once")
    q = bif(r, d, "b", "--once")
    for peer, host in ((p, "a.tunnel.x"), (q, "b.tunnel.x")):
        r.equal("deaf", ask(r, d, host, "/deaf", do("deaf")).status, 200)
    big = [r.caller(d, f"POST /big HTTP/1.1\r\nHost: {h}\r\nContent-Length: {MAX}\r\n\r\n" + "x" * MAX) for h in ("a.tunnel.x", "b.tunnel.x")]
    r.until("it is on its way", lambda: min((t["in"] for t in d.status()), default=0) >= MAX)
    behind = r.caller(d, "POST /behind HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: 300000\r\n\r\n" + "y" * 300000)
    r.equal("504 for it, and for what waits behind it", [c.response().status for c in (*big, behind)], [504, 504, 504])
    p.kill(signal.SIGUSR1)
    res = ask(r, d, path="/next")
    r.check("the link goes on", res.status == 200 and not p.seen(event="closed"), res)
    p.event(event="request", url="/next")
    urls = [m["url"] for m in p.seen(event="request")]
    r.check("what had begun arrived whole, what had not never did", urls[0] == "/deaf" and urls[-1] == "/next"
            and urls[1:-1] in (["/big"], ["/behind"], ["/behind", "/big"]), urls)
    d.log("event=session_end .*was not taken")
    q.kill(signal.SIGUSR1)
    r.equal("one that takes nothing at all is ended", q.closed()["code"], 1006)
    r.check("the other stays", ask(r, d).status == 200 and p.alive())


@test
def slow_uploads(r):
    """Content that still comes holds no slot."""
    d = r.daemon("--slots", "2", "--timeout", "60")    # one of them for a tunnel, however quick it is
    p = bif(r, d, "a")
    cs = [r.caller(d, f"POST /u{i} HTTP/1.1\r\nHost: a.tunnel.x\r\nContent-Length: 5\r\n{do('hold')}\r\nhal") for i in range(6)]
    r.until("they run", lambda: d.status()[0]["running"] == 6)
    r.equal("others are served", [ask(r, d).status for _ in range(3)], [200] * 3)
    cs[0].send("ff")
    p.event(event="request", url="/u0")
    cs[1].send("ff")
    r.equal("once they are with the client they count", [cs[1].response().status, ask(r, d).status], [429, 429])
    p.kill(signal.SIGTERM)
    r.equal("its end ends them, those that still come, too", [c.response().status for c in (cs[0], cs[2])], [502, 502])


@test
def refused_ones_count(r):
    """Who has proved nothing takes no more than --callers allows."""
    d = r.daemon("--callers", "8")
    got = []

    def full():
        for _ in range(8):
            c = r.caller(d, handshake("bf_wrong"))
            try:
                got.append(c.interim().status)
            except (EOFError, OSError, ValueError):
                got.append(None)
        return 503 in got
    r.until("the daemon is full", full)
    r.until("not for long", lambda: r.get(d, "x", "/health").status == 200)


@test
def slow_callers(r):
    """Answers that callers do not take count, too."""
    d = r.daemon("--bodies", "16M" if SANITIZED else "32M", "--timeout", "180")
    p = bif(r, d, "a")
    slow, heads, size = [], [], (5 if SANITIZED else 8) << 20
    for i in range(3 if SANITIZED else 10):
        c = r.caller(d, f"GET /q{i} HTTP/1.1\r\nHost: a.tunnel.x\r\n{do('huge', Size=size)}\r\n", rcvbuf=4096, wait=180)
        slow.append(c)
        heads.append(c.interim().status)
    r.check("some are served, then the budget is used up", 200 in heads and set(heads) == {200, 503}, heads)
    r.check("the daemon is small", SANITIZED or hwm(d) < 96 << 10, hwm(d))
    r.equal("requests without content go on", ask(r, d).status, 200)
    c = slow[0]
    got = c.exactly(size)
    r.equal("one takes all of its answer", hashlib.sha256(got).digest(), hashlib.sha256(b"h" * size).digest())
    for c in slow[1:]:
        c.reset()
    r.until("who leaves gives it back", lambda: ask(r, d, fields=do("huge", Size=size), wait=180).status == 200)
    r.check("the client stays", p.alive() and len(p.seen(event="open")) == 1)


@test
def drained(r):
    d = r.daemon("--drain", "20")
    p = bif(r, d, "a", "--unit", "50")
    q = bif(r, d, "q", "--unit", "50")
    c = start(r, d, do("hold"), path="/held", p=p)
    idle = r.caller(d, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    idle.response()
    more = r.caller(d, "GET / HTTP/1.1\r\nHost: a.tunnel.x\r\n\r\n")
    more.response()
    d.ended = True
    r.equal("tunneld stop", d.tool("stop").returncode, 0)
    d.log("event=draining")
    idle.send(handshake(d.token, "/_bifrost/late"))
    r.equal("a handshake while it drains: 101", idle.interim().status, 101)
    r.equal("then 1001", last_frame(idle)[:4], b"\x88\x0f\x03\xe9")
    r.check("clients stay while a request runs", not p.seen(event="closed") and not q.seen(event="closed"))
    more.send(f"GET /go HTTP/1.1\r\nHost: a.tunnel.x\r\n{do('release')}\r\n")
    res = more.response()
    r.check("connections that are open are served, and closed", res.status == 200 and res.get("Connection") == "close", res)
    r.equal("the running request finishes", c.response().json().get("url"), "/held")
    r.equal("clients are closed with 1001", (p.closed()["code"], q.closed()["code"]), (1001, 1001))
    p.event(event="reconnecting")
    r.check("and come again", p.alive() and q.alive())
    r.equal("the daemon exits 0", d.exit(), 0)


@test
def return_to(r):
    """Loss, grace, and the way back: to the same daemon, and to another in its place."""
    d = r.daemon("--grace", "60")
    relay = r.keep(Relay(d.port))
    p = bif(r, d, "a", "--unit", "300", port=relay.port)
    c = start(r, d, do("silent"), path="/s", p=p)
    mark = d.marks()
    relay.cut(0)
    r.equal("cut: 502", c.response().status, 502)
    r.equal("in grace a request waits", r.get(d, "a.tunnel.x", "/w").json().get("url"), "/w")
    d.log("event=tunnel_open name=a ", start=mark)
    r.equal("not refused by its own ghost", len(p.seen(event="rejected")), 0)
    token = d.token
    d.ended = True
    d.kill()
    d.exit()
    p.event(event="failed")
    p.event(event="reconnecting", after=600)
    d2 = r.daemon(scope=None)
    d2.token, relay.to = token, d2.port
    r.check("killed: it comes back to the next daemon", d2.log("event=tunnel_open name=a "))
    r.equal("and serves", ask(r, d2).status, 200)
    delays = [e["after"] for e in p.seen(event="reconnecting")]
    r.check("delays double, and begin anew after success", delays[:3] == [300, 300, 600] and delays[3:] == [1200, 2400, 4800][:len(delays) - 3], delays)
    p.kill(signal.SIGTERM)
    r.equal("SIGTERM: exit 0", p.exit(), 0)
    r.until("its name is free", lambda: not d2.status())
    r.equal("503 for it", ask(r, d2).status, 503)


@test
def pings(r):
    d = r.daemon("--ping", "4", "--grace", "60")    # time enough for the one that is to answer
    p = bif(r, d, "a")
    q = bif(r, d, "b", "--no-pong", "--once")
    c = start(r, d, do("silent"), path="/s", host="b.tunnel.x", p=q)
    r.equal("no pong: the session ends", q.closed()["code"], 1006)
    r.equal("502", c.response().status, 502)
    r.until("its name is kept", lambda: lost(d, "b") == [True])
    r.check("one that answers stays", not p.seen(event="closed") and ask(r, d).status == 200)


@test
def without_room(r):
    d = r.daemon("--sessions", "1", "--grace", "0")
    p = bif(r, d, "a")
    got = last_frame(after_101(r, d, d.token, "/_bifrost/b"))
    r.equal("too many sessions: a code that is not final", got[2:4], struct.pack("!H", 1013))
    p.kill(signal.SIGTERM)
    p.exit()
    r.until("one that ended makes room", lambda: not d.status())
    bif(r, d, "b")


main()
