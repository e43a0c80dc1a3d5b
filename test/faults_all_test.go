//go:build all

package test

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
)

// TestAllFaultR16Poison is the poison line in a real InfluxDB 1.6.7, with a spool: all
// others are stored, and the line is in the file with the server's words.
func TestAllFaultR16Poison(t *testing.T) {
	address, admin := startInfluxDB16(t)
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("of the monitor"), 0o600))
	d := &database{
		cfg: influx.Config{URL: address, Username: "monitor", PasswordFile: file, FlushInterval: "100ms",
			SpoolDir: filepath.Join(t.TempDir(), "spool")},
		secretFile: file, secret: "of the monitor", authorization: admin,
	}
	d.ask(t, "CREATE USER monitor WITH PASSWORD 'of the monitor' WITH ALL PRIVILEGES")
	require.NoError(t, influx.Setup(t.Context(), d.cfg))
	now := time.Now().UnixNano()
	status, body := d.call(t, "POST", "/write", url.Values{"db": {"ipfsmon"}, "rp": {"history"}}, fmt.Sprintf("blocks size=\"text\" %d\n", now))
	require.Equal(t, 204, status, string(body))
	all := make([]*event.Event, 5000)
	for i := range all {
		all[i] = &event.Event{Time: now, Kind: event.KindMessage, Wants: []event.Want{{CID: cidOf(t, i)}}}
	}
	all[2345].Wants, all[2345].Blocks = nil, []event.Block{{CID: cidOf(t, 1), Size: 1}}
	r := runSink(t, d.cfg)
	r.publish(all)
	r.until("settled", func(s influx.Stats) bool { return s.Stored+s.Rejected == 5000 })
	r.finish(4999, 1)
	require.EqualValues(t, 4999, d.ask(t, "SELECT count(cid) FROM wants")[0]["count"])
	got, err := os.ReadFile(filepath.Join(d.cfg.SpoolDir, "rejected.lp"))
	require.NoError(t, err)
	require.Regexp(t, `^# .* 1 points: .*field type conflict.*\nblocks,.* \d+\n$`, string(got))
}
