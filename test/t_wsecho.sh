#!/bin/sh
# t_wsecho.sh: WebSocket conformance of link.c, by test/wsecho and test/peer/wsconform.py.
set -u
cd "$(dirname "$0")/.." || exit 1

prog=${TUNNEL_BIN_DIR:-.}/test/wsecho
dir=$(mktemp -d) || exit 1
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

mkfifo "$dir/out" || exit 1
"$prog" 0 >"$dir/out" 2>"$dir/log" &
pid=$!
read -r word addr <"$dir/out"
if [ "$word" != listening ]; then
	echo "FAIL wsecho does not listen"
	echo "0 passed, 1 failed"
	exit 1
fi

WSECHO_PID=$pid "${PYTHON:-/usr/bin/python3}" test/peer/wsconform.py "$addr" "$prog"
rc=$?
if ! kill -0 "$pid" 2>/dev/null || grep -q Sanitizer "$dir/log"; then
	cat "$dir/log"
	rc=1
fi
exit $rc
