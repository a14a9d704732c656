#!/bin/bash
# image.sh FOLDER: makes what guests boot, from Debian packages only, once per version of them:
#   FOLDER/vmlinux   Debian's kernel, unpacked: QEMU starts an ELF kernel directly (PVH), which saves the guest the
#                    unpacking, seconds under emulation
#   FOLDER/initrd    busybox, the modules that find the root, and init
#   FOLDER/modules   Debian's modules, as they are: the guest sees them through its root; and vfio built again, since
#                    Debian's cannot do without an IOMMU (CONFIG_VFIO_NOIOMMU)
# The kernel's package is unpacked, not installed: nothing of this machine's boot is touched.
# Needs apt-get (with package lists), busybox-static, kmod, cpio, xz-utils, python3, gcc and make.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
[ -n "$package" ] || { echo "no linux-image-amd64 among the package lists: run apt-get update"; exit 1; }
version=$(apt-cache policy "$package" | sed -n 's/ *Candidate: //p')
stamp="$package $version $(cat "$here/image.sh" "$here/init.sh" | sha256sum)"
mkdir -p "$folder"
exec 9> "$folder/lock"
flock 9
[ "$(cat "$folder/stamp" 2> /dev/null)" != "$stamp" ] || exit 0

work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# unpack FOLDER PACKAGE…
unpack() {
  local to=$1
  shift
  mkdir "$work/download"
  # As root, apt would fetch as a user of its own, who cannot write here.
  (cd "$work/download" && apt-get -q -o APT::Sandbox::User=root download "$@") > download.log 2>&1 || { cat download.log; exit 1; }
  for file in download/*.deb; do dpkg-deb -x "$file" "$to"; done
  rm -rf "$work/download"
}

unpack unpacked "$package"
kernel=${package#linux-image-}
modules=unpacked/lib/modules/$kernel

# vfio with CONFIG_VFIO_NOIOMMU. All else that it shares with Debian's modules stays as it is: their symbols' checksums match.
dependencies=$(apt-cache depends "linux-headers-$kernel" | sed -n 's/.*Depends: \(linux-headers-.*\|linux-kbuild-.*\)/\1/p')
source=linux-source-$(cut -d . -f 1,2 <<< "$version")
# shellcheck disable=SC2086  # names, one a word
unpack kernel "$source" "linux-headers-$kernel" $dependencies
headers=$work/kernel/usr/src/linux-headers-$kernel
sed -i "s#/usr/src/#$work/kernel/usr/src/#" "$headers/Makefile"
tar -xJf "kernel/usr/src/$source.tar.xz" "$source/drivers/vfio"
mkdir vfio
cp "$source"/drivers/vfio/*.[ch] vfio/
{
  echo 'ccflags-y += -DCONFIG_VFIO_NOIOMMU=1'
  echo 'obj-m := vfio.o'
  sed -n '/^vfio-y/,/[^\\]$/p' "$source/drivers/vfio/Makefile"
} > vfio/Kbuild
make -s -C "$headers" M="$work/vfio" modules > make.log 2>&1 || { cat make.log; exit 1; }
strip --strip-debug vfio/vfio.ko
mkdir "$modules/updates"
mv vfio/vfio.ko "$modules/updates/"
depmod -b unpacked "$kernel"

# The payload of a bzImage (Linux, Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length).
python3 - "unpacked/boot/vmlinuz-$kernel" vmlinux << 'PYTHON'
import lzma, struct, sys
image = open(sys.argv[1], 'rb').read()
offset, length = struct.unpack_from('<II', image, 0x248)
start = (image[0x1f1] + 1) * 512 + offset
elf = lzma.LZMADecompressor().decompress(image[start:start + length])  # four bytes of its size follow the stream
assert elf[:4] == b'\x7fELF', 'this kernel is not packed with xz'
open(sys.argv[2], 'wb').write(elf)
PYTHON

mkdir -p initrd/bin initrd/modules
cp "$(command -v busybox)" initrd/bin/busybox
cp "$here/init.sh" initrd/init
chmod +x initrd/init
for module in virtio_pci virtio_console 9p 9pnet_virtio overlay; do
  modprobe -d "$work/unpacked" -S "$kernel" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > order
while read -r file; do
  name=$(basename "$file" .xz)
  case $file in *.xz) xz -dc "$file" > "initrd/modules/$name" ;; *) cp "$file" "initrd/modules/$name" ;; esac
  echo "$name" >> initrd/modules/order
done < order
(cd initrd && find . | cpio -o -H newc --quiet) > image

rm -rf "$folder/modules"
mkdir -p "$folder/modules"
mv "$modules" "$folder/modules/$kernel"
mv vmlinux "$folder/vmlinux"
mv image "$folder/initrd"
echo "$stamp" > "$folder/stamp"
