package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
)

// The guest agent speaks JSON lines over a virtio-serial port (QEMU docs/interop/qemu-ga-ref). Everything that comes from it comes from the guest: sizes and times
// are bounded, and nothing of it is trusted.
const (
	agentPort      = "org.qemu.guest_agent.0"
	agentReply     = 1 << 20         // bytes of one reply
	agentPatience  = 3 * time.Second // for an agent to answer at all
	freezePatience = 20 * time.Second
)

// agentSync numbers the syncs, so that the reply to one that an earlier connection gave up on is told apart.
var agentSync atomic.Int64

// guestAgent is one connection to the agent of a guest.
type guestAgent struct {
	conn net.Conn
	in   *bufio.Reader
}

// agentError is the agent's no.
type agentError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *agentError) Error() string { return "guest agent: " + e.Desc }

// dialAgent connects and waits for a sign of life. fault.KindConflict when there is none.
func (d *Driver) dialAgent(ctx context.Context, g *guest) (*guestAgent, error) {
	if !g.record().Agent {
		return nil, fault.Conflict("guest %s has no channel to a guest agent: its image must have the property hw_qemu_guest_agent=yes", g.id)
	}
	dir, err := os.Open(g.dir) // a path may be longer than a socket address holds
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), hypervisor.AgentSocket))
	if err != nil {
		return nil, fault.Conflict("guest %s: the channel to its agent cannot be opened", g.id).WithCause(err)
	}
	a := &guestAgent{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	if err := a.sync(ctx); err != nil {
		conn.Close()
		return nil, fault.Conflict("QEMU guest agent is not connected: guest %s does not answer", g.id).WithCause(err)
	}
	return a, nil
}

func (a *guestAgent) close() { a.conn.Close() }

// within bounds what follows on the connection by ctx and limit.
func (a *guestAgent) within(ctx context.Context, limit time.Duration) error {
	until := time.Now().Add(limit)
	if dl, ok := ctx.Deadline(); ok && dl.Before(until) {
		until = dl
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return a.conn.SetDeadline(until)
}

// sync throws away what is still on the way from before: the agent marks its reply with a byte that no JSON has.
func (a *guestAgent) sync(ctx context.Context) error {
	if err := a.within(ctx, agentPatience); err != nil {
		return err
	}
	n := time.Now().UnixNano()>>20<<8 | agentSync.Add(1)&0xff
	if _, err := a.conn.Write([]byte{0xff}); err != nil {
		return err
	}
	if err := a.send("guest-sync-delimited", map[string]int64{"id": n}); err != nil {
		return err
	}
	for {
		if _, err := a.line(0xff); err != nil {
			return err
		}
		line, err := a.line('\n')
		if err != nil {
			return err
		}
		var reply struct {
			Return int64 `json:"return"`
		}
		if json.Unmarshal(line, &reply) == nil && reply.Return == n {
			return nil
		}
	}
}

func (a *guestAgent) send(command string, args any) error {
	b, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, args})
	if err != nil {
		return err
	}
	_, err = a.conn.Write(append(b, '\n'))
	return err
}

// line reads up to a delimiter, at most agentReply bytes.
func (a *guestAgent) line(delim byte) ([]byte, error) {
	var out []byte
	for {
		part, err := a.in.ReadSlice(delim)
		out = append(out, part...)
		switch {
		case len(out) > agentReply:
			return nil, errors.New("guest agent: the reply is too long")
		case err == nil:
			return out, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// call runs one command.
func (a *guestAgent) call(ctx context.Context, limit time.Duration, command string, args any) error {
	if err := a.within(ctx, limit); err != nil {
		return err
	}
	if err := a.send(command, args); err != nil {
		return err
	}
	line, err := a.line('\n')
	if err != nil {
		return err
	}
	var reply struct {
		Error *agentError `json:"error"`
	}
	if err := json.Unmarshal(bytes.TrimLeft(line, "\xff"), &reply); err != nil {
		return fmt.Errorf("guest agent: %w", err)
	}
	if reply.Error != nil {
		return reply.Error
	}
	return nil
}

// withAgent runs act on a connection to the guest's agent, under the guest's lock: the channel has one client at a time.
func (d *Driver) withAgent(ctx context.Context, id string, act func(a *guestAgent) error) error {
	return d.sure(ctx, id, func(g *guest, _ *machine) error {
		a, err := d.dialAgent(ctx, g)
		if err != nil {
			return err
		}
		defer a.close()
		return act(a)
	})
}

// AgentAnswers implements hypervisor.Driver.
func (d *Driver) AgentAnswers(ctx context.Context, id string) error {
	return d.withAgent(ctx, id, func(*guestAgent) error { return nil })
}

// SetPassword implements hypervisor.Driver.
func (d *Driver) SetPassword(ctx context.Context, id, user, password string) error {
	return d.withAgent(ctx, id, func(a *guestAgent) error {
		err := a.call(ctx, patience, "guest-set-user-password", struct {
			User     string `json:"username"`
			Password string `json:"password"`
			Crypted  bool   `json:"crypted"`
		}{user, base64.StdEncoding.EncodeToString([]byte(password)), false})
		if err != nil {
			return fault.Conflict("guest %s did not take the password of user %s: %v", id, user, err).WithCause(err)
		}
		return nil
	})
}

// quiet runs act while the guest's file systems stand still, if its agent can do that, else at once. That they are frozen is on disk before it is so: an agent of
// ours that dies in between is followed by one that thaws them.
func (d *Driver) quiet(ctx context.Context, g *guest, act func() error) error {
	if !g.record().Agent {
		return act()
	}
	unlock, err := d.lock(ctx, g.id)
	if err != nil {
		return err
	}
	defer unlock()
	if m := g.machine(); m == nil || m.paused.Load() {
		return act() // nobody writes
	}
	if err := d.freezeFiles(ctx, g); err != nil {
		d.cfg.Log.Info("copied without freezing the guest's file systems", "guest", g.id, "err", err)
		return act()
	}
	err = act()
	d.unfreeze(context.WithoutCancel(ctx), g)
	return err
}

func (d *Driver) freezeFiles(ctx context.Context, g *guest) error {
	a, err := d.dialAgent(ctx, g)
	if err != nil {
		return err
	}
	defer a.close()
	if err := g.change(false, func(r *record) { r.Frozen = true }); err != nil {
		return err
	}
	if err := a.call(ctx, freezePatience, "guest-fsfreeze-freeze", nil); err != nil {
		d.unfreezeBy(context.WithoutCancel(ctx), g, a) // it may have frozen some of them
		return err
	}
	return nil
}

// unfreeze thaws the guest's file systems; one that does not answer is asked again for a while. What is not frozen is left so by the agent.
func (d *Driver) unfreeze(ctx context.Context, g *guest) {
	for range 3 {
		a, err := d.dialAgent(ctx, g)
		if err == nil {
			ok := d.unfreezeBy(ctx, g, a)
			a.close()
			if ok {
				return
			}
		}
		if ctx.Err() != nil || g.machine() == nil {
			return
		}
	}
	d.cfg.Log.Error("the guest's file systems may be left frozen: its agent does not answer", "guest", g.id)
}

func (d *Driver) unfreezeBy(ctx context.Context, g *guest, a *guestAgent) bool {
	if err := a.call(ctx, freezePatience, "guest-fsfreeze-thaw", nil); err != nil {
		d.cfg.Log.Warn("guest's file systems not thawed", "guest", g.id, "err", err)
		return false
	}
	if err := g.change(false, func(r *record) { r.Frozen = false }); err != nil {
		d.cfg.Log.Error("record of a thawed guest", "guest", g.id, "err", err)
	}
	return true
}
