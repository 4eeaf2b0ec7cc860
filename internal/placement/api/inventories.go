package api

import (
	"math"
	"net/http"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/placement"
)

// inventoryDoc is an inventory in a body. The generation is a pointer because 0 is a generation.
type inventoryDoc struct {
	Class      string   `json:"resource_class,omitempty"`
	Generation *int64   `json:"resource_provider_generation,omitempty"`
	Total      int64    `json:"total"`
	Reserved   int64    `json:"reserved"`
	MinUnit    int64    `json:"min_unit"`
	MaxUnit    int64    `json:"max_unit"`
	StepSize   int64    `json:"step_size"`
	Ratio      *float64 `json:"allocation_ratio"`
}

// inventory fills in the defaults. A reserve of all there is is allowed from 1.26 on.
func (d inventoryDoc) inventory(r *httpapi.Request, class string) (placement.Inventory, error) {
	i := placement.Inventory{Class: class, Total: d.Total, Reserved: d.Reserved, MinUnit: max(1, d.MinUnit), MaxUnit: d.MaxUnit, StepSize: max(1, d.StepSize), Ratio: 1}
	if i.MaxUnit == 0 {
		i.MaxUnit = math.MaxInt32
	}
	if d.Ratio != nil {
		i.Ratio = *d.Ratio
	}
	// The capacity must stay a number that a claim can be compared with.
	if float64(i.Total)*i.Ratio > 1<<53 {
		return i, fault.Invalid("allocation_ratio", "Invalid inventory for '%s': total times allocation_ratio is too large.", class)
	}
	if i.Reserved > i.Total || i.Reserved == i.Total && !r.Version.AtLeast(httpapi.V(1, 26)) {
		return i, fault.Invalid("reserved", "Invalid inventory for '%s': reserved is %d of a total of %d.", class, i.Reserved, i.Total)
	}
	return i, nil
}

func inventoryView(i placement.Inventory) map[string]any {
	return map[string]any{"total": i.Total, "reserved": i.Reserved, "min_unit": i.MinUnit, "max_unit": i.MaxUnit, "step_size": i.StepSize, "allocation_ratio": i.Ratio}
}

func inventoriesView(r *httpapi.Request, tx *db.Tx, id string) (map[string]any, error) {
	invs, err := placement.Inventories(r.Context(), tx, id)
	out := map[string]any{}
	for _, i := range invs {
		out[i.Class] = inventoryView(i)
	}
	return map[string]any{"inventories": out}, err
}

func (s *server) listInventories(r *httpapi.Request) (any, error) {
	return s.of(r, s.read, func(tx *db.Tx, id string) (map[string]any, error) { return inventoriesView(r, tx, id) })
}

func (s *server) replaceInventories(r *httpapi.Request) (any, error) {
	var in struct {
		Generation  int64                   `json:"resource_provider_generation"`
		Inventories map[string]inventoryDoc `json:"inventories"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	var invs []placement.Inventory
	var classes []string
	for class, d := range in.Inventories {
		i, err := d.inventory(r, class)
		if err != nil {
			return nil, err
		}
		invs, classes = append(invs, i), append(classes, class)
	}
	return s.of(r, s.change, func(tx *db.Tx, id string) (map[string]any, error) {
		if err := placement.Classes.Require(r.Context(), tx, classes); err != nil {
			return nil, err
		}
		if err := placement.ReplaceInventories(r.Context(), tx, id, in.Generation, invs); err != nil {
			return nil, err
		}
		return inventoriesView(r, tx, id)
	})
}

func (s *server) createInventory(r *httpapi.Request) (any, error) {
	out, err := s.putInventory(r, "", true)
	if err != nil {
		return nil, err
	}
	var in inventoryDoc
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	return &httpapi.Response{Header: http.Header{"Location": {r.Link("resource_providers", canonical(r.Param("id")), "inventories", in.Class)}}, Body: out}, nil
}

func (s *server) updateInventory(r *httpapi.Request) (any, error) {
	return s.putInventory(r, r.Param("class"), false)
}

func (s *server) putInventory(r *httpapi.Request, class string, create bool) (any, error) {
	var in inventoryDoc
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	if create {
		class = in.Class
	}
	generation := int64(-1)
	if in.Generation != nil {
		generation = *in.Generation
	}
	inv, err := in.inventory(r, class)
	if err != nil {
		return nil, err
	}
	return s.of(r, s.change, func(tx *db.Tx, id string) (map[string]any, error) {
		if err := placement.Classes.Require(r.Context(), tx, []string{class}); err != nil {
			return nil, err
		}
		if err := placement.PutInventory(r.Context(), tx, id, generation, inv, create); err != nil {
			return nil, err
		}
		return inventoryView(inv), nil
	})
}

func (s *server) showInventory(r *httpapi.Request) (any, error) {
	return s.of(r, s.read, func(tx *db.Tx, id string) (map[string]any, error) {
		i, err := placement.GetInventory(r.Context(), tx, id, r.Param("class"))
		return inventoryView(i), err
	})
}

func (s *server) deleteInventory(r *httpapi.Request) (any, error) {
	return s.of(r, s.change, func(tx *db.Tx, id string) (map[string]any, error) {
		return nil, placement.DeleteInventory(r.Context(), tx, id, r.Param("class"))
	})
}

func (s *server) providerUsages(r *httpapi.Request) (any, error) {
	return s.of(r, s.read, func(tx *db.Tx, id string) (map[string]any, error) {
		invs, err := placement.Inventories(r.Context(), tx, id)
		out := map[string]int64{}
		for _, i := range invs {
			out[i.Class] = i.Used
		}
		return map[string]any{"usages": out}, err
	})
}

func (s *server) providerAllocations(r *httpapi.Request) (any, error) {
	return s.of(r, s.read, func(tx *db.Tx, id string) (map[string]any, error) {
		rows, err := placement.AllocationsOn(r.Context(), tx, id)
		out := map[string]map[string]any{}
		for _, a := range rows {
			c := out[a.ConsumerID]
			if c == nil {
				c = map[string]any{"resources": map[string]int64{}}
				if r.Version.AtLeast(httpapi.V(1, 28)) {
					c["consumer_generation"] = a.Generation
				}
				out[a.ConsumerID] = c
			}
			c["resources"].(map[string]int64)[a.Class] = a.Used
		}
		return map[string]any{"allocations": out}, err
	})
}
