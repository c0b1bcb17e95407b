#!/usr/bin/env python3
"""A WebSocket echo server: the local service of the tests for upgrades, and what stands behind Cloudflare Access.

Prints {"port": N}, then an event a request and an end.  Subprotocol vite-hmr,
if it is asked for; on the path /report a first text message tells path,
subprotocol and request fields.
"""
import argparse
import asyncio
import http
import json
import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.legacy.server import serve


def say(**event):
    print(json.dumps(event), flush=True)


async def talk(ws):
    """The bytes that have come, once it is over."""
    total = 0
    try:
        if ws.path.split("?")[0] == "/report":
            await ws.send(json.dumps({"path": ws.path, "subprotocol": ws.subprotocol,
                                      "headers": list(ws.request_headers.raw_items())}))
        async for message in ws:
            total += len(message)
            if message == "close 4321":
                await ws.close(4321, "as you wish")
                break
            await ws.send(message)
            if message == b"bye":
                await ws.close()
    except ConnectionClosed:
        pass
    return total


async def echo(ws):
    total = await talk(ws)
    say(event="closed", code=ws.close_code, bytes=total)


async def main(o):
    async def first(path, headers):
        say(event="request", path=path, fields=list(headers.raw_items()))
        return (http.HTTPStatus.FOUND, [("Location", o.redirect)], b"") if o.redirect else None
    tls = None
    if o.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(o.cert)
    async with serve(echo, "127.0.0.1", o.port, subprotocols=["vite-hmr"], max_size=None, process_request=first, ssl=tls,
                     ping_interval=None, compression="deflate" if o.deflate else None) as server:
        say(port=server.sockets[0].getsockname()[1])
        await asyncio.sleep(o.life)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--deflate", action="store_true", help="accept permessage-deflate")
    parser.add_argument("--cert", help="PEM file, for TLS")
    parser.add_argument("--redirect", help="answer 302 with this place")
    parser.add_argument("--life", type=float, default=600, help="ends after this (600 s)")
    try:
        asyncio.run(main(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit(0)
