package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/fleet/gateways"
)

// TestGatewaysOutput: a list of an interrupted run replaces no file, and what is not a
// file is written to and stays what it is.
func TestGatewaysOutput(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "list")
	r := &gateways.Report{Gateways: []gateways.Gateway{{URL: "https://a.example", Peers: []gateways.Peer{{ID: "12D3KooWx"}}}}}
	require.NoError(t, os.WriteFile(path, []byte("good"), 0o600))
	read := func() string {
		t.Helper()
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(b)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	require.ErrorContains(t, writeGateways(over, r, "list", path, &out), "stays as it was")
	require.Equal(t, "good", read())
	require.ErrorContains(t, writeGateways(over, r, "list", "", &out), "found until then")
	require.Contains(t, out.String(), "12D3KooWx")

	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("list", link))
	require.NoError(t, writeGateways(t.Context(), r, "list", link, &out))
	require.Contains(t, read(), "12D3KooWx")
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)

	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	require.NoError(t, err)
	defer reader.Close()
	require.NoError(t, writeGateways(t.Context(), r, "list", pipe, &out))
	info, err = os.Lstat(pipe)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeNamedPipe)
	b := make([]byte, 4096)
	n, err := reader.Read(b)
	require.NoError(t, err)
	require.Contains(t, string(b[:n]), "12D3KooWx")
	require.ErrorContains(t, writeGateways(t.Context(), r, "list", dir, &out), "is a folder")
}
