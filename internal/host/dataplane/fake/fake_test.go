package fake

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"nephos/internal/host/dataplane"
	"nephos/internal/host/dataplane/dataplanetest"
	"nephos/internal/hostapi"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	dataplanetest.Run(t, func(t *testing.T) func() dataplane.Plane {
		host := &Host{}
		return func() dataplane.Plane { return New(host, nil) }
	})
}

func TestScript(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(&Host{}, nil)
		boom := errors.New("no tap today")
		p.Script(Step{Op: OpApply, Delay: time.Minute}, Step{Op: OpApply, Err: boom}, Step{Op: OpApply, Delay: time.Hour})
		start := time.Now()
		if err := p.Apply(t.Context(), hostapi.NetworkDocument{}); err != nil || time.Since(start) != time.Minute {
			t.Errorf("first: %v after %v", err, time.Since(start))
		}
		if err := p.Apply(t.Context(), hostapi.NetworkDocument{}); !errors.Is(err, boom) {
			t.Errorf("second: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Apply(ctx, hostapi.NetworkDocument{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("third: %v", err)
		}
	})
}

func TestMetadataByPort(t *testing.T) {
	t.Parallel()
	p := New(&Host{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		port, server, _ := dataplane.PortFromContext(r.Context())
		w.Write([]byte(port + " " + server))
	}))
	doc := hostapi.NetworkDocument{Networks: []hostapi.NetworkSpec{{ID: "a"}, {ID: "b"}}, Ports: []hostapi.PortSpec{
		{ID: "pa", NetworkID: "a", ServerID: "sa", Addresses: []hostapi.Address{{IP: "10.0.0.5"}}},
		{ID: "pb", NetworkID: "b", ServerID: "sb", Addresses: []hostapi.Address{{IP: "10.0.0.5"}}},
	}}
	if err := p.Apply(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	for network, want := range map[string]string{"a": "pa sa", "b": "pb sb"} {
		w := httptest.NewRecorder()
		p.ServeGuest(w, httptest.NewRequest("GET", "/", nil), network, netip.MustParseAddr("10.0.0.5"))
		if w.Body.String() != want {
			t.Errorf("on %s: %q, want %q", network, w.Body, want)
		}
	}
	w := httptest.NewRecorder()
	p.ServeGuest(w, httptest.NewRequest("GET", "/", nil), "a", netip.MustParseAddr("10.0.0.6"))
	if w.Code != http.StatusNotFound {
		t.Errorf("a stranger gets %d", w.Code)
	}
}
