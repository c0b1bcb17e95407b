"""What vtgo.py does wrong when it is told to (--evil NAME), as a client or a server or both.

The names that are not functions here are looked at where they belong, in vtssh.py and vtgo.py. What comes of it is told by events: lost
with the reason, evil with replies.
"""
import json
import os
import threading
import time

from vtssh import Gone, Key, blob_of, decode_key, frame, string, u32

# no-version: says nothing; garbage-version, endless-version: something else; no-kexinit, stop-kex: stops there; ignore-early: IGNORE before
# NEWKEYS; low-order: a public value of zeros; bad-host-signature, wrong-host, bad-accept, refuse-auth: the server's; mute-rekey: never answers
# a later KEXINIT; no-replies: to requests; slow-replies: 0.2 s each; never-confirm: channels; no-adjust: never gives window back; bad-signature,
# known-pub: the client's key is --evil-arg vt-pub-..., signed with its own; all of the client's below.
ELSEWHERE = ("no-version", "garbage-version", "endless-version", "no-kexinit", "stop-kex", "ignore-early", "low-order", "bad-host-signature",
             "wrong-host", "bad-accept", "refuse-auth", "mute-rekey", "no-replies", "slow-replies", "never-confirm", "no-adjust",
             "bad-signature", "known-pub")
BAD_LISTEN = ["", "{", "null", "[]", '"x"', '{"port":9000.5}', '{"port":"9000"}', '{"port":true}', '{"port":-1}', '{"port":70000}',
              '{"port":1}', '{"port":1e400}', '{"port":0}', '{}', '{"port":18446744073709551617}', '{"port":0,"domain":5}',
              '{"port":0,"domain":"a.local","headers":[]}', '{"port":0,"domain":"a.local","headers":{"A":"b"}}',
              '{"port":0,"domain":"a.local","headers":{"A":[1]}}', '{"port":0,"domain":"a.local","headers":{"A":["b\\r\\nX: y"]}}',
              '{"port":0,"domain":"a.local","headers":{"A\\r\\nX":["b"]}}', '{"port":0,"domain":"../etc"}', '{"port":0,"domain":"a b"}',
              '{"port":0,"domain":"' + "a" * 5000 + '"}', '{"port":0,"domain":"*"}', '{"port":0,"domain":"x\\u0000y"}',
              '{"port":0,"local_addr":5}', '{"port":0} x', "[" * 20000, '{"port":{"port":1}}', '{"domain":"a.local:0"}',
              '{"domain":"a.local:99999"}', '{"domain":":80"}', '{"domain":"a.local:80:80"}', '\xff\xfe']


def delay(conf):
    if conf.evil == "slow-replies":
        time.sleep(0.2)


def offered(key, o):
    """The public key the client offers."""
    return blob_of(decode_key("vt-pub-", o.evil_arg)) if o.evil == "known-pub" else key.blob


# Instead of authentication: f(client, transport, conf, say)

def service(client, t):
    client.ask(t, b"\x05" + string("ssh-userauth"), 6)
    return b"\x32" + string("vtunnel") + string("ssh-connection")


def auth20(client, t, _, say):
    """Twenty keys that nobody knows."""
    head = service(client, t)
    for i in range(20):
        key = Key()
        packet = client.ask(t, head + string("publickey") + b"\x00" + string(key.name) + string(key.blob), 51, 52, 60)
        say("evil", name="auth20", n=i + 1, what=packet[0])
    raise Gone("twenty failures, and still there")


def auth_stop(client, t, _, __):
    service(client, t)
    t.packet()


def auth_odd(client, t, _, say):
    """Methods and forms that do not exist: none may pass."""
    head = service(client, t)
    key = Key()
    for rest in (string("password") + b"\x00" + string("secret"), string("hostbased"), string("publickey") + b"\x01" + string(key.name)
                 + string(key.blob) + string(""), string("publickey") + b"\x00" + string("ssh-rsa") + string(b"x"), string("")):
        packet = client.ask(t, head + rest, 51, 52, 60)
        say("evil", name="auth-odd", what=packet[0])


def early_request(client, t, _, say):
    """A listen before authentication."""
    t.send(b"\x50" + string("listen") + b"\x01" + b'{"port":0,"domain":"early.local"}')
    say("evil", name="early-request", what=t.packet()[0])


def early_open(client, t, _, say):
    service(client, t)
    t.send(b"\x5a" + string("tunnel") + u32(0) + u32(1 << 21) + u32(1 << 15) + b'{"port":1}')
    say("evil", name="early-open", what=t.packet()[0])


BEFORE = {"auth20": auth20, "auth-stop": auth_stop, "auth-odd": auth_odd, "early-request": early_request, "early-open": early_open}


# After authentication, in a thread of its own: f(mux, say)

def silent(mux, _):
    """Reads, and answers nothing any more."""
    mux.packet = lambda packet: None
    with mux.t.cond:
        mux.t.held = True


def stop_reading(mux, _):
    mux.t.ws.recv = lambda: time.sleep(1 << 20)


def garbage(mux, _):
    mux.t.raw(os.urandom(4096))


def bad_tag(mux, _):
    mux.t.raw(u32(32) + os.urandom(48))


def huge_length(mux, _):
    mux.t.raw(b"\x7f\xff\xff\xf0" + os.urandom(65536))


def zero_length(mux, _):
    mux.t.raw(bytes(64))


def replay(mux, _):
    mux.request("ping")
    mux.t.raw(mux.t.last)


def rekey_storm(mux, _):
    """New keys without a pause for as long as the session is there."""
    while not mux.t.over:
        mux.t.rekey()
        time.sleep(0.001)


def half_rekey(mux, _):
    """Our KEXINIT and nothing more."""
    mux.t.conf.evil = "mute-rekey"
    mux.t.rekey()


def ask(mux, say, name, payload=b"", want=b"\x01", label=""):
    try:
        if want == b"\x01":
            ok, answer = mux.request(name, payload, 10)
            say("evil", name=label or name, sent=payload[:120].decode("latin-1"), ok=ok, what=answer.decode("utf-8", "replace"))
        else:
            mux.send(b"\x50", string(name), want, payload)
    except Gone as e:
        say("evil", name=label or name, sent=payload[:120].decode("latin-1"), lost=str(e))


def unknown_requests(mux, say):
    for name in ("", "x", "tcpip-forward", "keepalive@openssh.com", "hostkeys-00@openssh.com", "LISTEN", "ping\0", "y" * 20000):
        ask(mux, say, name, b"payload", label=name[:20])
        ask(mux, say, name, b"payload", b"\x00")
    ask(mux, say, "ping", b"with a payload")
    say("evil", name="unknown-requests", what="end")


def bad_listen(mux, say):
    for text in BAD_LISTEN:
        ask(mux, say, "listen", text.encode("latin-1"))
    ask(mux, say, "listen", json.dumps({"port": 0, "domain": "big.local", "x": "y" * 200000}).encode()[:32000])
    ask(mux, say, "listen", b'{"port":1,"port":0,"domain":"first.local","domain":"second.local"}')
    say("evil", name="bad-listen", what="end")


def flood_requests(mux, _):
    """Pings by the hundred thousand, whose answers nobody reads."""
    stop_reading(mux, None)
    for _ in range(100000):
        mux.wait_room()
        mux.send(b"\x50", string("ping"), b"\x01")


def flood_listens(mux, say):
    """A hundred thousand domains."""
    for i in range(100000):
        if mux.t.over:
            break
        ok, what = mux.request("listen", json.dumps({"port": 0, "domain": f"d{i}.local"}).encode())
        if not ok:
            say("evil", name="flood-listens", n=i, what=what.decode("utf-8", "replace"))
            break


def client_open(mux, say):
    for kind in ("tunnel", "session", "direct-tcpip", "", "x" * 30000):
        channel = mux.channel(True)
        mux.send(b"\x5a", string(kind), u32(channel.id), u32(1 << 21), u32(1 << 15), b'{"port":1}')
        with channel.cond:
            channel.cond.wait_for(lambda c=channel: c.state != "asked" or mux.t.over)
        say("evil", name="client-open", kind=kind[:20], what=channel.state)


def packets(*more):
    def act(mux, _):
        for packet in more:
            mux.send(packet)
    return act


def frames(make, masked=True):
    def act(mux, _):
        ws = mux.t.ws
        ws.put(make(os.urandom(4) if ws.client == masked else None))
    return act


AFTER = {
    "silent": silent, "stop-reading": stop_reading, "garbage": garbage, "bad-tag": bad_tag, "huge-length": huge_length,
    "zero-length": zero_length, "replay": replay, "rekey-storm": rekey_storm, "half-rekey": half_rekey, "unknown-requests": unknown_requests,
    "bad-listen": bad_listen, "flood-requests": flood_requests, "flood-listens": flood_listens, "client-open": client_open,
    "unasked-reply": packets(b"\x51pong"), "unknown-number": packets(b"\xc8hello"), "unimplemented": packets(b"\x03" + u32(1)),
    "data-unknown": packets(b"\x5e" + u32(77) + string("x")), "close-unknown": packets(b"\x61" + u32(77)),
    "confirm-unknown": packets(b"\x5b" + u32(77) + u32(0) + u32(1 << 21) + u32(1 << 15)), "short-packet": packets(b"\x5e\x00"),
    "odd-string": packets(b"\x50\xff\xff\xff\xffping\x01"), "newkeys": packets(b"\x15"), "kex-init": packets(b"\x1e" + string(bytes(32))),
    "bad-kexinit": packets(b"\x14" + os.urandom(200)), "no-match": packets(b"\x14" + bytes(16) + string("x") * 10 + bytes(5)),
    "auth-again": packets(b"\x32" + string("root") + string("ssh-connection") + string("none")),
    "service-again": packets(b"\x05" + string("ssh-userauth")), "ext-info": packets(b"\x07" + u32(0)), "ping-192": packets(b"\xc0" + string("x")),
    "ignored": packets(*[b"\x02" + string("x"), b"\x04\x01" + string("debug") + string("")] * 20),
    "ignore-flood": lambda mux, _: [mux.wait_room() or mux.send(b"\x02", string(bytes(30000))) for _ in range(2000)],
    "big-request": lambda mux, say: ask(mux, say, "ping", bytes(200000), label="big-request"),
    "disconnect": packets(b"\x01" + u32(11) + string("bye") + string("")), "ws-close": frames(lambda key: frame(8, b"\x03\xe8", key=key)),
    "ws-ping": frames(lambda key: frame(9, b"x", key=key)), "ws-mask": frames(lambda key: frame(2, b"x" * 32, key=key), False),
    "ws-rsv": frames(lambda key: b"\xc2" + frame(2, b"x", key=key)[1:]), "ws-opcode": frames(lambda key: frame(3, b"x", key=key)),
    "ws-huge": frames(lambda key: b"\x82\xff" + b"\x3f" + b"\xff" * 7 + b"abcd"), "ws-continuation": frames(lambda key: frame(0, b"x", key=key)),
    "ws-empty": frames(lambda key: frame(2, b"", key=key) * 1000), "ws-long-ping": frames(lambda key: frame(9, b"x" * 126, key=key)),
}


def authenticated(mux, say):
    name = mux.conf.evil
    if name in AFTER:
        threading.Thread(target=guarded, args=(AFTER[name], mux, say), daemon=True).start()


def guarded(act, *args):
    try:
        act(*args)
    except Gone:
        pass


# With a channel that has just been opened: is it taken care of?

def overrun(mux, ch):
    for _ in range(512):        # what is read meanwhile is not given back to us: 16 MiB are more than any window
        mux.send(b"\x5e", u32(ch.peer), string(bytes(32768)))


def big_packet(mux, ch):
    mux.send(b"\x5e", u32(ch.peer), string(bytes(ch.peer_max + 1)))


def behind_close(mux, ch):
    mux.send(b"\x61", u32(ch.peer))
    ch.sent_close = True
    mux.send(b"\x5e", u32(ch.peer), string("late"))


def adjust_overflow(mux, ch):
    for _ in range(3):
        mux.send(b"\x5d", u32(ch.peer), u32(0xffffffff))


def behind_eof(mux, ch):
    mux.send(b"\x60", u32(ch.peer))
    mux.send(b"\x5e", u32(ch.peer), string("late"))


def twice(packet):
    def act(mux, ch):
        for _ in range(2):
            mux.send(bytes([packet]), u32(ch.peer))
        ch.sent_close = ch.sent_close or packet == 97
    return act


def confirm_twice(mux, ch):
    mux.send(b"\x5b", u32(ch.peer), u32(ch.id), u32(1 << 21), u32(1 << 15))


def extended(mux, ch):
    mux.send(b"\x5f", u32(ch.peer), u32(1), string("stderr"))


def channel_request(mux, ch):
    mux.send(b"\x62", u32(ch.peer), string("exec"), b"\x01", string("id"))


def unasked(mux, ch):
    mux.send(b"\x63", u32(ch.peer))


def hang(_, __):
    """Nothing at all on this channel."""


def close_at_once(mux, ch):
    ch.close()


CHANNEL = {"window-overrun": overrun, "big-packet": big_packet, "data-after-close": behind_close, "adjust-overflow": adjust_overflow,
           "data-after-eof": behind_eof, "eof-twice": twice(96), "close-twice": twice(97), "confirm-twice": confirm_twice, "extended": extended,
           "channel-request": channel_request, "channel-success": unasked, "hang": hang, "close-at-once": close_at_once}


def opened(mux, channel, say):
    act = CHANNEL.get(mux.conf.evil)
    if act:
        act(mux, channel)
        say("evil", name=mux.conf.evil, id=channel.id)
    return bool(act)


NAMES = {*ELSEWHERE, *BEFORE, *AFTER, *CHANNEL}
