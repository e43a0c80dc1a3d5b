package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/probe/store"
)

// TestFilesAreForTheirOwner: no other user can read the database, and opening it for
// reading does not change it.
func TestFilesAreForTheirOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.sqlite")
	_, err := store.Open(t.Context(), store.Config{Path: path, ReadOnly: true})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoFileExists(t, path)
	s, err := store.Open(t.Context(), store.Config{Path: path})
	require.NoError(t, err)
	all, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	for _, name := range all {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	r, err := store.Open(t.Context(), store.Config{Path: path, ReadOnly: true})
	require.NoError(t, err, "while another process writes")
	_, err = r.Results(t.Context(), time.Now().Add(-time.Hour), time.Now(), nil)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, s.Close())
}
