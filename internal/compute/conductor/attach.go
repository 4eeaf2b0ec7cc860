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

// deviceState is what attaching and detaching remember.
type deviceState struct {
	Host   string              `json:"host"`
	Epoch  int64               `json:"epoch"`
	Device compute.BlockDevice `json:"device"`
	PortID string              `json:"port_id,omitempty"`
	Held   bool                `json:"held,omitempty"` // the guest may have the device: its host did not say that it is out again
}

const attachDeadline = 3 * time.Minute

func (c *Conductor) declareAttachVolume() *workflow.Definition[deviceState] {
	return &workflow.Definition[deviceState]{
		Kind: "server.attach_volume", Deadline: attachDeadline,
		Steps: []workflow.Step[deviceState]{{Name: "connect", Do: c.connectVolume, Undo: held(c.disconnectVolume),
			Commit: func(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState]) error {
				d := r.State.Device
				if err := c.Volumes.Attached(ctx, tx, d.VolumeID, d.AttachmentID, r.State.Host, d.Device); err != nil {
					return err
				}
				return c.idle(ctx, tx, r)
			}}},
		Fail: func(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState], _ workflow.Failure) error {
			d := r.State.Device
			var err error
			if r.State.Held {
				err = c.Volumes.Attached(ctx, tx, d.VolumeID, d.AttachmentID, r.State.Host, d.Device)
			} else {
				err = c.dropDevice(ctx, tx, d)
			}
			if err != nil {
				return err
			}
			return c.idle(ctx, tx, r)
		},
	}
}

// held is the undo of a plugging. A device of which the host does not say in time that the guest has let it go stays the server's: a volume must not be free for others while a guest may
// write to it. It can be detached, or comes (again) with the next hard reboot.
func held(unplug func(context.Context, *workflow.Run[deviceState]) error) func(context.Context, *workflow.Run[deviceState]) error {
	return func(ctx context.Context, r *workflow.Run[deviceState]) error {
		err := unplug(ctx, r)
		r.State.Held = err != nil
		return err
	}
}

func (c *Conductor) declareDetachVolume() *workflow.Definition[deviceState] {
	return &workflow.Definition[deviceState]{
		Kind: "server.detach_volume", Deadline: attachDeadline,
		Steps: []workflow.Step[deviceState]{{Name: "disconnect", Do: c.disconnectVolume,
			Commit: func(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState]) error {
				if err := c.dropDevice(ctx, tx, r.State.Device); err != nil {
					return err
				}
				return c.idle(ctx, tx, r)
			}}},
		Fail: func(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState], _ workflow.Failure) error {
			if err := c.Volumes.RollDetach(ctx, tx, r.State.Device.VolumeID); err != nil {
				return err
			}
			return c.idle(ctx, tx, r)
		},
	}
}

func (c *Conductor) declareAttachInterface() *workflow.Definition[deviceState] {
	return &workflow.Definition[deviceState]{
		Kind: "server.attach_interface", Deadline: attachDeadline,
		Steps: []workflow.Step[deviceState]{{Name: "plug", Do: c.plugInterface, Undo: held(c.unplugInterface),
			Commit: func(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState]) error {
				if err := c.Networks.PortsActive(ctx, tx, r.Subject); err != nil {
					return err
				}
				return c.idle(ctx, tx, r)
			}}},
		Fail: func(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState], f workflow.Failure) error {
			if r.State.Held {
				return c.idle(ctx, tx, r)
			}
			return c.dropInterface(ctx, tx, r, f)
		},
	}
}

func (c *Conductor) declareDetachInterface() *workflow.Definition[deviceState] {
	return &workflow.Definition[deviceState]{
		Kind: "server.detach_interface", Deadline: attachDeadline,
		Steps: []workflow.Step[deviceState]{{Name: "unplug", Do: c.unplugInterface,
			Commit: func(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState]) error {
				return c.dropInterface(ctx, tx, r, workflow.Failure{})
			}}},
		Fail: func(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState], _ workflow.Failure) error {
			return c.idle(ctx, tx, r)
		},
	}
}

// BeginAttachVolume implements compute.Conductor.
func (c *Conductor) BeginAttachVolume(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, b compute.BlockDevice) error {
	_, err := workflow.Begin(ctx, tx, c.Engine, c.attachVol, subject(s, by), deviceState{Host: s.Host, Epoch: s.Epoch, Device: b}, 0)
	return err
}

// BeginDetachVolume implements compute.Conductor.
func (c *Conductor) BeginDetachVolume(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, b compute.BlockDevice) error {
	_, err := workflow.Begin(ctx, tx, c.Engine, c.detachVol, subject(s, by), deviceState{Host: s.Host, Epoch: s.Epoch, Device: b}, 0)
	return err
}

// BeginAttachInterface implements compute.Conductor.
func (c *Conductor) BeginAttachInterface(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, nic hostapi.NICSpec) (string, error) {
	return workflow.Begin(ctx, tx, c.Engine, c.attachNIC, subject(s, by), deviceState{Host: s.Host, Epoch: s.Epoch, PortID: nic.PortID}, 0)
}

// BeginDetachInterface implements compute.Conductor.
func (c *Conductor) BeginDetachInterface(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, portID string) error {
	_, err := workflow.Begin(ctx, tx, c.Engine, c.detachNIC, subject(s, by), deviceState{Host: s.Host, Epoch: s.Epoch, PortID: portID}, 0)
	return err
}

func (c *Conductor) connectVolume(ctx context.Context, r *workflow.Run[deviceState]) error {
	var v hostapi.VolumeSpec
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		v, err = c.volumeSpec(ctx, tx, r.State.Device)
		return err
	})
	if err != nil {
		return err
	}
	return c.onHost(ctx, r, hostapi.Command{ID: r.CommandID("connect"), Op: hostapi.OpAttachVolume, Volume: &v})
}

func (c *Conductor) disconnectVolume(ctx context.Context, r *workflow.Run[deviceState]) error {
	d := r.State.Device
	return c.onHost(ctx, r, hostapi.Command{ID: r.CommandID("disconnect"), Op: hostapi.OpDetachVolume,
		Volume: &hostapi.VolumeSpec{VolumeID: d.VolumeID, AttachmentID: d.AttachmentID, Device: d.Device}})
}

func (c *Conductor) plugInterface(ctx context.Context, r *workflow.Run[deviceState]) error {
	var nics []hostapi.NICSpec
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		nics, err = c.Networks.NICSpecs(ctx, tx, r.Subject)
		return err
	})
	if err != nil {
		return err
	}
	for _, n := range nics {
		if n.PortID == r.State.PortID {
			return c.onHost(ctx, r, hostapi.Command{ID: r.CommandID("plug"), Op: hostapi.OpAttachInterface, NIC: &n})
		}
	}
	return fault.NotFound("Port id %s could not be found.", r.State.PortID)
}

func (c *Conductor) unplugInterface(ctx context.Context, r *workflow.Run[deviceState]) error {
	return c.onHost(ctx, r, hostapi.Command{ID: r.CommandID("unplug"), Op: hostapi.OpDetachInterface, NIC: &hostapi.NICSpec{PortID: r.State.PortID}})
}

// onHost fills in what all device commands share and judges the answer. A server without a host (its build failed) has nothing to plug into.
func (c *Conductor) onHost(ctx context.Context, r *workflow.Run[deviceState], cmd hostapi.Command) error {
	if r.State.Host == "" {
		return nil
	}
	r.OnHost(r.State.Host)
	cmd.Subject, cmd.Epoch, cmd.Turn, cmd.Trace = r.Subject, r.State.Epoch, r.Turn(), r.RequestID
	res, err := c.command(ctx, r.State.Host, cmd)
	var down *hostDown
	if errors.As(err, &down) {
		if cmd.Op == hostapi.OpDetachVolume || cmd.Op == hostapi.OpDetachInterface {
			// The guest may have let the device go and only the answer be lost: to call it attached again would be wrong. A host that is away for moments is waited for.
			return fault.Unavailable("%v", err).WithCause(err)
		}
		return fault.Conflict("%v", err)
	}
	if err != nil {
		return err
	}
	r.Record(parts(res)...)
	return hostError(res)
}

// dropDevice frees the volume and removes the mapping.
func (c *Conductor) dropDevice(ctx context.Context, tx *db.Tx, d compute.BlockDevice) error {
	if err := c.Volumes.Detach(ctx, tx, d.VolumeID, d.AttachmentID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM block_devices WHERE id = ?`, d.ID)
	return err
}

func (c *Conductor) dropInterface(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState], _ workflow.Failure) error {
	if err := c.Networks.DetachPort(ctx, tx, r.Subject, r.State.PortID); err != nil {
		return err
	}
	return c.idle(ctx, tx, r)
}

// idle ends the exclusive hold that attaching and detaching have on a server.
func (c *Conductor) idle(ctx context.Context, tx *db.Tx, r *workflow.Run[deviceState]) error {
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `task_state = ?`, compute.None)
}
