package qemu

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
)

// nbdFile is where a waiting process takes disks: only the agent can reach it.
const nbdFile = "nbd.sock"

// entry is how a process begins: cold, from suspended memory, or waiting for a guest from another host.
type entry struct {
	state string // file of suspended memory
	peer  bool
}

func (e entry) incoming() bool { return e.peer || e.state != "" }

// arrival is what a waiting process knows of its guest.
type arrival struct {
	begun chan struct{} // closed when memory begins to come
	ended chan struct{} // closed when it has come, or has not
	err   error         // valid when ended is closed
}

// Await implements hypervisor.Driver. Until Take has the whole guest the record says "starting": who finds that after a crash ends the process.
func (d *Driver) Await(ctx context.Context, spec hypervisor.Guest) error {
	spec, err := spec.Resolved()
	if err != nil {
		return err
	}
	unlock, err := d.lock(ctx, spec.ID)
	if err != nil {
		return err
	}
	defer unlock()
	g, err := d.prepare(spec.ID)
	if err != nil {
		return err
	}
	if g.machine() != nil {
		return nil
	}
	slots := map[string]int{}
	if err := takeSlots(slots, spec); err != nil {
		return err
	}
	before := g.record()
	before.State, before.Phase, before.Why, before.Came = "", phaseShutdown, "no guest came", false
	return d.launch(ctx, g, spec, slots, entry{peer: true}, before)
}

// await prepares a new process for what comes: a server for its disks, and capabilities. Its disks stay inactive until cont, after the server has let go of them.
func (d *Driver) await(ctx context.Context, g *guest, m *machine, dir *os.File, spec hypervisor.Guest) error {
	m.coming = &arrival{begun: make(chan struct{}), ended: make(chan struct{})}
	caps := capabilities{[]capability{{"events", true}, {"late-block-activate", true}}}
	if err := m.do(ctx, "migrate-set-capabilities", caps, nil); err != nil {
		return err
	}
	l, err := listen(dir, nbdFile)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := m.client.ExecuteFiles(ctx, []*os.File{l}, "getfd", fdName{"disks"}, nil); err != nil {
		return err
	}
	type data struct {
		Str string `json:"str"`
	}
	type address struct {
		Type string `json:"type"`
		Data data   `json:"data"`
	}
	if err := m.do(ctx, "nbd-server-start", struct {
		Addr address `json:"addr"`
	}{address{"fd", data{"disks"}}}, nil); err != nil {
		return err
	}
	for _, disk := range moving(spec.Disks) {
		err := m.do(ctx, "block-export-add", struct {
			Type     string `json:"type"`
			ID       string `json:"id"`
			Node     string `json:"node-name"`
			Name     string `json:"name"`
			Writable bool   `json:"writable"`
		}{"nbd", "move-" + nodeName(disk.ID), nodeName(disk.ID), disk.ID, true}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// moving are the disks that go along: those that the guest can write.
func moving(disks []hypervisor.Disk) []hypervisor.Disk {
	var out []hypervisor.Disk
	for _, d := range disks {
		if !d.ReadOnly {
			out = append(out, d)
		}
	}
	return out
}

// Take implements hypervisor.Driver.
func (d *Driver) Take(ctx context.Context, id, name string, accept hypervisor.Accept) error {
	g, m, err := d.live(id)
	if err != nil {
		return err
	}
	if m.coming == nil {
		return fault.NotFound("guest %s is not awaited here", id)
	}
	if _, ok := strings.CutPrefix(name, hypervisor.DiskStream("")); ok {
		server, err := qmp.DialUnix(ctx, filepath.Join(g.dir, nbdFile))
		if err != nil {
			return fault.Unavailable("guest %s: its disks are not served", id).WithCause(err)
		}
		conn, err := accept()
		if err != nil {
			server.Close()
			return err
		}
		splice(ctx, conn, server)
		return nil
	}
	switch name {
	case hypervisor.GoStream:
		return hypervisor.Go(ctx, d, id, accept)
	case hypervisor.MemoryStream:
	default:
		return fault.NotFound("guest %s awaits no %s", id, name)
	}
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	select {
	case <-m.coming.begun:
		return fault.Conflict("guest %s comes already", id)
	default:
		close(m.coming.begun)
	}
	m.coming.err = d.take(ctx, g, m, accept)
	close(m.coming.ended)
	return m.coming.err
}

// take reads the guest in; it stands still then.
func (d *Driver) take(ctx context.Context, g *guest, m *machine, accept hypervisor.Accept) error {
	conn, err := accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	f, err := fileOf(conn)
	if err != nil {
		return err
	}
	defer f.Close()
	sub := m.client.Subscribe("MIGRATION")
	defer sub.Close()
	if err := m.client.ExecuteFiles(ctx, []*os.File{f}, "getfd", fdName{"guest"}, nil); err != nil {
		return err
	}
	if err := m.do(ctx, "migrate-incoming", uri{"fd:guest"}, nil); err != nil {
		return err
	}
	if err := migrated(ctx, sub); err != nil {
		return fault.Unavailable("guest %s did not come", g.id).WithCause(err)
	}
	// All of it is here. What follows must not be broken off by the sender's end of the connection.
	ctx, cancel := context.WithTimeout(d.background, patience)
	defer cancel()
	if err := m.do(ctx, "nbd-server-stop", nil, nil); err != nil {
		return err
	}
	if err := g.change(true, func(r *record) { r.Phase, r.Why, r.Came = phaseRunning, "came from another host", true }); err != nil {
		return err
	}
	m.paused.Store(true)
	return nil
}

// fileOf is a connection's descriptor.
func fileOf(conn net.Conn) (*os.File, error) {
	c, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fault.Invalid("", "a %T cannot be handed to a process", conn)
	}
	return c.File()
}

// splice copies both ways until one side has nothing more to say, and closes both.
func splice(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() { a.Close(); b.Close() })
	defer stop()
	done := make(chan struct{})
	go func() { // ends when either side is closed, which the end of the other direction does
		defer close(done)
		_, _ = io.Copy(a, b)
		a.Close()
		b.Close()
	}()
	_, _ = io.Copy(b, a)
	a.Close()
	b.Close()
	<-done
}

// Arrived implements hypervisor.Driver.
func (d *Driver) Arrived(ctx context.Context, id string, run bool) error {
	g := d.find(id)
	if g == nil {
		return fault.NotFound("guest %s has not come", id)
	}
	m := g.machine()
	if m == nil {
		if g.record().Came {
			return nil // and has ended since
		}
		return fault.NotFound("guest %s has not come", id)
	}
	if c := m.coming; c != nil {
		select {
		case <-c.begun:
		default:
			return fault.NotFound("guest %s has not come", id)
		}
		select {
		case <-c.ended:
		case <-ctx.Done():
			return fault.Unavailable("guest %s is still coming", id).WithCause(context.Cause(ctx))
		}
		if c.err != nil && g.record().Phase != phaseRunning {
			return fault.NotFound("guest %s has not come", id).WithCause(c.err)
		}
	}
	if !run {
		return nil
	}
	return d.sure(ctx, id, func(_ *guest, m *machine) error {
		now, err := m.runState(ctx)
		if err != nil || now == "running" {
			return err
		}
		return m.turn(ctx, "cont")
	})
}

// errAborted is the end of a Send that AbortSend caused.
var errAborted = errors.New("aborted")
