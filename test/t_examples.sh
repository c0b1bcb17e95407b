#!/bin/sh
# t_examples.sh: the files in examples/ in front of daemon and client, with curl and Python callers.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_examples.py" "$@"
