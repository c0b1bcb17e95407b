"""wsproxy's dialect from both sides, written from the protocol alone (../shared/protocols/wsproxy.md): a server, a tunnel
client that speaks text as the server does, and one with the habits of the real browser client (12).

    wsproxy.py server [--domain D] [--token T ...] ...     /health, /relay, /tunnel and the tunnels' hosts (1 to 10)
    wsproxy.py text URL [--target HOST:PORT] ...           /tunnel with text control messages
    wsproxy.py wasm URL [--target HOST:PORT] ...           /tunnel as gossh-wasm does it

URL is that of /tunnel.  A client's target is the local service for HTTP and for raw connections; without one there are
two of its own: an HTTP service whose answer tells what it got, and a TCP service (see the class Local).  All print JSON
lines.  What a good server does not send (9, 15) is a violation; --original allows what wsproxy itself sends.
"""
import argparse
import asyncio
import base64
import collections
import hashlib
import json
import random
import re
import sys
from urllib.parse import parse_qsl, quote_plus, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.legacy.client import connect

import stopping

LIMIT = 10485760        # bytes of a message to the server, and of a body
PIECE = 4096            # bytes of a message from the real browser client
BUFFER = 65536          # its read buffer
HEX12 = re.compile("[0-9a-f]{12}")
SECRET_FIELDS = {"cookie", "authorization", "proxy-authorization", "set-cookie", "x-csrf-token", "x-xsrf-token"}
HOP = {"connection", "upgrade", "keep-alive", "transfer-encoding", "te", "trailer", "proxy-authorization", "proxy-connection"}


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def go_json(obj, **more):
    """As Go's encoder writes it."""
    text = json.dumps(obj, separators=(",", ":"), ensure_ascii=False, **more)
    for c in "&<>\u2028\u2029":
        text = text.replace(c, f"\\u{ord(c):04x}")
    return text


def frame(conn, data):
    return len(conn).to_bytes(4, "big") + conn.encode() + data


def unframe(data, longest):
    """(connId, payload) of a data frame, or None."""
    n = int.from_bytes(data[:4], "big")
    if len(data) < 4 or not 1 <= n <= longest or 4 + n > len(data):
        return None
    return data[4:4 + n].decode("latin-1"), data[4 + n:]


def parse_target(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def shut(writer):
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass


class Local:
    """The services behind a client that was given none.

    HTTP: the answer describes the request; X-Size asks for so many bytes instead, X-Type for their type, X-Status for a
    status, X-Chunked for chunks.  TCP: the first line may be GIVE N (N bytes of pattern(), and the end), TAKE N (N bytes
    are read; their SHA-256, and the end), FIRST (a banner, then echo); anything else comes back.
    """

    @staticmethod
    def pattern(n):
        return random.Random(7).randbytes(n)

    async def http(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = [tuple(line.split(": ", 1)) for line in head.split("\r\n")[1:-2]]
            get = {k.lower(): v for k, v in fields}.get
            body = await reader.readexactly(int(get("content-length", "0")))
            say("served", line=head.split("\r\n", maxsplit=1)[0], fields=fields, length=len(body))
            answer = json.dumps({"line": head.split("\r\n", maxsplit=1)[0], "fields": fields, "length": len(body),
                                 "body": body.decode("latin-1") if len(body) < 4096 else None,
                                 "sha256": hashlib.sha256(body).hexdigest()}).encode()
            if size := get("x-size"):
                answer = self.pattern(int(size))
            more, kind = f"Content-Length: {len(answer)}", get("x-type", "application/octet-stream" if size else "application/json")
            if get("x-chunked"):
                more, answer = "Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer), answer)
            writer.write(f"HTTP/1.1 {get('x-status', '200')} Any\r\nContent-Type: {kind}\r\nX-App: 1\r\nX-App: 2\r\n"
                         f"Set-Cookie: a=b\r\n{more}\r\nConnection: close\r\n\r\n".encode()
                         + (b"" if head.startswith("HEAD ") else answer))
            await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            await shut(writer)

    async def tcp(self, reader, writer):
        try:
            data = await reader.read(65536)
            word, _, rest = data.partition(b"\n")
            name, _, n = word.decode("latin-1").partition(" ")
            if name == "GIVE":
                writer.write(self.pattern(int(n)))
            elif name == "TAKE":
                rest += await reader.readexactly(int(n) - len(rest))
                writer.write(hashlib.sha256(rest).hexdigest().encode())
            else:
                writer.write(b"SSH-2.0-x\r\n" if name == "FIRST" else data)
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            say("tcp_target_ends")
            await shut(writer)

    @classmethod
    async def start(cls):
        local = cls()
        servers = [await asyncio.start_server(f, "127.0.0.1", 0, limit=1 << 20) for f in (local.http, local.tcp)]
        return ["127.0.0.1:%d" % s.sockets[0].getsockname()[1] for s in servers]


class Raw:
    """A raw connection, or on its way to be one: what came for its target waits here."""

    def __init__(self):
        self.queue, self.writer, self.task, self.up = collections.deque(), None, None, False
        self.came = asyncio.Event()

    def put(self, data):
        self.queue.append(data)
        self.came.set()

    def end(self):
        if self.task:
            self.task.cancel()


class Client:
    """What both kinds of tunnel client have in common."""

    BODIES = {"": lambda text: text.encode(), "base64": lambda text: base64.b64decode(text, validate=True)}

    def __init__(self, o):
        self.o, self.ws, self.raws, self.seen, self.tasks, self.started = o, None, {}, 0, set(), False
        self.http, self.tcp = o.target, o.tcp or o.target

    def spawn(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def exchange(self, lines, body):
        """A request to the local service; everything it answers."""
        reader, writer = await asyncio.open_connection(*parse_target(self.http), limit=1 << 20)
        try:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
            data = b""
            while (more := await reader.read(65536)) and len(data) <= LIMIT + 65536:
                data += more
            return data
        finally:
            await shut(writer)

    @staticmethod
    def read_response(data, dechunk):
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields[name] = value.strip(" \t")
        coding = {k.lower(): v for k, v in fields.items()}.get("transfer-encoding")
        if dechunk and coding == "chunked":
            plain, at = b"", 0
            while size := int(body[at:body.index(b"\r\n", at)], 16):
                at = body.index(b"\r\n", at) + 2
                plain, at = plain + body[at:at + size], at + size + 2
            body = plain
        return int(lines[0].split(" ")[1]), fields, body

    async def run(self):
        if not self.http:
            self.http, self.tcp = await Local.start()
        try:
            # pylint: disable=no-member
            self.ws = await connect(self.url(), extra_headers=self.fields(), max_size=self.MESSAGE, max_queue=self.QUEUED,
                                    ping_interval=None, close_timeout=10, compression=None)
        except (InvalidHandshake, InvalidMessage, OSError, EOFError, asyncio.TimeoutError) as e:
            say("failed", what=repr(e), status=getattr(e, "status_code", None))
            return 1
        if self.o.no_pong:
            self.ws.pong = self.no_pong
        h = self.ws.response_headers
        say("open", extensions=h.get("Sec-WebSocket-Extensions"), protocol=h.get("Sec-WebSocket-Protocol"))
        try:
            async for message in self.ws:
                await self.take(message)
        except ConnectionClosed:
            pass
        for raw in list(self.raws.values()):
            raw.end()
        say("closed", code=self.ws.close_code or 1006, reason=self.ws.close_reason or "")
        return 0

    async def no_pong(self, *_):
        pass

    async def stop(self):
        if self.ws and self.ws.open:
            await self.ws.write_frame(True, 8, b"")     # no code: 1005
            try:
                await asyncio.wait_for(self.ws.wait_closed(), 5)
            except asyncio.TimeoutError:
                say("violation", what="no answer to a close frame")


class TextClient(Client):
    """A client as the server has them in mind.  X-Do in a request asks for something else: see the do_ functions."""

    MESSAGE, QUEUED = None, 32

    def __init__(self, o):
        super().__init__(o)
        self.held = []

    def url(self):
        if self.o.token and not self.o.bearer:
            return self.o.url + ("&" if "?" in self.o.url else "?") + "token=" + quote_plus(self.o.token)
        return self.o.url

    def fields(self):
        fields = {"Origin": self.o.origin} if self.o.origin else {}
        if self.o.bearer:
            fields["Authorization"] = "Bearer " + self.o.token
        return fields

    # what a good server sends

    def judge(self, m):
        keys = {"tunnel_ready": ["type", "tunnelUrl", "rawPort"], "tcp_open": ["type", "connId"], "tcp_close": ["type", "connId"],
                "http_request": ["type", "id", "method", "path", "headers", "body", "bodyEncoding"]}.get(m.get("type"))
        if not keys or [k for k in keys if k != "bodyEncoding" or k in m] != list(m):
            return "type and keys, in order"
        if (m["type"] == "tunnel_ready") == self.started:
            return "tunnel_ready is the first message, and sent once"
        if m["type"] == "tunnel_ready":
            port = m["rawPort"]
            if not re.fullmatch(r"(https?://[0-9a-f]{16}\.[^/ ]+)?", m["tunnelUrl"]) or type(port) is not int or not 0 <= port < 65536:
                return "tunnelUrl or rawPort"
            return None
        if not HEX12.fullmatch(m.get("id", m.get("connId"))):
            return "an id is 12 hexadecimal digits"
        return self.judge_request(m) if m["type"] == "http_request" else None

    def judge_request(self, m):
        h, text = m["headers"], m["body"]
        coding = m.get("bodyEncoding")
        if not all(isinstance(v, str) for v in (m["method"], m["path"], text, *h.values())):
            return "a value that is no string"
        if not re.fullmatch(r"[!-~]+", m["path"]) or m["path"][0] != "/" and (m["method"], m["path"]) != ("OPTIONS", "*"):
            return "the path is no origin-form"
        if coding not in (None, "base64") or coding and not text:
            return "bodyEncoding"
        if coding and base64.b64encode(base64.b64decode(text, validate=True)).decode() != text:
            return "base64 that is not canonical"
        for name, value in h.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
                return f"field {name!r}"
            if name != "-".join(s[:1].upper() + s[1:].lower() for s in name.split("-")):
                return f"{name} is not in its canonical case"
            if name.lower() in SECRET_FIELDS | {"host", "transfer-encoding"}:
                return f"{name} is sent"
            if not self.o.original and name.lower() in HOP | {"content-length"}:
                return f"{name} is sent"
        return None

    async def take(self, message):
        if isinstance(message, bytes):
            return self.data(message)
        try:
            m = json.loads(message)
            wrong = self.judge(m)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            wrong = repr(e)
        if wrong:
            return say("violation", what=wrong, message=repr(message)[:2000])
        if m["type"] == "tunnel_ready":
            self.started = True
            say("ready", url=m["tunnelUrl"], port=m["rawPort"])
        elif m["type"] == "http_request":
            self.seen += 1
            say("request", n=self.seen, id=m["id"], method=m["method"], path=m["path"], headers=m["headers"],
                encoding=m.get("bodyEncoding"), length=len(message))
            do = {k.lower(): v for k, v in m["headers"].items()}.get("x-do")
            self.spawn(getattr(self, "do_" + do)(m) if do else self.answer(m))
        elif m["type"] == "tcp_open":
            if m["connId"] in self.raws:
                say("violation", what="a connId that is in use", message=message)
            raw = self.raws[m["connId"]] = Raw()
            say("tcp_open", conn=m["connId"])
            raw.task = self.spawn(self.connection(m["connId"], raw))
        elif raw := self.raws.get(m["connId"]):
            say("tcp_close", conn=m["connId"])
            raw.put(None)
        return None

    # raw connections

    def data(self, message):
        conn, data = unframe(message, 64) or ("", b"")
        raw = self.raws.get(conn)
        if not HEX12.fullmatch(conn) or not 0 < len(data) <= 32768:
            say("violation", what="data frame", message=repr(message[:100]), length=len(message))
        elif raw:
            raw.put(data)

    async def connection(self, conn, raw):
        close = {"type": "tcp_close", "connId": conn}
        try:
            reader, raw.writer = await asyncio.open_connection(*parse_target(self.tcp))
            ends = [asyncio.ensure_future(self.outward(raw)), asyncio.ensure_future(self.inward(conn, raw, reader))]
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if ends[0] in done and not ends[1].done():      # the visitor has ended; what the target still says is of no use
                ends[1].cancel()
            ends[0].cancel()
        except OSError as e:
            say("tcp_failed", conn=conn, what=repr(e))
        finally:
            if self.raws.get(conn) is raw:
                del self.raws[conn]
            if raw.writer:
                raw.writer.close()
            if self.ws.open:
                await self.send(close)

    @staticmethod
    async def outward(raw):
        while True:
            while raw.queue:
                if (data := raw.queue.popleft()) is None:
                    return
                raw.writer.write(data)
                await raw.writer.drain()
            raw.came.clear()
            await raw.came.wait()

    async def inward(self, conn, raw, reader):
        try:
            while data := await reader.read(self.o.read):
                await self.ws.send(frame(conn, data))
        except (OSError, ConnectionClosed):
            raw.put(None)

    # HTTP

    async def send(self, m):
        try:
            await self.ws.send(go_json(m))
        except ConnectionClosed:
            pass

    async def respond(self, m, status=200, headers=None, body=b"", **more):
        await self.send({"type": "http_response", "id": m["id"], "status": status, "headers": headers or {},
                         "body": base64.b64encode(body).decode(), "bodyEncoding": "base64", **more})

    async def answer(self, m):
        body = self.BODIES[m.get("bodyEncoding", "")](m["body"])
        lines = [f"{m['method']} {m['path']} HTTP/1.1", "Host: " + self.http, "Connection: close"]
        lines += [f"{k}: {v}" for k, v in m["headers"].items() if k.lower() not in HOP | {"content-length"}]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        try:
            status, fields, data = self.read_response(await self.exchange(lines, body), True)
            await self.respond(m, status, fields, data)
        except (OSError, ValueError, IndexError) as e:
            say("failed", what=repr(e))
            await self.respond(m, 502, {"Content-Type": "text/plain"}, b"upstream connection failed")

    async def do_raw(self, m):
        """The request's content is the message's text, ID in it the request's; sent as X-How says."""
        text = self.BODIES[m.get("bodyEncoding", "")](m["body"]).replace(b"ID", m["id"].encode())
        if m["headers"].get("X-How") == "binary":
            await self.ws.send(text)
        elif m["headers"].get("X-How") == "fragments":
            await self.ws.write_frame(False, 1, text[:len(text) // 2])
            await self.ws.ping(b"between")
            await self.ws.write_frame(True, 0, text[len(text) // 2:])
        else:
            await self.ws.write_frame(True, 1, text)

    async def do_junk(self, m):
        """E9's frames, and what else is to be ignored (8); then the answer."""
        for data in (bytes.fromhex("0000000001"), b"\0\0\0\x41" + b"a" * 65, bytes.fromhex("0000000c3031"), b"", b"\0\0\0",
                     frame("0123456789ab", b"nobody's"), frame("0123456789ab", b""), b"\xff" * 100):
            await self.ws.send(data)
        good = {"type": "http_response", "id": m["id"], "status": 299, "headers": {}, "body": ""}
        for bad in ("", "junk", "null", "5", "[]", "{}", "{", '"x"', "[" * 5000, '{"type":"hello"}', '{"type":5}', go_json([good]),
                    go_json({**good, "type": "http_request"}), go_json({**good, "id": m["id"].upper() + "x"}),
                    go_json({**good, "id": "0123456789ab" if m["id"] != "0123456789ab" else "ba9876543210"}),
                    go_json({**good, "id": 5}), go_json({**good, "status": "200"}), go_json({**good, "headers": []}),
                    go_json({**good, "headers": {"X": 5}}), go_json({**good, "body": {}}), go_json({**good, "bodyEncoding": 1}),
                    '{"type":"tcp_close","connId":"0123456789ab"}', '{"type":"tcp_close","connId":"x"}', '{"type":"tcp_open"}'):
            await self.ws.write_frame(True, 1, bad.encode())
        await self.answer(m)

    async def do_silent(self, _):
        pass

    async def do_hold(self, m):
        self.held.append(m)

    async def do_release(self, m):
        """Answer those that are held, the last one first, and then this."""
        while self.held:
            await self.answer(self.held.pop())
        await self.answer(m)

    async def do_twice(self, m):
        await self.answer(m)
        await self.respond(m, 500)

    async def do_lenient(self, m):
        """Names of keys in any case, unknown ones, and the last of two."""
        await self.ws.send('{"TYPE":"http_response","Id":"%s","extra":[1,{"id":5}],"STATUS":500,"status":203,"Body":"x",'
                           '"body":"ok"}' % m["id"])

    async def do_huge(self, m):
        """A message of X-Size bytes."""
        start = '{"type":"http_response","id":"%s","status":200,"headers":{},"body":"' % m["id"]
        await self.ws.send(start + "h" * (int(m["headers"]["X-Size"]) - len(start) - 2) + '"}')

    async def do_close(self, m):
        await self.ws.close(int(m["headers"].get("X-Code", "1000")), "mid-request")

    async def do_cut(self, _):
        self.ws.transport.abort()

    async def do_deaf(self, m):
        """Reads nothing more."""
        await self.answer(m)
        self.ws.transport.pause_reading()


class WasmClient(Client):
    """gossh-wasm on /tunnel (12), habit for habit."""

    MESSAGE, QUEUED = 8 << 20, 4096

    def __init__(self, o):
        super().__init__(o)
        self.sending, self.handlers = asyncio.Lock(), 0

    def url(self):
        where = urlsplit(self.o.url)
        query = parse_qsl(where.query, keep_blank_values=True) + ([("token", self.o.token)] if self.o.token else [])
        return where._replace(query="&".join(f"{quote_plus(k)}={quote_plus(v)}" for k, v in sorted(query, key=lambda q: q[0]))).geturl()

    def fields(self):
        return {"Origin": self.o.origin or "https://app.example.com"}

    async def write(self, data):
        """A write: consecutive binary messages of a piece each, and the rest."""
        async with self.sending:
            try:
                for at in range(0, len(data), PIECE):
                    await self.ws.send(data[at:at + PIECE])
            except ConnectionClosed:
                pass

    async def control(self, m):
        await self.write(go_json(m, sort_keys=True).encode())

    async def take(self, message):
        if isinstance(message, str):
            return say("text_ignored", length=len(message))
        if len(message) > BUFFER:
            say("cut_message", length=len(message))     # the rest is lost
            message = message[:BUFFER]
        if not message:
            return None
        if message.lstrip(b" \t\r\n")[:1] != b"{":
            return self.data(message)
        try:
            m = json.loads(message)
        except ValueError:
            return say("json_lost", length=len(message))
        if not self.started:
            self.started = m.get("type") == "tunnel_ready"
            if not self.started:
                return say("violation", what="the first binary message is no tunnel_ready", message=repr(message[:200]))
            say("ready", url=m["tunnelUrl"], port=m["rawPort"], control=list(m))
        elif m.get("type") == "http_request":
            self.seen += 1
            say("request", n=self.seen, id=m["id"], method=m["method"], path=m["path"], headers=m["headers"], length=len(message),
                encoding=m.get("bodyEncoding"))
            self.spawn(self.handle(m))
        elif m.get("type") == "tcp_open":
            say("tcp_open", conn=m["connId"])
            raw = self.raws[m["connId"]] = Raw()
            raw.task = self.spawn(self.connection(m["connId"], raw))
        return None     # a tcp_close it does not know

    # HTTP

    async def handle(self, m):
        if self.handlers >= 100:
            return await self.respond(m["id"], 503, {}, b"too many concurrent requests")
        self.handlers += 1
        try:
            return await self.forward(m)
        finally:
            self.handlers -= 1

    async def forward(self, m):
        await asyncio.sleep(self.o.http_dial / 1000)
        body = m.get("body", "").encode()   # whatever its bodyEncoding
        bad = re.compile(r"[\x00-\x20\x7f]")
        if bad.search(m["method"]) or bad.search(m["path"]) or any(re.search("[\r\n]", k + v) for k, v in m["headers"].items()):
            return await self.respond(m["id"], 400, {}, b"invalid forwarded request")
        lines = [f"{m['method']} {m['path']} HTTP/1.1", "Host: " + self.http]
        lines += [f"{k}: {v}" for k, v in m["headers"].items() if k.lower() not in HOP | {"host"}]
        lines += ["Connection: close"] + ([f"Content-Length: {len(body)}"] if body else [])
        try:
            data = await self.exchange(lines, body)
            status, fields, body = self.read_response(data, False)
        except (OSError, ValueError, IndexError) as e:
            say("failed", what=repr(e))
            return await self.respond(m["id"], 502, {}, b"upstream connection failed" if isinstance(e, OSError) else b"read failed")
        return await self.respond(m["id"], status if 100 <= status <= 599 else 200, fields, body[:LIMIT])

    async def respond(self, ident, status, fields, body):
        kind = {k.lower(): v for k, v in fields.items()}.get("content-type", "text").lower()
        plain = any(word in kind for word in ("text", "json", "xml", "javascript", "html"))
        await self.control({"type": "http_response", "id": ident, "status": status, "headers": fields,
                            "body": body.decode("utf-8", "replace") if plain else base64.b64encode(body).decode(),
                            "bodyEncoding": "" if plain else "base64"})

    # raw connections

    def data(self, message):
        if not self.started:
            return say("violation", what="data before tunnel_ready", message=repr(message[:100]))
        conn, data = unframe(message, 256) or ("", b"")
        raw = self.raws.get(conn)
        if not raw or not raw.up:
            return say("data_lost", conn=conn, length=len(data))    # silently, as the user sees it
        if len(raw.queue) >= 256:
            say("overload", conn=conn)
            return raw.end()
        return raw.put(data)

    async def connection(self, conn, raw):
        pump = None
        try:
            await asyncio.sleep(self.o.dial / 1000)
            reader, raw.writer = await asyncio.open_connection(*parse_target(self.tcp))
            raw.up = True
            say("tcp_up", conn=conn)
            pump = self.spawn(TextClient.outward(raw))
            while data := await reader.read(self.o.read):
                await self.write(frame(conn, data))
        except OSError as e:
            say("tcp_failed", conn=conn, what=repr(e))
        finally:
            if pump:
                pump.cancel()
            if raw.writer:
                raw.writer.close()
            if self.raws.get(conn) is raw:
                del self.raws[conn]
            if self.ws.open:
                await self.control({"type": "tcp_close", "connId": conn})


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in ("text", "wasm"):
        a = kinds.add_parser(kind).add_argument
        a("url", help="of /tunnel")
        a("--token", help="sent in the query")
        a("--bearer", action="store_true", help="sent as Authorization (text)")
        a("--origin", help="the page's (wasm: https://app.example.com)")
        a("--target", metavar="HOST:PORT", help="the local service; without it there are own ones, see Local")
        a("--tcp", metavar="HOST:PORT", help="another one for raw connections")
        a("--no-pong", action="store_true")
        a("--original", action="store_true", help="the server is wsproxy itself")
        a("--dial", type=int, default=300, metavar="MS", help="what a dial takes; data is lost meanwhile (wasm: 300)")
        a("--http-dial", type=int, default=0, metavar="MS")
        a("--read", type=int, default=32768, metavar="N", help="bytes read from a raw target at once")
    a = kinds.add_parser("server").add_argument
    a("--port", type=int, default=0)
    a("--domain", default="", help="TUNNEL_DOMAIN; here the URLs are http:// with our port")
    a("--ports", default="", metavar="MIN-MAX", help="TUNNEL_PORT_MIN and _MAX, which is excluded; without: any free ones")
    a("--token", action="append", default=[], metavar="WHO=TOKEN", help="who is let in; without: everybody")
    a("--origins", default="*", metavar="LIST", help="ALLOWED_ORIGINS")
    a("--blocked", metavar="CIDR,...", help="BLOCKED_TARGETS; , is none, and loopback is open then")
    a("--conns-per-ip", type=int, default=10)
    a("--conns-per-user", type=int, default=20)
    a("--ping", type=float, default=30, metavar="SECONDS", help="between pings")
    a("--close-frames", action="store_true", help="1000 relay ended at a relay's end, where wsproxy cuts")
    return parser.parse_args()


async def main(o):
    if o.kind == "server":
        from wsproxyd import Server    # pylint: disable=import-outside-toplevel
        actor = Server(o)
    else:
        actor = TextClient(o) if o.kind == "text" else WasmClient(o)
    running = asyncio.ensure_future(actor.run())
    if await stopping.first(running):
        return running.result()
    await actor.stop()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
