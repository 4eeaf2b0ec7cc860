package qemu

import (
	"context"
	"errors"
	"os"
	"slices"

	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
	"nephos/internal/hostapi"
)

// netdevOptions is a NetdevOptions of type tap.
type netdevOptions struct {
	Type  string `json:"type"`
	ID    string `json:"id"`
	FD    string `json:"fd"`
	VHost bool   `json:"vhost"`
}

// AttachNIC implements hypervisor.Driver.
func (d *Driver) AttachNIC(ctx context.Context, id string, n hypervisor.NIC) error {
	n, err := n.Resolved(hostapi.MachineOptions{})
	if err != nil {
		return err
	}
	return d.sure(ctx, id, func(g *guest, m *machine) error {
		have, err := m.peripherals(ctx)
		if err != nil {
			return err
		}
		device := nicDevice(n.PortID)
		if slices.Contains(have, device) {
			return nil
		}
		slot, err := d.slot(g, device, slotNIC, hypervisor.MaxNICs)
		if err != nil {
			return err
		}
		if err = m.dropNetdev(ctx, n.PortID); err != nil { // of an attach that a crash cut short
			return err
		}
		connected, err := m.addNetdev(ctx, n)
		if err == nil {
			if err = m.do(ctx, "device_add", nicFrontend(n, slot, connected), nil); err == nil {
				return nil
			}
			err = errors.Join(err, m.dropNetdev(ctx, n.PortID))
		}
		d.freeSlot(g, device)
		return plugFault(id, "port "+n.PortID, err)
	})
}

func (m *machine) addNetdev(ctx context.Context, n hypervisor.NIC) (connected bool, err error) {
	if n.OpenTap == nil {
		return false, nil
	}
	tap, err := n.OpenTap(ctx)
	if err != nil || tap == nil {
		return false, err
	}
	defer tap.Close()
	name := "tap-" + n.PortID
	if err := m.client.ExecuteFiles(ctx, []*os.File{tap}, "getfd", fdName{name}, nil); err != nil {
		return false, err
	}
	return true, m.do(ctx, "netdev_add", netdevOptions{Type: "tap", ID: netdev(n.PortID), FD: name}, nil)
}

// dropNetdev removes the host's end of an interface; none there is fine.
func (m *machine) dropNetdev(ctx context.Context, port string) error {
	err := m.do(ctx, "netdev_del", deviceRef{netdev(port)}, nil)
	if qmp.IsClass(err, qmp.ClassDeviceNotFound) {
		return nil
	}
	return err
}

// DetachNIC implements hypervisor.Driver.
func (d *Driver) DetachNIC(ctx context.Context, id, portID string) error {
	return d.sure(ctx, id, func(g *guest, m *machine) error {
		if err := m.unplug(ctx, id, nicDevice(portID)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if err := m.dropNetdev(ctx, portID); err != nil {
			return err
		}
		d.freeSlot(g, nicDevice(portID))
		return nil
	})
}
