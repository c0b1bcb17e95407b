#!/bin/sh
# t_tls.sh: TLS of daemon and client, with openssl, curl, Python and nginx at the other end.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_tls.py" "$@"
