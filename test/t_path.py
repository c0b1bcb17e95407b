"""Tunnels by path on the daemon's own host, and answers rewritten for the callers' side."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from client import Curl, client
from rig import main, test


def service(r, *fields, status="302 Found"):
    """Answers everything with these fields, and the request's target as content."""
    def handle(conn, head):
        body = head.split(" ")[1].encode()
        conn.send("".join([f"HTTP/1.1 {status}\r\n", *(f + "\r\n" for f in fields)]).encode()
                  + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
    return r.service(handle)


@test
def by_path(r):
    d, o = r.daemon(), r.origin()
    c = client(r, d, o.target, "--name", "hooks", "--path")
    r.until("two URLs", lambda: len([l for l in c.lines if l]) == 2)
    r.equal("what it says", c.lines[:2], [f"http://hooks.tunnel.localhost:{d.port} -> http://{o.target}",
                                          f"http://127.0.0.1:{d.port}/hooks/ -> http://{o.target}"])
    r.equal("tunneld status", [(t["url"], t["path_url"], t["path"]) for t in d.status()],
            [(f"http://hooks.tunnel.localhost:{d.port}", f"http://127.0.0.1:{d.port}/hooks/", True)])
    r.has("for people too", rf" url=http://hooks.tunnel.localhost:{d.port} path_url=http://127.0.0.1:{d.port}/hooks/\n", d.tool("status").stdout)
    for target, want in (("/hooks/echo", "/echo"), ("/hooks/echo?a=/hooks/&b", "/echo?a=/hooks/&b"), ("/hooks/echo//x/%2F..", "/echo//x/%2F.."),
                         ("/hooks/hooks/echo", "/hooks/echo")):
        got = Curl(d, target, "--path-as-is", host="vps.example.org")
        r.equal(f"{target}: what the service sees", got.json().get("target", got.json().get("path")), want)
        if want.startswith("/echo?") or want == "/echo":
            r.equal(f"{target}: X-Forwarded-Prefix", got.sent_fields("x-forwarded-prefix"), ["/hooks"])
    for target, host, status in (("/hooks", "vps.example.org", 200), ("/hooks?x", "vps.example.org", 200), ("/hooksx/echo", "vps.example.org", 503),
                                 ("/hook/echo", "vps.example.org", 503), ("/Hooks/echo", "vps.example.org", 503), ("/%68ooks/echo", "vps.example.org", 503),
                                 ("//hooks/echo", "vps.example.org", 503), ("/x/../hooks/echo", "vps.example.org", 503),
                                 ("/hooks/echo", "other.localhost", 503)):
        r.equal(f"{host}{target}", Curl(d, target, "--path-as-is", host=host).status in (200, 404) and 200 or 503, status)
    r.equal("by host nothing is stripped", Curl(d, "/echo", host="hooks.localhost").sent_fields("x-forwarded-prefix"), [])
    client(r, d, o.target, "--name", "plain")
    r.equal("others have no path", Curl(d, "/plain/echo", host="vps.example.org").status, 503)


@test
def order(r):
    """A tunnel's path goes before the default tunnel, endpoints before both, hosts before all."""
    d = r.daemon()
    hooks, root, docs = service(r, "X-Is: hooks"), service(r, "X-Is: default"), service(r, "X-Is: docs")
    client(r, d, hooks.target, "--name", "hooks", "-p")
    client(r, d, root.target, "--name", "default", "--path")
    client(r, d, docs.target, "--name", "docs")
    for host, target, who, seen in (
            ("vps", "/hooks/x", "hooks", "/x"), ("vps", "/hooks", "hooks", "/"), ("vps", "/hooksx", "default", "/hooksx"),
            ("vps", "/", "default", "/"), ("vps", "/docs/x", "default", "/docs/x"), ("vps", "/default/x", "default", "/x"),
            ("docs.localhost", "/hooks/x", "docs", "/hooks/x"), ("vps", "/health", None, "ok\n")):
        got = Curl(d, target, host=host)
        r.equal(f"{host}{target}", (got.get("x-is"), got.body.decode()), (who, seen))


@test
def base_urls(r):
    """Where it says that callers can come: --domain and --url of the daemon, else the endpoint."""
    o = r.origin()
    for i, (args, want) in enumerate(((["--domain", "t.example.org"], "http://t.example.org:{}/a/"),
                                      (["--domain", "t.example.org", "--url", "https://t.example.org"], "https://t.example.org/a/"),
                                      (["--url", "https://vps.example.org:8443"], "https://vps.example.org:8443/a/"))):
        d = r.daemon(*args, name=f"d{i}")
        client(r, d, o.target, "--name", "a", "--path")
        r.equal(f"{args}", d.status()[0]["path_url"], want.format(d.port))


@test
def forbidden_names(r):
    """Paths of the daemon's own are not to be had."""
    d = r.daemon()
    for name in ("health", "healthz", "relay", "tunnel"):
        c = client(r, d, 3000, "--name", name, "--path", ready=False)
        c.ends(f"{name} by path", 2)
        r.has(f"{name}: why, and what to do", f"^tunnel: {name} is refused: .*: by path this name is the daemon's own; take another with --name$",
              [l for l in c.errs if l][-1])
    c = client(r, d, 3000, "--name", "x.localhost", ready=False)
    c.ends("a host of the daemon's own", 3)
    r.has("no token can have it", "^tunnel: x.localhost is refused: .*: this name is the daemon's own; take another with --name$",
          [l for l in c.errs if l][-1])


@test
def rewritten(r):
    d = r.daemon("--trust", "127.0.0.1")
    t = service(r, "Location: /login?next=/x", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; path=/app; Secure")
    client(r, d, t.target, "--name", "plain", "--path")
    got = Curl(d, "/plain/x", host="vps.example.org")
    r.equal("without it they stay", (got.get("location"), got.all("set-cookie")), ("/login?next=/x", ["a=1; Path=/", "b=2; path=/app; Secure"]))

    def handle(conn, head):
        conn.send(f"HTTP/1.1 302 Found\r\nLocation: http://{u.target}/in\r\nContent-Location: /y\r\nSet-Cookie: a=1; Path=/; Domain=127.0.0.1\r\n"
                  "Set-Cookie: b=2; path=/app; Secure\r\nLink: </z>\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert head
    u = r.service(handle)
    client(r, d, u.target, "--name", "hooks", "--path", "--rewrite")
    got = Curl(d, "/hooks/x", "-H", "X-Forwarded-Proto: https", host="vps.example.org:8443")
    r.equal("by path", (got.get("location"), got.get("content-location"), got.all("set-cookie"), got.get("link")),
            ("https://vps.example.org:8443/hooks/in", "/hooks/y", ["a=1; Path=/hooks", "b=2; path=/hooks/app; Secure"], "</z>"))
    got = Curl(d, "/hooks/x", "-H", "X-Forwarded-Prefix: /outer", "-H", "X-Forwarded-Host: www.example.org", host="vps")
    r.equal("behind a proxy with a prefix of its own", (got.get("location"), got.get("content-location")),
            ("http://www.example.org/outer/hooks/in", "/outer/hooks/y"))
    got = Curl(d, "/x", host="hooks.localhost:9")
    r.equal("by host", (got.get("location"), got.get("content-location"), got.all("set-cookie")),
            ("http://hooks.localhost:9/in", "/y", ["a=1; Path=/", "b=2; path=/app; Secure"]))
    client(r, d, u.target, "--name", "keep", "--path", "--rewrite", "--host-header", "keep")
    r.equal("the service's own host is another's", Curl(d, "/keep/x", host="vps").get("location"), f"http://{u.target}/in")


main()
