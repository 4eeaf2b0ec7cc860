package placement_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/placement"
)

var rooms = []db.Migrations{placement.Migrations()}

// hosts makes n providers with 8 VCPU, 64 MEMORY_MB and 10 DISK_GB each.
func hosts(t *testing.T, d *db.DB, n int) []string {
	t.Helper()
	ctx := context.Background()
	var ids []string
	require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
		ids = nil
		for i := range n {
			id := fmt.Sprintf("h%d", i)
			ids = append(ids, id)
			if err := placement.EnsureProvider(ctx, tx, id, id); err != nil {
				return err
			}
			if err := placement.SetInventory(ctx, tx, id, placement.Inventory{Class: "VCPU", Total: 4, Ratio: 2, MaxUnit: 8}, placement.Inventory{Class: "MEMORY_MB", Total: 80, Reserved: 16, Ratio: 1},
				placement.Inventory{Class: "DISK_GB", Total: 10, Ratio: 1}); err != nil {
				return err
			}
		}
		return nil
	}))
	return ids
}

// sound wants used == sum(allocations) and used <= capacity everywhere.
func sound(t require.TestingT, d *db.DB) {
	ctx := context.Background()
	require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
		wrong, err := placement.Check(ctx, tx)
		require.NoError(t, err)
		require.Empty(t, wrong)
		invs, err := placement.Inventories(ctx, tx, "")
		for _, i := range invs {
			require.LessOrEqual(t, i.Used, i.Capacity, "%s %s is oversold", i.ProviderID, i.Class)
		}
		return err
	}))
}

// TestClaimsNeverOversell runs random claims, changes, releases and rolled-back claims against a model that knows what everybody has.
func TestClaimsNeverOversell(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		ids := hosts(t, d, 2)
		rapid.Check(t, func(rt *rapid.T) {
			require.NoError(rt, d.Write(ctx, func(tx *db.Tx) error { // runs share the database
				all, err := placement.Consumers(ctx, tx)
				for _, c := range all {
					if err := placement.Release(ctx, tx, c); err != nil {
						return err
					}
				}
				return err
			}))
			capacity := map[string]int64{"VCPU": 8, "MEMORY_MB": 64, "DISK_GB": 10}
			model := map[string]map[string]map[string]int64{} // consumer → provider → class
			used := func(provider, class string) (n int64) {
				for _, byProvider := range model {
					n += byProvider[provider][class]
				}
				return n
			}
			amounts := rapid.Custom(func(rt *rapid.T) map[string]int64 {
				out := map[string]int64{}
				for _, class := range []string{"VCPU", "MEMORY_MB", "DISK_GB"} {
					if n := rapid.Int64Range(0, capacity[class]).Draw(rt, class); n > 0 {
						out[class] = n
					}
				}
				return out
			})
			consumer := rapid.SampledFrom([]string{"s0", "s1", "s2", "s3", "s4"})
			rt.Repeat(map[string]func(*rapid.T){
				"claim": func(rt *rapid.T) {
					c, p, want := consumer.Draw(rt, "consumer"), rapid.SampledFrom(ids).Draw(rt, "provider"), amounts.Draw(rt, "amounts")
					if len(want) == 0 {
						return
					}
					rollBack := rapid.Bool().Draw(rt, "roll back")
					fits := true
					for class, n := range want {
						fits = fits && used(p, class)+n <= capacity[class]
					}
					abort := errors.New("abort")
					err := d.Write(ctx, func(tx *db.Tx) error {
						err := placement.Claim(ctx, tx, placement.Consumer{ID: c, ProjectID: "p", UserID: "u"}, p, want)
						if err == nil && rollBack {
							return abort
						}
						return err
					})
					switch _, has := model[c]; {
					case errors.Is(err, abort):
					case err == nil:
						require.True(rt, fits)
						if !has {
							model[c] = map[string]map[string]int64{}
						}
						if model[c][p] == nil {
							model[c][p] = map[string]int64{}
						}
						for class, n := range want { // more classes may be added to what a consumer has, never the same twice
							require.NotContains(rt, model[c][p], class)
							model[c][p][class] = n
						}
					case fault.KindOf(err) == fault.KindNoCapacity:
						require.False(rt, fits, "%v", err)
					default:
						require.Equal(rt, fault.KindConflict, fault.KindOf(err), "%v", err)
						require.True(rt, has)
					}
				},
				"set": func(rt *rapid.T) {
					c := consumer.Draw(rt, "consumer")
					want := map[string]map[string]int64{}
					for _, p := range ids {
						if a := amounts.Draw(rt, p); len(a) > 0 && rapid.Bool().Draw(rt, "on "+p) {
							want[p] = a
						}
					}
					before := model[c]
					delete(model, c)
					fits := true
					for p, a := range want {
						for class, n := range a {
							fits = fits && used(p, class)+n <= capacity[class]
						}
					}
					err := d.Write(ctx, func(tx *db.Tx) error {
						return placement.SetAllocations(ctx, tx, []placement.Demand{{Consumer: placement.Consumer{ID: c, ProjectID: "p", UserID: "u"}, Resources: want}})
					})
					require.Equal(rt, fits, err == nil, "%v", err)
					if err != nil {
						want = before
					}
					if len(want) > 0 {
						model[c] = want
					}
				},
				"release": func(rt *rapid.T) {
					c := consumer.Draw(rt, "consumer")
					require.NoError(rt, d.Write(ctx, func(tx *db.Tx) error { return placement.Release(ctx, tx, c) }))
					delete(model, c)
				},
			})
			sound(rt, d)
			require.NoError(rt, d.Read(ctx, func(tx *db.Tx) error {
				invs, err := placement.Inventories(ctx, tx, "")
				for _, i := range invs {
					require.Equal(rt, used(i.ProviderID, i.Class), i.Used, "%s of %s", i.Class, i.ProviderID)
				}
				return err
			}))
		})
	})
}

// TestManyAtOnce lets claims, moves and double releases of the same consumers race.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		ids := hosts(t, d, 2)
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				c := placement.Consumer{ID: fmt.Sprintf("s%d", w%4), ProjectID: "p", UserID: "u"}
				for i := range 12 {
					err := d.Write(ctx, func(tx *db.Tx) error {
						switch (i + w) % 3 {
						case 0:
							return placement.Claim(ctx, tx, c, ids[i%2], map[string]int64{"VCPU": 2, "MEMORY_MB": 16})
						case 1:
							return placement.SetAllocations(ctx, tx, []placement.Demand{{Consumer: c, Resources: map[string]map[string]int64{ids[i%2]: {"VCPU": 3}, ids[(i+1)%2]: {"DISK_GB": 3}}}})
						}
						return placement.Release(ctx, tx, c.ID)
					})
					if err != nil {
						kind := fault.KindOf(err)
						if kind != fault.KindNoCapacity && kind != fault.KindConflict {
							t.Errorf("%v", err)
						}
					}
				}
			})
		}
		wg.Wait()
		sound(t, d)
	})
}

func TestCheckSeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		hosts(t, d, 1)
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
			if err := placement.Claim(ctx, tx, placement.Consumer{ID: "s", ProjectID: "p", UserID: "u"}, "h0", map[string]int64{"VCPU": 2}); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `UPDATE inventories SET used = 5 WHERE class = 'VCPU'`)
			return err
		}))
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
			wrong, err := placement.Check(ctx, tx)
			require.Equal(t, []string{"placement: provider h0 shows 5 VCPU used, its allocations sum to 2"}, wrong)
			return err
		}))
	})
}

func TestSetInventoryKeepsUseAndCountsChanges(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		hosts(t, d, 1)
		same := placement.Inventory{Class: "VCPU", Total: 4, Ratio: 2, MaxUnit: 8}
		less := placement.Inventory{Class: "VCPU", Total: 1, Ratio: 1}
		for _, step := range []struct {
			inv                    placement.Inventory
			generation, cap, usage int64
		}{{same, 1, 8, 3}, {less, 2, 1, 3}, {less, 2, 1, 3}, {same, 3, 8, 3}} {
			require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
				if held, err := placement.AllocationsOf(ctx, tx, "s"); err != nil || len(held) == 0 {
					if err := placement.Claim(ctx, tx, placement.Consumer{ID: "s", ProjectID: "p", UserID: "u"}, "h0", map[string]int64{"VCPU": 3}); err != nil {
						return err
					}
				}
				if err := placement.SetInventory(ctx, tx, "h0", step.inv); err != nil {
					return err
				}
				p, err := placement.GetProvider(ctx, tx, "h0")
				require.NoError(t, err)
				require.Equal(t, step.generation, p.Generation)
				i, err := placement.GetInventory(ctx, tx, "h0", "VCPU")
				require.Equal(t, step.cap, i.Capacity)
				require.Equal(t, step.usage, i.Used)
				return err
			}))
		}
	})
}

// A claim that does not fit may be followed by one elsewhere in the same transaction: what the first had taken before it met the full class is not kept.
func TestRefusedClaimTakesNothing(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		ids := hosts(t, d, 2)
		full := map[string]int64{"DISK_GB": 1, "MEMORY_MB": 60, "VCPU": 1}
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
			if err := placement.Claim(ctx, tx, placement.Consumer{ID: "s1"}, ids[0], full); err != nil {
				return err
			}
			err := placement.Claim(ctx, tx, placement.Consumer{ID: "s2"}, ids[0], full)
			require.Equal(t, fault.KindNoCapacity, fault.KindOf(err))
			return placement.Claim(ctx, tx, placement.Consumer{ID: "s2"}, ids[1], full)
		}))
		sound(t, d)
	})
}
