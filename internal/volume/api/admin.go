package api

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/quota"
	"nephos/internal/volume"
)

// quotas reads a project's limits and usage.
func (s *server) quotas(ctx context.Context, project string) (limits, used map[string]int64, err error) {
	err = s.deps.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if limits, err = s.deps.Quotas.Limits(ctx, tx, project, quota.VolumeResources); err != nil {
			return err
		}
		used, err = s.deps.Quotas.Usage(ctx, tx, project)
		return err
	})
	return limits, used, err
}

func (s *server) limits(r *httpapi.Request) (any, error) {
	project := r.Creds.ProjectID
	if p := r.URL.Query().Get("project_id"); p != "" && r.Version.AtLeast(v(39)) && r.Creds.IsAdmin() {
		project = p
	}
	lim, used, err := s.quotas(r.Context(), project)
	if err != nil {
		return nil, err
	}
	return map[string]any{"limits": map[string]any{"rate": []any{}, "absolute": map[string]any{
		"maxTotalVolumes": lim["volumes"], "maxTotalSnapshots": lim["snapshots"], "maxTotalVolumeGigabytes": lim["gigabytes"], "maxTotalBackups": lim["backups"],
		"maxTotalBackupGigabytes": lim["backup_gigabytes"], "totalVolumesUsed": used["volumes"], "totalSnapshotsUsed": used["snapshots"],
		"totalGigabytesUsed": used["gigabytes"], "totalBackupsUsed": used["backups"], "totalBackupGigabytesUsed": used["backup_gigabytes"],
	}}}, nil
}

func quotaView(id string, limits, used map[string]int64, usage bool) map[string]any {
	set := map[string]any{}
	if id != "" {
		set["id"] = id
	}
	for k, limit := range limits {
		if usage {
			set[k] = map[string]any{"limit": limit, "in_use": used[k], "reserved": 0, "allocated": 0}
		} else {
			set[k] = limit
		}
	}
	return set
}

func (s *server) showQuota(r *httpapi.Request) (any, error) {
	lim, used, err := s.quotas(r.Context(), r.Param("project"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"quota_set": quotaView(r.Param("project"), lim, used, yes(r, "usage"))}, nil
}

func (s *server) defaultQuota(r *httpapi.Request) (any, error) {
	var lim map[string]int64
	err := s.deps.DB.Read(r.Context(), func(tx *db.Tx) (err error) {
		lim, err = s.deps.Quotas.DefaultLimits(r.Context(), tx, quota.VolumeResources)
		return err
	})
	return map[string]any{"quota_set": quotaView(r.Param("project"), lim, nil, false)}, err
}

// wanted reads the limits of a body. Keys that are no resource here (tenant_id, skip_validation, per-type quotas) are passed over,
// as long as one is.
func wanted(r *httpapi.Request, key string) (map[string]int64, error) {
	var body map[string]map[string]json.RawMessage
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for k, raw := range body[key] {
		if !slices.Contains(quota.VolumeResources, k) {
			continue
		}
		n, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
		if err != nil || n < quota.Unlimited || n > 1<<31-1 {
			return nil, fault.Invalid(k, "Invalid input received: quota %s must be an integer of -1 or more, not %s.", k, raw)
		}
		out[k] = n
	}
	return out, nil
}

func (s *server) updateQuota(r *httpapi.Request) (any, error) {
	want, err := wanted(r, "quota_set")
	if err != nil {
		return nil, err
	}
	err = s.deps.DB.Write(r.Context(), func(tx *db.Tx) error {
		for k, n := range want {
			if err := s.deps.Quotas.SetLimit(r.Context(), tx, r.Param("project"), k, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	lim, _, err := s.quotas(r.Context(), r.Param("project"))
	return map[string]any{"quota_set": quotaView("", lim, nil, false)}, err
}

func (s *server) deleteQuota(r *httpapi.Request) (any, error) {
	return done(s.deps.DB.Write(r.Context(), func(tx *db.Tx) error {
		return s.deps.Quotas.Reset(r.Context(), tx, r.Param("project"), quota.VolumeResources)
	}))
}

func (s *server) class(r *httpapi.Request, id string) (any, error) {
	var lim map[string]int64
	err := s.deps.DB.Read(r.Context(), func(tx *db.Tx) (err error) {
		lim, err = s.deps.Quotas.DefaultLimits(r.Context(), tx, quota.VolumeResources)
		return err
	})
	return map[string]any{"quota_class_set": quotaView(id, lim, nil, false)}, err
}

func (s *server) showClass(r *httpapi.Request) (any, error) {
	return s.class(r, r.Param("class"))
}

// updateClass changes the default limits; there is no other class.
func (s *server) updateClass(r *httpapi.Request) (any, error) {
	if r.Param("class") != "default" {
		return nil, fault.Invalid("class", "Quota class %s is not known: only default exists.", r.Param("class"))
	}
	want, err := wanted(r, "quota_class_set")
	if err != nil {
		return nil, err
	}
	err = s.deps.DB.Write(r.Context(), func(tx *db.Tx) error {
		for k, n := range want {
			if err := s.deps.Quotas.SetDefault(r.Context(), tx, k, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.class(r, "")
}

func (s *server) zones(*httpapi.Request) (any, error) {
	out := []map[string]any{}
	for _, z := range s.svc.Zones() {
		out = append(out, map[string]any{"zoneName": z.Name, "zoneState": map[string]any{"available": z.Available}})
	}
	return map[string]any{"availabilityZoneInfo": out}, nil
}

// services shows this controller as Cinder's scheduler and every storage host as a cinder-volume.
func (s *server) services(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	word := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	out := []map[string]any{{"binary": "cinder-scheduler", "host": s.deps.Node, "zone": volume.DefaultZone, "status": "enabled", "state": "up",
		"disabled_reason": nil, "updated_at": time.Now().UTC().Format(timeForm)}}
	for _, h := range s.svc.Hosts.StorageHosts() {
		item := map[string]any{"binary": "cinder-volume", "host": h.Name + "@" + volume.DefaultType, "zone": zoneOf(h), "status": word(h.Enabled, "enabled", "disabled"),
			"state": word(h.Up, "up", "down"), "disabled_reason": nil, "updated_at": signal(h), "replication_status": "disabled", "active_backend_id": nil, "frozen": false}
		if r.Version.AtLeast(v(49)) {
			item["backend_state"] = word(h.Up, "up", "down")
		}
		out = append(out, item)
	}
	out = slices.DeleteFunc(out, func(m map[string]any) bool {
		host, _ := m["host"].(string)
		name, _, _ := strings.Cut(host, "@")
		return q.Get("binary") != "" && m["binary"] != q.Get("binary") || q.Get("host") != "" && host != q.Get("host") && name != q.Get("host")
	})
	if r.Version.AtLeast(v(7)) {
		for _, m := range out {
			m["cluster"] = nil
		}
	}
	return map[string]any{"services": out}, nil
}

func zoneOf(h volume.StorageHost) string {
	if h.Zone == "" {
		return volume.DefaultZone
	}
	return h.Zone
}

func signal(h volume.StorageHost) any {
	t, err := time.Parse(time.RFC3339, h.LastSignal)
	if err != nil {
		return nil
	}
	return t.UTC().Format(timeForm)
}

func (s *server) pools(r *httpapi.Request) (any, error) {
	detail := yes(r, "detail")
	out := []map[string]any{}
	for _, h := range s.svc.Hosts.StorageHosts() {
		if !h.Up {
			continue
		}
		pool := map[string]any{"name": h.Name + "@" + volume.DefaultType + "#" + volume.DefaultType}
		if detail {
			pool["capabilities"] = map[string]any{"total_capacity_gb": h.DiskGiB, "free_capacity_gb": h.FreeDiskGiB, "volume_backend_name": volume.DefaultType,
				"driver_version": h.Version, "storage_protocol": "file", "vendor_name": "nephos", "QoS_support": false, "reserved_percentage": 0,
				"timestamp": time.Now().UTC().Format(timeForm)}
		}
		out = append(out, pool)
	}
	return map[string]any{"pools": out}, nil
}

// extensions lists what clients look for by alias.
func extensions(*httpapi.Request) (any, error) {
	out := []map[string]any{}
	for _, e := range []struct{ alias, name, words string }{
		{"os-vol-tenant-attr", "VolumeTenantAttribute", "Expose the project of a volume."},
		{"os-vol-host-attr", "VolumeHostAttribute", "Expose the host of a volume to administrators."},
		{"os-vol-image-meta", "VolumeImageMetadata", "Show image metadata associated with a volume."},
		{"os-volume-actions", "VolumeActions", "Enable volume actions."},
		{"os-admin-actions", "AdminActions", "Enable admin actions."},
		{"os-extended-snapshot-attributes", "ExtendedSnapshotAttributes", "Extended snapshot attributes."},
		{"os-types-manage", "TypesManage", "Manage volume types."},
		{"os-types-extra-specs", "TypesExtraSpecs", "Volume type extra specs."},
		{"os-volume-type-access", "VolumeTypeAccess", "Volume type access."},
		{"os-quota-sets", "Quotas", "Quota management."},
		{"os-quota-class-sets", "QuotaClasses", "Quota class management."},
		{"os-used-limits", "UsedLimits", "Usage in limits."},
		{"os-services", "Services", "List storage services."},
		{"os-availability-zone", "AvailabilityZones", "Describe availability zones."},
		{"scheduler-stats", "Scheduler_stats", "Scheduler stats."},
	} {
		out = append(out, map[string]any{"alias": e.alias, "name": e.name, "description": e.words, "updated": "2026-01-01T00:00:00+00:00", "links": []any{}})
	}
	return map[string]any{"extensions": out}, nil
}

func resourceFilters(*httpapi.Request) (any, error) {
	return map[string]any{"resource_filters": []map[string]any{
		{"resource": "volume", "filters": []string{"name", "status", "metadata", "bootable", "availability_zone", "name~"}},
		{"resource": "snapshot", "filters": []string{"name", "status", "volume_id", "metadata", "name~"}},
		{"resource": "attachment", "filters": []string{"volume_id", "status", "instance_id"}},
	}}, nil
}
