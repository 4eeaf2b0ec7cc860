package compute

import (
	"context"
	"errors"
	"io"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/image"
	"nephos/internal/policy"
	"nephos/internal/workflow"
)

// The actions beyond power, and where they may start (compute.md §7). A rule's name is the instance action's and, after "server.", the workflow's kind.
var (
	ActionRescue        = ActionRule{Name: "rescue", From: []VMState{Active, Stopped, Errored}, Task: Rescuing}
	ActionUnrescue      = ActionRule{Name: "unrescue", From: []VMState{Rescued}, Task: Unrescuing}
	ActionRebuild       = ActionRule{Name: "rebuild", From: []VMState{Active, Stopped, Errored}, Task: Rebuilding}
	ActionCreateImage   = ActionRule{Name: "createImage", From: []VMState{Active, Stopped, Paused, Suspended}, Task: ImageSnapshot}
	ActionBackup        = ActionRule{Name: "createBackup", From: []VMState{Active, Stopped, Paused, Suspended}, Task: ImageBackup}
	ActionShelve        = ActionRule{Name: "shelve", From: []VMState{Active, Stopped, Paused, Suspended}, Task: Shelving}
	ActionShelveOffload = ActionRule{Name: "shelveOffload", From: []VMState{Shelved}, Task: ShelvingOffloading}
	ActionUnshelve      = ActionRule{Name: "unshelve", From: []VMState{Shelved, ShelvedOffloaded}, Task: Unshelving}
	ActionPassword      = ActionRule{Name: "changePassword", From: []VMState{Active}, Task: UpdatingPassword}
	ActionCrashDump     = ActionRule{Name: "trigger_crash_dump", From: []VMState{Active, Paused, Rescued, Resized, Errored}, Task: Busy}
	ActionInjectNetwork = ActionRule{Name: "inject_network_info", Task: Busy}
	ActionSwapVolume    = ActionRule{Name: "swap_volume", From: []VMState{Active, Paused, Resized}, Task: Busy}
	ActionSoftDelete    = ActionRule{Name: "delete", Task: SoftDeleting}
	ActionRestore       = ActionRule{Name: "restore", From: []VMState{SoftDeleted}, Task: Restoring}
)

// WorkflowSoftDelete is the workflow of ActionSoftDelete, whose instance action is "delete" as that of a real one.
const WorkflowSoftDelete = "soft_delete"

// Act is what an action beyond power carries in its workflow.
type Act struct {
	From     VMState              `json:"from"`
	Rescue   *hostapi.RescueSpec  `json:"rescue,omitempty"`
	Password string               `json:"password,omitempty"` // taken out of the workflow's state when it ends
	Image    hostapi.SnapshotTask `json:"image"`              // the image being made; ImageID "": none
	Backup   *Backup              `json:"backup,omitempty"`
	Volumes  []string             `json:"volumes,omitempty"` // createImage of a volume-backed server: the snapshots being made
	Rebuild  *Rebuilt             `json:"rebuild,omitempty"`
	Swap     *Swap                `json:"swap,omitempty"`
	Offload  bool                 `json:"offload,omitempty"` // shelve: the host is left as well
	Host     string               `json:"wanted,omitempty"`  // unshelve: the host asked for
	Back     VMState              `json:"back,omitempty"`    // the state to end in; "": as the action says
}

// Backup is the rotation of a createBackup.
type Backup struct {
	Type string `json:"type"`
	Keep int    `json:"keep"`
}

// Swap is an attached volume being changed for another.
type Swap struct {
	Old BlockDevice `json:"old"`
	New BlockDevice `json:"new"`
}

// Making is the image that a server's workflow is making: whoever ends the workflow early ends the image too. Token is what a host shows that sends its bytes.
type Making struct {
	ImageID string `json:"image_id"`
	Token   string `json:"token"`
}

// Shelf is what a shelved server needs to come back.
type Shelf struct {
	ImageID string  `json:"image_id"` // "": volume-backed
	Host    string  `json:"host"`
	At      db.Time `json:"at"`
}

// ImageMaker is what compute needs of the image room to make images of servers.
type ImageMaker interface {
	CreateIn(ctx context.Context, tx *db.Tx, creds *policy.Credentials, p image.CreateParams) (image.Image, error)
	// WholeIn makes a queued image without bytes active; AbandonIn deletes one that is not active; DeleteIn any. None is no error for the last two.
	WholeIn(ctx context.Context, tx *db.Tx, id string) error
	AbandonIn(ctx context.Context, tx *db.Tx, id string) error
	DeleteIn(ctx context.Context, tx *db.Tx, id string) error
	ByID(ctx context.Context, id string) (image.Image, error)
	List(ctx context.Context, creds *policy.Credentials, f image.Filter) ([]image.Image, error)
	Delete(ctx context.Context, creds *policy.Credentials, id string) error
	Upload(ctx context.Context, creds *policy.Credentials, id string, r io.Reader, size int64) error
}

// Actor begins the workflow of an action beyond power on a server that enter has moved; package compute/conductor implements it.
type Actor interface {
	BeginAct(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, kind string, a Act) (workflowID string, err error)
}

// begin enters an action and begins its workflow in one transaction. prepare, if any, fills in what the transaction must write or read first.
func (s *Service) begin(ctx context.Context, by By, id string, rule ActionRule, prepare func(tx *db.Tx, sv *Server, a *Act) error) (workflowID string, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		workflowID, err = s.beginIn(ctx, tx, by, id, rule, prepare)
		return err
	})
	return workflowID, err
}

func (s *Service) beginIn(ctx context.Context, tx *db.Tx, by By, id string, rule ActionRule, prepare func(tx *db.Tx, sv *Server, a *Act) error) (string, error) {
	sv, err := enter(ctx, tx, by, id, rule)
	if err != nil {
		return "", err
	}
	if sv.Host == "" && sv.VMState != ShelvedOffloaded {
		return "", fault.Conflict("Instance %s is not ready: it has no host", id)
	}
	a := Act{From: sv.VMState}
	if prepare != nil {
		if err := prepare(tx, sv, &a); err != nil {
			return "", err
		}
	}
	return s.Conductor.BeginAct(ctx, tx, sv, by.subject(), rule.Name, a)
}

// actWait is how long a call that answers with the host's word waits for it (Nova's calls of the host wait as long).
const actWait = 50 * time.Second

// finish waits for a workflow whose failure is the call's: a conflict with the host's words.
func (s *Service) finish(ctx context.Context, workflowID string) error {
	wctx, cancel := context.WithTimeout(ctx, actWait)
	defer cancel()
	rec, err := s.Engine.Wait(wctx, workflowID)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // it goes on; the instance action tells how it ended
	}
	if err == nil && rec.Status != "done" {
		err = fault.Conflict("%s", rec.Err)
	}
	return err
}

// fitNow is the state check of an action by itself, for calls that must answer 409 before they look at what was asked for.
func (s *Service) fitNow(ctx context.Context, by By, id string, rule ActionRule) (*Server, error) {
	sv, err := s.Get(ctx, by.Creds, id)
	if err != nil {
		return nil, err
	}
	if err := unlocked(sv, by.Creds); err != nil {
		return nil, err
	}
	return sv, fit(sv, rule)
}

// ChangePassword sets the administrator's password through the guest's agent and waits for its word: 409 when there is no agent or it refuses.
func (s *Service) ChangePassword(ctx context.Context, by By, id, password string) error {
	wf, err := s.begin(ctx, by, id, ActionPassword, func(_ *db.Tx, _ *Server, a *Act) error {
		a.Password = password
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.finish(ctx, wf); err != nil {
		return fault.Conflict("Failed to set admin password on %s because %s", id, fault.Message(err)).WithCause(err)
	}
	return nil
}

// CrashDump interrupts the guest's processors; a guest that is prepared for it writes a crash dump.
func (s *Service) CrashDump(ctx context.Context, by By, id string) error {
	_, err := s.begin(ctx, by, id, ActionCrashDump, nil)
	return err
}

// InjectNetworkInfo has the host render the server's networking anew.
func (s *Service) InjectNetworkInfo(ctx context.Context, by By, id string) error {
	_, err := s.begin(ctx, by, id, ActionInjectNetwork, nil)
	return err
}

// randomPassword is an administrator's password where the request names none.
func randomPassword() string {
	return randomText(12, "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789")
}
