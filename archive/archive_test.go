package archive

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/internal/disktest"
)

var update = flag.Bool("update", false, "rewrite docs/archive.md")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var begin = time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)

func mhash(n int) mh.Multihash {
	sum, err := mh.Sum(fmt.Append(nil, "archive ", n), mh.SHA2_256, -1)
	if err != nil {
		panic(err) // a known hash function
	}
	return sum
}

func testPeer(n int) peer.ID { return peer.ID(mhash(1_000_000 + n)) }

func testCID(n int) cid.Cid {
	if n%5 == 0 {
		return cid.NewCidV0(mhash(n))
	}
	return cid.NewCidV1([]uint64{cid.Raw, cid.DagProtobuf, cid.DagCBOR}[n%3], mhash(n))
}

// message returns a message with wants, presences and blocks.
func message(n int, at time.Time) *event.Event {
	e := &event.Event{Kind: event.KindMessage, Seq: uint64(n) + 1, Time: at.UnixNano(), Peer: testPeer(n % 50), Country: []string{"", "DE", "FR"}[n%3], Gateway: n%7 == 0,
		Dir: event.Direction(n % 2), Full: n%11 == 0, WireSize: int32(100 + n), Addrs: []event.Text{event.Text(fmt.Sprintf("/ip4/192.0.2.%d/tcp/4001", n%250+1))}}
	for i := range n % 4 {
		e.Wants = append(e.Wants, event.Want{CID: testCID(n + i), Priority: int32(1000 - i), Type: event.WantType(i % 2), SendDontHave: i == 1})
	}
	if n%3 == 0 {
		e.Wants = append(e.Wants, event.Want{CID: testCID(n), Cancel: true})
	}
	if n%4 == 1 {
		e.Presences = []event.Presence{{CID: testCID(n)}, {CID: testCID(n + 1), Type: event.DontHave}}
	}
	if n%6 == 2 {
		e.Blocks = []event.Block{{CID: testCID(n), Size: int32(n)}}
	}
	return e
}

// made makes an archive of events as one source.
func made(t testing.TB, dir, monitor, source string, events ...*event.Event) *Writer {
	t.Helper()
	w, err := NewWriter(dir, Options{Monitor: monitor, Source: SourceID(source), BinaryCIDs: true})
	require.NoError(t, err)
	for _, e := range events {
		require.NoError(t, w.Add(e))
	}
	require.NoError(t, w.Commit(Source{Name: source}))
	return w
}

// readAll returns the events of a monitor, and the errors of what was left out.
func readAll(t testing.TB, dir, monitor string) (all []*event.Event, left []error) {
	t.Helper()
	a, err := Open(dir)
	require.NoError(t, err)
	a.Damaged = func(err error) { left = append(left, err) }
	require.NoError(t, a.Read(context.Background(), monitor, func(item Item) error {
		if item.Event != nil {
			all = append(all, item.Event.Clone())
		}
		return nil
	}))
	return all, left
}

// TestEveryKindComesBack: a new kind is in the archive, or is left out for a reason.
func TestEveryKindComesBack(t *testing.T) {
	const state = "a state, which no recording has: InfluxDB keeps it in totals"
	eventtest.EachKind(t, func(e *event.Event) bool {
		dir := t.TempDir()
		w := made(t, dir, "m", "s", e)
		require.Equal(t, Has(e.Kind), w.Rows > 0, "%s", e.Kind)
		if w.Rows == 0 {
			return false
		}
		all, left := readAll(t, dir, "m")
		require.Empty(t, left)
		require.Equal(t, []*event.Event{e}, all)
		return true
	}, map[event.Kind]string{
		event.KindSample: state, event.KindSummary: state, event.KindProxy: state, event.KindPipeline: state,
		event.KindClockStep: "a note says the same",
		event.KindSendError: "a message that was not sent; InfluxDB counts them in totals by reason",
		event.KindProbe:     "never on a monitor's bus",
		event.KindFleet:     "totals of a collector",
	})
}

// TestEveryFieldComesBack: what an example does not have, at its limits.
func TestEveryFieldComesBack(t *testing.T) {
	at := begin.UnixNano()
	identity, err := mh.Sum([]byte("data in the CID"), mh.IDENTITY, -1)
	require.NoError(t, err)
	events := []*event.Event{
		{Kind: event.KindMessage, Time: at, Dir: event.Sent, Transport: event.HTTP, Peer: testPeer(1), Side: event.Downstream, Downstream: "node é", Took: time.Second,
			PendingBytes: -1, WireSize: 7, Truncated: 1<<32 - 1, OversizeCID: 400, Full: true,
			Wants:     []event.Want{{CID: cid.Undef, Type: 77, Priority: -1 << 31}, {CID: cid.NewCidV1(0x300000, identity), Priority: 1<<31 - 1}},
			Presences: []event.Presence{{CID: testCID(1), Type: -3}}, Blocks: []event.Block{{CID: testCID(2)}}},
		{Kind: event.KindMessage, Time: at + 1, Peer: testPeer(1)},
		{Kind: event.KindConnection, Time: at + 2, Peer: testPeer(2), Side: event.Upstream, Conn: &event.Conn{ID: "x", Closed: true, Inbound: true, Limited: true,
			Addr: "/dns4/é/tcp/1", Transport: "other", Security: "other", Muxer: "other", Opened: begin.Add(-time.Hour), Duration: time.Hour, Streams: 3, WasOpen: true, Unmatched: true, PeerConns: 4, TotalConns: 5}},
		{Kind: event.KindOrigins, Time: at + 3, Origins: &event.Origins{Interval: time.Minute, Missed: 4}},
		{Kind: event.KindOrigins, Time: at + 4, Origins: &event.Origins{Interval: time.Minute, Sums: []event.Origin{{Messages: 1}, {Dir: event.Sent, Country: "other", Gateway: true, Wants: 2, Blocks: 3, BlockBytes: 4, Connections: 5}}}},
		{Kind: event.KindDHT, Time: at + 5, Peer: testPeer(3), Dir: event.Sent, DHT: &event.DHTRequest{Type: event.DHTFindNode, Status: event.DHTTimedOut, LAN: true, Target: testPeer(4), Providers: 1}},
		{Kind: event.KindDHT, Time: at + 6, Peer: testPeer(3), DHT: &event.DHTRequest{Type: event.DHTUnsent, Name: "0x00ff"}},
		{Kind: event.KindSearch, Time: at + 7, Search: &event.Search{CID: testCID(3), State: event.SearchEnded, Providers: 9}},
		{Kind: event.KindLatency, Time: at + 8, Peer: testPeer(5), Latency: &event.Latency{CID: testCID(4), Want: event.WantHave, Answer: event.AnswerDontHave, Elapsed: 1}},
		{Kind: event.KindRetrieval, Time: at + 9, Peer: testPeer(5), Transport: event.HTTP, Retrieval: &event.Retrieval{CID: testCID(4), Source: event.SourceHTTP}},
		{Kind: event.KindFlood, Time: at + 10, Peer: testPeer(6), Flood: &event.Flood{State: event.FloodEnded, Since: begin, Share: 1000, Repeats: 999, MessageRate: 8, Messages: 1 << 40}},
		{Kind: event.KindMessage, Time: -1, Peer: testPeer(1)}, // before 1970
	}
	dir := t.TempDir()
	made(t, dir, "m", "s", events...)
	all, left := readAll(t, dir, "m")
	require.Empty(t, left)
	require.Equal(t, append(events[len(events)-1:], events[:len(events)-1]...), all)
	_, wrong, err := Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, wrong)
}

// TestManyEvents: shuffled ones, over hours, come back in the order of time, with the
// parts of each message in their order.
func TestManyEvents(t *testing.T) {
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	const n = 12_000
	events := make([]*event.Event, n)
	for i := range events {
		events[i] = message(i, begin.Add(time.Duration(i)*1700*time.Millisecond)) // almost six hours
	}
	shuffled := slices.Clone(events)
	for i := range shuffled { // close ones change places, a few come much later
		j := min(i+r.IntN(20), n-1)
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	for range 20 {
		i, j := r.IntN(n), r.IntN(n)
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	w := made(t, dir, "m", "s", shuffled...)
	all, left := readAll(t, dir, "m")
	require.Empty(t, left)
	require.Len(t, all, n)
	for i := range all {
		require.Equal(t, events[i], all[i])
	}
	files, wrong, err := Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, wrong)
	require.Equal(t, len(w.Files), files)

	info, err := Look(context.Background(), dir, nil)
	require.NoError(t, err)
	require.EqualValues(t, n, info.Rows["messages"])
	require.Equal(t, begin, info.First)
	require.Equal(t, 6, info.Monitors[0].Hours)
	require.Empty(t, info.Monitors[0].Missing)

	m, err := Merge(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, m.Damaged)
	again, left := readAll(t, dir, "m")
	require.Empty(t, left)
	require.Equal(t, all, again)
	l, err := list(dir)
	require.NoError(t, err)
	require.Len(t, l.files, 6*4, "a file for each table and hour")
}

// TestSourcesCountOnce: what was made, or was interrupted, is not there twice.
func TestSourcesCountOnce(t *testing.T) {
	dir := t.TempDir()
	events := []*event.Event{message(1, begin), message(2, begin.Add(time.Hour)), message(3, begin.Add(2*time.Hour)), message(5, begin.Add(3*time.Hour)), message(6, begin.Add(4*time.Hour))}
	// A writer that is killed: some files are whole, others open.
	w, err := NewWriter(dir, Options{Monitor: "m", Source: SourceID("s")})
	require.NoError(t, err)
	for _, e := range events {
		require.NoError(t, w.Add(e))
	}
	require.NotEmpty(t, w.Files)
	_, wrong, err := Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.NotEmpty(t, wrong, "its files are not all there")
	m, err := Merge(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Zero(t, m.Before, "files of a source that is not all there are not merged")
	w.Abort()

	made(t, dir, "m", "s", events...)
	all, _ := readAll(t, dir, "m")
	require.Equal(t, events, all)
	_, err = NewWriter(dir, Options{Monitor: "m", Source: SourceID("s")})
	require.ErrorContains(t, err, "already")
	sources, err := Sources(dir)
	require.NoError(t, err)
	require.Len(t, sources, 1)
	_, wrong, err = Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, wrong)

	_, err = NewWriter(dir, Options{Monitor: "m", Source: "../x"})
	require.ErrorContains(t, err, "want an ID")
	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "letter"), nil, 0o600))
	require.ErrorContains(t, Create(other), "is not empty")
	_, err = Open(other)
	require.ErrorContains(t, err, "want the folder of an archive")
}

// TestTwoWriters: two sources are written at the same time, of one hour.
func TestTwoWriters(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for s := range 2 {
		wg.Go(func() {
			var events []*event.Event
			for i := range 3000 {
				events = append(events, message(2*i+s, begin.Add(time.Duration(2*i+s)*time.Second/2)))
			}
			made(t, dir, "m", fmt.Sprint(s), events...)
		})
	}
	wg.Wait()
	check := func() {
		t.Helper()
		all, left := readAll(t, dir, "m")
		require.Empty(t, left)
		require.Len(t, all, 6000)
		for i, e := range all {
			require.Equal(t, message(i, begin.Add(time.Duration(i)*time.Second/2)), e)
		}
	}
	check()
	// Late files, also of another monitor.
	made(t, dir, "other", "late", message(1, begin))
	m, err := Merge(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Equal(t, 2, m.Partitions, "presences and blocks are of one source each")
	check()
	made(t, dir, "m", "later", message(7001, begin.Add(time.Second/4)))
	m, err = Merge(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Positive(t, m.Partitions)
	all, _ := readAll(t, dir, "m")
	require.Len(t, all, 6001)
	require.EqualValues(t, 7002, all[1].Seq)

	// The same source at the same time: the second one is an error at once, and takes
	// no file of the first.
	w, err := NewWriter(dir, Options{Monitor: "twice", Source: SourceID("twice")})
	require.NoError(t, err)
	defer w.Abort()
	for i := range 2 * openHours {
		require.NoError(t, w.Add(message(i, begin.Add(time.Duration(i)*time.Hour))))
	}
	require.NotEmpty(t, w.Files, "some are whole before the end")
	_, err = NewWriter(dir, Options{Monitor: "twice", Source: SourceID("twice")})
	require.ErrorContains(t, err, "another writer")
	require.NoError(t, w.Commit(Source{}))
	all, _ = readAll(t, dir, "twice")
	require.Len(t, all, 2*openHours)
	_, err = NewWriter(dir, Options{Monitor: "twice", Source: SourceID("twice")})
	require.ErrorContains(t, err, "already")

	// After one that was aborted there may be another.
	w, err = NewWriter(dir, Options{Monitor: "twice", Source: SourceID("again")})
	require.NoError(t, err)
	w.Abort()
	made(t, dir, "twice", "again", message(1, begin))
}

// TestMergeIsInterrupted: between the new file's name and the end of the old ones
// nothing counts twice, and the next merge cleans up.
func TestMergeIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	made(t, dir, "m", "a", message(1, begin))
	made(t, dir, "m", "b", message(2, begin.Add(time.Minute)))
	before, _ := readAll(t, dir, "m")
	old := t.TempDir()
	require.NoError(t, os.CopyFS(old, os.DirFS(dir)))
	_, err := Merge(context.Background(), dir, nil)
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(old, func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		at, err := filepath.Rel(old, path)
		require.NoError(t, err)
		if b, readErr := os.ReadFile(path); readErr == nil {
			require.NoError(t, os.WriteFile(filepath.Join(dir, at), b, 0o600))
		}
		return err
	}))
	after, left := readAll(t, dir, "m")
	require.Empty(t, left)
	require.Equal(t, before, after)
	_, wrong, err := Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.ErrorContains(t, errors.Join(wrong...), "counts it twice")
	info, err := Look(context.Background(), dir, nil)
	require.NoError(t, err)
	require.NotEmpty(t, info.Leftover)
	require.EqualValues(t, 2, info.Rows["messages"])
	m, err := Merge(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Len(t, m.Removed, len(info.Leftover))
	_, wrong, err = Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, wrong)
	after, _ = readAll(t, dir, "m")
	require.Equal(t, before, after)
}

// TestTornAndDamaged: each damaged file is named and left out, and all others are read.
func TestTornAndDamaged(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		made(t, dir, "m", fmt.Sprint(i), message(3*i+1, begin.Add(time.Duration(i)*time.Hour)))
	}
	l, err := list(dir)
	require.NoError(t, err)
	whole, _ := readAll(t, dir, "m")
	for _, f := range l.files {
		if f.Table != "messages" {
			continue
		}
		path := filepath.Join(dir, f.Path)
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		damages := [][]byte{nil, []byte("PAR1"), good[:len(good)/2], good[:len(good)-1], append(slices.Clone(good), 0), make([]byte, len(good))}
		for at := 0; at < len(good); at += len(good)/7 + 1 {
			bad := slices.Clone(good)
			bad[at] ^= 1 << (at % 8)
			damages = append(damages, bad)
		}
		for i, bad := range damages {
			require.NoError(t, os.WriteFile(path, bad, 0o600))
			all, left := readAll(t, dir, "m")
			require.Len(t, left, 1, "damage %d", i)
			require.ErrorContains(t, left[0], f.Path)
			var d *DamagedError
			require.ErrorAs(t, left[0], &d)
			n := 0
			for _, e := range all {
				if slices.ContainsFunc(whole, func(w *event.Event) bool { return w.Seq == e.Seq && w.Time == e.Time }) {
					n++
				}
			}
			require.Equal(t, len(whole)-1, n, "the others are whole")
			_, wrong, err := Verify(context.Background(), dir, nil)
			require.NoError(t, err)
			require.Len(t, wrong, 1, "damage %d", i)
			_, err = Merge(context.Background(), dir, nil)
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(path, good, 0o600))
	}
	all, left := readAll(t, dir, "m")
	require.Empty(t, left)
	require.Equal(t, whole, all)

	// A file that is missing, also of what was merged, or of the unified trace.
	w, err := NewWriter(dir, Options{Source: SourceID("u")})
	require.NoError(t, err)
	require.NoError(t, w.AddUnified(Unified{Seconds: begin.Unix(), CID: "x"}))
	require.NoError(t, w.Commit(Source{}))
	made(t, dir, "m", "late", message(2, begin))
	_, err = Merge(context.Background(), dir, nil)
	require.NoError(t, err)
	l, err = list(dir)
	require.NoError(t, err)
	for _, f := range l.files {
		path := filepath.Join(dir, f.Path)
		require.NoError(t, os.Rename(path, path+".away"))
		_, wrong, err := Verify(context.Background(), dir, nil)
		require.NoError(t, err)
		require.Len(t, wrong, 2, "%s.away is not of an archive, and %s is missing", f.Path, f.Path)
		require.ErrorContains(t, wrong[1], "in no file")
		require.NoError(t, os.Rename(path+".away", path))
	}
	_, wrong, err := Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, wrong)

	// A whole file in another folder, and files of others.
	from := filepath.Join(dir, l.files[0].Path)
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	to := filepath.Join(dir, "messages", "monitor=x", "date=2026-11-20", "hour=03")
	require.NoError(t, os.MkdirAll(to, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(to, filepath.Base(from)), b, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(to, "notes.txt"), nil, 0o600))
	_, wrong, err = Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.ErrorContains(t, errors.Join(wrong...), "wrong folder")
	require.ErrorContains(t, errors.Join(wrong...), "notes.txt is not a file of an archive")
}

// TestFullDisk: an error, no file that is not whole, and everything after there is
// room again.
func TestFullDisk(t *testing.T) {
	disk := disktest.Small(t, "256k")
	dir := filepath.Join(disk, "archive")
	var events []*event.Event
	for i := range 20_000 {
		events = append(events, message(i, begin.Add(time.Duration(i)*time.Second)))
	}
	w, err := NewWriter(dir, Options{Monitor: "m", Source: SourceID("s")})
	require.NoError(t, err)
	for _, e := range events {
		if err = w.Add(e); err != nil {
			break
		}
	}
	if err == nil {
		err = w.Commit(Source{})
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	w.Abort()
	ok, err := Made(dir, SourceID("s"))
	require.NoError(t, err)
	require.False(t, ok)
	l, err := list(dir)
	require.NoError(t, err)
	require.Empty(t, l.open)
	for _, f := range l.files {
		_, err := verifyFile(dir, f)
		require.NoError(t, err)
	}
	disktest.Resize(t, disk, "64m")
	made(t, dir, "m", "s", events...)
	all, left := readAll(t, dir, "m")
	require.Empty(t, left)
	require.Equal(t, events, all)
}

// TestHostileTexts: an archive may be anybody's: its texts are clean when they come
// out, and what is no peer or CID is left out.
func TestHostileTexts(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(dir, Options{Monitor: "de\x1b[2J/../../1", Source: SourceID("s")})
	require.NoError(t, err)
	evil := "\x1b[2Jkubo\u202e\x00\xff" + strings.Repeat("é", 5000)
	at := Head{begin.UnixNano()}
	p := Remote{Peer: testPeer(1).String(), Country: "\x1b]", Side: "downstream", Downstream: evil}
	require.NoError(t, add(w, identifies, Identify{Head: at, Remote: p, Agent: evil, ProtocolVersion: evil, Protocols: []string{evil, "/x"}, ListenAddrs: []string{evil, "/ip4/\n"}, ObservedAddr: evil}))
	require.NoError(t, add(w, connections, Connection{Head: at, Remote: p, ID: evil, Addr: evil, State: evil, Direction: evil, Transport: evil, Security: evil, Muxer: evil, Duration: -1, Streams: -1}))
	require.NoError(t, add(w, notes, Note{Head: at, Kind: "start", Text: evil}))
	require.NoError(t, add(w, notes, Note{Head: at, Kind: evil}))
	require.NoError(t, add(w, floods, Flood{Head: at, Remote: p, Agent: evil, State: evil, Share: 1 << 30}))
	require.NoError(t, add(w, dhts, DHT{Head: at, Remote: p, Name: evil, Type: evil, Status: evil, Table: evil}))
	require.NoError(t, add(w, messages, Message{Head: at, Message: 1, Remote: Remote{Peer: evil}}))
	require.NoError(t, add(w, wants, Want{Entry: Entry{Head: at, Message: 1, Remote: p, Content: Content{CID: evil}}}))
	require.NoError(t, add(w, wants, Want{Entry: Entry{Head: at, Remote: p, Content: Content{CID: testCID(1).String()}}}))
	require.NoError(t, w.Commit(Source{Name: evil}))
	l, err := list(dir)
	require.NoError(t, err)
	require.Equal(t, "de\x1b[2J/../../1", l.files[0].Monitor)
	for _, f := range l.files {
		require.Len(t, strings.Split(f.Path, "/"), 5)
	}
	all, left := readAll(t, dir, l.files[0].Monitor)
	require.Len(t, left, 2)
	require.Len(t, all, 6)
	for _, e := range all {
		b, err := json.Marshal(e)
		require.NoError(t, err)
		require.Equal(t, string(event.Clean(string(b), 1<<20)), string(b), "%s", e.Kind)
		require.Less(t, len(b), 4000)
	}
	for _, err := range left {
		require.Less(t, len(err.Error()), 500)
		require.NotContains(t, err.Error(), "\x1b")
	}
}

// TestNamesOfMonitors: each name has a folder of its own, and comes back from it.
func TestNamesOfMonitors(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"de1", "DE 1", "a/b", "..", ".", "münchen", "a=b", "%41", "A", strings.Repeat("é", 64), strings.Repeat("é", 63) + "e"} {
		at := folder("wants", name, 0)
		require.False(t, seen[at], name)
		seen[at] = true
		require.Len(t, strings.Split(at, "/"), 4, name)
		f, ok := fileAt(filepath.Join(at, SourceID("x")+"-0000-"+SourceID("y")+".parquet"))
		require.True(t, ok, name)
		if len(name) < 100 {
			require.Equal(t, name, f.Monitor)
		}
		require.Less(t, len(filepath.Base(filepath.Dir(filepath.Dir(at)))), 256)
	}
	for _, bad := range []string{"x.parquet", "wants/monitor=a/date=x/hour=01/" + SourceID("x") + "-0-" + SourceID("y") + ".parquet", "wants/monitor=a/hour=01/x.parquet",
		"none/monitor=a/date=2026-01-01/hour=01/" + SourceID("x") + "-0-" + SourceID("y") + ".parquet"} {
		_, ok := fileAt(bad)
		require.False(t, ok, bad)
	}
}

// TestGapsAndHours: info has what is missing.
func TestGapsAndHours(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(dir, Options{Monitor: "m", Source: SourceID("s")})
	require.NoError(t, err)
	require.NoError(t, w.Add(message(1, begin)))
	require.NoError(t, w.AddGap(Gap{Head: Head{begin.UnixNano() + 5}, Slow: 3, Bus: 4, First: 2, Last: 9}))
	require.NoError(t, w.Add(message(2, begin.Add(5*time.Hour))))
	require.NoError(t, w.Commit(Source{}))
	info, err := Look(context.Background(), dir, nil)
	require.NoError(t, err)
	m := info.Monitors[0]
	require.Equal(t, []Hours{{begin.Add(time.Hour), begin.Add(4 * time.Hour)}}, m.Missing)
	require.Equal(t, 1, m.Gaps)
	require.EqualValues(t, 7, m.Missed)
	a, err := Open(dir)
	require.NoError(t, err)
	var gaps []Gap
	require.NoError(t, a.Read(context.Background(), "m", func(i Item) error {
		if i.Gap != nil {
			gaps = append(gaps, *i.Gap)
		}
		return nil
	}))
	require.Equal(t, []Gap{{Head: Head{begin.UnixNano() + 5}, Slow: 3, Bus: 4, First: 2, Last: 9}}, gaps)
}

// TestUnified: the rows of the unified trace come back, in a folder without a monitor.
func TestUnified(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(dir, Options{Source: SourceID("u")})
	require.NoError(t, err)
	n, window, yes := int64(12), int32(31), true
	rows := []Unified{
		{MonitorID: "de1", MessageID: 1, MessageType: 1, Seconds: begin.Unix(), Millis: 7, Peer: testPeer(1).String(), Addr: "/ip4/192.0.2.1/tcp/1", Priority: 5, EntryType: 2, CID: testCID(1).String()},
		{MonitorID: "us1", MatchedTo: "de1", MatchDiff: &n, GlobalDiff: &n, MessageID: 1, MessageType: 2, Seconds: begin.Unix(), Millis: 19, Peer: testPeer(1).String(), EntryType: 2, CID: testCID(1).String(),
			Duplicate: 4, SlidingWindow: &window, SecondsEarlier: &n, Upgrades: &yes},
	}
	for _, r := range rows {
		require.NoError(t, w.AddUnified(r))
	}
	require.NoError(t, w.Commit(Source{}))
	a, err := Open(dir)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(a.Files[0].Path, "unified/date=2026-11-20/hour=14/"))
	require.Empty(t, a.Monitors())
	var got []Unified
	require.NoError(t, a.ReadUnified(context.Background(), func(r *Unified) error { got = append(got, *r); return nil }))
	for i := range rows {
		rows[i].Time = rows[i].Seconds*1e9 + int64(rows[i].Millis)*1e6
	}
	require.Equal(t, rows, got)
	_, wrong, err := Verify(context.Background(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, wrong)
}

// TestArchiveDoc: docs/archive.md and the catalogue have the columns that files have.
func TestArchiveDoc(t *testing.T) {
	const path, from, to = "../docs/archive.md", "<!-- columns: generated by make generate -->\n", "<!-- end of columns -->\n"
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(b), from)
	require.True(t, ok)
	_, tail, ok := strings.Cut(rest, to)
	require.True(t, ok)
	want := head + from + Markdown() + to + tail
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	} else {
		require.Equal(t, want, string(b), "out of date: make generate")
	}
	var catalog struct{ Tables []Table }
	require.NoError(t, json.Unmarshal(Catalog(), &catalog))
	require.Len(t, catalog.Tables, int(tableCount))
	for i, table := range catalog.Tables {
		var in []string
		for _, path := range tables[i].(interface{ columnPaths() [][]string }).columnPaths() {
			in = append(in, path[0])
		}
		var described []string
		for _, c := range table.Columns {
			described = append(described, c.Name)
			require.NotEmpty(t, c.Help, "%s.%s", table.Name, c.Name)
			require.NotEmpty(t, c.Type, "%s.%s", table.Name, c.Name)
		}
		require.Equal(t, in, described, table.Name)
	}
}

func (t *tableOf[T, P]) columnPaths() [][]string { return t.schema.Columns() }

// FuzzFile: whatever is in a file, reading it ends with an error or rows.
func FuzzFile(f *testing.F) {
	dir := f.TempDir()
	made(f, dir, "m", "s", message(1, begin), message(9, begin))
	l, err := list(dir)
	require.NoError(f, err)
	for _, file := range l.files {
		b, err := os.ReadFile(filepath.Join(dir, file.Path))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "f.parquet")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		for _, table := range []tableAt{messages, wants} {
			r, err := tables[table].openRows(path)
			if err != nil {
				continue
			}
			for n := 0; err == nil && n < 10_000; n++ {
				_, err = r.next()
			}
			r.Close()
		}
		_, _, _, _ = span(path)
	})
}
