package app

import (
	"context"
	"fmt"
	"slices"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/placement"
	"nephos/internal/quota"
	"nephos/internal/volume"
	"nephos/internal/workflow"
)

// FsckReport is what Fsck found: a sentence per problem, and how much it looked at.
type FsckReport struct {
	Problems []string       `json:"problems"`
	Checked  map[string]int `json:"checked"`
}

// world is what SQL says should exist, read at one moment.
type world struct {
	servers map[string]serverRow
	active  map[string]string        // subjects with a workflow under way → kind
	volumes map[string][]volume.Held // by host
	snaps   map[string][]volume.Held
	ports   map[string]portRow
	nets    map[string]bool
	routers map[string]bool
	copies  map[string][]string // server → hosts that a migration under way ties it to
	moves   map[string]bool     // migrations under way: they hold shares
	backing map[string]bool     // servers whose revert was begun: their host may have let go of them
}

type serverRow struct {
	ID      string            `db:"id"`
	Project string            `db:"project_id"`
	Host    string            `db:"host"`
	VMState compute.VMState   `db:"vm_state"`
	Task    compute.TaskState `db:"task_state"`
}

type portRow struct{ Device, Host string }

// Fsck holds the rows against each other and against what every host really has, and names whatever has no owner. What belongs to an operation under
// way is not judged. It changes nothing.
func (c *controller) Fsck(ctx context.Context) (FsckReport, error) {
	r := FsckReport{Problems: []string{}, Checked: map[string]int{}}
	w, problems, err := c.fsckRows(ctx)
	if err != nil {
		return r, err
	}
	r.Problems = append(r.Problems, problems...)
	for _, h := range c.registry.Rows() {
		if !c.registry.Up(h.Name) {
			r.Problems = append(r.Problems, fmt.Sprintf("host %s is down: what it holds was not looked at", h.Name))
			continue
		}
		inv, err := c.hosts.Inventory(ctx, h.Name)
		if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("host %s: %v", h.Name, err))
			continue
		}
		r.Checked["hosts"]++
		r.Checked["instances on hosts"] += len(inv.Instances)
		r.Problems = append(r.Problems, checkHost(inv, &w)...)
	}
	found, copies, err := c.images.Check(ctx)
	if err != nil {
		return r, err
	}
	r.Problems = append(r.Problems, found...)
	r.Checked["image copies"] = copies
	r.Checked["servers"], r.Checked["ports"] = len(w.servers), len(w.ports)
	for _, ids := range w.volumes {
		r.Checked["volumes"] += len(ids)
	}
	for _, ids := range w.snaps {
		r.Checked["snapshots"] += len(ids)
	}
	return r, nil
}

// fsckRows reads what SQL says and holds the rows against each other, at one moment.
func (c *controller) fsckRows(ctx context.Context) (w world, problems []string, err error) {
	err = c.db.Read(ctx, func(tx *db.Tx) (err error) {
		problems = nil
		if w, err = c.readWorld(ctx, tx); err != nil {
			return err
		}
		for _, check := range []func(context.Context, *db.Tx, *world) ([]string, error){c.checkClaims, c.checkQuotas, c.checkPorts, c.checkStuck} {
			found, err := check(ctx, tx, &w)
			if err != nil {
				return err
			}
			problems = append(problems, found...)
		}
		return nil
	})
	return w, problems, err
}

func (c *controller) readWorld(ctx context.Context, tx *db.Tx) (world, error) {
	w := world{servers: map[string]serverRow{}, volumes: map[string][]volume.Held{}, snaps: map[string][]volume.Held{}, ports: map[string]portRow{}, nets: map[string]bool{}, routers: map[string]bool{}}
	var servers []serverRow
	if err := tx.Select(ctx, &servers, `SELECT id, project_id, host, vm_state, task_state FROM servers WHERE deleted = FALSE`); err != nil {
		return w, err
	}
	for _, s := range servers {
		w.servers[s.ID] = s
	}
	var err error
	if w.copies, err = compute.Copies(ctx, tx); err != nil {
		return w, err
	}
	open, err := compute.ListMigrations(ctx, tx, compute.MigrationFilter{Open: true})
	if err != nil {
		return w, err
	}
	w.moves, w.backing = map[string]bool{}, map[string]bool{}
	for _, m := range open {
		w.moves[m.UUID] = true
		w.backing[m.ServerID] = m.Status == compute.MigrationReverting
	}
	if w.active, err = workflow.ActiveSubjects(ctx, tx); err != nil {
		return w, err
	}
	for _, h := range c.registry.Rows() {
		if w.volumes[h.Name], w.snaps[h.Name], err = volume.OnHost(ctx, tx, h.Name); err != nil {
			return w, err
		}
	}
	ports, err := c.networks.Owned(ctx, tx)
	if err != nil {
		return w, err
	}
	for _, p := range ports {
		w.ports[p.PortID] = portRow{p.ServerID, p.Host}
	}
	return w, nil
}

// checkClaims: every consumer is a live server with a host and takes exactly its share; sums agree.
func (c *controller) checkClaims(ctx context.Context, tx *db.Tx, w *world) ([]string, error) {
	out, err := placement.Check(ctx, tx)
	if err != nil {
		return nil, err
	}
	consumers, err := placement.Consumers(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, id := range consumers {
		s, ok := w.servers[id]
		switch {
		case w.moves[id]:
		case !ok:
			out = append(out, fmt.Sprintf("placement: consumer %s has allocations but is no server", id))
		case s.Host == "" && w.active[id] == "":
			out = append(out, fmt.Sprintf("placement: server %s has allocations but no host", id))
		}
	}
	for _, s := range w.servers {
		if s.Host != "" && !slices.Contains(consumers, s.ID) {
			out = append(out, fmt.Sprintf("placement: server %s is on host %s without an allocation", s.ID, s.Host))
		}
	}
	return out, nil
}

// checkQuotas: what projects are charged is what exists.
func (c *controller) checkQuotas(ctx context.Context, tx *db.Tx, _ *world) ([]string, error) {
	real := quota.Count{}
	add := func(project, resource string, n int64) {
		if real[project] == nil {
			real[project] = map[string]int64{}
		}
		real[project][resource] += n
	}
	used, err := compute.Held(ctx, tx)
	if err != nil {
		return nil, err
	}
	nets, err := c.networks.Held(ctx, tx)
	if err != nil {
		return nil, err
	}
	vols, err := volume.Used(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, room := range []map[string]map[string]int64{used, nets, vols} {
		for project, m := range room {
			for resource, n := range m {
				add(project, resource, n)
			}
		}
	}
	return c.quotas.Check(ctx, tx, []string{"instances", "cores", "ram", "server_groups", "network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule",
		"volumes", "gigabytes", "snapshots"}, real)
}

// checkPorts: a port made for a server has that server.
func (c *controller) checkPorts(_ context.Context, _ *db.Tx, w *world) ([]string, error) {
	var out []string
	for id, p := range w.ports {
		if _, ok := w.servers[p.Device]; !ok {
			out = append(out, fmt.Sprintf("network: port %s belongs to server %s, which does not exist", id, p.Device))
		}
	}
	return out, nil
}

// checkStuck: a task without a workflow would never end.
func (c *controller) checkStuck(_ context.Context, _ *db.Tx, w *world) ([]string, error) {
	var out []string
	for _, s := range w.servers {
		if (s.Task != compute.None || s.VMState == compute.Building) && w.active[s.ID] == "" {
			out = append(out, fmt.Sprintf("compute: server %s is in %s/%s and nothing works on it", s.ID, s.VMState, s.Task))
		}
	}
	return out, nil
}

// checkHost holds one host's things against the rows.
func checkHost(inv hostapi.Inventory, w *world) []string {
	var out []string
	bad := func(format string, args ...any) {
		out = append(out, "host "+inv.Host+": "+fmt.Sprintf(format, args...))
	}
	for _, p := range inv.Problems {
		bad("%s", p)
	}
	for _, id := range inv.Instances {
		s, ok := w.servers[id]
		if w.active[id] == "" && (!ok || s.Host != inv.Host && !slices.Contains(w.copies[id], inv.Host)) {
			bad("instance %s has no server here", id)
		}
	}
	for _, s := range w.servers {
		// One in ERROR promises no machine: a delete may have failed after the machine went. Its fault says what happened, and deleting it again ends it.
		if s.Host == inv.Host && w.active[s.ID] == "" && s.VMState != compute.Errored && !w.backing[s.ID] && !slices.Contains(inv.Instances, s.ID) {
			bad("server %s should be here and is not", s.ID)
		}
	}
	for _, p := range inv.Processes {
		if _, ok := w.servers[p.ServerID]; !ok && w.active[p.ServerID] == "" {
			bad("process %d runs guest %s, which has no server", p.PID, p.ServerID)
		}
	}
	for _, d := range inv.Ports {
		p, ok := w.ports[d.ID]
		if !ok || w.active[p.Device] == "" && p.Host != inv.Host {
			bad("device %s belongs to port %q, which is not here", d.Name, d.ID)
		}
	}
	files := func(what string, have []string, rows []volume.Held) {
		for _, id := range have {
			if w.active[id] == "" && !slices.ContainsFunc(rows, func(h volume.Held) bool { return h.ID == id }) {
				bad("%s %s has files and no row", what, id)
			}
		}
		for _, h := range rows {
			if w.active[h.ID] == "" && h.Must() && !slices.Contains(have, h.ID) {
				bad("%s %s has a row and no files", what, h.ID)
			}
		}
	}
	files("volume", inv.Volumes, w.volumes[inv.Host])
	files("snapshot", inv.Snapshots, w.snaps[inv.Host])
	return out
}
