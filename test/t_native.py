"""The native protocol: handshake, registrations, streams, faults, loss and return.

Two clients that share no code with ours speak it: peer/native.py, and
peer/yamux.go on the yamux library that the protocol is named after.
"""
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
from client import parked   # pylint: disable=wrong-import-position
from rig import PEER, ROOT, SANITIZED, Clock, main, test   # pylint: disable=wrong-import-position

HOST = "Host: a.localhost\r\n"
GET = f"GET / HTTP/1.1\r\n{HOST}\r\n".encode()
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
gopeer = threading.Lock()


def streams(client):
    return len(client.seen(event="stream"))


def until(client, n):
    client.wait_line(client.lines, lambda _: streams(client) >= n, f"stream number {n}")


def handshake(d, path="/_tunnel/a", method="GET", version="HTTP/1.1", host="127.0.0.1", key=KEY, **changed):
    lines = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Protocol": "tunnel.v1", "Authorization": f"Bearer {d.token}"}
    for name, value in changed.items():
        lines[name.replace("_", "-")] = value
    text = "".join(f"{n}: {v}\r\n" for n, v in lines.items() if v is not None)
    return f"{method} {path} {version}\r\nHost: {host}\r\n{text}{key}\r\n"


@test
def handshakes(r):
    d = r.daemon(scope="a,b")
    rows = [
        ("no key", 400, {"key": ""}), ("a short key", 400, {"key": "Sec-WebSocket-Key: dGhl\r\n"}),
        ("a key that is no base64", 400, {"key": "Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==\r\n"}),
        ("two keys", 400, {"key": KEY + KEY}), ("POST", 400, {"method": "POST"}),
        ("content", 400, {"key": KEY + "Content-Length: 3\r\n"}),
        ("no subprotocol", 400, {"Sec_WebSocket_Protocol": None}),
        ("another subprotocol", 400, {"Sec_WebSocket_Protocol": "tunnel.v2, chat"}),
        ("its name in upper case", 400, {"Sec_WebSocket_Protocol": "TUNNEL.V1"}),
        ("no credential", 401, {"Authorization": None}), ("an empty credential", 401, {"Authorization": ""}),
        ("Bearer alone", 401, {"Authorization": "Bearer"}), ("another scheme", 401, {"Authorization": f"Basic {d.token}"}),
        ("a token that is none", 401, {"Authorization": "Bearer tn_" + "A" * 43}),
        ("a token cut short", 401, {"Authorization": f"Bearer {d.token[:-1]}"}),
        ("a token and more", 401, {"Authorization": f"Bearer {d.token}x"}),
        ("a huge credential", 401, {"Authorization": "Bearer " + "x" * 20000}),
        ("version 12", 426, {"Sec_WebSocket_Version": "12"}), ("version 013", 426, {"Sec_WebSocket_Version": "013"}),
        ("no version", 426, {"Sec_WebSocket_Version": None}),
        ("a name out of scope", 403, {"path": "/_tunnel/c"}), ("a name that may be none", 403, {"path": "/_tunnel/a/b"}),
        ("a name too long", 403, {"path": "/_tunnel/" + "a" * 300}),
    ]
    for what, want, changed in rows:
        res = r.ask(d, handshake(d, **changed))
        r.equal(f"{what}", res.status, want)
        r.check(f"{what}: Sec-WebSocket-Version", want != 426 or res.get("Sec-WebSocket-Version") == "13", res)
        r.check(f"{what}: Upgrade (RFC 9110, 15.5.22)", want != 426 or
                (res.get("Upgrade"), res.all("Connection")[:1]) == ("websocket", ["Upgrade"]), res)
        r.check(f"{what}: WWW-Authenticate", want != 401 or (res.get("WWW-Authenticate") or "").startswith("Bearer"), res)
        r.check(f"{what}: the token is not repeated", d.token.encode() not in res.body and "x" * 50 not in str(res))
    for what, changed in (("a name in scope", {}), ("upper case", {"path": "/_tunnel/A"}), ("no name", {"path": "/_tunnel"}),
                          ("an empty name", {"path": "/_tunnel/"}), ("a query", {"path": "/_tunnel/a?x=y"}),
                          ("several subprotocols", {"Sec_WebSocket_Protocol": "chat, tunnel.v1"}),
                          ("bearer in lower case", {"Authorization": f"bearer {d.token}"}),
                          ("extensions offered", {"Sec_WebSocket_Extensions": "permessage-deflate"}),
                          ("Connection as a list", {"Connection": "keep-alive, upgrade"}), ("WebSocket", {"Upgrade": "WebSocket"})):
        c = r.caller(d, handshake(d, **changed))
        res = c.interim()
        r.check(f"{what}: 101", res.status == 101 and res.get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
                and res.get("Sec-WebSocket-Protocol") == "tunnel.v1" and not res.get("Sec-WebSocket-Extensions"), res)
        c.close()
    log = "\n".join(l for l in d.errs if l)
    r.check("no token in the log", d.token not in log and "x" * 50 not in log)
    r.until("refusals are logged", lambda: d.logged("event=refused") == len(rows))


@test
def sessions_in_all(r):
    d = r.daemon("--sessions", "1")
    n = r.client(d, "a")
    res = r.ask(d, handshake(d))
    r.check("429 beyond --sessions", res.status == 429 and res.get("Retry-After"), res)
    n.kill(signal.SIGTERM)
    n.exit()
    r.until("one that ended makes room", lambda: r.ask(d, handshake(d)).status == 101)


@test
def closed_while_draining(r):
    d = r.daemon("--drain", "30")
    n = r.client(d, "a", "--never-answer")
    idle = r.caller(d, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    idle.response()
    c = r.caller(d, GET)
    until(n, 1)
    d.ended = True
    d.kill(signal.SIGTERM)
    n.event(op="drain")
    r.check("drain is told", True)
    idle.send(handshake(d))
    res = idle.response()
    r.check("503 to a handshake", res.status == 503 and res.get("Retry-After"), res)
    r.check("the session is kept", not n.seen(event="closed"))
    c.reset()
    r.equal("with its last exchange over it is closed with 1001", n.closed()["code"], 1001)
    r.equal("after go away 0", n.seen(event="go_away"), [{"event": "go_away", "code": 0}])
    r.equal("and the daemon exits 0", d.exit(), 0)


@test
def hello_and_listen(r):
    d = r.daemon(scope="a,b,www.shop.example,health")
    n = r.client(d, "a", "--garbage-control", '{"op":"frobnicate","id":7}', "--garbage-control", '{"op":"error","code":"x"}',
                 "--listen", '{"op":"listen","id":2,"kind":"http","name":"c"}',
                 "--listen", '{"op":"listen","id":3,"kind":"http","name":"B"}',
                 "--listen", '{"op":"listen","id":4,"kind":"http","name":"-bad"}',
                 "--listen", '{"op":"listen","id":5,"kind":"http","name":"b.","x":{"y":[1,2]}}',
                 "--listen", '{"op":"listen","id":6,"kind":"http","name":"www.shop.example"}',
                 "--listen", '{"op":"listen","id":7,"kind":"http","name":"' + "a" * 64 + '"}',
                 "--listen", '{"op":"listen","id":8,"kind":"http","name":"health","path":true}',
                 "--listen", '{"op":"listen","id":9,"kind":"http","name":5}',
                 "--listen", '{"op":"listen","id":10,"kind":"http"}',
                 "--listen", '{"op":"listen","id":4294967295,"kind":"http","name":"a","future":null}')
    hello = n.event(op="hello")
    r.check("hello: version, domain, ping", hello.get("version") and hello.get("domain") == "tunnel.localhost" and hello.get("ping") == 30, hello)
    for lid, want in ((2, "forbidden"), (4, "bad_name"), (5, "bad_name"), (7, "bad_name"), (8, "bad_name"), (9, "bad_name"), (10, "forbidden")):
        obj = n.ready(lid)
        r.check(f"listen {lid}: {want}, and a message", obj["op"] == "error" and obj.get("code") == want and obj.get("message"), obj)
    r.equal("a name is compared in lower case", n.ready(3).get("url"), f"http://b.tunnel.localhost:{d.port}")
    r.equal("a custom domain's URL", n.ready(6).get("url"), f"http://www.shop.example:{d.port}")
    r.equal("a later listen of the same session replaces the earlier one", n.ready(4294967295)["op"], "ready")
    r.until("unknown ops are answered", lambda: len([o for o in n.seen(op="error") if o.get("code") == "unknown_op"]) == 1)
    res = r.get(d)
    r.equal("streams belong to the later listen", res.json().get("preface", {}).get("id"), 4294967295)
    r.has("and tell the caller's address", r"^127\.0\.0\.1:\d+$", res.json().get("preface", {}).get("peer", ""))
    r.equal("names held", sorted(t["name"] for t in d.status()), ["a", "b", "www.shop.example"])


@test
def names_by_default(r):
    d = r.daemon(scope="only,9000")
    n = r.client(d, None)
    r.equal("without a name: the credential's only one", n.ready().get("url"), f"http://only.tunnel.localhost:{d.port}")
    d.issue("--global")
    n = r.client(d, None)
    r.equal("with a global one: default", n.ready().get("url"), f"http://default.tunnel.localhost:{d.port}")
    d.issue("--scope", "x,default")
    n = r.client(d, None, ready=False)
    r.equal("held by another credential", n.ready().get("code"), "name_in_use")
    d.issue("--scope", "x,y")
    n = r.client(d, None, ready=False)
    r.equal("with several names, none of which is default: forbidden", n.ready().get("code"), "forbidden")


@test
def urls(r):
    for args, endpoint, want in (
            ((), "ws://127.0.0.1:{port}", "http://a.tunnel.localhost:{port}"),
            ((), "ws://tunnel.example.com", "http://a.tunnel.localhost"),
            ((), "ws://[::1]:{port}", "http://a.tunnel.localhost:{port}"),
            (("--domain", "t.example.com"), "ws://tunnel.example.com:{port}/", "http://a.t.example.com:{port}"),
            (("--domain", "t.example.com", "--url", "https://t.example.com"), "ws://127.0.0.1:{port}", "https://a.t.example.com"),
            (("--url", "https://x.example.com:8443"), "ws://127.0.0.1:{port}", "https://a.tunnel.localhost:8443")):
        d = r.daemon(*args, name=f"d{len(r.procs)}")
        endpoint, want = endpoint.format(port=d.port), want.format(port=d.port)
        # the last --endpoint counts, and --connect tells where it really is
        n = r.client(d, "a", "--endpoint", endpoint, "--connect", f"127.0.0.1:{d.port}")
        r.equal(f"{' '.join(args)} {endpoint}", n.ready().get("url"), want)


@test
def holders(r):
    d = r.daemon("--grace", "60", scope="a,b")
    mine = d.token
    first = r.client(d, "a", "--stay", "--instance", "0123456789abcdef")
    c = r.caller(d, f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\n")
    until(first, 1)
    # the same credential from another process
    second = r.client(d, "a", "--instance", "fedcba9876543210")
    gone = first.event(op="gone")
    r.equal("the same credential takes over; the old session is told", (gone.get("id"), gone.get("code")), (1, "taken_over"))
    r.equal("new exchanges are served", r.get(d).status, 200)
    until(second, 1)
    r.equal("and not by the old holder", streams(first), 1)
    c.send("hello")
    r.equal("the old one's running exchange finishes", c.response().json().get("body_length"), 5)
    r.equal("one holder", [t["name"] for t in d.status()], ["a"])
    # the same process
    third = r.client(d, "a", "--instance", "fedcba9876543210")
    r.equal("a later session of the same instance serves", r.get(d).status, 200)
    until(third, 1)
    r.check("its older one is not told", not second.seen(op="gone"))
    second.kill(signal.SIGTERM)
    second.exit()
    r.equal("and takes nothing with it when it ends", r.get(d).status, 200)
    # another credential
    d.issue("--global")
    other = r.client(d, "a", ready=False)
    error = other.ready()
    r.check("another credential: name_in_use, by whom", error.get("code") == "name_in_use" and error.get("message"), error)
    r.check("and nothing of the token in it", mine not in str(error))
    # grace keeps it from others too
    third.kill()
    third.exit()
    r.until("lost", lambda: [t["lost"] for t in d.status()] == [True])
    r.equal("in grace the name is still in use", r.client(d, "a", ready=False).ready().get("code"), "name_in_use")
    # an orderly end frees it
    fourth = r.client(d, "a", token=mine)
    r.equal("its owner comes back", r.get(d).status, 200)
    fourth.kill(signal.SIGTERM)
    fourth.exit()
    r.equal("an orderly end frees the name at once", r.get(d).status, 503)
    r.equal("for others too", r.client(d, "a").ready()["op"], "ready")


@test
def endings(r):
    """What frees a name at once, and what keeps it for grace."""
    d = r.daemon("--grace", "60")
    for i, (what, args, freed) in enumerate((
            ("go away 0", ("--go-away", "0"), True), ("a protocol error", ("--bad-type",), False),
            ("a text message", ("--text-message",), False))):
        n = r.client(d, f"e{i}", *args)
        n.may_violate = True
        n.closed() if not freed else n.kill(signal.SIGTERM)
        n.exit()
        r.until(f"{what}: {'freed' if freed else 'kept'}",
                lambda i=i, f=freed: [t["lost"] for t in d.status() if t["name"] == f"e{i}"] == ([] if f else [True]))
    n = r.client(d, "u", "--stay", "--after-ready", '{"op":"unlisten","id":1}', "--after-ready", '{"op":"unlisten","id":1}')
    n.may_violate = True    # the second gone is for no listen any more
    r.equal("unlisten is answered", n.event(op="gone").get("code"), None)
    r.until("and the name is free", lambda: not [t for t in d.status() if t["name"] == "u"])


@test
def unlisten_runs_on(r):
    d = r.daemon()
    n = r.client(d, "a", "--stay", "--listen", '{"op":"listen","id":2,"kind":"http","name":"b"}')
    n.ready(2)
    c = r.caller(d, f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\n")
    until(n, 1)
    other = r.client(d, "a")    # takes over: the first one's stream runs on
    n.event(op="gone", id=1)
    r.equal("the other name stays", r.get(d, "b.localhost").json().get("preface", {}).get("id"), 2)
    c.send("hello")
    r.equal("a running exchange finishes", c.response().status, 200)
    r.equal("the new holder serves", r.get(d).status, 200)
    until(other, 1)


@test
def sharing(r):
    d = r.daemon("--grace", "60")
    one = r.client(d, "a", "--share", "--never-answer")
    two = r.client(d, "a", "--share", "--never-answer")
    three = r.client(d, "a", "--share", "--never-answer")
    cs = []
    for i in range(9):
        cs.append(r.caller(d, GET))
        r.until(f"exchange {i} is at one of them", lambda i=i: streams(one) + streams(two) + streams(three) == i + 1)
    r.equal("exchanges go to the holder with the fewest running", [streams(x) for x in (one, two, three)], [3, 3, 3])
    two.kill()
    two.exit()
    def answered():
        poll = select.poll()    # select(2) knows no descriptor above 1023
        for c in cs:
            poll.register(c.sock, select.POLLIN)
        return {fd for fd, _ in poll.poll(0)}
    r.until("one killed costs its own", lambda: len(answered()) >= 3)
    r.until("two are left", lambda: [t["running"] for t in d.status()] == [3, 3])
    r.equal("and only its own", [c.response().status for c in cs if c.sock.fileno() in answered()], [502, 502, 502])
    c = r.caller(d, GET)
    r.until("and serve", lambda: streams(one) + streams(three) == 7)
    four = r.client(d, "a")     # without share
    r.equal("one that does not share takes over all", [x.event(op="gone").get("code") for x in (one, three)], ["taken_over"] * 2)
    r.equal("it serves", r.get(d).status, 200)
    until(four, 1)
    five = r.client(d, "a", "--share")
    r.equal("one that shares does not join one that does not", four.event(op="gone").get("code"), "taken_over")
    r.equal("it serves instead", r.get(d).status, 200)
    until(five, 1)


@test
def grace(r):
    d = r.daemon("--grace", "900ms")

    def killed():
        n = r.client(d, "a", "--never-answer", "--instance", "0123456789abcdef")
        c = r.caller(d, GET)
        until(n, 1)
        started = time.monotonic()
        n.kill()
        res = c.response()
        r.equal("client killed: 502 for those without a head", res.status, 502)
        return time.monotonic() - started
    r.soon("client killed: at once", 0.8, killed)
    n = r.client(d, "a", "--never-answer", "--instance", "0123456789abcdef")
    mark = d.marks()
    started = time.monotonic()
    n.kill()
    d.log("event=session_end", start=mark)
    c = r.caller(d, GET)
    res = c.response()
    took = time.monotonic() - started
    r.check("in grace a new exchange waits, then 503", res.status == 503 and 0.5 < took < 9, (took, res))
    r.until("the name is free after grace", lambda: not d.status())
    # back within grace
    d = r.daemon("--grace", "30", name="long")
    n = r.client(d, "a", "--reset-mid", "--instance", "0123456789abcdef")
    n.kill()
    n.exit()
    r.until("lost", lambda: [t["lost"] for t in d.status()] == [True])
    cs = [r.caller(d, GET) for _ in range(5)]
    cs.append(r.caller(d, f"POST / HTTP/1.1\r\n{HOST}Content-Length: 100000\r\n\r\n" + "x" * 100000))
    parked(d)           # nothing else tells that they wait
    n = r.client(d, "a", "--instance", "0123456789abcdef")
    r.equal("those that waited are served after its return", [c.response().status for c in cs], [200] * 6)
    n.kill()
    n.exit()
    r.until("lost again", lambda: [t["lost"] for t in d.status()] == [True])
    c = r.caller(d, GET)
    parked(d)
    c.close()           # a waiting caller that leaves must not stay in the queue
    d2 = r.daemon("--grace", "0", name="none")
    n = r.client(d2, "a")
    n.kill()
    r.until("without grace the name is free at once", lambda: not d2.status())
    r.equal("and callers get 503", r.get(d2).status, 503)
    # a caller that waits in grace while the daemon drains
    d3 = r.daemon("--grace", "60", "--drain", "5", name="drain")
    n = r.client(d3, "a")
    n.kill()
    n.exit()
    r.until("lost once more", lambda: [t["lost"] for t in d3.status()] == [True])
    c = r.caller(d3, GET)
    parked(d3)
    d3.ended = True
    d3.kill(signal.SIGTERM)
    r.check("a caller that waits in grace does not outlast the drain", c.response().status in (503, 504, None))
    r.equal("the daemon exits 0", d3.exit(), 0)


@test
def faults(r):
    """Each ends its own session, with the close code the protocol names; the daemon goes on."""
    d = r.daemon("--grace", "0")
    good = r.client(d, "good")
    for flag, code, away in (("--text-message", 1003, None), ("--bad-type", 1002, 1), ("--bad-version", 1002, 1),
                             ("--syn-live", 1002, 1), ("--oversize", 1009, None)):
        n = r.client(d, "x", flag)
        n.may_violate = True
        r.equal(f"{flag}: close code", n.closed()["code"], code)
        if away is not None:
            r.equal(f"{flag}: go away 1 before it", [o["code"] for o in n.seen(event="go_away")], [1])
        n.exit()
        r.until(f"{flag}: one log line", lambda c=code: d.logged(f"event=session_end .*code={c}") >= 1)
    n = r.client(d, "x", "--window-abuse")
    n.may_violate = True
    res = r.get(d, "x.localhost")
    r.equal("--window-abuse: close code", n.closed()["code"], 1002)
    r.check("--window-abuse: the caller is cut off", res.status in (502, None) or res.end == "cut", res)
    for flag in ("--syn-own", "--data-unknown-stream"):
        n = r.client(d, "x", flag, "--stay")
        n.event(event="ping_ok")
        r.equal(f"{flag}: no reason to end the session", r.get(d, "x.localhost").status, 200)
        if flag == "--syn-own":
            r.equal("the stream is reset", n.event(event="reset").get("stream"), 3)
        n.kill(signal.SIGTERM)
        n.exit()
    for line in ("no json", "{}", '{"op":5}', '["op"]', '{"op":"listen","op":"x"', "x" * 20000, '{"op":"hello"}\\x00', "\\xff\\xfe"):
        n = r.client(d, "x", "--garbage-control", line, ready=False)
        n.may_violate = True
        r.equal(f"control line {line[:24]}: close code", n.closed()["code"], 1002)
        n.exit()
    for line in ('{"op":"listen","kind":"http","name":"y"}', '{"op":"listen","id":0,"kind":"http","name":"y"}',
                 '{"op":"listen","id":"1","kind":"http","name":"y"}', '{"op":"listen","id":-1,"kind":"http"}',
                 '{"op":"unlisten"}', '{"op":"unlisten","id":77}'):
        n = r.client(d, "x", "--garbage-control", line, "--stay")
        n.may_violate = True    # the answer to what had no id
        answer = n.event(op=lambda op: op in ("error", "gone"))
        r.check(f"{line}: answered", answer, answer)
        n.kill()
        n.exit()
    r.equal("another session does not notice", (r.get(d, "good.localhost").status, good.alive()), (200, True))


@test
def raw_websocket(r):
    """Frames no WebSocket client sends."""
    d = r.daemon("--ping", "60")
    import struct   # pylint: disable=import-outside-toplevel

    def frame(first, payload=b"", mask=True, length=None):
        n = len(payload) if length is None else length
        head = bytes([first]) + (bytes([(0x80 if mask else 0) | n]) if n < 126 else
                                 bytes([(0x80 if mask else 0) | 126]) + struct.pack("!H", n) if n < 65536 else
                                 bytes([(0x80 if mask else 0) | 127]) + struct.pack("!Q", n))
        return head + (b"\0\0\0\0" if mask else b"") + payload
    for what, data, code in (
            ("an unmasked frame", frame(0x82, b"hello", mask=False), 1002), ("a reserved bit", frame(0xc2, b"x"), 1002),
            ("a reserved opcode", frame(0x83, b"x"), 1002), ("a reserved control opcode", frame(0x8b), 1002),
            ("a fragmented ping", frame(0x09, b"x"), 1002), ("a ping of 126 bytes", frame(0x89, b"x" * 126), 1002),
            ("a continuation of nothing", frame(0x80, b"x"), 1002), ("a message inside a message", frame(0x02, b"x") + frame(0x82, b"x"), 1002),
            ("a length of 2^63", bytes([0x82, 0xff]) + b"\xff" * 8 + b"\0" * 4, (1002, 1009)),
            ("a message of 2 MiB, announced", frame(0x82, b"", length=2 << 20), 1009),
            ("a close of one byte", frame(0x88, b"x"), 1002), ("a close with code 1005", frame(0x88, struct.pack("!H", 1005)), 1002),
            ("a close with code 999", frame(0x88, struct.pack("!H", 999)), 1002),
            ("a close with no UTF-8", frame(0x88, struct.pack("!H", 1000) + b"\xff"), (1002, 1007)),
            ("text", frame(0x81, b"hello"), 1003), ("an orderly close", frame(0x88, struct.pack("!H", 1000)), 1000),
            ("an empty close", frame(0x88), (1000, None))):
        c = r.caller(d, handshake(d).encode() + data)
        res = c.interim()
        r.equal(f"{what}: 101 first", res.status, 101)
        got = None
        while len(c.buf) < 2 or len(c.buf) < 2 + c.buf[1]:
            if not c.more():
                break
        while c.buf:
            op, n = c.buf[0], c.buf[1]
            if op == 0x88:
                got = struct.unpack("!H", c.buf[2:4])[0] if n >= 2 else None
            c.buf = c.buf[2 + n:]
            while op != 0x88 and not c.buf and c.more():
                pass
        r.check(f"{what}: close {code}", got in (code if isinstance(code, tuple) else (code,)), got)
        while c.more():
            pass
    c = r.caller(d, handshake(d).encode() + frame(0x89, b"are you there") + frame(0x82) + frame(0x8a, b"nobody asked"))
    c.interim()
    r.equal("a ping is answered", c.exactly(15), b"\x8a\x0dare you there")


@test
def streams_that_fail(r):
    d = r.daemon()
    n = r.client(d, "a", "--reset-streams")
    res = r.get(d)
    r.check("a reset before any byte: 503", res.status == 503 and res.get("Retry-After"), res)
    c = r.caller(d, GET + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    r.equal("the connection goes on", (c.response().status, c.response().status), (503, 200))
    r.client(d, "b", "--reset-mid")
    c = r.caller(d, "GET / HTTP/1.1\r\nHost: b.localhost\r\n\r\n")
    res = c.response()
    r.check("a reset in the middle: cut", res.status == 200 and res.end == "cut" and len(res.body) == 50000, (res.end, len(res.body)))
    r.check("sessions stay", n.alive() and len(d.status()) == 2)
    r.client(d, "c", "--late-ack")
    r.equal("ACK on the answer itself", r.get(d, "c.localhost").status, 200)


@test
def windows(r):
    d = r.daemon("--timeout", "15", "--idle", "15")
    size = (1 << 20) + 12345
    o = r.origin()
    for i, args in enumerate((("--slow-window",), ("--tiny-frames",), ("--slow-window", "--tiny-frames"))):
        up = 20000 if "--tiny-frames" in args else size // 4
        r.client(d, f"w{i}", "--target", o.target, *args)
        res = r.get(d, f"w{i}.localhost", f"/bytes?n={up}")
        r.check(f"{' '.join(args)}: down", res.end == "length" and len(res.body) == up, (res.end, len(res.body)))
        res = r.get(d, f"w{i}.localhost", "/upload", method="POST", fields=f"Content-Length: {up}\r\n", body=b"u" * up)
        r.equal(f"{' '.join(args)}: up", res.json().get("body_length"), up)
    client = r.client(d, "n", "--target", o.target)
    for n in list(range(261500, 262300, 97)) + [size]:
        res = r.get(d, "n.localhost", "/upload", method="POST", fields=f"Content-Length: {n}\r\n", body=b"u" * n)
        r.equal(f"an upload of {n} bytes around the first window", res.json().get("body_length"), n)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (b"u" * (n // 2), b"v" * (n - n // 2))) + b"0\r\nX-T: 1\r\n\r\n"
        res = r.get(d, "n.localhost", "/upload", method="POST", fields="Transfer-Encoding: chunked\r\n", body=chunks)
        r.check(f"in chunks, {n}", res.json().get("body_length") == n and res.json().get("trailers") == ["X-T: 1"], res)
    client.kill(signal.SIGTERM)
    client.exit()
    longest = client.event(event="closed")["longest"]    # behind headers of IPv6, TCP with its timestamps, and the frame
    r.check("a message fits in a packet of 64 KiB", longest <= 65536 - 40 - 32 - 4, longest)


@test
def unacknowledged(r):
    d = r.daemon("--slots", "1000", "--timeout", "20", "--drain", "500ms")
    n = r.client(d, "a", "--never-ack", "--quiet")
    cs = [r.caller(d, GET) for _ in range(300)]
    r.until("all of them run", lambda: d.status()[0]["running"] == 300)
    r.check("256 unacknowledged streams are no violation", n.alive() and not n.seen(event="violation"))
    r.check("the others wait", len(cs) == 300 and not any(c.buf for c in cs))
    m = r.client(d, "b")
    r.equal("other sessions go on", (r.get(d, "b.localhost").status, m.alive()), (200, True))
    n.kill()
    r.equal("all get 502 when it dies", {c.response().status for c in cs}, {502})


@test
def many_streams(r):
    d = r.daemon("--slots", "1000", "--streams", "2000")
    o = r.origin("--wait", "60")
    r.client(d, "a", "--target", o.target, "--quiet")
    cs = [r.caller(d, f"GET /slow?ms=300 HTTP/1.1\r\n{HOST}\r\n") for _ in range(300)]
    r.equal("300 at once", [c.response().status for c in cs].count(200), 300)
    def work():
        c = r.caller(d)
        for i in range(40):
            c.send(f"POST /echo HTTP/1.1\r\n{HOST}Content-Length: 3000\r\n\r\n" + "x" * 3000)
            if c.response().json().get("body_length") != 3000:
                return
        done.append(1)
    done = []
    ts = [threading.Thread(target=work) for _ in range(10)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    r.equal("10 connections with 40 requests each", len(done), 10)
    # an exchange that nobody needs to be woken for is counted off a moment later
    r.until("none of them runs any more", lambda: d.status()[0]["running"] == 0)
    st = d.status()[0]
    r.equal("status counts them", st["requests"], 700)
    r.check("and their bytes", st["in"] > 400 * 3000 and st["out"] > 0, st)


@test
def lost_pings(r):
    hasty, times = r.daemon("--ping", "300ms", "--grace", "60", name="hasty"), []

    def stopped():
        n = r.client(hasty, "a", "--never-answer")
        c = r.caller(hasty, GET)
        until(n, 1)
        started = time.monotonic()
        n.kill(signal.SIGSTOP)
        r.equal("a client that is stopped: 502", c.response().status, 502)
        times.append(time.monotonic() - started)
        r.until("its name is kept", lambda: [t["lost"] for t in hasty.status() if t["name"] == "a"] == [True])
        n.kill(signal.SIGCONT)
        return times[-1]
    r.soon("by the second ping", 5 if SANITIZED else 2, stopped)
    r.check("not by the first", max(times) > 0.2, times)
    ping = 2
    d = r.daemon("--ping", str(ping), "--grace", "60", name="patient")
    mute = r.client(d, "c", "--no-pong")

    def kept():
        """The longest time without an answer; if that was less than a ping's, nobody may have been lost."""
        quiet, chatty = r.client(d, "b"), r.client(d, "e", "--no-pong", "--stay")
        last = time.monotonic()
        end, longest, alive = last + 3 * ping, 0, True
        while alive and last < end:
            alive = r.get(d, "e.localhost").status == 200
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            time.sleep(0.05)
        if longest < ping:
            r.check("no pong, but bytes: kept", alive and not chatty.seen(event="closed"))
            r.check("one that answers stays", not quiet.seen(event="closed") and r.get(d, "b.localhost").status == 200)
        return longest
    r.soon("they are heard in time", ping, kept)
    mute.closed()
    r.check("no pong and nothing else: ended", True)


@test
def drained_by_the_daemon(r):
    """drain, a second session where it can be had, go away 0, 1001."""
    d = r.daemon("--drain", "10")
    n = r.client(d, "a", "--stay")
    c = r.caller(d, f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\n")
    until(n, 1)
    d.ended = True
    out = d.tool("stop")
    r.equal("tunneld stop", out.returncode, 0)
    n.event(op="drain")
    c.send("hello")
    r.equal("the running exchange finishes", c.response().status, 200)
    closed = n.closed()
    r.equal("then go away 0 and 1001", ([o["code"] for o in n.seen(event="go_away")], closed["code"]), ([0], 1001))
    r.equal("exit 0", d.exit(), 0)


@test
def revoked(r):
    d = r.daemon("--grace", "60", scope=None)

    def revoke():
        d.issue("--global")
        n = r.client(d, "a", "--never-answer")
        m = r.client(d, "m")
        c = r.caller(d, GET)
        until(n, 1)
        keep = d.token_id
        started = time.monotonic()
        out = d.tool("token", "revoke", keep)
        r.equal("revoke", (out.returncode, out.stdout), (0, f"revoked: {keep}\n"))
        r.equal("gone revoked", n.event(op="gone").get("code"), "revoked")
        r.equal("close 1008", n.closed()["code"], 1008)
        took = time.monotonic() - started
        r.equal("all of its sessions", m.closed()["code"], 1008)
        r.equal("its callers get 502", c.response().status, 502)
        return took
    r.soon("within a second", 5 if SANITIZED else 1, revoke)
    r.equal("no grace for it", (r.get(d).status, d.status()), (503, []))
    r.equal("and no way back", r.ask(d, handshake(d)).status, 401)


@test
def expired(r):
    clock = Clock(r)
    d = r.daemon(program="test/tunneld-clock", env=clock.env)
    forever = d.token
    d.issue("--scope", "early", "--expires", "50m")
    early = r.client(d, "early")
    d.issue("--scope", "a", "--expires", "1h")
    n = r.client(d, "a")
    m = r.client(d, "m", token=forever)
    clock.move(3540)
    early.event(op="gone", code="expired")      # the janitor has been there
    r.equal("before its end the session serves", r.get(d).status, 200)
    r.check("and stays", not n.seen(event="closed"))
    n2 = r.client(d, "a")
    r.equal("and the token is good", n2.ready()["op"], "ready")
    clock.move(60)
    r.equal("gone expired", n2.event(op="gone", code="expired").get("code"), "expired")
    r.equal("close 1008", n2.closed()["code"], 1008)
    r.equal("an expired token: 401", r.ask(d, handshake(d)).status, 401)
    r.check("one without an end stays", not m.seen(event="closed"))
    r.equal("and serves", r.get(d, "m.localhost").status, 200)


@test
def path_tunnels(r):
    d = r.daemon("--grace", "60")
    n = r.client(d, "p", "--path", "--stay")
    res = r.get(d, "127.0.0.1", "/p/x?y")
    r.equal("stripped", res.json().get("request_line"), "GET /x?y HTTP/1.1")
    for name in ("health", "healthz", "relay", "tunnel"):
        m = r.client(d, name, "--path", ready=False)
        r.equal(f"{name} may not be one", m.ready().get("code"), "bad_name")
    m = r.client(d, "health")
    r.equal("as a name alone it may", m.ready()["op"], "ready")
    n.kill()
    n.exit()
    r.until("lost", lambda: [t["lost"] for t in d.status() if t["name"] == "p"] == [True])
    c = r.caller(d, "GET /p/late HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    parked(d)
    r.client(d, "p", "--path")
    r.equal("in grace its path waits too", c.response().json().get("request_line"), "GET /late HTTP/1.1")


@test
def ports_are_refused(r):
    d = r.daemon("--ports", "none")
    n = r.client(d, None, "--kind", "tcp", "--port", "9000", "--stay", ready=False)
    error = n.ready()
    r.check("tcp: an error with a code of the protocol", error["op"] == "error" and error.get("code") == "forbidden", error)


def library(r):
    """The client on the yamux library itself, built once."""
    out = f"{ROOT}/gopeer"
    with gopeer:
        if not os.path.exists(out):
            go = shutil.which("go") or "/usr/bin/go"
            env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
            own = f"{ROOT}/gocache"
            env.setdefault("GOCACHE", own)      # where one is given, another run has filled it
            subprocess.run([go, "build", "-o", out, f"{PEER}/yamux.go"], env=env, check=True, capture_output=True, timeout=600)   # a minute's work
            shutil.rmtree(own, ignore_errors=True)
    return out


@test
def real_library(r):
    d = r.daemon("--slots", "600")
    o = r.origin("--wait", "60")
    for i, args in enumerate(((), ("-whole", "-window", "4194304"))):
        name = f"g{i}"
        n = r.spawn(library(r), "-endpoint", f"ws://127.0.0.1:{d.port}", "-token", d.token, "-name", name, "-target", o.target, *args)
        r.equal(f"{name}: ready", n.ready().get("url"), f"http://{name}.tunnel.localhost:{d.port}")
        host = f"{name}.localhost"
        r.equal(f"{name}: GET", r.get(d, host).body, b"origin\n")
        size = 3 << 20 if SANITIZED else 24 << 20
        res = r.get(d, host, f"/bytes?n={size}")
        r.check(f"{name}: a big download", res.end == "length" and len(res.body) == size)
        res = r.get(d, host, "/upload", method="POST", fields=f"Content-Length: {size}\r\n", body=b"u" * size)
        r.equal(f"{name}: a big upload", res.json().get("body_length"), size)
        res = r.get(d, host, "/bytes?n=500000&chunked=1&piece=777")
        r.check(f"{name}: chunks", res.end == "chunked" and len(res.body) == 500000)
        res = r.get(d, host, "/trailers")
        r.equal(f"{name}: trailers", res.trailers, ["X-Sum: 5", "X-More: yes"])
        cs = [r.caller(d, f"GET /slow?ms=200 HTTP/1.1\r\nHost: {host}\r\n\r\n") for _ in range(280)]
        r.equal(f"{name}: 280 at once", [c.response().status for c in cs].count(200), 280)
        c = r.caller(d, f"GET /upgrade HTTP/1.1\r\nHost: {host}\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\nhello")
        r.equal(f"{name}: 101", c.interim().status, 101)
        r.equal(f"{name}: echo", c.exactly(5), b"hello")
        c.half_close()
        r.equal(f"{name}: half-close", c.over(), "fin")
        before = r.get(d, host, "/dropped").json().get("count", 0)
        c = r.caller(d, f"GET /hang HTTP/1.1\r\nHost: {host}\r\n\r\n")
        r.get(d, host, "/hung?n=1")
        c.reset()
        r.check(f"{name}: a caller that leaves", r.get(d, host, f"/dropped?n={before + 1}").json().get("ok"))
        res = r.get(d, host, "/die-mid-chunked")
        r.equal(f"{name}: an answer cut short", res.end, "cut")
        r.equal(f"{name}: its streams are all over", r.until(f"{name}: none runs", lambda nm=name: not [
            t for t in d.status() if t["name"] == nm and t["running"]]), True)
        n.kill(signal.SIGTERM)
        r.equal(f"{name}: an orderly end", n.closed()["code"], 1000)
        r.until(f"{name}: freed", lambda nm=name: not [t for t in d.status() if t["name"] == nm])


@test
def own_domains(r):
    """Who held the daemon's own names would get everybody's tokens."""
    for i, (args, names) in enumerate((
            (("--domain", "t.test"), ("t.test", "T.Test", "x.t.test", "y.x.t.test")),
            ((), ("tunnel.localhost", "x.tunnel.localhost", "a.tunnel.example", "tunnel.example", "b.localhost")),
            (("--domain", "t.test", "--url", "https://Pub.example:8443"), ("pub.example", "t.test")))):
        d = r.daemon(*args, name=f"d{i}")
        listens = [f'{{"op":"listen","id":{k + 2},"kind":"http","name":"{name}"}}' for k, name in enumerate(names)]
        n = r.client(d, f"www{i}.shop.example", *(w for line in listens for w in ("--listen", line)))
        for k, name in enumerate(names):
            r.equal(f"{' '.join(args)}: {name}", n.ready(k + 2).get("code"), "forbidden")
        r.equal(f"{' '.join(args)}: another domain", r.get(d, f"www{i}.shop.example").status, 200)


@test
def hello_twice(r):
    d = r.daemon()
    n = r.client(d, "a", "--stay", "--after-ready",
                 '{"op":"hello","version":"1.0.0","agent":"peer/1.0.0","instance":"0123456789abcdef","endpoint":"ws://a"}')
    r.equal("hello twice: close code", n.closed()["code"], 1002)
    r.equal("by the daemon, which says hello once", len(n.seen(op="hello")), 1)


@test
def streams_without_end(r):
    """A client that never ends its direction uses up no session."""
    d = r.daemon("--streams", "4")
    n = r.client(d, "a", "--no-fin")
    for _ in range(4):
        r.get(d)
    r.until("room again", lambda: r.get(d).status == 200)
    got = [r.get(d).status for _ in range(12)]
    r.check("and again", got.count(200) >= 8 and n.alive(), got)


@test
def revoked_without_descriptors(r):
    """The tokens cannot be read for want of descriptors: they are when there are some."""
    d = r.daemon()
    n = r.client(d, "a")
    few = len(os.listdir(f"/proc/{d.p.pid}/fd")) + 2
    resource.prlimit(d.p.pid, resource.RLIMIT_NOFILE, (few, few))
    idle = [r.caller(d) for _ in range(16)]     # one more, or two, may have been open for a moment
    d.log("event=accept_failed")
    r.equal("revoke", d.tool("token", "revoke", d.token_id).returncode, 0)
    d.log("event=tokens_bad")
    r.check("a session goes on as long as nothing is known", not n.seen(event="closed"))
    for c in idle:
        c.close()
    r.equal("close 1008 when there are descriptors again", n.closed()["code"], 1008)
    r.equal("what failed is told once", d.logged("event=tokens_bad"), 1)


main()
