package client_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// Set-up may be run again, changes how long history is kept, and leaves an
// operator's own retention of totals alone.
func TestSetup(t *testing.T) {
	store := storetest.Start(t)
	cfg := influxtest.StoreAt(store)
	var log bytes.Buffer
	cfg.Database, cfg.Log = "two", slog.New(slog.NewTextHandler(&log, nil))
	setup := func(retention string) {
		t.Helper()
		cfg.HistoryRetention = retention
		if err := client.Setup(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	has := func(want ...string) {
		t.Helper()
		got := influxtest.Ask(t, cfg, "SHOW RETENTION POLICIES ON two", false)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("retention policies %q, want %q", got, w)
			}
		}
	}
	setup("")
	has("history,168h0m0s", "1,true", "totals,0s")
	setup("0s")
	has("history,0s")
	setup("36h")
	setup("36h")
	has("history,36h0m0s")
	influxtest.Ask(t, cfg, `ALTER RETENTION POLICY totals ON two DURATION 1000h`, false)
	setup("90m")
	has("history,1h30m0s", "totals,1000h0m0s")

	// A default creates and never changes: without HistoryRetention the existing retention
	// stays. A configured one that deletes points is logged first.
	log.Reset()
	setup("")
	has("history,1h30m0s")
	setup("0s")
	setup("")
	has("history,0s")
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("nothing was deleted, and the log has a warning:\n%s", log.String())
	}
	setup("36h")
	if !strings.Contains(log.String(), "the server deletes older points") || !strings.Contains(log.String(), `was="for ever" history_retention=36h0m0s`) {
		t.Errorf("history is kept for a shorter time, and the log has:\n%s", log.String())
	}
	setup("90m")

	// Queries without a retention policy are about history.
	influxtest.Ask(t, cfg, `ALTER RETENTION POLICY totals ON two DEFAULT`, false)
	setup("")
	has("history,1h30m0s,1h0m0s,1,true", "totals,1000h0m0s,168h0m0s,1,false")

	// A database that somebody else created.
	cfg.HistoryRetention = "90m"
	influxtest.Ask(t, cfg, `CREATE DATABASE three`, false)
	cfg.Database = "three"
	if err := client.Setup(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if got := influxtest.Ask(t, cfg, "SHOW RETENTION POLICIES ON three", false); !strings.Contains(got, "history,1h30m0s,1h0m0s,1,true") || !strings.Contains(got, "autogen,0s,168h0m0s,1,false") {
		t.Errorf("retention policies %q", got)
	}
}
