"""Many bytes through the programs, by curl, and what they may cost in memory."""
import hashlib
import json
import os
import subprocess

from client import hwm
from origin import BLOCK
from rig import ENV, SANITIZED

GIB = 64 << 20 if SANITIZED else 1 << 30
RSS_KIB = 48 << 10


def blocks(total):
    """The hash of so many bytes of peer/origin.py's."""
    digest = hashlib.sha256()
    for _ in range(total // len(BLOCK)):
        digest.update(BLOCK)
    return digest.hexdigest()


def download(*args):
    """curl of the origin's bytes: its exit status, their number, are they the right ones?"""
    with subprocess.Popen(["curl", "-sS", "-m", "600", *args], env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as p:
        total, same = 0, True
        while data := p.stdout.read(len(BLOCK)):
            total += len(data)
            same = same and data == BLOCK[:len(data)]
    return p.returncode, total, same


def upload(*args):
    """GIB bytes by curl, chunked: its exit status, and what the origin has seen, their number and their hash."""
    with subprocess.Popen(["curl", "-sS", "-m", "600", "-H", "Expect:", "-T", "-", *args], env=ENV, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as p:
        try:
            for _ in range(GIB // len(BLOCK)):
                p.stdin.write(BLOCK)
            p.stdin.close()
        except BrokenPipeError:
            pass
        got = p.stdout.read()
    got = json.loads(got) if got.startswith(b"{") else {"answer": got}
    return p.wait(), got.get("body_length"), got.get("body_sha256")


def rss(r, what, *procs):
    if not SANITIZED:
        for p in procs:
            r.check(f"{what}: {os.path.basename(p.argv[0])}'s peak memory", hwm(p) < RSS_KIB, f"{hwm(p)} KiB")
