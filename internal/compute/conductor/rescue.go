package conductor

import (
	"context"

	"nephos/internal/compute"
	"nephos/internal/hostapi"
)

// rescueServer starts the server from the rescue image; the password is that of the rescue system.
func (c *Conductor) rescueServer(ctx context.Context, r *actRun) error {
	_, spec, err := c.specOf(ctx, r)
	if err != nil {
		return err
	}
	spec.Rescue, spec.Metadata.AdminPass = r.State.Rescue, r.State.Password
	return c.tell(ctx, r, "rescue", hostapi.Command{Op: hostapi.OpRescue, Spec: spec, Grace: guestGrace})
}

func (c *Conductor) unrescueServer(ctx context.Context, r *actRun) error {
	_, spec, err := c.specOf(ctx, r)
	if err != nil {
		return err
	}
	return c.tell(ctx, r, "unrescue", hostapi.Command{Op: hostapi.OpUnrescue, Spec: spec, Grace: guestGrace})
}

// unrescueFailed has the server as it was before a rescue that did not work: from its own disks, running only if it ran.
func (c *Conductor) unrescueFailed(ctx context.Context, r *actRun) error {
	_, spec, err := c.specOf(ctx, r)
	if err != nil {
		return err
	}
	if err := c.undo(ctx, r, "rescue", hostapi.Command{Op: hostapi.OpUnrescue, Spec: spec}); err != nil || r.State.From != compute.Stopped {
		return err
	}
	return c.undo(ctx, r, "rescue-stop", hostapi.Command{Op: hostapi.OpStop})
}
