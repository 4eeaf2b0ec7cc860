package api

import (
	"nephos/internal/compute"
	"nephos/internal/httpapi"
	"nephos/internal/scheduler"
)

// explainBody is what decides about a server's place, with the names that POST /servers has for it.
var explainBody = httpapi.Schemas{{Since: v(1), JSON: `{"type": "object", "properties": {"server": {"type": "object", "properties": {
	"flavorRef": {"type": "string", "minLength": 1}, "imageRef": {"type": "string"}, "availability_zone": {"type": "string"}, "host": {"type": "string"}},
	"required": ["flavorRef"], "additionalProperties": false},
	"os:scheduler_hints": {"type": "object", "properties": {"group": {"type": "string", "format": "uuid"}, "same_host": {"type": "array", "items": {"type": "string"}},
	"different_host": {"type": "array", "items": {"type": "string"}}, "build_near_host_ip": {"type": "string"}, "cidr": {"type": "string"}, "query": {"type": "string"}}, "additionalProperties": false}},
	"required": ["server"], "additionalProperties": false}`}}

// schedulerRoutes is nephos' own extension: POST /os-nephos-scheduler/explain is a dry run of a create that says what would decide about each host. Admin only.
func (f *face) schedulerRoutes() []httpapi.Route {
	return []httpapi.Route{{Method: post, Path: "/os-nephos-scheduler/explain", Name: "nephos.scheduler.explain", Rule: "nephos:scheduler:explain", Body: explainBody, Status: 200, Handler: f.explainSchedule}}
}

func (f *face) explainSchedule(r *httpapi.Request) (any, error) {
	var in struct {
		Server struct {
			Flavor string `json:"flavorRef"`
			Image  string `json:"imageRef"`
			Zone   string `json:"availability_zone"`
			Host   string `json:"host"`
		} `json:"server"`
		Hints struct {
			Group     string   `json:"group"`
			Same      []string `json:"same_host"`
			Different []string `json:"different_host"`
			Near      string   `json:"build_near_host_ip"`
			CIDR      string   `json:"cidr"`
			Query     string   `json:"query"`
		} `json:"os:scheduler_hints"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	out, err := f.svc.ExplainSchedule(r.Context(), r.Creds, compute.CreateRequest{FlavorID: in.Server.Flavor, ImageID: in.Server.Image, Zone: in.Server.Zone, ForcedHost: in.Server.Host,
		Hints: compute.Hints{Group: in.Hints.Group, SameHost: in.Hints.Same, DifferentHost: in.Hints.Different, BuildNearHostIP: in.Hints.Near, CIDR: in.Hints.CIDR, Query: in.Hints.Query}})
	if err != nil {
		return nil, err
	}
	hosts := make([]any, len(out.Verdicts))
	for i, v := range out.Verdicts {
		hosts[i] = verdictView(v)
	}
	return map[string]any{"explanation": map[string]any{"host": out.Choice.Host, "alternates": orList(out.Choice.Alternates), "summary": out.Choice.Explanation.String(), "hosts": hosts}}, nil
}

func orList(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func verdictView(v scheduler.Verdict) map[string]any {
	if !v.Fits {
		return map[string]any{"host": v.Host, "fits": false, "filter": v.Filter, "reason": v.Why}
	}
	weights := []any{}
	for _, w := range v.Weights {
		weights = append(weights, map[string]any{"weigher": w.Weigher, "value": w.Raw, "weight": w.Worth})
	}
	return map[string]any{"host": v.Host, "fits": true, "score": v.Score, "weights": weights}
}
