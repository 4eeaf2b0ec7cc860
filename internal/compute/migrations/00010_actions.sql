-- +goose Up
ALTER TABLE servers ADD COLUMN making TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN shelf TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN soft_deleted_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX servers_soft_deleted ON servers (soft_deleted_at) WHERE soft_deleted_at > 0;

-- +goose Down
DROP INDEX servers_soft_deleted;
ALTER TABLE servers DROP COLUMN soft_deleted_at;
ALTER TABLE servers DROP COLUMN shelf;
ALTER TABLE servers DROP COLUMN making;
