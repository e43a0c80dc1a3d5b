package e2e

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestStandardOutputIsPointsAlone: standard output has only points from the first line on, also
// when the repository is created.
func TestStandardOutputIsPointsAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(harness.Bin, "run", "--isolated", "--repo", filepath.Join(dir, "repo"), "--influxdb", "stdout:",
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--interval", "1")
	cmd.Env = harness.Environ(dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := 0
	for in := bufio.NewScanner(out); in.Scan(); {
		d := lineprotocol.NewDecoderWithBytes(append(in.Bytes(), '\n'))
		require.True(t, d.Next(), in.Text())
		_, err := d.Measurement()
		require.NoError(t, err, in.Text())
		for {
			key, _, err := d.NextTag()
			require.NoError(t, err, in.Text())
			if key == nil {
				break
			}
		}
		key, _, err := d.NextField()
		require.NoError(t, err, in.Text())
		require.NotNil(t, key, "no field: %s", in.Text())
		if lines++; lines == 20 {
			require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		}
	}
	require.NoError(t, cmd.Wait())
	require.GreaterOrEqual(t, lines, 20)
}
