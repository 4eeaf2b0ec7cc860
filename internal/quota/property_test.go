package quota_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/quota"
)

var errUndo = errors.New("undo")

// TestUsageIsTheModels: any sequence of reserving, releasing, rolling back and setting limits gives the usage and the refusals of a plain map.
func TestUsageIsTheModels(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, quota.Migrations())
	ctx, s, round := context.Background(), quota.New(), 0
	resources := []string{"instances", "cores", "ram"}
	rapid.Check(t, func(t *rapid.T) {
		round++
		project := "p" + string(rune('A'+round/26%26)) + string(rune('a'+round%26)) + rapid.StringMatching(`[a-z0-9]{12}`).Draw(t, "project")
		own, used := map[string]int64{}, map[string]int64{}
		limit := func(r string) int64 {
			if l, ok := own[r]; ok {
				return l
			}
			return quota.Default(r)
		}
		amounts := rapid.MapOfN(rapid.SampledFrom(resources), rapid.Int64Range(0, 12), 1, 3)
		t.Repeat(map[string]func(*rapid.T){
			"limit": func(t *rapid.T) {
				r, l := rapid.SampledFrom(resources).Draw(t, "resource"), rapid.Int64Range(-1, 30).Draw(t, "limit")
				require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return s.SetLimit(ctx, tx, project, r, l) }))
				own[r] = l
			},
			"reset": func(t *rapid.T) {
				require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return s.Reset(ctx, tx, project, resources) }))
				clear(own)
			},
			"reserve": func(t *rapid.T) {
				delta, undo := amounts.Draw(t, "delta"), rapid.Bool().Draw(t, "undo")
				err := d.Write(ctx, func(tx *db.Tx) error {
					if err := s.Reserve(ctx, tx, project, delta); err != nil || !undo {
						return err
					}
					return errUndo
				})
				fits := true
				for r, n := range delta {
					fits = fits && (n == 0 || limit(r) == quota.Unlimited || used[r]+n <= limit(r))
				}
				switch {
				case !fits:
					require.Equal(t, fault.KindQuota, fault.KindOf(err), "%v", err)
				case undo:
					require.ErrorIs(t, err, errUndo)
				default:
					require.NoError(t, err)
					for r, n := range delta {
						used[r] += n
					}
				}
			},
			"release": func(t *rapid.T) {
				delta := amounts.Draw(t, "delta")
				for r := range delta {
					delta[r] = min(delta[r], used[r])
					used[r] -= delta[r]
				}
				require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return s.Release(ctx, tx, project, delta) }))
			},
			"fits": func(t *rapid.T) {
				unit, least := amounts.Draw(t, "unit"), rapid.IntRange(1, 3).Draw(t, "at least")
				most := least + rapid.IntRange(0, 9).Draw(t, "more")
				want := most
				for r, n := range unit {
					if n > 0 && limit(r) != quota.Unlimited {
						want = min(want, max(0, int((limit(r)-used[r])/n)))
					}
				}
				require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
					got, err := s.Fits(ctx, tx, project, quota.User{}, unit, least, most)
					if want < least {
						require.Equal(t, fault.KindQuota, fault.KindOf(err), "%v", err)
						return nil
					}
					require.NoError(t, err)
					require.Equal(t, want, got)
					return nil
				}))
			},
			"": func(t *rapid.T) {
				require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
					u, err := s.Usage(ctx, tx, project)
					for _, r := range resources {
						require.Equal(t, used[r], u[r], r)
					}
					require.NoError(t, err)
					limits, err := s.Limits(ctx, tx, project, resources)
					for _, r := range resources {
						require.Equal(t, limit(r), limits[r], r)
						one, err := s.Limit(ctx, tx, project, r)
						require.NoError(t, err)
						require.Equal(t, limits[r], one)
					}
					return err
				}))
			},
		})
	})
}

// TestCrowdIsExact: many at once reserve, keep, give back and roll back; at the end the rows say exactly what was kept, and no limit was ever passed.
func TestCrowdIsExact(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{quota.Migrations()}, func(t *testing.T, d *db.DB) {
		ctx, s := context.Background(), quota.New()
		var mu sync.Mutex
		kept := map[string]int64{}
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(7, uint64(worker)))
				for range 40 {
					n := 1 + rng.Int64N(3)
					delta := map[string]int64{"instances": n, "cores": 2 * n, "ram": 512 * n}
					undo := rng.IntN(4) == 0
					err := d.Write(ctx, func(tx *db.Tx) error {
						if err := s.Reserve(ctx, tx, "p", delta); err != nil {
							return err
						}
						u, err := s.Usage(ctx, tx, "p")
						if err == nil && (u["instances"] > 10 || u["cores"] > 20) {
							err = fault.Conflict("oversold: %v", maps.Clone(u))
						}
						if err == nil && undo {
							err = errUndo
						}
						return err
					})
					switch {
					case err == nil && rng.IntN(3) > 0:
						if err := d.Write(ctx, func(tx *db.Tx) error { return s.Release(ctx, tx, "p", delta) }); err != nil {
							t.Errorf("release: %v", err)
						}
					case err == nil:
						mu.Lock()
						for r, n := range delta {
							kept[r] += n
						}
						mu.Unlock()
					case !errors.Is(err, errUndo) && fault.KindOf(err) != fault.KindQuota:
						t.Errorf("reserve: %v", err)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
			u, err := s.Usage(ctx, tx, "p")
			require.NoError(t, err)
			require.Equal(t, kept, u)
			differ, err := s.Check(ctx, tx, []string{"instances", "cores", "ram"}, quota.Count{"p": kept})
			require.Empty(t, differ)
			return err
		}))
	})
}
