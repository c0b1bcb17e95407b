#!/bin/sh
# t_deb.sh: the packages of make deb: what is in them, and that they come and go without a trace.
# They are installed, by the real dpkg, in a root made of copies of the few programs they need.
# shellcheck disable=SC1091,SC2154,SC2317	# lib.sh sets tmp, pid and the like, and calls functions
. "$(dirname "$0")/lib.sh"
. "$here/root.sh"
top=$(dirname "$here")
unset MAKEFLAGS MFLAGS DEBFULLNAME DEBEMAIL CC CFLAGS
unset TUNNELD_CONFIG TUNNEL_CONFIG_DIR XDG_STATE_HOME XDG_CONFIG_HOME	# the packages' own places count

build() {	# FOLDER
	mkdir "$tmp/$1" "$tmp/$1.work"
	TMPDIR=$tmp/$1.work "$top/contrib/debian/build.sh" "$tmp/$1" >"$tmp/$1.out" 2>&1
}

if ! command -v dpkg-deb >/dev/null; then
	status 1 "without Debian's tools" "$top/contrib/debian/build.sh" "$tmp"
	has "and says so" "$tmp/err" 'no dpkg-deb'
	finish
fi

build one & one=$!
[ -n "$SANITIZED" ] || build two
wait "$one"
is "build.sh" "$? $(tail -n 3 "$tmp/one.out" | grep -v '^dpkg-deb: building')" "0 "
version=$(sed -n 's/^VERSION *= *//p' "$top/config.mk")
arch=$(dpkg --print-architecture)
server=$tmp/one/tunneld_${version}_$arch.deb
client=$tmp/one/tunnel_${version}_$arch.deb
for package in "$server" "$client"; do
	[ -n "$SANITIZED" ] || holds "built twice, in different folders: the same bytes" \
	    cmp "$package" "$tmp/two/${package##*/}"
	dpkg-deb -c "$package" >"$package.list"
	# root's, 755 or 644, nothing else
	is "owners and modes" "$(grep -Ev '^(drwxr-xr-x|-rw[x-]r-[x-]r-[x-]) root/root' "$package.list")" ""
	# shellcheck disable=SC2016	# dpkg-deb's
	like "fields" "$(dpkg-deb -W --showformat='${Version} ${Architecture} ${Source} ${Installed-Size} ${Depends}' "$package")" \
	    "$version $arch tunnel [1-9][0-9]+ .*libc6 \(>= 2[.0-9]+\).*"
	name=$(dpkg-deb -f "$package" Package)
	has "$name: copyright" "$package.list" " \./usr/share/doc/$name/copyright\$"
	has "$name: changelog" "$package.list" " \./usr/share/doc/$name/changelog.gz\$"
	for shell in "bash-completion/completions/$name" "zsh/vendor-completions/_$name" "fish/vendor_completions.d/$name.fish"; do
		has "$name: $shell" "$package.list" " \./usr/share/$shell\$"
	done
done
for file in usr/bin/tunneld usr/share/man/man8/tunneld.8.gz usr/share/man/man5/tunneld.conf.5.gz \
    usr/share/man/man7/tunnel-protocol.7.gz usr/lib/systemd/system/tunneld.service etc/tunneld.conf \
    usr/share/doc/tunneld/examples/nginx.conf usr/share/doc/tunneld/examples/runit/tunneld/run; do
	has "tunneld: $file" "$server.list" " \./$file\$"
done
for file in usr/bin/tunnel usr/share/man/man1/tunnel.1.gz usr/lib/systemd/system/tunnel@.service; do
	has "tunnel: $file" "$client.list" " \./$file\$"
done
library=$tmp/one/libtunnel-dev_${version}_$arch.deb
dpkg-deb -c "$library" >"$library.list"
[ -n "$SANITIZED" ] || holds "the library built twice: the same bytes" cmp "$library" "$tmp/two/${library##*/}"
is "the library's owners and modes" "$(grep -Ev '^(drwxr-xr-x|-rw-r--r--) root/root' "$library.list")" ""
for file in usr/include/tunnel.h 'usr/lib/[^/]*/libtunnel\.a' 'usr/lib/[^/]*/pkgconfig/libtunnel\.pc' usr/share/man/man3/tunnel.3.gz \
    usr/share/doc/libtunnel-dev/examples/expose.c usr/share/doc/libtunnel-dev/copyright; do
	has "libtunnel-dev: $file" "$library.list" " \./$file\$"
done
like "what a program is linked with" "$(dpkg-deb -f "$library" Depends)" '(lib[a-z]+-dev(, )?)*'
cat "$server.list" "$client.list" "$library.list" | grep -v ^d | awk '{ print $6 }' | sort | uniq -d >"$tmp/both"
is "no file is in two" "$(cat "$tmp/both")" ""

if [ "$(id -u)" -ne 0 ]; then
	echo "SKIP dpkg -i: only root may chroot"
	finish
fi

# A small Debian: its database knows what the packages depend on, and there are the programs that
# their scripts run, with their libraries.
root=$tmp/root

debian_root() {
	chmod 711 "$tmp"
	make_root
	mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
	cp /etc/login.defs "$root/etc/"
	program sh rm cat getent useradd id perl deb-systemd-helper
	# shellcheck disable=SC2046	# a list
	copy $(dpkg -L perl-base | grep '^/usr/lib/.*\.\(pm\|pl\|so\)$' | while read -r file; do
		[ ! -f "$file" ] || echo "$file"; done)
	for package in "$server" "$client"; do
		dpkg-deb -f "$package" Depends | tr ',' '\n' | sed 's/^ *//; s/ .*//'
	done | sort -u | while read -r name; do
		dpkg-query -s "$name" && echo
	done >"$root/var/lib/dpkg/status"
	# the libraries themselves
	for name in tunneld tunnel; do
		dpkg-deb --fsys-tarfile "$tmp/one/${name}_${version}_$arch.deb" | tar -xf - -C "$tmp" "./usr/bin/$name"
		libraries "$tmp/usr/bin/$name"
	done
}

debian() {	# ARGUMENT...: dpkg there
	dpkg --root="$root" --path-include='/*' --force-unsafe-io --log=/dev/null "$@" </dev/null
}

state_of() {
	# shellcheck disable=SC2016	# dpkg-query's
	dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Status}\n' "$1" 2>/dev/null
}

# The daemon and the client that were installed, by the users they are meant for.
works() {
	uid=$(chroot "$root" id -u tunneld) gid=$(chroot "$root" id -g tunneld)
	mkdir -p "$root/var/lib/tunneld"
	chmod 700 "$root/var/lib/tunneld"
	chown "$uid:$gid" "$root/var/lib/tunneld"
	start "$tmp/daemon" chroot --userspec="$uid:$gid" "$root" /usr/bin/tunneld \
	    --config /etc/tunneld.conf --state /var/lib/tunneld --listen 127.0.0.1:0
	daemon=$pid
	line "the daemon runs" "$tmp/daemon.err" event=listening || return
	port=$(sed -n 's/.*event=listening addr=.*:\([0-9]*\).*/\1/p' "$tmp/daemon.err")
	is "as its own user" "$(stat -c %U:%u "/proc/$daemon" | cut -d: -f2)" "$uid"
	chroot "$root" /usr/bin/tunneld token issue --scope a | sed -n 's/^token: //p' >"$root/token"
	mkdir "$tmp/pages"
	echo hello >"$tmp/pages/index.html"
	start "$tmp/service" "$PYTHON" -u -m http.server --bind 127.0.0.1 --directory "$tmp/pages" 0
	line "a service" "$tmp/service" 'port [0-9]+'
	start "$tmp/client" chroot "$root" /usr/bin/tunnel connect --endpoint "http://127.0.0.1:$port" \
	    --token-file /token "a=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$tmp/service")"
	line "the client" "$tmp/client" '->'
	is "a request through both" "$(ask a.localhost /) $(cat "$tmp/body")" "200 hello"
	holds "tunneld stop" chroot "$root" /usr/bin/tunneld stop
	ended "$daemon"
	is "it exits 0" "$code" 0
	rm "$root/token"
}

wanted=$root/etc/systemd/system/multi-user.target.wants/tunneld.service
debian_root
holds "dpkg -i" debian -i "$server" "$client"
is "installed" "$(state_of tunneld), $(state_of tunnel)" "install ok installed, install ok installed"
is "dpkg --verify" "$(debian --verify tunneld tunnel)" ""
like "a user for it" "$(grep ^tunneld: "$root/etc/passwd")" 'tunneld:[^:]*:[0-9]+:[0-9]+:tunneld:/nonexistent:/usr/sbin/nologin'
is "its unit is enabled" "$(readlink "$wanted" | sed 's,^/usr,,')" /lib/systemd/system/tunneld.service
holds "the configuration that came with it" chroot "$root" /usr/bin/tunneld --check
like "the version" "$(chroot "$root" /usr/bin/tunnel -V)" ".*$version.*"
works
echo "# mine" >>"$root/etc/tunneld.conf"
rm "$wanted"
holds "the same again" debian -i "$server" "$client"
has "keeps what was changed" "$root/etc/tunneld.conf" '^# mine'
status 1 "and does not enable what was disabled" test -L "$wanted"
holds "dpkg -r" debian -r tunneld tunnel
is "configuration and tokens stay" "$(cd "$root" && find etc/tunneld.conf var/lib/tunneld/tokens)" \
    "etc/tunneld.conf
var/lib/tunneld/tokens"
is "the programs do not" "$(find "$root/usr/bin" -name 'tunnel*')" ""
holds "dpkg -P" debian -P tunneld tunnel
is "nothing is left" "$(find "$root" -name '*tunnel*')" ""
is "in the database neither" "$(state_of tunneld)$(state_of tunnel)" ""
finish
