package event

import "math/bits"

// VarintSize returns the bytes of a protobuf varint.
func VarintSize(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

// EntrySize returns the bytes of the body of one entry of a wantlist on the
// wire, whose CID has cidBytes bytes.
func EntrySize(cidBytes int, priority, wantType int32, cancel, sendDontHave bool) int {
	n := 1 + VarintSize(uint64(cidBytes)) + cidBytes
	if priority != 0 {
		n += 1 + VarintSize(uint64(int64(priority)))
	}
	if cancel {
		n += 2
	}
	if wantType != 0 {
		n += 1 + VarintSize(uint64(int64(wantType)))
	}
	if sendDontHave {
		n += 2
	}
	return n
}

// part returns the bytes of a part of a message with its tag and its length.
func part(body int) int { return 1 + VarintSize(uint64(body)) + body }

// WireBytes returns the bytes of a message on the wire: WireSize where it is
// known, else what Bitswap 1.2 writes for the event's entries. That is exact for a
// message of boxo's over libp2p with nothing in Truncated and no OversizeCID. It
// is too low by the entries left out, and for HTTP it does not include the headers.
func (e *Event) WireBytes() int {
	if e.WireSize > 0 {
		return int(e.WireSize)
	}
	list := 0
	for i := range e.Wants {
		w := &e.Wants[i]
		list += part(EntrySize(w.CID.ByteLen(), w.Priority, int32(w.Type), w.Cancel, w.SendDontHave))
	}
	if e.Full {
		list += 2
	}
	n := part(list)
	for i := range e.Blocks {
		b := &e.Blocks[i]
		data := int(max(b.Size, 0))
		body := part(prefixBytes(b))
		if data > 0 {
			body += part(data)
		}
		n += part(body)
	}
	for i := range e.Presences {
		p := &e.Presences[i]
		body := part(p.CID.ByteLen())
		if p.Type != 0 {
			body += 1 + VarintSize(uint64(int64(p.Type)))
		}
		n += part(body)
	}
	if e.PendingBytes != 0 {
		n += 1 + VarintSize(uint64(int64(e.PendingBytes)))
	}
	return VarintSize(uint64(n)) + n
}

// prefixBytes returns the bytes of a CID's prefix, which a message has in place of
// a block's CID: version, codec, hash function and length of the hash.
func prefixBytes(b *Block) int {
	if !b.CID.Defined() {
		return 0
	}
	p := b.CID.Prefix()
	return VarintSize(p.Version) + VarintSize(p.Codec) + VarintSize(p.MhType) + VarintSize(uint64(p.MhLength))
}
