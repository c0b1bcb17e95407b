"""The gate of /relay and /tunnel: whom it lets in, how many, from which pages, and in which words it refuses; and what
all dialects have of it: logins that fail, addresses behind proxies.  The foreign peer is python3-websockets."""
import asyncio
import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
import websockets
from certs import Certs, read, write
from rig import BIN, ENV, HERE, PEER, PYTHON, ROOT, TLS, WAIT, Caller, Clock, main, test
# pylint: enable=wrong-import-position

TEXT = "text/plain; charset=utf-8"
SECRET = "a secret of forty bytes, for tests alone"
UP = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
CORS = ("Access-Control-Allow-Origin", "Vary", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age")

# E10 of the protocol's specification
N = ("1DmI2iLxhJ48vrR33TDiQKq8M_nNep-3ejyS_r_Tk-LW1YqNeAoHzZd2myujcvfW4EYFkMSpKnzsMDp0GaWK04oPkbDshgoayYf_gy-hqneAPWtGN6VZsqX9"
     "Nkf13fxYiP6nh0-8pU7m8-KCR7s1vWjNrcw9Vw0iRpPMKArfEWSO7_CQ27NJAAJEmpHLVHBSvfdgi9claTkFS7yAaNFzVREfCu8TIk-Gv50ia66rla8Kt-9pcrQRg0F"
     "v09UlPr-OFMuj_yj5r3dXgjY1GJGu7CJDBDjaCfVnxRFEh1-rg5izrRxRI5CDdmpi4Ru0Rya3DRz0PVb9qdvlIVZs0EPRGQ")
VECTOR = ("eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjpbIm90aGVyIiwidHVubm"
          "VsIl0sInN1YiI6InVzZXJfNDIiLCJuYmYiOjE3MDAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMH0.j6V2PqlRGM9fI8TYO84Hn8RuGQUnvmERrTyLxPJJiGi8Z-86Zd_l"
          "1VFCCcEfS0O9H9Tj-CtXy7XmIybSa8r0UtBSj9mKrTkJSa9TInigFdcZhJEo9qaO4AGIZ3zloatQnfam25JuLC3sKDkP8oh2PAK0BVS9TMb7BFgsGlKzFNm8FEkL-X_0"
          "hVdloCWfhscfmVe61IEDqgL8872-aN7gYe5GCP0LqZPdeNSse74GXMcVJFFb47HLJSjswA9hDLH331yMwIlcHVcx08zoPR5d4qVGzQ__sQM3Y0kGunMymwtvsD32lxRy"
          "XpDvlugI-cJyiNS_biLJDfsZ2oN4A0ek6g")
JWK = {"kty": "RSA", "alg": "RS256", "kid": "k1", "e": "AQAB", "n": N}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(sub, secret=SECRET, life=3600, **more):
    head = b64(b'{"alg":"HS256"}') + "." + b64(json.dumps({"sub": sub, "exp": int(time.time()) + life, **more}).encode())
    return head + "." + b64(hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest())


class Keys:
    """A server of JWK Sets on this machine, over plain http."""

    def __init__(self, r, *keys):
        server, self.asked, self.body, self.status = self, 0, json.dumps({"keys": keys}).encode(), 200

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):       # pylint: disable=invalid-name
                server.asked += 1
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(server.body)))
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_):      # pylint: disable=arguments-differ
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/keys"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        r.keep(self)

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def request(path="/tunnel", fields="", method="GET", up=UP, host="vps"):
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{up}{fields}\r\n"


def status(r, d, *args, **more):
    return r.ask(d, request(*args, **more)).status


def plain(r, what, res, code, text):
    """An answer in wsproxy's manner."""
    r.check(what, (res.status, res.get("Content-Type"), res.get("X-Content-Type-Options"), res.body) ==
            (code, TEXT, "nosniff", text.encode() + b"\n"), res)


def bearer(token):
    return f"Authorization: Bearer {token}\r\n"


class Held:
    """A connection that has become a WebSocket, or was refused."""

    def __init__(self, r, d, fields="", path="/tunnel"):
        self.c = r.caller(d, request(path, fields))
        self.status = self.c.response().status

    def leave(self):
        """By a close frame: empty, masked."""
        if self.status != 101:
            self.c.close()
            return
        try:
            self.c.send(bytes.fromhex("888037fa213d"))
            while self.c.more():
                pass
        except OSError:
            pass
        self.c.close()


@test
def entry(r):
    d = r.daemon("--origin", "*")
    for method in ("POST", "PUT", "DELETE", "get", "PROPFIND"):
        for path in ("/tunnel", "/health"):
            res = r.get(d, "vps", path, method=method)
            plain(r, f"{method} {path}", res, 405, "Method Not Allowed")
            r.equal(f"{method} {path}: Allow", res.get("Allow"), "GET, HEAD")
    plain(r, "POST with content", r.get(d, "vps", "/tunnel", "Content-Length: 2\r\n", "POST", b"xx"), 405, "Method Not Allowed")
    res = r.get(d, "vps", "/tunnel", method="OPTIONS")
    r.check("OPTIONS", (res.status, res.body, res.get("Content-Length")) == (204, b"", None), res)
    for path in ("/tunnel/", "/Tunnel", "/tunnel/x", "//tunnel", "/tunnels", "/%74unnel"):
        r.equal(f"{path} is another", r.get(d, "vps", path).status, 503)
    res = r.get(d, "vps", "/tunnel")
    plain(r, "E4: no token", res, 401, "unauthorized")
    r.equal("what would do", res.get("WWW-Authenticate"), "Bearer")
    res = r.get(d, "vps", "/tunnel", method="HEAD")
    r.check("HEAD", (res.status, res.body) == (401, b""), res)
    res = r.get(d, "vps", "/health")
    r.check("/health, to the byte", (res.status, res.body, res.get("Content-Type")) == (200, b"ok", TEXT), res)
    r.equal("OPTIONS of it", r.get(d, "vps", "/health", method="OPTIONS").status, 204)
    r.equal("OPTIONS elsewhere", r.get(d, "vps", "/x", method="OPTIONS").status, 503)
    # others' requests are theirs
    r.client(d, "a")
    for path in ("/health", "/tunnel", "/relay"):
        r.equal(f"a tunnel's own {path}", r.get(d, "a.localhost", path).json().get("request_line"), f"GET {path} HTTP/1.1")
    r.equal("an upgrade there", r.ask(d, request("/tunnel", host="a.localhost")).status != 401, True)
    r.client(d, "default")
    for path in ("/tunnel", "/tunnel?x", "/relay"):
        r.equal(f"the default tunnel has {path}", r.get(d, "vps", path).json().get("request_line"), f"GET {path} HTTP/1.1")
    r.has("with any method", "^POST ", r.get(d, "vps", "/tunnel", method="POST", fields="Content-Length: 0\r\n").json().get("request_line", ""))
    r.equal("but for upgrades", status(r, d), 401)
    # without --origin, --open and --relay others' paths are left alone
    d2 = r.daemon(name="off")
    r.equal("an upgrade is one all the same", (status(r, d2), status(r, d2, f"/tunnel?token={d2.token}")), (401, 101))
    r.equal("nothing else is", [r.get(d2, "vps", "/tunnel", method=m).status for m in ("GET", "POST", "OPTIONS")], [503] * 3)
    res = r.get(d2, "vps", "/health")
    r.check("/health is as it ever was", (res.body, res.get("Access-Control-Allow-Origin")) == (b"ok\n", "*"), res)


@test
def login(r):
    d = r.daemon("--jwt-secret-file", write(f"{r.tmp}/secret", SECRET + "\n"), "--login-failures", "1000", "--origin", "*", scope="a")
    token, jwt = d.token, hs256("user 42")
    rows = (("the query", f"/tunnel?token={token}", "", 101), ("a JWT in the query", f"/tunnel?token={jwt}", "", 101),
            ("Bearer", "/tunnel", bearer(token), 101), ("a JWT as Bearer", "/tunnel", bearer(jwt), 101),
            ("an empty one in the query", "/tunnel?token=", bearer(token), 101), ("no value", "/tunnel?token", bearer(token), 101),
            ("other parameters", f"/tunnel?x=1&token={token}&y=2", "", 101),
            ("escaped", "/tunnel?token=" + "".join(f"%{ord(c):02x}" for c in token), "", 101),
            ("the query comes first", f"/tunnel?token={token}", bearer("x"), 101), ("though it is wrong", "/tunnel?token=x", bearer(token), 401),
            ("the first of two", f"/tunnel?token={token}&token=x", "", 101), ("not the last", f"/tunnel?token=x&token={token}", "", 401),
            ("another name", f"/tunnel?Token={token}", "", 401), ("Basic", "/tunnel", "Authorization: Basic eA==\r\n", 401),
            ("a NUL", f"/tunnel?token={token}%00", "", 401), ("a NUL, and a good one behind it", f"/tunnel?token=%00", bearer(token), 401), ("one that is longer", f"/tunnel?token={token}x", "", 401),
            ("a wrong secret", f"/tunnel?token={hs256('u', 'x' * 32)}", "", 401), ("no sub", f"/tunnel?token={hs256('')}", "", 401),
            ("an old one", f"/tunnel?token={hs256('u', life=-90)}", "", 401))
    for what, path, fields, want in rows:
        res = r.ask(d, request(path, fields))
        r.equal(what, res.status, want)
        if want == 401:
            plain(r, f"{what}: one text for all", res, 401, "unauthorized")
    r.equal("401 before anything else is looked at", r.get(d, "vps", "/tunnel?token=x", method="GET").status, 401)
    r.equal("upgrade or not: with a good one", r.get(d, "vps", f"/tunnel?token={token}").status, 426)
    d.tool("token", "revoke", d.token_id)
    r.equal("revoked", status(r, d, f"/tunnel?token={token}"), 401)


@test
def vector(r):
    if TLS == "none":
        return      # RS256 is the TLS library's
    keys = Keys(r, {**JWK, "use": "sig"})
    args = ("--jwks", keys.url, "--jwt-issuer", "https://issuer.example", "--login-failures", "1000")
    d = r.daemon(*args, "--jwt-audience", "tunnel")
    head, claims, sig = VECTOR.split(".")

    def judge(what, token, want, at=None):
        r.equal(f"E10: {what}", status(r, at or d, f"/tunnel?token={token}"), want)

    judge("as it stands", VECTOR, 101)
    judge("again", VECTOR, 101)
    r.equal("one fetch for both", keys.asked, 1)
    judge("a changed byte of the signature", f"{head}.{claims}.{'k' if sig[0] != 'k' else 'l'}{sig[1:]}", 401)
    judge("a changed claim", f"{head}.{b64(base64.urlsafe_b64decode(claims + '==').replace(b'user_42', b'user_43'))}.{sig}", 401)
    judge("RS512", f"{b64(json.dumps({'alg': 'RS512', 'kid': 'k1'}).encode())}.{claims}.{sig}", 401)
    judge("none", f"{b64(json.dumps({'alg': 'none', 'kid': 'k1'}).encode())}.{claims}.{sig}", 401)
    judge("crit", f"{b64(json.dumps({'alg': 'RS256', 'kid': 'k1', 'crit': ['x']}).encode())}.{claims}.{sig}", 401)
    public = hmac.new(N.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    judge("HS256 by the public key", f"{b64(json.dumps({'alg': 'HS256', 'kid': 'k1'}).encode())}.{claims}.{b64(public)}", 401)
    for i in range(20):
        judge("an unknown kid", f"{b64(json.dumps({'alg': 'RS256', 'kid': f'x{i}'}).encode())}.{claims}.{sig}", 401)
    r.check("is not fetched for each time", keys.asked <= 3, keys.asked)
    for what, more, want in (("without use", {}, 101), ("for encryption", {"use": "enc"}, 401), ("for RS512", {"alg": "RS512"}, 401),
                             ("of another kid", {"kid": "k2"}, 401), ("with a short modulus", {"n": N[:170]}, 401)):
        judge(f"a key {what}", VECTOR, want, r.daemon("--jwks", Keys(r, {**JWK, **more}).url, name=re.sub(r"\W", "", what)))
    judge("audience x", VECTOR, 401, r.daemon(*args, "--jwt-audience", "x", name="x"))
    judge("another issuer", VECTOR, 401, r.daemon("--jwks", keys.url, "--jwt-issuer", "https://issuer.example/", name="i"))
    down = Keys(r)
    down.status = 500
    d2 = r.daemon("--jwks", down.url, "--login-failures", "1", name="down")
    for _ in range(4):
        res = r.ask(d2, request(f"/tunnel?token={VECTOR}"))
    r.check("no keys to be had: later, and no failed login", (res.status, res.get("Retry-After")) == (503, "1"), res)
    r.has("who it is", r"who=jwt:user_42@https://issuer\.example ", d.log("event=session_start .*wsproxy|event=tunnel_open .*user_42").string)


@test
def anybody(r):
    d = r.daemon("--open", "wsproxy", "--conns-per-user", "1", "--conns-per-ip", "4", "--domain", "vps")
    held = [Held(r, d, path=p) for p in ("/tunnel", "/tunnel?token=nonsense", "/tunnel", "/tunnel", "/tunnel")]
    r.equal("nobody asks who they are; an address has its limit", [h.status for h in held], [101, 101, 101, 101, 429])
    r.equal("the native dialect does ask", r.ask(d, request("/_tunnel", "Sec-WebSocket-Protocol: tunnel.v1\r\n")).status, 401)
    for origin, want in ((None, 101), ("http://vps", 101), ("https://VPS", 101), ("http://vps:81", 403), ("https://evil.example", 403), ("null", 403)):
        held[0].leave()
        held[0] = Held(r, d, f"Origin: {origin}\r\n" if origin else "")
        r.equal(f"a page of {origin}, without --origin", held[0].status, want)
    res = r.get(d, "vps", "/health", "Origin: https://evil.example\r\n")
    r.check("nor may others read", res.get("Access-Control-Allow-Origin") is None, res)
    # a name that somebody has made to lead here is not known for ours
    d1 = r.daemon("--open", "wsproxy", "--url", "https://t.example.com:8443", "--conns-per-ip", "99", name="own")
    for host, want in (("evil.example", 403), ("evil.example:80", 403), ("127.0.0.1", 101), ("127.0.0.1:8080", 101), ("[::1]:8080", 101), ("localhost:1", 101),
                       ("evillocalhost", 403), ("t.example.com:8443", 101), ("127.0.0.1.evil.example", 403)):
        r.equal(f"a page of {host}, where the request goes, too", status(r, d1, fields=f"Origin: http://{host}\r\n", host=host), want)
    d2 = r.daemon("--open", "wsproxy", "--origin", "*", name="any")
    r.equal("unless they may", status(r, d2, fields="Origin: https://evil.example\r\n"), 101)


@test
def handshake(r):
    d = r.daemon("--open", "wsproxy", "--domain", "vps", "--origin", "app.example.com", "--origin", "https://*.example.org", "--origin", "http://localhost:*")
    key, version, conn, up = (l + "\r\n" for l in (UP.split("\r\n")[3], UP.split("\r\n")[2], *UP.split("\r\n")[:2]))
    both = {"Connection": "Upgrade", "Upgrade": "websocket"}
    for what, fields, want, more in (
            ("no upgrade", "", 426, both), ("no Connection", up + version + key, 426, both), ("no Upgrade", conn + version + key, 426, both),
            ("Connection: close", "Connection: close\r\n" + up + version + key, 426, {"Upgrade": "websocket"}),
            ("Upgrade: h2c", conn + "Upgrade: h2c\r\n" + version + key, 426, both),
            ("no version", conn + up + key, 400, {"Sec-WebSocket-Version": "13"}), ("version 8", conn + up + key + "Sec-WebSocket-Version: 8\r\n", 400,
                                                                                 {"Sec-WebSocket-Version": "13"}),
            ("no key", conn + up + version, 400, {}), ("two keys", conn + up + version + key + key, 400, {}),
            ("a short key", conn + up + version + "Sec-WebSocket-Key: AAAA\r\n", 400, {}),
            ("a key that is no base64", conn + up + version + "Sec-WebSocket-Key: ????????????????????????\r\n", 400, {}),
            ("no key, and an Origin that may not", conn + up + version + "Origin: https://evil.example\r\n", 400, {}),
            ("content", conn + up + version + key + "Content-Length: 1\r\n", 400, {}),
            ("in any case", "connection: keep-alive, UPGRADE\r\nupgrade: WebSocket\r\n" + version + key, 101, {})):
        res = r.ask(d, request(up="", fields=fields) + ("x" if "Content-Length" in fields else ""))
        r.equal(what, res.status, want)
        r.check(f"{what}: fields", all(v in (res.get(n) or "") for n, v in more.items()), res)
        r.check(f"{what}: text", want == 101 or (res.get("Content-Type") == TEXT and res.body.endswith(b"\n") and res.body.count(b"\n") == 1), res)
    res = r.ask(d, request(method="HEAD"), "HEAD")
    r.equal("HEAD", res.status, 405)
    res = r.ask(d, f"GET /tunnel HTTP/1.0\r\nHost: vps\r\n{UP}\r\n")
    r.equal("HTTP/1.0", (res.status, res.get("Upgrade")), (426, "websocket"))
    for origin, want, reads in (
            ("https://app.example.com", 101, 0), ("http://app.example.com", 101, 0), ("https://app.example.com:8443", 403, 0),
            ("https://a.example.org", 101, 0), ("http://a.example.org", 403, 0), ("https://a.b.example.org", 101, 0), ("https://example.org", 403, 0),
            ("http://localhost:5173", 101, 1), ("http://localhost", 403, 0), ("https://vps", 101, 0), ("http://vps", 101, 0), ("null", 403, 0),
            ("nonsense", 403, 0)):
        res = r.ask(d, request(fields=f"Origin: {origin}\r\n"))
        host = origin.split("://")[1] if "://" in origin else ""
        if want == 403:
            plain(r, f"origin {origin}", res, 403, f'request Origin "{host}" is not authorized for Host "vps"')
        r.equal(f"origin {origin}", (res.status, res.get("Access-Control-Allow-Origin"), res.get("Vary")),
                (want, origin if reads else None, "Origin" if reads else None))
        r.check("no extension, no subprotocol", want != 101 or (res.get("Sec-WebSocket-Accept") == ACCEPT and not
                                                                res.get("Sec-WebSocket-Extensions") and not res.get("Sec-WebSocket-Protocol")), res)
    res = r.ask(d, request(fields="Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: x, y\r\n"))
    r.check("what is offered is not taken", res.status == 101 and not res.get("Sec-WebSocket-Extensions") and not res.get("Sec-WebSocket-Protocol"), res)


@test
def cors(r):
    d = r.daemon("--origin", "*")
    want = ["https://a.example", "Origin", "GET, POST, OPTIONS", "Authorization, Content-Type", "86400"]
    for method, path, fields in (("GET", "/health", ""), ("OPTIONS", "/health", ""), ("GET", "/tunnel", ""), ("OPTIONS", "/tunnel", ""), ("POST", "/tunnel", ""),
                                 ("GET", f"/tunnel?token={d.token}", UP), ("GET", f"/tunnel?token={d.token}", "")):
        res = r.get(d, "vps", path, fields + "Origin: https://a.example\r\n", method)
        r.equal(f"{method} {path.split('?', maxsplit=1)[0]} {res.status}", [res.get(n) for n in CORS], want)
        r.check("no credentials", res.get("Access-Control-Allow-Credentials") is None, res)
    for what, fields in (("no origin", ""), ("an empty one", "Origin:\r\n"), ("a long one", f"Origin: https://{'a' * 300}\r\n")):
        res = r.get(d, "vps", "/health", fields)
        r.equal(what, (res.status, [res.get(n) for n in CORS]), (200, [None] * 5))
    r.client(d, "a")
    res = r.get(d, "a.localhost", "/health", "Origin: https://a.example\r\n")
    r.equal("others' answers are left as they are", res.get("Access-Control-Allow-Origin"), None)
    # wsproxy's tunnels lose theirs (section 9), and get the daemon's
    e = r.daemon("--origin", "https://a.example", "--domain", "t.example.com", name="tunnels")
    p = r.spawn(PYTHON, f"{PEER}/wsproxy.py", "text", f"ws://127.0.0.1:{e.port}/tunnel", "--token", e.token)
    host = p.event(event="ready")["url"].rpartition("/")[2]
    for origin, want in (("https://a.example", "https://a.example"), ("https://b.example", None)):
        res = r.get(e, host, "/", f"Origin: {origin}\r\n")
        r.equal(f"a wsproxy tunnel's answer to {origin}", (res.status, res.get("Access-Control-Allow-Origin")), (200, want))
        res = r.get(e, host, "/x", f"Origin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n", method="OPTIONS")
        r.equal(f"OPTIONS by {origin}", (res.status, res.body, res.get("Access-Control-Allow-Origin")), (204, b"", want))
        res = r.ask(e, request("/", f"Origin: {origin}\r\n", host=host))
        r.equal(f"an error to {origin}", (res.status, res.get("Access-Control-Allow-Origin")), (501, want))
    r.equal("the client has seen no OPTIONS", [q["method"] for q in p.seen(event="request") if q["method"] == "OPTIONS"], [])


@test
def limits(r):
    d = r.daemon("--conns-per-ip", "3", "--conns-per-user", "2", "--trust", "127.0.0.1", scope="a")
    one = bearer(d.token)
    two, three = (bearer(d.issue("--global")) for _ in range(2))

    def held(token, address=None):
        return Held(r, d, token + (f"X-Forwarded-For: {address}\r\n" if address else ""))

    at = [held(one, "192.0.2.1"), held(one, "192.0.2.2")]
    r.equal("two of a user", [h.status for h in at], [101, 101])
    res = r.ask(d, request(fields=one + "X-Forwarded-For: 192.0.2.3\r\n"))
    plain(r, "a third from a third address", res, 429, "too many connections")
    r.equal("which may come later", res.get("Retry-After"), "1")
    at += [held(two, "192.0.2.3")]
    r.equal("another user passes", at[-1].status, 101)
    more = [held(two, "192.0.2.1"), held(three, "192.0.2.1"), held(three, "192.0.2.1")]
    r.equal("three of an address, whoever they are", [h.status for h in more], [101, 101, 429])
    v6 = [held(three, "2001:db8:0:1::1"), held(bearer(d.issue("--global")), "2001:db8:0:1:ffff::2")]
    v6 += [held(bearer(d.issue("--global")), "2001:db8:0:1::3") for _ in range(2)]
    r.equal("three of a /64", [h.status for h in v6], [101, 101, 101, 429])
    for h in at + more + v6:
        h.leave()
    # the request's own addresses: the last that is no proxy of ours
    for what, fields, other, want in (
            ("what a caller writes itself", "X-Forwarded-For: {}, 198.51.100.1\r\n", "198.51.100.1", 429), ("two fields", "X-Forwarded-For: {}\r\nX-Forwarded-For: "
             "198.51.100.2, 127.0.0.1\r\n", "198.51.100.2", 429), ("X-Real-IP", "X-Real-IP: 198.51.100.3\r\n", "198.51.100.3", 429),
            ("X-Real-IP that is no address", "X-Real-IP: nobody{}\r\n", "127.0.0.1", 429), ("X-Real-IP beside X-Forwarded-For", "X-Real-IP: 198.51.100.4\r\nX-Forwarded-For: 198.51.100.5\r\n", "198.51.100.4", 101),
            ("with a port", "X-Forwarded-For: 198.51.100.7:4711\r\n", "198.51.100.7", 429), ("in brackets", "X-Forwarded-For: [2001:db8:7::1]:80\r\n",
             "2001:db8:7::2", 429), ("mapped", "X-Forwarded-For: ::ffff:198.51.100.6\r\n", "198.51.100.6", 429)):
        token = [bearer(d.issue("--global")) for _ in range(4)]
        at = [Held(r, d, token[i] + fields.format(f"203.0.113.{i}")) for i in range(3)] + [held(token[3], other)]
        r.equal(what, [h.status for h in at], [101, 101, 101, want])
        for h in at:
            h.leave()
    d2 = r.daemon("--open", "wsproxy", "--conns-per-ip", "1", name="untrusted")
    at = [Held(r, d2, f"X-Forwarded-For: 192.0.2.{i}\r\nX-Real-IP: 192.0.2.{i}\r\n") for i in range(2)]
    r.equal("from anyone else they say nothing", [h.status for h in at], [101, 429])


@test
def endings(r):
    """However one ends, its place is free again: no count is ever left over."""
    d = r.daemon("--conns-per-ip", "2", "--conns-per-user", "2", "--origin", "app.example.com")
    token = bearer(d.token)

    async def foreign():
        async with websockets.connect(f"ws://127.0.0.1:{d.port}/tunnel?token={d.token}", compression=None) as ws:
            await ws.recv()

    def drop(h):
        h.c.reset()

    ways = {
        "a close frame": Held.leave, "a reset": drop, "an end without one": lambda h: h.c.close(),
        "half a frame": lambda h: (h.c.send(b"\x81"), h.c.close()), "a protocol error": lambda h: (h.c.send(b"\xff\xff\xff"), h.c.close()),
    }
    for what, way in ways.items():
        for _ in range(8):
            h = [Held(r, d, token), Held(r, d, token)]
            if [x.status for x in h] != [101, 101]:
                r.until(f"{what} frees its place", lambda: status(r, d, fields=token) == 101)
                break
            way(h[0])
            way(h[1])
            r.until(f"{what}: two are free", lambda: free(r, d, token))
    for what, fields, want in (("no upgrade", {"up": ""}, 426), ("no key", {"up": UP.split("Sec-WebSocket-Key")[0]}, 400),
                               ("an Origin", {"fields": "Origin: https://evil.example\r\n"}, 403)):
        more = {**fields, "fields": token + fields.get("fields", "")}
        r.equal(f"refused for {what}", {status(r, d, **more) for _ in range(10)}, {want})
    r.until("refused ones hold nothing", lambda: free(r, d, token))
    for _ in range(10):     # who leaves before the answer
        c = Caller(d.port, request(fields=token))
        c.reset()
    r.until("who does not wait holds nothing", lambda: free(r, d, token))
    for _ in range(5):
        asyncio.run(foreign())
    r.until("a foreign client", lambda: free(r, d, token))
    h = [Held(r, d, token), Held(r, d, token)]
    d.tool("token", "revoke", d.token_id)
    for x in h:
        while x.c.more():
            pass
    d.issue("--global")
    r.until("a credential that ends", lambda: free(r, d, bearer(d.token)))


def free(r, d, token):
    """Both places are, and no third."""
    h = [Held(r, d, token) for _ in range(3)]
    got = [x.status for x in h]
    for x in h:
        x.leave()
    return got == [101, 101, 429]


@test
def crowd(r):
    """Exact with many at once."""
    d = r.daemon("--open", "wsproxy", "--conns-per-ip", "7")
    for _ in range(3):
        gate, held = threading.Barrier(24), []

        def come():
            gate.wait(WAIT)         # pylint: disable=cell-var-from-loop
            held.append(Held(r, d))         # pylint: disable=cell-var-from-loop

        threads = [threading.Thread(target=come) for _ in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(WAIT)
        r.equal("as many as there may be", sorted(h.status for h in held), [101] * 7 + [429] * 17)
        for h in held:
            h.leave()


@test
def exchanges(r):
    d = r.daemon("--exchanges-per-ip", "2", "--trust", "127.0.0.1")
    go = threading.Event()

    def serve(conn, head):
        if "/slow" in head:
            go.wait(WAIT)
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    s = r.service(serve)
    r.client(d, "a", "--target", s.target)
    ask = "GET {} HTTP/1.1\r\nHost: a.localhost\r\nX-Forwarded-For: {}\r\n\r\n".format
    c = [r.caller(d, ask("/slow", "192.0.2.1")) for _ in range(2)]
    s.wait(lambda: len(s.heads) == 2, "both")
    res = r.ask(d, ask("/", "192.0.2.1"))
    r.check("a third", res.status == 429 and res.get("Retry-After") == "1" and b"too many requests from this address" in res.body, res)
    r.equal("another address", r.ask(d, ask("/", "192.0.2.2")).status, 200)
    r.equal("an endpoint is no exchange", r.ask(d, "GET /health HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n").status, 200)
    go.set()
    r.equal("they end", [x.response().status for x in c], [200, 200])
    r.equal("and others begin, one connection after the other", {r.ask(d, ask("/", "192.0.2.1")).status for _ in range(30)}, {200})
    r.equal("or on the same", [(x.send(ask("/", "192.0.2.1")), x.response().status)[1] for x in c * 5], [200] * 10)
    go.clear()
    for _ in range(3):
        left = [r.caller(d, ask("/slow", "192.0.2.1")) for _ in range(2)]
        for x in left:
            x.reset()
    go.set()
    r.until("who leaves is counted no more", lambda: r.ask(d, ask("/", "192.0.2.1")).status == 200)


@test
def failures(r):
    clock = Clock(r)
    d = r.daemon("--login-failures", "3", "--trust", "127.0.0.1", "--jwt-secret-file", write(f"{r.tmp}/secret", SECRET + "\n"),
                 program="test/tunneld-clock", env=clock.env)
    native = "Sec-WebSocket-Protocol: tunnel.v1\r\n"

    def ask(i, address, path="/tunnel?token={}", fields=""):
        return r.ask(d, request(path.format(f"bad{i}"), fields.format(f"bad{i}") + f"X-Forwarded-For: {address}\r\n"))

    ways = (("wsproxy", "/tunnel?token={}", ""), ("as Bearer", "/tunnel", "Authorization: Bearer {}\r\n"),
            ("native", "/_tunnel", native + "Authorization: Bearer {}\r\n"))
    for n, (what, path, fields) in enumerate(ways):
        address = f"192.0.2.{n}"
        r.equal(f"{what}: three are free", {ask(i, address, path, fields).status for i in range(4)}, {401})
        tried = [ask(9, address, path, fields)]
        while tried[-1].status == 401 and len(tried) < 7:       # the second was over already
            tried.append(ask(9 + len(tried), address, path, fields))
        r.equal(f"{what}: then there is a wait", tried[-1].status, 429)
        waits = range(1, 1 + 2 ** (len(tried) - 1))
        r.check(f"{what}: which is short", int(tried[-1].get("Retry-After")) in waits, tried)
    for i in range(4):          # a longer one, for all that follows
        clock.move(2 ** i + 0.5)
        r.equal("and fails again", ask(20 + i, "192.0.2.0").status, 401)
    good, jwt = f"/tunnel?token={d.token}", f"/tunnel?token={hs256('x')}"
    for path, fields in ((good, ""), ("/_tunnel", native + f"Authorization: Bearer {d.token}\r\n"),
                         ("/_bifrost/a", f"Authorization: Bearer {d.token}\r\n")):
        r.equal(f"a good token is good by {path[:10]}", ask(0, "192.0.2.0", path, fields).status, 101)
    r.equal("a good JWT has to wait", ask(0, "192.0.2.0", jwt).status, 429)
    r.equal("at another address it has not", ask(0, "192.0.2.77", jwt).status, 101)
    r.equal("nor has who brings none", ask(0, "192.0.2.0", "/tunnel").status, 401)
    for path, fields in (("/_tunnel", native + f"Authorization: Bearer {hs256('x')}\r\n"), ("/_bifrost/a", "Authorization: Bearer bad77\r\n"),
                         (f"/?token={hs256('x', aud='pipegate', iss='pipegate')}", "")):
        res = ask(0, "192.0.2.0", path, fields)
        r.check(f"nor may it go by {path[:10]}", res.status == 429 and int(res.get("Retry-After")) >= 4, res)
    clock.move(17)
    r.equal("after that it is good", ask(0, "192.0.2.0", jwt).status, 101)
    waits = []
    for i in range(4):
        ask(i, "192.0.2.99")
    clock.move(1.5)
    for i in range(100, 110):
        r.equal("each failure more", ask(i, "192.0.2.99").status, 401)
        waits.append(int(ask(0, "192.0.2.99").get("Retry-After")))
        clock.move(waits[-1] + 0.5)
    r.check("means a longer wait, up to a bound", waits[:4] == [2, 4, 8, 16] or (sorted(waits[:4]) == waits[:4] and max(waits) <= 60), waits)
    # one that is left behind with an old token guesses nothing
    r.equal("the same again and again", {ask("old", "198.51.100.1").status for _ in range(30)}, {401})
    r.equal("its neighbour is good", ask(0, "198.51.100.1", good).status, 101)
    for i in range(3):
        r.equal("PipeGate's", r.ask(d, request(f"/?token={hs256('x', 'y' * 32, jti=str(i))}", "X-Forwarded-For: 198.51.100.2\r\n")).status, 403)
    for i in range(4):
        res = r.ask(d, request("/_bifrost/a", f"Authorization: Bearer b{i}\r\nX-Forwarded-For: 198.51.100.2\r\n"))
    r.equal("bifrost's: after the 101, until there is a wait", res.status, 429)
    r.has("the log tells", r"peer=127\.0\.0\.1:\d+ wait=1$", d.log("event=logins_failing").string)


@test
def proxied(r):
    certs = Certs(f"{ROOT}/gate-certs").make("a", san=["DNS:a.localhost"]) if TLS != "none" else None
    more = ("--listen", "127.0.0.1:0,tls,proxy", "--cert", certs.cert, "--key", certs.key) if certs else ()
    d = r.daemon("--listen", "127.0.0.1:0,proxy", *more, "--trust", "127.0.0.1", "--access-log", f"{r.tmp}/access", "--listen", "127.0.0.1:0", "--open", "wsproxy",
                 "--conns-per-ip", "1")
    v2 = b"\r\n\r\n\0\r\nQUIT\n"

    def over4(address, port=4711, tail=b""):
        return v2 + b"\x21\x11" + struct.pack(">H", 12 + len(tail)) + socket.inet_aton(address) + b"\x7f\0\0\1" + struct.pack(">HH", port, 80) + tail

    r.until("it listens", lambda: len(ports_of(d)) == (3 if certs else 2))
    p = r.spawn(PYTHON, f"{PEER}/native.py", "client", "--endpoint", f"ws://127.0.0.1:{ports_of(d)[-1]}", "--token", d.token, "--name", "a")
    r.equal("a client on the listener without", p.ready()["op"], "ready")
    get = b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n"
    for what, head, want in (
            ("version 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n", "192.0.2.1"), ("over IPv6", b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n", "2001:db8::1"),
            ("UNKNOWN", b"PROXY UNKNOWN\r\n", "127.0.0.1"), ("version 2", over4("192.0.2.3"), "192.0.2.3"),
            ("with more behind it", over4("192.0.2.4", tail=b"\4\0\1x"), "192.0.2.4"),
            ("IPv6", v2 + b"\x21\x21\0\x24" + socket.inet_pton(socket.AF_INET6, "2001:db8::2") * 2 + b"\0\1\0\2", "2001:db8::2"),
            ("LOCAL", v2 + b"\x20\0\0\0", "127.0.0.1")):
        with Caller(ports_of(d)[0], head + get) as c:
            res = c.response()
        r.equal(what, (res.status, dict(res.json().get("headers", [])).get("X-Real-IP")), (200, want))
        with Caller(ports_of(d)[0]) as c:       # byte by byte
            for i in range(len(head)):
                c.send(head[i:i + 1])
            c.send(get)
            r.equal(f"{what}, slowly", dict(c.response().json().get("headers", [])).get("X-Real-IP"), want)
    with Caller(ports_of(d)[0], over4("192.0.2.5") + get.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n\r\n")) as c:
        r.equal("whom it names is believed no further", dict(c.response().json().get("headers", [])).get("X-Real-IP"), "192.0.2.5")
    for what, head in (("no header", get), ("a broken one", b"PROXY TCP4 x y 1 2\r\n" + get), ("a cut one", v2 + b"\x21\x11\0\x01a" + get)):
        mark = d.marks()
        with Caller(ports_of(d)[0], head) as c:
            while c.more():
                pass
            r.check(f"{what}: closed without a word", c.buf == b"", c.buf)
        d.log("event=proxy_header_refused peer=127.0.0.1", start=mark)
    at = []
    for a in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):       # one after the other is there
        c = Caller(ports_of(d)[0], over4(a) + request().encode())
        at.append((c.response().status, c))
    r.equal("they are counted as who they are", [status for status, _ in at], [101, 429, 101])
    for _, c in at:
        c.close()
    if certs:
        with socket.create_connection(("127.0.0.1", ports_of(d)[1]), WAIT) as raw:
            raw.sendall(over4("192.0.2.6"))
            context = ssl.create_default_context(cafile=certs.cert)
            with context.wrap_socket(raw, server_hostname="a.localhost") as s:
                s.sendall(get)
                r.has("in front of TLS", "192.0.2.6", s.recv(65536).decode())
    d2 = r.daemon("--listen", "127.0.0.1:0,proxy", "--trust", "192.0.2.0/24", name="untrusted")
    with Caller(d2.port, over4("192.0.2.1") + get) as c:
        while c.more():
            pass
        r.equal("from anyone else it is not taken", c.buf, b"")
    r.until("the access log has it", lambda: re.search(r"(?m)^192\.0\.2\.3 - - ", read(f"{r.tmp}/access")))


def ports_of(d):
    with d.cond:
        return [int(m.group(1)) for l in d.errs if l and (m := re.search(r"event=listening .*addr=.*:(\d+)", l))]


@test
def secrets(r):
    d = r.daemon("--access-log", f"{r.tmp}/access", "--login-failures", "1000", "--origin", "*", scope="a")
    res = []
    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        for path in ("/tunnel?token=SeCrEt", "/relay?host=h&port=1&token=SeCrEt", "/relay?cf_domain=x&cf_id=SeCrEt1&cf_secret=SeCrEt2", f"/tunnel?token={d.token}",
                     "//relay?token=SeCrEt", "/tunnel/?token=SeCrEt", "/Relay?token=SeCrEt", "/health?token=SeCrEt", "/relay?t%6Fken=SeCrEt"):
            for up in ("", UP):
                res.append(r.ask(d, request(path, method=method, up=up), method))
    r.check("no answer says it", not any("SeCrEt" in repr(x) or d.token in repr(x) for x in res))
    r.until("the lines are there", lambda: read(f"{r.tmp}/access").count("\n") == len(res))
    log = read(f"{r.tmp}/access") + "\n".join(l for l in d.errs if l)
    r.check("no log has it", "SeCrEt" not in log and d.token not in log, re.findall(".*SeCrEt.*", log)[:3])
    r.has("what stands before it is there", r"GET /relay\?host=h&port=1&token=\"", log)


@test
def bad_secrets(r):
    """Of a bad request the log has no secret either, wherever it may stand."""
    d = r.daemon("--access-log", f"{r.tmp}/access", scope="a")
    lines = ("GET http://ann:SeCrEt@h/x HTTP/1.1", "GET  http://ann:SeCrEt@h/x HTTP/1.1", "GET http://ann:my SeCrEt@h/ HTTP/1.1", "http://ann:SeCrEt@h/", "ann:SeCrEt@h",
             "GET\thttp://ann:SeCrEt@h/ HTTP/1.1", "CONNECT ann:SeCrEt@h:443 HTTP/1.1", "CONNECT  ann:SeCrEt@h:443 HTTP/1.1", "CONNECT\tann:SeCrEt@h:443 HTTP/1.1",
             "GET /?token=SeCrEt x HTTP/1.1", "GET  /relay?token=SeCrEt HTTP/1.1", "GET a?token=SeCrEt HTTP/9", "GET http://h/?token=SeCrEt&x=@ HTTP/9",
             "GET /a?token=SeCrEt&to=http://x@y HTTP/9", "GET ht+2://ann:SeCrEt@h/ HTTP/1.1", "GET  SeCrEt@h/ HTTP/1.1", "GET @SeCrEt HTTP/1.1",
             "GET /@scope/page HTTP/9", "GET /?to=http://h/ HTTP/9", "@")
    for line in lines:
        r.equal(line, r.ask(d, f"{line}\r\nHost: h\r\n\r\n").status, 400)
    r.until("the lines are there", lambda: read(f"{r.tmp}/access").count("\n") == len(lines))
    log = read(f"{r.tmp}/access") + "\n".join(l for l in d.errs if l)
    r.check("no log has it", "SeCrEt" not in log, re.findall(".*SeCrEt.*", log))
    for text in ("GET http://", "GET  http://", "CONNECT ", "GET  /relay?token=", "GET /@scope/page HTTP/9", "GET /?to=http://h/ HTTP/9"):
        r.check(f"what stands before it is there: {text}", f'"{text}"' in log, log)


def check_conf(*args):
    p = subprocess.run([f"{BIN}/tunneld", "--check", *args], env=ENV, capture_output=True, text=True, timeout=WAIT, check=False)
    return p.returncode, p.stderr


@test
def settings(r):
    for args, want in ((("--origin", "https://a.example/"), "--origin: 'https://a.example/' is no origin"), (("--origin", "[a"), "--origin: '\\[a' has a '\\['"),
                       (("--origin", "a,b"), "has a blank"), (("--origin", ""), "is empty|needs a value"), (("--open", "native"), "--open: 'native' is not wsproxy"),
                       (("--conns-per-ip", "0"), "--conns-per-ip: '0' is not a number in range"), (("--conns-per-user", "x"), "is not a number"),
                       (("--login-failures", "0"), "--login-failures"), (("--exchanges-per-ip", "-1"), "--exchanges-per-ip"), (("--port-callers-all", "0"), "--port-callers-all"),
                       (("--jwks", "http://example.com/k"), "--jwks: 'http://example.com/k'"), (("--jwks", "ftp://x/"), "--jwks"), (("--jwks", "https:///k"), "--jwks"),
                       (("--listen", "0,proxy"), "a listener with ,proxy needs --trust"), (("--listen", "0,x"), "is not \\[HOST:\\]PORT"),
                       (("--listen", "0,proxy,proxy", "--trust", "::1"), "is not \\[HOST:\\]PORT")):
        code, err = check_conf(*args)
        r.check(f"{args}: status", code == 2 or (code == 1 and args[0] == "--jwks"), code)
        r.has(f"{args}: in one line", f"^tunneld: .*{want}.*\n$", err)
    r.equal("good ones", check_conf("--origin", "http://localhost:*", "--origin", "*.x", "--open", "wsproxy", "--jwks", "http://localhost:8080/k", "--trust", "::1",
                                    "--listen", "0,proxy", "--exchanges-per-ip", "0"), (0, ""))


def env2conf(args=(), **env):
    script = os.path.join(os.path.dirname(HERE), "contrib", "wsproxy", "env2conf")
    p = subprocess.run(["sh", script, *args], env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, timeout=WAIT, check=False)
    return p.returncode, p.stdout, p.stderr


def settings_of(conf):
    return [tuple(l.split(None, 1)) for l in conf.splitlines() if l and l[0] != "#"]


@test
def environment(r):
    jwks = "https://clerk.example/.well-known/jwks.json"
    code, conf, err = env2conf(CLERK_JWKS_URL=jwks)
    r.equal("the defaults", (code, err, settings_of(conf)), (0, "", [
        ("listen", "*:8080"), ("jwks", jwks), ("origin", "*"), ("ports", "10000-10099"), ("port-callers", "100"), ("port-callers-all", "1000"),
        ("conns-per-ip", "10"), ("conns-per-user", "20"), ("exchanges-per-ip", "50"), ("relay", "any")]))
    code, every, err = env2conf(
        PORT="9000", CLERK_JWKS_URL="http://localhost:81/k", JWT_ISSUER="https://i.example", JWT_AUDIENCE="tunnel", TUNNEL_DOMAIN=" T.Example.com:8443 ",
        ALLOWED_ORIGINS="https://app.example.com, http://localhost:*,,*.example.org", TUNNEL_PORT_MIN="20000", TUNNEL_PORT_MAX="20001", MAX_CONNS_PER_IP="0011",
        MAX_CONNS_PER_USER="22", MAX_TUNNEL_HTTP_PER_IP="33", MAX_TUNNEL_TCP_CONNS_GLOBAL="-5", BLOCKED_TARGETS="169.254.0.0/16,fc00::/7",
        TRUSTED_PROXIES="10.0.0.0/8, ::1/128")
    r.equal("every one", (code, err, settings_of(every)), (0, "", [
        ("listen", "*:9000"), ("jwks", "http://localhost:81/k"), ("jwt-issuer", "https://i.example"), ("jwt-audience", "tunnel"),
        ("origin", "https://app.example.com"), ("origin", "http://localhost:*"), ("origin", "*.example.org"), ("domain", "t.example.com"),
        ("url", "https://t.example.com:8443"), ("ports", "20000-20000"), ("port-callers", "100"), ("port-callers-all", "1000"), ("conns-per-ip", "11"),
        ("conns-per-user", "22"), ("exchanges-per-ip", "33"), ("trust", "10.0.0.0/8"), ("trust", "::1/128"), ("relay", "deny 169.254.0.0/16"),
        ("relay", "deny fc00::/7"), ("relay", "any")]))
    code, opened, err = env2conf(BLOCKED_TARGETS=" , ", ALLOWED_ORIGINS="")
    r.equal("empty is unset; nobody is asked for a token", (code, settings_of(opened)[1:3]), (0, [("open", "wsproxy"), ("origin", "*")]))
    r.has("which is said", "anybody may use /relay and /tunnel", err)
    r.equal("an empty list blocks nothing", settings_of(opened)[-3:], [("relay", "allow *"), ("relay", "allow 0.0.0.0/0"), ("relay", "allow ::/0")])
    for what, text in (("the defaults", conf), ("every one", every), ("nothing blocked", opened)):
        path = write(f"{r.tmp}/{what.replace(' ', '-')}.conf", text)
        if TLS != "none" or "https://" not in text:     # keys over https
            r.equal(f"tunneld takes {what}", check_conf("--config", path), (0, ""))
    env = write(f"{r.tmp}/env", '# wsproxy\nexport PORT="81"\nCLERK_JWKS_URL=https://a.example/k\nOTHER=$(echo x)\n\nJWT_ISSUER=\'i\'\n')
    r.equal("from a file", settings_of(env2conf([env], PORT="82", JWT_AUDIENCE="x")[1])[:4],
            [("listen", "*:81"), ("jwks", "https://a.example/k"), ("jwt-issuer", "i"), ("origin", "*")])
    for env, want in (
            ({"PORT": "80a"}, "PORT: '80a' is not a number"), ({"PORT": "0"}, "PORT: "), ({"PORT": "65536"}, "PORT: "), ({"PORT": " 80"}, "PORT: "),
            ({"MAX_CONNS_PER_IP": "0"}, "MAX_CONNS_PER_IP: 0 lets nobody in"), ({"MAX_CONNS_PER_USER": "-1"}, "MAX_CONNS_PER_USER"),
            ({"MAX_TUNNEL_HTTP_PER_IP": "1e3"}, "MAX_TUNNEL_HTTP_PER_IP"), ({"MAX_TUNNEL_TCP_CONNS_GLOBAL": "many"}, "MAX_TUNNEL_TCP_CONNS_GLOBAL"),
            ({"MAX_CONNS_PER_IP": "9" * 30}, "out of range"), ({"TUNNEL_PORT_MIN": "10100"}, "is not below TUNNEL_PORT_MAX"), ({"TUNNEL_PORT_MAX": "70000"}, "TUNNEL_PORT_MAX"),
            ({"TUNNEL_PORT_MIN": "0"}, "TUNNEL_PORT_MIN"), ({"CLERK_JWKS_URL": "http://example.com/k"}, "CLERK_JWKS_URL"), ({"CLERK_JWKS_URL": "ftp://x/k"}, "CLERK_JWKS_URL"),
            ({"CLERK_JWKS_URL": "https:///k"}, "CLERK_JWKS_URL"), ({"CLERK_JWKS_URL": "keys.json"}, "CLERK_JWKS_URL"), ({"CLERK_JWKS_URL": "http://localhost.evil.example/"}, "CLERK_JWKS_URL"),
            ({"TRUSTED_PROXIES": "10.0.0.1"}, "TRUSTED_PROXIES: '10.0.0.1' is not ADDRESS/BITS"), ({"TRUSTED_PROXIES": "10.0.0.0/x"}, "TRUSTED_PROXIES"),
            ({"BLOCKED_TARGETS": "10.0.0.0/8,localhost"}, "BLOCKED_TARGETS"), ({"BLOCKED_TARGETS": "10.0.0.0/8 ::/0"}, "BLOCKED_TARGETS"),
            ({"ALLOWED_ORIGINS": ","}, "ALLOWED_ORIGINS"), ({"ALLOWED_ORIGINS": "https://a b"}, "ALLOWED_ORIGINS"), ({"JWT_ISSUER": "a\nopen wsproxy"}, "JWT_ISSUER: there is a line break")):
        code, out, err = env2conf(**{"CLERK_JWKS_URL": jwks, **env})
        r.check(f"{env}", (code, out) == (1, "") and err.startswith("env2conf: ") and err.count("\n") == 1 and want in err, (code, out, err))
    for name, value in (("ALLOWED_ORIGINS", "https://a.example/x"), ("ALLOWED_ORIGINS", "[a"), ("TRUSTED_PROXIES", "10.0.0.1/8"), ("TUNNEL_DOMAIN", "a_b.example")):
        text = env2conf(**{"CLERK_JWKS_URL": jwks, name: value})[1]
        r.equal(f"{name} {value} is tunneld's to refuse", check_conf("--config", write(f"{r.tmp}/bad.conf", text))[0], 2)
    r.equal("a file that is not there", env2conf([f"{r.tmp}/none"])[0], 1)


if __name__ == "__main__":
    main()
