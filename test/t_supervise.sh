#!/bin/sh
# t_supervise.sh: how the daemon lives with what started it: logs, detaching, readiness, sockets.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_supervise.py" "$@"
