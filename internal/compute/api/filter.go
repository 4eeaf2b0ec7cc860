package api

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/httpapi"
)

// serverParams are the parameters of a list of servers; others are refused from 2.75 on, and ignored before.
var serverParams = []string{"all_tenants", "availability_zone", "block_device_mapping", "changes-before", "changes-since", "config_drive", "created_at", "deleted", "description", "display_description",
	"display_name", "flavor", "host", "hostname", "image", "image_ref", "instance_type_id", "ip", "ip6", "access_ip_v4", "access_ip_v6", "auto_disk_config", "kernel_id", "key_name", "launch_index",
	"launched_at", "limit", "locked", "locked_by", "marker", "name", "node", "not-tags", "not-tags-any", "power_state", "progress", "project_id", "ramdisk_id", "reservation_id",
	"root_device_name", "soft_deleted", "sort_dir", "sort_key", "status", "tags", "tags-any", "task_state", "tenant_id", "terminated_at", "user_id", "uuid", "vm_state", "services", "metadata", "system_metadata"}

// openFilters are those that others than admins may use, by the version that allowed it; what is not here they cannot filter by: it is ignored.
var openFilters = map[string]int{"reservation_id": 1, "name": 1, "status": 1, "image": 1, "flavor": 1, "ip": 1, "changes-since": 1, "all_tenants": 1, "ip6": 5, "tags": 26, "tags-any": 26, "not-tags": 26,
	"not-tags-any": 26, "changes-before": 66, "locked": 73, "availability_zone": 83, "config_drive": 83, "key_name": 83, "created_at": 83, "launched_at": 83, "terminated_at": 83,
	"power_state": 83, "task_state": 83, "vm_state": 83, "progress": 83, "user_id": 83, "hostname": 90}

// filter reads the query of GET /servers (compute.md section 3 of the API facts). none says that nothing can match.
func (f *face) filter(r *httpapi.Request) (out compute.ServerFilter, page httpapi.Page, none bool, err error) {
	if page, err = r.Page(maxLimit); err != nil {
		return out, page, false, err
	}
	q := url.Values{}
	all := r.Allowed("os_compute_api:servers:allow_all_filters", r.OwnTarget())
	for k, vs := range r.URL.Query() {
		since, known := openFilters[k]
		if all || known && r.Version.AtLeast(v(since)) {
			q[k] = vs
		}
	}
	out = compute.ServerFilter{ProjectID: r.Creds.ProjectID, Limit: page.Limit, Marker: page.Marker, Equal: map[string]any{}}
	for _, step := range []func(*httpapi.Request, url.Values, *compute.ServerFilter) error{f.filterProject, filterTimes, filterEqual, f.filterPatterns, filterSort} {
		if err = step(r, q, &out); err != nil {
			return out, page, false, err
		}
	}
	none, err = filterStates(r, q, &out)
	return out, page, none, err
}

func (f *face) filterProject(r *httpapi.Request, q url.Values, out *compute.ServerFilter) error {
	text := q.Get("all_tenants")
	every, ok := parseBool(text)
	if q.Has("all_tenants") && text == "" {
		every = true
	}
	if !ok {
		return fault.Invalid("all_tenants", "Invalid input for query parameters all_tenants. Value: %s. It is not a boolean.", text)
	}
	if every {
		if err := r.Authorize("os_compute_api:servers:index:get_all_tenants", r.OwnTarget()); err != nil {
			return err
		}
		out.ProjectID = q.Get("project_id")
		if out.ProjectID == "" {
			out.ProjectID = q.Get("tenant_id")
		}
	}
	if ids := q["uuid"]; len(ids) > 0 {
		out.IDs = ids
	}
	return nil
}

func filterTimes(r *httpapi.Request, q url.Values, out *compute.ServerFilter) (err error) {
	if out.Since, err = timeParam(r, "changes-since"); err != nil {
		return err
	}
	if r.Version.AtLeast(v(66)) {
		if out.Before, err = timeParam(r, "changes-before"); err != nil {
			return err
		}
		if !out.Before.IsZero() && out.Before.Before(out.Since) {
			return fault.Invalid("changes-before", "The value of changes-since must be less than or equal to changes-before.")
		}
	}
	if !out.Since.IsZero() || !out.Before.IsZero() {
		out.Deleted = compute.Both
	}
	if s := q.Get("deleted"); s != "" {
		gone, ok := parseBool(s)
		if !ok {
			return fault.Invalid("deleted", "Invalid input for query parameters deleted. Value: %s. It is not a boolean.", s)
		}
		out.Deleted = compute.Living
		if gone {
			out.Deleted = compute.Gone
		}
	}
	return nil
}

// equal maps parameters to columns that are compared as they are.
var equal = map[string]string{"image": "image_id", "image_ref": "image_id", "flavor": "flavor_id", "user_id": "user_id", "host": "host", "node": "host", "key_name": "key_name",
	"availability_zone": "zone", "reservation_id": "reservation_id"}

func filterEqual(r *httpapi.Request, q url.Values, out *compute.ServerFilter) error {
	for param, column := range equal {
		if s := q.Get(param); s != "" {
			if column == "image_id" || column == "flavor_id" {
				s = lastPart(s)
			}
			out.Equal[column] = s
		}
	}
	for _, param := range []string{"config_drive", "locked"} {
		if s := q.Get(param); s != "" && (param != "locked" || r.Version.AtLeast(v(73))) {
			b, ok := parseBool(s)
			if !ok {
				return fault.Invalid(param, "Invalid input for query parameters %s. Value: %s. It is not a boolean.", param, s)
			}
			out.Equal[param] = b
		}
	}
	for _, param := range []string{"created_at", "launched_at", "terminated_at"} {
		if s := q.Get(param); s != "" {
			t, ok := parseTime(s)
			if !ok {
				return fault.Invalid(param, "Invalid input for query parameters %s. Value: %s. It is not a date and time.", param, s)
			}
			out.Equal[param] = db.At(t)
		}
	}
	if s := q.Get("power_state"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fault.Invalid("power_state", "Invalid input for query parameters power_state. Value: %s. It is not a number.", s)
		}
		out.Equal["power_state"] = hostapi.PowerState(n)
	}
	return nil
}

// pattern compiles a name filter: a regular expression that may match anywhere; what is none is taken literally.
func pattern(s string) *regexp.Regexp {
	if s == "" {
		return nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		re = regexp.MustCompile(regexp.QuoteMeta(s))
	}
	return re
}

func (f *face) filterPatterns(r *httpapi.Request, q url.Values, out *compute.ServerFilter) error {
	out.Name, out.Hostname = pattern(q.Get("name")), pattern(q.Get("hostname"))
	if out.Name == nil {
		out.Name = pattern(q.Get("display_name"))
	}
	tags := func(k string) []string {
		if s := q.Get(k); s != "" && r.Version.AtLeast(v(26)) {
			return strings.Split(s, ",")
		}
		return nil
	}
	out.AllTags, out.AnyTag, out.NotAllTags, out.NotAnyTag = tags("tags"), tags("tags-any"), tags("not-tags"), tags("not-tags-any")
	ip, ip6 := pattern(anchored(q.Get("ip"))), pattern(anchored(q.Get("ip6")))
	if ip == nil && ip6 == nil {
		return nil
	}
	out.Keep = func(ctx context.Context, tx *db.Tx, ids []string) (map[string]bool, error) {
		keep := map[string]bool{}
		for part := range slices.Chunk(ids, 500) {
			found, err := f.deps.Networks.Addresses(ctx, tx, part)
			if err != nil {
				return nil, err
			}
			for id, list := range found {
				for _, a := range list {
					if ip != nil && a.Version == 4 && ip.MatchString(a.IP) || ip6 != nil && a.Version == 6 && ip6.MatchString(a.IP) {
						keep[id] = true
					}
				}
			}
		}
		return keep, nil
	}
	return nil
}

// anchored: address filters match from the beginning (Nova).
func anchored(s string) string {
	if s == "" || strings.HasPrefix(s, "^") {
		return s
	}
	return "^(?:" + s + ")"
}

func filterSort(r *httpapi.Request, _ url.Values, out *compute.ServerFilter) error {
	q := r.URL.Query()
	keys, dirs := q["sort_key"], q["sort_dir"]
	if len(dirs) > len(keys) && len(keys) > 0 {
		return fault.Invalid("sort_dir", "Number of sort_dir exceeds the number of sort_key.")
	}
	for _, d := range dirs {
		if d != "asc" && d != "desc" {
			return fault.Invalid("sort_dir", "Invalid input for query parameters sort_dir. Value: %s. It must be asc or desc.", d)
		}
	}
	if len(keys) == 0 && len(dirs) > 0 {
		keys = []string{"created_at"}
	}
	for i, k := range keys {
		column, ok := compute.SortColumns[k]
		adminOnly := k == "host" || k == "node" || k == "locked_by"
		if !ok || adminOnly && !r.Creds.IsAdmin() || k == "locked" && !r.Version.AtLeast(v(73)) {
			if r.Version.AtLeast(v(75)) || adminOnly && ok {
				return fault.Invalid("sort_key", "Invalid input for query parameters sort_key. Value: %s. Servers cannot be sorted by it.", k)
			}
			continue
		}
		if column == "" || slices.ContainsFunc(out.Sort, func(s compute.SortKey) bool { return s.Column == column }) {
			continue
		}
		desc := true
		if i < len(dirs) {
			desc = dirs[i] == "desc"
		} else if len(dirs) > 0 {
			desc = dirs[0] == "desc"
		}
		out.Sort = append(out.Sort, compute.SortKey{Column: column, Desc: desc})
	}
	return nil
}

// filterStates maps statuses to states. An unknown status matches nothing, and is refused from 2.38 on.
func filterStates(r *httpapi.Request, q url.Values, out *compute.ServerFilter) (none bool, err error) {
	whole := false
	statuses := q["status"]
	for _, s := range statuses {
		s = strings.ToUpper(s)
		states, tasks, ok := compute.StatusStates(s)
		if !ok && r.Version.AtLeast(v(38)) {
			return false, fault.Invalid("status", "Invalid status value")
		}
		if s == "DELETED" {
			if err := r.Authorize("os_compute_api:servers:allow_all_filters", r.OwnTarget()); err != nil {
				return false, err
			}
			if out.Deleted == compute.Living {
				out.Deleted = compute.Gone
			}
		}
		out.States = append(out.States, states...)
		if len(tasks) > 0 {
			out.Tasks = append(out.Tasks, tasks...)
		} else if len(states) > 0 {
			whole = true
		}
	}
	if len(statuses) > 0 && len(out.States) == 0 {
		return true, nil
	}
	if whole {
		out.Tasks = nil
	}
	if s := q.Get("vm_state"); s != "" {
		out.States = []compute.VMState{compute.VMState(s)}
	}
	if s := q.Get("task_state"); s != "" {
		out.Tasks = []compute.TaskState{compute.TaskState(s)}
	}
	return false, nil
}
