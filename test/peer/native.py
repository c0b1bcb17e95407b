#!/usr/bin/env python3
"""An independent peer of the native protocol, tunnel.v1: a client and a fake daemon.

Written from the protocol's specification alone, over python3-websockets, with
a yamux of its own.  Either role checks strictly what the far end sends and
prints a "violation" line and exits 1 when the protocol is broken.  All output
is JSON, one object a line: control objects as they came, and {"event":...}.
"""
import argparse
import asyncio
import codecs
import hashlib
import http
import json
import os
import re
import signal
import ssl
import struct
import sys
import time
from collections import deque
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatusCode, WebSocketException
from websockets.legacy.client import WebSocketClientProtocol, connect
from websockets.legacy.server import WebSocketServerProtocol, serve

DATA, WINDOW, PING, GOAWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
INITIAL = 262144            # the window a stream starts with, each way
CONTROL_LINE = 16384
PREFACE_LINE = 4096
UNACKED = 256
MESSAGE = 1 << 20
CODES = {"name_in_use", "port_in_use", "forbidden", "bad_name", "bad_guard", "bad_port", "limit", "unknown_op"}
LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9-]{0,62})*")


class Reset(Exception):
    """The stream was reset, or its session has ended."""


class Malformed(Exception):
    """Bytes that are no HTTP message, or a line that is too long."""


def say(**event):
    print(json.dumps(event), flush=True)


def frame(kind, flags, sid, length, body=b""):
    return struct.pack("!BBHII", 0, kind, flags, sid, length) + body


# ---- byte sources and HTTP -------------------------------------------------

class Source:
    """Bytes that arrive; more() appends to buf, or answers False at the end."""

    def __init__(self):
        self.buf = bytearray()

    def took(self, n):
        pass

    async def read(self, n=65536):
        while not self.buf:
            if not await self.more():
                return b""
        data = bytes(self.buf[:n])
        del self.buf[:n]
        self.took(len(data))
        return data

    async def until(self, mark, limit):
        """Up to and with mark; at most limit bytes without it."""
        start = 0
        while (at := self.buf.find(mark, start)) < 0:
            start = max(0, len(self.buf) - len(mark) + 1)
            if start > limit:
                raise Malformed(f"no {mark!r} within {limit} bytes")
            if not await self.more():
                raise EOFError("end of stream inside a line or head" if self.buf else "end of stream")
        if at > limit:
            raise Malformed(f"no {mark!r} within {limit} bytes")
        data = bytes(self.buf[:at + len(mark)])
        del self.buf[:at + len(mark)]
        self.took(len(data))
        return data


class Local(Source):
    """A TCP connection to the local service."""

    def __init__(self, reader):
        super().__init__()
        self.reader = reader

    async def more(self):
        data = await self.reader.read(65536)
        self.buf += data
        return bool(data)


async def read_head(src):
    """The raw head, its start line and its fields in order."""
    raw = await src.until(b"\r\n\r\n", 65536)
    lines = raw[:-4].decode("latin-1").split("\r\n")
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\r\n\0]", value):
            raise Malformed(f"bad field line {line!r}")
        fields.append((name, value.strip(" \t")))
    return raw, lines[0], fields


def values(fields, name):
    return [v for n, v in fields if n.lower() == name]


def framing(fields, request=None, status=None):
    """How the body ends: a length, "chunked", or "eof" (responses only)."""
    if status is not None and (request == "HEAD" or status in (204, 304) or status < 200):
        return 0
    coding, length = values(fields, "transfer-encoding"), values(fields, "content-length")
    if coding and length:
        raise Malformed("both Content-Length and Transfer-Encoding")
    if coding:
        if [c.lower() for c in coding] != ["chunked"]:
            raise Malformed(f"Transfer-Encoding {coding}")
        return "chunked"
    if length:
        if len(length) > 1 or not re.fullmatch("[0-9]+", length[0]):
            raise Malformed(f"Content-Length {length}")
        return int(length[0])
    return 0 if status is None else "eof"


async def body(src, how, trailers):
    """Yields (raw, payload) until the body's end; trailer fields go to trailers."""
    async def exactly(n):
        while n:
            data = await src.read(min(n, 65536))
            if not data:
                raise EOFError("end of stream inside a body")
            n -= len(data)
            yield data
    if how == "eof":
        while data := await src.read():
            yield data, data
    elif how == "chunked":
        size = 1
        while size:
            line = await src.until(b"\r\n", 4096)
            if not re.match(rb"[0-9A-Fa-f]{1,15}[ \t]*(;|\r\n)", line):
                raise Malformed(f"chunk size {line!r}")
            size = int(line.split(b";")[0], 16)
            yield line, b""
            async for data in exactly(size):
                yield data, data
            if size:
                if (end := await src.until(b"\r\n", 2)) != b"\r\n":
                    raise Malformed(f"chunk ends with {end!r}")
                yield end, b""
        while (line := await src.until(b"\r\n", 16384)) != b"\r\n":
            trailers.append(line[:-2].decode("latin-1"))
            yield line, b""
        yield line, b""
    else:
        async for data in exactly(how):
            yield data, data


# ---- yamux -----------------------------------------------------------------

class Stream(Source):
    def __init__(self, session, sid, ours):
        super().__init__()
        self.session, self.id, self.ours = session, sid, ours
        self.send_window = self.recv_window = INITIAL
        self.owing = SYN if ours else ACK   # goes on the first frame we send
        self.acked = not ours               # the far end has accepted our stream
        self.sent = self.got = 0            # FIN and RST, each way
        self.received = self.owed = 0       # data in all; taken, but not yet granted again
        self.budget = session.o.window      # what may be granted in all, None: no bound
        self.news = asyncio.Event()
        self.may_fin = False                # a FIN from the daemon is right (after a 101, tcp)
        self.early_fin = False              # one came before the end of the exchange

    def post(self, kind, flags=0, length=0, data=b""):
        if not flags & RST or self.owing == SYN:
            flags |= self.owing
        self.owing = 0
        self.session.post(frame(kind, flags, self.id, length, data))

    async def wait(self):
        self.news.clear()
        await self.news.wait()

    async def more(self):
        before = len(self.buf)
        while len(self.buf) == before:
            if self.got & RST or self.sent & RST:
                raise Reset
            if self.got & FIN:
                return False
            await self.wait()
        return True

    def took(self, n):
        """n bytes were taken from the buffer; grant them again in due course."""
        o, self.owed = self.session.o, self.owed + n
        if self.sent & RST or self.got & (FIN | RST):
            return
        step = 1024 if o.slow_window else INITIAL // 2
        while self.owed >= step:
            grant = step if o.slow_window else self.owed
            if self.budget is not None:
                grant = min(grant, self.budget)
                self.budget -= grant
            if not grant:
                return
            self.owed -= grant
            self.recv_window += grant
            self.post(WINDOW, 0, grant)

    async def write(self, data, abuse=False):
        view, step = memoryview(data), 1 if self.session.o.tiny_frames else 16384
        while view:
            if (self.sent | self.got) & RST or self.sent & FIN or self.session.over.done():
                raise Reset
            n = len(view) if abuse else min(len(view), self.send_window, step)
            if n == 0:
                await self.wait()
                continue
            self.send_window -= n
            self.post(DATA, 0, n, bytes(view[:n]))
            view = view[n:]
            await self.session.drained()

    def fin(self):
        if not self.sent & (FIN | RST) and not self.got & RST:
            self.sent |= FIN
            self.post(WINDOW if self.id % 4 else DATA, FIN)     # both forms are right
            self.session.reap(self)

    def rst(self):
        if not (self.sent | self.got) & RST:
            self.sent |= RST
            self.post(WINDOW, RST)
            self.session.reap(self)
            self.news.set()


class Session:
    """A yamux session over a WebSocket.  first is the id of the first stream we open."""

    def __init__(self, ws, o, first):
        self.ws, self.o, self.next = ws, o, first
        self.client = first == 1
        self.streams, self.gone = {}, {}    # live; id -> what was got, for dead ones
        self.out, self.queued = deque(), 0
        self.wake, self.drain = asyncio.Event(), asyncio.Event()
        self.pings, self.serial = {}, 0
        self.longest = 0    # message that came, bytes
        self.over = asyncio.get_running_loop().create_future()
        self.violated, self.go_away = None, None
        self.on_stream, self.on_go_away = lambda stream: None, lambda: None
        self.tasks = set()

    def spawn(self, coroutine):
        async def guarded():
            try:
                await coroutine
            except (Reset, ConnectionClosed, ConnectionError, asyncio.TimeoutError):
                pass
        task = asyncio.ensure_future(guarded())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # sending: a queue, so that the reader never waits for room

    def post(self, item):
        self.out.append(item)
        self.queued += len(item)
        self.wake.set()

    async def drained(self, limit=262144):
        while self.queued > limit and not self.over.done():
            self.drain.clear()
            await self.drain.wait()

    async def writer(self):
        sizes, turn = (1, 5, 13, 64, 700, 25), 0
        while True:
            self.wake.clear()
            while self.out:
                item = self.out.popleft()
                n = len(item)
                if isinstance(item, bytes):
                    batch = [item]
                    while self.out and isinstance(self.out[0], bytes) and n + len(self.out[0]) <= 65536:
                        batch.append(self.out.popleft())
                        n += len(batch[-1])
                    item = b"".join(batch)
                if self.o.tiny_frames and n < MESSAGE:      # several frames a message, frames cut anywhere
                    rest = item
                    while rest:
                        await self.ws.send(rest[:sizes[turn % 6]])
                        rest, turn = rest[sizes[turn % 6]:], turn + 1
                else:
                    await self.ws.send(item)
                self.queued -= n
                self.drain.set()
            await self.wake.wait()

    def open(self, sid=None):
        if sid is None:
            sid, self.next = self.next, self.next + 2
        stream = self.streams[sid] = Stream(self, sid, True)
        return stream

    def reap(self, s):
        done = (s.sent | s.got) & RST or s.sent & s.got & FIN
        if self.client and s.id % 2 == 0 and s.sent & FIN and not s.may_fin:
            done = True         # the daemon need not FIN an exchange
        if done and s.id in self.streams:
            del self.streams[s.id]
            self.gone[s.id] = s.got
            self.drain.set()

    async def ping(self):
        """A yamux ping and its answer: everything sent before it has been read."""
        self.serial += 1
        answer = self.pings[self.serial] = asyncio.get_running_loop().create_future()
        self.post(frame(PING, SYN, 0, self.serial))
        await asyncio.wait_for(answer, self.o.timeout)

    async def liveness(self, interval):
        while not self.over.done():
            asked = time.monotonic()
            pong = await self.ws.ping()
            pong.add_done_callback(lambda f: f.cancelled() or f.exception())
            await asyncio.wait({self.over}, timeout=interval)
            if not self.over.done() and self.ws.last_rx < asked:
                say(event="lost")
                self.ws.transport.abort()

    async def close(self, code=1000, reason=""):
        await asyncio.wait_for(self.drained(0), self.o.timeout)
        await self.ws.close(code, reason)

    async def end(self, code=1000, reason="", away=0):
        self.post(frame(GOAWAY, 0, 0, away))
        await self.close(code, reason)

    # receiving

    def violate(self, what, code=1002):
        if not self.violated and not self.over.done():
            self.violated = what
            say(event="violation", what=what)
            self.spawn(self.end(code, "", 1))

    def judge_size(self, _):
        if self.ws.close_sent and self.ws.close_sent.code == 1009 and not self.ws.close_rcvd:
            self.violate("message over 1 MiB")

    async def run(self):
        """Until the connection has closed; answers (code, reason)."""
        writer, buf = self.spawn(self.writer()), b""
        self.ws.transfer_data_task.add_done_callback(self.judge_size)
        try:
            while True:
                message = await self.ws.recv()
                self.longest = max(self.longest, len(message))
                if self.violated:
                    continue
                if isinstance(message, str):
                    self.violate("text message", 1003)
                    continue
                buf += message
                at = 0
                while len(buf) - at >= 12 and not self.violated:
                    version, kind, flags, sid, length = struct.unpack_from("!BBHII", buf, at)
                    if version != 0 or kind > GOAWAY or flags > 15:
                        self.violate(f"version {version} type {kind} flags {flags}")
                        break
                    size = length if kind == DATA else 0
                    if len(buf) - at - 12 < size:
                        break
                    self.on_frame(kind, flags, sid, length, buf[at + 12:at + 12 + size])
                    at += 12 + size
                buf = buf[at:]
                if buf and not self.o.lenient:
                    self.violate("a frame split across messages")
        except ConnectionClosed:
            pass
        await self.ws.wait_closed()
        self.over.set_result(None)
        writer.cancel()
        for s in list(self.streams.values()):
            s.got |= RST
            s.news.set()
        self.drain.set()
        for answer in self.pings.values():
            answer.cancel()
        return self.ws.close_code, self.ws.close_reason or ""

    def on_frame(self, kind, flags, sid, length, data):
        if kind == PING:
            if sid or flags not in (SYN, ACK):
                return self.violate(f"ping on stream {sid} with flags {flags}")
            if flags == ACK and length not in self.pings:
                return self.violate("answer to no ping")
            if flags == ACK:
                answer = self.pings.pop(length)
                return None if answer.done() else answer.set_result(None)
            return None if self.o.no_pong else self.post(frame(PING, ACK, 0, length))
        if kind == GOAWAY:
            if sid or flags or length > 2:
                return self.violate(f"go away on stream {sid}, flags {flags}, code {length}")
            say(event="go_away", code=length)
            self.go_away = length
            return None if length else self.on_go_away()
        s, name = self.streams.get(sid), f"stream {sid}"
        if flags & SYN:
            right = sid and sid % 2 == 0 if self.client else sid == 1
            if not right and sid not in self.streams and self.o.lenient:
                return self.post(frame(WINDOW, RST, sid, 0))
            if sid in self.streams or sid in self.gone or not right:
                return self.violate(f"SYN on {'used' if right else 'wrong'} id {sid}")
            s = self.streams[sid] = Stream(self, sid, False)
            if sum(1 for t in self.streams.values() if t.owing == ACK) > UNACKED:
                return self.violate(f"more than {UNACKED} unacknowledged streams")
        if s is None:
            if sid not in self.gone:
                return self.o.lenient or self.violate(f"a frame for {name}, which was never opened")
            before = self.gone[sid]
            if before & RST or before & FIN and (flags & FIN or kind == DATA and length):
                return self.violate(f"a frame on {name} after its {'RST' if before & RST else 'FIN'}")
            self.gone[sid] = before | flags & (FIN | RST)
            return None
        if flags & ACK and s.acked:
            return self.violate(f"unexpected ACK on {name}")
        if not s.acked and not flags & (ACK | RST) and not self.o.lenient:
            return self.violate(f"first frame back on {name} without ACK")
        s.acked = s.acked or bool(flags & ACK)
        if s.got & FIN and (flags & FIN or kind == DATA and length):
            return self.violate(f"data or FIN on {name} after its FIN")
        if kind == DATA:
            if length > s.recv_window:
                return self.violate(f"{length} bytes on {name} in a window of {s.recv_window}")
            s.recv_window -= length
            s.received += length
            s.buf += data
        else:
            s.send_window += length
            if s.send_window >= 1 << 32:
                return self.violate(f"window of {name} beyond 32 bits")
        s.got |= flags & (FIN | RST)
        if flags & FIN and self.client and sid % 2 == 0 and not s.may_fin and not s.sent & FIN:
            s.early_fin = True      # judged once the kind of tunnel is known
        s.news.set()
        if flags & RST and sid != 1:
            self.o.quiet or say(event="reset", stream=sid)
        elif flags & RST:
            self.violate("control stream reset")
        if flags & SYN:
            self.on_stream(s)
        self.reap(s)
        return None

    # the control stream

    async def control(self, stream, handle):
        """Reads control lines, prints them and hands them to handle()."""
        try:
            while True:
                line = await stream.until(b"\n", CONTROL_LINE)
                try:
                    obj = json.loads(line.decode())
                except ValueError:
                    obj = None
                if not isinstance(obj, dict) or not isinstance(obj.get("op"), str):
                    return self.violate(f"control line is no object with an op: {line[:80]!r}")
                print(json.dumps(obj), flush=True)
                if bad := handle(obj):
                    return self.violate(f"{bad}: {json.dumps(obj)}")
        except Malformed as e:
            self.violate(f"control line: {e}")
        except EOFError:
            say(event="control_end")
            if not self.o.lenient and self.go_away is None and not self.over.done():
                await asyncio.wait({self.over}, timeout=self.o.timeout)     # right only as part of an orderly end
                if not self.over.done():
                    self.violate("control stream ended, session kept")

    async def line(self, stream, obj):
        await stream.write((obj if isinstance(obj, str) else json.dumps(obj)).encode() + b"\n")

    async def abuse(self):
        """What the fault options ask for; each breaks the protocol on purpose."""
        o = self.o
        if o.text_message:
            self.post("text")
        if o.oversize:
            self.post(frame(DATA, 0, 1, MESSAGE, bytes(MESSAGE)))
        if o.bad_type:
            self.post(frame(9, 0, 0, 0))
        if o.bad_version:
            self.post(struct.pack("!BBHII", 7, PING, SYN, 0, 0))
        if o.syn_live:
            self.post(frame(WINDOW, SYN, 1, 0))
        if o.syn_own:           # a stream that may not exist: must be reset
            s = self.open(3 if self.client else 5)
            s.post(DATA, 0, 5, b"hello")
        if o.data_unknown_stream:
            self.post(frame(DATA, 0, 4094, 5, b"hello"))
            self.post(frame(WINDOW, 0, 4095, 5))
            self.post(frame(DATA, FIN, 4096, 0))
            self.post(frame(WINDOW, RST, 4097, 0))
        if o.syn_own or o.data_unknown_stream:
            await self.ping()
            say(event="ping_ok")
        if o.go_away is not None:
            self.post(frame(GOAWAY, 0, 0, o.go_away))


def silent_if(base, no_pong):
    """The WebSocket protocol class with a note of the last bytes, and perhaps without pongs."""
    class Protocol(base):
        last_rx = 0.0

        def data_received(self, data):
            self.last_rx = time.monotonic()
            super().data_received(data)

        async def pong(self, data=b""):
            if not no_pong:
                await super().pong(data)
    return Protocol


# ---- the client ------------------------------------------------------------

class Client:
    def __init__(self, o):
        self.o, self.listens, self.up = o, {}, None
        self.instance = o.instance or os.urandom(8).hex()
        self.running, self.status = set(), 0

    async def main(self):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.stop)
        self.start()
        while self.running:
            for task in (await asyncio.wait(self.running, return_when=asyncio.FIRST_COMPLETED))[0]:
                self.running.discard(task)
                self.status = self.status or task.result()
        return self.status

    def start(self):
        self.running.add(asyncio.ensure_future(self.session()))

    def stop(self):
        if self.up:
            self.up.spawn(self.up.end(1000))
        else:
            sys.exit(0)

    async def session(self):
        o = self.o
        url = o.endpoint.rstrip("/") + (o.ws_path or "/_tunnel" + ("/" + o.name if o.name else ""))
        more = {}
        if o.endpoint.startswith("wss:"):
            more["ssl"] = ssl.create_default_context(cafile=o.cafile)
        if o.connect:
            more["host"], _, more["port"] = o.connect.rpartition(":")
            if "ssl" in more:
                more["server_hostname"] = urlsplit(o.endpoint).hostname
        try:
            ws = await asyncio.wait_for(connect(
                url, subprotocols=[o.subprotocol] if o.subprotocol else None, compression=None, max_size=MESSAGE,
                extra_headers={"Authorization": "Bearer " + o.token} if o.token else {},
                ping_interval=None, close_timeout=5, **more,
                create_protocol=silent_if(WebSocketClientProtocol, o.no_pong)), o.timeout)
        except InvalidStatusCode as e:
            say(event="rejected", status=e.status_code, headers=list(e.headers.raw_items()))
            return 2
        except (OSError, asyncio.TimeoutError, WebSocketException) as e:
            say(event="connect_failed", error=repr(e))
            return 2
        self.up = sess = Session(ws, o, 1)
        if ws.subprotocol != o.subprotocol:
            sess.violate(f"subprotocol {ws.subprotocol!r}")
        sess.hello, sess.ids, sess.first = False, set(), asyncio.get_running_loop().create_future()
        sess.on_stream = lambda s: sess.spawn(self.serve(sess, s))
        sess.on_go_away = lambda: sess.spawn(self.finish(sess, 5))
        sess.readied = set()
        sess.spawn(self.talk(sess))
        code, reason = await sess.run()
        await asyncio.wait(sess.tasks, timeout=1) if sess.tasks else None
        say(event="closed", code=code, reason=reason, longest=sess.longest)
        return 1 if sess.violated else 0

    async def talk(self, sess):
        o = self.o
        stream = sess.stream = sess.open(1)
        sess.spawn(sess.control(stream, lambda obj: self.on_control(sess, obj)))
        await sess.line(stream, {"op": "hello", "version": "1.0.0", "agent": "peer/1.0.0",
                                 "instance": self.instance, "endpoint": o.endpoint, "unheard-of": [1]})
        listen = {"op": "listen", "id": 1, "kind": o.kind}
        if o.kind == "tcp":
            listen.update(port=o.port, bind=o.bind)
        elif o.name:
            listen["name"] = o.name
        for flag in ("path", "share"):
            if getattr(o, flag):
                listen[flag] = True
        lines = ([] if o.no_listen else [listen]) + [json.loads(extra) for extra in o.listen]
        for obj in lines:
            self.listens[obj.get("id")] = obj
            sess.ids.add(obj.get("id"))
            await sess.line(stream, obj)
        for line in o.garbage_control:
            await sess.line(stream, codecs.decode(line, "unicode_escape"))
        if lines:
            await asyncio.wait({sess.first, sess.over}, timeout=o.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not sess.first.done() and not sess.over.done():
                return sess.violate("listen was not answered")
        for line in o.after_ready:
            await sess.line(stream, line)
        await sess.abuse()
        return None

    def on_control(self, sess, obj):
        """Checks one object of the daemon; answers what is wrong with it."""
        op, lid, code = obj["op"], obj.get("id"), obj.get("code")
        if not sess.hello and op != "hello":
            return "first object is no hello"
        if op == "hello":
            if sess.hello:
                return "second hello"
            sess.hello = True
            if not isinstance(obj.get("version"), str) or not isinstance(obj.get("domain", ""), str):
                return "version or domain"
            if type(obj.get("ping")) is not int or obj["ping"] < 1:
                return "ping"
            if not self.o.no_pong:
                sess.spawn(sess.liveness(obj["ping"]))
        elif op == "ready":
            if lid not in sess.ids or lid in sess.readied:
                return "ready for no listen"
            sess.readied.add(lid)
            if self.listens[lid]["kind"] == "http":
                url = urlsplit(str(obj.get("url")))
                if url.scheme not in ("http", "https") or not url.hostname:
                    return "ready without a URL"
            elif type(obj.get("port")) is not int or not str(obj.get("addr")).endswith(f":{obj['port']}"):
                return "ready without port and addr"
        elif op == "error":
            if code not in CODES:
                return "error with an unknown code"
            if code != "unknown_op":
                if lid is not None and lid not in sess.ids:
                    return "error for no listen"
                sess.ids.discard(lid)
        elif op == "gone":
            if lid not in sess.ids or code not in (None, "revoked", "expired", "taken_over"):
                return "gone for no listen or with an unknown code"
            sess.ids.discard(lid)
        elif op == "drain":
            if self.o.follow_drain:
                self.start()
        elif self.o.lenient:
            sess.spawn(sess.line(sess.stream, {"op": "error", "code": "unknown_op"}))
        else:
            return "unknown op"
        if op in ("ready", "error") and lid is not None and not sess.first.done():
            sess.first.set_result(None)
        if (op in ("error", "gone") and not sess.ids and not self.o.stay
                and code not in ("revoked", "expired", "unknown_op")):
            sess.spawn(self.finish(sess))
        return None

    async def finish(self, sess, patience=0):
        """Let running streams finish, then end in order unless the daemon does."""
        while len(sess.streams) > 1 and not sess.over.done():
            sess.drain.clear()
            await sess.drain.wait()
        if patience:
            await asyncio.wait({sess.over}, timeout=patience)
        if not sess.over.done():
            await sess.end(1000)

    async def serve(self, sess, s):
        o = self.o
        if o.reset_streams:
            return s.rst()
        if o.never_ack:
            return None
        if not o.late_ack:
            s.post(WINDOW)
        if o.no_read:
            return None
        try:
            raw = await s.until(b"\n", PREFACE_LINE)
            preface = json.loads(raw.decode())
            if (not isinstance(preface, dict) or preface.get("id") not in self.listens
                    or not re.fullmatch(r"([0-9.]+|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}", str(preface.get("peer")))):
                raise Malformed(f"preface {raw!r}")
            o.quiet or say(event="stream", stream=s.id, **preface)
            if self.listens[preface["id"]]["kind"] == "tcp":
                s.may_fin = True
                return await self.raw_relay(s)
            raw_head, line, fields = await read_head(s)
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ ]+ HTTP/1\.1", line):
                raise Malformed(f"request line {line!r}")
            if len(values(fields, "host")) != 1:
                raise Malformed("not one Host field")
            how = framing(fields)
            if o.never_answer:
                async for _ in body(s, how, []):
                    pass
                return None
            if o.target and not (o.bad_response or o.reset_mid or o.window_abuse):
                await self.forward(sess, s, raw_head, line, how)
            else:
                await self.canned(s, preface, line, fields, how)
            if s.early_fin and not s.may_fin and not s.got & RST:
                sess.violate(f"FIN after the request on stream {s.id}")
        except (Malformed, ValueError) as e:
            sess.violate(f"stream {s.id}: {e}")
        except EOFError as e:
            sess.violate(f"stream {s.id}: FIN, {e}")
        return None

    async def canned(self, s, preface, line, fields, how):
        o, digest, length, trailers = self.o, hashlib.sha256(), 0, []
        if [v.lower() for v in values(fields, "expect")] == ["100-continue"]:
            await s.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for _, data in body(s, how, trailers):
            digest.update(data)
            length += len(data)
        if s.buf:
            raise Malformed("bytes after the request")
        if o.bad_response is not None:
            await s.write(codecs.decode(o.bad_response, "unicode_escape").encode("latin-1"))
            return s.fin()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        if o.reset_mid:
            await s.write((head % 100000).encode() + b"x" * 50000)
            return s.rst()
        if o.window_abuse:      # one whole frame, larger than any window a fresh stream has
            n = MESSAGE - 12
            start = (head % n).encode()
            return await s.write(start + bytes(n - len(start)), abuse=True)
        answer = json.dumps({
            "preface": preface, "stream": s.id, "request_line": line, "headers": fields, "chunked": how == "chunked",
            "body_length": length, "body_sha256": digest.hexdigest(), "trailers": trailers}).encode() + b"\n"
        await s.write((head % len(answer)).encode() + (b"" if line.startswith("HEAD ") else answer))
        return None if o.no_fin else s.fin()

    async def dial(self):
        host, _, port = self.o.target.rpartition(":")
        return await asyncio.wait_for(asyncio.open_connection(host, int(port), limit=1 << 20), self.o.timeout)

    async def forward(self, sess, s, raw_head, line, how):
        """One exchange over a connection of its own to the local service."""
        async def local_error(code, why):
            await s.write(f"HTTP/1.1 {code} Local Service\r\nX-Tunnel-Error: {why}\r\n"
                          "Content-Length: 0\r\n\r\n".encode())
            s.fin()

        try:
            reader, writer = await self.dial()
        except (OSError, asyncio.TimeoutError) as e:
            return await local_error(*((504, "timeout") if isinstance(e, asyncio.TimeoutError) else (502, "refused")))

        async def upload():
            try:
                writer.write(raw_head)
                async for raw, _ in body(s, how, []):
                    writer.write(raw)
                    await writer.drain()
                while not s.may_fin:        # a reset, or the 101
                    if s.buf:
                        raise Malformed("bytes after the request")
                    if (s.got | s.sent) & RST:
                        raise Reset
                    await s.wait()
                while data := await s.read():
                    writer.write(data)
                    await writer.drain()
                writer.write_eof()
            except Reset:
                writer.transport.abort()
            except (Malformed, EOFError) as e:
                sess.violate(f"stream {s.id}: request: {e}")
            except ConnectionError:
                pass            # the response tells

        up, src, begun = asyncio.ensure_future(upload()), Local(reader), False
        try:
            status = 100
            while 100 <= status < 200 and status != 101:
                raw, first, fields = await read_head(src)
                if not re.match(r"HTTP/1\.[01] [1-5][0-9][0-9]( |$)", first):
                    raise Malformed(first)
                status = int(first[9:12])
                if status == 101:
                    s.may_fin = True
                    s.news.set()
                begun = True
                await s.write(b"HTTP/1.1" + raw[8:])
            how = "eof" if status == 101 else framing(fields, line.split(" ")[0], status)
            async for raw, _ in body(src, how, []):
                await s.write(raw)
            s.fin()
            if status == 101:
                await up
        except (Malformed, EOFError, ConnectionError):
            if begun:
                s.rst()
            else:
                await local_error(502, "protocol")
        finally:
            up.cancel()
            writer.close()
        return None

    async def raw_relay(self, s):
        if not self.o.target:       # echo
            while data := await s.read():
                await s.write(data)
            return s.fin()
        try:
            reader, writer = await self.dial()
        except (OSError, asyncio.TimeoutError):
            return s.rst()

        async def there():
            try:
                while data := await s.read():
                    writer.write(data)
                    await writer.drain()
                writer.write_eof()
            except (Reset, ConnectionError):
                writer.transport.abort()
        up = asyncio.ensure_future(there())
        try:
            while data := await reader.read(65536):
                await s.write(data)
            s.fin()
            await up
        except ConnectionError:
            s.rst()
        finally:
            up.cancel()
            writer.close()
        return None


# ---- the fake daemon -------------------------------------------------------

class Server:
    def __init__(self, o):
        self.o, self.count, self.rejected = o, 0, 0
        self.done = asyncio.get_running_loop().create_future()
        self.status, self.newest, self.arrival, self.live = 0, None, asyncio.Event(), set()

    async def main(self):
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.finish)
        loop.add_signal_handler(signal.SIGUSR1, self.reset_all)
        async with serve(self.session, "127.0.0.1", self.o.port, subprotocols=["tunnel.v1"], compression=None,
                         max_size=MESSAGE, ping_interval=None, close_timeout=5, process_request=self.request,
                         create_protocol=silent_if(WebSocketServerProtocol, self.o.no_pong)) as server:
            self.port = server.sockets[0].getsockname()[1]
            say(event="listening", port=self.port)
            await self.done
        return self.status

    def finish(self):
        if not self.done.done():
            self.done.set_result(None)

    def reset_all(self):
        for s in list(self.live):
            s.rst()

    def violate(self, what):
        say(event="violation", what=what)
        self.status = 1

    async def request(self, path, headers):
        o = self.o
        say(event="handshake", path=path, headers=list(headers.raw_items()), at=time.monotonic())
        parts, token = path.split("/"), headers.get("Authorization", "")
        if parts[:2] != ["", "_tunnel"] or len(parts) > 3 or len(parts) == 3 and not LABEL.fullmatch(parts[2]):
            self.violate(f"handshake path {path}")
        if "tunnel.v1" not in re.split(r"[ ,]+", ",".join(headers.get_all("Sec-WebSocket-Protocol"))):
            self.violate("subprotocol tunnel.v1 not offered")
        if not re.fullmatch(r"Bearer [!-~]+", token):
            self.violate("no bearer token")
        status = o.reject
        if o.token and token != "Bearer " + o.token:
            status = 401
        elif not status or o.reject_times and self.rejected >= o.reject_times:
            return None
        self.rejected += 1
        say(event="rejected", status=status)
        fields = {426: [("Sec-WebSocket-Version", "13")], 429: [("Retry-After", "1")], 503: [("Retry-After", "1")]}
        if o.accept_many is None and not o.reject_times:
            asyncio.get_running_loop().call_later(1, self.finish)
        return http.HTTPStatus(status), fields.get(status, []) + [("Content-Type", "text/plain")], b"rejected\n"

    async def session(self, ws):
        o, loop = self.o, asyncio.get_running_loop()
        self.count += 1
        number, sess = self.count, Session(ws, o, 2)
        last = o.accept_many is None or number == o.accept_many
        sess.hello, sess.listens, sess.readied = None, {}, []
        sess.ready, sess.opened = loop.create_future(), loop.create_future()

        def control(s):
            sess.stream = s
            s.post(WINDOW)
            sess.opened.set_result(None)
            sess.spawn(sess.control(s, lambda obj: self.on_control(sess, obj)))
        sess.on_stream = control
        run = asyncio.ensure_future(sess.run())
        sess.spawn(self.patience(sess))
        try:
            await asyncio.wait({sess.ready, run}, return_when=asyncio.FIRST_COMPLETED)
            if sess.ready.done() and not self.done.done():
                self.newest = sess
                self.arrival.set()
                if not (o.drain and number > 1):
                    await self.script(sess, last)
            code, reason = await run
        except (Reset, ConnectionClosed, asyncio.CancelledError, asyncio.TimeoutError) as e:
            if isinstance(e, asyncio.TimeoutError):
                self.violate("no answer in time")
                ws.transport.abort()
            code, reason = await run
        say(event="closed", code=code, reason=reason, session=number)
        if sess.violated:
            self.status = 1
        if last and not o.drain or self.status:
            self.finish()

    async def patience(self, sess):
        await asyncio.wait({sess.ready, sess.over}, timeout=self.o.timeout, return_when=asyncio.FIRST_COMPLETED)
        if not sess.ready.done() and not sess.over.done() and not self.o.silent:
            sess.violate("no listen in time")

    def on_control(self, sess, obj):
        o, op, lid = self.o, obj["op"], obj.get("id")
        reply = lambda **answer: sess.spawn(sess.line(sess.stream, answer))
        if sess.hello is None:
            if op != "hello":
                return "first object is no hello"
            for member, form in (("version", r"[!-~]+"), ("agent", r"[ -~]+"), ("instance", r"[0-9a-f]{16}"),
                                 ("endpoint", r"wss?://[!-~]+")):
                if not isinstance(obj.get(member), str) or not re.fullmatch(form, obj[member]):
                    return f"hello: {member}"
            sess.hello = obj
            reply(op="hello", version="1.0.0", domain=o.domain, ping=o.ping, future={"a": [1]})
        elif op == "listen":
            if type(lid) is not int or lid in sess.listens:
                return "listen: id"
            for flag in ("path", "share"):
                if type(obj.get(flag, False)) is not bool:
                    return f"listen: {flag}"
            if obj.get("kind") == "http":
                name = obj.get("name", "default")
                if not isinstance(name, str) or not LABEL.fullmatch(name):
                    return "listen: name"
                where = urlsplit(sess.hello["endpoint"])
                url = f"http{'s' if where.scheme == 'wss' else ''}://{name}.{o.domain}"
                answer = {"url": url + (f":{where.port}" if where.port else "")}
            elif obj.get("kind") == "tcp":
                if type(obj.get("port")) is not int or not 0 <= obj["port"] <= 65535:
                    return "listen: port"
                if obj.get("bind", "loopback") not in ("loopback", "public"):
                    return "listen: bind"
                answer = {"port": obj["port"] or 49999, "addr": f"127.0.0.1:{obj['port'] or 49999}"}
            else:
                return "listen: kind"
            sess.listens[lid] = obj
            if o.silent:
                return None
            if o.error:
                reply(op="error", id=lid, code=o.error, message=o.message)
            else:
                reply(op="ready", id=lid, **answer)
            sess.readied.append(obj)
            if len(sess.readied) == o.listens:
                sess.ready.set_result(None)
        elif op == "unlisten":
            if lid not in sess.listens:
                return "unlisten: id"
            reply(op="gone", id=lid)
        elif op != "error":
            if op == "hello" or not o.lenient:
                return "second hello" if op == "hello" else "unknown op"
            reply(op="error", code="unknown_op")
        elif obj.get("code") != "unknown_op":
            return "error"
        return None

    async def closed(self, sess, event):
        """The client is to end the session now."""
        await asyncio.wait({sess.over}, timeout=self.o.timeout)
        if not sess.over.done():
            self.violate(f"session still open after {event}")
            sess.ws.transport.abort()

    async def script(self, sess, last):
        o, tunnel = self.o, sess.readied[min(self.o.tunnel, len(sess.readied) - 1)]
        if o.error:
            return await self.closed(sess, "error") if not o.stay else None
        if not o.no_pong:
            sess.spawn(sess.liveness(o.ping))
        if o.unknown_op:
            await sess.line(sess.stream, {"op": "frobnicate", "id": 1})
            await sess.ping()
            say(event="ping_ok")
        if o.drain:
            await sess.line(sess.stream, {"op": "drain"})
        await self.requests(sess, tunnel)
        if o.drain:
            return await self.drained(sess)
        if last and o.accept_many:
            return await self.goodbye(sess)
        await sess.abuse()
        if o.gone:
            await sess.line(sess.stream, {"op": "gone", "id": tunnel["id"], "code": o.gone})
            if o.gone in ("revoked", "expired"):
                return await sess.end(1008, o.gone)
            return await self.closed(sess, "gone") if not o.stay else None
        if o.cut:
            await asyncio.wait_for(sess.drained(0), o.timeout)
            return sess.ws.transport.abort()
        if o.close:
            return await sess.close(int(o.close[0]), " ".join(o.close[1:]))
        if (o.no_pong or o.go_away is not None or o.text_message or o.oversize or o.bad_type
                or o.bad_version or o.syn_live or o.data_beyond_window):
            return await self.closed(sess, "a fault")
        if not o.stay:
            await self.goodbye(sess)
        return None

    async def goodbye(self, sess):
        if not sess.violated:
            await sess.end(1001, "shutting down")

    async def drained(self, first):
        """A second session of the same process, then go away 0 for the first."""
        while self.newest is first:
            self.arrival.clear()
            await asyncio.wait_for(self.arrival.wait(), self.o.timeout)
        second = self.newest
        if first.over.done():
            self.violate("session closed on drain")
        if second.hello["instance"] != first.hello["instance"]:
            self.violate("another instance after drain")
        first.post(frame(GOAWAY, 0, 0, 0))
        await asyncio.wait({first.over}, timeout=5)
        if not first.over.done():
            await first.close(1001)
        await self.requests(second, second.readied[min(self.o.tunnel, len(second.readied) - 1)])
        await self.goodbye(second)
        self.finish()

    async def requests(self, sess, tunnel):
        o, work = self.o, []
        for text in o.request:
            if tunnel["kind"] == "tcp":
                raw = codecs.decode(text, "unicode_escape").encode("latin-1")
            else:
                size = f"Content-Length: {o.body_size}\r\n" if o.body_size else ""
                raw = (f"{text} HTTP/1.1\r\nHost: {tunnel.get('name', 'default')}.{o.domain}\r\n{size}\r\n".encode()
                       + bytes(o.body_size))
            work += [raw] * o.streams
        for path in o.request_file:
            with open(path, "rb") as file:
                work += [file.read()] * o.streams
        if not work and (o.data_beyond_window or o.preface_bad or o.preface_long or o.preface_unknown_id):
            work = [f"GET / HTTP/1.1\r\nHost: {o.domain}\r\n\r\n".encode()]
        tasks = [sess.spawn(self.exchange(sess, tunnel, raw)) for raw in work]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=o.timeout)
            if late:
                sess.violate(f"{len(late)} exchanges without an end in time")

    async def exchange(self, sess, tunnel, raw):
        o, s, digest = self.o, sess.open(), hashlib.sha256()
        tcp = tunnel["kind"] == "tcp"
        preface = json.dumps({"id": 99 if o.preface_unknown_id else tunnel["id"], "peer": "203.0.113.7:51234"})
        if o.preface_bad:
            preface = "{this is no JSON"
        if o.preface_long:
            preface = preface[:-1] + ', "pad": "' + "x" * 8000 + '"}'
        result = {"event": "response", "stream": s.id, "request": raw.split(b"\r\n")[0].decode("latin-1")[:200],
                  "status": None, "head": [], "interim": [], "body_length": 0, "trailers": [], "end": "reset"}
        self.live.add(s)
        head, blank, rest = raw.partition(b"\r\n\r\n")
        waits = not tcp and re.search(rb"\r\nexpect: *100-continue", head, re.I)

        async def send(data, fin=False):
            await s.write(data)
            if fin:
                s.fin()
        if o.data_beyond_window:
            await s.write((preface + "\n").encode() + raw + bytes(INITIAL + 1), abuse=True)
        else:
            first = (preface + "\n").encode() + (head + blank if waits else raw)
            sess.spawn(send(first, tcp))
        try:
            how, status = "eof", None
            while not tcp and (status is None or 100 <= status < 200 and status != 101):
                _, line, fields = await read_head(s)
                if not re.fullmatch(r"HTTP/1\.1 [1-5][0-9][0-9]( .*)?", line):
                    raise Malformed(f"status line {line!r}")
                status = int(line[9:12])
                if status < 200 and status != 101:
                    result["interim"].append(status)
                    if status == 100 and waits:
                        sess.spawn(send(rest))
                else:
                    result.update(status=status, head=[line] + [f"{n}: {v}" for n, v in fields])
                    how = framing(fields, raw.split(b" ")[0].decode(), status)
                    o.progress and say(event="head", stream=s.id, status=status)
            if status == 101:
                how = "eof"
                sess.spawn(send(codecs.decode(o.after_101, "unicode_escape").encode("latin-1"), True))
            async for _, data in body(s, how, result["trailers"]):
                digest.update(data)
                result["body_length"] += len(data)
                o.progress and data and say(event="data", stream=s.id, total=result["body_length"])
                if o.rst_after is not None and result["body_length"] >= o.rst_after:
                    s.rst()
                    result["end"] = "reset by us"
                    raise Reset
                if s.budget == 0 and s.recv_window == 0 and not s.buf:      # all that was granted is used up
                    say(event="window_full", stream=s.id, received=s.received)
                    await sess.ping()                                       # time for an overrun to show
                    s.budget = None
                    s.took(0)
            if await asyncio.wait_for(s.read(1), o.timeout):
                raise Malformed("bytes after the response")
            result["end"] = "fin"
            if not o.no_final_fin:
                s.fin()     # both sides now forget the stream
        except Reset:
            if s.sent & RST:
                result["end"] = "reset by us"
        except asyncio.TimeoutError:
            sess.violate(f"stream {s.id}: no FIN after the response")
        except (Malformed, EOFError) as e:
            sess.violate(f"stream {s.id}: response: {e}")
            result["end"] = "malformed"
        result.update(sha256=digest.hexdigest(), received=s.received)
        self.live.discard(s)
        print(json.dumps(result), flush=True)


def options():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    roles = top.add_subparsers(dest="role", required=True)
    client, server = roles.add_parser("client"), roles.add_parser("server")
    for p in (client, server):
        a = p.add_argument
        a("--timeout", type=float, default=120, help="for each wait (120 s)")
        a("--life", type=float, default=600, help="the whole process ends after this (600 s)")
        a("--no-pong", action="store_true", help="answer and send no pings")
        a("--tiny-frames", action="store_true", help="1-byte frames, several a message, cut across messages")
        a("--slow-window", action="store_true", help="grant windows in steps of 1 KiB")
        a("--lenient", action="store_true",
          help="no violations: frames cut across messages, unknown ops and streams, SYN on wrong ids, no ACK")
        a("--quiet", action="store_true", help="no stream and reset events")
        a("--stay", action="store_true", help="leave the end of the session to the far end")
        a("--go-away", type=int, metavar="N", help="send go away N")
        for flag, text in (("text-message", "a text message"), ("oversize", "a message over 1 MiB"),
                           ("bad-type", "a frame of type 9"), ("bad-version", "a frame of version 7"),
                           ("syn-live", "SYN on stream 1 again"), ("syn-own", "SYN on an id that may not be"),
                           ("data-unknown-stream", "frames for streams that never were")):
            a("--" + flag, action="store_true", help="send " + text)
    a = client.add_argument
    a("--endpoint", required=True)
    a("--token", default="")
    a("--name")
    a("--target", metavar="HOST:PORT")
    a("--canned", action="store_true", help="answer with a description of the request (default without --target)")
    a("--instance", metavar="HEX")
    a("--kind", choices=("http", "tcp"), default="http")
    a("--port", type=int, default=0)
    a("--bind", choices=("loopback", "public"), default="loopback")
    a("--listen", action="append", default=[], metavar="JSON", help="a further listen object")
    a("--no-listen", action="store_true", help="send no listen of its own")
    a("--ws-path", help="in place of /_tunnel/NAME")
    a("--subprotocol", default="tunnel.v1")
    a("--connect", metavar="HOST:PORT", help="dial this in place of the endpoint's address")
    a("--cafile")
    a("--after-ready", action="append", default=[], metavar="LINE", help="a control line to send after ready")
    a("--garbage-control", action="append", default=[], metavar="LINE", help="sent on stream 1 after listen")
    a("--bad-response", metavar="TEXT", help="raw bytes in place of a response, then FIN")
    for flag in ("share", "path", "window-abuse", "reset-streams", "reset-mid", "never-answer", "never-ack",
                 "late-ack", "no-read", "no-fin", "follow-drain"):
        a("--" + flag, action="store_true")
    client.set_defaults(window=None)
    a = server.add_argument
    a("--port", type=int, default=0)
    a("--token")
    a("--domain", default="tunnel.example.com")
    a("--ping", type=int, default=30, help="announced in hello")
    a("--request", action="append", default=[], metavar="'GET /path'", help="tcp tunnels: raw bytes, with escapes")
    a("--request-file", action="append", default=[])
    a("--body-size", type=int, default=0, help="zero bytes as the body of each --request")
    a("--streams", type=int, default=1, help="each request this many times at once")
    a("--listens", type=int, default=1, help="listens to wait for before the script begins")
    a("--tunnel", type=int, default=0, help="index of the listen that gets the requests")
    a("--after-101", default="", metavar="TEXT", help="sent after a 101, then FIN")
    a("--rst-after", type=int, metavar="BYTES")
    a("--reject", type=int, metavar="STATUS")
    a("--reject-times", type=int, default=0, metavar="N", help="only the first N handshakes")
    a("--error", choices=sorted(CODES), metavar="CODE")
    a("--message", default="asked for by the test", help="of that error")
    a("--gone", metavar="CODE")
    a("--close", nargs="+", metavar=("CODE", "REASON"))
    a("--cut", action="store_true", help="cut the connection without a close")
    a("--window", type=int, metavar="N", help="grant only N bytes beyond the first window until it is used up")
    a("--accept-many", type=int, nargs="?", const=0, metavar="N",
      help="run the script for N sessions (else for ever), without its faults in the last")
    for flag in ("drain", "no-final-fin", "silent", "data-beyond-window", "unknown-op", "progress", "preface-bad", "preface-long",
                 "preface-unknown-id"):
        a("--" + flag, action="store_true")
    return top.parse_args()


async def main(o):
    peer = (Client if o.role == "client" else Server)(o)
    try:
        return await asyncio.wait_for(peer.main(), o.life)
    except asyncio.TimeoutError:
        say(event="life_over")
        return 3

if __name__ == "__main__":
    sys.exit(asyncio.run(main(options())))
