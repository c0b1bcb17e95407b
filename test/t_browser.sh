#!/bin/sh
# t_browser.sh: examples/browser-ssh in a headless Chromium, an sshd behind the daemon.
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/t_browser.py" "$@"
