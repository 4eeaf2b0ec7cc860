package compute

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// ServerFilter selects, orders and pages servers. Zero fields select everything; all fields must hold together.
type ServerFilter struct {
	ProjectID string // "": every project's
	IDs       []string
	States    []VMState // one of; nil: any
	Tasks     []TaskState
	Deleted   DeletedMode
	Equal     map[string]any // column (of EqualColumns) → value
	Since     time.Time      // changed then or later
	Before    time.Time      // changed then or earlier

	// What SQL cannot say the same way on both databases is looked at in memory, on rows that passed the rest.
	Name, Hostname        *regexp.Regexp
	AllTags, AnyTag       []string
	NotAllTags, NotAnyTag []string
	Keep                  func(ctx context.Context, tx *db.Tx, ids []string) (map[string]bool, error) // nil: all
	Sort                  []SortKey                                                                   // then created_at, id
	Limit                 int                                                                         // 0: none are given
	Marker                string
}

// DeletedMode says whether deleted servers are listed.
type DeletedMode uint8

// The modes.
const (
	Living DeletedMode = iota
	Gone
	Both
)

// SortKey is one column (a value of SortColumns) with its direction.
type SortKey struct {
	Column string
	Desc   bool
}

// SortColumns maps Nova's sort keys to columns; keys of Nova whose value is the same for all servers here map to "".
var SortColumns = map[string]string{"access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6", "auto_disk_config": "disk_config", "availability_zone": "zone",
	"config_drive": "config_drive", "created_at": "created_at", "display_description": "description", "display_name": "name", "host": "host", "hostname": "hostname",
	"image_ref": "image_id", "instance_type_id": "flavor_id", "kernel_id": "", "key_name": "key_name", "launch_index": "launch_index", "launched_at": "launched_at",
	"locked": "locked", "locked_by": "locked_by", "node": "host", "power_state": "power_state", "progress": "", "project_id": "project_id", "ramdisk_id": "",
	"root_device_name": "root_device", "task_state": "task_state", "terminated_at": "terminated_at", "updated_at": "updated_at", "user_id": "user_id", "uuid": "id",
	"vm_state": "vm_state"}

// EqualColumns are the columns that may be compared with a value.
var EqualColumns = []string{"user_id", "host", "image_id", "flavor_id", "key_name", "zone", "config_drive", "reservation_id", "power_state", "locked", "created_at",
	"launched_at", "terminated_at", "group_id"}

// candidate is a row as the filters in memory need it.
type candidate struct {
	ID       string            `db:"id"`
	Name     string            `db:"name"`
	Hostname string            `db:"hostname"`
	Tags     db.JSON[[]string] `db:"tags"`
}

// ListServers lists servers in tx. A marker that does not exist is fault.KindInvalid. It runs one query, or two when a filter needs memory; one more with a marker.
func ListServers(ctx context.Context, tx *db.Tx, f ServerFilter) ([]*Server, error) {
	if f.Limit == 0 || f.IDs != nil && len(f.IDs) == 0 || f.States != nil && len(f.States) == 0 {
		return nil, nil
	}
	where, args, err := f.where()
	if err != nil {
		return nil, err
	}
	order := f.order()
	if f.Marker != "" {
		cond, more, err := after(ctx, tx, order, f.Marker, f.ProjectID)
		if err != nil {
			return nil, err
		}
		where, args = append(where, cond), append(args, more...)
	}
	tail := ""
	if len(where) > 0 {
		tail = " WHERE " + strings.Join(where, " AND ")
	}
	tail += " ORDER BY "
	for i, k := range order {
		if i > 0 {
			tail += ", "
		}
		tail += expr(k.Column) + direction(k.Desc)
	}
	if !f.inMemory() {
		return selectServers(ctx, tx, `SELECT * FROM servers`+tail+` LIMIT ?`, append(args, f.Limit)...)
	}
	var all []candidate
	if err := tx.Select(ctx, &all, `SELECT id, name, hostname, tags FROM servers`+tail, args...); err != nil {
		return nil, err
	}
	ids, err := f.pick(ctx, tx, all)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	rows, err := selectServers(ctx, tx, `SELECT * FROM servers WHERE id IN (?)`, ids)
	at := make(map[string]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	slices.SortFunc(rows, func(a, b *Server) int { return at[a.ID] - at[b.ID] })
	return rows, err
}

func selectServers(ctx context.Context, tx *db.Tx, query string, args ...any) ([]*Server, error) {
	var out []*Server
	err := tx.Select(ctx, &out, query, args...)
	return out, err
}

// where is the part that SQL does. Lists are short (from a query string), so they are written as IN lists.
func (f *ServerFilter) where() (conds []string, args []any, err error) {
	add := func(cond string, v any) { conds, args = append(conds, cond), append(args, v) }
	switch f.Deleted {
	case Living:
		conds = append(conds, "deleted = FALSE")
		if !slices.Contains(f.States, SoftDeleted) { // they are as good as gone
			conds = append(conds, "vm_state <> 'soft-delete'")
		}
	case Gone:
		conds = append(conds, "deleted = TRUE")
	}
	if f.ProjectID != "" {
		add("project_id = ?", f.ProjectID)
	}
	if f.IDs != nil {
		add("id IN (?)", f.IDs)
	}
	if f.States != nil {
		add("vm_state IN (?)", f.States)
		if !slices.ContainsFunc(f.States, func(s VMState) bool { return s != Building && s != Errored }) {
			conds = append(conds, "vm_state IN ('building', 'error')") // says nothing new, but in the words of the index servers_unsettled: a value that is bound does not find it
		}
	}
	if f.Tasks != nil {
		add("task_state IN (?)", f.Tasks)
	}
	for _, c := range EqualColumns {
		if v, ok := f.Equal[c]; ok {
			add(c+" = ?", v)
		}
	}
	if !f.Since.IsZero() {
		add("updated_at >= ?", db.At(f.Since))
	}
	if !f.Before.IsZero() {
		add("updated_at <= ?", db.At(f.Before))
	}
	return conds, args, nil
}

// order is the asked order made total: Nova appends created_at and id in the direction of the first key (descending by default).
func (f *ServerFilter) order() []SortKey {
	out := slices.Clone(f.Sort)
	desc := len(out) == 0 || out[0].Desc
	for _, c := range []string{"created_at", "id"} {
		if !slices.ContainsFunc(out, func(k SortKey) bool { return k.Column == c }) {
			out = append(out, SortKey{c, desc})
		}
	}
	return out
}

// expr is a column as it is sorted by: the only one that may be NULL sorts as empty on both databases.
func expr(column string) string {
	if column == "description" {
		return "COALESCE(description, '')"
	}
	return column
}

func direction(desc bool) string {
	if desc {
		return " DESC"
	}
	return " ASC"
}

// after is the condition "behind the marker in this order": of the first column in which a row differs from the marker, it is on the far side.
// The marker's values are taken inside the query, so no type is lost on the way.
func after(ctx context.Context, tx *db.Tx, order []SortKey, marker, projectID string) (string, []any, error) {
	var project string
	err := tx.Get(ctx, &project, `SELECT project_id FROM servers WHERE id = ?`, marker)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return "", nil, err
	}
	if err != nil || projectID != "" && project != projectID {
		return "", nil, fault.Invalid("marker", "Marker %s could not be found.", marker)
	}
	var parts []string
	var args []any
	same := ""
	for _, k := range order {
		of := `(SELECT ` + expr(k.Column) + ` FROM servers WHERE id = ?)`
		op := " > "
		if k.Desc {
			op = " < "
		}
		n := strings.Count(same, "?")
		for range n + 1 {
			args = append(args, marker)
		}
		parts = append(parts, "("+same+expr(k.Column)+op+of+")")
		same += expr(k.Column) + " = " + of + " AND "
	}
	return "(" + strings.Join(parts, " OR ") + ")", args, nil
}

func (f *ServerFilter) inMemory() bool {
	return f.Name != nil || f.Hostname != nil || f.Keep != nil || len(f.AllTags)+len(f.AnyTag)+len(f.NotAllTags)+len(f.NotAnyTag) > 0
}

// pick applies the filters in memory and the limit.
func (f *ServerFilter) pick(ctx context.Context, tx *db.Tx, all []candidate) ([]string, error) {
	var ids []string
	for _, c := range all {
		if f.matches(&c) {
			ids = append(ids, c.ID)
		}
	}
	if f.Keep != nil && len(ids) > 0 {
		keep, err := f.Keep(ctx, tx, ids)
		if err != nil {
			return nil, err
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return !keep[id] })
	}
	return ids[:min(len(ids), f.Limit)], nil
}

func (f *ServerFilter) matches(c *candidate) bool {
	has := func(tag string) bool { return slices.Contains(c.Tags.V, tag) }
	all := func(tags []string) bool { return !slices.ContainsFunc(tags, func(t string) bool { return !has(t) }) }
	switch {
	case f.Name != nil && !f.Name.MatchString(c.Name),
		f.Hostname != nil && !f.Hostname.MatchString(c.Hostname),
		!all(f.AllTags),
		len(f.AnyTag) > 0 && !slices.ContainsFunc(f.AnyTag, has),
		len(f.NotAllTags) > 0 && all(f.NotAllTags),
		slices.ContainsFunc(f.NotAnyTag, has):
		return false
	}
	return true
}

// FindServer is GetServer that also finds deleted ones.
func FindServer(ctx context.Context, tx *db.Tx, id string) (*Server, error) {
	var s Server
	err := tx.Get(ctx, &s, `SELECT * FROM servers WHERE id = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Instance %s could not be found.", id)
	}
	return &s, err
}

// SetTags replaces a server's tags by what edit makes of them; at most 50 (Nova).
func (s *Service) SetTags(ctx context.Context, by By, id string, edit func([]string) ([]string, error)) ([]string, error) {
	var out []string
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := visible(ctx, tx, by.Creds, id)
		if err != nil {
			return err
		}
		if err := unlocked(sv, by.Creds); err != nil {
			return err
		}
		if out, err = edit(slices.Clone(sv.Tags.V)); err != nil {
			return err
		}
		if len(out) > MaxTags {
			return fault.Invalid("tags", "The number of tags exceeded the per-server limit %d", MaxTags)
		}
		return move(ctx, tx, id, sv.Epoch, `tags = ?`, db.AsJSON(out))
	})
	return out, err
}

// MaxTags is how many tags a server may have.
const MaxTags = 50

// GroupMembers lists the ids of the living members of groups, oldest first.
func GroupMembers(ctx context.Context, tx *db.Tx, groupIDs []string) (map[string][]string, error) {
	out := map[string][]string{}
	if len(groupIDs) == 0 {
		return out, nil
	}
	var rows []struct {
		ID    string `db:"id"`
		Group string `db:"group_id"`
	}
	if err := tx.Select(ctx, &rows, `SELECT id, group_id FROM servers WHERE group_id IN (?) AND deleted = FALSE ORDER BY created_at, id`, groupIDs); err != nil {
		return nil, err
	}
	for _, r := range rows {
		out[r.Group] = append(out[r.Group], r.ID)
	}
	return out, nil
}

// Resident is a server as lists of what a host holds name it.
type Resident struct {
	ID   string `db:"id"`
	Name string `db:"name"`
	Host string `db:"host"`
}

// ResidentsOf lists the servers of hosts; nil hosts mean all.
func ResidentsOf(ctx context.Context, tx *db.Tx, hosts []string) (map[string][]Resident, error) {
	var rows []Resident
	q, args := `SELECT id, name, host FROM servers WHERE deleted = FALSE AND host <> '' ORDER BY created_at, id`, []any(nil)
	if hosts != nil {
		if len(hosts) == 0 {
			return nil, nil
		}
		q, args = `SELECT id, name, host FROM servers WHERE deleted = FALSE AND host IN (?) ORDER BY created_at, id`, []any{hosts}
	}
	if err := tx.Select(ctx, &rows, q, args...); err != nil {
		return nil, err
	}
	out := map[string][]Resident{}
	for _, r := range rows {
		out[r.Host] = append(out[r.Host], r)
	}
	return out, nil
}

// InstanceName is the name by which a hypervisor's own tools know the server (Nova's OS-EXT-SRV-ATTR:instance_name).
func (s *Server) InstanceName() string { return "instance-" + strings.SplitN(s.ID, "-", 2)[0] }

// Power is the power state as it is shown: a server that has no host has none.
func (s *Server) Power() hostapi.PowerState {
	if s.Host == "" {
		return hostapi.PowerNone
	}
	return s.PowerState
}
