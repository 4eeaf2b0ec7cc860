package conductor

import (
	"context"
	"errors"
	"slices"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

func (c *Conductor) shelveStop(ctx context.Context, r *actRun) error {
	return c.tell(ctx, r, "stop", hostapi.Command{Op: hostapi.OpStop, Grace: guestGrace})
}

// shelveStart has a server that could not be shelved run again if it ran. A paused one is stopped now, if its host ever heard of it: which of the two its heartbeat shows. A suspended
// one had no process that could have been ended, and its memory still lies on its host.
func (c *Conductor) shelveStart(ctx context.Context, r *actRun) error {
	if r.State.From != compute.Active {
		return nil
	}
	_, spec, err := c.specOf(ctx, r)
	if err != nil {
		return err
	}
	return c.undo(ctx, r, "stop", hostapi.Command{Op: hostapi.OpStart, Spec: spec})
}

// shelved makes the server SHELVED as soon as its image is whole: from here on nothing is undone, what follows is only about its host. It keeps a task until the workflow has ended: a
// server without one is told to be free for the next action.
func (c *Conductor) shelved(ctx context.Context, tx *db.Tx, r *actRun) error {
	task := compute.ShelvingUploading
	if r.State.Offload {
		task = compute.ShelvingOffloading
	}
	shelf := compute.Shelf{ImageID: r.State.Image.ImageID, Host: r.State.Host, At: db.Now()}
	r.State.From = compute.Shelved // what a failure to leave the host falls back to
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, making = '', shelf = ?`, compute.Shelved, task, hostapi.PowerShutdown, db.AsJSON(&shelf))
}

// leaveHost removes guest and local disks. A host that is down lets go when it is back: its heartbeat is told that the server is not there.
func (c *Conductor) leaveHost(ctx context.Context, r *actRun) error {
	if !r.State.leaves() {
		return nil
	}
	r.OnHost(r.State.Host)
	return c.destroy(ctx, r.State.Host, hostapi.Command{ID: r.CommandID("offload"), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: hostapi.OpDestroy, Trace: r.RequestID})
}

// leaves says whether the workflow has the server leave its host: shelveOffload always does, shelve only where it is configured so.
func (s *actState) leaves() bool { return s.Offload || s.Image.ImageID == "" }

// offloaded gives the host's share back; ports and volumes stay the server's.
func (c *Conductor) offloaded(ctx context.Context, tx *db.Tx, r *actRun) error {
	if !r.State.leaves() {
		return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `task_state = ?`, compute.None)
	}
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	if err := compute.ReleaseClaim(ctx, tx, c.Hosts, s); err != nil {
		return err
	}
	if err := c.Networks.Rebind(ctx, tx, s.ID, ""); err != nil {
		return err
	}
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, host = '', fault = ''`, compute.ShelvedOffloaded, compute.None, hostapi.PowerShutdown)
}

// offloadFailed settles a server that could not be shelved or leave its host. Whether a failed destroy took disks with it nobody knows, so there is no way back to the host: the
// server has left it, its image holds all that it needs, and what the host still has it lets go at its next heartbeat.
func (c *Conductor) offloadFailed(ctx context.Context, tx *db.Tx, r *actRun, f workflow.Failure) error {
	if f.Step == "offload" {
		return c.offloaded(ctx, tx, r)
	}
	return c.actFailed(ctx, tx, r, f)
}

// claimAgain finds a host for a server that has left its own; one that has not stays where it is.
func (c *Conductor) claimAgain(ctx context.Context, tx *db.Tx, r *actRun) error {
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil || s.Host != "" {
		return err
	}
	tied, err := c.tiedHost(ctx, tx, s)
	if err != nil {
		return err
	}
	wanted := *s
	wanted.ForcedHost = r.State.Act.Host
	host, err := c.pick(ctx, tx, &wanted, tied, r.State.Tried, r.Explain)
	if err != nil {
		return err
	}
	if err := compute.Move(ctx, tx, s.ID, s.Epoch, `host = ?, zone = ?, epoch = ?`, host, c.Hosts.Zone(host), s.Epoch+1); err != nil {
		return err
	}
	r.OnHost(host)
	r.State.Host, r.State.Epoch = host, s.Epoch+1
	return c.Networks.Rebind(ctx, tx, s.ID, host)
}

// pick chooses a host among those not excluded and takes the server's share there.
func (c *Conductor) pick(ctx context.Context, tx *db.Tx, s *compute.Server, tied string, exclude []string, explain func(string)) (string, error) {
	exclude = slices.Clone(exclude)
	for {
		req, err := compute.ScheduleRequest(ctx, tx, s, tied, exclude)
		if err != nil {
			return "", err
		}
		choice := c.Hosts.Schedule(req, 1)[0]
		explain(choice.Explanation.String())
		if choice.Host == "" {
			return "", fault.NoCapacity("%s", choice.Explanation.String())
		}
		err = compute.ClaimHost(ctx, tx, c.Hosts, s, choice.Host)
		if err == nil {
			return choice.Host, nil
		}
		if fault.KindOf(err) != fault.KindNoCapacity {
			return "", err
		}
		exclude = append(exclude, choice.Host) // the snapshot was stale about it; the registry catches up by itself
	}
}

// unclaimAgain gives the share back and remembers the host as tried.
func (c *Conductor) unclaimAgain(ctx context.Context, tx *db.Tx, r *actRun) error {
	if r.State.From != compute.ShelvedOffloaded {
		return nil
	}
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	if err := compute.ReleaseClaim(ctx, tx, c.Hosts, s); err != nil {
		return err
	}
	if err := c.Networks.Rebind(ctx, tx, s.ID, ""); err != nil {
		return err
	}
	host := r.State.Host
	r.OnHost(host)
	r.State.Host, r.State.Tried = "", append(slices.Clone(r.State.Tried), host)
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `host = ''`)
}

// spawnAgain builds the server from the image it was shelved as, or starts it where it still is.
func (c *Conductor) spawnAgain(ctx context.Context, r *actRun) error {
	s, spec, err := c.specOf(ctx, r)
	if err != nil {
		return err
	}
	if r.State.From == compute.Shelved {
		return c.tell(ctx, r, "start", hostapi.Command{Op: hostapi.OpStart, Spec: spec})
	}
	if shelf := s.Shelf.V; shelf != nil && shelf.ImageID != "" {
		image, err := c.Images.Spec(ctx, shelf.ImageID)
		if err != nil {
			return fault.Conflict("Image %s, as which server %s was shelved, cannot be used: %s", shelf.ImageID, s.ID, fault.Message(err)).WithCause(err)
		}
		spec.Image = &image
	}
	r.OnHost(r.State.Host)
	res, err := c.command(ctx, r.State.Host, hostapi.Command{ID: r.CommandID("spawn"), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: hostapi.OpBuild, Spec: spec, Trace: r.RequestID})
	if err == nil {
		r.Record(parts(res)...)
		err = hostError(res)
	}
	if err == nil {
		return nil
	}
	var down *hostDown
	if r.State.Act.Host == "" && len(r.State.Tried)+1 < maxHosts && (errors.As(err, &down) || res.ErrKind == hostapi.ErrHost) {
		c.Hosts.BuildFailed(r.State.Host)
		return &workflow.Back{To: "schedule", Err: fault.Conflict("Unshelving of instance %s was re-scheduled: %v", r.Subject, err)}
	}
	if errors.As(err, &down) {
		return fault.Conflict("%v", err)
	}
	return err
}

func (c *Conductor) unspawnAgain(ctx context.Context, r *actRun) error {
	if r.State.From == compute.Shelved {
		return c.undo(ctx, r, "start", hostapi.Command{Op: hostapi.OpStop})
	}
	r.OnHost(r.State.Host)
	return c.destroy(ctx, r.State.Host, hostapi.Command{ID: r.CommandID("destroy"), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: hostapi.OpDestroy, Trace: r.RequestID})
}

// unshelved ends the shelf. The image goes, as in Nova; its bytes stay in the cache of the host for as long as the disk stands on them, and the server remembers them
// as its base.
func (c *Conductor) unshelved(ctx context.Context, tx *db.Tx, r *actRun) error {
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	image := s.Image
	if shelf := s.Shelf.V; shelf != nil && shelf.ImageID != "" {
		if r.State.From == compute.ShelvedOffloaded {
			base, err := c.Images.Spec(ctx, shelf.ImageID)
			if err != nil {
				return err
			}
			if was := image.V.Spec; was != nil { // the snapshot is a disk; kernel and ramdisk are the first image's
				base.Kernel, base.Ramdisk = was.Kernel, was.Ramdisk
			}
			image.V.Spec = &base
		}
		if err := c.Images.DeleteIn(ctx, tx, shelf.ImageID); err != nil {
			return err
		}
	}
	if err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, launched_at = ?, shelf = '', image = ?, fault = ''`,
		compute.Active, compute.None, hostapi.PowerRunning, db.Now(), image); err != nil {
		return err
	}
	if err := c.Networks.PortsActive(ctx, tx, r.Subject); err != nil {
		return err
	}
	return c.volumesAttached(ctx, tx, r.Subject, r.State.Host)
}

func (c *Conductor) unshelveFailed(ctx context.Context, tx *db.Tx, r *actRun, f workflow.Failure) error {
	return c.settle(ctx, tx, r, f, r.State.From)
}
