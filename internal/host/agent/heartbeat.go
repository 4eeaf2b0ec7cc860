package agent

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"nephos/internal/hostapi"
)

// replyTime bounds the wait for a controller's answer to a heartbeat.
const replyTime = 4 * time.Second

// loop sends heartbeats, at once when a guest changes its power by itself, until ctx ends.
func (a *Agent) loop(ctx context.Context) {
	every := cmp.Or(a.cfg.Every, hostapi.HeartbeatEvery)
	offset := a.cfg.Offset
	if offset == nil {
		offset = rand.N[time.Duration]
	}
	next := time.NewTimer(offset(every))
	defer next.Stop()
	events := a.cfg.Driver.Events()
	a.heartbeat(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			next.Reset(every)
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			a.cfg.Log.Info("guest changed its power state", "server", e.ID, "power", e.Power, "why", e.Why)
		}
		a.heartbeat(ctx)
		if a.seq.Load()%copiesEvery == 0 {
			a.dropOldCopies()
		}
	}
}

// copiesEvery is after how many heartbeats old copies are looked for.
const copiesEvery = 12

// status is what the host holds, as the heartbeat tells it. The power states are read between two looks at the instances: one on which a command began or
// ended meanwhile is told as busy, so that nobody judges by a power state that is already old.
func (a *Agent) status(ctx context.Context) []hostapi.InstanceStatus {
	a.mu.Lock()
	all := make([]*instance, 0, len(a.instances))
	before := make(map[string]int64, len(a.instances))
	for _, in := range a.instances {
		all = append(all, in)
		in.mu.Lock()
		before[in.id] = in.state.Epoch
		if len(in.flights) > 0 {
			before[in.id] = -1
		}
		in.mu.Unlock()
	}
	a.mu.Unlock()
	power := map[string]hostapi.PowerState{}
	if list, err := a.cfg.Driver.List(ctx); err == nil {
		for _, s := range list {
			power[s.ID] = s.Power
		}
	}
	out := make([]hostapi.InstanceStatus, 0, len(all))
	for _, in := range all {
		in.mu.Lock()
		s := hostapi.InstanceStatus{ServerID: in.id, Epoch: in.state.Epoch, Power: power[in.id], Busy: len(in.flights) > 0 || before[in.id] != in.state.Epoch}
		if s.Power == hostapi.PowerNone && in.state.Built {
			s.Power = hostapi.PowerShutdown
		}
		in.mu.Unlock()
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y hostapi.InstanceStatus) int {
		if x.ServerID < y.ServerID {
			return -1
		}
		return 1
	})
	return out
}

// heartbeat reports and does what the answer asks for.
func (a *Agent) heartbeat(ctx context.Context) {
	hb := hostapi.Heartbeat{Host: a.cfg.Info, Seq: a.seq.Add(1), Answered: a.answered, NetworkRevision: a.applied.Load(), Instances: a.status(ctx)}
	hb.FreeDiskGiB, _, _ = a.cfg.Disks.FreeGiB() // unknown is 0: the controller only shows it
	rctx, cancel := context.WithTimeout(ctx, replyTime)
	defer cancel()
	var reply hostapi.HeartbeatReply
	if err := a.cfg.Bus.Request(rctx, hostapi.SubjectHeartbeat, hb, &reply); err != nil {
		if ctx.Err() == nil {
			a.cfg.Log.Warn("no controller answers the heartbeat", "err", err)
		}
		return
	}
	a.answered = reply.Time
	for id, epoch := range reply.Destroy {
		a.startLetGo(ctx, id, epoch)
	}
	// A change of members that was told a heartbeat ago and has not come has been lost on the way; one told since may be on it.
	lost := a.told > a.members.Load()
	a.told = reply.MembersRevision
	if reply.NetworkRevision > a.applied.Load() || lost && a.cfg.Simulated == nil {
		a.heard(reply.MembersRevision) // by the document
		a.refetch(ctx)
	}
}

// startLetGo lets an instance go beside the heartbeats: a destroy waits for what is under way on the instance, and a host must not seem dead for it.
func (a *Agent) startLetGo(ctx context.Context, id string, epoch int64) {
	a.leavingMu.Lock()
	defer a.leavingMu.Unlock()
	if a.leavingID[id] {
		return
	}
	a.leavingID[id] = true
	a.leaving.Go(func() {
		a.letGo(ctx, id, epoch)
		a.leavingMu.Lock()
		delete(a.leavingID, id)
		a.leavingMu.Unlock()
	})
}

// letGo destroys an instance that the controller knows to be elsewhere or gone, unless a newer command has come since. Each try is a command of its own:
// a failure must not be what the next heartbeat gets for an answer.
func (a *Agent) letGo(ctx context.Context, id string, epoch int64) {
	res, err := a.command(ctx, hostapi.Command{ID: fmt.Sprintf("let-go:%s:%d:%d", id, epoch, time.Now().UnixNano()), Subject: id, Epoch: epoch, Turn: math.MaxInt, Op: hostapi.OpDestroy})
	a.cfg.Log.Info("instance let go: the controller does not know it here", "server", id, "epoch", epoch, "result", res.Err, "err", err)
}
