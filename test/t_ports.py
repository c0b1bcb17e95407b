"""Raw TCP ports: registering, callers, both ends of the tunnel and what lies between.

The daemon is tried with peer/native.py as its client, the client with the same file as its daemon, then both together.
"""
import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import Client, client, fake_daemon, free_port, ipv6, parked, refused, run_tool
from rig import BIN, ENV, SANITIZED, WAIT, Caller, Miss, Plain, echo, main, serving, test
# pylint: enable=wrong-import-position

SHORT = int(os.environ.get("TUNNEL_TEST_CALLS") or (600 if SANITIZED else 3000))   # 100000 is the full number


def forward(r, d, *args, ready=True, token=None, env=None):
    """Our client for TCP; once ready, .port is its first tunnel's."""
    endpoint = d if isinstance(d, str) else f"http://127.0.0.1:{d.port}"
    token = token or getattr(d, "token", None) or "tn_" + "x" * 43
    c = r.keep(Client(r, ["forward", *args, "--endpoint", endpoint], {"TUNNEL_TOKEN": token, **(env or {})}))
    if ready:
        c.port = int(c.wait_line(c.lines, re.compile(r"^tcp://\S+:(\d+) -> ").search, "tcp line").group(1))
    return c


def peer(r, d, port, *args, **more):
    """The independent client, with a TCP tunnel; without a target it echoes."""
    return r.client(d, None, "--kind", "tcp", "--port", str(port), *args, **more)


def call(r, port, data=b"", **more):
    return r.keep(Caller(port, data, **more))


def answers(r, what, port, host="127.0.0.1"):
    """A whole conversation with an echo there."""
    with Caller(port, b"hello", host=host) as c:
        got = c.exactly(5)
        c.half_close()
        r.equal(what, (got, c.over()), (b"hello", "fin"))


def echoes(port):
    try:
        with Caller(port, b"x") as c:
            return c.exactly(1) == b"x"
    except OSError:
        return False


def running(d):
    return sum(t["running"] for t in d.status())


# ---- what may be had ---------------------------------------------------------------------

@test
def registering(r):
    mine, pool, other = free_port(r), free_port(r), free_port(r)
    d = r.daemon("--ports", f"{pool},{other}", scope=f"{mine},a")
    rows = ((2, {"port": pool}, "forbidden"), (3, {"port": 0}, None), (4, {"port": 65536}, "bad_port"), (5, {"port": -1}, "bad_port"),
            (6, {"port": "9000"}, "bad_port"), (7, {}, "bad_port"), (8, {"port": mine, "bind": "everywhere"}, "bad_port"),
            (9, {"port": mine, "bind": "public"}, "forbidden"), (10, {"port": mine, "auth": ["0" * 64]}, "bad_guard"),
            (11, {"port": mine, "allow": ["nonsense"]}, "bad_guard"), (12, {"port": mine, "bind": "loopback"}, None),
            (13, {"port": 0}, None), (14, {"port": 0}, "limit"))
    extra = [w for lid, more, _ in rows for w in ("--listen", '{"op":"listen","kind":"tcp","id":%d%s}' % (
        lid, "".join(f',"{k}":{v}' if isinstance(v, int) else f',"{k}":["{v[0]}"]' if isinstance(v, list) else f',"{k}":"{v}"'
                     for k, v in more.items())))]
    n = r.client(d, None, "--no-listen", "--stay", *extra, ready=False)
    for lid, more, want in rows:
        obj = n.ready(lid)
        r.equal(f"listen {more}", obj.get("code"), want)
        r.check(f"listen {more}: a message", want is None or obj.get("message"), obj)
        r.check(f"listen {more}: port and addr", want or obj["addr"] == f"127.0.0.1:{obj['port']}", obj)
    r.equal("named, or of the pool", (n.ready(12)["port"], {n.ready(3)["port"], n.ready(13)["port"]}), (mine, {pool, other}))
    for port in (mine, pool, other):
        answers(r, f"port {port}", port)
    r.equal("status", sorted((t["name"], t["url"]) for t in d.status()),
            sorted((f"tcp:{p}", f"tcp://127.0.0.1:{p}") for p in (mine, pool, other)))
    r.equal("in words, too", d.tool("status").stdout.count("name=tcp:"), 3)
    n.kill(signal.SIGTERM)
    n.exit()
    r.until("an orderly end closes them", lambda: refused(mine) and refused(pool) and refused(other))
    d = r.daemon(scope=f"{mine}", name="named")
    r.equal("no pool", peer(r, d, 0, ready=False).ready().get("code"), "forbidden")
    r.equal("named without a pool", peer(r, d, mine).ready()["op"], "ready")
    d = r.daemon("--ports", "none", name="none")
    r.equal("none at all", peer(r, d, mine, ready=False).ready().get("code"), "forbidden")
    d = r.daemon("--ports-max", "1", name="max")
    n = r.client(d, None, "--kind", "tcp", "--port", str(pool), "--listen", '{"op":"listen","kind":"tcp","id":2,"port":%d}' % other, ready=False)
    r.equal("--ports-max", (n.ready()["op"], n.ready(2).get("code")), ("ready", "limit"))
    for args in (("--ports", "preview"), ("--ports", "9100-9000"), ("--ports", "*"), ("--ports-bind", "no such host"), ("--port-callers", "0")):
        p = subprocess.run([f"{BIN}/tunneld", "--check", *args], env=ENV, capture_output=True, text=True, timeout=WAIT, check=False)
        r.check(f"{args}: refused in one line", p.returncode == 2 and p.stderr.count("\n") == 1 and args[1] in p.stderr, p)


@test
def holders(r):
    port, busy = free_port(r), r.keep(socket.create_server(("127.0.0.1", 0)))
    d = r.daemon("--grace", "60")
    n = peer(r, d, busy.getsockname()[1], ready=False).ready()
    r.equal("another program's", n.get("code"), "port_in_use")
    first = peer(r, d, port, "--stay", "--instance", "0123456789abcdef")
    c = call(r, port, b"one")
    r.equal("the first one serves", c.exactly(3), b"one")
    mine = d.token
    d.issue("--global")
    r.equal("another credential", peer(r, d, port, ready=False).ready().get("code"), "port_in_use")
    second = peer(r, d, port, "--instance", "fedcba9876543210", token=mine)
    gone = first.event(op="gone")
    r.equal("the same credential takes it over, and the first one is told", (gone.get("id"), gone.get("code")), (1, "taken_over"))
    answers(r, "the second one serves", port)
    second.event(event="stream")
    c.send(b"two")
    r.equal("what runs goes on", c.exactly(3), b"two")
    c.half_close()
    r.equal("to its end", c.over(), "fin")
    second.kill()
    second.exit()
    r.until("lost", lambda: [t["lost"] for t in d.status()] == [True])
    r.equal("in grace it is still in use", peer(r, d, port, ready=False).ready().get("code"), "port_in_use")
    c = call(r, port, b"early")
    third = peer(r, d, port, "--instance", "fedcba9876543210", token=mine)
    r.equal("who came in grace is served", c.exactly(5), b"early")
    third.kill(signal.SIGTERM)
    third.exit()
    r.equal("and reset with its session", c.over(), "reset")
    r.until("an orderly end closes it", lambda: refused(port))
    r.equal("it is free for others", peer(r, d, port).ready()["op"], "ready")
    d = r.daemon("--grace", "3", name="short")
    n = peer(r, d, port2 := free_port(r))
    n.kill()
    n.exit()
    c = call(r, port2, b"x")
    r.equal("when grace runs out, who waits is reset", c.over(), "reset")
    r.until("and the port closed", lambda: refused(port2))


@test
def the_same_again(r):
    """A port of the pool stays with the client process that got it."""
    ports = [free_port(r) for _ in range(3)]
    d = r.daemon("--ports", ",".join(map(str, ports)), "--grace", "60", scope="a")
    n = peer(r, d, 0, "--instance", "0123456789abcdef")
    port = n.ready()["port"]
    n.kill()
    n.exit()
    n = peer(r, d, 0, "--instance", "0123456789abcdef")
    r.equal("after a loss", n.ready()["port"], port)
    other = peer(r, d, 0, "--instance", "fedcba9876543210")
    r.check("another process gets another", other.ready()["port"] != port)
    n.kill(signal.SIGTERM)
    n.exit()
    r.until("freed", lambda: refused(port))
    got = [peer(r, d, 0, "--instance", f"{i:016x}").ready()["port"] for i in (1, 2)]
    r.equal("the rest of the pool", sorted(got + [other.ready()["port"]]), sorted(ports))
    r.equal("all taken", peer(r, d, 0, ready=False).ready().get("code"), "limit")


@test
def public(r):
    port = free_port(r)
    d = r.daemon("--ports-bind", "127.0.0.2", "--grace", "60")
    n = peer(r, d, port, "--bind", "public", "--instance", "0123456789abcdef", "--endpoint", "ws://tunnel.example.com",
             "--connect", f"127.0.0.1:{d.port}")
    r.equal("where callers are told to come", n.ready()["addr"], f"tunnel.example.com:{port}")
    answers(r, "bound where the operator says", port, "127.0.0.2")
    r.check("and nowhere else", refused(port))
    n.kill()
    n.exit()
    n = peer(r, d, port, "--instance", "0123456789abcdef")
    r.equal("the same credential may change its mind", n.ready()["addr"], f"127.0.0.1:{port}")
    answers(r, "loopback now", port)
    r.check("and no longer there", refused(port, "127.0.0.2"))
    d = r.daemon("--ports-bind", "*", "--domain", "t.example.com", name="all")
    port = free_port(r)
    n = peer(r, d, port, "--bind", "public")
    r.equal("the domain", n.ready()["addr"], f"t.example.com:{port}")
    for host in ("127.0.0.1", "127.0.0.3"):
        answers(r, f"every address: {host}", port, host)
    if ipv6():
        answers(r, "and IPv6", port, "::1")
        r.has("whose callers are told so", r"^\[::1\]:\d+$", n.event(event="stream", peer=lambda p: p and "[" in p)["peer"])


@test
def guarded(r):
    d = r.daemon()
    ports = free_port(r), free_port(r)
    n = r.client(d, None, "--no-listen", *(w for i, net in enumerate(("192.0.2.0/24", "127.0.0.0/8")) for w in (
        "--listen", '{"op":"listen","kind":"tcp","id":%d,"port":%d,"allow":["%s"]}' % (i + 1, ports[i], net))), ready=False)
    r.equal("guarded", [n.ready(i)["guarded"] for i in (1, 2)], [True, True])
    r.equal("an address that none has", call(r, ports[0], b"x").over(), "reset")
    answers(r, "one that one has", ports[1])
    r.equal("it is logged", d.logged("event=call_failed .*reason=guard_address"), 1)
    s = r.keep(Plain(echo))
    c = forward(r, d, f"{free_port(r)}={s.target}", "--allow", "192.0.2.0/24", "--allow", "127.0.0.1")
    answers(r, "--allow", c.port)


@test
def caps(r):
    d = r.daemon("--port-callers", "2", "--callers", "3")
    one, two = free_port(r), free_port(r)
    peer(r, d, one)
    peer(r, d, two)
    cs = [call(r, one, b"x") for _ in range(2)]
    r.equal("as many as may", [c.exactly(1) for c in cs], [b"x", b"x"])
    r.equal("one too many for the port", call(r, one).over(), "reset")
    d.log("event=port_full .*port=%d" % one)
    third = call(r, two, b"x")
    r.equal("another port has its own", third.exactly(1), b"x")
    r.equal("one too many in all", call(r, two).over(), "reset")
    d.log("event=callers_full")
    cs[0].close()
    third.close()
    r.until("those that leave make room", lambda: echoes(one))
    d = r.daemon("--port-callers", "2", "--port-callers-all", "3", name="all")
    one, two = free_port(r), free_port(r)
    peer(r, d, one)
    peer(r, d, two)
    cs = [call(r, one, b"x") for _ in range(2)] + [call(r, two, b"x")]
    r.equal("as many as there may be of all", [c.exactly(1) for c in cs], [b"x"] * 3)
    r.equal("one too many of all", call(r, two).over(), "reset")
    d.log("event=ports_full .*port=%d" % two)
    cs[0].close()
    r.until("one that leaves makes room for another port's", lambda: echoes(two))
    d = r.daemon("--streams", "1", name="streams")
    peer(r, d, port := free_port(r))
    c = call(r, port, b"x")
    r.equal("--streams", (c.exactly(1), call(r, port).over()), (b"x", "reset"))


# ---- bytes, ends and resets ---------------------------------------------------------------

@test
def daemon_side(r):
    d = r.daemon()
    port = free_port(r)
    n = peer(r, d, port)
    c = call(r, port)
    seen = n.event(event="stream")
    r.equal("the preface: id, caller, and where it has come to", (seen["id"], seen["peer"], seen["local"]),
            (1, f"127.0.0.1:{c.port}", f"127.0.0.1:{port}"))
    c.send(b"a")
    r.equal("bytes", c.exactly(1), b"a")
    c.half_close()
    r.equal("FIN comes back when the other side has ended", c.over(), "fin")
    c = call(r, port, b"abc")
    r.equal("more", c.exactly(3), b"abc")
    c.reset()
    stream = n.event(event="stream", peer=f"127.0.0.1:{c.port}")["stream"]
    r.equal("a caller's reset crosses", n.event(event="reset")["stream"], stream)
    n = peer(r, d, free_port(r), "--reset-streams")
    r.equal("the client's, too", call(r, n.ready()["port"], b"x").over(), "reset")
    n = peer(r, d, free_port(r), "--stay")
    c = call(r, n.ready()["port"], b"x")
    r.equal("a session that is there", c.exactly(1), b"x")
    n.kill()
    n.exit()
    r.equal("and lost: its callers are reset", c.over(), "reset")
    # an end that is never answered keeps nothing else from ending
    n = peer(r, d, free_port(r), "--no-read")
    c = call(r, n.ready()["port"], b"x")
    c.half_close()
    c.reset()
    r.until("a reset behind a FIN crosses", lambda: n.seen(event="reset"))


def digest(chunks):
    return hashlib.sha256(b"".join(chunks)).hexdigest()


@test
def both_sides(r):
    """Our client and our daemon, with a service and callers that do what TCP can do."""
    d = r.daemon("--ports", str(free_port(r)))

    def talk(conn):
        word = conn.until(b"\n")
        if word == b"last":             # half closed by the caller: the answer comes after its FIN
            while conn.more():
                pass
            conn.note = s.note(("got", len(conn.buf), conn.ended))
            conn.send(b"y" * 300000)
        elif word == b"first":          # half closed by the service: the caller goes on
            conn.send(b"bye")
            conn.half_close()
            while conn.more():
                pass
            s.note(("after", len(conn.buf), conn.ended))
        elif word == b"rst":
            conn.reset()
        elif word == b"wait":
            conn.send(b"w")
            s.note(("end", conn.over()))
        elif word == b"flood":
            try:
                while True:
                    conn.send(bytes(65536))
            except OSError as e:
                s.note(("flood", type(e).__name__))
    s = r.keep(Plain(talk))
    cl = forward(r, d, f"0={s.target}")
    r.has("the line", rf"^tcp://127\.0\.0\.1:\d+ -> {re.escape(s.target)}$", cl.lines[0])
    c = call(r, cl.port, b"last\n" + b"x" * 200000)
    c.half_close()
    r.equal("the answer to a half-closed caller", (len(c.exactly(300000)), c.over()), (300000, "fin"))
    r.equal("which the service saw as such", s.noted(1), ("got", 200000, "fin"))
    c = call(r, cl.port, b"first\n")
    r.equal("the service ends first", (c.exactly(3), c.over()), (b"bye", "fin"))
    parked(d)
    parked(cl)                  # a half-open connection stays
    c.send(b"z" * 100000)
    c.half_close()
    r.equal("the caller goes on, and ends", s.noted(2), ("after", 100000, "fin"))
    r.equal("the service's reset", call(r, cl.port, b"rst\n").over(), "reset")
    c = call(r, cl.port, b"wait\n")
    c.exactly(1)
    c.reset()
    r.equal("the caller's reset", s.noted(3), ("end", "reset"))
    c = call(r, cl.port, b"wait\n")
    c.exactly(1)
    c.half_close()
    r.equal("the caller's FIN", (s.noted(4), c.over()), (("end", "fin"), "fin"))
    c = call(r, cl.port, b"flood\n", rcvbuf=65536)
    c.exactly(1000000)
    c.reset()
    r.equal("a reset reaches a service that writes", s.noted(5)[0], "flood")
    c = call(r, cl.port, b"wait\n")
    c.exactly(1)
    cl.stop()
    r.equal("the client's end: both are reset", (c.over(), s.noted(6)), ("reset", ("end", "reset")))
    r.until("its port is closed", lambda: refused(cl.port))
    r.has("a line each", rf"^\d\d:\d\d:\d\d TCP 0 127\.0\.0\.1:\d+ \d+ms 300000B$", "\n".join(l for l in cl.errs if l and "300000B" in l))


@test
def bulk(r):
    """Much both ways at once, and connections of several tunnels beside each other, all bytes right."""
    d = r.daemon()
    s = r.keep(Plain(echo))
    ports = [free_port(r) for _ in range(3)]
    forward(r, d, *(f"{p}={s.target}" for p in ports))
    r.until("all are there", lambda: len(d.status()) == 3)
    total, wrong = (1 << 20 if SANITIZED else 8 << 20), []

    def one(i):
        with Caller(ports[i % 3], wait=WAIT * 3) as c:
            block = os.urandom(65536)
            sent, got = [block[i:] + block[:i] for i in range(total // 65536)], []

            def push():
                for b in sent:
                    c.send(b)
                c.half_close()
            t = threading.Thread(target=push)
            t.start()
            while c.more():
                got.append(c.buf)
                c.buf = b""
            t.join(WAIT)
            if c.ended != "fin" or digest(got) != digest(sent):
                wrong.append((i, c.ended, sum(map(len, got))))
    threads = [threading.Thread(target=one, args=(i,)) for i in range(9)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(WAIT * 4)
    r.equal("all bytes, in order, to the end", wrong, [])


@test
def a_stalled_caller(r):
    """It takes nothing while its service pours: that is held up, and nobody else."""
    d = r.daemon()
    sent = [0]

    def pour(conn):
        if conn.until(b"\n") == b"pour":
            try:
                while True:
                    conn.sock.settimeout(60)
                    sent[0] += conn.sock.send(bytes(65536))
            except OSError:
                s.note("over")
        else:
            echo(conn)
    s = r.keep(Plain(pour))
    cl = forward(r, d, f"{free_port(r)}={s.target}")
    stalled = call(r, cl.port, b"pour\n", rcvbuf=65536)
    seen, still = -1, 0
    end = time.monotonic() + WAIT
    while still < 10 and time.monotonic() < end:     # half a second without a byte
        still, seen = (still + 1 if sent[0] == seen and seen > 0 else 0), sent[0]
        time.sleep(0.05)
    r.check("the service is held up", still == 10 and sent[0] < 64 << 20, sent)
    for i in range(20):
        with Caller(cl.port, b"echo\nhello") as c:
            r.equal(f"caller {i} is served", c.exactly(5), b"hello")
    before = sent[0]
    got = len(stalled.exactly(before + 1000000))
    r.check("taken up again, it goes on", got == before + 1000000, (got, before))
    stalled.reset()
    r.equal("and ends", s.noted(1), "over")


@test
def ended_in_order(r):
    """More connections, one after the other, than a session may have streams: each must be forgotten when both sides have ended."""
    d = r.daemon()
    cl = forward(r, d, f"{free_port(r)}={r.keep(Plain(echo)).target}", "--quiet")
    n, wrong = 4200, []     # the client's bound is 4096

    def some(k):
        for i in range(n // 6):
            with Caller(cl.port, b"ping") as c:
                c.half_close()
                if (got := (c.exactly(4), c.over())) != (b"ping", "fin"):
                    wrong.append((k, i, got))
                    return
    threads = [threading.Thread(target=some, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    r.equal("all are served", wrong, [])


@test
def short_ones(r):
    """Many short connections leave nothing behind; TUNNEL_TEST_CALLS says how many."""
    d = r.daemon("--port-callers", "64")
    s = r.keep(Plain(echo))
    cl = forward(r, d, f"{free_port(r)}={s.target}", "--quiet")
    answers(r, "before", cl.port)

    def left(p):
        with open(f"/proc/{p.p.pid}/status", encoding="ascii") as f:
            threads = int(re.search(r"Threads:\s+(\d+)", f.read()).group(1))
        return len(os.listdir(f"/proc/{p.p.pid}/fd")), threads

    def settled():
        return running(d) == 0 and [left(p)[0] for p in (d, cl)]
    r.until("at rest", lambda: running(d) == 0)
    parked(d)
    parked(cl)
    fds = [left(p)[0] for p in (d, cl)]
    wrong, end = [], time.monotonic() + max(120, SHORT / 200)

    def some(k, n):
        for i in range(n):
            if time.monotonic() > end:
                wrong.append((k, "too slow", i))
                return
            try:
                with Caller(cl.port, b"ping") as c:
                    how = (k + i) % 3
                    if how == 0:            # in order
                        ok = c.exactly(4) == b"ping"
                        c.half_close()
                        ok = ok and c.over() == "fin"
                    elif how == 1:          # a reset in the middle
                        ok = c.exactly(4) == b"ping"
                        c.reset()
                    else:                   # gone at once
                        ok = True
                if not ok:
                    wrong.append((k, how, c.buf, c.ended))
            except (OSError, Miss) as e:
                wrong.append((k, how, repr(e)))
    threads = [threading.Thread(target=some, args=(k, SHORT // 6)) for k in range(6)]
    began = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    took = time.monotonic() - began
    r.equal("all of them", (len(wrong), wrong[:3]), (0, []))
    r.until("no descriptor is left over", lambda: settled() == fds)
    r.check("no thread, but for the few that are kept", all(left(p)[1] < 100 for p in (d, cl)), [left(p) for p in (d, cl)])
    r.equal("no counter", [(t["running"], t["requests"] >= SHORT // 6 * 4) for t in d.status()], [(0, True)])
    answers(r, "after", cl.port)
    # room for as many as ever: none of the counts has leaked
    cs = [call(r, cl.port, b"x") for _ in range(64)]
    r.equal("as many as may at once", [c.exactly(1) for c in cs], [b"x"] * 64)
    if os.environ.get("TEST_TIMES"):
        print(f"CALLS {SHORT // 6 * 6} in {took:.1f} s", file=sys.stderr)


# ---- our client ----------------------------------------------------------------------------

@test
def client_side(r):
    """What the client asks for, with a daemon that shares no code with it."""
    s = r.keep(Plain(lambda conn: (conn.more(), conn.send(conn.buf.upper()), conn.half_close(), conn.over())))
    f = fake_daemon(r, "--listens", "2", "--tunnel", "1", "--request", "hello", "--stay")
    c = forward(r, f.url, f"9000={s.target}", f"0=localhost:{s.port}", "--public")
    r.until("two listens", lambda: len(f.seen(op="listen")) == 2)
    r.equal("what it asks for", [(x["id"], x["kind"], x["port"], x["bind"]) for x in f.seen(op="listen")],
            [(1, "tcp", 9000, "public"), (2, "tcp", 0, "public")])
    res = f.event(event="response")
    r.equal("bytes and FIN", (res["body_length"], res["sha256"], res["end"]), (5, hashlib.sha256(b"HELLO").hexdigest(), "fin"))
    r.until("two lines", lambda: len([l for l in c.lines if l]) == 2)
    r.equal("the lines", sorted(l for l in c.lines if l),
            [f"tcp://127.0.0.1:49999 -> localhost:{s.port}", f"tcp://127.0.0.1:9000 -> {s.target}"])
    c.stop()
    f = fake_daemon(r, "--request", "x", "--stay")
    gone = free_port(r)
    c = forward(r, f.url, f"9000={gone}")
    r.equal("no service: the stream is reset", f.event(event="response")["end"], "reset")
    c.says(rf"nothing listens at localhost:{gone} yet; callers are cut off")
    c.says(r"^\d\d:\d\d:\d\d TCP 9000 203\.0\.113\.7:51234 \d+ms 0B refused$")
    u = f"{r.tmp}/sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(u)
        listener.listen()
        f = fake_daemon(r, "--request", "x", "--stay")
        forward(r, f.url, f"9000=unix:{u}")
        listener.settimeout(WAIT)
        got = b""
        while not got:      # the client looks whether somebody is there, too
            conn, _ = listener.accept()
            got = conn.recv(9)
            conn.close()
        r.equal("a unix socket", got, b"x")
    for code, status, word in (("port_in_use", 4, "the port is in use"), ("bad_port", 2, "does not take the port"), ("forbidden", 3, "let this token")):
        f = fake_daemon(r, "--error", code)
        c = forward(r, f.url, "9000=1", ready=False)
        c.ends(code, status)
        r.has(f"{code}: what it says", rf"^tunnel: port 9000 is refused: .*{word}", "\n".join(l for l in c.errs if l))


@test
def shared(r):
    """Two clients and two sessions of one of them hold a port together; callers go where the fewest are, and on when one has gone."""
    d = r.daemon()
    who = lambda name: r.keep(Plain(lambda conn: (conn.send(name), conn.over())))   # pylint: disable=unnecessary-lambda-assignment
    a, b = who(b"a"), who(b"b")
    one = forward(r, d, f"{free_port(r)}={a.target}", "--share", "--connections", "2")
    two = forward(r, d, f"{one.port}={b.target}", "--share")
    holders = lambda: [t for t in d.status() if t["name"] == f"tcp:{one.port}"]     # pylint: disable=unnecessary-lambda-assignment
    r.until("three sessions hold it", lambda: len(holders()) == 3)
    callers = [Caller(one.port) for _ in range(6)]
    r.equal("each gets its part", sorted(c.exactly(1) for c in callers), [b"a"] * 4 + [b"b"] * 2)
    for c in callers:
        c.close()
    two.stop()
    r.until("two are left", lambda: len(holders()) == 2)
    with Caller(one.port) as c:
        r.equal("and serve", c.exactly(1), b"a")
    one.stop()


@test
def proxy_headers(r):
    """With the PROXY protocol the service hears who the caller is; without it nothing."""
    d = r.daemon("--ports-bind", "::1") if ipv6() else r.daemon()

    def tell(conn):
        if conn.more():     # else it is the client, which looks whether somebody is there
            s.note(conn.buf)
    s = r.keep(Plain(tell))
    cs = [forward(r, d, f"{free_port(r)}={s.target}", *args) for args in ((), ("--proxy-protocol", "v1"), ("--proxy-protocol", "v2"))]
    heard = []
    for i, cl in enumerate(cs):
        c = call(r, cl.port, b"x")
        c.over()
        heard.append((c.port, cl.port, s.noted(i + 1)))
    r.equal("nothing", heard[0][2], b"x")
    r.check("v1", heard[1][2] in (a := b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % heard[1][:2], a + b"x"), heard[1])
    want = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H4s4sHH", 12, b"\x7f\0\0\1", b"\x7f\0\0\1", *heard[2][:2])
    r.check("v2", heard[2][2] in (want, want + b"x"), heard[2])
    if ipv6():
        cl = forward(r, d, f"{free_port(r)}={s.target}", "--proxy-protocol", "v1", "--public")
        c = call(r, cl.port, host="::1")
        c.over()
        r.check("IPv6", s.noted(4) == b"PROXY TCP6 ::1 ::1 %d %d\r\n" % (c.port, cl.port), s.noted(4))
    f = fake_daemon(r, "--request", "x", "--stay")
    forward(r, f.url, f"9000={s.target}", "--proxy-protocol", "v1")
    r.check("a daemon that does not tell where the caller came to", s.noted(5 if len(s.ends) > 3 else 4).startswith(b"PROXY UNKNOWN\r\n"))


@test
def words(r):
    """What is no port or no target is told at once, in one line."""
    for args, word in (((), "PORT=TARGET"), (("9000",), "'9000'"), (("http=3000",), "'http'"), (("65536=3000",), "'65536'"), (("=3000",), "''"),
                       (("-1=3000",), "-1"), (("9000=http://localhost:3000",), "'http://localhost:3000'"), (("9000=localhost",), "'localhost'"),
                       (("9000=",), "''"), (("9000=1", "9000=2"), "'2'"), (("9000=1", "--proxy-protocol", "v3"), "v3"), (("9000=1", "--auth-file", "x"), "auth-file")):
        code, out, err = run_tool("forward", *args, "--endpoint", "http://127.0.0.1:1", env={"TUNNEL_TOKEN": "x"})
        r.check(f"{args}: 2, in a line, with the word", code == 2 and out == "" and err.count("\n") == 1 and word in err, (code, out, err))
    code, out, err = run_tool("forward", "9000=1", "--endpoint", "http://127.0.0.1:1", env={"TUNNEL_TOKEN": "x", "TUNNEL_AUTH": "a:b"})
    r.check("TUNNEL_AUTH is not passed over", code == 2 and "TUNNEL_AUTH" in err and "a:b" not in err, err)
    code, out, err = run_tool("forward", "--help")
    r.check("--help", code == 0 and "forward" in out and "--proxy-protocol" in out, out)


# ---- the life of the daemon ------------------------------------------------------------------

@test
def beside_http(r):
    """A port is no name for HTTP, and the two do not disturb each other."""
    d = r.daemon()
    s, w = r.keep(Plain(echo)), r.service(serving(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    client(r, d, w.target, "--name", "a")
    cl = forward(r, d, f"{free_port(r)}={s.target}")
    name = f"tcp:{cl.port}"
    r.equal("HTTP", r.get(d).body, b"ok")
    answers(r, "TCP", cl.port)
    for host, path in ((name, "/x"), (f"[{name}]", "/x"), (f"{name}.localhost", "/x"), (f"{name}.tunnel.x", "/x"), ("127.0.0.1", f"/{name}/"), ("localhost", f"/{name}/")):
        r.check(f"{host}{path} is nobody's", r.get(d, host, path).status in (400, 404, 503), r.get(d, host, path))
    n = r.client(d, name, "--ws-path", "/_tunnel", ready=False)
    r.equal("nor can it be listened for", n.ready().get("code"), "bad_name")


def low_free(most=8):
    """Ports below 1024 that can be bound now, highest first: none unless we are root.  They cannot be kept: another program may be quicker."""
    free = []
    for number in random.sample(range(513, 1024), 511):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", number))
            except PermissionError:
                break
            except OSError:
                continue
            free.append(number)
        if len(free) == most:
            break
    return sorted(free, reverse=True)


@test
def low_ports(r):
    """Below 1024: only as the scope names it, and only where the system lets the daemon."""
    free = low_free()
    everything, named = r.daemon(name="all"), r.daemon(scope=",".join(map(str, free or (1023,))), name="named")
    got = peer(r, everything, free[0] if free else 1023, ready=False).ready()
    r.check("the scope * holds none of them", got["code"] == "forbidden" and "scope" in got["message"], got)
    for low in free:
        got = peer(r, named, low, ready=False).ready()
        if got.get("code") != "port_in_use":
            break
    if free:
        r.equal("one that the scope names", got.get("port"), low)
        answers(r, "and it answers", low)
    if os.geteuid() != 0:
        got = peer(r, named, 1023, ready=False).ready()
        r.check("one that the system refuses", got["op"] == "ready" or (got["code"] == "forbidden" and "below 1024" in got["message"]), got)
        return
    d = r.daemon("--user", "nobody", scope=f"{low}", name="nobody")
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as f:
        if int(f.read()) <= low:
            return              # here anybody may
    named.stop()
    named.ended = True
    got = peer(r, d, low, ready=False).ready()
    r.check("not once root is given up", got["code"] == "forbidden" and "which it has given up" in got["message"], got)


@test
def access_lines(r):
    """A line for each connection, when it is over."""
    log = f"{r.tmp}/access"
    d = r.daemon("--access-log", log)
    s = r.keep(Plain(echo))
    cl = forward(r, d, f"{free_port(r)}={s.target}")
    answers(r, "one", cl.port)
    line = rf'127\.0\.0\.1 - - \[[^]]+ \+0000\] "tcp:{cl.port}" {{}} "-" "-" tcp:{cl.port} \d+ -'.format

    def lines():
        with open(log, encoding="ascii") as f:
            return [l for l in f.read().splitlines() if '"tcp:' in l]

    r.until("its line", lambda: len(lines()) == 1)
    r.has("in order", "^" + line("200 5") + "$", lines()[0])
    c = call(r, cl.port, b"abc")
    c.exactly(3)
    c.reset()
    r.until("another's", lambda: len(lines()) == 2)
    r.has("one that was reset", "^" + line("499 3") + "$", lines()[1])
    gone = forward(r, d, f"{free_port(r)}=127.0.0.1:{free_port(r)}")
    r.equal("a service that refuses", call(r, gone.port).over(), "reset")
    r.until("has a line, too", lambda: len(lines()) == 3)
    r.has("as the client's failure", rf'"tcp:{gone.port}" 502 0 ', lines()[2])


@test
def in_the_sandbox(r):
    """The daemon that dies of any system call that its sandbox does not expect."""
    if not os.path.exists(f"{BIN}/test/tunneld-strict"):
        r.check("there is none here", True)
        return
    d = r.daemon("--ports", str(free_port(r)), "--ports-bind", "*", program="test/tunneld-strict")
    s = r.keep(Plain(echo))
    cl = forward(r, d, f"0={s.target}")
    answers(r, "of the pool", cl.port)
    cl.stop()
    cl = forward(r, d, f"{free_port(r)}={s.target}", "--public")
    answers(r, "public", cl.port)
    c = call(r, cl.port, b"x")
    c.exactly(1)
    c.reset()
    cl.stop()
    r.until("closed", lambda: refused(cl.port))
    r.check("it lives", d.alive())


@test
def draining(r):
    d = r.daemon("--drain", "30", "--grace", "60")
    s = r.keep(Plain(echo))
    cl = forward(r, d, f"{free_port(r)}={s.target}")
    lost = peer(r, d, free_port(r))
    port = lost.ready()["port"]
    lost.kill()
    lost.exit()
    r.until("one is lost", lambda: [t["lost"] for t in d.status() if t["name"] == f"tcp:{port}"] == [True])
    c, waits = call(r, cl.port, b"x"), call(r, port, b"x")
    c.exactly(1)
    d.ended = True
    d.kill(signal.SIGTERM)
    d.log("event=draining")
    r.until("no new connections", lambda: refused(cl.port))
    r.equal("who waits for a lost one is let go", waits.over(), "reset")
    c.send(b"more")
    r.equal("what runs goes on", c.exactly(4), b"more")
    c.half_close()
    r.equal("to its end", c.over(), "fin")
    r.equal("and the daemon exits 0", d.exit(), 0)


@test
def takeover(r):
    """A new daemon has the sockets: no caller is refused, what runs goes on, ports stay with their clients."""
    ports = [free_port(r) for _ in range(2)]
    args = ("--ports", ",".join(map(str, ports)), "--ports-bind", "*", "--grace", "60", "--listen", f"127.0.0.1:{free_port(r)}")
    d = r.daemon(*args, scope=None)
    d.issue("--global")
    s = r.keep(Plain(echo))
    named = forward(r, d, f"{free_port(r)}={s.target}", "--public")
    pooled = forward(r, d, f"0={s.target}")
    lost = peer(r, d, 0, "--instance", "0123456789abcdef")
    away = lost.ready()["port"]
    lost.kill()
    lost.exit()
    r.until("one is lost", lambda: any(t["lost"] for t in d.status()))
    olds = [call(r, p, b"x") for p in (named.port, pooled.port)]
    r.equal("before", [c.exactly(1) for c in olds], [b"x", b"x"])
    over, wrong, done = threading.Event(), [], [0]

    def load(port):
        while not over.is_set():
            try:
                with Caller(port, b"ping") as c:
                    got = c.exactly(4)
                    c.half_close()
                    how = c.over()
                    done[0] += 1
                    if (got, how) != (b"ping", "fin"):
                        wrong.append((port, got, how))
            except (OSError, Miss) as e:
                wrong.append((port, repr(e)))
            over.wait(0.02)
    threads = [threading.Thread(target=load, args=(p,)) for p in (named.port, pooled.port)]
    for t in threads:
        t.start()
    n = r.daemon("--takeover", *args, scope=None)
    n.token, d.ended = d.token, True
    n.log("event=takeover")
    d.log("event=draining")
    r.until("both clients have come", lambda: len([t for t in n.status() if not t["lost"]]) == 2)
    mark = done[0]
    r.until("and are called", lambda: done[0] > mark + 20)
    over.set()
    for t in threads:
        t.join()
    r.equal("nobody was refused or cut off", wrong[:3], [])
    for c in olds:
        c.send(b"y")
        r.equal("what ran goes on", c.exactly(1), b"y")
        c.half_close()
        r.equal("to its end", c.over(), "fin")
    r.equal("the old one ends", d.exit(), 0)
    r.equal("the same ports", sorted(t["name"] for t in n.status()), sorted(f"tcp:{p}" for p in (named.port, pooled.port, away)))
    c = call(r, away, b"late")
    again = peer(r, n, 0, "--instance", "0123456789abcdef", token=n.token)
    r.equal("also for one that was away", (again.ready()["port"], c.exactly(4)), (away, b"late"))
    named.stop()
    r.until("and they are closed when they should", lambda: refused(named.port))


main()
