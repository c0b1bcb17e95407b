#!/bin/sh
# t_http.sh: the public side over raw sockets: statuses, strictness, fields, framing, routing.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_http.py" "$@"
