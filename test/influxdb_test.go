//go:build all

package test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/internal/status"
)

// database is a real InfluxDB with what a test must know of it.
type database struct {
	cfg           influx.Config // for the sink, with the secret in a file
	secretFile    string        // the file
	secret        string        // what belongs into it
	rotate        func() string // makes the server refuse the secret, gives a new one
	authorization string        // header of a user who may do everything
}

// call makes a request as a user who may do everything and returns the status
// and the answer's body.
func (d *database) call(t *testing.T, method, path string, params url.Values, body string) (int, []byte) {
	t.Helper()
	return request(t, method, d.cfg.URL+path+"?"+params.Encode(), d.authorization, body)
}

func request(t *testing.T, method, url, authorization, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, b
}

// ask runs InfluxQL and returns the rows of all series by column name.
func (d *database) ask(t *testing.T, statement string) []map[string]any {
	t.Helper()
	name := d.cfg.Database
	if name == "" {
		name = influx.DefaultDatabase
	}
	status, body := d.call(t, "POST", "/query", url.Values{"db": {name}, "q": {statement}, "org": {d.cfg.Org}}, "")
	require.Equal(t, 200, status, "%s: %s", statement, body)
	var answer struct {
		Results []struct {
			Error  string
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	require.NoError(t, json.Unmarshal(body, &answer), string(body))
	var rows []map[string]any
	for _, r := range answer.Results {
		require.Empty(t, r.Error, statement)
		for _, s := range r.Series {
			for _, values := range s.Values {
				row := map[string]any{}
				for i, c := range s.Columns {
					row[c] = values[i]
				}
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// withoutInflux is a process environment with a home of its own and none of
// the settings that InfluxDB takes from its environment.
func withoutInflux(home string) []string {
	var env []string
	for _, e := range environ(home) {
		if !strings.HasPrefix(e, "INFLUX") {
			env = append(env, e)
		}
	}
	return env
}

// cidOf returns a different CID for each n, of three codecs and both versions.
func cidOf(t *testing.T, n int) cid.Cid {
	t.Helper()
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	require.NoError(t, err)
	switch n % 3 {
	case 0:
		return cid.NewCidV0(mh)
	case 1:
		return cid.NewCidV1(cid.Raw, mh)
	}
	return cid.NewCidV1(cid.DagCBOR, mh)
}

func peerOf(n int) peer.ID {
	sum := sha256.Sum256(fmt.Appendf(nil, "peer %d", n))
	return peer.ID(append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, sum[:]...))
}

// events makes n events of all kinds, a hundred for each nanosecond, and tells
// how many points of each measurement they are to one sink.
func events(t *testing.T, n int) ([]*event.Event, map[string]int) {
	t.Helper()
	points := map[string]int{}
	out := make([]*event.Event, n)
	at := time.Now().UnixNano()
	for i := range out {
		e := &event.Event{Time: at + int64(i/100), Kind: event.KindMessage, Dir: event.Direction(i % 2), Peer: peerOf(i % 50)}
		switch i % 10 {
		case 0:
			e.Kind, e.Conn = event.KindConnection, &event.Conn{
				ID: fmt.Sprint(i), Closed: i%20 == 0, Inbound: i%3 == 0, Addr: "/ip4/127.0.0.1/tcp/4001",
				Transport: event.Transports[i%len(event.Transports)], Security: "noise", Muxer: "yamux", Duration: time.Second,
			}
			points["connections"]++
		case 1:
			e.Kind, e.Identify = event.KindIdentify, &event.Identify{
				Agent: event.Clean(`kubo "0.43"\, a b=c`+"\n", event.MaxAgentText), Protocols: []event.Text{"/ipfs/bitswap/1.2.0"},
			}
			points["identifies"]++
		case 2:
			e.Kind, e.Peer, e.Sample = event.KindSample, "", &event.Sample{
				Interval: time.Second, Traffic: [2]event.Traffic{{Messages: 3}, {Messages: 4}}, Known: 7,
				Peers:     []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 2}},
				Agents:    []event.AgentCount{{Agent: `kubo, a b=c\d`, Peers: 1}, {Agent: "kubo/0.43.0/", Peers: 1}},
				Protocols: []event.ProtocolCount{{Protocol: "/ipfs/bitswap/1.2.0", Peers: 1}, {Protocol: `/a b,c=d\e`, Peers: 2}},
				Streams:   []event.StreamCount{{Protocol: "/ipfs/id/1.0.0", Direction: "inbound", Streams: 1}},
				Node: event.Node{Bandwidth: []event.Bandwidth{{Protocol: event.Others, InBytes: 1}},
					Routing: []event.RoutingTable{{Name: "wan", Peers: 9}, {Name: "lan", Peers: 1}}},
			}
			points["traffic"] += 2 // one for each direction
			points["peers"] += 4   // tcp and quic-v1 in both directions
			points["agent_versions"] += 2
			points["protocols"] += 2
			points["streams"]++
			points["bandwidth"]++
			points["routing"] += 2
			points["node"]++
			points["process"]++
			points["pipeline"]++
			if i > 2 { // before the first sample nothing was counted
				points["origins"] += 2
			}
		case 3:
			e.Kind, e.Latency = event.KindLatency, &event.Latency{CID: cidOf(t, i), Elapsed: time.Duration(i) * time.Microsecond}
			points["latency"]++
		case 4:
			if i%100 == 4 {
				e.Kind, e.Peer, e.Summary = event.KindSummary, "", &event.Summary{
					Interval: time.Minute, TopCIDs: []event.TopCID{{CID: cidOf(t, i), Wants: 1}}, TopPeers: []event.TopPeer{{Peer: peerOf(i), Agent: "a"}},
					Codecs: []event.Share{{Name: "raw", N: 1}}, Versions: []event.Share{{Name: "1", N: 1}}, Hashes: []event.Share{{Name: "identity", N: 1}},
				}
				for name, n := range map[string]int{"unique": 2, "duplicates": 2, "top_cids": 1, "top_peers": 1, "codecs": 1, "cid_versions": 1, "hashes": 1, "latency_totals": 6, "derived": 1} {
					points[name] += n
				}
				break
			}
			switch i % 100 {
			case 14:
				e.Kind, e.Peer, e.Proxy = event.KindProxy, "", &event.Proxy{Interval: time.Second, UpstreamPeers: 1,
					Downstreams: []event.ProxyDownstream{{Name: "one", Peer: peerOf(1)}, {Name: "two, a b=c", Peer: peerOf(2)}}}
				points["proxy"]++
				points["proxy_downstreams"] += 2
			case 24, 34:
				e.Kind, e.Probe = event.KindProbe, &event.Probe{Provide: i%100 == 24, Fleet: "default", Region: "a b,c=d", Target: "DHT", CID: cidOf(t, i)}
				points[map[bool]string{true: "dht_provide", false: "dht_retrieve"}[e.Probe.Provide]]++
			case 44:
				e.Kind, e.Peer, e.ClockStep = event.KindClockStep, "", &event.ClockStep{By: 3 * time.Second}
				points["notes"]++
			}
			if e.Kind != event.KindMessage {
				break
			}
			e.Blocks = []event.Block{{CID: cidOf(t, i), Size: int32(i)}, {CID: cidOf(t, i+1), Size: 1 << 20}}
			points["blocks"] += 2
		case 5:
			e.Presences = []event.Presence{{CID: cidOf(t, i), Type: event.Have}, {CID: cidOf(t, i), Type: event.DontHave}}
			points["presences"] += 2
		default:
			e.Wants = []event.Want{
				{CID: cidOf(t, i), Priority: int32(-i), Type: event.WantHave, SendDontHave: true},
				{CID: cidOf(t, i), Priority: 1, Type: event.WantBlock}, {CID: cidOf(t, i+1), Cancel: true},
			}
			points["wants"] += 3
		}
		out[i] = e
	}
	points["notes"] += 2 // start and stop
	return out, points
}

// sum adds up the points of all measurements.
func sum(points map[string]int) int {
	all := 0
	for _, n := range points {
		all += n
	}
	return all
}

// running is a sink at work.
type running struct {
	*influx.Sink
	t   *testing.T
	bus *bus.Bus
	end chan error
}

func runSink(t *testing.T, cfg influx.Config) *running {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(testLog{t}, nil))
	sink, err := influx.New(cfg, "monitor under test")
	require.NoError(t, err)
	sink.SetPipeline(func() status.Pipeline { return status.Pipeline{} })
	r := &running{Sink: sink, t: t, bus: bus.New(bus.Config{MaxEvents: 1 << 16, MaxBytes: 256 << 20}), end: make(chan error, 1)}
	reader := r.bus.Subscribe("influx")
	r.bus.Live()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ended by the cleanup
		defer close(done)
		r.end <- sink.Run(ctx, reader)
	}()
	t.Cleanup(func() { cancel(); r.bus.Close(); <-done })
	return r
}

// testLog puts a log into the test's own.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (r *running) publish(events []*event.Event) {
	r.t.Helper()
	for _, e := range events {
		require.True(r.t, r.bus.Publish(e))
	}
}

// until waits for a state of the sink.
func (r *running) until(what string, ok func(influx.Stats) bool) {
	r.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for s := r.Stats(); !ok(s); s = r.Stats() {
		require.True(r.t, time.Now().Before(deadline), "not within a minute: %s; the sink: %+v", what, s)
		time.Sleep(20 * time.Millisecond)
	}
}

// delivered waits until all is stored but the note of the end.
func (r *running) delivered(points map[string]int) {
	r.t.Helper()
	r.until("all is stored", func(s influx.Stats) bool { return s.Stored == uint64(sum(points)-1) })
}

// finish ends the sink, which must have stored and rejected just so many.
func (r *running) finish(stored, rejected int) {
	r.t.Helper()
	r.bus.Close()
	require.NoError(r.t, <-r.end)
	s := r.Stats()
	require.Equal(r.t, []uint64{uint64(stored), uint64(rejected), uint64(stored + rejected), 0, 0, 0, 0},
		[]uint64{s.Stored, s.Rejected, s.Accepted, s.Dropped, s.Missed, s.Panics, uint64(s.Queued)},
		"stored, rejected, accepted, dropped, missed, panics, queued: %+v", s)
}

// counted checks that the server has just so many points of each measurement.
func (d *database) counted(t *testing.T, want map[string]int) {
	t.Helper()
	for _, m := range influx.Schema {
		froms := []string{m.Kind.String() + "." + m.Name, "ipfsmon." + m.Kind.String() + "." + m.Name}
		if m.Kind == influx.History {
			froms = append(froms, m.Name) // the default
		}
		for _, from := range froms {
			rows := d.ask(t, "SELECT count(*) FROM "+from)
			require.Len(t, rows, 1, from)
			for _, f := range m.Fields {
				require.EqualValues(t, want[m.Name], rows[0]["count_"+f.Key], "count(%s) of %s", f.Key, from)
			}
		}
	}
}

// deliversAll sends 20,000 events to a real InfluxDB that at first refuses the
// secret and later takes another one, and counts them on the server.
func deliversAll(t *testing.T, d *database) {
	all, points := events(t, 20_000)
	for _, m := range influx.Schema {
		require.NotZero(t, points[m.Name], "no event makes a point of %s", m.Name)
	}
	write := func(secret string) { require.NoError(t, os.WriteFile(d.secretFile, []byte(secret+"\n"), 0o600)) }

	write("not-the-right-one")
	r := runSink(t, d.cfg)
	r.publish(all[:8_000])
	r.until("refused for its secret", func(s influx.Stats) bool { return s.Failing && s.Events == 8_000 })
	require.Zero(t, r.Stats().Stored)
	require.Regexp(t, "unauthorized|authorization failed", r.Stats().LastErr)
	write(d.secret)
	r.until("all stored with the right secret", func(s influx.Stats) bool { return s.Accepted == s.Stored && s.Events == 8_000 && s.Queued == 0 })

	next := d.rotate()
	r.publish(all[8_000:16_000])
	r.until("refused for its old secret", func(s influx.Stats) bool { return s.Failing && s.Events == 16_000 })
	write(next)
	r.until("all stored with the new secret", func(s influx.Stats) bool { return s.Accepted == s.Stored && s.Events == 16_000 && s.Queued == 0 })
	r.publish(all[16_000:])
	r.finish(sum(points), 0)
	d.counted(t, points)

	rows := d.ask(t, "SELECT sum(messages) FROM totals.traffic WHERE direction='sent'")
	require.EqualValues(t, points["traffic"]/2*4, rows[0]["sum"])
	rows = d.ask(t, "SELECT first(agent) FROM identifies")
	require.Equal(t, "kubo \"0.43\"\\, a b=c\uFFFD", rows[0]["first"], "a text comes back as it was")
}

// refusesJustOne gives the server a field of another type first, so that it
// refuses all points of one measurement: they are counted, the others stored.
func refusesJustOne(t *testing.T, d *database) {
	other := *d
	other.cfg.Database = "other"
	if d.cfg.Org != "" {
		other.cfg.Bucket = "other"
	}
	require.NoError(t, influx.Setup(t.Context(), other.cfg))
	params := url.Values{"db": {"other"}, "rp": {"history"}}
	path := "/write"
	if d.cfg.Org != "" {
		params, path = url.Values{"org": {d.cfg.Org}, "bucket": {"other/history"}}, "/api/v2/write"
	}
	all, points := events(t, 2_000)
	status, body := other.call(t, "POST", path, params, fmt.Sprintf("blocks size=\"text\" %d\n", all[0].Time))
	require.Equal(t, 204, status, string(body))

	r := runSink(t, other.cfg)
	r.publish(all)
	r.finish(sum(points)-points["blocks"], points["blocks"])
	require.Contains(t, r.Stats().LastErr, "size")
	rows := other.ask(t, "SELECT count(*) FROM blocks")
	require.EqualValues(t, 1, rows[0]["count_size"])
	for _, m := range influx.Schema {
		if m.Name == "blocks" {
			continue
		}
		rows := other.ask(t, fmt.Sprintf("SELECT count(%s) FROM %s.%s", m.Fields[0].Key, m.Kind, m.Name))
		require.EqualValues(t, points[m.Name], rows[0]["count"], m.Name)
	}
}

// decode reads a JSON answer of the wanted status.
func decode(t *testing.T, want, status int, body []byte, into any) {
	t.Helper()
	require.Equal(t, want, status, string(body))
	require.NoError(t, json.Unmarshal(body, into), string(body))
}
