package api_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"nephos/internal/db/dbtest"
	"nephos/internal/identity"
	"nephos/internal/identity/api"
	"nephos/internal/identity/identitytest"
)

// clients is how many ask at once in these measurements.
const clients = 8

// benchCloud serves identity over real connections.
func benchCloud(b *testing.B, cost int) (*identity.Service, *httptest.Server, string) {
	b.Helper()
	svc := identitytest.With(b, identity.Deps{DB: dbtest.SQLite(b, rooms...), BcryptCost: cost}, endpoints...)
	table, err := api.New(svc, api.Deps{})
	require.NoError(b, err)
	h, err := table.Compile()
	require.NoError(b, err)
	srv := httptest.NewServer(h)
	b.Cleanup(srv.Close)
	return svc, srv, identitytest.AdminToken(b, svc)
}

// measure has the clients ask b.N times in all and reports the rate.
func measure(b *testing.B, unit string, ask func(c *http.Client) error) {
	b.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: clients}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	require.NoError(b, ask(c))
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := ask(c); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), unit)
}

func get(c *http.Client, url, token, subject string) error {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-Auth-Token", token)
	if subject != "" {
		r.Header.Set("X-Subject-Token", subject)
	}
	a, err := c.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, a.Status)
	}
	return nil
}

// BenchmarkValidate is what the services of this process do before each call: no HTTP, from memory.
func BenchmarkValidate(b *testing.B) {
	svc, _, tok := benchCloud(b, bcrypt.MinCost)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := svc.Authenticate(b.Context(), tok); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkValidateHTTP is GET /v3/auth/tokens, as services outside of the process ask, with the catalog.
func BenchmarkValidateHTTP(b *testing.B) {
	_, srv, tok := benchCloud(b, bcrypt.MinCost)
	measure(b, "validations/s", func(c *http.Client) error { return get(c, srv.URL+"/v3/auth/tokens", tok, tok) })
}

// BenchmarkUsers is GET /v3/users with a hundred users.
func BenchmarkUsers(b *testing.B) {
	svc, srv, tok := benchCloud(b, bcrypt.MinCost)
	for i := range 99 {
		_, err := svc.CreateUser(b.Context(), identity.NewUser{Name: fmt.Sprint("user-", i), DomainID: identity.DefaultDomain, Enabled: true})
		require.NoError(b, err)
	}
	measure(b, "lists/s", func(c *http.Client) error { return get(c, srv.URL+"/v3/users", tok, "") })
}

// BenchmarkLogIn is password log-ins at cost 12; BenchmarkBcrypt the bare hash on all cores, which is the bound.
func BenchmarkLogIn(b *testing.B) {
	svc, _, _ := benchCloud(b, 12)
	def := identity.DomainRef{ID: identity.DefaultDomain}
	measure(b, "log-ins/s", func(*http.Client) error {
		_, _, err := svc.IssueToken(b.Context(), identity.AuthRequest{Methods: []string{"password"}, User: identity.UserRef{Name: "admin", Domain: def}, Password: identitytest.Password,
			Scope: identity.Scope{Project: &identity.ProjectRef{Name: "admin", Domain: def}}})
		return err
	})
}

// BenchmarkBcrypt is the bare comparison at cost 12, one on each core at a time.
func BenchmarkBcrypt(b *testing.B) {
	hash, err := bcrypt.GenerateFromPassword([]byte(identitytest.Password), 12)
	require.NoError(b, err)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if bcrypt.CompareHashAndPassword(hash, []byte(identitytest.Password)) != nil {
					b.Error("the hash does not fit")
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "hashes/s")
}
