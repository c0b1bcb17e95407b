#!/usr/bin/env python3
"""A bifrost client for the tests, written from protocols/bifrost.md alone, on python3-websockets.

It does what the original does: the same handshake, the same messages, the same reconnecting.  Each request is
passed to --target, or, without one, answered with a description of its message.  A request's X-Do field asks for
something else (see the do_ functions), so that one client serves for many kinds of misbehaviour.  What a relay must
never send to the original (6.5) is a violation.  Prints JSON lines.
"""
import argparse
import asyncio
import base64
import hashlib
import http.client
import json
import re
import signal
import struct
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import websockets
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

import stopping

LIMIT = 104857600
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
SINGLE = {"age", "authorization", "content-length", "content-type", "etag", "expires", "from", "host",
          "if-modified-since", "if-unmodified-since", "last-modified", "location", "max-forwards",
          "proxy-authorization", "referer", "retry-after", "server", "user-agent"}
HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
       "proxy-authorization", "proxy-authenticate", "http2-settings"}


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def no_duplicates(pairs):
    if len({k for k, _ in pairs}) < len(pairs):
        say("violation", what="duplicate keys", keys=[k for k, _ in pairs])
    return dict(pairs)


def judge(m, raw):
    """What would kill or hang the original client, and what a good relay does not send."""
    if not isinstance(raw, str):
        return "a binary message"
    if not isinstance(m, dict) or not isinstance(m.get("method"), str) or not TOKEN.fullmatch(m["method"]):
        return "no object with a method"
    if not isinstance(m.get("id"), str) or not UUID4.fullmatch(m["id"]):
        return "the id is no UUID v4"
    if not isinstance(m.get("url"), str) or not re.fullmatch(r"[\x21-\x7e]+", m["url"]):
        return "url"
    if not isinstance(m.get("headers"), dict) or not isinstance(m.get("body"), str):
        return "headers or body"
    for name, value in m["headers"].items():
        if not TOKEN.fullmatch(name) or name != name.lower():
            return f"header name {name!r}"
        if name in HOP:
            return f"hop-by-hop {name}"
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) != (name == "set-cookie"):
            return f"{name} is {'an' if isinstance(value, list) else 'no'} array"
        if not all(isinstance(v, str) and re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", v) for v in values):
            return f"header value of {name}"
    try:
        body = base64.b64decode(m["body"], validate=True)
        if base64.b64encode(body).decode() != m["body"]:
            return "base64 that is not canonical"
    except ValueError:
        return "base64"
    length = m["headers"].get("content-length")
    if length is not None and (length != str(len(body)) or not body and length != "0"):
        return f"content-length {length} for {len(body)} bytes"
    return None


class Response(http.client.HTTPResponse):
    """Skips every 1xx, not 100 alone."""

    def _read_status(self):
        version, status, reason = super()._read_status()
        return version, 100 if 100 < status < 200 and status != 101 else status, reason


class Protocol(websockets.WebSocketClientProtocol):
    mute = False

    async def pong(self, data=b""):
        if not self.mute:
            await super().pong(data)


class Client:
    def __init__(self, o):
        self.o, self.ws, self.failures, self.held, self.seen = o, None, 0, [], 0
        self.pool = ThreadPoolExecutor(o.threads)
        self.tasks = set()

    # answers

    async def send(self, obj):
        await self.ws.send(json.dumps(obj))

    def forward(self, m):
        """To the local service, as 6.3 and 6.4 have it."""
        body = base64.b64decode(m.get("body") or "")
        host, _, port = self.o.target.rpartition(":")
        headers = {k: v for k, v in m["headers"].items() if k != "transfer-encoding"}
        headers["host"] = f"localhost:{port}"
        if body:
            headers["content-length"] = str(len(body))
        c = http.client.HTTPConnection(host, int(port))
        c.response_class = Response
        try:
            c.putrequest(m["method"], m["url"], skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                for v in value if isinstance(value, list) else [value]:
                    c.putheader(name, v.encode("latin-1"))
            c.endheaders(body or None)
            res = c.getresponse()
            data = res.read()
            got = {}
            for name, value in res.getheaders():
                name = name.lower()
                if name == "set-cookie":
                    got.setdefault(name, []).append(value)
                elif name not in got:
                    got[name] = value
                elif name not in SINGLE:
                    got[name] += ("; " if name == "cookie" else ", ") + value
            return {"id": m["id"], "status": res.status, "headers": got, "body": base64.b64encode(data).decode()}
        except OSError:
            return {"id": m["id"], "status": 502, "headers": {"content-type": "text/plain"},
                    "body": base64.b64encode(b"local server error").decode()}
        except http.client.HTTPException as e:      # here the original never answers
            say("stuck", what=repr(e))
            return None
        finally:
            c.close()

    def describe(self, m):
        body = base64.b64decode(m["body"])
        text = json.dumps({**m, "tunnel": self.o.name, "body": m["body"] if len(body) < 4096 else None, "keys": list(m["headers"]),
                           "body_length": len(body), "body_sha256": hashlib.sha256(body).hexdigest()})
        return {"id": m["id"], "status": 200, "headers": {"content-type": "application/json"},
                "body": base64.b64encode(text.encode()).decode()}

    async def answer(self, m):
        if self.o.target and "x-do" not in m["headers"]:
            loop = asyncio.get_running_loop()
            obj = await loop.run_in_executor(self.pool, self.forward, m)
        else:
            obj = self.describe(m)
        if obj:
            await self.send(obj)

    # what X-Do asks for; m is the message

    async def do_raw(self, m):
        """The request's content is the answer's text, ID in it the request's; X-How tells in which frames."""
        text = base64.b64decode(m["body"]).replace(b"ID", m["id"].encode())
        how = m["headers"].get("x-how", "text")
        if how == "text":
            await self.ws.write_frame(True, 1, text)
        elif how == "binary":
            await self.ws.send(text)
        elif how == "fragments":
            half = len(text) // 2
            await self.ws.write_frame(False, 1, text[:half])
            await self.ws.ping(b"between")
            await self.ws.write_frame(True, 0, text[half:])
        elif how == "bytes":
            await self.ws.write_frame(False, 1, b"")
            for i in range(len(text)):
                await self.ws.write_frame(False, 0, text[i:i + 1])
            await self.ws.write_frame(True, 0, b"")

    async def do_silent(self, _):
        pass

    async def do_hold(self, m):
        self.held.append(m)

    async def do_release(self, m):
        """Answer those that are held, the last one first, and then this."""
        while self.held:
            await self.send(self.describe(self.held.pop()))
        await self.send(self.describe(m))

    async def do_junk(self, m):
        """V8's, more, then the answer."""
        for text in ("not json", "null", "5", "[]", '{"id":"nope"}', "", "{", '{"id":5}', '{"id":null}', '"x"', "true",
                     '{"id":"%s"}' % uuid.uuid4(), '{"id":"%s"}' % ("x" * 100000), "[" * 5000, '{"a":' * 3000,
                     '{"id":"%s","id":"%s"}' % (m["id"], uuid.uuid4()), '{"type":"hello"}', '{"id":"%s"}}' % m["id"], '{"id":"%s",}' % m["id"], "[%s]" % json.dumps({"id": m["id"]})):
            await self.ws.write_frame(True, 1, text.encode())
        await self.send(self.describe(m))

    async def do_twice(self, m):
        await self.send(self.describe(m))
        await self.send({"id": m["id"], "status": 500, "body": ""})

    async def do_wrong(self, m):
        for other in (str(uuid.uuid4()), m["id"].upper(), m["id"] + " ", m["id"][:-1], "{%s}" % m["id"]):
            if other != m["id"]:
                await self.send({"id": other, "status": 500})
        await self.send(self.describe(m))

    async def do_steal(self, m):
        """Answer another client's request, whose id is the content; then this."""
        await self.send({"id": base64.b64decode(m["body"]).decode(), "status": 299, "body": ""})
        await self.send(self.describe(m))

    async def do_huge(self, m):
        n = int(m["headers"].get("x-size", "0"))
        await self.send({"id": m["id"], "status": 200, "body": base64.b64encode(b"h" * n).decode()})

    async def do_slowly(self, m):
        """A long answer in one frame, which no pong can overtake, a piece of X-Size bytes ten times a second."""
        body = json.dumps({"id": m["id"], "body": base64.b64encode(b"s" * 2250).decode()}).encode()
        self.ws.mute = True
        self.ws.transport.write(b"\x81\xfe" + struct.pack("!H", len(body)) + b"\0\0\0\0")
        for i in range(0, len(body), 80):
            self.ws.transport.write(body[i:i + 80])
            await asyncio.sleep(0.1)
        self.ws.mute = False

    async def do_close(self, m):
        await self.ws.close(int(m["headers"].get("x-code", "1000")), "mid-request")

    async def do_cut(self, _):
        self.ws.transport.abort()

    async def do_half(self, m):
        text = json.dumps(self.describe(m)).encode()
        await self.ws.write_frame(False, 1, text[:len(text) // 2])
        if "x-cut" in m["headers"]:
            self.ws.transport.abort()

    async def do_utf8(self, m):
        await self.ws.write_frame(True, 1, b'{"id":"%s","headers":{"x":"\xff"}}' % m["id"].encode())

    async def do_oversize(self, _):
        self.ws.transport.write(b"\x81\xff" + struct.pack("!Q", LIMIT + 1) + b"\0\0\0\0" + b"{" * 100)

    async def do_unmasked(self, _):
        self.ws.transport.write(b"\x81\x02{}")

    async def do_deaf(self, m):
        """Reads nothing more, until SIGUSR1."""
        await self.send(self.describe(m))
        self.ws.transport.pause_reading()

    def hear(self):
        self.ws.transport.resume_reading()
        say("hears")

    async def do_hoard(self, m):
        """The first X-Size bytes of an answer, and no more."""
        await self.ws.write_frame(False, 1, b'{"id":"%s","body":"' % m["id"].encode())
        size = int(m["headers"]["x-size"])
        for left in range(size, 0, -65536):
            await self.ws.write_frame(False, 0, b"A" * min(left, 65536))
        say("hoards", size=size)

    async def do_finish(self, m):
        """Its end; then this."""
        await self.ws.write_frame(True, 0, b'"}')
        await self.send(self.describe(m))

    # the session

    async def take(self, raw):
        try:
            m = json.loads(raw, object_pairs_hook=no_duplicates)
        except ValueError:
            say("violation", what="no JSON", text=repr(raw[:200]))
            return
        if wrong := judge(m, raw):
            say("violation", what=wrong, message=repr(raw)[:2000])
            return
        self.seen += 1
        if not self.o.quiet:
            say("request", n=self.seen, id=m["id"], method=m["method"], url=m["url"], headers=m["headers"])
        do = m["headers"].get("x-do")
        try:
            if do:
                await getattr(self, "do_" + do)(m)
            else:
                await self.answer(m)
        except ConnectionClosed:
            pass

    async def serve(self, ws):
        self.ws = ws
        ws.mute = self.o.no_pong
        self.failures = 0
        say("open", extensions=ws.response_headers.get("Sec-WebSocket-Extensions"),
            protocol=ws.response_headers.get("Sec-WebSocket-Protocol"))
        try:
            async for raw in ws:
                task = asyncio.ensure_future(self.take(raw))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        except ConnectionClosed:
            pass
        code, reason = ws.close_code or 1006, ws.close_reason or ""
        say("closed", code=code, reason=reason)
        return code, reason

    async def run(self):
        base = self.o.endpoint
        base = base[:-len("/_bifrost")] if base.endswith("/_bifrost") else base
        uri = "ws" + base[4:] if base.startswith("http") else base
        uri += "/_bifrost" + (f"/{self.o.name.lower()}" if self.o.name else "")
        while True:
            try:
                ws = await websockets.connect(
                    uri, extra_headers={"authorization": f"Bearer {self.o.token}"}, create_protocol=Protocol,
                    compression="deflate", max_size=LIMIT, max_queue=None, ping_interval=None, close_timeout=30)
                code, reason = await self.serve(ws)
                if code == 1008:
                    say("rejected", reason=reason or "unauthorized")
                    return 1
            except (InvalidHandshake, InvalidMessage, OSError, EOFError, asyncio.TimeoutError) as e:
                say("failed", what=repr(e), status=getattr(e, "status_code", None))
            if self.o.once:
                return 0
            delay = min(self.o.unit * 2 ** self.failures, 30 * self.o.unit)
            self.failures += 1
            say("reconnecting", after=delay)
            await asyncio.sleep(delay / 1000)

    async def stop(self):
        say("stopping")
        if self.ws and self.ws.open:
            await self.ws.write_frame(True, 8, b"")     # without a code: 1005
            try:
                await asyncio.wait_for(self.ws.wait_closed(), 60)
            except asyncio.TimeoutError:
                say("violation", what="no answer to a close frame")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--name")
    parser.add_argument("--target", metavar="HOST:PORT", help="the local service")
    parser.add_argument("--once", action="store_true", help="do not reconnect")
    parser.add_argument("--unit", type=int, default=1000, help="milliseconds of the first delay (1000)")
    parser.add_argument("--no-pong", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="no line for each request")
    parser.add_argument("--threads", type=int, default=16)
    o = parser.parse_args()
    client = Client(o)
    running = asyncio.ensure_future(client.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, client.hear)
    if await stopping.first(running):
        return running.result()
    await client.stop()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
