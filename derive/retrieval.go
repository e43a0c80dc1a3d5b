package derive

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/histogram"
)

const (
	// settled is how long a CID stays known after its block came, so that wants
	// of it which are still on their way begin nothing.
	settled = int64(5 * time.Second)
	// maxFoundPeers is how many peers are known that are connected because the
	// routing named them.
	maxFoundPeers = 1 << 13
)

// retrieval follows each CID that the node wants from its first want or search
// to its block.
type retrieval struct {
	wanted table[wantedCID] // by the CID's hash
	found  *times           // when the routing named a peer for a CID, by key
	peers  *times           // when it named a peer that was not connected, by the peer's hash
	expiry int64

	lost     uint64
	reported uint64                 // of losses, in the intervals before
	now      event.SummaryRetrieval // of the running interval, without the distributions
	times    [event.Sources][2]histogram.Durations
	searches histogram.Durations
}

// wantedCID is a CID that the node wants, or has just got.
type wantedCID struct {
	since, last int64 // event times of the first and of the latest want or search
	provider    int64 // of the first record or HAVE; 0: none
	got         int64 // of the block; 0: it has not come
}

func newRetrieval(places int, expiry time.Duration) *retrieval {
	return &retrieval{
		wanted: newTable[wantedCID](places), expiry: int64(expiry),
		found: newTimes(places, expiry), peers: newTimes(maxFoundPeers, 0),
	}
}

// want notes that the node asked a peer for a CID, or the routing for who has it.
func (r *retrieval) want(c uint64, now int64) {
	w := r.wanted.find(c)
	switch {
	case w == nil:
		w = r.place(c, now)
	case w.got != 0 && now-w.got < settled:
		return
	case w.got == 0 && now-w.last > r.expiry:
		r.now.Unanswered++
	case w.got == 0:
		w.last = max(w.last, now)
		return
	}
	*w = wantedCID{since: now, last: now}
	r.now.Wanted++
}

// place enters a CID that is not there. If its bucket is full, one that is done
// with goes, or else the one that was asked for least lately, unless the table may
// grow.
func (r *retrieval) place(c uint64, now int64) *wantedCID {
	b := r.wanted.bucket(c)
	i := b.index(0)
	if i < 0 {
		i = slices.IndexFunc(b.values[:], func(w wantedCID) bool { return w.got != 0 && now-w.got >= settled })
	}
	if i < 0 {
		i = 0
		for j := range b.values {
			if b.values[j].last < b.values[i].last {
				i = j
			}
		}
		switch w := &b.values[i]; {
		case w.got == 0 && now-w.last > r.expiry:
			r.now.Unanswered++
		case r.wanted.grow():
			return r.place(c, now)
		case w.got == 0:
			r.lost++
		}
	}
	b.keys[i] = c
	return &b.values[i]
}

// provider notes that a peer is known that has the CID, or may have it.
func (r *retrieval) provider(c uint64, now int64) {
	if w := r.wanted.find(c); w != nil && w.got == 0 && w.provider == 0 {
		w.provider = now
	}
}

// cancel notes that the node no longer wants a CID from a peer.
func (r *retrieval) cancel(c uint64) {
	if w := r.wanted.find(c); w != nil && w.got == 0 {
		r.now.GivenUp++
		r.wanted.drop(c)
	}
}

// block notes that a block came, and returns how long it took to know a provider
// and to get the block; ok is false if the CID did not wait.
func (r *retrieval) block(c uint64, now int64) (toProvider, toBlock time.Duration, ok bool) {
	w := r.wanted.find(c)
	if w == nil || w.got != 0 {
		return 0, 0, false
	}
	w.got, w.last = max(now, 1), now
	toBlock = time.Duration(max(0, now-w.since))
	toProvider = toBlock
	if w.provider != 0 {
		toProvider = min(toBlock, time.Duration(max(0, w.provider-w.since)))
	}
	return toProvider, toBlock, true
}

// source returns where the provider of a block came from. asked is when this
// peer was first asked for it, 0 if that is not known; k is the key of both.
func (r *retrieval) source(via event.Transport, from, k uint64, asked, now int64) event.Source {
	if via == event.HTTP {
		return event.SourceHTTP
	}
	if at := r.found.get(k, now); at != 0 && (asked == 0 || at <= asked) {
		return event.SourceRouting
	}
	switch {
	case asked == 0:
		return event.SourceUnknown
	case r.peers.get(from, now) != 0:
		return event.SourceSession
	}
	return event.SourceConnected
}

// end returns the interval's figures and begins the next.
func (r *retrieval) end(now int64) event.SummaryRetrieval {
	for i := range r.wanted.buckets {
		b := &r.wanted.buckets[i]
		for j := range b.keys {
			switch w := &b.values[j]; {
			case b.keys[j] == 0:
			case w.got != 0 && now-w.got >= settled:
				b.keys[j] = 0
			case w.got == 0 && now-w.last > r.expiry:
				r.now.Unanswered++
				b.keys[j] = 0
			case w.got == 0:
				r.now.Waiting++
			}
		}
	}
	out := r.now
	for s := range r.times {
		out.Sources[s].ToProvider, out.Sources[s].ToBlock = r.times[s][0].Stats(), r.times[s][1].Stats()
	}
	lost := r.lost + r.found.lost + r.peers.lost
	out.Search, out.Lost = r.searches.Stats(), lost-r.reported
	r.reported = lost
	r.now, r.times, r.searches = event.SummaryRetrieval{}, [event.Sources][2]histogram.Durations{}, histogram.Durations{}
	return out
}

// times is a table of when something was, by key. A full bucket evicts its oldest
// entry, and counts it in lost unless it was older than expiry (0: nothing
// expires).
type times struct {
	table[int64]
	expiry int64
	lost   uint64
}

func newTimes(places int, expiry time.Duration) *times {
	return &times{table: newTable[int64](places), expiry: int64(expiry)}
}

func (t *times) old(at, now int64) bool { return t.expiry > 0 && now-at > t.expiry }

// set enters a key unless it is there.
func (t *times) set(key uint64, now int64) {
	at := t.find(key)
	if at == nil {
		at = t.place(key, now)
	} else if !t.old(*at, now) {
		return
	}
	*at = now
}

func (t *times) place(key uint64, now int64) *int64 {
	b := t.bucket(key)
	i := b.index(0)
	if i < 0 {
		i = 0
		for j := range b.values {
			if b.values[j] < b.values[i] {
				i = j
			}
		}
		if !t.old(b.values[i], now) {
			if t.grow() {
				return t.place(key, now)
			}
			t.lost++
		}
	}
	b.keys[i] = key
	return &b.values[i]
}

// get returns when the key was, 0 if that is not known.
func (t *times) get(key uint64, now int64) int64 {
	if at := t.find(key); at != nil && !t.old(*at, now) {
		return *at
	}
	return 0
}

func (d *Deriver) peerHash(p peer.ID) uint64 { return max(1, maphash.String(d.seed, string(p))) }

func (d *Deriver) cidHash(c cid.Cid) uint64 { return max(1, maphash.String(d.seed, c.KeyString())) }

// search counts a step of a search for providers.
func (d *Deriver) search(e *event.Event) {
	s, r := e.Search, d.retrieval
	c := d.cidHash(s.CID)
	switch s.State {
	case event.SearchBegan:
		r.now.Searches++
		r.want(c, e.Time)
	case event.SearchFound:
		r.provider(c, e.Time)
		p := d.peerHash(e.Peer)
		r.found.set(key(p, c, event.Sent), e.Time)
		if !s.Connected {
			r.peers.set(p, e.Time)
		}
	case event.SearchEnded:
		r.now.Providers += uint64(max(s.Providers, 0))
		if s.Providers == 0 {
			r.now.NotFound++
		}
		r.searches.Add(s.Elapsed)
	}
}

// foundConnection forgets that a peer is connected because of the routing, if that is
// no longer so: the last connection closed, or the peer made the first itself.
func (d *Deriver) foundConnection(e *event.Event) {
	if c := e.Conn; c.Closed && c.PeerConns == 0 || !c.Closed && c.Inbound && c.PeerConns == 1 {
		d.retrieval.peers.drop(d.peerHash(e.Peer))
	}
}

// retrieved counts a block that the node received. It comes before the answer is
// matched, which forgets when the peer was asked.
func (d *Deriver) retrieved(e *event.Event, from, c uint64, b *event.Block) {
	r := d.retrieval
	toProvider, toBlock, ok := r.block(max(1, c), e.Time)
	if !ok {
		r.now.Surplus++
		r.now.SurplusBytes += uint64(max(b.Size, 0))
		return
	}
	k, asked := key(from, c, event.Sent), int64(0)
	if w := d.pending.find(k); w != nil {
		asked = w.since()
	}
	source := r.source(e.Transport, from, k, asked, e.Time)
	of := &r.now.Sources[source]
	of.Blocks++
	of.Bytes += uint64(max(b.Size, 0))
	r.times[source][0].Add(toProvider)
	r.times[source][1].Add(toBlock)
	if !d.single() {
		return
	}
	d.out = append(d.out, &event.Event{
		Time: e.Time, Kind: event.KindRetrieval, Dir: event.Received, Transport: e.Transport, Peer: e.Peer, Country: e.Country, Gateway: e.Gateway,
		Side: e.Side, Downstream: e.Downstream,
		Retrieval: &event.Retrieval{CID: b.CID, Size: b.Size, Source: source, ToProvider: toProvider, ToBlock: toBlock},
	})
}
