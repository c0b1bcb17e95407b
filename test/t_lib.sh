#!/bin/sh
# t_lib.sh: libtunnel as it is installed: its names, its examples, and a program of somebody else's.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_lib.py" "$@"
