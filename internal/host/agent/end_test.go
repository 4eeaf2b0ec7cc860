package agent_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/host/hypervisor/fake"
	"nephos/internal/hostapi"
)

// TestOrderlyEndIsNoFailure: an agent that is told to stop in the middle of a command says nothing about it, and the next one finishes it.
func TestOrderlyEndIsNoFailure(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.script.Add(fake.Rule{Verb: fake.Start, Times: 1, Delay: time.Hour})
	c := build(s1, 1, "p1")
	c.Deadline = time.Now().Add(time.Hour)
	answer := h.later(c)
	h.reaches(s1, "hypervisor")
	h.stop()
	require.Contains(t, (<-answer).Err, "bus:", "not an answer of the host")
	h.start()
	h.ok(c)
	require.Equal(t, hostapi.PowerRunning, h.power(s1))
}
