package api

import (
	"context"
	"log/slog"
	"net/http"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
)

// Deps are what the service needs.
type Deps struct {
	DB      *db.DB
	Auth    httpapi.Authenticator
	AuthURI string
	Policy  *policy.Enforcer // with Rules in it; nil: policy.Base and Rules
	Log     *slog.Logger     // nil: the default logger
	// Changed is told of providers whose inventories, use, traits or aggregates a client has changed, after the commit; nil: nobody wants to know. It must be quick.
	Changed func(ctx context.Context, providerIDs []string)
}

// The oldest and newest microversions.
var (
	oldest = httpapi.V(1, 0)
	newest = httpapi.V(1, 39)
)

// operator is the rule of all calls but one: Placement's own default is "role:admin or role:service".
const operator = "placement:operator"

// Rules are Placement's default policies.
var Rules = policy.Rules{
	operator:                     "rule:service",
	"placement:usages":           "rule:service or rule:project_reader",
	"placement:reshaper:reshape": "rule:service",
}

type server struct {
	db      *db.DB
	changed func(ctx context.Context, providerIDs []string)
}

// New returns the service's table; the caller compiles it.
func New(d Deps) (*httpapi.Service, error) {
	if d.Policy == nil {
		var err error
		if d.Policy, err = policy.New(policy.Base, Rules); err != nil {
			return nil, err
		}
	}
	log := d.Log
	if log == nil {
		log = slog.Default()
	}
	s := &server{db: d.DB, changed: d.Changed}
	if s.changed == nil {
		s.changed = func(context.Context, []string) {}
	}
	return &httpapi.Service{
		Name: "placement", Auth: d.Auth, AuthURI: d.AuthURI, Policy: d.Policy, Errors: errorBody, Log: log,
		Micro:  &httpapi.Microversions{Service: "placement", Min: oldest, Max: newest, Default: oldest},
		Mounts: []httpapi.Mount{{Prefix: "", Project: httpapi.ProjectNone}},
		Root:   []httpapi.Route{{Method: http.MethodGet, Path: "/", Name: "versions", Public: true, Handler: versions}},
		Routes: s.routes(),
	}, nil
}

// errorBody is Placement's form; 406 names the range as well (API-WG microversion specification).
func errorBody(e httpapi.ErrorInfo) (int, any) {
	status, body := httpapi.PlacementErrors(e)
	if e.Kind != fault.KindNotAcceptable {
		return status, body
	}
	item := map[string]any{"status": status, "title": http.StatusText(status), "detail": e.Message, "request_id": e.RequestID,
		"min_version": oldest.String(), "max_version": newest.String()}
	return status, map[string]any{"errors": []any{item}}
}

func versions(*httpapi.Request) (any, error) {
	return map[string]any{"versions": []any{map[string]any{"id": "v1.0", "status": "CURRENT", "min_version": oldest.String(), "max_version": newest.String(),
		"links": []any{map[string]any{"rel": "self", "href": ""}}}}}, nil
}

func (s *server) routes() []httpapi.Route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	const provider = "/resource_providers/{id}"
	v := func(minor int) httpapi.Version { return httpapi.V(1, minor) }
	rows := []httpapi.Route{
		{Method: get, Path: "/resource_providers", Name: "resource_providers.list", Query: providerQuery, Handler: s.listProviders},
		{Method: post, Path: "/resource_providers", Name: "resource_providers.create", Body: createProviderBody, Status: http.StatusCreated, Handler: s.createProvider},
		{Method: get, Path: provider, Name: "resource_providers.show", Handler: s.showProvider},
		{Method: put, Path: provider, Name: "resource_providers.update", Body: updateProviderBody, Handler: s.updateProvider},
		{Method: del, Path: provider, Name: "resource_providers.delete", Handler: s.deleteProvider},

		{Method: get, Path: provider + "/inventories", Name: "inventories.list", Handler: s.listInventories},
		{Method: put, Path: provider + "/inventories", Name: "inventories.replace", Body: inventoriesBody, Handler: s.replaceInventories},
		{Method: post, Path: provider + "/inventories", Name: "inventories.create", Body: createInventoryBody, Status: http.StatusCreated, Handler: s.createInventory},
		{Method: del, Path: provider + "/inventories", Name: "inventories.clear", Min: v(5), Handler: s.deleteInventory},
		{Method: get, Path: provider + "/inventories/{class}", Name: "inventories.show", Handler: s.showInventory},
		{Method: put, Path: provider + "/inventories/{class}", Name: "inventories.update", Body: inventoryBody, Handler: s.updateInventory},
		{Method: del, Path: provider + "/inventories/{class}", Name: "inventories.delete", Handler: s.deleteInventory},

		{Method: get, Path: provider + "/usages", Name: "providers.usages", Handler: s.providerUsages},
		{Method: get, Path: provider + "/allocations", Name: "providers.allocations", Handler: s.providerAllocations},
		{Method: get, Path: provider + "/aggregates", Name: "aggregates.list", Min: v(1), Handler: s.listAggregates},
		{Method: put, Path: provider + "/aggregates", Name: "aggregates.replace", Min: v(1), Body: aggregatesBody, Handler: s.setAggregates},
		{Method: get, Path: provider + "/traits", Name: "providers.traits", Min: v(6), Handler: s.listProviderTraits},
		{Method: put, Path: provider + "/traits", Name: "providers.set_traits", Min: v(6), Body: traitsBody, Handler: s.setProviderTraits},
		{Method: del, Path: provider + "/traits", Name: "providers.clear_traits", Min: v(6), Handler: s.clearProviderTraits},

		{Method: get, Path: "/allocations/{consumer}", Name: "allocations.show", Handler: s.showAllocations},
		{Method: put, Path: "/allocations/{consumer}", Name: "allocations.replace", Body: allocationsBody, Handler: s.setAllocations},
		{Method: del, Path: "/allocations/{consumer}", Name: "allocations.delete", Handler: s.deleteAllocations},
		{Method: post, Path: "/allocations", Name: "allocations.bulk", Min: v(13), Body: bulkBody, Handler: s.bulkAllocations},
		{Method: get, Path: "/allocation_candidates", Name: "allocation_candidates", Min: v(10), Handler: s.candidates},

		{Method: get, Path: "/traits", Name: "traits.list", Min: v(6), Query: params(v(6), "name", "associated"), Handler: s.listTraits},
		{Method: get, Path: "/traits/{name}", Name: "traits.show", Min: v(6), Handler: s.showTrait},
		{Method: put, Path: "/traits/{name}", Name: "traits.create", Min: v(6), Handler: s.putTrait},
		{Method: del, Path: "/traits/{name}", Name: "traits.delete", Min: v(6), Handler: s.deleteTrait},
		{Method: get, Path: "/resource_classes", Name: "classes.list", Min: v(2), Handler: s.listClasses},
		{Method: post, Path: "/resource_classes", Name: "classes.create", Min: v(2), Body: classBody, Status: http.StatusCreated, Handler: s.createClass},
		{Method: get, Path: "/resource_classes/{name}", Name: "classes.show", Min: v(2), Handler: s.showClass},
		{Method: put, Path: "/resource_classes/{name}", Name: "classes.rename", Min: v(2), Max: v(6), Body: classBody, Handler: s.renameClass},
		{Method: put, Path: "/resource_classes/{name}", Name: "classes.put", Min: v(7), Handler: s.putClass},
		{Method: del, Path: "/resource_classes/{name}", Name: "classes.delete", Min: v(2), Handler: s.deleteClass},

		{Method: get, Path: "/usages", Name: "usages", Min: v(9), Rule: "placement:usages", Query: usageQuery, Handler: s.usages,
			Target: func(r *httpapi.Request) policy.Target {
				return policy.Target{"project_id": r.URL.Query().Get("project_id")}
			}},
		{Method: post, Path: "/reshaper", Name: "reshaper", Min: v(30), Rule: "placement:reshaper:reshape", Body: reshaperBody, Status: http.StatusNoContent, Handler: s.reshape},
	}
	for i := range rows {
		if rows[i].Rule == "" {
			rows[i].Rule = operator
		}
		rows[i].Handler = uncached(rows[i].Handler)
	}
	return rows
}
