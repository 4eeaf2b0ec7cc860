package api

import (
	"fmt"
	"strings"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/httpapi"
)

// guestRoutes tell what a guest does: its numbers, the password that it has posted, how its processors lie.
func (f *face) guestRoutes() []httpapi.Route {
	const password = "/servers/{id}/os-server-password"
	return []httpapi.Route{
		{Method: get, Path: "/servers/{id}/diagnostics", Name: "servers.diagnostics", Rule: "os_compute_api:os-server-diagnostics", Handler: f.diagnostics},
		{Method: get, Path: "/servers/{id}/topology", Name: "servers.topology", Min: v(78), Rule: "os_compute_api:server-topology:index", Handler: f.topology},
		{Method: get, Path: password, Name: "servers.password.show", Rule: "os_compute_api:os-server-password:show", Handler: func(r *httpapi.Request) (any, error) {
			text, err := f.svc.GuestPassword(r.Context(), by(r), r.Param("id"))
			return obj{"password": text}, err
		}},
		{Method: del, Path: password, Name: "servers.password.clear", Rule: "os_compute_api:os-server-password:clear", Status: noContent, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.ForgetPassword(r.Context(), by(r), r.Param("id"))
		}},
	}
}

// topology shows the NUMA nodes of a server that has any, and to administrators where they lie, which its host tells while it runs. A server that asked for nothing has one flat
// set of processors and memory, which Nova shows as no nodes.
func (f *face) topology(r *httpapi.Request) (any, error) {
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	l, err := s.Layout()
	if err != nil {
		return nil, err
	}
	out, nodes := obj{"pagesize_kb": nil}, make([]obj, len(l.Nodes))
	if l.Pages > 0 {
		out["pagesize_kb"] = l.Pages
	}
	for i, n := range l.Nodes {
		nodes[i] = obj{"memory_mb": n.RAMMiB, "vcpu_set": n.CPUs, "siblings": [][]int{}}
	}
	out["nodes"] = nodes
	if len(nodes) == 0 || !r.Allowed("os_compute_api:server-topology:host:index", r.OwnTarget()) {
		return out, nil
	}
	_, d, err := f.svc.Diagnostics(r.Context(), by(r), s.ID)
	if err != nil || d.Placed == nil || len(d.Placed.Cells) != len(nodes) { // it does not run, or its host does not answer: where it lay is past
		return out, nil
	}
	if d.Placed.Pages > 0 {
		out["pagesize_kb"] = d.Placed.Pages
	}
	for i, n := range l.Nodes {
		nodes[i]["host_node"] = d.Placed.Cells[i]
		pins := map[string]int{}
		for _, cpu := range n.CPUs {
			if cpu < len(d.Placed.Pins) {
				pins[itoa(cpu)] = d.Placed.Pins[cpu]
			}
		}
		nodes[i]["cpu_pinning"] = pins
	}
	return out, nil
}

func (f *face) diagnostics(r *httpapi.Request) (any, error) {
	s, d, err := f.svc.Diagnostics(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	if r.Version.AtLeast(v(48)) {
		return f.diagnosticsView(s, d), nil
	}
	var devices []compute.BlockDevice
	err = f.read(r, func(tx *db.Tx) error {
		all, err := compute.BlockDevicesOf(r.Context(), tx, []string{s.ID})
		devices = all[s.ID]
		return err
	})
	return driverDiagnostics(d, devices), err
}

// powerWords are Nova's names of power states in diagnostics.
var powerWords = map[hostapi.PowerState]string{hostapi.PowerNone: "pending", hostapi.PowerRunning: "running", hostapi.PowerPaused: "paused", hostapi.PowerShutdown: "shutdown",
	hostapi.PowerCrashed: "crashed", hostapi.PowerSuspended: "suspended"}

// diagnosticsView is the form since 2.48. The driver is called libvirt, the one name of the schema that means QEMU.
func (f *face) diagnosticsView(s *compute.Server, d *hostapi.Diagnostics) obj {
	kind := ""
	for _, h := range f.svc.Hosts.Rows() {
		if h.Name == s.Host {
			kind = h.Info.V.Accel
		}
	}
	if kind == "tcg" {
		kind = "qemu" // libvirt's name of QEMU that translates by itself
	}
	cpus, disks, nics := make([]obj, len(d.CPUs)), make([]obj, len(d.Disks)), make([]obj, len(d.Interfaces))
	for i, c := range d.CPUs {
		cpus[i] = obj{"id": c.ID, "time": c.Time, "utilisation": nil}
	}
	for i, x := range d.Disks {
		disks[i] = obj{"read_bytes": x.ReadBytes, "read_requests": x.ReadRequests, "write_bytes": x.WriteBytes, "write_requests": x.WriteRequests, "errors_count": x.Errors}
	}
	for i, n := range d.Interfaces {
		nics[i] = obj{"mac_address": n.MAC, "rx_octets": n.RxBytes, "rx_errors": n.RxErrors, "rx_drop": n.RxDrops, "rx_packets": n.RxPackets, "rx_rate": nil,
			"tx_octets": n.TxBytes, "tx_errors": n.TxErrors, "tx_drop": n.TxDrops, "tx_packets": n.TxPackets, "tx_rate": nil}
	}
	return obj{"state": powerWords[d.Power], "driver": "libvirt", "hypervisor": orNil(kind), "hypervisor_os": "linux", "uptime": d.Uptime, "config_drive": s.ConfigDrive,
		"num_cpus": len(cpus), "num_disks": len(disks), "num_nics": len(nics), "cpu_details": cpus, "disk_details": disks, "nic_details": nics,
		"memory_details": obj{"maximum": d.Memory >> 20, "used": d.Resident >> 20}}
}

// driverDiagnostics is the form before 2.48: flat, with the names that libvirt's driver gives; memory in KiB, times in nanoseconds.
func driverDiagnostics(d *hostapi.Diagnostics, devices []compute.BlockDevice) obj {
	out := obj{"memory": d.Memory >> 10, "memory-actual": d.Memory >> 10, "memory-rss": d.Resident >> 10}
	for _, c := range d.CPUs {
		out[fmt.Sprintf("cpu%d_time", c.ID)] = c.Time
	}
	names := map[string]string{"root": "vda"}
	for _, x := range devices {
		if x.VolumeID != "" && x.Device != "" {
			names[x.VolumeID] = strings.TrimPrefix(x.Device, "/dev/")
		}
	}
	for _, x := range d.Disks {
		name := x.ID
		if n, ok := names[x.ID]; ok {
			name = n
		}
		for key, n := range map[string]int64{"_read": x.ReadBytes, "_read_req": x.ReadRequests, "_write": x.WriteBytes, "_write_req": x.WriteRequests, "_errors": x.Errors} {
			out[name+key] = n
		}
	}
	for _, n := range d.Interfaces {
		name := "tap" + n.PortID[:min(11, len(n.PortID))]
		for key, c := range map[string]int64{"_rx": n.RxBytes, "_rx_packets": n.RxPackets, "_rx_errors": n.RxErrors, "_rx_drop": n.RxDrops,
			"_tx": n.TxBytes, "_tx_packets": n.TxPackets, "_tx_errors": n.TxErrors, "_tx_drop": n.TxDrops} {
			out[name+key] = c
		}
	}
	return out
}
