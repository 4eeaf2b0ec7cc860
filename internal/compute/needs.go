package compute

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/placement"
	"nephos/internal/scheduler"
)

// What flavors and images ask of Placement (Nova's "resources:", "trait:", their granular forms, cpu_policy and pci_passthrough:alias). Almost every server asks for
// nothing but its three classes: for those nothing here costs more than a look at an empty map.

// demandKey is an extra spec resources[GROUP]:CLASS or trait[GROUP]:NAME; a group is digits, or an underscore and a name.
var demandKey = regexp.MustCompile(`^(resources|trait)([1-9][0-9]*|_[a-zA-Z0-9_-]{1,63})?:([A-Z0-9_]+)$`)

// hyperthreading is the trait of a host whose processors share cores.
const hyperthreading = "HW_CPU_HYPERTHREADING"

// own are the classes that a compute host itself has and the scheduler's table knows.
var own = []string{placement.VCPU, placement.MemoryMB, placement.DiskGB}

// asks says whether extra specs may say anything to this file.
func asks(specs map[string]string) bool {
	for k := range specs {
		if strings.HasPrefix(k, "resources") || strings.HasPrefix(k, "trait") || k == "hw:cpu_policy" || k == "pci_passthrough:alias" {
			return true
		}
	}
	return false
}

// demand is what a server takes as a whole: the group without suffix, which begins with the three classes, and the others.
type demand struct {
	groups  map[string]*placement.Group
	isolate bool
	subtree [][]string
}

func (d *demand) group(suffix string) *placement.Group {
	g := d.groups[suffix]
	if g == nil {
		g = &placement.Group{Suffix: suffix, Resources: map[string]int64{}}
		d.groups[suffix] = g
	}
	return g
}

// demands reads what a server asks for; fault.KindInvalid for what has no meaning.
func (s *Server) demands() (*demand, error) {
	vcpus, ram, disk := s.flavorResources()
	d := &demand{groups: map[string]*placement.Group{}}
	base := d.group("").Resources
	for class, n := range map[string]int{placement.VCPU: vcpus, placement.MemoryMB: ram, placement.DiskGB: disk} {
		if n > 0 {
			base[class] = int64(n)
		}
	}
	specs, props := s.Flavor.V.ExtraSpecs, s.Image.V.Properties
	l, err := s.Layout()
	if err != nil {
		return nil, err
	}
	if l.Dedicated {
		base[pcpu] = base[placement.VCPU]
		delete(base, placement.VCPU)
	}
	switch orText(specs["hw:cpu_thread_policy"], props["hw_cpu_thread_policy"]) {
	case "require":
		d.group("").Required = append(d.group("").Required, []string{hyperthreading})
	case "isolate":
		d.group("").Forbidden = append(d.group("").Forbidden, hyperthreading)
	}
	for _, key := range slices.Sorted(maps.Keys(specs)) {
		if err := d.read(key, specs[key]); err != nil {
			return nil, err
		}
	}
	for key, value := range props { // an image may require traits, nothing else (Nova)
		if m := demandKey.FindStringSubmatch(key); m != nil && m[1] == "trait" && value == "required" {
			g := d.group(m[2])
			g.Required = append(g.Required, []string{m[3]})
		}
	}
	if list := specs["pci_passthrough:alias"]; list != "" {
		if err := d.devices(list); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// read takes one extra spec.
func (d *demand) read(key, value string) error {
	switch {
	case key == "group_policy":
		d.isolate = value == "isolate"
		return nil
	case strings.HasPrefix(key, "same_subtree"):
		d.subtree = append(d.subtree, strings.Split(value, ","))
		return nil
	}
	m := demandKey.FindStringSubmatch(key)
	if m == nil {
		return nil
	}
	g := d.group(m[2])
	if m[1] == "trait" {
		switch value {
		case "required":
			g.Required = append(g.Required, []string{m[3]})
		case "forbidden":
			g.Forbidden = append(g.Forbidden, m[3])
		}
		return nil
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return fault.Invalid("flavorRef", "The flavor's extra spec %s=%s is not an amount.", key, value)
	}
	delete(g.Resources, m[3]) // 0 takes a class away that the flavor would have
	if n > 0 {
		g.Resources[m[3]] = n
	}
	return nil
}

// devices takes pci_passthrough:alias, "NAME:COUNT,…": a group for each device, for each may lie elsewhere.
func (d *demand) devices(list string) error {
	for _, part := range strings.Split(list, ",") {
		alias, count, ok := strings.Cut(strings.TrimSpace(part), ":")
		n, err := strconv.Atoi(count)
		if !ok || alias == "" || err != nil || n < 1 || n > 64 {
			return fault.Invalid("flavorRef", "The flavor's extra spec pci_passthrough:alias=%s is not of the form alias:count.", list)
		}
		for i := range n {
			d.group("_pci-" + pciName(alias) + "-" + strconv.Itoa(i)).Resources[pciName(alias)] = 1
		}
	}
	return nil
}

// wish is the query to Placement; nil when the three classes of the host itself say it all.
func (d *demand) wish() *placement.Wish {
	plain := len(d.groups) == 1
	for class := range d.groups[""].Resources {
		plain = plain && slices.Contains(own, class)
	}
	if plain {
		return nil
	}
	w := &placement.Wish{Isolate: d.isolate, SameSubtree: d.subtree}
	for _, suffix := range slices.Sorted(maps.Keys(d.groups)) {
		if g := d.groups[suffix]; suffix != "" || len(g.Resources) > 0 {
			w.Groups = append(w.Groups, *g)
		}
	}
	w.SameSubtree = slices.DeleteFunc(w.SameSubtree, func(list []string) bool {
		return slices.ContainsFunc(list, func(suffix string) bool { return d.groups[suffix] == nil || suffix == "" })
	})
	return w
}

// share is what of it the scheduler's table holds against the host itself.
func (d *demand) share() scheduler.Resources {
	r := d.groups[""].Resources
	return scheduler.Resources{VCPUs: int(r[placement.VCPU]), RAMMiB: int(r[placement.MemoryMB]), DiskGiB: int(r[placement.DiskGB])}
}

// words says for people what Placement was asked for.
func (d *demand) words() string {
	var parts []string
	for _, suffix := range slices.Sorted(maps.Keys(d.groups)) {
		g := d.groups[suffix]
		for _, class := range slices.Sorted(maps.Keys(g.Resources)) {
			parts = append(parts, class+"="+strconv.FormatInt(g.Resources[class], 10)+suffix)
		}
		for _, anyOf := range g.Required {
			parts = append(parts, strings.Join(anyOf, "|")+suffix)
		}
		for _, t := range g.Forbidden {
			parts = append(parts, "!"+t+suffix)
		}
	}
	return strings.Join(parts, " ")
}

// askPlacement brings into a scheduling request what only Placement can answer: which hosts' trees can satisfy the server.
func askPlacement(ctx context.Context, tx *db.Tx, s *Server, r *scheduler.Request) error {
	if !asks(s.Flavor.V.ExtraSpecs) && !asks(s.Image.V.Properties) && s.Image.V.Properties["hw_cpu_policy"] == "" {
		return nil
	}
	d, err := s.demands()
	if err != nil {
		return err
	}
	w := d.wish()
	if w == nil {
		return nil
	}
	w.OnePerTree = true
	found, err := placement.Candidates(ctx, tx, *w)
	if err != nil {
		return err
	}
	r.Asked, r.Answered = d.words(), []string{}
	roots := make([]string, len(found))
	for i, c := range found {
		roots[i] = c.Root
	}
	for part := range slices.Chunk(roots, 1000) {
		var names []string
		if err := tx.Select(ctx, &names, `SELECT name FROM hosts WHERE id IN (?)`, part); err != nil {
			return err
		}
		r.Answered = append(r.Answered, names...)
	}
	return nil
}

// claim takes what the server asks for of a host's tree, and of what shares with it.
func (s *Server) claim(ctx context.Context, tx *db.Tx, rootID string) error {
	consumer := placement.Consumer{ID: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, Type: "INSTANCE"}
	if asks(s.Flavor.V.ExtraSpecs) || s.Image.V.Properties["hw_cpu_policy"] != "" || asks(s.Image.V.Properties) {
		d, err := s.demands()
		if err != nil {
			return err
		}
		if w := d.wish(); w != nil {
			w.Tree, w.Limit = rootID, 1
			found, err := placement.Candidates(ctx, tx, *w)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return fault.NoCapacity("provider %s has no room for %s", rootID, d.words())
			}
			return placement.SetAllocations(ctx, tx, []placement.Demand{{Consumer: consumer, Resources: found[0].Resources}})
		}
	}
	r := s.Share()
	return placement.Claim(ctx, tx, consumer, rootID, map[string]int64{placement.VCPU: int64(r.VCPUs), placement.MemoryMB: int64(r.RAMMiB), placement.DiskGB: int64(r.DiskGiB)})
}
