package api_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imageimport"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"nephos/internal/db/dbtest"
	"nephos/internal/image"
	"nephos/internal/image/metadef"
	"nephos/internal/workflow"
)

// A client that we did not write goes through an image's life; gophercloud accepts only the documented status codes.
func TestGophercloud(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := start(t, dbtest.SQLite(t, workflow.Migrations(), image.Migrations(), metadef.Migrations()))
	p := &gophercloud.ProviderClient{TokenID: "alice"}
	client := &gophercloud.ServiceClient{ProviderClient: p, Endpoint: c.url + "/", ResourceBase: c.url + "/v2/"}
	img, err := images.Create(ctx, client, images.CreateOpts{Name: "g", DiskFormat: "raw", ContainerFormat: "bare", Tags: []string{"t"}, Properties: map[string]string{"hw_disk_bus": "virtio"}}).Extract()
	require.NoError(t, err)
	require.Equal(t, images.ImageStatusQueued, img.Status)
	require.NoError(t, imagedata.Upload(ctx, client, img.ID, strings.NewReader("0123456789")).ExtractErr())
	img, err = images.Get(ctx, client, img.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, images.ImageStatusActive, img.Status)
	require.EqualValues(t, 10, img.SizeBytes)
	require.Equal(t, "virtio", img.Properties["hw_disk_bus"])
	r, err := imagedata.Download(ctx, client, img.ID).Extract()
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "0123456789", string(data))
	img, err = images.Update(ctx, client, img.ID, images.UpdateOpts{images.ReplaceImageName{NewName: "h"}, images.UpdateImageProperty{Op: images.AddOp, Name: "os_distro", Value: "debian"}}).Extract()
	require.NoError(t, err)
	require.Equal(t, "h", img.Name)

	second, err := images.Create(ctx, client, images.CreateOpts{Name: "staged", DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	require.NoError(t, err)
	require.NoError(t, imagedata.Stage(ctx, client, second.ID, strings.NewReader("x")).ExtractErr())
	require.NoError(t, imageimport.Create(ctx, client, second.ID, imageimport.CreateOpts{Name: imageimport.GlanceDirectMethod}).ExtractErr())
	require.Eventually(t, func() bool {
		now, err := images.Get(ctx, client, second.ID).Extract()
		return err == nil && now.Status == images.ImageStatusActive
	}, 20*time.Second, 5*time.Millisecond)
	pages, err := images.List(client, images.ListOpts{Limit: 1, SortKey: "name", SortDir: "asc"}).AllPages(ctx)
	require.NoError(t, err)
	all, err := images.ExtractImages(pages)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, []any{"h", "staged", images.ImageStatusActive}, []any{all[0].Name, all[1].Name, all[1].Status})
	require.NoError(t, images.Delete(ctx, client, img.ID).ExtractErr())
	require.True(t, gophercloud.ResponseCodeIs(images.Delete(ctx, client, img.ID).ExtractErr(), 404))
}
