package client

import (
	"cmp"
	"context"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
)

// Flavor is the noun flavor.
type Flavor struct {
	Flags
	List   FlavorList   `cmd:"" help:"List flavors."`
	Show   FlavorShow   `cmd:"" help:"Show a flavor."`
	Create FlavorCreate `cmd:"" help:"Make a flavor (admin)."`
	Delete FlavorDelete `cmd:"" help:"Delete flavors (admin)."`
}

func flavorKey(f flavors.Flavor) (string, string) { return f.ID, f.Name }

// FlavorList lists.
type FlavorList struct{}

// Run lists flavors, the smallest first.
func (FlavorList) Run(ctx context.Context, s *Session) error {
	all, err := s.flavors(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b flavors.Flavor) int {
		return cmp.Or(cmp.Compare(a.RAM, b.RAM), cmp.Compare(a.VCPUs, b.VCPUs), cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.Name, b.Name))
	})
	l := listing{head: []string{"id", "name", "vcpus", "ram_mib", "disk_gib", "public"}, empty: "no flavors"}
	for _, f := range all {
		l.add(f.ID, f.Name, f.VCPUs, f.RAM, f.Disk, f.IsPublic)
	}
	return s.printList(l)
}

// FlavorShow shows.
type FlavorShow struct {
	Flavor string `arg:"" help:"Name or id."`
}

// Run shows a flavor.
func (v *FlavorShow) Run(ctx context.Context, s *Session) error {
	all, err := s.flavors(ctx)
	if err != nil {
		return err
	}
	f, err := pick("flavor", v.Flavor, all, flavorKey)
	if err != nil {
		return err
	}
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	specs := f.ExtraSpecs
	if specs == nil { // before microversion 2.61 they are a call of their own
		if specs, err = flavors.ListExtraSpecs(ctx, c, f.ID).Extract(); err != nil {
			return err
		}
	}
	return s.printFields([]field{{"id", f.ID}, {"name", f.Name}, {"vcpus", f.VCPUs}, {"ram MiB", f.RAM}, {"disk GiB", f.Disk}, {"ephemeral GiB", f.Ephemeral},
		{"swap MiB", f.Swap}, {"public", f.IsPublic}, {"extra specs", specs}})
}

// FlavorCreate makes one.
type FlavorCreate struct {
	Name    string            `arg:""`
	VCPUs   int               `name:"vcpus" default:"1" placeholder:"N" help:"Virtual processors (${default})."`
	RAM     int               `name:"ram" default:"256" placeholder:"MIB" help:"Memory (${default})."`
	Disk    int               `default:"1" placeholder:"GIB" help:"Root disk (${default}); 0: as large as the image."`
	Private bool              `help:"Not for all projects."`
	ID      string            `name:"id" help:"Id (made)."`
	Spec    map[string]string `placeholder:"K=V" help:"Extra spec; may be given again."`
}

// Run makes a flavor.
func (v *FlavorCreate) Run(ctx context.Context, s *Session) error {
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	public := !v.Private
	f, err := flavors.Create(ctx, c, flavors.CreateOpts{Name: v.Name, VCPUs: v.VCPUs, RAM: v.RAM, Disk: &v.Disk, ID: v.ID, IsPublic: &public}).Extract()
	if err != nil {
		return err
	}
	if len(v.Spec) > 0 {
		if _, err := flavors.CreateExtraSpecs(ctx, c, f.ID, flavors.ExtraSpecsOpts(v.Spec)).Extract(); err != nil {
			return err
		}
	}
	return s.printFields([]field{{"id", f.ID}, {"name", f.Name}, {"vcpus", f.VCPUs}, {"ram MiB", f.RAM}, {"disk GiB", f.Disk}, {"extra specs", v.Spec}})
}

// FlavorDelete deletes.
type FlavorDelete struct {
	Flavors []string `arg:"" name:"flavor" help:"Names or ids."`
}

// Run deletes flavors.
func (v *FlavorDelete) Run(ctx context.Context, s *Session) error {
	all, err := s.flavors(ctx)
	if err != nil {
		return err
	}
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	return forEach(v.Flavors, func(want string) error {
		f, err := pick("flavor", want, all, flavorKey)
		if err != nil {
			return err
		}
		return flavors.Delete(ctx, c, f.ID).ExtractErr()
	})
}
