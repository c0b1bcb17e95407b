#!/bin/sh
# static.sh TREE FOLDER: make static in TREE; its programs are really static, and serve a page over
# TLS from a folder where there is nothing else. As root, for chroot.
set -eu
(cd "$1" && make -s static)
mkdir -p "$2"
root=$(cd "$2" && pwd)
cp "$1/static/tunneld" "$1/static/tunnel" "$root/"
started=

# invoked by trap
# shellcheck disable=SC2317
cleanup() {
	for pid in $started; do
		kill "$pid" 2>/dev/null || :
	done
	wait
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

die() {
	echo "static.sh: $*"
	cat "$root"/*.log
	exit 1
}

# line FILE REGEX: it comes within 20 seconds.
line() {
	tries=400
	until grep -Eq -- "$2" "$1"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || die "no line $2 in $1"
		sleep 0.05
	done
}

in_root="env -i PATH=$PATH:/usr/sbin:/sbin chroot $root"	# for the background not in a function: $! is the program then
inside() {
	$in_root "$@"
}

for program in tunneld tunnel; do
	readelf -lW "$root/$program" >"$root/elf.log"
	! grep -q INTERP "$root/elf.log" || die "$program wants a dynamic loader"
	inside "/$program" -V
done

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$root/key.pem" -out "$root/cert.pem" 2>"$root/openssl.log"
mkdir "$root/pages"
echo hello >"$root/pages/index.html"
python3 -u -m http.server --bind 127.0.0.1 --directory "$root/pages" 0 >"$root/service.log" 2>&1 &
started="$started $!"
line "$root/service.log" 'port [0-9]+'
service=$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$root/service.log")
: >"$root/tunneld.log"
: >"$root/none"
$in_root /tunneld --config /none --state /state --listen 127.0.0.1:0,tls --cert /cert.pem --key /key.pem \
    >>"$root/tunneld.log" 2>&1 &
started="$started $!"
line "$root/tunneld.log" event=listening
port=$(sed -n 's/.*event=listening.*addr=.*:\([0-9]*\).*/\1/p' "$root/tunneld.log")
inside /tunneld token issue --config /none --state /state --scope a | sed -n 's/^token: //p' >"$root/token"
$in_root /tunnel connect --endpoint "https://127.0.0.1:$port" --ca /cert.pem --token-file /token "a=$service" \
    >"$root/tunnel.log" 2>&1 &
started="$started $!"
line "$root/tunnel.log" '->'
answer=$(curl -s -m 20 --cacert "$root/cert.pem" -H "Host: a.localhost" "https://127.0.0.1:$port/")
[ "$answer" = hello ] || die "got '$answer' in place of the page"
echo "ok $(wc -c <"$root/tunneld") and $(wc -c <"$root/tunnel") bytes"
