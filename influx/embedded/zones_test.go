package embedded_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	questions "github.com/ipfsmon/ipfsmon/influx/query"
)

// What docs/queries.md says of tz(), and what LosesPoints warns of: where the
// clock is put back, InfluxDB loses points of intervals that have an offset, and
// of no others. Four days of 96 hourly points around each change of the clock.
func TestGroupByTimeWhereSummerTimeEnds(t *testing.T) {
	child := storetest.Start(t)
	defer child.Close()
	query(t, child, `CREATE DATABASE ipfsmon WITH DURATION INF REPLICATION 1 SHARD DURATION 24h NAME history`)
	whole := map[string]int{}
	for _, every := range []string{"30m", "1h", "90m", "2h", "5h", "6h", "7h", "12h", "1d", "1d,0s", "1d,24h", "2d", "3d", "1w"} {
		whole[every] = 96
	}
	f := func(name, zone, from string, short map[string]int) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, from)
		require.NoError(t, err)
		var points strings.Builder
		for i := range 96 {
			fmt.Fprintf(&points, "%s n=%di %d\n", name, i, at.Add(time.Duration(i)*time.Hour).UnixNano())
		}
		post(t, child, "/write", url.Values{"db": {"ipfsmon"}, "rp": {"history"}}, points.String())
		for i, counts := range []map[string]int{whole, short} {
			for every, want := range counts {
				statement := fmt.Sprintf(`SELECT count(n) FROM %s WHERE time >= '%s' AND time < '%s' GROUP BY time(%s) tz('%s')`,
					name, at.Format(time.RFC3339), at.Add(96*time.Hour).Format(time.RFC3339), every, zone)
				var answer struct {
					Results []struct{ Series []struct{ Values [][]any } }
				}
				text := query(t, child, statement)
				require.NoError(t, json.Unmarshal([]byte(text), &answer))
				require.NotEmpty(t, answer.Results, text)
				require.NotEmpty(t, answer.Results[0].Series, text)
				sum := 0.0
				for _, row := range answer.Results[0].Series[0].Values {
					sum += row[1].(float64)
				}
				require.Equal(t, want, int(sum), statement)
				if want < 96 {
					require.Len(t, questions.LosesPoints(statement, time.Now()), 1, statement)
				} else if i == 0 {
					require.Empty(t, questions.LosesPoints(statement, time.Now()), statement)
				}
			}
		}
	}
	f("berlin", "Europe/Berlin", "2025-10-24T22:00:00Z", map[string]int{"1h,30m": 96, "2h,1h": 73, "6h,3h": 73, "12h,6h": 76, "1d,1h": 96, "1d,2h": 96, "1d,3h": 73, "1d,6h": 76, "1d,12h": 82, "1d,23h": 93})
	f("havana", "America/Havana", "2025-10-31T04:00:00Z", map[string]int{"1h,30m": 96, "1d,1h": 77, "1d,12h": 88, "2d,12h": 88})
	f("york", "America/New_York", "2025-10-31T04:00:00Z", map[string]int{"1h,30m": 96, "6h,3h": 79, "1d,12h": 88})
	f("lord_howe", "Australia/Lord_Howe", "2025-04-04T00:00:00Z", map[string]int{"6h,3h": 88, "1d,12h": 73})
	f("beirut", "Asia/Beirut", "2025-10-24T00:00:00Z", nil)
	f("spring", "Europe/Berlin", "2025-03-28T23:00:00Z", map[string]int{"2h,1h": 96, "6h,3h": 96, "12h,6h": 96, "1d,3h": 96, "1d,6h": 96, "1d,12h": 96})
	f("utc", "UTC", "2025-10-24T22:00:00Z", map[string]int{"6h,3h": 96, "1d,12h": 96})
}
