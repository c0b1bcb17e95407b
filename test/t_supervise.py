"""How the daemon lives with what started it: logs, detaching, readiness, sockets that are there already."""
import calendar
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import free_port, read
from rig import BIN, ENV, FOUND, PYTHON, SANITIZED, TLS, WAIT, Caller, Miss, main, serving, test
# pylint: enable=wrong-import-position

ENV.pop("TUNNELD_LOG_ALL")      # here the limit itself is tested

GET = b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n"
ACCESS = re.compile(
    r'(?P<host>[0-9a-f.:]+) - - \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] '
    r'"(?P<request>(?:[^"\\\x00-\x1f\x7f-\U0010ffff]|\\["\\nrt]|\\x[0-9a-f]{2})*)" (?P<status>[1-5]\d\d) (?P<bytes>\d+) '
    r'"(?P<referer>(?:[^"\\\x00-\x1f\x7f-\U0010ffff]|\\["\\nrt]|\\x[0-9a-f]{2})*)" '
    r'"(?P<agent>(?:[^"\\\x00-\x1f\x7f-\U0010ffff]|\\["\\nrt]|\\x[0-9a-f]{2})*)" '
    r'(?P<tunnel>[a-z0-9.-]+|-) (?P<ms>\d+) (?P<id>[!-~]+)')


def mode(path):
    return oct(stat.S_IMODE(os.stat(path).st_mode))


def daemon_env(**more):
    return {**ENV, **more}


class Raw:
    """A daemon whose stderr is a file, started as the test likes it."""

    def __init__(self, r, *args, name="raw", before=(), env=None, fds=(), listen=True):
        self.r, self.state, self.err = r, f"{r.tmp}/{name}", f"{r.tmp}/{name}.err"
        with open(self.err, "ab") as err:
            # pylint: disable=consider-using-with
            self.p = subprocess.Popen([*before, f"{BIN}/tunneld", "--state", self.state,
                                       *(("--listen", "127.0.0.1:0") if listen else ()), *args], env=daemon_env(**(env or {})),
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, pass_fds=fds)
        r.keep(self)

    def wait(self, pattern, path=None):
        """The first line with it, in its log: the match."""
        end = time.monotonic() + WAIT
        while not (m := re.search(pattern, read(path or self.err), re.M)):
            if time.monotonic() > end:
                raise Miss(f"no /{pattern}/ in {read(path or self.err)[-600:]!r}")
            time.sleep(0.02)
        return m

    def port(self, path=None):
        return int(self.wait(r"event=listening (?:proto=https )?addr=.*:(\d+)$", path).group(1))

    def exit(self):
        return self.p.wait(WAIT)

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        return self.exit()

    def close(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
            try:
                self.p.wait(5)
            except subprocess.TimeoutExpired:
                self.p.kill()
        self.p.wait()
        if found := FOUND.search(read(self.err)):
            self.r.check("no sanitizer report", False, read(self.err)[found.start():][:4000])


class Background:
    """A daemon that has detached: its folder, its end."""

    def __init__(self, r, *args, name="bg", listen="127.0.0.1:0", env=None):
        self.r, self.state = r, f"{r.tmp}/{name}"
        self.args = [f"{BIN}/tunneld", "--daemon", "--state", self.state, "--listen", listen, *args]
        self.env = daemon_env(**(env or {}))
        r.keep(self)
        self.pid = None

    def start(self):
        """What the parent says and exits with. Its output ends only when nobody holds it any more."""
        done = subprocess.run(self.args, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=WAIT, check=False)
        if done.returncode == 0:
            self.pid = int(read(f"{self.state}/tunneld.pid") or 0)
        return done

    def tool(self, *args):
        return subprocess.run([f"{BIN}/tunneld", *args, "--state", self.state], env=ENV, capture_output=True,
                              text=True, timeout=WAIT, check=False)

    def alive(self):
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, TypeError):
            return False
        try:        # a zombie that nobody reaps is dead, once its last thread has let go of what they have in common
            return read(f"/proc/{self.pid}/stat").rpartition(")")[2].split()[0] != "Z" or len(os.listdir(f"/proc/{self.pid}/task")) > 1
        except (OSError, IndexError):
            return True

    def log(self):
        return read(f"{self.state}/tunneld.log")

    def gone(self, what):
        return self.r.until(what, lambda: not self.alive())

    def close(self):
        if self.pid and self.alive():
            os.kill(self.pid, signal.SIGTERM)
            end = time.monotonic() + 8
            while self.alive() and time.monotonic() < end:
                time.sleep(0.02)
            if self.alive():
                os.kill(self.pid, signal.SIGKILL)
        if found := FOUND.search(self.log()):
            self.r.check("no sanitizer report", False, self.log()[found.start():][:4000])


def answers(port, scheme=None):
    try:
        with Caller(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as c:
            return c.response().status
    except OSError as e:
        return e


# ---- readiness -----------------------------------------------------------------

def notified(sock):
    try:
        return sock.recv(4096).decode()
    except TimeoutError:
        return None


def notify(r, address, text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WAIT)
        sock.bind(address)
        d = Raw(r, "--listen", "127.0.0.1:0", env={"NOTIFY_SOCKET": text}, name=f"n{len(text)}{text[-1]}")
        r.equal("ready", notified(sock), "READY=1")
        ports = re.findall(r"event=listening addr=.*:(\d+)$", read(d.err), re.M)
        r.equal("all listeners accept by then", [answers(int(p)) for p in ports], [200, 200])
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        d.p.send_signal(signal.SIGHUP)
        m = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", notified(sock) or "")
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        r.check("reloading, and since when", m and before <= int(m.group(1)) <= after, (before, m, after))
        r.equal("ready again", notified(sock), "READY=1")
        d.wait("event=tokens_read")
        d.p.send_signal(signal.SIGTERM)
        r.equal("stopping", notified(sock), "STOPPING=1")
        r.equal("exit", d.exit(), 0)
        sock.setblocking(False)
        try:
            r.check("and no more", False, sock.recv(4096))
        except BlockingIOError:
            r.check("and no more", True)


@test
def notify_path(r):
    path = f"{r.tmp}/notify"
    notify(r, path, path)


@test
def notify_abstract(r):
    name = f"tunnel-test-{os.getpid()}-{time.monotonic_ns()}"
    notify(r, f"\0{name}", f"@{name}")


@test
def notify_nobody(r):
    for i, path in enumerate(("/nowhere/notify", "relative", "@" + "x" * 200, "", "vsock:2:1234")):
        d = Raw(r, name=f"nobody{i}", env={"NOTIFY_SOCKET": path})
        r.equal(f"it runs with NOTIFY_SOCKET={path[:20]}", answers(d.port()), 200)
        r.has("and says so", r"level=warn event=notify_failed reason=", read(d.err))
        r.equal("exit", d.stop(), 0)
    path = f"{r.tmp}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        d = Raw(r, name="leaves", env={"NOTIFY_SOCKET": path})
        port = d.port()
    d.p.send_signal(signal.SIGHUP)
    d.wait("event=tokens_read")
    r.equal("a supervisor that has left", answers(port), 200)
    r.equal("exit", d.stop(), 0)


@test
def ready_fd(r):
    rd, wr = os.pipe()
    d = Raw(r, "--ready-fd", str(wr), fds=(wr,))
    os.close(wr)
    got = os.read(rd, 10)
    port = d.port()
    r.equal("a newline", got, b"\n")
    r.equal("it accepts by then", answers(port), 200)
    r.equal("and the descriptor is closed", os.read(rd, 10), b"")
    os.close(rd)
    r.equal("exit", d.stop(), 0)
    rd, wr = os.pipe()
    d = Raw(r, "--ready-fd", str(wr), "--listen", f"127.0.0.1:{socket_taken(r)}", name="taken", fds=(wr,))
    os.close(wr)
    r.equal("a start that fails: no newline", os.read(rd, 10), b"")
    os.close(rd)
    r.equal("exit", d.exit(), 1)
    for arg, code, word in (("2", 2, "--ready-fd"), ("x", 2, "--ready-fd"), ("77", 2, "77 is not open")):
        d = Raw(r, "--ready-fd", arg, name=f"fd{arg}")
        r.equal(f"--ready-fd {arg}", d.exit(), code)
        r.has("and says so", f"^tunneld: .*{word}", read(d.err))


# ---- socket activation ---------------------------------------------------------

def socket_taken(r):
    s = r.keep(socket.create_server(("127.0.0.1", 0)))
    return s.getsockname()[1]


LAUNCH = """
import os, sys
n, fds, names, pid = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
have = [int(f) for f in fds.split(",") if f]
have = [os.dup(os.dup2(f, 100 + i)) for i, f in enumerate(have)]
os.closerange(3, 50)
for i in range(len(have)):
    os.dup2(100 + i, 3 + i)
os.closerange(3 + len(have), 300)
os.environ.update(LISTEN_FDS=sys.argv[1] if n >= 0 else "many", LISTEN_PID=str(os.getpid()) if pid == "own" else pid)
if names != "-":
    os.environ["LISTEN_FDNAMES"] = names
os.execv(sys.argv[5], sys.argv[5:])
"""


def activated(r, socks, *args, names="-", n=None, pid="own", **more):
    fds = [s.fileno() for s in socks]
    return Raw(r, *args, before=(PYTHON, "-c", LAUNCH, str(len(fds) if n is None else n), ",".join(map(str, fds)), names, pid),
               fds=fds, **more)


def certificate(r):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=tunnel.test", "-keyout", f"{r.tmp}/key.pem", "-out", f"{r.tmp}/cert.pem"],
                   check=True, capture_output=True, timeout=WAIT)
    return "--cert", f"{r.tmp}/cert.pem", "--key", f"{r.tmp}/key.pem"


def over_tls(port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), WAIT) as sock, context.wrap_socket(sock) as s:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return int(s.recv(100).split()[1])


@test
def activation(r):
    if TLS == "none":
        return
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    ports = [s.getsockname()[1] for s in socks]
    d = activated(r, socks, *certificate(r), names="web:web-https::my.tls", listen=False)
    d.wait(f"event=listening proto=https addr=127.0.0.1:{ports[3]}")
    for s in socks:
        s.close()
    log = read(d.err)
    r.equal("these, and none of its own", sorted(map(int, re.findall(r"event=listening .*addr=127.0.0.1:(\d+)", log))), sorted(ports))
    r.equal("plain HTTP", [answers(ports[0]), answers(ports[2])], [200, 200])
    r.equal("TLS by name", [over_tls(ports[1]), over_tls(ports[3])], [200, 200])
    flags = [int(re.search(r"flags:\s*(\d+)", read(f"/proc/{d.p.pid}/fdinfo/{fd}")).group(1), 8) for fd in range(3, 7)]
    r.check("non-blocking and close-on-exec", all(f & os.O_NONBLOCK and f & os.O_CLOEXEC for f in flags), flags)
    r.equal("exit", d.stop(), 0)


@test
def activation_otherwise(r):
    """Whose sockets are meant for another process, and what is no listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        d = activated(r, [s], "--listen", "127.0.0.1:0", pid="1", listen=False)
        r.check("another process's: not taken", d.port() != port)
        r.equal("exit", d.stop(), 0)
        d = activated(r, [s], listen=False, name="only", n=0)
        d.p.send_signal(signal.SIGTERM)     # it may find its own default address taken
        d.exit()
        r.check("none: not taken", f":{port}" not in read(d.err))
        d = activated(r, [s], "--listen", f"127.0.0.1:{socket_taken(r)}", listen=False, name="place")
        r.equal("in place of --listen", d.port(), port)
        r.equal("exit", d.stop(), 0)
        d = activated(r, [s], names="a-tls", listen=False, name="nocert")
        r.equal("TLS without a certificate", d.exit(), 2)
        r.has("and says so", "--cert", read(d.err))
    with socket.socket() as plain, socket.socket(type=socket.SOCK_DGRAM) as dgram, \
            socket.socket(socket.AF_UNIX) as unix, open("/dev/null", "rb") as null:
        unix.bind(f"{r.tmp}/unix")
        unix.listen()
        for what, thing in (("a socket that does not listen", plain), ("a datagram socket", dgram), ("a unix socket", unix),
                            ("no socket", null)):
            with socket.create_server(("127.0.0.1", 0)) as s:
                d = activated(r, [s, thing], name=what.replace(" ", "-"))
                r.equal(what, d.exit(), 1)
                r.has("and says so", "^tunneld: LISTEN_FDS: descriptor 4 is no listening TCP socket$", read(d.err))
    with socket.create_server(("127.0.0.1", 0)) as s:
        for n in (-1, 65, 2):
            d = activated(r, [s], n=n, name=f"count{n}")
            r.equal(f"LISTEN_FDS {n}", d.exit(), 1)
            r.has("and says so", "^tunneld: LISTEN_FDS: ", read(d.err))
        d = activated(r, [s, s], "--ready-fd", "4", name="both")
        r.equal("--ready-fd that is one of them", d.exit(), 2)


@test
def activation_by_systemd(r):
    tool = shutil.which("systemd-socket-activate")
    if not tool:
        print("SKIP systemd-socket-activate is not here")
        return
    port = free_port(r)         # it knows no port 0
    d = Raw(r, before=(tool, "-l", f"127.0.0.1:{port}", "--fdname=web"), listen=False)
    d.wait("[Ll]istening on")
    with Caller(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as c:
        r.equal("systemd-socket-activate", c.response().status, 200)
    r.equal("its port", d.port(), port)
    r.equal("exit", d.stop(), 0)


# ---- in the background ---------------------------------------------------------

@test
def background(r):
    b = Background(r, "--drain", "1")
    done = b.start()
    r.equal("the parent's exit and words", (done.returncode, done.stdout, done.stderr), (0, "", ""))
    r.has("the pid file", r"\A[1-9]\d*\n\Z", read(f"{b.state}/tunneld.pid"))
    r.check("it is the daemon's", b.alive() and "tunneld" in read(f"/proc/{b.pid}/cmdline"))
    r.equal("a session of its own", os.getsid(b.pid), b.pid)
    r.equal("stdin, stdout and stderr", [os.readlink(f"/proc/{b.pid}/fd/{i}") for i in range(3)],
            ["/dev/null", "/dev/null", os.path.realpath(f"{b.state}/tunneld.log")])
    r.equal("the log's mode", mode(f"{b.state}/tunneld.log"), "0o640")
    m = re.search(r"^time=20\d\d-\S+Z level=info event=listening addr=127.0.0.1:(\d+)$", b.log(), re.M)
    r.check("the log, with times", m, b.log())
    port = int(m.group(1))
    r.equal("it accepts", answers(port), 200)
    r.equal("status", (b.tool("status").returncode, b.tool("status").stdout), (0, ""))
    again = Background(r, name="bg")
    done = again.start()
    again.pid = None
    r.equal("a second one: exit", done.returncode, 1)
    r.has("and the message", "^tunneld: a daemon already runs with state folder", done.stderr)
    r.equal("the first one's pid file stays", read(f"{b.state}/tunneld.pid"), f"{b.pid}\n")
    other = Background(r, name="other", listen=f"127.0.0.1:{port}")
    done = other.start()
    r.equal("an address that is taken: exit", (done.returncode, done.stdout), (1, ""))
    r.has("and the message", rf"^tunneld: cannot listen on 127.0.0.1:{port}: Address (already )?in use\n\Z", done.stderr)
    r.check("no pid file", not os.path.exists(f"{other.state}/tunneld.pid"))
    done = Background(r, "--slots", "many", name="usage").start()
    r.equal("wrong usage: exit", done.returncode, 2)
    r.equal("stop", b.tool("stop").returncode, 0)
    b.gone("it stops")
    r.check("the pid file is removed", not os.path.exists(f"{b.state}/tunneld.pid"))
    r.has("the log's last line", r"event=stopped\n\Z", b.log())
    done = b.start()
    r.equal("again", done.returncode, 0)
    r.equal("the log is appended to", len(re.findall("event=listening", b.log())), 2)
    os.kill(b.pid, signal.SIGTERM)
    b.gone("SIGTERM stops it")
    r.check("the pid file is removed", not os.path.exists(f"{b.state}/tunneld.pid"))


@test
def pid_file(r):
    b = Background(r)
    b.start()
    first = b.pid
    os.kill(first, signal.SIGKILL)
    b.gone("killed")
    r.equal("a stale pid file", read(f"{b.state}/tunneld.pid"), f"{first}\n")
    r.equal("a start in its place", b.start().returncode, 0)
    r.check("replaces it", b.pid != first and b.alive(), (first, b.pid))
    with open(f"{b.state}/tunneld.pid", "w", encoding="ascii") as f:
        f.write("1\n")
    b.tool("stop")
    b.gone("it stops")
    r.equal("another one's pid file is left alone", read(f"{b.state}/tunneld.pid"), "1\n")
    d = Raw(r, name="bg")
    d.port()
    r.until("one in the foreground removes a stale one", lambda: not os.path.exists(f"{b.state}/tunneld.pid"))
    r.equal("exit", d.stop(), 0)
    b = Background(r, "--drain", "60", name="twice")
    b.start()
    port = int(re.search(r"listening addr=.*:(\d+)", b.log()).group(1))
    token = re.search("token: (.*)", b.tool("token", "issue", "--global").stdout).group(1)
    c = r.spawn(PYTHON, f"{os.path.dirname(os.path.abspath(__file__))}/peer/native.py", "client", "--endpoint",
                f"ws://127.0.0.1:{port}", "--token", token, "--name", "a", "--never-answer")
    c.ready()
    waiting = r.keep(Caller(port, b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n"))
    c.event(event="stream")
    os.kill(b.pid, signal.SIGTERM)
    r.until("it drains", lambda: "event=draining" in b.log())
    os.kill(b.pid, signal.SIGTERM)
    b.gone("a second SIGTERM ends it")
    r.check("the pid file is removed", not os.path.exists(f"{b.state}/tunneld.pid"))
    waiting.close()


@test
def background_nowhere(r):
    done = Background(r, "--log", "syslog", "--access-log", "stderr").start()
    r.equal("an access log that would go nowhere: exit", done.returncode, 2)
    r.has("and the message", "^tunneld: --access-log stderr", done.stderr)


@test
def background_elsewhere(r):
    """Logs that are not in the state folder, readiness through the fork."""
    rd, wr = os.pipe()
    os.set_inheritable(wr, True)
    path = f"{r.tmp}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WAIT)
        sock.bind(path)
        b = Background(r, "--log", f"{r.tmp}/its.log", "--access-log", "stderr", "--ready-fd", str(wr), env={"NOTIFY_SOCKET": path})
        done = subprocess.run(b.args, env=b.env, capture_output=True, text=True, timeout=WAIT, check=False, pass_fds=(wr,))
        os.close(wr)
        b.pid = int(read(f"{b.state}/tunneld.pid"))
        r.equal("it starts", (done.returncode, done.stderr), (0, ""))
        r.equal("a newline, and closed", os.read(rd, 10) + os.read(rd, 10), b"\n")
        r.equal("NOTIFY_SOCKET", notified(sock), "READY=1")
    r.check("no log in the state folder", not os.path.exists(f"{b.state}/tunneld.log"))
    port = int(re.search(r"listening addr=.*:(\d+)", read(f"{r.tmp}/its.log")).group(1))
    answers(port)
    r.until("the access log on stderr is in the log file then", lambda: re.search('"GET /health HTTP/1.1" 200', read(f"{r.tmp}/its.log")))
    os.rename(f"{r.tmp}/its.log", f"{r.tmp}/its.log.1")
    os.kill(b.pid, signal.SIGUSR1)
    r.until("and in the next", lambda: (answers(port), re.search('"GET /health HTTP/1.1" 200', read(f"{r.tmp}/its.log")))[1])
    os.close(rd)
    for args, word in ((("--log", "/nowhere/log"), "--log /nowhere/log: No such file"),
                       (("--access-log", r.tmp), f"--access-log {r.tmp}: Is a directory")):
        b = Background(r, *args, name="bad")
        done = b.start()
        r.equal("a log that cannot be opened: exit", done.returncode, 1)
        r.has("and the message", f"^tunneld: {word}", done.stderr)


@test
def checked_logs(r):
    """--check sees what is wrong with the logs' files, and makes none."""
    def check(*args):
        p = subprocess.run([f"{BIN}/tunneld", "--check", *args], env=ENV, cwd=r.tmp, capture_output=True, text=True, timeout=WAIT, check=False)
        return p.returncode, p.stderr
    old, nowhere = f"{r.tmp}/old", f"{r.tmp}/nowhere"
    with open(old, "w", encoding="ascii") as f:
        f.write("a line\n")
    os.symlink(f"{nowhere}/log", f"{r.tmp}/link")
    os.mkfifo(f"{r.tmp}/fifo")
    for option in ("--log", "--access-log"):
        for path, word in ((f"{nowhere}/log", "No such file or directory"), ("nowhere/log", "No such file or directory"), (r.tmp, "Is a directory"),
                           (f"{old}/log", "Not a directory"), (f"{r.tmp}/link", "No such file or directory")):
            r.equal(f"{option} {path}", check(option, path), (1, f"tunneld: {option} {path}: {word}\n"))
        for path in (old, "old", f"{r.tmp}/new", "new", f"{r.tmp}/fifo", "stderr", "syslog"):
            r.equal(f"{option} {path}", check(option, path), (0, ""))
    there = ("--state", nowhere, "--access-log", f"{nowhere}/log")
    r.equal("a state folder that is made first", [check("--daemon", *there), check(*there)[0]], [(0, ""), 1])
    r.equal("nothing is made, or written", (sorted(os.listdir(r.tmp)), read(old)), (["fifo", "link", "old"], "a line\n"))


# ---- logs ----------------------------------------------------------------------

@test
def rotation(r):
    log, access = f"{r.tmp}/log/d.log", f"{r.tmp}/log/access.log"
    os.mkdir(f"{r.tmp}/log")
    with open(log, "w", encoding="ascii") as f:
        f.write("an older line\n")
    os.chmod(log, 0o600)
    d = Raw(r, "--log", log, "--access-log", access)
    port = d.port(log)
    r.has("appended to", r"\Aan older line\ntime=\S+ level=info event=privileges", read(log))
    r.equal("nothing on stderr", read(d.err), "")
    r.equal("a file that was there keeps its mode; one that was not", (mode(log), mode(access)), ("0o600", "0o640"))
    sent, rotations = 0, 8
    stop = threading.Event()
    counts = []

    def hammer():
        n = 0
        with Caller(port) as c:
            while not stop.is_set():
                c.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                if c.response().status != 200:
                    break
                n += 1
        counts.append(n)
    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for t in threads:
        t.start()
    for i in range(rotations):
        os.rename(log, f"{log}.{i}")
        os.rename(access, f"{access}.{i}")
        d.p.send_signal(signal.SIGUSR1)
        d.wait(f"event=log_opened file={re.escape(log)}$", log)
        d.wait(f"event=log_opened file={re.escape(access)}$", log)
        d.wait("GET", access)
    stop.set()
    for t in threads:
        t.join()
    sent = sum(counts)

    def told():
        return "".join([read(f"{access}.{i}") for i in range(rotations)] + [read(access)]).splitlines()
    r.until("each line comes behind its answer", lambda: len(told()) >= sent)
    r.equal("exit", d.stop(), 0)
    lines = told()
    r.equal("no line is lost or told twice", len(lines), sent)
    r.check("nor broken", all(ACCESS.fullmatch(line) for line in lines), [line for line in lines if not ACCESS.fullmatch(line)][:3])
    r.equal("ids are unique", len({line.split()[-1] for line in lines}), sent)
    r.equal("modes of the new", (mode(log), mode(access)), ("0o640", "0o640"))
    r.has("the last line is in the last log", r"event=stopped\n\Z", read(log))


@test
def rotation_fails(r):
    os.mkdir(f"{r.tmp}/log")
    log, access = f"{r.tmp}/log/d.log", f"{r.tmp}/log/access.log"
    d = Raw(r, "--log", log, "--access-log", access)
    port = d.port(log)
    os.rename(f"{r.tmp}/log", f"{r.tmp}/moved")
    d.p.send_signal(signal.SIGUSR1)
    old = f"{r.tmp}/moved/d.log"
    for path in (log, access):
        d.wait(f'level=error event=log_not_opened file={re.escape(path)} reason="No such file or directory" kept="the old one"', old)
    answers(port)
    d.wait("GET /health", f"{r.tmp}/moved/access.log")
    os.rename(f"{r.tmp}/moved", f"{r.tmp}/log")     # the same folder: the sandbox lets it into no other
    d.p.send_signal(signal.SIGUSR1)
    d.wait(f"event=log_opened file={re.escape(access)}", log)
    r.equal("the access log, too", mode(access), "0o640")
    r.equal("exit", d.stop(), 0)
    d = Raw(r, name="plain")
    port = d.port()
    d.p.send_signal(signal.SIGUSR1)
    r.equal("SIGUSR1 without a file", answers(port), 200)
    r.equal("exit", d.stop(), 0)
    for arg in ("/nowhere/x", r.tmp):
        d = Raw(r, "--log", arg, name=f"bad{len(arg)}")
        r.equal("a file that cannot be opened", d.exit(), 1)
        r.has("and says so", f"^tunneld: --log {arg}: ", read(d.err))


@test
def log_that_may_not_grow(r):
    """RLIMIT_FSIZE costs lines, and not the daemon."""
    log = f"{r.tmp}/small.log"
    d = Raw(r, "--log", log, before=("sh", "-c", 'ulimit -f 1 && exec "$@"', "sh"))
    port = d.port(log)
    with Caller(port) as c:
        for _ in range(20):
            c.send(b"GET /refused HTTP/1.1\r\nHost: x\r\n\r\n")
            r.equal("a request", c.response().status, 503)
    r.equal("it stops in order", d.stop(), 0)


@test
def to_syslog(r):
    """A peer at /dev/log, in a mount namespace of the daemon's own."""
    path, dev = f"{r.tmp}/syslog", f"{r.tmp}/dev"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WAIT)
        sock.bind(path)
        os.mkdir(dev)
        script = (f'mount -t tmpfs none {dev} && for f in null urandom random; do : >{dev}/$f && mount --bind /dev/$f {dev}/$f || exit 77; done; '
                  f'ln -s {path} {dev}/log && mount --rbind {dev} /dev || exit 77; exec "$@"')
        before = ("unshare", "-m", "sh", "-c", script, "sh")
        if subprocess.run([*before, "true"], capture_output=True, check=False, timeout=WAIT).returncode != 0:
            print("SKIP syslog: no mount namespace can be had")
            return
        d = Raw(r, "--log", "syslog", before=before)
        got = sock.recv(4096).decode()
        r.has("the first line", "event=privileges", got)
        got = sock.recv(4096).decode()
        m = re.fullmatch(r"<(\d+)>.*tunneld\[(\d+)\]: (level=info event=listening addr=127.0.0.1:(\d+))", got.rstrip("\0\n"))
        if not r.check("a line", m, got):
            return
        r.equal("facility daemon, level info, the pid", (int(m.group(1)), int(m.group(2))), (3 * 8 + 6, d.p.pid))
        with open(f"{d.state}/tokens", "w", encoding="ascii") as f:
            f.write("nonsense\n")
        got = sock.recv(4096).decode()
        r.has("an error is one there, too", r"^<27>.*level=error event=tokens_bad", got)
    os.unlink(path)     # the syslog daemon is started again
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WAIT)
        sock.bind(path)
        os.unlink(f"{d.state}/tokens")
        r.has("its successor is found, from inside the sandbox", r"event=tokens_", sock.recv(4096).decode())
        r.equal("nothing on stderr", read(d.err), "")
        r.equal("exit", d.stop(), 0)


# ---- the limit -----------------------------------------------------------------

def refusals(port, n, request=GET):
    with Caller(port) as c:
        for _ in range(n):
            c.send(request)
            c.response()


def passed(text, reason):
    return len(re.findall(f'event=refused .*reason="{reason}"', text))


def left_out(text, reason):
    return sum(map(int, re.findall(f'level=warn event=suppressed what=refused count=(\\d+) reason="{reason}"$', text, re.M)))


NOBODY = "no client serves this name"


@test
def limit(r):
    start = time.monotonic()        # before there is a daemon: a stranger who still knows its port may be refused first
    d = Raw(r, "--timeout", "500ms")
    port = d.port()
    refusals(port, 400)
    log = read(d.err)
    took = time.monotonic() - start
    n = passed(log, NOBODY)
    r.check("the burst, then ten a second", 50 <= n <= 51 + 10 * took, (n, took))
    r.check("told only after a while", left_out(log, NOBODY) == 0 or took > 4.5)
    with Caller(port, b"GET / HTTP/9.9\r\n\r\n") as c:
        r.equal("another reason", c.response().status, 505)
    d.wait("event=refused status=505")      # passes

    def told():
        log = read(d.err)
        return passed(log, NOBODY) + left_out(log, NOBODY)
    d.wait("event=suppressed what=refused")
    r.until("what was left out is told", lambda: told() >= 400)
    r.equal("all of it, once", told(), 400)
    took = time.monotonic() - start
    lines = len(re.findall("event=suppressed", read(d.err)))
    r.check("in few lines", lines <= took / 4, lines)
    refusals(port, 200)
    d.p.send_signal(signal.SIGTERM)
    r.equal("exit", d.exit(), 0)
    log = read(d.err)
    r.equal("and at the end", passed(log, NOBODY) + left_out(log, NOBODY), 600)
    r.has("before the last line", r"event=stopped\n\Z", log)


@test
def no_limit(r):
    d = Raw(r, "--log-all")
    refusals(d.port(), 200)
    r.equal("exit", d.stop(), 0)
    r.equal("--log-all", (passed(read(d.err), NOBODY), "suppressed" in read(d.err)), (200, False))


@test
def limit_of_errors(r):
    """Errors, and what comes before the daemon is ready, are never left out."""
    d = Raw(r, *(["--listen", "127.0.0.1:0"] * 15))
    d.wait(r"(?s)(event=listening.*){16}")
    for i in range(70):
        with open(f"{d.state}/tokens.new", "w", encoding="ascii") as f:
            f.write("\n" * i + "nonsense\n")
        os.rename(f"{d.state}/tokens.new", f"{d.state}/tokens")
        if i >= 60:
            d.p.send_signal(signal.SIGHUP)
            d.wait(f"level=error event=tokens_bad .*tokens:{i + 1}: ")
    r.equal("exit", d.stop(), 0)
    r.check("all are told", "suppressed" not in read(d.err))


# ---- the access log ------------------------------------------------------------

class Access:
    def __init__(self, r, *args):
        self.r, self.path, self.at = r, f"{r.tmp}/access.log", 0
        self.d = r.daemon("--access-log", self.path, *args)

    def line(self, what="a line"):
        """The next line, taken apart."""
        end = time.monotonic() + WAIT
        while (text := read(self.path)[self.at:]).count("\n") == 0:
            if time.monotonic() > end:
                raise Miss(f"{what}: no line")
            time.sleep(0.01)
        line = text.partition("\n")[0]
        self.at += len(line) + 1
        m = ACCESS.fullmatch(line)
        if not self.r.check(f"{what}: the line's form", m, line):
            raise Miss(what)
        return m.groupdict()

    def ask(self, data, method="GET"):
        data = data.encode("latin-1") if isinstance(data, str) else data
        with Caller(self.d.port, data) as c:
            return c.response(method)


@test
def access_lines(r):
    a = Access(r)
    d = a.d
    o = r.origin()
    r.client(d, "a", "--target", o.target)
    got = a.line("the client's own handshake")
    r.equal("handshake", (got["host"], got["request"][:12], got["status"], got["tunnel"]), ("127.0.0.1", "GET /_tunnel", "101", "-"))

    def row(what, path, want, more="", method="GET", body=b"", host="a.localhost"):
        res = a.ask(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode("latin-1") + body, method)
        got = a.line(what)
        r.equal(what, {k: got[k] for k in want}, want)
        r.equal(f"{what}: the request id", got["id"], res.get("X-Request-Id") or got["id"])
        r.equal(f"{what}: the request", got["request"], f"{method} {path} HTTP/1.1")
        r.equal(f"{what}: status", got["status"], str(res.status))
        if res.end == "length":
            r.equal(f"{what}: bytes", int(got["bytes"]), len(res.body))
        return got
    got = row("a request", "/bytes?n=12345", {"status": "200", "bytes": "12345", "tunnel": "a", "referer": "-", "agent": "-", "host": "127.0.0.1"})
    stamp = calendar.timegm(time.strptime(got["time"], "%d/%b/%Y:%H:%M:%S +0000"))
    r.check("its time", abs(time.time() - stamp) < 60, got["time"])
    row("fields", "/", {"referer": "http://x/y?z", "agent": "curl/8 (a; b)"}, "Referer: http://x/y?z\r\nUser-Agent: curl/8 (a; b)\r\n")
    row("HEAD", "/bytes?n=12345", {"status": "200", "bytes": "0"}, method="HEAD")
    row("POST", "/upload", {"status": "200"}, "Content-Length: 5\r\n", method="POST", body=b"hello")
    got = row("a large one", "/bytes?n=5000000", {"bytes": "5000000"})
    got = row("a slow one", "/slow?ms=300", {"status": "200"})
    r.check("its duration", 300 <= int(got["ms"]) < 5000, got)
    got = row("chunked", "/bytes?n=1000&chunked&piece=1000", {"status": "200"})
    r.equal("chunk framing counts", int(got["bytes"]), len("3e8\r\n") + 1000 + len("\r\n0\r\n\r\n"))
    row("no content", "/status?code=204", {"status": "204", "bytes": "0"})
    row("a status of the service's", "/status?code=404", {"status": "404"})
    got = row("interim responses", "/interim", {})
    row("nobody's name", "/x", {"status": "503", "tunnel": "b"}, host="b.localhost")
    row("an endpoint", "/health", {"status": "200", "bytes": "3", "tunnel": "-"}, host="x")
    row("HEAD of one", "/health", {"status": "200", "bytes": "0"}, host="x", method="HEAD")
    row("OPTIONS of one", "/health", {"status": "204", "bytes": "0"}, host="x", method="OPTIONS")
    row("the page", "/", {"status": "200"}, host="x")
    row("one that is off", "/relay", {"status": "404"}, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", host="x")
    row("JSON", "/", {"status": "503"}, "Accept: application/json\r\n", host="b.localhost")
    # several on a connection: a line each, in time although nothing wakes their thread
    ms = []
    with Caller(d.port) as c:
        for _ in range(8):
            c.send("GET /bytes?n=5 HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            c.response()
            ms.append(int(a.line("one of several")["ms"]))
    r.check("a sleeping thread does not count", min(ms) < 40 or SANITIZED, ms)
    # an upgraded connection: when it ends, with what went to the caller
    with Caller(d.port, "GET /upgrade HTTP/1.1\r\nHost: a.localhost\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n") as c:
        res = c.response()
        r.equal("upgraded", res.status, 101)
        c.send(b"x" * 1000)
        n = len(c.exactly(1000))
        r.equal("no line yet", read(a.path)[a.at:], "")
    got = a.line("upgraded")
    r.check("its line", (got["status"], got["tunnel"]) == ("101", "a") and int(got["bytes"]) >= n, got)


@test
def access_failures(r):
    a = Access(r, "--timeout", "5", "--trust", "127.0.0.1", "--trust", "10.0.0.0/8")
    d = a.d
    r.client(d, "never", "--never-answer")
    a.line("handshake")
    c = r.keep(Caller(d.port, "GET /left HTTP/1.1\r\nHost: never.localhost\r\n\r\n"))
    d.rig.until("it runs", lambda: any(t["running"] for t in d.status()))
    c.reset()
    got = a.line("a caller that leaves")
    r.equal("a caller that leaves", (got["request"], got["status"], got["bytes"], got["tunnel"]), ("GET /left HTTP/1.1", "499", "0", "never"))
    res = a.ask("GET /late HTTP/1.1\r\nHost: never.localhost\r\n\r\n")
    got = a.line("no answer in time")
    r.equal("no answer in time", (got["status"], int(got["bytes"])), ("504", len(res.body)))
    r.check("its duration", int(got["ms"]) >= 5000, got)
    s = r.service(serving(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"))
    r.client(d, "cut", "--target", s.target)
    a.line("handshake")
    res = a.ask("GET /cut HTTP/1.1\r\nHost: cut.localhost\r\n\r\n")
    got = a.line("a response that is cut")
    r.equal("a response that is cut", (res.end, got["status"], got["bytes"]), ("cut", "200", "5"))
    s = r.service(serving(b"nonsense\r\n\r\n"))
    r.client(d, "bad", "--target", s.target)
    a.line("handshake")
    a.ask("GET /bad HTTP/1.1\r\nHost: bad.localhost\r\n\r\n")
    r.equal("nonsense", a.line("nonsense")["status"], "502")
    for what, fields, want in (("one proxy", "X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
                               ("two", "X-Forwarded-For: 192.0.2.7, 10.1.1.1\r\n", "192.0.2.7"),
                               ("what a caller says", "X-Forwarded-For: 198.51.100.1, 192.0.2.7, 10.1.1.1\r\n", "192.0.2.7"),
                               ("in two fields", "X-Forwarded-For: 192.0.2.8\r\nX-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
                               ("nonsense last", 'X-Forwarded-For: 192.0.2.7, x" y\r\n', "127.0.0.1"),
                               ("nonsense first", "X-Forwarded-For: unknown, 192.0.2.7\r\n", "192.0.2.7"),
                               ("proxies alone", "X-Forwarded-For: 10.1.1.1\r\n", "127.0.0.1"),
                               ("a long one", f"X-Forwarded-For: {'1' * 500}\r\n", "127.0.0.1"),
                               ("none", "", "127.0.0.1")):
        a.ask(f"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-{len(fields)}\r\n{fields}\r\n")
        got = a.line(what)
        r.equal(f"behind a proxy: {what}", (got["host"], got["id"]), (want, f"mine-{len(fields)}"))


HOSTILE = (     # what is sent, what stands in the line, or None: only its form counts
    (b"GET /\"x\" HTTP/1.1\r\nHost: x\r\n\r\n", r'GET /\"x\" HTTP/1.1'),
    (b"GET /a\\b HTTP/1.1\r\nHost: x\r\n\r\n", r"GET /a\\b HTTP/1.1"),
    (b"GET /\x80\xff HTTP/1.1\r\nHost: x\r\n\r\n", r"GET /\x80\xff HTTP/1.1"),
    (b"GET /\x1b[2J HTTP/1.1\r\nHost: x\r\n\r\n", r"GET /\x1b[2J HTTP/1.1"),
    (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", r"GET /\x00 HTTP/1.1"),
    (b"GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", r"GET /a\tb HTTP/1.1"),
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", None),
    (b"\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n", "GET /two HTTP/1.1"),
    (b"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1"),
    (b"GET /\rfoo HTTP/1.1\r\nHost: x\r\n\r\n", "GET /"),
    (b"nonsense\r\n\r\n", "nonsense"),
    (b'" 200 5 "-" "-" forged 1 0\r\n\r\n', r'\" 200 5 \"-\" \"-\" forged 1 0'),
    (b"GET /" + b"\xff" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "GET /" + r"\xff" * 1019 + "..."),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "GET /" + "a" * 1019 + "..."),
    (b"GET /" + b"a" * 1010 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "GET /" + "a" * 1010 + " HTTP/1.1"),
)


@test
def access_hostile(r):
    a = Access(r)
    for i, (data, want) in enumerate(HOSTILE):
        res = a.ask(data)
        got = a.line(f"hostile {i}")
        r.equal(f"hostile {i}: status", got["status"], str(res.status))
        r.equal(f"hostile {i}: id", got["id"], res.get("X-Request-Id"))
        if want is not None:
            r.equal(f"hostile {i}", got["request"], want)
    for value, want in ((b'"', r'\"'), (b"a\\", r"a\\"), (b"\xc3\xa9\xff", r"\xc3\xa9\xff"), (b"a\tb", r"a\tb"), (b"", "-"),
                        (b"x" * 1024, "x" * 1024), (b"x" * 1025, "x" * 1024 + "..."), (b"\xff" * 5000, r"\xff" * 1024 + "..."),
                        (b'" "forged" b 1 0', r'\" \"forged\" b 1 0')):
        a.ask(b"GET /health HTTP/1.1\r\nHost: x\r\nReferer: " + value + b"\r\nUser-Agent: " + value + b"\r\n\r\n")
        got = a.line("hostile fields")
        r.equal(f"hostile fields {value[:20]!r}", (got["referer"], got["agent"]), (want, want))
    a.ask(b"GET /" + b"\xff" * 3000 + b" HTTP/1.1\r\nHost: x\r\nReferer: " + b"\x80" * 3000 + b"\r\nUser-Agent: " + b"\x81" * 3000 + b"\r\n\r\n")
    got = a.line("as long as can be")
    r.check("as long as can be", got["agent"].endswith("..."), got["agent"][-20:])
    with Caller(a.d.port, b"GET /half HTTP/1.1\r\nHo") as c:
        c.half_close()
        c.over()
    a.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    r.equal("no request, no line", a.line("the next")["request"], "GET /health HTTP/1.1")
    r.equal("and that is all", read(a.path)[a.at:], "")


@test
def access_tls(r):
    if TLS == "none":
        return
    a = Access(r)
    a.d = Raw(r, "--listen", "127.0.0.1:0,tls", *certificate(r), "--access-log", a.path, listen=False)
    a.d.port = a.d.port()
    over_tls(a.d.port)
    r.equal("over TLS", a.line("over TLS")["status"], "200")
    res = a.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    got = a.line("plain HTTP")
    r.equal("plain HTTP where TLS is spoken", (res.status, got["status"], got["request"]), (400, "400", "-"))


@test
def access_places(r):
    d = Raw(r, "--access-log", "stderr", name="err")
    answers(d.port())
    d.wait(r'^127\.0\.0\.1 - - \[.*"GET /health HTTP/1\.1" 200 3 "-" "-" - \d+ [0-9a-f]{16}$')
    r.equal("exit", d.stop(), 0)
    with open(f"{r.tmp}/c.conf", "w", encoding="ascii") as f:
        f.write(f"access-log {r.tmp}/from.conf\n")
    d = Raw(r, "--config", f"{r.tmp}/c.conf", "--access-log", "", name="off")
    answers(d.port())
    r.equal("exit", d.stop(), 0)
    r.check("switched off on the command line", not os.path.exists(f"{r.tmp}/from.conf"))
    d = Raw(r, "--config", f"{r.tmp}/c.conf", name="on")
    answers(d.port())
    d.wait("GET /health", f"{r.tmp}/from.conf")     # the line comes behind the answer
    r.equal("exit", d.stop(), 0)
    r.equal("from the file", len(read(f"{r.tmp}/from.conf").splitlines()), 1)


if __name__ == "__main__":
    main()
