//go:build faults || all

package faults

import (
	"fmt"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// flowsAgain publishes events until the server has stored more of them, twice:
// before and after something was dropped on it.
func flowsAgain(t *testing.T, d *harness.Database, drop func()) {
	t.Helper()
	r := harness.RunSink(t, d.Config)
	next := 0
	more := func() {
		var batch []*event.Event
		all, _ := harness.Events(t, 200)
		for _, e := range all {
			e.Time += int64(next) * 1e9
			batch = append(batch, e)
		}
		next++
		r.Publish(batch)
	}
	more()
	r.Until("points flow", func(s influx.Stats) bool { return s.Stored > 0 && s.Queued == 0 })
	drop()
	before := r.Stats().Stored
	for range 5 {
		more()
	}
	r.Until("points flow again", func(s influx.Stats) bool { return s.Stored > before+1000 && s.Queued == 0 })
	st := r.Stats()
	require.Zero(t, st.Rejected+st.Dropped, "%+v", st)
	require.Equal(t, st.Accepted, st.Stored)
	r.Bus.Close() // the next one gets the spool
	require.NoError(t, <-r.End)
}

// R34: the retention policy is dropped under load on Debian's InfluxDB 1.6.7,
// which answers 500 then.
func TestFaultR34Dropped16(t *testing.T) {
	d := harness.NewInfluxDB16(t)
	for _, statement := range []string{"DROP RETENTION POLICY history ON ipfsmon", "DROP RETENTION POLICY totals ON ipfsmon", "DROP DATABASE ipfsmon"} {
		flowsAgain(t, d, func() { d.Ask(t, statement) })
	}
	kept := map[any]any{}
	for _, row := range d.Ask(t, "SHOW RETENTION POLICIES ON ipfsmon") {
		kept[row["name"]] = fmt.Sprintf("%v %v", row["duration"], row["default"])
	}
	require.Equal(t, map[any]any{"history": "168h0m0s true", "totals": "0s false"}, kept)
}

// R34: the bucket is dropped under load on InfluxDB 2.9.1.
func TestFaultR34Dropped2(t *testing.T) {
	address, org, admin := harness.StartInfluxDB2(t)
	no := false
	d := &harness.Database{
		Config: influx.Config{URL: address, Org: org, Token: admin, FlushInterval: "100ms", Rollups: &no,
			SpoolDir: filepath.Join(t.TempDir(), "spool")},
		Authorization: "Token " + admin,
	}
	for _, kind := range []string{"history", "totals"} {
		flowsAgain(t, d, func() {
			var found struct{ Buckets []struct{ ID string } }
			status, body := d.Call(t, "GET", "/api/v2/buckets", url.Values{"name": {"ipfsmon/" + kind}}, "")
			harness.Decode(t, 200, status, body, &found)
			require.Len(t, found.Buckets, 1)
			status, body = d.Call(t, "DELETE", "/api/v2/buckets/"+found.Buckets[0].ID, nil, "")
			require.Equal(t, 204, status, string(body))
		})
	}
}
