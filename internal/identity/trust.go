package identity

import (
	"context"
	"errors"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Trust lets one user, the trustee, act with roles of another, the trustor, in one project.
type Trust struct {
	ID                 string         `db:"id"`
	TrustorUserID      string         `db:"trustor_user_id"`
	TrusteeUserID      string         `db:"trustee_user_id"`
	ProjectID          *string        `db:"project_id"`
	Impersonation      bool           `db:"impersonation"` // the trustee's tokens name the trustor as their user
	ExpiresAt          db.Time        `db:"expires_at"`    // zero: never
	RemainingUses      *int64         `db:"remaining_uses"`
	RedelegatedTrustID *string        `db:"redelegated_trust_id"` // the trust that this one passes on
	RedelegationCount  int64          `db:"redelegation_count"`   // how often it may still be passed on
	Extra              db.JSON[Extra] `db:"extra"`

	Roles []Role `db:"-"`
}

// NewTrust is what CreateTrust needs besides the token.
type NewTrust struct {
	Trust
	RoleRefs          []RoleRef
	AllowRedelegation bool
	RedelegationCount *int64 // nil: MaxRedelegations if allowed
}

// MaxRedelegations is Keystone's max_redelegation_count.
const MaxRedelegations = 3

// TrustFilter selects trusts; empty fields select all.
type TrustFilter struct{ TrustorUserID, TrusteeUserID string }

// CreateTrust makes a trust of the token's user. 400: roles without a project or the other way round, a time that has passed, redelegation together with
// a number of uses; 403: another user's trust, roles that the trustor does not have, a token that may not delegate, redelegation beyond its bounds;
// 404: unknown trustee, project or role.
func (s *Service) CreateTrust(ctx context.Context, t *Token, n NewTrust) (*Trust, error) {
	if err := s.checkNewTrust(t, &n); err != nil {
		return nil, err
	}
	tr := n.Trust
	tr.ID = newID()
	err := s.write(ctx, func(tx *db.Tx) error {
		if _, err := userByID(ctx, tx, tr.TrusteeUserID); err != nil {
			return err
		}
		if tr.ProjectID != nil {
			if _, err := projectByID(ctx, tx, *tr.ProjectID); err != nil {
				return err
			}
		}
		if err := s.redelegate(ctx, tx, t, &tr, &n); err != nil {
			return err
		}
		var err error
		if tr.Roles, err = trustedRoles(ctx, tx, t, &tr, n.RoleRefs); err != nil {
			return err
		}
		if err := tx.Insert(ctx, "identity_trusts", tr); err != nil {
			return err
		}
		for _, r := range tr.Roles {
			if _, err := tx.Exec(ctx, `INSERT INTO identity_trust_roles (trust_id, role_id) VALUES (?, ?)`, tr.ID, r.ID); err != nil {
				return err
			}
		}
		return nil
	})
	return &tr, err
}

func (s *Service) checkNewTrust(t *Token, n *NewTrust) error {
	if err := mayDelegate(t); err != nil {
		return err
	}
	switch {
	case t.UserID != n.TrustorUserID:
		return fault.Forbidden("You are not authorized to perform the requested action: only the trustor can create a trust.")
	case n.ProjectID != nil && len(n.RoleRefs) == 0:
		return fault.Forbidden("At least one role should be specified.")
	case n.ProjectID == nil && len(n.RoleRefs) > 0:
		return fault.Invalid("project_id", "Roles can only be delegated on a project: project_id is required.")
	case s.past(n.ExpiresAt):
		return fault.Invalid("expires_at", "The expiration of a trust must lie in the future.")
	case n.RemainingUses != nil && *n.RemainingUses <= 0:
		return fault.Invalid("remaining_uses", "remaining_uses must be a positive integer or null.")
	case n.RemainingUses != nil && n.AllowRedelegation:
		return fault.Invalid("remaining_uses", "remaining_uses must not be set if redelegation is allowed.")
	case n.RedelegationCount != nil && (*n.RedelegationCount < 0 || *n.RedelegationCount > MaxRedelegations):
		return fault.Forbidden("Requested redelegation depth of %d is greater than allowed %d.", *n.RedelegationCount, MaxRedelegations)
	}
	return nil
}

// redelegate sets how often the new trust may be passed on; made with a trust's token it is itself a passing on, within that trust's bounds.
func (s *Service) redelegate(ctx context.Context, tx *db.Tx, t *Token, tr *Trust, n *NewTrust) error {
	most := int64(MaxRedelegations)
	if t.Trust != nil {
		from, err := trustByID(ctx, tx, t.Trust.ID)
		if err != nil {
			return borrowed(err)
		}
		switch {
		case from.RedelegationCount <= 0:
			return fault.Forbidden("Remaining redelegation depth of 0 out of allowed range: the trust %s may not be passed on.", from.ID)
		case tr.Impersonation && !from.Impersonation:
			return fault.Forbidden("Impersonation is not allowed because redelegated trust does not specify impersonation. Redelegated trust id: %s.", from.ID)
		case !from.ExpiresAt.IsZero() && (tr.ExpiresAt.IsZero() || tr.ExpiresAt.After(from.ExpiresAt.Time)):
			return fault.Forbidden("Requested expiration time is more than redelegated trust can provide.")
		}
		most = from.RedelegationCount - 1
		tr.RedelegatedTrustID, tr.TrustorUserID = &from.ID, from.TrustorUserID
	}
	tr.RedelegationCount = 0
	if n.AllowRedelegation {
		tr.RedelegationCount = most
	}
	if n.RedelegationCount != nil {
		if *n.RedelegationCount > most {
			return fault.Forbidden("Requested redelegation depth of %d is greater than allowed %d.", *n.RedelegationCount, most)
		}
		if n.AllowRedelegation {
			tr.RedelegationCount = *n.RedelegationCount
		}
	}
	return nil
}

// trustedRoles resolves the roles, which the trustor must have on the project; passed on, the trust must have had them.
func trustedRoles(ctx context.Context, tx *db.Tx, t *Token, tr *Trust, refs []RoleRef) ([]Role, error) {
	if tr.ProjectID == nil {
		return nil, nil
	}
	held, err := heldRoles(ctx, tx, tr.TrustorUserID, projectScope, *tr.ProjectID)
	if err != nil {
		return nil, err
	}
	var out []Role
	for _, ref := range refs {
		r, err := findRole(ctx, tx, ref)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(held, func(h heldRole) bool { return h.ID == r.ID }) || t.Delegated() && !slices.Contains(t.RoleIDs, r.ID) {
			return nil, fault.Forbidden("Some of requested roles are not in redelegated trust, or the trustor does not have them: %s.", or(ref.Name, ref.ID))
		}
		if !slices.ContainsFunc(out, func(x Role) bool { return x.ID == r.ID }) {
			out = append(out, *r)
		}
	}
	return out, nil
}

// Trust looks one up with its roles; one that has expired or is used up is gone.
func (s *Service) Trust(ctx context.Context, id string) (*Trust, error) {
	var tr *Trust
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if tr, err = trustByID(ctx, tx, id); errors.Is(err, db.ErrNoRows) || err == nil && s.over(tr) {
			return notFound("trust", id)
		}
		if err != nil {
			return err
		}
		tr.Roles, err = trustRoles(ctx, tx, id)
		return err
	})
	return tr, err
}

// over says whether a trust is of no more use.
func (s *Service) over(tr *Trust) bool {
	return s.past(tr.ExpiresAt) || tr.RemainingUses != nil && *tr.RemainingUses <= 0
}

// Trusts lists those that are good, without roles, by id.
func (s *Service) Trusts(ctx context.Context, f TrustFilter) ([]Trust, error) {
	var w where
	w.eq("trustor_user_id", f.TrustorUserID)
	w.eq("trustee_user_id", f.TrusteeUserID)
	var out []Trust
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_trusts`+w.text()+` ORDER BY id`, w.args...)
	})
	return slices.DeleteFunc(out, func(tr Trust) bool { return s.over(&tr) }), err
}

// DeleteTrust removes a trust and all that were passed on from it; their tokens end at once.
func (s *Service) DeleteTrust(ctx context.Context, t *Token, id string) error {
	if err := mayDelegate(t); err != nil {
		return err
	}
	return s.write(ctx, func(tx *db.Tx) error {
		if err := s.revokeEvent(ctx, tx, RevokeEvent{TrustID: id}); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_trusts WHERE id = ?`, id)
		return affected(n, err, "trust", id)
	})
}

// resolveTrust is the scope of a trust for the payload's user. Who is no trustee learns so (Keystone).
func (s *Service) resolveTrust(ctx context.Context, tx *db.Tx, id string, p *payload) error {
	tr, err := trustByID(ctx, tx, id)
	if errors.Is(err, db.ErrNoRows) || err == nil && s.past(tr.ExpiresAt) {
		return unauthorized(errBorrowed)
	}
	if err != nil {
		return err
	}
	if tr.TrusteeUserID != p.user {
		return fault.Forbidden("User is not a trustee.")
	}
	p.trust, p.borrowedUntil = id, tr.ExpiresAt.Time
	if tr.ProjectID != nil {
		p.kind, p.scope = projectScope, *tr.ProjectID
	}
	return nil
}

// useTrust counts one use; 403 if none is left. Two at once for the last use: the second finds none.
func useTrust(ctx context.Context, tx *db.Tx, id string) error {
	tr, err := trustByID(ctx, tx, id)
	if err != nil {
		return borrowed(err)
	}
	if tr.RemainingUses == nil {
		return nil
	}
	n, err := tx.Exec(ctx, `UPDATE identity_trusts SET remaining_uses = remaining_uses - 1 WHERE id = ? AND remaining_uses > 0`, id)
	if err == nil && n == 0 {
		return fault.Forbidden("No remaining uses for trust: %s.", id)
	}
	return err
}

func trustByID(ctx context.Context, tx *db.Tx, id string) (*Trust, error) {
	tr := &Trust{}
	return tr, tx.Get(ctx, tr, `SELECT * FROM identity_trusts WHERE id = ?`, id)
}

func trustRoles(ctx context.Context, tx *db.Tx, id string) ([]Role, error) {
	out := []Role{}
	err := tx.Select(ctx, &out, `SELECT * FROM identity_roles WHERE id IN (SELECT role_id FROM identity_trust_roles WHERE trust_id = ?) ORDER BY name`, id)
	return out, err
}

func trustRoleIDs(ctx context.Context, tx *db.Tx, id string) ([]string, error) {
	out := []string{}
	err := tx.Select(ctx, &out, `SELECT role_id FROM identity_trust_roles WHERE trust_id = ? ORDER BY role_id`, id)
	return out, err
}
