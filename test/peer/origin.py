#!/usr/bin/env python3
"""The local service of the tests: HTTP/1.1 written by hand, so that it can misbehave.

Prints {"port": N} once it listens.  Every answer about itself is JSON.
"""
import argparse
import hashlib
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

BLOCK = random.Random(1).randbytes(1 << 20)     # the repeating content of /bytes
TYPICAL = {200: "OK", 204: "No Content", 304: "Not Modified", 404: "Not Found", 413: "Content Too Large",
           417: "Expectation Failed", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}


class Gone(Exception):
    """The peer has closed or reset its connection."""

    def __init__(self, kind):
        super().__init__(kind)
        self.kind = kind


class State:
    """What the connections have in common; lock guards all of it, and changes notify."""

    def __init__(self, wait):
        self.lock = threading.Condition()
        self.wait = wait
        self.accepted = self.open = self.hanging = self.requests = 0
        self.dropped = []       # how hanging connections ended: fin, reset
        self.sse = {}           # id -> events allowed
        self.released = set()   # ids of requests that may be answered
        self.stalls = {"sent": 0, "running": 0, "ended": [], "progress": 0.0}

    def change(self, **more):
        with self.lock:
            for name, n in more.items():
                setattr(self, name, getattr(self, name) + n)
            self.lock.notify_all()

    def until(self, test):
        """Waits until test() holds or the time is up; answers whether it holds."""
        with self.lock:
            return self.lock.wait_for(test, self.wait)


class Request:
    def __init__(self, method, target, version, fields):
        self.method, self.target, self.version, self.fields = method, target, version, fields
        self.path, query = urlsplit(target).path, urlsplit(target).query
        self.query = {k: v[0] for k, v in parse_qs(query, keep_blank_values=True).items()}
        self.trailers = []
        self.body_read = False

    def get(self, name):
        return next((v for n, v in self.fields if n.lower() == name), None)

    def number(self, name, default):
        return int(self.query.get(name, default))


class Connection:
    def __init__(self, sock, state):
        self.sock, self.state, self.number = sock, state, 0
        self.buf = bytearray()
        self.keep = True
        self.count = 0
        sock.settimeout(300)

    # bytes

    def fill(self):
        try:
            data = self.sock.recv(262144)
        except ConnectionError:
            raise Gone("reset") from None
        if not data:
            raise Gone("fin")
        self.buf += data

    def until(self, mark):
        while (at := self.buf.find(mark)) < 0:
            if len(self.buf) > 1 << 20:
                raise ValueError("line or head too long")
            self.fill()
        data = bytes(self.buf[:at])
        del self.buf[:at + len(mark)]
        return data

    def pieces(self, n):
        while n:
            if not self.buf:
                self.fill()
            data = bytes(self.buf[:n])
            del self.buf[:n]
            n -= len(data)
            yield data

    def send(self, data):
        try:
            self.sock.sendall(data)
        except ConnectionError:
            raise Gone("reset") from None

    # messages

    def request(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        if not self.count:      # the client looks whether somebody listens: that is no connection to count
            with self.state.lock:
                self.state.accepted += 1
                self.number = self.state.accepted
        self.state.change(requests=1)
        self.count += 1
        method, target, version = lines[0].split(" ")
        fields = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields.append((name, value.strip(" \t")))
        request = Request(method, target, version, fields)
        connection = [v.strip().lower() for n, v in fields if n.lower() == "connection" for v in v.split(",")]
        self.keep = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
        return request

    def body(self, request):
        """Yields the pieces of a request's body; asks for it first if that is expected."""
        if request.body_read:
            return
        request.body_read = True
        if (request.get("expect") or "").lower() == "100-continue" and not self.buf:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in (request.get("transfer-encoding") or "").lower():
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                yield from self.pieces(size)
                if self.until(b"\r\n"):
                    raise ValueError("no CRLF after a chunk")
            while line := self.until(b"\r\n"):
                request.trailers.append(line.decode("latin-1"))
        else:
            yield from self.pieces(int(request.get("content-length") or 0))

    def digest(self, request):
        total, length = hashlib.sha256(), 0
        for piece in self.body(request):
            total.update(piece)
            length += len(piece)
        return {"body_length": length, "body_sha256": total.hexdigest()}

    def head(self, status, fields):
        lines = [f"HTTP/1.1 {status} {TYPICAL.get(status, 'Status')}"] + [f"{n}: {v}" for n, v in fields]
        if not self.keep:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def answer(self, request, obj, status=200, fields=()):
        for _ in self.body(request):
            pass
        data = b"" if status in (204, 304) else (json.dumps(obj) if not isinstance(obj, str) else obj).encode() + b"\n"
        kind = "text/plain" if isinstance(obj, str) else "application/json"
        more = [] if status in (204, 304) else [("Content-Type", kind), ("Content-Length", len(data))]
        self.send(self.head(status, list(fields) + more) + (b"" if request.method == "HEAD" else data))

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.keep = False

    def ended(self):
        """Waits for the peer to leave; answers how it did."""
        try:
            while True:
                self.fill()
                self.buf.clear()
        except Gone as gone:
            return gone.kind
        except TimeoutError:
            return "timeout"

    def run(self):
        try:
            while self.keep:
                try:
                    request = self.request()
                except Gone:
                    break
                name = "do_" + request.path.strip("/").replace("-", "_").replace("1xx", "interim")
                handler = getattr(self, name, None)
                if handler:
                    handler(request)
                elif request.path == "/":
                    self.answer(request, "origin")
                else:
                    self.answer(request, {"error": "no such path", "target": request.target}, 404)
                for _ in self.body(request) if self.keep else ():
                    pass
        except (Gone, TimeoutError):
            pass
        except ValueError as e:
            print(json.dumps({"event": "bad_request", "what": str(e)}), file=sys.stderr, flush=True)
            try:
                self.keep = False
                self.send(self.head(400, [("Content-Length", 0)]))
            except Gone:
                pass
        finally:
            self.sock.close()
            self.state.change(open=-1)

    # paths

    def do_echo(self, r):
        result = self.digest(r)
        self.answer(r, {"method": r.method, "target": r.target, "version": r.version, "headers": r.fields, **result,
                        "trailers": r.trailers, "connection": self.number, "request": self.count})

    def do_upload(self, r):
        result = self.digest(r)
        self.answer(r, {**result, "trailers": r.trailers, "chunked": r.get("transfer-encoding") is not None})

    def do_bytes(self, r):
        left, chunked = r.number("n", 0), "chunked" in r.query
        kind = [("Content-Type", "application/octet-stream")]
        for _ in self.body(r):
            pass
        if chunked:
            kind.append(("Transfer-Encoding", "chunked"))
        elif "eof" in r.query:
            self.keep = False
        else:
            kind.append(("Content-Length", left))
        self.send(self.head(200, kind))
        if r.method == "HEAD":
            return
        view, piece = memoryview(BLOCK), r.number("piece", 1 << 20)
        at = 0      # where in the block the next piece begins
        while left:
            n = min(left, piece, len(BLOCK) - at)
            part = view[at:at + n]
            self.send(b"%x\r\n%b\r\n" % (n, part) if chunked else part)
            left, at = left - n, (at + n) % len(BLOCK)
        if chunked:
            self.send(b"0\r\n\r\n")

    def do_sse(self, r):
        """The first event comes at once, each further one after a GET /sse-next with the same id."""
        key, n = r.query.get("id", "0"), r.number("n", 5)
        with self.state.lock:
            self.state.sse.setdefault(key, 0)
        self.send(self.head(200, [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"),
                                  ("Transfer-Encoding", "chunked")]))
        for i in range(n):
            if i and not self.state.until(lambda: self.state.sse[key] >= i):    # pylint: disable=cell-var-from-loop
                self.keep = False
                return
            event = b"id: %d\ndata: event %d\n\n" % (i, i)
            self.send(b"%x\r\n%b\r\n" % (len(event), event))
        self.send(b"0\r\n\r\n")
        with self.state.lock:
            del self.state.sse[key]

    def do_sse_next(self, r):
        key = r.query.get("id", "0")
        known = self.state.until(lambda: key in self.state.sse)
        with self.state.lock:
            if known:
                self.state.sse[key] += 1
                self.state.lock.notify_all()
        self.answer(r, {"id": key, "known": known})

    def do_slow(self, r):
        time.sleep(r.number("ms", 100) / 1000)
        self.answer(r, {"ms": r.number("ms", 100)})

    def do_held(self, r):
        """The answer comes after a GET /release with the same id."""
        key = r.query.get("id", "0")
        self.answer(r, {"id": key, "released": self.state.until(lambda: key in self.state.released)})

    def do_release(self, r):
        with self.state.lock:
            self.state.released.add(r.query.get("id", "0"))
            self.state.lock.notify_all()
        self.answer(r, {})

    def do_hang(self, _):
        """Never answers; with part=N, after N bytes of a longer body."""
        if "part" in _.query:
            self.send(self.head(200, [("Content-Length", 1 << 30)]) + BLOCK[:_.number("part", 0)])
        self.state.change(hanging=1)
        kind = self.ended()
        with self.state.lock:
            self.state.dropped.append(kind)
        self.state.change(hanging=-1)
        self.keep = False

    def do_hung(self, r):
        """Waits until n requests hang."""
        n = r.number("n", 1)
        ok = self.state.until(lambda: self.state.hanging >= n)
        self.answer(r, {"hanging": self.state.hanging, "ok": ok})

    def do_dropped(self, r):
        """Waits until n hanging connections were dropped (default 0: answers at once)."""
        n = r.number("n", 0)
        ok = self.state.until(lambda: len(self.state.dropped) >= n)
        with self.state.lock:
            kinds = list(self.state.dropped)
        self.answer(r, {"count": len(kinds), "kinds": kinds, "hanging": self.state.hanging, "ok": ok})

    def do_die_before(self, r):
        """Closes without an answer; with reset=1 resets; with reused=1 only on a used connection."""
        if "reused" in r.query and self.count < 2:
            return self.answer(r, {"connection": self.number, "request": self.count})
        if "reset" in r.query:
            self.reset()
        self.keep = False
        return None

    def do_die_mid(self, r):
        n = r.number("n", 100000)
        framing = [] if "eof" in r.query else [("Content-Length", n)]
        self.send(self.head(200, framing) + (BLOCK * (n // len(BLOCK) + 1))[:n // 2])
        if "reset" in r.query:
            self.reset()
        self.keep = False

    def do_die_mid_chunked(self, _):
        self.send(self.head(200, [("Transfer-Encoding", "chunked")]) + b"5\r\nhello\r\n64\r\nhalf of it")
        self.keep = False

    def do_die_mid_head(self, _):
        self.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        self.keep = False

    def do_trailers(self, r):
        self.send(self.head(200, [("Trailer", "X-Sum, X-More"), ("Transfer-Encoding", "chunked")])
                  + (b"" if r.method == "HEAD" else b"5\r\nhello\r\n0\r\nX-Sum: 5\r\nX-More: yes\r\n\r\n"))

    def do_continue(self, r):
        asked = (r.get("expect") or "").lower() == "100-continue"
        before = len(self.buf)
        if asked and not before:    # a body that comes without being asked for shows within this
            before = bool(select.select([self.sock], [], [], 0.2)[0])
        result = self.digest(r)
        self.answer(r, {"asked": asked, "body_before_100": bool(asked and before), **result})

    def do_expect_reject(self, r):
        r.body_read = True
        self.keep = False
        self.send(self.head(417, [("Content-Length", 9)]) + b"rejected\n")

    def do_early(self, r):
        """413 at once and close; with drain=1 the body is read after the answer."""
        self.keep = False
        self.send(self.head(413, [("Content-Type", "text/plain"), ("Content-Length", 10)]) + b"too large\n")
        if "drain" in r.query:
            self.sock.shutdown(socket.SHUT_WR)
            self.ended()

    def do_dup(self, r):
        self.answer(r, "dup", fields=[("Set-Cookie", "a=1"), ("X-Between", "1"), ("Set-Cookie", "b=2; Path=/"),
                                      ("set-cookie", "a=3"), ("Link", "</1>"), ("Link", "</2>")])

    def do_interim(self, r):
        self.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        self.answer(r, "final")

    def do_status(self, r):
        self.answer(r, f"status {r.number('code', 200)}", r.number("code", 200))

    def do_http10(self, r):
        for _ in self.body(r):
            pass
        self.keep = False
        self.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold school\n")

    def do_nonsense(self, _):
        self.keep = False
        self.send(b"\x16\x03\x01 this is no HTTP\r\n\r\nat all\r\n")

    def do_hop(self, r):
        """Hop-by-hop fields in a response, which must not reach the caller."""
        self.answer(r, "hop", fields=[("Connection", "X-Private"), ("X-Private", "secret"), ("Keep-Alive", "timeout=5"),
                                      ("Proxy-Connection", "x"), ("X-Public", "kept")])

    def do_upgrade(self, r):
        """A 101 to any protocol, then every byte back until the end of what comes."""
        if not r.get("upgrade"):
            return self.answer(r, {"error": "no Upgrade"}, 400)
        self.keep = False
        self.send(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {r.get('upgrade')}\r\n"
                  "Connection: Upgrade\r\n\r\n".encode() + bytes(self.buf))
        self.buf.clear()
        try:
            while True:
                self.fill()
                self.send(bytes(self.buf))
                self.buf.clear()
        except Gone:
            self.sock.shutdown(socket.SHUT_WR) if self.sock.fileno() >= 0 else None
        return None

    def do_stall(self, r):
        """n bytes as fast as they go; /stalled tells how many went."""
        left, stalls, lock = r.number("n", 1 << 30), self.state.stalls, self.state.lock
        self.send(self.head(200, [("Content-Length", left)]))
        with lock:
            stalls["running"] += 1
        view, how = memoryview(BLOCK), "sent"
        try:
            while left:
                try:
                    n = self.sock.send(view[:min(left, 65536)])
                except OSError as e:
                    raise Gone("reset" if isinstance(e, ConnectionError) else "timeout") from None
                left -= n
                with lock:
                    stalls["sent"] += n
                    stalls["progress"] = time.monotonic()
        except Gone as gone:
            how = gone.kind
            raise
        finally:
            with lock:
                stalls["running"] -= 1
                stalls["ended"].append(how)
                lock.notify_all()

    def do_stalled(self, r):
        """Waits until senders have made no progress for 500 ms, or none is running."""
        stalls, quiet, end = self.state.stalls, r.number("ms", 500) / 1000, time.monotonic() + self.state.wait
        with self.state.lock:
            if "started" in r.query:
                self.state.lock.wait_for(lambda: stalls["sent"], self.state.wait)
            while stalls["running"] and time.monotonic() < end:
                idle = time.monotonic() - stalls["progress"]
                if idle >= quiet:
                    break
                self.state.lock.wait(quiet - idle)
            result = {"sent": stalls["sent"], "blocked": stalls["running"] > 0, "ended": list(stalls["ended"])}
        self.answer(r, result)

    def do_conns(self, r):
        """This connection counts; with open=N waits until at most N are open."""
        if "open" in r.query:
            self.state.until(lambda: self.state.open <= r.number("open", 1))
        with self.state.lock:
            result = {"accepted": self.state.accepted, "open": self.state.open, "requests": self.state.requests}
        self.answer(r, result)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--unix", metavar="PATH")
    parser.add_argument("--wait", type=float, default=30, help="bound on every wait for a condition (30 s)")
    parser.add_argument("--life", type=float, default=600, help="the whole process ends after this (600 s)")
    o = parser.parse_args()
    if o.unix:
        listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(o.unix):
            os.unlink(o.unix)
        listener.bind(o.unix)
    else:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", o.port))
    listener.listen(1024)
    threading.stack_size(256 * 1024)
    end = threading.Timer(o.life, os._exit, (3,))
    end.daemon = True
    end.start()
    print(json.dumps({"unix": o.unix} if o.unix else {"port": listener.getsockname()[1]}), flush=True)
    state = State(o.wait)
    while True:
        sock, _ = listener.accept()
        if not o.unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        state.change(open=1)
        threading.Thread(target=Connection(sock, state).run, daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
