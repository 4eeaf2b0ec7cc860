package compute

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// check runs the checks of a create in the order of states.md §1 (rows 4 to 24, as far as they need no write).
func (s *Service) check(ctx context.Context, creds *policy.Credentials, req CreateRequest) (*draft, error) {
	d := &draft{CreateRequest: req, creds: creds}
	if d.Min > d.Max {
		return nil, fault.Invalid("min_count", "min_count must be <= max_count")
	}
	if err := d.splitZone(); err != nil {
		return nil, err
	}
	if err := s.mapImage(ctx, d); err != nil {
		return nil, err
	}
	if err := d.checkBoot(); err != nil {
		return nil, err
	}
	var err error
	if d.flavor, err = s.FlavorForBoot(ctx, creds, req.FlavorID); err != nil {
		return nil, err
	}
	if err := d.checkCounts(); err != nil {
		return nil, err
	}
	if err := s.checkPlace(d); err != nil {
		return nil, err
	}
	if d.ImageID != "" {
		if err := s.checkImage(ctx, d, d.ImageID, true); err != nil {
			return nil, err
		}
	}
	if d.ImageID == "" { // else it was held against the image
		if err := d.flavor.fits(nil); err != nil {
			return nil, err
		}
	}
	if d.UserData != "" {
		if _, err := decodeUserData(d.UserData); err != nil {
			return nil, err
		}
	}
	if len(req.SecurityGroups) == 0 {
		req.SecurityGroups = []string{"default"}
	}
	if d.groups, err = s.Networks.ResolveSecurityGroups(ctx, creds.ProjectID, req.SecurityGroups); err != nil {
		return nil, err
	}
	if d.nets, err = s.Networks.Resolve(ctx, creds, req.Networks, req.NetworkMode); err != nil {
		return nil, err
	}
	return d, s.DB.Read(ctx, func(tx *db.Tx) error { return s.checkRows(ctx, tx, d) })
}

// checkRows are the checks that read our own and others' rows.
func (s *Service) checkRows(ctx context.Context, tx *db.Tx, d *draft) error {
	if d.KeyName != "" {
		k, err := GetKeypair(ctx, tx, d.creds.UserID, d.KeyName)
		if err != nil {
			return fault.Invalid("key_name", "Invalid key_name provided.")
		}
		d.key = k.PublicKey
	}
	limit, err := s.Quotas.Limit(ctx, tx, d.creds.ProjectID, "metadata_items")
	if err != nil {
		return err
	}
	if limit >= 0 && int64(len(d.Metadata)) > limit {
		return fault.Quota("Maximum number of metadata items exceeds %d", limit)
	}
	if err := s.checkPersonality(ctx, tx, d); err != nil {
		return err
	}
	if d.Hints.Group != "" {
		g, err := GetServerGroup(ctx, tx, d.creds.ProjectID, d.Hints.Group)
		if err != nil {
			return fault.Invalid("group", "Server group %s could not be found.", d.Hints.Group)
		}
		d.groupID = g.ID
	}
	if err := s.checkDevices(ctx, tx, d); err != nil {
		return err
	}
	d.request, err = ScheduleRequest(ctx, tx, d.server(&Created{}, 0, 1, s.Clock.Now()), d.volumesOn, nil)
	return err
}

func (s *Service) checkPersonality(ctx context.Context, tx *db.Tx, d *draft) error {
	if len(d.Personality) == 0 {
		return nil
	}
	files, err := s.Quotas.Limit(ctx, tx, d.creds.ProjectID, "injected_files")
	if err != nil {
		return err
	}
	size, err := s.Quotas.Limit(ctx, tx, d.creds.ProjectID, "injected_file_content_bytes")
	if err != nil {
		return err
	}
	if files >= 0 && int64(len(d.Personality)) > files {
		return fault.Quota("Maximum number of injected files exceeded")
	}
	for _, f := range d.Personality {
		if size >= 0 && int64(len(f.Contents)) > size {
			return fault.Quota("Personality file content too long: %s", f.Path)
		}
		if len(f.Path) > 255 {
			return fault.Quota("Personality file path too long")
		}
	}
	return nil
}

// splitZone takes "az:host[:node]" apart; only an admin may force a host (policy os_compute_api:servers:create:forced_host).
func (d *draft) splitZone() error {
	parts := strings.Split(d.Zone, ":")
	if len(parts) > 3 {
		return fault.Invalid("availability_zone", "Unable to parse availability_zone %s: expected zone[:host[:node]]", d.Zone)
	}
	d.pinned = parts[0]
	d.forced = d.ForcedHost
	if len(parts) > 1 {
		if d.ForcedHost != "" {
			return fault.Invalid("availability_zone", "availability_zone may not name a host when host or hypervisor_hostname is given")
		}
		if !d.creds.IsAdmin() {
			return fault.Forbidden("Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.")
		}
		d.forced = parts[1]
		if d.forced == "" && len(parts) == 3 {
			d.forced = parts[2]
		}
	}
	return nil
}

// checkBoot looks at imageRef and the block devices alone: exactly one root, boot indexes without gaps, sane pairs.
func (d *draft) checkBoot() error {
	d.devices = slices.Clone(d.BlockDevices)
	// Clients send imageRef and the same image as local root device; they mean one disk.
	d.devices = slices.DeleteFunc(d.devices, func(b BlockDevice) bool {
		if b.SourceType == "image" && b.DestinationType == "local" && b.BootIndex == 0 && (d.ImageID == "" || d.ImageID == b.ImageID) {
			d.ImageID = b.ImageID
			return true
		}
		return false
	})
	var indexes []int
	if d.ImageID != "" {
		indexes = append(indexes, 0)
	}
	for _, b := range d.devices {
		if err := b.valid(); err != nil {
			return err
		}
		if b.BootIndex >= 0 {
			indexes = append(indexes, b.BootIndex)
		}
	}
	slices.Sort(indexes)
	if len(indexes) == 0 || indexes[0] != 0 {
		if d.ImageID == "" && len(d.devices) == 0 {
			return fault.Invalid("imageRef", "Invalid imageRef provided.")
		}
		return fault.Invalid("block_device_mapping", "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
	}
	for i, x := range indexes {
		if x != i {
			return fault.Invalid("block_device_mapping", "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
		}
	}
	return nil
}

// valid checks one device by itself (states.md §4).
func (b BlockDevice) valid() error {
	bad := func(why string) error {
		return fault.Invalid("block_device_mapping", "Block Device Mapping is Invalid: %s", why)
	}
	switch b.SourceType + "→" + b.DestinationType {
	case "volume→volume":
		if b.VolumeID == "" {
			return bad("a volume source needs the volume's uuid.")
		}
	case "snapshot→volume":
		if b.SnapshotID == "" {
			return bad("a snapshot source needs the snapshot's uuid.")
		}
	case "image→volume":
		if b.ImageID == "" {
			return bad("an image source needs the image's uuid.")
		}
		if b.SizeGiB < 1 {
			return bad("Images with destination_type 'volume' need to have a non-zero size specified")
		}
	case "blank→volume":
		if b.SizeGiB < 1 {
			return bad("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
		}
	case "blank→local":
	case "image→local":
		return bad("Mapping image to local is only allowed for the root disk of the same image.")
	default:
		return bad("source_type " + strconv.Quote(b.SourceType) + " with destination_type " + strconv.Quote(b.DestinationType) + " is not supported.")
	}
	return nil
}

// checkCounts refuses what cannot be shared by several servers.
func (d *draft) checkCounts() error {
	if d.Max == 1 {
		return nil
	}
	for _, n := range d.Networks {
		if n.PortID != "" {
			return fault.Invalid("port", "Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports.")
		}
		if n.FixedIP != "" {
			return fault.Invalid("fixed_ip", "max_count cannot be greater than 1 if an fixed_ip is specified.")
		}
	}
	if d.Hostname != "" {
		return fault.Invalid("hostname", "max_count cannot be greater than 1 if hostname is specified.")
	}
	for _, b := range d.devices {
		if b.SourceType == "volume" {
			return fault.Invalid("block_device_mapping", "Cannot attach one or more volumes to multiple instances")
		}
	}
	return nil
}

// checkPlace checks the zone and a forced host against the registry.
func (s *Service) checkPlace(d *draft) error {
	if d.pinned != "" && !slices.Contains(s.Hosts.Zones(), d.pinned) {
		return fault.Invalid("availability_zone", "The requested availability zone is not available: %s", d.pinned)
	}
	if d.forced != "" && !s.Hosts.Exists(d.forced) {
		return fault.Invalid("host", "Compute host %s could not be found.", d.forced)
	}
	return nil
}

// checkImage loads an image the caller may use and holds it against the flavor.
func (s *Service) checkImage(ctx context.Context, d *draft, id string, root bool) error {
	img, err := s.Images.Get(ctx, d.creds, id)
	if err != nil {
		if k := fault.KindOf(err); k == fault.KindNotFound || k == fault.KindForbidden {
			return fault.Invalid("imageRef", "Can not find requested image: imageRef %s", id)
		}
		return err
	}
	if img.Status != "active" {
		return fault.Invalid("imageRef", "Image %s is not active.", id)
	}
	if int(img.MinRAMMiB) > d.flavor.RAMMiB {
		return fault.Invalid("flavorRef", "Flavor's memory is too small for requested image.")
	}
	if !root {
		return nil
	}
	size := max(img.SizeBytes, img.VirtualBytes)
	switch {
	case d.flavor.RootGiB > 0 && int64(d.flavor.RootGiB)<<30 < size:
		return fault.Invalid("flavorRef", "Flavor's disk is too small for requested image. Flavor disk is %d bytes, image is %d bytes.", int64(d.flavor.RootGiB)<<30, size)
	case d.flavor.RootGiB > 0 && int64(d.flavor.RootGiB) < img.MinDiskGiB:
		return fault.Invalid("flavorRef", "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is %d bytes, minimum size is %d bytes.", int64(d.flavor.RootGiB)<<30, img.MinDiskGiB<<30)
	}
	if d.DiskConfig == "" {
		d.DiskConfig = "MANUAL"
	}
	spec, err := s.Images.Spec(ctx, id)
	if err != nil {
		return fault.Invalid("imageRef", "Image %s cannot be booted: %s", id, fault.Message(err))
	}
	if err := d.flavor.fits(img.Properties); err != nil {
		return err
	}
	d.image = ImageMeta{Spec: &spec, Properties: img.Properties, MinDiskGiB: int(img.MinDiskGiB), MinRAMMiB: int(img.MinRAMMiB)}
	return nil
}

// checkDevices checks volumes, snapshots and images of the block devices, names the devices, and finds the host that local volumes tie
// the server to.
func (s *Service) checkDevices(ctx context.Context, tx *db.Tx, d *draft) error {
	limit := d.flavor.EphemeralGiB
	for _, b := range d.devices {
		if b.DestinationType == "local" && b.GuestFormat != "swap" {
			limit -= b.SizeGiB
		}
	}
	if limit < 0 {
		return fault.Invalid("block_device_mapping", "Block Device Mapping is Invalid: The ephemeral disks are larger than the instance type allows.")
	}
	for i := range d.devices {
		b := &d.devices[i]
		switch {
		case b.SourceType == "volume":
			v, err := s.Volumes.Get(ctx, tx, b.VolumeID)
			if err != nil || v.ProjectID != d.creds.ProjectID && !d.creds.IsAdmin() {
				return fault.Invalid("block_device_mapping", "Block Device Mapping is Invalid: failed to get volume %s.", b.VolumeID)
			}
			if b.BootIndex == 0 && !v.Bootable {
				return fault.Invalid("block_device_mapping", "Block Device %s is not bootable.", b.VolumeID)
			}
			if err := d.tieTo(v.Host, v.ID); err != nil {
				return err
			}
		case b.SourceType == "snapshot":
			v, err := s.Volumes.Snapshot(ctx, tx, b.SnapshotID)
			if err != nil || v.ProjectID != d.creds.ProjectID && !d.creds.IsAdmin() {
				return fault.Invalid("block_device_mapping", "Block Device Mapping is Invalid: failed to get snapshot %s.", b.SnapshotID)
			}
			if b.SizeGiB == 0 {
				b.SizeGiB = v.SizeGiB
			}
			if err := d.tieTo(v.Host, v.ID); err != nil {
				return err
			}
		case b.SourceType == "image":
			if err := s.checkImage(ctx, d, b.ImageID, false); err != nil {
				return err
			}
		}
	}
	return d.nameDevices()
}

// tieTo notes that a disk lies on host: file volumes are served only where they are.
func (d *draft) tieTo(host, what string) error {
	if host == "" || host == d.volumesOn {
		return nil
	}
	if d.volumesOn != "" {
		return fault.Invalid("block_device_mapping", "Block Device Mapping is Invalid: %s is on host %s, another disk of the server is on host %s; file volumes cannot be attached across hosts.", what, host, d.volumesOn)
	}
	if d.forced != "" && d.forced != host {
		return fault.Invalid("block_device_mapping", "Block Device Mapping is Invalid: %s is on host %s, but host %s was asked for.", what, host, d.forced)
	}
	d.volumesOn = host
	return nil
}

// nameDevices gives each volume the next free /dev/vdX; vda is the root disk.
func (d *draft) nameDevices() error {
	used := map[string]bool{}
	for i := range d.devices {
		if d.devices[i].BootIndex == 0 {
			d.devices[i].Device = "/dev/vda"
		}
	}
	used["/dev/vda"] = true
	for i := range d.devices {
		b := &d.devices[i]
		if b.BootIndex == 0 {
			continue
		}
		name, err := nextDevice(used)
		if err != nil {
			return err
		}
		b.Device = name
		used[name] = true
	}
	return nil
}

// nextDevice is the first free name after vda.
func nextDevice(used map[string]bool) (string, error) {
	for c := 'b'; c <= 'z'; c++ {
		if name := "/dev/vd" + string(c); !used[name] {
			return name, nil
		}
	}
	return "", fault.Forbidden("Too many disks: a server has at most 26.")
}
