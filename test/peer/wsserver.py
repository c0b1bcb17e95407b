#!/usr/bin/env python3
"""A WebSocket echo server: the local service of the tests for upgrades.

Prints {"port": N}.  Subprotocol vite-hmr, if it is asked for; on the path
/report a first text message tells path, subprotocol and request fields.
"""
import argparse
import asyncio
import json
import sys

from websockets.exceptions import ConnectionClosed
from websockets.legacy.server import serve


async def echo(ws):
    try:
        if ws.path.split("?")[0] == "/report":
            await ws.send(json.dumps({"path": ws.path, "subprotocol": ws.subprotocol,
                                      "headers": list(ws.request_headers.raw_items())}))
        async for message in ws:
            if message == "close 4321":
                return await ws.close(4321, "as you wish")
            await ws.send(message)
    except ConnectionClosed:
        pass
    return None


async def main(o):
    async with serve(echo, "127.0.0.1", o.port, subprotocols=["vite-hmr"], max_size=None,
                     ping_interval=None, compression="deflate" if o.deflate else None) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await asyncio.sleep(o.life)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--deflate", action="store_true", help="accept permessage-deflate")
    parser.add_argument("--life", type=float, default=600, help="ends after this (600 s)")
    try:
        asyncio.run(main(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit(0)
