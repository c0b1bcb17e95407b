"""The specification's vectors V1 to V9 against vtgo.py itself: vtgo.py selftest."""
import base64

from cryptography.hazmat.primitives.asymmetric import x25519

import vtgo
import vtmux
from vtssh import (HOST_KEYS, RAW, SEALS, Conf, Gcm, Key, blob_of, curve, decode_key, derive, encode_key, exchange_hash, frame, host_key,
                   kexinit, read_kexinit, sha256, string, u32, verify)

I_S = """
14515151515151515151515151515151510000004b637572766532353531392d7368613235362c637572766532353531392d736861323536406c69627373682e6f72672c
6b65782d7374726963742d732d763030406f70656e7373682e636f6d0000000b7373682d65643235353139000000166165733132382d67636d406f70656e7373682e636f6d
000000166165733132382d67636d406f70656e7373682e636f6d0000000d686d61632d736861322d3235360000000d686d61632d736861322d323536
000000046e6f6e65000000046e6f6e6500000000000000000000000000"""
PACKETS = [
    ("c2s", "050000000c7373682d7573657261757468",
     "00000020507c224a16064306e0a5f509d2f7071be78afb09b63a4b5255088969087d4c4f6c4fe87c7926960e6e9a42155dcd75db"),
    ("c2s", "32000000077674756e6e656c0000000e7373682d636f6e6e656374696f6e000000046e6f6e65",
     "0000003060d4bf9972c8f46a605edaa8a9ce63d0581d6274cbe4fd78e5e44e613c73fa25763b11b024cc5a2b3ab3581a5708ebfece00a495a45ea452d013a19d351f8e39"),
    ("s2c", "060000000c7373682d7573657261757468",
     "00000020db67eac3adbb3b65121e9bd6c8af8e7ee58409408092d87a4229ee6d7c1a2c5bc5e3026fee31aead1429332e5d1e22f8")]
KEYS = {"c2s": ("C", "574b7493539891f3eb6c52780a445b64", "A", "53174d73edf6676ba72032db"),
        "s2c": ("D", "e57c301edd3885e9add4ca284bafc4a8", "B", "68ed60d4cc1b86d55c3f0793")}
count = [0, 0]


def check(what, got, want):
    got = got.hex() if isinstance(got, bytes) else got
    want = want.hex() if isinstance(want, bytes) else want
    count[got != want] += 1
    if got != want:
        print(f"FAIL {what}: {got} is not {want}")


class Sent(list):
    """A transport that keeps what is sent."""

    over, queued, sid = "", 0, None

    def send(self, *parts):
        self.append(b"".join(parts))

    def wait_room(self):
        pass


def keys():
    key = Key(bytes(range(32)))
    check("V1 private", encode_key("vt-priv-", key.seed), "vt-priv-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
    check("V1 public", encode_key("vt-pub-", key.public), "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg")
    check("V1 back", decode_key("vt-priv-", encode_key("vt-priv-", key.seed)), key.seed)
    check("V1 blob", key.blob, "0000000b7373682d656432353531390000002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
    check("V1 host seed", sha256(key.blob), "95b9aca00d322047048950d19cc5aece6fa757edd9104a5521446a168792b298")
    host = host_key(blob_of(key.public))
    check("V1 host public", host.public, "960922de043f7975d5f8fb1d603de2869158e6f10b3e2eacf1b6be7d8de99ee8")
    check("V1 host fp", base64.b64encode(sha256(host.blob)).decode(), "wi4g+2epo3RtWUBAqyRu5e7KlVU5i7DKns5IzGebEcQ=")
    for bad in ("vt-priv-AAEC", "vt-pub-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "vt-priv-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                "vt-priv-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9"):
        try:
            check(f"V1 {bad}", decode_key("vt-priv-", bad), "refused")
        except ValueError:
            count[0] += 1
    return key, host


def messages():
    version = b"SSH-2.0-Go\r\n"
    check("V2 server", frame(2, version), "820c5353482d322e302d476f0d0a")
    check("V2 client", frame(2, version, key=bytes.fromhex("37fa213d")), "828c37fa213d64a9691005d4111070952c37")


def exchange(host):
    init = kexinit(True, HOST_KEYS, cookie=b"\xc1" * 16)
    check("V3 I_C", sha256(init), "a94db4a2a52b221a48d1bc9c4fb2287c1280bb26ebc4a4056fc32aaae327939c")
    theirs = bytes.fromhex(I_S.replace("\n", ""))
    check("V3 I_S read", read_kexinit(theirs)[0][1], ["ssh-ed25519"])
    pair = [x25519.X25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (0x11, 0x22)]
    q_c, q_s = (p.public_key().public_bytes(*RAW) for p in pair)
    check("V3 Q_C", q_c, "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13")
    check("V3 Q_S", q_s, "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20")
    k = curve(pair[0], q_s)
    check("V3 K", k, "00000021009e004098efc091d4ec2663b4e9f5cfd4d7064571690b4bea97ab146ab9f35056")
    check("V3 K of the server", curve(pair[1], q_c), k)
    h = exchange_hash((b"SSH-2.0-Go", b"SSH-2.0-Example"), (init, theirs), host.blob, q_c, q_s, k)
    check("V3 H", h, "dd0f2df7c1add4b86ca54192583d42212f3327fd1d9cb216e2bc2e03b2deda2a")
    sig = bytes.fromhex("b5e3e1e62e3b243cf7a5c7d11a7018f9d06601e58b0e149d0807931f05b15c5f"
                        "03e92dd10ff6c7b2d3cdc0de4a3ab57072ce87b1d753ae8f208548cbe3beac05")
    check("V3 signature", host.sign(h), string("ssh-ed25519") + string(sig))
    check("V3 verified", verify(host.blob, string("ssh-ed25519") + string(sig), h), True)
    return k, h


def packets(k, h):
    seals = {}
    for way, (a, key, b, iv) in KEYS.items():
        check(f"V3 {way} key", derive(k, h, a.encode(), h, 16), key)
        check(f"V3 {way} IV", derive(k, h, b.encode(), h, 12), iv)
        seals[way] = [Gcm(bytes.fromhex(key), bytes.fromhex(iv)) for _ in range(2)]
    for way, plain, wire in PACKETS:
        payload, data = bytes.fromhex(plain), bytes.fromhex(wire)
        check(f"V4 {way} sealed", seals[way][0].seal(0, payload, bytes), data)
        body = seals[way][1].open(0, data[:4], data[4:])
        check(f"V4 {way} opened", body[1:len(body) - body[0]], payload)
    for name, (kind, key, iv) in SEALS.items():
        for seq in (0, 7):
            data = kind(bytes(range(key)), bytes(iv)).seal(seq, b"payload", bytes)
            other = kind(bytes(range(key)), bytes(iv))
            n = other.length(seq, data[:4])
            check(f"{name} length", n + other.tag + 4, len(data))
            check(f"{name} opened", other.open(seq, data[:4], data[4:])[1:8], b"payload")


def authentication(key, h):
    t = Sent()
    t.sid = h
    head = b"\x32" + string("vtunnel") + string("ssh-connection")
    conf = Conf()
    conf.key = key
    query = "32000000077674756e6e656c0000000e7373682d636f6e6e656374696f6e000000097075626c69636b6579000000000b7373682d6564323535313900000033"
    signed = vtgo.Client.signed(t, head, string(key.name), key.blob, conf)
    want = (bytes.fromhex(query.replace("6579000000000b", "6579010000000b")) + key.blob
            + bytes.fromhex("000000530000000b7373682d656432353531390000004083fc30b1027f6f5073a84c68c44d1f1fcd63823bf76d45e641a4570464b146e8"
                            "0291bcc6f51072f2907abc162d2e1b27e90e3023e5974a020acfd2419005430e"))
    check("V5 signed request", signed, want)
    check("V5 query", head + string("publickey") + b"\x00" + string(key.name) + string(key.blob), bytes.fromhex(query) + key.blob)


class Options:
    old, reject, reply, evil, header = False, None, None, "", []


def requests():
    t, conf = Sent(), Conf()
    client = vtgo.Client.__new__(vtgo.Client)
    client.o, client.ports, client.domains = Options, {9000: "localhost:3000"}, {}
    mux = vtmux.Mux(t, conf, client)

    def answered(reply):
        def request(name, payload=b"", _=None):
            t.send(b"\x50", string(name), b"\x01", payload)
            return reply[:1] == b"\x51", reply[1:]
        mux.request = request

    answered(bytes.fromhex("517b22706f7274223a393030307d"))
    client.listen(mux, {"port": 9000, "local_addr": "localhost:3000"}, "localhost:3000")
    check("V6 listen", t.pop(), "50000000066c697374656e017b22706f7274223a393030302c226c6f63616c5f61646472223a226c6f63616c686f73743a33303030227d")
    answered(b"\x51" + b'{"port":40123}')
    client.listen(mux, {"port": 0, "local_addr": "localhost:8080", "domain": "myapi.local"}, "localhost:8080")
    check("V9 listen", t.pop(), b"\x50" + string("listen") + b'\x01{"port":0,"local_addr":"localhost:8080","domain":"myapi.local"}')
    check("V9 port", client.ports[40123], "localhost:8080")
    del mux.request
    mux.packet(bytes.fromhex("500000000470696e6701"))
    check("V7 pong", t.pop(), "51706f6e67")
    mux.packet(b"\x50" + string("x") + b"\x01")
    check("V7 unknown", t.pop(), "52")
    return client, mux, t


def server():
    role = vtgo.Server.__new__(vtgo.Server)
    role.o, role.held, role.map = Options, {9000: None}, {}
    t = Sent()
    mux = vtmux.Mux(t, Conf(), role)
    head = b"\x50" + string("listen") + b"\x01"
    mux.packet(head + b'{"port":9000,"local_addr":"localhost:3000"}')
    check("V6 reused", t.pop(), "51")
    mux.packet(head + b"{")
    check("V6 invalid payload", t.pop(), "52696e76616c6964207061796c6f6164")
    with vtgo.socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        mux.packet(head + vtmux.compact({"port": port}))
    check("V6 in use", t.pop(), f"\x52listen tcp 127.0.0.1:{port}: bind: address already in use".encode())
    mux.packet(head + b'{"port":0,"domain":"myapi.local"}')
    check("V9 mapped", sorted(role.map), ["myapi.local:443", "myapi.local:80"])
    check("V9 reply", t.pop(), b"\x51" + vtmux.compact({"port": role.map["myapi.local:80"]}))


def channels(client, mux, t):
    taken = []
    client.target = lambda channel, target: taken.append(target)
    mux.packet(bytes.fromhex("5a0000000674756e6e656c0000000000200000000080007b22706f7274223a393030307d"))
    check("V8 confirm", t.pop(), "5b00000000000000000020000000008000")
    mux.packet(b"\x5a" + string("tunnel") + u32(0) + u32(1 << 21) + u32(32768) + b'{"port":1}')
    check("V8 refuse", t.pop(), "5c0000000000000002000000136e6f20666f727761726420666f7220706f727400000002656e")
    channel = mux.channels[0]
    mux.packet(bytes.fromhex("5e0000000000000012474554202f20485454502f312e300d0a0d0a"))
    check("V8 data", channel.read(), b"GET / HTTP/1.0\r\n\r\n")
    channel.write(b"GET / HTTP/1.0\r\n\r\n")
    check("V8 data of ours", t.pop(), "5e0000000000000012474554202f20485454502f312e300d0a0d0a")
    mux.packet(bytes.fromhex("5d0000000000020000"))
    check("V8 adjust", channel.peer_window, 2097152 - 18 + 131072)
    mux.packet(bytes.fromhex("6000000000"))
    check("V8 eof", channel.got_eof, True)
    mux.packet(bytes.fromhex("6100000000"))
    check("V8 close", t.pop(), "6100000000")
    check("V8 gone", list(mux.channels), [])
    channel = mux.channel(True)
    mux.send(b"\x5a", string("tunnel"), u32(channel.id), u32(vtmux.WINDOW), u32(vtmux.PACKET), vtmux.compact({"port": 9000}))
    check("V8 open", t.pop(), "5a0000000674756e6e656c0000000000200000000080007b22706f7274223a393030307d")


def run():
    vtmux.quiet.update(("opened", "closed", "listening", "listen", "mapped", "unknown_port"))
    key, host = keys()
    messages()
    k, h = exchange(host)
    packets(k, h)
    authentication(key, h)
    client, mux, t = requests()
    channels(client, mux, t)
    server()
    print(f"{count[0]} passed, {count[1]} failed")
    return 1 if count[1] else 0
