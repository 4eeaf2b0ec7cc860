package api

import (
	"maps"
	"strings"

	"nephos/internal/db"
	"nephos/internal/httpapi"
	"nephos/internal/volume"
)

// timeForm is Cinder's: microseconds, no zone.
const timeForm = "2006-01-02T15:04:05.000000"

func stamp(t db.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(timeForm)
}

// orNil shows an empty word as null.
func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// volumeView is a volume in the newest form. full adds what Cinder's extensions add to show and detail, but not to create and update.
func volumeView(r *httpapi.Request, x *volume.Volume, full bool) map[string]any {
	attachments := []map[string]any{}
	for _, a := range x.Attachments {
		if a.Status != "attached" && a.Status != "detaching" {
			continue
		}
		var host any
		if r.Creds.IsAdmin() {
			host = orNil(a.Host)
		}
		attachments = append(attachments, map[string]any{"id": x.ID, "attachment_id": a.ID, "volume_id": x.ID, "server_id": orNil(a.ServerID), "host_name": host,
			"device": orNil(a.Device), "attached_at": stamp(a.Attached)})
	}
	meta := maps.Clone(x.Metadata.V)
	if meta == nil {
		meta = map[string]string{}
	}
	if x.ReadOnly {
		meta["readonly"] = "True"
	}
	out := map[string]any{
		"id": x.ID, "status": string(x.Status), "size": x.SizeGiB, "availability_zone": x.Zone, "created_at": stamp(x.Created), "updated_at": stamp(x.Updated),
		"attachments": attachments, "name": orNil(x.Name), "description": orNil(x.Description), "volume_type": x.Type, "snapshot_id": orNil(x.SnapshotID),
		"source_volid": orNil(x.SourceVolume), "metadata": meta, "links": r.Links("volumes", x.ID), "user_id": x.UserID, "bootable": boolWord(x.Bootable),
		"encrypted": false, "replication_status": nil, "consistencygroup_id": nil, "multiattach": false, "migration_status": nil,
		"group_id": nil, "shared_targets": false, "service_uuid": nil, "volume_type_id": x.TypeID, "encryption_key_id": nil, "consumes_quota": true,
	}
	if r.Creds.IsAdmin() {
		out["provider_id"], out["cluster_name"] = nil, nil
	}
	if !full {
		return out
	}
	out["os-vol-tenant-attr:tenant_id"] = x.ProjectID
	if r.Creds.IsAdmin() {
		out["os-vol-host-attr:host"] = orNil(x.HostName())
		out["os-vol-mig-status-attr:migstat"], out["os-vol-mig-status-attr:name_id"] = nil, nil
	}
	if len(x.ImageMetadata.V) > 0 {
		out["volume_image_metadata"] = x.ImageMetadata.V
	}
	return out
}

func boolWord(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func snapshotView(x *volume.Snapshot, full bool) map[string]any {
	meta := x.Metadata.V
	if meta == nil {
		meta = map[string]string{}
	}
	out := map[string]any{"id": x.ID, "created_at": stamp(x.Created), "updated_at": stamp(x.Updated), "name": orNil(x.Name), "description": orNil(x.Description),
		"volume_id": x.VolumeID, "status": string(x.Status), "size": x.SizeGiB, "metadata": meta, "group_snapshot_id": nil, "user_id": x.UserID, "consumes_quota": true}
	if full {
		progress := "0%"
		if x.Status == volume.Available {
			progress = "100%"
		}
		out["os-extended-snapshot-attributes:progress"], out["os-extended-snapshot-attributes:project_id"] = progress, x.ProjectID
	}
	return out
}

func typeView(r *httpapi.Request, t *volume.Type) map[string]any {
	out := map[string]any{"id": t.ID, "name": t.Name, "description": orNil(t.Description), "is_public": t.Public, "os-volume-type-access:is_public": t.Public}
	if r.Creds.IsAdmin() {
		out["extra_specs"], out["qos_specs_id"] = t.ExtraSpecs.V, nil
		return out
	}
	out["extra_specs"] = visibleSpecs(t)
	return out
}

// visibleSpecs are the extra specs that users may see (Cinder's list).
func visibleSpecs(t *volume.Type) map[string]string {
	out := map[string]string{}
	for _, k := range []string{"multiattach", "RESKEY:availability_zones", "replication_enabled"} {
		if v, ok := t.ExtraSpecs.V[k]; ok {
			out[k] = v
		}
	}
	return out
}

// attachmentView is an attachment. The connection tells volume and host, never a path: only the host's own agent may open the file.
func attachmentView(a *volume.Attachment, v *volume.Volume, detail bool) map[string]any {
	out := map[string]any{"id": a.ID, "status": a.Status, "instance": orNil(a.ServerID), "volume_id": a.VolumeID}
	if !detail {
		return out
	}
	info := map[string]any{}
	if v != nil && a.Status != "reserved" {
		info = connection(v)
		info["attachment_id"] = a.ID
	}
	out["attached_at"], out["detached_at"], out["attach_mode"], out["connection_info"] = stamp(a.Attached), nil, orNil(a.Mode), info
	return out
}

func connection(v *volume.Volume) map[string]any {
	return map[string]any{"driver_volume_type": volume.DefaultType, "volume_id": v.ID, "host": v.Host, "format": v.Format, "access_mode": map[bool]string{true: "ro", false: "rw"}[v.ReadOnly],
		"encrypted": false, "discard": true}
}

// ledger takes away what came later than the client's microversion.
var ledger = []httpapi.Change{
	drop(13, "volume", "group_id"), drop(21, "volume", "provider_id"), drop(48, "volume", "shared_targets", "service_uuid"), drop(61, "volume", "cluster_name"),
	drop(63, "volume", "volume_type_id"), drop(64, "volume", "encryption_key_id"), drop(65, "volume", "consumes_quota"),
	drop(14, "snapshot", "group_snapshot_id"), drop(41, "snapshot", "user_id"), drop(65, "snapshot", "consumes_quota"),
}

func drop(minor int, resource string, keys ...string) httpapi.Change {
	return httpapi.Change{At: v(minor), Resource: resource, Name: "adds " + strings.Join(keys, ", "), Response: func(_ *httpapi.Request, obj map[string]any) {
		for _, k := range keys {
			delete(obj, k)
		}
	}}
}
