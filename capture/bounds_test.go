package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// cidOf returns a CID of n bytes.
func cidOf(t *testing.T, n int) cid.Cid {
	t.Helper()
	digest, err := mh.Encode(make([]byte, n-5), mh.IDENTITY)
	require.NoError(t, err)
	c := cid.NewCidV1(cid.Raw, digest)
	require.Equal(t, n, c.ByteLen())
	return c
}

// TestTheLongestCIDIsKept: a CID of MaxCIDBytes stays as it is wherever one is copied;
// one byte more is replaced.
func TestTheLongestCIDIsKept(t *testing.T) {
	c, next := newTest(t)
	for _, id := range []cid.Cid{cidOf(t, event.MaxCIDBytes), cidOf(t, event.MaxCIDBytes+1)} {
		kept, oversize := id, uint32(0)
		if id.ByteLen() > event.MaxCIDBytes {
			kept, oversize = digestOf(new(event.Event), id), uint32(id.ByteLen())
		}
		block, err := blocks.NewBlockWithCid([]byte("x"), id)
		require.NoError(t, err)
		for _, add := range []func(bsmsg.BitSwapMessage){
			func(m bsmsg.BitSwapMessage) { m.AddEntry(id, 1, pb.Message_Wantlist_Block, false) },
			func(m bsmsg.BitSwapMessage) { m.AddHave(id) },
			func(m bsmsg.BitSwapMessage) { m.AddBlock(block) },
		} {
			m := bsmsg.New(false)
			add(m)
			c.MessageReceived(testPeer, m)
			e := next()
			require.Equal(t, oversize, e.OversizeCID)
			for _, w := range e.Wants {
				require.Equal(t, kept, w.CID)
			}
			for _, p := range e.Presences {
				require.Equal(t, kept, p.CID)
			}
			for _, b := range e.Blocks {
				require.Equal(t, kept, b.CID)
			}
			require.Equal(t, 1, len(e.Wants)+len(e.Presences)+len(e.Blocks))
		}
		c.search(event.SearchBegan, id, peer.AddrInfo{}, 0, 0)
		require.Equal(t, kept, next().Search.CID)
	}
}

// TestEntriesCostWhatTheyTake: an entry takes its overhead and twice its CID off the
// budget, and fits until less is left; the budget leaves room for the addresses.
func TestEntriesCostWhatTheyTake(t *testing.T) {
	id := testCID(1)
	cost := event.EntryOverhead + 2*id.ByteLen()
	a := &arena{budget: 2 * cost}
	require.True(t, a.fits(id))
	require.Equal(t, cost, a.budget)
	require.True(t, a.fits(id))
	require.False(t, a.fits(id))
	require.LessOrEqual(t, entryBudget+event.MaxAddrs*(event.MaxAddrText+4)+4096, event.MaxEncodedBytes)

	// What does not fit is counted, in each of the lists.
	m := bsmsg.New(false)
	for i := range 9 {
		m.AddEntry(testCID(i), 1, pb.Message_Wantlist_Block, false)
		m.AddHave(testCID(i))
		m.AddBlock(blocks.NewBlock([]byte{byte(i)}))
	}
	for i, copies := range []func(a *arena, e *event.Event, tr *event.Traffic){
		func(a *arena, e *event.Event, tr *event.Traffic) { a.copyWants(e, tr, m) },
		func(a *arena, e *event.Event, tr *event.Traffic) { a.copyPresences(e, tr, m.BlockPresences()) },
		func(a *arena, e *event.Event, tr *event.Traffic) { a.copyBlocks(e, tr, m.Blocks()) },
	} {
		e, tr := new(event.Event), new(event.Traffic)
		copies(&arena{budget: 4 * cost}, e, tr)
		n := len(e.Wants) + len(e.Presences) + len(e.Blocks)
		require.InDelta(t, 4, n, 1, "list %d", i) // blocks have another hash
		require.EqualValues(t, 9-n, e.Truncated, "list %d", i)
		require.EqualValues(t, 9, tr.WantBlock+tr.Have+tr.Blocks, "list %d", i)
	}
}

// TestAnArenaKeepsNoHugeCID: a CID that is too long does not stay in memory until a later
// message overwrites it.
func TestAnArenaKeepsNoHugeCID(t *testing.T) {
	m := bsmsg.New(false)
	m.AddEntry(cidOf(t, 16_000), 1, pb.Message_Wantlist_Block, false)
	a, e := &arena{budget: entryBudget}, new(event.Event)
	a.copyWants(e, new(event.Traffic), m)
	a.forget(e)
	for _, x := range a.scratch[:cap(a.scratch)] {
		require.False(t, x.Cid.Defined())
	}
}

// TestEveryEntryCostsAToken: at one moment a peer may send messages whose entries
// together, and one for each message, are peerBurst.
func TestEveryEntryCostsAToken(t *testing.T) {
	m := wantMessage(1)
	m.AddHave(testCID(10))
	m.AddDontHave(testCID(11))
	for i := range 3 {
		m.AddBlock(blocks.NewBlock([]byte{byte(i)}))
	}
	const cost = 1 + 1 + 2 + 3
	synctest.Test(t, func(t *testing.T) { // no time passes
		b := bus.New(bus.Config{})
		defer b.Close()
		c := New(b, nil)
		const sent = peerBurst/cost + 10
		for range sent {
			c.MessageReceived(testPeer, m)
		}
		require.EqualValues(t, 10, c.Limited())
		require.EqualValues(t, sent, c.Traffic(event.Libp2p, event.Received).Messages)
		for range sent {
			c.MessageSent(testPeer, m)
		}
		require.EqualValues(t, 10, c.Limited(), "what the node sends has no limit")
	})
}

// TestOnlyMessagesOfWantsHaveASize: with presences or blocks the bytes on the wire are
// not known.
func TestOnlyMessagesOfWantsHaveASize(t *testing.T) {
	c, next := newTest(t)
	n := c.Network(idleNetwork{}, event.Libp2p)
	have := func(m bsmsg.BitSwapMessage) { m.AddHave(testCID(5)) }
	block := func(m bsmsg.BitSwapMessage) { m.AddBlock(blocks.NewBlock([]byte("x"))) }
	for wants := range 2 {
		for _, with := range []func(bsmsg.BitSwapMessage){have, block} {
			m := wantMessage(wants)
			with(m)
			require.NoError(t, n.SendMessage(t.Context(), testPeer, m))
			require.Zero(t, next().WireSize)
		}
		require.NoError(t, n.SendMessage(t.Context(), testPeer, wantMessage(wants)))
		require.Positive(t, next().WireSize)
	}
}

// TestUnsentRequestsAreNamed: over HTTP the event of a message that could not be sent
// has its wants, up to maxRead, and the addresses that were asked; over libp2p, and
// without wants, it has neither.
func TestUnsentRequestsAreNamed(t *testing.T) {
	c, next := newTest(t)
	h := newHost(t)
	h.Peerstore().AddAddr(testPeer, ma.StringCast("/dns4/gateway.example/tcp/443/tls/http"), time.Hour)
	failing := failingNetwork{idleNetwork{err: errors.New("no route")}, h}
	haves := bsmsg.New(false)
	haves.AddHave(testCID(1))
	for _, f := range []struct {
		via         event.Transport
		m           bsmsg.BitSwapMessage
		wants, addr int
	}{
		{event.HTTP, wantMessage(2), 2, 1},
		{event.HTTP, wantMessage(maxRead), event.MaxEntries, 1},
		{event.HTTP, wantMessage(maxRead + 1), 0, 0},
		{event.HTTP, haves, 0, 0},
		{event.Libp2p, wantMessage(2), 0, 0},
	} {
		require.Error(t, c.Network(failing, f.via).SendMessage(t.Context(), testPeer, f.m))
		e := next()
		require.Equal(t, event.KindSendError, e.Kind)
		require.Len(t, e.Wants, f.wants)
		require.Len(t, e.Addrs, f.addr)
	}
}

// failingNetwork has a host, unlike idleNetwork.
type failingNetwork struct {
	idleNetwork
	host host.Host
}

func (n failingNetwork) Host() host.Host { return n.host }

// TestAShapeNeedsEveryMap: wherever the fields are, all three must be there, as maps.
func TestAShapeNeedsEveryMap(t *testing.T) {
	type all struct{ wantlist, blockPresences, blocks map[int]int }
	type other struct{ blocks, wantlist, blockPresences map[int]int }
	type third struct{ blockPresences, blocks, wantlist map[int]int }
	type inner struct{ blocks map[int]int }
	_ = []any{all{}.wantlist, all{}.blockPresences, all{}.blocks, other{}.blocks, other{}.wantlist, other{}.blockPresences, third{}.blockPresences, third{}.blocks, third{}.wantlist, inner{}.blocks} // used, for who looks for unused fields
	for _, c := range []struct {
		of reflect.Type
		ok bool
	}{
		{reflect.TypeFor[*all](), true}, {reflect.TypeFor[*other](), true}, {reflect.TypeFor[*third](), true},
		{reflect.TypeFor[all](), false}, {reflect.TypeFor[*map[int]int](), false},
		{reflect.TypeFor[*struct{ blockPresences, blocks map[int]int }](), false},
		{reflect.TypeFor[*struct{ wantlist, blocks map[int]int }](), false},
		{reflect.TypeFor[*struct{ wantlist, blockPresences map[int]int }](), false},
		{reflect.TypeFor[*struct {
			wantlist, blockPresences map[int]int
			blocks                   []int
		}](), false},
		{reflect.TypeFor[*struct {
			wantlist, blockPresences map[int]int
			inner
		}](), false},
	} {
		require.Equal(t, c.ok, shapeOf(c.of).of != nil, "%v", c.of)
	}
}

// TestRecordsWithHTTP: a record reports whether the provider can be asked over HTTP.
func TestRecordsWithHTTP(t *testing.T) {
	c, next := newTest(t)
	for text, want := range map[string]bool{"/ip4/192.0.2.1/tcp/4001": false, "/dns4/gateway.example/tcp/443/tls/http": true} {
		c.search(event.SearchFound, testCID(1), peer.AddrInfo{ID: testPeer, Addrs: []ma.Multiaddr{ma.StringCast(text)}}, 0, 0)
		e := next()
		require.Equal(t, want, e.Search.HTTP, text)
		require.Equal(t, []event.Text{event.Text(text)}, e.Addrs)
		require.False(t, e.Search.Connected)
	}
}

// TestRelaysHaveNoCountry: the address of a limited connection is the relay's, not the
// peer's. The country is that of the oldest connection that has one.
func TestRelaysHaveNoCountry(t *testing.T) {
	c, next := newTest(t)
	c.SetOrigin(&fakeOrigin{})
	c.opened(&limitedConn{simConn{id: "relayed", peer: testPeer}}, false)
	e := next()
	require.True(t, e.Conn.Limited)
	require.Empty(t, e.Country)
	c.opened(&simConn{id: "direct", peer: testPeer}, false)
	e = next()
	require.Equal(t, "NZ", e.Country)
	require.Equal(t, 2, e.Conn.PeerConns)
	c.closed(&limitedConn{simConn{id: "relayed", peer: testPeer}})
	e = next()
	require.Equal(t, 1, e.Conn.PeerConns)
	require.Equal(t, 1, e.Conn.TotalConns)
	require.Equal(t, "NZ", e.Country)
}

type limitedConn struct{ simConn }

func (c *limitedConn) Stat() network.ConnStats {
	return network.ConnStats{Stats: network.Stats{Limited: true}}
}

// TestProtocolsOfAPeerAreBounded: a peer that reports ever more protocols keeps
// MaxProtocols of them.
func TestProtocolsOfAPeerAreBounded(t *testing.T) {
	c, _ := newTest(t)
	c.opened(&simConn{id: "one", peer: testPeer}, false)
	for i := range event.MaxProtocols + 5 {
		c.conns.changeProtocols(testPeer, []event.Text{event.Text(fmt.Sprint(i)), event.Text(fmt.Sprint(i))}, nil)
		require.Len(t, c.conns.peers.Get(testPeer).identity.Load().protocols, min(i+1, event.MaxProtocols))
	}
}

// TestStreamNamesBeyondTheBound: the protocols that a sample names, as many more as make
// 2*maxNamed, and one for the rest.
func TestStreamNamesBeyondTheBound(t *testing.T) {
	var conns []network.Conn
	var named []event.ProtocolCount
	for i := range 3 * maxNamed {
		name := protocol.ID(fmt.Sprintf("/s/%d", i))
		conns = append(conns, &simConn{streams: []network.Stream{&simStream{protocol: name, dir: network.DirInbound}}})
		if i < 10 {
			named = append(named, event.ProtocolCount{Protocol: event.Text(name)})
		}
	}
	out := streams(conns, named)
	require.Len(t, out, 2*maxNamed+1)
	require.Equal(t, event.StreamCount{Protocol: event.Others, Direction: "inbound", Streams: maxNamed}, out[0])
}

// TestASampleIsInOrder: inbound first, then by transport, whatever order a map has.
func TestASampleIsInOrder(t *testing.T) {
	c, _ := newTest(t)
	var want []event.PeerCount
	for _, inbound := range []bool{true, false} {
		for i, transport := range []string{"quic", "tcp", "websocket"} {
			want = append(want, event.PeerCount{Inbound: inbound, Transport: transport, Peers: 1})
			p := peer.ID(fmt.Sprint(inbound, i))
			s := newPeerState()
			s.conns = []*openConn{{peer: p, conn: &simConn{}, event: event.Conn{Inbound: inbound, Transport: transport}}}
			c.conns.peers.Set(p, s)
		}
	}
	for range 20 {
		var s event.Sample
		c.conns.count(&s, 10)
		require.Equal(t, want, s.Peers)
	}
}

// TestDHTTimesOutWhenKadDHTDoes: a request without an answer has timed out from
// dhtReadTimeout on; before that its caller had stopped waiting. One that another request follows
// has failed.
func TestDHTTimesOutWhenKadDHTDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New(bus.Config{})
		defer b.Close()
		c := New(b, nil)
		ask := func() *dhtStream {
			s := &dhtStream{Stream: silentStream{}, capture: c, dir: event.Sent}
			s.passed(&s.sent, dhtFrame(byte(event.DHTPing), nil), true)
			return s
		}
		has := func(status event.DHTStatus, n uint64) {
			t.Helper()
			all := c.DHTRequests(false)
			require.Equal(t, n, all[event.Sent][event.DHTPing][status])
		}
		s := ask()
		time.Sleep(dhtReadTimeout - 1)
		s.finish()
		has(event.DHTCanceled, 1)
		s = ask()
		time.Sleep(dhtReadTimeout)
		s.finish()
		s.finish() // it has ended already
		has(event.DHTTimedOut, 1)
		s = ask()
		s.passed(&s.sent, dhtFrame(byte(event.DHTPing), nil), true)
		has(event.DHTFailed, 1)
		s.passed(&s.received, dhtFrame(byte(event.DHTPing), nil), false)
		s.passed(&s.received, dhtFrame(byte(event.DHTPing), nil), false) // an answer to nothing
		has(event.DHTAnswered, 1)
	})
}

// TestDHTReaderAtItsBounds: the longest message, the longest varint, and lengths whose
// bytes are all high.
func TestDHTReaderAtItsBounds(t *testing.T) {
	for _, n := range []uint64{network.MessageSizeMax, network.MessageSizeMax + 1} {
		r := new(dhtReader)
		require.Empty(t, readDHT(t, r, binary.AppendUvarint(nil, n)))
		require.Equal(t, n > network.MessageSizeMax, r.broken, n)
	}
	for _, size := range []int{127, 128, 129, 256, 16383, 16384} { // 128 is 0x80 0x01
		body := dhtFrame(4, make([]byte, size))
		got := readDHT(t, new(dhtReader), body)
		require.Len(t, got, 1)
		require.EqualValues(t, size, got[0].keyBytes)
	}
	// A negative enum has ten bytes.
	minus := binary.AppendUvarint([]byte{dhtFieldType << 3}, 1<<64-1)
	require.Len(t, minus, 11)
	got := readDHT(t, new(dhtReader), append(append([]byte{byte(len(minus) + 3)}, minus...), dhtFieldKey<<3|2, 1, 'k'))
	require.Len(t, got, 1)
	require.EqualValues(t, 1<<32-1, got[0].kind)
	require.EqualValues(t, "k", got[0].key)
	// Eleven are no varint: the rest of the message is passed over.
	longer := append([]byte{dhtFieldType << 3}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, dhtFieldKey<<3|2, 1, 'k')
	got = readDHT(t, new(dhtReader), append(append([]byte{byte(len(longer))}, longer...), dhtFrame(4, []byte("next"))...))
	require.Len(t, got, 2)
	require.Empty(t, got[0].key)
	require.EqualValues(t, "next", got[1].key)
}

// TestUnsentDHTRequests: why a stream could not be opened.
func TestUnsentDHTRequests(t *testing.T) {
	c, next := newTest(t)
	for _, f := range []struct {
		err  error
		want event.DHTStatus
	}{
		{fmt.Errorf("dial: %w", context.DeadlineExceeded), event.DHTTimedOut},
		{fmt.Errorf("dial: %w", context.Canceled), event.DHTCanceled},
		{errors.New("no addresses"), event.DHTFailed},
	} {
		c.dhtUnsent(testPeer, true, -time.Second, f.err)
		e := next()
		require.Equal(t, f.want, e.DHT.Status)
		require.True(t, e.DHT.LAN)
		require.Zero(t, e.DHT.Elapsed, "the clock may have been set")
		all := c.DHTRequests(true)
		require.EqualValues(t, 1, all[event.Sent][event.DHTUnsent][f.want])
	}
}
