#!/bin/sh
# build.sh [FOLDER]: tunneld and tunnel in FOLDER (static), that need nothing of the machine they
# run on, made of a copy of this tree. With musl: on Alpine that is cc, on Debian musl-gcc of
# musl-tools. glibc's static programs load libraries all the same to look names up, so it is not
# taken. CC and make's own variables (make static TLS=none SSH=no) are heeded.
set -eu
mkdir -p "${1:-static}"
out=$(cd "${1:-static}" && pwd)
cd "$(dirname "$0")/../.."
say() {
	echo "build.sh: $*" >&2
	exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
top=$PWD
tls=${TLS:-$(sed -n 's/^TLS *= *//p' config.mk)}
ssh=${SSH:-$(sed -n 's/^SSH *= *//p' config.mk)}

# The compiler of musl: the usual one, if it is. Only musl's headers define nothing of their own.
musl() {
	printf '#include <features.h>\n#ifdef __GLIBC__\n#error\n#endif\n' | ${CC:-cc} -E - >/dev/null 2>&1
}

# find NAME FOLDER...: the first of these that there is.
find_first() {
	name=$1
	shift
	for folder in "$@"; do
		[ ! -e "$folder/$name" ] || { echo "$folder/$name"; return; }
	done
	say "there is no $name: setup.sh build installs it"
}

# archive NAME: that library of Debian's into the folder.
archive() {
	ln -s "$(find_first "$1" /usr/local/lib "/usr/lib/$(gcc -print-multiarch 2>/dev/null)" /usr/lib)" "$work/lib/$1"
}

# musl-gcc sees neither headers nor libraries of glibc's: those that do without a libc of
# their own get into a folder alone. Debian's call functions of glibc's besides, which fortify.c has.
borrow() {
	mkdir "$work/include" "$work/lib"
	ln -s "$(find_first jsmn.h /usr/local/include /usr/include)" "$work/include/jsmn.h"
	cpp="-isystem $work/include"
	[ "$tls" = bearssl ] || [ "$ssh" = yes ] || return 0
	header=$(find_first bearssl.h /usr/local/include /usr/include /usr/include/bearssl)
	for file in "$(dirname "$(readlink -f "$header")")"/bearssl*.h; do
		ln -s "$file" "$work/include/"
	done
	archive libbearssl.a
	if [ "$ssh" = yes ]; then
		header=$(find_first sodium.h /usr/local/include /usr/include)
		ln -s "$header" "$(dirname "$header")/sodium" "$work/include/"
		archive libsodium.a
	fi
	"$CC" -O2 -c -o "$work/fortify.o" contrib/static/fortify.c
	ldflags="-L$work/lib"
	ldlibs=$work/fortify.o
}

cpp='' ldflags='' ldlibs=''
if ! musl; then
	CC=musl-gcc
	command -v musl-gcc >/dev/null || say "there is no musl-gcc: on Debian it is in musl-tools"
	[ "$tls" != libtls ] || say "libtls is not there for musl: make static TLS=bearssl, or none"
	borrow
fi
[ "$tls" != libtls ] || ldlibs="-lssl -lcrypto"
mkdir "$work/src"
cp -R ./*.c ./*.h Makefile config.mk "$work/src"
cd "$work/src"
${MAKE:-make} -s -j"$(getconf _NPROCESSORS_ONLN)" CC="${CC:-cc}" CPPFLAGS="$cpp" \
    LDFLAGS="-static $ldflags" LDLIBS="$ldlibs" TLS="$tls" SSH="$ssh" all
for program in tunneld tunnel; do
	strip "$program"
	cp "$program" "$out/"
	ls -l "$out/$program"
done
cd "$top"
