"""libtunnel as it is installed: its names and what they need; its examples; a program of somebody else's."""
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import Client, Curl, client, free_port
from rig import BIN, HERE, PEER, PYTHON, ROOT, SANITIZED, Miss, Plain, echo, main, test

STRICT = ["-std=c99", "-D_XOPEN_SOURCE=700", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
installed = threading.Lock()


def run(*argv, **more):
    p = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300, **more)
    if p.returncode != 0:
        raise Miss(f"{' '.join(argv)}: {p.stdout[-500:]}{p.stderr[-2000:]}")
    return p.stdout


def make(*argv):
    """Of the built tree, as it was built; what a make around this one has to say stays outside."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "DESTDIR", "PREFIX")}
    where = [f"{k}={os.environ[k]}" for k in ("CC", "CFLAGS", "STACK", "TLS", "SSH") if k in os.environ]
    return run("make", "-s", "-C", BIN, *where, *argv, env=env)


def prefix():
    """Where the tree has been installed, once."""
    root = ROOT + "/root"
    with installed:
        if not os.path.isdir(root):
            try:
                make(f"PREFIX={root}", "install")
            except Miss:
                shutil.rmtree(root, ignore_errors=True)
                raise
    return root


def nm(*args):
    return [l.split() for l in run("nm", *args, prefix() + "/lib/libtunnel.a").splitlines()]


def compiler():
    """What can link the archive: with a sanitizer, if that is in there."""
    wanted = {w[-1] for w in nm("-u") if w}
    if any(w.startswith("__tsan_") for w in wanted):
        return [os.environ.get("CC", "clang"), "-fsanitize=thread"]
    if any(w.startswith("__asan_") for w in wanted):
        return [os.environ.get("CC", "clang"), "-fsanitize=address,undefined"]
    return [os.environ.get("CC", "cc")]


def build(r, source):
    """A program, by what pkg-config says and nothing else."""
    out = f"{r.tmp}/{os.path.basename(source)[:-2]}"
    env = {**os.environ, "PKG_CONFIG_PATH": prefix() + "/lib/pkgconfig"}
    flags = run("pkg-config", "--cflags", "--libs", "libtunnel", env=env).split()
    r.check("the installed header", f"-I{prefix()}/include" in flags, flags)
    run(*compiler(), *STRICT, "-o", out, source, *flags)
    return out


class Place:
    """What the rig's helpers want of a daemon."""

    def __init__(self, port):
        self.port, self.token = port, "secret"


class Program(Client):
    """One that says facts, a line each."""

    def __init__(self, r, argv, env=None, name=""):
        super().__init__(r, argv[1:], env or {}, program=argv[0])
        self.rig, self.name = r, name

    def facts(self, at_least):
        self.closed_at_last()
        said = [l for l in self.lines if l and l.split(" ", 1)[0] in ("ok", "FAIL")]
        for line in said:
            self.rig.check(f"{self.name}: {line.split(' ', 1)[1]}", line.startswith("ok "), line)
        self.rig.check(f"{self.name}: it has come to its end", len(said) >= at_least, self.lines)
        self.rig.equal(f"{self.name}: nothing but its own words", [l for l in self.errs if l], [])

    def closed_at_last(self):
        self.rig.equal(f"{self.name}: exit", self.exit(wait=120), 0)


def program(r, name, *args, env=None):
    return Program(r, [build(r, f"{HERE}/{name}.c"), *map(str, args)], env, f"{name} {args[0]}")


@test
def names(r):
    """What the archive shows, keeps and asks for."""
    shown = sorted(w[2] for w in nm("-g", "--defined-only") if len(w) == 3)
    r.check("all names are tunnel_", shown and all(n.startswith("tunnel_") for n in shown), shown)
    with open(prefix() + "/include/tunnel.h", encoding="utf-8") as f:
        header = f.read()
    r.equal("and all are in the header", [n for n in shown if not re.search(rf"\b{n}\(", header)], [])
    declared = set(re.findall(r"^[a-z].*?\b(tunnel_[a-z_]+)\(", header, re.M))
    r.equal("which has no others", sorted(declared - set(shown)), [])
    with open(f"{BIN}/man/tunnel.3", encoding="utf-8") as f:
        page = f.read()
    r.equal("tunnel(3) has them, too", [n for n in shown if f".Fn {n}" not in page and f".Fo {n}" not in page], [])
    if SANITIZED:       # its own names are all over the place
        return
    wanted = {w[-1] for w in nm("-u") if w}
    r.equal("it neither ends the process, nor takes signals, nor prints",
            sorted(wanted & {"exit", "_exit", "abort", "signal", "sigaction", "kill", "raise", "fork", "printf", "fprintf", "vfprintf", "puts",
                             "fputs", "putchar", "perror", "stdout", "stderr", "__stdoutp", "__stderrp", "__sF", "setlocale", "umask"}), [])
    # log's key (made once), watch's, and wake's pipes that sleepers share, with their mutex: nothing that a user could notice
    kept = sorted(w[2].split(".")[0] for w in nm() if len(w) == 3 and w[1] in "bBC")
    r.equal("what is written to is known", kept, ["key", "leading", "leading_made", "leading_once", "made", "once", "shared_first", "shared_mtx"])
    written = [w[-1] for w in (l.split() for l in run("objdump", "-t", prefix() + "/lib/libtunnel.a").splitlines())
               if len(w) > 3 and re.fullmatch(r"\.data(\..*)?", w[-3]) and "O" in w and not re.search(r"\.data\.rel", w[-3])]
    r.equal("and nothing of it has a value from the start", written, [])


@test
def header(r):
    """tunnel.h in C99 and in C++."""
    with open(f"{r.tmp}/h.c", "w", encoding="ascii") as f:
        f.write("#include <tunnel.h>\nint main(void) { return tunnel_auth_ok(\"a:b\") - 1; }\n")
    shutil.copy(f"{r.tmp}/h.c", f"{r.tmp}/h.cc")
    run(build(r, f"{r.tmp}/h.c"))
    r.check("C99", True)
    plus = compiler()[0].replace("clang", "clang++").replace("gcc", "g++")
    plus = plus if "++" in plus else "c++"
    if shutil.which(plus):
        run(plus, "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{prefix()}/include", "-c", "-o", f"{r.tmp}/h.o", f"{r.tmp}/h.cc")
    r.check("C++", 'extern "C"' in open(prefix() + "/include/tunnel.h", encoding="utf-8").read())


@test
def only_the_header(r):
    """The client's program does its work through tunnel.h; what else it includes is for a command line."""
    ours = {"tunnel.c", "show.c", "saved.c", "runner.c", "relaycmd.c"}
    allowed = {"cli.h", "opt.h", "completion.h", "tunnel.h"}
    for name in sorted(ours | {"cli.h", "opt.h", "completion.h"}):
        with open(f"{os.path.dirname(HERE)}/{name}", encoding="utf-8") as f:
            r.equal(f"{name} includes no others", sorted(set(re.findall(r'^#include "(.*)"', f.read(), re.M)) - allowed), [])


@test
def both(r):
    """A server and two clients in one process, called from several threads, three times over."""
    d = r.daemon()
    program(r, "libpeer", "both", f"http://127.0.0.1:{d.port}", d.token, free_port(r)).facts(59)


@test
def ends(r):
    d = r.daemon()
    program(r, "libpeer", "ends", f"http://127.0.0.1:{d.port}", d.token, free_port(r)).facts(20)


@test
def small(r):
    program(r, "libpeer", "options").facts(36)
    program(r, "libserver", "early").facts(7)
    program(r, "libserver", "leaving").facts(5)
    program(r, "libpeer", "signals").facts(4)


@test
def upgraded(r):
    """The opening handshake is the program's; tunnel is the client."""
    origin = r.origin()
    os.mkfifo(f"{r.tmp}/accept")
    p = program(r, "libserver", "upgraded", f"{r.tmp}/accept")
    at = p.wait_line(p.lines, re.compile(r"^at (\S+)").search, "endpoint")[1]
    client(r, at, origin.target, "--name", "preview", token="sesame", ready=False)
    key = p.wait_line(p.lines, re.compile(r"^key (\S+)").search, "key")[1]
    with open(f"{r.tmp}/accept", "wb") as f:
        f.write(base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()) + b"\n")
    p.facts(7)


@test
def keys(r):
    """vtunnel's client, with a key, at a server of the library's."""
    if os.environ.get("SSH") == "no":
        return
    s, port = r.keep(Plain(echo)), free_port(r)
    p = program(r, "libserver", "keys", "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg", port, "api.internal")
    at = p.wait_line(p.lines, re.compile(r"^at http(\S+)").search, "endpoint")[1]
    r.spawn(PYTHON, f"{PEER}/vtgo.py", "client", "ws" + at, "--key", "vt-priv-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            "--kex", "curve25519-sha256", "--forward", f"{port}={s.target}", "--forward", f"api.internal={s.target}")
    p.facts(8)


@test
def relay(r):
    """Bytes for a pipe that nobody reads any more, with SIGPIPE as it is by default."""
    d = r.daemon("--relay", "any")
    s = r.keep(Plain(echo))
    program(r, "libpeer", "relay", f"http://127.0.0.1:{d.port}", d.token, "127.0.0.1", s.port).facts(3)


@test
def expose(r):
    """The example that has no port: callers come through a tunneld; curl is one."""
    d = r.daemon()
    exe = build(r, f"{prefix()}/share/doc/tunnel/examples/expose.c")
    p = Program(r, [exe, f"http://127.0.0.1:{d.port}", "hello"], {"TUNNEL_TOKEN": d.token})
    url = p.wait_line(p.lines, lambda l: l, "URL")
    r.check("its URL", url.startswith("http://hello."), url)
    for _ in range(3):
        got = Curl(d, "/", host="hello.localhost")
        r.equal("served", (got.status, got.body), (200, b"hello from a program without a port\n"))
    r.equal("HEAD", Curl(d, "/", "-I", host="hello.localhost").status, 200)
    p.stop(what="asked to stop, it ends with 0")
    d.log("event=session_end .*code=1000")
    p = Program(r, [exe, f"http://127.0.0.1:{d.port}", "hello"], {"TUNNEL_TOKEN": "tn_none"})
    r.equal("a wrong token is 3", p.exit(), 3)


@test
def gateway(r):
    """The example that is its own tunneld: tunnel is its client, curl and nc-like callers come."""
    exe = build(r, f"{prefix()}/share/doc/tunnel/examples/gateway.c")
    port = free_port(r)
    g = Program(r, [exe, "0", "0", f"tcp:{port}"], {"TUNNEL_TOKEN": "secret"})
    ports = [int(g.wait_line(g.lines, lambda l: l, "address", start=n).rpartition(":")[2]) for n in (0, 1)]

    origin, s = r.origin(), r.keep(Plain(echo))
    client(r, Place(ports[0]), origin.target, "--name", "a")
    got = Curl(ports[0], "/echo")
    r.equal("HTTP through it", got.status, 200)
    c = Client(r, ["forward", "--endpoint", f"http://127.0.0.1:{ports[0]}", f"{port}=127.0.0.1:{s.port}"], {"TUNNEL_TOKEN": "secret"})
    c.wait_line(c.lines, lambda l: l, "URL")
    for where in (ports[1], port):
        with r.caller(Place(where)) as k:
            k.send(b"x" * 200000)
            k.half_close()
            r.equal("bytes through it", len(k.exactly(200000)), 200000)
    g.stop(what="asked to stop, it ends with 0")


main()
