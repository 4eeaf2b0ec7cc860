package api

import (
	"log/slog"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
	"nephos/internal/policy"
)

// Deps are what the API needs beside the room.
type Deps struct {
	Auth    httpapi.Authenticator
	AuthURI string
	Policy  *policy.Enforcer // with Rules in it
	DB      *db.DB           // for Quotas
	Quotas  Quotas
	Log     *slog.Logger // nil: the default one
}

type server struct {
	Deps
	svc *network.Service
}

// New returns the service's table; the caller compiles it.
func New(svc *network.Service, d Deps) *httpapi.Service {
	if d.Log == nil {
		d.Log = slog.Default()
	}
	s := &server{Deps: d, svc: svc}
	return &httpapi.Service{
		Name: "network", Auth: d.Auth, AuthURI: d.AuthURI, Policy: d.Policy, Errors: errorStyle, Log: d.Log, TrimSuffix: ".json",
		Mounts: []httpapi.Mount{{Prefix: "/v2.0"}}, Routes: s.routes(),
		Root: []httpapi.Route{{Method: http.MethodGet, Path: "/", Name: "versions", Public: true, Handler: versions}},
	}
}

// errorStyle is Neutron's, with the one status that no fault kind has.
func errorStyle(e httpapi.ErrorInfo) (int, any) {
	status, body := httpapi.NeutronErrors(e)
	if e.Type == "RevisionNumberConstraintFailed" {
		status = http.StatusPreconditionFailed
	}
	return status, body
}

func (s *server) routes() []httpapi.Route {
	routers := s.routers()
	out := slices.Concat(
		s.networks().routes(), s.subnets().routes(), s.ports().routes(), s.groups().routes(), s.rules().routes(),
		routers.routes(), s.routerRoutes(routers), s.floatingIPs().routes(), s.quotaRoutes(),
	)
	return append(out,
		httpapi.Route{Method: http.MethodGet, Path: "/", Name: "resources", Handler: resources},
		httpapi.Route{Method: http.MethodGet, Path: "/extensions", Name: "extensions.list", Handler: listExtensions},
		httpapi.Route{Method: http.MethodGet, Path: "/extensions/{alias}", Name: "extensions.show", Handler: showExtension},
		httpapi.Route{Method: http.MethodGet, Path: "/agents", Name: "agents.list", Handler: s.listAgents},
		httpapi.Route{Method: http.MethodGet, Path: "/agents/{id}", Name: "agents.show", Handler: s.showAgent},
		httpapi.Route{Method: http.MethodGet, Path: "/availability_zones", Name: "availability_zones.list", Rule: "get_availability_zone", Handler: s.listZones},
	)
}

func versions(r *httpapi.Request) (any, error) {
	return map[string]any{"versions": []any{map[string]any{"id": "v2.0", "status": "CURRENT",
		"links": []any{map[string]any{"rel": "self", "href": r.HostURL() + "/v2.0/"}}}}}, nil
}

func resources(r *httpapi.Request) (any, error) {
	var out []map[string]any
	for _, s := range specs() {
		out = append(out, map[string]any{"name": s.name, "collection": s.collection, "links": []any{map[string]any{"rel": "self", "href": r.HostURL() + "/v2.0/" + s.path}}})
	}
	return map[string]any{"resources": out}, nil
}

// extensions are what is really here, by alias.
var extensions = [][2]string{
	{"agent", "agent"}, {"allowed-address-pairs", "Allowed Address Pairs"}, {"availability_zone", "Availability Zone"}, {"binding", "Port Binding"},
	{"empty-string-filtering", "Empty String Filtering"}, {"ext-gw-mode", "Neutron L3 Configurable external gateway mode"}, {"external-net", "Neutron external network"},
	{"extra_dhcp_opt", "Neutron Extra DHCP options"}, {"extraroute", "Neutron Extra Route"}, {"extraroute-atomic", "Atomically add/remove extra routes"},
	{"fip-port-details", "Floating IP Port Details"}, {"ip-substring-filtering", "IP address substring filtering"}, {"net-mtu", "Network MTU"},
	{"net-mtu-writable", "Network MTU (writable)"}, {"network_availability_zone", "Network Availability Zone"}, {"pagination", "Pagination support"},
	{"port-security", "Port Security"}, {"port-security-groups-filtering", "Port filtering on security groups"},
	{"project-id", "project_id field enabled"}, {"provider", "Provider Network"}, {"quota_details", "Quota details management support"}, {"quotas", "Quota management support"},
	{"revision-if-match", "If-Match constraints based on revision_number"}, {"router", "Neutron L3 Router"}, {"router_availability_zone", "Router Availability Zone"},
	{"security-group", "security-group"}, {"security-groups-normalized-cidr", "Normalized CIDR field for security group rules"},
	{"sort-key-validation", "Sort key validation"}, {"sorting", "Sorting support"}, {"standard-attr-description", "standard-attr-description"},
	{"standard-attr-revisions", "Resource revision numbers"}, {"standard-attr-tag", "Tag support for resources with standard attribute"},
	{"standard-attr-timestamp", "Resource timestamps"}, {"stateful-security-group", "Stateful security group"}, {"subnet-external-network", "Subnet external network"},
	{"tag-ports-during-bulk-creation", "Tag Ports During Bulk Creation"},
}

func extension(x [2]string) map[string]any {
	return map[string]any{"alias": x[0], "name": x[1], "description": x[1], "updated": "2026-01-01T00:00:00-00:00", "links": []any{}}
}

func listExtensions(*httpapi.Request) (any, error) {
	out := make([]map[string]any, len(extensions))
	for i, x := range extensions {
		out[i] = extension(x)
	}
	return map[string]any{"extensions": out}, nil
}

func showExtension(r *httpapi.Request) (any, error) {
	for _, x := range extensions {
		if x[0] == r.Param("alias") {
			return map[string]any{"extension": extension(x)}, nil
		}
	}
	return nil, fault.NotFound("Extension with alias %s does not exist", r.Param("alias")).WithType("ExtensionNotFound")
}

// agentSpace makes agents' ids out of host names, so that they stay the same.
var agentSpace = uuid.MustParse("8f6a1a52-6f0e-5a0b-9c7e-2d1f0f3f9a11")

func (s *server) agents(r *httpapi.Request) ([]map[string]any, error) {
	hosts, err := s.svc.Hosts(r.Context())
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, h := range hosts {
		kinds := []string{"DHCP agent"}
		if h.Gateway {
			kinds = append(kinds, "L3 agent")
		}
		for _, k := range kinds {
			beat := h.Seen
			if beat.IsZero() {
				beat = h.Created
			}
			out = append(out, map[string]any{"id": uuid.NewSHA1(agentSpace, []byte(k+" "+h.Name)).String(), "agent_type": k, "binary": "nephos-agent", "topic": "N/A", "host": h.Name,
				"admin_state_up": true, "alive": h.Alive, "availability_zone": s.svc.Zone(), "created_at": h.Created.UTC().Format("2006-01-02 15:04:05"),
				"started_at": h.Created.UTC().Format("2006-01-02 15:04:05"), "heartbeat_timestamp": beat.UTC().Format("2006-01-02 15:04:05"), "configurations": map[string]any{}, "description": nil})
		}
	}
	return out, nil
}

var agentSpec = spec{name: "agent", collection: "agents", attrs: []attr{{name: "id"}, {name: "host"}, {name: "agent_type"}, {name: "binary"}, {name: "alive", kind: kBool}}}

// visibleAgents are all for whom policy lets see them, and none for others: Neutron filters its answers instead of refusing.
func (s *server) visibleAgents(r *httpapi.Request) ([]map[string]any, error) {
	if !r.Allowed("get_agent", r.OwnTarget()) {
		return []map[string]any{}, nil
	}
	return s.agents(r)
}

func (s *server) listAgents(r *httpapi.Request) (any, error) {
	all, err := s.visibleAgents(r)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	all = slices.DeleteFunc(all, func(v map[string]any) bool { return !agentSpec.keep(v, q) })
	return map[string]any{"agents": all}, nil
}

func (s *server) showAgent(r *httpapi.Request) (any, error) {
	all, err := s.visibleAgents(r)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a["id"] == r.Param("id") {
			return map[string]any{"agent": a}, nil
		}
	}
	return nil, fault.NotFound("Agent %s could not be found.", r.Param("id")).WithType("AgentNotFound")
}

func (s *server) listZones(r *httpapi.Request) (any, error) {
	hosts, err := s.svc.Hosts(r.Context())
	if err != nil {
		return nil, err
	}
	state := map[string]string{"network": "unavailable", "router": "unavailable"}
	for _, h := range hosts {
		if h.Alive {
			state["network"] = "available"
			if h.Gateway {
				state["router"] = "available"
			}
		}
	}
	out := []map[string]any{}
	for _, k := range []string{"network", "router"} {
		out = append(out, map[string]any{"name": s.svc.Zone(), "resource": k, "state": state[k]})
	}
	return map[string]any{"availability_zones": out}, nil
}
