package derive

import (
	"hash/maphash"

	"github.com/axiomhq/hyperloglog"
	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/histogram"
)

// dhtInterval is what is counted of the DHT's requests between two summaries. It
// takes no memory before the first request: most of it is made when needed.
type dhtInterval struct {
	any    bool
	types  [event.Directions][event.DHTTypes]*dhtType
	peers  [event.Directions]*hyperloglog.Sketch
	keys   [event.Directions]*heavy[cid.Cid] // of get_providers; other: distinct peers since the key has its counter
	agents [event.Directions][maxFamilies]uint64
	// askers has who asked for what, so that a peer counts once for a key: hashes,
	// forgotten by chance when it is full.
	askers map[uint64]struct{}
}

type dhtType struct {
	status  [event.DHTStatuses]uint64
	peers   *hyperloglog.Sketch
	elapsed histogram.Durations
}

// maxDHTAskers bounds dhtInterval.askers, about 1 MiB.
const maxDHTAskers = 1 << 15

// next begins the interval after this one, in the same memory.
func (v *dhtInterval) next() dhtInterval {
	n := dhtInterval{keys: v.keys, askers: v.askers}
	for _, k := range n.keys {
		if k != nil {
			k.reset()
		}
	}
	clear(n.askers)
	return n
}

// dht counts a request of the DHT. It waits for no other event, so it is counted
// when it is read.
func (d *Deriver) dht(e *event.Event) {
	defer d.guard.Recover("derive: count a request of the DHT")
	r, dir := e.DHT, e.Dir
	if r == nil || dir >= event.Directions || r.Type >= event.DHTTypes || r.Status >= event.DHTStatuses {
		return
	}
	d.stats.Events++
	v := &d.now.dht
	v.any = true
	from := maphash.String(d.seed, string(e.Peer))
	t := v.types[dir][r.Type]
	if t == nil {
		t = &dhtType{peers: hyperloglog.NewNoSparse()}
		v.types[dir][r.Type] = t
	}
	t.status[r.Status]++
	t.peers.InsertHash(from)
	if r.Status == event.DHTAnswered {
		t.elapsed.Add(r.Elapsed)
	}
	if r.Type == event.DHTUnsent {
		return // nobody was asked
	}
	if v.peers[dir] == nil {
		v.peers[dir] = hyperloglog.NewNoSparse()
	}
	v.peers[dir].InsertHash(from)
	if v.keys[dir] == nil {
		v.keys[dir] = newHeavy[cid.Cid](d.cfg.MaxDHTTracked)
	}
	v.agents[dir][event.AgentFamily(d.peers.agent(e.Peer))]++
	if r.Type == event.DHTGetProviders && r.CID.Defined() {
		c := maphash.String(d.seed, r.CID.KeyString())
		counter := v.keys[dir].add(c, r.CID)
		if v.first(key(from, c, dir)) {
			counter.other++
		}
	}
}

// first reports whether a peer asks for a key for the first time.
func (v *dhtInterval) first(who uint64) bool {
	if _, again := v.askers[who]; again {
		return false
	}
	if v.askers == nil {
		v.askers = make(map[uint64]struct{})
	}
	if len(v.askers) >= maxDHTAskers {
		for old := range v.askers { // any of them
			delete(v.askers, old)
			break
		}
	}
	v.askers[who] = struct{}{}
	return true
}

// summary returns the figures of the interval, nil if there was no request.
func (v *dhtInterval) summary(n int) *event.DHTSummary {
	if !v.any {
		return nil
	}
	s := new(event.DHTSummary)
	for dir := range event.Directions {
		for i, t := range v.types[dir] {
			if t != nil {
				s.Requests[dir][i] = event.DHTFigures{Status: t.status, Peers: t.peers.Estimate(), Elapsed: t.elapsed.Stats()}
			}
		}
		if v.peers[dir] != nil {
			s.Peers[dir] = v.peers[dir].Estimate()
		}
		if v.keys[dir] == nil {
			continue
		}
		for _, c := range top(v.keys[dir], n) {
			s.TopKeys[dir] = append(s.TopKeys[dir], event.TopDHTKey{CID: c.key, Requests: c.count, Error: c.err, Peers: c.other})
		}
		s.Agents[dir] = named(event.AgentFamilies, v.agents[dir][:len(event.AgentFamilies)])
	}
	return s
}
