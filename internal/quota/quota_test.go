package quota_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/quota"
)

func TestLastSlotsUnderRace(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{quota.Migrations()}, func(t *testing.T, d *db.DB) {
		ctx, s := context.Background(), quota.New()
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				err := d.Write(ctx, func(tx *db.Tx) error {
					return s.Reserve(ctx, tx, "p", map[string]int64{"instances": 1, "cores": 1, "ram": 64})
				})
				if err == nil {
					won.Add(1)
				} else {
					require.Equal(t, fault.KindQuota, fault.KindOf(err), "%v", err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 10, won.Load())
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
			u, err := s.Usage(ctx, tx, "p")
			require.Equal(t, map[string]int64{"instances": 10, "cores": 10, "ram": 640}, u)
			return err
		}))
	})
}

func TestLimitsWordsAndChecks(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{quota.Migrations()}, func(t *testing.T, d *db.DB) {
		ctx, s := context.Background(), quota.New()
		write := func(fn func(tx *db.Tx) error) error { return d.Write(ctx, fn) }
		require.NoError(t, write(func(tx *db.Tx) error { return s.Reserve(ctx, tx, "p", map[string]int64{"instances": 10}) }))
		err := write(func(tx *db.Tx) error { return s.Reserve(ctx, tx, "p", map[string]int64{"instances": 1}) })
		require.EqualError(t, err, "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances")
		require.Error(t, write(func(tx *db.Tx) error { return s.Reserve(ctx, tx, "new", map[string]int64{"instances": 11}) }))
		require.NoError(t, write(func(tx *db.Tx) error { return s.SetDefault(ctx, tx, "instances", 12) }))
		require.NoError(t, write(func(tx *db.Tx) error {
			n, err := s.Fits(ctx, tx, "p", map[string]int64{"instances": 1}, 1, 5)
			require.Equal(t, 2, n)
			return err
		}))
		require.NoError(t, write(func(tx *db.Tx) error { return s.SetLimit(ctx, tx, "p", "instances", quota.Unlimited) }))
		require.NoError(t, write(func(tx *db.Tx) error { return s.Reserve(ctx, tx, "p", map[string]int64{"instances": 1000}) }))
		require.NoError(t, write(func(tx *db.Tx) error { return s.Release(ctx, tx, "p", map[string]int64{"instances": 1000}) }))
		require.Error(t, write(func(tx *db.Tx) error { return s.SetLimit(ctx, tx, "p", "instances", -2) }))
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
			out, err := s.Check(ctx, tx, []string{"instances"}, quota.Count{"p": {"instances": 9}, "q": {"instances": 1}})
			require.Equal(t, []string{"quota: project p is charged 10 instances, but 9 exist", "quota: project q is charged 0 instances, but 1 exist"}, out)
			return err
		}))
	})
}
