-- +goose Up
-- What the owner of the provider (the registry of compute hosts) set last; -1 where the row is an operator's. Where ratio or reserve differ from it, an operator
-- has set them through the API, and they stay.
ALTER TABLE inventories ADD COLUMN owner_ratio DOUBLE PRECISION NOT NULL DEFAULT -1;
ALTER TABLE inventories ADD COLUMN owner_reserved BIGINT NOT NULL DEFAULT -1;
ALTER TABLE inventories ADD COLUMN owner_total BIGINT NOT NULL DEFAULT -1;
UPDATE inventories SET owner_ratio = ratio, owner_reserved = reserved, owner_total = total WHERE class IN ('VCPU', 'MEMORY_MB', 'DISK_GB');

-- +goose Down
ALTER TABLE inventories DROP COLUMN owner_total;
ALTER TABLE inventories DROP COLUMN owner_reserved;
ALTER TABLE inventories DROP COLUMN owner_ratio;
