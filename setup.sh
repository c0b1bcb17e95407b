#!/bin/sh
# setup.sh build|test|ci|bench: install what building and the demo, the tests, CI, or the
# benchmark need and is not there yet, through apt-get, apk or pkg_add. Says nothing if all is there.
# Without root it prints the line to run and exits 1.
set -u

policy=/usr/sbin/policy-rc.d
placed=

say() {
	echo "setup.sh: $*" >&2
}

# Is a package installed?
have() {
	case $manager in
	apt) [ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" = "install ok installed" ] ;;
	apk) apk info -e "$1" ;;
	pkg) pkg_info -e "$1->=0" ;;
	*) false ;;
	esac
}

compiler() {
	cc=${CC:-cc}
	command -v "${cc%% *}"
}

header() {
	[ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ]
}

# tls BEARSSL LIBTLS OPENSSL: the packages of the TLS library that config.mk names.
tls() {
	case ${TLS:-$(sed -n 's/^TLS *= *//p' config.mk)} in
	bearssl) need "$1" header bearssl.h ;;
	libtls)
		need "$2" header tls.h
		[ -z "$3" ] || need "$3" header openssl/crypto.h ;;
	esac
}

# secure_shell BEARSSL LIBSODIUM: the packages of SSH's primitives, if config.mk wants it.
secure_shell() {
	case ${SSH:-$(sed -n 's/^SSH *= *//p' config.mk)} in
	yes)
		case $missing in *"$1"*) ;; *) need "$1" header bearssl.h ;; esac
		need "$2" header sodium.h ;;
	esac
}

# A program, also where only root's PATH leads to.
program() {
	command -v "$1" || [ -x "/usr/sbin/$1" ] || [ -x "/usr/local/sbin/$1" ]
}

# clang links with both sanitizers.
sanitizers() {
	for s in address thread; do
		echo 'int main(void) { return 0; }' |
		    clang -fsanitize=$s -x c -o /dev/null - || return 1
	done
}

# need PACKAGE [CHECK...]: it is missing if the check fails; without one, if it is not installed.
need() {
	package=$1
	shift
	[ $# -gt 0 ] || set -- have "$package"
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

needs_apt() {
	case $1 in
	build)
		need gcc compiler
		need libc6-dev header stdio.h
		need make command -v make
		need libjsmn-dev header jsmn.h
		tls libbearssl-dev libtls-dev libssl-dev
		secure_shell libbearssl-dev libsodium-dev
		need curl command -v curl ;;	# make demo asks for its page with it
	test)
		need python3
		need python3-websockets
		need python3-httpx
		need python3-jwt
		need python3-cryptography
		need golang-go command -v go
		need golang-github-hashicorp-yamux-dev
		need golang-github-gorilla-websocket-dev
		need openssl command -v openssl
		need openssh-client program ssh
		need openssh-server program sshd
		need dropbear-bin program dbclient
		need putty-tools program plink
		need nginx-light program nginx
		need haproxy program haproxy
		need caddy program caddy
		need runit program runsv
		need s6 program s6-svscan
		need chromium program chromium ;;
	ci)
		need gcc
		need clang
		need libclang-rt-dev sanitizers
		need libtls-dev
		need musl-tools
		need bmake
		need mandoc
		need shellcheck
		need systemd program systemd-analyze	# its units are checked; it is no init by that
		need lintian
		need dpkg-dev
		need zsh command -v zsh	# completions are tried in them, where they are there
		need fish command -v fish
		need git program git	# and these through the proxy
		need npm program npm ;;
	bench)
		need python3
		need nginx-light program nginx
		need wrk program wrk
		need openssh-server program sshd
		need openssh-client program ssh
		need openssl command -v openssl
		need valgrind program valgrind ;;
	esac
}

needs_apk() {
	case $1 in
	build)
		need gcc compiler
		need musl-dev header stdio.h
		need make command -v make
		need jsmn header jsmn.h
		tls bearssl-dev libretls-dev openssl-dev
		secure_shell bearssl-dev libsodium-dev
		need curl command -v curl ;;
	test)
		need python3
		need py3-websockets
		need py3-httpx
		need py3-jwt
		need py3-cryptography
		need go command -v go
		need openssl command -v openssl
		need openssh program sshd
		need dropbear-dbclient program dbclient
		need dropbear program dropbearkey
		need putty program plink
		need nginx program nginx
		need haproxy program haproxy
		need caddy program caddy
		need runit program runsv
		need s6 program s6-svscan
		need openssh-keygen command -v ssh-keygen
		need chromium program chromium ;;
	ci)
		need clang
		need compiler-rt
		need bmake
		need mandoc
		need shellcheck ;;
	bench)
		need python3
		need nginx program nginx
		need wrk program wrk
		need openssh program sshd
		need openssl command -v openssl
		need valgrind program valgrind ;;
	esac
}

# Compiler, make, openssl and mandoc are in the base system.
needs_pkg() {
	case $1 in
	build)
		need jsmn header jsmn.h
		tls bearssl "" ""	# libtls is in the base system
		secure_shell bearssl libsodium
		need curl command -v curl ;;
	test)
		need python3 command -v python3
		need py3-websockets
		need py3-httpx
		need py3-jwt
		need py3-cryptography
		need go command -v go
		need dropbear program dbclient
		need putty program plink
		need nginx program nginx
		need haproxy program haproxy
		need caddy program caddy
		need chromium command -v chrome ;;
	ci)
		need bmake
		need shellcheck ;;
	bench)	# bench.py itself knows Linux only
		need python3 command -v python3
		need nginx program nginx
		need wrk program wrk ;;
	esac
}

needs_none() {
	needs_apt "$1"
}

look() {
	missing=
	for level in $levels; do
		"needs_$manager" "$level"
	done
}

# jsmn is one header: where no package has it, it is put in place by hand.
jsmn_known() {
	case $manager in
	apk) [ -n "$(apk search -e jsmn 2>/dev/null)" ] ;;
	pkg) [ -n "$(pkg_info -Q jsmn 2>/dev/null)" ] ;;
	*) true ;;
	esac
}

jsmn_by_hand() {
	case " $missing " in
	*" jsmn "*) jsmn_known && return ;;
	*) return ;;
	esac
	say "no package here has jsmn.h: put that one file of the jsmn library (version 1.1.0) into /usr/local/include"
	[ "$manager" != apk ] ||
	    say "or install jsmn from the edge/testing repository"
	exit 1
}

# invoked by trap
# shellcheck disable=SC2317
unplace() {
	[ -z "$placed" ] || rm -f "$policy"
}

# No service that comes with a package may start.
place() {
	trap unplace EXIT
	trap 'exit 1' HUP INT TERM
	placed=yes	# first, so that a signal finds it
	(set -C && printf '#!/bin/sh\nexit 101\n' >"$policy") 2>/dev/null || placed=
	[ -z "$placed" ] || chmod 755 "$policy"
}

# shellcheck disable=SC2086	# $missing is a list
install_missing() {
	case $manager in
	apt)
		place
		export DEBIAN_FRONTEND=noninteractive
		apt-get -q update </dev/null	# an old list may do, too
		apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 \
		    install $missing </dev/null ;;
	apk) apk add $missing </dev/null ;;
	pkg) pkg_add -I $missing </dev/null ;;
	esac
}

tell() {
	case $manager in
	apt) say "run: sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" ;;
	apk) say "run: doas apk add$missing" ;;
	pkg) say "run: doas pkg_add$missing" ;;
	esac
	exit 1
}

case ${1-} in
build) levels="build" ;;
test) levels="build test" ;;
ci) levels="build test ci" ;;
bench) levels="build bench" ;;
*)
	echo "usage: setup.sh build|test|ci|bench" >&2
	exit 2 ;;
esac

if command -v apt-get >/dev/null; then
	manager=apt
elif command -v apk >/dev/null; then
	manager=apk
elif command -v pkg_add >/dev/null; then
	manager=pkg
else
	manager=none
fi

look
[ -n "$missing" ] || exit 0
if [ "$manager" = none ]; then
	say "knows no package manager here; going on without what Debian calls$missing"
	exit 0
fi
jsmn_by_hand
[ "$(id -u)" -eq 0 ] || tell
say "installing$missing"
install_missing || { say "could not install$missing"; exit 1; }
look
[ -z "$missing" ] || { say "still missing:$missing"; exit 1; }
