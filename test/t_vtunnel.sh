#!/bin/sh
# t_vtunnel.sh: vtunnel's clients, which are Go programs, as the daemon serves them.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_vtunnel.py" "$@"
