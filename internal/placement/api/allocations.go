package api

import (
	"encoding/json"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/placement"
)

// unknownOwner stands for project and user before 1.8, which had none (Placement's incomplete_consumer_project_id).
const unknownOwner = "00000000-0000-0000-0000-000000000000"

type providerResources struct {
	Provider struct {
		UUID string `json:"uuid"`
	} `json:"resource_provider"`
	Resources map[string]int64 `json:"resources"`
}

// allocationDoc is the body for one consumer; Allocations is a list before 1.12, then a map by provider.
type allocationDoc struct {
	Allocations json.RawMessage `json:"allocations"`
	ProjectID   string          `json:"project_id"`
	UserID      string          `json:"user_id"`
	Generation  *int64          `json:"consumer_generation"`
	Type        string          `json:"consumer_type"`
}

func (d allocationDoc) demand(r *httpapi.Request, consumer string) (placement.Demand, error) {
	out := placement.Demand{Consumer: placement.Consumer{ID: canonical(consumer), ProjectID: d.ProjectID, UserID: d.UserID, Type: d.Type},
		Resources: map[string]map[string]int64{}, Checked: r.Version.AtLeast(httpapi.V(1, 28)), Expected: d.Generation}
	if out.ProjectID == "" {
		out.ProjectID, out.UserID = unknownOwner, unknownOwner
	}
	if r.Version.AtLeast(httpapi.V(1, 12)) {
		var byProvider map[string]providerResources
		if err := json.Unmarshal(d.Allocations, &byProvider); err != nil {
			return out, fault.Invalid("allocations", "malformed allocations: %v", err)
		}
		for id, a := range byProvider {
			out.Resources[canonical(id)] = a.Resources
		}
		return out, nil
	}
	var list []providerResources
	if err := json.Unmarshal(d.Allocations, &list); err != nil {
		return out, fault.Invalid("allocations", "malformed allocations: %v", err)
	}
	for _, a := range list {
		out.Resources[canonical(a.Provider.UUID)] = a.Resources
	}
	return out, nil
}

func (s *server) setAllocations(r *httpapi.Request) (any, error) {
	var in allocationDoc
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	d, err := in.demand(r, r.Param("consumer"))
	if err != nil {
		return nil, err
	}
	return nil, s.allocate(r, []placement.Demand{d}, func(tx *db.Tx) error { return placement.SetAllocations(r.Context(), tx, []placement.Demand{d}) })
}

func (s *server) bulkAllocations(r *httpapi.Request) (any, error) {
	var in map[string]allocationDoc
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	all, err := demandsOf(r, in)
	if err != nil {
		return nil, err
	}
	return nil, s.allocate(r, all, func(tx *db.Tx) error { return placement.SetAllocations(r.Context(), tx, all) })
}

// allocate runs fn in a write and tells of the providers that consumers took of before or take of now.
func (s *server) allocate(r *httpapi.Request, demands []placement.Demand, fn func(tx *db.Tx) error) error {
	var ids []string
	err := s.write(r, func(tx *db.Tx) error {
		ids = ids[:0]
		for _, d := range demands {
			held, err := placement.AllocationsOf(r.Context(), tx, d.ID)
			if err != nil {
				return err
			}
			for _, a := range held {
				ids = append(ids, a.ProviderID)
			}
			for id := range d.Resources {
				ids = append(ids, id)
			}
		}
		return fn(tx)
	})
	if err == nil {
		slices.Sort(ids)
		s.changed(r.Context(), slices.Compact(ids))
	}
	return err
}

// demandsOf reads the bodies of several consumers.
func demandsOf(r *httpapi.Request, in map[string]allocationDoc) ([]placement.Demand, error) {
	var all []placement.Demand
	seen := map[string]bool{}
	for consumer, doc := range in {
		d, err := doc.demand(r, consumer)
		if err != nil {
			return nil, err
		}
		if seen[d.ID] {
			return nil, fault.Invalid(consumer, "consumer %s is there twice", d.ID)
		}
		seen[d.ID] = true
		all = append(all, d)
	}
	return all, nil
}

// showAllocations answers an unknown consumer with no allocations, not with 404.
func (s *server) showAllocations(r *httpapi.Request) (any, error) {
	id := canonical(r.Param("consumer"))
	out := map[string]any{}
	err := s.read(r, func(tx *db.Tx) error {
		byProvider := map[string]map[string]any{}
		out = map[string]any{"allocations": byProvider}
		c, err := placement.GetConsumer(r.Context(), tx, id)
		if fault.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		rows, err := placement.AllocationsOf(r.Context(), tx, id)
		if err != nil {
			return err
		}
		for _, a := range rows {
			p := byProvider[a.ProviderID]
			if p == nil {
				rp, err := placement.GetProvider(r.Context(), tx, a.ProviderID)
				if err != nil {
					return err
				}
				p = map[string]any{"generation": rp.Generation, "resources": map[string]int64{}}
				byProvider[a.ProviderID] = p
			}
			p["resources"].(map[string]int64)[a.Class] = a.Used
		}
		if r.Version.AtLeast(httpapi.V(1, 12)) {
			out["project_id"], out["user_id"] = c.ProjectID, c.UserID
		}
		if r.Version.AtLeast(httpapi.V(1, 28)) {
			out["consumer_generation"] = c.Generation
		}
		if r.Version.AtLeast(httpapi.V(1, 38)) {
			out["consumer_type"] = c.Type
		}
		return nil
	})
	return out, err
}

func (s *server) deleteAllocations(r *httpapi.Request) (any, error) {
	id := canonical(r.Param("consumer"))
	return nil, s.allocate(r, []placement.Demand{{Consumer: placement.Consumer{ID: id}}}, func(tx *db.Tx) error {
		if _, err := placement.GetConsumer(r.Context(), tx, id); err != nil {
			return err
		}
		return placement.Release(r.Context(), tx, id)
	})
}

// usages sums what a project takes; from 1.38 on by consumer type, which may be given, be "all" (one sum) or be "unknown" (those
// whose type was never told: made before 1.38).
func (s *server) usages(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	var rows []placement.Usage
	err := s.read(r, func(tx *db.Tx) (err error) {
		rows, err = placement.UsageOf(r.Context(), tx, q.Get("project_id"), q.Get("user_id"))
		return err
	})
	if err != nil {
		return nil, err
	}
	if !r.Version.AtLeast(httpapi.V(1, 38)) {
		out := map[string]int64{}
		for _, u := range rows {
			out[u.Class] += u.Used
		}
		return map[string]any{"usages": out}, nil
	}
	wanted := q.Get("consumer_type")
	out, counted := map[string]map[string]int64{}, map[string]bool{}
	for _, u := range rows {
		if wanted != "" && wanted != "all" && wanted != u.Type {
			continue
		}
		key := u.Type
		if wanted == "all" {
			key = "all"
		}
		if out[key] == nil {
			out[key] = map[string]int64{}
		}
		out[key][u.Class] += u.Used
		if !counted[u.Type] {
			out[key]["consumer_count"] += u.Consumers
			counted[u.Type] = true
		}
	}
	return map[string]any{"usages": out}, nil
}
