package api_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/aggregates"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/attachinterfaces"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/availabilityzones"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/extensions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/instanceactions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/limits"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servergroups"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/tags"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/usage"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"
	"github.com/gophercloud/gophercloud/v2/pagination"
	"github.com/stretchr/testify/require"
)

// all reads every page and has the client's own code understand it.
func all[T any](t *testing.T, p pagination.Pager, extract func(pagination.Page) (T, error)) T {
	t.Helper()
	pages, err := p.AllPages(t.Context())
	require.NoError(t, err)
	out, err := extract(pages)
	require.NoError(t, err)
	return out
}

// A client that we did not write goes through most calls, at old, middle and newest versions. It accepts only the documented status codes, and fails on times and
// types that it cannot read.
func TestGophercloud(t *testing.T) {
	for _, version := range []string{"", "2.30", "2.60", "2.79", "2.96"} {
		t.Run("v"+version, func(t *testing.T) {
			w := lite(t)
			srv := httptest.NewServer(w.handler)
			t.Cleanup(srv.Close)
			client := func(token string) *gophercloud.ServiceClient {
				return &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{TokenID: token}, Endpoint: srv.URL + "/v2.1/", Type: "compute", Microversion: version}
			}
			asUser(t, w, client("a"), version)
			asAdmin(t, client("admin"))
		})
	}
}

func asUser(t *testing.T, w *world, c *gophercloud.ServiceClient, version string) {
	ctx := t.Context()
	_, err := keypairs.Create(ctx, c, keypairs.CreateOpts{Name: "k", PublicKey: pubKey}).Extract()
	require.NoError(t, err)
	require.Len(t, all(t, keypairs.List(c, nil), keypairs.ExtractKeyPairs), 1)
	_, err = keypairs.Get(ctx, c, "k", nil).Extract()
	require.NoError(t, err)
	require.Len(t, all(t, flavors.ListDetail(c, flavors.ListOpts{Limit: 3}), flavors.ExtractFlavors), 7)
	opts := servers.CreateOpts{Name: "vm", ImageRef: imageID, FlavorRef: "42", UserData: []byte("#!/bin/sh"), Metadata: map[string]string{"a": "b"}, Networks: "auto"}
	if version == "" || version == "2.30" {
		opts.Networks = nil
	}
	s, err := servers.Create(ctx, c, keypairs.CreateOptsExt{CreateOptsBuilder: opts, KeyName: "k"}, nil).Extract()
	require.NoError(t, err)
	w.settle(s.ID)
	s, err = servers.Get(ctx, c, s.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, "ACTIVE", s.Status)
	require.False(t, s.LaunchedAt.IsZero())
	require.Equal(t, "k", s.KeyName)
	require.Len(t, all(t, servers.List(c, servers.ListOpts{Limit: 1, Name: "vm"}), servers.ExtractServers), 1)
	require.Len(t, all(t, servers.ListAddresses(c, s.ID), servers.ExtractAddresses)["private"], 1)
	_, err = servers.Update(ctx, c, s.ID, servers.UpdateOpts{Name: "other"}).Extract()
	require.NoError(t, err)
	_, err = servers.UpdateMetadata(ctx, c, s.ID, servers.MetadataOpts{"c": "d"}).Extract()
	require.NoError(t, err)
	require.NoError(t, servers.DeleteMetadatum(ctx, c, s.ID, "c").ExtractErr())
	for _, act := range []func() error{
		func() error { return servers.Stop(ctx, c, s.ID).ExtractErr() }, func() error { return servers.Start(ctx, c, s.ID).ExtractErr() },
		func() error {
			return servers.Reboot(ctx, c, s.ID, servers.RebootOpts{Type: servers.HardReboot}).ExtractErr()
		},
		func() error { return servers.Pause(ctx, c, s.ID).ExtractErr() }, func() error { return servers.Unpause(ctx, c, s.ID).ExtractErr() },
		func() error { return servers.Suspend(ctx, c, s.ID).ExtractErr() }, func() error { return servers.Resume(ctx, c, s.ID).ExtractErr() },
		func() error { return servers.Lock(ctx, c, s.ID).ExtractErr() }, func() error { return servers.Unlock(ctx, c, s.ID).ExtractErr() },
	} {
		require.NoError(t, act())
		w.settle(s.ID)
	}
	text, err := servers.ShowConsoleOutput(ctx, c, s.ID, servers.ShowConsoleOutputOpts{Length: 3}).Extract()
	require.NoError(t, err)
	require.Equal(t, "two\nthree\n", text)
	require.Len(t, all(t, attachinterfaces.List(c, s.ID), attachinterfaces.ExtractInterfaces), 1)
	vol := makeVolume(w, false)
	if _, err := volumeattach.Create(ctx, c, s.ID, volumeattach.CreateOpts{VolumeID: vol}).Extract(); err != nil {
		require.True(t, gophercloud.ResponseCodeIs(err, 400), "%v", err) // the volume lies on the other host
	} else {
		w.settle(s.ID)
		require.Len(t, all(t, volumeattach.List(c, s.ID), volumeattach.ExtractVolumeAttachments), 1)
		require.NoError(t, volumeattach.Delete(ctx, c, s.ID, vol).ExtractErr())
		w.settle(s.ID)
	}
	actions := all(t, instanceactions.List(c, s.ID, nil), instanceactions.ExtractInstanceActions)
	require.NotEmpty(t, actions)
	_, err = instanceactions.Get(ctx, c, s.ID, actions[0].RequestID).Extract()
	require.NoError(t, err)
	if version != "" {
		require.NoError(t, tags.Add(ctx, c, s.ID, "t").ExtractErr())
		got, err := tags.List(ctx, c, s.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, []string{"t"}, got)
	}
	g := servergroups.CreateOpts{Name: "g", Policies: []string{"affinity"}}
	if version == "2.79" || version == "2.96" {
		g = servergroups.CreateOpts{Name: "g", Policy: "anti-affinity", Rules: &servergroups.Rules{MaxServerPerHost: 2}}
	}
	_, err = servergroups.Create(ctx, c, g).Extract()
	require.NoError(t, err)
	require.Len(t, all(t, servergroups.List(c, nil), servergroups.ExtractServerGroups), 1)
	l, err := limits.Get(ctx, c, nil).Extract()
	require.NoError(t, err)
	require.Equal(t, 1, l.Absolute.TotalInstancesUsed)
	_, err = quotasets.GetDetail(ctx, c, projectA).Extract()
	require.NoError(t, err)
	require.NotEmpty(t, all(t, availabilityzones.List(c), availabilityzones.ExtractAvailabilityZones))
	require.NotEmpty(t, all(t, extensions.List(c), extensions.ExtractExtensions))
	require.NoError(t, servers.Delete(ctx, c, s.ID).ExtractErr())
	w.settle(s.ID)
	require.True(t, gophercloud.ResponseCodeIs(servers.Get(ctx, c, s.ID).Err, 404))
	require.NoError(t, keypairs.Delete(ctx, c, "k", nil).ExtractErr())
	start := time.Now().Add(-time.Hour)
	seen := 0
	require.NoError(t, usage.SingleTenant(c, projectA, usage.SingleTenantOpts{Start: &start}).EachPage(ctx, func(_ context.Context, p pagination.Page) (bool, error) {
		u, err := usage.ExtractSingleTenant(p)
		if err != nil {
			return false, err
		}
		for _, s := range u.ServerUsages {
			require.False(t, s.EndedAt.IsZero())
			seen++
		}
		return true, nil
	}))
	require.Equal(t, 1, seen)
}

func asAdmin(t *testing.T, c *gophercloud.ServiceClient) {
	ctx := t.Context()
	a, err := aggregates.Create(ctx, c, aggregates.CreateOpts{Name: "agg"}).Extract()
	require.NoError(t, err)
	_, err = aggregates.AddHost(ctx, c, a.ID, aggregates.AddHostOpts{Host: "host1"}).Extract()
	require.NoError(t, err)
	_, err = aggregates.SetMetadata(ctx, c, a.ID, aggregates.SetMetadataOpts{Metadata: map[string]any{"k": "v"}}).Extract()
	require.NoError(t, err)
	require.Len(t, all(t, aggregates.List(c), aggregates.ExtractAggregates), 1)
	_, err = aggregates.RemoveHost(ctx, c, a.ID, aggregates.RemoveHostOpts{Host: "host1"}).Extract()
	require.NoError(t, err)
	require.NoError(t, aggregates.Delete(ctx, c, a.ID).ExtractErr())
	list := all(t, services.List(c, nil), services.ExtractServices)
	require.Len(t, list, 4) // two hosts, and the two parts of the controller
	require.False(t, list[0].UpdatedAt.IsZero())
	require.NotEmpty(t, all(t, availabilityzones.ListDetail(c), availabilityzones.ExtractAvailabilityZones))
	hyper := all(t, hypervisors.List(c, nil), hypervisors.ExtractHypervisors)
	require.Len(t, hyper, 2)
	_, err = hypervisors.Get(ctx, c, hyper[0].ID).Extract()
	require.NoError(t, err)
	if c.Microversion != "2.96" {
		_, err = hypervisors.GetStatistics(ctx, c).Extract()
		require.NoError(t, err)
	}
	n := 7
	q, err := quotasets.Update(ctx, c, projectB, quotasets.UpdateOpts{Instances: &n}).Extract()
	require.NoError(t, err)
	require.Equal(t, 7, q.Instances)
	disk := 1
	f, err := flavors.Create(ctx, c, flavors.CreateOpts{Name: fmt.Sprint("f", c.Microversion), RAM: 64, VCPUs: 1, Disk: &disk}).Extract()
	require.NoError(t, err)
	_, err = flavors.CreateExtraSpecs(ctx, c, f.ID, flavors.ExtraSpecsOpts{"k": "v"}).Extract()
	require.NoError(t, err)
	require.NoError(t, flavors.DeleteExtraSpec(ctx, c, f.ID, "k").ExtractErr())
	require.NoError(t, flavors.Delete(ctx, c, f.ID).ExtractErr())
	require.NotNil(t, all(t, usage.AllTenants(c, usage.AllTenantsOpts{Detailed: true}), usage.ExtractAllTenants))
}
