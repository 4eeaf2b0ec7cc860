package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

// create is POST /images: attributes and properties side by side in one object.
func (s *server) create(r *httpapi.Request) (any, error) {
	doc, ok := r.Document().(map[string]any)
	if !ok {
		return nil, fault.Invalid("", "the request body must be a JSON object of image attributes")
	}
	var img image.Image
	if err := s.fillIn(r, &img, doc); err != nil {
		return nil, err
	}
	made, err := s.svc.Create(r.Context(), r.Creds, createParams(img))
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	h.Set("Location", r.HostURL()+"/v2/images/"+made.ID)
	h.Set("Openstack-Image-Import-Methods", strings.Join(image.ImportMethods, ","))
	ids := []string{}
	for _, n := range s.svc.Stores() {
		if !n.ReadOnly {
			ids = append(ids, n.ID)
		}
	}
	h.Set("Openstack-Image-Store-Ids", strings.Join(ids, ","))
	return &httpapi.Response{Header: h, Body: s.view(r, made)}, nil
}

// fillIn gives a new image the attributes of a document, with all that must be asked about them.
func (s *server) fillIn(r *httpapi.Request, img *image.Image, doc map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		if name == "id" {
			if err := setText(&img.ID, name, doc[name], false); err != nil {
				return err
			}
			if img.ID == "" {
				return fault.Invalid("id", "Invalid image id format: it is empty")
			}
			continue
		}
		if err := set(img, name, doc[name]); err != nil {
			return err
		}
	}
	for name := range img.Properties {
		if err := s.protect.may(r.Creds, opCreate, name); err != nil {
			return err
		}
	}
	return s.mayShow(r, image.Image{Owner: r.Creds.ProjectID}, img.Visibility)
}

func createParams(img image.Image) image.CreateParams {
	return image.CreateParams{ID: img.ID, Name: img.Name, Owner: img.Owner, Visibility: img.Visibility, DiskFormat: img.DiskFormat, ContainerFormat: img.ContainerFormat,
		MinDiskGiB: img.MinDiskGiB, MinRAMMiB: img.MinRAMMiB, Protected: img.Protected, Hidden: img.Hidden, Tags: img.Tags, Properties: img.Properties}
}

// mayShow asks the rule of the visibilities that reach other projects unasked.
func (s *server) mayShow(r *httpapi.Request, img image.Image, v image.Visibility) error {
	switch v {
	case image.Public:
		return r.Authorize("publicize_image", target(img))
	case image.Community:
		return r.Authorize("communitize_image", target(img))
	}
	return nil
}

// update is PATCH /images/{id}. Other media types than Glance's two are 415 and the answer names those.
func (s *server) update(r *httpapi.Request) (any, error) {
	parse, ok := patchTypes[mediaType(r)]
	if !ok {
		r.W.Header().Set("Accept-Patch", patchV21+", "+patchV20)
		return nil, fault.New(fault.KindUnsupported, "Unsupported Content-Type %q: a PATCH takes %s.", r.Header.Get("Content-Type"), patchV21)
	}
	img, err := s.visible(r, "modify_image")
	if err != nil {
		return nil, err
	}
	ops, err := parse(r.Document())
	if err != nil {
		return nil, err
	}
	if len(ops) == 0 {
		return s.view(r, img), nil
	}
	if slices.ContainsFunc(ops, func(o operation) bool { return o.name == "locations" }) {
		if img, err = s.patchLocations(r, img, ops); err != nil {
			return nil, err
		}
		return s.view(r, img), nil
	}
	out, err := s.svc.Update(r.Context(), r.Creds, img.ID, func(i *image.Image) error {
		was := i.Visibility
		if err := s.protect.mayPatch(r.Creds, i, ops); err != nil {
			return err
		}
		if err := apply(i, ops); err != nil {
			return err
		}
		if i.Visibility != was {
			return s.mayShow(r, *i, i.Visibility)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.view(r, out), nil
}

func (s *server) remove(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "delete_image")
	if err != nil {
		return nil, err
	}
	return nil, s.svc.Delete(r.Context(), r.Creds, img.ID)
}

func (s *server) deactivate(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "deactivate")
	if err != nil {
		return nil, err
	}
	return nil, s.svc.Deactivate(r.Context(), r.Creds, img.ID)
}

func (s *server) reactivate(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "reactivate")
	if err != nil {
		return nil, err
	}
	return nil, s.svc.Reactivate(r.Context(), r.Creds, img.ID)
}

func (s *server) addTag(r *httpapi.Request) (any, error) {
	return s.retag(r, func(i *image.Image, tag string) error {
		i.Tags = append(i.Tags, tag)
		return nil
	})
}

func (s *server) removeTag(r *httpapi.Request) (any, error) {
	return s.retag(r, func(i *image.Image, tag string) error {
		at := slices.Index(i.Tags, tag)
		if at < 0 {
			return fault.NotFound("The image %s has no tag %q.", i.ID, tag)
		}
		i.Tags = slices.Delete(i.Tags, at, at+1)
		return nil
	})
}

func (s *server) retag(r *httpapi.Request, fn func(*image.Image, string) error) (any, error) {
	img, err := s.visible(r, "modify_image")
	if err != nil {
		return nil, err
	}
	_, err = s.svc.Update(r.Context(), r.Creds, img.ID, func(i *image.Image) error { return fn(i, r.Param("tag")) })
	return nil, err
}
