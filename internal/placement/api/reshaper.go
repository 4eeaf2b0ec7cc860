package api

import (
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/placement"
)

// reshape moves inventories and allocations between providers of trees in one step.
func (s *server) reshape(r *httpapi.Request) (any, error) {
	var in struct {
		Inventories map[string]struct {
			Generation  int64                   `json:"resource_provider_generation"`
			Inventories map[string]inventoryDoc `json:"inventories"`
		} `json:"inventories"`
		Allocations map[string]allocationDoc `json:"allocations"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	var shapes []placement.Shape
	var classes []string
	seen := map[string]bool{}
	for id, doc := range in.Inventories {
		shape := placement.Shape{ProviderID: canonical(id), Generation: doc.Generation}
		if seen[shape.ProviderID] {
			return nil, fault.Invalid("inventories", "resource provider %s is there twice", shape.ProviderID)
		}
		seen[shape.ProviderID] = true
		for class, d := range doc.Inventories {
			i, err := d.inventory(r, class)
			if err != nil {
				return nil, err
			}
			shape.Inventories, classes = append(shape.Inventories, i), append(classes, class)
		}
		shapes = append(shapes, shape)
	}
	demands, err := demandsOf(r, in.Allocations)
	if err != nil {
		return nil, err
	}
	err = s.allocate(r, demands, func(tx *db.Tx) error {
		if err := placement.Classes.Require(r.Context(), tx, classes); err != nil {
			return err
		}
		return placement.Reshape(r.Context(), tx, shapes, demands)
	})
	if err == nil {
		ids := make([]string, 0, len(seen))
		for id := range seen {
			ids = append(ids, id)
		}
		s.changed(r.Context(), ids)
	}
	return nil, err
}
