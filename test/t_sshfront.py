"""OpenSSH's client with nothing installed: ssh -R to the daemon's --ssh-listen."""
import hashlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
import openssh
from client import free_port
from openssh import CIPHERS, SLOW, echo_service, echoed, keygen, tool
from rig import BIN, ENV, PYTHON, SANITIZED, WAIT, Caller, Clock, Daemon, Plain, Proc, in_parallel, main, serving, test
# pylint: enable=wrong-import-position

SOME = (1 if SANITIZED else 4) << 20
BULK = int(os.environ.get("TUNNEL_TEST_BYTES") or (4 if SANITIZED else 32) << 20)      # 1073741824 is the full number
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
NAME = "a.tunnel.localhost"
STRICT = "test/tunneld-strict" if os.path.exists(f"{BIN}/test/tunneld-strict") else "tunneld"


def run(*argv, wait=WAIT):
    """Its status, output and errors, as text."""
    status, out, err = openssh.run(*argv, wait=wait)
    return status, out.decode("utf-8", "replace"), err


def write(path, *lines):
    """At once, as an editor should."""
    with open(path + ".new", "w", encoding="ascii") as f:
        f.writelines(line + "\n" for line in lines)
    os.replace(path + ".new", path)


class Front:
    """A daemon for ssh, and a key for it."""

    def __init__(self, r, *args, options='scope="a,b,1024-65535" ', keep=None, **more):
        self.r, self.n = r, len(r.procs)
        self.key = keep.key if keep else f"{r.tmp}/{self.n}.key"
        self.keys = keep.keys if keep else f"{r.tmp}/{self.n}.keys"
        if not keep:
            self.line = keygen(self.key, "-t", "ed25519")
            write(self.keys, options + self.line)
        self.d = r.daemon("--listen", "127.0.0.1:0", "--ssh-listen", "127.0.0.1:0", "--ssh-keys", self.keys, *args,
                          **{"scope": None, **more})
        self.port = self.d.log(r"event=listening proto=ssh addr=127\.0\.0\.1:(\d+)").group(1)
        self.known = keep.known if keep else f"{r.tmp}/{self.n}.known"
        self.trust()

    def trust(self):
        public = run(tool("ssh-keygen"), "-y", "-f", f"{self.d.state}/ssh_host_ed25519_key")[1]
        write(self.known, f"[127.0.0.1]:{self.port} " + " ".join(public.split()[:2]))

    def end(self):
        self.d.stop()
        self.d.ended = True

    def argv(self, *options, user="a", key=None):
        return [tool("ssh"), *openssh.options(self.port, key or self.key, self.known), *options, "-o", "ExitOnForwardFailure=yes",
                *([f"{user}@127.0.0.1"] if user else [])]

    def ssh(self, *options, **more):
        """In the background."""
        return self.r.spawn(*self.argv(*options, **more), kind=Proc)

    def forward(self, *what, options=(), **more):
        """With these forwards, once they are there."""
        had = self.d.logged("event=tunnel_open ")
        p = self.ssh("-N", *options, *(word for w in what for word in ("-R", w)), **more)
        self.r.until("its forwards are there", lambda: self.d.logged("event=tunnel_open ") >= had + len(what))
        return p

    def run(self, *options, command=(), **more):
        return run(*self.argv(*options, **more), *command)


class Terminal(Proc):
    """ssh with a pty for its session, and keys that are typed into it."""

    def __init__(self, argv, env=None):
        self.fifo = argv.pop()
        os.mkfifo(self.fifo)
        super().__init__(["sh", "-c", 'fifo=$1; shift; exec "$@" <"$fifo"', "sh", self.fifo, *argv], env)
        self.keys = os.open(self.fifo, os.O_WRONLY)

    def type(self, text):
        os.write(self.keys, text)

    def line(self, pattern, start=0):
        return self.wait_line(self.lines, re.compile(pattern).search, f"line /{pattern}/", start=start)


def terminal(f, *options, **more):
    p = f.r.spawn(*f.argv("-tt", *options, **more), f"{f.r.tmp}/{len(f.r.procs)}.fifo", kind=Terminal)
    f.r.keep(Closing(p.keys))
    return p


class Closing:
    def __init__(self, fd):
        self.fd = fd

    def close(self):
        os.close(self.fd)


def end(p):
    """As Ctrl-C does without a terminal. Again, because ssh may be about to sleep when it hears it, and sleeps on."""
    while p.alive():
        p.kill(signal.SIGTERM)
        try:
            p.p.wait(1)
        except subprocess.TimeoutExpired:
            pass
    p.exit()


def local(service):
    return "localhost:" + service.target.rpartition(":")[2]


def hello(r):
    return r.service(serving(HELLO))


@test
def issue_http(r):
    """ssh -R 80:localhost:3000 NAME@HOST: the URL, the log, Ctrl-C."""
    f, s = Front(r, program=STRICT), hello(r)
    p = terminal(f, "-R", f"80:{local(s)}", "-vvv")
    r.has("the URL is printed", rf"^a  http://{NAME}:{f.d.port}\r$", p.line("^a  http").string)
    p.line(r"^Ctrl-C ends it\.\r$")
    res = r.get(f.d, NAME, "/x%20y?q=%1b")
    r.equal("a request comes through", (res.status, res.body), (200, b"hello"))
    r.has("the service sees it", "^GET /x%20y.q=%1b HTTP/1.1\r\n", s.heads[0])
    p.line(r"^\d\d:\d\d:\d\d GET /x%20y\?q=%1b 200 \d+ ms\r$")
    r.get(f.d, NAME, "/" + "l" * 4000)
    p.line(r"GET /l{100,150}\.\.\. 200 \d+ ms\r$")
    status = [t for t in f.d.status() if t.get("name") == "a"]
    r.check("status tells of it", len(status) == 1 and status[0]["dialect"] == "ssh" and
            re.fullmatch("key:[0-9a-f]{12}", status[0]["token"]), status)
    r.check("with its bytes", status[0]["requests"] == 2 and status[0]["in"] > 0 and status[0]["out"] > 0, status)
    mark = f.d.marks()
    p.type(b"\x03")
    r.equal("Ctrl-C: exit status", p.exit(), 0)
    f.d.log("event=session_end .*code=1000", start=mark)
    r.equal("the name is free at once", r.get(f.d, NAME).status, 503)
    log = "\n".join(l for l in p.errs if l)
    r.has("strict key exchange", "will use strict KEX ordering", log)
    r.check("no fingerprint in the log", not f.d.logged("SHA256:") and f.d.logged("who=key:"), "")


@test
def issue_port(r):
    """ssh -R 9000:localhost:3000."""
    f, s = Front(r, program=STRICT), echo_service(r)
    port = free_port(r)
    p = terminal(f, "-R", f"{port}:{local(s)}", "-vvv")
    p.line(rf"^tcp:{port}  tcp://127\.0\.0\.1:{port}\r$")
    with Caller(port, b"x") as c:
        c.exactly(1)
        p.wait_line(p.errs, lambda l: f"originator 127.0.0.1 port {c.sock.getsockname()[1]}" in (l or ""), "where the caller is")
    f.d.log(rf"event=tunnel_open name=tcp:{port} addr=127\.0\.0\.1:{port} who=key:")
    data = secrets.token_bytes(SOME)
    r.check("bytes and both ends of them", echoed(port, data) == data)
    p.line(rf"tcp:{port} from 127\.0\.0\.1:\d+ \d+ ms\r$")
    p.type(b"q")
    r.equal("q: exit status", p.exit(), 0)
    with socket.socket() as c:
        r.until("the port is closed", lambda: c.connect_ex(("127.0.0.1", port)) != 0)


@test
def listeners(r):
    """Several of them."""
    f = Front(r, "--ssh-listen", "127.0.0.2:0")
    second = int(f.d.log(r"event=listening proto=ssh addr=127\.0\.0\.2:(\d+)").group(1))
    for host, port in (("127.0.0.1", int(f.port)), ("127.0.0.2", second)):
        with Caller(port, host=host) as c:
            r.check(f"on {host}", c.until(b"\r\n").startswith(b"SSH-2.0-tunneld_"))


@test
def any_port(r):
    """ssh -R 0: a port of the pool, and the number is told."""
    port = free_port(r)
    f, s = Front(r, "--ports", str(port), program=STRICT), echo_service(r)
    p = f.forward(f"0:{local(s)}")
    p.wait_line(p.errs, lambda l: f"Allocated port {port} for remote forward to {local(s)}" in (l or ""), "port")
    r.equal("it is open", echoed(port, b"x" * 1000), b"x" * 1000)
    status, _, err = f.run("-N", "-R", f"0:{local(s)}")
    r.check("the pool is used up", status == 255 and "remote port forwarding failed for listen port 0" in err, (status, err))
    f.d.log("event=listen_refused code=limit reason=.every port of the pool is taken")


@test
def several(r):
    """Ports 80 and 443 are one name; a bind address is another."""
    f, one, two = Front(r), hello(r), r.service(serving(HELLO.replace(b"hello", b"other")))
    p = f.forward(f"80:{local(one)}", f"443:{local(two)}", f"b:80:{local(two)}")
    r.equal("the user's name", r.get(f.d, NAME).body, b"hello")
    r.equal("the bind address'", r.get(f.d, "b.tunnel.localhost").body, b"other")
    names = sorted(t["name"] for t in f.d.status())
    r.equal("two names", names, ["a", "b"])
    end(p)
    r.until("both are free", lambda: not f.d.status())
    f.forward(f"80:{local(one)}", user="A")
    r.equal("a name in upper case", r.get(f.d, NAME).body, b"hello")


@test
def ciphers(r):
    f, s = Front(r), echo_service(r)
    data = secrets.token_bytes(SOME)
    for cipher in CIPHERS:
        port = free_port(r)
        p = f.ssh("-N", "-vvv", "-o", f"Ciphers={cipher}", "-R", f"{port}:{local(s)}")
        f.d.log(f"event=tunnel_open name=tcp:{port} ")
        r.check(f"{cipher}: byte-exact", echoed(port, data) == data)
        end(p)
        log = "\n".join(l for l in p.errs if l)
        r.has(f"{cipher} is used", rf"server->client cipher: {cipher}(.|\n)*client->server cipher: {cipher}", log)
        r.has("strict key exchange", "will use strict KEX ordering", log)
        r.has("the algorithms of keys are told", "server-sig-algs=<ssh-ed25519,ecdsa-sha2-nistp256>", log)


@test
def rekeys(r):
    """100 parallel transfers while keys change."""
    f, s, port = Front(r), echo_service(r), free_port(r)
    p = f.ssh("-N", "-vv", "-o", "RekeyLimit=256K", "-R", f"{port}:{local(s)}")
    f.d.log(f"event=tunnel_open name=tcp:{port} ")
    count = 30 if SANITIZED else 100
    data = [secrets.token_bytes(SOME >> 5) for _ in range(count)]
    back = in_parallel([lambda d=d: echoed(port, d) for d in data])
    r.check(f"{count} at once, each byte-exact", back == data, [len(b or b"") for b in back])
    end(p)
    often = len([l for l in p.errs if l and "SSH2_MSG_NEWKEYS sent" in l])
    r.check("with new keys on the way", often > 3, often)


@test
def bulk(r):
    """Many bytes each way."""
    total, block = BULK, bytes(range(256)) * 4096
    seen = hashlib.sha256()

    def serve(conn):
        first = conn.exactly(1)
        if first == b"g":
            left = total
            while left > 0:
                conn.send(block[:min(left, len(block))])
                left -= len(block)
            return
        got = 0
        while conn.more():
            got += len(conn.buf)
            seen.update(conn.buf)
            conn.buf = b""
        conn.send(b"%d" % got)
    f, port = Front(r), free_port(r)
    s = r.keep(Plain(serve))
    f.forward(f"{port}:{local(s)}")
    want = hashlib.sha256()
    for at in range(0, total, len(block)):
        want.update(block[:min(total - at, len(block))])
    with socket.create_connection(("127.0.0.1", port), SLOW) as c:
        c.settimeout(SLOW)
        c.sendall(b"g")
        c.shutdown(socket.SHUT_WR)
        got, n = hashlib.sha256(), 0
        while piece := c.recv(1 << 18):
            got.update(piece)
            n += len(piece)
    r.equal("from the service", (n, got.hexdigest()), (total, want.hexdigest()))
    with socket.create_connection(("127.0.0.1", port), SLOW) as c:
        c.settimeout(SLOW)
        c.sendall(b"p")
        for at in range(0, total, len(block)):
            c.sendall(block[:min(total - at, len(block))])
        c.shutdown(socket.SHUT_WR)
        n = b""
        while piece := c.recv(4096):
            n += piece
    r.equal("to it", (n, seen.hexdigest()), (b"%d" % total, want.hexdigest()))


@test
def refuses(r):
    """No shell, no command, no sftp, no way on from here."""
    f, s = Front(r, program=STRICT), hello(r)
    forward = ("-R", f"80:{local(s)}")
    status, out, err = f.run(*forward, command=("id",))
    r.check("a command", status == 255 and out == "" and "exec request failed on channel 0" in err, (status, out, err))
    f.d.log("event=ssh_refused request=exec ")
    status, out, err = f.run("-s", command=("sftp",))
    r.check("sftp", status == 255 and "subsystem request failed" in err, (status, out, err))
    f.d.log("event=ssh_refused request=subsystem ")
    status, out, err = f.run("-W", s.target)
    r.check("-W", status == 255 and "administratively prohibited" in err, (status, out, err))
    f.d.log("event=ssh_refused channel=direct-tcpip ")
    for option, first in (("-L", f"{r.tmp}/l:{s.target}"), ("-D", f"{r.tmp}/l")):
        if option == "-D":
            port = free_port(r)
            p = f.ssh("-N", *forward, "-D", f"127.0.0.1:{port}")
        else:
            p = f.ssh("-N", *forward, "-L", first)
        r.until(f"{option}: it runs", lambda: r.get(f.d, NAME).body == b"hello")
        if option == "-L":
            c = socket.socket(socket.AF_UNIX)
            c.connect(f"{r.tmp}/l")
        else:
            c = socket.create_connection(("127.0.0.1", port), WAIT)
            c.sendall(b"\5\1\0" + b"\5\1\0\1\x7f\0\0\1\0\x50")
        c.settimeout(WAIT)
        p.wait_line(p.errs, lambda l: "administratively prohibited" in (l or ""), "refusal")
        c.close()
        r.equal(f"{option}: the tunnel goes on", r.get(f.d, NAME).status, 200)
        end(p)
    status, out, err = f.run("-N", "-R", f"{r.tmp}/sock:{local(s)}")
    r.check("-R with a socket", status == 255 and "remote port forwarding failed" in err, (status, err))
    f.d.log("event=listen_refused code=bad_port reason=.a unix socket ")
    status, out, err = f.run("-N", "-w", "0:0")
    r.check("-w", status == 255, (status, err))
    agent = subprocess.run([tool("ssh-agent"), "-s"], env=ENV, capture_output=True, text=True, check=False).stdout
    sock, pid = re.search("SSH_AUTH_SOCK=([^;]*)", agent).group(1), int(re.search("SSH_AGENT_PID=([0-9]*)", agent).group(1))
    try:
        p = r.spawn(*f.argv("-A", "-Y", "-tt", *forward), f"{r.tmp}/agent.fifo", kind=Terminal,
                    env={"SSH_AUTH_SOCK": sock, "DISPLAY": ":99"})
        r.keep(Closing(p.keys))
        p.line("Ctrl-C")
        f.d.log("event=ssh_refused request=auth-agent-req@openssh.com ")
        f.d.log("event=ssh_refused request=x11-req ")
        r.equal("neither an agent nor X11", r.get(f.d, NAME).status, 200)
    finally:
        os.kill(pid, signal.SIGTERM)


@test
def scopes(r):
    """What the key may not have, and how its user hears of it."""
    f, s = Front(r), hello(r)
    t = f"80:{local(s)}"
    status, _, err = f.run("-N", "-R", t, user="c")
    r.check("another name", status == 255 and "remote port forwarding failed for listen port 80" in err, (status, err))
    f.d.log("event=listen_refused code=forbidden reason=.the key's scope does not hold the name c: log in as NAME@HOST")
    lax = ("-T", "-o", "ExitOnForwardFailure=no")
    status, out, _ = f.run(*lax, "-R", t, "-R", "81:localhost:1", user="c")
    r.equal("the session says why: exit status", status, 1)
    r.has("for the name", r"^port 80: the key's scope does not hold the name c: log in as NAME@HOST\n", out)
    r.has("for the port", r"port 81: the scope does not hold this port\n", out)
    status, out, _ = f.run(*lax, "-R", f"no_name:{t}", "-R", f"192.0.2.1:9000:{local(s)}")
    r.has("no name", r"port 80: a name is 1 to 63 of a-z, 0-9 and '-'", out)
    r.has("nowhere else", r"port 9000: a port is bound to localhost or to \*, nowhere else\n", out)
    port = free_port(r)
    again = [w for i, to in enumerate((f"{port}", f"{port}", f"127.0.0.1:{port}", "*:80", "*:80")) for w in ("-R", f"{to}:localhost:{i + 1}")]
    p = f.ssh(*lax, *again)
    said = [p.wait_line(p.lines, re.compile(rf"^port {n}: this connection forwards it already").search, "refusal") for n in (80, port)]
    r.equal("the same again, and the same port elsewhere", [len([l for l in p.lines if l and l == s.string]) for s in said], [1, 2])
    end(p)
    for bind in ("localhost", "127.0.0.1", "[::1]"):
        end(f.forward(f"{bind}:{free_port(r)}:{local(s)}"))
    for bind in ("0.0.0.0", "[::]"):
        r.has(f"{bind} is everywhere", "this daemon binds ports to loopback only", f.run(*lax, "-R", f"{bind}:{free_port(r)}:{local(s)}")[1])
    g = Front(r, options='scope="x.localhost" ', name="own")
    r.has("a name of the daemon's own", r"^port 80: this name is the daemon's own\n", g.run(*lax, "-R", f"x.localhost:{t}")[1])
    status, out, _ = f.run(*lax, "-R", f"{r.tmp}/sock:{local(s)}")
    r.check("a socket", status == 1 and out == "a unix socket cannot be had here: -R 9000:... is a port, -R 80:... a name\n", (status, out))
    status, out, _ = f.run(*lax)
    r.check("nothing forwarded", status == 1 and out.startswith("nothing is forwarded here: ssh -R 80:"), (status, out))
    status, out, _ = f.run(*lax, "-R", f"*:{free_port(r)}:{local(s)}")
    r.has("in public, where that is not offered", "this daemon binds ports to loopback only", out)
    p = terminal(f, "-o", "ExitOnForwardFailure=no", "-R", t, "-R", f"c:{t}")
    p.line("^a  http://")
    p.line(r"^port 80: the key's scope does not hold the name c")
    p.line("^Ctrl-C")
    r.equal("one refused, the other runs", r.get(f.d, NAME).status, 200)


@test
def many(r):
    """As many forwards as a session may have, and no more."""
    f, s = Front(r, options='scope="*" '), hello(r)
    names = [f"n{i}" for i in range(70)]
    words = [w for n in names for w in ("-R", f"{n}:80:{local(s)}")]
    p = f.ssh("-N", "-o", "ExitOnForwardFailure=no", *words)
    f.d.log("event=listen_refused code=limit ")
    r.until("64 of them", lambda: f.d.logged("event=listen_refused code=limit ") == 6 and len(f.d.status()) == 64)
    r.equal("the last one", r.get(f.d, "n63.tunnel.localhost").body, b"hello")
    end(p)
    cases = ["".join(c.upper() if i >> k & 1 else c for k, c in enumerate("abcdefgh")) for i in range(140)]
    p = f.ssh("-N", "-o", "ExitOnForwardFailure=no", *(w for n in cases for w in ("-R", f"{n}:80:{local(s)}")))
    r.until("one name in many spellings", lambda: f.d.logged("event=listen_refused code=limit ") == 6 + 12)
    r.equal("is one", [t["name"] for t in f.d.status()], ["abcdefgh"])


@test
def public_port(r):
    """-R *:PORT, where the operator lets everybody come."""
    f, s, port = Front(r, "--ports-bind", "127.0.0.2"), echo_service(r), free_port(r)
    p = terminal(f, "-R", f"*:{port}:{local(s)}")
    p.line(rf"^tcp:{port}  tcp://127\.0\.0\.1:{port}\r$")
    with Caller(port, b"hello", host="127.0.0.2") as c:
        r.equal("it is there", c.exactly(5), b"hello")
    with socket.socket() as c:
        r.check("and not on loopback", c.connect_ex(("127.0.0.1", port)) != 0)


@test
def multiplexed(r):
    """Forwards that come and go on a connection."""
    f, s, port = Front(r), hello(r), free_port(r)
    control = ("-S", f"{r.tmp}/control")
    f.forward(f"80:{local(s)}", f"443:{local(s)}", options=("-M", *control))

    def tell(command, what):
        status, _, err = f.run(*control, "-O", command, "-R", what)
        r.equal(f"{command} {what}", (status, err), (0, ""))
    r.equal("a name", r.get(f.d, NAME).body, b"hello")
    tell("cancel", f"80:{local(s)}")
    r.until("with one forward less", lambda: r.get(f.d, NAME).body == b"hello")     # ssh does not wait for the daemon's answer
    tell("cancel", f"443:{local(s)}")
    r.until("and without any", lambda: r.get(f.d, NAME).status == 503)
    tell("forward", f"b:80:{local(s)}")
    r.equal("another", r.get(f.d, "b.tunnel.localhost").body, b"hello")
    tell("forward", f"{port}:{local(s)}")
    r.equal("a port", sorted(t["name"] for t in f.d.status()), ["b", f"tcp:{port}"])
    tell("cancel", f"{port}:{local(s)}")
    with socket.socket() as c:
        r.until("is closed", lambda: c.connect_ex(("127.0.0.1", port)) != 0)
    tell("forward", f"80:{local(s)}")
    r.equal("one that was there before", r.get(f.d, NAME).body, b"hello")
    p = terminal(f, *control)
    p.line("^a  http://")
    p.line("^b  http://")
    err = f.run(*control, "-T")[2]
    r.check("one session at a time", "Session open refused by peer" in err, err)
    p.type(b"q")
    r.equal("its end", p.exit(), 0)
    f.d.log("event=session_ended reason=left")
    r.until("takes the tunnels with it", lambda: not f.d.status())


@test
def given(r):
    """A supervisor has opened the socket."""
    f = Front(r)
    f.end()
    launch = ("import os, sys\nos.dup2(int(sys.argv[1]), 3)\n"
              "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='my-ssh')\nos.execv(sys.argv[2], sys.argv[2:])")
    with socket.create_server(("127.0.0.1", 0)) as s, open(f"{r.tmp}/log", "wb") as log:
        # pylint: disable=consider-using-with
        p = subprocess.Popen([PYTHON, "-c", launch, str(s.fileno()), f"{BIN}/tunneld", "--state", f.d.state, "--listen", "127.0.0.1:0",
                              "--ssh-listen", "127.0.0.1:0", "--ssh-keys", f.keys], stderr=log, env=ENV, pass_fds=[s.fileno()])
        try:
            with Caller(s.getsockname()[1]) as c:
                r.has("SSH is spoken there", rb"^SSH-2\.0-tunneld".decode(), c.until(b"\r\n").decode())
            with open(f"{r.tmp}/log", encoding="utf-8") as said:
                lines = re.findall("event=listening.*", said.read())
            r.check("there alone, and HTTP where it should be", len(lines) == 2 and
                    sum(f"proto=ssh addr=127.0.0.1:{s.getsockname()[1]}" in l for l in lines) == 1, lines)
        finally:
            p.terminate()
            p.wait(WAIT)


@test
def dead_service(r):
    """Nobody listens there: 502, and a clean end."""
    f, gone, port = Front(r), free_port(r), free_port(r)
    p = f.forward(f"80:localhost:{gone}", f"{port}:localhost:{gone}")
    res = r.get(f.d, NAME)
    r.check("502, and why", res.status == 502 and b"the local service cannot be reached" in res.body, res)
    with Caller(port) as c:
        r.equal("a raw caller sees what it would see there", c.over(), "reset")
    r.check("ssh goes on", p.alive())
    s = hello(r)
    f.forward(f"b:80:{local(s)}")
    r.equal("and so does another", r.get(f.d, "b.tunnel.localhost").status, 200)


@test
def taken_over(r):
    """The same key again takes the name over; another key's does not."""
    f, one, two = Front(r), hello(r), r.service(serving(HELLO.replace(b"hello", b"other")))
    other = f"{r.tmp}/other"
    write(f.keys, 'scope="a" ' + f.line, 'scope="a" ' + keygen(other, "-t", "ecdsa", "-b", "256"))
    f.d.log("event=ssh_keys_read .*keys=2")
    first = terminal(f, "-R", f"80:{local(one)}")
    first.line("^Ctrl-C")
    status, out, _ = f.run("-T", "-o", "ExitOnForwardFailure=no", "-R", f"80:{local(two)}", key=other)
    r.check("another key: refused, and by whom it is held", status == 1 and
            re.search(r"^port 80: a is held by key:[0-9a-f]{12} since \d\d:\d\d UTC\n", out), (status, out))
    r.equal("the first one keeps it", r.get(f.d, NAME).body, b"hello")
    f.forward(f"80:{local(two)}")
    r.equal("the same key: exit status of the first", first.exit(), 255)
    r.has("which hears why", "another connection with the same key has taken it over", "\n".join(l for l in first.errs + first.lines if l))
    r.equal("the second has it", r.get(f.d, NAME).body, b"other")
    r.equal("taken over once", f.d.logged("event=taken_over name=a"), 1)
    write(f.keys, f.line)
    both = f.forward(f"b:80:{local(one)}", f"c:80:{local(one)}")
    f.forward(f"b:80:{local(two)}")
    r.equal("one of two", r.get(f.d, "b.tunnel.localhost").body, b"other")
    r.check("does not take the other with it", r.get(f.d, "c.tunnel.localhost").body == b"hello" and both.alive())


@test
def keys_change(r):
    """The file is read again when it changes; who is not in it any more goes."""
    f, s = Front(r), hello(r)
    p = f.forward(f"80:{local(s)}")
    second = keygen(f"{r.tmp}/second", "-t", "ed25519")
    rsa = keygen(f"{r.tmp}/rsa", "-t", "rsa", "-b", "2048")
    mark = f.d.marks()
    write(f.keys, 'scope="a,b,1024-65535" ' + f.line, "# comment", rsa, 'from="192.0.2.1" ' + second)
    f.d.log(r"event=ssh_key_left_out file=.* line=3 reason=.ssh-rsa keys are not taken here: make one with ssh-keygen -t ed25519", start=mark)
    f.d.log(r"event=ssh_key_left_out file=.* line=4 reason=.option from is not known here", start=mark)
    f.d.log("event=ssh_keys_read .*keys=1", start=mark)
    mark = f.d.marks()
    write(f.keys, 'scope="a,b,1024-65535" ' + f.line, "# again", 'scope="c" ' + f.line)
    f.d.log(r"event=ssh_key_left_out file=.* line=3 reason=.the same key stands further up", start=mark)
    mark = f.d.marks()
    write(f.keys, 'scope="A B" ' + second)
    f.d.log(r"event=ssh_keys_bad reason=.*:1: scope: .* kept=.the last good set", start=mark)
    r.equal("a damaged file: the last good set is kept", r.get(f.d, NAME).status, 200)
    status, _, err = f.run("-N", "-R", "80:localhost:1", key=f"{r.tmp}/second")
    r.check("and nobody else comes in", status == 255 and "Permission denied (publickey)" in err, (status, err))
    f.d.log(r"event=key_refused dialect=ssh .*user=a who=key:[0-9a-f]{12}")
    mark = f.d.marks()
    write(f.keys, 'scope="b" ' + second)
    r.equal("a key that is gone: its ssh ends", p.exit(), 255)
    f.d.log("event=session_ended reason=revoked who=key:", start=mark)
    r.equal("its name is free", r.get(f.d, NAME).status, 503)
    p = f.forward(f"80:{local(s)}", key=f"{r.tmp}/second", user="b")
    r.equal("the other key may come", r.get(f.d, "b.tunnel.localhost").status, 200)
    write(f.keys, 'scope="a" ' + second)
    r.equal("another scope: it has to come again", p.exit(), 255)
    for mode in (0o620, 0o602):
        mark = f.d.marks()
        write(f.keys, 'scope="a" ' + second, f"# {mode}")
        f.d.log("event=ssh_keys_read ", start=mark)
        mark = f.d.marks()
        os.chmod(f.keys, mode)
        f.d.log("event=ssh_keys_bad reason=.*others than its owner may write to it: chmod go-w it", start=mark)
    os.unlink(f.keys)
    f.d.log("event=ssh_keys_bad reason=.*No such file")
    p = f.forward(f"80:{local(s)}", key=f"{r.tmp}/second")
    r.equal("without the file the last set counts", r.get(f.d, NAME).status, 200)
    r.equal("which is said once", f.d.logged("event=ssh_keys_bad reason=.*No such file"), 1)
    write(f.keys, 'scope="b" ' + keygen(f"{r.tmp}/third", "-t", "ed25519"))
    status, out, err = f.run("-T", "-o", "ExitOnForwardFailure=no", key=f"{r.tmp}/third")
    r.check("a key is good from the moment it stands there", status == 1 and out.startswith("nothing is forwarded"), (status, out, err))
    p.exit()


@test
def expiry(r):
    f = Front(r, options='expiry-time="20200101Z" ')
    status, _, err = f.run("-N", "-R", "80:localhost:1")
    r.check("an expired key", status == 255 and "Permission denied (publickey)" in err, (status, err))
    clock, day = f"{r.tmp}/clock", 86400
    write(clock, "0")
    f = Front(r, options=time.strftime('expiry-time="%Y%m%dZ" ', time.gmtime(time.time() + 2 * day)), program="test/tunneld-clock",
              env={"TUNNEL_CLOCK": clock}, name="later")
    p = f.forward(f"80:{local(hello(r))}")
    with open(clock, "w", encoding="ascii") as t:
        t.write(f"{3 * day * 1000}\n")
    r.equal("one that expires ends its session", p.exit(), 255)
    f.d.log("event=session_ended reason=expired")
    f = Front(r, name="edited")
    p = f.forward(f"80:{local(hello(r))}")
    write(f.keys, 'scope="a,b,1024-65535",expiry-time="20200101Z" ' + f.line)
    r.equal("so does one that has expired by what stands there now", p.exit(), 255)
    f.d.log("event=session_ended reason=expired")


@test
def killed(r):
    """kill -9: the name waits for its ssh, and requests with it."""
    f, s = Front(r, "--grace", "60"), hello(r)
    p = f.forward(f"80:{local(s)}")
    mark = f.d.marks()
    p.kill()
    p.exit()
    f.d.log("event=session_end ", start=mark)
    c = r.caller(f.d, f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
    r.check("it is lost, not gone", [t["lost"] for t in f.d.status()] == [True], f.d.status())
    f.forward(f"80:{local(s)}")
    r.equal("the request has waited", c.response().status, 200)


@test
def stopped(r):
    """A client that does not answer any more is found; one that answers stays."""
    f, s = Front(r, "--ping", "3", "--grace", "0"), hello(r)
    lively = f.forward(f"b:80:{local(s)}")
    p = f.ssh("-N", "-R", f"80:{local(s)}")
    r.until("it runs", lambda: r.get(f.d, NAME).status == 200)
    p.kill(signal.SIGSTOP)
    r.until("it has gone", lambda: [t["name"] for t in f.d.status()] == ["b"])
    p.kill(signal.SIGCONT)
    r.check("the other is still there", lively.alive() and r.get(f.d, "b.tunnel.localhost").status == 200)
    q = f.ssh("-N", "-vvv", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=10", "-R", f"80:{local(s)}")
    q.wait_line(q.errs, lambda l: "receive packet: type 82" in (l or ""), "answer to ssh's keepalive")
    r.equal("what ssh asks for is answered", r.get(f.d, NAME).status, 200)


@test
def overslept(r):
    """A daemon that was stopped itself does not say at once that no answer came: there is time for one yet."""
    f, s = Front(r, "--ping", "2", "--grace", "0"), hello(r)
    p = f.forward(f"80:{local(s)}")
    p.kill(signal.SIGSTOP)
    time.sleep(2.5)         # it is asked
    f.d.kill(signal.SIGSTOP)
    time.sleep(8)           # longer than three pings
    f.d.kill(signal.SIGCONT)
    time.sleep(0.5)         # it looks four times a second
    p.kill(signal.SIGCONT)
    time.sleep(0.5)
    r.equal("it is still there", (r.get(f.d, NAME).status, f.d.logged("event=session_end ")), (200, 0))


@test
def other_clients(r):
    """Dropbear's and PuTTY's, who have an SSH of their own."""
    f, s = Front(r), hello(r)
    drop, putty = f"{r.tmp}/dropbear", f"{r.tmp}/putty.ppk"
    lines = [run("dropbearkey", "-t", "ed25519", "-f", drop)[1].split("\n")[1]]
    run("puttygen", "-t", "ed25519", "-o", putty, "--new-passphrase", "/dev/null")
    lines.append(run("puttygen", "-L", putty)[1].strip())
    write(f.keys, f.line, *lines)
    host = run(tool("ssh-keygen"), "-l", "-f", f"{f.d.state}/ssh_host_ed25519_key")[1].split()[1]
    for name, idle, more, argv in (
            ("dropbear", [], [], ["dbclient", "-y", "-i", drop, "-p", f.port]),
            ("putty", [], ["-v"], ["plink", "-batch", "-hostkey", host, "-i", putty, "-P", f.port])):
        port = free_port(r)
        p = r.spawn(*argv, *more, "-N", "-R", f"80:{local(s)}", "-R", f"{port}:{local(s)}", f"{name}@127.0.0.1", kind=Proc)
        f.d.log(f"event=tunnel_open name=tcp:{port} ")
        r.equal(f"{name}: by name", r.get(f.d, f"{name}.tunnel.localhost").status, 200)
        with Caller(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as c:
            r.equal(f"{name}: by port", c.response().status, 200)
        r.check(f"{name}: strict key exchange", not more or any("strict key exchange" in l for l in p.errs if l), p.errs)
        p.kill(signal.SIGTERM)
        p.exit()
    mark = f.d.marks()
    p = r.spawn("dbclient", "-y", "-i", drop, "-p", f.port, "-T", "-K", "1", "-I", "3", "-R", f"80:{local(s)}", "keeps@127.0.0.1",
                f"{r.tmp}/dropbear.fifo", kind=Terminal)
    r.keep(Closing(p.keys))
    p.wait_line(p.lines, lambda l: "keeps" in (l or ""), "its URL")
    p.exit()
    f.d.log("event=session_end", start=mark)
    r.check("keep-alives on its channel are nothing to tell of", not f.d.logged("event=ssh_refused request=keepalive"))


@test
def successor(r):
    """A daemon in the place of the running one: the listener goes with it, and the host key is the same."""
    f, s = Front(r, "--grace", "60"), hello(r)
    old, port = f.d, f.port
    p = f.forward(f"80:{local(s)}")
    f.d = n = Daemon(r, ["--takeover", "--listen", "127.0.0.1:0", "--ssh-listen", "127.0.0.1:0", "--ssh-keys", f.keys, "--grace", "60"], name="d",
                         scope=None)
    r.procs.append(n)
    old.ended = True
    n.log("event=takeover names=1")
    r.equal("the same address", n.log(r"event=listening proto=ssh addr=.*:(\d+)").group(1), port)
    r.equal("the same for HTTP", n.port, old.port)
    r.equal("ssh is told to go", p.exit(), 255)
    c = r.caller(n, f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
    f.forward(f"80:{local(s)}")
    r.equal("its name has waited for it", c.response().status, 200)
    old.exit()


@test
def files(r):
    """The host key is made once; what will not do is named."""
    f = Front(r)
    path = f"{f.d.state}/ssh_host_ed25519_key"
    f.d.log(f"event=ssh_host_key_made file={path}")
    with open(path, "rb") as key:
        first = key.read()
    r.equal("for its owner alone", os.stat(path).st_mode & 0o777, 0o600)
    r.has("as ssh-keygen knows it", r"^256 SHA256:\S+ tunneld \(ED25519\)\n", run(tool("ssh-keygen"), "-l", "-f", path)[1])
    f.end()
    again = Front(r, keep=f)
    with open(path, "rb") as key:
        r.equal("kept", key.read(), first)
    r.equal("made once", again.d.logged("ssh_host_key_made"), 0)
    again.end()
    theirs = f"{r.tmp}/theirs"
    keygen(theirs, "-t", "ed25519")
    common = (f"{BIN}/tunneld", "--state", f.d.state, "--listen", "127.0.0.1:0")
    ok = (*common, "--ssh-listen", "127.0.0.1:0", "--ssh-keys", f.keys)
    r.equal("-n with all of it", run(*ok, "--ssh-host-key", theirs, "-n")[:2], (0, "tunneld: the configuration is sound\n"))
    keygen(f"{r.tmp}/ecdsa", "-t", "ecdsa")
    os.chmod(path, 0o640)
    write(f"{r.tmp}/damaged", "preview")
    os.mkfifo(f"{r.tmp}/fifo")
    for what, argv, want, status in (
            ("a host key that others can read", ok, rf"^tunneld: {path}: others than its owner may use it: chmod 600 it$", 1),
            ("a host key of another kind", (*ok, "--ssh-host-key", f"{r.tmp}/ecdsa"), "it is no Ed25519 key: ssh-keygen -t ed25519 makes one$", 1),
            ("no file", (*ok, "--ssh-keys", f"{r.tmp}/none"), r"^tunneld: .*", 1),
            ("damaged", (*common, "--ssh-listen", "127.0.0.1:0", "--ssh-host-key", theirs, "--ssh-keys", f"{r.tmp}/damaged"),
             r"damaged:1: no type of key follows", 1),
            ("no regular file", (*common, "--ssh-listen", "127.0.0.1:0", "--ssh-host-key", theirs, "--ssh-keys", f"{r.tmp}/fifo"),
             r"fifo: it is no regular file", 1),
            ("without keys", (*common, "--ssh-listen", "127.0.0.1:0"), r"^tunneld: --ssh-listen needs --ssh-keys FILE", 2),
            ("without a listener", (*common, "--ssh-keys", f.keys), r"^tunneld: --ssh-keys and --ssh-host-key are for --ssh-listen", 2),
            ("no port", (*common, "--ssh-listen", "x"), r"--ssh-listen: 'x' is not \[HOST:\]PORT", 2)):
        for check in ((), ("-n",)):
            got, _, err = run(*argv, *check)
            last = [l for l in err.split("\n") if not l.startswith("level=")]
            r.check(f"{what}{' '.join(check)}", got == status and len(last) == 2 and re.search(want, last[0]), (got, err))
    os.chmod(path, 0o600)


@test
def counted(r):
    """Who logs in is a caller, and a session from then on."""
    f = Front(r, "--callers", "1", "--sessions", "2")
    first = r.keep(Caller(int(f.port)))
    first.until(b"\r\n")
    with Caller(int(f.port)) as c:
        r.check("a second caller", not c.more())
    f.d.log("event=callers_full for=ssh")
    first.close()
    r.until("the first has gone", lambda: f.d.logged("event=login_failed dialect=ssh ") == 1)
    p, q = (f.forward(f"{free_port(r)}:localhost:1") for _ in range(2))
    status, _, err = f.run("-N", "-R", f"{free_port(r)}:localhost:1")
    r.check("a third session", status == 255 and "too many sessions" in err, (status, err))
    r.until("it has gone", lambda: f.d.logged("event=login_failed dialect=ssh ") == 2)
    with Caller(int(f.port)) as c:
        r.check("there is room again", c.until(b"\r\n"))
    r.check("the sessions go on", p.alive() and q.alive())


@test
def strangers(r):
    """Garbage, silence, and who fails again and again."""
    clock = Clock(r)
    f = Front(r, "--handshakes", "3", "--login-failures", "2", program="test/tunneld-clock", env=clock.env)
    for what, data in (("garbage", secrets.token_bytes(1000)), ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                       ("garbage behind the identification", b"SSH-2.0-x\r\n" + b"\0" * 64), ("an old version", b"SSH-1.5-x\r\n")):
        with Caller(int(f.port), data) as c:
            while c.more():
                pass
            r.check(f"{what}: the connection ends", c.ended)
    r.until("they are counted no more", lambda: f.d.logged("event=login_failed dialect=ssh ") == 4)
    with Caller(int(f.port), b"SSH-2.0-x\r\n" + b"\0" * 300000) as c:
        while c.more():
            pass
        r.check("what is said last is not lost for what is not read", c.ended == "fin" and b"packet of a wrong length" in c.buf, (c.ended, c.buf[-100:]))
    f.d.log("event=login_failed dialect=ssh .*reason=.packet of a wrong length")
    mark = f.d.marks()
    silent = [r.keep(Caller(int(f.port))) for _ in range(3)]
    for c in silent:
        c.until(b"\r\n")
    with Caller(int(f.port)) as c:
        r.check("one more than may be under way", c.over() in ("fin", "reset"))
    f.d.log("event=refused dialect=ssh reason=.too many logins of this address are under way", start=mark)
    clock.move(31)
    for c in silent:
        while c.more():
            pass
        r.check("a slow one is ended", c.ended)
    r.until("nor they", lambda: f.d.logged("event=login_failed dialect=ssh ") == 8)
    s = hello(r)
    f.forward(f"80:{local(s)}")
    r.equal("then its address may come again", r.get(f.d, NAME).status, 200)
    late = "event=refused dialect=ssh reason=.too many failed logins from this address"
    for i in range(9):          # each has to wait twice as long; a slow machine does so by itself
        keygen(f"{r.tmp}/stranger{i}", "-t", "ed25519")
        f.run("-N", key=f"{r.tmp}/stranger{i}")
        if f.d.logged(late):
            break
    f.d.log("event=logins_failing .*wait=1")
    r.check("who fails again and again has to wait", f.d.logged(late), i)
    f = Front(r, "--login-failures", "1", name="once")
    f.run("-N", key=f"{r.tmp}/stranger0")
    for i in range(2):
        r.equal("who has shown another key first has not failed", f.run("-T", "-o", "ExitOnForwardFailure=no", "-i", f.key, key=f"{r.tmp}/stranger0")[0], 1)
    r.equal("has it", (f.d.logged("event=key_refused"), f.d.logged("event=logins_failing")), (3, 0))
    f = Front(r, "--login-failures", "1", "--trust", "127.0.0.1", name="trusting")
    for i in range(3):
        keygen(f"{r.tmp}/other{i}", "-t", "ed25519")
        f.run("-N", key=f"{r.tmp}/other{i}")
    r.equal("unless its address is trusted", (f.run("-T", "-o", "ExitOnForwardFailure=no")[0], f.d.logged("event=logins_failing")), (1, 0))


main()
