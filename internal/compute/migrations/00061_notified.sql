-- +goose Up
-- Where the notifier has come to: one row. Whoever holds the lease sends; what changed at or after the time may not have been sent.
CREATE TABLE notified (
  name TEXT PRIMARY KEY,
  at BIGINT NOT NULL,
  owner TEXT NOT NULL,
  lease_until BIGINT NOT NULL
);

-- +goose Down
DROP TABLE notified;
