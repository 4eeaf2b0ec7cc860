package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/scheduler"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (f *face) hypervisorRoutes() []httpapi.Route {
	const rule = "os_compute_api:os-hypervisors:"
	list := httpapi.Schemas{{Since: v(53), JSON: query(53, "limit", "marker", "hypervisor_hostname_pattern", "with_servers")[0].JSON}}
	show := httpapi.Schemas{{Since: v(53), JSON: query(53, "with_servers")[0].JSON}}
	return []httpapi.Route{
		{Method: get, Path: "/os-hypervisors", Name: "hypervisors.list", Query: list, Rule: rule + "list", Handler: f.listHypervisors(false)},
		{Method: get, Path: "/os-hypervisors/detail", Name: "hypervisors.detail", Query: list, Rule: rule + "list-detail", Handler: f.listHypervisors(true)},
		{Method: get, Path: "/os-hypervisors/statistics", Name: "hypervisors.statistics", Max: v(87), Rule: rule + "statistics", Handler: f.statistics},
		{Method: get, Path: "/os-hypervisors/{id}", Name: "hypervisors.show", Query: show, Rule: rule + "show", Handler: f.showHypervisor},
		{Method: get, Path: "/os-hypervisors/{id}/uptime", Name: "hypervisors.uptime", Max: v(87), Rule: rule + "uptime", Handler: f.uptime},
		{Method: get, Path: "/os-hypervisors/{id}/search", Name: "hypervisors.search", Max: v(52), Rule: rule + "search", Handler: f.searchHypervisors(false)},
		{Method: get, Path: "/os-hypervisors/{id}/servers", Name: "hypervisors.servers", Max: v(52), Rule: rule + "servers", Handler: f.searchHypervisors(true)},
	}
}

// machine is a host with its present state.
type machine struct {
	compute.HostRow
	now     *scheduler.Host
	servers []compute.Resident
}

func (f *face) machines() []machine {
	at := map[string]*scheduler.Host{}
	for _, h := range f.svc.Hosts.Snapshot().Hosts() {
		at[h.Name] = h
	}
	var out []machine
	for _, row := range f.svc.Hosts.Rows() {
		if h := at[row.Name]; h != nil {
			out = append(out, machine{HostRow: row, now: h})
		}
	}
	return out
}

// withServers reads which servers the machines hold, in one query.
func (f *face) withServers(r *httpapi.Request, all []machine) error {
	hosts := make([]string, len(all))
	for i := range all {
		hosts[i] = all[i].Name
	}
	return f.read(r, func(tx *db.Tx) error {
		by, err := compute.ResidentsOf(r.Context(), tx, hosts)
		for i := range all {
			all[i].servers = append([]compute.Resident{}, by[all[i].Name]...)
		}
		return err
	})
}

func machineID(r *httpapi.Request, m *machine) any {
	if r.Version.AtLeast(v(53)) {
		return m.ID
	}
	return number(m.ID)
}

func machineView(r *httpapi.Request, m *machine, detail bool) obj {
	out := obj{"id": machineID(r, m), "hypervisor_hostname": m.Name, "state": state(m.now.Up), "status": status(m.Disabled)}
	if r.Version.AtLeast(v(53)) && len(m.servers) > 0 || r.Version.AtLeast(v(75)) && m.servers != nil {
		list := make([]obj, len(m.servers))
		for i, s := range m.servers {
			list[i] = obj{"uuid": s.ID, "name": s.Name}
		}
		out["servers"] = list
	}
	if !detail {
		return out
	}
	info := m.Info.V
	service := obj{"host": m.Name, "id": any(m.ServiceID), "disabled_reason": orNil(m.DisabledReason)}
	if !r.Version.AtLeast(v(53)) {
		service["id"] = number(m.ServiceID)
	}
	out["service"], out["hypervisor_type"], out["hypervisor_version"], out["host_ip"] = service, strings.ToUpper(info.Driver), driverVersion(info.DriverVersion), orNil(info.Address)
	if r.Version.AtLeast(v(88)) {
		out["uptime"] = uptimeText(m.Info.V.Started, time.Now())
		return out
	}
	cpu := obj{"arch": info.Arch, "model": info.CPUModel, "vendor": "", "features": []string{}, "topology": obj{"sockets": 1, "cores": info.VCPUs, "threads": 1}}
	out["cpu_info"] = cpu
	if !r.Version.AtLeast(v(28)) {
		b, _ := json.Marshal(cpu) // strings and numbers
		out["cpu_info"] = string(b)
	}
	for k, n := range amounts(m) {
		out[k] = n
	}
	out["disk_available_least"] = nil
	return out
}

// amounts are the numbers that hypervisors showed before 2.88, and that statistics add up.
func amounts(m *machine) map[string]int {
	p, u := m.now.Physical, m.now.Used
	return map[string]int{"vcpus": p.VCPUs, "vcpus_used": u.VCPUs, "memory_mb": p.RAMMiB, "memory_mb_used": u.RAMMiB, "local_gb": p.DiskGiB, "local_gb_used": u.DiskGiB,
		"free_ram_mb": p.RAMMiB - u.RAMMiB, "free_disk_gb": p.DiskGiB - u.DiskGiB, "running_vms": m.now.Instances, "current_workload": m.now.IOOps}
}

// driverVersion is 7.2.15 as 7002015, the way libvirt writes it.
func driverVersion(s string) int {
	out, n := 0, 0
	for _, part := range strings.FieldsFunc(s, func(c rune) bool { return c < '0' || c > '9' }) {
		if x, err := strconv.Atoi(part); err == nil && n < 3 {
			out, n = out*1000+x, n+1
		}
	}
	for ; n > 0 && n < 3; n++ {
		out *= 1000
	}
	return out
}

// uptimeText is how long the host's agent has been running; nothing when it is not known.
func uptimeText(started, now time.Time) any {
	if started.IsZero() {
		return nil
	}
	d := now.Sub(started).Round(time.Second)
	return fmt.Sprintf(" %s up %d days, %d:%02d", now.UTC().Format("15:04:05"), int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60)
}

func (f *face) listHypervisors(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		q := r.URL.Query()
		all := f.machines()
		page := httpapi.Page{Limit: 1 << 30}
		if r.Version.AtLeast(v(33)) {
			var err error
			if page, err = r.Page(maxLimit); err != nil {
				return nil, err
			}
		}
		if r.Version.AtLeast(v(53)) {
			if p := q.Get("hypervisor_hostname_pattern"); p != "" {
				if q.Get("limit") != "" || q.Get("marker") != "" {
					return nil, fault.Invalid("hypervisor_hostname_pattern", "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
				}
				all = slices.DeleteFunc(all, func(m machine) bool { return !strings.Contains(m.Name, p) })
				if len(all) == 0 {
					return nil, fault.NotFound("No hypervisor matching '%s' could be found.", p)
				}
			}
		}
		slices.SortFunc(all, func(a, b machine) int { return strings.Compare(a.ID, b.ID) })
		rows, err := listed(page, all, func(m *machine) string { return fmt.Sprint(machineID(r, m)) })
		if err != nil {
			return nil, err
		}
		if with, _ := parseBool(q.Get("with_servers")); with && r.Version.AtLeast(v(53)) {
			if err := f.withServers(r, rows); err != nil {
				return nil, err
			}
		}
		out := make([]obj, len(rows))
		for i := range rows {
			out[i] = machineView(r, &rows[i], detail)
		}
		body := obj{"hypervisors": out}
		if len(rows) > 0 && r.Version.AtLeast(v(33)) {
			if next := r.NextLinks(page, len(rows), fmt.Sprint(machineID(r, &rows[len(rows)-1]))); next != nil {
				body["hypervisors_links"] = next
			}
		}
		return body, nil
	}
}

func (f *face) machineNamed(name string) (machine, bool) {
	for _, m := range f.machines() {
		if m.Name == name {
			return m, true
		}
	}
	return machine{}, false
}

func (f *face) machine(r *httpapi.Request) (*machine, error) {
	for _, m := range f.machines() {
		if fmt.Sprint(machineID(r, &m)) == r.Param("id") {
			return &m, nil
		}
	}
	return nil, fault.NotFound("Compute host %s could not be found.", r.Param("id"))
}

func (f *face) showHypervisor(r *httpapi.Request) (any, error) {
	m, err := f.machine(r)
	if err != nil {
		return nil, err
	}
	if with, _ := parseBool(r.URL.Query().Get("with_servers")); with && r.Version.AtLeast(v(53)) {
		one := []machine{*m}
		if err := f.withServers(r, one); err != nil {
			return nil, err
		}
		m = &one[0]
	}
	return obj{"hypervisor": machineView(r, m, true)}, nil
}

func (f *face) uptime(r *httpapi.Request) (any, error) {
	m, err := f.machine(r)
	if err != nil {
		return nil, err
	}
	out := machineView(r, m, false)
	out["uptime"] = uptimeText(m.Info.V.Started, time.Now())
	return obj{"hypervisor": out}, nil
}

func (f *face) statistics(*httpapi.Request) (any, error) {
	sum := obj{"count": 0, "disk_available_least": nil}
	total := map[string]int{"vcpus": 0, "vcpus_used": 0, "memory_mb": 0, "memory_mb_used": 0, "local_gb": 0, "local_gb_used": 0, "free_ram_mb": 0, "free_disk_gb": 0, "running_vms": 0, "current_workload": 0}
	count := 0
	for _, m := range f.machines() {
		if m.Disabled {
			continue // Nova counts enabled services only
		}
		count++
		for k, n := range amounts(&m) {
			total[k] += n
		}
	}
	for k, n := range total {
		sum[k] = n
	}
	sum["count"] = count
	return obj{"hypervisor_statistics": sum}, nil
}

// searchHypervisors is the form before 2.53: a part of the host name in the path.
func (f *face) searchHypervisors(servers bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		all := slices.DeleteFunc(f.machines(), func(m machine) bool { return !strings.Contains(m.Name, r.Param("id")) })
		if len(all) == 0 {
			return nil, fault.NotFound("No hypervisor matching '%s' could be found.", r.Param("id"))
		}
		if servers {
			if err := f.withServers(r, all); err != nil {
				return nil, err
			}
		}
		out := make([]obj, len(all))
		for i := range all {
			out[i] = machineView(r, &all[i], false)
			if list := all[i].servers; len(list) > 0 {
				items := make([]obj, len(list))
				for j, s := range list {
					items[j] = obj{"uuid": s.ID, "name": s.Name}
				}
				out[i]["servers"] = items
			}
		}
		return obj{"hypervisors": out}, nil
	}
}
