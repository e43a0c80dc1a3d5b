package listen

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	f := func(want string, addresses ...string) {
		t.Helper()
		err := Check(addresses, false)
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
	f("", "127.0.0.1:8181")
	f("", "127.1.2.3:0", "127.1.2.3:0", "[::1]:65535", "localhost:80", "unix:/run/s", "[::ffff:127.0.0.1]:1")
	f("missing ListenAddresses")
	f("want host:port", "8181")
	f("want host:port", "")
	f("want host:port", "::1:80")
	f("from 0 to 65535", "127.0.0.1:65536")
	f("from 0 to 65535", "127.0.0.1:http")
	f("want an absolute path", "unix:s")
	f("is listed twice", "127.0.0.1:1", "127.0.0.1:1")
	for _, beyond := range []string{":8181", "0.0.0.0:8181", "[::]:8181", "192.0.2.1:1", "example.org:1", "localhost.example.org:1", "127.0.0.1.example.org:1"} {
		f("set AllowInsecure", beyond)
		require.NoError(t, Check([]string{beyond}, true))
	}
	err := Check([]string{"x", "unix:y"}, false)
	require.ErrorContains(t, err, `"x"`)
	require.ErrorContains(t, err, `"unix:y"`, "one error reports every fault")
}

func TestAllOrNone(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	socket := filepath.Join(t.TempDir(), "s")
	_, err = All([]string{"unix:" + socket, busy.Addr().String()}, false)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.True(t, strings.HasPrefix(err.Error(), "unable to bind: listen tcp"), err)
	_, err = os.Lstat(socket)
	require.ErrorIs(t, err, os.ErrNotExist, "listeners that were bound before the failure are closed")
}

func TestUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	open := func() ([]net.Listener, error) { return All([]string{"unix:" + path}, false) }
	ls, err := open()
	require.NoError(t, err)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	require.Equal(t, path, ls[0].Addr().String())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no other file remains")

	_, err = open()
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, ls[0].Close())
	require.ErrorIs(t, ls[0].Close(), net.ErrClosed)
	_, err = os.Lstat(path)
	require.ErrorIs(t, err, os.ErrNotExist)

	// A socket that a killed process left behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	ls, err = open()
	require.NoError(t, err)
	require.NoError(t, ls[0].Close())

	// A file that is not a socket is kept.
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, err = open()
	require.ErrorContains(t, err, "not a socket")
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(kept))

	path = filepath.Join(dir, "missing", "s")
	_, err = open()
	require.ErrorIs(t, err, os.ErrNotExist)
}
