#!/bin/sh
# t_jwt.sh: JWTs as credentials, their keys from files and from an https server, with openssl and Python at the other end.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_jwt.py" "$@"
