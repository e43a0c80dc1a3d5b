package test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
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

// addFile gives the node so many random bytes and the CIDs of their blocks.
func addFile(n *node, size int) (cids []cid.Cid) {
	n.t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	file := filepath.Join(n.home, "file")
	require.NoError(n.t, os.WriteFile(file, data, 0o600))
	root := n.ipfs("add", "-q", "--pin=false", file)
	for _, s := range strings.Fields(n.ipfs("refs", "-r", "--unique", root)) {
		c, err := cid.Decode(s)
		require.NoError(n.t, err)
		cids = append(cids, c)
	}
	require.NotEmpty(n.t, cids)
	return cids
}

// address returns the multiaddr of a node's TCP listener, with its peer ID.
func (n *node) address() string {
	n.t.Helper()
	for _, a := range strings.Fields(n.ipfs("id", "-f", "<addrs>")) {
		if strings.Contains(a, "/tcp/") && strings.Contains(a, "127.0.0.1") {
			return a
		}
	}
	require.FailNow(n.t, "the node has no TCP address")
	return ""
}

// figures reads all of a node's metrics, summed over their labels.
func (n *node) figures() (map[string]float64, error) {
	api := n.find(`RPC API server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`)
	resp, err := http.Get("http://127.0.0.1:" + api + "/debug/metrics/prometheus")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		end := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || end < 0 {
			continue
		}
		name, _, _ := strings.Cut(line[:end], "{")
		v, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		out[name] += v
	}
	return out, lines.Err()
}

// residentMiB is the memory of a process (proc(5), status).
func residentMiB(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // it has ended
	}
	for line := range strings.Lines(string(data)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}
