package identity

import (
	"context"
	"errors"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// PolicyBlob is a policy document that is kept for services that fetch it here. nephos itself reads none (see the configuration's policy file).
type PolicyBlob struct {
	ID    string         `db:"id"`
	Type  string         `db:"type"` // media type
	Blob  string         `db:"blob"`
	Extra db.JSON[Extra] `db:"extra"`
}

// PolicyTarget is what a policy can be associated with: an endpoint, a service, or a service in a region.
type PolicyTarget struct{ EndpointID, ServiceID, RegionID string }

// CreatePolicy stores one; its id is chosen here.
func (s *Service) CreatePolicy(ctx context.Context, p PolicyBlob) (*PolicyBlob, error) {
	p.ID = newID()
	return &p, s.write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "identity_policies", p) })
}

// Policy looks one up.
func (s *Service) Policy(ctx context.Context, id string) (*PolicyBlob, error) {
	p := &PolicyBlob{}
	err := s.db.Read(ctx, func(tx *db.Tx) error { return policyByID(ctx, tx, id, p) })
	return p, err
}

func policyByID(ctx context.Context, tx *db.Tx, id string, p *PolicyBlob) error {
	return get(ctx, tx, p, "policy", id, `SELECT * FROM identity_policies WHERE id = ?`, id)
}

// Policies lists them, of one type or all.
func (s *Service) Policies(ctx context.Context, typ string) ([]PolicyBlob, error) {
	var w where
	w.eq("type", typ)
	var out []PolicyBlob
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_policies`+w.text()+` ORDER BY id`, w.args...)
	})
	return out, err
}

// UpdatePolicy changes one by edit, which must not change the id.
func (s *Service) UpdatePolicy(ctx context.Context, id string, edit func(*PolicyBlob) error) (*PolicyBlob, error) {
	p := &PolicyBlob{}
	err := s.write(ctx, func(tx *db.Tx) error {
		*p = PolicyBlob{}
		if err := policyByID(ctx, tx, id, p); err != nil {
			return err
		}
		if err := edit(p); err != nil {
			return err
		}
		_, err := tx.NamedExec(ctx, `UPDATE identity_policies SET type = :type, blob = :blob, extra = :extra WHERE id = :id`, p)
		return err
	})
	return p, err
}

// DeletePolicy removes one with its associations.
func (s *Service) DeletePolicy(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_policies WHERE id = ?`, id)
		return affected(n, err, "policy", id)
	})
}

// check says 404 for what does not exist.
func (t PolicyTarget) check(ctx context.Context, tx *db.Tx) error {
	for _, x := range []struct{ id, noun, table string }{{t.EndpointID, "endpoint", "identity_endpoints"}, {t.ServiceID, "service", "identity_services"}, {t.RegionID, "region", "identity_regions"}} {
		if x.id == "" {
			continue
		}
		var n int
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM `+x.table+` WHERE id = ?`, x.id); err != nil {
			return err
		}
		if n == 0 {
			return notFound(x.noun, x.id)
		}
	}
	return nil
}

const policyTargetIs = ` COALESCE(endpoint_id, '') = ? AND COALESCE(service_id, '') = ? AND COALESCE(region_id, '') = ?`

// AssociatePolicy gives the target this policy in place of any other.
func (s *Service) AssociatePolicy(ctx context.Context, id string, t PolicyTarget) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if err := errors.Join(policyByID(ctx, tx, id, &PolicyBlob{}), t.check(ctx, tx)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM identity_policy_associations WHERE`+policyTargetIs, t.EndpointID, t.ServiceID, t.RegionID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO identity_policy_associations (policy_id, endpoint_id, service_id, region_id)
			VALUES (?, NULLIF(?, ''), NULLIF(?, ''), NULLIF(?, ''))`, id, t.EndpointID, t.ServiceID, t.RegionID)
		return err
	})
}

// PolicyAssociated says nil if the target has exactly this policy, else 404.
func (s *Service) PolicyAssociated(ctx context.Context, id string, t PolicyTarget) error {
	return s.db.Read(ctx, func(tx *db.Tx) error {
		if err := errors.Join(policyByID(ctx, tx, id, &PolicyBlob{}), t.check(ctx, tx)); err != nil {
			return err
		}
		var n int
		err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_policy_associations WHERE policy_id = ? AND`+policyTargetIs, id, t.EndpointID, t.ServiceID, t.RegionID)
		if err == nil && n == 0 {
			return noAssociation(id)
		}
		return err
	})
}

// DissociatePolicy takes it away.
func (s *Service) DissociatePolicy(ctx context.Context, id string, t PolicyTarget) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_policy_associations WHERE policy_id = ? AND`+policyTargetIs, id, t.EndpointID, t.ServiceID, t.RegionID)
		if err == nil && n == 0 {
			return noAssociation(id)
		}
		return err
	})
}

func noAssociation(id string) error {
	return fault.NotFound("Could not find policy association of policy %s with this endpoint, service or region.", id)
}

// EndpointPolicy gives the policy in force for an endpoint: its own; else that of its service in its region, or in the nearest region above;
// else its service's.
func (s *Service) EndpointPolicy(ctx context.Context, endpointID string) (*PolicyBlob, error) {
	p := &PolicyBlob{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		e := Endpoint{}
		if err := get(ctx, tx, &e, "endpoint", endpointID, `SELECT * FROM identity_endpoints WHERE id = ?`, endpointID); err != nil {
			return err
		}
		return policyOf(ctx, tx, e, p)
	})
	return p, err
}

func policyOf(ctx context.Context, tx *db.Tx, e Endpoint, p *PolicyBlob) error {
	try := []PolicyTarget{{EndpointID: e.ID}}
	for at := e.RegionID; at != nil; {
		try = append(try, PolicyTarget{ServiceID: e.ServiceID, RegionID: *at})
		r := Region{}
		if err := tx.Get(ctx, &r, `SELECT * FROM identity_regions WHERE id = ?`, *at); err != nil {
			return err
		}
		at = r.ParentID
	}
	try = append(try, PolicyTarget{ServiceID: e.ServiceID})
	for _, t := range try {
		err := tx.Get(ctx, p, `SELECT * FROM identity_policies WHERE id = (SELECT policy_id FROM identity_policy_associations WHERE`+policyTargetIs+`)`,
			t.EndpointID, t.ServiceID, t.RegionID)
		if !errors.Is(err, db.ErrNoRows) {
			return err
		}
	}
	return fault.NotFound("Could not find policy for endpoint %s.", e.ID)
}

// PolicyEndpoints lists the endpoints for which a policy is the one in force.
func (s *Service) PolicyEndpoints(ctx context.Context, id string) ([]Endpoint, error) {
	var out []Endpoint
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if err := policyByID(ctx, tx, id, &PolicyBlob{}); err != nil {
			return err
		}
		var all []Endpoint
		if err := tx.Select(ctx, &all, `SELECT * FROM identity_endpoints ORDER BY id`); err != nil {
			return err
		}
		for _, e := range all {
			p := PolicyBlob{}
			err := policyOf(ctx, tx, e, &p)
			if err != nil && !fault.IsNotFound(err) {
				return err
			}
			if p.ID == id {
				out = append(out, e)
			}
		}
		return nil
	})
	return out, err
}
