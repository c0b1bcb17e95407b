"""Who uses a relay: a browser of python3-websockets, and one frame by frame; and names with addresses of a test's choice."""
import asyncio
import ssl
import struct
import threading

from websockets.exceptions import ConnectionClosed, InvalidStatusCode
from websockets.legacy.client import connect

from certs import read, write
from client import preload
from rig import WAIT, Caller

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HALVES = "relay.tunnel.v1"


class Loop:
    """An event loop on a thread of its own, for tests that are not asynchronous."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def do(self, coroutine, wait=WAIT):
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, wait), self.loop).result()


LOOP = Loop()


class Browser:
    """A WebSocket of python3-websockets at /relay, or why there is none: status, content."""

    def __init__(self, d, port, host="127.0.0.1", query="", fields=(), token=None, tls=None, **more):
        self.status, self.ws, self.got = 101, None, b""
        token = d.token if token is None else token
        url = f"{'wss' if tls else 'ws'}://{'localhost' if tls else '127.0.0.1'}:{d.tls if tls else d.port}/relay" \
            f"?host={host}&port={port}{'&token=' + token if token else ''}{query}"
        if tls:
            more["ssl"] = ssl.create_default_context(cafile=tls)

        async def connected():
            return await connect(url, compression=None, max_size=None, ping_interval=None, close_timeout=WAIT,
                                 extra_headers=list(fields), **more)
        try:
            self.ws = LOOP.do(connected())
        except InvalidStatusCode as e:
            self.status = e.status_code

    def send(self, data):
        LOOP.do(self.ws.send(data))

    def read(self, n=None, wait=WAIT):
        """n bytes, or all until the end."""
        async def more():
            try:
                while n is None or len(self.got) < n:
                    self.got += await self.ws.recv()
            except ConnectionClosed:
                pass
        LOOP.do(more(), wait)
        n = len(self.got) if n is None else n
        data, self.got = self.got[:n], self.got[n:]
        return data

    def ping(self):
        async def both():
            await (await self.ws.ping())
        LOOP.do(both())

    def close(self, code=1000):
        if self.ws is not None:
            LOOP.do(self.ws.close(code))

    def end(self):
        """Status code and reason of the Close, once it has come."""
        LOOP.do(self.ws.wait_closed())
        return self.ws.close_code, self.ws.close_reason


class Raw(Caller):
    """A browser frame by frame; .head is the answer's."""

    def __init__(self, d, port, host="127.0.0.1", fields="", query="", early=b"", **more):
        super().__init__(d.port, **more)
        self.send((f"GET /relay?host={host}&port={port}{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nAuthorization: Bearer {d.token}\r\n{fields}\r\n").encode()
                  + early)
        self.answer = self.response()

    def frame(self, opcode, payload=b"", key=bytes.fromhex("37fa213d"), fin=1):
        n = len(payload)
        head = bytes([fin << 7 | opcode]) + (bytes([128 | n]) if n < 126 else b"\xfe" + struct.pack("!H", n) if n < 65536
                                             else b"\xff" + struct.pack("!Q", n))
        if any(key):
            whole = (key * (n // 4 + 1))[:n]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(n, "big")
        self.send(head + key + payload)

    def next(self):
        """The next frame: opcode (128: its last bit is not set), payload; None at the end."""
        head = self.exactly(2)
        if len(head) < 2:
            return None
        n = head[1]
        if n > 125:
            n = int.from_bytes(self.exactly(2 if n == 126 else 8), "big")
        return head[0] ^ 128, self.exactly(n)

    def data(self, n):
        """So many bytes of binary messages, however they are cut."""
        data = b""
        while len(data) < n and (got := self.next()) is not None and got[0] == 2:
            data += got[1]
        return data

    def wait(self, opcode):
        """The payload of the next frame of this opcode, and the bytes of the binary messages before it."""
        data = []
        while (got := self.next()) is not None and got[0] != opcode:
            data.append(got[1] if got[0] == 2 else b"")
        return (got[1] if got else None), b"".join(data)


def dns(r, lines, **env):
    """The environment in which names have these addresses; None where that cannot be had. The questions: asked(r)."""
    if (lib := preload(r, "dns", "names with chosen addresses")) is None:
        return None
    write(f"{r.tmp}/names", "".join(l + "\n" for l in lines))
    write(f"{r.tmp}/names.asked", "")
    return {"LD_PRELOAD": lib, "DNS_FILE": f"{r.tmp}/names", **env}


def asked(r):
    return read(f"{r.tmp}/names.asked").split()
