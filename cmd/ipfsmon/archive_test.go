package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
)

// TestArchiveArguments: what is missing or does not go together is refused, and says
// what is wanted.
func TestArchiveArguments(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var stderr bytes.Buffer
		require.NotZero(t, runApp(app(), append([]string{"ipfsmon", "archive"}, args...), &stderr))
		require.Contains(t, stderr.String(), want)
	}
	empty := t.TempDir()
	f("want ARCHIVE", "make")
	f("want --from DIR", "make", empty)
	f("want --store too", "make", "--from", empty, "--since", "6h", empty)
	f("want --store too", "make", "--from", empty, "--url", "http://127.0.0.1:1", empty)
	f(`--since "x"`, "make", "--store", "--since", "x", empty)
	f("no *.json.gz", "make", "--from", empty, filepath.Join(empty, "a"))
	f("want the folder of an archive", "info", empty)
	f("want the folder of an archive", "verify", empty)
	f("want the folder of an archive", "merge", empty)
	f("want the folder of an archive", "publish", "--to", filepath.Join(empty, "to"), "--licence", "x", empty)
	f("--licence", "publish", "--to", filepath.Join(empty, "to"), empty)
	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "file"), nil, 0o600))
	var trace bytes.Buffer
	zip := gzip.NewWriter(&trace)
	_, err := zip.Write([]byte("{}\n"))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	require.NoError(t, os.WriteFile(filepath.Join(empty, "x.json.gz"), trace.Bytes(), 0o600))
	f("is not empty", "make", "--from", filepath.Join(empty, "x.json.gz"), other)
	f("nothing in what was given", "make", "--from", filepath.Join(empty, "x.json.gz"), filepath.Join(empty, "new"))
	pipe := filepath.Join(t.TempDir(), "pipe.csv") // which nobody writes
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	f("want a regular file", "make", "--from", pipe, filepath.Join(empty, "new"))
	f("want a regular file", "make", "--unified", pipe, filepath.Join(empty, "new"))
	var stderr bytes.Buffer
	require.NotZero(t, runApp(app(), []string{"ipfsmon", "record", "--format", "xml", filepath.Join(empty, "b")}, &stderr))
	require.Contains(t, stderr.String(), "want json or parquet")
}
