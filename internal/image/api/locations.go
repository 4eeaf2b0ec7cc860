package api

import (
	"encoding/json"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

// location is one element of an image's locations as clients write it.
type location struct {
	URL        string          `json:"url"`
	Metadata   json.RawMessage `json:"metadata"`
	Validation *validation     `json:"validation_data"`
}

type validation struct {
	MD5   string `json:"checksum"`
	Algo  string `json:"os_hash_algo"`
	Value string `json:"os_hash_value"`
}

func (v *validation) data() image.Validation {
	if v == nil {
		return image.Validation{}
	}
	return image.Validation{MD5: v.MD5, Algo: v.Algo, Value: v.Value}
}

// readLocation reads one location of a document: an object with a url and a metadata object, and nothing unknown.
func readLocation(value any) (location, error) {
	var out location
	obj, ok := value.(map[string]any)
	if !ok {
		return out, fault.Invalid("locations", "Invalid location: it must be an object with url and metadata")
	}
	for k := range obj {
		if k != "url" && k != "metadata" && k != "validation_data" {
			return out, fault.Invalid("locations", "Invalid location: it has an unknown member %q", k)
		}
	}
	b, err := json.Marshal(obj)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil || out.URL == "" || out.Metadata == nil {
		return out, fault.Invalid("locations", "Invalid location: it must be an object with url and metadata")
	}
	return out, nil
}

func (s *server) locationViews(img image.Image) []object {
	out := []object{}
	for _, l := range img.Locations {
		o := object{"url": s.svc.LocationURL(img.ID, l), "metadata": l.Metadata}
		if l.Store != "" {
			o["metadata"] = object{"store": l.Store}
		}
		out = append(out, o)
	}
	return out
}

// patchLocations runs a patch that is about locations. It asks servers elsewhere about them, which no transaction may wait for: so such a patch has one operation and
// nothing beside it.
func (s *server) patchLocations(r *httpapi.Request, img image.Image, ops []operation) (image.Image, error) {
	if !s.showLocations {
		return img, fault.Forbidden("It's not allowed to update locations if locations are invisible.")
	}
	if len(ops) != 1 {
		return img, fault.Invalid("locations", "An operation on locations must be the only one of its request.")
	}
	o := ops[0]
	rule := "set_image_location"
	if o.op == "remove" {
		rule = "delete_image_location"
	}
	if err := r.Authorize(rule, target(img)); err != nil {
		return img, err
	}
	position := -1
	if o.sub != "" && o.sub != "-" {
		n, err := strconv.Atoi(o.sub)
		if err != nil || n < 0 {
			return img, fault.Invalid("path", "Invalid position of a location: %q", o.sub)
		}
		position = n
	}
	switch {
	case o.op == "remove" && position < 0:
		return img, fault.Forbidden("Property locations may not be removed.")
	case o.op == "remove":
		return s.svc.Unlocate(r.Context(), r.Creds, img.ID, position)
	case o.sub != "" && o.op == "replace":
		return img, fault.Invalid("path", "Locations are replaced as a whole list.")
	case o.sub != "":
		l, err := readLocation(o.value)
		if err != nil {
			return img, err
		}
		return s.svc.Locate(r.Context(), r.Creds, img.ID, image.Location{URL: l.URL, Metadata: l.Metadata}, l.Validation.data(), position)
	}
	return s.replaceLocations(r, img, o.value)
}

func (s *server) replaceLocations(r *httpapi.Request, img image.Image, value any) (image.Image, error) {
	list, ok := value.([]any)
	if !ok {
		return img, wrongType("locations", "array")
	}
	var all []location
	for _, v := range list {
		l, err := readLocation(v)
		if err != nil {
			return img, err
		}
		all = append(all, l)
	}
	if len(img.Locations) == 0 { // an image without bytes gets its first list
		var err error
		for _, l := range all {
			if img, err = s.svc.Locate(r.Context(), r.Creds, img.ID, image.Location{URL: l.URL, Metadata: l.Metadata}, l.Validation.data(), -1); err != nil {
				return img, err
			}
		}
		return img, nil
	}
	urls, metadata := make([]string, len(all)), make([]json.RawMessage, len(all))
	for k, l := range all {
		urls[k], metadata[k] = l.URL, l.Metadata
	}
	return s.svc.Relocate(r.Context(), r.Creds, img.ID, urls, metadata)
}

// addLocation is POST /images/{id}/locations (2.18).
func (s *server) addLocation(r *httpapi.Request) (any, error) {
	var body location
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if strings.TrimSpace(body.URL) == "" {
		return nil, fault.Invalid("url", "The url of a location is required.")
	}
	img, err := s.visible(r, "add_image_location")
	if err != nil {
		return nil, err
	}
	return nil2(s.svc.AddLocation(r.Context(), r.Creds, img.ID, body.URL, body.Validation.data(), r.ID))
}

// locationList is GET /images/{id}/locations (2.18), for services.
func (s *server) locationList(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "fetch_image_location")
	if err != nil {
		return nil, err
	}
	return s.locationViews(img), nil
}
