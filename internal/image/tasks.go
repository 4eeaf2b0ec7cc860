package image

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// TaskStatus is where a task is in its life.
type TaskStatus string

// The statuses, by Glance's names.
const (
	TaskPending    TaskStatus = "pending"
	TaskProcessing TaskStatus = "processing"
	TaskSuccess    TaskStatus = "success"
	TaskFailure    TaskStatus = "failure"
)

// taskLife is how long an ended task is kept (Glance's task_time_to_live).
const taskLife = 48 * time.Hour

// Task is one piece of work on an image, as its owner may watch it.
type Task struct {
	ID        string          `db:"id"`
	Type      string          `db:"type"` // api_image_import, location_import, import
	Status    TaskStatus      `db:"status"`
	Owner     string          `db:"owner"`
	ImageID   string          `db:"image_id"`
	UserID    string          `db:"user_id"`
	RequestID string          `db:"request_id"`
	Input     json.RawMessage `db:"-"`
	Result    json.RawMessage `db:"-"` // nil: none
	Message   string          `db:"message"`
	CreatedAt time.Time       `db:"-"`
	UpdatedAt time.Time       `db:"-"`
	ExpiresAt time.Time       `db:"-"` // zero until it has ended
}

type taskRow struct {
	Task
	Input   string  `db:"input"`
	Result  string  `db:"result"`
	Created db.Time `db:"created_at"`
	Updated db.Time `db:"updated_at"`
	Expires db.Time `db:"expires_at"`
}

func (r taskRow) task() Task {
	t := r.Task
	t.Input, t.CreatedAt, t.UpdatedAt, t.ExpiresAt = json.RawMessage(r.Input), r.Created.Time, r.Updated.Time, r.Expires.Time
	if r.Result != "" {
		t.Result = json.RawMessage(r.Result)
	}
	return t
}

func newTask(kind, owner, imageID, userID, requestID string, input json.RawMessage) taskRow {
	if input == nil {
		input = json.RawMessage("{}")
	}
	now := db.Now()
	return taskRow{Task: Task{ID: uuid.NewString(), Type: kind, Status: TaskPending, Owner: owner, ImageID: imageID, UserID: userID, RequestID: requestID},
		Input: string(input), Created: now, Updated: now}
}

// endTask ends a task that has not ended.
func endTask(ctx context.Context, tx *db.Tx, id string, status TaskStatus, result, message string) error {
	now := db.Now()
	_, err := tx.Exec(ctx, `UPDATE image_tasks SET status = ?, result = ?, message = ?, updated_at = ?, expires_at = ? WHERE id = ? AND status IN ('pending', 'processing')`,
		string(status), result, message, now, db.At(now.Add(taskLife)), id)
	return err
}

// TaskFilter selects and orders tasks.
type TaskFilter struct {
	Type, Status string // "": any
	SortKey      string // created_at (default), expires_at, id, status, type, updated_at
	Asc          bool
	Limit        int
	Marker       string // id of the last task of the page before
}

var taskKeys = []string{"created_at", "expires_at", "id", "status", "type", "updated_at"}

// Tasks lists tasks: all for an admin, else those of the caller's project.
func (s *Service) Tasks(ctx context.Context, creds *policy.Credentials, f TaskFilter) (out []Task, err error) {
	if f.SortKey == "" {
		f.SortKey = "created_at"
	}
	if !slices.Contains(taskKeys, f.SortKey) {
		return nil, fault.Invalid("sort_key", "Invalid sort key: %s", f.SortKey)
	}
	w := &where{}
	w.add("1 = 1")
	if creds != nil && !creds.IsAdmin() {
		w.add("owner = ?", creds.ProjectID)
	}
	if f.Type != "" {
		w.add("type = ?", f.Type)
	}
	if f.Status != "" {
		w.add("status = ?", f.Status)
	}
	dir, op := " DESC", "<"
	if f.Asc {
		dir, op = "", ">"
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		w := where{slices.Clone(w.terms), slices.Clone(w.args)}
		if f.Marker != "" {
			if _, err := loadTask(ctx, tx, f.Marker); err != nil {
				return fault.NotFound("The marker %s is no task.", f.Marker)
			}
			at := "(SELECT " + f.SortKey + " FROM image_tasks WHERE id = ?)"
			w.add("("+f.SortKey+" "+op+" "+at+" OR "+f.SortKey+" = "+at+" AND id "+op+" ?)", f.Marker, f.Marker, f.Marker)
		}
		var rows []taskRow
		q := "SELECT * FROM image_tasks WHERE " + w.text() + " ORDER BY " + f.SortKey + dir + ", id" + dir + " LIMIT ?"
		if err := tx.Select(ctx, &rows, q, append(w.args, f.Limit)...); err != nil {
			return err
		}
		for _, r := range rows {
			out = append(out, r.task())
		}
		return nil
	})
	return out, err
}

func loadTask(ctx context.Context, tx *db.Tx, id string) (Task, error) {
	var r taskRow
	if uuid.Validate(id) != nil {
		return Task{}, fault.NotFound("Task not found for task_id %s", id)
	}
	err := tx.Get(ctx, &r, `SELECT * FROM image_tasks WHERE id = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return Task{}, fault.NotFound("Task not found for task_id %s", id)
	}
	return r.task(), err
}

// TaskByID is one task; 404 when it is not the caller's.
func (s *Service) TaskByID(ctx context.Context, creds *policy.Credentials, id string) (t Task, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		t, err = loadTask(ctx, tx, id)
		return err
	})
	if err == nil && creds != nil && !creds.IsAdmin() && t.Owner != creds.ProjectID {
		err = fault.NotFound("Task not found for task_id %s", id)
	}
	return t, err
}

// TasksOf lists an image's tasks, the oldest first.
func (s *Service) TasksOf(ctx context.Context, creds *policy.Credentials, id string) (out []Task, err error) {
	if _, err := s.Get(ctx, creds, id); err != nil {
		return nil, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		var rows []taskRow
		out = nil
		if err := tx.Select(ctx, &rows, `SELECT * FROM image_tasks WHERE image_id = ? ORDER BY created_at, id`, id); err != nil {
			return err
		}
		for _, r := range rows {
			out = append(out, r.task())
		}
		return nil
	})
	return out, err
}

// expireTasks forgets tasks that ended long ago.
func (s *Service) expireTasks(ctx context.Context) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM image_tasks WHERE expires_at > 0 AND expires_at < ?`, db.Now())
		return err
	})
}
