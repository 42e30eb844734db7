#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# First program of the Linux guest: loads what a hypervisor needs, runs the job,
# sends its files to the second serial port, and switches the machine off.
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin /proc /sys /tmp /run
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
# The console carries bytes as they are.
stty raw -echo
while read -r module; do insmod "$module"; done </modules.list
ifconfig lo 127.0.0.1 up
mkdir -p /job/out
cd /job
sh ./job.sh
status=$?
stty -F /dev/ttyS1 raw -echo 115200
{
    cd /job/out
    for file in *; do
        [ -f "$file" ] || continue
        printf 'file %s %d\n' "$file" "$(stat -c %s "$file")"
        cat "$file"
    done
    printf 'end %d\n' "$status"
} >/dev/ttyS1
sync
poweroff -f
