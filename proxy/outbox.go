package proxy

import (
	"context"
	"errors"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnet "github.com/ipfs/boxo/bitswap/network"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/sets"
	"github.com/ipfsmon/ipfsmon/proxy/wire"
)

// How a message is filled: with so many entries, and blocks until it has so
// many bytes of them. A large block goes alone, so that the other side can work
// on it while the next one is on its way.
const (
	maxEntries  = 512
	enoughBytes = 128 << 10
)

// lanes is how many streams large blocks in a queue go by in turn. A peer reads
// a stream with one goroutine, which checks a block before it reads the next.
const lanes = 3

// How a message is sent: a peer that does not take it within this time is taken
// for one that has gone.
const (
	sendTimeout = 30 * time.Second
	sendRetries = 2
	sendBackoff = 50 * time.Millisecond
)

// sender opens the streams to one side. boxo's network is one.
type sender interface {
	NewMessageSender(context.Context, peer.ID, *bsnet.MessageSenderOpts) (bsnet.MessageSender, error)
}

type itemKind uint8

const (
	itemBlock itemKind = iota
	itemHave
	itemDontHave
	itemWantBlock
	itemWantHave
	itemCancel
)

// item is one thing to send.
type item struct {
	cid      cid.Cid
	what     itemKind
	priority int32
	again    bool // a want that the node has been sent before and may still keep
	block    blocks.Block
}

// outbox is what is to be sent to one peer or node, in order. The engine's lock
// guards it; at most one goroutine sends, and there is none while it is empty.
type outbox struct {
	to      peer.ID
	down    *downstream // whose it is; nil: a peer's
	items   []item
	bytes   int // of the blocks, those being sent among them
	sending int // bytes of the message being sent
	running bool
	pending bool // in engine.ready
	era     int  // changes when all is dropped
	streams [lanes]bsnet.MessageSender
	lane    int // of the last block
	cancel  context.CancelFunc
}

// post puts an item at the end.
func (e *engine) post(b *outbox, x item) {
	if x.block != nil {
		b.bytes += len(x.block.RawData())
	}
	b.items = append(b.items, x)
	if !b.running && !b.pending {
		b.pending = true
		e.ready = append(e.ready, b)
	}
}

// drop empties the box and ends what is being sent: the other side has gone.
func (b *outbox) drop() {
	b.items, b.bytes, b.streams = nil, b.sending, [lanes]bsnet.MessageSender{}
	b.era++
	if b.cancel != nil {
		b.cancel()
	}
}

// start has a goroutine send what is there. The caller holds the lock.
func (e *engine) start(b *outbox) {
	b.pending = false
	if b.running || len(b.items) == 0 || e.closed {
		return
	}
	b.running = true
	e.boxes.Go(func() { e.empty(b) })
}

// empty sends until there is nothing left.
func (e *engine) empty(b *outbox) {
	msg := bsmsg.New(false)
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() { // with the lock held
		if p := recover(); p != nil {
			e.guard.Caught(p, "proxy: send to a peer or a node")
			b.running = false
			_ = e.guard.Call("proxy: give up on a peer or a node", func() error { e.sent(b, errPanic); return nil })
		}
	}()
	for len(b.items) > 0 && !e.closed {
		msg.Reset(false)
		n, size := fill(msg, b.items)
		rest := copy(b.items, b.items[n:])
		clear(b.items[rest:])
		b.items = b.items[:rest]
		b.sending = size
		lane := 0
		if size >= enoughBytes && len(b.items) > 0 { // more follows: others can work on it meanwhile
			b.lane = (b.lane + 1) % lanes
			lane = b.lane
		}
		to, stream, era := b.to, b.streams[lane], b.era
		ctx, cancel := context.WithTimeout(context.Background(), sendTimeout+5*time.Second)
		b.cancel = cancel
		e.mu.Unlock()
		err := e.guard.Call("proxy: send a message", func() (err error) {
			stream, err = e.transmit(ctx, b, to, stream, msg)
			return err
		})
		cancel()
		e.mu.Lock()
		b.bytes -= size
		b.sending = 0
		b.cancel = nil
		if b.era != era {
			continue // to a later connection of the same node, or to nobody
		}
		b.streams[lane] = stream
		if err != nil { // with this one the others are of no use
			lost := b.streams
			b.streams = [lanes]bsnet.MessageSender{}
			e.boxes.Go(func() {
				defer e.guard.Recover("proxy: reset streams")
				for _, s := range lost {
					if s != nil {
						_ = s.Reset() // nobody waits for it
					}
				}
			})
		}
		e.sent(b, err)
	}
	b.running = false
	if cap(b.items) > 64 {
		b.items = nil
	}
	e.flush()
}

var errPanic = errors.New("a panic")

// fill puts items into a message, as many as belong into one, and returns how
// many and the bytes of the blocks.
//
// No message makes kubo exceed what it keeps: it enters a message's wants before
// it takes out what the message cancels, and counts a want that still waits for
// its answer a second time. So at most slack cancels stand before a want of the
// same message, those sent again among them.
func fill(msg bsmsg.BitSwapMessage, items []item) (n, size int) {
	cancels := map[cid.Cid]bool(nil)
	excess := 0
	for n < len(items) && n < maxEntries && size < enoughBytes {
		x := &items[n]
		switch x.what {
		case itemBlock:
			if len(x.block.RawData())+size > enoughBytes && size > 0 {
				return n, size
			}
			msg.AddBlock(x.block)
			size += len(x.block.RawData())
		case itemHave:
			msg.AddHave(x.cid)
		case itemDontHave:
			msg.AddDontHave(x.cid)
		default:
			// One message cannot say both of a CID, want and cancel.
			was, there := cancels[x.cid]
			if there && was != (x.what == itemCancel) || x.what != itemCancel && excess+sets.Bit(x.again) > slack {
				return n, size
			}
			excess += sets.Bit(x.again || x.what == itemCancel)
			if cancels == nil {
				cancels = map[cid.Cid]bool{}
			}
			cancels[x.cid] = x.what == itemCancel
			switch x.what {
			case itemCancel:
				msg.Cancel(x.cid)
			case itemWantHave:
				msg.AddEntry(x.cid, x.priority, pb.Message_Wantlist_Have, true)
			case itemWantBlock:
				msg.AddEntry(x.cid, x.priority, pb.Message_Wantlist_Block, true)
			}
		}
		n++
	}
	return n, size
}

// transmit sends a message on the peer's stream, which is opened if need be. It
// never dials: who is not connected has gone.
func (e *engine) transmit(ctx context.Context, b *outbox, to peer.ID, stream bsnet.MessageSender, msg bsmsg.BitSwapMessage) (bsnet.MessageSender, error) {
	ctx = network.WithNoDial(ctx, "the proxy only answers")
	if stream == nil {
		side := e.up
		if b.down != nil {
			side = e.down
		}
		var err error
		stream, err = side.NewMessageSender(ctx, to, &bsnet.MessageSenderOpts{MaxRetries: sendRetries, SendTimeout: sendTimeout, SendErrorBackoff: sendBackoff})
		if err != nil {
			return nil, err
		}
	}
	side := event.Upstream
	if b.down != nil {
		side = event.Downstream
	}
	if msg = wire.Readable(msg, stream); msg.Empty() {
		return stream, nil
	}
	if t := e.trace[side]; t != nil {
		t.MessageSent(to, msg)
	}
	if err := stream.SendMsg(ctx, wire.NoCopy(msg)); err != nil {
		return nil, errors.Join(err, stream.Reset())
	}
	return stream, nil
}

// sent counts a message and has the peer's next wants begin. A peer that does not
// take it is dropped with all that it wants; a node is reconnected.
func (e *engine) sent(b *outbox, err error) {
	if d := b.down; d != nil {
		if err == nil {
			d.n.sent.Messages++
		} else {
			d.broken = true // the wants of this message are lost
		}
		e.flush()
		return
	}
	u := e.ups[b.to]
	if u == nil || &u.box != b {
		return
	}
	if err != nil {
		e.log.Debug("proxy: a peer does not take its messages", "peer", b.to, "err", err)
		delete(e.ups, b.to)
		u.box.drop()
		for _, w := range u.wants {
			e.remove(w)
		}
		e.reverse.peerGone(e, u)
	} else {
		e.n.sent.Messages++
		e.pump(u)
	}
	e.flush()
}
