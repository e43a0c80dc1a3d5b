package watch

import (
	"bufio"
	"context"
	"io"
	"sync"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// readAhead is how much is read from a Bitswap stream at once, in bytes: most messages whole.
// boxo reads the length before a message byte by byte, and each read of a stream passes the
// muxer and all counters.
const readAhead = 512

// maxSmallWants is how many entries a message that is decoded here may have.
const maxSmallWants = 32

// closeTimeout bounds the closing of a stream.
const closeTimeout = 10 * time.Second

// bitswapProtocols are the names of Bitswap, of all versions.
var bitswapProtocols = []protocol.ID{bsnet.ProtocolBitswap, bsnet.ProtocolBitswapOneOne, bsnet.ProtocolBitswapOneZero, bsnet.ProtocolBitswapNoVers}

// smallNetwork is boxo's network with its own reader of messages, to which small ones cost less.
type smallNetwork struct {
	bsnetwork.BitSwapNetwork
	guard *guard.Guard
}

// Start starts boxo's network, which sets stream handlers, and replaces these.
func (n *smallNetwork) Start(receivers ...bsnetwork.Receiver) {
	n.BitSwapNetwork.Start(receivers...)
	for _, p := range bitswapProtocols {
		n.Host().SetStreamHandler(p, func(s network.Stream) { n.receive(s, receivers) })
	}
}

// receive passes the messages of a stream on until it ends.
func (n *smallNetwork) receive(s network.Stream, to []bsnetwork.Receiver) {
	defer func() {
		if p := recover(); p != nil {
			n.guard.Caught(p, "watch: read a stream of Bitswap")
			_ = s.Reset() // it is of no use any more
		}
	}()
	from, in := s.Conn().RemotePeer(), reader{in: bufio.NewReaderSize(s, readAhead)}
	for {
		err := in.next(func(m bsmsg.BitSwapMessage) {
			for _, r := range to {
				r.ReceiveMessage(context.Background(), from, m)
			}
		})
		switch {
		case err == nil:
		case err == io.EOF: // an error in a CID may wrap it
			_ = s.SetReadDeadline(time.Now().Add(closeTimeout))
			_ = s.Close() // the other side has ended it
			return
		default:
			_ = s.Reset() // it is of no use any more
			for _, r := range to {
				r.ReceiveError(err)
			}
			return
		}
	}
}

// reader reads length-prefixed messages.
type reader struct {
	in   *bufio.Reader
	rest msgio.Reader // boxo's, for messages that are not small; nil until there is one
}

// next waits for the next message and passes it to f, which must not keep it; io.EOF at the end
// between two.
func (r *reader) next(f func(bsmsg.BitSwapMessage)) error {
	if b, size := r.peek(); size > 0 {
		m := smallMessages.Get().(*smallMessage)
		defer smallMessages.Put(m)
		if m.decode(b) {
			if _, err := r.in.Discard(size); err != nil {
				return err
			}
			f(m)
			return nil
		}
	}
	if r.rest == nil {
		r.rest = msgio.NewVarintReaderSize(r.in, network.MessageSizeMax)
	}
	m, _, err := bsmsg.FromMsgReader(r.rest)
	if err == nil {
		f(m)
	}
	return err
}

// peek waits for a message and returns it, if it is small, and its length with the prefix; else
// 0. An error comes again when the message is read.
func (r *reader) peek() (message []byte, size int) {
	if _, err := r.in.Peek(1); err != nil {
		return nil, 0
	}
	b, _ := r.in.Peek(r.in.Buffered()) // never fails
	n, prefix := protowire.ConsumeVarint(b)
	if prefix < 0 || n > uint64(readAhead-prefix) {
		return nil, 0
	}
	size = prefix + int(n)
	b, err := r.in.Peek(size)
	if err != nil {
		return nil, 0
	}
	return b[prefix:], size
}

var smallMessages = sync.Pool{New: func() any { return &smallMessage{BitSwapMessage: noMessage} }}

// noMessage has what small messages lack. It is never written to.
var noMessage bsmsg.BitSwapMessage = bsmsg.New(false)

// smallMessage is a message with a short wantlist and nothing else. It is for receivers, which
// read it: only the methods below are its own.
type smallMessage struct {
	bsmsg.BitSwapMessage
	wants   []bsmsg.Entry
	full    bool
	pending int32
}

func (m *smallMessage) Wantlist() []bsmsg.Entry { return append([]bsmsg.Entry(nil), m.wants...) }
func (m *smallMessage) FillWantlist(out []bsmsg.Entry) []bsmsg.Entry {
	return append(out[:0], m.wants...)
}
func (m *smallMessage) Empty() bool         { return len(m.wants) == 0 }
func (m *smallMessage) Full() bool          { return m.full }
func (m *smallMessage) PendingBytes() int32 { return m.pending }

// Empty lists, which cost boxo's message an allocation each.
func (*smallMessage) BlockPresences() []bsmsg.BlockPresence { return nil }

// Fields of boxo's message.proto.
const (
	fieldWantlist     protowire.Number = 1
	fieldPending      protowire.Number = 5
	fieldEntries      protowire.Number = 1
	fieldFull         protowire.Number = 2
	fieldCID          protowire.Number = 1
	fieldPriority     protowire.Number = 2
	fieldCancel       protowire.Number = 3
	fieldWantType     protowire.Number = 4
	fieldSendDontHave protowire.Number = 5
)

// decode reads a message as boxo does, and reports false for one that boxo must read: an invalid
// one, or one with more than a short wantlist.
func (m *smallMessage) decode(b []byte) bool {
	clear(m.wants) // no CID stays longer than until the next message
	m.wants, m.full, m.pending = m.wants[:0], false, 0
	seen := false
	return fields(b, func(num protowire.Number, value []byte, n uint64) bool {
		switch {
		case num == fieldWantlist && value != nil && !seen: // protobuf merges several
			seen = true
			return fields(value, func(num protowire.Number, value []byte, n uint64) bool {
				switch {
				case num == fieldEntries && value != nil && len(m.wants) < maxSmallWants:
					return m.entry(value)
				case num == fieldFull && value == nil:
					m.full = n != 0
					return true
				}
				return false
			})
		case num == fieldPending && value == nil:
			m.pending = int32(n)
			return true
		}
		return false
	})
}

// entry adds an entry of a wantlist.
func (m *smallMessage) entry(b []byte) bool {
	var e bsmsg.Entry
	var id []byte
	if !fields(b, func(num protowire.Number, value []byte, n uint64) bool {
		if (num == fieldCID) != (value != nil) {
			return false
		}
		switch num {
		case fieldCID:
			id = value
		case fieldPriority:
			e.Priority = int32(n)
		case fieldCancel:
			e.Cancel = n != 0
		case fieldWantType:
			e.WantType = pb.Message_Wantlist_WantType(int32(n))
		case fieldSendDontHave:
			e.SendDontHave = n != 0
		default:
			return false
		}
		return true
	}) || len(id) == 0 {
		return false
	}
	var err error
	if e.Cid, err = cid.Cast(id); err != nil {
		return false
	}
	for i := range m.wants {
		if m.wants[i].Cid == e.Cid {
			return false // boxo makes one of both
		}
	}
	m.wants = append(m.wants, e)
	return true
}

// fields calls f for each field of a protobuf message, with its bytes, never nil, or its number,
// until f returns false. It reports whether all were read.
func fields(b []byte, f func(num protowire.Number, value []byte, n uint64) bool) bool {
	for len(b) > 0 {
		num, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return false
		}
		b = b[size:]
		var value []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(b)
		default:
			return false
		}
		if size < 0 || !f(num, value, n) {
			return false
		}
		b = b[size:]
	}
	return true
}
