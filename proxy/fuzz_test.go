package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnet "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/sets"
	"github.com/ipfsmon/ipfsmon/proxy/wire"
)

// The peers and nodes of a fuzzed proxy. The last of each does not accept what it is
// sent.
var (
	fuzzPeers = []peer.ID{"peer one", "peer two", "peer three", "peer too many"}
	fuzzNodes = []peer.ID{"node one", "node two"}
)

// fuzzSide is a side of a proxy without a network.
type fuzzSide struct {
	t      *testing.T
	stuck  peer.ID
	mu     sync.Mutex
	wanted map[peer.ID]map[cid.Cid]bool // nil: not of interest
}

func (s *fuzzSide) NewMessageSender(_ context.Context, to peer.ID, _ *bsnet.MessageSenderOpts) (bsnet.MessageSender, error) {
	return &fuzzStream{s, to}, nil
}

func (s *fuzzSide) note(from peer.ID, m bsmsg.BitSwapMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted[from] == nil {
		s.wanted[from] = map[cid.Cid]bool{}
	}
	for _, w := range m.Wantlist() {
		s.wanted[from][w.Cid] = true
	}
}

type fuzzStream struct {
	side *fuzzSide
	to   peer.ID
}

func (s *fuzzStream) SupportsHave() bool { return true }
func (s *fuzzStream) Reset() error       { return nil }

func (s *fuzzStream) SendMsg(ctx context.Context, m bsmsg.BitSwapMessage) error {
	if s.to == s.side.stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := m.ToNetV1(io.Discard); err != nil {
		return err
	}
	if s.side.wanted == nil {
		return nil
	}
	s.side.mu.Lock()
	defer s.side.mu.Unlock()
	for _, b := range m.Blocks() {
		if !s.side.wanted[s.to][b.Cid()] {
			s.side.t.Errorf("%s is sent %s, which it never requested", s.to, b.Cid())
		}
		if sum, err := b.Cid().Prefix().Sum(b.RawData()); err != nil || !sum.Equals(b.Cid()) {
			s.side.t.Errorf("%s is sent bytes that do not match %s: %v", s.to, b.Cid(), err)
		}
	}
	return nil
}

// sound checks that everything the engine stores is within its bounds, and that its sums
// match what they add up.
func sound(t *testing.T, e *engine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	require.LessOrEqual(t, len(e.ups), e.cfg.MaxUpstreams)
	total := 0
	for _, u := range e.ups {
		total += len(u.wants)
		require.LessOrEqual(t, len(u.wants), e.cfg.MaxWants)
		require.LessOrEqual(t, len(u.waiting), len(u.wants))
		reserved := 0
		for c, w := range u.wants {
			require.Equal(t, c, w.cid)
			require.LessOrEqual(t, c.ByteLen(), maxCID)
			reserved += w.reserved
		}
		require.Equal(t, reserved, u.reserved)
		queued := 0
		for i := range u.box.items {
			if b := u.box.items[i].block; b != nil {
				queued += len(b.RawData())
			}
		}
		require.Equal(t, queued+u.box.sending, u.box.bytes)
		require.LessOrEqual(t, u.box.bytes, 2*e.cfg.QueueBytes+maxFuzzBlock)
		require.LessOrEqual(t, len(u.box.items), 4*e.cfg.MaxWants)
	}
	require.Equal(t, total, e.total)
	ahead := 0
	for _, x := range e.wants {
		ahead += sets.Bit(x.ahead != nil)
	}
	require.Equal(t, ahead, e.ahead)
	require.LessOrEqual(t, len(e.wants), total+ahead)
	require.LessOrEqual(t, ahead, e.cache.max/firstSize/2)
	require.LessOrEqual(t, len(e.family.children), maxChildren)
	ledger, open := map[*downstream]int{}, map[*downstream]int{}
	for c, x := range e.wants {
		require.Equal(t, c, x.cid)
		require.LessOrEqual(t, len(x.asks), len(e.downs))
		for _, w := range x.waiters {
			require.Same(t, w, w.up.wants[c])
		}
		for _, a := range x.asks {
			ledger[a.down] += sets.Bit(a.inLedger)
			open[a.down] += sets.Bit(a.state == asked || a.state == overdue)
		}
	}
	for _, d := range e.downs {
		require.Equal(t, ledger[d], d.ledger, d.addr.name)
		require.Equal(t, open[d], d.open, d.addr.name)
		require.LessOrEqual(t, d.ledger, window)
		require.LessOrEqual(t, len(d.backlog), 2*(minPrune+total))
		require.LessOrEqual(t, len(d.box.items), maxUnsent+4*(window+total))
		require.LessOrEqual(t, len(d.past.ring), maxLateCIDs)
		require.LessOrEqual(t, len(e.reverse.wishes[d]), maxWishes)
	}
	require.LessOrEqual(t, len(e.due), 2*(minPrune+total*len(e.downs)))
	require.LessOrEqual(t, e.cache.bytes, e.cache.max)
	require.LessOrEqual(t, len(e.reverse.wants), maxReverse)
}

// maxFuzzBlock is the length of the longest block in a fuzzed message.
const maxFuzzBlock = 64 << 10

// fuzzStep is one step: what happens, with which peer or node, and what that one sends.
func fuzzStep(what, who byte, messages ...bsmsg.BitSwapMessage) []byte {
	var body bytes.Buffer
	for _, m := range messages {
		if err := m.ToNetV1(&body); err != nil {
			panic(err)
		}
	}
	out := binary.BigEndian.AppendUint16([]byte{what, who}, uint16(body.Len()))
	return append(out, body.Bytes()...)
}

// FuzzPeers: peers and nodes send anything, connect and disconnect. Nothing panics,
// memory stays bounded, the sums hold, and a peer receives the bytes of what it requested
// and nothing else.
func FuzzPeers(f *testing.F) {
	var all []blocks.Block
	var keys []cid.Cid
	for i := range 8 {
		b := newBlock(f, bytes.Repeat([]byte{byte(i)}, 300*i))
		if i%2 == 0 {
			b = blocks.NewBlock(b.RawData())
		}
		all, keys = append(all, b), append(keys, b.Cid())
	}
	cancel, answer, lies := bsmsg.New(false), bsmsg.New(false), bsmsg.New(true)
	for i, b := range all {
		cancel.Cancel(b.Cid())
		answer.AddBlock(b)
		if i%2 == 0 {
			lies.AddHave(b.Cid())
		} else {
			lies.AddDontHave(b.Cid())
		}
	}
	asks, looks := wantMsg(false, wantBlock, keys...), wantMsg(false, wantHave, keys...)
	join := func(steps ...[]byte) []byte { return bytes.Join(steps, nil) }
	f.Add(join(fuzzStep(0, 0, asks), fuzzStep(1, 0, answer), fuzzStep(0, 1, asks), fuzzStep(0, 2, looks, asks)))
	f.Add(join(fuzzStep(0, 0, looks), fuzzStep(1, 0, lies), fuzzStep(1, 1, lies), fuzzStep(2, 0), fuzzStep(1, 0, answer)))
	f.Add(join(fuzzStep(0, 2, asks), fuzzStep(0, 2, cancel), fuzzStep(0, 3, asks), fuzzStep(5, 0), fuzzStep(1, 1, answer), fuzzStep(6, 0)))
	f.Add(join(fuzzStep(0, 0, asks, cancel, asks), fuzzStep(3, 0), fuzzStep(7, 0), fuzzStep(4, 0), fuzzStep(0, 1, lies, answer)))
	f.Add([]byte{0, 0, 0, 3, 2, 0xff, 0xff, 1, 1, 0, 1, 0})
	// A file that is read in order: the proxy reads ahead.
	leaves := newBlocks(f, 40, 100)
	node := new(merkledag.ProtoNode)
	for _, b := range leaves {
		if err := node.AddRawLink("", &format.Link{Cid: b.Cid(), Size: 100}); err != nil {
			f.Fatal(err)
		}
	}
	root := bsmsg.New(false)
	root.AddBlock(node)
	read := join(fuzzStep(0, 0, wantMsg(false, wantBlock, node.Cid())), fuzzStep(1, 0, root), fuzzStep(1, 1, root))
	for i := range 6 {
		got := bsmsg.New(false)
		got.AddBlock(leaves[i])
		read = append(read, join(fuzzStep(0, 0, wantMsg(false, wantBlock, leaves[i].Cid())), fuzzStep(1, 0, got), fuzzStep(1, 1, got))...)
	}
	f.Add(read)
	f.Add(append(read, join(fuzzStep(2, 0), fuzzStep(4, 0), fuzzStep(5, 1), fuzzStep(3, 0))...))

	f.Fuzz(func(t *testing.T, script []byte) {
		s := &settings{Config: Config{Balance: ByCID, Fallback: time.Second, MaxUpstreams: 3, MaxWants: 64, QueueBytes: 2048, CacheBytes: 8 << 20,
			Logger: slog.New(slog.DiscardHandler)}}
		for _, id := range fuzzNodes {
			s.downs = append(s.downs, &downstreamAddr{name: string(id)})
		}
		up := &fuzzSide{t: t, stuck: fuzzPeers[2], wanted: map[peer.ID]map[cid.Cid]bool{}}
		down := &fuzzSide{t: t, stuck: fuzzNodes[1]}
		p := &Proxy{cfg: s, engine: newEngine(s, up, down)}
		e := p.engine
		defer e.close()
		for i, d := range e.downs {
			e.nodeConnected(d, fuzzNodes[i])
		}
		now := time.Now()
		for len(script) >= 4 {
			what, who, n := script[0], int(script[1]), int(binary.BigEndian.Uint16(script[2:]))
			body := script[4:]
			n = min(n, len(body))
			body, script = body[:n], body[n:]
			from, node := fuzzPeers[who%len(fuzzPeers)], e.downs[who%len(e.downs)]
			switch what % 8 {
			case 0, 1:
				in := wire.NewReader(bytes.NewReader(body))
				for {
					m, err := in.Next()
					if err != nil {
						break
					}
					if what%8 == 0 {
						up.note(from, m)
						(*upSide)(p).ReceiveMessage(t.Context(), from, m)
					} else {
						(*downSide)(p).ReceiveMessage(t.Context(), fuzzNodes[who%len(fuzzNodes)], m)
					}
				}
			case 2:
				now = now.Add(2 * time.Second)
				e.tick(now)
			case 3:
				e.retry()
			case 4:
				e.peerGone(from)
			case 5:
				e.nodeGone(node)
			case 6:
				e.nodeConnected(node, fuzzNodes[who%len(fuzzNodes)])
			case 7:
				p.Sample(time.Second)
			}
			sound(t, e)
		}
	})
}

// TestWantsThatComeAndGo: a peer wants and cancels, and requests again and again without
// reading an answer, while a node reads nothing. Memory stays bounded.
func TestWantsThatComeAndGo(t *testing.T) {
	s := &settings{Config: Config{Balance: ByCID, Fallback: time.Hour, MaxUpstreams: 3, MaxWants: 256, QueueBytes: 1 << 20, CacheBytes: 1 << 20,
		Logger: slog.New(slog.DiscardHandler)}, downs: []*downstreamAddr{{name: "stuck"}}}
	up, down := &fuzzSide{t: t, stuck: fuzzPeers[2]}, &fuzzSide{t: t, stuck: fuzzNodes[1]}
	e := newEngine(s, up, down)
	defer e.close()
	e.nodeConnected(e.downs[0], fuzzNodes[1])
	all := newBlocks(t, 200, 32)
	for range 500 {
		var on, off []entry
		for _, b := range all {
			on, off = append(on, entry{cid: b.Cid(), block: true, dontHave: true}), append(off, entry{cid: b.Cid(), cancel: true})
		}
		e.wantlist(fuzzPeers[0], false, on)
		e.wantlist(fuzzPeers[0], false, off)
		sound(t, e)
	}
	e.nodeGone(e.downs[0]) // every want is now answered at once: there is no node
	for range 500 {
		var on []entry
		for _, b := range all {
			on = append(on, entry{cid: b.Cid(), dontHave: true})
		}
		e.wantlist(fuzzPeers[2], false, on)
		sound(t, e)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	require.NotZero(t, e.n.overflow)
	require.LessOrEqual(t, len(e.due), 2*minPrune)
}

var _ sender = (*fuzzSide)(nil)
