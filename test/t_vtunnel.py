"""vtunnel's clients on the daemon's side. The peer is peer/vtgo.py, which is as strict as Go's SSH and written from the specification alone."""
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
import vtgo
import vtssh
from client import free_port, refused
from rig import BIN, ENV, PEER, PYTHON, SANITIZED, WAIT, Caller, Clock, Daemon, Miss, Plain, Proc, echo, in_parallel, main, test
# pylint: enable=wrong-import-position

PRIV = "vt-priv-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
PUB = "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
BULK = int(os.environ.get("TUNNEL_TEST_BYTES") or (2 if SANITIZED else 16) << 20)       # 1073741824 is the full number
SHORT = int(os.environ.get("TUNNEL_TEST_CALLS") or (100 if SANITIZED else 1000))        # 10000 is the full number
HELLO = (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
         b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
ONLY = ("--kex", "curve25519-sha256")   # Go's first choice, which the daemon knows not, costs nothing but the words
vtgo.say = lambda *_, **__: None        # of those within this process
one = threading.Lock()


def pair():
    """A private key and its public one."""
    out = subprocess.run([PYTHON, f"{PEER}/vtgo.py", "keygen"], capture_output=True, text=True, timeout=WAIT, check=True).stdout
    return re.search(r"vt-priv-\S+", out).group(), re.search(r"vt-pub-\S+", out).group()


def write(path, text):
    """All of it at once: whoever reads the file now and then must not find it empty."""
    with open(f"{path}.new", "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(f"{path}.new", 0o600)
    os.replace(f"{path}.new", path)
    return path


def vtunneld(r, *args, key=PUB, **more):
    return r.daemon(*(("--vtunnel-key", key) if key else ()), *args, scope=None, **more)


def go(r, d, *forwards, key=PRIV, path="/", wait="up", more=()):
    """A client; ready when its listens are answered."""
    p = r.spawn(PYTHON, f"{PEER}/vtgo.py", "client", f"ws://127.0.0.1:{d if isinstance(d, int) else d.port}{path}", "--wait-factor", "0.05",
                *(("--key", key) if key else ()), *(a for f in forwards for a in ("--forward", f)), *more)
    if wait:
        p.event(event=wait)
    return p


def echoer(r):
    return r.keep(Plain(echo))


def call(r, port, data=b"", **more):
    return r.keep(Caller(port, data, **more))


def echoes(port, data=b"hello"):
    try:
        with Caller(port, data) as c:
            return c.exactly(len(data)) == data
    except (OSError, Miss, ValueError):
        return False


class Raw(vtgo.Client):
    """A client within this process, that asks for what it is told."""

    def __init__(self, r, d, *more, key=PRIV, path="/"):
        with one:
            argv, sys.argv = sys.argv, ["vtgo.py", "client", f"ws://127.0.0.1:{d.port}{path}", *(("--key", key) if key else ()), "--keepalive", "0", *more]
            try:
                options = vtgo.arguments()
            finally:
                sys.argv = argv
        super().__init__(options)
        self.mux, self.ready = None, threading.Event()
        self.thread = threading.Thread(target=self.once, daemon=True)
        self.thread.start()
        r.keep(self)
        if not self.ready.wait(WAIT):
            raise Miss("not authenticated")

    def up(self, mux):
        self.mux = mux
        self.ready.set()

    def want(self, what, name="listen"):
        ok, payload = self.mux.request(name, what if isinstance(what, bytes) else json.dumps(what, separators=(",", ":")).encode(), WAIT)
        return ok, payload.decode()

    def close(self):
        if self.mux:
            self.mux.t.end("end")
        self.thread.join(WAIT)


# ---- who comes in ------------------------------------------------------------------------

@test
def vectors(r):
    """Before the stand-in judges anybody."""
    p = subprocess.run([PYTHON, f"{PEER}/vtgo.py", "selftest"], capture_output=True, text=True, timeout=WAIT, check=False)
    r.check("the stand-in has the specification's vectors V1 to V9", p.returncode == 0 and ", 0 failed" in p.stdout, p.stdout + p.stderr)


@test
def keyed(r):
    d = vtunneld(r)
    port, service = free_port(r), echoer(r)
    p = go(r, d, f"{port}={service.target}", path="/any/path?x=1")
    r.equal("its keys", {k: p.event(event="keys")[k] for k in ("kex", "host", "strict")},
            {"kex": "curve25519-sha256", "host": "ssh-ed25519", "strict": True})
    r.equal("the reply", p.event(event="listening")["reply"], '{"port":%d}' % port)
    r.check("bytes both ways", echoes(port))
    t = d.status()
    r.equal("status", [(x["name"], x["dialect"], x["url"]) for x in t], [(f"tcp:{port}", "vtunnel", f"tcp://127.0.0.1:{port}")])
    r.until("counted", lambda: (d.status()[0]["in"], d.status()[0]["out"]) == (5, 5))
    who = d.log(r"event=session_start dialect=vtunnel peer=\S+ who=(\S+)").group(1)
    blob = vtssh.blob_of(vtssh.decode_key("vt-pub-", PUB))
    r.equal("who", who, "key:" + hashlib.sha256(b"tunneld key\0" + blob).hexdigest()[:12])
    p.kill(signal.SIGTERM)
    d.log("event=session_end")
    text = "\n".join(l for l in d.errs if l)
    r.check("no secret in the log", "vt-pub" not in text and hashlib.sha256(blob).hexdigest() not in text, text)


@test
def strangers(r):
    d = vtunneld(r)
    port, (priv, _) = free_port(r), pair()
    left, forged = "it left", "the signature was wrong"
    rows = (("another key", priv, (), left), ("no key", None, (), left), ("a bad signature", PRIV, ("--evil", "bad-signature"), forged),
            ("the known public key of another", priv, ("--evil", "known-pub", "--evil-arg", PUB), forged))
    for what, key, more, why in rows:
        mark = d.marks()
        p = go(r, d, f"{port}=127.0.0.1:1", key=key, wait=None, more=("--once", *more))
        p.exit()
        r.check(f"{what}: never in", not p.seen(event="authenticated") and not p.seen(event="listening"), p.lines)
        d.log(f"event=login_failed dialect=vtunnel .*reason=\"{why}", start=mark)
    r.check("nothing listens", refused(port))
    r.equal("the right one still does", go(r, d, f"{port}=127.0.0.1:1").event(event="listening")["port"], port)


@test
def keyless(r):
    port, service = free_port(r), echoer(r)
    d = vtunneld(r, "--open", "vtunnel", key=None)
    d.log("level=warn event=vtunnel_open")
    p = go(r, d, f"{port}={service.target}", key=None)
    r.check("bytes both ways", echoes(port))
    d.log("who=anonymous")
    r.equal("a Go program prefers this kind of host key", p.event(event="host_key")["kind"], "ecdsa-sha2-nistp256")
    own = go(r, d, key=None, wait="connected", more=("--once", "--request-header", "Tunnel-Host-Key: own"))
    r.equal("who asks for the daemon's own gets that", own.event(event="host_key")["kind"], "ssh-ed25519")
    own.kill(signal.SIGTERM)
    k = go(r, d, key=PRIV, wait=None, more=("--once",))
    k.exit()
    r.check("whoever wants a derived host key leaves", not k.seen(event="authenticated"), k.lines)
    p.kill(signal.SIGTERM)
    d.log("event=session_end")
    some = vtunneld(r, "--open", "vtunnel", "--origin", "https://good.example", name="some", key=None)
    keyed = vtunneld(r, name="keyed")
    for what, to, origin, status in (("a page", d, "https://evil.example", 403), ("a page in a sandbox", d, "null", 403),
            ("a page of the daemon's own", d, f"http://127.0.0.1:{d.port}", 403), ("one that may not", some, "https://evil.example", 403),
            ("one that may", some, "https://good.example", 101), ("one with a key to show", keyed, "https://evil.example", 101)):
        with r.caller(to, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{to.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: {origin}\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n") as c:
            r.equal(f"{what}", c.response().status, status)
    path = vtunneld(r, key=f"{PUB} path=/a", name="path")
    for where, status in (("/a", 101), ("/b", 503)):
        with r.caller(path, f"GET {where} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n") as c:
            res = c.response()
            r.check(f"{where}, where a key has a path of its own", res.status == status and (status == 101 or b"no client serves this name" in res.body), res)
    off = r.daemon(name="off")
    res = r.ask(off, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
    r.check("off without an option", res.status != 101, res)


def fingerprint(d):
    return d.log(r"event=vtunnel .*host_key=(SHA256:\S+)").group(1)


@test
def own_host_key(r):
    """Whoever says so is shown the daemon's own, which no client's key tells of; it stays the same."""
    d = vtunneld(r)
    mine = fingerprint(d)
    p = go(r, d, wait=None, more=("--once", "--request-header", "Tunnel-Host-Key: own"))
    r.equal("the own one is not the derived one", p.event(event="host_key")["known"], False)
    d.stop()
    d.ended = True
    d = vtunneld(r)
    r.equal("the same after a restart", fingerprint(d), mine)
    path = f"{d.state}/vtunnel-host-key"
    r.equal("nobody else reads it", os.stat(path).st_mode & 0o777, 0o600)
    with open(path, encoding="ascii") as f:
        seed = vtssh.decode_key("vt-priv-", f.read().strip())
    blob = vtssh.Key(seed).blob
    r.equal("it is that key", mine, "SHA256:" + vtssh.base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("="))
    write(path, "nonsense\n")
    p = subprocess.run([f"{BIN}/tunneld", "--state", d.state, "--listen", "127.0.0.1:0", "--vtunnel-key", PUB], env=ENV, capture_output=True, text=True,
                       timeout=WAIT, check=False)
    r.check("a damaged one is named", p.returncode == 1 and "vtunnel-host-key: no key is in it; remove it" in p.stderr, p)


# ---- keys in a file ----------------------------------------------------------------------

@test
def key_file(r):
    a, b, c = pair(), pair(), pair()
    one_, two, three = (free_port(r) for _ in range(3))
    path = write(f"{r.tmp}/keys", f"# keys\n{a[1]} {one_}  # alice\n{b[1]} path=/bob\n")
    d = vtunneld(r, "--vtunnel-keys", path, key=None)
    alice, bob = go(r, d, f"{one_}=127.0.0.1:1", key=a[0]), go(r, d, f"{two}=127.0.0.1:1", key=b[0], path="/bob?x=1")
    r.check("both in", alice.seen(event="listening") and bob.seen(event="listening"))
    x = go(r, d, f"{three}=127.0.0.1:1", key=a[0], wait=None, more=("--exit-rejected",))
    r.has("the scope holds", "permission denied.*scope", x.event(event="rejected")["what"])
    for key, where in ((b[0], "/"), (a[0], "/bob")):
        y = go(r, d, key=key, path=where, wait=None, more=("--once",))
        y.exit()
        r.check(f"not at {where}", not y.seen(event="authenticated"), y.lines)
    mark = d.marks()
    write(path, f"{a[1]} {one_}\n{c[1]} path=/carol\n")
    d.log("event=vtunnel_keys_read", start=mark)
    bob.event(event="lost")
    d.log("event=session_ended reason=revoked", start=mark)
    r.until("its port is free", lambda: refused(two))
    r.check("alice stays", not alice.seen(event="lost"))
    carol = go(r, d, f"{two}=127.0.0.1:1", key=c[0], path="/carol")
    mark = d.marks()
    d.kill(signal.SIGHUP)
    d.log("event=vtunnel_keys_read", start=mark)
    mark = d.marks()
    write(path, f"{a[1]} {one_}\n{c[1]} {two} path=/carol\n")
    carol.event(event="lost")
    d.log("event=session_ended reason=revoked", start=mark)     # its scope is another
    r.check("alice stays, whose is not", not alice.seen(event="lost"))
    mark = d.marks()
    write(path, "vt-pub-nonsense\n")
    d.log("event=vtunnel_keys_bad .*keys:1.*kept", start=mark)
    go(r, d, f"{one_}=127.0.0.1:1", key=a[0])
    mark = d.marks()
    write(path, f"{a[1]} {one_}\n{c[1]} {two}\n")
    d.log("event=vtunnel_path_shared path=/", start=mark)
    os.chmod(path, 0o644)
    d.log("event=vtunnel_keys_open", start=mark)
    text = "\n".join(l for l in d.errs if l)
    r.check("no key in the log", a[1] not in text and "vt-p" not in text.replace("vt-pub- key", "").replace("with vt-pub-", ""), text)


@test
def own_paths(r):
    """A path that a key has for its own is that, whatever else the daemon has there; but for what its own clients and the monitors need."""
    a, service = pair(), echoer(r)
    d = r.daemon("--vtunnel-key", f"{PUB} path=/tunnel", "--vtunnel-key", f"{a[1]} path=/alice")
    r.client(d, "default")
    r.client(d, "alice", "--path")
    for key, path in ((PRIV, "/tunnel"), (a[0], "/alice?x=1")):
        port = free_port(r)
        go(r, d, f"{port}={service.target}", key=key, path=path)
        r.check(f"{path}", echoes(port))
    r.equal("no handshake", r.get(d, "x", "/alice/").status, 200)
    for path in ("/_tunnel", "/_tunnel/x", "/_bifrost", "/_bifrost/x", "/health", "/healthz"):
        p = subprocess.run([f"{BIN}/tunneld", "--check", "--vtunnel-key", f"{PUB} path={path}"], env=ENV, capture_output=True, text=True,
                           timeout=WAIT, check=False)
        r.check(f"not {path}", p.returncode == 2 and "own" in p.stderr, p)


@test
def options(r):
    keys = write(f"{r.tmp}/k", PUB + "\n")
    none, bad = f"{r.tmp}/none", write(f"{r.tmp}/bad", "vt-pub-x\n")
    rows = ((2, ("--vtunnel-key", "vt-pub-x"), "vt-pub-"), (2, ("--vtunnel-key", PRIV), "private key"),
            (2, ("--vtunnel-key", PUB, "--open", "vtunnel"), "path"), (2, ("--vtunnel-keys", keys, "--open", "vtunnel"), "path"),
            (2, ("--vtunnel-key", PUB, "--ports", "none"), "ports"), (2, ("--open", "native"), "wsproxy or vtunnel"),
            # what is not the options' fault but a file's, whatever it is for
            (1, ("--vtunnel-keys", none), none), (1, ("--vtunnel-keys", bad), f"{bad}:1: "), (1, ("--vtunnel-key", PUB, "--vtunnel-keys", keys), "already"),
            (1, ("--ssh-listen", "0", "--ssh-keys", none), none), (1, ("--proxy", "0", "--proxy-auth-file", none), none),
            (1, ("--jwt-secret-file", none), none), (1, ("--jwt-key", none), none), (1, ("--jwks", none), none))
    for code, args, word in rows:
        p = subprocess.run([f"{BIN}/tunneld", "--check", *args], env=ENV, capture_output=True, text=True, timeout=WAIT, check=False)
        r.check(f"{args}", p.returncode == code and p.stderr.count("\n") == 1 and word in p.stderr, p)
        r.check(f"{args}: no key repeated", PRIV not in p.stderr and PUB not in p.stderr, p)
    p = subprocess.run([f"{BIN}/tunneld", "--check"], env={**ENV, "TUNNELD_VTUNNEL_KEY": f"{PUB} 9000 path=/a {pair()[1]}"}, capture_output=True,
                       text=True, timeout=WAIT, check=False)
    r.equal("from the environment", p.returncode, 0)
    p = subprocess.run([f"{BIN}/tunneld", "--check", "--vtunnel-keys", keys, "--vtunnel-key", f"{pair()[1]} 9000 path=/a"], env=ENV,
                       capture_output=True, text=True, timeout=WAIT, check=False)
    r.equal("both together", (p.returncode, p.stdout), (0, "tunneld: the configuration is sound\n"))
    os.mkdir(f"{r.tmp}/state", 0o700)
    own = write(f"{r.tmp}/state/vtunnel-host-key", "none\n")
    for what in ("--check", "--log-all"):       # not what was said is wrong, but what there is
        p = subprocess.run([f"{BIN}/tunneld", what, "--open", "vtunnel", "--state", f"{r.tmp}/state", "--listen", "127.0.0.1:0"], env=ENV,
                           capture_output=True, text=True, timeout=WAIT, check=False)
        r.equal(f"{what}: no key of its own", (p.returncode, p.stderr),
                (1, f"tunneld: vtunnel: {own}: no key is in it; remove it, and another is made\n"))


@test
def handshakes(r):
    d = vtunneld(r)
    d.issue("--global")
    good = {"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}

    def ask(method="GET", path="/x", **more):
        fields = {**good, **{k.replace("_", "-"): v for k, v in more.items()}}
        return r.ask(d, f"{method} {path} HTTP/1.1\r\nHost: x\r\n{''.join(f'{k}: {v}{chr(13)}{chr(10)}' for k, v in fields.items())}\r\n".encode())

    res = ask()
    r.equal("101", (res.status, sorted(n.lower() for n, _ in res.fields)), (101, ["connection", "sec-websocket-accept", "upgrade"]))
    for what, want, res in (("POST", 405, ask("POST")), ("version 8", 400, ask(Sec_WebSocket_Version="8")), ("a short key", 400, ask(Sec_WebSocket_Key="AAAA")),
                            ("no key", 400, ask(Sec_WebSocket_Key=""))):
        r.equal(what, (res.status, res.get("Sec-WebSocket-Version")), (want, "13"))
    r.equal("the text", ask("POST").body, b"Method Not Allowed\n")
    behind = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    c = call(r, d.port, b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n" % len(behind) + behind)
    r.equal("content is no request", (c.response().status, c.over()), (405, "fin"))
    r.equal("endpoints are not its", (ask(path="/_tunnel").status, r.get(d, "x", "/health").status), (400, 200))
    r.client(d, "default")
    res = ask()
    r.check("nor is the default tunnel", res.status != 101, res)
    r.until("no session is left", lambda: d.logged("event=login_failed") >= 1)


# ---- what may be had ---------------------------------------------------------------------

@test
def listens(r):
    busy = r.keep(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
    d = vtunneld(r)
    port = free_port(r)
    raw = Raw(r, d)
    tcp = "listen tcp 127.0.0.1:"
    rows = (({"port": port, "local_addr": "localhost:3000"}, (True, '{"port":%d}' % port)),
            ({"port": port, "local_addr": "localhost:3000"}, (True, '{"port":%d}' % port)),     # again
            ({"PORT": port, "more": [1]}, (True, '{"port":%d}' % port)),
            ({"port": busy}, (False, f"{tcp}{busy}: bind: address already in use")),
            ({"port": 70000}, (False, "listen tcp: address 70000: invalid port")),
            ({"port": -1}, (False, "listen tcp: address -1: invalid port")),
            (b'{"port":9000.5}', (False, "invalid payload")), (b'{"port":"9000"}', (False, "invalid payload")), (b"", (False, "invalid payload")),
            (b"{", (False, "invalid payload")), (b"null", (False, "invalid payload")))
    for what, want in rows:
        r.equal(f"listen {what}", raw.want(what), want)
    for what, word in (({"port": 80}, r"^listen tcp 127.0.0.1:80: bind: permission denied \(.*scope"), ({"port": 0}, "port 0 is for a domain"), ({}, "port 0")):
        ok, text = raw.want(what)
        r.check(f"listen {what}", not ok, text)
        r.has(f"listen {what}: says why", word, text)
    for code in ("port_in_use", "bad_port", "forbidden", "bad_listen"):
        d.log(f"event=listen_refused code={code} reason=.* peer=\\S+ who=key:")
    raw.mux.send(b"\x50", vtssh.string("listen"), b"\x00", b'{"port":70000}')      # and wants no reply
    r.equal("ping", raw.want(b"", "ping"), (True, "pong"))
    r.equal("ping with anything", raw.want(b"x", "ping"), (True, "pong"))
    r.equal("what nobody knows", raw.want(b"", "no-such@example.com"), (False, ""))
    r.check("no port but loopback's", refused_elsewhere(port))


def refused_elsewhere(port):
    s = socket.socket(socket.AF_INET)
    try:
        s.bind(("127.0.0.2", port))     # free, so it is not bound to every address
        return True
    except OSError:
        return False
    finally:
        s.close()


@test
def owners(r):
    """A port is its key's, also while that is away; another of the same key takes it over."""
    a, b = pair(), pair()
    path = write(f"{r.tmp}/keys", f"{a[1]}\n{b[1]} path=/b\n")
    d = vtunneld(r, "--vtunnel-keys", path, key=None)
    port, s1, s2 = free_port(r), r.keep(Plain(lambda c: c.send(b"one"))), r.keep(Plain(lambda c: c.send(b"two")))
    first = go(r, d, f"{port}={s1.target}", key=a[0])
    other = go(r, d, f"{port}={s2.target}", key=b[0], path="/b", wait="rejected")
    r.has("another's", rf"^listen tcp 127.0.0.1:{port}: bind: address already in use \(held by key:", other.event(event="rejected")["what"])
    r.equal("the first has it", call(r, port).exactly(3), b"one")
    second = go(r, d, f"{port}={s2.target}", key=a[0])
    r.equal("the same key's newest has it", call(r, port).exactly(3), b"two")
    mark = d.marks()
    second.kill(signal.SIGKILL)
    d.log("event=session_end", start=mark)
    r.check("it is kept", not d.status()[0]["running"] and d.status()[0]["lost"], d.status())
    r.has("kept from others, too", "in use", Raw(r, d, key=a[0]) and go(r, d, f"{port}={s2.target}", key=b[0], path="/b", wait="rejected")
          .event(event="rejected")["what"])
    r.check("the first is still there", not first.seen(event="lost"))


@test
def domains(r):
    a, b, c = pair(), pair(), pair()
    keys = write(f"{r.tmp}/keys", f"{a[1]}\n{b[1]} path=/b b.local\n{c[1]} path=/c\n")
    d = vtunneld(r, "--vtunnel-keys", keys, key=None)
    service = echoer(r)
    p = go(r, d, f"MyAPI.local={service.target}", f"*.wild.local:8080={service.target}", key=a[0])
    port = p.event(event="listening", domain="MyAPI.local")["port"]
    wild = p.event(event="listening", domain="*.wild.local:8080")["port"]
    r.check("its port", echoes(port) and echoes(wild))
    for key, where in (("MyAPI.local:80", port), ("MyAPI.local:443", port), ("*.wild.local:8080", wild)):
        d.log(rf"event=proxy_mapped key={re.escape(key)} name=tcp:{where}\b")
    for n in range(3):          # the numbers that it has learnt come as listens of ports, too
        mark = p_mark(p)
        p.kill(signal.SIGUSR2)
        p.event(event="up", start=mark)
        r.equal(f"the same ports again, {n}", {e["port"] for e in map(json.loads, p.lines[mark:-1] if p.lines[-1] is None else p.lines[mark:])
                                               if e.get("event") == "listening"}, {port, wild})
    r.equal("none has leaked", len(d.status()), 2)
    raw = Raw(r, d, key=a[0])
    r.check("one more", raw.want({"domain": "first.local"})[0])
    had = sorted(t["name"] for t in d.status())
    for what, word in (({"domain": "../etc"}, "."), ({"domain": "a b"}, "."), ({"domain": "x" * 300}, "too long"), ({"domain": "a.local:99999"}, "."),
                       ({"domain": "a.local", "headers": {"Upgrade": ["x"]}}, "header"), ({"domain": "a.local", "headers": {"A": ["b\r\nc: d"]}}, "header")):
        ok, text = raw.want(what)
        r.check(f"{what}: refused", not ok, text)
        r.has(f"{what}: says why", word, text)
    r.equal("what was refused holds no port, and costs none", sorted(t["name"] for t in d.status()), had)
    ok, text = raw.want({"port": 0, "local_addr": "localhost:1", "domain": "head.local", "headers": {"Authorization": ["Bearer t0ken"]}})
    r.check("with headers", ok, text)
    mapped = free_port(r)
    r.equal("by local_addr", raw.want({"port": mapped, "local_addr": "gitlab.example.com:443"}), (True, '{"port":%d}' % mapped))
    d.log(rf"event=proxy_mapped key=gitlab.example.com:443 name=tcp:{mapped}\b")
    bob = go(r, d, f"b.local={service.target}", key=b[0], path="/b")
    r.check("in its scope", bob.seen(event="listening", domain="b.local"))
    for name in ("c.local", "MyAPI.local"):
        x = go(r, d, f"{name}={service.target}", key=b[0], path="/b", wait="rejected")
        r.has(f"{name} is not", "scope", x.event(event="rejected")["what"])
    x = go(r, d, f"MyAPI.local={service.target}", key=c[0], path="/c", wait="rejected")
    r.has("nor is it another's, whatever the scope", "held by another credential", x.event(event="rejected")["what"])


@test
def ports_of_domains(r):
    """The port that a key has had for a domain is not that of another key for the same."""
    a, c = pair(), pair()
    d = vtunneld(r, "--vtunnel-keys", write(f"{r.tmp}/keys", f"{a[1]}\n{c[1]} path=/c\n"), "--grace", "0", key=None)
    first = Raw(r, d, key=a[0])
    was = first.want({"domain": "x.local"})
    first.close()
    d.log("event=session_end ")
    now = Raw(r, d, key=c[0], path="/c").want({"domain": "x.local"})
    r.check("another port", was[0] and now[0] and was[1] != now[1], (was, now))


def proxyd(r, *args, **more):
    """A daemon with a proxy, at proxy_port."""
    d = vtunneld(r, "--proxy", "0", *args, **more)
    d.proxy_port = int(d.log(r"event=listening proto=proxy addr=127\.0\.0\.1:(\d+)").group(1))
    return d


def led(r, d, target):
    """Where the proxy leads who asks it for target: what the service there says first, or the status."""
    with Caller(d.proxy_port, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n") as c:
        head = c.until(b"\r\n\r\n")
        return c.exactly(3).decode() if b" 200 " in head else head.decode().split()[1]


def services(r):
    return tuple(r.keep(Plain(lambda c, word=word: c.send(word))).target for word in (b"one", b"two"))


@test
def same_ports(r):
    """A domain's port is the same one after a restart of the daemon's, and after a takeover: else a client would hold one more each time."""
    d, service = vtunneld(r, "--proxy", "0"), echoer(r)
    p = go(r, d, f"a.local={service.target}", f"b.local={service.target}", f"{free_port(r)}={service.target}")
    had = {t["name"] for t in d.status()}
    r.equal("so many", len(had), 3)
    d.stop()
    d.ended, mark = True, p_mark(p)
    d = vtunneld(r, "--proxy", "0", "--listen", f"127.0.0.1:{d.port}")
    p.event(event="up", start=mark)
    r.equal("after a restart", {t["name"] for t in d.status()}, had)
    mark = p_mark(p)
    new = Daemon(r, ["--takeover", "--proxy", "0", "--vtunnel-key", PUB, "--listen", f"127.0.0.1:{d.port}"], scope=None)
    r.procs.append(new)
    p.event(event="up", start=mark)
    r.equal("after a takeover", {t["name"] for t in new.status()}, had)
    d.exit()
    d.ended = True


@test
def domains_first(r):
    """The domain's port is the same one, too, for a client that says the numbers it has learnt behind its domains, or none."""
    d, (service, _) = proxyd(r), services(r)
    ports = []
    for _ in range(3):
        mark, raw = d.marks(), Raw(r, d)
        ok, text = raw.want({"domain": "a.local", "local_addr": service})
        r.check("the domain", ok, text)
        ports += {json.loads(text)["port"]} - set(ports)
        r.check("its numbers", all(raw.want({"port": n, "local_addr": service})[0] for n in ports))
        raw.close()
        d.log("event=session_end ", start=mark)
    r.equal("one port", (len(ports), len(d.status())), (1, 1))
    for _ in range(2):          # the number was said last, and the domain
        new = Daemon(r, ["--takeover", "--proxy", str(d.proxy_port), "--vtunnel-key", PUB, "--listen", f"127.0.0.1:{d.port}"], scope=None)
        r.procs.append(new)
        new.log("event=takeover ")
        raw = Raw(r, new)
        r.equal("after a takeover", raw.want({"domain": "a.local", "local_addr": service}), (True, '{"port":%d}' % ports[0]))
        raw.close()
        d.exit()
        d.ended, new.proxy_port, d = True, d.proxy_port, new
    wild, below = Raw(r, d), Raw(r, d)
    port = json.loads(wild.want({"domain": "*.wild.local", "local_addr": service})[1])["port"]
    r.check("its number", wild.want({"port": port, "local_addr": service})[0])
    got = below.want({"domain": "b.wild.local", "local_addr": service})
    r.check("what is below a domain has another", got[0] and json.loads(got[1])["port"] != port, (got, port))


@test
def refused_domain(r):
    """A domain that is refused does not take the port with it that it would have shared."""
    private, public = pair()
    port, service = free_port(r), echoer(r)
    d = vtunneld(r, "--ports", str(port), "--vtunnel-keys", write(f"{r.tmp}/keys", f"{public} {port}\n"), key=None)
    p = go(r, d, f"{port}={service.target}", f"a.local={service.target}", key=private)
    r.has("the scope has no domain", "scope", p.event(event="rejected")["what"])
    r.equal("the port is there still", [(t["name"], t["lost"]) for t in d.status()], [(f"tcp:{port}", False)])
    r.check("and leads to its service", echoes(port))


@test
def other_use(r):
    """A port that is a domain's no more, but another's of the same key: the domain does not lead there, and its client does not take it."""
    pool, (one_, two) = free_port(r), services(r)
    d = proxyd(r, "--grace", "0", "--ports", str(pool))
    for again in (f"b.local:443={two}", f"{pool}={two}"):
        p = go(r, d, f"a.local={one_}")
        r.equal("the pool's only port", p.event(event="listening")["port"], pool)
        r.equal("it leads there", led(r, d, "a.local:443"), "one")
        mark = d.marks()
        p.kill(signal.SIGKILL)
        d.log("event=session_end", start=mark)
        q = go(r, d, again)
        r.equal(f"{again} has it", (q.event(event="listening")["port"], call(r, pool).exactly(3)), (pool, b"two"))
        r.equal("the domain leads nowhere", led(r, d, "a.local:443"), "503")
        x = go(r, d, f"a.local={one_}", wait="rejected")
        r.has("its client hears so", "pool is taken", x.event(event="rejected")["what"])
        r.equal("and the other one's callers do not notice", call(r, pool).exactly(3), b"two")
        for c in (x, q):
            mark = d.marks()
            c.kill(signal.SIGKILL)
            d.log("event=session_end", start=mark)
    raw = Raw(r, d)
    raw.want({"port": pool, "local_addr": "api.example.com:443"})
    raw.ports[pool] = one_
    r.equal("by local_addr", led(r, d, "api.example.com:443"), "one")
    raw.want({"port": pool, "local_addr": "api.example.com:443"})
    r.equal("the same again", led(r, d, "api.example.com:443"), "one")
    raw.want({"port": pool, "local_addr": "localhost:2"})
    raw.ports[pool] = two
    r.equal("another target", (led(r, d, "api.example.com:443"), call(r, pool).exactly(3)), ("503", b"two"))


@test
def many(r):
    """Sixty-four tunnels are a session's most; one that it has can be asked for again."""
    d = vtunneld(r)
    raw = Raw(r, d)
    got = [raw.want({"domain": f"d{i}.local", "local_addr": "localhost:1"}) for i in range(64)]
    r.check("so many", all(ok for ok, _ in got), got)
    ok, text = raw.want({"domain": "more.local", "local_addr": "localhost:1"})
    r.check("one more", not ok and "as many tunnels" in text, text)
    port = json.loads(got[0][1])["port"]
    r.equal("as a client does that comes back", [raw.want(what) for what in ({"port": port, "local_addr": "localhost:1"},
            {"domain": "d0.local", "local_addr": "localhost:1"})], [(True, '{"port":%d}' % port)] * 2)


@test
def ever_new(r):
    """A key whose clients come and go with domains that were never there before: those that have gone longest make room."""
    d = proxyd(r, "--grace", "0")
    for n in range(3):
        mark, raw = d.marks(), Raw(r, d)
        got = [raw.want({"domain": f"pr-{n}-{i}.local", "local_addr": "localhost:1"}) for i in range(60)]
        r.check(f"so many, {n}", all(ok for ok, _ in got), [text for ok, text in got if not ok][:1])
        raw.close()
        d.log("event=session_end", start=mark)


def p_mark(p):
    return len([l for l in p.lines if l is not None])


# ---- sessions that survive ---------------------------------------------------------------

@test
def reconnects(r):
    d = vtunneld(r)
    service, ports = echoer(r), [free_port(r) for _ in range(3)]
    p = go(r, d, *(f"{n}={service.target}" for n in ports))
    for n in range(5):          # six rounds
        r.check(f"round {n}", all(echoes(x) for x in ports))
        mark, ended = p_mark(p), d.marks()
        p.kill(signal.SIGUSR2)
        d.log("event=session_end", start=ended)
        results = in_parallel([lambda i=i: echoes(ports[i % 3], b"gap%d" % i) for i in range(20)])
        r.equal(f"callers in the gap {n}", results.count(True), 20)
        p.event(event="up", start=mark)
    for _ in range(10):
        mark = p_mark(p)
        p.kill(signal.SIGUSR2)
        p.event(event="up", start=mark)
    r.until("after ten rapid drops", lambda: all(echoes(x) for x in ports))


@test
def killed(r):
    """The client is killed and started anew: whoever comes meanwhile waits for it. A transfer that it took with it is lost, and no other."""
    clock = Clock(r)
    d = vtunneld(r, program="test/tunneld-clock", env=clock.env)
    service, port, other = echoer(r), free_port(r), free_port(r)
    p, q = go(r, d, f"{port}={service.target}"), go(r, d, f"{other}={service.target}")
    lost, kept = call(r, port, b"x"), call(r, other, b"y")
    r.equal("both run", (lost.exactly(1), kept.exactly(1)), (b"x", b"y"))
    p.kill(signal.SIGKILL)
    r.equal("one is lost", lost.over(), "reset")
    kept.send(b"z")
    r.equal("the other goes on", kept.exactly(1), b"z")
    waiting = call(r, port, b"hello")
    r.until("it waits", lambda: d.status() and any(t["lost"] for t in d.status()))
    clock.move(13)              # as the original's callers wait, longer than --grace
    time.sleep(0.6)             # a round of the daemon's
    r.check("its client is still awaited", any(t["lost"] for t in d.status()), d.status())
    go(r, d, f"{port}={service.target}")
    r.equal("the one who waited is served", waiting.exactly(5), b"hello")
    r.check("the other client is still there", not q.seen(event="lost"))


@test
def stopped(r):
    """The daemon ends in order, and comes again."""
    d = vtunneld(r)
    service, port = echoer(r), free_port(r)
    p = go(r, d, f"{port}={service.target}")
    d.kill(signal.SIGTERM)
    r.has("the client is told", "shutting down|1001|disconnect", json.dumps(p.event(event="lost")).lower())
    d.exit()
    d.ended = True
    mark = p_mark(p)
    d = vtunneld(r, "--listen", f"127.0.0.1:{d.port}")
    p.event(event="up", start=mark)
    r.check("as before", echoes(port))


@test
def taken_over(r):
    d = vtunneld(r)
    service, port = echoer(r), free_port(r)
    p = go(r, d, f"{port}={service.target}")
    mark = p_mark(p)
    new = Daemon(r, ["--takeover", "--vtunnel-key", PUB, "--listen", f"127.0.0.1:{d.port}"], scope=None)
    r.procs.append(new)
    r.check("a caller in between is served", echoes(port))
    p.event(event="up", start=mark)
    r.check("by the new one, at the same port", echoes(port) and new.status()[0]["name"] == f"tcp:{port}")
    d.exit()
    d.ended = True


@test
def map_taken_over(r):
    """A client that the old daemon cannot let go yet: the new one knows its domains all the same, and who asks for them waits."""
    d, (one_, _) = proxyd(r), services(r)
    p = go(r, d, f"a.local={one_}", f"*.wild.local:8080={one_}", f"mail.*={echoer(r).target}", more=("--header", "X-A: b"))
    held = r.keep(Caller(d.proxy_port, "CONNECT mail.x:80 HTTP/1.1\r\nHost: mail.x\r\n\r\n"))
    held.until(b"\r\n\r\n")
    mark = p_mark(p)
    new = Daemon(r, ["--takeover", "--proxy", str(d.proxy_port), "--vtunnel-key", PUB, "--listen", f"127.0.0.1:{d.port}"], scope=None)
    r.procs.append(new)
    new.log("event=takeover ")
    waiting = [r.keep(Caller(d.proxy_port, f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")) for to in ("a.local:443", "A.LOCAL:80", "b.wild.local:8080")]
    r.check("the client is with the old one still", not p.seen(event="lost"))
    held.send(b"hello")
    r.equal("which serves what it has", held.exactly(5), b"hello")
    held.close()
    p.event(event="up", start=mark)
    for c in waiting:
        c.until(b"200 Connection Established\r\n\r\n")
        r.equal("served", c.exactly(3), b"one")
    d.exit()
    d.ended = True


@test
def nowhere_taken_over(r):
    """A domain whose port leads to another target by now leads nowhere at the new daemon, too."""
    d, (one_, two) = proxyd(r), services(r)
    raw = Raw(r, d)
    port = json.loads(raw.want({"domain": "a.local", "local_addr": one_})[1])["port"]
    raw.ports[port] = one_
    r.equal("it leads there", led(r, d, "a.local:443"), "one")
    raw.want({"port": port, "local_addr": two})
    r.equal("and nowhere", led(r, d, "a.local:443"), "503")
    new = Daemon(r, ["--takeover", "--proxy", str(d.proxy_port), "--vtunnel-key", PUB, "--listen", f"127.0.0.1:{d.port}"], scope=None)
    r.procs.append(new)
    new.log("event=takeover ")
    new.proxy_port = d.proxy_port
    r.equal("at the new one, too", led(r, new, "a.local:443"), "503")
    raw.close()
    d.exit()
    d.ended = True


@test
def silence(r):
    """Pings go both ways; who is silent is cut off, before the login and after it."""
    clock = Clock(r)
    d = vtunneld(r, program="test/tunneld-clock", env=clock.env)
    port = free_port(r)
    good, dumb = go(r, d, f"{port}={echoer(r).target}", more=("--keepalive", "1")), go(r, d, wait="authenticated", more=("--once", "--evil", "no-replies"))
    r.equal("a ping of its", good.event(event="pong")["payload"], "pong")
    go(r, d, wait="connected", more=("--once", "--evil", "stop-kex"))
    mute = call(r, d.port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
    mute.response()
    clock.move(29)
    time.sleep(0.6)             # a round of the daemon's
    r.check("29 s are no time", d.logged("event=login_late") == 0)
    clock.move(2)
    r.check("30 s are", mute.over().split()[0] in ("fin", "reset"))
    r.until("for both of them", lambda: d.logged("event=login_late") == 2)
    for _ in range(5):
        mark = p_mark(good)
        clock.move(31)
        good.event(event="pinged", start=mark)
        r.check("who answers is there", echoes(port))   # behind its answer to a ping
    dumb.exit()
    d.log('event=session_end .*reason="no answer to ping"')
    r.check("who answers stays", not good.seen(event="lost"), good.lines)


@test
def older(r):
    """The newest of a key's clients has the tunnels; when it has gone, and does not come again, an older one that is still there has them back."""
    clock, port, (one_, two) = Clock(r), free_port(r), services(r)
    d = proxyd(r, "--ping", "30", program="test/tunneld-clock", env=clock.env)
    first = go(r, d, f"{port}={one_}", f"a.local={one_}")
    second = go(r, d, f"{port}={two}", f"a.local={two}", f"b.local={two}")

    def lead():
        return [call(r, port).exactly(3).decode(), led(r, d, "a.local:443"), led(r, d, "b.local:443")]

    r.equal("the newest", lead(), ["two"] * 3)
    for again in (True, False):
        mark = d.marks()
        second.kill(signal.SIGKILL)
        d.log("event=session_end", start=mark)
        clock.move(34)
        r.until("kept for it", lambda: len([t for t in d.status() if t["lost"]]) == 3)
        if again:
            second = go(r, d, f"{port}={two}", f"a.local={two}", f"b.local={two}")
            r.equal("it has come again", lead(), ["two"] * 3)
    mark = d.marks()
    clock.move(2)
    d.log(f"event=tunnel_open name=tcp:{port} ", start=mark)
    r.until("both are the older one's", lambda: len([t for t in d.status() if not t["lost"]]) == 2)
    r.equal("which serves what it has", lead(), ["one", "one", "503"])
    r.check("in the session that it had", not first.seen(event="lost") and len(first.seen(event="listening")) == 2)


@test
def many_logins(r):
    d = vtunneld(r, "--handshakes", "3")
    held = [call(r, d.port, HELLO) for _ in range(3)]
    r.equal("three may", [c.response().status for c in held], [101] * 3)
    r.equal("a fourth may not", call(r, d.port, HELLO).response().status, 503)
    held[0].close()
    d.log("event=login_failed")
    go(r, d)
    go(r, d)                    # who has logged in is none of them
    go(r, d)
    d = vtunneld(r, "--sessions", "1", name="one")
    go(r, d)
    r.equal("a session too many", call(r, d.port, HELLO).response().status, 503)


@test
def not_logged_in(r):
    """Who has not logged in counts as a caller, as everybody does of whom nothing is known: addresses may be many."""
    d = vtunneld(r, "--callers", "4")
    held = [call(r, d.port, HELLO) for _ in range(4)]
    r.equal("as many as --callers", [c.response().status for c in held], [101] * 4)
    r.equal("no more", call(r, d.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").response().status, 503)
    d.log("event=callers_full")
    for c in held:
        c.close()
    r.until("they have gone", lambda: d.logged("event=login_failed") == 4)
    for _ in range(6):          # who has logged in does not
        go(r, d)
    r.equal("there is room again", r.ask(d, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").status, 200)
    late = [call(r, d.port, HELLO) for _ in range(2)]
    r.equal("two more", [c.response().status for c in late], [101] * 2)
    d.kill(signal.SIGTERM)      # while they are there
    r.equal("the end is in order", d.exit(), 0)
    d.ended = True


# ---- bytes -------------------------------------------------------------------------------

def transfer(port, size, seed):
    """Send and get back so many bytes; are they the same?"""
    sent, got, block = hashlib.sha256(), hashlib.sha256(), hashlib.sha256(b"%d" % seed).digest() * 2048
    with Caller(port, wait=240) as c:
        def writer():
            left = size
            while left > 0:
                piece = block[:left]
                sent.update(piece)
                c.send(piece)
                left -= len(piece)

        t = threading.Thread(target=writer, daemon=True)
        t.start()
        left = size
        while left > 0 and (data := c.sock.recv(262144)):
            got.update(data)
            left -= len(data)
        t.join()
    return left == 0 and sent.digest() == got.digest()


@test
def parallel(r):
    """A hundred at once, while keys are renewed by either side."""
    d = vtunneld(r)
    service, port = echoer(r), free_port(r)
    p = go(r, d, f"{port}={service.target}", more=("--rekey-bytes", str(BULK // 8), "--quiet", "opened", "--quiet", "closed"))
    n = 20 if SANITIZED else 100
    results = in_parallel([lambda i=i: transfer(port, BULK // n, i) for i in range(n)])
    r.equal("byte for byte", results.count(True), n)
    r.check("keys were renewed", len(p.seen(event="keys")) > 1, p.seen(event="keys"))


@test
def bulk(r):
    d = vtunneld(r)
    service, port = echoer(r), free_port(r)
    go(r, d, f"{port}={service.target}")
    r.check("much both ways", transfer(port, BULK, 7))


@test
def short(r):
    """One after the other in eight threads: the session outlives them all."""
    d = vtunneld(r)
    service, port, other = r.keep(Plain(lambda c: c.send(b"0123456789"))), free_port(r), free_port(r)
    p = go(r, d, f"{port}={service.target}", f"{other}={echoer(r).target}", more=("--quiet", "opened", "--quiet", "closed"))

    def some():
        ok = 0
        for _ in range(SHORT // 8):
            with Caller(port) as c:
                ok += c.exactly(10) == b"0123456789"
        return ok

    r.equal("all of them", sum(in_parallel([some] * 8)), SHORT // 8 * 8)

    def visit():       # and the visitor leaves first, which looks like one who still waits
        return sum(echoes(other, b"x") for _ in range(SHORT // 8))

    r.equal("and when the visitor ends it", sum(in_parallel([visit] * 8)), SHORT // 8 * 8)
    r.check("one session", not p.seen(event="lost"))
    r.until("nothing is left", lambda: d.status()[0]["running"] == 0)


@test
def endings(r):
    """A visitor's FIN does not cut the answer; what the service sends before its end arrives; a visitor who reads slowly gets all of it."""
    d = vtunneld(r)
    go_on = threading.Event()

    def late(c):
        c.until(b"\n")
        go_on.wait(WAIT)
        c.send(b"answer")

    big = b"0123456789abcdef" * 65536
    rows = {"late": Plain(late), "big": Plain(lambda c: (c.send(big), c.half_close(), c.over())), "silent": Plain(lambda c: c.until(b"never"))}
    ports = {name: free_port(r) for name in rows}
    go(r, d, *(f"{ports[name]}={r.keep(s).target}" for name, s in rows.items()))
    c = call(r, ports["late"], b"question\n")
    c.half_close()
    r.until("the visitor is there", lambda: any(t["running"] for t in d.status()))
    go_on.set()
    r.equal("the answer behind the FIN", (c.exactly(6), c.over()), (b"answer", "fin"))
    c = call(r, ports["big"], b"", rcvbuf=4096)
    r.until("it is sent", lambda: any(t["running"] for t in d.status()))
    r.equal("to the last byte", (c.exactly(len(big)) == big, c.over()), (True, "fin"))
    r.equal("also when more is sent than is read", call(r, ports["big"], b"x" * 100000, rcvbuf=4096).exactly(len(big)) == big, True)
    with Caller(ports["big"], rcvbuf=4096) as c:        # one who goes on sending
        over = threading.Event()

        def flood():
            try:
                while not over.is_set():
                    c.send(b"x" * 10000)
            except OSError:
                pass

        t = threading.Thread(target=flood, daemon=True)
        t.start()
        r.equal("or sent without end", c.exactly(len(big)) == big, True)
        over.set()
        t.join()
    c = call(r, ports["silent"], b"x")
    r.until("it is there", lambda: any(t["running"] for t in d.status()))
    c.close()
    r.until("a visitor who leaves ends it", lambda: not any(t["running"] for t in d.status()))
    gone = free_port(r)
    p = go(r, d, f"{gone}=127.0.0.1:{free_port(r)}")
    r.check("a target that refuses closes the visitor", call(r, gone).over() in ("fin", "reset"))
    r.check("and nothing else", not p.seen(event="lost"))


@test
def few_streams(r):
    """A session has no more of them than it may; who comes then is sent away."""
    d = vtunneld(r, "--streams", "2")
    port = free_port(r)
    p = go(r, d, f"{port}={echoer(r).target}")
    held = [call(r, port, b"x") for _ in range(2)]
    r.equal("two", [c.exactly(1) for c in held], [b"x", b"x"])
    r.equal("a third", call(r, port, b"x").over(), "reset")
    held[0].half_close()
    r.equal("until one has ended", held[0].over(), "fin")
    r.until("there is room", lambda: echoes(port))
    r.check("one session", not p.seen(event="lost"))


@test
def unknown_port(r):
    """The client refuses a channel: its visitor is sent away, the session goes on."""
    d = vtunneld(r)
    raw, port = Raw(r, d), free_port(r)
    r.equal("a port it does not know", raw.want({"port": port})[0], True)
    raw.ports.clear()
    r.equal("its visitor", call(r, port).over(), "reset")
    r.equal("the session", raw.want(b"", "ping"), (True, "pong"))


# ---- misbehaviour ------------------------------------------------------------------------

EVIL = ("garbage-version", "ignore-early", "low-order", "auth20", "auth-odd", "auth-stop", "early-request", "early-open", "bad-listen",
        "unknown-requests", "client-open", "garbage", "bad-tag", "huge-length", "zero-length", "replay", "window-overrun", "big-packet")


@test
def evil(r):
    """Whatever one client does, another's session and the daemon live on."""
    d = vtunneld(r)
    service, port, bad = echoer(r), free_port(r), free_port(r)
    good = go(r, d, f"{port}={service.target}")
    for name in EVIL:
        p = r.spawn(PYTHON, f"{PEER}/vtgo.py", "client", f"ws://127.0.0.1:{d.port}/", "--key", PRIV, "--once", "--evil", name,
                    "--forward", f"{bad}={service.target}", kind=Quiet)
        if name in ("window-overrun", "big-packet", "replay", "bad-tag"):
            r.until(f"{name}: it has a port", lambda p=p: p.seen(event="listening") or not p.alive())
            echoes_briefly(bad)
        r.check(f"{name}: the other goes on", echoes(port), d.errs[-3:])
        p.kill(signal.SIGTERM)
    r.check("one session", not good.seen(event="lost") and d.alive())


class Quiet(Proc):
    """A peer whose own breaches are the point."""
    seen = __import__("rig").Peer.seen
    match = staticmethod(__import__("rig").Peer.match)
    may_violate = True


def echoes_briefly(port):
    try:
        with Caller(port, b"x", wait=0.5) as c:
            c.more()
    except (OSError, Miss, ValueError):
        pass


@test
def sandboxed(r):
    """No system call that the sandbox does not expect, with libsodium and all."""
    a = pair()
    path = write(f"{r.tmp}/keys", f"{PUB}\n")
    d = vtunneld(r, "--vtunnel-keys", path, key=None, program="test/tunneld-strict")
    service, port = echoer(r), free_port(r)
    go(r, d, f"{port}={service.target}", more=("--rekey-bytes", "100000"))
    r.check("bytes", transfer(port, 1 << 20, 1))
    write(path, f"{PUB}\n{a[1]} path=/a\n")
    d.log("event=vtunnel_keys_read")
    go(r, d, key=a[0], path="/a")
    r.check("it lives", d.alive() and echoes(port))


main(4)
