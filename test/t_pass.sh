#!/bin/sh
# t_pass.sh: what passes through daemon and client, with real peers at both ends.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_pass.py" "$@"
