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
			n, err := s.Fits(ctx, tx, "p", quota.User{}, map[string]int64{"instances": 1}, 1, 5)
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

// A user's own limit stops them, before the project's and only them; it is asked what they have only when there is one.
func TestUsersOwnLimits(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{quota.Migrations()}, func(t *testing.T, d *db.DB) {
		s, ctx := quota.New(), t.Context()
		asked, have := 0, map[string]int64{"instances": 3}
		user := quota.User{ID: "u", Used: func() (map[string]int64, error) { asked++; return have, nil }}
		reserve := func(u quota.User, n int64) error {
			return d.Write(ctx, func(tx *db.Tx) error {
				return s.ReserveFor(ctx, tx, "p", u, map[string]int64{"instances": n, "cores": n})
			})
		}
		require.NoError(t, reserve(user, 1))
		require.Zero(t, asked)
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return s.SetUserLimit(ctx, tx, "p", "u", "instances", 5) }))
		require.NoError(t, reserve(user, 2))
		require.Equal(t, 1, asked)
		err := reserve(user, 3)
		require.Equal(t, fault.KindQuota, fault.KindOf(err))
		require.Contains(t, err.Error(), "Quota exceeded for instances: Requested 3, but already used 3 of 5 instances")
		require.NoError(t, reserve(quota.User{ID: "other", Used: user.Used}, 3))
		require.Equal(t, fault.KindQuota, fault.KindOf(reserve(quota.User{ID: "other", Used: user.Used}, 5)), "the project has 10")
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
			used, err := s.Usage(ctx, tx, "p")
			require.NoError(t, err)
			require.Equal(t, map[string]int64{"instances": 6, "cores": 6}, used, "what was refused took nothing")
			n, err := s.Fits(ctx, tx, "p", user, map[string]int64{"instances": 1}, 1, 4)
			require.NoError(t, err)
			require.Equal(t, 2, n)
			l, err := s.UserLimits(ctx, tx, "p", "u", []string{"instances", "cores"})
			require.Equal(t, map[string]int64{"instances": 5, "cores": 20}, l)
			return err
		}))
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return s.ResetUser(ctx, tx, "p", "u", []string{"instances"}) }))
		require.NoError(t, reserve(user, 3))
	})
}
