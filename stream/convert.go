package stream

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// ToEvent returns the event as the monitor had it, under the limits that capture
// enforces, so that it can be published on a bus. What version 3 does not have is
// empty, or "other" where the closed set has no empty value. A gap, or an Event
// with none of its parts, returns an error.
func (e *Event) ToEvent() (*event.Event, error) { return e.ToEventWith(peertext.ID) }

// ToEventWith is ToEvent with another function that decodes the text of a peer: one that
// remembers those that it has decoded.
func (e *Event) ToEventWith(decode func(string) (peer.ID, error)) (*event.Event, error) {
	if y := e.Timestamp.Year(); y < 1970 || y > 2261 {
		return nil, fmt.Errorf("stream: an event of the year %d: want 1970 to 2261", y)
	}
	out := &event.Event{Time: e.Timestamp.UnixNano()}
	switch {
	case e.Note != nil:
		return e.Note.fill(out)
	case e.Origins != nil:
		return e.Origins.fill(out)
	}
	out.Country, out.Gateway = countryCode(e.Country), e.Gateway
	if out.Side = sideOf(e.Side); out.Side == event.Downstream {
		out.Downstream = event.Clean(e.Downstream, event.MaxNameText)
	}
	if e.Search != nil && e.Peer == "" {
		e.Search.fill(out)
		return out, nil
	}
	var err error
	if out.Peer, err = decode(e.Peer); err != nil {
		return nil, fmt.Errorf("stream: an event of %q, which is not a peer ID: %w", event.Clean(e.Peer, 128), err)
	}
	switch {
	case e.Message != nil:
		out.Kind = event.KindMessage
		e.Message.fill(out)
	case e.Sent != nil:
		out.Kind, out.Dir = event.KindMessage, event.Sent
		e.Sent.fill(out)
	case e.Connection != nil:
		out.Kind = event.KindConnection
		out.Conn = e.Connection.conn()
	case e.Identify != nil:
		out.Kind = event.KindIdentify
		out.Identify = e.Identify.identify()
	case e.Flood != nil:
		out.Kind = event.KindFlood
		out.Flood = e.Flood.flood()
		out.Addrs = peertext.AddrTexts(e.Flood.Addrs, event.MaxAddrs)
	case e.DHT != nil:
		e.DHT.fill(out)
	case e.Search != nil:
		e.Search.fill(out)
	case e.Request != nil:
		e.Request.fill(out)
	case e.Retrieval != nil:
		e.Retrieval.fill(out)
	default:
		return nil, fmt.Errorf("stream: an event without a part: want one of %s", strings.Join(kindNames, ", "))
	}
	return out, nil
}

func (m *Message) fill(out *event.Event) {
	out.Full, out.PendingBytes, out.WireSize = m.Full, m.PendingBytes, m.WireSize
	out.Truncated, out.OversizeCID = m.Truncated, m.OversizeCID
	out.Took = time.Duration(max(m.Duration, 0))
	if m.Transport == event.HTTP.String() {
		out.Transport = event.HTTP
	}
	left := func(n int) int {
		if n > event.MaxEntries {
			out.Truncated += uint32(n - event.MaxEntries)
			return event.MaxEntries
		}
		return n
	}
	for _, w := range m.Wants[:left(len(m.Wants))] {
		out.Wants = append(out.Wants, event.Want{
			CID: keep(w.Cid, out), Priority: w.Priority, Type: event.WantType(w.WantType), Cancel: w.Cancel, SendDontHave: w.SendDontHave,
		})
	}
	for i, c := range m.Blocks[:left(len(m.Blocks))] {
		b := event.Block{CID: keep(c, out)}
		if i < len(m.BlockSizes) {
			b.Size = m.BlockSizes[i]
		}
		out.Blocks = append(out.Blocks, b)
	}
	for _, p := range m.Presences[:left(len(m.Presences))] {
		out.Presences = append(out.Presences, event.Presence{CID: keep(p.Cid, out), Type: event.PresenceType(p.Type)})
	}
	out.Addrs = peertext.AddrTexts(m.Addrs, event.MaxAddrs)
}

// keep returns the CID, or cid.Undef if it is longer than an event may have.
func keep(c cid.Cid, out *event.Event) cid.Cid {
	if n := c.ByteLen(); n > event.MaxCIDBytes {
		out.OversizeCID = max(out.OversizeCID, uint32(n))
		return cid.Undef
	}
	return c
}

func (c *Connection) conn() *event.Conn {
	out := &event.Conn{
		ID: string(event.Clean(c.ID, event.MaxProtocolText)), Closed: c.Type == 1, Inbound: c.Direction == "inbound", Limited: c.Limited,
		Addr:      event.Clean(c.Remote, event.MaxAddrText),
		Transport: sets.Name(event.Transports, c.Transport), Security: sets.Name(event.Securities, c.Security), Muxer: sets.Name(event.Muxers, c.Muxer),
		Duration: time.Duration(max(c.DurationNS, 0)), Streams: c.Streams, WasOpen: c.WasOpen, Unmatched: c.Unmatched,
		PeerConns: c.PeerConns, TotalConns: c.TotalConns,
	}
	if c.Opened != nil {
		out.Opened = *c.Opened
	}
	return out
}

func (n *Note) fill(out *event.Event) (*event.Event, error) {
	kind, ok := event.NoteNamed(n.Kind)
	if !ok {
		return nil, fmt.Errorf("stream: a note of kind %q: want one of %s", n.Kind, strings.Join(event.NoteNames[:], ", "))
	}
	out.Kind = event.KindNote
	out.Note = &event.Note{Kind: kind, Value: n.Value, Text: event.Clean(n.Text, event.MaxNoteText)}
	return out, nil
}

func (o *Origins) fill(out *event.Event) (*event.Event, error) {
	if len(o.Sums) > event.MaxOrigins {
		return nil, fmt.Errorf("stream: origins of %d groups of peers: want at most %d", len(o.Sums), event.MaxOrigins)
	}
	out.Kind = event.KindOrigins
	out.Origins = &event.Origins{Interval: time.Duration(max(o.IntervalNS, 0)), Missed: o.Missed}
	for i := range o.Sums {
		s := &o.Sums[i]
		dir := event.Received
		if s.Direction == event.Sent.String() {
			dir = event.Sent
		}
		out.Origins.Sums = append(out.Origins.Sums, event.Origin{Country: originCountry(s.Country), Dir: dir, Gateway: s.Gateway,
			Messages: s.Messages, Wants: s.Wants, Blocks: s.Blocks, BlockBytes: s.BlockBytes, Connections: s.Connections})
	}
	return out, nil
}

// originCountry returns s as the country of an origin: "" if it is unknown, and
// "other" for what is no country.
func originCountry(s string) string {
	if s == "" {
		return ""
	}
	return event.Countries[event.CountryIndex(s)]
}

// countryCode returns s if it has the form of ISO 3166-1 alpha-2, else "". This
// bounds the number of countries, whoever sent them.
func countryCode(s string) string {
	upper := func(c byte) bool { return c >= 'A' && c <= 'Z' }
	if len(s) == 2 && upper(s[0]) && upper(s[1]) {
		return s
	}
	return ""
}

// sideOf returns the side with that name, NoSide for an unknown name.
func sideOf(s string) event.Side {
	return event.Side(max(0, slices.Index(event.SideNames[:], s)))
}

func (i *Identify) identify() *event.Identify {
	return &event.Identify{
		Agent:           event.Clean(i.Agent, event.MaxAgentText),
		ProtocolVersion: event.Clean(i.ProtocolVersion, event.MaxProtocolText),
		Protocols:       peertext.Protocols(i.Protocols),
		ListenAddrs:     peertext.AddrTexts(i.ListenAddrs, event.MaxAddrs),
		ObservedAddr:    event.Clean(i.ObservedAddr, event.MaxAddrText),
	}
}

// flood returns the flood without the command that blocks the peer, which only
// the monitor that saw it makes.
func (f *Flood) flood() *event.Flood {
	state := sets.Index(event.FloodStates, f.State)
	return &event.Flood{
		State: event.FloodState(state), Since: f.Since, Agent: event.Clean(f.Agent, event.MaxAgentText),
		Wants: f.Wants, Messages: f.Messages, WantRate: f.WantRate, MessageRate: f.MessageRate, Share: min(f.Share, 1000), Repeats: min(f.Repeats, 1000),
	}
}
