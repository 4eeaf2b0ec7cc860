-- +goose Up
INSERT INTO network_clock (shard, value) VALUES (-1, 0);

-- +goose Down
DELETE FROM network_clock WHERE shard = -1;
