package conductor

import (
	"context"
	"time"

	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// cacheState is one host that gets images before any server asks for them.
type cacheState struct {
	Host   string              `json:"host"`
	Images []hostapi.ImageSpec `json:"images"`
}

type cacheRun = workflow.Run[cacheState]

// cacheDeadline is what a host may take for all of the images together.
const cacheDeadline = 2 * time.Hour

// declareCache: one step, whose repetition finds what is already there. An image that cannot be had does not keep the others away; the journal tells of it.
func (c *Conductor) declareCache() *workflow.Definition[cacheState] {
	return &workflow.Definition[cacheState]{Kind: "host.cache_images", Deadline: cacheDeadline, Steps: []workflow.Step[cacheState]{{Name: "fetch", Do: c.cacheImages}},
		Fail: func(context.Context, *db.Tx, *cacheRun, workflow.Failure) error { return nil }}
}

// BeginCache implements compute.Conductor. Its subject is the request on that host: two requests do not wait for each other, the host's cache fetches an image once.
func (c *Conductor) BeginCache(ctx context.Context, tx *db.Tx, by workflow.Subject, host string, images []hostapi.ImageSpec) error {
	by.ID = "cache:" + host + ":" + by.RequestID
	_, err := workflow.Begin(ctx, tx, c.Engine, c.cache, by, cacheState{Host: host, Images: images}, 0)
	return err
}

func (c *Conductor) cacheImages(ctx context.Context, r *cacheRun) error {
	r.OnHost(r.State.Host)
	var first error
	for _, spec := range r.State.Images {
		res, err := c.command(ctx, r.State.Host, hostapi.Command{ID: r.CommandID("fetch-" + spec.ID), Subject: spec.ID, Op: hostapi.OpImageCache, Task: &hostapi.VolumeTask{Image: &spec}, Trace: r.RequestID})
		if err == nil {
			r.Record(parts(res)...)
			err = hostError(res)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first == nil {
			first = err
		}
	}
	return first
}
