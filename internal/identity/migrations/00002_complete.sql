-- +goose Up

-- Times are microseconds; 0 = never or none. password_expires_at is worked out when the password is set, so a changed setting counts from
-- the next password on (Keystone).
-- The id under which v2.0 knows the endpoints of a service in a region, which it sees as one record.
ALTER TABLE identity_endpoints ADD COLUMN legacy_id TEXT NOT NULL DEFAULT '';
ALTER TABLE identity_users ADD COLUMN created_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN password_set_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN password_expires_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN self_service BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE identity_users ADD COLUMN last_active BIGINT NOT NULL DEFAULT 0;

-- Failed log-ins since the last good one. user_id '' counts those of unknown users, so that both cost one write.
CREATE TABLE identity_failures (
  user_id TEXT PRIMARY KEY,
  count BIGINT NOT NULL,
  failed_at BIGINT NOT NULL
);

-- Former passwords, for unique_last_password_count.
CREATE TABLE identity_passwords (
  user_id TEXT NOT NULL REFERENCES identity_users(id) ON DELETE CASCADE,
  set_at BIGINT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (user_id, set_at)
);

-- Fernet keys, sealed with the cloud's secret. purpose: token, credential. idx as in Keystone's key files: 0 is the staged key, the
-- highest the primary.
CREATE TABLE identity_keys (
  purpose TEXT NOT NULL,
  idx BIGINT NOT NULL,
  sealed TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (purpose, idx)
);

-- What OS-REVOKE shows. Nothing reads it to decide: epochs, rows and identity_revocations do that.
CREATE TABLE identity_revoke_events (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL DEFAULT '',
  project_id TEXT NOT NULL DEFAULT '',
  domain_id TEXT NOT NULL DEFAULT '',
  role_id TEXT NOT NULL DEFAULT '',
  trust_id TEXT NOT NULL DEFAULT '',
  access_token_id TEXT NOT NULL DEFAULT '',
  consumer_id TEXT NOT NULL DEFAULT '',
  audit_id TEXT NOT NULL DEFAULT '',
  issued_before BIGINT NOT NULL,
  revoked_at BIGINT NOT NULL
);
CREATE INDEX identity_revoke_events_at ON identity_revoke_events (revoked_at);

-- blob is a Fernet message of a credential key. For type ec2 the id is the SHA-256 of the access key. used_step is the newest TOTP time
-- step that has been taken, so that a passcode works once.
CREATE TABLE identity_credentials (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES identity_users(id) ON DELETE CASCADE,
  project_id TEXT NOT NULL DEFAULT '',
  type TEXT NOT NULL,
  blob TEXT NOT NULL,
  trust_id TEXT NOT NULL DEFAULT '',
  app_credential_id TEXT NOT NULL DEFAULT '',
  used_step BIGINT NOT NULL DEFAULT 0,
  extra TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX identity_credentials_user ON identity_credentials (user_id, type);

CREATE TABLE identity_app_credentials (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES identity_users(id) ON DELETE CASCADE,
  project_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  secret TEXT NOT NULL,              -- bcrypt
  description TEXT NOT NULL,
  expires_at BIGINT NOT NULL DEFAULT 0,
  unrestricted BOOLEAN NOT NULL,
  ruled BOOLEAN NOT NULL,            -- access rules were given, perhaps none: then nothing is allowed
  UNIQUE (user_id, name)
);
CREATE INDEX identity_app_credentials_project ON identity_app_credentials (project_id);

CREATE TABLE identity_app_credential_roles (
  app_credential_id TEXT NOT NULL REFERENCES identity_app_credentials(id) ON DELETE CASCADE,
  role_id TEXT NOT NULL REFERENCES identity_roles(id) ON DELETE CASCADE,
  PRIMARY KEY (app_credential_id, role_id)
);

CREATE TABLE identity_access_rules (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES identity_users(id) ON DELETE CASCADE,
  service TEXT NOT NULL,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  UNIQUE (user_id, service, method, path)
);

CREATE TABLE identity_app_credential_rules (
  app_credential_id TEXT NOT NULL REFERENCES identity_app_credentials(id) ON DELETE CASCADE,
  rule_id TEXT NOT NULL REFERENCES identity_access_rules(id),
  PRIMARY KEY (app_credential_id, rule_id)
);
CREATE INDEX identity_app_credential_rules_rule ON identity_app_credential_rules (rule_id);

CREATE TABLE identity_trusts (
  id TEXT PRIMARY KEY,
  trustor_user_id TEXT NOT NULL REFERENCES identity_users(id) ON DELETE CASCADE,
  trustee_user_id TEXT NOT NULL REFERENCES identity_users(id) ON DELETE CASCADE,
  project_id TEXT REFERENCES identity_projects(id) ON DELETE CASCADE,
  impersonation BOOLEAN NOT NULL,
  expires_at BIGINT NOT NULL DEFAULT 0,
  remaining_uses BIGINT,             -- NULL: as often as wanted
  redelegated_trust_id TEXT REFERENCES identity_trusts(id) ON DELETE CASCADE,
  redelegation_count BIGINT NOT NULL DEFAULT 0,
  extra TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX identity_trusts_trustor ON identity_trusts (trustor_user_id);
CREATE INDEX identity_trusts_trustee ON identity_trusts (trustee_user_id);
CREATE INDEX identity_trusts_project ON identity_trusts (project_id);
CREATE INDEX identity_trusts_parent ON identity_trusts (redelegated_trust_id);

CREATE TABLE identity_trust_roles (
  trust_id TEXT NOT NULL REFERENCES identity_trusts(id) ON DELETE CASCADE,
  role_id TEXT NOT NULL REFERENCES identity_roles(id) ON DELETE CASCADE,
  PRIMARY KEY (trust_id, role_id)
);

CREATE TABLE identity_registered_limits (
  id TEXT PRIMARY KEY,
  service_id TEXT NOT NULL REFERENCES identity_services(id) ON DELETE CASCADE,
  region_id TEXT REFERENCES identity_regions(id),
  resource_name TEXT NOT NULL,
  default_limit BIGINT NOT NULL,
  description TEXT
);
CREATE UNIQUE INDEX identity_registered_limits_once ON identity_registered_limits (service_id, COALESCE(region_id, ''), resource_name);

-- A limit belongs to a project or to a domain, which is a project too.
CREATE TABLE identity_limits (
  id TEXT PRIMARY KEY,
  registered_id TEXT NOT NULL REFERENCES identity_registered_limits(id) ON DELETE CASCADE,
  owner_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  resource_limit BIGINT NOT NULL,
  description TEXT,
  UNIQUE (registered_id, owner_id)
);
CREATE INDEX identity_limits_owner ON identity_limits (owner_id);

CREATE TABLE identity_policies (
  id TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  blob TEXT NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}'
);

-- One of: endpoint; service; service and region. Each of these has at most one policy.
CREATE TABLE identity_policy_associations (
  policy_id TEXT NOT NULL REFERENCES identity_policies(id) ON DELETE CASCADE,
  endpoint_id TEXT REFERENCES identity_endpoints(id) ON DELETE CASCADE,
  service_id TEXT REFERENCES identity_services(id) ON DELETE CASCADE,
  region_id TEXT REFERENCES identity_regions(id) ON DELETE CASCADE,
  CHECK ((endpoint_id IS NULL) <> (service_id IS NULL)),
  CHECK (region_id IS NULL OR service_id IS NOT NULL)
);
CREATE UNIQUE INDEX identity_policy_associations_once ON identity_policy_associations
  (COALESCE(endpoint_id, ''), COALESCE(service_id, ''), COALESCE(region_id, ''));

-- Filters are columns; '' = any.
CREATE TABLE identity_endpoint_groups (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  description TEXT,
  filters TEXT NOT NULL
);

CREATE TABLE identity_project_endpoints (
  project_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  endpoint_id TEXT NOT NULL REFERENCES identity_endpoints(id) ON DELETE CASCADE,
  PRIMARY KEY (project_id, endpoint_id)
);
CREATE INDEX identity_project_endpoints_endpoint ON identity_project_endpoints (endpoint_id);

CREATE TABLE identity_project_endpoint_groups (
  project_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  group_id TEXT NOT NULL REFERENCES identity_endpoint_groups(id) ON DELETE CASCADE,
  PRIMARY KEY (project_id, group_id)
);
CREATE INDEX identity_project_endpoint_groups_group ON identity_project_endpoint_groups (group_id);

CREATE TABLE identity_domain_config (
  domain_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  section TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,               -- JSON; that of a secret option is a Fernet message of a credential key
  PRIMARY KEY (domain_id, section, name)
);

CREATE TABLE identity_consumers (
  id TEXT PRIMARY KEY,
  secret TEXT NOT NULL,              -- a Fernet message of a credential key, like all secrets that must be known in clear to check a signature
  description TEXT,
  extra TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE identity_request_tokens (
  id TEXT PRIMARY KEY,
  secret TEXT NOT NULL,
  consumer_id TEXT NOT NULL REFERENCES identity_consumers(id) ON DELETE CASCADE,
  project_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  user_id TEXT NOT NULL DEFAULT '',  -- who authorised it
  role_ids TEXT NOT NULL DEFAULT '[]',
  verifier TEXT NOT NULL DEFAULT '',
  expires_at BIGINT NOT NULL
);

CREATE TABLE identity_access_tokens (
  id TEXT PRIMARY KEY,
  secret TEXT NOT NULL,
  consumer_id TEXT NOT NULL REFERENCES identity_consumers(id) ON DELETE CASCADE,
  project_id TEXT NOT NULL REFERENCES identity_projects(id) ON DELETE CASCADE,
  user_id TEXT NOT NULL REFERENCES identity_users(id) ON DELETE CASCADE,
  role_ids TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX identity_access_tokens_user ON identity_access_tokens (user_id);

-- Records of federation: kind idp, mapping, sp; protocols lie below an idp.
CREATE TABLE identity_federation (
  kind TEXT NOT NULL,
  parent_id TEXT NOT NULL DEFAULT '',
  id TEXT NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (kind, parent_id, id)
);

-- +goose Down
ALTER TABLE identity_users DROP COLUMN last_active;
ALTER TABLE identity_users DROP COLUMN self_service;
ALTER TABLE identity_users DROP COLUMN password_expires_at;
ALTER TABLE identity_users DROP COLUMN password_set_at;
ALTER TABLE identity_users DROP COLUMN created_at;
ALTER TABLE identity_endpoints DROP COLUMN legacy_id;
DROP TABLE identity_federation;
DROP TABLE identity_access_tokens;
DROP TABLE identity_request_tokens;
DROP TABLE identity_consumers;
DROP TABLE identity_domain_config;
DROP TABLE identity_project_endpoint_groups;
DROP TABLE identity_project_endpoints;
DROP TABLE identity_endpoint_groups;
DROP TABLE identity_policy_associations;
DROP TABLE identity_policies;
DROP TABLE identity_limits;
DROP TABLE identity_registered_limits;
DROP TABLE identity_trust_roles;
DROP TABLE identity_trusts;
DROP TABLE identity_app_credential_rules;
DROP TABLE identity_access_rules;
DROP TABLE identity_app_credential_roles;
DROP TABLE identity_app_credentials;
DROP TABLE identity_credentials;
DROP TABLE identity_revoke_events;
DROP TABLE identity_keys;
DROP TABLE identity_passwords;
DROP TABLE identity_failures;
