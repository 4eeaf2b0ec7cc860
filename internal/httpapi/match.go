package httpapi

import (
	"net/http"
	"strings"
)

// Match finds the row that serves a call, as clients write its path; nil: none. action is the key of the body where rows of the path differ by it ("" takes
// the first). Of rows for several microversions it is the newest.
func (s *Service) Match(method, path, action string) *Route {
	t := &table{svc: s, mounts: s.Mounts}
	if r := matchIn(s.Root, method, path, action); r != nil {
		return r
	}
	if _, _, rest, ok := t.split(path); ok {
		return matchIn(s.Routes, method, rest, action)
	}
	return nil
}

func matchIn(routes []Route, method, path, action string) *Route {
	var best *Route
	exact := -1
	for i := range routes {
		r := &routes[i]
		if r.Method != method && (method != http.MethodHead || r.Method != http.MethodGet) || action != "" && r.Action != action {
			continue
		}
		n, ok := fits(r.Path, path)
		if !ok || n < exact || n == exact && best.Min.AtLeast(r.Min) {
			continue
		}
		best, exact = r, n
	}
	return best
}

// fits says whether a path is of a pattern, and how many of its segments are so by name.
func fits(pattern, path string) (exact int, ok bool) {
	want, have := strings.Split(strings.Trim(pattern, "/"), "/"), strings.Split(strings.Trim(path, "/"), "/")
	for i, w := range want {
		switch {
		case strings.HasSuffix(w, "...}"):
			return exact, i < len(have)
		case i >= len(have):
			return 0, false
		case w == have[i]:
			exact++
		case !strings.HasPrefix(w, "{") || have[i] == "":
			return 0, false
		}
	}
	return exact, len(want) == len(have)
}
