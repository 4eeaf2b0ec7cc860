-- +goose Up
CREATE TABLE controllers (
  name TEXT PRIMARY KEY,
  conductor_id TEXT NOT NULL UNIQUE,
  scheduler_id TEXT NOT NULL UNIQUE,
  seen_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE console_tokens (
  token_hash TEXT PRIMARY KEY,
  server_id TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
  console_type TEXT NOT NULL,
  host TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX console_tokens_server ON console_tokens (server_id);
CREATE INDEX console_tokens_expiry ON console_tokens (expires_at);

-- +goose Down
DROP TABLE console_tokens;
DROP TABLE controllers;
