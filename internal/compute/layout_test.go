package compute

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

type specs = map[string]string

// What flavor and image ask of processors and memory is either in the layout or refused; nothing is passed over.
func TestLayout(t *testing.T) {
	t.Parallel()
	whole := []hostapi.Node{{CPUs: []int{0, 1, 2, 3}, RAMMiB: 1024}}
	halves := []hostapi.Node{{CPUs: []int{0, 1}, RAMMiB: 512}, {CPUs: []int{2, 3}, RAMMiB: 512}}
	for name, c := range map[string]struct {
		flavor, image specs
		want          hostapi.Layout
		err           string
	}{
		"nothing":                       {},
		"nothing of ours":               {flavor: specs{"hw:boot_menu": "yes"}, image: specs{"hw_disk_bus": "scsi"}},
		"shared":                        {flavor: specs{"hw:cpu_policy": "shared"}},
		"dedicated":                     {flavor: specs{"hw:cpu_policy": "dedicated"}, want: hostapi.Layout{Dedicated: true, Nodes: whole}},
		"dedicated by the image":        {image: specs{"hw_cpu_policy": "dedicated"}, want: hostapi.Layout{Dedicated: true, Nodes: whole}},
		"dedicated, the image shared":   {flavor: specs{"hw:cpu_policy": "dedicated"}, image: specs{"hw_cpu_policy": "shared"}, want: hostapi.Layout{Dedicated: true, Nodes: whole}},
		"dedicated by its class":        {flavor: specs{"resources:PCPU": "4"}, want: hostapi.Layout{Dedicated: true, Nodes: whole}},
		"threads":                       {flavor: specs{"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "require"}, want: hostapi.Layout{Dedicated: true, Nodes: whole}},
		"two nodes":                     {flavor: specs{"hw:numa_nodes": "2"}, want: hostapi.Layout{Nodes: halves}},
		"two nodes by the image":        {image: specs{"hw_numa_nodes": "2"}, want: hostapi.Layout{Nodes: halves}},
		"nodes as said":                 {flavor: specs{"hw:numa_nodes": "2", "hw:numa_cpus.0": "0,2-3", "hw:numa_mem.0": "1000", "hw:numa_cpus.1": "1", "hw:numa_mem.1": "24"}, want: hostapi.Layout{Nodes: []hostapi.Node{{CPUs: []int{0, 2, 3}, RAMMiB: 1000}, {CPUs: []int{1}, RAMMiB: 24}}}},
		"pages":                         {flavor: specs{"hw:mem_page_size": "2MB"}, want: hostapi.Layout{Pages: 2048, Nodes: whole}},
		"pages in KiB":                  {flavor: specs{"hw:mem_page_size": "2048"}, want: hostapi.Layout{Pages: 2048, Nodes: whole}},
		"pages of a choice":             {flavor: specs{"hw:mem_page_size": "large"}, want: hostapi.Layout{Pages: hostapi.LargestPages, Nodes: whole}},
		"pages that the image chooses":  {flavor: specs{"hw:mem_page_size": "any"}, image: specs{"hw_mem_page_size": "1GiB"}, want: hostapi.Layout{Pages: 1 << 20, Nodes: whole}},
		"the usual pages":               {flavor: specs{"hw:mem_page_size": "small"}},
		"the usual pages by their size": {flavor: specs{"hw:mem_page_size": "4KB"}},
		"cores":                         {flavor: specs{"hw:cpu_cores": "4"}, want: hostapi.Layout{Sockets: 1, Cores: 4, Threads: 1}},
		"cores and threads":             {flavor: specs{"hw:cpu_cores": "2"}, image: specs{"hw_cpu_threads": "2"}, want: hostapi.Layout{Sockets: 1, Cores: 2, Threads: 2}},
		"few sockets":                   {flavor: specs{"hw:cpu_max_sockets": "2"}, want: hostapi.Layout{Sockets: 2, Cores: 2, Threads: 1}},
		"a wish that does not divide":   {flavor: specs{"hw:cpu_sockets": "3"}, want: hostapi.Layout{Sockets: 4, Cores: 1, Threads: 1}},

		"mixed":                             {flavor: specs{"hw:cpu_policy": "mixed"}, err: "all processors of a server are dedicated, or none"},
		"no policy":                         {image: specs{"hw_cpu_policy": "alone"}, err: "none of shared, dedicated, mixed"},
		"the image overrules":               {flavor: specs{"hw:cpu_policy": "shared"}, image: specs{"hw_cpu_policy": "dedicated"}, err: "which its flavor's hw:cpu_policy=shared forbids"},
		"class and policy":                  {flavor: specs{"hw:cpu_policy": "dedicated", "resources:PCPU": "4"}, err: "use one or the other"},
		"some by their class":               {flavor: specs{"resources:PCPU": "2"}, err: "not its number of VCPUs"},
		"threads of floating processors":    {flavor: specs{"hw:cpu_thread_policy": "isolate"}, err: "hw:cpu_policy=dedicated only"},
		"no thread policy":                  {flavor: specs{"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "x"}, err: "none of prefer, isolate, require"},
		"real time":                         {flavor: specs{"hw:cpu_realtime": "yes"}, err: "no host of this cloud can do"},
		"a mask":                            {flavor: specs{"hw:cpu_dedicated_mask": "^0"}, err: "no host of this cloud can do"},
		"emulator threads apart":            {image: specs{"hw_emulator_threads_policy": "isolate"}, err: "hw_emulator_threads_policy=isolate"},
		"no number of nodes":                {flavor: specs{"hw:numa_nodes": "two"}, err: "hw:numa_nodes=two is not a number"},
		"more nodes than processors":        {flavor: specs{"hw:numa_nodes": "5"}, err: "more than the flavor's 4 VCPUs"},
		"nodes that do not divide":          {flavor: specs{"hw:numa_nodes": "3"}, err: "do not divide evenly"},
		"nodes that contradict":             {flavor: specs{"hw:numa_nodes": "2"}, image: specs{"hw_numa_nodes": "4"}, err: "contradict each other"},
		"nodes half said":                   {flavor: specs{"hw:numa_nodes": "2", "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "1024"}, err: "speak of 1 of the 2"},
		"a node without memory":             {flavor: specs{"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3"}, err: "needs both"},
		"a processor twice":                 {flavor: specs{"hw:numa_nodes": "2", "hw:numa_cpus.0": "0-2", "hw:numa_mem.0": "512", "hw:numa_cpus.1": "2-3", "hw:numa_mem.1": "512"}, err: "on another node too"},
		"too little memory":                 {flavor: specs{"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "512"}, err: "the flavor has 4 and 1024"},
		"no size of pages":                  {flavor: specs{"hw:mem_page_size": "huge"}, err: "no size of pages"},
		"pages that the image may not say":  {image: specs{"hw_mem_page_size": "2MB"}, err: "does not allow"},
		"pages that the flavor has settled": {flavor: specs{"hw:mem_page_size": "1GB"}, image: specs{"hw_mem_page_size": "2MB"}, err: "does not allow"},
		"pages larger than the memory":      {flavor: specs{"hw:mem_page_size": "16GB"}, err: "no multiple of the page size"},
		"limits that cannot be":             {flavor: specs{"hw:cpu_max_sockets": "1", "hw:cpu_max_cores": "1", "hw:cpu_max_threads": "2"}, err: "cannot be made of at most"},
		"an image beyond its flavor":        {flavor: specs{"hw:cpu_max_sockets": "1"}, image: specs{"hw_cpu_max_sockets": "2"}, err: "beyond the flavor's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Flavor{VCPUs: 4, RAMMiB: 1024, ExtraSpecs: c.flavor}.Layout(c.image)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Equal(t, fault.KindInvalid, fault.KindOf(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// What a server takes of Placement follows from its layout.
func TestDemandsOfALayout(t *testing.T) {
	t.Parallel()
	take := func(flavor specs) *demand {
		s := &Server{ImageID: "i"}
		s.Flavor.V = Flavor{VCPUs: 2, RAMMiB: 512, RootGiB: 1, ExtraSpecs: flavor}
		d, err := s.demands()
		require.NoError(t, err)
		return d
	}
	for _, flavor := range []specs{{"hw:cpu_policy": "dedicated"}, {"resources:PCPU": "2"}} {
		require.Equal(t, map[string]int64{"PCPU": 2, "MEMORY_MB": 512, "DISK_GB": 1}, take(flavor).groups[""].Resources, "%v", flavor)
	}
	require.Equal(t, [][]string{{hyperthreading}}, take(specs{"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "require"}).groups[""].Required)
	require.Equal(t, []string{hyperthreading}, take(specs{"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "isolate"}).groups[""].Forbidden)
}
