package api

import (
	"context"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/volume"
)

// Volumes is what the calls need that clients before 2.36 made here instead of at the volume service.
type Volumes interface {
	Show(ctx context.Context, by volume.By, id string) (*volume.Volume, error)
	List(ctx context.Context, by volume.By, f volume.Filter) ([]volume.Volume, int, error)
	Create(ctx context.Context, by volume.By, p volume.CreateParams) (*volume.Volume, error)
	Delete(ctx context.Context, by volume.By, id string, o volume.DeleteOptions) error
	ShowSnapshot(ctx context.Context, by volume.By, id string) (*volume.Snapshot, error)
	ListSnapshots(ctx context.Context, by volume.By, f volume.Filter) ([]volume.Snapshot, int, error)
	CreateSnapshot(ctx context.Context, by volume.By, p volume.SnapshotParams) (*volume.Snapshot, error)
	DeleteSnapshot(ctx context.Context, by volume.By, id string, force bool) error
}

// oldVolumeRoutes show the volume service to clients before 2.36.
func (f *face) oldVolumeRoutes() []httpapi.Route {
	const vol, snap = "os_compute_api:os-volumes:", "os_compute_api:os-volumes:snapshots:"
	row := func(method, path, name, rule string, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, Name: name, Max: v(35), Rule: rule, Handler: h}
	}
	create := row(post, "/os-volumes", "oldvolumes.create", vol+"create", f.createOldVolume)
	create.Body = always(open(must("volume", open(opt("volume_type", sTextNil), opt("metadata", `{"type":["object","null"]}`), opt("snapshot_id", sTextNil),
		must("size", `{"anyOf":[{"type":"integer"},{"type":"string","pattern":"^[0-9]+$","minLength":1}]}`), opt("availability_zone", sTextNil), opt("display_name", sTextNil),
		opt("display_description", sTextNil)))))
	snapshot := row(post, "/os-snapshots", "oldsnapshots.create", snap+"create", f.createOldSnapshot)
	snapshot.Body = always(open(must("snapshot", open(must("volume_id", sText), opt("force", sBool), opt("display_name", sTextNil), opt("display_description", sTextNil)))))
	gone := row(del, "/os-volumes/{id}", "oldvolumes.delete", vol+"delete", func(r *httpapi.Request) (any, error) {
		return nil, f.deps.Volumes.Delete(r.Context(), asVolumes(r), r.Param("id"), volume.DeleteOptions{})
	})
	snapshotGone := row(del, "/os-snapshots/{id}", "oldsnapshots.delete", snap+"delete", func(r *httpapi.Request) (any, error) {
		return nil, f.deps.Volumes.DeleteSnapshot(r.Context(), asVolumes(r), r.Param("id"), false)
	})
	gone.Status, snapshotGone.Status = accepted, accepted
	return []httpapi.Route{
		row(get, "/os-volumes", "oldvolumes.list", vol+"list", f.listOldVolumes), create,
		row(get, "/os-volumes/detail", "oldvolumes.detail", vol+"detail", f.listOldVolumes),
		row(get, "/os-volumes/{id}", "oldvolumes.show", vol+"show", func(r *httpapi.Request) (any, error) {
			x, err := f.deps.Volumes.Show(r.Context(), asVolumes(r), r.Param("id"))
			if err != nil {
				return nil, err
			}
			return obj{"volume": oldVolumeView(x)}, nil
		}), gone,
		row(get, "/os-snapshots", "oldsnapshots.list", snap+"list", f.listOldSnapshots), snapshot,
		row(get, "/os-snapshots/detail", "oldsnapshots.detail", snap+"detail", f.listOldSnapshots),
		row(get, "/os-snapshots/{id}", "oldsnapshots.show", snap+"show", func(r *httpapi.Request) (any, error) {
			x, err := f.deps.Volumes.ShowSnapshot(r.Context(), asVolumes(r), r.Param("id"))
			if err != nil {
				return nil, err
			}
			return obj{"snapshot": oldSnapshotView(x)}, nil
		}), snapshotGone,
	}
}

func asVolumes(r *httpapi.Request) volume.By { return volume.By{Creds: r.Creds, RequestID: r.ID} }

// oldVolumeView has one empty object as its attachments when there are none (Nova).
func oldVolumeView(x *volume.Volume) obj {
	attached := []obj{}
	for _, a := range x.Attachments {
		if a.ServerID == "" {
			continue
		}
		item := obj{"id": x.ID, "volumeId": x.ID, "serverId": a.ServerID}
		if a.Device != "" {
			item["device"] = a.Device
		}
		attached = append(attached, item)
	}
	if len(attached) == 0 {
		attached = append(attached, obj{})
	}
	return obj{"id": x.ID, "displayName": orNil(x.Name), "displayDescription": orNil(x.Description), "size": x.SizeGiB, "status": x.Status, "availabilityZone": orNil(x.Zone),
		"volumeType": orNil(x.Type), "snapshotId": orNil(x.SnapshotID), "metadata": orNothing(x.Metadata.V), "createdAt": micros(x.Created), "attachments": attached}
}

func oldSnapshotView(x *volume.Snapshot) obj {
	return obj{"id": x.ID, "volumeId": x.VolumeID, "displayName": orNil(x.Name), "displayDescription": orNil(x.Description), "size": x.SizeGiB, "status": x.Status, "createdAt": micros(x.Created)}
}

// oldPage reads limit and offset, which these lists take instead of a marker.
func oldPage(r *httpapi.Request) (out volume.Filter, err error) {
	page, err := r.Page(maxLimit)
	if err != nil {
		return out, err
	}
	out.Limit, out.ProjectID = page.Limit, r.Creds.ProjectID
	out.Offset, err = offset(r)
	return out, err
}

// offset reads the parameter of that name; 0 when it is not there.
func offset(r *httpapi.Request) (int, error) {
	s := r.URL.Query().Get("offset")
	if s == "" {
		return 0, nil
	}
	var i flexInt
	if err := i.UnmarshalJSON([]byte(s)); err != nil || i < 0 {
		return 0, fault.Invalid("offset", "Invalid input for query parameters offset. Value: %s. It must be an integer >= 0", s)
	}
	return int(i), nil
}

func (f *face) listOldVolumes(r *httpapi.Request) (any, error) {
	filter, err := oldPage(r)
	if err != nil {
		return nil, err
	}
	all, _, err := f.deps.Volumes.List(r.Context(), asVolumes(r), filter)
	out := make([]obj, len(all))
	for i := range all {
		out[i] = oldVolumeView(&all[i])
	}
	return obj{"volumes": out}, err
}

func (f *face) listOldSnapshots(r *httpapi.Request) (any, error) {
	filter, err := oldPage(r)
	if err != nil {
		return nil, err
	}
	all, _, err := f.deps.Volumes.ListSnapshots(r.Context(), asVolumes(r), filter)
	out := make([]obj, len(all))
	for i := range all {
		out[i] = oldSnapshotView(&all[i])
	}
	return obj{"snapshots": out}, err
}

func (f *face) createOldVolume(r *httpapi.Request) (any, error) {
	var b struct {
		Volume struct {
			Name        string            `json:"display_name"`
			Description string            `json:"display_description"`
			Size        flexInt           `json:"size"`
			Type        string            `json:"volume_type"`
			Zone        string            `json:"availability_zone"`
			Snapshot    string            `json:"snapshot_id"`
			Metadata    map[string]string `json:"metadata"`
		} `json:"volume"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	x := b.Volume
	if x.Size <= 0 {
		return nil, fault.Invalid("size", "Invalid input received: Volume size '%d' must be an integer and greater than 0", x.Size)
	}
	made, err := f.deps.Volumes.Create(r.Context(), asVolumes(r), volume.CreateParams{Name: x.Name, Description: x.Description, SizeGiB: int(x.Size), Type: x.Type, Zone: x.Zone,
		SnapshotID: x.Snapshot, Metadata: x.Metadata})
	if err != nil {
		return nil, err
	}
	return obj{"volume": oldVolumeView(made)}, nil
}

func (f *face) createOldSnapshot(r *httpapi.Request) (any, error) {
	var b struct {
		Snapshot struct {
			VolumeID    string   `json:"volume_id"`
			Name        string   `json:"display_name"`
			Description string   `json:"display_description"`
			Force       flexBool `json:"force"`
		} `json:"snapshot"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	x := b.Snapshot
	made, err := f.deps.Volumes.CreateSnapshot(r.Context(), asVolumes(r), volume.SnapshotParams{VolumeID: x.VolumeID, Name: x.Name, Description: x.Description, Force: bool(x.Force)})
	if err != nil {
		return nil, err
	}
	return obj{"snapshot": oldSnapshotView(made)}, nil
}
