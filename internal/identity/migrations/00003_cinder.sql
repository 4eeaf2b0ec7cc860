-- +goose Up

-- The volume service's first name; the catalog would else hold it twice.
UPDATE identity_services SET name = 'cinder' WHERE type = 'volumev3' AND name = 'cinderv3';

-- +goose Down
SELECT 1;
