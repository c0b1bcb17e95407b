#!/bin/sh
# t_connect.sh: the CONNECT proxy: tunneld --proxy.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_connect.py" "$@"
