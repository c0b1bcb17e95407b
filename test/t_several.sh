#!/bin/sh
# t_several.sh: several tunnels at once, and what the client says to the person at the terminal.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_several.py" "$@"
