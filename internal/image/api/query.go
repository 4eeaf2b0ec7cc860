package api

import (
	"encoding/csv"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

// Page sizes of GET /images (Glance's limit_param_default and api_limit_max).
const (
	pageDefault = 25
	pageMost    = 1000
)

// list is GET /images. An empty page is answered without asking the database when the client asks for none (limit=0).
func (s *server) list(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	f, err := parseFilter(q)
	if err != nil {
		return nil, err
	}
	var imgs []image.Image
	if f.Limit > 0 {
		if imgs, err = s.svc.List(r.Context(), r.Creds, f); err != nil {
			return nil, err
		}
	}
	views := make([]map[string]any, 0, len(imgs))
	for _, i := range imgs {
		views = append(views, s.view(r, i))
	}
	out := map[string]any{"images": views, "schema": "/v2/schemas/images", "first": listURL("/v2/images", q, "")}
	if len(imgs) > 0 && len(imgs) == f.Limit {
		out["next"] = listURL("/v2/images", q, imgs[len(imgs)-1].ID)
	}
	return out, nil
}

func badQuery(name, value, why string) error {
	return fault.Invalid(name, "Invalid value %q of query parameter %s: %s", value, name, why)
}

// parseFilter reads a list query; a name that is no base attribute filters by the property of that name.
func parseFilter(q url.Values) (image.Filter, error) {
	no := false
	f := image.Filter{Limit: pageDefault, Marker: q.Get("marker"), Hidden: &no}
	var err error
	if f.Sort, err = parseSort(q); err != nil {
		return f, err
	}
	for name, values := range q {
		if !storable(name) || slices.ContainsFunc(values, func(v string) bool { return !storable(v) }) {
			return f, badQuery(name, values[0], "it must be UTF-8 without NUL")
		}
		if name == "tag" {
			f.Tags = values
			continue
		}
		if err := readParam(&f, name, values[len(values)-1]); err != nil {
			return f, err
		}
		if name == "created_at" || name == "updated_at" {
			for _, v := range values[:len(values)-1] {
				if err := readParam(&f, name, v); err != nil {
					return f, err
				}
			}
		}
	}
	return f, nil
}

// storable says whether the database could hold s, and so whether it may be asked for it.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// readParam reads one parameter.
func readParam(f *image.Filter, name, v string) error {
	lists := map[string]*[]string{"id": &f.IDs, "name": &f.Names, "status": &f.Statuses, "disk_format": &f.DiskFormats, "container_format": &f.ContainerFormats}
	if to := lists[name]; to != nil {
		var err error
		*to, err = oneOf(name, v)
		return err
	}
	numbers := map[string]**int64{"size_min": &f.SizeMin, "size_max": &f.SizeMax, "size": &f.Size, "virtual_size": &f.VirtualSize, "min_disk": &f.MinDiskGiB, "min_ram": &f.MinRAMMiB}
	if to := numbers[name]; to != nil {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return badQuery(name, v, "it must be an integer of 0 or more")
		}
		*to = &n
		return nil
	}
	switch name {
	case "marker", "sort", "sort_key", "sort_dir":
	case "limit":
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return badQuery(name, v, "limit must be an integer of 0 or more")
		}
		f.Limit = min(n, pageMost)
	case "owner":
		f.Owners = []string{v}
	case "checksum":
		f.MD5 = v
	case "os_hash_value":
		f.HashValue = v
	case "os_hash_algo":
		f.HashAlgo = v
	case "visibility":
		if !slices.Contains([]string{"public", "private", "shared", "community", "all"}, v) {
			return badQuery(name, v, "it must be public, private, shared, community or all")
		}
		f.Visibility = v
	case "member_status":
		if !slices.Contains([]string{"accepted", "pending", "rejected", "all"}, v) {
			return badQuery(name, v, "it must be accepted, pending, rejected or all")
		}
		f.MemberStatus = image.MemberStatus(v)
	case "os_hidden", "protected":
		b, err := parseBool(name, v)
		if err != nil {
			return err
		}
		if name == "protected" {
			f.Protected = &b
		} else {
			f.Hidden = &b
		}
	case "created_at", "updated_at":
		b, err := parseTime(name, v)
		if err != nil {
			return err
		}
		if name == "created_at" {
			f.Created = append(f.Created, b)
		} else {
			f.Updated = append(f.Updated, b)
		}
	default:
		if f.Properties == nil {
			f.Properties = map[string]string{}
		}
		f.Properties[name] = v
	}
	return nil
}

// parseBool takes what oslo's strutils takes from these clients: true and false in any case.
func parseBool(name, v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, badQuery(name, v, "it must be true or false")
}

// oneOf reads "in:a,b", with double quotes around items that hold a comma, or a plain value.
func oneOf(name, v string) ([]string, error) {
	rest, ok := strings.CutPrefix(v, "in:")
	if !ok {
		return []string{v}, nil
	}
	items, err := csv.NewReader(strings.NewReader(rest)).Read()
	if err != nil {
		return nil, badQuery(name, v, "after in: a list of values separated by commas is expected, with balanced quotes")
	}
	return items, nil
}

var timeOps = []string{"eq", "neq", "gt", "gte", "lt", "lte"}

// parseTime reads "gte:2026-01-02T03:04:05Z"; without an operator it is eq. Times without a zone are UTC.
func parseTime(name, v string) (image.TimeBound, error) {
	op, rest, ok := strings.Cut(v, ":")
	if !ok || !slices.Contains(timeOps, op) {
		if op != "" && len(op) <= 3 {
			return image.TimeBound{}, badQuery(name, v, "the operator must be one of "+strings.Join(timeOps, ", "))
		}
		op, rest = "eq", v
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999", "2006-01-02", "20060102T150405Z"} {
		if t, err := time.Parse(layout, rest); err == nil {
			return image.TimeBound{Op: op, At: t.UTC()}, nil
		}
	}
	return image.TimeBound{}, badQuery(name, v, "it must be an ISO 8601 time")
}

// parseSort reads sort=key:dir,… or the repeatable pair sort_key and sort_dir; not both.
func parseSort(q url.Values) ([]image.SortKey, error) {
	var out []image.SortKey
	add := func(key, dir string) error {
		if image.SortKeys[key] == "" {
			return fault.Invalid("sort_key", "Invalid sort key: %s", key)
		}
		if dir != "asc" && dir != "desc" {
			return fault.Invalid("sort_dir", "Invalid sort direction: %s", dir)
		}
		out = append(out, image.SortKey{Key: key, Desc: dir == "desc"})
		return nil
	}
	keys, dirs := q["sort_key"], q["sort_dir"]
	if text, ok := q["sort"]; ok {
		if len(keys)+len(dirs) > 0 {
			return nil, fault.Invalid("sort", "Old and new sorting syntax cannot be combined")
		}
		for item := range strings.SplitSeq(text[len(text)-1], ",") {
			key, dir, given := strings.Cut(strings.TrimSpace(item), ":")
			if !given {
				dir = "desc"
			}
			if err := add(key, dir); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if len(dirs) > max(1, len(keys)) {
		return nil, fault.Invalid("sort_dir", "Number of sort dirs does not match the number of sort keys")
	}
	if len(keys) == 0 && len(dirs) == 1 {
		keys = []string{"created_at"}
	}
	if len(dirs) > 1 && len(dirs) != len(keys) {
		return nil, fault.Invalid("sort_dir", "Number of sort dirs does not match the number of sort keys")
	}
	for i, key := range keys {
		dir := "desc"
		if len(dirs) == 1 {
			dir = dirs[0]
		} else if len(dirs) > i {
			dir = dirs[i]
		}
		if err := add(key, dir); err != nil {
			return nil, err
		}
	}
	return out, nil
}
