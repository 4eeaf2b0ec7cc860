package volume

import (
	"context"
	"errors"
	"slices"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// How long operations may take. A copy moves at the disk's speed: an hour is several hundred GiB.
const (
	copyDeadline  = time.Hour
	quickDeadline = 10 * time.Minute
	maxHosts      = 3
)

// flows are the declared operations; they do not change after declare.
type flows struct {
	create     *workflow.Definition[makeState]
	remove     *workflow.Definition[removeState]
	extend     *workflow.Definition[growState]
	snapshot   *workflow.Definition[copyState]
	unsnapshot *workflow.Definition[copyState]
}

// makeState is what a creation remembers.
type makeState struct {
	Epoch        int64    `json:"epoch"`
	Zone         string   `json:"zone"`
	Fixed        string   `json:"fixed,omitempty"` // the source's host: no other will do
	Host         string   `json:"host"`
	Tried        []string `json:"tried,omitempty"`
	SizeGiB      int      `json:"size_gib"`
	ImageID      string   `json:"image_id,omitempty"`
	FromSnapshot string   `json:"from_snapshot,omitempty"`
	FromVolume   string   `json:"from_volume,omitempty"`
	InUseBy      string   `json:"in_use_by,omitempty"`
	Path         string   `json:"path,omitempty"` // where the host says that the bytes lie
	Format       string   `json:"format,omitempty"`
}

type snapshotRef struct {
	ID    string `json:"id"`
	Host  string `json:"host"`
	Epoch int64  `json:"epoch"`
}

type removeState struct {
	Epoch     int64         `json:"epoch"`
	Host      string        `json:"host"`
	Snapshots []snapshotRef `json:"snapshots,omitempty"`
}

type growState struct {
	Epoch   int64  `json:"epoch"`
	Host    string `json:"host"`
	From    int    `json:"from"`
	To      int    `json:"to"`
	InUseBy string `json:"in_use_by,omitempty"`
	Then    Status `json:"then"` // status to return to
}

type copyState struct {
	VolumeID string `json:"volume_id"`
	Host     string `json:"host"`
	Epoch    int64  `json:"epoch"`
	SizeGiB  int    `json:"size_gib,omitempty"`
	InUseBy  string `json:"in_use_by,omitempty"`
}

// declare is the order of every operation on one page.
func (s *Service) declare() {
	f := &s.flows
	f.create = &workflow.Definition[makeState]{Kind: "volume.create", Deadline: copyDeadline, Fail: s.createFailed, Steps: []workflow.Step[makeState]{
		{Name: "place", Commit: s.place, UndoCommit: s.unplace},
		{Name: "make", Do: s.makeBytes, Commit: s.made, Undo: s.unmakeBytes},
	}}
	f.remove = &workflow.Definition[removeState]{Kind: "volume.delete", Deadline: quickDeadline, Fail: s.removeFailed, Steps: []workflow.Step[removeState]{
		{Name: "snapshots", Do: s.removeSnapshots, Commit: s.snapshotsRemoved},
		{Name: "remove", Do: s.removeBytes, Commit: s.removed},
	}}
	f.extend = &workflow.Definition[growState]{Kind: "volume.extend", Deadline: quickDeadline, Fail: s.extendFailed, Steps: []workflow.Step[growState]{
		{Name: "extend", Do: s.growBytes, Commit: s.grown},
	}}
	f.snapshot = &workflow.Definition[copyState]{Kind: "snapshot.create", Deadline: copyDeadline, Fail: s.snapshotFailed, Steps: []workflow.Step[copyState]{
		{Name: "copy", Do: s.copyBytes, Commit: s.copied, Undo: s.uncopyBytes},
	}}
	f.unsnapshot = &workflow.Definition[copyState]{Kind: "snapshot.delete", Deadline: quickDeadline, Fail: s.unsnapshotFailed, Steps: []workflow.Step[copyState]{
		{Name: "remove", Do: s.uncopyBytes, Commit: s.snapshotRemoved},
	}}
	workflow.Register(s.Engine, f.create)
	workflow.Register(s.Engine, f.remove)
	workflow.Register(s.Engine, f.extend)
	workflow.Register(s.Engine, f.snapshot)
	workflow.Register(s.Engine, f.unsnapshot)
}

// hostFailed is a host's no, with what it means for other hosts.
type hostFailed struct {
	kind hostapi.ErrKind
	err  error
}

func (e *hostFailed) Error() string { return e.err.Error() }
func (e *hostFailed) Unwrap() error { return e.err }

// command sends cmd and turns a Result that says no into an error. No answer is fault.KindUnavailable: the engine sends the same command again.
func (s *Service) command(ctx context.Context, host string, cmd hostapi.Command) (hostapi.Result, error) {
	if dl, ok := ctx.Deadline(); ok {
		cmd.Deadline = dl
	}
	res, err := s.Client.Do(ctx, host, cmd)
	if err != nil {
		return res, err
	}
	if res.Err != "" {
		return res, &hostFailed{res.ErrKind, fault.Conflict("host %s: %s", host, res.Err)}
	}
	return res, nil
}

func journal(res hostapi.Result) []workflow.Entry {
	out := make([]workflow.Entry, 0, len(res.Steps))
	for _, st := range res.Steps {
		out = append(out, workflow.Entry{Step: st.Name, Host: res.Host, Started: db.At(st.Started), Finished: db.At(st.Finished), Err: st.Err, Detail: st.Detail})
	}
	return out
}

// place chooses the host.
func (s *Service) place(ctx context.Context, tx *db.Tx, r *workflow.Run[makeState]) error {
	st := r.State
	if st.Host = st.Fixed; st.Host == "" {
		var err error
		if st.Host, err = choose(s.Hosts.StorageHosts(), st.Zone, st.SizeGiB, st.Tried); err != nil {
			return err
		}
	}
	r.State = st
	r.OnHost(st.Host)
	return place(ctx, tx, r.Subject, st.Epoch, st.Host)
}

func place(ctx context.Context, tx *db.Tx, id string, epoch int64, host string) error {
	n, err := tx.Exec(ctx, `UPDATE volumes SET host = ?, made = FALSE, path = '', format = '' WHERE id = ? AND epoch = ?`, host, id, epoch)
	if err == nil && n != 1 {
		err = fault.Conflict("volume %s was taken over by a later request", id)
	}
	return err
}

func (s *Service) unplace(ctx context.Context, tx *db.Tx, r *workflow.Run[makeState]) error {
	st := r.State
	st.Tried, st.Host = append(slices.Clone(st.Tried), st.Host), ""
	r.State = st
	_, err := tx.Exec(ctx, `UPDATE volumes SET host = ? WHERE id = ? AND epoch = ?`, st.Fixed, r.Subject, st.Epoch)
	return err
}

// makeBytes has the host make the file. A host that cannot sends the workflow to another one.
func (s *Service) makeBytes(ctx context.Context, r *workflow.Run[makeState]) error {
	st := r.State
	r.OnHost(st.Host)
	task := hostapi.VolumeTask{VolumeID: r.Subject, SizeGiB: st.SizeGiB, FromSnapshot: st.FromSnapshot, FromVolume: st.FromVolume, InUseBy: st.InUseBy}
	if st.ImageID != "" {
		spec, err := s.Images.Spec(ctx, st.ImageID)
		if err != nil {
			return err
		}
		task.Image = &spec
	}
	res, err := s.command(ctx, st.Host, hostapi.Command{ID: r.CommandID("make"), Subject: r.Subject, Epoch: st.Epoch, Op: hostapi.OpVolumeCreate, Task: &task, Trace: r.RequestID})
	r.Record(journal(res)...)
	var no *hostFailed
	if errors.As(err, &no) && no.kind == hostapi.ErrHost && st.Fixed == "" && len(st.Tried)+1 < maxHosts {
		return &workflow.Back{To: "place", Err: err}
	}
	if err == nil && res.Volume == nil {
		err = fault.Conflict("host %s made volume %s but did not say where", st.Host, r.Subject)
	}
	if err == nil {
		st.Path, st.Format = res.Volume.Path, res.Volume.Format
		r.State = st
	}
	return err
}

func (s *Service) made(ctx context.Context, tx *db.Tx, r *workflow.Run[makeState]) error {
	return markMade(ctx, tx, r.Subject, r.State.Epoch, Available, r.State.Path, r.State.Format)
}

func markMade(ctx context.Context, tx *db.Tx, id string, epoch int64, to Status, path, format string) error {
	n, err := tx.Exec(ctx, `UPDATE volumes SET made = TRUE, path = ?, format = ?, status = ?, fault = '', updated_at = ? WHERE id = ? AND epoch = ?`,
		path, format, to, db.Now(), id, epoch)
	if err == nil && n != 1 {
		err = fault.Conflict("volume %s was taken over by a later request", id)
	}
	return err
}

func (s *Service) unmakeBytes(ctx context.Context, r *workflow.Run[makeState]) error {
	return s.erase(ctx, r.State.Host, r.Subject, r.State.Epoch, r.CommandID("unmake"), r.RequestID)
}

// erase has a host delete a volume's file; absent is well.
func (s *Service) erase(ctx context.Context, host, id string, epoch int64, command, trace string) error {
	if host == "" {
		return nil
	}
	_, err := s.command(ctx, host, hostapi.Command{ID: command, Subject: id, Epoch: epoch, Op: hostapi.OpVolumeDelete, Task: &hostapi.VolumeTask{VolumeID: id}, Trace: trace})
	return absentIsWell(err)
}

func absentIsWell(err error) error {
	var no *hostFailed
	if errors.As(err, &no) && no.kind == hostapi.ErrAbsent {
		return nil
	}
	return err
}

func (s *Service) createFailed(ctx context.Context, tx *db.Tx, r *workflow.Run[makeState], f workflow.Failure) error {
	return settle(ctx, tx, r.Subject, r.State.Epoch, Errored, fault.Message(f.Err))
}

func (s *Service) removeSnapshots(ctx context.Context, r *workflow.Run[removeState]) error {
	for _, sn := range r.State.Snapshots {
		r.OnHost(sn.Host)
		if err := s.eraseSnapshot(ctx, sn.Host, r.Subject, sn.ID, sn.Epoch, r.CommandID(sn.ID), r.RequestID); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) eraseSnapshot(ctx context.Context, host, volumeID, id string, epoch int64, command, trace string) error {
	_, err := s.command(ctx, host, hostapi.Command{ID: command, Subject: id, Epoch: epoch, Op: hostapi.OpSnapshotDelete,
		Task: &hostapi.VolumeTask{VolumeID: volumeID, SnapshotID: id}, Trace: trace})
	return absentIsWell(err)
}

func (s *Service) snapshotsRemoved(ctx context.Context, tx *db.Tx, r *workflow.Run[removeState]) error {
	for _, sn := range r.State.Snapshots {
		if err := s.forgetSnapshot(ctx, tx, sn.ID, sn.Epoch); err != nil {
			return err
		}
	}
	return nil
}

// forgetSnapshot removes the row and gives its quota back.
func (s *Service) forgetSnapshot(ctx context.Context, tx *db.Tx, id string, epoch int64) error {
	sn := new(Snapshot)
	err := tx.Get(ctx, sn, `DELETE FROM volume_snapshots WHERE id = ? AND epoch = ? RETURNING *`, id, epoch)
	if errors.Is(err, db.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Quotas.Release(ctx, tx, sn.ProjectID, snapshotCharge(sn))
}

func (s *Service) removeBytes(ctx context.Context, r *workflow.Run[removeState]) error {
	r.OnHost(r.State.Host)
	return s.erase(ctx, r.State.Host, r.Subject, r.State.Epoch, r.CommandID("remove"), r.RequestID)
}

func (s *Service) removed(ctx context.Context, tx *db.Tx, r *workflow.Run[removeState]) error {
	return s.forget(ctx, tx, r.Subject, r.State.Epoch)
}

// forget removes a volume's row and gives its quota back.
func (s *Service) forget(ctx context.Context, tx *db.Tx, id string, epoch int64) error {
	var gone struct {
		ProjectID string `db:"project_id"`
		Charged   int64  `db:"charged_gib"`
	}
	err := tx.Get(ctx, &gone, `DELETE FROM volumes WHERE id = ? AND epoch = ? RETURNING project_id, charged_gib`, id, epoch)
	if errors.Is(err, db.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Quotas.Release(ctx, tx, gone.ProjectID, map[string]int64{"volumes": 1, "gigabytes": gone.Charged})
}

func (s *Service) removeFailed(ctx context.Context, tx *db.Tx, r *workflow.Run[removeState], f workflow.Failure) error {
	why := fault.Message(f.Err)
	for _, sn := range r.State.Snapshots {
		if err := settleSnapshot(ctx, tx, sn.ID, sn.Epoch, ErrorDeleting, why); err != nil {
			return err
		}
	}
	return settle(ctx, tx, r.Subject, r.State.Epoch, ErrorDeleting, why)
}

func (s *Service) growBytes(ctx context.Context, r *workflow.Run[growState]) error {
	st := r.State
	r.OnHost(st.Host)
	res, err := s.command(ctx, st.Host, hostapi.Command{ID: r.CommandID("extend"), Subject: r.Subject, Epoch: st.Epoch, Op: hostapi.OpVolumeExtend,
		Task: &hostapi.VolumeTask{VolumeID: r.Subject, SizeGiB: st.To, InUseBy: st.InUseBy}, Trace: r.RequestID})
	r.Record(journal(res)...)
	return err
}

func (s *Service) grown(ctx context.Context, tx *db.Tx, r *workflow.Run[growState]) error {
	st := r.State
	if _, err := tx.Exec(ctx, `UPDATE volumes SET size_gib = ? WHERE id = ? AND epoch = ?`, st.To, r.Subject, st.Epoch); err != nil {
		return err
	}
	if st.Then == InUse { // whoever had it may have let go of it meanwhile
		a, err := attachmentOf(ctx, tx, r.Subject)
		if err != nil {
			return err
		}
		if a == nil {
			st.Then = Available
		}
	}
	return settle(ctx, tx, r.Subject, st.Epoch, st.Then, "")
}

// extendFailed gives the added quota back. The file may have grown: a later extend to the same size finds it so.
func (s *Service) extendFailed(ctx context.Context, tx *db.Tx, r *workflow.Run[growState], f workflow.Failure) error {
	v, err := getVolume(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	if v.Epoch != r.State.Epoch {
		return nil
	}
	if err := s.uncharge(ctx, tx, v); err != nil {
		return err
	}
	return settle(ctx, tx, r.Subject, r.State.Epoch, ErrorExtending, fault.Message(f.Err))
}

func (s *Service) copyBytes(ctx context.Context, r *workflow.Run[copyState]) error {
	st := r.State
	r.OnHost(st.Host)
	res, err := s.command(ctx, st.Host, hostapi.Command{ID: r.CommandID("copy"), Subject: r.Subject, Epoch: st.Epoch, Op: hostapi.OpSnapshotCreate,
		Task: &hostapi.VolumeTask{VolumeID: st.VolumeID, SnapshotID: r.Subject, SizeGiB: st.SizeGiB, InUseBy: st.InUseBy}, Trace: r.RequestID})
	r.Record(journal(res)...)
	return err
}

func (s *Service) copied(ctx context.Context, tx *db.Tx, r *workflow.Run[copyState]) error {
	return settleSnapshot(ctx, tx, r.Subject, r.State.Epoch, Available, "")
}

func (s *Service) uncopyBytes(ctx context.Context, r *workflow.Run[copyState]) error {
	r.OnHost(r.State.Host)
	return s.eraseSnapshot(ctx, r.State.Host, r.State.VolumeID, r.Subject, r.State.Epoch, r.CommandID("erase"), r.RequestID)
}

func (s *Service) snapshotFailed(ctx context.Context, tx *db.Tx, r *workflow.Run[copyState], f workflow.Failure) error {
	return settleSnapshot(ctx, tx, r.Subject, r.State.Epoch, Errored, fault.Message(f.Err))
}

func (s *Service) snapshotRemoved(ctx context.Context, tx *db.Tx, r *workflow.Run[copyState]) error {
	return s.forgetSnapshot(ctx, tx, r.Subject, r.State.Epoch)
}

func (s *Service) unsnapshotFailed(ctx context.Context, tx *db.Tx, r *workflow.Run[copyState], f workflow.Failure) error {
	return settleSnapshot(ctx, tx, r.Subject, r.State.Epoch, ErrorDeleting, fault.Message(f.Err))
}
