package lineproto

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// SetDHTHistory adds a point of history for each request of the DHT. It is called
// before the first event.
func (e *Encoder) SetDHTHistory() { e.dhtHistory = !e.noHistory }

// dht writes a request as a point of history.
func (e *Encoder) dht(b []byte, ev *event.Event) []byte {
	r, t := ev.DHT, e.tables[schema.DHTLog]
	e.setPeer(ev.Peer)
	kind, status := min(int(r.Type), int(event.DHTTypes)-1), min(int(r.Status), int(event.DHTStatuses)-1)
	p := e.begin(t, b, (int(ev.Dir&1)*int(event.DHTStatuses)+status)*int(event.DHTTypes)+kind)
	p.text(event.Text(r.Table()))
	switch {
	case r.CID.Defined():
		p.cid(r.CID)
	case r.Target != "":
		p.key()
		p.buf = append(cidtext.AppendPeer(append(p.buf, '"'), r.Target), '"')
	default:
		p.text(r.Name)
	}
	p.raw(e.peerText)
	p.int(r.Elapsed.Microseconds())
	p.int(int64(r.Providers))
	p.int(int64(r.Closer))
	p.word(quotedCountries[event.CountryIndex(ev.Country)])
	return p.end(t.stamp(ev.Time))
}

// dht writes the figures of the DHT's requests.
func (t *totals) dht(s *event.DHTSummary, interval int64) {
	w := t.of(t.e.tables[schema.DHTRequests])
	for dir := range s.Requests {
		for kind := range s.Requests[dir] {
			f := &s.Requests[dir][kind]
			if n := f.Requests(); n > 0 {
				w.put(dir*int(event.DHTTypes)+kind, interval, whole(n), whole(f.Status[event.DHTFailed]), whole(f.Status[event.DHTTimedOut]),
					whole(f.Status[event.DHTCanceled]), whole(f.Peers), whole(s.Peers[dir]), f.Elapsed.P50.Microseconds(), f.Elapsed.P90.Microseconds(),
					f.Elapsed.P99.Microseconds(), f.Elapsed.Max.Microseconds())
			}
		}
	}
	of := t.e.tables[schema.DHTTop]
	at := of.stamp(t.at)
	for dir := range s.TopKeys {
		for rank := range s.TopKeys[dir][:min(len(s.TopKeys[dir]), schema.MaxRank)] {
			c := &s.TopKeys[dir][rank]
			p := t.e.begin(of, t.b, dir*2*schema.MaxRank+rank)
			p.cid(c.CID)
			p.word(`""`)
			p.uint(c.Requests)
			p.uint(c.Error)
			p.uint(c.Peers)
			t.e.listed(schema.DHTTop, dir*2*schema.MaxRank+rank, at, [2]string{t.e.listedCID(c.CID), `""`}, whole(c.Requests), whole(c.Error), whole(c.Peers))
			t.b = p.end(at)
			t.points++
		}
		for rank := range s.Agents[dir][:min(len(s.Agents[dir]), schema.MaxRank)] {
			c := &s.Agents[dir][rank]
			p := t.e.begin(of, t.b, (dir*2+1)*schema.MaxRank+rank)
			p.word(`""`)
			p.text(event.Text(sets.Name(event.AgentFamilies, c.Name)))
			p.uint(c.N)
			p.uint(0)
			p.uint(0)
			family := t.e.listedText(event.Text(sets.Name(event.AgentFamilies, c.Name)))
			t.e.listed(schema.DHTTop, (dir*2+1)*schema.MaxRank+rank, at, [2]string{`""`, family}, whole(c.N), 0, 0)
			t.b = p.end(at)
			t.points++
		}
	}
}
