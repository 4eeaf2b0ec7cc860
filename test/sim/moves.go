package sim

import (
	"fmt"

	"nephos/internal/compute"
	"nephos/internal/db"
)

// move carries out the acts in which bytes go from machine to machine.
func (x *client) move(s *thing) (known bool, err error) {
	switch x.a.Kind {
	case "resize":
		return true, x.compute.Resize(x.ctx, x.by, s.id, flavors[x.a.B%3], nil)
	case "migrate":
		return true, x.compute.Migrate(x.ctx, x.by, s.id, x.wanted())
	case "confirm":
		return true, x.compute.Confirm(x.ctx, x.by, s.id)
	case "revert":
		return true, x.compute.Revert(x.ctx, x.by, s.id)
	case "live-migrate":
		return true, x.compute.LiveMigrate(x.ctx, x.by, s.id, compute.LiveRequest{Host: x.wanted()})
	case "live-abort", "live-force":
		id, err := x.openMigration(s)
		if err != nil || id == "" {
			return true, err
		}
		if x.a.Kind == "live-force" {
			return true, x.compute.ForceMigration(x.ctx, x.by, s.id, id)
		}
		return true, x.compute.AbortMigration(x.ctx, x.by, s.id, id, true)
	case "shelve":
		return true, x.compute.Shelve(x.ctx, x.by, s.id)
	case "offload":
		return true, x.compute.ShelveOffload(x.ctx, x.by, s.id)
	case "unshelve":
		return true, x.compute.Unshelve(x.ctx, x.by, s.id, compute.UnshelveRequest{})
	case "image", "backup":
		req := compute.ImageRequest{Name: fmt.Sprintf("a%d", x.a.No)}
		if x.a.Kind == "backup" {
			req.Backup = &compute.Backup{Type: "daily", Keep: 1 + x.a.B%2}
		}
		id, err := x.compute.CreateImage(x.ctx, x.by, s.id, req)
		if err == nil {
			x.w.add(&x.w.images, &thing{id: id, label: req.Name})
		}
		return true, err
	}
	return false, nil
}

// wanted is a host that a client asks for, or none.
func (x *client) wanted() string {
	if x.a.B%3 > 0 {
		return ""
	}
	return fmt.Sprintf("h%d", 1+x.a.B/3%hostCount)
}

// openMigration is the migration that a server is in, "" for none.
func (x *client) openMigration(s *thing) (id string, err error) {
	err = x.w.db.Read(x.ctx, func(tx *db.Tx) error {
		all, err := compute.ListMigrations(x.ctx, tx, compute.MigrationFilter{Server: s.id, Open: true})
		if err == nil && len(all) > 0 {
			id = all[0].UUID
		}
		return err
	})
	return id, err
}
