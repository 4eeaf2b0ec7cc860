package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind says what sort of failure happened; it decides the HTTP status at the edge.
type Kind uint8

// The kinds. Internal is the zero value on purpose: an unclassified error is a bug, answered as a 500 that leaks nothing.
const (
	KindInternal       Kind = iota
	KindInvalid             // 400: the request names something wrong; Field says what
	KindUnauthorized        // 401
	KindForbidden           // 403: known to the caller, not allowed
	KindNotFound            // 404: absent, or another project's
	KindConflict            // 409: the state forbids it, or a race was lost
	KindGone                // 410
	KindTooLarge            // 413: body larger than the route allows
	KindUnsupported         // 415: media type
	KindQuota               // 403 in Nova/Cinder(413)/Neutron(409): each service's edge decides
	KindRateLimited         // 429
	KindNotAcceptable       // 406: microversion
	KindNotImplemented      // 501: known to OpenStack, left out here on purpose
	KindUnavailable         // 503: a part that is needed cannot be reached now
	KindNoCapacity          // no host, no address: becomes a server fault, or 409/503 where synchronous
)

var kindNames = [...]string{"internal", "invalid", "unauthorized", "forbidden", "not found", "conflict", "gone", "too large", "unsupported media", "quota", "rate limited", "not acceptable", "not implemented", "unavailable", "no capacity"}

func (k Kind) String() string { return kindNames[k] }

// Fault is an error with a kind. Msg is written for the user: it names field and reason and holds no secret.
type Fault struct {
	Kind  Kind
	Msg   string
	Field string // the request field at fault, where one is (KindInvalid)
	Type  string // the service's own exception name where clients read it (Neutron: "IpAddressInUse"); else empty
	Cause error  // for the log only, never shown
}

func (f *Fault) Error() string {
	if f.Cause != nil {
		return f.Msg + ": " + f.Cause.Error()
	}
	return f.Msg
}

func (f *Fault) Unwrap() error { return f.Cause }

// Is makes errors.Is(err, fault.ErrNotFound) style checks unnecessary: use KindOf.
func newf(k Kind, format string, a ...any) *Fault {
	return &Fault{Kind: k, Msg: fmt.Sprintf(format, a...)}
}

// Invalid is a 400 that names the field; field may be empty when the whole body is meant.
func Invalid(field, format string, a ...any) *Fault {
	f := newf(KindInvalid, format, a...)
	f.Field = field
	return f
}

// NotFound is a 404; also the answer for another project's resource.
func NotFound(format string, a ...any) *Fault { return newf(KindNotFound, format, a...) }

// Conflict is a 409.
func Conflict(format string, a ...any) *Fault { return newf(KindConflict, format, a...) }

// Forbidden is a 403.
func Forbidden(format string, a ...any) *Fault { return newf(KindForbidden, format, a...) }

// Unauthorized is a 401.
func Unauthorized(format string, a ...any) *Fault { return newf(KindUnauthorized, format, a...) }

// Quota is an exceeded quota.
func Quota(format string, a ...any) *Fault { return newf(KindQuota, format, a...) }

// TooLarge is a 413.
func TooLarge(format string, a ...any) *Fault { return newf(KindTooLarge, format, a...) }

// Unavailable is a 503: try again later.
func Unavailable(format string, a ...any) *Fault { return newf(KindUnavailable, format, a...) }

// NoCapacity says that no host, address or space is left.
func NoCapacity(format string, a ...any) *Fault { return newf(KindNoCapacity, format, a...) }

// NotImplemented is a 501: the docs list it as left out.
func NotImplemented(format string, a ...any) *Fault { return newf(KindNotImplemented, format, a...) }

// New builds a fault of any kind.
func New(k Kind, format string, a ...any) *Fault { return newf(k, format, a...) }

// WithType sets the service's exception name (Neutron's body carries it) and returns f.
func (f *Fault) WithType(t string) *Fault { f.Type = t; return f }

// WithCause keeps the cause for the log and returns f.
func (f *Fault) WithCause(err error) *Fault { f.Cause = err; return f }

// KindOf gives the kind of the first Fault in err's chain; KindUnavailable for an ended context, else KindInternal.
func KindOf(err error) Kind {
	var f *Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return KindUnavailable
	}
	return KindInternal
}

// IsNotFound is KindOf(err) == KindNotFound.
func IsNotFound(err error) bool { return err != nil && KindOf(err) == KindNotFound }

// Message is what a user may be told of err: the Fault's own words, or a neutral sentence for anything else.
func Message(err error) string {
	var f *Fault
	if errors.As(err, &f) {
		return f.Msg
	}
	return "an internal error occurred; the request id finds it in the log"
}

// Reason is what an operator or a trace may be told of err: the Fault's own words with its cause, or the bare error. Unlike Message it may
// name internals, so it must not be sent to users who are strangers to the host's inside.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "the deadline passed"
	}
	return err.Error()
}
