package api

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// control are query parameters that are not filters.
var control = []string{"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse", "tags", "tags-any", "not-tags", "not-tags-any"}

// keep says whether a view passes the filters of the query: values of one key are alternatives, keys are all to hold. A key that is no attribute is
// not looked at, as Neutron does without filter-validation.
func (s *spec) keep(view map[string]any, q url.Values) bool {
	for key, values := range q {
		if slices.Contains(control, key) {
			continue
		}
		have, ok := view[key]
		if !ok {
			continue
		}
		if key == "fixed_ips" {
			if !matchFixed(have, values) {
				return false
			}
			continue
		}
		if !slices.ContainsFunc(values, func(v string) bool { return match(have, v) }) {
			return false
		}
	}
	return keepTags(view, q)
}

func match(have any, want string) bool {
	switch h := have.(type) {
	case nil:
		return want == "" || want == "None" || want == "null"
	case string:
		return h == want
	case bool:
		w, err := strconv.ParseBool(strings.ToLower(want))
		return err == nil && w == h
	case []string:
		return slices.Contains(h, want)
	case fmt.Stringer:
		return h.String() == want
	}
	return fmt.Sprint(have) == want
}

// matchFixed is the nested form: fixed_ips=ip_address=10.0.0.3&fixed_ips=subnet_id=…, and ip_address_substr. Values of one kind are alternatives.
func matchFixed(have any, wants []string) bool {
	list, _ := have.([]map[string]any)
	byKey := map[string][]string{}
	for _, w := range wants {
		k, v, _ := strings.Cut(w, "=")
		byKey[k] = append(byKey[k], v)
	}
	return slices.ContainsFunc(list, func(f map[string]any) bool {
		for k, vs := range byKey {
			if !slices.ContainsFunc(vs, func(v string) bool {
				if k == "ip_address_substr" {
					return strings.Contains(fmt.Sprint(f["ip_address"]), v)
				}
				return fmt.Sprint(f[k]) == v
			}) {
				return false
			}
		}
		return true
	})
}

func keepTags(view map[string]any, q url.Values) bool {
	tags, _ := view["tags"].([]string)
	given := func(key string) []string {
		var out []string
		for _, v := range q[key] {
			out = append(out, strings.Split(v, ",")...)
		}
		return out
	}
	all := func(want []string) bool {
		return !slices.ContainsFunc(want, func(t string) bool { return !slices.Contains(tags, t) })
	}
	some := func(want []string) bool {
		return slices.ContainsFunc(want, func(t string) bool { return slices.Contains(tags, t) })
	}
	if w := given("tags"); len(w) > 0 && !all(w) {
		return false
	}
	if w := given("tags-any"); len(w) > 0 && !some(w) {
		return false
	}
	if w := given("not-tags"); len(w) > 0 && all(w) {
		return false
	}
	if w := given("not-tags-any"); len(w) > 0 && some(w) {
		return false
	}
	return true
}

// order sorts by the pairs of sort_key and sort_dir.
func (s *spec) order(views []map[string]any, q url.Values) error {
	keys, dirs := q["sort_key"], q["sort_dir"]
	if len(keys) == 0 {
		return nil
	}
	if len(dirs) != 0 && len(dirs) != len(keys) {
		return fault.Invalid("sort_key", "The number of sort_keys and sort_dirs must be same").WithType("HTTPBadRequest")
	}
	for i, k := range keys {
		if a := s.attr(k); a == nil || a.kind >= kStrings {
			return fault.Invalid("sort_key", "['%s'] is invalid attribute for sort_key", k).WithType("HTTPBadRequest")
		}
		if len(dirs) > 0 && dirs[i] != "asc" && dirs[i] != "desc" {
			return fault.Invalid("sort_dir", "The value of sort_dir must be 'asc' or 'desc', not '%s'", dirs[i]).WithType("HTTPBadRequest")
		}
	}
	sort.SliceStable(views, func(a, b int) bool {
		for i, k := range keys {
			c := compare(views[a][k], views[b][k])
			if len(dirs) > 0 && dirs[i] == "desc" {
				c = -c
			}
			if c != 0 {
				return c < 0
			}
		}
		return fmt.Sprint(views[a]["id"]) < fmt.Sprint(views[b]["id"])
	})
	return nil
}

func compare(a, b any) int {
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(text(a), text(b))
}

func number(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	}
	return 0, false
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// page cuts the list by limit, marker and page_reverse and gives the links for it (nil when there was no limit).
func (s *spec) page(r *httpapi.Request, views []map[string]any) ([]map[string]any, []map[string]any, error) {
	q := r.URL.Query()
	limit := 0
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, nil, fault.Invalid("limit", "Limit must be an integer 0 or greater and not '%s'", v).WithType("HTTPBadRequest")
		}
		limit = n
	}
	reverse, _ := strconv.ParseBool(strings.ToLower(q.Get("page_reverse")))
	start, end := 0, len(views)
	if m := q.Get("marker"); m != "" {
		i := slices.IndexFunc(views, func(v map[string]any) bool { return v["id"] == m })
		if i < 0 {
			return nil, nil, fault.NotFound("%s %s could not be found.", s.name, m).WithType("HTTPNotFound")
		}
		if reverse {
			end = i
		} else {
			start = i + 1
		}
	}
	if limit > 0 {
		if reverse {
			start = max(start, end-limit)
		} else {
			end = min(end, start+limit)
		}
	}
	out := views[start:end]
	if limit == 0 || len(out) == 0 {
		return out, nil, nil
	}
	var links []map[string]any
	link := func(rel, marker string, reverse bool) {
		p := r.URL.Query()
		p.Set("marker", marker)
		p.Del("page_reverse")
		if reverse {
			p.Set("page_reverse", "True")
		}
		links = append(links, map[string]any{"rel": rel, "href": r.HostURL() + r.Mount.Prefix + r.URL.Path + "?" + p.Encode()})
	}
	if end < len(views) {
		link("next", text(out[len(out)-1]["id"]), false)
	}
	if start > 0 {
		link("previous", text(out[0]["id"]), true)
	}
	return out, links, nil
}

// project keeps the fields that were asked for.
func project(view map[string]any, fields []string) map[string]any {
	if len(fields) == 0 || len(fields) == 1 && fields[0] == "" {
		return view
	}
	out := make(map[string]any, len(fields))
	for _, f := range fields {
		for _, name := range strings.Split(f, ",") {
			if v, ok := view[name]; ok {
				out[name] = v
			}
		}
	}
	return out
}
