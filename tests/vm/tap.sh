# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Test Anything Protocol for the scripts in this folder; runs in the guest's
# busybox shell.

tap_count=0
tap_failed=0

# report 0|1 NAME: result of one test.
report() {
	tap_count=$((tap_count + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $tap_count - $2"
	else
		tap_failed=$((tap_failed + 1))
		echo "not ok $tap_count - $2"
	fi
}

# check NAME COMMAND...: passes if the command succeeds; else shows its output.
check() {
	tap_name=$1
	shift
	if tap_output=$("$@" 2>&1); then
		report 0 "$tap_name"
	else
		report 1 "$tap_name"
		echo "# $* failed with:"
		echo "$tap_output" | sed 's/^/# /'
	fi
}

skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1 # SKIP $2"
}

# gtest PROGRAM [ARGUMENT]...: one line per case of a GoogleTest program.
gtest() {
	"$@" --gtest_color=no > /tmp/gtest.log 2>&1
	tap_status=$?
	tap_before=$tap_count tap_bad=$tap_failed
	while read -r tap_line; do
		tap_name=${tap_line#*] }
		case $tap_line in
		"[       OK ]"*) report 0 "${tap_name%% (*}" ;;
		"[  FAILED  ]"*"("*" ms)") report 1 "${tap_name%% (*}" ;;
		"[  SKIPPED ]"*"("*" ms)") skip "${tap_name%% (*}" "$(grep -A3 -F "[ RUN      ] ${tap_name%% (*}" /tmp/gtest.log |
			sed -n 's/^Skipped//; 3p' | tr -d '\n')" ;;
		esac
	done < /tmp/gtest.log
	if [ $tap_status -ne 0 ] || [ $tap_count -eq $tap_before ]; then
		[ $tap_failed -gt $tap_bad ] || report 1 "$1 ended with status $tap_status"
		sed 's/^/# /' /tmp/gtest.log
	fi
}

# qmp JSON...: commands for QEMU's monitor; prints its answers to them.
qmp() {
	(
		exec 7<> /dev/virtio-ports/qmp || exit 1
		for tap_json in '{"execute":"qmp_capabilities"}' "$@"; do
			echo "$tap_json" >&7
			# Greeting and events are no answers.
			while read -r tap_line <&7; do
				case $tap_line in
				*'"return"'*) break ;;
				*'"error"'*'negotiation is already complete'*) break ;;
				*'"error"'*) echo "$tap_line"; exit 1 ;;
				esac
			done
			case $tap_json in
			*qmp_capabilities*) ;;
			*) echo "$tap_line" ;;
			esac
		done
	)
}

# inject TEXT: a fault of the first card, e.g. "hang,count=1"; see docs.
inject() {
	qmp '{"execute":"qom-set","arguments":{"path":"/machine/peripheral/npu0","property":"inject","value":"'"$1"'"}}' > /dev/null
}

finish() {
	echo "1..$tap_count"
	[ $tap_failed -eq 0 ]
	exit
}
