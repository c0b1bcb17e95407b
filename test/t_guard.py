"""Who may call a tunnel: user and password, networks; and tunnels under domains of their own."""
import base64
import hashlib
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import Client, Curl, client, direct, run_tool
from frames import FrameClient, FrameDaemon
from rig import SANITIZED, main, test


def basic(text):
    return "Authorization: Basic " + base64.b64encode(text.encode()).decode()


def users(r, *lines, name="users"):
    path = f"{r.tmp}/{name}"
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join(l + "\n" for l in lines))
    return path


def refused(r, what, got, status, d=None, reason=None):
    r.equal(f"{what}: status", got.status, status)
    r.equal(f"{what}: WWW-Authenticate", got.all("www-authenticate"),
            ['Basic realm="tunnel", charset="UTF-8"'] if status == 401 else [])
    if d:
        rid = got.get("x-request-id")
        d.log(f"event=refused status={status} reason={reason} .*id={rid}")


@test
def auth_file(r):
    """curl -u, for each of the lines; nobody else; the service never hears of the others."""
    d, o = r.daemon(), r.origin()
    path = users(r, "# for the team", "", "ann:s3cret word", "bob:a:b", "zoë:pässwort")
    c = client(r, d, o.target, "--name", "a", "--auth-file", path)
    for user in ("ann:s3cret word", "bob:a:b", "zoë:pässwort"):
        got = Curl(d, "/echo", "-u", user)
        r.equal(f"{user}: served", got.status, 200)
        r.equal(f"{user}: the field passes on, RFC 9110 section 11.6.2", got.sent_fields("authorization"), [basic(user)[15:]])
    before = direct(o, "/conns")["requests"]
    refused(r, "without", Curl(d, "/echo"), 401, d, "guard_credentials")
    for user in ("ann:s3cret", "ann:s3cret word ", "Ann:s3cret word", "ann:", "bob:a", "# for the team:", "x" * 300 + ":y"):
        refused(r, user, Curl(d, "/echo", "-u", user), 401)
    refused(r, "a bearer", Curl(d, "/echo", "-H", "Authorization: Bearer x"), 401)
    refused(r, "a body before it", Curl(d, "/echo", "-H", "Expect:", "--data-binary", "@-", stdin=b"x" * 300000), 401)
    upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
               "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    refused(r, "an upgrade", Curl(d, "/ws", *upgrade), 401)
    r.equal("HEAD", Curl(d, "/echo", "-I").status, 401)
    got = Curl(d, "/echo", "-H", "Accept: application/json")
    r.equal("as JSON", (got.status, got.json().get("status")), (401, 401))
    r.equal("the service has seen none of them", direct(o, "/conns")["requests"], before + 1)     # this one
    with r.caller(d) as k:
        good = f"GET /echo HTTP/1.1\r\nHost: a.localhost\r\n{basic('ann:s3cret word')}\r\n\r\n"
        bad = "GET /echo HTTP/1.1\r\nHost: a.localhost\r\n\r\n"
        k.send(good + bad + good)
        r.equal("one connection, each request by itself", [k.response().status for _ in range(3)], [200, 401, 200])
    text = "\n".join(l for l in d.errs + c.errs + c.lines if l)
    r.check("no password in any output", not re.search("s3cret|p.{1,9}sswort", text))
    r.equal("tunneld status", [(t["name"], t["guarded"]) for t in d.status()], [("a", True)])
    d.log("event=tunnel_open name=a .*guarded=yes")


@test
def environment(r):
    d, o = r.daemon(), r.origin()
    client(r, d, o.target, "--name", "a", env={"TUNNEL_AUTH": "ann:one"})
    client(r, d, o.target, "--name", "b", "--auth-file", users(r, "ann:two"), env={"TUNNEL_AUTH": "ann:one"})
    client(r, d, o.target, "--name", "c")
    r.equal("TUNNEL_AUTH", [Curl(d, "/echo", "-u", f"ann:{w}").status for w in ("one", "two")], [200, 401])
    r.equal("the file is stronger", [Curl(d, "/echo", "-u", f"ann:{w}", host="b.localhost").status for w in ("one", "two")], [401, 200])
    r.equal("another tunnel is free", Curl(d, "/echo", host="c.localhost").status, 200)
    r.equal("and status says so", sorted((t["name"], t["guarded"]) for t in d.status()), [("a", True), ("b", True), ("c", False)])


@test
def allow(r):
    """By address: the connection's own, or what trusted proxies say."""
    d, o = r.daemon("--trust", "127.0.0.9", "--trust", "10.9.0.0/16"), r.origin()
    client(r, d, o.target, "--name", "a", "--allow", "192.0.2.0/24", "--allow", "2001:db8::/32", "--allow", "127.0.0.3")

    def ask(source, *forwarded):
        fields = [w for f in forwarded for w in ("-H", f"X-Forwarded-For: {f}")]
        return Curl(d, "/echo", "--interface", source, *fields)
    for source, forwarded, want in (
            ("127.0.0.3", [], 200), ("127.0.0.1", [], 403),
            ("127.0.0.1", ["192.0.2.7"], 403),                      # anybody can write that
            ("127.0.0.3", ["198.51.100.1"], 200),
            ("127.0.0.9", [], 403), ("127.0.0.9", ["192.0.2.7"], 200), ("127.0.0.9", ["198.51.100.1"], 403),
            ("127.0.0.9", ["2001:db8::7"], 200), ("127.0.0.9", ["::ffff:192.0.2.7"], 200),
            ("127.0.0.9", ["192.0.2.7, 198.51.100.1"], 403),        # the last is what the proxy has seen
            ("127.0.0.9", ["198.51.100.1, 192.0.2.7"], 200),
            ("127.0.0.9", ["198.51.100.1", "192.0.2.7"], 200), ("127.0.0.9", ["192.0.2.7", "198.51.100.1"], 403),
            ("127.0.0.9", ["192.0.2.7, 10.9.1.1"], 200),            # through two of ours
            ("127.0.0.9", ["192.0.2.7, 198.51.100.1, 10.9.1.1"], 403), ("127.0.0.9", ["10.9.1.1"], 403),
            ("127.0.0.9", ["unknown"], 403), ("127.0.0.9", ["192.0.2.7, unknown"], 403),
            ("127.0.0.9", ["unknown, 192.0.2.7"], 200), ("127.0.0.9", ["x" * 200], 403)):
        got = ask(source, *forwarded)
        r.equal(f"from {source}, {forwarded}", got.status, want)
        if want == 403:
            r.equal("no user will help", got.all("www-authenticate"), [])
    refused(r, "an address", ask("127.0.0.1"), 403, d, "guard_address")
    client(r, d, o.target, "--name", "b", "--allow", "127.0.0.3", env={"TUNNEL_AUTH": "ann:one"})
    r.equal("both are asked for", [Curl(d, "/echo", "--interface", f"127.0.0.{k}", *u, host="b.localhost").status
                                   for k in (3, 1) for u in (["-u", "ann:one"], [])], [200, 401, 403, 403])
    client(r, d, o.target, "--name", "c", env={"TUNNEL_ALLOW": "127.0.0.3 127.0.0.4"})
    r.equal("TUNNEL_ALLOW", [Curl(d, "/echo", "--interface", f"127.0.0.{k}", host="c.localhost").status for k in (3, 4, 5)], [200, 200, 403])


@test
def several(r):
    """All tunnels of a client, 64 with as many users; across a lost session; other clients of the name."""
    d, o = r.daemon(), r.origin()
    path = users(r, *(f"user{i}:{'p' * 200}{i}" for i in range(64)))
    nets = [w for i in range(63) for w in ("--allow", f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{0x1000 + i:x}")]
    n = 8 if SANITIZED else 64
    c = r.keep(Client(r, ["connect", *(f"t{i}={o.target}" for i in range(n)), "--endpoint", f"http://127.0.0.1:{d.port}",
                          "--auth-file", path, *nets, "--allow", "127.0.0.1"], {"TUNNEL_TOKEN": d.token}))
    r.until("all are ready", lambda: len([l for l in c.lines if l]) == n)
    for i in (0, n // 2, n - 1):
        host = f"t{i}.localhost"
        r.equal(f"t{i}", [Curl(d, "/echo", *u, host=host).status for u in ([], ["-u", f"user63:{'p' * 200}63"], ["-u", "user63:x"])],
                [401, 200, 401])
    c.kill9()
    client(r, d, o.target, "--name", "t0", "--quiet")
    r.until("who takes the name over says who may call", lambda: Curl(d, "/echo", host="t0.localhost").status == 200)


@test
def in_grace(r):
    """While the client is away nobody gets by; those that waited are asked when it is back."""
    d, o = r.daemon("--grace", "30"), r.origin()
    c = client(r, d, o.target, "--name", "a", env={"TUNNEL_AUTH": "ann:one"})
    c.kill9()
    d.log("event=session_end")
    with r.caller(d) as bad, r.caller(d) as good:
        bad.send("GET /echo HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
        good.send(f"GET /echo HTTP/1.1\r\nHost: a.localhost\r\n{basic('ann:one')}\r\n\r\n")
        client(r, d, o.target, "--name", "a", env={"TUNNEL_AUTH": "ann:one"})
        r.equal("who waited without", bad.response().status, 401)
        r.equal("who waited with", good.response().status, 200)


@test
def usage(r):
    """One line, exit 2, and never a password in it."""
    env = {"TUNNEL_TOKEN": "tn_" + "A" * 43}
    base = ["connect", "3000", "--name", "a", "--endpoint", "http://127.0.0.1:9"]
    for what, args, more, word in (
            ("no such file", ["--auth-file", f"{r.tmp}/none"], {}, "No such file"),
            ("no colon", ["--auth-file", users(r, "ann:one", "s3cret", name="u1")], {}, "u1:2: the line is not USER:PASSWORD"),
            ("no password", ["--auth-file", users(r, "s3cret:", name="u2")], {}, "u2:1: the line"),
            ("no user", ["--auth-file", users(r, ":s3cret", name="u3")], {}, "u3:1: the line"),
            ("controls", ["--auth-file", users(r, "ann:s3cret\tx", name="u4")], {}, "u4:1: the line"),
            ("too long", ["--auth-file", users(r, "ann:" + "s3cret" * 300, name="u5")], {}, "u5:1: the line"),
            ("too many", ["--auth-file", users(r, *["ann:s3cret"] * 65, name="u6")], {}, "u6:65: more than 64 users"),
            ("nobody", ["--auth-file", users(r, "# none", "", name="u7")], {}, "u7 holds no USER:PASSWORD line"),
            ("the variable", [], {"TUNNEL_AUTH": "s3cret"}, "TUNNEL_AUTH is not USER:PASSWORD"),
            ("it is empty", [], {"TUNNEL_AUTH": ""}, "TUNNEL_AUTH is not USER:PASSWORD"),
            ("an empty list", [], {"TUNNEL_ALLOW": " "}, "TUNNEL_ALLOW is empty"), ("an empty file name", ["--auth-file="], {}, "No such file"),
            ("no network", ["--allow", "here"], {}, "--allow: 'here': not an address"),
            ("host bits", ["--allow", "192.0.2.1/24"], {}, "bits set behind its prefix"),
            ("65 networks", ["--allow", "192.0.2.1"] * 65, {}, "one network too many")):
        code, out, err = run_tool(*base, *args, env={**env, **more})
        r.equal(f"{what}: exit status", code, 2)
        r.check(f"{what}: it says so in one line", out == "" and err.count("\n") == 1 and word in err, out + err)
        r.check(f"{what}: and shows no password", "s3cret" not in err, err)


@test
def old_daemon(r):
    """One that knows nothing of guards would let everybody in: the client gives the name back, and says so."""
    d = r.keep(FrameDaemon())
    c = client(r, d, 3000, "--name", "a", env={"TUNNEL_AUTH": "ann:one"}, ready=False)
    d.ready()
    want = next(o for o in map(json.loads, d.session.until(1, b'"unlisten"').splitlines()) if o["op"] == "listen")
    r.equal("what it asks for", (want["auth"], "allow" in want), ([hashlib.sha256(b"ann:one").hexdigest()], False))
    c.says("would let anybody in")
    c.ends("an old daemon", 1)
    r.equal("it never said that callers can come", [l for l in c.lines if l], [])


@test
def on_the_wire(r):
    """The members of listen, one by one."""
    d = r.daemon()
    s = r.keep(FrameClient(d, "first"))
    good = hashlib.sha256(b"ann:one").hexdigest()
    for i, (what, members, code) in enumerate((
            ("auth is no array", {"auth": good}, "bad_guard"), ("an empty one", {"auth": []}, "bad_guard"),
            ("of numbers", {"auth": [1]}, "bad_guard"), ("no hash", {"auth": ["ann:one"]}, "bad_guard"),
            ("too long", {"auth": [good + "00"]}, "bad_guard"), ("no network", {"allow": ["x"]}, "bad_guard"),
            ("an empty list of networks", {"allow": []}, "bad_guard"), ("an object", {"allow": {"a": "192.0.2.1"}}, "bad_guard"),
            ("65 users", {"auth": [good] * 65}, "bad_guard"), ("65 networks", {"allow": ["192.0.2.1"] * 65}, "bad_guard"),
            ("null is none", {"auth": None}, None), ("64 of both", {"auth": [good] * 64, "allow": ["192.0.2.1"] * 64}, True),
            ("networks alone", {"allow": ["192.0.2.1"]}, True)), 2):
        s.line(0, op="listen", id=i, kind="http", name=f"n{i}", **members)
        mark = f'"id":{i},'.encode()
        got = next(json.loads(l) for l in s.until(1, mark).splitlines(True) if mark in l and l.endswith(b"\n") or s.ping())
        r.equal(what, (got.get("op"), got.get("code"), got.get("guarded")),
                ("error", code, None) if isinstance(code, str) else ("ready", None, code))
    r.equal("tunneld status", sorted((t["name"], t["guarded"]) for t in d.status()),
            [("first", False), ("n12", False), ("n13", True), ("n14", True)])


@test
def custom_domain(r):
    """A scope with a dot is a whole host name."""
    d, o = r.daemon(scope="app.example.org,preview"), r.origin()
    c = client(r, d, o.target, "--name", "App.Example.org")
    r.equal("its URL", c.url, f"http://app.example.org:{d.port}")
    for host, want in (("app.example.org", 200), ("APP.example.ORG:8080", 200), ("app.example.org.", 200), ("example.org", 503),
                       ("www.app.example.org", 503), ("app.example.org.tunnel.x", 503), ("app.localhost", 503)):
        r.equal(f"Host: {host}", Curl(d, "/echo", host=host).status, want)
    r.equal("Host is the service's", Curl(d, "/echo", host="app.example.org").sent_fields("host"), [o.target])
    r.equal("and X-Forwarded-Host the caller's", Curl(d, "/echo", host="app.example.org").sent_fields("x-forwarded-host"), ["app.example.org"])
    other = client(r, d, o.target, "--name", "www.example.org", ready=False)
    other.says("scope does not hold this name")
    other.ends("a name beyond the scope", 3)
    client(r, d, o.target, "--name", "preview", env={"TUNNEL_AUTH": "ann:one"})
    r.equal("a plain name beside it", Curl(d, "/echo", "-u", "ann:one", host="preview.localhost").status, 200)


main()
