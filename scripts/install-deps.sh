#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Installs the Debian packages that are missing (through sudo when not root).
#
#   install-deps.sh [--check] [SET]...     sets: build vm test kernels; default: the first three
#
# --check only lists what is missing, and fails if anything is. A line below
# is a package and the reason it is here.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

packages_build='
g++                     compiler
make                    Kbuild
cmake                   build of user space
ninja-build             its back end, and that of QEMU
pkg-config              finds libraries
dpkg-dev                unpacks source packages
xz-utils                kernel modules and packages are compressed
ca-certificates         downloads
debian-archive-keyring  keys of the package mirrors
python3                 build scripts
python3-kconfiglib      make menuconfig, card parameters
libcli11-dev            command lines of the tools
libfmt-dev              text output
nlohmann-json3-dev      JSON output
protobuf-compiler       reads ONNX files: generates the reader
libprotobuf-dev         reads ONNX files
flatbuffers-compiler    compiled-model container: generates the reader
libflatbuffers-dev      compiled-model container
libdrm-dev              DRM ioctl headers
libgtest-dev            unit tests
libdnnl-dev             npu-bench --vs onednn
libjs-chart.js          charts of npu-compile --report
python3-venv            QEMU build
python3-setuptools      meson
flex                    QEMU build
bison                   QEMU build
libglib2.0-dev          QEMU
libpixman-1-dev         QEMU
zlib1g-dev              QEMU
libattr1-dev            QEMU, 9p shared folder
patch                   fixes of QEMU, of the debug kernel
zstd                    the kernel image is compressed
libelf1                 objtool of the kernel headers
'
packages_vm='
busybox-static          user space of the VM
procps                  VM control
'
packages_test='
python3-numpy           reference results
python3-onnx            writes and reads the models that tests are made of
clang                   fuzzing: GCC has no libFuzzer
libclang-rt-dev         its run-time libraries, libFuzzer among them
lm-sensors              reads the hwmon of the card in the VM
dkms                    builds the module as on the machine of a user
'
packages_kernels='
mmdebstrap              modules for newer kernels are built in a newer Debian
libelf-dev              objtool of the debug kernel
bc                      build of the debug kernel
flex                    build of the debug kernel
bison                   build of the debug kernel
sparse                  make module C=1
'

check=
[ "${1:-}" != --check ] || { check=1; shift; }
[ $# -gt 0 ] || set -- build vm test

wanted=()
for set in "$@"; do
	variable=packages_$set
	[ -n "${!variable:-}" ] || die "no such set: $set (build vm test kernels)"
	mapfile -t -O ${#wanted[@]} wanted < <(awk 'NF { print $1 }' <<< "${!variable}")
done

missing=()
for package in "${wanted[@]}"; do
	dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
		missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ -n "$check" ]; then
	say "missing packages: ${missing[*]}"
	exit 1
fi

command -v apt-get > /dev/null || die "missing: ${missing[*]}; this is not a Debian system," \
	"install their equivalents by hand"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo > /dev/null || die "missing: ${missing[*]}; run as root:" \
		"apt-get install --no-install-recommends ${missing[*]}"
	sudo -v
	as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y
	-o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
say "installing ${#missing[@]} packages: ${missing[*]}"
# Package lists that are absent or too old are no reason to bother the reader with an error.
for package in "${missing[@]}"; do
	[ -n "$(apt-cache madison "$package" 2>/dev/null)" ] || {
		run_quietly "apt-get update" "${apt[@]}" update
		break
	}
done
if ! run_quietly "apt-get install" "${apt[@]}" install --no-install-recommends "${missing[@]}"; then
	say "trying again with new package lists"
	run_quietly "apt-get update" "${apt[@]}" update
	run_quietly "apt-get install" "${apt[@]}" install --no-install-recommends "${missing[@]}"
fi
