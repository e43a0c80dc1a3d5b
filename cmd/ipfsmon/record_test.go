package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/klauspost/compress/gzip"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/stream"
)

// seen are events of a monitor: a message in each direction, a connection, an identify, a
// note, origins, and the other kinds that a recording has.
func seen(t *testing.T, n int) []*event.Event {
	t.Helper()
	mh, err := multihash.Sum([]byte("block"), multihash.SHA2_256, -1)
	require.NoError(t, err)
	c := cid.NewCidV1(cid.Raw, mh)
	at := int64(1_795_185_729_000_000_000) + int64(n)*1e9
	all := []*event.Event{
		{Kind: event.KindMessage, Time: at, Peer: "\x00\x04peer", Wants: []event.Want{{CID: c, Priority: 1}}},
		{Kind: event.KindMessage, Dir: event.Sent, Time: at + 1, Peer: "\x00\x04peer", Blocks: []event.Block{{CID: c, Size: 100}}},
		{Kind: event.KindConnection, Time: at + 2, Peer: "\x00\x04peer", Conn: &event.Conn{
			Addr: "/ip4/192.0.2.1/tcp/1", Transport: "tcp", Security: "noise", Muxer: "yamux"}},
		{Kind: event.KindIdentify, Time: at + 3, Peer: "\x00\x04peer", Identify: &event.Identify{Agent: "kubo/0.43.0"}},
		event.NewNote(at+4, event.NoteStorm, 5000, "Storm of wants"),
		{Kind: event.KindOrigins, Time: at + 5, Origins: &event.Origins{Interval: 10 * time.Second, Sums: []event.Origin{{Country: "DE", Gateway: true, Wants: 3}}}},
	}
	for i, k := range []event.Kind{event.KindDHT, event.KindFlood, event.KindSearch, event.KindRequest, event.KindRetrieval} {
		e := eventtest.Example(t, k)
		e.Seq, e.Time = 0, at+6+int64(i)
		all = append(all, e)
	}
	return all
}

// record makes a recording with the events of seen, n times.
func record(t *testing.T, n int, change func(*recording)) string {
	t.Helper()
	var events []*event.Event
	for i := range n {
		events = append(events, seen(t, i)...)
	}
	return recordOf(t, "de1", events, change)
}

// recordOf makes a recording of the stream of a monitor, or of a collector, with these events, and
// returns its folder.
func recordOf(t *testing.T, monitor string, events []*event.Event, change func(*recording)) string {
	t.Helper()
	b := bus.New(bus.Config{})
	server, err := stream.New(stream.Config{ListenAddresses: []string{"127.0.0.1:0"}, Monitor: monitor})
	require.NoError(t, err)
	defer server.Close()
	require.NoError(t, server.Listen())
	reader := b.Subscribe("stream")
	served := make(chan error, 1)
	go func() { served <- server.Run(context.Background(), reader) }()
	r := &recording{from: server.Addrs()[0].String(), dir: t.TempDir(), once: true, gaps: true}
	if change != nil {
		change(r)
	}
	done := make(chan error, 1)
	go func() { done <- r.run(t.Context()) }()
	require.Eventually(t, func() bool { return len(server.Stats().Subscribers) == 1 }, 30*time.Second, time.Millisecond)
	for _, e := range events {
		b.Publish(e)
	}
	b.Close()
	require.NoError(t, <-done)
	require.NoError(t, <-served)
	return r.dir
}

func TestRecordAndReplayToSubscribers(t *testing.T) {
	dir := record(t, 50, nil)
	files, err := stream.Recordings(dir)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "de1"), filepath.Dir(files[0]))

	addr := make(chan string, 1)
	r := replay{files: files, name: "de1", listen: []string{"127.0.0.1:0"}, wait: true, log: io.Discard,
		addrs: func(a []string) { addr <- a[0] }}
	done := make(chan error, 1)
	go func() { done <- r.run(t.Context()) }()
	c, err := stream.Dial(t.Context(), <-addr)
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, "de1", c.Monitor())
	for i := range 50 {
		for _, want := range seen(t, i) {
			e, err := c.Next()
			require.NoError(t, err)
			got, err := e.ToEvent()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	_, err = c.Next()
	require.Equal(t, io.EOF, err)
	require.NoError(t, <-done)
}

func TestRecordWhatOtherToolsRead(t *testing.T) {
	dir := record(t, 2, func(r *recording) {
		r.options.Version = 3
		r.name = "named"
	})
	files, err := stream.Recordings(filepath.Join(dir, "named"))
	require.NoError(t, err)
	var lines []string
	bad, err := stream.ReadRecording(files[0], func(e *stream.Event) error {
		line, err := e.AppendJSON(nil)
		lines = append(lines, string(line))
		return err
	})
	require.NoError(t, err)
	require.Zero(t, bad)
	require.Len(t, lines, 4)
	require.Contains(t, lines[0], `"want_type":0`)
	require.True(t, strings.HasSuffix(lines[1], `"connection_event":{"remote":"/ip4/192.0.2.1/tcp/1","connection_event_type":0}}`+"\n"), lines[1])
}

func TestReplayToInflux(t *testing.T) {
	dir := record(t, 3, nil)
	var mu sync.Mutex
	var body bytes.Buffer
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		in := io.Reader(req.Body)
		if req.Header.Get("Content-Encoding") == "gzip" {
			in, _ = gzip.NewReader(in)
		}
		data, _ := io.ReadAll(in)
		if strings.HasSuffix(req.URL.Path, "/write") {
			mu.Lock()
			body.Write(data)
			mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Influxdb-Version", "1.8.10")
		_, _ = io.WriteString(w, `{"results":[{"statement_id":0}]}`)
	}))
	defer server.Close()
	t.Setenv("IPFSMON_INFLUXDB_CREATE_DATABASE", "false")
	var log bytes.Buffer
	files, err := stream.Recordings(dir)
	require.NoError(t, err)
	r := replay{files: files, name: "de1", influx: server.URL, log: &log}
	require.NoError(t, r.run(t.Context()))
	require.Contains(t, log.String(), "33 events replayed")
	require.Contains(t, log.String(), "Everything is stored.")
	lines := strings.Split(strings.TrimSpace(body.String()), "\n")
	require.Len(t, lines, 27, "a search, and without HistoryDHT a request of the DHT, make no points")
	require.Contains(t, body.String(), `notes,kind=storm,node=de1 text="Storm of wants",value=5000i`)
	require.Contains(t, body.String(), "origins,country=DE,direction=received,gateway=true,node=de1 messages=0i,wants=3i,")
	for _, line := range lines {
		require.Contains(t, line, "node=de1")
		require.Contains(t, line, " 17951857", "its original time")
	}

	// After an interrupt not all is written, which is no success.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	r = replay{files: files, name: "de1", influx: server.URL, log: &log, pace: stream.Pace{Speed: 1e-9}}
	require.ErrorContains(t, r.run(over), "the rest of the recording is not written")

	// The same of a file that is cut off, here and in an archive of it; the rest is written.
	whole, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[0], whole[:len(whole)-4], 0o600))
	r = replay{files: files, name: "de1", influx: server.URL, log: &log}
	require.ErrorContains(t, r.run(t.Context()), "not all of the recording was replayed")
	require.Equal(t, 33, r.events)
	var stderr bytes.Buffer
	require.Equal(t, 1, runApp(app(), []string{"ipfsmon", "archive", "make", "--from", files[0], filepath.Join(t.TempDir(), "archive")}, &stderr))
	require.Contains(t, stderr.String(), "1 files are damaged")
}

func TestRecordAndReplayArguments(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var stderr bytes.Buffer
		require.NotZero(t, runApp(app(), append([]string{"ipfsmon"}, args...), &stderr))
		require.Contains(t, stderr.String(), want)
	}
	f("record: want DIR", "record")
	f("record: codecs", "record", "--codec", "x", "dir")
	f("connection refused", "record", "--once", "--from", "127.0.0.1:1", t.TempDir())
	f("replay: want DIR", "replay")
	f("no such file", "replay", filepath.Join(t.TempDir(), "x"))
	f("no *.json.gz", "replay", t.TempDir())
	open := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(open, "de1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(open, "de1", "2026-11-20_14-42-09_UTC.json.gz.tmp"), nil, 0o600))
	f("UTC.json.gz.tmp is still being written", "replay", open)
	f("UTC.json.gz.tmp is still being written", "replay", filepath.Join(open, "de1"))
	other := t.TempDir()
	var old bytes.Buffer
	zip := gzip.NewWriter(&old)
	_, _ = io.WriteString(zip, `{"time":"2021-04-30T14:00:00Z","level":"info","msg":"of another program"}`+"\n")
	require.NoError(t, zip.Close())
	require.NoError(t, os.WriteFile(filepath.Join(other, "2021-04-30_14-00-00_UTC.json.gz"), old.Bytes(), 0o600))
	f("none of 1 lines is an event", "replay", "--no-wait", "--listen", "127.0.0.1:0", other)
	f(`--speed "-1"`, "replay", "--speed", "-1", t.TempDir())
	f(`--speed "NaN"`, "replay", "--speed", "NaN", t.TempDir())
	// A folder that cannot be created.
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	r := &recording{dir: file}
	require.Error(t, r.add(&stream.Event{Peer: peer.ID("p").String(), Connection: &stream.Connection{}}))
}

// TestRecordOfACollector: each monitor of a collector's stream has its own recording, and each archive is
// made of all: with record itself, or of the recordings.
func TestRecordOfACollector(t *testing.T) {
	for _, parquet := range []bool{false, true} {
		dir := t.TempDir()
		at := filepath.Join(dir, "archive")
		require.NoError(t, archive.Create(at))
		const rounds = 20
		each := 0
		var events []*event.Event
		for i := range rounds {
			for _, monitor := range []event.Text{"de1", "us1", ""} {
				all := seen(t, i)
				each = len(all)
				for _, e := range all {
					e.Monitor = monitor
				}
				events = append(events, all...)
			}
		}
		traces := recordOf(t, "fleet", events, func(r *recording) {
			r.dir = filepath.Join(dir, "traces")
			if parquet {
				r.archive, r.dir = at, filepath.Join(at, journalFolder)
			}
		})
		if !parquet {
			var stderr bytes.Buffer
			require.Zero(t, runApp(app(), []string{"ipfsmon", "archive", "make", "--from", traces, at}, &stderr), stderr.String())
		}
		a, err := archive.Open(at)
		require.NoError(t, err)
		require.Equal(t, []string{"de1", "fleet", "us1"}, a.Monitors())
		for _, monitor := range a.Monitors() {
			n := 0
			require.NoError(t, a.Read(t.Context(), monitor, func(i archive.Item) error {
				require.Nil(t, i.Gap)
				n++
				return nil
			}))
			require.Equal(t, rounds*each, n, monitor)
		}
	}

	r := &recording{dir: t.TempDir(), name: "one"}
	defer func() { require.NoError(t, r.of["de1"].Close()) }()
	require.NoError(t, r.add(&stream.Event{Monitor: "de1"}))
	require.ErrorContains(t, r.add(&stream.Event{Monitor: "us1"}), "--name one: the stream has events of de1 and of us1: want no --name")
}

// TestRecordAfterAKill: what a killed recorder left becomes files of the archive when
// another one starts, whichever monitor that one is for and whether it answers, under the
// name that the monitor had.
func TestRecordAfterAKill(t *testing.T) {
	at := filepath.Join(t.TempDir(), "archive[1]")
	require.NoError(t, archive.Create(at))
	r := &recording{archive: at, dir: filepath.Join(at, journalFolder)}
	for i, monitor := range []string{"de/1", "us1"} {
		require.NoError(t, r.add(&stream.Event{Monitor: monitor, Timestamp: time.Unix(1e9, int64(i)), Peer: "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X", Connection: &stream.Connection{}}))
		require.NoError(t, r.of[monitor].Flush())
		defer r.of[monitor].Close()
	}
	killed := filepath.Join(t.TempDir(), "archive[1]") // as it is after kill -9: nobody holds the locks
	require.NoError(t, os.CopyFS(killed, os.DirFS(at)))
	for range 2 {
		next := &recording{archive: killed, dir: filepath.Join(killed, journalFolder), from: "127.0.0.1:1", once: true}
		require.ErrorContains(t, next.run(t.Context()), "refused")
		a, err := archive.Open(killed)
		require.NoError(t, err)
		require.Equal(t, []string{"de/1", "us1"}, a.Monitors())
		require.Len(t, a.Files, 2)
	}

	// What another recorder is at stays its own.
	next := &recording{archive: at, dir: r.dir, from: "127.0.0.1:1", once: true}
	require.ErrorContains(t, next.run(t.Context()), "refused")
	a, err := archive.Open(at)
	require.NoError(t, err)
	require.Empty(t, a.Files)
}
