"""The files in examples/, as they stand there but for ports, paths and certificates: real proxies
with TLS in front of daemon and client."""
import hashlib
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import Curl, client, connect_proxy, direct, free_port, ws_client, ws_server
from rig import ENV, HERE, PEER, PYTHON, ROOT, TLS, WAIT, Caller, Miss, Peer, Proc, main, test

EXAMPLES = os.path.join(os.path.dirname(HERE), "examples")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
DOMAIN = "tunnel.example.com"
CALLER = "127.0.0.2"        # where callers come from; the proxy itself comes from 127.0.0.1
MIB5 = os.urandom(5 << 20)


def program(*names):
    return next(filter(None, (shutil.which(n, path=PATH) for n in names)), None)


# ---- certificates ------------------------------------------------------------

class Certificates:
    """A CA, and a certificate of its own for the domain and all names below it."""
    lock, made = threading.Lock(), None

    def __init__(self):
        self.dir = ROOT + "/tls"
        os.mkdir(self.dir)
        self.ca, self.chain, self.key, self.both = (f"{self.dir}/{n}" for n in ("ca.pem", "chain.pem", "key.pem", "both.pem"))
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self.openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test CA")
        with open(f"{self.dir}/ext", "w", encoding="ascii") as f:
            f.write(f"subjectAltName=DNS:{DOMAIN},DNS:*.{DOMAIN}\n")
        for i, key, chain in ((2, "key.pem", "chain.pem"), (3, "key3.pem", "chain3.pem")):
            self.openssl("req", *new, "-keyout", key, "-out", "csr.pem", "-subj", f"/CN={DOMAIN}")
            self.openssl("x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", str(i),
                         "-days", "2", "-extfile", "ext", "-out", chain)
        with open(self.both, "wb") as out:
            for path in (self.chain, self.key):
                with open(path, "rb") as f:
                    out.write(f.read())

    def openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.dir, stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT, check=True)


def certificates():
    with Certificates.lock:
        Certificates.made = Certificates.made or Certificates()
    return Certificates.made


# ---- examples ----------------------------------------------------------------

def read(name):
    with open(f"{EXAMPLES}/{name}", encoding="utf-8") as f:
        return f.read()


def example(r, name, *changes):
    """A copy of the file with its ports, paths and certificates changed: all that is to be changed must be
    there, and nothing may be left."""
    text = read(name)
    for old, new in changes:
        if old not in text:
            raise Miss(f"examples/{name} has no {old!r}")
        text = text.replace(old, new)
    lines = [l for l in text.splitlines() if not l.lstrip().startswith("#")]
    left = [l for l in lines if re.search(r"\b9001\b|\b443\b|\b80\b|/(etc|var)/|/dev/(?!null)", l.replace(ROOT, ""))]
    r.equal(f"nothing of examples/{name} but what the test changes is bound to a place", left, [])
    path = f"{r.tmp}/{os.path.basename(name)}"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


class Front:
    """A proxy, from an example, in front of a daemon, from an example, too."""
    programs = ()
    interim = True          # it passes 103
    tells = True            # it tells of callers who have left
    held = 0                # so much of a request's content is gathered before the first byte goes on

    def __init__(self, r):
        self.r, self.tls, self.port, self.plain, self.to = r, certificates(), free_port(r), free_port(r), free_port(r)
        self.ca, self.name = self.tls.ca, type(self).__name__
        self.conf = example(r, "tunneld.conf", ("127.0.0.1:9001", f"127.0.0.1:{self.to}"),
                            (f"https://{DOMAIN}", f"https://{DOMAIN}:{self.port}"))
        self.d = r.daemon(*self.daemon())
        self.argv = self.write(program(*self.programs))
        self.start()

    def daemon(self):
        """Its arguments: a proxy that closes leaves it in doubt for this long whether the answer is still wanted."""
        return "--config", self.conf, "--half-close", "200ms"

    def start(self):
        """Run it and wait until it listens."""
        self.p = self.r.spawn(*self.argv, kind=Proc, env={"HOME": self.r.tmp, "XDG_DATA_HOME": self.r.tmp, "XDG_CONFIG_HOME": self.r.tmp})

        def listens():
            if not self.p.alive():
                raise Miss(f"{self.name} has ended: {[l for l in self.p.lines + self.p.errs if l][-5:]}")
            try:
                Caller(self.port).close()
                return True
            except OSError:
                return False
        self.r.until(f"{self.name} listens", listens)

    def url(self, name="a"):
        return f"https://{name + '.' if name else ''}{DOMAIN}:{self.port}"

    def args(self, *more, http="--http1.1"):
        return ("--cacert", self.ca, "--interface", CALLER, "--connect-to", f"::127.0.0.1:{self.port}", http, *more)

    def curl(self, path, *args, name="a", http="--http1.1", **more):
        return Curl(self.url(name), path, *self.args(*args, http=http), **more)

    def slow(self, path, *args, name="a", http="--http1.1"):
        """curl in the background: its output lines as they come."""
        return self.r.spawn("curl", "-sSN", "-m", "60", *self.args(*args, http=http), self.url(name) + path, kind=Proc)

    def connections(self):
        """The ports from which connections to the daemon came that the kernel still knows."""
        found = set()
        with open("/proc/net/tcp", encoding="ascii") as f:
            for line in f.readlines()[1:]:
                ports = [int(a.rpartition(":")[2], 16) for a in line.split()[1:3]]
                if self.to in ports and 0 not in ports:
                    found.add(sum(ports) - self.to)
        return found


class Nginx(Front):
    programs = ("nginx",)
    interim = False         # before 1.29 it takes one for the answer

    def write(self, path):
        server = example(self.r, "nginx.conf", ("server 127.0.0.1:9001", f"server 127.0.0.1:{self.to}"),
                         ("listen 80;", f"listen 127.0.0.1:{self.plain};"), ("listen [::]:80;", ""),
                         ("listen 443 ssl http2;", f"listen 127.0.0.1:{self.port} ssl http2;"), ("listen [::]:443 ssl http2;", ""),
                         (f"/etc/letsencrypt/live/{DOMAIN}/fullchain.pem", self.tls.chain),
                         (f"/etc/letsencrypt/live/{DOMAIN}/privkey.pem", self.tls.key))
        temp = "".join(f"{n}_temp_path {self.r.tmp}/{n};\n" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(f"{self.r.tmp}/main.conf", "w", encoding="ascii") as f:
            f.write(f"daemon off;\nmaster_process off;\npid {self.r.tmp}/pid;\nerror_log stderr;\nevents {{}}\n"
                    f"http {{\naccess_log off;\n{temp}include {server};\n}}\n")
        return path, "-p", self.r.tmp, "-e", "stderr", "-c", f"{self.r.tmp}/main.conf"


class Haproxy(Front):
    programs = ("haproxy",)

    def write(self, path):
        conf = example(self.r, "haproxy.cfg", ("server tunneld 127.0.0.1:9001", f"server tunneld 127.0.0.1:{self.to}"),
                       ("bind :80\n", f"bind 127.0.0.1:{self.plain}\n"), ("bind :443 ", f"bind 127.0.0.1:{self.port} "),
                       (f"/etc/haproxy/{DOMAIN}.pem", self.tls.both), ("\tlog /dev/log local0\n", ""),
                       ("\tchroot /var/lib/haproxy\n", ""), ("\tuser haproxy\n", ""), ("\tgroup haproxy\n", ""))
        return path, "-db", "-f", conf


class Caddy(Front):
    programs, file = ("caddy",), "Caddyfile.wildcard"

    def here(self):
        """Global options: nothing but this folder and these ports."""
        return (f"\tadmin off\n\thttp_port {self.plain}\n\thttps_port {self.port}\n\tdefault_bind 127.0.0.1\n"
                f"\tstorage file_system {self.r.tmp}/caddy\n\tskip_install_trust\n")

    def write(self, path):
        conf = example(self.r, self.file, ("reverse_proxy 127.0.0.1:9001", f"reverse_proxy 127.0.0.1:{self.to}"),
                       *self.changes())
        return path, "run", "--adapter", "caddyfile", "--config", conf

    def changes(self):
        return ((f"/etc/caddy/{DOMAIN}.crt", self.tls.chain), (f"/etc/caddy/{DOMAIN}.key", self.tls.key),
                (f"{DOMAIN}, *.", f"{{\n{self.here()}}}\n{DOMAIN}, *."))


class CaddyOnDemand(Caddy):
    """Its own CA stands for the public one."""
    file = "Caddyfile"

    def __init__(self, r):
        self.ask = r.service(self.answer)
        super().__init__(r)
        self.ca = f"{r.tmp}/caddy/pki/authorities/local/root.crt"

    @staticmethod
    def answer(conn, head):
        known = re.match(rf"GET /_tunnel/ask\?domain=a\.{DOMAIN} ", head)
        conn.send(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % (b"200 OK" if known else b"404 Not Found"))

    def changes(self):
        to = f"127.0.0.1:{self.to}"
        with Caller(self.to, f"GET /_tunnel/ask?domain=x.{DOMAIN} HTTP/1.1\r\nHost: {to}\r\n\r\n") as c:
            if c.response().status != 404:      # a daemon without this endpoint takes it for a tunnel's
                print("SKIP the daemon's /_tunnel/ask, which it does not have: a stand-in answers", flush=True)
                to = self.ask.target
        return (("127.0.0.1:9001/_tunnel/ask", f"{to}/_tunnel/ask"),
                ("\ton_demand_tls {", self.here() + "\ton_demand_tls {"),
                (f"\n{DOMAIN} {{\n", f"\n{DOMAIN} {{\n\ttls internal\n"),
                ("\t\ton_demand\n", "\t\ton_demand\n\t\tissuer internal\n"))


class Apache(Front):
    programs, held, tells = ("apache2", "httpd"), 16384, False
    modules = next((d for d in ("/usr/lib/apache2/modules", "/usr/libexec/apache2", "/usr/local/lib/apache2", "/usr/lib/httpd/modules")
                    if os.path.exists(d + "/mod_proxy_http.so")), None)

    def write(self, path):
        host = example(self.r, "apache.conf", ("http://127.0.0.1:9001/", f"http://127.0.0.1:{self.to}/"),
                       ("<VirtualHost *:80>", f"<VirtualHost 127.0.0.1:{self.plain}>"),
                       ("<VirtualHost *:443>", f"<VirtualHost 127.0.0.1:{self.port}>"),
                       (f"/etc/letsencrypt/live/{DOMAIN}/fullchain.pem", self.tls.chain),
                       (f"/etc/letsencrypt/live/{DOMAIN}/privkey.pem", self.tls.key))
        load = "".join(f"LoadModule {n}_module {self.modules}/mod_{n}.so\n" for n in (
            "mpm_event", "authz_core", "env", "headers", "http2", "proxy", "proxy_http", "reqtimeout", "rewrite", "ssl")
            if os.path.exists(f"{self.modules}/mod_{n}.so"))
        with open(f"{self.r.tmp}/main.conf", "w", encoding="ascii") as f:
            f.write(f"ServerRoot {self.r.tmp}\nPidFile {self.r.tmp}/pid\nErrorLog /dev/stderr\nServerName localhost\n"
                    f"{load}Listen 127.0.0.1:{self.plain}\nListen 127.0.0.1:{self.port}\nInclude {host}\n")
        return path, "-X", "-f", f"{self.r.tmp}/main.conf"


# ---- what must pass ----------------------------------------------------------

class Local:
    """A service that shows whether bytes are held back on the way."""

    def __init__(self, r):
        self.go = threading.Event()
        self.s = r.service(self.handle)
        self.target = self.s.target

    def handle(self, conn, head):
        path = head.split(" ")[1]
        if path == "/take":
            conn.until(b"first")
            self.s.note("first")
            conn.until(b"last")
            conn.until(b"0\r\n\r\n")
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntaken")
        elif path == "/give":
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst\n")
            self.go.wait(WAIT)
            conn.send(b"last\n")
        elif path == "/head":
            conn.send(b"HTTP/1.1 200 OK\r\nX-Large: " + b"x" * 30000 + b"\r\nContent-Length: 0\r\n\r\n")
        elif path == "/accel":
            conn.send(b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /echo\r\nContent-Length: 3\r\n\r\nown")


def fields(r, f, http):
    forged = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7", "X-Forwarded-Proto: gopher", "X-Forwarded-Host: evil.example",
              "X-Real-IP: 6.6.6.6", "X-Request-Id: forged", "Forwarded: for=6.6.6.6", "X-Forwarded-Port: evil",
              "X-Forwarded-Prefix: /evil", "X-Forwarded-Prefix: /evil2", "X-Forwarded-Ssl: off", "X_Forwarded_For: 6.6.6.6")
    c = f.curl("/echo?x=%2F%20y&z=a+b", *(a for one in forged for a in ("-H", one)), http=http)
    how = f"{f.name} {c.version}"
    r.equal(f"{how}: GET", (c.status, c.version, c.json().get("method")), (200, "HTTP/2" if http == "--http2" else "HTTP/1.1", "GET"))
    r.equal(f"{how}: path and query pass untouched", c.json().get("target"), "/echo?x=%2F%20y&z=a+b")
    for name, want in (("X-Forwarded-For", [f"{CALLER}, 127.0.0.1"]), ("X-Forwarded-Proto", ["https"]), ("X-Real-IP", [CALLER]),
                       ("X-Forwarded-Host", [f"a.{DOMAIN}:{f.port}"]), ("Accept-Encoding", [])):
        r.equal(f"{how}: {name}", c.sent_fields(name), want)
    left = [h for h in c.json().get("headers", [])
            if re.search(r"6\.6\.6|7\.7\.7|evil|forged|off", h[1]) and h[0].lower() != "x-request-id"]
    r.equal(f"{how}: forged fields are gone", left, [])
    ids = c.all("X-Request-Id")
    r.check(f"{how}: the request id, of service and answer", ids == c.sent_fields("X-Request-Id") not in ([], ["forged"]), c)


def bodies(r, f, http):
    how, digest = f"{f.name} {http[2:]}", hashlib.sha256(MIB5).hexdigest()
    for what, args in (("a POST with a length", ("-H", "Expect:", "--data-binary", "@-")),
                       ("a chunked POST", ("-X", "POST", "-T", "-", "-H", "Expect:")),
                       ("Expect: 100-continue", ("-H", "Expect: 100-continue", "--data-binary", "@-"))):
        c = f.curl("/upload", *args, http=http, stdin=MIB5)
        r.equal(f"{how}: {what}, 5 MiB", (c.status, c.json().get("body_length"), c.json().get("body_sha256")), (200, len(MIB5), digest))
    for kind in ("", "&chunked"):
        c = f.curl(f"/bytes?n={5 << 20}{kind}", http=http)
        r.equal(f"{how}: a response of 5 MiB{kind}", (c.status, c.exit, len(c.body), c.get("Content-Length")),
                (200, 0, 5 << 20, None if kind else str(5 << 20)))
    c = f.curl("/bytes?n=12345", "-I", http=http)
    r.equal(f"{how}: HEAD", (c.status, c.get("Content-Length")), (200, "12345"))
    if f.interim:
        c = f.curl("/interim", http=http)
        r.equal(f"{how}: a response after a 103", (c.status, c.body), (200, b"final\n"))


def streams(r, f, o, http):
    """Nothing is held back on the way."""
    how, key = f"{f.name} {http[2:]}", f"{f.name}{http}"
    p = f.slow(f"/sse?id={key}&n=2", http=http)
    p.wait_line(p.lines, lambda l: l == "data: event 0", "first event")
    r.check(f"{how}: the first event comes while the response runs", p.alive())
    direct(o, f"/sse-next?id={key}")
    p.wait_line(p.lines, lambda l: l == "data: event 1", "second event")
    r.equal(f"{how}: events end in order", p.exit(), 0)

    s = Local(r)
    client(r, f.d, s.target, "--name", f"s{http[6]}")
    name = f"s{http[6]}"
    p = f.slow("/give", name=name, http=http)
    p.wait_line(p.lines, lambda l: l == "first", "first bytes of a response with a length")
    s.go.set()
    p.wait_line(p.lines, lambda l: l == "last", "the rest")
    r.equal(f"{how}: a response with a length, piece by piece", p.exit(), 0)
    with subprocess.Popen(["curl", "-sS", "-N", "-m", str(WAIT), *f.args("-T", ".", "-H", "Expect:", http=http), f.url(name) + "/take"],
                          env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
        p.stdin.write(bytes(f.held) + b"first")
        p.stdin.flush()
        try:
            s.s.wait(lambda: "first" in s.s.ends, "the first bytes of an upload before its end")
        finally:
            p.stdin.write(b"last")
            p.stdin.close()
        r.equal(f"{how}: an upload, piece by piece", p.stdout.read(), b"taken")
    c = f.curl("/head", name=name, http=http)
    r.equal(f"{how}: a response head of 30 KB", (c.status, len(c.get("X-Large") or "")), (200, 30000))
    c = f.curl("/accel", name=name, http=http)
    r.equal(f"{how}: a service does not command the proxy", (c.status, c.body), (200, b"own"))


def upgrades(r, f):
    w = ws_server(r)
    client(r, f.d, w.target, "--name", "w")
    host = f"w.{DOMAIN}:{f.port}"
    got = ws_client(f.port, "/report?x=1", "--cafile", f.ca, "--report", "--text", "grüße", "--binary-size", "300000", "--ping",
                    scheme="wss", host=host)
    report = {n.lower(): v for n, v in got.get("report", {}).get("headers", [])}
    r.equal(f"{f.name}: a WebSocket through the tunnel", (got["ok"], got.get("code"), got.get("echoed"), got.get("report", {}).get("path")),
            (True, 1000, 300005, "/report?x=1"))
    r.equal(f"{f.name}: fields of an upgrade", [report.get(n) for n in ("x-forwarded-proto", "x-forwarded-host")], ["https", host])


def our_client(r, ca, port, target, **more):
    """`tunnel` by the domain's name: an HTTP proxy stands for the DNS."""
    way = connect_proxy(r, "--to", str(port))
    return client(r, f"https://{DOMAIN}:{port}", target, "--name", "ours", "--ca", ca, "--proxy", way.url, **more)


def session(r, f, o):
    """A client's own session comes through the proxy, too."""
    if TLS == "none":
        print(f"SKIP a session of ours through {f.name}: this build has no TLS", flush=True)
    else:
        c = our_client(r, f.ca, f.port, o.target, token=f.d.token)
        r.equal(f"{f.name}: a session of ours through the proxy", c.url, f.url("ours"))
        c = f.curl("/upload", "--data-binary", "@-", "-H", "Expect:", name="ours", stdin=MIB5)
        r.equal(f"{f.name}: 5 MiB through it", (c.status, c.json().get("body_sha256")), (200, hashlib.sha256(MIB5).hexdigest()))
        c = f.curl(f"/bytes?n={5 << 20}", name="ours")
        r.equal(f"{f.name}: 5 MiB back", (c.status, c.exit, len(c.body)), (200, 0, 5 << 20))
    p = r.spawn(PYTHON, f"{PEER}/native.py", "client", "--endpoint", f"wss://{DOMAIN}:{f.port}", "--connect", f"127.0.0.1:{f.port}",
                "--cafile", f.ca, "--token", f.d.token, "--name", "peer", kind=Peer)
    ready = p.ready()
    r.equal(f"{f.name}: a session through the proxy", (ready["op"], ready.get("url")), ("ready", f.url("peer")))
    c = f.curl("/x", "--data-binary", "@-", "-H", "Expect:", name="peer", stdin=MIB5[:300000])
    r.equal(f"{f.name}: a request through it", (c.status, c.json().get("body_length")), (200, 300000))


def reuse(r, f):
    before = f.connections()
    n = 12
    p = subprocess.run(["curl", "-sS", "-m", str(WAIT), *f.args(), *[a for i in range(n) for a in ("-o", "/dev/null", f.url() + f"/echo?i={i}")],
                        "-w", "%{http_code} "], env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT + 10, check=False)
    new = f.connections() - before
    r.equal(f"{f.name}: requests of one caller", p.stdout.split(), ["200"] * n)
    r.check(f"{f.name}: connections to the daemon are used again", len(new) <= 2, f"{len(new)} new ones for {n} requests")


def leaves(r, f, o):
    for i, (when, path) in enumerate((("before the response", "/hang"), ("during the response", "/hang?part=100000"))):
        p = f.slow(path, "-o", "/dev/null")
        direct(o, "/hung?n=1")
        p.kill()
        p.exit()
        r.check(f"{f.name}: the service sees a caller leave {when}", direct(o, f"/dropped?n={i + 1}")["ok"])


def errors(r, f):
    c = f.curl("/", "-H", "Accept: application/json", name="nobody")
    r.equal(f"{f.name}: 503 for a name that nobody serves", (c.status, c.json().get("error"), c.get("Retry-After")),
            (503, "no client serves this name", "1"))
    c = Curl(f"http://a.{DOMAIN}:{f.plain}", "/x/y?z=1", "--connect-to", f"::127.0.0.1:{f.plain}")
    r.check(f"{f.name}: plain HTTP is sent on to HTTPS", c.status == 308 and re.fullmatch(
        rf"https://a\.{DOMAIN}(:\d+)?/x/y\?z=1", c.get("Location") or ""), c)


def restart(r, f):
    f.d.stop()
    f.d.ended = True
    c = f.curl("/echo")
    r.check(f"{f.name}: the daemon is not there", c.status in (502, 503), c)
    d = r.daemon(*f.daemon(), scope=None)
    names = ["a"] if TLS == "none" else ["a", "ours"]
    for name in names:
        d.log(f"event=tunnel_open name={name} ")
    r.equal(f"{f.name}: the daemon is back", [f.curl("/echo", name=n).status for n in names], [200] * len(names))


def everything(r, front):
    f = front(r)
    o = r.origin("--wait", str(WAIT))
    client(r, f.d, o.target, "--name", "a")
    for http in ("--http1.1", "--http2"):
        fields(r, f, http)
        bodies(r, f, http)
        streams(r, f, o, http)
    if f.interim:
        f.curl("/interim", "-D", f"{r.tmp}/interim")
        with open(f"{r.tmp}/interim", encoding="latin-1") as got:
            r.has(f"{f.name}: the 103 itself", r"^HTTP/1.1 103 ", got.read())
    upgrades(r, f)
    session(r, f, o)
    reuse(r, f)
    if f.tells:
        leaves(r, f, o)
    errors(r, f)
    restart(r, f)


@test
def nginx(r):
    everything(r, Nginx)


@test
def haproxy(r):
    everything(r, Haproxy)


@test
def caddy(r):
    everything(r, Caddy)


@test
def caddy_on_demand(r):
    """A certificate a name, for those that the daemon serves."""
    def block(name):
        return re.search(r"\t# What callers.*?\n\t}\n", read(name), re.S).group()
    r.equal("both Caddyfiles pass requests on alike", block("Caddyfile"), block("Caddyfile.wildcard"))
    f = CaddyOnDemand(r)
    client(r, f.d, r.origin().target, "--name", "a")
    r.equal("the domain itself", f.curl("/health", name="").status, 200)
    r.equal("a name that is served gets a certificate", f.curl("/echo").status, 200)
    c = f.curl("/", name="nobody")
    r.equal("another gets none", (c.status, c.exit), (0, 35))


@test
def certbot_hook(r):
    """The renewed files arrive whole, tunneld's alone, and it is told."""
    live, to, log = f"{r.tmp}/live", f"{r.tmp}/to", f"{r.tmp}/log"
    hook = example(r, "certbot-deploy-hook.sh", (f"live=/etc/letsencrypt/live/{DOMAIN}", f"live={live}"),
                   ("dir=/etc/tunneld", f"dir={to}"), ("user=tunneld", f"user={os.getuid()}"))
    os.mkdir(live)
    os.mkdir(r.tmp + "/bin")

    def tool(name, line):
        with open(f"{r.tmp}/bin/{name}", "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o755)) as f:
            f.write(f"#!/bin/sh\necho {name} $* >>{log}\n{line}\n")

    def run(what, want, said=None, lineage=live):
        for name in ("fullchain", "privkey"):
            with open(f"{live}/{name}.pem", "w", encoding="ascii") as f:
                f.write(f"{name} {what}")
        with open(log, "w", encoding="ascii"):
            pass
        p = subprocess.run(["sh", hook], env={"PATH": f"{r.tmp}/bin:/usr/bin:/bin", **({"RENEWED_LINEAGE": lineage} if lineage else {})},
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT, check=False)
        with open(log, encoding="ascii") as f:
            told = f.read().splitlines()
        r.equal(f"the hook, {what}", (p.returncode, p.stderr, told[-1:]), (0, said or "", want))

    def holds(name):
        path = f"{to}/{name}.pem"
        with open(path, encoding="ascii") as f:
            return f.read(), oct(os.stat(path).st_mode & 0o777)
    for name in ("systemctl", "sv", "rcctl"):
        tool(name, "exit 1")
    tool("pkill", "exit 0")
    run("by hand", ["pkill -HUP -x tunneld"], lineage=None)
    r.equal("the certificate, by hand", (holds("cert"), holds("key")), (("fullchain by hand", "0o600"), ("privkey by hand", "0o600")))
    r.equal("nothing else is left", sorted(os.listdir(to)), ["cert.pem", "key.pem"])
    run("another certificate's", [], lineage=live + "2")
    r.equal("the certificate stays", holds("cert")[0], "fullchain by hand")
    tool("rcctl", "exit 0")
    run("under OpenBSD's rc", ["rcctl reload tunneld"])
    tool("sv", "exit 0")
    run("under runit", ["sv hup tunneld"])
    tool("systemctl", "exit 0")
    run("under systemd", ["systemctl reload tunneld"])
    r.equal("the certificate, renewed", (holds("cert")[0], holds("key")[0]), ("fullchain under systemd", "privkey under systemd"))
    for name in ("systemctl", "sv", "rcctl", "pkill"):
        tool(name, "exit 1")
    run("while no daemon runs", ["pkill -HUP -x tunneld"], "certbot-deploy-hook.sh: tunneld does not run\n")


@test
def direct_tls(r):
    """The README's command line, its certificate brought and renewed by certbot's hook."""
    if TLS == "none":
        print("SKIP tunneld with its own TLS: this build has none", flush=True)
        return
    tls, live, to = certificates(), f"{r.tmp}/live", f"{r.tmp}/to"
    user = pwd.getpwuid(os.getuid()).pw_name if os.getuid() != 0 else "nobody"
    hook = example(r, "certbot-deploy-hook.sh", (f"live=/etc/letsencrypt/live/{DOMAIN}", f"live={live}"),
                   ("dir=/etc/tunneld", f"dir={to}"), ("user=tunneld", f"user={user}"))
    for path in (ROOT, r.tmp):      # the user is let through to its certificate
        os.chmod(path, 0o711)
    os.mkdir(live)
    os.mkdir(r.tmp + "/bin")

    def renew(chain, key):
        shutil.copy(chain, f"{live}/fullchain.pem")
        shutil.copy(key, f"{live}/privkey.pem")
        subprocess.run(["sh", hook], env={"PATH": f"{r.tmp}/bin:/usr/bin:/bin"}, stdin=subprocess.DEVNULL, timeout=WAIT, check=True)

    def manager(line):      # what looks after the daemon
        with open(f"{r.tmp}/bin/systemctl", "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o755)) as f:
            f.write(f"#!/bin/sh\n{line}\n")
    manager("exit 0")
    renew(tls.chain, tls.key)
    command = re.search(r"(?m)^    (tunneld --listen (?:.*\\\n)*.*)$", read("README.md")).group(1).replace("\\\n", " ")
    port, plain = free_port(r), free_port(r)
    for old, new in (("0.0.0.0:443,tls", f"127.0.0.1:{port},tls"), ("0.0.0.0:80", f"127.0.0.1:{plain}"), ("/etc/tunneld/", to + "/"),
                     ("--user tunneld", f"--user {user}")):
        r.check(f"the README's command has {old}", old in command, command)
        command = command.replace(old, new)
    d = r.daemon(*command.split()[1:])
    p = r.spawn(PYTHON, f"{PEER}/native.py", "client", "--endpoint", f"wss://{DOMAIN}:{port}", "--connect", f"127.0.0.1:{port}",
                "--cafile", tls.ca, "--token", d.token, "--name", "peer", kind=Peer)
    r.equal("a session, past no proxy", p.ready().get("url"), f"https://peer.{DOMAIN}:{port}")
    there = ("--cacert", tls.ca, "--connect-to", f"::127.0.0.1:{port}")
    r.equal("a request", Curl(f"https://peer.{DOMAIN}:{port}", "/", *there).status, 200)
    c = our_client(r, tls.ca, port, r.origin().target, token=d.token)
    r.equal("a session of ours, past no proxy", c.url, f"https://ours.{DOMAIN}:{port}")
    r.equal("a request through it", Curl(c.url, "/echo", *there).status, 200)
    c = Curl(f"http://peer.{DOMAIN}:{plain}", "/x", "--connect-to", f"::127.0.0.1:{plain}")
    r.check("plain HTTP is sent on to HTTPS", c.status in (301, 302, 307, 308) and c.get("Location") == f"https://peer.{DOMAIN}:{port}/x", c)

    def serial():
        with ssl.create_default_context(cafile=tls.ca).wrap_socket(socket.create_connection(("127.0.0.1", port), WAIT),
                                                                   server_hostname=DOMAIN) as s:
            return s.getpeercert()["serialNumber"]
    r.equal("the first certificate", serial(), "02")
    manager(f'[ "$1" != reload ] || kill -HUP {d.p.pid}')
    renew(f"{tls.dir}/chain3.pem", f"{tls.dir}/key3.pem")
    r.until("the renewed certificate", lambda: serial() == "03")
    r.equal("the session goes on", (p.alive(), p.seen(event="closed"), Curl(f"https://peer.{DOMAIN}:{port}", "/", *there).status), (True, [], 200))


@test
def apache(r):
    if not program(*Apache.programs) or not Apache.modules:
        print("SKIP examples/apache.conf: there is no Apache httpd", flush=True)
        return
    everything(r, Apache)


if __name__ == "__main__":
    main(2)
