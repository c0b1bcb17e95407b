"""What bench.py measures, and how it is started and ended.

A set-up is a way from a caller to the same origin: directly, through one or two
nginx, through ssh -R, through the tunnel.  All is on loopback, on ports that
were free, with every file in a Place's temporary folder.  The Place ends what was
started in it, and nothing else.
"""
import base64
import ctypes
import hashlib
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("TUNNEL_BIN_DIR") or os.path.dirname(HERE)
BIG = 1 << 30               # bytes of the big file
SMALL = "Fifty bytes: what a health check or an API says.\n"
WAIT = 20                   # seconds anything may take to start

# An address to connect to, the Host to send, and the path.
Url = namedtuple("Url", "address host path")


class Fail(Exception):
    """Something did not start, or a measurement went wrong."""


def tool(name):
    """Where a program is, also if only root's PATH leads there; None: nowhere."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")


def own(name):
    return os.path.join(BIN, name)


def helper(name):
    return os.path.join(HERE, name)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def address(port):
    return f"127.0.0.1:{port}"


class Proc:
    """A program that runs until it is ended; what it says goes to files.

    It leads a session and thereby a process group of its own, so that Ctrl-C
    reaches bench.py alone.
    """

    def __init__(self, place, name, argv, stdin=subprocess.DEVNULL, **env):
        self.name, self.argv = name, argv
        self.out, self.err = (place.file(f"{name}.{place.number()}.{end}") for end in ("out", "err"))
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.p = subprocess.Popen(argv, stdin=stdin, stdout=out, stderr=err,    # pylint: disable=consider-using-with
                                      env={**place.env, **env}, process_group=0)
        place.procs.append(self)

    def output(self):
        with open(self.out, encoding="utf-8", errors="replace") as f:
            return f.read()

    def errors(self):
        with open(self.err, encoding="utf-8", errors="replace") as f:
            return f.read()

    def said(self):
        return self.output() + self.errors()

    def wait_for(self, judge, what, wait=WAIT):
        """Until judge(all that it has said) finds something; what it found."""
        end = time.monotonic() + wait
        while True:
            ended = self.p.poll() is not None
            if found := judge(self.said()):
                return found
            if ended or time.monotonic() > end:
                raise Fail(f"{self.name}: no {what}; it said: {self.said()[-500:]!r}")
            time.sleep(0.01)

    def line(self, pattern, wait=WAIT):
        """The first whole line that matches: the match."""
        return self.wait_for(re.compile(rf"^.*?{pattern}.*\n", re.M).search, f"line /{pattern}/", wait)

    def port(self):
        """The port that the first line names, which is a port or an address."""
        return int(self.line(r"(?:^|:)(\d+)$").group(1))

    def listens(self, port):
        def judge(_):
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        self.wait_for(judge, f"listener on port {port}")

    def signal(self, number):
        """To the group, which is certainly its own as long as the leader was not waited for."""
        if self.p.poll() is None:
            os.killpg(self.p.pid, number)

    def end(self, wait=5.0):
        self.signal(signal.SIGTERM)
        try:
            self.p.wait(wait)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.p.wait()


class Place:
    """Temporary folders, and all that runs."""

    def __init__(self):
        self.procs, self.count, self.made = [], 0, []
        self.tmp = self.folder()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("TUNNEL") and not k.lower().endswith("_proxy")}
        self.env.update(HOME=self.tmp, XDG_STATE_HOME=self.tmp, XDG_CONFIG_HOME=self.tmp, LC_ALL="C",
                        TUNNEL_CONFIG_DIR=self.file("client"), TUNNELD_CONFIG=self.file("tunneld.conf"))
        self.write("tunneld.conf", "")
        # What our processes leave behind becomes our child, so that the end finds it (PR_SET_CHILD_SUBREAPER).
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)

    def folder(self, base=None):
        self.made.append(tempfile.mkdtemp(prefix="tunnel-bench.", dir=base))
        return self.made[-1]

    def number(self):
        self.count += 1
        return self.count

    def file(self, name):
        return os.path.join(self.tmp, name)

    def write(self, name, text):
        with open(self.file(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.file(name)

    def big_file(self):
        """A folder with the big file in it: in memory if there is room, so that no disk is measured."""
        base = None
        if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 * BIG \
                and memory_free() > 3 * BIG:
            base = "/dev/shm"
        folder = self.folder(base)
        block = os.urandom(1 << 20)
        with open(os.path.join(folder, "big"), "wb") as f:
            for _ in range(BIG // len(block)):
                f.write(block)
        os.chmod(folder, 0o755)
        return folder

    def run(self, argv, wait=60, **env):
        """A program that ends by itself: its output."""
        proc = Proc(self, os.path.basename(argv[0]), argv, **env)
        return self.result(proc, wait)

    def result(self, proc, wait=60):
        try:
            status = proc.p.wait(wait)
        except subprocess.TimeoutExpired:
            status = f"nothing within {wait} s"
        finally:
            proc.end(1)
            self.procs.remove(proc)
        if status != 0:
            raise Fail(f"{' '.join(proc.argv)}: {status}: {proc.said()[-500:]!r}")
        return proc.output()

    def end(self, *procs):
        """Before all others, one after the other."""
        for proc in procs:
            proc.end(20)
            self.procs.remove(proc)

    def close(self):
        for proc in self.procs:
            proc.signal(signal.SIGTERM)
        end = time.monotonic() + 5
        for proc in reversed(self.procs):
            proc.end(max(0.1, end - time.monotonic()))
        kill_children()
        for path in reversed(self.made):
            if path == RUN_SSHD:
                os.rmdir(path)
            else:
                shutil.rmtree(path, ignore_errors=True)


def kill_children():
    """Whatever is left: every child of this process is one that we started, or that such a one left."""
    while True:
        children = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                    if int(f.read().rpartition(")")[2].split()[1]) == os.getpid():
                        children.append(int(pid))
            except OSError:
                pass
        if not children:
            return
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def memory_free():
    with open("/proc/meminfo", encoding="ascii") as f:
        return int(re.search(r"MemAvailable: *(\d+) kB", f.read()).group(1)) * 1024


def descriptors(want):
    """Raise the limit to want, the hard one, too, if we may; what it is then."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    hard = want if hard == resource.RLIM_INFINITY else hard
    with open("/proc/sys/fs/nr_open", encoding="ascii") as f:
        want = min(want, int(f.read()))
    for limits in ((want, max(want, hard)), (min(want, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return limits[0]
        except (OSError, ValueError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


NGINX = """daemon off;
worker_processes 2;
worker_rlimit_nofile 8192;
%(user)spid nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
	access_log off;
	sendfile on;
	keepalive_timeout 600s;
	keepalive_requests 1000000000;
	client_max_body_size 0;
	client_body_temp_path temp;
	proxy_temp_path temp;
%(temp)s%(http)s}
"""

# For streams; nginx's own choice is a page of memory for responses and four for content.
WIDE = """		proxy_buffer_size 64k;
		proxy_buffers 8 64k;
		client_body_buffer_size 64k;
"""

ORIGIN = """	server {
		listen %(address)s backlog=4096;
		default_type text/plain;
		location = /small { return 200 "%(small)s"; }
		location = /big { root %(folder)s; }
	}
"""

# Everything is passed on at once, and connections to the next hop are kept.
PROXY = """	upstream origin {
		server %(origin)s;
		keepalive 512;
		keepalive_requests 1000000000;
		keepalive_timeout 600s;
	}
	upstream sink {
		server %(sink)s;
		keepalive 512;
	}
	server {
		listen %(address)s backlog=4096;
		proxy_http_version 1.1;
		proxy_set_header Connection "";
		proxy_set_header Host $http_host;
		proxy_buffering off;
		proxy_request_buffering off;
%(wide)s		location / { proxy_pass http://origin; }
		location /up { proxy_pass http://sink; }
	}
"""


def nginx(place, name, http, **values):
    """An nginx of its own: the port that it listens on."""
    program, folder = tool("nginx"), place.file(f"{name}.{place.number()}")
    os.makedirs(f"{folder}/temp")
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    temp = "".join(f"\t{m}_temp_path temp;\n" for m in ("fastcgi", "uwsgi", "scgi")
                   if f"--without-http_{m}_module" not in built)
    user = f"user {pwd.getpwuid(os.getuid()).pw_name};\n" if os.getuid() == 0 else ""

    def start():
        port = free_port()
        place.write(f"{folder}/conf", NGINX % {
            "user": user, "temp": temp, "http": http % {"address": address(port), **values}})
        proc = Proc(place, name, [program, "-p", folder, "-c", f"{folder}/conf", "-e", "stderr"])
        proc.listens(port)
        return port
    return attempt(start)


def attempt(start):
    """Between finding a free port and listening on it, somebody may have taken it."""
    for tries in (1, 2, 3):
        try:
            return start()
        except Fail:
            if tries == 3:
                raise


class Direct:
    """No proxy at all: what the origin and the tools can do."""
    name = "direct"
    needs = ("nginx",)

    def __init__(self, place):
        self.place = place

    def start(self, origin, sink):
        self.at(origin, sink)

    def at(self, get, put, get_host=None, put_host=None):
        """Where callers reach origin and sink."""
        self.small = Url(get, get_host or get, "/small")
        self.big = Url(get, get_host or get, "/big")
        self.up = Url(put, put_host or put, "/up")


class Nginx(Direct):
    hops, wide = 1, ""
    name = "nginx1"

    def start(self, origin, sink):
        for _ in range(self.hops):
            origin = sink = address(nginx(self.place, self.name, PROXY, origin=origin, sink=sink, wide=self.wide))
        self.at(origin, sink)


class Nginx2(Nginx):
    """Two in a row, as the tunnel is two programs in a row."""
    hops = 2
    name = "nginx2"


class Nginx2Wide(Nginx2):
    """With larger buffers than it takes by itself."""
    wide = WIDE
    name = "nginx2w"


RUN_SSHD = "/run/sshd"

SSHD = """ListenAddress %(address)s
HostKey %(key)s
AuthorizedKeysFile %(authorized)s
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
MaxSessions 1000
MaxStartups 1000
AllowTcpForwarding yes
UseDNS no
"""


class Ssh(Direct):
    """ssh -R through an sshd of our own, with OpenSSH's own choice of ciphers."""
    name = "ssh"
    needs = ("nginx", "ssh", "sshd", "ssh-keygen")
    far = 0

    def start(self, origin, sink):
        place = self.place
        if os.getuid() == 0 and not os.path.isdir(RUN_SSHD):    # sshd insists on it
            os.mkdir(RUN_SSHD, 0o755)
            place.made.append(RUN_SSHD)
        base = place.file(f"ssh.{place.number()}")
        for key in ("host", "user"):
            place.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", f"{base}.{key}"])
        server = attempt(lambda: self.serve(base))
        if self.far:
            server = delay(place, server, self.far)
        forwards = [a for to in (origin, sink) for a in ("-R", f"127.0.0.1:0:{to}")]
        options = [a for o in ("ExitOnForwardFailure=yes", "StrictHostKeyChecking=no", "BatchMode=yes",
                               "UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null",
                               "IdentitiesOnly=yes", "LogLevel=INFO") for a in ("-o", o)]
        host, port = server.split(":")
        client = Proc(place, "ssh", [tool("ssh"), "-F", "none", "-N", "-p", port, "-i", f"{base}.user", *options,
                                     *forwards, f"{pwd.getpwuid(os.getuid()).pw_name}@{host}"])
        ports = [client.line(rf"Allocated port (\d+) for remote forward to {re.escape(to)}").group(1)
                 for to in (origin, sink)]
        self.at(*map(address, ports))

    def serve(self, base):
        port = free_port()
        conf = self.place.write(f"{base}.conf", SSHD % {
            "address": address(port), "key": f"{base}.host", "authorized": f"{base}.user.pub"})
        Proc(self.place, "sshd", [tool("sshd"), "-D", "-e", "-f", conf]).listens(port)
        return address(port)


class Daemon:
    """
    A tunneld with one token; wrap: a program and its options to run it under.

    Callers reach it at address, plain; clients at theirs, which is a second listener if there is TLS.
    """

    def __init__(self, place, wrap=(), tls=False):
        self.place, self.state = place, place.file(f"state.{place.number()}")
        self.token = issue(place, self.state)
        self.scheme, self.trust, options = "http", (), ()
        if tls:
            cert, key, pin = certificate(place)
            self.scheme, self.trust = "https", ("--pin", pin)
            options = ("--listen", "127.0.0.1:0,tls", "--cert", cert, "--key", key)
        self.proc = Proc(place, "tunneld", [*wrap, own("tunneld"), "--state", self.state, "--listen", "127.0.0.1:0",
                                            *options])
        self.pid = self.proc.p.pid
        self.address = self.listens()
        self.clients = self.listens("proto=https ") if tls else self.address

    def listens(self, what=""):
        return address(self.proc.line(rf"event=listening {what}addr=.*:(\d+)").group(1))

    def client(self, target, name, endpoint=None, wrap=()):
        proc = Proc(self.place, "tunnel", [*wrap, own("tunnel"), "connect", "--quiet", "--name", name, "--endpoint",
                                           f"{self.scheme}://{endpoint or self.clients}", *self.trust, target],
                    TUNNEL_TOKEN=self.token)
        proc.line(" -> ")
        return proc

    def url(self, name, path):
        return Url(self.address, f"{name}.localhost", path)


def issue(place, state):
    said = place.run([own("tunneld"), "token", "issue", "--global", "--state", state])
    return re.search("^token: (.*)$", said, re.M).group(1)


def certificate(place):
    """A self-signed one: its file, its key's, and the pin of that key."""
    base = place.file(f"tls.{place.number()}")
    cert, key = base + ".cert", base + ".key"
    place.run([tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-subj", "/CN=bench", "-days", "2", "-keyout", key, "-out", cert])
    pem = place.run([tool("openssl"), "pkey", "-in", key, "-pubout"])
    der = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-")))
    return cert, key, "sha256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()


class Tunnel(Direct):
    """tunneld and tunnel, with the options that they have by default."""
    name = "tunnel"
    needs = ("nginx", own("tunneld"), own("tunnel"))
    tls = False
    far = 0

    def start(self, origin, sink):
        self.daemon = Daemon(self.place, tls=self.tls)
        endpoint = self.daemon.clients
        if self.far:
            endpoint = delay(self.place, endpoint, self.far)
        self.client = self.daemon.client(origin, "get", endpoint)
        self.daemon.client(sink, "put", endpoint)
        self.at(self.daemon.address, self.daemon.address, "get.localhost", "put.localhost")


def delay(place, target, ms):
    """A relay that adds a round trip of so many milliseconds: its address."""
    return address(Proc(place, "delay", [helper("delay"), address(0), target, str(ms)]).port())


class FarSsh(Ssh):
    far = 100


class FarTunnel(Tunnel):
    far = 100


class Wss(Tunnel):
    """The same with TLS between the two; callers and service are plain, as with ssh -R."""
    name = "wss"
    needs = (*Tunnel.needs, "openssl")
    tls = True


def start_origin(place):
    """What all set-ups lead to: the addresses of nginx and sink, and the big file."""
    folder = place.big_file()
    origin = nginx(place, "origin", ORIGIN, folder=folder, small=SMALL.replace("\n", "\\n"))
    sink = Proc(place, "sink", [helper("sink"), address(0)]).port()
    return address(origin), address(sink), os.path.join(folder, "big")
