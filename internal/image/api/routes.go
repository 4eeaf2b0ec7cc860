package api

import (
	"log/slog"
	"net/http"

	"nephos/internal/httpapi"
	"nephos/internal/image"
	"nephos/internal/policy"
)

// Deps are what the service needs beside the room.
type Deps struct {
	Auth    httpapi.Authenticator
	AuthURI string
	Policy  *policy.Enforcer // with Rules in it
	Log     *slog.Logger
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
}

type server struct{ svc *image.Service }

// New returns the service's table; the caller compiles it.
func New(svc *image.Service, d Deps) (*httpapi.Service, error) {
	s := &server{svc: svc}
	log := d.Log
	if log == nil {
		log = slog.Default()
	}
	out := &httpapi.Service{
		Name: "image", Auth: d.Auth, AuthURI: d.AuthURI, Policy: d.Policy, Errors: httpapi.GlanceErrors, Log: log,
		Mounts: mounts(), Routes: s.routes(), Root: roots(), StrictSlash: true,
	}
	return out, nil
}

func (s *server) routes() []httpapi.Route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	return []httpapi.Route{
		{Method: get, Path: "/", Name: "versions.v2", Public: true, Status: http.StatusMultipleChoices, Handler: versionList},

		{Method: post, Path: "/images", Name: "images.create", Rule: "add_image", Status: http.StatusCreated, Handler: s.create},
		{Method: get, Path: "/images", Name: "images.list", Rule: "get_images", Handler: s.list},
		{Method: get, Path: "/images/{id}", Name: "images.show", Rule: "get_image", Handler: s.show},
		{Method: patch, Path: "/images/{id}", Name: "images.update", Handler: s.update},
		{Method: del, Path: "/images/{id}", Name: "images.delete", Handler: s.remove},

		{Method: put, Path: "/images/{id}/file", Name: "images.upload", Stream: true, Status: http.StatusNoContent, Handler: s.upload},
		{Method: get, Path: "/images/{id}/file", Name: "images.download", Stream: true, Handler: s.download},
		{Method: put, Path: "/images/{id}/stage", Name: "images.stage", Stream: true, Status: http.StatusNoContent, Handler: s.stage},
		{Method: post, Path: "/images/{id}/import", Name: "images.import", Status: http.StatusAccepted, Handler: s.importStaged},
		{Method: post, Path: "/images/{id}/actions/deactivate", Name: "images.deactivate", Status: http.StatusNoContent, Handler: s.deactivate},
		{Method: post, Path: "/images/{id}/actions/reactivate", Name: "images.reactivate", Status: http.StatusNoContent, Handler: s.reactivate},
		{Method: put, Path: "/images/{id}/tags/{tag}", Name: "tags.add", Status: http.StatusNoContent, Handler: s.addTag},
		{Method: del, Path: "/images/{id}/tags/{tag}", Name: "tags.delete", Status: http.StatusNoContent, Handler: s.removeTag},
		{Method: get, Path: "/images/{id}/tasks", Name: "images.tasks", Rule: "get_image", Handler: s.tasks},

		{Method: get, Path: "/images/{id}/members", Name: "members.list", Rule: "get_members", Handler: s.members},
		{Method: post, Path: "/images/{id}/members", Name: "members.create", Handler: s.addMember},
		{Method: get, Path: "/images/{id}/members/{member}", Name: "members.show", Rule: "get_member", Handler: s.member},
		{Method: put, Path: "/images/{id}/members/{member}", Name: "members.update", Handler: s.answerMember},
		{Method: del, Path: "/images/{id}/members/{member}", Name: "members.delete", Status: http.StatusNoContent, Handler: s.removeMember},

		{Method: get, Path: "/info/import", Name: "info.import", Handler: importInfo},
		{Method: get, Path: "/info/stores", Name: "info.stores", Handler: storesInfo},
		{Method: get, Path: "/schemas/{name}", Name: "schemas.show", Handler: schema},
	}
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
