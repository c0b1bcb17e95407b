"""The PipeGate dialect: tokens, handshake, routing, messages, limits, loss and return.

peer/pipegate.py stands for the unmodified client; it shares no code with ours.
"""
import base64
import gzip
import hashlib
import json
import os
import re
import select
import signal
import sys
import time
import uuid
import zlib

import jwt

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
from client import Relay    # pylint: disable=wrong-import-position
from rig import PEER, PYTHON, SANITIZED, WAIT, Clock, main, serving, test   # pylint: disable=wrong-import-position

SECRET = "vector-secret-0123456789abcdef-0123456789"
HEAD = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
V1 = (HEAD + "eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJuYmYiOjE3MzU2ODk2MDAsImlhdCI6MTczNTY4OTYwMCwiaXNzIjoicGlwZWdhdGUiLCJhdW"
      "QiOiJwaXBlZ2F0ZSIsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmIn0.blAxZUF5dAEWov4pLENBZOtC8a0Cij1uaRXcBCitxCE")
LEGACY = HEAD + "eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwfQ.Nagddv877i-3Lzx66UcOzic7p14ypweX-pcDHbqcvJM"
EXPIRED = (HEAD + "eyJzdWIiOiJkZW1vIiwiZXhwIjoxNzM1Njg5NjAxLCJuYmYiOjE3MzU2ODk2MDAsImlhdCI6MTczNTY4OTYwMCwiaXNzIjoicGlwZWdhdGUiLC"
           "JhdWQiOiJwaXBlZ2F0ZSIsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmIn0.yDLIZsgqUpc6U2wfWwuTOxNsgNY6L0HSy01W5iEsTOM")
OTHER_AUD = (HEAD + "eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJuYmYiOjE3MzU2ODk2MDAsImlhdCI6MTczNTY4OTYwMCwiaXNzIjoicGlwZWdhdGUiL"
             "CJhdWQiOiJvdGhlciIsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmIn0.EbYTA1TQsHK29LxOVFVs7tJ2Slofu4W_IAXc_C3o7-I")
NONE = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + V1.split(".")[1] + "."
MAX = 10485760
FITS = 785000       # bytes of content that fit into what the original takes
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
METHODS = "GET, POST, PUT, DELETE, PATCH, OPTIONS, HEAD"


def token(sub="demo", secret=SECRET, ttl=3600, algorithm="HS256", headers=None, **claims):
    now = int(time.time())
    made = {"sub": sub, "exp": now + ttl, "nbf": now, "iat": now, "iss": "pipegate", "aud": "pipegate", "jti": uuid.uuid4().hex,
            **claims}
    return jwt.encode({k: v for k, v in made.items() if v is not None}, secret, algorithm, headers)


def relay(r, *args, secret=SECRET, **more):
    return r.daemon(*args, env={"TUNNELD_JWT_SECRET": secret} if secret else None, **more)


def start(r, d, sub="demo", target="-", *args, text=None, port=None):
    """The independent client; its tunnel is there when this returns."""
    mark = d.marks()
    p = r.spawn(PYTHON, f"{PEER}/pipegate.py", target, f"ws://127.0.0.1:{port or d.port}/?token={text or token(sub)}", *args)
    d.log(f"event=tunnel_open name=/{re.escape(sub)} ", start=mark)
    p.event(event="connected")
    return p


def handshake(query, path="/", more=""):
    return (f"GET {path}{query} HTTP/1.1\r\nHost: relay.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\n{KEY}{more}\r\n")


def ask(r, d, path="/demo/", fields="", method="GET", body=None, **more):
    if body is not None:
        fields += f"Content-Length: {len(body)}\r\n"
    return r.get(d, "t.example.com", path, fields, method, body or b"", **more)


def do(what, **more):
    return f"X-Do: {what}\r\n" + "".join(f"X-{k}: {v}\r\n" for k, v in more.items())


def raw(r, d, text, how="text", method="POST"):
    return ask(r, d, "/demo/raw", do("raw", How=how), method, text.encode())


def waiting(r, d, p, path, fields="", method="GET", more=""):
    """A caller; its request is with the client p when this returns."""
    c = r.caller(d, f"{method} {path} HTTP/1.1\r\nHost: t.example.com\r\n{fields}\r\n{more}")
    p.event(event="request", path=path.split("/", 2)[2])
    return c


def refused(r, d, what, data):
    res = r.ask(d, data)
    r.check(f"{what}: 403, no content", (res.status, res.get("Content-Length"), res.get("Content-Type"), res.get("Connection"), res.body)
            == (403, "0", "text/plain", "close", b""), res)


def accepted(r, d, what, data, name="demo"):
    mark = d.marks()
    c = r.caller(d, data)
    res = c.interim()
    r.check(f"{what}: 101", res.status == 101, res)
    if res.status == 101:
        d.log(f"event=tunnel_open name=\"?/{re.escape(name)}\"? ", start=mark)
        c.send(b"\x88\x80\0\0\0\0")
        c.until(b"\x88")
        c.close()
        d.log("event=session_end .*code=1005", start=mark)
    c.close()


def harmless(r, p):
    """The client was sent nothing that a good server does not send."""
    r.check("no violation", not p.seen(event="violation"), p.seen(event="violation")[:3])


@test
def vectors_of_tokens(r):
    """V1 and V2."""
    d = relay(r, "--grace", "0", "--access-log", "stderr")
    c = r.caller(d, handshake(f"?token={V1}", more="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"))
    res = c.interim()
    r.check("V1: 101, and no compression", (res.status, res.get("Upgrade"), res.get("Sec-WebSocket-Accept"),
                                            res.get("Sec-WebSocket-Extensions")) == (101, "websocket", ACCEPT, None), res)
    d.log("event=tunnel_open name=/demo who=jwt:demo@pipegate ")
    c.send(b"\x88\x80\0\0\0\0")
    d.log("event=session_end .*code=1005")
    for what, text in (("no iss", LEGACY), ("expired", EXPIRED), ("another audience", OTHER_AUD), ("alg none", NONE)):
        refused(r, d, f"V2: {what}", handshake(f"?token={text}"))
    for last in "ABCDHIJXYZabcefz0189-_":
        if last not in "EFGH":
            refused(r, d, f"V2: last character {last}", handshake(f"?token={V1[:-1]}{last}"))
    for what, query in (("no token", ""), ("a query without one", "?"), ("an empty one", "?token="), ("the last counts", f"?token={V1}&token=x")):
        refused(r, d, f"V2: {what}", handshake(query))
    accepted(r, d, "V2: the last counts", handshake(f"?token=x&token={V1}"))
    accepted(r, d, "more in the query", handshake(f"?a=b&token={V1}&c"))
    accepted(r, d, "escapes in it", handshake("?token=" + V1.replace(".", "%2e")))
    res = r.ask(d, handshake(f"?token={V1}", path="/demo"))
    r.check("V2: another path", res.status in (403, 503) and not d.status(), res)
    res = r.ask(d, handshake(f"?token={V1}", more="Sec-WebSocket-Protocol: hot\r\n"))
    r.check("a subprotocol is nothing of PipeGate's", not d.status() and res.status != 101, res)
    for what, data, want in (("version 12", handshake(f"?token={V1}").replace("Version: 13", "Version: 12"), 426),
                             ("no key", handshake(f"?token={V1}").replace(KEY, ""), 400)):
        r.equal(what, r.ask(d, data).status, want)
    text = "\n".join(l for l in d.errs if l)
    r.check("no token in logs", V1[60:] not in text and V1.split(".")[1] not in text and "GET /?token=\"" in text, text[-3000:])


@test
def claims(r):
    """Section 3."""
    d = relay(r, "--grace", "0")
    now = int(time.time())
    for what, text in (
            ("times as digits", token(exp=str(now + 600), nbf=str(now - 1), iat=str(now - 1))), ("unknown claims", token(x=[1], y={})),
            ("no typ", token(headers={"typ": None})), ("claims in another order", token(zzz=1))):
        accepted(r, d, what, handshake(f"?token={text}"))
    for what, text in (
            *((f"no {claim}", token(**{claim: None})) for claim in ("sub", "exp", "nbf", "iat", "iss", "aud", "jti")),
            ("exp is now", token(exp=now)), ("exp was", token(exp=now - 1)), ("nbf is to come", token(nbf=now + 600)),
            ("iat is to come", token(iat=now + 600)), ("another issuer", token(iss="other")), ("another audience", token(aud="other")),
            ("audiences", token(aud=["pipegate"])), ("sub a number", token(sub=5)), ("jti a number", token(jti=5)),
            ("a fraction", token(exp=now + 600.5)), ("a fraction in a string", token(exp=f"{now + 600}.5")), ("null", token(exp=None)),
            ("another secret", token(secret=SECRET + "x")), ("HS512", token(algorithm="HS512")), ("HS384", token(algorithm="HS384")),
            ("no signature", token().rsplit(".", 1)[0] + "."), ("two parts", token().rsplit(".", 1)[0]),
            ("padding", token() + "="), ("an empty id", token(sub="")), ("an id of two segments", token(sub="a/b")),
            ("a blank in it", token(sub="a b")), ("dots", token(sub="..")), ("a name that is taken", token(sub="healthz")),
            ("ours", token(sub="_tunnel")), ("a long one", token(sub="a" * 129)), ("not ASCII", token(sub="\u00e9")), ("%", token(sub="a%62"))):
        refused(r, d, what, handshake(f"?token={text}"))
    for sub in ("0123456789abcdef0123456789abcdef", "A.b-c_d~", "a@b:c,d;e=f!$&'()*+", "default", "a" * 128):
        accepted(r, d, sub, handshake("?token=" + token(sub)), sub)
    r.until("all are gone", lambda: not d.status())
    d = relay(r, secret=None, name="without")
    refused(r, d, "no key", handshake(f"?token={V1}"))
    d = relay(r, "--jwt-issuer", "me", "--jwt-audience", "you", "--grace", "0", name="named")
    accepted(r, d, "issuer and audience of one's own", handshake("?token=" + token(iss="me", aud="you")))
    refused(r, d, "PipeGate's then", handshake("?token=" + token()))


@test
def legacy(r):
    """Section 12: tokens of sub and exp, behind a switch."""
    d = relay(r, "--pipegate-legacy")
    p = start(r, d, text=LEGACY)
    r.equal("it serves", ask(r, d).status, 200)
    q = start(r, d, "demo", "-", "--tag", "new", text=V1)
    r.equal("a new token of the same id is the same client's", ask(r, d).json().get("tag"), "new")
    for what, text in (("expired", token(exp=1, nbf=None, iat=None, iss=None, aud=None, jti=None)), ("no sub", token(None, iss=None, aud=None)),
                       ("another issuer", token(iss="other", aud=None)), ("another audience", token(iss=None, aud="other")),
                       ("another secret", token(secret="x" * 32, iss=None, aud=None))):
        refused(r, d, what, handshake(f"?token={text}"))
    harmless(r, p)
    harmless(r, q)
    target = r.service(lambda conn, head: None)
    target.close()
    p = start(r, d, "old", f"http://{target.target}", "--old")
    res = ask(r, d, "/old/x")
    r.check("an old client's error", (res.status, res.body) == (504, b""), res)


@test
def retries(r):
    """Section 8: 403 is retried after 2, 4, 8 seconds."""
    d = relay(r)
    p = r.spawn(PYTHON, f"{PEER}/pipegate.py", "-", f"ws://127.0.0.1:{d.port}/?token={EXPIRED}", "--unit", "10")
    for n in (1, 2, 3):
        got = p.event(event="retry", attempt=n + 1)
        r.equal(f"attempt {n}", (got["status"], got["after"]), (403, 2 ** n))


@test
def routing(r):
    """Section 2, V8, and design.md's routing."""
    d = relay(r)
    p = start(r, d)
    r.equal("status tells where", [t["path_url"] for t in d.status()], [f"http://127.0.0.1:{d.port}/demo/"])
    for path, want in (("/demo/", ""), ("/demo/x", "x"), ("/demo//x", "/x"), ("/demo/x/", "x/"), ("/dem%6f/x", "x"), ("/demo%2Fx", "x"),
                       ("/demo%2fx/y", "x/y"), ("/demo%2F", ""), ("/demo/a%2Fb%3Fc%23d%25e", "a%2Fb%3Fc%23d%25e"), ("/demo/\xe9", "%E9"),
                       ("/demo/\"<>", "%22%3C%3E"), ("/demo/%", "%25"), ("http://t.example.com/demo/abs", "abs")):
        res = ask(r, d, path)
        r.equal(path, (res.status, res.json().get("url_path")), (200, want))
    for path in ("/Demo/x", "/demo2/x", "/dem/x", "//demo/x", "/demo%00/x", "/x/demo/", "/%2Fdemo/x", "/", "/demo%zz/x"):
        res = ask(r, d, path)
        r.check(f"{path}: not it", res.status in ((200,) if path == "/" else (503,)) and "url_path" not in res.json(), res)
    for path, want in (("/demo", "/demo/"), ("/demo?q=1", "/demo/?q=1"), ("/dem%6F?a/b", "/dem%6F/?a/b"), ("/demo?", "/demo/?")):
        for method in ("GET", "POST", "PROPFIND"):
            res = ask(r, d, path, method=method, body=b"")
            r.check(f"V8: {method} {path}", (res.status, res.get("Location"), res.body) == (307, f"http://t.example.com{want}", b""), res)
    res = r.get(d, "T.example.com:8080", "/demo")
    r.equal("Host as it came", res.get("Location"), "http://T.example.com:8080/demo/")
    res = r.ask(d, "GET /demo HTTP/1.0\r\n\r\n")
    r.check("no Host", (res.status, res.get("Location")) == (307, "/demo/"), res)
    for method in ("PROPFIND", "TRACE", "PURGE", "get"):
        res = ask(r, d, "/demo/x", method=method)
        r.check(f"V8: {method}", (res.status, res.get("Allow")) == (405, METHODS), res)
    for path in ("/demo/../x", "/demo/a/..", "/demo/%2e%2E/x", "/demo/.", "/demo/.%2e"):
        res = ask(r, d, path)
        r.equal(f"{path}: dot segments", res.status, 400)
    for path in ("/healthz", "/health"):
        r.equal(path, r.get(d, "t.example.com", path).status, 200)
    for method, path in (("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/healthz/x"), ("GET", "/docs"), ("GET", "/openapi.json")):
        r.equal(f"{method} {path}", ask(r, d, path, method=method).status, 503)
    res = r.ask(d, handshake("", path="/demo/x"))
    r.check("an upgrade", res.status == 501 and not p.seen(event="request", path="x", method="UPGRADE"), res)
    for host in ("demo.tunnel.x", "demo.localhost", "/demo.localhost", "%2fdemo.localhost"):
        r.check(f"Host {host} does not reach it", r.get(d, host, "/x").status in (400, 503))
    r.equal("an id without a client", ask(r, d, "/nobody/x").status, 503)
    harmless(r, p)


@test
def there_from_the_101_on(r):
    """The 101 is all that such a client is told: whoever has seen it can be called."""
    d = relay(r)
    n = 0
    for n in range(1, 101):
        with r.caller(d, handshake("?token=" + token(f"at-once-{n}"))) as c:
            c.interim()
            with r.caller(d, f"GET /at-once-{n}/x HTTP/1.1\r\nHost: a\r\n\r\n"):
                c.until(b'"correlation_id"')
    r.equal("all of them were called", n, 100)


@test
def name_spaces(r):
    """An id is no name of a Host, and has its path alone."""
    d = relay(r, "--grace", "0")
    p = start(r, d, "default")
    r.equal("the id default is not the tunnel default", r.get(d, "relay.test", "/x").status, 503)
    r.equal("/default/ is it", ask(r, d, "/default/x").status, 200)
    upper = start(r, d, "DEFAULT", "-", "--tag", "upper")
    r.equal("case counts", (ask(r, d, "/default/x").json()["tag"], ask(r, d, "/DEFAULT/x").json()["tag"]), ("", "upper"))
    r.client(d, "default")
    r.check("a tunnel default beside it", "preface" in r.get(d, "relay.test", "/x").json() and "url_path" in ask(r, d, "/default/x").json())
    start(r, d, "name")
    native = r.client(d, "name")
    r.check("a name of a Host beside an id", "preface" in r.get(d, "name.localhost", "/").json() and ask(r, d, "/name/x").json().get("url_path") == "x")
    got = r.client(d, "default", "--path", ready=False).ready()
    r.equal("a path that an id has", got.get("code"), "name_in_use")
    r.client(d, "mine", "--path")
    res = r.ask(d, handshake("?token=" + token("mine")))
    r.equal("an id that a path has", res.status, 409)
    start(r, d, "Mine")
    r.check("in another case it is another", "preface" in ask(r, d, "/mine/x").json() and "url_path" in ask(r, d, "/Mine/x").json())
    r.check("status names the path", sorted(t["name"] for t in d.status()) == ["/DEFAULT", "/Mine", "/default", "/name", "default", "mine", "name"]
            and native.alive(), d.status())
    harmless(r, p)
    harmless(r, upper)


@test
def messages(r):
    """V3 and 5.1, with the rules of 13."""
    d = relay(r)
    p = start(r, d)
    res = r.ask(d, "POST /demo/api/v1%20x?a=1&a=2&b&c=%2B+ HTTP/1.1\r\nHost: t.example.com\r\nContent-Type: text/plain\r\n"
                "Content-Length: 3\r\n\r\na=1")
    m = res.json()
    h = m.get("headers", {})
    r.equal("V3", [m.get(k) for k in ("url_path", "url_query", "method", "body")],
            ["api/v1%20x", [["a", "1"], ["a", "2"], ["b", ""], ["c", "+ "]], "POST", "YT0x"])
    for name, want in (("host", "t.example.com"), ("content-type", "text/plain"), ("content-length", "3"), ("cookie", ""),
                       ("accept-encoding", "identity"), ("x-forwarded-for", "127.0.0.1"), ("x-forwarded-host", "t.example.com"),
                       ("x-forwarded-proto", "http"), ("x-forwarded-prefix", "/demo")):
        r.equal(f"V3: {name}", h.get(name), want)
    fields = ("Cookie: a=1\r\nCookie: b=2\r\nX-A: 1\r\nAccept: text/html\r\nx-a: 2\r\nX-a:\r\nUser-Agent: one\r\nUser-Agent: two\r\n"
              "Accept-Encoding: gzip, br\r\nX-PipeGate-Correlation-Id: mine\r\nX-Quote: a\"b\\c\r\nX-Tab: a\tb\r\nX-Raw: \xe9\r\nX-Some: a\r\n"
              "X-Some: \xff\r\nX-Some: b\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
              "Trailer: X-T\r\nUpgrade: foo\r\nAuthorization: Basic eA==\r\n")
    m = ask(r, d, "/demo/?q=%e9&&x=%22\"", fields).json()
    h = m["headers"]
    for name, want in (("cookie", "a=1; b=2"), ("x-a", "1, 2, "), ("accept", "text/html"), ("user-agent", "one"), ("x-quote", 'a"b\\c'),
                       ("x-tab", "a b"), ("x-raw", None), ("x-some", "a, b"), ("x-private", None), ("authorization", "Basic eA=="),
                       ("x-pipegate-correlation-id", m["correlation_id"].replace("-", "")), ("content-length", None)):
        r.equal(name, h.get(name), want)
    r.equal("a query of what is no UTF-8", m["url_query"], [["q", "\ufffd"], ["x", '""']])
    every = bytes(range(256)) * 11
    m = ask(r, d, method="PUT", body=every).json()
    r.check("every byte", base64.b64decode(m["body"]) == every and m["headers"]["content-length"] == "2816", m)
    c = r.caller(d, "POST /demo/chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    r.equal("Expect: 100 from the daemon", c.interim().status, 100)
    c.send("5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n")
    m = c.response().json()
    r.check("chunks become one body", m["body"] == base64.b64encode(b"hello world").decode() and m["headers"]["content-length"] == "11", m)
    c.send("GET /demo/next HTTP/1.1\r\nHost: a\r\n\r\nGET /demo/after HTTP/1.1\r\nHost: a\r\n\r\n")
    r.equal("the connection goes on", (c.response().json().get("url_path"), c.response().json().get("url_path")), ("next", "after"))
    m = ask(r, d, method="POST", body=b"").json()
    r.check("an empty POST", m["body"] == "" and "content-length" not in m["headers"], m)
    ids = [m["id"] for m in p.seen(event="request")]
    r.check("every id is fresh", len(ids) == len(set(ids)))
    harmless(r, p)
    r.check("one connection for all", len(p.seen(event="connected")) == 1 and not p.seen(event="closed"))


@test
def answers(r):
    """V4 to V7, V10, 6.4, and more of what a client may say."""
    d = relay(r)
    p = start(r, d)
    v4 = ('{"correlation_id":"%s","headers":"{\\"content-type\\":\\"application/json\\",\\"set-cookie\\":\\"s=1\\",\\"Set-Cookie\\":\\"t=2\\"}",'
          '"body":"eyJvayI6dHJ1ZX0K","status_code":201}')

    def answer(headers="{}", body="", status=200, **more):
        return json.dumps({"correlation_id": "ID", "headers": headers if isinstance(headers, str) else json.dumps(headers),
                           "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body, "status_code": status, **more})
    for how in ("text", "binary", "fragments"):
        res = raw(r, d, v4 % "ID", how)
        r.check(f"V4, {how}", (res.status, res.all("set-cookie"), res.all("content-length"), res.body)
                == (201, ["s=1", "t=2"], ["12"], b'{"ok":true}\n'), res)
    for what, text, status, body, fields in (
            ("V5: a status of digits", answer(status="201"), 201, b"", {}), ("V5: no fields", answer(""), 200, b"", {}),
            ("V5: an extra key", answer(x=[{}]), 200, b"", {}), ("an integral float", answer(status=202.0), 202, b"", {}),
            ("V7", answer(status=504), 504, b"", {"content-length": "0"}),
            ("V10", answer({"content-encoding": "gzip", "content-length": "25"}, b"hello"), 200, b"hello", {"content-encoding": None, "content-length": "5"}),
            ("gzip without magic", answer({"content-encoding": "gzip"}, b"hello"), 200, b"hello", {"content-encoding": None}),
            ("gzip that is", answer({"content-encoding": "gzip"}, gzip.compress(b"x")), 200, gzip.compress(b"x"), {"content-encoding": "gzip"}),
            ("joined cookies", answer({"set-cookie": "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/, b=2"}), 200, b"",
             {"set-cookie": "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/"}),
            ("an array", answer({"x-a": ["1", "2"]}), 200, b"", {"x-a": "1"}), ("latin-1", answer({"x-l": "\xe9"}), 200, b"", {"x-l": "\xe9"}),
            ("hop-by-hop", answer({"connection": "x-p", "x-p": "1", "keep-alive": "5", "transfer-encoding": "chunked", "upgrade": "h2c"}, b"hi"),
             200, b"hi", {"x-p": None, "keep-alive": None, "transfer-encoding": None, "upgrade": None, "content-length": "2"}),
            ("204", answer({"content-length": "5"}, b"hi", 204), 204, b"", {"content-length": None}),
            ("304", answer({"content-length": "5", "etag": "x"}, b"", 304), 304, b"", {"content-length": "5", "etag": "x"}),
            ("302", answer({"location": "/x"}, b"", 302), 302, b"", {"location": "/x"}), ("599", answer(status=599), 599, b"", {}),
            ("fields that are no JSON", answer("x: y"), 502, None, {}), ("an array for an object", answer("[]"), 502, None, {}),
            ("a number as value", answer({"x": 5}), 502, None, {}), ("U+0100", answer({"x": "\u0100"}), 502, None, {}),
            ("a field injected", answer({"x": "a\r\nb: c"}), 502, None, {"b": None}), ("a bad name", answer({"x y": "a"}), 502, None, {}),
            ("no padding", answer(body="aGk"), 502, None, {}), ("no base64", answer(body="a-_="), 502, None, {}),
            ("status 199", answer(status=199), 502, None, {}), ("status 101", answer({"upgrade": "websocket", "connection": "upgrade"}, status=101), 502, None, {}),
            ("status 600", answer(status=600), 502, None, {}), ("a head too long", answer({"x": "y" * 40000}), 502, None, {})):
        res = raw(r, d, text)
        r.check(f"{what}: {status}", res.status == status and (body is None or res.body == body)
                and all(res.get(k) == v for k, v in fields.items()), res)
    for form in ("%s", "{%s}", "urn:uuid:%s"):
        r.equal(f"V5: the id as {form}", raw(r, d, answer(correlation_id=form % "ID")).status, 200)
    res = ask(r, d, fields=do("dropped"))
    r.check("V6: dropped, then the answer", res.status == 200 and res.json().get("url_path") == "", res)
    r.check("and told", d.log("event=bad_answer reason=\"headers is no string\" name=/demo peer="))
    r.equal("the first of two answers counts", ask(r, d, fields=do("twice")).status, 200)
    c = r.caller(d, "HEAD /demo/h HTTP/1.1\r\nHost: a\r\n\r\n")
    res = c.response("HEAD")
    r.check("HEAD with content in the answer", res.status == 200 and not res.get("content-length"), res)
    res = ask(r, d, "/demo/h", do("raw"), "HEAD", answer({"content-length": "77", "content-encoding": "gzip"}).encode())
    r.check("HEAD: its own length", (res.status, res.get("content-length"), res.get("content-encoding")) == (200, "77", "gzip"), res)
    size = 2000000 if SANITIZED else 20000000
    r.equal("a large answer", len(ask(r, d, fields=do("huge", Size=size)).body), size)
    r.check("all on one connection", not p.seen(event="closed") and ask(r, d).status == 200)
    harmless(r, p)


@test
def several_at_once(r):
    d = relay(r)
    p = start(r, d)
    held = [waiting(r, d, p, f"/demo/held{i}", do("hold")) for i in range(20)]
    r.equal("another", ask(r, d, "/demo/other").status, 200)
    ask(r, d, fields=do("release"))
    r.equal("answers in any order reach their callers", [c.response().json().get("url_path") for c in held], [f"held{i}" for i in range(20)])
    other = start(r, d, "other")
    c = waiting(r, d, p, "/demo/mine", do("hold"))
    ident = p.seen(event="request", path="mine")[0]["id"]
    r.equal("a client that answers for another", ask(r, d, "/other/", do("steal"), "POST", ident.encode()).status, 200)
    ask(r, d, fields=do("release"))
    r.equal("is not heard", c.response().status, 200)
    harmless(r, p)
    harmless(r, other)


def local(conn, head):
    """A local service like many: what its path asks for."""
    method, target = head.split(" ")[:2]
    fields = {k.lower(): v for k, v in (l.split(": ", 1) for l in head.split("\r\n")[1:] if ": " in l)}
    body = conn.exactly(int(fields.get("content-length", 0)))
    content = json.dumps({"method": method, "target": target, "fields": fields, "body": base64.b64encode(body).decode()}).encode()
    status, more = "200 OK", ""
    path = target.split("?")[0]
    if path in ("/gzip", "/deflate"):
        content = gzip.compress(content) if path == "/gzip" else zlib.compress(content)
        more = f"Content-Encoding: {path[1:]}\r\n"
    elif path == "/cookies":
        more = "Set-Cookie: a=1; Path=/; Expires=Wed, 21 Oct 2037 07:28:00 GMT\r\nSet-Cookie: b=2; Path=/\r\n"
    elif path[1:].isdigit():
        status, more, content = path[1:] + " Such", "Location: /x\r\nETag: x\r\n", b"" if path in ("/204", "/304") else content
    length = "" if path in ("/204", "/304") else f"Content-Length: {len(content)}\r\n"
    if path == "/chunked":
        length, content = "Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    conn.send(f"HTTP/1.1 {status}\r\nConnection: close\r\n{length}{more}\r\n".encode() + (b"" if method == "HEAD" else content))


@test
def checklist(r):
    """Section 15: what comes through to a local service, and back."""
    d = relay(r)
    service = r.service(local)
    p = start(r, d, "demo", f"http://{service.target}")
    res = r.ask(d, "POST /demo/api/v1%20x?a=1&a=2&b&c=%2B+ HTTP/1.1\r\nHost: t.example.com\r\nContent-Type: text/plain\r\n"
                "Content-Length: 3\r\n\r\na=1")
    got = res.json()
    r.equal("V3: what the local service is asked", (got.get("method"), got.get("target"), got.get("body")),
            ("POST", "/api/v1%20x?a=1&a=2&b=&c=%2B+", "YT0x"))
    r.check("it sees x-pipegate-correlation-id", re.fullmatch("[0-9a-f]{32}", got["fields"].get("x-pipegate-correlation-id", "")), got)
    for method in METHODS.split(", "):
        res = ask(r, d, "/demo/m?x=1&x=2", method=method, body=b"b\0\xff" if method in ("POST", "PUT", "PATCH") else None)
        r.check(method, res.status == 200 and (method == "HEAD" or (res.json().get("method"), res.json().get("target")) == (method, "/m?x=1&x=2")), res)
        if method in ("POST", "PUT", "PATCH"):
            r.equal(f"{method}: its content", res.json().get("body"), base64.b64encode(b"b\0\xff").decode())
    for status in (204, 304, 302, 404, 500, 201):
        res = ask(r, d, f"/demo/{status}")
        r.check(str(status), res.status == status and res.get("ETag") == "x" and res.get("Location") == "/x", res)
    res = ask(r, d, "/demo/head", method="HEAD")
    r.check("HEAD: the length of what GET would get", int(res.get("Content-Length") or 0) > 100, res)
    for path in ("gzip", "deflate", "chunked"):
        res = ask(r, d, f"/demo/{path}", "Accept-Encoding: gzip, deflate\r\n")
        r.check(f"{path}: whole, and as its fields say", res.json().get("target") == "/" + path and res.end == "length"
                and not res.get("Content-Encoding"), res)
        r.equal(f"{path}: it was asked for none", res.json()["fields"].get("accept-encoding"), "identity")
    for path in ("a%2Fb", "a%3Fb", "a%23b", "a%25b", "a%20b"):
        r.equal(path, ask(r, d, f"/demo/{path}").json().get("target"), f"/{path}")
    res = r.ask(d, "POST /demo/up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    r.equal("a chunked upload", base64.b64decode(res.json().get("body", "")), b"hello")
    r.equal("two Cookie lines", ask(r, d, "/demo/c", "Cookie: a=1\r\nCookie: b=2\r\n").json()["fields"].get("cookie"), "a=1; b=2")
    res = ask(r, d, "/demo/cookies")
    r.equal("two Set-Cookie lines", res.all("Set-Cookie"), ["a=1; Path=/; Expires=Wed, 21 Oct 2037 07:28:00 GMT", "b=2; Path=/"])
    r.equal("nobody else gets those cookies", ask(r, d, "/demo/c").json()["fields"].get("cookie"), "")
    body = os.urandom(FITS)
    res = ask(r, d, "/demo/big", method="PUT", body=body)
    r.check("785000 bytes", hashlib.sha256(base64.b64decode(res.json().get("body", ""))).digest() == hashlib.sha256(body).digest(), res.status)
    res = ask(r, d, "/demo/big", "Content-Length: 900000\r\n", "PUT")
    r.check("900000 bytes: 413", res.status == 413 and b"786048" in res.body, res)
    r.check("and the tunnel lives on", ask(r, d).status == 200 and not p.seen(event="closed"))
    slow = r.service(lambda conn, head: conn.more())
    q = start(r, d, "slow", f"http://{slow.target}")
    res = ask(r, d, "/slow/")
    r.check("a local service that hangs: 504 from the client", (res.status, res.body) == (504, b"") and q.event(event="failed"), res)
    slow.close()
    gone = r.service(serving(b""))
    gone.close()
    start(r, d, "gone", f"http://{gone.target}")
    began = time.monotonic()
    res = ask(r, d, "/gone/")
    r.check("none: 504 soon", (res.status, res.body) == (504, b"") and time.monotonic() - began < 30, res)
    harmless(r, p)


@test
def limits(r):
    """V9, and what the original takes."""
    d = relay(r, "--bodies", "256M")
    p = start(r, d)
    mid = b"x" * 785900
    res = ask(r, d, "/demo/m", "X-Pad: " + "y" * 3000 + "\r\n", "PUT", mid)
    r.check("too large with its fields: 413", res.status == 413, res)
    c = r.caller(d, f"PUT /demo/l HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX + 1}\r\n\r\n")
    r.equal("413 before it is read", c.response().status, 413)
    c = r.caller(d, "PUT /demo/l HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    c.send(b"c8000\r\n" + b"x" * 786100)
    r.equal("413 as soon as it is too much", c.response().status, 413)
    r.check("the client has seen none of them, and lives", not p.seen(event="request") and ask(r, d).status == 200)
    q = start(r, d, "big", "-", "--max-message", str(1 << 24))
    body = b"b" * MAX
    res = ask(r, d, "/big/", method="PUT", body=body)
    r.check("V9: 10485760 bytes pass", res.json().get("sha256") == hashlib.sha256(body).hexdigest(), res)
    res = ask(r, d, "/big/", f"Content-Length: {MAX + 1}\r\n", "PUT")
    r.check("V9: 10485761 do not", res.status == 413 and b"10485760" in res.body, res)
    harmless(r, p)
    harmless(r, q)
    d = relay(r, "--content", "1000", name="small")
    start(r, d)
    r.equal("--content", [ask(r, d, method="PUT", body=b"x" * n).status for n in (1000, 1001)], [200, 413])


@test
def timeouts(r):
    d = relay(r, "--pipegate-timeout", "6", "--timeout", "60")
    p = start(r, d)
    res = ask(r, d, fields=do("silent"))
    r.equal("504", res.status, 504)
    r.check("the session stays", ask(r, d).status == 200 and not p.seen(event="closed"))
    c = waiting(r, d, p, "/demo/held", do("hold"))
    r.equal("504 again", c.response().status, 504)
    r.equal("a late answer is nobody's", ask(r, d, fields=do("release")).status, 200)
    d.log("event=bad_answer reason=\"nobody waits for it\"")


def queued(r, d):
    """With --queue 1 and nobody there: of two callers one waits; it, and its path."""
    both = [(r.caller(d, f"GET /demo/{path} HTTP/1.1\r\nHost: a\r\n\r\n"), path) for path in ("one", "two")]
    ready = select.select([c.sock for c, _ in both], [], [], WAIT)[0]
    full, = [c for c, _ in both if c.sock in ready]
    r.equal("the queue is full: 503", full.response().status, 503)
    return next(pair for pair in both if pair[0] is not full)


@test
def leaving(r):
    """Section 9: 502 at once, the queue, its limit, grace."""
    d = relay(r, "--grace", "60", "--queue", "1")
    r.equal("an id that was never there: 503", ask(r, d, "/nobody/").status, 503)
    p = start(r, d)
    c = waiting(r, d, p, "/demo/held", do("hold"))
    began = time.monotonic()
    p.kill(signal.SIGKILL)
    r.equal("502 at once", c.response().status, 502)
    r.check("at once", time.monotonic() - began < 30)
    first, path = queued(r, d)
    new = start(r, d)
    r.equal("in the grace period it has waited", first.response().json().get("url_path"), path)
    new.event(event="request", path=path)
    r.equal("what was refused, or lost, was not kept", [e["path"] for e in new.seen(event="request")], [path])
    mark = d.marks()
    new.kill()
    d.log("event=session_end .*code=1006", start=mark)
    gone, _ = queued(r, d)
    mark = d.marks()
    gone.close()
    d.log("event=exchange_failed name=/demo reason=caller_left", start=mark)
    new = start(r, d)
    r.equal("the next is served", ask(r, d, "/demo/now").status, 200)
    new.event(event="request", path="now")
    r.equal("one that left while it waited was not kept", [e["path"] for e in new.seen(event="request")], ["now"])
    left = waiting(r, d, new, "/demo/left", do("hold"))
    left.close()
    r.equal("a caller that leaves harms nobody", ask(r, d).status, 200)
    c = waiting(r, d, new, "/demo/half")
    c.response()
    for what, fields in (("cut", do("cut")), ("half a message", do("half")), ("1009", do("close", Code=1009))):
        r.equal(f"{what}: 502", ask(r, d, fields=fields).status, 502)
        waits = r.caller(d, "GET /demo/waits HTTP/1.1\r\nHost: a\r\n\r\n")
        start(r, d)
        r.equal(f"{what}: the next one is served", waits.response().status, 200)
    new = start(r, d, "orderly")
    r.equal("closed with 1000: 502", ask(r, d, "/orderly/", do("close")).status, 502)
    r.until("and the id is free", lambda: ask(r, d, "/orderly/").status == 503)
    new = start(r, d, "orderly")
    new.kill(signal.SIGTERM)
    new.exit()
    r.until("so it is after SIGTERM", lambda: not [t for t in d.status() if t["name"] == "/orderly"])


@test
def grace_runs_out(r):
    d = relay(r, "--grace", "1")
    p = start(r, d)
    p.kill()
    d.log("event=session_end")
    res = ask(r, d)
    r.check("503 when grace has run out", res.status == 503 and res.get("Retry-After"), res)


@test
def two_of_one_id(r):
    """Section 9: both are served, and when one leaves the other goes on."""
    d = relay(r)
    one = start(r, d, "demo", "-", "--tag", "one")
    two = start(r, d, "demo", "-", "--tag", "two")
    r.check("none is sent away", not one.seen(event="closed") and len(d.status()) == 2, d.status())
    newest = waiting(r, d, two, "/demo/held", do("hold"))
    r.equal("the one with less to do", ask(r, d).json().get("tag"), "one")
    r.until("which it has done then", lambda: sorted(t["running"] for t in d.status()) == [0, 1])
    c = waiting(r, d, one, "/demo/mine", do("hold"))
    two.kill()
    r.equal("one leaves: its own 502", newest.response().status, 502)
    r.equal("the other serves", ask(r, d).json().get("tag"), "one")
    ask(r, d, fields=do("release"))
    r.equal("and what it had goes on", c.response().json().get("tag"), "one")
    cut = Relay(d.port)
    r.keep(cut)
    start(r, d, "demo", "-", "--tag", "three", port=cut.port)
    r.equal("the newest", ask(r, d).json().get("tag"), "three")
    cut.cut(0)
    r.until("is lost, and the other serves", lambda: ask(r, d).json().get("tag") == "one")
    r.check("with no word of it", not one.seen(event="closed"))


@test
def pings(r):
    d = relay(r, "--ping", "4", "--grace", "0")
    p = start(r, d)
    p.event(event="ping", n=3)
    r.check("it is pinged, and stays", not p.seen(event="closed") and ask(r, d).status == 200)
    q = start(r, d, "mute", "-", "--no-pong")
    r.check("one that does not answer is lost", q.event(event="closed"))
    r.until("and its id is free", lambda: ask(r, d, "/mute/").status == 503)
    harmless(r, p)


@test
def deaf(r):
    """A client that reads nothing more holds up its own callers alone."""
    d = relay(r, "--pipegate-timeout", "8")
    p = start(r, d)
    other = start(r, d, "other")
    r.equal("deaf", ask(r, d, fields=do("deaf")).status, 200)
    stuck = [r.caller(d, f"PUT /demo/{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 700000\r\n\r\n".encode() + b"x" * 700000) for i in range(12)]
    r.equal("another client's", ask(r, d, "/other/").status, 200)
    r.check("504, or 502 if the link has ended", {c.response().status for c in stuck} <= {502, 504})
    harmless(r, other)
    p.event(event="request", n=1)
    r.check("it took none of it in", len(p.seen(event="request")) == 1)


@test
def expiry(r):
    clock = Clock(r)
    d = r.daemon("--grace", "60", "--pipegate-timeout", "2h", program="test/tunneld-clock",
                 env={"TUNNELD_JWT_SECRET": SECRET, **clock.env})
    p = start(r, d)
    c = waiting(r, d, p, "/demo/held", do("hold"))
    clock.move(3600)
    closed = p.event(event="closed")
    r.equal("1008", (closed["code"], closed["reason"]), (1008, "expired"))
    r.equal("its caller gets 502", c.response().status, 502)
    r.equal("no grace", (ask(r, d).status, d.status()), (503, []))


@test
def revoked(r):
    """13.11: a list of revoked jti."""
    d, text = relay(r), token("demo")
    p = start(r, d, text=text)
    r.equal("jwt revoke", d.tool("jwt", "revoke", text).returncode, 0)
    r.equal("its session ends", p.event(event="closed")["code"], 1008)
    refused(r, d, "and it does not come again", handshake(f"?token={text}"))
    r.check("the log tells", d.log("event=refused.*revoked"))


@test
def takeover(r):
    """The next daemon knows the id; the client, as it is, must be started again."""
    d = relay(r)
    p = start(r, d)
    c = waiting(r, d, p, "/demo/held", do("hold"))
    n = relay(r, "--takeover", "--listen", f"127.0.0.1:{d.port}", scope=None)
    d.ended = True
    n.log("event=takeover names=1 ")
    d.log("event=draining")
    late = r.caller(n, "GET /demo/late HTTP/1.1\r\nHost: a\r\n\r\n")
    start(r, n)
    r.equal("who has come late has waited", late.response().json().get("url_path"), "late")
    c.close()   # it was the last of the old daemon's
    r.equal("the old session ends when nothing runs", p.event(event="closed")["code"], 1012)


@test
def shutdown(r):
    d = relay(r, "--drain", "1")
    p = start(r, d)
    lost = start(r, d, "lost")
    lost.kill()
    d.log("event=session_end")
    waits = r.caller(d, "GET /lost/x HTTP/1.1\r\nHost: a\r\n\r\n")
    r.until("one waits", lambda: [t for t in d.status() if t["name"] == "/lost"])
    c = waiting(r, d, p, "/demo/held", do("hold"))
    began = time.monotonic()
    d.kill(signal.SIGTERM)
    r.equal("the callers get 504", (c.response().status, waits.response().status), (504, 504))
    r.equal("then 1012", p.event(event="closed")["code"], 1012)
    d.ended = True
    r.equal("it exits", d.exit(), 0)
    r.check("in time", time.monotonic() - began < (40 if SANITIZED else 15), time.monotonic() - began)
    harmless(r, p)


main()
