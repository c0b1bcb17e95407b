"""examples/browser-ssh/ as its README has it, in a real browser: /relay to a real sshd, and visitors of a page's /tunnel."""
import functools
import http.server
import os
import re
import signal
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer"))
# pylint: disable=wrong-import-position
from browser import Browser
from client import client, free_port, wsproxyd
from rig import HERE, SANITIZED, Caller, Plain, main, test
from sshd import Sshd

PAGE = os.path.join(os.path.dirname(HERE), "examples", "browser-ssh")


class Pages:
    """A web server for the example: its origin is not the daemon's."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):  # pylint: disable=arguments-differ
            pass

    def __init__(self, r):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(self.Handler, directory=PAGE))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        r.keep(self)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def page(r, d, url, token=""):
    """The example in a browser, the daemon's address typed in."""
    b = r.keep(Browser(r))
    b.open(url)
    b.type("url", f"ws://localhost:{d.port}")
    b.type("token", token)
    return b


def connect(r, b, host, port):
    """What the page says in the end of an attempt to connect."""
    b.js("document.getElementById('identification').textContent = ''")
    b.type("host", host)
    b.type("port", str(port))
    b.enter()
    return said(r, b, "identification", "(?!Connecting)")


def said(r, b, element, pattern):
    """What the page says there, once it matches."""
    return r.until(f"the page says /{pattern}/", lambda: re.match(pattern, b.text(element)) and b.text(element))


def open_tunnel(r, b):
    b.js("document.getElementById('toggle').focus()")
    b.enter()
    said(r, b, "state", "The tunnel is open")


def banner(port):
    with Caller(port) as c:
        return c.until(b"\r\n").decode()


def good(r, b):
    r.equal("the page throws nothing", b.errors, [])
    r.check("everything to be operated has a name", all(name for _, name in b.controls()), b.controls())


@test
def ssh_through_a_relay(r):
    sshd, pages, other = Sshd(r), Pages(r), r.keep(Plain(lambda conn: conn.send(b"220 mail.example.com\r\n")))     # no SSH server
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))       # and does not listen
    rules = [f"allow localhost:{sshd.port}", *(f"allow 127.0.0.1:{p}" for p in (sshd.port, other.port, closed.getsockname()[1]))]
    d = r.daemon("--origin", f"http://localhost:{pages.port}", *(a for rule in rules for a in ("--relay", rule)))
    b = page(r, d, f"http://localhost:{pages.port}/", d.token)
    for host in ("127.0.0.1", "localhost"):
        r.equal(f"the line of the server at {host}", connect(r, b, host, sshd.port), banner(sshd.port))
    d.log("event=relay_close")
    r.equal("a port that nobody listens on", connect(r, b, "127.0.0.1", closed.getsockname()[1]), "Closed: 1011 cannot reach target")
    r.equal("a target that is not allowed", connect(r, b, "127.0.0.1", pages.port),
            "Refused: 403 target address not allowed")
    r.equal("what is no SSH server", connect(r, b, "127.0.0.1", other.port), "Closed: 1000 relay ended")
    b.type("token", "wrong")
    r.equal("a wrong token", connect(r, b, "127.0.0.1", sshd.port), "Refused: 401 unauthorized")
    good(r, b)
    closed.close()


@test
def visitors_of_a_page(r):
    pages = Pages(r)
    port = free_port(r)
    d = r.daemon("--open", "wsproxy", "--origin", f"http://localhost:{pages.port}", "--domain", "localhost",
                 "--url", f"http://localhost:{port}", "--ports", str(free_port(r)), "--listen", f"127.0.0.1:{port}")
    b = page(r, d, f"http://localhost:{pages.port}/")
    open_tunnel(r, b)
    url, raw = b.js("document.getElementById('link').href"), b.text("raw")
    host = re.fullmatch(rf"http://([0-9a-f]{{16}}\.localhost):{port}/", url).group(1)
    b.type("text", "Grüße <b>aus</b> dem Browser")
    r.equal("a visitor in a browser", b.tab(url).strip(), "Grüße <b>aus</b> dem Browser")
    res = r.get(d, host, "/a%20b?c=<i>")
    r.check("a visitor is told", (res.status, res.get("Content-Type"), res.body.decode())
            == (200, "text/plain; charset=utf-8", "Grüße <b>aus</b> dem Browser\n"), res)
    res = r.get(d, host, "/", method="HEAD")
    r.check("HEAD", (res.status, res.get("Content-Type"), res.body) == (200, "text/plain; charset=utf-8", b""), res)
    res = r.get(d, host, "/form", "Content-Length: 2\r\n", "POST", b"hi")
    r.check("POST", (res.status, res.body) == (405, b"GET, please.\n"), res)
    with Caller(int(raw.rpartition(" ")[2])) as c:
        c.send(b"hello\r\n")
        r.equal("a visitor of the raw port", c.until(b"\n").decode(), "Grüße <b>aus</b> dem Browser")
        r.equal("and no more", c.over(), "fin")
    rows = b.js("[...document.querySelectorAll('#visits tbody tr')].map(row => [...row.cells].slice(1).map(cell => cell.textContent))")
    r.equal("the visits are listed, and nothing of them is HTML", [row for row in rows if row[0] != "GET /favicon.ico"], [
        ["TCP connection", "told, and closed"], ["POST /form", "405"], ["HEAD /", "200"], ["GET /a%20b?c=<i>", "200"],
        ["GET /", "200"]])
    b.js("document.getElementById('toggle').focus()")
    b.enter()
    said(r, b, "state", "Closed")
    d.log("event=session_end .*code=1000")
    res = r.get(d, host)
    r.check("nobody is there any more", (res.status, res.body) == (404, b"tunnel not found\n"), res)
    good(r, b)


@test
def page_behind_the_daemon(r):
    """The page comes through a tunnel, and only there it may be; what it says at the daemon's end."""
    sshd, pages = Sshd(r), Pages(r)
    d = r.daemon("--relay", f"allow localhost:{sshd.port}", "--origin", "http://page.localhost:*", "--domain", "localhost")
    client(r, d, f"page={pages.port}")
    b = page(r, d, f"http://page.localhost:{d.port}/", d.token)
    r.equal("the SSH server's line", connect(r, b, "localhost", sshd.port), banner(sshd.port))
    open_tunnel(r, b)
    b.open(f"http://localhost:{pages.port}/")
    d.log("event=session_end .*code=1000")
    b.type("url", f"ws://localhost:{d.port}")
    b.type("token", d.token)
    r.has("from elsewhere", "No answer: .*--origin", connect(r, b, "localhost", sshd.port))
    b.open(f"http://page.localhost:{d.port}/")
    b.type("url", f"ws://localhost:{d.port}")
    b.type("token", d.token)
    open_tunnel(r, b)
    d.kill(signal.SIGTERM)
    r.equal("at the daemon's end", said(r, b, "state", "Closed"), "Closed: 1001 shutting down")
    d.ended = True
    r.equal("its exit status", d.exit(), 0)
    good(r, b)


def page_with_wsproxy(r):
    """The same page does with wsproxy, as peer/wsproxy.py plays it."""
    sshd, pages = Sshd(r), Pages(r)
    d = wsproxyd(r, "--domain", "t.localhost", "--token", "me=secret", "--blocked", ",")
    b = page(r, d, f"http://localhost:{pages.port}/", "secret")
    r.equal("the SSH server's line", connect(r, b, "localhost", sshd.port), banner(sshd.port))
    open_tunnel(r, b)
    b.type("text", "here")
    host = re.search("//([^:/]*)", b.js("document.getElementById('link').href")).group(1)
    r.equal("a visitor is told", r.get(d, host).body, b"here\n")
    b.type("token", "wrong")
    r.equal("a wrong token", connect(r, b, "localhost", sshd.port), "Refused: 401 unauthorized")
    good(r, b)


if not SANITIZED:       # there is nothing of ours in it but the page
    test(page_with_wsproxy)
main()
