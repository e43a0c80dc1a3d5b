// Package privacy decides how much of what was seen leaves for a sink.
//
// In: events as they were captured. Out, by mode: the event itself (raw); a
// copy in which peers, CIDs and connections have pseudonyms of the day and
// addresses are cut to networks (pseudonym); sums alone (aggregate).
// Promised: the input event is never changed; fields that this package does
// not know are left out, not passed on; two sinks of one Key show the same
// pseudonyms. Not promised: that nobody can be recognised by behaviour.
// docs/privacy.md says what each mode cannot hide.
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

// Mode is how much a sink gets to see.
type Mode string

// The modes.
const (
	Raw       Mode = "raw"       // everything as it was seen
	Pseudonym Mode = "pseudonym" // who and what under names of the day, addresses as networks
	Aggregate Mode = "aggregate" // sums without anybody's name
)

// Modes are all modes.
var Modes = []Mode{Raw, Pseudonym, Aggregate}

// Check says what is wrong with a mode and what is allowed.
func (m Mode) Check() error {
	if slices.Contains(Modes, m) {
		return nil
	}
	words := make([]string, len(Modes))
	for i, m := range Modes {
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

// New makes a filter. key is for Pseudonym alone and may be nil otherwise;
// filters that share it give the same pseudonyms. A nil log is slog.Default().
func New(mode Mode, key *Key, log *slog.Logger) (*Filter, error) {
	if err := mode.Check(); err != nil {
		return nil, fmt.Errorf("privacy: mode %w", err)
	}
	if mode == Pseudonym && key == nil {
		return nil, errors.New("privacy: pseudonyms need a key")
	}
	if log == nil {
		log = slog.Default()
	}
	return &Filter{mode: mode, key: key, guard: guard.Guard{Log: log}}, nil
}

// Mode is what the filter lets a sink see.
func (f *Filter) Mode() Mode { return f.mode }

// Panics is the number of events left out because of an error of our own.
func (f *Filter) Panics() uint64 { return f.guard.Panics() }

// Apply returns what the sink may see of an event, nil if that is nothing. The
// event is not changed; what comes out may share parts with it. Apply is for
// one goroutine, as bus.Reader.Next is.
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

// aggregate keeps the sums.
func aggregate(e *event.Event) *event.Event {
	switch {
	case e.Kind == event.KindSample && e.Sample != nil: // no IDs in it
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Sample: e.Sample}
	case e.Kind == event.KindClockStep:
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, ClockStep: e.ClockStep}
	case e.Kind == event.KindSummary && e.Summary != nil:
		s := *e.Summary
		s.TopCIDs, s.TopCIDsByPeers, s.TopPeers = nil, nil, nil
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Summary: &s}
	case e.Kind == event.KindProxy && e.Proxy != nil:
		return &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Proxy: proxy(e.Proxy, func(peer.ID) peer.ID { return "" })}
	}
	return nil
}

// proxy copies a proxy's totals. Its nodes keep the names of the configuration.
func proxy(p *event.Proxy, name func(peer.ID) peer.ID) *event.Proxy {
	out := *p
	out.Downstreams = slices.Clone(p.Downstreams)
	for i := range out.Downstreams {
		out.Downstreams[i].Peer = name(out.Downstreams[i].Peer)
	}
	return &out
}

// event copies an event under the names of the day. It names every field that
// it takes over, so that one that is new is left out until somebody decides.
func (n *names) event(e *event.Event) *event.Event {
	out := &event.Event{
		Seq: e.Seq, Time: e.Time, Kind: e.Kind, Dir: e.Dir, Full: e.Full,
		Peer: n.peer(e.Peer), Country: e.Country, Gateway: e.Gateway,
		Side: e.Side, Downstream: e.Downstream, // the names of the configuration
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
	case event.KindProxy:
		out.Proxy = proxy(e.Proxy, n.peer)
	default:
		return nil
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
	for _, t := range s.TopPeers {
		out.TopPeers = append(out.TopPeers, event.TopPeer{Peer: n.peer(t.Peer), Agent: t.Agent, Wants: t.Wants, Error: t.Error})
	}
	return &out
}
