package stream

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/sets"
	"github.com/ipfsmon/ipfsmon/internal/topn"
)

// shownEntries is the most entries of a message that AppendText names.
const shownEntries = 4

// Clean makes the texts of the event safe to show, as event.Clean does, and
// removes an invalid country code. A monitor sends only clean events; another
// program in its place may not.
func (e *Event) Clean() {
	clean := func(limit int, all ...*string) {
		for _, s := range all {
			*s = string(event.Clean(*s, limit))
		}
	}
	clean(event.MaxAddrText, &e.Peer)
	clean(event.MaxAgentText, &e.Monitor)
	e.Country = countryCode(e.Country)
	e.Side = sideOf(e.Side).String()
	clean(event.MaxNameText, &e.Downstream)
	for _, m := range []*Message{e.Message, e.Sent} {
		if m != nil {
			cleanAll(event.MaxAddrText, m.Addrs)
		}
	}
	if c := e.Connection; c != nil {
		clean(event.MaxAddrText, &c.Remote)
		clean(event.MaxProtocolText, &c.ID, &c.Direction, &c.Transport, &c.Security, &c.Muxer)
	}
	if e.DHT != nil {
		e.DHT.clean()
	}
	if e.Search != nil {
		e.Search.clean()
	}
	if e.Request != nil {
		e.Request.clean()
	}
	if e.Retrieval != nil {
		e.Retrieval.clean()
	}
	if f := e.Flood; f != nil {
		clean(event.MaxAgentText, &f.Agent)
		f.State = sets.Name(event.FloodStates, f.State)
		cleanAll(event.MaxAddrText, f.Addrs)
	}
	if i := e.Identify; i != nil {
		clean(event.MaxAgentText, &i.Agent)
		clean(event.MaxProtocolText, &i.ProtocolVersion)
		clean(event.MaxAddrText, &i.ObservedAddr)
		cleanAll(event.MaxProtocolText, i.Protocols)
		cleanAll(event.MaxAddrText, i.ListenAddrs)
	}
	if n := e.Note; n != nil {
		clean(event.MaxNameText, &n.Kind)
		clean(event.MaxNoteText, &n.Text)
	}
	if o := e.Origins; o != nil {
		for i := range o.Sums {
			o.Sums[i].Country = originCountry(o.Sums[i].Country)
			clean(event.MaxNameText, &o.Sums[i].Direction)
		}
	}
}

// AppendText appends the event as a line for people to read. Clean it first.
func (e *Event) AppendText(dst []byte) []byte {
	if g := e.Gap; g != nil {
		return fmt.Appendf(dst, "-- %d events missed here: %d because this client was too slow, %d because the monitor was\n", g.Missed(), g.Slow, g.Bus)
	}
	dst = e.Timestamp.Local().AppendFormat(dst, "2006-01-02 15:04:05.000")
	dst = append(dst, ' ')
	switch {
	case e.Note != nil:
		return fmt.Appendf(dst, "-- note of %s: %s\n", e.Note.Kind, e.Note.Text)
	case e.Origins != nil:
		return e.Origins.appendText(dst)
	case e.Search != nil && e.Peer == "":
		return append(e.Search.appendText(dst, ""), '\n')
	}
	dst = append(dst, e.Peer...)
	switch {
	case e.Country != "" && e.Gateway:
		dst = append(dst, " ("+e.Country+", gateway)"...)
	case e.Country != "":
		dst = append(dst, " ("+e.Country+")"...)
	case e.Gateway:
		dst = append(dst, " (gateway)"...)
	}
	switch sideOf(e.Side) {
	case event.Upstream:
		dst = append(dst, " [upstream]"...)
	case event.Downstream:
		dst = append(dst, " [downstream "+e.Downstream+"]"...)
	}
	switch {
	case e.Connection != nil:
		word := " opened "
		if e.Connection.Type == 1 {
			word = " closed "
		}
		dst = append(dst, word...)
		dst = append(dst, e.Connection.Remote...)
		if d := e.Connection.DurationNS; d > 0 {
			dst = append(dst, " after "...)
			dst = append(dst, time.Duration(d).Round(time.Millisecond).String()...)
		}
	case e.Identify != nil:
		dst = append(dst, " is "...)
		dst = append(dst, e.Identify.Agent...)
		dst = append(dst, ", "...)
		dst = strconv.AppendInt(dst, int64(len(e.Identify.Protocols)), 10)
		dst = append(dst, " protocols"...)
	case e.DHT != nil:
		dst = e.DHT.appendText(dst)
	case e.Flood != nil:
		dst = e.Flood.appendText(dst)
	case e.Search != nil:
		dst = e.Search.appendText(dst, e.Peer)
	case e.Request != nil:
		dst = e.Request.appendText(dst)
	case e.Retrieval != nil:
		dst = e.Retrieval.appendText(dst)
	case e.Message != nil:
		dst = e.Message.appendText(dst, " from ")
	case e.Sent != nil:
		dst = append(dst, " is sent"...)
		dst = e.Sent.appendText(dst, " to ")
	default:
		dst = append(dst, " (of a kind that is not known here)"...)
	}
	return append(dst, '\n')
}

// appendText appends the sums of all groups, and the messages of the countries
// that have most.
func (o *Origins) appendText(dst []byte) []byte {
	var all Origin
	by := map[string]uint64{}
	for i := range o.Sums {
		s := &o.Sums[i]
		all.Messages += s.Messages
		all.Wants += s.Wants
		all.Blocks += s.Blocks
		all.BlockBytes += s.BlockBytes
		all.Connections += s.Connections
		by[cmp.Or(s.Country, event.Countries[0])] += s.Messages
	}
	dst = fmt.Appendf(dst, "-- origins of %v: %d messages, %d wants, %d blocks of %d bytes, %d connections", time.Duration(o.IntervalNS).Round(time.Millisecond),
		all.Messages, all.Wants, all.Blocks, all.BlockBytes, all.Connections)
	top, rest, _ := topn.Of(by, shownEntries, "")
	sep := "; messages: "
	for _, t := range top {
		dst = fmt.Appendf(dst, "%s%s %d", sep, t.Name, t.N)
		sep = ", "
	}
	if rest > 0 {
		dst = fmt.Appendf(dst, ", others %d", rest)
	}
	return append(dst, '\n')
}

// appendText appends what the flood is, and where it comes from.
func (f *Flood) appendText(dst []byte) []byte {
	verb := map[string]string{"began": "began to flood the node", "runs": "floods the node", "ended": "no longer floods the node"}[f.State]
	dst = fmt.Appendf(dst, " %s: %d wants and %d messages a second, %d %% of all, %d %% repeats", verb, f.WantRate, f.MessageRate, (f.Share+5)/10, (f.Repeats+5)/10)
	if f.Agent != "" {
		dst = append(dst, ", "+f.Agent...)
	}
	if len(f.Addrs) > 0 {
		dst = append(dst, " from "+f.Addrs[0]...)
	}
	return dst
}

// appendText appends the entries and then, after by, the peer's address.
func (m *Message) appendText(dst []byte, by string) []byte {
	if m.Full {
		dst = append(dst, " full"...)
	}
	left := shownEntries
	entry := func(word string, c cid.Cid) {
		if left--; left < 0 {
			return
		}
		dst = append(dst, ' ')
		dst = append(dst, word...)
		dst = append(dst, ' ')
		if c.Defined() {
			dst = cidtext.AppendCID(dst, c)
		} else {
			dst = append(dst, '-')
		}
	}
	for i := range m.Wants {
		entry(m.Wants[i].word(), m.Wants[i].Cid)
	}
	for _, c := range m.Blocks {
		entry("block", c)
	}
	for _, p := range m.Presences {
		entry(event.PresenceType(p.Type).String(), p.Cid)
	}
	if left == shownEntries {
		dst = append(dst, " empty"...)
	}
	if left < 0 {
		dst = append(dst, " and "...)
		dst = strconv.AppendInt(dst, int64(-left), 10)
		dst = append(dst, " more"...)
	}
	if len(m.Addrs) > 0 {
		dst = append(dst, by...)
		dst = append(dst, m.Addrs[0]...)
	}
	return dst
}

// word returns the type of the entry, as InfluxDB has it.
func (w *Want) word() string {
	e := event.Want{Type: event.WantType(w.WantType), Cancel: w.Cancel}
	return e.TypeName()
}

// AppendJSON appends the event as a line of JSON in the form of version 4 and of
// recordings, also if it came by version 3. Arrays are never null.
func (e *Event) AppendJSON(dst []byte) ([]byte, error) {
	if e.Message != nil || e.Sent != nil || e.Identify != nil || e.Origins != nil || e.Flood != nil || e.Search != nil || e.Request != nil {
		whole := *e
		if e.Flood != nil {
			f := *e.Flood
			f.Addrs, whole.Flood = orEmpty(f.Addrs), &f
		}
		if e.Search != nil {
			s := *e.Search
			s.Addrs, whole.Search = orEmpty(s.Addrs), &s
		}
		if e.Request != nil {
			r := *e.Request
			r.Addrs, whole.Request = orEmpty(r.Addrs), &r
		}
		if e.Origins != nil {
			o := *e.Origins
			o.Sums = orEmpty(o.Sums)
			whole.Origins = &o
		}
		whole.Message, whole.Sent = e.Message.whole(), e.Sent.whole()
		if e.Identify != nil {
			i := *e.Identify
			i.Protocols, i.ListenAddrs = orEmpty(i.Protocols), orEmpty(i.ListenAddrs)
			whole.Identify = &i
		}
		e = &whole
	}
	line, err := json.Marshal(e)
	if err != nil {
		return dst, err
	}
	dst = append(dst, line...)
	return append(dst, '\n'), nil
}

// whole returns the message with empty arrays in place of nil ones.
func (m *Message) whole() *Message {
	if m == nil {
		return nil
	}
	out := *m
	out.Wants, out.Blocks, out.Presences, out.Addrs = orEmpty(m.Wants), orEmpty(m.Blocks), orEmpty(m.Presences), orEmpty(m.Addrs)
	return &out
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// CSVHeader names the columns of CSV.
var CSVHeader = []string{"timestamp", "monitor", "seq", "kind", "direction", "peer", "type", "cid", "priority", "send_dont_have", "size",
	"address", "agent", "country", "gateway", "side", "downstream"}

// CSV returns the event as rows with the columns of CSVHeader: one for each entry
// of a message, one for each figure of origins that is not 0, one for any other
// event. A cell that a spreadsheet would read as
// a formula gets an apostrophe in front. Clean the event first.
func (e *Event) CSV() [][]string {
	var rows [][]string
	country, gateway := e.Country, yes(e.Gateway)
	row := func(kind, direction, typ, cid, priority, sdh, size, address, agent string) {
		cells := []string{e.Timestamp.UTC().Format(time.RFC3339Nano), e.Monitor, strconv.FormatUint(e.Seq, 10), kind, direction, e.Peer,
			typ, cid, priority, sdh, size, address, agent, country, gateway, e.Side, e.Downstream}
		for i, c := range cells {
			if c != "" && i != csvPriority && i != csvSize && strings.ContainsRune("=+-@", rune(c[0])) {
				cells[i] = "'" + c
			}
		}
		rows = append(rows, cells)
	}
	first := func(addrs []string) string {
		if len(addrs) > 0 {
			return addrs[0]
		}
		return ""
	}
	message := func(m *Message, direction string) {
		if m == nil {
			return
		}
		address := first(m.Addrs)
		for i := range m.Wants {
			w := &m.Wants[i]
			row("message", direction, w.word(), cidText(w.Cid), strconv.Itoa(int(w.Priority)), strconv.FormatBool(w.SendDontHave), "", address, "")
		}
		for i, c := range m.Blocks {
			size := ""
			if i < len(m.BlockSizes) {
				size = strconv.Itoa(int(m.BlockSizes[i]))
			}
			row("message", direction, "block", cidText(c), "", "", size, address, "")
		}
		for _, p := range m.Presences {
			row("message", direction, event.PresenceType(p.Type).String(), cidText(p.Cid), "", "", "", address, "")
		}
		if len(m.Wants)+len(m.Blocks)+len(m.Presences) == 0 {
			row("message", direction, "empty", "", "", "", "", address, "")
		}
	}
	message(e.Message, "received")
	message(e.Sent, "sent")
	if c := e.Connection; c != nil {
		typ := "opened"
		if c.Type == 1 {
			typ = "closed"
		}
		row("connection", c.Direction, typ, "", "", "", "", c.Remote, "")
	}
	if i := e.Identify; i != nil {
		row("identify", "", "", "", "", "", "", i.ObservedAddr, i.Agent)
	}
	if r := e.DHT; r != nil {
		row("dht", r.Direction, r.Type, r.Key, "", "", "", "", "")
	}
	if f := e.Flood; f != nil {
		row("flood", "", f.State, "", "", "", strconv.FormatUint(f.WantRate, 10), first(f.Addrs), f.Agent)
	}
	if s := e.Search; s != nil {
		row("search", "", s.State, cidText(s.Cid), "", "", strconv.Itoa(s.Providers), first(s.Addrs), "")
	}
	if r := e.Request; r != nil {
		row("request", "sent", r.csvType(), cidText(r.Cid), "", "", strconv.Itoa(int(r.Size)), first(r.Addrs), "")
	}
	if r := e.Retrieval; r != nil {
		row("retrieval", "received", r.Source, cidText(r.Cid), "", "", strconv.Itoa(int(r.Size)), "", "")
	}
	if n := e.Note; n != nil {
		row("note", "", n.Kind, "", "", "", strconv.FormatInt(n.Value, 10), "", "")
	}
	if o := e.Origins; o != nil {
		for i := range o.Sums {
			s := &o.Sums[i]
			country, gateway = s.Country, yes(s.Gateway)
			for _, figure := range []struct {
				name string
				n    uint64
			}{{"messages", s.Messages}, {"wants", s.Wants}, {"blocks", s.Blocks}, {"block_bytes", s.BlockBytes}, {"connections", s.Connections}} {
				if figure.n > 0 {
					row("origins", s.Direction, figure.name, "", "", "", strconv.FormatUint(figure.n, 10), "", "")
				}
			}
		}
	}
	if g := e.Gap; g != nil {
		row("gap", "", "", "", "", "", strconv.FormatUint(g.Missed(), 10), "", "")
	}
	return rows
}

// csvPriority and csvSize are the columns of numbers that may be negative.
const (
	csvPriority = 8
	csvSize     = 10
)

// yes is the cell of what is true, or unknown.
func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func cidText(c cid.Cid) string {
	if !c.Defined() {
		return ""
	}
	return c.String()
}
