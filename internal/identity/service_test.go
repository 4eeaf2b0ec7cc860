package identity_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/identity"
	"nephos/internal/identity/identitytest"
)

var rooms = []db.Migrations{identity.Migrations()}

// world is a service with a user "ann", who is a member of project "p".
type world struct {
	*identity.Service
	t          *testing.T
	db         *db.DB
	clock      *clockwork.FakeClock
	ann, p     string
	member     string
	annRequest identity.AuthRequest
}

func newWorld(t *testing.T, d *db.DB) *world {
	ctx := context.Background()
	w := &world{t: t, db: d, clock: clockwork.NewFakeClockAt(time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC))}
	w.Service = identitytest.New(t, d, w.clock)
	p, err := w.CreateProject(ctx, identity.Project{Name: "p", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	u, err := w.CreateUser(ctx, identity.NewUser{Name: "ann", DomainID: "default", Password: "pw", Enabled: true})
	require.NoError(t, err)
	w.ann, w.p, w.member = u.ID, p.ID, w.role("member")
	w.grant(identity.Grant{UserID: w.ann, Target: identity.OnProject, TargetID: w.p, RoleID: w.member})
	w.annRequest = identity.AuthRequest{Methods: []string{"password"}, User: identity.UserRef{ID: w.ann}, Password: "pw",
		Scope: identity.Scope{Project: &identity.ProjectRef{ID: w.p}}}
	return w
}

func (w *world) role(name string) string {
	rs, err := w.Roles(context.Background(), identity.RoleFilter{Name: name})
	require.NoError(w.t, err)
	require.Len(w.t, rs, 1)
	return rs[0].ID
}

func (w *world) grant(g identity.Grant) { require.NoError(w.t, w.AddGrant(context.Background(), g)) }

func (w *world) login() string {
	id, _, err := w.IssueToken(context.Background(), w.annRequest)
	require.NoError(w.t, err)
	return id
}

func (w *world) valid(tok string) {
	w.t.Helper()
	_, err := w.Authenticate(context.Background(), tok)
	require.NoError(w.t, err)
}

func (w *world) invalid(tok string) {
	w.t.Helper()
	_, err := w.Authenticate(context.Background(), tok)
	require.Equal(w.t, fault.KindUnauthorized, fault.KindOf(err), "%v", err)
}

func TestTokenSaysWhoAndWhat(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		tok := w.login()
		c, err := w.Authenticate(context.Background(), tok)
		require.NoError(t, err)
		require.Equal(t, []string{"member", "reader"}, c.Roles)
		require.Equal(t, [4]string{w.ann, "ann", w.p, "p"}, [4]string{c.UserID, c.UserName, c.ProjectID, c.ProjectName})
		require.Equal(t, [4]string{"default", "Default", "default", "Default"}, [4]string{c.UserDomainID, c.UserDomainName, c.ProjectDomainID, c.ProjectDomainName})
		require.Equal(t, w.clock.Now(), c.IssuedAt)
		require.Equal(t, time.Hour, c.ExpiresAt.Sub(c.IssuedAt))

		again, err := w.Authenticate(context.Background(), tok)
		require.NoError(t, err)
		require.Same(t, c, again, "from memory")
		w.clock.Advance(identity.CacheAge)
		fresh, err := w.Authenticate(context.Background(), tok)
		require.NoError(t, err)
		require.NotSame(t, c, fresh)
		require.Equal(t, c, fresh, "from the token alone")
		w.clock.Advance(time.Hour - identity.CacheAge)
		w.invalid(tok)
	})
}

func TestTokenEndsAtOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	off := func(p *identity.Project) error { p.Enabled = false; return nil }
	on := func(p *identity.Project) error { p.Enabled = true; return nil }
	pw := "new"
	for name, c := range map[string]struct {
		do, undo func(w *world, tok string) error
	}{
		"revoked": {do: func(w *world, tok string) error { return w.Revoke(ctx, tok) }},
		"password set": {do: func(w *world, _ string) error {
			_, err := w.UpdateUser(ctx, w.ann, &pw, func(*identity.User) error { return nil })
			return err
		}},
		"password changed": {do: func(w *world, _ string) error { return w.ChangePassword(ctx, w.ann, "pw", "other", "") }},
		"user deleted":     {do: func(w *world, _ string) error { return w.DeleteUser(ctx, w.ann) }},
		"project deleted":  {do: func(w *world, _ string) error { return w.DeleteProject(ctx, w.p) }},
		"role deleted":     {do: func(w *world, _ string) error { return w.DeleteRole(ctx, w.member) }},
		"assignment taken": {do: func(w *world, _ string) error {
			return w.RemoveGrant(ctx, identity.Grant{UserID: w.ann, Target: identity.OnProject, TargetID: w.p, RoleID: w.member})
		}},
		"user disabled": {
			do: func(w *world, _ string) error {
				_, err := w.UpdateUser(ctx, w.ann, nil, func(u *identity.User) error { u.Enabled = false; return nil })
				return err
			},
			undo: func(w *world, _ string) error {
				_, err := w.UpdateUser(ctx, w.ann, nil, func(u *identity.User) error { u.Enabled = true; return nil })
				return err
			},
		},
		"project disabled": {
			do:   func(w *world, _ string) error { _, err := w.UpdateProject(ctx, w.p, off); return err },
			undo: func(w *world, _ string) error { _, err := w.UpdateProject(ctx, w.p, on); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
				w := newWorld(t, d)
				tok := w.login()
				w.valid(tok)
				require.NoError(t, c.do(w, tok))
				w.invalid(tok)
				if c.undo != nil {
					require.NoError(t, c.undo(w, tok))
					w.invalid(tok)
					w.valid(w.login())
				}
			})
		})
	}
}

func TestDomainDisabledEndsItsTokens(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		dom, err := w.CreateProject(ctx, identity.Project{Name: "d", IsDomain: true, Enabled: true})
		require.NoError(t, err)
		p, err := w.CreateProject(ctx, identity.Project{Name: "p", DomainID: dom.ID, Enabled: true})
		require.NoError(t, err)
		w.grant(identity.Grant{UserID: w.ann, Target: identity.OnProject, TargetID: p.ID, RoleID: w.member})
		w.grant(identity.Grant{UserID: w.ann, Target: identity.OnDomain, TargetID: dom.ID, RoleID: w.member})
		own := w.login()
		w.annRequest.Scope = identity.Scope{Project: &identity.ProjectRef{Name: "p", Domain: identity.DomainRef{Name: "d"}}}
		there := w.login()
		w.annRequest.Scope = identity.Scope{Domain: &identity.DomainRef{ID: dom.ID}}
		domain := w.login()
		_, err = w.UpdateProject(ctx, dom.ID, func(p *identity.Project) error { p.Enabled = false; return nil })
		require.NoError(t, err)
		w.valid(own)
		w.invalid(there)
		w.invalid(domain)
		require.NoError(t, w.DeleteProject(ctx, dom.ID), "with all that is in it")
		_, err = w.Project(ctx, p.ID)
		require.True(t, fault.IsNotFound(err))
	})
}

// A second controller on the same database notices within CacheAge.
func TestOtherControllerNotices(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		clock := clockwork.NewFakeClock()
		var two [2]*identity.Service
		for i := range two {
			var err error
			two[i], err = identity.New(identity.Deps{DB: d, Clock: clock, Secret: identitytest.Secret, BcryptCost: 4})
			require.NoError(t, err)
			require.NoError(t, two[i].Bootstrap(ctx, identity.Bootstrap{AdminPassword: identitytest.Password}))
		}
		tok := identitytest.AdminToken(t, two[0])
		_, err := two[1].Authenticate(ctx, tok)
		require.NoError(t, err)
		require.NoError(t, two[0].Revoke(ctx, tok))
		_, err = two[0].Authenticate(ctx, tok)
		require.Error(t, err)
		clock.Advance(identity.CacheAge)
		_, err = two[1].Authenticate(ctx, tok)
		require.Equal(t, fault.KindUnauthorized, fault.KindOf(err))

		for range 3 {
			require.NoError(t, two[1].RotateKeys(ctx))
			next := identitytest.AdminToken(t, two[1])
			clock.Advance(time.Second) // keys are not read more often than that
			_, err = two[0].Authenticate(ctx, next)
			require.NoError(t, err)
		}
	})
}

func TestBootstrapAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		b := identity.Bootstrap{AdminPassword: identitytest.Password, Endpoints: []identity.BootstrapEndpoint{
			{Type: "compute", Name: "nova", URL: "http://h:8774/v2.1", LegacyURL: "http://h:8774/v2/%(tenant_id)s"}}}
		count := func() (n int) {
			require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
				return tx.Get(ctx, &n, `SELECT (SELECT COUNT(*) FROM identity_users) + (SELECT COUNT(*) FROM identity_projects) + (SELECT COUNT(*) FROM identity_roles)
					+ (SELECT COUNT(*) FROM identity_assignments) + (SELECT COUNT(*) FROM identity_endpoints) + (SELECT COUNT(*) FROM identity_services)
					+ (SELECT COUNT(*) FROM identity_implied_roles) + (SELECT COUNT(*) FROM identity_regions)`)
			}))
			return n
		}
		require.NoError(t, w.Bootstrap(ctx, b))
		before := count()
		tok := identitytest.AdminToken(t, w.Service)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { require.NoError(t, w.Bootstrap(ctx, b)) })
		}
		wg.Wait()
		require.Equal(t, before, count())
		w.valid(tok)

		b.AdminPassword, b.Endpoints[0].URL = "", "http://h:9774/v2.1"
		require.NoError(t, w.Bootstrap(ctx, b))
		eps, err := w.Endpoints(ctx, identity.EndpointFilter{Interface: "public"})
		require.NoError(t, err)
		require.Len(t, eps, 1)
		require.Equal(t, "http://h:9774/v2.1", eps[0].URL)
		require.Equal(t, "http://h:8774/v2/%(tenant_id)s", eps[0].LegacyURL)
		w.valid(tok)

		b.AdminPassword = "changed"
		require.NoError(t, w.Bootstrap(ctx, b))
		w.invalid(tok)
		_, err = w.VerifyPassword(ctx, identity.UserRef{Name: "admin", Domain: identity.DomainRef{Name: "Default"}}, "changed", "")
		require.NoError(t, err)
	})
}

func TestBootstrapWantsPassword(t *testing.T) {
	t.Parallel()
	s, err := identity.New(identity.Deps{DB: dbtest.SQLite(t, rooms...), Secret: identitytest.Secret, BcryptCost: 4})
	require.NoError(t, err)
	require.Equal(t, fault.KindInvalid, fault.KindOf(s.Bootstrap(context.Background(), identity.Bootstrap{})))
}

// Roles come from four sides: directly, through a group, inherited from above, implied.
func TestEffectiveRoles(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		g, err := w.CreateGroup(ctx, identity.Group{Name: "g", DomainID: "default"})
		require.NoError(t, err)
		bob, err := w.CreateUser(ctx, identity.NewUser{Name: "bob", DomainID: "default", Password: "pw", Enabled: true})
		require.NoError(t, err)
		child, err := w.CreateProject(ctx, identity.Project{Name: "child", ParentID: &w.p, Enabled: true})
		require.NoError(t, err)
		require.NoError(t, w.AddMember(ctx, g.ID, bob.ID))
		w.grant(identity.Grant{GroupID: g.ID, Target: identity.OnProject, TargetID: w.p, RoleID: w.role("manager"), Inherited: true})
		w.grant(identity.Grant{GroupID: g.ID, Target: identity.OnSystem, RoleID: w.role("reader")})

		roles := func(sc identity.Scope) []string {
			_, tok, err := w.IssueToken(ctx, identity.AuthRequest{Methods: []string{"password"}, User: identity.UserRef{ID: bob.ID}, Password: "pw", Scope: sc})
			if err != nil {
				require.Equal(t, fault.KindUnauthorized, fault.KindOf(err))
				return nil
			}
			return tok.Roles
		}
		require.Equal(t, []string{"manager", "member", "reader"}, roles(identity.Scope{Project: &identity.ProjectRef{ID: child.ID}}))
		require.Nil(t, roles(identity.Scope{Project: &identity.ProjectRef{ID: w.p}}), "inherited means below, not on it")
		require.Equal(t, []string{"reader"}, roles(identity.Scope{System: true}))
		require.Nil(t, roles(identity.Scope{Domain: &identity.DomainRef{ID: "default"}}))

		mine, err := w.UserProjects(ctx, bob.ID, true)
		require.NoError(t, err)
		require.Len(t, mine, 1)
		require.Equal(t, child.ID, mine[0].ID)

		as, err := w.Assignments(ctx, identity.AssignmentFilter{UserID: bob.ID, Effective: true})
		require.NoError(t, err)
		require.Len(t, as, 4, "three on the child, one on the system")
		for _, a := range as {
			require.Equal(t, g.ID, a.ViaGroup)
		}
		as, err = w.Assignments(ctx, identity.AssignmentFilter{ProjectID: w.p, Subtree: true, Effective: true, RoleID: w.role("reader")})
		require.NoError(t, err)
		require.Len(t, as, 2, "ann on p, bob on child, both implied")

		require.NoError(t, w.RemoveMember(ctx, g.ID, bob.ID))
		require.Nil(t, roles(identity.Scope{System: true}))
	})
}

func TestProjectTreeRules(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		mk := func(name, parent string) (*identity.Project, error) {
			return w.CreateProject(ctx, identity.Project{Name: name, ParentID: &parent, Enabled: true})
		}
		at := w.p
		for depth := 2; depth <= identity.MaxProjectDepth; depth++ {
			p, err := mk(fmt.Sprint("d", depth), at)
			require.NoError(t, err)
			at = p.ID
		}
		_, err := mk("too-deep", at)
		require.Equal(t, fault.KindForbidden, fault.KindOf(err))
		require.Equal(t, fault.KindForbidden, fault.KindOf(w.DeleteProject(ctx, w.p)), "not a leaf")
		_, err = w.UpdateProject(ctx, w.p, func(p *identity.Project) error { p.Enabled = false; return nil })
		require.Equal(t, fault.KindForbidden, fault.KindOf(err), "enabled children")
		_, err = mk("d2", "default")
		require.Equal(t, fault.KindConflict, fault.KindOf(err), "unique in the domain, not under the parent")
		_, err = mk("D2", "default")
		require.NoError(t, err, "case counts")
		down, err := w.Subtree(ctx, w.p)
		require.NoError(t, err)
		require.Len(t, down, identity.MaxProjectDepth-1)
		up, err := w.Parents(ctx, at)
		require.NoError(t, err)
		require.Equal(t, "default", up[len(up)-1].ID)
		require.Equal(t, fault.KindForbidden, fault.KindOf(w.DeleteProject(ctx, "default")))
	})
}

// A write never leaves a token believed that it has voided, however many look at the same time.
func TestNoStaleTokenAfterRevoke(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for range 10 {
			tok := w.login()
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							w.Authenticate(ctx, tok) //nolint:errcheck // only its effect on the cache matters
						}
					}
				})
			}
			require.NoError(t, w.Revoke(ctx, tok))
			w.invalid(tok)
			close(stop)
			wg.Wait()
			w.invalid(tok)
		}
	})
}

func BenchmarkAuthenticateCached(b *testing.B) {
	d := dbtest.SQLite(b, rooms...)
	s := identitytest.New(b, d, nil)
	tok := identitytest.AdminToken(b, s)
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Authenticate(ctx, tok); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAuthenticateUncached(b *testing.B) {
	clock := clockwork.NewFakeClock()
	s := identitytest.New(b, dbtest.SQLite(b, rooms...), clock)
	tok := identitytest.AdminToken(b, s)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.ValidateExpired(ctx, tok); err != nil {
			b.Fatal(err)
		}
	}
}
