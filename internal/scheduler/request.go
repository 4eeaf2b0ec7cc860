package scheduler

import "net/netip"

// Request is what a server needs of its host.
type Request struct {
	Resources
	ProjectID     string
	Zone          string   // "" = any
	Forced        string   // only this host, past all filters but those of room and life (Nova's az:host)
	Tied          string   // only this host, because a disk of the server lies there
	Exclude       []string // hosts tried already
	Leave         string   // not this host: the server is to leave it
	Target        string   // only this host, which an administrator named; unlike with Forced it must pass all filters
	ImageProps    map[string]string
	ExtraSpecs    map[string]string
	Traits        []string // of the host itself, that what flavor and image say needs without naming them
	Policy        GroupPolicy
	GroupHosts    map[string]int // host → members of the server's group there
	MaxPerHost    int            // anti-affinity's max_server_per_host; 0: 1
	SameHost      []string       // hosts of the hint's servers
	DifferentHost []string
	Hints         HostHints
	Near          netip.Prefix // build_near_host_ip with cidr; zero: not asked for
	Query         string       // hint of JsonFilter, a JSON expression; "": none
	ImageID       string       // for IsolatedHostsFilter
	FlavorName    string       // for AggregateTypeAffinityFilter
	Asked         string       // what Placement was asked for, in words; "": nothing that the table does not know
	Answered      []string     // the hosts that Placement answered with, when Asked
	Seed          uint64       // breaks ties: equal hosts are taken in an order that depends on it
}

// HostHints says which of the hints were given: a hint that names only servers unknown here fits no host, which an empty list cannot tell.
type HostHints struct{ Same, Different bool }

// GroupPolicy is the policy of a server group.
type GroupPolicy string

// The policies of Nova.
const (
	Affinity         GroupPolicy = "affinity"
	AntiAffinity     GroupPolicy = "anti-affinity"
	SoftAffinity     GroupPolicy = "soft-affinity"
	SoftAntiAffinity GroupPolicy = "soft-anti-affinity"
)

// Config is what an operator may set.
type Config struct {
	Filters []string // names, in the order in which a removed host is attributed; nil: all but those of optional
	// Multipliers of the weighers by name; positive spreads servers over hosts, negative packs them. One that is absent: Multiplier.
	Multipliers  map[string]float64
	MaxIOOps     int // IoOpsFilter; 0: 8 (not among the default filters)
	MaxInstances int // NumInstancesFilter; 0: 50 (not among the default filters)
	// IsolatedHostsFilter: these hosts are for servers of these images (ids), and with Restrict for no others. Not among the default filters.
	IsolatedHosts, IsolatedImages []string
	RestrictIsolated              bool
}
