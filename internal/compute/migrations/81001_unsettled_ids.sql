-- +goose Up
-- Servers of one request are created at one time: with the id behind it the index has the order of a list, and the first of thousands is found without sorting them all.
DROP INDEX servers_unsettled;
CREATE INDEX servers_unsettled ON servers (project_id, vm_state, created_at, id) WHERE deleted = FALSE AND vm_state IN ('building', 'error');

-- +goose Down
DROP INDEX servers_unsettled;
CREATE INDEX servers_unsettled ON servers (project_id, vm_state, created_at) WHERE deleted = FALSE AND vm_state IN ('building', 'error');
