package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/dataplane"
	"nephos/internal/hostapi"
)

// plug makes the ports of one spec exist. The controller's document may be older than the instance: until a newer one comes, ports, networks and rules are
// taken from the spec (desired).
func (a *Agent) plug(ctx context.Context, spec *hostapi.InstanceSpec) (string, error) {
	if len(spec.NICs) == 0 {
		return "no interfaces", nil
	}
	err := a.render(ctx)
	if err == nil {
		return "", nil
	}
	if errors.Is(err, dataplane.ErrUnfiltered) { // its ports are not switched on: it would run, and reach nobody
		return "", err
	}
	// The plane makes everything it can: an error may be about somebody else's port, which must not keep this server from its own.
	for _, n := range spec.NICs {
		tap, terr := a.cfg.Plane.OpenTap(ctx, n.PortID)
		if terr != nil {
			return "", err
		}
		tap.Close()
	}
	a.cfg.Log.Warn("networking of the host is not whole", "server", spec.ServerID, "err", err)
	return "another port is not whole", nil
}

// unplug takes away ports that no spec has any more. The plane removes what it can: what is wrong with another's port must not keep this server from going. Every later render
// removes what was left, and fsck names it.
func (a *Agent) unplug(ctx context.Context, server string) (string, error) {
	err := a.render(ctx)
	if err == nil || ctx.Err() != nil {
		return "", err
	}
	a.cfg.Log.Warn("networking of the host is not whole", "server", server, "err", err)
	return "another port is not whole", nil
}

// fetchTime bounds the wait for a document. Heartbeats wait with it: a host must not seem dead for an answer that was lost.
const fetchTime = 8 * time.Second

// fetch asks a controller for the newest document.
func (a *Agent) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	var doc hostapi.NetworkDocument
	if err := a.cfg.Bus.Request(ctx, hostapi.SubjectNetworkFetch, hostapi.NetworkFetch{Host: a.cfg.Info.Name}, &doc); err != nil {
		return err
	}
	return a.take(doc)
}

// refetch takes the newest document into force. What goes wrong is mended by the next heartbeat.
func (a *Agent) refetch(ctx context.Context) {
	if a.fetch(ctx) != nil {
		return
	}
	if err := a.render(ctx); err != nil {
		a.cfg.Log.Warn("networking not whole", "err", err)
	}
}

// take makes doc the current document unless a newer one is; it is kept on disk so that a restart needs no controller.
func (a *Agent) take(doc hostapi.NetworkDocument) error {
	a.docFile.Lock() // a pushed and a fetched document must not be written into one another, nor the older over the newer
	defer a.docFile.Unlock()
	a.mu.Lock()
	if doc.Revision < a.doc.Revision {
		a.mu.Unlock()
		return nil
	}
	if a.cfg.Simulated != nil {
		for i := range doc.SecurityGroups {
			doc.SecurityGroups[i].Members = nil
		}
	}
	known := map[string]hostapi.SecurityGroupSpec{}
	for _, g := range a.doc.SecurityGroups {
		known[g.ID] = g
	}
	for i, g := range doc.SecurityGroups { // a change that was told may have overtaken the document
		a.heard(g.MembersAt)
		if k, ok := known[g.ID]; ok && k.MembersAt > g.MembersAt {
			doc.SecurityGroups[i].Members, doc.SecurityGroups[i].MembersAt = k.Members, k.MembersAt
		}
	}
	a.doc = doc
	a.mu.Unlock()
	return a.keepDocument(doc)
}

// keepDocument writes network.json. The caller holds docFile.
func (a *Agent) keepDocument(doc hostapi.NetworkDocument) error {
	if a.cfg.Simulated != nil {
		return nil
	}
	return writeJSON(filepath.Join(a.cfg.StateDir, "network.json"), doc, false)
}

// heard notes the newest MemberChange.
func (a *Agent) heard(revision int64) {
	for {
		old := a.members.Load()
		if revision <= old || a.members.CompareAndSwap(old, revision) {
			return
		}
	}
}

// onMembers takes a change of a group's members.
func (a *Agent) onMembers(ctx context.Context, data []byte) (any, error) {
	var c hostapi.MemberChange
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	a.heard(c.Revision)
	switch changed, err := a.change(c); {
	case err != nil:
		return nil, err
	case changed == missed:
		a.refetch(ctx)
	case changed == done:
		return nil, a.render(ctx)
	}
	return nil, nil
}

// outcome of a change of members.
type outcome int

const (
	nothing outcome = iota // another host's business, or already known
	done
	missed // the members are not what they should be
)

// change applies c to the document in force. Adding and removing may be repeated; the sum tells whether the outcome is whole.
func (a *Agent) change(c hostapi.MemberChange) (outcome, error) {
	a.docFile.Lock()
	defer a.docFile.Unlock()
	a.mu.Lock()
	i := slices.IndexFunc(a.doc.SecurityGroups, func(g hostapi.SecurityGroupSpec) bool { return g.ID == c.GroupID })
	if i < 0 || a.doc.SecurityGroups[i].MembersAt >= c.Revision {
		a.mu.Unlock()
		return nothing, nil
	}
	members := joined(without(a.doc.SecurityGroups[i].Members, c.Removed), c.Added)
	if hostapi.SumOf(members) != c.Sum {
		a.mu.Unlock()
		return missed, nil
	}
	a.doc.SecurityGroups = slices.Clone(a.doc.SecurityGroups) // renderings read the old one
	a.doc.SecurityGroups[i].Members, a.doc.SecurityGroups[i].MembersAt = members, c.Revision
	doc := a.doc
	a.mu.Unlock()
	return done, a.keepDocument(doc)
}

func (a *Agent) loadDocument() error {
	var doc hostapi.NetworkDocument
	err := readJSON(filepath.Join(a.cfg.StateDir, "network.json"), &doc)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil { // it can always be fetched again
		a.cfg.Log.Warn("kept network document cannot be read", "err", err)
		return nil
	}
	a.mu.Lock()
	a.doc = doc
	a.mu.Unlock()
	return nil
}

// onNetwork takes a pushed document.
func (a *Agent) onNetwork(ctx context.Context, data []byte) (any, error) {
	var doc hostapi.NetworkDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if err := a.take(doc); err != nil {
		return nil, err
	}
	if err := a.render(ctx); err != nil {
		return hostapi.NetworkAck{Revision: a.applied.Load(), Err: fault.Reason(err)}, nil
	}
	return hostapi.NetworkAck{Revision: a.applied.Load()}, nil
}

// renderTime bounds one rendering, whoever waits for it.
const renderTime = 2 * time.Minute

// round is one rendering that callers wait for.
type round struct {
	done chan struct{}
	err  error // valid when done is closed
}

// render makes the host match the document joined with the instances that are here. Callers that come while one rendering is under way share the next. What is
// desired is worked out only when the one before has ended: were it done earlier, a caller who is slow to hand it over could take away the ports of an
// instance that came meanwhile. A rendering does not end with the caller's ctx, since others wait for it.
func (a *Agent) render(ctx context.Context) error {
	a.renders.mu.Lock()
	if a.renders.next == nil {
		a.renders.next = &round{done: make(chan struct{})}
	}
	r := a.renders.next
	if !a.renders.running {
		a.renders.running = true
		go a.renderRounds() // ends with the last round; a closed plane refuses at once
	}
	a.renders.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Agent) renderRounds() {
	for {
		a.renders.mu.Lock()
		r := a.renders.next
		a.renders.next = nil
		a.renders.running = r != nil
		a.renders.mu.Unlock()
		if r == nil {
			return
		}
		r.err = a.renderNow()
		close(r.done)
	}
}

func (a *Agent) renderNow() error {
	ctx, cancel := context.WithTimeout(context.Background(), renderTime)
	defer cancel()
	doc := a.desired()
	if err := a.cfg.Plane.Apply(ctx, doc); err != nil {
		return err
	}
	a.applied.Store(doc.Revision) // revisions only grow, and rounds follow one another
	return nil
}

// desired joins the controller's document with the NICs of the instances on this host. Of two versions of a port or network the newer is used. Ports
// of servers that are not here are left out, whatever the document says: they have gone, or are not yet. Local ports count as members
// of their groups at once, so that two new neighbours reach each other before the next document.
func (a *Agent) desired() hostapi.NetworkDocument {
	a.mu.Lock()
	defer a.mu.Unlock()
	doc := a.doc
	ports := map[string]hostapi.PortSpec{}
	nets := map[string]hostapi.NetworkSpec{}
	for _, n := range doc.Networks {
		nets[n.ID] = n
	}
	known := map[string]hostapi.PortSpec{}
	for _, p := range doc.Ports {
		known[p.ID] = p
		if p.ServerID == "" {
			ports[p.ID] = p
		}
	}
	members := map[string][]string{}
	groups := map[string]hostapi.SecurityGroupSpec{}
	for _, in := range a.instances {
		spec := in.plugged()
		if spec == nil {
			continue
		}
		for _, n := range spec.NICs {
			p := n.Port
			if k, ok := known[p.ID]; ok && k.Revision >= p.Revision {
				p = k
			}
			p.ServerID, p.In, p.Out = spec.ServerID, spec.Limits.In, spec.Limits.Out
			ports[p.ID] = p
			if old, ok := nets[n.Network.ID]; !ok || old.Revision < n.Network.Revision {
				nets[n.Network.ID] = n.Network
			}
			for _, g := range n.Groups {
				groups[g.ID] = g
			}
			for _, g := range p.SecurityGroups {
				for _, addr := range p.Addresses {
					members[g] = append(members[g], addr.IP)
				}
			}
		}
	}
	used := map[string]bool{}
	for _, p := range ports {
		used[p.NetworkID] = true
	}
	for _, r := range doc.Routers {
		if r.Gateway != nil {
			used[r.Gateway.NetworkID] = true
		}
		for _, i := range r.Interfaces {
			used[i.NetworkID] = true
		}
	}
	doc.Ports = sorted(ports, func(p hostapi.PortSpec) string { return p.ID })
	doc.Networks = slices.DeleteFunc(sorted(nets, func(n hostapi.NetworkSpec) string { return n.ID }), func(n hostapi.NetworkSpec) bool { return !used[n.ID] })
	for _, g := range doc.SecurityGroups { // the document's are the newer ones
		groups[g.ID] = g
	}
	doc.SecurityGroups = sorted(groups, func(g hostapi.SecurityGroupSpec) string { return g.ID })
	for i, g := range doc.SecurityGroups {
		if extra := members[g.ID]; len(extra) > 0 {
			doc.SecurityGroups[i].Members = joined(g.Members, extra)
		}
	}
	return doc
}

func sorted[T any](m map[string]T, key func(T) string) []T {
	return slices.SortedFunc(maps.Values(m), func(x, y T) int { return cmp.Compare(key(x), key(y)) })
}

// joined is the sorted list with more addresses, without repetitions; the list itself where it has them all, as the controller's normally does. A group may have thousands
// of members, and every build renders.
func joined(list, extra []string) []string {
	var missing []string
	for _, addr := range extra {
		if _, found := slices.BinarySearch(list, addr); !found {
			missing = append(missing, addr)
		}
	}
	if len(missing) == 0 {
		return list
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	all := make([]string, 0, len(list)+len(missing))
	for _, addr := range missing {
		n, _ := slices.BinarySearch(list, addr)
		all = append(append(all, list[:n]...), addr)
		list = list[n:]
	}
	return append(all, list...)
}

// without is the sorted list without some addresses; the list itself where it has none of them.
func without(list, gone []string) []string {
	drop := map[int]bool{}
	for _, addr := range gone {
		if n, found := slices.BinarySearch(list, addr); found {
			drop[n] = true
		}
	}
	if len(drop) == 0 {
		return list
	}
	out := make([]string, 0, len(list)-len(drop))
	for n, addr := range list {
		if !drop[n] {
			out = append(out, addr)
		}
	}
	return out
}
