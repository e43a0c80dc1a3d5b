package lineproto

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// flood writes where a flood is in its course.
func (e *Encoder) flood(b []byte, ev *event.Event) []byte {
	f, of := ev.Flood, e.tables[schema.Floods]
	e.setPeer(ev.Peer)
	var addr event.Text
	if len(ev.Addrs) > 0 {
		addr = ev.Addrs[0]
	}
	p := e.begin(of, b, min(int(f.State), len(event.FloodStates)-1))
	p.raw(e.peerText)
	p.text(f.Agent)
	p.text(addr)
	p.word(quotedCountries[event.CountryIndex(ev.Country)])
	p.bool(ev.Gateway)
	p.int(max(0, time.Unix(0, ev.Time).Sub(f.Since).Milliseconds()))
	p.uint(f.Wants)
	p.uint(f.Messages)
	p.uint(f.WantRate)
	p.uint(f.MessageRate)
	p.int(int64(f.Share))
	p.int(int64(f.Repeats))
	p.text(f.Block)
	return p.end(of.stamp(ev.Time))
}
