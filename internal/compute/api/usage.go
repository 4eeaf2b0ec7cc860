package api

import (
	"strings"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
)

func (f *face) usageRoutes() []httpapi.Route {
	const rule = "os_compute_api:os-simple-tenant-usage:"
	return []httpapi.Route{
		{Method: get, Path: "/os-simple-tenant-usage", Name: "usage.list", Query: query(75, "start", "end", "detailed", "limit", "marker"), Rule: rule + "list", Handler: f.listUsage},
		{Method: get, Path: "/os-simple-tenant-usage/{id}", Name: "usage.show", Query: query(75, "start", "end", "limit", "marker"), Rule: rule + "show",
			Target: func(r *httpapi.Request) policy.Target { return policy.Target{"project_id": r.Param("id")} }, Handler: f.showUsage},
	}
}

// period reads start and end; the last day up to now when they are not given (Nova: the last 24 hours).
func (f *face) period(r *httpapi.Request) (start, end time.Time, err error) {
	if end, err = timeParam(r, "end"); err != nil {
		return start, end, fault.Invalid("end", "Invalid datetime format")
	}
	if start, err = timeParam(r, "start"); err != nil {
		return start, end, fault.Invalid("start", "Invalid datetime format")
	}
	now := f.svc.Clock.Now().UTC()
	if end.IsZero() {
		end = now
	}
	if start.IsZero() {
		start = end.Add(-24 * time.Hour)
	}
	if start.After(end) {
		return start, end, fault.Invalid("start", "Invalid start time. The start time cannot occur after the end time.")
	}
	if end.After(now) {
		end = now // what is to come is not used yet
	}
	return start, end, nil
}

var usageStates = map[compute.VMState]string{compute.Deleted: "terminated"}

// tenantUsage adds up servers of one project.
func (f *face) tenantUsage(project string, list []compute.UsedServer, start, end time.Time, detailed bool) obj {
	var hours, disk, ram, cpus float64
	items := []obj{}
	for i := range list {
		u := &list[i]
		h, fl := u.Hours(start, end), u.Flavor.V
		hours += h
		cpus += h * float64(fl.VCPUs)
		ram += h * float64(fl.RAMMiB)
		gib := fl.RootGiB + fl.EphemeralGiB
		disk += h * float64(gib)
		state := usageStates[u.VMState]
		if state == "" {
			state = string(u.VMState)
		}
		until := f.svc.Clock.Now()
		if !u.Terminated.IsZero() {
			until = u.Terminated.Time
		}
		items = append(items, obj{"instance_id": u.ID, "name": u.Name, "tenant_id": u.ProjectID, "flavor": fl.Name, "vcpus": fl.VCPUs, "memory_mb": fl.RAMMiB, "local_gb": gib, "hours": h,
			"started_at": micros(u.Launched), "ended_at": micros(u.Terminated), "state": strings.ToLower(state), "uptime": max(0, int(until.Sub(u.Launched.Time).Seconds()))})
	}
	out := obj{"tenant_id": project, "start": micros(db.At(start)), "stop": micros(db.At(end)), "total_hours": hours, "total_vcpus_usage": cpus, "total_memory_mb_usage": ram, "total_local_gb_usage": disk}
	if detailed {
		out["server_usages"] = items
	}
	return out
}

// used reads the rows of a period, and of them the page asked for (2.40: pages of servers).
func (f *face) used(r *httpapi.Request, project string, start, end time.Time) (rows []compute.UsedServer, next []obj, err error) {
	var all []compute.UsedServer
	if err = f.read(r, func(tx *db.Tx) error {
		all, err = compute.UsedBetween(r.Context(), tx, project, start, end)
		return err
	}); err != nil {
		return nil, nil, err
	}
	if !r.Version.AtLeast(v(40)) {
		return all, nil, nil
	}
	page, err := r.Page(maxLimit)
	if err != nil {
		return nil, nil, err
	}
	rows, err = listed(page, all, func(u *compute.UsedServer) string { return u.ID })
	if err == nil && len(rows) > 0 {
		next = r.NextLinks(page, len(rows), rows[len(rows)-1].ID)
	}
	return rows, next, err
}

func (f *face) listUsage(r *httpapi.Request) (any, error) {
	start, end, err := f.period(r)
	if err != nil {
		return nil, err
	}
	rows, next, err := f.used(r, "", start, end)
	if err != nil {
		return nil, err
	}
	out := []obj{}
	for i := 0; i < len(rows); {
		j := i
		for j < len(rows) && rows[j].ProjectID == rows[i].ProjectID {
			j++
		}
		out = append(out, f.tenantUsage(rows[i].ProjectID, rows[i:j], start, end, r.URL.Query().Get("detailed") == "1"))
		i = j
	}
	body := obj{"tenant_usages": out}
	if next != nil {
		body["tenant_usages_links"] = next
	}
	return body, nil
}

func (f *face) showUsage(r *httpapi.Request) (any, error) {
	start, end, err := f.period(r)
	if err != nil {
		return nil, err
	}
	rows, next, err := f.used(r, r.Param("id"), start, end)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return obj{"tenant_usage": obj{}}, nil
	}
	body := obj{"tenant_usage": f.tenantUsage(r.Param("id"), rows, start, end, true)}
	if next != nil {
		body["tenant_usage_links"] = next
	}
	return body, nil
}
