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
	Trust    string
}

func (sc Scope) none() bool {
	return !sc.Unscoped && sc.Project == nil && sc.Domain == nil && !sc.System && sc.Trust == ""
}

// AuthRequest is a log-in. Each method that is listed must be there, and all must lead to one user.
type AuthRequest struct {
	Methods  []string // "password", "token", "application_credential", "totp", "oauth1"
	User     UserRef  // of the password
	Password string
	Token    string
	TOTP     TOTPLogIn
	AppCred  AppCredLogIn
	OAuth    *SignedRequest
	Receipt  string // of a partial multi-factor log-in that this one completes
	From     string // where the client is, for the throttle
	Scope    Scope
}

// IssueToken checks a log-in and gives a new token. Whatever is wrong, the answer is one and the same 401, and takes as long. A
// *MoreMethodsError says that a rule for several factors is fulfilled in part.
func (s *Service) IssueToken(ctx context.Context, r AuthRequest) (string, *Token, error) {
	id, t, err := s.logIn(ctx, r)
	if fault.KindOf(err) == fault.KindUnauthorized && err != nil {
		s.log.InfoContext(ctx, "log-in refused", "methods", r.Methods, "user_id", r.User.ID, "user", r.User.Name, "why", errors.Unwrap(err))
	}
	return id, t, err
}

func (s *Service) logIn(ctx context.Context, r AuthRequest) (string, *Token, error) {
	p, err := s.identify(ctx, r)
	if err != nil {
		return "", nil, err
	}
	if err := s.enoughMethods(ctx, p, r.Receipt); err != nil {
		return "", nil, err
	}
	if err := s.resolveScope(ctx, r.Scope, p); err != nil {
		return "", nil, err
	}
	return s.issue(ctx, p)
}

// identify runs the methods.
func (s *Service) identify(ctx context.Context, r AuthRequest) (*payload, error) {
	p := &payload{}
	for _, m := range r.Methods {
		user, err := s.method(ctx, m, r, p)
		if err != nil {
			return nil, err
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

// method runs one, notes in p what it brings, and gives the user it leads to.
func (s *Service) method(ctx context.Context, name string, r AuthRequest, p *payload) (string, error) {
	switch name {
	case "password":
		u, err := s.VerifyPassword(ctx, r.User, r.Password, r.From)
		if err != nil {
			return "", err
		}
		return u.ID, nil
	case "token":
		t, err := s.Validate(ctx, r.Token)
		if err != nil {
			return "", notValid(err) // 404, as for a token that is asked about
		}
		if t.Delegated() {
			return "", fault.Forbidden("A token of a trust, an application credential or an OAuth consumer cannot be used to get another token.")
		}
		p.expires = t.ExpiresAt // a token cannot prolong itself
		p.audit = []string{t.AuditIDs[len(t.AuditIDs)-1]}
		p.addMethods(t.Methods...)
		return t.UserID, nil
	case methodAppCred:
		a, err := s.verifyAppCred(ctx, r.AppCred, r.From)
		if err != nil {
			return "", err
		}
		if !r.Scope.none() {
			return "", fault.Unauthorized("Application credentials cannot request a scope.")
		}
		p.appCred, p.kind, p.scope, p.borrowedUntil = a.ID, projectScope, a.ProjectID, a.ExpiresAt.Time
		return a.UserID, nil
	case "totp":
		return s.verifyTOTP(ctx, r.TOTP, r.From)
	case "oauth1":
		a, err := s.verifyAccess(ctx, r.OAuth)
		if err != nil {
			return "", err
		}
		if !r.Scope.none() {
			return "", fault.Unauthorized("OAuth access tokens cannot request a scope.")
		}
		p.access, p.kind, p.scope, p.borrowedUntil = a.ID, projectScope, a.ProjectID, a.ExpiresAt.Time
		return a.UserID, nil
	}
	return "", fault.Unauthorized("Attempted to authenticate with an unsupported method.")
}

func (p *payload) addMethods(names ...string) {
	for _, n := range names {
		if !slices.Contains(p.methods, n) {
			p.methods = append(p.methods, n)
		}
	}
}

// VerifyPassword gives the user if the password fits and user and domain are enabled; else the one 401, after the same time. A password
// that must be changed first gets a 401 that says so: who knows it may know that too.
func (s *Service) VerifyPassword(ctx context.Context, ref UserRef, password, from string) (*User, error) {
	u, err := s.verify(ctx, ref, password, from)
	if err != nil {
		return nil, err
	}
	if s.expired(u) {
		return nil, fault.Unauthorized("The password is expired and needs to be changed for user: %s.", u.ID).WithCause(errors.New("password expired"))
	}
	return bare(u), nil
}

// verify is VerifyPassword without the expiry; the user it gives has the hash.
func (s *Service) verify(ctx context.Context, ref UserRef, password, from string) (*User, error) {
	key := throttleKey(ref, from)
	if err := s.throttle.admit(key); err != nil {
		return nil, err
	}
	u, err := s.findUser(ctx, ref)
	if err != nil {
		s.throttle.forget(key)
		return nil, err
	}
	locked, err := s.locked(ctx, &u.User)
	if err != nil {
		return nil, err
	}
	fits, err := s.hasher.matches(ctx, u.Password, password)
	if err != nil {
		s.throttle.forget(key)
		return nil, err
	}
	switch {
	case locked:
		return nil, unauthorized(errors.New("the user is locked after too many failures"))
	case !fits:
		if err := s.noteFailure(ctx, u.ID); err != nil {
			return nil, err
		}
		return nil, unauthorized(errors.New("no such user, or another password"))
	}
	s.throttle.forget(key)
	if !u.Enabled || !u.DomainEnabled || s.dormant(&u.User) {
		return nil, unauthorized(errDisabled)
	}
	return &u.User, s.noteSuccess(ctx, &u.User, password)
}

// findUser gives the user of a reference; the zero user, without an error, if there is none: callers go on and take as long.
func (s *Service) findUser(ctx context.Context, ref UserRef) (*tokenUser, error) {
	var u tokenUser
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		switch {
		case ref.ID != "":
			return tx.Get(ctx, &u, tokenUserFrom+`u.id = ?`, ref.ID)
		case ref.Domain.ID != "":
			return tx.Get(ctx, &u, tokenUserFrom+`u.name = ? AND d.id = ?`, ref.Name, ref.Domain.ID)
		}
		return tx.Get(ctx, &u, tokenUserFrom+`u.name = ? AND d.is_domain AND d.name = ?`, ref.Name, ref.Domain.Name)
	})
	if errors.Is(err, db.ErrNoRows) {
		return &tokenUser{}, nil
	}
	return &u, err
}

// resolveScope turns names into ids. Whether the user may use the scope is describe's business.
func (s *Service) resolveScope(ctx context.Context, sc Scope, p *payload) error {
	if p.appCred != "" || p.access != "" {
		return nil // they bring their scope along
	}
	return s.db.Read(ctx, func(tx *db.Tx) error {
		switch {
		case sc.Trust != "":
			return s.resolveTrust(ctx, tx, sc.Trust, p)
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
		_, err = s.describe(ctx, tx, &try, false)
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
