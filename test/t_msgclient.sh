#!/bin/sh
# t_msgclient.sh: the client towards servers that are no tunneld: PipeGate and bifrost.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_msgclient.py" "$@"
