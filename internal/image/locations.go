package image

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// Validation is what the giver of a location says of its bytes. Empty fields say nothing.
type Validation struct{ MD5, Algo, Value string }

// hashDigits are the lengths in hex digits of the sums that a location may be given with.
var hashDigits = map[string]int{"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}

func (v Validation) check() error {
	hexed := func(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" }
	if v.MD5 != "" && !hexed(v.MD5, 32) {
		return fault.Invalid("validation_data", "Invalid checksum in validation_data: it has 32 hex digits")
	}
	if (v.Algo == "") != (v.Value == "") {
		return fault.Invalid("validation_data", "validation_data needs os_hash_algo and os_hash_value together")
	}
	if v.Algo != "" && (hashDigits[v.Algo] == 0 || !hexed(v.Value, hashDigits[v.Algo])) {
		return fault.Invalid("validation_data", "Invalid os_hash_value in validation_data: %q is not a sum by %q", cut(v.Value), cut(v.Algo))
	}
	return nil
}

func checkMetadata(m json.RawMessage) error {
	var obj map[string]json.RawMessage
	if len(m) > MaxText || len(m) > 0 && (json.Unmarshal(m, &obj) != nil || obj == nil) {
		return fault.Invalid("metadata", "Invalid location: its metadata must be a JSON object of at most %d bytes", MaxText)
	}
	return nil
}

// Locate adds a place outside this cloud where the image's bytes lie; position -1 is the end. A queued image becomes active by its first location, with the size that
// the place's server tells and the sums that the giver tells; nothing is read. 400 for a URL that may not be read, for sums that are none, or for a location
// that is there already, 409 for a status that has no bytes or for sums that differ from those the image has, 413 for too many.
func (s *Service) Locate(ctx context.Context, creds *policy.Credentials, id string, l Location, v Validation, position int) (Image, error) {
	if err := checkMetadata(l.Metadata); err != nil {
		return Image{}, err
	}
	if err := s.web.check(l.URL); err != nil {
		return Image{}, err
	}
	size, err := s.web.size(ctx, l.URL)
	if err != nil {
		return Image{}, err
	}
	l.Store = ""
	return s.change(ctx, creds, id, func(i *Image) error {
		switch {
		case i.Status != Queued && i.Status != Active:
			return fault.Conflict("It's not allowed to add locations to an image in status %s.", i.Status)
		case len(i.Locations) >= MaxLocations:
			return fault.Quota("The limit has been exceeded on the number of allowed image locations. Attempted: %d, Maximum: %d", len(i.Locations)+1, MaxLocations)
		case slices.ContainsFunc(i.Locations, func(o Location) bool { return o.URL == l.URL }):
			return fault.Invalid("locations", "Invalid location: %s is a location of the image already", cut(l.URL))
		case position > len(i.Locations):
			return fault.Invalid("locations", "Invalid position for adding a location: %d", position)
		}
		if err := i.agree(v); err != nil {
			return err
		}
		if i.Status == Queued {
			i.Status, i.SizeBytes = Active, size
		}
		if position < 0 {
			position = len(i.Locations)
		}
		i.Locations = slices.Insert(slices.Clone(i.Locations), position, l)
		return nil
	})
}

// agree takes over what is said of the bytes of a queued image, and holds it against what an active image has.
func (i *Image) agree(v Validation) error {
	if i.Status == Queued {
		if err := v.check(); err != nil {
			return err
		}
		i.MD5, i.HashAlgo, i.HashValue = v.MD5, v.Algo, v.Value
		return nil
	}
	if v.MD5 != "" && v.MD5 != i.MD5 || v.Algo+v.Value != "" && (v.Algo != i.HashAlgo || v.Value != i.HashValue) {
		return fault.Conflict("validation_data differs from what is known of image %s", i.ID)
	}
	return nil
}

// Unlocate removes a location by its position. 403 for the last of an active image, 404 for a position that is none.
func (s *Service) Unlocate(ctx context.Context, creds *policy.Credentials, id string, position int) (Image, error) {
	var was Image
	out, err := s.change(ctx, creds, id, func(i *Image) error {
		was = i.Clone()
		switch {
		case position < 0 || position >= len(i.Locations):
			return fault.NotFound("Location %d of image %s could not be found.", position, id)
		case i.Status != Active:
			return fault.Conflict("It's not allowed to remove locations from an image in status %s.", i.Status)
		case len(i.Locations) == 1:
			return fault.Forbidden("Cannot remove last location in the image.")
		}
		i.Locations = slices.Delete(slices.Clone(i.Locations), position, position+1)
		return nil
	})
	if err != nil {
		return out, err
	}
	if n, ok := s.named(was.Locations[position].Store); ok && !n.ReadOnly {
		if err := n.Store.Remove(context.WithoutCancel(ctx), id); err != nil {
			s.log.Error("bytes of a removed location stay; collected later", "image", id, "store", n.ID, "err", err)
		}
	}
	return out, nil
}

// Relocate replaces the list of an image's locations by one with the same places, in any order, with other metadata. urls are as LocationURL gives them. 400 when the places
// differ.
func (s *Service) Relocate(ctx context.Context, creds *policy.Credentials, id string, urls []string, metadata []json.RawMessage) (Image, error) {
	for _, m := range metadata {
		if err := checkMetadata(m); err != nil {
			return Image{}, err
		}
	}
	return s.change(ctx, creds, id, func(i *Image) error {
		next := make([]Location, 0, len(urls))
		for k, u := range urls {
			at := slices.IndexFunc(i.Locations, func(l Location) bool { return s.LocationURL(id, l) == u })
			if at < 0 || slices.ContainsFunc(next, func(l Location) bool { return s.LocationURL(id, l) == u }) {
				return fault.Invalid("locations", "Invalid location: %s is not one of the image's", cut(u))
			}
			l := i.Locations[at]
			l.Metadata = bytes.Clone(metadata[k])
			next = append(next, l)
		}
		if len(next) != len(i.Locations) {
			return fault.Invalid("locations", "Replacing locations may not remove any: the image has %d", len(i.Locations))
		}
		i.Locations = next
		return nil
	})
}

// AddLocation is Glance 2.18's call: a queued image gets a location whose bytes are read once, in the background, to know their sums; it is active when that is
// done. 409 unless the image is queued.
func (s *Service) AddLocation(ctx context.Context, creds *policy.Credentials, id, url string, v Validation, requestID string) (Task, error) {
	if err := v.check(); err != nil {
		return Task{}, err
	}
	req, err := json.Marshal(struct {
		URL string `json:"loc_url"`
	}{url})
	if err != nil {
		return Task{}, err
	}
	_, err = s.changeWith(ctx, creds, id, func(_ *db.Tx, i *Image) error {
		if i.Status != Queued {
			return fault.Conflict("It's not allowed to add locations to an image in status %s: it must be queued.", i.Status)
		}
		i.HashAlgo, i.HashValue = v.Algo, v.Value
		return nil
	})
	if err != nil {
		return Task{}, err
	}
	return s.Import(ctx, creds, id, ImportParams{Method: fromLocation, URI: url, Request: req, RequestID: requestID, MustAll: true})
}
