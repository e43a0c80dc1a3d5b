package privacy

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/disktest"
)

// TestPublicationKeyIsWhole: a key that could not be written leaves no file, which
// would be a damaged key for ever.
func TestPublicationKeyIsWhole(t *testing.T) {
	disk := disktest.Small(t, "4k")
	path := filepath.Join(disk, "key")
	require.NoError(t, os.WriteFile(filepath.Join(disk, "full"), make([]byte, 4096), 0o600))
	_, err := OpenPublicationKey(path)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, os.Remove(filepath.Join(disk, "full")))
	made, err := OpenPublicationKey(path)
	require.NoError(t, err)
	again, err := OpenPublicationKey(path)
	require.NoError(t, err)
	require.Equal(t, made.today.secret, again.today.secret)
	left, err := os.ReadDir(disk)
	require.NoError(t, err)
	require.Len(t, left, 1)
}
