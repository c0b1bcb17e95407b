#!/bin/sh
# t_relay.sh: /relay, tunnel relay, and the rules that say where they may lead.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_relay.py" "$@"
