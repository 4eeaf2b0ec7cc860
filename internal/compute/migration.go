package compute

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/placement"
	"nephos/internal/scheduler"
)

// MigrationKind is Nova's migration_type.
type MigrationKind string

// The kinds of migration.
const (
	KindMigration  MigrationKind = "migration"
	KindResize     MigrationKind = "resize"
	KindLive       MigrationKind = "live-migration"
	KindEvacuation MigrationKind = "evacuation"
)

// MigrationStatus is how far a migration is, in Nova's words (states.md section 7 of the API facts).
type MigrationStatus string

// The statuses. Those from MigrationConfirmed on are ends.
const (
	MigrationQueued     MigrationStatus = "queued"
	MigrationAccepted   MigrationStatus = "accepted"
	MigrationPre        MigrationStatus = "pre-migrating"
	MigrationPreparing  MigrationStatus = "preparing"
	MigrationMoving     MigrationStatus = "migrating"
	MigrationRunning    MigrationStatus = "running"
	MigrationPost       MigrationStatus = "post-migrating"
	MigrationFinished   MigrationStatus = "finished" // VERIFY_RESIZE
	MigrationConfirming MigrationStatus = "confirming"
	MigrationReverting  MigrationStatus = "reverting"
	MigrationConfirmed  MigrationStatus = "confirmed"
	MigrationReverted   MigrationStatus = "reverted"
	MigrationCompleted  MigrationStatus = "completed"
	MigrationDone       MigrationStatus = "done"
	MigrationCancelled  MigrationStatus = "cancelled"
	MigrationError      MigrationStatus = "error"
)

// Migration is the move of one server between hosts or flavors. While it is open (Server.MigrationID names it) the server has a share of two hosts: what it
// left is held by the consumer with the migration's UUID, as in Nova, what it goes to by the server's own.
type Migration struct {
	UUID      string            `db:"uuid"`
	ID        int64             `db:"id"` // what older clients know it by
	ServerID  string            `db:"server_id"`
	ProjectID string            `db:"project_id"` // of who asked, as UserID
	UserID    string            `db:"user_id"`
	Kind      MigrationKind     `db:"kind"`
	Status    MigrationStatus   `db:"status"`
	Source    string            `db:"source_host"`
	Dest      string            `db:"dest_host"` // "" while none is chosen
	Want      string            `db:"want_host"` // asked for
	OldFlavor db.JSON[Flavor]   `db:"old_flavor"`
	NewFlavor db.JSON[Flavor]   `db:"new_flavor"`
	OldState  VMState           `db:"old_state"`
	Progress  db.JSON[Transfer] `db:"progress"`
	Created   db.Time           `db:"created_at"`
	Updated   db.Time           `db:"updated_at"`
}

// Transfer is how much of a live migration has moved, in bytes; 0 is unknown.
type Transfer struct {
	MemoryTotal     int64 `json:"memory_total,omitempty"`
	MemoryProcessed int64 `json:"memory_processed,omitempty"`
	MemoryRemaining int64 `json:"memory_remaining,omitempty"`
	DiskTotal       int64 `json:"disk_total,omitempty"`
	DiskProcessed   int64 `json:"disk_processed,omitempty"`
	DiskRemaining   int64 `json:"disk_remaining,omitempty"`
}

// SameHost says that the server does not leave its host.
func (m *Migration) SameHost() bool { return m.Source == m.Dest }

// beginMigration writes the record and ties it to the server. It takes quota for what the new flavor has more than the old one, which is held until the
// migration ends: then what is not needed any more is given back (endQuota).
func (s *Service) beginMigration(ctx context.Context, tx *db.Tx, by By, sv *Server, kind MigrationKind, status MigrationStatus, to Flavor, want string) (*Migration, error) {
	if sv.MigrationID != "" {
		return nil, fault.Conflict("Instance %s has a migration under way", sv.ID)
	}
	if err := s.Quotas.ReserveFor(ctx, tx, sv.ProjectID, spender(ctx, tx, sv.ProjectID, sv.UserID), more(sv.Flavor.V, to)); err != nil {
		return nil, err
	}
	if err := tx.Lock(ctx, "migration-numbers"); err != nil { // two at once must not take one number
		return nil, err
	}
	now := db.Now()
	m := &Migration{UUID: uuid.NewString(), ServerID: sv.ID, ProjectID: by.Creds.ProjectID, UserID: by.Creds.UserID, Kind: kind, Status: status, Source: sv.Host, Want: want,
		OldFlavor: sv.Flavor, NewFlavor: db.AsJSON(to), OldState: sv.VMState, Created: now, Updated: now}
	if err := tx.Get(ctx, &m.ID, `SELECT COALESCE(MAX(id), 0) + 1 FROM migrations`); err != nil {
		return nil, err
	}
	if err := tx.Insert(ctx, "migrations", *m); err != nil {
		return nil, err
	}
	sv.MigrationID = m.UUID
	return m, move(ctx, tx, sv.ID, sv.Epoch, `migration_id = ?`, m.UUID)
}

// more is what to counts beyond from, never less than nothing.
func more(from, to Flavor) map[string]int64 {
	return map[string]int64{"cores": int64(max(0, to.VCPUs-from.VCPUs)), "ram": int64(max(0, to.RAMMiB-from.RAMMiB))}
}

// FindMigration reads a migration by its UUID; fault.KindNotFound otherwise.
func FindMigration(ctx context.Context, tx *db.Tx, id string) (*Migration, error) {
	var m Migration
	err := tx.Get(ctx, &m, `SELECT * FROM migrations WHERE uuid = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Migration %s could not be found.", id)
	}
	return &m, err
}

// OpenMigration is the migration that the server is in; fault.KindNotFound when it is in none.
func OpenMigration(ctx context.Context, tx *db.Tx, s *Server) (*Migration, error) {
	if s.MigrationID == "" {
		return nil, fault.NotFound("Instance %s has no migration under way", s.ID)
	}
	return FindMigration(ctx, tx, s.MigrationID)
}

// SetMigration moves a migration to a status, and to a destination unless dest is empty.
func SetMigration(ctx context.Context, tx *db.Tx, id string, status MigrationStatus, dest string) error {
	_, err := tx.Exec(ctx, `UPDATE migrations SET status = ?, dest_host = CASE WHEN ? = '' THEN dest_host ELSE ? END, updated_at = ? WHERE uuid = ?`, status, dest, dest, db.Now(), id)
	return err
}

// SetProgress notes how much of a live migration has moved. It changes nothing else, and is no promise: the next figure may come from another process.
func SetProgress(ctx context.Context, tx *db.Tx, id string, p Transfer) error {
	_, err := tx.Exec(ctx, `UPDATE migrations SET progress = ?, updated_at = ? WHERE uuid = ? AND status = ?`, db.AsJSON(p), db.Now(), id, MigrationRunning)
	return err
}

// shareOf is what the server takes of a host with a flavor.
func (s *Server) shareOf(f Flavor) scheduler.Resources {
	x := *s
	x.Flavor = db.AsJSON(f)
	return x.Share()
}

// ClaimMove gives the server a share of host with the migration's new flavor, while the migration takes over the share that the server had: both are held
// until one is let go. fault.KindNoCapacity if it does not fit; then nothing has changed.
func ClaimMove(ctx context.Context, tx *db.Tx, h *Hosts, sv *Server, m *Migration, host string) error {
	if err := placement.Transfer(ctx, tx, sv.ID, placement.Consumer{ID: m.UUID, ProjectID: sv.ProjectID, UserID: sv.UserID, Type: "MIGRATION"}); err != nil {
		return err
	}
	to := *sv
	to.Flavor = m.NewFlavor
	if err := ClaimHost(ctx, tx, h, &to, host); err != nil {
		if fault.KindOf(err) != fault.KindNoCapacity {
			return err
		}
		return errors.Join(err, placement.Transfer(ctx, tx, m.UUID, placement.Consumer{ID: sv.ID, ProjectID: sv.ProjectID, UserID: sv.UserID}))
	}
	return nil
}

// LeaveSource ends the migration at its destination: the share of the source is given back, and of the quota what the new flavor does not need.
func LeaveSource(ctx context.Context, tx *db.Tx, h *Hosts, q Quotas, sv *Server, m *Migration, status MigrationStatus) error {
	if err := q.Release(ctx, tx, sv.ProjectID, more(m.NewFlavor.V, m.OldFlavor.V)); err != nil {
		return err
	}
	if err := placement.Release(ctx, tx, m.UUID); err != nil {
		return err
	}
	h.Released(tx, m.Source, sv.shareOf(m.OldFlavor.V), false)
	return closeMigration(ctx, tx, sv, m, status)
}

// LeaveDest ends the migration at its source: the server's share of the destination is given back, if it has one, and that of the source is its own again.
func LeaveDest(ctx context.Context, tx *db.Tx, h *Hosts, q Quotas, sv *Server, m *Migration, status MigrationStatus) error {
	if err := q.Release(ctx, tx, sv.ProjectID, more(m.OldFlavor.V, m.NewFlavor.V)); err != nil {
		return err
	}
	if err := Unclaim(ctx, tx, h, sv, m, false); err != nil {
		return err
	}
	return closeMigration(ctx, tx, sv, m, status)
}

// Unclaim takes ClaimMove back; nothing happens where there was none. building says that the server never became ready there.
func Unclaim(ctx context.Context, tx *db.Tx, h *Hosts, sv *Server, m *Migration, building bool) error {
	held, err := placement.AllocationsOf(ctx, tx, m.UUID)
	if err != nil || len(held) == 0 {
		return err
	}
	if err := placement.Release(ctx, tx, sv.ID); err != nil {
		return err
	}
	h.Released(tx, m.Dest, sv.shareOf(m.NewFlavor.V), building)
	return placement.Transfer(ctx, tx, m.UUID, placement.Consumer{ID: sv.ID, ProjectID: sv.ProjectID, UserID: sv.UserID})
}

// closeMigration unties the record from the server.
func closeMigration(ctx context.Context, tx *db.Tx, sv *Server, m *Migration, status MigrationStatus) error {
	if err := SetMigration(ctx, tx, m.UUID, status, ""); err != nil {
		return err
	}
	sv.MigrationID = ""
	return move(ctx, tx, sv.ID, sv.Epoch, `migration_id = ''`)
}

// Forget gives back all that a server holds of quota and hosts, also what a migration holds for it, since the server goes.
func Forget(ctx context.Context, tx *db.Tx, h *Hosts, q Quotas, sv *Server) error {
	counted := sv.Charge()
	if sv.MigrationID == "" {
		if err := q.Release(ctx, tx, sv.ProjectID, counted); err != nil {
			return err
		}
		return ReleaseClaim(ctx, tx, h, sv)
	}
	m, err := OpenMigration(ctx, tx, sv)
	if err != nil {
		return err
	}
	counted["cores"], counted["ram"] = m.held()
	if err := q.Release(ctx, tx, sv.ProjectID, counted); err != nil {
		return err
	}
	if err := Unclaim(ctx, tx, h, sv, m, false); err != nil {
		return err
	}
	if err := placement.Release(ctx, tx, sv.ID); err != nil {
		return err
	}
	h.Released(tx, m.Source, sv.shareOf(m.OldFlavor.V), false)
	status := MigrationError
	if sv.VMState == Resized {
		status = MigrationConfirmed // as in Nova, where the deletion of a resized server confirms the resize
	}
	return closeMigration(ctx, tx, sv, m, status)
}

// held is the cores and MiB of quota that the server has while the migration is open: of both flavors the larger.
func (m *Migration) held() (cores, ramMiB int64) {
	a, b := m.OldFlavor.V, m.NewFlavor.V
	return int64(max(a.VCPUs, b.VCPUs)), int64(max(a.RAMMiB, b.RAMMiB))
}

// Settle ends whatever migration a server is in where the server now is, for an act that makes an end of everything (a delete, a reset of the state). The copy on the
// other host goes when that host reports it.
func Settle(ctx context.Context, tx *db.Tx, h *Hosts, q Quotas, sv *Server, status MigrationStatus) error {
	if sv.MigrationID == "" {
		return nil
	}
	m, err := OpenMigration(ctx, tx, sv)
	if err != nil {
		return err
	}
	if sv.Host == m.Dest && (m.Source != m.Dest || sv.VMState == Resized) {
		sv.Flavor = m.NewFlavor
		err = LeaveSource(ctx, tx, h, q, sv, m, status)
	} else {
		sv.Flavor = m.OldFlavor
		err = LeaveDest(ctx, tx, h, q, sv, m, status)
	}
	if err != nil {
		return err
	}
	return move(ctx, tx, sv.ID, sv.Epoch, `flavor = ?, flavor_id = ?`, sv.Flavor, sv.Flavor.V.ID)
}

// MigrationFilter selects migrations; zero fields select all.
type MigrationFilter struct {
	Host, Source, Server, Status, Kind, Project, User string
	Since, Before                                     time.Time // of the last change
	Open                                              bool      // under way only
}

// ListMigrations lists migrations, the newest first.
func ListMigrations(ctx context.Context, tx *db.Tx, f MigrationFilter) ([]Migration, error) {
	q := `SELECT * FROM migrations WHERE TRUE`
	var args []any
	for _, c := range []struct{ cond, v string }{{` AND server_id = ?`, f.Server}, {` AND status = ?`, f.Status}, {` AND kind = ?`, f.Kind}, {` AND source_host = ?`, f.Source},
		{` AND project_id = ?`, f.Project}, {` AND user_id = ?`, f.User}} {
		if c.v != "" {
			q, args = q+c.cond, append(args, c.v)
		}
	}
	if f.Host != "" {
		q, args = q+` AND (source_host = ? OR dest_host = ?)`, append(args, f.Host, f.Host)
	}
	if !f.Since.IsZero() {
		q, args = q+` AND updated_at >= ?`, append(args, db.At(f.Since))
	}
	if !f.Before.IsZero() {
		q, args = q+` AND updated_at <= ?`, append(args, db.At(f.Before))
	}
	if f.Open {
		q += ` AND uuid IN (SELECT migration_id FROM servers WHERE migration_id <> '')`
	}
	var out []Migration
	return out, tx.Select(ctx, &out, q+` ORDER BY created_at DESC, id DESC`, args...)
}

// openMigrations are the migrations under way by UUID.
func openMigrations(ctx context.Context, tx *db.Tx) (map[string]*Migration, error) {
	all, err := ListMigrations(ctx, tx, MigrationFilter{Open: true})
	out := make(map[string]*Migration, len(all))
	for i := range all {
		out[all[i].UUID] = &all[i]
	}
	return out, err
}

// Copies are the hosts that may have something of a server beside the one its row names, because it is being moved: by server id.
func Copies(ctx context.Context, tx *db.Tx) (map[string][]string, error) {
	open, err := openMigrations(ctx, tx)
	out := make(map[string][]string, len(open))
	for _, m := range open {
		out[m.ServerID] = []string{m.Source, m.Dest}
	}
	return out, err
}
