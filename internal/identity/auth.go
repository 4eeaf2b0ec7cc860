package identity

import (
	"context"
	"errors"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// UserRef names a user by id, or by name and domain.
type UserRef struct {
	ID, Name string
	Domain   DomainRef
}

// ProjectRef names a project by id, or by name and domain.
type ProjectRef struct {
	ID, Name string
	Domain   DomainRef
}

// DomainRef names a domain by id or name.
type DomainRef struct{ ID, Name string }

// Scope says what a token shall be good for. At most one field is set; none means the user's default project, if it has a role there,
// else nothing.
type Scope struct {
	Unscoped bool
	Project  *ProjectRef
	Domain   *DomainRef
	System   bool
}

// AuthRequest is a log-in. Each method that is listed must be there, and all must lead to one user.
type AuthRequest struct {
	Methods  []string // "password", "token"
	User     UserRef  // of the password
	Password string
	Token    string
	Scope    Scope
}

// IssueToken checks a log-in and gives a new token. Whatever is wrong, the answer is one and the same 401, and takes as long.
func (s *Service) IssueToken(ctx context.Context, r AuthRequest) (string, *Token, error) {
	p, err := s.identify(ctx, r)
	if err != nil {
		return "", nil, s.refused(ctx, r, err)
	}
	if err := s.resolveScope(ctx, r.Scope, p); err != nil {
		return "", nil, s.refused(ctx, r, err)
	}
	id, t, err := s.issue(ctx, p)
	if err != nil {
		return "", nil, s.refused(ctx, r, err)
	}
	return id, t, nil
}

func (s *Service) refused(ctx context.Context, r AuthRequest, err error) error {
	if fault.KindOf(err) == fault.KindUnauthorized {
		s.log.InfoContext(ctx, "log-in refused", "methods", r.Methods, "user_id", r.User.ID, "user", r.User.Name, "why", errors.Unwrap(err))
	}
	return err
}

// identify runs the methods.
func (s *Service) identify(ctx context.Context, r AuthRequest) (*payload, error) {
	p := &payload{}
	for _, m := range r.Methods {
		var user string
		switch m {
		case "password":
			u, err := s.VerifyPassword(ctx, r.User, r.Password)
			if err != nil {
				return nil, err
			}
			user = u.ID
		case "token":
			t, err := s.Validate(ctx, r.Token)
			if err != nil {
				return nil, err
			}
			user = t.UserID
			p.expires = t.ExpiresAt // a token cannot prolong itself
			p.audit = []string{t.AuditIDs[len(t.AuditIDs)-1]}
			p.addMethods(t.Methods...)
		default:
			return nil, fault.Unauthorized("Attempted to authenticate with an unsupported method.")
		}
		if p.user != "" && p.user != user {
			return nil, unauthorized(errors.New("the methods lead to different users"))
		}
		p.user = user
		p.addMethods(m)
	}
	if p.user == "" {
		return nil, unauthorized(errors.New("no method is given"))
	}
	return p, nil
}

func (p *payload) addMethods(names ...string) {
	for _, n := range names {
		if !slices.Contains(p.methods, n) {
			p.methods = append(p.methods, n)
		}
	}
}

// VerifyPassword gives the user if the password fits and user and domain are enabled; else the one 401, after the same time.
func (s *Service) VerifyPassword(ctx context.Context, ref UserRef, password string) (*User, error) {
	var u tokenUser
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		const from = `SELECT u.*, d.name AS domain_name, d.enabled AS domain_enabled, d.epoch AS domain_epoch
			FROM identity_users u JOIN identity_projects d ON d.id = u.domain_id WHERE `
		switch {
		case ref.ID != "":
			return tx.Get(ctx, &u, from+`u.id = ?`, ref.ID)
		case ref.Domain.ID != "":
			return tx.Get(ctx, &u, from+`u.name = ? AND d.id = ?`, ref.Name, ref.Domain.ID)
		}
		return tx.Get(ctx, &u, from+`u.name = ? AND d.is_domain AND d.name = ?`, ref.Name, ref.Domain.Name)
	})
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return nil, err
	}
	fits, herr := s.hasher.matches(ctx, u.Password, password)
	if herr != nil {
		return nil, herr
	}
	if err != nil || !fits {
		return nil, unauthorized(errors.New("no such user, or another password"))
	}
	if !u.Enabled || !u.DomainEnabled {
		return nil, unauthorized(errDisabled)
	}
	return bare(&u.User), nil
}

// resolveScope turns names into ids. Whether the user may use the scope is describe's business.
func (s *Service) resolveScope(ctx context.Context, sc Scope, p *payload) error {
	return s.db.Read(ctx, func(tx *db.Tx) error {
		switch {
		case sc.Project != nil:
			id, err := resolveProject(ctx, tx, *sc.Project)
			p.kind, p.scope = projectScope, id
			return err
		case sc.Domain != nil:
			id, err := resolveDomain(ctx, tx, *sc.Domain)
			p.kind, p.scope = domainScope, id
			return err
		case sc.System:
			p.kind = systemScope
			return nil
		case sc.Unscoped:
			return nil
		}
		u, err := userByID(ctx, tx, p.user)
		if err != nil || u.DefaultProjectID == "" {
			return err
		}
		try := *p
		try.kind, try.scope = projectScope, u.DefaultProjectID
		_, err = describe(ctx, tx, &try, false)
		if fault.KindOf(err) == fault.KindUnauthorized {
			return nil // not usable: the token stays without a scope
		}
		p.kind, p.scope = try.kind, try.scope
		return err
	})
}

func resolveProject(ctx context.Context, tx *db.Tx, r ProjectRef) (string, error) {
	if r.ID != "" {
		return r.ID, nil
	}
	domain, err := resolveDomain(ctx, tx, r.Domain)
	if err != nil {
		return "", err
	}
	var id string
	err = tx.Get(ctx, &id, `SELECT id FROM identity_projects WHERE domain_id = ? AND name = ?`, domain, r.Name)
	if errors.Is(err, db.ErrNoRows) {
		return "", unauthorized(errors.New("no such project"))
	}
	return id, err
}

func resolveDomain(ctx context.Context, tx *db.Tx, r DomainRef) (string, error) {
	if r.ID != "" {
		return r.ID, nil
	}
	var id string
	err := tx.Get(ctx, &id, `SELECT id FROM identity_projects WHERE is_domain AND name = ?`, r.Name)
	if errors.Is(err, db.ErrNoRows) {
		return "", unauthorized(errors.New("no such domain"))
	}
	return id, err
}
