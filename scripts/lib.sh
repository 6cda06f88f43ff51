# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the shell scripts share. The caller has set `root`.

: "${NPU_CACHE:=$root/build/cache}"
: "${JOBS:=$(nproc)}"
case $NPU_CACHE in /*) ;; *) NPU_CACHE=$root/$NPU_CACHE ;; esac
export NPU_CACHE JOBS

say() { printf '%s\n' "-- $*" >&2; }
die() { printf '%s\n' "${0##*/}: $*" >&2; exit 1; }

# Where the results for the VM's kernel are: kernel/, module/, npu.ko, vm/.
# NPU_KERNEL chooses another kernel than the default one (scripts/fetch-kernel.sh).
case ${NPU_KERNEL:-} in
*[!A-Za-z0-9.+-]*) die "NPU_KERNEL='$NPU_KERNEL' is no kernel's name" ;;
esac
place=$root/build${NPU_KERNEL:+/kernels/$NPU_KERNEL}

# Where run_quietly TEXT keeps the output.
log_of() { printf '%s' "$root/build/log/$(printf '%s' "$1" | tr -cs 'A-Za-z0-9._' '-' | cut -c1-60).log"; }

# run_quietly TEXT COMMAND...: runs the command and shows that it lives: one line
# with the elapsed time, and the last line of its output, renewed every
# second on a terminal and every 2 s in a log. On failure shows the end of
# the output and where all of it is.
run_quietly() {
	local text=$1 log start=$SECONDS shown=$SECONDS pid status=0
	shift
	mkdir -p "$root/build/log"
	log=$(log_of "$text")
	[ -t 2 ] || say "$text ..."
	"$@" > "$log" 2>&1 < /dev/null &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		if [ -t 2 ]; then
			printf '\r\033[K-- %s: %d s  %.60s' "$text" $((SECONDS - start)) \
				"$(tail -n 1 "$log" 2>/dev/null | tr -d '\0\r\033' | cut -c1-60)" >&2
		elif [ $((SECONDS - shown)) -ge 2 ]; then
			shown=$SECONDS
			say "$text: $((SECONDS - start)) s  $(tail -n 1 "$log" | tr -d '\0\r\033' | cut -c1-60)"
		fi
		sleep 0.2
	done
	wait $pid || status=$?
	[ ! -t 2 ] || printf '\r\033[K' >&2
	if [ $status -ne 0 ]; then
		say "$text: FAILED after $((SECONDS - start)) s; the end of $log:"
		tail -n 30 "$log" >&2
		return $status
	fi
	say "$text: done in $((SECONDS - start)) s"
}

# stamped FILE TEXT: true when FILE holds TEXT, i.e. the step whose inputs
# TEXT names has been completed. stamp FILE TEXT records it.
stamped() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }
stamp() { printf '%s\n' "$2" > "$1"; }
