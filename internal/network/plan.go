package network

import (
	"context"
	"net/netip"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// Mode is what a server request says about networks as a whole.
type Mode string

// The modes: nothing said, "auto", "none", or a list of requests.
const (
	ModeUnspecified Mode = "unspecified"
	ModeAuto        Mode = "auto"
	ModeNone        Mode = "none"
	ModeExplicit    Mode = "explicit"
)

// Request is one interface that a server asks for: a network (with an address, perhaps) or a port.
type Request struct {
	NetworkID string
	PortID    string
	FixedIP   string
	Tag       string
}

// Plan is what Resolve has checked: the interfaces to make, in order. It is valid for any number of servers, but for given ports and addresses.
type Plan struct{ nics []planned }

type planned struct {
	net *netInfo
	req Request
}

// Len is the number of interfaces each server gets.
func (p Plan) Len() int { return len(p.nics) }

// NewPorts is the number of ports that will be made (and counted) for each server.
func (p Plan) NewPorts() int {
	n := 0
	for _, x := range p.nics {
		if x.req.PortID == "" {
			n++
		}
	}
	return n
}

// Networks are the ids of the networks, for policy and scheduling.
func (p Plan) Networks() []string {
	var out []string
	for _, x := range p.nics {
		out = append(out, x.net.ID)
	}
	return out
}

// Resolve checks what a new server asks for, with Nova's errors, before the transaction. It only reads; what it reads of networks comes from a
// cache. With ModeUnspecified or ModeAuto the project's one usable network (own or shared, not external) is chosen; with none and
// ModeUnspecified the server gets no interface.
func (s *Service) Resolve(ctx context.Context, creds *policy.Credentials, reqs []Request, mode Mode) (Plan, error) {
	switch mode {
	case ModeNone:
		return Plan{}, nil
	case ModeExplicit, ModeUnspecified, ModeAuto, "":
	default:
		return Plan{}, fault.Invalid("networks", "unknown network mode %q", string(mode))
	}
	if len(reqs) == 0 {
		return s.resolveAny(ctx, creds, mode)
	}
	var plan Plan
	ports := map[string]bool{}
	fixed := map[string]bool{}
	for _, r := range reqs {
		if r.PortID != "" {
			if ports[r.PortID] {
				return Plan{}, fault.Invalid("port", "Duplicate ports in the request: port %s is given more than once.", r.PortID)
			}
			ports[r.PortID] = true
		}
		var n *netInfo
		var err error
		switch {
		case r.PortID != "":
			n, err = s.resolvePort(ctx, creds, r)
		case r.NetworkID != "":
			n, err = s.resolveNetwork(ctx, creds, r)
		default: // an empty request means the one usable network
			var any Plan
			if any, err = s.resolveAny(ctx, creds, ModeUnspecified); err == nil && len(any.nics) == 0 {
				err = fault.Invalid("networks", "No network is available to the project.")
			} else if err == nil {
				n = any.nics[0].net
			}
		}
		if err != nil {
			return Plan{}, err
		}
		if r.FixedIP != "" {
			if fixed[n.ID+" "+r.FixedIP] {
				return Plan{}, fault.Invalid("fixed_ip", "Fixed IP address %s is given more than once.", r.FixedIP)
			}
			fixed[n.ID+" "+r.FixedIP] = true
		}
		plan.nics = append(plan.nics, planned{n, r})
	}
	return plan, nil
}

func (s *Service) resolveAny(ctx context.Context, creds *policy.Credentials, mode Mode) (Plan, error) {
	ids, err := s.usable(ctx, creds.ProjectID)
	if err != nil {
		return Plan{}, err
	}
	switch {
	case len(ids) > 1:
		return Plan{}, fault.Conflict("Multiple possible networks found, use a Network ID to be more specific.").WithType("NetworkAmbiguous")
	case len(ids) == 0 && mode == ModeAuto:
		return Plan{}, fault.Invalid("networks", "Unable to automatically allocate a network for project %s", creds.ProjectID)
	case len(ids) == 0:
		return Plan{}, nil
	}
	n, err := s.netInfo(ctx, ids[0])
	if err != nil {
		return Plan{}, err
	}
	if n == nil {
		return Plan{}, fault.Invalid("networks", "Network %s could not be found.", ids[0])
	}
	return Plan{nics: []planned{{net: n}}}, checkUsable(creds, n)
}

// usable are the networks that a server may get without naming one: the project's own and the shared ones, without external ones.
func (s *Service) usable(ctx context.Context, projectID string) ([]string, error) {
	if ids, ok := lookup(&s.cache, s.cache.usableMap, projectID); ok {
		return ids, nil
	}
	gen := s.cache.begin()
	var ids []string
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &ids, `SELECT id FROM networks WHERE (project_id = ? OR shared = TRUE) AND external = FALSE AND admin_state_up = TRUE ORDER BY created_at, id`, projectID)
	})
	if err == nil {
		keep(&s.cache, s.cache.usableMap, projectID, ids, gen)
	}
	return ids, err
}

// netInfo is a network from the cache; nil if there is none.
func (s *Service) netInfo(ctx context.Context, id string) (*netInfo, error) {
	if n, ok := lookup(&s.cache, s.cache.netMap, id); ok {
		return n, nil
	}
	gen := s.cache.begin()
	var n *netInfo
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		all, err := s.netInfos(ctx, tx, []string{id})
		if len(all) > 0 {
			n = all[0]
		}
		return err
	})
	if err == nil && n != nil {
		keep(&s.cache, s.cache.netMap, id, n, gen)
	}
	return n, err
}

func checkUsable(creds *policy.Credentials, n *netInfo) error {
	if n.External && !n.Shared && !creds.IsAdmin() {
		return fault.Forbidden("It is not allowed to create an interface on external network %s", n.ID)
	}
	if len(n.subnets) == 0 {
		return fault.Invalid("networks", "Network %s requires a subnet in order to boot instances on.", n.ID)
	}
	return nil
}

func (s *Service) resolveNetwork(ctx context.Context, creds *policy.Credentials, r Request) (*netInfo, error) {
	n, err := s.netInfo(ctx, r.NetworkID)
	if err != nil {
		return nil, err
	}
	if n == nil || !(owns(creds, n.ProjectID) || n.Shared || n.External) {
		return nil, fault.Invalid("networks", "Network %s could not be found.", r.NetworkID)
	}
	if err := checkUsable(creds, n); err != nil {
		return nil, err
	}
	if r.FixedIP == "" {
		return n, nil
	}
	a, err := netip.ParseAddr(r.FixedIP)
	if err != nil {
		return nil, fault.Invalid("fixed_ip", "Invalid fixed IP address %s", r.FixedIP)
	}
	i := slices.IndexFunc(n.subnets, func(x Subnet) bool {
		first, last := hosts(x.prefix())
		return x.prefix().Contains(a) && !a.Less(first) && !last.Less(a)
	})
	if i < 0 {
		return nil, fault.Invalid("fixed_ip", "Fixed IP %s is not a valid ip address for network %s.", r.FixedIP, n.ID)
	}
	var holder []string
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &holder, `SELECT p.device_id FROM ip_allocations a JOIN ports p ON p.id = a.port_id WHERE a.subnet_id = ? AND a.address = ?`, n.subnets[i].ID, a.String())
	})
	if err == nil && len(holder) > 0 {
		err = fault.Invalid("fixed_ip", "Fixed IP address %s is already in use on instance %s.", r.FixedIP, holder[0])
	}
	return n, err
}

func (s *Service) resolvePort(ctx context.Context, creds *policy.Credentials, r Request) (*netInfo, error) {
	var p *Port
	var addresses int
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if p, err = portRow(ctx, tx, r.PortID); err != nil {
			return err
		}
		return tx.Get(ctx, &addresses, `SELECT COUNT(*) FROM ip_allocations WHERE port_id = ?`, p.ID)
	})
	if fault.IsNotFound(err) || err == nil && !owns(creds, p.ProjectID) {
		return nil, fault.Invalid("port", "Port id %s could not be found.", r.PortID)
	}
	if err != nil {
		return nil, err
	}
	if p.DeviceID != "" {
		return nil, portInUse(p.ID)
	}
	if addresses == 0 {
		return nil, fault.Invalid("port", "Port %s requires a FixedIP in order to be used.", p.ID)
	}
	n, err := s.netInfo(ctx, p.NetworkID)
	if err == nil && n == nil {
		err = fault.Invalid("networks", "Network %s could not be found.", p.NetworkID)
	}
	return n, err
}

func portInUse(id string) error {
	return fault.Conflict("Port %s is still in use.", id).WithType("PortInUse")
}

// SecurityGroupRef names a group.
type SecurityGroupRef struct{ ID, Name string }

// ResolveSecurityGroups turns names or ids into groups, in order and once each; an empty list is the project's default group.
// Errors are fault.KindInvalid in Nova's words.
func (s *Service) ResolveSecurityGroups(ctx context.Context, projectID string, namesOrIDs []string) ([]SecurityGroupRef, error) {
	if len(namesOrIDs) == 0 {
		namesOrIDs = []string{"default"}
	}
	all, err := s.projectGroups(ctx, projectID)
	if err != nil {
		return nil, err
	}
	var out []SecurityGroupRef
	for _, want := range namesOrIDs {
		var fit []groupKey
		for _, g := range all {
			if g.id == want {
				fit = []groupKey{g}
				break
			}
			if g.name == want {
				fit = append(fit, g)
			}
		}
		switch {
		case len(fit) == 0:
			return nil, fault.Invalid("security_groups", "Security group %s not found for project %s.", want, projectID)
		case len(fit) > 1:
			return nil, fault.Conflict("Multiple security groups found matching '%s'. Use an ID to be more specific.", want)
		}
		ref := SecurityGroupRef{ID: fit[0].id, Name: fit[0].name}
		if !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out, nil
}

func (s *Service) projectGroups(ctx context.Context, projectID string) ([]groupKey, error) {
	if gs, ok := lookup(&s.cache, s.cache.groupMap, projectID); ok {
		return gs, nil
	}
	if err := s.EnsureDefaultGroup(ctx, projectID); err != nil {
		return nil, err
	}
	gen := s.cache.begin()
	var rows []SecurityGroup
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &rows, `SELECT * FROM security_groups WHERE project_id = ? ORDER BY created_at, id`, projectID)
	})
	if err != nil {
		return nil, err
	}
	out := make([]groupKey, len(rows))
	for i, g := range rows {
		out[i] = groupKey{g.ID, g.Name}
	}
	keep(&s.cache, s.cache.groupMap, projectID, out, gen)
	return out, nil
}
