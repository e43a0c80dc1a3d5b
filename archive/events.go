package archive

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// Has reports whether an archive has events of that kind.
func Has(k event.Kind) bool {
	switch k {
	case event.KindMessage, event.KindConnection, event.KindIdentify, event.KindLatency, event.KindNote, event.KindOrigins,
		event.KindDHT, event.KindSearch, event.KindRetrieval, event.KindRequest, event.KindFlood:
		return true
	}
	return false
}

func strs(texts []event.Text) []string {
	if len(texts) == 0 {
		return nil
	}
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = string(t)
	}
	return out
}

// nanos returns a time in nanoseconds since 1970, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func wantName(t event.WantType) string { return (&event.Want{Type: t}).TypeName() }

func (w *Writer) remote(e *event.Event) Remote {
	return Remote{Peer: w.peer(e.Peer), Country: e.Country, Gateway: e.Gateway, Side: e.Side.String(), Downstream: string(e.Downstream)}
}

// add adds the rows of an event.
func (w *Writer) add(e *event.Event, parts bool) error {
	head, run := Head{e.Time}, Run{int64(e.Seq)}
	switch {
	case e.Kind == event.KindMessage:
		return w.message(e, parts)
	case e.Kind == event.KindConnection && e.Conn != nil:
		c := e.Conn
		return add(w, connections, Connection{Head: head, Run: run, Remote: w.remote(e), State: c.StateName(), Direction: c.DirectionName(), ID: c.ID,
			Addr: string(c.Addr), Transport: c.Transport, Security: c.Security, Muxer: c.Muxer, Limited: c.Limited, Opened: nanos(c.Opened),
			Duration: int64(c.Duration), Streams: int32(c.Streams), WasOpen: c.WasOpen, Unmatched: c.Unmatched, PeerConns: int32(c.PeerConns), TotalConns: int32(c.TotalConns)})
	case e.Kind == event.KindIdentify && e.Identify != nil:
		i := e.Identify
		return add(w, identifies, Identify{Head: head, Run: run, Remote: w.remote(e), Agent: string(i.Agent), ProtocolVersion: string(i.ProtocolVersion),
			Protocols: strs(i.Protocols), ListenAddrs: strs(i.ListenAddrs), ObservedAddr: string(i.ObservedAddr)})
	case e.Kind == event.KindLatency && e.Latency != nil:
		l := e.Latency
		return add(w, latencies, Latency{Head: head, Run: run, Direction: e.Dir.String(), Remote: w.remote(e), Content: w.content(l.CID),
			Want: wantName(l.Want), Answer: l.Answer.String(), Elapsed: int64(l.Elapsed)})
	case e.Kind == event.KindNote && e.Note != nil:
		n := e.Note
		return add(w, notes, Note{Head: head, Run: run, Kind: n.Kind.String(), Value: n.Value, Text: string(n.Text)})
	case e.Kind == event.KindOrigins && e.Origins != nil:
		o := e.Origins
		if len(o.Sums) == 0 {
			return add(w, origins, Origin{Head: head, Run: run, Interval: int64(o.Interval), Missed: int64(o.Missed)})
		}
		for i := range o.Sums {
			s := &o.Sums[i]
			if err := add(w, origins, Origin{Head: head, Run: run, Interval: int64(o.Interval), Missed: int64(o.Missed), Direction: s.Dir.String(),
				Country: s.Country, Gateway: s.Gateway, Messages: int64(s.Messages), Wants: int64(s.Wants), Blocks: int64(s.Blocks),
				BlockBytes: int64(s.BlockBytes), Connections: int64(s.Connections)}); err != nil {
				return err
			}
		}
	case e.Kind == event.KindDHT && e.DHT != nil:
		d := e.DHT
		return add(w, dhts, DHT{Head: head, Run: run, Direction: e.Dir.String(), Remote: w.remote(e), Type: d.Type.String(), Status: d.Status.String(),
			Table: d.Table(), CID: w.cid(d.CID), Target: w.peer(d.Target), Name: string(d.Name), Providers: int32(d.Providers), Closer: int32(d.Closer), Elapsed: int64(d.Elapsed)})
	case e.Kind == event.KindSearch && e.Search != nil:
		s := e.Search
		return add(w, searches, Search{Head: head, Run: run, Remote: w.remote(e), CID: w.cid(s.CID), State: s.State.String(), Addrs: strs(e.Addrs),
			HTTP: s.HTTP, Connected: s.Connected, Providers: int32(s.Providers), Elapsed: int64(s.Elapsed)})
	case e.Kind == event.KindRetrieval && e.Retrieval != nil:
		r := e.Retrieval
		return add(w, retrievals, Retrieval{Head: head, Run: run, Remote: w.remote(e), CID: w.cid(r.CID), Transport: e.Transport.String(), Source: r.Source.String(),
			Size: r.Size, ToProvider: int64(r.ToProvider), ToBlock: int64(r.ToBlock)})
	case e.Kind == event.KindRequest && e.Request != nil:
		r := e.Request
		return add(w, requests, Request{Head: head, Run: run, Remote: w.remote(e), CID: w.cid(r.CID), Method: event.RequestMethods[r.Want&1], Outcome: r.Outcome.String(),
			Addrs: strs(e.Addrs), Size: r.Size, Elapsed: int64(r.Elapsed)})
	case e.Kind == event.KindFlood && e.Flood != nil:
		f := e.Flood
		return add(w, floods, Flood{Head: head, Run: run, Remote: w.remote(e), State: f.State.String(), Since: nanos(f.Since), Agent: string(f.Agent), Addrs: strs(e.Addrs),
			Wants: int64(f.Wants), Messages: int64(f.Messages), WantRate: int64(f.WantRate), MessageRate: int64(f.MessageRate), Share: int32(f.Share), Repeats: int32(f.Repeats)})
	}
	return nil
}

// message adds the rows of a message and of its parts.
func (w *Writer) message(e *event.Event, parts bool) error {
	in := Entry{Head: Head{e.Time}, Direction: e.Dir.String(), Transport: e.Transport.String(), Remote: w.remote(e)}
	if !parts {
		w.base++
		in.Message = w.base
		if err := add(w, messages, Message{Head: in.Head, Message: in.Message, Run: Run{int64(e.Seq)}, Direction: in.Direction, Transport: in.Transport, Remote: in.Remote,
			Addrs: strs(e.Addrs), Full: e.Full, Wants: int32(len(e.Wants)), Presences: int32(len(e.Presences)), Blocks: int32(len(e.Blocks)),
			PendingBytes: e.PendingBytes, WireSize: e.WireSize, Truncated: int64(e.Truncated), OversizeCID: int64(e.OversizeCID), Took: int64(e.Took)}); err != nil {
			return err
		}
	}
	for i := range e.Wants {
		v := &e.Wants[i]
		in.Entry, in.Content = int32(i), w.content(v.CID)
		if err := add(w, wants, Want{Entry: in, Type: v.TypeName(), WantType: int32(v.Type), Priority: v.Priority, SendDontHave: v.SendDontHave}); err != nil {
			return err
		}
	}
	for i := range e.Presences {
		v := &e.Presences[i]
		in.Entry, in.Content = int32(i), w.content(v.CID)
		if err := add(w, presences, Presence{Entry: in, Type: v.Type.String(), PresenceType: int32(v.Type)}); err != nil {
			return err
		}
	}
	for i := range e.Blocks {
		v := &e.Blocks[i]
		in.Entry, in.Content = int32(i), w.content(v.CID)
		if err := add(w, blocks, Block{Entry: in, Size: v.Size}); err != nil {
			return err
		}
	}
	return nil
}
