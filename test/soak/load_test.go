//go:build soak || all

package soak

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// loader is a peer that sends a node Bitswap messages at a rate, and fetches
// blocks from it.
type loader struct {
	t      testing.TB
	host   host.Host
	node   peer.ID
	stream network.Stream
	blocks chan struct{} // one for each block that comes
	sent   atomic.Uint64 // entries
}

// entriesInMessage is what a message of a loader has: half wants, half cancels
// of the wants before, so that the node's list of them stays short.
const entriesInMessage = 16

func newLoader(t testing.TB, addr string) *loader {
	t.Helper()
	info, err := peer.AddrInfoFromString(addr)
	require.NoError(t, err)
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableRelay())
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	l := &loader{t: t, host: h, node: info.ID, blocks: make(chan struct{}, 1<<16)}
	h.SetStreamHandler(bsnet.ProtocolBitswap, l.receive)
	require.NoError(t, h.Connect(t.Context(), *info))
	l.stream, err = h.NewStream(t.Context(), info.ID, bsnet.ProtocolBitswap)
	require.NoError(t, err)
	return l
}

func (l *loader) receive(s network.Stream) {
	defer s.Close()
	r := msgio.NewVarintReaderSize(s, network.MessageSizeMax)
	for {
		m, _, err := bsmsg.FromMsgReader(r)
		if err != nil {
			return // the stream ends when the node or the host does
		}
		for range m.Blocks() {
			l.blocks <- struct{}{}
		}
	}
}

// run sends entries at a rate until ctx is done.
func (l *loader) run(ctx context.Context, rate int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	begin, n := time.Now(), 0
	var last []cid.Cid
	for {
		for due := int(time.Since(begin).Seconds() * float64(rate) / entriesInMessage); n < due && ctx.Err() == nil; n++ {
			m := bsmsg.New(false)
			for _, c := range last {
				m.Cancel(c)
			}
			last = last[:0]
			for len(last) < entriesInMessage/2 {
				last = append(last, randomCID())
				m.AddEntry(last[len(last)-1], 1, pb.Message_Wantlist_Have, false)
			}
			if err := m.ToNetV1(l.stream); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			l.sent.Add(uint64(len(m.Wantlist())))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func randomCID() cid.Cid {
	var digest [32]byte
	_, _ = rand.Read(digest[:]) // never fails
	mh, err := multihash.Encode(digest[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // not for this one
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// fetch asks for blocks that the node has and returns the time until all came.
func (l *loader) fetch(ctx context.Context, cids []cid.Cid) (time.Duration, error) {
	m := bsmsg.New(false)
	for _, c := range cids {
		m.AddEntry(c, 1, pb.Message_Wantlist_Block, false)
	}
	begin := time.Now()
	if err := m.ToNetV1(l.stream); err != nil {
		return 0, err
	}
	for range cids {
		select {
		case <-l.blocks:
		case <-time.After(time.Minute):
			return 0, fmt.Errorf("the node did not send %d blocks within a minute", len(cids))
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return time.Since(begin), nil
}

// addFile adds so many random bytes to the node and returns the CIDs of their blocks.
func addFile(n *harness.Node, size int) (cids []cid.Cid) {
	n.T.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	file := filepath.Join(n.Home, "file")
	require.NoError(n.T, os.WriteFile(file, data, 0o600))
	root := n.IPFS("add", "-q", "--pin=false", file)
	for _, s := range strings.Fields(n.IPFS("refs", "-r", "--unique", root)) {
		c, err := cid.Decode(s)
		require.NoError(n.T, err)
		cids = append(cids, c)
	}
	require.NotEmpty(n.T, cids)
	return cids
}
