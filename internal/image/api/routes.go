package api

import (
	"log/slog"
	"net/http"

	"nephos/internal/httpapi"
	"nephos/internal/image"
	"nephos/internal/image/metadef"
	"nephos/internal/policy"
)

// Deps are what the service needs beside the room.
type Deps struct {
	Auth    httpapi.Authenticator
	AuthURI string
	Policy  *policy.Enforcer // with Rules in it
	Log     *slog.Logger

	Metadefs *metadef.Service

	ShowLocations bool             // Glance's show_multiple_locations: images show and take locations
	ShowDirectURL bool             // Glance's show_image_direct_url
	Protections   []ProtectionRule // nil: any member of the owning project may set any property
}

// Rules are Glance's default policies. Targets carry project_id (the image's owner), visibility and, for members, member_id.
var Rules = policy.Rules{
	"add_image":         "rule:project_member_or_admin",
	"get_image":         "rule:admin or role:reader",
	"get_images":        "rule:admin or role:reader",
	"modify_image":      "rule:project_member_or_admin",
	"delete_image":      "rule:project_member_or_admin",
	"publicize_image":   "rule:admin",
	"communitize_image": "rule:project_member_or_admin",
	"download_image":    "rule:admin or role:member",
	"upload_image":      "rule:project_member_or_admin",
	"deactivate":        "rule:project_member_or_admin",
	"reactivate":        "rule:project_member_or_admin",
	"add_member":        "rule:project_member_or_admin",
	"get_member":        "rule:admin or role:reader",
	"get_members":       "rule:admin or role:reader",
	"modify_member":     "rule:admin or (role:member and project_id:%(member_id)s)",
	"delete_member":     "rule:project_member_or_admin",

	"copy_image":            "rule:admin",
	"get_image_location":    "rule:admin or role:reader",
	"set_image_location":    "rule:project_member_or_admin",
	"delete_image_location": "rule:project_member_or_admin",
	"add_image_location":    "rule:project_member_or_admin",
	"fetch_image_location":  "rule:admin or role:service",
	"stores_info_detail":    "rule:admin",
	"tasks_api_access":      "rule:admin",
	"cache_image":           "rule:admin",
	"cache_list":            "rule:admin",
	"cache_delete":          "rule:admin",

	"metadef_read":  "rule:admin or role:reader",
	"metadef_admin": "rule:admin",
}

type server struct {
	svc           *image.Service
	defs          *metadef.Service
	protect       protections
	showLocations bool
	showDirectURL bool
}

// New returns the service's table; the caller compiles it.
func New(svc *image.Service, d Deps) (*httpapi.Service, error) {
	protect, err := compile(d.Protections)
	if err != nil {
		return nil, err
	}
	s := &server{svc: svc, defs: d.Metadefs, protect: protect, showLocations: d.ShowLocations, showDirectURL: d.ShowDirectURL}
	log := d.Log
	if log == nil {
		log = slog.Default()
	}
	out := &httpapi.Service{
		Name: "image", Auth: d.Auth, AuthURI: d.AuthURI, Policy: d.Policy, Errors: httpapi.GlanceErrors, Log: log,
		Mounts: mounts(), Routes: s.routes(), Root: s.roots(), StrictSlash: true,
	}
	return out, nil
}

func (s *server) routes() []httpapi.Route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	return append([]httpapi.Route{
		{Method: get, Path: "/", Name: "versions.v2", Public: true, Status: http.StatusMultipleChoices, Handler: s.versionList},

		{Method: post, Path: "/images", Name: "images.create", Rule: "add_image", Status: http.StatusCreated, Handler: s.create},
		{Method: get, Path: "/images", Name: "images.list", Rule: "get_images", Handler: s.list},
		{Method: get, Path: "/images/{id}", Name: "images.show", Rule: "get_image", Handler: s.show},
		{Method: patch, Path: "/images/{id}", Name: "images.update", Handler: s.update},
		{Method: del, Path: "/images/{id}", Name: "images.delete", Handler: s.remove},

		{Method: put, Path: "/images/{id}/file", Name: "images.upload", Stream: true, Status: http.StatusNoContent, Handler: s.upload},
		{Method: get, Path: "/images/{id}/file", Name: "images.download", Stream: true, Handler: s.download},
		{Method: put, Path: "/images/{id}/stage", Name: "images.stage", Stream: true, Status: http.StatusNoContent, Handler: s.stage},
		{Method: post, Path: "/images/{id}/import", Name: "images.import", Status: http.StatusAccepted, Handler: s.importImage},
		{Method: post, Path: "/images/{id}/actions/deactivate", Name: "images.deactivate", Status: http.StatusNoContent, Handler: s.deactivate},
		{Method: post, Path: "/images/{id}/actions/reactivate", Name: "images.reactivate", Status: http.StatusNoContent, Handler: s.reactivate},
		{Method: put, Path: "/images/{id}/tags/{tag}", Name: "tags.add", Status: http.StatusNoContent, Handler: s.addTag},
		{Method: del, Path: "/images/{id}/tags/{tag}", Name: "tags.delete", Status: http.StatusNoContent, Handler: s.removeTag},
		{Method: get, Path: "/images/{id}/tasks", Name: "images.tasks", Rule: "get_image", Handler: s.imageTasks},

		{Method: get, Path: "/images/{id}/members", Name: "members.list", Rule: "get_members", Handler: s.members},
		{Method: post, Path: "/images/{id}/members", Name: "members.create", Handler: s.addMember},
		{Method: get, Path: "/images/{id}/members/{member}", Name: "members.show", Rule: "get_member", Handler: s.member},
		{Method: put, Path: "/images/{id}/members/{member}", Name: "members.update", Handler: s.answerMember},
		{Method: del, Path: "/images/{id}/members/{member}", Name: "members.delete", Status: http.StatusNoContent, Handler: s.removeMember},

		{Method: get, Path: "/info/import", Name: "info.import", Handler: importInfo},
		{Method: get, Path: "/info/stores", Name: "info.stores", Handler: s.storesInfo},
		{Method: get, Path: "/info/stores/detail", Name: "info.stores.detail", Rule: "stores_info_detail", Handler: s.storesDetail},
		{Method: get, Path: "/info/usage", Name: "info.usage", Handler: s.usage},
		{Method: del, Path: "/stores/{store}/{id}", Name: "stores.delete", Status: http.StatusNoContent, Handler: s.removeFromStore},
		{Method: post, Path: "/images/{id}/locations", Name: "locations.create", Status: http.StatusAccepted, Handler: s.addLocation},
		{Method: get, Path: "/images/{id}/locations", Name: "locations.list", Handler: s.locationList},

		{Method: get, Path: "/tasks", Name: "tasks.list", Rule: "tasks_api_access", Handler: s.taskList},
		{Method: post, Path: "/tasks", Name: "tasks.create", Rule: "tasks_api_access", Status: http.StatusCreated, Handler: s.taskCreate},
		{Method: get, Path: "/tasks/{id}", Name: "tasks.show", Rule: "tasks_api_access", Handler: s.taskShow},

		{Method: get, Path: "/cache", Name: "cache.list", Rule: "cache_list", Handler: s.cacheList},
		{Method: del, Path: "/cache", Name: "cache.clear", Rule: "cache_delete", Status: http.StatusNoContent, Handler: s.cacheClear},
		{Method: put, Path: "/cache/{id}", Name: "cache.queue", Rule: "cache_image", Status: http.StatusAccepted, Handler: s.cacheQueue},
		{Method: del, Path: "/cache/{id}", Name: "cache.delete", Rule: "cache_delete", Status: http.StatusNoContent, Handler: s.cacheDelete},
		{Method: post, Path: "/cache/clean", Name: "cache.clean", Rule: "cache_delete", Status: http.StatusOK, Handler: s.cacheClean},
		{Method: post, Path: "/cache/prune", Name: "cache.prune", Rule: "cache_delete", Status: http.StatusOK, Handler: s.cachePrune},
		{Method: get, Path: "/cache/nodes/{id}", Name: "cache.nodes", Rule: "cache_list", Handler: s.cacheNodes},

		{Method: get, Path: "/schemas/{name}", Name: "schemas.show", Handler: s.schema},
	}, s.metadefRoutes()...)
}

// target is what a rule is checked against.
func target(img image.Image) policy.Target {
	return policy.Target{"project_id": img.Owner, "owner": img.Owner, "visibility": string(img.Visibility)}
}

// visible loads the image of the URL: 404 unless the caller may see it, then 403 unless rule allows.
func (s *server) visible(r *httpapi.Request, rule string) (image.Image, error) {
	img, err := s.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return img, err
	}
	if rule == "" {
		return img, nil
	}
	return img, r.Authorize(rule, target(img))
}
