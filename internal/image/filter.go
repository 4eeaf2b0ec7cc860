package image

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// Filter selects and orders images. Zero fields select everything; all fields must hold together.
type Filter struct {
	IDs, Names, Owners, Statuses, DiskFormats, ContainerFormats []string     // nil: any; each is "one of"
	MD5, HashValue, HashAlgo                                    string       // HashValue by whatever algorithm
	Visibility                                                  string       // "": all but other projects' community images; "all"; or one
	MemberStatus                                                MemberStatus // of images shared with the caller; "" accepted, "all" any
	Hidden, Protected                                           *bool        // nil: any
	Tags                                                        []string     // all of them
	SizeMin, SizeMax, Size, VirtualSize, MinDiskGiB, MinRAMMiB  *int64
	Created, Updated                                            []TimeBound
	Properties                                                  map[string]string
	Sort                                                        []SortKey // created_at and id are always added as last keys
	Limit                                                       int       // 0: all
	Marker                                                      string    // id of the last image of the page before
}

// TimeBound compares a time by whole seconds, the precision that the API shows. Op is eq, neq, gt, gte, lt or lte.
type TimeBound struct {
	Op string
	At time.Time
}

// SortKey is one key of an order.
type SortKey struct {
	Key  string // one of SortKeys
	Desc bool
}

// SortKeys maps Glance's names of the sortable attributes to columns.
var SortKeys = map[string]string{"name": "name", "status": "status", "container_format": "container_format", "disk_format": "disk_format",
	"size": "size_bytes", "id": "id", "created_at": "created_at", "updated_at": "updated_at"}

type where struct {
	terms []string
	args  []any
}

func (w *where) text() string { return strings.Join(w.terms, " AND ") }

func (w *where) add(term string, args ...any) {
	w.terms = append(w.terms, term)
	w.args = append(w.args, args...)
}

func (w *where) in(column string, values []string) {
	if values != nil {
		w.add(column+" IN (?)", values)
	}
}

func (w *where) number(column, op string, v *int64) {
	if v != nil {
		w.add(column+" "+op+" ?", *v)
	}
}

func list(ctx context.Context, tx *db.Tx, creds *policy.Credentials, f Filter) ([]Image, error) {
	for _, vs := range [][]string{f.IDs, f.Names, f.Owners, f.Statuses, f.DiskFormats, f.ContainerFormats} {
		if vs != nil && len(vs) == 0 {
			return nil, nil
		}
	}
	w := &where{}
	w.add("status <> 'deleted'")
	w.visibility(creds, f)
	w.attributes(f)
	keys, err := orderKeys(f.Sort)
	if err != nil {
		return nil, err
	}
	if f.Marker != "" {
		if err := w.after(ctx, tx, creds, keys, f.Marker); err != nil {
			return nil, err
		}
	}
	q := "SELECT * FROM images WHERE " + w.text() + " ORDER BY " + orderText(keys)
	if f.Limit > 0 {
		q += " LIMIT ?"
		w.args = append(w.args, f.Limit)
	}
	var rows []row
	if err := tx.Select(ctx, &rows, q, w.args...); err != nil {
		return nil, err
	}
	out := make([]Image, len(rows))
	for i, r := range rows {
		out[i] = r.image()
	}
	return out, fillIn(ctx, tx, out)
}

// visibility is Glance's list rule: an admin sees all, others what is public, their own, and shared images they have accepted; community
// images are listed to others than their owner only when asked for.
func (w *where) visibility(c *policy.Credentials, f Filter) {
	project := ""
	if c != nil {
		project = c.ProjectID
	}
	if c != nil && !c.IsAdmin() {
		may := "visibility IN ('public', 'community')"
		var args []any
		if project != "" {
			shared := "SELECT image_id FROM image_members WHERE member = ?"
			args = append(args, project, project)
			if f.MemberStatus != "all" {
				status := f.MemberStatus
				if status == "" {
					status = Accepted
				}
				shared += " AND status = ?"
				args = append(args, string(status))
			}
			may += " OR owner = ? OR visibility = 'shared' AND id IN (" + shared + ")"
		}
		w.add("("+may+")", args...)
	}
	switch f.Visibility {
	case "all":
	case "":
		if c != nil {
			w.add("(visibility <> 'community' OR owner = ? AND owner <> '')", project)
		}
	default:
		w.add("visibility = ?", f.Visibility)
	}
}

func (w *where) attributes(f Filter) {
	w.in("id", f.IDs)
	w.in("name", f.Names)
	w.in("owner", f.Owners)
	w.in("status", f.Statuses)
	w.in("disk_format", f.DiskFormats)
	w.in("container_format", f.ContainerFormats)
	for _, x := range []struct{ column, value string }{{"md5", f.MD5}, {"hash_value", f.HashValue}, {"hash_algo", f.HashAlgo}} {
		if x.value != "" {
			w.add(x.column+" = ?", x.value)
		}
	}
	if f.Hidden != nil {
		w.add("hidden = ?", *f.Hidden)
	}
	if f.Protected != nil {
		w.add("protected = ?", *f.Protected)
	}
	if f.SizeMin != nil || f.SizeMax != nil || f.Size != nil || f.VirtualSize != nil { // the others have no size yet
		w.add("status IN ('active', 'deactivated')")
	}
	w.number("size_bytes", ">=", f.SizeMin)
	w.number("size_bytes", "<=", f.SizeMax)
	w.number("size_bytes", "=", f.Size)
	w.number("virtual_bytes", "=", f.VirtualSize)
	w.number("min_disk_gib", "=", f.MinDiskGiB)
	w.number("min_ram_mib", "=", f.MinRAMMiB)
	for _, t := range f.Tags {
		w.add("id IN (SELECT image_id FROM image_tags WHERE tag = ?)", t)
	}
	for name, value := range f.Properties {
		w.add("id IN (SELECT image_id FROM image_properties WHERE name = ? AND value = ?)", name, value)
	}
	for _, b := range f.Created {
		w.time("created_at", b)
	}
	for _, b := range f.Updated {
		w.time("updated_at", b)
	}
}

func (w *where) time(column string, b TimeBound) {
	start := b.At.Truncate(time.Second)
	from, to := db.At(start), db.At(start.Add(time.Second))
	switch b.Op {
	case "gt":
		w.add(column+" >= ?", to)
	case "gte":
		w.add(column+" >= ?", from)
	case "lt":
		w.add(column+" < ?", from)
	case "lte":
		w.add(column+" < ?", to)
	case "neq":
		w.add("("+column+" < ? OR "+column+" >= ?)", from, to)
	default:
		w.add("("+column+" >= ? AND "+column+" < ?)", from, to)
	}
}

// orderKeys makes the order total: created_at and id come last, in the direction of the last key given (descending by default).
func orderKeys(keys []SortKey) ([]SortKey, error) {
	out := slices.Clone(keys)
	for _, k := range out {
		if SortKeys[k.Key] == "" {
			return nil, fault.Invalid("sort_key", "Invalid sort key: %s", k.Key)
		}
	}
	desc := len(out) == 0 || out[len(out)-1].Desc
	for _, k := range []string{"created_at", "id"} {
		if !slices.ContainsFunc(out, func(s SortKey) bool { return s.Key == k }) {
			out = append(out, SortKey{k, desc})
		}
	}
	return out, nil
}

func orderText(keys []SortKey) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = SortKeys[k.Key]
		if k.Desc {
			parts[i] += " DESC"
		}
	}
	return strings.Join(parts, ", ")
}

// after keeps what comes after the marker in the order: (a > A) or (a = A and b > B) or …
func (w *where) after(ctx context.Context, tx *db.Tx, creds *policy.Credentials, keys []SortKey, marker string) error {
	img, err := load(ctx, tx, marker)
	if err == nil && !img.VisibleTo(creds) {
		err = notFound(marker)
	}
	var nf *fault.Fault
	if errors.As(err, &nf) {
		return fault.Invalid("marker", "%s", nf.Msg)
	}
	if err != nil {
		return err
	}
	r := rowOf(img)
	value := map[string]any{"name": r.Name, "status": string(r.Status), "container_format": r.ContainerFormat, "disk_format": r.DiskFormat,
		"size": r.SizeBytes, "id": r.ID, "created_at": r.CreatedAt, "updated_at": r.UpdatedAt}
	var or []string
	var args []any
	for i, k := range keys {
		var and []string
		for _, before := range keys[:i] {
			and = append(and, SortKeys[before.Key]+" = ?")
			args = append(args, value[before.Key])
		}
		op := " > ?"
		if k.Desc {
			op = " < ?"
		}
		and = append(and, SortKeys[k.Key]+op)
		args = append(args, value[k.Key])
		or = append(or, "("+strings.Join(and, " AND ")+")")
	}
	w.add("("+strings.Join(or, " OR ")+")", args...)
	return nil
}
