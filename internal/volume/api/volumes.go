package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/volume"
)

// number is an integer that clients also send as a string, or null.
type number int

func (n *number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" || s == "" {
		*n = 0
		return nil
	}
	i, err := strconv.Atoi(s)
	*n = number(i)
	return err
}

// boolean is oslo's bool*: true, "yes", 1 …
type boolean bool

func (v *boolean) UnmarshalJSON(b []byte) error {
	switch strings.ToLower(strings.Trim(string(b), `"`)) {
	case "true", "1", "t", "y", "yes", "on":
		*v = true
	default:
		*v = false
	}
	return nil
}

// naming are the words of a body; v1's display_ names win only where the plain ones are missing.
type naming struct {
	Name               *string `json:"name"`
	Description        *string `json:"description"`
	DisplayName        *string `json:"display_name"`
	DisplayDescription *string `json:"display_description"`
}

func (n naming) words() (name, description *string) {
	name, description = n.Name, n.Description
	if name == nil {
		name = n.DisplayName
	}
	if description == nil {
		description = n.DisplayDescription
	}
	for _, p := range []*string{name, description} {
		if p != nil {
			*p = strings.TrimSpace(*p)
		}
	}
	return name, description
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (s *server) createVolume(r *httpapi.Request) (any, error) {
	var body struct {
		Volume struct {
			naming
			Size        number            `json:"size"`
			Type        string            `json:"volume_type"`
			Zone        string            `json:"availability_zone"`
			ImageRef    string            `json:"imageRef"`
			ImageID     string            `json:"image_id"`
			SnapshotID  string            `json:"snapshot_id"`
			SourceVolid string            `json:"source_volid"`
			GroupID     string            `json:"group_id"`
			CGID        string            `json:"consistencygroup_id"`
			BackupID    string            `json:"backup_id"`
			Multiattach boolean           `json:"multiattach"`
			Metadata    map[string]string `json:"metadata"`
		} `json:"volume"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	b := body.Volume
	switch {
	case bool(b.Multiattach):
		return nil, fault.Invalid("multiattach", "Invalid input received: multiattach volumes are not offered by the file backend.")
	case b.GroupID != "" || b.CGID != "":
		return nil, fault.NotImplemented("This cloud does not offer volume groups.")
	case b.BackupID != "" && r.Version.AtLeast(v(47)):
		return nil, fault.NotImplemented("This cloud does not offer volume backup.")
	}
	if b.ImageRef == "" {
		b.ImageRef = b.ImageID
	}
	if i := strings.LastIndexByte(b.ImageRef, '/'); i >= 0 { // old clients send the image's URL
		b.ImageRef = b.ImageRef[i+1:]
	}
	name, description := b.words()
	made, err := s.svc.Create(r.Context(), by(r), volume.CreateParams{Name: deref(name), Description: deref(description), SizeGiB: int(b.Size), Type: b.Type, Zone: b.Zone,
		ImageID: b.ImageRef, SnapshotID: b.SnapshotID, SourceVolume: b.SourceVolid, Metadata: b.Metadata})
	if err != nil {
		return nil, err
	}
	return map[string]any{"volume": volumeView(r, made, false)}, nil
}

// pageMax is Cinder's osapi_max_limit.
const pageMax = 1000

// filter reads paging, sorting and filters of a list call. Keys in columns are filters by equality.
func filter(r *httpapi.Request, columns map[string]string) (volume.Filter, error) {
	q := r.URL.Query()
	p, err := r.Page(pageMax)
	if err != nil {
		return volume.Filter{}, err
	}
	f := volume.Filter{Limit: p.Limit, Marker: p.Marker, Equal: map[string]string{}, ProjectID: q.Get("project_id")}
	if all := q.Get("all_tenants"); all != "" {
		var b boolean
		b.UnmarshalJSON([]byte(all)) //nolint:errcheck // never fails
		f.AllProjects = bool(b)
	}
	if o := q.Get("offset"); o != "" {
		if f.Offset, err = strconv.Atoi(o); err != nil || f.Offset < 0 {
			return f, fault.Invalid("offset", "Invalid input received: offset must be an integer >= 0")
		}
	}
	if f.Sort, err = sorting(q.Get("sort"), q["sort_key"], q["sort_dir"]); err != nil {
		return f, err
	}
	for key, values := range q {
		if _, ok := columns[key]; ok && key != "id" && key != "host" && values[0] != "" {
			f.Equal[key] = values[0]
		}
	}
	if r.Version.AtLeast(v(34)) {
		f.NameLike = q.Get("name~")
	}
	if m := q.Get("metadata"); m != "" {
		if f.Metadata, err = pythonDict(m); err != nil {
			return f, fault.Invalid("metadata", "Invalid input received: metadata filter %s is no dictionary of strings.", m)
		}
	}
	return f, nil
}

// sorting reads "sort=key:dir,key" or the older sort_key/sort_dir pairs; the default direction is desc.
func sorting(sort string, keys, dirs []string) (out []volume.SortKey, err error) {
	if sort != "" {
		for part := range strings.SplitSeq(sort, ",") {
			key, dir, _ := strings.Cut(strings.TrimSpace(part), ":")
			keys, dirs = append(keys, key), append(dirs, dir)
		}
	}
	for i, k := range keys {
		dir := ""
		if i < len(dirs) {
			dir = strings.ToLower(dirs[i])
		}
		if dir != "" && dir != "asc" && dir != "desc" {
			return nil, fault.Invalid("sort_dir", "Invalid input received: sort direction %q must be asc or desc.", dir)
		}
		out = append(out, volume.SortKey{Key: strings.TrimSpace(k), Desc: dir != "asc"})
	}
	return out, nil
}

// pythonDict reads what python clients send for a dictionary of strings: JSON, or repr() with single quotes.
func pythonDict(text string) (map[string]string, error) {
	out := map[string]string{}
	if json.Unmarshal([]byte(text), &out) == nil {
		return out, nil
	}
	text = strings.NewReplacer("{u'", "{'", " u'", " '", `"`, `\"`, "'", `"`).Replace(text)
	return out, json.Unmarshal([]byte(text), &out)
}

// pageOf is the answer of a list call: the items, the next link when the page is full, the count when asked for.
func pageOf(r *httpapi.Request, key string, items []map[string]any, f volume.Filter, total int) map[string]any {
	out := map[string]any{key: items}
	if len(items) > 0 && len(items) == f.Limit {
		last, _ := items[len(items)-1]["id"].(string)
		out[key+"_links"] = []map[string]any{{"rel": "next", "href": r.NextURL(last)}}
	}
	if wc := r.URL.Query().Get("with_count"); wc != "" && !strings.EqualFold(wc, "false") && r.Version.AtLeast(v(45)) {
		out["count"] = total
	}
	return out
}

func (s *server) listVolumes(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		f, err := filter(r, volume.VolumeColumns)
		if err != nil {
			return nil, err
		}
		list, total, err := s.svc.List(r.Context(), by(r), f)
		if err != nil {
			return nil, err
		}
		items := make([]map[string]any, 0, len(list))
		for i := range list {
			if detail {
				items = append(items, volumeView(r, &list[i], true))
			} else {
				items = append(items, map[string]any{"id": list[i].ID, "name": orNil(list[i].Name), "links": r.Links("volumes", list[i].ID)})
			}
		}
		return pageOf(r, "volumes", items, f, total), nil
	}
}

func (s *server) summary(r *httpapi.Request) (any, error) {
	f, err := filter(r, volume.VolumeColumns)
	if err != nil {
		return nil, err
	}
	f.Limit, f.Marker, f.Offset = -1, "", 0
	list, total, err := s.svc.List(r.Context(), by(r), f)
	if err != nil {
		return nil, err
	}
	gib, meta := 0, map[string][]string{}
	for _, x := range list {
		gib += x.SizeGiB
		for k, val := range x.Metadata.V {
			meta[k] = append(meta[k], val)
		}
	}
	out := map[string]any{"total_count": total, "total_size": gib}
	if r.Version.AtLeast(v(36)) {
		out["metadata"] = meta
	}
	return map[string]any{"volume-summary": out}, nil
}

func (s *server) showVolume(r *httpapi.Request) (any, error) {
	x, err := s.svc.Show(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"volume": volumeView(r, x, true)}, nil
}

func (s *server) updateVolume(r *httpapi.Request) (any, error) {
	var body struct {
		Volume struct {
			naming
			Metadata map[string]string `json:"metadata"`
		} `json:"volume"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	p := volume.Patch{Metadata: body.Volume.Metadata}
	p.Name, p.Description = body.Volume.words()
	x, err := s.svc.Update(r.Context(), by(r), r.Param("id"), p)
	if err != nil {
		return nil, err
	}
	return map[string]any{"volume": volumeView(r, x, false)}, nil
}

func yes(r *httpapi.Request, key string) bool {
	var b boolean
	b.UnmarshalJSON([]byte(r.URL.Query().Get(key))) //nolint:errcheck // never fails
	return bool(b)
}

func (s *server) deleteVolume(r *httpapi.Request) (any, error) {
	o := volume.DeleteOptions{Cascade: yes(r, "cascade")}
	if r.Version.AtLeast(v(23)) && yes(r, "force") {
		if err := r.Authorize("volume:force_delete", r.OwnTarget()); err != nil {
			return nil, err
		}
		o.Force = true
	}
	return nil, s.svc.Delete(r.Context(), by(r), r.Param("id"), o)
}

func (s *server) encryption(r *httpapi.Request) (any, error) {
	_, err := s.svc.Show(r.Context(), by(r), r.Param("id"))
	return map[string]any{"encryption_key_id": nil}, err
}

func metadataOf(r *httpapi.Request) (map[string]string, error) {
	var body struct {
		Metadata map[string]string `json:"metadata"`
	}
	err := r.Decode(&body)
	return body.Metadata, err
}

// metaItem is the one pair of a "meta" body, which must be the key of the URL.
func metaItem(r *httpapi.Request) (map[string]string, error) {
	var body struct {
		Meta map[string]string `json:"meta"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if _, ok := body.Meta[r.Param("key")]; !ok {
		return nil, fault.Invalid("meta", "Request body and URI mismatch")
	}
	return body.Meta, nil
}

func pick(m map[string]string, key string) (any, error) {
	val, ok := m[key]
	if !ok {
		return nil, fault.NotFound("Metadata item %s was not found.", key)
	}
	return map[string]any{"meta": map[string]string{key: val}}, nil
}

func (s *server) volumeMetadata(r *httpapi.Request) (any, error) {
	x, err := s.svc.Show(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"metadata": x.Metadata.V}, nil
}

func (s *server) setVolumeMetadata(replace bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		m, err := metadataOf(r)
		if err != nil {
			return nil, err
		}
		m, err = s.svc.SetMetadata(r.Context(), by(r), r.Param("id"), m, replace)
		return map[string]any{"metadata": m}, err
	}
}

func (s *server) volumeMetaItem(r *httpapi.Request) (any, error) {
	x, err := s.svc.Show(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return pick(x.Metadata.V, r.Param("key"))
}

func (s *server) setVolumeMetaItem(r *httpapi.Request) (any, error) {
	m, err := metaItem(r)
	if err != nil {
		return nil, err
	}
	_, err = s.svc.SetMetadata(r.Context(), by(r), r.Param("id"), m, false)
	return map[string]any{"meta": m}, err
}

func (s *server) dropVolumeMetaItem(r *httpapi.Request) (any, error) {
	return done(s.svc.DropMetadata(r.Context(), by(r), r.Param("id"), r.Param("key")))
}

// done is a 200 without a body.
func done(err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Status: http.StatusOK}, nil
}
