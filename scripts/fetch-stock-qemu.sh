#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A QEMU of Debian without any of this project's code, new enough for vfio-user
# (10.1 or later), for the test that it can use the card. The newest of Debian 13's
# backports with the libraries it links, unpacked in build/stock-qemu and run
# through their own dynamic linker: nothing of the system is changed. About 26 MB of
# downloads. The result is build/stock-qemu/qemu-system-x86_64.
#
#   STOCK_QEMU   a ready QEMU with vfio-user-pci; nothing is fetched
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

out=$root/build/stock-qemu
deb=$NPU_CACHE/deb/stock-qemu
program=$out/qemu-system-x86_64

speaks_vfio_user() { "$1" -device help 2>/dev/null | grep -q '"vfio-user-pci"'; }

if [ -n "${STOCK_QEMU:-}" ]; then
	speaks_vfio_user "$STOCK_QEMU" || die "STOCK_QEMU=$STOCK_QEMU has no vfio-user-pci"
	mkdir -p "$out"
	printf '#!/bin/sh\nexec %q "$@"\n' "$STOCK_QEMU" > "$program"
	chmod 755 "$program"
	exit 0
fi
[ ! -x "$program" ] || exit 0
[ "$(dpkg --print-architecture)" = amd64 ] || die "only the amd64 packages are known"

# What the program and its libraries link, in packages of Debian 13.
libraries=(libaio1t64 libatomic1 libblkid1 libbpf1 libbrotli1 libc6 libcap2 libcapstone5 libdaxctl1
	libdb5.3t64 libelf1t64 libfdt1 libffi8 libfuse3-4 libgcc-s1 libglib2.0-0t64 libgmp10 libgnutls30t64
	libhogweed6t64 libibverbs1 libidn2-0 libjpeg62-turbo libkmod2 liblzma5 libmount1 libndctl6
	libnettle8t64 libnl-3-200 libnl-route-3-200 libnuma1 libp11-kit0 libpcre2-8-0 libpixman-1-0
	libpmem1 libpng16-16t64 librdmacm1t64 libsasl2-2 libseccomp2 libselinux1 libslirp0 libssl3t64
	libtasn1-6 libudev1 libunistring5 liburing2 libuuid1 libvdeplug2t64 libzstd1 zlib1g)

# unpack SUITE PACKAGE...: the newest of each into $out/tree.new.
unpack() {
	local suite=$1 package file
	shift
	mkdir -p "$deb"
	for package in "$@"; do
		[ -n "$(find "$deb" -name "${package}_*.deb")" ] || {
			"$root/scripts/apt-suite.sh" "$suite" download "$deb" "$@"
			break
		}
	done
	for package in "$@"; do
		file=$(find "$deb" -name "${package}_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
		dpkg -x "$file" "$out/tree.new"
	done
}

rm -rf "$out"
mkdir -p "$out/tree.new"
unpack trixie "${libraries[@]}"
unpack trixie-backports qemu-system-x86
mv "$out/tree.new" "$out/tree"
cat > "$program" <<'END'
#!/bin/sh
tree=$(dirname "$(readlink -f "$0")")/tree
unset LD_LIBRARY_PATH
exec "$tree/usr/lib64/ld-linux-x86-64.so.2" --library-path "$tree/usr/lib/x86_64-linux-gnu" \
	"$tree/usr/bin/qemu-system-x86_64" "$@"
END
chmod 755 "$program"
if ! speaks_vfio_user "$program"; then
	rm "$program"
	die "Debian's QEMU has no vfio-user-pci, or does not run here"
fi
