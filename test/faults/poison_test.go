//go:build faults || all

package faults

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestFaultR16PoisonInfluxDB16 is the poison line in a real InfluxDB 1.6.7, with a spool: all
// others are stored, and the line is in the file with the server's words.
func TestFaultR16PoisonInfluxDB16(t *testing.T) {
	d := harness.NewInfluxDB16(t)
	require.NoError(t, client.Setup(t.Context(), d.Config))
	now := time.Now().UnixNano()
	status, body := d.Call(t, "POST", "/write", url.Values{"db": {"ipfsmon"}, "rp": {"history"}}, fmt.Sprintf("blocks size=\"text\" %d\n", now))
	require.Equal(t, 204, status, string(body))
	all := make([]*event.Event, 5000)
	for i := range all {
		all[i] = &event.Event{Time: now, Kind: event.KindMessage, Wants: []event.Want{{CID: harness.CidOf(t, i)}}}
	}
	all[2345].Wants, all[2345].Blocks = nil, []event.Block{{CID: harness.CidOf(t, 1), Size: 1}}
	r := harness.RunSink(t, d.Config)
	r.Publish(all)
	r.Until("settled", func(s influx.Stats) bool { return s.Stored+s.Rejected == 5000 })
	r.Finish(4999, 1)
	require.EqualValues(t, 4999, d.Ask(t, "SELECT count(cid) FROM wants")[0]["count"])
	got, err := os.ReadFile(filepath.Join(d.Config.SpoolDir, "rejected.lp"))
	require.NoError(t, err)
	require.Regexp(t, `^# .* 1 points: .*field type conflict.*\nblocks,.* \d+\n$`, string(got))
}
