package agent

import (
	"context"
	"errors"
	"sync"

	"nephos/internal/hostapi"
)

// errEnding is what a request gets from an agent that ends: no answer, as if nobody had been there. A command comes again, to the next agent.
var errEnding = errors.New("the agent is stopping")

// desk is where requests from the bus come in. It is closed before anything that they need (hypervisor, data plane) is closed behind the agent.
type desk struct {
	mu     sync.Mutex // guards closed; orders Add before Wait
	closed bool
	busy   sync.WaitGroup // requests under way
}

func (d *desk) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.busy.Add(1)
	return true
}

// close lets nobody in any more and waits for those inside.
func (d *desk) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.busy.Wait()
}

// Run serves until ctx ends; then it breaks off what is under way and waits for it. What was broken off is neither answered nor recorded: it has not failed. Guests go on. Before
// it the agent must be Open.
func (a *Agent) Run(ctx context.Context) error {
	name := a.cfg.Info.Name
	d := &desk{}
	subjects := map[string]func(context.Context, []byte) (any, error){
		hostapi.SubjectCommand(name):   a.onCommand,
		hostapi.SubjectNetwork(name):   a.onNetwork,
		hostapi.SubjectConsole(name):   a.onConsole,
		hostapi.SubjectLook(name):      a.onLook,
		hostapi.SubjectInventory(name): a.onInventory,
	}
	if a.cfg.Simulated == nil {
		subjects[hostapi.SubjectMembers] = a.onMembers
	}
	for subject, fn := range subjects {
		err := a.cfg.Bus.Handle(subject, "", func(hctx context.Context, data []byte) (any, error) {
			if !d.enter() {
				return nil, errEnding
			}
			defer d.busy.Done()
			hctx, cancel := context.WithCancel(hctx)
			defer cancel()
			defer context.AfterFunc(ctx, cancel)()
			return fn(hctx, data)
		})
		if err != nil {
			return err
		}
	}
	a.loop(ctx)
	d.close()
	a.leaving.Wait()
	return nil
}
