package db

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNothingIsWrittenAfterAFailedSync: who waits for the sync that failed is told so, and nobody writes on what may not be there.
func TestNothingIsWrittenAfterAFailedSync(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, err := Open(ctx, filepath.Join(t.TempDir(), "x.db"))
	require.NoError(t, err)
	write := func(query string) error {
		return d.Write(ctx, func(tx *Tx) error { _, err := tx.Exec(ctx, query); return err })
	}
	require.NoError(t, write(`CREATE TABLE t (a BIGINT)`))
	require.NoError(t, d.b.(*lite).log.Close()) // a file that cannot be synced
	require.ErrorContains(t, write(`INSERT INTO t (a) VALUES (1)`), "could not be synced")
	require.ErrorContains(t, write(`INSERT INTO t (a) VALUES (2)`), "could not be synced")
	var rows []int
	require.NoError(t, d.Read(ctx, func(tx *Tx) error { return tx.Select(ctx, &rows, `SELECT a FROM t`) }))
	require.NotContains(t, rows, 2)
	require.Error(t, d.Close()) // the log is closed already
}
