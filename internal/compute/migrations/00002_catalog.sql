-- +goose Up
CREATE TABLE flavors (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  vcpus BIGINT NOT NULL,
  ram_mib BIGINT NOT NULL,
  root_gib BIGINT NOT NULL,
  ephemeral_gib BIGINT NOT NULL DEFAULT 0,
  swap_mib BIGINT NOT NULL DEFAULT 0,
  rxtx_factor DOUBLE PRECISION NOT NULL DEFAULT 1.0,
  public BOOLEAN NOT NULL DEFAULT TRUE,
  disabled BOOLEAN NOT NULL DEFAULT FALSE,
  description TEXT,
  extra_specs TEXT NOT NULL DEFAULT '{}',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE TABLE flavor_access (
  flavor_id TEXT NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
  project_id TEXT NOT NULL,
  PRIMARY KEY (flavor_id, project_id)
);
CREATE TABLE keypairs (
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  id BIGINT NOT NULL,
  type TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  public_key TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, name)
);
CREATE TABLE server_groups (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  policy TEXT NOT NULL,
  max_server_per_host BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL
);
CREATE TABLE aggregates (
  id BIGINT PRIMARY KEY,
  uuid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL UNIQUE,
  metadata TEXT NOT NULL DEFAULT '{}',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE TABLE aggregate_hosts (
  aggregate_id BIGINT NOT NULL REFERENCES aggregates (id) ON DELETE CASCADE,
  host TEXT NOT NULL,
  PRIMARY KEY (aggregate_id, host)
);

-- +goose Down
DROP TABLE aggregate_hosts;
DROP TABLE aggregates;
DROP TABLE server_groups;
DROP TABLE keypairs;
DROP TABLE flavor_access;
DROP TABLE flavors;
