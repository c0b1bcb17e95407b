#!/bin/sh
# t_services.sh: contrib's services under the supervisors they are for: runit and s6.
# shellcheck disable=SC1091,SC2154,SC2317	# lib.sh sets tmp, pid and the like, and calls functions
. "$(dirname "$0")/lib.sh"
contrib=$(dirname "$here")/contrib

# The same version, and every script can be read.
version=$(sed -n 's/^VERSION *= *//p' "$contrib/../config.mk")
is "alpine: version" "$(sed -n 's/^pkgver=//p' "$contrib/alpine/APKBUILD")" "$version"
is "openbsd: version" "$(sed -n 's/^DISTNAME =[[:space:]]*//p' "$contrib/openbsd/Makefile")" "tunnel-$version"
find "$contrib" -name run -o -name finish -o -name check -o -name '*.sh' -o -name '*.initd' -o -name '*.rc' \
    -o -name 'tunnel*.p*' -o -name APKBUILD -o -name conf -o -name '*.confd' | sort >"$tmp/scripts"
while read -r script; do
	holds "sh -n ${script#"$contrib/"}" sh -n "$script"
done <"$tmp/scripts"

# What make install installs, OpenBSD's list has, and nothing else but what the port itself adds.
(cd "$contrib/.." && for file in man/*.[13578]; do echo "man/man${file##*.}/${file#man/}"; done &&
    { find examples/* -type f && find examples/* -type d | sed 's,$,/,'; } | sed 's,^,share/doc/tunnel/,') |
    sort >"$tmp/installed"
sed -n 's/^@man //p; /^share\/doc\/tunnel\/examples\/./p' "$contrib/openbsd/pkg/PLIST" | sort >"$tmp/listed"
is "openbsd: PLIST" "$(diff "$tmp/installed" "$tmp/listed")" ""

# The programs where supervisors look for them, and where another user may.
chmod 711 "$tmp"
mkdir "$tmp/bin"
cp "$BIN/tunneld" "$BIN/tunnel" "$tmp/bin/"
PATH=$tmp/bin:$PATH:/usr/sbin:/sbin
export PATH
user=
[ "$(id -u)" -ne 0 ] || user=nobody

# "sv restart" sends SIGTERM and SIGCONT. The leak sanitizer, at the daemon's end, stops its threads one by one, and waits for
# ever for one that the other signal has set going again. Leaks are for the other tests to find.
if [ -n "$SANITIZED" ]; then
	ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
	export ASAN_OPTIONS
fi

# What ends a service, whatever happened: its own supervisor, and then the rest.
stop_all=:
trap '$stop_all; cleanup' EXIT

now_ms() {
	"$PYTHON" -c 'import time; print(int(time.monotonic() * 1000))'
}

# A local service whose /slow is answered when the file $tmp/go is there; /slow makes $tmp/asked.
cat >"$tmp/service.py" <<'EOF'
import http.server, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            open(sys.argv[1] + "/asked", "w").close()
            while not os.path.exists(sys.argv[1] + "/go"):
                time.sleep(0.01)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"done\n")

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
EOF
start "$tmp/service" "$PYTHON" "$tmp/service.py" "$tmp"
line "a local service" "$tmp/service" '^[0-9]+$'
service=$(cat "$tmp/service")

# A port that stays ours while no daemon listens there: bound and no more, so that nobody is given it who does not ask for it.
cat >"$tmp/hold.py" <<'HOLD'
import signal, socket

held = socket.socket()
held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
held.bind(("127.0.0.1", 0))
print(held.getsockname()[1], flush=True)
signal.pause()
HOLD

# prepare NAME: its folder as an admin would have it; sets dir, state, log and port.
prepare() {
	dir=$tmp/$1/tunneld state=$tmp/$1-state log=$tmp/$1-log
	mkdir "$tmp/$1"
	cp -R "$contrib/$1/tunneld" "$dir"
	cat >>"$dir/conf" <<-EOF
		user=$user
		state=$state
		config=$tmp/$1.conf
		log=$log
	EOF
	start "$tmp/$1.port" "$PYTHON" "$tmp/hold.py"
	line "$1: a port" "$tmp/$1.port" '^[0-9]+$'
	port=$(cat "$tmp/$1.port")
	echo "listen 127.0.0.1:$port" >"$tmp/$1.conf"
	chmod 644 "$tmp/$1.conf"
	[ -n "$user" ] || mkdir -m 700 "$state"
}

listened() {	# N: so many starts are in the log
	[ "$(cat "$log"/@* "$log/current" 2>/dev/null | grep -c 'event=listening')" -ge "$1" ]
}

serves() {
	[ "$(curl -s -m 2 "http://127.0.0.1:$port/health" -o /dev/null -w '%{http_code}')" = 200 ]
}

through() {
	[ "$(ask x.localhost /)" = 200 ]
}

# first_start NAME: it listens.
first_start() {
	until_true "$1: it starts, and the logger has its lines" listened 1
	like "$1: each with the time" "$(grep -m 1 event=listening "$log/current")" '20[0-9-]+[_ T][0-9:.]+ +level=info event=listening .*'
	[ -z "$user" ] || is "$1: it is the user" \
	    "$("$PYTHON" -c 'import os, sys; print(os.stat(sys.argv[1]).st_uid)' "$state/control")" "$(id -u "$user")"
	is "$1: a state folder for that one alone" "$(mode "$state")" 700
}

another() {	# OLD: one serves that is not that process
	serves && [ "$(pid_of)" != "$1" ]
}

# killed NAME: after kill -9 another one serves in no time, and the log tells.
killed() {
	times=0 took=9999
	# a busy machine is late now and then, a supervisor that waits each time
	while [ "$took" -ge 2000 ] && [ "$times" -lt 5 ]; do
		times=$((times + 1))
		old=$(pid_of)
		[ "$old" -gt 1 ] || { fail "$1: it has a process" "$old"; return; }	# kill takes -1 for all
		begun=$(now_ms)
		kill -9 "$old"
		until_true "$1: killed, it is back, another process" another "$old"
		took=$(($(now_ms) - begun))
		[ -z "$SANITIZED" ] || break
	done
	if [ "$took" -lt 2000 ] || [ -n "$SANITIZED" ]; then ok; else fail "$1: within 2 s" "$took ms"; fi
	line "$1: finish says why" "$log/current" 'tunneld: killed by signal 9, starting again'
}

# drained NAME COMMAND...: told to end, it lets the request finish that runs, and then starts again.
drained() {
	name=$1; shift
	rm -f "$tmp/asked" "$tmp/go"
	"$tmp/bin/tunneld" token issue --global --state "$state" --config "$tmp/$name.conf" >"$tmp/issued"
	TUNNEL_TOKEN=$(sed -n 's/^token: //p' "$tmp/issued") TUNNEL_ENDPOINT=http://127.0.0.1:$port
	export TUNNEL_TOKEN TUNNEL_ENDPOINT
	start "$tmp/$name.client" "$tmp/bin/tunnel" connect "x=$service"
	client=$pid
	until_true "$name: a request through it" through
	start "$tmp/$name.slow" curl -s -m 30 -H "Host: x.localhost" -w '%{http_code}\n' "http://127.0.0.1:$port/slow"
	slow=$pid
	until_true "$name: one that takes its time" test -e "$tmp/asked"
	old=$(pid_of)
	holds "$name: told to end" "$@"
	line "$name: it drains" "$log/current" 'event=draining'
	is "$name: and does not end yet" "$(pid_of)" "$old"
	: >"$tmp/go"
	ended "$slow"
	is "$name: the request is answered" "$(tr '\n' ' ' <"$tmp/$name.slow")" "done 200 "
	line "$name: then it ends" "$log/current" 'event=stopped'
	until_true "$name: another one serves, its clients come back" through
	kill "$client"
	ended "$client"
	unset TUNNEL_TOKEN TUNNEL_ENDPOINT
}

runit() {
	pid_of() { cat "$dir/supervise/pid"; }
	prepare runit
	down() { sv status "$dir" | grep -q '^down: [^;]*normally up;'; }	# "want up" would follow
	stop_all="sv -w 20 force-shutdown $dir"
	start "$tmp/runsv" runsv "$dir"
	first_start runit
	holds "runit: sv check asks the daemon" sv check "$dir"
	killed runit
	drained runit sv term "$dir"
	holds "runit: sv restart waits until it serves" sv -w 20 restart "$dir"
	holds "runit: sv hup" sv hup "$dir"
	line "runit: is heeded" "$log/current" 'event=tokens_read'
	echo "bogus yes" >"$tmp/runit.conf"
	holds "runit: told to end" sv term "$dir"
	line "runit: a wrong configuration is in the log" "$log/current" "bogus"
	line "runit: and what to do" "$log/current" 'once that is right: sv up'
	until_true "runit: it stays down" down
	echo "listen 127.0.0.1:$port" >"$tmp/runit.conf"
	# shellcheck disable=SC2016	# the inner shell's
	status 1 "runit: check of what does not run" sh -c 'cd "$1" && ./check' sh "$dir"
	holds "runit: up again" sv -w 20 up "$dir"
	until_true "runit: it serves" serves
	holds "runit: sv stop" sv -w 20 stop "$dir"
	until_true "runit: stopped" down
	holds "runit: the supervisor ends" sv -w 20 exit "$dir"
	stop_all=:
}

s6() {
	pid_of() { s6-svstat -o pid "$dir"; }
	prepare s6
	down() { [ "$(s6-svstat -o up "$dir")" = false ]; }
	stop_all="s6-svscanctl -t $tmp/s6"
	start "$tmp/s6-svscan" s6-svscan "$tmp/s6"
	scan=$pid
	until_true "s6: the supervisor runs" s6-svok "$dir"
	holds "s6: ready by notification-fd" s6-svwait -U -t 20000 "$dir"
	first_start s6
	killed s6
	holds "s6: ready again" s6-svwait -U -t 20000 "$dir"
	drained s6 s6-svc -t "$dir"
	holds "s6: ready once more" s6-svwait -U -t 20000 "$dir"
	echo "bogus yes" >"$tmp/s6.conf"
	holds "s6: told to end" s6-svc -t "$dir"
	line "s6: a wrong configuration is in the log, and what to do" "$log/current" 'once that is right: s6-svc -u'
	until_true "s6: it stays down" down
	echo "listen 127.0.0.1:$port" >"$tmp/s6.conf"
	holds "s6: up again, and ready" s6-svc -uwU -T 20000 "$dir"
	until_true "s6: it serves" serves
	holds "s6: down" s6-svc -dwD -T 20000 "$dir"
	holds "s6: the supervisor is told to end" s6-svscanctl -t "$tmp/s6"
	ended "$scan"
	stop_all=:
}

if command -v runsv >/dev/null; then runit; else echo "SKIP runit: it is not here"; fi
if command -v s6-svscan >/dev/null; then s6; else echo "SKIP s6: it is not here"; fi
rm -r "${tmp:?}/bin"	# the end looks for what sanitizers say, and a program can say all of it
finish
