#!/bin/sh
# t_path.sh: tunnels by path on the base domain, and --rewrite.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_path.py" "$@"
