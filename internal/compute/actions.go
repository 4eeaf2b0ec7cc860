package compute

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/policy"
	"nephos/internal/workflow"
)

// The power actions and where they may start (compute.md §7).
var (
	ActionStart      = ActionRule{Name: "start", From: []VMState{Stopped}, Task: PoweringOn}
	ActionStop       = ActionRule{Name: "stop", From: []VMState{Active, Errored}, Task: PoweringOff}
	ActionReboot     = ActionRule{Name: "reboot", From: []VMState{Active}, Task: Rebooting}
	ActionRebootHard = ActionRule{Name: "reboot-hard", From: []VMState{Active, Stopped, Paused, Suspended, Errored},
		Tasks: []TaskState{Rebooting, RebootingHard, Resuming, Unpausing, Pausing, Suspending}, Task: RebootingHard}
	ActionPause   = ActionRule{Name: "pause", From: []VMState{Active}, Task: Pausing}
	ActionUnpause = ActionRule{Name: "unpause", From: []VMState{Paused}, Task: Unpausing}
	ActionSuspend = ActionRule{Name: "suspend", From: []VMState{Active}, Task: Suspending}
	ActionResume  = ActionRule{Name: "resume", From: []VMState{Suspended}, Task: Resuming}
)

// Rules of acts that are no power actions. Their Task is what marks the server as busy while the workflow runs; Nova shows none for these, and so does the
// API (see api/: a busy server without a shown task).
var (
	ruleAttachVolume    = ActionRule{Name: "attach_volume", From: []VMState{Active, Paused, Stopped, Resized, SoftDeleted}, Task: Busy}
	ruleDetachVolume    = ActionRule{Name: "detach_volume", From: []VMState{Active, Paused, Stopped, Resized, SoftDeleted}, Task: Busy}
	shelvedToo          = []VMState{Active, Paused, Stopped, Resized, SoftDeleted, Shelved, ShelvedOffloaded} // from 2.20 on
	ruleAttachInterface = ActionRule{Name: "attach_interface", From: []VMState{Active, Paused, Stopped}, Task: Busy}
	ruleDetachInterface = ActionRule{Name: "detach_interface", From: []VMState{Active, Paused, Stopped}, Task: Busy}
	ruleMetadata        = ActionRule{Name: "update metadata for", From: []VMState{Active, Paused, Suspended, Stopped}}
)

// Busy is the task state of a device being attached or detached. It is not one of Nova's and is never shown.
const Busy TaskState = "busy"

// By says who acts.
type By struct {
	Creds     *policy.Credentials
	RequestID string
}

func (b By) subject() workflow.Subject {
	return workflow.Subject{UserID: b.Creds.UserID, RequestID: b.RequestID}
}

// Get reads a server that the caller may see: its own project's, or any for an admin; 404 otherwise.
func (s *Service) Get(ctx context.Context, creds *policy.Credentials, id string) (*Server, error) {
	var sv *Server
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		sv, err = visible(ctx, tx, creds, id)
		return err
	})
	return sv, err
}

func visible(ctx context.Context, tx *db.Tx, creds *policy.Credentials, id string) (*Server, error) {
	sv, err := GetServer(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if err := MaySee(creds, sv); err != nil {
		return nil, err
	}
	return sv, nil
}

// MaySee refuses another project's server to all but an admin, as if it were not there.
func MaySee(creds *policy.Credentials, s *Server) error {
	if s.ProjectID != creds.ProjectID && !creds.IsAdmin() {
		return fault.NotFound("Instance %s could not be found.", s.ID)
	}
	return nil
}

// enter opens an action on a server in tx: visible, not locked, in a fit state. It sets the task state and the next epoch, which fences whatever
// older command may still be on its way to the host. The Server returned is as it now is.
func enter(ctx context.Context, tx *db.Tx, by By, id string, rule ActionRule) (*Server, error) {
	if err := workflow.Lock(ctx, tx, id); err != nil {
		return nil, err
	}
	sv, err := visible(ctx, tx, by.Creds, id)
	if err != nil {
		return nil, err
	}
	if err := unlocked(sv, by.Creds); err != nil {
		return nil, err
	}
	if err := fit(sv, rule); err != nil {
		return nil, err
	}
	if err := move(ctx, tx, sv.ID, sv.Epoch, `task_state = ?, epoch = epoch + 1`, rule.Task); err != nil {
		return nil, fault.Conflict("Cannot '%s' instance %s while another request changes it", rule.Name, id).WithCause(err)
	}
	sv.TaskState = rule.Task
	sv.Epoch++
	return sv, nil
}

// fit is the state check with Nova's words.
func fit(sv *Server, rule ActionRule) error {
	if rule.Allows(sv.VMState, sv.TaskState) {
		return nil
	}
	name := rule.Name
	if name == ActionRebootHard.Name {
		name = ActionReboot.Name
	}
	if !rule.Allows(sv.VMState, None) {
		return fault.Conflict("Cannot '%s' instance %s while it is in vm_state %s", name, sv.ID, sv.VMState)
	}
	return fault.Conflict("Cannot '%s' instance %s while it is in task_state %s", name, sv.ID, sv.TaskState)
}

func unlocked(sv *Server, creds *policy.Credentials) error {
	if sv.Locked && !creds.IsAdmin() {
		return fault.Conflict("Instance %s is locked", sv.ID)
	}
	return nil
}

// Power runs one of the power actions. A hard reboot may cut a soft one short.
func (s *Service) Power(ctx context.Context, by By, id string, rule ActionRule) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := enter(ctx, tx, by, id, rule)
		if err != nil {
			return err
		}
		if sv.Host == "" {
			return fault.Conflict("Instance %s is not ready: it has no host", id)
		}
		if len(rule.Tasks) > 0 {
			if _, err := s.Conductor.Cancel(ctx, tx, id); err != nil {
				return err
			}
		}
		return s.Conductor.BeginPower(ctx, tx, sv, by.subject(), rule)
	})
}

// Delete begins the deletion of a server in whatever state, ending what is under way on it. Repeated deletes are accepted. Where deleted servers can be
// restored for a while, it only stops and hides the server.
func (s *Service) Delete(ctx context.Context, by By, id string) error {
	return s.destroy(ctx, by, id, false)
}

// ForceDelete is Delete for good.
func (s *Service) ForceDelete(ctx context.Context, by By, id string) error {
	return s.destroy(ctx, by, id, true)
}

func (s *Service) destroy(ctx context.Context, by By, id string, final bool) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := workflow.Lock(ctx, tx, id); err != nil {
			return err
		}
		sv, err := visible(ctx, tx, by.Creds, id)
		if err != nil {
			return err
		}
		if err := unlocked(sv, by.Creds); err != nil {
			return err
		}
		if sv.TaskState == Deleting {
			return nil
		}
		if !final && s.deferred(sv) {
			return s.softDelete(ctx, tx, by, sv)
		}
		if _, err := s.Conductor.Cancel(ctx, tx, id); err != nil {
			return err
		}
		if err := AbandonMaking(ctx, tx, s.Images, sv); err != nil {
			return err
		}
		if err := move(ctx, tx, id, sv.Epoch, `task_state = ?, epoch = epoch + 1`, Deleting); err != nil {
			return err
		}
		sv.Epoch++
		return s.Conductor.BeginDelete(ctx, tx, sv, by.subject())
	})
}

// Lock keeps everybody but admins from acting on the server.
func (s *Service) Lock(ctx context.Context, by By, id, reason string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := visible(ctx, tx, by.Creds, id)
		if err != nil {
			return err
		}
		who := "owner"
		if by.Creds.IsAdmin() && by.Creds.ProjectID != sv.ProjectID {
			who = "admin"
		}
		return move(ctx, tx, id, sv.Epoch, `locked = ?, locked_by = ?, locked_reason = ?`, true, who, reason)
	})
}

// Unlock takes a lock away; one that an admin set only by an admin.
func (s *Service) Unlock(ctx context.Context, by By, id string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := visible(ctx, tx, by.Creds, id)
		if err != nil {
			return err
		}
		if sv.LockedBy == "admin" && !by.Creds.IsAdmin() {
			return fault.Forbidden("Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed.")
		}
		return move(ctx, tx, id, sv.Epoch, `locked = ?, locked_by = '', locked_reason = ''`, false)
	})
}

// ResetState sets vm_state to active or error and clears the task; an admin's last resort.
func (s *Service) ResetState(ctx context.Context, by By, id string, to VMState) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := workflow.Lock(ctx, tx, id); err != nil {
			return err
		}
		sv, err := visible(ctx, tx, by.Creds, id)
		if err != nil {
			return err
		}
		if _, err := s.Conductor.Cancel(ctx, tx, id); err != nil {
			return err
		}
		back, err := s.callBack(ctx, tx, sv)
		if err != nil {
			return err
		}
		if err := Settle(ctx, tx, s.Hosts, s.Quotas, sv, MigrationError); err != nil {
			return err
		}
		if back {
			if err := s.Networks.Rebind(ctx, tx, id, sv.Host); err != nil {
				return err
			}
		}
		if err := AbandonMaking(ctx, tx, s.Images, sv); err != nil {
			return err
		}
		if sv.VMState == SoftDeleted { // it counts again
			if err := s.Quotas.Reserve(ctx, tx, sv.ProjectID, charge(sv)); err != nil {
				return err
			}
		}
		if err := s.settleDevices(ctx, tx, sv); err != nil {
			return err
		}
		return move(ctx, tx, id, sv.Epoch, `vm_state = ?, task_state = ?, epoch = epoch + 1, soft_deleted_at = 0`, to, None)
	})
}

// callBack names the source of a move again as the server's host while the server is on its way: the only whole copy of its disks is there. What has come to the destination
// goes when that host reports it. Its ports are still to be bound to the source, when true.
func (s *Service) callBack(ctx context.Context, tx *db.Tx, sv *Server) (bool, error) {
	if sv.TaskState != ResizeFinish {
		return false, nil
	}
	m, err := OpenMigration(ctx, tx, sv)
	if err != nil || m.Source == sv.Host {
		return false, err
	}
	sv.Host = m.Source
	return true, move(ctx, tx, sv.ID, sv.Epoch, `host = ?, zone = ?`, m.Source, s.Hosts.Zone(m.Source))
}

// Change is what PUT /servers/{id} may change; nil leaves a field as it is.
type Change struct {
	Name        *string
	Description **string
	Hostname    *string
	AccessIPv4  *string
	AccessIPv6  *string
	DiskConfig  *string
}

// Update changes names and notes of a server.
func (s *Service) Update(ctx context.Context, by By, id string, c Change) (*Server, error) {
	var sv *Server
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if sv, err = visible(ctx, tx, by.Creds, id); err != nil {
			return err
		}
		set(&sv.Name, c.Name)
		set(&sv.Description, c.Description)
		set(&sv.Hostname, c.Hostname)
		set(&sv.AccessIPv4, c.AccessIPv4)
		set(&sv.AccessIPv6, c.AccessIPv6)
		set(&sv.DiskConfig, c.DiskConfig)
		return move(ctx, tx, id, sv.Epoch, `name = ?, description = ?, hostname = ?, access_ip_v4 = ?, access_ip_v6 = ?, disk_config = ?`,
			sv.Name, sv.Description, sv.Hostname, sv.AccessIPv4, sv.AccessIPv6, sv.DiskConfig)
	})
	return sv, err
}

func set[T any](dst *T, v *T) {
	if v != nil {
		*dst = *v
	}
}

// SetMetadata replaces the metadata by what edit makes of it. The host is told afterwards, so that 169.254.169.254 shows it; a host that cannot be
// reached shows the new values after the next start.
func (s *Service) SetMetadata(ctx context.Context, by By, id string, edit func(map[string]string) (map[string]string, error)) (map[string]string, error) {
	var out map[string]string
	var sv *Server
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		// What is edited is the map as it is now: of two edits at once the second sees what the first made.
		if err := tx.Lock(ctx, "server-metadata:"+id); err != nil {
			return err
		}
		if sv, err = visible(ctx, tx, by.Creds, id); err != nil {
			return err
		}
		if err := unlocked(sv, by.Creds); err != nil {
			return err
		}
		if !(ActionRule{From: ruleMetadata.From}).Allows(sv.VMState, None) {
			return fit(sv, ruleMetadata)
		}
		now := make(map[string]string, len(sv.Metadata.V))
		for k, v := range sv.Metadata.V {
			now[k] = v
		}
		if out, err = edit(now); err != nil {
			return err
		}
		limit, err := s.Quotas.Limit(ctx, tx, sv.ProjectID, "metadata_items")
		if err != nil {
			return err
		}
		if limit >= 0 && int64(len(out)) > limit {
			return fault.Quota("Maximum number of metadata items exceeds %d", limit)
		}
		return move(ctx, tx, id, sv.Epoch, `metadata = ?`, db.AsJSON(out))
	})
	if err == nil && sv.Host != "" && s.Hosts.Up(sv.Host) {
		s.tellMetadata(ctx, sv, out)
	}
	return out, err
}

func (s *Service) tellMetadata(ctx context.Context, sv *Server, meta map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, metadataTellTime)
	defer cancel()
	_, err := s.Client.Do(ctx, sv.Host, hostapi.Command{ID: "metadata:" + sv.ID, Subject: sv.ID, Epoch: sv.Epoch, Op: hostapi.OpUpdateMetadata,
		Spec: &hostapi.InstanceSpec{ServerID: sv.ID, Epoch: sv.Epoch, Metadata: hostapi.GuestMetadata{Meta: meta}}})
	if err != nil {
		s.Log.Warn("host not told of new metadata", "server", sv.ID, "host", sv.Host, "err", err)
	}
}

// ConsoleLog reads the guest's serial console from its host.
func (s *Service) ConsoleLog(ctx context.Context, creds *policy.Credentials, id string, bytes int) ([]byte, error) {
	sv, err := s.Get(ctx, creds, id)
	if err != nil {
		return nil, err
	}
	if sv.Host == "" {
		return nil, fault.Conflict("Instance %s is not ready", id)
	}
	return s.Client.Console(ctx, sv.Host, hostapi.ConsoleRequest{ServerID: id, Bytes: bytes})
}
