-- +goose Up
CREATE TABLE networks (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  admin_state_up BOOLEAN NOT NULL DEFAULT TRUE,
  shared BOOLEAN NOT NULL DEFAULT FALSE,
  external BOOLEAN NOT NULL DEFAULT FALSE,
  is_default BOOLEAN NOT NULL DEFAULT FALSE,
  port_security BOOLEAN NOT NULL DEFAULT TRUE,
  mtu BIGINT NOT NULL CHECK (mtu >= 68 AND mtu <= 65535),
  vni BIGINT NOT NULL UNIQUE CHECK (vni > 0 AND vni < 16777216),
  network_type TEXT NOT NULL,
  physical_network TEXT NOT NULL DEFAULT '',
  zone_hints TEXT NOT NULL DEFAULT '[]',
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  revision_number BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX networks_project ON networks (project_id);
CREATE UNIQUE INDEX networks_default ON networks (is_default) WHERE is_default = TRUE;

CREATE TABLE subnets (
  id TEXT PRIMARY KEY,
  network_id TEXT NOT NULL REFERENCES networks (id),
  project_id TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  ip_version BIGINT NOT NULL CHECK (ip_version IN (4, 6)),
  cidr TEXT NOT NULL,
  gateway TEXT NOT NULL DEFAULT '',
  enable_dhcp BOOLEAN NOT NULL DEFAULT TRUE,
  pools TEXT NOT NULL DEFAULT '[]',
  dns TEXT NOT NULL DEFAULT '[]',
  host_routes TEXT NOT NULL DEFAULT '[]',
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  revision_number BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX subnets_network ON subnets (network_id);
CREATE INDEX subnets_project ON subnets (project_id);

CREATE TABLE ports (
  id TEXT PRIMARY KEY,
  network_id TEXT NOT NULL REFERENCES networks (id),
  project_id TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  mac TEXT NOT NULL,
  admin_state_up BOOLEAN NOT NULL DEFAULT TRUE,
  status TEXT NOT NULL DEFAULT 'DOWN' CHECK (status IN ('DOWN', 'BUILD', 'ACTIVE', 'N/A', 'ERROR')),
  device_id TEXT NOT NULL DEFAULT '',
  device_owner TEXT NOT NULL DEFAULT '',
  host TEXT NOT NULL DEFAULT '',
  vnic_type TEXT NOT NULL DEFAULT 'normal',
  profile TEXT NOT NULL DEFAULT '{}',
  port_security BOOLEAN NOT NULL DEFAULT TRUE,
  dns_name TEXT NOT NULL DEFAULT '',
  address_pairs TEXT NOT NULL DEFAULT '[]',
  dhcp_opts TEXT NOT NULL DEFAULT '[]',
  nova_made BOOLEAN NOT NULL DEFAULT FALSE,
  nic_index BIGINT NOT NULL DEFAULT 0,
  nic_tag TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  revision_number BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (network_id, mac)
);
CREATE INDEX ports_device ON ports (device_id);
CREATE INDEX ports_host ON ports (host);
CREATE INDEX ports_project ON ports (project_id);

CREATE TABLE ip_allocations (
  subnet_id TEXT NOT NULL REFERENCES subnets (id),
  address TEXT NOT NULL,
  port_id TEXT NOT NULL REFERENCES ports (id) ON DELETE CASCADE,
  position BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (subnet_id, address)
);
CREATE INDEX ip_allocations_port ON ip_allocations (port_id);

CREATE TABLE security_groups (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  name TEXT NOT NULL,
  is_default BOOLEAN NOT NULL DEFAULT FALSE,
  stateful BOOLEAN NOT NULL DEFAULT TRUE,
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  revision_number BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX security_groups_project ON security_groups (project_id);
CREATE UNIQUE INDEX security_groups_default ON security_groups (project_id) WHERE is_default = TRUE;

CREATE TABLE security_group_rules (
  id TEXT PRIMARY KEY,
  group_id TEXT NOT NULL REFERENCES security_groups (id) ON DELETE CASCADE,
  project_id TEXT NOT NULL,
  direction TEXT NOT NULL CHECK (direction IN ('ingress', 'egress')),
  ethertype TEXT NOT NULL CHECK (ethertype IN ('IPv4', 'IPv6')),
  protocol TEXT NOT NULL DEFAULT '',
  port_min BIGINT,
  port_max BIGINT,
  remote_prefix TEXT NOT NULL DEFAULT '',
  remote_group TEXT REFERENCES security_groups (id) ON DELETE CASCADE,
  counted BOOLEAN NOT NULL DEFAULT TRUE,
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  revision_number BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX security_group_rules_group ON security_group_rules (group_id);
CREATE INDEX security_group_rules_remote ON security_group_rules (remote_group);

CREATE TABLE port_security_groups (
  port_id TEXT NOT NULL REFERENCES ports (id) ON DELETE CASCADE,
  group_id TEXT NOT NULL REFERENCES security_groups (id),
  PRIMARY KEY (port_id, group_id)
);
CREATE INDEX port_security_groups_group ON port_security_groups (group_id);

CREATE TABLE routers (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  admin_state_up BOOLEAN NOT NULL DEFAULT TRUE,
  host TEXT NOT NULL DEFAULT '',
  gateway_port TEXT REFERENCES ports (id),
  enable_snat BOOLEAN NOT NULL DEFAULT TRUE,
  routes TEXT NOT NULL DEFAULT '[]',
  zone_hints TEXT NOT NULL DEFAULT '[]',
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  revision_number BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX routers_project ON routers (project_id);
CREATE INDEX routers_host ON routers (host);
CREATE INDEX routers_gateway ON routers (gateway_port);

CREATE TABLE router_interfaces (
  port_id TEXT PRIMARY KEY REFERENCES ports (id),
  router_id TEXT NOT NULL REFERENCES routers (id)
);
CREATE INDEX router_interfaces_router ON router_interfaces (router_id);

CREATE TABLE floating_ips (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  network_id TEXT NOT NULL REFERENCES networks (id),
  outer_port TEXT NOT NULL REFERENCES ports (id),
  address TEXT NOT NULL,
  fixed_port TEXT REFERENCES ports (id),
  fixed_address TEXT NOT NULL DEFAULT '',
  router_id TEXT REFERENCES routers (id),
  status TEXT NOT NULL DEFAULT 'DOWN' CHECK (status IN ('DOWN', 'ACTIVE', 'ERROR')),
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  revision_number BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (outer_port),
  CHECK ((fixed_port IS NULL) = (router_id IS NULL))
);
CREATE UNIQUE INDEX floating_ips_fixed ON floating_ips (fixed_port, fixed_address) WHERE fixed_port IS NOT NULL;
CREATE INDEX floating_ips_project ON floating_ips (project_id);
CREATE INDEX floating_ips_router ON floating_ips (router_id);
CREATE INDEX floating_ips_network ON floating_ips (network_id);

CREATE TABLE network_hosts (
  host TEXT PRIMARY KEY,
  gateway BOOLEAN NOT NULL DEFAULT FALSE,
  created_at BIGINT NOT NULL
);

CREATE TABLE network_clock (
  shard BIGINT PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO network_clock (shard, value) VALUES (0,1),(1,0),(2,0),(3,0),(4,0),(5,0),(6,0),(7,0);

CREATE TABLE network_bootstrap (
  name TEXT PRIMARY KEY,
  id TEXT NOT NULL
);

-- +goose Down
DROP TABLE network_bootstrap;
DROP TABLE network_clock;
DROP TABLE network_hosts;
DROP TABLE floating_ips;
DROP TABLE router_interfaces;
DROP TABLE routers;
DROP TABLE port_security_groups;
DROP TABLE security_group_rules;
DROP TABLE security_groups;
DROP TABLE ip_allocations;
DROP TABLE ports;
DROP TABLE subnets;
DROP TABLE networks;
