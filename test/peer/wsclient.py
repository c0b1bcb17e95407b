#!/usr/bin/env python3
"""A WebSocket client: sends, compares the echo, prints one JSON line, exits 0 or 1."""
import argparse
import asyncio
import json
import random
import ssl
import sys
import time
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatusCode, WebSocketException
from websockets.legacy.client import connect


async def talk(o, result):
    where, url = urlsplit(o.url), o.url
    more = {}
    if o.host:      # the URL tells where to connect, --host what to ask for
        url = where._replace(netloc=o.host).geturl()
        more = {"host": where.hostname, "port": where.port or 80}
    if o.cafile:
        more.update(ssl=ssl.create_default_context(cafile=o.cafile), server_hostname=urlsplit(url).hostname)
    ws = await connect(url, subprotocols=o.subprotocol or None, max_size=None, ping_interval=None, close_timeout=o.timeout,
                       compression="deflate" if o.deflate else None, open_timeout=o.timeout,
                       extra_headers=[tuple(h.split(": ", 1)) for h in o.header], **more)
    result.update(subprotocol=ws.subprotocol, headers=list(ws.response_headers.raw_items()))
    if o.report:
        result["report"] = json.loads(await ws.recv())
    for message in o.text + ([random.Random(2).randbytes(o.binary_size)] if o.binary_size is not None else []):
        for _ in range(o.repeat):
            await ws.send(message)
            answer = await ws.recv()
            if answer != message:
                raise ValueError(f"echo differs: {len(answer)} of {len(message)} sent")
            result["echoed"] += len(message)
    if o.ping:
        start = time.monotonic()
        await (await ws.ping(b"are you there"))
        result["ping_ms"] = round((time.monotonic() - start) * 1000, 2)
    if o.wait_close:
        try:
            while True:
                await ws.recv()
        except ConnectionClosed:
            pass
    else:
        await ws.close(o.close_code)
    result.update(code=ws.close_code, reason=ws.close_reason, ok=ws.close_code != 1006 or o.wait_close)


async def main(o):
    result = {"ok": False, "echoed": 0}
    try:
        await asyncio.wait_for(talk(o, result), o.timeout)
    except InvalidStatusCode as e:
        result.update(status=e.status_code, headers=list(e.headers.raw_items()))
    except asyncio.TimeoutError:
        result["error"] = "timeout"
    except ConnectionClosed as e:
        result.update(error=repr(e), code=e.rcvd.code if e.rcvd else 1006, reason=e.rcvd.reason if e.rcvd else "")
    except (OSError, ValueError, WebSocketException) as e:
        result["error"] = repr(e)
    print(json.dumps(result), flush=True)
    return 0 if result["ok"] else 1

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    a = parser.add_argument
    a("url")
    a("--subprotocol", action="append", default=[])
    a("--text", action="append", default=[])
    a("--binary-size", type=int, metavar="N")
    a("--repeat", type=int, default=1, help="send each message so many times")
    a("--host", metavar="HOST", help="Host field, in place of the URL's")
    a("--cafile", help="who may have signed the server's certificate (wss)")
    a("--header", action="append", default=[], metavar="'Name: value'")
    a("--report", action="store_true", help="a first text message is a report, print it")
    a("--ping", action="store_true", help="send a ping and wait for its pong")
    a("--deflate", action="store_true", help="offer permessage-deflate")
    a("--wait-close", action="store_true", help="leave the close to the server")
    a("--close-code", type=int, default=1000)
    a("--timeout", type=float, default=80)
    sys.exit(asyncio.run(main(parser.parse_args())))
