package lineproto

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// Encoder turns events into lines of InfluxDB's line protocol. It sums nothing from
// one event to the next; SetRollups has somebody else do it. It remembers what keeps points apart and series few: the
// last timestamp of each measurement, the values of open tags, and the transports
// that have points. So there must be one Encoder for all points of a node. It is for
// one goroutine.
type Encoder struct {
	node       string // escaped
	noHistory  bool
	dhtHistory bool // points of the DHT's requests
	tables     map[*schema.Measurement]*table
	t          tables

	side        int          // of the event at hand; see sideOf
	downstreams *names       // of the nodes behind a proxy
	sums        *rollup.Sums // nil: none

	peers    map[peer.ID][]byte // quoted texts
	peerText []byte             // of the event's peer

	transports [2][]int64                       // peers of the sample by direction and transport
	seen       [2][]bool                        // transports that have been written
	origins    []event.Origin                   // by the number of their series
	hours      map[*schema.Measurement]*hours   // by the measurement of the lists
	minutes    map[*schema.Measurement]*minutes // by the measurement that is summed
	ended      ended
	families   uint32 // that coverage was written of, by their places in event.AgentFamilies
	out        totals // being written

	fullMu     sync.Mutex
	full       []tagValue // from TagFull, not applied yet
	hasFull    atomic.Bool
	probeNames probeNames
}

// tables are those of an encoder by name, so that no point looks for its own.
type tables struct {
	wants, blocks, presences, connections, identifies, latency, requests, retrievals                 *table
	lifetimes, blockSizes, asking                                                                    *table
	traffic, peers, origins, agents, protocols, streams, bandwidth, routing, node, process, pipeline *table
	unique, duplicates, topCIDs, topPeers, codecs, versions, hashes, latencyTotals, derived, notes   *table
}

// table is a measurement prepared for encoding.
type table struct {
	m       *schema.Measurement
	keys    []string   // how each field begins: " cid=", ",peer="
	series  []string   // series keys by tag values, escaped; made when first needed
	sides   [][]string // the same for the sides of a proxy, by side-1
	names   *names     // values of its open tag, nil if it has none
	rollups [][]int32  // places in the sums and 1, by side and series; 0: not known yet
	stamps
}

// NewEncoder makes an encoder for the node of that name (the value of the tag
// node). Without history it writes totals only.
func NewEncoder(node string, history bool) *Encoder {
	e := &Encoder{
		node:      string(AppendTag(nil, node)),
		noHistory: !history,
		peers:     make(map[peer.ID][]byte),
		tables:    make(map[*schema.Measurement]*table, len(schema.Summed())),
		origins:   make([]event.Origin, schema.Origins.Series()),
		hours:     make(map[*schema.Measurement]*hours),
	}
	protocolNames := newNames(schema.MaxProtocols, schema.KnownProtocols)
	e.downstreams = newNames(schema.MaxDownstreams, nil)
	for _, m := range schema.Summed() {
		t := &table{m: m, series: make([]string, m.Series())}
		sep := " "
		for _, f := range m.Fields {
			t.keys = append(t.keys, sep+f.Key+"=")
			sep = ","
		}
		for i := range m.Tags {
			switch tag := &m.Tags[i]; {
			case tag.Limit == 0:
			case tag.Key == schema.TagProtocol.Key: // one list for all measurements
				t.names = protocolNames
			case tag.Key == schema.TagDownstream.Key:
				t.names = e.downstreams
			default:
				t.names = newNames(tag.Limit, nil)
			}
		}
		if m.Sided() {
			t.names = e.downstreams
		}
		e.tables[m] = t
	}
	for m, minute := range schema.Minutes {
		e.tables[minute].names = e.tables[m].names
	}
	of := e.tables
	e.t = tables{
		wants: of[schema.Wants], blocks: of[schema.Blocks], presences: of[schema.Presences], connections: of[schema.Connections], identifies: of[schema.Identifies], latency: of[schema.Latency],
		requests: of[schema.HTTPRequests], retrievals: of[schema.Retrievals],
		lifetimes: of[schema.Lifetimes], blockSizes: of[schema.BlockSizes], asking: of[schema.Asking],
		traffic: of[schema.Traffic], peers: of[schema.Peers], origins: of[schema.Origins], agents: of[schema.AgentVersions], protocols: of[schema.Protocols], streams: of[schema.Streams],
		bandwidth: of[schema.Bandwidth], routing: of[schema.Routing], node: of[schema.NodeTotals], process: of[schema.Process], pipeline: of[schema.Pipeline],
		unique: of[schema.Unique], duplicates: of[schema.Duplicates], topCIDs: of[schema.TopCIDs], topPeers: of[schema.TopPeers],
		codecs: of[schema.Codecs], versions: of[schema.CIDVersions], hashes: of[schema.Hashes], latencyTotals: of[schema.LatencyTotals], derived: of[schema.Derived], notes: of[schema.Notes],
	}
	for dir := range e.seen {
		e.transports[dir] = make([]int64, len(schema.TagTransport.Values))
		e.seen[dir] = make([]bool, len(schema.TagTransport.Values))
		e.seen[dir][schema.TagTransport.Index("tcp")] = true
		e.seen[dir][schema.TagTransport.Index("quic-v1")] = true
	}
	return e
}

// Append appends the event's points to the buffers of their kinds, each line
// ended by a newline, and returns the buffers and how many points each got.
func (e *Encoder) Append(bufs [schema.Kinds][]byte, ev *event.Event) (out [schema.Kinds][]byte, points [schema.Kinds]int) {
	e.side = e.sideOf(ev)
	switch {
	case ev.Kind == event.KindSample && ev.Sample != nil:
		bufs[schema.Totals], points[schema.Totals] = e.sample(bufs[schema.Totals], ev)
		return bufs, points
	case ev.Kind == event.KindNote && ev.Note != nil:
		bufs[schema.Totals], points[schema.Totals] = e.note(bufs[schema.Totals], ev), 1
		return bufs, points
	case ev.Kind == event.KindOrigins && ev.Origins != nil:
		bufs[schema.Totals], points[schema.Totals] = e.originSums(bufs[schema.Totals], ev)
		return bufs, points
	case ev.Kind == event.KindPipeline && ev.Pipeline != nil:
		bufs[schema.Totals], points[schema.Totals] = e.pipeline(bufs[schema.Totals], ev), 1
		return bufs, points
	case ev.Kind == event.KindSummary && ev.Summary != nil:
		bufs[schema.Totals], points[schema.Totals] = e.summary(bufs[schema.Totals], ev)
		return bufs, points
	case ev.Kind == event.KindFlood && ev.Flood != nil:
		e.side = int(event.NoSide) // totals are of the whole
		bufs[schema.Totals], points[schema.Totals] = e.flood(bufs[schema.Totals], ev), 1
		return bufs, points
	case ev.Kind == event.KindProxy && ev.Proxy != nil:
		bufs[schema.Totals], points[schema.Totals] = e.proxy(bufs[schema.Totals], ev)
		return bufs, points
	case ev.Kind == event.KindFleet && ev.Fleet != nil:
		bufs[schema.Totals], points[schema.Totals] = e.fleet(bufs[schema.Totals], ev)
		return bufs, points
	case ev.Kind == event.KindProbe && ev.Probe != nil:
		bufs[schema.Totals], points[schema.Totals] = e.probe(bufs[schema.Totals], ev), 1
		return bufs, points
	}
	if e.noHistory && e.sums == nil {
		return bufs, points
	}
	switch {
	case ev.Kind == event.KindMessage:
		bufs[schema.History], points[schema.History] = e.message(bufs[schema.History], ev)
	case ev.Kind == event.KindConnection && ev.Conn != nil:
		bufs[schema.History], points[schema.History] = e.connection(bufs[schema.History], ev)
	case ev.Kind == event.KindIdentify && ev.Identify != nil:
		bufs[schema.History], points[schema.History] = e.identify(bufs[schema.History], ev)
	case ev.Kind == event.KindDHT && ev.DHT != nil:
		if e.dhtHistory && !e.noHistory {
			bufs[schema.History], points[schema.History] = e.dht(bufs[schema.History], ev), 1
		}
	case ev.Kind == event.KindLatency && ev.Latency != nil:
		bufs[schema.History], points[schema.History] = e.latency(bufs[schema.History], ev)
	case ev.Kind == event.KindRequest && ev.Request != nil:
		bufs[schema.History], points[schema.History] = e.request(bufs[schema.History], ev)
	case ev.Kind == event.KindRetrieval && ev.Retrieval != nil:
		bufs[schema.History], points[schema.History] = e.retrieval(bufs[schema.History], ev)
	}
	return bufs, points
}

// message writes what is in a message. Of one over HTTP that is its blocks: its
// wants and the other answers are requests.
func (e *Encoder) message(b []byte, ev *event.Event) ([]byte, int) {
	e.setPeer(ev.Peer)
	http := ev.Transport != event.Libp2p
	dir, gateway, country := int(ev.Dir&1), sets.Bit(ev.Gateway), quotedCountries[event.CountryIndex(ev.Country)]
	wants, presences := ev.Wants, ev.Presences
	if http {
		wants, presences = nil, nil
	}
	for i := range wants {
		w := &wants[i]
		at := e.t.wants.stamp(ev.Time)
		e.asked(dir, ev.Full, w, at)
		p, write := e.point(e.t.wants, b, ((codecIndex(w.CID)*2+dir)*2+gateway)*4+wantIndex(w), at, 0)
		if !write {
			continue
		}
		p.cid(w.CID)
		p.raw(e.peerText)
		p.int(int64(w.Priority))
		p.bool(w.SendDontHave)
		p.bool(ev.Full)
		p.word(country)
		b = p.end(at)
	}
	for i := range presences {
		x := &presences[i]
		kind := 2
		if x.Type == event.Have || x.Type == event.DontHave {
			kind = int(x.Type)
		}
		at := e.t.presences.stamp(ev.Time)
		p, write := e.point(e.t.presences, b, ((codecIndex(x.CID)*2+dir)*2+gateway)*3+kind, at, 0)
		if !write {
			continue
		}
		p.cid(x.CID)
		p.raw(e.peerText)
		p.word(country)
		b = p.end(at)
	}
	for i := range ev.Blocks {
		x := &ev.Blocks[i]
		at := e.t.blocks.stamp(ev.Time)
		e.sized(dir, x, at)
		p, write := e.point(e.t.blocks, b, ((codecIndex(x.CID)*2+dir)*2+gateway)*2+sets.Bit(http), at, int64(x.Size))
		if !write {
			continue
		}
		p.cid(x.CID)
		p.raw(e.peerText)
		p.int(int64(x.Size))
		p.word(country)
		b = p.end(at)
	}
	if e.noHistory {
		return b, 0
	}
	return b, len(wants) + len(presences) + len(ev.Blocks)
}

func (e *Encoder) connection(b []byte, ev *event.Event) ([]byte, int) {
	c, tags := ev.Conn, schema.Connections.Tags
	e.setPeer(ev.Peer)
	s := sets.Bit(!c.Inbound)
	s = s*2 + sets.Bit(c.Limited)
	s = s*len(tags[2].Values) + tags[2].Index(c.Muxer)
	s = s*len(tags[4].Values) + tags[4].Index(c.Security)
	s = s*2 + sets.Bit(c.Closed)
	s = s*len(schema.TagTransport.Values) + schema.TagTransport.Index(c.Transport)
	at := e.t.connections.stamp(ev.Time)
	e.lived(c, at)
	p, write := e.point(e.t.connections, b, s, at, c.Duration.Milliseconds())
	if !write {
		return b, 0
	}
	p.raw(e.peerText)
	p.text(c.Addr)
	p.int(c.Duration.Milliseconds())
	p.int(int64(c.Streams))
	p.bool(c.WasOpen)
	p.bool(c.Unmatched)
	p.int(int64(c.PeerConns))
	p.int(int64(c.TotalConns))
	p.word(quotedCountries[event.CountryIndex(ev.Country)])
	p.bool(ev.Gateway)
	return p.end(at), 1
}

func (e *Encoder) identify(b []byte, ev *event.Event) ([]byte, int) {
	id := ev.Identify
	e.setPeer(ev.Peer)
	at := e.t.identifies.stamp(ev.Time)
	p, write := e.point(e.t.identifies, b, sets.Bit(ev.Gateway), at, int64(len(id.Protocols)))
	if !write {
		return b, 0
	}
	p.raw(e.peerText)
	p.text(id.Agent)
	p.text(id.ProtocolVersion)
	p.int(int64(len(id.Protocols)))
	p.int(int64(len(id.ListenAddrs)))
	p.text(id.ObservedAddr)
	p.word(quotedCountries[event.CountryIndex(ev.Country)])
	return p.end(at), 1
}

func (e *Encoder) latency(b []byte, ev *event.Event) ([]byte, int) {
	l := ev.Latency
	e.setPeer(ev.Peer)
	answer, kind := min(int(l.Answer), int(event.AnswerTypes)-1), 2
	if l.Want == event.WantBlock || l.Want == event.WantHave {
		kind = int(l.Want)
	}
	at := e.t.latency.stamp(ev.Time)
	p, write := e.point(e.t.latency, b, ((answer*2+int(ev.Dir&1))*2+sets.Bit(ev.Gateway))*3+kind, at, l.Elapsed.Microseconds())
	if !write {
		return b, 0
	}
	p.cid(l.CID)
	p.raw(e.peerText)
	p.int(l.Elapsed.Microseconds())
	p.word(quotedCountries[event.CountryIndex(ev.Country)])
	return p.end(at), 1
}

// maxPeerTexts is how many peers' texts are kept, about 2 MiB: a text costs as much
// as the rest of a point, and most peers come again soon.
const maxPeerTexts = 1 << 14

func (e *Encoder) setPeer(p peer.ID) {
	text, ok := e.peers[p]
	if !ok {
		if len(e.peers) >= maxPeerTexts {
			clear(e.peers)
		}
		text = append(cidtext.AppendPeer([]byte{'"'}, p), '"')
		e.peers[p] = text
	}
	e.peerText = text
}

// begin starts a point with the series key of that number: the places of its
// tags' values, the first tag's counting most.
func (e *Encoder) begin(t *table, b []byte, series int) point {
	keys := t.series
	if e.side > 0 {
		keys = t.onSide(e.side)
	}
	key := keys[series]
	if key == "" {
		key = e.seriesKey(t, series)
		keys[series] = key
	}
	return point{buf: append(b, key...), t: t}
}

func (e *Encoder) seriesKey(t *table, series int) string { return t.m.Name + e.tags(t, series, nil) }

// tags returns the tags of a series as in a line, each with a comma before it: those with the keys, or
// with nil all.
func (e *Encoder) tags(t *table, series int, keys []string) string {
	tags := e.sideKeys(nil)
	for i := len(t.m.Tags) - 1; i >= 0; i-- {
		tag := &t.m.Tags[i]
		value, n := e.node, tag.Size()
		switch {
		case tag.Values != nil && tag.Values[series%n] == "":
			value = ""
		case tag.Values != nil:
			value = string(AppendTag(nil, tag.Values[series%n]))
		case tag.Limit > 0:
			value = string(AppendTag(nil, t.names.list[series%n]))
		}
		series /= n
		if value != "" && (keys == nil || slices.Contains(keys, tag.Key)) {
			tags = append(tags, ","+tag.Key+"="+value)
		}
	}
	slices.Sort(tags)
	return strings.Join(tags, "")
}

// point is a line being written. Its methods add the fields in the order of
// the schema.
type point struct {
	buf   []byte
	t     *table
	field int
}

func (p *point) key() {
	p.buf = append(p.buf, p.t.keys[p.field]...)
	p.field++
}

func (p *point) int(v int64) {
	p.key()
	p.buf = append(strconv.AppendInt(p.buf, v, 10), 'i')
}

func (p *point) bool(v bool) {
	p.key()
	p.buf = strconv.AppendBool(p.buf, v)
}

func (p *point) text(v event.Text) {
	p.key()
	p.buf = AppendString(p.buf, string(v))
}

func (p *point) cid(c cid.Cid) {
	p.key()
	p.buf = append(cidtext.AppendCID(append(p.buf, '"'), c), '"')
}

// uint adds a counter; what InfluxDB cannot hold is the most it can.
func (p *point) uint(v uint64) { p.int(int64(min(v, math.MaxInt64))) }

// word adds text that is quoted already.
func (p *point) word(quoted string) {
	p.key()
	p.buf = append(p.buf, quoted...)
}

// raw adds a value that is encoded already.
func (p *point) raw(v []byte) {
	p.key()
	p.buf = append(p.buf, v...)
}

func (p *point) end(at int64) []byte {
	return append(strconv.AppendInt(append(p.buf, ' '), at, 10), '\n')
}

func wantIndex(w *event.Want) int {
	switch {
	case w.Cancel:
		return 2
	case w.Type == event.WantBlock:
		return 0
	case w.Type == event.WantHave:
		return 1
	}
	return 3
}

func codecIndex(c cid.Cid) int {
	switch c.Type() {
	case cid.DagProtobuf:
		return 0
	case cid.Raw:
		return 1
	case cid.DagCBOR:
		return 2
	case cid.DagJSON:
		return 3
	case cid.Libp2pKey:
		return 4
	}
	return 5
}
