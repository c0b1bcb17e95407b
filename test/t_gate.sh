#!/bin/sh
# t_gate.sh: what stands in front of /relay and /tunnel: logins, limits, origins, proxies; and contrib/wsproxy/env2conf.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_gate.py" "$@"
