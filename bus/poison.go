//go:build poison

package bus

import (
	"math"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
)

// lent holds the copies that Next returned to a reader last.
type lent struct{ events []*event.Event }

// lend replaces the events in buf by copies.
func (l *lent) lend(buf []*event.Event) {
	for i, e := range buf {
		buf[i] = e.Clone()
		l.events = append(l.events, buf[i])
	}
}

// takeBack overwrites the copies, as reuse does in a build without the tag.
func (l *lent) takeBack() {
	for _, e := range l.events {
		for i := range e.Wants {
			e.Wants[i] = event.Want{CID: poison, Priority: math.MinInt32, Type: math.MinInt32}
		}
		for i := range e.Presences {
			e.Presences[i] = event.Presence{CID: poison, Type: math.MinInt32}
		}
		for i := range e.Blocks {
			e.Blocks[i] = event.Block{CID: poison, Size: math.MinInt32}
		}
		*e = event.Event{
			Seq: math.MaxUint64, Time: math.MinInt64, Kind: math.MaxUint8, Peer: "poison", Downstream: "poison", Addrs: []event.Text{"poison"},
			Wants: e.Wants, Presences: e.Presences, Blocks: e.Blocks,
		}
	}
	clear(l.events)
	l.events = l.events[:0]
}

// poison is the CIDv1 with codec raw and the identity hash of "poison".
var poison = cid.NewCidV1(cid.Raw, []byte("\x00\x06poison"))
