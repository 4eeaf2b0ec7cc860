package client

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
)

// Boot makes servers.
type Boot struct {
	Flags
	Name          string            `arg:"" help:"Name; with --count, NAME-1, NAME-2 …"`
	Flavor        string            `short:"f" placeholder:"F" help:"Flavor (m1.nano, else the smallest that fits the image)."`
	Image         string            `short:"i" placeholder:"I" help:"Image (the only public one, or nephos-guest)."`
	Key           string            `short:"k" placeholder:"FILE|NAME" help:"Public key file, imported if the cloud does not know it, or a key pair."`
	Network       []string          `short:"n" placeholder:"N" help:"Network; may be given again. none: without any (the cloud chooses)."`
	SecurityGroup []string          `placeholder:"S" help:"Security group; may be given again (default)."`
	UserData      string            `placeholder:"FILE" help:"User data for cloud-init and its kind; - reads standard input."`
	Property      map[string]string `placeholder:"K=V" help:"Metadata."`
	Zone          string            `placeholder:"Z" help:"Availability zone."`
	ConfigDrive   bool              `help:"With a config drive."`
	Count         int               `default:"1" placeholder:"N" help:"How many."`
	BootVolume    int               `placeholder:"GIB" help:"Boot from a new volume of this size, made from the image."`
	FloatingIP    bool              `name:"floating-ip" help:"With a floating address of the external network."`
	Wait          bool              `short:"w" help:"Wait until it runs, showing each step."`
	Timeout       int               `default:"600" placeholder:"SECONDS" help:"How long to wait (${default})."`
}

// Run makes the servers and, with --wait, follows them.
func (b *Boot) Run(ctx context.Context, s *Session) error {
	if b.Count < 1 {
		return usagef("--count must be at least 1")
	}
	opts, err := b.options(ctx, s)
	if err != nil {
		return err
	}
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	if slices.Equal(b.Network, []string{"none"}) {
		if c, err = s.computeAt(ctx, "2.37"); err != nil {
			return err
		}
	}
	began := s.Now()
	made, err := b.create(ctx, s, c, opts)
	if err != nil {
		return err
	}
	if !s.JSON {
		for _, v := range made {
			fmt.Fprintf(s.Err, "%s %s accepted\n", v.Name, v.ID)
		}
	}
	if b.FloatingIP {
		for _, v := range made {
			if _, err := s.giveFloating(ctx, v); err != nil {
				return fmt.Errorf("%s: floating address: %w", v.Name, err)
			}
		}
	}
	if b.Wait {
		if err := s.await(ctx, made, "ACTIVE", began, time.Duration(b.Timeout)*time.Second); err != nil {
			return err
		}
	}
	return b.tell(ctx, s, made)
}

// create posts the request. With a count the answer names one server only, so the others are found by their reservation (Nova's multi-create).
func (b *Boot) create(ctx context.Context, s *Session, c *gophercloud.ServiceClient, opts servers.CreateOptsBuilder) ([]servers.Server, error) {
	if b.Count == 1 {
		v, err := servers.Create(ctx, c, opts, nil).Extract()
		if err != nil {
			return nil, err
		}
		v.Name = b.Name
		return []servers.Server{*v}, nil
	}
	res := servers.Create(ctx, c, reserved{opts}, nil)
	if res.Err != nil {
		return nil, res.Err
	}
	body, _ := res.Body.(map[string]any)
	id, _ := body["reservation_id"].(string)
	if id == "" {
		return nil, fmt.Errorf("the cloud gave no reservation id; see `nephos server list`")
	}
	pages, err := servers.List(c, reservation(id)).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	list, err := servers.ExtractServers(pages)
	slices.SortFunc(list, func(a, b servers.Server) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return list, err
}

// reserved asks for a reservation id in place of the first server.
type reserved struct{ servers.CreateOptsBuilder }

// ToServerCreateMap implements servers.CreateOptsBuilder.
func (r reserved) ToServerCreateMap() (map[string]any, error) {
	m, err := r.CreateOptsBuilder.ToServerCreateMap()
	if err == nil {
		m["server"].(map[string]any)["return_reservation_id"] = true
	}
	return m, err
}

// reservation is a list filter by reservation id.
type reservation string

// ToServerListQuery implements servers.ListOptsBuilder.
func (r reservation) ToServerListQuery() (string, error) { return "?reservation_id=" + string(r), nil }

// options turns flags into a request, looking up every name, so that a mistake is found before anything is made.
func (b *Boot) options(ctx context.Context, s *Session) (servers.CreateOptsBuilder, error) {
	img, err := s.bootImage(ctx, b.Image)
	if err != nil {
		return nil, err
	}
	fl, err := s.bootFlavor(ctx, b.Flavor, img, b.BootVolume > 0)
	if err != nil {
		return nil, err
	}
	opts := servers.CreateOpts{Name: b.Name, FlavorRef: fl.ID, ImageRef: img.ID, AvailabilityZone: b.Zone, Metadata: b.Property, SecurityGroups: b.SecurityGroup}
	if b.ConfigDrive {
		opts.ConfigDrive = &b.ConfigDrive
	}
	if b.Count > 1 {
		opts.Min, opts.Max = b.Count, b.Count
	}
	if b.UserData != "" {
		if opts.UserData, err = readFile(s, b.UserData); err != nil {
			return nil, err
		}
	}
	if b.BootVolume > 0 {
		opts.ImageRef = ""
		opts.BlockDevice = []servers.BlockDevice{{SourceType: servers.SourceImage, DestinationType: servers.DestinationVolume, UUID: img.ID, VolumeSize: b.BootVolume, DeleteOnTermination: true}}
	}
	if slices.Equal(b.Network, []string{"none"}) {
		opts.Networks = "none"
	} else if len(b.Network) > 0 {
		var nets []servers.Network
		for _, n := range b.Network {
			net, err := s.networkNamed(ctx, n)
			if err != nil {
				return nil, err
			}
			nets = append(nets, servers.Network{UUID: net.ID})
		}
		opts.Networks = nets
	}
	if b.Key == "" {
		return opts, nil
	}
	name, err := s.keyFor(ctx, b.Key)
	return keypairs.CreateOptsExt{CreateOptsBuilder: opts, KeyName: name}, err
}

func readFile(s *Session, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(s.In)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return b, nil
}

// bootImage is the named image, or the one that a newcomer means: the only public one, or the demo image among several.
func (s *Session) bootImage(ctx context.Context, want string) (images.Image, error) {
	if want != "" {
		return s.imageNamed(ctx, want)
	}
	all, err := s.images(ctx, images.ListOpts{Status: images.ImageStatusActive})
	if err != nil {
		return images.Image{}, err
	}
	all = slices.DeleteFunc(all, func(i images.Image) bool { return i.DiskFormat == "aki" || i.DiskFormat == "ari" }) // kernels and ramdisks boot nothing by themselves
	public := slices.DeleteFunc(slices.Clone(all), func(i images.Image) bool { return i.Visibility != images.ImageVisibilityPublic })
	if len(public) == 1 {
		return public[0], nil
	}
	var have []string
	for _, i := range all {
		if i.Name == "nephos-guest" {
			return i, nil
		}
		have = append(have, i.Name)
	}
	switch {
	case len(all) == 0:
		return images.Image{}, usagef("the cloud has no image yet: `nephos image create NAME --file FILE --public`")
	case len(all) == 1:
		return all[0], nil
	}
	slices.Sort(have)
	return images.Image{}, usagef("say which image with --image: %s", strings.Join(have, ", "))
}

// nanoRAM is the least memory, in MiB, that is chosen without being asked for.
const nanoRAM = 128

// bootFlavor is the named flavor, or m1.nano if the image fits it, or the smallest that fits.
func (s *Session) bootFlavor(ctx context.Context, want string, img images.Image, onVolume bool) (flavors.Flavor, error) {
	all, err := s.flavors(ctx)
	if err != nil {
		return flavors.Flavor{}, err
	}
	if want != "" {
		return pick("flavor", want, all, flavorKey)
	}
	disk := max(int64(img.MinDiskGigabytes), (img.VirtualSize+1<<30-1)>>30)
	fit := slices.DeleteFunc(all, func(f flavors.Flavor) bool {
		return f.RAM < max(img.MinRAMMegabytes, nanoRAM) || !onVolume && f.Disk > 0 && int64(f.Disk) < disk
	})
	if len(fit) == 0 {
		return flavors.Flavor{}, usagef("no flavor is large enough for image %s (%d MiB of memory, %d GiB of disk)", img.Name, max(img.MinRAMMegabytes, nanoRAM), disk)
	}
	for _, f := range fit {
		if f.Name == "m1.nano" {
			return f, nil
		}
	}
	return slices.MinFunc(fit, func(a, b flavors.Flavor) int {
		return cmp.Or(cmp.Compare(a.RAM, b.RAM), cmp.Compare(a.VCPUs, b.VCPUs), cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.Name, b.Name))
	}), nil
}

// tell prints what was made and how to log in.
func (b *Boot) tell(ctx context.Context, s *Session, made []servers.Server) error {
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	for i, v := range made {
		now, err := servers.Get(ctx, c, v.ID).Extract()
		if err != nil {
			return err
		}
		made[i] = *now
	}
	if s.JSON {
		l := listing{head: []string{"id", "name", "status", "addresses"}}
		for _, v := range made {
			l.add(v.ID, v.Name, v.Status, addressWords(v))
		}
		return s.printList(l)
	}
	for _, v := range made {
		fmt.Fprintf(s.Out, "%s  %s  %s\n", v.Name, cmp.Or(strings.Join(addressWords(v), ", "), "no address yet"), s.paint(v.Status))
	}
	if len(made) != 1 || !b.Wait {
		fmt.Fprintln(s.Out, "Follow: nephos server list")
		return nil
	}
	fmt.Fprintln(s.Out, loginHint(made[0], b.Key))
	if b.Key != "" {
		s.doorHint(ctx, made[0])
	}
	return nil
}

// doorHint says when no security group of the server lets ssh in, which is how a project begins. It is a hint: what cannot be found out is not said.
func (s *Session) doorHint(ctx context.Context, v servers.Server) {
	all, err := s.secgroups(ctx)
	if err != nil {
		return
	}
	closed := ""
	for _, g := range all {
		if !slices.ContainsFunc(v.SecurityGroups, func(m map[string]any) bool { return m["name"] == g.Name }) {
			continue
		}
		if slices.ContainsFunc(g.Rules, letsSSH) {
			return
		}
		closed = g.Name
	}
	if closed != "" {
		fmt.Fprintf(s.Out, "Security group %s does not let ssh in yet: nephos secgroup allow 22/tcp icmp --group %s\n", closed, closed)
	}
}

func letsSSH(r rules.SecGroupRule) bool {
	return r.Direction == "ingress" && r.EtherType == "IPv4" && r.RemoteGroupID == "" && (r.Protocol == "" || r.Protocol == "tcp") &&
		(r.PortRangeMax == 0 || r.PortRangeMin <= 22 && 22 <= r.PortRangeMax)
}

// loginHint says how to get in, from what was asked for.
func loginHint(v servers.Server, key string) string {
	list := addresses(v)
	switch {
	case key == "":
		return fmt.Sprintf("No --key was given, so there is no login. Look at it: nephos server console %s", v.Name)
	case len(list) == 0:
		return fmt.Sprintf("It has no address. Look at it: nephos server console %s", v.Name)
	case list[0].floating:
		return fmt.Sprintf("Log in: nephos server ssh %s   (or: ssh root@%s)", v.Name, list[0].addr)
	}
	return fmt.Sprintf("%s is reached from network %s only. For a way in from outside: nephos floatingip add %s, then nephos server ssh %s", list[0].addr, list[0].network, v.Name, v.Name)
}
