package capture

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// protoBytes returns a message as bsnet would write it.
func protoBytes(m bsmsg.BitSwapMessage) ([]byte, error) {
	var b bytes.Buffer
	err := m.ToNetV1(&b)
	return b.Bytes(), err
}

func parse(b []byte) (bsmsg.BitSwapMessage, error) {
	m, _, err := bsmsg.FromNet(bytes.NewReader(b))
	return m, err
}

func newHost(t *testing.T) host.Host {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics(), libp2p.ProtocolVersion("ipfs/0.1.0"),
		libp2p.ResourceManager(&network.NullResourceManager{}))
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// bitswapOn starts Bitswap on a host with a capture around it.
func bitswapOn(t *testing.T, h host.Host) (*Capture, func() *event.Event, *bitswap.Bitswap, blockstore.Blockstore) {
	c, next := newTest(t)
	bs := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	ctx, cancel := context.WithCancel(context.Background())
	x := bitswap.New(ctx, c.Network(bsnet.NewFromIpfsHost(h), event.Libp2p), nil, bs)
	t.Cleanup(func() { x.Close(); cancel() })
	require.NoError(t, c.Start(h, Sampling{Interval: time.Hour, AgentCutOff: 10}))
	t.Cleanup(c.Close)
	return c, next, x, bs
}

// TestBothDirectionsOverARealWire fetches blocks from one host to the other
// and compares what the two captures counted.
func TestBothDirectionsOverARealWire(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ha, hb := newHost(t), newHost(t)
	ca, _, _, store := bitswapOn(t, ha)
	cb, nextB, xb, _ := bitswapOn(t, hb)

	const n = 40
	var bytesInAll uint64
	var want []blocks.Block
	for i := range n {
		b := blocks.NewBlock(bytes.Repeat([]byte{byte(i)}, 1000+i))
		bytesInAll += uint64(len(b.RawData()))
		require.NoError(t, store.Put(ctx, b))
		want = append(want, b)
	}
	require.NoError(t, hb.Connect(ctx, peer.AddrInfo{ID: ha.ID(), Addrs: ha.Addrs()}))
	for _, b := range want {
		got, err := xb.GetBlock(ctx, b.Cid())
		require.NoError(t, err)
		require.Equal(t, b.RawData(), got.RawData())
	}

	require.Eventually(t, func() bool {
		return ca.Traffic(event.Libp2p, event.Received).Cancel == n && cb.Traffic(event.Libp2p, event.Sent).Cancel == n
	}, 30*time.Second, 10*time.Millisecond, "cancels: received %+v, sent %+v", ca.Traffic(event.Libp2p, event.Received), cb.Traffic(event.Libp2p, event.Sent))
	require.Equal(t, cb.Traffic(event.Libp2p, event.Sent), ca.Traffic(event.Libp2p, event.Received))
	require.Equal(t, ca.Traffic(event.Libp2p, event.Sent), cb.Traffic(event.Libp2p, event.Received))
	got := cb.Traffic(event.Libp2p, event.Received)
	require.EqualValues(t, n, got.Blocks)
	require.EqualValues(t, bytesInAll, got.BlockBytes)

	var sentWants int
	for sentWants < n {
		e := nextB()
		if e.Kind != event.KindMessage || e.Dir != event.Sent || len(e.Wants) == 0 {
			continue
		}
		require.Equal(t, ha.ID(), e.Peer)
		require.NotZero(t, e.WireSize)
		require.NotZero(t, e.Took)
		require.NotEmpty(t, e.Addrs)
		for _, w := range e.Wants {
			if !w.Cancel {
				sentWants++
			}
		}
	}
}
