package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/instanceactions"
)

// TraceVerb draws what was done to a server.
type TraceVerb struct {
	Server string `arg:"" help:"Name or id; of a deleted server the id."`
	Last   bool   `help:"Only the newest operation."`
}

// Trace is TraceVerb as a verb of its own.
type Trace struct {
	Flags
	TraceVerb
}

// operation is one thing that was done to a server.
type operation struct {
	ID        string     `json:"id"`
	Action    string     `json:"action"`
	RequestID string     `json:"request_id"`
	Status    string     `json:"status"`
	Tries     int        `json:"tries"`
	Error     string     `json:"error"`
	ErrorStep string     `json:"error_step"`
	Started   *time.Time `json:"started_at"`
	Finished  *time.Time `json:"finished_at"`
	Steps     []step     `json:"steps"`
}

// step is one line of an operation. Parent names the step that it is a part of.
type step struct {
	Name     string     `json:"name"`
	Parent   string     `json:"parent"`
	Phase    string     `json:"phase"` // do or undo
	Try      int        `json:"try"`
	Host     string     `json:"host"`
	Started  *time.Time `json:"started_at"`
	Finished *time.Time `json:"finished_at"`
	Error    string     `json:"error"`
	Detail   string     `json:"detail"`
}

// Run draws the operations, the oldest first.
func (v *TraceVerb) Run(ctx context.Context, s *Session) error {
	id, name := v.Server, v.Server
	if srv, err := s.server(ctx, v.Server); err == nil {
		id, name = srv.ID, srv.Name
	} else if !isUUID(v.Server) {
		return err
	}
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	ops, err := s.operations(ctx, c, id)
	if err != nil {
		return err
	}
	slices.SortStableFunc(ops, func(a, b operation) int { return moment(a.Started).Compare(moment(b.Started)) })
	if v.Last && len(ops) > 1 {
		ops = ops[len(ops)-1:]
	}
	if s.JSON {
		e := json.NewEncoder(s.Out)
		e.SetIndent("", "  ")
		return e.Encode(ops)
	}
	if len(ops) == 0 {
		fmt.Fprintln(s.Err, "nothing is recorded about it")
	}
	for i, o := range ops {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		if err := s.drawOperation(o, name); err != nil {
			return err
		}
	}
	return nil
}

// operations asks for nephos's trace, and where there is none for Nova's instance actions, which know the steps of a server's hosts only.
func (s *Session) operations(ctx context.Context, c *gophercloud.ServiceClient, id string) ([]operation, error) {
	var r struct {
		Trace []operation `json:"trace"`
	}
	_, err := c.Get(ctx, c.ServiceURL("servers", id, "os-nephos-trace"), &r, nil)
	if err == nil {
		return r.Trace, nil
	}
	if n := status(err); n != http.StatusNotFound && n != http.StatusForbidden {
		return nil, err
	}
	pages, err := instanceactions.List(c, id, instanceactions.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	list, err := instanceactions.ExtractInstanceActions(pages)
	if err != nil {
		return nil, err
	}
	var out []operation
	for _, a := range list {
		d, err := instanceactions.Get(ctx, c, id, a.RequestID).Extract()
		if err != nil {
			return nil, err
		}
		out = append(out, fromAction(d))
	}
	return out, nil
}

// fromAction is a Nova action with its events as an operation.
func fromAction(d instanceactions.InstanceActionDetail) operation {
	o := operation{Action: d.Action, RequestID: d.RequestID, Started: &d.StartTime, Status: "done", Error: d.Message}
	if d.Message != "" {
		o.Status = "failed"
	}
	if d.Events == nil {
		return o
	}
	for _, e := range *d.Events {
		st := step{Name: e.Event, Phase: "do", Try: 1}
		if e.Host != nil {
			st.Host = *e.Host
		}
		if !e.StartTime.IsZero() {
			st.Started = &e.StartTime
		}
		if !e.FinishTime.IsZero() {
			st.Finished = &e.FinishTime
			if o.Finished == nil || e.FinishTime.After(*o.Finished) {
				o.Finished = &e.FinishTime
			}
		}
		if e.Result != "" && e.Result != "Success" {
			st.Error = cmp.Or(firstLine(e.Traceback), e.Result)
		}
		o.Steps = append(o.Steps, st)
	}
	slices.SortStableFunc(o.Steps, func(a, b step) int { return moment(a.Started).Compare(moment(b.Started)) })
	return o
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// component is the room of the program that a step ran in: the host for its own parts, the scheduler, or the conductor that drives.
func (st *step) component() string {
	name := strings.ToLower(st.Name)
	switch {
	case st.Name == "accept" && st.Phase == "api":
		return "api"
	case st.Parent != "" && st.Host != "":
		return "host"
	case strings.Contains(name, "schedul") || strings.Contains(name, "select_destinations"):
		return "scheduler"
	case strings.HasPrefix(name, "compute_"): // Nova's events on a host
		return "host"
	}
	return "conductor"
}

// label is the name with what sets it apart: undo, a later try, being a part.
func (st *step) label() string {
	l := st.Name
	if st.Phase == "undo" {
		l = "undo " + l
	}
	if st.Try > 1 {
		l = fmt.Sprintf("%s #%d", l, st.Try)
	}
	if st.Parent != "" {
		l = "  " + l
	}
	return l
}
