//go:build dashboards || all

package dashboards

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// TestRollupTasks checks the complete tasks for InfluxDB 2 with the parser
// and type checker of today's Flux. That no server has run them here is stated in
// docs/destinations.md.
func TestRollupTasks(t *testing.T) {
	tasks := map[string]string{}
	for _, r := range schema.Rollups() {
		tasks[r.Name()] = r.Task("an org", "ipfsmon")
	}
	require.Len(t, tasks, 12)
	b, err := json.Marshal(tasks)
	require.NoError(t, err)
	cmd := exec.Command("node", "flux.mjs")
	cmd.Dir, cmd.Stdin = checkers(t), bytes.NewReader(b)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "12 queries, 0 wrong")
}
