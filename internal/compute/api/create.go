package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/httpapi"
	"nephos/internal/network"
)

// oneOrMany is a string or a list of them.
type oneOrMany []string

// UnmarshalJSON implements json.Unmarshaler.
func (o *oneOrMany) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*o = oneOrMany{s}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(o))
}

type hintsBody struct {
	Group         oneOrMany `json:"group"`
	SameHost      oneOrMany `json:"same_host"`
	DifferentHost oneOrMany `json:"different_host"`
	NearIP        string    `json:"build_near_host_ip"`
	CIDR          string    `json:"cidr"`
	Query         any       `json:"query"` // JSON, or a text with JSON in it
}

type deviceBody struct {
	VirtualName     string    `json:"virtual_name"`
	VolumeID        string    `json:"volume_id"`
	SnapshotID      string    `json:"snapshot_id"`
	ImageID         string    `json:"image_id"`
	VolumeSize      flexInt   `json:"volume_size"`
	DeviceName      string    `json:"device_name"`
	Delete          *flexBool `json:"delete_on_termination"`
	NoDevice        any       `json:"no_device"`
	GuestFormat     string    `json:"guest_format"`
	DiskBus         string    `json:"disk_bus"`
	SourceType      string    `json:"source_type"`
	UUID            string    `json:"uuid"`
	DestinationType string    `json:"destination_type"`
	BootIndex       *flexText `json:"boot_index"`
	Tag             string    `json:"tag"`
	VolumeType      string    `json:"volume_type"`
}

type createBody struct {
	Server struct {
		Name          string            `json:"name"`
		Description   *string           `json:"description"`
		Hostname      string            `json:"hostname"`
		ImageRef      string            `json:"imageRef"`
		FlavorRef     flexText          `json:"flavorRef"`
		AdminPass     string            `json:"adminPass"`
		Metadata      map[string]string `json:"metadata"`
		Networks      json.RawMessage   `json:"networks"`
		DiskConfig    string            `json:"OS-DCF:diskConfig"`
		AccessIPv4    string            `json:"accessIPv4"`
		AccessIPv6    string            `json:"accessIPv6"`
		Zone          string            `json:"availability_zone"`
		KeyName       string            `json:"key_name"`
		ConfigDrive   flexBool          `json:"config_drive"`
		Min           *flexInt          `json:"min_count"`
		Max           *flexInt          `json:"max_count"`
		Reservation   flexBool          `json:"return_reservation_id"`
		Groups        []nameBody        `json:"security_groups"`
		UserData      string            `json:"user_data"`
		Devices       []deviceBody      `json:"block_device_mapping"`
		DevicesV2     []deviceBody      `json:"block_device_mapping_v2"`
		Personality   []fileBody        `json:"personality"`
		Tags          []string          `json:"tags"`
		Host          string            `json:"host"`
		Node          string            `json:"hypervisor_hostname"`
		TrustedImages []string          `json:"trusted_image_certificates"`
	} `json:"server"`
	Hints    hintsBody `json:"os:scheduler_hints"`
	OldHints hintsBody `json:"OS-SCH-HNT:scheduler_hints"`
}

type nameBody struct {
	Name string `json:"name"`
}

type fileBody struct {
	Path     string `json:"path"`
	Contents string `json:"contents"`
}

func (f *face) createServer(r *httpapi.Request) (any, error) {
	var b createBody
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	req, err := f.createRequest(r, &b)
	if err != nil {
		return nil, err
	}
	made, err := f.svc.Create(r.Context(), r.Creds, req)
	if err != nil {
		return nil, err
	}
	if b.Server.Reservation {
		return obj{"reservation_id": made.ReservationID}, nil
	}
	s := made.Servers[0]
	groups := make([]obj, 0, len(made.SecurityGroups))
	for _, g := range made.SecurityGroups {
		groups = append(groups, obj{"name": g})
	}
	if len(groups) == 0 {
		groups = append(groups, obj{"name": "default"})
	}
	return &httpapi.Response{Header: http.Header{"Location": {r.Link("servers", s.ID)}}, Body: obj{"server": obj{"id": s.ID, "links": r.Links("servers", s.ID),
		"OS-DCF:diskConfig": s.DiskConfig, "security_groups": groups, "adminPass": made.AdminPass}}}, nil
}

// createRequest reads the body. What needs the database is checked by the compute room, in Nova's order.
func (f *face) createRequest(r *httpapi.Request, b *createBody) (req compute.CreateRequest, err error) {
	x := &b.Server
	req = compute.CreateRequest{RequestID: r.ID, Hostname: x.Hostname, FlavorID: lastPart(string(x.FlavorRef)), KeyName: x.KeyName, UserData: x.UserData, Metadata: x.Metadata,
		ConfigDrive: bool(x.ConfigDrive), Min: 1, Zone: x.Zone, AdminPass: x.AdminPass, AccessIPv4: x.AccessIPv4, AccessIPv6: shortest(x.AccessIPv6), DiskConfig: x.DiskConfig}
	if req.Name, err = name(r, "name", x.Name); err != nil {
		return req, err
	}
	if x.Min != nil {
		req.Min = int(*x.Min)
	}
	req.Max = req.Min
	if x.Max != nil {
		req.Max = int(*x.Max)
	}
	if r.Version.AtLeast(v(19)) {
		req.Description = x.Description
	}
	for _, g := range x.Groups {
		if g.Name != "" {
			req.SecurityGroups = append(req.SecurityGroups, g.Name)
		}
	}
	if r.Version.AtLeast(v(52)) {
		req.Tags = distinct(x.Tags)
	}
	if x.TrustedImages != nil && r.Version.AtLeast(v(63)) {
		return req, fault.Invalid("trusted_image_certificates", "trusted_image_certificates is not supported: nephos verifies no image signatures.")
	}
	if req.Hints, err = hints(r, b); err != nil {
		return req, err
	}
	for _, step := range []func(*httpapi.Request, *createBody, *compute.CreateRequest) error{f.readPlace, readDevices, readImage, f.readNetworks, readFiles} {
		if err := step(r, b, &req); err != nil {
			return req, err
		}
	}
	return req, nil
}

func distinct(list []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// queryText is the hint query as JSON text.
func queryText(q any) string {
	switch q := q.(type) {
	case nil:
		return ""
	case string:
		return q
	}
	b, err := json.Marshal(q)
	if err != nil {
		return ""
	}
	return string(b)
}

func hints(r *httpapi.Request, b *createBody) (compute.Hints, error) {
	h := b.Hints
	doc, _ := r.Document().(map[string]any)
	if _, ok := doc["os:scheduler_hints"]; !ok {
		h = b.OldHints
	}
	out := compute.Hints{SameHost: h.SameHost, DifferentHost: h.DifferentHost, BuildNearHostIP: h.NearIP, CIDR: h.CIDR, Query: queryText(h.Query)}
	if len(h.Group) > 1 {
		return out, fault.Invalid("group", "A server can be in one server group only.")
	}
	if len(h.Group) == 1 {
		if uuid.Validate(h.Group[0]) != nil {
			return out, fault.Invalid("group", "Server group scheduler hint must be a UUID.")
		}
		out.Group = h.Group[0]
	}
	return out, nil
}

// readPlace: host and hypervisor_hostname (2.74) are an admin's.
func (f *face) readPlace(r *httpapi.Request, b *createBody, req *compute.CreateRequest) error {
	host, node := b.Server.Host, b.Server.Node
	if !r.Version.AtLeast(v(74)) || host == "" && node == "" {
		return nil
	}
	if err := r.Authorize("compute:servers:create:requested_destination", r.OwnTarget()); err != nil {
		return err
	}
	for _, h := range []string{host, node} {
		if h != "" && !f.svc.Hosts.Exists(h) {
			return fault.Invalid("host", "Compute host %s could not be found.", h)
		}
	}
	if host != "" && node != "" && host != node {
		return fault.Invalid("host", "No compute service with host %s and hypervisor_hostname %s: a host is its own hypervisor here.", host, node)
	}
	req.ForcedHost = host
	if host == "" {
		req.ForcedHost = node
	}
	return nil
}

// readImage takes the id out of imageRef, which may be a URL for old clients.
func readImage(r *httpapi.Request, b *createBody, req *compute.CreateRequest) error {
	ref := b.Server.ImageRef
	if ref == "" {
		return nil
	}
	id := ref
	if r.Mount.Lenient || strings.Contains(ref, "/images/") && !r.Version.AtLeast(v(37)) {
		id = lastPart(ref)
	}
	if uuid.Validate(id) != nil || len(id) != 36 {
		return fault.Invalid("imageRef", "Invalid input for field/attribute imageRef. Value: %s. Invalid imageRef provided.", ref)
	}
	for _, d := range req.BlockDevices {
		if d.BootIndex == 0 && (d.Device == legacyRoot || d.DestinationType == "volume") { // an old-style mapping of vda, or a volume to boot from, replaces the image's disk
			return nil
		}
	}
	req.ImageID = id
	return nil
}

// legacyRoot is the root device's name in mappings of the first form, which have no boot index.
const legacyRoot = "/dev/vda"

func readDevices(r *httpapi.Request, b *createBody, req *compute.CreateRequest) error {
	x := &b.Server
	if len(x.Devices) > 0 && len(x.DevicesV2) > 0 {
		return fault.Invalid("block_device_mapping", "Using different block_device_mapping syntaxes is not allowed in the same request.")
	}
	if len(x.Devices)+len(x.DevicesV2) > 0 {
		if err := r.Authorize("os_compute_api:servers:create:attach_volume", r.OwnTarget()); err != nil {
			return err
		}
	}
	for i := range x.Devices {
		if x.Devices[i].NoDevice == nil {
			req.BlockDevices = append(req.BlockDevices, x.Devices[i].legacy(i == 0 && x.ImageRef == ""))
		}
	}
	for i := range x.DevicesV2 {
		if x.DevicesV2[i].NoDevice != nil {
			continue
		}
		d, err := x.DevicesV2[i].device()
		if err != nil {
			return err
		}
		req.BlockDevices = append(req.BlockDevices, d)
	}
	return nil
}

func yes(b *flexBool) bool { return b != nil && bool(*b) }

// legacy reads the first form: the root is vda, or the first device of a request without an image.
func (d *deviceBody) legacy(first bool) compute.BlockDevice {
	out := compute.BlockDevice{SourceType: "volume", DestinationType: "volume", VolumeID: d.VolumeID, SnapshotID: d.SnapshotID, SizeGiB: int(d.VolumeSize), BootIndex: -1, DeleteOnTermination: yes(d.Delete)}
	switch {
	case d.SnapshotID != "":
		out.SourceType, out.VolumeID = "snapshot", ""
	case d.VolumeID == "" && d.VirtualName != "":
		out.SourceType, out.DestinationType, out.DeleteOnTermination = "blank", "local", true
		if d.VirtualName == "swap" {
			out.GuestFormat = "swap"
		}
		return out
	}
	if first || strings.HasSuffix(d.DeviceName, "vda") {
		out.BootIndex, out.Device = 0, legacyRoot
	}
	return out
}

func (d *deviceBody) device() (compute.BlockDevice, error) {
	out := compute.BlockDevice{SourceType: d.SourceType, DestinationType: d.DestinationType, SizeGiB: int(d.VolumeSize), BootIndex: -1, DiskBus: d.DiskBus, GuestFormat: d.GuestFormat,
		Tag: d.Tag, VolumeType: d.VolumeType, DeleteOnTermination: yes(d.Delete), VolumeID: d.VolumeID, SnapshotID: d.SnapshotID, ImageID: d.ImageID}
	if d.BootIndex != nil && *d.BootIndex != "" && *d.BootIndex != "null" && *d.BootIndex != "None" {
		var i flexInt
		if err := i.UnmarshalJSON([]byte(*d.BootIndex)); err != nil {
			return out, fault.Invalid("boot_index", "Block Device Mapping is Invalid: boot_index %s is no number.", *d.BootIndex)
		}
		out.BootIndex = max(int(i), -1)
	}
	if out.SourceType == "" {
		return out, fault.Invalid("block_device_mapping_v2", "Block Device Mapping is Invalid: source_type is missing.")
	}
	if out.DestinationType == "" {
		out.DestinationType = map[string]string{"volume": "volume", "snapshot": "volume", "image": "local", "blank": "local"}[out.SourceType]
	}
	if d.UUID != "" {
		switch out.SourceType {
		case "volume":
			out.VolumeID = d.UUID
		case "snapshot":
			out.SnapshotID = d.UUID
		case "image":
			out.ImageID = d.UUID
		default:
			return out, fault.Invalid("block_device_mapping_v2", "Block Device Mapping is Invalid: a blank source has no uuid.")
		}
	}
	if out.DestinationType == "local" {
		out.DeleteOnTermination = true
	}
	return out, nil
}

// readNetworks: absent means that the cloud chooses if it can, as does the empty list that Folsom's client always sends.
func (f *face) readNetworks(r *httpapi.Request, b *createBody, req *compute.CreateRequest) error {
	req.NetworkMode = network.ModeUnspecified
	raw := b.Server.Networks
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		req.NetworkMode = network.Mode(word) // "auto" or "none": the schema lets no other pass
		return nil
	}
	var list []struct {
		UUID    string `json:"uuid"`
		Port    string `json:"port"`
		FixedIP string `json:"fixed_ip"`
		Tag     string `json:"tag"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return fault.Invalid("networks", "Bad networks format")
	}
	if len(list) == 0 {
		return nil
	}
	if err := r.Authorize("os_compute_api:servers:create:attach_network", r.OwnTarget()); err != nil {
		return err
	}
	req.NetworkMode = network.ModeExplicit
	seen := map[string]bool{}
	for _, n := range list {
		if n.Port != "" {
			if n.FixedIP != "" {
				return fault.Invalid("networks", "Specified Fixed IP '%s' cannot be used with port '%s': the two cannot be specified together.", n.FixedIP, n.Port)
			}
			if seen[n.Port] {
				return fault.Invalid("networks", "Port ID(s) %s are duplicated.", n.Port)
			}
			seen[n.Port] = true
			n.UUID = "" // the port says its network
		} else if n.UUID == "" {
			return fault.Invalid("networks", "Bad networks format: network uuid is missing")
		} else if n.UUID = strings.TrimPrefix(n.UUID, "br-"); uuid.Validate(n.UUID) != nil {
			return fault.Invalid("networks", "Bad networks format: network uuid is not in proper format (%s)", n.UUID)
		}
		req.Networks = append(req.Networks, network.Request{NetworkID: n.UUID, PortID: n.Port, FixedIP: n.FixedIP, Tag: n.Tag})
	}
	return nil
}

func readFiles(r *httpapi.Request, b *createBody, req *compute.CreateRequest) error {
	if r.Version.AtLeast(v(57)) {
		return nil
	}
	for _, p := range b.Server.Personality {
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(p.Contents), ""))
		if err != nil {
			return fault.Invalid("personality", "Personality content for %s cannot be decoded", p.Path)
		}
		if p.Path == "" {
			return fault.Invalid("personality", "Bad personality format: missing path")
		}
		req.Personality = append(req.Personality, hostapi.File{Path: p.Path, Contents: data})
	}
	return nil
}
