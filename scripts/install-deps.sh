#!/bin/bash
# Installs the Debian packages that are missing, for the groups named: build, run, test. Nothing is done, and nothing is
# asked of the network, where all is there. Works on a bare Debian 12 as root; others get sudo, or the list to install.
#
#   scripts/install-deps.sh build run        enough for `make demo`
#   scripts/install-deps.sh build run test   enough for `make test`
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/local/go/bin:/usr/sbin:/sbin"

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() { echo "install-deps: $*" >&2; exit 1; }

# packages GROUP: its packages, one a line.
packages() {
	case $1 in
	build)
		printf '%s\n' ca-certificates git make
		# What the demo guest is made from. A machine that has a kernel with its modules keeps it: the cloud kernel
		# would otherwise be what a real computer starts next time.
		sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$top/guest/packages.txt" | if has_kernel; then grep -v '^linux-image-'; else cat; fi
		;;
	run) printf '%s\n' qemu-system-x86 qemu-utils nftables iproute2 busybox-static openssh-client curl procps ;;
	test) printf '%s\n' gcc libc6-dev postgresql-15 python3-openstackclient python3-novaclient python3-osc-placement jq genisoimage ;;
	*) die "no group $1: build, run, test" ;;
	esac
}

has_kernel() {
	local kernel
	for kernel in /boot/vmlinuz-*-amd64; do
		if [ -r "$kernel" ] && [ -e "/lib/modules/${kernel#/boot/vmlinuz-}/modules.dep" ]; then return 0; fi
	done
	return 1
}

# missing: those of the packages on standard input that are not installed.
missing() {
	local have
	have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p' | sort -u)
	sort -u | comm -13 <(echo "$have") -
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"
	elif command -v sudo >/dev/null; then sudo --preserve-env=DEBIAN_FRONTEND "$@"
	else die "not root and no sudo; as root: apt-get install ${want[*]}"
	fi
}

# The Go that go.mod asks for; an older one (from 1.21) fetches it by itself. Debian 12's own is too old for that.
install_go() {
	local need major minor
	if command -v go >/dev/null; then
		read -r major minor < <(go env GOVERSION | sed -E 's/go([0-9]+)\.([0-9]+).*/\1 \2/')
		if [ "$major" -gt 1 ] || [ "$minor" -ge 21 ]; then return; fi
	fi
	need=$(sed -n 's/^go //p' "$top/go.mod")
	local url="https://go.dev/dl/go$need.linux-$(dpkg --print-architecture).tar.gz"
	echo "install-deps: Go $need from $url to /usr/local/go"
	[ ! -e /usr/local/go ] || die "/usr/local/go holds an older Go: remove it, or put Go 1.21 or newer on PATH"
	local got
	got=$(mktemp)
	trap 'rm -f "$got"' EXIT
	curl -fsSL --proto '=https' --retry 3 -o "$got" "$url" || die "$url cannot be had: put Go 1.21 or newer on PATH"
	as_root tar -C /usr/local -xzf "$got"
}

[ $# -gt 0 ] || set -- build run test
command -v dpkg-query >/dev/null || die "this is no Debian; see docs/operations.md for what is needed"
mapfile -t want < <(for group in "$@"; do packages "$group"; done | missing)
if [ ${#want[@]} -gt 0 ]; then
	echo "install-deps: ${want[*]}"
	as_root apt-get -qq update </dev/null
	as_root apt-get -qq -y --no-install-recommends -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 install "${want[@]}" </dev/null
fi
for group in "$@"; do
	if [ "$group" = build ]; then install_go; fi
done
