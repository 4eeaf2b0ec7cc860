package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

func taskView(t image.Task, whole bool) object {
	o := object{"id": t.ID, "type": t.Type, "status": string(t.Status), "owner": t.Owner, "created_at": stamp(t.CreatedAt), "updated_at": stamp(t.UpdatedAt),
		"self": "/v2/tasks/" + t.ID, "schema": "/v2/schemas/task"}
	if !t.ExpiresAt.IsZero() {
		o["expires_at"] = stamp(t.ExpiresAt)
	}
	if whole {
		o["input"], o["result"], o["message"] = t.Input, t.Result, t.Message
		o["image_id"], o["request_id"], o["user_id"] = orNull(t.ImageID), t.RequestID, t.UserID
	}
	return o
}

// imageTasks is GET /images/{id}/tasks.
func (s *server) imageTasks(r *httpapi.Request) (any, error) {
	list, err := s.svc.TasksOf(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	out := []object{}
	for _, t := range list {
		out = append(out, taskView(t, true))
	}
	return object{"tasks": out}, nil
}

func (s *server) taskList(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	f := image.TaskFilter{Type: q.Get("type"), Status: q.Get("status"), SortKey: q.Get("sort_key"), Marker: q.Get("marker"), Limit: pageDefault}
	switch dir := q.Get("sort_dir"); dir {
	case "", "desc":
	case "asc":
		f.Asc = true
	default:
		return nil, badQuery("sort_dir", dir, "it must be asc or desc")
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, badQuery("limit", v, "limit must be an integer of 0 or more")
		}
		f.Limit = min(n, pageMost)
	}
	for _, v := range []string{f.Type, f.Status, f.Marker} {
		if !storable(v) {
			return nil, badQuery("type", v, "it must be UTF-8 without NUL")
		}
	}
	list, err := s.svc.Tasks(r.Context(), r.Creds, f)
	if err != nil {
		return nil, err
	}
	out := []object{}
	for _, t := range list {
		out = append(out, taskView(t, false))
	}
	body := object{"tasks": out, "schema": "/v2/schemas/tasks", "first": listURL("/v2/tasks", q, "")}
	if len(list) > 0 && len(list) == f.Limit {
		body["next"] = listURL("/v2/tasks", q, list[len(list)-1].ID)
	}
	return body, nil
}

// listURL is a list's own URL with another marker.
func listURL(path string, q url.Values, marker string) string {
	next := url.Values{}
	for k, v := range q {
		next[k] = v
	}
	next.Del("marker")
	if marker != "" {
		next.Set("marker", marker)
	}
	if len(next) == 0 {
		return path
	}
	return path + "?" + next.Encode()
}

func (s *server) taskShow(r *httpapi.Request) (any, error) {
	t, err := s.svc.TaskByID(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return taskView(t, true), nil
}

// taskCreate is POST /tasks. Of Glance's types only import is work that a client may ask for this way: an image is made and downloaded.
func (s *server) taskCreate(r *httpapi.Request) (any, error) {
	var body struct {
		Type  string          `json:"type"`
		Input json.RawMessage `json:"input"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.Type != "import" {
		return nil, fault.Invalid("type", "Invalid type: %q. This service runs tasks of type import; it makes the others itself.", body.Type)
	}
	var input struct {
		From       string         `json:"import_from"`
		Format     string         `json:"import_from_format"`
		Properties map[string]any `json:"image_properties"`
	}
	d := json.NewDecoder(bytes.NewReader(body.Input))
	d.UseNumber()
	if err := d.Decode(&input); err != nil {
		return nil, fault.Invalid("input", "Input to 'import' task is invalid: %v", err)
	}
	if input.From == "" || input.Properties == nil {
		return nil, fault.Invalid("input", "Input to 'import' task is missing import_from or image_properties.")
	}
	var img image.Image
	if input.Properties["disk_format"] == nil && input.Format != "" {
		input.Properties["disk_format"] = input.Format
	}
	if err := s.fillIn(r, &img, input.Properties); err != nil {
		return nil, err
	}
	made, err := s.svc.Create(r.Context(), r.Creds, createParams(img))
	if err != nil {
		return nil, err
	}
	task, err := s.svc.Import(r.Context(), r.Creds, made.ID, image.ImportParams{Method: image.WebDownload, URI: input.From, MustAll: true, Kind: "import", Input: body.Input, RequestID: r.ID})
	if err != nil { // nothing was begun: the record goes again
		if derr := s.svc.Delete(r.Context(), nil, made.ID); derr != nil && !fault.IsNotFound(derr) {
			return nil, derr
		}
		return nil, err
	}
	h := http.Header{}
	h.Set("Location", r.HostURL()+"/v2/tasks/"+task.ID)
	return &httpapi.Response{Header: h, Body: taskView(task, true)}, nil
}
