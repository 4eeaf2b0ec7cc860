package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

const (
	eventsEvery = 300 * time.Millisecond // between two looks for a client of the feed
	eventsAlive = 15 * time.Second       // between two signs of life, so that a dead connection is noticed
	eventsWrite = 10 * time.Second       // for a client to take what is sent
)

// feedRoutes is nephos' own extension: GET /events is a stream of server-sent events (WHATWG HTML, section 9.2), one for each change of a server of the caller's
// project; with all_projects=1, by policy, of every project. Last-Event-ID, or last_event_id of the query, names the last one that was seen; what changed since comes
// first. An event may come twice, and of quick changes only the last comes.
func (f *face) feedRoutes() []httpapi.Route {
	return []httpapi.Route{{Method: get, Path: "/events", Name: "nephos.events", Rule: "nephos:events", Stream: true, Handler: f.events}}
}

func (f *face) events(r *httpapi.Request) (any, error) {
	project := r.Creds.ProjectID
	if all, _ := parseBool(r.URL.Query().Get("all_projects")); all {
		if err := r.Authorize("nephos:events:all_projects", nil); err != nil {
			return nil, err
		}
		project = ""
	}
	now := f.svc.Clock.Now
	after := now()
	last := r.Header.Get("Last-Event-ID")
	if q := r.URL.Query().Get("last_event_id"); last == "" {
		last = q
	}
	if last != "" {
		at, _, _ := strings.Cut(last, "-")
		micros, err := strconv.ParseInt(at, 10, 64)
		if err != nil || micros < 0 {
			return nil, fault.Invalid("Last-Event-ID", "Last-Event-ID %q is not of this feed.", last)
		}
		after = time.UnixMicro(micros)
	}
	follower := f.svc.Follow(project, after)
	w, control := r.W, http.NewResponseController(r.W)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	send := func(format string, a ...any) error {
		control.SetWriteDeadline(time.Now().Add(eventsWrite)) //nolint:errcheck // a writer without deadlines has no slow client
		if _, err := fmt.Fprintf(w, format, a...); err != nil {
			return err
		}
		return control.Flush()
	}
	if send("retry: 1000\n\n") != nil {
		return nil, nil
	}
	look, alive := f.svc.Clock.NewTicker(eventsEvery), f.svc.Clock.NewTicker(eventsAlive)
	defer look.Stop()
	defer alive.Stop()
	for {
		changed, err := follower.Next(r.Context(), now())
		if err != nil {
			return nil, nil // the client comes back with Last-Event-ID
		}
		for _, s := range changed {
			data, err := json.Marshal(eventView(s, project == ""))
			if err != nil || send("id: %s\nevent: server\ndata: %s\n\n", s.EventID(), data) != nil {
				return nil, nil
			}
		}
		select {
		case <-r.Context().Done():
			return nil, nil
		case <-alive.Chan():
			if send(": alive\n\n") != nil {
				return nil, nil
			}
		case <-look.Chan():
		}
	}
}

// eventView is what a change shows; the host is for those who see all projects.
func eventView(s *compute.Server, operator bool) obj {
	out := obj{"id": s.ID, "name": s.Name, "project_id": s.ProjectID, "user_id": s.UserID, "status": s.Status(), "vm_state": s.VMState, "task_state": orNil(string(s.TaskState)),
		"power_state": s.PowerState, "deleted": s.Deleted, "updated_at": s.Updated.Time.UTC().Format(time.RFC3339Nano)}
	if operator {
		out["host"] = orNil(s.Host)
	}
	return out
}
