package conductor

import (
	"context"
	"errors"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// actState is what the workflows of actions beyond power remember.
type actState struct {
	Host  string   `json:"host"`
	Epoch int64    `json:"epoch"`
	Tried []string `json:"tried,omitempty"` // unshelve: hosts that failed
	compute.Act
}

type (
	actRun  = workflow.Run[actState]
	actStep = workflow.Step[actState]
)

// How long the actions may take.
const (
	quickAct = 5 * time.Minute
	copyAct  = 2 * time.Hour // a disk is copied and sent
)

// declareActs is the actions beyond power on one page. What each step does is in the file named after the action.
func (c *Conductor) declareActs() map[string]*workflow.Definition[actState] {
	out := map[string]*workflow.Definition[actState]{}
	add := func(name string, deadline time.Duration, fail func(context.Context, *db.Tx, *actRun, workflow.Failure) error, steps ...actStep) {
		out[name] = &workflow.Definition[actState]{Kind: "server." + name, Deadline: deadline, Steps: steps, Fail: fail}
	}
	add("rescue", quickAct, c.actFailed, actStep{Name: "rescue", Do: c.rescueServer, Undo: c.unrescueFailed, Commit: c.become(compute.Rescued, hostapi.PowerRunning)})
	add("unrescue", quickAct, c.actFailed, actStep{Name: "unrescue", Do: c.unrescueServer, Commit: c.become(compute.Active, hostapi.PowerRunning)})
	add("rebuild", copyAct, c.rebuildFailed,
		actStep{Name: "rebuild", Do: c.rebuildDisks, Undo: c.unrebuildDisks, Commit: c.task(compute.RebuildSpawning)},
		actStep{Name: "reimage", Do: c.reimageVolume},
		actStep{Name: "clean", Do: c.cleanRebuild, Commit: c.rebuilt})
	for _, name := range []string{"createImage", "createBackup"} {
		add(name, copyAct, c.actFailed,
			actStep{Name: "snapshot", Do: c.snapshotDisk, Undo: c.dropSnapshot, Commit: c.task(compute.ImageUploading)},
			actStep{Name: "upload", Do: c.uploadImage},
			actStep{Name: "rotate", Do: c.rotate, Commit: c.imageMade})
	}
	add("shelve", copyAct, c.offloadFailed,
		actStep{Name: "stop", Do: c.shelveStop, Undo: c.shelveStart},
		actStep{Name: "snapshot", Do: c.snapshotDisk, Undo: c.dropSnapshot, Commit: c.task(compute.ShelvingUploading)},
		actStep{Name: "upload", Do: c.uploadImage, Commit: c.shelved},
		actStep{Name: "offload", Do: c.leaveHost, Commit: c.offloaded})
	add("shelveOffload", quickAct, c.offloadFailed, actStep{Name: "offload", Do: c.leaveHost, Commit: c.offloaded})
	add("unshelve", copyAct, c.unshelveFailed,
		actStep{Name: "schedule", Commit: c.claimAgain, UndoCommit: c.unclaimAgain},
		actStep{Name: "spawn", Do: c.spawnAgain, Undo: c.unspawnAgain, Commit: c.unshelved})
	add("changePassword", quickAct, c.actFailed, actStep{Name: "password", Do: c.setPassword, Commit: c.same})
	add("trigger_crash_dump", quickAct, c.actFailed, actStep{Name: "interrupt", Do: c.plain(hostapi.OpCrashDump), Commit: c.same})
	add("inject_network_info", quickAct, c.actFailed, actStep{Name: "network", Do: c.plain(hostapi.OpReplug), Commit: c.same})
	add("swap_volume", copyAct, c.swapFailed, actStep{Name: "swap", Do: c.swapVolume, Commit: c.swapped})
	add(compute.WorkflowSoftDelete, quickAct, c.actFailed, actStep{Name: "stop", Do: c.softStop, Commit: c.softDeleted})
	add("restore", quickAct, c.restoreFailed, actStep{Name: "start", Do: c.startAgain, Commit: c.restored})
	for _, def := range out {
		workflow.Register(c.Engine, def)
	}
	return out
}

// BeginAct implements compute.Actor. s carries the new epoch already.
func (c *Conductor) BeginAct(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, kind string, a compute.Act) (string, error) {
	def, ok := c.acts[kind]
	if !ok {
		return "", fault.NotImplemented("action %s is not available", kind)
	}
	return workflow.Begin(ctx, tx, c.Engine, def, subject(s, by), actState{Host: s.Host, Epoch: s.Epoch, Act: a}, 0)
}

// tell sends one command of an action to the server's host and judges the answer; fill adds what the command needs. The step's name and the try make it the
// same command whenever it is repeated.
func (c *Conductor) tell(ctx context.Context, r *actRun, step string, cmd hostapi.Command) error {
	if r.State.Host == "" {
		return nil
	}
	r.OnHost(r.State.Host)
	cmd.ID, cmd.Subject, cmd.Epoch, cmd.Turn, cmd.Trace = r.CommandID(step), r.Subject, r.State.Epoch, r.Turn(), r.RequestID
	res, err := c.command(ctx, r.State.Host, cmd)
	var down *hostDown
	if errors.As(err, &down) {
		return fault.Conflict("%v", err)
	}
	if err != nil {
		return err
	}
	r.Record(parts(res)...)
	return hostError(res)
}

// undo is tell for an undo: a host that is down, or that no longer has the server, has nothing that could be taken back now.
func (c *Conductor) undo(ctx context.Context, r *actRun, step string, cmd hostapi.Command) error {
	if r.State.Host == "" {
		return nil
	}
	r.OnHost(r.State.Host)
	cmd.ID, cmd.Subject, cmd.Epoch, cmd.Turn, cmd.Trace = r.CommandID(step+"-undo"), r.Subject, r.State.Epoch, r.Turn(), r.RequestID
	res, err := c.command(ctx, r.State.Host, cmd)
	var down *hostDown
	if errors.As(err, &down) || res.ErrKind == hostapi.ErrAbsent || res.ErrKind == hostapi.ErrStaleEpoch {
		return nil
	}
	if err != nil {
		return err
	}
	r.Record(parts(res)...)
	return hostError(res)
}

// specOf loads the server, held against the workflow's epoch, and gathers its spec.
func (c *Conductor) specOf(ctx context.Context, r *actRun) (*compute.Server, *hostapi.InstanceSpec, error) {
	s, err := c.load(ctx, r.Subject, r.State.Epoch)
	if err != nil {
		return nil, nil, err
	}
	spec, err := c.spec(ctx, s)
	return s, spec, err
}

// plain is a step of one command that needs nothing.
func (c *Conductor) plain(op hostapi.Op) func(context.Context, *actRun) error {
	return func(ctx context.Context, r *actRun) error { return c.tell(ctx, r, string(op), hostapi.Command{Op: op}) }
}

// become ends an action in a state.
func (c *Conductor) become(to compute.VMState, power hostapi.PowerState) func(context.Context, *db.Tx, *actRun) error {
	return func(ctx context.Context, tx *db.Tx, r *actRun) error {
		r.State.Password = ""
		return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, fault = ''`, to, compute.None, power)
	}
}

// task shows how far an action is.
func (c *Conductor) task(t compute.TaskState) func(context.Context, *db.Tx, *actRun) error {
	return func(ctx context.Context, tx *db.Tx, r *actRun) error {
		return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `task_state = ?`, t)
	}
}

// same ends an action that leaves the server in the state it had.
func (c *Conductor) same(ctx context.Context, tx *db.Tx, r *actRun) error {
	r.State.Password = ""
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `task_state = ?`, compute.None)
}

// actFailed settles an action that was undone: the server is as it was, as far as its host can tell, and what was being made of it goes. The failure is kept as
// the instance action's error and as the fault that a server in ERROR shows.
func (c *Conductor) actFailed(ctx context.Context, tx *db.Tx, r *actRun, f workflow.Failure) error {
	return c.settle(ctx, tx, r, f, r.State.From)
}

func (c *Conductor) settle(ctx context.Context, tx *db.Tx, r *actRun, f workflow.Failure, to compute.VMState) error {
	r.State.Password = ""
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	if err := compute.AbandonMaking(ctx, tx, c.Images, s); err != nil {
		return err
	}
	why := compute.Fault{Code: 500, Message: fault.Message(f.Err), Details: "step " + f.Step, Created: db.Now()}
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, fault = ?`, to, compute.None, db.AsJSON(&why))
}

// setPassword has the guest's agent set it.
func (c *Conductor) setPassword(ctx context.Context, r *actRun) error {
	return c.tell(ctx, r, "password", hostapi.Command{Op: hostapi.OpSetPassword, Password: r.State.Password})
}

// swapVolume moves the guest; the driver leaves it with one volume or the other, never with half of one.
func (c *Conductor) swapVolume(ctx context.Context, r *actRun) error {
	var from, to hostapi.VolumeSpec
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if from, err = c.volumeSpec(ctx, tx, r.State.Swap.Old); err != nil {
			return err
		}
		to, err = c.volumeSpec(ctx, tx, r.State.Swap.New)
		return err
	})
	if err != nil {
		return err
	}
	return c.tell(ctx, r, "swap", hostapi.Command{Op: hostapi.OpSwapVolume, Volume: &from, Swap: &to})
}

func (c *Conductor) swapped(ctx context.Context, tx *db.Tx, r *actRun) error {
	was, now := r.State.Swap.Old, r.State.Swap.New
	if err := c.Volumes.Attached(ctx, tx, now.VolumeID, now.AttachmentID, r.State.Host, now.Device); err != nil {
		return err
	}
	if err := c.Volumes.Detach(ctx, tx, was.VolumeID, was.AttachmentID); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE block_devices SET volume_id = ?, attachment_id = ?, size_gib = ?, created_volume = FALSE WHERE id = ?`, now.VolumeID, now.AttachmentID, now.SizeGiB, was.ID); err != nil {
		return err
	}
	return c.same(ctx, tx, r)
}

func (c *Conductor) swapFailed(ctx context.Context, tx *db.Tx, r *actRun, f workflow.Failure) error {
	if err := c.Volumes.Detach(ctx, tx, r.State.Swap.New.VolumeID, r.State.Swap.New.AttachmentID); err != nil {
		return err
	}
	if err := c.Volumes.RollDetach(ctx, tx, r.State.Swap.Old.VolumeID); err != nil {
		return err
	}
	return c.actFailed(ctx, tx, r, f)
}
