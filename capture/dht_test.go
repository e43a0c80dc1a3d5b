package capture

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

const (
	dhtPatience = time.Minute
	testKad     = protocol.ID("/test/kad/1.0.0")
)

// asked is a request: from whom, to whom, for what.
type asked struct {
	from, to peer.ID
	kind     event.DHTType
}

// swarm is a private DHT. Its witness is kad-dht's own hook, which sees the requests that
// each node's DHT receives and does not depend on the capture.
type swarm struct {
	mu      sync.Mutex
	witness map[asked]uint64
	nodes   []*swarmNode
}

type swarmNode struct {
	host.Host
	dht     *dht.IpfsDHT
	capture *Capture
	reader  *bus.Reader
}

func (s *swarm) add(t *testing.T) *swarmNode {
	b := bus.New(bus.Config{})
	n := &swarmNode{Host: newHost(t), capture: New(b, nil), reader: b.Subscribe("test")}
	b.Live()
	t.Cleanup(b.Close)
	var err error
	n.dht, err = dht.New(n.capture.DHT(n.Host), dht.ProtocolPrefix("/test"), dht.Mode(dht.ModeServer),
		dht.AddressFilter(nil), dht.DisableAutoRefresh(), dht.Validator(anyValue{}),
		dht.OnRequestHook(func(_ context.Context, st network.Stream, m *pb.Message) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.witness[asked{st.Conn().RemotePeer(), n.ID(), event.DHTType(min(m.GetType(), pb.Message_MessageType(event.DHTOther)))}]++
		}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.dht.Close()) })
	s.nodes = append(s.nodes, n)
	return n
}

// anyValue accepts every record.
type anyValue struct{}

func (anyValue) Validate(string, []byte) error        { return nil }
func (anyValue) Select(string, [][]byte) (int, error) { return 0, nil }

// events reads the next total events of the node's bus.
func (n *swarmNode) events(t *testing.T, ctx context.Context, total uint64) (out []*event.Event) {
	t.Helper()
	for uint64(len(out)) < total {
		buf := make([]*event.Event, min(64, total-uint64(len(out))))
		k, missed, err := n.reader.Next(ctx, buf)
		require.NoError(t, err)
		require.Zero(t, missed)
		for _, e := range buf[:k] {
			require.Equal(t, event.KindDHT, e.Kind)
			out = append(out, e.Clone())
		}
	}
	return out
}

// waiting reads the events that are on the node's bus now.
func (n *swarmNode) waiting(t *testing.T) []*event.Event {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	buf := make([]*event.Event, 1024)
	k, missed, err := n.reader.Next(ctx, buf)
	require.Zero(t, missed)
	if err != nil {
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return nil
	}
	return buf[:k]
}

// TestDHTRequestsAgainstWhatWasAsked: kad-dht nodes publish, look up and store in a
// swarm. The events and counters of each node must match exactly the requests that the
// other nodes received from it and sent to it.
func TestDHTRequestsAgainstWhatWasAsked(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), dhtPatience)
	defer cancel()
	s := &swarm{witness: map[asked]uint64{}}
	for range 8 {
		n := s.add(t)
		if n != s.nodes[0] {
			require.NoError(t, n.Connect(ctx, peer.AddrInfo{ID: s.nodes[0].ID(), Addrs: s.nodes[0].Addrs()}))
		}
	}
	for _, n := range s.nodes {
		require.Eventually(t, func() bool { return n.dht.RoutingTable().Size() > 0 }, dhtPatience, time.Millisecond)
	}
	for i, n := range s.nodes {
		c := testCID(i)
		require.NoError(t, n.dht.Provide(ctx, c, true))
		require.NoError(t, n.dht.PutValue(ctx, fmt.Sprintf("/pk/%d", i), []byte("value")))
	}
	for i := range s.nodes {
		n, other := s.nodes[i], s.nodes[(i+1)%len(s.nodes)]
		for range n.dht.FindProvidersAsync(ctx, testCID((i+1)%len(s.nodes)), 0) {
		}
		_, err := n.dht.GetValue(ctx, fmt.Sprintf("/pk/%d", (i+1)%len(s.nodes)))
		require.NoError(t, err)
		_, err = n.dht.FindPeer(ctx, other.ID())
		require.NoError(t, err)
		if n.Network().Connectedness(other.ID()) != network.Connected {
			require.NoError(t, n.Connect(ctx, peer.AddrInfo{ID: other.ID(), Addrs: other.Addrs()}))
		}
		require.NoError(t, n.dht.Ping(ctx, other.ID()))
	}

	// Requests whose answer nobody waited for may still be on their way.
	in, out := map[asked]uint64{}, map[asked]uint64{}
	var total [event.DHTStatuses]uint64
	closer, providers := 0, 0
	counters := make([]event.DHTCounters, len(s.nodes))
	require.Eventually(t, func() bool {
		for i, n := range s.nodes {
			for _, e := range n.waiting(t) {
				require.NotEqual(t, event.DHTUnsent, e.DHT.Type, "a stream could not be opened")
				counters[i][e.Dir][e.DHT.Type][e.DHT.Status]++
				total[e.DHT.Status]++
				checkDHTEvent(t, e)
				if e.Dir == event.Received {
					in[asked{e.Peer, n.ID(), e.DHT.Type}]++
					continue
				}
				out[asked{n.ID(), e.Peer, e.DHT.Type}]++
				closer += e.DHT.Closer
				if e.DHT.Type == event.DHTGetProviders {
					providers += e.DHT.Providers
				}
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if !maps.Equal(s.witness, in) || !maps.Equal(s.witness, out) {
			return false
		}
		for i, n := range s.nodes {
			if n.capture.DHTRequests(false) != counters[i] {
				return false
			}
		}
		return true
	}, dhtPatience, 10*time.Millisecond, "who asked, whom, for what is not the same at those who ask, those who are asked, and kad-dht's hook")
	for _, n := range s.nodes {
		require.Zero(t, n.capture.Panics())
		require.Equal(t, event.DHTCounters{}, n.capture.DHTRequests(true), "there is no DHT of a local network")
	}
	for _, kind := range []event.DHTType{event.DHTPutValue, event.DHTGetValue, event.DHTAddProvider, event.DHTGetProviders, event.DHTFindNode, event.DHTPing} {
		n := uint64(0)
		for k, v := range in {
			if k.kind == kind {
				n += v
			}
		}
		require.NotZero(t, n, kind)
	}
	require.NotZero(t, total[event.DHTAnswered])
	require.Zero(t, total[event.DHTFailed]+total[event.DHTTimedOut])
	require.NotZero(t, closer)
	require.NotZero(t, providers)
}

// checkDHTEvent compares an event with the requests that the swarm makes.
func checkDHTEvent(t *testing.T, e *event.Event) {
	t.Helper()
	r := e.DHT
	require.NotZero(t, e.Time)
	require.GreaterOrEqual(t, r.Elapsed, time.Duration(0))
	require.Equal(t, "wan", r.Table())
	switch r.Type {
	case event.DHTAddProvider, event.DHTGetProviders:
		require.EqualValues(t, cid.Raw, r.CID.Type())
		require.EqualValues(t, 1, r.CID.Version())
		require.Contains(t, testHashes(), r.CID.KeyString())
		if r.Type == event.DHTAddProvider {
			require.Equal(t, 1, r.Providers)
		}
	case event.DHTFindNode:
		require.True(t, r.Target != "" || strings.HasPrefix(string(r.Name), "/pk/0x3"), r.Name)
	case event.DHTPutValue, event.DHTGetValue:
		require.Regexp(t, `^/pk/0x3[0-7]$`, string(r.Name))
	case event.DHTPing:
		require.Empty(t, r.Key())
	}
}

func testHashes() map[string]bool {
	m := map[string]bool{}
	for i := range 8 {
		m[cid.NewCidV1(cid.Raw, testCID(i).Hash()).KeyString()] = true
	}
	return m
}

// TestDHTRequestsOfAPlainPeer: a peer without a DHT sends a known number of requests of
// each type, some of them hostile, and each is counted once, with what it asked for.
func TestDHTRequestsOfAPlainPeer(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), dhtPatience)
	defer cancel()
	s := &swarm{witness: map[asked]uint64{}}
	n := s.add(t)
	asker := newHost(t)
	require.NoError(t, asker.Connect(ctx, peer.AddrInfo{ID: n.ID(), Addrs: n.Addrs()}))
	hash := []byte(testCID(7).Hash())
	ipns := append([]byte("/ipns/"), asker.ID()...)
	for _, c := range []struct {
		times  int
		ask    *pb.Message
		key    string
		status event.DHTStatus
		kind   event.DHTType
	}{
		{3, &pb.Message{Type: pb.Message_PING}, "", event.DHTAnswered, event.DHTPing},
		{5, &pb.Message{Type: pb.Message_FIND_NODE, Key: []byte(n.ID())}, n.ID().String(), event.DHTAnswered, event.DHTFindNode},
		{1, &pb.Message{Type: pb.Message_FIND_NODE, Key: []byte("far")}, "0x666172", event.DHTAnswered, event.DHTFindNode},
		{7, &pb.Message{Type: pb.Message_GET_PROVIDERS, Key: hash}, cid.NewCidV1(cid.Raw, hash).String(), event.DHTAnswered, event.DHTGetProviders},
		{2, &pb.Message{Type: pb.Message_GET_PROVIDERS, Key: make([]byte, 100)}, "0x" + fmt.Sprintf("%0200d", 0), event.DHTFailed, event.DHTGetProviders},
		{4, &pb.Message{Type: pb.Message_ADD_PROVIDER, Key: hash, ProviderPeers: []*pb.Message_Peer{{Id: []byte(asker.ID()), Addrs: [][]byte{asker.Addrs()[0].Bytes()}}}},
			cid.NewCidV1(cid.Raw, hash).String(), event.DHTAnswered, event.DHTAddProvider},
		{6, &pb.Message{Type: pb.Message_GET_VALUE, Key: ipns}, "/ipns/" + asker.ID().String(), event.DHTAnswered, event.DHTGetValue},
		{1, &pb.Message{Type: pb.Message_GET_VALUE, Key: []byte("/x/\x1b[31mred\u202e")}, "/x/\ufffd[31mred\ufffd", event.DHTAnswered, event.DHTGetValue},
		{2, &pb.Message{Type: pb.Message_PUT_VALUE, Key: []byte("/x/y")}, "/x/y", event.DHTFailed, event.DHTPutValue}, // without a record
		{3, &pb.Message{Type: 77, Key: []byte("k")}, "0x6b", event.DHTFailed, event.DHTOther},
	} {
		for range c.times {
			st, err := asker.NewStream(ctx, n.ID(), testKad)
			require.NoError(t, err)
			raw, err := proto.Marshal(c.ask)
			require.NoError(t, err)
			require.NoError(t, msgio.NewVarintWriter(st).WriteMsg(raw))
			if c.status == event.DHTAnswered && c.kind != event.DHTAddProvider {
				_, err = msgio.NewVarintReader(st).ReadMsg()
				require.NoError(t, err)
			}
			e := n.events(t, ctx, 1)[0]
			require.Equal(t, asker.ID(), e.Peer)
			require.Equal(t, event.Received, e.Dir)
			require.Equal(t, c.kind, e.DHT.Type, c.ask)
			require.Equal(t, c.status, e.DHT.Status, c.ask)
			require.Equal(t, c.key, string(e.DHT.Key()))
			require.NoError(t, st.Reset())
		}
		all := n.capture.DHTRequests(false)
		want := uint64(c.times)
		if c.ask.Type == pb.Message_FIND_NODE {
			want = all.Requests(event.Received, c.kind) // two records
		}
		require.GreaterOrEqual(t, all.Requests(event.Received, c.kind), want)
	}
	all := n.capture.DHTRequests(false)
	require.Equal(t, [event.DHTTypes]uint64{event.DHTPing: 3, event.DHTFindNode: 6, event.DHTGetProviders: 9, event.DHTAddProvider: 4, event.DHTGetValue: 7, event.DHTPutValue: 2, event.DHTOther: 3},
		func() (n [event.DHTTypes]uint64) {
			for k := range n {
				n[k] = all.Requests(event.Received, event.DHTType(k))
			}
			return n
		}())
}

// TestDHTWhatTheNodeAsksInVain: a peer that resets the stream, one that is silent until
// the node stops waiting, and one that cannot be reached.
func TestDHTWhatTheNodeAsksInVain(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), dhtPatience)
	defer cancel()
	s := &swarm{witness: map[asked]uint64{}}
	n := s.add(t)
	other := newHost(t)
	var reset atomic.Bool
	reset.Store(true)
	pinged := make(chan struct{}, 16)
	other.SetStreamHandler(testKad, func(st network.Stream) {
		raw, err := msgio.NewVarintReader(st).ReadMsg()
		if err != nil {
			return
		}
		if reset.Load() {
			_ = st.Reset()
			return
		}
		var m pb.Message
		if proto.Unmarshal(raw, &m) == nil && m.GetType() == pb.Message_PING {
			pinged <- struct{}{}
		}
	})
	require.NoError(t, n.Connect(ctx, peer.AddrInfo{ID: other.ID(), Addrs: other.Addrs()}))
	// kad-dht also sends FIND_NODE to a peer that it meets, and again after a reset.
	next := func(kind event.DHTType, status event.DHTStatus) *event.Event {
		for {
			e := n.events(t, ctx, 1)[0]
			require.Equal(t, event.Sent, e.Dir)
			require.Equal(t, other.ID(), e.Peer)
			if e.DHT.Type == kind && e.DHT.Status == status {
				return e
			}
		}
	}
	require.Error(t, n.dht.Ping(ctx, other.ID()))
	next(event.DHTPing, event.DHTFailed)

	reset.Store(false)
	soon, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- n.dht.Ping(soon, other.ID()) }()
	<-pinged
	stop()
	require.Error(t, <-ended)
	next(event.DHTPing, event.DHTCanceled)

	require.NoError(t, other.Close())
	require.Eventually(t, func() bool { return n.Network().Connectedness(other.ID()) != network.Connected }, dhtPatience, time.Millisecond)
	require.Error(t, n.dht.Ping(ctx, other.ID()))
	next(event.DHTUnsent, event.DHTFailed)
}

// TestDHTFloodIsCountedAndBounded: a peer's requests beyond its rate make no event, and
// are counted.
func TestDHTFloodIsCountedAndBounded(t *testing.T) {
	b := bus.New(bus.Config{})
	defer b.Close()
	c := New(b, nil)
	const n = 3 * peerBurst
	for range n {
		c.dhtDone(newDHTSeen(testPeer, event.Received, event.DHTPing, true), 0)
	}
	all := c.DHTRequests(true)
	require.EqualValues(t, n, all.Requests(event.Received, event.DHTPing))
	require.NotZero(t, c.Limited())
	require.EqualValues(t, n, b.Stats().Published+c.Limited())
}

// silentStream is a stream of which only the connection is used.
type silentStream struct{ network.Stream }

func (silentStream) Conn() network.Conn { return silentConn{} }

type silentConn struct{ network.Conn }

func (silentConn) RemotePeer() peer.ID { return testPeer }

func dhtFrame(kind byte, key []byte, more ...byte) []byte {
	var body []byte
	if kind != 0 {
		body = []byte{1 << 3, kind}
	}
	if key != nil {
		body = append(binary.AppendUvarint(append(body, 2<<3|2), uint64(len(key))), key...)
	}
	body = append(body, more...)
	return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
}

func readDHT(t testing.TB, r *dhtReader, b []byte) (out []dhtMessage) {
	for len(b) > 0 {
		var whole bool
		before := len(b)
		if b, whole = r.read(b); whole {
			m := r.msg
			m.key = append([]byte(nil), m.key...)
			out = append(out, m)
		}
		require.Less(t, len(b), before)
	}
	return out
}

// TestDHTReader finds the messages wherever they are split.
func TestDHTReader(t *testing.T) {
	long := make([]byte, 1000)
	var stream []byte
	for _, f := range [][]byte{
		dhtFrame(4, []byte("key")), dhtFrame(0, []byte("k"), 8<<3|2, 1, 'x', 8<<3|2, 0, 9<<3|2, 2, 'a', 'b'), dhtFrame(5, nil), {0},
		dhtFrame(3, long, 10<<3, 0xff, 1, 3<<3|1, 1, 2, 3, 4, 5, 6, 7, 8, 4<<3|5, 1, 2, 3, 4), // fields of every kind
		dhtFrame(2, []byte("k"), 7),                  // a group
		dhtFrame(2, []byte("k"), 9<<3|2, 0x7f, 1),    // longer than the message
		dhtFrame(1, []byte("first"), 2<<3|2, 1, 'z'), // a repeated field: the last one counts
		dhtFrame(4, nil, 1<<3),                       // ends in the middle of a field
	} {
		stream = append(stream, f...)
	}
	want := []string{"4 key 3 0 0", "0 k 1 2 1", "5  0 0 0", "0  0 0 0", fmt.Sprintf("3 %s 1000 0 0", long[:event.MaxDHTKeyBytes]), "2 k 1 0 0", "2 k 1 0 1", "1 z 1 0 0", "4  0 0 0"}
	for cut := 1; cut <= len(stream); cut++ {
		r, got := new(dhtReader), []string(nil)
		for b := stream; len(b) > 0; {
			n := min(cut, len(b))
			for _, m := range readDHT(t, r, b[:n]) {
				got = append(got, fmt.Sprintf("%d %s %d %d %d", m.kind, m.key, m.keyBytes, m.closer, m.providers))
			}
			b = b[n:]
		}
		require.Equal(t, want, got, "in pieces of %d", cut)
	}
	for _, bad := range []string{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff\x0f"} {
		r := new(dhtReader)
		require.Empty(t, readDHT(t, r, []byte(bad+"\x00\x00")))
		require.True(t, r.broken)
	}
}

// FuzzDHTReader: the same bytes in other pieces are the same messages; bytes that
// protobuf accepts are read as protobuf reads them.
func FuzzDHTReader(f *testing.F) {
	f.Add(dhtFrame(4, []byte("key"), 8<<3|2, 1, 'x'), uint8(2))
	f.Add([]byte{2, 8, 4, 0, 1, 0xff}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		whole := readDHT(t, new(dhtReader), b)
		var pieces []dhtMessage
		r := new(dhtReader)
		for rest := b; len(rest) > 0; {
			n := min(int(cut)+1, len(rest))
			pieces = append(pieces, readDHT(t, r, rest[:n])...)
			rest = rest[n:]
		}
		require.Equal(t, whole, pieces)
		for _, m := range whole {
			n, size := binary.Uvarint(b)
			if size <= 0 || n > uint64(len(b)-size) {
				return
			}
			body := b[size:][:n]
			b = b[size:][n:]
			var p pb.Message
			if proto.Unmarshal(body, &p) != nil || len(p.ProtoReflect().GetUnknown()) > 0 {
				continue
			}
			require.EqualValues(t, p.GetType(), int32(m.kind))
			require.Equal(t, len(p.GetCloserPeers()), m.closer)
			require.Equal(t, len(p.GetProviderPeers()), m.providers)
			key := p.GetKey()
			require.EqualValues(t, len(key), m.keyBytes)
			require.Equal(t, string(key[:min(len(key), event.MaxDHTKeyBytes)]), string(m.key))
		}
	})
}
