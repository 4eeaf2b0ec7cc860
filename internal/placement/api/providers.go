package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/placement"
)

// uncached adds what 1.15 brought: last-modified and cache-control on every answer. Placement itself sends the present time wherever the answer is not
// one stored thing.
func uncached(h httpapi.Handler) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		out, err := h(r)
		if err == nil && r.Version.AtLeast(httpapi.V(1, 15)) && r.W.Header().Get("Last-Modified") == "" {
			modified(r, time.Now())
		}
		return out, err
	}
}

func modified(r *httpapi.Request, at time.Time) {
	if r.Version.AtLeast(httpapi.V(1, 15)) {
		r.W.Header().Set("Last-Modified", at.UTC().Format(http.TimeFormat))
		r.W.Header().Set("Cache-Control", "no-cache")
	}
}

func (s *server) read(r *httpapi.Request, fn func(tx *db.Tx) error) error {
	return s.db.Read(r.Context(), fn)
}

func (s *server) write(r *httpapi.Request, fn func(tx *db.Tx) error) error {
	return s.db.Write(r.Context(), fn)
}

// canonical is the form ids are stored in: lower case with dashes. What is no uuid stays and will not be found.
func canonical(id string) string {
	if u, err := uuid.Parse(id); err == nil {
		return u.String()
	}
	return id
}

func providerView(r *httpapi.Request, p placement.Provider) map[string]any {
	self := r.Mount.Prefix + "/resource_providers/" + p.ID
	links := []any{map[string]any{"rel": "self", "href": self}}
	for _, l := range []struct {
		name  string
		since int
	}{{"inventories", 0}, {"usages", 0}, {"aggregates", 1}, {"traits", 6}, {"allocations", 11}} {
		if r.Version.AtLeast(httpapi.V(1, l.since)) {
			links = append(links, map[string]any{"rel": l.name, "href": self + "/" + l.name})
		}
	}
	out := map[string]any{"uuid": p.ID, "name": p.Name, "generation": p.Generation, "links": links}
	if r.Version.AtLeast(httpapi.V(1, 14)) {
		out["root_provider_uuid"], out["parent_provider_uuid"] = p.RootID, nil
		if p.ParentID != "" {
			out["parent_provider_uuid"] = p.ParentID
		}
	}
	return out
}

func (s *server) listProviders(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	list := []any{}
	err := s.read(r, func(tx *db.Tx) error {
		f, err := filter(r.Context(), tx, r, q)
		if err != nil {
			return err
		}
		f.Name = q.Get("name")
		if id := q.Get("uuid"); id != "" {
			if uuid.Validate(id) != nil {
				return badQuery("uuid", "'%s' is not a uuid", id)
			}
			f.IDs = []string{canonical(id)}
		}
		found, err := placement.Query(r.Context(), tx, f)
		for _, p := range found {
			list = append(list, providerView(r, p))
		}
		return err
	})
	return map[string]any{"resource_providers": list}, err
}

type providerBody struct {
	Name   string  `json:"name"`
	UUID   string  `json:"uuid"`
	Parent *string `json:"parent_provider_uuid"`
}

func (s *server) createProvider(r *httpapi.Request) (any, error) {
	var in providerBody
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	if in.UUID == "" {
		in.UUID = uuid.NewString()
	}
	id, parent := canonical(in.UUID), ""
	if in.Parent != nil {
		parent = canonical(*in.Parent)
	}
	var p placement.Provider
	err := s.write(r, func(tx *db.Tx) (err error) {
		if err = placement.CreateProvider(r.Context(), tx, id, in.Name, parent); err == nil {
			p, err = placement.GetProvider(r.Context(), tx, id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &httpapi.Response{Header: http.Header{"Location": {r.Link("resource_providers", id)}}}
	if r.Version.AtLeast(httpapi.V(1, 20)) {
		out.Status, out.Body = http.StatusOK, providerView(r, p)
	}
	return out, nil
}

func (s *server) showProvider(r *httpapi.Request) (any, error) {
	var p placement.Provider
	err := s.read(r, func(tx *db.Tx) (err error) {
		p, err = placement.GetProvider(r.Context(), tx, canonical(r.Param("id")))
		return err
	})
	if err != nil {
		return nil, err
	}
	modified(r, p.Updated.Time)
	return providerView(r, p), nil
}

// updateProvider renames and, from 1.14 on, moves. A provider may be moved or taken out of its tree from 1.37 on; before it may only be given its first
// parent.
func (s *server) updateProvider(r *httpapi.Request) (any, error) {
	var in providerBody
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	doc, _ := r.Document().(map[string]any)
	_, named := doc["parent_provider_uuid"]
	id := canonical(r.Param("id"))
	var p placement.Provider
	err := s.write(r, func(tx *db.Tx) (err error) {
		if p, err = placement.GetProvider(r.Context(), tx, id); err != nil {
			return err
		}
		parent := p.ParentID
		if named {
			parent = ""
			if in.Parent != nil {
				parent = canonical(*in.Parent)
			}
		}
		if p.ParentID != "" && parent != p.ParentID && !r.Version.AtLeast(httpapi.V(1, 37)) {
			return fault.Invalid("parent_provider_uuid", "Unable to save resource provider '%s': re-parenting a provider needs microversion 1.37.", id)
		}
		if err = placement.UpdateProvider(r.Context(), tx, id, in.Name, parent); err == nil {
			p, err = placement.GetProvider(r.Context(), tx, id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	modified(r, p.Updated.Time)
	return providerView(r, p), nil
}

func (s *server) deleteProvider(r *httpapi.Request) (any, error) {
	return nil, s.write(r, func(tx *db.Tx) error { return placement.DeleteProvider(r.Context(), tx, canonical(r.Param("id"))) })
}

// change runs fn in a write on one provider and tells of it.
func (s *server) change(r *httpapi.Request, fn func(tx *db.Tx) error) error {
	err := s.write(r, fn)
	if err == nil {
		s.changed(r.Context(), []string{canonical(r.Param("id"))})
	}
	return err
}

// of runs fn on the provider of the URL and gives its answer the provider's generation as it is afterwards.
func (s *server) of(r *httpapi.Request, run func(*httpapi.Request, func(*db.Tx) error) error, fn func(tx *db.Tx, id string) (map[string]any, error)) (any, error) {
	var out map[string]any
	id := canonical(r.Param("id"))
	err := run(r, func(tx *db.Tx) error {
		if _, err := placement.GetProvider(r.Context(), tx, id); err != nil {
			return err
		}
		var err error
		if out, err = fn(tx, id); err != nil {
			return err
		}
		p, err := placement.GetProvider(r.Context(), tx, id)
		if out != nil {
			out["resource_provider_generation"] = p.Generation
		}
		return err
	})
	if err != nil || out == nil {
		return nil, err
	}
	return out, nil
}

func (s *server) listAggregates(r *httpapi.Request) (any, error) {
	return s.aggregatesOf(r, s.read, func(tx *db.Tx, id string) (map[string]any, error) { return aggregates(r, tx, id) })
}

// aggregatesOf hides the generation from clients before 1.19.
func (s *server) aggregatesOf(r *httpapi.Request, run func(*httpapi.Request, func(*db.Tx) error) error, fn func(tx *db.Tx, id string) (map[string]any, error)) (any, error) {
	out, err := s.of(r, run, fn)
	if doc, ok := out.(map[string]any); ok && !r.Version.AtLeast(httpapi.V(1, 19)) {
		delete(doc, "resource_provider_generation")
	}
	return out, err
}

func aggregates(r *httpapi.Request, tx *db.Tx, id string) (map[string]any, error) {
	list, err := placement.AggregatesOf(r.Context(), tx, id)
	return map[string]any{"aggregates": list}, err
}

func (s *server) setAggregates(r *httpapi.Request) (any, error) {
	var in struct {
		Aggregates []string `json:"aggregates"`
		Generation int64    `json:"resource_provider_generation"`
	}
	var err error
	if r.Version.AtLeast(httpapi.V(1, 19)) {
		err = r.Decode(&in)
	} else {
		in.Generation = -1
		err = r.Decode(&in.Aggregates)
	}
	if err != nil {
		return nil, err
	}
	for i, a := range in.Aggregates {
		in.Aggregates[i] = canonical(a)
	}
	return s.aggregatesOf(r, s.change, func(tx *db.Tx, id string) (map[string]any, error) {
		if err := placement.SetAggregates(r.Context(), tx, id, in.Generation, in.Aggregates); err != nil {
			return nil, err
		}
		return aggregates(r, tx, id)
	})
}

func (s *server) listProviderTraits(r *httpapi.Request) (any, error) {
	return s.of(r, s.read, func(tx *db.Tx, id string) (map[string]any, error) { return traits(r, tx, id) })
}

func traits(r *httpapi.Request, tx *db.Tx, id string) (map[string]any, error) {
	list, err := placement.TraitsOf(r.Context(), tx, id)
	return map[string]any{"traits": list}, err
}

func (s *server) setProviderTraits(r *httpapi.Request) (any, error) {
	var in struct {
		Traits     []string `json:"traits"`
		Generation int64    `json:"resource_provider_generation"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	return s.of(r, s.change, func(tx *db.Tx, id string) (map[string]any, error) {
		if err := placement.SetTraits(r.Context(), tx, id, in.Generation, in.Traits); err != nil {
			return nil, err
		}
		return traits(r, tx, id)
	})
}

func (s *server) clearProviderTraits(r *httpapi.Request) (any, error) {
	return s.of(r, s.change, func(tx *db.Tx, id string) (map[string]any, error) {
		return nil, placement.SetTraits(r.Context(), tx, id, -1, nil)
	})
}

// splitIn reads "in:a,b".
func splitIn(text string) ([]string, bool) {
	list, ok := strings.CutPrefix(text, "in:")
	return strings.Split(list, ","), ok
}
