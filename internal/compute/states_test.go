package compute

import "testing"

// The table is compute.md section 6 of the API facts.
func TestStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		vm   VMState
		task TaskState
		want string
	}{
		{Active, None, "ACTIVE"}, {Active, Rebooting, "REBOOT"}, {Active, RebootingHard, "HARD_REBOOT"}, {Stopped, RebootingHard, "HARD_REBOOT"}, {Paused, RebootingHard, "PAUSED"},
		{Active, UpdatingPassword, "PASSWORD"}, {Active, Rebuilding, "REBUILD"}, {Stopped, RebuildSpawning, "REBUILD"}, {Errored, Rebuilding, "REBUILD"}, {Errored, None, "ERROR"},
		{Active, Migrating, "MIGRATING"}, {Paused, Migrating, "MIGRATING"}, {Stopped, ResizePrep, "RESIZE"}, {Resized, None, "VERIFY_RESIZE"}, {Resized, ResizeReverting, "REVERT_RESIZE"},
		{Resized, ResizeConfirming, "VERIFY_RESIZE"}, {Rescued, None, "RESCUE"}, {Active, Rescuing, "ACTIVE"}, {Active, ImageSnapshot, "ACTIVE"}, {SoftDeleted, None, "SOFT_DELETED"},
		{Shelved, None, "SHELVED"}, {ShelvedOffloaded, Unshelving, "SHELVED_OFFLOADED"}, {Active, Deleting, "ACTIVE"}, {Deleted, None, "DELETED"}, {"odd", None, "UNKNOWN"},
	} {
		s := Server{VMState: c.vm, TaskState: c.task}
		if got := s.Status(); got != c.want {
			t.Errorf("%s/%s: %s, want %s", c.vm, c.task, got, c.want)
		}
		states, _, ok := StatusStates(c.want)
		if !ok || c.want != "UNKNOWN" && len(states) == 0 {
			t.Errorf("%s selects nothing", c.want)
		}
	}
	if _, _, ok := StatusStates("ODD"); ok {
		t.Error("ODD is a status")
	}
}
