package compute

import "slices"

// VMState is what a server is (Nova's vm_state).
type VMState string

// The states; their meaning and moves are Nova's (shared facts: states.md §6).
const (
	Building         VMState = "building"
	Active           VMState = "active"
	Stopped          VMState = "stopped"
	Paused           VMState = "paused"
	Suspended        VMState = "suspended"
	Rescued          VMState = "rescued"
	Resized          VMState = "resized"
	SoftDeleted      VMState = "soft-delete"
	Shelved          VMState = "shelved"
	ShelvedOffloaded VMState = "shelved_offloaded"
	Errored          VMState = "error"
	Deleted          VMState = "deleted"
)

// TaskState is what is being done to a server (Nova's task_state); None while nothing is.
type TaskState string

// The task states that are stored. While a host builds, the finer ones (networking, block_device_mapping, spawning) come from the host's
// progress messages and are shown in place of Scheduling's successor, None: see Hosts.Task.
const (
	None           TaskState = ""
	Scheduling     TaskState = "scheduling"
	Networking     TaskState = "networking"
	MappingDevices TaskState = "block_device_mapping"
	Spawning       TaskState = "spawning"
	PoweringOff    TaskState = "powering-off"
	PoweringOn     TaskState = "powering-on"
	Rebooting      TaskState = "rebooting"
	RebootingHard  TaskState = "rebooting_hard"
	Pausing        TaskState = "pausing"
	Unpausing      TaskState = "unpausing"
	Suspending     TaskState = "suspending"
	Resuming       TaskState = "resuming"
	Deleting       TaskState = "deleting"
	SoftDeleting   TaskState = "soft-deleting"
	Restoring      TaskState = "restoring"

	ImageSnapshot      TaskState = "image_snapshot"
	ImagePendingUpload TaskState = "image_pending_upload"
	ImageUploading     TaskState = "image_uploading"
	ImageBackup        TaskState = "image_backup"
	UpdatingPassword   TaskState = "updating_password"
	Rescuing           TaskState = "rescuing"
	Unrescuing         TaskState = "unrescuing"

	Rebuilding        TaskState = "rebuilding"
	RebuildingDevices TaskState = "rebuild_block_device_mapping"
	RebuildSpawning   TaskState = "rebuild_spawning"

	Shelving           TaskState = "shelving"
	ShelvingPending    TaskState = "shelving_image_pending_upload"
	ShelvingUploading  TaskState = "shelving_image_uploading"
	ShelvingOffloading TaskState = "shelving_offloading"
	Unshelving         TaskState = "unshelving"

	ResizePrep       TaskState = "resize_prep"
	ResizeMigrating  TaskState = "resize_migrating"
	ResizeMigrated   TaskState = "resize_migrated"
	ResizeFinish     TaskState = "resize_finish"
	ResizeReverting  TaskState = "resize_reverting"
	ResizeConfirming TaskState = "resize_confirming"
	Migrating        TaskState = "migrating"
)

// statusNames is the status of a vm_state while no task says otherwise (compute.md §6).
var statusNames = map[VMState]string{Building: "BUILD", Active: "ACTIVE", Stopped: "SHUTOFF", Paused: "PAUSED", Suspended: "SUSPENDED", Rescued: "RESCUE", Resized: "VERIFY_RESIZE",
	SoftDeleted: "SOFT_DELETED", Shelved: "SHELVED", ShelvedOffloaded: "SHELVED_OFFLOADED", Errored: "ERROR", Deleted: "DELETED"}

// statusTasks are the tasks that show another status than the vm_state's.
var statusTasks = []struct {
	status string
	from   []VMState
	tasks  []TaskState
}{
	{"REBOOT", []VMState{Active}, []TaskState{Rebooting}},
	{"HARD_REBOOT", []VMState{Active, Stopped}, []TaskState{RebootingHard}},
	{"PASSWORD", []VMState{Active}, []TaskState{UpdatingPassword}},
	{"REBUILD", []VMState{Active, Stopped, Errored}, []TaskState{Rebuilding, RebuildingDevices, RebuildSpawning}},
	{"MIGRATING", []VMState{Active, Paused}, []TaskState{Migrating}},
	{"RESIZE", []VMState{Active, Stopped}, []TaskState{ResizePrep, ResizeMigrating, ResizeMigrated, ResizeFinish}},
	{"REVERT_RESIZE", []VMState{Resized}, []TaskState{ResizeReverting}},
}

// Status is what the API shows (compute.md §6).
func (s *Server) Status() string {
	if s.TaskState != None {
		for _, x := range statusTasks {
			if slices.Contains(x.tasks, s.TaskState) && slices.Contains(x.from, s.VMState) {
				return x.status
			}
		}
	}
	if name, ok := statusNames[s.VMState]; ok {
		return name
	}
	return "UNKNOWN"
}

// StatusStates maps a status filter to the vm_states it selects, and to the task states that it is shown for (none: any); ok is false for a word
// that is no status.
func StatusStates(status string) (states []VMState, tasks []TaskState, ok bool) {
	for state, name := range statusNames {
		if name == status {
			return []VMState{state}, nil, true
		}
	}
	for _, x := range statusTasks {
		if x.status == status {
			return x.from, x.tasks, true
		}
	}
	return nil, nil, status == "UNKNOWN"
}
