package api

import (
	"strconv"
	"strings"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

const sZone = `{"type":["string","null"],"minLength":1,"maxLength":255,"pattern":"^[^:]*$"}`

func (f *face) aggregateRoutes() []httpapi.Route {
	const rule, path = "os_compute_api:os-aggregates:", "/os-aggregates"
	act := func(key, body string, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: post, Path: path + "/{id}/action", Name: "aggregates." + key, Action: key, Rule: rule + key, Body: always(wrap(key, body)), Resource: "aggregate", Handler: h}
	}
	return []httpapi.Route{
		{Method: get, Path: path, Name: "aggregates.list", Rule: rule + "index", Resource: "aggregate", Handler: f.listAggregates},
		{Method: post, Path: path, Name: "aggregates.create", Rule: rule + "create", Body: always(wrap("aggregate", object(must("name", sName), opt("availability_zone", sZone)))), Resource: "aggregate", Handler: f.createAggregate},
		{Method: get, Path: path + "/{id}", Name: "aggregates.show", Rule: rule + "show", Resource: "aggregate", Handler: f.showAggregate},
		{Method: put, Path: path + "/{id}", Name: "aggregates.update", Rule: rule + "update", Body: always(wrap("aggregate", `{"allOf":[`+object(opt("name", sName), opt("availability_zone", sZone))+`,{"minProperties":1}]}`)), Resource: "aggregate", Handler: f.updateAggregate},
		{Method: del, Path: path + "/{id}", Name: "aggregates.delete", Rule: rule + "delete", Status: 200, Handler: f.deleteAggregate},
		act("add_host", object(must("host", sHost)), f.aggregateHost(true)),
		act("remove_host", object(must("host", sHost)), f.aggregateHost(false)),
		{Method: post, Path: path + "/{id}/images", Name: "aggregates.images", Min: v(81), Rule: "compute:aggregates:images", Status: accepted,
			Body: always(wrap("cache", array(object(must("id", sUUID)), `,"minItems":1`))), Handler: f.cacheImages},
		act("set_metadata", object(must("metadata", sMetaNil)), f.aggregateMetadata),
	}
}

func aggregateView(a *compute.Aggregate) obj {
	out := obj{"id": a.ID, "uuid": a.UUID, "name": a.Name, "availability_zone": orNil(a.Zone()), "hosts": orNone(a.Hosts), "metadata": orNothing(a.Metadata.V), "created_at": micros(a.Created),
		"updated_at": nil, "deleted": false, "deleted_at": nil}
	if a.Updated != a.Created {
		out["updated_at"] = micros(a.Updated)
	}
	return out
}

func aggregateID(r *httpapi.Request) (int64, error) {
	id, err := strconv.ParseInt(r.Param("id"), 10, 32)
	if err != nil {
		return 0, fault.Invalid("id", "Invalid input for field/attribute id. Value: %s. '%s' is not of type 'integer'", r.Param("id"), r.Param("id"))
	}
	return id, nil
}

// answer shows the aggregate that an act returned.
func answer(a *compute.Aggregate, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return obj{"aggregate": aggregateView(a)}, nil
}

func (f *face) listAggregates(r *httpapi.Request) (any, error) {
	all, err := f.svc.ListAggregates(r.Context())
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(all))
	for i := range all {
		out[i] = aggregateView(&all[i])
	}
	return obj{"aggregates": out}, nil
}

func (f *face) showAggregate(r *httpapi.Request) (any, error) {
	id, err := aggregateID(r)
	if err != nil {
		return nil, err
	}
	return answer(f.svc.Aggregate(r.Context(), id))
}

type aggregateForm struct {
	Aggregate struct {
		Name *string `json:"name"`
		Zone *string `json:"availability_zone"`
	} `json:"aggregate"`
}

func (f *face) createAggregate(r *httpapi.Request) (any, error) {
	var b aggregateForm
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	clean, err := name(r, "name", *b.Aggregate.Name)
	if err != nil {
		return nil, err
	}
	a, err := f.svc.CreateAggregate(r.Context(), clean, text(b.Aggregate.Zone))
	if err != nil {
		return nil, err
	}
	out := aggregateView(a)
	delete(out, "hosts") // Nova's answer to a create has neither
	delete(out, "metadata")
	return obj{"aggregate": out}, nil
}

func (f *face) updateAggregate(r *httpapi.Request) (any, error) {
	id, err := aggregateID(r)
	if err != nil {
		return nil, err
	}
	var b aggregateForm
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	if n := b.Aggregate.Name; n != nil {
		*n = strings.TrimSpace(*n)
		if *n == "" {
			return nil, fault.Invalid("name", "Invalid input for field/attribute name. Value: %s. It must not be blank.", *n)
		}
	}
	zone := b.Aggregate.Zone
	given, _ := r.Document().(map[string]any)["aggregate"].(map[string]any)
	if _, ok := given["availability_zone"]; ok && zone == nil {
		none := ""
		zone = &none
	}
	return answer(f.svc.UpdateAggregate(r.Context(), id, b.Aggregate.Name, zone))
}

func (f *face) deleteAggregate(r *httpapi.Request) (any, error) {
	id, err := aggregateID(r)
	if err != nil {
		return nil, err
	}
	return nil, f.svc.DeleteAggregate(r.Context(), id)
}

func (f *face) aggregateHost(add bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		id, err := aggregateID(r)
		if err != nil {
			return nil, err
		}
		var b map[string]struct {
			Host string `json:"host"`
		}
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		return answer(f.svc.SetAggregateHost(r.Context(), id, b[r.Route.Action].Host, add))
	}
}

func (f *face) aggregateMetadata(r *httpapi.Request) (any, error) {
	id, err := aggregateID(r)
	if err != nil {
		return nil, err
	}
	var b struct {
		Set struct {
			Metadata map[string]*string `json:"metadata"`
		} `json:"set_metadata"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	return answer(f.svc.SetAggregateMetadata(r.Context(), id, b.Set.Metadata))
}

// cacheImages has the aggregate's hosts fetch images ahead of time.
func (f *face) cacheImages(r *httpapi.Request) (any, error) {
	id, err := aggregateID(r)
	if err != nil {
		return nil, err
	}
	var b struct {
		Cache []struct {
			ID string `json:"id"`
		} `json:"cache"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	ids := make([]string, len(b.Cache))
	for i := range b.Cache {
		ids[i] = b.Cache[i].ID
	}
	return nil, f.svc.CacheImages(r.Context(), by(r), id, ids)
}
