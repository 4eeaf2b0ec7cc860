package volume

import (
	"fmt"
	"slices"

	"nephos/internal/db"
	"nephos/internal/policy"
)

// Status is a volume's or a snapshot's, in Cinder's words.
type Status string

// The statuses in use here. Others may be set by an administrator (reset-status).
const (
	Creating       Status = "creating"
	Downloading    Status = "downloading" // creating from an image
	Available      Status = "available"
	Reserved       Status = "reserved"
	Attaching      Status = "attaching"
	InUse          Status = "in-use"
	Detaching      Status = "detaching"
	Extending      Status = "extending"
	Deleting       Status = "deleting"
	Errored        Status = "error"
	ErrorDeleting  Status = "error_deleting"
	ErrorExtending Status = "error_extending"
)

// resettable are the statuses that reset-status accepts (Cinder's list).
var resettable = []Status{Creating, Available, Deleting, Errored, ErrorDeleting, Attaching, Detaching, InUse, "managing", "error_managing", "maintenance",
	"backing-up", "restoring-backup", "error_restoring", ErrorExtending, Extending, Reserved, Downloading, "uploading", "retyping", "awaiting-transfer", "reverting"}

// deletable are the statuses from which an owner may delete.
var deletable = []Status{Available, Errored, ErrorDeleting, ErrorExtending, "error_restoring", "error_managing"}

// Volume is one volume.
type Volume struct {
	ID            string                     `db:"id"`
	ProjectID     string                     `db:"project_id"`
	UserID        string                     `db:"user_id"`
	Name          string                     `db:"name"`
	Description   string                     `db:"description"`
	SizeGiB       int                        `db:"size_gib"`
	ChargedGiB    int                        `db:"charged_gib"` // taken from the quota: above SizeGiB while it is being extended
	Status        Status                     `db:"status"`
	TypeID        string                     `db:"type_id"`
	Zone          string                     `db:"zone"`
	Host          string                     `db:"host"` // where the bytes lie or will; "" until a host is chosen
	Made          bool                       `db:"made"` // the bytes exist
	Path          string                     `db:"path"` // on the host, as the host told; the room never looks at it
	Format        string                     `db:"format"`
	Bootable      bool                       `db:"bootable"`
	ReadOnly      bool                       `db:"readonly"`
	ImageID       string                     `db:"image_id"` // made from it
	ImageMetadata db.JSON[map[string]string] `db:"image_metadata"`
	Metadata      db.JSON[map[string]string] `db:"metadata"`
	SnapshotID    string                     `db:"snapshot_id"`  // made from it
	SourceVolume  string                     `db:"source_volid"` // made from it
	Epoch         int64                      `db:"epoch"`
	Fault         string                     `db:"fault"` // why the last operation failed, in words for the owner
	Created       db.Time                    `db:"created_at"`
	Updated       db.Time                    `db:"updated_at"`

	Type        string       `db:"type_name"` // name of the type, joined
	Attachments []Attachment `db:"-"`         // filled by the reading verbs
}

// Snapshot is one snapshot of a volume.
type Snapshot struct {
	ID          string                     `db:"id"`
	VolumeID    string                     `db:"volume_id"`
	ProjectID   string                     `db:"project_id"`
	UserID      string                     `db:"user_id"`
	Name        string                     `db:"name"`
	Description string                     `db:"description"`
	SizeGiB     int                        `db:"size_gib"`
	Status      Status                     `db:"status"`
	Host        string                     `db:"host"`
	Metadata    db.JSON[map[string]string] `db:"metadata"`
	Epoch       int64                      `db:"epoch"`
	Fault       string                     `db:"fault"`
	Created     db.Time                    `db:"created_at"`
	Updated     db.Time                    `db:"updated_at"`
}

// Attachment joins a volume to a server, or reserves it for one.
type Attachment struct {
	ID        string                     `db:"id"`
	VolumeID  string                     `db:"volume_id"`
	ProjectID string                     `db:"project_id"`
	ServerID  string                     `db:"server_id"`
	Host      string                     `db:"host"`
	Device    string                     `db:"device"` // as the guest may call it: /dev/vdb
	Mode      string                     `db:"mode"`   // rw or ro
	Status    string                     `db:"status"` // reserved, attaching, attached, detaching
	Owner     string                     `db:"owner"`  // compute: only compute's verbs may end it; api
	Connector db.JSON[map[string]string] `db:"connector"`
	Attached  db.Time                    `db:"attached_at"`
	Created   db.Time                    `db:"created_at"`
}

// Attachment owners.
const (
	ownerCompute = "compute"
	ownerAPI     = "api"
)

// Type is a volume type. All types are served by the file backend; extra specs are kept for clients.
type Type struct {
	ID          string                     `db:"id"`
	Name        string                     `db:"name"`
	Description string                     `db:"description"`
	Public      bool                       `db:"is_public"`
	ExtraSpecs  db.JSON[map[string]string] `db:"extra_specs"`
	Created     db.Time                    `db:"created_at"`
	Updated     db.Time                    `db:"updated_at"`
}

// The default type, made by the first migration. DefaultAlias is the name by which Cinder's clients may ask for the default.
const (
	DefaultTypeID = "6e657068-6f73-4000-8000-66696c650001"
	DefaultType   = "nephos-file"
	DefaultAlias  = "__DEFAULT__"
)

// HostName is the host in Cinder's form host@backend#pool, "" while none is chosen.
func (v *Volume) HostName() string {
	if v.Host == "" {
		return ""
	}
	return v.Host + "@" + DefaultType + "#" + DefaultType
}

// visibleTo says whether the caller may know of a thing of that project. Credentials of nil mean the program itself.
func visibleTo(c *policy.Credentials, projectID string) bool {
	return c == nil || c.IsAdmin() || c.HasRole("service") || c.ProjectID == projectID
}

func (s Status) in(list ...Status) bool { return slices.Contains(list, s) }

func words(list []Status) string {
	out := ""
	for i, s := range list {
		if i > 0 {
			out += ", "
		}
		out += string(s)
	}
	return out
}

// wrongStatus is Cinder's sentence for a volume that is not in a state for what is asked.
func wrongStatus(v *Volume, doing string, want ...Status) error {
	return invalid("status", "Invalid volume: Volume %s status must be %s to %s, but current status is: %s.", v.ID, words(want), doing, v.Status)
}

func commandID(run, step string, try int) string { return fmt.Sprintf("%s:%s:%d", run, step, try) }
