package simlog

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func loaded(t require.TestingT, path string, tables ...string) map[string]map[string]int {
	l, err := Open(path)
	require.NoError(t, err)
	out := map[string]map[string]int{}
	for _, name := range tables {
		out[name] = map[string]int{}
		for k, raw := range l.Table(name).Load() {
			var n int
			require.NoError(t, json.Unmarshal(raw, &n))
			out[name][k] = n
		}
	}
	require.NoError(t, l.Close())
	return out
}

// Whatever is put and deleted, in whatever order and with the file opened anew or rewritten at any moment: what is loaded is what was last said.
func TestLastWordCounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "simlog")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "log")
		want := map[string]map[string]int{"a": {}, "b": {}}
		l, err := Open(path)
		require.NoError(t, err)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				table, key, v := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "table"), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "key"), rapid.Int().Draw(t, "v")
				require.NoError(t, l.Table(table).Put(key, v))
				want[table][key] = v
			},
			"delete": func(t *rapid.T) {
				table, key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "table"), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "key")
				require.NoError(t, l.Table(table).Delete(key))
				delete(want[table], key)
			},
			"compact": func(t *rapid.T) { require.NoError(t, l.compact()) },
			"reopen": func(t *rapid.T) {
				require.NoError(t, l.Close())
				l, err = Open(path)
				require.NoError(t, err)
			},
		})
		require.NoError(t, l.Close())
		require.Equal(t, want, loaded(t, path, "a", "b"))
	})
}

func TestTornLastLineIsDropped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("a\tx\t1\na\ty\t2\na\tz\t3"), 0o600))
	require.Equal(t, map[string]map[string]int{"a": {"x": 1, "y": 2}}, loaded(t, path, "a"))
	l, err := Open(path)
	require.NoError(t, err)
	require.NoError(t, l.Table("a").Put("z", 4))
	require.NoError(t, l.Close())
	require.Equal(t, map[string]map[string]int{"a": {"x": 1, "y": 2, "z": 4}}, loaded(t, path, "a"))
}

// A power cut leaves pages of zeros in a file that was not synced: the lines in them are lost, the others count, also after the file has been rewritten.
func TestLinesWithHolesAreDropped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	hole := strings.Repeat("\x00", 4096)
	require.NoError(t, os.WriteFile(path, []byte("a\tv\t1\na\tw\t2\na\tx\t3"+hole+"\t4\na\ty\t5\n"+hole+"b\tz\t6\na\tz\t7\na\tw\n"), 0o600))
	want := map[string]map[string]int{"a": {"v": 1, "y": 5, "z": 7}, "b": {}}
	require.Equal(t, want, loaded(t, path, "a", "b"))
	l, err := Open(path)
	require.NoError(t, err)
	require.NoError(t, l.compact())
	require.NoError(t, l.Close())
	require.Equal(t, want, loaded(t, path, "a", "b"))
}

func TestDeadLinesGoAtOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, err := Open(path)
	require.NoError(t, err)
	for range 100 {
		require.NoError(t, l.Table("a").Put("x", strings.Repeat("long ", 5000)))
	}
	require.NoError(t, l.Table("a").Put("x", 7))
	require.NoError(t, l.Close())
	require.Equal(t, map[string]map[string]int{"a": {"x": 7}}, loaded(t, path, "a"))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(100))
	require.Equal(t, map[string]map[string]int{"a": {"x": 7}}, loaded(t, path, "a"))
}

func TestKeysWithSeparatorsAreRefused(t *testing.T) {
	t.Parallel()
	l, err := Open(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	require.ErrorContains(t, l.Table("a").Put("x\ty", 1), "cannot be a key")
	require.NoError(t, l.Close())
	require.Error(t, l.Table("a").Put("x", 1))
}
