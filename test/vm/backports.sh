#!/bin/bash
# backports.sh FOLDER: makes FOLDER/qemu, the QEMU of Debian's backports, for devices that the installed one has not. It is
# unpacked, not installed, and its package lists are in FOLDER too: nothing of this machine's packages is touched.
# Needs apt-get, and the libraries of the installed qemu-system-x86.
set -euo pipefail
folder=$1
. /etc/os-release
mkdir -p "$folder"
exec 9> "$folder/backports.lock"
flock 9
[ "$(cat "$folder/qemu/stamp" 2> /dev/null)" != "$VERSION_CODENAME" ] || exit 0

work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p sources lists/partial cache/archives/partial unpacked
cat > sources/backports.sources << SOURCES
Types: deb
URIs: http://deb.debian.org/debian
Suites: $VERSION_CODENAME-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
# As root, apt would fetch as a user of its own, who cannot write here.
apt() {
  apt-get -q -o APT::Sandbox::User=root -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" "$@" > log 2>&1 || { cat log; exit 1; }
}
apt update
apt download qemu-system-x86 qemu-system-common qemu-system-data seabios
for package in ./*.deb; do dpkg-deb -x "$package" unpacked; done
# Its firmware is in folders of two packages; -L takes one.
mkdir -p unpacked/firmware
cp -a unpacked/usr/share/qemu/. unpacked/usr/share/seabios/. unpacked/firmware/ 2> /dev/null || true
unpacked/usr/bin/qemu-system-x86_64 --version > log || { cat log; exit 1; }
rm -rf "$folder/qemu"
mv unpacked "$folder/qemu"
echo "$VERSION_CODENAME" > "$folder/qemu/stamp"
