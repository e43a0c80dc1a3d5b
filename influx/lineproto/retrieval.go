package lineproto

import (
	"strings"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// ended says which series have begun that a node without HTTP or without errors
// does not have.
type ended struct {
	web      bool                                                 // messages over HTTP
	requests [2][event.RequestOutcomes]bool                       // by method
	errors   [event.MessageTransports][len(event.SendErrors)]bool // by class
}

func (e *Encoder) request(b []byte, ev *event.Event) ([]byte, int) {
	q := ev.Request
	e.setPeer(ev.Peer)
	method, outcome := int(q.Want&1), int(min(q.Outcome, event.RequestOutcomes-1))
	at := e.t.requests.stamp(ev.Time)
	p, write := e.point(e.t.requests, b, (sets.Bit(ev.Gateway)*2+method)*int(event.RequestOutcomes)+outcome, at, q.Elapsed.Microseconds())
	if !write {
		return b, 0
	}
	p.cid(q.CID)
	p.raw(e.peerText)
	p.host(ev.Addrs)
	p.int(q.Elapsed.Microseconds())
	p.int(int64(q.Size))
	p.word(quotedCountries[event.CountryIndex(ev.Country)])
	return p.end(at), 1
}

func (e *Encoder) retrieval(b []byte, ev *event.Event) ([]byte, int) {
	r := ev.Retrieval
	e.setPeer(ev.Peer)
	at := e.t.retrievals.stamp(ev.Time)
	p, write := e.point(e.t.retrievals, b, sets.Bit(ev.Gateway)*int(event.Sources)+int(min(r.Source, event.SourceUnknown)), at, r.ToBlock.Microseconds())
	if !write {
		return b, 0
	}
	p.cid(r.CID)
	p.raw(e.peerText)
	p.int(int64(r.Size))
	p.int(r.ToProvider.Microseconds())
	p.int(r.ToBlock.Microseconds())
	p.word(quotedCountries[event.CountryIndex(ev.Country)])
	return p.end(at), 1
}

// host adds the host and port of the first address, "" without one.
func (p *point) host(addrs []event.Text) {
	host, port := "", ""
	if len(addrs) > 0 {
		host, port = hostOf(string(addrs[0]))
	}
	p.key()
	p.buf = AppendString(p.buf, host)
	if port != "" {
		p.buf = append(append(append(p.buf[:len(p.buf)-1], ':'), port...), '"')
	}
}

// hostOf returns the name and the port of the server at an HTTP multiaddress:
// /dns4/name/tcp/443/https, or the name that its TLS asks for
// (/ip4/192.0.2.1/tcp/443/tls/sni/name/http).
func hostOf(addr string) (host, port string) {
	var key string
	for rest := strings.TrimPrefix(addr, "/"); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch key {
		case "ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", "sni":
			host, key = part, ""
		case "tcp", "udp":
			port, key = part, ""
		default:
			key = part
		}
	}
	if strings.Trim(port, "0123456789") != "" {
		port = ""
	}
	return host, port
}

// httpTraffic writes what a sample counted of messages over HTTP.
func (t *totals) httpTraffic(s *event.Sample) {
	e := t.e
	if e.ended.web = e.ended.web || s.HTTP != [event.Directions]event.Traffic{}; !e.ended.web {
		return
	}
	w := t.of(e.tables[schema.HTTPTraffic])
	for dir := range s.HTTP {
		x := &s.HTTP[dir]
		w.put(dir, s.Interval.Milliseconds(), whole(x.Messages), whole(x.WantBlock), whole(x.WantHave), whole(x.Cancel),
			whole(x.Have), whole(x.DontHave), whole(x.Blocks), whole(x.BlockBytes), whole(x.Truncated))
	}
}

// retrieval writes how the node got what it wanted, and how it sent.
func (t *totals) retrieval(s *event.Summary, interval int64) {
	e, r := t.e, &s.Retrieval
	w := t.of(e.tables[schema.Retrieval])
	for i := range r.Sources {
		x := &r.Sources[i]
		p, b := &x.ToProvider, &x.ToBlock
		w.put(i, interval, whole(x.Blocks), whole(x.Bytes),
			p.Sum.Microseconds(), p.P50.Microseconds(), p.P90.Microseconds(), p.P99.Microseconds(), p.Max.Microseconds(),
			b.Sum.Microseconds(), b.P50.Microseconds(), b.P90.Microseconds(), b.P99.Microseconds(), b.Max.Microseconds())
	}
	f := &r.Search
	t.of(e.tables[schema.RetrievalWants]).put(0, interval, whole(r.Wanted), whole(r.GivenUp), whole(r.Unanswered), int64(r.Waiting), whole(r.Lost),
		whole(r.Surplus), whole(r.SurplusBytes), whole(r.Searches), whole(r.Providers), whole(r.NotFound),
		f.Sum.Microseconds(), f.P50.Microseconds(), f.P90.Microseconds(), f.P99.Microseconds(), f.Max.Microseconds())
	w = t.of(e.tables[schema.HTTPTotals])
	for method := range s.Requests {
		for outcome := range s.Requests[method] {
			x := &s.Requests[method][outcome]
			there := &e.ended.requests[method][outcome]
			if *there = *there || x.Took.Count > 0; *there {
				l := &x.Took
				w.put(method*int(event.RequestOutcomes)+outcome, interval, whole(l.Count), whole(x.Bytes),
					l.Sum.Microseconds(), l.P50.Microseconds(), l.P90.Microseconds(), l.P99.Microseconds(), l.Max.Microseconds())
			}
		}
	}
	w = t.of(e.tables[schema.Sending])
	for via := range s.Sending {
		if l := &s.Sending[via].Took; via == int(event.Libp2p) || l.Count > 0 || e.ended.web {
			w.put(via, interval, whole(l.Count), l.Sum.Microseconds(), l.P50.Microseconds(), l.P90.Microseconds(), l.P99.Microseconds(), l.Max.Microseconds())
		}
	}
	w = t.of(e.tables[schema.SendErrors])
	for via := range s.Sending {
		for class, x := range s.Sending[via].Errors {
			there := &e.ended.errors[via][class]
			if *there = *there || x.Messages > 0; *there {
				w.put(class*int(event.MessageTransports)+via, interval, whole(x.Messages), whole(x.Wants), whole(x.Presences), whole(x.Blocks), x.Took.Microseconds())
			}
		}
	}
}
