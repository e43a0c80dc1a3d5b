package archive

import (
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// maxDHTName is the longest text of a DHT request's key, in bytes.
const maxDHTName = 2*event.MaxDHTKeyBytes + 8

// decoder makes events of rows. It trusts no text of them: the archive may be
// anybody's.
type decoder struct {
	peers map[string]peer.ID
	cids  map[string]cid.Cid
	out   event.Event
}

func newDecoder() *decoder {
	return &decoder{peers: map[string]peer.ID{}, cids: map[string]cid.Cid{}}
}

func (d *decoder) peer(s string) (peer.ID, error) {
	if s == "" {
		return "", nil
	}
	p, ok := d.peers[s]
	if !ok {
		var err error
		if p, err = peertext.ID(s); err != nil {
			return "", fmt.Errorf("%q is not a peer ID: %w", shortened(s), err)
		}
		if len(d.peers) >= texts {
			clear(d.peers)
		}
		d.peers[string([]byte(s))] = p
	}
	return p, nil
}

func (d *decoder) cid(s string) (cid.Cid, error) {
	if s == "" {
		return cid.Undef, nil
	}
	c, ok := d.cids[s]
	if !ok {
		var err error
		if c, err = cidtext.Parse(s); err != nil {
			return cid.Undef, fmt.Errorf("%q is not a CID: %w", shortened(s), err)
		}
		if n := c.ByteLen(); n > event.MaxCIDBytes+4 {
			return cid.Undef, fmt.Errorf("a CID of %d bytes: want at most %d", n, event.MaxCIDBytes+4)
		}
		if len(d.cids) >= texts {
			clear(d.cids)
		}
		d.cids[string([]byte(s))] = c
	}
	return c, nil
}

func shortened(s string) event.Text { return event.Clean(s, 80) }

func directionOf(s string) event.Direction {
	if s == event.Sent.String() {
		return event.Sent
	}
	return event.Received
}

func transportOf(s string) event.Transport {
	if s == event.HTTP.String() {
		return event.HTTP
	}
	return event.Libp2p
}

// index returns the place of a name in a closed set of which no value stands for
// others, the first for a name that is not in it.
func index(set []string, name string) int { return max(0, slices.Index(set, name)) }

func span64(n int64) time.Duration { return time.Duration(max(n, 0)) }
func count(n int32) int            { return int(max(n, 0)) }
func count64(n int64) uint64       { return uint64(max(n, 0)) }

func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// begin makes d.out the event of a row.
func (d *decoder) begin(k event.Kind, at int64, seq int64, r *Remote) (err error) {
	e := &d.out
	*e = event.Event{Kind: k, Time: at, Seq: count64(seq), Wants: e.Wants[:0], Presences: e.Presences[:0], Blocks: e.Blocks[:0]}
	if r == nil {
		return nil
	}
	e.Country, e.Gateway, e.Side = country(r.Country), r.Gateway, event.Side(index(event.SideNames[:], r.Side))
	if e.Side == event.Downstream {
		e.Downstream = event.Clean(r.Downstream, event.MaxNameText)
	}
	e.Peer, err = d.peer(r.Peer)
	return err
}

// country returns s if it has the form of a code, else "".
func country(s string) string {
	if len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z' {
		return string([]byte(s))
	}
	return ""
}

// item returns what the current row of a table stands for, and moves to the next
// row: of a message also past its parts.
func (d *decoder) item(in *[tableCount]*mergedRows, t tableAt) (item Item, err error) {
	item.Event = &d.out
	s := in[t]
	switch t {
	case messages:
		err = d.message(in)
		return item, err
	case wants, presences, blocks:
		item.Parts = true
		err = d.loose(in, t)
		return item, err
	case origins:
		err = d.origins(s)
		return item, err
	case gaps:
		g := *current[Gap](s)
		item.Event, item.Gap = nil, &g
	case connections:
		err = d.connection(current[Connection](s))
	case identifies:
		err = d.identify(current[Identify](s))
	case latencies:
		err = d.latency(current[Latency](s))
	case notes:
		err = d.note(current[Note](s))
	case dhts:
		err = d.dht(current[DHT](s))
	case searches:
		err = d.search(current[Search](s))
	case retrievals:
		err = d.retrieval(current[Retrieval](s))
	case requests:
		err = d.request(current[Request](s))
	case floods:
		err = d.flood(current[Flood](s))
	default:
		err = fmt.Errorf("the table %s has no events", tables[t].about().Name)
	}
	s.next()
	return item, err
}

func (d *decoder) message(in *[tableCount]*mergedRows) error {
	m := current[Message](in[messages])
	err := d.begin(event.KindMessage, m.Time, m.Seq, &m.Remote)
	e := &d.out
	e.Dir, e.Transport, e.Full, e.Took = directionOf(m.Direction), transportOf(m.Transport), m.Full, span64(m.Took)
	e.PendingBytes, e.WireSize, e.Truncated, e.OversizeCID = m.PendingBytes, m.WireSize, uint32(m.Truncated), uint32(m.OversizeCID)
	e.Addrs = peertext.AddrTexts(m.Addrs, event.MaxAddrs)
	at := m.place()
	in[messages].next()
	for _, t := range []tableAt{wants, presences, blocks} {
		for in[t].some && in[t].place().time == at.time && in[t].place().message == at.message {
			if partErr := d.part(in[t], t); err == nil {
				err = partErr
			}
			in[t].next()
		}
	}
	return err
}

// part adds the current row of wants, presences or blocks to d.out.
func (d *decoder) part(s *mergedRows, t tableAt) error {
	e := &d.out
	if len(e.Wants)+len(e.Presences)+len(e.Blocks) >= 3*event.MaxEntries {
		return fmt.Errorf("a message of more than %d parts", 3*event.MaxEntries)
	}
	switch t {
	case wants:
		r := current[Want](s)
		c, err := d.cid(r.CID)
		if err != nil {
			return err
		}
		e.Wants = append(e.Wants, event.Want{CID: c, Priority: r.Priority, Type: event.WantType(r.WantType), Cancel: r.Type == "cancel", SendDontHave: r.SendDontHave})
	case presences:
		r := current[Presence](s)
		c, err := d.cid(r.CID)
		if err != nil {
			return err
		}
		e.Presences = append(e.Presences, event.Presence{CID: c, Type: event.PresenceType(r.PresenceType)})
	case blocks:
		r := current[Block](s)
		c, err := d.cid(r.CID)
		if err != nil {
			return err
		}
		e.Blocks = append(e.Blocks, event.Block{CID: c, Size: r.Size})
	}
	return nil
}

// loose makes a message of one row of wants, presences or blocks.
func (d *decoder) loose(in *[tableCount]*mergedRows, t tableAt) error {
	s := in[t]
	var r *Entry
	switch t {
	case wants:
		r = &current[Want](s).Entry
	case presences:
		r = &current[Presence](s).Entry
	default:
		r = &current[Block](s).Entry
	}
	err := d.begin(event.KindMessage, r.Time, 0, &r.Remote)
	d.out.Dir, d.out.Transport = directionOf(r.Direction), transportOf(r.Transport)
	if err == nil {
		err = d.part(s, t)
	}
	s.next()
	return err
}

// origins puts the sums of one interval together again.
func (d *decoder) origins(s *mergedRows) error {
	r := current[Origin](s)
	at, seq := r.Time, r.Seq
	err := d.begin(event.KindOrigins, at, seq, nil)
	o := &event.Origins{Interval: span64(r.Interval), Missed: count64(r.Missed)}
	d.out.Origins = o
	for ; s.some; s.next() {
		if r = current[Origin](s); r.Time != at || r.Seq != seq || len(o.Sums) >= event.MaxOrigins {
			break
		}
		if r.Direction == "" {
			continue
		}
		c := r.Country
		if c != "" {
			c = event.Countries[event.CountryIndex(c)]
		}
		o.Sums = append(o.Sums, event.Origin{Country: c, Dir: directionOf(r.Direction), Gateway: r.Gateway, Messages: count64(r.Messages), Wants: count64(r.Wants),
			Blocks: count64(r.Blocks), BlockBytes: count64(r.BlockBytes), Connections: count64(r.Connections)})
	}
	return err
}

func (d *decoder) connection(r *Connection) error {
	err := d.begin(event.KindConnection, r.Time, r.Seq, &r.Remote)
	d.out.Conn = &event.Conn{ID: string(event.Clean(r.ID, event.MaxProtocolText)), Closed: r.State == "closed", Inbound: r.Direction == "inbound", Limited: r.Limited,
		Addr: event.Clean(r.Addr, event.MaxAddrText), Transport: sets.Name(event.Transports, r.Transport), Security: sets.Name(event.Securities, r.Security),
		Muxer: sets.Name(event.Muxers, r.Muxer), Opened: timeOf(r.Opened), Duration: span64(r.Duration), Streams: count(r.Streams), WasOpen: r.WasOpen,
		Unmatched: r.Unmatched, PeerConns: count(r.PeerConns), TotalConns: count(r.TotalConns)}
	return err
}

func (d *decoder) identify(r *Identify) error {
	err := d.begin(event.KindIdentify, r.Time, r.Seq, &r.Remote)
	d.out.Identify = &event.Identify{Agent: event.Clean(r.Agent, event.MaxAgentText), ProtocolVersion: event.Clean(r.ProtocolVersion, event.MaxProtocolText),
		Protocols: peertext.Protocols(r.Protocols), ListenAddrs: peertext.AddrTexts(r.ListenAddrs, event.MaxAddrs), ObservedAddr: event.Clean(r.ObservedAddr, event.MaxAddrText)}
	return err
}

func (d *decoder) latency(r *Latency) error {
	err := d.begin(event.KindLatency, r.Time, r.Seq, &r.Remote)
	d.out.Dir = directionOf(r.Direction)
	l := &event.Latency{Elapsed: span64(r.Elapsed), Answer: event.AnswerType(index([]string{"block", "have", "dont_have"}, r.Answer))}
	if r.Want == "want_have" {
		l.Want = event.WantHave
	}
	var cidErr error
	if l.CID, cidErr = d.cid(r.CID); err == nil {
		err = cidErr
	}
	d.out.Latency = l
	return err
}

func (d *decoder) note(r *Note) error {
	err := d.begin(event.KindNote, r.Time, r.Seq, nil)
	kind, ok := event.NoteNamed(r.Kind)
	if !ok {
		return fmt.Errorf("a note of kind %q", shortened(r.Kind))
	}
	d.out.Note = &event.Note{Kind: kind, Value: r.Value, Text: event.Clean(r.Text, event.MaxNoteText)}
	return err
}

func (d *decoder) dht(r *DHT) (err error) {
	if err = d.begin(event.KindDHT, r.Time, r.Seq, &r.Remote); err != nil {
		return err
	}
	d.out.Dir = directionOf(r.Direction)
	x := &event.DHTRequest{Type: event.DHTOther, Status: event.DHTFailed, LAN: r.Table == "lan", Providers: count(r.Providers), Closer: count(r.Closer),
		Elapsed: span64(r.Elapsed), Name: event.Clean(r.Name, maxDHTName)}
	if i := slices.Index(event.DHTTypeNames[:], r.Type); i >= 0 {
		x.Type = event.DHTType(i)
	}
	if i := slices.Index(event.DHTStatusNames[:], r.Status); i >= 0 {
		x.Status = event.DHTStatus(i)
	}
	d.out.DHT = x
	if x.CID, err = d.cid(r.CID); err != nil {
		return err
	}
	x.Target, err = d.peer(r.Target)
	return err
}

func (d *decoder) search(r *Search) (err error) {
	if err = d.begin(event.KindSearch, r.Time, r.Seq, &r.Remote); err != nil {
		return err
	}
	d.out.Addrs = peertext.AddrTexts(r.Addrs, event.MaxAddrs)
	s := &event.Search{State: event.SearchState(sets.Index(event.SearchStates, r.State)), HTTP: r.HTTP, Connected: r.Connected, Elapsed: span64(r.Elapsed), Providers: count(r.Providers)}
	d.out.Search = s
	s.CID, err = d.cid(r.CID)
	return err
}

func (d *decoder) retrieval(r *Retrieval) (err error) {
	if err = d.begin(event.KindRetrieval, r.Time, r.Seq, &r.Remote); err != nil {
		return err
	}
	d.out.Transport = transportOf(r.Transport)
	x := &event.Retrieval{Size: max(r.Size, 0), Source: event.Source(sets.Index(event.SourceNames[:], r.Source)), ToProvider: span64(r.ToProvider), ToBlock: span64(r.ToBlock)}
	d.out.Retrieval = x
	x.CID, err = d.cid(r.CID)
	return err
}

func (d *decoder) request(r *Request) (err error) {
	if err = d.begin(event.KindRequest, r.Time, r.Seq, &r.Remote); err != nil {
		return err
	}
	d.out.Dir, d.out.Transport, d.out.Addrs = event.Sent, event.HTTP, peertext.AddrTexts(r.Addrs, event.MaxAddrs)
	x := &event.Request{Want: event.WantType(sets.Index(event.RequestMethods[:], r.Method)), Outcome: event.RequestOutcome(sets.Index(event.RequestOutcomeNames[:], r.Outcome)),
		Size: max(r.Size, 0), Elapsed: span64(r.Elapsed)}
	d.out.Request = x
	x.CID, err = d.cid(r.CID)
	return err
}

func (d *decoder) flood(r *Flood) error {
	err := d.begin(event.KindFlood, r.Time, r.Seq, &r.Remote)
	d.out.Addrs = peertext.AddrTexts(r.Addrs, event.MaxAddrs)
	d.out.Flood = &event.Flood{State: event.FloodState(sets.Index(event.FloodStates, r.State)), Since: timeOf(r.Since), Agent: event.Clean(r.Agent, event.MaxAgentText),
		Wants: count64(r.Wants), Messages: count64(r.Messages), WantRate: count64(r.WantRate), MessageRate: count64(r.MessageRate),
		Share: uint16(min(max(r.Share, 0), 1000)), Repeats: uint16(min(max(r.Repeats, 0), 1000))}
	return err
}
