package policy

import "testing"

func TestRules(t *testing.T) {
	t.Parallel()
	admin := &Credentials{UserID: "u0", ProjectID: "p0", Roles: []string{"admin", "member", "reader"}}
	member := &Credentials{UserID: "u1", ProjectID: "p1", Roles: []string{"member", "reader"}}
	unscoped := &Credentials{UserID: "u2"}
	own, other, none := Target{"project_id": "p1", "user_id": "u1"}, Target{"project_id": "p9"}, Target{"project_id": ""}
	for _, c := range []struct {
		rule  string
		creds *Credentials
		t     Target
		want  bool
	}{
		{"", member, nil, true},
		{"@", member, nil, true},
		{"!", admin, nil, false},
		{"role:ADMIN", admin, nil, true},
		{"not role:admin", member, nil, true},
		{"role:admin or (role:member and project_id:%(project_id)s)", member, own, true},
		{"role:admin or (role:member and project_id:%(project_id)s)", member, other, false},
		{"role:admin or (role:member and project_id:%(project_id)s)", admin, other, true},
		{"((role:member) and not (project_id:%(project_id)s))", member, other, true},
		{"project_id:%(project_id)s", unscoped, none, false},
		{"project_id:%(absent)s", member, own, false},
		{"'public':%(visibility)s", member, Target{"visibility": "public"}, true},
		{"user_id:%(user_id)s and rule:base", member, own, true},
		{"rule:loop", admin, own, false},
		{"rule:unknown", admin, own, false},
		{"is_admin:True", admin, nil, true},
		{"nonsense:x", admin, nil, false},
	} {
		e, err := New(Rules{"base": "role:reader", "loop": "rule:loop", "x": c.rule})
		if err != nil {
			t.Errorf("%q: %v", c.rule, err)
			continue
		}
		if got := e.Allowed("x", c.creds, c.t); got != c.want {
			t.Errorf("%q for %v on %v: %v, want %v", c.rule, c.creds.Roles, c.t, got, c.want)
		}
	}
	for _, bad := range []string{"role", "role:a or", "(role:a", "role:a role:b", "http://x/", "not"} {
		if _, err := New(Rules{"x": bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if _, err := New(Base); err != nil {
		t.Error(err)
	}
}
