package api

import (
	"strconv"

	"github.com/google/uuid"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// computeBinary is the service of a host's agent.
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
		{Method: get, Path: "/os-services", Name: "services.list", Query: query(75, "host", "binary"), Rule: rule + "list", Resource: "service", Handler: f.listServices},
		old("enable", 1), old("disable", 1), old("disable-log-reason", 1), old("force-down", 11),
		{Method: put, Path: "/os-services/{id}", Name: "services.update", Min: v(53), Rule: rule + "update", Body: at(serviceBody, 53), Resource: "service", Handler: f.updateService},
		{Method: del, Path: "/os-services/{id}", Name: "services.delete", Rule: rule + "delete", Status: noContent, Handler: f.deleteService},
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

// zones lists the zones of hosts; one is available when an enabled host of it is up. An admin's details have the controllers too, in their own zone.
func (f *face) zones(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		up := f.life()
		available, hosts := map[string]bool{}, map[string]obj{}
		note := func(s service) {
			available[s.zone] = available[s.zone] || s.up && !s.disabled
			if hosts[s.zone] == nil {
				hosts[s.zone] = obj{}
			}
			on, _ := hosts[s.zone][s.host].(obj)
			if on == nil {
				on = obj{}
				hosts[s.zone][s.host] = on
			}
			on[s.binary] = obj{"available": s.up, "active": !s.disabled, "updated_at": micros(s.seen)}
		}
		out := []obj{}
		zones := f.svc.Hosts.Zones()
		if detail {
			all, err := f.services(r)
			if err != nil {
				return nil, err
			}
			for _, s := range all {
				note(s)
			}
			if hosts[internalZone] != nil {
				zones = append([]string{internalZone}, zones...)
			}
		} else {
			for _, h := range f.svc.Hosts.Rows() {
				note(ofHost(&h, up[h.Name]))
			}
		}
		for _, z := range zones {
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

// service is one line of os-services: a host's agent, or one of the two parts of a controller.
type service struct {
	binary, host, zone, id, reason string
	disabled, forcedDown, up       bool
	seen                           db.Time
}

const (
	conductorBinary = "nova-conductor"
	schedulerBinary = "nova-scheduler"
	internalZone    = "internal" // of what runs no servers (Nova)
)

// services lists all of them: controllers first, as the older.
func (f *face) services(r *httpapi.Request) ([]service, error) {
	var controllers []compute.Controller
	if err := f.read(r, func(tx *db.Tx) (err error) { controllers, err = compute.Controllers(r.Context(), tx); return err }); err != nil {
		return nil, err
	}
	var out []service
	now := f.svc.Clock.Now()
	for _, c := range controllers {
		for _, x := range [][2]string{{conductorBinary, c.ConductorID}, {schedulerBinary, c.SchedulerID}} {
			out = append(out, service{binary: x[0], id: x[1], host: c.Name, zone: internalZone, up: c.Up(now), seen: c.Seen})
		}
	}
	up := f.life()
	for _, h := range f.svc.Hosts.Rows() {
		out = append(out, ofHost(&h, up[h.Name]))
	}
	return out, nil
}

func ofHost(h *compute.HostRow, up bool) service {
	return service{binary: computeBinary, id: h.ServiceID, host: h.Name, zone: h.Zone, reason: h.DisabledReason, disabled: h.Disabled, forcedDown: h.ForcedDown, up: up, seen: h.Seen}
}

func serviceView(r *httpapi.Request, s service) obj {
	out := obj{"binary": s.binary, "host": s.host, "zone": s.zone, "status": status(s.disabled), "state": state(s.up), "updated_at": micros(s.seen),
		"disabled_reason": orNil(s.reason), "id": s.id, "forced_down": s.forcedDown}
	if !r.Version.AtLeast(v(53)) {
		out["id"] = number(s.id)
	}
	return out
}

func (f *face) listServices(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	all, err := f.services(r)
	if err != nil {
		return nil, err
	}
	out := []obj{}
	for _, s := range all {
		if (q.Get("host") == "" || q.Get("host") == s.host) && (q.Get("binary") == "" || q.Get("binary") == s.binary) {
			out = append(out, serviceView(r, s))
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

// serviceByID finds a service by its id, in the form of the caller's version (400 for what cannot be one).
func (f *face) serviceByID(r *httpapi.Request) (service, error) {
	id := r.Param("id")
	if r.Version.AtLeast(v(53)) {
		if uuid.Validate(id) != nil || len(id) != 36 {
			return service{}, fault.Invalid("id", "Invalid uuid %s", id)
		}
	} else if _, err := strconv.Atoi(id); err != nil {
		return service{}, fault.Invalid("id", "%s must be an integer", id)
	}
	all, err := f.services(r)
	for _, s := range all {
		if s.id == id || !r.Version.AtLeast(v(53)) && id == itoa(number(s.id)) {
			return s, nil
		}
	}
	if err == nil {
		err = fault.NotFound("Service %s not found.", id)
	}
	return service{}, err
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
	if h.binary != computeBinary {
		return nil, fault.Invalid("id", "Updating a %s service is not supported. Only nova-compute services can be updated.", h.binary)
	}
	err = f.svc.Hosts.Update(r.Context(), h.host, func(h *compute.HostRow) {
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
	return obj{"service": serviceView(r, ofHost(&now, f.life()[now.Name]))}, nil
}

func (f *face) deleteService(r *httpapi.Request) (any, error) {
	h, err := f.serviceByID(r)
	if err != nil {
		return nil, err
	}
	if h.binary != computeBinary {
		return nil, f.svc.RemoveController(r.Context(), h.host)
	}
	return nil, f.svc.Hosts.Remove(r.Context(), h.host)
}
