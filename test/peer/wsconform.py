#!/usr/bin/env python3
"""WebSocket conformance (RFC 6455) of an echo server and an echo client, by raw sockets.

	wsconform.py HOST:PORT PROGRAM

tests the echo server at HOST:PORT, then PROGRAM --client URL. The cases follow
the Autobahn suite's categories, whose numbers stand in their names; the frame
codec is this file's own. Prints FAIL lines and ends with `N passed, N failed`.
"""
import asyncio
import base64
import hashlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
TIMEOUT = 60
passed = failed = 0


def check(ok, name, note=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAIL {name} {note}".rstrip(), flush=True)


def mask(data, key):
    n = len(data)
    if n == 0:
        return b""
    k = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "little") ^ int.from_bytes(k, "little")).to_bytes(n, "little")


def frame(opcode, data=b"", fin=True, rsv=0, masked=True, key=None, length=None):
    """length: None, or (form, value) to write an odd one: form 7, 16 or 64 bits."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    n = len(data)
    form, value = length or ((7, n) if n < 126 else (16, n) if n < 65536 else (64, n))
    m = 0x80 if masked else 0
    head = bytes([first])
    if form == 7:
        head += bytes([m | value])
    elif form == 16:
        head += bytes([m | 126]) + struct.pack("!H", value)
    else:
        head += bytes([m | 127]) + struct.pack("!Q", value)
    if not masked:
        return head + data
    key = key or os.urandom(4)
    return head + key + mask(data, key)


def close_data(code, reason=b""):
    return struct.pack("!H", code) + reason


class Peer:
    """One side of a connection; client says which."""

    def __init__(self, sock, client, early=b""):
        self.sock, self.client, self.buf = sock, client, early
        self.keys, self.parts, self.opcode = set(), None, 0
        sock.settimeout(TIMEOUT)

    def raw(self, data, chop=0):
        if not chop:
            self.sock.sendall(data)
            return
        for i in range(0, len(data), chop):
            self.sock.sendall(data[i:i + chop])

    def send(self, opcode, data=b"", chop=0, **kw):
        kw.setdefault("masked", self.client)
        self.raw(frame(opcode, data, **kw), chop)

    def need(self, n):
        parts, have = [self.buf], len(self.buf)
        while have < n:
            more = self.sock.recv(1 << 20)
            if not more:
                self.buf = b"".join(parts)
                raise EOFError
            parts.append(more)
            have += len(more)
        whole = b"".join(parts)
        self.buf = whole[n:]
        return whole[:n]

    def recv_frame(self):
        first, second = self.need(2)
        n = second & 0x7f
        if n == 126:
            n, = struct.unpack("!H", self.need(2))
            assert n > 125, "length not minimal"
        elif n == 127:
            n, = struct.unpack("!Q", self.need(8))
            assert n > 65535, "length not minimal"
        assert first & 0x70 == 0, "reserved bits"
        assert bool(second & 0x80) == (not self.client), "mask bit"
        key = self.need(4) if second & 0x80 else None
        data = self.need(n)
        if key:
            self.keys.add(key)
            data = mask(data, key)
        opcode = first & 15
        if opcode >= 8:
            assert first & 0x80 and n <= 125, "control frame long or fragmented"
        return opcode, bool(first & 0x80), data

    def recv(self):
        """The next message or control frame."""
        while True:
            opcode, fin, data = self.recv_frame()
            if opcode >= 8:
                return opcode, data
            if opcode == CONT:
                assert self.parts is not None, "continuation of nothing"
                self.parts.append(data)
            else:
                assert self.parts is None, "message in a message"
                self.opcode, self.parts = opcode, [data]
            if fin:
                data, self.parts = b"".join(self.parts), None
                return self.opcode, data

    def at_end(self, limit=TIMEOUT):
        """Does the other side end the connection, with nothing more said, within limit seconds?"""
        try:
            self.sock.settimeout(limit)
            return not self.buf and not self.sock.recv(1)
        except OSError:
            return False
        finally:
            self.sock.settimeout(TIMEOUT)


address = None


def request(extra="", method="GET", version="HTTP/1.1", key="dGhlIHNhbXBsZSBub25jZQ==", ws=13, upgrade="websocket",
            connection="Upgrade"):
    lines = [f"{method} /echo {version}", "Host: localhost"]
    lines += [f"Upgrade: {upgrade}"] if upgrade else []
    lines += [f"Connection: {connection}"] if connection else []
    lines += [f"Sec-WebSocket-Key: {key}"] if key is not None else []
    lines += [f"Sec-WebSocket-Version: {ws}"] if ws is not None else []
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode()


def read_head(sock, early=b""):
    buf = early
    while b"\r\n\r\n" not in buf:
        more = sock.recv(4096)
        if not more:
            raise EOFError
        buf += more
    head, _, rest = buf.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    return lines[0], {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}, rest


def dial(behind=b"", rcvbuf=0):
    sock = socket.socket()
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(TIMEOUT)
    sock.connect(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(request() + behind)
    status, _, rest = read_head(sock)
    assert status.startswith("HTTP/1.1 101"), status
    return Peer(sock, True, rest)


def goodbye(p, name, code=1000):
    """The close handshake, from us; the server ends the connection first."""
    p.send(CLOSE, close_data(code))
    got = p.recv()
    check(got == (CLOSE, close_data(code)), name, f"answer to close: {got}")
    check(p.at_end(), name, "connection not ended after close")


def case(name, actions, expect, end=None):
    """Do actions (bytes, or (bytes, chop)), expect messages, then a close with code end (None: we close)."""
    p = None
    try:
        p = dial()
        for a in actions:
            data, chop = a if isinstance(a, tuple) else (a, 0)
            try:
                p.raw(data, chop)
            except OSError:
                break       # it may have failed the connection by now
        for i, want in enumerate(expect):
            got = p.recv()
            check(got == want, name, f"[{i}] {brief(got)} for {brief(want)}")
            if got != want:
                return
        if end is None:
            goodbye(p, name)
            return
        opcode, data = p.recv()
        check(opcode == CLOSE and data[:2] == struct.pack("!H", end), name, f"close {end}, got {opcode} {brief(data)}")
        if opcode == CLOSE:
            try:
                data[2:].decode()
            except UnicodeDecodeError:
                check(False, name, "reason is not UTF-8")
        check(p.at_end(), name, "connection not ended after failing")
    except (OSError, EOFError, AssertionError, ValueError) as e:
        check(False, name, repr(e))
    finally:
        if p:
            p.sock.close()


def brief(x):
    text = repr(x)
    return text if len(text) < 80 else text[:70] + f"...({len(x[1]) if isinstance(x, tuple) else len(x)})"


def echo(opcode, data, name, chop=0, part=0):
    if part:
        pieces = [data[i:i + part] for i in range(0, len(data), part)] or [b""]
        wire = b"".join(frame(opcode if i == 0 else CONT, x, fin=i == len(pieces) - 1) for i, x in enumerate(pieces))
    else:
        wire = frame(opcode, data)
    # a big echo comes back while we still send: read at the same time
    try:
        p = dial()
        t = threading.Thread(target=lambda: p.raw(wire, chop), daemon=True)
        t.start()
        got = p.recv()
        t.join()
        check(got == (opcode, data), name, brief(got))
        goodbye(p, name)
        p.sock.close()
    except (OSError, EOFError, AssertionError) as e:
        check(False, name, repr(e))


def category_1():
    for n in (0, 125, 126, 127, 128, 65535, 65536):
        echo(TEXT, b"*" * n, f"1.1 text of {n}")
        echo(BINARY, b"\xfe" * n, f"1.2 binary of {n}")
    echo(TEXT, b"*" * 65536, "1.1.8 text of 65536 in chops of 997", chop=997)
    echo(BINARY, b"\xfe" * 65536, "1.2.8 binary of 65536 in chops of 997", chop=997)


def category_2():
    for data in (b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125):
        case(f"2 ping of {len(data)}", [frame(PING, data)], [(PONG, data)])
    case("2.5 ping of 126", [frame(PING, b"\xfe" * 126)], [], 1002)
    case("2.6 ping byte by byte", [(frame(PING, b"\xfe" * 125), 1)], [(PONG, b"\xfe" * 125)])
    case("2.7 pong unasked", [frame(PONG)], [])
    case("2.8 pong unasked with payload", [frame(PONG, b"unasked")], [])
    case("2.9 pong, then ping", [frame(PONG, b"unasked") + frame(PING, b"ping")], [(PONG, b"ping")])
    pings = [b"payload-%d" % i for i in range(10)]
    wire = b"".join(frame(PING, x) for x in pings)
    case("2.10 ten pings", [wire], [(PONG, x) for x in pings])
    case("2.11 ten pings byte by byte", [(wire, 1)], [(PONG, x) for x in pings])
    many = [b"%0125d" % i for i in range(500)]
    case("2 five hundred long pings at once", [b"".join(frame(PING, x) for x in many)], [(PONG, x) for x in many])
    case("2 ping between messages keeps its place", [frame(TEXT, b"1") + frame(PING, b"2") + frame(TEXT, b"3")],
         [(TEXT, b"1"), (PONG, b"2"), (TEXT, b"3")])


def category_3():
    hello = frame(TEXT, b"Hello, world!")
    for rsv in range(1, 8):
        case(f"3 text with RSV {rsv}", [frame(TEXT, b"Hello", rsv=rsv)], [], 1002)
        case(f"3 after a good one, RSV {rsv}", [hello + frame(TEXT, b"Hello", rsv=rsv) + frame(PING)],
             [(TEXT, b"Hello, world!")], 1002)
        case(f"3 byte by byte, RSV {rsv}", [(hello + frame(BINARY, b"x" * 8, rsv=rsv), 1)], [(TEXT, b"Hello, world!")], 1002)
        case(f"3 ping with RSV {rsv}", [frame(PING, rsv=rsv)], [], 1002)
        case(f"3 close with RSV {rsv}", [frame(CLOSE, rsv=rsv)], [], 1002)


def category_4():
    hello = frame(TEXT, b"Hello, world!")
    for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        case(f"4 opcode {op}", [frame(op)], [], 1002)
        case(f"4 opcode {op} with payload", [frame(op, b"reserved")], [], 1002)
        case(f"4 opcode {op} behind a message", [hello + frame(op, b"x") + frame(PING)], [(TEXT, b"Hello, world!")], 1002)
        case(f"4 opcode {op} in chops", [(hello + frame(op, b"x") + frame(PING), 1)], [(TEXT, b"Hello, world!")], 1002)


def category_5():
    case("5.1 fragmented ping", [frame(PING, b"a", fin=False) + frame(CONT, b"b")], [], 1002)
    case("5.2 fragmented pong", [frame(PONG, b"a", fin=False) + frame(CONT, b"b")], [], 1002)
    case("5 fragmented close", [frame(CLOSE, close_data(1000), fin=False)], [], 1002)
    two = frame(TEXT, b"fragment1", fin=False) + frame(CONT, b"fragment2")
    for chop in (0, 1):
        case("5.3 two fragments", [(two, chop)], [(TEXT, b"fragment1fragment2")])
        ping = frame(TEXT, b"fragment1", fin=False) + frame(PING, b"ping") + frame(CONT, b"fragment2")
        case("5.6 ping inside a message", [(ping, chop)], [(PONG, b"ping"), (TEXT, b"fragment1fragment2")])
        many = frame(TEXT, b"f1", fin=False) + frame(CONT, b"f2", fin=False) + frame(PING, b"p1") + \
            frame(CONT, b"f3", fin=False) + frame(CONT, b"f4", fin=False) + frame(PING, b"p2") + frame(CONT, b"f5")
        case("5.19 pings inside five fragments", [(many, chop)], [(PONG, b"p1"), (PONG, b"p2"), (TEXT, b"f1f2f3f4f5")])
        for fin in (True, False):
            stray = frame(CONT, b"non-continuation", fin=fin) + frame(TEXT, b"Hello")
            case(f"5.9-14 continuation of nothing, FIN {fin}", [(stray, chop)], [], 1002)
            case(f"5.15 continuation behind a message, FIN {fin}",
                 [(two + frame(CONT, b"f3", fin=fin) + frame(TEXT, b"f4"), chop)], [(TEXT, b"fragment1fragment2")], 1002)
        case("5.18 text inside a message", [(frame(TEXT, b"1", fin=False) + frame(TEXT, b"2"), chop)], [], 1002)
        case("5 binary inside a message", [(frame(TEXT, b"1", fin=False) + frame(BINARY, b"2", fin=False), chop)], [], 1002)
    empty = frame(TEXT, fin=False) + frame(CONT, fin=False) + frame(CONT)
    case("6.1.2 three empty fragments", [empty], [(TEXT, b"")])
    case("6.1.3 middle fragment not empty", [frame(TEXT, fin=False) + frame(CONT, b"mid", fin=False) + frame(CONT)],
         [(TEXT, b"mid")])
    case("5 binary fragments, last empty", [frame(BINARY, b"\xff", fin=False) + frame(CONT)], [(BINARY, b"\xff")])
    case("5 close inside a message", [frame(TEXT, b"half", fin=False)], [])


BAD_UTF8 = [b"\x80", b"\xbf", b"\x80\xbf", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf",
            b"\xfc\x80\x80\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xc0\x80", b"\xe0\x80\x80",
            b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff",
            b"\xfe\xfe\xff\xff", b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80",
            b"\xc0", b"\xc2", b"\xe0", b"\xe2\x82", b"\xf0\x90\x8d", b"\xf0\x28\x8c\xbc", b"\xe2\x28\xa1", b"\xc3\x28",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"]
GOOD_UTF8 = ["Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\0", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd",
             "\uffff", "\ufffe", "\U00010000", "\U0010ffff", "\U0010fffe", "€" * 50000]


def category_6():
    for text in GOOD_UTF8:
        data = text.encode("utf-8", "surrogatepass")
        case(f"6.2 {ascii(text[:8])}", [frame(TEXT, data)], [(TEXT, data)])
        if len(data) < 100:
            parts = b"".join(frame(TEXT if i == 0 else CONT, data[i:i + 1], fin=i == len(data) - 1) for i in range(len(data)))
            case(f"6.2 {ascii(text[:8])} in fragments of a byte", [parts], [(TEXT, data)])
            case(f"6.2 {ascii(text[:8])} byte by byte", [(frame(TEXT, data), 1)], [(TEXT, data)])
    for data in BAD_UTF8:
        case(f"6.3 {data!r}", [frame(TEXT, data)], [], 1007)
        case(f"6.3 {data!r} amid ASCII", [frame(TEXT, b"abcdefghijkl" + data + b"xyz")], [], 1007)
        case(f"6.3 {data!r} byte by byte", [(frame(TEXT, data), 1)], [], 1007)
        parts = frame(TEXT, b"ok", fin=False) + frame(CONT, data[:1], fin=False) + frame(CONT, data[1:])
        case(f"6.3 {data!r} in fragments", [parts], [], 1007)
        case(f"6 {data!r} in a binary message", [frame(BINARY, data)], [(BINARY, data)])
    good, bad = "κόσμε".encode(), b"\xf4\x90\x80\x80"
    case("6.4.1 fail fast between fragments", [frame(TEXT, good, fin=False) + frame(CONT, bad, fin=False)], [], 1007)
    case("6.4.2 fail fast on a lead byte", [frame(TEXT, good + b"\xf4", fin=False) + frame(CONT, b"\x90", fin=False)], [], 1007)
    whole = frame(TEXT, good + bad + b"\x65" * 20)
    case("6.4.3 fail fast inside a frame", [whole[:6 + len(good)], whole[6 + len(good):6 + len(good) + 4]], [], 1007)
    case("6.4.4 fail fast inside a character", [whole[:6 + len(good) + 1], whole[6 + len(good) + 1:6 + len(good) + 2]], [], 1007)
    case("6 ping between the bytes of a character", [frame(TEXT, b"\xe2\x82", fin=False) + frame(PING, b"\xff") +
         frame(CONT, b"\xac")], [(PONG, b"\xff"), (TEXT, "€".encode())])


def category_7():
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999):
        case(f"7.7 close {code}", [frame(CLOSE, close_data(code))], [], code)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        case(f"7.9 close {code}", [frame(CLOSE, close_data(code))], [], 1002)
    case("7.3.2 close of one byte", [frame(CLOSE, b"\x03")], [], 1002)
    case("7.3.4 close with reason", [frame(CLOSE, close_data(1000, b"Hello, world!"))], [], 1000)
    case("7.3.5 close with reason of 123", [frame(CLOSE, close_data(1000, b"*" * 123))], [], 1000)
    case("7.3.6 close with reason of 124", [frame(CLOSE, close_data(1000, b"*" * 124))], [], 1002)
    case("7.5.1 reason not UTF-8", [frame(CLOSE, close_data(1000, BAD_UTF8[-1]))], [], 1007)
    case("7 reason ends in a character", [frame(CLOSE, close_data(1000, b"\xe2\x82"))], [], 1007)
    for name, behind in (("nothing", b""), ("close", frame(CLOSE)), ("ping", frame(PING, b"x")), ("text", frame(TEXT, b"x")),
                         ("a fragment", frame(CONT, b"x")), ("nonsense", b"\xff" * 100), ("256 KiB", frame(TEXT, b"B" * 262144))):
        try:
            p = dial()
            p.raw(frame(TEXT, b"Hello") + frame(CLOSE) + behind)
            got = [p.recv(), p.recv()]
            check(got == [(TEXT, b"Hello"), (CLOSE, b"")], f"7.1 empty close, then {name}", got)
            check(p.at_end(), f"7.1 end after close, then {name}")
            p.sock.close()
        except (OSError, EOFError, AssertionError) as e:
            check(False, f"7.1 close, then {name}", repr(e))
    for name, wire in (("unmasked text", frame(TEXT, b"x", masked=False)), ("unmasked ping", frame(PING, masked=False)),
                       ("unmasked close", frame(CLOSE, masked=False)),
                       ("125 in 16 bits", frame(TEXT, b"x" * 125, length=(16, 125))),
                       ("0 in 16 bits", frame(TEXT, b"", length=(16, 0))),
                       ("65535 in 64 bits", frame(TEXT, b"x" * 65535, length=(64, 65535))),
                       ("ping of 16 bits", frame(PING, b"", length=(16, 0))),
                       ("length 2^63", frame(BINARY, b"", length=(64, 1 << 63)))):
        case(f"7 {name}", [wire], [], 1002)
    case("7 message over the limit", [frame(BINARY, b"", length=(64, (1 << 63) - 1))], [], 1009)
    case("7 fragments over the limit", [frame(BINARY, b"x", fin=False) + frame(CONT, b"", length=(64, 64 << 20))], [], 1009)
    half_closed()


def half_closed():
    name = "7 a close frame and the end at once"
    try:
        p = dial(rcvbuf=4096)
        big = os.urandom(1 << 20)
        p.raw(frame(BINARY, big) + frame(CLOSE, close_data(4321)))
        p.sock.shutdown(socket.SHUT_WR)
        check(p.recv() == (BINARY, big), name, "echo")
        check(p.recv() == (CLOSE, close_data(4321)), name, "close")
        check(p.at_end(), name, "end")
        p.sock.close()
    except (OSError, EOFError, AssertionError) as e:
        check(False, name, repr(e))


def category_9():
    for opcode, kind in ((TEXT, "text"), (BINARY, "binary")):
        for size in (65536, 262144, 1 << 20, 4 << 20, 16 << 20):
            data = random.Random(size).randbytes(size) if opcode == BINARY else ("€uro" * (size // 6 + 1)).encode()[:size - size % 6]
            echo(opcode, data, f"9.1 {kind} of {size}")
        data = (b"0123456789abcdef" * (4 << 16))
        for part in (64, 256, 1024, 65536, 1 << 20):
            echo(opcode, data[:1 << 20] if part < 256 else data, f"9.3 {kind} in fragments of {part}", part=part)
        echo(opcode, data[:1 << 20], f"9.5 {kind} of 1 MiB in chops of 64", chop=64)
    echo(BINARY, os.urandom(16 << 20), "9 16 MiB in fragments of 64", part=64)
    for size, count in ((0, 1000), (16, 1000), (64, 1000), (1024, 1000), (4096, 1000), (16384, 500)):
        name = f"9.7 {count} messages of {size}"
        try:
            p = dial()
            data = b"x" * size
            wire = b"".join(frame(BINARY, data) for _ in range(count))
            t = threading.Thread(target=lambda: p.raw(wire), daemon=True)
            t.start()
            check(all(p.recv() == (BINARY, data) for _ in range(count)), name)
            t.join()
            goodbye(p, name)
            p.sock.close()
        except (OSError, EOFError, AssertionError) as e:
            check(False, name, repr(e))
    pings_under_load()
    leavers()


def pings_under_load():
    """Pings between large messages, and between the fragments of one: every pong in its place."""
    name = "9 pings between large messages"
    try:
        p = dial()
        big = os.urandom(1 << 20)
        want, wire = [], b""
        for i in range(8):
            want += [(PONG, b"%d" % i), (BINARY, big)]
            wire += frame(PING, b"%d" % i) + frame(BINARY, big)
        t = threading.Thread(target=lambda: p.raw(wire), daemon=True)
        t.start()
        check([p.recv() for _ in want] == want, name)
        t.join()
        goodbye(p, name)
        p.sock.close()
    except (OSError, EOFError, AssertionError) as e:
        check(False, name, repr(e))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def leavers():
    """Peers that send much, read nothing and leave must not be kept."""
    pid = int(os.environ.get("WSECHO_PID", "0"))
    before = descriptors(pid) if pid and os.path.isdir(f"/proc/{pid}/fd") else None
    for how in ("reset", "end"):
        peers = [dial(rcvbuf=4096) for _ in range(8)]
        wire = frame(BINARY, b"z" * (4 << 20)) * 2
        for p in peers:
            p.sock.settimeout(0.3)
            try:
                p.sock.sendall(wire)
            except OSError:
                pass
        for p in peers:
            if how == "reset":
                p.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            p.sock.close()
    limit = time.monotonic() + TIMEOUT
    while before is not None and descriptors(pid) > before and time.monotonic() < limit:
        time.sleep(0.05)
    check(before is None or descriptors(pid) <= before, "9 connections of peers that left")
    echo(TEXT, b"still here", "9 server after peers that left")


def category_10():
    echo(TEXT, b"*" * 65536, "10.1 65536 in fragments of 1300", part=1300)


def handshakes():
    accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    rows = [("sample key", request(), 101), ("HTTP/1.0", request(version="HTTP/1.0"), 400), ("POST", request(method="POST"), 400),
            ("no key", request(key=None), 400), ("short key", request(key="c2hvcnQ="), 400), ("version 8", request(ws=8), 426),
            ("no version", request(ws=None), 426), ("no Upgrade", request(upgrade=None), 400),
            ("no Connection", request(connection=None), 400), ("extensions offered",
            request("Sec-WebSocket-Extensions: permessage-deflate\r\n"), 101), ("Firefox's Connection",
            request(connection="keep-alive, Upgrade"), 101), ("content", request("Content-Length: 5\r\n") + b"hello", 400),
            ("not HTTP", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400), ("head too long", request("X: " + "x" * 40000 + "\r\n"), 431)]
    for name, wire, want in rows:
        try:
            sock = socket.create_connection(address, TIMEOUT)
            sock.sendall(wire)
            status, fields, _ = read_head(sock)
            check(int(status.split()[1]) == want, f"handshake: {name}", status)
            if want == 101:
                check(fields.get("sec-websocket-accept") == accept and "sec-websocket-extensions" not in fields
                      and "sec-websocket-protocol" not in fields and fields.get("upgrade", "").lower() == "websocket",
                      f"handshake: {name}", fields)
            if want == 426:
                check(fields.get("sec-websocket-version") == "13", f"handshake: {name}", fields)
            sock.close()
        except (OSError, EOFError, ValueError) as e:
            check(False, f"handshake: {name}", repr(e))
    try:
        p = dial(frame(TEXT, b"early") + frame(PING, b"bird") + frame(TEXT, b"la", fin=False))
        p.send(CONT, b"te")
        check([p.recv() for _ in range(3)] == [(TEXT, b"early"), (PONG, b"bird"), (TEXT, b"late")], "handshake: frames behind it")
        goodbye(p, "handshake: frames behind it")
        p.sock.close()
        p = dial(frame(CLOSE, close_data(1001)) + b"\xff" * 30)
        check(p.recv() == (CLOSE, close_data(1001)) and p.at_end(), "handshake: close behind it")
        p.sock.close()
        sock = socket.create_connection(address, TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request():
            sock.sendall(bytes([byte]))
        check(read_head(sock)[0].startswith("HTTP/1.1 101"), "handshake: byte by byte")
        sock.close()
    except (OSError, EOFError, AssertionError) as e:
        check(False, "handshake", repr(e))


# The client.

def accept_client(listener, answer=None, behind=b""):
    sock, _ = listener.accept()
    sock.settimeout(TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line, fields, rest = read_head(sock)
    key = fields["sec-websocket-key"]
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    good = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    sock.sendall((answer or good).replace("ACCEPT", accept).encode() + behind)
    return line, fields, Peer(sock, False, rest)


def with_client(program, talk, want, name, answer=None, behind=b""):
    """Run program --client against talk(peer); it must exit with want."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(TIMEOUT)
    run = subprocess.Popen([program, "--client", f"ws://127.0.0.1:{listener.getsockname()[1]}/a/path?x=1"],
                           stderr=subprocess.DEVNULL)
    try:
        line, fields, p = accept_client(listener, answer, behind)
        if talk:
            talk(p, line, fields)
        p.sock.close()
        check(run.wait(TIMEOUT) == want, name, f"exit {run.returncode}")
    except (OSError, EOFError, AssertionError, KeyError, subprocess.TimeoutExpired) as e:
        check(False, name, repr(e))
    finally:
        run.kill()
        run.wait()
        listener.close()


def client_fails(code, *wires):
    def talk(p, _line, _fields):
        for wire in wires:
            p.raw(wire)
        opcode, data = p.recv()
        check(opcode == CLOSE and data[:2] == struct.pack("!H", code), "client fails the connection", f"{opcode} {data!r}")
        check(p.at_end(), "client ends after failing")
    return talk


def client_echoes(p, line, fields):
    check(line == "GET /a/path?x=1 HTTP/1.1", "client's request line", line)
    check(fields.get("sec-websocket-version") == "13" and len(base64.b64decode(fields["sec-websocket-key"])) == 16
          and fields["host"].startswith("127.0.0.1:"), "client's fields", fields)
    check(p.recv() == (TEXT, b"early"), "client takes what stands behind the handshake")
    for opcode, data in ((TEXT, b""), (TEXT, "κόσμε".encode()), (BINARY, os.urandom(300000)), (TEXT, b"*" * 65536)):
        t = threading.Thread(target=lambda: p.send(opcode, data), daemon=True)
        t.start()
        check(p.recv() == (opcode, data), "client echoes", len(data))
        t.join()
    p.send(TEXT, b"a", fin=False)
    p.send(PING, b"mid")
    p.send(CONT, b"b")
    check([p.recv(), p.recv()] == [(PONG, b"mid"), (TEXT, b"ab")], "client's pong inside a message")
    check(len(p.keys) >= 10, "client's masking-keys differ", len(p.keys))
    p.send(CLOSE, close_data(1000, b"bye"))
    check(p.recv() == (CLOSE, close_data(1000)), "client answers close")
    check(not p.at_end(0.2), "client leaves the end to the server")


def client(program):
    with_client(program, client_echoes, 0, "client echo", behind=frame(TEXT, b"early", masked=False))
    with_client(program, client_fails(1002, frame(TEXT, b"x", masked=True)), 1, "client: masked frame")
    with_client(program, client_fails(1007, frame(TEXT, b"\xff", masked=False)), 1, "client: UTF-8")
    with_client(program, client_fails(1002, frame(PING, b"x", masked=False, rsv=4)), 1, "client: reserved bit")
    with_client(program, None, 1, "client: cut")
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    with_client(program, None, 1, "client: wrong accept", head + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    with_client(program, None, 1, "client: extension", head + "Sec-WebSocket-Accept: ACCEPT\r\n"
                "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    with_client(program, None, 1, "client: protocol", head + "Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: x\r\n\r\n")
    with_client(program, None, 1, "client: 404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    client_websockets(program)


def client_websockets(program):
    """The client against somebody else's server."""
    try:
        from websockets.legacy.server import serve
    except ImportError:
        print("no python3-websockets: its server is left out", file=sys.stderr)
        return

    async def talk(ws):
        try:
            for message in ("", "hello", "€" * 100000, b"", os.urandom(5 << 20), b"x" * 125, "y" * 126):
                await ws.send(message)
                check(await ws.recv() == message, "client and websockets: echo", len(message))
            await ws.send(["frag", "ment", "ed"])
            check(await ws.recv() == "fragmented", "client and websockets: fragments")
            await asyncio.wait_for(await ws.ping(b"there?"), TIMEOUT)
            check(True, "client and websockets: pong")
            await ws.close(4000, "enough")
            check(ws.close_code == 4000, "client and websockets: close", ws.close_code)
        except Exception as e:      # whatever it raises is the finding
            check(False, "client and websockets", repr(e))

    async def main():
        async with serve(talk, "127.0.0.1", 0, max_size=None, ping_interval=None, compression=None) as server:
            port = server.sockets[0].getsockname()[1]
            run = await asyncio.create_subprocess_exec(program, "--client", f"ws://127.0.0.1:{port}/",
                                                       stderr=subprocess.DEVNULL)
            try:
                check(await asyncio.wait_for(run.wait(), TIMEOUT) == 0, "client and websockets: exit", run.returncode)
            except asyncio.TimeoutError:
                run.kill()
                check(False, "client and websockets: it does not end")
    asyncio.run(main())


def main():
    global address
    host, port = sys.argv[1].rsplit(":", 1)
    address = (host, int(port))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for run in (handshakes, category_1, category_2, category_3, category_4, category_5, category_6, category_7, category_9,
                category_10):
        start = time.monotonic()
        run()
        if os.environ.get("VERBOSE"):
            print(f"{run.__name__}: {time.monotonic() - start:.2f} s", file=sys.stderr)
    client(sys.argv[2])
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main())
