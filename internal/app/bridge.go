package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/faultpoint"
	"nephos/internal/host/imagecache"
	"nephos/internal/hostapi"
	"nephos/internal/image"
)

// hosts is the controller's way to the agents: it implements compute.HostClient, volume.HostClient and network.Pusher on the bus.
type hosts struct {
	bus   Bus
	lives *lives
}

// Bus is what the rooms need of the messages; *bus.Bus is one.
type Bus interface {
	Publish(subject string, v any) error
	Request(ctx context.Context, subject string, in, out any) error
	Handle(subject, queue string, fn func(ctx context.Context, data []byte) (any, error)) error
	Listen(subject string, fn func(ctx context.Context, data []byte) error) error
	Addr() string // where others can join; "" when they cannot
}

// commandPatience is how long one request waits before the same command is sent again: an agent that died took the request with it (lives notices it when the
// next one speaks), one that works joins the repetition to the run under way.
const commandPatience = 30 * time.Second

// Do sends a command and waits for its result; fault.KindUnavailable when none came in time.
func (h hosts) Do(ctx context.Context, host string, cmd hostapi.Command) (hostapi.Result, error) {
	rctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	rctx, end := h.lives.within(rctx, host)
	defer end()
	var res hostapi.Result
	err := h.bus.Request(rctx, hostapi.SubjectCommand(host), cmd, &res)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return res, fault.Unavailable("the agent of host %s was started anew", host)
	}
	if err != nil && fault.KindOf(err) == fault.KindConflict { // the agent is stopping, or could not read it
		err = fault.Unavailable("host %s did not take the command", host).WithCause(err)
	}
	return res, err
}

// Console reads a guest's console log.
func (h hosts) Console(ctx context.Context, host string, r hostapi.ConsoleRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var reply hostapi.ConsoleReply
	if err := h.bus.Request(ctx, hostapi.SubjectConsole(host), r, &reply); err != nil {
		return nil, err
	}
	if reply.Err != "" {
		return nil, fault.Conflict("console of %s: %s", r.ServerID, reply.Err)
	}
	return reply.Log, nil
}

// Look asks a host about a guest.
func (h hosts) Look(ctx context.Context, host string, r hostapi.LookRequest) (hostapi.LookReply, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var reply hostapi.LookReply
	return reply, h.bus.Request(ctx, hostapi.SubjectLook(host), r, &reply)
}

// Push implements network.Pusher.
func (h hosts) Push(ctx context.Context, host string, doc hostapi.NetworkDocument) (int64, error) {
	var ack hostapi.NetworkAck
	if err := h.bus.Request(ctx, hostapi.SubjectNetwork(host), doc, &ack); err != nil {
		return 0, err
	}
	if ack.Err != "" {
		return ack.Revision, fault.Conflict("networking of host %s: %s", host, ack.Err)
	}
	return ack.Revision, nil
}

// TellMembers implements network.Pusher.
func (h hosts) TellMembers(c hostapi.MemberChange) error {
	return h.bus.Publish(hostapi.SubjectMembers, c)
}

// Inventory asks a host what it holds, for fsck.
func (h hosts) Inventory(ctx context.Context, host string) (hostapi.Inventory, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var inv hostapi.Inventory
	return inv, h.bus.Request(ctx, hostapi.SubjectInventory(host), struct{}{}, &inv)
}

// serveHosts answers what agents ask a controller.
func (c *controller) serveHosts() error {
	b, reg, net, img := c.bus, c.registry, c.networks, c.images
	const queue = "controllers"
	return errors.Join(
		b.Handle(hostapi.SubjectHeartbeat, queue, func(ctx context.Context, data []byte) (any, error) {
			var hb hostapi.Heartbeat
			if err := json.Unmarshal(data, &hb); err != nil {
				return nil, err
			}
			c.hosts.lives.heard(hb.Host.Name, hb.Host.Started)
			defer c.checkTunnels()
			return reg.Heartbeat(ctx, hb)
		}),
		b.Handle(hostapi.SubjectMoveProgress, queue, c.onMoveProgress),
		b.Handle(hostapi.SubjectNetworkFetch, queue, func(ctx context.Context, data []byte) (any, error) {
			var q hostapi.NetworkFetch
			if err := json.Unmarshal(data, &q); err != nil {
				return nil, err
			}
			return net.Document(ctx, q.Host)
		}),
		b.Handle(hostapi.SubjectProgress, "", func(_ context.Context, data []byte) (any, error) {
			var p hostapi.Progress
			if err := json.Unmarshal(data, &p); err != nil {
				return nil, err
			}
			reg.Progress(p)
			return nil, nil
		}),
		b.Handle(hostapi.SubjectImageChunk, queue, func(ctx context.Context, data []byte) (any, error) {
			return imageChunk(ctx, img, data)
		}),
		c.overhear(),
	)
}

// overhear listens to the heartbeats that another controller answers: without them this one would take hosts for dead, and would not send them their
// networking. One that is alone answers all of them.
func (c *controller) overhear() error {
	if !c.db.Shared() {
		return nil
	}
	return c.bus.Listen(hostapi.SubjectHeartbeat, func(ctx context.Context, data []byte) error {
		var s compute.Sign
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		c.hosts.lives.heard(s.Host.Name, s.Host.Started)
		c.registry.Overhear(ctx, s)
		c.checkTunnels()
		return nil
	})
}

// imageChunk reads a piece of an image; fewer bytes than asked for mean its end.
func imageChunk(ctx context.Context, img *image.Service, data []byte) (any, error) {
	var q hostapi.ImageChunkRequest
	if err := json.Unmarshal(data, &q); err != nil {
		return nil, err
	}
	if q.Length < 1 || q.Length > hostapi.ImageChunkMax || q.Offset < 0 {
		return nil, fault.Invalid("length", "a chunk of %d bytes at %d is out of bounds", q.Length, q.Offset)
	}
	blob, _, err := img.Open(ctx, q.ImageID)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	buf := make([]byte, q.Length)
	n, err := blob.ReadAt(buf, q.Offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil {
		err = faultpoint.Spoil(ctx, "image", "read", "", "bytes", buf[:n])
	}
	return buf[:n], err
}

// busImages brings image bytes to an agent that cannot see the store (imagecache.Source).
type busImages struct {
	bus  Bus
	http *http.Client
}

// Fetch implements imagecache.Source.
func (s busImages) Fetch(ctx context.Context, imageID string, w io.Writer) error {
	for offset := int64(0); ; {
		chunk, err := s.chunk(ctx, hostapi.ImageChunkRequest{ImageID: imageID, Offset: offset, Length: hostapi.ImageChunkMax})
		if err != nil {
			return err
		}
		if len(chunk) > 0 {
			if _, err := w.Write(chunk); err != nil {
				return err
			}
		}
		if len(chunk) < hostapi.ImageChunkMax {
			return nil
		}
		offset += int64(len(chunk))
	}
}

// chunkTime is how long a controller may take to read a chunk before another is asked, chunkPause how long to wait when there is none.
const (
	chunkTime  = 10 * time.Second
	chunkPause = 500 * time.Millisecond
)

// chunk asks until a controller answers or ctx ends: one that dies while it reads never answers, and the next may be up a moment later.
func (s busImages) chunk(ctx context.Context, q hostapi.ImageChunkRequest) ([]byte, error) {
	for {
		var out []byte
		tctx, cancel := context.WithTimeout(ctx, chunkTime)
		err := s.bus.Request(tctx, hostapi.SubjectImageChunk, q, &out)
		cancel()
		if fault.KindOf(err) != fault.KindUnavailable || err == nil || ctx.Err() != nil {
			return out, err
		}
		select {
		case <-time.After(chunkPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// localImages shares the store's file with the cache of a host on the same machine (imagecache.Linker), and copies where that cannot be.
type localImages struct{ images *image.Service }

// Fetch implements imagecache.Source.
func (s localImages) Fetch(ctx context.Context, imageID string, w io.Writer) error {
	blob, _, err := s.images.Open(ctx, imageID)
	if err != nil {
		return err
	}
	defer blob.Close()
	_, err = io.Copy(w, blob)
	return err
}

// Link implements imagecache.Linker.
func (s localImages) Link(ctx context.Context, imageID, path string) (bool, error) {
	return imagecache.LinkFile(imageID, s.images.LocalPath(ctx, imageID), path)
}
