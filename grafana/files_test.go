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
	for _, folder := range []string{"dashboards", "prometheus", "provisioning/dashboards", "provisioning/datasources"} {
		entries, err := os.ReadDir(folder)
		require.NoError(t, err)
		for _, e := range entries {
			require.Contains(t, files, "grafana/"+folder+"/"+e.Name(), "nothing makes this file")
		}
	}
}

// The documents and the data sources of InfluxDB 3 name the panels that it cannot fill.
func TestWhatInfluxDB3Lacks(t *testing.T) {
	doc, err := os.ReadFile("../docs/destinations.md")
	require.NoError(t, err)
	sources, err := os.ReadFile("influxdb3.yml")
	require.NoError(t, err)
	for _, title := range Sampled() {
		require.Contains(t, string(doc), `"`+title+`"`)
		require.Contains(t, string(sources), "\n#   "+title+"\n")
	}
	require.Contains(t, string(doc), numerals[len(Sampled())]+" panels fail")
}

var numerals = map[int]string{4: "Four", 5: "Five", 6: "Six"}
