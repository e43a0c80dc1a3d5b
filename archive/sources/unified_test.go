package sources

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
)

// TestUnifiedCSV: what ipfsmon fleet unify writes becomes rows with the same values,
// once; rows that are none are counted.
func TestUnifiedCSV(t *testing.T) {
	require.Equal(t, unify.Columns, unifiedColumns)
	at := time.Date(2026, 11, 20, 14, 0, 0, 7e6, time.UTC)
	entries := []unify.Entry{
		{MessageID: 1, Message: unify.Incremental, Time: at.UnixNano(), Peer: eventtest.Peer, Address: "/ip4/192.0.2.1/tcp/1", Priority: 5, Type: unify.WantHave, CID: eventtest.CID},
		{Monitor: 1, MessageID: 2, Message: unify.FullList, Time: at.Add(time.Second).UnixNano(), Peer: eventtest.Peer, Type: unify.WantBlock, CID: eventtest.CID, Matched: true, MatchAfter: time.Second,
			Duplicate: true, DuplicateAfter: time.Second, Repeats: unify.RepeatsSliding, Window: 31, Since: 30, Upgrades: true},
	}
	from, dir := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	files, err := unify.NewCSVFiles(from, true)
	require.NoError(t, err)
	for i := range entries {
		require.NoError(t, files.Add(&entries[i]))
	}
	require.NoError(t, files.Close())
	require.Len(t, files.Files, 1)
	for round := range 2 {
		r, err := Unified(context.Background(), files.Files[0], Options{Dir: dir})
		require.NoError(t, err)
		require.Equal(t, round == 1, r.Before)
	}
	a, err := archive.Open(dir)
	require.NoError(t, err)
	var got []archive.Unified
	require.NoError(t, a.ReadUnified(context.Background(), func(r *archive.Unified) error { got = append(got, *r); return nil }))
	require.Len(t, got, 2)
	require.Equal(t, at.UnixNano(), got[0].Time)
	require.Equal(t, "0", got[0].MonitorID)
	require.Nil(t, got[0].MatchDiff)
	require.Equal(t, "/ip4/192.0.2.1/tcp/1", got[0].Addr)
	require.Equal(t, eventtest.CID.String(), got[0].CID)
	require.EqualValues(t, unify.WantHave, got[0].EntryType)
	require.Equal(t, "0", got[1].MatchedTo)
	require.EqualValues(t, 1000, *got[1].MatchDiff)
	require.EqualValues(t, 1000, *got[1].GlobalDiff)
	require.EqualValues(t, 31, *got[1].SlidingWindow)
	require.EqualValues(t, 30, *got[1].SecondsEarlier)
	require.True(t, *got[1].Upgrades)

	bad := filepath.Join(from, "bad.csv")
	require.NoError(t, os.WriteFile(bad, []byte(strings.Join(unifiedColumns, ",")+"\nx,,,,1,1,1,1,p,,1,1,c,0,,,\nshort\nm,,,,x,1,1,1,p,,1,1,c,0,,,\nm,,,,1,1,1,1000,p,,1,1,c,0,,,\n"), 0o600))
	r, err := Unified(context.Background(), bad, Options{Dir: dir})
	require.NoError(t, err)
	require.EqualValues(t, 1, r.Rows)
	require.Equal(t, 3, r.Skipped)
	require.NoError(t, os.WriteFile(bad, []byte("a,b\n"), 0o600))
	_, err = Unified(context.Background(), bad, Options{Dir: dir})
	require.ErrorContains(t, err, "is not a unified trace")
}
