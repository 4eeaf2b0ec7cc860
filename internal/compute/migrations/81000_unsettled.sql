-- +goose Up
-- The few servers that are in the making or broken, which are asked for again and again: without it each such question reads every server of the project.
CREATE INDEX servers_unsettled ON servers (project_id, vm_state, created_at) WHERE deleted = FALSE AND vm_state IN ('building', 'error');

-- +goose Down
DROP INDEX servers_unsettled;
