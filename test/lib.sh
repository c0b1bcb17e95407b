# shellcheck shell=sh disable=SC2034
# lib.sh: what the test scripts have in common. A script sources it, calls
# check and its like for each fact, and ends with "finish".
#
# BIN		where the programs are: TUNNEL_BIN_DIR, or the tree
# tmp		a folder of the script's own, gone afterwards
# WAIT		seconds any condition may take to come true
here=$(cd "$(dirname "$0")" && pwd) || exit 1
BIN=${TUNNEL_BIN_DIR:-$(dirname "$here")}
PYTHON=${PYTHON:-/usr/bin/python3}
PEER=$here/peer
SANITIZED=${SANITIZED:-}
WAIT=60
tmp=$(mktemp -d "${TMPDIR:-/tmp}/tunnel-test.XXXXXX") || exit 1
passed=0 failed=0 started='' token='' id='' port='' pid=''
# nothing of the user's own may leak in
unset TUNNELD_LISTEN TUNNELD_DOMAIN TUNNELD_STATE TUNNELD_CONFIG TUNNEL_ENDPOINT TUNNEL_TOKEN
TUNNEL_CONFIG_DIR=$tmp/client XDG_STATE_HOME=$tmp/xdg-state XDG_CONFIG_HOME=$tmp/xdg-config HOME=$tmp
TUNNELD_CONFIG=$tmp/tunneld.conf
: >"$TUNNELD_CONFIG"
unset TUNNELD_USER TUNNELD_CHROOT TUNNELD_SANDBOX
export TUNNEL_CONFIG_DIR TUNNELD_CONFIG XDG_STATE_HOME XDG_CONFIG_HOME HOME

# invoked by trap
# shellcheck disable=SC2317
cleanup() {
	for p in $started; do
		kill -9 "$p" 2>/dev/null
	done
	wait
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

ok() {
	passed=$((passed + 1))
}

fail() {	# NAME [DETAIL]
	failed=$((failed + 1))
	echo "FAIL $1${2:+: $2}"
}

is() {		# NAME GOT WANT
	if [ "$2" = "$3" ]; then ok; else fail "$1" "got '$2', want '$3'"; fi
}

like() {	# NAME GOT REGEX: the whole of GOT is an extended regular expression's
	if printf '%s\n' "$2" | grep -Eqx -- "$3"; then ok; else fail "$1" "got '$2', want /$3/"; fi
}

holds() {	# NAME COMMAND...: it succeeds
	what=$1; shift
	if "$@" >"$tmp/holds.out" 2>&1; then ok; else fail "$what" "$(tail -n 3 "$tmp/holds.out")"; fi
}

has() {		# NAME FILE REGEX: a line of FILE matches
	if grep -Eq -- "$3" "$2"; then ok; else fail "$1" "no line /$3/ in: $(tail -n 5 "$2")"; fi
}

hasnt() {	# NAME FILE REGEX
	if grep -Eq -- "$3" "$2"; then fail "$1" "$(grep -E -- "$3" "$2" | head -n 1)"; else ok; fi
}

# status CODE NAME COMMAND...: how it exits; stdout in $tmp/out, stderr in $tmp/err.
status() {
	want=$1 what=$2; shift 2
	"$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	is "$what: status" "$?" "$want"
}

# until_true NAME COMMAND...: it becomes true within WAIT seconds.
until_true() {
	what=$1; shift
	tries=$((WAIT * 20))
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		if [ "$tries" -le 0 ]; then
			fail "$what" "not within $WAIT s: $*"
			return 1
		fi
		sleep 0.05
	done
	ok
}

# line NAME FILE REGEX: a matching line comes.
line() {
	until_true "$1" grep -Eq -- "$3" "$2" || { tail -n 5 "$2" | sed 's/^/  /'; return 1; }
}

# start FILE COMMAND...: in the background, its stdout in FILE, its stderr in FILE.err; sets pid.
start() {
	file=$1; shift
	: >"$file"
	"$@" >"$file" 2>"$file.err" </dev/null &
	pid=$!
	started="$started $pid"
}

# ended PID: it has exited, its status in $code.
ended() {
	tries=$((WAIT * 20))
	while kill -0 "$1" 2>/dev/null && [ "$tries" -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.05
	done
	if kill -0 "$1" 2>/dev/null; then
		code="none, still running after $WAIT s"
		return 1
	fi
	wait "$1"
	code=$?
	kept=
	for p in $started; do
		[ "$p" = "$1" ] || kept="$kept $p"
	done
	started=$kept
}

# listens NAME: the daemon NAME has told of so many listeners as it was started with.
listens() {
	[ "$(grep -c 'event=listening' "$tmp/$1.log")" -ge "$listeners" ]
}

# daemon NAME [OPTION...]: a daemon on a free port with state folder $tmp/NAME and
# its log in $tmp/NAME.log; sets pid and port. DAEMON: another build of it.
daemon() {
	name=$1 listeners=1; shift
	for word in "$@"; do
		[ "$word" != --listen ] || listeners=$((listeners + 1))
	done
	: >"$tmp/$name.log"	# now: the line of an earlier daemon must not be taken for this one's
	"${DAEMON:-$BIN/tunneld}" --state "$tmp/$name" --listen 127.0.0.1:0 "$@" \
	    >"$tmp/$name.stdout" 2>>"$tmp/$name.log" </dev/null &
	pid=$!
	started="$started $pid"
	until_true "daemon $name starts" listens "$name" || { tail -n 5 "$tmp/$name.log" | sed 's/^/  /'; return 1; }
	port=$(sed -n 's/.*event=listening addr=.*:\([0-9]*\).*/\1/p' "$tmp/$name.log" | head -n 1)
}

# issue NAME ARGUMENT...: a token for the daemon NAME; sets token and id.
issue() {
	name=$1; shift
	"$BIN/tunneld" token issue --state "$tmp/$name" "$@" >"$tmp/issued" 2>&1
	token=$(sed -n 's/^token: //p' "$tmp/issued")
	id=$(sed -n 's/^id: //p' "$tmp/issued")
	[ -n "$token" ] || fail "token issue $*" "$(cat "$tmp/issued")"
}

# native FILE ARGUMENT...: the independent client on the daemon at $port with $token; sets pid.
native() {
	file=$1; shift
	start "$file" "$PYTHON" "$PEER/native.py" client --endpoint "ws://127.0.0.1:$port" --token "$token" "$@"
}

# ask HOST PATH [CURL-ARGUMENT...]: the status; the content in $tmp/body, the head in $tmp/head.
ask() {
	host=$1 path=$2; shift 2
	curl -s -m "$WAIT" -o "$tmp/body" -D "$tmp/head" -w '%{http_code}' -H "Host: $host" "$@" "http://127.0.0.1:$port$path"
}

# mode FILE: its permissions in octal.
mode() {
	"$PYTHON" -c 'import os, sys; print("%o" % (os.stat(sys.argv[1]).st_mode & 0o7777))' "$1"
}

# Count, and look through all logs for what a sanitizer has found.
finish() {
	if grep -rlE 'ERROR: AddressSanitizer|WARNING: ThreadSanitizer|runtime error:|LeakSanitizer' \
	    "$tmp" >"$tmp/sanitizer.list" 2>/dev/null; then
		while read -r found; do
			fail "sanitizer" "${found##*/}"
			grep -EA 25 'ERROR: |WARNING: |runtime error:' "$found" | head -n 60
		done <"$tmp/sanitizer.list"
	fi
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
	exit
}
