package hostapi

// The operations of a server's actions beyond power. Each is idempotent per (subject, epoch, command id), and finds and finishes its own half-made work.
const (
	OpRescue       Op = "rescue"        // Spec with Rescue: the guest starts from the rescue image, its own disks beside it
	OpUnrescue     Op = "unrescue"      // Spec without Rescue: the rescue disk goes, the guest starts from its own
	OpRebuild      Op = "rebuild"       // Spec, Rebuild: new disks; the old ones are set aside until the guest runs
	OpRebuildUndo  Op = "rebuild-undo"  // Spec as it was, Rebuild: the disks that were set aside come back
	OpRebuildDone  Op = "rebuild-done"  // Rebuild: what was set aside goes for good
	OpSnapshot     Op = "snapshot"      // Snapshot: a copy of the root disk, consistent where a guest agent answers; the guest runs on
	OpUpload       Op = "upload"        // Snapshot: the copy's bytes go to the image room
	OpSnapshotDrop Op = "snapshot-drop" // Snapshot: the copy goes; succeeds if there is none
	OpSetPassword  Op = "set-password"  // Password: through the guest agent
	OpCrashDump    Op = "crash-dump"    // a non-maskable interrupt
	OpSwapVolume   Op = "swap-volume"   // Volume: the old one, Swap: the new one; the guest writes on
	OpReplug       Op = "replug"        // the host's networking of this server is rendered anew
)

// RescueSpec is what a rescued server runs from.
type RescueSpec struct {
	Image ImageSpec `json:"image"`
	// Stable keeps every disk where it is: the rescue disk comes last and boots. Else (Nova's older way) the rescue disk takes the root's place, the root disk is
	// second, and volumes are left out.
	Stable  bool   `json:"stable,omitempty"`
	DiskBus string `json:"disk_bus,omitempty"` // of the rescue disk; empty: the machine's
	// PasswordBefore is kept by the host: the admin password that the guest's metadata showed before, and shows again afterwards.
	PasswordBefore string `json:"password_before,omitempty"`
}

// RebuildTask says what a rebuild keeps.
type RebuildTask struct {
	Key           string `json:"key"` // names what is set aside: the same for every repetition and for the undo
	KeepRoot      bool   `json:"keep_root,omitempty"`
	KeepEphemeral bool   `json:"keep_ephemeral,omitempty"`
	PowerOn       bool   `json:"power_on,omitempty"` // the guest is started at the end
}

// SnapshotTask names a copy of a root disk that becomes an image.
type SnapshotTask struct {
	ImageID string `json:"image_id"`
	// Quiesce refuses the copy when the guest's file systems cannot be frozen (image property os_require_quiesce).
	Quiesce bool `json:"quiesce,omitempty"`
	// URL and Token are how a host that cannot see the image store sends the bytes: one PUT with the token as a bearer.
	URL   string `json:"url,omitempty"`
	Token string `json:"token,omitempty"`
}
