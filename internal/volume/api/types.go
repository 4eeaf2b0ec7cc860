package api

import (
	"maps"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/volume"

	"nephos/internal/db"
)

func (s *server) listTypes(r *httpapi.Request) (any, error) {
	yes := true
	public := &yes
	switch q := strings.ToLower(r.URL.Query().Get("is_public")); q {
	case "":
	case "none":
		public = nil
	default:
		var b boolean
		b.UnmarshalJSON([]byte(q)) //nolint:errcheck // never fails
		only := bool(b)
		public = &only
	}
	list, err := s.svc.Types(r.Context(), by(r), public)
	if err != nil {
		return nil, err
	}
	items := make([]map[string]any, 0, len(list))
	for i := range list {
		items = append(items, typeView(r, &list[i]))
	}
	return map[string]any{"volume_types": items}, nil
}

func (s *server) showType(r *httpapi.Request) (any, error) {
	t, err := s.svc.Type(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"volume_type": typeView(r, t)}, nil
}

func (s *server) createType(r *httpapi.Request) (any, error) {
	var body struct {
		T struct {
			Name        string            `json:"name"`
			Description string            `json:"description"`
			Specs       map[string]string `json:"extra_specs"`
			Public      *boolean          `json:"os-volume-type-access:is_public"`
		} `json:"volume_type"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	name := strings.TrimSpace(body.T.Name)
	if name == "" {
		return nil, fault.Invalid("name", "Invalid input received: the name of a volume type cannot be empty.")
	}
	t, err := s.svc.CreateType(r.Context(), volume.Type{Name: name, Description: body.T.Description, Public: body.T.Public == nil || bool(*body.T.Public), ExtraSpecs: db.AsJSON(body.T.Specs)})
	if err != nil {
		return nil, err
	}
	out := typeView(r, t)
	delete(out, "qos_specs_id")
	return map[string]any{"volume_type": out}, nil
}

func (s *server) updateType(r *httpapi.Request) (any, error) {
	var body struct {
		T struct {
			Name        *string  `json:"name"`
			Description *string  `json:"description"`
			Public      *boolean `json:"is_public"`
		} `json:"volume_type"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.T.Name == nil && body.T.Description == nil && body.T.Public == nil {
		return nil, fault.Invalid("volume_type", "Specify volume type name, description, is_public or a combination thereof.")
	}
	t, err := s.svc.EditType(r.Context(), r.Param("id"), func(t *volume.Type) error {
		if body.T.Name != nil {
			if t.Name = strings.TrimSpace(*body.T.Name); t.Name == "" {
				return fault.Invalid("name", "Volume type name can not be empty.")
			}
		}
		if body.T.Description != nil {
			t.Description = *body.T.Description
		}
		if body.T.Public != nil {
			t.Public = bool(*body.T.Public)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"volume_type": map[string]any{"id": t.ID, "name": t.Name, "description": orNil(t.Description), "is_public": t.Public, "extra_specs": t.ExtraSpecs.V}}, nil
}

func (s *server) deleteType(r *httpapi.Request) (any, error) {
	return nil, s.svc.DeleteType(r.Context(), r.Param("id"))
}

// specsOf are the extra specs that the caller may see.
func (s *server) specsOf(r *httpapi.Request) (map[string]string, error) {
	t, err := s.svc.Type(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	if r.Creds.IsAdmin() {
		return t.ExtraSpecs.V, nil
	}
	return visibleSpecs(t), nil
}

func (s *server) extraSpecs(r *httpapi.Request) (any, error) {
	m, err := s.specsOf(r)
	return map[string]any{"extra_specs": m}, err
}

func (s *server) extraSpec(r *httpapi.Request) (any, error) {
	m, err := s.specsOf(r)
	if err != nil {
		return nil, err
	}
	val, ok := m[r.Param("key")]
	if !ok {
		return nil, fault.NotFound("Volume Type %s has no extra specs with key %s.", r.Param("id"), r.Param("key"))
	}
	return map[string]string{r.Param("key"): val}, nil
}

func (s *server) editSpecs(r *httpapi.Request, change func(m map[string]string) error) error {
	_, err := s.svc.EditType(r.Context(), r.Param("id"), func(t *volume.Type) error {
		m := maps.Clone(t.ExtraSpecs.V)
		if m == nil {
			m = map[string]string{}
		}
		t.ExtraSpecs = db.AsJSON(m)
		return change(m)
	})
	return err
}

func (s *server) setExtraSpecs(r *httpapi.Request) (any, error) {
	var body struct {
		Specs map[string]string `json:"extra_specs"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	err := s.editSpecs(r, func(m map[string]string) error { maps.Copy(m, body.Specs); return nil })
	return map[string]any{"extra_specs": body.Specs}, err
}

func (s *server) setExtraSpec(r *httpapi.Request) (any, error) {
	var body map[string]string
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if _, ok := body[r.Param("key")]; !ok {
		return nil, fault.Invalid(r.Param("key"), "Request body and URI mismatch")
	}
	err := s.editSpecs(r, func(m map[string]string) error { maps.Copy(m, body); return nil })
	return body, err
}

func (s *server) dropExtraSpec(r *httpapi.Request) (any, error) {
	key := r.Param("key")
	return nil, s.editSpecs(r, func(m map[string]string) error {
		if _, ok := m[key]; !ok {
			return fault.NotFound("Volume Type %s has no extra specs with key %s.", r.Param("id"), key)
		}
		delete(m, key)
		return nil
	})
}

func (s *server) typeAccess(r *httpapi.Request) (any, error) {
	id, projects, err := s.svc.TypeAccess(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	items := make([]map[string]any, 0, len(projects))
	for _, p := range projects {
		items = append(items, map[string]any{"volume_type_id": id, "project_id": p})
	}
	return map[string]any{"volume_type_access": items}, nil
}

func (s *server) setAccess(action string) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		var body map[string]struct {
			Project string `json:"project"`
		}
		if err := r.Decode(&body); err != nil {
			return nil, err
		}
		return nil, s.svc.SetTypeAccess(r.Context(), r.Param("id"), body[action].Project, action == "addProjectAccess")
	}
}

// typeEncryption answers for a type that encrypts nothing, which is every type.
func (s *server) typeEncryption(r *httpapi.Request) (any, error) {
	_, err := s.svc.Type(r.Context(), by(r), r.Param("id"))
	return map[string]any{}, err
}
