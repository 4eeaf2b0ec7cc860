package api

import (
	"context"
	"log/slog"
	"net/http"
	"slices"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/httpapi"
	"nephos/internal/image"
	"nephos/internal/network"
	"nephos/internal/policy"
)

// Networks is what the views need of the network room.
type Networks interface {
	Addresses(ctx context.Context, tx *db.Tx, serverIDs []string) (map[string][]network.ServerAddress, error)
	ServerSecurityGroups(ctx context.Context, tx *db.Tx, serverIDs []string) (map[string][]network.SecurityGroupRef, error)
	ResolveSecurityGroups(ctx context.Context, projectID string, namesOrIDs []string) ([]network.SecurityGroupRef, error)
	Ports(ctx context.Context, sc network.Scope, q network.Query) ([]network.PortView, error)
	UpdatePort(ctx context.Context, sc network.Scope, id string, p network.PortPatch, c *network.Cond) (network.PortView, error)
	SecurityGroups(ctx context.Context, sc network.Scope, q network.Query) ([]network.SecurityGroupView, error)
	CreateSecurityGroups(ctx context.Context, ps []network.SecurityGroupPatch) ([]network.SecurityGroupView, error)
	UpdateSecurityGroup(ctx context.Context, id string, p network.SecurityGroupPatch, c *network.Cond) (network.SecurityGroupView, error)
	DeleteSecurityGroup(ctx context.Context, id string, admin bool) error
	Rules(ctx context.Context, sc network.Scope, q network.Query) ([]network.RuleView, error)
	CreateRules(ctx context.Context, ps []network.RulePatch) ([]network.RuleView, error)
	DeleteRule(ctx context.Context, id string) error
	Networks(ctx context.Context, sc network.Scope, q network.Query) ([]network.NetworkView, error)
	FloatingIPs(ctx context.Context, sc network.Scope, q network.Query) ([]network.FloatingIPView, error)
	CreateFloatingIPs(ctx context.Context, sc network.Scope, ps []network.FloatingIPPatch) ([]network.FloatingIPView, error)
	UpdateFloatingIP(ctx context.Context, sc network.Scope, id string, p network.FloatingIPPatch, c *network.Cond) (network.FloatingIPView, error)
	DeleteFloatingIP(ctx context.Context, id string) error
	Refresh(hosts []string)
}

// Images is what the image proxy needs.
type Images interface {
	Get(ctx context.Context, creds *policy.Credentials, id string) (image.Image, error)
	List(ctx context.Context, creds *policy.Credentials, f image.Filter) ([]image.Image, error)
	Update(ctx context.Context, creds *policy.Credentials, id string, fn func(*image.Image) error) (image.Image, error)
	Delete(ctx context.Context, creds *policy.Credentials, id string) error
}

// Quotas is what the quota calls need.
type Quotas interface {
	Limits(ctx context.Context, tx *db.Tx, projectID string, resources []string) (map[string]int64, error)
	DefaultLimits(ctx context.Context, tx *db.Tx, resources []string) (map[string]int64, error)
	Usage(ctx context.Context, tx *db.Tx, projectID string) (map[string]int64, error)
	SetLimit(ctx context.Context, tx *db.Tx, projectID, resource string, limit int64) error
	SetDefault(ctx context.Context, tx *db.Tx, resource string, limit int64) error
	Reset(ctx context.Context, tx *db.Tx, projectID string, resources []string) error
	UserLimits(ctx context.Context, tx *db.Tx, projectID, userID string, resources []string) (map[string]int64, error)
	SetUserLimit(ctx context.Context, tx *db.Tx, projectID, userID, resource string, limit int64) error
	ResetUser(ctx context.Context, tx *db.Tx, projectID, userID string, resources []string) error
}

// Deps are what the service needs beside the room.
type Deps struct {
	Auth     httpapi.Authenticator
	AuthURI  string
	Policy   *policy.Enforcer // with Rules in it; nil: policy.Base and Rules
	Log      *slog.Logger
	Networks Networks
	Images   Images
	Quotas   Quotas
	Volumes  Volumes
	// ConsoleURL and SerialURL are where the consoles of a kind are shown: http://host:6080 and ws://host:6083.
	ConsoleURL, SerialURL string
	ImageURL              string                                 // of the image service, for Location headers; "": links to the proxy
	Fsck                  func(ctx context.Context) (any, error) // nil: the call answers 501
}

type face struct {
	svc  *compute.Service
	deps Deps
	seen seen
}

type obj = map[string]any

const (
	get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	accepted            = http.StatusAccepted
	noContent           = http.StatusNoContent
	maxLimit            = 1000 // items of one page (Nova's max_limit)
)

func v(minor int) httpapi.Version { return httpapi.V(2, minor) }

var newest = v(96)

// New returns the service's table; the caller compiles it.
func New(svc *compute.Service, d Deps) (*httpapi.Service, error) {
	if d.Log == nil {
		d.Log = slog.Default()
	}
	if d.Policy == nil {
		var err error
		if d.Policy, err = policy.New(policy.Base, Rules); err != nil {
			return nil, err
		}
	}
	f := &face{svc: svc, deps: d}
	return &httpapi.Service{
		Name: "compute", Auth: d.Auth, AuthURI: d.AuthURI, Policy: d.Policy, Errors: httpapi.NovaErrors, Log: d.Log,
		Micro: &httpapi.Microversions{Service: "compute", LegacyHeader: "X-OpenStack-Nova-API-Version", Min: v(1), Max: newest, Default: v(1)},
		Mounts: []httpapi.Mount{
			{Prefix: "/v2.1", Project: httpapi.ProjectOptional},
			{Prefix: "/v2", Project: httpapi.ProjectOptional, Unversioned: true, Lenient: true},
			{Prefix: "/v1.1", Project: httpapi.ProjectOptional, Unversioned: true, Lenient: true}, // Folsom's alias of /v2
		},
		Routes: f.routes(), Root: f.roots(), Ledger: slices.Concat(ledger, migrationChanges, otherChanges), WrongMethod: http.StatusNotFound, StrictSlash: true, RequestIDs: []string{"X-Compute-Request-Id"},
	}, nil
}

func (f *face) routes() []httpapi.Route {
	var out []httpapi.Route
	for _, part := range [][]httpapi.Route{f.versionRoutes(), f.extensionRoutes(), f.flavorRoutes(), f.keypairRoutes(), f.quotaRoutes(), f.hostRoutes(), f.hypervisorRoutes(),
		f.serverRoutes(), f.actionRoutes(), f.actRoutes(), f.moveRoutes(), f.migrationRoutes(), f.metadataRoutes(), f.deviceRoutes(), f.historyRoutes(), f.groupRoutes(), f.aggregateRoutes(), f.usageRoutes(), f.imageRoutes(),
		f.networkRoutes(), f.fsckRoutes(), f.schedulerRoutes(), f.feedRoutes(), f.guestRoutes(), f.consoleRoutes(), f.eventRoutes(), f.oldRoutes()} {
		out = append(out, part...)
	}
	return out
}

func by(r *httpapi.Request) compute.By { return compute.By{Creds: r.Creds, RequestID: r.ID} }

// read runs fn in one read transaction.
func (f *face) read(r *httpapi.Request, fn func(tx *db.Tx) error) error {
	return f.svc.DB.Read(r.Context(), fn)
}

// scope is the caller as the network room wants it.
func scope(r *httpapi.Request) network.Scope {
	return network.Scope{ProjectID: r.Creds.ProjectID, Admin: r.Creds.IsAdmin()}
}
