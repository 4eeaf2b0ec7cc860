package volume

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// The attachment verbs of Cinder's own API: bookkeeping for those who attach volumes by other means than compute. What compute attached, only
// compute detaches.

// byCompute refuses to touch an attachment that a server relies on.
func byCompute(a *Attachment) error {
	if a != nil && a.Owner == ownerCompute {
		return fault.Conflict("Attachment %s belongs to server %s: detach volume %s through the compute API (os-volume_attachments).", a.ID, a.ServerID, a.VolumeID)
	}
	return nil
}

// act runs one step of the status machine on a volume: load, look, change.
func (s *Service) act(ctx context.Context, by By, id string, fn func(tx *db.Tx, v *Volume, a *Attachment) error) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		v, err := visible(ctx, tx, by, id)
		if err != nil {
			return err
		}
		a, err := attachmentOf(ctx, tx, id)
		if err != nil {
			return err
		}
		return fn(tx, v, a)
	})
}

// ReserveAction is os-reserve: available → attaching.
func (s *Service) ReserveAction(ctx context.Context, by By, id string) error {
	return s.act(ctx, by, id, func(tx *db.Tx, v *Volume, _ *Attachment) error {
		if v.Status != Available {
			return wrongStatus(v, "reserve", Available)
		}
		return move(ctx, tx, v, Attaching)
	})
}

// UnreserveAction is os-unreserve: attaching → available; from any other status it does nothing.
func (s *Service) UnreserveAction(ctx context.Context, by By, id string) error {
	return s.act(ctx, by, id, func(tx *db.Tx, v *Volume, a *Attachment) error {
		if err := byCompute(a); err != nil {
			return err
		}
		if v.Status != Attaching {
			return nil
		}
		return move(ctx, tx, v, Available)
	})
}

// AttachAction is os-attach: attaching or available → in-use.
func (s *Service) AttachAction(ctx context.Context, by By, id, serverID, hostName, device, mode string) error {
	return s.act(ctx, by, id, func(tx *db.Tx, v *Volume, a *Attachment) error {
		if err := byCompute(a); err != nil {
			return err
		}
		if !v.Status.in(Attaching, Available) {
			return wrongStatus(v, "attach", Available, Attaching)
		}
		if mode == "rw" && v.ReadOnly {
			return fault.Invalid("mode", "Invalid volume: volume %s is read-only, it cannot be attached in mode rw.", v.ID)
		}
		if err := move(ctx, tx, v, InUse); err != nil {
			return err
		}
		_, err := s.addAttachment(ctx, tx, v, Attachment{ServerID: serverID, Host: hostName, Device: device, Mode: mode, Status: "attached", Owner: ownerAPI, Attached: db.Now()})
		return err
	})
}

// BeginDetachAction is os-begin_detaching: in-use → detaching.
func (s *Service) BeginDetachAction(ctx context.Context, by By, id string) error {
	return s.act(ctx, by, id, func(tx *db.Tx, v *Volume, a *Attachment) error {
		if err := byCompute(a); err != nil {
			return err
		}
		if v.Status != InUse {
			return wrongStatus(v, "detach", InUse)
		}
		return move(ctx, tx, v, Detaching)
	})
}

// RollDetachAction is os-roll_detaching: detaching → in-use.
func (s *Service) RollDetachAction(ctx context.Context, by By, id string) error {
	return s.act(ctx, by, id, func(tx *db.Tx, v *Volume, a *Attachment) error {
		if err := byCompute(a); err != nil {
			return err
		}
		if v.Status != Detaching {
			return nil
		}
		return move(ctx, tx, v, InUse)
	})
}

// DetachAction is os-detach and os-force_detach: the attachment goes, the volume is available. attachmentID may be empty.
func (s *Service) DetachAction(ctx context.Context, by By, id, attachmentID string) error {
	return s.act(ctx, by, id, func(tx *db.Tx, v *Volume, a *Attachment) error {
		if err := byCompute(a); err != nil {
			return err
		}
		if a == nil || attachmentID != "" && a.ID != attachmentID {
			if attachmentID == "" && v.Status.in(InUse, Detaching) { // a status set by hand
				return move(ctx, tx, v, Available)
			}
			return fault.Invalid("attachment_id", "Invalid volume: Volume %s is not attached as asked.", v.ID)
		}
		return s.Detach(ctx, tx, v.ID, a.ID)
	})
}

// AttachmentParams are the body of POST /attachments.
type AttachmentParams struct {
	VolumeID, ServerID, Mode string
	Connector                map[string]string // nil: only reserve
}

// CreateAttachment reserves a volume, and with a connector begins to attach it.
func (s *Service) CreateAttachment(ctx context.Context, by By, p AttachmentParams) (*Attachment, *Volume, error) {
	var a *Attachment
	var v *Volume
	err := s.act(ctx, by, p.VolumeID, func(tx *db.Tx, found *Volume, has *Attachment) error {
		v = found
		if v.Status != Available || has != nil || !v.Made {
			return wrongStatus(v, "reserve", Available)
		}
		status, to := "reserved", Reserved
		if p.Connector != nil {
			status, to = "attaching", Attaching
		}
		if err := move(ctx, tx, v, to); err != nil {
			return err
		}
		id, err := s.addAttachment(ctx, tx, v, Attachment{ServerID: p.ServerID, Mode: p.Mode, Host: p.Connector["host"], Device: p.Connector["mountpoint"], Status: status, Owner: ownerAPI,
			Connector: db.AsJSON(p.Connector)})
		if err != nil {
			return err
		}
		a, err = getAttachment(ctx, tx, id)
		return err
	})
	return a, v, err
}

// Attachment is one attachment with its volume, as the caller may see it.
func (s *Service) Attachment(ctx context.Context, by By, id string) (a *Attachment, v *Volume, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		a, v, err = visibleAttachment(ctx, tx, by, id)
		return err
	})
	return a, v, err
}

func visibleAttachment(ctx context.Context, tx *db.Tx, by By, id string) (*Attachment, *Volume, error) {
	a, err := getAttachment(ctx, tx, id)
	if err != nil {
		return nil, nil, err
	}
	if !visibleTo(by.Creds, a.ProjectID) {
		return nil, nil, fault.NotFound("Volume attachment could not be found with filter: attachment_id = %s.", id)
	}
	v, err := getVolume(ctx, tx, a.VolumeID)
	return a, v, err
}

// ConnectAttachment is PUT /attachments/{id}: a reserved attachment gets its connector.
func (s *Service) ConnectAttachment(ctx context.Context, by By, id string, connector map[string]string) (a *Attachment, v *Volume, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if a, v, err = visibleAttachment(ctx, tx, by, id); err != nil {
			return err
		}
		if err := byCompute(a); err != nil {
			return err
		}
		if v.Status == Reserved {
			if err := move(ctx, tx, v, Attaching); err != nil {
				return err
			}
		}
		if a.Status == "reserved" {
			a.Status = "attaching"
		}
		a.Connector, a.Host, a.Device = db.AsJSON(nonNil(connector)), connector["host"], connector["mountpoint"]
		_, err = tx.Exec(ctx, `UPDATE volume_attachments SET status = ?, connector = ?, host = ?, device = ? WHERE id = ?`, a.Status, a.Connector, a.Host, a.Device, id)
		return err
	})
	return a, v, err
}

// CompleteAttachment is os-complete: attached, and the volume in-use.
func (s *Service) CompleteAttachment(ctx context.Context, by By, id string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		a, v, err := visibleAttachment(ctx, tx, by, id)
		if err != nil {
			return err
		}
		if err := byCompute(a); err != nil {
			return err
		}
		if !v.Status.in(Attaching, Reserved) {
			return wrongStatus(v, "complete an attachment", Attaching, Reserved)
		}
		return s.Attached(ctx, tx, v.ID, a.ID, a.Host, a.Device)
	})
}

// DeleteAttachment removes an attachment.
func (s *Service) DeleteAttachment(ctx context.Context, by By, id string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		a, _, err := visibleAttachment(ctx, tx, by, id)
		if err != nil {
			return err
		}
		if err := byCompute(a); err != nil {
			return err
		}
		return s.Detach(ctx, tx, a.VolumeID, a.ID)
	})
}

// AttachmentColumns are what attachments may be filtered by.
var AttachmentColumns = map[string]string{"id": "id", "volume_id": "volume_id", "instance_id": "server_id", "instance_uuid": "server_id", "status": "status",
	"attach_status": "status", "attach_mode": "mode", "created_at": "created_at"}

// Attachments lists those that the caller may see.
func (s *Service) Attachments(ctx context.Context, by By, f Filter) (out []Attachment, total int, err error) {
	order, err := f.order("", AttachmentColumns)
	if err != nil {
		return nil, 0, err
	}
	where, args := f.where(by, "", AttachmentColumns)
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		var all []Attachment
		if err := tx.Select(ctx, &all, `SELECT * FROM volume_attachments WHERE `+where+` ORDER BY `+order, args...); err != nil {
			return err
		}
		out, total, err = page(f, all, func(a *Attachment) string { return a.ID }, func(*Attachment) map[string]string { return nil })
		return err
	})
	return out, total, err
}
