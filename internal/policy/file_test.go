package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var twoServices = map[string]Rules{
	"compute": {"servers:create": "rule:member", "servers:show": "rule:member", "member": "role:member", "admin": "role:admin"},
	"image":   {"get_image": "", "admin": "role:admin", "owner": "project_id:%(owner)s"},
}

// TestFileErrors: every mistake is told with its line.
func TestFileErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: [":                                 "line 1",
		"- a\n- b":                             "line 1: a mapping",
		"\nget_image: 3":                       `line 2: rule "get_image": 3 is no check string`,
		"get_image: true":                      "line 1",
		"get_image: {a: b}":                    "line 1",
		"x: '!'\nget_image: 'role:a role:b'":   `line 2: rule "get_image": unexpected "role:b"`,
		"get_image: '!'\nget_image: '@'":       "line 2: rule \"get_image\" stands in line 1 already",
		"\n\nget_imag: ''":                     `line 3: no service has a rule "get_imag" (did you mean "get_image"?)`,
		"get_image: 'rule:nobody'":             `line 1: rule "get_image" refers to rule "nobody", which is not there`,
		"get_image: 'rule:member'":             `line 1: rule "get_image" refers to rule "member", which service image does not have`,
		"get_image: 'rule:a'\na: 'not rule:a'": "line 2: rules refer to each other in a circle: a → a",
		"get_image: 'http://elsewhere/'":       "remote check",
		"get_image: 'field:networks:shared'":   "field:resource:attribute=value",
	} {
		f, err := ParseFile("policy.yaml", []byte(text))
		if err == nil {
			err = f.Check(twoServices)
		}
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "policy policy.yaml: ", text)
	}
	for _, good := range []string{"", "# nothing", "{}", `{"get_image": "role:a"}`, "default: '!'", "get_image:", "get_image: 'rule:mine'\nmine: 'rule:owner'"} {
		f, err := ParseFile("p", []byte(good))
		require.NoError(t, err, good)
		require.NoError(t, f.Check(twoServices), good)
	}
}

func TestFileShares(t *testing.T) {
	t.Parallel()
	f, err := ParseFile("p", []byte("get_image: [[\"role:a\", \"role:b\"], [\"rule:mine\"], \"role:c\"]\nmine: role:d\nservers:show: '!'\nadmin: role:root\n"))
	require.NoError(t, err)
	require.NoError(t, f.Check(twoServices))
	require.Equal(t, Rules{"get_image": "(role:a and role:b) or (rule:mine) or (role:c)", "mine": "role:d", "admin": "role:root"}, f.For(twoServices["image"]))
	require.Equal(t, Rules{"servers:show": "!", "admin": "role:root"}, f.For(twoServices["compute"]))
	require.Equal(t, 3, f.Line("servers:show"))
	require.Zero(t, (*File)(nil).Line("x"))
	require.Empty(t, (*File)(nil).For(twoServices["image"]))
}

// TestSpelled: what policy files of Keystone and Neutron call a target's attributes is found under its name here.
func TestSpelled(t *testing.T) {
	t.Parallel()
	c := &Credentials{UserID: "u", ProjectID: "p", DomainID: "d", Roles: []string{"reader"}}
	for rule, target := range map[string]Target{
		"domain_id:%(target.user.domain_id)s":  {"domain_id": "d"},
		"domain_id:%(target.domain.id)s":       {"domain_id": "d"},
		"project_id:%(target.project.id)s":     {"project_id": "p"},
		"user_id:%(target.token.user_id)s":     {"user_id": "u"},
		"tenant_id:%(tenant_id)s":              {"project_id": "p"},
		"tenant_id:%(network:tenant_id)s":      {"network_project_id": "p"},
		"field:networks:shared=True":           {"network_shared": "True"},
		"field:networks:router:external=False": {"router:external": "false"},
		`"public":%(visibility)s`:              {"visibility": "public"},
	} {
		e, err := New(Rules{"x": rule})
		require.NoError(t, err)
		require.True(t, e.Allowed("x", c, target), rule)
		require.False(t, e.Allowed("x", c, Target{}), rule)
		require.False(t, e.Allowed("x", c, Target{"domain_id": "e", "project_id": "q", "user_id": "v", "network_project_id": "q", "network_shared": "False", "router:external": "True", "visibility": "private"}), rule)
	}
}

// TestDefaults: each service's reference rules parse and refer to nothing that is not there.
func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"identity", "image", "compute", "network", "volume", "placement"} {
		d := Defaults(s)
		require.Greater(t, len(d), len(Base))
		e, err := New(d)
		require.NoError(t, err)
		for name, text := range d {
			for _, to := range references(text) {
				require.True(t, e.Known(to), "%s: %s refers to %s", s, name, to)
			}
		}
	}
}

// TestExplainAgrees: an explanation never says other than what is enforced.
func TestExplainAgrees(t *testing.T) {
	t.Parallel()
	leaf := rapid.SampledFrom([]string{"@", "!", "role:admin", "role:reader", "rule:a", "rule:b", "rule:c", "rule:gone", "project_id:%(project_id)s", "project_id:%(owner)s", "is_admin:True",
		"'x':%(v)s", "nonsense:1", "user_id:u", "field:networks:shared=True", "None:%(project_id)s"})
	var expr func(depth int) *rapid.Generator[string]
	expr = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			kind := rapid.IntRange(0, 3).Draw(t, "kind")
			if depth == 0 || kind == 0 {
				return leaf.Draw(t, "leaf")
			}
			if kind == 1 {
				return "not (" + expr(depth-1).Draw(t, "x") + ")"
			}
			op := []string{" and ", " or "}[kind-2]
			return "(" + expr(depth-1).Draw(t, "l") + op + expr(depth-1).Draw(t, "r") + ")"
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		e, err := New(Rules{"a": expr(2).Draw(t, "a"), "b": expr(2).Draw(t, "b"), "c": "role:member", "x": expr(3).Draw(t, "x")})
		require.NoError(t, err)
		for _, text := range []string{e.Text("a"), e.Text("b"), e.Text("x")} {
			if strings.Contains(text, "rule:a") || strings.Contains(text, "rule:b") {
				t.Skip("may go in circles")
			}
		}
		c := &Credentials{UserID: "u", ProjectID: rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "project"), Roles: rapid.SliceOf(rapid.SampledFrom([]string{"admin", "member", "reader"})).Draw(t, "roles")}
		target := Target{}
		for _, k := range []string{"project_id", "v", "network_shared"} {
			if rapid.Bool().Draw(t, k) {
				target[k] = rapid.SampledFrom([]string{"", "p", "x", "True"}).Draw(t, "value")
			}
		}
		s := e.Explain("x", c, target)
		if s.Allowed != e.Allowed("x", c, target) {
			t.Fatalf("%s: explained %v, enforced %v: %s", e.Text("x"), s.Allowed, !s.Allowed, fmt.Sprint(s))
		}
	})
	e, err := New(Rules{"loop": "rule:loop"})
	require.NoError(t, err)
	require.False(t, e.Explain("loop", &Credentials{}, nil).Allowed)
	require.False(t, e.Explain("loop", nil, nil).Allowed)
}
