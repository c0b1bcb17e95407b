#!/bin/sh
# demo.sh [1]: a daemon, a client and a little service, all on loopback.
# With 1: end after one request, with its status.
set -eu

dir=$(mktemp -d)
pids=

end() {
	status=$?
	trap - EXIT INT TERM HUP
	for pid in $pids; do
		kill "$pid" 2>/dev/null || :
	done
	for pid in $pids; do
		wait "$pid" 2>/dev/null || :
	done
	rm -rf "$dir"
	exit "$status"
}
trap end EXIT
trap 'exit 0' INT TERM HUP

# until_line FILE PATTERN PID: the first matching line, once it is there.
until_line() {
	tries=0
	until line=$(grep -m 1 -e "$2" "$1" 2>/dev/null); do
		tries=$((tries + 1))
		if ! kill -0 "$3" 2>/dev/null || [ "$tries" -gt 300 ]; then
			echo "demo: no line '$2' came; this did:" >&2
			cat "$dir"/*.log >&2
			exit 1
		fi
		sleep 0.1
	done
}

./hello >"$dir/hello.log" 2>&1 &
hello=$!
pids="$pids $hello"
until_line "$dir/hello.log" : "$hello"
service=$line

./tunneld --state "$dir/state" --listen 127.0.0.1:0 2>"$dir/tunneld.log" &
daemon=$!
pids="$pids $daemon"
until_line "$dir/tunneld.log" event=listening "$daemon"
public=${line##*addr=}

./tunneld token issue --scope preview --note demo --state "$dir/state" >"$dir/token"
sed -n 's/^token: //p' "$dir/token" >"$dir/secret"

export TUNNEL_CONFIG_DIR="$dir/client" TUNNEL_PROXY=none
./tunnel use "http://$public" - <"$dir/secret" >"$dir/use.log"
./tunnel connect "$service" >"$dir/ready.log" 2>"$dir/tunnel.log" &
client=$!
pids="$pids $client"
until_line "$dir/ready.log" ' -> ' "$client"
url=${line%% -> *}

echo "daemon   http://$public"
echo "service  http://$service"
echo "tunnel   $line"

# curl and browsers know that *.localhost is this machine; older curls ask the resolver.
host=${url#http://}
curl -fsS --noproxy '*' --max-time 10 --resolve "${host%:*}:${host##*:}:127.0.0.1" "$url/" >"$dir/page"
grep -q 'It works' "$dir/page"
echo "fetched  $url/ ($(wc -c <"$dir/page" | tr -d ' ') bytes)"
[ "${1-}" = 1 ] && exit 0

echo
echo "Open $url/ in a browser on this machine; Ctrl-C ends the demo."
tail -f "$dir/tunnel.log" &
pids="$pids $!"
wait "$client"
