package api_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/placement/v1/allocationcandidates"
	"github.com/gophercloud/gophercloud/v2/openstack/placement/v1/allocations"
	"github.com/gophercloud/gophercloud/v2/openstack/placement/v1/resourceclasses"
	"github.com/gophercloud/gophercloud/v2/openstack/placement/v1/resourceproviders"
	"github.com/gophercloud/gophercloud/v2/openstack/placement/v1/traits"
	"github.com/gophercloud/gophercloud/v2/openstack/placement/v1/usages"
	"github.com/stretchr/testify/require"
)

// A client that we did not write makes a provider, takes of it and gives it back; gophercloud accepts only the documented status codes.
func TestGophercloud(t *testing.T) {
	each(t, func(c cloud) {
		t, ctx := c.t, context.Background()
		client := &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{TokenID: "admin"}, Endpoint: c.url + "/", Type: "placement", Microversion: "1.39"}
		rp, err := resourceproviders.Create(ctx, client, resourceproviders.CreateOpts{Name: "h"}).Extract()
		require.NoError(t, err)
		invs, err := resourceproviders.UpdateInventories(ctx, client, rp.UUID, resourceproviders.UpdateInventoriesOpts{Inventories: map[string]resourceproviders.Inventory{
			"VCPU": {Total: 8, AllocationRatio: 2, MinUnit: 1, MaxUnit: 8, StepSize: 1}}}).Extract()
		require.NoError(t, err)
		_, err = resourceproviders.UpdateInventory(ctx, client, rp.UUID, "VCPU", resourceproviders.UpdateInventoryOpts{ResourceProviderGeneration: invs.ResourceProviderGeneration,
			Inventory: resourceproviders.Inventory{Total: 8, AllocationRatio: 4, MinUnit: 1, MaxUnit: 8, StepSize: 1}}).Extract()
		require.NoError(t, err)
		require.NoError(t, traits.Create(ctx, client, "CUSTOM_GOLD").ExtractErr())
		have, err := resourceproviders.UpdateTraits(ctx, client, rp.UUID, resourceproviders.UpdateTraitsOpts{ResourceProviderGeneration: invs.ResourceProviderGeneration + 1, Traits: []string{"CUSTOM_GOLD"}}).Extract()
		require.NoError(t, err)
		agg := uuid.NewString()
		_, err = resourceproviders.UpdateAggregates(ctx, client, rp.UUID, resourceproviders.UpdateAggregatesOpts{ResourceProviderGeneration: &have.ResourceProviderGeneration, Aggregates: []string{agg}}).Extract()
		require.NoError(t, err)
		require.NoError(t, resourceclasses.Update(ctx, client, "CUSTOM_TAPE").ExtractErr())

		page, err := allocationcandidates.List(client, allocationcandidates.ListOpts{Resources: "VCPU:8", Required: []string{"CUSTOM_GOLD"}, MemberOf: []string{agg}, Limit: 5}).AllPages(ctx)
		require.NoError(t, err)
		candidates, err := allocationcandidates.ExtractAllocationCandidates(page)
		require.NoError(t, err)
		require.Len(t, candidates.AllocationRequests, 1)
		require.Equal(t, 32, candidates.ProviderSummaries[rp.UUID].Resources["VCPU"].Capacity)

		server := uuid.NewString()
		want := allocations.UpdateOpts{Allocations: map[string]allocations.ProviderAllocationsOpts{rp.UUID: {Resources: map[string]int{"VCPU": 8}}}, ProjectID: "p", UserID: "u", ConsumerType: "INSTANCE"}
		require.NoError(t, allocations.Update(ctx, client, server, want).ExtractErr())
		got, err := allocations.Get(ctx, client, server).Extract()
		require.NoError(t, err)
		require.Equal(t, 8, got.Allocations[rp.UUID].Resources["VCPU"])
		want.Allocations, want.ConsumerGeneration = map[string]allocations.ProviderAllocationsOpts{}, got.ConsumerGeneration
		use, err := usages.Get(ctx, client, usages.GetOpts{ProjectID: "p"}).Extract()
		require.NoError(t, err)
		require.Equal(t, usages.ConsumerTypeUsage{"consumer_count": 1, "VCPU": 8}, use.Usages["INSTANCE"])
		require.NoError(t, allocations.Manage(ctx, client, allocations.ManageOpts{server: want}).ExtractErr())
		require.NoError(t, resourceproviders.Delete(ctx, client, rp.UUID).ExtractErr())
		c.sound()
	})
}
