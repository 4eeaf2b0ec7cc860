-- +goose Up
CREATE TABLE metadef_namespaces (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  display_name TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL DEFAULT '',
  visibility TEXT NOT NULL CHECK (visibility IN ('public', 'private')),
  protected BOOLEAN NOT NULL DEFAULT FALSE,
  owner TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

-- Objects, properties and tags of a namespace; body is the definition as JSON.
CREATE TABLE metadef_items (
  namespace_id TEXT NOT NULL REFERENCES metadef_namespaces (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('object', 'property', 'tag')),
  name TEXT NOT NULL,
  body TEXT NOT NULL DEFAULT '{}',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (namespace_id, kind, name)
);

CREATE TABLE metadef_resource_types (
  name TEXT PRIMARY KEY,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE metadef_associations (
  namespace_id TEXT NOT NULL REFERENCES metadef_namespaces (id) ON DELETE CASCADE,
  name TEXT NOT NULL REFERENCES metadef_resource_types (name),
  prefix TEXT NOT NULL DEFAULT '',
  properties_target TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (namespace_id, name)
);

-- +goose Down
DROP TABLE metadef_associations;
DROP TABLE metadef_resource_types;
DROP TABLE metadef_items;
DROP TABLE metadef_namespaces;
