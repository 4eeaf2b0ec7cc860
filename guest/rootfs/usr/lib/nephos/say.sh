# Read by the scripts beside it: where things lie, and how to speak to the console.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
lib=/usr/lib/nephos
run=/run/nephos        # this boot: nic/<name>/ one directory per NIC, md/ the metadata, flags
state=/var/lib/nephos  # this disk: instance-id, user-data and what of it ran

say() { echo "nephos-guest: $*" >/dev/console; }

# uptime_tenths: sets t to the tenths of seconds since the kernel started.
uptime_tenths() {
	read -r t _ </proc/uptime
	t=${t%?}
	t=${t%.*}${t#*.}
	t=${t#0}
}
