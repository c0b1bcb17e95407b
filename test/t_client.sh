#!/bin/sh
# t_client.sh: the client's command line, its life and its side of the protocol.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_client.py" "$@"
