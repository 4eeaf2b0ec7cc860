-- +goose Up
CREATE TABLE migrations (
  uuid TEXT PRIMARY KEY,
  id BIGINT NOT NULL UNIQUE,
  server_id TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  source_host TEXT NOT NULL,
  dest_host TEXT NOT NULL DEFAULT '',
  want_host TEXT NOT NULL DEFAULT '',
  old_flavor TEXT NOT NULL,
  new_flavor TEXT NOT NULL,
  old_state TEXT NOT NULL,
  progress TEXT NOT NULL DEFAULT '{}',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX migrations_server ON migrations (server_id);
CREATE INDEX migrations_updated ON migrations (updated_at);
ALTER TABLE servers ADD COLUMN migration_id TEXT NOT NULL DEFAULT '';
CREATE INDEX servers_migration ON servers (migration_id) WHERE migration_id <> '';

-- +goose Down
DROP INDEX servers_migration;
ALTER TABLE servers DROP COLUMN migration_id;
DROP TABLE migrations;
