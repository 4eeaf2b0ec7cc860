package hypervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestReplaceRecord(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "run.json")
	for _, text := range []string{"one", "two, longer", "3"} {
		require.NoError(t, ReplaceRecord(file, []byte(text), true))
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, text, string(b))
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// TestOverwriteStaysInItsBlocks: on a full disk a record is changed in place, and never torn for want of a block.
func TestOverwriteStaysInItsBlocks(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "run.json")
	require.NoError(t, writeWhole(file, []byte("a longer old record"), true))
	require.NoError(t, overwrite(file, []byte("new")))
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "new", string(b))
	require.ErrorIs(t, overwrite(file, []byte(strings.Repeat("x", 1<<20))), unix.ENOSPC)
	b, err = os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "new", string(b))
}
