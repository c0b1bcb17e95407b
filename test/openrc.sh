#!/bin/sh
# openrc.sh BIN FOLDER: OpenRC supervises the daemon by contrib's script: start, kill -9, reload,
# drain, stop. As root, on Debian: OpenRC's packages are unpacked in a root made of copies, for
# installed they would want to be this machine's init. BIN has the programs, FOLDER is for the root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$1" && pwd)
mkdir -p "$2"
root=$(cd "$2" && pwd)/root
contrib=$(dirname "$here")/contrib
# shellcheck source=test/root.sh
. "$here/root.sh"

# A process and mount namespace of its own: supervise-daemon wants a /proc, and nothing is left over.
if [ "$$" -ne 1 ]; then
	exec unshare --mount --pid --fork --kill-child "$0" "$bin" "$2"
fi

die() {
	echo "openrc.sh: $*"
	tail -n 20 "$root/var/log/tunneld.log" 2>/dev/null
	exit 1
}

# until_true WHAT COMMAND...: within 20 seconds.
until_true() {
	what=$1
	shift
	tries=400
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || die "not within 20 s: $what"
		sleep 0.05
	done
	echo "ok $what"
}

inside() {
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"
}

rc() {
	inside rc-service tunneld "$@"
}

pid_of() {
	find "$root"/proc/[0-9]*/exe -maxdepth 0 -lname '*/usr/bin/tunneld' 2>/dev/null | sed 's,.*/proc/\([0-9]*\)/.*,\1,'
}

serves() {
	inside /usr/bin/tunneld status --config /dev/null --state /var/lib/tunneld
}

another() {
	[ -n "$(pid_of)" ] && [ "$(pid_of)" != "$old" ] && serves
}

logged() {	# N EVENT: so many times
	[ "$(grep -c "event=$2" "$root/var/log/tunneld.log")" -ge "$1" ]
}

make_root
mkdir "$root/proc"
mount -t proc proc "$root/proc"
mount --bind /dev/null "$root/dev/null"
(cd "$2" && apt-get -qq -o APT::Sandbox::User=root download openrc librc1 libeinfo1)
for package in "$2"/*.deb; do
	dpkg-deb --fsys-tarfile "$package" | tar -xf - -C "$root" --keep-directory-symlink
done
program sh cat sed grep tr ls id rm mkdir sleep ps env readlink cut uname head
for path in "$root"/sbin/supervise-daemon "$root"/sbin/openrc-run "$root"/lib/rc/bin/checkpath; do
	LD_LIBRARY_PATH=$(echo "$root"/lib/*-linux-gnu) ldd "$path" | grep -o '=> /[^ ]*' | cut -c4- |
	    while read -r library; do
		case $library in
		"$root"/*) ;;
		*) copy "$library" ;;
		esac
	done
done
cp "$bin/tunneld" "$root/usr/bin/"
libraries "$bin/tunneld"
# supervise-daemon asks PAM
copy "$(find /lib/*/security /usr/lib/*/security -name pam_permit.so | head -n 1)" /etc/nsswitch.conf
mkdir "$root/etc/pam.d"
for kind in auth account session; do
	echo "$kind required pam_permit.so"
done >"$root/etc/pam.d/other"
echo "tunneld:x:990:990::/:/usr/sbin/nologin" >>"$root/etc/passwd"
echo "tunneld:x:990:" >>"$root/etc/group"
mkdir -p "$root/etc/init.d" "$root/etc/conf.d" "$root/run/openrc" "$root/var/log" "$root/var/lib"
cp "$contrib/openrc/tunneld.initd" "$root/etc/init.d/tunneld"
cp "$contrib/openrc/tunneld.confd" "$root/etc/conf.d/tunneld"
chmod 755 "$root/etc/init.d/tunneld"
# what an admin would change: there is no syslog in there, and no network to wait for
: >"$root/var/log/tunneld.log"
chown 990:990 "$root/var/log/tunneld.log"
echo 'log=/var/log/tunneld.log rc_need="!net"' >>"$root/etc/conf.d/tunneld"
echo "rc_ulimit='-n 256'" >>"$root/etc/conf.d/tunneld"	# a container may not have more
echo "listen 127.0.0.1:0" >"$root/etc/tunneld.conf"
: >"$root/etc/insserv.conf"	# Debian's list of what LSB scripts mean
# what OpenRC makes at boot
for folder in starting started stopping inactive wasinactive failed hotplugged daemons options exclusive scheduled tmp; do
	mkdir "$root/run/openrc/$folder"
done
: >"$root/run/openrc/softlevel"

rc start || die "it does not start"
until_true "it serves" serves
[ "$(stat -c %u "$root/proc/$(pid_of)")" = 990 ] || die "as another user than its own"
[ "$(stat -c '%a %u' "$root/var/lib/tunneld")" = "700 990" ] || die "its state folder is not its own"
rc status || die "no status"
old=$(pid_of)
kill -9 "$old"
until_true "killed, it is back" another
rc reload || die "no reload"
until_true "reload is heeded" logged 1 tokens_read
rc checkconfig || die "no checkconfig"
old=$(pid_of)
rc restart || die "no restart"
until_true "restarted" another
until_true "and the old one has drained" logged 1 stopped
echo "bogus yes" >>"$root/etc/tunneld.conf"
rc restart && die "a wrong configuration: restart does not refuse"
old=
until_true "a wrong configuration leaves the old one alone" another
rc stop || die "it does not stop"
[ -z "$(pid_of)" ] || die "it still runs"
rc start && die "a wrong configuration: it starts"
echo "ok"
