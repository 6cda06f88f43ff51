#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Builds QEMU with the card: qemu-device/qemu overlaid as hw/npu on Debian's
# source, linked to build/lib/libnpu-model.so. Result:
# build/bin/qemu-system-x86_64. Idempotent; an edit of the device rebuilds in seconds.
# With QEMU=PROGRAM in the environment that one is used and nothing is built.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

if [ -n "${QEMU:-}" ]; then
	[ -x "$QEMU" ] || die "QEMU=$QEMU is not a program"
	exit 0
fi
[ -f "$root/build/lib/libnpu-model.so" ] || die "build/lib/libnpu-model.so is missing: run make user first"
"$root/scripts/fetch-qemu.sh"

src=$root/build/qemu/src
obj=$root/build/qemu/obj
overlay=$root/qemu-device/qemu

# Files are copied only when they differ, so that ninja rebuilds only then.
install_file() { cmp -s "$1" "$2" || { mkdir -p "${2%/*}"; cp "$1" "$2"; }; }
for file in Kconfig meson.build npu.h npu-pci.c npu-properties.c npu-worker.c trace.h trace-events; do
	install_file "$overlay/$file" "$src/hw/npu/$file"
done
install_file "$overlay/npu.mak" "$src/configs/devices/x86_64-softmmu/npu.mak"
mkdir -p "$src/hw/npu/paths"
cat > "$src/hw/npu/paths/meson.build.new" <<END
npu_compile_args = ['-I$root/include', '-I$root/qemu-device/model', '-I$root/build/generated']
npu_link_args = ['-L$root/build/lib', '-lnpu-model', '-Wl,-rpath,\$ORIGIN/../lib']
END
install_file "$src/hw/npu/paths/meson.build.new" "$src/hw/npu/paths/meson.build"
rm "$src/hw/npu/paths/meson.build.new"
grep -q "subdir('npu')" "$src/hw/meson.build" || echo "subdir('npu')" >> "$src/hw/meson.build"
grep -q "'hw/npu'" "$src/meson.build" || sed -i "0,/^    'hw\\/nvme',/s//    'hw\\/npu',\n&/" "$src/meson.build"
grep -q "source npu/Kconfig" "$src/hw/Kconfig" || echo "source npu/Kconfig" >> "$src/hw/Kconfig"

options=(--target-list=x86_64-softmmu --without-default-features --without-default-devices
	--with-devices-x86_64=npu --enable-tcg --enable-kvm --enable-virtfs --enable-attr --disable-fdt --disable-download
	--disable-docs --disable-tools --disable-guest-agent --disable-install-blobs
	--disable-werror --python=/usr/bin/python3)
# QEMU's own virtual environment inherits this meson through the import path.
export PYTHONPATH=$root/build/tools/meson/usr/lib/python3/dist-packages
mkdir -p "$obj"
inputs="${options[*]} $(cat "$root/build/qemu/src.stamp" "$overlay/npu.mak" | sha256sum)"
if ! stamped "$obj/configure.stamp" "$inputs"; then
	rm -rf "${obj:?}"/*
	cd "$obj"
	run_quietly "configuring QEMU" "$src/configure" "${options[@]}"
	stamp "$obj/configure.stamp" "$inputs"
fi
cd "$obj"
# The linker's view of the model library: its name. ninja does not know it.
soname=$(readelf -d "$root/build/lib/libnpu-model.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
if ! stamped "$obj/soname.stamp" "$soname"; then
	rm -f "$obj/qemu-system-x86_64"
	stamp "$obj/soname.stamp" "$soname"
fi
# ninja's own counter is the progress.
run_quietly "building QEMU" ninja -j "$JOBS" qemu-system-x86_64
mkdir -p "$root/build/bin"
cmp -s "$obj/qemu-system-x86_64" "$root/build/bin/qemu-system-x86_64" ||
	install -m 755 "$obj/qemu-system-x86_64" "$root/build/bin/qemu-system-x86_64"
