package app

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/placement"
)

// A trait that placement gives to one host brings the servers of a flavor that requires it there, and keeps away those of one that forbids it.
func TestTraitsOfPlacementReachTheScheduler(t *testing.T) {
	t.Parallel()
	x := newCloud(t, "", t.TempDir(), 3)
	x.unlimited(t)
	ctx := context.Background()
	gold := x.registry.Rows()[1]
	require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := placement.Traits.Create(ctx, tx, "CUSTOM_GOLD"); err != nil {
			return err
		}
		return placement.SetTraits(ctx, tx, gold.ID, -1, []string{"CUSTOM_GOLD"})
	}))
	for _, read := range []func() error{func() error { return x.registry.Load(ctx) }, func() error { return x.registry.Refresh(ctx, gold.Name) }} {
		require.NoError(t, read())
		for value, there := range map[string]bool{"required": true, "forbidden": false} {
			f, err := x.compute.CreateFlavor(ctx, compute.FlavorRow{Name: t.Name() + value + db.Now().String(), VCPUs: 1, RAMMiB: 64, RootGiB: 1, Public: true,
				ExtraSpecs: db.AsJSON(map[string]string{"trait:CUSTOM_GOLD": value})})
			require.NoError(t, err)
			r := x.request(value, 3)
			r.FlavorID = f.ID
			made, err := x.compute.Create(ctx, x.creds, r)
			require.NoError(t, err)
			for _, s := range x.settled(t, ids(made.Servers)...) {
				require.Equal(t, compute.Active, s.VMState, "%v", s.Fault.V)
				require.Equal(t, there, s.Host == gold.Name, "trait %s, host %s", value, s.Host)
			}
		}
	}
	x.clean(t)
}
