package client

import (
	"context"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// many are the servers that a verb is about.
type many struct {
	Servers []string `arg:"" name:"server" help:"Names or ids."`
	Wait    bool     `short:"w" help:"Wait until it is done."`
	Timeout int      `default:"300" placeholder:"SECONDS" help:"How long to wait (${default})."`
}

// each does something to all servers, then waits for all of them to reach a status; done is said of each.
func (m *many) each(ctx context.Context, s *Session, want, done string, do func(context.Context, *gophercloud.ServiceClient, string) error) error {
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	var found []servers.Server
	for _, name := range m.Servers { // all names first: a typing mistake must not leave half of them changed
		v, err := s.server(ctx, name)
		if err != nil {
			return err
		}
		found = append(found, v)
	}
	began := s.Now()
	for _, v := range found {
		if err := do(ctx, c, v.ID); err != nil {
			return fmt.Errorf("%s: %w", v.Name, err)
		}
	}
	if m.Wait {
		if err := s.await(ctx, found, want, began, time.Duration(m.Timeout)*time.Second); err != nil {
			return err
		}
		for _, v := range found {
			fmt.Fprintf(s.Out, "%s %s\n", v.Name, done)
		}
		return nil
	}
	for _, v := range found {
		fmt.Fprintf(s.Out, "%s: accepted\n", v.Name)
	}
	return nil
}

// Each verb has a type of its own, as kong wants.
type (
	// ServerDelete deletes.
	ServerDelete struct{ many }
	// ServerStart powers on.
	ServerStart struct{ many }
	// ServerStop shuts down.
	ServerStop struct{ many }
	// ServerReboot reboots.
	ServerReboot struct {
		many
		Hard bool `help:"Reset at once."`
	}
	// ServerPause freezes.
	ServerPause struct{ many }
	// ServerUnp goes on after pause.
	ServerUnp struct{ many }
	// ServerSusp saves memory to disk.
	ServerSusp struct{ many }
	// ServerResume goes on after suspend.
	ServerResume struct{ many }
)

// Run deletes servers.
func (v *ServerDelete) Run(ctx context.Context, s *Session) error {
	return v.each(ctx, s, deleted, "is deleted", func(ctx context.Context, c *gophercloud.ServiceClient, id string) error {
		return servers.Delete(ctx, c, id).ExtractErr()
	})
}

// Run starts servers.
func (v *ServerStart) Run(ctx context.Context, s *Session) error {
	return v.each(ctx, s, "ACTIVE", "is running", func(ctx context.Context, c *gophercloud.ServiceClient, id string) error {
		return servers.Start(ctx, c, id).ExtractErr()
	})
}

// Run stops servers.
func (v *ServerStop) Run(ctx context.Context, s *Session) error {
	return v.each(ctx, s, "SHUTOFF", "is off", func(ctx context.Context, c *gophercloud.ServiceClient, id string) error {
		return servers.Stop(ctx, c, id).ExtractErr()
	})
}

// Run reboots servers.
func (v *ServerReboot) Run(ctx context.Context, s *Session) error {
	how := servers.SoftReboot
	if v.Hard {
		how = servers.HardReboot
	}
	return v.each(ctx, s, "ACTIVE", "has rebooted", func(ctx context.Context, c *gophercloud.ServiceClient, id string) error {
		return servers.Reboot(ctx, c, id, servers.RebootOpts{Type: how}).ExtractErr()
	})
}

// Run pauses servers.
func (v *ServerPause) Run(ctx context.Context, s *Session) error {
	return v.each(ctx, s, "PAUSED", "is paused", func(ctx context.Context, c *gophercloud.ServiceClient, id string) error {
		return servers.Pause(ctx, c, id).ExtractErr()
	})
}

// Run lets paused servers go on.
func (v *ServerUnp) Run(ctx context.Context, s *Session) error {
	return v.each(ctx, s, "ACTIVE", "is running", func(ctx context.Context, c *gophercloud.ServiceClient, id string) error {
		return servers.Unpause(ctx, c, id).ExtractErr()
	})
}

// Run suspends servers.
func (v *ServerSusp) Run(ctx context.Context, s *Session) error {
	return v.each(ctx, s, "SUSPENDED", "is suspended", func(ctx context.Context, c *gophercloud.ServiceClient, id string) error {
		return servers.Suspend(ctx, c, id).ExtractErr()
	})
}

// Run lets suspended servers go on.
func (v *ServerResume) Run(ctx context.Context, s *Session) error {
	return v.each(ctx, s, "ACTIVE", "is running", func(ctx context.Context, c *gophercloud.ServiceClient, id string) error {
		return servers.Resume(ctx, c, id).ExtractErr()
	})
}
