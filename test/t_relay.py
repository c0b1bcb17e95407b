"""/relay: WebSockets whose bytes go to TCP services, and `tunnel relay`, the command-line end of it.

The daemon is tried with browsers of python3-websockets and frame by frame, the client with wsproxy's as peer/wsproxyd.py has it;
both together with a real sshd.
"""
import fcntl
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from certs import Certs, read, write
from client import TUNNEL, ws_server, wsproxyd
from relaypeer import ACCEPT, HALVES, Browser, Raw, asked, dns
from rig import BIN, ENV, PEER, PYTHON, ROOT, SANITIZED, TLS, WAIT, Miss, Plain, echo, main, test
from sshd import Sshd
# pylint: enable=wrong-import-position

HERE = ("--relay", "allow 127.0.0.0/8", "--relay", "allow localhost")
C = Certs(f"{ROOT}/certs") if TLS != "none" else None
BUSY = threading.Lock()     # a hundred relays take all of this process's time; who must answer pings has it to himself


def service(r, handle=echo):
    return r.keep(Plain(handle))


def browser(r, d, port, **more):
    return r.keep(Browser(d, port, **more))


def raw(r, d, port, **more):
    return r.keep(Raw(d, port, **more))


def dead_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def running(d):
    return next(t["relays"] for t in d.status() if "relays" in t)


def idle(r, d, what="no relay is left"):
    r.until(what, lambda: running(d) == 0)


def swallow(conn):
    """Reads all, and notes its end and hash."""
    h, n = hashlib.sha256(), 0
    while conn.buf or conn.more():
        h.update(conn.buf)
        n += len(conn.buf)
        conn.buf = b""
    return conn.ended, n, h.hexdigest()


# ---- the protocol's examples ---------------------------------------------------------------------

@test
def examples(r):
    d, t = r.daemon(*HERE), service(r)
    b = raw(r, d, dead_port())
    r.equal("E1: the 101", (b.answer.status, b.answer.get("sec-websocket-accept"), b.answer.get("sec-websocket-protocol"),
                            b.answer.get("sec-websocket-extensions")), (101, ACCEPT, None, None))
    r.equal("E1: dial failure", b.exactly(23).hex(), "881503f3" + b"cannot reach target".hex())
    b.send(bytes.fromhex("888037fa213d"))
    r.equal("E1: then it ends", b.over(), "fin")
    d.log("event=relay_failed target=127.0.0.1:[0-9]+ addr=127.0.0.1:[0-9]+ reason=refused who=token:")
    e = r.daemon(*HERE, "--ping", "3", name="pings")
    with BUSY:
        b = raw(r, e, t.port)
        r.equal("E2: ping", b.exactly(3).hex(), "890131")
        b.send(bytes.fromhex("8a8137fa213d06"))
        r.equal("E2: the next one follows the pong", b.exactly(3).hex(), "890132")
        b.send(bytes.fromhex("888037fa213d"))
        r.equal("E2: an empty Close is echoed empty", (b.wait(8), b.over()), ((b"", b""), "fin"))
    b = raw(r, d, t.port)
    b.send(bytes.fromhex("8182000000006869"))
    r.equal("E3: text", b.exactly(68), bytes.fromhex("884203eb") + b"unexpected frame type read (expected MessageBinary): MessageText")
    for query, status, text in (("?host=10.0.0.1&port=22", 403, "target address not allowed\n"), ("?host=h", 400, "host and port query params required\n"),
                                ("?host=127.0.0.1&port=70000", 400, "invalid port (must be 1-65535)\n"), ("", 400, "host and port query params required\n"),
                                ("?host=&port=22", 400, "host and port query params required\n"), ("?port=22", 400, "host and port query params required\n"),
                                ("?host=127.0.0.1&port=0", 400, "invalid port (must be 1-65535)\n"), ("?host=127.0.0.1&port=22x", 400, "invalid port (must be 1-65535)\n"),
                                ("?host=127.0.0.1&port=-1", 400, "invalid port (must be 1-65535)\n"), ("?host=127.0.0.1&port=22", 426, None)):
        res = r.get(d, "x", "/relay" + query, f"Authorization: Bearer {d.token}\r\n")
        r.equal(f"E4: {query}", (res.status, res.body.decode() if text else None), (status, text))
        r.equal(f"E4: {query}: plain text", (res.get("content-type"), res.get("x-content-type-options")), ("text/plain; charset=utf-8", "nosniff"))
    for fields in ("", "Authorization: Bearer tn_wrong\r\n"):
        res = r.get(d, "x", "/relay", fields)
        r.equal("401 comes before all parameters", (res.status, res.body), (401, b"unauthorized\n"))
    r.equal("/health is wsproxy's", r.get(d, "x", "/health").body, b"ok")
    idle(r, d)


@test
def off(r):
    d = r.daemon()
    r.equal("without --relay there is no such endpoint", raw(r, d, 1).answer.status, 404)
    r.equal("and /health is as it ever was", r.get(d, "x", "/health").body, b"ok\n")
    r.check("and status does not speak of it", "relays" not in d.tool("status", "--json").stdout)
    for args, words in ((("--relay", "allow"), "is without its TARGET"), (("--relay", "allow 10.0.0.1/8"), "its bits behind the prefix must be 0"),
                        (("--relay", "permit *"), "is not any"), (("--relay-ca", "/dev/null"), "off without --relay"),
                        (("--relay", "any", "--relay-ca", "/nonexistent"), "--relay-ca: /nonexistent")):
        p = subprocess.run([f"{BIN}/tunneld", "-n", *args], env=ENV, capture_output=True, text=True, timeout=WAIT, check=False)
        if TLS != "none" or "nonexistent" not in words:
            r.check(f"{args}", p.returncode != 0 and words in p.stderr and p.stderr.count("\n") == 1, p)
    env = {**ENV, "TUNNELD_RELAY": "deny 10.1.0.0/16:22 allow 10.0.0.0/8 any:443"}
    p = subprocess.run([f"{BIN}/tunneld", "-n"], env=env, capture_output=True, text=True, timeout=WAIT, check=False)
    r.equal("rules from the environment", (p.returncode, p.stderr), (0, ""))
    with open(f"{r.tmp}/conf", "w", encoding="ascii") as f:
        f.write("listen 127.0.0.1:0\nrelay deny 127.0.0.2\nrelay allow 127.0.0.0/8\n")
    d, t = r.daemon("--config", f"{r.tmp}/conf", name="file"), service(r)
    r.equal("rules from the file", [browser(r, d, t.port, host=h).status for h in ("127.0.0.1", "127.0.0.2", "127.0.0.3")], [101, 403, 101])


# ---- bytes ---------------------------------------------------------------------------------------

@test
def bytes_pass(r):
    d, t = r.daemon(*HERE), service(r)
    for host in ("127.0.0.1", "localhost", "::ffff:127.0.0.1", "LOCALHOST.", "%6cocalhost", "+127.0.0.1%20"):
        b = browser(r, d, t.port, host=host)
        data = os.urandom(300000)
        for size in (1, 125, 126, 4096, 65535, 65536, 100000):
            b.send(data[:size])
            r.check(f"{host}: a message of {size} bytes", b.read(size) == data[:size])
        b.send(b"")
        b.send([data[:7], b"", data[7:70000], data[70000:]])        # one message in four frames
        r.check(f"{host}: empty ones mean nothing, fragments do not matter", b.read(len(data)) == data)
        b.ping()
        b.close()
        r.equal(f"{host}: Close is echoed", b.end(), (1000, ""))
    idle(r, d)
    c = raw(r, d, t.port, early=b"\x82\x85\x00\x00\x00\x00early")
    r.equal("bytes right behind the request", c.data(5), b"early")
    for byte in b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58":
        c.send(bytes([byte]))
    r.equal("a frame byte by byte", c.data(5), b"Hello")
    c.frame(9, b"x" * 125)
    r.equal("a pong has the ping's payload", c.next(), (10, b"x" * 125))
    c.frame(2, b"a", fin=0)
    c.frame(9, b"between")
    c.frame(0, b"b")
    pong, data = c.wait(10)
    while data != b"ab":
        data += c.next()[1]
    r.equal("a ping between fragments", (pong, data), (b"between", b"ab"))


@test
def wrong_frames(r):
    d, t = r.daemon(*HERE), service(r)
    for what, frame, code in (("RSV1", b"\xc2\x80\0\0\0\0", 1002), ("an unknown opcode", b"\x83\x80\0\0\0\0", 1002),
                              ("a fragmented control frame", b"\x09\x80\0\0\0\0", 1002), ("a long one", b"\x89\xfe\0\x7e\0\0\0\0", 1002),
                              ("a close payload of one byte", b"\x88\x81\0\0\0\0\0", 1002), ("close code 1005", b"\x88\x82\0\0\0\0\x03\xed", 1002),
                              ("a continuation of nothing", b"\x80\x80\0\0\0\0", 1002), ("an unmasked frame", b"\x82\x01x", 1002),
                              ("text", b"\x81\x80\0\0\0\0", 1003), ("text in fragments", b"\x01\x81\0\0\0\0a", 1003)):
        c = raw(r, d, t.port, early=b"\x82\x82\0\0\0\0ok" + frame)
        closed, data = c.wait(8)
        r.equal(f"{what}: the code", closed and int.from_bytes(closed[:2], "big"), code)
        r.check(f"{what}: nothing else is lost", data in (b"ok", b""), data)
        r.check(f"{what}: it ends", c.over() in ("fin", "reset"))
    idle(r, d)


def digest(pieces):
    h = hashlib.sha256()
    for p in pieces:
        h.update(p)
    return h.hexdigest()


def one_of_many(d, t, i, size, together, failures):
    """size bytes there and back over a relay; the mask's key is 0, so that this test does not take an hour."""
    data = i.to_bytes(8, "big") + BASE[:size - 8]
    try:
        c = Raw(d, t.port, wait=MANY_WAIT)
        together.wait(MANY_WAIT)
        piece = 1 << 18

        def send():
            for at in range(0, size, piece):
                c.frame(2, data[at:at + piece], key=bytes(4))
        writer = threading.Thread(target=send, daemon=True)
        writer.start()
        h, n = hashlib.sha256(), 0
        while n < size:
            got = c.next()
            if got is None or got[0] != 2:
                break
            h.update(got[1])
            n += len(got[1])
        writer.join(MANY_WAIT)
        if h.digest() != hashlib.sha256(data).digest():
            failures.append(f"relay {i}: {n} bytes of {size} came back")
        c.frame(8, b"\x03\xe8")
        if c.wait(8)[0] != b"\x03\xe8":
            failures.append(f"relay {i}: the Close was not echoed")
        c.close()
    except (OSError, Miss, EOFError, threading.BrokenBarrierError) as e:
        failures.append(f"relay {i}: {e!r}")


MANY_WAIT = 300         # seconds for one of so many, all of whose other ends are threads of this process
BASE = os.urandom((1 << 20) if SANITIZED else 10 << 20)


@test
def hundred(r):
    """100 relays at once, 10 MiB each way, every byte."""
    d, t = r.daemon(*HERE, "--conns-per-ip", "200", "--conns-per-user", "200", "--ping", "600"), service(r, quick_echo)
    failures, together = [], threading.Barrier(101)
    threads = [threading.Thread(target=one_of_many, args=(d, t, i, len(BASE), together, failures), daemon=True) for i in range(100)]
    with BUSY:
        for th in threads:
            th.start()
        r.until("100 at once", lambda: running(d) == 100, MANY_WAIT)
        together.wait(MANY_WAIT)
        for th in threads:
            th.join(MANY_WAIT)
    r.equal("all bytes came back", failures, [])
    idle(r, d)
    r.until("each had its end", lambda: d.logged(rf'event=relay_close .* reason="closed by the caller" in={len(BASE)} out={len(BASE)} ') == 100)


def quick_echo(conn):
    conn.sock.settimeout(MANY_WAIT)
    data = bytearray(1 << 18)
    while n := conn.sock.recv_into(data):
        conn.sock.sendall(memoryview(data)[:n])


# ---- ends ----------------------------------------------------------------------------------------

@test
def target_ends(r):
    d = r.daemon(*HERE)
    big = os.urandom(3 << 20)

    def say_and_close(conn):
        conn.until(b"go")
        conn.send(big)
    t = service(r, say_and_close)
    b = browser(r, d, t.port)
    b.send(b"go")
    r.check("all of its bytes, then", b.read() == big)
    r.equal("Close 1000", b.end(), (1000, "relay ended"))
    d.log(rf'event=relay_close target=127.0.0.1:{t.port} reason="relay ended" in=2 out={len(big)} ms=\d+ who=token:{d.token_id} peer=127.0.0.1:\d+ id=\w+')

    def half(conn):
        conn.half_close()
        conn.note = swallow(conn)
        t2.note(conn.note)
    t2 = service(r, half)
    c = raw(r, d, t2.port)
    r.equal("a target that has only half closed", c.next(), (8, b"\x03\xe8relay ended"))
    c.frame(2, b"late")
    c.frame(8, b"\x03\xe8")
    r.equal("still gets what was on its way", t2.noted()[:2], ("fin", 4))
    t3 = service(r, lambda conn: (conn.until(b"x"), conn.reset()))
    c = raw(r, d, t3.port)
    c.frame(2, b"x")
    r.equal("a reset is no orderly end", c.wait(8)[0][:2], b"\x03\xf3")
    d.log('event=relay_close .* reason="connection to the target lost"')
    idle(r, d)


@test
def browser_ends(r):
    d, t = r.daemon(*HERE, "--conns-per-ip", "3"), service(r, lambda conn: t.note(swallow(conn)))
    data = os.urandom(200000)
    for i, (close, want) in enumerate(((b"", "fin"), (b"\x03\xe8", "fin"), (b"\x03\xe9bye", "fin"), (b"\x03\xf3broken", "reset"), (b"\x0f\xa0", "reset"))):
        c = raw(r, d, t.port)
        c.frame(2, data)
        c.frame(8, close)
        r.equal(f"Close {close}: it is echoed", (c.wait(8)[0], c.over()), (close, "fin"))
        end = t.noted(i + 1)
        r.equal(f"Close {close}: the target's end", end[0], want)
        r.check(f"Close {close}: the target has all", want == "reset" or end[1:] == (len(data), hashlib.sha256(data).hexdigest()), end)
    mark = d.marks()
    c = raw(r, d, t.port)
    c.frame(2, b"part")
    d.log("event=relay_open", start=mark)
    c.reset()
    r.equal("killed: the target is reset", t.noted(6)[0], "reset")
    idle(r, d)
    # its place is free, whatever the target does: it neither reads nor ends
    stop, stuck = threading.Event(), service(r, lambda conn: stop.wait(WAIT))
    try:
        for i in range(7):
            c = raw(r, d, stuck.port)
            if not r.equal(f"another one, {i}", c.answer.status, 101):
                break
            c.frame(2, b"x" * 1000)
            c.frame(8)
            r.equal(f"Close is echoed at once, {i}", c.wait(8)[0], b"")
    finally:
        stop.set()
    idle(r, d)


@test
def limits(r):
    d, t = r.daemon(*HERE), service(r)
    held = [browser(r, d, t.port) for _ in range(10)]
    r.equal("ten of one address", [b.status for b in held], [101] * 10)
    r.equal("tunneld status", (running(d), "relays=10\n" in d.tool("status").stdout), (10, True))
    res = Raw(d, t.port).answer
    r.equal("the 11th", (res.status, res.body), (429, b"too many connections\n"))
    held[0].close()
    r.until("until one leaves", lambda: browser(r, d, t.port).status == 101)
    for b in held:
        b.close()
    for host in ("10.0.0.1", "nowhere_at_all"):
        for _ in range(12):
            r.equal("what is refused takes no place", browser(r, d, t.port, host=host).status, 403)
    r.equal("in the end", browser(r, d, t.port).status, 101)


@test
def halves(r):
    """Between our own programs an empty message ends a direction."""
    d = r.daemon(*HERE)

    def after_eof(conn):
        got = swallow(conn)
        conn.send(got[2])
    t = service(r, after_eof)
    c = raw(r, d, t.port, fields=f"Sec-WebSocket-Protocol: x, {HALVES}\r\n")
    r.equal("it is agreed on", c.answer.get("sec-websocket-protocol"), HALVES)
    c.frame(2, b"ab", fin=0)
    c.frame(0, b"")
    c.frame(2, b"")
    want = hashlib.sha256(b"ab").hexdigest().encode()
    r.equal("the answer after our end", (c.next(), c.next(), c.next()), ((2, want), (2, b""), (8, b"\x03\xe8relay ended")))
    t2 = service(r, lambda conn: (conn.half_close(), t2.note(swallow(conn))))
    c = raw(r, d, t2.port, fields=f"Sec-WebSocket-Protocol: {HALVES}\r\n")
    r.equal("its end is told", c.next(), (2, b""))
    c.frame(2, b"x" * 1000)
    c.frame(2, b"")
    r.equal("and the other way goes on", (t2.noted()[:2], c.next()), (("fin", 1000), (8, b"\x03\xe8relay ended")))
    stop = threading.Event()
    c = raw(r, d, service(r, lambda conn: stop.wait(WAIT)).port, fields=f"Sec-WebSocket-Protocol: {HALVES}\r\n")
    c.frame(2, b"")
    c.frame(2, b"more")
    r.equal("nothing comes behind the end", c.wait(8)[0][:2], b"\x03\xea")
    stop.set()


@test
def stopping(r):
    d, t = r.daemon(*HERE, "--drain", "4"), service(r)
    b, c = browser(r, d, t.port), raw(r, d, t.port)
    d.issue("--scope", "other")
    expires = d.issue("--global", "--expires", "8")
    e = browser(r, d, t.port, token=expires)
    r.equal("an expired credential", e.end(), (1008, "expired"))
    token = d.issue("--global")
    e = browser(r, d, t.port, token=token)
    d.tool("token", "revoke", d.token_id)
    r.equal("a revoked one", e.end(), (1008, "revoked"))
    r.check("the others stay", (b.send(b"x"), b.read(1)) == (None, b"x"))
    d.kill(signal.SIGTERM)
    r.check("while it drains they run", (b.send(b"y"), b.read(1)) == (None, b"y"))
    r.equal("1001", (b.end(), c.wait(8)[0]), ((1001, "shutting down"), b"\x03\xe9shutting down"))
    c.frame(8, b"\x03\xe9")
    d.ended = True
    r.equal("it has stopped", d.exit(), 0)


@test
def silent(r):
    """Who does not answer pings is gone; who is slow is not."""
    ping = 3
    d, t = r.daemon(*HERE, "--ping", str(ping)), service(r)
    big = bytes(1 << 20)

    def flood(conn):
        for _ in range(8):
            conn.send(big)
    with BUSY:
        c, b = raw(r, d, t.port), browser(r, d, t.port)
        r.equal("two pings and the end", (c.next()[0], c.over()), (9, "reset"))
        d.log('event=relay_close .* reason="no answer to ping"')
        r.check("another answers", (b.send(b"x"), b.read(1)) == (None, b"x"))
        slow = raw(r, d, service(r, flood).port, rcvbuf=8192)
        end = time.monotonic() + 2.5 * ping     # two pings and some
        while time.monotonic() < end:       # reads little, and no ping comes through
            slow.exactly(4096)
            time.sleep(0.02)
        r.check("a slow reader is no dead one", slow.ended is None, slow.ended)


@test
def overslept(r):
    """A daemon that was stopped itself blames nobody: an answer that waits is read, and one that is late has its time."""
    d, t = r.daemon(*HERE, "--ping", "2"), service(r)
    for answered in (True, False):
        with BUSY:
            c = raw(r, d, t.port)
            op, data = c.next()
            r.equal("a ping", op, 9)
            d.kill(signal.SIGSTOP)
            if answered:
                c.frame(10, data)
            time.sleep(4.5)         # longer than two pings
            d.kill(signal.SIGCONT)
            if not answered:
                c.frame(10, data)
            c.frame(2, b"x")
            r.equal("still there", next(f for f in iter(c.next, None) if f[0] != 9), (2, b"x"))


def rss(d):
    with open(f"/proc/{d.p.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


@test
def backpressure(r):
    """A target that floods, a browser that does: neither is read when nobody takes it; others do not feel it."""
    d, stop = r.daemon(*HERE), threading.Event()
    sent = {}

    def flood(conn):
        conn.sock.settimeout(0.5)
        piece = bytes(1 << 16)
        sent[conn] = 0
        try:
            while not stop.is_set():
                try:
                    sent[conn] += conn.sock.send(piece)
                except TimeoutError:
                    pass
        except OSError:
            pass
    f, e, stuck = service(r, flood), service(r), service(r, lambda conn: stop.wait(2 * WAIT))
    quick = browser(r, d, e.port)
    quick.send(b"warm")
    quick.read(4)
    before = rss(d)
    try:
        stalled = [raw(r, d, f.port, rcvbuf=4096) for _ in range(3)]
        writers = [raw(r, d, stuck.port) for _ in range(3)]
        took = {}

        def pour(c):
            c.sock.settimeout(1)
            took[c] = 0
            try:
                while took[c] < 1 << 28:
                    c.frame(2, bytes(1 << 16), key=bytes(4))
                    took[c] += 1 << 16
            except (TimeoutError, OSError):
                pass
        threads = [threading.Thread(target=pour, args=(c,), daemon=True) for c in writers]
        for th in threads:
            th.start()
        for th in threads:
            th.join(WAIT)
        r.check("who sends to one that does not read has to stop", all(n < 1 << 26 for n in took.values()), took)
        now = -1
        while now != (now := sum(sent.values())):
            time.sleep(0.6)
        r.check("and so has a target whose browser does not", now < 3 << 26, now)
        data = os.urandom(1 << 20)
        quick.send(data)
        r.check("others do not feel it", quick.read(len(data)) == data)
        if not SANITIZED:
            r.check("memory is bounded", rss(d) - before < 4096, (before, rss(d)))
        for c in stalled + writers:
            c.reset()
    finally:
        stop.set()
    quick.close()
    idle(r, d)


@test
def takeover(r):
    d, t = r.daemon(*HERE, "--drain", "5"), service(r)
    b = browser(r, d, t.port)
    b.send(b"before")
    b.read(6)
    e = r.daemon(*HERE, "--takeover", scope=None)
    r.equal("the port is the same", e.port, d.port)
    e.token = d.token
    d.log("event=draining")
    r.check("what runs stays with the old one", (b.send(b"after"), b.read(5)) == (None, b"after"))
    n = browser(r, e, t.port)
    n.send(b"new")
    r.equal("what comes is the new one's", (n.read(3), running(e)), (b"new", 1))
    b.close()
    d.ended = True
    r.equal("when it has ended so has the old one", d.exit(), 0)
    n.close()


# ---- where it may lead ---------------------------------------------------------------------------

@test
def targets(r):
    env = dns(r, ["good.test 127.0.0.1", "two.test 127.0.0.9 127.0.0.1", "mixed.test 127.0.0.1 10.0.0.1", "mixed6.test ::1 127.0.0.1",
                  "nat.test 127.0.0.1 64:ff9b::a00:1", "lab.lab.test 10.9.9.9", "me.lab.test 127.0.0.1", "mapped.test ::ffff:127.0.0.1"])
    if env is None:
        return
    t = service(r)
    d = r.daemon("--relay", f"allow 127.0.0.0/8:{t.port}", "--relay", "allow *.lab.test:1-65535", env=env)
    for host, want in (("good.test", 101), ("two.test", 101), ("mapped.test", 101), ("mixed.test", 403), ("mixed6.test", 403), ("nat.test", 403),
                       ("missing.test", 403), ("me.lab.test", 403 if t.port == 0 else 101)):
        n = len(asked(r))
        b = browser(r, d, t.port, host=host)
        r.equal(f"{host}", b.status, want)
        r.equal(f"{host}: is looked up once", asked(r)[n:], [host])
        if want == 101:
            b.send(b"hello")
            r.equal(f"{host}: is reached", b.read(5), b"hello")
            b.close()
    d.log(r"event=relay_open target=two.test:\d+ addr=127.0.0.1:")
    n = len(asked(r))
    auth = f"Authorization: Bearer {d.token}\r\n"
    r.equal("no upgrade: no look-up", (r.get(d, "x", f"/relay?host=good.test&port={t.port}", auth).status, asked(r)[n:]), (426, []))
    r.equal("a port that no rule has", (browser(r, d, dead_port(), host="good.test").status, asked(r)[n:]), (403, []))
    r.equal("no credential", (browser(r, d, t.port, host="good.test", token="tn_x").status, asked(r)[n:]), (401, []))
    held = [browser(r, d, t.port) for _ in range(10)]
    r.equal("no place left", (browser(r, d, t.port, host="good.test").status, asked(r)[n:]), (429, []))
    for b in held:
        b.close()
    e = r.daemon("--relay", "any", name="any", env=env)
    for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0", "::", "localhost", "good.test",
                 "127.1", "0x7f.1", "2130706433", "017700000001", "0x7f000001", "127.0.0.1.", "[::1]", "::1%25lo", "10.0.0.1", "a_b.test", "-a.test", "a..test", "%00"):
        r.equal(f"any: {host}", browser(r, e, t.port, host=host).status, 403)
    for host in ("127.1", "0x7f.1", "2130706433", "017700000001", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "[127.0.0.1]"):
        r.equal(f"what only inet_aton takes is no host: {host}", browser(r, d, t.port, host=host).status, 403)


@test
def sandbox(r):
    """What it does is on the sandbox's list; and in a chroot addresses lead somewhere."""
    t, kinds = service(r), []
    strict = "test/tunneld-strict" if os.path.exists(f"{BIN}/test/tunneld-strict") else "tunneld"
    kinds.append(r.daemon(*HERE, program=strict))
    if os.geteuid() == 0:       # names lead nowhere there: not even a server is known to be asked
        os.chmod(ROOT, 0o755)
        os.mkdir(f"{r.tmp}/empty")
        kinds.append(r.daemon(*HERE, "--relay", "allow *.invalid", "--user", "65534:65534", "--chroot", f"{r.tmp}/empty", program=strict, name="chroot",
                              env={"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}))     # that wants /proc
        r.equal("a name from a chroot", browser(r, kinds[1], t.port, host="nowhere.invalid").status, 403)
    for d in kinds:
        for host in ("127.0.0.1", "localhost"):
            b = browser(r, d, t.port, host=host)
            b.send(b"x")
            r.equal(f"{host}", b.read(1), b"x")
            b.close()


# ---- Cloudflare's variant ------------------------------------------------------------------------

@test
def cloudflare(r):
    if TLS == "none":
        return
    ca = C.make("cf-ca", ca=True)
    pair = C.make("cf", ca, san=("DNS:ssh.cf.test", "DNS:old.cf.test"))
    s = ws_server(r, "--cert", pair.both)
    env = dns(r, ["ssh.cf.test 127.0.0.1", "old.cf.test 127.0.0.1", "other.cf.test 127.0.0.1", "in.cf.test 10.0.0.1"], DNS_HTTPS=str(s.port))
    if env is None:
        return
    d = r.daemon("--relay", "allow 127.0.0.1:443", "--relay-ca", f"{C.dir}/cf-ca.crt", "--ping", "3", "--access-log", "stderr", env=env)

    def cf(domain="ssh.cf.test", cid="the-id.access", secret="s3cr%2Bt", **more):
        return browser(r, d, "", host="", query=f"&cf_domain={domain}&cf_id={cid}&cf_secret={secret}", **more)
    with BUSY:
        b = cf()
        fields = dict(s.event(event="request")["fields"])
        r.equal("the two fields", (fields.get("CF-Access-Client-Id"), fields.get("CF-Access-Client-Secret"), fields.get("Host")),
                ("the-id.access", "s3cr+t", "ssh.cf.test"))
        data = os.urandom(500000)
        b.send(data)
        r.check("bytes both ways", b.read(len(data)) == data)
        time.sleep(7)       # two pings each way, which must be answered
        b.send(b"bye")
        r.equal("pings go to both; the end", (b.read(), b.end()), (b"bye", (1000, "relay ended")))
    b = cf()
    b.send(b"x")
    b.read(1)
    b.close()
    s.event(event="closed", code=1000, bytes=1)
    for what, want, args in (("an address", 400, {"domain": "127.0.0.1"}), ("no name", 400, {"domain": "a_b"}), ("a blocked one", 403, {"domain": "in.cf.test"}),
                             ("a long id", 400, {"cid": "x" * 513}), ("controls", 400, {"secret": "a%0d%0aX:%20b"})):
        r.equal(what, cf(**args).status, want)
    r.equal("a name that its certificate has not", cf(domain="other.cf.test").end(), (1011, "cannot reach CF tunnel"))
    moved = ws_server(r, "--redirect", "https://ssh.cf.test/", "--cert", pair.both)
    e = r.daemon("--relay", "allow 127.0.0.1:443", "--relay-ca", f"{C.dir}/cf-ca.crt", name="e", env={**env, "DNS_HTTPS": str(moved.port)})
    b = browser(r, e, "", host="", query="&cf_domain=old.cf.test&cf_id=a&cf_secret=b")
    r.equal("redirections are not followed", (b.end(), len(s.seen(event="request"))), ((1011, "cannot reach CF tunnel"), 2))
    f = r.daemon("--relay", "any", name="f", env=env)
    r.equal("without a rule for it", browser(r, f, "", host="", query="&cf_domain=ssh.cf.test&cf_id=a&cf_secret=b").status, 403)
    d.log(r'"GET /relay\?[^"]*" 101 500003 ')
    with d.cond:
        text = "\n".join(l for l in d.errs if l)
    r.check("no secret in any log", not re.search(r"s3cr|" + re.escape(d.token), text), re.findall(r".*s3cr.*", text))


@test
def over_tls(r):
    if TLS == "none":
        return
    root = C.make("tls-ca", ca=True)
    pair = C.make("tls", root, san=("DNS:localhost", "IP:127.0.0.1"))
    d, t = r.daemon(*HERE, "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0,tls", "--cert", pair.both), service(r)
    d.tls = int(d.log(r"event=listening proto=https addr=.*:(\d+)").group(1))
    b = browser(r, d, t.port, tls=f"{C.dir}/tls-ca.crt")
    data = os.urandom(2 << 20)
    b.send(data)
    r.check("bytes both ways", b.read(len(data)) == data)
    b.close()
    r.equal("its end", b.end(), (1000, ""))
    out = relay(r, f"https://localhost:{d.tls}", d.token, "127.0.0.1", t.port, "--ca", f"{C.dir}/tls-ca.crt", data=data)
    r.check("tunnel relay --ca", (out.returncode, out.stdout == data) == (0, True), out.stderr)
    out = relay(r, f"https://localhost:{d.tls}", d.token, "127.0.0.1", t.port, "--pin", pair.pin(), data=b"x")
    r.equal("tunnel relay --pin", (out.returncode, out.stdout), (0, b"x"))
    out = relay(r, f"https://localhost:{d.tls}", d.token, "127.0.0.1", t.port, "--pin", "sha256:" + "A" * 43 + "=", data=b"x")
    r.equal("another pin", (out.returncode, out.stdout), (5, b""))
    idle(r, d)


# ---- tunnel relay --------------------------------------------------------------------------------

def relay(r, endpoint, token, host, port, *args, data=None, wait=WAIT, stdin=None, env=None):
    return subprocess.run([TUNNEL, "relay", "--endpoint", endpoint, *args, host, str(port)], env={**ENV, "TUNNEL_TOKEN": token, **(env or {})},
                          input=data, stdin=stdin, capture_output=True, timeout=wait, check=False)


@test
def command(r):
    d, t = r.daemon(*HERE), service(r)
    end = f"http://127.0.0.1:{d.port}"
    data = os.urandom(5 << 20)
    for host in ("127.0.0.1", "localhost", "::ffff:127.0.0.1"):
        out = relay(r, end, d.token, host, t.port, data=data)
        r.check(f"{host}: bytes both ways, and both ends", (out.returncode, out.stdout == data, out.stderr) == (0, True, b""), (out.returncode, out.stderr))
    path = write(f"{r.tmp}/file", "hello")
    for what in (path, "/dev/null"):
        with open(what, "rb") as f:
            out = relay(r, end, d.token, "localhost", t.port, stdin=f)
        r.equal(f"{what}", (out.returncode, out.stdout), (0, b"hello" if what == path else b""))
    for what, host, port, token, code, words in (
            ("a wrong token", "localhost", t.port, "tn_" + "x" * 43, 3, "refused the token (401)"), ("a target that is not allowed", "10.0.0.1", 22, None, 3, "403 Forbidden: target address not allowed"),
            ("one that refuses", "localhost", dead_port(), None, 1, "cannot reach target (1011)"), ("no port", "localhost", 0, None, 2, "'0' is no port"),
            ("no host", "", 22, None, 2, "no host"), ("odd bytes", "a b\r\n/&?#%", 22, None, 3, "403")):
        out = relay(r, end, token or d.token, host, port, data=b"x")
        r.check(f"{what}: status and one line", out.returncode == code and words in out.stderr.decode() and out.stderr.count(b"\n") == 1, (out.returncode, out.stderr))
    e = r.daemon(name="off")
    out = relay(r, f"http://127.0.0.1:{e.port}", e.token, "localhost", t.port, data=b"x")
    r.check("a daemon without --relay", out.returncode == 1 and b"offers no /relay (404)" in out.stderr, (out.returncode, out.stderr))
    out = relay(r, f"http://127.0.0.1:{dead_port()}", d.token, "localhost", t.port, data=b"x")
    r.check("no daemon", out.returncode == 1 and b"cannot reach" in out.stderr, (out.returncode, out.stderr))
    proxy = r.spawn(PYTHON, f"{PEER}/connect.py")
    pport = proxy.event(port=lambda n: n)["port"]
    out = relay(r, end, d.token, "localhost", t.port, "--proxy", f"http://127.0.0.1:{pport}", data=data)
    r.check("through a proxy", (out.returncode, out.stdout == data) == (0, True), out.stderr)
    r.has("help", "usage: tunnel relay", subprocess.run([TUNNEL, "relay", "--help"], env=ENV, capture_output=True, text=True, check=True).stdout)
    idle(r, d)


def start(r, d, port, **more):
    """tunnel relay, with pipes."""
    p = subprocess.Popen([TUNNEL, "relay", "--endpoint", f"http://127.0.0.1:{d.port}", "127.0.0.1", str(port)],      # pylint: disable=consider-using-with
                         env={**ENV, "TUNNEL_TOKEN": d.token}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    r.keep(Killer(p))
    return p


def unread(pipe):
    """Bytes in it, of which there is room for 65536 here."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0]


class Killer:
    def __init__(self, p):
        self.p = p

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait(WAIT)
        for pipe in (self.p.stdin, self.p.stdout, self.p.stderr):
            try:
                pipe.close()
            except OSError:
                pass


@test
def command_ends(r):
    d, t = r.daemon(*HERE, "--drain", "0"), service(r)
    p = start(r, d, t.port)
    p.stdin.write(b"one")
    p.stdin.flush()
    r.equal("an answer before the end of standard input", p.stdout.read(3), b"one")
    p.stdin.close()
    r.equal("its end is passed on", (p.stdout.read(), p.wait(WAIT)), (b"", 0))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        p = start(r, d, t.port)
        p.stdin.write(b"x")
        p.stdin.flush()
        p.stdout.read(1)
        p.send_signal(number)
        r.equal(f"signal {number}: an orderly end", (p.wait(WAIT), p.stderr.read()), (0, b""))
    bye = service(r, lambda conn: (conn.send(b"banner"), conn.half_close(), bye.note(swallow(conn))))
    p = start(r, d, bye.port)
    r.equal("the target's end is the output's", p.stdout.read(), b"banner")
    p.stdin.write(b"still")
    p.stdin.close()
    r.equal("the other way went on", (bye.noted()[:2], p.wait(WAIT)), (("fin", 5), 0))
    hi = service(r, lambda conn: (conn.send(b"banner"), swallow(conn)))
    for closed, out in (("<&-", b"banner"), (">&-", b""), ("<&- >&-", b"")):
        p = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", TUNNEL, "relay", "--endpoint", f"http://127.0.0.1:{d.port}", "127.0.0.1", str(hi.port)],
                           env={**ENV, "TUNNEL_TOKEN": d.token}, stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT, check=False)
        r.equal(f"{closed}: is as /dev/null", (p.returncode, p.stdout), (0, out))
    p = start(r, d, t.port)
    p.stdout.close()
    p.stdin.write(b"x" * 100000)
    try:
        p.stdin.close()
    except BrokenPipeError:
        pass
    r.equal("nobody reads", (p.wait(WAIT), p.stderr.read()), (0, b""))
    slow = start(r, d, service(r, lambda conn: conn.send(bytes(20 << 20))).port)
    r.until("what it has not read waits", lambda: unread(slow.stdout) >= 32768)
    r.equal("a slow reader gets all", len(slow.stdout.read()), 20 << 20)
    slow.stdin.close()
    r.equal("and its end", slow.wait(WAIT), 0)
    master, tty = os.openpty()
    out = subprocess.run([TUNNEL, "relay", "--endpoint", f"http://127.0.0.1:{d.port}", "127.0.0.1", str(service(r, lambda conn: conn.send(b"bye")).port)],
                         env={**ENV, "TUNNEL_TOKEN": d.token}, stdin=tty, capture_output=True, timeout=WAIT, check=False)
    os.close(master)
    os.close(tty)
    r.equal("on a terminal the target's end is the end", (out.returncode, out.stdout, out.stderr), (0, b"bye", b""))
    tick = os.sysconf("SC_CLK_TCK")
    p = start(r, d, t.port)
    p.stdin.write(b"x")
    p.stdin.flush()
    p.stdout.read(1)
    time.sleep(0.5)
    with open(f"/proc/{p.pid}/stat", encoding="ascii") as f:
        used = sum(map(int, f.read().split()[13:15])) / tick
    r.check("who waits uses no time", used < 0.3, used)
    pid = p.pid
    d.kill(signal.SIGTERM)
    r.check("the daemon stops", p.wait(WAIT) == 1 and b"shutting down (1001)" in p.stderr.read(), pid)
    d.ended = True
    d.exit()


@test
def wsproxys_server(r):
    """With wsproxy's end of a relay: no subprotocol, and no Close when the target ends."""
    t = service(r)
    s = wsproxyd(r, "--token", "me=jwt.of.somebody", "--blocked", ",", "--ping", "0.2")
    end = f"http://127.0.0.1:{s.port}"
    p = subprocess.Popen([TUNNEL, "relay", "--endpoint", end, "127.0.0.1", str(t.port)], env={**ENV, "TUNNEL_TOKEN": "jwt.of.somebody"},     # pylint: disable=consider-using-with
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    r.keep(Killer(p))
    data = os.urandom(1 << 20)
    threading.Thread(target=lambda: (p.stdin.write(data), p.stdin.flush()), daemon=True).start()
    r.check("bytes both ways", p.stdout.read(len(data)) == data)
    fields = dict(s.event(event="request")["fields"])
    r.check("a token as Bearer", fields.get("Authorization") == "Bearer jwt.of.somebody", fields)
    p.send_signal(signal.SIGTERM)
    r.equal("an orderly end", p.wait(WAIT), 0)
    talk = service(r, lambda conn: (conn.until(b"\n"), conn.send(b"all of it")))
    out = relay(r, end, "jwt.of.somebody", "127.0.0.1", talk.port, data=b"GET\n")
    r.equal("the end of our input loses nothing, the target's end is the end", (out.returncode, out.stdout, out.stderr), (0, b"all of it", b""))
    for what, token, host, port, code, words in (("401", "x", "h", 1, 3, "(401)"), ("403", "jwt.of.somebody", "a_b", 22, 3, "target address not allowed"),
                                                 ("1011", "jwt.of.somebody", "127.0.0.1", dead_port(), 1, "cannot reach target (1011)")):
        out = relay(r, end, token, host, port, data=b"x")
        r.check(what, out.returncode == code and words in out.stderr.decode() and out.stderr.count(b"\n") == 1, (out.returncode, out.stderr))
    full = wsproxyd(r, "--blocked", ",", "--conns-per-ip", "0")
    out = relay(r, f"http://127.0.0.1:{full.port}", "t", "127.0.0.1", 1, data=b"x")
    r.check("429", out.returncode == 1 and b"429 Too Many Requests: too many connections" in out.stderr, (out.returncode, out.stderr))


@test
def ssh(r):
    """A real sshd: 10 MiB both ways through a connection that it forwards, and there and back as a file."""
    s, t = Sshd(r), service(r, quick_echo)
    d = r.daemon(*HERE)
    env = {**ENV, "TUNNEL_TOKEN": d.token, "TUNNEL_ENDPOINT": f"http://127.0.0.1:{d.port}"}
    args = ["-F", "/dev/null", "-o", f"ProxyCommand={TUNNEL} relay 127.0.0.1 {s.port}", "-i", s.key, "-o", "StrictHostKeyChecking=no",
            "-o", f"UserKnownHostsFile={r.tmp}/known", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
    where = f"{s.user}@somewhere"

    def run(what, argv, data=b""):
        out = subprocess.run(argv, env=env, input=data, capture_output=True, timeout=60, check=False)
        r.check(what, (out.returncode, out.stdout == data, out.stderr) == (0, True, b""), (out.returncode, out.stderr, read(f"{s.dir}/log")))
    data = os.urandom(10 << 20)
    run("10 MiB through it", ["ssh", *args, "-W", t.target, where], data)
    with open(f"{r.tmp}/big", "wb") as f:
        f.write(data)
    for what, source, target in (("up", f"{r.tmp}/big", f"{where}:{s.dir}/copy"), ("down", f"{where}:{s.dir}/copy", f"{r.tmp}/copy")):
        run(f"scp, {what}", ["scp", "-q", "-s", *args, source, target])
    with open(f"{r.tmp}/copy", "rb") as f:
        r.check("each byte", f.read() == data)
    idle(r, d)


main()
