-- +goose Up

-- A domain is a row with is_domain and no parent; its domain_id is ''. Top-level projects have their domain as parent.
CREATE TABLE identity_projects (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  domain_id TEXT NOT NULL,
  parent_id TEXT REFERENCES identity_projects(id) ON DELETE CASCADE,
  is_domain BOOLEAN NOT NULL,
  enabled BOOLEAN NOT NULL,
  description TEXT NOT NULL,
  epoch BIGINT NOT NULL DEFAULT 0,
  tags TEXT NOT NULL DEFAULT '[]',
  options TEXT NOT NULL DEFAULT '{}',
  extra TEXT NOT NULL DEFAULT '{}',
  UNIQUE (domain_id, name),
  CHECK ((is_domain AND parent_id IS NULL AND domain_id = '') OR (NOT is_domain AND parent_id IS NOT NULL AND domain_id <> ''))
);
CREATE INDEX identity_projects_parent ON identity_projects (parent_id);

CREATE TABLE identity_users (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  domain_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  password TEXT NOT NULL,            -- bcrypt; '' = cannot log in with a password
  enabled BOOLEAN NOT NULL,
  default_project_id TEXT NOT NULL DEFAULT '',
  epoch BIGINT NOT NULL DEFAULT 0,
  options TEXT NOT NULL DEFAULT '{}',
  extra TEXT NOT NULL DEFAULT '{}',
  UNIQUE (domain_id, name)
);

CREATE TABLE identity_groups (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  domain_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  description TEXT NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}',
  UNIQUE (domain_id, name)
);

CREATE TABLE identity_memberships (
  user_id TEXT NOT NULL REFERENCES identity_users(id) ON DELETE CASCADE,
  group_id TEXT NOT NULL REFERENCES identity_groups(id) ON DELETE CASCADE,
  PRIMARY KEY (user_id, group_id)
);
CREATE INDEX identity_memberships_group ON identity_memberships (group_id);

-- domain_id '' = a global role.
CREATE TABLE identity_roles (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  domain_id TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL,
  options TEXT NOT NULL DEFAULT '{}',
  extra TEXT NOT NULL DEFAULT '{}',
  UNIQUE (domain_id, name)
);

CREATE TABLE identity_implied_roles (
  prior_id TEXT NOT NULL REFERENCES identity_roles(id) ON DELETE CASCADE,
  implied_id TEXT NOT NULL REFERENCES identity_roles(id) ON DELETE CASCADE,
  PRIMARY KEY (prior_id, implied_id)
);

-- Exactly one of user and group; target_id is null for the system.
CREATE TABLE identity_assignments (
  user_id TEXT REFERENCES identity_users(id) ON DELETE CASCADE,
  group_id TEXT REFERENCES identity_groups(id) ON DELETE CASCADE,
  target TEXT NOT NULL,              -- project, domain, system
  target_id TEXT REFERENCES identity_projects(id) ON DELETE CASCADE,
  role_id TEXT NOT NULL REFERENCES identity_roles(id) ON DELETE CASCADE,
  inherited BOOLEAN NOT NULL,
  CHECK ((user_id IS NULL) <> (group_id IS NULL)),
  CHECK ((target = 'system') = (target_id IS NULL))
);
CREATE UNIQUE INDEX identity_assignments_once ON identity_assignments
  (COALESCE(user_id, ''), COALESCE(group_id, ''), target, COALESCE(target_id, ''), role_id, inherited);
CREATE INDEX identity_assignments_user ON identity_assignments (user_id);
CREATE INDEX identity_assignments_group ON identity_assignments (group_id);
CREATE INDEX identity_assignments_target ON identity_assignments (target_id);

CREATE TABLE identity_regions (
  id TEXT PRIMARY KEY,
  description TEXT NOT NULL,
  parent_id TEXT REFERENCES identity_regions(id),
  extra TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE identity_services (
  id TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  enabled BOOLEAN NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}'
);

-- legacy_url is what the v2.0 catalog shows instead of url, where it is not ''.
CREATE TABLE identity_endpoints (
  id TEXT PRIMARY KEY,
  service_id TEXT NOT NULL REFERENCES identity_services(id) ON DELETE CASCADE,
  interface TEXT NOT NULL,
  region_id TEXT REFERENCES identity_regions(id),
  url TEXT NOT NULL,
  legacy_url TEXT NOT NULL DEFAULT '',
  enabled BOOLEAN NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX identity_endpoints_service ON identity_endpoints (service_id);

-- A revoked token by its own audit id; the row may go when the token has expired.
CREATE TABLE identity_revocations (
  audit_id TEXT PRIMARY KEY,
  expires_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE identity_revocations;
DROP TABLE identity_endpoints;
DROP TABLE identity_services;
DROP TABLE identity_regions;
DROP TABLE identity_assignments;
DROP TABLE identity_implied_roles;
DROP TABLE identity_roles;
DROP TABLE identity_memberships;
DROP TABLE identity_groups;
DROP TABLE identity_users;
DROP TABLE identity_projects;
