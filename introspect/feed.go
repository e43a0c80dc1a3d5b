package introspect

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// maxShown is how many entries of each list of a Bitswap message are shown; counts include all.
const maxShown = 16

// The types of our own events. Their names and columns are stable.
var (
	typeMessage = NewEventType("BitswapMessage", columns(
		"peer", peerID, "direction", text, "agent", text, "country", text, "full", other, "wire_size", number, "pending_bytes", number,
		"want_blocks", number, "want_haves", number, "cancels", number, "haves", number, "dont_haves", number,
		"blocks", number, "block_bytes", number, "truncated", number, "wants", other, "presences", other, "block_list", other, "side", text, "downstream", text, "transport", text)...)
	typeOpened = NewEventType("ConnectionOpened", connColumns...)
	typeClosed = NewEventType("ConnectionClosed", connColumns...)

	typeNote    = NewEventType("MonitorNote", columns("kind", text, "text", text, "value", number)...)
	typeOrigins = NewEventType("Origins", columns("interval_ms", number, "missed", number, "countries", number, "messages", number, "wants", number,
		"blocks", number, "block_bytes", number, "connections", number, "sums", other)...)

	connColumns = columns("connection", text, "peer", peerID, "direction", text, "transport", text, "security", text, "muxer", text,
		"address", multiaddrText, "agent", text, "country", text, "duration_ms", number, "streams", number, "side", text, "downstream", text)
)

const (
	text          = pb.EventType_EventProperty_STRING
	number        = pb.EventType_EventProperty_NUMBER
	peerID        = pb.EventType_EventProperty_PEERID
	multiaddrText = pb.EventType_EventProperty_MULTIADDR
	other         = pb.EventType_EventProperty_JSON
)

// columns takes names and types alternately.
func columns(pairs ...any) []*pb.EventType_EventProperty {
	out := make([]*pb.EventType_EventProperty, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Column(pairs[i].(string), pairs[i+1].(pb.EventType_EventProperty_PropertyType), false))
	}
	return out
}

type messageContent struct {
	Peer         string          `json:"peer"`
	Direction    string          `json:"direction"`
	Agent        string          `json:"agent,omitempty"`
	Country      string          `json:"country,omitempty"`
	Side         string          `json:"side,omitempty"`
	Downstream   event.Text      `json:"downstream,omitempty"`
	Transport    string          `json:"transport"` // libp2p, or http: a request to a trustless gateway
	Full         bool            `json:"full,omitempty"`
	WireSize     int32           `json:"wire_size,omitempty"`
	PendingBytes int32           `json:"pending_bytes,omitempty"`
	WantBlocks   int             `json:"want_blocks,omitempty"`
	WantHaves    int             `json:"want_haves,omitempty"`
	Cancels      int             `json:"cancels,omitempty"`
	Haves        int             `json:"haves,omitempty"`
	DontHaves    int             `json:"dont_haves,omitempty"`
	Blocks       int             `json:"blocks,omitempty"`
	BlockBytes   int64           `json:"block_bytes,omitempty"`
	Truncated    uint32          `json:"truncated,omitempty"`
	Wants        []wantShown     `json:"wants,omitempty"`
	Presences    []presenceShown `json:"presences,omitempty"`
	BlockList    []blockShown    `json:"block_list,omitempty"`
}

type wantShown struct {
	CID      string `json:"cid"`
	Type     string `json:"type"`
	Priority int32  `json:"priority,omitempty"`
}

type presenceShown struct {
	CID  string `json:"cid"`
	Type string `json:"type"`
}

type blockShown struct {
	CID  string `json:"cid"`
	Size int32  `json:"size"`
}

type connContent struct {
	Connection string     `json:"connection"`
	Peer       string     `json:"peer"`
	Direction  string     `json:"direction"`
	Transport  string     `json:"transport"`
	Security   string     `json:"security"`
	Muxer      string     `json:"muxer"`
	Address    event.Text `json:"address"`
	Agent      string     `json:"agent,omitempty"`
	Country    string     `json:"country,omitempty"`
	Side       string     `json:"side,omitempty"`
	Downstream event.Text `json:"downstream,omitempty"`
	DurationMS int64      `json:"duration_ms,omitempty"`
	Streams    int        `json:"streams,omitempty"`
}

type noteContent struct {
	Kind  string     `json:"kind"`
	Text  event.Text `json:"text"`
	Value int64      `json:"value,omitempty"`
}

type originsContent struct {
	IntervalMS  int64         `json:"interval_ms"`
	Missed      uint64        `json:"missed,omitempty"`
	Countries   int           `json:"countries"` // unknown and other are one each
	Messages    uint64        `json:"messages,omitempty"`
	Wants       uint64        `json:"wants,omitempty"`
	Blocks      uint64        `json:"blocks,omitempty"`
	BlockBytes  uint64        `json:"block_bytes,omitempty"`
	Connections uint64        `json:"connections,omitempty"`
	Sums        []originShown `json:"sums,omitempty"` // those with most messages
}

type originShown struct {
	Country     string `json:"country,omitempty"`
	Direction   string `json:"direction"`
	Gateway     bool   `json:"gateway,omitempty"`
	Messages    uint64 `json:"messages,omitempty"`
	Wants       uint64 `json:"wants,omitempty"`
	Blocks      uint64 `json:"blocks,omitempty"`
	BlockBytes  uint64 `json:"block_bytes,omitempty"`
	Connections uint64 `json:"connections,omitempty"`
}

// Feed emits the events of our bus, and keeps the last sample and the last summary for states.
type Feed struct {
	srv *Server
	// agent returns a peer's agent version, "" if unknown; nil: always unknown.
	agent func(peer.ID) string
	quiet bool // no events that name peers are emitted

	mu      sync.Mutex
	sample  *event.Sample
	summary *event.Summary
	until   time.Time // end of summary's interval
}

// NewFeed returns a feed for a server.
func NewFeed(srv *Server, agent func(peer.ID) string) *Feed {
	if agent == nil {
		agent = func(peer.ID) string { return "" }
	}
	return &Feed{srv: srv, agent: agent}
}

// NewQuietFeed returns a feed that emits no events that name peers.
func NewQuietFeed(srv *Server) *Feed {
	f := NewFeed(srv, nil)
	f.quiet = true
	return f
}

// Run reads until ctx ends or the bus is closed. Events that the bus dropped before they were
// read count as discarded in every session that gets events.
func (f *Feed) Run(ctx context.Context, r *bus.Reader) error {
	buf := make([]*event.Event, 64)
	for {
		n, missed, err := r.Next(ctx, buf)
		if errors.Is(err, bus.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if missed > 0 {
			f.srv.Missed(missed)
		}
		for _, e := range buf[:n] {
			f.take(e)
		}
	}
}

// take processes one event. It keeps only samples and summaries, whose memory nobody reuses.
func (f *Feed) take(e *event.Event) {
	switch e.Kind {
	case event.KindMessage:
		if f.quiet {
			return
		}
		f.srv.Emit(typeMessage, e.At(), func() any { return f.message(e) })
	case event.KindConnection:
		if f.quiet {
			return
		}
		t := typeOpened
		if e.Conn.Closed {
			t = typeClosed
		}
		f.srv.Emit(t, e.At(), func() any { return f.connection(e) })
	case event.KindNote:
		f.srv.Emit(typeNote, e.At(), func() any { return noteContent{e.Note.Kind.String(), e.Note.Text, e.Note.Value} })
	case event.KindOrigins:
		f.srv.Emit(typeOrigins, e.At(), func() any { return originSums(e.Origins) })
	case event.KindDHT:
		if !f.quiet {
			f.query(e)
		}
	case event.KindSearch:
		if !f.quiet {
			f.search(e)
		}
	case event.KindRequest:
		if !f.quiet {
			f.request(e)
		}
	case event.KindRetrieval:
		if !f.quiet {
			f.retrieval(e)
		}
	case event.KindSample:
		f.mu.Lock()
		f.sample = e.Sample
		f.mu.Unlock()
	case event.KindSummary:
		f.mu.Lock()
		f.summary, f.until = e.Summary, e.At()
		f.mu.Unlock()
	}
}

func (f *Feed) message(e *event.Event) messageContent {
	out := messageContent{
		Peer: e.Peer.String(), Direction: e.Dir.String(), Agent: f.agent(e.Peer), Country: e.Country, Full: e.Full,
		Side: e.Side.String(), Downstream: e.Downstream, Transport: e.Transport.String(),
		WireSize: e.WireSize, PendingBytes: e.PendingBytes, Blocks: len(e.Blocks), Truncated: e.Truncated,
	}
	for i := range e.Wants {
		w := &e.Wants[i]
		switch w.TypeName() {
		case "cancel":
			out.Cancels++
		case "want_block":
			out.WantBlocks++
		case "want_have":
			out.WantHaves++
		}
		if i < maxShown {
			out.Wants = append(out.Wants, wantShown{CID: w.CID.String(), Type: w.TypeName(), Priority: w.Priority})
		}
	}
	for i, p := range e.Presences {
		switch p.Type {
		case event.Have:
			out.Haves++
		case event.DontHave:
			out.DontHaves++
		}
		if i < maxShown {
			out.Presences = append(out.Presences, presenceShown{CID: p.CID.String(), Type: p.Type.String()})
		}
	}
	for i, b := range e.Blocks {
		out.BlockBytes += int64(b.Size)
		if i < maxShown {
			out.BlockList = append(out.BlockList, blockShown{CID: b.CID.String(), Size: b.Size})
		}
	}
	return out
}

func originSums(o *event.Origins) originsContent {
	out := originsContent{IntervalMS: o.Interval.Milliseconds(), Missed: o.Missed}
	countries := map[string]bool{}
	for i := range o.Sums {
		s := &o.Sums[i]
		countries[s.Country] = true
		out.Messages += s.Messages
		out.Wants += s.Wants
		out.Blocks += s.Blocks
		out.BlockBytes += s.BlockBytes
		out.Connections += s.Connections
	}
	out.Countries = len(countries)
	most := slices.Clone(o.Sums)
	slices.SortStableFunc(most, func(a, b event.Origin) int { return cmp.Compare(b.Messages, a.Messages) })
	for _, s := range most[:min(len(most), maxShown)] {
		out.Sums = append(out.Sums, originShown{s.Country, s.Dir.String(), s.Gateway, s.Messages, s.Wants, s.Blocks, s.BlockBytes, s.Connections})
	}
	return out
}

func (f *Feed) connection(e *event.Event) connContent {
	c := e.Conn
	return connContent{
		Connection: c.ID, Peer: e.Peer.String(), Direction: c.DirectionName(), Transport: c.Transport, Security: c.Security, Muxer: c.Muxer,
		Address: c.Addr, Agent: f.agent(e.Peer), Country: e.Country, DurationMS: c.Duration.Milliseconds(), Streams: c.Streams,
		Side: e.Side.String(), Downstream: e.Downstream,
	}
}

// Sample returns the node's latest totals; nil before the first.
func (f *Feed) Sample() *event.Sample {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sample
}

// Content returns the figures of the last complete interval; nil before there is one.
func (f *Feed) Content() *pb.Content {
	f.mu.Lock()
	s, until := f.summary, f.until
	f.mu.Unlock()
	if s == nil {
		return nil
	}
	out := &pb.Content{
		SinceTs: pb.Millis(until.Add(-s.Interval)), UntilTs: pb.Millis(until),
		Unique: &pb.Content_Unique{
			CidsReceived: s.UniqueCIDs[event.Received], CidsSent: s.UniqueCIDs[event.Sent],
			PeersReceived: s.UniquePeers[event.Received], PeersSent: s.UniquePeers[event.Sent],
		},
		Duplicates: s.Duplicates[event.Received], Rebroadcasts: s.Rebroadcasts[event.Received],
		TopCids: TopCIDs(s.TopCIDs), TopCidsByPeers: TopCIDs(s.TopCIDsByPeers),
		Codecs: shares(s.Codecs), Versions: shares(s.Versions), Hashes: shares(s.Hashes),
	}
	out.TopPeers = TopPeers(s.TopPeers)
	dhtContent(out, s.DHT)
	out.Lines, out.Coverage = lines(s), coverage(&s.Coverage)
	answered(out, s)
	for d := range event.Directions {
		for a := range event.AnswerTypes {
			if l := s.Latency[d][a]; l.Count > 0 {
				out.Latency = append(out.Latency, &pb.Content_Latency{
					Direction: d.String(), Answer: a.String(), Count: l.Count,
					P50Us: micros(l.P50), P90Us: micros(l.P90), P99Us: micros(l.P99), MaxUs: micros(l.Max),
				})
			}
		}
	}
	return out
}

// TopPeers returns a state's list of peers.
func TopPeers(all []event.TopPeer) []*pb.Content_Peer {
	out := make([]*pb.Content_Peer, 0, len(all))
	for _, p := range all {
		out = append(out, &pb.Content_Peer{PeerId: p.Peer.String(), AgentVersion: string(p.Agent), Wants: p.Wants, Error: p.Error})
	}
	return out
}

// TopCIDs returns a state's list of CIDs.
func TopCIDs(all []event.TopCID) []*pb.Content_Cid {
	out := make([]*pb.Content_Cid, 0, len(all))
	for _, c := range all {
		out = append(out, &pb.Content_Cid{Cid: c.CID.String(), Wants: c.Wants, Error: c.Error, Peers: c.Peers})
	}
	return out
}

func shares(all []event.Share) []*pb.Content_Share {
	out := make([]*pb.Content_Share, 0, len(all))
	for _, s := range all {
		out = append(out, &pb.Content_Share{Name: s.Name, Wants: s.N})
	}
	return out
}

func micros(d time.Duration) uint64 { return uint64(max(0, d.Microseconds())) }

// millis is a duration in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
