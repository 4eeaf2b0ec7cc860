package compute

import (
	"context"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
	"nephos/internal/workflow"
)

// The acts that move a server, and where they may start (compute.md section 7 of the API facts).
var (
	ActionResize   = ActionRule{Name: "resize", From: []VMState{Active, Stopped}, Task: ResizePrep}
	ActionMigrate  = ActionRule{Name: "migrate", From: []VMState{Active, Stopped}, Task: ResizePrep}
	ActionConfirm  = ActionRule{Name: "confirmResize", From: []VMState{Resized}, Task: ResizeConfirming}
	ActionRevert   = ActionRule{Name: "revertResize", From: []VMState{Resized}, Task: ResizeReverting}
	ActionLive     = ActionRule{Name: "os-migrateLive", From: []VMState{Active, Paused}, Task: Migrating}
	ActionEvacuate = ActionRule{Name: "evacuate", From: []VMState{Active, Stopped, Errored}, Any: true, Task: Rebuilding}
)

// Mover begins the workflows of moves; part of Conductor. s carries the new epoch and its migration already.
type Mover interface {
	BeginMove(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, m *Migration) error
	BeginConfirm(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, m *Migration) error
	BeginRevert(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, m *Migration) error
	BeginLive(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, m *Migration) error
	BeginEvacuate(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, m *Migration, adminPass string) error
	// AbortLive and ForceLive reach into a live migration that is being sent.
	AbortLive(ctx context.Context, s *Server, m *Migration) error
	ForceLive(ctx context.Context, s *Server, m *Migration) error
}

// Resize begins the change of a server to another flavor. Wrong flavors are refused at once; that no host has room shows in the instance action, as in Nova.
func (s *Service) Resize(ctx context.Context, by By, id, flavorID string, diskConfig *string) error {
	if _, err := s.Get(ctx, by.Creds, id); err != nil {
		return err
	}
	to, err := s.FlavorForBoot(ctx, by.Creds, flavorID)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := enter(ctx, tx, by, id, ActionResize)
		if err != nil {
			return err
		}
		if err := fitsResize(sv, to); err != nil {
			return err
		}
		if diskConfig != nil {
			if err := move(ctx, tx, id, sv.Epoch, `disk_config = ?`, *diskConfig); err != nil {
				return err
			}
		}
		m, err := s.beginMigration(ctx, tx, by, sv, KindResize, MigrationPre, to, "")
		if err != nil {
			return err
		}
		return s.Conductor.BeginMove(ctx, tx, sv, by.subject(), m)
	})
}

// fitsResize is what Nova refuses before it looks for a host.
func fitsResize(sv *Server, to Flavor) error {
	from := sv.Flavor.V
	switch {
	case sv.Host == "":
		return fault.Conflict("Instance %s is not ready: it has no host", sv.ID)
	case to.ID == from.ID:
		return fault.Invalid("flavorRef", "When resizing, instances must change flavor!")
	case to.RootGiB == 0 && from.RootGiB != 0 && !sv.VolumeBooted():
		return fault.Invalid("flavorRef", "Resize to zero disk flavor is not allowed.")
	case to.RAMMiB < sv.Image.V.MinRAMMiB:
		return fault.Invalid("flavorRef", "Flavor's memory is too small for requested image.")
	case !sv.VolumeBooted() && to.RootGiB != 0 && to.RootGiB < sv.Image.V.MinDiskGiB:
		return fault.Invalid("flavorRef", "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is %d bytes, minimum size is %d bytes.",
			int64(to.RootGiB)<<30, int64(sv.Image.V.MinDiskGiB)<<30)
	}
	return to.fits(sv.Image.V.Properties)
}

// Migrate begins the move of a server to another host, host if that is not empty (2.56). It ends in VERIFY_RESIZE.
func (s *Service) Migrate(ctx context.Context, by By, id, host string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := enter(ctx, tx, by, id, ActionMigrate)
		if err != nil {
			return err
		}
		if err := s.destination(sv, host); err != nil {
			return err
		}
		m, err := s.beginMigration(ctx, tx, by, sv, KindMigration, MigrationPre, sv.Flavor.V, host)
		if err != nil {
			return err
		}
		return s.Conductor.BeginMove(ctx, tx, sv, by.subject(), m)
	})
}

// destination checks a host that was asked for.
func (s *Service) destination(sv *Server, host string) error {
	switch {
	case sv.Host == "":
		return fault.Conflict("Instance %s is not ready: it has no host", sv.ID)
	case host == "":
		return nil
	case !s.Hosts.Exists(host):
		return fault.Invalid("host", "Compute host %s could not be found.", host)
	case host == sv.Host:
		return fault.Invalid("host", "The target host can't be the same one.")
	}
	return nil
}

// Confirm ends a resize or cold migration: what was kept for the way back goes.
func (s *Service) Confirm(ctx context.Context, by By, id string) error {
	return s.settle(ctx, by, id, ActionConfirm, MigrationConfirming, s.Conductor.BeginConfirm)
}

// Revert takes a resize or cold migration back: the server is again where and what it was, with the disks of then.
func (s *Service) Revert(ctx context.Context, by By, id string) error {
	return s.settle(ctx, by, id, ActionRevert, MigrationReverting, s.Conductor.BeginRevert)
}

func (s *Service) settle(ctx context.Context, by By, id string, rule ActionRule, status MigrationStatus,
	begin func(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, m *Migration) error) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := enter(ctx, tx, by, id, rule)
		if err != nil {
			return err
		}
		m, err := OpenMigration(ctx, tx, sv)
		if fault.IsNotFound(err) {
			return fault.Invalid("", "Instance has not been resized.")
		}
		if err != nil {
			return err
		}
		if m.Status == MigrationReverting && status != MigrationReverting {
			return fault.Conflict("Instance %s was being reverted and what host %s has of it may be gone: it can only be reverted.", id, m.Dest)
		}
		if err := SetMigration(ctx, tx, m.UUID, status, ""); err != nil {
			return err
		}
		return begin(ctx, tx, sv, by.subject(), m)
	})
}

// ConfirmOld confirms what has waited for window or longer (Nova's resize_confirm_window) and says how many it was.
func (s *Service) ConfirmOld(ctx context.Context, window time.Duration) (int, error) {
	var due []Migration
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		due = nil
		return tx.Select(ctx, &due, `SELECT m.* FROM migrations m JOIN servers s ON s.migration_id = m.uuid WHERE m.status = ? AND m.updated_at <= ? AND s.vm_state = ? AND s.task_state = ''`,
			MigrationFinished, db.At(s.Clock.Now().Add(-window)), Resized)
	})
	if err != nil {
		return 0, err
	}
	done := 0
	for _, m := range due {
		by := By{Creds: &policy.Credentials{UserID: m.UserID, ProjectID: m.ProjectID, Roles: []string{"admin", "member", "reader"}}, RequestID: "req-" + m.UUID}
		if err := s.Confirm(ctx, by, m.ServerID); err != nil { // somebody else may have acted meanwhile
			s.Log.Info("resize not confirmed by itself", "server", m.ServerID, "err", err)
			continue
		}
		done++
	}
	return done, nil
}

// RunConfirm confirms resizes by themselves until ctx ends; window 0 confirms none.
func (s *Service) RunConfirm(ctx context.Context, window time.Duration) error {
	if window <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := s.Clock.NewTicker(max(window/4, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.Chan():
		}
		if _, err := s.ConfirmOld(ctx, window); err != nil && ctx.Err() == nil {
			s.Log.Warn("resizes not confirmed", "err", err)
		}
	}
}
