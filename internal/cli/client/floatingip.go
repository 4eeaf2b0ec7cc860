package client

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
)

// FloatingIP is the noun floatingip.
type FloatingIP struct {
	Flags
	List   FloatingList   `cmd:"" help:"List floating addresses."`
	Create FloatingCreate `cmd:"" help:"Take a floating address."`
	Add    FloatingAdd    `cmd:"" help:"Give a server a floating address: a free one of the project, or a new one."`
	Delete FloatingDelete `cmd:"" help:"Give floating addresses back."`
}

type portFilter = ports.ListOpts

func (s *Session) ports(ctx context.Context, opts portFilter) ([]ports.Port, error) {
	c, err := s.network(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := ports.List(c, opts).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return ports.ExtractPorts(pages)
}

func (s *Session) floatingIPs(ctx context.Context, opts floatingips.ListOpts) ([]floatingips.FloatingIP, error) {
	c, err := s.network(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := floatingips.List(c, opts).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return floatingips.ExtractFloatingIPs(pages)
}

// FloatingList lists.
type FloatingList struct{}

// Run lists floating addresses.
func (FloatingList) Run(ctx context.Context, s *Session) error {
	all, err := s.floatingIPs(ctx, floatingips.ListOpts{})
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "address", "fixed", "port", "status"}, empty: "no floating addresses"}
	for _, f := range all {
		l.add(f.ID, f.FloatingIP, f.FixedIP, f.PortID, f.Status)
	}
	return s.printList(l)
}

// FloatingCreate takes one.
type FloatingCreate struct {
	Network string `placeholder:"N" help:"External network (the only one)."`
}

// Run takes a floating address.
func (v *FloatingCreate) Run(ctx context.Context, s *Session) error {
	f, err := s.newFloating(ctx, v.Network)
	if err != nil {
		return err
	}
	return s.printFields([]field{{"id", f.ID}, {"address", f.FloatingIP}, {"status", f.Status}})
}

func (s *Session) newFloating(ctx context.Context, network string) (*floatingips.FloatingIP, error) {
	n, err := s.externalNetwork(ctx, network)
	if err != nil {
		return nil, err
	}
	c, err := s.network(ctx)
	if err != nil {
		return nil, err
	}
	return floatingips.Create(ctx, c, floatingips.CreateOpts{FloatingNetworkID: n.ID}).Extract()
}

// FloatingAdd gives one to a server.
type FloatingAdd struct {
	Server  string `arg:"" help:"Name or id."`
	Address string `arg:"" optional:"" help:"This address of the project (a free one, or a new one)."`
}

// Run gives the server an address.
func (v *FloatingAdd) Run(ctx context.Context, s *Session) error {
	srv, err := s.server(ctx, v.Server)
	if err != nil {
		return err
	}
	port, err := s.floatablePort(ctx, srv)
	if err != nil {
		return err
	}
	f, err := s.chooseFloating(ctx, v.Address)
	if err != nil {
		return err
	}
	return s.associate(ctx, srv, f, port)
}

// chooseFloating is the address asked for, a free one of the project, or a new one.
func (s *Session) chooseFloating(ctx context.Context, address string) (*floatingips.FloatingIP, error) {
	project, err := s.projectID(ctx)
	if err != nil {
		return nil, err
	}
	all, err := s.floatingIPs(ctx, floatingips.ListOpts{ProjectID: project})
	if err != nil {
		return nil, err
	}
	if address != "" {
		f, err := pick("floating address", address, all, func(f floatingips.FloatingIP) (string, string) { return f.ID, f.FloatingIP })
		return &f, err
	}
	for i := range all {
		if all[i].PortID == "" {
			return &all[i], nil
		}
	}
	return s.newFloating(ctx, "")
}

func (s *Session) associate(ctx context.Context, v servers.Server, f *floatingips.FloatingIP, port string) error {
	c, err := s.network(ctx)
	if err != nil {
		return err
	}
	got, err := floatingips.Update(ctx, c, f.ID, floatingips.UpdateOpts{PortID: &port}).Extract()
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printFields([]field{{"id", got.ID}, {"address", got.FloatingIP}, {"fixed", got.FixedIP}, {"server", v.ID}})
	}
	fmt.Fprintf(s.Out, "%s is %s, reached as %s\n", v.Name, got.FixedIP, got.FloatingIP)
	return nil
}

// portPatience is how long a new server may take to get a port: other clouds make it after their answer.
const portPatience = 60 * time.Second

// floatablePort waits for the server's first port with an IPv4 address.
func (s *Session) floatablePort(ctx context.Context, v servers.Server) (string, error) {
	began, every := s.Now(), pollFirst
	for {
		list, err := s.ports(ctx, portFilter{DeviceID: v.ID})
		if err != nil {
			return "", err
		}
		for _, p := range list {
			for _, ip := range p.FixedIPs {
				if a, err := netip.ParseAddr(ip.IPAddress); err == nil && a.Is4() {
					return p.ID, nil
				}
			}
		}
		if s.Now().Sub(began) > portPatience || v.Status == "ACTIVE" || v.Status == "ERROR" {
			return "", fmt.Errorf("server %s has no port with an IPv4 address", v.Name)
		}
		if err := pause(ctx, every); err != nil {
			return "", err
		}
		every = min(every*2, pollMax)
	}
}

// giveFloating is FloatingAdd for a server that is being built; it tells on Err.
func (s *Session) giveFloating(ctx context.Context, v servers.Server) (string, error) {
	port, err := s.floatablePort(ctx, v)
	if err != nil {
		return "", err
	}
	f, err := s.chooseFloating(ctx, "")
	if err != nil {
		return "", err
	}
	c, err := s.network(ctx)
	if err != nil {
		return "", err
	}
	got, err := floatingips.Update(ctx, c, f.ID, floatingips.UpdateOpts{PortID: &port}).Extract()
	if err != nil {
		return "", err
	}
	fmt.Fprintf(s.Err, "%s gets floating address %s\n", v.Name, got.FloatingIP)
	return got.FloatingIP, nil
}

// FloatingDelete gives back.
type FloatingDelete struct {
	Addresses []string `arg:"" name:"address" help:"Addresses or ids."`
}

// Run gives floating addresses back.
func (v *FloatingDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.network(ctx)
	if err != nil {
		return err
	}
	all, err := s.floatingIPs(ctx, floatingips.ListOpts{})
	if err != nil {
		return err
	}
	return forEach(v.Addresses, func(want string) error {
		f, err := pick("floating address", want, all, func(f floatingips.FloatingIP) (string, string) { return f.ID, f.FloatingIP })
		if err != nil {
			return err
		}
		return floatingips.Delete(ctx, c, f.ID).ExtractErr()
	})
}
