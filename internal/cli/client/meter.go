package client

import (
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// meter counts what is read from r and draws a bar on Err when that is a terminal. done must be called once; it ends the drawing goroutine.
func (s *Session) meter(r io.Reader, total int64, what string) (io.Reader, func(error)) {
	if !s.Terminal || s.JSON {
		return r, func(error) {}
	}
	w := progress.NewWriter()
	w.SetOutputWriter(s.Err)
	w.SetUpdateFrequency(100 * time.Millisecond)
	w.SetTrackerLength(25)
	w.SetAutoStop(false)
	w.Style().Visibility.ETA, w.Style().Visibility.Speed = true, true
	t := &progress.Tracker{Message: what, Total: total, Units: progress.UnitsBytes}
	w.AppendTracker(t)
	ended := make(chan struct{})
	go func() { defer close(ended); w.Render() }()
	return &counter{r, t}, func(err error) {
		if err != nil {
			t.MarkAsErrored()
		} else {
			t.MarkAsDone()
		}
		w.Stop()
		<-ended
	}
}

type counter struct {
	io.Reader
	t *progress.Tracker
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.t.Increment(int64(n))
	return n, err
}
