package api

import (
	"log/slog"
	"net/http"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
	"nephos/internal/quota"
	"nephos/internal/volume"
)

// Deps are what the service needs beside the room.
type Deps struct {
	Auth    httpapi.Authenticator
	AuthURI string
	Policy  *policy.Enforcer // with Rules in it
	DB      *db.DB
	Quotas  *quota.Service
	Node    string // name of this controller, for the list of services
	Log     *slog.Logger
}

// Rules are Cinder's default policies for what is here.
var Rules = policy.Rules{
	"volume:get_all":                         "rule:project_reader_or_admin",
	"volume:get":                             "rule:project_reader_or_admin",
	"volume:create":                          "rule:project_member_or_admin",
	"volume:update":                          "rule:project_member_or_admin",
	"volume:delete":                          "rule:project_member_or_admin",
	"volume:force_delete":                    "rule:admin",
	"volume:get_volume_metadata":             "rule:project_reader_or_admin",
	"volume:update_volume_metadata":          "rule:project_member_or_admin",
	"volume:extend":                          "rule:project_member_or_admin",
	"volume:retype":                          "rule:project_member_or_admin",
	"volume:get_all_snapshots":               "rule:project_reader_or_admin",
	"volume:create_snapshot":                 "rule:project_member_or_admin",
	"volume:update_snapshot":                 "rule:project_member_or_admin",
	"volume:delete_snapshot":                 "rule:project_member_or_admin",
	"volume:attachment_create":               "rule:project_member_or_admin",
	"volume:attachment_update":               "rule:project_member_or_admin",
	"volume:attachment_delete":               "rule:project_member_or_admin",
	"volume:attachment_get":                  "rule:project_reader_or_admin",
	"volume_extension:volume_actions:attach": "rule:project_member_or_admin",
	"volume_extension:volume_actions:initialize_connection": "rule:project_member_or_admin",
	"volume_extension:volume_actions:upload_image":          "rule:project_member_or_admin",
	"volume_extension:volume_image_metadata":                "rule:project_member_or_admin",
	"volume_extension:volume_admin_actions:reset_status":    "rule:admin",
	"volume_extension:volume_admin_actions:force_delete":    "rule:admin",
	"volume_extension:volume_admin_actions:force_detach":    "rule:admin",
	"volume_extension:volume_admin_actions:migrate_volume":  "rule:admin",
	"volume_extension:snapshot_admin_actions":               "rule:admin",
	"volume_extension:type_get":                             "rule:any",
	"volume_extension:types_manage":                         "rule:admin",
	"volume_extension:quotas:show":                          "rule:project_reader_or_admin",
	"volume_extension:quotas:update":                        "rule:admin",
	"volume_extension:quota_classes":                        "rule:admin",
	"volume_extension:services:index":                       "rule:admin",
	"volume_extension:services:update":                      "rule:admin",
	"limits_extension:used_limits":                          "rule:project_reader_or_admin",
	"volume_extension:availability_zone_list":               "rule:any",
	"volume_extension:list_extensions":                      "rule:any",
	"message:get_all":                                       "rule:project_reader_or_admin",
	"scheduler_extension:scheduler_stats:get_pools":         "rule:admin",
	"volume_extension:not_here_read":                        "rule:project_reader_or_admin",
	"volume_extension:not_here_write":                       "rule:project_member_or_admin",
}

type server struct {
	svc  *volume.Service
	deps Deps
}

// New returns the service's table; the caller compiles it.
func New(svc *volume.Service, d Deps) *httpapi.Service {
	if d.Log == nil {
		d.Log = slog.Default()
	}
	s := &server{svc: svc, deps: d}
	return &httpapi.Service{
		Name: "volume", Auth: d.Auth, AuthURI: d.AuthURI, Policy: d.Policy, Errors: httpapi.CinderErrors, Log: d.Log,
		Micro:  &httpapi.Microversions{Service: "volume", Min: httpapi.V(3, 0), Max: httpapi.V(3, 71), Default: httpapi.V(3, 0)},
		Mounts: []httpapi.Mount{{Prefix: "/v3", Project: httpapi.ProjectOptional}},
		Routes: s.routes(), Root: roots(), Ledger: ledger, WrongMethod: http.StatusNotFound, StrictSlash: true, RequestIDs: []string{"X-Compute-Request-Id"},
	}
}

func by(r *httpapi.Request) volume.By { return volume.By{Creds: r.Creds, RequestID: r.ID} }

const (
	get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	accepted            = http.StatusAccepted
)

func (s *server) routes() []httpapi.Route {
	var out []httpapi.Route
	for _, part := range [][]httpapi.Route{s.volumeRoutes(), s.actionRoutes(), s.snapshotRoutes(), s.typeRoutes(), s.attachmentRoutes(), s.adminRoutes(), s.absentRoutes()} {
		out = append(out, part...)
	}
	return out
}

func (s *server) volumeRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: post, Path: "/volumes", Name: "volumes.create", Rule: "volume:create", Body: bodyVolumeCreate, Resource: "volume", Status: accepted, Handler: s.createVolume},
		{Method: get, Path: "/volumes", Name: "volumes.list", Rule: "volume:get_all", Resource: "volume", Handler: s.listVolumes(false)},
		{Method: get, Path: "/volumes/detail", Name: "volumes.detail", Rule: "volume:get_all", Resource: "volume", Handler: s.listVolumes(true)},
		{Method: get, Path: "/volumes/summary", Name: "volumes.summary", Min: v(12), Rule: "volume:get_all", Handler: s.summary},
		{Method: get, Path: "/volumes/{id}", Name: "volumes.show", Rule: "volume:get", Resource: "volume", Handler: s.showVolume},
		{Method: put, Path: "/volumes/{id}", Name: "volumes.update", Rule: "volume:update", Body: bodyVolumeUpdate, Resource: "volume", Handler: s.updateVolume},
		{Method: del, Path: "/volumes/{id}", Name: "volumes.delete", Rule: "volume:delete", Status: accepted, Handler: s.deleteVolume},
		{Method: get, Path: "/volumes/{id}/metadata", Name: "volumes.metadata", Rule: "volume:get_volume_metadata", Handler: s.volumeMetadata},
		{Method: post, Path: "/volumes/{id}/metadata", Name: "volumes.metadata.merge", Rule: "volume:update_volume_metadata", Body: bodyMetadata, Handler: s.setVolumeMetadata(false)},
		{Method: put, Path: "/volumes/{id}/metadata", Name: "volumes.metadata.replace", Rule: "volume:update_volume_metadata", Body: bodyMetadata, Handler: s.setVolumeMetadata(true)},
		{Method: get, Path: "/volumes/{id}/metadata/{key}", Name: "volumes.metadata.item", Rule: "volume:get_volume_metadata", Handler: s.volumeMetaItem},
		{Method: put, Path: "/volumes/{id}/metadata/{key}", Name: "volumes.metadata.set", Rule: "volume:update_volume_metadata", Body: bodyMeta, Handler: s.setVolumeMetaItem},
		{Method: del, Path: "/volumes/{id}/metadata/{key}", Name: "volumes.metadata.delete", Rule: "volume:update_volume_metadata", Status: http.StatusOK, Handler: s.dropVolumeMetaItem},
		{Method: get, Path: "/volumes/{id}/encryption", Name: "volumes.encryption", Rule: "volume:get", Handler: s.encryption},
	}
}

func (s *server) actionRoutes() []httpapi.Route {
	action := func(name, rule string, body httpapi.Schemas, min httpapi.Version, status int, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: post, Path: "/volumes/{id}/action", Name: "volumes.action." + name, Action: name, Rule: rule, Body: body, Min: min, Status: status, Handler: h}
	}
	var none httpapi.Version
	attach := "volume_extension:volume_actions:attach"
	image := "volume_extension:volume_image_metadata"
	return []httpapi.Route{
		action("os-extend", "volume:extend", bodyExtend, none, accepted, s.extend),
		action("os-reserve", attach, nil, none, accepted, s.simple(s.svc.ReserveAction)),
		action("os-unreserve", attach, nil, none, accepted, s.simple(s.svc.UnreserveAction)),
		action("os-attach", attach, bodyAttach, none, accepted, s.attach),
		action("os-detach", attach, nil, none, accepted, s.detach("os-detach")),
		action("os-force_detach", "volume_extension:volume_admin_actions:force_detach", nil, none, accepted, s.detach("os-force_detach")),
		action("os-begin_detaching", attach, nil, none, accepted, s.simple(s.svc.BeginDetachAction)),
		action("os-roll_detaching", attach, nil, none, accepted, s.simple(s.svc.RollDetachAction)),
		action("os-initialize_connection", "volume_extension:volume_actions:initialize_connection", nil, none, http.StatusOK, s.connection),
		action("os-terminate_connection", "volume_extension:volume_actions:initialize_connection", nil, none, accepted, s.exists),
		action("os-set_bootable", "volume:update", bodyBootable, none, http.StatusOK, s.setBootable),
		action("os-update_readonly_flag", "volume:update", bodyReadOnly, none, accepted, s.setReadOnly),
		action("os-retype", "volume:retype", bodyRetype, none, accepted, s.retype),
		action("os-reset_status", "volume_extension:volume_admin_actions:reset_status", bodyReset, none, accepted, s.resetStatus),
		action("os-force_delete", "volume_extension:volume_admin_actions:force_delete", nil, none, accepted, s.forceDelete),
		action("os-set_image_metadata", image, bodySetImageMetadata, none, http.StatusOK, s.setImageMetadata),
		action("os-unset_image_metadata", image, bodyUnsetImageMetadata, none, http.StatusOK, s.unsetImageMetadata),
		action("os-show_image_metadata", "volume:get", nil, none, http.StatusOK, s.showImageMetadata),
		action("os-volume_upload_image", "volume_extension:volume_actions:upload_image", nil, none, 0, absent("upload of a volume to the image service")),
		action("os-migrate_volume", "volume_extension:volume_admin_actions:migrate_volume", nil, none, 0, absent("volume migration")),
		action("revert", "volume:update", nil, v(40), 0, absent("revert to a snapshot")),
		action("os-reimage", "volume:update", nil, v(68), 0, absent("reimage")),
	}
}

func (s *server) snapshotRoutes() []httpapi.Route {
	admin := "volume_extension:snapshot_admin_actions"
	return []httpapi.Route{
		{Method: post, Path: "/snapshots", Name: "snapshots.create", Rule: "volume:create_snapshot", Body: bodySnapshotCreate, Resource: "snapshot", Status: accepted, Handler: s.createSnapshot},
		{Method: get, Path: "/snapshots", Name: "snapshots.list", Rule: "volume:get_all_snapshots", Resource: "snapshot", Handler: s.listSnapshots(false)},
		{Method: get, Path: "/snapshots/detail", Name: "snapshots.detail", Rule: "volume:get_all_snapshots", Resource: "snapshot", Handler: s.listSnapshots(true)},
		{Method: get, Path: "/snapshots/{id}", Name: "snapshots.show", Rule: "volume:get_all_snapshots", Resource: "snapshot", Handler: s.showSnapshot},
		{Method: put, Path: "/snapshots/{id}", Name: "snapshots.update", Rule: "volume:update_snapshot", Body: bodySnapshotUpdate, Resource: "snapshot", Handler: s.updateSnapshot},
		{Method: del, Path: "/snapshots/{id}", Name: "snapshots.delete", Rule: "volume:delete_snapshot", Status: accepted, Handler: s.deleteSnapshot},
		{Method: get, Path: "/snapshots/{id}/metadata", Name: "snapshots.metadata", Rule: "volume:get_all_snapshots", Handler: s.snapshotMetadata},
		{Method: post, Path: "/snapshots/{id}/metadata", Name: "snapshots.metadata.merge", Rule: "volume:update_snapshot", Body: bodyMetadata, Handler: s.setSnapshotMetadata(false)},
		{Method: put, Path: "/snapshots/{id}/metadata", Name: "snapshots.metadata.replace", Rule: "volume:update_snapshot", Body: bodyMetadata, Handler: s.setSnapshotMetadata(true)},
		{Method: get, Path: "/snapshots/{id}/metadata/{key}", Name: "snapshots.metadata.item", Rule: "volume:get_all_snapshots", Handler: s.snapshotMetaItem},
		{Method: put, Path: "/snapshots/{id}/metadata/{key}", Name: "snapshots.metadata.set", Rule: "volume:update_snapshot", Body: bodyMeta, Handler: s.setSnapshotMetaItem},
		{Method: del, Path: "/snapshots/{id}/metadata/{key}", Name: "snapshots.metadata.delete", Rule: "volume:update_snapshot", Status: http.StatusOK, Handler: s.dropSnapshotMetaItem},
		{Method: post, Path: "/snapshots/{id}/action", Name: "snapshots.action.os-reset_status", Action: "os-reset_status", Rule: admin, Body: bodyResetSnapshot, Status: accepted, Handler: s.resetSnapshot},
		{Method: post, Path: "/snapshots/{id}/action", Name: "snapshots.action.os-force_delete", Action: "os-force_delete", Rule: admin, Status: accepted, Handler: s.forceDeleteSnapshot},
	}
}

func (s *server) typeRoutes() []httpapi.Route {
	const read, manage = "volume_extension:type_get", "volume_extension:types_manage"
	return []httpapi.Route{
		{Method: get, Path: "/types", Name: "types.list", Rule: read, Handler: s.listTypes},
		{Method: post, Path: "/types", Name: "types.create", Rule: manage, Body: bodyTypeCreate, Status: http.StatusOK, Handler: s.createType},
		{Method: get, Path: "/types/{id}", Name: "types.show", Rule: read, Handler: s.showType},
		{Method: put, Path: "/types/{id}", Name: "types.update", Rule: manage, Body: bodyTypeUpdate, Handler: s.updateType},
		{Method: del, Path: "/types/{id}", Name: "types.delete", Rule: manage, Status: accepted, Handler: s.deleteType},
		{Method: get, Path: "/types/{id}/extra_specs", Name: "types.extra_specs", Rule: read, Handler: s.extraSpecs},
		{Method: post, Path: "/types/{id}/extra_specs", Name: "types.extra_specs.create", Rule: manage, Body: bodyExtraSpecs, Status: http.StatusOK, Handler: s.setExtraSpecs},
		{Method: get, Path: "/types/{id}/extra_specs/{key}", Name: "types.extra_specs.show", Rule: read, Handler: s.extraSpec},
		{Method: put, Path: "/types/{id}/extra_specs/{key}", Name: "types.extra_specs.update", Rule: manage, Body: bodyExtraSpec, Handler: s.setExtraSpec},
		{Method: del, Path: "/types/{id}/extra_specs/{key}", Name: "types.extra_specs.delete", Rule: manage, Status: accepted, Handler: s.dropExtraSpec},
		{Method: get, Path: "/types/{id}/os-volume-type-access", Name: "types.access", Rule: manage, Handler: s.typeAccess},
		{Method: post, Path: "/types/{id}/action", Name: "types.access.add", Action: "addProjectAccess", Rule: manage, Body: accessBody("addProjectAccess"), Status: accepted, Handler: s.setAccess("addProjectAccess")},
		{Method: post, Path: "/types/{id}/action", Name: "types.access.remove", Action: "removeProjectAccess", Rule: manage, Body: accessBody("removeProjectAccess"), Status: accepted, Handler: s.setAccess("removeProjectAccess")},
		{Method: get, Path: "/types/{id}/encryption", Name: "types.encryption", Rule: manage, Handler: s.typeEncryption},
		{Method: post, Path: "/types/{id}/encryption", Name: "types.encryption.create", Rule: manage, Handler: absent("volume encryption")},
	}
}

func (s *server) attachmentRoutes() []httpapi.Route {
	min := v(27)
	return []httpapi.Route{
		{Method: post, Path: "/attachments", Name: "attachments.create", Min: min, Rule: "volume:attachment_create", Body: bodyAttachmentCreate, Status: http.StatusOK, Handler: s.createAttachment},
		{Method: get, Path: "/attachments", Name: "attachments.list", Min: min, Rule: "volume:attachment_get", Handler: s.listAttachments(false)},
		{Method: get, Path: "/attachments/detail", Name: "attachments.detail", Min: min, Rule: "volume:attachment_get", Handler: s.listAttachments(true)},
		{Method: get, Path: "/attachments/{id}", Name: "attachments.show", Min: min, Rule: "volume:attachment_get", Handler: s.showAttachment},
		{Method: put, Path: "/attachments/{id}", Name: "attachments.update", Min: min, Rule: "volume:attachment_update", Body: bodyAttachmentUpdate, Handler: s.updateAttachment},
		{Method: del, Path: "/attachments/{id}", Name: "attachments.delete", Min: min, Rule: "volume:attachment_delete", Handler: s.deleteAttachment},
		{Method: post, Path: "/attachments/{id}/action", Name: "attachments.complete", Action: "os-complete", Min: v(44), Rule: "volume:attachment_update", Status: http.StatusNoContent, Handler: s.completeAttachment},
	}
}

func (s *server) adminRoutes() []httpapi.Route {
	const show, update = "volume_extension:quotas:show", "volume_extension:quotas:update"
	ofProject := func(r *httpapi.Request) policy.Target { return policy.Target{"project_id": r.Param("project")} }
	return []httpapi.Route{
		{Method: get, Path: "/limits", Name: "limits", Rule: "limits_extension:used_limits", Handler: s.limits},
		{Method: get, Path: "/os-quota-sets/{project}", Name: "quotas.show", Rule: show, Target: ofProject, Handler: s.showQuota},
		{Method: put, Path: "/os-quota-sets/{project}", Name: "quotas.update", Rule: update, Body: bodyQuota("quota_set"), Handler: s.updateQuota},
		{Method: del, Path: "/os-quota-sets/{project}", Name: "quotas.delete", Rule: update, Status: http.StatusOK, Handler: s.deleteQuota},
		{Method: get, Path: "/os-quota-sets/{project}/defaults", Name: "quotas.defaults", Rule: show, Target: ofProject, Handler: s.defaultQuota},
		{Method: get, Path: "/os-quota-class-sets/{class}", Name: "quota_classes.show", Rule: "volume_extension:quota_classes", Handler: s.showClass},
		{Method: put, Path: "/os-quota-class-sets/{class}", Name: "quota_classes.update", Rule: "volume_extension:quota_classes", Body: bodyQuota("quota_class_set"), Handler: s.updateClass},
		{Method: get, Path: "/os-availability-zone", Name: "zones", Rule: "volume_extension:availability_zone_list", Handler: s.zones},
		{Method: get, Path: "/os-services", Name: "services", Rule: "volume_extension:services:index", Handler: s.services},
		{Method: put, Path: "/os-services/{what}", Name: "services.update", Rule: "volume_extension:services:update", Handler: absent("switching storage services (switch the host through the compute API)")},
		{Method: get, Path: "/scheduler-stats/get_pools", Name: "pools", Rule: "scheduler_extension:scheduler_stats:get_pools", Handler: s.pools},
		{Method: get, Path: "/extensions", Name: "extensions", Rule: "volume_extension:list_extensions", Handler: extensions},
		{Method: get, Path: "/messages", Name: "messages", Min: v(3), Rule: "message:get_all", Handler: empty("messages")},
		{Method: get, Path: "/messages/{id}", Name: "messages.show", Min: v(3), Rule: "message:get_all", Handler: none("message")},
		{Method: get, Path: "/resource_filters", Name: "resource_filters", Min: v(33), Rule: "volume_extension:list_extensions", Handler: resourceFilters},
	}
}

// absentRoutes are the parts of Cinder that are left out: lists are empty, single things are not found, making them is 501.
func (s *server) absentRoutes() []httpapi.Route {
	const read, write = "volume_extension:not_here_read", "volume_extension:not_here_write"
	var out []httpapi.Route
	for _, a := range []struct {
		path, list, one, words string
		min                    httpapi.Version
	}{
		{"/backups", "backups", "backup", "volume backup", httpapi.Version{}},
		{"/os-volume-transfer", "transfers", "transfer", "volume transfer", httpapi.Version{}},
		{"/volume-transfers", "transfers", "transfer", "volume transfer", v(55)},
		{"/qos-specs", "qos_specs", "qos_specs", "QoS specs", httpapi.Version{}},
		{"/consistencygroups", "consistencygroups", "consistencygroup", "consistency groups", httpapi.Version{}},
		{"/groups", "groups", "group", "volume groups", v(13)},
		{"/group_snapshots", "group_snapshots", "group_snapshot", "volume groups", v(14)},
		{"/group_types", "group_types", "group_type", "volume groups", v(11)},
	} {
		out = append(out,
			httpapi.Route{Method: get, Path: a.path, Name: a.path[1:] + ".list", Min: a.min, Rule: read, Handler: empty(a.list)},
			httpapi.Route{Method: get, Path: a.path + "/detail", Name: a.path[1:] + ".detail", Min: a.min, Rule: read, Handler: empty(a.list)},
			httpapi.Route{Method: get, Path: a.path + "/{id}", Name: a.path[1:] + ".show", Min: a.min, Rule: read, Handler: none(a.one)},
			httpapi.Route{Method: post, Path: a.path, Name: a.path[1:] + ".create", Min: a.min, Rule: write, Handler: absent(a.words)})
	}
	return out
}

func v(minor int) httpapi.Version { return httpapi.V(3, minor) }

func absent(what string) httpapi.Handler {
	return func(*httpapi.Request) (any, error) {
		return nil, fault.NotImplemented("This cloud does not offer %s.", what)
	}
}

func empty(key string) httpapi.Handler {
	return func(*httpapi.Request) (any, error) { return map[string]any{key: []any{}}, nil }
}

func none(what string) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		return nil, fault.NotFound("%s %s could not be found.", what, r.Param("id"))
	}
}

func roots() []httpapi.Route {
	return []httpapi.Route{
		{Method: get, Path: "/", Name: "versions", Public: true, Status: http.StatusMultipleChoices, Handler: versions},
		{Method: get, Path: "/v3", Name: "versions.v3", Public: true, Handler: versions},
	}
}

func versions(r *httpapi.Request) (any, error) {
	return map[string]any{"versions": []map[string]any{{
		"id": "v3.0", "status": "CURRENT", "version": "3.71", "min_version": "3.0", "updated": "2023-08-31T00:00:00Z",
		"links":       []map[string]any{{"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"}, {"rel": "self", "href": r.HostURL() + "/v3/"}},
		"media-types": []map[string]any{{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}},
	}}}, nil
}
