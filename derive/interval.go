package derive

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"time"

	"github.com/axiomhq/hyperloglog"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/histogram"
)

// interval is what is counted between two summaries.
type interval struct {
	number  uint32 // from 1
	started time.Time
	missed  uint64
	lost    uint64 // wants lost before the interval's start

	uniqueCIDs, uniquePeers  [event.Directions]*hyperloglog.Sketch
	askers                   [event.Directions]*hyperloglog.Sketch
	duplicates, rebroadcasts [event.Directions]uint64
	shares                   shares
	latency                  [event.Directions][event.AnswerTypes]histogram.Durations

	byWants *heavy[cid.Cid] // other: distinct peers
	byPeers *heavy[cid.Cid] // counts the first want of each peer; other: wants
	peers   *heavy[peer.ID]
	missing *heavy[cid.Cid] // DONT_HAVEs sent
	line    [event.Directions]line
	dht     dhtInterval
}

func newInterval(cfg Config, now time.Time) *interval {
	v := &interval{
		byWants: newHeavy[cid.Cid](cfg.MaxCIDsTracked),
		byPeers: newHeavy[cid.Cid](cfg.MaxCIDsTracked),
		peers:   newHeavy[peer.ID](cfg.MaxPeersTracked),
		missing: newHeavy[cid.Cid](cfg.MaxCIDsTracked),
	}
	for dir := range v.line {
		v.line[dir] = newLine(cfg)
	}
	return v.next(now, 0)
}

// next begins the interval after this one, in the same memory.
func (v *interval) next(now time.Time, lost uint64) *interval {
	v.byWants.reset()
	v.byPeers.reset()
	v.peers.reset()
	v.missing.reset()
	n := &interval{number: v.number + 1, started: now, lost: lost, byWants: v.byWants, byPeers: v.byPeers, peers: v.peers, missing: v.missing, dht: v.dht.next()}
	for dir := range event.Directions {
		// Not the library's sparse form: it allocates with each new CID.
		n.uniqueCIDs[dir], n.uniquePeers[dir] = hyperloglog.NewNoSparse(), hyperloglog.NewNoSparse()
		n.askers[dir] = hyperloglog.NewNoSparse()
		n.line[dir] = v.line[dir].next()
	}
	return n
}

// event counts one event. A panic loses that event and nothing else.
func (d *Deriver) event(e *event.Event) {
	defer d.guard.Recover("derive: count an event")
	d.stats.Events++
	d.clock = max(d.clock, e.Time)
	if e.Time < d.clock-stepBack {
		d.clock = e.Time
	}
	switch e.Kind {
	case event.KindMessage:
		d.message(e)
	case event.KindIdentify:
		d.peers.identify(e.Peer, e.Identify.Agent, d.now.number)
	case event.KindConnection:
		d.peers.connection(e.Peer, e.Conn, d.now.number)
		d.foundConnection(e)
	case event.KindSearch:
		d.search(e)
	case event.KindSendError:
		d.sendError(e)
	}
}

// key returns the key of a peer, a CID and a direction: their hashes under the
// seed, mixed. It is never 0.
func key(p, c uint64, dir event.Direction) uint64 {
	hi, lo := bits.Mul64(p^(0x9E3779B97F4A7C15*uint64(dir+1)), c^0xD1B54A32D192ED03)
	return max(1, hi^lo)
}

func (d *Deriver) message(e *event.Event) {
	dir := e.Dir
	if dir >= event.Directions {
		return
	}
	v := d.now
	from := maphash.String(d.seed, string(e.Peer))
	v.uniquePeers[dir].InsertHash(from)
	who, wants, repeats := d.who(e), uint64(0), uint64(0)
	bitswap, asks := e.Transport == event.Libp2p, false
	v.line[dir].message(e, from, int(who.family))
	for i := range e.Wants {
		w := &e.Wants[i]
		c := maphash.String(d.seed, w.CID.KeyString())
		k := key(from, c, dir)
		if w.Cancel {
			d.pending.cancel(k)
			d.repeats.cancel(k, e.Time)
			if dir == event.Sent {
				d.retrieval.cancel(max(1, c))
			}
			continue
		}
		d.stats.Wants++
		asks = true
		if bitswap {
			d.pending.want(k, w.Type, e.Time)
		}
		if dir == event.Sent {
			d.retrieval.want(max(1, c), e.Time)
		}
		duplicate, rebroadcast, first := d.repeats.want(k, w.Type, e.Time, v.number)
		if duplicate {
			v.duplicates[dir]++
		}
		if rebroadcast {
			v.rebroadcasts[dir]++
		}
		v.uniqueCIDs[dir].InsertHash(c)
		if dir == event.Received {
			wants++
			if duplicate {
				repeats++
			}
			v.shares.add(w.CID)
			v.rank(w.CID, c, first)
			who.want(w, c, e.Time)
		}
	}
	if wants > 0 {
		v.peers.addN(from, e.Peer, wants)
	}
	if asks && bitswap {
		v.askers[dir].InsertHash(from)
	}
	if dir == event.Received {
		d.floods.received(e, from, wants, repeats)
	} else if len(e.Blocks) > 0 {
		d.floods.sent(from, len(e.Blocks))
	}
	asked := event.Received // direction of the wants that this message answers
	if dir == event.Received {
		asked = event.Sent
	}
	for i := range e.Blocks {
		b := &e.Blocks[i]
		c := maphash.String(d.seed, b.CID.KeyString())
		v.line[dir].block(b, c)
		if dir == event.Received {
			d.retrieved(e, from, c, b)
		}
		if bitswap {
			d.answer(e, who, from, c, b.CID, event.AnswerBlock, asked)
		}
	}
	for i := range e.Presences {
		p := &e.Presences[i]
		c := maphash.String(d.seed, p.CID.KeyString())
		if dir == event.Received && p.Type == event.Have {
			d.retrieval.provider(max(1, c), e.Time)
		}
		switch {
		case !bitswap:
		case p.Type == event.Have:
			d.answer(e, who, from, c, p.CID, event.AnswerHave, asked)
		case p.Type == event.DontHave:
			if dir == event.Sent {
				v.missing.add(c, p.CID)
			}
			d.answer(e, who, from, c, p.CID, event.AnswerDontHave, asked)
		}
	}
	if dir == event.Sent {
		d.sending.took[min(e.Transport, event.MessageTransports-1)].Add(e.Took)
	}
	if !bitswap {
		d.httpMessage(e, from)
	}
}

// who returns what is known of the peer of a message. HTTP servers and the nodes
// behind a proxy are not among the peers: what is returned for them is not kept.
func (d *Deriver) who(e *event.Event) *known {
	if e.Transport != event.Libp2p || e.Side == event.Downstream {
		d.other = known{}
		return &d.other
	}
	return d.peers.at(e.Peer, d.now.number)
}

// rank counts a received want in the two rankings of CIDs: by wants and by peers.
func (v *interval) rank(c cid.Cid, hash uint64, first bool) {
	wants := v.byWants.add(hash, c)
	var peers *counter[cid.Cid]
	if first {
		wants.other++
		peers = v.byPeers.add(hash, c)
	} else {
		peers = v.byPeers.get(hash)
	}
	if peers != nil {
		peers.other++
	}
}

// answer counts an answer about a CID, whose hash is hash, of or to the peer who.
func (d *Deriver) answer(e *event.Event, who *known, from, hash uint64, c cid.Cid, a event.AnswerType, asked event.Direction) {
	if asked == event.Received {
		who.answer(a, hash, e.Time)
	}
	t, elapsed, ok := d.pending.answer(key(from, hash, asked), a, e.Time)
	if !ok {
		d.stats.Unmatched++
		return
	}
	d.stats.Matched++
	d.now.latency[asked][a].Add(elapsed)
	if !d.single() {
		return
	}
	d.out = append(d.out, &event.Event{
		Time: e.Time, Kind: event.KindLatency, Dir: asked, Peer: e.Peer, Country: e.Country, Gateway: e.Gateway,
		Side: e.Side, Downstream: e.Downstream,
		Latency: &event.Latency{CID: c, Want: t, Answer: a, Elapsed: elapsed},
	})
}

// single reports whether an event of a single answer may be made now, and counts
// it. Events that come late, or that end later than they are counted, take part in
// the second of the clock: with their own times, each change of second would permit
// MaxLatencies more.
func (d *Deriver) single() bool {
	if !d.cfg.HistoryLatency {
		return false
	}
	if s := d.clock / int64(time.Second); s != d.second {
		d.second, d.inSec = s, 0
	}
	if d.inSec >= d.cfg.MaxLatencies {
		d.stats.LatenciesHeld++
		return false
	}
	d.inSec++
	d.stats.Latencies++
	return true
}

// summarize ends the interval and begins the next. The caller holds mu.
func (d *Deriver) summarize(now time.Time) {
	defer func() {
		if p := recover(); p != nil {
			d.guard.Caught(p, "derive: sum up an interval")
			d.now = d.now.next(now, d.pending.lost+d.requests.lost)
		}
	}()
	v := d.now
	d.sweepRequests(d.clock)
	s := &event.Summary{
		Interval: now.Sub(v.started), Missed: v.missed,
		Duplicates: v.duplicates, Rebroadcasts: v.rebroadcasts,
		TopCIDs:        v.topCIDs(d.cfg.TopN),
		TopCIDsByPeers: v.topCIDsByPeers(d.cfg.TopN),
		TopPeers:       v.topPeers(d.cfg.TopN, &d.peers),
		TopMissing:     v.topMissing(d.cfg.TopN),
		Codecs:         named(Codecs, v.shares.codecs[:]),
		Versions:       named(Versions, v.shares.versions[:]),
		Hashes:         named(Hashes, v.shares.hashes[:]),
		Pending:        d.pending.sweep(d.clock),
		DHT:            v.dht.summary(d.cfg.TopN),
		Lost:           d.pending.lost + d.requests.lost - v.lost,
		Retrieval:      d.retrieval.end(d.clock),
		Requests:       d.requests.end(),
		Sending:        d.sending.end(),
	}
	d.out = append(d.out, d.floods.running(now, &d.peers)...)
	s.Coverage = d.peers.coverage(d.clock)
	d.peers.sweep(v.number)
	for dir := range event.Directions {
		s.Line[dir] = v.line[dir].sum(d.cfg.TopN, &d.peers)
		s.UniqueCIDs[dir] = v.uniqueCIDs[dir].Estimate()
		s.UniquePeers[dir] = v.uniquePeers[dir].Estimate()
		s.Askers[dir] = v.askers[dir].Estimate()
		for a := range event.AnswerTypes {
			s.Latency[dir][a] = v.latency[dir][a].Stats()
		}
	}
	d.last, d.lastEnd = s, now
	d.now = v.next(now, d.pending.lost+d.requests.lost)
	d.out = append(d.out, &event.Event{Time: now.UnixNano(), Kind: event.KindSummary, Summary: s})
}

// top returns at most n counters, those with the highest lower bounds first.
func top[K any](h *heavy[K], n int) []*counter[K] {
	all := make([]*counter[K], len(h.slots))
	for i := range h.slots {
		all[i] = &h.slots[i]
	}
	slices.SortFunc(all, func(a, b *counter[K]) int {
		return cmp.Or(cmp.Compare(b.certain(), a.certain()), cmp.Compare(b.count, a.count), cmp.Compare(a.hash, b.hash))
	})
	return all[:min(n, len(all))]
}

func (v *interval) topCIDs(n int) (out []event.TopCID) {
	for _, c := range top(v.byWants, n) {
		out = append(out, event.TopCID{CID: c.key, Wants: c.count, Error: c.err, Peers: c.other})
	}
	return out
}

func (v *interval) topMissing(n int) (out []event.TopCID) {
	for _, c := range top(v.missing, n) {
		out = append(out, event.TopCID{CID: c.key, Wants: c.count, Error: c.err})
	}
	return out
}

func (v *interval) topCIDsByPeers(n int) (out []event.TopCID) {
	for _, c := range top(v.byPeers, n) {
		t := event.TopCID{CID: c.key, Peers: c.certain()}
		if w := v.byWants.get(c.hash); w != nil {
			t.Wants, t.Error = w.count, w.err
		} else {
			// A CID without a counter was wanted at most as often as the lowest
			// of the counters says, and at least as often as was seen here.
			t.Wants = v.byWants.least()
			t.Error = t.Wants - c.other
		}
		out = append(out, t)
	}
	return out
}

func (v *interval) topPeers(n int, peers *peers) (out []event.TopPeer) {
	for _, p := range top(v.peers, n) {
		out = append(out, event.TopPeer{Peer: p.key, Agent: peers.agent(p.key), Wants: p.count, Error: p.err})
	}
	return out
}
