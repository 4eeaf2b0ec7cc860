// Package api is Glance v2 over the image room: the route table, request and answer forms, the JSON patch dialect, schemas and default
// policy rules.
//
// It holds no state and starts no goroutine; a PUT or GET of image data runs on the request's. Authorisation: the image is loaded first
// (404 when the caller may not see it), then the policy rule is asked with the image's owner as project_id (403). Sizes are bytes, min_disk is
// GiB, min_ram MiB. Glance's v1 is left out: it has no route.
package api
