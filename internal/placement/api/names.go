package api

import (
	"net/http"
	"slices"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/placement"
)

// listTraits filters by name=in:A,B or name=startswith:P, and associated=true|false: whether some provider has it.
func (s *server) listTraits(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	keep := func(string) bool { return true }
	if text := q.Get("name"); text != "" {
		if list, ok := splitIn(text); ok {
			keep = func(t string) bool { return slices.Contains(list, t) }
		} else if prefix, ok := strings.CutPrefix(text, "startswith:"); ok {
			keep = func(t string) bool { return strings.HasPrefix(t, prefix) }
		} else {
			return nil, badQuery("name", `expected "in:" or "startswith:", got "%s"`, text)
		}
	}
	associated := strings.ToLower(q.Get("associated"))
	if associated != "" && associated != "true" && associated != "false" {
		return nil, badQuery("associated", `expected "true" or "false", got "%s"`, associated)
	}
	list := []string{}
	err := s.read(r, func(tx *db.Tx) error {
		all, err := placement.Traits.All(r.Context(), tx)
		if err != nil {
			return err
		}
		used, err := placement.Traits.InUse(r.Context(), tx)
		for _, t := range all {
			if keep(t) && (associated == "" || slices.Contains(used, t) == (associated == "true")) {
				list = append(list, t)
			}
		}
		return err
	})
	return map[string]any{"traits": list}, err
}

// exists is 404 unless the vocabulary has the name of the URL.
func (s *server) exists(r *httpapi.Request, v placement.Vocabulary, kind string) error {
	name := r.Param("name")
	return s.read(r, func(tx *db.Tx) error {
		missing, err := v.Unknown(r.Context(), tx, []string{name})
		if err == nil && len(missing) > 0 {
			return fault.NotFound("No such %s %s.", kind, name)
		}
		return err
	})
}

// create answers 201 for a new name, 204 for one that was there, both without a body and with Location.
func (s *server) create(r *httpapi.Request, v placement.Vocabulary, path string) (any, error) {
	name, made := r.Param("name"), false
	err := s.write(r, func(tx *db.Tx) (err error) {
		made, err = v.Create(r.Context(), tx, name)
		return err
	})
	out := &httpapi.Response{Status: http.StatusNoContent, Header: http.Header{"Location": {r.Link(path, name)}}}
	if made {
		out.Status = http.StatusCreated
	}
	return out, err
}

func (s *server) remove(r *httpapi.Request, v placement.Vocabulary) (any, error) {
	return nil, s.write(r, func(tx *db.Tx) error { return v.Delete(r.Context(), tx, r.Param("name")) })
}

func (s *server) showTrait(r *httpapi.Request) (any, error) {
	return nil, s.exists(r, placement.Traits, "trait")
}

func (s *server) putTrait(r *httpapi.Request) (any, error) {
	return s.create(r, placement.Traits, "traits")
}

func (s *server) deleteTrait(r *httpapi.Request) (any, error) {
	return s.remove(r, placement.Traits)
}

func classView(r *httpapi.Request, name string) map[string]any {
	return map[string]any{"name": name, "links": []any{map[string]any{"rel": "self", "href": r.Mount.Prefix + "/resource_classes/" + name}}}
}

func (s *server) listClasses(r *httpapi.Request) (any, error) {
	list := []any{}
	err := s.read(r, func(tx *db.Tx) error {
		all, err := placement.Classes.All(r.Context(), tx)
		for _, c := range all {
			list = append(list, classView(r, c))
		}
		return err
	})
	return map[string]any{"resource_classes": list}, err
}

func (s *server) className(r *httpapi.Request) (string, error) {
	var in struct {
		Name string `json:"name"`
	}
	err := r.Decode(&in)
	return in.Name, err
}

func (s *server) createClass(r *httpapi.Request) (any, error) {
	name, err := s.className(r)
	if err != nil {
		return nil, err
	}
	err = s.write(r, func(tx *db.Tx) error {
		made, err := placement.Classes.Create(r.Context(), tx, name)
		if err == nil && !made {
			return fault.Conflict("Conflicting resource class already exists: %s", name).WithType(placement.CodeDuplicateName)
		}
		return err
	})
	return &httpapi.Response{Header: http.Header{"Location": {r.Link("resource_classes", name)}}}, err
}

func (s *server) showClass(r *httpapi.Request) (any, error) {
	if err := s.exists(r, placement.Classes, "resource class"); err != nil {
		return nil, err
	}
	return classView(r, r.Param("name")), nil
}

// renameClass is what PUT did before 1.7.
func (s *server) renameClass(r *httpapi.Request) (any, error) {
	name, err := s.className(r)
	if err != nil {
		return nil, err
	}
	err = s.write(r, func(tx *db.Tx) error { return placement.Classes.Rename(r.Context(), tx, r.Param("name"), name) })
	if err != nil {
		return nil, err
	}
	return classView(r, name), nil
}

func (s *server) putClass(r *httpapi.Request) (any, error) {
	return s.create(r, placement.Classes, "resource_classes")
}

func (s *server) deleteClass(r *httpapi.Request) (any, error) {
	return s.remove(r, placement.Classes)
}
