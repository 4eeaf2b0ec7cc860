package api

import (
	"net/url"
	"strconv"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/placement"
)

// candidateParams are the parameters by the microversion that brought them.
var candidateParams = map[string]int{"resources": 10, "limit": 16, "required": 17, "member_of": 21, "group_policy": 25, "in_tree": 31, "root_required": 35, "same_subtree": 36}

// checkCandidateQuery refuses what is unknown at this microversion, repeated, or left out here.
func checkCandidateQuery(q url.Values, v httpapi.Version) error {
	for name, values := range q {
		since, ok := candidateParams[name]
		if !ok {
			for _, base := range []string{"resources", "required", "member_of", "in_tree"} {
				if strings.HasPrefix(name, base) && v.AtLeast(httpapi.V(1, 25)) {
					return fault.Invalid(name, "Invalid query string parameters: granular request groups (%s) are not served here; ask for all resources in one group.", name).WithType(badValue)
				}
			}
		}
		if !ok || !v.AtLeast(httpapi.V(1, since)) {
			return fault.Invalid(name, "Invalid query string parameters: '%s' is not known at microversion %s.", name, v).WithType(badValue)
		}
		if name == "root_required" || name == "same_subtree" {
			return fault.Invalid(name, "Invalid query string parameters: %s is not served here.", name).WithType(badValue)
		}
		many := name == "member_of" && v.AtLeast(httpapi.V(1, 24)) || name == "required" && v.AtLeast(httpapi.V(1, 39))
		if len(values) > 1 && !many {
			return fault.Invalid(name, "Query parameter '%s' may be given once only.", name).WithType("placement.query.duplicate_key")
		}
	}
	if q.Get("resources") == "" {
		return fault.Invalid("resources", "At least one request group (`resources` or `resources{$S}`) is required.").WithType("placement.query.missing_value")
	}
	if p := q.Get("group_policy"); p != "" && p != "none" && p != "isolate" {
		return badQuery("group_policy", `expected "none" or "isolate", got "%s"`, p)
	}
	return nil
}

func (s *server) candidates(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	if err := checkCandidateQuery(q, r.Version); err != nil {
		return nil, err
	}
	limit := 0
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, badQuery("limit", `expected an integer of 1 or more, got "%s"`, text)
		}
		limit = n
	}
	requests, summaries := []any{}, map[string]any{}
	err := s.read(r, func(tx *db.Tx) error {
		f, err := filter(r.Context(), tx, r, q)
		if err != nil {
			return err
		}
		f.Limit = limit
		found, err := placement.Query(r.Context(), tx, f)
		if err != nil || len(found) == 0 {
			return err
		}
		ids := make([]string, len(found))
		for i, p := range found {
			ids[i] = p.ID
		}
		detail, err := placement.Details(r.Context(), tx, ids)
		for _, p := range found {
			requests = append(requests, candidateView(r, p.ID, f.Resources))
			summaries[p.ID] = summaryView(r, p, detail[p.ID], f.Resources)
		}
		return err
	})
	return map[string]any{"allocation_requests": requests, "provider_summaries": summaries}, err
}

func candidateView(r *httpapi.Request, id string, resources map[string]int64) map[string]any {
	if !r.Version.AtLeast(httpapi.V(1, 12)) {
		return map[string]any{"allocations": []any{map[string]any{"resource_provider": map[string]any{"uuid": id}, "resources": resources}}}
	}
	out := map[string]any{"allocations": map[string]any{id: map[string]any{"resources": resources}}}
	if r.Version.AtLeast(httpapi.V(1, 34)) {
		out["mappings"] = map[string]any{"": []string{id}}
	}
	return out
}

// summaryView shows capacity and use: of the classes asked for, from 1.27 on of all.
func summaryView(r *httpapi.Request, p placement.Provider, d placement.Detail, asked map[string]int64) map[string]any {
	resources := map[string]any{}
	for _, i := range d.Inventories {
		if _, ok := asked[i.Class]; ok || r.Version.AtLeast(httpapi.V(1, 27)) {
			resources[i.Class] = map[string]any{"capacity": i.Capacity, "used": i.Used}
		}
	}
	out := map[string]any{"resources": resources}
	if r.Version.AtLeast(httpapi.V(1, 17)) {
		out["traits"] = append([]string{}, d.Traits...)
	}
	if r.Version.AtLeast(httpapi.V(1, 29)) {
		out["root_provider_uuid"], out["parent_provider_uuid"] = p.RootID, nil
		if p.ParentID != "" {
			out["parent_provider_uuid"] = p.ParentID
		}
	}
	return out
}
