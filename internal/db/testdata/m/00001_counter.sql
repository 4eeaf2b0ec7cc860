-- +goose Up
CREATE TABLE counters (
  id TEXT PRIMARY KEY,
  used BIGINT NOT NULL,
  lim BIGINT NOT NULL,
  at BIGINT NOT NULL DEFAULT 0,
  flag BOOLEAN NOT NULL DEFAULT FALSE,
  doc TEXT NOT NULL DEFAULT '',
  raw BYTEA,
  CHECK (used <= lim)
);
CREATE TABLE kids (id TEXT PRIMARY KEY, counter TEXT NOT NULL REFERENCES counters(id));

-- +goose Down
DROP TABLE kids;
DROP TABLE counters;
