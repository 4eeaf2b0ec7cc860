-- +goose Up
CREATE TABLE quota_limits (
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL DEFAULT '',
  resource TEXT NOT NULL,
  lim BIGINT NOT NULL,
  PRIMARY KEY (project_id, user_id, resource)
);
CREATE TABLE quota_usage (
  project_id TEXT NOT NULL,
  resource TEXT NOT NULL,
  used BIGINT NOT NULL CHECK (used >= 0),
  PRIMARY KEY (project_id, resource)
);

-- +goose Down
DROP TABLE quota_usage;
DROP TABLE quota_limits;
