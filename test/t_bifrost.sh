#!/bin/sh
# t_bifrost.sh: the bifrost dialect with an independent client.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_bifrost.py" "$@"
