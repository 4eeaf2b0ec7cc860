package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/compute"
	fakehv "nephos/internal/host/hypervisor/fake"
)

// A move whose destination falls silent for good, at the moment from which on the guest may run there: nobody starts a second one. The server ends in ERROR at its source, which
// says what to do; an operator who knows that the other host is dead has it run again.
func TestADestinationThatStaysSilent(t *testing.T) {
	tpl := makeTemplate(t)
	for kind, c := range map[string]struct {
		wait   time.Duration // until all is given up
		fenced bool          // the operator has forced the destination down
	}{
		"migrate":                   {wait: 5 * time.Minute},
		"migrate, forced down":      {wait: 5 * time.Minute, fenced: true},
		"live-migrate":              {wait: 2*time.Hour + 5*time.Minute},
		"live-migrate, forced down": {wait: 5 * time.Minute, fenced: true},
	} {
		t.Run(kind, func(t *testing.T) {
			p := plan{Seed: 1, Acts: []act{{No: 1, At: time.Second, Kind: "create", B: 1}}}
			out := playThen(t, tpl, p, nil, func(w *world) error { return w.silentDestination(kind, c.wait, c.fenced) })
			require.NoError(t, out.Err, "%v", out.Err)
		})
	}
}

func (w *world) silentDestination(kind string, wait time.Duration, fenced bool) error {
	s := w.servers[0]
	row := func() placed {
		rows, err := w.placed()
		w.must(err)
		return rows[s.id]
	}
	source := slices.IndexFunc(w.hosts, func(h *host) bool { return h.name == row().Host })
	dest := (source + 1) % len(w.hosts)
	from, to := w.hosts[source], w.hosts[dest]
	// The guest starts, or is sent, only when the destination hears and says nothing any more.
	pause := 10 * time.Second
	to.script.Add(fakehv.Rule{Verb: fakehv.Start, Delay: pause, Times: 1})
	from.script.Add(fakehv.Rule{Verb: fakehv.Send, Delay: pause, Times: 1})
	asked, _, _ := strings.Cut(kind, ",")
	w.do(act{No: 2, Kind: asked, B: 3 * dest})
	time.Sleep(pause / 2)
	w.cutHost(to, true, true, true)
	time.Sleep(pause)
	synctest.Wait()
	if !slices.Contains(to.running(), s.id) {
		return errors.New("the guest does not run at the destination: nothing is shown")
	}
	if err := w.force(to, fenced); err != nil {
		return err
	}
	for range int(wait / time.Minute) {
		time.Sleep(time.Minute)
		synctest.Wait()
		if twice := w.twice(); !fenced && len(twice) > 0 {
			return w.violated(twice)
		}
	}
	now := row()
	switch {
	case fenced && (now.VMState != compute.Active || !slices.Contains(from.running(), s.id)):
		return fmt.Errorf("the operator has said that %s is dead, and the server is %s", to.name, now.VMState)
	case fenced:
	case now.VMState != compute.Errored || now.Host != from.name || now.Active:
		return fmt.Errorf("the server is %s on %s, a workflow works on it: %v", now.VMState, now.Host, now.Active)
	}
	w.cutHost(to, true, true, false)
	if err := w.force(to, false); err != nil {
		return err
	}
	time.Sleep(2 * wrongFor)
	synctest.Wait()
	if running := to.running(); len(running) > 0 {
		return fmt.Errorf("%s is back and runs %v", to.name, running)
	}
	if !fenced {
		w.do(act{No: 3, Kind: "reboot-hard"})
		time.Sleep(time.Minute)
		synctest.Wait()
	}
	if now := row(); now.VMState != compute.Active || !slices.Contains(from.running(), s.id) {
		return fmt.Errorf("after a hard reboot the server is %s", now.VMState)
	}
	return w.final()
}

// force is what an operator says of a host.
func (w *world) force(h *host, down bool) error {
	return w.ctl[0].rooms.Compute.Hosts.Update(w.ctx, h.name, func(r *compute.HostRow) { r.ForcedDown = down })
}
