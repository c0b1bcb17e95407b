#!/bin/sh
# t_takeover.sh: a new daemon in place of the running one, and nobody notices.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_takeover.py" "$@"
