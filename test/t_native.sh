#!/bin/sh
# t_native.sh: the native protocol with two independent clients.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_native.py" "$@"
