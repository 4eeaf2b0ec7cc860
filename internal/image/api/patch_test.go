package api

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/fault"
	"nephos/internal/image"
)

// Whatever a patch says: it never panics, never touches what is read-only, fails only with the kinds Glance has, and its effect on the
// properties is that of the operations done one by one on a map.
func TestPatchProperty(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c", "name", "min_disk", "status", "id", "tags", "deleted", "os_glance_x", "visibility", "protected"}
	rapid.Check(t, func(t *rapid.T) {
		img := image.Image{ID: "i", Status: image.Active, HashValue: "s", Owner: "o", Visibility: image.Shared, Properties: map[string]string{"a": "1"}}
		model := map[string]string{"a": "1"}
		var doc []any
		ok := true
		for range rapid.IntRange(0, 8).Draw(t, "ops") {
			op := rapid.SampledFrom(patchOps).Draw(t, "op")
			name := rapid.SampledFrom(names).Draw(t, "name")
			value := rapid.SampledFrom([]any{"x", "", json.Number("3"), true, nil, []any{"t"}, map[string]any{}}).Draw(t, "value")
			doc = append(doc, map[string]any{"op": op, "path": "/" + name, "value": value})
			text, isText := value.(string)
			if _, there := model[name]; len(name) == 1 {
				switch {
				case op != "add" && !there, op != "remove" && !isText:
					ok = false
				case op == "remove" && ok:
					delete(model, name)
				case ok:
					model[name] = text
				}
				continue
			}
			switch {
			case op == "remove", name == "status", name == "id", name == "deleted", name == "os_glance_x":
				ok = false
			case name == "name" && !isText && value != nil, name == "visibility" && text == "":
				ok = false
			case name == "min_disk" && value != json.Number("3"), name == "protected" && value != true:
				ok = false
			case name == "tags":
				if _, list := value.([]any); !list {
					ok = false
				}
			}
		}
		ops, err := parseV21(any(append([]any{}, doc...)))
		require.NoError(t, err)
		was := img
		was.Properties = maps.Clone(img.Properties)
		err = apply(&img, ops)
		require.Equal(t, ok, err == nil, "%v: %v", doc, err)
		require.Equal(t, []any{was.ID, was.Status, was.HashValue, was.Owner}, []any{img.ID, img.Status, img.HashValue, img.Owner})
		if err == nil {
			require.Equal(t, model, img.Properties)
			return
		}
		require.Contains(t, []fault.Kind{fault.KindInvalid, fault.KindForbidden, fault.KindConflict}, fault.KindOf(err))
	})
}
