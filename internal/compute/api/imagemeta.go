package api

import (
	"maps"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
	"nephos/internal/quota"
)

// imageWriteRoutes let old clients delete images (before 2.36) and change their metadata (before 2.39) here.
func (f *face) imageWriteRoutes() []httpapi.Route {
	whole := always(wrap("metadata", sMeta))
	row := func(method, path, name string, body httpapi.Schemas, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: "/images/{id}" + path, Name: "images." + name, Max: v(38), Body: body, Handler: h}
	}
	gone := row(del, "", "delete", nil, func(r *httpapi.Request) (any, error) {
		return nil, imageFault(f.deps.Images.Delete(r.Context(), r.Creds, r.Param("id")))
	})
	unset := row(del, "/metadata/{key}", "metadata.delete", nil, f.deleteImageMeta)
	gone.Max, gone.Status, unset.Status = v(35), noContent, noContent
	return []httpapi.Route{gone,
		row(post, "/metadata", "metadata.merge", whole, f.setImageMetadata(false)), row(put, "/metadata", "metadata.replace", whole, f.setImageMetadata(true)),
		row(put, "/metadata/{key}", "metadata.set", always(wrap("meta", sMeta)), f.setImageMeta), unset,
	}
}

// imageFault hides what the image service has of its own: an image that is not there, or not an id, is 404.
func imageFault(err error) error {
	if k := fault.KindOf(err); err != nil && (k == fault.KindNotFound || k == fault.KindInvalid) {
		return fault.NotFound("Image not found.").WithCause(err)
	}
	return err
}

// editImage changes an image's properties within the project's limit of metadata items.
func (f *face) editImage(r *httpapi.Request, edit func(map[string]string) (map[string]string, error)) (map[string]string, error) {
	var limit int64
	err := f.read(r, func(tx *db.Tx) error {
		l, err := f.deps.Quotas.Limits(r.Context(), tx, r.Creds.ProjectID, []string{"metadata_items"})
		limit = l["metadata_items"]
		return err
	})
	if err != nil {
		return nil, err
	}
	var refused error
	now, err := f.deps.Images.Update(r.Context(), r.Creds, r.Param("id"), func(i *image.Image) error {
		refused = nil
		next, err := edit(orNothing(maps.Clone(i.Properties)))
		if err == nil && limit != quota.Unlimited && int64(len(next)) > limit {
			err = fault.Quota("Image metadata limit exceeded: at most %d items", limit)
		}
		if refused = err; err == nil {
			i.Properties = next
		}
		return err
	})
	if refused != nil {
		return nil, refused
	}
	return orNothing(now.Properties), imageFault(err)
}

// ownImageKeys are names that the image service keeps for itself.
var ownImageKeys = []string{"id", "owner", "status", "visibility", "checksum", "size", "virtual_size", "created_at", "updated_at", "deleted", "deleted_at", "location", "is_public", "protected",
	"min_disk", "min_ram", "name", "tags", "schema", "self", "file", "disk_format", "container_format"}

func allowedKeys(given map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(ownImageKeys, k) {
			return fault.Forbidden("Attribute '%s' is reserved.", k)
		}
	}
	return nil
}

func (f *face) setImageMetadata(replace bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		var b struct {
			Metadata map[string]string `json:"metadata"`
		}
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		if err := allowedKeys(b.Metadata); err != nil {
			return nil, err
		}
		now, err := f.editImage(r, func(m map[string]string) (map[string]string, error) {
			if replace {
				clear(m)
			}
			maps.Copy(m, b.Metadata)
			return m, nil
		})
		return obj{"metadata": now}, err
	}
}

func (f *face) setImageMeta(r *httpapi.Request) (any, error) {
	var b struct {
		Meta map[string]string `json:"meta"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	key := r.Param("key")
	value, ok := b.Meta[key]
	if !ok || len(b.Meta) != 1 {
		return nil, fault.Invalid("meta", "Request body and URI mismatch")
	}
	if err := allowedKeys(b.Meta); err != nil {
		return nil, err
	}
	_, err := f.editImage(r, func(m map[string]string) (map[string]string, error) {
		m[key] = value
		return m, nil
	})
	return obj{"meta": b.Meta}, err
}

func (f *face) deleteImageMeta(r *httpapi.Request) (any, error) {
	key := r.Param("key")
	_, err := f.editImage(r, func(m map[string]string) (map[string]string, error) {
		if _, ok := m[key]; !ok {
			return nil, fault.NotFound("Invalid metadata key")
		}
		delete(m, key)
		return m, nil
	})
	return nil, err
}
