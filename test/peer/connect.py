#!/usr/bin/env python3
"""An HTTP proxy that knows CONNECT alone, RFC 9110 section 9.3.6: what stands between client and daemon.

What it does with the first, the second and every later connection stands in
--script, whose last word goes for all that follow.  It prints {"port": N},
then one JSON object for each request, with the credentials as they came and the
time, and a "violation" for what no client may send.  SIGUSR1 cuts all that is relayed.
"""
import argparse
import asyncio
import base64
import binascii
import json
import re
import signal
import time

AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[A-Za-z0-9._-]+):[1-9][0-9]{0,4}")
RELAYS = {"relay": "HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n",
          "old": "HTTP/1.0 200 Connection established\r\n\r\n",
          "interim": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
          "length": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"}
ANSWERS = {"garbage": "SSH-2.0-OpenSSH_9.2\r\n", "extra": "HTTP/1.1 200 OK\r\n\r\nhello", "close": "", "cut": "HTTP/1.1 200 O",
           "negotiate": "HTTP/1.1 407 P\r\nProxy-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n"}
BASIC = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\n\r\n"


def say(**event):
    print(json.dumps(event), flush=True)


def user(value):
    """Of "Basic ...", in one spelling only."""
    scheme, _, text = value.partition(" ")
    try:
        plain = base64.b64decode(text, validate=True)
        if scheme == "Basic" and base64.b64encode(plain).decode() == text and b":" in plain:
            return plain.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        pass
    say(violation=f"Proxy-Authorization: {value}")
    return None


def judge(head):
    """The target, the credentials and the fields of a request."""
    start, *lines = head.decode("latin-1").split("\r\n")
    m = re.fullmatch(r"CONNECT (\S+) HTTP/1\.1", start)
    if not m or not AUTHORITY.fullmatch(m.group(1)):
        say(violation=f"request line {start!r}")
        return None, None, []
    fields = [tuple(line.split(": ", 1)) for line in lines]
    if any(len(f) != 2 or not re.fullmatch(r"[A-Za-z-]+", f[0]) or "\n" in f[1] for f in fields):
        say(violation=f"fields {lines}")
        return None, None, []
    if [v for n, v in fields if n.lower() == "host"] != [m.group(1)]:
        say(violation=f"Host in {lines}")
    auth = [v for n, v in fields if n.lower() == "proxy-authorization"]
    if len(auth) > 1 or any(n.lower() in ("authorization", "content-length", "transfer-encoding") for n, _ in fields):
        say(violation=f"fields {lines}")
    return m.group(1), user(auth[0]) if auth else None, fields


async def copy(reader, writer):
    n = 0
    try:
        while data := await reader.read(65536):
            n += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()
    return n


class Proxy:
    def __init__(self, o):
        self.o, self.count, self.writers = o, 0, set()
        self.script = o.script.split(",")

    async def accept(self, reader, writer):
        word = self.script[min(self.count, len(self.script) - 1)]
        self.count += 1
        self.writers.add(writer)
        try:
            await self.serve(word, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def serve(self, word, reader, writer):
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := await reader.read(65536)):
                return
            data += more
        head, _, more = data.partition(b"\r\n\r\n")
        if more:
            say(violation=f"{len(more)} bytes before any answer")
        target, credentials, fields = judge(head)
        say(event="connect", target=target, credentials=credentials, fields=fields, script=word, at=time.monotonic())
        if not target:
            word = "400"
        elif self.o.credentials and credentials != self.o.credentials:
            writer.write(BASIC.encode())
        elif word in RELAYS:
            await self.relay(RELAYS[word], target, reader, writer)
        elif word in ANSWERS:
            writer.write(ANSWERS[word].encode())
        elif word == "407":
            writer.write(BASIC.encode())
        elif word == "silent":
            await reader.read()
            say(event="left", at=time.monotonic())
        elif word in ("drip", "huge"):
            await self.on_and_on(word, writer)
        else:
            writer.write(f"HTTP/1.1 {word} Whatever\r\nContent-Length: 3\r\n\r\nno\n".encode())
        await writer.drain()

    @staticmethod
    async def on_and_on(word, writer):
        """A head without end: slowly, or as fast as it is taken."""
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        try:
            while True:
                writer.write(b"x" if word == "drip" else b"x" * 1000 + b"\r\nX: ")
                await writer.drain()
                await asyncio.sleep(0.1 if word == "drip" else 0)
        except OSError:
            say(event="left", at=time.monotonic())

    async def relay(self, answer, target, reader, writer):
        host, _, port = target.rpartition(":")
        host, port = ("127.0.0.1", self.o.to) if self.o.to else (host.strip("[]"), int(port))
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        self.writers.add(far_writer)
        writer.write(answer.encode())
        try:
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        finally:
            self.writers.discard(far_writer)
            far_writer.close()
            say(event="over")

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()


async def main(o):
    proxy = Proxy(o)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, proxy.cut)
    say(port=server.sockets[0].getsockname()[1])
    await asyncio.sleep(o.life)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", default="relay", help="words, with commas: a status, silent, drip, huge, "
                        + ", ".join([*RELAYS, *ANSWERS]))
    parser.add_argument("--credentials", help="USER:PASSWORD, without which all it says is 407")
    parser.add_argument("--to", type=int, help="relay to this port of 127.0.0.1, wherever the request goes to")
    parser.add_argument("--life", type=float, default=600, help="ends after this (600 s)")
    asyncio.run(main(parser.parse_args()))
