package derive

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// Messages over libp2p and opened connections are summed by country, direction and
// gateway, over all sides, from sample to sample and at the end.
func TestOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(Config{}, bus.Config{})
		send := func(e *event.Event) {
			if !r.bus.Publish(e) {
				t.Fatal("not published")
			}
		}
		full := func(country string, dir event.Direction, gateway bool, side event.Side) *event.Event {
			e := cancels(wants(message(dir, 1, 0), event.WantHave, 1, 2), 3)
			e.Blocks = []event.Block{{CID: testCID(4), Size: 5}, {CID: testCID(5), Size: -1}}
			e.Country, e.Gateway, e.Side = country, gateway, side
			return e
		}
		send(full("DE", event.Received, false, event.Upstream))
		send(full("DE", event.Received, false, event.Downstream))
		send(full("DE", event.Received, true, event.NoSide))
		send(full("", event.Sent, false, event.NoSide))
		send(full("??", event.Sent, false, event.NoSide))
		web := full("FR", event.Received, false, event.NoSide)
		web.Transport = event.HTTP
		send(web)
		for _, c := range []event.Conn{{Inbound: true}, {}, {Closed: true}} {
			send(&event.Event{Kind: event.KindConnection, Country: "NZ", Dir: event.Sent, Conn: &c})
		}
		time.Sleep(10 * time.Second)
		sample := func(at int64) { send(&event.Event{Kind: event.KindSample, Time: at, Sample: &event.Sample{}}) }
		sample(77)
		time.Sleep(time.Second)
		sample(78) // nothing was counted: no event
		time.Sleep(time.Second)
		send(full("DE", event.Sent, false, event.NoSide))
		synctest.Wait()
		r.end(t)
		all := r.published(event.KindOrigins)
		if len(all) != 2 || all[0].Time != 77 || all[0].Origins.Interval != 10*time.Second || all[1].Origins.Interval != time.Second {
			t.Fatalf("published %+v", all)
		}
		f := func(i int, want ...event.Origin) {
			t.Helper()
			if got := all[i].Origins.Sums; fmt.Sprint(got) != fmt.Sprint(want) || all[i].Origins.Missed != 0 {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		f(0,
			event.Origin{Dir: event.Sent, Messages: 1, Wants: 2, Blocks: 2, BlockBytes: 5},
			event.Origin{Country: "DE", Messages: 2, Wants: 4, Blocks: 4, BlockBytes: 10},
			event.Origin{Country: "DE", Gateway: true, Messages: 1, Wants: 2, Blocks: 2, BlockBytes: 5},
			event.Origin{Country: "NZ", Connections: 1},
			event.Origin{Country: "NZ", Dir: event.Sent, Connections: 1},
			event.Origin{Country: "other", Dir: event.Sent, Messages: 1, Wants: 2, Blocks: 2, BlockBytes: 5})
		f(1, event.Origin{Country: "DE", Dir: event.Sent, Messages: 1, Wants: 2, Blocks: 2, BlockBytes: 5})
	})
}

// The number of sums stays small, whatever countries peers are said to be in.
func TestOriginsAreBounded(t *testing.T) {
	o := newOrigins(time.Now())
	for i := range 26 * 26 * 8 {
		country := string([]byte{'A' + byte(i%26), 'A' + byte(i/26%26)})
		o.count(&event.Event{Kind: event.KindMessage, Country: country[:i%3], Dir: event.Direction(i), Gateway: i%2 == 0})
		o.count(&event.Event{Kind: event.KindMessage, Country: country, Dir: event.Direction(i / 2), Gateway: i%2 == 0})
	}
	out := o.take(time.Now())
	if n := len(out.Sums); n > event.MaxOrigins || n < len(event.Countries) {
		t.Errorf("%d sums, want at most %d", n, event.MaxOrigins)
	}
	for i := range out.Sums {
		s := &out.Sums[i]
		if at := event.OriginAt(event.OriginIndex(s.Country, s.Dir, s.Gateway)); at.Country != s.Country || at.Dir != s.Dir || at.Gateway != s.Gateway {
			t.Errorf("%+v has the place of %+v", s, at)
		}
	}
}
