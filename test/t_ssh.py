"""SSH against OpenSSH: test/sshpeer as a server for ssh(1), and as a client of sshd(8)."""
import atexit
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from openssh import CIPHERS, PLACE, SLOW, echo_service, echoed, keygen, options, run, tool
from rig import BIN, ENV, ROOT, SANITIZED, WAIT, Listener, Miss, Proc, main, test
# pylint: enable=wrong-import-position

PEER = f"{BIN}/test/sshpeer"
SOME = (1 if SANITIZED else 4) << 20
BULK = int(os.environ.get("TUNNEL_TEST_BYTES") or (8 if SANITIZED else 64) << 20)      # 1073741824 is the full number
SHORT = int(os.environ.get("TUNNEL_TEST_CALLS") or (200 if SANITIZED else 2000))        # 10000 is the full number
RUN_SSHD = "/run/sshd"
ME = pwd.getpwuid(os.getuid()).pw_name

SSHD = """HostKey {base}.ed25519
HostKey {base}.ecdsa
AuthorizedKeysFile {base}.authorized
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
AllowTcpForwarding yes
MaxSessions 1000
UseDNS no
LogLevel VERBOSE
{more}
"""


def public(key):
    return run(PEER, "public", key, wait=WAIT)[1].decode().strip()


def secret(kind="ed25519"):
    return f"{kind}:{secrets.token_hex(32)}"


class Server:
    """sshpeer as the server."""

    def __init__(self, r, *options, hosts=("ed25519",), user=True):
        keys = [secret(kind) for kind in hosts]
        self.base = f"{r.tmp}/{len(r.procs)}"
        line = keygen(self.base + ".user", "-t", "ed25519")
        self.p = r.spawn(PEER, "server", "127.0.0.1:0", *(f"host={k}" for k in keys),
                         *((f"allow={line}",) if user else ()), *options, kind=Proc)
        self.port = self.p.wait_line(self.p.lines, lambda l: re.match(r"listening .*:(\d+)$", l or ""), "port").group(1)
        with open(self.base + ".known", "w", encoding="ascii") as f:
            f.writelines(f"[127.0.0.1]:{self.port} {public(k)}\n" for k in keys)

    def options(self, *more):
        return [tool("ssh"), *options(self.port, self.base + ".user", self.base + ".known"), *more, "me@127.0.0.1"]

    def ssh(self, *command, more=(), **how):
        return run(*self.options(*more), *command, **how)


class Sshd(Listener):
    """sshd, one process a connection, so that the port is the kernel's to give. keys: who may come in."""

    def __init__(self, r, *keys, more=""):
        self.base, self.children = f"{r.tmp}/sshd", []
        self.hosts = [keygen(f"{self.base}.{kind}", "-t", kind) for kind in ("ed25519", "ecdsa")]
        with open(self.base + ".authorized", "w", encoding="ascii") as f:
            f.writelines(public(k) + "\n" for k in keys)
        with open(self.base + ".conf", "w", encoding="ascii") as f:
            f.write(SSHD.format(base=self.base, more=more))
        super().__init__()

    def take(self, sock):
        with sock, open(self.base + ".log", "ab") as log:
            # pylint: disable=consider-using-with
            self.children.append(subprocess.Popen([tool("sshd"), "-i", "-e", "-f", self.base + ".conf"],
                                                  stdin=sock, stdout=sock, stderr=log, env=ENV))

    def client(self, *what, host=None, wait=SLOW, data=b""):
        """sshpeer as the client."""
        return run(PEER, "client", self.target, f"user={ME}", f"allow={host or self.hosts[0]}", *what,
                   data=data, wait=wait)

    def close(self):
        super().close()
        for child in self.children:
            if child.poll() is None:
                child.terminate()
            child.wait(WAIT)


def sshd(r, *keys, **more):
    return r.keep(Sshd(r, *keys, **more))


def exchanges(log):
    """How many key exchanges ssh -v tells of."""
    return len(re.findall(r"SSH2_MSG_NEWKEYS sent", log))


@test
def server_ciphers(r):
    data = secrets.token_bytes(SOME)
    for kind, name in (("ed25519", "ssh-ed25519"), ("p256", "ecdsa-sha2-nistp256")):
        s = Server(r, hosts=(kind,))
        for cipher in CIPHERS:
            status, out, log = s.ssh("echo", more=("-vvv", "-o", f"Ciphers={cipher}"), data=data)
            r.check(f"{name}, {cipher}: what went comes back", out == data and status == 0, (status, len(out), log[-600:]))
            r.has(f"{cipher} both ways", rf"server->client cipher: {cipher}[^$]*client->server cipher: {cipher}", log)
            r.has(f"host key {name}", f"host key algorithm: {name}", log)
            r.has("curve25519", "kex: algorithm: curve25519-sha256", log)
            r.has("strict key exchange", "will use strict KEX ordering", log)
            r.has("EXT_INFO", "server-sig-algs=<ssh-ed25519,ecdsa-sha2-nistp256>", log)
        r.check("the user's name is told", s.p.wait_line(s.p.lines, lambda l: l == "login me", "login"))


@test
def server_host_keys(r):
    """With two host keys the client chooses; the libssh name of the key exchange is the same."""
    s = Server(r, hosts=("p256", "ed25519"))
    for name in ("ssh-ed25519", "ecdsa-sha2-nistp256"):
        status, out, log = s.ssh("echo", data=b"hello", more=(
            "-v", "-o", f"HostKeyAlgorithms={name}", "-o", "KexAlgorithms=curve25519-sha256@libssh.org"))
        r.equal(f"{name} asked for", (status, out), (0, b"hello"))
        r.has("it is used", f"host key algorithm: {name}", log)
        r.has("by its older name", "kex: algorithm: curve25519-sha256@libssh.org", log)


@test
def server_bulk(r):
    s = Server(r)
    status, out, log = s.ssh(f"source {BULK}")
    r.check("to the client", status == 0 and len(out) == BULK and not out.strip(b"\0"), (status, len(out), log[-300:]))
    status, out, log = s.ssh("sink", data=bytes(BULK))
    r.equal("from the client", (status, out.split()[:1]), (0, [b"%d" % BULK]))


@test
def server_rekeys(r):
    """New keys asked for by either side, or by both at once, while bytes go both ways."""
    data = secrets.token_bytes(SOME)
    for cipher in CIPHERS:
        for ours, theirs in ((0, 1), (1, 0), (1, 1)):
            s = Server(r, *(("rekey=300000",) if ours else ()))
            status, out, log = s.ssh("echo", data=data, more=(
                "-vv", "-o", f"Ciphers={cipher}", *(("-o", "RekeyLimit=256K") if theirs else ())))
            what = f"{cipher}, rekeyed by {['', 'us'][ours]}{['', 'them'][theirs]}"
            r.check(f"{what}: byte-exact", out == data and status == 0, (status, len(out), log[-600:]))
            r.check(f"{what}: often", exchanges(log) > SOME >> 20, exchanges(log))


@test
def server_refuses(r):
    s = Server(r)
    keygen(f"{r.tmp}/stranger", "-t", "ed25519")
    status, _, log = run(*[a.replace(s.base + ".user", f"{r.tmp}/stranger") for a in s.options()], "echo", wait=WAIT)
    r.equal("a stranger's key", status, 255)
    r.has("is told so", r"Permission denied \(publickey\)", log)
    status, _, log = s.ssh("echo", more=("-o", "PubkeyAuthentication=no"), wait=WAIT)
    r.has("no key at all", r"Permission denied \(publickey\)", log)
    status, _, log = s.ssh("echo", more=("-o", "Ciphers=aes128-ctr"), wait=WAIT)
    r.has("no cipher in common", r"no matching cipher found", log)
    s.p.wait_line(s.p.lines, lambda l: l == "ended no cipher in common: AES-GCM and chacha20-poly1305 are those here"
                  or (l or "").startswith("ended disconnected"), "end")
    status, _, log = s.ssh("echo", more=("-o", "HostKeyAlgorithms=ecdsa-sha2-nistp256"), wait=WAIT)
    r.has("no host key in common", r"no matching host key type found", log)
    status, _, log = s.ssh("nonsense", wait=WAIT)
    r.has("an unknown command", r"exec request failed on channel 0", log)
    with open(s.base + ".known", "w", encoding="ascii") as f:
        f.write(f"[127.0.0.1]:{s.port} {public(secret())}\n")
    status, _, log = s.ssh("echo", wait=WAIT)
    r.has("another host key: the client sees it", r"REMOTE HOST IDENTIFICATION HAS CHANGED", log)
    r.check("nobody came in but the owner", len([l for l in s.p.lines if l == "login me"]) == 1, s.p.lines)


@test
def server_forwards(r):
    """Channels from either side, each a TCP connection: half-closed in turn, many at once, and while keys change."""
    s, echo = Server(r, "rekey=1000000"), echo_service(r)
    local = f"{r.tmp}/local"
    client = r.spawn(*s.options("-N", "-L", f"{local}:127.0.0.1:{echo.port}", "-R", f"127.0.0.1:0:127.0.0.1:{echo.port}",
                                "-o", "ExitOnForwardFailure=yes", "-v"), kind=Proc)
    remote = int(client.wait_line(client.errs, lambda l: re.search(r"Allocated port (\d+) for remote", l or ""), "port").group(1))
    for what, where in (("-L", local), ("-R", remote)):
        data = [secrets.token_bytes(SOME >> 5) for _ in range(20)]
        back = [None] * len(data)

        def one(i, where=where, data=data, back=back):
            back[i] = echoed(where, data[i])
        threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(len(data))]
        for t in threads:
            t.start()
        for t in threads:
            t.join(SLOW)
        r.check(f"{what}: {len(data)} at once, each byte-exact", back == data, [len(b or b"") for b in back])
        for i in range(50):
            if echoed(where, b"x%d" % i) != b"x%d" % i:
                r.check(f"{what}: one after the other", False, i)
    with socket.create_connection(("127.0.0.1", remote), WAIT) as c:
        client.kill(15)
        c.settimeout(WAIT)
        r.check("the client's end ends its connections", ended(c))
    client.exit()
    r.until("and its port", lambda: refused(remote))


def ended(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def refused(port):
    try:
        with socket.create_connection(("127.0.0.1", port), WAIT):
            return False
    except ConnectionRefusedError:
        return True


@test
def server_sessions(r):
    """Sessions that share a connection, and a forward that is cancelled."""
    s, echo = Server(r), echo_service(r)
    path = f"{r.tmp}/master"
    master = r.spawn(*s.options("-M", "-N", "-v", "-o", f"ControlPath={path}"), kind=Proc)
    r.until("the master is ready", lambda: os.path.exists(path))
    data = secrets.token_bytes(SOME >> 3)
    done = []

    def one():
        done.append(s.ssh("echo", data=data, more=("-o", f"ControlPath={path}", "-o", "ControlMaster=no"))[:2] == (0, data))
    threads = [threading.Thread(target=one, daemon=True) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(SLOW)
    r.equal("eight sessions at once", done, [True] * 8)
    r.check("over one connection", len([l for l in s.p.lines if l == "login me"]) == 1)
    control = ("-o", f"ControlPath={path}")
    port = int(s.ssh(more=(*control, "-O", "forward", "-R", f"127.0.0.1:0:127.0.0.1:{echo.port}"))[1])
    r.equal("a forward added later", echoed(port, b"hello"), b"hello")
    r.equal("cancelled", s.ssh(more=(*control, "-O", "cancel", "-R", f"127.0.0.1:0:127.0.0.1:{echo.port}"))[0], 0)
    r.until("its port is gone", lambda: refused(port))
    s.ssh(more=(*control, "-O", "exit"))
    master.exit()


@test
def client_ciphers(r):
    key, data = secret(), secrets.token_bytes(SOME)
    d = sshd(r, key)
    for cipher in CIPHERS:
        status, out, log = d.client(f"key={key}", f"ciphers={cipher}", "exec", "cat", data=data)
        r.check(f"{cipher}: what went comes back", out == data and status == 0, (status, len(out), log))
    with open(d.base + ".log", encoding="utf-8") as f:
        r.has("the key is taken", "Accepted publickey", f.read())


@test
def client_host_keys(r):
    key = secret("p256")
    d = sshd(r, key, more="HostKeyAlgorithms ecdsa-sha2-nistp256")
    status, out, log = d.client(f"key={key}", "exec", "echo hello", host=d.hosts[1])
    r.equal("an ECDSA host key, and a user's", (status, out), (0, b"hello\n"))
    status, out, log = d.client(f"key={key}", "exec", "echo hello", wait=WAIT)
    r.equal("not the host key expected", (status, out, log.splitlines()),
            (1, b"", ["ended the host key is not the one expected"]))


@test
def client_bulk(r):
    key = secret()
    d = sshd(r, key)
    status, out, log = d.client(f"key={key}", "exec", f"head -c {BULK} /dev/zero")
    r.check("from the server", status == 0 and len(out) == BULK, (status, len(out), log))
    status, out, log = d.client(f"key={key}", "exec", "wc -c", data=bytes(BULK))
    r.equal("to the server", (status, out.split()), (0, [b"%d" % BULK]))


@test
def client_rekeys(r):
    key, data = secret(), secrets.token_bytes(SOME)
    d = sshd(r, key, more="RekeyLimit 256K")
    for cipher in CIPHERS:
        for rekey in ((), ("rekey=300000",)):
            status, out, log = d.client(f"key={key}", f"ciphers={cipher}", *rekey, "exec", "cat", data=data)
            r.check(f"{cipher}, {'both' if rekey else 'they'} ask for new keys", out == data and status == 0,
                    (status, len(out), log))


@test
def client_channels(r):
    """Many channels at once while keys change, and many short ones: no packet may come on one that is closed."""
    key, echo = secret(), echo_service(r)
    d = sshd(r, key)
    status, _, log = d.client(f"key={key}", "rekey=1000000", "many", "100", "127.0.0.1", str(echo.port), str(SOME >> 4))
    r.equal("100 at once, each byte-exact", (status, log.splitlines()), (0, ["ended closed"]))
    status, _, log = d.client(f"key={key}", "rekey=100000", "short", str(SHORT), "127.0.0.1", str(echo.port))
    r.equal(f"{SHORT} short ones", (status, log.splitlines()), (0, ["ended closed"]))
    with socket.socket() as taken:      # a port nobody listens on, nor can
        taken.bind(("127.0.0.1", 0))
        status, _, log = d.client(f"key={key}", "many", "3", "127.0.0.1", str(taken.getsockname()[1]), "10", wait=WAIT)
    r.has("refused ones are reset", "3 of 3 failed", log)


@test
def client_refused(r):
    d = sshd(r, secret())
    for what, key, why in (("another key", (f"key={secret()}",), "the server does not take our key"),
                           ("no key", (), "the server wants a key")):
        status, _, log = d.client(*key, "exec", "true", wait=WAIT)
        r.equal(what, (status, log.splitlines()), (1, ["ended " + why]))


def pair(r, *options):
    """Both ends ours, without a user's key, as keyless tunnels have it."""
    echo = echo_service(r)
    s = Server(r, "rekey=2000000", *options, hosts=("p256",), user=False)
    with open(s.base + ".known", encoding="ascii") as f:
        line = " ".join(f.read().split()[1:])
    return s, echo, (PEER, "client", f"127.0.0.1:{s.port}", f"allow={line}", *options)


@test
def each_other(r):
    s, echo, at = pair(r)
    status, _, log = run(*at, "rekey=1500000", "many", "30", "127.0.0.1", str(echo.port), str(SOME >> 3))
    r.equal("30 channels at once", (status, log.splitlines()), (0, ["ended closed"]))
    status, _, log = run(*at, "rekey=100000", "short", str(SHORT), "127.0.0.1", str(echo.port))
    r.equal(f"{SHORT} short ones", (status, log.splitlines()), (0, ["ended closed"]))
    s.p.wait_line(s.p.lines, lambda l: l == "ended disconnected by the other side", "end")


@test
def in_websockets(r):
    """The same inside the messages of a WebSocket."""
    s, echo, at = pair(r, "ws=1")
    status, _, log = run(*at, "rekey=1500000", "many", "100", "127.0.0.1", str(echo.port), str(SOME >> 4))
    r.equal("100 channels at once", (status, log.splitlines()), (0, ["ended closed by the other side"]))
    status, _, log = run(*at, "rekey=100000", "short", str(SHORT), "127.0.0.1", str(echo.port))
    r.equal(f"{SHORT} short ones", (status, log.splitlines()), (0, ["ended closed by the other side"]))
    status, out, _ = run(*at, "exec", f"source {BULK}")
    r.equal("to the client", (status, len(out)), (0, BULK))
    status, out, _ = run(*at, "exec", "sink", data=bytes(BULK))
    r.equal("from the client", (status, out.split()[:1]), (0, [b"%d" % BULK]))
    r.check("each came in", len([l for l in s.p.lines if l == "login vtunnel"]) == 4, s.p.lines)


if __name__ == "__main__":
    if os.getuid() == 0 and not os.path.isdir(RUN_SSHD):    # sshd insists on it
        os.mkdir(RUN_SSHD, 0o755)
        atexit.register(os.rmdir, RUN_SSHD)
    for needed in ("ssh", "sshd", "ssh-keygen"):
        if not shutil.which(needed, path=PLACE):
            raise Miss(f"there is no {needed}: setup.sh test installs it")
    os.makedirs(ROOT, exist_ok=True)
    main(2)
