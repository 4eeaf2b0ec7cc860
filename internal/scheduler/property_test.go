package scheduler_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/scheduler"
)

// The model: the same decision without columns, kinds, chunks or bounds, for the filters of life, room, zone, architecture, tenancy, retry, volumes, groups and hints.

func modelFits(h *scheduler.Host, r *scheduler.Request) bool {
	room := func(need, capacity, used, physical int) bool {
		return need == 0 || need <= capacity-used && need <= physical
	}
	if !h.Enabled || !h.Up || !room(r.VCPUs, h.Capacity.VCPUs, h.Used.VCPUs, h.Physical.VCPUs) || !room(r.RAMMiB, h.Capacity.RAMMiB, h.Used.RAMMiB, h.Physical.RAMMiB) ||
		!room(r.DiskGiB, h.Capacity.DiskGiB, h.Used.DiskGiB, h.Physical.DiskGiB) || slices.Contains(r.Exclude, h.Name) {
		return false
	}
	if r.Zone != "" && h.Zone != r.Zone || r.ImageProps["hw_architecture"] != "" && h.Arch != r.ImageProps["hw_architecture"] {
		return false
	}
	if r.Tied != "" && h.Name != r.Tied || r.Hints.Same && !slices.Contains(r.SameHost, h.Name) || r.Hints.Different && slices.Contains(r.DifferentHost, h.Name) {
		return false
	}
	for _, a := range h.Aggregates {
		if p := a.Metadata["filter_tenant_id"]; p != "" && p != r.ProjectID {
			return false
		}
	}
	switch r.Policy {
	case scheduler.AntiAffinity:
		return r.GroupHosts[h.Name] < max(1, r.MaxPerHost)
	case scheduler.Affinity:
		return len(r.GroupHosts) == 0 || r.GroupHosts[h.Name] > 0
	}
	return true
}

// modelScores is Nova's normalisation with the default multipliers.
func modelScores(fit []*scheduler.Host, r *scheduler.Request) map[string]float64 {
	out := map[string]float64{}
	add := func(m float64, v func(h *scheduler.Host) int) {
		lo, hi := math.MaxInt, math.MinInt
		for _, h := range fit {
			lo, hi = min(lo, v(h)), max(hi, v(h))
		}
		for _, h := range fit {
			if hi > lo {
				out[h.Name] += m * float64(v(h)-lo) / float64(hi-lo)
			}
		}
	}
	add(1, func(h *scheduler.Host) int { return h.Capacity.RAMMiB - h.Used.RAMMiB })
	add(1, func(h *scheduler.Host) int { return h.Capacity.VCPUs - h.Used.VCPUs })
	add(1, func(h *scheduler.Host) int { return h.Capacity.DiskGiB - h.Used.DiskGiB })
	add(-1, func(h *scheduler.Host) int { return h.IOOps })
	add(1e6, func(h *scheduler.Host) int { return -h.Failures })
	switch r.Policy {
	case scheduler.SoftAffinity:
		add(1e3, func(h *scheduler.Host) int { return r.GroupHosts[h.Name] })
	case scheduler.SoftAntiAffinity:
		add(1e3, func(h *scheduler.Host) int { return -r.GroupHosts[h.Name] })
	}
	return out
}

func drawHost(t *rapid.T, name string, some []*scheduler.Aggregate) scheduler.Host {
	amount := func(label string, most int) int { return rapid.IntRange(0, most).Draw(t, label) }
	h := scheduler.Host{Name: name, Enabled: amount("enabled", 9) > 0, Up: amount("up", 9) > 0, Zone: rapid.SampledFrom([]string{"z1", "z2"}).Draw(t, "zone"),
		Arch: rapid.SampledFrom([]string{"x86_64", "aarch64"}).Draw(t, "arch"), Physical: scheduler.Resources{VCPUs: 1 + amount("cpus", 7), RAMMiB: 100, DiskGiB: 10},
		Instances: amount("instances", 3), IOOps: amount("io", 3), Failures: amount("failures", 12) / 12}
	h.Capacity = scheduler.Resources{VCPUs: h.Physical.VCPUs * 2, RAMMiB: h.Physical.RAMMiB, DiskGiB: h.Physical.DiskGiB}
	h.Used = scheduler.Resources{VCPUs: amount("used cpus", 12), RAMMiB: amount("used ram", 120), DiskGiB: amount("used disk", 11)}
	if amount("aggregated", 4) == 0 {
		h.Aggregates = []*scheduler.Aggregate{rapid.SampledFrom(some).Draw(t, "aggregate")}
	}
	return h
}

func drawRequest(t *rapid.T, names []string) scheduler.Request {
	r := scheduler.Request{ProjectID: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "project"), Zone: rapid.SampledFrom([]string{"", "", "z1"}).Draw(t, "zone wanted"),
		Seed: rapid.Uint64().Draw(t, "seed"), MaxPerHost: rapid.IntRange(0, 2).Draw(t, "most")}
	r.VCPUs, r.RAMMiB, r.DiskGiB = rapid.IntRange(0, 4).Draw(t, "cpu"), rapid.IntRange(0, 40).Draw(t, "ram"), rapid.IntRange(0, 4).Draw(t, "disk")
	if rapid.Bool().Draw(t, "image") {
		r.ImageProps = map[string]string{"hw_architecture": "x86_64"}
	}
	r.Policy = rapid.SampledFrom([]scheduler.GroupPolicy{"", "", scheduler.AntiAffinity, scheduler.Affinity, scheduler.SoftAffinity, scheduler.SoftAntiAffinity}).Draw(t, "policy")
	if r.Policy != "" && rapid.Bool().Draw(t, "has members") {
		r.GroupHosts = rapid.MapOfN(rapid.SampledFrom(names), rapid.IntRange(1, 2), 1, 3).Draw(t, "members")
	}
	r.Exclude = rapid.SliceOfN(rapid.SampledFrom(names), 0, 2).Draw(t, "tried")
	switch rapid.IntRange(0, 8).Draw(t, "hint") {
	case 0:
		r.Tied = rapid.SampledFrom(names).Draw(t, "tied")
	case 1:
		r.Hints.Same, r.SameHost = true, rapid.SliceOfN(rapid.SampledFrom(append(names, "nowhere")), 0, 3).Draw(t, "same")
	case 2:
		r.Hints.Different, r.DifferentHost = true, rapid.SliceOfN(rapid.SampledFrom(append(names, "nowhere")), 0, 3).Draw(t, "different")
	}
	return r
}

// agrees holds the dry run against the decision: as many hosts fit, the filters removed as many, and the chosen host has the best score.
func agrees(t *rapid.T, s scheduler.Snapshot, r scheduler.Request, ch scheduler.Choice) {
	fit, removed, best := 0, map[string]int{}, math.Inf(-1)
	byHost := map[string]float64{}
	for _, v := range scheduler.Examine(s, r, nil) {
		if !v.Fits {
			require.NotEmpty(t, v.Why)
			removed[v.Filter]++
			continue
		}
		fit++
		best, byHost[v.Host] = max(best, v.Score), v.Score
	}
	require.Equal(t, ch.Explanation.Fit, fit)
	for _, x := range ch.Explanation.Removed {
		require.Equal(t, x.Hosts, removed[x.Filter], x.Filter)
	}
	if ch.Host != "" {
		require.InDelta(t, best, byHost[ch.Host], 1e-6)
	}
}

// TestDecisionsAreTheModels: the best host by the model is chosen, or there is truly none; nothing is oversold; alternates fit; every host is accounted for;
// the same input gives the same output; the snapshot and the request stay as they were.
func TestDecisionsAreTheModels(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		some := []*scheduler.Aggregate{{Name: "a1", Metadata: map[string]string{"filter_tenant_id": "p"}}, {Name: "a2"}, {Name: "a3", Metadata: map[string]string{"x": "y"}}}
		table := scheduler.NewTable()
		now := map[string]*scheduler.Host{}
		var names []string
		for i := range rapid.SampledFrom([]int{1, 3, 64, 65, 150}).Draw(t, "hosts") {
			h := drawHost(t, fmt.Sprintf("h%03d", i), some)
			table.Put(h)
			now[h.Name] = &h
			names = append(names, h.Name)
		}
		r := drawRequest(t, names)
		n := rapid.IntRange(1, 6).Draw(t, "servers")
		snap := table.Snapshot()
		members := maps.Clone(r.GroupHosts)
		choices := scheduler.Schedule(snap, r, nil, n)
		require.Len(t, choices, n)
		require.Equal(t, choices, scheduler.Schedule(snap, r, nil, n))
		require.Equal(t, members, r.GroupHosts)
		agrees(t, snap, r, choices[0])
		for _, h := range snap.Hosts() {
			require.Equal(t, *now[h.Name], *h)
		}
		if r.GroupHosts == nil {
			r.GroupHosts = map[string]int{}
		}
		for _, c := range choices {
			var fit []*scheduler.Host
			for _, h := range now {
				if modelFits(h, &r) {
					fit = append(fit, h)
				}
			}
			require.Equal(t, len(now), c.Explanation.Considered)
			removed := 0
			for _, x := range c.Explanation.Removed {
				removed += x.Hosts
			}
			if c.Host == "" {
				require.Empty(t, fit, "there was a host")
				require.Equal(t, len(now), removed)
				var none *scheduler.NoValidHost
				require.ErrorAs(t, c.Err(), &none)
				continue
			}
			require.NoError(t, c.Err())
			require.Equal(t, len(fit), c.Explanation.Fit)
			require.Equal(t, len(now)-len(fit), removed)
			scores := modelScores(fit, &r)
			var order []float64
			for _, s := range scores {
				order = append(order, s)
			}
			slices.SortFunc(order, func(a, b float64) int { return -cmpFloat(a, b) })
			picked := append([]string{c.Host}, c.Alternates...)
			require.Len(t, picked, min(3, len(fit)))
			for i, name := range picked {
				require.True(t, slices.Contains(fit, now[name]), "%s was filtered", name)
				require.NotContains(t, picked[:i], name)
				if len(scores) > 0 {
					require.InDelta(t, order[i], scores[name], 1e-6, "%s is not the %d. best", name, i)
				}
			}
			h := *now[c.Host]
			h.Used.VCPUs += r.VCPUs
			h.Used.RAMMiB += r.RAMMiB
			h.Used.DiskGiB += r.DiskGiB
			h.Instances++
			h.IOOps++
			now[c.Host] = &h
			r.GroupHosts[c.Host]++
		}
	})
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// TestTableIsAMap: a table is a map by name in the order of names, and a snapshot never changes.
func TestTableIsAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		table, model := scheduler.NewTable(), map[string]scheduler.Host{}
		type moment struct {
			snap scheduler.Snapshot
			was  map[string]scheduler.Host
		}
		var moments []moment
		same := func(s scheduler.Snapshot, m map[string]scheduler.Host) {
			var want []scheduler.Host
			for _, name := range slices.Sorted(maps.Keys(m)) {
				want = append(want, m[name])
			}
			var got []scheduler.Host
			for _, h := range s.Hosts() {
				got = append(got, *h)
			}
			require.Equal(t, want, got)
			require.Equal(t, len(want), s.Len())
			zone := scheduler.Schedule(s, scheduler.Request{Zone: "new"}, nil, 1)[0]
			inZone := 0
			for _, h := range m {
				if h.Zone == "new" && h.Up {
					inZone++
				}
			}
			require.Equal(t, inZone, zone.Explanation.Fit, "kinds follow")
		}
		put := func(name string) {
			h := scheduler.Host{Name: name, Enabled: true, Up: true, Instances: rapid.IntRange(0, 9).Draw(t, "instances"), Zone: rapid.SampledFrom([]string{"", "new"}).Draw(t, "zone"),
				Capabilities: map[string]string{"serial": rapid.StringN(1, 1, 4).Draw(t, "capability")}}
			table.Put(h)
			model[name] = h
		}
		for i := range rapid.IntRange(0, 200).Draw(t, "at first") {
			put(fmt.Sprintf("n%03d", i*2))
		}
		any := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("n%03d", rapid.IntRange(0, 420).Draw(t, "n")) })
		t.Repeat(map[string]func(*rapid.T){
			"put":    func(t *rapid.T) { put(any.Draw(t, "name")) },
			"remove": func(t *rapid.T) { name := any.Draw(t, "name"); table.Remove(name); delete(model, name) },
			"change": func(t *rapid.T) {
				name, zone := any.Draw(t, "name"), rapid.SampledFrom([]string{"", "new"}).Draw(t, "zone")
				edit := func(h *scheduler.Host) { h.Instances++; h.Zone = zone; h.Up = !h.Up }
				table.Change(name, edit)
				if h, ok := model[name]; ok {
					edit(&h)
					model[name] = h
				}
			},
			"snapshot": func(*rapid.T) { moments = append(moments, moment{table.Snapshot(), maps.Clone(model)}) },
			"": func(t *rapid.T) {
				name := any.Draw(t, "name")
				h, ok := model[name]
				got := table.Get(name)
				require.Equal(t, ok, got != nil)
				if ok {
					require.Equal(t, h, *got)
				}
			},
		})
		for _, m := range moments {
			same(m.snap, m.was)
		}
		same(table.Snapshot(), model)
	})
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		have, want string
		yes        bool
	}{
		{"123", "= 100", true}, {"99", "= 100", false}, {"5", "== 5.0", true}, {"5", "!= 5", false}, {"6", ">= 5", true}, {"6", "<= 5", false}, {"x", ">= 5", false}, {"5", ">= x", false},
		{"abc", "s== abc", true}, {"abc", "s!= abc", false}, {"abc", "s< abd", true}, {"abc", "s<= abc", true}, {"abd", "s> abc", true}, {"abc", "s>= abd", false},
		{"abcde", "<in> bcd", true}, {"abcde", "<in> x", false}, {"aes mmx sse", "<all-in> aes sse", true}, {"aes mmx", "<all-in> aes sse", false},
		{"b", "<or> a <or> b", true}, {"c", "<or> a <or> b", false}, {"abc", "abc", true}, {"abc", "abcd", false}, {"", "", true},
	} {
		require.Equal(t, c.yes, scheduler.Matches(c.have, c.want), "%q %q", c.have, c.want)
	}
}

func TestConfigCheckNamesTheSetting(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, (&scheduler.Config{Filters: []string{"NoFilter"}}).Check(), `scheduler.filters: unknown filter "NoFilter"`)
	require.ErrorContains(t, (&scheduler.Config{Multipliers: map[string]float64{"no": 1}}).Check(), `scheduler.multipliers: unknown weigher "no"`)
	require.NoError(t, (&scheduler.Config{Filters: []string{"IoOpsFilter"}, Multipliers: map[string]float64{"ram": -1}}).Check())
}

// TestKindsAreForgotten: a host that says something new of itself again and again is still filtered by what it says now, and so are its neighbours.
func TestKindsAreForgotten(t *testing.T) {
	t.Parallel()
	table := scheduler.NewTable()
	for i := range 500 {
		if i == 10 { // not the first kind, so that its number changes
			table.Put(scheduler.Host{Name: "calm", Enabled: true, Up: true, Zone: "z"})
		}
		table.Put(scheduler.Host{Name: "restless", Enabled: true, Up: true, Capabilities: map[string]string{"serial": fmt.Sprint(i)}})
		r := scheduler.Request{ExtraSpecs: map[string]string{"capabilities:serial": fmt.Sprint(i)}}
		require.Equal(t, "restless", scheduler.Schedule(table.Snapshot(), r, nil, 1)[0].Host)
		if i < 10 {
			continue
		}
		require.Equal(t, "calm", scheduler.Schedule(table.Snapshot(), scheduler.Request{Zone: "z"}, nil, 1)[0].Host)
	}
}
