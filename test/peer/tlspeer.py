"""Peers that speak TLS: callers, services, and a caller that makes its records by hand."""
import hashlib
import hmac
import os
import socket
import ssl
import struct
import subprocess

from client import free_port
from rig import ENV, Caller, Miss, Proc, Service, WAIT

HANDSHAKE, ALERT, DATA = 22, 21, 23


def context(protocol, **more):
    """A context that tells close_notify from an end that anybody could have made: Python's own choice is not to."""
    ctx = ssl.SSLContext(protocol)
    ctx.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0x80)
    for name, value in more.items():
        setattr(ctx, name, value)
    return ctx


def trusting(ca, **more):
    """A context of a client that believes this CA, and nothing else."""
    ctx = context(ssl.PROTOCOL_TLS_CLIENT, **more)
    ctx.load_verify_locations(ca)
    return ctx


def careless(ciphers=None, **more):
    """A context of a client that believes anything, and offers what it is told to."""
    ctx = context(ssl.PROTOCOL_TLS_CLIENT, check_hostname=False, verify_mode=ssl.CERT_NONE, **more)
    if ciphers:
        ctx.set_ciphers(ciphers)
    return ctx


def serving_with(pair, weak=False, **more):
    """A context of a server; weak: also with keys and signatures that OpenSSL itself would refuse."""
    ctx = context(ssl.PROTOCOL_TLS_SERVER, **more)
    if weak:
        ctx.set_ciphers("ALL:@SECLEVEL=0")
    ctx.load_cert_chain(pair.chain, pair.key)
    return ctx


class TlsCaller(Caller):
    """A caller over TLS: .ended is fin after a close_notify, cut without one, or reset."""

    def __init__(self, port, data=b"", name="a.t.test", ctx=None, session=None, **more):
        super().__init__(port, **more)
        try:
            self.sock = ctx.wrap_socket(self.sock, server_hostname=name, suppress_ragged_eofs=False, session=session)
        except OSError:
            self.sock.close()
            raise
        if data:
            self.send(data)

    def more(self):
        if self.ended:
            return False
        try:
            data = self.sock.recv(262144)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError, ConnectionError) as e:
            self.ended = "fin" if isinstance(e, ssl.SSLZeroReturnError) else \
                "reset" if isinstance(e, ConnectionError) else "cut"
            return False
        except ssl.SSLError as e:
            if e.reason != "UNEXPECTED_EOF_WHILE_READING":     # some versions raise no SSLEOFError for it
                raise
            self.ended = "cut"
            return False
        except TimeoutError:
            raise Miss(f"nothing more for the caller, which has {self.buf[:200]!r}") from None
        if not data:
            self.ended = "fin"
        self.buf += data
        return bool(data)

    def exactly(self, n):
        """As it is there, but without copying what has come for every record."""
        parts, have, self.buf = [self.buf], len(self.buf), b""
        while have < n and self.more():
            parts.append(self.buf)
            have, self.buf = have + len(self.buf), b""
        data = b"".join(parts)
        self.buf = data[n:]
        return data[:n]


class TlsService(Service):
    """
    A service or daemon over TLS; .shaken has what became of each handshake, (SNI, resumed) or the error,
    .alpn the protocols that were agreed, .left what each connection that is over had sent and nobody asked for.
    """

    def __init__(self, handle, ctx):
        self.ctx, self.shaken, self.alpn, self.left, self.names = ctx, [], [], [], {}
        ctx.sni_callback = lambda sock, name, _: self.names.__setitem__(sock.fileno(), name)
        super().__init__(handle)

    def visited(self, sock):
        sock.settimeout(WAIT)
        try:
            if not sock.recv(1, socket.MSG_PEEK):       # a client that only looked whether somebody listens
                sock.close()
                return
            sock = self.ctx.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        except OSError as e:
            sock.close()
            with self.cond:
                self.shaken.append(str(e))
                self.left.append(b"")
                self.cond.notify_all()
            return
        with self.cond:
            self.shaken.append((self.names.pop(sock.fileno(), None), sock.session_reused))
            self.alpn.append(sock.selected_alpn_protocol())
            self.cond.notify_all()
        conn = TlsCaller.__new__(TlsCaller)
        conn.sock, conn.buf, conn.ended, conn.served = sock, b"", None, 0
        try:
            while not conn.served or conn.again:
                conn.again = False
                head = conn.until(b"\r\n\r\n").decode("latin-1")
                conn.served += 1
                with self.cond:
                    self.heads.append(head)
                    self.cond.notify_all()
                self.handle(conn, head)
        except (EOFError, OSError, Miss):
            pass
        finally:
            conn.close()
            with self.cond:
                self.left.append(conn.buf)
                self.cond.notify_all()


def goodbye(conn):
    """close_notify, then the end."""
    try:
        conn.sock.setblocking(False)
        conn.sock.unwrap()
    except (OSError, ValueError):
        pass


def s_client(port, *args, data=b"", name="a.t.test", wait=WAIT):
    """openssl s_client to its end: (status, all it said)."""
    p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *(("-servername", name) if name else ("-noservername",)), *args],
                       env=ENV, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=wait, check=False)
    return p.returncode, p.stdout.decode("utf-8", "replace")


def s_server(r, pair, *args):
    """openssl s_server; its port in .port."""
    p = r.spawn("openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", pair.cert, "-cert_chain", pair.chain,
                "-key", pair.key, "-www", *args, kind=Proc)
    p.port = int(p.wait_line(p.lines, lambda l: l.startswith("ACCEPT ") and l, "ACCEPT line").rpartition(":")[2])
    return p


def nginx(r, pair, servers, name="nginx"):
    """nginx; servers: the text of its server blocks, @PORT@ its port.  That stands in .port."""
    folder, port = f"{r.tmp}/{name}", free_port(r)
    os.mkdir(folder)
    with open(f"{folder}/conf", "w", encoding="ascii") as f:
        f.write("daemon off; master_process off; pid pid; error_log stderr; worker_rlimit_nofile 512;\n"
                "events { worker_connections 256; }\n"
                "http { access_log off; client_max_body_size 0; default_type text/plain;\n"
                + "".join(f"{t}_temp_path {t};\n" for t in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                + f"ssl_certificate {pair.chain}; ssl_certificate_key {pair.key};\n"
                "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n"
                + servers.replace("@PORT@", f"127.0.0.1:{port}") + "}\n")
    path = next((p for p in ("/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx") if os.path.exists(p)), "nginx")
    p = r.spawn(path, "-p", folder, "-e", "stderr", "-c", "conf", kind=Proc)
    p.port = port

    def up():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    r.until("nginx is up", up)
    return p


# ---- records made by hand ------------------------------------------------------

def record(kind, payload, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload)) + payload


def extension(number, payload):
    return struct.pack(">HH", number, len(payload)) + payload


def client_hello(suites, name=None, version=0x0303, compression=b"\0", more=b"", groups=(23, 24, 25, 29),
                 sigalgs=(0x0401, 0x0403, 0x0501, 0x0503, 0x0601, 0x0603)):
    """A ClientHello as a handshake message."""
    exts = more
    if name:
        exts += extension(0, struct.pack(">HBH", len(name) + 3, 0, len(name)) + name.encode())
    if groups:
        exts += extension(10, struct.pack(f">H{len(groups)}H", 2 * len(groups), *groups)) + extension(11, b"\1\0")
    if sigalgs:
        exts += extension(13, struct.pack(f">H{len(sigalgs)}H", 2 * len(sigalgs), *sigalgs))
    body = struct.pack(">H", version) + bytes(32) + b"\0" + struct.pack(f">H{len(suites)}H", 2 * len(suites), *suites) + \
        bytes([len(compression)]) + compression + struct.pack(">H", len(exts)) + exts
    return b"\1" + struct.pack(">I", len(body))[1:] + body


def rotate(x, n):
    return (x << n | x >> (32 - n)) & 0xffffffff


def chacha_block(key, counter, nonce):
    start = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, *struct.unpack("<8I", key), counter, *struct.unpack("<3I", nonce)]
    s = list(start)
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            s[a] = s[a] + s[b] & 0xffffffff
            s[d] = rotate(s[d] ^ s[a], 16)
            s[c] = s[c] + s[d] & 0xffffffff
            s[b] = rotate(s[b] ^ s[c], 12)
            s[a] = s[a] + s[b] & 0xffffffff
            s[d] = rotate(s[d] ^ s[a], 8)
            s[c] = s[c] + s[d] & 0xffffffff
            s[b] = rotate(s[b] ^ s[c], 7)
    return struct.pack("<16I", *[(x + y) & 0xffffffff for x, y in zip(s, start)])


def chacha(key, nonce, data):
    stream = b"".join(chacha_block(key, i + 1, nonce) for i in range((len(data) + 63) // 64))
    return bytes(a ^ b for a, b in zip(data, stream))


def poly(key, nonce, aad, text):
    block = chacha_block(key, 0, nonce)
    r = int.from_bytes(block[:16], "little") & 0x0ffffffc0ffffffc0ffffffc0fffffff
    s, acc = int.from_bytes(block[16:32], "little"), 0
    data = aad + bytes(-len(aad) % 16) + text + bytes(-len(text) % 16) + struct.pack("<QQ", len(aad), len(text))
    for i in range(0, len(data), 16):
        acc = (acc + int.from_bytes(data[i:i + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    return ((acc + s) % (1 << 128)).to_bytes(16, "little")


class Handshake:
    """OpenSSL's side of a handshake, in memory: what it sends can be had, cut and changed."""

    def __init__(self, name="a.t.test", ctx=None):
        self.inp, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (ctx or careless(maximum_version=ssl.TLSVersion.TLSv1_2)).wrap_bio(self.inp, self.out, server_hostname=name)
        self.done = False

    def step(self, data=b""):
        """What it sends after it has got this."""
        if data:
            self.inp.write(data)
        try:
            self.tls.do_handshake()
            self.done = True
        except ssl.SSLWantReadError:
            pass
        return self.out.read()


class Records:
    """A caller whose records, once the handshake is done, are made here: of any kind, length and content."""

    def __init__(self, r, port, name="a.t.test"):
        log = f"{r.tmp}/keys-{id(self)}"
        ctx = careless("ECDHE+CHACHA20", maximum_version=ssl.TLSVersion.TLSv1_2, keylog_filename=log)
        shake = Handshake(name, ctx)
        self.sock = r.keep(socket.create_connection(("127.0.0.1", port), WAIT))
        self.buf, seen, sent = b"", b"", b""
        out = shake.step()
        while not shake.done:
            sent += out
            self.sock.sendall(out)
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("in the handshake")
            seen += data
            out = shake.step(data)
        self.hello = sent[5:5 + struct.unpack(">H", sent[3:5])[0]]
        randoms = seen[11:43], sent[11:43]
        with open(log, encoding="ascii") as f:
            master = bytes.fromhex(f.read().split()[-1])
        keys, a = b"", b"key expansion" + randoms[0] + randoms[1]
        seed = b"key expansion" + randoms[0] + randoms[1]
        while len(keys) < 88:
            a = hmac.digest(master, a, hashlib.sha256)
            keys += hmac.digest(master, a + seed, hashlib.sha256)
        self.keys = {"out": (keys[:32], keys[64:76]), "in": (keys[32:64], keys[76:88])}
        self.seq = {"out": 1, "in": 1}      # 0 was Finished

    def params(self, way, kind, length):
        key, iv = self.keys[way]
        seq = struct.pack(">Q", self.seq[way])
        self.seq[way] += 1
        nonce = bytes(a ^ b for a, b in zip(iv, bytes(4) + seq))
        return key, nonce, seq + struct.pack(">BHH", kind, 0x0303, length)

    def seal(self, kind, payload=b""):
        key, nonce, aad = self.params("out", kind, len(payload))
        text = chacha(key, nonce, payload)
        return record(kind, text + poly(key, nonce, aad, text))

    def send(self, kind, payload=b""):
        self.sock.sendall(self.seal(kind, payload))

    def exactly(self, n):
        while len(self.buf) < n:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buf += data
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def next(self):
        """(kind, plaintext); or fin or reset."""
        try:
            kind, _, n = struct.unpack(">BHH", self.exactly(5))
            text = self.exactly(n)
        except EOFError:
            return "fin"
        except ConnectionError:
            return "reset"
        key, nonce, aad = self.params("in", kind, n - 16)
        if poly(key, nonce, aad, text[:-16]) != text[-16:]:
            raise ValueError("a record that is not authentic")
        return kind, chacha(key, nonce, text[:-16])

    def alert(self):
        """The alert that comes next, as (level, description), or what comes in its place."""
        got = self.next()
        return tuple(got[1]) if isinstance(got, tuple) and got[0] == ALERT else got


class Wire:
    """A raw connection to a TLS port: bytes out, and what comes of it."""

    def __init__(self, port, data=b"", wait=WAIT):
        self.sock = socket.create_connection(("127.0.0.1", port), wait)
        if data:
            self.sock.sendall(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def end(self):
        """All that comes, and how it ended."""
        data = b""
        try:
            while more := self.sock.recv(65536):
                data += more
            return data, "fin"
        except ConnectionError:
            return data, "reset"
        except TimeoutError:
            return data, "nothing"


def alerts(data):
    """Descriptions of the plaintext alerts among records."""
    found = []
    while len(data) >= 5:
        kind, _, n = struct.unpack(">BHH", data[:5])
        if kind == ALERT and n == 2:
            found.append(data[6])
        data = data[5 + n:]
    return found
