package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

func flavorBody(version int) string {
	props := []prop{must("name", sName), opt("id", `{"anyOf":[{"type":["number","null"]},{"type":"string","minLength":1,"maxLength":255,"pattern":"^[a-zA-Z0-9._-]([a-zA-Z0-9. _-]*[a-zA-Z0-9._-])?$"}]}`),
		must("ram", sInt1), must("vcpus", sInt1), must("disk", sInt0), opt("OS-FLV-EXT-DATA:ephemeral", sInt0), opt("swap", `{"anyOf":[`+sInt0+`,{"const":""}]}`),
		opt("rxtx_factor", `{"anyOf":[{"type":"number","exclusiveMinimum":0,"maximum":3.40282e38},{"type":"string","pattern":"^[0-9]+(\\.[0-9]+)?$"}]}`), opt("os-flavor-access:is_public", sBool)}
	if version >= 55 {
		props = append(props, opt("description", sLongNil))
	}
	return wrap("flavor", object(props...))
}

var flavorQuery = query(75, "limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir")

func (f *face) flavorRoutes() []httpapi.Route {
	const manage, access, specs = "os_compute_api:os-flavor-manage:", "os_compute_api:os-flavor-access", "os_compute_api:os-flavor-extra-specs:"
	tenant := func(action string) httpapi.Schemas {
		return always(wrap(action, object(must("tenant", sName))))
	}
	return []httpapi.Route{
		{Method: get, Path: "/flavors", Name: "flavors.list", Query: flavorQuery, Rule: "os_compute_api:flavors", Resource: "flavor", Handler: f.listFlavors(false)},
		{Method: get, Path: "/flavors/detail", Name: "flavors.detail", Query: flavorQuery, Rule: "os_compute_api:flavors", Resource: "flavor", Handler: f.listFlavors(true)},
		{Method: get, Path: "/flavors/{id}", Name: "flavors.show", Rule: "os_compute_api:flavors", Resource: "flavor", Handler: f.showFlavor},
		{Method: post, Path: "/flavors", Name: "flavors.create", Rule: manage + "create", Body: at(flavorBody, 1, 55), Resource: "flavor", Handler: f.createFlavor},
		{Method: put, Path: "/flavors/{id}", Name: "flavors.update", Min: v(55), Rule: manage + "update", Body: always(wrap("flavor", object(must("description", sLongNil)))), Resource: "flavor", Handler: f.updateFlavor},
		{Method: del, Path: "/flavors/{id}", Name: "flavors.delete", Rule: manage + "delete", Status: accepted, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.DeleteFlavor(r.Context(), r.Param("id"))
		}},
		{Method: post, Path: "/flavors/{id}/action", Name: "flavors.access.add", Action: "addTenantAccess", Rule: access + ":add_tenant_access", Body: tenant("addTenantAccess"), Handler: f.setAccess(true)},
		{Method: post, Path: "/flavors/{id}/action", Name: "flavors.access.remove", Action: "removeTenantAccess", Rule: access + ":remove_tenant_access", Body: tenant("removeTenantAccess"), Handler: f.setAccess(false)},
		{Method: get, Path: "/flavors/{id}/os-flavor-access", Name: "flavors.access.list", Rule: access, Handler: f.listAccess},
		{Method: get, Path: "/flavors/{id}/os-extra_specs", Name: "flavors.specs.list", Rule: specs + "index", Handler: f.listSpecs},
		{Method: post, Path: "/flavors/{id}/os-extra_specs", Name: "flavors.specs.create", Rule: specs + "create", Body: always(wrap("extra_specs", sSpecs)), Handler: f.createSpecs},
		{Method: get, Path: "/flavors/{id}/os-extra_specs/{key}", Name: "flavors.specs.show", Rule: specs + "show", Handler: f.showSpec},
		{Method: put, Path: "/flavors/{id}/os-extra_specs/{key}", Name: "flavors.specs.update", Rule: specs + "update", Body: always(sSpecs), Handler: f.updateSpec},
		{Method: del, Path: "/flavors/{id}/os-extra_specs/{key}", Name: "flavors.specs.delete", Rule: specs + "delete", Status: 200, Handler: f.deleteSpec},
	}
}

func (f *face) flavorView(r *httpapi.Request, x *compute.FlavorRow, detail bool) obj {
	out := obj{"id": x.ID, "name": x.Name, "links": r.Links("flavors", x.ID), "description": x.Description}
	if !detail {
		return out
	}
	out["ram"], out["vcpus"], out["disk"], out["swap"], out["OS-FLV-EXT-DATA:ephemeral"] = x.RAMMiB, x.VCPUs, x.RootGiB, x.SwapMiB, x.EphemeralGiB
	out["OS-FLV-DISABLED:disabled"], out["os-flavor-access:is_public"], out["rxtx_factor"] = x.Disabled, x.Public, x.RxTxFactor
	if r.Allowed("os_compute_api:os-flavor-extra-specs:index", r.OwnTarget()) {
		out["extra_specs"] = orNothing(x.ExtraSpecs.V)
	}
	return out
}

// flavorOrder compares by one of Nova's sort keys; keys without a value of their own here are equal for all.
var flavorOrder = map[string]func(a, b *compute.FlavorRow) int{
	"created_at":  func(a, b *compute.FlavorRow) int { return a.Created.Compare(b.Created.Time) },
	"updated_at":  func(a, b *compute.FlavorRow) int { return a.Updated.Compare(b.Updated.Time) },
	"description": func(a, b *compute.FlavorRow) int { return cmp.Compare(text(a.Description), text(b.Description)) },
	"disabled": func(a, b *compute.FlavorRow) int {
		return cmp.Compare(strconv.FormatBool(a.Disabled), strconv.FormatBool(b.Disabled))
	},
	"is_public": func(a, b *compute.FlavorRow) int {
		return cmp.Compare(strconv.FormatBool(a.Public), strconv.FormatBool(b.Public))
	},
	"ephemeral_gb": func(a, b *compute.FlavorRow) int { return a.EphemeralGiB - b.EphemeralGiB },
	"flavorid":     func(a, b *compute.FlavorRow) int { return cmp.Compare(a.ID, b.ID) },
	"id":           func(a, b *compute.FlavorRow) int { return cmp.Compare(a.ID, b.ID) },
	"memory_mb":    func(a, b *compute.FlavorRow) int { return a.RAMMiB - b.RAMMiB },
	"name":         func(a, b *compute.FlavorRow) int { return cmp.Compare(a.Name, b.Name) },
	"root_gb":      func(a, b *compute.FlavorRow) int { return a.RootGiB - b.RootGiB },
	"rxtx_factor":  func(a, b *compute.FlavorRow) int { return cmp.Compare(a.RxTxFactor, b.RxTxFactor) },
	"swap":         func(a, b *compute.FlavorRow) int { return a.SwapMiB - b.SwapMiB },
	"vcpu_weight":  func(_, _ *compute.FlavorRow) int { return 0 },
	"vcpus":        func(a, b *compute.FlavorRow) int { return a.VCPUs - b.VCPUs },
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// listFlavors: others than admins see public flavors and those given to their project; is_public=None shows an admin both (Nova).
func (f *face) listFlavors(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		page, err := r.Page(maxLimit)
		if err != nil {
			return nil, err
		}
		all, err := f.svc.Flavors(r.Context(), r.Creds)
		if err != nil {
			return nil, err
		}
		if all, err = narrowFlavors(r, all); err != nil {
			return nil, err
		}
		q := r.URL.Query()
		key, dir := "flavorid", q.Get("sort_dir")
		if s := q.Get("sort_key"); s != "" {
			key = s
		}
		order, ok := flavorOrder[key]
		if !ok {
			return nil, fault.Invalid("sort_key", "Invalid input for query parameters sort_key. Value: %s. Flavors cannot be sorted by it.", key)
		}
		if dir != "" && dir != "asc" && dir != "desc" {
			return nil, fault.Invalid("sort_dir", "Invalid input for query parameters sort_dir. Value: %s. It must be asc or desc.", dir)
		}
		slices.SortStableFunc(all, func(a, b compute.FlavorRow) int {
			c := cmp.Or(order(&a, &b), cmp.Compare(a.ID, b.ID))
			if dir == "desc" {
				return -c
			}
			return c
		})
		rows, err := listed(page, all, func(x *compute.FlavorRow) string { return x.ID })
		if err != nil {
			return nil, fault.Invalid("marker", "marker [%s] not found", page.Marker)
		}
		out := make([]obj, len(rows))
		for i := range rows {
			out[i] = f.flavorView(r, &rows[i], detail)
		}
		body := obj{"flavors": out}
		if len(rows) > 0 {
			if next := r.NextLinks(page, len(rows), rows[len(rows)-1].ID); next != nil {
				body["flavors_links"] = next
			}
		}
		return body, nil
	}
}

func narrowFlavors(r *httpapi.Request, all []compute.FlavorRow) ([]compute.FlavorRow, error) {
	q := r.URL.Query()
	public, any := true, false
	if !r.Creds.IsAdmin() {
		any = true // what is listed is what may be seen
	} else if s := q.Get("is_public"); strings.EqualFold(s, "none") {
		any = true
	} else if s != "" {
		var ok bool
		if public, ok = parseBool(s); !ok {
			return nil, fault.Invalid("is_public", "Invalid is_public filter [%s]", s)
		}
	}
	least := map[string]int{}
	for _, k := range []string{"minRam", "minDisk"} {
		if s := q.Get(k); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil {
				return nil, fault.Invalid(k, "Invalid %s filter [%s]", k, s)
			}
			least[k] = n
		}
	}
	return slices.DeleteFunc(all, func(x compute.FlavorRow) bool {
		return !any && x.Public != public || x.RAMMiB < least["minRam"] || x.RootGiB < least["minDisk"] || x.Disabled && !r.Creds.IsAdmin()
	}), nil
}

func (f *face) showFlavor(r *httpapi.Request) (any, error) {
	x, err := f.svc.Flavor(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"flavor": f.flavorView(r, x, true)}, nil
}

func (f *face) createFlavor(r *httpapi.Request) (any, error) {
	var b struct {
		Flavor struct {
			Name        string    `json:"name"`
			ID          *flexText `json:"id"`
			RAM         flexInt   `json:"ram"`
			VCPUs       flexInt   `json:"vcpus"`
			Disk        flexInt   `json:"disk"`
			Ephemeral   flexInt   `json:"OS-FLV-EXT-DATA:ephemeral"`
			Swap        flexText  `json:"swap"`
			RxTx        flexText  `json:"rxtx_factor"`
			Public      *flexBool `json:"os-flavor-access:is_public"`
			Description *string   `json:"description"`
		} `json:"flavor"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	x := b.Flavor
	clean, err := name(r, "name", x.Name)
	if err != nil {
		return nil, err
	}
	row := compute.FlavorRow{Name: clean, RAMMiB: int(x.RAM), VCPUs: int(x.VCPUs), RootGiB: int(x.Disk), EphemeralGiB: int(x.Ephemeral), RxTxFactor: 1, Public: true, Description: x.Description}
	if x.ID != nil && *x.ID != "auto" {
		row.ID = string(*x.ID)
	}
	if x.Swap != "" {
		if row.SwapMiB, err = strconv.Atoi(string(x.Swap)); err != nil {
			return nil, fault.Invalid("swap", "Invalid input for field/attribute swap. Value: %s. It must be an integer.", x.Swap)
		}
	}
	if x.RxTx != "" {
		if row.RxTxFactor, err = strconv.ParseFloat(string(x.RxTx), 64); err != nil || row.RxTxFactor <= 0 {
			return nil, fault.Invalid("rxtx_factor", "Invalid input for field/attribute rxtx_factor. Value: %s. It must be a positive number.", x.RxTx)
		}
	}
	if x.Public != nil {
		row.Public = bool(*x.Public)
	}
	made, err := f.svc.CreateFlavor(r.Context(), row)
	if err != nil {
		return nil, err
	}
	return obj{"flavor": f.flavorView(r, made, true)}, nil
}

func (f *face) updateFlavor(r *httpapi.Request) (any, error) {
	var b struct {
		Flavor struct {
			Description *string `json:"description"`
		} `json:"flavor"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	x, err := f.svc.EditFlavor(r.Context(), r.Param("id"), func(x *compute.FlavorRow) error {
		x.Description = b.Flavor.Description
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"flavor": f.flavorView(r, x, true)}, nil
}

func (f *face) accessView(r *httpapi.Request, id string) (any, error) {
	list, err := f.svc.FlavorAccess(r.Context(), id)
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(list))
	for i, p := range list {
		out[i] = obj{"flavor_id": id, "tenant_id": p}
	}
	return obj{"flavor_access": out}, nil
}

func (f *face) listAccess(r *httpapi.Request) (any, error) {
	x, err := f.svc.Flavor(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	if x.Public {
		return nil, fault.NotFound("Access list not available for public flavors.")
	}
	return f.accessView(r, x.ID)
}

func (f *face) setAccess(allow bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		var b map[string]struct {
			Tenant string `json:"tenant"`
		}
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		x, err := f.svc.Flavor(r.Context(), r.Creds, r.Param("id"))
		if err != nil {
			return nil, err
		}
		if allow && x.Public && r.Version.AtLeast(v(7)) {
			return nil, fault.Conflict("Can not add access to a public flavor.")
		}
		if err := f.svc.SetFlavorAccess(r.Context(), x.ID, b[r.Route.Action].Tenant, allow); err != nil {
			return nil, err
		}
		return f.accessView(r, x.ID)
	}
}

func (f *face) listSpecs(r *httpapi.Request) (any, error) {
	x, err := f.svc.Flavor(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"extra_specs": orNothing(x.ExtraSpecs.V)}, nil
}

func (f *face) showSpec(r *httpapi.Request) (any, error) {
	x, err := f.svc.Flavor(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	value, ok := x.ExtraSpecs.V[r.Param("key")]
	if !ok {
		return nil, fault.NotFound("Flavor %s has no extra specs with key %s.", x.ID, r.Param("key"))
	}
	return obj{r.Param("key"): value}, nil
}

func readSpecs(r *httpapi.Request, raw map[string]any) (map[string]string, error) {
	out := map[string]string{}
	for k, x := range raw {
		s, ok := x.(string)
		if n, isNumber := x.(json.Number); isNumber {
			s, ok = n.String(), true
		}
		if !ok {
			s = fmt.Sprint(x)
		}
		if err := checkSpec(r, k, s); err != nil {
			return nil, err
		}
		out[k] = s
	}
	return out, nil
}

func (f *face) createSpecs(r *httpapi.Request) (any, error) {
	raw, _ := r.Document().(map[string]any)["extra_specs"].(map[string]any)
	specs, err := readSpecs(r, raw)
	if err != nil {
		return nil, err
	}
	return obj{"extra_specs": specs}, f.editSpecs(r, func(m map[string]string) error {
		for k, s := range specs {
			m[k] = s
		}
		return nil
	})
}

func (f *face) editSpecs(r *httpapi.Request, fn func(map[string]string) error) error {
	_, err := f.svc.EditFlavor(r.Context(), r.Param("id"), func(x *compute.FlavorRow) error { return fn(x.ExtraSpecs.V) })
	return err
}

func (f *face) updateSpec(r *httpapi.Request) (any, error) {
	specs, err := readSpecs(r, r.Document().(map[string]any))
	if err != nil {
		return nil, err
	}
	key := r.Param("key")
	value, ok := specs[key]
	if !ok || len(specs) != 1 {
		return nil, fault.Invalid(key, "Request body and URI mismatch")
	}
	return obj{key: value}, f.editSpecs(r, func(m map[string]string) error { m[key] = value; return nil })
}

func (f *face) deleteSpec(r *httpapi.Request) (any, error) {
	key := r.Param("key")
	return nil, f.editSpecs(r, func(m map[string]string) error {
		if _, ok := m[key]; !ok {
			return fault.NotFound("Flavor %s has no extra specs with key %s.", r.Param("id"), key)
		}
		delete(m, key)
		return nil
	})
}
