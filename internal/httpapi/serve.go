package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"nephos/internal/fault"
	"nephos/internal/policy"
)

// RequestTimeout bounds a request that is no stream.
const RequestTimeout = 60 * time.Second

// ServeHTTP runs the order of steps that the package comment lists.
func (t *table) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	start := time.Now()
	r := &Request{Request: hr, W: w, ID: "req-" + uuid.NewString(), svc: t.svc, t: t}
	rec := &recorder{ResponseWriter: w}
	r.W = rec
	r.held.l = t.svc.Limits
	defer r.held.end()
	h := rec.Header()
	h.Set("X-Openstack-Request-Id", r.ID)
	for _, name := range t.svc.RequestIDs {
		h.Set(name, r.ID)
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the documented sentinel of net/http
				panic(p)
			}
			t.fail(rec, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		t.log(r, rec, start)
	}()
	body, status, err := t.dispatch(r)
	if err != nil {
		t.fail(rec, r, err)
		return
	}
	if rec.status != 0 { // a stream has answered by itself
		return
	}
	if err := r.write(rec, status, body); err != nil && rec.status == 0 {
		t.fail(rec, r, err)
	}
}

func (t *table) dispatch(r *Request) (body any, status int, err error) {
	if r.ContentLength != 0 && t.svc.Limits != nil { // also a body that nobody will read must come, or net/http waits for it
		http.NewResponseController(r.W).SetReadDeadline(time.Now().Add(t.svc.Limits.bodyTime)) //nolint:errcheck // without deadlines the server's own hold
	}
	path := r.URL.Path
	slash := t.svc.StrictSlash && strings.HasSuffix(path, "/")
	if len(path) > 1 {
		path = strings.TrimRight(path, "/")
	}
	if path == "" {
		path = "/"
	}
	asked := path
	if t.svc.TrimSuffix != "" {
		path = strings.TrimSuffix(path, t.svc.TrimSuffix)
	}
	at := t.find(t.root, r, path)
	if at == nil {
		var ok bool
		var rest string
		if r.Mount, r.Project, rest, ok = t.split(path); ok {
			r.URL.Path, r.URL.RawPath = rest, ""
			if rest == "/" || !slash {
				at = t.find(t.routes, r, rest)
			}
		}
	} else {
		r.Mount.Unversioned = true
	}
	versioned := t.svc.Micro != nil && !r.Mount.Unversioned
	if t.svc.Micro != nil {
		r.Version = t.svc.Micro.Min
	}
	if at == nil || !at.public(r.Method) {
		if err := t.authenticate(r, asked); err != nil {
			return nil, 0, err
		}
	} else if tok := r.Header.Get("X-Auth-Token"); tok != "" {
		r.Creds, _ = t.svc.Auth.Authenticate(r.Context(), tok) // a public call serves a bad token like none
	}
	if r.Creds != nil {
		if err := t.svc.Limits.allow(r.caller()); err != nil {
			return nil, 0, err
		}
	}
	if versioned {
		if r.Version, err = t.svc.Micro.negotiate(r.Header); err != nil {
			return nil, 0, err
		}
		t.svc.Micro.setHeaders(r.W.Header(), r.Version)
	}
	if at == nil {
		return nil, 0, fault.NotFound("The resource could not be found.")
	}
	rw, err := t.choose(r, at)
	if err != nil {
		return nil, 0, err
	}
	r.Route = rw.Route
	if err := r.held.enter(r, rw.Route); err != nil {
		return nil, 0, err
	}
	return t.run(r, rw)
}

func (p *place) public(method string) bool {
	return slices.ContainsFunc(p.rows, func(r *row) bool {
		return r.Public && (r.Method == method || method == http.MethodHead && r.Method == http.MethodGet)
	})
}

// find looks the path up and moves the wildcards into the request.
func (t *table) find(mux *http.ServeMux, r *Request, path string) *place {
	probe := &http.Request{Method: http.MethodGet, URL: r.URL.JoinPath()}
	probe.URL.Path, probe.URL.RawPath, probe.Host = path, "", ""
	h, pattern := mux.Handler(probe)
	ph, ok := h.(placeHandler)
	if !ok || pattern == "" {
		return nil
	}
	setPathValues(r.Request, strings.TrimSuffix(pattern, "{$}"), path)
	return ph.place
}

// setPathValues fills wildcards: ServeMux does it only when it serves, and here it is only asked.
func setPathValues(r *http.Request, pattern, path string) {
	names, values := strings.Split(pattern, "/"), strings.Split(path, "/")
	for i, n := range names {
		if len(n) < 3 || n[0] != '{' || i >= len(values) {
			continue
		}
		name := n[1 : len(n)-1]
		if rest, ok := strings.CutSuffix(name, "..."); ok {
			r.SetPathValue(rest, strings.Join(values[i:], "/"))
			return
		}
		r.SetPathValue(name, values[i])
	}
}

// authenticate finds out who asks. path is as the client sent it: access rules of application credentials are written so.
func (t *table) authenticate(r *Request, path string) error {
	tok := r.Header.Get("X-Auth-Token")
	if tok == "" {
		return fault.Unauthorized("The request you have made requires authentication.")
	}
	creds, err := t.svc.Auth.Authenticate(r.Context(), tok)
	if err != nil {
		if fault.KindOf(err) == fault.KindNotFound {
			return fault.Unauthorized("The request you have made requires authentication.").WithCause(err)
		}
		return err
	}
	r.Creds = creds
	if !creds.Permits(serviceTypes(t.svc.Name), r.Method, path) && !(t.svc.Name == "identity" && r.Method == http.MethodGet && path == "/v3/auth/tokens") {
		return fault.Unauthorized("The request you have made requires authentication.").WithCause(errors.New("the access rules of the application credential do not have this call"))
	}
	if r.Project != "" && creds.ProjectID != r.Project {
		msg := t.svc.MismatchMessage
		if msg == "" {
			msg = "Malformed request url"
		}
		return fault.Invalid("project_id", "%s", msg)
	}
	return nil
}

// serviceTypes are the names in a catalog, of today and of old, under which access rules may speak of a service.
func serviceTypes(name string) []string {
	if name == "volume" {
		return []string{"volumev3", "block-storage", "volumev2", "volume", "block-store"}
	}
	return []string{name}
}

// choose picks the row by method, microversion and action key; the body is read for the last.
func (t *table) choose(r *Request, at *place) (*row, error) {
	method := r.Method
	if method == http.MethodHead && !slices.ContainsFunc(at.rows, func(x *row) bool { return x.Method == http.MethodHead }) {
		method = http.MethodGet
	}
	var fits []*row
	known := map[string]bool{}
	for _, x := range at.rows {
		known[x.Method] = true
		inRange := r.Version.AtLeast(x.Min) && (x.Max.IsZero() || !x.Max.Less(r.Version))
		if x.Method == method && (inRange || r.Version.IsZero()) {
			fits = append(fits, x)
		}
	}
	if len(fits) == 0 {
		if known[method] || t.svc.WrongMethod == http.StatusNotFound {
			return nil, fault.NotFound("The resource could not be found.")
		}
		return nil, &methodError{allow: known}
	}
	if !fits[0].Stream {
		if err := readBody(r, fits[0].MaxBody); err != nil {
			return nil, err
		}
	}
	if fits[0].Action == "" {
		return fits[0], nil
	}
	obj, ok := r.doc.(map[string]any)
	if !ok || len(obj) != 1 {
		return nil, fault.Invalid("", "Malformed request body")
	}
	for key := range obj {
		for _, x := range fits {
			if x.Action == key {
				return x, nil
			}
		}
		return nil, fault.Invalid(key, "There is no such action: %s", key)
	}
	return nil, fault.Invalid("", "Malformed request body")
}

// methodError is 405 with Allow.
type methodError struct{ allow map[string]bool }

func (*methodError) Error() string { return "The method specified is not allowed for this resource." }

func readBody(r *Request, most int64) error {
	if r.Body == nil || r.Body == http.NoBody || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if most == 0 {
		most = DefaultMaxBody
	}
	if r.ContentLength > most {
		return fault.TooLarge("Request is too large: the body may have at most %d bytes.", most)
	}
	metered := &meteredBody{Reader: http.MaxBytesReader(r.W, r.Body, most), r: r, free: smallBytes}
	b, err := io.ReadAll(metered)
	if err != nil {
		var big *http.MaxBytesError
		switch {
		case metered.denied:
			return busy()
		case errors.As(err, &big):
			return fault.TooLarge("Request is too large: the body may have at most %d bytes.", most)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &limitError{error: fault.Invalid("", "The request's body did not come in time."), status: http.StatusRequestTimeout}
		}
		return fault.Invalid("", "the request body could not be read").WithCause(err)
	}
	if r.held.l != nil {
		http.NewResponseController(r.W).SetReadDeadline(time.Time{}) //nolint:errcheck // else it would end the handler's context when it passes
	}
	if len(b) == 0 {
		return nil
	}
	if ct := r.Header.Get("Content-Type"); ct != "" && !strings.Contains(ct, "json") {
		return fault.New(fault.KindUnsupported, "Unsupported Content-Type %s: send application/json.", ct)
	}
	r.body = b
	if r.doc, err = parseJSON(b); err != nil {
		return fault.Invalid("", "Malformed request body: not valid JSON (%v)", err)
	}
	return nil
}

func (t *table) run(r *Request, rw *row) (any, int, error) {
	if s, err := pick(rw.body, r.Version, r.Mount.Lenient); err != nil {
		return nil, 0, err
	} else if s != nil {
		if r.doc == nil {
			return nil, 0, fault.Invalid("", "Malformed request body: a JSON object is required")
		}
		if err := validate(s, r.doc, false); err != nil {
			return nil, 0, err
		}
	}
	if s, err := pick(rw.query, r.Version, r.Mount.Lenient); err != nil {
		return nil, 0, err
	} else if s != nil {
		q := map[string]any{}
		for k, vs := range r.URL.Query() {
			list := make([]any, len(vs))
			for i, v := range vs {
				list[i] = v
			}
			q[k] = list
		}
		if err := validate(s, q, true); err != nil {
			return nil, 0, err
		}
	}
	if rw.Rule != "" {
		var target policy.Target
		if rw.Target != nil {
			target = rw.Target(r)
		} else {
			target = r.OwnTarget()
		}
		if err := r.Authorize(rw.Rule, target); err != nil {
			return nil, 0, err
		}
	}
	if rw.Stream {
		r.held.unhurried(r)
	} else {
		ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
		defer cancel()
		r.Request = r.Request.WithContext(ctx)
	}
	out, err := rw.Handler(r)
	if err != nil {
		return nil, 0, err
	}
	status := rw.Status
	if resp, ok := out.(*Response); ok {
		for k, v := range resp.Header {
			r.W.Header()[k] = v
		}
		if resp.Status != 0 {
			status = resp.Status
		}
		out = resp.Body
	}
	if status == 0 {
		status = http.StatusOK
		if out == nil {
			status = http.StatusNoContent
		}
	}
	t.downgrade(r, rw.Resource, out)
	return out, status, nil
}

// downgrade undoes for an old client what newer versions added.
func (t *table) downgrade(r *Request, resource string, out any) {
	body, ok := out.(map[string]any)
	if !ok || resource == "" || r.Version.IsZero() {
		return
	}
	for _, c := range t.ledger[resource] {
		if r.Version.AtLeast(c.At) {
			return
		}
		switch v := body[resource].(type) {
		case map[string]any:
			c.Response(r, v)
			continue
		}
		switch list := body[resource+"s"].(type) {
		case []map[string]any:
			for _, o := range list {
				c.Response(r, o)
			}
		case []any:
			for _, o := range list {
				if m, ok := o.(map[string]any); ok {
					c.Response(r, m)
				}
			}
		default:
			c.Response(r, body)
		}
	}
}

func (t *table) fail(w *recorder, r *Request, err error) {
	if w.status != 0 { // the answer has begun: all that is left is to break it off so that the client sees it is not whole
		t.svc.Log.Error("answer broken off", "request_id", r.ID, "err", err)
		panic(http.ErrAbortHandler)
	}
	info := ErrorInfo{Kind: fault.KindOf(err), Message: fault.Message(err), RequestID: r.ID, Version: r.Version}
	info.Status = statusOf[info.Kind]
	var le *limitError
	if errors.As(err, &le) {
		if le.status != 0 {
			info.Status = le.status
		}
		if le.after > 0 {
			w.Header().Set("Retry-After", retryAfter(le.after))
		}
	}
	var f *fault.Fault
	if errors.As(err, &f) {
		info.Type = f.Type
	}
	var me *methodError
	if errors.As(err, &me) {
		info.Kind, info.Status, info.Message = fault.KindInvalid, http.StatusMethodNotAllowed, me.Error()
		w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(me.allow)), ", "))
	}
	if info.Kind == fault.KindInternal {
		info.Message = "Unexpected API Error: an internal error occurred. Its request id is " + r.ID + "."
		t.svc.Log.Error("request failed", "service", t.svc.Name, "request_id", r.ID, "method", r.Method, "path", logPath(r), "err", err)
	}
	for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Range", "Content-Disposition", "Etag"} {
		w.Header().Del(name) // a handler may have described the answer that it then could not give
	}
	status, body := t.svc.Errors(info)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Keystone uri="`+t.svc.AuthURI+`"`)
		if t.svc.AuthURI != "" && t.svc.Name != "identity" { // keystonemiddleware's own body, the same before every service
			_, body = KeystoneErrors(info)
		}
	}
	if err := r.write(w, status, body); err != nil {
		t.svc.Log.Warn("error body not sent", "request_id", r.ID, "err", err)
	}
}

func (t *table) log(r *Request, w *recorder, start time.Time) {
	level := slog.LevelInfo
	if w.status >= 500 {
		level = slog.LevelWarn
	}
	ctx := r.Context()
	if !t.svc.Log.Enabled(ctx, level) {
		return
	}
	name := ""
	if r.Route != nil {
		name = r.Route.Name
	}
	attrs := []slog.Attr{slog.String("service", t.svc.Name), slog.String("method", r.Method), slog.String("path", logPath(r)), slog.String("op", name),
		slog.Int("status", w.status), slog.Int64("bytes", w.bytes), slog.Duration("took", time.Since(start)), slog.String("request_id", r.ID)}
	if r.Creds != nil {
		attrs = append(attrs, slog.String("user", r.Creds.UserID), slog.String("project", r.Creds.ProjectID))
	}
	t.svc.Log.LogAttrs(ctx, level, "request", attrs...)
}

// logPath is the path as the client sent it, but without a token in it: Keystone v2.0 had tokens in URLs.
func logPath(r *Request) string {
	path := r.URL.Path
	if r.Project != "" {
		path = "/" + r.Project + path
	}
	path = r.Mount.Prefix + path
	head, tail, found := strings.Cut(path, "/tokens/")
	if !found {
		return path
	}
	_, tail, deeper := strings.Cut(tail, "/")
	if deeper {
		tail = "/" + tail
	}
	return head + "/tokens/…" + tail
}

// recorder remembers what was sent.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom lets a file go to the connection by sendfile(2): net/http's own writer knows how.
func (w *recorder) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, src)
	w.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
