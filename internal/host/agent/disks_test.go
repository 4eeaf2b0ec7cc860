package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/hostapi"
)

// A crash may lie between any two moves of setting aside and of putting back: done again, both end the same way.
func TestSetAsideAndPutBack(t *testing.T) {
	t.Parallel()
	names := []string{rootFile, ephemeralFile, swapFile}
	task := hostapi.RebuildTask{Key: "k1"}
	for _, keep := range []bool{false, true} {
		task.KeepEphemeral = keep
		dir := t.TempDir()
		read := func(name string) string { b, _ := os.ReadFile(filepath.Join(dir, name)); return string(b) }
		for _, n := range names {
			require.NoError(t, os.WriteFile(filepath.Join(dir, n), []byte("old "+n), 0o600))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "spec.json"), []byte(`{"image":{"id":"old-image"}}`), 0o600))
		// Died after the first move.
		require.NoError(t, os.Mkdir(filepath.Join(dir, ".aside-k1"), 0o700))
		require.NoError(t, os.Rename(filepath.Join(dir, rootFile), filepath.Join(dir, ".aside-k1", rootFile)))
		for range 2 {
			require.NoError(t, setAside(dir, task))
			require.NoFileExists(t, filepath.Join(dir, rootFile))
			require.Equal(t, keep, read(ephemeralFile) != "")
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, rootFile), []byte("new"), 0o600))
		require.NoError(t, setAside(dir, task), "a repeated command leaves the new disk alone")
		require.Equal(t, "new", read(rootFile))
		specs := asideSpecs(filepath.Dir(dir))
		require.Len(t, specs, 1)
		require.Equal(t, "old-image", specs[0].Image.ID, "its base stays in the cache")
		for range 2 {
			require.NoError(t, putBack(dir, "k1"))
			for _, n := range names {
				require.Equal(t, "old "+n, read(n))
			}
		}
		require.NoError(t, putBack(dir, "k1"), "nothing was set aside")
		require.NoError(t, setAside(dir, task))
		require.NoError(t, dropAside(dir))
		require.Empty(t, asideSpecs(filepath.Dir(dir)))
	}
}
