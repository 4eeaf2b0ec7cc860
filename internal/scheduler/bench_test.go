package scheduler_test

import (
	"fmt"
	"testing"

	"nephos/internal/scheduler"
)

// many makes n hosts of 64 vCPUs (ratio 4), 256 GiB and 4 TiB, each used a little differently.
func many(n int) *scheduler.Table {
	t := scheduler.NewTable()
	for i := range n {
		t.Put(scheduler.Host{Name: fmt.Sprintf("host-%05d", i), Zone: "nova", Enabled: true, Up: true, Arch: "x86_64", Hypervisor: "qemu",
			Capacity: scheduler.Resources{VCPUs: 256, RAMMiB: 262144, DiskGiB: 4096}, Physical: scheduler.Resources{VCPUs: 64, RAMMiB: 262144, DiskGiB: 4096},
			Used: scheduler.Resources{VCPUs: i % 17, RAMMiB: i % 17 * 512, DiskGiB: i % 13}, Instances: i % 17})
	}
	return t
}

var sizes = []int{1000, 10000}

// BenchmarkDecide is one decision and its claim on the table, the create path of one server; then the share is given back, so that the table stays
// as it is.
func BenchmarkDecide(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t, c := many(n), &scheduler.Config{}
			want := scheduler.Resources{VCPUs: 1, RAMMiB: 512, DiskGiB: 1}
			move := func(host string, k int) {
				t.Change(host, func(h *scheduler.Host) {
					h.Used.VCPUs += k * want.VCPUs
					h.Used.RAMMiB += k * want.RAMMiB
					h.Used.DiskGiB += k * want.DiskGiB
					h.Instances += k
				})
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				ch := scheduler.Schedule(t.Snapshot(), scheduler.Request{Resources: want, ProjectID: "p", Zone: "nova",
					ImageProps: map[string]string{"hw_architecture": "x86_64", "os_distro": "debian"}, Seed: uint64(i)}, c, 1)[0]
				move(ch.Host, 1)
				move(ch.Host, -1)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}

// BenchmarkFull is a decision that no host fits: all are explained.
func BenchmarkFull(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, c := many(n).Snapshot(), &scheduler.Config{}
			for b.Loop() {
				if scheduler.Schedule(s, scheduler.Request{Resources: scheduler.Resources{RAMMiB: 1 << 20}}, c, 1)[0].Host != "" {
					b.Fatal("found a host")
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}

// BenchmarkMultiCreate is 100 servers in one request.
func BenchmarkMultiCreate(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, c := many(n).Snapshot(), &scheduler.Config{}
			for b.Loop() {
				scheduler.Schedule(s, scheduler.Request{Resources: scheduler.Resources{VCPUs: 1, RAMMiB: 512, DiskGiB: 1}}, c, 100)
			}
			b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}
