package grafana

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write generated files instead of comparing them")

// The files in the tree are exactly those that the code makes.
func TestGenerated(t *testing.T) {
	files, err := Files()
	require.NoError(t, err)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join("..", name)
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, files[name], 0o644))
			continue
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(files[name], got), "%s is out of date: run go generate ./grafana", name)
	}
	for _, folder := range []string{"dashboards", "provisioning/dashboards", "provisioning/datasources"} {
		entries, err := os.ReadDir(folder)
		require.NoError(t, err)
		for _, e := range entries {
			require.Contains(t, files, "grafana/"+folder+"/"+e.Name(), "nothing makes this file")
		}
	}
}
