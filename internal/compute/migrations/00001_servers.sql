-- +goose Up
CREATE TABLE hosts (
  name TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  service_id TEXT NOT NULL UNIQUE,
  zone TEXT NOT NULL,
  disabled BOOLEAN NOT NULL DEFAULT FALSE,
  disabled_reason TEXT NOT NULL DEFAULT '',
  forced_down BOOLEAN NOT NULL DEFAULT FALSE,
  info TEXT NOT NULL,
  seen_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE servers (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  hostname TEXT NOT NULL,
  vm_state TEXT NOT NULL,
  task_state TEXT NOT NULL DEFAULT '',
  power_state BIGINT NOT NULL DEFAULT 0,
  host TEXT NOT NULL DEFAULT '',
  epoch BIGINT NOT NULL DEFAULT 1,
  generation BIGINT NOT NULL DEFAULT 1,
  flavor TEXT NOT NULL,
  flavor_id TEXT NOT NULL,
  image_id TEXT NOT NULL DEFAULT '',
  image TEXT NOT NULL DEFAULT '',
  key_name TEXT NOT NULL DEFAULT '',
  public_key TEXT NOT NULL DEFAULT '',
  user_data TEXT NOT NULL DEFAULT '',
  admin_pass TEXT NOT NULL DEFAULT '',
  config_drive BOOLEAN NOT NULL DEFAULT FALSE,
  metadata TEXT NOT NULL,
  tags TEXT NOT NULL,
  hints TEXT NOT NULL,
  personality TEXT NOT NULL,
  security_groups TEXT NOT NULL,
  group_id TEXT NOT NULL DEFAULT '',
  zone TEXT NOT NULL DEFAULT '',
  pinned_zone TEXT NOT NULL DEFAULT '',
  forced_host TEXT NOT NULL DEFAULT '',
  reservation_id TEXT NOT NULL,
  launch_index BIGINT NOT NULL DEFAULT 0,
  access_ip_v4 TEXT NOT NULL DEFAULT '',
  access_ip_v6 TEXT NOT NULL DEFAULT '',
  disk_config TEXT NOT NULL DEFAULT 'MANUAL',
  root_device TEXT NOT NULL DEFAULT '/dev/vda',
  locked BOOLEAN NOT NULL DEFAULT FALSE,
  locked_reason TEXT NOT NULL DEFAULT '',
  locked_by TEXT NOT NULL DEFAULT '',
  fault TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  launched_at BIGINT NOT NULL DEFAULT 0,
  terminated_at BIGINT NOT NULL DEFAULT 0,
  deleted BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX servers_project ON servers (project_id, created_at) WHERE deleted = FALSE;
CREATE INDEX servers_host ON servers (host) WHERE deleted = FALSE;
CREATE INDEX servers_group ON servers (group_id) WHERE deleted = FALSE;
CREATE INDEX servers_updated ON servers (updated_at);
CREATE INDEX servers_reservation ON servers (reservation_id);

CREATE TABLE block_devices (
  id TEXT PRIMARY KEY,
  server_id TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
  source_type TEXT NOT NULL,
  destination_type TEXT NOT NULL,
  image_id TEXT NOT NULL DEFAULT '',
  snapshot_id TEXT NOT NULL DEFAULT '',
  volume_id TEXT NOT NULL DEFAULT '',
  attachment_id TEXT NOT NULL DEFAULT '',
  size_gib BIGINT NOT NULL DEFAULT 0,
  boot_index BIGINT NOT NULL DEFAULT -1,
  device TEXT NOT NULL DEFAULT '',
  disk_bus TEXT NOT NULL DEFAULT '',
  guest_format TEXT NOT NULL DEFAULT '',
  volume_type TEXT NOT NULL DEFAULT '',
  tag TEXT NOT NULL DEFAULT '',
  delete_on_termination BOOLEAN NOT NULL DEFAULT FALSE,
  created_volume BOOLEAN NOT NULL DEFAULT FALSE,
  created_at BIGINT NOT NULL
);
CREATE INDEX block_devices_server ON block_devices (server_id);
CREATE INDEX block_devices_volume ON block_devices (volume_id);

-- +goose Down
DROP TABLE block_devices;
DROP TABLE servers;
DROP TABLE hosts;
