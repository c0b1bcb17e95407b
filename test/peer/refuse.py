#!/usr/bin/env python3
"""refuse.py WHAT,WHAT... COMMAND...: run it as a container would that refuses these system calls."""
import ctypes
import errno
import os
import platform
import struct
import sys

PRCTL, SECCOMP, CAPSET = {"x86_64": (157, 317, 126), "aarch64": (167, 277, 91)}[platform.machine()]
CREATE_RULESET, RESTRICT_SELF = 444, 446
SET_NO_NEW_PRIVS, SET_SECCOMP, SPEC_ALLOW = 38, 22, 4

# name: the call, what it is told, and when: which argument is what; None: always
CALLS = {
    "no_new_privs": (PRCTL, errno.EPERM, (0, SET_NO_NEW_PRIVS)),
    "capset": (CAPSET, errno.EPERM, None),
    "landlock": (CREATE_RULESET, errno.EPERM, None),
    "ruleset": (CREATE_RULESET, errno.EPERM, (2, 0)),       # the version may be asked for
    "restrict": (RESTRICT_SELF, errno.EPERM, None),
    "seccomp": (SECCOMP, errno.EPERM, None),
    "old": (SECCOMP, errno.EINVAL, (1, SPEC_ALLOW)),        # a kernel that knows no flags
}


def insn(code, k, yes=0, no=0):
    return struct.pack("=HBBI", code, yes, no, k)


def program(names):
    code = b""
    for name in names:
        number, told, when = CALLS[name]
        code += insn(0x20, 0)                               # the call's number
        code += insn(0x15, number, 0, 3 if when else 1)
        if when:
            code += insn(0x20, 16 + 8 * when[0]) + insn(0x15, when[1], 0, 1)
        code += insn(0x06, 0x00050000 | told)
    return code + insn(0x06, 0x7fff0000)


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program(sys.argv[1].split(",")))
    prog = ctypes.create_string_buffer(struct.pack("@HP", (len(code) - 1) // 8, ctypes.addressof(code)))
    if libc.prctl(SET_SECCOMP, 2, prog, 0, 0) == -1 and (
            libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 or libc.prctl(SET_SECCOMP, 2, prog, 0, 0) == -1):
        sys.exit(f"refuse.py: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
