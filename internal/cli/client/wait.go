package client

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// deleted is the status of a server that answers 404.
const deleted = "DELETED"

// Polling starts quick, as nephos builds in a fraction of a second, and slows down for clouds that take their time.
const (
	pollFirst = 25 * time.Millisecond
	pollMax   = time.Second
)

// pause waits for the next poll; the error is ctx's.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits until every server has the wanted status and no task, printing each change of state on Err with the time since the request. ERROR ends the wait
// of that server with its fault. began is when the request was sent.
func (s *Session) await(ctx context.Context, list []servers.Server, want string, began time.Time, limit time.Duration) error {
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	every := pollFirst
	shown := map[string]string{}
	failed := 0
	for pending := list; len(pending) > 0; {
		var still []servers.Server
		for _, v := range pending {
			now, err := servers.Get(ctx, c, v.ID).Extract()
			if gophercloud.ResponseCodeIs(err, 404) {
				now, err = &servers.Server{ID: v.ID, Name: v.Name, Status: deleted}, nil
			}
			if err != nil {
				return err
			}
			s.showChange(*now, shown, len(list) > 1, s.Now().Sub(began))
			switch {
			case now.Status == want && now.TaskState == "":
			case now.Status == deleted, now.Status == "ERROR" && now.TaskState == "":
				failed++
				s.showFault(*now)
			default:
				still = append(still, v)
			}
		}
		if pending = still; len(pending) == 0 {
			break
		}
		if s.Now().Sub(began) > limit {
			return fmt.Errorf("%s still not %s after %s: %s", names(pending), want, limit, "look at `nephos trace "+pending[0].Name+"`")
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
		every = min(every*5/4, pollMax)
	}
	if failed > 0 {
		return ExitError{1}
	}
	return nil
}

// showChange prints a server's state when it is not the one printed last.
func (s *Session) showChange(v servers.Server, shown map[string]string, named bool, since time.Duration) {
	words := v.Status
	if v.TaskState != "" {
		words = v.TaskState
	}
	if shown[v.ID] == words {
		return
	}
	shown[v.ID] = words
	if v.TaskState == "" {
		words = s.paint(words)
	}
	if named {
		words = v.Name + "  " + words
	}
	if v.Status == "BUILD" && v.TaskState == "" {
		return // between two tasks
	}
	fmt.Fprintf(s.Err, "%7.2fs  %s\n", since.Seconds(), words)
}

// showFault says why a server is in ERROR, and where to look on.
func (s *Session) showFault(v servers.Server) {
	why := v.Fault.Message
	if why == "" {
		why = "is " + v.Status
	}
	fmt.Fprintf(s.Err, "nephos: %s: %s\n", v.Name, why)
	if v.Fault.Details != "" && v.Fault.Details != v.Fault.Message {
		fmt.Fprintln(s.Err, "  "+strings.ReplaceAll(strings.TrimSpace(v.Fault.Details), "\n", "\n  "))
	}
	fmt.Fprintf(s.Err, "See `nephos trace %s`.\n", v.ID)
}

func names(list []servers.Server) string {
	var out []string
	for i, v := range list {
		if i == 5 {
			out = append(out, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		out = append(out, v.Name)
	}
	return strings.Join(out, ", ")
}
