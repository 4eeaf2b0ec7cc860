package app

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/placement"
)

// flavored makes a flavor of 2 vCPUs, 64 MiB and 1 GiB with extra specs.
func (x *cloud) flavored(t *testing.T, specs map[string]string) string {
	t.Helper()
	f, err := x.compute.CreateFlavor(context.Background(), compute.FlavorRow{Name: t.Name() + db.Now().String(), VCPUs: 4, RAMMiB: 64, RootGiB: 1, Public: true, ExtraSpecs: db.AsJSON(specs)})
	require.NoError(t, err)
	return f.ID
}

// boots makes a server of a flavor with these specs and gives it when it has come to rest.
func (x *cloud) boots(t *testing.T, specs map[string]string) *compute.Server {
	t.Helper()
	r := x.request("vm", 1)
	r.FlavorID = x.flavored(t, specs)
	made, err := x.compute.Create(context.Background(), x.creds, r)
	require.NoError(t, err)
	return x.settled(t, ids(made.Servers)...)[0]
}

func (x *cloud) held(t *testing.T, server string) map[string]map[string]int64 {
	t.Helper()
	out := map[string]map[string]int64{}
	require.NoError(t, x.db.Read(context.Background(), func(tx *db.Tx) error {
		all, err := placement.AllocationsOf(context.Background(), tx, server)
		for _, a := range all {
			if out[a.ProviderID] == nil {
				out[a.ProviderID] = map[string]int64{}
			}
			out[a.ProviderID][a.Class] = a.Used
		}
		return err
	}))
	return out
}

// Flavors with resources of other classes, of providers below a host and of several groups are placed by Placement's answer, claimed exactly, and refused in words
// where no host has them.
func TestFlavorsThatAskPlacement(t *testing.T) {
	t.Parallel()
	x := newCloud(t, "", t.TempDir(), 3)
	x.unlimited(t)
	ctx := context.Background()
	host := x.registry.Rows()[1]
	const card = "5b0c0b1e-5a5e-4d8e-9e0e-0f6f2f3c1d11"
	require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error {
		if err := placement.CreateProvider(ctx, tx, card, "card", host.ID); err != nil {
			return err
		}
		if _, err := placement.Classes.Create(ctx, tx, "CUSTOM_TAPE"); err != nil {
			return err
		}
		if _, err := placement.Traits.Create(ctx, tx, "CUSTOM_FAST"); err != nil {
			return err
		}
		if err := placement.SetTraits(ctx, tx, card, -1, []string{"CUSTOM_FAST"}); err != nil {
			return err
		}
		return placement.SetInventory(ctx, tx, card, placement.Inventory{Class: "CUSTOM_TAPE", Total: 2, Ratio: 1})
	}))

	one := x.boots(t, map[string]string{"resources:CUSTOM_TAPE": "1", "resources:VCPU": "1"})
	require.Equal(t, compute.Active, one.VMState, "%v", one.Fault.V)
	require.Equal(t, host.Name, one.Host)
	require.Equal(t, map[string]map[string]int64{host.ID: {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1}, card: {"CUSTOM_TAPE": 1}}, x.held(t, one.ID))
	two := x.boots(t, map[string]string{"resources_T:CUSTOM_TAPE": "1", "trait_T:CUSTOM_FAST": "required"})
	require.Equal(t, compute.Active, two.VMState, "%v", two.Fault.V)
	require.Equal(t, int64(1), x.held(t, two.ID)[card]["CUSTOM_TAPE"])

	for why, specs := range map[string]map[string]string{
		"placement finds no room there for CUSTOM_TAPE=1": {"resources:CUSTOM_TAPE": "1"},
		"no processors to dedicate":                       {"hw:cpu_policy": "dedicated"},
		"no huge pages":                                   {"hw:mem_page_size": "large"},
		"it has 2 NUMA nodes, 4 are asked for":            {"hw:numa_nodes": "4"},
		"no PCI device of the alias gpu":                  {"pci_passthrough:alias": "gpu:1"},
		"trait CUSTOM_FAST is required":                   {"trait:CUSTOM_FAST": "required"},
	} {
		s := x.boots(t, specs)
		require.Equal(t, compute.Errored, s.VMState)
		require.Contains(t, s.Fault.V.Message, why)
		require.Empty(t, x.held(t, s.ID))
	}
	x.clean(t)
}

// What agents say of their hosts becomes inventories and traits; what an operator set through Placement stays, and what an agent no longer says goes.
func TestHostsAsProviders(t *testing.T) {
	t.Parallel()
	x := newCloud(t, "", t.TempDir(), 1)
	ctx := context.Background()
	info := x.registry.Rows()[0].Info.V
	info.Name = "other" // whose agent is this test
	says := func(info hostapi.HostInfo) {
		t.Helper()
		_, err := x.registry.Heartbeat(ctx, hostapi.Heartbeat{Host: info})
		require.NoError(t, err)
	}
	says(info)
	row := x.registry.Rows()[1]
	require.Equal(t, info.Name, row.Name)
	read := func() (placement.Provider, map[string]placement.Inventory, []string) {
		var p placement.Provider
		invs := map[string]placement.Inventory{}
		var traits []string
		require.NoError(t, x.db.Read(ctx, func(tx *db.Tx) (err error) {
			if p, err = placement.GetProvider(ctx, tx, row.ID); err != nil {
				return err
			}
			all, err := placement.Inventories(ctx, tx, row.ID)
			for _, i := range all {
				invs[i.Class] = i
			}
			if err == nil {
				traits, err = placement.TraitsOf(ctx, tx, row.ID)
			}
			return err
		}))
		return p, invs, traits
	}
	p, invs, traits := read()
	require.Contains(t, traits, "COMPUTE_NODE")
	require.Contains(t, traits, "HW_CPU_X86_AVX2")
	says(info)
	again, _, _ := read()
	require.Equal(t, p.Generation, again.Generation, "nothing new, nothing changed")

	vcpu := invs["VCPU"]
	vcpu.Ratio, vcpu.Reserved = 3, 2
	require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error {
		if err := placement.SetInventory(ctx, tx, row.ID, vcpu); err != nil {
			return err
		}
		if _, err := placement.Traits.Create(ctx, tx, "CUSTOM_MINE"); err != nil {
			return err
		}
		return placement.SetTraits(ctx, tx, row.ID, -1, append(slices.Clone(traits), "CUSTOM_MINE"))
	}))
	info.VCPUs, info.PCPUs, info.PCI, info.Traits = 32, 4, "gpu=2", "COMPUTE_NODE HW_CPU_X86_AVX512F"
	says(info)
	_, invs, traits = read()
	require.Equal(t, []string{"COMPUTE_NODE", "CUSTOM_MINE", "HW_CPU_X86_AVX512F"}, traits)
	require.Equal(t, []string{"CUSTOM_PCI_GPU", "DISK_GB", "MEMORY_MB", "PCPU", "VCPU"}, slices.Sorted(maps.Keys(invs)))
	require.EqualValues(t, 32, invs["VCPU"].Total)
	require.Equal(t, 3.0, invs["VCPU"].Ratio, "the operator's")
	require.EqualValues(t, (32-2)*3, invs["VCPU"].Capacity)
	require.EqualValues(t, 4, invs["PCPU"].Capacity)
	info.PCPUs, info.PCI = 0, ""
	says(info)
	_, invs, _ = read()
	require.Equal(t, []string{"DISK_GB", "MEMORY_MB", "VCPU"}, slices.Sorted(maps.Keys(invs)))

	require.NoError(t, x.registry.Update(ctx, row.Name, func(r *compute.HostRow) { r.Disabled = true }))
	_, _, traits = read()
	require.Contains(t, traits, "COMPUTE_STATUS_DISABLED")
	require.NoError(t, x.registry.Update(ctx, row.Name, func(r *compute.HostRow) { r.Disabled = false }))
	agg, err := x.compute.CreateAggregate(ctx, "rack", "")
	require.NoError(t, err)
	members := func() (out []string) {
		require.NoError(t, x.db.Read(ctx, func(tx *db.Tx) (err error) { out, err = placement.AggregatesOf(ctx, tx, row.ID); return err }))
		return out
	}
	_, err = x.compute.SetAggregateHost(ctx, agg.ID, row.Name, true)
	require.NoError(t, err)
	require.Equal(t, []string{agg.UUID}, members())
	_, err = x.compute.SetAggregateHost(ctx, agg.ID, row.Name, false)
	require.NoError(t, err)
	require.Empty(t, members())
	_, _, traits = read()
	require.NotContains(t, traits, "COMPUTE_STATUS_DISABLED")
}
