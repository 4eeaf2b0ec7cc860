package client

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Server is the noun server.
type Server struct {
	Flags
	List    ServerList   `cmd:"" help:"List servers."`
	Show    ServerShow   `cmd:"" help:"Show a server."`
	Delete  ServerDelete `cmd:"" help:"Delete servers."`
	Start   ServerStart  `cmd:"" help:"Power on."`
	Stop    ServerStop   `cmd:"" help:"Shut down."`
	Reboot  ServerReboot `cmd:"" help:"Reboot, asking the guest first unless --hard."`
	Pause   ServerPause  `cmd:"" help:"Freeze in memory."`
	Unpause ServerUnp    `cmd:"" help:"Go on after pause."`
	Suspend ServerSusp   `cmd:"" help:"Save memory to disk and power off."`
	Resume  ServerResume `cmd:"" help:"Go on after suspend."`
	Console Console      `cmd:"" help:"Print the console log."`
	SSH     SSH          `cmd:"" name:"ssh" help:"Log in by ssh, or run a command."`
	Trace   TraceVerb    `cmd:"" help:"Draw what was done to a server, step by step."`
}

// ServerList lists.
type ServerList struct {
	AllProjects bool   `help:"Those of all projects (admin)."`
	Status      string `placeholder:"STATUS" help:"Only those in this state, such as ACTIVE or ERROR."`
	Long        bool   `short:"l" help:"Also host, image, key and zone."`
}

// Run lists servers.
func (l *ServerList) Run(ctx context.Context, s *Session) error {
	all, err := s.servers(ctx, servers.ListOpts{AllTenants: l.AllProjects, Status: strings.ToUpper(l.Status)})
	if err != nil {
		return err
	}
	out := listing{head: []string{"id", "name", "status", "addresses", "flavor", "age"}, empty: "no servers; make one: nephos boot NAME --wait"}
	if s.JSON {
		out.head[5] = "created"
	}
	if l.AllProjects {
		out.head = append(out.head, "project")
	}
	if l.Long {
		out.head = append(out.head, "image", "key", "zone", "host")
	}
	for _, v := range all {
		row := []any{v.ID, v.Name, statusWords(v), addressWords(v), s.flavorName(ctx, v), age(s.Now().Sub(v.Created))}
		if s.JSON {
			row[5] = v.Created
		}
		if l.AllProjects {
			row = append(row, v.TenantID)
		}
		if l.Long {
			row = append(row, s.imageName(ctx, v), v.KeyName, v.AvailabilityZone, v.Host)
		}
		out.rows = append(out.rows, row)
	}
	return s.printList(out)
}

// statusWords is the status with what is being done: "BUILD (spawning)".
func statusWords(v servers.Server) string {
	if v.TaskState != "" {
		return v.Status + " (" + v.TaskState + ")"
	}
	return v.Status
}

// address is one of a server's.
type address struct {
	network  string
	addr     netip.Addr
	floating bool
}

// addresses are a server's, floating ones first, IPv4 before IPv6.
func addresses(v servers.Server) []address {
	var out []address
	for _, network := range sortedKeys(v.Addresses) {
		list, _ := v.Addresses[network].([]any)
		for _, x := range list {
			m, _ := x.(map[string]any)
			text, _ := m["addr"].(string)
			a, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			out = append(out, address{network, a, m["OS-EXT-IPS:type"] == "floating"})
		}
	}
	slices.SortStableFunc(out, func(a, b address) int {
		rank := func(x address) int {
			r := 0
			if !x.floating {
				r += 2
			}
			if !x.addr.Is4() {
				r++
			}
			return r
		}
		return cmp.Compare(rank(a), rank(b))
	})
	return out
}

func addressWords(v servers.Server) []string {
	out := []string{}
	for _, a := range addresses(v) {
		out = append(out, a.addr.String())
	}
	return out
}

// servers lists with all pages.
func (s *Session) servers(ctx context.Context, opts servers.ListOpts) ([]servers.Server, error) {
	c, err := s.compute(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := servers.List(c, opts).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return servers.ExtractServers(pages)
}

// server finds one by id or name. The name filter of the API is a regular expression, so big clouds send only what matches; for the suggestion all names of
// the project are read.
func (s *Session) server(ctx context.Context, want string) (servers.Server, error) {
	c, err := s.compute(ctx)
	if err != nil {
		return servers.Server{}, err
	}
	if isUUID(want) {
		v, err := servers.Get(ctx, c, want).Extract()
		switch {
		case err == nil:
			return *v, nil
		case !gophercloud.ResponseCodeIs(err, 404):
			return servers.Server{}, err
		}
	}
	key := func(v servers.Server) (string, string) { return v.ID, v.Name }
	all, err := s.servers(ctx, servers.ListOpts{Name: "^" + regexp.QuoteMeta(want) + "$"})
	if err == nil && len(all) == 0 {
		all, err = s.servers(ctx, servers.ListOpts{})
	}
	if err != nil {
		return servers.Server{}, err
	}
	return pick("server", want, all, key)
}

// flavorName names a server's flavor: newer microversions embed the name, older ones give the id.
func (s *Session) flavorName(ctx context.Context, v servers.Server) string {
	if n, ok := v.Flavor["original_name"].(string); ok {
		return n
	}
	id, _ := v.Flavor["id"].(string)
	return s.nameOf("flavor", id, func() (map[string]string, error) {
		all, err := s.flavors(ctx)
		m := map[string]string{}
		for _, f := range all {
			m[f.ID] = f.Name
		}
		return m, err
	})
}

// imageName names a server's image; "" when it boots from a volume.
func (s *Session) imageName(ctx context.Context, v servers.Server) string {
	id, _ := v.Image["id"].(string)
	return s.nameOf("image", id, func() (map[string]string, error) {
		all, err := s.images(ctx, images.ListOpts{})
		m := map[string]string{}
		for _, i := range all {
			m[i.ID] = i.Name
		}
		return m, err
	})
}

// nameOf looks an id up in names that are read once per command line; what has no name any more shows its id.
func (s *Session) nameOf(kind, id string, read func() (map[string]string, error)) string {
	if id == "" {
		return ""
	}
	m, ok := s.names[kind]
	if !ok {
		var err error
		if m, err = read(); err != nil {
			m = map[string]string{}
		}
		s.names[kind] = m
	}
	return cmp.Or(m[id], id)
}

func (s *Session) flavors(ctx context.Context) ([]flavors.Flavor, error) {
	c, err := s.compute(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := flavors.ListDetail(c, flavors.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return flavors.ExtractFlavors(pages)
}

// ServerShow shows.
type ServerShow struct {
	Server string `arg:"" help:"Name or id."`
}

// Run shows a server.
func (l *ServerShow) Run(ctx context.Context, s *Session) error {
	v, err := s.server(ctx, l.Server)
	if err != nil {
		return err
	}
	var volumes, groups []string
	for _, a := range v.AttachedVolumes {
		volumes = append(volumes, a.ID)
	}
	for _, g := range v.SecurityGroups {
		if n, ok := g["name"].(string); ok && !slices.Contains(groups, n) {
			groups = append(groups, n)
		}
	}
	var where []string
	for _, a := range addresses(v) {
		w := a.network + "=" + a.addr.String()
		if a.floating {
			w += " (floating)"
		}
		where = append(where, w)
	}
	fields := []field{{"id", v.ID}, {"name", v.Name}, {"status", statusWords(v)}, {"power", v.PowerState.String()}, {"addresses", where},
		{"flavor", s.flavorName(ctx, v)}, {"image", s.imageName(ctx, v)}, {"key", v.KeyName}, {"security groups", groups}, {"volumes", volumes},
		{"metadata", v.Metadata}, {"zone", v.AvailabilityZone}, {"host", v.Host}, {"project", v.TenantID}, {"created", v.Created}, {"launched", v.LaunchedAt}}
	if v.Fault.Message != "" {
		fields = append(fields, field{"fault", fmt.Sprintf("%s (%d)", v.Fault.Message, v.Fault.Code)})
		if v.Fault.Details != "" && v.Fault.Details != v.Fault.Message {
			fields = append(fields, field{"fault details", v.Fault.Details})
		}
	}
	return s.printFields(fields)
}
