package api

import (
	"context"
	"net/http"
	"strings"
)

// AdminPath is where AdminSide serves. The catalog's admin interface of the identity service points there.
const AdminPath = "/admin"

type adminSideKey struct{}

// AdminSide serves the whole API a second time below AdminPath, as Keystone did on its admin port (35357): one call means something else there.
// GET /v2.0/tenants lists every tenant and is an administrator's alone, while the public side gives each user their own. A port of its own would lie
// in the range from which outgoing connections take theirs, and beyond the last port at a high offset.
func AdminSide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ok := strings.CutPrefix(r.URL.Path, AdminPath)
		if !ok || rest != "" && rest[0] != '/' {
			next.ServeHTTP(w, r)
			return
		}
		r = r.Clone(context.WithValue(r.Context(), adminSideKey{}, true))
		r.URL.Path, r.URL.RawPath = "/"+strings.TrimPrefix(rest, "/"), strings.TrimPrefix(r.URL.RawPath, AdminPath)
		next.ServeHTTP(w, r)
	})
}

func onAdminSide(ctx context.Context) bool { return ctx.Value(adminSideKey{}) != nil }
