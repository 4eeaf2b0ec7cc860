package workflow

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"strings"

	"nephos/internal/db"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are this room's tables.
func Migrations() db.Migrations {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the path is embedded above
	}
	return db.Migrations{Room: "workflow", FS: sub}
}

const (
	statusRunning   = "running"
	statusUndoing   = "undoing"
	statusDone      = "done"
	statusFailed    = "failed"
	statusCancelled = "cancelled"
)

// row is a line of the table workflows.
type row struct {
	ID         string  `db:"id"`
	Kind       string  `db:"kind"`
	Subject    string  `db:"subject"`
	ProjectID  string  `db:"project_id"`
	UserID     string  `db:"user_id"`
	RequestID  string  `db:"request_id"`
	Status     string  `db:"status"`
	Step       int     `db:"step"` // running: next to do; undoing: next to undo
	StepName   string  `db:"step_name"`
	BackTo     int     `db:"back_to"` // undoing: the step to go on from, -1: end as failed
	Try        int     `db:"try"`
	NextSeq    int64   `db:"next_seq"`
	State      string  `db:"state"`
	Owner      string  `db:"owner"`
	Epoch      int64   `db:"epoch"`
	LeaseUntil db.Time `db:"lease_until"`
	Deadline   db.Time `db:"deadline"`
	ErrStep    string  `db:"err_step"`
	Err        string  `db:"err"`
	Created    db.Time `db:"created_at"`
	Updated    db.Time `db:"updated_at"`
	Finished   db.Time `db:"finished_at"`
}

// errLost: another process, or a cancel, has taken the workflow away.
var errLost = errors.New("the workflow was taken over or cancelled")

// save writes progress under the fence; errLost if the epoch has moved on.
func (w *row) save(ctx context.Context, tx *db.Tx) error {
	n, err := tx.Exec(ctx, `UPDATE workflows SET status = ?, step = ?, step_name = ?, back_to = ?, try = ?, next_seq = ?, state = ?,
		lease_until = ?, err_step = ?, err = ?, updated_at = ?, finished_at = ? WHERE id = ? AND epoch = ? AND status IN ('running', 'undoing')`,
		w.Status, w.Step, w.StepName, w.BackTo, w.Try, w.NextSeq, w.State, w.LeaseUntil, w.ErrStep, w.Err, w.Updated, w.Finished, w.ID, w.Epoch)
	if err == nil && n == 0 {
		return errLost
	}
	return err
}

// journal appends entries, numbering them from w.NextSeq.
func (w *row) journal(ctx context.Context, tx *db.Tx, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var q strings.Builder
	q.WriteString(`INSERT INTO workflow_steps (workflow_id, seq, step, parent, phase, try, host, started_at, finished_at, err, detail) VALUES `)
	args := make([]any, 0, 11*len(entries))
	for i, e := range entries {
		if i > 0 {
			q.WriteString(", ")
		}
		q.WriteString("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
		args = append(args, w.ID, w.NextSeq, e.Step, e.Parent, e.Phase, e.Try, e.Host, e.Started, e.Finished, e.Err, e.Detail)
		w.NextSeq++
	}
	_, err := tx.Exec(ctx, q.String(), args...)
	return err
}

// History lists the workflows of a subject, newest first, with their journals.
func History(ctx context.Context, tx *db.Tx, subject string) ([]Record, error) {
	var out []Record
	err := tx.Select(ctx, &out, `SELECT id, kind, subject, project_id, user_id, request_id, status, step_name, try, err_step, err, created_at, updated_at, finished_at
		FROM workflows WHERE subject = ? ORDER BY created_at DESC, id`, subject)
	if err != nil || len(out) == 0 {
		return out, err
	}
	at := map[string]int{}
	ids := make([]string, len(out))
	for i := range out {
		at[out[i].ID], ids[i] = i, out[i].ID
	}
	var steps []Entry
	if err := tx.Select(ctx, &steps, `SELECT * FROM workflow_steps WHERE workflow_id IN (?) ORDER BY workflow_id, seq`, ids); err != nil {
		return nil, err
	}
	for _, s := range steps {
		r := &out[at[s.WorkflowID]]
		r.Steps = append(r.Steps, s)
	}
	return out, nil
}

// ActiveSubjects lists which of the subjects have a workflow under way, with its kind.
func ActiveSubjects(ctx context.Context, tx *db.Tx) (map[string]string, error) {
	var rows []struct {
		Subject string `db:"subject"`
		Kind    string `db:"kind"`
	}
	if err := tx.Select(ctx, &rows, `SELECT subject, kind FROM workflows WHERE status IN ('running', 'undoing')`); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(rows))
	for _, r := range rows {
		out[r.Subject] = r.Kind
	}
	return out, nil
}
