package api

import (
	"strings"
	"time"

	"nephos/internal/httpapi"
	"nephos/internal/image"
)

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// view is an image as the caller may see it: Glance's form, without the properties that are protected from the caller's eyes.
func (s *server) view(r *httpapi.Request, img image.Image) object {
	out := imageView(img)
	for name := range img.Properties {
		if s.protect.may(r.Creds, opRead, name) != nil {
			delete(out, name)
		}
	}
	if s.showLocations {
		out["locations"] = s.locationViews(img)
	}
	if s.showDirectURL && len(img.Locations) > 0 {
		out["direct_url"] = s.svc.LocationURL(img.ID, img.Locations[0])
	}
	return out
}

// imageView is an image as Glance shows it: every base attribute, null where there is no value, and the properties beside them. Size and
// sums are null until the image has data.
func imageView(img image.Image) map[string]any {
	out := make(map[string]any, 24+len(img.Properties))
	for k, v := range img.Properties {
		out[k] = v
	}
	var size, virtual, md5, algo, sum any
	if img.Status.HasData() {
		size, md5 = img.SizeBytes, orNull(img.MD5)
		if img.VirtualBytes > 0 {
			virtual = img.VirtualBytes
		}
		algo, sum = orNull(img.HashAlgo), orNull(img.HashValue)
		if stores := img.Stores(); len(stores) > 0 {
			out["stores"] = strings.Join(stores, ",")
		}
	}
	if img.Imported { // Glance's transient properties of imports; they stay when it is over
		out["os_glance_importing_to_stores"] = strings.Join(img.ImportingTo, ",")
		out["os_glance_failed_import"] = strings.Join(img.ImportFailed, ",")
	}
	if img.ImportTask != "" {
		out["os_glance_import_task"] = img.ImportTask
	}
	tags := img.Tags
	if tags == nil {
		tags = []string{}
	}
	for k, v := range map[string]any{
		"id": img.ID, "name": orNull(img.Name), "status": string(img.Status), "visibility": string(img.Visibility), "protected": img.Protected,
		"os_hidden": img.Hidden, "owner": orNull(img.Owner), "container_format": orNull(img.ContainerFormat), "disk_format": orNull(img.DiskFormat),
		"min_ram": img.MinRAMMiB, "min_disk": img.MinDiskGiB, "tags": tags, "size": size, "virtual_size": virtual, "checksum": md5,
		"os_hash_algo": algo, "os_hash_value": sum, "created_at": stamp(img.CreatedAt), "updated_at": stamp(img.UpdatedAt),
		"self": "/v2/images/" + img.ID, "file": "/v2/images/" + img.ID + "/file", "schema": "/v2/schemas/image",
	} {
		out[k] = v
	}
	return out
}

func memberView(m image.Member) map[string]any {
	return map[string]any{"member_id": m.Project, "image_id": m.ImageID, "status": string(m.Status), "created_at": stamp(m.CreatedAt),
		"updated_at": stamp(m.UpdatedAt), "schema": "/v2/schemas/member"}
}

func (s *server) show(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "")
	if err != nil {
		return nil, err
	}
	return s.view(r, img), nil
}
