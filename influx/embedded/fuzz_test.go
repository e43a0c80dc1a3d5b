package embedded

import (
	"testing"

	"github.com/influxdata/influxql"
	"github.com/stretchr/testify/require"
)

// FuzzReader: of whatever user reader sends, what is accepted only reads: as InfluxDB's own
// parser understands it, also after it was written and parsed again, it asks for no right but
// to read.
func FuzzReader(f *testing.F) {
	for _, text := range []string{
		"SELECT count(cid) FROM wants", "SELECT * INTO a FROM b", "EXPLAIN ANALYZE SELECT * INTO a FROM (SELECT * FROM b)",
		"SELECT * FROM (SELECT * INTO c FROM d)", "DROP MEASUREMENT wants", "SHOW TAG VALUES WITH KEY = node; DELETE FROM wants",
		"CREATE CONTINUOUS QUERY evil ON ipfsmon BEGIN SELECT count(cid) AS peers INTO totals.agent_versions FROM wants GROUP BY time(10s) END",
		"GRANT ALL TO reader", "KILL QUERY 7", "SELECT x FROM /.*/ GROUP BY time(1u) fill(0) tz('Europe/Berlin')",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := influxql.ParseQuery(text)
		if err != nil {
			return
		}
		for _, s := range q.Statements {
			if onlyReads(s) != nil {
				continue
			}
			again, err := influxql.ParseStatement(s.String())
			if err == nil {
				require.NoError(t, onlyReads(again), "%s became %s", text, s)
			}
			if _, ok := s.(*influxql.SelectStatement); !ok {
				continue
			}
			rights, err := s.RequiredPrivileges()
			if err != nil {
				continue
			}
			for _, r := range rights {
				require.Equal(t, influxql.ReadPrivilege, r.Privilege, text)
			}
		}
	})
}
