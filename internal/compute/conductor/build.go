package conductor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// maxHosts is how many hosts a build tries (Nova's scheduler max_attempts).
const maxHosts = 3

// buildState is what a build remembers between steps.
type buildState struct {
	Host  string   `json:"host"`
	Epoch int64    `json:"epoch"`
	Tried []string `json:"tried,omitempty"` // hosts that failed
	Why   string   `json:"why,omitempty"`   // what the last of them said
	// Volumes says that the server has volumes: a build without skips all that is about them.
	Volumes bool `json:"volumes,omitempty"`
}

// declareBuild is the creation of a server after its rows are committed. Normally the first step was done by the creating transaction itself.
func (c *Conductor) declareBuild() *workflow.Definition[buildState] {
	return &workflow.Definition[buildState]{
		Kind:     "server.create",
		Deadline: 15 * time.Minute,
		Steps: []workflow.Step[buildState]{
			{Name: "schedule", Commit: c.claimHost, UndoCommit: c.releaseHost},
			{Name: "volumes", Do: c.makeVolumes, Undo: c.unmakeVolumes},
			{Name: "spawn", Do: c.spawn, Commit: c.activate, Undo: c.destroySpawned},
		},
		Fail: c.buildFailed,
	}
}

// BeginBuild implements compute.Conductor. What the transaction has in its hands is kept in memory for the first spawn, which normally follows at once in
// this process; whoever goes on after a crash reads it from the rows.
func (c *Conductor) BeginBuild(ctx context.Context, tx *db.Tx, s *compute.Server, b compute.Build) error {
	by := workflow.Subject{ID: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, RequestID: b.RequestID}
	state := buildState{Epoch: s.Epoch, Volumes: slices.ContainsFunc(b.Devices, func(d compute.BlockDevice) bool { return d.VolumeID != "" })}
	if b.Placed == nil {
		_, err := workflow.Begin(ctx, tx, c.Engine, c.build, by, state, 0)
		return err
	}
	state.Host = b.Placed.Host
	next := c.build.Index("volumes")
	if !state.Volumes {
		next = c.build.Index("spawn")
		spec, err := makeSpec(s, b.NICs, b.Devices, nil)
		if err != nil {
			return err
		}
		tx.OnCommit(func() { c.fresh.put(spec) })
	}
	e := workflow.Entry{Step: "schedule", Host: b.Placed.Host, Started: b.Placed.Started, Finished: b.Placed.Finished, Detail: b.Placed.Explain}
	_, err := workflow.Begin(ctx, tx, c.Engine, c.build, by, state, next, e)
	return err
}

// claimHost chooses a host among those not yet tried and takes the server's share there, in one transaction. The epoch grows with each host, so that the
// one before can do nothing more for this server.
func (c *Conductor) claimHost(ctx context.Context, tx *db.Tx, r *workflow.Run[buildState]) error {
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	tied, err := c.tiedHost(ctx, tx, s)
	if err != nil {
		return err
	}
	exclude := slices.Clone(r.State.Tried)
	for {
		req, err := compute.ScheduleRequest(ctx, tx, s, tied, exclude)
		if err != nil {
			return err
		}
		choice := c.Hosts.Schedule(req, 1)[0]
		r.Explain(choice.Explanation.String())
		if choice.Host == "" {
			if len(r.State.Tried) > 0 {
				return fault.NoCapacity("Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance %s. The last of them said: %s. %s", s.ID, r.State.Why, choice.Explanation.String())
			}
			return fault.NoCapacity("%s", choice.Explanation.String())
		}
		if err := compute.ClaimHost(ctx, tx, c.Hosts, s, choice.Host); err != nil {
			if fault.KindOf(err) != fault.KindNoCapacity {
				return err
			}
			exclude = append(exclude, choice.Host) // the snapshot was stale about it; the registry catches up by itself
			continue
		}
		if err := compute.Move(ctx, tx, s.ID, s.Epoch, `host = ?, zone = ?, task_state = ?, epoch = ?`, choice.Host, c.Hosts.Zone(choice.Host), compute.Scheduling, s.Epoch+1); err != nil {
			return err
		}
		r.OnHost(choice.Host)
		r.State.Host, r.State.Epoch = choice.Host, s.Epoch+1
		return c.Networks.Rebind(ctx, tx, s.ID, choice.Host)
	}
}

// tiedHost is where the server's existing volumes lie; "" if nothing ties it.
func (c *Conductor) tiedHost(ctx context.Context, tx *db.Tx, s *compute.Server) (string, error) {
	devices, err := compute.BlockDevices(ctx, tx, s.ID)
	if err != nil {
		return "", err
	}
	for _, b := range devices {
		if b.VolumeID == "" {
			continue
		}
		v, err := c.Volumes.Get(ctx, tx, b.VolumeID)
		if err != nil {
			return "", err
		}
		if v.Host != "" {
			return v.Host, nil
		}
		if b.SnapshotID != "" {
			sn, err := c.Volumes.Snapshot(ctx, tx, b.SnapshotID)
			if err != nil {
				return "", err
			}
			return sn.Host, nil
		}
	}
	return "", nil
}

// releaseHost gives the claim back and remembers the host as tried.
func (c *Conductor) releaseHost(ctx context.Context, tx *db.Tx, r *workflow.Run[buildState]) error {
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	if err := compute.ReleaseClaim(ctx, tx, c.Hosts, s); err != nil {
		return err
	}
	host := r.State.Host
	r.OnHost(host)
	r.State.Host, r.State.Tried = "", append(slices.Clone(r.State.Tried), host)
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `host = ?, task_state = ?`, "", compute.Scheduling)
}

// makeVolumes makes the bytes of the volumes that the request asked to be created, on the chosen host.
func (c *Conductor) makeVolumes(ctx context.Context, r *workflow.Run[buildState]) error {
	if !r.State.Volumes {
		return nil
	}
	r.OnHost(r.State.Host)
	var devices []compute.BlockDevice
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		devices, err = compute.BlockDevices(ctx, tx, r.Subject)
		return err
	})
	if err != nil {
		return err
	}
	for _, b := range devices {
		if !b.CreatedVolume {
			continue
		}
		started := db.Now()
		if err := c.Volumes.Provision(ctx, b.VolumeID, r.State.Host); err != nil {
			return fault.Conflict("Build of instance %s aborted: volume %s: %s", r.Subject, b.VolumeID, fault.Message(err)).WithCause(err)
		}
		r.Record(workflow.Entry{Step: "volume " + b.VolumeID, Started: started, Finished: db.Now()})
	}
	return nil
}

// unmakeVolumes takes the bytes of those volumes off the host again: the next host needs them on its own disk.
func (c *Conductor) unmakeVolumes(ctx context.Context, r *workflow.Run[buildState]) error {
	var devices []compute.BlockDevice
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		devices, err = compute.BlockDevices(ctx, tx, r.Subject)
		return err
	})
	for _, b := range devices {
		if err == nil && b.CreatedVolume {
			err = c.Volumes.Unprovision(ctx, b.VolumeID)
		}
	}
	return err
}

// spawn has the host build the machine. A host that cannot sends the workflow back to the scheduler; what cannot work anywhere ends it.
func (c *Conductor) spawn(ctx context.Context, r *workflow.Run[buildState]) error {
	r.OnHost(r.State.Host)
	spec, forced, err := c.buildSpec(ctx, r)
	if err != nil {
		return err
	}
	res, err := c.command(ctx, r.State.Host, hostapi.Command{ID: r.CommandID("spawn"), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: hostapi.OpBuild, Spec: spec, Trace: r.RequestID})
	if err == nil {
		r.Record(parts(res)...)
		err = hostError(res)
	}
	if err == nil {
		return nil
	}
	var down *hostDown
	if !forced && len(r.State.Tried)+1 < maxHosts && (errors.As(err, &down) || res.ErrKind == hostapi.ErrHost) {
		c.Hosts.BuildFailed(r.State.Host)
		if r.State.Why = fault.Message(err); down != nil {
			r.State.Why = down.Error()
		}
		return &workflow.Back{To: "schedule", Err: fault.Conflict("Build of instance %s was re-scheduled: %v", r.Subject, err)}
	}
	if errors.As(err, &down) {
		return fault.Conflict("%v", err)
	}
	return err
}

// buildSpec is the spec kept by BeginBuild, or one made from the rows. forced says that no other host may be tried.
func (c *Conductor) buildSpec(ctx context.Context, r *workflow.Run[buildState]) (spec *hostapi.InstanceSpec, forced bool, err error) {
	if spec := c.fresh.take(r.Subject, r.State.Epoch); spec != nil {
		return spec, spec.ForcedHost, nil
	}
	s, err := c.load(ctx, r.Subject, r.State.Epoch)
	if err != nil {
		return nil, false, err
	}
	spec, err = c.spec(ctx, s)
	return spec, s.ForcedHost != "", err
}

// activate makes the server ACTIVE in the transaction that records the spawn.
func (c *Conductor) activate(ctx context.Context, tx *db.Tx, r *workflow.Run[buildState]) error {
	if err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, launched_at = ?, admin_pass = '', personality = '[]'`,
		compute.Active, compute.None, hostapi.PowerRunning, db.Now()); err != nil {
		return err
	}
	if err := c.Networks.PortsActive(ctx, tx, r.Subject); err != nil {
		return err
	}
	c.Hosts.Built(tx, r.State.Host, r.Subject)
	if !r.State.Volumes {
		return nil
	}
	return c.volumesAttached(ctx, tx, r.Subject, r.State.Host)
}

func (c *Conductor) volumesAttached(ctx context.Context, tx *db.Tx, serverID, host string) error {
	devices, err := compute.BlockDevices(ctx, tx, serverID)
	if err != nil {
		return err
	}
	for _, b := range devices {
		if b.VolumeID == "" {
			continue
		}
		if err := c.Volumes.Attached(ctx, tx, b.VolumeID, b.AttachmentID, host, b.Device); err != nil {
			return err
		}
	}
	return nil
}

// destroySpawned takes back a half-made machine. A host that is down keeps what it has until it is back: its heartbeat is then told to let go,
// and the epoch keeps it from doing anything with it.
func (c *Conductor) destroySpawned(ctx context.Context, r *workflow.Run[buildState]) error {
	r.OnHost(r.State.Host)
	return c.destroy(ctx, r.State.Host, hostapi.Command{ID: r.CommandID("destroy"), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: hostapi.OpDestroy, Trace: r.RequestID})
}

func (c *Conductor) destroy(ctx context.Context, host string, cmd hostapi.Command) error {
	if host == "" {
		return nil
	}
	res, err := c.command(ctx, host, cmd)
	var down *hostDown
	if errors.As(err, &down) || res.ErrKind == hostapi.ErrAbsent {
		return nil
	}
	if err != nil {
		return err
	}
	return hostError(res)
}

// buildFailed settles a server that could not be built: ERROR with the reason, and nothing kept but the row, which its owner can look at and delete.
func (c *Conductor) buildFailed(ctx context.Context, tx *db.Tx, r *workflow.Run[buildState], f workflow.Failure) error {
	if err := c.Networks.ReleaseServer(ctx, tx, r.Subject); err != nil {
		return err
	}
	if err := c.releaseVolumes(ctx, tx, r.Subject); err != nil {
		return err
	}
	msg := fault.Message(f.Err)
	why := compute.Fault{Code: 500, Message: msg, Details: fmt.Sprintf("step %s, try %d: %s", f.Step, r.Try, msg), Created: db.Now()}
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, host = ?, fault = ?, admin_pass = '', personality = '[]'`,
		compute.Errored, compute.None, "", db.AsJSON(&why))
}

// releaseVolumes detaches every volume of the server and starts the deletion of those that go with it. The mapping's rows go too.
func (c *Conductor) releaseVolumes(ctx context.Context, tx *db.Tx, serverID string) error {
	devices, err := compute.BlockDevices(ctx, tx, serverID)
	if err != nil {
		return err
	}
	for _, b := range devices {
		if b.VolumeID == "" {
			continue
		}
		if err := c.Volumes.Detach(ctx, tx, b.VolumeID, b.AttachmentID); err != nil {
			return err
		}
		if b.DeleteOnTermination {
			if err := c.Volumes.BeginDelete(ctx, tx, b.VolumeID); err != nil {
				return err
			}
		}
	}
	_, err = tx.Exec(ctx, `DELETE FROM block_devices WHERE server_id = ?`, serverID)
	return err
}
