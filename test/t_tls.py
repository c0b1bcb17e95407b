"""TLS of daemon and client, with openssl, curl, Python and nginx at the other end."""
import hashlib
import itertools
import json
import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
import bulk
from bulk import GIB, blocks, rss
from certs import Certs, openssl, read, write
from client import Curl, client, cpu, direct, free_port, preload, run_tool, ws_client, ws_server
from origin import BLOCK
from rig import BIN, ENV, ROOT, SANITIZED, TLS, WAIT, Caller, Miss, Proc, Service, in_parallel, main, serving, test, tests
from tlspeer import (ALERT, DATA, HANDSHAKE, Handshake, Records, TlsCaller, TlsService, Wire, alerts, careless, client_hello,
                     extension, goodbye, nginx, record, s_client, s_server, serving_with, trusting)

SHORT = 3 if SANITIZED else 1       # seconds for what happens at once
TLS12 = ssl.TLSVersion.TLSv1_2
SUITES = {"ECDHE-ECDSA-AES128-GCM-SHA256": 0xc02b, "ECDHE-ECDSA-AES256-GCM-SHA384": 0xc02c,
          "ECDHE-RSA-AES128-GCM-SHA256": 0xc02f, "ECDHE-RSA-AES256-GCM-SHA384": 0xc030,
          "ECDHE-RSA-CHACHA20-POLY1305": 0xcca8, "ECDHE-ECDSA-CHACHA20-POLY1305": 0xcca9}

HAS = {     # all in which the TLS libraries differ: what a check is to find
    "library": ("bearssl", "libtls"),
    "newest version": ("TLSv1.2", "TLSv1.3"),
    "resumption": (True, False),
    "ALPN refused": (True, False),          # a caller that offers nothing of ours; else it gets no answer to that
    "two for a name": (True, False),        # by the kind of key; else the first for the name is used
    "x.w.test. in SNI": ("wild", "site"),   # a final dot, which must not be there (RFC 6066, 3): it counts, or not
    "cn.test in SNI": ("site", "cn.test"),  # a name in CN alone: it counts, or not
    "Ed25519": (False, True),
    "a chain of ten": (False, True),
    "judged in time": (True, False),        # name and pin, before the handshake is finished
    "day": (r".*\d{4}-\d\d-\d\d", ""),     # of a certificate's end, or of its beginning
    "any use": (True, False),               # anyExtendedKeyUsage alone is as good as serverAuth
    "alert to SSL 3": (70, 40),             # OpenSSL: SSL 3 has no protocol_version
    "records skipped": ((500, 500), (32, 4)),   # empty ones, and warnings: OpenSSL's bounds for a row of them
    "halves of an alert": ((1, 0), (2, 10)),    # what comes of close_notify in two records: OpenSSL wants it whole
    "idle KiB": (96, 128)}


def has(what):
    return HAS[what][HAS["library"].index(TLS)]


C = Certs(f"{ROOT}/certs")
CA = C.make("root", kind="p256", number=1, ca=True)
OTHER = C.make("other", kind="p256", number=2, ca=True)
MIDDLE = C.make("middle", CA, kind="rsa2048", number=1, ca=True)
LOCAL = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")
SITE = C.make("site", CA, san=("DNS:t.test", "DNS:*.t.test", *LOCAL))
RSA = C.make("rsa", MIDDLE, kind="rsa2048", san=("DNS:t.test", "DNS:*.t.test", *LOCAL))


def daemon(r, *options, pairs=(SITE,), **more):
    """A daemon with a plain and a TLS port; the latter in .tls."""
    files = [word for p in pairs for word in ("--cert", p.chain, "--key", p.key)]
    d = r.daemon("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0,tls", "--domain", "t.test", *files, *options, **more)
    d.tls = int(d.log(r"event=listening proto=https addr=.*:(\d+)").group(1))
    d.https = f"https://localhost:{d.tls}"
    return d


def tunnel(r, d, target, *args, name="a", **more):
    """A client of ours, over wss."""
    return client(r, d.https, target, "--name", name, "--ca", CA.cert, *args, token=d.token, **more)


def curl(d, path="/", *args, host="a.t.test", port=None, **more):
    port = port or d.tls
    return Curl(f"https://{host}:{port}", path, "--cacert", CA.cert, "--resolve", f"{host}:{port}:127.0.0.1", "-H", f"Host: {host}",
                *args, **more)


def caller(r, d, data=b"", name="a.t.test", ctx=None, **more):
    return r.keep(TlsCaller(d.tls, data, name, ctx or trusting(CA.cert), **more))


def request(path="/", fields="", method="GET", host="a.t.test", body=b"", version="1.1"):
    return f"{method} {path} HTTP/{version}\r\nHost: {host}\r\n{fields}\r\n".encode("latin-1") + body


def get(r, d, path="/", fields="", method="GET", host="a.t.test", body=b"", **more):
    """One request on a connection of its own."""
    with TlsCaller(d.tls, request(path, fields, method, host, body), host, more.pop("ctx", trusting(CA.cert)), **more) as c:
        return c.response(method)


def works(r, d, what, host="t.test"):
    """A new caller gets an answer of the daemon's own."""
    return r.equal(what, get(r, d, "/healthz", host=host).status, 200)


def lines(p):
    return [l for l in p.errs if l]


@test
def stalled_server(r):
    """It takes its time, so it comes first."""
    listener = r.keep(socket.create_server(("127.0.0.1", 0)))
    c = client(r, f"https://localhost:{listener.getsockname()[1]}", "3000", "--name", "a", "--ca", CA.cert, ready=False)
    c.says("no TLS handshake in time.*trying again", wait=10 + WAIT)
    c.stop()


@test
def reconnects(r):
    """It, too, takes its time."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        port = free_port(r)
        more = ("--listen", "127.0.0.1:0", "--listen", f"127.0.0.1:{port},tls", "--cert", SITE.both, "--domain", "t.test", "--drain", "1")
        d, o = r.daemon(*more, name=f"d{number}"), r.origin()
        c = client(r, f"https://localhost:{port}", o.target, "--name", "a", "--ca", CA.cert, token=d.token)
        d.kill(number)
        d.exit()
        d.ended = True
        c.says("trying again")
        alert = 70 if number == signal.SIGKILL else 40
        mark, others = c.marks(), talker(r, record(ALERT, bytes([2, alert])), port)
        c.says("trying again", start=mark)
        others.shutdown(socket.SHUT_RDWR)      # else accept(2) holds the port
        others.close()
        r.check(f"alert {alert} from anybody ends no client that has worked", c.alive(), c.errs)
        d2 = r.daemon(*more, name=f"d{number}", scope=None)
        c.says("is back")
        r.equal(f"after {number.name} of the daemon", Curl(d2, "/echo", host="a.t.test").status, 200)
        r.check("TLS is what was lost", not any("certificate" in l for l in lines(c)), c.errs)


@test
def download(r):
    d, o = daemon(r), r.origin()
    c = tunnel(r, d, o.target)
    got = bulk.download("--cacert", CA.cert, "--resolve", f"a.t.test:{d.tls}:127.0.0.1", f"https://a.t.test:{d.tls}/bytes?n={GIB}")
    r.equal("a large download over https and wss, byte-exact", got, (0, GIB, True))
    rss(r, "a large download", d, c)


@test
def upload(r):
    d, o = daemon(r), r.origin()
    c = tunnel(r, d, o.target)
    got = bulk.upload("--cacert", CA.cert, "--resolve", f"a.t.test:{d.tls}:127.0.0.1", f"https://a.t.test:{d.tls}/upload")
    r.equal("a large upload over https and wss, byte-exact", got, (0, GIB, blocks(GIB)))
    rss(r, "a large upload", d, c)


# ---- the daemon's certificates and keys ---------------------------------------------

@test
def key_types(r):
    kinds = ("p256", "p384", "p521", "rsa2048", "rsa4096", *(["ed25519"] if has("Ed25519") else []))
    pairs = [C.make(f"kind-{k}", MIDDLE if k[0] == "p" else CA, kind=k, san=(f"DNS:{k}.kind.test",)) for k in kinds]
    d = daemon(r, pairs=pairs)
    for kind in kinds:
        host = f"{kind}.kind.test"
        c = curl(d, "/", host=host)
        r.equal(f"{kind}: curl", (c.status, c.exit), (200, 0))
        for version, args in ((has("newest version"), []), ("TLSv1.2", ["-tls1_2"])):
            code, said = s_client(d.tls, "-CAfile", CA.cert, "-verify_return_error", "-verify_hostname", host, *args, name=host)
            r.check(f"{kind}: openssl {args}", code == 0 and "Verification: OK" in said and f"New, {version}, " in said
                    and f"CN = kind-{kind}" in said, said)
        with TlsCaller(d.tls, request(host=host), host, trusting(CA.cert)) as t:
            r.equal(f"{kind}: Python", (t.response().status, t.sock.version()), (200, has("newest version")))


def spoken(text, begin="before", end="after"):
    return f"{begin}\n{text}{end}\n"


@test
def key_files(r):
    """Every way to write a key or a chain, each for a name of its own."""
    rsa, ec = C.key("rsa2048"), C.key("p256")
    sec1 = openssl("ec", "-in", ec).decode()
    forms = {"pkcs8-rsa": read(rsa), "pkcs8-ec": read(ec), "pkcs1": openssl("rsa", "-in", rsa, "-traditional").decode(),
             "sec1": sec1, "sec1-parameters": openssl("ecparam", "-name", "prime256v1").decode() + sec1,
             "crlf": sec1.replace("\n", "\r\n"), "talk": spoken(sec1)}
    pairs, args = [], []
    for name, text in forms.items():
        p = C.make(f"form-{name}", MIDDLE, kind="rsa2048" if "PRIVATE" in text and name in ("pkcs8-rsa", "pkcs1") else "p256",
                   san=(f"DNS:{name}.form.test",))
        p.key = write(f"{r.tmp}/{name}.key", text)
        if name in ("crlf", "talk"):
            p.chain = write(f"{r.tmp}/{name}.chain", (lambda t: t.replace("\n", "\r\n") if name == "crlf" else spoken(t))(read(p.chain)))
        pairs.append(p)
        args = ["-n", "--listen", "127.0.0.1:0,tls", "--cert", p.chain, "--key", p.key]
        done = subprocess.run([f"{BIN}/tunneld", *args], env=ENV, capture_output=True, text=True, timeout=20, check=False)
        r.equal(f"tunneld -n with {name}", (done.returncode, done.stderr), (0, ""))
    d = daemon(r, pairs=pairs)
    for name in forms:
        r.equal(f"{name}: served", curl(d, "/", host=f"{name}.form.test").status, 200)
    d.stop()
    d.ended = True
    one = [C.make(f"one-{i}", MIDDLE, san=(f"DNS:{i}.one.test",)) for i in range(2)]
    write(one[1].both, read(one[1].key) + read(one[1].chain))
    d = r.daemon("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0,tls", "--cert", one[0].both, "--cert", one[1].both)
    d.tls = int(d.log(r"proto=https addr=.*:(\d+)").group(1))
    for i, what in enumerate(("then key", "after key")):
        r.equal(f"chain {what} in one file", curl(d, "/", host=f"{i}.one.test").status, 200)
    out = d.tool("token", "issue", "--global").stdout
    r.has("the client's line is for the TLS port", rf"client: tunnel use https://127\.0\.0\.1:{d.tls} tn_", out)


@test
def bad_files(r):
    def tunneld(*args):
        p = r.spawn(f"{BIN}/tunneld", "--state", f"{r.tmp}/d", *args, kind=Proc)
        try:
            code = p.exit()
        except Miss:
            code = "it runs"
            p.kill()
            p.exit()
        return code, p.errs[:-1]

    def file(name, text):
        return write(f"{r.tmp}/{name}", text)
    ec, chain, rsa = read(SITE.key), read(RSA.chain), RSA.key
    secret = openssl("pkcs8", "-topk8", "-in", SITE.key, "-passout", "pass:x").decode()
    old = openssl("ec", "-in", SITE.key, "-aes128", "-passout", "pass:x").decode()
    leaf, middle = [f"{t}-----END CERTIFICATE-----\n" for t in chain.split("-----END CERTIFICATE-----\n")[:2]]
    weak = C.make("weak", CA, kind="rsa1024", san=("DNS:t.test",))
    edwards = C.make("edwards", CA, kind="ed25519", san=("DNS:t.test",))
    cases = (   # what, certificate, key, the file that is named, words
        ("a missing certificate", f"{r.tmp}/no.crt", SITE.key, "no.crt", "No such file"),
        ("a missing key", SITE.chain, f"{r.tmp}/no.key", "no.key", "No such file"),
        ("a folder", r.tmp, SITE.key, r.tmp, ""),
        ("an empty certificate file", file("empty.crt", ""), SITE.key, "empty.crt", "no certificate"),
        ("an empty key file", SITE.chain, file("empty.key", ""), "empty.key", "no private key"),
        ("no PEM", file("text.crt", "hello\n" * 9), SITE.key, "text.crt", "no certificate"),
        ("a key for a certificate", SITE.key, SITE.key, "p256-0.key", "no certificate"),
        ("a certificate for a key", SITE.chain, SITE.chain, "site.chain", "no private key"),
        ("no key in the one file", SITE.chain, None, "site.chain", "no private key"),
        ("another's key, EC for RSA", RSA.chain, SITE.key, "rsa.chain", "key"),
        ("another's key, RSA for EC", SITE.chain, rsa, "site.chain", "key"),
        ("another's key of the same kind", SITE.chain, C.key("p256", 1), "site.chain", "key"),
        ("another's RSA key", RSA.chain, C.key("rsa2048", 1), "rsa.chain", "key"),
        ("the chain in the wrong order", file("order.crt", middle + leaf), rsa, "order.crt", "key"),
        ("a damaged certificate", file("damaged.crt", leaf.replace(leaf[200:264], "A" * 64)), rsa, "damaged.crt", ""),
        ("a certificate cut short", file("short.crt", leaf[:len(leaf) // 2]), rsa, "short.crt", ""),
        ("a chain cut short", file("cut.crt", leaf + middle[:len(middle) // 2]), rsa, "cut.crt", ""),
        ("bytes that are no base64", file("bytes.crt", leaf[:300] + "*" + leaf[301:]), rsa, "bytes.crt", ""),
        ("a key cut short", SITE.chain, file("short.key", ec[:len(ec) // 2]), "short.key", ""),
        ("an encrypted key", SITE.chain, file("secret.key", secret), "secret.key", "encrypted"),
        ("an encrypted key of the old kind", SITE.chain, file("old.key", old), "old.key", "encrypted"),
        ("an RSA key of 1024 bits", weak.chain, weak.key, "weak.chain", "2048"),
        *([] if has("Ed25519") else [("an Ed25519 key", edwards.chain, edwards.key, "ed", "")]))
    for what, cert, key, named, words in cases:
        files = ["--cert", cert, *(["--key", key] if key else [])]
        for how in ([], ["-n"]):
            code, said = tunneld("--listen", "127.0.0.1:0,tls", *files, *how)
            r.check(f"{what}, {'-n' if how else 'starting'}", code == 1 and len(said) == 1 and said[0].startswith("tunneld: ")
                    and named in said[0] and words in said[0], (code, said))
    for what, args, words in (
            ("TLS without a certificate", ["--listen", "127.0.0.1:0,tls"], "--cert"),
            ("a certificate without TLS", ["--listen", "127.0.0.1:0", "--cert", SITE.both], "tls"),
            ("more certificates than keys", ["--listen", "127.0.0.1:0,tls", "--cert", SITE.chain, "--cert", RSA.chain, "--key", SITE.key], "--key"),
            ("more keys than certificates", ["--listen", "127.0.0.1:0,tls", "--cert", SITE.chain, "--key", SITE.key, "--key", RSA.key], "--key"),
            ("an unknown word behind the port", ["--listen", "127.0.0.1:0,ssl", "--cert", SITE.both], "127.0.0.1:0,ssl"),
            ("the second of two is bad", ["--listen", "127.0.0.1:0,tls", "--cert", SITE.both, "--cert", SITE.key], SITE.key)):
        for how in ([], ["-n"]):
            code, said = tunneld(*args, *how)
            r.check(f"{what}, {'-n' if how else 'starting'}", code in (1, 2) and len(said) == 1 and words in said[0], (code, said))


@test
def long_chain(r):
    """As many as fit are sent; more is an error, not a shorter chain."""
    at, many = CA, []
    for i in range(9):
        at = C.make(f"link-{i}", at, number=i % 2, ca=True)
        many.append(C.make(f"end-{i}", at, number=3, san=("DNS:t.test",)))
    for n, pair in ((8, many[6]), *([(10, many[8])] if has("a chain of ten") else [])):     # it and those above it
        d = daemon(r, pairs=[pair], name=f"d{n}")
        r.equal(f"a chain of {n}", (curl(d, "/", host="t.test").status, s_client(d.tls, "-showcerts")[1].count("BEGIN CERT")), (200, n))
    if has("a chain of ten"):
        return
    p = subprocess.run([f"{BIN}/tunneld", "-n", "--listen", "127.0.0.1:0,tls", "--cert", many[8].chain, "--key", many[8].key],
                       env=ENV, capture_output=True, text=True, timeout=20, check=False)
    r.check("a chain of ten is not cut in silence", p.returncode == 1 and "end-8.chain" in p.stderr, (p.returncode, p.stderr))


# ---- what is agreed in a handshake ------------------------------------------------------

@test
def alpn(r):
    d = daemon(r)
    for offer, want in (("http/1.1", "ALPN protocol: http/1.1"), ("h2,http/1.1", "ALPN protocol: http/1.1"),
                        ("spdy/3,http/1.1", "ALPN protocol: http/1.1"), ("http/1.0", "ALPN protocol: http/1.0"), (None, "No ALPN negotiated")):
        code, said = s_client(d.tls, *(["-alpn", offer] if offer else []))
        r.check(f"ALPN {offer}", code == 0 and want in said, said)
    for offer in ("h2", "http/0.9", "http/1.1x", "http/1."):
        code, said = s_client(d.tls, "-alpn", offer)
        if has("ALPN refused"):
            r.check(f"ALPN {offer} alone is refused", code != 0 and "no application protocol" in said, said)
        else:
            r.check(f"ALPN {offer} alone gets no answer", code == 0 and "No ALPN negotiated" in said, said)
    r.equal("curl, which offers h2", curl(d, "/", "--http2", host="t.test").status, 200)
    ctx = trusting(CA.cert)
    ctx.set_alpn_protocols(["h2", "http/1.1"])
    with TlsCaller(d.tls, request("/healthz", host="t.test"), ctx=ctx) as c:
        r.equal("Python", (c.response().status, c.sock.selected_alpn_protocol()), (200, "http/1.1"))
    if has("ALPN refused"):
        d.log(r"event=handshake_failed peer=127\.0\.0\.1:\d+ reason=.*alert 120 sent")


@test
def sni(r):
    wild = C.make("wild", CA, kind="rsa2048", san=("DNS:*.w.test", "DNS:other.example"))
    pairs = (SITE, wild, C.make("both-rsa", CA, kind="rsa2048", san=("DNS:both.test",)),
             C.make("both-ec", CA, san=("DNS:both.test",)), C.make("named", CA, cn="cn.test"))
    d = daemon(r, pairs=pairs)

    def served(name, *args):
        code, said = s_client(d.tls, "-tls1_2", *args, name=name)
        found = re.search(r"^subject=CN = (\S+)", said, re.M)
        return found.group(1) if code == 0 and found else said[-600:]
    for name, want in ((None, "site"), ("nobody.example", "site"), ("localhost", "site"), ("a.t.test", "site"), ("x.w.test", "wild"),
                       ("X.W.TEST", "wild"), ("OTHER.example", "wild"), ("a.b.w.test", "site"), ("w.test", "site"),
                       ("x.w.test.", has("x.w.test. in SNI")), ("cn.test", has("cn.test in SNI")), ("xw.test", "site"), (".w.test", "site"), ("a" * 250, "site")):
        r.equal(f"SNI {name and name[:20]}", served(name), want)
    ecdsa = [("ECDSA suites alone", ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]), ("ECDSA signatures alone", ["-sigalgs", "ECDSA+SHA256"])]
    for what, args, want in (
            ("RSA suites alone", ["-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "both-rsa"),
            *((what, args, "both-ec") for what, args in ecdsa if has("two for a name")),
            ("RSA signatures alone", ["-sigalgs", "RSA+SHA256"], "both-rsa"),
            ("SHA-384 and SHA-512 alone", ["-sigalgs", "RSA+SHA384:ECDSA+SHA512"], ""),
            ("P-384 alone", ["-curves", "P-384", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "both-rsa"),
            ("X25519 alone", ["-curves", "X25519", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "both-rsa"),
            ("P-521 alone", ["-curves", "P-521", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "both-rsa")):
        got = served("both.test", *args)
        r.check(f"two for a name: {what}", re.fullmatch(f"{want}|both-.*" if not want else want, got), got)
    for what, args in (("a curve that is none of ours", ["-curves", "brainpoolP256r1"]),
                       ("SHA-1 signatures alone", ["-sigalgs", "RSA+SHA1:ECDSA+SHA1", "-cipher", "ALL:@SECLEVEL=0"]),
                       *([] if has("two for a name") else ecdsa)):
        code, said = s_client(d.tls, "-tls1_2", *args, name="both.test")
        r.check(f"{what}: refused", code != 0 and "handshake failure" in said, said)
    r.equal("a name of an EC certificate, by a caller that knows RSA only: the name counts", s_client(
        d.tls, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", name="a.t.test")[0], 1)
    with Wire(d.tls, record(HANDSHAKE, client_hello([0xc02b, 0xc02f], "a\0.w.test"))) as w:
        w.sock.shutdown(socket.SHUT_WR)
        r.check("a NUL in SNI", w.end()[0][:1] in (b"\x15", b"\x16"))
    works(r, d, "and goes on")


@test
def versions(r):
    d = daemon(r)
    for flag in ("-tls1", "-tls1_1"):
        code, said = s_client(d.tls, flag, "-cipher", "ALL:@SECLEVEL=0")
        r.check(f"{flag} is refused", code != 0 and "Cipher is (NONE)" in said, said)
    newer = has("newest version") == "TLSv1.3"
    code, said = s_client(d.tls, "-tls1_3")
    if newer:
        r.check("-tls1_3 alone", code == 0 and "New, TLSv1.3, Cipher is TLS_" in said, said)
        for suite, want in (("AES_128_GCM_SHA256", 0), ("AES_256_GCM_SHA384", 0), ("CHACHA20_POLY1305_SHA256", 0), ("AES_128_CCM_SHA256", 1)):
            r.equal(f"TLS 1.3 with {suite} alone", s_client(d.tls, "-tls1_3", "-ciphersuites", f"TLS_{suite}")[0], want)
        code, said = s_client(d.tls)
        r.check("one that offers both is served by TLS 1.3", code == 0 and "New, TLSv1.3, Cipher is TLS_" in said, said)
        code, said = s_client(d.tls, "-tls1_2", "-fallback_scsv")
        r.check("a fallback that is one is refused", code != 0 and "alert inappropriate fallback" in said, said)
    else:
        r.check("-tls1_3 alone is refused", code != 0 and re.search("alert (protocol version|handshake failure)", said), said)
        code, said = s_client(d.tls, "-tls1_2", "-fallback_scsv")
        r.check("a fallback that is none", code == 0 and "Cipher is ECDHE-ECDSA-" in said, said)
    code, said = s_client(d.tls, *(["-tls1_2"] if newer else []))
    r.check("one that offers no more than we have is served by TLS 1.2" if newer else "one that offers both is served by TLS 1.2",
            code == 0 and "New, TLSv1.2, Cipher is ECDHE-ECDSA-" in said
            and "Secure Renegotiation IS supported" in said and "Compression: NONE" in said, said)
    for version in (0x0002, 0x0200, 0x0300, 0x0301, 0x0302):
        with Wire(d.tls, record(HANDSHAKE, client_hello(list(SUITES.values()), version=version), min(version | 0x300, 0x0301))) as w:
            data, end = w.end()
        alert = has("alert to SSL 3") if version == 0x0300 else 70
        r.check(f"ClientHello of version {version:#x}", alerts(data) in ([], [alert]) and data[:1] != b"\x16" and end == "fin", (data[:40], end))
    for version in (0x0303, 0x0304, 0x0399):
        with Wire(d.tls, record(HANDSHAKE, client_hello([0xc02b], version=version), 0x0301)) as w:
            w.sock.shutdown(socket.SHUT_WR)
            data = w.end()[0]
        r.equal(f"ClientHello of version {version:#x}: TLS 1.2 is chosen", (data[0], data[9:11]), (HANDSHAKE, b"\3\3"))
    for compression, ok in ((b"\1\0", True), (b"\0\1", True), (b"\1", False)):
        with Wire(d.tls, record(HANDSHAKE, client_hello([0xc02b], compression=compression))) as w:
            w.sock.shutdown(socket.SHUT_WR)
            data = w.end()[0]
        at = 9 + 2 + 32
        at += 1 + data[at] + 2 if ok and len(data) > at else 0
        r.check(f"compression {compression!r}", data[0] == HANDSHAKE and data[at] == 0 if ok else data[:1] == b"\x15", data[:80])
    r.until("each refusal is logged", lambda: d.logged(r"event=handshake_failed peer=127\.0\.0\.1:\d+ reason=\S") >= 9)


@test
def suites(r):
    # one daemon with both kinds of keys, or one for each: what any takes counts
    ds = [daemon(r, pairs=pairs, name=f"d{i}") for i, pairs in enumerate([(SITE, RSA)] if has("two for a name") else [(SITE,), (RSA,)])]
    taken = set()
    for d, name in itertools.product(ds, openssl("ciphers", "ALL:COMPLEMENTOFALL:@SECLEVEL=0").decode().strip().split(":")):
        if name.startswith("TLS_"):
            continue        # TLS 1.3
        ctx = careless(f"{name}:@SECLEVEL=0", maximum_version=TLS12)
        try:
            with TlsCaller(d.tls, ctx=ctx) as c:
                taken.add(c.sock.cipher()[0])
        except ssl.SSLError:
            pass
    r.equal("of all that OpenSSL has, forward secret AEAD suites alone", taken, set(SUITES))
    taken = set()
    for d, block in itertools.product(ds, (range(0, 0x100), range(0x1300, 0x1308), range(0xc000, 0xc100), range(0xcc00, 0xcd00),
                                           (0xff85, 0xfeff))):
        left = [n for n in block if n not in (0x00ff,)]
        while left:     # what is chosen is left out the next time
            with Wire(d.tls, record(HANDSHAKE, client_hello(left))) as w:
                w.sock.shutdown(socket.SHUT_WR)
                data = w.end()[0]
            if data[:1] != b"\x16":
                r.equal("else a handshake failure", alerts(data), [40])
                break
            at = 44 + data[43]
            taken.add(struct.unpack(">H", data[at:at + 2])[0])
            left = [n for n in left if n not in taken]
    r.equal("of all numbers, too: no RSA key exchange, CBC, CCM, 3DES, RC4, NULL, anonymous", taken, set(SUITES.values()))
    for d in ds:
        with Wire(d.tls, record(HANDSHAKE, client_hello([]))) as w:
            r.check("no suite at all", w.end()[0][:1] == b"\x15")
        works(r, d, "and goes on")


@test
def resumption(r):
    """Where there is none, each session is a new one, and all else is the same."""
    d, again = daemon(r), has("resumption")
    file = f"{r.tmp}/session"

    def reconnect(what):
        for version in {"TLSv1.2", has("newest version")}:
            code, said = s_client(d.tls, "-" + version.lower().replace("v", "").replace(".", "_"), "-reconnect")
            r.equal(f"-reconnect{what}: five times {version}", (code, said.count(f"Reused, {version}"), said.count(f"New, {version}")),
                    (0, 5, 1) if again else (0, 0, 6))
    code, said = s_client(d.tls, "-tls1_2", "-sess_out", file)
    r.check("a first session", code == 0 and "New, TLSv1.2" in said, said)
    if again:
        code, said = s_client(d.tls, "-tls1_2", "-sess_in", file)
        r.check("is resumed by another process", code == 0 and "Reused, TLSv1.2" in said, said)
    reconnect("")
    ctx = trusting(CA.cert)
    first = caller(r, d, request("/healthz", host="t.test"), ctx=ctx)
    r.equal("the first of Python", (first.response().status, first.sock.session_reused), (200, False))
    later = caller(r, d, request("/healthz", host="t.test"), ctx=ctx, session=first.sock.session)
    r.equal("the next of Python", (later.response().status, later.sock.session_reused), (200, again))
    r.equal("the first goes on", (first.send(request("/healthz", host="t.test")), first.response().status)[1], 200)
    mark = d.marks()
    d.kill(signal.SIGHUP)
    d.log("event=certificates_read", start=mark)
    c = caller(r, d, request("/healthz", host="t.test"), ctx=ctx, session=first.sock.session)
    r.equal("a session from before SIGHUP", c.response().status, 200)
    if again:
        code, said = s_client(d.tls, "-tls1_2", "-sess_in", file)
        r.check("and in another process", code == 0 and re.search("(New|Reused), TLSv1.2", said), said)
    reconnect(" after it")

    def many(i):
        own = careless(maximum_version=TLS12)
        session, reused = None, 0
        for _ in range(20):
            with TlsCaller(d.tls, request("/healthz", host="t.test"), f"{i}.t.test", own, session) as t:
                if t.response().status != 200:
                    return "no answer"
                session, reused = t.sock.session, reused + t.sock.session_reused
        return reused
    r.equal("many at a time", in_parallel([lambda i=i: many(i) for i in range(6)]), [19 if again else 0] * 6)


@test
def renegotiation(r):
    d = daemon(r)
    p = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{d.tls}", "-servername", "a.t.test", "-tls1_2"], env=ENV,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    p.stdin.write(b"R\n")
    p.stdin.flush()
    text = b""
    while not re.search(b"(?s)RENEGOTIATING.*(renegotiation|verify)", text) and (data := os.read(p.stdout.fileno(), 65536)):
        text += data
    p.stdin.close()
    text += p.stdout.read()
    p.wait(20)
    r.check("openssl's R is refused", b"no renegotiation" in text and b"verify return" not in text.partition(b"RENEGOTIATING")[2], text[-800:])
    c = Records(r, d.tls)
    c.send(DATA, request("/healthz", host="t.test"))
    r.has("before it, records by hand are understood", "^HTTP/1.1 200 ", c.next()[1].decode())
    for _ in range(3):
        c.send(HANDSHAKE, c.hello)
        r.equal("a second ClientHello: no_renegotiation, a warning", c.alert(), (1, 100))
    c.send(DATA, request("/healthz", host="t.test"))
    r.has("the connection goes on", "^HTTP/1.1 200 ", c.next()[1].decode())
    works(r, d, "and so does the daemon")


# ---- HTTP over it ---------------------------------------------------------------------

@test
def exchanges(r):
    """What callers do over plain HTTP they may do over https, through a session over wss."""
    d, o = daemon(r), r.origin()
    c = tunnel(r, d, o.target)
    r.equal("the URL is an https one", c.url, f"https://a.t.test:{d.tls}")
    body = os.urandom(3 << 20)
    digest = hashlib.sha256(body).hexdigest()
    got = curl(d, "/echo?x=%2F%20y&z=a+b", "--data-binary", "@-", stdin=body)
    r.equal("POST", (got.status, got.json().get("target"), got.json().get("body_sha256")), (200, "/echo?x=%2F%20y&z=a+b", digest))
    r.equal("X-Forwarded-Proto", got.sent_fields("x-forwarded-proto"), ["https"])
    r.equal("X-Forwarded-For", got.sent_fields("x-forwarded-for"), ["127.0.0.1"])
    r.equal("X-Forwarded-Host", got.sent_fields("x-forwarded-host"), ["a.t.test"])
    got = curl(d, "/echo", "-H", "X-Forwarded-Proto: http", "-H", "X-Forwarded-For: 9.9.9.9")
    r.equal("no caller can say otherwise", (got.sent_fields("x-forwarded-proto"), got.sent_fields("x-forwarded-for")),
            (["https"], ["127.0.0.1"]))
    r.equal("the plain port still says http", Curl(d, "/echo", host="a.t.test").sent_fields("x-forwarded-proto"), ["http"])
    got = curl(d, "/upload", "-T", "-", "-H", "Expect:", stdin=body)
    r.equal("a chunked upload", (got.json().get("chunked"), got.json().get("body_sha256")), (True, digest))
    got = curl(d, "/continue", "-H", "Expect: 100-continue", "--expect100-timeout", "50", "--data-binary", "@-", stdin=body[:500000])
    r.equal("Expect", (got.status, got.json().get("asked"), got.json().get("body_before_100"), got.json().get("body_length")),
            (200, True, False, 500000))
    for query in ("", "&chunked&piece=1000", "&eof"):
        got = curl(d, f"/bytes?n={3 << 20}{query}")
        r.equal(f"3 MiB {query}", (got.exit, got.body == BLOCK * 3), (0, True))
    got = curl(d, "/bytes?n=12345", "-I")
    r.equal("HEAD", (got.status, got.exit, got.get("Content-Length")), (200, 0, "12345"))
    t = caller(r, d)
    for i in range(3):
        t.send(request("/echo"))
        r.equal(f"keep-alive {i}", t.response().status, 200)
    t.send(b"".join(request(f"/bytes?n={n}") for n in range(1, 60)))
    r.equal("pipelined, in one record", [len(t.response().body) for _ in range(1, 60)], list(range(1, 60)))
    t.send(b"".join(request("/upload", "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", "POST",
                            body=b"5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n") + request("/status?code=404") for _ in range(3)))
    r.equal("pipelined with content", [(x.status, x.json().get("trailers")) for x in (t.response() for _ in range(6))],
            [(200, ["X-Sum: 5"]), (404, None)] * 3)
    t.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request("/echo?" + "q" * 300):
        t.send(bytes([byte]))
    r.equal("a byte a record", t.response().status, 200)
    t.send(request("/echo", "".join(f"X-{i}: {'v' * 900}\r\n" for i in range(30))))
    r.equal("a head of 27 KiB", len(t.response().json().get("headers", [])) > 30, True)
    t.send(request("/echo", "".join(f"X-{i}: {'v' * 900}\r\n" for i in range(40))))
    r.equal("one too long", (t.response().status, t.over()), (431, "fin"))
    t = caller(r, d, request("/upgrade", "Connection: Upgrade\r\nUpgrade: raw\r\n"))
    r.equal("an upgrade", t.response().status, 101)
    for n in (1, 16384, 16385, 100000):
        t.send(BLOCK[:n])
        r.check(f"{n} bytes come back", t.exactly(n) == BLOCK[:n])
    r.check("no token in the daemon's log", not any(d.token in l for l in lines(d)))


@test
def websockets(r):
    d, w = daemon(r), ws_server(r)
    tunnel(r, d, w.target)
    for args in (["--text", "hello", "--binary-size", "1000000", "--ping"], ["--text", "x", "--repeat", "200"], ["--binary-size", "0"]):
        got = ws_client(d.tls, "/chat", "--cafile", CA.cert, *args, host="a.t.test", scheme="wss")
        r.check(f"wss {args}", got["ok"], got)
    got = ws_client(d.tls, "/report", "--cafile", CA.cert, "--report", host="a.t.test", scheme="wss")
    r.check("wss: the service is told of it", ["X-Forwarded-Proto", "https"] in got.get("report", {}).get("headers", []), got)
    got = ws_client(d.tls, "/", "--cafile", CA.cert, "--text", "close 4321", "--wait-close", host="a.t.test", scheme="wss")
    r.equal("wss: closed by the service", got.get("code"), 4321)


@test
def endings(r):
    d, o = daemon(r, "--keep-alive", "1", "--half-close", "1"), r.origin()
    c = tunnel(r, d, o.target)
    for what, path, fields, host in (("of a service", "/echo", "", "a.t.test"), ("of the daemon", "/healthz", "", "t.test"),
                                     ("an error", "/", "", "nobody.t.test")):
        with TlsCaller(d.tls, request(path, fields + "Connection: close\r\n", host=host), host, trusting(CA.cert)) as t:
            r.check(f"an answer {what}, then close_notify", t.response().status and t.over() == "fin", t.ended)
    with TlsCaller(d.tls, request("/http10", version="1.0"), ctx=trusting(CA.cert)) as t:
        res = t.response()
    r.equal("content that ends with its connection, to HTTP/1.0", (res.body, res.end), (b"old school\n", "eof"))
    t = caller(r, d, request("/echo"))
    r.equal("kept alive, then idle: close_notify", (t.response().status, t.over()), (200, "fin"))
    t = caller(r, d, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
    r.equal("a bad request: 400, then close_notify", (t.response().status, t.over()), (400, "fin"))
    t = caller(r, d, request("/echo", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "POST"))
    r.equal("two framings: 400, then close_notify", (t.response().status, t.over()), (400, "fin"))
    p = curl(d, "/bytes?n=100000&eof", "--http1.0")
    r.equal("curl --http1.0", (p.exit, len(p.body)), (0, 100000))

    # a body that is cut must not look whole
    for what, path, version in (
            ("Content-Length", "/die-mid?n=100000", "1.1"), ("chunked", "/die-mid-chunked", "1.1"),
            ("to the end, HTTP/1.1", "/die-mid?n=100000&reset=1&eof=1", "1.1"),
            ("to the end, HTTP/1.0", "/die-mid?n=100000&reset=1&eof=1", "1.0"), ("chunked, HTTP/1.0", "/die-mid-chunked", "1.0")):
        with TlsCaller(d.tls, request(path, version=version), ctx=trusting(CA.cert)) as t:
            res = t.response()
            r.check(f"the service dies, {what}: the caller sees it, and no close_notify", res.end == "cut" and t.ended in ("cut", "reset"),
                    (res.end, len(res.body), t.ended))
    t = caller(r, d, request("/upgrade", "Connection: Upgrade\r\nUpgrade: raw\r\n"))
    r.equal("upgraded", (t.response().status, t.send(b"abc"), t.exactly(3)), (101, None, b"abc"))
    c.kill9()
    r.check("the client dies: an upgraded connection ends without close_notify", t.over() in ("cut", "reset"), t.ended)


@test
def half_close(r):
    """close_notify, or FIN, from a caller that has asked and still listens."""
    d, o = daemon(r, "--half-close", "2"), r.origin()
    tunnel(r, d, o.target)

    def ask(path, how):
        s, wire = Handshake(), Wire(d.tls)
        out = s.step()
        while not s.done:
            wire.sock.sendall(out)
            out = s.step(wire.sock.recv(65536))
        s.tls.write(request(path))
        out += s.out.read()
        wire.sock.sendall(out)
        if how != "FIN":
            try:
                s.tls.unwrap()
            except ssl.SSLError:
                pass
            wire.sock.sendall(s.out.read())
        if how != "close_notify":
            wire.sock.shutdown(socket.SHUT_WR)
        data, end = wire.end()
        wire.sock.close()
        s.inp.write(data)
        text = b""
        try:
            while more := s.tls.read(65536):
                text += more
        except ssl.SSLError as e:
            end += f" {e.reason}"
        return text[:12], end
    for how in ("close_notify", "close_notify and FIN"):
        for path in ("/echo", "/slow?ms=300"):
            def ended(path=path, how=how):
                start = time.monotonic()
                got = ask(path, how)    # TLS 1.2 lets nobody speak who has got close_notify (RFC 5246, 7.2.1); TLS 1.3 does
                r.check(f"{path} with {how}: answered, or an end in order", got[0] in (b"HTTP/1.1 200", b"") and got[1] in ("fin", "fin None"), got)
                return time.monotonic() - start
            r.soon(f"{path} with {how}: in time", 2 + 2 * SHORT, ended)
    got = ask("/slow?ms=300", "FIN")
    r.check("with a FIN alone, which anybody could have sent: it ends", got[1].startswith(("fin", "reset")), got)
    t = caller(r, d, request("/hang"))
    direct(o, "/hung?n=1")
    t.sock.setblocking(False)
    try:
        t.sock.unwrap()
    except OSError:
        pass
    got = direct(o, "/dropped?n=1")
    r.check("close_notify, and no answer in time: the service's connection is closed", got["ok"], got)
    t = caller(r, d, request("/hang"))
    direct(o, "/hung?n=1")
    t.reset()
    r.check("reset: the service's connection is closed", direct(o, "/dropped?n=2")["ok"])
    works(r, d, "and goes on")


# ---- handshakes that go wrong ---------------------------------------------------------------

def leave(wire, how):
    if how == "reset":
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "FIN":
        wire.sock.shutdown(socket.SHUT_WR)
        wire.end()
    wire.sock.close()


@test
def handshakes_cut(r):
    """Each of these must give its handshake back: two at a time are allowed, and in the end both are there."""
    d = daemon(r, "--handshakes", "2", "--head-timeout", "4")
    hello, mark = Handshake().step(), d.marks()

    def over():
        nonlocal mark
        d.log("event=handshake_failed", start=mark)
        mark = d.marks()
    for n in (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 43, 44, 45, 80, len(hello) - 1, len(hello)):
        for how in ("close", "FIN", "reset"):
            with Wire(d.tls, hello[:n]) as wire:
                leave(wire, how)
            over()
    for where in (1, 5, 6, 40, 75, 76, 81, 82, 90, -1):
        for how in ("close", "FIN", "reset"):
            s, wire = Handshake(), Wire(d.tls)
            wire.sock.sendall(s.step())
            seen = b""
            while not (out := s.step(seen)):
                seen = wire.sock.recv(65536)
            wire.sock.sendall(out[:where])
            leave(wire, how)
            over()
    pair = [Wire(d.tls, hello) for _ in range(2)]
    r.equal("all handshakes were given back", [w.sock.recv(1) for w in pair], [b"\x16"] * 2)
    for w in pair:
        w.sock.close()
    r.until("and these", lambda: d.logged("event=handshake_failed") >= 16 * 3 + 10 * 3 + 2)
    works(r, d, "and goes on")
    r.equal("nobody was turned away", d.logged("handshakes_full"), 0)


@test
def garbage(r):
    d = daemon(r, "--handshakes", "2", "--head-timeout", "4")
    hello = Handshake().step()
    body = hello[5:]
    for what, data in (
            ("zeros", bytes(100)), ("random bytes", b"\x80" + BLOCK[:3000]), ("an SSLv2 hello", b"\x80\x2e\x01\x00\x02" + bytes(60)),
            ("a record of version 9.9", record(HANDSHAKE, body, 0x0909)), ("an empty record", record(HANDSHAKE, b"") * 3),
            ("a record that is too long", record(HANDSHAKE, body + bytes(20000))),
            ("a record of 65535", b"\x16\x03\x01\xff\xff" + bytes(65535)),
            ("ChangeCipherSpec first", record(20, b"\1")), ("data first", record(DATA, b"GET / HTTP/1.1\r\n\r\n")),
            ("a fatal alert first", record(ALERT, b"\2\50")), ("close_notify first", record(ALERT, b"\1\0")),
            ("an unknown kind of record", record(200, b"x")), ("a handshake message of no kind", record(HANDSHAKE, b"\x63\0\0\1x")),
            ("Finished first", record(HANDSHAKE, b"\x14\0\0\x0c" + bytes(12))),
            ("a ClientHello that claims 16 MiB", record(HANDSHAKE, b"\1\xff\xff\xff" + bytes(16000)) * 20),
            ("a ClientHello cut short in itself", record(HANDSHAKE, b"\1\0\0\x10" + body[4:20])),
            ("lengths that lie", record(HANDSHAKE, body[:39] + b"\xff" + body[40:])),
            ("bytes behind the extensions", record(HANDSHAKE, b"\1" + struct.pack(">I", len(body) - 4 + 9)[1:] + body[4:] + bytes(9))),
            ("two ClientHellos", hello * 2), ("data behind a ClientHello", hello + record(DATA, b"hello")),
            ("an extension twice", record(HANDSHAKE, client_hello([0xc02b], "a.t.test", more=extension(13, b"\0\2\4\3")))),
            ("a name that is too long", record(HANDSHAKE, client_hello([0xc02b], "a" * 5000))),
            ("an empty list of names", record(HANDSHAKE, client_hello([0xc02b], more=extension(0, b"\0\0")))),
            ("a renegotiation that is none", record(HANDSHAKE, client_hello([0xc02b], more=extension(0xff01, b"\x05hello"))))):
        with Wire(d.tls, b"") as w:
            try:
                w.sock.sendall(data)
                w.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            got, end = w.end()
            r.check(f"{what}: an end", end in ("fin", "reset") and not got.startswith(b"HTTP"), (got[:60], end))
    for what, pieces in (("a byte a record", [record(HANDSHAKE, body[i:i + 1], 0x0301) for i in range(len(body))]),
                         ("a byte a segment", [hello[i:i + 1] for i in range(len(hello))])):
        s = Handshake()
        body = s.step()[5:]
        if what == "a byte a record":
            pieces = [record(HANDSHAKE, body[i:i + 1], 0x0301) for i in range(len(body))]
        else:
            pieces = [bytes([b]) for b in record(HANDSHAKE, body, 0x0301)]
        with Wire(d.tls) as w:
            w.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                w.sock.sendall(piece)
            seen = b""
            while not s.done:
                if out := s.step(seen):
                    w.sock.sendall(out)
                if not s.done and not (seen := w.sock.recv(65536)):
                    break
        r.check(f"a ClientHello, {what}", s.done)
    works(r, d, "and goes on")
    r.equal("nobody was turned away", d.logged("handshakes_full"), 0)


@test
def slow(r):
    d = daemon(r, "--head-timeout", "4")     # time enough for those that do finish their handshake
    hello = Handshake().step()
    start = time.monotonic()
    silent = [Wire(d.tls, data) for data in (b"", hello[:1], hello[:50], hello)]
    trickle = Wire(d.tls)
    shaken = caller(r, d)
    part = caller(r, d, b"GET / HTTP/1.1\r\nHost: t")
    empty = Records(r, d.tls)
    ended = None
    try:
        for byte in hello[:100]:
            trickle.sock.sendall(bytes([byte]))
            time.sleep(0.05)
    except OSError:
        ended = time.monotonic()
    for i, w in enumerate(silent):
        r.equal(f"a slow handshake ends {i}", w.end()[1], "fin")
    r.check("and one that trickles", ended or trickle.end()[1] in ("fin", "reset"))
    r.check("within its time", 3.9 < time.monotonic() - start < 5 + 4 * SHORT, time.monotonic() - start)
    r.equal("after the handshake a silent caller gets no answer", shaken.over(), "fin")
    r.equal("one with half a head gets 408", (part.response().status, part.over()), (408, "fin"))
    r.equal("by hand: close_notify", empty.alert(), (1, 0))
    for w in (*silent, trickle):
        w.sock.close()
    d.log(r"event=handshake_failed peer=127\.0\.0\.1:\d+ reason=.*in time")
    works(r, d, "and goes on")


@test
def leaving(r):
    """Callers that stop reading, or go, and a daemon that is asked to stop."""
    d, o = daemon(r, "--stall", "4", "--drain", "10"), r.origin()
    c = tunnel(r, d, o.target)
    t = caller(r, d, request("/bytes?n=200000000"), rcvbuf=8192)
    t.until(b"\r\n\r\n")
    d.log("event=exchange_failed .*reason=caller_stalled")
    for how in ("reset", "close", "close_notify"):
        at = direct(o, "/dropped")["count"]
        t = caller(r, d, request("/hang?part=1000000"), rcvbuf=8192)
        t.until(b"\r\n\r\n")
        if how == "reset":
            t.reset()
        elif how == "close":
            t.close()
        else:
            goodbye(t)
            t.close()
        r.check(f"{how} in a download: the service's connection is closed", direct(o, f"/dropped?n={at + 1}")["ok"])
    r.equal("the session has seen nothing of it", (get(r, d, "/echo").status, [l for l in lines(c) if "again" in l]), (200, []))
    down = caller(r, d, request(f"/bytes?n={16 << 20}"), rcvbuf=65536)
    down.until(b"\r\n\r\n")
    kept = caller(r, d, request("/echo"))
    kept.response()
    fresh = Wire(d.tls, Handshake().step()[:20])
    d.kill(signal.SIGTERM)
    d.log("event=draining")
    kept.send(request("/echo"))
    res = kept.response()
    r.equal("while it drains: the last answer, then close_notify", (res.status, res.get("Connection"), kept.over()), (200, "close", "fin"))
    body = down.exactly(16 << 20)
    r.equal("a running download is finished", (len(body), hashlib.sha256(body).hexdigest()), (16 << 20, blocks(16 << 20)))
    d.ended = True
    r.equal("then it stops", d.exit(), 0)
    fresh.sock.close()
    c.says("trying again")


@test
def handshakes_bounded(r):
    d = daemon(r, "--handshakes", "2", "--head-timeout", "20")
    held = [Wire(d.tls, Handshake().step()) for _ in range(2)]
    r.equal("two are under way", [w.sock.recv(1) for w in held], [b"\x16"] * 2)
    with Wire(d.tls, Handshake().step()) as third:
        r.check("the third is turned away", third.end() in ((b"", "fin"), (b"", "reset")))
    d.log(r"event=handshakes_full peer=127\.0\.0\.1:\d+")
    r.equal("not on the plain port", r.get(d, "t.test", "/healthz").status, 200)
    held.pop().sock.close()
    r.until("one has ended", lambda: d.logged("event=handshake_failed") == 1)
    for _ in range(5):
        r.equal("who has shaken hands is not counted", caller(r, d, request("/healthz", host="t.test")).response().status, 200)
    held.pop().sock.close()
    d = daemon(r, "--handshakes", "1", "--trust", "127.0.0.0/8", name="trusting")
    held = [Wire(d.tls, b"\x16") for _ in range(3)]
    works(r, d, "an address that is trusted is not counted")
    for w in held:
        w.sock.close()


@test
def plain_http(r):
    d = daemon(r, "--handshakes", "2")
    for what, data in (("GET", request("/healthz", host="t.test")), ("POST", request("/", "Content-Length: 5\r\n", "POST", body=b"hello")),
                       ("a WebSocket", request("/_tunnel/a", "Connection: Upgrade\r\nUpgrade: websocket\r\n")),
                       ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ("a byte", b"G"),
                       ("much", request("/", "Content-Length: 9000000\r\n", "PUT", body=bytes(30000)))):
        with Caller(d.tls, data) as c:
            res = c.response()
            r.check(f"{what}: 400 with a hint", res.status == 400 and b"https://" in res.body, res)
            r.equal(f"{what}: and the end", (res.get("Connection"), c.over()), ("close", "fin"))
    r.equal("curl", (lambda c: (c.status, c.exit))(Curl(d.tls, "/", host="t.test")), (400, 0))
    d.log(r"event=refused status=400")
    c = client(r, f"http://127.0.0.1:{d.tls}", "3000", token=d.token, ready=False)
    c.ends("our client by http on the TLS port", 1)
    r.check("it says what is wrong", any("400" in l or "TLS" in l or "https" in l for l in lines(c)), c.errs)
    works(r, d, "and goes on")


@test
def shut_direction(r):
    """After our close_notify nothing is owed, whatever a caller asks for: no thread turns for it."""
    d = daemon(r, "--head-timeout", "20")
    def open_ones():
        return len(os.listdir(f"/proc/{d.p.pid}/fd"))
    before = open_ones()
    c = Records(r, d.tls)
    c.send(DATA, request("/healthz", "Connection: close\r\n", host="t.test"))
    while c.next() not in ("fin", "reset"):
        pass
    used = cpu(d)
    for _ in range(2):
        c.send(HANDSHAKE, b"\1\0\0\6" + bytes(6))     # a ClientHello, which is answered with a warning
    r.until("the connection is closed", lambda: open_ones() <= before)
    r.check("costs no time", cpu(d) - used < (1 if SANITIZED else 0.3), cpu(d) - used)
    works(r, d, "and goes on")


@test
def raw_ends(r):
    """Upgraded bytes know their own end: without close_notify none of them is lost."""
    got = []

    def handle(conn, _):
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
        n = len(conn.buf)
        while data := conn.sock.recv(16384):
            n += len(data)
            time.sleep(0.003)       # the end is there long before the last of it is taken
        got.append(n)
        conn.send(BLOCK)
        conn.sock.shutdown(socket.SHUT_WR)
    service = r.keep(Service(handle))
    d = daemon(r)
    tunnel(r, d, service.target)
    for what in ("close_notify", "no close_notify"):
        with caller(r, d, request("/", "Connection: Upgrade\r\nUpgrade: raw\r\n")) as t:
            r.equal(f"{what}: upgraded", t.response().status, 101)
            t.send(BLOCK)
            if what == "close_notify":
                t.sock.setblocking(False)
                try:
                    t.sock.unwrap()
                except (ssl.SSLError, OSError):
                    pass
            else:
                socket.socket.shutdown(t.sock, socket.SHUT_WR)
        r.until(f"{what}: the service sees the end", lambda: len(got) > 0)
        r.equal(f"{what}: all of it came before", got.pop(), len(BLOCK))
    def cut(conn, _):
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n" + BLOCK)
        conn.close()
    e = tls_service(r, SITE, cut)
    tunnel(r, d, f"https://localhost:{e.port}", "--insecure-target", name="b")
    t = caller(r, d, request("/", "Connection: Upgrade\r\nUpgrade: raw\r\n", host="b.t.test"), rcvbuf=4096)
    r.equal("a service that ends so: upgraded", t.response().status, 101)
    r.check("all of it comes", t.exactly(len(BLOCK)) == BLOCK)
    r.check("and its end", not t.more())


@test
def records(r):
    """What a caller can do with records of its own."""
    d = daemon(r, "--head-timeout", "4")
    for what, make, alert in (
            ("a record that is not authentic", lambda c: c.seal(DATA, b"x")[:-1] + b"\0", 20),
            ("a record twice", lambda c: c.seal(DATA, b"G") + b"", None),
            ("a record shorter than its tag", lambda c: record(DATA, bytes(15)), 20),
            ("a record of no length", lambda c: record(DATA, b""), 20),
            ("a record that is too long", lambda c: record(DATA, bytes(18500)), 22),
            ("a record of 65535", lambda c: b"\x17\x03\x03\xff\xff" + bytes(65535), 22),
            ("plaintext behind the handshake", lambda c: record(ALERT, b"\1\0"), 20),
            ("another version", lambda c: record(DATA, c.seal(DATA, b"x")[5:], 0x0301), 70),
            ("an unknown kind", lambda c: c.seal(200, b"x"), 10),
            ("a ChangeCipherSpec", lambda c: c.seal(20, b"\1"), 10),
            ("a handshake message of no kind", lambda c: c.seal(HANDSHAKE, b"\x63\0\0\0"), 10)):
        c = Records(r, d.tls)
        data = make(c)
        if what == "a record twice":
            data = data + data
        try:
            c.sock.sendall(data)
        except OSError:
            pass
        got = c.alert()
        r.check(f"{what}: a fatal alert, or the end", got in ("fin", "reset") or got[0] == 2, got)
        r.check(f"{what}: and the end", got in ("fin", "reset") or c.next() in ("fin", "reset"))
        works(r, d, f"{what}: the daemon goes on")
    c = Records(r, d.tls)
    c.sock.sendall(c.seal(DATA, request("/healthz", host="t.test"))[:30])
    c.sock.shutdown(socket.SHUT_WR)
    r.check("cut in a record: the end", c.next() in ("fin", "reset") or c.next() in ("fin", "reset"))
    patient = daemon(r, name="patient")
    c = Records(r, patient.tls)
    empty, warnings = has("records skipped")
    c.sock.sendall(b"".join(c.seal(DATA) for _ in range(empty)) + b"".join(c.seal(ALERT, b"\1\x5a") for _ in range(warnings)))
    c.send(DATA, request("/healthz", host="t.test"))
    r.has("empty records and warnings are skipped", "^HTTP/1.1 200 ", c.next()[1].decode())
    c, start = Records(r, d.tls), time.monotonic()
    try:
        while time.monotonic() - start < 18:
            c.sock.sendall(b"".join(c.seal(DATA) for _ in range(20)))
    except OSError:
        pass
    r.check("empty records stop no clock", time.monotonic() - start < 4 + 4 * SHORT, time.monotonic() - start)
    c, sent = Records(r, patient.tls), 0
    try:
        while sent < 100:
            c.send(ALERT, b"\1\x5a" * 8192)     # 8192 warnings
            sent += 1
    except OSError:
        pass
    r.check("warnings without end are not waited for", sent < 60, sent)
    works(r, d, "and goes on")
    c = Records(r, d.tls)
    c.send(DATA, request("/healthz", host="t.test"))
    c.next()
    c.send(ALERT, b"\2\x50")
    r.check("a fatal alert: the end", c.next() in ("fin", "reset"))
    works(r, d, "and goes on")
    o = r.origin()
    tunnel(r, patient, o.target)
    c = Records(r, patient.tls)
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    c.send(DATA, request("/bytes?n=100000000"))
    c.next()
    c.send(HANDSHAKE, b"\1\0\0")
    before, start = cpu(patient), time.monotonic()
    while time.monotonic() - start < 1 and c.next() not in ("fin", "reset"):
        pass
    ended = time.monotonic() - start < 1
    r.check("part of a handshake message in a download: it ends, or nothing spins", ended or cpu(patient) - before < 0.7,
            (ended, cpu(patient) - before))
    c.sock.close()
    c = Records(r, patient.tls)
    c.send(HANDSHAKE, b"\1\0\0")
    c.send(DATA, request("/healthz", host="t.test"))
    before, start = cpu(patient), time.monotonic()
    c.sock.settimeout(0.7)
    try:
        got = c.next()
    except TimeoutError:
        got = None
    r.check("before a request: likewise", cpu(patient) - before < 0.5, (got, cpu(patient) - before))
    works(r, patient, "and goes on")
    c = Records(r, d.tls)
    c.send(ALERT, b"\1")
    c.send(ALERT, b"\0")
    r.equal("close_notify in two records: an alert", c.alert(), has("halves of an alert"))
    r.check("close_notify in two records: the end", c.next() in ("fin", "reset"))
    works(r, d, "and goes on")


# ---- the daemon's other options -----------------------------------------------------------------

def serial(port, name="a.t.test"):
    """The serial number of the certificate that a new connection gets."""
    with TlsCaller(port, b"", name, careless()) as t:
        return openssl("x509", "-inform", "der", "-noout", "-serial", data=t.sock.getpeercert(True)).decode().strip()


def serial_of(pair):
    return openssl("x509", "-in", pair.cert, "-noout", "-serial").decode().strip()


@test
def reload(r):
    first, second = C.make("first", CA, san=("DNS:*.t.test", *LOCAL)), C.make("second", MIDDLE, kind="rsa2048", san=("DNS:*.t.test", *LOCAL))
    cert, key = f"{r.tmp}/live.crt", f"{r.tmp}/live.key"

    def put(pair, hup="certificates_read"):
        write(cert, read(pair.chain) if pair else "nothing\n")
        if pair:
            write(key, read(pair.key))
        mark = d.marks()
        d.kill(signal.SIGHUP)
        return d.log(rf"event={hup}.*", start=mark).group()
    write(cert, read(first.chain))
    write(key, read(first.key))
    d = r.daemon("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0,tls", "--domain", "t.test", "--cert", cert, "--key", key)
    d.tls = int(d.log(r"proto=https addr=.*:(\d+)").group(1))
    d.https = f"https://localhost:{d.tls}"
    o = r.origin()
    c = tunnel(r, d, o.target)
    r.equal("before", serial(d.tls), serial_of(first))
    idle = caller(r, d, request("/echo"))
    r.equal("a caller", idle.response().status, 200)
    running = caller(r, d, request(f"/bytes?n={16 << 20}"), rcvbuf=65536)
    head = running.until(b"\r\n\r\n")
    raw = caller(r, d, request("/upgrade", "Connection: Upgrade\r\nUpgrade: raw\r\n"))
    r.equal("an upgraded one", raw.response().status, 101)
    half = Handshake()
    wire = Wire(d.tls, half.step()[:50])    # begun before, gone on after
    put(second)
    r.equal("SIGHUP: new callers get the new one", serial(d.tls), serial_of(second))
    digest, left = hashlib.sha256(), 16 << 20
    while left:
        data = running.exactly(min(left, 1 << 20))
        digest.update(data)
        left -= len(data)
        if not data:
            break
    r.check("a running download goes on to its end", b"200" in head and (left, digest.hexdigest()) == (0, blocks(16 << 20)), left)
    raw.send(b"still here")
    r.equal("so does an upgraded connection", raw.exactly(10), b"still here")
    idle.send(request("/echo"))
    r.equal("and one that is kept alive", idle.response().status, 200)
    r.equal("the wss session is the same", (Curl(d, "/echo", host="a.t.test").status,
                                            [l for l in lines(c) if "lost" in l or "back" in l]), (200, []))
    wire.sock.close()
    said = put(None, "certificates_bad")
    r.check("a bad file: the last good ones are kept, the log says why", "live.crt" in said and "reason=" in said and "kept=" in said, said)
    r.equal("they are", serial(d.tls), serial_of(second))
    write(cert, read(first.chain))
    mark = d.marks()
    d.kill(signal.SIGHUP)
    said = d.log("event=certificates_bad.*", start=mark).group()
    r.check("a certificate without its key", "live.crt" in said, said)
    os.unlink(key)
    mark = d.marks()
    d.kill(signal.SIGHUP)
    said = d.log("event=certificates_bad.*", start=mark).group()
    r.check("no key at all", "live.key" in said, said)
    r.equal("still the old ones", (serial(d.tls), get(r, d, "/echo").status), (serial_of(second), 200))
    put(first)
    r.equal("mended", serial(d.tls), serial_of(first))
    stop = []

    def ask():
        n = 0
        ctx = careless(maximum_version=TLS12)
        while not stop:
            with TlsCaller(d.tls, request("/healthz", host="t.test"), ctx=ctx) as t:
                if t.response().status != 200:
                    return "no answer"
            n += 1
        return n > 0

    def hup():
        for _ in range(20):
            mark = d.marks()
            d.kill(signal.SIGHUP)
            d.log("event=certificates_read", start=mark)
        stop.append(1)
    r.equal("many reloads among many callers", in_parallel([hup, ask, ask])[1:], [True, True])


@test
def redirect(r):
    d, o = daemon(r, "--redirect", "--trust", "127.0.0.2"), r.origin()
    tunnel(r, d, o.target)

    def ask(data, **more):
        with Caller(d.port, data, **more) as c:
            res = c.response(data.split(b" ")[0].decode())
            return res.status, res.get("Location"), c.over()
    base = f"a.t.test:{d.tls}"
    for what, data, location in (
            ("GET", request("/x/y?q=1&r=%2F%20"), f"https://{base}/x/y?q=1&r=%2F%20"),
            ("the daemon's own page", request("/", host="t.test"), f"https://t.test:{d.tls}/"),
            ("a tunnel's page of health", request("/healthz"), f"https://{base}/healthz"),
            ("with a port", request("/", host="a.t.test:8080"), f"https://{base}/"),
            ("capitals and a final dot", request("/P", host="A.T.test.:80"), f"https://{base}/P"),
            ("POST", request("/form", "Content-Length: 5\r\n", "POST", body=b"hello"), f"https://{base}/form"),
            ("HEAD", request("/h", method="HEAD"), f"https://{base}/h"),
            ("a WebSocket", request("/ws?x", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), f"https://{base}/ws?x"),
            ("a client", request("/_tunnel/a", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", host="t.test"), f"https://t.test:{d.tls}/_tunnel/a"),
            ("a name that nobody holds", request("/", host="no.t.test"), f"https://no.t.test:{d.tls}/"),
            ("an address", request("/p", host=f"127.0.0.1:{d.port}"), f"https://127.0.0.1:{d.tls}/p"),
            ("an IPv6 address", request("/p", host="[::1]"), f"https://[::1]:{d.tls}/p"),
            ("an IPv6 address with a port", request("/p", host="[::1]:80"), f"https://[::1]:{d.tls}/p"),
            ("a whole URL", b"GET http://a.t.test/u?v HTTP/1.1\r\nHost: a.t.test\r\n\r\n", f"https://{base}/u?v"),
            ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a.t.test\r\n\r\n", f"https://{base}"),
            ("//", request("//evil.example/x"), f"https://{base}//evil.example/x"),
            ("X-Forwarded-Proto of anybody", request("/", "X-Forwarded-Proto: https\r\n"), f"https://{base}/"),
            ("HTTP/1.0", request("/z", version="1.0"), f"https://{base}/z"),
            ("a long target", request("/" + "l" * 8000), f"https://{base}/" + "l" * 8000)):
        r.equal(f"redirect: {what}", ask(data), (308, location, "fin"))
    for path in ("/health", "/healthz"):
        r.equal(f"{path} is asked by machines", r.get(d, "t.test", path).status, 200)
    r.equal("no Host: to the domain", ask(b"GET /q HTTP/1.0\r\n\r\n"), (308, f"https://t.test:{d.tls}/q", "fin"))
    p = subprocess.run(["curl", "-sS", "-L", "-m", "20", "--cacert", CA.cert, "--resolve", f"a.t.test:{d.tls}:127.0.0.1", "--resolve",
                        f"a.t.test:{d.port}:127.0.0.1", "--data-binary", "hello", f"http://a.t.test:{d.port}/echo?k=v"],
                       env=ENV, capture_output=True, check=False, timeout=30)
    got = json.loads(p.stdout) if p.stdout.startswith(b"{") else {}
    r.equal("curl -L repeats its POST there", (got.get("method"), got.get("target"), got.get("body_length")), ("POST", "/echo?k=v", 5))
    r.equal("https itself is served", get(r, d, "/echo").status, 200)
    source = socket.create_connection(("127.0.0.1", d.port), 20, source_address=("127.0.0.2", 0))
    source.sendall(request("/echo", "X-Forwarded-Proto: https\r\nConnection: close\r\n"))
    r.check("a trusted proxy that says https is served", source.recv(20).startswith(b"HTTP/1.1 200"))
    source.close()
    source = socket.create_connection(("127.0.0.1", d.port), 20, source_address=("127.0.0.2", 0))
    source.sendall(request("/echo", "X-Forwarded-Proto: http\r\nConnection: close\r\n"))
    r.check("one that says http is not", source.recv(20).startswith(b"HTTP/1.1 308"))
    source.close()
    c = client(r, f"http://127.0.0.1:{d.port}", o.target, token=d.token, ready=False)
    c.ends("our client by http", 1)
    r.check("it says what to use", any("https://" in l for l in lines(c)), c.errs)
    d = daemon(r, "--redirect", "--url", "https://pub.example:8443", name="url")
    with Caller(d.port, request("/x")) as c:
        r.equal("--url knows the port", c.response().get("Location"), "https://a.t.test:8443/x")
    d = daemon(r, "--redirect", "--url", "https://pub.example", name="url443")
    with Caller(d.port, request("/x")) as c:
        r.equal("--url without one: 443", c.response().get("Location"), "https://a.t.test/x")
    with TlsCaller(d.tls, request("/healthz", host="t.test"), ctx=trusting(CA.cert)) as t:
        r.equal("and https is served", t.response().status, 200)
    d = r.daemon("--redirect", "--url", "https://[::1]:8443", "--domain", "t.test", name="url6")
    with Caller(d.port, request("/x")) as c:
        r.equal("--url with an IPv6 address, and no listener with TLS", c.response().get("Location"), "https://a.t.test:8443/x")
    for what, args in (("nowhere to lead to", []), ("a --url without TLS", ["--url", "http://pub.example"])):
        p = subprocess.run([f"{BIN}/tunneld", "-n", "--redirect", "--listen", "127.0.0.1:0", *args], env=ENV, capture_output=True, text=True,
                           timeout=20, check=False)
        r.check(f"--redirect with {what}", p.returncode == 2 and "--redirect" in p.stderr and p.stderr.count("\n") == 1, p.stderr)


@test
def ask_for_names(r):
    d, o = daemon(r, "--redirect"), r.origin()
    tunnel(r, d, o.target)

    def ask(query, host=f"127.0.0.1:{d.port}", fields="", method="GET", port=None):
        with Caller(port or d.port, request(f"/_tunnel/ask{query}", fields, method, host)) as c:
            return c.response(method).status
    for query, want in (("?domain=t.test", 200), ("?domain=a.t.test", 200), ("?domain=A.T.TEST", 200), ("?x=y&domain=a.t.test", 200),
                        ("?domain=b.t.test", 404), ("?domain=x.a.t.test", 404), ("?domain=evil.example", 404), ("?domain=a", 404),
                        ("?domain=", 404), ("", 404), ("?", 404), ("?domain", 404), ("?domains=a.t.test", 404), ("?xdomain=a.t.test", 404),
                        ("?domain=a.t.test%00", 404), ("?domain=" + "a" * 300, 404), ("?domain=127.0.0.1", 404), ("?domain=tt.test", 404)):
        r.equal(f"ask {query[:30]}", ask(query), want)
    r.equal("over https", get(r, d, "/_tunnel/ask?domain=a.t.test", host="t.test").status, 200)
    r.equal("for a forwarded request", ask("?domain=a.t.test", fields="X-Forwarded-For: 9.9.9.9\r\n") in (308, 404, 503), True)
    r.equal("for one that is Forwarded", ask("?domain=a.t.test", fields="Forwarded: for=9.9.9.9\r\n") in (308, 404, 503), True)
    r.check("POST", ask("?domain=a.t.test", method="POST") != 200)
    r.check("a tunnel's own path of that name is the tunnel's", get(r, d, "/_tunnel/ask?domain=t.test", host="a.t.test").status == 404)
    e = r.daemon(name="nowhere")
    r.equal("without --domain it knows nobody", ask("?domain=a.tunnel.example", port=e.port), 404)
    r.equal("nor localhost", ask("?domain=localhost", port=e.port), 404)


# ---- whom the client trusts ------------------------------------------------------------------

def names(r):
    """The environment in which names under .test are this machine; None where that cannot be had."""
    lib = preload(r, "names", "names under .test")
    return {"LD_PRELOAD": lib} if lib else None


def other_end(ctx, r):
    """A peer that is no daemon, but shakes hands: it answers 404."""
    return r.keep(TlsService(serving(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), ctx))


def refused(r, what, url, *args, words, code=5, wait=WAIT, **more):
    """The client ends by itself, with one line about it."""
    c = client(r, url, "3000", "--name", "a", *args, ready=False, **more)
    c.ends(what, code, wait)
    said = lines(c)
    r.check(f"{what}: one line says why", len(said) == 1 and said[0].startswith("tunnel: ") and re.search(words, said[0]), said)
    return c


def untouched(r, what, e, words):
    """No byte of a request came; the handshake had failed, or, by a library that leaves the name to us, may not have."""
    e.wait(lambda: e.left, "the end of a connection")
    ours = not has("judged in time") and words.startswith("name mismatch")
    r.check(f"{what}: no request was sent", not e.heads and not any(e.left) and (ours or isinstance(e.shaken[0], str)),
            (e.heads, e.left, e.shaken))


@test
def trusted(r):
    pairs = [SITE, C.make("deep", C.make("deep-ca", MIDDLE, ca=True), kind="p384", san=("DNS:deep.test", "DNS:*.wild.test")),
             C.make("big", C.make("big-root", kind="rsa4096", ca=True), kind="rsa4096", san=("DNS:big.test",))]
    env = names(r)
    pairs += [C.make("free", CA, san=("DNS:free.test",), uses=None), C.make("any", CA, san=("DNS:any.test",), uses="anyExtendedKeyUsage"),
              C.make("two-uses", CA, san=("DNS:two.test",), uses="clientAuth,serverAuth"),
              C.make("one-use", CA, san=("DNS:clients.test",), uses="clientAuth")]
    d, o = daemon(r, pairs=pairs), r.origin()
    cas = write(f"{r.tmp}/cas", "text\n" + read(OTHER.cert) + "more\n" + read(CA.cert) + read(f"{C.dir}/big-root.crt"))
    cases = [("localhost", "localhost", (), {}), ("IPv4", "127.0.0.1", (), {}), ("a CA file of several", "localhost", ("--ca", cas), {}),
             ("a session of many connections", "localhost", ("--connections", "3"), {})]
    if env:
        cases += [("a name", "t.test", (), env), ("capitals", "T.Test", (), env),
                  ("a chain of three", "deep.test", (), env), ("a wildcard", "y.wild.test", (), env),
                  ("RSA of 4096 bits, twice", "big.test", ("--ca", cas), env), ("no uses named", "free.test", (), env),
                  *([("any use", "any.test", (), env)] if has("any use") else []), ("two uses", "two.test", (), env)]
        for what, host in (("a daemon's that is for clients alone", "clients.test"), *([] if has("any use") else [("any use", "any.test")])):
            refused(r, what, f"https://{host}:{d.tls}", "--ca", CA.cert, words="wrong certificate", token=d.token, env=env)
    for i, (what, host, args, more) in enumerate(cases):
        c = client(r, f"https://{host}:{d.tls}", o.target, "--name", f"n{i}", *(args if "--ca" in args else ("--ca", CA.cert, *args)),
                   token=d.token, env=more)
        r.equal(f"{what}: it serves", Curl(d, "/echo", host=f"n{i}.t.test").status, 200)
        c.stop()
    for i, (what, args, more) in enumerate((
            ("wss", ("--endpoint", f"wss://localhost:{d.tls}/", "--ca", CA.cert), {}),
            ("SSL_CERT_FILE", (), {"SSL_CERT_FILE": CA.cert}), ("--ca before SSL_CERT_FILE", ("--ca", CA.cert), {"SSL_CERT_FILE": OTHER.cert}),
            ("TUNNEL_CA", (), {"TUNNEL_CA": CA.cert}))):
        client(r, d.https, o.target, "--name", f"m{i}", *args, token=d.token, env=more)
        r.equal(f"{what}: it serves", Curl(d, "/echo", host=f"m{i}.t.test").status, 200)
    own = {"TUNNEL_CONFIG_DIR": f"{r.tmp}/own", "SSL_CERT_FILE": CA.cert}
    r.equal("tunnel use", run_tool("use", d.https, "-", env=own, stdin=d.token + "\n")[0], 0)
    code, out, _ = run_tool("connect", "3000", "--name", "saved", env={**own, "TUNNEL_TOKEN": "tn_wrong"})
    r.equal("connect to what use has saved, with a wrong token", (code, out), (3, ""))
    refused(r, "SSL_CERT_FILE of another CA", d.https, words="unknown issuer", env={"SSL_CERT_FILE": OTHER.cert}, token=d.token)
    try:
        six = r.daemon("--listen", "127.0.0.1:0", "--listen", "[::1]:0,tls", "--cert", SITE.both, "--domain", "t.test", name="six")
    except Miss:
        print("SKIP an IPv6 endpoint: this machine has no ::1", flush=True)
        return
    port = six.log(r"proto=https addr=\[::1\]:(\d+)").group(1)
    client(r, f"https://[::1]:{port}", o.target, "--name", "a", "--ca", CA.cert, token=six.token)
    r.equal("IPv6: it serves", Curl(six, "/echo", host="a.t.test").status, 200)
    refused(r, "IPv6 that is not named", f"https://[::1]:{port}", "--ca", OTHER.cert, words="unknown issuer", token=six.token)


@test
def not_trusted(r):
    """Certificates that are not as they should be: exit status 5, and a line."""
    bad_middle = C.make("late-middle", CA, ca=True, start=-20, end=-2, number=4)
    no_ca = C.make("no-ca", CA, san=("DNS:localhost",))
    cases = (
        ("expired", C.make("expired", CA, san=LOCAL, start=-20, end=-2), f"certificate expired: {has('day')}"),
        ("not yet valid", C.make("early", CA, san=LOCAL, start=2), f"certificate not yet valid: {has('day') and has('day') + '.*clock'}"),
        ("expired above it", C.make("under-late", bad_middle, san=LOCAL), "certificate expired"),
        ("another name", C.make("wrong", CA, san=("DNS:wrong.test", "IP:127.0.0.2")), "name mismatch: .*localhost.*wrong.test"),
        ("for clients alone", C.make("for-clients", CA, san=LOCAL, uses="clientAuth"), "wrong certificate"),
        ("for code alone", C.make("for-code", CA, san=LOCAL, uses="codeSigning,emailProtection"), "wrong certificate"),
        ("a name in CN alone", C.make("cn", CA, cn="localhost"), "name mismatch"),
        ("a wildcard of one label", C.make("star", CA, san=("DNS:*",)), "name mismatch"),
        ("self-signed", C.make("self", san=LOCAL), "unknown issuer"),
        ("another CA", C.make("strange", OTHER, san=LOCAL), "unknown issuer"),
        ("signed by what is no CA", C.make("under-none", no_ca, san=LOCAL), "unknown issuer"),
        ("RSA of 1024 bits", C.make("small", CA, kind="rsa1024", san=LOCAL), "weak certificate"),
        ("signed with SHA-1", C.make("sha1", CA, san=LOCAL, md="sha1"), "weak certificate"),
        ("signed with SHA-1 above it", C.make("under-sha1", C.make("sha1-middle", CA, ca=True, md="sha1", number=5), san=LOCAL), "weak certificate"))
    for what, pair, words in cases:
        e = other_end(serving_with(pair, weak=True), r)
        refused(r, what, f"https://localhost:{e.port}", "--ca", CA.cert, words=words)
        untouched(r, what, e, words)
    pair = C.make("short", MIDDLE, san=LOCAL)
    pair.chain = pair.cert
    e = other_end(serving_with(pair), r)
    refused(r, "the intermediate is missing", f"https://localhost:{e.port}", "--ca", CA.cert, words="unknown issuer")
    pair = C.make("dns", CA, san=("DNS:localhost", "DNS:127.0.0.1"))
    e = other_end(serving_with(pair), r)
    refused(r, "an address as a DNS name", f"https://127.0.0.1:{e.port}", "--ca", CA.cert, words="name mismatch")
    pair = C.make("addr", CA, san=("IP:127.0.0.1",))
    e = other_end(serving_with(pair), r)
    refused(r, "a name, and an address in the certificate", f"https://localhost:{e.port}", "--ca", CA.cert, words="name mismatch")
    e = other_end(serving_with(RSA), r)
    some = os.path.exists("/etc/ssl/certs/ca-certificates.crt")
    refused(r, "the system's CAs", f"https://localhost:{e.port}", words="unknown issuer" if some else "CA certificates",
            code=5 if some else 2)
    refused(r, "an intermediate is no anchor for another's leaf", f"https://localhost:{e.port}", "--ca", OTHER.cert, words="unknown issuer")
    env = names(r)
    if env:
        e = other_end(serving_with(SITE, maximum_version=TLS12), r)
        refused(r, "a final dot", f"https://t.test.:{e.port}", "--ca", CA.cert, words="404", code=1, env=env)
        r.equal("a final dot: SNI has none (RFC 6066, 3)", e.shaken, [("t.test", False)])
        e = other_end(serving_with(C.make("stars", CA, san=("DNS:*.t.test", "DNS:*.test", "DNS:w*.test.test", "DNS:x.*.test"))), r)
        for host in ("a.b.t.test", "t.test", "ww.test.test", "x.y.test"):
            refused(r, f"wildcards that are none for {host}", f"https://{host}:{e.port}", "--ca", CA.cert, words=f"name mismatch: .*{host}", env=env)
    e = other_end(serving_with(C.make("shy", CA, san=("DNS:evil\\x1b[31m.test", "DNS:ok.test"))) , r)
    c = refused(r, "names that would play with a terminal", f"https://localhost:{e.port}", "--ca", CA.cert, words="name mismatch")
    r.check("they are not shown", not any("\033" in l or "31m" in l for l in lines(c)), c.errs)


@test
def pins(r):
    own = C.make("own", kind="p256", number=6)      # no name at all
    rsa = C.make("own-rsa", kind="rsa2048", start=-20, end=-2, san=("DNS:elsewhere.test",))
    d, o = daemon(r, pairs=(own,)), r.origin()
    good, wrong = own.pin(), SITE.pin()
    for i, args in enumerate((["--pin", good], ["--pin", wrong, "--pin", good])):
        c = client(r, d.https, o.target, "--name", f"n{i}", *args, token=d.token)
        r.equal(f"a self-signed certificate and {len(args) // 2} pins", Curl(d, "/echo", host=f"n{i}.t.test").status, 200)
        c.stop()
        r.check("the pin is not shown", good[7:] not in "".join(c.lines[:-1] + c.errs[:-1]))
    client(r, d.https, o.target, "--name", "env", token=d.token, env={"TUNNEL_PIN": f"{wrong} {good}"})
    r.equal("TUNNEL_PIN", Curl(d, "/echo", host="env.t.test").status, 200)
    client(r, f"wss://127.0.0.1:{d.tls}", o.target, "--name", "addr", "--pin", good, token=d.token)
    r.equal("by address", Curl(d, "/echo", host="addr.t.test").status, 200)
    e = other_end(serving_with(rsa), r)
    refused(r, "an RSA key, pinned: we get as far as its answer", f"https://localhost:{e.port}", "--pin", rsa.pin(), words="404", code=1)
    c = refused(r, "another pin", d.https, "--pin", wrong, words="pin mismatch", token=d.token)
    r.check("neither pin is shown", not any(p[7:] in l for p in (good, wrong) for l in lines(c)), c.errs)
    refused(r, "a pin, and a CA that has not signed it", d.https, "--pin", good, "--ca", CA.cert, words="unknown issuer", token=d.token)
    d = daemon(r, name="both")
    client(r, d.https, o.target, "--name", "a", "--pin", SITE.pin(), "--ca", CA.cert, token=d.token)
    r.equal("a pin and the CA", Curl(d, "/echo", host="a.t.test").status, 200)
    refused(r, "the CA, and another pin", d.https, "--pin", good, "--ca", CA.cert, words="pin mismatch", token=d.token)
    e = other_end(serving_with(C.make("pinned-wrong", CA, san=("DNS:wrong.test",))), r)
    refused(r, "pin and CA, and another name", f"https://localhost:{e.port}", "--ca", CA.cert, "--pin", SITE.pin(), words="name mismatch")
    middle = other_end(serving_with(RSA), r)
    refused(r, "the pin of an issuer", f"https://localhost:{middle.port}", "--pin", MIDDLE.pin(), words="pin mismatch")
    env = {"TUNNEL_TOKEN": "tn_" + "x" * 43}
    b64 = good[7:]
    for what, pin in (("no hash", "sha256:"), ("no prefix", b64), ("another hash", "sha1:" + b64), ("too short", "sha256:" + b64[:-4]),
                      ("too long", "sha256:" + b64[:-1] + "AAA="), ("no base64", "sha256:" + "*" * 44), ("no padding", "sha256:" + b64[:-1]),
                      ("hex", "sha256:" + "a" * 64), ("base64url", "sha256:" + "-" * 43 + "="), ("empty", ""), ("two in one", f"{good},{good}")):
        code, out, err = run_tool("connect", "3000", "--endpoint", d.https, "--pin", pin, env=env)
        r.check(f"a bad pin, {what}", (code, out) == (2, "") and err.count("\n") == 1 and "pin" in err, (code, err))
    for what, args, word in (("nine pins", [w for _ in range(9) for w in ("--pin", good)], "pin"),
                             ("a CA file that is not there", ["--ca", f"{r.tmp}/none"], f"{r.tmp}/none"),
                             ("an empty CA file", ["--ca", write(f"{r.tmp}/empty", "")], "empty"),
                             ("a CA file with a key alone", ["--ca", SITE.key], "CA certificate"),
                             ("a CA file cut short", ["--ca", write(f"{r.tmp}/cut", read(CA.cert) + read(OTHER.cert)[:300])], "cut"),
                             ("a CA file that is a folder", ["--ca", r.tmp], r.tmp)):
        code, out, err = run_tool("connect", "3000", "--endpoint", d.https, *args, env=env)
        r.check(what, code in (1, 2) and out == "" and err.count("\n") == 1 and word in err, (code, err))
    code, out, err = run_tool("connect", "3000", "--endpoint", "http://127.0.0.1:1", "--pin", good, env=env)
    r.check("a pin for an endpoint without TLS", code == 2 and "TLS" in err, (code, err))
    code, _, err = run_tool("connect", "3000", "--endpoint", d.https, env={**env, "SSL_CERT_FILE": f"{r.tmp}/gone"})
    r.check("SSL_CERT_FILE that is not there", code in (1, 2) and "gone" in err, (code, err))
    code, _, err = run_tool("connect", "3000", "--endpoint", d.https.replace("https:", "http:"), env=env)
    r.check("http:// where the daemon speaks TLS", code == 1 and f"wants TLS: use {d.https}\n" in err, (code, err))


@test
def odd_servers(r):
    newer = s_server(r, SITE, "-tls1_3")
    if has("newest version") == "TLSv1.3":
        refused(r, "TLS 1.3 alone, but no daemon", f"https://localhost:{newer.port}", "--ca", CA.cert, words="no tunneld: .* 200", code=1)
    else:
        refused(r, "TLS 1.3 alone", f"https://localhost:{newer.port}", "--ca", CA.cert, words="peer requires TLS 1.3")
    for kind in ("p384", "p521"):
        e = other_end(serving_with(C.make(f"old-{kind}", CA, kind=kind, san=LOCAL), maximum_version=TLS12), r)
        refused(r, f"TLS 1.2 with {kind}, but no daemon", f"https://localhost:{e.port}", "--ca", CA.cert, words="404", code=1)
    for flag in ("-tls1_1", "-tls1"):
        older = s_server(r, RSA, flag, "-cipher", "ALL:@SECLEVEL=0")
        refused(r, f"{flag} alone", f"https://localhost:{older.port}", "--ca", CA.cert, words="peer has no TLS 1.2")
    for what, args in (("CBC alone", ["-cipher", "ECDHE-RSA-AES128-SHA256"]), ("RSA key exchange alone", ["-cipher", "AES128-GCM-SHA256"]),
                       ("DHE alone", ["-cipher", "DHE-RSA-AES128-GCM-SHA256"]), ("NULL", ["-cipher", "NULL-SHA256:@SECLEVEL=0"])):
        e = s_server(r, RSA, "-tls1_2", *args)
        refused(r, what, f"https://localhost:{e.port}", "--ca", CA.cert, words="no safe cipher")
    e = other_end(serving_with(SITE, maximum_version=TLS12), r)
    refused(r, "a peer that is no tunneld", f"https://localhost:{e.port}", "--ca", CA.cert, words="404", code=1)
    r.equal("SNI was offered", e.shaken, [("localhost", False)])
    r.equal("the request behind it", [h.split("\r\n")[0] for h in e.heads], ["GET /_tunnel/a HTTP/1.1"])
    refused(r, "the same by address", f"https://127.0.0.1:{e.port}", "--ca", CA.cert, words="404", code=1)
    r.equal("an address is no SNI", e.shaken[1], (None, False))
    ctx = serving_with(SITE, maximum_version=TLS12)
    ctx.set_alpn_protocols(["h2", "http/1.1"])
    e = other_end(ctx, r)
    refused(r, "a peer that prefers h2", f"https://localhost:{e.port}", "--ca", CA.cert, words="404", code=1)
    r.equal("ALPN was http/1.1", e.alpn, ["http/1.1"])
    for what, data in (("plain HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n")):
        refused(r, what, f"https://localhost:{talker(r, data)}", "--ca", CA.cert, words="does not speak TLS", code=1)
    for what, data in (("an alert at once", record(ALERT, b"\2\x50")), ("internal_error", record(ALERT, b"\2\x50") * 2),
                       ("a garbled ServerHello", record(HANDSHAKE, b"\2\0\0\4\3\3cd")), ("unrecognized_name", record(ALERT, b"\2\x70"))):
        refused(r, what, f"https://localhost:{talker(r, data)}", "--ca", CA.cert, words="TLS with localhost failed", code=1)
    d = r.daemon(name="plain")
    refused(r, "tunneld's plain port", f"https://localhost:{d.port}", "--ca", CA.cert, words="does not speak TLS", code=1, token=d.token)
    for what, data in (("a server that closes at once", b""), ("one that closes in the handshake", None)):
        port = talker(r, data) if data is not None else talker(r, record(HANDSHAKE, b"\2\0\0\x50\3\3" + bytes(78))[:40])
        c = client(r, f"https://localhost:{port}", "3000", "--name", "a", "--ca", CA.cert, ready=False)
        c.says("lost in the TLS handshake.*trying again")
        c.says("trying again", start=c.marks())
        c.stop(what=what)
    stalled = socket.create_server(("127.0.0.1", 0))
    r.keep(stalled)

    def stops():
        c = client(r, f"https://localhost:{stalled.getsockname()[1]}", "3000", "--name", "a", "--ca", CA.cert, ready=False)
        peer = r.keep(stalled.accept()[0])
        peer.settimeout(20)
        r.equal("a client whose handshake stalls", peer.recv(1), b"\x16")
        return c.stop(what="stops at once in the handshake")
    r.soon("at once", SHORT, stops)


def talker(r, data, port=None):
    """A port where these bytes come after the caller's first, and then the end; the listener, if the port was chosen."""
    def handle(sock):
        sock.recv(4096)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass
    listener = r.keep(socket.create_server(("127.0.0.1", port or 0)))

    def accept():
        while True:
            try:
                sock = listener.accept()[0]
                sock.settimeout(10)
                if data:
                    handle(sock)
                sock.close()
            except OSError:
                if listener.fileno() == -1:
                    return
    threading.Thread(target=accept, daemon=True).start()
    return listener if port else listener.getsockname()[1]


@test
def client_resumes(r):
    """The client's next connection resumes the session of the last, and takes a new one where it cannot."""
    for what, more in (("by session id", {}), ("one that offers tickets", {"tickets": True})):
        ctx = serving_with(SITE, maximum_version=TLS12)
        if not more:
            ctx.options |= ssl.OP_NO_TICKET
        e = r.keep(TlsService(lambda conn, head: goodbye(conn), ctx))
        c = client(r, f"https://localhost:{e.port}", "3000", "--name", "a", "--ca", CA.cert, ready=False)
        e.wait(lambda e=e: len(e.shaken) >= 2, "a second handshake")
        c.stop()
        r.equal(f"{what}: the first handshake is a whole one", e.shaken[0], ("localhost", False))
        r.equal(f"{what}: the second is a resumption, or whole as well", e.shaken[1], ("localhost", has("resumption")))
    # a server that has forgotten, and has another certificate by now, is verified anew
    ctxs = [serving_with(SITE, maximum_version=TLS12), serving_with(C.make("turned", OTHER, san=LOCAL), maximum_version=TLS12)]
    e = r.keep(TlsService(lambda conn, head: goodbye(conn), ctxs[0]))
    c = client(r, f"https://localhost:{e.port}", "3000", "--name", "a", "--ca", CA.cert, ready=False)
    e.wait(lambda: len(e.shaken) == 1, "a first handshake")
    e.ctx = ctxs[1]
    c.ends("a server that has turned into another", 5)
    r.has("it says why", "unknown issuer", lines(c)[-1])


def both_ways(sock, data):
    """Send and receive as either is possible, on one thread: OpenSSL's objects are not for two.  What came."""
    view, got, end = memoryview(data), [], time.monotonic() + 60
    left = len(data)
    sock.setblocking(False)
    while left and time.monotonic() < end:
        select.select([sock], [sock] if view else [], [], 1)
        try:
            if view:
                view = view[sock.send(view[:50000]):]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        try:
            while left:
                got.append(sock.recv(262144))
                left -= len(got[-1])
                if not got[-1]:
                    return b"".join(got)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
    return b"".join(got)


@test
def many(r):
    """Many exchanges at a time over one session, each with content both ways."""
    d, o = daemon(r), r.origin()
    tunnel(r, d, o.target)
    ctx = careless(maximum_version=TLS12)

    def ask(i):
        for k in range(4):
            body = BLOCK[i * 1000:i * 1000 + 30000 + 9000 * k]
            with TlsCaller(d.tls, ctx=ctx) as t:
                t.send(request("/upload", f"Content-Length: {len(body)}\r\n", "POST", body=body))
                if t.response().json().get("body_sha256") != hashlib.sha256(body).hexdigest():
                    return "upload differs"
                t.send(request(f"/bytes?n={300000 + i}&chunked"))
                if t.response().body != BLOCK[:300000 + i]:
                    return "download differs"
        return "ok"
    r.equal("24 at a time", in_parallel([lambda i=i: ask(i) for i in range(24)]), ["ok"] * 24)
    slow_ones = [caller(r, d, request(f"/bytes?n={8 << 20}"), ctx=ctx, rcvbuf=8192) for _ in range(3)]
    r.equal("beside callers that do not read", get(r, d, "/echo").status, 200)
    for t in slow_ones:
        r.check("and these get theirs, too", hashlib.sha256(t.response().body).hexdigest() == blocks(8 << 20))
    both = caller(r, d, request("/upgrade", "Connection: Upgrade\r\nUpgrade: raw\r\n"), ctx=careless(maximum_version=TLS12))
    both.response()
    r.check("8 MiB both ways at a time on one connection", both_ways(both.sock, BLOCK * 8) == BLOCK * 8)


# ---- local services that speak TLS ----------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def answering(conn, head):
    """By the path; the connection is kept where the answer tells its own length."""
    path = head.split(" ")[1].partition("?")[0]
    if path == "/":
        conn.send(OK)
        conn.again = True
    elif path == "/count":
        text = b"%d" % conn.served
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
        conn.again = True
    elif path == "/chunked":
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        conn.again = True
    elif path == "/goodbye":
        conn.send(OK)
        goodbye(conn)
    elif path == "/expect":
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        n = int(re.search("(?i)content-length: (\\d+)", head).group(1))
        text = hashlib.sha256(conn.exactly(n)).hexdigest().encode()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + text)
        conn.again = True
    elif path == "/large":
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (16 << 20))
        for _ in range(16):
            conn.send(BLOCK)
        conn.again = True
    elif path == "/upgrade":
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
        while conn.more():
            conn.send(conn.buf)
            conn.buf = b""
        goodbye(conn)
    elif path.startswith("/eof"):
        conn.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BLOCK[:200000])
        if path == "/eof-whole":
            goodbye(conn)
        elif path == "/eof-reset":
            conn.reset()
        elif path == "/eof-garbled":
            conn.sock.setblocking(True)
            os.write(conn.sock.fileno(), record(DATA, bytes(40)))
        elif path == "/eof-alert":
            os.write(conn.sock.fileno(), record(ALERT, b"\1\0"))      # not authentic: it proves nothing
    elif path == "/length-cut":
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + BLOCK[:1000])
        goodbye(conn)
    elif path == "/none":
        goodbye(conn)
    else:
        conn.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        conn.again = True


def tls_service(r, pair, handle=answering, **more):
    return r.keep(TlsService(handle, serving_with(pair, weak=True, **more)))


@test
def service_trust(r):
    d = r.daemon("--domain", "t.test")
    cases = (   # what, certificate, host, options, whether it is trusted, and else what the client says
        ("by --ca", SITE, "localhost", ["--ca", CA.cert], None), ("by address", SITE, "127.0.0.1", ["--ca", CA.cert], None),
        ("a chain", RSA, "localhost", ["--ca", CA.cert], None),
        ("without --ca", SITE, "localhost", [], "unknown issuer"), ("another CA", SITE, "localhost", ["--ca", OTHER.cert], "unknown issuer"),
        ("another name", C.make("svc-wrong", CA, san=("DNS:wrong.test",)), "localhost", ["--ca", CA.cert], "name mismatch"),
        ("expired", C.make("svc-late", CA, san=LOCAL, start=-9, end=-1), "localhost", ["--ca", CA.cert], "certificate expired"),
        ("--insecure-target", SITE, "localhost", ["--insecure-target"], None),
        ("--insecure-target, self-signed", C.make("svc-self"), "127.0.0.1", ["--insecure-target"], None),
        ("--insecure-target, expired and weak", C.make("svc-old", kind="rsa1024", start=-9, end=-1), "localhost", ["--insecure-target"], None))
    for i, (what, pair, host, args, words) in enumerate(cases):
        if what == "without --ca" and not os.path.exists("/etc/ssl/certs/ca-certificates.crt"):
            args = ["--ca", OTHER.cert]
        e = tls_service(r, pair)
        c = client(r, d, f"https://{host}:{e.port}", "--name", f"n{i}", *args)
        r.has(f"{what}: the line on stdout", rf" -> https://{host}:{e.port}$", c.lines[0])
        got = Curl(d, "/", host=f"n{i}.t.test")
        if words is None:
            r.equal(f"{what}: it is served", (got.status, got.body), (200, b"ok\n"))
            r.check(f"{what}: Host", f"\r\nHost: {host}:{e.port}\r\n" in e.heads[0] + "\r\n", e.heads)
            r.equal(f"{what}: SNI", e.shaken[0][0], "localhost" if host == "localhost" else None)
        else:
            r.equal(f"{what}: 502", (got.status, got.get("X-Tunnel-Error")), (502, "tls"))
            r.check(f"{what}: the caller is told no more", words.encode() not in got.body and len(got.body) < 200, got.body)
            c.says(rf"GET / 502 .*{words}")
            untouched(r, what, e, words)
            r.equal(f"{what}: HEAD", Curl(d, "/", "-I", host=f"n{i}.t.test").status, 502)
            r.equal(f"{what}: POST", Curl(d, "/", "--data-binary", "@-", stdin=bytes(300000), host=f"n{i}.t.test").status, 502)
        c.stop()
    plain = talker(r, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    c = client(r, d, f"https://127.0.0.1:{plain}", "--name", "plain", "--insecure-target")
    got = Curl(d, "/", host="plain.t.test")
    r.equal("a service that speaks plain HTTP", (got.status, got.get("X-Tunnel-Error")), (502, "tls"))
    c.says("GET / 502 .*does not speak TLS")
    newer = s_server(r, SITE, "-tls1_3")
    c = client(r, d, f"https://localhost:{newer.port}", "--name", "newer", "--ca", CA.cert)
    if has("newest version") == "TLSv1.3":
        r.equal("a service with TLS 1.3 alone", Curl(d, "/", host="newer.t.test").status, 200)
    else:
        r.equal("a service with TLS 1.3 alone", Curl(d, "/", host="newer.t.test").status, 502)
        c.says("GET / 502 .*peer requires TLS 1.3")
    e = tls_service(r, SITE)
    for i, (args, host) in enumerate((([], None), (["--host-header", "keep"], "h1.t.test"), (["--host-header", "www.example"], "www.example"))):
        client(r, d, f"https://localhost:{e.port}/", "--name", f"h{i}", "--ca", CA.cert, *args)
        Curl(d, "/", host=f"h{i}.t.test")
        r.check(f"Host {args}", f"\r\nHost: {host or f'localhost:{e.port}'}" in e.heads[-1], e.heads[-1])
    env = {"TUNNEL_TOKEN": d.token}
    for args, word in ((["https://"], "https://"), (["https://localhost:x"], "localhost:x"), (["https://localhost/path"], "path"),
                       (["https://localhost:1", "--ca", f"{r.tmp}/none"], "none")):
        code, out, err = run_tool("connect", *args, "--endpoint", f"http://127.0.0.1:{d.port}", env=env)
        r.check(f"target {args}", code in (1, 2) and out == "" and err.count("\n") == 1 and word in err, (code, err))
    c = client(r, d, "https://localhost", "--name", "port", "--insecure-target")
    r.has("the port of https", r" -> https://localhost:443$", c.lines[0])


@test
def service_exchanges(r):
    d = daemon(r)
    e = tls_service(r, SITE)
    c = tunnel(r, d, f"https://localhost:{e.port}")
    counts = [get(r, d, "/count").body for _ in range(5)]
    r.equal("one connection is kept for several callers", (counts, len(e.shaken)), ([b"1", b"2", b"3", b"4", b"5"], 1))
    for path, method, body, want in (("/chunked", "GET", b"", b"hello"), ("/", "POST", b"", b"ok\n"), ("/", "DELETE", b"", b"ok\n")):
        res = get(r, d, path, method=method, body=body)
        r.equal(f"{method} {path}", (res.status, res.body), (200, want))
    body = os.urandom(10 << 20)
    got = curl(d, "/expect", "-H", "Expect: 100-continue", "--expect100-timeout", "50", "--data-binary", "@-", stdin=body)
    r.equal("an upload of 10 MiB", (got.status, got.body.decode()), (200, hashlib.sha256(body).hexdigest()))
    res = get(r, d, "/large")
    r.equal("a download of 16 MiB", (res.end, hashlib.sha256(res.body).hexdigest()), ("length", blocks(16 << 20)))
    r.equal("all that on few connections", len(e.shaken) <= 3, True)
    for _ in range(3):
        r.equal("a service that says goodbye after its answer", get(r, d, "/goodbye").status, 200)
    r.equal("its next connection resumes the session, if that can be", e.shaken[-1], ("localhost", has("resumption")))
    res = get(r, d, "/none")
    r.equal("one that leaves without an answer", (res.status, res.get("X-Tunnel-Error")), (502, "protocol"))
    t = caller(r, d, request("/upgrade", "Connection: Upgrade\r\nUpgrade: raw\r\n"))
    t.response()
    t.send(BLOCK)
    r.check("an upgrade", t.exactly(1 << 20) == BLOCK)
    for version in ("1.1", "1.0"):
        for path, whole in (("/eof-whole", True), ("/eof-cut", False), ("/eof-reset", False), ("/eof-garbled", False), ("/eof-alert", False)):
            with TlsCaller(d.tls, request(path, version=version), ctx=trusting(CA.cert)) as t:
                res = t.response()
            if whole:
                r.check(f"{path} for HTTP/{version}: whole", res.end != "cut" and res.body == BLOCK[:200000], (res.end, len(res.body)))
            else:
                r.check(f"{path} for HTTP/{version}: the caller sees a cut", res.end == "cut" or res.status == 502,
                        (res.end, len(res.body), t.ended))
            with Caller(d.port, request(path, version=version)) as t:
                res = t.response()
            r.check(f"{path} for HTTP/{version}, plain: the same", (res.end != "cut" and res.status == 200) == whole,
                    (res.end, len(res.body), t.ended))
    r.equal("a length that is not kept", get(r, d, "/length-cut").end, "cut")
    c.says(r"GET /eof-cut 200 .*cut short")
    r.equal("still served", get(r, d, "/count").status, 200)
    got = in_parallel([lambda i=i: get(r, d, "/chunked" if i % 2 else "/").status for i in range(30)])
    r.equal("30 at a time", got, [200] * 30)


# ---- nginx at either side -------------------------------------------------------------------

@test
def nginx_around(r):
    o = r.origin()
    e = nginx(r, RSA, f"""
        upstream origin {{ server {o.target}; keepalive 8; }}
        server {{ listen @PORT@ ssl; ssl_protocols TLSv1.2 TLSv1.3; keepalive_requests 1000;
            location /which {{ return 200 "$connection $ssl_protocol $ssl_session_reused\n"; }}
            location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
                proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade; }} }}""", "inside")
    d = r.daemon("--listen", "127.0.0.1:0", "--domain", "t.test", "--trust", "127.0.0.1", "--redirect", "--listen", "127.0.0.1:0,tls",
                 "--cert", SITE.both)
    d.tls = int(d.log(r"proto=https addr=.*:(\d+)").group(1))
    f = nginx(r, RSA, f"""
        server {{ listen @PORT@ ssl;
            location / {{ proxy_pass http://127.0.0.1:{d.port}; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
                proxy_read_timeout 1h; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
                proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Connection $connection_upgrade;
                proxy_set_header Upgrade $http_upgrade; }} }}""", "front")
    c = client(r, f"https://localhost:{f.port}", f"https://localhost:{e.port}", "--name", "a", "--ca", CA.cert, token=d.token)
    got = [curl(d, "/which", port=f.port) for _ in range(3)]
    r.equal("the connection to nginx is kept", [g.body for g in got], [got[0].body] * 3)
    r.has("by the newest TLS that we have", re.escape(has("newest version")), got[0].body.decode())
    body = os.urandom(10 << 20)
    got = curl(d, "/upload", "-H", "Expect:", "--data-binary", "@-", stdin=body, port=f.port)
    r.equal("10 MiB up, four times TLS", (got.status, got.json().get("body_sha256")), (200, hashlib.sha256(body).hexdigest()))
    got = curl(d, f"/bytes?n={16 << 20}&chunked", port=f.port)
    r.equal("16 MiB down", (got.exit, hashlib.sha256(got.body).hexdigest()), (0, blocks(16 << 20)))
    got = curl(d, f"/bytes?n={3 << 20}&eof", port=f.port)
    r.equal("content that ends with its connection", (got.exit, got.body == BLOCK * 3), (0, True))
    got = curl(d, "/echo", port=f.port)
    r.equal("the proxy is trusted: no redirect, and https is told", (got.status, got.sent_fields("x-forwarded-proto")), (200, ["https"]))
    r.check("the session goes through the proxy", not any("again" in l for l in lines(c)), c.errs)
    w = ws_server(r)
    ws = nginx(r, RSA, f"""
        server {{ listen @PORT@ ssl; location / {{ proxy_pass http://{w.target}; proxy_http_version 1.1;
                proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade; }} }}""", "ws")
    client(r, f"wss://localhost:{f.port}", f"https://localhost:{ws.port}", "--name", "w", "--ca", CA.cert, token=d.token)
    got = ws_client(d.tls, "/", "--cafile", CA.cert, "--text", "hello", "--binary-size", "300000", "--ping", host="w.t.test", scheme="wss")
    r.check("a WebSocket to a service behind nginx", got["ok"], got)


@test
def memory(r):
    """An idle connection costs some tens of KiB, and what a busy one had is given back."""
    d, o = daemon(r), r.origin()
    c = tunnel(r, d, o.target)
    ctx, n = careless(maximum_version=TLS12), 200

    def resident():
        with open(f"/proc/{d.p.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10
    get(r, d, f"/bytes?n={16 << 20}", ctx=ctx)
    before = resident()
    held = []
    for _ in range(n):
        t = caller(r, d, request("/bytes?n=300000"), ctx=ctx)
        if len(t.response().body) != 300000:
            raise Miss("300000 bytes")
        held.append(t)
    each = (resident() - before) / n
    if not SANITIZED:
        r.check("an idle https connection's memory", each < has("idle KiB"), f"{each} KiB")
    if os.environ.get("TEST_TIMES"):
        print(f"MEMORY {each:.1f} KiB for an idle https connection", file=sys.stderr)
    r.check("all are served again", all(t.send(request("/echo")) is None and t.response().status == 200 for t in held))
    for t in held:
        t.close()
    c.stop()


# ---- a build without TLS ---------------------------------------------------------------------

def without_tls(r):
    """Daemon and client say so, and nothing else is tested."""
    for argv in ([f"{BIN}/tunneld", "-n", "--listen", "127.0.0.1:0,tls", "--cert", SITE.both],
                 [f"{BIN}/tunnel", "connect", "1", "--endpoint", "https://localhost:1"],
                 [f"{BIN}/tunnel", "connect", "https://localhost:1", "--endpoint", "http://localhost:1"]):
        p = subprocess.run(argv, env={**ENV, "TUNNEL_TOKEN": "tn_x"}, capture_output=True, text=True, timeout=20, check=False)
        r.check(f"{os.path.basename(argv[0])} says that it has no TLS", p.returncode in (1, 2) and "no TLS" in p.stderr, p.stderr)


if __name__ == "__main__":
    if TLS == "none":
        print("SKIP TLS of daemon and client: this build has none", flush=True)
        tests[:] = [without_tls]
    main(3)
