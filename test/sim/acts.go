package sim

import (
	"context"
	"fmt"
	"time"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/network"
	"nephos/internal/volume"
)

// clientPatience is how long a client waits for its answer.
const clientPatience = 60 * time.Second

// alone waits until nobody else has his hand on the machines; what it gives lets go of them.
func (w *world) alone() (done func()) {
	w.hand <- struct{}{}
	return func() { <-w.hand }
}

// do begins an act. What a client asks for goes on beside the history.
func (w *world) do(a act) {
	w.say("act %s", a)
	defer w.alone()()
	switch a.Kind {
	case "cut-host", "cut-to-host", "cut-from-host", "cut-peers", "agent-dies", "host-dies", "remember", "old-state", "slow-host", "failing-host", "guest-dies":
		w.hostFault(a, w.hosts[a.A%len(w.hosts)])
	case "lossy":
		w.sky(a, func(s *weather, on bool) { s.lost = when(on, 20+a.B%250) })
	case "doubling":
		w.sky(a, func(s *weather, on bool) { s.twice = when(on, 100+a.B%500) })
	case "late":
		w.sky(a, func(s *weather, on bool) { s.late = when(on, 50+a.B%300) })
	case "rough":
		w.sky(a, func(s *weather, on bool) { s.rough = when(on, 100+a.B%500) })
	case "controller-dies", "cut-controller":
		w.controlFault(a, w.ctl[a.A%len(w.ctl)])
	default:
		w.ask(a)
	}
}

func when(on bool, v int) int {
	if on {
		return v
	}
	return 0
}

// later does fn when the fault is over, or at once when everything is healed.
func (w *world) later(a act, fn func()) {
	w.heals.Go(func() {
		for left := a.For; left > 0; left -= time.Second {
			w.mu.Lock()
			healed := w.healed
			w.mu.Unlock()
			if healed {
				break
			}
			time.Sleep(min(left, time.Second))
		}
		w.say("over %s", a)
		defer w.alone()()
		fn()
	})
}

func (w *world) sky(a act, set func(s *weather, on bool)) {
	w.wire.setWeather(func(s *weather) { set(s, true) })
	w.later(a, func() { w.wire.setWeather(func(s *weather) { set(s, false) }) })
}

// cutHost parts a host from all controllers, in one direction or both.
func (w *world) cutHost(h *host, to, from, yes bool) {
	for _, c := range w.ctl {
		if to {
			w.wire.cut(c.name, h.name, yes)
		}
		if from {
			w.wire.cut(h.name, c.name, yes)
		}
	}
	h.touched()
}

// cutPeers parts a host from the other hosts.
func (w *world) cutPeers(h *host, yes bool) {
	for _, o := range w.hosts {
		if o != h {
			w.wire.cut(h.name, o.name, yes)
			w.wire.cut(o.name, h.name, yes)
		}
	}
}

func (w *world) hostFault(a act, h *host) {
	switch a.Kind {
	case "cut-host", "cut-to-host", "cut-from-host":
		to, from := a.Kind != "cut-from-host", a.Kind != "cut-to-host"
		w.cutHost(h, to, from, true)
		w.later(a, func() { w.cutHost(h, to, from, false) })
	case "cut-peers":
		w.cutPeers(h, true)
		w.later(a, func() { w.cutPeers(h, false) })
	case "agent-dies":
		if h.alive() {
			h.kill()
			w.later(a, func() { w.revive(h) })
		}
	case "host-dies":
		if h.alive() {
			w.must(h.cutPower(w.ctx))
			w.later(a, func() { w.revive(h) })
		}
	case "remember":
		if h.alive() {
			w.must(h.remember())
		}
	case "old-state":
		if h.alive() && h.backup {
			h.kill()
			w.must(h.restore())
			w.later(a, func() { w.revive(h) })
		}
	case "slow-host":
		h.slow(time.Duration(1+a.B%20) * time.Second)
		w.later(a, h.script.Clear)
	case "failing-host":
		h.fail(1 + a.B%6)
		w.later(a, h.script.Clear)
	case "guest-dies":
		if ids := h.running(); len(ids) > 0 && h.alive() {
			h.driver.Crash(ids[a.B%len(ids)], "it crashed")
		}
	}
}

func (w *world) revive(h *host) {
	if !h.alive() {
		w.must(h.start(w.ctx))
	}
}

func (w *world) controlFault(a act, c *control) {
	if a.Kind == "cut-controller" {
		set := func(yes bool) {
			for _, h := range w.hosts {
				w.wire.cut(c.name, h.name, yes)
				w.wire.cut(h.name, c.name, yes)
				h.touched()
			}
		}
		set(true)
		w.later(a, func() { set(false) })
		return
	}
	if c.node == nil {
		return
	}
	c.kill()
	w.later(a, func() { w.must(c.start(w.ctx)) })
}

// must keeps an error that is the simulation's own.
func (w *world) must(err error) {
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.broken == nil {
			w.broken = fmt.Errorf("the simulation itself: %w", err)
		}
	}
}

// heal makes everything well that the plan's end has left broken.
func (w *world) heal() error {
	w.wire.setWeather(func(s *weather) { *s = weather{} })
	for _, h := range w.hosts {
		h.script.Clear()
		w.cutHost(h, true, true, false)
		w.cutPeers(h, false)
		w.revive(h)
	}
	for _, c := range w.ctl {
		if c.node == nil {
			w.must(c.start(w.ctx))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// ask sends a client's request to a controller that lives.
func (w *world) ask(a act) {
	var c *control
	for i := range w.ctl {
		if x := w.ctl[(a.B+i)%len(w.ctl)]; x.node != nil {
			c = x
			break
		}
	}
	if c == nil {
		w.say("#%d nobody answers", a.No)
		return
	}
	rooms := c.rooms
	w.clients.Go(func() {
		ctx, cancel := context.WithTimeout(w.ctx, clientPatience)
		defer cancel()
		x := &client{w: w, a: a, ctx: ctx, compute: rooms.Compute, volumes: rooms.Volumes, images: rooms.Images, by: compute.By{Creds: w.creds, RequestID: fmt.Sprintf("req-%d", a.No)}}
		what, err := x.request()
		said := "accepted"
		if err != nil {
			said = "refused: " + w.anonymous(err.Error())
		}
		w.say("#%d %s %s: %s", a.No, a.Kind, what, said)
		if err != nil && fault.KindOf(err) == fault.KindInternal && !errorsOfDying(err) {
			w.must(fmt.Errorf("#%d %s ended in an internal error: %w", a.No, a.Kind, err))
		}
	})
}

// client is one request.
type client struct {
	w       *world
	a       act
	ctx     context.Context
	compute *compute.Service
	volumes *volume.Service
	images  *image.Service
	by      compute.By
}

// request carries out the act; what names its subject.
func (x *client) request() (what string, err error) {
	switch x.a.Kind {
	case "create", "create-on-volume":
		return x.create()
	case "volume", "volume-delete", "volume-extend", "snapshot", "snapshot-delete":
		return x.storage()
	case "image-delete":
		i := x.w.oneOf(&x.w.images, x.a.A)
		if i == nil {
			return "nothing", nil
		}
		return i.label, x.images.Delete(x.ctx, x.by.Creds, i.id)
	}
	s := x.w.oneOf(&x.w.servers, x.a.A)
	if s == nil {
		return "nothing", nil
	}
	return s.label, x.onServer(s)
}

// flavors that are asked for, small ones more often.
var flavors = []string{"42", "84", "1", "1", "42"}

func (x *client) create() (string, error) {
	n := 1
	if x.a.B%7 == 0 {
		n = 2 + x.a.B%2
	}
	name := fmt.Sprintf("a%d", x.a.No)
	req := compute.CreateRequest{RequestID: x.by.RequestID, Name: name, FlavorID: flavors[x.a.A%len(flavors)], ImageID: x.w.tpl.image, NetworkMode: network.ModeAuto, Min: 1, Max: n}
	if x.a.Kind == "create-on-volume" {
		req.Max, n = 1, 1
		req.BlockDevices = []compute.BlockDevice{{SourceType: "image", DestinationType: "volume", ImageID: x.w.tpl.image, SizeGiB: 1, BootIndex: 0, DeleteOnTermination: x.a.B%2 == 0}}
		req.ImageID = ""
	}
	out, err := x.compute.Create(x.ctx, x.by.Creds, req)
	if err != nil {
		return name, err
	}
	for _, s := range out.Servers {
		x.w.add(&x.w.servers, &thing{id: s.ID, label: s.Name})
	}
	return name, nil
}

func (x *client) onServer(s *thing) error {
	switch x.a.Kind {
	case "delete":
		err := x.compute.Delete(x.ctx, x.by, s.id)
		if err == nil {
			x.w.mu.Lock()
			s.gone = true
			x.w.mu.Unlock()
		}
		return err
	case "attach":
		v := x.w.oneOf(&x.w.volumes, x.a.B)
		if v == nil {
			return nil
		}
		_, err := x.compute.AttachVolume(x.ctx, x.by, s.id, compute.AttachRequest{VolumeID: v.id, DeleteOnTermination: x.a.B%3 == 0})
		return err
	case "detach":
		all, err := x.compute.Attachments(x.ctx, x.by, s.id)
		if err != nil || len(all) == 0 {
			return err
		}
		return x.compute.DetachVolume(x.ctx, x.by, s.id, all[x.a.B%len(all)].VolumeID, false)
	case "plug":
		_, err := x.compute.AttachInterface(x.ctx, x.by, s.id, network.Request{NetworkID: x.w.tpl.network})
		return err
	case "unplug":
		port, err := x.w.aPortOf(x.ctx, s.id, x.a.B)
		if err != nil || port == "" {
			return err
		}
		return x.compute.DetachInterface(x.ctx, x.by, s.id, port)
	case "rescue":
		_, err := x.compute.Rescue(x.ctx, x.by, s.id, compute.RescueRequest{})
		return err
	case "unrescue":
		return x.compute.Unrescue(x.ctx, x.by, s.id)
	case "rebuild":
		_, _, err := x.compute.Rebuild(x.ctx, x.by, s.id, compute.RebuildRequest{ImageID: x.w.tpl.image})
		return err
	case "evacuate":
		x.w.mu.Lock()
		s.evacuated = true // or nearly: two hosts may run it from now on, until the old one is reached
		x.w.mu.Unlock()
		_, err := x.compute.Evacuate(x.ctx, x.by, s.id, compute.EvacuateRequest{})
		return err
	}
	if known, err := x.move(s); known {
		return err
	}
	rules := map[string]compute.ActionRule{"stop": compute.ActionStop, "start": compute.ActionStart, "reboot": compute.ActionReboot, "reboot-hard": compute.ActionRebootHard, "pause": compute.ActionPause,
		"unpause": compute.ActionUnpause, "suspend": compute.ActionSuspend, "resume": compute.ActionResume}
	rule, ok := rules[x.a.Kind]
	if !ok {
		return fmt.Errorf("no act %q", x.a.Kind)
	}
	return x.compute.Power(x.ctx, x.by, s.id, rule)
}

func (x *client) storage() (string, error) {
	by := volume.By{Creds: x.by.Creds, RequestID: x.by.RequestID}
	name := fmt.Sprintf("a%d", x.a.No)
	switch x.a.Kind {
	case "volume":
		p := volume.CreateParams{Name: name, SizeGiB: 1 + x.a.A%3}
		if sn := x.w.oneOf(&x.w.snapshots, x.a.A); sn != nil && x.a.B%3 == 0 {
			p = volume.CreateParams{Name: name, SnapshotID: sn.id}
		}
		v, err := x.volumes.Create(x.ctx, by, p)
		if err == nil {
			x.w.add(&x.w.volumes, &thing{id: v.ID, label: name})
		}
		return name, err
	case "snapshot-delete":
		sn := x.w.oneOf(&x.w.snapshots, x.a.A)
		if sn == nil {
			return "nothing", nil
		}
		return sn.label, x.volumes.DeleteSnapshot(x.ctx, by, sn.id, x.a.B%5 == 0)
	}
	v := x.w.oneOf(&x.w.volumes, x.a.A)
	if v == nil {
		return "nothing", nil
	}
	switch x.a.Kind {
	case "snapshot":
		sn, err := x.volumes.CreateSnapshot(x.ctx, by, volume.SnapshotParams{VolumeID: v.id, Name: name, Force: true})
		if err == nil {
			x.w.add(&x.w.snapshots, &thing{id: sn.ID, label: name})
		}
		return v.label, err
	case "volume-extend":
		return v.label, x.volumes.Extend(x.ctx, by, v.id, 4+x.a.B%4, true)
	}
	return v.label, x.volumes.Delete(x.ctx, by, v.id, volume.DeleteOptions{Cascade: x.a.B%3 == 0, Force: x.a.B%7 == 0})
}

func (w *world) add(list *[]*thing, t *thing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.acked = time.Now()
	w.labels[t.id] = t.label
	*list = append(*list, t)
}

// oneOf is the n-th of what clients know of, the newer ones first.
func (w *world) oneOf(list *[]*thing, n int) *thing {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(*list) == 0 {
		return nil
	}
	k := len(*list)
	if k > 6 && n%4 > 0 { // old ones are mostly gone
		return (*list)[k-1-n%6]
	}
	return (*list)[n%k]
}
