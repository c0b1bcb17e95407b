# shellcheck shell=sh disable=SC2154	# the script sets root
# root.sh: a folder to chroot into, made of copies. A script sources it, sets root, and calls these.

# The folders that every system has, and root.
make_root() {
	mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$root/etc" "$root/dev" \
	    "$root/tmp" "$root/run" "$root/var"
	for folder in bin sbin lib lib64; do	# as here
		[ ! -L "/$folder" ] || ln -s "usr/$folder" "$root/$folder"
	done
	: >"$root/dev/null"
	echo "root:x:0:0::/:/bin/sh" >"$root/etc/passwd"
	echo "root:x:0:" >"$root/etc/group"
}

# copy PATH...: into the root, with the folders above it.
copy() {
	for path in "$@"; do
		mkdir -p "$root$(dirname "$path")"
		cp -L "$path" "$root$path"
	done
}

# libraries PATH: those of a program.
libraries() {
	# shellcheck disable=SC2046	# a list
	copy $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*')
}

# program NAME...: with its libraries.
program() {
	for name in "$@"; do
		path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$name") || { echo "root.sh: no $name here" >&2; return 1; }
		copy "$path"
		libraries "$path"
	done
}
