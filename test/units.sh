#!/bin/sh
# units.sh BIN FOLDER: systemd takes contrib's units as they are, and thinks them safe enough. BIN
# has the programs, FOLDER is for copies.
set -eu
contrib=$(cd "$(dirname "$0")/../contrib" && pwd)
bin=$(cd "$1" && pwd)
mkdir -p "$2/user"
cd "$2"

# quiet COMMAND...: it succeeds, and has nothing to say.
quiet() {
	"$@" >said 2>&1 || { cat said; exit 1; }
	[ ! -s said ] || { cat said; exit 1; }
}

for unit in "$contrib"/systemd/*.s* "$contrib"/systemd/user/*.service; do
	copy=${unit#"$contrib/systemd/"}
	# verify looks for the programs as systemd does, and they are not installed
	sed "s,^ExecStart=,&$bin/," "$unit" >"$copy"
done
quiet systemd-analyze verify --man=no ./*.service ./*.socket
export XDG_RUNTIME_DIR="$PWD"
quiet systemd-analyze verify --user --man=no ./user/*.service
# in tenths: 0 is safe, 100 is root with everything
for unit in tunneld.service tunnel@.service; do
	systemd-analyze security --no-pager --offline=yes --threshold=18 "./$unit" >"$unit.security" 2>&1 ||
	    { cat "$unit.security"; exit 1; }
	tail -n 1 "$unit.security"
done
