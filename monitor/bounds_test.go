package monitor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/derive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

func testCID(t *testing.T, n int) cid.Cid {
	t.Helper()
	sum, err := mh.Sum([]byte{byte(n), byte(n >> 8), byte(n >> 16)}, mh.SHA2_256, -1)
	require.NoError(t, err)
	return cid.NewCidV1(cid.Raw, sum)
}

// TestSettingsAtTheirBounds: the smallest and largest values are taken, the next ones are
// named.
func TestSettingsAtTheirBounds(t *testing.T) {
	f := func(settings, want string) {
		t.Helper()
		_, _, err := Layers{Section: section(t, settings)}.Effective()
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
	f(`{"StoreMaxBytes": 0, "StoreMemoryLimit": 0}`, "")
	f(`{"StoreMaxBytes": 67108864, "StoreMemoryLimit": "64MiB"}`, "")
	f(`{"StoreMaxBytes": 67108863}`, "StoreMaxBytes: 67108863: want 0 for none, or 64MiB or more")
	f(`{"StoreMemoryLimit": 1}`, "StoreMemoryLimit: 1: want")
	f(`{"IntrospectConfig": {"MaxConnections": 0}}`, "")
	f(`{"IntrospectConfig": {"MaxConnections": 1000000}}`, "")
	f(`{"IntrospectConfig": {"MaxConnections": 1000001}}`, "MaxConnections: 1000001: want 1 to 1000000")
	for n, want := range map[string]int{"0": 1, "-1": 1, "1": 0} {
		require.Len(t, Layers{Section: section(t, `{"AgentVersionCutOff": `+n+`}`)}.Warnings(), want, n)
	}
}

// TestKeyOfAnError: the key that an error begins with, that it names, or whose value it
// quotes, of three letters or more.
func TestKeyOfAnError(t *testing.T) {
	values := map[string]string{"A": "1", "A.B": `["xyz","ab"]`, "A.C": `"xyz"`, "D": `"xyz"`, "E.F": `["xyz","ab"]`, "E.G": `7`, "E.H": `["xyz"]`}
	for text, want := range map[string]string{
		"A: wrong": "A", "D: xyz": "D", "E: F: wrong": "E.F", "E: G is wrong": "E.G", "E: xyz is wrong": "E.F", "E: ab is wrong": "", "X: wrong": "",
	} {
		require.Equal(t, want, keyOf(text, values), text)
	}
}

// carrier is a Bitswap network that carries nothing.
type carrier struct {
	bsnetwork.BitSwapNetwork
	host host.Host
	err  error
}

func (c carrier) Host() host.Host { return c.host }
func (c carrier) SendMessage(context.Context, peer.ID, message.BitSwapMessage) error {
	return c.err
}

// TestSumsOfThePipeline: figures that are sums of several of the capture's have all of
// them.
func TestSumsOfThePipeline(t *testing.T) {
	h := newHost(t)
	b := bus.New(bus.Config{})
	defer b.Close()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m := &Monitor{bus: b, capture: capture.New(b, quiet), clock: newClockWatch(), Config: &Config{}}
	m.watched.Node = nodestate.Node{Host: h}
	m.watched.Panics = func() uint64 { return 5 }
	msg := message.New(false)
	msg.AddEntry(testCID(t, 1), 1, pb.Message_Wantlist_Block, false)
	msg.AddEntry(testCID(t, 2), 1, pb.Message_Wantlist_Have, false)
	for _, via := range []event.Transport{event.Libp2p, event.HTTP} {
		for _, err := range []error{nil, errors.New("no route")} {
			_ = m.capture.Network(carrier{host: h, err: err}, via).SendMessage(t.Context(), h.ID(), msg)
		}
	}
	m.capture.MessageReceived(h.ID(), msg)
	p := m.pipeline()
	require.EqualValues(t, 2, p.Capture.HTTPWants, "a want of each type")
	require.EqualValues(t, 2, p.Capture.SendErrors, "one of each transport")
	require.EqualValues(t, 5, p.Capture.Panics)
	require.EqualValues(t, 2, m.Status().Messages, "one of each direction over libp2p")

	wrapped := m.capture.DHT(failing{h})
	for _, table := range []protocol.ID{"/ipfs/kad/1.0.0", "/ipfs/lan/kad/1.0.0"} {
		_, err := wrapped.NewStream(t.Context(), h.ID(), table)
		require.Error(t, err)
	}
	require.Equal(t, []pipeline.DHTRequests{{Direction: "sent", Type: event.DHTUnsent.String(), Status: event.DHTFailed.String(), Requests: 2}}, m.dhtRequests(), "one of each table")
}

// failing is a host that opens no streams.
type failing struct{ host.Host }

func (failing) NewStream(context.Context, peer.ID, ...protocol.ID) (network.Stream, error) {
	return nil, errors.New("no route")
}

// TestFloodsAreShown by the API, as parts of one, and by the page, in thousandths.
func TestFloodsAreShown(t *testing.T) {
	floodIsShown(t, "/ip4/203.0.113.9/tcp/1", "/ip4/203.0.113.9/tcp/2")
	floodIsShown(t)
}

func floodIsShown(t *testing.T, addrs ...event.Text) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New(bus.Config{})
		m := &Monitor{derive: derive.New(derive.Config{Logger: slog.New(slog.DiscardHandler)}, func(*event.Event) bool { return true })}
		r := b.Subscribe("derive")
		b.Live()
		done := make(chan error)
		go func() { done <- m.derive.Run(t.Context(), r) }()
		n := 0
		for range 4 {
			for range 100 {
				e := &event.Event{Kind: event.KindMessage, Time: time.Now().UnixNano(), Peer: "flooder", Addrs: addrs}
				for range 10 {
					c := testCID(t, n)
					e.Wants = append(e.Wants, event.Want{CID: c}, event.Want{CID: c}) // the second repeats it
					n++
				}
				b.Publish(e)
			}
			time.Sleep(2 * time.Second)
		}
		all, shown := m.floods(), m.shownFloods()
		require.Len(t, all, 1)
		require.InDelta(t, 1, all[0].Share, 0)
		require.InDelta(t, 0.5, all[0].Repeats, 0)
		require.Nil(t, all[0].Until)
		require.Len(t, all[0].Addresses, len(addrs))
		require.Len(t, shown, 1)
		require.EqualValues(t, 1000, shown[0].GetSharePermille())
		require.EqualValues(t, 500, shown[0].GetRepeatsPermille())
		require.EqualValues(t, append(addrs, "")[0], shown[0].GetAddress())
		require.Zero(t, shown[0].GetUntilTs())
		time.Sleep(20 * time.Second)
		all, shown = m.floods(), m.shownFloods()
		require.Len(t, all, 1)
		require.NotNil(t, all[0].Until)
		require.Len(t, shown, 1)
		require.EqualValues(t, all[0].Until.UnixMilli(), shown[0].GetUntilTs())
		r.Close()
		require.NoError(t, <-done)
		b.Close()
	})
}

// TestTheRepositoryIsUnknownBeforeTheFirstSample.
func TestTheRepositoryIsUnknownBeforeTheFirstSample(t *testing.T) {
	s := introspect.NewServer(introspect.Config{Introspector: introspect.NewRegistry()})
	defer s.Close()
	in := &introspection{feed: introspect.NewFeed(s, nil)}
	require.EqualValues(t, -1, in.repoBytes())
	agents, err := in.sampledAgents()
	require.NoError(t, err)
	require.Nil(t, agents)
}

// TestTheAPIHasWhatIsOn: each part of the monitor that is on answers, and what may not be
// named does not.
func TestTheAPIHasWhatIsOn(t *testing.T) {
	on := watchHost(t, `{"HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}, "TCPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}}`)
	off := watchHost(t, `{"HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}, "StreamPrivacy": "aggregate"}`)
	get := func(m *Monitor, path string) (int, string) {
		q, err := http.NewRequest(http.MethodGet, "http://"+m.HTTPAddresses()[0]+"/metric_plugin/v1/"+path, nil)
		require.NoError(t, err)
		q.Close = true
		resp, err := http.DefaultClient.Do(q)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	for _, path := range []string{"subscribers", "top?kind=cids", "floods", "sample_peer_metadata"} {
		status, body := get(on, path)
		require.Equal(t, http.StatusOK, status, "%s: %s", path, body)
		status, body = get(off, path)
		require.Equal(t, http.StatusServiceUnavailable, status, "%s: %s", path, body)
	}
	status, _ := get(on, "history")
	require.Equal(t, http.StatusServiceUnavailable, status, "there is no store")
	_, body := get(on, "pipeline")
	require.Contains(t, body, `"derive":{`)
	require.Equal(t, 1, on.Status().Peers)

	_, st, _ := lookAt(t, on.IntrospectAddresses()[0])
	for _, failed := range st.GetFailed() {
		require.Contains(t, failed, "traffic: ", "a bare host counts no bandwidth, and nothing else fails")
	}
	require.NotNil(t, st.GetSubsystems().GetContent())
	require.NotNil(t, st.GetSubsystems().GetPipeline().GetHttp())
	require.NotNil(t, st.GetSubsystems().GetPipeline().GetStream())
	require.NoFileExists(t, filepath.Join("ipfsmon", runningFile), "it has no repository to be found by")
}

// TestSamplesOfTheProgram take the place of the node's.
func TestSamplesOfTheProgram(t *testing.T) {
	w := &Watched{Sample: func(context.Context) event.Node { return event.Node{Wantlist: 7} }}
	require.Equal(t, 7, w.sample()(t.Context()).Wantlist)
	w.Sample = nil
	require.Zero(t, w.sample()(t.Context()).Wantlist)
}

// TestEventsOfOtherMonitors reach the stream alone: other monitors made figures of them.
func TestEventsOfOtherMonitors(t *testing.T) {
	b := bus.New(bus.Config{})
	defer b.Close()
	m := &Monitor{bus: b, Config: &Config{}}
	stream, influx := m.subscribe("stream"), m.subscribe("influx")
	b.Live()
	b.Publish(&event.Event{Kind: event.KindSample, Monitor: "other", Sample: new(event.Sample)})
	b.Publish(&event.Event{Kind: event.KindSample, Sample: new(event.Sample)})
	for r, want := range map[*bus.Reader]string{stream: "other", influx: ""} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		buf := make([]*event.Event, 1)
		_, _, err := r.Next(ctx, buf)
		require.NoError(t, err)
		require.EqualValues(t, want, buf[0].Monitor)
	}
}

// TestLayersOfAFile: a file's part counts, and what nobody sets has its default.
func TestLayersOfAFile(t *testing.T) {
	cfg, sources, err := Layers{File: section(t, `{"MonitorName": "of-a-file"}`)}.Effective()
	require.NoError(t, err)
	require.Equal(t, "of-a-file", cfg.MonitorName)
	require.Equal(t, FromFile, sources["MonitorName"])
	require.Equal(t, DefaultInterval, cfg.PopulatePrometheusInterval)
	require.Equal(t, DefaultAgentCutOff, cfg.AgentVersionCutOff)
	_, _, err = Layers{Section: section(t, `{"InfluxDBPrivacy": "pseudonym", "InfluxDB": {"URL": "http://127.0.0.1:1"}}`)}.Effective()
	require.ErrorContains(t, err, "DataFolder: is empty: pseudonyms need a folder")
	_, _, err = Layers{Section: section(t, `{"InfluxDBPrivacy": "pseudonym"}`)}.Effective()
	require.NoError(t, err, "no sink has pseudonyms")
}
