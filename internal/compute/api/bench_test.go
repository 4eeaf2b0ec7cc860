package api_test

import (
	"encoding/json"
	"testing"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/hostapi"
	"nephos/internal/quota"
)

// BenchmarkCreate is POST /servers until its answer; no host builds meanwhile.
func BenchmarkCreate(b *testing.B) {
	w := benchWorld(b)
	for b.Loop() {
		w.call("a", "", "POST", "/v2.1/servers", boot(nil)).want(202)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "servers/s")
}

// BenchmarkDetail is a list of 500 servers in full.
func BenchmarkDetail(b *testing.B) {
	w := benchWorld(b)
	for range 5 {
		w.call("a", "", "POST", "/v2.1/servers", boot(m{"min_count": 100})).want(202)
	}
	for b.Loop() {
		w.call("a", "2.96", "GET", "/v2.1/servers/detail", nil).want(200)
	}
}

func benchWorld(b *testing.B) *world {
	b.Helper()
	w := newWorld(b, dbtest.SQLite(b, rooms()...))
	hold := make(chan struct{})
	b.Cleanup(func() { close(hold) })
	w.client.mu.Lock()
	w.client.hold[hostapi.OpBuild] = hold
	w.client.mu.Unlock()
	err := w.db.Write(b.Context(), func(tx *db.Tx) error {
		for _, r := range []string{"instances", "cores", "ram", "port"} {
			if err := w.quotas.SetLimit(b.Context(), tx, projectA, r, quota.Unlimited); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return w
}

// BenchmarkShow is one server in full.
func BenchmarkShow(b *testing.B) {
	w := benchWorld(b)
	var made struct{ Server struct{ ID string } }
	if err := json.Unmarshal([]byte(w.call("a", "", "POST", "/v2.1/servers", boot(nil)).want(202).Body), &made); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.call("a", "2.96", "GET", "/v2.1/servers/"+made.Server.ID, nil).want(200)
	}
}
