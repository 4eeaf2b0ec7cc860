-- +goose Up
-- SQLite cannot change a CHECK, so the tables are made anew, children first out of the way of the cascade.
CREATE TABLE images_new (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL DEFAULT '',
  owner TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL CHECK (status IN ('queued', 'saving', 'uploading', 'importing', 'active', 'deactivated', 'killed', 'deleted')),
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
  hash_algo TEXT NOT NULL DEFAULT '',
  hash_value TEXT NOT NULL DEFAULT '',
  upload_id TEXT NOT NULL DEFAULT '',
  upload_node TEXT NOT NULL DEFAULT '',
  staged BOOLEAN NOT NULL DEFAULT FALSE,
  import_task TEXT NOT NULL DEFAULT '',
  imported BOOLEAN NOT NULL DEFAULT FALSE,
  importing_to TEXT NOT NULL DEFAULT '',
  import_failed TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  deleted_at BIGINT NOT NULL DEFAULT 0,
  CHECK (protected = FALSE OR status <> 'deleted')
);
INSERT INTO images_new (id, name, owner, status, visibility, disk_format, container_format, min_disk_gib, min_ram_mib, protected, hidden, size_bytes, virtual_bytes, md5,
  hash_algo, hash_value, upload_id, upload_node, staged, created_at, updated_at, deleted_at)
  SELECT id, name, owner, status, visibility, disk_format, container_format, min_disk_gib, min_ram_mib, protected, hidden, size_bytes, virtual_bytes, md5,
    CASE WHEN sha512 = '' THEN '' ELSE 'sha512' END, sha512, upload_id, upload_node, staged, created_at, updated_at, deleted_at FROM images;

CREATE TABLE image_properties_new (
  image_id TEXT NOT NULL REFERENCES images_new (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (image_id, name)
);
INSERT INTO image_properties_new SELECT image_id, name, value FROM image_properties;
CREATE TABLE image_tags_new (
  image_id TEXT NOT NULL REFERENCES images_new (id) ON DELETE CASCADE,
  tag TEXT NOT NULL,
  PRIMARY KEY (image_id, tag)
);
INSERT INTO image_tags_new SELECT image_id, tag FROM image_tags;
CREATE TABLE image_members_new (
  image_id TEXT NOT NULL REFERENCES images_new (id) ON DELETE CASCADE,
  member TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'accepted', 'rejected')),
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (image_id, member)
);
INSERT INTO image_members_new SELECT image_id, member, status, created_at, updated_at FROM image_members;
DROP TABLE image_members;
DROP TABLE image_tags;
DROP TABLE image_properties;
DROP TABLE images;
ALTER TABLE images_new RENAME TO images;
ALTER TABLE image_properties_new RENAME TO image_properties;
ALTER TABLE image_tags_new RENAME TO image_tags;
ALTER TABLE image_members_new RENAME TO image_members;
CREATE INDEX images_created ON images (created_at, id) WHERE status <> 'deleted';
CREATE INDEX images_owner ON images (owner) WHERE status <> 'deleted';
CREATE INDEX images_name ON images (name) WHERE status <> 'deleted';
CREATE INDEX image_members_member ON image_members (member, status);

-- Where the bytes of an image lie: in a store of this cloud (store <> ''), or at a URL that its owner gave (store = '').
CREATE TABLE image_locations (
  image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  position BIGINT NOT NULL,
  store TEXT NOT NULL DEFAULT '',
  url TEXT NOT NULL DEFAULT '',
  metadata TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (image_id, position)
);
CREATE UNIQUE INDEX image_locations_store ON image_locations (image_id, store) WHERE store <> '';
INSERT INTO image_locations (image_id, position, store) SELECT id, 0, 'file' FROM images WHERE status IN ('active', 'deactivated');

CREATE TABLE image_tasks (
  id TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'processing', 'success', 'failure')),
  owner TEXT NOT NULL DEFAULT '',
  image_id TEXT NOT NULL DEFAULT '',
  user_id TEXT NOT NULL DEFAULT '',
  request_id TEXT NOT NULL DEFAULT '',
  input TEXT NOT NULL DEFAULT '{}',
  result TEXT NOT NULL DEFAULT '',
  message TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX image_tasks_created ON image_tasks (created_at, id);
CREATE INDEX image_tasks_image ON image_tasks (image_id);

-- What each controller's byte cache holds or shall hold.
CREATE TABLE image_cached (
  node TEXT NOT NULL,
  image_id TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'cached')),
  hits BIGINT NOT NULL DEFAULT 0,
  size_bytes BIGINT NOT NULL DEFAULT 0,
  accessed_at BIGINT NOT NULL DEFAULT 0,
  modified_at BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (node, image_id)
);

-- +goose Down
DROP TABLE image_cached;
DROP TABLE image_tasks;
DROP TABLE image_locations;
