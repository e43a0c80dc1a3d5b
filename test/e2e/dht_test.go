package e2e

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/kubo/config"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// lanDHT is the protocol of kubo's DHT of local networks, the one that takes part
// on loopback.
const lanDHT = protocol.ID("/ipfs/lan/kad/1.0.0")

// asked is who asked for what, as the monitor's points name it: the direction is
// that of the monitored node, the peer the other side.
type asked struct{ direction, peer, kind string }

// ear is a host that keeps the bytes of every stream of the DHT: what its node
// writes to ask, and what it reads when it is asked.
type ear struct {
	host.Host
	other peer.ID // only streams with this peer

	mu    sync.Mutex
	heard map[*earStream]string // direction of the other side
}

type earStream struct {
	network.Stream
	ear    *ear
	writes bool // it keeps what is written, else what is read
	bytes  bytes.Buffer
}

func (h *ear) listen(s network.Stream, direction string) network.Stream {
	if s.Conn().RemotePeer() != h.other {
		return s
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &earStream{Stream: s, ear: h, writes: direction == "received"}
	h.heard[e] = direction
	return e
}

func (h *ear) NewStream(ctx context.Context, p peer.ID, of ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, of...)
	if err != nil {
		return nil, err
	}
	return h.listen(s, "received"), nil
}

func (h *ear) SetStreamHandler(p protocol.ID, f network.StreamHandler) {
	h.Host.SetStreamHandler(p, func(s network.Stream) { f(h.listen(s, "sent")) })
}

func (s *earStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	s.keep(b[:n], s.writes)
	return n, err
}

func (s *earStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.keep(b[:n], !s.writes)
	return n, err
}

func (s *earStream) keep(b []byte, yes bool) {
	s.ear.mu.Lock()
	defer s.ear.mu.Unlock()
	if yes {
		s.bytes.Write(b)
	}
}

// requests adds what was asked, by protobuf.
func (h *ear) requests(t *testing.T, to map[asked]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s, direction := range h.heard {
		r := msgio.NewVarintReader(bytes.NewReader(s.bytes.Bytes()))
		for {
			raw, err := r.ReadMsg()
			if err != nil {
				break // its end, or a message that is not whole yet
			}
			var m dhtpb.Message
			require.NoError(t, proto.Unmarshal(raw, &m))
			to[asked{direction, h.ID().String(), strings.ToLower(m.GetType().String())}]++
		}
	}
}

// TestDHTOfAKuboAgainstWhoAsked: peers with kad-dht ask a monitored kubo, which
// asks them, and one peer sends a known number of each type. The points of the
// monitor are what those peers wrote and read, by peer and type, both ways.
func TestDHTOfAKuboAgainstWhoAsked(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	points := filepath.Join(t.TempDir(), "points")
	kubo := harness.StartKubo(t, func(c *config.Config) {
		c.Routing.Type = config.NewOptionalString("dhtserver")
		c.Provide.Enabled = config.True
		c.Plugins.Plugins = map[string]config.Plugin{monitor.Name: {Config: map[string]any{
			"InfluxDB": map[string]any{"URL": "file://" + points, "HistoryDHT": true}, "PopulatePrometheusInterval": 1,
		}}}
	})
	to, err := peer.AddrInfoFromString(addressOf(kubo))
	require.NoError(t, err)

	var ears []*ear
	for range 3 {
		h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
		require.NoError(t, err)
		t.Cleanup(func() { h.Close() })
		e := &ear{Host: h, other: to.ID, heard: map[*earStream]string{}}
		ears = append(ears, e)
		d, err := dht.New(e, dht.ProtocolExtension("/lan"), dht.Mode(dht.ModeServer), dht.AddressFilter(nil), dht.DisableAutoRefresh())
		require.NoError(t, err)
		t.Cleanup(func() { d.Close() })
		require.NoError(t, h.Connect(ctx, *to))
		require.Eventually(t, func() bool { return d.RoutingTable().Find(to.ID) != "" }, time.Minute, 10*time.Millisecond, "the node is in no table")

		// None of these stops before every peer has answered: what is written is read.
		key, err := crypto.MarshalPublicKey(h.Peerstore().PubKey(h.ID()))
		require.NoError(t, err)
		require.NoError(t, d.Provide(ctx, influxtest.CID(len(ears)), true))
		require.NoError(t, d.PutValue(ctx, "/pk/"+string(h.ID()), key))
		for range d.FindProvidersAsync(ctx, influxtest.CID(100+len(ears)), 0) {
		}
		_, err = d.GetClosestPeers(ctx, "somewhere")
		require.NoError(t, err)
		require.NoError(t, d.Ping(ctx, to.ID))
	}
	f := harness.NewFile(t, 1000)
	kubo.Add(f)
	kubo.IPFS("routing", "provide", f.Root.String())
	kubo.IPFS("routing", "findprovs", influxtest.CID(1).String())

	// A peer that is no DHT.
	plain, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	require.NoError(t, err)
	t.Cleanup(func() { plain.Close() })
	require.NoError(t, plain.Connect(ctx, *to))
	key, err := crypto.MarshalPublicKey(plain.Peerstore().PubKey(plain.ID()))
	require.NoError(t, err)
	hash := []byte(influxtest.CID(7).Hash())
	own := []*dhtpb.Message_Peer{{Id: []byte(plain.ID()), Addrs: [][]byte{plain.Addrs()[0].Bytes()}}}
	known := map[asked]int{}
	for times, m := range []*dhtpb.Message{
		{Type: dhtpb.Message_PUT_VALUE, Key: []byte("/pk/" + string(plain.ID()))}, // with a record
		{Type: dhtpb.Message_GET_VALUE, Key: []byte("/pk/" + string(plain.ID()))},
		{Type: dhtpb.Message_ADD_PROVIDER, Key: hash, ProviderPeers: own},
		{Type: dhtpb.Message_GET_PROVIDERS, Key: hash},
		{Type: dhtpb.Message_FIND_NODE, Key: []byte(to.ID)},
		{Type: dhtpb.Message_PING},
	} {
		times += 3
		known[asked{"received", plain.ID().String(), strings.ToLower(m.GetType().String())}] = times
		s, err := plain.NewStream(ctx, to.ID, lanDHT)
		require.NoError(t, err)
		raw, err := proto.Marshal(m)
		require.NoError(t, err)
		if m.GetType() == dhtpb.Message_PUT_VALUE {
			var r []byte
			r = protowire.AppendBytes(protowire.AppendTag(r, 1, protowire.BytesType), m.GetKey())
			r = protowire.AppendBytes(protowire.AppendTag(r, 2, protowire.BytesType), key)
			raw = protowire.AppendBytes(protowire.AppendTag(raw, 3, protowire.BytesType), r)
		}
		for range times {
			require.NoError(t, msgio.NewVarintWriter(s).WriteMsg(raw))
			if m.GetType() != dhtpb.Message_ADD_PROVIDER { // which has no answer
				_, err = msgio.NewVarintReader(s).ReadMsg()
				require.NoError(t, err, m.GetType())
			}
		}
		require.NoError(t, s.CloseWrite())
	}

	var want, log map[asked]int
	var sums map[asked]int64
	agree := func() bool {
		want, log, sums = maps.Clone(known), map[asked]int{}, map[asked]int64{}
		for _, e := range ears {
			e.requests(t, want)
		}
		b, err := os.ReadFile(points)
		if err != nil {
			return false
		}
		for _, p := range influxtest.Decode(t, string(b[:bytes.LastIndexByte(b, '\n')+1])) {
			switch p.Name {
			case "dht_log":
				log[asked{p.Tags["direction"], p.Fields["peer"].(string), p.Tags["type"]}]++
			case "dht_requests":
				sums[asked{direction: p.Tags["direction"], kind: p.Tags["type"]}] += p.Fields["requests"].(int64)
			}
		}
		total := map[asked]int64{}
		for a, n := range want {
			total[asked{direction: a.direction, kind: a.kind}] += int64(n)
		}
		for a := range log { // the node may ask the plain peer, which does not know the protocol
			if a.kind == "unsent" {
				sums[asked{direction: a.direction, kind: a.kind}] -= int64(log[a])
				delete(log, a)
			}
		}
		maps.DeleteFunc(sums, func(_ asked, n int64) bool { return n == 0 })
		return maps.Equal(want, log) && maps.Equal(total, sums)
	}
	if !waitFor(agree, 90*time.Second) {
		t.Fatalf("asked:\n%v\nhistory:\n%v\ntotals:\n%v", want, log, sums)
	}
	for _, kind := range []string{"put_value", "get_value", "add_provider", "get_providers", "find_node", "ping"} {
		require.Positive(t, sums[asked{direction: "received", kind: kind}], kind)
	}
	for _, kind := range []string{"add_provider", "get_providers", "find_node"} {
		require.Positive(t, sums[asked{direction: "sent", kind: kind}], kind)
	}
}

// waitFor asks until done is true, or for at most so long.
func waitFor(done func() bool, most time.Duration) bool {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return false
}
