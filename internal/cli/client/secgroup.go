package client

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
)

// Secgroup is the noun secgroup.
type Secgroup struct {
	Flags
	List   SecgroupList   `cmd:"" help:"List security groups with what they let in."`
	Create SecgroupCreate `cmd:"" help:"Make a security group."`
	Allow  SecgroupAllow  `cmd:"" help:"Let traffic in: 22/tcp, 8000-8010/tcp, 53/udp, icmp, all."`
	Delete SecgroupDelete `cmd:"" help:"Delete security groups."`
}

func (s *Session) secgroups(ctx context.Context) ([]groups.SecGroup, error) {
	project, err := s.projectID(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.network(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := groups.List(c, groups.ListOpts{ProjectID: project}).AllPages(ctx) // of admins too: each project has a group named default
	if err != nil {
		return nil, err
	}
	return groups.ExtractGroups(pages)
}

func (s *Session) secgroup(ctx context.Context, want string) (groups.SecGroup, error) {
	all, err := s.secgroups(ctx)
	if err != nil {
		return groups.SecGroup{}, err
	}
	return pick("security group", want, all, func(g groups.SecGroup) (string, string) { return g.ID, g.Name })
}

// SecgroupList lists.
type SecgroupList struct{}

// Run lists security groups.
func (SecgroupList) Run(ctx context.Context, s *Session) error {
	all, err := s.secgroups(ctx)
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "name", "lets_in"}, empty: "no security groups"}
	for _, g := range all {
		in := []string{}
		for _, r := range g.Rules {
			if r.Direction == "ingress" {
				in = append(in, ruleWords(r, g.ID))
			}
		}
		l.add(g.ID, g.Name, in)
	}
	return s.printList(l)
}

// ruleWords is "22/tcp", with the source where that is not everybody.
func ruleWords(r rules.SecGroupRule, own string) string {
	w := "all"
	if r.Protocol != "" {
		w = r.Protocol
	}
	if r.PortRangeMin != 0 || r.PortRangeMax != 0 {
		w = strconv.Itoa(r.PortRangeMin)
		if r.PortRangeMax != r.PortRangeMin {
			w += "-" + strconv.Itoa(r.PortRangeMax)
		}
		w += "/" + r.Protocol
	}
	switch {
	case r.RemoteGroupID == own:
		w += " from the group itself"
	case r.RemoteGroupID != "":
		w += " from group " + r.RemoteGroupID
	case r.RemoteIPPrefix != "" && r.RemoteIPPrefix != "0.0.0.0/0" && r.RemoteIPPrefix != "::/0":
		w += " from " + r.RemoteIPPrefix
	}
	if r.EtherType == "IPv6" {
		w += " (v6)"
	}
	return w
}

// SecgroupCreate makes one.
type SecgroupCreate struct {
	Name string `arg:""`
}

// Run makes a security group.
func (v *SecgroupCreate) Run(ctx context.Context, s *Session) error {
	c, err := s.network(ctx)
	if err != nil {
		return err
	}
	g, err := groups.Create(ctx, c, groups.CreateOpts{Name: v.Name}).Extract()
	if err != nil {
		return err
	}
	return s.printFields([]field{{"id", g.ID}, {"name", g.Name}})
}

// SecgroupAllow adds rules.
type SecgroupAllow struct {
	What  []string `arg:"" help:"PORT/PROTO, FIRST-LAST/PROTO, icmp or all."`
	Group string   `default:"default" placeholder:"G" help:"Security group (${default})."`
	From  string   `default:"0.0.0.0/0" placeholder:"NET/LEN" help:"Only from here (${default})."`
}

// Run adds rules; what is allowed already is not an error.
func (v *SecgroupAllow) Run(ctx context.Context, s *Session) error {
	from, err := netip.ParsePrefix(v.From)
	if err != nil {
		return usagef("--from %s is not a network, such as 10.0.0.0/8", v.From)
	}
	var all []rules.CreateOpts
	for _, w := range v.What {
		o, err := parseRule(w)
		if err != nil {
			return err
		}
		o.Direction, o.EtherType, o.RemoteIPPrefix = rules.DirIngress, rules.EtherType4, from.String()
		if from.Addr().Is6() {
			o.EtherType = rules.EtherType6
		}
		all = append(all, o)
	}
	g, err := s.secgroup(ctx, v.Group)
	if err != nil {
		return err
	}
	c, err := s.network(ctx)
	if err != nil {
		return err
	}
	for i, o := range all {
		o.SecGroupID = g.ID
		err := rules.Create(ctx, c, o).Err
		switch {
		case status(err) == 409 && strings.Contains(plain(err), "exist"):
			fmt.Fprintf(s.Err, "%s is let in already\n", v.What[i])
		case err != nil:
			return err
		default:
			fmt.Fprintf(s.Err, "group %s lets in %s from %s\n", g.Name, v.What[i], v.From)
		}
	}
	return nil
}

// parseRule reads 22/tcp, 8000-8010/tcp, tcp, icmp, all.
func parseRule(w string) (rules.CreateOpts, error) {
	bad := usagef("%q is none of PORT/PROTO (22/tcp), FIRST-LAST/PROTO, icmp, all", w)
	ports, proto, ok := strings.Cut(strings.ToLower(w), "/")
	if !ok {
		switch ports {
		case "all":
			return rules.CreateOpts{}, nil
		case "icmp", "tcp", "udp", "sctp":
			return rules.CreateOpts{Protocol: rules.RuleProtocol(ports)}, nil
		}
		return rules.CreateOpts{}, bad
	}
	if proto != "tcp" && proto != "udp" && proto != "sctp" {
		return rules.CreateOpts{}, bad
	}
	lo, hi, isRange := strings.Cut(ports, "-")
	first, err := strconv.ParseUint(lo, 10, 16)
	last := first
	if err == nil && isRange {
		last, err = strconv.ParseUint(hi, 10, 16)
	}
	if err != nil || first == 0 || last < first {
		return rules.CreateOpts{}, bad
	}
	return rules.CreateOpts{Protocol: rules.RuleProtocol(proto), PortRangeMin: int(first), PortRangeMax: int(last)}, nil
}

// SecgroupDelete deletes.
type SecgroupDelete struct {
	Groups []string `arg:"" name:"group" help:"Names or ids."`
}

// Run deletes security groups.
func (v *SecgroupDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.network(ctx)
	if err != nil {
		return err
	}
	return forEach(v.Groups, func(want string) error {
		g, err := s.secgroup(ctx, want)
		if err != nil {
			return err
		}
		return groups.Delete(ctx, c, g.ID).ExtractErr()
	})
}
