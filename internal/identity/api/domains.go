package api

import (
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

func domainTarget(r *httpapi.Request) policy.Target { return policy.Target{"domain_id": r.Param("id")} }

// callerDomain is the target "the domain that the caller's token is for".
func callerDomain(r *httpapi.Request) policy.Target {
	return policy.Target{"domain_id": r.Creds.DomainID}
}

func (f *face) listDomains(r *httpapi.Request) (any, error) {
	yes := true
	fl := identity.ProjectFilter{Name: r.URL.Query().Get("name"), Enabled: flag(r, "enabled"), IsDomain: &yes}
	if !r.Allowed("admin_or_system_reader", policy.Target{}) {
		fl.IDs = []string{r.Creds.DomainID}
	}
	ps, err := f.svc.Projects(r.Context(), fl)
	if err != nil {
		return nil, err
	}
	return list(r, "domains", ps, func(p *identity.Project) map[string]any { return domainView(r, p) })
}

func (f *face) createDomain(r *httpapi.Request) (any, error) {
	in, extra, err := read[projectJSON](r, "domain")
	if err != nil {
		return nil, err
	}
	p, err := newProject(in, extra)
	if err != nil {
		return nil, err
	}
	p.IsDomain = true
	out, err := f.svc.CreateProject(r.Context(), p)
	if err != nil {
		return nil, err
	}
	return created(obj{"domain": domainView(r, out)}), nil
}

func (f *face) showDomain(r *httpapi.Request) (any, error) {
	p, err := f.svc.Domain(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"domain": domainView(r, p)}, nil
}

func (f *face) updateDomain(r *httpapi.Request) (any, error) {
	in, extra, err := read[projectJSON](r, "domain")
	if err != nil {
		return nil, err
	}
	if _, err := f.svc.Domain(r.Context(), r.Param("id")); err != nil {
		return nil, err
	}
	p, err := f.svc.UpdateProject(r.Context(), r.Param("id"), in.edit(extra))
	if err != nil {
		return nil, err
	}
	return obj{"domain": domainView(r, p)}, nil
}

func (f *face) deleteDomain(r *httpapi.Request) (any, error) {
	if _, err := f.svc.Domain(r.Context(), r.Param("id")); err != nil {
		return nil, err
	}
	return nil, f.svc.DeleteProject(r.Context(), r.Param("id"))
}
