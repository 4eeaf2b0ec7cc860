package conductor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// Deps are the parts the workflows act through.
type Deps struct {
	DB       *db.DB
	Log      *slog.Logger
	Engine   *workflow.Engine
	Hosts    *compute.Hosts
	Client   compute.HostClient
	Networks compute.Networks
	Volumes  compute.Volumes
	Quotas   compute.Quotas
	Images   compute.Images
	// UploadURL is where a host sends the bytes of an image that is made of a server, if it cannot see the image store. Nil: nowhere.
	UploadURL func(serverID, imageID string) string
	// ResizeToSameHost lets a resize stay on the server's host (Nova's allow_resize_to_same_host): without it a cloud of one host resizes nothing.
	ResizeToSameHost bool
}

// Conductor implements compute.Conductor. Its definitions do not change after New.
type Conductor struct {
	Deps
	build     *workflow.Definition[buildState]
	remove    *workflow.Definition[deleteState]
	power     map[string]*workflow.Definition[powerState]
	attachVol *workflow.Definition[deviceState]
	detachVol *workflow.Definition[deviceState]
	attachNIC *workflow.Definition[deviceState]
	detachNIC *workflow.Definition[deviceState]
	acts      map[string]*workflow.Definition[actState]
	cache     *workflow.Definition[cacheState]
	moves     moves
	fresh     freshSpecs
}

// New declares the workflows and registers them with the engine.
func New(d Deps) *Conductor {
	c := &Conductor{Deps: d, power: map[string]*workflow.Definition[powerState]{}}
	c.build, c.remove = c.declareBuild(), c.declareDelete()
	workflow.Register(d.Engine, c.build)
	workflow.Register(d.Engine, c.remove)
	for _, p := range powerActions {
		def := c.declarePower(p)
		c.power[p.name] = def
		workflow.Register(d.Engine, def)
	}
	c.attachVol, c.detachVol = c.declareAttachVolume(), c.declareDetachVolume()
	c.attachNIC, c.detachNIC = c.declareAttachInterface(), c.declareDetachInterface()
	for _, def := range []*workflow.Definition[deviceState]{c.attachVol, c.detachVol, c.attachNIC, c.detachNIC} {
		workflow.Register(d.Engine, def)
	}
	c.acts, c.cache = c.declareActs(), c.declareCache()
	workflow.Register(d.Engine, c.cache)
	c.declareMoves()
	return c
}

var _ compute.Conductor = (*Conductor)(nil)

// Cancel implements compute.Conductor.
func (c *Conductor) Cancel(ctx context.Context, tx *db.Tx, serverID string) (kind string, err error) {
	return c.Engine.Cancel(ctx, tx, serverID)
}

// errHostDown says that the host gives no sign of life.
type hostDown struct{ host string }

func (e *hostDown) Error() string { return fmt.Sprintf("host %s is down", e.host) }

// command sends cmd and waits for its Result. The answer may be lost with a connection or an agent that restarts, so the same command is sent
// again until it comes: the host runs it once. It ends with *hostDown when the host stops giving signs of life, or with ctx.
func (c *Conductor) command(ctx context.Context, host string, cmd hostapi.Command) (hostapi.Result, error) {
	if dl, ok := ctx.Deadline(); ok {
		cmd.Deadline = dl
	}
	pause := 50 * time.Millisecond
	for {
		res, err := c.Client.Do(ctx, host, cmd)
		switch {
		case err == nil:
			return res, nil
		case ctx.Err() != nil:
			return res, ctx.Err()
		case fault.KindOf(err) != fault.KindUnavailable:
			return res, err
		case !c.Hosts.Up(host):
			return res, &hostDown{host}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return res, ctx.Err()
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// hostError makes an error of a Result that says no.
func hostError(res hostapi.Result) error {
	if res.Err == "" {
		return nil
	}
	if res.ErrStep != "" {
		return fault.Conflict("%s on host %s: %s", res.ErrStep, res.Host, res.Err)
	}
	return fault.Conflict("host %s: %s", res.Host, res.Err)
}

// parts turns the host's own steps into journal entries.
func parts(res hostapi.Result) []workflow.Entry {
	out := make([]workflow.Entry, 0, len(res.Steps))
	for _, s := range res.Steps {
		out = append(out, workflow.Entry{Step: s.Name, Host: res.Host, Started: db.At(s.Started), Finished: db.At(s.Finished), Err: s.Err, Detail: s.Detail})
	}
	return out
}

// subject names the server as the workflow's subject.
func subject(s *compute.Server, by workflow.Subject) workflow.Subject {
	return workflow.Subject{ID: s.ID, ProjectID: s.ProjectID, UserID: by.UserID, RequestID: by.RequestID}
}

// load reads the server and holds it against the epoch that the workflow works under.
func (c *Conductor) load(ctx context.Context, id string, epoch int64) (*compute.Server, error) {
	var s *compute.Server
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		s, err = compute.GetServer(ctx, tx, id)
		return err
	})
	if err == nil && s.Epoch != epoch {
		err = fault.Conflict("server %s was taken over by a later request", id)
	}
	return s, err
}
