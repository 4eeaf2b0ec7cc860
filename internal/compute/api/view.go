package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/httpapi"
	"nephos/internal/network"
)

// flavorForm is the flavor inside a server from 2.47 on; the ledger turns it into id and links for older clients.
type flavorForm struct {
	VCPUs        int               `json:"vcpus"`
	RAM          int               `json:"ram"`
	Disk         int               `json:"disk"`
	Ephemeral    int               `json:"ephemeral"`
	Swap         int               `json:"swap"`
	OriginalName string            `json:"original_name"`
	ExtraSpecs   map[string]string `json:"extra_specs,omitempty"`
	id           string
}

// volumeForm is one entry of os-extended-volumes:volumes_attached.
type volumeForm struct {
	ID                  string `json:"id"`
	DeleteOnTermination *bool  `json:"delete_on_termination,omitempty"`
}

// addressForm is one address of a server.
type addressForm struct {
	Addr    string `json:"addr"`
	Version int    `json:"version"`
	MAC     string `json:"OS-EXT-IPS-MAC:mac_addr,omitempty"`
	Type    string `json:"OS-EXT-IPS:type,omitempty"`
}

// hostID hides which host a server is on, but tells its owner whether two are on the same (Nova: SHA-224 of project and host).
func hostID(project, host string) string {
	if host == "" {
		return ""
	}
	sum := sha256.Sum224([]byte(project + host))
	return hex.EncodeToString(sum[:])
}

// related is what lies around a page of servers, read with one query each.
type related struct {
	addresses map[string][]network.ServerAddress
	groups    map[string][]network.SecurityGroupRef
	volumes   map[string][]compute.BlockDevice
}

func (f *face) related(ctx context.Context, tx *db.Tx, servers []*compute.Server) (x related, err error) {
	ids := make([]string, len(servers))
	for i, s := range servers {
		ids[i] = s.ID
	}
	if x.addresses, err = f.deps.Networks.Addresses(ctx, tx, ids); err != nil {
		return x, err
	}
	if x.groups, err = f.deps.Networks.ServerSecurityGroups(ctx, tx, ids); err != nil {
		return x, err
	}
	x.volumes, err = compute.BlockDevicesOf(ctx, tx, ids)
	return x, err
}

// sight is what the caller may see beyond the plain view; asked once per request.
type sight struct {
	attributes, hostStatus, specs bool
}

func (f *face) sight(r *httpapi.Request) sight {
	own := r.OwnTarget()
	return sight{attributes: r.Allowed("os_compute_api:os-extended-server-attributes", own), hostStatus: r.Version.AtLeast(v(16)) && r.Allowed("os_compute_api:servers:show:host_status", own),
		specs: r.Allowed("os_compute_api:os-flavor-extra-specs:index", own)}
}

// serverView is the newest full form (2.96).
func (f *face) serverView(r *httpapi.Request, s *compute.Server, x related, see sight) obj {
	fl := s.Flavor.V
	flavor := flavorForm{VCPUs: fl.VCPUs, RAM: fl.RAMMiB, Disk: fl.RootGiB, Ephemeral: fl.EphemeralGiB, Swap: fl.SwapMiB, OriginalName: fl.Name, id: s.FlavorID}
	if see.specs {
		flavor.ExtraSpecs = orNothing(fl.ExtraSpecs)
	}
	out := obj{"id": s.ID, "name": s.Name, "status": s.Status(), "tenant_id": s.ProjectID, "user_id": s.UserID, "metadata": orNothing(s.Metadata.V), "hostId": hostID(s.ProjectID, s.Host),
		"image": "", "flavor": flavor, "created": zulu(s.Created), "updated": zulu(s.Updated), "addresses": addresses(x.addresses[s.ID]), "accessIPv4": s.AccessIPv4,
		"accessIPv6": s.AccessIPv6, "links": r.Links("servers", s.ID), "OS-DCF:diskConfig": s.DiskConfig, "OS-EXT-AZ:availability_zone": s.Zone, "config_drive": "",
		"key_name": orNil(s.KeyName), "OS-SRV-USG:launched_at": micros(s.Launched), "OS-SRV-USG:terminated_at": micros(s.Terminated), "OS-EXT-STS:task_state": orNil(f.task(s)),
		"OS-EXT-STS:vm_state": s.VMState, "OS-EXT-STS:power_state": s.Power(), "os-extended-volumes:volumes_attached": volumes(x.volumes[s.ID]), "locked": s.Locked,
		"locked_reason": orNil(s.LockedReason), "description": s.Description, "tags": orNone(s.Tags.V), "trusted_image_certificates": nil,
		"OS-EXT-SRV-ATTR:hostname": s.Hostname, "pinned_availability_zone": orNil(s.PinnedZone), "server_groups": []string{}}
	if s.ImageID != "" {
		out["image"] = obj{"id": s.ImageID, "links": []obj{{"rel": "bookmark", "href": r.Bookmark("images", s.ImageID)}}}
	}
	if s.ConfigDrive {
		out["config_drive"] = "True"
	}
	if s.GroupID != "" {
		out["server_groups"] = []string{s.GroupID}
	}
	if groups := x.groups[s.ID]; len(groups) > 0 {
		list := make([]obj, len(groups))
		for i, g := range groups {
			list[i] = obj{"name": g.Name}
		}
		out["security_groups"] = list
	}
	status := s.Status()
	if slices.Contains([]string{"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"}, status) {
		out["progress"] = 0
	}
	if why := s.Fault.V; why != nil && (status == "ERROR" || status == "DELETED") {
		shown := obj{"code": why.Code, "message": why.Message, "created": zulu(why.Created)}
		if why.Details != "" && (see.attributes || why.Code != 500) {
			shown["details"] = why.Details
		}
		out["fault"] = shown
	}
	if see.attributes {
		attributes(out, s)
	}
	if see.hostStatus {
		out["host_status"] = f.hostStatus(s)
	}
	return out
}

// attributes are what only an admin sees.
func attributes(out obj, s *compute.Server) {
	out["OS-EXT-SRV-ATTR:host"], out["OS-EXT-SRV-ATTR:hypervisor_hostname"], out["OS-EXT-SRV-ATTR:instance_name"] = orNil(s.Host), orNil(s.Host), s.InstanceName()
	out["OS-EXT-SRV-ATTR:kernel_id"], out["OS-EXT-SRV-ATTR:ramdisk_id"] = "", ""
	if spec := s.Image.V.Spec; spec != nil {
		if spec.Kernel != nil {
			out["OS-EXT-SRV-ATTR:kernel_id"] = spec.Kernel.ID
		}
		if spec.Ramdisk != nil {
			out["OS-EXT-SRV-ATTR:ramdisk_id"] = spec.Ramdisk.ID
		}
	}
	out["OS-EXT-SRV-ATTR:launch_index"], out["OS-EXT-SRV-ATTR:reservation_id"] = s.LaunchIndex, s.ReservationID
	out["OS-EXT-SRV-ATTR:root_device_name"], out["OS-EXT-SRV-ATTR:user_data"] = s.RootDevice, orNil(s.UserData)
}

func (f *face) hostStatus(s *compute.Server) string { return f.svc.Hosts.HostStatus(s.Host) }

// task is the task state as Nova would show it: what is busy with a device shows none, what is being built shows what its host tells.
func (f *face) task(s *compute.Server) string {
	switch s.TaskState {
	case compute.None, compute.Busy:
		return ""
	case compute.Scheduling:
		if s.Host != "" {
			if t := f.svc.Hosts.Task(s.ID, s.Epoch); t != compute.None {
				return string(t)
			}
		}
	}
	return string(s.TaskState)
}

func addresses(list []network.ServerAddress) map[string][]addressForm {
	out := map[string][]addressForm{}
	for _, a := range list {
		out[a.Network] = append(out[a.Network], addressForm{Addr: a.IP, Version: a.Version, MAC: a.MAC, Type: a.Type})
	}
	return out
}

// plain leaves out what /ips and old updates do not show.
func plain(in map[string][]addressForm) map[string][]addressForm {
	out := make(map[string][]addressForm, len(in))
	for net, list := range in {
		for _, a := range list {
			out[net] = append(out[net], addressForm{Addr: a.Addr, Version: a.Version})
		}
	}
	return out
}

func volumes(list []compute.BlockDevice) []volumeForm {
	out := make([]volumeForm, 0, len(list))
	for _, b := range list {
		out = append(out, volumeForm{ID: b.VolumeID, DeleteOnTermination: &b.DeleteOnTermination})
	}
	return out
}
