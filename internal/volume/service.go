package volume

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/image"
	"nephos/internal/policy"
	"nephos/internal/workflow"
)

// HostClient sends commands to agents. fault.KindUnavailable: no answer, ask again.
type HostClient interface {
	Do(ctx context.Context, host string, cmd hostapi.Command) (hostapi.Result, error)
}

// StorageHost is a host as the choice of a place for a volume sees it.
type StorageHost struct {
	Name, Zone          string
	Up, Enabled         bool
	FreeDiskGiB         int
	DiskGiB             int
	Version, LastSignal string // for lists of services: version of the agent, time of the last heartbeat as RFC 3339
}

// Hosts lists the hosts that keep volumes, from memory.
type Hosts interface{ StorageHosts() []StorageHost }

// Images is what the room needs of the image room.
type Images interface {
	Get(ctx context.Context, creds *policy.Credentials, id string) (image.Image, error)
	Spec(ctx context.Context, id string) (hostapi.ImageSpec, error)
}

// Quotas is what the room needs of the quota room; resources are volumes, gigabytes, snapshots and per_volume_gigabytes (a limit only).
type Quotas interface {
	Reserve(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error
	Release(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error
	Limit(ctx context.Context, tx *db.Tx, projectID, resource string) (int64, error)
}

// Deps are the parts a Service is made of.
type Deps struct {
	DB     *db.DB
	Log    *slog.Logger
	Engine *workflow.Engine
	Client HostClient
	Hosts  Hosts
	Images Images
	Quotas Quotas
}

// Service is the verbs. Its methods may be called from any goroutine.
type Service struct {
	Deps
	flows flows
}

// New declares the workflows, registers them with the engine, and makes the Service.
func New(d Deps) *Service {
	s := &Service{Deps: d}
	s.declare()
	return s
}

// By is who asks, and under which request id.
type By struct {
	Creds     *policy.Credentials // nil: the program itself, which may do everything
	RequestID string
}

func (b By) user() string {
	if b.Creds == nil {
		return ""
	}
	return b.Creds.UserID
}

func (b By) subject(id, project string) workflow.Subject {
	return workflow.Subject{ID: id, ProjectID: project, UserID: b.user(), RequestID: b.RequestID}
}

// visible loads a volume that the caller may see: another project's is not found.
func visible(ctx context.Context, tx *db.Tx, by By, id string) (*Volume, error) {
	v, err := getVolume(ctx, tx, id)
	if err == nil && !visibleTo(by.Creds, v.ProjectID) {
		return nil, fault.NotFound("Volume %s could not be found.", id)
	}
	return v, err
}

func visibleSnapshot(ctx context.Context, tx *db.Tx, by By, id string) (*Snapshot, error) {
	sn, err := getSnapshot(ctx, tx, id)
	if err == nil && !visibleTo(by.Creds, sn.ProjectID) {
		return nil, fault.NotFound("Snapshot %s could not be found.", id)
	}
	return sn, err
}

// Show is one volume with its attachment.
func (s *Service) Show(ctx context.Context, by By, id string) (*Volume, error) {
	var v *Volume
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if v, err = visible(ctx, tx, by, id); err != nil {
			return err
		}
		a, err := attachmentOf(ctx, tx, id)
		if a != nil {
			v.Attachments = []Attachment{*a}
		}
		return err
	})
	return v, err
}

// ShowSnapshot is one snapshot.
func (s *Service) ShowSnapshot(ctx context.Context, by By, id string) (sn *Snapshot, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		sn, err = visibleSnapshot(ctx, tx, by, id)
		return err
	})
	return sn, err
}

// Filter picks and orders a list. Empty fields pick everything.
type Filter struct {
	AllProjects bool // honoured for administrators
	ProjectID   string
	Equal       map[string]string // column → value; see volumeColumns, snapshotColumns
	NameLike    string            // substring of the name
	Metadata    map[string]string // all of them must be there
	Sort        []SortKey
	Marker      string // id after which the page begins; unknown: KindNotFound
	Offset      int
	Limit       int // < 0: all
}

// SortKey is one column to order by.
type SortKey struct {
	Key  string
	Desc bool
}

// Columns that clients may filter and sort by, under Cinder's names and here.
var (
	VolumeColumns = map[string]string{"id": "id", "name": "name", "display_name": "name", "status": "status", "size": "size_gib", "availability_zone": "zone",
		"bootable": "bootable", "created_at": "created_at", "updated_at": "updated_at", "host": "host", "user_id": "user_id", "volume_type_id": "type_id",
		"snapshot_id": "snapshot_id", "source_volid": "source_volid"}
	SnapshotColumns = map[string]string{"id": "id", "name": "name", "display_name": "name", "status": "status", "volume_id": "volume_id", "volume_size": "size_gib",
		"size": "size_gib", "created_at": "created_at", "updated_at": "updated_at", "user_id": "user_id"}
)

// where makes the SQL conditions of a filter; prefix is the table's alias.
func (f Filter) where(by By, prefix string, columns map[string]string) (string, []any) {
	cond, args := []string{"1 = 1"}, []any{}
	add := func(c string, a any) { cond, args = append(cond, c), append(args, a) }
	switch {
	case by.Creds == nil || by.Creds.IsAdmin() && f.AllProjects:
		if f.ProjectID != "" {
			add(prefix+"project_id = ?", f.ProjectID)
		}
	default:
		add(prefix+"project_id = ?", by.Creds.ProjectID)
	}
	for key, value := range f.Equal {
		column, ok := columns[key]
		switch {
		case !ok:
		case column == "bootable":
			add(prefix+"bootable = ?", strings.EqualFold(value, "true") || value == "1")
		case column == "size_gib" || strings.HasSuffix(column, "_at"):
			// numbers and times are compared as text, so that a value that is none matches nothing
			add("CAST("+prefix+column+" AS TEXT) = ?", value)
		default:
			add(prefix+column+" = ?", value)
		}
	}
	if f.NameLike != "" {
		add(prefix+`name LIKE ? ESCAPE '\'`, "%"+strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.NameLike)+"%")
	}
	return strings.Join(cond, " AND "), args
}

// order gives the ORDER BY list: newest first unless asked otherwise, the id at last so that pages are stable.
func (f Filter) order(prefix string, columns map[string]string) (string, error) {
	var out []string
	for _, k := range f.Sort {
		column, ok := columns[k.Key]
		if !ok {
			return "", fault.Invalid("sort", "Invalid input received: sort key %q is not known.", k.Key)
		}
		out = append(out, prefix+column+map[bool]string{true: " DESC", false: " ASC"}[k.Desc])
	}
	if len(out) == 0 {
		out = append(out, prefix+"created_at DESC")
	}
	return strings.Join(append(out, prefix+"id DESC"), ", "), nil
}

// page cuts a whole ordered list to what the filter asks for.
func page[T any](f Filter, all []T, id func(*T) string, meta func(*T) map[string]string) (out []T, total int, err error) {
	if len(f.Metadata) > 0 {
		all = slices.DeleteFunc(all, func(x T) bool {
			m := meta(&x)
			for k, want := range f.Metadata {
				if got, ok := m[k]; !ok || got != want {
					return true
				}
			}
			return false
		})
	}
	total = len(all)
	if f.Marker != "" {
		i := slices.IndexFunc(all, func(x T) bool { return id(&x) == f.Marker })
		if i < 0 {
			return nil, 0, fault.NotFound("marker %s could not be found.", f.Marker)
		}
		all = all[i+1:]
	}
	all = all[min(max(f.Offset, 0), len(all)):]
	if f.Limit >= 0 {
		all = all[:min(f.Limit, len(all))]
	}
	return all, total, nil
}

// List gives a page of the volumes the caller may see, and how many there are in all.
func (s *Service) List(ctx context.Context, by By, f Filter) (out []Volume, total int, err error) {
	order, err := f.order("v.", VolumeColumns)
	if err != nil {
		return nil, 0, err
	}
	where, args := f.where(by, "v.", VolumeColumns)
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		var all []Volume
		if err := tx.Select(ctx, &all, selectVolume+`WHERE `+where+` ORDER BY `+order, args...); err != nil {
			return err
		}
		if out, total, err = page(f, all, func(v *Volume) string { return v.ID }, func(v *Volume) map[string]string { return v.Metadata.V }); err != nil || len(out) == 0 {
			return err
		}
		return attach(ctx, tx, out)
	})
	return out, total, err
}

// attach fills the attachments of a list.
func attach(ctx context.Context, tx *db.Tx, list []Volume) error {
	at := map[string]*Volume{}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
		at[list[i].ID] = &list[i]
	}
	for chunk := range slices.Chunk(ids, 500) {
		var found []Attachment
		if err := tx.Select(ctx, &found, `SELECT * FROM volume_attachments WHERE volume_id IN (?)`, chunk); err != nil {
			return err
		}
		for _, a := range found {
			at[a.VolumeID].Attachments = append(at[a.VolumeID].Attachments, a)
		}
	}
	return nil
}

// ListSnapshots gives a page of the snapshots the caller may see, and how many there are in all.
func (s *Service) ListSnapshots(ctx context.Context, by By, f Filter) (out []Snapshot, total int, err error) {
	order, err := f.order("", SnapshotColumns)
	if err != nil {
		return nil, 0, err
	}
	where, args := f.where(by, "", SnapshotColumns)
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		var all []Snapshot
		if err := tx.Select(ctx, &all, `SELECT * FROM volume_snapshots WHERE `+where+` ORDER BY `+order, args...); err != nil {
			return err
		}
		out, total, err = page(f, all, func(v *Snapshot) string { return v.ID }, func(v *Snapshot) map[string]string { return v.Metadata.V })
		return err
	})
	return out, total, err
}

// Zones are the availability zones of the storage hosts, with whether a host of them can take volumes now. Never empty.
func (s *Service) Zones() []Zone {
	up := map[string]bool{}
	for _, h := range s.Hosts.StorageHosts() {
		z := cmp.Or(h.Zone, DefaultZone)
		up[z] = up[z] || h.Up && h.Enabled
	}
	if len(up) == 0 {
		up[DefaultZone] = false
	}
	var out []Zone
	for name, ok := range up {
		out = append(out, Zone{name, ok})
	}
	slices.SortFunc(out, func(a, b Zone) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Zone is one availability zone.
type Zone struct {
	Name      string
	Available bool
}

// DefaultZone is the zone of hosts that name none.
const DefaultZone = "nova"

// choose picks the host for new bytes: up, enabled, of the zone, not tried before, the most free space. Pure but for the list.
func choose(hosts []StorageHost, zone string, sizeGiB int, tried []string) (string, error) {
	best := -1
	for i, h := range hosts {
		if !h.Up || !h.Enabled || cmp.Or(h.Zone, DefaultZone) != zone || slices.Contains(tried, h.Name) {
			continue
		}
		if best < 0 || h.FreeDiskGiB > hosts[best].FreeDiskGiB || h.FreeDiskGiB == hosts[best].FreeDiskGiB && h.Name < hosts[best].Name {
			best = i
		}
	}
	if best < 0 {
		return "", fault.NoCapacity("No valid backend was found. No host of zone %s can take a volume of %d GiB (%d hosts known, %d tried).", zone, sizeGiB, len(hosts), len(tried))
	}
	return hosts[best].Name, nil
}

// Used is what projects really hold, for fsck and the quota room's check: project → resource → amount.
func Used(ctx context.Context, tx *db.Tx) (map[string]map[string]int64, error) {
	out := map[string]map[string]int64{}
	for _, q := range []struct{ text, resource string }{
		{`SELECT project_id, COUNT(*) AS n, COALESCE(SUM(charged_gib), 0) AS gib FROM volumes GROUP BY project_id`, "volumes"},
		{`SELECT project_id, COUNT(*) AS n, COALESCE(SUM(size_gib), 0) AS gib FROM volume_snapshots GROUP BY project_id`, "snapshots"},
	} {
		var rows []struct {
			Project string `db:"project_id"`
			N       int64  `db:"n"`
			GiB     int64  `db:"gib"`
		}
		if err := tx.Select(ctx, &rows, q.text); err != nil {
			return nil, err
		}
		for _, r := range rows {
			if out[r.Project] == nil {
				out[r.Project] = map[string]int64{}
			}
			out[r.Project][q.resource] += r.N
			out[r.Project]["gigabytes"] += r.GiB
		}
	}
	return out, nil
}

// Held is a volume or snapshot whose bytes may lie on a host.
type Held struct {
	ID     string `db:"id"`
	Status Status `db:"status"`
}

// Must says that the bytes are there. What failed to be made, or to be deleted, promises nothing: its status says so, and deleting it again ends it.
func (h Held) Must() bool { return h.Status != Errored && h.Status != ErrorDeleting }

// OnHost lists the volumes and snapshots of a host, for fsck.
func OnHost(ctx context.Context, tx *db.Tx, host string) (volumes, snapshots []Held, err error) {
	if err := tx.Select(ctx, &volumes, `SELECT id, status FROM volumes WHERE host = ? ORDER BY id`, host); err != nil {
		return nil, nil, err
	}
	err = tx.Select(ctx, &snapshots, `SELECT id, status FROM volume_snapshots WHERE host = ? ORDER BY id`, host)
	return volumes, snapshots, err
}
