"""Independent servers of the message dialects, from ../shared/protocols/pipegate.md and bifrost.md alone, with the
originals' weaknesses, on python3-websockets.

usage: msgserver.py pipegate|bifrost [option...]

Callers come to one port and clients to another.  What a good client never sends is a violation.  A caller's path that
begins with /_ctl/ is for the test: see Server.control.  Prints JSON lines.
"""
import argparse
import asyncio
import base64
import binascii
import json
import re
import sys
import uuid
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

import jwt
import websockets
from websockets.exceptions import ConnectionClosed

import stopping

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TEXT = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
NO_TAB = re.compile(r"[^\t]*")         # what h11 takes for certain
HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
SINGLE = {"age", "authorization", "content-length", "content-type", "etag", "expires", "from", "host", "if-modified-since",
          "if-unmodified-since", "last-modified", "location", "max-forwards", "proxy-authorization", "referer", "retry-after",
          "server", "user-agent"}


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


class Bad(Exception):
    """What a good client does not send."""


def pairs_once(pairs):
    if len({k for k, _ in pairs}) < len(pairs):
        raise Bad(f"a key twice: {[k for k, _ in pairs]}")
    return dict(pairs)


def need(ok, what):
    if not ok:
        raise Bad(what)


def judge_fields(fields, status, method, body):
    """[(name, value)] of an answer."""
    for name, value in fields:
        need(isinstance(value, str), f"value of {name} is no string")
        need(TOKEN.fullmatch(name) and TEXT.fullmatch(value), f"field {name!r}: {value!r}")
        need(name.lower() not in HOP, f"hop-by-hop {name}")
    length = [v for n, v in fields if n.lower() == "content-length"]
    need(len(length) <= 1, "several lengths")
    if length and method != "HEAD" and status != 304:
        need(length[0] == str(len(body)), f"content-length {length} for {len(body)} bytes")


def judge_body(text):
    need(isinstance(text, str), "body is no string")
    try:
        body = base64.b64decode(text, validate=True)
    except binascii.Error as e:
        raise Bad(f"body: {e}") from None
    need(base64.b64encode(body).decode() == text, "base64 that is not canonical")
    return body


class Caller:
    """A request from the public side."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.fields, self.body = reader, writer, [], b""

    async def read(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.method, self.target, _ = head[0].split(" ")
        self.fields = [(l.partition(":")[0].lower(), l.partition(":")[2].strip()) for l in head[1:] if l]
        if self.get("transfer-encoding"):
            while size := int((await self.reader.readline()).strip() or b"0", 16):
                self.body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
        elif self.get("content-length"):
            self.body = await self.reader.readexactly(int(self.get("content-length")))

    def get(self, name):
        return next((v for n, v in self.fields if n == name), None)

    def send(self, status, fields, body):
        names = {n.lower() for n, _ in fields}
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else 'Unknown'}"]
        if "content-length" not in names and status not in (204, 304):
            fields = fields + [("content-length", "0" if self.method == "HEAD" else str(len(body)))]
        lines += [f"{n}: {v}" for n, v in fields] + ["connection: close", "", ""]
        bare = self.method == "HEAD" or status in (204, 304)
        self.writer.write("\r\n".join(lines).encode("latin-1") + (b"" if bare else body))


class Server:
    limit = 0

    def __init__(self, o):
        self.o, self.clients, self.waiting, self.tasks, self.lost, self.opened = o, [], {}, set(), set(), 0

    # clients

    async def serve(self, ws, path):
        self.opened += 1
        ws.number, ws.ident = self.opened, self.ident(path)
        refused = self.refuse_open(ws, path)
        if refused is not None:
            say("refused", reason=refused)
            await ws.close(1008, refused)
            return
        self.clients.append(ws)
        say("connected", n=ws.number, path=path.partition("token=")[0], ident=ws.ident,
            fields={k.lower(): v for k, v in ws.request_headers.items()
                    if k.lower() in ("x-pipegate-max-message", "user-agent", "sec-websocket-protocol", "sec-websocket-extensions")})
        self.joined(ws)
        try:
            while True:
                self.take(ws, await ws.recv())
                if ws.deaf:
                    await asyncio.Event().wait()
        except ConnectionClosed:
            pass
        self.clients.remove(ws)
        self.left(ws)
        say("closed", n=ws.number, code=ws.close_code or 1006)

    def take(self, ws, raw):
        try:
            need(isinstance(raw, str), "a binary message")
            need(len(raw.encode()) < self.limit, f"a message of {len(raw.encode())} bytes")
            m = json.loads(raw, object_pairs_hook=pairs_once)
            need(isinstance(m, dict), "no object")
            ident = m.get(self.key)
            need(isinstance(ident, str), "no id")
            if ident in self.waiting and self.waiting[ident][1] is None:
                self.waiting[ident][0].set_result(raw)      # injected by the test, which judges itself
                return
            need(ident in self.waiting or ident in self.lost, "an id that nobody waits for, or a second answer")
            self.judge(m, self.waiting[ident][1].method if ident in self.waiting else "GET")
            if ident in self.waiting and not self.waiting[ident][0].done():
                self.waiting[ident][0].set_result(m)
        except (Bad, ValueError) as e:
            say("violation", what=str(e), message=repr(raw)[:1000])
            ws.deaf = not isinstance(raw, str) and self.deaf

    async def ask(self, caller, m, send, wait):
        """Send a request, wait for its answer: it, or None."""
        future = asyncio.get_running_loop().create_future()
        self.waiting[m[self.key]] = (future, caller)
        try:
            await send(m)
            return await asyncio.wait_for(future, wait)
        except (asyncio.TimeoutError, ConnectionClosed):
            self.lost.add(m[self.key])
            return None
        finally:
            self.waiting.pop(m[self.key], None)

    # callers

    async def public(self, reader, writer):
        c = Caller(reader, writer)
        try:
            await c.read()
            await (self.control(c) if c.target.startswith("/_ctl/") else self.pass_on(c))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError) as e:
            say("caller", what=repr(e))
        finally:
            writer.close()

    async def control(self, c):
        """kick: cut all clients; close?code=: close them; send?id=: the content as a message to the last one (binary=1,
        fragments=1), its answer as it came; deaf: read nothing more of them."""
        url = urlsplit(c.target)
        what, q = url.path[6:], dict(parse_qsl(url.query))
        out = b""
        if what == "kick":
            for ws in list(self.clients):
                ws.transport.abort()
        elif what == "close":
            for ws in list(self.clients):
                self.spawn(ws.close(int(q["code"]), q.get("reason", "")))
        elif what == "deaf":
            for ws in self.clients:
                ws.transport.pause_reading()
        elif what == "send":
            ws = self.clients[-1]

            async def send(_):
                if q.get("binary"):
                    await ws.send(c.body)
                elif q.get("fragments"):
                    for i in range(0, len(c.body), 7):
                        await ws.write_frame(i + 7 >= len(c.body), 0 if i else 1, c.body[i:i + 7])
                else:
                    await ws.write_frame(True, 1, c.body)
            if "id" in q:
                raw = await self.ask(None, {self.key: q["id"]}, send, float(q.get("wait", 20)))
                c.send(200 if raw else 504, [], (raw or "").encode())
                return
            await send(None)
        c.send(200, [], out)

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def refuse_open(self, _ws, _path):
        return None

    def joined(self, ws):
        pass

    def left(self, ws):
        pass


class PipeGate(Server):
    key, limit, deaf = "correlation_id", 16777216, True
    options = {"max_size": 16777216}

    def __init__(self, o):
        super().__init__(o)
        self.queues = {}

    def ident(self, path):
        return self.claims(path)["sub"]

    def claims(self, path):
        token = dict(parse_qsl(urlsplit(path).query)).get("token", "")
        return jwt.decode(token, self.o.secret, ["HS256"], audience="pipegate", issuer="pipegate",
                          options={"require": ["sub", "exp", "nbf", "iat", "iss", "aud", "jti"]})

    async def process(self, path, _headers):
        try:
            need(urlsplit(path).path == "/", "path")
            self.claims(path)
        except (Bad, jwt.PyJWTError) as e:
            say("forbidden", reason=repr(e))
            return HTTPStatus.FORBIDDEN, [("content-length", "0"), ("content-type", "text/plain"), ("connection", "close")], b""
        return None

    def joined(self, ws):
        """[B] Clients of one id share a queue; who leaves throws it away, and the others keep the one that nobody fills."""
        queue = self.queues.setdefault(ws.ident, asyncio.Queue(100))

        async def feed():
            while True:
                m = await queue.get()
                await ws.send(json.dumps(m))
        ws.feeder = asyncio.ensure_future(feed())

    def left(self, ws):
        ws.feeder.cancel()
        self.queues.pop(ws.ident, None)

    def judge(self, m, method):
        need(list(m) == ["correlation_id", "headers", "body", "status_code"], f"keys {list(m)}")
        need(isinstance(m["headers"], str) and type(m["status_code"]) is int and 200 <= m["status_code"] <= 599, "headers or status_code")
        headers = json.loads(m["headers"], object_pairs_hook=pairs_once)
        need(isinstance(headers, dict), "headers")
        need(all(isinstance(v, str) and NO_TAB.fullmatch(v) for v in headers.values()), "a tab")
        judge_fields(list(headers.items()), m["status_code"], method, judge_body(m["body"]))

    async def pass_on(self, c):
        path = urlsplit(c.target).path
        ident, _, rest = unquote(path[1:]).partition("/")
        first = {}
        for n, v in c.fields:
            first.setdefault(n, v)      # [B] of repeated lines the first alone
        ident_ = str(uuid.uuid4())
        first["x-pipegate-correlation-id"] = ident_.replace("-", "")
        query = [[k, v] for k, v in parse_qsl(urlsplit(c.target).query, keep_blank_values=True)]
        m = {"correlation_id": ident_, "url_path": rest, "url_query": json.dumps(query), "method": c.method,
             "headers": json.dumps(first), "body": base64.b64encode(c.body).decode()}
        queue = self.queues.setdefault(ident, asyncio.Queue(100))
        answer = await self.ask(c, m, queue.put, self.o.wait)
        if answer is None:
            c.send(504, [("content-type", "application/json")], b'{"detail":"Gateway Timeout"}')
            return
        fields = [("date", "now"), ("server", "uvicorn")] + [(n.lower(), v) for n, v in json.loads(answer["headers"]).items()]
        c.send(answer["status_code"], fields, base64.b64decode(answer["body"]))


class Bifrost(Server):
    key, limit, deaf = "id", 104857600, False
    options = {"max_size": 104857600, "compression": None}

    def ident(self, path):
        return (path[len("/_bifrost"):].lstrip("/") or "default").lower()

    async def process(self, path, _headers):
        if not re.fullmatch(r"(/_bifrost|/(?i:_bifrost)/[A-Za-z0-9][A-Za-z0-9-]{0,62})", path[len(self.o.prefix):]):
            return HTTPStatus.NOT_FOUND, [], b""
        return None

    def refuse_open(self, ws, path):
        scheme, _, token = ws.request_headers.get("Authorization", "").partition(" ")
        ws.ident = self.ident(path[len(self.o.prefix):])
        if scheme != "Bearer" or token != self.o.token or self.o.scope not in ("*", ws.ident):
            return self.o.reason if self.o.reason is not None else "unauthorized"
        if any(c.ident == ws.ident for c in self.clients) or self.opened <= self.o.busy:
            return "name already in use"
        return None

    def judge(self, m, method):
        need(list(m) == ["id", "status", "headers", "body"], f"keys {list(m)}")
        need(type(m["status"]) is int and 200 <= m["status"] <= 599 and isinstance(m["headers"], dict), "status or headers")
        flat = [(n, v) for n, vs in m["headers"].items() for v in (vs if isinstance(vs, list) else [vs])]
        need(isinstance(m["headers"].get("set-cookie", []), list) and all(n == n.lower() for n, _ in flat), "names, or set-cookie")
        judge_fields(flat, m["status"], method, judge_body(m["body"]))

    async def pass_on(self, c):
        host = re.match(r"([A-Za-z0-9][A-Za-z0-9-]*)\.tunnel\.", c.get("host") or "", re.I)
        name = host.group(1).lower() if host else "default"
        holder = next((w for w in self.clients if w.ident == name), None)
        if holder is None:
            c.send(503, [("vary", "Accept")], b"503 Tunnel not connected.")
            return
        headers = {}
        for n, v in c.fields:
            if n not in headers:
                headers[n] = v
            elif n not in SINGLE:
                headers[n] += ("; " if n == "cookie" else ", ") + v
        headers.update({"x-forwarded-for": "127.0.0.1", "x-forwarded-host": c.get("host"), "x-forwarded-proto": "https"})
        m = {"id": str(uuid.uuid4()), "method": c.method, "url": c.target, "headers": headers, "body": base64.b64encode(c.body).decode()}
        answer = await self.ask(c, m, lambda m: holder.send(json.dumps(m)), self.o.wait)
        if answer is None:
            c.send(504, [("vary", "Accept")], b"504 Gateway timeout.")
            return
        c.send(answer["status"], [(n, v) for n, vs in answer["headers"].items() for v in (vs if isinstance(vs, list) else [vs])],
               base64.b64decode(answer["body"]))


class Protocol(websockets.WebSocketServerProtocol):
    deaf, mute, asked = False, False, 0

    async def pong(self, data=b""):
        self.asked += 1
        say("ping", n=self.number if hasattr(self, "number") else 0)
        if not self.mute:
            await super().pong(data)


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dialect", choices=["pipegate", "bifrost"])
    parser.add_argument("--port", type=int, default=0, help="for clients, where a server was before")
    parser.add_argument("--secret", default="vector-secret-0123456789abcdef-0123456789")
    parser.add_argument("--token", default="bf_000102030405060708090a0b0c0d0e0f1011121314151617")
    parser.add_argument("--scope", default="*")
    parser.add_argument("--reason", help="of a refusal")
    parser.add_argument("--prefix", default="", help="of a proxy in front")
    parser.add_argument("--busy", type=int, default=0, help="so many handshakes find the name in use")
    parser.add_argument("--ping", type=float, default=20)
    parser.add_argument("--wait", type=float, default=170, help="for an answer")
    o = parser.parse_args()
    server = (PipeGate if o.dialect == "pipegate" else Bifrost)(o)
    stopped = stopping.asked()
    clients = await websockets.serve(server.serve, "127.0.0.1", o.port, process_request=server.process, create_protocol=Protocol,
                                     ping_interval=o.ping, ping_timeout=o.ping, **server.options)
    callers = await asyncio.start_server(server.public, "127.0.0.1", 0, limit=1 << 20)
    say("listening", port=callers.sockets[0].getsockname()[1], clients=clients.sockets[0].getsockname()[1])
    await stopped.wait()
    await asyncio.gather(*(ws.close(1012) for ws in list(server.clients)), return_exceptions=True)
    say("stopped")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
