package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
)

// ExitError ends the process with a code when everything has been said already.
type ExitError struct{ Code int }

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// usage is a mistake in what was typed.
type usage struct{ msg string }

func (u usage) Error() string { return u.msg }

func usagef(format string, a ...any) error { return usage{fmt.Sprintf(format, a...)} }

// IsUsage is true for mistakes in what was typed, as against what a cloud refused.
func IsUsage(err error) bool {
	var u usage
	return errors.As(err, &u)
}

// authError is a cloud that gave no token.
type authError struct {
	err               error
	url, user, source string
}

func (a *authError) Error() string { return a.err.Error() }

func (a *authError) Unwrap() error { return a.err }

// Explain is err as a sentence for a person: what the cloud said, the status and the request id, without the transport's words.
func Explain(err error) string {
	var auth *authError
	if errors.As(err, &auth) {
		who := "the credentials"
		if auth.user != "" {
			who = "user " + auth.user
		}
		var code gophercloud.ErrUnexpectedResponseCode
		switch {
		case errors.As(err, &code) && code.Actual == http.StatusUnauthorized:
			return fmt.Sprintf("%s refused %s (taken from %s): wrong name, password or project", auth.url, who, auth.source)
		case transport(err) != "":
			return fmt.Sprintf("%s does not answer: %s (address taken from %s). Is the cloud running?", auth.url, transport(err), auth.source)
		}
		return fmt.Sprintf("no token from %s: %s (credentials taken from %s)", auth.url, plain(auth.err), auth.source)
	}
	return plain(err)
}

// plain is Explain for errors after authentication.
func plain(err error) string {
	var code gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &code) {
		return faultOf(code)
	}
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	if t := transport(err); t != "" {
		var u *url.Error
		if errors.As(err, &u) {
			return u.URL + ": " + t
		}
		return t
	}
	return err.Error()
}

// transport is why no answer came, or "".
func transport(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return "no such host " + dns.Name
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return ""
}

// faultOf is "message (409, request req-…)" from the bodies that the services use: {"badRequest": {"message"}}, {"error": {"message"}}, {"NeutronError": {"message"}}, {"errors": [{"detail"}]},
// and Glance's text or HTML.
func faultOf(e gophercloud.ErrUnexpectedResponseCode) string {
	msg := message(e.Body)
	if msg == "" {
		msg = strings.ToLower(http.StatusText(e.Actual))
	}
	if e.Actual == http.StatusForbidden && !strings.Contains(strings.ToLower(msg), "quota") {
		msg += " (your role does not allow it)"
	}
	where := fmt.Sprintf("%d", e.Actual)
	for _, h := range []string{"X-Openstack-Request-Id", "X-Compute-Request-Id"} {
		if id := e.ResponseHeader.Get(h); id != "" {
			where += ", request " + id
			break
		}
	}
	return strings.TrimRight(strings.TrimSpace(msg), ".") + " (" + where + ")"
}

func message(body []byte) string {
	var top map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil {
		text := string(body)
		if strings.Contains(text, "<") { // Glance and WSGI defaults answer HTML
			return htmlText(text)
		}
		return firstLine(text)
	}
	for _, raw := range top {
		var one struct{ Message, Detail string }
		var list []struct{ Detail, Title string }
		var s string
		switch {
		case json.Unmarshal(raw, &one) == nil && one.Message != "":
			return one.Message
		case json.Unmarshal(raw, &list) == nil && len(list) > 0:
			return list[0].Detail
		case json.Unmarshal(raw, &s) == nil && len(top) == 1:
			return s
		}
	}
	var s string
	if json.Unmarshal(top["message"], &s) == nil {
		return s
	}
	return ""
}

// htmlText is what follows the heading of an HTML error page, without tags.
func htmlText(page string) string {
	if _, after, ok := strings.Cut(page, "</h1>"); ok {
		page = after
	}
	var b strings.Builder
	depth := 0
	for _, r := range page {
		switch r {
		case '<':
			depth++
		case '>':
			depth = max(depth-1, 0)
			b.WriteByte(' ')
		default:
			if depth == 0 {
				b.WriteRune(r)
			}
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// status is the HTTP status of err, 0 if it has none.
func status(err error) int {
	var code gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &code) {
		return code.Actual
	}
	return 0
}
