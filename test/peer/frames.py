"""Either end of a native session, frame by frame, in the hands of the test itself.

native.py plays a whole session by the rules and judges the far end; here a test says
when each frame goes, and sees each that comes, in order and with its time.
"""
import base64
import hashlib
import json
import os
import re
import socket
import struct
import threading
import time

from rig import WAIT, Miss

DATA, WINDOW, PING, AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Frame:
    def __init__(self, kind, flags, stream, length, data):
        self.kind, self.flags, self.stream, self.length, self.data = kind, flags, stream, length, data
        self.at = time.monotonic()

    def __repr__(self):
        return f"<{('data', 'window', 'ping', 'away')[self.kind]} {self.flags} {self.stream} {self.length} {self.data[:60]!r}>"


class Session:
    """A yamux session on a socket whose opening handshake is over."""

    def __init__(self, sock, buf, mask):
        self.sock, self.mask = sock, mask
        self.frames, self.ended = [], False     # guarded by cond
        self.cond, self.sending = threading.Condition(), threading.Lock()
        self.sock.settimeout(None)
        threading.Thread(target=self.read, args=(buf,), daemon=True).start()

    # what comes

    def read(self, buf):
        data = b""
        try:
            while True:
                while (got := self.message(buf)) is None:
                    more = self.sock.recv(262144)
                    if not more:
                        return
                    buf += more
                opcode, payload, buf = got
                if opcode == 9:
                    self.post(10, payload)
                if opcode == 8:
                    self.post(8, payload[:2])
                    if not self.mask:   # it is the server who ends the connection
                        self.shut(socket.SHUT_WR)
                if opcode in (0, 2):
                    data = self.take(data + payload)
        except OSError:
            pass
        finally:
            self.shut(socket.SHUT_WR)
            with self.cond:
                self.ended = True
                self.cond.notify_all()

    def shut(self, how):
        try:
            self.sock.shutdown(how)
        except OSError:
            pass

    @staticmethod
    def message(buf):
        """The WebSocket frame at the start of buf: (opcode, payload, the rest), or None."""
        if len(buf) < 2:
            return None
        n, at = buf[1] & 127, 2
        if n > 125:
            size = 2 if n == 126 else 8
            if len(buf) < at + size:
                return None
            n, at = int.from_bytes(buf[at:at + size], "big"), at + size
        key = b""
        if buf[1] & 128:
            key, at = buf[at:at + 4], at + 4
        if len(buf) < at + n or buf[1] & 128 and len(key) < 4:
            return None
        payload = buf[at:at + n]
        if key:
            whole = (key * (n // 4 + 1))[:n]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(n, "big")
        return buf[0] & 15, payload, buf[at + n:]

    def take(self, data):
        while len(data) >= 12:
            _, kind, flags, stream, length = struct.unpack_from("!BBHII", data)
            size = length if kind == DATA else 0
            if len(data) < 12 + size:
                break
            with self.cond:
                self.frames.append(Frame(kind, flags, stream, length, data[12:12 + size]))
                self.cond.notify_all()
            data = data[12 + size:]
        return data

    def wait(self, judge, what, start=0, wait=WAIT):
        """The first frame from index start on that judge() finds true."""
        def find():
            return next((f for f in self.frames[start:] if judge(f)), None) or self.ended
        with self.cond:
            if self.cond.wait_for(find, wait):
                found = find()
                if found is not True:
                    return found
            raise Miss(f"no {what}: {self.frames[-6:]}")

    def marks(self):
        with self.cond:
            return len(self.frames)

    def flagged(self, stream, flag, what, wait=WAIT):
        return self.wait(lambda f: f.stream == stream and f.flags & flag, what, wait=wait)

    def content(self, stream):
        """What has come on a stream."""
        with self.cond:
            return b"".join(f.data for f in self.frames if f.stream == stream)

    def until(self, stream, mark, wait=WAIT):
        """The stream's content, once mark stands in it."""
        self.wait(lambda _: mark in self.content(stream), f"{mark!r} on stream {stream}", wait=wait)
        return self.content(stream)

    # what goes

    def post(self, opcode, payload):
        n, bit = len(payload), 128 if self.mask else 0
        head = bytes([128 | opcode]) + (bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack("!H", n)
                                        if n < 65536 else bytes([bit | 127]) + struct.pack("!Q", n))
        with self.sending:
            self.sock.sendall(head + (bytes(4) if self.mask else b"") + payload)

    def send(self, *frames):
        """Frames (kind, flags, stream, data or length) in one message."""
        self.post(2, b"".join(
            struct.pack("!BBHII", 0, kind, flags, stream, len(more) if kind == DATA else more) + (more if kind == DATA else b"")
            for kind, flags, stream, more in frames))

    def ping(self):
        """When this returns, the far end has read all that was sent before."""
        start = self.marks()
        self.send((PING, SYN, 0, start))
        self.wait(lambda f: f.kind == PING and f.flags == ACK, "answer to a ping", start)

    def line(self, flags, **obj):
        self.send((DATA, flags, 1, json.dumps(obj).encode() + b"\n"))

    def close(self):
        """Without a word."""
        self.shut(socket.SHUT_RDWR)
        self.sock.close()


class FrameClient(Session):
    """A client of the daemon d that holds a name.  It acknowledges streams, and does nothing else of its own."""

    def __init__(self, d, name, share=False):
        sock = socket.create_connection(("127.0.0.1", d.port), WAIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall((f"GET /_tunnel/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                      f"Sec-WebSocket-Protocol: tunnel.v1\r\nAuthorization: Bearer {d.token}\r\n\r\n").encode())
        head, buf = head_of(sock)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Miss(f"no 101: {head!r}")
        super().__init__(sock, buf, True)
        self.line(SYN, op="hello", version="1.0.0", agent="frames/1", instance=os.urandom(8).hex(),
                  endpoint=f"http://127.0.0.1:{d.port}")
        self.line(0, op="listen", id=1, kind="http", name=name, share=share)
        self.until(1, b'"ready"')

    def request(self, k):
        """The k-th request, from 1 on, when its head is whole: its stream, now acknowledged."""
        self.until(2 * k, b"\r\n\r\n")
        self.send((WINDOW, ACK, 2 * k, 0))
        return 2 * k

    def answer(self, stream, data, flags=FIN):
        self.send((DATA, flags, stream, data))


class FrameDaemon:
    """A daemon that takes one client; .session is its session, once ready() is over."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(WAIT)
        self.port = self.listener.getsockname()[1]
        self.token, self.session, self.used = None, None, 0
        self.url = f"http://127.0.0.1:{self.port}"

    def ready(self, *before):
        """Ready at once; or these words come before that."""
        sock, _ = self.listener.accept()
        sock.settimeout(WAIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head, buf = head_of(sock)
        key = re.search(rb"(?i)^Sec-WebSocket-Key: (\S+)", head, re.M).group(1)
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: tunnel.v1\r\n\r\n")
        s, self.used = Session(sock, buf, False), 0
        self.session = s
        s.until(1, b'"listen"')
        s.line(ACK, op="hello", version="1.0.0", domain="tunnel.localhost", ping=30)
        for op in before:
            s.line(0, op=op)
        s.line(0, op="ready", id=1, url=f"http://a.tunnel.localhost:{self.port}")

    def open(self, data, cut=0):
        """A new stream, its preface and then data; cut, so many bytes and then the others.  Its number."""
        self.used += 2
        data = b'{"id":1,"peer":"203.0.113.7:51234"}\n' + data
        self.session.send((DATA, SYN, self.used, data[:cut]), (DATA, 0, self.used, data[cut:]))
        return self.used

    def response(self, stream):
        """The whole response on a stream that the client then ends, and so do we: head and content."""
        self.session.flagged(stream, FIN, f"FIN on stream {stream}")
        self.session.send((WINDOW, FIN, stream, 0))
        head, _, content = self.session.content(stream).partition(b"\r\n\r\n")
        return head, content

    def ask(self, data):
        return self.response(self.open(data))

    def close(self):
        if self.session:
            self.session.close()
        self.listener.close()


def head_of(sock):
    buf = b""
    while b"\r\n\r\n" not in buf:
        more = sock.recv(65536)
        if not more:
            raise Miss(f"the end inside a head: {buf!r}")
        buf += more
    head, _, rest = buf.partition(b"\r\n\r\n")
    return head, rest
