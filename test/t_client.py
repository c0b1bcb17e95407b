"""The client's command line, its life and its side of the protocol."""
import base64
import hashlib
import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import (Client, Curl, TUNNEL, alive, children, client, connect_proxy, cpu, direct, fake_daemon, free_port, parked,
                    run_tool)
from frames import DATA, FIN, RST, WINDOW, FrameDaemon
from rig import ENV, HERE, PEER, PYTHON, SANITIZED, WAIT, Peer, main, serving, test

TOKEN = "tn_" + "A" * 43
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
SHORT = 3 if SANITIZED else 1       # seconds for what happens at once


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def saved(folder):
    text = ""
    for name in sorted(os.listdir(folder)):
        with open(f"{folder}/{name}", encoding="ascii") as f:
            text += f.read()
    return text


def no_tls(r):
    """Is the client one that was built without TLS?"""
    err = run_tool("use", "https://a.example", TOKEN, env={"TUNNEL_CONFIG_DIR": f"{r.tmp}/tls"})[2]
    return "this build has no TLS" in err and r.check("this build has no TLS: the rest is not tested", True)


def usage(r, what, *args, word=None, **more):
    code, out, err = run_tool(*args, **more)
    r.equal(f"{what}: exit status", code, 2)
    r.check(f"{what}: it says so in one line", out == "" and err.count("\n") == 1 and err.startswith("tunnel: "), out + err)
    if word:
        r.check(f"{what}: it names the word", word in err, err)
    return err


# ---- tunnel use ----------------------------------------------------------------

@test
def use(r):
    own, xdg, home = f"{r.tmp}/own", f"{r.tmp}/xdg", f"{r.tmp}/home"
    os.mkdir(home)
    choices = (("TUNNEL_CONFIG_DIR", own, {"TUNNEL_CONFIG_DIR": own, "XDG_CONFIG_HOME": xdg, "HOME": home}),
               ("XDG_CONFIG_HOME", f"{xdg}/tunnel", {"TUNNEL_CONFIG_DIR": "", "XDG_CONFIG_HOME": xdg, "HOME": home}),
               ("HOME", f"{home}/.config/tunnel", {"TUNNEL_CONFIG_DIR": "", "XDG_CONFIG_HOME": "", "HOME": home}))
    for i, (what, folder, env) in enumerate(choices):
        token = f"tn_{i}" + "B" * 42
        code, out, err = run_tool("use", f"http://host{i}.example:81", token, env=env, umask=0)
        r.equal(f"use with {what}", (code, err), (0, ""))
        r.check(f"use with {what} does not show the token", token not in out)
        r.check(f"use with {what} saves both", token in saved(folder) and f"host{i}.example:81" in saved(folder))
        r.equal(f"use with {what}: modes", [oct(mode(f"{folder}/{n}")) for n in sorted(os.listdir(folder))],
                ["0o600"] * len(os.listdir(folder)))
        r.equal(f"use with {what}: folder", oct(mode(folder)), "0o700")
        r.equal("only the chosen folders exist", [os.path.exists(f) for _, f, _ in choices], [k <= i for k in range(3)])
    for name in os.listdir(own):
        os.chmod(f"{own}/{name}", 0o644)
    code, _, _ = run_tool("use", "ws://other.example", "-", env=choices[0][2], stdin=TOKEN + "\nmore\n", umask=0)
    r.check("use - reads the token from stdin", code == 0 and TOKEN in saved(own) and "host0" not in saved(own)
            and "more" not in saved(own))
    r.equal("files are replaced, with 0600", {oct(mode(f"{own}/{n}")) for n in os.listdir(own)}, {"0o600"})
    before = saved(own)
    for what, args, more in (
            ("no arguments", ["use"], {}), ("one argument", ["use", "http://a.example"], {}),
            ("three arguments", ["use", "http://a.example", TOKEN, "x"], {}),
            ("no token on stdin", ["use", "http://a.example", "-"], {"stdin": ""}),
            ("an empty token", ["use", "http://a.example", ""], {}),
            ("a token with a blank", ["use", "http://a.example", "tn_a b"], {}),
            ("a token with a line end", ["use", "http://a.example", "tn_a\r\nX: y"], {})):
        usage(r, f"use with {what}", *args, env=choices[0][2], **more)
    for endpoint in ("ftp://a.example", "a.example", "http://", "http://:80", "http://a.example:0", "http://a.example:x",
                     "http://a.example:70000", "http://a.example/path", "http://u:p@a.example", "http://a b", ""):
        usage(r, f"use with endpoint '{endpoint}'", "use", endpoint, TOKEN, env=choices[0][2], word=endpoint)
    r.equal("a refused use changes nothing", saved(own), before)


@test
def saved_settings(r):
    d, o = r.daemon(), r.origin()
    endpoint = f"http://127.0.0.1:{d.port}"
    for i, env in enumerate(({"TUNNEL_CONFIG_DIR": f"{r.tmp}/a"}, {"TUNNEL_CONFIG_DIR": "", "XDG_CONFIG_HOME": f"{r.tmp}/b"},
                             {"TUNNEL_CONFIG_DIR": "", "XDG_CONFIG_HOME": "", "HOME": f"{r.tmp}"})):
        r.equal("use", run_tool("use", endpoint, "-", env=env, stdin=d.token + "\n")[0], 0)
        c = r.keep(Client(r, ["connect", o.target, "--name", f"n{i}"], env))
        c.secret = d.token
        c.ready()
        r.equal("connect takes what use saved", Curl(d, "/echo", host=f"n{i}.localhost").status, 200)
    bad = {"TUNNEL_CONFIG_DIR": f"{r.tmp}/bad"}
    run_tool("use", "http://127.0.0.1:1", "tn_wrong", env=bad)
    with open(f"{r.tmp}/token", "w", encoding="ascii") as f:
        f.write(d.token + "\n")
    with open(f"{r.tmp}/wrong", "w", encoding="ascii") as f:
        f.write("tn_wrong\n")
    # what is given: option, environment; the saved is wrong
    for i, (args, env) in enumerate((
            (["--endpoint", endpoint, "--token-file", f"{r.tmp}/token"], {"TUNNEL_TOKEN": "tn_wrong", "TUNNEL_ENDPOINT": "http://127.0.0.1:1"}),
            (["--endpoint", endpoint], {"TUNNEL_TOKEN": d.token}),
            (["--token-file", f"{r.tmp}/token"], {"TUNNEL_ENDPOINT": endpoint}),
            ([], {"TUNNEL_TOKEN": d.token, "TUNNEL_ENDPOINT": endpoint}),
            (["--endpoint", f"ws://127.0.0.1:{d.port}/"], {"TUNNEL_TOKEN": d.token}))):
        c = r.keep(Client(r, ["connect", o.target, "--name", f"m{i}", *args], {**bad, **env}))
        c.secret = d.token
        c.ready()
        r.equal(f"overrides {args} {sorted(env)}", Curl(d, "/echo", host=f"m{i}.localhost").status, 200)
        with open(f"/proc/{c.p.pid}/cmdline", "rb") as f:
            r.check("no token in the command line", d.token.encode() not in f.read())    # a folder's name may have tn_ in it
    c = r.keep(Client(r, ["connect", o.target, "--endpoint", endpoint, "--token-file", f"{r.tmp}/wrong"],
                      {"TUNNEL_TOKEN": d.token}))
    c.ends("--token-file counts more than TUNNEL_TOKEN", 3)
    none = {"TUNNEL_CONFIG_DIR": f"{r.tmp}/none"}
    usage(r, "connect with nothing saved", "connect", "3000", env=none, word="tunnel use")
    usage(r, "connect with no token", "connect", "3000", "--endpoint", endpoint, env=none, word="tunnel use")
    usage(r, "a token file that is not there", "connect", "3000", "--endpoint", endpoint, "--token-file", f"{r.tmp}/no",
          env=none, word=f"{r.tmp}/no")


@test
def saved_pins(r):
    env, folder = {"TUNNEL_CONFIG_DIR": f"{r.tmp}/p"}, f"{r.tmp}/p"
    pins = ["sha256:" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
    if no_tls(r):
        return
    r.equal("use with two pins", run_tool("use", "https://a.example", TOKEN, "--pin", pins[0], "--pin", pins[1], env=env)[0], 0)
    both = f"{pins[0]} {pins[1]}\n"
    r.check("they are saved", both in saved(folder), saved(folder))
    for pin in ("sha256:AAAA", "sha1:" + "A" * 28, "A" * 44, pins[0] + "=", ""):
        usage(r, f"use with pin '{pin}'", "use", "https://a.example", TOKEN, "--pin", pin, env=env)
    usage(r, "a pin for http://", "use", "http://a.example", TOKEN, "--pin", pins[0], env=env)
    r.check("a refused use changes nothing", both in saved(folder) and "https://a.example" in saved(folder), saved(folder))
    r.equal("use without pins", run_tool("use", "https://b.example", TOKEN, env=env)[0], 0)
    r.check("forgets them", "sha256:" not in saved(folder), saved(folder))


# ---- the command line ------------------------------------------------------------

@test
def words(r):
    env = {"TUNNEL_ENDPOINT": "http://127.0.0.1:1", "TUNNEL_TOKEN": TOKEN}
    for what, args, word in (
            ("no command", [], None), ("an unknown command", ["frob"], "frob"), ("no target", ["connect"], None),
            ("an unknown option", ["connect", "3000", "--frob"], "--frob"), ("an unknown letter", ["connect", "3000", "-Z"], "-Z"),
            ("two targets", ["connect", "3000", "3001"], None), ("an option without value", ["connect", "3000", "--name"], "--name"),
            ("--connections 0", ["connect", "3000", "--connections", "0"], "connections"),
            ("--connections x", ["connect", "3000", "--connections", "x"], "connections"),
            ("--connections 9999", ["connect", "3000", "--connections", "9999"], "connections"),
            ("a host header with a blank", ["connect", "3000", "--host-header", "a b"], "a b")):
        usage(r, what, *args, env=env, word=word)
    r.equal("a host header with a line end", run_tool("connect", "3000", "--host-header", "a\r\nX: y", env=env)[0], 2)
    for target in ("", "0", "65536", "99999999999", "-1", "x", "host:", "host:0", "host:x", ":", "a:b:c", "http://", "http://host:x",
                   "ftp://host:1", "unix:", "unix:/" + "x" * 200, "host:80/path", "3000x"):
        err = usage(r, f"target '{target[:20]}'", "connect", "--", target, env=env)
        r.check(f"target '{target[:20]}': it names the word", target[:60] in err, err)
    for endpoint in ("gopher://x", "x:1"):
        usage(r, f"endpoint {endpoint}", "connect", "3000", "--endpoint", endpoint, env=env, word=endpoint)
    for flag in ("-h", "--help"):
        code, out, err = run_tool(flag)
        r.check(flag, code == 0 and err == "" and all(f"--{w}" in out for w in (
            "name", "host-header", "run", "share", "connections", "quiet", "endpoint", "token-file", "proxy")), out)
    for flag in ("-V", "--version"):
        code, out, err = run_tool(flag)
        r.check(flag, code == 0 and err == "" and re.fullmatch(r"tunnel \d+\.\d+\.\d+\n", out), out)
    r.equal("connect --help", run_tool("connect", "--help")[0], 0)


@test
def bad_names(r):
    d = r.daemon()
    for name in ("-a", "a_b", "ä", "x" * 64, "a b", "a\r\nX: y", "a/b"):
        c = client(r, d, "3000", f"--name={name}", ready=False)
        c.ends(f"name {name[:10]!r}", 2)
    c = client(r, d, "3000", "--name", "Upper")
    r.equal("names are taken in lower case", c.url, f"http://upper.tunnel.localhost:{d.port}")


@test
def targets(r):
    d, o = r.daemon(), r.origin()
    port = o.target.rpartition(":")[2]
    u = r.spawn(PYTHON, f"{PEER}/origin.py", "--unix", f"{r.tmp}/s", kind=Peer)
    u.event(unix=lambda p: p)
    for i, (target, shown, host) in enumerate((
            (port, f"http://localhost:{port}", f"localhost:{port}"),
            (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"),
            (f"localhost:{port}", f"http://localhost:{port}", f"localhost:{port}"),
            (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"),
            (f"unix:{r.tmp}/s", f"unix:{r.tmp}/s", "localhost"))):
        c = client(r, d, target, "--name", f"n{i}")
        r.equal(f"{target.split(port)[0]}: the line on stdout", [l for l in c.lines if l],
                [f"http://n{i}.tunnel.localhost:{d.port} -> {shown}"])
        got = Curl(d, "/echo", host=f"n{i}.localhost")
        r.equal(f"{target.split(port)[0]}: it is served", got.status, 200)
        r.equal(f"{target.split(port)[0]}: Host is the target's", got.sent_fields("host"), [host])
    c = client(r, d, port, "--name", "late")        # not yet stopped: the line has been flushed to a pipe
    c.kill9()


@test
def host_header(r):
    d, o = r.daemon(), r.origin()
    client(r, d, o.target, "--name", "keep", "--host-header", "keep")
    client(r, d, o.target, "--name", "fixed", "--host-header", "app.internal:8443")
    client(r, d, o.target, "--name", "own")
    r.equal("--host-header keep", Curl(d, "/echo", host="keep.tunnel.localhost:99").sent_fields("host"), ["keep.tunnel.localhost:99"])
    r.equal("--host-header HOST", Curl(d, "/echo", host="fixed.localhost").sent_fields("host"), ["app.internal:8443"])
    got = Curl(d, "/echo", host="own.localhost")
    r.equal("without", got.sent_fields("host"), [o.target])
    r.equal("what the caller asked for is told", got.sent_fields("x-forwarded-host"), ["own.localhost"])


@test
def default_names(r):
    d, o = r.daemon(), r.origin()
    c = client(r, d, o.target)
    r.equal("a token for every name: default", c.url, f"http://default.tunnel.localhost:{d.port}")
    r.equal("by the base host", Curl(d, "/echo", host="127.0.0.1").status, 200)
    c = client(r, d, o.target, token=d.issue("--scope", "preview"))
    r.equal("a token for one name: that", c.url, f"http://preview.tunnel.localhost:{d.port}")
    c.stop()
    token = d.issue("--scope", "one,two")
    client(r, d, o.target, token=token, ready=False).ends("a token for two names, and default is neither", 3)
    client(r, d, o.target, "--name", "three", token=token, ready=False).ends("a name outside the token's scope", 3)
    r.equal("a name within", client(r, d, o.target, "--name", "two", token=token).url, f"http://two.tunnel.localhost:{d.port}")


@test
def request_lines(r):
    d, o = r.daemon(), r.origin()
    c = client(r, d, o.target, "--name", "a")
    q = client(r, d, o.target, "--name", "q", "--quiet")
    for path, method, code, size in (("/bytes?n=1234", "GET", 200, 1234), ("/status?code=404", "GET", 404, 11),
                                     ("/bytes?n=1234", "HEAD", 200, 0), ("/die-before", "GET", 502, None), ("/echo", "POST", 200, None)):
        Curl(d, path, *(["-I"] if method == "HEAD" else ["-X", method]))
        Curl(d, path, *(["-I"] if method == "HEAD" else ["-X", method]), host="q.localhost")
        line = c.says(rf"^\d\d:\d\d:\d\d {method} {re.escape(path)} {code} ").string
        m = re.match(r"\S+ \S+ \S+ \d+ (\d+(?:\.\d+)?) ?(ms|s) (\d+(?:\.\d+)?) ?[kKMG]?i?B?", line)
        r.check(f"{method} {path}: duration and size", m and (size is None or int(m.group(3)) == size), line)
    r.check("no colours where there is no terminal", not any("\033" in l for l in c.errs if l))

    def slow():
        mark = c.marks()
        Curl(d, "/slow?ms=300")
        m = c.says(r"/slow\?ms=300 200 (\d+)ms", start=mark)
        r.check("the duration is the request's", int(m.group(1)) >= 300, m.string)
        return int(m.group(1)) / 1000
    r.soon("and no more", 0.3 + SHORT, slow)
    r.equal("--quiet shows none", [l for l in q.errs if l], [])


@test
def stopped_terminal(r):
    """Whoever shows the request lines has stopped: callers are answered all the same."""
    d, o = r.daemon(), r.origin()
    reader, writer = os.pipe()

    def fill():
        try:
            while True:
                os.write(writer, b"x" * 65536)
        except OSError:
            os.close(writer)

    def several():
        with ThreadPoolExecutor(6) as pool:
            return list(pool.map(lambda _: r.get(d, "a.localhost", "/slow?ms=100").status, range(6)))

    # pylint: disable=consider-using-with
    p = subprocess.Popen([TUNNEL, "connect", o.target, "--name", "a"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer,
                         env={**ENV, "TUNNEL_ENDPOINT": f"http://127.0.0.1:{d.port}", "TUNNEL_TOKEN": d.token})
    try:
        r.until("it is there", lambda: any(t["name"] == "a" for t in d.status()))
        r.equal("while they are read", several(), [200] * 6)       # from now on there are kept connections
        threading.Thread(target=fill, daemon=True).start()
        r.until("it is full", lambda: not select.select([], [writer], [], 0)[1])
        r.equal("several at once", several(), [200] * 6)
    finally:
        p.kill()
        p.wait()
        os.close(reader)        # which ends whoever fills it


@test
def colours(r):
    d, o = r.daemon(), r.origin()
    near, far = pty.openpty()
    pid = os.posix_spawn(TUNNEL, [TUNNEL, "connect", o.target, "--name", "a", "--endpoint", f"http://127.0.0.1:{d.port}"],
                         {**ENV, "TUNNEL_TOKEN": d.token},
                         file_actions=[(os.POSIX_SPAWN_DUP2, far, 1), (os.POSIX_SPAWN_DUP2, far, 2)])
    os.close(far)
    text = b""
    try:
        while b" -> " not in text:
            text += os.read(near, 4096)
        for code in (200, 404, 500):
            Curl(d, f"/status?code={code}")
            while b"code=%d" % code not in text or not text.endswith(b"\n"):
                text += os.read(near, 4096)
    finally:
        os.kill(pid, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(near)
    r.equal("a client at a terminal stops", code, 0)
    found = [re.search(rb"code=%d (\x1b\[[0-9;]+m)%d\x1b\[0?m" % (n, n), text) for n in (200, 404, 500)]
    r.check("colours at a terminal", all(found) and len({m.group(1) for m in found}) == 3, text)
    r.check("the URL line has none", b"\033" not in text.split(b"\n")[0], text)


# ---- --run -------------------------------------------------------------------------

def run_client(r, d, port, command, *args, **more):
    return client(r, d, port, "--name", "a", "--run", command, *args, **more)


def report_line(c, what):
    """A "NAME: WORD" line that the command wrote."""
    return c.wait_line(c.lines, re.compile(rf"^{what}: (.*)$").search, what).group(1)


@test
def run_command(r):
    d, port = r.daemon(), free_port(r)
    command = (f"echo port: $PORT; echo pid: $$; echo token: .$TUNNEL_TOKEN; sleep 1000 & echo child: $!; "
               f"{PYTHON} {HERE}/peer/origin.py --port $PORT >/dev/null; exit 0")
    c = run_client(r, d, port, command)
    pid, child = int(report_line(c, "pid")), int(report_line(c, "child"))
    r.equal("PORT is set", report_line(c, "port"), str(port))
    r.equal("the token is not the command's business", report_line(c, "token"), ".")
    r.equal("what it runs is tunneled once the port is there", Curl(d, "/echo").status, 200)
    r.check("it has a process group of its own", os.getpgid(pid) == pid == os.getpgid(child) != os.getpgid(c.p.pid))
    with open(f"/proc/{c.p.pid}/cmdline", "rb") as f:
        r.check("no token in the command line", b"tn_" not in f.read())
    below = children(c.p.pid)
    r.check("there are several processes", len(below) >= 3, below)
    c.stop(what="--run, asked to stop")
    r.until("the command and its children are gone", lambda: not any(alive(p) for p in below + [pid, child]))


@test
def run_ends(r):
    d = r.daemon()
    for what, last, want in (("with 0", "exit 0", 0), ("with 7", "exit 7", 1), ("by a signal", "kill -9 $$", 1)):
        port, flag = free_port(r), f"{r.tmp}/{what.replace(' ', '')}"
        command = (f"sleep 1000 & echo child: $!; {PYTHON} {HERE}/peer/origin.py --port $PORT >/dev/null & "
                   f"until [ -e {flag} ]; do sleep 0.05; done; {last}")
        c = run_client(r, d, port, command)
        below = children(c.p.pid)
        with open(flag, "w", encoding="ascii"):
            pass
        c.ends(f"a command that ends {what}", want)
        r.until(f"{what}: what it left behind is gone", lambda b=below: not any(alive(p) for p in b))
        r.until(f"{what}: the name is free", lambda: not d.status())

    def ended():
        t = time.monotonic()
        run_client(r, d, free_port(r), "exit 3", ready=False).ends("a command that ends before it listens", 1)
        run_client(r, d, free_port(r), "exit 0", ready=False).ends("a command that ends before it listens, with 0", 1)
        return time.monotonic() - t
    r.soon("it is not waited for", 2 * SHORT, ended)
    c = run_client(r, d, free_port(r), "echo pid: $$; exec sleep 1000", ready=False)
    pid = int(report_line(c, "pid"))
    c.stop(what="--run, asked to stop before the port is there")
    r.until("that command is gone", lambda: not alive(pid))


@test
def run_stubborn(r):
    d, port = r.daemon(), free_port(r)
    command = (f"trap '' TERM; echo pid: $$; {PYTHON} -c 'import signal; signal.pause()' & "
               f"{PYTHON} {HERE}/peer/origin.py --port $PORT >/dev/null")
    c = run_client(r, d, port, command)
    below = children(c.p.pid)
    c.stop(what="--run with a command that ignores SIGTERM")
    r.until("it is gone all the same", lambda: not any(alive(p) for p in below))


@test
def run_lost(r):
    d, port = r.daemon(), free_port(r)
    c = run_client(r, d, port, f"exec {PYTHON} {HERE}/peer/origin.py --port $PORT")
    below = children(c.p.pid)
    o = r.origin()
    client(r, d, o.target, "--name", "a")
    c.ends("--run whose tunnel was taken over", 4)
    r.until("its command is gone", lambda: not any(alive(p) for p in below))


# ---- exit statuses -------------------------------------------------------------------

@test
def no_tunneld(r):
    for code in (200, 400, 404, 426):
        s = r.service(serving(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % code))
        c = client(r, f"http://{s.target}", "3000", ready=False)
        c.ends(f"a web server that answers {code}", 1)
        r.has(f"{code}: it says so", "no tunneld", "\n".join(l for l in c.errs if l))
    o = r.origin()
    client(r, f"http://{o.target}", "3000", ready=False).ends("an ordinary web server", 1)


@test
def tokens_refused(r):
    d = r.daemon()
    c = client(r, d, "3000", token=TOKEN, ready=False)
    c.ends("an unknown token", 3)
    r.has("it says so", "token", "\n".join(l for l in c.errs if l))
    old = d.issue("--global")
    mark = d.marks()
    d.tool("token", "revoke", d.token_id)
    d.log("event=tokens_read", start=mark)
    client(r, d, "3000", token=old, ready=False).ends("a revoked token", 3)
    client(r, d, "3000", "--name", "a", token=d.issue("--scope", "b"), ready=False).ends("a name outside the scope", 3)
    token = d.issue("--global", "--expires", "1")
    c = client(r, d, "3000", token=token, ready=False)
    c.ends("a token that expires", 3)


@test
def first_attempts(r):
    port, o = free_port(r), r.origin()
    with_token = r.daemon(name="d")     # for its token store; another daemon takes the port later
    c = client(r, f"http://127.0.0.1:{port}", o.target, "--name", "a", token=with_token.token, ready=False)
    c.says("trying again")
    r.equal("nothing is said to be ready", [l for l in c.lines if l], [])
    with_token.stop()
    with_token.ended = True
    d = r.daemon("--listen", f"127.0.0.1:{port}", scope=None)
    d.token = with_token.token
    c.ready()
    r.equal("it comes once something listens", Curl(d, "/echo").status, 200)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        c = client(r, d, o.target, "--name", "b")
        c.stop(number, f"{number.name}")
        r.equal(f"{number.name}: the name is free at once", Curl(d, "/", host="b.localhost").status, 503)
    nobody = free_port(r)

    def stopped():
        c = client(r, f"http://127.0.0.1:{nobody}", o.target, ready=False)
        c.says("trying again")
        return c.stop(what="stopped between attempts")
    r.soon("at once", SHORT, stopped)


@test
def statuses_of_the_handshake(r):
    for code, want in ((401, 3), (403, 3)):
        f = fake_daemon(r, "--reject", str(code), "--accept-many")
        client(r, f, "3000", ready=False).ends(f"{code} at the handshake", want)
    for code in (429, 503):
        f = fake_daemon(r, "--reject", str(code), "--reject-times", "1", "--stay")
        c = client(r, f, "3000")
        c.stop()
        f.exit()
        r.equal(f"{code} at the handshake: it tries again", len(f.seen(event="handshake")), 2)


@test
def told_by_the_daemon(r):
    for args, want in ((["--error", "forbidden"], 3), (["--error", "name_in_use"], 4), (["--error", "bad_name"], 2),
                       (["--gone", "taken_over"], 4), (["--gone", "revoked"], 3), (["--gone", "expired"], 3),
                       (["--close", "1008"], 3)):
        f = fake_daemon(r, *args)
        c = client(r, f, "3000", ready=False)
        c.ends(" ".join(args), want)
        r.equal(f"{' '.join(args)}: the daemon's view", f.exit(), 0)
        r.equal(f"{' '.join(args)}: one session", len(f.seen(event="handshake")), 1)
    f = fake_daemon(r, "--error", "limit", "--accept-many")
    client(r, f, "3000", ready=False)
    r.until("--error limit: it tries again", lambda: len(f.seen(event="handshake")) >= 2)


# ---- sessions, with the independent daemon -----------------------------------------------

@test
def handshake(r):
    f, o = fake_daemon(r, "--request", "GET /echo", "--request", "GET /bytes?n=100000", "--stay"), r.origin()
    c = client(r, f, o.target, "--name", "a")
    shake = f.event(event="handshake")
    got = {n.lower(): v for n, v in shake["headers"]}
    r.equal("the path names the tunnel", shake["path"], "/_tunnel/a")
    r.equal("Host is the endpoint's", got["host"], f"127.0.0.1:{f.port}")
    r.equal("the token", got["authorization"], f"Bearer {c.secret}")
    hello = f.event(op="hello")
    r.equal("the endpoint in hello", hello["endpoint"], f"ws://127.0.0.1:{f.port}")
    f.event(op="listen", kind="http", name="a")
    f.event(event="response", status=200, end="fin", body_length=100000)
    r.equal("the URL as the daemon says it", c.url, f"http://a.tunnel.example.com:{f.port}")
    f2 = fake_daemon(r, "--stay")
    client(r, f2, o.target)
    r.equal("without a name the path has none", f2.event(event="handshake")["path"], "/_tunnel")
    r.check("nor the listen", "name" not in f2.event(op="listen"))
    c.stop()
    r.equal("a client that stops closes with 1000", f.closed()["code"], 1000)


@test
def back_off(r):
    def attempt():
        """How late the latest came."""
        f = fake_daemon(r, "--reject", "503", "--reject-times", "3", "--stay")
        c = client(r, f, "3000")
        times = [e["at"] for e in f.seen(event="handshake")]
        gaps = [b - a for a, b in zip(times, times[1:])]
        r.check("back-off: 1, 2, 4 s with jitter", len(gaps) == 3 and all(g >= 0.5 * n for g, n in zip(gaps, (1, 2, 4))), gaps)
        c.stop()
        return max(g - 1.25 * n for g, n in zip(gaps, (1, 2, 4)))
    r.soon("and not much later", 2 if SANITIZED else 0.5, attempt, tries=3)


@test
def reconnects(r):
    o = r.origin()
    for args in (["--cut"], ["--close", "1001"], ["--close", "1002"], ["--close", "1011"], ["--go-away", "0"], ["--go-away", "1"]):
        f = fake_daemon(r, *args, "--accept-many", "2", "--request", "GET /echo")
        c = client(r, f, o.target, "--name", "a")
        what = " ".join(args)
        r.equal(f"{what}: both sessions serve, by the rules", f.exit(), 0)
        r.check(f"{what}: it came again", len(f.seen(event="handshake")) >= 2)
        r.equal(f"{what}: of one instance", len({h["instance"] for h in f.seen(op="hello")}), 1)
        r.equal(f"{what}: responses", [x["status"] for x in f.seen(event="response")][:2], [200, 200])
        r.equal(f"{what}: one URL line", len([l for l in c.lines if l]), 1)
        c.stop()


@test
def drain(r):
    o = r.origin()
    f = fake_daemon(r, "--drain", "--request", "GET /slow?ms=700")
    c = client(r, f, o.target, "--name", "a")
    r.equal("drain: a second session before the first ends", f.exit(), 0)
    r.equal("drain: requests on both", [x["status"] for x in f.seen(event="response")], [200, 200])
    r.equal("drain: of one instance", len({h["instance"] for h in f.seen(op="hello")}), 1)
    r.equal("drain: one URL line", len([l for l in c.lines if l]), 1)


@test
def resets(r):
    o = r.origin()
    f = fake_daemon(r, "--request", "GET /hang?part=100000", "--rst-after", "50000", "--stay")
    client(r, f, o.target)
    f.event(event="response", end="reset by us")
    got = direct(o, "/dropped?n=1")
    r.check("a reset during a response closes the local connection", got["ok"] and got["hanging"] == 0, got)
    f = fake_daemon(r, "--request", "GET /hang", "--stay")
    client(r, f, o.target)
    direct(o, "/hung?n=1")
    f.kill(signal.SIGUSR1)
    got = direct(o, "/dropped?n=2")
    r.check("a reset before a response too", got["ok"] and got["hanging"] == 0, got)
    f = fake_daemon(r, "--request", "GET /hang", "--stay")
    client(r, f, o.target)
    direct(o, "/hung?n=1")
    f.kill()
    got = direct(o, "/dropped?n=3")
    r.check("so does the session's end", got["ok"] and got["hanging"] == 0, got)
    paths = ("/die-mid", "/die-mid-chunked", "/die-mid?reset=1&eof=1")
    f = fake_daemon(r, *(word for path in paths for word in ("--request", f"GET {path}")), "--stay")
    client(r, f, o.target)
    for path in paths:
        f.event(event="response", request=f"GET {path} HTTP/1.1", end="reset")
    r.check("a service that dies inside an answer resets the stream", True)
    with open(f"{r.tmp}/upgrade", "wb") as file:
        file.write(b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    f = fake_daemon(r, "--request-file", f"{r.tmp}/upgrade", "--after-101", "hello there", "--stay")
    client(r, f, o.target)
    got = f.event(event="response", status=101)
    r.equal("after a 101 bytes go both ways, and half-closes", (got["end"], got["body_length"]), ("fin", 11))


@test
def pool(r):
    d, o = r.daemon(), r.origin()
    c = client(r, d, o.target, "--name", "a")
    for _ in range(8):
        Curl(d, "/echo")
    got = Curl(d, "/echo").json()
    r.equal("one connection serves what comes in turn", (got["connection"], got["request"]), (1, 9))
    got = [Curl(d, "/die-before?reused=1") for _ in range(2)]      # each first meets a used connection
    r.equal("a kept connection that was dead: retried", [g.status for g in got], [200, 200])
    r.equal("on a fresh one", [g.json().get("request") for g in got], [1, 1])
    r.equal("one each", direct(o, "/conns")["accepted"], 4)
    for _ in range(8):      # which takes no connection that has been idle for a second
        start = time.monotonic()
        Curl(d, "/echo")
        got = Curl(d, "/die-before?reused=1", "-X", "POST")
        if time.monotonic() - start < 1:
            break
    r.equal("a POST is not", got.status, 502)
    Curl(d, "/echo")
    got = Curl(d, "/die-before?reused=1", "-X", "PUT", "--data", "x")
    r.equal("nor what had content", got.status, 502)
    r.equal("and it says why", got.get("X-Tunnel-Error"), "protocol")
    before = direct(o, "/conns")["requests"]
    Curl(d, "/echo")
    r.equal("retried once only", Curl(d, "/die-before").status, 502)
    after = direct(o, "/conns")["requests"]
    r.equal("the service saw it twice", after - before, 1 + 2 + 1)
    Curl(d, "/http10")
    r.equal("a connection that ends is not kept", Curl(d, "/echo").json().get("request"), 1)
    c.stop()
    r.equal("a client that stops closes them", direct(o, "/conns?open=1")["open"], 1)


@test
def local_errors(r):
    d, o = r.daemon(), r.origin()
    client(r, d, f"127.0.0.1:{free_port(r)}", "--name", "refused")
    client(r, d, "no-such-host.invalid:80", "--name", "resolve")
    client(r, d, o.target, "--name", "a")
    client(r, d, f"unix:{r.tmp}/none", "--name", "unix")
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    more = []
    for _ in range(4):      # its queue is full: further attempts go unanswered
        k = socket.socket()
        k.setblocking(False)
        k.connect_ex(full.getsockname())
        more.append(k)
    client(r, d, f"127.0.0.1:{full.getsockname()[1]}", "--name", "timeout")
    for what, host, path, code in (("refused", "refused", "/", 502), ("refused", "unix", "/", 502),
                                   ("resolve", "resolve", "/", 502), ("protocol", "a", "/nonsense", 502),
                                   ("protocol", "a", "/die-before", 502), ("protocol", "a", "/die-mid-head", 502),
                                   ("timeout", "timeout", "/", 504)):
        c = Curl(d, path, host=f"{host}.localhost")
        r.equal(f"{host} {path}: X-Tunnel-Error", (c.status, c.get("X-Tunnel-Error")), (code, what))
        r.check(f"{host} {path}: one line of text", c.body.count(b"\n") == 1, c)
    c = Curl(d, "/", "-I", host="refused.localhost")
    r.equal("HEAD: no content", (c.status, c.exit, c.body), (502, 0, b""))
    for k in (*more, full):
        k.close()


@test
def windows(r):
    o = r.origin()
    for args, n in ((["--window", "100000"], 1000000), (["--window", "1"], 300000), (["--slow-window"], 600000),
                    (["--tiny-frames"], 5000)):
        f = fake_daemon(r, *args, "--request", f"GET /bytes?n={n}", "--stay")
        c = client(r, f, o.target)
        f.event(event="response", status=200, end="fin", body_length=n)
        c.stop()
        r.equal(f"{' '.join(args)}: kept to", f.exit(), 0)
        if "--window" in args:
            r.equal(f"{' '.join(args)}: it was used up", len(f.seen(event="window_full")), 1)
    f = fake_daemon(r, "--request", "POST /upload", "--body-size", str(8 << 20), "--streams", "3", "--stay", "--timeout", "300")
    client(r, f, o.target)
    r.until("uploads past the first window", lambda: len(f.seen(event="response", status=200, end="fin")) == 3, 300)
    f = fake_daemon(r, "--request", "GET /bytes?n=300000&chunked", "--streams", "200", "--stay", "--timeout", "300")
    client(r, f, o.target)
    r.until("200 streams at once", lambda: len(f.seen(event="response", status=200, end="fin", body_length=300000)) == 200, 300)


@test
def broken_rules(r):
    s = r.service(lambda conn, head: (time.sleep(0), conn.until(b"never")))      # reads and never answers
    for args, code in ((["--data-beyond-window"], 1002), (["--bad-type"], 1002), (["--bad-version"], 1002),
                       (["--syn-live"], 1002), (["--text-message"], 1003), (["--oversize"], 1009)):
        target = s.target
        f = fake_daemon(r, *args)
        c = client(r, f, target)
        what = " ".join(args)
        r.equal(f"{what}: close code", f.closed()["code"], code)
        c.says("trying again")
        r.check(f"{what}: the client goes on", c.alive())
        c.stop()
    o = r.origin()
    for args in (["--unknown-op"], ["--syn-own"], ["--data-unknown-stream"]):
        f = fake_daemon(r, *args, "--request", "GET /echo", "--stay")
        c = client(r, f, o.target)
        what = " ".join(args)
        f.event(event="response", status=200, end="fin")
        if "--unknown-op" in args:
            f.event(op="error", code="unknown_op")
        c.stop()
        r.equal(f"{what}: the session outlives it", f.closed()["code"], 1000)
    for args in (["--preface-bad"], ["--preface-long"], ["--preface-unknown-id"]):
        f = fake_daemon(r, *args, "--stay")
        c = client(r, f, o.target)
        r.equal(f"{' '.join(args)}: the stream is reset", f.event(event="response")["end"], "reset")
        c.stop()
        r.equal(f"{' '.join(args)}: the session outlives it", f.closed()["code"], 1000)


@test
def stopped_daemon(r):
    o = r.origin()
    f = fake_daemon(r, "--ping", "1", "--stay", "--accept-many")
    c = client(r, f, o.target, "--name", "a")
    p = fake_daemon(r, "--ping", "1", "--stay")        # an idle one that answers is left alone
    quiet = client(r, p, o.target, "--name", "a")
    times = []

    def stopped():
        mark = c.marks()
        start = time.monotonic()
        f.kill(signal.SIGSTOP)
        c.says("trying again", start=mark)
        times.append(time.monotonic() - start)
        f.kill(signal.SIGCONT)
        c.says("is back", start=mark)
        r.until("it returns", lambda: len(f.seen(op="hello")) == 1 + len(times))
        return times[-1]
    r.soon("a daemon that is stopped is noticed by its silence", 3 + SHORT, stopped, tries=3)
    r.check("not before a ping is due", max(times) >= 0.5, times)
    r.equal("one that answers pings is kept", (len(p.seen(event="handshake")), quiet.alive()), (1, True))
    r.equal("and finds no violation", p.seen(event="violation"), [])


@test
def hostile_text(r):
    """Text from the network cannot play with the terminal."""
    s = r.service(serving(OK))
    f = fake_daemon(r, "--error", "name_in_use", "--message", "\x1b[31mred\x07 \x9b1m\r")
    c = client(r, f, s.target, ready=False)
    c.ends("name_in_use", 4)
    r.check("what the daemon says is shown", any("[31mred" in l for l in c.errs if l), c.errs)
    r.check("as printable text", all(0x20 <= ord(ch) < 0x7f for l in c.errs if l for ch in l), c.errs)
    with open(f"{r.tmp}/req", "wb") as file:
        file.write(b"GET /%1b[31m\\x?q=\"<> HTTP/1.1\r\nHost: a\r\n\r\n")
    f = fake_daemon(r, "--request-file", f"{r.tmp}/req", "--stay")
    c = client(r, f, s.target)
    f.event(event="response")
    c.says("GET ")
    r.check("nothing but printable text is shown", all(0x20 <= ord(ch) < 0x7f for l in c.errs if l for ch in l), c.errs)


@test
def whole_life(r):
    """The client keeps no descriptors of many exchanges but the pool's."""
    d, o = r.daemon(), r.origin()
    c = client(r, d, o.target, "--name", "a")
    Curl(d, "/echo")
    base = f"/proc/{c.p.pid}"

    def counted():
        return len(os.listdir(f"{base}/fd"))
    before = counted()
    callers = [r.caller(d, "GET /slow?ms=200 HTTP/1.1\r\nHost: a.localhost\r\n\r\n") for _ in range(60)]
    r.equal("60 at once", [k.response().status for k in callers], [200] * 60)
    hang = [r.caller(d, "GET /hang HTTP/1.1\r\nHost: a.localhost\r\n\r\n") for _ in range(60)]
    direct(o, "/hung?n=60")
    for k in hang:
        k.reset()
    direct(o, "/dropped?n=60")
    r.until("descriptors come back to what is kept", lambda: counted() <= before + 3 * 64)
    r.equal("it still serves", Curl(d, "/echo").status, 200)
    r.check("status tells of it", json.loads(d.tool("status", "--json").stdout)[0]["requests"] >= 122)


@test
def no_tight_loop(r):
    """A daemon that sends everybody away at once is not asked in a loop."""
    def away(code):
        def handle(conn, head):
            key = re.search(r"(?i)^Sec-WebSocket-Key: (\S+)", head, re.M).group(1)
            accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
            conn.send(f"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
                      "Sec-WebSocket-Protocol: tunnel.v1\r\n\r\n")
            conn.send(b"\x82\x0c\x00\x03" + bytes(9) + bytes([code]) + b"\x88\x02\x03\xea")
            conn.half_close()
            conn.over()
        return handle
    counts = []
    for code in (0, 1):
        s = r.service(away(code))
        counts.append((f"go away {code} before hello", lambda s=s: len(s.heads), time.monotonic()))
        client(r, f"http://{s.target}", "3000", ready=False)
        f = fake_daemon(r, "--go-away", str(code), "--close", "1002", "--accept-many")
        counts.append((f"go away {code} once ready", lambda f=f: len(f.seen(event="handshake")), time.monotonic()))
        client(r, f, "3000")
    time.sleep(2.5)     # nothing tells of what does not happen
    for what, count, start in counts:
        n, took = count(), time.monotonic() - start
        # at once, twice; then after 1, 2, 4 seconds and more, or half of that
        most = 2 + sum(took >= 0.5 * (2 ** i - 1) for i in range(1, 10))
        r.check(f"{what}: connections", 1 <= n <= most, (n, took))


@test
def stopped_in_the_handshake(r):
    s = r.service(lambda conn, _: conn.over())

    def stopped():
        n = len(s.heads)
        c = client(r, f"http://{s.target}", "3000", ready=False)
        s.wait(lambda: len(s.heads) > n, "the handshake")
        return c.stop(what="stopped while the handshake is not answered")
    r.soon("at once", 2 * SHORT, stopped)


@test
def kept_connections_end(r):
    d, o = r.daemon(), r.origin("--wait", "8")
    c = client(r, d, o.target, "--name", "a")

    def closed():
        Curl(d, "/echo")
        r.equal("one is kept", direct(o, "/conns?open=2")["open"], 2)
        t = time.monotonic()
        r.equal("an idle one is closed", direct(o, "/conns?open=1")["open"], 1)
        return time.monotonic() - t
    r.soon("within some seconds", 6 + SHORT, closed, tries=3)
    r.equal("the next request has a new one", Curl(d, "/echo").json().get("request"), 1)
    c.stop()


@test
def broken_first_chunk(r):
    """Nothing of the answer has gone out yet when it is found."""
    d = r.daemon()
    s = r.service(serving(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n"))
    client(r, d, s.target, "--name", "a")
    got = Curl(d)
    r.equal("a head and a broken chunk in one segment", (got.status, got.get("X-Tunnel-Error")), (502, "protocol"))


# ---- through an HTTP proxy -------------------------------------------------------------------

USER, PASSWORD = "me@corp", "open:sesame %/£"
LOGIN = "me%40corp:open:sesame%20%25%2F%C2%A3"


def with_login(p, login=LOGIN):
    return f"http://{login}@127.0.0.1:{p.port}"


def hidden(r, what, text):
    """No spelling of a password of ours is in it."""
    whole = f"{USER}:{PASSWORD}".encode()
    r.check(f"{what}: no credentials are shown", not any(w in text for w in (
        "sesame", "me@corp", "me%40", base64.b64encode(whole).decode(), "wrong", base64.b64encode(b"me:wrong").decode())), text)


def said(c):
    return "\n".join(l for l in c.lines + c.errs if l)


def connects(p, least=0):
    """How often it was asked; its lines may come a little later than what they tell of."""
    end = time.monotonic() + WAIT
    while len(p.seen(event="connect")) < least and time.monotonic() < end:
        time.sleep(0.02)
    return len(p.seen(event="connect"))


@test
def proxied(r):
    """All ways to name a proxy, and all that a client does goes through it."""
    d, o = r.daemon(), r.origin()
    p = connect_proxy(r, "--credentials", f"{USER}:{PASSWORD}", "--script", "relay,old,interim,length,relay")
    url = with_login(p)
    away = {"NO_PROXY": "127.0.0.2,10.0.0.0/8,localhost,127.0.0.1:1"}
    for i, (what, args, env) in enumerate((
            ("--proxy", ["--proxy", url], {}), ("TUNNEL_PROXY", [], {"TUNNEL_PROXY": url}),
            ("ALL_PROXY", [], {"ALL_PROXY": url, **away}), ("all_proxy", [], {"all_proxy": url[7:] + "/", "ALL_PROXY": "http://127.0.0.1:1"}),
            ("--proxy before all else", ["--proxy", url], {
                "TUNNEL_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"}))):
        c = client(r, d, o.target, "--name", f"n{i}", *args, env=env)
        r.equal(f"{what}: it serves", Curl(d, "/echo", host=f"n{i}.localhost").status, 200)
        r.equal(f"{what}: one CONNECT", connects(p, i + 1), i + 1)
        hidden(r, what, said(c))
    got = Curl(d, "/bytes?n=3000000", host="n0.localhost")
    r.equal("3 MB down", (got.status, len(got.body)), (200, 3000000))
    got = Curl(d, "/echo", "--data-binary", "@-", host="n1.localhost", stdin=b"x" * 3000000)
    r.equal("3 MB up", (got.status, got.sent), (200, 3000000))
    for shown in p.seen(event="connect"):
        r.equal("the target is the endpoint", shown["target"], f"127.0.0.1:{d.port}")
        r.equal("the credentials, decoded", shown["credentials"], f"{USER}:{PASSWORD}")
        r.equal("the fields", [n for n, _ in shown["fields"]], ["Host", "Proxy-Authorization", "User-Agent"])
        r.has("User-Agent", r"^tunnel/\d", shown["fields"][2][1])
    plain = connect_proxy(r)
    client(r, d, o.target, "--name", "many", "--connections", "3", "--proxy", f"127.0.0.1:{plain.port}")
    r.until("each session goes through it", lambda: connects(plain) == 3 and d.status()[0] is not None)
    r.equal("no credentials, no field", [s["credentials"] for s in plain.seen(event="connect")], [None] * 3)


@test
def proxy_resolves(r):
    """The endpoint's name is the proxy's to look up, and only the proxy's."""
    f = fake_daemon(r, "--stay", "--accept-many")
    for i, (endpoint, target) in enumerate((("http://daemon.invalid:81", "daemon.invalid:81"),
                                            ("ws://daemon.invalid", "daemon.invalid:80"), ("http://[::1]:81", "[::1]:81"))):
        p = connect_proxy(r, "--to", str(f.port))
        c = client(r, endpoint, "3000", "--proxy", p.url)
        r.equal(f"{endpoint}: the target", p.event(event="connect")["target"], target)
        r.until("the daemon's side has told of it", lambda n=i: len(f.seen(event="handshake")) > n)
        got = {n.lower(): v for n, v in f.seen(event="handshake")[i]["headers"]}
        r.equal(f"{endpoint}: Host behind it", got["host"], endpoint.partition("//")[2])
        r.check(f"{endpoint}: the proxy's credentials are not the daemon's", "proxy-authorization" not in got)
        c.stop()


@test
def proxy_not_for_this(r):
    d, o = r.daemon(), r.origin()
    p = connect_proxy(r)
    bad = "socks5://127.0.0.1:1"
    for i, (what, args, env) in enumerate((
            ("HTTPS_PROXY is not for ws", [], {"HTTPS_PROXY": p.url, "https_proxy": p.url}),
            ("HTTP_PROXY is nobody's", [], {"HTTP_PROXY": p.url, "http_proxy": p.url}),
            ("--proxy none", ["--proxy", "none"], {"ALL_PROXY": p.url, "TUNNEL_PROXY": p.url}),
            ("TUNNEL_PROXY=none", [], {"ALL_PROXY": p.url, "TUNNEL_PROXY": "none"}),
            ("NO_PROXY", [], {"ALL_PROXY": p.url, "NO_PROXY": "example.com, 127.0.0.1"}),
            ("no_proxy", [], {"ALL_PROXY": p.url, "no_proxy": "127.0.0.0/8", "NO_PROXY": "x"}),
            ("NO_PROXY with the port", [], {"all_proxy": p.url, "NO_PROXY": f"127.0.0.1:{d.port}"}),
            ("NO_PROXY=*", [], {"all_proxy": bad, "NO_PROXY": "*"}),
            ("empty ones", [], {"all_proxy": "", "ALL_PROXY": "", "TUNNEL_PROXY": "", "NO_PROXY": ""}))):
        client(r, d, o.target, "--name", f"n{i}", *args, env=env)
        r.equal(f"{what}: it serves", Curl(d, "/echo", host=f"n{i}.localhost").status, 200)
    r.equal("nobody has asked the proxy", connects(p), 0)


@test
def proxy_for_tls(r):
    """HTTPS_PROXY, and after it ALL_PROXY, for wss and https; before any TLS."""
    if no_tls(r):
        return
    for endpoint, target in (("wss://daemon.invalid:444", "daemon.invalid:444"), ("https://daemon.invalid", "daemon.invalid:443")):
        p, q = connect_proxy(r, "--script", "403"), connect_proxy(r, "--script", "403")
        c = client(r, endpoint, "3000", env={"HTTPS_PROXY": p.url, "ALL_PROXY": q.url, "HTTP_PROXY": q.url}, ready=False)
        c.ends(f"{endpoint}: HTTPS_PROXY, which refuses", 1)
        r.equal(f"{endpoint}: the target", p.event(event="connect")["target"], target)
        c = client(r, endpoint, "3000", env={"https_proxy": p.url, "HTTPS_PROXY": q.url}, ready=False)
        c.ends(f"{endpoint}: https_proxy is stronger", 1)
        r.equal(f"{endpoint}: nobody asked the other", (connects(p, 2), connects(q)), (2, 0))
        c = client(r, endpoint, "3000", env={"ALL_PROXY": q.url}, ready=False)
        c.ends(f"{endpoint}: ALL_PROXY", 1)
        r.equal(f"{endpoint}: it was asked", connects(q, 1), 1)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-keyout", f"{r.tmp}/key", "-out", f"{r.tmp}/cert"], check=True, capture_output=True, timeout=20)
    der = subprocess.run(["openssl", "pkey", "-in", f"{r.tmp}/key", "-pubout", "-outform", "DER"], check=True, capture_output=True,
                         timeout=20).stdout
    pin = "sha256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()
    d, o = r.daemon("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0,tls", "--cert", f"{r.tmp}/cert", "--key", f"{r.tmp}/key"), r.origin()
    port = r.until("the port with TLS", lambda: [n for n in (int(re.search(r":(\d+)", l.partition("addr=")[2]).group(1))
                                                            for l in d.errs if l and "event=listening" in l) if n != d.port])[0]
    p = connect_proxy(r, "--credentials", f"{USER}:{PASSWORD}")
    c = client(r, f"wss://localhost:{port}", o.target, "--name", "a", "--pin", pin, token=d.token, env={"HTTPS_PROXY": with_login(p)})
    r.equal("TLS through the proxy: it serves", Curl(d, "/echo").status, 200)
    connects(p, 1)
    r.equal("TLS through the proxy: the target", [s["target"] for s in p.seen(event="connect")], [f"localhost:{port}"])
    p.kill(signal.SIGUSR1)
    c.says("is back")
    r.equal("TLS through the proxy, and again", (connects(p, 2), Curl(d, "/echo").status), (2, 200))
    hidden(r, "TLS", said(c))


@test
def proxy_words(r):
    env = {"TUNNEL_ENDPOINT": "http://127.0.0.1:1", "TUNNEL_TOKEN": TOKEN}
    for url, word in (("socks5://me:open-sesame@127.0.0.1:1080", "only http:// proxies"), ("https://me:sesame@127.0.0.1:1", "only http:// proxies"),
                      ("http://me:ses/ame@127.0.0.1:1", "HOST[:PORT]"), ("http://me:sesame@", "HOST[:PORT]"),
                      ("http://me:sesame%0d%0aX:%20y@127.0.0.1:1", "control"), ("http://me:sesame%0@127.0.0.1:1", "hexadecimal"),
                      ("http://127.0.0.1:1/sesame", "HOST[:PORT]"), ("http://me:sesame" + "x" * 2000 + "@127.0.0.1:1", "too long"),
                      ("http://me:sesame" + "x" * 9000 + "@127.0.0.1:1", "too long")):
        for what, args, more in (("--proxy", ["--proxy", url], {}), ("TUNNEL_PROXY", [], {"TUNNEL_PROXY": url}),
                                 ("ALL_PROXY", [], {"ALL_PROXY": url})):
            err = usage(r, f"{what} {url[:40]}", "connect", "3000", *args, env={**env, **more}, word=word)
            r.check(f"{what} {url[:40]}: the password is not in it", "ame" not in err.replace("name", ""), err)


@test
def proxy_refuses(r):
    """What makes no sense to repeat ends the client: 1, and a line that says what to do."""
    for word, pattern in (("403", r"^tunnel: the proxy P refuses to connect to daemon\.invalid:80 \(403\)"),
                          ("400", r"^tunnel: the proxy P answered 400 Bad Request to CONNECT daemon\.invalid:80$"),
                          ("401", r"the proxy P answered 401 "), ("404", r"the proxy P answered 404 "), ("405", r"the proxy P answered 405 "),
                          ("302", r"the proxy P answered 302 "), ("501", r"the proxy P answered 501 "),
                          ("407", r"the proxy P wants another user name and password \(407\): http://USER:PASSWORD@HOST in HTTPS_PROXY or --proxy$"),
                          ("negotiate", r"the proxy P wants credentials of a kind .*Basic only$"),
                          ("garbage", r"^tunnel: P is no HTTP proxy: "), ("extra", r"P is no HTTP proxy: more than an answer"),
                          ("huge", r"P is no HTTP proxy: its answer is too long")):
        p = connect_proxy(r, "--script", word)
        c = client(r, "http://daemon.invalid", "3000", env={"TUNNEL_PROXY": with_login(p)}, ready=False)
        c.ends(f"a proxy that answers {word}", 1)
        r.has(f"{word}: it says so", pattern.replace("P", f"127.0.0.1:{p.port}", 1), c.errs[0])
        r.equal(f"{word}: in one line", len([l for l in c.lines + c.errs if l]), 1)
        r.equal(f"{word}: asked once", connects(p, 1), 1)
        hidden(r, word, said(c))


@test
def proxy_credentials(r):
    p = connect_proxy(r, "--credentials", f"{USER}:{PASSWORD}")
    for what, login, pattern in (("wrong", "me:wrong@", "wants another user name and password"), ("none", "", "wants a user name and password")):
        c = client(r, "http://daemon.invalid", "3000", env={"ALL_PROXY": f"http://{login}127.0.0.1:{p.port}"}, ready=False)
        c.ends(f"{what} credentials", 1)
        r.has(f"{what} credentials: it says so", rf"the proxy 127\.0\.0\.1:{p.port} {pattern} \(407\): .* HTTPS_PROXY", said(c))
        hidden(r, what, said(c))
    connects(p, 2)
    r.equal("what came", [s["credentials"] for s in p.seen(event="connect")], ["me:wrong", None])
    o = r.origin()
    c = client(r, fake_daemon(r, "--stay"), o.target, "--run", "echo proxy: .$TUNNEL_PROXY.$ALL_PROXY; exec sleep 1000",
               env={"TUNNEL_PROXY": with_login(p), "ALL_PROXY": "theirs"})
    r.equal("--run: what is meant for us is not the command's business", report_line(c, "proxy"), "..theirs")


@test
def proxy_tries_again(r):
    for word in ("502", "503", "504", "429", "close", "cut"):
        f = fake_daemon(r, "--stay")
        p = connect_proxy(r, "--script", f"{word},relay")
        c = client(r, f, "3000", "--proxy", with_login(p))
        r.has(f"{word}: it says why, and that it tries again", rf"^tunnel: the proxy 127\.0\.0\.1:{p.port}(: it closed the connection"
              rf"| answered {word} [A-Za-z ]+ to CONNECT 127\.0\.0\.1:{f.port}); trying again in", c.errs[0])
        r.equal(f"{word}: and does, through the proxy", connects(p, 2), 2)
        hidden(r, word, said(c))
        c.stop()
    p = connect_proxy(r)
    c = client(r, f"http://127.0.0.1:{free_port(r)}", "3000", "--proxy", p.url, ready=False)
    c.says("answered 502 .*trying again")
    c.stop(what="a daemon that is not there yet")
    for proxy, pattern in ((f"me:sesame@127.0.0.1:{free_port(r)}", r"cannot reach the proxy 127\.0\.0\.1:\d+: .*; trying again"),
                           ("me:sesame@[::1]:1", r"cannot reach the proxy \[::1\]:1: .*; trying again"),
                           ("me:sesame@proxy.invalid:1", "cannot reach the proxy proxy.invalid:1: host name not found; trying again")):
        c = client(r, "http://127.0.0.1:1", "3000", "--proxy", proxy, ready=False)
        c.says(pattern)
        c.stop(what="a proxy that is not there")
        hidden(r, pattern, said(c))


@test
def proxy_is_silent(r):
    """The whole answer has 10 seconds, however it comes."""
    clients = []
    for word in ("silent", "drip"):
        p = connect_proxy(r, "--script", word)
        clients.append((word, p, client(r, "http://daemon.invalid", "3000", "--proxy", with_login(p), ready=False)))
    for word, p, c in clients:
        c.says(rf"the proxy 127\.0\.0\.1:{p.port}: no answer in time; trying again")
        t = p.event(event="left")["at"] - p.event(event="connect")["at"]
        r.check(f"{word}: after its deadline", 9.5 < t < 25, t)
        hidden(r, word, said(c))

    def stopped():
        p = connect_proxy(r, "--script", "silent")
        c = client(r, "http://daemon.invalid", "3000", "--proxy", p.url, ready=False)
        p.event(event="connect")
        return c.stop(what="stopped while the proxy is silent")
    r.soon("at once", SHORT, stopped)


@test
def proxy_reconnects(r):
    d, o = r.daemon(), r.origin()
    p = connect_proxy(r, "--credentials", f"{USER}:{PASSWORD}", "--script", "relay,relay,407,garbage,relay")
    c = client(r, d, o.target, "--name", "a", env={"ALL_PROXY": with_login(p)})
    p.kill(signal.SIGUSR1)
    c.says("is back")
    r.equal("after a cut: through the proxy again", connects(p, 2), 2)
    r.equal("it serves", Curl(d, "/echo").status, 200)
    mark = c.marks()
    p.kill(signal.SIGUSR1)
    c.says(r"wants another user name and password \(407\).*trying again", start=mark)
    c.says("is no HTTP proxy.*trying again", start=mark)
    c.says("is back", start=mark)
    r.equal("what it refuses after it once worked is tried again", connects(p, 5), 5)
    r.equal("it serves again", Curl(d, "/echo").status, 200)
    r.equal("with the credentials each time", {s["credentials"] for s in p.seen(event="connect")}, {f"{USER}:{PASSWORD}"})
    r.equal("one URL line", len([l for l in c.lines if l]), 1)
    hidden(r, "reconnecting", said(c))
    c.stop()


# ---- connections that are kept, each with its thread ------------------------------------

def echo(c, method="GET", body=""):
    """One request to /echo of the origin: which connection it came by, and its how-manieth it was there."""
    c.send(f"{method} /echo HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    obj = c.response(method).json()
    return obj.get("connection"), obj.get("request")


@test
def kept_and_closed_by_the_service(r):
    """Nobody notices that a kept connection was ended."""
    d = r.daemon()
    for how in ("half_close", "reset"):
        ends = []

        def once(conn, _, how=how, ends=ends):
            conn.send(OK)
            getattr(conn, how)()
            ends.append(conn.over() if how == "half_close" else "")
        s = r.service(once)
        c = client(r, d, s.target, "--name", "a")
        k = r.caller(d)
        for i, method in enumerate(("GET", "POST", "GET", "PUT")):
            k.send(f"{method} / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 2\r\n\r\nxx")
            r.equal(f"{how}: {method} {i}", k.response().status, 200)
            r.until(f"{how}: its connection is over, {i}", lambda i=i, e=ends: len(e) > i)
            if how == "reset":
                parked(c)
        r.equal(f"{how}: one connection each", len(s.heads), 4)
        # the next request meets the end on its way
        for i in range(40):
            k.send("GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            r.equal(f"{how}: at once, {i}", k.response().status, 200)
        r.equal(f"{how}: no request came twice", len(s.heads), 44)
        c.says(r"/ 200 ", start=43)
        r.equal(f"{how}: no error is shown", [l for l in c.errs if l and not re.search(r" / 200 ", l)], [])
        c.stop()


@test
def kept_and_dead(r):
    """The service takes the request, and ends the connection in place of an answer."""
    d, o = r.daemon(), r.origin()
    c = client(r, d, o.target, "--name", "a")

    def asked(path="/die-before?reused=1", **more):
        """On a connection that has not been idle for a second: what must not be repeated takes no other."""
        for _ in range(8):
            start = time.monotonic()
            Curl(d, "/echo")
            parked(c)
            got = r.get(d, path=path, **more)
            if time.monotonic() - start < 1:
                break
        return got.status
    for reset in ("", "&reset=1"):
        for method, want in (("GET", 200), ("HEAD", 200), ("PUT", 200), ("DELETE", 200), ("OPTIONS", 200), ("POST", 502), ("PATCH", 502)):
            r.equal(f"{method}{reset}", asked(f"/die-before?reused=1{reset}", method=method), want)
    r.equal("content that has gone, though it was empty",
            asked(method="PUT", fields="Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n"), 502)


@test
def kept_too_long(r):
    """What must not be repeated goes to no connection that has been idle for a second."""
    d = r.daemon()

    def attempt():
        """How long it was from a request to the POST behind it, which is to come within a second; and what was wrong."""
        o, wrong, waits = r.origin(), [], []
        c = client(r, d, o.target, "--name", "a")
        k, before = r.caller(d), 0
        for what, pause, method, want in (
                ("the first", 0, "POST", (1, 1)), ("at once", 0, "POST", (1, 2)), ("after a second, a PUT", 1.1, "PUT", (1, 3)),
                ("and a POST behind it", 0, "POST", (1, 4)), ("after a second, a POST", 1.1, "POST", (2, 1)),
                ("then that connection is kept", 0, "GET", (2, 2))):
            time.sleep(pause)
            start = time.monotonic()
            if (got := echo(k, method, "x" if method != "GET" else "")) != want:
                wrong.append((what, got, want))
            if before and not pause:
                waits.append(time.monotonic() - before)
            before = start
            parked(c)
        if direct(o, "/conns?open=2")["open"] != 2:
            wrong.append("the old one is not closed")
        c.stop()
        return max(waits), wrong
    for _ in range(8):
        took, wrong = attempt()
        if took < 1:
            break
    r.equal("all go where they should", wrong, [])


@test
def kept_at_most(r):
    """300 at once; 256 connections stay."""
    d = r.daemon("--slots", "1000")

    def attempt():
        go = threading.Event()

        def handle(conn, _):
            go.wait(20)
            try:
                while True:
                    conn.send(OK)
                    conn.until(b"\r\n\r\n")
            finally:
                s.note("")
        s = r.service(handle)
        c = client(r, d, s.target, "--name", "a", "--quiet")
        ks = [r.caller(d, "GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n") for _ in range(300)]
        s.wait(lambda: len(s.heads) == 300, "300 requests")
        start = time.monotonic()
        go.set()
        r.equal("all are answered", [k.response().status for k in ks].count(200), 300)
        s.wait(lambda: len(s.ends) >= 44, "the surplus closed")
        for k in ks[:30]:
            k.send("GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
        r.equal("30 more", [k.response().status for k in ks[:30]].count(200), 30)
        kept, took = (len(s.heads), len(s.ends)), time.monotonic() - start
        if took < 3.5:
            r.equal("256 were kept, and used again", kept, (300, 44))
        for k in ks:
            k.close()
        c.stop()
        return took
    r.soon("before any has been idle for long", 3.5, attempt, tries=4)


@test
def kept_and_busy(r):
    """Content of any size goes over a connection that has served before, as fast as it is read, and comes whole."""
    d, sums = r.daemon(), []
    big = os.urandom(5000000)

    def handle(conn, head):     # pylint: disable=inconsistent-return-statements
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        while True:
            n, digest = int((re.search(r"(?i)^Content-Length: (\d+)", head, re.M) or [0, 0])[1]), hashlib.sha256()
            if "/early" in head:
                conn.send(OK)
            while n:
                data = conn.exactly(min(n, 100000))
                if not data:
                    return s.note("cut")
                digest.update(data)
                n -= len(data)
                if "slowly" in head:
                    time.sleep(0.01)
            sums.append(digest.digest())
            if "/early" not in head:
                conn.send(OK)
            s.note("")
            head = conn.until(b"\r\n\r\n").decode("latin-1")
    s = r.service(handle)
    c = client(r, d, s.target, "--name", "a")
    k = r.caller(d)
    k.send("GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
    r.equal("the first", k.response().status, 200)
    for path in ("/slowly", "/", "/slowly"):
        parked(c)
        k.send(f"PUT {path} HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: {len(big)}\r\n\r\n".encode() + big)
        r.equal(f"{path}: 5 MB", k.response().status, 200)
    # an answer that comes before the content does, by a service that reads on
    parked(c)
    k.send(f"PUT /early-slowly HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: {len(big)}\r\n\r\n".encode() + big[:1000])
    res = k.response()
    r.equal("an early answer", (res.status, res.get("Connection")), (200, "close"))
    k.send(big[1000:])
    s.wait(lambda: len(s.ends) == 5, "all of it")
    r.equal("early: the connection ends", k.over(), "fin")
    r.equal("all of them byte for byte", [x == hashlib.sha256(big).digest() for x in sums], [False] + [True] * 4)
    parked(c)
    r.equal("and the next", r.get(d).status, 200)
    r.equal("over one connection", len(s.heads), 1)


START, END = b"GET / HTTP/1.1\r\nHo", b"st: a\r\n\r\n"
GOOD = (b"HTTP/1.1 200 OK", b"ok\n")


def by_hand(r, s):
    """A client of the service s, and its daemon, which is the test."""
    f = r.keep(FrameDaemon())
    c = client(r, f, s.target, "--name", "a", ready=False)
    f.ready()
    c.ready()
    return f, c


def half(f, c, start=START):
    """Half a head, which a kept connection has been taken for."""
    parked(c)
    stream = f.open(start)
    f.session.ping()
    return stream


def rest(f, stream, *pieces):
    for piece in pieces:
        f.session.send((DATA, 0, stream, piece))
        f.session.ping()
    head, content = f.response(stream)
    return head.split(b"\r\n")[0], content


@test
def kept_and_half_a_head(r):
    """A request comes in pieces to a kept connection, or not to its end."""
    def handle(conn, head):
        while True:
            if head.startswith("PUT"):
                s.note(conn.exactly(11))
            conn.send(OK)
            head = conn.until(b"\r\n\r\n").decode("latin-1")
    s = r.service(handle)
    f, c = by_hand(r, s)
    r.equal("the first", rest(f, f.open(START + END)), GOOD)
    r.equal("in two pieces", rest(f, half(f, c), END), GOOD)
    r.equal("byte by byte", rest(f, half(f, c), *(END[i:i + 1] for i in range(len(END)))), GOOD)
    parked(c)
    r.equal("cut inside the preface", rest(f, f.open(b"", cut=9), START, END), GOOD)
    f.session.send((WINDOW, RST, half(f, c), 0))
    r.equal("after one that was reset", rest(f, half(f, c), END), GOOD)
    stream = half(f, c)
    f.session.send((WINDOW, FIN, stream, 0))
    f.session.flagged(stream, RST, "RST for half a request")
    r.equal("after one that ended", rest(f, half(f, c), END), GOOD)
    stream = half(f, c)
    f.session.send((DATA, 0, stream, b"broken\r\n\r\n"))
    f.session.flagged(stream, RST, "RST for what is no request")
    r.equal("after one that was none", rest(f, half(f, c), END), GOOD)
    for cut in (36, 40, 60):
        parked(c)
        put = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world"
        r.equal(f"with content, cut at {cut}", rest(f, f.open(put[:cut]), put[cut:]), GOOD)
    r.equal("the content", s.ends, [b"hello world"] * 3)
    r.equal("one connection for all of them", len(s.heads), 1)
    used = cpu(c)
    time.sleep(0.2)             # nothing tells of what does not happen
    used = cpu(c) - used
    r.check("no spinning", used < 0.1, used)
    half(f, c)
    f.session.close()
    c.says("trying again")
    f.ready()
    r.equal("when the session has ended inside it, the next one", rest(f, half(f, c), END), GOOD)
    r.equal("over the same connection", len(s.heads), 1)

    def stopped():
        f, c = by_hand(r, s)
        rest(f, f.open(START + END))
        half(f, c)
        return c.stop(what="stopped inside a head")
    r.soon("at once", 1.5 * SHORT, stopped)
    half(f, c)
    c.stop(what="stopped inside a head")


@test
def half_a_head_and_closed(r):
    """The service ends a kept connection while half a head has it: that shows when the rest comes."""
    for what, how in (("the rest", "half_close"), ("the rest", "reset"), ("a POST's rest", "half_close"), ("a reset", "half_close")):
        gate, ends = threading.Event(), []

        def handle(conn, _, gate=gate, how=how, ends=ends):
            conn.send(OK)
            gate.wait(20)
            getattr(conn, how)()
            if how == "half_close":
                ends.append(conn.over())
        s = r.service(handle)
        f, c = by_hand(r, s)
        r.equal(f"{what}: the first", rest(f, f.open(START + END)), GOOD)
        stream = half(f, c, START if what != "a POST's rest" else START.replace(b"GET", b"POST"))
        used = cpu(c)
        gate.set()
        time.sleep(0.3)         # nothing tells of what does not happen
        used = cpu(c) - used
        r.check(f"{what}, {how}: no spinning", used < 0.1, used)
        r.check(f"{what}, {how}: the connection is left alone", not ends, ends)
        if what != "a reset":
            r.equal(f"{what}, {how}: the request is served by a fresh one", rest(f, stream, END), GOOD)
        else:
            f.session.send((WINDOW, RST, stream, 0))
        if how == "half_close":
            r.until(f"{what}: the old connection ends", lambda e=ends: e)
        r.equal(f"{what}: the next", rest(f, half(f, c), END), GOOD)


@test
def stray_bytes(r):
    """What a service says without being asked is no answer to whoever comes next."""
    gate, sent = threading.Event(), threading.Event()

    def handle(conn, _):
        conn.send(OK)
        if len(s.heads) == 1:
            gate.wait(20)
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstray\n")
            sent.set()
        s.note(conn.over())
    s = r.service(handle)
    f, c = by_hand(r, s)
    r.equal("the first", rest(f, f.open(START + END)), GOOD)
    stream = half(f, c)
    gate.set()
    sent.wait(20)
    r.equal("half a head has the connection", rest(f, stream, END), GOOD)
    s.wait(lambda: s.ends, "the end of that connection")
    r.equal("on a fresh one", len(s.heads), 2)
    # while it is idle
    late = r.service(lambda conn, _: (conn.send(OK), time.sleep(0.05), conn.send(b"HTTP/1.1 408 Late\r\n\r\n"), late.note(conn.over())))
    f, c = by_hand(r, late)
    r.equal("idle: the first", rest(f, f.open(START + END)), GOOD)
    late.wait(lambda: late.ends, "the end of that connection")
    r.equal("idle: the next", rest(f, f.open(START + END)), GOOD)


main()
