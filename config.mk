# config.mk: what a packager may change.
VERSION = 0.1.0

PREFIX = /usr/local
LIBDIR = $(PREFIX)/lib
MANPREFIX = $(PREFIX)/share/man
DOCDIR = $(PREFIX)/share/doc/tunnel
# Where shells look for completions.
BASHCOMPDIR = $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR = $(PREFIX)/share/zsh/site-functions
FISHCOMPDIR = $(PREFIX)/share/fish/vendor_completions.d

# Where the programs look when no option says otherwise.
STATEDIR = /var/lib/tunneld
CONFFILE = /etc/tunneld.conf

# The TLS library: bearssl (TLS 1.2, a small one), libtls (TLS 1.3 too, but no resumption; in
# OpenBSD's base, Debian's libtls-dev, Alpine's libretls-dev), or none: then plain HTTP behind
# a proxy alone. After a change: make clean. A static libtls wants LDLIBS = -lssl -lcrypto.
TLS = bearssl

# SSH: yes, by BearSSL (whatever TLS is) and libsodium, or no. After a change: make clean.
SSH = yes

# How many connections wait without a thread each: linux (epoll) or none.
READY != case `uname -s` in Linux) echo linux;; *) echo none;; esac

# What the daemon locks itself into: linux (seccomp, Landlock), openbsd (pledge, unveil) or none.
SANDBOX != case `uname -s` in Linux) echo linux;; OpenBSD) echo openbsd;; *) echo none;; esac

# Bytes of stack for a thread. musl's own choice; sanitizers need more.
STACK = 131072

CC = cc
AR = ar
# For the library that is installed.
LD = ld
OBJCOPY = objcopy
# Warnings are for developers; -Werror stands in .ci/run only.
WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion \
	-Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wpointer-arith \
	-Wformat -Wformat-security -Wundef -Wvla
# Small, but for the Makefile's HOT files; an -O in CFLAGS is for all.
SMALL = -Os
FAST = -O2
# Programs without what they do not use of the library; empty for a linker that knows no --gc-sections.
SECTIONS = -ffunction-sections -fdata-sections
GC = -Wl,--gc-sections
CPPFLAGS =
CFLAGS = -g
LDFLAGS =
LDLIBS =
