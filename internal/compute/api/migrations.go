package api

import (
	"slices"
	"strconv"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/workflow"
)

func (f *face) migrationRoutes() []httpapi.Route {
	const rule = "os_compute_api:servers:migrations:"
	params := []string{"hidden", "host", "instance_uuid", "source_compute", "status", "migration_type", "limit", "marker", "changes-since"}
	list := slices.Concat(query(59, params...), query(66, append(slices.Clone(params), "changes-before")...), query(80, append(slices.Clone(params), "changes-before", "user_id", "project_id")...))
	force := httpapi.Route{Method: post, Path: "/servers/{id}/migrations/{migration}/action", Name: "servers.migrations.force_complete", Action: "force_complete", Min: v(22), Rule: rule + "force_complete",
		Body: always(wrap("force_complete", `{"type":"null"}`)), Status: accepted, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.ForceMigration(r.Context(), by(r), r.Param("id"), r.Param("migration"))
		}}
	return []httpapi.Route{
		{Method: get, Path: "/os-migrations", Name: "migrations.list", Query: list, Rule: "os_compute_api:os-migrations:index", Resource: "migration", Handler: f.listMigrations},
		{Method: get, Path: "/servers/{id}/migrations", Name: "servers.migrations.list", Min: v(23), Rule: rule + "index", Resource: "migration", Handler: f.listServerMigrations},
		{Method: get, Path: "/servers/{id}/migrations/{migration}", Name: "servers.migrations.show", Min: v(23), Rule: rule + "show", Resource: "migration", Handler: f.showServerMigration},
		{Method: del, Path: "/servers/{id}/migrations/{migration}", Name: "servers.migrations.abort", Min: v(24), Rule: rule + "delete", Status: accepted, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.AbortMigration(r.Context(), by(r), r.Param("id"), r.Param("migration"), r.Version.AtLeast(v(65)))
		}},
		force,
	}
}

// migrationChanges are the ledger's rows of migrations.
var migrationChanges = []httpapi.Change{
	{At: v(80), Resource: "migration", Name: "who asked", Response: without("user_id", "project_id")},
	{At: v(59), Resource: "migration", Name: "uuid", Response: without("uuid")},
	{At: v(23), Resource: "migration", Name: "type and links", Response: without("migration_type", "links")},
}

func (f *face) listMigrations(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	filter := compute.MigrationFilter{Host: q.Get("host"), Source: q.Get("source_compute"), Server: q.Get("instance_uuid"), Status: q.Get("status"), Kind: q.Get("migration_type")}
	page := httpapi.Page{Limit: 1 << 30}
	paged := r.Version.AtLeast(v(59))
	var err error
	if paged {
		if page, err = r.Page(maxLimit); err != nil {
			return nil, err
		}
		if filter.Since, err = timeParam(r, "changes-since"); err != nil {
			return nil, err
		}
	}
	if r.Version.AtLeast(v(66)) {
		if filter.Before, err = timeParam(r, "changes-before"); err != nil {
			return nil, err
		}
		if !filter.Before.IsZero() && filter.Before.Before(filter.Since) {
			return nil, fault.Invalid("changes-before", "The value of changes-since must be less than or equal to changes-before.")
		}
	}
	if r.Version.AtLeast(v(80)) {
		filter.User, filter.Project = q.Get("user_id"), q.Get("project_id")
	}
	if !r.Creds.IsAdmin() {
		filter.Project = r.Creds.ProjectID
	}
	var all []compute.Migration
	err = f.read(r, func(tx *db.Tx) (err error) { all, err = compute.ListMigrations(r.Context(), tx, filter); return err })
	if err != nil {
		return nil, err
	}
	rows, err := listed(page, all, func(m *compute.Migration) string { return m.UUID })
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(rows))
	for i := range rows {
		m := &rows[i]
		o := migrationView(m)
		o["instance_uuid"], o["migration_type"] = m.ServerID, m.Kind
		o["old_instance_type_id"], o["new_instance_type_id"] = flavorNumber(m.OldFlavor.V.ID), flavorNumber(m.NewFlavor.V.ID)
		if m.Kind == compute.KindLive && going(m) {
			o["links"] = r.Links("servers", m.ServerID, "migrations", strconv.FormatInt(m.ID, 10))
		}
		out[i] = o
	}
	body := obj{"migrations": out}
	if paged && len(rows) > 0 {
		if next := r.NextLinks(page, len(rows), rows[len(rows)-1].UUID); next != nil {
			body["migrations_links"] = next
		}
	}
	return body, nil
}

// migrationView is what both forms have.
func migrationView(m *compute.Migration) obj {
	return obj{"id": m.ID, "uuid": m.UUID, "status": m.Status, "source_compute": m.Source, "source_node": m.Source, "dest_compute": orNil(m.Dest), "dest_node": orNil(m.Dest), "dest_host": nil,
		"created_at": micros(m.Created), "updated_at": micros(m.Updated), "user_id": m.UserID, "project_id": m.ProjectID}
}

// flavorNumber stands for the key that Nova's database has of a flavor: ids that are numbers are shown, others have none.
func flavorNumber(id string) any {
	if n, err := strconv.Atoi(id); err == nil {
		return n
	}
	return nil
}

// going says that a live migration has not ended.
func going(m *compute.Migration) bool {
	return slices.Contains([]compute.MigrationStatus{compute.MigrationQueued, compute.MigrationAccepted, compute.MigrationPreparing, compute.MigrationRunning}, m.Status)
}

func (f *face) listServerMigrations(r *httpapi.Request) (any, error) {
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	var all []compute.Migration
	err = f.read(r, func(tx *db.Tx) (err error) {
		all, err = compute.ListMigrations(r.Context(), tx, compute.MigrationFilter{Server: s.ID, Kind: string(compute.KindLive), Open: true})
		return err
	})
	out := []obj{}
	for i := range all {
		if going(&all[i]) {
			out = append(out, liveView(&all[i]))
		}
	}
	return obj{"migrations": out}, err
}

func (f *face) showServerMigration(r *httpapi.Request) (any, error) {
	s, m, err := f.svc.ServerMigration(r.Context(), by(r), r.Param("id"), r.Param("migration"))
	if err != nil {
		return nil, err
	}
	if m.Kind != compute.KindLive || m.UUID != s.MigrationID || !going(m) {
		return nil, fault.NotFound("Live migration %s for server %s is not in progress.", r.Param("migration"), s.ID)
	}
	return obj{"migration": liveView(m)}, nil
}

func liveView(m *compute.Migration) obj {
	o := migrationView(m)
	p := m.Progress.V
	o["server_uuid"] = m.ServerID
	for key, n := range map[string]int64{"memory_total": p.MemoryTotal, "memory_processed": p.MemoryProcessed, "memory_remaining": p.MemoryRemaining,
		"disk_total": p.DiskTotal, "disk_processed": p.DiskProcessed, "disk_remaining": p.DiskRemaining} {
		o[key+"_bytes"] = n
	}
	return o
}

// moveEvents are the events of a move's steps in Nova's names (states.md section 5 of the API facts): by action, then by step.
var moveEvents = map[string]map[string][]string{
	"resize":         coldEvents,
	"migrate":        coldEvents,
	"confirmResize":  {"confirm": {"compute_confirm_resize"}},
	"revertResize":   {"drop destination": {"compute_revert_resize"}, "return": {"compute_finish_revert_resize"}},
	"evacuate":       {"schedule": {"rebuild_server"}, "spawn": {"compute_rebuild_instance"}},
	"live-migration": {"schedule": {"conductor_live_migrate_instance"}, "prepare": {"compute_pre_live_migration"}, "send": {"compute_live_migration"}, "clean": {"compute_post_live_migration_at_destination"}},
}

var coldEvents = map[string][]string{"schedule": {"cold_migrate", "conductor_migrate_server", "compute_prep_resize"}, "leave": {"compute_resize_instance"}, "arrive": {"compute_finish_resize"}}

// stepEvents are the events of an operation that has one for each step, the newest first as Nova lists them; nil for all others.
func stepEvents(w *workflow.Record) []workflow.Entry {
	names := moveEvents[actionOf(w)]
	var out []workflow.Entry
	for _, s := range w.Steps {
		if s.Parent != "" || s.Phase != "do" {
			continue
		}
		for _, n := range names[s.Step] {
			e := s
			e.Step = n
			out = append(out, e)
		}
	}
	if names != nil && w.Active() {
		for _, n := range names[w.StepName] {
			out = append(out, workflow.Entry{Step: n, Started: w.Updated})
		}
	}
	slices.Reverse(out)
	return out
}

// eventsOf are an action's events, one for each entry; like has the form that the caller may see.
func (f *face) eventsOf(r *httpapi.Request, s *compute.Server, steps []workflow.Entry, like obj) []obj {
	out := make([]obj, len(steps))
	for i, e := range steps {
		o := obj{"event": e.Step, "start_time": micros(e.Started), "finish_time": micros(e.Finished), "result": nil}
		switch {
		case e.Err != "":
			o["result"] = "Error"
		case !e.Finished.IsZero():
			o["result"] = "Success"
		}
		for key, value := range map[string]any{"traceback": nil, "hostId": hostID(s.ProjectID, e.Host), "host": orNil(e.Host), "details": orNil(e.Err)} {
			if _, shown := like[key]; shown {
				o[key] = value
			}
		}
		out[i] = o
	}
	return out
}
