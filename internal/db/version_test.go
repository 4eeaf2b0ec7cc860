package db_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
)

func TestVersionMovesWithWhatIsWritten(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t)
	ctx := t.Context()
	write := func(queries ...string) {
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
			for _, q := range queries {
				if _, err := tx.Exec(ctx, q); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	write(`CREATE TABLE a (x BIGINT)`, `CREATE TABLE b (x BIGINT)`)
	for _, c := range []struct {
		name  string
		act   func()
		moves bool
	}{
		{"insert", func() { write(`INSERT INTO a (x) VALUES (1)`) }, true},
		{"insert in lines", func() { write("INSERT INTO\n\ta(x) VALUES (1)") }, true},
		{"update", func() { write(`UPDATE a SET x = 2`) }, true},
		{"update that returns", func() {
			require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
				var xs []int
				return tx.Select(ctx, &xs, `UPDATE a SET x = 3 RETURNING x`)
			}))
		}, true},
		{"delete anywhere", func() { write(`DELETE FROM b`) }, true},
		{"with", func() { write(`WITH y AS (SELECT 1 AS x) INSERT INTO a SELECT x FROM y`) }, true},
		{"replace", func() { write(`REPLACE INTO a (x) VALUES (1)`) }, true},
		{"another table", func() { write(`INSERT INTO b (x) VALUES (1)`, `UPDATE b SET x = 1`) }, false},
		{"read", func() { write(`SELECT x FROM a`) }, false},
		{"rolled back", func() {
			require.Error(t, d.Write(ctx, func(tx *db.Tx) error {
				if _, err := tx.Exec(ctx, `UPDATE a SET x = 4`); err != nil {
					return err
				}
				return errors.New("no")
			}))
		}, false},
	} {
		before, ok := d.Version("a")
		require.True(t, ok)
		c.act()
		after, _ := d.Version("a")
		require.Equal(t, c.moves, before != after, c.name)
	}
}

func TestVersionIsNotForSharedDatabases(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, nil, func(t *testing.T, d *db.DB) {
		_, ok := d.Version("a")
		require.Equal(t, d.Dialect == db.SQLite, ok)
	})
}

// A reader may keep what it read under the version it asked for, unless something was committed meanwhile; a writer never, and goes by no version of what it has written itself.
func TestWhatATransactionMayKeep(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, rooms(t)...)
	ctx := t.Context()
	add := func(id string) func(tx *db.Tx) error {
		return func(tx *db.Tx) error { return tx.Insert(ctx, "counters", counter{ID: id, Lim: 1}) }
	}
	version := func() uint64 {
		n, ok := d.Version("counters")
		require.True(t, ok)
		return n
	}
	require.NoError(t, d.Write(ctx, add("a")))
	require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
		n, ok := tx.Version("counters")
		require.True(t, ok)
		require.Equal(t, version(), n)
		require.True(t, tx.Current())
		require.NoError(t, d.Write(ctx, add("b")))
		require.False(t, tx.Current())
		return nil
	}))
	before := version()
	require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
		n, ok := tx.Version("counters")
		require.True(t, ok)
		require.Equal(t, before, n)
		require.False(t, tx.Current())
		require.NoError(t, add("c")(tx))
		_, ok = tx.Version("counters")
		require.False(t, ok)
		return nil
	}))
	require.NotEqual(t, before, version())
}
