package api

import (
	"net/http"
	"slices"
	"strings"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
)

// action is one row of POST /servers/{id}/action.
func action(key, rule, body string, h httpapi.Handler) httpapi.Route {
	out := httpapi.Route{Method: post, Path: "/servers/{id}/action", Name: "servers.action." + key, Action: key, Rule: "os_compute_api:" + rule, Status: accepted, Handler: h}
	if body != "" {
		out.Body = always(wrap(key, body))
	}
	return out
}

func (f *face) actionRoutes() []httpapi.Route {
	lock := action("lock", "os-lock-server:lock", "", f.lock)
	lock.Body = httpapi.Schemas{{Since: v(73), JSON: wrap("lock", `{"anyOf":[{"type":"null"},`+object(opt("locked_reason", sName))+`]}`)}}
	reset := action("os-resetState", "os-admin-actions:reset_state", object(must("state", `{"enum":["active","error"]}`)), f.resetState)
	console := action("os-getConsoleOutput", "os-console-output", object(opt("length", `{"anyOf":[{"type":["integer","null"],"minimum":-1},{"type":"string","pattern":"^-?[0-9]+$"}]}`)), f.consoleOutput)
	console.Status = http.StatusOK
	group := open(must("name", sText1))
	return []httpapi.Route{
		action("os-start", "servers:start", "", f.power(compute.ActionStart)),
		action("os-stop", "servers:stop", "", f.power(compute.ActionStop)),
		action("reboot", "servers:reboot", object(must("type", `{"enum":["HARD","Hard","hard","SOFT","Soft","soft"]}`)), f.reboot),
		action("pause", "os-pause-server:pause", "", f.power(compute.ActionPause)),
		action("unpause", "os-pause-server:unpause", "", f.power(compute.ActionUnpause)),
		action("suspend", "os-suspend-server:suspend", "", f.power(compute.ActionSuspend)),
		action("resume", "os-suspend-server:resume", "", f.power(compute.ActionResume)),
		lock,
		action("unlock", "os-lock-server:unlock", "", func(r *httpapi.Request) (any, error) {
			return nil, f.svc.Unlock(r.Context(), by(r), r.Param("id"))
		}),
		reset, console,
		action("forceDelete", "os-deferred-delete:force", "", func(r *httpapi.Request) (any, error) {
			return nil, f.svc.ForceDelete(r.Context(), by(r), r.Param("id"))
		}),
		action("restore", "os-deferred-delete:restore", "", func(r *httpapi.Request) (any, error) {
			return nil, f.svc.Restore(r.Context(), by(r), r.Param("id"))
		}),
		action("addSecurityGroup", "os-security-groups:add", group, f.changeGroup(true)),
		action("removeSecurityGroup", "os-security-groups:remove", group, f.changeGroup(false)),
	}
}

func (f *face) power(rule compute.ActionRule) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		return nil, f.svc.Power(r.Context(), by(r), r.Param("id"), rule)
	}
}

func (f *face) reboot(r *httpapi.Request) (any, error) {
	var b struct {
		Reboot struct {
			Type string `json:"type"`
		} `json:"reboot"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	rule := compute.ActionReboot
	if strings.EqualFold(b.Reboot.Type, "hard") {
		rule = compute.ActionRebootHard
	}
	return f.power(rule)(r)
}

func (f *face) lock(r *httpapi.Request) (any, error) {
	reason := ""
	if r.Version.AtLeast(v(73)) {
		var b struct {
			Lock *struct {
				Reason string `json:"locked_reason"`
			} `json:"lock"`
		}
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		if b.Lock != nil {
			reason = b.Lock.Reason
		}
	}
	return nil, f.svc.Lock(r.Context(), by(r), r.Param("id"), reason)
}

func (f *face) resetState(r *httpapi.Request) (any, error) {
	var b struct {
		Reset struct {
			State compute.VMState `json:"state"`
		} `json:"os-resetState"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	return nil, f.svc.ResetState(r.Context(), by(r), r.Param("id"), b.Reset.State)
}

// consoleOutput gives the last lines of the guest's serial console; all of it when no length is given.
func (f *face) consoleOutput(r *httpapi.Request) (any, error) {
	var b struct {
		Get struct {
			Length *flexInt `json:"length"`
		} `json:"os-getConsoleOutput"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	log, err := f.svc.ConsoleLog(r.Context(), r.Creds, r.Param("id"), 0)
	if err != nil {
		return nil, err
	}
	text := strings.ToValidUTF8(string(log), "\uFFFD")
	if n := b.Get.Length; n != nil && *n >= 0 {
		text = lastLines(text, int(*n))
	}
	return obj{"output": text}, nil
}

// lastLines cuts as Nova does: what follows the last newline, be it empty, is a line.
func lastLines(text string, n int) string {
	if n == 0 {
		return ""
	}
	for i, seen := len(text)-1, 0; i >= 0; i-- {
		if text[i] != '\n' {
			continue
		}
		if seen++; seen == n {
			return text[i+1:]
		}
	}
	return text
}

// changeGroup adds a security group to, or takes it from, all of the server's ports.
func (f *face) changeGroup(add bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		var b map[string]nameBody
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
		if err != nil {
			return nil, err
		}
		want := b[r.Route.Action].Name
		refs, err := f.deps.Networks.ResolveSecurityGroups(r.Context(), s.ProjectID, []string{want})
		if err != nil {
			if fault.KindOf(err) == fault.KindInvalid {
				return nil, fault.NotFound("Security group %s not found for project %s.", want, s.ProjectID)
			}
			return nil, err
		}
		var ports []network.PortView
		changed := false
		for try := 0; ; try++ {
			if ports, err = f.deps.Networks.Ports(r.Context(), network.Scope{Admin: true}, network.Query{DeviceIDs: []string{s.ID}}); err != nil {
				return nil, err
			}
			some, err := f.changePorts(r, ports, refs[0].ID, add)
			changed = changed || some
			if err == nil {
				break
			}
			if fault.KindOf(err) != fault.KindConflict || try == 4 {
				return nil, err
			}
		}
		if !changed && !add {
			return nil, fault.NotFound("Security group %s not associated with the instance %s", want, s.ID)
		}
		if !changed && len(ports) == 0 {
			return nil, fault.Invalid("name", "Network requires port_security_enabled and subnet associated in order to apply security groups.")
		}
		return nil, nil
	}
}

// changePorts gives the ports their new groups. A port that was changed since it was read is fault.KindConflict, so that of two requests at once neither is lost.
func (f *face) changePorts(r *httpapi.Request, ports []network.PortView, group string, add bool) (changed bool, err error) {
	for _, p := range ports {
		if has := slices.Contains(p.Groups, group); has == add || !p.PortSecurity {
			continue
		}
		groups := slices.DeleteFunc(slices.Clone(p.Groups), func(id string) bool { return id == group })
		if add {
			groups = append(groups, group)
		}
		if _, err := f.deps.Networks.UpdatePort(r.Context(), network.Scope{Admin: true}, p.ID, network.PortPatch{Groups: network.Some(groups)}, &network.Cond{Revision: p.RevisionNumber}); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// serverGroupsOf lists the security groups on a server's ports.
func (f *face) serverGroupsOf(r *httpapi.Request) (any, error) {
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	var refs []network.SecurityGroupRef
	err = f.read(r, func(tx *db.Tx) error {
		all, err := f.deps.Networks.ServerSecurityGroups(r.Context(), tx, []string{s.ID})
		refs = all[s.ID]
		return err
	})
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(refs))
	for i, g := range refs {
		ids[i] = g.ID
	}
	out := []obj{}
	if len(ids) > 0 {
		groups, err := f.deps.Networks.SecurityGroups(r.Context(), network.Scope{ProjectID: s.ProjectID, Admin: true}, network.Query{IDs: ids})
		if err != nil {
			return nil, err
		}
		for i := range groups {
			out = append(out, groupView(&groups[i], groups))
		}
	}
	return obj{"security_groups": out}, nil
}
