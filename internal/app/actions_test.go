package app

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/compute"
	"nephos/internal/config"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/host/blockdev"
	"nephos/internal/hostapi"
	"nephos/internal/image"
	"nephos/internal/quota"
)

// agentImage is the id of an image whose servers have a channel to a guest agent.
const agentImage = "10000000-0000-4000-8000-000000000002"

// actionCloud is a cloud with one ACTIVE server of an image that names a guest agent.
func actionCloud(t *testing.T, url string, set ...func(*config.Config)) (x *cloud, by compute.By, id string) {
	t.Helper()
	ctx := context.Background()
	x = newCloud(t, url, t.TempDir(), 3, set...)
	x.unlimited(t)
	_, err := x.images.Ensure(ctx, image.CreateParams{ID: agentImage, Name: "with agent", Owner: x.creds.ProjectID, Visibility: image.Public, DiskFormat: "raw", ContainerFormat: "bare",
		Properties: map[string]string{"hw_qemu_guest_agent": "yes", "os_distro": "test"}}, openBytes("bytes"))
	require.NoError(t, err)
	r := x.request("one", 1)
	r.ImageID = agentImage
	made, err := x.compute.Create(ctx, x.creds, r)
	require.NoError(t, err)
	id = made.Servers[0].ID
	x.is(t, id, compute.Active)
	return x, compute.By{Creds: x.creds, RequestID: "req-action"}, id
}

// is waits until nothing is done to the server and holds its state.
func (x *cloud) is(t *testing.T, id string, want compute.VMState) *compute.Server {
	t.Helper()
	s := x.settled(t, id)[0]
	require.Equal(t, want, s.VMState, "%v", s.Fault.V)
	return s
}

// wholeImage waits until an image is active.
func (x *cloud) wholeImage(t *testing.T, id string) image.Image {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		img, err := x.images.ByID(context.Background(), id)
		require.NoError(t, err)
		if img.Status == image.Active {
			return img
		}
		require.True(t, time.Now().Before(deadline), "image is %s", img.Status)
		<-time.After(10 * time.Millisecond)
	}
}

func TestActionsInPlace(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x, by, id := actionCloud(t, url)
		ctx := context.Background()

		password, err := x.compute.Rescue(ctx, by, id, compute.RescueRequest{ImageID: x.image})
		require.NoError(t, err)
		require.Len(t, password, 12)
		x.is(t, id, compute.Rescued)
		_, err = x.compute.Rescue(ctx, by, id, compute.RescueRequest{})
		require.EqualError(t, err, "Cannot 'rescue' instance "+id+" while it is in vm_state rescued")
		require.NoError(t, x.compute.Unrescue(ctx, by, id))
		x.is(t, id, compute.Active)

		require.NoError(t, x.compute.ChangePassword(ctx, by, id, "hunter2"))
		x.is(t, id, compute.Active)
		log, err := x.compute.ConsoleLog(ctx, x.creds, id, 0)
		require.NoError(t, err)
		require.Contains(t, string(log), "new password for root")
		require.NoError(t, x.compute.CrashDump(ctx, by, id))
		x.is(t, id, compute.Active)
		log, err = x.compute.ConsoleLog(ctx, x.creds, id, 0)
		require.NoError(t, err)
		require.Contains(t, string(log), "received an NMI")
		require.NoError(t, x.compute.InjectNetworkInfo(ctx, by, id))
		x.is(t, id, compute.Active)

		name, words := "two", map[string]string{"k": "v"}
		s, _, err := x.compute.Rebuild(ctx, by, id, compute.RebuildRequest{ImageID: x.image, Name: &name, Metadata: &words})
		require.NoError(t, err)
		require.Equal(t, x.image, s.ImageID)
		s = x.is(t, id, compute.Active)
		require.Equal(t, "two", s.Name)
		require.Equal(t, words, s.Metadata.V)
		require.Empty(t, s.AdminPass)
		require.Equal(t, fault.KindConflict, fault.KindOf(x.compute.ChangePassword(ctx, by, id, "x")), "the new image has no agent")
		x.is(t, id, compute.Active)
		require.NoError(t, x.compute.Power(ctx, by, id, compute.ActionStop))
		x.is(t, id, compute.Stopped)
		_, _, err = x.compute.Rebuild(ctx, by, id, compute.RebuildRequest{ImageID: agentImage})
		require.NoError(t, err)
		x.is(t, id, compute.Stopped)
		require.NoError(t, x.compute.Power(ctx, by, id, compute.ActionStart))
		x.is(t, id, compute.Active)
		x.clean(t)
		require.NoError(t, x.db.Read(ctx, func(tx *db.Tx) error {
			var left int
			err := tx.Get(ctx, &left, `SELECT COUNT(*) FROM workflows WHERE state LIKE '%hunter2%'`)
			require.Zero(t, left, "a password stays in a workflow's state")
			return err
		}))
	})
}

func TestImagesOfServers(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x, by, id := actionCloud(t, url)
		ctx := context.Background()
		snap, err := x.compute.CreateImage(ctx, by, id, compute.ImageRequest{Name: "snap", Metadata: map[string]string{"mine": "yes"}})
		require.NoError(t, err)
		_, err = x.compute.CreateImage(ctx, by, id, compute.ImageRequest{Name: "second"})
		if err != nil { // the first may be done already
			require.Equal(t, fault.KindConflict, fault.KindOf(err))
		}
		img := x.wholeImage(t, snap)
		require.Equal(t, "qcow2", img.DiskFormat)
		for k, v := range map[string]string{"image_type": "snapshot", "instance_uuid": id, "base_image_ref": agentImage, "mine": "yes", "os_distro": "test", "hw_qemu_guest_agent": "yes"} {
			require.Equal(t, v, img.Properties[k], k)
		}
		require.Equal(t, image.Private, img.Visibility)
		require.Nil(t, x.is(t, id, compute.Active).Making.V)

		var kept []string
		for range 3 {
			b, err := x.compute.CreateImage(ctx, by, id, compute.ImageRequest{Name: "nightly", Backup: &compute.Backup{Type: "daily", Keep: 2}})
			require.NoError(t, err)
			x.is(t, id, compute.Active)
			kept = append(kept, b)
		}
		_, err = x.images.ByID(ctx, kept[0])
		require.True(t, fault.IsNotFound(err), "the oldest of three stays though two are to be kept")
		x.wholeImage(t, kept[1])
		x.wholeImage(t, kept[2])

		// Deleting the server in the middle leaves no image that never becomes whole.
		last, err := x.compute.CreateImage(ctx, by, id, compute.ImageRequest{Name: "last"})
		require.NoError(t, err)
		require.NoError(t, x.compute.Delete(ctx, by, id))
		require.Empty(t, x.settled(t, id))
		if img, err := x.images.ByID(ctx, last); err == nil {
			require.Equal(t, image.Active, img.Status)
		}
		x.clean(t)
	})
}

func TestShelving(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x, by, id := actionCloud(t, url)
		ctx := context.Background()
		require.NoError(t, x.compute.Shelve(ctx, by, id))
		s := x.is(t, id, compute.ShelvedOffloaded)
		require.Empty(t, s.Host)
		shelf := s.Shelf.V.ImageID
		require.Equal(t, "one-shelved", x.wholeImage(t, shelf).Name)
		x.clean(t)
		zone := "nowhere"
		at := &zone
		require.Equal(t, fault.KindInvalid, fault.KindOf(x.compute.Unshelve(ctx, by, id, compute.UnshelveRequest{Zone: &at})))
		require.NoError(t, x.compute.Unshelve(ctx, by, id, compute.UnshelveRequest{Host: x.registry.Rows()[2].Name}))
		s = x.is(t, id, compute.Active)
		require.Equal(t, x.registry.Rows()[2].Name, s.Host)
		require.Equal(t, agentImage, s.ImageID)
		require.Nil(t, s.Shelf.V)
		_, err := x.images.ByID(ctx, shelf)
		require.True(t, fault.IsNotFound(err), "the image of a server that is back stays")
		x.clean(t)
		require.NoError(t, x.compute.Shelve(ctx, by, id))
		x.is(t, id, compute.ShelvedOffloaded)
		require.NoError(t, x.compute.Delete(ctx, by, id))
		require.Empty(t, x.settled(t, id))
		x.clean(t)
		left, err := x.images.List(ctx, nil, image.Filter{Visibility: "all", Names: []string{"one-shelved"}})
		require.NoError(t, err)
		require.Empty(t, left, "the image of a shelved server that was deleted stays")
	})
}

func TestDeleteForLater(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x, by, id := actionCloud(t, url, func(c *config.Config) { c.Compute.ReclaimSeconds = 3600 })
		ctx := context.Background()
		used := func() (n int64) {
			require.NoError(t, x.db.Read(ctx, func(tx *db.Tx) error {
				u, err := x.quotas.Usage(ctx, tx, x.creds.ProjectID)
				n = u["instances"]
				return err
			}))
			return n
		}
		require.NoError(t, x.compute.Delete(ctx, by, id))
		x.is(t, id, compute.SoftDeleted)
		require.Zero(t, used())
		x.clean(t)
		require.NoError(t, x.compute.Delete(ctx, by, id), "a second delete changes nothing")
		require.NoError(t, x.compute.Reclaim(ctx))
		x.is(t, id, compute.SoftDeleted)
		require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error { return x.quotas.SetLimit(ctx, tx, x.creds.ProjectID, "instances", 0) }))
		require.Equal(t, fault.KindQuota, fault.KindOf(x.compute.Restore(ctx, by, id)))
		require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error {
			return x.quotas.SetLimit(ctx, tx, x.creds.ProjectID, "instances", quota.Unlimited)
		}))
		require.NoError(t, x.compute.Restore(ctx, by, id))
		x.is(t, id, compute.Active)
		require.EqualValues(t, 1, used())
		x.clean(t)
		require.NoError(t, x.compute.Delete(ctx, by, id))
		x.is(t, id, compute.SoftDeleted)
		require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error { // two hours pass
			_, err := tx.Exec(ctx, `UPDATE servers SET soft_deleted_at = ? WHERE id = ?`, db.At(time.Now().Add(-2*time.Hour)), id)
			return err
		}))
		require.NoError(t, x.compute.Reclaim(ctx))
		require.Empty(t, x.settled(t, id))
		require.Zero(t, used())
		x.clean(t)
	})
}

// Of two actions at once one wins, and the other is told so in Nova's words.
func TestTwoActionsAtOnce(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x, by, id := actionCloud(t, url)
		ctx := context.Background()
		for range 3 {
			acts := []func() error{
				func() error { return x.compute.Power(ctx, by, id, compute.ActionStop) },
				func() error { return x.compute.Shelve(ctx, by, id) },
				func() error {
					_, err := x.compute.Rescue(ctx, by, id, compute.RescueRequest{})
					return err
				},
				func() error {
					_, err := x.compute.CreateImage(ctx, by, id, compute.ImageRequest{Name: "i"})
					return err
				},
			}
			errs := make(chan error)
			for _, act := range acts {
				go func() { errs <- act() }()
			}
			won := 0
			for range acts {
				err := <-errs
				if err == nil {
					won++
					continue
				}
				require.Equal(t, fault.KindConflict, fault.KindOf(err), "%v", err)
			}
			require.GreaterOrEqual(t, won, 1)
			switch s := x.settled(t, id)[0]; s.VMState {
			case compute.Stopped:
				require.NoError(t, x.compute.Power(ctx, by, id, compute.ActionStart))
			case compute.Rescued:
				require.NoError(t, x.compute.Unrescue(ctx, by, id))
			case compute.ShelvedOffloaded:
				require.NoError(t, x.compute.Unshelve(ctx, by, id, compute.UnshelveRequest{}))
			default:
				require.Equal(t, compute.Active, s.VMState)
			}
			x.is(t, id, compute.Active)
		}
		x.clean(t)
	})
}

// A host that cannot see the image store sends the bytes with its workflow's token; nobody else can, and not twice.
func TestUploadFromAnotherHost(t *testing.T) {
	t.Parallel()
	x, by, id := actionCloud(t, "")
	ctx := context.Background()
	srv := httptest.NewServer(withUploads(http.NotFoundHandler(), x.compute, x.log))
	defer srv.Close()
	img, err := x.images.Create(ctx, by.Creds, image.CreateParams{Name: "sent", DiskFormat: "qcow2", ContainerFormat: "bare"})
	require.NoError(t, err)
	require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error {
		s, err := compute.GetServer(ctx, tx, id)
		if err != nil {
			return err
		}
		return compute.Move(ctx, tx, id, s.Epoch, `making = ?`, db.AsJSON(&compute.Making{ImageID: img.ID, Token: "right"}))
	}))
	file := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, blockdev.CreateEmpty(file, 1<<20, blockdev.Owner{}))
	remote := newBusImages(nil, nil)
	task := hostapi.SnapshotTask{ImageID: img.ID, Token: "wrong", URL: uploadURL(srv.URL)(id, img.ID)}
	require.Equal(t, fault.KindConflict, fault.KindOf(remote.Put(ctx, task, file)))
	resp, err := http.DefaultClient.Do(must(http.NewRequest(http.MethodPut, task.URL, bytes.NewReader([]byte("x")))))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	task.Token = "right"
	require.NoError(t, remote.Put(ctx, task, file))
	require.NoError(t, remote.Put(ctx, task, file), "a repetition finds it done")
	got := x.wholeImage(t, img.ID)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	sum := sha512.Sum512(b)
	require.Equal(t, hex.EncodeToString(sum[:]), got.HashValue)
	require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error {
		s, err := compute.GetServer(ctx, tx, id)
		if err != nil {
			return err
		}
		return compute.Move(ctx, tx, id, s.Epoch, `making = ''`)
	}))
	require.Equal(t, fault.KindConflict, fault.KindOf(remote.Put(ctx, task, file)), "the token outlives its workflow")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
