package compute

import (
	"context"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// charge is a server's share of its project's quota.
func charge(sv *Server) map[string]int64 {
	return map[string]int64{"instances": 1, "cores": int64(sv.Flavor.V.VCPUs), "ram": int64(sv.Flavor.V.RAMMiB)}
}

// Charge is what the server takes of its project's quota; nil for one that was deleted for later, which takes nothing.
func (s *Server) Charge() map[string]int64 {
	if s.VMState == SoftDeleted {
		return nil
	}
	return charge(s)
}

// deferred says that a delete only marks the server: there is an interval after which it is reclaimed, something to restore, and no second copy on another host.
func (s *Service) deferred(sv *Server) bool {
	return s.ReclaimAfter > 0 && sv.Host != "" && !sv.Launched.IsZero() && sv.VMState != Building && sv.VMState != Errored && sv.MigrationID == ""
}

// softDelete stops the server and hides it until it is restored or reclaimed.
func (s *Service) softDelete(ctx context.Context, tx *db.Tx, by By, sv *Server) error {
	if sv.VMState == SoftDeleted || sv.TaskState == SoftDeleting {
		return nil
	}
	if _, err := s.Conductor.Cancel(ctx, tx, sv.ID); err != nil {
		return err
	}
	if err := AbandonMaking(ctx, tx, s.Images, sv); err != nil {
		return err
	}
	if err := move(ctx, tx, sv.ID, sv.Epoch, `task_state = ?, epoch = epoch + 1`, SoftDeleting); err != nil {
		return err
	}
	sv.Epoch++
	_, err := s.Conductor.BeginAct(ctx, tx, sv, by.subject(), WorkflowSoftDelete, Act{From: sv.VMState})
	return err
}

// Restore brings back a server that was deleted for later, and takes its quota again.
func (s *Service) Restore(ctx context.Context, by By, id string) error {
	_, err := s.begin(ctx, by, id, ActionRestore, func(tx *db.Tx, sv *Server, _ *Act) error {
		if err := s.Quotas.ReserveFor(ctx, tx, sv.ProjectID, spender(ctx, tx, sv.ProjectID, sv.UserID), charge(sv)); err != nil {
			return err
		}
		return move(ctx, tx, id, sv.Epoch, `vm_state = ?`, Stopped) // from here on it is charged for, whatever ends the restore
	})
	return err
}

// reclaimEvery is how often servers that were deleted for later are looked for.
const reclaimEvery = 10 * time.Second

// RunReclaim deletes, until ctx ends, what was deleted for later and not restored in time. Several controllers may do it: the delete's own transaction decides.
func (s *Service) RunReclaim(ctx context.Context) error {
	if s.ReclaimAfter <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := s.Clock.NewTicker(min(reclaimEvery, s.ReclaimAfter))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.Chan():
		}
		if err := s.Reclaim(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("servers deleted for later not reclaimed", "err", err)
		}
	}
}

// Reclaim begins the deletion of every server that was deleted for later longer ago than the interval.
func (s *Service) Reclaim(ctx context.Context) error {
	var due []struct {
		ID        string `db:"id"`
		ProjectID string `db:"project_id"`
		UserID    string `db:"user_id"`
	}
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &due, `SELECT id, project_id, user_id FROM servers WHERE soft_deleted_at > 0 AND soft_deleted_at < ? AND vm_state = 'soft-delete' AND task_state = '' AND deleted = FALSE LIMIT 100`,
			db.At(s.Clock.Now().Add(-s.ReclaimAfter)))
	})
	if err != nil {
		return err
	}
	for _, d := range due {
		if err := s.destroy(ctx, By{Creds: &policy.Credentials{UserID: d.UserID, ProjectID: d.ProjectID, Roles: []string{"admin"}}, RequestID: "req-" + uuid.NewString()}, d.ID, true); err != nil && !fault.IsNotFound(err) {
			s.Log.Warn("server deleted for later not reclaimed", "server", d.ID, "err", err)
		}
	}
	return nil
}
