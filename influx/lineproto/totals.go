package lineproto

import (
	"math"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// quotedCountries are the countries as values of a field.
var quotedCountries = quoteCountries()

func quoteCountries() (quoted []string) {
	for _, c := range event.Countries {
		quoted = append(quoted, `"`+c+`"`)
	}
	return quoted
}

// totals writes points of one time.
type totals struct {
	e      *Encoder
	b      []byte
	at     int64 // of the event
	points int
}

// of begins the points of a measurement, all with the same time: their series
// differ, because equal ones are added up first.
func (t *totals) of(x *table) writing { return writing{t, x, x.stamp(t.at)} }

// writing is a measurement whose points are being written.
type writing struct {
	t  *totals
	of *table
	at int64
}

func (w writing) put(series int, values ...int64) {
	w.t.e.inMinute(w.of, series, values)
	p := w.t.e.begin(w.of, w.t.b, series)
	for _, v := range values {
		p.int(v)
	}
	w.t.b = p.end(w.at)
	w.t.points++
}

// named writes a measurement of an open tag: put makes points of each name's
// sums.
func (t *totals) named(of *table, put func(w writing, place int, used uint8, sums *[4]int64)) {
	w, n := t.of(of), of.names
	for _, i := range n.turn {
		put(w, i, n.used[i], &n.sums[i])
	}
	n.clear()
}

// sample writes the totals of one interval.
func (e *Encoder) sample(b []byte, ev *event.Event) ([]byte, int) {
	s, t := ev.Sample, &e.out
	*t = totals{e: e, b: b, at: ev.Time}
	e.closeFull()
	t.beginMinutes()

	w := t.of(e.t.traffic)
	for dir := range s.Traffic {
		x := &s.Traffic[dir]
		w.put(dir, s.Interval.Milliseconds(), whole(x.Messages), whole(x.WantBlock), whole(x.WantHave), whole(x.Cancel),
			whole(x.Have), whole(x.DontHave), whole(x.Blocks), whole(x.BlockBytes), whole(x.Truncated))
	}

	t.httpTraffic(s)

	for _, c := range s.Peers {
		dir, i := sets.Bit(!c.Inbound), schema.TagTransport.Index(c.Transport)
		e.transports[dir][i] += int64(c.Peers)
		e.seen[dir][i] = true
	}
	w = t.of(e.t.peers)
	for dir := range e.transports {
		for i, n := range e.transports[dir] {
			if e.seen[dir][i] {
				w.put(dir*len(schema.TagTransport.Values)+i, n, int64(s.Known))
				e.transports[dir][i] = 0
			}
		}
	}

	for _, c := range s.Agents {
		e.t.agents.names.add(c.Agent, 0, int64(c.Peers))
	}
	t.named(e.t.agents, one)
	for _, c := range s.Protocols {
		e.t.protocols.names.add(c.Protocol, 0, int64(c.Peers))
	}
	t.named(e.t.protocols, one)
	directions := schema.Streams.Tags[0]
	for _, c := range s.Streams {
		e.t.streams.names.add(c.Protocol, directions.Index(c.Direction), int64(c.Streams))
	}
	t.named(e.t.streams, byDirection)
	for i := range s.Node.Bandwidth {
		c, n := &s.Node.Bandwidth[i], e.t.bandwidth.names
		n.add(c.Protocol, 0, c.InBytes)
		n.add(c.Protocol, 1, c.OutBytes)
		n.add(c.Protocol, 2, rate(c.InRate))
		n.add(c.Protocol, 3, rate(c.OutRate))
	}
	t.named(e.t.bandwidth, four)

	w = t.of(e.t.routing)
	var tables [3]int64
	var there [3]bool
	for _, c := range s.Node.Routing {
		i := schema.Routing.Tags[1].Index(c.Name)
		tables[i] += int64(c.Peers)
		there[i] = true
	}
	for i, n := range tables {
		if there[i] {
			w.put(i, n)
		}
	}
	n := &s.Node
	total := &n.BandwidthTotal
	t.of(e.t.node).put(0, int64(s.Conns), int64(n.Wantlist), int64(n.Ledgers), n.RepoBytes,
		total.InBytes, total.OutBytes, rate(total.InRate), rate(total.OutRate))
	t.of(e.t.process).put(0, rate(n.Process.CPUSeconds*1000), n.Process.ResidentMem, n.Process.HeapBytes,
		int64(n.Process.Goroutines), int64(n.Process.OpenFiles))
	t.endMinutes()
	b, t.b = t.b, nil
	return b, t.points
}

// The ways in which sums become points.
func one(w writing, place int, _ uint8, sums *[4]int64) { w.put(place, sums[0]) }

func four(w writing, place int, _ uint8, sums *[4]int64) {
	w.put(place, sums[0], sums[1], sums[2], sums[3])
}

func byDirection(w writing, place int, used uint8, sums *[4]int64) {
	for dir := range schema.Streams.Tags[0].Values {
		if used&(1<<dir) != 0 {
			w.put(dir*schema.MaxProtocols+place, sums[dir])
		}
	}
}

// originSums writes the sums by where peers are. Those of one group are added
// up: an event of another program may have it twice.
func (e *Encoder) originSums(b []byte, ev *event.Event) ([]byte, int) {
	t := &e.out
	*t = totals{e: e, b: b, at: ev.Time}
	for i := range ev.Origins.Sums {
		o := &ev.Origins.Sums[i]
		e.origins[event.OriginIndex(o.Country, o.Dir, o.Gateway)].Add(o)
	}
	w := t.of(e.t.origins)
	for i := range e.origins {
		if o := &e.origins[i]; *o != (event.Origin{}) {
			w.put(i, whole(o.Messages), whole(o.Wants), whole(o.Blocks), whole(o.BlockBytes), whole(o.Connections))
			*o = event.Origin{}
		}
	}
	b, t.b = t.b, nil
	return b, t.points
}

// pipeline writes how the monitor itself stands.
func (e *Encoder) pipeline(b []byte, ev *event.Event) []byte {
	s := ev.Pipeline
	p := e.begin(e.t.pipeline, b, 0)
	for _, n := range [...]int64{whole(s.Limited), whole(s.SendErrors), whole(s.Published), whole(s.Held), whole(s.HeldBytes), whole(s.Missed),
		whole(s.Accepted), whole(s.Stored), whole(s.Dropped), whole(s.Rejected), whole(s.Queued), whole(s.QueueBytes), rate(s.Lag.Seconds() * 1000),
		whole(s.SpoolBytes), rate(s.SpoolFull * 1000), whole(s.Subscribers), whole(s.StreamDropped), whole(s.Panics)} {
		p.int(n)
	}
	return p.end(e.t.pipeline.stamp(ev.Time))
}

// note writes a note.
func (e *Encoder) note(b []byte, ev *event.Event) []byte {
	n := ev.Note
	p := e.begin(e.t.notes, b, min(int(n.Kind), int(event.NoteKinds)-1))
	p.text(n.Text)
	p.int(n.Value)
	return p.end(e.t.notes.stamp(ev.Time))
}

// summary writes the figures derived from one interval's events.
func (e *Encoder) summary(b []byte, ev *event.Event) ([]byte, int) {
	s, t := ev.Summary, &e.out
	*t = totals{e: e, b: b, at: ev.Time}
	interval := s.Interval.Milliseconds()
	w := t.of(e.t.unique)
	for dir := range s.UniqueCIDs {
		w.put(dir, interval, whole(s.UniqueCIDs[dir]), whole(s.UniquePeers[dir]), whole(s.Askers[dir]))
	}
	w = t.of(e.t.duplicates)
	for dir := range s.Duplicates {
		w.put(dir, interval, whole(s.Duplicates[dir]), whole(s.Rebroadcasts[dir]))
	}
	at := e.t.topCIDs.stamp(ev.Time)
	for list, top := range [...][]event.TopCID{s.TopCIDs, s.TopCIDsByPeers} {
		for rank := range top[:min(len(top), schema.MaxRank)] {
			c := &top[rank]
			p := e.begin(e.t.topCIDs, t.b, list*schema.MaxRank+rank)
			p.cid(c.CID)
			p.uint(c.Wants)
			p.uint(c.Error)
			p.uint(c.Peers)
			e.listed(schema.TopCIDs, list*schema.MaxRank+rank, at, [2]string{e.listedCID(c.CID)}, whole(c.Wants), whole(c.Error), whole(c.Peers))
			t.b = p.end(at)
			t.points++
		}
	}
	missing := e.tables[schema.TopMissing]
	at = missing.stamp(ev.Time)
	for rank := range s.TopMissing[:min(len(s.TopMissing), schema.MaxRank)] {
		c := &s.TopMissing[rank]
		p := e.begin(missing, t.b, rank)
		p.cid(c.CID)
		p.uint(c.Wants)
		p.uint(c.Error)
		e.listed(schema.TopMissing, rank, at, [2]string{e.listedCID(c.CID)}, whole(c.Wants), whole(c.Error))
		t.b = p.end(at)
		t.points++
	}
	at = e.t.topPeers.stamp(ev.Time)
	for rank := range s.TopPeers[:min(len(s.TopPeers), schema.MaxRank)] {
		c := &s.TopPeers[rank]
		e.setPeer(c.Peer)
		p := e.begin(e.t.topPeers, t.b, rank)
		p.raw(e.peerText)
		p.text(c.Agent)
		p.uint(c.Wants)
		p.uint(c.Error)
		e.listed(schema.TopPeers, rank, at, [2]string{e.listedPeer(), e.listedText(c.Agent)}, whole(c.Wants), whole(c.Error))
		t.b = p.end(at)
		t.points++
	}
	t.line(s)
	t.shares(e.t.codecs, s.Codecs)
	t.shares(e.t.versions, s.Versions)
	t.shares(e.t.hashes, s.Hashes)
	w = t.of(e.t.latencyTotals)
	for dir := range s.Latency {
		for answer := range s.Latency[dir] {
			l := &s.Latency[dir][answer]
			w.put(answer*2+dir, interval, whole(l.Count), l.Sum.Microseconds(),
				l.P50.Microseconds(), l.P90.Microseconds(), l.P99.Microseconds(), l.Max.Microseconds())
		}
	}
	if s.DHT != nil {
		t.dht(s.DHT, interval)
	}
	t.retrieval(s, interval)
	hours, points := e.appendHours(t.b)
	t.b, t.points = hours, t.points+points
	t.of(e.t.derived).put(0, interval, whole(s.Missed), int64(s.Pending), whole(s.Lost))
	b, t.b = t.b, nil
	return b, t.points
}

// shares writes parts of a whole, added up by the tag's closed set.
func (t *totals) shares(of *table, parts []event.Share) {
	var sums [16]uint64 // no set is larger
	var there [16]bool
	for _, p := range parts {
		i := of.m.Tags[0].Index(p.Name)
		sums[i] += p.N
		there[i] = true
	}
	w := t.of(of)
	for i := range of.m.Tags[0].Values {
		if there[i] {
			w.put(i, whole(sums[i]))
		}
	}
}

// whole makes a counter an integer of InfluxDB.
func whole(v uint64) int64 { return int64(min(v, math.MaxInt64)) }

// rate makes a measured number an integer; what is none becomes 0.
func rate(v float64) int64 {
	if !(math.Abs(v) < float64(time.Duration(math.MaxInt64))) { // NaN too
		return 0
	}
	return int64(math.Round(v))
}
