"""An independent PipeGate client: what the original does on the wire (../shared/protocols/pipegate.md, 6.2, 6.3, 7, 8),
on the libraries that the original uses, with its weaknesses.

usage: pipegate.py TARGET SERVER_URL.  TARGET is the local service's URL, or - for answers that describe the message.
A request's X-Do field asks for something else (see the do_ functions), so that one client serves for many kinds of
misbehaviour.  What a good server must never send (13) is a violation.  Prints JSON lines.
"""
import argparse
import asyncio
import base64
import hashlib
import json
import re
import sys
import uuid
from urllib.parse import unquote

import httpx
import websockets
from websockets.exceptions import ConnectionClosed

import stopping

KEYS = ["correlation_id", "url_path", "url_query", "method", "headers", "body"]
METHODS = {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"}
HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect",
       "http2-settings"}


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def no_duplicates(pairs):
    if len({k for k, _ in pairs}) < len(pairs):
        raise ValueError(f"duplicate keys {[k for k, _ in pairs]}")
    return dict(pairs)


def judge_fields(h, m, body):
    for name, value in h.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name):
            return f"header name {name!r}"
        if name in HOP:
            return f"hop-by-hop {name}"
        if not isinstance(value, str) or not re.fullmatch(r"[\x20-\x7e]*", value):
            return f"header value of {name}"
    if h.get("accept-encoding") != "identity" or "cookie" not in h:
        return "accept-encoding, or no cookie"
    if h.get("x-pipegate-correlation-id") != m["correlation_id"].replace("-", ""):
        return "x-pipegate-correlation-id"
    if h.get("content-length") != (str(len(body)) if body else None):
        return f"content-length {h.get('content-length')} for {len(body)} bytes"
    return None


def judge(m, raw):
    """What would hurt the original client, and what a good server does not send."""
    if not isinstance(raw, str) or not isinstance(m, dict) or list(m) != KEYS:
        return "no text message of the six keys in order"
    if not all(isinstance(v, str) for v in m.values()):
        return "a value that is no string"
    if str(uuid.UUID(m["correlation_id"])) != m["correlation_id"] or uuid.UUID(m["correlation_id"]).version != 4:
        return "correlation_id"
    if m["method"] not in METHODS:
        return "method"
    if not re.fullmatch(r"([-._~!$&'()*+,;=:@/0-9A-Za-z]|%[0-9A-Fa-f]{2})*", m["url_path"]):
        return "url_path with bytes that no path has"
    if any(unquote(s) in (".", "..") for s in m["url_path"].split("/")):
        return "dot segments"
    query = json.loads(m["url_query"])
    if not isinstance(query, list) or not all(isinstance(p, list) and len(p) == 2 and all(isinstance(s, str) for s in p)
                                              for p in query):
        return "url_query"
    body = base64.b64decode(m["body"], validate=True)
    if base64.b64encode(body).decode() != m["body"]:
        return "base64 that is not canonical"
    return judge_fields(json.loads(m["headers"], object_pairs_hook=no_duplicates), m, body)


class Protocol(websockets.WebSocketClientProtocol):
    mute = False
    asked = 0

    async def pong(self, data=b""):
        self.asked += 1
        say("ping", n=self.asked, length=len(data))
        if not self.mute:
            await super().pong(data)


class Client:
    def __init__(self, o):
        self.o, self.ws, self.held, self.seen, self.tasks = o, None, [], 0, set()
        self.http = httpx.AsyncClient()     # one for all, and so is its cookie jar

    async def send(self, m, status=200, headers="{}", body=b""):
        await self.ws.send(json.dumps({"correlation_id": m["correlation_id"], "headers": headers,
                                       "body": base64.b64encode(body).decode(), "status_code": status}))

    async def forward(self, m):
        """To the local service, as 6.2 and 6.3 have it."""
        try:
            res = await self.http.request(m["method"], f"{self.o.target}/{m['url_path']}",
                                          params=[tuple(p) for p in json.loads(m["url_query"])],
                                          headers=json.loads(m["headers"]), content=base64.b64decode(m["body"]))
            status, headers, body = res.status_code, json.dumps(dict(res.headers)), res.content
        except Exception as e:  # pylint: disable=broad-except
            say("failed", what=repr(e))
            status, headers, body = 504, "" if self.o.old else "{}", b""
        await self.send(m, status, headers, body)

    async def describe(self, m):
        body = base64.b64decode(m["body"])
        text = json.dumps({**m, "url_query": json.loads(m["url_query"]), "headers": json.loads(m["headers"]), "tag": self.o.tag,
                           "body": m["body"] if len(body) < 4096 else None,
                           "length": len(body), "sha256": hashlib.sha256(body).hexdigest()})
        await self.send(m, headers='{"content-type":"application/json"}', body=text.encode())

    async def answer(self, m):
        await (self.describe(m) if self.o.target == "-" else self.forward(m))

    # what X-Do asks for; h is the request's fields

    async def do_raw(self, m, h):
        """The request's content is the answer's text, ID in it the request's; X-How tells in which frames."""
        text = base64.b64decode(m["body"]).replace(b"ID", m["correlation_id"].encode())
        if h.get("x-how") == "binary":
            await self.ws.send(text)
        elif h.get("x-how") == "fragments":
            await self.ws.write_frame(False, 1, text[:len(text) // 2])
            await self.ws.ping(b"between")
            await self.ws.write_frame(True, 0, text[len(text) // 2:])
        else:
            await self.ws.write_frame(True, 1, text)

    async def do_dropped(self, m, _):
        """V6's, and more; then the answer."""
        ident = m["correlation_id"]
        good = {"correlation_id": ident, "headers": "{}", "body": "", "status_code": 299}
        for bad in ("junk", "null", "{}", "", "5", "[]", '"x"', "{", "[" * 5000, json.dumps([good]),
                    json.dumps({k: v for k, v in good.items() if k != "headers"}), json.dumps({**good, "headers": {}}),
                    json.dumps({**good, "correlation_id": str(uuid.uuid4())}), json.dumps({**good, "correlation_id": 5}),
                    json.dumps({k: v for k, v in good.items() if k != "status_code"}), json.dumps({**good, "body": None}),
                    json.dumps({**good, "status_code": 200.5})):
            await self.ws.write_frame(True, 1, bad.encode())
        await self.describe(m)

    async def do_silent(self, _m, _h):
        pass

    async def do_hold(self, m, _):
        self.held.append(m)

    async def do_release(self, m, _):
        """Answer those that are held, the last one first, and then this."""
        while self.held:
            await self.describe(self.held.pop())
        await self.describe(m)

    async def do_twice(self, m, _):
        await self.describe(m)
        await self.send(m, 500)

    async def do_steal(self, m, _):
        """Answer another client's request, whose id is the content; then this."""
        await self.send({"correlation_id": base64.b64decode(m["body"]).decode()}, 299)
        await self.describe(m)

    async def do_huge(self, m, h):
        await self.send(m, body=b"h" * int(h["x-size"]))

    async def do_close(self, _, h):
        await self.ws.close(int(h.get("x-code", "1000")), "mid-request")

    async def do_cut(self, _m, _h):
        self.ws.transport.abort()

    async def do_half(self, m, _):
        """Half a message, and the end."""
        await self.ws.write_frame(False, 1, b'{"correlation_id":"%s"' % m["correlation_id"].encode())
        self.ws.transport.abort()

    async def do_deaf(self, m, _):
        """Reads nothing more."""
        await self.describe(m)
        self.ws.transport.pause_reading()

    # the session

    async def take(self, raw):
        try:
            m = json.loads(raw, object_pairs_hook=no_duplicates)
            wrong = judge(m, raw)
        except ValueError as e:
            wrong = repr(e)
        if wrong:
            say("violation", what=wrong, message=repr(raw)[:2000])
            return
        h = json.loads(m["headers"])
        self.seen += 1
        say("request", n=self.seen, id=m["correlation_id"], method=m["method"], path=m["url_path"], length=len(raw))
        try:
            if do := h.get("x-do"):
                await getattr(self, "do_" + do)(m, h)
            else:
                await self.answer(m)
        except ConnectionClosed:
            pass

    async def serve(self):
        say("connected", extensions=self.ws.response_headers.get("Sec-WebSocket-Extensions"))
        try:
            while True:
                task = asyncio.ensure_future(self.take(await self.ws.recv()))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        except ConnectionClosed:
            say("closed", code=self.ws.close_code or 1006, reason=self.ws.close_reason or "")

    async def run(self):
        failures, more = 0, {}
        if self.o.max_message:
            more = {"max_size": self.o.max_message, "extra_headers": {"X-PipeGate-Max-Message": str(self.o.max_message)}}
        while True:
            try:
                self.ws = await websockets.connect(self.o.server, create_protocol=Protocol, **more)
                break
            except Exception as e:  # pylint: disable=broad-except
                failures += 1
                delay = min(2 ** failures, 60)
                say("retry", what=repr(e), status=getattr(e, "status_code", None), after=delay, attempt=failures + 1)
                await asyncio.sleep(delay * self.o.unit / 1000)
        self.ws.mute = self.o.no_pong
        await self.serve()
        # here the original loops at full speed, and never connects again
        await asyncio.Event().wait()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("server")
    parser.add_argument("--tag", default="", help="says which client has answered")
    parser.add_argument("--old", action="store_true", help="as before 19 April 2026")
    parser.add_argument("--max-message", type=int, help="take longer ones, and say so, which the original does not")
    parser.add_argument("--no-pong", action="store_true")
    parser.add_argument("--unit", type=int, default=1000, help="milliseconds of a second between attempts (1000)")
    o = parser.parse_args()
    client = Client(o)
    running = asyncio.ensure_future(client.run())
    if await stopping.first(running):
        running.result()
    if client.ws and client.ws.open:
        await client.ws.close()
    await client.http.aclose()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
