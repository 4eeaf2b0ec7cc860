package api

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/placement"
)

const missingValue = "placement.query.missing_value"

// wideParams are the parameters of the whole request by the microversion that brought them; groupParams those of a group, which from 1.25 on may carry a suffix.
var (
	wideParams  = map[string]int{"limit": 16, "group_policy": 25, "root_required": 35, "same_subtree": 36}
	groupParams = map[string]int{"resources": 10, "required": 17, "member_of": 21, "in_tree": 31}
	groupParam  = regexp.MustCompile(`^(resources|required|member_of|in_tree)(.*)$`)
	oldSuffix   = regexp.MustCompile(`^[1-9][0-9]*$`)
	newSuffix   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
)

// splitGroups sorts the parameters by their suffixes and refuses what is unknown at this microversion or repeated.
func splitGroups(q url.Values, v httpapi.Version) (wide url.Values, groups map[string]url.Values, err error) {
	wide, groups = url.Values{}, map[string]url.Values{}
	for name, values := range q {
		since, ok := wideParams[name]
		if ok && v.AtLeast(httpapi.V(1, since)) {
			if len(values) > 1 && name != "same_subtree" {
				return nil, nil, repeated(name)
			}
			wide[name] = values
			continue
		}
		m := groupParam.FindStringSubmatch(name)
		if ok || m == nil || !v.AtLeast(httpapi.V(1, groupParams[m[1]])) || !suffixKnown(m[2], v) {
			return nil, nil, fault.Invalid(name, "Invalid query string parameters: '%s' is not known at microversion %s.", name, v).WithType(badValue)
		}
		many := m[1] == "member_of" && v.AtLeast(httpapi.V(1, 24)) || m[1] == "required" && v.AtLeast(httpapi.V(1, 39))
		if len(values) > 1 && !many {
			return nil, nil, repeated(name)
		}
		if groups[m[2]] == nil {
			groups[m[2]] = url.Values{}
		}
		groups[m[2]][m[1]] = values
	}
	return wide, groups, nil
}

func suffixKnown(suffix string, v httpapi.Version) bool {
	switch {
	case suffix == "":
		return true
	case v.AtLeast(httpapi.V(1, 33)):
		return newSuffix.MatchString(suffix)
	}
	return v.AtLeast(httpapi.V(1, 25)) && oldSuffix.MatchString(suffix)
}

func repeated(name string) error {
	return fault.Invalid(name, "Query parameter '%s' may be given once only.", name).WithType("placement.query.duplicate_key")
}

// wish reads the query of allocation_candidates.
func wish(ctx context.Context, tx *db.Tx, r *httpapi.Request) (placement.Wish, error) {
	w := placement.Wish{Flat: !r.Version.AtLeast(httpapi.V(1, 29))}
	wide, groups, err := splitGroups(r.URL.Query(), r.Version)
	if err != nil {
		return w, err
	}
	if err := readWide(ctx, tx, &w, wide, groups); err != nil {
		return w, err
	}
	granular, demanding := 0, 0
	for suffix, q := range groups {
		f, err := filter(ctx, tx, r, q)
		if err != nil {
			return w, err
		}
		subtree := suffix != "" && slices.ContainsFunc(w.SameSubtree, func(l []string) bool { return slices.Contains(l, suffix) })
		if len(f.Resources) == 0 && !subtree {
			if suffix == "" && len(q) == 0 {
				continue
			}
			return w, orphan(suffix, q)
		}
		if len(f.Resources) > 0 {
			demanding++
			if suffix != "" && !subtree {
				granular++
			}
		}
		w.Groups = append(w.Groups, placement.Group{Suffix: suffix, Resources: f.Resources, Required: f.Required, Forbidden: f.Forbidden, MemberOf: f.MemberOf, NotMember: f.NotMember, InTree: canonicalOr(f.InTree)})
	}
	slices.SortFunc(w.Groups, func(a, b placement.Group) int { return strings.Compare(a.Suffix, b.Suffix) })
	if demanding == 0 {
		return w, fault.Invalid("resources", "At least one request group (`resources` or `resources{$S}`) is required.").WithType(missingValue)
	}
	if granular > 1 && wide.Get("group_policy") == "" {
		return w, fault.Invalid("group_policy", `The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.`).WithType(missingValue)
	}
	return w, nil
}

func canonicalOr(id string) string {
	if id == "" {
		return ""
	}
	return canonical(id)
}

func orphan(suffix string, q url.Values) error {
	for _, name := range []string{"required", "member_of", "in_tree"} {
		if q.Has(name) {
			return fault.Invalid(name+suffix, "All %s parameters must be associated with resources. Found the following orphaned keys: %s", name, name+suffix).WithType(badValue)
		}
	}
	return fault.Invalid("resources"+suffix, "At least one request group (`resources` or `resources{$S}`) is required.").WithType(missingValue)
}

// readWide reads the parameters that concern the request as a whole.
func readWide(ctx context.Context, tx *db.Tx, w *placement.Wish, q url.Values, groups map[string]url.Values) error {
	if text := q.Get("limit"); q.Has("limit") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return badQuery("limit", `expected an integer of 1 or more, got "%s"`, text)
		}
		w.Limit = n
	}
	if p := q.Get("group_policy"); q.Has("group_policy") && p != "none" && p != "isolate" {
		return badQuery("group_policy", `expected "none" or "isolate", got "%s"`, p)
	}
	w.Isolate = q.Get("group_policy") == "isolate"
	if text := q.Get("root_required"); q.Has("root_required") {
		var f placement.Filter
		if err := readRequired(&f, text, httpapi.V(1, 38)); err != nil { // never in:
			return err
		}
		if err := known(ctx, tx, f); err != nil {
			return err
		}
		for _, anyOf := range f.Required {
			w.RootRequired = append(w.RootRequired, anyOf...)
		}
		w.RootForbidden = f.Forbidden
	}
	for _, text := range q["same_subtree"] {
		list := strings.Split(text, ",")
		for _, suffix := range list {
			if suffix == "" {
				return badQuery("same_subtree", "Empty string (unsuffixed group) can not be specified in `same_subtree`")
			}
			if groups[suffix] == nil {
				return badQuery("same_subtree", "Real suffixes should be specified in `same_subtree`: %s not found in %s", suffix, strings.Join(suffixesOf(groups), ", "))
			}
		}
		w.SameSubtree = append(w.SameSubtree, list)
	}
	return nil
}

func suffixesOf(groups map[string]url.Values) []string {
	var out []string
	for s := range groups {
		if s != "" {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

func (s *server) candidates(r *httpapi.Request) (any, error) {
	requests, summaries := []any{}, map[string]any{}
	err := s.read(r, func(tx *db.Tx) error {
		w, err := wish(r.Context(), tx, r)
		if err != nil {
			return err
		}
		found, err := placement.Candidates(r.Context(), tx, w)
		if err != nil || len(found) == 0 {
			return err
		}
		used, asked := map[string]bool{}, map[string]bool{}
		for _, c := range found {
			requests = append(requests, candidateView(r, c))
			for id := range c.Resources {
				used[id] = true
			}
		}
		for _, g := range w.Groups {
			for class := range g.Resources {
				asked[class] = true
			}
		}
		return summarize(r, tx, used, asked, summaries)
	})
	return map[string]any{"allocation_requests": requests, "provider_summaries": summaries}, err
}

// summarize describes the providers of the candidates, from 1.29 on with all others of their trees.
func summarize(r *httpapi.Request, tx *db.Tx, used, asked map[string]bool, out map[string]any) error {
	ids := make([]string, 0, len(used))
	for id := range used {
		ids = append(ids, id)
	}
	all, err := placement.Trees(r.Context(), tx, ids)
	if err != nil {
		return err
	}
	if !r.Version.AtLeast(httpapi.V(1, 29)) {
		all = slices.DeleteFunc(all, func(p placement.Provider) bool { return !used[p.ID] })
	}
	ids = ids[:0]
	for _, p := range all {
		ids = append(ids, p.ID)
	}
	detail, err := placement.Details(r.Context(), tx, ids)
	for _, p := range all {
		out[p.ID] = summaryView(r, p, detail[p.ID], asked)
	}
	return err
}

func candidateView(r *httpapi.Request, c placement.Candidate) map[string]any {
	if !r.Version.AtLeast(httpapi.V(1, 12)) {
		list := []any{}
		for id, resources := range c.Resources {
			list = append(list, map[string]any{"resource_provider": map[string]any{"uuid": id}, "resources": resources})
		}
		return map[string]any{"allocations": list}
	}
	byProvider := map[string]any{}
	for id, resources := range c.Resources {
		byProvider[id] = map[string]any{"resources": resources}
	}
	out := map[string]any{"allocations": byProvider}
	if r.Version.AtLeast(httpapi.V(1, 34)) {
		out["mappings"] = c.Mappings
	}
	return out
}

// summaryView shows capacity and use: of the classes asked for, from 1.27 on of all.
func summaryView(r *httpapi.Request, p placement.Provider, d placement.Detail, asked map[string]bool) map[string]any {
	resources := map[string]any{}
	for _, i := range d.Inventories {
		if asked[i.Class] || r.Version.AtLeast(httpapi.V(1, 27)) {
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
