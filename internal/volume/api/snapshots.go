package api

import (
	"nephos/internal/httpapi"
	"nephos/internal/volume"
)

func (s *server) createSnapshot(r *httpapi.Request) (any, error) {
	var body struct {
		Snapshot struct {
			naming
			VolumeID string            `json:"volume_id"`
			Force    boolean           `json:"force"`
			Metadata map[string]string `json:"metadata"`
		} `json:"snapshot"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	b := body.Snapshot
	if b.VolumeID == "" { // null: Cinder looks for it in earnest
		b.VolumeID = "None"
	}
	name, description := b.words()
	sn, err := s.svc.CreateSnapshot(r.Context(), by(r), volume.SnapshotParams{VolumeID: b.VolumeID, Name: deref(name), Description: deref(description),
		Force: bool(b.Force) || r.Version.AtLeast(v(66)), Metadata: b.Metadata})
	if err != nil {
		return nil, err
	}
	return map[string]any{"snapshot": snapshotView(sn, false)}, nil
}

func (s *server) listSnapshots(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		f, err := filter(r, volume.SnapshotColumns)
		if err != nil {
			return nil, err
		}
		list, total, err := s.svc.ListSnapshots(r.Context(), by(r), f)
		if err != nil {
			return nil, err
		}
		items := make([]map[string]any, 0, len(list))
		for i := range list {
			items = append(items, snapshotView(&list[i], detail))
		}
		return pageOf(r, "snapshots", items, f, total), nil
	}
}

func (s *server) showSnapshot(r *httpapi.Request) (any, error) {
	sn, err := s.svc.ShowSnapshot(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"snapshot": snapshotView(sn, true)}, nil
}

func (s *server) updateSnapshot(r *httpapi.Request) (any, error) {
	var body struct {
		Snapshot naming `json:"snapshot"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	var p volume.Patch
	p.Name, p.Description = body.Snapshot.words()
	sn, err := s.svc.UpdateSnapshot(r.Context(), by(r), r.Param("id"), p)
	if err != nil {
		return nil, err
	}
	return map[string]any{"snapshot": snapshotView(sn, false)}, nil
}

func (s *server) deleteSnapshot(r *httpapi.Request) (any, error) {
	return nil, s.svc.DeleteSnapshot(r.Context(), by(r), r.Param("id"), false)
}

func (s *server) forceDeleteSnapshot(r *httpapi.Request) (any, error) {
	return nil, s.svc.DeleteSnapshot(r.Context(), by(r), r.Param("id"), true)
}

func (s *server) resetSnapshot(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Status string `json:"status"`
		} `json:"os-reset_status"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return nil, s.svc.ResetSnapshotStatus(r.Context(), by(r), r.Param("id"), body.A.Status)
}

func (s *server) snapshotMetadata(r *httpapi.Request) (any, error) {
	sn, err := s.svc.ShowSnapshot(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"metadata": sn.Metadata.V}, nil
}

func (s *server) setSnapshotMetadata(replace bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		m, err := metadataOf(r)
		if err != nil {
			return nil, err
		}
		m, err = s.svc.SetSnapshotMetadata(r.Context(), by(r), r.Param("id"), m, replace)
		return map[string]any{"metadata": m}, err
	}
}

func (s *server) snapshotMetaItem(r *httpapi.Request) (any, error) {
	sn, err := s.svc.ShowSnapshot(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return pick(sn.Metadata.V, r.Param("key"))
}

func (s *server) setSnapshotMetaItem(r *httpapi.Request) (any, error) {
	m, err := metaItem(r)
	if err != nil {
		return nil, err
	}
	_, err = s.svc.SetSnapshotMetadata(r.Context(), by(r), r.Param("id"), m, false)
	return map[string]any{"meta": m}, err
}

func (s *server) dropSnapshotMetaItem(r *httpapi.Request) (any, error) {
	return done(s.svc.DropSnapshotMetadata(r.Context(), by(r), r.Param("id"), r.Param("key")))
}
