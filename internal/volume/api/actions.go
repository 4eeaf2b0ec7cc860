package api

import (
	"context"

	"nephos/internal/httpapi"
	"nephos/internal/volume"
)

// simple is an action that needs nothing but the volume.
func (s *server) simple(act func(ctx context.Context, by volume.By, id string) error) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) { return nil, act(r.Context(), by(r), r.Param("id")) }
}

func (s *server) extend(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Size number `json:"new_size"`
		} `json:"os-extend"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return nil, s.svc.Extend(r.Context(), by(r), r.Param("id"), int(body.A.Size), r.Version.AtLeast(v(42)))
}

func (s *server) attach(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Server string `json:"instance_uuid"`
			Host   string `json:"host_name"`
			Device string `json:"mountpoint"`
			Mode   string `json:"mode"`
		} `json:"os-attach"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return nil, s.svc.AttachAction(r.Context(), by(r), r.Param("id"), body.A.Server, body.A.Host, body.A.Device, body.A.Mode)
}

func (s *server) detach(action string) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		var body map[string]*struct {
			Attachment *string `json:"attachment_id"`
		}
		if err := r.Decode(&body); err != nil {
			return nil, err
		}
		id := ""
		if a := body[action]; a != nil {
			id = deref(a.Attachment)
		}
		return nil, s.svc.DetachAction(r.Context(), by(r), r.Param("id"), id)
	}
}

// connection is os-initialize_connection: how the volume is reached. File volumes are opened by the agent of their host only.
func (s *server) connection(r *httpapi.Request) (any, error) {
	x, err := s.svc.Show(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"connection_info": map[string]any{"driver_volume_type": volume.DefaultType, "data": connection(x)}}, nil
}

func (s *server) exists(r *httpapi.Request) (any, error) {
	_, err := s.svc.Show(r.Context(), by(r), r.Param("id"))
	return nil, err
}

func (s *server) setBootable(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Bootable boolean `json:"bootable"`
		} `json:"os-set_bootable"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return done(s.svc.SetBootable(r.Context(), by(r), r.Param("id"), bool(body.A.Bootable)))
}

func (s *server) setReadOnly(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			ReadOnly boolean `json:"readonly"`
		} `json:"os-update_readonly_flag"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return nil, s.svc.SetReadOnly(r.Context(), by(r), r.Param("id"), bool(body.A.ReadOnly))
}

func (s *server) retype(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Type string `json:"new_type"`
		} `json:"os-retype"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return nil, s.svc.Retype(r.Context(), by(r), r.Param("id"), body.A.Type)
}

func (s *server) resetStatus(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Status string `json:"status"`
			Attach string `json:"attach_status"`
		} `json:"os-reset_status"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return nil, s.svc.ResetStatus(r.Context(), by(r), r.Param("id"), body.A.Status, body.A.Attach)
}

func (s *server) forceDelete(r *httpapi.Request) (any, error) {
	return nil, s.svc.Delete(r.Context(), by(r), r.Param("id"), volume.DeleteOptions{Force: true})
}

func (s *server) setImageMetadata(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Metadata map[string]string `json:"metadata"`
		} `json:"os-set_image_metadata"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	m, err := s.svc.SetImageMetadata(r.Context(), by(r), r.Param("id"), body.A.Metadata)
	return map[string]any{"metadata": m}, err
}

func (s *server) unsetImageMetadata(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Key string `json:"key"`
		} `json:"os-unset_image_metadata"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return done(s.svc.DropImageMetadata(r.Context(), by(r), r.Param("id"), body.A.Key))
}

func (s *server) showImageMetadata(r *httpapi.Request) (any, error) {
	x, err := s.svc.Show(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"metadata": x.ImageMetadata.V}, nil
}
