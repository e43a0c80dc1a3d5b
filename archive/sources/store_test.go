package sources

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// TestStore: each measurement of history becomes rows with all that it has, for each
// hour and monitor once.
func TestStore(t *testing.T) {
	cfg := influxtest.StoreAt(storetest.Start(t))
	cfg.HistoryDHT = true
	at := time.Now().UTC().Truncate(time.Hour).Add(-2*time.Hour + time.Minute)
	var events []*event.Event
	of := influxtest.Single()
	for _, name := range []string{"wants", "blocks", "presences", "connections", "identifies", "latency", "dht_log", "http_requests", "retrievals"} {
		e := of[name]
		require.NotNil(t, e, name)
		e.Time = at.Add(time.Duration(len(events)) * time.Second).UnixNano()
		events = append(events, e)
	}
	require.Len(t, events, len(of), "a measurement of history is new")
	later := of["wants"].Clone()
	later.Time, later.Wants[0].Cancel, later.Wants[0].Type, later.Dir = at.Add(time.Hour).UnixNano(), true, event.WantBlock, event.Sent
	now := of["blocks"].Clone()
	now.Time = at.Add(2 * time.Hour).UnixNano() // the hour is not over
	written := append(append([]*event.Event{}, events...), later, now)
	s, err := influx.New(cfg, "de'1")
	require.NoError(t, err)
	require.NoError(t, influxtest.RunOver(t, s.Run, written, 0, time.Minute, func() bool {
		st := s.Stats()
		return st.Events == uint64(len(written)) && st.Queued == 0
	}))
	c, err := client.New(cfg)
	require.NoError(t, err)
	defer c.Close()
	dir := filepath.Join(t.TempDir(), "archive")
	for round := range 2 {
		store := NewStore(c, Options{Dir: dir})
		hours, err := store.Hours(t.Context(), time.Time{}, time.Now())
		require.NoError(t, err)
		require.Equal(t, []Hour{{"de'1", at.Truncate(time.Hour)}, {"de'1", at.Truncate(time.Hour).Add(time.Hour)}}, hours)
		for _, h := range hours {
			r, err := store.Hour(t.Context(), h)
			require.NoError(t, err)
			require.Zero(t, r.Skipped)
			require.Equal(t, round == 1, r.Before)
		}
	}
	hours, err := NewStore(c, Options{Dir: dir}).Hours(t.Context(), at.Add(30*time.Minute), time.Now())
	require.NoError(t, err)
	require.Len(t, hours, 1)

	a, err := archive.Open(dir)
	require.NoError(t, err)
	var got []*event.Event
	require.NoError(t, a.Read(context.Background(), "de'1", func(i archive.Item) error {
		require.Equal(t, i.Event.Kind == event.KindMessage, i.Parts)
		got = append(got, i.Event.Clone())
		return nil
	}))
	want := append(events, later)
	require.Len(t, got, len(want))
	for i, e := range want {
		e.Addrs, e.Seq = nil, 0
		if e.Kind == event.KindRequest {
			e.Dir, e.Addrs = event.Sent, []event.Text{"gateway.example:443"} // the host is what is stored
		}
		switch {
		case e.Conn != nil:
			e.Conn.ID, e.Conn.Muxer, e.Conn.Opened = "", "other", e.At().Add(-e.Conn.Duration)
		case e.Identify != nil:
			e.Identify.Protocols = nil // their number is stored
		}
		require.Equal(t, e, got[i])
	}
}
