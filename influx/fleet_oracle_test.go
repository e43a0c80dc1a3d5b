//go:build !race

package influx

import (
	"maps"
	"math/rand/v2"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

func ofFleet(f func(x *event.Fleet, put put)) func(e seen, put put) {
	return func(e seen, put put) {
		if e.Kind == event.KindFleet {
			f(e.Fleet, put)
		}
	}
}

func fleetRate(f func(x *event.Fleet, put put)) func(o *oracle) any {
	return func(o *oracle) any { return o.perSecond(event.KindFleet, ofFleet(f)) }
}

func fleetMeans(f func(x *event.Fleet, put put)) func(o *oracle) any {
	return func(o *oracle) any { return o.means(ofFleet(f)) }
}

// eachMonitor puts a figure of each monitor by its name.
func eachMonitor(f func(m *event.FleetMonitor) (float64, bool)) func(x *event.Fleet, put put) {
	return func(x *event.Fleet, put put) {
		for i := range x.Monitors {
			if v, ok := f(&x.Monitors[i]); ok {
				put(string(x.Monitors[i].Name), v)
			}
		}
	}
}

// fleetOracles are those of the fleet's panels.
var fleetOracles = map[string]func(o *oracle) any{
	"Fleet / Together / Monitors": fleetMeans(func(x *event.Fleet, put put) {
		up := 0
		for _, m := range x.Monitors {
			up += sets.Bit(m.Up)
		}
		put("up", float64(up))
		put("monitors", float64(len(x.Monitors)))
	}),
	"Fleet / Together / Peers of all": fleetMeans(func(x *event.Fleet, put put) { put("peers", float64(x.Peers)) }),
	"Fleet / Together / Requests of all": fleetRate(func(x *event.Fleet, put put) {
		put("entries", float64(x.Entries))
		put("requests", float64(x.Requests))
		put("matched", float64(x.Matched))
	}),
	"Fleet / Together / Not joined": fleetRate(func(x *event.Fleet, put put) {
		put("late", float64(x.Late))
		put("dropped", float64(x.Dropped))
	}),
	"Fleet / Each monitor / Coverage of requests": fleetMeans(eachMonitor(func(m *event.FleetMonitor) (float64, bool) { return float64(m.Coverage), true })),
	"Fleet / Each monitor / Wants of each":        fleetRate(eachMonitor(func(m *event.FleetMonitor) (float64, bool) { return float64(m.Wants), true })),
	"Fleet / Each monitor / Missed events":        fleetRate(eachMonitor(func(m *event.FleetMonitor) (float64, bool) { return float64(m.Missed), true })),
	"Fleet / Each monitor / Lag": func(o *oracle) any {
		return o.most(ofFleet(eachMonitor(func(m *event.FleetMonitor) (float64, bool) { return float64(m.Lag.Milliseconds()), true })))
	},
	"Fleet / Each monitor / Clocks": fleetMeans(eachMonitor(func(m *event.FleetMonitor) (float64, bool) { return float64(m.Offset.Microseconds()), m.ClockKnown })),
	"Fleet / Each monitor / Apart": fleetMeans(eachMonitor(func(m *event.FleetMonitor) (float64, bool) {
		return float64(m.Apart.Microseconds()), m.MatchedPairs > 0
	})),
	"Fleet / The network / Size of the network": fleetMeans(func(x *event.Fleet, put put) {
		for _, s := range x.Sizes {
			if s.Of == "all" && s.Coupon.Known && s.Coupon.N > 0 {
				put("estimate", float64(s.Coupon.N))
				put("low", float64(s.Coupon.Low))
				put("high", float64(s.Coupon.High))
			}
		}
	}),
	"Fleet / The network / Wanted most": func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			if e.Kind == event.KindFleet {
				for _, c := range e.Fleet.TopCIDs {
					put(row{"CID": c.CID.String(), "Requests": float64(c.Requests), "Peers": float64(c.Peers)})
				}
			}
		})
	},
	"Fleet / The network / Peers in common": fleetMeans(func(x *event.Fleet, put put) {
		for _, o := range x.Overlaps {
			put(string(o.A+" with "+o.B), float64(o.Common))
		}
	}),
}

func init() { maps.Copy(edgeOracles, fleetOracles) }

// makeFleet makes the totals of a collector.
func makeFleet(r *rand.Rand, at int64) event.Event {
	some := func() uint64 { return uint64(r.IntN(100)) }
	monitor := func(name event.Text) event.FleetMonitor {
		return event.FleetMonitor{Name: name, Up: r.IntN(4) > 0, Events: some(), Wants: some(), Cancels: some(), Gaps: some(), Missed: some(), Untimely: some(),
			Lag: time.Duration(r.IntN(1e6)) * time.Millisecond, Peers: int(some()), Seen: some(), Coverage: uint16(r.IntN(1001)),
			ClockKnown: r.IntN(4) > 0, Offset: time.Duration(r.IntN(2e6)-1e6) * time.Microsecond, OffsetError: time.Millisecond,
			Apart: time.Duration(r.IntN(2e6)-1e6) * time.Microsecond, MatchedPairs: uint64(r.IntN(3))}
	}
	estimate := func() event.FleetEstimate {
		return event.FleetEstimate{Known: r.IntN(4) > 0, N: 100 + some(), Low: some(), High: 200 + some()}
	}
	return event.Event{Time: at, Kind: event.KindFleet, Fleet: &event.Fleet{Interval: time.Minute, Entries: some(), Requests: some(), Closed: some(), Matched: some(),
		Late: some(), Dropped: some(), Peers: int(some()),
		Monitors: []event.FleetMonitor{monitor("de1"), monitor("us1")},
		TopCIDs:  []event.FleetCID{{CID: influxtest.CID(1), Requests: some(), Peers: some()}},
		Overlaps: []event.FleetOverlap{{A: "de1", B: "us1", Common: int(some()), Requests: some(), Size: estimate()}},
		Sizes:    []event.FleetSize{{Of: "all", Seen: int(some()), Coupon: estimate(), Pair: estimate()}, {Of: "kubo", Seen: int(some()), Coupon: estimate()}}}}
}
