package capture

import (
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/ipfsmon/ipfsmon/event"
)

// dhtMessage is what is read of one message of the DHT's protocol.
type dhtMessage struct {
	kind              uint32
	key               []byte // its beginning, at most event.MaxDHTKeyBytes; valid until the next message
	keyBytes          uint64
	closer, providers int // entries of the two lists of peers
}

// whole reports whether key is the whole key.
func (m *dhtMessage) whole() bool { return m.keyBytes == uint64(len(m.key)) }

// Fields of dht.pb.Message.
const (
	dhtFieldType      = 1
	dhtFieldKey       = 2
	dhtFieldCloser    = 8
	dhtFieldProviders = 9
)

// What dhtReader reads next.
const (
	atLength uint8 = iota // of a message
	atTag
	atVarint
	atSize // of a field's body
	atBody
)

// dhtReader follows one direction of a stream of the DHT's protocol: protobuf
// messages, each with its length as a varint before it. It sees each byte once,
// as the stream carries it, and keeps nothing but a dhtMessage, so that a message
// of megabytes costs no memory. What is not protobuf is passed over until the
// message ends; the DHT resets such a stream.
type dhtReader struct {
	state  uint8
	broken bool // a length that no message has: nothing is read any more
	shift  uint
	value  uint64 // of the varint at hand
	left   uint64 // bytes of the message
	field  uint64
	body   uint64 // bytes of the field, at most left
	msg    dhtMessage
}

// read reads up to the end of a message. It returns the bytes behind it, and
// whether msg is whole now.
func (r *dhtReader) read(b []byte) (rest []byte, whole bool) {
	for len(b) > 0 && !r.broken {
		if r.state == atBody {
			n := int(min(r.body, uint64(len(b))))
			if r.field == dhtFieldKey {
				room := event.MaxDHTKeyBytes - len(r.msg.key)
				r.msg.key = append(r.msg.key, b[:min(n, room)]...)
			}
			r.left -= uint64(n)
			r.skip(r.body-uint64(n), r.field)
			b = b[n:]
		} else {
			c := b[0]
			b = b[1:]
			if r.state != atLength {
				r.left--
			}
			r.value |= uint64(c&0x7f) << r.shift
			r.shift += 7
			switch {
			case c < 0x80:
				v := r.value
				r.value, r.shift = 0, 0
				r.number(v)
			case r.shift > 63:
				r.value, r.shift = 0, 0
				r.bad()
			}
		}
		if r.left == 0 && r.state != atLength {
			r.state, r.value, r.shift = atLength, 0, 0
			return b, true
		}
	}
	return nil, false
}

// number takes a varint.
func (r *dhtReader) number(v uint64) {
	switch r.state {
	case atLength:
		if v > network.MessageSizeMax {
			r.broken = true
			return
		}
		r.msg = dhtMessage{key: r.msg.key[:0]}
		r.left, r.state = v, atTag
	case atTag:
		r.field = v >> 3
		switch v & 7 {
		case 0:
			r.state = atVarint
		case 1:
			r.skip(8, 0)
		case 2:
			r.state = atSize
		case 5:
			r.skip(4, 0)
		default:
			r.bad()
		}
	case atVarint:
		if r.field == dhtFieldType {
			r.msg.kind = uint32(v) // an enum: protobuf drops the rest
		}
		r.state = atTag
	case atSize:
		switch r.field {
		case dhtFieldKey:
			r.msg.key, r.msg.keyBytes = r.msg.key[:0], v
		case dhtFieldCloser:
			r.msg.closer++
		case dhtFieldProviders:
			r.msg.providers++
		}
		r.skip(v, r.field)
	}
}

// skip reads a body of n bytes next.
func (r *dhtReader) skip(n, field uint64) {
	switch {
	case n > r.left:
		r.bad()
	case n == 0:
		r.state = atTag
	default:
		r.state, r.body, r.field = atBody, n, field
	}
}

// bad passes over the rest of the message.
func (r *dhtReader) bad() {
	if r.state == atLength {
		r.broken = true
		return
	}
	r.state, r.body, r.field = atBody, r.left, 0
}
