#!/bin/sh
# t_guard.sh: who may call a tunnel: --auth-file, TUNNEL_AUTH, --allow, custom domains.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_guard.py" "$@"
