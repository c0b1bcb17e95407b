"""A headless Chromium, driven over its pipe (--remote-debugging-pipe, the DevTools protocol): no driver, no port.

It reaches loopback and nothing else, lives in the test's folder, and ends when its pipe does.
"""
import json
import os
import select
import shutil
import signal
import subprocess
import time

from rig import ENV, PYTHON, WAIT, Miss

NAMES = ("chromium", "chromium-browser", "chrome", "google-chrome")
FLAGS = ("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
         "--disable-sync", "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
         "--disable-breakpad", "--no-proxy-server", "--password-store=basic",
         "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE *.localhost , EXCLUDE 127.0.0.1")
# It reads commands from descriptor 3 and writes to 4.
EXEC = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"


def program():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        raise Miss("there is no Chromium here: ./setup.sh test installs it")
    return found


class Browser:
    """A browser with one page. errors: what the page has thrown."""

    def __init__(self, r):
        self.last, self.buf, self.session, self.errors, self.loads = 0, b"", None, [], 0
        home = f"{r.tmp}/browser"
        os.mkdir(home)
        take, self.to = os.pipe()
        self.come, give = os.pipe()
        with open(f"{home}/log", "wb") as log:
            # pylint: disable=consider-using-with
            self.p = subprocess.Popen(
                [PYTHON, "-c", EXEC, str(take), str(give), program(), *FLAGS, *(["--no-sandbox"] if os.getuid() == 0 else []),
                 f"--user-data-dir={home}/data", "about:blank"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(take, give), start_new_session=True, env={
                    **{k: v for k, v in ENV.items() if not k.startswith(("DISPLAY", "WAYLAND", "DBUS"))}, "HOME": home,
                    "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home, "XDG_RUNTIME_DIR": home, "TMPDIR": home})
        os.close(take)
        os.close(give)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")

    def close(self):
        """Its pipe's end is its end; what is left of it after that is ended."""
        os.close(self.to)
        try:
            self.p.wait(5)
        except subprocess.TimeoutExpired:
            pass
        os.close(self.come)
        try:
            os.killpg(self.p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.p.wait()

    # the protocol: JSON and a NUL, each way

    def message(self, end):
        while b"\0" not in self.buf:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.come], [], [], left)[0]:
                raise Miss("the browser does not answer")
            data = os.read(self.come, 1 << 20)
            if not data:
                raise Miss(f"the browser has ended: {self.p.poll()}")
            self.buf += data
        text, _, self.buf = self.buf.partition(b"\0")
        return json.loads(text)

    def event(self, m):
        if m["method"] == "Page.loadEventFired":
            self.loads += 1
        elif m["method"] == "Runtime.exceptionThrown":
            self.errors.append(m["params"]["exceptionDetails"])

    def call(self, method, **params):
        self.last += 1
        text = json.dumps({"id": self.last, "method": method, "params": params,
                           **({"sessionId": self.session} if self.session else {})}).encode() + b"\0"
        while text:
            text = text[os.write(self.to, text):]
        end = time.monotonic() + WAIT
        while (m := self.message(end)).get("id") != self.last:
            if "method" in m:
                self.event(m)
        if "error" in m:
            raise Miss(f"{method}: {m['error']}")
        return m["result"]

    # what a user does and sees

    def open(self, url):
        loads = self.loads
        failed = self.call("Page.navigate", url=url).get("errorText")
        if failed:
            raise Miss(f"{url}: {failed}")
        end = time.monotonic() + WAIT
        while self.loads == loads:
            self.event(self.message(end))

    def tab(self, url):
        """What another tab shows that is opened there, and closed again."""
        was, end = self.session, time.monotonic() + WAIT
        target = self.call("Target.createTarget", url=url)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        while not (text := self.js("document.readyState == 'complete' && location.href != 'about:blank' && document.body.innerText")):
            if time.monotonic() > end:
                raise Miss(f"{url} does not load")
            time.sleep(0.05)
        self.session = was
        self.call("Target.closeTarget", targetId=target)
        return text

    def js(self, expression):
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in got:
            raise Miss(f"{expression}: {got['exceptionDetails']}")
        return got["result"].get("value")

    def key(self, key, code):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      **({"text": "\r"} if (key, kind) == ("Enter", "keyDown") else {}))

    def enter(self):
        self.key("Enter", 13)

    def type(self, element, text):
        """In place of what is in the field with this id."""
        self.js(f"document.getElementById('{element}').focus(); document.getElementById('{element}').select()")
        self.call("Input.insertText", text=text) if text else self.key("Delete", 46)

    def text(self, element):
        return self.js(f"document.getElementById('{element}').innerText")

    def controls(self):
        """(role, name) of all that can be operated, as a screen reader has it."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]
                and n["role"]["value"] in ("textbox", "spinbutton", "button", "link")]
