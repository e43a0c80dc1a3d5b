package embedded_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
)

// TestRestoreAfterAFailedStart: the remnants of a failed start are not a store, for restore and
// for backup.
func TestRestoreAfterAFailedStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	data := t.TempDir()
	require.Error(t, embedded.Serve(context.Background(), embedded.ServerConfig{Dir: embedded.StoreDir(data), Listen: taken.Addr().String()}))
	require.False(t, embedded.IsStore(embedded.StoreDir(data)))
	_, _, err = embedded.Backup(t.Context(), data, filepath.Join(t.TempDir(), "b.zip"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NotContains(t, embedded.Restore(t.Context(), data, "nowhere.zip").Error(), "has a store already")

	from := t.TempDir()
	url, stop := serveOnce(t, embedded.StoreDir(from))
	require.NotEmpty(t, url)
	name, _, err := embedded.Backup(t.Context(), from, filepath.Join(t.TempDir(), "b.zip"), nil)
	require.NoError(t, err)
	stop()
	require.NoError(t, embedded.Restore(t.Context(), data, name))
	require.True(t, embedded.IsStore(embedded.StoreDir(data)))

	other := t.TempDir()
	require.NoError(t, os.MkdirAll(embedded.StoreDir(other), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(embedded.StoreDir(other), "mine"), nil, 0o600))
	require.ErrorContains(t, embedded.Restore(t.Context(), other, name), "not a store, and not empty")
	require.FileExists(t, filepath.Join(embedded.StoreDir(other), "mine"))
}

// TestFolderThatIsAPattern: a folder in which InfluxDB would not find its files again is
// refused, and nothing is written there.
func TestFolderThatIsAPattern(t *testing.T) {
	for _, name := range []string{"de[1]", "a*", "b?", `c\d`} {
		data := filepath.Join(t.TempDir(), name)
		dir := embedded.StoreDir(data)
		ctx, cancel := context.WithCancel(t.Context())
		err := embedded.Serve(ctx, embedded.ServerConfig{Dir: dir, Listen: "127.0.0.1:0", Ready: func(string) { cancel() }})
		cancel()
		require.ErrorContains(t, err, "want another folder")
		require.NoDirExists(t, data)
		require.ErrorContains(t, embedded.Restore(t.Context(), data, "nowhere.zip"), "want another folder")
	}
}

// serveOnce serves a folder until stop.
func serveOnce(t *testing.T, dir string) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- embedded.Serve(ctx, embedded.ServerConfig{Dir: dir, Listen: "127.0.0.1:0", Ready: func(addr string) { ready <- addr }})
	}()
	select {
	case addr := <-ready:
		return "http://" + addr, func() { cancel(); require.NoError(t, <-done) }
	case err := <-done:
		cancel()
		require.NoError(t, err)
	}
	return "", nil
}
