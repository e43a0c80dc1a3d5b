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

// How a message is filled: at most so many entries, and blocks until their total is so many
// bytes. A large block is sent alone, so that the other side can process it while the next one
// is in transit.
const (
	maxEntries  = 512
	enoughBytes = 128 << 10
)

// lanes is over how many streams large blocks in a queue are distributed. A peer reads a stream
// with one goroutine, which verifies a block before it reads the next.
const lanes = 3

// The timeout of sending a message: a peer that does not read it in time counts as gone.
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
	again    bool // a want that was sent to the node before and that it may still keep
	block    blocks.Block
}

// outbox is the queue of items for one peer or node. The engine's lock guards it; at most one
// goroutine sends, and none while it is empty.
type outbox struct {
	to      peer.ID
	down    *downstream // whose it is; nil: a peer's
	items   []item
	bytes   int // of the blocks, including those being sent
	sending int // bytes of the message being sent
	running bool
	pending bool // in engine.ready
	era     int  // changes when everything is dropped
	streams [lanes]bsnet.MessageSender
	lane    int // of the last block
	cancel  context.CancelFunc
}

// post appends an item.
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

// drop empties the box and aborts sending: the other side is gone.
func (b *outbox) drop() {
	b.items, b.bytes, b.streams = nil, b.sending, [lanes]bsnet.MessageSender{}
	b.era++
	if b.cancel != nil {
		b.cancel()
	}
}

// start starts a goroutine that sends the items. The caller holds the lock.
func (e *engine) start(b *outbox) {
	b.pending = false
	if b.running || len(b.items) == 0 || e.closed {
		return
	}
	b.running = true
	e.boxes.Go(func() { e.empty(b) })
}

// empty sends until the box is empty.
func (e *engine) empty(b *outbox) {
	msg := bsmsg.New(false)
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() { // with the lock held
		if p := recover(); p != nil {
			e.guard.Caught(p, "proxy: send to a peer or a node")
			b.running = false
			_ = e.guard.Call("proxy: drop a peer or a node", func() error { e.sent(b, errPanic); return nil })
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
		if size >= enoughBytes && len(b.items) > 0 { // more follows: let other goroutines run meanwhile
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
		if err != nil { // without this stream the others are useless
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

// fill adds as many items to a message as fit, and returns how many and the bytes of the
// blocks.
//
// No message makes kubo exceed its limit: kubo adds a message's wants before it applies the
// cancels, and counts a repeated want that waits for its answer twice. So a message has at most
// slack cancels before a want, including wants sent again.
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
			// One message cannot both want and cancel a CID.
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

// transmit sends a message on the peer's stream, which it opens if necessary. It never dials: a
// peer that is not connected is gone.
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

// sent counts a message and starts the peer's next wants. A peer that did not read it is
// dropped with all its wants; a node is reconnected.
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
		e.log.Debug("proxy: a peer does not read its messages", "peer", b.to, "err", err)
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
