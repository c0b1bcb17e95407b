"""The server of peer/wsproxy.py: wsproxy as it behaves (../shared/protocols/wsproxy.md, 1 to 10), its weaknesses included,
without JWKS, X-Forwarded-For and the Cloudflare variant.
"""
import asyncio
import base64
import collections
import fnmatch
import http
import ipaddress
import json
import os
import re
import socket
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.legacy.server import WebSocketServerProtocol, serve

from wsproxy import HEX12, LIMIT, SECRET_FIELDS, frame, go_json, say, unframe

BLOCKED = ("0.0.0.0/8,127.0.0.0/8,10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,198.18.0.0/15,"
           "::1/128,fc00::/7,fe80::/10")
KEPT_BACK = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "content-length", "set-cookie",
             "set-cookie2", "access-control-allow-origin", "access-control-allow-credentials",
             "access-control-allow-methods", "access-control-allow-headers", "strict-transport-security",
             "content-security-policy", "content-security-policy-report-only", "x-frame-options",
             "x-content-type-options", "x-xss-protection", "public-key-pins", "public-key-pins-report-only"}
LABEL = re.compile(r"(?!-)[^\W_]([^\W_]|-)*(?<!-)")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")


class Answer(Exception):
    """The HTTP answer, instead of an upgrade."""

    def __init__(self, status, body, *fields):
        super().__init__(status)
        self.status, self.fields, self.visited = status, fields, False
        self.body = body.encode() + b"\n" if isinstance(body, str) else body


class Limiter:
    def __init__(self, per_ip, per_user):
        self.most, self.open = {"ip": per_ip, "user": per_user}, collections.Counter()

    def take(self, **keys):
        keys = {(k, v) for k, v in keys.items() if v}
        if any(self.open[k] >= self.most[k[0]] for k in keys):
            raise Answer(429, "too many connections")
        self.open.update(keys)
        return keys

    def give(self, keys):
        self.open.subtract(keys)


class Tunnel:
    """A registered /tunnel: what waits for answers, and the raw connections."""

    def __init__(self, ws):
        self.ws, self.name, self.port, self.waiting, self.raws, self.listener = ws, os.urandom(8).hex(), 0, {}, {}, None

    async def serve(self, url, port):
        self.port = port
        await self.control({"type": "tunnel_ready", "tunnelUrl": url, "rawPort": self.port})
        say("tunnel", name=self.name, port=self.port)
        if self.port:
            try:
                self.listener = await asyncio.start_server(self.visitor, "127.0.0.1", self.port)
            except OSError as e:
                say("not_bound", port=self.port, what=repr(e))
        try:
            async for message in self.ws:
                await (self.text(message) if isinstance(message, str) else self.data(message))
        finally:
            if self.listener:
                self.listener.close()
            for answer in self.waiting.values():
                if not answer.done():
                    answer.set_exception(Answer(502, "tunnel disconnected"))
            say("tunnel_end", name=self.name, code=self.ws.close_code or 1006, reason=self.ws.close_reason or "")

    async def control(self, m):
        await self.ws.send(go_json(m))

    async def text(self, message):
        try:
            m = {k.lower(): v for k, v in json.loads(message).items()}
        except (ValueError, AttributeError, RecursionError):
            return say("dropped", what="no JSON object")
        kind, ident = m.get("type"), m.get("id", m.get("connid"))
        if not isinstance(ident, str) or not HEX12.fullmatch(ident):
            return say("dropped", what="id")
        if kind == "tcp_close" and (writer := self.raws.pop(ident, None)):
            say("tcp_close", conn=ident)
            writer.close()
        elif kind == "http_response" and (answer := self.waiting.get(ident)) and not answer.done():
            fields = m.get("headers", {})
            if (type(m.get("status")) is not int or not all(isinstance(m.get(k, ""), str) for k in ("body", "bodyencoding"))
                    or not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values())):
                return say("dropped", what="a value's type")
            answer.set_result(m)
        else:
            say("dropped", what=f"{kind}")
        return None

    async def data(self, message):
        conn, data = unframe(message, 64) or ("", b"")
        writer = self.raws.get(conn)
        if not writer or not data:
            return say("dropped", what="data frame", length=len(message))
        writer.write(data)
        try:
            await asyncio.wait_for(writer.drain(), 30)      # the whole tunnel waits
        except (OSError, asyncio.TimeoutError):
            writer.close()
        return None

    async def visitor(self, reader, writer):
        conn = os.urandom(6).hex()
        self.raws[conn] = writer
        try:
            await self.control({"type": "tcp_open", "connId": conn})
            while data := await asyncio.wait_for(reader.read(32768), 300):
                await self.ws.send(frame(conn, data))
        except (OSError, ConnectionClosed, asyncio.TimeoutError):
            pass
        self.raws.pop(conn, None)
        writer.close()
        try:
            await self.control({"type": "tcp_close", "connId": conn})
        except ConnectionClosed:
            pass

    # a visitor's HTTP request

    async def ask(self, method, path, headers, body):
        ident = os.urandom(6).hex()
        fields = collections.defaultdict(list)
        for name, value in headers.raw_items():
            if name.lower() not in SECRET_FIELDS | {"host", "transfer-encoding"}:
                fields["-".join(s[:1].upper() + s[1:].lower() for s in name.split("-"))].append(value)
        m = {"type": "http_request", "id": ident, "method": method, "path": path,
             "headers": {k: ", ".join(v) for k, v in sorted(fields.items())}, "body": base64.b64encode(body).decode()}
        if body:
            m["bodyEncoding"] = "base64"
        self.waiting[ident] = asyncio.get_running_loop().create_future()
        try:
            await self.control(m)
            got = await asyncio.wait_for(self.waiting[ident], 60)
        except ConnectionClosed:
            raise Answer(502, "tunnel write failed") from None
        except asyncio.TimeoutError:
            raise Answer(504, "tunnel response timeout") from None
        finally:
            del self.waiting[ident]
        raise self.answer(got)

    @staticmethod
    def answer(m):
        if not 100 <= m["status"] <= 999:
            return Answer(502, "invalid response from tunnel")
        fields = [(k, v) for k, v in list(m.get("headers", {}).items())[:100] if k.lower() not in KEPT_BACK and TOKEN.fullmatch(k)
                  and isinstance(v, str) and len(v.encode()) <= 8192 and not re.search("[\0-\x1f\x7f\u2028\u2029]", v)]
        text, coding = m.get("body", ""), m.get("bodyencoding", "")
        try:
            body = base64.b64decode(text, validate=True) if coding == "base64" else text.encode()
        except ValueError:
            body = b"invalid base64 response from tunnel\n"
        if coding not in ("", "base64"):
            body = b"invalid body encoding from tunnel\n"
        answer = Answer(m["status"], body, *fields)
        answer.visited = True
        return answer


class Protocol(WebSocketServerProtocol):
    """A connection; the server, its owner, decides by the first request."""

    owner = method = name = None
    slot, cors = (), ()

    async def read_http_request(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.method, self.path, version = head[0].split(" ")
        self.old = version < "HTTP/1.1"
        self.request_headers = Headers()
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            self.request_headers[name] = value.strip(" \t")
        return self.path, self.request_headers

    async def process_request(self, path, headers):
        return await self.owner.first(self, path, headers)

    def write_http_response(self, status, headers, body=None):
        if status == 101:
            headers.update(self.cors)
        elif self.method == "HEAD" or status in (204, 304):
            body = b""
        super().write_http_response(status, headers, body)

    def fail_connection(self, code=1006, reason=""):
        return super().fail_connection(code, f"read limited at {LIMIT + 1} bytes" if code == 1009 else reason)


class Server:
    def __init__(self, o):
        self.o, self.port, self.tunnels = o, 0, {}
        self.tokens = dict(reversed(t.split("=", 1)) for t in o.token)
        self.a, self.b = Limiter(o.conns_per_ip, o.conns_per_user), Limiter(50, 1)
        self.blocked = [ipaddress.ip_network(b) for b in (BLOCKED if o.blocked is None else o.blocked).split(",") if b.strip()]
        self.origins = [x.strip() for x in o.origins.split(",") if x.strip()]
        self.ports = range(*map(int, o.ports.split("-"))) if o.ports else ()
        Protocol.owner = self

    async def run(self):
        async with serve(self.connected, "127.0.0.1", self.o.port, create_protocol=Protocol, ping_interval=None, max_size=LIMIT,
                         compression=None, server_header=None, close_timeout=5) as server:
            self.port = server.sockets[0].getsockname()[1]
            say("listening", port=self.port)
            await asyncio.Event().wait()

    async def stop(self):
        """WebSockets die with the process, untold (11)."""
        os._exit(0)

    # the first request; what is raised is its answer

    async def first(self, ws, path, headers):
        origin, where = headers.get("Origin"), urlsplit(path)
        say("request", path=where.path, fields=list(headers.raw_items()))
        if origin and any(x in ("*", origin) or x.endswith(":*") and origin.startswith(x[:-1]) for x in self.origins):
            ws.cors = [("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
                       ("Access-Control-Allow-Headers", "Authorization, Content-Type"), ("Access-Control-Max-Age", "86400")]
        host, domain = canonical(headers.get("Host", "")), canonical(self.o.domain)
        try:
            if ws.method == "OPTIONS":
                raise Answer(204, b"")
            if domain and host.endswith("." + domain):
                await self.visit(ws, host[:-len(domain) - 1], path, headers)
            await self.route(ws, where.path, {k: v[0] for k, v in parse_qs(where.query).items()}, headers)
            self.upgrade(ws, headers)
        except Answer as e:
            self.a.give(ws.slot)
            ws.slot = ()
            fields = Headers([*e.fields, *ws.cors])
            if not e.visited and e.status != 204:
                fields.setdefault("Content-Type", "text/plain; charset=utf-8")
                fields["X-Content-Type-Options"] = "nosniff"
            fields["Content-Length"] = str(len(e.body))
            say("answer", status=e.status, path=where.path)
            return http.HTTPStatus(e.status), fields, e.body
        return None

    async def route(self, ws, path, query, headers):
        if path not in ("/health", "/relay", "/tunnel"):
            raise Answer(404, "404 page not found")
        if ws.method not in ("GET", "HEAD"):
            raise Answer(405, "Method Not Allowed", ("Allow", "GET, HEAD"))
        if path == "/health":
            raise Answer(200, b"ok")
        who = self.login(query, headers)
        if path == "/relay":
            ws.target = await self.judge(query)
        ws.slot = self.a.take(ip=ws.remote_address[0], user=who)
        ws.name = path

    def login(self, query, headers):
        if not self.tokens:
            return "anonymous"
        bearer = headers.get("Authorization", "")
        text = query.get("token") or (bearer[7:] if bearer.startswith("Bearer ") else "")
        if text not in self.tokens:
            raise Answer(401, "unauthorized")
        return self.tokens[text]

    async def judge(self, query):
        """Section 7's checks, and 10's."""
        name, port = query.get("host", ""), query.get("port", "")
        if not name or not port:
            raise Answer(400, "host and port query params required")
        if not re.fullmatch("[+-]?[0-9]+", port) or not 1 <= int(port) <= 65535:
            raise Answer(400, "invalid port (must be 1-65535)")
        name = name.strip()
        if not await self.allowed(name, int(port)):
            raise Answer(403, "target address not allowed")
        return name, int(port)

    async def allowed(self, name, port):
        try:
            found = [ipaddress.ip_address(name)]
        except ValueError:
            labels = name.removesuffix(".").split(".")
            if len(name.removesuffix(".")) > 253 or not all(len(x) < 64 and LABEL.fullmatch(x) for x in labels):
                return False
            try:
                got = await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM), 5)
            except (OSError, UnicodeError, asyncio.TimeoutError):
                return False
            found = [ipaddress.ip_address(x[4][0].partition("%")[0]) for x in got]
        return not any(self.bad(getattr(x, "ipv4_mapped", None) or x) for x in found)

    def bad(self, x):
        return bool(self.blocked) and (x.is_unspecified or x.is_loopback or x.is_link_local or x.is_multicast or
                                       any(x in b for b in self.blocked if b.version == x.version))

    def upgrade(self, ws, headers):
        """Section 3's, as far as the library does not do it so."""
        def tokens(name):
            return {t.strip().lower() for v in headers.get_all(name) for t in v.split(",")}
        if ws.old or "upgrade" not in tokens("Connection") or "websocket" not in tokens("Upgrade"):
            raise Answer(426, "upgrade required", *(() if ws.old else (("Connection", "Upgrade"), ("Upgrade", "websocket"))))
        if ws.method != "GET":
            raise Answer(405, "handshake request method is not GET")
        if headers.get("Sec-WebSocket-Version") != "13":
            raise Answer(400, "unsupported version", ("Sec-WebSocket-Version", "13"))
        keys = headers.get_all("Sec-WebSocket-Key")
        try:
            good = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
        except ValueError:
            good = False
        if not good:
            raise Answer(400, "Sec-WebSocket-Key")
        origin, host = headers.get("Origin"), headers.get("Host", "")
        where = urlsplit(origin or "")
        if origin and where.netloc.lower() != host.lower() and not any(
                x == "*" or fnmatch.fnmatchcase((origin if "://" in x else where.netloc).lower(), x.lower()) for x in self.origins):
            raise Answer(403, f'request Origin "{where.netloc}" is not authorized for Host "{host}"')

    # visitors (9)

    async def visit(self, ws, label, path, headers):
        if not re.fullmatch("[0-9a-f]{16}", label):
            raise Answer(404, "invalid tunnel")
        if label not in self.tunnels:
            raise Answer(404, "tunnel not found")
        slot = self.b.take(ip=ws.remote_address[0])
        try:
            body = await self.content(ws, headers)
            await self.tunnels[label].ask(ws.method, path, headers, body[:LIMIT])
        finally:
            self.b.give(slot)

    @staticmethod
    async def content(ws, headers):
        if headers.get("Transfer-Encoding", "").lower() != "chunked":
            return await ws.reader.readexactly(int(headers.get("Content-Length", "0")))
        body = b""
        while size := int((await ws.reader.readline()).split(b";")[0], 16):
            body += (await ws.reader.readexactly(size + 2))[:-2]
        return body

    # after the upgrade

    async def connected(self, ws, *_):
        pings = asyncio.ensure_future(self.keepalive(ws))
        try:
            await (self.relay(ws) if ws.name == "/relay" else self.tunnel(ws))
        except ConnectionClosed:
            pass
        finally:
            pings.cancel()
            self.a.give(ws.slot)
            say("end", path=ws.name, code=ws.close_code)

    async def keepalive(self, ws):
        n = 0
        while True:
            await asyncio.sleep(self.o.ping)
            n += 1
            try:
                await (await ws.ping(str(n)))
            except ConnectionClosed:
                return

    async def tunnel(self, ws):
        tunnel = Tunnel(ws)
        self.tunnels[tunnel.name] = tunnel
        try:
            url = f"http://{tunnel.name}.{self.o.domain}:{self.port}" if self.o.domain else ""
            await tunnel.serve(url, self.free_port())
        finally:
            del self.tunnels[tunnel.name]

    def free_port(self):
        if not self.ports:      # a port that was free just now: announced before it is bound, as there
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                return s.getsockname()[1]
        used = {t.port for t in self.tunnels.values()}
        return next((p for p in self.ports if p not in used), 0)

    async def relay(self, ws):
        ws.max_size = None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(*ws.target), 10)
        except (OSError, asyncio.TimeoutError):
            say("dial_failed", target=ws.target)
            return await ws.close(1011, "cannot reach target")
        say("relay", target=ws.target)
        back = asyncio.ensure_future(self.back(ws, reader))
        try:
            async for message in ws:
                if isinstance(message, str):
                    await ws.close(1003, "unexpected frame type read (expected MessageBinary): MessageText")
                    break
                writer.write(message)
                await writer.drain()
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()
            await back      # the slot is taken until the target ends, too
        except OSError:
            await ws.close(1000, "relay ended")     # a reset while we wrote
        finally:
            back.cancel()
            writer.close()
        return None

    async def back(self, ws, reader):
        """What the target says; at its end the connection is cut."""
        try:
            while data := await reader.read(32768):
                if ws.open:
                    await ws.send(data)
        except (OSError, ConnectionClosed):
            pass
        if ws.open and self.o.close_frames:
            await ws.close(1000, "relay ended")
        elif ws.open:
            ws.transport.close()


def canonical(host):
    return re.sub(r":\d+$", "", host.strip()).removesuffix(".").strip("[]").lower()
