package api

import (
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// fsckRoutes is nephos' own extension: GET /os-nephos-fsck holds SQL and hosts against each other and names whatever has no owner. Admin only.
func (f *face) fsckRoutes() []httpapi.Route {
	return []httpapi.Route{{Method: get, Path: "/os-nephos-fsck", Name: "nephos.fsck", Rule: "nephos:fsck", Handler: func(r *httpapi.Request) (any, error) {
		if f.deps.Fsck == nil {
			return nil, fault.NotImplemented("This service has no hosts to look at.")
		}
		report, err := f.deps.Fsck(r.Context())
		if err != nil {
			return nil, err
		}
		return obj{"fsck": report}, nil
	}}}
}
