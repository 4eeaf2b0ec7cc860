package api

import (
	"encoding/json"
	"net/http"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

// domainConfigRoutes: the defaults are rows for each section by name, because a wildcard there would be ambiguous with a domain's own paths.
func (f *face) domainConfigRoutes() []httpapi.Route {
	const base = "/domains/{id}/config"
	rows := []httpapi.Route{
		{Method: "GET", Path: "/domains/config/default", Name: "domain-config.defaults", Rule: "identity:get_domain_config_default", Handler: defaultConfig("")},
		{Method: "GET", Path: base + "/security_compliance", Name: "domain-config.security", Rule: "identity:get_security_compliance_domain_config", Handler: f.securityConfig},
		{Method: "GET", Path: base + "/security_compliance/{option}", Name: "domain-config.security-option", Rule: "identity:get_security_compliance_domain_config", Handler: f.securityConfig},
		{Method: "PUT", Path: base, Name: "domain-config.put", Rule: "identity:create_domain_config", Body: configBody, Handler: f.putConfig},
	}
	for _, section := range []string{"identity", "ldap"} {
		rows = append(rows,
			httpapi.Route{Method: "GET", Path: "/domains/config/" + section + "/default", Name: "domain-config.defaults-" + section,
				Rule: "identity:get_domain_config_default", Handler: defaultConfig(section)},
			httpapi.Route{Method: "GET", Path: "/domains/config/" + section + "/{option}/default", Name: "domain-config.default-" + section,
				Rule: "identity:get_domain_config_default", Handler: defaultConfig(section)})
	}
	for _, x := range []struct{ path, name string }{{base, "all"}, {base + "/{group}", "group"}, {base + "/{group}/{option}", "option"}} {
		rows = append(rows,
			httpapi.Route{Method: "GET", Path: x.path, Name: "domain-config.show-" + x.name, Rule: "identity:get_domain_config", Handler: f.showConfig},
			httpapi.Route{Method: "PATCH", Path: x.path, Name: "domain-config.update-" + x.name, Rule: "identity:update_domain_config", Body: configBody, Handler: f.updateConfig},
			httpapi.Route{Method: "DELETE", Path: x.path, Name: "domain-config.delete-" + x.name, Rule: "identity:delete_domain_config", Handler: f.deleteConfig})
	}
	return rows
}

// configView is {"config": …}: all sections; or one under its name; or one option alone.
func configView(c identity.DomainConfig, section, name string) any {
	if name != "" {
		return obj{"config": obj{name: c[section][name]}}
	}
	return obj{"config": c}
}

func defaultConfig(section string) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		c, err := identity.DomainDefaults(section, r.Param("option"))
		if err != nil {
			return nil, err
		}
		return configView(c, section, r.Param("option")), nil
	}
}

// readConfig reads a body: of sections, or for one option in the URL also just that option.
func readConfig(r *httpapi.Request) (identity.DomainConfig, error) {
	var in struct {
		Config map[string]json.RawMessage `json:"config"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	section, name := r.Param("group"), r.Param("option")
	if name != "" && len(in.Config) == 1 && in.Config[name] != nil {
		return identity.DomainConfig{section: {name: in.Config[name]}}, nil
	}
	out := identity.DomainConfig{}
	for s, raw := range in.Config {
		var options map[string]json.RawMessage
		if err := json.Unmarshal(raw, &options); err != nil {
			return nil, fault.Invalid("config", "Invalid input for field 'config': %s must be an object of options.", s)
		}
		out[s] = options
	}
	return out, nil
}

func (f *face) putConfig(r *httpapi.Request) (any, error) {
	c, err := readConfig(r)
	if err != nil {
		return nil, err
	}
	fresh, err := f.svc.SetDomainConfig(r.Context(), r.Param("id"), c)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if fresh {
		status = http.StatusCreated
	}
	body, err := f.showConfig(r)
	return &httpapi.Response{Status: status, Body: body}, err
}

func (f *face) showConfig(r *httpapi.Request) (any, error) {
	section, name := r.Param("group"), r.Param("option")
	c, err := f.svc.DomainConfig(r.Context(), r.Param("id"), section, name)
	if err != nil {
		return nil, err
	}
	return configView(c, section, name), nil
}

func (f *face) updateConfig(r *httpapi.Request) (any, error) {
	c, err := readConfig(r)
	if err != nil {
		return nil, err
	}
	if err := f.svc.UpdateDomainConfig(r.Context(), r.Param("id"), r.Param("group"), r.Param("option"), c); err != nil {
		return nil, err
	}
	all, err := f.svc.DomainConfig(r.Context(), r.Param("id"), "", "")
	if err != nil {
		return nil, err
	}
	return obj{"config": all}, nil
}

func (f *face) deleteConfig(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteDomainConfig(r.Context(), r.Param("id"), r.Param("group"), r.Param("option"))
}

// securityConfig tells whoever chooses a password what it must be like.
func (f *face) securityConfig(r *httpapi.Request) (any, error) {
	if _, err := f.svc.Domain(r.Context(), r.Param("id")); err != nil {
		return nil, err
	}
	sec := f.svc.Security()
	all := obj{"password_regex": null(sec.Regex), "password_regex_description": null(sec.RegexDescription)}
	name := r.Param("option")
	if name == "" {
		return obj{"config": obj{"security_compliance": all}}, nil
	}
	v, ok := all[name]
	if !ok {
		return nil, fault.Forbidden("Invalid domain specific configuration: reading security compliance values other than password_regex and password_regex_description is not allowed.")
	}
	return obj{"config": obj{name: v}}, nil
}
