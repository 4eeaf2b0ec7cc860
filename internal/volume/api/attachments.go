package api

import (
	"fmt"

	"nephos/internal/httpapi"
	"nephos/internal/volume"
)

// connector keeps what a client tells of the place it attaches from; only scalars.
func connector(m map[string]any) map[string]string {
	if m == nil {
		return nil
	}
	out := map[string]string{}
	for k, val := range m {
		switch val.(type) {
		case string, float64, bool:
			out[k] = fmt.Sprint(val)
		}
	}
	return out
}

func (s *server) createAttachment(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Volume    string         `json:"volume_uuid"`
			Server    string         `json:"instance_uuid"`
			Connector map[string]any `json:"connector"`
			Mode      string         `json:"mode"`
		} `json:"attachment"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	a, x, err := s.svc.CreateAttachment(r.Context(), by(r), volume.AttachmentParams{VolumeID: body.A.Volume, ServerID: body.A.Server, Mode: body.A.Mode, Connector: connector(body.A.Connector)})
	if err != nil {
		return nil, err
	}
	return map[string]any{"attachment": attachmentView(a, x, true)}, nil
}

func (s *server) listAttachments(detail bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		f, err := filter(r, volume.AttachmentColumns)
		if err != nil {
			return nil, err
		}
		f.NameLike, f.Metadata = "", nil
		list, total, err := s.svc.Attachments(r.Context(), by(r), f)
		if err != nil {
			return nil, err
		}
		items := make([]map[string]any, 0, len(list))
		for i := range list {
			items = append(items, attachmentView(&list[i], nil, detail))
		}
		return pageOf(r, "attachments", items, f, total), nil
	}
}

func (s *server) showAttachment(r *httpapi.Request) (any, error) {
	a, x, err := s.svc.Attachment(r.Context(), by(r), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"attachment": attachmentView(a, x, true)}, nil
}

func (s *server) updateAttachment(r *httpapi.Request) (any, error) {
	var body struct {
		A struct {
			Connector map[string]any `json:"connector"`
		} `json:"attachment"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	a, x, err := s.svc.ConnectAttachment(r.Context(), by(r), r.Param("id"), connector(body.A.Connector))
	if err != nil {
		return nil, err
	}
	return map[string]any{"attachment": attachmentView(a, x, true)}, nil
}

func (s *server) completeAttachment(r *httpapi.Request) (any, error) {
	return nil, s.svc.CompleteAttachment(r.Context(), by(r), r.Param("id"))
}

// deleteAttachment answers with what is still attached: nothing, since a volume has one attachment at most.
func (s *server) deleteAttachment(r *httpapi.Request) (any, error) {
	if err := s.svc.DeleteAttachment(r.Context(), by(r), r.Param("id")); err != nil {
		return nil, err
	}
	return map[string]any{"attachments": []any{}}, nil
}
