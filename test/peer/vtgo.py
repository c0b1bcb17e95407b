#!/usr/bin/python3
"""A stand-in for a Go peer of vtunnel, client or server, written from the wire specification alone.

It is as strict as Go's SSH: what would make a Go peer end the session is {"event": "violation", "what": ...} here, and a test that sees
one has failed. It prints JSON lines. SIGUSR1 starts a key exchange, SIGUSR2 cuts the connections, SIGTERM ends it.

    vtgo.py client URL [--key vt-priv...|--key-file F] --forward 9000=localhost:3000 [--forward my.local=localhost:80] ...
    vtgo.py server [--key vt-pub...] [--port 0] ...
    vtgo.py keygen
    vtgo.py selftest

Events: connected, keys, host_key, authenticated, listening, rejected, opened, closed, pong, violation, lost, failed; of the server
serving, client, listening, mapped, waiting, evil.
"""
import argparse
import base64
import collections
import errno
import hashlib
import os
import re
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.parse

import vtevil
from vtmux import Mux, compact, go_json, quiet, say, start
from vtssh import GUID, Conf, Cur, Gone, Key, Transport, Violation, WebSocket, blob_of, decode_key, encode_key, string, u32, verify


class Role:
    def __init__(self, o):
        self.o, self.muxes, self.lock = o, set(), threading.Lock()

    def conf(self, **more):
        conf, o = Conf(), self.o
        conf.kex, conf.ciphers, conf.evil, conf.rekey = o.kex, o.cipher, o.evil, o.rekey_bytes
        vars(conf).update(more)
        return conf

    def on_request(self, _, name, __):
        if name != "ping":
            return False, b""
        say("pinged")
        return True, b"pong"

    def session(self, t, conf):
        """A connection that is authenticated, until its end."""
        mux = Mux(t, conf, self)
        with self.lock:
            self.muxes.add(mux)
        try:
            start(mux.pings)
            start(self.up, mux)
            vtevil.authenticated(mux, say)
            mux.run()
        finally:
            with self.lock:
                self.muxes.discard(mux)
            self.down(mux)

    def each(self, act):
        with self.lock:
            ts = [mux.t for mux in self.muxes]
        for t in ts:
            act(t)

    def attend(self, t, work):
        """work(), the whole of a connection, and how that ended."""
        try:
            work()
        except (Gone, OSError) as e:
            t.end("")
            self.tell(e, t)
        finally:
            t.end("end")

    @staticmethod
    def tell(e, t):
        if isinstance(e, Violation):
            say("violation", what=str(e))
        say("lost", what=str(e) if t is None or t.over in ("", "end", None) else t.over)


def no_delay(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_head(sock):
    """A head, its end, and what has come behind it; no end: it broke off, or is too long."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) <= 65536 and (more := sock.recv(65536)):
        data += more
    return data.partition(b"\r\n\r\n")


class Client(Role):
    """vtunnel client."""

    def __init__(self, o):
        super().__init__(o)
        self.ports, self.domains = {}, {}
        self.seed = o.key and decode_key("vt-priv-", o.key)
        for left, _, target in (forward.partition("=") for forward in o.forward):
            if left.isdigit():
                self.ports[int(left)] = target
            else:
                self.domains[left] = target

    def dial(self):
        url = urllib.parse.urlsplit(self.o.url)
        port = url.port or (443 if url.scheme == "wss" else 80)
        sock = no_delay(socket.create_connection((url.hostname, port), 60))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.o.rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.o.rcvbuf)
        if url.scheme == "wss":
            sock = ssl.create_default_context(cafile=self.o.ca).wrap_socket(sock, server_hostname=url.hostname)
        key = base64.b64encode(os.urandom(16))
        path = (url.path or "/") + ("?" + url.query if url.query else "")
        fields = "".join(f"{name}: {value.strip()}\r\n" for name, _, value in (h.partition(":") for h in self.o.request_header))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n"
                     f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n{fields}\r\n".encode())
        head, whole, rest = read_head(sock)
        if not whole:
            raise Gone(f"no answer to the upgrade but {head[:200]!r}")
        status, *fields = head.decode("latin-1").split("\r\n")
        got = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        if (status.split()[1:2] != ["101"] or got.get("upgrade", "").lower() != "websocket" or "upgrade" not in got.get("connection", "").lower()
                or got.get("sec-websocket-accept") != accept or "sec-websocket-extensions" in got):
            raise Gone(f"no upgrade: {head[:300]!r}")
        sock.settimeout(None)
        return WebSocket(sock, True, rest)

    def once(self):
        """One connection from the dial to its end; was it ever up?"""
        try:
            ws = self.dial()
        except (Gone, OSError) as e:
            self.tell(e, None)
            return False
        say("connected")
        key = Key(self.seed) if self.seed else None
        conf, up = self.conf(key=key, offered=vtevil.offered(key, self.o) if key else b""), []
        t = Transport(ws, True, conf, say)

        def work():
            t.start()
            self.authenticate(t, conf)
            say("authenticated", version=t.versions[1].decode("latin-1"))
            up.append(t)
            self.session(t, conf)
        self.attend(t, work)
        ws.sock.close()
        return bool(up)

    @staticmethod
    def ask(t, packet, *numbers):
        """The answer; one EXT_INFO may come before it, and banners."""
        if packet:
            t.send(packet)
        ext = 0
        while True:
            packet = t.packet()
            if packet[0] == 7 and not ext and numbers != (60, 51):
                ext += 1
                say("ext_info", what=packet[1:].decode("latin-1"))
            elif packet[0] in numbers:
                return packet
            elif packet[0] != 53:
                raise Violation(f"packet {packet[0]} where one of {numbers} was due")

    def authenticate(self, t, conf):
        evil = conf.evil
        if evil in vtevil.BEFORE:
            return vtevil.BEFORE[evil](self, t, conf, say)
        cur = Cur(self.ask(t, b"\x05" + string("ssh-userauth"), 6), 1)
        if cur.text() != "ssh-userauth":
            raise Violation("another service accepted")
        head = b"\x32" + string("vtunnel") + string("ssh-connection")
        packet = self.ask(t, head + string("none"), 51, 52)
        if packet[0] == 52:
            return None
        if not conf.key or "publickey" not in Cur(packet, 1).names():
            raise Gone(f"unable to authenticate, attempted methods [none], {packet[1:]!r}")
        name, blob = string(conf.key.name), conf.offered
        packet = self.ask(t, head + string("publickey") + b"\x00" + name + string(blob), 60, 51)
        if packet[0] == 60:
            cur = Cur(packet, 1)
            if cur.text() != conf.key.name or cur.string() != blob:
                raise Violation("PK_OK for another key")
            packet = self.ask(t, self.signed(t, head, name, blob, conf), 51, 52)
        if packet[0] == 51:
            raise Gone("unable to authenticate, attempted methods [none publickey]")
        return None

    @staticmethod
    def signed(t, head, name, blob, conf):
        request = head + string("publickey") + b"\x01" + name + string(blob)
        signature = conf.key.sign(string(b"x" if conf.evil == "bad-signature" else t.sid) + request)
        return request + string(signature)

    def up(self, mux):
        """Replay the listens."""
        try:
            for port, target in list(self.ports.items()):
                self.listen(mux, {"port": port, "local_addr": target}, target)
            for domain, target in self.domains.items():
                self.listen(mux, {"port": 0, "local_addr": target, "domain": domain}, target)
            say("up")
        except Gone:
            pass

    def listen(self, mux, fields, target):
        if self.o.header and "domain" in fields:
            fields["headers"] = {}
            for name, _, value in (h.partition(":") for h in self.o.header):
                fields["headers"].setdefault(name, []).append(value.strip())
        ok, payload = mux.request("listen", compact(fields))
        text = payload.decode("utf-8", "replace")
        if not ok:
            say("rejected", port=fields["port"], domain=fields.get("domain"), what=text)
            if self.o.exit_rejected:
                os._exit(1)
            return
        reply = go_json(payload, {"port": int, "local_addr": str}) if payload and not self.o.old else {}
        if reply is None or "domain" in fields and not reply.get("port"):
            say("rejected", port=fields["port"], domain=fields.get("domain"), what=f"bad reply {text}")
            return
        port = reply.get("port") or fields["port"]
        self.ports[port] = reply.get("local_addr") or target
        say("listening", port=port, domain=fields.get("domain"), target=target, reply=text)

    def on_open(self, mux, kind, peer, window, limit, payload):
        if kind != "tunnel":
            return mux.refuse(peer, 3, "unknown channel type")
        fields = go_json(payload, {"port": int})
        if fields is None:
            return mux.refuse(peer, 2, "invalid tunnel request")
        port = fields.get("port", 0)
        if port not in self.ports:
            say("unknown_port", port=port)
            return mux.refuse(peer, 2, "no forward for port")
        if self.o.evil == "never-confirm":
            return None
        channel = mux.confirm(peer, window, limit)
        say("opened", id=channel.id, port=port)
        if not vtevil.opened(mux, channel, say):
            start(self.target, channel, self.ports[port])
        return None

    def target(self, channel, target):
        try:
            tls = target.startswith("tls://")
            host, _, port = target.removeprefix("tls://").rpartition(":")
            host = host.strip("[]")
            sock = no_delay(socket.create_connection((host, int(port)), 10))
            if tls:
                sock = ssl.create_default_context(cafile=self.o.ca).wrap_socket(sock, server_hostname=host)
            sock.settimeout(None)
        except (OSError, ValueError) as e:
            say("dial_failed", id=channel.id, what=str(e))
            return channel.finish()
        if tls and self.o.old:
            plain = channel.read
            channel.read = lambda: re.sub(rb"\r\nHost: [^\r]*", b"\r\nHost: " + host.encode(), plain(), count=1)
        channel.join(sock)
        return None

    def down(self, mux):
        pass

    def run(self):
        waits, first = [], True
        while True:
            if self.once():
                first, waits = False, [0, 1, 2, 4, 5]
            elif first and not self.o.persist:
                say("failed")
                return 1
            if self.o.once:
                return 0
            wait = waits.pop(0) if len(waits) > 1 else waits[0] if waits else 1
            time.sleep(wait * self.o.wait_factor)


class Server(Role):
    """vtunnel server: any path is the WebSocket, but /health."""

    def __init__(self, o):
        super().__init__(o)
        self.public = o.key and decode_key("vt-pub-", o.key)
        self.blob = blob_of(self.public) if self.public else None
        self.current, self.cond = None, threading.Condition()
        self.held, self.map = {}, {}
        self.socket = socket.create_server((o.host, o.port), backlog=128)

    def run(self):
        port = self.socket.getsockname()[1]
        say("serving", port=port, url=f"ws://{self.o.host}:{port}/")
        while True:
            sock, _ = self.socket.accept()
            start(self.serve, no_delay(sock))

    def serve(self, sock):
        try:
            ws = self.upgrade(sock)
        except (Gone, OSError) as e:
            self.tell(e, None)
            ws = None
        if ws:
            conf = self.conf(public=self.blob)
            t = Transport(ws, False, conf, say)
            self.attend(t, lambda: self.admit(t, conf))
        sock.close()

    def admit(self, t, conf):
        if self.o.handshake > 0:
            timer = threading.Timer(self.o.handshake, lambda: t.end("handshake took too long"))
            timer.daemon = True
            timer.start()
        t.start()
        self.authenticate(t)
        if self.o.handshake > 0:
            timer.cancel()
        say("client", version=t.versions[1].decode("latin-1"), key=bool(self.blob))
        self.session(t, conf)

    def upgrade(self, sock):
        sock.settimeout(30)
        head, whole, rest = read_head(sock)
        if not whole:
            return None
        first, *lines_ = head.decode("latin-1").split("\r\n")
        method, path, _ = (first.split(" ") + ["", ""])[:3]
        lists = collections.defaultdict(list)
        for name, _, value in (line.partition(":") for line in lines_):
            lists[name.lower()].append(value.strip())
        fields = collections.defaultdict(str, {name: ",".join(values) for name, values in lists.items()})
        say("request", line=first, fields=lines_)
        if path == "/health":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return None

        def token(name, word):
            return word in [t.strip().lower() for t in fields[name].split(",")]

        try:
            key = base64.b64decode(fields["sec-websocket-key"], validate=True)
        except ValueError:
            key = b""
        status = ("400 Bad Request" if not token("connection", "upgrade") or not token("upgrade", "websocket")
                  else "405 Method Not Allowed" if method != "GET"
                  else "400 Bad Request" if fields["sec-websocket-version"] != "13" or len(key) != 16 else "")
        if status or self.o.status:
            status = status or self.o.status
            text = status.partition(" ")[2] + "\n"
            sock.sendall(f"HTTP/1.1 {status}\r\nSec-Websocket-Version: 13\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}"
                         .encode())
            return None
        if rest:
            raise Violation("bytes before the 101")
        accept = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID).digest()).decode()
        if self.o.evil == "bad-accept":
            accept = ("y" if accept[0] == "x" else "x") + accept[1:]
        sock.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                     .encode())
        sock.settimeout(None)
        return WebSocket(sock, False)

    def authenticate(self, t):
        def wanted(number):
            packet = t.packet()
            if packet[0] != number:
                raise Violation(f"packet {packet[0]} where {number} was due")
            return Cur(packet, 1)

        service = wanted(5).text()
        if service != "ssh-userauth":
            raise Violation(f"service {service}")
        t.send(b"\x06" + string(service))
        failures, free = 0, True
        while True:
            cur = wanted(50)
            user, service, method = cur.text(), cur.text(), cur.text()
            if service != "ssh-connection":
                raise Violation(f"service {service}")
            answer = self.judge(t, cur, user, method) if self.o.evil != "refuse-auth" else None
            if answer == b"\x34":
                t.send(answer)
                return
            if answer:
                t.send(answer)
                continue
            if method != "none" or not free:
                failures += 1
            free = False
            if failures >= 6:
                t.send(b"\x01" + u32(2) + string("too many authentication failures") + string(""))
                time.sleep(0.2)
                raise Gone("too many authentication failures")
            t.send(b"\x33" + string("publickey") + b"\x00")

    def judge(self, t, cur, user, method):
        """SUCCESS, PK_OK, or None."""
        if method == "none":
            return None if self.blob else b"\x34"
        if method != "publickey" or not self.blob:
            return None
        signed, name, blob = cur.byte(), cur.string(), cur.string()
        if name != b"ssh-ed25519" or blob != self.blob:
            say("wrong_key")
            return None
        if not signed:
            cur.end()
            return b"\x3c" + string(name) + string(blob)
        signature = cur.string()
        cur.end()
        data = (string(t.sid) + b"\x32" + string(user) + string("ssh-connection") + string("publickey") + b"\x01" + string(name)
                + string(blob))
        if not verify(blob, signature, data):
            raise Violation("bad signature of the client's key")
        return b"\x34"

    def up(self, mux):
        with self.cond:
            self.current = mux
            self.cond.notify_all()

    def down(self, mux):
        with self.cond:
            if self.current is mux:
                self.current = None

    def on_open(self, mux, kind, peer, _, __, ___):
        say("client_opens", kind=kind)
        mux.refuse(peer, 1, "not supported")

    def on_request(self, mux, name, payload):
        if name != "listen":
            return super().on_request(mux, name, payload)
        if self.o.reject:
            return False, self.o.reject.encode()
        types = {"port": int, "local_addr": str} if self.o.old else {"port": int, "local_addr": str, "domain": str, "headers": "headers"}
        fields = go_json(payload, types)
        say("listen", payload=payload.decode("utf-8", "replace"))
        if self.o.reply is not None:
            return True, self.o.reply.encode()
        if fields is None:
            return False, b"invalid payload"
        return self.listen(fields)

    def listen(self, fields):
        port, addr, domain = fields.get("port", 0), fields.get("local_addr", ""), fields.get("domain", "")
        if port and port in self.held:
            return True, b""
        if not 0 <= port <= 65535:
            return False, f"listen tcp: address {port}: invalid port".encode()
        try:
            sock = socket.create_server(("127.0.0.1", port), backlog=128)
        except OSError as e:
            text = {errno.EADDRINUSE: "address already in use", errno.EACCES: "permission denied"}.get(e.errno, str(e))
            return False, f"listen tcp 127.0.0.1:{port}: bind: {text}".encode()
        bound = sock.getsockname()[1]
        held = port if self.o.old else bound        # v0.1.0 notes 0 for a free one
        self.held[held] = sock
        start(self.accept, sock, held)
        host, _, rest = addr.rpartition(":")
        if domain:
            for key in [domain] if re.search(r":\d+$", domain) else [f"{domain}:80", f"{domain}:443"]:
                self.map[key] = bound
                say("mapped", key=key, port=bound, headers=fields.get("headers"))
        elif self.o.old and host and rest and ":" not in host and host not in ("localhost", "127.0.0.1"):
            self.map[addr] = bound
            say("mapped", key=addr, port=bound)
        say("listening", port=bound, asked=port, domain=domain, target=addr)
        return True, b"" if self.o.old else compact({"port": bound})

    def accept(self, listener, port):
        while True:
            sock, _ = listener.accept()
            start(self.visitor, no_delay(sock), port)

    def visitor(self, sock, port):
        end = time.monotonic() + self.o.hold
        with self.cond:
            if not self.current:
                say("waiting", port=port)
            self.cond.wait_for(lambda: self.current, max(0, end - time.monotonic()))
            mux = self.current
        payload = self.o.open_payload.encode() if self.o.open_payload else compact({"port": port})
        channel = mux and mux.open(payload, self.o.open_type)
        if not channel:
            return sock.close()
        say("opened", id=channel.id, port=port)
        if not vtevil.opened(mux, channel, say):
            channel.join(sock)
        return None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("keygen")
    kinds.add_parser("selftest")
    for kind in ("client", "server"):
        sub = kinds.add_parser(kind)
        a = sub.add_argument
        a("--key", help="vt-priv-... of the client, vt-pub-... of the server")
        a("--key-file", metavar="F", help="a file that holds it")
        a("--old", action="store_true", help="v0.1.0: no JSON in listen's reply, no domains, no time limit of ping")
        a("--rekey-bytes", type=int, default=1 << 36, metavar="N", help="new keys after so many bytes in a direction")
        a("--kex", action="append", metavar="NAME", help="instead of Go's list")
        a("--cipher", action="append", metavar="NAME", help="instead of Go's list")
        a("--keepalive", type=float, default=30, metavar="SECONDS", help="between pings; 0 or less is off")
        a("--quiet", action="append", default=[], metavar="EVENT", help="an event not to be told")
        a("--evil", default="", choices=["", *sorted(vtevil.NAMES)], help="a misbehaviour, see vtevil.py")
        a("--evil-arg", default="", metavar="TEXT")
        if kind == "client":
            a("url")
            a("--forward", action="append", default=[], metavar="PORT|DOMAIN=ADDR")
            a("--header", action="append", default=[], metavar="NAME:VALUE", help="of domain listens")
            a("--request-header", action="append", default=[], metavar="NAME:VALUE", help="of the upgrade")
            a("--ca", metavar="FILE", help="trusted by wss and tls://, instead of the system's")
            a("--once", action="store_true", help="do not reconnect")
            a("--persist", action="store_true", help="retry a first connect that failed too")
            a("--exit-rejected", action="store_true", help="exit when a listen is rejected, as the command line client does")
            a("--wait-factor", type=float, default=1, help="multiplies the waits between reconnects")
            a("--rcvbuf", type=int, help="of the connection")
        else:
            a("--host", default="127.0.0.1")
            a("--port", type=int, default=0)
            a("--reject", metavar="TEXT", help="refuses every listen with it")
            a("--reply", metavar="TEXT", help="accepts every listen with it and binds nothing")
            a("--status", metavar="LINE", help="refuses every upgrade with it: '503 Service Unavailable'")
            a("--hold", type=float, default=35, metavar="SECONDS", help="a visitor waits for a client")
            a("--handshake", type=float, default=30, metavar="SECONDS")
            a("--open-payload", metavar="TEXT", help="of channels instead of the port")
            a("--open-type", default="tunnel", metavar="NAME")
    return parser.parse_args()


def main():
    o = arguments()
    if o.kind == "keygen":
        key = Key()
        print(f"Private key (client): {encode_key('vt-priv-', key.seed)}\nPublic key (server):  {encode_key('vt-pub-', key.public)}")
        return 0
    if o.kind == "selftest":
        import vtvectors    # pylint: disable=import-outside-toplevel
        return vtvectors.run()
    if o.key_file:
        with open(o.key_file, encoding="ascii") as f:
            o.key = f.read().split()[-1]
    quiet.update(o.quiet)
    role = (Client if o.kind == "client" else Server)(o)
    signal.signal(signal.SIGUSR1, lambda *_: start(role.each, lambda t: t.rekey()))
    signal.signal(signal.SIGUSR2, lambda *_: start(role.each, lambda t: t.end("cut")))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    status = []
    thread = threading.Thread(target=lambda: status.append(role.run()), daemon=True)
    thread.start()
    thread.join()
    return status[0] if status else 1


if __name__ == "__main__":
    sys.exit(main())
