#!/bin/bash
# The demo: a cloud, a real server in it, and a log-in to it.
#
#   scripts/demo.sh up      from nothing, or on the cloud that an earlier demo left running
#   scripts/demo.sh down    ends it and takes away everything it made
#
#   DEMO_STATE   state directory (default /var/lib/nephos-demo; guests run unprivileged and must be able to reach it)
#   DEMO_FLAGS   more flags for `nephos up`, such as: --port-offset 1000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
nephos=$PWD/bin/nephos
state=${DEMO_STATE:-/var/lib/nephos-demo}
key=$state/demo-key
export NEPHOS_STATE_DIR=$state
unset OS_CLOUD OS_AUTH_URL

die() { echo "demo: $*" >&2; exit 1; }
title() { printf '\n\033[1m── %s\033[0m\n' "$*"; }
# show COMMAND…: prints a command as a person would type it, and runs it.
show() { printf '$ %s\n' "${*/#$nephos/nephos}"; "$@"; }

# cloud: the pid of the demo's cloud, if it runs.
cloud() {
	local pid
	pid=$(cat "$state/demo.pid" 2>/dev/null) || return 1
	tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "nephos up" || return 1
	echo "$pid"
}

start_cloud() {
	if cloud >/dev/null; then
		title "The cloud of an earlier demo still runs (process $(cloud))"
		return
	fi
	title "A cloud"
	install -d -m 711 "$state"
	echo "\$ nephos up --state-dir $state${DEMO_FLAGS:+ $DEMO_FLAGS} &"
	: >"$state/demo.out"
	# shellcheck disable=SC2086 # flags are words
	setsid "$nephos" up ${DEMO_FLAGS:-} >"$state/demo.out" 2>&1 </dev/null &
	local pid=$! tries=0
	echo "$pid" >"$state/demo.pid"
	until grep -q '^ready' "$state/demo.out"; do
		kill -0 "$pid" 2>/dev/null || { cat "$state/demo.out"; die "the cloud ended; its log: $state/nephos.log"; }
		[ $((tries += 1)) -lt 1800 ] || die "the cloud is not ready after 90 s; its log: $state/nephos.log"
		sleep 0.05
	done
	cat "$state/demo.out"
}

boot() {
	title "A server"
	[ -e "$key" ] || ssh-keygen -q -t ed25519 -N '' -C demo -f "$key"
	if "$nephos" server show demo >/dev/null 2>&1; then
		echo "server demo is there already"
	else
		show "$nephos" secgroup allow 22/tcp icmp
		show "$nephos" boot demo --key "$key.pub" --floating-ip --wait
	fi
	show "$nephos" server list
}

# address: demo's floating IP, which is the one that lies in the external network.
address() {
	local range
	range=$(sed -E 's#\.[0-9]+/.*#.#' "$state/external-range")
	"$nephos" server show demo | grep -oF "$range" -m1 >/dev/null || die "server demo has no floating IP; make demo-down, and start again"
	"$nephos" server show demo | grep -oE "${range//./\\.}[0-9]+" | head -1
}

log_in() {
	local ip ssh tries=0
	ip=$(address)
	title "Log in through the floating IP $ip, with the key that the server got from its metadata"
	ssh=(ssh -i "$key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 -o BatchMode=yes "root@$ip")
	until "${ssh[@]}" true </dev/null 2>/dev/null; do
		[ $((tries += 1)) -lt 90 ] || { "$nephos" server console demo -n 30; die "no log-in after 90 tries"; }
		sleep 1
	done
	local what='echo "I am $(hostname), $(uname -sr), up $(cut -d" " -f1 /proc/uptime) s"; ip -4 -o addr show eth0'
	echo "\$ ssh -i $key root@$ip '$what'"
	"${ssh[@]}" "$what" </dev/null
}

up() {
	[ "$(id -u)" = 0 ] || die "needs root, for network namespaces and taps: sudo make demo"
	local began=$SECONDS
	start_cloud
	boot
	log_in
	title "Its console"
	show "$nephos" server console demo -n 10
	title "How it was made"
	show "$nephos" trace demo
	title "Done in $((SECONDS - began)) s. The cloud runs on"
	cat <<-HINT
		  . $state/openrc
		        then any OpenStack client: openstack, nova, terraform …
		  export NEPHOS_STATE_DIR=$state
		        then: bin/nephos boot another --wait; bin/nephos server list; bin/nephos help
		  ssh -i $key root@$(address)
		        into the server
		  make demo
		        again: quick, as the cloud and the server are there
		  make demo-down
		        ends it and takes away everything it made
	HINT
}

down() {
	local pid
	if pid=$(cloud); then
		kill "$pid"
		while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
	fi
	"$nephos" down --purge
}

case ${1:-} in
up) up ;;
down) down ;;
*) die "say up or down" ;;
esac
