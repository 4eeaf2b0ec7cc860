package api_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/compute"
)

// ear takes notifications.
type ear struct {
	mu    sync.Mutex
	heard []heard
}

type heard struct {
	subject string
	id      string
	server  string
	data    map[string]any
}

func (e *ear) publish(subject string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var n struct {
		EventType string `json:"event_type"`
		MessageID string `json:"message_id"`
		Payload   struct {
			Data map[string]any `json:"nova_object.data"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	id, _ := n.Payload.Data["uuid"].(string)
	e.heard = append(e.heard, heard{subject, n.MessageID, id, n.Payload.Data})
	return nil
}

// about lists the subjects heard of a server, without instance.update.
func (e *ear) about(server string) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := map[string]bool{}
	for _, h := range e.heard {
		if h.server == server && h.subject != "notifications.instance.update" && !seen[h.id] {
			out = append(out, h.subject)
			seen[h.id] = true
		}
	}
	return out
}

func (w *world) notifier(e *ear) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n := w.svc.NewNotifier(e.publish)
	go func() { defer close(done); n.Run(ctx) }() //nolint:errcheck // ends with the test
	return func() { cancel(); <-done }
}

// What is done to a server is told in Nova's words, also what was done while nobody was there to tell it, and nothing is lost where one notifier ends and the next begins.
func TestNotifications(t *testing.T) {
	each(t, func(w *world) {
		var e ear
		stop := w.notifier(&e)
		hears := func(server string, want ...string) {
			w.t.Helper()
			require.Eventually(w.t, func() bool {
				got := e.about(server)
				return !slices.ContainsFunc(want, func(x string) bool { return !slices.Contains(got, "notifications.instance."+x) })
			}, waitFor, tickFor, "%v in %v", want, e.about(server))
		}
		one := w.server("a", nil)
		hears(one, "create.start", "create.end")
		stop()
		w.call("a", "", "POST", "/v2.1/servers/"+one+"/action", `{"os-stop":null}`).want(202)
		w.settle(one)
		two := w.server("a", nil)
		w.call("a", "", "DELETE", "/v2.1/servers/"+two, nil).want(204)
		w.settle(two)

		stop = w.notifier(&e)
		defer stop()
		hears(one, "power_off.start", "power_off.end")
		hears(two, "create.start", "create.end", "delete.start", "delete.end")
		e.mu.Lock()
		defer e.mu.Unlock()
		last := map[string]map[string]any{}
		byID := map[string]string{}
		for _, h := range e.heard {
			last[h.server] = h.data
			if s, ok := byID[h.id]; ok {
				require.Equal(w.t, s, h.subject+h.server, "one id, one notification")
			}
			byID[h.id] = h.subject + h.server
		}
		require.Equal(w.t, string(compute.Stopped), last[one]["state"])
		require.Equal(w.t, projectA, last[one]["tenant_id"])
		require.NotNil(w.t, last[two]["deleted_at"])
		_, err := time.Parse(time.RFC3339, last[one]["created_at"].(string))
		require.NoError(w.t, err)
	})
}
