package api

import (
	"slices"
	"strings"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/workflow"
)

func (f *face) historyRoutes() []httpapi.Route {
	const rule = "os_compute_api:os-instance-actions:"
	list := httpapi.Schemas{{Since: v(58), JSON: query(58, "limit", "marker", "changes-since")[0].JSON}, {Since: v(66), JSON: query(66, "limit", "marker", "changes-since", "changes-before")[0].JSON}}
	return []httpapi.Route{
		{Method: get, Path: "/servers/{id}/os-instance-actions", Name: "servers.actions.list", Query: list, Rule: rule + "list", Resource: "instanceAction", Handler: f.listActions},
		{Method: get, Path: "/servers/{id}/os-instance-actions/{request}", Name: "servers.actions.show", Rule: rule + "show", Resource: "instanceAction", Handler: f.showAction},
		{Method: get, Path: "/servers/{id}/os-nephos-trace", Name: "servers.trace", Rule: "nephos:servers:trace", Handler: f.trace},
	}
}

// actionNames are the instance actions whose name is not the workflow's.
var actionNames = map[string]string{"reboot-hard": "reboot", compute.WorkflowSoftDelete: "delete"}

// eventNames are the events of those actions that do not follow the rule compute_<action>_instance (states.md section 5 of the API facts).
var eventNames = map[string]string{"create": "compute__do_build_and_run_instance", "delete": "compute_terminate_instance", "attach_volume": "compute_attach_volume",
	"createImage": "compute_snapshot_instance", "createBackup": "compute_backup_instance", "shelveOffload": "compute_shelve_offload_instance", "swap_volume": "compute_swap_volume",
	"changePassword": "compute_set_admin_password", "trigger_crash_dump": "compute_trigger_crash_dump", "inject_network_info": "compute_inject_network_info",
	"detach_volume": "compute_detach_volume", "attach_interface": "compute_attach_interface", "detach_interface": "compute_detach_interface"}

func actionOf(w *workflow.Record) string {
	a := strings.TrimPrefix(w.Kind, "server.")
	if n, ok := actionNames[a]; ok {
		return n
	}
	return a
}

func eventOf(w *workflow.Record) string {
	a := actionOf(w)
	if a == "create" && (w.ErrStep == "schedule" || hostOf(w) == "") && w.Status == "failed" {
		return "conductor_schedule_and_build_instances"
	}
	if w.Kind == "server."+compute.WorkflowSoftDelete {
		return "compute_soft_delete_instance"
	}
	if n, ok := eventNames[a]; ok {
		return n
	}
	return "compute_" + a + "_instance"
}

// hostOf is the host that the operation last worked on.
func hostOf(w *workflow.Record) string {
	for _, s := range slices.Backward(w.Steps) {
		if s.Host != "" {
			return s.Host
		}
	}
	return ""
}

// history reads the server, also a deleted one where the version shows it (2.21), and its operations, newest first.
func (f *face) history(r *httpapi.Request, gone bool) (s *compute.Server, all []workflow.Record, err error) {
	err = f.read(r, func(tx *db.Tx) error {
		if s, err = compute.FindServer(r.Context(), tx, r.Param("id")); err != nil {
			return err
		}
		if s.ProjectID != r.Creds.ProjectID && !r.Creds.IsAdmin() || s.Deleted && !gone {
			return fault.NotFound("Instance %s could not be found.", r.Param("id"))
		}
		all, err = workflow.History(r.Context(), tx, s.ID)
		return err
	})
	return s, all, err
}

func actionView(s *compute.Server, w *workflow.Record) obj {
	out := obj{"action": actionOf(w), "instance_uuid": s.ID, "request_id": w.RequestID, "user_id": w.UserID, "project_id": w.ProjectID, "start_time": micros(w.Created), "message": nil, "updated_at": micros(w.Updated)}
	if w.Status == "failed" {
		out["message"] = "Error"
	}
	return out
}

func (f *face) listActions(r *httpapi.Request) (any, error) {
	s, all, err := f.history(r, r.Version.AtLeast(v(21)))
	if err != nil {
		return nil, err
	}
	page := httpapi.Page{Limit: 1 << 30}
	if r.Version.AtLeast(v(58)) {
		if page, err = r.Page(maxLimit); err != nil {
			return nil, err
		}
		since, err := timeParam(r, "changes-since")
		if err != nil {
			return nil, err
		}
		var before time.Time
		if r.Version.AtLeast(v(66)) {
			if before, err = timeParam(r, "changes-before"); err != nil {
				return nil, err
			}
			if !before.IsZero() && before.Before(since) {
				return nil, fault.Invalid("changes-before", "The value of changes-since must be less than or equal to changes-before.")
			}
		}
		all = slices.DeleteFunc(all, func(w workflow.Record) bool {
			return w.Updated.Before(since) || !before.IsZero() && w.Updated.After(before)
		})
	}
	rows, err := listed(page, all, func(w *workflow.Record) string { return w.RequestID })
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(rows))
	for i := range rows {
		out[i] = actionView(s, &rows[i])
	}
	body := obj{"instanceActions": out}
	if len(rows) > 0 && r.Version.AtLeast(v(58)) {
		if next := r.NextLinks(page, len(rows), rows[len(rows)-1].RequestID); next != nil {
			body["links"] = next
		}
	}
	return body, nil
}

// showAction has the events for admins, and from 2.51 on for all; hosts and tracebacks stay with admins.
func (f *face) showAction(r *httpapi.Request) (any, error) {
	s, all, err := f.history(r, r.Version.AtLeast(v(21)))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(w workflow.Record) bool { return w.RequestID == r.Param("request") })
	if i < 0 {
		return nil, fault.NotFound("Action for request_id %s on instance %s not found", r.Param("request"), s.ID)
	}
	w := &all[i]
	out := actionView(s, w)
	admin := r.Allowed("os_compute_api:os-instance-actions:events", r.OwnTarget())
	if !admin && !r.Version.AtLeast(v(51)) {
		return obj{"instanceAction": out}, nil
	}
	event := obj{"event": eventOf(w), "start_time": micros(w.Created), "finish_time": micros(w.Finished), "result": nil}
	switch w.Status {
	case "done":
		event["result"] = "Success"
	case "failed", "cancelled":
		event["result"] = "Error"
	}
	if admin {
		event["traceback"] = nil // there is none: the reason is in details
	}
	if r.Version.AtLeast(v(62)) {
		host := hostOf(w)
		event["hostId"] = hostID(s.ProjectID, host)
		if admin {
			event["host"] = orNil(host)
		}
	}
	if r.Version.AtLeast(v(84)) {
		event["details"] = orNil(w.Err)
	}
	out["events"] = []obj{event}
	if steps := stepEvents(w); len(steps) > 0 {
		out["events"] = f.eventsOf(r, s, steps, event)
	}
	return obj{"instanceAction": out}, nil
}

// exact is the time form of our own extension.
func exact(t db.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

func milliseconds(from, to db.Time) any {
	if to.IsZero() || from.IsZero() {
		return nil
	}
	return float64(to.Sub(from.Time).Microseconds()) / 1000
}

// trace is our own extension; see the package comment.
func (f *face) trace(r *httpapi.Request) (any, error) {
	_, all, err := f.history(r, true)
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(all))
	for i := range all {
		w := &all[i]
		steps := make([]obj, len(w.Steps))
		for j, e := range w.Steps {
			steps[j] = obj{"name": e.Step, "parent": orNil(e.Parent), "phase": e.Phase, "try": e.Try, "host": orNil(e.Host), "started_at": exact(e.Started), "finished_at": exact(e.Finished),
				"duration_ms": milliseconds(e.Started, e.Finished), "error": orNil(e.Err), "detail": orNil(e.Detail)}
		}
		out[i] = obj{"id": w.ID, "action": actionOf(w), "request_id": w.RequestID, "user_id": w.UserID, "project_id": w.ProjectID, "status": w.Status, "step": w.StepName, "tries": w.Try,
			"error": orNil(w.Err), "error_step": orNil(w.ErrStep), "started_at": exact(w.Created), "finished_at": exact(w.Finished), "duration_ms": milliseconds(w.Created, w.Finished), "steps": steps}
	}
	return obj{"trace": out}, nil
}
