package compute_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/placement"
	"nephos/internal/workflow"
)

// Whatever the order and the size of pages, following the markers gives every server once, in the order of the whole list.
func TestPagesJoin(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations(), placement.Migrations(), compute.Migrations()}, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		states := []compute.VMState{compute.Active, compute.Stopped, compute.Errored}
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
			for i := range 30 {
				s := compute.Server{ID: uuid.NewString(), ProjectID: "p", UserID: "u", Name: fmt.Sprint("n", i%7), VMState: states[i%3], Locked: i%4 == 0, Host: fmt.Sprint("h", i%2),
					Tags: db.AsJSON([]string{fmt.Sprint("t", i%2)}), Created: db.At(start.Add(time.Duration(i/5) * time.Second)), Updated: db.At(start), LaunchIndex: i % 3}
				if i%3 == 0 {
					text := fmt.Sprint("d", i%5)
					s.Description = &text
				}
				if i%6 == 0 {
					s.Launched = db.At(start.Add(time.Minute))
				}
				if err := tx.Insert(ctx, "servers", s); err != nil {
					return err
				}
			}
			return nil
		}))
		list := func(f compute.ServerFilter) (ids []string) {
			require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
				ids = nil
				rows, err := compute.ListServers(ctx, tx, f)
				for _, r := range rows {
					ids = append(ids, r.ID)
				}
				return err
			}))
			return ids
		}
		for n, asked := range map[int][]compute.VMState{10: {compute.Errored}, 20: {compute.Errored, compute.Stopped}, 0: {compute.Building}} {
			require.Len(t, list(compute.ServerFilter{ProjectID: "p", States: asked, Limit: 1000}), n, asked)
		}
		require.Len(t, list(compute.ServerFilter{States: []compute.VMState{compute.Building, compute.Errored}, Limit: 1000}), 10)
		columns := []string{"created_at", "name", "vm_state", "locked", "description", "launched_at", "launch_index", "host", "id"}
		rapid.Check(t, func(rt *rapid.T) {
			var sort []compute.SortKey
			for _, c := range rapid.SliceOfNDistinct(rapid.SampledFrom(columns), 0, 3, rapid.ID[string]).Draw(rt, "columns") {
				sort = append(sort, compute.SortKey{Column: c, Desc: rapid.Bool().Draw(rt, "desc")})
			}
			f := compute.ServerFilter{ProjectID: "p", Sort: sort, Limit: 1000}
			if rapid.Bool().Draw(rt, "memory") {
				f.AnyTag = []string{"t1"}
			}
			whole := list(f)
			f.Limit = rapid.IntRange(1, 12).Draw(rt, "limit")
			var joined []string
			for {
				page := list(f)
				joined = append(joined, page...)
				if len(page) < f.Limit {
					break
				}
				f.Marker = page[len(page)-1]
			}
			if !slices.Equal(whole, joined) || len(whole) != 30 && f.AnyTag == nil || len(whole) != 15 && f.AnyTag != nil {
				rt.Fatalf("%d whole, %d joined: %v", len(whole), len(joined), sort)
			}
		})
	})
}

func TestUsedHours(t *testing.T) {
	t.Parallel()
	at := func(h int) time.Time { return time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		launched, ended, start, end int
		want                        float64
	}{{1, 0, 2, 5, 3}, {3, 0, 2, 5, 2}, {3, 4, 2, 5, 1}, {1, 9, 2, 5, 3}, {6, 0, 2, 5, 0}, {0, 1, 2, 5, 0}} {
		u := compute.UsedServer{Launched: db.At(at(c.launched))}
		if c.ended > 0 {
			u.Terminated = db.At(at(c.ended))
		}
		require.InDelta(t, c.want, u.Hours(at(c.start), at(c.end)), 1e-9, "%+v", c)
	}
}
