package compute

import (
	"context"
	"slices"
	"strconv"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/volume"
	"nephos/internal/workflow"
)

// LiveRequest is the body of os-migrateLive.
type LiveRequest struct {
	Host  string
	Block *bool // nil: auto, which always fits here, since local disks move and there are no shared ones
	Force bool  // 2.30 to 2.67: the host is taken without asking the scheduler's filters
}

// LiveMigrate begins the move of a running or paused server to another host while its guest goes on.
func (s *Service) LiveMigrate(ctx context.Context, by By, id string, r LiveRequest) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := enter(ctx, tx, by, id, ActionLive)
		if err != nil {
			return err
		}
		if err := s.destination(sv, r.Host); err != nil {
			return err
		}
		if !s.Hosts.Up(sv.Host) {
			return fault.Invalid("", "Compute service of %s is unavailable at this time.", sv.Host)
		}
		if r.Host != "" && !s.Hosts.Up(r.Host) {
			return fault.Invalid("host", "Compute service of %s is unavailable at this time.", r.Host)
		}
		devices, err := BlockDevices(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, d := range devices {
			if d.VolumeID != "" {
				return fault.Invalid("", "Server %s has volume %s attached, whose file is on host %s and can be used there alone: it cannot be migrated to another host.", id, d.VolumeID, sv.Host)
			}
		}
		if r.Block != nil && !*r.Block {
			return fault.Invalid("block_migration", "%s is not on shared storage: Live migration can not be used without shared storage except a booted from volume VM which does not have a local disk.", sv.Host)
		}
		m, err := s.beginMigration(ctx, tx, by, sv, KindLive, MigrationAccepted, sv.Flavor.V, r.Host)
		if err != nil {
			return err
		}
		return s.Conductor.BeginLive(ctx, tx, sv, by.subject(), m)
	})
}

// ServerMigration finds a live migration under way of a server by its number or UUID.
func (s *Service) ServerMigration(ctx context.Context, by By, serverID, id string) (*Server, *Migration, error) {
	var sv *Server
	var m *Migration
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if sv, err = visible(ctx, tx, by.Creds, serverID); err != nil {
			return err
		}
		all, err := ListMigrations(ctx, tx, MigrationFilter{Server: serverID})
		if err != nil {
			return err
		}
		for i := range all {
			if all[i].UUID == id || strconv.FormatInt(all[i].ID, 10) == id {
				m = &all[i]
				return nil
			}
		}
		return fault.NotFound("Migration %s for server %s could not be found.", id, serverID)
	})
	return sv, m, err
}

// AbortMigration gives a live migration up; the guest stays where it is. One that is not yet being sent can be given up from 2.65 on (early).
func (s *Service) AbortMigration(ctx context.Context, by By, serverID, id string, early bool) error {
	sv, m, err := s.liveMigration(ctx, by, serverID, id)
	if err != nil {
		return err
	}
	switch m.Status {
	case MigrationRunning:
	case MigrationQueued, MigrationPreparing, MigrationAccepted:
		if early {
			break
		}
		fallthrough
	default:
		return fault.Invalid("", "Migration %s state of instance %s is %s. Cannot abort while the migration is in this state.", id, serverID, m.Status)
	}
	return s.Conductor.AbortLive(ctx, sv, m)
}

// ForceMigration has a live migration come to its end now.
func (s *Service) ForceMigration(ctx context.Context, by By, serverID, id string) error {
	sv, m, err := s.liveMigration(ctx, by, serverID, id)
	if err != nil {
		return err
	}
	if m.Status != MigrationRunning {
		return fault.Invalid("", "Migration %s state of instance %s is %s. Cannot force_complete while the migration is in this state.", id, serverID, m.Status)
	}
	return s.Conductor.ForceLive(ctx, sv, m)
}

func (s *Service) liveMigration(ctx context.Context, by By, serverID, id string) (*Server, *Migration, error) {
	sv, m, err := s.ServerMigration(ctx, by, serverID, id)
	if err != nil {
		return nil, nil, err
	}
	if sv.TaskState != Migrating {
		return nil, nil, fault.Conflict("Cannot '%s' instance %s while it is in task_state %s", "abort_live_migration", serverID, shownTask(sv.TaskState))
	}
	if m.UUID != sv.MigrationID || m.Kind != KindLive {
		return nil, nil, fault.NotFound("Migration %s for server %s could not be found.", id, serverID)
	}
	return sv, m, nil
}

func shownTask(t TaskState) string {
	if t == None {
		return "None"
	}
	return string(t)
}

// MoveProgress takes a host's word on how far a guest has gone.
func (s *Service) MoveProgress(ctx context.Context, p hostapi.MoveProgress) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		var id string
		err := tx.Get(ctx, &id, `SELECT migration_id FROM servers WHERE id = ? AND epoch = ?`, p.Subject, p.Epoch)
		if err != nil || id == "" {
			return nil //nolint:nilerr // a word about a move that has ended
		}
		return SetProgress(ctx, tx, id, Transfer{MemoryTotal: p.MemoryTotal, MemoryProcessed: p.MemoryProcessed, MemoryRemaining: p.MemoryRemaining,
			DiskTotal: p.DiskTotal, DiskProcessed: p.DiskProcessed, DiskRemaining: p.DiskRemaining})
	})
}

// EvacuateRequest is the body of evacuate.
type EvacuateRequest struct {
	Host      string
	AdminPass string
	Force     bool
	Stop      bool // 2.95: the server ends stopped, whatever it was
}

// Evacuate begins a server anew on another host, since its own is down or has been declared so. What its local disks held is lost with the host. An
// admin password is made where none is given, and returned.
func (s *Service) Evacuate(ctx context.Context, by By, id string, r EvacuateRequest) (string, error) {
	pass := r.AdminPass
	if pass == "" {
		pass = randomText(12, passAlphabet)
	}
	return pass, s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := workflow.Lock(ctx, tx, id); err != nil {
			return err
		}
		if was, err := visible(ctx, tx, by.Creds, id); err != nil {
			return err
		} else if was.TaskState == Deleting || was.TaskState == SoftDeleting || was.TaskState == ResizeFinish {
			// A delete that was accepted is done. A server that is on its way to the host that is down has its disks where it comes from, and goes back there.
			return fault.Conflict("Cannot 'evacuate' instance %s while it is in task_state %s", id, was.TaskState)
		}
		sv, err := enter(ctx, tx, by, id, ActionEvacuate)
		if err != nil {
			return err
		}
		switch {
		case r.Host != "" && !s.Hosts.Exists(r.Host):
			return fault.NotFound("Compute host %s not found.", r.Host)
		case r.Host != "" && r.Host == sv.Host:
			return fault.Invalid("host", "The target host can't be the same one.")
		case sv.Host == "":
			return fault.Conflict("Instance %s is not ready: it has no host", id)
		case s.Hosts.Up(sv.Host):
			return fault.Invalid("", "Compute service of %s is still in use.", sv.Host)
		}
		kind, err := s.Conductor.Cancel(ctx, tx, id)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(plugging, func(r ActionRule) bool { return kind == "server."+r.Name }) {
			return fault.Conflict("Cannot 'evacuate' instance %s while %s is under way: it ends within minutes when host %s is down", id, kind, sv.Host)
		}
		if err := Settle(ctx, tx, s.Hosts, s.Quotas, sv, MigrationError); err != nil {
			return err
		}
		if err := AbandonMaking(ctx, tx, s.Images, sv); err != nil {
			return err
		}
		m, err := s.beginMigration(ctx, tx, by, sv, KindEvacuation, MigrationAccepted, sv.Flavor.V, r.Host)
		if err != nil {
			return err
		}
		if r.Stop && m.OldState != Stopped {
			m.OldState = Stopped
			if _, err := tx.Exec(ctx, `UPDATE migrations SET old_state = ? WHERE uuid = ?`, Stopped, m.UUID); err != nil {
				return err
			}
		}
		if err := s.settleDevices(ctx, tx, sv); err != nil {
			return err
		}
		return s.Conductor.BeginEvacuate(ctx, tx, sv, by.subject(), m, pass)
	})
}

// plugging are the actions whose workflows an evacuation does not end. Their last command may reach the host after an evacuation that came to nothing, and the guest there, which is
// the server's again, would have a device of which no row says so.
var plugging = []ActionRule{ruleAttachVolume, ruleDetachVolume, ActionSwapVolume, ruleAttachInterface, ruleDetachInterface}

// settleDevices is for a server whose attaching or detaching of a volume was cancelled: the guest may have either, and the volumes stay the server's until they are detached. A
// server that is being built has its volumes reserved, and is left alone.
func (s *Service) settleDevices(ctx context.Context, tx *db.Tx, sv *Server) error {
	if sv.VMState == Building {
		return nil
	}
	devices, err := BlockDevices(ctx, tx, sv.ID)
	if err != nil {
		return err
	}
	for _, b := range devices {
		if b.VolumeID == "" {
			continue
		}
		v, err := s.Volumes.Get(ctx, tx, b.VolumeID)
		if err != nil {
			return err
		}
		switch v.Status {
		case volume.Reserved, volume.Attaching:
			if sv.Host != "" {
				err = s.Volumes.Attached(ctx, tx, b.VolumeID, b.AttachmentID, sv.Host, b.Device)
			} else if err = s.Volumes.Detach(ctx, tx, b.VolumeID, b.AttachmentID); err == nil {
				_, err = tx.Exec(ctx, `DELETE FROM block_devices WHERE id = ?`, b.ID)
			}
		case volume.Detaching:
			err = s.Volumes.RollDetach(ctx, tx, b.VolumeID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
