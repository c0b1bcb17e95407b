#!/bin/sh
# t_vtforward.sh: `tunnel forward` towards vtunnel servers.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_vtforward.py" "$@"
