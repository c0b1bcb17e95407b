#!/bin/sh
# install.sh TREE ROOT: make install puts everything in its place, uninstall takes it away.
set -eu
tree=$1
root=$2
make -C "$tree" DESTDIR="$root" PREFIX=/opt/t install
for f in bin/tunneld bin/tunnel share/man/man1/tunnel.1 share/man/man8/tunneld.8 \
	share/man/man5/tunneld.conf.5 share/man/man3/tunnel.3 include/tunnel.h lib/libtunnel.a lib/pkgconfig/libtunnel.pc share/man/man7/tunnel-protocol.7 \
	share/doc/tunnel/examples/nginx.conf share/doc/tunnel/examples/browser-ssh/index.html share/bash-completion/completions/tunnel \
	share/zsh/site-functions/_tunneld share/fish/vendor_completions.d/tunnel.fish; do
	[ -f "$root/opt/t/$f" ] || { echo "not installed: $f"; exit 1; }
done
"$root/opt/t/bin/tunneld" -V
"$root/opt/t/bin/tunnel" -V
# over a program that runs, as before an upgrade
state=$(mktemp -d)
"$root/opt/t/bin/tunneld" --state "$state" --listen 127.0.0.1:0 --log "$state/log" &
pid=$!
trap 'kill "$pid"; rm -rf "$state"' EXIT
tries=0
until grep -q event=listening "$state/log" 2>/dev/null; do
	tries=$((tries + 1))
	[ "$tries" -le 600 ] || { echo "the daemon does not start"; exit 1; }
	sleep 0.1
done
make -C "$tree" DESTDIR="$root" PREFIX=/opt/t install
cmp "$tree/tunneld" "$root/opt/t/bin/tunneld"
grep -q '^prefix=/opt/t$' "$root/opt/t/lib/pkgconfig/libtunnel.pc"
make -C "$tree" DESTDIR="$root" PREFIX=/opt/t uninstall
left=$(find "$root" -type f)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
make -C "$tree" dist
tar -tzf "$tree"/tunnel-*.tar.gz | grep -q /tunneld.c
