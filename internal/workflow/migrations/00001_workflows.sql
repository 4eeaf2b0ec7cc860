-- +goose Up
CREATE TABLE workflows (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('running', 'undoing', 'done', 'failed', 'cancelled')),
  step BIGINT NOT NULL,
  step_name TEXT NOT NULL,
  back_to BIGINT NOT NULL DEFAULT -1,
  try BIGINT NOT NULL,
  next_seq BIGINT NOT NULL,
  state TEXT NOT NULL,
  owner TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  deadline BIGINT NOT NULL,
  err_step TEXT NOT NULL DEFAULT '',
  err TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  finished_at BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX workflows_active ON workflows (subject) WHERE status IN ('running', 'undoing');
CREATE INDEX workflows_lease ON workflows (lease_until) WHERE status IN ('running', 'undoing');
CREATE INDEX workflows_subject ON workflows (subject, created_at);

CREATE TABLE workflow_steps (
  workflow_id TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
  seq BIGINT NOT NULL,
  step TEXT NOT NULL,
  parent TEXT NOT NULL DEFAULT '',
  phase TEXT NOT NULL,
  try BIGINT NOT NULL,
  host TEXT NOT NULL DEFAULT '',
  started_at BIGINT NOT NULL,
  finished_at BIGINT NOT NULL,
  err TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (workflow_id, seq)
);

-- +goose Down
DROP TABLE workflow_steps;
DROP TABLE workflows;
