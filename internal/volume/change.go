package volume

import (
	"context"
	"maps"
	"strconv"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/workflow"
)

func num(n int64) string { return strconv.FormatInt(n, 10) }

// Patch are the attributes of a volume or snapshot that an owner may change; nil leaves one as it is.
type Patch struct {
	Name, Description *string
	Metadata          map[string]string // replaces all, nil: kept
}

// Update changes a volume's words.
func (s *Service) Update(ctx context.Context, by By, id string, p Patch) (*Volume, error) {
	return s.edit(ctx, by, id, func(v *Volume) error {
		if p.Name != nil {
			v.Name = *p.Name
		}
		if p.Description != nil {
			v.Description = *p.Description
		}
		if p.Metadata != nil {
			v.Metadata = db.AsJSON(p.Metadata)
		}
		return nil
	})
}

// edit changes what no host needs to know.
func (s *Service) edit(ctx context.Context, by By, id string, change func(*Volume) error) (*Volume, error) {
	var v *Volume
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if err := tx.Lock(ctx, "volume:"+id); err != nil {
			return err
		}
		if v, err = visible(ctx, tx, by, id); err != nil {
			return err
		}
		if err := change(v); err != nil {
			return err
		}
		v.Updated = db.Now()
		if _, err = tx.Exec(ctx, `UPDATE volumes SET name = ?, description = ?, metadata = ?, image_metadata = ?, bootable = ?, readonly = ?, updated_at = ? WHERE id = ?`,
			v.Name, v.Description, v.Metadata, v.ImageMetadata, v.Bootable, v.ReadOnly, v.Updated, id); err != nil {
			return err
		}
		a, err := attachmentOf(ctx, tx, id)
		if a != nil {
			v.Attachments = []Attachment{*a}
		}
		return err
	})
	return v, err
}

// SetMetadata merges (or, with replace, replaces) a volume's metadata and gives what is there now.
func (s *Service) SetMetadata(ctx context.Context, by By, id string, m map[string]string, replace bool) (map[string]string, error) {
	v, err := s.edit(ctx, by, id, func(v *Volume) error {
		v.Metadata = db.AsJSON(merge(v.Metadata.V, m, replace))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return v.Metadata.V, nil
}

// DropMetadata removes one key; a missing one is KindNotFound.
func (s *Service) DropMetadata(ctx context.Context, by By, id, key string) error {
	_, err := s.edit(ctx, by, id, func(v *Volume) (err error) {
		v.Metadata.V, err = without(v.Metadata.V, key)
		return err
	})
	return err
}

// SetImageMetadata merges what the volume tells of its image.
func (s *Service) SetImageMetadata(ctx context.Context, by By, id string, m map[string]string) (map[string]string, error) {
	v, err := s.edit(ctx, by, id, func(v *Volume) error {
		v.ImageMetadata = db.AsJSON(merge(v.ImageMetadata.V, m, false))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return v.ImageMetadata.V, nil
}

// DropImageMetadata removes one key; a missing one is KindNotFound.
func (s *Service) DropImageMetadata(ctx context.Context, by By, id, key string) error {
	_, err := s.edit(ctx, by, id, func(v *Volume) (err error) {
		v.ImageMetadata.V, err = without(v.ImageMetadata.V, key)
		return err
	})
	return err
}

// SetBootable marks a volume as one that a server may boot from.
func (s *Service) SetBootable(ctx context.Context, by By, id string, bootable bool) error {
	_, err := s.edit(ctx, by, id, func(v *Volume) error { v.Bootable = bootable; return nil })
	return err
}

// SetReadOnly marks a volume so that later attachments are read-only; it must be available (Cinder's rule).
func (s *Service) SetReadOnly(ctx context.Context, by By, id string, readonly bool) error {
	_, err := s.edit(ctx, by, id, func(v *Volume) error {
		if v.Status != Available {
			return wrongStatus(v, "update readonly flag", Available)
		}
		v.ReadOnly = readonly
		return nil
	})
	return err
}

// ResetStatus sets a status by hand: an administrator's last resort. What runs on the volume is cancelled, so that it cannot overwrite
// the status later. Of attachStatus only "detached" is honoured: it drops the attachment.
func (s *Service) ResetStatus(ctx context.Context, by By, id, status, attachStatus string) error {
	if status != "" && !Status(status).in(resettable...) {
		return fault.Invalid("status", "Invalid status: '%s'", status)
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		v, err := visible(ctx, tx, by, id)
		if err != nil {
			return err
		}
		if status != "" {
			if _, err := s.Engine.Cancel(ctx, tx, id); err != nil {
				return err
			}
			if err := s.uncharge(ctx, tx, v); err != nil {
				return err
			}
			if err := raise(ctx, tx, v, Status(status)); err != nil {
				return err
			}
		}
		if attachStatus == "detached" {
			_, err = tx.Exec(ctx, `DELETE FROM volume_attachments WHERE volume_id = ? AND owner = ?`, id, ownerAPI)
		}
		return err
	})
}

// Extend begins to grow a volume. A volume in use needs inUse (microversion 3.42); its guest's QEMU is told.
func (s *Service) Extend(ctx context.Context, by By, id string, sizeGiB int, inUse bool) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		v, err := visible(ctx, tx, by, id)
		if err != nil {
			return err
		}
		allowed := []Status{Available}
		if inUse {
			allowed = append(allowed, InUse)
		}
		if !v.Status.in(allowed...) || !v.Made {
			return wrongStatus(v, "extend", allowed...)
		}
		if sizeGiB <= v.SizeGiB {
			return fault.Invalid("new_size", "Invalid input received: New size for extend must be greater than current size. (current: %d, extended: %d).", v.SizeGiB, sizeGiB)
		}
		if sizeGiB > MaxSizeGiB {
			return fault.Invalid("new_size", "Invalid input received: a volume can have at most %d GiB.", MaxSizeGiB)
		}
		if err := s.largest(ctx, tx, v.ProjectID, sizeGiB); err != nil {
			return err
		}
		if err := s.Quotas.Reserve(ctx, tx, v.ProjectID, map[string]int64{"gigabytes": int64(sizeGiB - v.SizeGiB)}); err != nil {
			return err
		}
		server, err := holder(ctx, tx, v)
		if err != nil {
			return err
		}
		st := growState{Host: v.Host, From: v.SizeGiB, To: sizeGiB, InUseBy: server, Then: v.Status}
		if err := raise(ctx, tx, v, Extending); err != nil {
			return err
		}
		st.Epoch = v.Epoch
		if _, err := tx.Exec(ctx, `UPDATE volumes SET charged_gib = ? WHERE id = ?`, sizeGiB, id); err != nil {
			return err
		}
		_, err = workflow.Begin(ctx, tx, s.Engine, s.flows.extend, by.subject(id, v.ProjectID), st, 0)
		return err
	})
}

// uncharge gives back what an extension that did not happen had taken from the quota.
func (s *Service) uncharge(ctx context.Context, tx *db.Tx, v *Volume) error {
	if v.ChargedGiB == v.SizeGiB {
		return nil
	}
	if err := s.Quotas.Release(ctx, tx, v.ProjectID, map[string]int64{"gigabytes": int64(v.ChargedGiB - v.SizeGiB)}); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE volumes SET charged_gib = size_gib WHERE id = ?`, v.ID)
	v.ChargedGiB = v.SizeGiB
	return err
}

// DeleteOptions of Delete.
type DeleteOptions struct {
	Cascade bool // with its snapshots
	Force   bool // whatever its status, even under way; never while a server has it
}

// Delete begins the deletion of a volume.
func (s *Service) Delete(ctx context.Context, by By, id string, o DeleteOptions) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "volume:"+id); err != nil {
			return err
		}
		v, err := visible(ctx, tx, by, id)
		if err != nil {
			return err
		}
		a, err := attachmentOf(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case a != nil && (a.Owner == ownerCompute || !o.Force):
			return fault.Invalid("", "Invalid volume: Volume %s is still attached, detach volume first.", id)
		case a != nil:
			if _, err := tx.Exec(ctx, `DELETE FROM volume_attachments WHERE id = ?`, a.ID); err != nil {
				return err
			}
		}
		if v.Status == Deleting && !o.Force {
			return wrongStatus(v, "delete", deletable...)
		}
		if !o.Force && !v.Status.in(deletable...) {
			return wrongStatus(v, "delete", deletable...)
		}
		return s.beginDelete(ctx, tx, by, v, o.Cascade)
	})
}

// beginDelete ends what runs on the volume and begins its deletion. Snapshots, and volumes that are being made from it, refuse it.
func (s *Service) beginDelete(ctx context.Context, tx *db.Tx, by By, v *Volume, cascade bool) error {
	snaps, err := snapshotsOf(ctx, tx, v.ID)
	if err != nil {
		return err
	}
	if len(snaps) > 0 && !cascade {
		return fault.Invalid("", "Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer (volume %s has %d snapshots).", v.ID, len(snaps))
	}
	if n, err := dependants(ctx, tx, "source_volid", v.ID); err != nil || n > 0 {
		if err == nil {
			err = fault.Invalid("", "Invalid volume: Volume %s is being copied to %d other volumes.", v.ID, n)
		}
		return err
	}
	if _, err := s.Engine.Cancel(ctx, tx, v.ID); err != nil {
		return err
	}
	if err := raise(ctx, tx, v, Deleting); err != nil {
		return err
	}
	st := removeState{Epoch: v.Epoch, Host: v.Host}
	for _, sn := range snaps {
		if err := s.enterSnapshotDelete(ctx, tx, &sn, false); err != nil {
			return err
		}
		st.Snapshots = append(st.Snapshots, snapshotRef{sn.ID, sn.Host, sn.Epoch})
	}
	_, err = workflow.Begin(ctx, tx, s.Engine, s.flows.remove, by.subject(v.ID, v.ProjectID), st, 0)
	return err
}

func merge(old, add map[string]string, replace bool) map[string]string {
	out := map[string]string{}
	if !replace {
		maps.Copy(out, old)
	}
	maps.Copy(out, add)
	return out
}

func without(m map[string]string, key string) (map[string]string, error) {
	if _, ok := m[key]; !ok {
		return nil, fault.NotFound("Metadata item %s was not found.", key)
	}
	out := maps.Clone(m)
	delete(out, key)
	return out, nil
}

// Retype gives a volume another type. All types are served by the same files, so nothing moves.
func (s *Service) Retype(ctx context.Context, by By, id, typeName string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		v, err := visible(ctx, tx, by, id)
		if err != nil {
			return err
		}
		t, err := resolveType(ctx, tx, by, typeName)
		switch {
		case fault.IsNotFound(err):
			return fault.Invalid("new_type", "Invalid volume type: %s could not be found.", typeName)
		case err != nil:
			return err
		case t.ID == v.TypeID:
			return fault.Invalid("new_type", "Invalid volume: New volume_type same as original: %s.", t.ID)
		case !v.Status.in(Available, InUse):
			return wrongStatus(v, "retype", Available, InUse)
		}
		_, err = tx.Exec(ctx, `UPDATE volumes SET type_id = ?, updated_at = ? WHERE id = ?`, t.ID, db.Now(), id)
		return err
	})
}
