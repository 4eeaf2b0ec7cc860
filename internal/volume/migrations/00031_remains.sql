-- +goose Up
-- Files of volumes on hosts that were down when the file should have gone: what is still to be erased.
CREATE TABLE volume_remains (
  volume_id TEXT NOT NULL,
  host TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  PRIMARY KEY (volume_id, host)
);

-- +goose Down
DROP TABLE volume_remains;
