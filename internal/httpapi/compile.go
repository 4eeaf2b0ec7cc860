package httpapi

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// row is a compiled Route.
type row struct {
	*Route
	body, query []compiled
}

// place is all rows that share a path pattern.
type place struct{ rows []*row }

// table finds the place of a path. Two muxes because Root paths are absolute and Routes are relative to a mount.
type table struct {
	svc          *Service
	root, routes *http.ServeMux
	ledger       map[string][]Change // by resource, newest first
	mounts       []Mount             // longest prefix first
}

// Compile checks the tables (unknown policy rules, rows that clash; schemas are compiled when they are needed, see CheckSchemas) and returns the service's handler.
func (s *Service) Compile() (http.Handler, error) {
	t := &table{svc: s, root: http.NewServeMux(), routes: http.NewServeMux(), ledger: map[string][]Change{}}
	t.mounts = slices.Clone(s.Mounts)
	sort.SliceStable(t.mounts, func(i, j int) bool { return len(t.mounts[i].Prefix) > len(t.mounts[j].Prefix) })
	for _, c := range s.Ledger {
		t.ledger[c.Resource] = append(t.ledger[c.Resource], c)
	}
	for _, cs := range t.ledger {
		sort.SliceStable(cs, func(i, j int) bool { return cs[j].At.Less(cs[i].At) })
	}
	doc := s.documentRoute()
	if err := t.fill(t.root, append(slices.Clone(s.Root), doc)); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	if err := t.fill(t.routes, append(slices.Clone(s.Routes), doc)); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	return t, nil
}

func (t *table) fill(mux *http.ServeMux, routes []Route) (err error) {
	defer func() { // ServeMux reports clashing patterns by panicking
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	places := map[string]*place{}
	for i := range routes {
		rt := &routes[i]
		if rt.Handler == nil {
			return fmt.Errorf("route %s %s has no handler", rt.Method, rt.Path)
		}
		if rt.Rule != "" && !t.svc.Policy.Known(rt.Rule) {
			return fmt.Errorf("route %s: unknown policy rule %q", rt.Name, rt.Rule)
		}
		r := &row{Route: rt, body: rt.Body.compile(rt.Name + "-body"), query: rt.Query.compile(rt.Name + "-query")}
		p := places[rt.Path]
		if p == nil {
			p = &place{}
			places[rt.Path] = p
			pattern := rt.Path
			if pattern == "/" {
				pattern = "/{$}"
			}
			mux.Handle(pattern, placeHandler{p})
		}
		p.rows = append(p.rows, r)
	}
	return nil
}

// placeHandler lets a ServeMux carry a place; it is looked up, never served.
type placeHandler struct{ *place }

func (placeHandler) ServeHTTP(http.ResponseWriter, *http.Request) {}

var projectSegment = regexp.MustCompile(`^[0-9a-f-]{32,36}$`)

// split finds the mount of a path, the project segment, and the rest that Routes are written in.
func (t *table) split(path string) (m Mount, project, rest string, ok bool) {
	for _, m := range t.mounts {
		rest, found := strings.CutPrefix(path, m.Prefix)
		if !found || rest != "" && rest[0] != '/' {
			continue
		}
		if rest == "" {
			rest = "/"
		}
		if m.Project == ProjectNone {
			return m, "", rest, true
		}
		first, tail, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		if m.Project == ProjectRequired || projectSegment.MatchString(first) {
			if tail == "" {
				return m, first, "/", true
			}
			return m, first, "/" + tail, true
		}
		return m, "", rest, true
	}
	return Mount{}, "", "", false
}
