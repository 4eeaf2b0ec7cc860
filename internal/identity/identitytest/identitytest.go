package identitytest

import (
	"context"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

// Tokens is an httpapi.Authenticator that looks the token up in itself.
type Tokens map[string]*policy.Credentials

// Authenticate gives the credentials or KindUnauthorized.
func (t Tokens) Authenticate(_ context.Context, token string) (*policy.Credentials, error) {
	if c, ok := t[token]; ok {
		return c, nil
	}
	return nil, fault.Unauthorized("The request you have made requires authentication.")
}

// The ids in Personas.
const (
	ProjectID      = "11111111111111111111111111111111"
	OtherProjectID = "22222222222222222222222222222222"
	AdminProjectID = "00000000000000000000000000000000"
)

// Personas knows the tokens "admin", "member" and "reader" (project ProjectID), "other" (a member of OtherProjectID) and "unscoped".
func Personas() Tokens {
	one := func(name, project string, roles ...string) *policy.Credentials {
		c := &policy.Credentials{UserID: "u-" + name, UserName: name, UserDomainID: identity.DefaultDomain, UserDomainName: "Default", Roles: roles,
			Methods: []string{"password"}, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
		for _, r := range roles {
			c.RoleIDs = append(c.RoleIDs, "r-"+r)
		}
		if project != "" {
			c.ProjectID, c.ProjectName, c.ProjectDomainID, c.ProjectDomainName = project, "p-"+project[:1], identity.DefaultDomain, "Default"
		}
		return c
	}
	return Tokens{
		"admin":    one("admin", AdminProjectID, "admin", "manager", "member", "reader"),
		"member":   one("member", ProjectID, "member", "reader"),
		"reader":   one("reader", ProjectID, "reader"),
		"other":    one("other", OtherProjectID, "member", "reader"),
		"unscoped": one("unscoped", ""),
	}
}

// Password is admin's in New.
const Password = "s3cret"

// Secret is the cloud's secret of New.
const Secret = "a secret of tests, long enough"

// New gives a bootstrapped service on d, whose tables must be migrated. clock may be nil.
func New(t testing.TB, d *db.DB, clock clockwork.Clock, endpoints ...identity.BootstrapEndpoint) *identity.Service {
	t.Helper()
	return With(t, identity.Deps{DB: d, Clock: clock}, endpoints...)
}

// With is New with more settings; the secret is Secret and the bcrypt cost the lowest unless given.
func With(t testing.TB, deps identity.Deps, endpoints ...identity.BootstrapEndpoint) *identity.Service {
	t.Helper()
	if deps.BcryptCost == 0 {
		deps.BcryptCost = 4
	}
	if deps.Secret == "" {
		deps.Secret = Secret
	}
	s, err := identity.New(deps)
	require.NoError(t, err)
	require.NoError(t, s.Bootstrap(context.Background(), identity.Bootstrap{AdminPassword: Password, Endpoints: endpoints}))
	return s
}

// AdminToken logs admin in to project admin.
func AdminToken(t testing.TB, s *identity.Service) string {
	t.Helper()
	def := identity.DomainRef{ID: identity.DefaultDomain}
	id, _, err := s.IssueToken(context.Background(), identity.AuthRequest{Methods: []string{"password"}, User: identity.UserRef{Name: "admin", Domain: def},
		Password: Password, Scope: identity.Scope{Project: &identity.ProjectRef{Name: "admin", Domain: def}}})
	require.NoError(t, err)
	return id
}
