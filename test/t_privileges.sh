#!/bin/sh
# t_privileges.sh: --user, --chroot, --sandbox: what the daemon gives up, and that it works all the same.
# shellcheck disable=SC1091,SC2154	# lib.sh sets tmp, port, pid, id, code and the like
export PYTHONDONTWRITEBYTECODE=1
. "$(dirname "$0")/lib.sh"
D=$BIN/tunneld
U=nobody
uid=$(id -u $U) gid=$(id -g $U)
chmod 711 "$tmp"
root=
[ "$(id -u)" -ne 0 ] || root=1

# owner FILE: its user and group, as numbers.
owner() {
	"$PYTHON" -c 'import os, sys; s = os.lstat(sys.argv[1]); print(s.st_uid, s.st_gid)' "$1"
}

# proc FIELD: what /proc/PID/status says, of every thread.
proc() {
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/task/"*/status | tr '\t' ' ' | sed 's/ *$//' | sort -u
}

# said NAME: the daemon's line about its privileges.
said() {
	grep event=privileges "$tmp/$1.log"
}

# dropped NAME: the process at $pid is the user, for good, and as its log says.
dropped() {
	like "$1: the log says so" "$(said "$1")" "level=info event=privileges user=$U uid=$uid gid=$gid .*sandbox=[a-z_,]+( lacks=[a-z_,]+)?"
	[ -r "/proc/$pid/status" ] || { echo "SKIP the ids of a process: no /proc"; return; }
	is "$1: real, effective, saved user" "$(proc Uid)" "$uid $uid $uid $uid"
	is "$1: and group" "$(proc Gid)" "$gid $gid $gid $gid"
	is "$1: no other groups" "$(proc Groups)" "$gid"
	is "$1: no capability" "$(proc CapEff)$(proc CapPrm)" "00000000000000000000000000000000"
	confined "$1"
}

# confined NAME: the process is as its log says.
confined() {
	[ -r "/proc/$pid/status" ] || return 0
	force=$(said "$1" | sed 's/ lacks=.*//')
	case $force in
	*no_new_privs*) is "$1: no_new_privs" "$(proc NoNewPrivs)" 1 ;;
	esac
	case $force in
	*seccomp*) is "$1: a filter for every thread" "$(proc Seccomp)" 2 ;;
	*) is "$1: no filter" "$(proc Seccomp)" 0 ;;
	esac
}

# certificate DIR [NAME]: cert.pem and key.pem there, put in place at once as a renewal does.
certificate() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=${2:-localhost}" \
	    -keyout "$1/.key" -out "$1/.cert" 2>/dev/null
	chmod 644 "$1/.key" "$1/.cert"
	mv "$1/.key" "$1/key.pem"
	mv "$1/.cert" "$1/cert.pem"
}

# The subject of the certificate that the daemon shows.
shown() {
	openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null | sed -n 's/^subject=.*CN *= *//p'
}

# reloaded NAME EVENT: SIGHUP, and the log tells EVENT once more.
reloaded() {
	before=$(grep -c "event=$2" "$tmp/$1.log")
	kill -HUP "$pid"
	until_true "$1: SIGHUP: $2" more_than "$before" "$tmp/$1.log" "event=$2"
}

# invoked by until_true
# shellcheck disable=SC2317
more_than() {
	[ "$(grep -c "$3" "$2")" -gt "$1" ]
}

# Wrong usage.
status 2 "a user that is not there" "$D" --check --user no-such-user
has "and names it" "$tmp/err" "no-such-user"
status 2 "a group that is not there" "$D" --check --user "$U:no-such-group"
has "and names it" "$tmp/err" "no-such-group"
status 2 "--user root" "$D" --check --user root
has "and says so" "$tmp/err" "is root"
status 2 "--user 0:0" "$D" --check --user 0:0
status 2 "a number without its group" "$D" --check --user 1999999999
has "and says so" "$tmp/err" "NUMBER:GROUP"
status 0 "numbers" "$D" --check --user 1999999999:1999999998
status 0 "a name" "$D" --check --user "$U"
status 2 "--chroot without --user" "$D" --check --chroot "$tmp"
has "and says so" "$tmp/err" "needs --user"
status 2 "--chroot to nowhere" "$D" --check --user "$U" --chroot "$tmp/nowhere"
has "and names it" "$tmp/err" "$tmp/nowhere"
status 2 "--chroot with a URL for --jwks" "$D" --check --user "$U" --chroot "$tmp" --jwks https://id.example.com/keys
has "and says so" "$tmp/err" "--jwks a file"
status 2 "--sandbox perhaps" "$D" --check --sandbox perhaps
has "and says so" "$tmp/err" "yes or no"

# Whoever we are.
daemon plain
like "without --user" "$(said plain)" "level=info event=privileges uid=$(id -u) gid=$(id -g) sandbox=[a-z_,]+( lacks=[a-z_,]+)?"
confined plain
daemon open --sandbox no
like "--sandbox no" "$(said open)" ".* sandbox=((no_capabilities,)?no_new_privs|none)"
confined open

# The daemon in a container that refuses the calls $refused, and with the library $library put before its own.
# invoked by daemon
# shellcheck disable=SC2317
contained() {
	exec "$PYTHON" "$PEER/refuse.py" "$refused" "$D" "$@"
}
# shellcheck disable=SC2317
preloaded() {
	LD_PRELOAD=$library exec "$D" "$@"
}

# without CALLS HAS LACKS [OPTION...]: the daemon lives without, and says so.
without() {
	refused=$1 has=$2 lacks=$3; shift 3
	DAEMON=contained daemon "less.$refused" "$@"
	like "without $refused" "$(said "less.$refused")" ".* sandbox=$has${lacks:+ lacks=$lacks}"
	is "without $refused: it works" "$(curl -s -m "$WAIT" "http://127.0.0.1:$port/health")" ok
	kill "$pid"; ended "$pid"
	is "without $refused: SIGTERM" "$code" 0
}

case $(said plain) in
*no_new_privs,landlock,seccomp)
	caps=
	[ -n "$root" ] || caps=no_capabilities,
	without landlock "${caps}no_new_privs,seccomp" landlock
	without ruleset "${caps}no_new_privs,seccomp" landlock
	without restrict "${caps}no_new_privs,seccomp" landlock
	without seccomp "${caps}no_new_privs,landlock" seccomp
	without seccomp,landlock "${caps}no_new_privs" landlock,seccomp
	without old "${caps}no_new_privs,landlock,seccomp" ""
	without no_new_privs "$([ -n "$root" ] && echo none || echo no_capabilities)" no_new_privs,landlock,seccomp
	# what others put into the process is not on the list
	library=$(awk '/\/(libc|ld-musl)[^ ]*$/ { print $6; exit }' /proc/self/maps)
	DAEMON=preloaded daemon preloaded
	like "LD_PRELOAD" "$(said preloaded)" ".* sandbox=${caps}no_new_privs lacks=landlock,seccomp"
	confined preloaded ;;
*)
	echo "SKIP containers: this system, or this build, has no more than $(said plain)" ;;
esac

if [ -z "$root" ]; then
	status 1 "--user as another" "$D" --user "$([ "$(id -un)" = $U ] && echo daemon || echo $U)" --listen 127.0.0.1:0 --state "$tmp/x"
	has "and says so" "$tmp/err" "only root"
	daemon self --user "$(id -un)"
	echo "SKIP giving up root: we are not root"
	finish
fi

# From root to nobody.
low=$("$PYTHON" - <<'END'
import socket
for port in range(1023, 600, -1):
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", port))
    except OSError:
        continue
    print(port)
    break
END
)
daemon drop --user $U --listen "127.0.0.1:$low"
main=$pid
dropped drop
is "a port that only root could bind" "$(curl -s -m "$WAIT" "http://127.0.0.1:$low/health")" ok
is "the state folder it made is the user's" "$(owner "$tmp/drop")" "$uid $gid"
is "its mode" "$(mode "$tmp/drop")" 700
is "the control socket, too" "$(owner "$tmp/drop/control")" "$uid $gid"
issue drop --scope preview
is "tokens that root issues, too" "$(owner "$tmp/drop/tokens")" "$uid $gid"
native "$tmp/n" --name preview
line "a client with a token issued afterwards" "$tmp/n" '"ready"'
is "a request" "$(ask preview.localhost /)" 200
status 0 "status" "$D" status --state "$tmp/drop"
has "status" "$tmp/out" '^name=preview '
"$D" token revoke --state "$tmp/drop" "$id" >"$tmp/out"
line "a revoked token" "$tmp/n" '"closed", "code": 1008'
is "the tokens are still the user's" "$(owner "$tmp/drop/tokens")" "$uid $gid"
pid=$main
reloaded drop tokens_read
hasnt "all of it can be read again" "$tmp/drop.log" event=unreadable
status 1 "a second daemon" "$D" --listen 127.0.0.1:0 --state "$tmp/drop" --user $U
has "is told" "$tmp/err" "already runs"
status 0 "stop" "$D" stop --state "$tmp/drop"
ended "$main"
is "it exits 0" "$code" 0
[ ! -e "$tmp/drop/control" ] || fail "the control socket is gone"
daemon drop --user $U
kill -9 "$pid"; ended "$pid"
daemon drop --user "$U:$(id -gn $U)"
kill "$pid"; ended "$pid"
is "SIGTERM: exit 0" "$code" 0

# The user's own commands, and a daemon that is the user from the start.
cp "$D" "$tmp/tunneld"
# as_user COMMAND...: with no privilege at all
echo 'import os, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1])); os.execv(sys.argv[3], sys.argv[3:])' >"$tmp/as_user.py"
as_user() {
	"$PYTHON" "$tmp/as_user.py" "$uid" "$gid" "$@"
}
TUNNELD_USER=$U "$D" token issue --global --state "$tmp/own" >"$tmp/out"
is "a folder made by token issue, with --user set" "$(owner "$tmp/own")" "$uid $gid"
chmod 644 "$TUNNELD_CONFIG"
daemon own --user $U
status 0 "the user may ask for the status" as_user "$tmp/tunneld" status --state "$tmp/own"
status 0 "and issue tokens" as_user "$tmp/tunneld" token issue --scope a --state "$tmp/own"
status 0 "and stop it" as_user "$tmp/tunneld" stop --state "$tmp/own"
ended "$pid"
start "$tmp/self" "$PYTHON" "$tmp/as_user.py" "$uid" "$gid" "$tmp/tunneld" --user $U --listen 127.0.0.1:0 --state "$tmp/own"
line "started as the user" "$tmp/self.err" "event=listening"
status 1 "the user cannot become another" as_user "$tmp/tunneld" --user daemon --listen 127.0.0.1:0 --state "$tmp/own"
has "and says so" "$tmp/err" "only root"
rm "$tmp/tunneld"		# finish looks through all files here for a sanitizer's words

# Logs: one in a folder of the user's can be opened again, one of root's cannot.
if "$D" --help | grep -q -- --access-log; then
	mkdir -m 755 "$tmp/logs" "$tmp/rootlogs"
	chown "$uid:$gid" "$tmp/logs"
	(umask 077; : >"$tmp/logs/d.log"; chown "$uid:$gid" "$tmp/logs/d.log")
	start "$tmp/logging" "$D" --user $U --listen 127.0.0.1:0 --state "$tmp/logging.state" \
	    --log "$tmp/logs/d.log" --access-log "$tmp/rootlogs/a.log"
	line "it starts" "$tmp/logs/d.log" event=listening
	line "a log of root's" "$tmp/logs/d.log" "level=warn event=unwritable file=$tmp/rootlogs/a.log reason="
	hasnt "not of the user's" "$tmp/logs/d.log" "event=unwritable file=$tmp/logs"
	mv "$tmp/logs/d.log" "$tmp/logs/old.log"
	kill -USR1 "$pid"
	line "a log that was renamed is opened again" "$tmp/logs/d.log" "event=log_opened"
	is "by the user" "$(owner "$tmp/logs/d.log")" "$uid $gid"
	kill "$pid"; ended "$pid"
	is "SIGTERM: exit 0" "$code" 0
	mkfifo "$tmp/pipe"
	start "$tmp/read" cat "$tmp/pipe"
	start "$tmp/piping" "$D" --listen 127.0.0.1:0 --state "$tmp/piping.state" --log "$tmp/pipe"
	line "a log that is no file, but a pipe" "$tmp/read" event=listening
	hasnt "can be opened again" "$tmp/read" event=unwritable
	kill "$pid"; ended "$pid"
	# its user could have root write elsewhere
	: >"$tmp/secret"
	ln -s "$tmp/secret" "$tmp/logs/link.log"
	status 1 "a log that its user has turned into a link" "$D" --user $U --listen 127.0.0.1:0 --state "$tmp/logging.state" --log "$tmp/logs/link.log"
	has "and says so" "$tmp/err" "link.log: Permission denied"
	status 1 "--check sees that" "$D" --check --user $U --log "$tmp/logs/link.log"
	has "and says so" "$tmp/err" "link.log: Permission denied"
	status 0 "and that others are well" "$D" --check --user $U --log "$tmp/logs/d.log" --access-log "$tmp/logs/another.log"
	is "nothing is written there" "$(cat "$tmp/secret")" ""
	status 0 "--daemon" "$D" --daemon --user $U --listen 127.0.0.1:0 --state "$tmp/back"
	is "its log is the user's" "$(owner "$tmp/back/tunneld.log")" "$uid $gid"
	is "and its pid file" "$(owner "$tmp/back/tunneld.pid")" "$uid $gid"
	status 0 "stop" "$D" stop --state "$tmp/back"
fi

# Folders on the way to the state are the user's, too.
daemon deep --user $U --state "$tmp/deep/er/"
is "a folder above the state" "$(owner "$tmp/deep")" "$uid $gid"
is "the state folder, with a slash behind it" "$(owner "$tmp/deep/er")" "$uid $gid"
kill "$pid"; ended "$pid"

# Not root, but let to low ports.
if setpriv --reuid $U --clear-groups --inh-caps +net_bind_service --ambient-caps +net_bind_service true 2>/dev/null; then
	# invoked by daemon
	# shellcheck disable=SC2317
	let_bind() {
		exec setpriv --reuid $U --clear-groups --inh-caps +net_bind_service --ambient-caps +net_bind_service "$D" "$@"
	}
	mkdir -m 700 "$tmp/caps"
	chown "$uid:$gid" "$tmp/caps"
	cp "$D" "$tmp/tunneld"
	D=$tmp/tunneld DAEMON=let_bind daemon caps --listen "127.0.0.1:$low"
	rm "$tmp/tunneld"
	like "a capability for low ports" "$(said caps)" "level=info event=privileges uid=$uid gid=[0-9]+ sandbox=no_capabilities.*"
	is "is given up" "$(proc CapEff)$(proc CapPrm)$(proc CapAmb)" "000000000000000000000000000000000000000000000000"
	is "the port is open" "$(curl -s -m "$WAIT" "http://127.0.0.1:$low/health")" ok
	kill "$pid"; ended "$pid"
else
	echo "SKIP capabilities: no setpriv"
fi

# A folder of root's.
issue rooted --global
daemon rooted --user $U
line "tokens that the user cannot read" "$tmp/rooted.log" "level=warn event=unreadable file=$tmp/rooted/tokens reason="
native "$tmp/n2" --name x
line "those read at the start are good" "$tmp/n2" '"ready"'
is "the folder stays root's" "$(owner "$tmp/rooted")" "0 0"
"$D" stop --state "$tmp/rooted"
mkdir -m 700 "$tmp/bare"
daemon bare --user $U
line "whether there are tokens it cannot see" "$tmp/bare.log" "event=tokens_bad reason=.*Permission denied"
"$D" stop --state "$tmp/bare"

# Certificates: those that can be read again, and those that cannot.
if command -v openssl >/dev/null && ! "$D" --check --listen 127.0.0.1:0,tls --cert /dev/null 2>&1 | grep -q 'no TLS'; then
	mkdir -m 755 "$tmp/live" "$tmp/archive" "$tmp/jail" "$tmp/jail/etc"
	certificate "$tmp/archive" first
	ln -s ../archive/cert.pem "$tmp/live/cert.pem"
	ln -s ../archive/key.pem "$tmp/live/key.pem"
	daemon tls --user $U --listen 127.0.0.1:0,tls --cert "$tmp/live/cert.pem" --key "$tmp/live/key.pem"
	port=$(sed -n 's/.*proto=https addr=.*:\([0-9]*\).*/\1/p' "$tmp/tls.log")
	dropped tls
	hasnt "links to certificates" "$tmp/tls.log" event=unreadable
	is "it shows the certificate" "$(shown)" first
	certificate "$tmp/archive" second
	reloaded tls certificates_read
	is "and the next one" "$(shown)" second
	certificate "$tmp/archive" third
	chmod 600 "$tmp/archive/key.pem"
	reloaded tls certificates_bad
	has "names the file" "$tmp/tls.log" "certificates_bad .*$tmp/live/key.pem"
	is "the last good one stays" "$(shown)" second
	kill "$pid"; ended "$pid"
	daemon tls --user $U --listen 127.0.0.1:0,tls --cert "$tmp/live/cert.pem" --key "$tmp/live/key.pem"
	line "a key for root alone" "$tmp/tls.log" "level=warn event=unreadable file=$tmp/live/key.pem reason="
	hasnt "the certificate is not" "$tmp/tls.log" "unreadable.*cert.pem"
	kill "$pid"; ended "$pid"

	# A chroot with the certificates in it.
	certificate "$tmp/jail/etc" jailed
	openssl x509 -in "$tmp/jail/etc/cert.pem" -noout -pubkey >"$tmp/jail/etc/jwt.pem"
	echo "a secret of forty bytes, for tests alone" >"$tmp/jail/etc/secret"
	echo '{"keys":[]}' >"$tmp/jail/etc/keys.json"
	chmod 644 "$tmp/jail/etc/jwt.pem" "$tmp/jail/etc/secret" "$tmp/jail/etc/keys.json"
	# no leak is looked for without /proc
	ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" daemon caged --user $U --chroot "$tmp/jail" --listen 127.0.0.1:0,tls \
	    --cert "$tmp/jail/etc/cert.pem" --key "$tmp/jail/etc/key.pem" --jwt-key "$tmp/jail/etc/jwt.pem" \
	    --jwt-secret-file "$tmp/jail/etc/secret" --jwks "$tmp/jail/etc/keys.json"
	port=$(sed -n 's/.*proto=https addr=.*:\([0-9]*\).*/\1/p' "$tmp/caged.log")
	dropped caged
	like "the log names the chroot" "$(said caged)" ".* chroot=$tmp/jail .*"
	[ ! -e "/proc/$pid/root" ] || is "its root folder" "$(readlink "/proc/$pid/root")" "$(cd "$tmp/jail" && pwd -P)"
	hasnt "all can be read from there" "$tmp/caged.log" event=unreadable
	certificate "$tmp/jail/etc" renewed
	reloaded caged certificates_read
	is "certificates in a chroot are read again" "$(shown)" renewed
	reloaded caged jwt_keys_read
	caged=$pid
	port=$(sed -n 's/.*event=listening addr=.*:\([0-9]*\).*/\1/p' "$tmp/caged.log" | head -n 1)
	issue caged --global
	native "$tmp/n3" --name y
	line "tokens, outside of it, too" "$tmp/n3" '"ready"'
	is "a request" "$(ask y.localhost /)" 200
	is "the tokens are the user's" "$(owner "$tmp/caged/tokens")" "$uid $gid"
	status 0 "stop in a chroot" "$D" stop --state "$tmp/caged"
	ended "$caged"
	[ ! -e "$tmp/caged/control" ] || fail "the control socket is gone from outside the chroot"
	cp "$tmp/jail/etc/keys.json" "$tmp/archive/"
	ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" daemon jail2 --user $U --chroot "$tmp/jail" --listen 127.0.0.1:0,tls \
	    --cert "$tmp/archive/cert.pem" --key "$tmp/archive/key.pem" --jwt-key "$tmp/archive/cert.pem" --jwks "$tmp/archive/keys.json"
	line "a certificate outside of it" "$tmp/jail2.log" "level=warn event=unreadable file=$tmp/archive/cert.pem reason=\"No such file"
	line "a key set, too" "$tmp/jail2.log" "level=warn event=unreadable file=$tmp/archive/keys.json reason=\"No such file"
	reloaded jail2 certificates_bad
	reloaded jail2 jwt_keys_bad
else
	echo "SKIP certificates: no openssl, or a build without TLS"
fi

# A daemon whose filter kills instead of saying ENOSYS, busy with all it can do.
if [ -x "$BIN/test/tunneld-strict" ]; then
	set --
	if [ -e "$tmp/jail/etc/cert.pem" ]; then
		set -- --listen 127.0.0.1:0,tls --cert "$tmp/jail/etc/cert.pem" --key "$tmp/jail/etc/key.pem"
	fi
	DAEMON=$BIN/test/tunneld-strict daemon strict --user $U "$@"
	strict=$pid
	issue strict --global
	native "$tmp/n4" --name load
	line "a client" "$tmp/n4" '"ready"'
	https=$(sed -n 's/.*proto=https addr=.*:\([0-9]*\).*/\1/p' "$tmp/strict.log")
	urls="http://127.0.0.1:$port${https:+ https://127.0.0.1:$https}"
	loads='' total=0
	for url in $urls $urls; do
		curl -sk -m 120 -H "Host: load.localhost" -o /dev/null -w '%{http_code}\n' "$url/?[1-500]" >"$tmp/load.${#loads}" &
		loads="$loads $!" total=$((total + 1))
	done
	for i in 1 2 3; do
		issue strict --scope "s$i"
		native "$tmp/s$i" --name "s$i"
		kill -HUP "$strict"
		line "a session under load" "$tmp/s$i" '"ready"'
		"$D" token revoke --state "$tmp/strict" "$id" >/dev/null
		"$D" status --state "$tmp/strict" >/dev/null
		line "its end" "$tmp/s$i" '"closed"'
	done
	# shellcheck disable=SC2086	# numbers
	wait $loads
	is "every request is answered" "$(cat "$tmp"/load.* | sort | uniq -c | tr -s ' ')" " $((total * 500)) 200"
	"$D" stop --state "$tmp/strict"
	ended "$strict"
	is "no system call that the filter does not know" "$code" 0
else
	fail "test/tunneld-strict is built"
fi
finish
