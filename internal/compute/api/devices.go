package api

import (
	"slices"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
)

func interfaceBody(version int) string {
	props := []prop{opt("net_id", sUUID), opt("port_id", sUUID), opt("fixed_ips", array(object(must("ip_address", sIP)), `,"minItems":1,"maxItems":1`))}
	if version >= 49 {
		props = append(props, opt("tag", sTag))
	}
	return object(opt("interfaceAttachment", object(props...)))
}

func attachmentBody(version int) string {
	props := []prop{must("volumeId", sUUID), opt("device", `{"type":["string","null"],"pattern":"(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$|^auto$|^$"}`)}
	if version >= 49 {
		props = append(props, opt("tag", sTag))
	}
	if version >= 79 {
		props = append(props, opt("delete_on_termination", sBool))
	}
	return wrap("volumeAttachment", object(props...))
}

func attachmentUpdate(version int) string {
	props := []prop{must("volumeId", sUUID)}
	if version >= 85 {
		props = append(props, opt("device", sTextNil), opt("tag", sTag), opt("delete_on_termination", sBool), opt("serverId", sUUID), opt("id", sUUID))
	}
	return wrap("volumeAttachment", object(props...))
}

func (f *face) deviceRoutes() []httpapi.Route {
	const nic, vol = "os_compute_api:os-attach-interfaces:", "os_compute_api:os-volumes-attachments:"
	const nics, vols = "/servers/{id}/os-interface", "/servers/{id}/os-volume_attachments"
	return []httpapi.Route{
		{Method: get, Path: nics, Name: "servers.interfaces.list", Rule: nic + "list", Resource: "interfaceAttachment", Handler: f.listInterfaces},
		{Method: post, Path: nics, Name: "servers.interfaces.create", Rule: nic + "create", Body: at(interfaceBody, 1, 49), Resource: "interfaceAttachment", Handler: f.createInterface},
		{Method: get, Path: nics + "/{port}", Name: "servers.interfaces.show", Rule: nic + "show", Resource: "interfaceAttachment", Handler: f.showInterface},
		{Method: del, Path: nics + "/{port}", Name: "servers.interfaces.delete", Rule: nic + "delete", Status: accepted, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.DetachInterface(r.Context(), by(r), r.Param("id"), r.Param("port"))
		}},
		{Method: get, Path: vols, Name: "servers.volumes.list", Query: query(75, "limit", "offset"), Rule: vol + "index", Resource: "volumeAttachment", Handler: f.listAttachments},
		{Method: post, Path: vols, Name: "servers.volumes.create", Rule: vol + "create", Body: at(attachmentBody, 1, 49, 79), Resource: "volumeAttachment", Handler: f.createAttachment},
		{Method: get, Path: vols + "/{volume}", Name: "servers.volumes.show", Rule: vol + "show", Resource: "volumeAttachment", Handler: f.showAttachment},
		{Method: put, Path: vols + "/{volume}", Name: "servers.volumes.update", Rule: vol + "update", Body: at(attachmentUpdate, 1, 85), Status: accepted, Handler: f.updateAttachment},
		{Method: del, Path: vols + "/{volume}", Name: "servers.volumes.delete", Rule: vol + "delete", Status: accepted, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.DetachVolume(r.Context(), by(r), r.Param("id"), r.Param("volume"), r.Version.AtLeast(v(20)))
		}},
	}
}

// ports are the server's ports in the order of its interfaces.
func (f *face) ports(r *httpapi.Request) ([]network.PortView, error) {
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	ports, err := f.deps.Networks.Ports(r.Context(), network.Scope{Admin: true}, network.Query{DeviceIDs: []string{s.ID}})
	slices.SortStableFunc(ports, func(a, b network.PortView) int { return a.NICIndex - b.NICIndex })
	return ports, err
}

func portView(p *network.PortView) obj {
	fixed := make([]obj, 0, len(p.Fixed))
	for _, a := range p.Fixed {
		fixed = append(fixed, obj{"subnet_id": a.SubnetID, "ip_address": a.IP})
	}
	return obj{"port_id": p.ID, "net_id": p.NetworkID, "mac_addr": p.MAC, "port_state": p.Status, "fixed_ips": fixed, "tag": orNil(p.NICTag)}
}

func (f *face) listInterfaces(r *httpapi.Request) (any, error) {
	ports, err := f.ports(r)
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(ports))
	for i := range ports {
		out[i] = portView(&ports[i])
	}
	return obj{"interfaceAttachments": out}, nil
}

func (f *face) interfaceOf(r *httpapi.Request, id string) (any, error) {
	ports, err := f.ports(r)
	if err != nil {
		return nil, err
	}
	for i := range ports {
		if ports[i].ID == id {
			return obj{"interfaceAttachment": portView(&ports[i])}, nil
		}
	}
	return nil, fault.NotFound("Instance %s does not have a port with id %s", r.Param("id"), id)
}

func (f *face) showInterface(r *httpapi.Request) (any, error) {
	return f.interfaceOf(r, r.Param("port"))
}

// createInterface plugs in a port; with neither port nor network the project's own network is taken, as for a new server.
func (f *face) createInterface(r *httpapi.Request) (any, error) {
	var b struct {
		Attachment struct {
			NetID  string `json:"net_id"`
			PortID string `json:"port_id"`
			Fixed  []struct {
				IP string `json:"ip_address"`
			} `json:"fixed_ips"`
			Tag string `json:"tag"`
		} `json:"interfaceAttachment"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	x := b.Attachment
	if x.NetID != "" && x.PortID != "" {
		return nil, fault.Invalid("port_id", "Must not input both network_id and port_id")
	}
	req := network.Request{NetworkID: x.NetID, PortID: x.PortID, Tag: x.Tag}
	if len(x.Fixed) > 0 {
		if x.NetID == "" {
			return nil, fault.Invalid("fixed_ips", "Must input network_id when request IP address")
		}
		req.FixedIP = x.Fixed[0].IP
	}
	if req.NetworkID == "" && req.PortID == "" {
		// The plan of an unspecified request is that of a new server; the one network it finds is the one to name.
		nets, err := f.ownNetworks(r)
		if err != nil {
			return nil, err
		}
		if len(nets) != 1 {
			return nil, fault.Invalid("net_id", "Name a network: the project can use %d networks, so none can be chosen for it.", len(nets))
		}
		req.NetworkID = nets[0].ID
	}
	nic, err := f.svc.AttachInterface(r.Context(), by(r), r.Param("id"), req)
	if err != nil {
		return nil, err
	}
	return f.interfaceOf(r, nic.PortID)
}

func attachmentView(s string, b *compute.BlockDevice) obj {
	return obj{"volumeId": b.VolumeID, "serverId": s, "device": orNil(b.Device), "tag": orNil(b.Tag), "delete_on_termination": b.DeleteOnTermination, "attachment_id": b.AttachmentID, "bdm_uuid": b.ID}
}

func (f *face) listAttachments(r *httpapi.Request) (any, error) {
	page, err := r.Page(maxLimit)
	if err != nil {
		return nil, err
	}
	all, err := f.svc.Attachments(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	offset := 0
	if s := r.URL.Query().Get("offset"); s != "" {
		var i flexInt
		if err := i.UnmarshalJSON([]byte(s)); err != nil || i < 0 {
			return nil, fault.Invalid("offset", "Invalid input for query parameters offset. Value: %s. It must be an integer >= 0", s)
		}
		offset = int(i)
	}
	all = all[min(offset, len(all)):]
	out := make([]obj, 0, len(all))
	for i := range all[:min(page.Limit, len(all))] {
		out = append(out, attachmentView(r.Param("id"), &all[i]))
	}
	return obj{"volumeAttachments": out}, nil
}

func (f *face) attachment(r *httpapi.Request) (*compute.BlockDevice, error) {
	all, err := f.svc.Attachments(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].VolumeID == r.Param("volume") {
			return &all[i], nil
		}
	}
	return nil, fault.NotFound("Instance %s is not attached to volume %s", r.Param("id"), r.Param("volume"))
}

func (f *face) showAttachment(r *httpapi.Request) (any, error) {
	b, err := f.attachment(r)
	if err != nil {
		return nil, err
	}
	return obj{"volumeAttachment": attachmentView(r.Param("id"), b)}, nil
}

type attachmentForm struct {
	VolumeID string    `json:"volumeId"`
	Device   *string   `json:"device"`
	Tag      string    `json:"tag"`
	Delete   *flexBool `json:"delete_on_termination"`
	ServerID string    `json:"serverId"`
	ID       string    `json:"id"`
}

func (f *face) createAttachment(r *httpapi.Request) (any, error) {
	var b struct {
		Attachment attachmentForm `json:"volumeAttachment"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	x := b.Attachment
	dev, err := f.svc.AttachVolume(r.Context(), by(r), r.Param("id"), compute.AttachRequest{VolumeID: x.VolumeID, Device: text(x.Device), Tag: x.Tag, DeleteOnTermination: yes(x.Delete),
		Shelved: r.Version.AtLeast(v(20))})
	if err != nil {
		return nil, err
	}
	return obj{"volumeAttachment": attachmentView(r.Param("id"), &dev)}, nil
}

// updateAttachment changes delete_on_termination (2.85). Naming another volume means swapping the attached one for it.
func (f *face) updateAttachment(r *httpapi.Request) (any, error) {
	var b struct {
		Attachment attachmentForm `json:"volumeAttachment"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	now, err := f.attachment(r)
	if err != nil {
		return nil, err
	}
	x := b.Attachment
	if x.VolumeID != now.VolumeID || !r.Version.AtLeast(v(85)) {
		if err := r.Authorize("os_compute_api:os-volumes-attachments:swap", r.OwnTarget()); err != nil {
			return nil, err
		}
		return nil, f.svc.SwapVolume(r.Context(), by(r), r.Param("id"), now.VolumeID, x.VolumeID)
	}
	for _, c := range []struct{ field, have, want string }{{"device", now.Device, text(x.Device)}, {"tag", now.Tag, x.Tag}, {"serverId", now.ServerID, x.ServerID}, {"id", now.VolumeID, x.ID}} {
		if c.want != "" && c.want != c.have {
			return nil, fault.Invalid(c.field, "The %s property of a volume attachment cannot be changed.", c.field)
		}
	}
	if x.Delete == nil {
		return nil, nil
	}
	return nil, f.svc.SetDeleteOnTermination(r.Context(), by(r), r.Param("id"), now.VolumeID, bool(*x.Delete))
}
