package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"nephos/internal/fault"
)

// ErrorInfo is what an ErrorStyle may use.
type ErrorInfo struct {
	Kind      fault.Kind
	Status    int // by the common table; a style may choose another
	Message   string
	Type      string // exception name, if the fault has one
	RequestID string
	Version   Version
}

// ErrorStyle gives a service's status and body for an error. A nil body sends none.
type ErrorStyle func(e ErrorInfo) (status int, body any)

var statusOf = map[fault.Kind]int{
	fault.KindInternal: 500, fault.KindInvalid: 400, fault.KindUnauthorized: 401, fault.KindForbidden: 403, fault.KindNotFound: 404,
	fault.KindConflict: 409, fault.KindGone: 410, fault.KindTooLarge: 413, fault.KindUnsupported: 415, fault.KindQuota: 403,
	fault.KindRateLimited: 429, fault.KindNotAcceptable: 406, fault.KindNotImplemented: 501, fault.KindUnavailable: 503, fault.KindNoCapacity: 409,
}

var novaNames = map[int]string{400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 409: "conflictingRequest",
	413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable"}

// NovaErrors is {"badRequest": {"code", "message"}}.
func NovaErrors(e ErrorInfo) (int, any) {
	name, ok := novaNames[e.Status]
	if !ok {
		name = "computeFault"
	}
	return e.Status, map[string]any{name: map[string]any{"code": e.Status, "message": e.Message}}
}

// CinderErrors is Nova's form; an exceeded quota is 413 overLimit there.
func CinderErrors(e ErrorInfo) (int, any) {
	if e.Kind == fault.KindQuota {
		e.Status = http.StatusRequestEntityTooLarge
	}
	return NovaErrors(e)
}

// KeystoneErrors is {"error": {"code", "title", "message"}}.
func KeystoneErrors(e ErrorInfo) (int, any) {
	return e.Status, map[string]any{"error": map[string]any{"code": e.Status, "title": http.StatusText(e.Status), "message": e.Message}}
}

// GlanceErrors is Glance v2's JSON form of a webob fault.
func GlanceErrors(e ErrorInfo) (int, any) {
	status := e.Status
	if e.Kind == fault.KindQuota {
		status = http.StatusRequestEntityTooLarge
	}
	return status, map[string]any{"message": e.Message, "code": strconv.Itoa(status) + " " + http.StatusText(status), "title": http.StatusText(status)}
}

// NeutronErrors is {"NeutronError": {"type", "message", "detail"}}; quota is 409 OverQuota there.
func NeutronErrors(e ErrorInfo) (int, any) {
	status, typ := e.Status, e.Type
	if e.Kind == fault.KindQuota {
		status = http.StatusConflict
		if typ == "" {
			typ = "OverQuota"
		}
	}
	if typ == "" {
		typ = map[int]string{400: "HTTPBadRequest", 403: "PolicyNotAuthorized", 404: "HTTPNotFound", 409: "Conflict", 503: "ServiceUnavailable"}[status]
	}
	if typ == "" {
		typ = "HTTPInternalServerError"
	}
	return status, map[string]any{"NeutronError": map[string]any{"type": typ, "message": e.Message, "detail": ""}}
}

// PlacementErrors is the API-WG errors list; from 1.23 on each has a code.
func PlacementErrors(e ErrorInfo) (int, any) {
	item := map[string]any{"status": e.Status, "title": http.StatusText(e.Status), "detail": e.Message, "request_id": e.RequestID}
	if e.Version.AtLeast(V(1, 23)) {
		code := e.Type
		if code == "" {
			code = "placement.undefined_code"
		}
		item["code"] = code
	}
	return e.Status, map[string]any{"errors": []any{item}}
}

// write sends the answer, once the limits have been told how much it is.
func (r *Request) write(w http.ResponseWriter, status int, body any) error {
	if body == nil {
		r.held.answered(r, w, 0)
		if status != http.StatusNoContent && status != http.StatusNotModified {
			w.Header().Set("Content-Length", "0")
		}
		w.WriteHeader(status)
		return nil
	}
	b, err := marshal(body)
	if err != nil {
		return err
	}
	r.held.answered(r, w, len(b))
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, err = w.Write(b)
	return err
}

// marshal writes JSON as Python does: <, > and & stay as they are.
func marshal(v any) ([]byte, error) {
	if raw, ok := v.(json.RawMessage); ok {
		return raw, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes()[:b.Len()-1], nil // without the encoder's line end
}
