package httpapi

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestGateTakesTurns: who waits behind a caller's hundred requests is next but one, not next but a hundred.
func TestGateTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, 1, 1000, time.Hour)
		require.True(t, g.enter(t.Context(), "busy"))
		var order []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		ask := func(key string) {
			wg.Go(func() {
				if g.enter(t.Context(), key) {
					mu.Lock()
					order = append(order, key)
					mu.Unlock()
					g.leave(key)
				}
			})
			synctest.Wait()
		}
		for range 100 {
			ask("busy")
		}
		ask("honest")
		g.leave("busy")
		wg.Wait()
		require.Len(t, order, 101)
		require.Contains(t, order[:2], "honest")
	})
}

// TestGateKeepsRoom: one caller that never lets go does not have all places.
func TestGateKeepsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(4, 3, 10, time.Minute)
		for range 3 {
			require.True(t, g.enter(t.Context(), "slow"))
		}
		began := time.Now()
		require.False(t, g.enter(t.Context(), "slow"))
		require.Equal(t, time.Minute, time.Since(began))
		require.True(t, g.enter(t.Context(), "honest"))
		g.leave("honest")
		require.True(t, g.enter(t.Context(), "honest"))
	})
}

// TestGateShedsTheHeaviest: a full queue refuses the newest of whoever fills it, not the newcomer.
func TestGateShedsTheHeaviest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, 1, 5, time.Hour)
		require.True(t, g.enter(t.Context(), "busy"))
		var refused atomic.Int32
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if !g.enter(t.Context(), "busy") {
					refused.Add(1)
					return
				}
				g.leave("busy")
			})
		}
		synctest.Wait()
		require.EqualValues(t, 1, refused.Load(), "six for five places, all of one caller")
		served := false
		wg.Go(func() {
			if served = g.enter(t.Context(), "honest"); served {
				g.leave("honest")
			}
		})
		synctest.Wait()
		require.EqualValues(t, 2, refused.Load())
		g.leave("busy")
		wg.Wait()
		require.True(t, served)
		require.Equal(t, 1, g.free)
		require.Zero(t, g.waiting)
	})
}

// TestGateKeepsCount: whatever comes, goes and gives up, no place is lost or given twice, and no key has more than its share.
func TestGateKeepsCount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		places := rapid.IntRange(1, 5).Draw(rt, "places")
		share := rapid.IntRange(1, places).Draw(rt, "share")
		g := newGate(places, share, rapid.IntRange(1, 8).Draw(rt, "waiters"), time.Hour)
		requests := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 60).Draw(rt, "keys")
		giveUp := rapid.SliceOfN(rapid.Bool(), len(requests), len(requests)).Draw(rt, "give up")
		var inside atomic.Int32
		var byKey [4]atomic.Int32
		var wg sync.WaitGroup
		for i, k := range requests {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if giveUp[i] {
					cancel()
				}
				key := fmt.Sprint(k)
				if !g.enter(ctx, key) {
					return
				}
				if n := inside.Add(1); int(n) > places {
					rt.Errorf("%d inside of %d", n, places)
				}
				if n := byKey[k].Add(1); int(n) > share {
					rt.Errorf("%d of one key inside, its share is %d", n, share)
				}
				byKey[k].Add(-1)
				inside.Add(-1)
				g.leave(key)
			})
		}
		wg.Wait()
		if g.free != places || g.waiting != 0 || len(g.held) != 0 || len(g.queues) != 0 || len(g.turns) != 0 {
			rt.Fatalf("left: free %d of %d, waiting %d, held %v, queues %v, turns %v", g.free, places, g.waiting, g.held, g.queues, g.turns)
		}
	})
}

func TestPool(t *testing.T) {
	t.Parallel()
	p := newPool(100)
	require.True(t, p.take("a", 50))
	require.False(t, p.take("a", 1), "half is one caller's most")
	require.True(t, p.take("b", 50))
	require.False(t, p.take("c", 1))
	p.put("a", 50)
	require.True(t, p.take("c", 1))
	p.put("b", 50)
	p.put("c", 1)
	require.Zero(t, p.used)
	require.Empty(t, p.held)
}
