package api

import (
	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// oldHostRoutes are os-hosts, which services and hypervisors replaced in 2.43, and the bare metal proxy that ended with 2.35.
func (f *face) oldHostRoutes() []httpapi.Route {
	const rule, path = "os_compute_api:os-hosts:", "/os-hosts/{id}"
	row := func(method, path, name, what string, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, Name: "hosts." + name, Max: v(42), Rule: rule + what, Handler: h}
	}
	word := `{"enum":["enable","disable","Enable","Disable","ENABLE","DISABLE"]}`
	update := row(put, path, "update", "update", f.updateOldHost)
	update.Body = always(`{"allOf":[` + object(opt("status", word), opt("maintenance_mode", word)) + `,{"minProperties":1}]}`)
	out := []httpapi.Route{row(get, "/os-hosts", "list", "list", f.listHosts), row(get, path, "show", "show", f.showOldHost), update}
	for _, what := range []string{"reboot", "shutdown", "startup"} {
		out = append(out, row(get, path+"/"+what, what, what, f.hostPower(what)))
	}
	const metal, nodes = "os_compute_api:os-baremetal-nodes:", "/os-baremetal-nodes"
	node := func(method, path, name, rule string, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, Name: "baremetal." + name, Max: v(35), Rule: rule, Handler: h}
	}
	add, remove := node(post, nodes+"/{id}/action", "interface.add", "", elsewhere), node(post, nodes+"/{id}/action", "interface.remove", "", elsewhere)
	add.Action, remove.Action = "add_interface", "remove_interface"
	return append(out,
		node(get, nodes, "list", metal+"list", func(*httpapi.Request) (any, error) { return obj{"nodes": []obj{}}, nil }), // every host of this cloud is a hypervisor
		node(get, nodes+"/{id}", "show", metal+"show", func(r *httpapi.Request) (any, error) {
			return nil, fault.NotFound("Node %s could not be found.", r.Param("id"))
		}),
		node(post, nodes, "create", "", elsewhere), node(del, nodes+"/{id}", "delete", "", elsewhere), add, remove)
}

// elsewhere is Nova's answer to writes of bare metal nodes: they were only ever shown.
func elsewhere(*httpapi.Request) (any, error) {
	return nil, fault.Invalid("", "Command Not supported. Bare metal nodes cannot be changed here.")
}

func (f *face) oldHost(r *httpapi.Request) (*compute.HostRow, error) {
	for _, h := range f.svc.Hosts.Rows() {
		if h.Name == r.Param("id") {
			return &h, nil
		}
	}
	return nil, fault.NotFound("Compute host %s could not be found.", r.Param("id"))
}

func (f *face) listHosts(r *httpapi.Request) (any, error) {
	zone := r.URL.Query().Get("zone")
	out := []obj{}
	services, err := f.services(r)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		if zone == "" || zone == s.zone {
			out = append(out, obj{"host_name": s.host, "service": s.binary[len("nova-"):], "zone": s.zone})
		}
	}
	return obj{"hosts": out}, nil
}

// showOldHost tells what the host has, what is used, what its servers may use at most (here the same), and what each project holds of it.
func (f *face) showOldHost(r *httpapi.Request) (any, error) {
	h, err := f.oldHost(r)
	if err != nil {
		return nil, err
	}
	at, ok := f.machineNamed(h.Name)
	if !ok {
		return nil, fault.NotFound("Compute host %s could not be found.", h.Name)
	}
	line := func(project string, cpu, ram, disk int) obj {
		return obj{"resource": obj{"host": h.Name, "project": project, "cpu": cpu, "memory_mb": ram, "disk_gb": disk}}
	}
	p, u := at.now.Physical, at.now.Used
	out := []obj{line("(total)", p.VCPUs, p.RAMMiB, p.DiskGiB), line("(used_now)", u.VCPUs, u.RAMMiB, u.DiskGiB)}
	var held []compute.HeldOfHost
	if err := f.read(r, func(tx *db.Tx) (err error) { held, err = compute.HeldOn(r.Context(), tx, h.Name); return err }); err != nil {
		return nil, err
	}
	var most compute.HeldOfHost
	for _, x := range held {
		most.VCPUs, most.RAMMiB, most.DiskGiB = most.VCPUs+x.VCPUs, most.RAMMiB+x.RAMMiB, most.DiskGiB+x.DiskGiB
	}
	out = append(out, line("(used_max)", most.VCPUs, most.RAMMiB, most.DiskGiB))
	for _, x := range held {
		out = append(out, line(x.Project, x.VCPUs, x.RAMMiB, x.DiskGiB))
	}
	return obj{"host": out}, nil
}

func (f *face) updateOldHost(r *httpapi.Request) (any, error) {
	var b struct {
		Status      string `json:"status"`
		Maintenance string `json:"maintenance_mode"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	h, err := f.oldHost(r)
	if err != nil {
		return nil, err
	}
	if b.Maintenance != "" {
		return nil, fault.NotImplemented("Virt driver does not implement host maintenance mode.")
	}
	off := b.Status[0] == 'd' || b.Status[0] == 'D'
	err = f.svc.Hosts.Update(r.Context(), h.Name, func(h *compute.HostRow) { h.Disabled, h.DisabledReason = off, "" })
	return obj{"host": h.Name, "status": status(off)}, err
}

// hostPower: machines are not turned on and off from here, as with Nova's libvirt driver.
func (f *face) hostPower(what string) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		h, err := f.oldHost(r)
		if err != nil {
			return nil, err
		}
		if !f.svc.Hosts.Up(h.Name) {
			return nil, fault.Invalid("id", "Compute service of %s is unavailable at this time.", h.Name)
		}
		return nil, fault.NotImplemented("Virt driver does not implement host power management: %s of %s.", what, h.Name)
	}
}
