#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Builds QEMU with the card: qemu-device/qemu overlaid as hw/npu on Debian's
# source, linked to libnpu-model.so. Idempotent; an edit of the device rebuilds in seconds.
#
#   build-qemu.sh          build/bin/qemu-system-x86_64, with build/lib/libnpu-model.so.
#                          With QEMU=PROGRAM in the environment that one is used and
#                          nothing is built.
#   build-qemu.sh --fuzz   build/fuzz/bin/qemu-fuzz-x86_64, QEMU's generic fuzzer, with the
#                          library of CMake's preset "fuzz", which is built, too
#                          (docs/fuzzing.md)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

prefix=$root/build
program=qemu-system-x86_64
folder=obj
text=QEMU
devices=npu
features=(--enable-tcg --enable-kvm --enable-virtfs --enable-attr)
if [ "${1:-}" = --fuzz ]; then
	prefix=$root/build/fuzz
	program=qemu-fuzz-x86_64
	folder=fuzz-obj
	text="the QEMU fuzzer"
	devices=npu-fuzz
	# QEMU wants an accelerator; this one is small, and the fuzzer does not use it.
	features=(--disable-tcg --enable-kvm --enable-fuzzing --enable-asan
		--cc=clang --cxx=clang++ --disable-debug-info -Doptimization=1
		--extra-cflags=-gline-tables-only --extra-ldflags=-fsanitize-link-c++-runtime)
	if command -v ccache > /dev/null; then features+=("--cc=ccache clang"); fi
	command -v clang > /dev/null || die "clang is missing: run make deps first"
	cd "$root"
	run_quietly "configuring the card for the fuzzer" cmake --preset fuzz
	run_quietly "building the card for the fuzzer" cmake --build build/fuzz -j "$JOBS" --target npu-model
elif [ -n "${QEMU:-}" ]; then
	[ -x "$QEMU" ] || die "QEMU=$QEMU is not a program"
	exit 0
fi
[ -f "$prefix/lib/libnpu-model.so" ] || die "build/lib/libnpu-model.so is missing: run make user first"
"$root/scripts/fetch-qemu.sh"

src=$root/build/qemu/src
obj=$root/build/qemu/$folder
overlay=$root/qemu-device/qemu

# Files are copied only when they differ, so that ninja rebuilds only then.
install_file() { cmp -s "$1" "$2" || { mkdir -p "${2%/*}"; cp "$1" "$2"; }; }
for file in Kconfig meson.build npu.h npu-pci.c npu-properties.c npu-worker.c trace.h trace-events; do
	install_file "$overlay/$file" "$src/hw/npu/$file"
done
for file in npu.mak npu-fuzz.mak; do
	install_file "$overlay/$file" "$src/configs/devices/x86_64-softmmu/$file"
done
mkdir -p "$src/hw/npu/paths"
cat > "$src/hw/npu/paths/meson.build.new" <<END
npu_build = '$root/build' + (get_option('fuzzing') ? '/fuzz' : '')
npu_compile_args = ['-I$root/include', '-I$root/qemu-device/model', '-I' + npu_build / 'generated']
npu_link_args = ['-L' + npu_build / 'lib', '-lnpu-model', '-Wl,-rpath,\$ORIGIN/../lib']
END
install_file "$src/hw/npu/paths/meson.build.new" "$src/hw/npu/paths/meson.build"
rm "$src/hw/npu/paths/meson.build.new"
grep -q "subdir('npu')" "$src/hw/meson.build" || echo "subdir('npu')" >> "$src/hw/meson.build"
grep -q "'hw/npu'" "$src/meson.build" || sed -i "0,/^    'hw\\/nvme',/s//    'hw\\/npu',\n&/" "$src/meson.build"
grep -q "source npu/Kconfig" "$src/hw/Kconfig" || echo "source npu/Kconfig" >> "$src/hw/Kconfig"

options=(--target-list=x86_64-softmmu --without-default-features --without-default-devices
	--with-devices-x86_64=$devices "${features[@]}" --disable-fdt --disable-download
	--disable-docs --disable-tools --disable-guest-agent --disable-install-blobs
	--disable-werror --python=/usr/bin/python3)
# QEMU's own virtual environment inherits this meson through the import path.
export PYTHONPATH=$root/build/tools/meson/usr/lib/python3/dist-packages
mkdir -p "$obj"
inputs="${options[*]} $(cat "$root/build/qemu/src.stamp" "$overlay/$devices.mak" | sha256sum)"
if ! stamped "$obj/configure.stamp" "$inputs"; then
	rm -rf "${obj:?}"/*
	cd "$obj"
	run_quietly "configuring $text" "$src/configure" "${options[@]}"
	stamp "$obj/configure.stamp" "$inputs"
fi
cd "$obj"
# The linker's view of the model library: its name. ninja does not know it.
soname=$(readelf -d "$prefix/lib/libnpu-model.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
if ! stamped "$obj/soname.stamp" "$soname"; then
	rm -f "$obj/$program"
	stamp "$obj/soname.stamp" "$soname"
fi
# ninja's own counter is the progress.
run_quietly "building $text" ninja -j "$JOBS" "$program"
mkdir -p "$prefix/bin"
cmp -s "$obj/$program" "$prefix/bin/$program" ||
	install -m 755 "$obj/$program" "$prefix/bin/$program"
