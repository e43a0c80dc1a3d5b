package access

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadSecret: the one way to read a password or token from a file.
func TestReadSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	f := func(content, want string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		got, err := ReadSecret(path)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("hunter2", "hunter2")
	f("\n  hunter2\t\r\n", "hunter2")
	f("# of the node de1\n#\n\nfirst\nsecond\n", "first")
	f("#hunter2\n", "#hunter2")
	f("two words\n", "two words")

	for _, content := range []string{"", " \n\r\n", "# only this\n"} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := ReadSecret(path)
		require.ErrorIs(t, err, ErrNoSecret)
		require.EqualError(t, err, path+" is empty: want a secret, alone on a line")
	}
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("hunter2", maxFile)), 0o600))
	_, err := ReadSecret(path)
	require.ErrorContains(t, err, path+" is too long")
	require.NotContains(t, err.Error(), "hunter2")
	_, err = ReadSecret(path + ".not")
	require.ErrorIs(t, err, os.ErrNotExist)

	pipe := path + ".pipe" // as of a shell's <(pass show token)
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	written := make(chan error)
	go func() { written <- os.WriteFile(pipe, []byte("hunter2\n"), 0) }()
	got, err := ReadSecret(pipe)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.Equal(t, "hunter2", got)
}
