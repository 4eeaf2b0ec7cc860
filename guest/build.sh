#!/bin/bash
# Builds the demo guest from the Debian packages in packages.txt.
#
#   guest/build.sh [OUT_DIR]        (default: out/ beside this file)
#
# OUT_DIR/nephos-guest.qcow2      bootable disk (BIOS): syslinux on a FAT partition, ext4 root behind it
# OUT_DIR/nephos-guest-vmlinuz    the same kernel, and
# OUT_DIR/nephos-guest-initrd     the same first file system, for kernel/ramdisk images
#
# Needs no root, no loop devices and no network. Each file appears whole or not at all
# (written beside, then renamed). Same packages and same sources give the same file system contents:
# times, UUIDs and owners are fixed.
set -euo pipefail
umask 022
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/out}
epoch=1700000000
export SOURCE_DATE_EPOCH=$epoch E2FSPROGS_FAKE_TIME=$epoch MTOOLS_SKIP_CHECK=1 TZ=UTC

# The drivers the guest carries; what they depend on comes along. A kernel that has one built in is fine.
modules="virtio_pci virtio_blk virtio_net virtio_scsi virtio-rng virtio_balloon virtio_console
ata_piix ahci e1000 e1000e sd_mod sr_mod isofs vfat nls_cp437 nls_ascii nls_utf8 nls_iso8859-1 button evdev"
# Drivers that some Debian kernels lack (the cloud kernel has no emulated NICs and no AHCI).
optional=" ahci e1000 e1000e nls_cp437 nls_ascii nls_utf8 nls_iso8859-1 "

die() { echo "guest/build.sh: $*" >&2; exit 1; }

# need FILE PACKAGE: FILE is there, else the message names the package to install.
need() {
	[ -e "$1" ] || die "$1 is missing: install the Debian package $2 (all that is needed: guest/packages.txt)"
}

# need_tool COMMAND PACKAGE
need_tool() {
	command -v "$1" >/dev/null || die "command $1 is missing: install the Debian package $2 (all that is needed: guest/packages.txt)"
}

check_packages() {
	need_tool busybox busybox-static
	need_tool dropbear dropbear-bin
	need_tool dropbearkey dropbear-bin
	need_tool qemu-ga qemu-guest-agent
	need_tool mke2fs e2fsprogs
	need_tool debugfs e2fsprogs
	need_tool resize2fs e2fsprogs
	need_tool syslinux syslinux
	need_tool mcopy mtools
	need_tool mkfs.vfat dosfstools
	need_tool cpio cpio
	need_tool lz4 lz4
	need_tool qemu-img qemu-utils
	need /usr/lib/syslinux/mbr/mbr.bin syslinux-common
	busybox=$(readlink -f "$(command -v busybox)")
	if ldd "$busybox" >/dev/null 2>&1; then
		die "$busybox is not statically linked: install the Debian package busybox-static (in place of busybox)"
	fi
}

# find_kernel: sets kernel and version; the newest cloud kernel that has its modules, else the newest of any kind.
find_kernel() {
	local pattern candidate
	for pattern in '/boot/vmlinuz-*-cloud-amd64' '/boot/vmlinuz-*-amd64'; do
		while read -r candidate; do
			version=${candidate#/boot/vmlinuz-}
			if [ -r "$candidate" ] && [ -e "/lib/modules/$version/modules.dep" ]; then
				kernel=$candidate
				return
			fi
		done < <(compgen -G "$pattern" | sort -rV)
	done
	die "no readable /boot/vmlinuz-*-amd64 with its /lib/modules: install the Debian package linux-image-cloud-amd64"
}

# copy_modules TREE: the drivers, what they depend on, and modules.dep/modules.alias cut down to them.
copy_modules() {
	local tree=$1 from=/lib/modules/$version name line file files=
	for name in $modules; do
		# The file system names drivers with - or _, the kernel takes both for the same.
		line=$(grep -E "(^|/)${name//[-_]/[-_]}\.ko(\.[a-z]+)?:" "$from/modules.dep" | head -1 || true)
		if [ -z "$line" ]; then
			grep -qE "/${name//[-_]/[-_]}\.ko" "$from/modules.builtin" && continue
			[[ $optional == *" $name "* ]] && continue
			die "kernel $version has no driver $name"
		fi
		files+=" ${line//:/}"
	done
	mkdir -p "$tree/lib/modules/$version"
	for file in $(printf '%s\n' $files | sort -u); do
		install -D -m 644 "$from/$file" "$tree/lib/modules/$version/$file"
		grep "^$file:" "$from/modules.dep"
	done >"$tree/lib/modules/$version/modules.dep"
	# A module's name is its file's name with _ for -; keep the aliases of those copied.
	awk 'NR==FNR { sub(/:.*/, ""); sub(/.*\//, ""); sub(/\.ko.*/, ""); gsub(/-/, "_"); have[$0]=1; next }
		$1 == "alias" { m=$3; gsub(/-/, "_", m); if (m in have) print }' \
		"$tree/lib/modules/$version/modules.dep" "$from/modules.alias" >"$tree/lib/modules/$version/modules.alias"
}

# install_busybox TREE: busybox under all its names.
install_busybox() {
	local tree=$1 applet
	mkdir -p "$tree/bin" "$tree/sbin"
	install -m 755 "$busybox" "$tree/bin/busybox"
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
	done
	ln -s ../bin/busybox "$tree/sbin/modprobe" # the path the kernel calls
	ln -s ../bin/busybox "$tree/sbin/init"
}

# install_program TREE PROGRAM DIR: the program and the libraries it is linked with.
install_program() {
	local tree=$1 program lib
	program=$(readlink -f "$(command -v "$2")")
	install -D -m 755 "$program" "$tree/$3/$2"
	for lib in $(ldd "$program" | grep -oE '/[^ ]+\.so[^ ]*'); do
		install -D -m 755 "$(readlink -f "$lib")" "$tree$lib"
	done
}

# freeze TREE: fixed times, so that two builds of one source are alike.
freeze() { find "$1" -exec touch -h -d "@$epoch" {} +; }

build_initrd() {
	local tree=$work/initramfs
	mkdir -p "$tree"/{dev,proc,sys,root}
	install -m 755 "$here/initramfs/init" "$tree/init"
	install_busybox "$tree"
	copy_modules "$tree"
	freeze "$tree"
	(cd "$tree" && find . -mindepth 1 | sort | cpio --quiet -o -H newc --reproducible -R 0:0) >"$work/initrd.cpio"
	lz4 -l -9 -q -c "$work/initrd.cpio" >"$work/initrd"
}

build_root() {
	local tree=$work/root
	mkdir -p "$tree"/{dev,proc,sys,run,tmp,mnt,root,home/nephos,var/lib/nephos,var/log,etc,usr/bin,usr/sbin}
	cp -R "$here/rootfs/." "$tree/"
	chmod -R u=rwX,go=rX "$tree"
	find "$tree/usr/lib/nephos" "$tree/usr/bin" "$tree/usr/sbin" "$tree/etc/acpi" -type f -exec chmod 755 {} +
	install_busybox "$tree"
	copy_modules "$tree"
	install_program "$tree" dropbear usr/sbin
	install_program "$tree" qemu-ga usr/sbin
	install_program "$tree" dropbearkey usr/bin
	install_program "$tree" resize2fs sbin
	chmod 700 "$tree/root" "$tree/home/nephos"
	chmod 640 "$tree/etc/shadow"
	ln -s /run/resolv.conf "$tree/etc/resolv.conf"
	ln -s /proc/mounts "$tree/etc/mtab"
	freeze "$tree"
	# 4 KiB blocks and room in the group table for a disk of 500 GiB, so that growing while mounted is quick.
	mke2fs -q -F -t ext4 -b 4096 -i 8192 -m 0 -J size=4 -L nephos-root \
		-U 6e657068-6f73-4775-8573-740000000001 \
		-E "hash_seed=6e657068-6f73-4775-8573-740000000002,resize=131072000,root_owner=0:0" \
		-d "$tree" "$work/root.ext4" "$((root_mib))m" >/dev/null
	# The builder need not be root: owners are set inside the image, and the change times, which no tool sets outside.
	(
		cd "$tree"
		find . -mindepth 1 | while read -r path; do
			owner=0
			[[ $path == ./home/nephos* ]] && owner=1000
			printf 'sif "'"${path#.}"'" %s\n' "uid $owner" "gid $owner" "ctime @$epoch" "ctime_extra 0" "atime @$epoch" "crtime @$epoch"
		done
	) >"$work/owners"
	debugfs -w -f "$work/owners" "$work/root.ext4" >/dev/null 2>"$work/owners.err" ||
		die "owners not set: $(cat "$work/owners.err")"
}

# The boot partition: kernel and initrd on a FAT file system with syslinux.
build_boot() {
	cat >"$work/syslinux.cfg" <<-EOF
		DEFAULT nephos
		PROMPT 0
		TIMEOUT 0
		LABEL nephos
		  LINUX /vmlinuz
		  INITRD /initrd
		  APPEND $cmdline
	EOF
	truncate -s "$((boot_mib))M" "$work/boot.fat"
	mkfs.vfat -F 16 -s 8 -n NEPHOSBOOT -i 6e657068 --invariant "$work/boot.fat" >/dev/null
	syslinux --install "$work/boot.fat"
	touch -d "@$epoch" "$work/syslinux.cfg" "$work/initrd" "$work/vmlinuz"
	mcopy -m -i "$work/boot.fat" "$work/vmlinuz" "$work/initrd" "$work/syslinux.cfg" ::/
}

le32() {
	printf "\\x$(printf %x $(($1 & 255)))\\x$(printf %x $(($1 >> 8 & 255)))"
	printf "\\x$(printf %x $(($1 >> 16 & 255)))\\x$(printf %x $(($1 >> 24 & 255)))"
}

# mbr_entry NUMBER FLAG TYPE START LENGTH (sectors): one partition; addresses in blocks only.
mbr_entry() {
	{
		printf "\\x$2\\xfe\\xff\\xff\\x$3\\xfe\\xff\\xff"
		le32 "$4"
		le32 "$5"
	} | dd of="$work/disk.raw" bs=1 seek=$((446 + 16 * ($1 - 1))) conv=notrunc status=none
}

# Partition 1 is the root file system and lies last, so that it can grow; 2 is the boot partition.
build_disk() {
	local boot_at=2048 root_at=$((2048 + boot_mib * 2048))
	truncate -s "$((1 + boot_mib + root_mib))M" "$work/disk.raw"
	dd if=/usr/lib/syslinux/mbr/mbr.bin of="$work/disk.raw" bs=440 count=1 conv=notrunc status=none
	printf 'neph' | dd of="$work/disk.raw" bs=1 seek=440 conv=notrunc status=none
	printf '\x55\xaa' | dd of="$work/disk.raw" bs=1 seek=510 conv=notrunc status=none
	mbr_entry 1 00 83 $root_at $((root_mib * 2048))
	mbr_entry 2 80 0e $boot_at $((boot_mib * 2048))
	# syslinux's boot record must know where its partition starts ("hidden sectors", offset 28).
	le32 $boot_at | dd of="$work/boot.fat" bs=1 seek=28 conv=notrunc status=none
	dd if="$work/boot.fat" of="$work/disk.raw" bs=1M seek=1 conv=notrunc,sparse status=none
	dd if="$work/root.ext4" of="$work/disk.raw" bs=1M seek=$((1 + boot_mib)) conv=notrunc,sparse status=none
	qemu-img convert -q -c -f raw -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
}

# publish FROM NAME: into the output directory under its name, whole or not at all.
publish() {
	cp "$1" "$out/.$2.$$"
	mv "$out/.$2.$$" "$out/$2"
}

# The kernel's command line, for speed under emulation: quiet (each line on an emulated serial port costs;
# the guest prints its own); nomodeset; one serial port is probed; no address
# randomising, mitigations or five-level page tables (a demo guest; all are paid for at every boot or page walk);
# no self tests of ciphers, no key ring for module signatures, no block or probe tracing (initcall_blacklist).
# Not tsc=reliable: on a busy host the emulated TSC is measured wrong by factors, and only the kernel's watchdog finds that out.
cmdline="console=tty0 console=ttyS0,115200n8 quiet loglevel=3 nomodeset panic=10"
cmdline+=" no_timer_check noreplace-smp 8250.nr_uarts=1 random.trust_cpu=on"
cmdline+=" nokaslr mitigations=off no5lvl audit=0 apparmor=0 cryptomgr.notests=1"
cmdline+=" initcall_blacklist=crypto_kdf108_init,load_system_certificate_list,init_kprobe_trace,init_blk_tracer,init_encrypted"
boot_mib=18
root_mib=32

check_packages
find_kernel
mkdir -p "$out"
work=$(mktemp -d "${TMPDIR:-/tmp}/nephos-guest.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp "$kernel" "$work/vmlinuz"
build_initrd
build_root
build_boot
build_disk
publish "$work/disk.qcow2" nephos-guest.qcow2
publish "$work/vmlinuz" nephos-guest-vmlinuz
publish "$work/initrd" nephos-guest-initrd
printf 'guest: kernel %s, ' "$version"
(cd "$out" && stat -c '%n %s bytes' nephos-guest.qcow2 nephos-guest-vmlinuz nephos-guest-initrd) | paste -sd, | sed 's/,/, /g'
