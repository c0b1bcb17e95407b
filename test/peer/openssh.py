"""OpenSSH's programs as tests run them: where they are, keys, and bytes through what they forward."""
import os
import shutil
import socket
import subprocess
import threading

from rig import ENV, WAIT, Plain, echo

SLOW = 240              # seconds for what moves many bytes
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")
PLACE = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def tool(name):
    return shutil.which(name, path=PLACE) or name


def run(*argv, data=b"", wait=SLOW):
    """Its status, output and errors."""
    # pylint: disable=subprocess-run-check
    done = subprocess.run(argv, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, timeout=wait)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def keygen(path, *more):
    """A new key: its public half, as a line of a file has it."""
    run(tool("ssh-keygen"), "-q", "-N", "", "-f", path, *more, wait=WAIT)
    with open(path + ".pub", encoding="ascii") as f:
        return " ".join(f.read().split()[:2])


def options(port, key, known):
    """For ssh(1): this key and no other, these hosts and no others, nobody to ask."""
    return ["-F", "none", "-p", port, "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known}",
            "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes"]


def connect(where):
    """To a port, or a unix socket."""
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), WAIT)
    s = socket.socket(socket.AF_UNIX)
    s.connect(where)
    return s


def echo_service(r):
    """What takes its time to send everything back."""
    return r.keep(Plain(echo, SLOW))


def echoed(where, data):
    """What comes back from there for data, its end behind it."""
    with connect(where) as s:
        s.settimeout(SLOW)

        def send():
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        back = bytearray()
        while piece := s.recv(65536):
            back += piece
        sender.join()
        return bytes(back)
