package unify

import (
	"encoding/csv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
)

// TestCSVIsTheFields is a small trace with one of everything, and its rows by hand.
func TestCSVIsTheFields(t *testing.T) {
	p := testPeer(1)
	at := func(ms int64) int64 { return begin + ms*int64(time.Millisecond) }
	a, b := testCID(0), testCID(4) // version 1 and 0
	events := []Event{
		{Time: at(0), Monitor: 0, Kind: Connected, Peer: p, Address: "/ip4/192.0.2.1/tcp/1"},
		{Time: at(7), Monitor: 0, Peer: p, Address: "/ip4/192.0.2.1/tcp/1", Wants: []Want{{CID: a, Priority: 5, Type: WantHaveDontHave}, {CID: b, Priority: 4, Type: WantHave}}},
		{Time: at(1207), Monitor: 1, Peer: p, Wants: []Want{{CID: a, Priority: 5, Type: WantBlock}}},                                 // a match of another type
		{Time: at(3000), Monitor: 0, Peer: p, Wants: []Want{{CID: a, Priority: 1, Type: WantBlock}}},                                 // an upgrade
		{Time: at(12000), Monitor: 0, Peer: p, Wants: []Want{{CID: b, Type: WantHave}}},                                              // repeats after 11 s
		{Time: at(13000), Monitor: 0, Peer: p, Full: true, Wants: []Want{{CID: b, Type: WantHave}}},                                  // omits a
		{Time: at(14000), Monitor: 0, Peer: p, Wants: []Want{{CID: b, Type: Cancel}, {CID: a, Priority: 2, Type: 2}}},                // a cancel
		{Time: at(14500), Monitor: 1, Peer: p, Wants: []Want{{CID: b, Type: Cancel}}},                                                // its match
		{Time: at(20000), Monitor: 0, Kind: Disconnected, Peer: p, Address: "/ip4/192.0.2.1/tcp/1"},                                  // ends a
		{Time: at(60000), Monitor: 0, Kind: Connected, Peer: p},                                                                      //
		{Time: at(60400), Monitor: 0, Peer: p, Wants: []Want{{CID: a, Type: WantBlock}, {CID: testCID(2), Type: WantBlockDontHave}}}, // asked again
	}
	out, _ := run(t, Config{Monitors: monitorNames(2)}, events, 3)
	var got []byte
	for i := range out {
		got = out[i].AppendCSV(got)
	}
	id, first := p.String(), begin/int64(time.Second)
	row := func(monitor, matched, matchMS, duplicateMS string, message, kind int, ms int64, address, priority, entry, cid, rest string) string {
		return strings.Join([]string{monitor, matched, matchMS, duplicateMS, strconv.Itoa(message), strconv.Itoa(kind), strconv.FormatInt(first+ms/1000, 10), strconv.FormatInt(ms%1000, 10), id, address, priority, entry, cid, rest}, ",") + "\n"
	}
	const addr = "/ip4/192.0.2.1/tcp/1"
	want := row("0", "", "", "", 2, 1, 7, addr, "5", "5", a.String(), "0,0,0,false") +
		row("0", "", "", "", 2, 1, 7, addr, "4", "4", b.String(), "0,0,0,false") +
		row("1", "0", "1200", "1200", 3, 1, 1207, "", "5", "2", a.String(), "0,0,0,false") +
		row("0", "", "", "1793", 4, 1, 3000, "", "1", "2", a.String(), "0,0,0,true") +
		row("0", "", "", "11993", 5, 1, 12000, "", "0", "4", b.String(), "4,29,11,false") +
		row("0", "", "", "1000", 6, 2, 13000, "", "0", "4", b.String(), "5,9,1,false") +
		row("0", "", "", "", 6, 3, 13000, "", "0", "6", a.String(), "0,0,0,false") +
		row("0", "", "", "", 7, 1, 14000, "", "0", "1", b.String(), "0,0,1,false") +
		row("0", "", "", "11000", 7, 1, 14000, "", "2", "2", a.String(), "0,0,0,false") +
		row("1", "0", "500", "500", 8, 1, 14500, "", "0", "1", b.String(), "0,0,0,false") +
		row("0", "", "", "", 9, 3, 20000, addr, "0", "7", a.String(), "0,0,0,false") +
		row("0", "", "", "", 11, 1, 60400, "", "0", "2", a.String(), "2,0,0,false") +
		row("0", "", "", "", 11, 1, 60400, "", "0", "3", testCID(2).String(), "0,0,0,false")
	require.Equal(t, strings.Split(want, "\n"), strings.Split(string(got), "\n"))
	require.Equal(t, want, string(got))

	e := out[0]
	e.Address = `a"b,c`
	cells, err := csv.NewReader(strings.NewReader(string(e.AppendCSV(nil)))).Read()
	require.NoError(t, err)
	require.Equal(t, e.Address, cells[9])
	require.Len(t, cells, len(Columns))
}

// TestCSVFilesRotate: files of about 100,000 rows, no message in two of them, in the
// order of their names; and an earlier run's are not mixed with them.
func TestCSVFilesRotate(t *testing.T) {
	for _, zip := range []bool{false, true} {
		dir := t.TempDir()
		f, err := NewCSVFiles(filepath.Join(dir, "out"), zip)
		require.NoError(t, err)
		e := Entry{Peer: testPeer(1), Type: WantHave, Message: Incremental, CID: testCID(1), Time: begin}
		messages, each, begins := 75_001, 3, []string{"wl-000000001.csv", "wl-000033335.csv", "wl-000066669.csv"}
		if zip { // the last message of a file is its last row
			messages, each, begins = 50_001, 4, []string{"wl-000000001.csv", "wl-000025001.csv", "wl-000050001.csv"}
		}
		for i := range messages * each {
			e.MessageID = int64(i/each) + 1
			require.NoError(t, f.Add(&e))
		}
		left, _ := filepath.Glob(filepath.Join(dir, "out", "*.tmp"))
		require.Len(t, left, 1, "the open file has a temporary name")
		require.NoError(t, f.Close())
		require.NoError(t, f.Close())
		require.EqualValues(t, messages*each, f.Rows)
		require.Len(t, f.Files, 3)
		next := int64(1)
		for i, name := range f.Files {
			require.Contains(t, filepath.Base(name), begins[i])
			require.Equal(t, zip, strings.HasSuffix(name, ".gz"))
			var in io.Reader
			file, err := os.Open(name)
			require.NoError(t, err)
			defer file.Close()
			if in = file; zip {
				in, err = gzip.NewReader(file)
				require.NoError(t, err)
			}
			rows, err := csv.NewReader(in).ReadAll()
			require.NoError(t, err)
			require.Equal(t, Columns, rows[0])
			for j, row := range rows[1:] {
				require.Equal(t, strconv.FormatInt(next+int64(j/each), 10), row[4])
			}
			next += int64((len(rows) - 1) / each)
		}
		require.EqualValues(t, messages+1, next)
		_, err = NewCSVFiles(filepath.Join(dir, "out"), false)
		require.ErrorContains(t, err, "want a folder without files of an earlier run")
	}
}

// TestCSVFilesHaveOneWriter: a second writer would cut off the file that the first one
// has open.
func TestCSVFilesHaveOneWriter(t *testing.T) {
	dir := t.TempDir()
	f, err := NewCSVFiles(dir, false)
	require.NoError(t, err)
	require.NoError(t, f.Add(&Entry{Peer: testPeer(1), Type: WantHave, CID: testCID(1), Time: begin, MessageID: 1}))
	_, err = NewCSVFiles(dir, false)
	require.ErrorContains(t, err, "another program writes there")
	require.NoError(t, f.Close())
	_, err = NewCSVFiles(dir, false)
	require.ErrorContains(t, err, "files of an earlier run")
	require.NoError(t, os.Remove(f.Files[0]))
	again, err := NewCSVFiles(dir, false)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// asStream is an event as a monitor streams it.
func asStream(e *Event) *stream.Event {
	out := &stream.Event{Timestamp: time.Unix(0, e.Time).UTC(), Seq: e.Seq, Peer: e.Peer.String()}
	switch e.Kind {
	case Restarted:
		out.Peer, out.Note = "", &stream.Note{Kind: "start", Text: "the monitor started"}
	case Connected, Disconnected:
		out.Connection = &stream.Connection{Remote: e.Address, Type: int32(e.Kind - Connected)}
	case Message:
		out.Message = &stream.Message{Full: e.Full, Addrs: []string{e.Address}}
		for _, w := range e.Wants {
			s := stream.Want{Cid: w.CID, Priority: w.Priority, Cancel: w.Type == Cancel, SendDontHave: w.Type == WantBlockDontHave || w.Type == WantHaveDontHave}
			switch w.Type {
			case 0:
				s.WantType = 9
			case WantHave, WantHaveDontHave:
				s.WantType = 1
			}
			out.Message.Wants = append(out.Message.Wants, s)
		}
	}
	return out
}

// TestRecordedTraces: recordings of monitors, read and converted, make the entries
// that the reference makes of the events; and a trace of what is unified has no
// global duplicate.
func TestRecordedTraces(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 20))
	events := randomTrace(r, 3, 8, 30, 3000, 100*time.Millisecond)
	dir := t.TempDir()
	for m, name := range monitorNames(3) {
		rec, err := stream.NewRecorder(dir, name)
		require.NoError(t, err)
		for i := range events {
			if events[i].Monitor != m {
				continue
			}
			require.NoError(t, rec.Add(asStream(&events[i])))
			if i%10 == 0 { // what has no part in a unified trace
				other := asStream(&Event{Time: events[i].Time, Peer: testPeer(1), Wants: []Want{{CID: testCID(1), Type: WantHave}}})
				require.NoError(t, rec.Add(&stream.Event{Timestamp: other.Timestamp, Peer: other.Peer, Sent: other.Message}))
				other.Message.Transport = "http"
				require.NoError(t, rec.Add(other))
				other.Message.Transport, other.Side = "", "downstream"
				require.NoError(t, rec.Add(other))
			}
		}
		require.NoError(t, rec.Close())
	}
	var read []Event
	for m, name := range monitorNames(3) {
		files, err := stream.Recordings(filepath.Join(dir, name))
		require.NoError(t, err)
		c := NewConverter(m)
		for _, file := range files {
			bad, err := stream.ReadRecording(file, func(e *stream.Event) error {
				out, ok, err := c.Event(e)
				if ok {
					read = append(read, out)
				}
				return err
			})
			require.NoError(t, err)
			require.Zero(t, bad)
		}
	}
	require.Len(t, read, len(events))
	cfg := Config{Monitors: monitorNames(3)}
	want := refUnify(cfg, events)
	got, _ := run(t, cfg, read, len(read))
	require.Equal(t, want, got)

	// The trace of it, unified once more, has no duplicates, and all requests that were none.
	requests := 0
	for _, e := range want {
		if e.Type.Request() && !e.Duplicate {
			requests++
		}
	}
	var again []Event
	c := NewConverter(0)
	trace := NewTrace(cfg.Monitors, func(e *stream.Event) error {
		require.Contains(t, cfg.Monitors, e.Monitor)
		line, err := e.AppendJSON(nil)
		require.NoError(t, err)
		require.Contains(t, string(line), `"monitor":"m`)
		out, ok, err := c.Event(e)
		require.True(t, ok)
		again = append(again, out)
		return err
	})
	for i := range want {
		require.NoError(t, trace.Add(&want[i]))
	}
	require.NoError(t, trace.Close())
	require.NoError(t, trace.Close())
	unified, _ := run(t, Config{Monitors: []string{"fleet"}}, again, len(again))
	for _, e := range unified {
		if e.Type.Request() {
			requests--
			require.False(t, e.Duplicate)
		}
	}
	require.Zero(t, requests)
}

// TestConverterRefuses what no monitor sends.
func TestConverterRefuses(t *testing.T) {
	c := NewConverter(0)
	_, ok, err := c.Event(&stream.Event{Timestamp: time.Unix(1, 0), Peer: "nobody\x1b", Message: &stream.Message{}})
	require.False(t, ok)
	require.ErrorContains(t, err, "which is not a peer ID")
	require.NotContains(t, err.Error(), "\x1b")
	_, ok, err = c.Event(&stream.Event{Timestamp: time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC), Peer: testPeer(1).String(), Message: &stream.Message{}})
	require.False(t, ok)
	require.ErrorContains(t, err, "want 1970 to 2261")
	e, ok, err := c.Event(&stream.Event{Timestamp: time.Unix(1, 0), Peer: testPeer(1).String(), Message: &stream.Message{Addrs: []string{"=HYPERLINK()"}, Wants: []stream.Want{{}, {Cid: testCID(1), WantType: 7}}}})
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, e.Address)
	require.Zero(t, e.Wants[0].Type+e.Wants[1].Type)
	for n, want := range map[int]EntryType{event.MaxCIDBytes: WantBlock, event.MaxCIDBytes + 1: 0} {
		c := cid.NewCidV1(cid.Raw, append([]byte{0x12, byte(n - 4)}, make([]byte, n-4)...))
		require.Equal(t, n, c.ByteLen())
		require.Equal(t, want, entryType(&stream.Want{Cid: c}))
	}
	for i := range 2*maxPeerTexts + 10 {
		_, err := c.Peer(testPeer(i).String())
		require.NoError(t, err)
		require.LessOrEqual(t, len(c.peers), maxPeerTexts)
	}
}
