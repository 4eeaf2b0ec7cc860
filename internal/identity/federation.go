package identity

import (
	"context"
	"encoding/json"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Kinds of federation records.
const (
	IdentityProvider = "identity_provider"
	Mapping          = "mapping"
	Protocol         = "protocol" // below an identity provider
	ServiceProvider  = "service_provider"
)

// FederationRecord is what OS-FEDERATION keeps about partners. nephos stores and checks the records; the log-in through a partner itself
// (methods saml2, openid, mapped) is left out and answers that the method is not supported.
type FederationRecord struct {
	Kind   string         `db:"kind"`
	Parent string         `db:"parent_id"` // the identity provider of a protocol
	ID     string         `db:"id"`        // chosen by the client
	Doc    db.JSON[Extra] `db:"doc"`
}

var federationNouns = map[string]string{IdentityProvider: "identity provider", Mapping: "mapping", Protocol: "federated protocol", ServiceProvider: "service provider"}

// CreateFederation stores a record; 409 if there is one, 404 for a protocol of an unknown provider, 400 for one of an unknown mapping.
func (s *Service) CreateFederation(ctx context.Context, r FederationRecord) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if err := checkFederation(ctx, tx, &r); err != nil {
			return err
		}
		err := tx.Insert(ctx, "identity_federation", r)
		if db.IsUnique(err) {
			return fault.Conflict("Conflict occurred attempting to store %s - Duplicate entry found with ID %s.", federationNouns[r.Kind], r.ID)
		}
		return err
	})
}

func checkFederation(ctx context.Context, tx *db.Tx, r *FederationRecord) error {
	if r.Kind == Protocol {
		if _, err := federationByID(ctx, tx, IdentityProvider, "", r.Parent); err != nil {
			return err
		}
		var mapping string
		if json.Unmarshal(r.Doc.V["mapping_id"], &mapping) == nil {
			_, err := federationByID(ctx, tx, Mapping, "", mapping)
			return asInvalid("mapping_id", err)
		}
	}
	var domain string
	if r.Kind == IdentityProvider && json.Unmarshal(r.Doc.V["domain_id"], &domain) == nil && domain != "" {
		return checkDomain(ctx, tx, domain)
	}
	return nil
}

// Federation looks a record up.
func (s *Service) Federation(ctx context.Context, kind, parent, id string) (*FederationRecord, error) {
	var r *FederationRecord
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		r, err = federationByID(ctx, tx, kind, parent, id)
		return err
	})
	return r, err
}

func federationByID(ctx context.Context, tx *db.Tx, kind, parent, id string) (*FederationRecord, error) {
	r := &FederationRecord{}
	return r, get(ctx, tx, r, federationNouns[kind], id, `SELECT * FROM identity_federation WHERE kind = ? AND parent_id = ? AND id = ?`, kind, parent, id)
}

// Federations lists the records of a kind.
func (s *Service) Federations(ctx context.Context, kind, parent string) ([]FederationRecord, error) {
	var out []FederationRecord
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if parent != "" {
			if _, err := federationByID(ctx, tx, IdentityProvider, "", parent); err != nil {
				return err
			}
		}
		return tx.Select(ctx, &out, `SELECT * FROM identity_federation WHERE kind = ? AND parent_id = ? ORDER BY id`, kind, parent)
	})
	return out, err
}

// UpdateFederation changes a record by edit, which must not change its place.
func (s *Service) UpdateFederation(ctx context.Context, kind, parent, id string, edit func(Extra) error) (*FederationRecord, error) {
	var r *FederationRecord
	err := s.write(ctx, func(tx *db.Tx) (err error) {
		if r, err = federationByID(ctx, tx, kind, parent, id); err != nil {
			return err
		}
		if err := edit(r.Doc.V); err != nil {
			return err
		}
		if err := checkFederation(ctx, tx, r); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE identity_federation SET doc = ? WHERE kind = ? AND parent_id = ? AND id = ?`, r.Doc, kind, parent, id)
		return err
	})
	return r, err
}

// DeleteFederation removes a record; of an identity provider its protocols too.
func (s *Service) DeleteFederation(ctx context.Context, kind, parent, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if kind == IdentityProvider {
			if _, err := tx.Exec(ctx, `DELETE FROM identity_federation WHERE kind = ? AND parent_id = ?`, Protocol, id); err != nil {
				return err
			}
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_federation WHERE kind = ? AND parent_id = ? AND id = ?`, kind, parent, id)
		return affected(n, err, federationNouns[kind], id)
	})
}
