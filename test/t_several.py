"""Several tunnels over one session, and what the client says to the person at the terminal: waiting, first failures, completions."""
import base64
import hashlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import Client, Curl, Relay, client, direct, fake_daemon, free_port, run_tool
from frames import DATA, RST, SYN, FrameDaemon
from rig import BIN, ENV, PEER, PYTHON, SANITIZED, WAIT, Peer, main, serving, test

TOKEN = "tn_" + "A" * 43
SHORT = 3 if SANITIZED else 1       # seconds for what happens at once


def several(r, d, *args, ready=True, token=None, env=None):
    """A client with words of its own choice for tunnels; once ready, all of them."""
    endpoint = d if isinstance(d, str) else f"http://127.0.0.1:{d.port}"
    c = r.keep(Client(r, ["connect", *args, "--endpoint", endpoint],
                      {"TUNNEL_TOKEN": token or getattr(d, "token", None) or TOKEN, **(env or {})}))
    if ready:
        lines(r, c, sum("=" in a.partition("/")[0] for a in args))
    return c


def lines(r, c, n):
    """All ready lines, once there are n."""
    r.until(f"{n} ready lines", lambda: len([l for l in c.lines if l]) >= n)
    return sorted(l for l in c.lines if l)


def errs(c):
    return [l for l in c.errs if l]


def named(r, name):
    """A service that keeps its connections, and answers with its name and the request's path."""
    def handle(conn, head):
        while True:
            n = int((re.search(r"(?i)^Content-Length: (\d+)", head, re.M) or [0, 0])[1])
            conn.exactly(n)
            body = f"{name} {head.split(' ')[1]}\n".encode()
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = conn.until(b"\r\n\r\n").decode("latin-1")
            with s.cond:
                s.heads.append(head)
    s = r.service(handle)
    return s


def sessions(d):
    return len({t["peer"] for t in d.status()})


def usage(r, what, *args, word, env=None):
    code, out, err = run_tool(*args, env=env)
    r.equal(f"{what}: exit status", code, 2)
    r.check(f"{what}: it says so in one line", out == "" and err.count("\n") == 1 and err.startswith("tunnel: "), out + err)
    r.check(f"{what}: with the word", word in err, err)


# ---- several tunnels -------------------------------------------------------------------

@test
def one_session(r):
    """Three tunnels, three kinds of target, each its own service, Host and connections."""
    d, o = r.daemon(), r.origin()
    port = o.target.rpartition(":")[2]
    u = r.spawn(PYTHON, f"{PEER}/origin.py", "--unix", f"{r.tmp}/a=b", kind=Peer)
    u.event(unix=lambda p: p)
    c = several(r, d, f"api={port}", f"Web=http://127.0.0.1:{port}", f"docs=unix:{r.tmp}/a=b")
    r.equal("a ready line each", lines(r, c, 3), sorted([
        f"http://api.tunnel.localhost:{d.port} -> http://localhost:{port}", f"http://web.tunnel.localhost:{d.port} -> http://127.0.0.1:{port}",
        f"http://docs.tunnel.localhost:{d.port} -> unix:{r.tmp}/a=b"]))
    r.equal("one session", (sessions(d), d.logged("event=session_start"), len(d.status())), (1, 1, 3))
    for name, host in (("api", f"localhost:{port}"), ("web", f"127.0.0.1:{port}"), ("docs", "localhost")):
        r.equal(f"{name}: Host is its target's", Curl(d, "/echo", host=f"{name}.localhost").sent_fields("host"), [host])
        c.says(rf"^\d\d:\d\d:\d\d {name} GET /echo 200 ")
    r.equal("connections are not shared", [Curl(d, "/echo", host=f"{n}.localhost").json().get("request") for n in ("api", "web", "docs")],
            [2, 2, 2])
    c.stop()
    r.until("the names are free at once", lambda: d.status() == [])
    c = several(r, d, f"api={port}", f"web={port}", "--host-header", "keep", "--quiet")
    r.equal("--host-header is for all", [Curl(d, "/echo", host=f"{n}.localhost:1").sent_fields("host") for n in ("api", "web")],
            [["api.localhost:1"], ["web.localhost:1"]])
    r.equal("--quiet too", errs(c), [])
    one = several(r, d, f"single={port}")
    r.equal("one with a name", one.ready(), f"http://single.tunnel.localhost:{d.port}")
    Curl(d, "/echo", host="single.localhost")
    one.says(r"^\d\d:\d\d:\d\d GET /echo 200 ")


@test
def under_load(r):
    """Each request reaches the service of its name, whatever the others do."""
    d, names = r.daemon("--slots", "1000"), [f"n{i}" for i in range(6)]
    services = {n: named(r, n) for n in names}
    c = several(r, d, *(f"{n}={s.target}" for n, s in services.items()), "--quiet")
    wrong, done, rounds = [], [], 15 if SANITIZED else 60

    def caller(k):
        with r.caller(d) as conn:
            for i in range(rounds):
                name = names[(i * 7 + k) % len(names)]
                body = "x" * (i % 5 * 3000)
                conn.send(f"{'PUT' if body else 'GET'} /{k}/{i} HTTP/1.1\r\nHost: {name}.localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}")
                got = conn.response()
                if (got.status, got.body) != (200, f"{name} /{k}/{i}\n".encode()):
                    wrong.append((name, k, i, got))
        done.append(k)
    threads = [threading.Thread(target=caller, args=(k,)) for k in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(WAIT * 3)
    r.equal("all are answered by the right one", (len(done), wrong[:3]), (12, []))
    r.equal("each service saw its own", sum(len(s.heads) for s in services.values()), 12 * rounds)
    r.equal("over one session", (sessions(d), d.logged("event=session_start")), (1, 1))
    c.stop()


@test
def listens(r):
    """What the daemon sees: ids 1 to n in order, the first name in the request-target; what comes in goes by the id."""
    a, b, c3 = named(r, "a"), named(r, "b"), named(r, "c")
    f = fake_daemon(r, "--listens", "3", "--tunnel", "2", "--request", "GET /x", "--request", "GET /y", "--stay")
    c = several(r, f, f"a={a.target}", f"b={b.target}", f"c={c3.target}")
    r.equal("the path names the first", f.event(event="handshake")["path"], "/_tunnel/a")
    r.until("three listens", lambda: len(f.seen(op="listen")) == 3)
    r.equal("a listen each", [(x["id"], x["kind"], x["name"]) for x in f.seen(op="listen")], [(1, "http", "a"), (2, "http", "b"), (3, "http", "c")])
    r.until("the requests come", lambda: len(f.seen(event="response", status=200)) == 2)
    r.equal("they are the third one's", [len(s.heads) for s in (a, b, c3)], [0, 0, 2])
    c.stop()
    r.equal("an end in order", f.closed()["code"], 1000)


@test
def prefaces(r):
    """A stream is its tunnel's whose id the preface has; it may come in pieces."""
    a, b = named(r, "a"), named(r, "b")
    f = r.keep(FrameDaemon())
    c = several(r, f.url, f"a={a.target}", f"b={b.target}", ready=False)
    f.ready()
    f.session.line(0, op="ready", id=2, url="http://b.example")
    f.session.line(0, op="ready", id=3, url="http://c.example")       # nobody asked for it
    f.session.line(0, op="ready", url="http://d.example")
    lines(r, c, 2)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    def stream(*pieces):
        f.used += 2
        for i, piece in enumerate(pieces):
            f.session.send((DATA, 0 if i else SYN, f.used, piece))
            f.session.ping()
        return f.used
    for lid, want in ((1, b"a /\n"), (2, b"b /\n")):
        line = b'{"id":%d,"peer":"203.0.113.7:51234"}\n' % lid
        for what, pieces in (("at once", [line + head]), ("apart", [line, head]), ("cut in the preface", [line[:9], line[9:] + head]),
                             ("cut before its end", [line[:-1], b"\n" + head]), ("byte by byte", [bytes([x]) for x in line] + [head]),
                             ("empty frames", [b"", line[:3], b"", line[3:], b"", head])):
            r.equal(f"id {lid}, {what}", f.response(stream(*pieces))[1], want)
    long = b'{"id":1,"peer":"' + b"x" * 4100 + b'"}\n'
    for what, pieces in (("id 0", [b'{"id":0}\n' + head]), ("id 3", [b'{"id":3}\n' + head]), ("no id", [b"{}\n" + head]), ("no JSON", [b"id 1\n" + head]),
                         ("too long", [long + head]), ("too long, in pieces", [long[:3000], long[3000:] + head])):
        s = stream(*pieces)
        f.session.flagged(s, RST, f"RST for {what}")
        r.check(f"{what}: reset", True)
    for kind in (RST, 4):       # 4: FIN
        s = stream(b'{"id":1')
        f.session.send((DATA, kind, s, b""))
        f.session.ping()
    r.equal("and the next is served", f.response(stream(b'{"id":2}\n' + head))[1], b"b /\n")
    stream(b'{"id":')
    c.stop(what="stopped inside a preface")


@test
def one_refused(r):
    d, o = r.daemon(), r.origin()
    token = d.issue("--scope", "api,docs")
    for what, names in (("in the middle", ("api", "web", "docs")), ("the first", ("web", "api", "docs")), ("the last", ("api", "docs", "web")),
                        ("two of them first", ("x", "web", "api", "docs"))):
        before = d.marks()
        c = several(r, d, *(f"{n}={o.target}" for n in names), token=token, ready=False)
        r.equal(f"{what}: the others run", [l.partition(".")[0] for l in lines(r, c, 2)], ["http://api", "http://docs"])
        m = c.says(r"^tunnel: web is refused: .*scope.*; tunneld token issue --scope web ")
        r.check(f"{what}: told once", sum(" web is " in l for l in errs(c)) == 1, m.string)
        d.log("event=session_start", start=before)
        r.equal(f"{what}: it serves", [Curl(d, "/echo", host=f"{n}.localhost").status for n in ("api", "docs", "web")], [200, 200, 503])
        r.check(f"{what}: nothing is tried again", not any("trying" in l for l in errs(c)), errs(c))
        r.equal(f"{what}: one session", sum("event=session_start" in l for l in d.errs[before:] if l), 1)
        c.stop()
        r.until(f"{what}: free", lambda: d.status() == [])
    c = several(r, d, f"x={o.target}", f"y={o.target}", token=token, ready=False)
    c.ends("all outside the scope", 3)
    r.equal("a line each, and no more", [l.split(" is ")[0] for l in errs(c)], ["tunnel: x", "tunnel: y"])
    holder = client(r, d, o.target, "--name", "api", token=d.issue("--global"))
    c = several(r, d, f"api={o.target}", f"docs={o.target}", token=token, ready=False)
    lines(r, c, 1)
    holds = [t for t in d.status() if t["name"] == "api"]
    r.check("the other token holds it", len(holds) == 1, d.status())
    c.says(rf"^tunnel: api is refused: the name is in use: held by token:{d.token_id} since \d\d:\d\d UTC; take another$")
    c.stop()
    several(r, d, f"api={o.target}", token=token, ready=False).ends("the only one is in use", 4)
    c = several(r, d, f"api={o.target}", f"web={o.target}", token=token, ready=False)
    c.ends("in use, then forbidden: the last one's", 3)
    holder.stop()


@test
def told_of_all(r):
    for code, want in (("forbidden", 3), ("name_in_use", 4), ("bad_name", 2)):
        f = fake_daemon(r, "--error", code, "--listens", "2")
        c = several(r, f, "a=3000", "b=3001", ready=False)
        c.ends(f"{code} for both", want)
        r.equal(f"{code}: a line each", [l.split(" ")[1] for l in errs(c)], ["a", "b"])
        r.equal(f"{code}: one session", len(f.seen(event="handshake")), 1)
    f = fake_daemon(r, "--error", "limit", "--listens", "2", "--accept-many")
    several(r, f, "a=3000", "b=3001", ready=False)
    r.until("limit for both: it tries again", lambda: len(f.seen(event="handshake")) >= 2)
    # revoked: both at once, by the real one
    d, o = r.daemon(), r.origin()
    token = d.issue("--global")
    c = several(r, d, f"a={o.target}", f"b={o.target}", token=token)
    d.tool("token", "revoke", d.token_id)
    c.ends("a token that is revoked", 3)
    r.has("it says so", "tunnel: b is lost: the token was revoked", "\n".join(errs(c)))


@test
def limited(r):
    """One that is not to be had now is asked for by the next session; the others stay."""
    a, b = named(r, "a"), named(r, "b")
    f = r.keep(FrameDaemon())
    c = several(r, f.url, f"a={a.target}", f"b={b.target}", ready=False)
    f.ready()
    first = f.session
    first.line(0, op="error", id=2, code="limit", message="full \x1b[31m")
    c.says(r"^tunnel: b: limit: full \\x1b\[31m; the next session asks again$")
    r.equal("the other serves", f.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")[1], b"a /\n")
    f.session.close()
    f.ready()
    f.session.until(1, b'"id":2')
    f.session.line(0, op="ready", id=2, url="http://b.example")
    r.equal("then it comes", lines(r, c, 2)[1], f"http://b.example -> http://{b.target}")
    # both limited: the session is of no use
    f.session.line(0, op="gone", id=1, code="taken_over")
    c.says("^tunnel: a is lost: another process")
    f.session.line(0, op="error", id=2, code="limit", message="full")
    c.says("^tunnel: b: limit: full; trying again")
    f.listener.settimeout(WAIT)
    sock, _ = f.listener.accept()
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(4096)
    r.has("a tunnel that is lost is not the first any more", r"^GET /_tunnel/b ", data.decode("latin-1"))
    sock.close()
    c.stop()


@test
def lanes(r):
    """With several sessions, too, a lost tunnel is lost in all of them."""
    f = r.keep(FrameDaemon())
    c = several(r, f.url, "a=3000", "b=3001", "--connections", "2", ready=False)
    both = []
    for _ in range(2):
        f.ready()
        f.session.until(1, b'"id":2')
        f.session.line(0, op="ready", id=2, url="http://b.example")
        both.append(f.session)
    lines(r, c, 2)
    r.equal("they ask to share", [s.content(1).count(b'"share":true') for s in both], [2, 2])
    both[0].ping()
    both[1].ping()
    both[0].line(0, op="gone", id=1, code="taken_over")
    c.says("^tunnel: a is lost")
    both[1].until(1, b'"unlisten"')
    r.has("the other session gives it back", r'"op":"unlisten","id":1\}', both[1].content(1).decode())
    both[1].line(0, op="gone", id=1)
    both[1].line(0, op="gone", id=2, code="revoked")
    c.ends("the last one is revoked", 3)
    r.equal("each is told once", [l.split(" ")[1] for l in errs(c) if " is lost" in l], ["a", "b"])
    for s in both:
        s.close()
    d, a, b = r.daemon(), named(r, "a"), named(r, "b")
    c = several(r, d, f"a={a.target}", f"b={b.target}", "--connections", "3")
    r.until("three sessions hold both", lambda: (len(d.status()), sessions(d)) == (6, 3))
    other = client(r, d, a.target, "--name", "a")
    c.says("^tunnel: a is lost")
    r.equal("b stays", [r.get(d, host=f"{n}.localhost").body for n in ("a", "b")], [b"a /\n", b"b /\n"])
    r.until("in all three", lambda: sorted(t["name"] for t in d.status()) == ["a", "b", "b", "b"])
    r.equal("told once", sum(" is lost" in l for l in errs(c)), 1)
    other.stop()
    c.stop()


@test
def taken_over(r):
    d, o = r.daemon(), r.origin()
    c = several(r, d, *(f"{n}={o.target}" for n in "abc"))
    start = d.logged("event=session_start")
    for i, name in enumerate("ab"):
        client(r, d, o.target, "--name", name)
        c.says(f"^tunnel: {name} is lost: another process with this token took the name over$")
        r.check(f"{name} is taken over, the others stay", c.alive() and sorted(t["name"] for t in d.status()) == list("abc"), d.status())
        r.equal(f"{name}: the session stays", d.logged("event=session_start"), start + i + 1)
        r.equal(f"{name}: all are served", [Curl(d, "/echo", host=f"{n}.localhost").status for n in "abc"], [200] * 3)
    k = r.caller(d, "GET /held HTTP/1.1\r\nHost: c.localhost\r\n\r\n")
    r.until("a request runs", lambda: any(t["name"] == "c" and t["running"] for t in d.status()))
    client(r, d, o.target, "--name", "c")
    direct(o, "/release")
    r.equal("what runs when the last one goes is finished", k.response().status, 200)
    c.ends("the last is taken over", 4)
    r.equal("a line each", [l.split(" ")[1] for l in errs(c) if " is lost" in l], ["a", "b", "c"])


@test
def replayed(r):
    """After kill -9 of the daemon all come back, but what was lost before; a cut, likewise."""
    port, o = free_port(r), r.origin()
    d = r.daemon("--listen", f"127.0.0.1:{port}")
    c = several(r, d, *(f"{n}={o.target}" for n in "abcd"))
    other = client(r, d, o.target, "--name", "b")
    c.says("^tunnel: b is lost")
    other.stop()
    d.ended = True
    d.kill(signal.SIGKILL)
    d.exit()
    c.says("trying again")
    again = r.daemon("--listen", f"127.0.0.1:{port}", scope=None)
    for name in "acd":
        c.says(f"http://{name}.tunnel.localhost:{port} is back")
        r.equal(f"{name}: serves", Curl(again, "/echo", host=f"{name}.localhost").status, 200)
    r.equal("what was lost is not asked for again", sorted(t["name"] for t in again.status()), list("acd"))
    again.log("event=session_start")
    r.equal("in one session", again.logged("event=session_start"), 1)
    r.equal("the ready lines stay four", len([l for l in c.lines if l]), 4)
    relay = r.keep(Relay(port))
    c.stop()
    c = several(r, relay.url, *(f"{n}={o.target}" for n in "abc"), token=d.token)
    relay.cut(0)
    for name in "abc":
        c.says(f"{name}.tunnel.localhost:{relay.port} is back")
    r.equal("silently replaced", [l for l in errs(c) if " is lost" in l or " is refused" in l], [])
    c.stop()


@test
def drained(r):
    o = r.origin()
    f = fake_daemon(r, "--listens", "2", "--tunnel", "1", "--drain", "--request", "GET /slow?ms=700")
    several(r, f, f"a={o.target}", f"b={o.target}")
    r.equal("drain: a second session, with both, before the first ends", f.exit(), 0)
    r.equal("drain: four listens", [x["name"] for x in f.seen(op="listen")], ["a", "b"] * 2)


@test
def drained_at_once(r):
    """Asked to move before anything is ready: it does so as soon as something is, and stays until it is sent away."""
    a = named(r, "a")
    f = r.keep(FrameDaemon())
    c = several(r, f.url, f"a={a.target}", ready=False)
    for _ in range(3):
        f.ready("drain")
        first = f.session
    f.ready()
    r.equal("the last serves", f.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")[1], b"a /\n")
    r.check("the one before is there still", not first.ended)
    f.session, f.used, last = first, 0, f.session
    r.equal("and serves", f.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")[1], b"a /\n")
    f.session = last
    first.close()
    c.stop()


@test
def many(r):
    d, o = r.daemon(), r.origin()
    words = [f"n{i}={o.target}" for i in range(64)]
    c = several(r, d, *words)
    r.equal("64 tunnels in one session", (len(d.status()), sessions(d)), (64, 1))
    r.equal("the first and the last serve", [Curl(d, "/echo", host=f"n{i}.localhost").status for i in (0, 63)], [200, 200])
    c.stop()
    usage(r, "65", "connect", *words, "more=1", word="64", env={"TUNNEL_ENDPOINT": "http://127.0.0.1:1", "TUNNEL_TOKEN": TOKEN})


# ---- words and files ------------------------------------------------------------------------

@test
def words_for_several(r):
    env = {"TUNNEL_ENDPOINT": "http://127.0.0.1:1", "TUNNEL_TOKEN": TOKEN}
    for what, args, word in (
            ("a name that is none", ["a_b=3000"], "a_b"), ("an empty name", ["=3000"], "''"), ("a name with a dash first", ["--", "-a=3000"], "-a"),
            ("no target", ["a="], "''"), ("a bad target", ["a=x"], "'x'"), ("a target twice named", ["a=b=3000"], "'b=3000'"),
            ("two without names", ["3000", "3001"], "NAME="), ("one without a name", ["a=3000", "3001"], "NAME=3001"),
            ("a name twice", ["a=3000", "A=3001"], "'a'"), ("--name with a name", ["a=3000", "--name", "b"], "--name"),
            ("--name with several", ["a=3000", "b=3001", "-n", "b"], "--name"), ("a long name", ["x" * 300 + "=3000"], "xxx"),
            ("a long target", ["a=unix:/" + "x" * 400], "unix:/xxx"), ("an empty --name", ["3000", "--name="], "''"),
            ("a word that is neither target nor saved", ["api"], "'api'")):
        usage(r, what, "connect", *args, word=word, env=env)
    help_text = run_tool("--help")[1]
    r.check("--help fits a terminal", help_text.count("\n") <= 24 and max(map(len, help_text.split("\n"))) <= 96, help_text)
    d, o = r.daemon(), r.origin()
    c = several(r, d, f"a={o.target}", env={"TUNNEL_NAME": "b"})
    r.equal("a name of its own counts more than TUNNEL_NAME", c.ready(), f"http://a.tunnel.localhost:{d.port}")
    c = client(r, d, o.target, env={"TUNNEL_NAME": "b"})
    r.equal("TUNNEL_NAME is for a single target", c.url, f"http://b.tunnel.localhost:{d.port}")
    c = several(r, d, f"custom.example={o.target}")
    r.equal("a custom domain", c.ready(), f"http://custom.example:{d.port}")
    os.mkdir(f"{r.tmp}/x=y")
    c = client(r, d, f"unix:{r.tmp}/x=y/s=1", "--name", "u", ready=False)
    r.equal("a target alone may hold '='", lines(r, c, 1), [f"http://u.tunnel.localhost:{d.port} -> unix:{r.tmp}/x=y/s=1"])


@test
def tunnels_file(r):
    d, o = r.daemon(), r.origin()
    folder = f"{r.tmp}/cfg"
    env = {"TUNNEL_CONFIG_DIR": folder}
    usage(r, "no operand, no file", "connect", env={**env, "TUNNEL_ENDPOINT": "http://127.0.0.1:1", "TUNNEL_TOKEN": TOKEN},
          word=f"{folder}/tunnels")
    run_tool("use", f"http://127.0.0.1:{d.port}", "-", env=env, stdin=d.token + "\n")
    path, other = f"{folder}/tunnels", f"{r.tmp}/other"

    def write(text, to=path):
        with open(to, "w", encoding="utf-8") as f:
            f.write(text)
    write(f"# my tunnels\n\napi {o.target}   # the API\n \t Web\thttp://{o.target}\t \r\n#docs 1\nlast unix:{r.tmp}/a#b")
    c = r.keep(Client(r, ["connect"], env))
    r.equal("all of the file", [l.partition(".")[0] + l[l.find(" "):] for l in lines(r, c, 3)],
            [f"http://api -> http://{o.target}", f"http://last -> unix:{r.tmp}/a#b", f"http://web -> http://{o.target}"])
    r.equal("one session", sessions(d), 1)
    r.equal("they serve", [Curl(d, "/echo", host=f"{n}.localhost").status for n in ("api", "web")], [200, 200])
    c.stop()
    c = r.keep(Client(r, ["connect", "WEB", f"more={o.target}"], env))
    r.equal("some of it by name, and others", [l.partition(".")[0] for l in lines(r, c, 2)], ["http://more", "http://web"])
    c.stop()
    write(f"b {o.target}\n", other)
    for what, args, more in (("--tunnels", ["connect", "--tunnels", other], {}), ("TUNNEL_TUNNELS", ["connect"], {"TUNNEL_TUNNELS": other}),
                             ("a name out of --tunnels", ["connect", "b", "--tunnels", other], {})):
        c = r.keep(Client(r, args, {**env, **more}))
        r.equal(what, [l.partition(".")[0] for l in lines(r, c, 1)], ["http://b"])
        c.stop()
    c = r.keep(Client(r, ["connect", f"x={o.target}"], {**env, "TUNNEL_TUNNELS": f"{r.tmp}/none"}))
    r.equal("targets make the file unnecessary", [l.partition(".")[0] for l in lines(r, c, 1)], ["http://x"])
    c.stop()
    usage(r, "a name that is not in it", "connect", "nothere", word="'nothere'", env=env)
    usage(r, "--tunnels that is not there", "connect", "--tunnels", f"{r.tmp}/none", word=f"{r.tmp}/none: No such file", env=env)
    usage(r, "--tunnels that is a folder", "connect", "--tunnels", r.tmp, word=f"{r.tmp}: ", env=env)
    usage(r, "--name with a file", "connect", "--name", "q", word="--name", env=env)
    for what, text, line, word in (
            ("no target", "a 1\nb\n", 2, "'b' is not followed by a target"), ("a bad target", "a x\n", 1, "'x' is not PORT"),
            ("a bad name", "\n\na_b 1\n", 3, "'a_b' is no name"), ("a name with '='", "a=b 1\n", 1, "'a=b' is no name"),
            ("a name with ':'", "a:b 1\n", 1, "'a:b' is no name"), ("twice", "a 1\nb 2\nA 3\n", 3, "'A' is there twice"),
            ("a third word", "a 1 2\n", 1, "'1 2' is not PORT"), ("a long line", "a " + "x" * 2000 + "\n", 1, "too long"),
            ("a long target", "a unix:/" + "x" * 500 + "\n", 1, "unix:"), ("65", "".join(f"n{i} 1\n" for i in range(65)), 65, "more than 64"),
            ("escapes", "a\x1b[31m 1\n", 1, "'a\\x1b[31m' is no name")):
        write(text)
        usage(r, f"the file: {what}", "connect", word=f"{path}:{line}: ", env=env)
        usage(r, f"the file: {what}", "connect", word=word, env=env)
    write("# nothing\n")
    usage(r, "an empty file", "connect", word=path, env=env)
    usage(r, "an empty --tunnels", "connect", "--tunnels", path, word=f"{path} names no tunnels", env=env)


# ---- --wait, and targets where nothing listens -------------------------------------------------

@test
def waits(r):
    d, port, second = r.daemon(), free_port(r), free_port(r)
    c = several(r, d, f"a=127.0.0.1:{port}", f"b={second}", "--wait", ready=False)
    r.has("it says for what", rf"^tunnel: waiting until something listens at 127\.0\.0\.1:{port}, localhost:{second}$",
          c.says("waiting").string)
    for p in (port, second):
        time.sleep(0.7)     # nothing tells of what does not happen
        r.equal("nothing is registered yet", (d.status(), d.logged("event=session_start"), [l for l in c.lines if l]), ([], 0, []))
        r.origin("--port", str(p))
    lines(r, c, 2)
    r.equal("then both serve", [Curl(d, "/echo", host=f"{n}.localhost").status for n in "ab"], [200, 200])
    r.equal("one line, and no notice", [l for l in errs(c) if "GET" not in l], [f"tunnel: waiting until something listens at 127.0.0.1:{port}, localhost:{second}"])
    c.stop()
    c = several(r, d, f"a={port}", "-w", ready=False)
    lines(r, c, 1)
    r.equal("what listens is not waited for", errs(c), [])
    for number in (signal.SIGTERM, signal.SIGINT):
        def stopped(number=number):
            c = several(r, d, f"x=unix:{r.tmp}/none", "--wait", ready=False)
            c.says(f"waiting until something listens at unix:{r.tmp}/none")
            return c.stop(number, "stopped while it waits")
        r.soon("at once", SHORT + 0.5, stopped)
    c = several(r, d, "many=1", *(f"n{i}=unix:{r.tmp}/{'x' * 60}{i}" for i in range(30)), "--wait", ready=False)
    r.has("a long list is cut", r"^tunnel: waiting until .*, \.\.\.$", c.says("waiting").string)


@test
def run_with_several(r):
    d, port, o = r.daemon(), free_port(r), r.origin()
    c = several(r, d, f"a={port}", f"b={o.target}", "--run", f"exec {PYTHON} {PEER}/origin.py --port $PORT")
    r.equal("PORT is the first one's, and both are served", [Curl(d, "/echo", host=f"{n}.localhost").status for n in "ab"], [200, 200])
    r.equal("no notice", [l for l in errs(c) if "nothing" in l], [])
    c.stop()


@test
def nothing_listens(r):
    d, o, port = r.daemon(), r.origin(), free_port(r)
    c = several(r, d, f"a=127.0.0.1:{port}", f"b={o.target}", f"c=unix:{r.tmp}/none")
    for where in (f"127.0.0.1:{port}", f"unix:{r.tmp}/none"):
        c.says(f"^tunnel: nothing listens at {where} yet; callers get 502 until something does; --wait waits for it$")
    r.equal("callers get it", Curl(d, host="a.localhost").status, 502)
    r.origin("--port", str(port))
    r.equal("until something does", Curl(d, "/echo", host="a.localhost").status, 200)
    r.equal("told once each, and not of what listens", sum("nothing listens" in l for l in errs(c)), 2)
    relay = r.keep(Relay(d.port))
    c = client(r, relay.url, free_port(r), token=d.token)
    c.says("nothing listens at localhost:")
    relay.cut(0)
    c.says("is back")
    r.equal("nor again when it is back", sum("nothing listens" in l for l in errs(c)), 1)
    c = client(r, f"http://127.0.0.1:{free_port(r)}", free_port(r), ready=False)
    c.says("trying again")
    r.check("nor before callers can come", not any("nothing listens" in l for l in errs(c)), errs(c))


# ---- first failures -----------------------------------------------------------------------------

def shaken(fields):
    """A service that answers the handshake with 101 and these fields; K in them is the right accept."""
    def handle(conn, head):
        key = re.search(r"(?i)^Sec-WebSocket-Key: (\S+)", head, re.M).group(1)
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        conn.send(f"HTTP/1.1 101 S\r\n{fields.replace('K', accept)}\r\n")
        conn.over()
    return handle


PROXY = "a proxy in front of the daemon that does not pass WebSocket upgrades?"


@test
def first_failures(r):
    """One line that says what to do, and nothing that a terminal would obey."""
    def answer(line, fields="", body=""):
        return serving(f"HTTP/1.1 {line}\r\n{fields}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode("latin-1"))
    good = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: tunnel.v1\r\n"
    for what, handle, code, pattern in (
            ("nginx, 400", answer("400 Bad Request", "Server: nginx/1.22.1\r\n"), 1,
             rf"^tunnel: P answered 400 Bad Request \(Server: nginx/1\.22\.1\): {re.escape(PROXY)}$"),
            ("nginx, 404", answer("404 Not Found", "Server: nginx\r\n"), 1, re.escape(PROXY)),
            ("Via, 426", answer("426 Upgrade Required", "Via: 1.1 squid\r\n"), 1, rf"\(Via: 1\.1 squid\): {re.escape(PROXY)}"),
            ("Caddy, 200", answer("200 OK", "Server: Caddy\r\n", "hello"), 1, re.escape(PROXY)),
            ("the daemon behind one without a name", answer("400 Bad Request", "", "400 no upgrade to websocket (request 1)\n"), 1,
             re.escape(PROXY)),
            ("the daemon behind HTTP/1.0", answer("400 Bad Request", "", "400 handshake in HTTP/1.0 (request 1)\n"), 1, re.escape(PROXY)),
            ("nobody says who", answer("404 Not Found"), 1, "^tunnel: P is no tunneld: it answered 404 Not Found$"),
            ("nginx that speaks TLS", answer("400 Bad Request", "Server: nginx\r\n", "The plain HTTP request was sent to HTTPS port"), 1,
             "^tunnel: P wants TLS: use https://P$"),
            ("a TLS alert", serving(b"\x15\x03\x01\x00\x02\x02\x0a"), 1, "^tunnel: P wants TLS: use https://P$"),
            ("301 to https", answer("301 Moved Permanently", "Location: https://127.0.0.1/\r\nServer: nginx\r\n"), 1,
             "wants TLS: use its https:// URL$"),
            ("308 to https", answer("308 Permanent Redirect", "Location: https://127.0.0.1/\r\n"), 1, "wants TLS: use its https:// URL$"),
            ("302 elsewhere", answer("302 Found", "Location: http://login.example/?a=\xe9\r\n"), 1,
             r"P answered 302, to http://login\.example/\?a=\\xe9: is the endpoint right\?$"),
            ("401", answer("401 Unauthorized", "WWW-Authenticate: Bearer\r\n"), 3,
             r"^tunnel: the daemon refused the token \(401\): .*; tunneld token issue --scope a makes a new one there$"),
            ("401 of another", answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n"), 3,
             r"P answered 401 and wants Basic credentials: a server in front of the daemon"),
            ("403", answer("403 Forbidden"), 3, r"^tunnel: a is refused: .*scope.*\(403\); tunneld token issue --scope a makes one that may$"),
            ("101 without Upgrade", shaken("Connection: Upgrade\r\nSec-WebSocket-Accept: K\r\nSec-WebSocket-Protocol: tunnel.v1\r\n"), 1,
             rf"^tunnel: P answered 101, but Upgrade is not websocket: {re.escape(PROXY)}$"),
            ("101 without Connection", shaken("Upgrade: websocket\r\nSec-WebSocket-Accept: K\r\nServer: x\x9b1m\r\n"), 1,
             rf"^tunnel: P answered 101 \(Server: x\\x9b1m\), but Connection .*{re.escape(PROXY)}$"),
            ("101 with a wrong accept", shaken(good + "Sec-WebSocket-Accept: AAAA\r\n"), 1, rf"wrong Sec-WebSocket-Accept: {re.escape(PROXY)}$"),
            ("another WebSocket server", shaken("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: K\r\n"), 1,
             "^tunnel: P is no tunneld: not the subprotocol")):
        s = r.service(handle)
        c = client(r, f"http://{s.target}", "3000", "--name", "a", ready=False)
        c.ends(what, code)
        r.equal(f"{what}: one line", len(errs(c)), 1)
        r.has(f"{what}: what to do", re.sub(r"\bP(?=[ $])", re.escape(s.target), pattern), errs(c)[0])
        r.check(f"{what}: printable", all(0x20 <= ord(ch) < 0x7f for l in errs(c) for ch in l), errs(c))


@test
def first_failures_tried_again(r):
    port = free_port(r)
    for what, endpoint, pattern in (
            ("nobody listens", f"http://127.0.0.1:{port}",
             rf"^tunnel: cannot reach 127\.0\.0\.1:{port}: Connection refused: is the daemon running, and this its port\?; trying again in "),
            ("no such host", "http://no-such-host.invalid", r"^tunnel: cannot reach no-such-host\.invalid: host name not found: is it spelt right\?; trying")):
        c = client(r, endpoint, "3000", ready=False)
        c.says("trying again", start=1)
        r.has(f"{what}: what to do", pattern, errs(c)[0])
        r.check(f"{what}: the advice comes once", "?" not in errs(c)[1], errs(c))
        c.stop()
    s = r.service(serving(b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    c = client(r, f"http://{s.target}", "3000", ready=False)
    c.says(r"answered 502 Bad Gateway: a proxy, and no daemon behind it\?; trying again")
    s = r.service(lambda conn, head: conn.half_close())
    c = client(r, f"http://{s.target}", "3000", ready=False)
    c.says(r"was closed during the handshake: does it want https://\?; trying again")
    d = r.daemon()
    all_names, with_two = d.token, d.issue("--scope", "one,two")
    c = client(r, d, "3000", token=with_two, ready=False)
    c.ends("a token for two names, and none given", 3)
    r.has("it says what to do", r"^tunnel: the tunnel is refused: .*scope.*; --name chooses one that it may$", errs(c)[0])
    c = client(r, d, "3000", token=TOKEN, ready=False)
    c.ends("an unknown token", 3)
    r.has("it says what to do", "tunneld token issue --scope NAME", errs(c)[0])
    holder = client(r, d, "3000", "--name", "one", token=all_names)
    c = client(r, d, "3000", "--name", "one", token=with_two, ready=False)
    c.ends("a name in use", 4)
    r.has("by whom, since when", r"^tunnel: one is refused: the name is in use: held by token:[0-9a-f]{8} since \d\d:\d\d UTC; take another with --name$",
          errs(c)[0])
    holder.stop()


@test
def real_nginx(r):
    """nginx without the two lines for upgrades."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.path.exists(nginx):
        print("SKIP real_nginx: no nginx here", flush=True)
        return
    d, port = r.daemon(), free_port(r)
    with open(f"{r.tmp}/nginx.conf", "w", encoding="ascii") as f:
        f.write(f"daemon off; master_process off; pid {r.tmp}/pid; error_log {r.tmp}/log; events {{}}\n"
                f"http {{ access_log off; client_body_temp_path {r.tmp}/t1; proxy_temp_path {r.tmp}/t2; fastcgi_temp_path {r.tmp}/t3;\n"
                f"uwsgi_temp_path {r.tmp}/t4; scgi_temp_path {r.tmp}/t5;\n"
                f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{d.port}; }} }} }}\n")
    r.spawn(nginx, "-p", r.tmp, "-c", f"{r.tmp}/nginx.conf", "-e", f"{r.tmp}/log")
    r.until("nginx listens", lambda: Curl(port, "/").status)
    c = client(r, f"http://127.0.0.1:{port}", "3000", ready=False, token=d.token)
    c.ends("nginx that passes no upgrades", 1)
    r.has("it says so", r"answered 503 .*\(Server: nginx.*" + re.escape(PROXY), errs(c)[0])


# ---- completions ----------------------------------------------------------------------------------

def typed(r, argv, setup, keys, want, env):
    """What a shell at a terminal makes of some keys, once that matches; else all it wrote."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {**ENV, **env, "TERM": "dumb", "PS1": "$ ", "PATH": f"{BIN}:{os.environ['PATH']}"})
    text, end = b"", time.monotonic() + WAIT * 2
    os.write(fd, setup.encode() + b"\necho set''up done\n")
    stage, wanted = 0, (rb"setup done\r?\n", want.encode())
    try:
        while time.monotonic() < end and stage < 2:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    text += os.read(fd, 65536)
                except OSError:
                    break
            if (m := re.search(wanted[stage], text)):
                text, stage = text[m.end():] if stage == 0 else text, stage + 1
                if stage == 1:
                    os.write(fd, keys.encode())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)
    r.check(f"{argv[0]}: {keys!r} shows {want!r}", stage == 2, text[-600:])


def tables():
    """Options of both programs as their --help tells: program and command to names."""
    found = {}
    for name, args in (("tunnel", []), ("tunneld", [])):
        out = subprocess.run([f"{BIN}/{name}", "--help", *args], env=ENV, capture_output=True, text=True, timeout=WAIT, check=True).stdout
        found[name] = re.findall(r"(?:^  |^      |, |^Other servers: )--([a-z-]+)", out, re.M)
    return found


@test
def completion_bash(r):
    env = {"TUNNEL_CONFIG_DIR": f"{r.tmp}/cfg"}
    os.mkdir(f"{r.tmp}/cfg")
    with open(f"{r.tmp}/cfg/tunnels", "w", encoding="ascii") as f:
        f.write("api 3000\nweb 8080\n")
    with open(f"{r.tmp}/tok en.txt", "w", encoding="ascii") as f:
        f.write("x")
    known = tables()

    def complete(*words, last=""):
        """What bash offers for the last word behind these."""
        program = words[0]
        quoted = " ".join(f"'{w}'" for w in (*words, last))
        script = (f"set -u; cd '{r.tmp}'; PATH='{BIN}':$PATH; source <({program} completion bash) || exit 9\n"
                  f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; COMPREPLY=(); _{program}; printf '%s\\n' \"${{COMPREPLY[@]-}}\"")
        p = subprocess.run(["bash", "--norc", "-c", script], env={**ENV, **env}, capture_output=True, text=True, timeout=WAIT, check=False)
        r.equal(f"{words} {last}: no complaint", (p.returncode, p.stderr), (0, ""))
        return sorted(l for l in p.stdout.split("\n") if l)
    r.equal("commands", complete("tunnel"), ["completion", "connect", "forward", "keygen", "relay", "use"])
    r.equal("by a letter", complete("tunnel", last="con"), ["connect"])
    r.equal("options of connect: all of --help", complete("tunnel", "connect", last="--"), sorted(f"--{n}" for n in known["tunnel"]))
    r.equal("options of the program", complete("tunnel", last="-"), ["--help", "--version"])
    r.equal("saved tunnels", complete("tunnel", "connect"), ["api", "web"])
    r.equal("behind an option", complete("tunnel", "connect", "--quiet", last="a"), ["api"])
    r.equal("files", complete("tunnel", "connect", "--token-file", last="tok"), ["tok en.txt"])
    r.equal("files, letter", complete("tunnel", "connect", "-t", last="tok"), ["tok en.txt"])
    r.equal("files, behind '='", complete("tunnel", "connect", "--token-file", "=", last="tok"), ["tok en.txt"])
    r.equal("words", complete("tunnel", "connect", "--proxy", last="n"), ["none"])
    r.equal("a value nobody knows", complete("tunnel", "connect", "--name"), [])
    r.check("commands for --run", "bash" in complete("tunnel", "connect", "--run", last="bas"))
    r.equal("use", complete("tunnel", "use", last="-"), ["--dialect", "--help", "--pin"])
    r.equal("shells", complete("tunnel", "completion"), ["bash", "fish", "zsh"])
    r.equal("nothing for a word it does not know", complete("tunnel", "frob"), [])
    r.equal("tunneld: options", complete("tunneld", last="--"), sorted(f"--{n}" for n in known["tunneld"]))
    r.check("tunneld: commands", {"token", "status", "stop", "completion"} <= set(complete("tunneld")))
    r.equal("tunneld token", complete("tunneld", "token"), ["import", "issue", "list", "revoke"])
    r.equal("tunneld token issue", complete("tunneld", "token", "issue", last="--s"), ["--scope", "--state"])
    r.equal("tunneld: a folder", complete("tunneld", "token", "list", "--state", last="cf"), ["cfg"])
    r.equal("tunneld token import: a file", complete("tunneld", "token", "import", last="tok"), ["tok en.txt"])
    r.equal("tunneld: more options", complete("tunneld", "--listen", "80", last="--stal"), ["--stall"])
    typed(r, ["bash", "--norc", "-i"], "bind 'set enable-bracketed-paste off' 2>/dev/null; source <(tunnel completion bash)", "tunnel con\t",
          "tunnel connect ", env)
    typed(r, ["bash", "--norc", "-i"], "source <(tunnel completion bash)", "tunnel connect --tok\t", "tunnel connect --token-file ", env)
    for program in ("tunnel", "tunneld"):
        for bad in ([], ["tcsh"], ["bash", "zsh"]):
            p = subprocess.run([f"{BIN}/{program}", "completion", *bad], env=ENV, capture_output=True, text=True, timeout=WAIT, check=False)
            r.check(f"{program} completion {bad}", p.returncode == 2 and p.stdout == "" and p.stderr.count("\n") == 1, p)
    if shutil.which("shellcheck"):
        for program in ("tunnel", "tunneld"):
            text = subprocess.run([f"{BIN}/{program}", "completion", "bash"], env=ENV, capture_output=True, timeout=WAIT, check=True).stdout
            p = subprocess.run(["shellcheck", "-s", "bash", "-"], input=text, capture_output=True, timeout=60, check=False)
            r.equal(f"{program}: shellcheck", (p.returncode, p.stdout), (0, b""))
    r.equal("no names without a file", run_tool("completion", "names", env={"TUNNEL_CONFIG_DIR": f"{r.tmp}/none"}), (0, "", ""))


@test
def completion_zsh(r):
    if not shutil.which("zsh"):
        print("SKIP completion_zsh: no zsh here", flush=True)
        return
    env = {"TUNNEL_CONFIG_DIR": f"{r.tmp}/cfg"}
    os.makedirs(f"{r.tmp}/cfg")
    os.mkdir(f"{r.tmp}/functions")
    with open(f"{r.tmp}/cfg/tunnels", "w", encoding="ascii") as f:
        f.write("apiary 3000\nwebsite 8080\n")
    for program in ("tunnel", "tunneld"):
        with open(f"{r.tmp}/functions/_{program}", "wb") as f:
            subprocess.run([f"{BIN}/{program}", "completion", "zsh"], env=ENV, stdout=f, timeout=WAIT, check=True)
        r.equal(f"{program}: zsh -n", subprocess.run(["zsh", "-n", f"{r.tmp}/functions/_{program}"], capture_output=True, timeout=WAIT,
                                                     check=False).stderr, b"")
    sourced = "autoload -U compinit; compinit -u -D; source <(tunnel completion zsh); source <(tunneld completion zsh)"
    loaded = f"fpath=('{r.tmp}/functions' $fpath); autoload -U compinit; compinit -u -D"
    for setup, keys, want in (
            (sourced, "tunnel con\t", "nect "), (loaded, "tunnel con\t", "nect "), (loaded, "tunnel connect api\t", "apiary"),
            (loaded, "tunnel connect --tok\t", "en-file"), (loaded, "tunnel connect --\t", r"register when something listens"),
            (loaded, "tunnel connect --proxy n\t", "none"), (loaded, "tunnel \t", "save endpoint and token"),
            (loaded, "tunneld to\t", "ken "), (loaded, "tunneld token iss\t", "ue "), (loaded, "tunneld token issue --no\t", "--note"),
            (loaded, "tunneld --\t", "believe X-Forwarded-\\* from this proxy"), (loaded, "tunneld completion f\t", "fish"),
            (loaded, f"tunneld --config {r.tmp}/cfg/tun\t", "tunnels")):
        typed(r, ["zsh", "-f", "-i"], f"unsetopt ZLE_RPROMPT; {setup}", keys, want, env)


@test
def completion_fish(r):
    if not shutil.which("fish"):
        print("SKIP completion_fish: no fish here", flush=True)
        return
    env = {"TUNNEL_CONFIG_DIR": f"{r.tmp}/cfg", "PATH": f"{BIN}:{os.environ['PATH']}"}
    os.makedirs(f"{r.tmp}/cfg")
    with open(f"{r.tmp}/cfg/tunnels", "w", encoding="ascii") as f:
        f.write("api 3000\n")
    known = tables()

    def complete(line):
        p = subprocess.run(["fish", "--no-config", "-c", f"cd {r.tmp}; tunnel completion fish | source; tunneld completion fish | source; "
                            f"complete -C '{line}'"], env={**ENV, **env}, capture_output=True, text=True, timeout=WAIT, check=False)
        r.equal(f"{line}: no complaint", (p.returncode, p.stderr), (0, ""))
        return dict((l.split("\t") + [""])[:2] for l in p.stdout.split("\n") if l)
    r.equal("tunnel con", complete("tunnel con"), {"connect": "put local services on the internet"})
    r.equal("tunnel", sorted(complete("tunnel ")), ["completion", "connect", "forward", "keygen", "relay", "use"])
    r.equal("saved tunnels", sorted(complete("tunnel connect ")), ["api"])
    r.equal("options of connect: all of --help", sorted(k for k in complete("tunnel connect --")), sorted(f"--{n}" for n in known["tunnel"]))
    r.equal("with their texts", complete("tunnel connect --insec")["--insecure-target"], "do not verify TARGET's certificate")
    r.equal("files", list(complete("tunnel connect --token-file cf")), ["cfg/"])
    r.equal("words", list(complete("tunnel connect --proxy ")), ["none"])
    r.equal("tunneld: options", sorted(k for k in complete("tunneld --")), sorted(f"--{n}" for n in known["tunneld"]))
    r.equal("tunneld token", sorted(complete("tunneld token ")), ["import", "issue", "list", "revoke"])
    r.equal("tunneld token issue", sorted(complete("tunneld token issue --s")), ["--scope", "--state"])
    r.equal("tunneld completion", sorted(complete("tunneld completion ")), ["bash", "fish", "zsh"])


main()
