package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// machineOf writes what the kernel tells of a machine with nodes of so many processors, 1 GiB each, the first with ten huge pages of 2 MiB.
func machineOf(t *testing.T, cpus ...string) string {
	root := t.TempDir()
	write := func(text string, path ...string) {
		file := filepath.Join(append([]string{root, "node"}, path...)...)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	for i, list := range cpus {
		node := fmt.Sprint("node", i)
		write(list+"\n", node, "cpulist")
		write(fmt.Sprintf("Node %d MemTotal:        1048576 kB\nNode %d MemFree:         9 kB\n", i, i), node, "meminfo")
		pages := "0\n"
		if i == 0 {
			pages = "10\n"
		}
		write(pages, node, "hugepages", "hugepages-2048kB", "nr_hugepages")
		write("0\n", node, "hugepages", "hugepages-1048576kB", "nr_hugepages")
	}
	return root
}

func TestTopologyOfAMachine(t *testing.T) {
	t.Parallel()
	top, err := readTopology(machineOf(t, "0-3", "4-7", ""), "2-3,6,^3")
	require.NoError(t, err)
	require.Equal(t, []cell{{id: 0, cpus: []int{0, 1, 2, 3}, ramMiB: 1024, pages: map[int]int{2048: 10}}, {id: 1, cpus: []int{4, 5, 6, 7}, ramMiB: 1024, pages: map[int]int{}}}, top.cells)
	require.Equal(t, map[int]bool{2: true, 6: true}, top.dedicated)
	require.Equal(t, []int{0, 1, 3, 4, 5, 7}, top.shared())
	require.Equal(t, []int{2048}, top.pageSizes())
	for list, why := range map[string]string{"9": "does not have", "0-7": "leaves no processor", "x": "no processor or range", "3-1": "no processor or range"} {
		_, err := readTopology(machineOf(t, "0-3", "4-7"), list)
		require.ErrorContains(t, err, why)
	}
	mine, err := readTopology(sysfs, "")
	require.NoError(t, err)
	require.NotEmpty(t, mine.cells, "this machine")
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	top, err := readTopology(machineOf(t, "0-3", "4-7"), "2-3,6-7")
	require.NoError(t, err)
	one := func(n, ram int) []hostapi.Node { return []hostapi.Node{{CPUs: count(n), RAMMiB: ram}} }
	pinned := func(n int) hostapi.Layout { return hostapi.Layout{Dedicated: true, Nodes: one(n, 64)} }
	for name, c := range map[string]struct {
		layout hostapi.Layout
		others []place
		want   place
		err    string
	}{
		"nothing":              {},
		"pinned":               {layout: pinned(2), want: place{Cells: []int{0}, RAM: []int{64}, Pins: []int{2, 3}}},
		"where there are free": {layout: pinned(2), others: []place{{Pins: []int{3}}}, want: place{Cells: []int{1}, RAM: []int{64}, Pins: []int{6, 7}}},
		"the other one":        {layout: pinned(1), others: []place{{Pins: []int{2}}}, want: place{Cells: []int{0}, RAM: []int{64}, Pins: []int{3}}},
		"split is not one":     {layout: pinned(2), others: []place{{Pins: []int{3}}, {Pins: []int{7}}}, err: "1 processors to dedicate are free on node"},
		"too many":             {layout: hostapi.Layout{Nodes: one(3, 64)}, err: "has 2 processors, 3 are asked for"},
		"memory":               {layout: hostapi.Layout{Nodes: one(1, 800)}, others: []place{{Cells: []int{0}, RAM: []int{300}}}, want: place{Cells: []int{1}, RAM: []int{800}}},
		"no memory":            {layout: hostapi.Layout{Nodes: one(1, 800)}, others: []place{{Cells: []int{0}, RAM: []int{300}}, {Cells: []int{1}, RAM: []int{300}}}, err: "724 MiB left, 800 are asked for"},
		"two nodes": {layout: hostapi.Layout{Nodes: []hostapi.Node{{CPUs: []int{0, 2}, RAMMiB: 10}, {CPUs: []int{1}, RAMMiB: 20}}, Dedicated: true},
			want: place{Cells: []int{0, 1}, RAM: []int{10, 20}, Pins: []int{2, 6, 3}}},
		"three nodes":       {layout: hostapi.Layout{Nodes: []hostapi.Node{{RAMMiB: 1}, {RAMMiB: 1}, {RAMMiB: 1}}}, err: "more NUMA nodes than this host"},
		"huge pages":        {layout: hostapi.Layout{Nodes: one(1, 20), Pages: 2048}, others: []place{{Cells: []int{0}, RAM: []int{1000}}}, want: place{Cells: []int{0}, RAM: []int{20}, Pages: 2048}},
		"the largest pages": {layout: hostapi.Layout{Nodes: one(1, 4), Pages: hostapi.LargestPages}, want: place{Cells: []int{0}, RAM: []int{4}, Pages: 2048}},
		"huge pages in use": {layout: hostapi.Layout{Nodes: one(1, 12), Pages: 2048}, others: []place{{Cells: []int{0}, RAM: []int{10}, Pages: 2048}}, err: "0 MiB left in huge pages"},
		"pages of no such":  {layout: hostapi.Layout{Nodes: one(1, 12), Pages: 1 << 20}, err: "huge pages of 1048576 KiB"},
		"a search that turns": {layout: hostapi.Layout{Nodes: []hostapi.Node{{CPUs: []int{0}, RAMMiB: 500}, {CPUs: []int{1}, RAMMiB: 1000}}}, others: []place{{Cells: []int{1}, RAM: []int{100}}},
			want: place{Cells: []int{1, 0}, RAM: []int{500, 1000}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cpus := 0
			for _, n := range c.layout.Nodes {
				cpus += len(n.CPUs)
			}
			got, err := top.find(cpus, c.layout, c.others)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Equal(t, fault.KindNoCapacity, fault.KindOf(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func count(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// However guests come and go, no dedicated processor has two, no guest one that is not dedicated, and no node of the host holds more memory than it has.
func TestPlacesAreExact(t *testing.T) {
	t.Parallel()
	root := machineOf(t, "0-3", "4-7", "8-11")
	rapid.Check(t, func(t *rapid.T) {
		top, err := readTopology(root, "1-3,5-7,9")
		if err != nil {
			t.Fatal(err)
		}
		var held []place
		for range rapid.IntRange(1, 30).Draw(t, "acts") {
			if len(held) > 0 && rapid.Bool().Draw(t, "leave") {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "who")
				held = append(held[:i:i], held[i+1:]...)
				continue
			}
			l, cpus := hostapi.Layout{Dedicated: rapid.Bool().Draw(t, "dedicated")}, 0
			for range rapid.IntRange(1, 3).Draw(t, "nodes") {
				n := hostapi.Node{RAMMiB: rapid.IntRange(1, 600).Draw(t, "ram")}
				for range rapid.IntRange(1, 2).Draw(t, "cpus") {
					n.CPUs = append(n.CPUs, cpus)
					cpus++
				}
				l.Nodes = append(l.Nodes, n)
			}
			p, err := top.find(cpus, l, held)
			if err != nil {
				if fault.KindOf(err) != fault.KindNoCapacity {
					t.Fatal(err)
				}
				continue
			}
			held = append(held, p)
			pins, ram := map[int]bool{}, map[int]int{}
			for _, h := range held {
				cells := map[int]bool{}
				for i, c := range h.Cells {
					if cells[c] {
						t.Fatalf("two nodes on cell %d: %+v", c, h)
					}
					cells[c] = true
					if ram[c] += h.RAM[i]; ram[c] > 1024 {
						t.Fatalf("cell %d holds %d MiB: %+v", c, ram[c], held)
					}
				}
				for _, cpu := range h.Pins {
					if pins[cpu] || !top.dedicated[cpu] {
						t.Fatalf("processor %d: %+v", cpu, held)
					}
					pins[cpu] = true
				}
			}
		}
	})
}
