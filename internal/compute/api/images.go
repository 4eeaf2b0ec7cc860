package api

import (
	"strconv"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

// imageRoutes show the image service to clients before 2.36, which looked images up here.
func (f *face) imageRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: get, Path: "/images", Name: "images.list", Max: v(35), Handler: f.listImages(false)},
		{Method: get, Path: "/images/detail", Name: "images.detail", Max: v(35), Handler: f.listImages(true)},
		{Method: get, Path: "/images/{id}", Name: "images.show", Max: v(35), Handler: f.showImage},
		{Method: get, Path: "/images/{id}/metadata", Name: "images.metadata", Max: v(38), Handler: f.imageMetadata},
		{Method: get, Path: "/images/{id}/metadata/{key}", Name: "images.metadata.item", Max: v(38), Handler: f.imageMeta},
	}
}

// imageStates maps the image service's states to the words of this API.
var imageStates = map[image.Status]string{"active": "ACTIVE", "queued": "SAVING", "saving": "SAVING", "uploading": "SAVING", "importing": "SAVING", "killed": "ERROR", "deleted": "DELETED", "pending_delete": "DELETED"}

func imageStatus(s image.Status) string {
	if word, ok := imageStates[s]; ok {
		return word
	}
	return "UNKNOWN"
}

func (f *face) imageView(r *httpapi.Request, i *image.Image, detail bool) obj {
	links := append(r.Links("images", i.ID), obj{"rel": "alternate", "type": "application/vnd.openstack.image", "href": r.Bookmark("images", i.ID)})
	out := obj{"id": i.ID, "name": i.Name, "links": links}
	if !detail {
		return out
	}
	status := imageStatus(i.Status)
	progress := 0
	switch {
	case status == "ACTIVE":
		progress = 100
	case i.Status == "queued":
		progress = 25
	case status == "SAVING":
		progress = 50
	}
	out["status"], out["progress"], out["minRam"], out["minDisk"], out["OS-EXT-IMG-SIZE:size"] = status, progress, i.MinRAMMiB, i.MinDiskGiB, i.SizeBytes
	out["created"], out["updated"], out["metadata"] = zulu(db.At(i.CreatedAt)), zulu(db.At(i.UpdatedAt)), orNothing(i.Properties)
	if id := i.Properties["instance_uuid"]; id != "" {
		out["server"] = obj{"id": id, "links": r.Links("servers", id)}
	}
	return out
}

func (f *face) listImages(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		page, err := r.Page(maxLimit)
		if err != nil {
			return nil, err
		}
		q := r.URL.Query()
		filter := image.Filter{Limit: page.Limit, Marker: page.Marker, Properties: map[string]string{}}
		if s := q.Get("name"); s != "" {
			filter.Names = []string{s}
		}
		if s := q.Get("status"); s != "" {
			filter.Statuses = []string{"none"} // a word that is no status matches nothing
			for k, word := range imageStates {
				if strings.EqualFold(word, s) {
					filter.Statuses = append(filter.Statuses, string(k))
				}
			}
		}
		if s := q.Get("server"); s != "" {
			filter.Properties["instance_uuid"] = lastPart(s)
		}
		if s := q.Get("type"); s != "" {
			filter.Properties["image_type"] = s
		}
		for k := range q {
			if p, ok := strings.CutPrefix(k, "property-"); ok {
				filter.Properties[p] = q.Get(k)
			}
		}
		for k, field := range map[string]**int64{"minRam": &filter.MinRAMMiB, "minDisk": &filter.MinDiskGiB} {
			if s := q.Get(k); s != "" {
				n, err := strconv.ParseInt(s, 10, 64)
				if err != nil {
					return nil, fault.Invalid(k, "Invalid input for query parameters %s. Value: %s. It is not a number.", k, s)
				}
				*field = &n
			}
		}
		out := []obj{}
		body := obj{}
		if page.Limit > 0 {
			list, err := f.deps.Images.List(r.Context(), r.Creds, filter)
			if err != nil {
				return nil, err
			}
			for i := range list {
				out = append(out, f.imageView(r, &list[i], detail))
			}
			if len(list) > 0 {
				if next := r.NextLinks(page, len(list), list[len(list)-1].ID); next != nil {
					body["images_links"] = next
				}
			}
		}
		body["images"] = out
		return body, nil
	}
}

func (f *face) image(r *httpapi.Request) (image.Image, error) {
	i, err := f.deps.Images.Get(r.Context(), r.Creds, r.Param("id"))
	if fault.KindOf(err) == fault.KindNotFound || fault.KindOf(err) == fault.KindInvalid {
		return i, fault.NotFound("Image not found.")
	}
	return i, err
}

func (f *face) showImage(r *httpapi.Request) (any, error) {
	i, err := f.image(r)
	if err != nil {
		return nil, err
	}
	return obj{"image": f.imageView(r, &i, true)}, nil
}

func (f *face) imageMetadata(r *httpapi.Request) (any, error) {
	i, err := f.image(r)
	if err != nil {
		return nil, err
	}
	return obj{"metadata": orNothing(i.Properties)}, nil
}

func (f *face) imageMeta(r *httpapi.Request) (any, error) {
	i, err := f.image(r)
	if err != nil {
		return nil, err
	}
	value, ok := i.Properties[r.Param("key")]
	if !ok {
		return nil, fault.NotFound("Invalid metadata key")
	}
	return obj{"meta": obj{r.Param("key"): value}}, nil
}
