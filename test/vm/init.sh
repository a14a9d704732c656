#!/bin/busybox sh
# First process of a guest: its root is this machine's, read-only over 9p, under a layer in memory for what it writes;
# its modules are those of the image. Then it answers commands at its virtio port, one after the other.
B=/bin/busybox
give_up() {
  $B echo "init: $*" > /dev/console
  $B poweroff -f
}
$B mkdir -p /dev /proc /sys /host /layer /root
$B mount -t devtmpfs dev /dev
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
while read -r module; do $B insmod "/modules/$module" || give_up "insmod $module"; done < /modules/order
options=trans=virtio,version=9p2000.L,msize=512000
$B mount -t 9p -o "ro,$options,cache=loose" host /host || give_up 'no root'
$B mount -t tmpfs -o mode=755 layer /layer
$B mkdir /layer/above /layer/work
$B mount -t overlay -o lowerdir=/host,upperdir=/layer/above,workdir=/layer/work root /root || give_up 'no layer'
$B mount -t tmpfs -o mode=755 run /root/run
$B mkdir -p /root/run/lib-modules
$B mount -t 9p -o "ro,$options,cache=loose" modules /root/run/lib-modules || give_up 'no modules'
$B mount --bind /root/run/lib-modules /root/lib/modules || give_up 'modules have no place'
for place in dev proc sys; do $B mount --move /$place /root/$place; done
$B cat > /root/run/agent << 'AGENT'
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export PATH HOME LANG
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
ip link set lo up
port=
for place in /sys/class/virtio-ports/*; do
  if [ "$(cat "$place/name")" = agent ]; then port=/dev/${place##*/}; fi
done
exec 3<> "$port"
echo ready >&3
# A line is "NUMBER COMMAND", the command in base64; the answer "NUMBER STATUS OUTPUT", the output in base64.
while read -r number command <&3; do
  echo "$command" | base64 -d > /run/command
  bash /run/command > /run/output 2>&1 < /dev/null
  echo "$number $? $(base64 -w 0 < /run/output)" >&3
done
AGENT
exec $B switch_root /root /bin/bash /run/agent
