package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// lifecycle runs a process's loops. Each is started after the ones before it and stopped before them.
type lifecycle struct {
	log   *slog.Logger
	parts []*part

	once   sync.Once
	failed chan error // the first loop that ended by itself with an error; capacity 1
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	close  func() // for parts that have no loop
}

// stopTime is how long one part may take to stop before the process goes on without it.
const stopTime = 20 * time.Second

func newLifecycle(log *slog.Logger) *lifecycle {
	return &lifecycle{log: log, failed: make(chan error, 1)}
}

// run starts a loop that ends when its context ends.
func (l *lifecycle) run(name string, loop func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	l.parts = append(l.parts, p)
	go func() {
		defer close(p.done)
		err := loop(ctx)
		if err != nil && ctx.Err() == nil {
			l.once.Do(func() { l.failed <- errors.Join(errors.New(name), err) })
		}
	}()
}

// onStop registers what must be closed when everything started after it has stopped.
func (l *lifecycle) onStop(name string, fn func()) {
	l.parts = append(l.parts, &part{name: name, close: fn})
}

// stop ends all parts, the last first.
func (l *lifecycle) stop() {
	for i := len(l.parts) - 1; i >= 0; i-- {
		p := l.parts[i]
		start := time.Now()
		if p.close != nil {
			p.close()
		} else {
			p.cancel()
			select {
			case <-p.done:
			case <-time.After(stopTime):
				l.log.Error("part does not stop", "part", p.name, "waited", stopTime)
			}
		}
		l.log.Debug("stopped", "part", p.name, "took", time.Since(start))
	}
	l.parts = nil
}
