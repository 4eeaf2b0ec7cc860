package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

// Network is the noun network.
type Network struct {
	Flags
	List   NetworkList   `cmd:"" help:"List networks with their subnets."`
	Show   NetworkShow   `cmd:"" help:"Show a network."`
	Create NetworkCreate `cmd:"" help:"Make a network with a subnet, joined to a router."`
	Delete NetworkDelete `cmd:"" help:"Delete networks with their router interfaces."`
}

// netRow is a network with the extension that says whether it is external.
type netRow struct {
	networks.Network
	external.NetworkExternalExt
}

func (s *Session) networks(ctx context.Context) ([]netRow, error) {
	c, err := s.network(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := networks.List(c, networks.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	var out []netRow
	return out, networks.ExtractNetworksInto(pages, &out)
}

func (s *Session) networkNamed(ctx context.Context, want string) (netRow, error) {
	all, err := s.networks(ctx)
	if err != nil {
		return netRow{}, err
	}
	return pick("network", want, all, func(n netRow) (string, string) { return n.ID, n.Name })
}

// externalNetwork is the one that floating addresses come from.
func (s *Session) externalNetwork(ctx context.Context, want string) (netRow, error) {
	if want != "" {
		return s.networkNamed(ctx, want)
	}
	all, err := s.networks(ctx)
	if err != nil {
		return netRow{}, err
	}
	var ext []netRow
	var names []string
	for _, n := range all {
		if n.External {
			ext = append(ext, n)
			names = append(names, n.Name)
		}
	}
	switch len(ext) {
	case 0:
		return netRow{}, usagef("the cloud has no external network")
	case 1:
		return ext[0], nil
	}
	return netRow{}, usagef("there are several external networks, say which with --network: %s", strings.Join(names, ", "))
}

func (s *Session) subnets(ctx context.Context, opts subnets.ListOpts) ([]subnets.Subnet, error) {
	c, err := s.network(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := subnets.List(c, opts).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return subnets.ExtractSubnets(pages)
}

// NetworkList lists.
type NetworkList struct{}

// Run lists networks.
func (NetworkList) Run(ctx context.Context, s *Session) error {
	all, err := s.networks(ctx)
	if err != nil {
		return err
	}
	subs, err := s.subnets(ctx, subnets.ListOpts{})
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "name", "status", "subnets", "external", "shared"}, empty: "no networks"}
	for _, n := range all {
		ranges := []string{}
		for _, sn := range subs {
			if sn.NetworkID == n.ID {
				ranges = append(ranges, sn.CIDR)
			}
		}
		l.add(n.ID, n.Name, n.Status, ranges, n.External, n.Shared)
	}
	return s.printList(l)
}

// NetworkShow shows.
type NetworkShow struct {
	Network string `arg:"" help:"Name or id."`
}

// Run shows a network.
func (v *NetworkShow) Run(ctx context.Context, s *Session) error {
	n, err := s.networkNamed(ctx, v.Network)
	if err != nil {
		return err
	}
	subs, err := s.subnets(ctx, subnets.ListOpts{NetworkID: n.ID})
	if err != nil {
		return err
	}
	var words []string
	for _, sn := range subs {
		w := sn.CIDR + " gateway " + sn.GatewayIP
		if len(sn.DNSNameservers) > 0 {
			w += " dns " + strings.Join(sn.DNSNameservers, " ")
		}
		words = append(words, w)
	}
	return s.printFields([]field{{"id", n.ID}, {"name", n.Name}, {"status", n.Status}, {"admin up", n.AdminStateUp}, {"external", n.External}, {"shared", n.Shared},
		{"subnets", words}, {"project", n.ProjectID}, {"created", n.CreatedAt}})
}

// NetworkCreate makes one.
type NetworkCreate struct {
	Name     string   `arg:""`
	CIDR     string   `name:"cidr" required:"" placeholder:"NET/LEN" help:"Range of its subnet."`
	DNS      []string `name:"dns" placeholder:"ADDR" help:"Name server for its guests; may be given again."`
	Router   string   `placeholder:"R" help:"Router that it joins (the project's only one)."`
	Isolated bool     `help:"Join no router."`
}

// Run makes network, subnet and router interface; when one of them cannot be made, those before it are taken away again.
func (v *NetworkCreate) Run(ctx context.Context, s *Session) (err error) {
	p, err := netip.ParsePrefix(v.CIDR)
	if err != nil || p != p.Masked() {
		return usagef("--cidr %s is not a network, such as 10.1.0.0/24", v.CIDR)
	}
	c, err := s.network(ctx)
	if err != nil {
		return err
	}
	var r routers.Router
	if !v.Isolated {
		if r, err = s.router(ctx, v.Router); err != nil {
			return err
		}
	}
	n, err := networks.Create(ctx, c, networks.CreateOpts{Name: v.Name}).Extract()
	if err != nil {
		return err
	}
	err = v.furnish(ctx, c, n.ID, p, r)
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		return errors.Join(err, networks.Delete(clean, c, n.ID).ExtractErr())
	}
	show := NetworkShow{Network: n.ID}
	return show.Run(ctx, s)
}

func (v *NetworkCreate) furnish(ctx context.Context, c *gophercloud.ServiceClient, networkID string, p netip.Prefix, r routers.Router) error {
	version := gophercloud.IPv4
	if p.Addr().Is6() {
		version = gophercloud.IPv6
	}
	sn, err := subnets.Create(ctx, c, subnets.CreateOpts{NetworkID: networkID, Name: v.Name + "-subnet", CIDR: v.CIDR, IPVersion: version, DNSNameservers: v.DNS}).Extract()
	if err != nil || v.Isolated || r.ID == "" {
		return err
	}
	_, err = routers.AddInterface(ctx, c, r.ID, routers.AddInterfaceOpts{SubnetID: sn.ID}).Extract()
	return err
}

// router is the named router, or the only one; the zero Router when there is none and none was named.
func (s *Session) router(ctx context.Context, want string) (routers.Router, error) {
	c, err := s.network(ctx)
	if err != nil {
		return routers.Router{}, err
	}
	pages, err := routers.List(c, routers.ListOpts{}).AllPages(ctx)
	if err != nil {
		return routers.Router{}, err
	}
	all, err := routers.ExtractRouters(pages)
	if err != nil {
		return routers.Router{}, err
	}
	if want != "" {
		return pick("router", want, all, func(r routers.Router) (string, string) { return r.ID, r.Name })
	}
	switch len(all) {
	case 0:
		return routers.Router{}, nil
	case 1:
		return all[0], nil
	}
	return routers.Router{}, usagef("there are %d routers: say which with --router, or --isolated", len(all))
}

// NetworkDelete deletes.
type NetworkDelete struct {
	Networks []string `arg:"" name:"network" help:"Names or ids."`
}

// Run takes the networks off their routers and deletes them.
func (v *NetworkDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.network(ctx)
	if err != nil {
		return err
	}
	return forEach(v.Networks, func(want string) error {
		n, err := s.networkNamed(ctx, want)
		if err != nil {
			return err
		}
		list, err := s.ports(ctx, portFilter{NetworkID: n.ID})
		if err != nil {
			return err
		}
		for _, p := range list { // servers first: a network in use must stay whole
			if strings.HasPrefix(p.DeviceOwner, "compute:") {
				return fmt.Errorf("network %s is used by server %s", n.Name, p.DeviceID)
			}
		}
		for _, p := range list {
			if p.DeviceOwner == "network:router_interface" {
				if _, err := routers.RemoveInterface(ctx, c, p.DeviceID, routers.RemoveInterfaceOpts{PortID: p.ID}).Extract(); err != nil {
					return err
				}
			}
		}
		return networks.Delete(ctx, c, n.ID).ExtractErr()
	})
}
