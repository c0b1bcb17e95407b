#!/bin/sh
# run.sh [NAME...]: run the test programs and scripts, or those named, and end
# with "N passed, N failed". Two run at a time: each has its own daemons, ports
# and folder. TUNNEL_BIN_DIR tells where the programs are, when not in the tree; SSH=no, TLS=none, READY=none, that
# they were built without. AGAIN=1: if no more fail than run at a time, they are run once more, each alone, and that
# counts; both are shown. It tells a machine that was too busy from a defect. What a sanitizer has found stays.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
BIN=${TUNNEL_BIN_DIR:-$(dirname "$here")}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/tunnel-run.XXXXXX") || exit 1
lanes=

# invoked by trap
# shellcheck disable=SC2317
finish() {
	for pid in $lanes; do
		kill "$pid" 2>/dev/null
	done
	wait
	rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# Every program and script of this build, the long ones first. Packages, a browser and others' servers in front
# are the same whatever sanitizer watches us, and take their time: not with SANITIZED.
all() {
	but='^$'
	[ "${SSH-}" != no ] || but="$but|/(t_(ssh[a-z]*|vtunnel|vtforward)\.sh|ssh[a-z]*_test)\$"
	[ -z "${SANITIZED-}" ] || but="$but|/t_(deb|browser|examples|services)\.sh\$"
	every | grep -Ev "$but"
}

long="t_deb t_tls t_vtunnel t_msgclient t_client t_wsproxy t_takeover t_bifrost t_vtforward t_pipegate t_several t_http"
every() {
	for name in $long; do
		[ ! -f "$here/$name.sh" ] || echo "$here/$name.sh"
	done
	for path in "$here"/t_*.sh; do
		name=${path##*/}
		case " $long " in
		*" ${name%.sh} "*) ;;
		*) [ ! -f "$path" ] || echo "$path" ;;
		esac
	done
	for path in "$here"/*_test.c; do
		path=${path##*/}
		echo "$BIN/test/${path%.c}"
	done
}

# The count a run ended with, its failures shown; nothing counted is a failure.
report() {
	name=$1 status=$2 out=$3
	count=$(sed -n '$s/^\([0-9][0-9]* passed, [0-9][0-9]* failed\)$/\1/p' "$out")
	case $count in
	'')
		echo "FAIL $name ended with status $status and no count; its last lines:"
		tail -n 40 "$out"
		count="0 passed, 1 failed" ;;
	'0 passed, 0 failed')
		echo "FAIL $name tested nothing"
		count="0 passed, 1 failed" ;;
	*' 0 failed')
		if [ "$status" -ne 0 ]; then
			tail -n 60 "$out"
			echo "FAIL $name ended with status $status"
			count="${count% 0 failed} 1 failed"
		fi ;;
	*)
		sed '$d' "$out" ;;
	esac
	grep '^SKIP ' "$out"
	echo "$name: $count"
	echo "$count" >"$tmp/$name.count"
}

# Take what no other lane has taken of a list, until nothing is left.
lane() {	# LIST
	child=
	trap '[ -z "$child" ] || kill "$child" 2>/dev/null; wait; exit 1' TERM
	while read -r path; do
		name=${path##*/}
		mkdir "$tmp/$name.taken" 2>/dev/null || continue
		case $path in
		*.sh) sh "$path" >"$tmp/$name.out" 2>&1 </dev/null & ;;
		*) "$path" >"$tmp/$name.out" 2>&1 </dev/null & ;;
		esac
		child=$!
		wait "$child"
		status=$?
		child=
		report "$name" "$status" "$tmp/$name.out" >"$tmp/$name.said"
		cat "$tmp/$name.said"
	done <"$1"
}

# Run those of list, so many at a time.
lanes() {	# NUMBER LIST
	left=$1
	while [ "$left" -gt 0 ]; do
		lane "$2" & lanes="$lanes $!"
		left=$((left - 1))
	done
	for pid in $lanes; do
		wait "$pid"
	done
	lanes=
}

# Has a sanitizer said anything?
found() {
	while read -r path; do
		! grep -qE 'Sanitizer|FAIL sanitizer|runtime error:' "$tmp/${path##*/}.out" || return 0
	done <"$tmp/again"
	return 1
}

# Those of the list that failed.
failed() {
	while read -r path; do
		grep -q ' 0 failed$' "$tmp/${path##*/}.count" || echo "$path"
	done <"$tmp/list"
}

if [ $# -eq 0 ]; then
	all >"$tmp/list"
else
	for name in "$@"; do
		all | grep "/$name\(\.sh\)\{0,1\}\$" || { echo "run.sh: no test is called $name" >&2; exit 2; }
	done >"$tmp/list"
fi
at_once=${LANES:-$((2 * $(getconf _NPROCESSORS_ONLN || echo 1)))}
lanes "$at_once" "$tmp/list"
failed >"$tmp/again"
few=$(wc -l <"$tmp/again")
if [ -n "${AGAIN-}" ] && [ "$few" -gt 0 ] && [ "$few" -le "$at_once" ] && ! found; then
	echo "AGAIN, with nothing beside it:"
	while read -r path; do
		rm -r "$tmp/${path##*/}.taken" "$tmp/${path##*/}.count"
	done <"$tmp/again"
	lanes 1 "$tmp/again"
fi

passed=0 failed=0 missing=0
while read -r path; do
	name=${path##*/}
	[ -f "$tmp/$name.count" ] || { echo "FAIL $name did not run"; missing=$((missing + 1)); continue; }
	read -r p _ f _ <"$tmp/$name.count"
	passed=$((passed + p)) failed=$((failed + f))
done <"$tmp/list"
failed=$((failed + missing))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
