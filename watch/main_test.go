package watch

import (
	"context"
	"log/slog"
	"sync"
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
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
)

// libp2p's bandwidth meters have one sweeper for the process, which never ends; the two of
// quic-go and OpenCensus are started by an init.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run"),
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
	)
}

// startNode runs an isolated node until the test's end.
func startNode(t testing.TB, cfg Config) *Node {
	t.Helper()
	n := newNode(t, cfg)
	n.Start()
	return n
}

func newNode(t testing.TB, cfg Config) *Node {
	t.Helper()
	b := bus.New(bus.Config{})
	cfg.Capture, cfg.Isolated = capture.New(b, nil), true
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	n, err := New(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, n.Close())
		cfg.Capture.Close()
		b.Close()
		require.Zero(t, n.Panics()+cfg.Capture.Panics())
	})
	return n
}

// newPeer makes a plain libp2p host, connected to a node.
func newPeer(t testing.TB, n *Node, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{})}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	require.NoError(t, h.Connect(t.Context(), peer.AddrInfo{ID: n.Host().ID(), Addrs: n.Host().Addrs()}))
	return h
}

// answers collects what a node says to a peer over Bitswap.
type answers struct {
	mu        sync.Mutex
	presences map[cid.Cid]pb.Message_BlockPresenceType
	blocks    map[cid.Cid][]byte
}

func listen(h host.Host) *answers {
	a := &answers{presences: map[cid.Cid]pb.Message_BlockPresenceType{}, blocks: map[cid.Cid][]byte{}}
	h.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) {
		defer s.Close()
		in := msgio.NewVarintReaderSize(s, network.MessageSizeMax)
		for {
			m, _, err := bsmsg.FromMsgReader(in)
			if err != nil {
				return
			}
			a.mu.Lock()
			for _, p := range m.BlockPresences() {
				a.presences[p.Cid] = p.Type
			}
			for _, b := range m.Blocks() {
				a.blocks[b.Cid()] = b.RawData()
			}
			a.mu.Unlock()
		}
	})
	return a
}

func (a *answers) get(c cid.Cid) (presence pb.Message_BlockPresenceType, said bool, block []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	presence, said = a.presences[c]
	return presence, said, a.blocks[c]
}

// ask sends a node one message.
func ask(t testing.TB, h host.Host, to *Node, build func(bsmsg.BitSwapMessage)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := h.NewStream(ctx, to.Host().ID(), bsnet.ProtocolBitswap)
	require.NoError(t, err)
	defer s.Close()
	m := bsmsg.New(false)
	build(m)
	require.NoError(t, m.ToNetV1(s))
}

// logged keeps log lines.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.lines = append(l.lines, line)
	return nil
}
func (l *logged) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logged) WithGroup(string) slog.Handler      { return l }

func (l *logged) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// lonely makes a plain host that is connected to nobody.
func lonely(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { h.Close() })
	return h
}
