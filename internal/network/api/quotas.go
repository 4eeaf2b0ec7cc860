package api

import (
	"context"
	"net/http"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
)

// Quotas is what the quota calls need of the quota room.
type Quotas interface {
	Limits(ctx context.Context, tx *db.Tx, projectID string, resources []string) (map[string]int64, error)
	DefaultLimits(ctx context.Context, tx *db.Tx, resources []string) (map[string]int64, error)
	SetLimit(ctx context.Context, tx *db.Tx, projectID, resource string, limit int64) error
	Reset(ctx context.Context, tx *db.Tx, projectID string, resources []string) error
	Usage(ctx context.Context, tx *db.Tx, projectID string) (map[string]int64, error)
	// Projects lists those that have a limit of their own on one of the resources.
	Projects(ctx context.Context, tx *db.Tx, resources []string) ([]string, error)
}

// counted are the resources with a quota, in Neutron's order.
var counted = []string{"network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule"}

func (s *server) quotaRoutes() []httpapi.Route {
	own := func(r *httpapi.Request) policy.Target { return policy.Target{"project_id": r.Param("project")} }
	mine := func(h func(*httpapi.Request, string) (any, error)) httpapi.Handler {
		return func(r *httpapi.Request) (any, error) { return h(r, r.Param("project")) }
	}
	project := func(r *httpapi.Request) (any, error) {
		return map[string]any{"tenant": map[string]any{"tenant_id": r.Creds.ProjectID, "project_id": r.Creds.ProjectID}}, nil
	}
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/quotas", Name: "quotas.list", Rule: "list_quota", Handler: s.listQuotas},
		{Method: http.MethodGet, Path: "/quotas/tenant", Name: "quotas.tenant", Handler: project},
		{Method: http.MethodGet, Path: "/quotas/project", Name: "quotas.project", Handler: project},
		{Method: http.MethodGet, Path: "/quotas/{project}", Name: "quotas.show", Rule: "get_quota", Target: own, Handler: mine(s.showQuota)},
		{Method: http.MethodGet, Path: "/quotas/{project}/default", Name: "quotas.default", Rule: "get_quota", Target: own, Handler: mine(s.defaultQuota)},
		{Method: http.MethodGet, Path: "/quotas/{project}/details", Name: "quotas.details", Rule: "get_quota", Target: own, Handler: mine(s.quotaDetails)},
		{Method: http.MethodPut, Path: "/quotas/{project}", Name: "quotas.update", Rule: "update_quota", Handler: mine(s.updateQuota)},
		{Method: http.MethodDelete, Path: "/quotas/{project}", Name: "quotas.delete", Rule: "delete_quota", Status: http.StatusNoContent, Handler: mine(s.deleteQuota)},
	}
}

// listQuotas shows the projects with limits of their own; all others have the defaults.
func (s *server) listQuotas(r *httpapi.Request) (any, error) {
	out := []any{}
	err := s.DB.Read(r.Context(), func(tx *db.Tx) error {
		projects, err := s.Quotas.Projects(r.Context(), tx, counted)
		if err != nil {
			return err
		}
		for _, p := range projects {
			limits, err := s.Quotas.Limits(r.Context(), tx, p, counted)
			if err != nil {
				return err
			}
			one := map[string]any{"project_id": p, "tenant_id": p}
			for resource, limit := range limits {
				one[resource] = limit
			}
			out = append(out, one)
		}
		return nil
	})
	return map[string]any{"quotas": out}, err
}

func (s *server) showQuota(r *httpapi.Request, project string) (out any, err error) {
	err = s.DB.Read(r.Context(), func(tx *db.Tx) error {
		limits, err := s.Quotas.Limits(r.Context(), tx, project, counted)
		out = map[string]any{"quota": limits}
		return err
	})
	return out, err
}

func (s *server) defaultQuota(r *httpapi.Request, _ string) (out any, err error) {
	err = s.DB.Read(r.Context(), func(tx *db.Tx) error {
		limits, err := s.Quotas.DefaultLimits(r.Context(), tx, counted)
		out = map[string]any{"quota": limits}
		return err
	})
	return out, err
}

func (s *server) quotaDetails(r *httpapi.Request, project string) (any, error) {
	quota := map[string]any{}
	err := s.DB.Read(r.Context(), func(tx *db.Tx) error {
		limits, err := s.Quotas.Limits(r.Context(), tx, project, counted)
		if err != nil {
			return err
		}
		used, err := s.Quotas.Usage(r.Context(), tx, project)
		for _, k := range counted {
			quota[k] = map[string]int64{"limit": limits[k], "used": used[k], "reserved": 0}
		}
		return err
	})
	return map[string]any{"quota": quota}, err
}

func (s *server) updateQuota(r *httpapi.Request, project string) (any, error) {
	doc, _ := r.Document().(map[string]any)
	in, ok := doc["quota"].(map[string]any)
	if !ok {
		return nil, fault.Invalid("quota", "Unable to find 'quota' in request body").WithType("HTTPBadRequest")
	}
	want := map[string]int64{}
	for k, v := range in {
		switch k {
		case "tenant_id", "project_id", "force", "check_limit":
			continue
		}
		known := false
		for _, c := range counted {
			known = known || c == k
		}
		if !known {
			return nil, fault.Invalid(k, "Unrecognized attribute(s) '%s'", k).WithType("HTTPBadRequest")
		}
		a := attr{name: k, kind: kInt, min: -1, max: 2147483647}
		n, err := a.convert(v)
		if err != nil {
			return nil, err
		}
		want[k] = int64(n.(int))
	}
	err := s.DB.Write(r.Context(), func(tx *db.Tx) error {
		for _, k := range counted {
			if n, ok := want[k]; ok {
				if err := s.Quotas.SetLimit(r.Context(), tx, project, k, n); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.showQuota(r, project)
}

func (s *server) deleteQuota(r *httpapi.Request, project string) (any, error) {
	return nil, s.DB.Write(r.Context(), func(tx *db.Tx) error { return s.Quotas.Reset(r.Context(), tx, project, counted) })
}
