package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// allowed are the processors that the threads of a server's process may run on, by the names of the threads.
func allowed(t *testing.T, dir, id string) map[string]string {
	t.Helper()
	pids := guests(dir, id)
	require.Len(t, pids, 1)
	out := map[string]string{}
	tasks, err := filepath.Glob("/proc/" + pids[0] + "/task/*/status")
	require.NoError(t, err)
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		var name string
		for line := range strings.Lines(string(text)) {
			k, v, _ := strings.Cut(line, ":")
			switch v = strings.TrimSpace(v); k {
			case "Name":
				name = v
			case "Cpus_allowed_list":
				out[name] = v
			}
		}
	}
	return out
}

// TestRealLayout: what a flavor asks of processors and memory is so in a real guest, and what this machine does not have is refused with the reason.
func TestRealLayout(t *testing.T) {
	needsGuests(t)
	if runtime.NumCPU() < 2 {
		t.Skip("needs two processors, one to dedicate")
	}
	file := filepath.Join(t.TempDir(), "nephos.yaml")
	require.NoError(t, os.WriteFile(file, []byte("compute:\n  cpu_dedicated_set: \"1\"\n"), 0o600))
	c := realCloud(t, "--config", file)
	a := c.admin()
	a.letIn()
	key := a.keypair("mine")
	img := a.named(image, "/images", "images", "nephos-guest")
	boot := func(vcpus int, specs object) (*body, reply) {
		t.Helper()
		flavor := a.must(200, "POST", compute, "/flavors", object{"flavor": object{"name": fmt.Sprint("laid-", time.Now().UnixNano()), "vcpus": vcpus, "ram": 160, "disk": 1}}).str("flavor/id")
		if specs != nil {
			a.must(200, "POST", compute, "/flavors/"+flavor+"/os-extra_specs", object{"extra_specs": specs})
		}
		id := a.must(202, "POST", compute, "/servers", object{"server": object{"name": "laid", "imageRef": img, "flavorRef": flavor, "key_name": "mine", "networks": "auto"}}, newest).str("server/id")
		return &body{a: a, id: id, key: key}, a.settled(id, guestWait)
	}
	refused := func(want string, vcpus int, specs object) {
		t.Helper()
		b, r := boot(vcpus, specs)
		require.Equal(t, "ERROR", r.str("server/status"), "%v", specs)
		require.Contains(t, r.str("server/fault/message"), want, "%v", specs)
		a.must(204, "DELETE", compute, "/servers/"+b.id, nil)
		a.gone(b.id, time.Minute)
	}

	pinned, r := boot(1, object{"hw:cpu_policy": "dedicated"})
	require.Equal(t, "ACTIVE", r.str("server/status"), "%s", r)
	for name, list := range allowed(t, c.dir, pinned.id) {
		require.Equal(t, "1", list, "thread %s", name)
	}
	r = a.must(200, "GET", compute, "/servers/"+pinned.id+"/topology", nil, newest)
	require.JSONEq(t, `{"pagesize_kb": null, "nodes": [{"memory_mb": 160, "vcpu_set": [0], "siblings": [], "host_node": 0, "cpu_pinning": {"0": 1}}]}`, string(r.body))
	refused("PCPU=1", 1, object{"hw:cpu_policy": "dedicated"}) // the only one is taken

	floating, r := boot(1, nil)
	require.Equal(t, "ACTIVE", r.str("server/status"), "%s", r)
	for name, list := range allowed(t, c.dir, floating.id) {
		require.NotContains(t, list, "1", "thread %s of a server without a processor of its own", name)
	}
	pinned.ip, floating.ip = a.float(pinned.id), a.float(floating.id)
	require.Equal(t, "0", pinned.run(t, "cat /sys/devices/system/node/node0/cpulist"))
	require.Equal(t, "1", floating.run(t, "nproc"))
	refused("(hw:mem_page_size=32MB)", 1, object{"hw:mem_page_size": "32MB"}) // no processor of this kind has such pages
	refused("no PCI device of the alias gpu", 1, object{"pci_passthrough:alias": "gpu:1"})
	a.deleteAll([]string{pinned.id, floating.id}, time.Minute)
	c.fsckClean()
}
