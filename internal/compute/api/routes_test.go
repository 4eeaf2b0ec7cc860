package api_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/compute/api"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
)

func table(t testing.TB) *httpapi.Service {
	t.Helper()
	s, err := api.New(nil, api.Deps{})
	require.NoError(t, err)
	return s
}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// personas are who the roles of testdata/routes.txt speak of: the roles in a token, from which others follow as in identity.
var personas = map[string][]string{"admin": {"admin", "manager", "member", "reader"}, "manager": {"manager", "member", "reader"}, "member": {"member", "reader"}, "reader": {"reader"},
	"service": {"service"}, "any": {"other"}}

// allowed are the personas that each default policy lets through on their own project.
var allowed = map[string][]string{"admin": {"admin"}, "manager": {"admin", "manager"}, "member": {"admin", "manager", "member"}, "reader": {"admin", "manager", "member", "reader"},
	"service": {"admin", "service"}, "any": {"admin", "any", "manager", "member", "reader", "service"}, "owner": {"admin", "any", "manager", "member", "reader", "service"}}

// Every call of Nova's up to 2.96 is routed, for the microversions, the people and with the code of success that Nova has.
func TestEveryRouteOfNova(t *testing.T) {
	t.Parallel()
	s := table(t)
	enforcer, err := policy.New(policy.Base, api.Rules)
	require.NoError(t, err)
	have := map[string][]httpapi.Route{}
	for _, r := range s.Routes {
		key := r.Method + " " + wildcard.ReplaceAllString(r.Path, "{}") + " " + r.Action
		have[key] = append(have[key], r)
	}
	text, err := os.ReadFile("testdata/routes.txt")
	require.NoError(t, err)
	seen := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 7 || f[0] == "#" {
			require.True(t, strings.HasPrefix(line, "#"), line)
			continue
		}
		seen++
		key := f[0] + " " + f[1] + " " + strings.Trim(f[2], "-")
		rows := have[key]
		if len(rows) == 0 {
			t.Errorf("%s: no route", key)
			continue
		}
		lo, hi := bounds(rows)
		if want := [2]string{f[3], f[4]}; want != [2]string{lo, hi} {
			t.Errorf("%s: from %s to %s, want %v", key, lo, hi, want)
		}
		for _, r := range rows {
			code := r.Status
			if code == 0 {
				code = 200
			}
			if f[6] != "-" && strconv.Itoa(code) != f[6] {
				t.Errorf("%s: %d, want %s", key, code, f[6])
			}
			var who []string
			for _, name := range slices.Sorted(maps.Keys(personas)) {
				c := &policy.Credentials{UserID: "u", ProjectID: "p", Roles: personas[name]}
				if r.Rule == "" || enforcer.Allowed(r.Rule, c, policy.Target{"project_id": "p", "user_id": "u"}) {
					who = append(who, name)
				}
			}
			if !slices.Equal(who, allowed[f[5]]) {
				t.Errorf("%s: %v may, want %s", key, who, f[5])
			}
		}
	}
	require.Greater(t, seen, 180)
}

// bounds are the first and the last microversion of a call, whatever rows it is made of.
func bounds(rows []httpapi.Route) (lo, hi string) {
	lo, hi = "-", "-"
	least, most := rows[0].Min, rows[0].Max
	for _, r := range rows[1:] {
		if r.Min.Less(least) {
			least = r.Min
		}
		if !most.IsZero() && (r.Max.IsZero() || most.Less(r.Max)) {
			most = r.Max
		}
	}
	if !least.IsZero() && httpapi.V(2, 1).Less(least) {
		lo = least.String()
	}
	if !most.IsZero() {
		hi = most.String()
	}
	return lo, hi
}
