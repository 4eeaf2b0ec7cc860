package api

import (
	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// computeBinary is the one kind of service that is a row here: the controller's parts live in the process that answers.
const computeBinary = "nova-compute"

func serviceBody(version int) string {
	if version >= 53 {
		return object(opt("status", `{"enum":["enabled","disabled"]}`), opt("disabled_reason", sName), opt("forced_down", sBool))
	}
	props := []prop{must("host", sHost), opt("binary", sName), opt("disabled_reason", sName)}
	if version >= 11 {
		props = append(props, opt("forced_down", sBool))
	}
	return object(props...)
}

func (f *face) hostRoutes() []httpapi.Route {
	const rule = "os_compute_api:os-services:"
	old := func(action string, min int) httpapi.Route {
		return httpapi.Route{Method: put, Path: "/os-services/" + action, Name: "services." + action, Min: v(min), Max: v(52), Rule: rule + "update", Body: at(serviceBody, 1, 11), Handler: f.changeService(action)}
	}
	return []httpapi.Route{
		{Method: get, Path: "/os-availability-zone", Name: "zones.list", Rule: "os_compute_api:os-availability-zone:list", Handler: f.zones(false)},
		{Method: get, Path: "/os-availability-zone/detail", Name: "zones.detail", Rule: "os_compute_api:os-availability-zone:detail", Handler: f.zones(true)},
		{Method: get, Path: "/os-services", Name: "services.list", Query: query(75, "host", "binary"), Rule: rule + "list", Handler: f.listServices},
		old("enable", 1), old("disable", 1), old("disable-log-reason", 1), old("force-down", 11),
		{Method: put, Path: "/os-services/{id}", Name: "services.update", Min: v(53), Rule: rule + "update", Body: at(serviceBody, 53), Handler: f.updateService},
		{Method: del, Path: "/os-services/{id}", Name: "services.delete", Rule: rule + "delete", Status: noContent, Handler: f.deleteService},
		{Method: get, Path: "/os-hosts", Name: "hosts.list", Max: v(42), Rule: "os_compute_api:os-hosts:list", Handler: f.listHosts},
	}
}

// life is whether each host is up, by name.
func (f *face) life() map[string]bool {
	out := map[string]bool{}
	for _, h := range f.svc.Hosts.Snapshot().Hosts() {
		out[h.Name] = h.Up
	}
	return out
}

// zones lists the zones of enabled hosts; one is available when a host of it is up.
func (f *face) zones(detail bool) httpapi.Handler {
	return func(*httpapi.Request) (any, error) {
		up := f.life()
		available, hosts := map[string]bool{}, map[string]obj{}
		for _, h := range f.svc.Hosts.Rows() {
			ok := up[h.Name] && !h.Disabled
			available[h.Zone] = available[h.Zone] || ok
			if hosts[h.Zone] == nil {
				hosts[h.Zone] = obj{}
			}
			hosts[h.Zone][h.Name] = obj{computeBinary: obj{"available": up[h.Name], "active": !h.Disabled, "updated_at": micros(h.Seen)}}
		}
		out := []obj{}
		for _, z := range f.svc.Hosts.Zones() {
			item := obj{"zoneName": z, "zoneState": obj{"available": available[z]}, "hosts": nil}
			if detail {
				item["hosts"] = hosts[z]
			}
			out = append(out, item)
		}
		return obj{"availabilityZoneInfo": out}, nil
	}
}

func state(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func status(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func serviceView(r *httpapi.Request, h *compute.HostRow, up bool) obj {
	out := obj{"binary": computeBinary, "host": h.Name, "zone": h.Zone, "status": status(h.Disabled), "state": state(up), "updated_at": micros(h.Seen),
		"disabled_reason": orNil(h.DisabledReason), "id": h.ServiceID, "forced_down": h.ForcedDown}
	if !r.Version.AtLeast(v(53)) {
		out["id"] = number(h.ServiceID)
	}
	if !r.Version.AtLeast(v(11)) {
		delete(out, "forced_down")
	}
	return out
}

func (f *face) listServices(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	up := f.life()
	out := []obj{}
	for _, h := range f.svc.Hosts.Rows() {
		if (q.Get("host") == "" || q.Get("host") == h.Name) && (q.Get("binary") == "" || q.Get("binary") == computeBinary) {
			out = append(out, serviceView(r, &h, up[h.Name]))
		}
	}
	return obj{"services": out}, nil
}

type serviceChange struct {
	Host       string    `json:"host"`
	Binary     string    `json:"binary"`
	Status     string    `json:"status"`
	Reason     string    `json:"disabled_reason"`
	ForcedDown *flexBool `json:"forced_down"`
}

// changeService is the form before 2.53: an action in the path, the service by host and binary.
func (f *face) changeService(action string) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		var b serviceChange
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		if b.Binary != "" && b.Binary != computeBinary || !f.svc.Hosts.Exists(b.Host) {
			return nil, fault.NotFound("Could not find binary %s on host %s.", b.Binary, b.Host)
		}
		out := obj{"host": b.Host, "binary": computeBinary}
		switch {
		case action == "disable-log-reason" && b.Reason == "":
			return nil, fault.Invalid("disabled_reason", "Missing disabled reason field")
		case action == "force-down" && b.ForcedDown == nil:
			return nil, fault.Invalid("forced_down", "Missing field forced_down")
		}
		err := f.svc.Hosts.Update(r.Context(), b.Host, func(h *compute.HostRow) {
			switch action {
			case "enable":
				h.Disabled, h.DisabledReason = false, ""
				out["status"] = "enabled"
			case "disable":
				h.Disabled, h.DisabledReason = true, ""
				out["status"] = "disabled"
			case "disable-log-reason":
				h.Disabled, h.DisabledReason = true, b.Reason
				out["status"], out["disabled_reason"] = "disabled", b.Reason
			case "force-down":
				h.ForcedDown = bool(*b.ForcedDown)
				out["forced_down"] = h.ForcedDown
			}
		})
		return obj{"service": out}, err
	}
}

// serviceByID finds a host by its service's id, in the form of the caller's version.
func (f *face) serviceByID(r *httpapi.Request) (*compute.HostRow, error) {
	for _, h := range f.svc.Hosts.Rows() {
		if serviceView(r, &h, true)["id"] == any(r.Param("id")) || !r.Version.AtLeast(v(53)) && r.Param("id") == itoa(number(h.ServiceID)) {
			return &h, nil
		}
	}
	return nil, fault.NotFound("Service %s not found.", r.Param("id"))
}

func (f *face) updateService(r *httpapi.Request) (any, error) {
	var b serviceChange
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	h, err := f.serviceByID(r)
	if err != nil {
		return nil, err
	}
	if b.Status == "" && b.ForcedDown == nil {
		return nil, fault.Invalid("", "No updates were requested. Fields 'status' or 'forced_down' should be specified.")
	}
	if b.Reason != "" && b.Status != "disabled" {
		return nil, fault.Invalid("disabled_reason", "Specifying 'disabled_reason' is only allowed when 'status' is 'disabled'.")
	}
	var now compute.HostRow
	err = f.svc.Hosts.Update(r.Context(), h.Name, func(h *compute.HostRow) {
		if b.Status != "" {
			h.Disabled, h.DisabledReason = b.Status == "disabled", b.Reason
		}
		if b.ForcedDown != nil {
			h.ForcedDown = bool(*b.ForcedDown)
		}
		now = *h
	})
	if err != nil {
		return nil, err
	}
	return obj{"service": serviceView(r, &now, f.life()[now.Name])}, nil
}

func (f *face) deleteService(r *httpapi.Request) (any, error) {
	h, err := f.serviceByID(r)
	if err != nil {
		return nil, err
	}
	return nil, f.svc.Hosts.Remove(r.Context(), h.Name)
}

func (f *face) listHosts(r *httpapi.Request) (any, error) {
	out := []obj{}
	for _, h := range f.svc.Hosts.Rows() {
		if z := r.URL.Query().Get("zone"); z == "" || z == h.Zone {
			out = append(out, obj{"host_name": h.Name, "service": "compute", "zone": h.Zone})
		}
	}
	return obj{"hosts": out}, nil
}
