#!/bin/sh
# t_ports.sh: raw TCP ports: registering, callers, both ends of the tunnel and what lies between.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_ports.py" "$@"
