package agent

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"nephos/internal/fault"
	"nephos/internal/host/blockdev"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/peer"
	"nephos/internal/hostapi"
)

// MovingDisks is how disks go from host to host and grow; part of Disks.
type MovingDisks interface {
	// Again makes copies of the disks that were set aside under key, once.
	Again(ctx context.Context, dir, key string) error
	// Bring fetches all disks of a server from another host, once; half copies are gone on with.
	Bring(ctx context.Context, dir string, spec *hostapi.InstanceSpec, from peer.Source) (string, error)
	// Fit gives the disks the sizes of spec. They only grow, but a swap disk of another size is made anew.
	Fit(ctx context.Context, dir string, spec *hostapi.InstanceSpec) error
	// Offer names the files that make up the server, by what they are called elsewhere.
	Offer(dir string) (map[string]string, error)
}

// moved is act for the operations of moves.
func (a *Agent) moved(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) (known bool, err error) {
	var do func(context.Context, *instance, hostapi.Command, *steps) error
	switch cmd.Op {
	case hostapi.OpMoveOut:
		do = a.moveOut
	case hostapi.OpMoveIn:
		do = a.moveIn
	case hostapi.OpMoveBack:
		do = a.moveBack
	case hostapi.OpMoveDone:
		do = a.moveDone
	case hostapi.OpLiveTarget:
		do = a.liveTarget
	case hostapi.OpLiveSend:
		do = a.liveSend
	case hostapi.OpLiveFinish:
		do = a.liveFinish
	default:
		return false, nil
	}
	if cmd.Move == nil {
		return true, fault.Invalid("move", "a move that names no migration")
	}
	return true, do(ctx, in, cmd, st)
}

// moveOut ends the guest. On the way to another host its ports go and its disks are offered; on one host the disks are set aside.
func (a *Agent) moveOut(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if err := st.do("poweroff", func() (string, error) { return "", a.cfg.Driver.Shutdown(ctx, in.id, cmd.Grace) }); err != nil {
		return err
	}
	if cmd.Move.Same {
		return st.do("set aside", func() (string, error) {
			return "", a.cfg.Disks.SetAside(in.dir, hostapi.RebuildTask{Key: cmd.Move.Key})
		})
	}
	return st.do("park", func() (string, error) { return "", a.park(ctx, in, cmd.Move.Token) })
}

// park takes an instance out of the host's networking and offers what it has to who shows the token.
func (a *Agent) park(ctx context.Context, in *instance, token string) error {
	if err := in.setState(func(s *instanceState) { s.Parked, s.Offer = true, token }); err != nil {
		return err
	}
	_, err := a.unplug(ctx, in.id)
	return err
}

// moveIn makes the server from disks that come from elsewhere.
func (a *Agent) moveIn(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	spec, t := cmd.Spec, cmd.Move
	if spec == nil {
		return fault.Invalid("spec", "a move to this host without a spec")
	}
	if err := in.setSpec(spec); err != nil {
		return err
	}
	switch {
	case t.Same:
		if err := st.do("copy", func() (string, error) { return "", a.cfg.Disks.Again(ctx, in.dir, t.Key) }); err != nil {
			return err
		}
	case !t.Fresh:
		from := peer.Source{Client: a.cfg.Peers, Address: t.Address, Host: t.Peer, Server: spec.ServerID, Token: t.Token}
		if err := st.do("transfer", func() (string, error) { return a.cfg.Disks.Bring(ctx, in.dir, spec, from) }); err != nil {
			return err
		}
	}
	if err := st.do("resize", func() (string, error) { return "", a.cfg.Disks.Fit(ctx, in.dir, spec) }); err != nil {
		return err
	}
	if err := a.powered(ctx, in, t.PowerOn, st); err != nil {
		return err
	}
	in.mark(func(s *instanceState) { s.Built = true })
	return nil
}

// powered starts the guest, or has everything ready for a later start.
func (a *Agent) powered(ctx context.Context, in *instance, on bool, st *steps) error {
	if on {
		return a.powerOn(ctx, in, st)
	}
	_, err := a.prepare(ctx, in, in.currentSpec(), st)
	if err != nil {
		return err
	}
	return st.do("network", func() (string, error) { return a.plug(ctx, in.currentSpec()) })
}

// moveBack is the server as it was before moveOut or liveSend.
func (a *Agent) moveBack(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	t := cmd.Move
	if t.Same {
		err := st.do("put back", func() (string, error) {
			if err := a.cfg.Driver.Shutdown(ctx, in.id, 0); err != nil {
				return "", err
			}
			return "", a.cfg.Disks.PutBack(in.dir, t.Key)
		})
		if err != nil {
			return err
		}
	}
	if !t.Same && !t.Alone {
		err := st.do("stay", func() (string, error) {
			left, err := a.cfg.Driver.Sent(ctx, in.id)
			if err == nil && left {
				err = fault.Conflict("the guest has left for host %s, which does not say what has become of it", t.Peer)
			}
			return "", err
		})
		if err != nil {
			return err
		}
	}
	if err := in.setState(func(s *instanceState) { s.Parked, s.Offer = false, "" }); err != nil {
		return err
	}
	if err := a.refresh(in, cmd); err != nil {
		return err
	}
	now, err := a.cfg.Driver.Status(ctx, in.id)
	if err != nil {
		return err
	}
	// A suspended guest could not be sent, and is as it was: to start it would throw its memory away.
	return a.powered(ctx, in, t.PowerOn && now.Power != hostapi.PowerSuspended, st)
}

// moveDone lets go of what was kept for the way back.
func (a *Agent) moveDone(_ context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	in.mark(func(s *instanceState) { s.Offer = "" })
	if !cmd.Move.Same {
		return nil
	}
	return st.do("clean", func() (string, error) { return "", a.cfg.Disks.DropAside(in.dir) })
}

// offered checks a token.
func (a *Agent) offered(serverID, token string) (*instance, instanceState, error) {
	a.mu.Lock()
	in := a.instances[serverID]
	a.mu.Unlock()
	if in == nil {
		return nil, instanceState{}, fault.Forbidden("no such offer")
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.state.Offer == "" || subtle.ConstantTimeCompare([]byte(in.state.Offer), []byte(token)) != 1 {
		return nil, instanceState{}, fault.Forbidden("no such offer")
	}
	return in, in.state, nil
}

// Offered implements peer.Host.
func (a *Agent) Offered(serverID, token string) (map[string]string, error) {
	in, state, err := a.offered(serverID, token)
	if err != nil {
		return nil, err
	}
	if !state.Parked {
		return nil, fault.Forbidden("no such offer")
	}
	return a.cfg.Disks.Offer(in.dir)
}

// Arriving implements peer.Host.
func (a *Agent) Arriving(ctx context.Context, serverID, token, name string, accept func() (net.Conn, error)) error {
	_, state, err := a.offered(serverID, token)
	if err == nil && state.Parked {
		err = fault.Forbidden("no such offer")
	}
	if err != nil {
		return err
	}
	return a.cfg.Driver.Take(ctx, serverID, name, accept)
}

// liveTarget has a process wait for the guest, with disks of the right sizes.
func (a *Agent) liveTarget(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Spec == nil {
		return fault.Invalid("spec", "a move to this host without a spec")
	}
	if err := in.setSpec(cmd.Spec); err != nil {
		return err
	}
	if err := in.setState(func(s *instanceState) { s.Parked, s.Offer = false, cmd.Move.Token }); err != nil {
		return err
	}
	guest, err := a.prepare(ctx, in, cmd.Spec, st)
	if err != nil {
		return err
	}
	if err := st.do("network", func() (string, error) { return a.plug(ctx, cmd.Spec) }); err != nil {
		return err
	}
	return st.do("hypervisor", func() (string, error) { return "", a.cfg.Driver.Await(ctx, guest) })
}

// liveSend returns without an error only when the guest has left; with one only when it is still here.
func (a *Agent) liveSend(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	t := cmd.Move
	to := peer.Source{Client: a.cfg.Peers, Address: t.Address, Host: t.Peer, Server: in.id, Token: t.Token}
	err := st.do("send", func() (string, error) {
		return "", a.cfg.Driver.Send(ctx, in.id, hypervisor.Sending{Dial: to.Dial, Progress: func(p hostapi.MoveProgress) {
			p.Subject, p.Epoch = in.id, cmd.Epoch
			_ = a.cfg.Bus.Publish(hostapi.SubjectMoveProgress, p) // a lost word costs only a figure that is shown
		}})
	})
	if err != nil {
		return err
	}
	return st.do("park", func() (string, error) { return "", a.park(ctx, in, "") })
}

// liveFinish says whether the guest has come, and has it run.
func (a *Agent) liveFinish(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if err := st.do("arrive", func() (string, error) { return "", a.cfg.Driver.Arrived(ctx, in.id, cmd.Move.PowerOn) }); err != nil {
		return err
	}
	in.mark(func(s *instanceState) { s.Built, s.Offer = true, "" })
	return nil
}

// interfere is what reaches into a sending that is under way: it does not wait for the operation that holds the instance.
func (a *Agent) interfere(ctx context.Context, cmd hostapi.Command) hostapi.Result {
	var st steps
	err := st.do(string(cmd.Op), func() (string, error) {
		if cmd.Op == hostapi.OpLiveForce {
			return "", a.cfg.Driver.HurrySend(ctx, cmd.Subject)
		}
		return "", a.cfg.Driver.AbortSend(ctx, cmd.Subject)
	})
	if err != nil {
		return a.failed(cmd, &st, err)
	}
	return hostapi.Result{CommandID: cmd.ID, Host: a.cfg.Info.Name, Steps: st.list}
}

// moving are the files of a server that go along to another host, as they are called everywhere.
var moving = []string{rootFile, ephemeralFile, swapFile, "uefi-vars.fd"}

// incoming is where disks gather until all are whole.
const incoming = ".incoming"

// Again implements Disks.
func (f *Files) Again(ctx context.Context, dir, key string) error {
	for _, name := range []string{rootFile, ephemeralFile, swapFile} {
		err := blockdev.Duplicate(ctx, filepath.Join(dir, asidePrefix+key, name), filepath.Join(dir, name), f.Owner)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Bring implements Disks. The disks come into a directory of their own and leave it one by one when they are whole; it goes last, so that a repeated command knows how far it was.
func (f *Files) Bring(ctx context.Context, dir string, spec *hostapi.InstanceSpec, from peer.Source) (string, error) {
	m, err := from.Manifest(ctx)
	if err != nil {
		return "", err
	}
	in := filepath.Join(dir, incoming)
	if err := os.MkdirAll(in, 0o700); err != nil {
		return "", err
	}
	var bytes int64
	for _, file := range m.Files {
		for _, e := range file.Extents {
			bytes += e[1]
		}
		final := filepath.Join(dir, filepath.Base(file.Name))
		if _, err := os.Stat(final); err == nil {
			continue // whole since an earlier try: the source's copy cannot have changed, it is parked
		}
		part, err := from.Fetch(ctx, file, filepath.Join(in, filepath.Base(file.Name)))
		if err != nil {
			return "", err
		}
		if file.Name == rootFile && spec.Image != nil {
			set, err := f.Cache.GetSet(ctx, *spec.Image)
			if err != nil {
				return "", err
			}
			if err := blockdev.Rebase(ctx, part, blockdev.Backing{Path: set.Root.Path, Format: set.Root.Format}); err != nil {
				return "", err
			}
		}
		if err := blockdev.Adopt(part, final, f.Owner); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d MiB from host %s", bytes>>20, from.Host), os.RemoveAll(in)
}

// Fit implements Disks.
func (f *Files) Fit(ctx context.Context, dir string, spec *hostapi.InstanceSpec) error {
	if o, err := blockdev.ReadOverlay(filepath.Join(dir, rootFile)); err == nil && spec.RootGiB > 0 && o.VirtualBytes < int64(spec.RootGiB)*gib {
		if err := blockdev.Grow(ctx, filepath.Join(dir, rootFile), "qcow2", int64(spec.RootGiB)*gib); err != nil {
			return err
		}
	}
	if st, err := os.Stat(filepath.Join(dir, ephemeralFile)); err == nil && st.Size() < int64(spec.EphemeralGiB)*gib {
		if err := blockdev.Grow(ctx, filepath.Join(dir, ephemeralFile), "raw", int64(spec.EphemeralGiB)*gib); err != nil {
			return err
		}
	}
	if st, err := os.Stat(filepath.Join(dir, swapFile)); err == nil && st.Size() != int64(spec.SwapMiB)<<20 {
		return remove(filepath.Join(dir, swapFile))
	}
	return nil
}

// Offer implements Disks.
func (f *Files) Offer(dir string) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range moving {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			out[name] = filepath.Join(dir, name)
		}
	}
	return out, nil
}

// Again implements Disks.
func (n *NoFiles) Again(context.Context, string, string) error { return nil }

// Bring implements Disks: there is nothing to fetch, but the other host is asked, so that a wrong token or address shows.
func (n *NoFiles) Bring(ctx context.Context, _ string, _ *hostapi.InstanceSpec, from peer.Source) (string, error) {
	_, err := from.Manifest(ctx)
	return "simulated", err
}

// Fit implements Disks.
func (n *NoFiles) Fit(context.Context, string, *hostapi.InstanceSpec) error { return nil }

// Offer implements Disks.
func (n *NoFiles) Offer(string) (map[string]string, error) { return nil, nil }
