-- +goose Up
CREATE TABLE volume_types (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL DEFAULT '',
  is_public BOOLEAN NOT NULL DEFAULT TRUE,
  extra_specs TEXT NOT NULL DEFAULT '{}',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE volume_type_access (
  type_id TEXT NOT NULL REFERENCES volume_types (id) ON DELETE CASCADE,
  project_id TEXT NOT NULL,
  PRIMARY KEY (type_id, project_id)
);

CREATE TABLE volumes (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL DEFAULT '',
  size_gib BIGINT NOT NULL CHECK (size_gib > 0),
  charged_gib BIGINT NOT NULL,
  status TEXT NOT NULL,
  type_id TEXT NOT NULL REFERENCES volume_types (id),
  zone TEXT NOT NULL,
  host TEXT NOT NULL DEFAULT '',
  made BOOLEAN NOT NULL DEFAULT FALSE,
  path TEXT NOT NULL DEFAULT '',
  format TEXT NOT NULL DEFAULT '',
  bootable BOOLEAN NOT NULL DEFAULT FALSE,
  readonly BOOLEAN NOT NULL DEFAULT FALSE,
  image_id TEXT NOT NULL DEFAULT '',
  image_metadata TEXT NOT NULL DEFAULT '{}',
  metadata TEXT NOT NULL DEFAULT '{}',
  snapshot_id TEXT NOT NULL DEFAULT '',
  source_volid TEXT NOT NULL DEFAULT '',
  epoch BIGINT NOT NULL DEFAULT 1,
  fault TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX volumes_project ON volumes (project_id, created_at);
CREATE INDEX volumes_host ON volumes (host);
CREATE INDEX volumes_type ON volumes (type_id);

CREATE TABLE volume_snapshots (
  id TEXT PRIMARY KEY,
  volume_id TEXT NOT NULL REFERENCES volumes (id),
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL DEFAULT '',
  size_gib BIGINT NOT NULL,
  status TEXT NOT NULL,
  host TEXT NOT NULL,
  metadata TEXT NOT NULL DEFAULT '{}',
  epoch BIGINT NOT NULL DEFAULT 1,
  fault TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX volume_snapshots_project ON volume_snapshots (project_id, created_at);
CREATE INDEX volume_snapshots_volume ON volume_snapshots (volume_id);

CREATE TABLE volume_attachments (
  id TEXT PRIMARY KEY,
  volume_id TEXT NOT NULL REFERENCES volumes (id),
  project_id TEXT NOT NULL,
  server_id TEXT NOT NULL DEFAULT '',
  host TEXT NOT NULL DEFAULT '',
  device TEXT NOT NULL DEFAULT '',
  mode TEXT NOT NULL DEFAULT 'rw',
  status TEXT NOT NULL,
  owner TEXT NOT NULL CHECK (owner IN ('compute', 'api')),
  connector TEXT NOT NULL DEFAULT '{}',
  attached_at BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL
);
-- A file volume is written by one guest at a time.
CREATE UNIQUE INDEX volume_attachments_one ON volume_attachments (volume_id);
CREATE INDEX volume_attachments_server ON volume_attachments (server_id);

INSERT INTO volume_types (id, name, description, created_at)
  VALUES ('6e657068-6f73-4000-8000-66696c650001', 'nephos-file', 'sparse raw files on the host that serves them', 1);

-- +goose Down
DROP TABLE volume_attachments;
DROP TABLE volume_snapshots;
DROP TABLE volumes;
DROP TABLE volume_type_access;
DROP TABLE volume_types;
