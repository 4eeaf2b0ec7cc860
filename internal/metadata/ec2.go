package metadata

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/hostapi"
)

// value is a part of the EC2 tree: leaf, lines or node. JSON-encoded it is the meta-data.json of the config drive.
type value interface {
	text() string // what the service answers
}

type (
	leaf  string
	lines []string
	node  map[string]value // a directory; a leaf "_name" in it is the name its parent's listing shows
)

// ec2Tree renders meta-data for an EC2 version; keys appear with the version that brought them, as in Nova.
func ec2Tree(s *hostapi.InstanceSpec, version string, o Options) node {
	host, m := leaf(o.hostname(s)), s.Metadata
	t := node{
		"ami-id":            shortID("ami", m.ImageID),
		"ami-launch-index":  leaf(strconv.Itoa(m.LaunchIndex)),
		"ami-manifest-path": leaf("none"),
		"instance-id":       shortID("i", s.ServerID),
		"hostname":          host,
		"local-ipv4":        firstIPv4(s),
		"reservation-id":    leaf(m.ReservationID),
		"security-groups":   append(lines{}, m.SecurityGroups...),
	}
	add := func(from, key string, v value) {
		if since(version, from) {
			t[key] = v
		}
	}
	add("2007-01-19", "local-hostname", host)
	add("2007-01-19", "public-hostname", host)
	var public leaf
	if o.PublicIPv4 != nil {
		public = leaf(o.PublicIPv4(s))
	}
	add("2007-01-19", "public-ipv4", public)
	add(ec2Instance, "instance-type", leaf(m.InstanceType))
	add("2007-12-15", "block-device-mapping", deviceMapping(s))
	if s.Image != nil && s.Image.Kernel != nil {
		add("2007-12-15", "kernel-id", shortID("aki", s.Image.Kernel.ID))
	}
	if s.Image != nil && s.Image.Ramdisk != nil {
		add("2007-12-15", "ramdisk-id", shortID("ari", s.Image.Ramdisk.ID))
	}
	add("2008-02-01", "placement", node{"availability-zone": leaf(m.AvailabilityZone)})
	add("2008-09-01", "instance-action", leaf("none"))
	if len(m.PublicKeys) > 0 {
		keys := node{}
		for k, name := range slices.Sorted(maps.Keys(m.PublicKeys)) {
			keys[strconv.Itoa(k)] = node{"_name": leaf(name), "openssh-key": leaf(m.PublicKeys[name])}
		}
		t["public-keys"] = keys
	}
	return t
}

// shortID makes an EC2 id of a uuid: EC2 ids have 8 hex digits. Nova counts rows for them; here they come from the uuid, which needs
// no table and is as stable.
func shortID(prefix, uuid string) leaf {
	hex := strings.ReplaceAll(uuid, "-", "")
	return leaf(fmt.Sprintf("%s-%08s", prefix, hex[:min(8, len(hex))]))
}

// firstIPv4 is the first fixed IPv4 address, empty without one.
func firstIPv4(s *hostapi.InstanceSpec) leaf {
	for _, n := range s.NICs {
		for _, a := range n.Port.Addresses {
			if ip, err := netip.ParseAddr(a.IP); err == nil && ip.Is4() {
				return leaf(a.IP)
			}
		}
	}
	return ""
}

// deviceMapping names the disks as the guest is likely to: in the order root, ephemeral, swap, volumes, on the bus of the machine.
func deviceMapping(s *hostapi.InstanceSpec) node {
	prefix := "vd"
	switch s.Machine.DiskBus {
	case "scsi", "sata", "usb":
		prefix = "sd"
	case "ide":
		prefix = "hd"
	}
	next := 0
	device := func() string { next++; return prefix + letters(next-1) }
	m := node{}
	root := device()
	m["ami"], m["root"] = leaf(root), leaf("/dev/"+root)
	if s.EphemeralGiB > 0 {
		m["ephemeral0"] = leaf("/dev/" + device())
	}
	if s.SwapMiB > 0 {
		m["swap"] = leaf("/dev/" + device())
	}
	ebs := 0
	for _, v := range s.Volumes {
		if v.BootIndex == 0 {
			continue
		}
		name := v.Device
		if name == "" {
			name = "/dev/" + device()
		}
		m[fmt.Sprintf("ebs%d", ebs)] = leaf(name)
		ebs++
	}
	return m
}

// letters counts a … z, aa … in the kernel's way of naming disks.
func letters(n int) string {
	s := ""
	for n++; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}

// lookup walks the tree; rest is the path below meta-data.
func (n node) lookup(rest []string) (value, bool) {
	var at value = n
	for _, p := range rest {
		dir, ok := at.(node)
		if !ok {
			return nil, false
		}
		// A key may be asked for as the listing shows it: "0=name".
		p, _, _ = strings.Cut(p, "=")
		if at, ok = dir[p]; !ok || p == "_name" {
			return nil, false
		}
	}
	return at, true
}

func (l leaf) text() string  { return string(l) }
func (l lines) text() string { return strings.Join(l, "\n") }

// text lists a directory: subdirectories with a slash, keys as "0=name".
func (n node) text() string {
	var list lines
	for _, k := range slices.Sorted(maps.Keys(n)) {
		if k == "_name" {
			continue
		}
		if child, ok := n[k].(node); ok {
			if name, ok := child["_name"]; ok {
				k += "=" + name.text()
			} else {
				k += "/"
			}
		}
		list = append(list, k)
	}
	return list.text()
}
