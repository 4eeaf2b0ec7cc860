package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"nephos/internal/scheduler"
)

// BenchmarkUneven is a cloud that has been lived in: every host differently full, a tenth of them off, three zones; one server and 20 at once, with an
// anti-affinity group among them.
func BenchmarkUneven(b *testing.B) {
	for _, n := range sizes {
		rnd := rand.New(rand.NewPCG(1, 2))
		t := scheduler.NewTable()
		for i := range n {
			used := rnd.IntN(200)
			t.Put(scheduler.Host{Name: fmt.Sprintf("host-%05d", i), Zone: fmt.Sprint("az", i%3), Enabled: true, Up: rnd.IntN(10) > 0, Arch: "x86_64", Hypervisor: "qemu",
				Capacity: scheduler.Resources{VCPUs: 256, RAMMiB: 262144, DiskGiB: 4096}, Physical: scheduler.Resources{VCPUs: 64, RAMMiB: 262144, DiskGiB: 4096},
				Used: scheduler.Resources{VCPUs: used, RAMMiB: used * (512 + rnd.IntN(800)), DiskGiB: used * (1 + rnd.IntN(19))}, Instances: used, IOOps: rnd.IntN(4), Failures: rnd.IntN(50) / 49})
		}
		s, c := t.Snapshot(), &scheduler.Config{}
		need := scheduler.Resources{VCPUs: 1, RAMMiB: 512, DiskGiB: 1}
		for _, x := range []struct {
			name    string
			servers int
			request scheduler.Request
		}{
			{"1", 1, scheduler.Request{Resources: need}},
			{"1 in a zone", 1, scheduler.Request{Resources: need, Zone: "az1"}},
			{"20", 20, scheduler.Request{Resources: need}},
			{"20 apart", 20, scheduler.Request{Resources: need, Policy: scheduler.AntiAffinity}},
		} {
			b.Run(fmt.Sprintf("%d hosts/%s", n, x.name), func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					x.request.Seed = uint64(i)
					if scheduler.Schedule(s, x.request, c, x.servers)[x.servers-1].Host == "" {
						b.Fatal("no host")
					}
				}
				b.ReportMetric(float64(b.N*x.servers)/b.Elapsed().Seconds(), "decisions/s")
			})
		}
	}
}
