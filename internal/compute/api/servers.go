package api

import (
	"encoding/json"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/httpapi"
)

func (f *face) serverRoutes() []httpapi.Route {
	const rule = "os_compute_api:servers:"
	listQuery := query(75, serverParams...)
	body := at(serverBody, 1, 19, 32, 33, 37, 42, 52, 57, 63, 67, 74, 90, 94)
	return []httpapi.Route{
		{Method: post, Path: "/servers", Name: "servers.create", Rule: rule + "create", Body: body, Status: accepted, Handler: f.createServer},
		{Method: post, Path: "/os-volumes_boot", Name: "servers.create.volumes", Rule: rule + "create", Body: body, Status: accepted, Handler: f.createServer}, // where Folsom's client boots from volumes
		{Method: get, Path: "/servers", Name: "servers.list", Query: listQuery, Rule: rule + "index", Handler: f.listServers(false)},
		{Method: get, Path: "/servers/detail", Name: "servers.detail", Query: listQuery, Rule: rule + "detail", Resource: "server", Handler: f.listServers(true)},
		{Method: get, Path: "/servers/{id}", Name: "servers.show", Rule: rule + "show", Resource: "server", Handler: f.showServer},
		{Method: put, Path: "/servers/{id}", Name: "servers.update", Rule: rule + "update", Body: at(updateBody, 1, 19, 90, 94), Resource: "server", Handler: f.updateServer},
		{Method: del, Path: "/servers/{id}", Name: "servers.delete", Rule: rule + "delete", Status: noContent, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.Delete(r.Context(), by(r), r.Param("id"))
		}},
	}
}

func (f *face) listServers(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		filter, page, none, err := f.filter(r)
		if err != nil {
			return nil, err
		}
		var servers []*compute.Server
		var x related
		if !none {
			err = f.read(r, func(tx *db.Tx) (err error) {
				if servers, err = compute.ListServers(r.Context(), tx, filter); err != nil || !detail || len(servers) == 0 {
					return err
				}
				x, err = f.related(r.Context(), tx, servers)
				return err
			})
		}
		if err != nil {
			return nil, err
		}
		out := make([]obj, 0, len(servers))
		see := f.sight(r)
		for _, s := range servers {
			if detail {
				item := f.serverView(r, s, x, see)
				delete(item, "server_groups") // 2.71: not in lists
				out = append(out, item)
				continue
			}
			out = append(out, obj{"id": s.ID, "name": s.Name, "links": r.Links("servers", s.ID)})
		}
		body := obj{"servers": out}
		if len(servers) > 0 {
			if next := r.NextLinks(page, len(servers), servers[len(servers)-1].ID); next != nil {
				body["servers_links"] = next
			}
		}
		return body, nil
	}
}

// full reads all that a server's view needs, in one transaction.
func (f *face) full(r *httpapi.Request, s *compute.Server) (any, error) {
	var x related
	err := f.read(r, func(tx *db.Tx) (err error) {
		x, err = f.related(r.Context(), tx, []*compute.Server{s})
		return err
	})
	if err != nil {
		return nil, err
	}
	return obj{"server": f.serverView(r, s, x, f.sight(r))}, nil
}

func (f *face) showServer(r *httpapi.Request) (any, error) {
	s, err := f.seen.get(r.Context(), f.svc.DB, r.Param("id"), func(tx *db.Tx) (*compute.Server, related, error) {
		s, err := compute.GetServer(r.Context(), tx, r.Param("id"))
		if err != nil {
			return nil, related{}, err
		}
		x, err := f.related(r.Context(), tx, []*compute.Server{s})
		return s, x, err
	})
	if err == nil {
		err = compute.MaySee(r.Creds, s.server)
	}
	if err != nil {
		return nil, err
	}
	see := f.sight(r)
	how := form{version: r.Version, link: r.Link(), sight: see, task: f.task(s.server)}
	if see.hostStatus {
		how.host = f.hostStatus(s.server)
	}
	return f.seen.render(s, how, func() (json.RawMessage, error) {
		view := f.serverView(r, s.server, s.around, see)
		view["OS-EXT-STS:task_state"] = orNil(how.task) // as it was when the form was made up: a host may have told more since
		if see.hostStatus {
			view["host_status"] = how.host
		}
		return r.Render(obj{"server": view})
	})
}

func (f *face) updateServer(r *httpapi.Request) (any, error) {
	var b struct {
		Server struct {
			Name        *string `json:"name"`
			Description *string `json:"description"`
			Hostname    *string `json:"hostname"`
			AccessIPv4  *string `json:"accessIPv4"`
			AccessIPv6  *string `json:"accessIPv6"`
			DiskConfig  *string `json:"OS-DCF:diskConfig"`
		} `json:"server"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	if b.Server.AccessIPv6 != nil {
		*b.Server.AccessIPv6 = shortest(*b.Server.AccessIPv6)
	}
	c := compute.Change{AccessIPv4: b.Server.AccessIPv4, AccessIPv6: b.Server.AccessIPv6, DiskConfig: b.Server.DiskConfig}
	if n := b.Server.Name; n != nil {
		clean, err := name(r, "name", *n)
		if err != nil {
			return nil, err
		}
		c.Name = &clean
	}
	given, _ := r.Document().(map[string]any)["server"].(map[string]any)
	if _, ok := given["description"]; ok && r.Version.AtLeast(v(19)) { // null takes it away
		c.Description = &b.Server.Description
	}
	if r.Version.AtLeast(v(90)) {
		c.Hostname = b.Server.Hostname
	}
	s, err := f.svc.Update(r.Context(), by(r), r.Param("id"), c)
	if err != nil {
		return nil, err
	}
	return f.full(r, s)
}
