"""JWTs as credentials: whom the daemon lets in, for what and how long, and where it has the keys from."""
import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from certs import Certs, openssl, read, write
from rig import BIN, ENV, PEER, PYTHON, ROOT, TLS, WAIT, Clock, main, test
# pylint: enable=wrong-import-position

SECRET = "a secret of forty bytes, for tests alone"
OTHER = "another secret, of some forty bytes, too"
MINUTE, HOUR = 60, 3600
GET = "GET /_tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tunnel.v1\r\nAuthorization: {}\r\n\r\n"

certs = Certs(f"{ROOT}/certs")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims(sub="a", life=HOUR, **more):
    """None leaves a claim out."""
    out = {"sub": sub, "exp": int(time.time()) + life, "iss": "https://id.example.com", "aud": "tunnel", **more}
    return {k: v for k, v in out.items() if v is not None}


def hs256(payload, secret=SECRET, header=None):
    head = b64(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()) + "." + b64(json.dumps(payload).encode())
    return head + "." + b64(hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest())


class Key:
    """A key pair of openssl's; its tokens, its PEM and its JWK."""

    def __init__(self, kind, number, kid=None):
        self.path, self.kid, self.alg = certs.key(kind, number), kid, "RS256" if kind.startswith("rsa") else "ES256"
        self.pem = openssl("pkey", "-in", self.path, "-pubout").decode()

    def token(self, payload, **header):
        header = {"alg": self.alg, **({"kid": self.kid} if self.kid else {}), **header}
        head = b64(json.dumps(header).encode()) + "." + b64(json.dumps(payload).encode())
        sig = openssl("dgst", "-sha256", "-sign", self.path, data=head.encode())
        if self.alg == "ES256":     # two integers in DER, each with a zero in front or short of one
            r, at = sig[4:4 + sig[3]], 4 + sig[3]
            sig = b"".join(int.from_bytes(n, "big").to_bytes(32, "big") for n in (r, sig[at + 2:]))
        return head + "." + b64(sig)

    def jwk(self, **more):
        if self.alg == "ES256":
            point = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")[-64:]
            own = {"kty": "EC", "crv": "P-256", "x": b64(point[:32]), "y": b64(point[32:])}
        else:
            n = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip().split("=")[1]
            own = {"kty": "RSA", "n": b64(bytes.fromhex(n)), "e": "AQAB"}
        return {**own, **({"kid": self.kid} if self.kid else {}), **more}


class Server:
    """An https server, or http, whose answers a test chooses."""

    def __init__(self, r, cert=None):
        server, self.asked, self.cond = self, [], threading.Condition()
        self.status, self.body, self.fields, self.gate = 200, b"{}", {}, None

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):       # pylint: disable=invalid-name
                with server.cond:
                    server.asked.append(self.path)
                    server.cond.notify_all()
                    status, body, fields, gate = server.status, server.body, server.fields, server.gate
                if gate:
                    gate.wait(WAIT)
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **fields}.items():
                        if value is not None:
                            self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *_):      # pylint: disable=arguments-differ
                pass

        class Http(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def finish_request(self, request, client_address):
                if cert:
                    try:
                        request = context.wrap_socket(request, server_side=True)
                    except OSError:
                        return
                super().finish_request(request, client_address)
                if cert:
                    try:
                        request.unwrap()
                    except (OSError, ValueError):
                        pass

            def handle_error(self, *_):     # pylint: disable=arguments-differ
                pass

        if cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert.chain, cert.key)
        self.http = Http(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        self.url = f"{'https' if cert else 'http'}://localhost:{self.port}/keys"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        r.keep(self)

    def keys(self, *keys):
        self.answer(json.dumps({"keys": [k if isinstance(k, dict) else k.jwk() for k in keys]}).encode())

    def answer(self, body=b"", status=200, gate=None, **fields):
        with self.cond:
            self.body, self.status, self.gate = body, status, gate
            self.fields = {k.replace("_", "-"): v for k, v in fields.items()}

    def wait(self, n):
        with self.cond:
            return self.cond.wait_for(lambda: len(self.asked) >= n, WAIT)

    def close(self):
        if self.http is not None:
            self.http.shutdown()
            self.http.server_close()
            self.http = None
            if self.gate:
                self.gate.set()


def secret_file(r, secret=SECRET):
    return write(f"{r.tmp}/secret", secret + "\n")


def status_of(r, d, token):
    return r.ask(d, GET.format("Bearer " + token).encode()).status


def refused(r, d, what, token, reason, status=401):
    """The token is refused, and nobody but the log is told why."""
    mark = d.marks()
    res = r.ask(d, GET.format("Bearer " + token).encode())
    r.equal(f"{what}: the status", res.status, status)
    r.check(f"{what}: no word of why outside", reason not in res.body.decode() and "signature" not in res.body.decode(), res.body)
    line = d.log("event=jwt_refused ", start=mark).string
    r.check(f"{what}: the log tells", f'reason="{reason}"' in line and "peer=127.0.0.1:" in line, line)
    log = "\n".join(line for line in d.errs if line)
    r.check(f"{what}: but not the token", token.endswith(".") or token.rsplit(".", 1)[1] not in log)


def run(*args, env=None, data=None):
    p = subprocess.run([f"{BIN}/tunneld", *args], env={**ENV, **(env or {})}, input=data, capture_output=True, text=True,
                       timeout=WAIT, check=False, stdin=subprocess.DEVNULL if data is None else None)
    return p.returncode, p.stdout, p.stderr


@test
def sessions(r):
    d = r.daemon("--jwt-secret-file", secret_file(r), "--jwt-issuer", "https://id.example.com", "--jwt-audience", "tunnel",
                 scope="a,b")
    token = hs256(claims("a"))
    n = r.client(d, "a", token=token)
    r.equal("a request comes through", r.get(d).status, 200)
    r.has("the log knows him", r"who=jwt:a@https://id\.example\.com", d.log("event=session_start").string)
    st = d.status()
    r.equal("so does status", [(t["name"], t["token"]) for t in st], [("a", "jwt:a@https://id.example.com")])
    r.has("as text, too", "name=a token=jwt:a@https://id.example.com peer=", d.tool("status").stdout)
    r.equal("another name", r.client(d, "b", token=token, ready=False).event(event="rejected")["status"], 403)
    m = r.client(d, "b", "--listen", '{"op":"listen","id":2,"kind":"http","name":"a"}')
    held = m.ready(2)
    r.check("a name that a JWT holds", held["code"] == "name_in_use" and "held by a JWT since" in held["message"] and
            "id.example" not in held["message"], held)
    two = hs256(claims("someone else", tunnel=["x", "y", 9000]))
    n2 = r.client(d, "x", "--listen", '{"op":"listen","id":2,"kind":"http","name":"y"}',
                  "--listen", '{"op":"listen","id":3,"kind":"http","name":"a"}', token=two)
    r.equal("a claim with two names", (n2.ready(2)["op"], n2.ready(3)["code"]), ("ready", "forbidden"))
    r.has("an odd sub is escaped", r"who=jwt:someone%20else@https", d.log("event=session_start .*someone").string)
    # the same sub and iss are the same credential, whatever else the token says
    again = r.client(d, "a", token=hs256(claims("a", life=2 * HOUR, jti="2")))
    r.check("another token of his takes over", n.event(op="gone", code="taken_over"))
    r.equal("and serves", r.get(d).status, 200)
    again.kill(signal.SIGTERM)
    for what, made, reason in (
            ("another secret", hs256(claims(), OTHER), "the signature is not by a key of ours"),
            ("no exp", hs256(claims(exp=None)), "exp is missing"),
            ("expired", hs256(claims(life=-60)), "exp is past"),
            ("not yet", hs256(claims(nbf=int(time.time()) + 90)), "nbf is still to come"),
            ("another issuer", hs256(claims(iss="x")), "iss is another"),
            ("another audience", hs256(claims(aud=["x", "y"])), "aud is another"),
            ("crit", hs256(claims(), header={"alg": "HS256", "crit": ["x"], "x": 1}),
             "crit asks for an extension that we do not know"),
            ("said to be RS256", hs256(claims(), header={"alg": "RS256"}), "alg is not what a key of ours is for")):
        refused(r, d, what, made, reason)
    refused(r, d, "no name at all", hs256(claims("Not a name")), "it has no claim tunnel, and sub is no name", 403)
    refused(r, d, "alg none", b64(b'{"alg":"none"}') + "." + b64(json.dumps(claims()).encode()) + ".",
            "alg is none: the token is not signed")
    r.equal("over 8 KiB", status_of(r, d, hs256(claims(x="x" * 7000))), 401)
    r.check("leeway: 30 s", status_of(r, d, hs256(claims(life=-5))) == 101)
    r.equal("tokens go on", r.client(d, "b", ready=False).ready()["op"], "ready")


@test
def not_configured(r):
    d = r.daemon(scope="a")
    mark = d.marks()
    r.equal("a JWT without keys", status_of(r, d, hs256(claims())), 401)
    r.check("is no matter for the log", not any("jwt" in l for l in d.errs[mark:] if l))


@test
def expiry(r):
    clock = Clock(r)
    d = r.daemon(program="test/tunneld-clock", env={**clock.env, "TUNNELD_JWT_SECRET": SECRET}, scope="b")
    n = r.client(d, "a", token=hs256(claims("a", life=600)))
    b = r.client(d, "b")
    clock.move(601)     # and what has gone by meanwhile
    time.sleep(0.6)     # two rounds of the janitor
    r.check("within the leeway the session stays", not n.seen(event="closed"))
    clock.move(30)
    n.event(op="gone", code="expired")
    r.equal("then it is closed", n.closed()["code"], 1008)
    r.has("the log tells", "reason=expired who=jwt:a@", d.log("event=session_ended").string)
    r.check("others are not", not b.seen(event="closed"))
    r.equal("the name is free", r.get(d).status, 503)


@test
def bifrost(r):
    d = r.daemon("--jwt-secret-file", secret_file(r), scope="b")

    def client(token):
        return r.spawn(PYTHON, f"{PEER}/bifrost.py", "--endpoint", f"http://127.0.0.1:{d.port}", "--token", token, "--name", "a")
    client(hs256(claims("a"))).event(event="open")
    d.log("event=tunnel_open name=a who=jwt:a@")
    r.equal("bifrost's client serves with a JWT", r.get(d).status, 200)
    mark = d.marks()
    for token in (hs256(claims("a"), OTHER), hs256(claims("Not a name")), hs256(claims("b"))):
        r.equal("or is told that it may not", client(token).event(event="rejected")["reason"], "unauthorized")
    r.check("why, the log tells", all(d.log(f"event=jwt_refused .*{why}", start=mark) for why in ("signature", "sub is no name")))


@test
def our_client(r):
    d = r.daemon("--jwt-secret-file", secret_file(r), scope="b")
    code, out, err = run("jwt", "issue", "--name", "a", "--jwt-secret-file", f"{r.tmp}/secret", "--state", d.state)
    r.check("jwt issue", code == 0 and err == "", err)
    o = r.origin()
    _, url, token = re.search("^client: (tunnel use) (\\S+) (\\S+)$", out, re.M).groups()
    r.equal("its line has the daemon's address", url, f"http://127.0.0.1:{d.port}")
    p = r.spawn(f"{BIN}/tunnel", "connect", o.target, "--endpoint", url, "--token-file", write(f"{r.tmp}/token", token + "\n"))
    r.until("our client serves with it, without being told a name", lambda: r.get(d).status == 200)
    p.kill(signal.SIGTERM)


@test
def issue_and_check(r):
    env = {"TUNNELD_JWT_SECRET": SECRET}
    code, out, err = run("jwt", "issue", "--name", "demo", env=env)
    r.equal("issue", (code, err), (0, ""))
    token = re.search("^token: (.*)$", out, re.M).group(1)
    head, payload, sig = token.split(".")
    mac = hmac.new(SECRET.encode(), f"{head}.{payload}".encode(), hashlib.sha256).digest()
    r.equal("the signature, by Python", unb64(sig), mac)
    made, header = json.loads(unb64(payload)), json.loads(unb64(head))
    r.equal("header", header, {"alg": "HS256", "typ": "JWT"})
    r.equal("PipeGate's seven claims, in its order", list(made), ["sub", "exp", "nbf", "iat", "iss", "aud", "jti"])
    r.check("their values", made["sub"] == "demo" and made["iss"] == made["aud"] == "pipegate" and made["nbf"] == made["iat"] and
            made["exp"] == made["iat"] + 21 * 86400 and abs(made["iat"] - time.time()) < 60 and len(made["jti"]) == 32, made)
    for arg, data in ((token, None), ("-", token + "\n")):
        code, said, err = run("jwt", "check", arg, env=env, data=data)
        r.equal(f"check {arg[:3]}", (code, err), (0, ""))
        for line in (r'^header: \{"alg":"HS256","typ":"JWT"\}$', r'^claims: \{"sub":"demo",',
                     r"^exp: 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ, in (20|21) days$", "^signature: good$",
                     "^native: accepted, as jwt:demo@pipegate, for demo$", "^pipegate: accepted$"):
            r.check(f"check {arg[:3]} says {line}", re.search(line, said, re.M), said)
    code, out, _ = run("jwt", "issue", "--name", "Old_1", "--scope", "x,9000", "--expires", "2h", "--jwt-issuer", "me",
                       "--jwt-audience", "you", env=env)
    made = json.loads(unb64(re.search("^token: (.*)$", out, re.M).group(1).split(".")[1]))
    r.check("issue with all options", code == 0 and made["tunnel"] == "x,9000" and made["iss"] == "me" and made["aud"] == "you" and
            made["exp"] == made["iat"] + 7200, made)
    evil = hs256({"sub": "a\u0085\u001b[2J", "exp": 4102444800})
    code, said, _ = run("jwt", "check", evil, env=env)
    r.check("a terminal is safe", code == 1 and "\x1b" not in said and "\x85" not in said, said)
    for what, args, more, want, words in (
            ("another secret", ("check", token), {"TUNNELD_JWT_SECRET": OTHER}, 1,
             "refused: the signature is not by a key of ours"),
            ("expired", ("check", hs256({"sub": "a", "exp": 1000000000})), env, 1, "native: refused: exp is past"),
            ("nonsense", ("check", "nonsense"), env, 1, "refused: the token has not three parts"),
            ("check without keys", ("check", token), {}, 2, "needs the keys"),
            ("issue without a secret", ("issue", "--name", "a"), {}, 2, "needs the secret"),
            ("issue without a name", ("issue",), env, 2, "needs --name"),
            ("issue with a bad name", ("issue", "--name", "a/b"), env, 2, "letters, digits"),
            ("issue with a bad scope", ("issue", "--name", "a", "--scope", "A"), env, 2, "--scope"),
            ("an empty secret", ("issue", "--name", "a"), {"TUNNELD_JWT_SECRET": "\n"}, 1,
             "TUNNELD_JWT_SECRET: the secret is empty"),
            ("a secret that is not there", ("issue", "--name", "a", "--jwt-secret-file", "/nonexistent"), {}, 1,
             "/nonexistent: No such file"),
            ("two secrets", ("issue", "--name", "a", "--jwt-secret-file", secret_file(r)), env, 1, "both given"),
            ("no secret as an option", ("issue", "--name", "a", "--jwt-secret", "x"), {}, 2, "unknown option --jwt-secret"),
            ("no word", (), env, 2, "issue, check or revoke"), ("another word", ("list",), env, 2, "unknown word 'list' after jwt")):
        code, said, err = run("jwt", *args, env=more)
        r.check(what, code == want and words in said + err, (code, said, err))
    code, _, err = run("jwt", "issue", "--name", "a", env={"TUNNELD_JWT_SECRET": "short"})
    r.check("a short secret is warned of", code == 0 and "event=jwt_secret_short" in err, err)


@test
def revoked(r):
    """By its jti: at once for new sessions, within a second for one that runs; others go on."""
    d = r.daemon(env={"TUNNELD_JWT_SECRET": SECRET}, scope="b")
    one, two, bare = (hs256(claims("a", jti=j, tunnel=n)) for j, n in (("one \u20ac", "a"), ("two", "b"), (None, "c")))
    c = r.client(d, "a", token=one, ready=False)
    c.ready()
    other = r.client(d, "b", token=two)
    code, out, err = run("jwt", "revoke", "-", "--state", d.state, data=one + "\n")
    r.equal("jwt revoke -", (code, out, err), (0, "revoked: one \u20ac\n", ""))
    r.equal("its session ends", c.closed()["code"], 1008)
    refused(r, d, "the revoked one", one, "jti is revoked")
    r.equal("another of the same sub is good", status_of(r, d, hs256(claims("a", jti="three", tunnel="a"))), 101)
    code, out, _ = run("jwt", "revoke", "two", "--state", d.state)
    r.equal("by the jti alone", (code, out), (0, "revoked: two\n"))
    r.equal("its session ends, too", other.closed()["code"], 1008)
    with open(f"{d.state}/jwt-revoked", encoding="ascii") as f:
        lines = f.read().split("\n")
    r.check("a line each", len(lines) == 3 and all(re.fullmatch(r"[0-9a-f]{64} (\d+|-)", l) for l in lines[:2]), lines)
    r.equal("for its owner alone", oct(os.stat(f"{d.state}/jwt-revoked").st_mode & 0o777), "0o600")
    r.equal("one without jti", status_of(r, d, bare), 101)
    code, _, err = run("jwt", "revoke", bare, "--state", d.state)
    r.check("cannot be revoked", code == 1 and "no jti" in err, err)
    mark = d.marks()
    with open(f"{d.state}/jwt-revoked", "a", encoding="ascii") as f:
        f.write("# a comment\n\nnonsense\n")
    r.has("a damaged line is named", "jwt-revoked:5", d.log("event=tokens_bad", start=mark).string)
    refused(r, d, "the last good set stays", one, "jti is revoked")
    for what, args in (("nothing", ()), ("empty", ("",)), ("too long", ("x" * 300,))):
        code, _, err = run("jwt", "revoke", *args, "--state", d.state)
        r.check(f"revoke {what}", code == 2 and err.count("\n") == 1, err)


@test
def revoked_and_over(r):
    """Lines of tokens that have expired long ago go with the next command; no other, and none of two commands at once is lost."""
    d = r.daemon(env={"TUNNELD_JWT_SECRET": SECRET})
    now, day, path = int(time.time()), 86400, f"{d.state}/jwt-revoked"
    hashed = {n: hashlib.sha256(n.encode()).hexdigest() for n in ("old", "lately", "later", "ever", "huge", "last", "new")}
    kept = [f"{hashed['lately']} {now - 29 * day}", "# a comment", "", f"{hashed['later']} {now + day}", f"{hashed['ever']} -", f"{hashed['huge']} {'9' * 30}",
            f"{hashed['last']} {now}"]
    with open(path, "w", encoding="ascii") as f:
        f.write("\n".join([f"{hashed['old']} 1000000000", *kept[:3], f"{hashed['old']} {now - 31 * day}", *kept[3:]]))      # the last line has no end
    r.equal("jwt revoke", run("jwt", "revoke", "new", "--state", d.state)[:2], (0, "revoked: new\n"))
    with open(path, encoding="ascii") as f:
        r.equal("what is of use stays", f.read().split("\n"), [*kept, f"{hashed['new']} -", ""])
    for jti in ("ever", "last", "new"):
        refused(r, d, jti, hs256(claims("a", jti=jti)), "jti is revoked")
    many = [subprocess.Popen([f"{BIN}/tunneld", "jwt", "revoke", f"at once {i}", "--state", d.state], env=ENV, stdout=subprocess.DEVNULL) for i in range(4)]
    r.equal("several at once", [p.wait(WAIT) for p in many], [0] * len(many))
    with open(path, encoding="ascii") as f:
        lines = f.read().split("\n")
    r.equal("are all there", sorted(lines[len(kept) + 1:-1]), sorted(hashlib.sha256(f"at once {i}".encode()).hexdigest() + " -" for i in range(4)))
    r.equal("the mode", oct(os.stat(path).st_mode & 0o777), "0o600")


@test
def pem(r):
    if TLS == "none":
        code, _, err = run("--check", "--jwt-key", write(f"{r.tmp}/pub.pem", Key("p256", 1).pem))
        r.check("no public keys in this build", code == 1 and "this build cannot verify" in err, err)
        return
    rsa, ec, other = Key("rsa2048", 1), Key("p256", 1), Key("p256", 2)
    files = [write(f"{r.tmp}/{i}.pem", k.pem) for i, k in enumerate((rsa, ec))]
    secret = secret_file(r)
    d = r.daemon("--jwt-key", files[0], "--jwt-key", files[1], "--jwt-secret-file", secret, scope="b")
    for what, token in (("RS256", rsa.token(claims())), ("ES256", ec.token(claims())), ("HS256", hs256(claims()))):
        r.equal(f"{what} is let in", status_of(r, d, token), 101)
    refused(r, d, "another key", other.token(claims()), "the signature is not by a key of ours")
    refused(r, d, "HS256 with the public key", hs256(claims(), rsa.pem), "the signature is not by a key of ours")
    write(files[1], other.pem)
    write(secret, OTHER)
    mark = d.marks()
    d.kill(signal.SIGHUP)
    d.log("event=jwt_keys_read", start=mark)
    r.equal("SIGHUP: the new key", status_of(r, d, other.token(claims())), 101)
    r.equal("the new secret", status_of(r, d, hs256(claims(), OTHER)), 101)
    refused(r, d, "the old key", ec.token(claims()), "the signature is not by a key of ours")
    write(files[1], "nothing")
    mark = d.marks()
    d.kill(signal.SIGHUP)
    r.has("a bad file", r"1\.pem: there is no public key in PEM", d.log("event=jwt_keys_bad", start=mark).string)
    r.equal("leaves all as it was", status_of(r, d, other.token(claims())), 101)
    for what, text, words in (("a private key", read(ec.path), "this is a private key"),
                              ("1024 bits", Key("rsa1024", 1).pem, "less than 2048 bits"),
                              ("P-384", Key("p384", 1).pem, "not on P-256")):
        code, _, err = run("--check", "--jwt-key", write(f"{r.tmp}/bad.pem", text))
        r.check(f"--check: {what}", code == 1 and words in err and "bad.pem" in err, err)


def certified(r):
    """An https server that the daemon trusts by SSL_CERT_FILE, and the environment for that."""
    ca = certs.make(f"ca-{r.name}", ca=True)
    return Server(r, certs.make(f"leaf-{r.name}", issuer=ca, san=["DNS:localhost"])), {"SSL_CERT_FILE": ca.cert}


@test
def jwks_url(r):
    if TLS == "none":
        code, _, err = run("--check", "--jwks", "https://localhost/keys")
        r.check("no https in this build", code == 1 and "this build has no TLS" in err, err)
        return
    s, env = certified(r)
    clock = Clock(r)
    one, two, three = Key("rsa2048", 1, "one"), Key("p256", 1, "two"), Key("p256", 2, "three")
    s.keys(one, two, Key("rsa1024", 1, "weak"), {"kty": "oct", "k": b64(SECRET.encode()), "kid": "s"}, two.jwk(use="enc"))
    d = r.daemon("--jwks", s.url, program="test/tunneld-clock", env={**env, **clock.env}, scope="b")
    r.equal("nothing is fetched before it is needed", s.asked, [])
    r.equal("RS256", status_of(r, d, one.token(claims())), 101)
    r.has("the log tells", "keys=2 skipped=3", d.log("event=jwks_read").string)
    r.equal("ES256, by use of the same set", (status_of(r, d, two.token(claims())), s.asked), (101, ["/keys"]))
    no_key, old = "kid names no key of ours", "the JWK Set is too old, and no other can be had"
    refused(r, d, "HS256 with what the set offers as a secret", hs256(claims(), header={"alg": "HS256", "kid": "s"}),
            "alg is not what a key of ours is for")
    refused(r, d, "the weak key", Key("rsa1024", 1, "weak").token(claims()), no_key)
    r.equal("an unknown kid within 10 s: no fetch", len(s.asked), 1)
    s.keys(three)
    clock.move(11)
    r.equal("rotation: an unknown kid after 10 s is fetched for", (status_of(r, d, three.token(claims())), len(s.asked)), (101, 2))
    refused(r, d, "a key that is gone", two.token(claims()), no_key)
    r.equal("without another fetch", len(s.asked), 2)
    clock.move(14 * MINUTE)
    r.equal("fresh for 15 min", (status_of(r, d, three.token(claims(life=2 * 86400))), len(s.asked)), (101, 2))
    clock.move(2 * MINUTE)
    r.equal("then fetched again", (status_of(r, d, three.token(claims(life=2 * 86400))), len(s.asked)), (101, 3))
    s.close()
    clock.move(16 * MINUTE)
    mark = d.marks()
    r.equal("outage: stale keys count", status_of(r, d, three.token(claims(life=2 * 86400))), 101)
    r.has("and the log tells", "cannot connect to localhost:", d.log("event=jwks_failed", start=mark).string)
    clock.move(23.5 * HOUR)
    r.equal("for 24 h", status_of(r, d, three.token(claims(life=3 * 86400))), 101)
    clock.move(HOUR)
    refused(r, d, "then no more, but its client may come again", three.token(claims(life=3 * 86400)), old, 503)
    refused(r, d, "who is none of ours need not", hs256(claims()), "alg is not what a key of ours is for")


@test
def jwks_answers(r):
    """What is no key set is no key set, and leaves the last one in force."""
    s = Server(r)
    clock = Clock(r)
    key = Key("p256", 1, "k")
    s.keys(key)
    d = r.daemon("--jwks", s.url, program="test/tunneld-clock", env=clock.env, scope="b")
    if TLS == "none":
        refused(r, d, "no ES256 in this build", key.token(claims()), "alg is not what a key of ours is for")
        return
    good = json.dumps({"keys": [key.jwk()]}).encode()
    r.equal("http from this machine", status_of(r, d, key.token(claims())), 101)
    for what, args, words in (
            ("404", {"status": 404}, "answered 404 Not Found"),
            ("a redirect", {"status": 302, "Location": s.url}, "answered 302 Found: give the place that it redirects to"),
            ("204", {"status": 204, "Content_Length": None}, "answered 204"),
            ("HTML", {"body": b"<html></html>"}, "keys: "),
            ("no keys", {"body": b"{}"}, "no JWK Set"),
            ("nothing", {"body": b""}, "keys: "),
            ("twice the same name", {"body": b'{"keys":[],"keys":[]}'}, "duplicate member"),
            ("256 KiB and more", {"body": good + b" " * (256 * 1024)}, "its answer is too long"),
            ("a false length", {"body": good, "Content_Length": str(len(good) + 9), "Connection": "close"}, "its answer was cut"),
            ("two lengths", {"body": good, "Transfer_Encoding": "chunked"}, "localhost:")):
        s.answer(**args)
        asked, mark = len(s.asked), d.marks()
        clock.move(16 * MINUTE)
        r.equal(f"{what}: the last set counts", (status_of(r, d, key.token(claims(life=86400))), len(s.asked)), (101, asked + 1))
        line = d.log("event=jwks_failed", start=mark).string
        r.check(f"{what}: the log tells why", words in line, line)
    s.answer(f"{len(good):x};x=y\r\n".encode() + good + b"\r\n0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked")
    clock.move(16 * MINUTE)
    mark = d.marks()
    r.equal("chunks", status_of(r, d, key.token(claims(life=86400))), 101)
    d.log("event=jwks_read", start=mark)
    s.answer(b'{"keys":[]}')
    clock.move(16 * MINUTE)
    refused(r, d, "a set without keys is a set", key.token(claims(life=86400)), "alg is not what a key of ours is for")


@test
def jwks_untrusted(r):
    if TLS == "none":
        r.check("nothing to be trusted", True)
        return
    s, _ = certified(r)
    key = Key("p256", 1, "k")
    s.keys(key)
    other = certs.make(f"other-{r.name}", ca=True)
    d = r.daemon("--jwks", s.url, env={"SSL_CERT_FILE": other.cert}, scope="b")
    refused(r, d, "a server of another CA", key.token(claims()), "the JWK Set cannot be had", 503)
    r.has("the log tells", "unknown issuer", d.log("event=jwks_failed").string)
    r.equal("it was asked nothing", s.asked, [])


@test
def jwks_strict(r):
    """A daemon that dies of what its sandbox does not expect."""
    if TLS == "none":
        r.check("nothing to be fetched", True)
        return
    s, env = certified(r)
    key, secret = Key("p256", 1, "k"), secret_file(r)
    s.keys(key)
    d = r.daemon("--jwks", s.url, "--jwt-secret-file", secret, program="test/tunneld-strict", env=env, scope="b")
    r.equal("a key set by https", status_of(r, d, key.token(claims())), 101)
    write(secret, OTHER)
    mark = d.marks()
    d.kill(signal.SIGHUP)
    d.log("event=jwt_keys_read", start=mark)
    r.equal("another secret", status_of(r, d, hs256(claims(), OTHER)), 101)
    r.equal("and the key set once more", (status_of(r, d, key.token(claims())), len(s.asked)), (101, 2))
    s.close()
    d.kill(signal.SIGHUP)
    r.until("an outage", lambda: status_of(r, d, key.token(claims())) == 101 and d.logged("event=jwks_failed"))


@test
def edwards(r):
    """EdDSA, where the build has Ed25519: libtls has, BearSSL with libsodium has."""
    path = f"{r.tmp}/ed.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-out", path)
    pem = write(f"{r.tmp}/ed.pub", openssl("pkey", "-in", path, "-pubout").decode())
    head = b64(b'{"alg":"EdDSA"}') + "." + b64(json.dumps(claims()).encode())
    token = head + "." + b64(openssl("pkeyutl", "-sign", "-rawin", "-inkey", path, "-in", write(f"{r.tmp}/ed.in", head)))
    if TLS == "none" or (TLS == "bearssl" and os.environ.get("SSH") == "no"):
        code, _, err = run("--check", "--jwt-key", pem)
        r.check("this build has not", code == 1 and ("cannot verify" if TLS == "none" else "EdDSA") in err, err)
        return
    d = r.daemon("--jwt-key", pem, "--jwt-audience", "tunnel", program="test/tunneld-strict", scope="b")
    r.equal("a good one", status_of(r, d, token), 101)
    at = token.rindex(".") + 5
    refused(r, d, "another signature", token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1:], "the signature is not by a key of ours")
    refused(r, d, "another sub", b64(b'{"alg":"EdDSA"}') + "." + b64(json.dumps(claims("c")).encode()) + token[token.rindex("."):],
            "the signature is not by a key of ours")


@test
def jwks_slow(r):
    """Who waits for the set waits alone."""
    if TLS == "none":
        r.check("nothing to be waited for", True)
        return
    s = Server(r)
    key, gate = Key("p256", 1, "k"), threading.Event()
    s.answer(json.dumps({"keys": [key.jwk()]}).encode(), gate=gate)
    d = r.daemon("--jwks", s.url, scope="a")
    r.client(d, "a")
    waiting = [r.caller(d, GET.format("Bearer " + key.token(claims("b"))).encode()) for _ in range(5)]
    r.check("one fetch is made", s.wait(1))
    r.equal("a session goes on meanwhile", r.get(d).status, 200)
    r.equal("and a token is let in", status_of(r, d, d.token), 101)
    gate.set()
    r.equal("then all of them come in", [c.response().status for c in waiting], [101] * 5)
    r.equal("by that one fetch", len(s.asked), 1)


@test
def jwks_file(r):
    one, two, own = Key("p256", 1, "one"), Key("p256", 2, "two"), Key("p256", 3)
    path = write(f"{r.tmp}/keys.json", json.dumps({"keys": [one.jwk()]}))
    more = () if TLS == "none" else ("--jwt-key", write(f"{r.tmp}/own.pem", own.pem))
    d = r.daemon("--jwks", path, "--jwt-secret-file", secret_file(r), *more, scope="b")
    r.has("without an audience the log warns", "tokens that the issuer of --jwks", d.log("event=jwt_any_audience").string)
    r.equal("a secret beside it", status_of(r, d, hs256(claims())), 101)
    if TLS == "none":
        refused(r, d, "no ES256 in this build", one.token(claims()), "alg is not what a key of ours is for")
        return
    r.equal("a set in a file", status_of(r, d, one.token(claims())), 101)
    r.equal("a key of its own beside it", status_of(r, d, own.token(claims())), 101)
    write(path, json.dumps({"keys": [two.jwk()]}))
    mark = d.marks()
    d.kill(signal.SIGHUP)
    d.log("event=jwt_keys_read", start=mark)
    r.equal("SIGHUP: another", status_of(r, d, two.token(claims())), 101)
    code, out, err = run("jwt", "check", two.token(claims()), "--jwks", path)
    r.check("jwt check by it", code == 0 and "signature: good" in out, out + err)
    refused(r, d, "the old one", one.token(claims()), "the signature is not by a key of ours")
    for value in ("https://id.example.com", "https://id.example.com:8443/a/b?c=d", "https://[::1]/keys", "http://[::1]:80/keys",
                  "http://127.0.0.1:8080", path):
        code, _, err = run("--check", "--jwks", value)
        r.check(f"--jwks {value} can be", code == 0, err)
    for value, words in (("http://id.example.com/keys", "must be https://"), ("ftp://localhost/", "is not an https:// URL"),
                         ("https:///keys", "is not https://HOST"), ("https://u:p@localhost/", "is not https://HOST"),
                         ("https://a/b c", "blank"),
                         (f"{r.tmp}/none.json", "none.json: No such file")):
        code, _, err = run("--check", "--jwks", value)
        r.check(f"--jwks {value}", code == 1 and words in err, err)


main()
