#!/bin/sh
# certbot-deploy-hook.sh: give tunneld a certificate that certbot has renewed, while it runs.
# Executable in /etc/letsencrypt/renewal-hooks/deploy/, where certbot runs it after each renewal;
# by hand, as root, for the first time.
set -eu

live=/etc/letsencrypt/live/tunnel.example.com
dir=/etc/tunneld
user=tunneld

# certbot runs all hooks for each of its certificates, and says here for which.
[ "${RENEWED_LINEAGE:-$live}" = "$live" ] || exit 0

# tunneld reads the files again as its own user (--user), who may not look into /etc/letsencrypt.
# The folder stays root's: in one of that user's, a link could have root write elsewhere.
# Whole files only, renamed into place: it may be starting right now.
umask 022
mkdir -p "$dir"
umask 077
cat "$live/fullchain.pem" >"$dir/cert.pem.new"
cat "$live/privkey.pem" >"$dir/key.pem.new"
chown "$user" "$dir/cert.pem.new" "$dir/key.pem.new"
mv -f "$dir/cert.pem.new" "$dir/cert.pem"
mv -f "$dir/key.pem.new" "$dir/key.pem"

# SIGHUP: it reads them, and keeps all connections. By whoever looks after it: systemd, runit,
# OpenBSD's rc, or nobody.
if systemctl -q is-active tunneld 2>/dev/null; then
	systemctl reload tunneld
elif sv status tunneld >/dev/null 2>&1; then
	sv hup tunneld
elif rcctl check tunneld >/dev/null 2>&1; then
	rcctl reload tunneld
else
	pkill -HUP -x tunneld || echo "certbot-deploy-hook.sh: tunneld does not run" >&2
fi
