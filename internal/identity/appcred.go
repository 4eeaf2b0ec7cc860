package identity

import (
	"context"
	"errors"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// AppCredential lets a program act for a user in one project, with some of the user's roles and without the password.
type AppCredential struct {
	ID           string  `db:"id"`
	UserID       string  `db:"user_id"`
	ProjectID    string  `db:"project_id"`
	Name         string  `db:"name"`
	Secret       string  `db:"secret" json:"-"` // bcrypt; only what CreateAppCredential returns has it, in clear
	Description  string  `db:"description"`
	ExpiresAt    db.Time `db:"expires_at"`   // zero: never
	Unrestricted bool    `db:"unrestricted"` // its tokens may make and delete application credentials and trusts
	Ruled        bool    `db:"ruled"`        // access rules were given, perhaps none

	Roles []Role       `db:"-"`
	Rules []AccessRule `db:"-"`
}

// AccessRule is a call that an application credential may make. Rules are a user's and may be shared between credentials.
type AccessRule struct {
	ID      string `db:"id"`
	UserID  string `db:"user_id"`
	Service string `db:"service"`
	Method  string `db:"method"`
	Path    string `db:"path"`
}

// NewAppCredential is what CreateAppCredential needs. Rules with an ID name rules that the user has.
type NewAppCredential struct {
	Name, Description, Secret string
	Roles                     []RoleRef // none: all roles of the token
	ExpiresAt                 db.Time
	Unrestricted, Ruled       bool
	Rules                     []AccessRule
}

// RoleRef names a global role by id or by name.
type RoleRef struct{ ID, Name string }

// AppCredLogIn is what method application_credential sends.
type AppCredLogIn struct {
	ID, Name, Secret string
	User             UserRef // with Name
}

// MaxAppCredentials is how many a user may have.
const MaxAppCredentials = 100

// mayDelegate refuses tokens whose rights are borrowed what would outlive them: with a restricted application credential, a trust or an OAuth
// access token no application credential or trust is made or deleted.
func mayDelegate(t *Token) error {
	switch {
	case t.AppCredential != nil && t.AppCredential.Restricted:
		return fault.Forbidden("Using method 'application_credential' is not allowed for managing additional application credentials.")
	case t.AccessTokenID != "":
		return fault.Forbidden("An OAuth access token cannot be used to delegate rights.")
	}
	return nil
}

// CreateAppCredential makes one for the token's user in the token's project. 400: the token has no project, or a role that is asked for;
// 403: a token that may not delegate, or too many; 409: the name is taken.
func (s *Service) CreateAppCredential(ctx context.Context, t *Token, n NewAppCredential) (*AppCredential, error) {
	if err := mayDelegate(t); err != nil {
		return nil, err
	}
	if t.Trust != nil {
		return nil, fault.Forbidden("A token of a trust cannot make application credentials.")
	}
	if t.ProjectID == "" {
		return nil, fault.Invalid("project_id", "A project-scoped token is needed to make an application credential.")
	}
	if err := checkName("name", n.Name, 255); err != nil {
		return nil, err
	}
	if !n.ExpiresAt.IsZero() && s.past(n.ExpiresAt) {
		return nil, fault.Invalid("expires_at", "The expiration of an application credential must lie in the future.")
	}
	if n.Secret == "" {
		var err error
		if n.Secret, err = randomText(64); err != nil {
			return nil, err
		}
	}
	hash, err := s.hasher.hash(ctx, n.Secret)
	if err != nil {
		return nil, err
	}
	a := &AppCredential{ID: newID(), UserID: t.UserID, ProjectID: t.ProjectID, Name: n.Name, Secret: hash, Description: n.Description, ExpiresAt: n.ExpiresAt,
		Unrestricted: n.Unrestricted, Ruled: n.Ruled}
	err = s.write(ctx, func(tx *db.Tx) error {
		var have int
		if err := tx.Get(ctx, &have, `SELECT COUNT(*) FROM identity_app_credentials WHERE user_id = ?`, a.UserID); err != nil {
			return err
		}
		if have >= MaxAppCredentials {
			return fault.Forbidden("Unable to create application credential: user %s has the maximum of %d.", a.UserID, MaxAppCredentials)
		}
		roles, err := rolesOf(ctx, tx, t, n.Roles)
		if err != nil {
			return err
		}
		a.Roles = roles
		if err := duplicate(tx.Insert(ctx, "identity_app_credentials", a), "application_credential", a.Name); err != nil {
			return err
		}
		for _, r := range roles {
			if _, err := tx.Exec(ctx, `INSERT INTO identity_app_credential_roles (app_credential_id, role_id) VALUES (?, ?)`, a.ID, r.ID); err != nil {
				return err
			}
		}
		a.Rules, err = s.attachRules(ctx, tx, a, n.Rules)
		return err
	})
	a.Secret = n.Secret
	return a, err
}

// rolesOf resolves the roles that are asked for, each once; all must be the token's. None named means all of them.
func rolesOf(ctx context.Context, tx *db.Tx, t *Token, refs []RoleRef) ([]Role, error) {
	if len(refs) == 0 {
		for _, id := range t.RoleIDs {
			refs = append(refs, RoleRef{ID: id})
		}
	}
	var out []Role
	for _, ref := range refs {
		r, err := findRole(ctx, tx, ref)
		if err != nil {
			return nil, asInvalid("roles", err)
		}
		if !slices.Contains(t.RoleIDs, r.ID) {
			return nil, fault.Invalid("roles", "Invalid application credential: the token does not have role %s.", or(ref.Name, ref.ID))
		}
		if !slices.ContainsFunc(out, func(x Role) bool { return x.ID == r.ID }) {
			out = append(out, *r)
		}
	}
	return out, nil
}

func findRole(ctx context.Context, tx *db.Tx, ref RoleRef) (*Role, error) {
	if ref.ID != "" {
		return roleByID(ctx, tx, ref.ID)
	}
	r := &Role{}
	return r, get(ctx, tx, r, "role", ref.Name, `SELECT * FROM identity_roles WHERE name = ? AND domain_id = ''`, ref.Name)
}

// attachRules finds or makes the access rules: the same rule is one row of its user.
func (s *Service) attachRules(ctx context.Context, tx *db.Tx, a *AppCredential, rules []AccessRule) ([]AccessRule, error) {
	var out []AccessRule
	for _, r := range rules {
		if r.ID != "" {
			id := r.ID
			if err := get(ctx, tx, &r, "access rule", id, `SELECT * FROM identity_access_rules WHERE id = ? AND user_id = ?`, id, a.UserID); err != nil {
				return nil, asInvalid("access_rules", err)
			}
		} else {
			if _, err := tx.Exec(ctx, `INSERT INTO identity_access_rules (id, user_id, service, method, path) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
				newID(), a.UserID, r.Service, r.Method, r.Path); err != nil {
				return nil, err
			}
			if err := tx.Get(ctx, &r, `SELECT * FROM identity_access_rules WHERE user_id = ? AND service = ? AND method = ? AND path = ?`,
				a.UserID, r.Service, r.Method, r.Path); err != nil {
				return nil, err
			}
		}
		if _, err := tx.Exec(ctx, `INSERT INTO identity_app_credential_rules (app_credential_id, rule_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, a.ID, r.ID); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// AppCredential looks one of a user's up.
func (s *Service) AppCredential(ctx context.Context, userID, id string) (*AppCredential, error) {
	var out *AppCredential
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		a, err := appCredByID(ctx, tx, id)
		if errors.Is(err, db.ErrNoRows) || err == nil && a.UserID != userID {
			return notFound("application credential", id)
		}
		if err != nil {
			return err
		}
		out = a
		return fillAppCred(ctx, tx, out)
	})
	return out, err
}

// AppCredentials lists a user's by name; name "" selects all.
func (s *Service) AppCredentials(ctx context.Context, userID, name string) ([]AppCredential, error) {
	var out []AppCredential
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if _, err := userByID(ctx, tx, userID); err != nil {
			return err
		}
		var w where
		w.eq("user_id", userID)
		w.eq("name", name)
		if err := tx.Select(ctx, &out, `SELECT * FROM identity_app_credentials`+w.text()+` ORDER BY name`, w.args...); err != nil {
			return err
		}
		for i := range out {
			if err := fillAppCred(ctx, tx, &out[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func fillAppCred(ctx context.Context, tx *db.Tx, a *AppCredential) error {
	a.Secret = ""
	if err := tx.Select(ctx, &a.Roles, `SELECT * FROM identity_roles WHERE id IN
			(SELECT role_id FROM identity_app_credential_roles WHERE app_credential_id = ?) ORDER BY name`, a.ID); err != nil {
		return err
	}
	return tx.Select(ctx, &a.Rules, `SELECT * FROM identity_access_rules WHERE id IN
		(SELECT rule_id FROM identity_app_credential_rules WHERE app_credential_id = ?) ORDER BY id`, a.ID)
}

// DeleteAppCredential removes one; its tokens end at once.
func (s *Service) DeleteAppCredential(ctx context.Context, t *Token, userID, id string) error {
	if err := mayDelegate(t); err != nil {
		return err
	}
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_app_credentials WHERE id = ? AND user_id = ?`, id, userID)
		return affected(n, err, "application credential", id)
	})
}

// AccessRules lists a user's.
func (s *Service) AccessRules(ctx context.Context, userID string) ([]AccessRule, error) {
	var out []AccessRule
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_access_rules WHERE user_id = ? ORDER BY id`, userID)
	})
	return out, err
}

// AccessRule looks one of a user's up.
func (s *Service) AccessRule(ctx context.Context, userID, id string) (*AccessRule, error) {
	r := &AccessRule{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return get(ctx, tx, r, "access rule", id, `SELECT * FROM identity_access_rules WHERE id = ? AND user_id = ?`, id, userID)
	})
	return r, err
}

// DeleteAccessRule removes a rule that no credential has; 403 otherwise.
func (s *Service) DeleteAccessRule(ctx context.Context, userID, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		var used int
		if err := tx.Get(ctx, &used, `SELECT COUNT(*) FROM identity_app_credential_rules WHERE rule_id = ?`, id); err != nil {
			return err
		}
		if used > 0 {
			return fault.Forbidden("Could not delete access rule %s: it is still in use by one or more application credentials.", id)
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_access_rules WHERE id = ? AND user_id = ?`, id, userID)
		return affected(n, err, "access rule", id)
	})
}

// verifyAppCred gives the credential if the secret fits; else the one 401, after the same time. User and project are describe's business.
func (s *Service) verifyAppCred(ctx context.Context, in AppCredLogIn, from string) (*AppCredential, error) {
	key := throttleKey(in.User, from) + "\x00" + in.ID + "\x00" + in.Name
	if err := s.throttle.admit(key); err != nil {
		return nil, err
	}
	a := &AppCredential{}
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if in.ID != "" {
			a, err = appCredByID(ctx, tx, in.ID)
			return err
		}
		return tx.Get(ctx, a, `SELECT a.* FROM identity_app_credentials a JOIN identity_users u ON u.id = a.user_id JOIN identity_projects d ON d.id = u.domain_id
			WHERE a.name = ? AND (u.id = ? OR u.name = ? AND (d.id = ? OR d.name = ?))`, in.Name, in.User.ID, in.User.Name, in.User.Domain.ID, in.User.Domain.Name)
	})
	if errors.Is(err, db.ErrNoRows) {
		a, err = &AppCredential{}, nil
	}
	if err != nil {
		return nil, err
	}
	fits, err := s.hasher.matches(ctx, a.Secret, in.Secret)
	if err != nil {
		return nil, err
	}
	if !fits || s.past(a.ExpiresAt) {
		return nil, unauthorized(errors.New("no such application credential, another secret, or expired"))
	}
	s.throttle.forget(key)
	return a, nil
}

func appCredByID(ctx context.Context, tx *db.Tx, id string) (*AppCredential, error) {
	a := &AppCredential{}
	return a, tx.Get(ctx, a, `SELECT * FROM identity_app_credentials WHERE id = ?`, id)
}

func appCredRoleIDs(ctx context.Context, tx *db.Tx, id string) ([]string, error) {
	out := []string{}
	err := tx.Select(ctx, &out, `SELECT role_id FROM identity_app_credential_roles WHERE app_credential_id = ? ORDER BY role_id`, id)
	return out, err
}
