package network

import (
	"context"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Kind names a table of resources with tags.
type Kind string

// The kinds.
const (
	KindNetwork       Kind = "networks"
	KindSubnet        Kind = "subnets"
	KindPort          Kind = "ports"
	KindRouter        Kind = "routers"
	KindFloatingIP    Kind = "floating_ips"
	KindSecurityGroup Kind = "security_groups"
)

// Neutron's limits on tags.
const (
	maxTags      = 50
	maxTagLength = 255
)

// EditTags replaces the tags of one resource by what fn makes of them. fn may run more than once.
func (s *Service) EditTags(ctx context.Context, k Kind, id string, fn func([]string) ([]string, error)) (out []string, err error) {
	err = s.write(ctx, func(tx *db.Tx) error {
		var row struct {
			Tags     db.JSON[[]string] `db:"tags"`
			Revision int64             `db:"revision_number"`
		}
		if err := tx.Get(ctx, &row, `SELECT tags, revision_number FROM `+string(k)+` WHERE id = ?`, id); err != nil {
			return fault.NotFound("Resource %s %s could not be found.", k, id).WithType("TagResourceNotFound").WithCause(err)
		}
		want, err := fn(slices.Clone(row.Tags.V))
		if err != nil {
			return err
		}
		out = []string{}
		for _, t := range want {
			if t == "" || len(t) > maxTagLength {
				return fault.Invalid("tags", "Invalid input for tags. Reason: '%s' must have 1 to %d characters.", t, maxTagLength).WithType("HTTPBadRequest")
			}
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
		if len(out) > maxTags {
			return fault.Invalid("tags", "The number of tags exceeds the maximum %d", maxTags)
		}
		slices.Sort(out)
		n, err := tx.Exec(ctx, `UPDATE `+string(k)+` SET tags = ?, revision_number = revision_number + 1, updated_at = ? WHERE id = ? AND revision_number = ?`,
			db.AsJSON(out), db.At(s.clock.Now()), id, row.Revision)
		if err == nil && n == 0 {
			return errStale
		}
		return err
	})
	return out, err
}
