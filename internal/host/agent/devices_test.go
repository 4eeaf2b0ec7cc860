package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// A device plugged into a running guest is of the kind that the image asks for, as after the next start: it was virtio before, whatever the image said.
func TestHotDevicesAreTheMachinesKind(t *testing.T) {
	t.Parallel()
	v := hostapi.VolumeSpec{VolumeID: "v", Path: "/v", Format: "raw", BootIndex: -1}
	for _, c := range []struct{ machine, own, want string }{{"", "", ""}, {"scsi", "", "scsi"}, {"scsi", "virtio", "virtio"}, {"ide", "", ""}, {"virtio", "scsi", "scsi"}} {
		v.DiskBus = c.own
		if got := hotDisk(hostapi.MachineOptions{DiskBus: c.machine}, v).Bus; got != c.want {
			t.Errorf("%+v: bus %q", c, got)
		}
	}
	want := hypervisor.NIC{PortID: "p", Model: "e1000", Packed: true}
	if diff := cmp.Diff(want, hotNIC(hostapi.MachineOptions{VIFModel: "e1000", PackedRing: true}, hypervisor.NIC{PortID: "p"})); diff != "" {
		t.Error(diff)
	}
}
