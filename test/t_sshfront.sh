#!/bin/sh
# t_sshfront.sh: OpenSSH as a client of the daemon.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_sshfront.py" "$@"
