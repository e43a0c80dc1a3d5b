package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// While nothing gets through for half a minute the monitor is healthy and not ready, and says
// why, for every destination; it is ready again when points get through.
func TestReadySaysWhy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port to come back to
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	for name, of := range map[string]struct {
		url, why string
		mend     func()
	}{
		"server": {"http://" + address, "no points have got through to main .*" + address + ".* wait: .*connection refused", func() {
			l, err := net.Listen("tcp", address)
			require.NoError(t, err)
			server := &http.Server{Handler: &harness.Counter{Lines: map[string]bool{}}}
			t.Cleanup(func() { server.Close() })
			go server.Serve(l)
		}},
		"file": {"file://" + filepath.Join(t.TempDir(), "missing", "points.lp"), "no points have got through to main .*no such file", nil},
		"udp":  {"udp://127.0.0.1:1", "points .*to main .*connection refused", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := harness.StartNode(t, t.TempDir(), "--influxdb", of.url)
			n.API("GET", "/ready", "", 200) // it has only just started
			health := func(args ...string) (string, error) {
				return harness.Run(n.Env, append(append([]string{"health"}, args...), n.HTTP)...)
			}
			require.Eventually(t, func() bool { out, err := health("--ready"); return err != nil && out != "" }, 3*time.Minute, time.Second)
			_, reason := n.API("GET", "/ready", "", 503)
			require.Regexp(t, of.why, reason)
			out, err := health("--ready")
			require.Error(t, err)
			require.Contains(t, out, "503")
			require.Regexp(t, of.why, out)
			out, err = health()
			require.NoError(t, err, "a restart of the monitor does not help: %s", out)
			n.API("GET", "/health", "", 200)
			if of.mend == nil {
				return
			}
			of.mend()
			require.Eventually(t, func() bool { _, err := health("--ready"); return err == nil }, 3*time.Minute, time.Second)
		})
	}
}
