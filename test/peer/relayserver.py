#!/usr/bin/env python3
"""Servers of python3-websockets for the tests of relays: wsproxy's own /relay, and what stands behind Cloudflare Access.
Prints {"port": N}, then an event a request."""
import argparse
import asyncio
import http
import json
import ssl
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.legacy.server import serve


async def through(ws, host, port):
    """Section 7 of wsproxy's: half-close one way, and the other way ends with no Close."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return await ws.close(1011, "cannot reach target")

    async def back():
        while data := await reader.read(32768):
            await ws.send(data)
        ws.transport.close()
    task = asyncio.ensure_future(back())
    try:
        async for message in ws:
            if isinstance(message, str):
                await ws.close(1003, "unexpected frame type read (expected MessageBinary): MessageText")
                break
            writer.write(message)
            await writer.drain()
    except ConnectionClosed:
        pass
    writer.close()
    task.cancel()
    return None


async def main(o):
    def say(**event):
        print(json.dumps(event), flush=True)

    async def check(path, headers):
        q = {k: v[0] for k, v in parse_qs(urlsplit(path).query).items()}
        say(event="request", path=path, fields=list(headers.raw_items()))
        if o.redirect:
            return http.HTTPStatus.FOUND, [("Location", o.redirect)], b""
        if o.access:
            return None
        if q.get("token", headers.get("Authorization", "").removeprefix("Bearer ")) != o.token:
            return http.HTTPStatus.UNAUTHORIZED, [("Content-Type", "text/plain; charset=utf-8")], b"unauthorized\n"
        if q["host"] in o.deny:
            return http.HTTPStatus.FORBIDDEN, [("Content-Type", "text/plain; charset=utf-8")], b"target address not allowed\n"
        return (http.HTTPStatus.TOO_MANY_REQUESTS, [], b"too many connections\n") if o.full else None

    async def handle(ws):
        q = {k: v[0] for k, v in parse_qs(urlsplit(ws.path).query).items()}
        if not o.access:
            return await through(ws, q["host"], int(q["port"]))
        total = 0
        try:
            async for message in ws:
                total += len(message)
                await ws.send(message)
                if message == b"bye":
                    await ws.close(1000, "")
        except ConnectionClosed:
            pass
        say(event="closed", code=ws.close_code, bytes=total)
        return None
    tls = None
    if o.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(o.cert)
    async with serve(handle, "127.0.0.1", 0, process_request=check, compression=None, max_size=None, ssl=tls,
                     ping_interval=o.ping, close_timeout=5) as server:
        say(port=server.sockets[0].getsockname()[1])
        await asyncio.sleep(600)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    a = parser.add_argument
    a("--token", default="", help="wsproxy: what it takes")
    a("--deny", action="append", default=[], help="wsproxy: a host it does not allow")
    a("--full", action="store_true", help="wsproxy: 429")
    a("--access", action="store_true", help="be what stands behind Cloudflare Access: echo")
    a("--redirect", help="answer 302 with this place")
    a("--cert", help="PEM file, for TLS")
    a("--ping", type=float, help="seconds")
    asyncio.run(main(parser.parse_args()))
