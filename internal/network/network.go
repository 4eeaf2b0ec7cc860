package network

import (
	"context"
	"math/rand/v2"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Network is one L2 segment.
type Network struct {
	ID              string            `db:"id"`
	ProjectID       string            `db:"project_id"`
	Name            string            `db:"name"`
	AdminStateUp    bool              `db:"admin_state_up"`
	Shared          bool              `db:"shared"`
	External        bool              `db:"external"`
	IsDefault       bool              `db:"is_default"` // of the external networks; at most one
	PortSecurity    bool              `db:"port_security"`
	MTU             int               `db:"mtu"`
	VNI             int               `db:"vni"`
	NetworkType     string            `db:"network_type"` // vxlan, flat (external) or local
	PhysicalNetwork string            `db:"physical_network"`
	ZoneHints       db.JSON[[]string] `db:"zone_hints"`
	Standard
}

// NetworkView is a network with the ids of its subnets.
type NetworkView struct {
	Network
	SubnetIDs []string
	IPv4      bool
	IPv6      bool
}

// NetworkPatch is what a create or an update names.
type NetworkPatch struct {
	ProjectID       Opt[string]   `json:"project_id"`
	Name            Opt[string]   `json:"name"`
	Description     Opt[string]   `json:"description"`
	AdminStateUp    Opt[bool]     `json:"admin_state_up"`
	Shared          Opt[bool]     `json:"shared"`
	External        Opt[bool]     `json:"router:external"`
	IsDefault       Opt[bool]     `json:"is_default"`
	PortSecurity    Opt[bool]     `json:"port_security_enabled"`
	MTU             Opt[int]      `json:"mtu"`
	NetworkType     Opt[string]   `json:"provider:network_type"`
	PhysicalNetwork Opt[string]   `json:"provider:physical_network"`
	SegmentationID  Opt[int]      `json:"provider:segmentation_id"`
	ZoneHints       Opt[[]string] `json:"availability_zone_hints"`
}

// Scope says whose rows a list shows: all of them for an admin, else the project's own and what is shared with it.
type Scope struct {
	ProjectID string
	Admin     bool
}

// Query narrows a list in SQL; an empty field does not narrow.
type Query struct {
	IDs, ProjectIDs, Names, NetworkIDs, DeviceIDs []string
}

func (q Query) filter(s Scope, visible string) *filter {
	f := &filter{}
	f.in("id", q.IDs)
	f.in("project_id", q.ProjectIDs)
	f.in("name", q.Names)
	f.in("network_id", q.NetworkIDs)
	f.in("device_id", q.DeviceIDs)
	if !s.Admin {
		n := 0
		for _, c := range visible {
			if c == '?' {
				n++
			}
		}
		args := make([]any, n)
		for i := range args {
			args[i] = s.ProjectID
		}
		f.cond(visible, args...)
	}
	return f
}

// Networks lists.
func (s *Service) Networks(ctx context.Context, sc Scope, q Query) (out []NetworkView, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		rows, err := selectAll[Network](ctx, tx, "networks", q.filter(sc, "project_id = ? OR shared = TRUE OR external = TRUE"))
		if err != nil {
			return err
		}
		out, err = networkViews(ctx, tx, rows)
		return err
	})
	return out, err
}

func networkViews(ctx context.Context, tx *db.Tx, rows []Network) ([]NetworkView, error) {
	var subs []struct {
		ID        string `db:"id"`
		NetworkID string `db:"network_id"`
		IPVersion int    `db:"ip_version"`
	}
	var err error
	const cols = `SELECT id, network_id, ip_version FROM subnets `
	if len(rows) > 0 && len(rows) <= 50 {
		ids := make([]string, len(rows))
		for i := range rows {
			ids[i] = rows[i].ID
		}
		err = tx.Select(ctx, &subs, cols+`WHERE network_id IN (?) ORDER BY created_at, id`, ids)
	} else if len(rows) > 0 {
		err = tx.Select(ctx, &subs, cols+`ORDER BY created_at, id`)
	}
	if err != nil {
		return nil, err
	}
	out := make([]NetworkView, len(rows))
	at := make(map[string]*NetworkView, len(rows))
	for i, r := range rows {
		out[i] = NetworkView{Network: r}
		at[r.ID] = &out[i]
	}
	for _, x := range subs {
		if v := at[x.NetworkID]; v != nil {
			v.SubnetIDs = append(v.SubnetIDs, x.ID)
			v.IPv4 = v.IPv4 || x.IPVersion == 4
			v.IPv6 = v.IPv6 || x.IPVersion == 6
		}
	}
	return out, nil
}

// CreateNetworks makes all or none.
func (s *Service) CreateNetworks(ctx context.Context, ps []NetworkPatch) (out []NetworkView, err error) {
	err = s.write(ctx, func(tx *db.Tx) error {
		out = nil
		for i := range ps {
			n, err := s.createNetwork(ctx, tx, newID(), &ps[i])
			if err != nil {
				return err
			}
			out = append(out, NetworkView{Network: *n})
		}
		return s.topologyChanged(ctx, tx)
	})
	return out, err
}

func (s *Service) createNetwork(ctx context.Context, tx *db.Tx, id string, p *NetworkPatch) (*Network, error) {
	n := &Network{ID: id, ProjectID: p.ProjectID.V, AdminStateUp: true, PortSecurity: true, NetworkType: "vxlan", Standard: s.newStandard(p.Description.V)}
	if err := s.reserve(ctx, tx, n.ProjectID, map[string]int64{"network": 1}); err != nil {
		return nil, err
	}
	if p.External.V {
		n.NetworkType, n.PhysicalNetwork, n.MTU = "flat", "public", s.cfg.ExternalMTU
	} else {
		n.MTU = s.cfg.TenantMTU
	}
	n.ZoneHints = db.AsJSON(p.ZoneHints.V)
	if err := s.setProvider(n, p); err != nil {
		return nil, err
	}
	if err := s.patchNetwork(ctx, tx, n, p); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		n.VNI = p.SegmentationID.V
		if n.VNI == 0 {
			n.VNI = 1 + rand.IntN(1<<24-1)
		}
		var clash int
		if err := tx.Get(ctx, &clash, `SELECT COUNT(*) FROM networks WHERE vni = ?`, n.VNI); err != nil {
			return nil, err
		}
		if clash == 0 {
			break
		}
		if p.SegmentationID.V != 0 {
			return nil, fault.Conflict("Unable to create the network. The tunnel ID %d is in use.", n.VNI).WithType("TunnelIdInUse")
		}
		if try == 1000 {
			return nil, fault.Unavailable("Unable to create the network. No tenant network is available for allocation.").WithType("NoNetworkAvailable")
		}
	}
	err := tx.Insert(ctx, "networks", n)
	if db.IsUnique(err) && p.SegmentationID.V == 0 { // another controller drew the same number a moment ago
		return nil, errStale
	}
	return n, err
}

func (s *Service) setProvider(n *Network, p *NetworkPatch) error {
	if t := p.NetworkType.V; t != "" {
		switch {
		case t == "vxlan" || t == "local" || t == "flat" && n.NetworkType == "flat":
			n.NetworkType = t
		case t == "flat":
			return fault.Invalid("provider:network_type", "Invalid input for operation: provider:network_type flat is available to external networks only.").WithType("InvalidInput")
		default:
			return fault.Invalid("provider:network_type", "Invalid input for operation: network_type value '%s' not supported.", t).WithType("InvalidInput")
		}
		if t != "flat" {
			n.PhysicalNetwork = ""
		}
	}
	if p.PhysicalNetwork.V != "" {
		if n.NetworkType != "flat" {
			return fault.Invalid("provider:physical_network", "Invalid input for operation: provider:physical_network specified for %s network.", n.NetworkType).WithType("InvalidInput")
		}
		n.PhysicalNetwork = p.PhysicalNetwork.V
	}
	if v := p.SegmentationID; v.Set && !v.Null && (v.V < 1 || v.V >= 1<<24 || n.NetworkType != "vxlan") {
		return fault.Invalid("provider:segmentation_id", "Invalid input for operation: segmentation_id %d is not valid for a %s network.", v.V, n.NetworkType).WithType("InvalidInput")
	}
	return nil
}

// patchNetwork applies what both create and update may set.
func (s *Service) patchNetwork(ctx context.Context, tx *db.Tx, n *Network, p *NetworkPatch) error {
	p.Name.to(&n.Name)
	p.Description.to(&n.Description)
	p.AdminStateUp.to(&n.AdminStateUp)
	p.Shared.to(&n.Shared)
	p.External.to(&n.External)
	p.PortSecurity.to(&n.PortSecurity)
	if p.MTU.Set && !p.MTU.Null && p.MTU.V != 0 {
		if p.MTU.V < 68 || p.MTU.V > 9000 {
			return fault.Invalid("mtu", "Invalid input for operation: Requested MTU is not within 68 and 9000: %d.", p.MTU.V).WithType("InvalidInput")
		}
		n.MTU = p.MTU.V
	}
	if p.IsDefault.Set {
		n.IsDefault = p.IsDefault.V && n.External
		if n.IsDefault {
			var other []string
			if err := tx.Select(ctx, &other, `SELECT id FROM networks WHERE is_default = TRUE AND id <> ?`, n.ID); err != nil {
				return err
			}
			if len(other) > 0 {
				return fault.Conflict("A default external network already exists: %s.", other[0]).WithType("DefaultExternalNetworkExists")
			}
		}
	}
	return nil
}

// UpdateNetwork changes one network. Hosts that have it are told before the call returns.
func (s *Service) UpdateNetwork(ctx context.Context, id string, p NetworkPatch, c *Cond) (out NetworkView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		n, err := networkByID(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := c.check("network", id, n.RevisionNumber); err != nil {
			return err
		}
		was := *n
		if err := s.patchNetwork(ctx, tx, n, &p); err != nil {
			return err
		}
		if err := checkUnshare(ctx, tx, &was, n); err != nil {
			return err
		}
		if err := s.save(ctx, tx, n); err != nil {
			return err
		}
		vs, err := networkViews(ctx, tx, []Network{*n})
		if err != nil {
			return err
		}
		out = vs[0]
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		hosts, err := hostsOnNetwork(ctx, tx, id)
		if err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func checkUnshare(ctx context.Context, tx *db.Tx, was, n *Network) error {
	if was.Shared && !n.Shared {
		var foreign int
		if err := tx.Get(ctx, &foreign, `SELECT COUNT(*) FROM ports WHERE network_id = ? AND project_id <> ? AND project_id <> '' AND device_owner NOT LIKE 'network:%'`, n.ID, n.ProjectID); err != nil {
			return err
		}
		if foreign > 0 {
			return fault.Conflict("Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", n.ID).WithType("InvalidSharedSetting")
		}
	}
	if was.External && !n.External {
		var used int
		if err := tx.Get(ctx, &used, `SELECT COUNT(*) FROM ports WHERE network_id = ? AND device_owner IN ('network:router_gateway', 'network:floatingip')`, n.ID); err != nil {
			return err
		}
		if used > 0 {
			return fault.Conflict("External network %s cannot be updated to be made non-external, since it has existing gateway ports.", n.ID).WithType("ExternalNetworkInUse")
		}
		n.IsDefault = false
	}
	return nil
}

// DeleteNetwork removes a network with its subnets and the floating IPs that nothing uses; fault.KindConflict while ports other than its own
// DHCP port are on it.
func (s *Service) DeleteNetwork(ctx context.Context, id string) error {
	var mark mark
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "network/"+id); err != nil {
			return err
		}
		n, err := networkByID(ctx, tx, id)
		if err != nil {
			return err
		}
		var idle []FloatingIP // go along with their network, as in Neutron; those in use hold it, by their ports
		if err := tx.Select(ctx, &idle, `DELETE FROM floating_ips WHERE network_id = ? AND fixed_port IS NULL RETURNING *`, id); err != nil {
			return err
		}
		if err := s.releaseFloating(ctx, tx, idle); err != nil {
			return err
		}
		var used int
		if err := tx.Get(ctx, &used, `SELECT COUNT(*) FROM ports WHERE network_id = ? AND device_owner <> ?`, id, OwnerDHCP); err != nil {
			return err
		}
		inUse := fault.Conflict("Unable to complete operation on network %s. There are one or more ports in use on the network.", id).WithType("NetworkInUse")
		if used > 0 {
			return inUse
		}
		subs, err := subnetsOf(ctx, tx, id)
		if err != nil {
			return err
		}
		hosts, err := hostsOnNetwork(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, q := range []string{`DELETE FROM ports WHERE network_id = ? AND device_owner = 'network:dhcp'`, `DELETE FROM subnets WHERE network_id = ?`, `DELETE FROM networks WHERE id = ?`} {
			if _, err := tx.Exec(ctx, q, id); err != nil {
				if db.IsForeignKey(err) { // a port came in between
					return inUse
				}
				return err
			}
		}
		for _, sub := range subs {
			if err := s.quotas.Release(ctx, tx, sub.ProjectID, map[string]int64{"subnet": 1}); err != nil {
				return err
			}
		}
		tx.OnCommit(func() {
			for _, sub := range subs {
				s.pools.forget(sub.ID)
			}
		})
		if err := s.quotas.Release(ctx, tx, n.ProjectID, map[string]int64{"network": 1}); err != nil {
			return err
		}
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	return err
}
