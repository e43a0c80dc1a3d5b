package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// program builds a small program of a module; Go writes the same information about a
// module into programs and plugins.
func program(t *testing.T, module string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module "+module+"\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o600))
	out := filepath.Join(dir, "p.so")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Dir = dir
	b, err := cmd.CombinedOutput()
	require.NoError(t, err, string(b))
	return out
}

func TestForeignPlugins(t *testing.T) {
	other := program(t, "example.org/some-plugin")
	b, err := os.ReadFile(other)
	require.NoError(t, err)
	const older = "go1.0"
	was := []byte(runtime.Version())
	old := bytes.ReplaceAll(b, was, append([]byte(older), bytes.Repeat([]byte("0"), len(was)-len(older))...))
	require.NotEqual(t, b, old)

	f := func(name, file string, content []byte, mode os.FileMode, want ...string) {
		t.Helper()
		repo := t.TempDir()
		if file != "" {
			content, err = os.ReadFile(file)
			require.NoError(t, err)
		}
		at := filepath.Join(repo, "plugins", "p.so")
		require.NoError(t, os.Mkdir(filepath.Dir(at), 0o700))
		require.NoError(t, os.WriteFile(at, content, mode))
		err := checkPlugins(repo)
		if len(want) == 0 {
			require.NoError(t, err, name)
			return
		}
		for _, w := range append(want, at, "move it out of that folder") {
			require.ErrorContains(t, err, w, name)
		}
	}
	f("the old exporter", program(t, "github.com/trudi-group/ipfs-metric-exporter"), nil, 0o755, "this is the old metrics exporter, which is built into this program")
	f("a fork of it, by an old Go", "", []byte("\x7fELF ... metric-export-plugin ..."), 0o755, "this is the old metrics exporter")
	f("our own", program(t, "github.com/ipfsmon/ipfsmon"), nil, 0o755, "ipfsmon's own plugin for a stock ipfs, which is built into this program")
	f("another Go", "", old, 0o755, "example.org/some-plugin", "was built with go1.0", runtime.Version())
	f("another plugin of this Go", other, nil, 0o755)
	f("what kubo does not load", "", []byte("metric-export-plugin"), 0o644)
	f("no plugin at all", "", []byte("#!/bin/sh\n"), 0o755)
	require.NoError(t, checkPlugins(t.TempDir()), "no folder")
}
