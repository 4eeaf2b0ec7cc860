-- +goose Up
CREATE TABLE images (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL DEFAULT '',
  owner TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL CHECK (status IN ('queued', 'saving', 'uploading', 'active', 'deactivated', 'killed', 'deleted')),
  visibility TEXT NOT NULL CHECK (visibility IN ('public', 'community', 'shared', 'private')),
  disk_format TEXT NOT NULL DEFAULT '',
  container_format TEXT NOT NULL DEFAULT '',
  min_disk_gib BIGINT NOT NULL DEFAULT 0 CHECK (min_disk_gib >= 0),
  min_ram_mib BIGINT NOT NULL DEFAULT 0 CHECK (min_ram_mib >= 0),
  protected BOOLEAN NOT NULL DEFAULT FALSE,
  hidden BOOLEAN NOT NULL DEFAULT FALSE,
  size_bytes BIGINT NOT NULL DEFAULT 0,
  virtual_bytes BIGINT NOT NULL DEFAULT 0,
  md5 TEXT NOT NULL DEFAULT '',
  sha512 TEXT NOT NULL DEFAULT '',
  upload_id TEXT NOT NULL DEFAULT '',
  upload_node TEXT NOT NULL DEFAULT '',
  staged BOOLEAN NOT NULL DEFAULT FALSE,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  deleted_at BIGINT NOT NULL DEFAULT 0,
  CHECK (protected = FALSE OR status <> 'deleted')
);
CREATE INDEX images_created ON images (created_at, id) WHERE status <> 'deleted';
CREATE INDEX images_owner ON images (owner) WHERE status <> 'deleted';
CREATE INDEX images_name ON images (name) WHERE status <> 'deleted';

CREATE TABLE image_properties (
  image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (image_id, name)
);

CREATE TABLE image_tags (
  image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  tag TEXT NOT NULL,
  PRIMARY KEY (image_id, tag)
);

CREATE TABLE image_members (
  image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  member TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'accepted', 'rejected')),
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (image_id, member)
);
CREATE INDEX image_members_member ON image_members (member, status);

-- +goose Down
DROP TABLE image_members;
DROP TABLE image_tags;
DROP TABLE image_properties;
DROP TABLE images;
