package watch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/guard"
)

func cidOf(n int) cid.Cid { return blocks.NewBlock(fmt.Append(nil, n)).Cid() }

// wantlists are messages of all sizes, of which the first are small ones.
func wantlists() (small, others []bsmsg.BitSwapMessage) {
	for _, n := range []int{0, 1, 2, 9} {
		m := bsmsg.New(n%2 == 1)
		for i := range n {
			m.AddEntry(cidOf(i), math.MaxInt32-int32(i), pb.Message_Wantlist_WantType(i%2), i%3 == 0)
		}
		m.Cancel(cidOf(n))
		small = append(small, m)
	}
	small = append(small, bsmsg.New(false), bsmsg.New(true))
	pending := bsmsg.New(false)
	pending.SetPendingBytes(-7)
	pending.AddEntry(cidOf(1), -1, pb.Message_Wantlist_WantType(5), false)
	small = append(small, pending)
	for _, n := range []int{13, 1000} { // longer than what is read ahead
		m := bsmsg.New(false)
		for i := range n {
			m.AddEntry(cidOf(i), 1, pb.Message_Wantlist_Have, true)
		}
		others = append(others, m)
	}
	m := bsmsg.New(false)
	m.AddEntry(cidOf(1), 1, pb.Message_Wantlist_Have, true)
	m.AddDontHave(cidOf(2))
	m.AddBlock(blocks.NewBlock([]byte("a block that nobody asked for")))
	return small, append(others, m)
}

func requireSame(t *testing.T, want, got bsmsg.BitSwapMessage) {
	t.Helper()
	require.Equal(t, want.Full(), got.Full())
	require.Equal(t, want.Empty(), got.Empty())
	require.Equal(t, want.PendingBytes(), got.PendingBytes())
	require.ElementsMatch(t, want.Wantlist(), got.Wantlist())
	require.ElementsMatch(t, want.Wantlist(), got.FillWantlist(make([]bsmsg.Entry, 3)))
	require.ElementsMatch(t, want.BlockPresences(), got.BlockPresences())
	require.ElementsMatch(t, want.Blocks(), got.Blocks())
	require.ElementsMatch(t, want.DontHaves(), got.DontHaves())
}

func TestMessagesAreReadAsBoxoReadsThem(t *testing.T) {
	small, others := wantlists()
	all := append(append(append([]bsmsg.BitSwapMessage{}, small...), others...), small...)
	var wire bytes.Buffer
	for _, m := range all {
		require.NoError(t, m.ToNetV1(&wire))
	}
	in := reader{in: bufio.NewReaderSize(&wire, readAhead)}
	ours := 0
	for _, want := range all {
		require.NoError(t, in.next(func(got bsmsg.BitSwapMessage) {
			requireSame(t, want, got)
			if _, small := got.(*smallMessage); small {
				ours++
			}
		}))
	}
	require.Equal(t, 2*len(small), ours)
	require.Equal(t, io.EOF, in.next(func(bsmsg.BitSwapMessage) { t.Error("a message after the last") }))
}

func TestMessagesThatAreNone(t *testing.T) {
	for name, b := range map[string][]byte{
		"no length":           {0x80},
		"longer than allowed": {0xff, 0xff, 0xff, 0x0f},
		"cut off":             {10, 1, 2},
		"no tag":              {1, 0},
		"a value cut off":     {2, 0x0a, 9},
		"a CID that is none":  {6, 0x0a, 4, 0x0a, 2, 0x0a, 0},
		"no CID":              {4, 0x0a, 2, 0x0a, 0},
	} {
		in := reader{in: bufio.NewReaderSize(bytes.NewReader(b), readAhead)}
		err := in.next(func(bsmsg.BitSwapMessage) { t.Error(name) })
		require.Error(t, err, name)
		require.NotEqual(t, io.EOF, err, name)
	}
}

// taker receives what a network passes on.
type taker struct {
	bsnetwork.Receiver // for the methods that no message calls
	take               func(peer.ID, bsmsg.BitSwapMessage)
}

func (r taker) ReceiveMessage(_ context.Context, from peer.ID, m bsmsg.BitSwapMessage) {
	r.take(from, m)
}
func (taker) ReceiveError(error)       {}
func (taker) PeerConnected(peer.ID)    {}
func (taker) PeerDisconnected(peer.ID) {}

// newReceiving makes a host whose messages take gets, and a peer that is connected to it.
func newReceiving(t *testing.T, g *guard.Guard, take func(peer.ID, bsmsg.BitSwapMessage)) (h, from host.Host) {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	n := &smallNetwork{bsnet.NewFromIpfsHost(h), g}
	n.Start(taker{take: take})
	t.Cleanup(n.Stop)
	from = lonely(t)
	require.NoError(t, from.Connect(t.Context(), peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}))
	return h, from
}

// TestMessagesKeepTheirOrder: of one stream, however they are read.
func TestMessagesKeepTheirOrder(t *testing.T) {
	small, others := wantlists()
	all := slices.Concat(small, others, small, others[:1], small)
	got := make(chan string, len(all))
	text := func(m bsmsg.BitSwapMessage) string {
		wants := m.Wantlist() // boxo's are in no order
		slices.SortFunc(wants, func(a, b bsmsg.Entry) int { return strings.Compare(a.Cid.KeyString(), b.Cid.KeyString()) })
		return fmt.Sprint(m.Full(), m.PendingBytes(), wants, m.Blocks(), m.BlockPresences())
	}
	h, from := newReceiving(t, &guard.Guard{}, func(_ peer.ID, m bsmsg.BitSwapMessage) { got <- text(m) })
	s, err := from.NewStream(t.Context(), h.ID(), bsnet.ProtocolBitswap)
	require.NoError(t, err)
	for _, m := range all {
		require.NoError(t, m.ToNetV1(s))
	}
	for i, m := range all {
		select {
		case line := <-got:
			require.Equal(t, text(m), line, i)
		case <-time.After(time.Minute):
			require.FailNow(t, "a message is missing", i)
		}
	}
}

// TestAPanicEndsItsStream, and nothing else.
func TestAPanicEndsItsStream(t *testing.T) {
	bad, good, got := cidOf(1), cidOf(2), make(chan cid.Cid, 1)
	g := &guard.Guard{Log: slog.New(&logged{})}
	h, from := newReceiving(t, g, func(_ peer.ID, m bsmsg.BitSwapMessage) {
		if m.Wantlist()[0].Cid == bad {
			panic("a fault")
		}
		got <- m.Wantlist()[0].Cid
	})
	for n := range 2 {
		s, err := from.NewStream(t.Context(), h.ID(), bsnet.ProtocolBitswap)
		require.NoError(t, err)
		m := bsmsg.New(false)
		m.AddEntry(bad, 1, pb.Message_Wantlist_Have, false)
		if n == 1 { // boxo reads it
			m.AddBlock(blocks.NewBlock([]byte("a block")))
		}
		require.NoError(t, m.ToNetV1(s))
		require.NoError(t, s.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err = s.Read(make([]byte, 1))
		require.ErrorIs(t, err, network.ErrReset)
		require.Equal(t, uint64(n+1), g.Panics())
	}
	s, err := from.NewStream(t.Context(), h.ID(), bsnet.ProtocolBitswap)
	require.NoError(t, err)
	m := bsmsg.New(false)
	m.AddEntry(good, 1, pb.Message_Wantlist_Have, false)
	require.NoError(t, m.ToNetV1(s))
	select {
	case c := <-got:
		require.Equal(t, good, c)
	case <-time.After(time.Minute):
		require.FailNow(t, "no message is handled any more")
	}
}

// FuzzSmallMessage: what is decoded here is what boxo decodes.
func FuzzSmallMessage(f *testing.F) {
	small, others := wantlists()
	for _, m := range append(small, others...) {
		var wire bytes.Buffer
		require.NoError(f, m.ToNetV1(&wire))
		_, n := binary.Uvarint(wire.Bytes())
		f.Add(wire.Bytes()[n:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m smallMessage
		m.BitSwapMessage = noMessage
		if len(b) > readAhead || !m.decode(b) {
			return
		}
		want, _, err := bsmsg.FromNet(bytes.NewReader(append(binary.AppendUvarint(nil, uint64(len(b))), b...)))
		require.NoError(t, err)
		requireSame(t, want, &m)
	})
}
