package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// Token is a valid token in clear. It is shared between requests: never change one.
type Token struct {
	policy.Credentials
	IsDomain           bool   // the project of the scope is a domain
	ProjectDescription string // what v2.0 shows of a tenant
	PasswordExpiresAt  time.Time
	Trust              *TokenTrust
	AppCredential      *TokenAppCredential
	AccessTokenID      string // of OAuth1
	ConsumerID         string // of OAuth1
	Body               atomic.Pointer[TokenBody]

	payload *payload
}

// TokenTrust is what a token says of the trust it comes from.
type TokenTrust struct {
	ID, TrustorID, TrusteeID string
	Impersonation            bool
}

// TokenAppCredential is what a token says of its application credential; the access rules are in Credentials.
type TokenAppCredential struct {
	ID, Name   string
	Restricted bool
}

// TokenBody is the token as JSON, kept by whoever writes it out; Catalog says with which catalog (an opaque stamp of CatalogStamp).
type TokenBody struct {
	Catalog any
	JSON    []byte
}

// Delegated says whether the rights were borrowed: by trust, application credential or OAuth1.
func (t *Token) Delegated() bool {
	return t.Trust != nil || t.AppCredential != nil || t.AccessTokenID != ""
}

// Scoped says whether the token is good for a project, a domain or the system.
func (t *Token) Scoped() bool { return t.payload.kind != unscoped }

// unauthorized is the one answer to every bad token or log-in; the cause goes to the log only.
func unauthorized(cause error) error {
	return fault.Unauthorized("The request you have made requires authentication.").WithCause(cause)
}

// Why a token is not valid, for the log.
var (
	errSeal     = errors.New("no key opens it")
	errExpired  = errors.New("expired")
	errEpoch    = errors.New("password changed, or user or scope disabled since it was issued")
	errDisabled = errors.New("user, project or domain is disabled or gone")
	errNoRole   = errors.New("no role on the scope")
	errRevoked  = errors.New("revoked")
	errBorrowed = errors.New("the trust, application credential or access token is gone, has expired, or grants what its owner no longer has")
)

// Authenticate says who bears the token: httpapi's Authenticator. Any flaw is KindUnauthorized. Usually answered from memory.
func (s *Service) Authenticate(ctx context.Context, token string) (*policy.Credentials, error) {
	t, err := s.Validate(ctx, token)
	if err != nil {
		return nil, err
	}
	return &t.Credentials, nil
}

// Validate is Authenticate with all that the token says.
func (s *Service) Validate(ctx context.Context, token string) (*Token, error) {
	now := s.clock.Now()
	gen := s.gen.Load()
	if e, ok := s.tokens.get(token); ok && e.gen == gen && now.Sub(e.loaded) < CacheAge {
		if !now.Before(e.tok.ExpiresAt) {
			s.tokens.drop(token)
			return nil, unauthorized(errExpired)
		}
		return e.tok, nil
	}
	t, err := s.lookUp(ctx, token, 0)
	if err != nil {
		s.tokens.drop(token)
		return nil, err
	}
	s.tokens.put(token, cached{tok: t, gen: gen, loaded: now})
	return t, nil
}

// AllowExpiredWindow is how long after its end a token may still be looked at with ValidateExpired: Keystone's allow_expired_window.
const AllowExpiredWindow = 48 * time.Hour

// ValidateExpired is Validate for a service that finishes what began while the token was good.
func (s *Service) ValidateExpired(ctx context.Context, token string) (*Token, error) {
	return s.lookUp(ctx, token, AllowExpiredWindow)
}

// lookUp checks a token against the tables.
func (s *Service) lookUp(ctx context.Context, token string, grace time.Duration) (*Token, error) {
	if len(token) > maxTokenText {
		return nil, unauthorized(errSeal)
	}
	msg := s.keys.open(ctx, token)
	if msg == nil {
		return nil, unauthorized(errSeal)
	}
	p, err := decodePayload(msg)
	if err != nil {
		return nil, unauthorized(err)
	}
	if p.receipt {
		return nil, unauthorized(errPayload)
	}
	if !s.clock.Now().Before(p.expires.Add(grace)) {
		return nil, unauthorized(errExpired)
	}
	var t *Token
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		var revoked int
		if err := tx.Get(ctx, &revoked, `SELECT COUNT(*) FROM identity_revocations WHERE audit_id = ?`, p.audit[0]); err != nil {
			return err
		}
		if revoked > 0 {
			return unauthorized(errRevoked)
		}
		t, err = s.describe(ctx, tx, p, true)
		return err
	})
	return t, err
}

type tokenUser struct {
	User
	DomainName    string `db:"domain_name"`
	DomainEnabled bool   `db:"domain_enabled"`
	DomainEpoch   int64  `db:"domain_epoch"`
}

type tokenScope struct {
	Project
	DomainName    string `db:"domain_name"`
	DomainEnabled bool   `db:"domain_enabled"`
	DomainEpoch   int64  `db:"domain_epoch"`
}

const tokenUserFrom = `SELECT u.*, d.name AS domain_name, d.enabled AS domain_enabled, d.epoch AS domain_epoch
	FROM identity_users u JOIN identity_projects d ON d.id = u.domain_id WHERE `

// enabledUser loads a user who can be used, or says KindUnauthorized.
func (s *Service) enabledUser(ctx context.Context, tx *db.Tx, id string) (*tokenUser, error) {
	var u tokenUser
	err := tx.Get(ctx, &u, tokenUserFrom+`u.id = ?`, id)
	if errors.Is(err, db.ErrNoRows) || err == nil && (!u.Enabled || !u.DomainEnabled || s.dormant(&u.User)) {
		return nil, unauthorized(errDisabled)
	}
	return &u, err
}

// describe looks up what a payload names and gives the token in clear, or KindUnauthorized. With checkEpochs the payload's epochs must
// be today's; without, they are set to today's (a token about to be issued). An epoch is a sum of counters that only grow, so
// equal sums mean that none has moved.
func (s *Service) describe(ctx context.Context, tx *db.Tx, p *payload, checkEpochs bool) (*Token, error) {
	u, err := s.enabledUser(ctx, tx, p.user)
	if err != nil {
		return nil, err
	}
	userEpoch := u.Epoch + u.DomainEpoch
	t := &Token{payload: p}
	t.Methods, t.AuditIDs, t.IssuedAt, t.ExpiresAt = p.methods, p.audit, p.issued, p.expires
	d, err := s.delegation(ctx, tx, t, p)
	if err != nil {
		return nil, err
	}
	if d.trustor != nil {
		userEpoch += d.trustor.Epoch + d.trustor.DomainEpoch
		if t.Trust.Impersonation {
			u = d.trustor
		}
	}
	t.UserID, t.UserName, t.UserDomainID, t.UserDomainName = u.ID, u.Name, u.DomainID, u.DomainName
	t.PasswordExpiresAt = u.PasswordExpiresAt.Time
	scopeEpoch := int64(0)
	if p.kind == projectScope || p.kind == domainScope {
		if scopeEpoch, err = t.describeScope(ctx, tx, p); err != nil {
			return nil, err
		}
	}
	t.System = p.kind == systemScope
	if p.kind != unscoped {
		if err := t.describeRoles(ctx, tx, p, d); err != nil {
			return nil, err
		}
	}
	if !checkEpochs {
		p.userEpoch, p.scopeEpoch = userEpoch, scopeEpoch
	}
	if p.userEpoch != userEpoch || p.scopeEpoch != scopeEpoch {
		return nil, unauthorized(errEpoch)
	}
	return t, nil
}

// describeRoles fills in the roles that the owner of the rights has on the scope, of a delegation only those that were delegated.
func (t *Token) describeRoles(ctx context.Context, tx *db.Tx, p *payload, d delegation) error {
	held, err := heldRoles(ctx, tx, d.owner, p.kind, p.scope)
	if err != nil {
		return err
	}
	if d.roles != nil {
		if held, err = d.narrow(ctx, tx, held); err != nil {
			return err
		}
	}
	if len(held) == 0 {
		return unauthorized(errNoRole)
	}
	for _, r := range held {
		t.Roles, t.RoleIDs = append(t.Roles, r.Name), append(t.RoleIDs, r.ID)
	}
	return nil
}

// describeScope fills in the project or domain and gives its epoch.
func (t *Token) describeScope(ctx context.Context, tx *db.Tx, p *payload) (int64, error) {
	var sc tokenScope
	err := tx.Get(ctx, &sc, `SELECT p.*, COALESCE(d.name, '') AS domain_name, COALESCE(d.enabled, p.enabled) AS domain_enabled,
		COALESCE(d.epoch, 0) AS domain_epoch FROM identity_projects p LEFT JOIN identity_projects d ON d.id = p.domain_id WHERE p.id = ?`, p.scope)
	if errors.Is(err, db.ErrNoRows) || err == nil && (!sc.Enabled || !sc.DomainEnabled || p.kind == domainScope && !sc.IsDomain) {
		return 0, unauthorized(errDisabled)
	}
	if err != nil {
		return 0, err
	}
	if p.kind == domainScope {
		t.DomainID, t.DomainName = sc.ID, sc.Name
	} else {
		t.ProjectID, t.ProjectName, t.ProjectDomainID, t.ProjectDomainName = sc.ID, sc.Name, sc.DomainID, sc.DomainName
		t.IsDomain, t.ProjectDescription = sc.IsDomain, sc.Description
	}
	return sc.Epoch + sc.DomainEpoch, nil
}

// Revoke makes a token void at once, and for ever. 404 if it is not valid. A crash before the commit leaves it valid and the caller
// without an answer; again is safe.
func (s *Service) Revoke(ctx context.Context, token string) error {
	t, err := s.Validate(ctx, token)
	if err != nil {
		return notValid(err)
	}
	now := db.At(s.clock.Now())
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM identity_revocations WHERE expires_at < ?`, db.At(now.Add(-AllowExpiredWindow))); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO identity_revocations (audit_id, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING`,
			t.AuditIDs[0], db.At(t.ExpiresAt)); err != nil {
			return err
		}
		if err := s.revokeEvent(ctx, tx, RevokeEvent{AuditID: t.AuditIDs[0]}); err != nil {
			return err
		}
		tx.OnCommit(s.moved)
		return nil
	})
	if err != nil {
		return fmt.Errorf("revoke token of user %s: %w", t.UserID, err)
	}
	s.tokens.drop(token)
	return nil
}

// notValid turns a bad subject token's 401 into the 404 that Keystone gives for it.
func notValid(err error) error {
	if fault.KindOf(err) == fault.KindUnauthorized {
		return fault.NotFound("Failed to validate token").WithCause(err)
	}
	return err
}

// Subject is Validate for a token that is asked about, not with: 404 if it is not valid.
func (s *Service) Subject(ctx context.Context, token string, allowExpired bool) (*Token, error) {
	t, err := s.Validate(ctx, token)
	if err != nil && allowExpired {
		t, err = s.ValidateExpired(ctx, token)
	}
	if err != nil {
		return nil, notValid(err)
	}
	return t, nil
}

// issue completes a payload that names user, scope, methods and (for a token from a token) expiry and audit chain, and seals it.
// It must run on a fresh payload.
func (s *Service) issue(ctx context.Context, p *payload) (string, *Token, error) {
	p.issued = db.At(s.clock.Now()).Time
	if p.expires.IsZero() {
		p.expires = p.issued.Add(s.ttl)
	}
	if !p.borrowedUntil.IsZero() && p.borrowedUntil.Before(p.expires) {
		p.expires = p.borrowedUntil
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", nil, fmt.Errorf("audit id: %w", err)
	}
	p.audit = slices.Insert(p.audit, 0, base64.RawURLEncoding.EncodeToString(raw[:]))
	gen := s.gen.Load()
	var t *Token
	in := s.db.Read
	if p.trust != "" {
		in = s.db.Write // a trust may be used up
	}
	err := in(ctx, func(tx *db.Tx) (err error) {
		if p.trust != "" {
			if err := useTrust(ctx, tx, p.trust); err != nil {
				return err
			}
		}
		t, err = s.describe(ctx, tx, p, false)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	id, err := s.keys.seal(ctx, p.encode())
	if err != nil {
		return "", nil, err
	}
	s.tokens.put(id, cached{tok: t, gen: gen, loaded: p.issued})
	return id, t, nil
}

// RotateKeys makes the staged token key the primary and stages a new one. Tokens stay valid: of the older keys go only those beyond
// MaxActiveKeys that no token alive was signed with.
func (s *Service) RotateKeys(ctx context.Context) error {
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "identity"); err != nil {
			return err
		}
		_, err := s.keys.rotate(ctx, tx, MaxActiveKeys, s.ttl+AllowExpiredWindow)
		return err
	})
	if err != nil {
		return fmt.Errorf("rotate token keys: %w", err)
	}
	s.moved()
	return s.keys.load(ctx)
}
