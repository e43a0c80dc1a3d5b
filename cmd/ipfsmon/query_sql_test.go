package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// --sql asks the database of the tables that the statement names; flags that it does not have
// are wrong usage.
func TestQuerySQL(t *testing.T) {
	s := influxtest.Made3()
	s.SQL = map[string]string{
		"ipfsmon/totals: SELECT sum(blocks) FROM traffic": "sum(blocks)\n7\n",
		"ipfsmon/totals: SHOW TABLES":                     "table_name\ntraffic\n",
	}
	url := s.Start(t).URL
	f := func(code int, want string, args ...string) {
		t.Helper()
		var errs bytes.Buffer
		require.Equal(t, code, runApp(app(), append([]string{"ipfsmon", "query", "--url", url}, args...), &errs), errs.String())
		require.Contains(t, errs.String(), want)
	}
	f(0, "", "--sql", "SELECT sum(blocks) FROM traffic")
	f(0, "", "--sql", "SHOW TABLES", "--kind", "totals")
	f(1, "Error during planning", "--sql", "SHOW TABLES")
	f(2, "wants is among the history and traffic among the totals", "--sql", "SELECT 1 FROM wants JOIN traffic ON x")
	f(2, `--kind "all": want history or totals`, "--sql", "SHOW TABLES", "--kind", "all")
	f(2, "--kind is for --sql", "SHOW MEASUREMENTS", "--kind", "totals")
	f(2, "--since is not for --sql", "--sql", "SHOW TABLES", "--since", "1h")
	f(2, "want one statement", "--sql", "SHOW TABLES", "top-cids")
}
