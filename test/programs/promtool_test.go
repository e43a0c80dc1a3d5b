//go:build programs || all

package programs

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// oldNameComplaint matches promtool's complaints about names of the old exporter, which stay.
const oldNameComplaint = `plugin_metric_export_wiretap_sent_bytes counter metrics should have "_total" suffix`

// promtool checks a page of metrics with Prometheus's own tool.
func promtool(t *testing.T, page []byte) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	require.NoError(t, err, "promtool is missing; on Debian: apt-get install --no-install-recommends prometheus")
	cmd := exec.Command(program, "check", "metrics")
	cmd.Stdin = bytes.NewReader(page)
	out, _ := cmd.CombinedOutput() // it fails when it has anything to say
	require.Equal(t, oldNameComplaint, strings.TrimSpace(string(out)))
}

func TestPromtoolGolden(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("../..", "metrics", "testdata", "metrics.prom"))
	require.NoError(t, err)
	promtool(t, page)
}

func TestPromtoolLive(t *testing.T) {
	n := harness.StartNode(t, t.TempDir())
	_ = n.Prometheus("plugin_metric_export_wiretap_sent_bytes")
	resp, err := http.Get("http://" + n.HTTP + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, string(page))
	promtool(t, page)
}
