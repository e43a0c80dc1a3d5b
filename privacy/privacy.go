// Package privacy limits what a sink gets to see.
//
// In: events as they were captured. Out, by mode: the event itself (raw); a
// copy in which peers, CIDs and connections have pseudonyms of the day and
// addresses are cut to networks (pseudonym); only events of sums (aggregate).
// Promised: the input event is never changed; fields that this package does
// not know are left out; two sinks with one Key show the same pseudonyms. Not
// promised: that nobody can be recognised by behaviour. docs/privacy.md says
// what each mode cannot hide.
package privacy

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// Mode says how much a sink gets to see.
type Mode string

// The modes.
const (
	Raw       Mode = "raw"       // everything as it was seen
	Pseudonym Mode = "pseudonym" // peers, CIDs and connections as pseudonyms of the day, addresses as networks
	Aggregate Mode = "aggregate" // sums without names
)

// modes are all modes.
var modes = []Mode{Raw, Pseudonym, Aggregate}

// Check returns an error that names the valid modes if m is none of them.
func (m Mode) Check() error {
	if slices.Contains(modes, m) {
		return nil
	}
	words := make([]string, len(modes))
	for i, m := range modes {
		words[i] = string(m)
	}
	return fmt.Errorf("%q: want one of %s", string(m), strings.Join(words, ", "))
}

// Filter applies a mode to the events of one sink.
type Filter struct {
	mode  Mode
	key   *Key
	names names
	guard guard.Guard
}

// New returns a filter. Pseudonym needs a key, the other modes ignore it; filters
// that share a key make the same pseudonyms. A nil log means slog.Default().
func New(mode Mode, key *Key, log *slog.Logger) (*Filter, error) {
	if err := mode.Check(); err != nil {
		return nil, fmt.Errorf("privacy: mode %w", err)
	}
	if mode == Pseudonym && key == nil {
		return nil, errors.New("privacy: mode pseudonym without a key: want one")
	}
	if log == nil {
		log = slog.Default()
	}
	return &Filter{mode: mode, key: key, guard: guard.Guard{Log: log}}, nil
}

// Mode returns the filter's mode.
func (f *Filter) Mode() Mode { return f.mode }

// Panics returns how many events were left out because of a panic.
func (f *Filter) Panics() uint64 { return f.guard.Panics() }

// Apply returns what the sink may see of an event, or nil. It does not change the
// event; the result may share parts with it. Apply is for one goroutine at a
// time, like bus.Reader.Next.
func (f *Filter) Apply(e *event.Event) (out *event.Event) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		out = nil
		f.guard.Caught(p, "privacy: filter an event", "kind", e.Kind.String())
	}()
	switch f.mode {
	case Raw:
		return e
	case Aggregate:
		return aggregate(e)
	case Pseudonym:
		f.names.use(f.key.at(e.Time))
		return f.names.event(e)
	}
	return nil
}

// aggregate returns the event without names if it has sums, else nil.
func aggregate(e *event.Event) *event.Event {
	switch {
	case e.Kind == event.KindSample && e.Sample != nil: // no IDs in it
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Sample: e.Sample}
	case e.Kind == event.KindClockStep:
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, ClockStep: e.ClockStep}
	case e.Kind == event.KindNote: // nothing of a peer in it
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Note: e.Note}
	case e.Kind == event.KindOrigins: // sums by country
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Origins: e.Origins}
	case e.Kind == event.KindPipeline: // the monitor's own counters
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Pipeline: e.Pipeline}
	case e.Kind == event.KindSummary && e.Summary != nil:
		s := *e.Summary
		s.TopCIDs, s.TopCIDsByPeers, s.TopPeers, s.TopMissing = nil, nil, nil, nil
		for dir := range s.Line {
			s.Line[dir].CIDs, s.Line[dir].Peers = nil, nil
		}
		s.DHT = sumsOfDHT(s.DHT)
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Summary: &s}
	case e.Kind == event.KindFleet && e.Fleet != nil:
		f := *e.Fleet
		f.TopCIDs, f.TopByPeer = nil, nil
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Fleet: &f}
	case e.Kind == event.KindProxy && e.Proxy != nil:
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Proxy: proxy(e.Proxy, func(peer.ID) peer.ID { return "" })}
	}
	return nil
}

// proxy copies a proxy's totals and replaces the peer IDs of its nodes. The nodes
// keep their configured names.
func proxy(p *event.Proxy, name func(peer.ID) peer.ID) *event.Proxy {
	out := *p
	out.Downstreams = slices.Clone(p.Downstreams)
	for i := range out.Downstreams {
		out.Downstreams[i].Peer = name(out.Downstreams[i].Peer)
	}
	return &out
}

// event copies an event with the pseudonyms of the day. It lists every field that
// it copies, so that a new field is left out until somebody adds it here.
func (n *names) event(e *event.Event) *event.Event {
	out := &event.Event{
		Seq: e.Seq, Time: e.Time, Kind: e.Kind, Dir: e.Dir, Full: e.Full, Transport: e.Transport, Took: e.Took,
		Peer: n.peer(e.Peer), Country: e.Country, Gateway: e.Gateway,
		Side: e.Side, Downstream: e.Downstream, Monitor: e.Monitor, // configured names
		PendingBytes: e.PendingBytes, WireSize: e.WireSize, Truncated: e.Truncated, OversizeCID: e.OversizeCID,
		Addrs: n.addrs(e.Addrs),
	}
	switch e.Kind {
	case event.KindMessage:
		n.message(out, e)
	case event.KindConnection:
		c := e.Conn
		out.Conn = &event.Conn{
			ID: n.conn(c.ID), Closed: c.Closed, Inbound: c.Inbound, Limited: c.Limited, Addr: n.addr(c.Addr),
			Transport: c.Transport, Security: c.Security, Muxer: c.Muxer, Opened: c.Opened, Duration: c.Duration,
			Streams: c.Streams, WasOpen: c.WasOpen, Unmatched: c.Unmatched, PeerConns: c.PeerConns, TotalConns: c.TotalConns,
		}
	case event.KindIdentify:
		i := e.Identify
		out.Identify = &event.Identify{
			Agent: i.Agent, ProtocolVersion: i.ProtocolVersion, Protocols: i.Protocols,
			ListenAddrs: n.addrs(i.ListenAddrs), ObservedAddr: n.addr(i.ObservedAddr),
		}
	case event.KindSample:
		out.Sample = e.Sample // no IDs in it
	case event.KindLatency:
		l := e.Latency
		out.Latency = &event.Latency{CID: n.cid(l.CID), Want: l.Want, Answer: l.Answer, Elapsed: l.Elapsed}
	case event.KindSummary:
		out.Summary = n.summary(e.Summary)
	case event.KindClockStep:
		out.ClockStep = e.ClockStep
	case event.KindNote:
		out.Note = e.Note // nothing of a peer in it
	case event.KindOrigins:
		out.Origins = e.Origins // sums by country
	case event.KindPipeline:
		out.Pipeline = e.Pipeline // the monitor's own counters
	case event.KindSendError:
		out.SendError = e.SendError // a class and counts
	case event.KindSearch:
		s := e.Search
		out.Search = &event.Search{CID: n.cid(s.CID), State: s.State, HTTP: s.HTTP, Connected: s.Connected, Elapsed: s.Elapsed, Providers: s.Providers}
	case event.KindRetrieval:
		r := e.Retrieval
		out.Retrieval = &event.Retrieval{CID: n.cid(r.CID), Size: r.Size, Source: r.Source, ToProvider: r.ToProvider, ToBlock: r.ToBlock}
	case event.KindRequest:
		r := e.Request
		out.Request = &event.Request{CID: n.cid(r.CID), Want: r.Want, Outcome: r.Outcome, Elapsed: r.Elapsed, Size: r.Size}
	case event.KindProxy:
		out.Proxy = proxy(e.Proxy, n.peer)
	case event.KindFleet:
		f := *e.Fleet // the rest is sums, with configured names
		f.TopCIDs, f.TopByPeer = n.fleetCIDs(f.TopCIDs), n.fleetCIDs(f.TopByPeer)
		out.Fleet = &f
	case event.KindDHT:
		out.DHT = n.dht(e.DHT)
	case event.KindFlood:
		f := *e.Flood
		f.Block = "" // it names the peer
		out.Flood = &f
	default:
		return nil
	}
	return out
}

func (n *names) fleetCIDs(in []event.FleetCID) (out []event.FleetCID) {
	for _, c := range in {
		out = append(out, event.FleetCID{CID: n.cid(c.CID), Requests: c.Requests, Peers: c.Peers, Seen: c.Seen})
	}
	return out
}

func (n *names) message(out, e *event.Event) {
	if len(e.Wants) > 0 {
		out.Wants = make([]event.Want, len(e.Wants))
	}
	for i, w := range e.Wants {
		out.Wants[i] = event.Want{CID: n.cid(w.CID), Priority: w.Priority, Type: w.Type, Cancel: w.Cancel, SendDontHave: w.SendDontHave}
	}
	if len(e.Presences) > 0 {
		out.Presences = make([]event.Presence, len(e.Presences))
	}
	for i, p := range e.Presences {
		out.Presences[i] = event.Presence{CID: n.cid(p.CID), Type: p.Type}
	}
	if len(e.Blocks) > 0 {
		out.Blocks = make([]event.Block, len(e.Blocks))
	}
	for i, b := range e.Blocks {
		out.Blocks[i] = event.Block{CID: n.cid(b.CID), Size: b.Size}
	}
}

func (n *names) summary(s *event.Summary) *event.Summary {
	out := *s
	tops := func(in []event.TopCID) []event.TopCID {
		var tops []event.TopCID
		for _, t := range in {
			tops = append(tops, event.TopCID{CID: n.cid(t.CID), Wants: t.Wants, Error: t.Error, Peers: t.Peers})
		}
		return tops
	}
	out.TopCIDs, out.TopCIDsByPeers, out.TopPeers = tops(s.TopCIDs), tops(s.TopCIDsByPeers), nil
	out.TopMissing = tops(s.TopMissing)
	out.DHT = n.dhtSummary(s.DHT)
	for _, t := range s.TopPeers {
		out.TopPeers = append(out.TopPeers, event.TopPeer{Peer: n.peer(t.Peer), Agent: t.Agent, Wants: t.Wants, Error: t.Error})
	}
	for dir := range s.Line {
		l := &out.Line[dir]
		l.CIDs, l.Peers = nil, nil
		for _, c := range s.Line[dir].CIDs {
			l.CIDs = append(l.CIDs, event.CIDBytes{CID: n.cid(c.CID), Bytes: c.Bytes, Error: c.Error})
		}
		for _, p := range s.Line[dir].Peers {
			l.Peers = append(l.Peers, event.PeerBytes{Peer: n.peer(p.Peer), Agent: p.Agent, Bytes: p.Bytes, Error: p.Error})
		}
	}
	return &out
}
