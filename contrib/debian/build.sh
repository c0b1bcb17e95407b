#!/bin/sh
# build.sh [FOLDER]: tunneld_VERSION_ARCH.deb, tunnel_VERSION_ARCH.deb and libtunnel-dev_VERSION_ARCH.deb in FOLDER (here), made of
# a copy of this tree, by dpkg-deb alone. The same tree gives the same bytes: times are those of
# SOURCE_DATE_EPOCH, or of the last commit, or of config.mk. DEBFULLNAME and DEBEMAIL name who made
# it. make's own variables (make deb TLS=libtls) reach the build.
set -eu
out=$(cd "${1:-.}" && pwd)
cd "$(dirname "$0")/../.."
top=$PWD
say() {
	echo "build.sh: $*" >&2
	exit 1
}
command -v dpkg-deb >/dev/null || say "there is no dpkg-deb here: packages for Debian are made on Debian"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
umask 022
version=$(sed -n 's/^VERSION *= *//p' config.mk)
arch=$(dpkg --print-architecture)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date -r config.mk +%s)}"
export SOURCE_DATE_EPOCH
who="${DEBFULLNAME:-the tunnel maintainers} <${DEBEMAIL:-tunnel@example.com}>"

# flags NAME DEFAULT: Debian's compiler flags, hardened, without this folder's name in them.
flags() {
	DEB_BUILD_MAINT_OPTIONS=hardening=+all dpkg-buildflags --get "$1" 2>/dev/null || echo "$2"
}

compile() {
	mkdir "$work/src"
	cp -R ./*.c ./*.h Makefile config.mk man examples LICENSE "$work/src"
	cd "$work/src"
	${MAKE:-make} -s -j"$(getconf _NPROCESSORS_ONLN)" CPPFLAGS="$(flags CPPFLAGS '')" \
	    CFLAGS="$(flags CFLAGS -O2) -g0" LDFLAGS="$(flags LDFLAGS '')" \
	    PREFIX=/usr LIBDIR="/$libdir" ZSHCOMPDIR=/usr/share/zsh/vendor-completions DOCDIR=/usr/share/doc/tunneld \
	    DESTDIR="$work/all" all install
	strip --strip-unneeded --remove-section=.comment --remove-section=.note "$work/all/usr/bin/"*
	strip --strip-debug --remove-section=.comment --remove-section=.note -D "$work/all/$libdir/libtunnel.a"
	find "$work/all/usr/share/man" -type f -exec gzip -9n {} +
	cd "$top"
}

# give PACKAGE PATH...: these are that package's.
give() {
	root=$work/$1
	shift
	for path in "$@"; do
		mkdir -p "$root/$(dirname "$path")"
		mv "$work/all/$path" "$root/$path"
	done
}

# completions PACKAGE
completions() {
	give "$1" "usr/share/bash-completion/completions/$1" "usr/share/zsh/vendor-completions/_$1" \
	    "usr/share/fish/vendor_completions.d/$1.fish"
}

# put MODE FILE PATH: one of ours.
put() {
	mkdir -p "$(dirname "$3")"
	cp "$2" "$3"
	chmod "$1" "$3"
}

daemon_files() {
	give tunneld usr/bin/tunneld usr/share/man/man5 usr/share/man/man7 usr/share/man/man8 \
	    usr/share/doc/tunneld/examples
	completions tunneld
	root=$work/tunneld
	cp -R contrib/runit contrib/s6 contrib/openrc contrib/wsproxy "$root/usr/share/doc/tunneld/examples"
	put 644 contrib/tunneld.conf "$root/etc/tunneld.conf"
	for unit in tunneld.service tunneld.socket tunneld-tls.socket tunneld-ssh.socket; do
		put 644 "contrib/systemd/$unit" "$root/$units/system/$unit"
	done
	echo /etc/tunneld.conf >"$root/DEBIAN/conffiles"
}

client_files() {
	give tunnel usr/bin/tunnel usr/share/man/man1
	completions tunnel
	put 644 contrib/systemd/tunnel@.service "$work/tunnel/$units/system/tunnel@.service"
	put 644 contrib/systemd/user/tunnel.service "$work/tunnel/$units/user/tunnel.service"
	mkdir -p "$work/tunnel/etc/tunnel"
}

library_files() {
	give libtunnel-dev "$libdir" usr/include usr/share/man/man3 usr/share/doc/tunneld/examples/expose.c usr/share/doc/tunneld/examples/gateway.c
	mkdir -p "$work/libtunnel-dev/usr/share/doc/libtunnel-dev"
	mv "$work/libtunnel-dev/usr/share/doc/tunneld/examples" "$work/libtunnel-dev/usr/share/doc/libtunnel-dev/"
	rmdir "$work/libtunnel-dev/usr/share/doc/tunneld"
}

# The packages of the libraries a program is linked with, and from which version on.
depends() {
	mkdir -p "$work/shlibs/debian"
	: >"$work/shlibs/debian/control"
	if command -v dpkg-shlibdeps >/dev/null; then
		(cd "$work/shlibs" && dpkg-shlibdeps -O "$1") | sed -n 's/^shlibs:Depends=//p'
		return
	fi
	ldd "$1" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r library; do
		dpkg-query -S "$(readlink -f "$library")" "*/${library##*/}" 2>/dev/null | head -n 1
	done | cut -d: -f1 | sort -u | while read -r package; do
		# shellcheck disable=SC2016	# dpkg-query's
		dpkg-query -W -f '${Package} (>= ${Version})\n' "$package" | head -n 1
	done | paste -s -d , | sed 's/,/, /g'
}

# The packages with which a program that uses the library is linked.
devs() {
	sed -n 's/^Libs: //p' "$work/libtunnel-dev/$libdir/pkgconfig/libtunnel.pc" | tr ' ' '\n' |
	    sed -n 's/^-lbearssl$/libbearssl-dev/p; s/^-lsodium$/libsodium-dev/p; s/^-ltls$/libtls-dev/p; s/^-lcrypto$/libssl-dev/p' |
	    sort -u | paste -s -d , | sed 's/,/, /g'
}

documents() {	# PACKAGE
	doc=$work/$1/usr/share/doc/$1
	mkdir -p "$doc"
	{
		printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
		printf 'Upstream-Name: tunnel\n\nFiles: *\n'
		sed -n 's/^Copyright (c) /Copyright: /p' LICENSE
		printf 'License: ISC\n'
		sed -n '/^Permission/,$p' LICENSE | sed 's/^$/./; s/^/ /'
	} >"$doc/copyright"
	printf 'tunnel (%s) unstable; urgency=medium\n\n  * Packages of this release, by its own "make deb".\n\n -- %s  %s\n' \
	    "$version" "$who" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
}

# pack PACKAGE: its folder gets control, scripts and sums, and becomes a package.
pack() {
	root=$work/$1
	documents "$1"
	for script in postinst prerm postrm; do
		[ ! -f "contrib/debian/$1.$script" ] || put 755 "contrib/debian/$1.$script" "$root/DEBIAN/$script"
	done
	(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path ./etc/tunneld.conf -print | LC_ALL=C sort |
	    sed 's,^\./,,' | xargs md5sum) >"$root/DEBIAN/md5sums"
	size=$(cd "$root" && find . -type f ! -path './DEBIAN/*' -exec cat {} + | wc -c)
	sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$(((size + 1023) / 1024))/; s/@WHO@/$who/
	    s/@LIBS@/$([ ! -d "$root/usr/bin" ] || depends "$root/usr/bin/$1")/; s/@DEV@/$(devs)/" "contrib/debian/$1.control" >"$root/DEBIAN/control"
	find "$root" -type d -exec chmod 755 {} +
	dpkg-deb --root-owner-group --build "$root" "$out/${1}_${version}_$arch.deb"
}

units=usr/lib/systemd
libdir=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
mkdir -p "$work/tunneld/DEBIAN" "$work/tunnel/DEBIAN" "$work/libtunnel-dev/DEBIAN"
compile
library_files
daemon_files
client_files
left=$(find "$work/all" -type f)
[ -z "$left" ] || say "in no package: $left"
pack tunneld
pack tunnel
pack libtunnel-dev
