package api

import (
	"net/http"
	"regexp"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
)

func keypairBody(version int) string {
	props := []prop{must("name", sName)}
	switch {
	case version >= 92:
		props = append(props, must("public_key", sText), opt("type", `{"enum":["ssh","x509"]}`), opt("user_id", sText255))
	case version >= 10:
		props = append(props, opt("public_key", `{"type":["string","null"]}`), opt("type", `{"enum":["ssh","x509"]}`), opt("user_id", sText255))
	case version >= 2:
		props = append(props, opt("public_key", `{"type":["string","null"]}`), opt("type", `{"enum":["ssh","x509"]}`))
	default:
		props = append(props, opt("public_key", `{"type":["string","null"]}`))
	}
	return wrap("keypair", object(props...))
}

func (f *face) keypairRoutes() []httpapi.Route {
	const rule = "os_compute_api:os-keypairs:"
	one := query(75, "user_id")
	row := func(method, path, name, what string, q httpapi.Schemas, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, Name: "keypairs." + name, Rule: rule + what, Target: keyOwner, Query: q, Resource: "keypair", Handler: h}
	}
	create := row(post, "/os-keypairs", "create", "create", nil, f.createKeypair)
	create.Body = at(keypairBody, 1, 2, 10, 92)
	return []httpapi.Route{
		row(get, "/os-keypairs", "list", "index", query(75, "user_id", "limit", "marker"), f.listKeypairs), create,
		row(get, "/os-keypairs/{id}", "show", "show", one, f.showKeypair), row(del, "/os-keypairs/{id}", "delete", "delete", one, f.deleteKeypair),
	}
}

// owner is the user whose keys are meant: the caller, or from 2.10 on the one an admin names.
func owner(r *httpapi.Request) string {
	if r.Version.AtLeast(v(10)) {
		if u := r.URL.Query().Get("user_id"); u != "" {
			return u
		}
		if b, ok := r.Document().(map[string]any); ok {
			if k, ok := b["keypair"].(map[string]any); ok {
				if u, ok := k["user_id"].(string); ok && u != "" {
					return u
				}
			}
		}
	}
	return r.Creds.UserID
}

func keyOwner(r *httpapi.Request) policy.Target {
	return policy.Target{"user_id": owner(r), "project_id": r.Creds.ProjectID}
}

func (f *face) listKeypairs(r *httpapi.Request) (any, error) {
	page := httpapi.Page{Limit: 1 << 30}
	if r.Version.AtLeast(v(35)) {
		var err error
		if page, err = r.Page(maxLimit); err != nil {
			return nil, err
		}
	}
	all, err := f.svc.Keypairs(r.Context(), owner(r))
	if err != nil {
		return nil, err
	}
	rows, err := listed(page, all, func(k *compute.Keypair) string { return k.Name })
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(rows))
	for i, k := range rows {
		out[i] = obj{"keypair": obj{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint, "type": k.Type}}
	}
	body := obj{"keypairs": out}
	if len(rows) > 0 {
		if next := r.NextLinks(page, len(rows), rows[len(rows)-1].Name); next != nil {
			body["keypairs_links"] = next
		}
	}
	return body, nil
}

func (f *face) showKeypair(r *httpapi.Request) (any, error) {
	k, err := f.svc.Keypair(r.Context(), owner(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"keypair": obj{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint, "type": k.Type, "user_id": k.UserID, "id": k.ID,
		"created_at": micros(k.Created), "deleted": false, "deleted_at": nil, "updated_at": nil}}, nil
}

var (
	keyName    = regexp.MustCompile(`^[a-zA-Z0-9_\- ]+$`)
	keyNameNew = regexp.MustCompile(`^[a-zA-Z0-9_\- @.]+$`) // 2.92
)

func (f *face) createKeypair(r *httpapi.Request) (any, error) {
	var b struct {
		Keypair struct {
			Name      string `json:"name"`
			PublicKey string `json:"public_key"`
			Type      string `json:"type"`
		} `json:"keypair"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	clean, err := name(r, "name", b.Keypair.Name)
	if err != nil {
		return nil, err
	}
	allowed := keyName
	if r.Version.AtLeast(v(92)) {
		allowed = keyNameNew
	}
	if !allowed.MatchString(clean) {
		return nil, fault.Invalid("name", "Keypair data is invalid: Keypair name contains unsafe characters")
	}
	kind := compute.KeySSH
	if b.Keypair.Type != "" && r.Version.AtLeast(v(2)) {
		kind = b.Keypair.Type
	}
	k, private, err := f.svc.CreateKeypair(r.Context(), r.Creds.ProjectID, owner(r), clean, kind, b.Keypair.PublicKey)
	if err != nil {
		return nil, err
	}
	view := obj{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint, "user_id": k.UserID, "type": k.Type}
	if private != "" {
		view["private_key"] = private
	}
	status := http.StatusOK
	if r.Version.AtLeast(v(2)) {
		status = http.StatusCreated
	}
	return &httpapi.Response{Status: status, Body: obj{"keypair": view}}, nil
}

func (f *face) deleteKeypair(r *httpapi.Request) (any, error) {
	status := accepted
	if r.Version.AtLeast(v(2)) {
		status = noContent
	}
	return &httpapi.Response{Status: status}, f.svc.DeleteKeypair(r.Context(), owner(r), r.Param("id"))
}
