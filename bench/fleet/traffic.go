package main

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/fleet/unify"
)

// monitors are the names of the monitors.
var monitors = []string{"de1", "us1", "sg1"}

// entriesPerMessage is how many entries a message has.
const entriesPerMessage = 4

// begin is when the traffic begins.
var begin = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixNano()

func peerID(n int) peer.ID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("peer"), uint64(n)))
	return peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, sum[:]...)) // an Ed25519 key, in the identity hash
}

func contentID(n int) cid.Cid {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("content"), uint64(n)))
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // not for this hash
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// message is one of a peer, with entries for CIDs that content numbers.
func message(monitor, from int, at int64, content func(k int) int) unify.Event {
	e := unify.Event{Time: at, Monitor: monitor, Peer: peerID(from), Address: "/ip4/192.0.2.7/tcp/4001"}
	for k := range entriesPerMessage {
		e.Wants = append(e.Wants, unify.Want{CID: contentID(content(k)), Priority: 1 << 30, Type: unify.WantHave})
	}
	return e
}

// traffic is what the monitors see of peers that send a message to all of them,
// some milliseconds apart, and repeat a fifth of them 30 s later.
func traffic(peers, rate, seconds int) (events []unify.Event) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 0
	for i := range rate * seconds {
		at := begin + int64(i)*int64(time.Second)/int64(rate)
		e := message(0, r.IntN(peers), at, func(int) int { n++; return n })
		for m := range monitors {
			e.Monitor, e.Time = m, at+r.Int64N(int64(50*time.Millisecond))
			events = append(events, e)
			if i%5 == 0 {
				e.Time += 30 * int64(time.Second)
				events = append(events, e)
			}
		}
	}
	slices.SortStableFunc(events, func(a, b unify.Event) int { return int(a.Time - b.Time) })
	seqs := make([]uint64, len(monitors))
	for i := range events {
		seqs[events[i].Monitor]++
		events[i].Seq = seqs[events[i].Monitor]
	}
	return events
}

func entriesOf(events []unify.Event) (n int) {
	for i := range events {
		n += len(events[i].Wants)
	}
	return n
}

// feed unifies events that are in order.
func feed(u *unify.Unifier, events []unify.Event) {
	for part := range slices.Chunk(events, 256) {
		u.Push(part)
		u.Advance(part[len(part)-1].Time)
	}
	u.Flush()
}
