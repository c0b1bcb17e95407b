"""`tunnel forward` towards vtunnel servers: the keys, the ports, the channels, and what may go wrong with each.

The server is peer/vtgo.py, which is as strict as the original: what would make that one end the session is a violation here.
"""
import base64
import hashlib
import os
import random
import re
import signal
import socket
import stat
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from certs import Certs
import vtssh
from client import Client, free_port, run_tool
from rig import BIN, PEER, PYTHON, SANITIZED, WAIT, Caller, Clock, Miss, Plain, echo, main, test
from tlspeer import TlsService, serving_with
# pylint: enable=wrong-import-position

SHORT = int(os.environ.get("TUNNEL_TEST_CALLS") or (150 if SANITIZED else 1000))        # 10000 is the full number
EACH = int(os.environ.get("TUNNEL_TEST_BYTES") or (20 if SANITIZED else 100) * 200000) // 100   # 1073741824 is the full number


def keys(r):
    """A new one: the file with the private part, and the public one."""
    path = f"{r.tmp}/key{sum(name.startswith('key') for name in os.listdir(r.tmp))}"
    status, out, err = run_tool("keygen", path)
    if status != 0:
        raise Miss(f"keygen: {err}")
    return path, re.search(r"vt-pub-\S+", out).group(0)


def server(r, *args):
    p = r.spawn(PYTHON, f"{PEER}/vtgo.py", "server", *args)
    began = p.event(event="serving")
    p.port, p.url = began["port"], began["url"]
    return p


def forward(r, url, *args, ready=True, env=None, program=f"{BIN}/tunnel"):
    c = r.keep(Client(r, ["forward", *args, "--endpoint", url], env, program))
    if ready:
        c.port = int(c.wait_line(c.lines, re.compile(r"^tcp://127\.0\.0\.1:(\d+) -> ").search, "tcp line").group(1))
    return c


def both(r, target, *args, more=(), **opts):
    """A server and our client, with a key, and a port of the server's that leads to target."""
    path, pub = keys(r)
    s = server(r, "--key", pub, *args)
    return s, forward(r, s.url, f"{free_port(r)}={target}", "--key-file", path, *more, **opts)


def call(r, port, data=b""):
    return r.keep(Caller(port, data))


def answers(r, what, port, data=b"hello"):
    with Caller(port, data) as c:
        r.equal(what, c.exactly(len(data)), data)


def cut(port):
    """What a caller there gets before its connection ends."""
    with Caller(port, b"GET / HTTP/1.0\r\n\r\n") as c:
        while c.more():
            pass
        return c.buf


# ---- keys --------------------------------------------------------------------------------

@test
def keygen(r):
    path, pub = keys(r)
    with open(path, encoding="ascii") as f:
        text = f.read()
    r.has("a line with the private key", r"\Avt-priv-[A-Za-z0-9+/]{43}\n\Z", text)
    r.has("the public one", r"\Avt-pub-[A-Za-z0-9+/]{43}\Z", pub)
    r.equal("nobody else can read it", stat.S_IMODE(os.stat(path).st_mode), 0o600)
    status, out, err = run_tool("keygen", path)
    r.equal("never over a file that is there", (status, out), (2, ""))
    r.has("and says so", "is there already", err)
    with open(path, encoding="ascii") as f:
        r.equal("which stays", f.read(), text)
    was = os.umask(0o777)
    try:
        status = run_tool("keygen", f"{r.tmp}/umask")[0]
    finally:
        os.umask(was)
    r.equal("whatever the umask", (status, stat.S_IMODE(os.stat(f"{r.tmp}/umask").st_mode)), (0, 0o600))
    os.symlink(f"{r.tmp}/elsewhere", f"{r.tmp}/link")
    r.equal("nor through a link", (run_tool("keygen", f"{r.tmp}/link")[0], os.path.exists(f"{r.tmp}/elsewhere")), (2, False))
    status, out, err = run_tool("keygen")
    r.equal("without a file: exit status", (status, err), (0, ""))
    r.has("as vtunnel prints them", r"\APrivate key \(client\): vt-priv-\S{43}\nPublic key \(server\):  vt-pub-\S{43}\n\Z", out)
    r.check("another one each time", pub not in out and text.strip() not in out)
    r.equal("no folder", run_tool("keygen", f"{r.tmp}/no/key")[0], 1)
    r.equal("too many words", run_tool("keygen", "a", "b")[0], 2)
    with open("/dev/full", "w", encoding="ascii") as full:
        import subprocess       # pylint: disable=import-outside-toplevel
        p = subprocess.run([f"{BIN}/tunnel", "keygen", f"{r.tmp}/full"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=WAIT)
    r.equal("half a pair is none", (p.returncode, os.path.exists(f"{r.tmp}/full")), (1, False))


@test
def who_is_who(r):
    """3: which keys fit, and how the client ends if they do not."""
    mine, pub = keys(r)
    other, other_pub = keys(r)
    service = r.keep(Plain(echo))
    rows = (("keys that fit", ["--key", pub], mine, None, None), ("none at all", [], None, None, None),
            ("the server has none", [], mine, 5, "host key"), ("the client has none", ["--key", pub], None, 3, "wants a key"),
            ("another client's", ["--key", other_pub], mine, 5, "host key"), ("and the other way round", ["--key", pub], other, 5, "host key"),
            ("a host key that is none of both", ["--key", pub, "--evil", "wrong-host"], mine, 5, "host key"),
            ("a signature that is none", ["--key", pub, "--evil", "bad-host-signature"], mine, 1, "signature"),
            ("a fake that knows the public key", ["--key", pub, "--evil", "refuse-auth"], mine, 3, "does not take our key"))
    for what, at_server, key, status, words in rows:
        s = server(r, *at_server)
        s.may_violate = status is not None
        c = forward(r, s.url, f"{free_port(r)}={service.target}", *(["--key-file", key] if key else ["--dialect", "vtunnel"]),
                    ready=status is None)
        if status is None:
            answers(r, what, c.port)
            r.equal(f"{what}: user and version", s.event(event="client")["version"][:15], "SSH-2.0-tunnel_")
            if not key:
                c.says("no key")
            c.stop()
            s.event(event="lost", what="disconnect 11 client stopped")
        else:
            c.ends(what, status)
            c.says(words)
    with open(mine, encoding="ascii") as f:
        secret = f.read().strip()
    r.check("the key stands nowhere", secret not in "\n".join(l for p in r.things if isinstance(p, Client) for l in [*p.errs, *p.lines] if l))


@test
def pins(r):
    """16.1: a host key of the server's own, which is none that is made of the client's public key."""
    service, (mine, pub) = r.keep(Plain(echo)), keys(r)
    s = server(r)
    to = f"{free_port(r)}={service.target}"
    c = forward(r, s.url, to, "--dialect", "vtunnel", "--host-key", "SHA256:" + "A" * 43, ready=False)
    c.ends("another pin", 5)
    seen = c.says("SHA256:[A-Za-z0-9+/]{43}").group(0)
    r.check("it is asked for the server's own", "Tunnel-Host-Key: own" in s.event(event="request")["fields"])
    for more in (["--dialect", "vtunnel"], ["--key-file", mine]):
        c = forward(r, s.url, to, *more, "--host-key", seen)
        answers(r, f"pinned, {more}", c.port)
        c.stop()
        said = "\n".join(l for l in c.errs if l)
        r.check(f"whom {more} trusts", "whoever answers" not in said and ("lets in whoever comes" in said) == (mine not in more), said)
    s = server(r, "--key", pub)
    c = forward(r, s.url, to, "--key-file", mine, "--host-key", seen, ready=False)
    c.ends("a server that has but the derived one", 5)
    derived = c.says("SHA256:[A-Za-z0-9+/]{43}").group(0)
    c = forward(r, s.url, to, "--key-file", mine, "--host-key", derived, ready=False)
    c.ends("the derived one is no pin", 2)
    c.says("protect|made of our own")
    blob = vtssh.blob_of(vtssh.decode_key("vt-pub-", pub))
    seed = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    c = forward(r, s.url, to, "--key-file", mine, "--host-key", seed, ready=False)
    c.ends("nor is our own key, of whose fingerprint that one is made", 2)
    r.check("which is not repeated", not any(seed[7:] in l for l in c.errs if l), c.errs)


@test
def words(r):
    """Options that do not go together, before anything is connected to."""
    key, _ = keys(r)
    url = "ws://127.0.0.1:9"
    for name, text in (("empty", ""), ("pub", keys(r)[1] + "\n"), ("short", "vt-priv-AAAA\n"), ("padded", "vt-priv-" + "A" * 43 + "=\n"),
                       ("long", "vt-priv-" + "A" * 4000)):
        with open(f"{r.tmp}/{name}", "w", encoding="ascii") as f:
            f.write(text)
    rows = (("no such file", ["9000=1", "--key-file", f"{r.tmp}/none"], "none: No such file"),
            *((name, ["9000=1", "--key-file", f"{r.tmp}/{name}"], ".") for name in ("empty", "pub", "short", "padded", "long")),
            ("native", ["9000=1", "--key-file", key, "--dialect", "native"], "for the dialect vtunnel"),
            ("pin without", ["9000=1", "--host-key", "SHA256:" + "A" * 43], "for the dialect vtunnel"),
            ("no pin", ["9000=1", "--key-file", key, "--host-key", "sha256:" + "A" * 43 + "="], "SHA256: and 43"),
            ("port 0", ["0=1", "--key-file", key], "no port 0"), ("no port", ["70000=1", "--key-file", key], "is no port"),
            ("no domain", ["a b=1", "--key-file", key], "is no domain"), ("the same twice", ["a.x=1", "A.x=2", "--key-file", key], "name of two|another tunnel"),
            ("public", ["9000=1", "--key-file", key, "--public"], "has no --public"),
            ("PROXY", ["9000=1", "--key-file", key, "--proxy-protocol", "v1"], "has no --public"),
            ("shared", ["9000=1", "--key-file", key, "--connections", "2"], "no --share and --connections"),
            ("guards", ["9000=1", "--key-file", key, "--allow", "10.0.0.0/8"], "let any caller in"),
            ("a URL", ["9000=http://a", "--key-file", key], "tls://HOST:PORT"), ("TLS nowhere", ["9000=tls://:443", "--key-file", key], "tls://HOST:PORT"),
            ("TLS without a port", ["9000=tls://a", "--key-file", key], "tls://HOST:PORT"))
    for what, args, pattern in rows:
        status, out, err = run_tool("forward", *args, "--endpoint", url)
        r.equal(f"{what}: exit status", (status, out), (2, ""))
        r.has(what, pattern, err)
        r.check(f"{what}: the file's text is not shown", "vt-pri" + "v-AAAA" not in err, err)
    status, _, err = run_tool("connect", "3000", "--dialect", "vtunnel", "--endpoint", url)
    r.equal("connect", status, 2)
    r.has("connect", "use tunnel forward", err)
    status, _, err = run_tool("connect", "tls://a:1", "--endpoint", url, env={"TUNNEL_TOKEN": "tn_x"})
    r.equal("TLS for HTTP", status, 2)
    r.has("TLS for HTTP", "https://", err)
    os.chmod(key, 0o644)
    service, s = r.keep(Plain(echo)), server(r)
    c = forward(r, s.url, f"{free_port(r)}={service.target}", ready=False, env={"TUNNEL_KEY_FILE": key})
    c.says("chmod 600")
    c.ends("by the environment", 5)


# ---- ports -------------------------------------------------------------------------------

@test
def listening(r):
    """6: what a server may answer."""
    service, (key, pub) = r.keep(Plain(echo)), keys(r)
    rows = (("v0.1.0", ["--old"], None, None), ("v0.6.0", [], None, None),
            ("in use", ["--reject", "listen tcp 127.0.0.1:1: bind: address already in use"], 4, "the port is in use: listen tcp"),
            ("may not", ["--reject", "listen tcp 127.0.0.1:1: bind: permission denied"], 3, "permission denied"),
            ("no port", ["--reject", "listen tcp: address 70000: invalid port"], 2, "invalid port"),
            ("anything", ["--reject", "no \x1b[31mway"], 4, r"does not take it: no \\x1b\[31mway"))
    for what, more, status, words_ in rows:
        s = server(r, "--key", pub, *more)
        port = free_port(r)
        c = forward(r, s.url, f"{port}={service.target}", "--key-file", key, ready=not status)
        r.equal(f"{what}: asked", s.event(event="listen")["payload"] if not status else None,
                f'{{"port":{port},"local_addr":"{service.target}"}}' if not status else None)
        if status:
            c.ends(what, status)
            c.says(words_)
        else:
            answers(r, what, c.port)
            c.stop()


@test
def several(r):
    """One refused, the others run; a port that another program has."""
    service, (key, pub) = r.keep(Plain(echo)), keys(r)
    s, a, b = server(r, "--key", pub), free_port(r), free_port(r)
    taken = r.keep(socket.create_server(("127.0.0.1", 0)))
    held = taken.getsockname()[1]
    c = forward(r, s.url, f"{held}={service.target}", f"{a}={service.target}", f"{b}={service.target}", "--key-file", key, ready=False)
    c.says(f"{held}.*already in use")
    for port in (a, b):
        c.wait_line(c.lines, re.compile(f"^tcp://127.0.0.1:{port} -> ").search, f"line of {port}")
        answers(r, f"port {port}", port)
    s.kill(signal.SIGUSR2)
    for port in (a, b):
        c.says(f"{port} is back")
    r.equal("the refused one is asked for no more", len(s.seen(event="listen")), 5)
    s, a = server(r, "--key", pub, "--open-payload", f'{{"port":{held}}}'), free_port(r)
    c = forward(r, s.url, f"{held}={service.target}", f"{a}={service.target}", "--key-file", key, ready=False)
    c.wait_line(c.lines, re.compile(f"^tcp://127.0.0.1:{a} -> ").search, "line")
    r.equal("nor does anybody come to it", (cut(a), s.event(event="refused")["what"]), (b"", "no forward for port"))


@test
def domains(r):
    """13: a domain of the server's proxy, whose port is the server's choice."""
    service, (key, pub) = r.keep(Plain(echo)), keys(r)
    s = server(r, "--key", pub)
    c = forward(r, s.url, f"My.api.local={service.target}", f"*.wild.local:8080={service.target}", "--key-file", key, ready=False)
    for domain in (r"my\.api\.local", r"\*\.wild\.local:8080"):
        c.wait_line(c.lines, re.compile(f"^{domain} -> {service.target}$").search, domain)
    r.equal("asked", s.seen(event="listen")[0]["payload"], f'{{"port":0,"local_addr":"{service.target}","domain":"my.api.local"}}')
    for key_ in ("my.api.local:80", "my.api.local:443", "*.wild.local:8080"):
        answers(r, key_, s.event(event="mapped", key=key_)["port"])
    s.kill(signal.SIGUSR2)
    c.says("my.api.local is back")
    answers(r, "the new port", s.seen(event="mapped", key="my.api.local:80")[-1]["port"])
    old = server(r, "--key", pub, "--old")
    c = forward(r, old.url, f"my.api.local={service.target}", "--key-file", key, ready=False)
    c.ends("v0.1.0 has none", 4)
    c.says("too old for domains")


# ---- channels ----------------------------------------------------------------------------

@test
def channels(r):
    """7: what is asked of the client, and how it says no."""
    service = r.keep(Plain(echo))
    for more, reason, what in ((["--open-payload", '{"port":1}'], 2, "no forward for port"), (["--open-payload", '{"port":'], 2, "invalid tunnel request"),
                               (["--open-payload", '{"port":"1"}'], 2, "invalid tunnel request"), (["--open-type", "session"], 3, "unknown channel type"),
                               (["--open-type", "direct-tcpip"], 3, "unknown channel type")):
        s, c = both(r, service.target, *more)
        r.equal(f"{what}: the caller", cut(c.port), b"")
        got = s.event(event="refused")
        r.equal(f"{more}", (got["reason"], got["what"]), (reason, what))


@test
def requests(r):
    """What a server asks for and a client does not know is refused where an answer is wanted, and nowhere else."""
    service = r.keep(Plain(echo))
    s, c = both(r, service.target, "--evil", "unknown-requests")
    s.event(event="evil", what="end")
    answers(r, "it goes on", c.port)
    r.check("in one session", not s.seen(event="lost"), s.lines)


@test
def targets(r):
    """16.4: nothing is confirmed before the target has been reached; it may be any."""
    s, c = both(r, f"127.0.0.1:{free_port(r)}")
    r.equal("nobody listens: the caller", cut(c.port), b"")
    got = s.event(event="refused")
    r.equal("nobody listens", (got["reason"], got["what"]), (2, "refused"))
    c.says("TCP .* refused")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{r.tmp}/s")
        listener.listen()
        s, c = both(r, f"unix:{r.tmp}/s")
        with Caller(c.port) as one:
            conn, _ = listener.accept()
            one.send(b"ping")
            while not (got := conn.recv(4)):        # a look whether anything listens
                conn, _ = listener.accept()
            conn.sendall(got + b"pong")
            r.equal("a unix socket", one.exactly(8), b"pingpong")
            conn.close()
            one.over()
        r.check("its path is not the server's business", r.tmp not in s.event(event="listen")["payload"])


@test
def tls_targets(r):
    """10: TLS begins at the client, and its certificate is judged there."""
    certs = Certs(f"{r.tmp}/certs")
    ca = certs.make("ca", ca=True)
    good, bad = certs.make("good", ca, san=["DNS:localhost"]), certs.make("bad", ca, san=["DNS:elsewhere.example"])

    def said(conn, _):
        conn.send(b"over TLS")

    for what, pair, args, ok in (("verified", good, ["--ca", ca.cert], True), ("another name", bad, ["--ca", ca.cert], False),
                                 ("another CA", good, [], False), ("not verified", bad, ["--insecure-target"], True)):
        service = r.keep(TlsService(said, serving_with(pair)))
        s, c = both(r, f"tls://localhost:{service.target.rpartition(':')[2]}", more=args)
        r.equal(f"{what}: the caller", cut(c.port), b"over TLS" if ok else b"")
        if ok:
            r.has(f"{what}: SNI and all", "GET / ", service.heads[0])
        else:
            r.equal(f"{what}: the server", s.event(event="refused")["what"], "tls")
            c.says("certificate|trust|issued|name")
    r.has("told as it is", '"local_addr":"tls://localhost:', s.event(event="listen")["payload"])
    service, port = r.keep(TlsService(said, serving_with(good))), free_port(r)
    d = r.daemon(scope=str(port))
    c = forward(r, f"http://127.0.0.1:{d.port}", f"{port}=tls://localhost:{service.target.rpartition(':')[2]}", "--ca", ca.cert,
                env={"TUNNEL_TOKEN": d.token})
    r.equal("the native dialect", cut(port), b"over TLS")


@test
def endings(r):
    """7: the original ends every channel by CLOSE; what came before it is delivered, and nothing is sent behind it."""
    size = 1 << 20
    data = random.Random(1).randbytes(size)
    closed = threading.Semaphore(0)

    def sink(conn):
        if not conn.more():
            return      # a look whether anything listens
        closed.acquire(timeout=WAIT)
        conn.send(b"x" * 100000)        # which nobody reads
        while conn.more():
            pass
        service.note((len(conn.buf), conn.buf == data, conn.ended))

    service = r.keep(Plain(sink))
    s, c = both(r, service.target)
    for i in range(3):
        mark = len(s.lines)
        with Caller(c.port, data):
            pass
        sent = s.event(event="closed", start=mark)["sent"]
        closed.release()
        r.equal("all of it, and its end", service.noted(i + 1), (sent, True, "fin"))

    def source(conn):
        conn.exactly(1)
        conn.send(data)

    service2 = r.keep(Plain(source))
    s2, c2 = both(r, service2.target)
    for _ in range(3):
        with Caller(c2.port, b"x") as caller:
            while caller.more():
                pass
            r.equal("and the other way", (caller.buf == data, caller.ended), (True, "fin"))

    def silent(conn):
        if not conn.more():
            return
        service3.note("first")
        while conn.more():
            pass
        service3.note(conn.ended)

    service3 = r.keep(Plain(silent))
    s3, c3 = both(r, service3.target)
    with Caller(c3.port, b"x"):
        service3.noted(1)
    r.equal("a caller that leaves", service3.noted(2), "fin")
    s3.event(event="closed")
    r.equal("the sessions have lived", [p.seen(event="lost") for p in (s, s2, s3)], [[], [], []])


@test
def short_ones(r):
    """Thousands, of every kind of end."""
    def handle(conn):
        kind = conn.exactly(1)
        if kind == b"e":
            echo(conn)
        elif kind == b"r":
            conn.reset()
        elif kind == b"b":
            conn.send(b"b" * 20000)

    service = r.keep(Plain(handle))
    s, c = both(r, service.target, "--quiet", "opened", "--quiet", "closed", more=["--quiet"])
    left, wrong, lock_ = [SHORT], [], threading.Lock()

    def work(seed):
        rnd = random.Random(seed)
        while True:
            with lock_:
                if left[0] == 0:
                    return
                left[0] -= 1
            kind = rnd.choice("eerbcn")
            try:
                with Caller(c.port) as one:
                    if kind == "e":
                        text = rnd.randbytes(rnd.choice((1, 100, 5000)))
                        one.send(b"e" + text)
                        if one.exactly(len(text)) != text:
                            wrong.append("echo")
                    elif kind == "b":
                        one.send(b"b")
                        while one.more():
                            pass
                        if one.buf != b"b" * 20000:
                            wrong.append(f"burst of {len(one.buf)}, {one.ended}")
                    elif kind == "r":
                        one.send(b"r")
                        while one.more():
                            pass
                    elif kind == "c":
                        one.send(b"e" + b"c" * 3000)
                    if rnd.random() < 0.2:
                        one.reset()
            except (OSError, EOFError, Miss) as e:
                if kind in "eb":
                    wrong.append(f"{kind}: {e!r}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    r.equal(f"{SHORT} short ones", wrong[:3], [])
    r.equal("and one more", cut(c.port), b"")
    r.equal("in one session", (len(s.seen(event="client")), s.seen(event="lost")), (1, []))


@test
def at_once(r):
    """A hundred transfers both ways while the keys are renewed, to the byte."""
    service = r.keep(Plain(echo))
    s, c = both(r, service.target, "--rekey-bytes", str(5 * EACH), "--quiet", "opened", "--quiet", "closed", more=["--quiet"])
    n, wrong = 100, []

    def send(one, data):
        try:
            for at in range(0, EACH, 65536):
                one.send(data[at:at + 65536])
        except OSError as e:
            wrong.append(repr(e))

    def work(i):
        data = random.Random(i).randbytes(EACH)
        try:
            with Caller(c.port) as one:
                sender = threading.Thread(target=send, args=(one, data))
                sender.start()
                while len(one.buf) < EACH and one.more():
                    pass
                sender.join()
                if one.buf != data:
                    wrong.append((i, len(one.buf), one.ended))
        except (OSError, Miss) as e:
            wrong.append((i, repr(e)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    s.kill(signal.SIGUSR1)
    for t in threads:
        t.join()
    r.equal(f"{n} times {EACH} bytes there and back", wrong[:5], [])
    r.check("with new keys meanwhile", len(s.seen(event="keys")) > 3, len(s.seen(event="keys")))
    r.equal("in one session", (len(s.seen(event="client")), s.seen(event="lost")), (1, []))


# ---- connections that end ----------------------------------------------------------------

@test
def reconnecting(r):
    """10: cut, and killed; the ports are there again, and callers that come meanwhile are served."""
    service, (key, pub) = r.keep(Plain(echo)), keys(r)
    s = server(r, "--key", pub)
    port = free_port(r)
    c = forward(r, s.url, f"{port}={service.target}", "--key-file", key)
    for i in range(2):
        mark, before = c.marks(), len(s.lines)
        s.kill(signal.SIGUSR2)
        s.event(event="lost", start=before)
        answers(r, f"cut, {i}: a caller in the gap", port)
        c.says("is back", start=mark)
        answers(r, f"cut, {i}", port)
    s, port = server(r, "--key", pub), free_port(r)
    c = forward(r, s.url, f"{port}={service.target}", "--key-file", key)
    mark = c.marks()
    s.kill()
    s.exit()
    c.says("trying again in", start=mark)
    with socket.socket() as other:      # somebody has the port when the server is back
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        server(r, "--key", pub, "--port", str(s.port))
        c.says(f"{port} refused: .*already in use; trying again in", start=mark)
    c.says("is back", start=mark)
    answers(r, "another server there", port)


@test
def dropped(r):
    """A drop loses the transfer, and nothing else."""
    ended = threading.Event()

    def handle(conn):
        try:
            while True:
                conn.send(b"y" * 65536)
        except OSError:
            ended.set()

    service = r.keep(Plain(handle))
    s, c = both(r, service.target)
    with Caller(c.port) as one:
        one.exactly(1 << 20)
        s.kill(signal.SIGUSR2)
        while one.more():
            one.buf = b""
    r.check("the local service is told", ended.wait(WAIT))
    c.says("is back")
    with Caller(c.port) as one:
        r.equal("the next one", one.exactly(5), b"yyyyy")


@test
def silence(r):
    """8: pings both ways, and a server that answers no more."""
    service, clock = r.keep(Plain(echo)), Clock(r)
    s, c = both(r, service.target, "--keepalive", "0.2", env=clock.env, program=f"{BIN}/test/tunnel-clock")
    r.equal("it answers", s.event(event="pong")["payload"], "pong")
    answers(r, "there", c.port)
    for _ in range(3):
        clock.move(31)
    answers(r, "and stays, as pings are answered", c.port)
    s.kill(signal.SIGSTOP)
    try:
        clock.move(31)
        mark = c.marks()

        def late():
            clock.move(31)
            return any("answers no more" in l for l in c.errs[mark:] if l)

        r.until("it notices", late)
    finally:
        s.kill(signal.SIGCONT)
    c.says("is back", start=mark)
    for evil in ("no-version", "stop-kex"):
        clock2 = Clock(r)
        s = server(r, "--evil", evil)
        c = forward(r, s.url, f"{free_port(r)}={service.target}", "--dialect", "vtunnel", ready=False, env=clock2.env, program=f"{BIN}/test/tunnel-clock")
        s.event(event="request")

        def no_ssh(clock2=clock2, c=c):
            clock2.move(31)
            return any("no SSH in time" in l for l in c.errs if l)

        r.until(f"{evil}: not for ever", no_ssh)


@test
def strangers(r):
    """What is there is no vtunnel server."""
    service, (key, pub) = r.keep(Plain(echo)), keys(r)
    to = f"{free_port(r)}={service.target}"
    for status in ("200 OK", "400 Bad Request", "404 Not Found", "426 Upgrade Required"):
        s = server(r, "--key", pub, "--status", status)
        c = forward(r, s.url, to, "--key-file", key, ready=False)
        c.ends(status, 1)
        c.says(f"is no vtunnel server: it answered {status[:3]}")
    for evil in ("garbage-version", "bad-accept", "low-order"):
        s = server(r, "--key", pub, "--evil", evil)
        s.may_violate = True
        c = forward(r, s.url, to, "--key-file", key, ready=False)
        c.ends(evil, 1)
        c.says("is no vtunnel server")
    for status in ("503 Service Unavailable", "429 Too Many Requests", "408 Request Timeout"):
        s = server(r, "--key", pub, "--status", status)
        c = forward(r, s.url, to, "--key-file", key, ready=False)
        c.says(f"{status[:3]} .*trying again")
    c = forward(r, f"ws://127.0.0.1:{free_port(r)}", to, "--key-file", key, ready=False)
    c.says("cannot reach .*trying again")


@test
def anywhere(r):
    """Any path; options behind the operands and in front; both kinds of ports over one session; a token in the environment stays there."""
    service, (key, pub) = r.keep(Plain(echo)), keys(r)
    with open(key, "a", encoding="ascii") as f:         # the first line counts, whatever follows
        f.write(f"{pub}\nof the office in {'x' * 100}\n")
    s = server(r, "--key", pub)
    a, b = free_port(r), free_port(r)
    c = r.keep(Client(r, ["forward", f"{a}={service.target}", "--key-file", key, f"{b}={service.target}"],
                      {"TUNNEL_ENDPOINT": s.url + "any/path/", "TUNNEL_TOKEN": "tn_" + "s" * 43}))
    for port in (a, b):
        c.wait_line(c.lines, re.compile(f":{port} -> ").search, f"{port}")
        answers(r, f"{port}", port)
    req = s.event(event="request")
    r.equal("the path", req["line"], "GET /any/path HTTP/1.1")
    r.check("nothing but what a WebSocket needs", "tn_" not in str(req) and "Authorization" not in str(req), req)


# ---- with a tunneld ----------------------------------------------------------------------

@test
def own_daemon(r):
    """With keys; a FIN crosses, which it does not with the original; and the daemon's own host key."""
    (mine, pub), (other, _) = keys(r), keys(r)

    def late(conn):
        while conn.more():
            pass
        conn.send(b"all of " + str(len(conn.buf)).encode())

    service = r.keep(Plain(late))
    d = r.daemon("--vtunnel-key", pub)
    url, own = f"ws://127.0.0.1:{d.port}", d.log(r"event=vtunnel .*host_key=(SHA256:\S{43})").group(1)
    port, more = free_port(r), free_port(r)
    c = forward(r, url, f"{port}={service.target}", "--key-file", mine)
    for _ in range(3):
        with Caller(port, b"x" * 300000) as caller:
            caller.half_close()
            while caller.more():
                pass
            r.equal("an answer after the end of the question", (caller.buf, caller.ended), (b"all of 300000", "fin"))
    c2 = forward(r, url, f"{more}={service.target}", "--key-file", mine, "--host-key", own)
    with Caller(more, b"y") as caller:
        caller.half_close()
        r.equal("pinned", caller.exactly(8), b"all of 1")
    for what, key, pin, status, words_ in (("another pin", mine, "SHA256:" + "A" * 43, 5, re.escape(own)), ("another key", other, own, 3, "does not take our key"),
                                           ("another key, and no pin", other, None, 5, "host key")):
        bad = forward(r, url, f"{free_port(r)}={service.target}", "--key-file", key, *(["--host-key", pin] if pin else []), ready=False)
        bad.ends(what, status)
        bad.says(words_)
    narrow = r.daemon("--vtunnel-key", f"{pub} 9000,in.local", name="narrow")
    bad = forward(r, f"ws://127.0.0.1:{narrow.port}", f"out.local={service.target}", "--key-file", mine, ready=False)
    bad.ends("a domain that the key may not have", 3)
    bad.says("scope does not hold this domain")
    taken = forward(r, url, f"{d.port}={service.target}", "--key-file", mine, ready=False)
    r.check("a port that is not to be had", taken.ends("the daemon's own port", 4) or taken.says("refused"))
    c.kill9()
    again = forward(r, url, f"{port}={service.target}", "--key-file", mine)
    with Caller(again.port, b"z") as caller:
        caller.half_close()
        r.equal("after a crash, within the grace period", caller.exactly(8), b"all of 1")
    c2.stop()
    r.until("an orderly end frees the port", lambda: refused(more))


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), WAIT).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


@test
def own_keyless(r):
    service, port = r.keep(Plain(echo)), free_port(r)
    d = r.daemon("--open", "vtunnel", "--proxy", "0")
    proxy = int(d.log(r"event=listening proto=proxy addr=127\.0\.0\.1:(\d+)").group(1))
    c = forward(r, f"ws://127.0.0.1:{d.port}/any", f"{port}={service.target}", "--dialect", "vtunnel")
    answers(r, "without any key", port)
    domain = forward(r, f"ws://127.0.0.1:{d.port}", f"app.local={service.target}", f"{free_port(r)}={service.target}",
                     f"dead.local=127.0.0.1:{free_port(r)}", "--dialect", "vtunnel")
    for name in ("app", "dead"):
        domain.wait_line(domain.lines, re.compile(f"^{name}.local -> ").search, "domain")
    with Caller(proxy, "GET http://dead.local/ HTTP/1.1\r\nHost: dead.local\r\n\r\n") as caller:
        res = caller.response()
        r.check("one whose service is not there", res.status == 502 and res.body.startswith(b"502 the tunnel's client cannot reach the service "), res)
    with Caller(proxy, "CONNECT app.local:443 HTTP/1.1\r\nHost: app.local:443\r\n\r\n") as caller:
        r.has("a domain, by the daemon's proxy", "^HTTP/1.1 200 ", caller.until(b"\r\n\r\n").decode())
        caller.send(b"hello")
        r.equal("and what it says", caller.exactly(5), b"hello")
    c.stop()


main()
