#!/bin/bash
# Boots the guest under TCG with a config drive and checks what it promises.
#
#   guest/test.sh [OUT_DIR]        (default: out/ beside this file; built first if it is not there)
#
# Needs qemu-system-x86 and genisoimage beside packages.txt; no root, no network but 127.0.0.1.
# Prints one line per check and the figures; exit code 0 only if all held.
# NEPHOS_GUEST_MEMORY (MiB, default 128) and NEPHOS_GUEST_QEMU (more QEMU arguments) vary the machine.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/out}
memory=${NEPHOS_GUEST_MEMORY:-128}
uuid=5d1c6f0e-7a43-4b0c-9f0e-00000000c0de
failed=0
qemu=

for tool in "qemu-system-x86_64 qemu-system-x86" "qemu-img qemu-utils" "genisoimage genisoimage" "dbclient dropbear-bin" "busybox busybox-static"; do
	command -v "${tool% *}" >/dev/null || { echo "guest/test.sh: ${tool% *} is missing: install the Debian package ${tool#* }" >&2; exit 1; }
done
[ -e "$out/nephos-guest.qcow2" ] || "$here/build.sh" "$out"

work=$(mktemp -d "${TMPDIR:-/tmp}/nephos-guest-test.XXXXXX")
cleanup() {
	[ -n "$qemu" ] && kill "$qemu" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

check() { # check NAME COMMAND…
	local name=$1
	shift
	if "$@" >/dev/null 2>&1; then
		echo "ok    $name"
	else
		echo "FAIL  $name"
		failed=1
	fi
}

now_ms() { date +%s%3N; }

# await SECONDS COMMAND…: until the command succeeds, or QEMU is gone, or the time is over.
await() {
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt "$end" ] && kill -0 "$qemu" 2>/dev/null || return 1
		sleep 0.05
	done
}

gone() { ! kill -0 "$qemu" 2>/dev/null; }
in_log() { grep -aq -- "$1" "$work/console"; }
monitor() { printf '%s\n' "$1" >&7; }
in_guest() { timeout 20 dbclient -y -y -i "$work/key" -p "$port" "${user:-root}@127.0.0.1" "$1" </dev/null 2>"$work/ssh.err"; }

write_config_drive() { # write_config_drive UUID HOSTNAME
	local drive=$work/drive/openstack/latest
	mkdir -p "$drive"
	[ -e "$work/key" ] || dropbearkey -t ed25519 -f "$work/key" >/dev/null 2>&1
	public=$(dropbearkey -y -f "$work/key" | grep '^ssh-')
	cat >"$drive/meta_data.json" <<-EOF
		{"uuid": "$1", "name": "test", "hostname": "$2.novalocal", "launch_index": 0,
		 "meta": {"note": "quotes \" and back\\\\slash, \u00e4"}, "availability_zone": "nova",
		 "admin_pass": "c0rrect-\"horse\"",
		 "public_keys": {"other": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJustSomeOtherKeyThatNobodyHasTheSecretOf0 other\n", "mykey": "$public\n"},
		 "keys": [{"name": "mykey", "type": "ssh", "data": "$public\n"}]}
	EOF
	cat >"$drive/network_data.json" <<-'EOF'
		{"links": [
		  {"id": "tap0", "type": "ovs", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 1450, "vif_id": "a"},
		  {"id": "tap1", "type": "ovs", "ethernet_mac_address": "52:54:00:00:00:02", "mtu": 1400, "vif_id": "b"}],
		 "networks": [
		  {"id": "network0", "type": "ipv4_dhcp", "link": "tap0", "network_id": "n0"},
		  {"id": "network1", "type": "ipv4", "link": "tap1", "network_id": "n1", "ip_address": "198.51.100.7", "netmask": "255.255.255.192",
		   "routes": [{"network": "198.51.100.128", "netmask": "255.255.255.128", "gateway": "198.51.100.1"}],
		   "services": [{"type": "dns", "address": "198.51.100.2"}]},
		  {"id": "network2", "type": "ipv6", "link": "tap0", "network_id": "n2", "ip_address": "fd00:198::7", "netmask": "ffff:ffff:ffff:ffff::",
		   "routes": [{"network": "::", "netmask": "::", "gateway": "fd00:198::1"}]}],
		 "services": []}
	EOF
	cat >"$drive/user_data" <<-'EOF'
		#!/bin/sh
		echo "user data says hello from $(hostname)"
		echo run >>/root/user-data-ran
	EOF
	genisoimage -quiet -J -r -V config-2 -o "$work/config.iso" "$work/drive"
}

# start [QEMU ARGUMENTS]: boots; sets qemu (pid), port and started (ms).
start() {
	rm -f "$work/monitor"
	mkfifo "$work/monitor"
	exec 7<>"$work/monitor"
	local try
	for try in 1 2 3 4 5; do
		port=$((20000 + RANDOM % 20000))
		: >"$work/console"
		started=$(now_ms)
		# shellcheck disable=SC2086 # the arguments are words on purpose
		qemu-system-x86_64 -machine "${machine:-pc},accel=tcg" -cpu max -smp 1 -m "$memory" -nodefaults -display none \
			-uuid "$uuid" -chardev "file,id=c,path=$work/console" -serial chardev:c -monitor stdio \
			-drive "if=none,id=root,file=$work/disk.qcow2,format=qcow2,cache=unsafe" -device "virtio-blk-pci,drive=root,bootindex=1" \
			-netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$port-:22" -device "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01,romfile=" \
			-netdev "user,id=n1,restrict=on,net=198.51.100.0/26" -device "virtio-net-pci,netdev=n1,mac=52:54:00:00:00:02,romfile=" \
			-object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r \
			-vga std ${NEPHOS_GUEST_QEMU:-} "$@" <"$work/monitor" >"$work/monitor.out" 2>&1 &
		qemu=$!
		sleep 0.3
		kill -0 "$qemu" 2>/dev/null && return
	done
	cat "$work/monitor.out" >&2
	exit 1
}

config_drive=(-drive "if=none,id=cfg,file=$work/config.iso,format=raw,readonly=on" -device virtio-blk-pci,drive=cfg)

# ready: waits for the ready line and prints the seconds since power-on.
ready() {
	if await 90 in_log 'nephos-guest: ready in .*s (instance'; then
		local ms=$(($(now_ms) - started))
		echo "ok    $1: power-on to ready line $((ms / 1000)).$(printf %03d $((ms % 1000))) s; $(grep -ao 'ready in.*)' "$work/console")"
	else
		echo "FAIL  $1: no ready line; console:"
		cat "$work/console"
		exit 1
	fi
}

power_off() {
	local pressed
	pressed=$(now_ms)
	monitor system_powerdown
	if await 30 gone; then
		echo "ok    $1: ACPI power button to halt $(($(now_ms) - pressed)) ms"
	else
		echo "FAIL  $1: still running 30 s after the ACPI power button"
		failed=1
		kill "$qemu"
	fi
	wait "$qemu" || true
	qemu=
	exec 7>&-
}

qemu-img create -q -f qcow2 -F qcow2 -b "$(readlink -f "$out/nephos-guest.qcow2")" "$work/disk.qcow2" 1G
write_config_drive "$uuid" guest1

start "${config_drive[@]}"
ready "first boot"
check "ready line names the instance and the address" in_log "(instance $uuid, 10.0.2.15)"
check "hostname on the console" in_log 'hostname     guest1'
check "host key fingerprint on the console" in_log 'ssh host key .*SHA256:\|ssh host key .*[0-9a-f][0-9a-f]:'
check "user data ran and finished" await 10 in_log 'user data finished, exit code 0'
check "user data saw the name" in_log 'user data says hello from guest1'
check "ssh by key as root" in_guest true
user=nephos check "ssh by key as nephos" in_guest '[ "$(id -un)" = nephos ]'
check "hostname" in_guest '[ "$(hostname)" = guest1 ]'
check "both keys are there" in_guest '[ "$(grep -c ^ssh- /root/.ssh/authorized_keys)" = 2 ]'
check "root grew to the disk" await 10 in_guest '[ "$(df -m / | awk "NR==2{print \$2}")" -gt 900 ]'
check "second NIC has its static address" in_guest 'ip addr show eth1 | grep -q "198.51.100.7/26"'
check "first NIC has DHCP and its static IPv6 address" in_guest 'ip addr show eth0 | grep -q "fd00:198::7/64" && ip addr show eth0 | grep -q 10.0.2.15'
check "second NIC has its MTU" in_guest '[ "$(cat /sys/class/net/eth1/mtu)" = 1400 ]'
check "second NIC has its route" in_guest 'ip route | grep -q "198.51.100.128/25 via 198.51.100.1 dev eth1"'
check "default route by DHCP" in_guest 'ip route | grep -q "default via 10.0.2.2 dev eth0"'
check "name servers of both" in_guest 'grep -q 10.0.2.3 /etc/resolv.conf && grep -q 198.51.100.2 /etc/resolv.conf'
check "password of root is set" in_guest "grep -q ^root:.6. /etc/shadow"
check "console offers a login" await 10 in_log 'guest1 login:'
in_guest 'echo kept >/root/kept; sync' || true
key_before=$(in_guest 'cat /etc/dropbear/ed25519.fingerprint' || true)
truncate -s 64M "$work/volume.raw"
monitor "drive_add 0 if=none,id=vol,file=$work/volume.raw,format=raw"
monitor "device_add virtio-blk-pci,drive=vol,id=hotdisk"
check "hot plugged disk appears" await 15 in_log 'disk /dev/vd[a-z] attached, 64 MiB'
monitor "device_del hotdisk"
check "hot unplugged disk goes" await 15 in_log 'disk /dev/vd[a-z] is gone'
monitor "netdev_add user,id=n2,restrict=on,net=10.99.0.0/24"
monitor "device_add virtio-net-pci,netdev=n2,id=hotnic,romfile="
check "hot plugged NIC gets an address" await 20 in_log 'eth2 has 10.99.0.15'
echo "info  memory in the guest: $(in_guest 'free -m | awk "NR==2{print \"used \" \$3 \" MiB, available \" \$7 \" MiB of \" \$2}"')"
power_off "first boot"

start "${config_drive[@]}"
ready "second boot"
check "files persist" in_guest '[ "$(cat /root/kept)" = kept ]'
check "user data ran once" in_guest '[ "$(wc -l </root/user-data-ran)" = 1 ]'
check "host key is the same" [ "$(in_guest 'cat /etc/dropbear/ed25519.fingerprint')" = "$key_before" ]
power_off "second boot"

qemu-img resize -q "$work/disk.qcow2" 3G
uuid=5d1c6f0e-7a43-4b0c-9f0e-00000000feed
write_config_drive "$uuid" guest2
NEPHOS_GUEST_QEMU="${NEPHOS_GUEST_QEMU:-} -device virtio-scsi-pci,id=scsi -device scsi-cd,drive=cfg" \
	start -drive "if=none,id=cfg,file=$work/config.iso,format=raw,media=cdrom,readonly=on"
ready "as another instance, resized to 3 GiB, config drive on a SCSI CD"
check "user data ran for the new instance" await 10 in_log 'user data says hello from guest2'
check "root grew again" await 10 in_guest '[ "$(df -m / | awk "NR==2{print \$2}")" -gt 2800 ]'
check "host key is new" [ "$(in_guest 'cat /etc/dropbear/ed25519.fingerprint')" != "$key_before" ]
power_off "as another instance"

machine=q35
start "${config_drive[@]}" -device pcie-root-port,id=port1,chassis=1 \
	-kernel "$out/nephos-guest-vmlinuz" -initrd "$out/nephos-guest-initrd" -append 'root=/dev/vda console=tty0 console=ttyS0'
ready "q35, kernel and initrd pair"
monitor "drive_add 0 if=none,id=vol,file=$work/volume.raw,format=raw"
monitor "device_add virtio-blk-pci,drive=vol,id=hotdisk,bus=port1"
check "hot plugged disk appears on q35" await 20 in_log 'disk /dev/vd[a-z] attached, 64 MiB'
power_off "q35, kernel and initrd pair"

# The metadata service: slirp owns 169.254.169.0/24 here, and hands port 80 of .254 to busybox httpd.
machine=pc
uuid=5d1c6f0e-7a43-4b0c-9f0e-00000000beef
write_config_drive "$uuid" guest3
printf '#!/bin/sh\necho "zipped user data on $(hostname)"\n' | gzip -n >"$work/drive/openstack/latest/user_data"
service=(-netdev "user,id=m,net=169.254.169.0/24,dhcpstart=169.254.169.100,guestfwd=tcp:169.254.169.254:80-cmd:busybox httpd -i -h $work/drive"
	-device "virtio-net-pci,netdev=m,mac=52:54:00:00:00:09,romfile=")
qemu-img create -q -f qcow2 -F qcow2 -b "$(readlink -f "$out/nephos-guest.qcow2")" "$work/disk.qcow2" 200M
memory=96
start "${service[@]}"
ready "metadata service, 96 MiB of memory"
check "name, instance and gzipped user data from the service" await 10 in_log 'zipped user data on guest3'
check "static address from the service's network data" in_guest 'ip addr show eth1 | grep -q "198.51.100.7/26"'
check "ssh by key with 96 MiB" in_guest true
power_off "metadata service"

mkdir -p "$work/ec2/latest/meta-data/public-keys/0"
echo i-00000abc >"$work/ec2/latest/meta-data/instance-id"
echo guest4.novalocal >"$work/ec2/latest/meta-data/hostname"
printf '0=mykey' >"$work/ec2/latest/meta-data/public-keys/index.html"
echo "$public" >"$work/ec2/latest/meta-data/public-keys/0/openssh-key"
printf '#cloud-config\npackages: []\n' >"$work/ec2/latest/user-data"
start "${service[@]/$work\/drive/$work/ec2}"
ready "EC2 metadata"
check "EC2 name" in_log 'hostname     guest4'
check "EC2 key" in_guest true
check "cloud-config is ignored aloud" await 5 in_log 'user data is cloud-config, which this guest ignores'
power_off "EC2 metadata"

memory=${NEPHOS_GUEST_MEMORY:-128}
uuid=5d1c6f0e-7a43-4b0c-9f0e-00000000cafe
write_config_drive "$uuid" guest5
start -drive "if=ide,file=$work/config.iso,format=raw,media=cdrom,readonly=on"
ready "config drive on an IDE CD"
check "name from the IDE CD" in_log 'hostname     guest5'
power_off "config drive on an IDE CD"

(cd "$out" && stat -c 'info  %n %s bytes' nephos-guest.qcow2 nephos-guest-vmlinuz nephos-guest-initrd)
exit $failed
