"""What follows authentication between a Go peer of vtunnel and another: global requests and channels, for vtgo.py.

Strict as Go's is: what it ends the session for is a Violation.
"""
import collections
import json
import socket
import sys
import threading

import vtevil
from vtssh import Cur, Gone, Violation, string, u32

WINDOW, PACKET = 2097152, 32768
lines = threading.Lock()
quiet = set()


def say(event, **fields):
    if event not in quiet:
        with lines:
            sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
            sys.stdout.flush()


def start(function, *args):
    threading.Thread(target=function, args=args, daemon=True).start()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def go_json(data, types):
    """Fields as encoding/json reads them: any key case, types strict, null is nothing. None for what it refuses."""
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if value is None:
        return {}
    if not isinstance(value, dict):
        return None
    out = {}
    for name, v in value.items():
        kind = types.get(name.lower())
        if not kind or v is None:
            continue
        if kind == "headers":
            if not isinstance(v, dict) or not all(isinstance(l, list) and all(isinstance(t, str) for t in l) for l in v.values()):
                return None
        elif type(v) is not kind:   # a bool is no int
            return None
        out[name.lower()] = v
    return out


class Channel:
    """One channel, and the socket it is copied to and from."""

    def __init__(self, mux, ours):
        self.mux, self.id, self.ours = mux, mux.free_id(), ours
        self.cond = threading.Condition()
        self.peer, self.peer_window, self.peer_max = 0, 0, 0
        self.window, self.consumed = WINDOW, 0
        self.state, self.sent_close, self.got_close, self.got_eof = "asked", False, False, False
        self.data, self.sock, self.finished, self.moved = collections.deque(), None, False, [0, 0]
        mux.channels[self.id] = self

    # towards the peer

    def write(self, data):
        at = 0
        while at < len(data):
            with self.cond:
                self.cond.wait_for(lambda: self.peer_window or self.dead())
                if self.dead():
                    raise Gone("channel closed")
                n = min(len(data) - at, self.peer_window, self.peer_max)
                self.peer_window -= n
            with self.cond:         # nothing behind CLOSE
                if self.sent_close:
                    raise Gone("channel closed")
                self.mux.send(b"\x5e", u32(self.peer), string(data[at:at + n]))
            self.mux.wait_room()
            at += n
            self.moved[0] += n

    def dead(self):
        return self.sent_close or self.got_close or self.mux.t.over

    def close(self):
        with self.cond:
            if not self.sent_close and self.state == "open":
                self.sent_close = True
                self.mux.send(b"\x61", u32(self.peer))
            self.cond.notify_all()

    def read(self):
        with self.cond:
            self.cond.wait_for(lambda: self.data or self.got_eof or self.got_close or self.sent_close or self.mux.t.over)
            data = self.data.popleft() if self.data else b""
            if data and "no-adjust" != self.mux.conf.evil:
                self.adjust(len(data))
            return data

    def adjust(self, n):
        self.consumed += n
        if WINDOW - self.window > 3 * PACKET or self.window < WINDOW // 2:
            n, self.consumed = self.consumed, 0
            self.window += n
            if not self.sent_close and not self.got_close:
                self.mux.send(b"\x5d", u32(self.peer), u32(n))

    # the socket

    def join(self, sock):
        """Copy both ways until either ends, then close both."""
        with self.cond:
            self.sock = sock
            if self.finished:       # the session ended meanwhile
                sock.close()
                return
        start(self.up)
        start(self.down)

    def up(self):
        try:
            while data := self.sock.recv(PACKET):
                self.write(data)
        except (OSError, ValueError, Gone):
            pass
        self.finish()

    def down(self):
        try:
            while data := self.read():
                self.sock.sendall(data)
                self.moved[1] += len(data)
        except (OSError, ValueError):
            pass
        self.finish()

    def finish(self):
        with self.cond:
            if self.finished:
                return
            self.finished = True
        self.close()
        if self.sock:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except (OSError, ValueError):
                pass
            self.sock.close()
        say("closed", id=self.id, sent=self.moved[0], got=self.moved[1])

    # from the peer; the reader calls these

    def came(self, number, cur):
        with self.cond:
            getattr(self, f"on_{number}")(cur)
            self.cond.notify_all()

    def decide(self):
        if not self.ours or self.state != "asked":
            raise Violation("an answer to no CHANNEL_OPEN")

    def on_91(self, cur):
        self.decide()
        self.peer, self.peer_window, self.peer_max = cur.num(), cur.num(), cur.num()
        if not 9 <= self.peer_max <= 1 << 31:
            raise Violation(f"maximum packet {self.peer_max}")
        self.state = "open"

    def on_92(self, cur):
        self.decide()
        reason, text = cur.num(), cur.text()
        self.state, self.got_close = "refused", True
        self.mux.drop(self)
        say("refused", id=self.id, reason=reason, what=text)

    def on_93(self, cur):
        self.peer_window += cur.num()
        if self.peer_window > 0xffffffff:
            raise Violation("window above 2^32-1")

    def on_94(self, cur):
        data = cur.string()
        cur.end()
        self.take(data)
        if data:
            self.data.append(data)

    def take(self, data):
        if len(data) > PACKET:
            raise Violation(f"{len(data)} bytes in a packet, the maximum is {PACKET}")
        if len(data) > self.window:
            raise Violation(f"{len(data)} bytes, {self.window} are left of the window")
        if self.got_eof:
            raise Violation("data behind EOF")
        if self.state != "open":
            raise Violation("data on a channel that is not open")
        self.window -= len(data)

    def on_95(self, cur):
        cur.num()
        self.take(cur.string())
        say("extended", id=self.id)

    def on_96(self, _):
        if self.got_eof:
            raise Violation("EOF twice")
        self.got_eof = True

    def on_97(self, _):
        if self.state != "open":
            raise Violation("CLOSE on a channel that is not open")
        if not self.sent_close:
            self.sent_close = True
            self.mux.send(b"\x61", u32(self.peer))
        self.got_close = True
        self.mux.drop(self)

    def on_98(self, cur):
        kind, want = cur.text(), cur.byte()
        say("channel_request", id=self.id, kind=kind, want=bool(want))
        if want:
            self.mux.send(b"\x64", u32(self.peer))

    def on_99(self, _):
        if self.mux.conf.evil == "channel-request":
            return
        raise Violation("an answer to no channel request")

    on_100 = on_99


class Mux:
    """What follows authentication: global requests and channels. on_open(cur fields) and on_request answer what the peer asks for."""

    def __init__(self, t, conf, role):
        self.t, self.conf, self.role, self.send, self.wait_room = t, conf, role, t.send, t.wait_room
        self.lock, self.channels = threading.RLock(), {}
        self.one, self.answer, self.asked, self.cond = threading.Lock(), None, False, threading.Condition()

    def free_id(self):
        return next(i for i in range(1 << 32) if i not in self.channels)

    def channel(self, ours):
        with self.lock:
            return Channel(self, ours)

    def drop(self, channel):
        with self.lock:
            self.channels.pop(channel.id, None)

    def request(self, name, payload=b"", wait=None):
        """A global request and its reply: (True or False, payload)."""
        with self.one, self.cond:
            self.answer, self.asked = None, True
            self.send(b"\x50", string(name), b"\x01", payload)
            if not self.cond.wait_for(lambda: self.answer or self.t.over, wait):
                raise Gone(f"no reply to {name}")
            if not self.answer:
                raise Gone(self.t.over)
            return self.answer

    def run(self):
        """Read until the end; raises what ended it."""
        try:
            while True:
                self.packet(self.t.packet())
        finally:
            self.t.end("end")
            with self.cond:
                self.cond.notify_all()
            with self.lock:
                left = list(self.channels.values())
            for channel in left:
                with channel.cond:
                    channel.cond.notify_all()
                channel.finish()

    def packet(self, packet):
        number, cur = packet[0], Cur(packet, 1)
        if number == 80:
            name, want = cur.text(), cur.byte()
            vtevil.delay(self.conf)
            ok, payload = self.role.on_request(self, name, cur.rest())
            if want and self.conf.evil != "no-replies":
                self.send(b"\x51" if ok else b"\x52", payload)
        elif number in (81, 82):
            with self.cond:
                if not self.asked:
                    raise Violation(f"reply {number} to no request: {cur.rest()[:100]!r}")
                self.answer, self.asked = (number == 81, cur.rest()), False
                self.cond.notify_all()
        elif number == 90:
            kind, peer, window, limit = cur.text(), cur.num(), cur.num(), cur.num()
            if not 9 <= limit <= 1 << 31:
                return self.refuse(peer, 2, "invalid request", "en_US.UTF-8")
            self.role.on_open(self, kind, peer, window, limit, cur.rest())
        elif 91 <= number <= 100:
            self.on_channel(number, cur)
        else:
            raise Violation(f"packet {number} after authentication: {packet[:64].hex()}")
        return None

    def on_channel(self, number, cur):
        ident = cur.num()
        with self.lock:
            channel = self.channels.get(ident)
        if channel:
            channel.came(number, cur)
        elif number != 98:
            raise Violation(f"packet {number} for channel {ident}, which is gone")

    def refuse(self, peer, reason, text, language="en"):
        self.send(b"\x5c", u32(peer), u32(reason), string(text), string(language))

    def confirm(self, peer, window, limit):
        channel = self.channel(False)
        channel.peer, channel.peer_window, channel.peer_max, channel.state = peer, window, limit, "open"
        self.send(b"\x5b", u32(peer), u32(channel.id), u32(WINDOW), u32(PACKET))
        return channel

    def open(self, payload, kind="tunnel"):
        """A channel of ours, confirmed; or None."""
        channel = self.channel(True)
        self.send(b"\x5a", string(kind), u32(channel.id), u32(WINDOW), u32(PACKET), payload)
        with channel.cond:
            channel.cond.wait_for(lambda: channel.state != "asked" or self.t.over)
        return channel if channel.state == "open" and not self.t.over else None

    def pings(self):
        """Each side asks every 30 s; from v0.2.2 on no answer in three times that ends the connection."""
        o = self.role.o
        while o.keepalive > 0:
            with self.t.cond:
                if self.t.cond.wait_for(lambda: self.t.over, o.keepalive):
                    return
            try:
                ok, payload = self.request("ping", wait=None if o.old else o.keepalive * 3)
            except Gone as e:
                self.t.end(f"ping: {e}")
                return
            say("pong", ok=ok, payload=payload.decode("latin-1"))
