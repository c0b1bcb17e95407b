#!/bin/sh
# t_ssh.sh: SSH against OpenSSH, as server and as client.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_ssh.py" "$@"
