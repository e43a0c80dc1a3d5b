//go:build !race

package influx

import (
	"fmt"
	"maps"
	"math/bits"
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

// fleetOf is what a collector beside node n makes of minute m.
func fleetOf(m, n int, at int64) event.Event {
	r := rand.New(rand.NewPCG(uint64(m), uint64(400+n)))
	e := makeFleet(r, at)
	f := e.Fleet
	f.Monitors[0].Unbounded, f.Monitors[1].Connects, f.Monitors[0].RoundTrip, f.Monitors[1].DriftPPB = uint64(r.IntN(3)), uint64(r.IntN(3)), time.Duration(r.IntN(1e6))*time.Microsecond, int64(r.IntN(9000)-4000)
	if m%5 == 0 { // nothing ended
		f.Closed, f.Monitors[0].Seen, f.Monitors[1].Seen = 0, 0, 0
	}
	if n == 1 {
		f.Monitors[0].Name = "jp1" // de1 is the other collector's
	}
	f.Sizes[0].Coupon.Dependent, f.Overlaps[0].Size.Dependent = r.IntN(2) == 0, r.IntN(2) == 0
	if m < oracleSteps-3 { // these have gone
		f.Sizes = append(f.Sizes, event.FleetSize{Of: "/gone", Seen: 99})
		f.Overlaps = append(f.Overlaps, event.FleetOverlap{A: "de1", B: "gone", Common: 99})
		f.Monitors = append(f.Monitors, event.FleetMonitor{Name: "gone", Events: 7, Seen: 1, Offset: time.Hour, ClockKnown: true})
	}
	list := func() (out []event.FleetCID) {
		for i := range 3 + r.IntN(18) {
			out = append(out, event.FleetCID{CID: influxtest.CID(300 + (m+i)%40), Requests: uint64(1 + r.IntN(1000)), Peers: uint64(1 + r.IntN(1000)), Seen: uint64(1 + r.IntN(7))})
		}
		return out
	}
	f.TopCIDs, f.TopByPeer = list(), list()
	return e
}

func (o *oracle) fleets(f func(e seen, x *event.Fleet)) {
	for _, e := range o.events {
		if e.Kind == event.KindFleet {
			f(e, e.Fleet)
		}
	}
}

// newestFleet has the newest totals of each collector.
func (o *oracle) newestFleet() map[string]*event.Fleet {
	newest := map[string]*event.Fleet{}
	o.fleets(func(e seen, x *event.Fleet) { newest[e.node] = x })
	return newest
}

func (r row) estimate(e event.FleetEstimate) {
	if !e.Known {
		e = event.FleetEstimate{}
	}
	r["estimate"], r["low"], r["high"], r["dependent"] = float64(e.N), float64(e.Low), float64(e.High), fmt.Sprint(e.Dependent)
}

func popularOracle(list func(x *event.Fleet) []event.FleetCID, by string) func(o *oracle, flux bool) []row {
	return func(o *oracle, _ bool) []row {
		t := adding("cid")
		o.fleets(func(_ seen, x *event.Fleet) {
			for _, c := range list(x) {
				r := t.at(c.CID.String())
				r.add("requests", float64(c.Requests))
				r.most("peers_at_least", float64(c.Peers))
				r.most("monitors_at_least", float64(bits.OnesCount64(c.Seen)))
			}
		})
		return t.sorted(by, 20)
	}
}

func init() {
	oracles["fleet"] = func(o *oracle, _ bool) []row {
		t := adding("time")
		o.fleets(func(e seen, x *event.Fleet) {
			r := t.at(o.step(e))
			for column, n := range map[string]uint64{"entries": x.Entries, "requests": x.Requests, "matched": x.Matched, "late": x.Late, "dropped": x.Dropped} {
				r.add(column, float64(n))
			}
		})
		return t.byTime()
	}
	oracles["fleet-sizes"] = func(o *oracle, _ bool) []row {
		t := adding("of", "node")
		for node, x := range o.newestFleet() {
			for _, s := range x.Sizes {
				r := t.at(string(s.Of), node)
				r["seen"] = float64(s.Seen)
				r.estimate(s.Coupon)
			}
		}
		return t.sorted("seen", 0)
	}
	oracles["fleet-overlaps"] = func(o *oracle, _ bool) []row {
		t := adding("pair", "node")
		for node, x := range o.newestFleet() {
			for _, p := range x.Overlaps {
				r := t.at(string(p.A+" with "+p.B), node)
				r["common"], r["only_a"], r["only_b"] = float64(p.Common), float64(p.Only[0]), float64(p.Only[1])
				r.estimate(p.Size)
			}
		}
		return t.sorted("common", 0)
	}
	oracles["fleet-coverage"] = func(o *oracle, _ bool) []row {
		t := adding("monitor")
		o.fleets(func(_ seen, x *event.Fleet) {
			for _, m := range x.Monitors {
				if x.Closed > 0 {
					r := t.at(string(m.Name))
					r.add("seen", float64(m.Seen))
					r.add("closed", float64(x.Closed))
					r["share"] = r["seen"].(float64) / r["closed"].(float64)
				}
			}
		})
		return t.sorted("share", 0)
	}
	oracles["fleet-cids"] = popularOracle(func(x *event.Fleet) []event.FleetCID { return x.TopCIDs }, "requests")
	oracles["fleet-askers"] = popularOracle(func(x *event.Fleet) []event.FleetCID { return x.TopByPeer }, "peers_at_least")
	oracles["fleet-gaps"] = func(o *oracle, _ bool) []row {
		t := adding("monitor")
		o.fleets(func(_ seen, x *event.Fleet) {
			for _, m := range x.Monitors {
				r := t.at(string(m.Name))
				for column, n := range map[string]uint64{"events": m.Events, "connects": m.Connects, "gaps": m.Gaps, "unbounded": m.Unbounded, "missed": m.Missed, "untimely": m.Untimely} {
					r.add(column, float64(n))
				}
				r.most("max_lag_ms", float64(m.Lag.Milliseconds()))
			}
		})
		return t.sorted("missed", 0)
	}
	oracles["fleet-clocks"] = func(o *oracle, _ bool) []row {
		t := adding("monitor", "node")
		for node, x := range o.newestFleet() {
			for _, m := range x.Monitors {
				r := t.at(string(m.Name), node)
				r["known"], r["offset_us"], r["offset_error_us"] = fmt.Sprint(m.ClockKnown), float64(m.Offset.Microseconds()), float64(m.OffsetError.Microseconds())
				r["drift_ppb"], r["round_trip_us"], r["apart_us"] = float64(m.DriftPPB), float64(m.RoundTrip.Microseconds()), float64(m.Apart.Microseconds())
			}
		}
		return t.sorted("offset_us", 0)
	}
}

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
