"""SSH's transport as a Go peer of vtunnel speaks it, inside WebSocket messages: for vtgo.py, where both are described.

Bytes come in by one reader, who calls packet(); they go out by one thread, which also holds packets back while keys are exchanged. What a
Go peer would end the session for is a Violation, and what ended it otherwise is Gone.
"""
import base64
import collections
import functools
import hashlib
import os
import socket
import struct
import threading

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.poly1305 import Poly1305

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
VERSION = b"SSH-2.0-Go"
PACKET_MAX = 256 * 1024
BLOCK = 4096            # Go's output buffers, of the SSH and of its WebSocket client

KEX = ["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384",
       "ecdh-sha2-nistp521", "diffie-hellman-group14-sha256", "diffie-hellman-group14-sha1"]
HOST_KEYS = ["rsa-sha2-256-cert-v01@openssh.com", "rsa-sha2-512-cert-v01@openssh.com", "ssh-rsa-cert-v01@openssh.com",
             "ssh-dss-cert-v01@openssh.com", "ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp384-cert-v01@openssh.com",
             "ecdsa-sha2-nistp521-cert-v01@openssh.com", "ssh-ed25519-cert-v01@openssh.com", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
             "ecdsa-sha2-nistp521", "rsa-sha2-256", "rsa-sha2-512", "ssh-rsa", "ssh-dss", "ssh-ed25519"]
CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"]
MACS = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1", "hmac-sha1-96"]
MARKERS = {True: ["ext-info-c", "kex-strict-c-v00@openssh.com"], False: ["kex-strict-s-v00@openssh.com"]}
KNOWN_KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org")


class Gone(Exception):
    """The connection ended."""


class Violation(Gone):
    """The other side did what a Go peer ends the session for."""


class Cur:
    """SSH's types, read one after the other."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def raw(self, n):
        if len(self.data) - self.at < n:
            raise Violation(f"short packet {self.data[:64].hex()}")
        self.at += n
        return self.data[self.at - n:self.at]

    def byte(self):
        return self.raw(1)[0]

    def num(self):
        return int.from_bytes(self.raw(4), "big")

    def string(self):
        return self.raw(self.num())

    def text(self):
        return self.string().decode("latin-1")

    def names(self):
        text = self.text()
        return text.split(",") if text else []

    def rest(self):
        return self.raw(len(self.data) - self.at)

    def end(self):
        if self.at != len(self.data):
            raise Violation(f"bytes behind a packet {self.data[:64].hex()}")


def u32(n):
    return struct.pack(">I", n)


def string(data):
    data = data.encode() if isinstance(data, str) else data
    return u32(len(data)) + data


def mpint(n):
    return string(n.to_bytes(n.bit_length() // 8 + 1, "big") if n else b"")


def sha256(data):
    return hashlib.sha256(data).digest()


@functools.lru_cache
def keyless():
    """The host key of a server that knows no key: one for each start of it."""
    return Key(ecdsa=True)


class Key:
    """A private key of one of the two kinds: its public blob, and signatures."""

    def __init__(self, seed=None, ecdsa=False):
        self.ecdsa, self.seed = ecdsa, seed or os.urandom(32)
        self.name = "ecdsa-sha2-nistp256" if ecdsa else "ssh-ed25519"
        if ecdsa:
            self.key = ec.generate_private_key(ec.SECP256R1())
            point = self.key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
            self.blob = string(self.name) + string("nistp256") + string(point)
        else:
            self.key = ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)
            self.public = self.key.public_key().public_bytes(*RAW)
            self.blob = blob_of(self.public)

    def sign(self, data):
        if not self.ecdsa:
            return string(self.name) + string(self.key.sign(data))
        r, s = utils.decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return string(self.name) + string(mpint(r) + mpint(s))


def blob_of(public):
    return string("ssh-ed25519") + string(public)


def host_key(blob):
    """The one both sides derive from the client's public key."""
    return Key(sha256(blob))


def encode_key(prefix, data):
    return prefix + base64.b64encode(data).decode().rstrip("=")


def decode_key(prefix, text):
    body = text.strip()[len(prefix):]
    if not text.startswith(prefix) or len(body) != 43 or "=" in body:
        raise ValueError(f"no {prefix} key")
    data = base64.b64decode(body + "=", validate=True)
    if base64.b64encode(data).decode() != body + "=":
        raise ValueError(f"no {prefix} key")
    return data


def verify(blob, signature, data):
    """Is this the signature of data by the key of blob?"""
    key, sig = Cur(blob), Cur(signature)
    kind = key.text()
    try:
        if sig.text() != kind:
            return False
        if kind == "ssh-ed25519":
            ed25519.Ed25519PublicKey.from_public_bytes(key.string()).verify(sig.string(), data)
        elif kind == "ecdsa-sha2-nistp256":
            if key.text() != "nistp256":
                return False
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.string())
            pair = Cur(sig.string())
            r, s = (int.from_bytes(pair.string(), "big") for _ in range(2))
            point.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


class Clear:
    """Packets before the first keys."""

    tag = 0

    def seal(self, _, payload, pad):
        n = 8 - (5 + len(payload)) % 8
        n += 8 if n < 4 else 0
        return u32(1 + len(payload) + n) + bytes([n]) + payload + pad(n)

    def length(self, _, head):
        n = int.from_bytes(head, "big")
        if not 5 <= n <= PACKET_MAX:
            raise Violation(f"packet of {n} bytes")
        return n

    def open(self, _, __, body):
        return body


class Gcm:
    tag = 16

    def __init__(self, key, iv):
        self.aead, self.fixed, self.count = AESGCM(key), iv[:4], int.from_bytes(iv[4:12], "big")

    def nonce(self):
        nonce = self.fixed + self.count.to_bytes(8, "big")
        self.count = (self.count + 1) % (1 << 64)
        return nonce

    def seal(self, _, payload, pad):
        n = 16 - (1 + len(payload)) % 16
        n += 16 if n < 4 else 0
        head = u32(1 + len(payload) + n)
        return head + self.aead.encrypt(self.nonce(), b"".join((bytes([n]), payload, pad(n))), head)

    def length(self, _, head):
        n = int.from_bytes(head, "big")
        if n > PACKET_MAX or n < 16 or n % 16:
            raise Violation(f"packet of {n} bytes")
        return n

    def open(self, _, head, body):
        try:
            return self.aead.decrypt(self.nonce(), body, head)
        except InvalidTag:
            raise Violation("bad tag of a packet") from None


class ChaCha:
    tag = 16

    def __init__(self, key, _):
        self.body, self.head = key[:32], key[32:]

    @staticmethod
    def stream(key, seq, block, data):
        nonce = block.to_bytes(8, "little") + seq.to_bytes(8, "big")
        return Cipher(algorithms.ChaCha20(key, nonce), None).encryptor().update(data)

    def mac(self, seq, data):
        return Poly1305.generate_tag(self.stream(self.body, seq, 0, bytes(32)), data)

    def seal(self, seq, payload, pad):
        n = 8 - (1 + len(payload)) % 8
        n += 8 if n < 4 else 0
        out = self.stream(self.head, seq, 0, u32(1 + len(payload) + n))
        out += self.stream(self.body, seq, 1, bytes([n]) + payload + pad(n))
        return out + self.mac(seq, out)

    def length(self, seq, head):
        n = int.from_bytes(self.stream(self.head, seq, 0, head), "big")
        if n > PACKET_MAX or n < 8:
            raise Violation(f"packet of {n} bytes")
        return n

    def open(self, seq, head, body):
        if self.mac(seq, head + body[:-16]) != body[-16:]:
            raise Violation("bad tag of a packet")
        return self.stream(self.body, seq, 1, body[:-16])


SEALS = {"aes128-gcm@openssh.com": (Gcm, 16, 12), "aes256-gcm@openssh.com": (Gcm, 32, 12), "chacha20-poly1305@openssh.com": (ChaCha, 64, 0)}


def derive(k, h, letter, sid, n):
    out = sha256(k + h + letter + sid)
    while len(out) < n:
        out += sha256(k + h + out)
    return out[:n]


def kexinit(client, host_keys, first=True, cookie=None, kex=None, ciphers=None):
    lists = [(kex or KEX) + (MARKERS[client] if first else []), host_keys, *[ciphers or CIPHERS] * 2, MACS, MACS, ["none"], ["none"], [], []]
    return b"\x14" + (cookie or os.urandom(16)) + b"".join(string(",".join(names)) for names in lists) + bytes(5)


def read_kexinit(packet):
    cur = Cur(packet, 17)
    lists = [cur.names() for _ in range(10)]
    follows = cur.byte()
    cur.num()
    cur.end()
    return lists, follows


def exchange_hash(versions, inits, blob, q_c, q_s, k):
    return sha256(b"".join(map(string, (*versions, *inits, blob, q_c, q_s))) + k)


def curve(private, public):
    """K as it is hashed, or None for a public value of low order."""
    try:
        return mpint(int.from_bytes(private.exchange(x25519.X25519PublicKey.from_public_bytes(public)), "big"))
    except ValueError:
        return None


def mask(key, data):
    n = len(data)
    whole = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(n, "big")


def frame(opcode, data, fin=True, key=None):
    n, masked = len(data), 128 if key else 0
    head = bytes([(128 if fin else 0) | opcode])
    if n < 126:
        head += bytes([masked | n])
    else:
        head += struct.pack(">BH", masked | 126, n) if n < 65536 else struct.pack(">BQ", masked | 127, n)
    return head + key + mask(key, data) if key else head + data


def message(client, data):
    """The frames of one message, as the client or the server sends them."""
    if not client:
        return frame(2, data)
    pieces = [data[at:at + BLOCK] for at in range(0, len(data), BLOCK)] or [b""]
    return b"".join(frame(0 if i else 2, p, i == len(pieces) - 1, os.urandom(4)) for i, p in enumerate(pieces))


class WebSocket:
    """Frames of a connection; the payloads of data messages are one stream of bytes."""

    def __init__(self, sock, client, rest=b""):
        self.sock, self.client, self.buf, self.lock = sock, client, bytearray(rest), threading.Lock()
        self.inside = False         # a message whose end has not come

    def put(self, data):
        try:
            with self.lock:
                self.sock.sendall(data)
        except OSError as e:
            raise Gone(f"write: {e}") from None

    def send(self, data):
        """Bytes of the SSH as Go's two buffers make messages of them."""
        pieces = [data] if len(data) <= BLOCK else [data[:BLOCK], data[BLOCK:]]
        self.put(b"".join(message(self.client, p) for p in pieces))

    def need(self, n):
        while len(self.buf) < n:
            try:
                data = self.sock.recv(262144)
            except OSError as e:
                raise Gone(f"read: {e}") from None
            if not data:
                raise Gone("end of the connection")
            self.buf += data

    def wrong(self, what):
        self.put(frame(8, struct.pack(">H", 1002) + what.encode(), key=os.urandom(4) if self.client else None))
        raise Violation(f"websocket: {what}")

    def recv(self):
        """The payload of the next frame with data."""
        while True:
            self.need(2)
            b0, b1 = self.buf[:2]
            opcode, n, at = b0 & 15, b1 & 127, 2
            if n > 125:
                at = 4 if n == 126 else 10
                self.need(at)
                n = int.from_bytes(self.buf[2:at], "big")
            if b0 & 0x70:
                self.wrong("reserved bits")
            if bool(b1 & 128) == self.client:
                self.wrong("masking")
            if opcode not in (0, 1, 2, 8, 9, 10) or opcode > 7 and (n > 125 or not b0 & 128):
                self.wrong(f"opcode {opcode}")
            if opcode in (1, 2) and self.inside or opcode == 0 and not self.inside:
                self.wrong("continuation")
            end = at + n + (0 if self.client else 4)
            self.need(end)
            data = bytes(self.buf[end - n:end])
            if not self.client:
                data = mask(bytes(self.buf[at:at + 4]), data)
            del self.buf[:end]
            if opcode < 8:
                self.inside = not b0 & 128
                if data:
                    return data
            elif opcode != 10:
                self.put(frame(10 if opcode == 9 else 8, data, key=os.urandom(4) if self.client else None))
                if opcode == 8:
                    raise Gone(f"websocket close {int.from_bytes(data[:2], 'big')} {data[2:].decode('utf-8', 'replace')}".strip())


class Conf:
    """What a transport is to be: keys, algorithms, thresholds, misbehaviour."""

    key = None              # the client's Key, or None
    offered = b""           # its blob, or another's
    public = None           # the blob the server knows, or None
    kex, ciphers = None, None
    rekey = 1 << 36         # bytes in a direction
    evil = ""


class Transport:
    def __init__(self, ws, client, conf, say):
        self.ws, self.client, self.conf, self.say = ws, client, conf, say
        lock = threading.RLock()
        self.cond, self.room = threading.Condition(lock), threading.Condition(lock)     # for the writer, and for those who fill its queue
        self.urgent, self.queue, self.queued = collections.deque(), collections.deque(), 0
        self.held = True            # ours is the KEXINIT, and NEWKEYS has not gone out
        self.over = ""              # why the connection ended
        self.buf = bytearray()
        self.seals, self.seq, self.count = [Clear(), Clear()], [0, 0], [0, 0]      # out, in
        self.inits, self.versions, self.sid, self.strict, self.kexes, self.ext_info = [None, None], [VERSION, b""], None, False, 0, False
        self.fresh, self.by = None, "self"      # keys for when NEWKEYS go and come
        self.asked, self.busy = False, 0        # our KEXINIT is out, theirs has not come; NEWKEYS still to go and to come
        self.last = b""                         # the last packet as it went out
        if client:
            self.host = host_key(conf.offered).blob if conf.key else None
        else:
            self.host = Key() if conf.evil == "wrong-host" else host_key(conf.public) if conf.public else keyless()

    # outgoing

    def send(self, *parts):
        """Queue a packet; waits for nothing."""
        self.put(self.queue, b"".join(parts))

    def wait_room(self):
        with self.room:
            self.room.wait_for(lambda: self.over or self.queued < 1 << 18)

    def put(self, queue, packet, then=None):
        with self.cond:
            queue.append((packet, then))
            self.queued += len(packet)
            self.cond.notify_all()

    def raw(self, data):
        """Bytes past everything, for misbehaviour."""
        self.put(self.urgent, data, "raw")

    def writer(self):
        try:
            while True:
                with self.cond:
                    self.cond.wait_for(lambda: self.over or self.urgent or self.queue and not self.held)
                    if self.over:
                        return
                    packet, then = (self.urgent or self.queue).popleft()
                    self.queued -= len(packet)
                    self.room.notify(1 if self.queue else 1 << 20)      # one for a packet, not a hundred
                self.write(packet, then)
        except Gone as e:
            self.end(str(e))

    def write(self, packet, then):
        if then == "raw":
            return self.ws.send(packet)
        self.last = self.seals[0].seal(self.seq[0], packet, os.urandom)
        self.seq[0] = (self.seq[0] + 1) & 0xffffffff
        self.count[0] += len(packet)
        if then:                # new keys and what is queued for them, before anybody can see that NEWKEYS went
            then()
        self.ws.send(self.last)
        if self.count[0] >= self.conf.rekey:
            self.rekey()
        return None

    def end(self, why):
        with self.cond:
            self.over = self.over or why or "end"
            self.cond.notify_all()
            self.room.notify_all()
        try:
            self.ws.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # incoming

    def more(self, n):
        while len(self.buf) < n:
            self.buf += self.ws.recv()

    def take(self, n):
        self.more(n)
        data = bytes(self.buf[:n])
        del self.buf[:n]
        return data

    def version(self):
        total = 0
        while True:
            line = b""
            while not line.endswith(b"\n"):
                line += self.take(1)
                total += 1
                if total > 255:
                    raise Violation("version line too long")
            if line.startswith(b"SSH-"):
                self.versions[1] = line[:-2] if line.endswith(b"\r\n") else line[:-1]
                return

    def one(self):
        """One packet, whatever it is."""
        seal, seq = self.seals[1], self.seq[1]
        head = self.take(4)
        n = seal.length(seq, head)
        body = seal.open(seq, head, self.take(n + seal.tag))
        self.seq[1] = (seq + 1) & 0xffffffff
        if not 4 <= body[0] < n:
            raise Violation(f"padding of {body[0]} bytes in a packet of {n}")
        packet = body[1:n - body[0]]
        if not packet:
            raise Violation("empty packet")
        self.count[1] += len(packet)
        if packet[0] == 1:
            cur = Cur(packet, 1)
            raise Gone(f"disconnect {cur.num()} {cur.text()}")
        return packet

    def wanted(self, number):
        """The next packet of a key exchange."""
        while True:
            packet = self.one()
            if packet[0] in (2, 4) and not (self.strict and self.sid is None):
                continue
            if packet[0] != number:
                raise Violation(f"packet {packet[0]} in a key exchange where {number} was due")
            return packet

    def packet(self):
        """The next packet that is not the transport's own."""
        while True:
            packet = self.one()
            if packet[0] == 20:
                self.exchange(packet)
            elif packet[0] == 192:
                self.send(b"\xc1", packet[1:])
            elif packet[0] in (21, 30, 31) and self.conf.evil != "mute-rekey":
                raise Violation(f"packet {packet[0]} outside a key exchange")
            elif packet[0] not in (2, 4, 21, 30, 31) and (packet[0] != 193 or self.conf.evil != "ping-192"):
                if self.count[1] >= self.conf.rekey:
                    self.rekey()
                return packet

    # keys

    def start(self):
        """Versions and the first keys."""
        evil = self.conf.evil
        threading.Thread(target=self.writer, daemon=True).start()
        while evil == "no-version":
            self.ws.recv()
        self.raw({"garbage-version": os.urandom(300), "endless-version": b"hello\r\n" * 100000}.get(evil, VERSION + b"\r\n"))
        if evil != "no-kexinit":
            self.kexinit()
        self.version()
        packet = self.one()
        if packet[0] != 20:
            raise Violation(f"first packet is {packet[0]}")
        self.exchange(packet)

    def kexinit(self, by="self"):
        with self.cond:
            self.held, self.busy, self.asked, self.by = True, 2, True, by
            host_keys = HOST_KEYS if self.client else [self.host.name]
            self.inits[0] = kexinit(self.client, host_keys, self.sid is None, None, self.conf.kex, self.conf.ciphers)
            self.put(self.urgent, self.inits[0])

    def rekey(self):
        """Start a key exchange of our own, if none is under way."""
        with self.cond:
            if not self.busy and self.sid is not None:
                self.kexinit()

    def choose(self, theirs):
        ours, _ = read_kexinit(self.inits[0])
        first, second = (ours, theirs) if self.client else (theirs, ours)
        chosen = [next((name for name in first[i] if name in second[i] and "kex-strict" not in name), "") for i in (0, 1, 2, 3, 6, 7)]
        if "" in chosen or chosen[0] not in KNOWN_KEX or chosen[2] not in SEALS or chosen[3] not in SEALS:
            raise Violation(f"no algorithms in common: {theirs}")
        if self.sid is None:
            marker = MARKERS[not self.client]
            self.strict, self.ext_info = marker[-1] in theirs[0], "ext-info-c" in theirs[0]
            if self.strict and self.seq[1] != 1:
                raise Violation("KEXINIT was not the first packet")
        return chosen

    def exchange(self, packet):
        """Answer the other side's KEXINIT, which came; return with its new keys in use."""
        if self.conf.evil == "mute-rekey" and self.sid is not None:
            return
        with self.cond:
            if not self.asked and self.conf.evil != "no-kexinit":
                self.kexinit("peer")
            self.asked = False
        self.inits[1] = packet
        theirs, follows = read_kexinit(packet)
        while self.conf.evil == "no-kexinit":
            self.ws.recv()
        chosen = self.choose(theirs)
        ours, _ = read_kexinit(self.inits[0])
        if follows and (theirs[0][0] != ours[0][0] or theirs[1][0] != ours[1][0]):
            self.one()
        while self.conf.evil == "stop-kex":
            self.ws.recv()
        if self.conf.evil == "ignore-early":
            self.put(self.urgent, b"\x02" + string("x"))
        k, h = (self.as_client if self.client else self.as_server)(chosen[1])
        first = self.sid is None
        self.sid = self.sid or h
        self.fresh = [self.seal(chosen[2 if mine else 3], k, h, mine) for mine in (self.client, not self.client)]
        self.put(self.urgent, b"\x15", lambda: self.newkeys(first))
        self.wanted(21)
        self.seals[1] = self.fresh[1]
        self.count[1] = 0
        if self.strict:
            self.seq[1] = 0
        self.kexes += 1
        with self.cond:
            self.busy -= 1
        self.say("keys", n=self.kexes, by=self.by, kex=chosen[0], host=chosen[1], cipher=chosen[3 if self.client else 2], strict=self.strict)

    def seal(self, cipher, k, h, to_server):
        kind, key, iv = SEALS[cipher]
        return kind(derive(k, h, b"C" if to_server else b"D", self.sid, key), derive(k, h, b"A" if to_server else b"B", self.sid, iv))

    def newkeys(self, first):
        """NEWKEYS goes out now: what follows is under the new keys."""
        self.seals[0] = self.fresh[0]
        self.count[0] = 0
        if self.strict:
            self.seq[0] = 0
        if first and not self.client and self.ext_info:
            algs = ("ssh-ed25519,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,"
                    "ecdsa-sha2-nistp521,rsa-sha2-256,rsa-sha2-512,ssh-rsa,ssh-dss")
            self.put(self.urgent, b"\x07" + u32(2) + string("server-sig-algs") + string(algs) + string("ping@openssh.com") + string("0"))
        with self.cond:
            self.held = False
            self.busy -= 1

    def point(self):
        private = x25519.X25519PrivateKey.generate()
        public = private.public_key().public_bytes(*RAW)
        return private, bytes(32) if self.conf.evil == "low-order" else public

    def as_client(self, kind):
        private, mine = self.point()
        self.put(self.urgent, b"\x1e" + string(mine))
        cur = Cur(self.wanted(31), 1)
        blob, theirs, signature = cur.string(), cur.string(), cur.string()
        cur.end()
        k = curve(private, theirs) if len(theirs) == 32 else None
        if k is None:
            raise Violation("bad public value")
        h = exchange_hash(self.versions, self.inits, blob, mine, theirs, k)
        if Cur(blob).text() != kind or not verify(blob, signature, h):
            raise Violation("bad signature of the host key")
        self.say("host_key", kind=kind, known=blob == self.host)
        if self.host and blob != self.host:
            raise Gone("host key mismatch")
        return k, h

    def as_server(self, _):
        cur = Cur(self.wanted(30), 1)
        theirs = cur.string()
        cur.end()
        private, mine = self.point()
        k = curve(private, theirs) if len(theirs) == 32 else None
        if k is None:
            raise Violation("bad public value")
        h = exchange_hash(self.versions[::-1], self.inits[::-1], self.host.blob, theirs, mine, k)
        signed = b"x" + h if self.conf.evil == "bad-host-signature" else h
        self.put(self.urgent, b"\x1f" + string(self.host.blob) + string(mine) + string(self.host.sign(signed)))
        return k, h
