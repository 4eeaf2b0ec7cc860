package volume

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// The verbs that the compute room calls, most of them inside its own transactions: a server's volumes change together with the server.

// NewForServer is a volume that a server's block device mapping asks to be made.
type NewForServer struct {
	ProjectID, UserID, ServerID string
	SizeGiB                     int
	ImageID, SnapshotID         string // at most one; none: an empty volume
	Type, Zone                  string
}

// Reservation asks for a volume for a server.
type Reservation struct {
	VolumeID, ServerID, ProjectID string
	Creating                      bool // it was written by CreateForServer in this transaction and has no bytes yet
}

// Get is a volume, whoever's.
func (s *Service) Get(ctx context.Context, tx *db.Tx, id string) (Volume, error) {
	v, err := getVolume(ctx, tx, id)
	if err != nil {
		return Volume{}, err
	}
	return *v, nil
}

// Snapshot is a snapshot, whoever's.
func (s *Service) Snapshot(ctx context.Context, tx *db.Tx, id string) (Snapshot, error) {
	sn, err := getSnapshot(ctx, tx, id)
	if err != nil {
		return Snapshot{}, err
	}
	return *sn, nil
}

// CreateForServer writes the record and takes the quota of a volume whose bytes the server's build makes with Provision. No workflow is begun:
// the server's owns it. Who may use the image or snapshot is the caller's to check.
func (s *Service) CreateForServer(ctx context.Context, tx *db.Tx, n NewForServer) (Volume, error) {
	v := &Volume{ID: uuid.NewString(), ProjectID: n.ProjectID, UserID: n.UserID, SizeGiB: n.SizeGiB, Status: Creating, Zone: n.Zone, ImageID: n.ImageID,
		SnapshotID: n.SnapshotID, Bootable: n.ImageID != "", Epoch: 1, Created: db.Now()}
	v.Metadata, v.ImageMetadata = db.AsJSON(map[string]string{}), db.AsJSON(map[string]string{})
	if n.ImageID != "" {
		v.ImageMetadata = db.AsJSON(map[string]string{"image_id": n.ImageID})
	}
	if n.SnapshotID != "" {
		if _, err := s.fromSource(ctx, tx, By{}, v); err != nil {
			return Volume{}, err
		}
		v.Host = "" // it is the build that chooses, and the compute room ties it to the snapshot's host
		if n.Type == "" {
			n.Type = v.TypeID
		}
	}
	if v.SizeGiB <= 0 || v.SizeGiB > MaxSizeGiB {
		return Volume{}, fault.Invalid("volume_size", "a volume of %d GiB is outside 1 to %d", v.SizeGiB, MaxSizeGiB)
	}
	if err := s.finish(ctx, tx, By{}, v, n.Type); err != nil {
		return Volume{}, err
	}
	return *v, nil
}

// Provision makes the bytes of a CreateForServer volume on host; done again it finds them. A host that gives no answer is asked again
// until ctx ends. A failure leaves what Unprovision takes away.
func (s *Service) Provision(ctx context.Context, volumeID, host string) error {
	v, err := s.settleOn(ctx, volumeID, host)
	if err != nil || v.Made {
		return err
	}
	task := hostapi.VolumeTask{VolumeID: v.ID, SizeGiB: v.SizeGiB, FromSnapshot: v.SnapshotID}
	if v.ImageID != "" {
		spec, err := s.Images.Spec(ctx, v.ImageID)
		if err != nil {
			return err
		}
		task.Image = &spec
	}
	res, err := s.insist(ctx, host, hostapi.Command{ID: commandID("provision", v.ID, int(v.Epoch)), Subject: v.ID, Epoch: v.Epoch, Op: hostapi.OpVolumeCreate, Task: &task})
	if err != nil {
		return err
	}
	if res.Volume == nil {
		return fault.Conflict("host %s made volume %s but did not say where", host, v.ID)
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		a, err := attachmentOf(ctx, tx, v.ID)
		if err != nil {
			return err
		}
		to := Available
		if a != nil {
			to = Reserved
		}
		return markMade(ctx, tx, v.ID, v.Epoch, to, res.Volume.Path, res.Volume.Format)
	})
}

// settleOn writes the host into the row; a new host means a new epoch, the same host the same, so that a repeated command is known.
func (s *Service) settleOn(ctx context.Context, id, host string) (*Volume, error) {
	var v *Volume
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if v, err = getVolume(ctx, tx, id); err != nil {
			return err
		}
		switch {
		case v.Host == host:
			return nil
		case v.Host != "" && v.Made:
			return fault.Conflict("volume %s lies on host %s already", id, v.Host)
		}
		if err := raise(ctx, tx, v, v.Status); err != nil {
			return err
		}
		v.Host, v.Made = host, false
		if _, err := tx.Exec(ctx, `DELETE FROM volume_remains WHERE volume_id = ? AND host = ?`, id, host); err != nil { // its file there is wanted again
			return err
		}
		return place(ctx, tx, id, v.Epoch, host)
	})
	return v, err
}

// Unprovision takes the bytes away and forgets the host, so that another host can be tried. A host that is down is not waited for, which would keep the server from its
// next host: what it has is noted, and erased when it is back. The row says that there are no bytes before they go, and only while the volume is the server's: when a later request has
// taken the server's volumes over, nothing is done.
func (s *Service) Unprovision(ctx context.Context, volumeID string) error {
	var v *Volume
	mine := false
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		mine = false
		if v, err = getVolume(ctx, tx, volumeID); err != nil || v.Host == "" || !v.Status.in(Creating, Reserved) {
			return err
		}
		a, err := attachmentOf(ctx, tx, volumeID)
		if err != nil || a == nil {
			return err
		}
		if err := raise(ctx, tx, v, Creating); err != nil {
			return err
		}
		mine = true
		_, err = tx.Exec(ctx, `UPDATE volumes SET made = FALSE, path = '', format = '' WHERE id = ?`, v.ID)
		return err
	})
	if fault.IsNotFound(err) || err == nil && !mine {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.insist(ctx, v.Host, hostapi.Command{ID: commandID("unprovision", v.ID, int(v.Epoch)), Subject: v.ID, Epoch: v.Epoch, Op: hostapi.OpVolumeDelete,
		Task: &hostapi.VolumeTask{VolumeID: v.ID}})
	var down *hostDown
	if err = absentIsWell(err); err != nil && !errors.As(err, &down) {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE volumes SET host = '', epoch = epoch + 1, updated_at = ? WHERE id = ? AND epoch = ? AND status = ?`, db.Now(), v.ID, v.Epoch, Creating)
		if err == nil && down != nil {
			err = leave(ctx, tx, remains{v.ID, v.Host, v.Epoch})
		}
		return err
	})
}

// Reimage gives a volume the bytes of an image instead of its own, whole or not at all; its size stays. No guest may hold it. key is the same for every
// repetition. The record names the image afterwards.
func (s *Service) Reimage(ctx context.Context, volumeID string, image hostapi.ImageSpec, key string) error {
	var v *Volume
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		v, err = getVolume(ctx, tx, volumeID)
		return err
	})
	if err != nil {
		return err
	}
	_, err = s.insist(ctx, v.Host, hostapi.Command{ID: commandID("reimage", key, int(v.Epoch)), Subject: v.ID, Epoch: v.Epoch, Op: hostapi.OpVolumeReimage,
		Task: &hostapi.VolumeTask{VolumeID: v.ID, SizeGiB: v.SizeGiB, Image: &image}})
	if err != nil {
		return err
	}
	meta := map[string]string{"image_id": image.ID}
	if img, err := s.Images.Get(ctx, nil, image.ID); err == nil { // deleted meanwhile: then the id alone is kept
		meta = imageMetadata(img)
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE volumes SET image_id = ?, image_metadata = ?, bootable = TRUE, updated_at = ? WHERE id = ?`, image.ID, db.AsJSON(meta), db.Now(), volumeID)
		return err
	})
}

// hostDown says that a host gives no sign of life.
type hostDown struct{ host string }

func (e *hostDown) Error() string { return "host " + e.host + " is down" }

// insist sends cmd until an answer comes, the host is known to be down, or ctx ends. Inside workflows the engine does that; Provision and
// Unprovision run in the compute room's steps.
func (s *Service) insist(ctx context.Context, host string, cmd hostapi.Command) (hostapi.Result, error) {
	pause := 50 * time.Millisecond
	for {
		res, err := s.command(ctx, host, cmd)
		switch {
		case err == nil:
			return res, nil
		case ctx.Err() != nil:
			return res, ctx.Err()
		case fault.KindOf(err) != fault.KindUnavailable:
			return res, err
		case !s.up(host):
			return res, &hostDown{host}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return res, ctx.Err()
		}
		pause = min(2*pause, 2*time.Second)
	}
}

func (s *Service) up(host string) bool {
	for _, h := range s.Hosts.StorageHosts() {
		if h.Name == host {
			return h.Up
		}
	}
	return false
}

// Reserve takes an available volume for a server and gives the attachment's id. KindConflict if it is not free.
func (s *Service) Reserve(ctx context.Context, tx *db.Tx, r Reservation) (string, error) {
	v, err := getVolume(ctx, tx, r.VolumeID)
	if err != nil {
		return "", err
	}
	if !r.Creating {
		if v.Status != Available || !v.Made {
			return "", fault.Conflict("Invalid volume: Volume %s status must be available to reserve, but current status is: %s.", v.ID, v.Status)
		}
		if err := move(ctx, tx, v, Reserved); err != nil {
			return "", err
		}
	}
	return s.addAttachment(ctx, tx, v, Attachment{ServerID: r.ServerID, Status: "reserved", Owner: ownerCompute})
}

func (s *Service) addAttachment(ctx context.Context, tx *db.Tx, v *Volume, a Attachment) (string, error) {
	a.ID, a.VolumeID, a.ProjectID, a.Created = uuid.NewString(), v.ID, v.ProjectID, db.Now()
	a.Connector = db.AsJSON(nonNil(a.Connector.V))
	if a.Mode == "" {
		a.Mode = "rw"
		if v.ReadOnly {
			a.Mode = "ro"
		}
	}
	if err := tx.Insert(ctx, "volume_attachments", a); err != nil {
		if db.IsUnique(err) {
			return "", fault.Conflict("Invalid volume: Volume %s is attached or reserved already.", v.ID).WithCause(err)
		}
		return "", err
	}
	return a.ID, nil
}

// Attached says that the server has the volume now.
func (s *Service) Attached(ctx context.Context, tx *db.Tx, volumeID, attachmentID, host, device string) error {
	n, err := tx.Exec(ctx, `UPDATE volume_attachments SET status = 'attached', host = ?, device = ?, attached_at = ? WHERE id = ? AND volume_id = ?`, host, device, db.Now(), attachmentID, volumeID)
	if err != nil {
		return err
	}
	if n != 1 {
		return fault.Conflict("attachment %s of volume %s is gone", attachmentID, volumeID)
	}
	_, err = tx.Exec(ctx, `UPDATE volumes SET status = ?, updated_at = ? WHERE id = ? AND status IN (?)`, InUse, db.Now(), volumeID, []Status{Reserved, Attaching, Available, Detaching})
	return err
}

// BeginDetach moves in-use to detaching. KindConflict from any other status.
func (s *Service) BeginDetach(ctx context.Context, tx *db.Tx, volumeID string) error {
	v, err := getVolume(ctx, tx, volumeID)
	if err != nil {
		return err
	}
	if v.Status != InUse {
		return fault.Conflict("Invalid volume: Volume %s status must be in-use to detach, but current status is: %s.", v.ID, v.Status)
	}
	return move(ctx, tx, v, Detaching)
}

// RollDetach moves detaching back to in-use; from any other status it does nothing.
func (s *Service) RollDetach(ctx context.Context, tx *db.Tx, volumeID string) error {
	_, err := tx.Exec(ctx, `UPDATE volumes SET status = ?, updated_at = ? WHERE id = ? AND status = ?`, InUse, db.Now(), volumeID, Detaching)
	return err
}

// Detach removes the attachment whatever its state. The volume becomes available, or an error if it never got bytes. No error when the
// attachment is gone.
func (s *Service) Detach(ctx context.Context, tx *db.Tx, volumeID, attachmentID string) error {
	n, err := tx.Exec(ctx, `DELETE FROM volume_attachments WHERE id = ? AND volume_id = ?`, attachmentID, volumeID)
	if err != nil || n == 0 {
		return err
	}
	return release(ctx, tx, volumeID)
}

// release is the status of a volume that has lost its attachment.
func release(ctx context.Context, tx *db.Tx, volumeID string) error {
	_, err := tx.Exec(ctx, `UPDATE volumes SET status = CASE WHEN made THEN 'available' ELSE 'error' END,
		fault = CASE WHEN made THEN fault ELSE 'the server that it was made for could not be built' END, updated_at = ?
		WHERE id = ? AND status IN (?)`, db.Now(), volumeID, []Status{Reserved, Attaching, InUse, Detaching, Creating})
	return err
}

// BeginDelete starts the deletion of a volume that is no longer attached: delete_on_termination. A volume with snapshots stays, as in
// Nova. No error when it is gone.
func (s *Service) BeginDelete(ctx context.Context, tx *db.Tx, volumeID string) error {
	v, err := getVolume(ctx, tx, volumeID)
	if fault.IsNotFound(err) || err == nil && v.Status == Deleting {
		return nil
	}
	if err != nil {
		return err
	}
	err = s.beginDelete(ctx, tx, By{}, v, false)
	if fault.KindOf(err) == fault.KindInvalid && err != nil {
		s.Log.Info("volume of a deleted server stays", "volume", volumeID, "why", err)
		return nil
	}
	return err
}

// Spec is what a host needs to connect the volume. KindConflict while it has no bytes.
func (s *Service) Spec(ctx context.Context, tx *db.Tx, volumeID string) (hostapi.VolumeSpec, string, error) {
	v, err := getVolume(ctx, tx, volumeID)
	if err != nil {
		return hostapi.VolumeSpec{}, "", err
	}
	if !v.Made {
		return hostapi.VolumeSpec{}, "", fault.Conflict("volume %s has no bytes yet", v.ID)
	}
	a, err := attachmentOf(ctx, tx, volumeID)
	if err != nil {
		return hostapi.VolumeSpec{}, "", err
	}
	spec := hostapi.VolumeSpec{VolumeID: v.ID, Path: v.Path, Format: v.Format, SizeGiB: v.SizeGiB, BootIndex: -1, ReadOnly: v.ReadOnly}
	if a != nil {
		spec.AttachmentID, spec.Device, spec.ReadOnly = a.ID, a.Device, a.Mode == "ro"
	}
	return spec, v.Host, nil
}
