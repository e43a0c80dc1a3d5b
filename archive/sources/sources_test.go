package sources

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/stream"
)

func TestMain(m *testing.M) {
	storetest.Main()
	goleak.VerifyTestMain(m)
}

func zipped(t *testing.T, dir, name, lines string, cut int) string {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	require.NoError(t, err)
	zip := gzip.NewWriter(f)
	_, err = zip.Write([]byte(lines))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	require.NoError(t, f.Close())
	if cut > 0 {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, info.Size()-int64(cut)))
	}
	return path
}

func items(t *testing.T, dir, monitor string) (events []*event.Event, gaps int) {
	t.Helper()
	a, err := archive.Open(dir)
	require.NoError(t, err)
	a.Damaged = func(err error) { t.Error(err) }
	require.NoError(t, a.Read(context.Background(), monitor, func(i archive.Item) error {
		if i.Gap != nil {
			gaps++
		} else {
			events = append(events, i.Event.Clone())
		}
		return nil
	}))
	return events, gaps
}

// TestRecordings: our own lines, the field's in both spellings, and the older
// JSONMessage; each once, however often it is given.
func TestRecordings(t *testing.T) {
	peer, id := eventtest.Peer.String(), eventtest.CID.String()
	from, dir := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	ours := `{"timestamp":"2026-11-20T14:00:00.000000001Z","peer":"` + peer + `","bitswap_message":{"wantlist_entries":[{"cid":{"/":"` + id + `"},"priority":7,"want_type":1,"cancel":false,"send_dont_have":true}],"full_wantlist":false,"blocks":[],"block_presences":[],"connected_addresses":[]},"seq":5,"country":"DE"}
{"timestamp":"2026-11-20T14:00:01Z","peer":"","gap":{"slow":3,"bus":1,"first":6,"last":9}}
not an event
`
	field := `{"timestamp":"2026-11-20T14:00:02Z","peer":"` + peer + `","bitswap_message":{"wantlist_entries":[{"Cid":{"/":"` + id + `"},"Priority":8,"WantType":0,"Cancel":true,"SendDontHave":false}],"full_wantlist":true,"blocks":[{"/":"` + id + `"}],"block_presences":[],"connected_addresses":["/ip4/192.0.2.1/tcp/1"]}}
{"timestamp":"2026-11-20T14:00:03Z","peer":"` + peer + `","connection_event":{"remote":"/ip4/192.0.2.1/tcp/1","connection_event_type":1}}
`
	older := `{"timestamp":"2026-11-20T14:00:04Z","peer":"` + peer + `","address":"/ip4/192.0.2.2/tcp/1","received_entries":[{"priority":9,"cancel":false,"send_dont_have":false,"cid":{"/":"` + id + `"},"want_type":0}],"full_want_list":true,"peer_connected":null,"peer_disconnected":null,"connect_event_peer_found":null}
{"timestamp":"2026-11-20T14:00:05Z","peer":"` + peer + `","address":"/ip4/192.0.2.2/tcp/1","received_entries":null,"full_want_list":null,"peer_connected":true,"peer_disconnected":false,"connect_event_peer_found":true}
{"timestamp":"2026-11-20T14:00:06Z","peer":"` + peer + `","received_entries":null,"full_want_list":null,"peer_connected":null,"peer_disconnected":true,"connect_event_peer_found":false}
`
	var results []Result
	for i, text := range []string{ours, field, older, ours} {
		r, err := Recording(context.Background(), zipped(t, from, string(rune('a'+i))+".json.gz", text, 0), "de1", Options{Dir: dir})
		require.NoError(t, err)
		results = append(results, r)
	}
	require.Equal(t, []bool{false, false, false, true}, []bool{results[0].Before, results[1].Before, results[2].Before, results[3].Before})
	require.Equal(t, 1, results[0].Skipped)
	events, gaps := items(t, dir, "de1")
	require.Equal(t, 1, gaps)
	require.Len(t, events, 6)
	e := events[0]
	require.EqualValues(t, 5, e.Seq)
	require.Equal(t, []event.Want{{CID: eventtest.CID, Priority: 7, Type: event.WantHave, SendDontHave: true}}, e.Wants)
	require.Equal(t, "DE", e.Country)
	require.EqualValues(t, time.Date(2026, 11, 20, 14, 0, 0, 1, time.UTC).UnixNano(), e.Time)
	require.True(t, events[1].Full && events[1].Wants[0].Cancel)
	require.Len(t, events[1].Blocks, 1)
	require.True(t, events[2].Conn.Closed)
	require.True(t, events[3].Full)
	require.Equal(t, []event.Want{{CID: eventtest.CID, Priority: 9}}, events[3].Wants)
	require.Equal(t, []event.Text{"/ip4/192.0.2.2/tcp/1"}, events[3].Addrs)
	require.False(t, events[4].Conn.Closed)
	require.EqualValues(t, "/ip4/192.0.2.2/tcp/1", events[4].Conn.Addr)
	require.True(t, events[5].Conn.Closed && events[5].Conn.Unmatched)
}

// TestDamagedRecording: what comes before the damage is kept, and the note says it.
func TestDamagedRecording(t *testing.T) {
	dir := t.TempDir()
	var lines string
	for i := range 2000 {
		lines += `{"timestamp":"` + time.Date(2026, 11, 20, 14, 0, i, i*7919, time.UTC).Format(time.RFC3339Nano) + `","peer":"` + eventtest.Peer.String() + `","connection_event":{"remote":"/ip4/192.0.2.1/tcp/1","connection_event_type":0}}` + "\n"
	}
	to := filepath.Join(dir, "archive")
	r, err := Recording(context.Background(), zipped(t, dir, "cut.json.gz", lines, 200), "m", Options{Dir: to})
	require.NoError(t, err)
	require.Contains(t, r.Damaged, "cannot be read to its end")
	require.Positive(t, r.Rows)
	require.Less(t, r.Rows, int64(2000))
	notes, err := archive.Sources(to)
	require.NoError(t, err)
	require.Equal(t, r.Damaged, notes[0].Damaged)
	_, err = Recording(context.Background(), filepath.Join(dir, "none"), "m", Options{Dir: to})
	require.ErrorIs(t, err, os.ErrNotExist)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	many := ""
	for range 3 {
		many += lines
	}
	_, err = Recording(ctx, zipped(t, dir, "many.json.gz", many, 0), "m", Options{Dir: to})
	require.ErrorIs(t, err, context.Canceled)
}

// TestRecorderAndArchiveAgree: what a recorder writes and an archive of it has is the
// same as what was recorded.
func TestRecorderAndArchiveAgree(t *testing.T) {
	from, dir := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	r, err := stream.NewRecorder(from, "m")
	require.NoError(t, err)
	at := time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	for i := range 100 {
		require.NoError(t, r.Add(&stream.Event{Timestamp: at.Add(time.Duration(i) * time.Minute), Peer: eventtest.Peer.String(), Seq: uint64(i + 1), Connection: &stream.Connection{Remote: "/ip4/192.0.2.1/tcp/1", Direction: "inbound"}}))
	}
	require.NoError(t, r.Close())
	files, err := stream.Recordings(from)
	require.NoError(t, err)
	for _, f := range files {
		_, err := Recording(context.Background(), f, "m", Options{Dir: dir})
		require.NoError(t, err)
	}
	events, _ := items(t, dir, "m")
	require.Len(t, events, 100)
	for i, e := range events {
		require.EqualValues(t, i+1, e.Seq)
		require.True(t, e.Conn.Inbound)
	}
}
