package identity

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// EndpointGroup is all endpoints that fit its filters; a project may be given it (OS-EP-FILTER).
type EndpointGroup struct {
	ID          string                  `db:"id"`
	Name        string                  `db:"name"`
	Description *string                 `db:"description"`
	Filters     db.JSON[EndpointFilter] `db:"filters"`
}

// fits says whether an endpoint is of the group; empty filters let everything in.
func (g *EndpointGroup) fits(e *Endpoint) bool {
	f := g.Filters.V
	return (f.ServiceID == "" || f.ServiceID == e.ServiceID) && (f.Interface == "" || f.Interface == e.Interface) &&
		(f.RegionID == "" || f.RegionID == text(e.RegionID)) && (f.Enabled == nil || *f.Enabled == e.Enabled)
}

// CreateEndpointGroup makes one; its id is chosen here.
func (s *Service) CreateEndpointGroup(ctx context.Context, g EndpointGroup) (*EndpointGroup, error) {
	g.ID = newID()
	return &g, s.write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "identity_endpoint_groups", g) })
}

// EndpointGroup looks one up.
func (s *Service) EndpointGroup(ctx context.Context, id string) (*EndpointGroup, error) {
	g := &EndpointGroup{}
	err := s.db.Read(ctx, func(tx *db.Tx) error { return endpointGroupByID(ctx, tx, id, g) })
	return g, err
}

func endpointGroupByID(ctx context.Context, tx *db.Tx, id string, g *EndpointGroup) error {
	return get(ctx, tx, g, "endpoint group", id, `SELECT * FROM identity_endpoint_groups WHERE id = ?`, id)
}

// EndpointGroups lists them, those of a project or all, by name; name "" selects all.
func (s *Service) EndpointGroups(ctx context.Context, project, name string) ([]EndpointGroup, error) {
	var w where
	w.eq("name", name)
	if project != "" {
		w.add("id IN (SELECT group_id FROM identity_project_endpoint_groups WHERE project_id = ?)", project)
	}
	var out []EndpointGroup
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if project != "" {
			if _, err := projectByID(ctx, tx, project); err != nil {
				return err
			}
		}
		return tx.Select(ctx, &out, `SELECT * FROM identity_endpoint_groups`+w.text()+` ORDER BY name, id`, w.args...)
	})
	return out, err
}

// UpdateEndpointGroup changes one by edit, which must not change the id.
func (s *Service) UpdateEndpointGroup(ctx context.Context, id string, edit func(*EndpointGroup) error) (*EndpointGroup, error) {
	g := &EndpointGroup{}
	err := s.write(ctx, func(tx *db.Tx) error {
		*g = EndpointGroup{}
		if err := endpointGroupByID(ctx, tx, id, g); err != nil {
			return err
		}
		if err := edit(g); err != nil {
			return err
		}
		_, err := tx.NamedExec(ctx, `UPDATE identity_endpoint_groups SET name = :name, description = :description, filters = :filters WHERE id = :id`, g)
		return err
	})
	return g, err
}

// DeleteEndpointGroup removes one from all projects.
func (s *Service) DeleteEndpointGroup(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_endpoint_groups WHERE id = ?`, id)
		return affected(n, err, "endpoint group", id)
	})
}

// GroupEndpoints lists the endpoints of a group.
func (s *Service) GroupEndpoints(ctx context.Context, id string) ([]Endpoint, error) {
	g, err := s.EndpointGroup(ctx, id)
	if err != nil {
		return nil, err
	}
	all, err := s.Endpoints(ctx, EndpointFilter{})
	var out []Endpoint
	for _, e := range all {
		if g.fits(&e) {
			out = append(out, e)
		}
	}
	return out, err
}

// given are the two tables of what a project was given.
var given = map[bool]struct{ table, column, noun string }{
	false: {"identity_project_endpoints", "endpoint_id", "endpoint"},
	true:  {"identity_project_endpoint_groups", "group_id", "endpoint group"},
}

// checkGiven says 404 for a project, endpoint or group that does not exist.
func checkGiven(ctx context.Context, tx *db.Tx, project, id string, group bool) error {
	if _, err := projectByID(ctx, tx, project); err != nil {
		return err
	}
	if group {
		return endpointGroupByID(ctx, tx, id, &EndpointGroup{})
	}
	return get(ctx, tx, &Endpoint{}, "endpoint", id, `SELECT * FROM identity_endpoints WHERE id = ?`, id)
}

// GiveEndpoint associates an endpoint, or a group of them, with a project; again changes nothing. From then on the project's catalog has only what
// it was given.
func (s *Service) GiveEndpoint(ctx context.Context, project, id string, group bool) error {
	g := given[group]
	return s.write(ctx, func(tx *db.Tx) error {
		if err := checkGiven(ctx, tx, project, id, group); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO `+g.table+` (project_id, `+g.column+`) VALUES (?, ?) ON CONFLICT DO NOTHING`, project, id)
		return err
	})
}

// TakeEndpoint undoes GiveEndpoint; 404 if it was not given.
func (s *Service) TakeEndpoint(ctx context.Context, project, id string, group bool) error {
	g := given[group]
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM `+g.table+` WHERE project_id = ? AND `+g.column+` = ?`, project, id)
		if err == nil && n == 0 {
			return notGiven(project, id, g.noun)
		}
		return err
	})
}

// EndpointGiven says nil if exactly this association is there, else 404.
func (s *Service) EndpointGiven(ctx context.Context, project, id string, group bool) error {
	g := given[group]
	return s.db.Read(ctx, func(tx *db.Tx) error {
		if err := checkGiven(ctx, tx, project, id, group); err != nil {
			return err
		}
		var n int
		err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM `+g.table+` WHERE project_id = ? AND `+g.column+` = ?`, project, id)
		if err == nil && n == 0 {
			return notGiven(project, id, g.noun)
		}
		return err
	})
}

func notGiven(project, id, noun string) error {
	return fault.NotFound("%s %s not found in project %s.", noun, id, project)
}

// ProjectsGiven lists the projects with which an endpoint, or a group, is associated.
func (s *Service) ProjectsGiven(ctx context.Context, id string, group bool) ([]Project, error) {
	g := given[group]
	var out []Project
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if group {
			if err := endpointGroupByID(ctx, tx, id, &EndpointGroup{}); err != nil {
				return err
			}
		} else if err := get(ctx, tx, &Endpoint{}, "endpoint", id, `SELECT * FROM identity_endpoints WHERE id = ?`, id); err != nil {
			return err
		}
		return tx.Select(ctx, &out, `SELECT * FROM identity_projects WHERE id IN (SELECT project_id FROM `+g.table+` WHERE `+g.column+` = ?) ORDER BY name, id`, id)
	})
	return out, err
}

// ProjectEndpoints lists what a project was given, by itself and in groups.
func (s *Service) ProjectEndpoints(ctx context.Context, project string) ([]Endpoint, error) {
	var out []Endpoint
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if _, err := projectByID(ctx, tx, project); err != nil {
			return err
		}
		all, mine, groups, err := endpointsGiven(ctx, tx, project)
		if err != nil {
			return err
		}
		for _, e := range all {
			if givenTo(&e, mine, groups) {
				out = append(out, e)
			}
		}
		return nil
	})
	return out, err
}

func givenTo(e *Endpoint, mine map[string]bool, groups []EndpointGroup) bool {
	if mine[e.ID] {
		return true
	}
	for i := range groups {
		if groups[i].fits(e) {
			return true
		}
	}
	return false
}

func endpointsGiven(ctx context.Context, tx *db.Tx, project string) (all []Endpoint, mine map[string]bool, groups []EndpointGroup, err error) {
	if err = tx.Select(ctx, &all, `SELECT * FROM identity_endpoints ORDER BY id`); err != nil {
		return nil, nil, nil, err
	}
	var ids []string
	if err = tx.Select(ctx, &ids, `SELECT endpoint_id FROM identity_project_endpoints WHERE project_id = ?`, project); err != nil {
		return nil, nil, nil, err
	}
	mine = map[string]bool{}
	for _, id := range ids {
		mine[id] = true
	}
	err = tx.Select(ctx, &groups, `SELECT * FROM identity_endpoint_groups WHERE id IN
		(SELECT group_id FROM identity_project_endpoint_groups WHERE project_id = ?)`, project)
	return all, mine, groups, err
}
