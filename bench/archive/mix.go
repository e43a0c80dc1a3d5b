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

// Two mixes have RFM16's shares (probe-lab/network-measurements). The mix of a node that
// asks has what a request of RFM16's node was: 856 WANT_HAVE, 8 WANT_BLOCK and 850 CANCEL to
// 853 peers, a message each, then HAVE, DONT_HAVE and the block. The mix of a node that is
// asked has the other side: of a request a peer sends a WANT_HAVE to all its neighbours, a WANT_BLOCK to
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
	asking   bool // the node asks
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

	// Of a node that asks:
	block  bool // a WANT_BLOCK
	answer int  // 1: HAVE, 2: block
}

func newMix(fresh, asking bool) *mix {
	m := &mix{r: rand.New(rand.NewPCG(16, 2)), fresh: fresh, asking: asking, now: time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC).UnixNano(), later: map[int64][]later{}}
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
	if m.asking {
		return m.ask()
	}
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

// askEvery is the time between two requests of the node that asks.
const askEvery = 2 * time.Second

// ask returns the next message of the node that asks.
func (m *mix) ask() *event.Event {
	if len(m.due) == 0 {
		m.now = m.now/int64(askEvery)*int64(askEvery) + int64(askEvery)
		n := m.choose()
		at := m.now
		for p := range 856 {
			m.due = append(m.due, later{at: at, peer: p % 853, cids: []int{n}})
			at += int64(20_000 + m.r.IntN(100_000)) // sending takes time
		}
		at = max(at, m.now+int64(m.answered()))
		for p := range 14 {
			l := later{at: at, peer: m.r.IntN(853), cids: []int{n}, block: p < 8}
			if p >= 8 {
				l.answer = 1 + (p-8)/4 // four HAVE, two blocks
			}
			m.due = append(m.due, l)
			at += int64(m.r.IntN(1_000_000))
		}
		for p := range 850 {
			m.due = append(m.due, later{at: at, peer: p, cids: []int{n}, cancel: true})
			at += int64(20_000 + m.r.IntN(100_000))
		}
	}
	d := m.due[0]
	m.due = m.due[1:]
	m.now = max(m.now, d.at)
	if d.answer == 0 {
		e := m.message(d.peer, d.cids, d.cancel)
		e.Dir = event.Sent
		if d.block {
			e.Wants[0].Type = event.WantBlock
		}
		return e
	}
	e := m.message(d.peer, d.cids, true)
	m.entries -= len(e.Wants)
	e.Wants = nil
	if d.answer == 1 {
		e.Presences = []event.Presence{{CID: m.cid(d.cids[0])}}
	} else {
		e.Blocks = []event.Block{{CID: m.cid(d.cids[0]), Size: 262_158}}
	}
	return e
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
