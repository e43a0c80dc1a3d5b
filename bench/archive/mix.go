package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
)

var noContext = context.Background()

// The mix is that of RFM16 (probe-lab/network-measurements), seen by a node that is
// asked: of a request a peer sends a WANT_HAVE to all its neighbours, a WANT_BLOCK to
// one in a hundred, and a CANCEL when the block came, which it does in the shares of
// time that RFM16 found. 29 % have no provider: these are asked again after 30 s and
// cancelled after a minute. Messages have one to eight entries.
const (
	mixPeers   = 1000
	mixRate    = 250 // messages with new wants a second
	repeats    = 0.55
	unanswered = 0.29
)

// answeredWithin are RFM16's shares of blocks that came within a time.
var answeredWithin = []struct {
	share float64
	after time.Duration
}{{0.3894, 100 * time.Millisecond}, {0.6188, 150 * time.Millisecond}, {0.7598, 200 * time.Millisecond}, {0.8869, 500 * time.Millisecond},
	{0.9520, time.Second}, {0.9854, 5 * time.Second}, {1, 15 * time.Second}}

// mix makes events. The same seed makes the same ones.
type mix struct {
	r        *rand.Rand
	fresh    bool // each request is of a new CID
	now      int64
	seq      uint64
	entries  int
	distinct int
	priority [mixPeers]int32
	peers    [mixPeers]peer.ID
	later    map[int64][]later // by tenth of a second
	slot     int64
	due      []later
}

// later is a message that follows a request.
type later struct {
	at     int64
	peer   int
	cids   []int
	cancel bool
}

func newMix(fresh bool) *mix {
	m := &mix{r: rand.New(rand.NewPCG(16, 2)), fresh: fresh, now: time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC).UnixNano(), later: map[int64][]later{}}
	for i := range m.peers {
		m.peers[i] = peer.ID(m.hash('p', i))
		m.priority[i] = math.MaxInt32 - int32(m.r.IntN(100_000))
	}
	m.slot = m.now / 1e8
	return m
}

func (m *mix) hash(kind byte, n int) mh.Multihash {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte{kind}, uint64(n)))
	return append(mh.Multihash{mh.SHA2_256, 32}, sum[:]...)
}

// cid returns the nth CID: two thirds dag-pb, a tenth of these of version 0.
func (m *mix) cid(n int) cid.Cid {
	h := m.hash('c', n)
	switch {
	case n%3 == 0:
		return cid.NewCidV1(cid.Raw, h)
	case n%10 == 1:
		return cid.NewCidV0(h)
	}
	return cid.NewCidV1(cid.DagProtobuf, h)
}

// choose returns a CID that is wanted: a new one, or an earlier one, the older the
// more likely, as with Zipf.
func (m *mix) choose() int {
	if m.fresh || m.distinct == 0 || m.r.Float64() >= repeats {
		m.distinct++
		return m.distinct - 1
	}
	return int(math.Exp(m.r.Float64()*math.Log(float64(m.distinct)))) - 1
}

// next returns the next message.
func (m *mix) next() *event.Event {
	for len(m.due) == 0 {
		at := m.now + int64(m.r.ExpFloat64()*1e9/mixRate)
		if slot := at / 1e8; slot > m.slot { // what is due before that comes first
			m.slot++
			m.due = m.later[m.slot]
			delete(m.later, m.slot)
			m.now = max(m.now, m.slot*1e8)
			continue
		}
		m.now = at
		p := int(float64(mixPeers) * m.r.Float64() * m.r.Float64())
		var cids []int
		for range 1 + min(int(m.r.ExpFloat64()), 7) {
			cids = append(cids, m.choose())
		}
		if m.r.Float64() < unanswered {
			m.follow(30*time.Second, later{peer: p, cids: cids})
			m.follow(60*time.Second, later{peer: p, cids: cids, cancel: true})
		} else {
			m.follow(m.answered(), later{peer: p, cids: cids, cancel: true})
		}
		return m.message(p, cids, false)
	}
	d := m.due[0]
	m.due = m.due[1:]
	m.now += int64(m.r.IntN(200_000))
	return m.message(d.peer, d.cids, d.cancel)
}

func (m *mix) follow(after time.Duration, l later) {
	slot := (m.now + int64(after)) / 1e8
	m.later[max(slot, m.slot+1)] = append(m.later[max(slot, m.slot+1)], l)
}

func (m *mix) answered() time.Duration {
	x := m.r.Float64()
	for _, a := range answeredWithin {
		if x <= a.share {
			return a.after
		}
	}
	return 15 * time.Second
}

func (m *mix) message(p int, cids []int, cancel bool) *event.Event {
	m.seq++
	e := &event.Event{Seq: m.seq, Kind: event.KindMessage, Time: m.now, Peer: m.peers[p], Country: event.Countries[1+p%40], Gateway: p%100 == 0, WireSize: int32(50 * len(cids)),
		Addrs: []event.Text{event.Text(fmt.Sprintf("/ip4/10.%d.%d.7/udp/4001/quic-v1", p/250, p%250))}}
	for _, n := range cids {
		w := event.Want{CID: m.cid(n), Cancel: cancel}
		if !cancel {
			m.priority[p]--
			w.Priority, w.Type, w.SendDontHave = m.priority[p], event.WantHave, true
			if m.r.IntN(100) == 0 {
				w.Type = event.WantBlock
			}
		}
		e.Wants = append(e.Wants, w)
	}
	m.entries += len(cids)
	return e
}

// events returns messages with at least n entries.
func (m *mix) events(n int) (out []*event.Event) {
	for m.entries < n {
		out = append(out, m.next())
	}
	return out
}
