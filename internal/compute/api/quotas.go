package api

import (
	"maps"
	"slices"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
	"nephos/internal/quota"
)

// proxied are the network resources that quota sets named before 2.36 (class sets before 2.50). What is set here is shown here and stops nobody: the limits in force
// are the network service's.
var (
	proxied  = []string{"floating_ips", "fixed_ips", "security_groups", "security_group_rules"}
	injected = []string{"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"} // gone in 2.57
)

// limited are all resources that have a limit here.
var limited = slices.Concat(quota.ComputeResources, proxied)

// quotaNames are the resources that a version knows. proxy is the version that took the network's away.
func quotaNames(version httpapi.Version, proxy int) []string {
	out := slices.Clone(quota.ComputeResources)
	if version.AtLeast(v(57)) {
		out = slices.DeleteFunc(out, func(s string) bool { return slices.Contains(injected, s) })
	}
	if !version.AtLeast(v(proxy)) {
		out = append(out, proxied...)
	}
	return out
}

func quotaBody(key string, proxy int, force bool) func(version int) string {
	return func(version int) string {
		var props []prop
		for _, n := range quotaNames(v(version), proxy) {
			props = append(props, opt(n, sQuota))
		}
		if force {
			props = append(props, opt("force", sBool))
		}
		return wrap(key, object(props...))
	}
}

func (f *face) quotaRoutes() []httpapi.Route {
	const set, class = "os_compute_api:os-quota-sets:", "os_compute_api:os-quota-class-sets:"
	user := query(75, "user_id")
	target := func(r *httpapi.Request) policy.Target { return policy.Target{"project_id": r.Param("id")} }
	classBody := httpapi.Schemas{}
	for _, n := range []int{1, 50, 57} {
		classBody = append(classBody, httpapi.Schema{Since: v(n), JSON: quotaBody("quota_class_set", 50, false)(n)})
	}
	return []httpapi.Route{
		{Method: get, Path: "/limits", Name: "limits.show", Query: query(75, "tenant_id"), Rule: "os_compute_api:limits", Handler: f.limits},
		{Method: get, Path: "/os-quota-sets/{id}", Name: "quotas.show", Query: user, Rule: set + "show", Target: target, Handler: f.showQuota(false)},
		{Method: get, Path: "/os-quota-sets/{id}/detail", Name: "quotas.detail", Query: user, Rule: set + "detail", Target: target, Handler: f.showQuota(true)},
		{Method: get, Path: "/os-quota-sets/{id}/defaults", Name: "quotas.defaults", Rule: set + "defaults", Handler: f.quotaDefaults},
		{Method: put, Path: "/os-quota-sets/{id}", Name: "quotas.update", Query: user, Rule: set + "update", Body: at(quotaBody("quota_set", 36, true), 1, 36, 57), Handler: f.updateQuota},
		{Method: del, Path: "/os-quota-sets/{id}", Name: "quotas.delete", Query: user, Rule: set + "delete", Status: accepted, Handler: f.deleteQuota},
		{Method: get, Path: "/os-quota-class-sets/{id}", Name: "quotaclasses.show", Rule: class + "show", Handler: f.showClass(true)},
		{Method: put, Path: "/os-quota-class-sets/{id}", Name: "quotaclasses.update", Rule: class + "update", Body: classBody, Handler: f.updateClass},
	}
}

// limits is what a project may have and has; an admin may ask for another's.
func (f *face) limits(r *httpapi.Request) (any, error) {
	project := r.Creds.ProjectID
	if p := r.URL.Query().Get("tenant_id"); p != "" && p != project {
		if err := r.Authorize("os_compute_api:limits:other_project", policy.Target{"project_id": p}); err != nil {
			return nil, err
		}
		project = p
	}
	var l, u map[string]int64
	err := f.read(r, func(tx *db.Tx) (err error) {
		if l, err = f.deps.Quotas.Limits(r.Context(), tx, project, quota.ComputeResources); err != nil {
			return err
		}
		u, err = f.deps.Quotas.Usage(r.Context(), tx, project)
		return err
	})
	if err != nil {
		return nil, err
	}
	a := obj{"maxTotalInstances": l["instances"], "maxTotalCores": l["cores"], "maxTotalRAMSize": l["ram"], "maxTotalKeypairs": l["key_pairs"], "maxServerMeta": l["metadata_items"],
		"maxServerGroups": l["server_groups"], "maxServerGroupMembers": l["server_group_members"], "totalInstancesUsed": u["instances"], "totalCoresUsed": u["cores"],
		"totalRAMUsed": u["ram"], "totalServerGroupsUsed": u["server_groups"]}
	if !r.Version.AtLeast(v(57)) {
		a["maxPersonality"], a["maxPersonalitySize"] = l["injected_files"], l["injected_file_content_bytes"]
	}
	if !r.Version.AtLeast(v(39)) {
		a["maxImageMeta"] = l["metadata_items"]
	}
	if !r.Version.AtLeast(v(36)) {
		for _, k := range []string{"maxSecurityGroups", "maxSecurityGroupRules", "maxTotalFloatingIps"} {
			a[k] = quota.Unlimited
		}
		a["totalFloatingIpsUsed"], a["totalSecurityGroupsUsed"] = 0, 0
	}
	return obj{"limits": obj{"rate": []any{}, "absolute": a}}, nil
}

func (f *face) showQuota(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		l, u, err := f.quotaOf(r)
		if err != nil {
			return nil, err
		}
		out := obj{"id": r.Param("id")}
		for _, n := range quotaNames(r.Version, 36) {
			if detail {
				out[n] = obj{"limit": l[n], "in_use": u[n], "reserved": 0}
			} else {
				out[n] = l[n]
			}
		}
		return obj{"quota_set": out}, nil
	}
}

// quotaOf reads limits and usage: of a project, or of the user_id of the query in it.
func (f *face) quotaOf(r *httpapi.Request) (limits, usage map[string]int64, err error) {
	project, user := r.Param("id"), r.URL.Query().Get("user_id")
	err = f.read(r, func(tx *db.Tx) error {
		if limits, err = f.deps.Quotas.UserLimits(r.Context(), tx, project, user, limited); err != nil {
			return err
		}
		usage, err = f.inUse(r, tx, project, user)
		return err
	})
	return limits, usage, err
}

func (f *face) inUse(r *httpapi.Request, tx *db.Tx, project, user string) (map[string]int64, error) {
	if user != "" {
		return compute.UserUsage(r.Context(), tx, project, user)
	}
	return f.deps.Quotas.Usage(r.Context(), tx, project)
}

func (f *face) quotaDefaults(r *httpapi.Request) (any, error) {
	var l map[string]int64
	err := f.read(r, func(tx *db.Tx) (err error) {
		l, err = f.deps.Quotas.DefaultLimits(r.Context(), tx, limited)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := obj{"id": r.Param("id")}
	for _, n := range quotaNames(r.Version, 36) {
		out[n] = l[n]
	}
	return obj{"quota_set": out}, nil
}

// updateQuota sets limits of a project, or of the user_id of the query in it. One below what is in use, or a user's above the project's, needs force (Nova).
func (f *face) updateQuota(r *httpapi.Request) (any, error) {
	var b struct {
		Set map[string]flexText `json:"quota_set"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	force, _ := parseBool(string(b.Set["force"]))
	want, err := quotaValues(b.Set)
	if err != nil {
		return nil, err
	}
	project, user := r.Param("id"), r.URL.Query().Get("user_id")
	var l map[string]int64
	err = f.svc.DB.Write(r.Context(), func(tx *db.Tx) error {
		used, err := f.inUse(r, tx, project, user)
		if err != nil {
			return err
		}
		most, err := f.deps.Quotas.Limits(r.Context(), tx, project, limited)
		if err != nil {
			return err
		}
		for _, n := range slices.Sorted(maps.Keys(want)) {
			x := want[n]
			if !force && x >= 0 && x < used[n] {
				return fault.Invalid(n, "Quota limit %d for %s must be greater than or equal to already used and reserved %d.", x, n, used[n])
			}
			if user == "" {
				err = f.deps.Quotas.SetLimit(r.Context(), tx, project, n, x)
			} else if !force && most[n] != quota.Unlimited && (x > most[n] || x == quota.Unlimited) {
				return fault.Invalid(n, "Quota limit %d for %s must be less than or equal to %d.", x, n, most[n])
			} else {
				err = f.deps.Quotas.SetUserLimit(r.Context(), tx, project, user, n, x)
			}
			if err != nil {
				return err
			}
		}
		l, err = f.deps.Quotas.UserLimits(r.Context(), tx, project, user, limited)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := obj{}
	for _, n := range quotaNames(r.Version, 36) {
		out[n] = l[n]
	}
	return obj{"quota_set": out}, nil
}

// quotaValues reads the limits of resources that are counted here.
func quotaValues(raw map[string]flexText) (map[string]int64, error) {
	out := map[string]int64{}
	for n, x := range raw {
		if !slices.Contains(limited, n) {
			continue
		}
		var i flexInt
		if err := i.UnmarshalJSON([]byte(x)); err != nil || i < -1 {
			return nil, fault.Invalid(n, "Invalid input for field/attribute %s. Value: %s. It must be an integer >= -1.", n, x)
		}
		out[n] = int64(i)
	}
	return out, nil
}

func (f *face) deleteQuota(r *httpapi.Request) (any, error) {
	return nil, f.svc.DB.Write(r.Context(), func(tx *db.Tx) error {
		if user := r.URL.Query().Get("user_id"); user != "" {
			return f.deps.Quotas.ResetUser(r.Context(), tx, r.Param("id"), user, limited)
		}
		return f.deps.Quotas.Reset(r.Context(), tx, r.Param("id"), limited)
	})
}

// showClass: the one class that has an effect is "default"; Nova shows the same numbers under any name.
func (f *face) showClass(withID bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		var l map[string]int64
		err := f.read(r, func(tx *db.Tx) (err error) {
			l, err = f.deps.Quotas.DefaultLimits(r.Context(), tx, limited)
			return err
		})
		if err != nil {
			return nil, err
		}
		out := obj{}
		if withID {
			out["id"] = r.Param("id")
		}
		for _, n := range quotaNames(r.Version, 50) {
			if (n == "server_groups" || n == "server_group_members") && !r.Version.AtLeast(v(50)) {
				continue
			}
			out[n] = l[n]
		}
		return obj{"quota_class_set": out}, nil
	}
}

func (f *face) updateClass(r *httpapi.Request) (any, error) {
	var b struct {
		Set map[string]flexText `json:"quota_class_set"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	if r.Param("id") != "default" {
		return nil, fault.Invalid("id", "Quota class %s has no effect: only the class default is in use.", r.Param("id"))
	}
	want, err := quotaValues(b.Set)
	if err != nil {
		return nil, err
	}
	err = f.svc.DB.Write(r.Context(), func(tx *db.Tx) error {
		for _, n := range slices.Sorted(maps.Keys(want)) {
			if err := f.deps.Quotas.SetDefault(r.Context(), tx, n, want[n]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f.showClass(false)(r)
}
