//go:build programs || all

package programs

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// polars answers the popularity of CIDs as DuckDB does.
func init() {
	inPolars = func(t *testing.T, home string, ask func(dir string, statements ...string) []answer) {
		var got struct {
			Rows    [][]any
			Columns []string
		}
		require.NoError(t, json.Unmarshal([]byte(harness.Tool(t, "node", filepath.Join(npmPackages(t, "polars"), "popularity.mjs"), home)), &got))
		want := ask(home, `SELECT cid, count(*)::INTEGER, count(DISTINCT peer)::INTEGER FROM read_parquet('archive/wants/**/*.parquet', hive_partitioning = true)
WHERE direction = 'received' AND type <> 'cancel' GROUP BY cid ORDER BY 3 DESC, 2 DESC, 1 LIMIT 20`)
		require.Len(t, got.Rows, 20)
		for i, row := range want[0].Rows {
			require.Equal(t, row[0], got.Rows[i][0])
			require.EqualValues(t, row[1], got.Rows[i][1])
			require.EqualValues(t, row[2], got.Rows[i][2])
		}
		require.Subset(t, got.Columns, []string{"time", "cid", "peer", "monitor", "date", "hour"})
	}
}
