#!/bin/sh
# t_daemon.sh: tunneld's commands, options, state folder, signals.
# shellcheck disable=SC1091,SC2154	# lib.sh sets tmp, port, pid, id, code and the like
export PYTHONDONTWRITEBYTECODE=1
. "$(dirname "$0")/lib.sh"
D=$BIN/tunneld
S=$tmp/s

# Commands that print and end.
status 0 "-h" "$D" -h
has "-h shows usage" "$tmp/out" '^usage: tunneld'
is "-h says nothing on stderr" "$(cat "$tmp/err")" ""
cp "$tmp/out" "$tmp/help"
status 0 "--help" "$D" --help
holds "--help is the same" cmp "$tmp/out" "$tmp/help"
is "--help fits a screen" "$(wc -l <"$tmp/help" | awk '{print ($1 <= 40)}') $(awk 'length > 96' "$tmp/help")" "1 "
status 0 "token --help" "$D" token --help
status 0 "token issue -h" "$D" token issue -h
if [ -c /dev/full ]; then
	status 1 "a token that cannot be shown" sh -c '"$@" >/dev/full' sh "$D" token issue --scope a --state "$tmp/full"
	has "and it says so" "$tmp/err" "standard output: No space left on device"
fi
status 0 "-V" "$D" -V
like "-V" "$(cat "$tmp/out")" 'tunneld [0-9]+\.[0-9]+\.[0-9]+'
status 0 "--version" "$D" --version
status 0 "-n" "$D" -n
status 0 "--check with options" "$D" --check --listen 8080 --listen '[::1]:0' --domain t.example.com --grace 1m \
    --window 1M --slots 12 --trust 10.0.0.0/8
[ ! -e "$S" ] || fail "-n makes no state folder"

# wrong NAME WORD ARGUMENT...: exit 2 on wrong usage, one line on stderr that names the word.
wrong() {
	what=$1 word=$2; shift 2
	status 2 "$what" "$D" "$@"
	is "$what: nothing on stdout" "$(cat "$tmp/out")" ""
	is "$what: one line" "$(wc -l <"$tmp/err" | tr -d ' ')" 1
	holds "$what: names '$word'" grep -qF -- "$word" "$tmp/err"
	has "$what: by whom" "$tmp/err" '^tunneld: '
}
wrong "an unknown option" --lisen --lisen 1
wrong "an unknown letter" -Z -Z
wrong "an unknown word" frobnicate frobnicate
wrong "a stray word" stray -n stray
wrong "an option without its value" --grace -n --grace
wrong "a flag with a value" --log-time -n --log-time=maybe
wrong "a bad listener" localhost -n --listen localhost
wrong "a port too large" 65536 -n --listen 65536
wrong "a bad time" soon -n --grace soon
wrong "a negative time" -1 -n --timeout=-1
wrong "no time at all" "--timeout" -n --timeout 0
wrong "a bad number" many -n --slots many
wrong "a number too large" 70000 -n --slots 70000
wrong "a bad size" big -n --window big
wrong "a window too small" 1024 -n --window 1024
wrong "a bad network" 10.0.0.0/33 -n --trust 10.0.0.0/33
wrong "a bad domain" UPPER.example -n --domain UPPER.example
wrong "a bad domain with a blank" 'a b.example' -n --domain 'a b.example'
wrong "a bad URL" ftp://x -n --url ftp://x
wrong "token alone" token token
wrong "token and a strange word" frob token frob
wrong "token issue without a scope" --scope token issue --state "$S"
wrong "token issue with both" --global token issue --state "$S" --scope a --global
wrong "token issue with a bad name" 'a_b' token issue --state "$S" --scope 'x,a_b'
wrong "token issue with an upper-case name" 'Abc' token issue --state "$S" --scope Abc
wrong "token issue with an empty name" "scope" token issue --state "$S" --scope 'x,,y'
wrong "token issue with a bad port" 70000 token issue --state "$S" --scope 70000
wrong "token issue with a bad range" 9100-9000 token issue --state "$S" --scope 9100-9000
wrong "token issue with a bad end" never token issue --state "$S" --global --expires never
wrong "token issue with a strange option" --expire token issue --state "$S" --global --expire 3d
wrong "token issue with a stray word" stray token issue --state "$S" --global stray
wrong "token list with a strange option" --json token list --state "$S" --json
wrong "token revoke without an id" missing token revoke --state "$S"
wrong "token revoke with two" two token revoke --state "$S" one two
wrong "status with a strange option" --yaml status --state "$S" --yaml
wrong "stop with a stray word" now stop --state "$S" now
[ ! -e "$S" ] || fail "what is wrong makes no state folder"
status 2 "a note with a newline" "$D" token issue --state "$S" --global --note 'a
b'
[ ! -e "$S/tokens" ] || fail "a token with a bad note was written"

# The configuration file and the environment.
cat >"$tmp/c.conf" <<'END'
# a comment
listen 127.0.0.1:0

	grace   5
slots 12
END
status 0 "a configuration file" "$D" -n --config "$tmp/c.conf"
printf 'slots 12\nlisen 8080\n' >"$tmp/c.conf"
wrong "an unknown name in the file" lisen -n --config "$tmp/c.conf"
holds "file and line" grep -qF "c.conf:2" "$tmp/err"
printf 'slots dozens\n' >"$tmp/c.conf"
wrong "a bad value in the file" dozens -n --config "$tmp/c.conf"
holds "file and line" grep -qF "c.conf:1" "$tmp/err"
status 0 "the command line comes first" "$D" -n --config "$tmp/c.conf" --slots 4
status 0 "the environment comes before the file" env TUNNELD_SLOTS=4 "$D" -n --config "$tmp/c.conf"
wrong "a file that is not there" nowhere.conf -n --config "$tmp/nowhere.conf"
TUNNELD_GRACE=forever
export TUNNELD_GRACE
wrong "a bad value in the environment" forever -n
unset TUNNELD_GRACE
wrong "a bad file, for token list too" dozens token list --config "$tmp/c.conf"

# Tokens.
"$D" token issue --state "$S" --scope preview,www.example.com,9000,9100-9199 --expires 30d --note 'build box' >"$tmp/out" 2>"$tmp/err"
is "token issue" "$?" 0
like "line 1: id" "$(sed -n 1p "$tmp/out")" 'id: [0-9a-f]{8}'
is "line 2: scope" "$(sed -n 2p "$tmp/out")" "scope: preview,www.example.com,9000,9100-9199"
like "line 3: token" "$(sed -n 3p "$tmp/out")" 'token: tn_[A-Za-z0-9_-]{43}'
first=$(sed -n 's/^id: //p' "$tmp/out") secret=$(sed -n 's/^token: //p' "$tmp/out")
like "line 4: the client's line" "$(sed -n 4p "$tmp/out")" "(client: +)?tunnel use http://127\\.0\\.0\\.1:9001 $secret"
is "and no more" "$(wc -l <"$tmp/out" | tr -d ' ')" 4
"$D" token issue --state "$S" --global >"$tmp/out"
is "--global" "$(sed -n 2p "$tmp/out")" "scope: *"
second=$(sed -n 's/^id: //p' "$tmp/out")
"$D" token issue --state "$S" --global --domain x >/dev/null 2>&1
is "token issue takes no --domain" "$?" 2
printf 'domain t.example.com\nstate %s\n' "$S" >"$tmp/c.conf"
"$D" token issue --config "$tmp/c.conf" --scope x >"$tmp/out"
holds "the client's line follows the configuration" grep -Eq 'tunnel use http://t\.example\.com:9001 tn_' "$tmp/out"
third=$(sed -n 's/^id: //p' "$tmp/out")
"$D" token list --state "$S" >"$tmp/out"
is "token list: a line each" "$(wc -l <"$tmp/out" | tr -d ' ')" 3
like "token list: in the order of issue" "$(sed -n 's/^id=\([0-9a-f]*\) .*/\1/p' "$tmp/out" | tr '\n' ' ')" "$first $second $third "
has "token list: one that expires" "$tmp/out" "^id=$first scope=preview,www\\.example\\.com,9000,9100-9199 created=[0-9TZ:-]+ expires=20[0-9TZ:-]+ note=\"?build box\"?\$"
has "token list: one that does not" "$tmp/out" "^id=$second scope=\\* created=[0-9TZ:-]+ expires=never"
hasnt "token list shows no secret" "$tmp/out" "$secret"
if grep -rqF -e "$secret" "$S"; then fail "the secret itself is nowhere in the state folder"; else ok; fi
is "state folder's mode" "$(mode "$S")" 700
is "token file's mode" "$(mode "$S/tokens")" 600
status 0 "token revoke" "$D" token revoke --state "$S" "$third"
is "token revoke says so" "$(cat "$tmp/out")" "revoked: $third"
status 1 "token revoke of an id that is not there" "$D" token revoke --state "$S" "$third"
has "and names it" "$tmp/err" "$third"
"$D" token list --state "$S" >"$tmp/out"
is "token list afterwards" "$(wc -l <"$tmp/out" | tr -d ' ')" 2
status 1 "token list without a state folder" "$D" token list --state "$tmp/nowhere"
has "and names it" "$tmp/err" "$tmp/nowhere"
i=0
while [ $i -lt 8 ]; do
	"$D" token issue --state "$tmp/race" --global >/dev/null 2>&1 &
	racers="${racers:-} $!"
	i=$((i + 1))
done
for p in $racers; do wait "$p"; done
is "issues at once: none is lost" "$("$D" token list --state "$tmp/race" | sort -u | wc -l | tr -d ' ')" 8

# No daemon.
status 1 "status without a daemon" "$D" status --state "$S"
has "and says so" "$tmp/err" "no daemon"
status 1 "stop without a daemon" "$D" stop --state "$S"

# Start, listeners, what a second daemon finds.
six=
"$PYTHON" -c 'import socket; socket.create_server(("::1", 0), family=socket.AF_INET6)' 2>/dev/null && six=1
daemon two --listen 127.0.0.1:0 ${six:+--listen '[::1]:0'} --log-time
two=$pid
is "a line for each listener" "$(grep -c 'event=listening' "$tmp/two.log")" $((six ? 3 : 2))
like "with --log-time" "$(grep -m 1 event=listening "$tmp/two.log")" '([a-z]+=)?20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+) level=info event=listening addr=127\.0\.0\.1:[0-9]+'
is "and nothing on stdout" "$(cat "$tmp/two.stdout")" ""
sed -n 's/.*event=listening addr=//p' "$tmp/two.log" >"$tmp/addrs"
while read -r addr; do
	is "$addr answers" "$(curl -g -s -m "$WAIT" "http://$addr/health")" ok
done <"$tmp/addrs"
[ -n "$six" ] || echo "SKIP an IPv6 listener: this machine has no ::1"
is "socket's mode" "$(mode "$tmp/two/control")" 600
is "a state folder made by the daemon" "$(mode "$tmp/two")" 700
status 1 "a second daemon on the same state folder" "$D" --listen 127.0.0.1:0 --state "$tmp/two"
has "and says so" "$tmp/err" "already runs.*$tmp/two"
is "the first does not notice" "$(ask x /health)" 200
status 1 "a port that is taken" "$D" --listen "127.0.0.1:$port" --state "$tmp/other"
has "and names it" "$tmp/err" "127.0.0.1:$port"
status 1 "an address that is not ours" "$D" --listen 203.0.113.1:0 --state "$tmp/other"
has "and names it" "$tmp/err" 203.0.113.1
: >"$tmp/file"
status 1 "a state folder that is a file" "$D" --listen 127.0.0.1:0 --state "$tmp/file"
has "and names it" "$tmp/err" "$tmp/file"
long=$tmp/$(printf '%0200d' 0)
status 1 "a state folder whose socket has no room" "$D" --listen 127.0.0.1:0 --state "$long"
has "and names it" "$tmp/err" "too long"
rm -rf "$long"
kill -9 "$two"; ended "$two"
daemon two
ok	# what a killed daemon left behind is in nobody's way
kill "$pid"; ended "$pid"
is "SIGTERM: exit 0" "$code" 0
[ ! -e "$tmp/two/control" ] || fail "the control socket is gone"
daemon int
kill -INT "$pid"; ended "$pid"
is "SIGINT: exit 0" "$code" 0

# Status and stop.
issue st --scope preview,api
preview=$id
daemon st
"$D" token issue --state "$tmp/st" --scope pasted >"$tmp/out"
holds "the client's line names the port of the daemon that runs" \
    grep -Eq "tunnel use http://127\.0\.0\.1:$port tn_" "$tmp/out"
daemon_pid=$pid
is "status without tunnels" "$("$D" status --state "$tmp/st")" ""
is "status --json without tunnels" "$("$D" status --json --state "$tmp/st" | tr -d ' \n')" "[]"
native "$tmp/n" --name preview --listen '{"op":"listen","id":2,"kind":"http","name":"api","path":true}'
client=$pid
line "client is ready" "$tmp/n" '"id": 2, "url"' || line "client is ready (2)" "$tmp/n" '"ready"'
is "a request" "$(ask preview.localhost /)" 200
until_true "it is counted" sh -c "'$D' status --state '$tmp/st' | grep -q 'name=preview .*requests=1 '"
"$D" status --state "$tmp/st" >"$tmp/out"
is "status: a line a tunnel" "$(wc -l <"$tmp/out" | tr -d ' ')" 2
has "status: name, token, peer, since, running, bytes" "$tmp/out" \
    "^name=preview token=$preview peer=127\\.0\\.0\\.1:[0-9]+ since=[0-9TZ:-]+ running=0 requests=1 in=[1-9][0-9]* out=[1-9][0-9]* url=http://preview\\.tunnel\\.localhost:[0-9]+\$"
has "status: the other" "$tmp/out" "^name=api token=$preview .* running=0 requests=0 in=0 out=0 url=http://api\\.tunnel\\.localhost:[0-9]+ path_url=http://127\\.0\\.0\\.1:[0-9]+/api/\$"
"$D" status --json --state "$tmp/st" >"$tmp/out"
holds "status --json" "$PYTHON" -c '
import json, sys
rows = {t["name"]: t for t in json.load(open(sys.argv[1]))}
p, a = rows["preview"], rows["api"]
assert p["token"] == a["token"] == sys.argv[2] and p["peer"].startswith("127.0.0.1:")
assert p["running"] == 0 and p["requests"] == 1 and p["in"] > 0 and p["out"] > 0 and p["lost"] is False
assert a["path"] is True and p["path"] is False and len(p["since"]) == 20' "$tmp/out" "$preview"
holds "another user's folder is not asked" "$PYTHON" - "$tmp/st/control" <<'END'
import socket, sys
for text in (b"frobnicate\n", b"", b"x" * 10000, b"status"):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    try:
        s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    except ConnectionError:
        pass
END
kill -9 "$client"; ended "$client"
until_true "status: a lost one" sh -c "'$D' status --state '$tmp/st' | grep -q 'name=preview .*lost'"
status 0 "stop" "$D" stop --state "$tmp/st"
ended "$daemon_pid"
is "it exits 0" "$code" 0
has "its log says so" "$tmp/st.log" 'event=stopped'

# A damaged store.
issue bad --scope a,b
good=$token
cp "$tmp/bad/tokens" "$tmp/good.tokens"
{ cat "$tmp/good.tokens"; echo "this is no token"; } >"$tmp/bad/tokens"
status 1 "a damaged line at the start" "$D" --listen 127.0.0.1:0 --state "$tmp/bad"
has "names file and line" "$tmp/err" 'tokens:2: '
for command in "list" "issue --global" "revoke $id"; do
	# shellcheck disable=SC2086	# words
	status 1 "token $command on a damaged store" "$D" token $command --state "$tmp/bad"
	has "names file and line" "$tmp/err" 'tokens:2: '
done
cp "$tmp/good.tokens" "$tmp/bad/tokens"
daemon bad
bad=$pid token=$good
native "$tmp/n1" --name a
line "client" "$tmp/n1" '"ready"'
{ cat "$tmp/good.tokens"; echo "this is no token"; } >"$tmp/bad/tokens.new"
mv "$tmp/bad/tokens.new" "$tmp/bad/tokens"	# a half written one would revoke
line "a damaged line at run time is logged, with its number" "$tmp/bad.log" 'level=error event=tokens_bad .*tokens:2'
is "the last good set stays in force" "$(ask a.localhost /)" 200
native "$tmp/n2" --name b
line "for new sessions too" "$tmp/n2" '"ready"'
kill "$pid"
line "and their ends" "$tmp/n2" '"closed"'
cp "$tmp/good.tokens" "$tmp/bad/tokens.new"
mv "$tmp/bad/tokens.new" "$tmp/bad/tokens"
line "mended: read again" "$tmp/bad.log" 'event=tokens_read'
hasnt "no session is lost over it" "$tmp/n1" '"closed"'
before=$(grep -c 'event=tokens_read' "$tmp/bad.log")
# shellcheck disable=SC2317	# until_true calls it
reads() { [ "$(grep -c 'event=tokens_read' "$tmp/bad.log")" -gt "$before" ]; }
kill -HUP "$bad"
until_true "SIGHUP reads the tokens again" reads
is "and keeps the session" "$(ask a.localhost /)" 200

# A token just issued, one just revoked.
i=0 seen=0 ids=
while [ $i -lt 4 ]; do
	issue bad --scope "new$i"
	ids="$id $ids"
	native "$tmp/new$i" --name "new$i"
	line "an answer" "$tmp/new$i" '"ready"|"rejected"'
	grep -q '"ready"' "$tmp/new$i" && seen=$((seen + 1))
	i=$((i + 1))
done
is "a token is good as soon as it is issued" "$seen" 4
now_ms() {
	"$PYTHON" -c 'import time; print(int(time.monotonic() * 1000))'
}
for id in $ids; do
	i=$((i - 1))
	"$D" token revoke --state "$tmp/bad" "$id" >"$tmp/out"
	start_ms=$(now_ms)
	line "a revoked token: gone" "$tmp/new$i" '"code": "revoked"'
	line "a revoked token: close 1008" "$tmp/new$i" '"closed", "code": 1008'
	took=$(($(now_ms) - start_ms))
	# a busy machine is late now and then, a slow daemon each time
	if [ "$took" -lt 1200 ] || [ -n "$SANITIZED" ]; then break; fi
done
if [ "$took" -lt 1200 ] || [ -n "$SANITIZED" ]; then ok; else fail "within a second" "$took ms"; fi
native "$tmp/again" --name new3
line "a revoked token: 401" "$tmp/again" '"rejected", "status": 401'
hasnt "no token ever stands in a log" "$tmp/bad.log" 'tn_'

# Its end, in order.
issue end --global
daemon end --drain 15
end=$pid
start "$tmp/origin" "$PYTHON" "$PEER/origin.py"
line "origin" "$tmp/origin" port
origin=$(sed -n 's/.*"port": \([0-9]*\).*/\1/p' "$tmp/origin")
native "$tmp/n4" --name b --target "127.0.0.1:$origin"
line "client" "$tmp/n4" '"ready"'
ask b.localhost '/slow?ms=800' >"$tmp/slow" &
slow=$!
line "a request runs" "$tmp/n4" '"stream"'
kill "$end"
line "SIGTERM: it drains" "$tmp/end.log" 'event=draining'
wait "$slow"
is "a running exchange finishes" "$(cat "$tmp/slow")" 200
ended "$end"
is "then it exits 0" "$code" 0
line "clients are told" "$tmp/n4" '"closed", "code": 1001'
daemon end --drain 60
end=$pid
native "$tmp/n5" --name b --never-answer
line "client" "$tmp/n5" '"ready"'
ask b.localhost / >"$tmp/slow" &
slow=$!
line "a request waits" "$tmp/n5" '"stream"'
kill "$end"
line "SIGTERM" "$tmp/end.log" 'event=draining'
kill "$end"
ended "$end"
if [ "$code" != 0 ]; then ok; else fail "a second SIGTERM ends it now, not in order"; fi
wait "$slow"

# Time moves: an expired token.
if [ -x "$BIN/test/tunneld-clock" ]; then
	echo 0 >"$tmp/time"
	TUNNEL_CLOCK=$tmp/time
	export TUNNEL_CLOCK
	issue clock --scope a --expires 2h
	DAEMON=$BIN/test/tunneld-clock daemon clock
	native "$tmp/n6" --name a
	line "client" "$tmp/n6" '"ready"'
	echo 7100000 >"$tmp/time"
	is "before its end a token is good" "$(ask a.localhost /)" 200
	echo 7200001 >"$tmp/time"
	line "an expired token: gone" "$tmp/n6" '"code": "expired"'
	line "an expired token: close 1008" "$tmp/n6" '"closed", "code": 1008'
	native "$tmp/n7" --name a
	line "an expired token: 401" "$tmp/n7" '"rejected", "status": 401'
else
	fail "test/tunneld-clock is built"
fi
finish
