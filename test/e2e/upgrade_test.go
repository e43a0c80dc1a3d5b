package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestDataOfTheFirstVersion: the data folder of a node of version 0.1, as it was killed with points
// in its spool, starts under this version, which answers what 0.1 answered from it.
// testdata/demo-0.1.tar.gz is ~/.ipfsmon/demo of `ipfsmon demo --name de1 --interval 5`, commit
// 922631c, without blocks: after 50 s its InfluxDB was stopped (SIGSTOP), and 4 s later all of it
// killed. The counts below are those of that version, started on the same folder.
func TestDataOfTheFirstVersion(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, ".ipfsmon"), 0o700))
	out, err := exec.Command("tar", "-xzf", "testdata/demo-0.1.tar.gz", "-C", filepath.Join(home, ".ipfsmon")).CombinedOutput()
	require.NoError(t, err, string(out))
	// History ends after seven days, and these are older.
	settings := harness.TextFile(t, `{"monitor": {"InfluxDB": {"HistoryRetention": "0s"}}}`)
	repo := filepath.Join(home, ".ipfsmon", "demo")
	n := harness.StartNode(t, home, "--repo", repo, "--name", "de1", "--migrate", "--config", settings)
	n.Repo = repo

	for query, want := range map[string]map[string]float64{
		"SELECT count(cid) FROM wants GROUP BY direction, type": {
			`{"direction":"received","type":"cancel"}`: 527, `{"direction":"received","type":"want_block"}`: 268, `{"direction":"received","type":"want_have"}`: 340,
			`{"direction":"sent","type":"cancel"}`: 954, `{"direction":"sent","type":"want_block"}`: 276, `{"direction":"sent","type":"want_have"}`: 699},
		"SELECT count(size) FROM blocks GROUP BY direction": {`{"direction":"received"}`: 284, `{"direction":"sent"}`: 269},
	} {
		var got map[string]float64
		require.Eventually(t, func() bool { // what was in the spool is stored soon
			got, err = harness.InfluxQL(n.Influx, query)
			return err == nil && maps.Equal(want, got)
		}, time.Minute, 100*time.Millisecond, "%s: %v, %v", query, &got, &err)
	}
	// A named question, over the time of then.
	code, stdout, stderr := harness.Apart(t, n.Env, "query", "wants", "--repo", repo, "--from", "2026-11-26T00:00:00Z", "--to", "2026-11-27T00:00:00Z", "--format", "csv")
	require.Zero(t, code, stderr)
	require.Regexp(t, `(?s)wants,received,\S+,608\n.*wants,sent,\S+,975\n`, stdout) // without cancels
	// The sums of 0.1, by its continuous queries, are there and nobody else's from now on.
	sums, err := harness.InfluxQL(n.Influx, "SELECT sum(wants) FROM totals.wants_1m")
	require.NoError(t, err)
	require.NotEmpty(t, sums)
	n.Find("(still computes minutes and hours of history for an earlier version)")
	require.NotContains(t, n.Out.String(), "panic")
}
