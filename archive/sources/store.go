package sources

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// Store makes archives of the history of an InfluxDB, one source for each monitor and
// hour. A store has the parts of messages, and not which of them came together.
type Store struct {
	client *client.Client
	from   string // retention policy, as InfluxQL names it
	Options
}

// NewStore returns the history of a server.
func NewStore(c *client.Client, o Options) *Store {
	return &Store{client: c, from: fmt.Sprintf("%q.%q", c.Database(), schema.History.String()), Options: o}
}

// measurements are those of history, and what is made of a point of each.
var measurements = []struct {
	name string
	make func(*point) *event.Event
}{
	{"wants", (*point).want}, {"presences", (*point).presence}, {"blocks", (*point).block}, {"connections", (*point).connection},
	{"identifies", (*point).identify}, {"latency", (*point).latency}, {"http_requests", (*point).request}, {"retrievals", (*point).retrieval}, {"dht_log", (*point).dht},
}

// Hour is an hour of one monitor.
type Hour struct {
	Monitor string
	At      time.Time
}

// Hours lists the whole hours of all monitors from since on, the oldest first. An
// hour that is not over is left out.
func (s *Store) Hours(ctx context.Context, since, now time.Time) ([]Hour, error) {
	var out []Hour
	end := now.UTC().Truncate(time.Hour)
	names := &values{}
	if err := s.client.Query(ctx, fmt.Sprintf("SHOW TAG VALUES FROM %s./.*/ WITH KEY = \"node\"", s.from), false, names); err != nil {
		return nil, fmt.Errorf("archive: list the monitors of the store: %w", err)
	}
	slices.Sort(names.column)
	for _, monitor := range slices.Compact(names.column) {
		first := end
		for _, m := range measurements {
			at := &values{}
			statement := fmt.Sprintf("SELECT * FROM %s.%q WHERE \"node\" = '%s'%s ORDER BY time LIMIT 1", s.from, m.name, quoted(monitor), after(since))
			if err := s.client.Query(ctx, statement, false, at); err != nil {
				return nil, fmt.Errorf("archive: %s: %w", m.name, err)
			}
			for _, t := range at.times {
				if h := t.Truncate(time.Hour); h.Before(first) {
					first = h
				}
			}
		}
		for at := first; at.Before(end); at = at.Add(time.Hour) {
			out = append(out, Hour{monitor, at})
		}
	}
	slices.SortStableFunc(out, func(a, b Hour) int { return a.At.Compare(b.At) })
	return out, nil
}

func after(since time.Time) string {
	if since.IsZero() {
		return ""
	}
	return fmt.Sprintf(" AND time >= %d", since.UnixNano())
}

// quoted escapes a text in single quotes of InfluxQL.
func quoted(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] == '\'' || s[i] == '\\' {
			out = append(out, '\\')
		}
		out = append(out, s[i])
	}
	return string(out)
}

// Hour makes an archive of one hour.
func (s *Store) Hour(ctx context.Context, h Hour) (r Result, err error) {
	r.Name = fmt.Sprintf("store, %s", h.At.Format("2006-01-02 15:00 UTC"))
	id := archive.SourceID("store", h.Monitor, h.At.Format(time.RFC3339))
	if r.Before, err = archive.Made(s.Dir, id); err != nil || r.Before {
		return r, err
	}
	w, err := archive.NewWriter(s.Dir, archive.Options{Monitor: h.Monitor, Source: id, BinaryCIDs: s.BinaryCIDs})
	if err != nil {
		return r, err
	}
	defer w.Abort()
	for _, m := range measurements {
		p := &point{each: func(p *point) error {
			e := m.make(p)
			if e == nil || p.err != nil {
				p.err = nil
				r.Skipped++
				return nil
			}
			if e.Kind == event.KindMessage {
				return w.AddParts(e)
			}
			return w.Add(e)
		}}
		statement := fmt.Sprintf("SELECT * FROM %s.%q WHERE \"node\" = '%s' AND time >= %d AND time < %d", s.from, m.name, quoted(h.Monitor),
			h.At.UnixNano(), h.At.Add(time.Hour).UnixNano())
		if err := s.client.Query(ctx, statement, false, p); err != nil {
			return r, fmt.Errorf("archive: read %s of the store: %w", m.name, err)
		}
	}
	if r.Rows = w.Rows; w.Rows == 0 {
		return r, nil
	}
	return r, w.Commit(r.Source)
}

// values is an Output that keeps the last column of all rows and their times.
type values struct {
	column []string
	times  []time.Time
	at     int // place of the column time, -1: there is none
}

func (v *values) Series(_ string, _ []client.Label, columns []string) error {
	v.at = slices.Index(columns, "time")
	return nil
}

func (v *values) Row(row []any) error {
	if v.at >= 0 {
		t, err := time.Parse(time.RFC3339Nano, fmt.Sprint(row[v.at]))
		if err != nil {
			return fmt.Errorf("a point's time: %w", err)
		}
		v.times = append(v.times, t)
	} else if len(row) > 0 {
		v.column = append(v.column, fmt.Sprint(row[len(row)-1]))
	}
	return nil
}

func (v *values) Close() error { return nil }

// point is an Output that calls each with one point after the other.
type point struct {
	each    func(*point) error
	columns map[string]int
	row     []any
	err     error // of a value of this point
}

func (p *point) Series(_ string, _ []client.Label, columns []string) error {
	p.columns = make(map[string]int, len(columns))
	for i, c := range columns {
		p.columns[c] = i
	}
	return nil
}

func (p *point) Row(row []any) error {
	p.row = row
	return p.each(p)
}

func (p *point) Close() error { return nil }

func (p *point) value(key string) any {
	if i, ok := p.columns[key]; ok && i < len(p.row) {
		return p.row[i]
	}
	return nil
}

func (p *point) text(key string) string {
	s, _ := p.value(key).(string)
	return s
}

func (p *point) is(key string) bool {
	switch v := p.value(key).(type) {
	case bool:
		return v
	case string:
		return v == "true"
	}
	return false
}

func (p *point) number(key string) int64 {
	n, ok := p.value(key).(json.Number)
	if !ok {
		return 0
	}
	v, err := n.Int64()
	if err != nil && p.err == nil {
		p.err = err
	}
	return v
}

func (p *point) micros(key string) time.Duration {
	return time.Duration(max(p.number(key), 0)) * time.Microsecond
}

func (p *point) cid() cid.Cid {
	s := p.text("cid")
	if s == "" {
		return cid.Undef
	}
	c, err := cidtext.Parse(s)
	if err != nil && p.err == nil {
		p.err = err
	}
	return c
}

// event returns the event of a point with what all points have.
func (p *point) event(k event.Kind) *event.Event {
	e := &event.Event{Kind: k, Gateway: p.is("gateway"), Side: event.Side(max(0, slices.Index(event.SideNames[:], p.text("side"))))}
	at, err := time.Parse(time.RFC3339Nano, p.text("time"))
	if err != nil && p.err == nil {
		p.err = err
	}
	e.Time = at.UnixNano()
	if c := p.text("country"); len(c) == 2 {
		e.Country = string(event.Clean(c, 2))
	}
	if e.Side == event.Downstream {
		e.Downstream = event.Clean(p.text("downstream"), event.MaxNameText)
	}
	if s := p.text("peer"); s != "" {
		if e.Peer, err = peertext.ID(s); err != nil && p.err == nil {
			p.err = err
		}
	}
	if p.text("direction") == event.Sent.String() {
		e.Dir = event.Sent
	}
	if p.text("transport") == event.HTTP.String() {
		e.Transport = event.HTTP
	}
	return e
}

func wantType(name string) event.WantType {
	switch name {
	case "want_have":
		return event.WantHave
	case "other":
		return -1 // the number is not stored
	}
	return event.WantBlock
}

func (p *point) want() *event.Event {
	e := p.event(event.KindMessage)
	kind := p.text("type")
	e.Wants = []event.Want{{CID: p.cid(), Priority: int32(p.number("priority")), Type: wantType(kind), Cancel: kind == "cancel", SendDontHave: p.is("send_dont_have")}}
	return e
}

func (p *point) presence() *event.Event {
	e := p.event(event.KindMessage)
	e.Presences = []event.Presence{{CID: p.cid(), Type: event.PresenceType(slices.Index([]string{"have", "dont_have"}, p.text("type")))}}
	return e
}

func (p *point) block() *event.Event {
	e := p.event(event.KindMessage)
	e.Blocks = []event.Block{{CID: p.cid(), Size: int32(p.number("size"))}}
	return e
}

func (p *point) connection() *event.Event {
	e := p.event(event.KindConnection)
	e.Dir, e.Transport = event.Received, event.Libp2p // the tags are the connection's
	c := &event.Conn{Closed: p.text("state") == "closed", Inbound: p.text("direction") == "inbound", Limited: p.is("limited"), Addr: event.Clean(p.text("addr"), event.MaxAddrText),
		Transport: sets.Name(event.Transports, p.text("transport")), Security: sets.Name(event.Securities, p.text("security")), Muxer: sets.Name(event.Muxers, p.text("muxer")),
		Duration: time.Duration(max(p.number("duration_ms"), 0)) * time.Millisecond, Streams: int(p.number("streams")), WasOpen: p.is("was_open"), Unmatched: p.is("unmatched"),
		PeerConns: int(p.number("peer_conns")), TotalConns: int(p.number("total_conns"))}
	if !c.Unmatched && (!c.Closed || c.Duration > 0) {
		c.Opened = e.At().Add(-c.Duration)
	}
	e.Conn = c
	return e
}

func (p *point) identify() *event.Event {
	e := p.event(event.KindIdentify)
	e.Identify = &event.Identify{Agent: event.Clean(p.text("agent"), event.MaxAgentText), ProtocolVersion: event.Clean(p.text("protocol_version"), event.MaxProtocolText),
		ObservedAddr: event.Clean(p.text("observed_addr"), event.MaxAddrText)}
	return e
}

func (p *point) latency() *event.Event {
	e := p.event(event.KindLatency)
	e.Latency = &event.Latency{CID: p.cid(), Want: wantType(p.text("type")), Answer: event.AnswerType(sets.Index([]string{"block", "have", "dont_have"}, p.text("answer"))),
		Elapsed: p.micros("elapsed_us")}
	return e
}

func (p *point) request() *event.Event {
	e := p.event(event.KindRequest)
	e.Dir, e.Transport = event.Sent, event.HTTP
	if host := p.text("host"); host != "" {
		e.Addrs = []event.Text{event.Clean(host, event.MaxAddrText)}
	}
	e.Request = &event.Request{CID: p.cid(), Want: event.WantType(sets.Index(event.RequestMethods[:], p.text("method"))),
		Outcome: event.RequestOutcome(sets.Index(event.RequestOutcomeNames[:], p.text("outcome"))), Elapsed: p.micros("elapsed_us"), Size: int32(p.number("bytes"))}
	return e
}

func (p *point) retrieval() *event.Event {
	e := p.event(event.KindRetrieval)
	e.Retrieval = &event.Retrieval{CID: p.cid(), Size: int32(p.number("size")), Source: event.Source(sets.Index(event.SourceNames[:], p.text("source"))),
		ToProvider: p.micros("provider_us"), ToBlock: p.micros("block_us")}
	if e.Retrieval.Source == event.SourceHTTP {
		e.Transport = event.HTTP
	}
	return e
}

func (p *point) dht() *event.Event {
	e := p.event(event.KindDHT)
	x := &event.DHTRequest{Type: event.DHTOther, Status: event.DHTFailed, LAN: p.text("table") == "lan", Providers: int(p.number("providers")), Closer: int(p.number("closer")),
		Elapsed: p.micros("elapsed_us")}
	if i := slices.Index(event.DHTTypeNames[:], p.text("type")); i >= 0 {
		x.Type = event.DHTType(i)
	}
	if i := slices.Index(event.DHTStatusNames[:], p.text("status")); i >= 0 {
		x.Status = event.DHTStatus(i)
	}
	e.DHT = x
	key := p.text("target")
	switch x.Type {
	case event.DHTAddProvider, event.DHTGetProviders:
		if c, err := cidtext.Parse(key); err == nil {
			x.CID = c
			return e
		}
	case event.DHTFindNode:
		if id, err := peertext.ID(key); err == nil {
			x.Target = id
			return e
		}
	}
	x.Name = event.Clean(key, 2*event.MaxDHTKeyBytes+8)
	return e
}
