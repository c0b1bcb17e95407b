#!/bin/sh
# t_pipegate.sh: the PipeGate dialect with an independent client.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_pipegate.py" "$@"
