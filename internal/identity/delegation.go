package identity

import (
	"context"
	"errors"
	"slices"

	"nephos/internal/db"
	"nephos/internal/policy"
)

// delegation is whose rights a token has, and which of them.
type delegation struct {
	owner   string     // the user whose assignments count
	roles   []string   // ids of the roles that were delegated; nil: all that the owner has
	trustor *tokenUser // of a trust
}

// delegation loads what the payload's rights were borrowed from and notes it in the token. Without a trust, an application credential or an access
// token the user's own rights count.
func (s *Service) delegation(ctx context.Context, tx *db.Tx, t *Token, p *payload) (delegation, error) {
	switch {
	case p.trust != "":
		return s.byTrust(ctx, tx, t, p)
	case p.appCred != "":
		return s.byAppCredential(ctx, tx, t, p)
	case p.access != "":
		return s.byAccessToken(ctx, tx, t, p)
	}
	return delegation{owner: p.user}, nil
}

func (s *Service) byTrust(ctx context.Context, tx *db.Tx, t *Token, p *payload) (delegation, error) {
	tr, err := trustByID(ctx, tx, p.trust)
	if err != nil {
		return delegation{}, borrowed(err)
	}
	if tr.TrusteeUserID != p.user || s.past(tr.ExpiresAt) || tr.ProjectID != nil && (p.kind != projectScope || p.scope != *tr.ProjectID) {
		return delegation{}, unauthorized(errBorrowed)
	}
	t.Trust = &TokenTrust{ID: tr.ID, TrustorID: tr.TrustorUserID, TrusteeID: tr.TrusteeUserID, Impersonation: tr.Impersonation}
	d := delegation{owner: tr.TrustorUserID}
	if d.trustor, err = s.enabledUser(ctx, tx, tr.TrustorUserID); err != nil {
		return d, err
	}
	d.roles, err = trustRoleIDs(ctx, tx, tr.ID)
	return d, err
}

func (s *Service) byAppCredential(ctx context.Context, tx *db.Tx, t *Token, p *payload) (delegation, error) {
	a, err := appCredByID(ctx, tx, p.appCred)
	if err != nil {
		return delegation{}, borrowed(err)
	}
	if a.UserID != p.user || s.past(a.ExpiresAt) || p.kind != projectScope || p.scope != a.ProjectID {
		return delegation{}, unauthorized(errBorrowed)
	}
	t.AppCredential = &TokenAppCredential{ID: a.ID, Name: a.Name, Restricted: !a.Unrestricted}
	if a.Ruled {
		t.Ruled = true
		if t.AccessRules, err = appCredRules(ctx, tx, a.ID); err != nil {
			return delegation{}, err
		}
	}
	d := delegation{owner: a.UserID}
	d.roles, err = appCredRoleIDs(ctx, tx, a.ID)
	return d, err
}

func (s *Service) byAccessToken(ctx context.Context, tx *db.Tx, t *Token, p *payload) (delegation, error) {
	a, err := accessTokenByID(ctx, tx, p.access)
	if err != nil {
		return delegation{}, borrowed(err)
	}
	if a.UserID != p.user || s.past(a.ExpiresAt) || p.kind != projectScope || p.scope != a.ProjectID {
		return delegation{}, unauthorized(errBorrowed)
	}
	t.AccessTokenID, t.ConsumerID = a.ID, a.ConsumerID
	return delegation{owner: a.UserID, roles: a.RoleIDs.V}, nil
}

// borrowed turns "there is no such row" into the 401 of a token; what else went wrong stays what it is.
func borrowed(err error) error {
	if errors.Is(err, db.ErrNoRows) {
		return unauthorized(errBorrowed)
	}
	return err
}

// past says whether a time that may be unset has come.
func (s *Service) past(at db.Time) bool {
	return !at.IsZero() && !s.clock.Now().Before(at.Time)
}

// narrow keeps of the roles held those that were delegated, with what they imply. Nothing of the delegation may be gone: a trust whose
// trustor lost one of the roles is void as a whole (Keystone).
func (d *delegation) narrow(ctx context.Context, tx *db.Tx, held []heldRole) ([]heldRole, error) {
	for _, id := range d.roles {
		if !slices.ContainsFunc(held, func(h heldRole) bool { return h.ID == id }) {
			return nil, unauthorized(errBorrowed)
		}
	}
	rules, err := implications(ctx, tx)
	if err != nil {
		return nil, err
	}
	granted := slices.Clone(d.roles)
	for _, id := range d.roles {
		granted = append(granted, closure(rules, id)...)
	}
	return slices.DeleteFunc(held, func(h heldRole) bool { return !slices.Contains(granted, h.ID) }), nil
}

// appCredRules are the access rules of an application credential as the gate before each service wants them.
func appCredRules(ctx context.Context, tx *db.Tx, id string) ([]policy.AccessRule, error) {
	var rows []AccessRule
	err := tx.Select(ctx, &rows, `SELECT r.* FROM identity_access_rules r JOIN identity_app_credential_rules a ON a.rule_id = r.id
		WHERE a.app_credential_id = ? ORDER BY r.id`, id)
	out := make([]policy.AccessRule, len(rows))
	for i, r := range rows {
		out[i] = policy.AccessRule{ID: r.ID, Service: r.Service, Method: r.Method, Path: r.Path}
	}
	return out, err
}
