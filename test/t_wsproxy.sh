#!/bin/sh
# t_wsproxy.sh: wsproxy's tunnels with independent clients.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_wsproxy.py" "$@"
