package collect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/stream"
)

const patience = 60 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// mon is a monitor: a real server of the stream on a bus.
type mon struct {
	*stream.Server
	t    *testing.T
	bus  *bus.Bus
	addr string
	done chan error
	once sync.Once
}

// monitorAt starts a monitor at an address; change may be nil.
func monitorAt(t *testing.T, addr, name string, change func(*stream.Config)) *mon {
	t.Helper()
	cfg := stream.Config{ListenAddresses: []string{addr}, Monitor: name, Logger: quiet}
	if change != nil {
		change(&cfg)
	}
	s, err := stream.New(cfg)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Listen() == nil }, patience, 10*time.Millisecond)
	b := bus.New(bus.Config{})
	m := &mon{Server: s, t: t, bus: b, addr: s.Addrs()[0].String(), done: make(chan error, 1)}
	r := b.Subscribe("stream")
	b.Live()
	go func() { m.done <- s.Run(t.Context(), r) }()
	t.Cleanup(m.stop)
	return m
}

func (m *mon) stop() {
	m.once.Do(func() {
		m.bus.Close()
		<-m.done
		m.Close()
	})
}

// want publishes a message with a want, as if it came now by the clock given.
func (m *mon) want(now time.Time) {
	e := *eventtest.Example(m.t, event.KindMessage)
	e.Seq, e.Time = 0, now.UnixNano()
	m.bus.Publish(&e)
}

// fleet is a running collector and what it published.
type fleet struct {
	*Collector
	mu     sync.Mutex
	events []*event.Event
}

func collectFrom(t *testing.T, cfg Config) *fleet {
	t.Helper()
	c, err := New(cfg, quiet)
	require.NoError(t, err)
	f := &fleet{Collector: c}
	end := c.Publish(time.Hour, func(e *event.Event) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, e)
		return true
	})
	t.Cleanup(end)
	return f
}

// await waits for a state of the monitor with that address.
func (f *fleet) await(t *testing.T, addr string, ok func(Monitor) bool) (got Monitor) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, m := range f.Status(true).Monitors {
			if m.Address == addr {
				got = m
			}
		}
		return ok(got)
	}, patience, 5*time.Millisecond)
	return got
}

func up(m Monitor) bool { return m.Up }

// seen returns the events of a kind and monitor.
func (f *fleet) seen(kind event.Kind, monitor string) (out []*event.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Kind == kind && string(e.Monitor) == monitor {
			out = append(out, e)
		}
	}
	return out
}

// TestMonitorComesAndGoes: a monitor that is not there yet, breaks, and comes
// again loses its own events alone; each gap is counted and published.
func TestMonitorComesAndGoes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	late := l.Addr().String() // nobody listens there now
	require.NoError(t, l.Close())
	steady := monitorAt(t, "127.0.0.1:0", "steady", nil)
	f := collectFrom(t, Config{Monitors: []Source{{Stream: steady.addr}, {Stream: late, Name: "late"}}})
	f.await(t, steady.addr, up)
	require.ErrorContains(t, f.Ready(), "late")

	first := monitorAt(t, late, "whatever", nil)
	f.await(t, late, up)
	require.NoError(t, f.Ready())
	first.want(time.Now())
	steady.want(time.Now())
	got := f.await(t, late, func(m Monitor) bool { return m.Events == 1 })
	require.Equal(t, "late", got.Name)
	require.Equal(t, "whatever", got.Calls)
	require.EqualValues(t, 1, got.Wants)
	require.Len(t, f.seen(event.KindMessage, "late"), 1)

	// The connection breaks: what happens meanwhile is a gap of a known size.
	require.True(t, first.Kick(first.Stats().Subscribers[0].ID))
	for range 5 {
		first.want(time.Now())
	}
	f.await(t, late, func(m Monitor) bool { return m.Connects == 2 && m.Up })
	require.Eventually(t, func() bool { return len(first.Stats().Subscribers) == 1 }, patience, time.Millisecond)
	first.want(time.Now())
	got = f.await(t, late, func(m Monitor) bool { return m.Events+m.Missed == 7 })
	require.Zero(t, got.Unbounded)
	gaps, missed := got.Gaps, got.Missed

	// It is started again: nothing bounds what was lost before.
	first.stop()
	f.await(t, late, func(m Monitor) bool { return !m.Up })
	second := monitorAt(t, late, "whatever", nil)
	f.await(t, late, up)
	second.want(time.Now())
	got = f.await(t, late, func(m Monitor) bool { return m.Gaps == gaps+1 })
	require.EqualValues(t, 1, got.Unbounded)

	var texts []string
	for _, e := range f.seen(event.KindNote, "") {
		require.Equal(t, event.NoteLoss, e.Note.Kind)
		texts = append(texts, string(e.Note.Text))
	}
	all := strings.Join(texts, "\n")
	if missed > 0 {
		require.Contains(t, all, fmt.Sprintf("Monitor late: %d events missed at most", missed))
	}
	require.Contains(t, all, "Monitor late: an unknown number of events missed: it was started again")
	require.NotContains(t, all, "steady")

	steady.want(time.Now())
	got = f.await(t, steady.addr, func(m Monitor) bool { return m.Events == 2 })
	require.Zero(t, got.Gaps)
	require.EqualValues(t, 1, got.Connects)
	require.Len(t, f.seen(event.KindMessage, "steady"), 2)
}

// TestDoubledName: the second of two monitors with one name is not read, nor is
// one that is configured twice; the first is.
func TestDoubledName(t *testing.T) {
	one := monitorAt(t, "127.0.0.1:0", "same", nil)
	f := collectFrom(t, Config{Monitors: []Source{{Stream: one.addr}}})
	f.await(t, one.addr, up)

	two, named := monitorAt(t, "127.0.0.1:0", "same", nil), monitorAt(t, "127.0.0.1:0", "same", nil)
	_, port, err := net.SplitHostPort(one.addr)
	require.NoError(t, err)
	f = collectFrom(t, Config{Monitors: []Source{{Stream: one.addr}, {Stream: two.addr}, {Stream: named.addr, Name: "other"}, {Stream: "localhost:" + port, Name: "again"}}})
	f.await(t, named.addr, up)
	// Which of the two comes first is not said.
	states := func() (a, b Monitor) {
		for _, m := range f.Status(true).Monitors {
			switch m.Address {
			case one.addr:
				a = m
			case two.addr:
				b = m
			}
		}
		return a, b
	}
	require.Eventually(t, func() bool {
		a, b := states()
		return a.Up != b.Up && a.Refused+b.Refused > 0
	}, patience, 5*time.Millisecond)
	a, b := states()
	good, bad, server := a, b, one
	if b.Up {
		good, bad, server = b, a, two
	}
	require.Equal(t, "same", good.Name)
	require.Equal(t, bad.Address, bad.Name)
	require.Contains(t, bad.Err, "want ")
	server.want(time.Now())
	named.want(time.Now())
	f.await(t, good.Address, func(m Monitor) bool { return m.Events == 1 })
	f.await(t, named.addr, func(m Monitor) bool { return m.Events == 1 })
	require.Len(t, f.seen(event.KindMessage, "same"), 1)
	if good.Address == one.addr { // else the doubled configuration reads it
		again := f.await(t, "localhost:"+port, func(m Monitor) bool { return m.Refused > 0 || m.Up })
		require.False(t, again.Up, "it is the same monitor")
		require.Contains(t, again.Err, "want each once")
	}
	reg := prometheus.NewRegistry()
	require.NoError(t, reg.Register(f))
	_, err = reg.Gather()
	require.NoError(t, err, "no series is there twice")
}

// TestClockThatLies: a clock that is wrong is corrected; events with a time that
// does not fit the clock are counted, and not joined. Other monitors do not
// notice.
func TestClockThatLies(t *testing.T) {
	ahead := 26 * time.Hour
	wrong := monitorAt(t, "127.0.0.1:0", "wrong", func(c *stream.Config) { c.Now = func() time.Time { return time.Now().Add(ahead) } })
	liar := monitorAt(t, "127.0.0.1:0", "liar", nil)
	good := monitorAt(t, "127.0.0.1:0", "good", nil)
	f := collectFrom(t, Config{Monitors: []Source{{Stream: wrong.addr}, {Stream: liar.addr}, {Stream: good.addr}}})
	for _, m := range []*mon{wrong, liar, good} {
		f.await(t, m.addr, up)
	}
	wrong.want(time.Now().Add(ahead))
	liar.want(time.Now().Add(time.Hour))
	liar.want(time.Now().Add(-time.Hour))
	good.want(time.Now())
	m := f.await(t, wrong.addr, func(m Monitor) bool { return m.Events == 1 })
	require.True(t, m.Clock.Known)
	require.InDelta(t, ahead, time.Duration(m.Clock.Offset), float64(m.Clock.Error)+float64(time.Microsecond))
	require.Zero(t, m.Untimely, "the offset is known")
	require.Less(t, time.Duration(m.Lag), patience)
	m = f.await(t, liar.addr, func(m Monitor) bool { return m.Events == 2 })
	require.EqualValues(t, 2, m.Untimely)
	m = f.await(t, good.addr, func(m Monitor) bool { return m.Events == 1 })
	require.Zero(t, m.Untimely)
}

// TestHostileMonitor: a server that sends garbage, or too much, costs itself.
func TestHostileMonitor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("\x00\x00\x00\x0d{\"version\":3}\x00\x00\x00\x2d{\"version\":4,\"monitor\":\"\\u001b[31mred\",\"x\":1}\xff\xff\xff\xff"))
			conn.Close()
		}
	}()
	flood := monitorAt(t, "127.0.0.1:0", "flood", func(c *stream.Config) { c.QueueBytes = stream.MinQueueBytes })
	good := monitorAt(t, "127.0.0.1:0", "good", nil)
	f := collectFrom(t, Config{MaxRate: 400, Monitors: []Source{{Stream: l.Addr().String()}, {Stream: flood.addr}, {Stream: good.addr}}})
	f.await(t, flood.addr, up)
	f.await(t, good.addr, up)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				e := *eventtest.Example(t, event.KindMessage)
				e.Seq, e.Time, e.Blocks, e.Wants = 0, time.Now().UnixNano(), nil, nil
				for range 64 { // that compress little
					var b [32]byte
					_, _ = rand.Read(b[:])
					hash, _ := multihash.Encode(b[:], multihash.SHA2_256)
					e.Wants = append(e.Wants, event.Want{CID: cid.NewCidV1(cid.Raw, hash)})
				}
				flood.bus.Publish(&e)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	m := f.await(t, flood.addr, func(m Monitor) bool { return m.Gaps > 0 && m.Missed > 0 })
	require.Zero(t, m.Unbounded, "what the monitor drops, it reports")
	for range 100 {
		good.want(time.Now())
	}
	m = f.await(t, good.addr, func(m Monitor) bool { return m.Events == 100 })
	require.Zero(t, m.Gaps)
	m = f.await(t, l.Addr().String(), func(m Monitor) bool { return m.Err != "" })
	require.False(t, m.Up)
	require.NotContains(t, m.Err+m.Name, "\x1b")
}

// TestConnectedPeers: from the monitor's own list, and from the connections that
// are seen.
func TestConnectedPeers(t *testing.T) {
	var fails bool
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if fails || q.URL.Path != "/metric_plugin/v1/sample_peer_metadata" || q.URL.Query().Get("only_connected") != "true" {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, `{"status":200,"result":{"timestamp":"2026-11-26T12:00:00Z","num_connections":3,"peer_metadata":[
			{"peer_id":%q,"connectedness":1,"protocols":["/b","/a"],"agent_version":"kubo/0.43.0\u001b"},
			{"peer_id":"nonsense","connectedness":1},{"peer_id":"QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ","connectedness":0,"agent_version":null}]}}`, eventtest.Peer.String())
	}))
	defer api.Close()
	m := monitorAt(t, "127.0.0.1:0", "m", nil)
	f := collectFrom(t, Config{PeersEvery: "1s", Monitors: []Source{{Stream: m.addr, HTTP: api.URL}}})
	got := f.await(t, m.addr, func(m Monitor) bool { return m.Complete })
	require.Equal(t, 1, got.Peers)
	known := f.sources[0].peers.snapshot(nil)[0]
	require.Equal(t, eventtest.Peer, known.ID)
	require.Equal(t, event.Text("kubo/0.43.0"), event.Text(strings.TrimSuffix(string(known.Agent), "\uFFFD")))
	require.Equal(t, []event.Text{"/a", "/b"}, known.Protocols)

	plain := monitorAt(t, "127.0.0.1:0", "plain", nil)
	f = collectFrom(t, Config{MaxPeers: 1, Monitors: []Source{{Stream: plain.addr}}})
	f.await(t, plain.addr, up)
	opened, identify := eventtest.Example(t, event.KindConnection), eventtest.Example(t, event.KindIdentify)
	other := *opened
	other.Peer = "another peer"
	plain.bus.Publish(opened)
	plain.bus.Publish(identify)
	got = f.await(t, plain.addr, func(m Monitor) bool { return m.Peers == 1 && m.Events == 2 })
	require.False(t, got.Complete)
	require.Equal(t, event.Text("kubo/0.43.0"), f.sources[0].peers.snapshot(nil)[0].Agent)
	closed := *opened
	conn := *opened.Conn
	conn.Closed, conn.PeerConns = true, 0
	closed.Conn = &conn
	plain.bus.Publish(&closed)
	f.await(t, plain.addr, func(m Monitor) bool { return m.Peers == 0 && m.Events == 3 })
}

// TestTLSAndToken: a monitor beyond loopback is read with its certificate and its
// token; without them it is not, and the reason is shown.
func TestTLSAndToken(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"monitor.example"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	cert := write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key := write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	token := write("token", []byte("0123456789abcdef0123456789abcdef\n"))
	m := monitorAt(t, "0.0.0.0:0", "far", func(c *stream.Config) {
		c.Config = access.Config{TLSCertFile: cert, TLSKeyFile: key, TokenFiles: []string{token}}
	})
	_, port, err := net.SplitHostPort(m.addr)
	require.NoError(t, err)
	at := "127.0.0.1:" + port
	f := collectFrom(t, Config{Monitors: []Source{{Stream: at, CAFile: cert, TLSName: "monitor.example", TokenFile: token}}})
	f.await(t, at, up)
	m.want(time.Now())
	got := f.await(t, at, func(m Monitor) bool { return m.Events == 1 })
	require.True(t, got.Clock.Known)
	for _, s := range []Source{{Stream: at, CAFile: cert, TLSName: "monitor.example"}, {Stream: at, TLSName: "monitor.example", TokenFile: token}, {Stream: at}} {
		f := collectFrom(t, Config{Monitors: []Source{s}})
		f.await(t, at, func(m Monitor) bool { return !m.Up && m.Err != "" })
	}
}

// TestRecord: each monitor's events are in a folder of its own, complete after the
// end, and gaps are in them.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	m := monitorAt(t, "127.0.0.1:0", "m/1", nil)
	c, err := New(Config{Record: dir, Monitors: []Source{{Stream: m.addr}}}, quiet)
	require.NoError(t, err)
	f := &fleet{Collector: c}
	end := c.Publish(time.Hour, func(*event.Event) bool { return true })
	f.await(t, m.addr, up)
	for range 10 {
		m.want(time.Now())
	}
	f.await(t, m.addr, func(m Monitor) bool { return m.Recorded == 10 })
	end()
	files, err := stream.Recordings(filepath.Join(dir, "m_1"))
	require.NoError(t, err)
	n := 0
	for _, file := range files {
		_, err := stream.ReadRecording(file, func(e *stream.Event) error { n++; return nil })
		require.NoError(t, err)
	}
	require.Equal(t, 10, n)

	// A folder that cannot be written to loses the recording, and nothing else.
	blocked := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	f = collectFrom(t, Config{Record: blocked, Monitors: []Source{{Stream: m.addr}}})
	f.await(t, m.addr, up)
	m.want(time.Now())
	got := f.await(t, m.addr, func(m Monitor) bool { return m.Events == 1 })
	require.EqualValues(t, 1, got.Unrecorded)
	require.Len(t, f.seen(event.KindMessage, "m/1"), 1)
}

// TestConfig: every error names its key and what is wanted; --check explains each
// setting.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(token, []byte("# mine\n0123456789abcdef\n"), 0o600))
	f := func(want string, c Config) {
		t.Helper()
		require.ErrorContains(t, c.Validate(), want)
	}
	one := func(s Source) Config { return Config{Monitors: []Source{s}} }
	f("monitors: 0 of them: want 1 to 64", Config{})
	f(`monitors.0.stream: "": want host:port or unix:/path`, one(Source{}))
	f(`monitors.0.stream: "host": want host:port`, one(Source{Stream: "host"}))
	f(`monitors.0.name: "a\\b": want 1 to 128 bytes`, one(Source{Stream: "a:1", Name: `a\b`}))
	f(`monitors.1.name: "a" is the name of monitors.0: want another`, Config{Monitors: []Source{{Stream: "a:1", Name: "a"}, {Stream: "b:1", Name: "a"}}})
	f(`monitors.1.stream: "a:1" is the address of monitors.0: want another`, Config{Monitors: []Source{{Stream: "a:1", Name: "a"}, {Stream: "a:1"}}})
	f("monitors.0.ca-file: open ", one(Source{Stream: "a:1", CAFile: filepath.Join(dir, "none")}))
	f("monitors.0.token-file: open ", one(Source{Stream: "a:1", TokenFile: filepath.Join(dir, "none")}))
	f(`monitors.0.http: "a:1": want a URL such as`, one(Source{Stream: "a:1", HTTP: "a:1"}))
	f("monitors.0.http: the token would leave this machine without TLS: want https", one(Source{Stream: "a:1", HTTP: "http://a:1", TokenFile: token}))
	f("lateness: 1h: want 1s to 10m", Config{Monitors: []Source{{Stream: "a:1"}}, Lateness: "1h"})
	f(`peers-every: "soon": want a duration`, Config{Monitors: []Source{{Stream: "a:1"}}, PeersEvery: "soon"})
	f("max-rate: -1: want 1 or more", Config{Monitors: []Source{{Stream: "a:1"}}, MaxRate: -1})

	const at = "amqp://u:geheim@h/%2f"
	of := func(b *Broker, all ...Source) Config { return Config{Monitors: all, Broker: b} }
	f("monitors.0.name: want the monitor's name, by which the broker knows", one(Source{Stream: at}))
	f(`monitors.0.name: "a.b" has a dot`, one(Source{Stream: at, Name: "a.b"}))
	f(`monitors.0.name: "a*": want a name without`, one(Source{Stream: at, Name: "a*"}))
	f("monitors.0.stream: ", one(Source{Stream: "amqp://u:geheim@h/a/b", Name: "a"}))
	f(`monitors.0.format: "v5": want v3 or v4`, one(Source{Stream: at, Name: "a", Format: "v5"}))
	f(`monitors.0.format: "v4" of a stream`, one(Source{Stream: "a:1", Format: "v4"}))
	f("monitors.0.tls: tls and tls-name are for a stream", one(Source{Stream: at, Name: "a", TLS: true}))
	f("monitors.1.stream: another broker", of(nil, Source{Stream: at, Name: "a"}, Source{Stream: "amqp://other", Name: "b"}))
	f("broker: want a monitor with its address", of(&Broker{}, Source{Stream: "a:1"}))
	f("monitors.1.stream: want the address of the broker", of(&Broker{Part: "1/2"}, Source{Stream: at, Name: "a"}, Source{Stream: "a:1"}))
	f("monitors.0.format: v3 has no parts", of(&Broker{Part: "1/2"}, Source{Stream: at, Name: "a", Format: "v3"}))
	for _, part := range []string{"3/2", "0/2", "1/17", "1/1", "one", "1/2 "} {
		f(`broker.part: "`+part+`": want a part such as 1/3, of 2 to 16`, of(&Broker{Part: part}, Source{Stream: at, Name: "a"}))
	}
	f("broker.password-file: open ", of(&Broker{PasswordFile: filepath.Join(dir, "none")}, Source{Stream: at, Name: "a"}))
	f("broker.queue: ", of(&Broker{Queue: "amq.x"}, Source{Stream: at, Name: "a"}))
	shared, err := of(&Broker{Part: "2/3"}, Source{Stream: at, Name: "a"}, Source{Stream: at, Name: "b", HTTP: "https://b:1"}).Explain()
	require.NoError(t, err)
	text := fmt.Sprint(shared)
	require.Contains(t, text, "fleet.0 to fleet.15")
	require.Contains(t, text, "the peers of the buckets 1 4 7 10 13 are read")
	require.Contains(t, text, "https://b:1")
	require.NotContains(t, text, "geheim")

	lines, err := Config{Record: dir, Monitors: []Source{{Stream: "a:1", Name: "a", TLS: true, TokenFile: token, HTTP: "https://a:2"}, {Stream: "unix:/b"}}}.Explain()
	require.NoError(t, err)
	var keys []string
	for _, l := range lines {
		keys = append(keys, l.Key)
		require.NotEmpty(t, l.Value)
		require.NotEmpty(t, l.Meaning)
		require.NotContains(t, l.Meaning+l.Value, "0123456789abcdef", "no secret is shown")
	}
	// Every key of the file is explained; those of TLS and the token are in the line of the stream.
	raw, err := json.Marshal(Config{Lateness: "1s", PeersEvery: "1s", MaxRate: 1, MaxPeers: 1, Record: "x"})
	require.NoError(t, err)
	var object map[string]any
	require.NoError(t, json.Unmarshal(raw, &object))
	for key := range object {
		require.True(t, slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, key) }), key)
	}
	require.Contains(t, lines[1].Meaning, "TLS")
	require.Contains(t, lines[1].Meaning, token)
}

// TestPanicIsCaught: a panic loses a connection, and the monitor is read again.
func TestPanicIsCaught(t *testing.T) {
	m := monitorAt(t, "127.0.0.1:0", "m", nil)
	c, err := New(Config{Monitors: []Source{{Stream: m.addr}}}, quiet)
	require.NoError(t, err)
	f := &fleet{Collector: c}
	once := errors.New("once")
	end := c.Publish(time.Hour, func(e *event.Event) bool {
		if err := once; err != nil && e.Kind == event.KindMessage {
			once = nil
			panic(err)
		}
		return true
	})
	defer end()
	f.await(t, m.addr, up)
	m.want(time.Now())
	require.Eventually(t, func() bool { return c.Panics() == 1 }, patience, time.Millisecond)
	f.await(t, m.addr, func(m Monitor) bool { return m.Connects == 2 && m.Up })
}

// TestEventsWhileTheListIsRead: the list may have been made before them.
func TestEventsWhileTheListIsRead(t *testing.T) {
	p := newPeers(10)
	conn := func(id peer.ID, closed bool, left int) {
		p.event(&event.Event{Kind: event.KindConnection, Peer: id, Conn: &event.Conn{Closed: closed, PeerConns: left}})
	}
	identify := func(id peer.ID, agent event.Text) {
		p.event(&event.Event{Kind: event.KindIdentify, Peer: id, Identify: &event.Identify{Agent: agent}})
	}
	agents := func() map[peer.ID]event.Text {
		out := map[peer.ID]event.Text{}
		for _, k := range p.snapshot(nil) {
			out[k.ID] = k.Agent
		}
		return out
	}
	conn("before", false, 1)
	conn("gone before", false, 1)
	p.reading()
	conn("new", false, 1)
	identify("new", "kubo/1")
	conn("left", true, 0)
	conn("before", true, 1) // one of its connections
	identify("listed", "kubo/2")
	conn("back", true, 0)
	conn("back", false, 1)
	p.replace(map[peer.ID]*known{"before": {}, "left": {}, "listed": {agent: "kubo/1"}, "back": {}}, 0, time.Now())
	require.Equal(t, map[peer.ID]event.Text{"before": "", "new": "kubo/1", "listed": "kubo/1", "back": ""}, agents())
	conn("left", false, 1)
	p.reading()
	p.forget() // the monitor is away
	p.replace(map[peer.ID]*known{"before": {}}, 0, time.Now())
	require.Equal(t, map[peer.ID]event.Text{"before": ""}, agents())
}
