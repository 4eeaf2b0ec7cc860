package api

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"nephos/internal/httpapi"
)

// maxList bounds a page.
const maxList = 10000

// list answers a collection: Keystone's inexact filters (name__contains=…), sort_key and sort_dir, limit and marker, and links.
func list[T any](r *httpapi.Request, key string, items []T, view func(*T) map[string]any) (any, error) {
	page, err := r.Page(maxList)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	out := make([]map[string]any, 0, len(items))
	for i := range items {
		if v := view(&items[i]); v != nil && fits(q, v) {
			out = append(out, v)
		}
	}
	if by := q.Get("sort_key"); by != "" {
		slices.SortStableFunc(out, func(a, b map[string]any) int {
			return strings.Compare(text(a[by]), text(b[by]))
		})
		if q.Get("sort_dir") == "desc" {
			slices.Reverse(out)
		}
	}
	if page.Marker != "" {
		at := slices.IndexFunc(out, func(v map[string]any) bool { return v["id"] == page.Marker })
		out = out[at+1:] // an unknown marker starts anew, as Keystone's does
	}
	var next any
	if page.Limit > 0 && len(out) > page.Limit {
		out = out[:page.Limit]
		next = r.NextURL(text(out[len(out)-1]["id"]))
	}
	return map[string]any{key: out, "links": map[string]any{"self": selfURL(r), "next": next, "previous": nil}}, nil
}

// selfURL is the request's own address.
func selfURL(r *httpapi.Request) string {
	u := r.HostURL() + r.Mount.Prefix + r.URL.Path
	if r.URL.RawQuery != "" {
		u += "?" + r.URL.RawQuery
	}
	return u
}

// fits checks the inexact filters: attribute__how=value.
func fits(q url.Values, v map[string]any) bool {
	for k, want := range q {
		attr, how, ok := strings.Cut(k, "__")
		if !ok {
			continue
		}
		have, isText := v[attr].(string)
		if !isText {
			continue
		}
		w := want[0]
		if strings.HasPrefix(how, "i") {
			how, have, w = how[1:], strings.ToLower(have), strings.ToLower(w)
		}
		switch how {
		case "contains":
			ok = strings.Contains(have, w)
		case "startswith":
			ok = strings.HasPrefix(have, w)
		case "endswith":
			ok = strings.HasSuffix(have, w)
		}
		if !ok {
			return false
		}
	}
	return true
}

func text(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case json.RawMessage:
		return string(x)
	}
	return fmt.Sprint(v)
}

// flag reads a boolean query parameter in Keystone's way: `0`, `false` are no, everything else (also the bare name) is yes. nil: absent.
func flag(r *httpapi.Request, name string) *bool {
	q := r.URL.Query()
	if !q.Has(name) {
		return nil
	}
	v := q.Get(name)
	yes := v != "0" && !strings.EqualFold(v, "false")
	return &yes
}

func is(b *bool) bool { return b != nil && *b }

// clientHost is where a request comes from, without the port: what the throttle of log-ins counts by.
func clientHost(r *httpapi.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}
