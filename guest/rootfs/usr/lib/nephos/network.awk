# Reads network_data.json as json.awk flattened it; for the NIC with address `mac` prints what to do:
#   mtu N | address ADDRESS MASK | route NET MASK GATEWAY | route6 NET PREFIX GATEWAY | dns ADDRESS
# Nothing but mtu if none of its networks is static (then DHCP has the word).
# Only what looks like an address or number gets through: the lines become arguments of commands.

BEGIN { FS = "\t"; mac = tolower(mac) }

$2 !~ /^[0-9A-Za-z._:\/-]+$/ { next }

{
	n = split($1, p, "/")
	if (p[1] == "links") link[p[2] SUBSEP p[3]] = $2
	else if (p[1] == "networks") {
		if (p[2] + 1 > networks) networks = p[2] + 1
		if (n == 3) net[p[2] SUBSEP p[3]] = $2
		else if (p[3] == "routes") {
			route[p[2] SUBSEP p[4] SUBSEP p[5]] = $2
			if (p[4] + 1 > routes[p[2]]) routes[p[2]] = p[4] + 1
		} else if (p[3] == "services" && p[5] == "address") dns[$2] = 1
	} else if (p[1] == "services" && p[3] == "address") dns[$2] = 1
	if (p[1] == "links" && p[2] + 1 > links) links = p[2] + 1
}

function number(text) { return text ~ /^[0-9]+$/ }

END {
	for (l = 0; l < links; l++)
		if (tolower(link[l SUBSEP "ethernet_mac_address"]) == mac) {
			id = link[l SUBSEP "id"]
			if (number(link[l SUBSEP "mtu"])) print "mtu", link[l SUBSEP "mtu"]
		}
	if (id == "") exit
	for (k = 0; k < networks; k++) {
		type = net[k SUBSEP "type"]
		if (net[k SUBSEP "link"] != id || (type != "ipv4" && type != "ipv6")) continue
		split(net[k SUBSEP "ip_address"], whole, "/")
		mask = whole[2] != "" ? whole[2] : net[k SUBSEP "netmask"]
		# A v6 mask may be written as an address: its f's and the last digit's bits are the prefix.
		if (mask ~ /:/) mask = prefix6(mask)
		if (whole[1] == "" || mask == "") continue
		print "address", whole[1], mask
		static = 1
		verb = type == "ipv6" ? "route6" : "route"
		if (net[k SUBSEP "gateway"] != "")
			print verb, (type == "ipv6" ? "::" : "0.0.0.0"), 0, net[k SUBSEP "gateway"]
		for (r = 0; r < routes[k]; r++) {
			mask = route[k SUBSEP r SUBSEP "netmask"]
			split(route[k SUBSEP r SUBSEP "network"], whole, "/")
			if (whole[2] != "") mask = whole[2]
			if (mask ~ /:/) mask = prefix6(mask)
			if (mask == "0.0.0.0") mask = 0
			print verb, whole[1], mask, route[k SUBSEP r SUBSEP "gateway"]
		}
	}
	if (static) for (d in dns) print "dns", d
}

function prefix6(mask,   k, bits) {
	bits = 0
	for (k = 1; k <= length(mask); k++) bits += 4 * (substr(mask, k, 1) ~ /[fF]/) + 3 * (substr(mask, k, 1) ~ /[eE]/) \
		+ 2 * (substr(mask, k, 1) ~ /[cC]/) + (substr(mask, k, 1) ~ /8/)
	return bits
}
