// Package wire reads and writes Bitswap messages without copying their blocks, for a program
// that forwards them.
//
// In: streams of Bitswap, messages. Out: messages, bytes. Promised: it reads and writes the
// same as boxo (FuzzMessage compares); a block is read into memory that it keeps and written
// from there; a message longer than libp2p's limit is an error. It has no state beyond a
// message.
package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	pool "github.com/libp2p/go-buffer-pool"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// boxo copies each block twice more in a proxy. Everything but blocks is left to boxo. The
// format is that of boxo's message.proto.

// Fields of Message and of Message.Block.
const (
	fieldWantlist    protowire.Number = 1
	fieldBlocks      protowire.Number = 2 // Bitswap 1.0: CIDv0 of the bytes
	fieldPayload     protowire.Number = 3
	fieldBlockPrefix protowire.Number = 1
	fieldBlockData   protowire.Number = 2
)

// Protocols are the names of Bitswap, of all versions.
var Protocols = []protocol.ID{bsnet.ProtocolBitswap, bsnet.ProtocolBitswapOneOne, bsnet.ProtocolBitswapOneZero, bsnet.ProtocolBitswapNoVers}

// closeTimeout bounds the closing of a stream.
const closeTimeout = 10 * time.Second

// Listen passes the messages of all Bitswap streams to r. It replaces boxo's own handler, which
// must be set before: Start of boxo's network does that.
func Listen(h host.Host, r bsnetwork.Receiver, seen *bsnetwork.ConnectEventManager, g *guard.Guard) {
	handle := func(s network.Stream) {
		defer func() {
			if p := recover(); p != nil {
				g.Caught(p, "proxy: read a stream of Bitswap")
				_ = s.Reset() // it is of no use any more
			}
		}()
		from := s.Conn().RemotePeer()
		in := NewReader(s)
		for {
			m, err := in.Next()
			if err != nil {
				if err != io.EOF { // an error in a CID may wrap io.EOF
					_ = s.Reset() // it is of no use any more
					r.ReceiveError(err)
					return
				}
				_ = s.SetReadDeadline(time.Now().Add(closeTimeout))
				_ = s.Close() // the other side has ended it
				return
			}
			seen.OnMessage(from)
			r.ReceiveMessage(context.Background(), from, m)
		}
	}
	for _, p := range Protocols {
		h.SetStreamHandler(p, handle)
	}
}

// Reader reads length-prefixed messages.
type Reader struct {
	in    msgio.Reader
	small []byte // for messages without a large block
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: msgio.NewVarintReaderSize(r, network.MessageSizeMax)}
}

// smallMessage is the size up to which a message is read into a reused buffer.
const smallMessage = 4096

// Next returns the next message; io.EOF at the end between two of them.
func (m *Reader) Next() (bsmsg.BitSwapMessage, error) {
	n, err := m.in.NextMsgLen()
	switch {
	case err != nil:
		return nil, err
	case n < 0 || n > network.MessageSizeMax:
		return nil, fmt.Errorf("a message of %d bytes: want at most %d", n, network.MessageSizeMax)
	}
	buf := m.small
	if n > smallMessage {
		buf = make([]byte, n)
	} else if buf == nil {
		buf = make([]byte, smallMessage)
		m.small = buf
	}
	buf = buf[:n]
	if _, err := m.in.Read(buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return decode(buf)
}

// decode decodes a message. Blocks that fill most of it alias b, which must not be reused if it
// is longer than smallMessage.
func decode(b []byte) (bsmsg.BitSwapMessage, error) {
	var rest []byte // all fields but those of blocks
	var blks []blocks.Block
	for at := 0; at < len(b); {
		num, kind, n := protowire.ConsumeTag(b[at:])
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(num, kind, b[at+n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field := b[at : at+n+size]
		at += n + size
		if kind != protowire.BytesType || num != fieldBlocks && num != fieldPayload {
			rest = append(rest, field...)
			continue
		}
		value, _ := protowire.ConsumeBytes(field[n:])
		blk, err := decodeBlock(num, value, len(b))
		if err != nil {
			return nil, err
		}
		blks = append(blks, blk)
	}
	var m bsmsg.BitSwapMessage = bsmsg.New(false)
	if len(rest) > 0 {
		var err error
		in := io.MultiReader(bytes.NewReader(binary.AppendUvarint(nil, uint64(len(rest)))), bytes.NewReader(rest))
		if m, _, err = bsmsg.FromNet(in); err != nil {
			return nil, err
		}
	}
	for _, blk := range blks {
		m.AddBlock(blk)
	}
	return m, nil
}

// decodeBlock decodes a block from a field of a message of so many bytes. Its CID is computed
// from its bytes.
func decodeBlock(num protowire.Number, value []byte, whole int) (blocks.Block, error) {
	if num == fieldBlocks {
		return blocks.NewBlock(ownBytes(value, whole)), nil
	}
	var prefix, data []byte
	for len(value) > 0 {
		num, kind, n := protowire.ConsumeTag(value)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(num, kind, value[n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		if kind == protowire.BytesType && (num == fieldBlockPrefix || num == fieldBlockData) {
			x, _ := protowire.ConsumeBytes(value[n:])
			if num == fieldBlockPrefix {
				prefix = x
			} else {
				data = x
			}
		}
		value = value[n+size:]
	}
	p, err := cid.PrefixFromBytes(prefix)
	if err != nil {
		return nil, err
	}
	return bsmsg.NewWantlistBlock(ownBytes(data, whole), cid.Undef, p)
}

// ownBytes copies a block's bytes unless they are most of their message; a small alias would
// keep the whole message in memory.
func ownBytes(data []byte, whole int) []byte {
	if whole <= smallMessage || 2*len(data) < whole {
		return append(make([]byte, 0, len(data)), data...)
	}
	return data[:len(data):len(data)]
}

// blockMessage is a message with a single block, which it writes without copying the block.
type blockMessage struct {
	bsmsg.BitSwapMessage
	block blocks.Block
}

// NoCopy returns a message that writes the same bytes as m, without a copy of
// its block if it has one large block and nothing else.
func NoCopy(m bsmsg.BitSwapMessage) bsmsg.BitSwapMessage {
	if b := m.Blocks(); len(b) == 1 && len(b[0].RawData()) > smallMessage && len(m.BlockPresences()) == 0 && len(m.Wantlist()) == 0 {
		return &blockMessage{m, b[0]}
	}
	return m
}

// firstWrite is the size of the first write of a message: one yamux frame, so that the bytes
// before the block do not get their own frame.
const firstWrite = 64<<10 - 12

// maxPreamble bounds the bytes before a block.
const maxPreamble = 64

// ToNetV1 writes the length-prefixed message in the format of Bitswap 1.1 and 1.2.
func (m *blockMessage) ToNetV1(w io.Writer) error {
	data := m.block.RawData()
	prefix := m.block.Cid().Prefix().Bytes()
	inner := protowire.SizeTag(fieldBlockPrefix) + protowire.SizeBytes(len(prefix)) +
		protowire.SizeTag(fieldBlockData) + protowire.SizeBytes(len(data))
	size := protowire.SizeTag(fieldWantlist) + protowire.SizeBytes(0) + protowire.SizeTag(fieldPayload) + protowire.SizeBytes(inner)
	first := min(firstWrite, len(data)+maxPreamble)
	whole := pool.Get(first)
	defer pool.Put(whole)
	buf := protowire.AppendVarint(whole[:0], uint64(size))
	buf = protowire.AppendTag(buf, fieldWantlist, protowire.BytesType) // boxo writes an empty one too
	buf = protowire.AppendBytes(buf, nil)
	buf = protowire.AppendTag(buf, fieldPayload, protowire.BytesType)
	buf = protowire.AppendVarint(buf, uint64(inner))
	buf = protowire.AppendTag(buf, fieldBlockPrefix, protowire.BytesType)
	buf = protowire.AppendBytes(buf, prefix)
	buf = protowire.AppendTag(buf, fieldBlockData, protowire.BytesType)
	buf = protowire.AppendVarint(buf, uint64(len(data)))
	n := min(len(data), first-len(buf))
	if _, err := w.Write(append(buf, data[:n]...)); err != nil || n == len(data) {
		return err
	}
	_, err := w.Write(data[n:])
	return err
}

// Readable returns a message without entries that its receiver does not support: Bitswap before
// 1.2 has neither HAVE nor DONT_HAVE.
func Readable(msg bsmsg.BitSwapMessage, to bsnetwork.MessageSender) bsmsg.BitSwapMessage {
	if len(msg.BlockPresences()) == 0 || to.SupportsHave() {
		return msg
	}
	out := bsmsg.New(msg.Full())
	for _, b := range msg.Blocks() {
		out.AddBlock(b)
	}
	for _, w := range msg.Wantlist() {
		if w.Cancel {
			out.Cancel(w.Cid)
		} else {
			out.AddEntry(w.Cid, w.Priority, w.WantType, w.SendDontHave)
		}
	}
	return out
}
