-- +goose Up
CREATE TABLE resource_providers (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  parent_id TEXT NOT NULL DEFAULT '',
  root_id TEXT NOT NULL,
  generation BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE TABLE inventories (
  provider_id TEXT NOT NULL REFERENCES resource_providers (id),
  class TEXT NOT NULL,
  total BIGINT NOT NULL,
  reserved BIGINT NOT NULL DEFAULT 0,
  min_unit BIGINT NOT NULL DEFAULT 1,
  max_unit BIGINT NOT NULL,
  step_size BIGINT NOT NULL DEFAULT 1,
  ratio DOUBLE PRECISION NOT NULL DEFAULT 1.0,
  capacity BIGINT NOT NULL,
  used BIGINT NOT NULL DEFAULT 0 CHECK (used >= 0),
  PRIMARY KEY (provider_id, class)
);
CREATE TABLE provider_traits (
  provider_id TEXT NOT NULL REFERENCES resource_providers (id) ON DELETE CASCADE,
  trait TEXT NOT NULL,
  PRIMARY KEY (provider_id, trait)
);
CREATE TABLE provider_aggregates (
  provider_id TEXT NOT NULL REFERENCES resource_providers (id) ON DELETE CASCADE,
  aggregate_id TEXT NOT NULL,
  PRIMARY KEY (provider_id, aggregate_id)
);
CREATE TABLE custom_traits (name TEXT PRIMARY KEY);
CREATE TABLE custom_classes (name TEXT PRIMARY KEY);
CREATE TABLE consumers (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  consumer_type TEXT NOT NULL DEFAULT 'INSTANCE',
  generation BIGINT NOT NULL DEFAULT 1
);
CREATE TABLE allocations (
  consumer_id TEXT NOT NULL REFERENCES consumers (id) ON DELETE CASCADE,
  provider_id TEXT NOT NULL,
  class TEXT NOT NULL,
  used BIGINT NOT NULL,
  PRIMARY KEY (consumer_id, provider_id, class),
  FOREIGN KEY (provider_id, class) REFERENCES inventories (provider_id, class)
);
CREATE INDEX allocations_provider ON allocations (provider_id);

-- +goose Down
DROP TABLE allocations;
DROP TABLE consumers;
DROP TABLE custom_classes;
DROP TABLE custom_traits;
DROP TABLE provider_aggregates;
DROP TABLE provider_traits;
DROP TABLE inventories;
DROP TABLE resource_providers;
