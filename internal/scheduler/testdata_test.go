package scheduler_test

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/scheduler"
)

var rewrite = flag.Bool("rewrite", false, "write what is decided into testdata")

// TestTables runs the scripts of testdata. A file is a list of blocks with blank lines between; "#" starts a comment line. A block that starts with
// "hosts" replaces the hosts; "config" the configuration; "schedule" asks, and what follows "----" is the answer: a line for each server with its host and
// alternates, then what explains the first one (why, or why not).
//
//	hosts
//	NAME key=value …      cpu, ram, disk: physical; xcpu, xram, xdisk: capacity (else physical); ucpu, uram, udisk: used; zone, arch, hv, ip, n, io, failures,
//	                      disabled, down, why; numa, pcpu, pages, dev; trait=T (many), cap.KEY=V, agg=NAME[:KEY=V[|V]] (many)
//	schedule N key=value …  cpu, ram, disk, zone, forced, tied, exclude, project, policy, max, group=HOST:N, same, different, near, seed, query, flavor, image, asked, answered, img.KEY=V, spec.KEY=V
//
// In values, "~" stands for a blank and "|" for a comma.
func TestTables(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			got := run(t, string(text))
			if *rewrite {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(text), got)
		})
	}
}

// run gives the script with the answers it really gets.
func run(t *testing.T, text string) string {
	table, config := scheduler.NewTable(), &scheduler.Config{}
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		asked, _, _ := strings.Cut(block, "\n----")
		out = append(out, asked)
		for i, line := range uncommented(asked) {
			words := strings.Fields(line)
			switch {
			case i > 0:
				table.Put(host(t, words))
			case words[0] == "hosts":
				table = scheduler.NewTable()
			case words[0] == "config":
				config = configuration(t, words[1:])
				require.NoError(t, config.Check())
			case words[0] == "schedule":
				n, err := strconv.Atoi(words[1])
				require.NoError(t, err)
				out[len(out)-1] += "\n----\n" + answer(scheduler.Schedule(table.Snapshot(), request(t, words[2:]), config, n))
			default:
				t.Fatalf("what is %q?", line)
			}
		}
	}
	return strings.Join(out, "\n\n") + "\n"
}

func uncommented(block string) []string {
	var out []string
	for line := range strings.SplitSeq(block, "\n") {
		if line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

func answer(choices []scheduler.Choice) string {
	var b strings.Builder
	for _, c := range choices {
		if c.Host == "" {
			b.WriteString("none\n")
			continue
		}
		fmt.Fprintln(&b, strings.Join(append([]string{c.Host}, c.Alternates...), " "))
	}
	b.WriteString(choices[0].Explanation.String())
	if last := choices[len(choices)-1]; choices[0].Host != "" && last.Host == "" {
		b.WriteString("\n" + last.Err().Error())
	}
	return b.String()
}

// pairs reads key=value words.
func pairs(t *testing.T, words []string, take func(k, v string, n int) bool) {
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		v = strings.NewReplacer("~", " ", "|", ",").Replace(v)
		n, _ := strconv.Atoi(v) //nolint:errcheck // not all values are numbers
		require.True(t, take(k, v, n), "what is %q?", w)
	}
}

func host(t *testing.T, words []string) scheduler.Host {
	h := scheduler.Host{Name: words[0], Zone: "nova", Enabled: true, Up: true, Arch: "x86_64", Hypervisor: "qemu", Physical: scheduler.Resources{VCPUs: 8, RAMMiB: 8192, DiskGiB: 100},
		Capabilities: map[string]string{}}
	var capacity [3]int
	aggregates := map[string]*scheduler.Aggregate{}
	pairs(t, words[1:], func(k, v string, n int) bool {
		switch k {
		case "cpu":
			h.Physical.VCPUs = n
		case "ram":
			h.Physical.RAMMiB = n
		case "disk":
			h.Physical.DiskGiB = n
		case "xcpu":
			capacity[0] = n
		case "xram":
			capacity[1] = n
		case "xdisk":
			capacity[2] = n
		case "ucpu":
			h.Used.VCPUs = n
		case "uram":
			h.Used.RAMMiB = n
		case "udisk":
			h.Used.DiskGiB = n
		case "zone":
			h.Zone = v
		case "arch":
			h.Arch = v
		case "hv":
			h.Hypervisor = v
		case "ip":
			h.Address = netip.MustParseAddr(v)
		case "n":
			h.Instances = n
		case "io":
			h.IOOps = n
		case "failures":
			h.Failures = n
		case "disabled":
			h.Enabled = false
		case "down":
			h.Up = false
		case "why":
			h.Why = v
		case "numa":
			h.NUMACells = n
		case "pcpu":
			h.PCPUs = n
		case "pages":
			h.PageSizes = append(h.PageSizes, v)
		case "dev":
			h.Devices = append(h.Devices, v)
		case "trait":
			h.Traits = append(h.Traits, v)
		case "agg":
			name, meta, ok := strings.Cut(v, ":")
			a := aggregates[name]
			if a == nil {
				a = &scheduler.Aggregate{Name: name, Metadata: map[string]string{}}
				aggregates[name] = a
				h.Aggregates = append(h.Aggregates, a)
			}
			if ok {
				mk, mv, _ := strings.Cut(meta, "=")
				a.Metadata[mk] = mv
			}
		default:
			name, ok := strings.CutPrefix(k, "cap.")
			h.Capabilities[name] = v
			return ok
		}
		return true
	})
	h.Capacity = h.Physical
	for i, p := range []*int{&h.Capacity.VCPUs, &h.Capacity.RAMMiB, &h.Capacity.DiskGiB} {
		if capacity[i] != 0 {
			*p = capacity[i]
		}
	}
	return h
}

func request(t *testing.T, words []string) scheduler.Request {
	r := scheduler.Request{ProjectID: "p", ImageProps: map[string]string{}, ExtraSpecs: map[string]string{}}
	pairs(t, words, func(k, v string, n int) bool {
		switch k {
		case "cpu":
			r.VCPUs = n
		case "ram":
			r.RAMMiB = n
		case "disk":
			r.DiskGiB = n
		case "zone":
			r.Zone = v
		case "forced":
			r.Forced = v
		case "tied":
			r.Tied = v
		case "exclude":
			r.Exclude = strings.Split(v, ",")
		case "project":
			r.ProjectID = v
		case "policy":
			r.Policy = scheduler.GroupPolicy(v)
		case "max":
			r.MaxPerHost = n
		case "group":
			name, count, _ := strings.Cut(v, ":")
			if r.GroupHosts == nil {
				r.GroupHosts = map[string]int{}
			}
			r.GroupHosts[name], _ = strconv.Atoi(count) //nolint:errcheck // zero is fine
		case "same":
			r.Hints.Same, r.SameHost = true, strings.Split(v, ",")
		case "different":
			r.Hints.Different, r.DifferentHost = true, strings.Split(v, ",")
		case "near":
			r.Near = netip.MustParsePrefix(v)
		case "seed":
			r.Seed = uint64(n)
		case "query":
			r.Query = v
		case "flavor":
			r.FlavorName = v
		case "image":
			r.ImageID = v
		case "asked":
			r.Asked = v
		case "answered":
			r.Answered = strings.Split(v, ",")
		default:
			if name, ok := strings.CutPrefix(k, "img."); ok {
				r.ImageProps[name] = v
				return true
			}
			name, ok := strings.CutPrefix(k, "spec.")
			r.ExtraSpecs[name] = v
			return ok
		}
		return true
	})
	return r
}

func configuration(t *testing.T, words []string) *scheduler.Config {
	c := &scheduler.Config{Multipliers: map[string]float64{}}
	pairs(t, words, func(k, v string, n int) bool {
		switch k {
		case "filters":
			c.Filters = strings.Split(v, ",")
		case "max_io_ops":
			c.MaxIOOps = n
		case "max_instances":
			c.MaxInstances = n
		case "isolated_hosts":
			c.IsolatedHosts = strings.Split(v, ",")
		case "isolated_images":
			c.IsolatedImages = strings.Split(v, ",")
		case "restrict":
			c.RestrictIsolated = n == 1
		default:
			f, err := strconv.ParseFloat(v, 64)
			require.NoError(t, err)
			maps.Copy(c.Multipliers, map[string]float64{k: f})
		}
		return true
	})
	return c
}
