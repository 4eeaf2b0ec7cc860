package api

import (
	"net/http"
	"slices"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
)

// networkRoutes show the network service to clients before 2.36 (addresses of servers: 2.44).
func (f *face) networkRoutes() []httpapi.Route {
	old := v(35)
	const fip, sg = "os_compute_api:os-floating-ips:", "os_compute_api:os-security-groups:"
	add := action("addFloatingIp", "os-floating-ips:add", object(must("address", sIP), opt("fixed_address", sIP)), f.addFloating)
	remove := action("removeFloatingIp", "os-floating-ips:remove", object(must("address", sIP)), f.removeFloating)
	add.Max, remove.Max = v(43), v(43)
	out := []httpapi.Route{
		{Method: get, Path: "/servers/{id}/os-security-groups", Name: "servers.groups", Rule: sg + "list", Handler: f.serverGroupsOf},
		{Method: get, Path: "/os-security-groups", Name: "secgroups.list", Max: old, Rule: sg + "get", Handler: f.listSecurityGroups},
		{Method: get, Path: "/os-security-groups/{id}", Name: "secgroups.show", Max: old, Rule: sg + "show", Handler: f.showSecurityGroup},
		{Method: get, Path: "/os-floating-ip-pools", Name: "fips.pools", Max: old, Rule: "os_compute_api:os-floating-ip-pools", Handler: f.floatingPools},
		{Method: get, Path: "/os-floating-ips", Name: "fips.list", Max: old, Rule: fip + "list", Handler: f.listFloating},
		{Method: post, Path: "/os-floating-ips", Name: "fips.create", Max: old, Rule: fip + "create", Handler: f.createFloating},
		{Method: get, Path: "/os-floating-ips/{id}", Name: "fips.show", Max: old, Rule: fip + "show", Handler: f.showFloating},
		{Method: del, Path: "/os-floating-ips/{id}", Name: "fips.delete", Max: old, Rule: fip + "delete", Status: accepted, Handler: f.deleteFloating},
		add, remove,
	}
	for _, name := range []string{"os-networks", "os-tenant-networks"} {
		out = append(out, httpapi.Route{Method: get, Path: "/" + name, Name: name + ".list", Max: old, Rule: "os_compute_api:" + name + ":list", Handler: f.listNetworks(name)},
			httpapi.Route{Method: get, Path: "/" + name + "/{id}", Name: name + ".show", Max: old, Rule: "os_compute_api:" + name + ":show", Handler: f.showNetwork(name)})
	}
	return out
}

// ownNetworks are those that the project's servers may use without naming one.
func (f *face) ownNetworks(r *httpapi.Request) ([]network.NetworkView, error) {
	all, err := f.deps.Networks.Networks(r.Context(), network.Scope{ProjectID: r.Creds.ProjectID}, network.Query{})
	return slices.DeleteFunc(all, func(n network.NetworkView) bool { return n.External || !n.AdminStateUp }), err
}

func networkItem21(kind string, n *network.NetworkView) obj {
	if kind == "os-tenant-networks" {
		return obj{"id": n.ID, "label": n.Name, "cidr": "None"}
	}
	out := obj{"id": n.ID, "label": n.Name}
	for _, k := range []string{"broadcast", "cidr", "cidr_v6", "dns1", "dns2", "gateway", "gateway_v6", "netmask", "netmask_v6"} {
		out[k] = nil // they belong to subnets, which the network service shows
	}
	return out
}

func (f *face) visibleNetworks(r *httpapi.Request) ([]network.NetworkView, error) {
	return f.deps.Networks.Networks(r.Context(), scope(r), network.Query{})
}

func (f *face) listNetworks(kind string) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		all, err := f.visibleNetworks(r)
		out := make([]obj, len(all))
		for i := range all {
			out[i] = networkItem21(kind, &all[i])
		}
		return obj{"networks": out}, err
	}
}

func (f *face) showNetwork(kind string) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		all, err := f.visibleNetworks(r)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if all[i].ID == r.Param("id") {
				return obj{"network": networkItem21(kind, &all[i])}, nil
			}
		}
		return nil, fault.NotFound("Network not found")
	}
}

func (f *face) external(r *httpapi.Request) ([]network.NetworkView, error) {
	all, err := f.visibleNetworks(r)
	return slices.DeleteFunc(all, func(n network.NetworkView) bool { return !n.External }), err
}

func (f *face) floatingPools(r *httpapi.Request) (any, error) {
	nets, err := f.external(r)
	out := make([]obj, len(nets))
	for i := range nets {
		out[i] = obj{"name": nets[i].Name}
	}
	return obj{"floating_ip_pools": out}, err
}

func floatingView(x *network.FloatingIPView, nets []network.NetworkView) obj {
	out := obj{"id": x.ID, "ip": x.Address, "pool": x.NetworkID, "fixed_ip": orNil(x.FixedAddress), "instance_id": nil}
	for i := range nets {
		if nets[i].ID == x.NetworkID {
			out["pool"] = nets[i].Name
		}
	}
	if x.Port != nil && strings.HasPrefix(x.Port.DeviceOwner, network.OwnerCompute) {
		out["instance_id"] = orNil(x.Port.DeviceID)
	}
	return out
}

func (f *face) floating(r *httpapi.Request, keep func(*network.FloatingIPView) bool) ([]network.FloatingIPView, error) {
	all, err := f.deps.Networks.FloatingIPs(r.Context(), network.Scope{ProjectID: r.Creds.ProjectID}, network.Query{})
	return slices.DeleteFunc(all, func(x network.FloatingIPView) bool { return !keep(&x) }), err
}

func (f *face) listFloating(r *httpapi.Request) (any, error) {
	nets, err := f.external(r)
	if err != nil {
		return nil, err
	}
	all, err := f.floating(r, func(*network.FloatingIPView) bool { return true })
	out := make([]obj, len(all))
	for i := range all {
		out[i] = floatingView(&all[i], nets)
	}
	return obj{"floating_ips": out}, err
}

func (f *face) floatingByID(r *httpapi.Request) (*network.FloatingIPView, error) {
	all, err := f.floating(r, func(x *network.FloatingIPView) bool { return x.ID == r.Param("id") })
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fault.NotFound("Floating IP not found for ID %s", r.Param("id"))
	}
	return &all[0], nil
}

func (f *face) showFloating(r *httpapi.Request) (any, error) {
	x, err := f.floatingByID(r)
	if err != nil {
		return nil, err
	}
	nets, err := f.external(r)
	return obj{"floating_ip": floatingView(x, nets)}, err
}

// createFloating takes an address of the named pool, or of the only (or default) external network. The body may be null.
func (f *face) createFloating(r *httpapi.Request) (any, error) {
	nets, err := f.external(r)
	if err != nil {
		return nil, err
	}
	pool := ""
	if b, ok := r.Document().(map[string]any); ok {
		pool, _ = b["pool"].(string)
	}
	i := slices.IndexFunc(nets, func(n network.NetworkView) bool {
		return pool != "" && (n.Name == pool || n.ID == pool) || pool == "" && (n.IsDefault || len(nets) == 1)
	})
	if i < 0 {
		return nil, fault.NotFound("Floating IP pool not found.")
	}
	made, err := f.deps.Networks.CreateFloatingIPs(r.Context(), network.Scope{ProjectID: r.Creds.ProjectID}, []network.FloatingIPPatch{
		{ProjectID: network.Some(r.Creds.ProjectID), NetworkID: network.Some(nets[i].ID)}})
	if err != nil {
		return nil, err
	}
	return obj{"floating_ip": floatingView(&made[0], nets)}, nil
}

func (f *face) deleteFloating(r *httpapi.Request) (any, error) {
	x, err := f.floatingByID(r)
	if err != nil {
		return nil, err
	}
	return nil, f.deps.Networks.DeleteFloatingIP(r.Context(), x.ID)
}

func (f *face) floatingByAddress(r *httpapi.Request) (x *network.FloatingIPView, fixed string, err error) {
	var b map[string]struct {
		Address string `json:"address"`
		Fixed   string `json:"fixed_address"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, "", err
	}
	a := b[r.Route.Action]
	all, err := f.floating(r, func(x *network.FloatingIPView) bool { return x.Address == a.Address })
	if err != nil {
		return nil, "", err
	}
	if len(all) == 0 {
		return nil, "", fault.NotFound("floating IP not found")
	}
	return &all[0], a.Fixed, nil
}

// addFloating gives an address to the server's first port, or to the one with the fixed address.
func (f *face) addFloating(r *httpapi.Request) (any, error) {
	x, fixed, err := f.floatingByAddress(r)
	if err != nil {
		return nil, err
	}
	ports, err := f.ports(r)
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		for _, a := range p.Fixed {
			if fixed != "" && a.IP != fixed || fixed == "" && strings.Contains(a.IP, ":") {
				continue
			}
			_, err := f.deps.Networks.UpdateFloatingIP(r.Context(), scope(r), x.ID, network.FloatingIPPatch{PortID: network.Some(p.ID), FixedIP: network.Some(a.IP)}, nil)
			if fault.KindOf(err) == fault.KindConflict { // Nova: 400, whatever the network service says
				err = fault.Invalid("address", "Unable to associate floating IP %s to fixed IP %s for instance %s. Error: %s", x.Address, a.IP, r.Param("id"), fault.Message(err)).WithCause(err)
			}
			return &httpapi.Response{Status: http.StatusAccepted}, err
		}
	}
	return nil, fault.Invalid("fixed_address", "No fixed IPs associated to instance")
}

func (f *face) removeFloating(r *httpapi.Request) (any, error) {
	x, _, err := f.floatingByAddress(r)
	if err != nil {
		return nil, err
	}
	if x.Port == nil || x.Port.DeviceID != r.Param("id") {
		return nil, fault.Conflict("Floating IP %s is not associated with instance %s.", x.Address, r.Param("id"))
	}
	_, err = f.deps.Networks.UpdateFloatingIP(r.Context(), scope(r), x.ID, network.FloatingIPPatch{PortID: network.Opt[string]{Set: true, Null: true}}, nil)
	return &httpapi.Response{Status: http.StatusAccepted}, err
}
