package collect

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfsmon/ipfsmon/fleet/size"
)

// The labels of the collector's metrics are the names of its monitors, of which
// there are at most MaxMonitors.
var (
	descUp        = prometheus.NewDesc("ipfsmon_fleet_monitor_up", "1 if the monitor's stream is read.", []string{"monitor"}, nil)
	descConnects  = prometheus.NewDesc("ipfsmon_fleet_connects_total", "Connections made to the monitor's stream.", []string{"monitor"}, nil)
	descEvents    = prometheus.NewDesc("ipfsmon_fleet_events_total", "Events read of the monitor.", []string{"monitor"}, nil)
	descWants     = prometheus.NewDesc("ipfsmon_fleet_wants_total", "Wants that the monitor received, without cancels.", []string{"monitor"}, nil)
	descGaps      = prometheus.NewDesc("ipfsmon_fleet_gaps_total", "Places in the monitor's stream where events are missing: bounded, with a bound of how many, or unbounded.", []string{"monitor", "kind"}, nil)
	descMissed    = prometheus.NewDesc("ipfsmon_fleet_missed_events_total", "Events of the monitor that are missing at most, at its bounded gaps.", []string{"monitor"}, nil)
	descUntimely  = prometheus.NewDesc("ipfsmon_fleet_untimely_events_total", "Events whose time was too early or in the future: counted, but not joined with those of other monitors.", []string{"monitor"}, nil)
	descLag       = prometheus.NewDesc("ipfsmon_fleet_lag_seconds", "From the time of the monitor's newest event, by the collector's clock, until it came.", []string{"monitor"}, nil)
	descOffset    = prometheus.NewDesc("ipfsmon_fleet_clock_offset_seconds", "How much the monitor's clock is ahead of the collector's; absent if not known.", []string{"monitor"}, nil)
	descOffsetErr = prometheus.NewDesc("ipfsmon_fleet_clock_error_seconds", "The most by which the offset may be wrong.", []string{"monitor"}, nil)
	descDrift     = prometheus.NewDesc("ipfsmon_fleet_clock_drift_ppm", "How much faster the monitor's clock runs than the collector's; absent for the first minutes.", []string{"monitor"}, nil)
	descSteps     = prometheus.NewDesc("ipfsmon_fleet_clock_steps_total", "Times that the monitor's clock was set.", []string{"monitor"}, nil)
	descPeers     = prometheus.NewDesc("ipfsmon_fleet_peers", "Peers that are connected to the monitor.", []string{"monitor"}, nil)
	descLost      = prometheus.NewDesc("ipfsmon_fleet_unrecorded_events_total", "Events of the monitor that could not be recorded.", []string{"monitor"}, nil)
	descRequests  = prometheus.NewDesc("ipfsmon_fleet_requests_total", "Requests of all monitors: the same one at several, and its repeats within 31 s, count once.", nil, nil)
	descEntries   = prometheus.NewDesc("ipfsmon_fleet_entries_total", "Entries of wantlists of all monitors: all, and those that another monitor had seen before.", []string{"kind"}, nil)
	descCoverage  = prometheus.NewDesc("ipfsmon_fleet_coverage_ratio", "Share of the fleet's requests of the last interval that the monitor saw; absent if there were none.", []string{"monitor"}, nil)
	descPanics    = prometheus.NewDesc("ipfsmon_fleet_panics_total", "Internal errors of the collector that were caught.", nil, nil)
)

var descs = []*prometheus.Desc{descUp, descConnects, descEvents, descWants, descGaps, descMissed, descUntimely, descLag,
	descOffset, descOffsetErr, descDrift, descSteps, descPeers, descLost, descRequests, descEntries, descCoverage, descPanics, descPair, descCoupon}

// The gauges of ipfs-tools' size estimator, by its formulas. Its labels are as
// many as peers have agents and protocols; here they are the most frequent ones
// (size.MaxAgents, size.MaxProtocols).
var (
	descPair   = prometheus.NewDesc("monitoring_size_estimator_hypergeom_size_estimate", "Size of the network, of the part with an agent or a protocol where these are not empty, from two monitors that follow each other in the configuration.", []string{"protocol", "agent_version", "monitor_pair"}, nil)
	descCoupon = prometheus.NewDesc("monitoring_size_estimator_coupon_size_estimate", "The same from all monitors.", []string{"protocol", "agent_version"}, nil)
)

var _ prometheus.Collector = (*Collector)(nil)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	defer c.guard.Recover("fleet: collect metrics")
	put := func(kind prometheus.ValueType, d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	for _, m := range c.Status(false).Monitors {
		up := 0.0
		if m.Up {
			up = 1
		}
		put(gauge, descUp, up, m.Name)
		put(counter, descConnects, float64(m.Connects), m.Name)
		put(counter, descEvents, float64(m.Events), m.Name)
		put(counter, descWants, float64(m.Wants), m.Name)
		put(counter, descGaps, float64(m.Gaps-m.Unbounded), m.Name, "bounded")
		put(counter, descGaps, float64(m.Unbounded), m.Name, "unbounded")
		put(counter, descMissed, float64(m.Missed), m.Name)
		put(counter, descUntimely, float64(m.Untimely), m.Name)
		put(counter, descSteps, float64(m.Clock.Steps), m.Name)
		put(counter, descLost, float64(m.Unrecorded), m.Name)
		put(gauge, descPeers, float64(m.Peers), m.Name)
		if !m.Last.IsZero() {
			put(gauge, descLag, time.Duration(m.Lag).Seconds(), m.Name)
		}
		if m.Clock.Known {
			put(gauge, descOffset, time.Duration(m.Clock.Offset).Seconds(), m.Name)
			put(gauge, descOffsetErr, time.Duration(m.Clock.Error).Seconds(), m.Name)
		}
		if m.Clock.DriftKnown {
			put(gauge, descDrift, m.Clock.Drift, m.Name)
		}
	}
	if f := c.Newest(); f != nil && f.Closed > 0 {
		for _, m := range f.Monitors {
			put(gauge, descCoverage, float64(m.Seen)/float64(f.Closed), string(m.Name))
		}
	}
	requests, entries, matched := c.joined.counts()
	put(counter, descRequests, float64(requests))
	put(counter, descEntries, float64(entries), "all")
	put(counter, descEntries, float64(matched), "matched")
	c.totalsMu.Lock()
	sizes, names := c.sizes, c.sizeNames
	c.totalsMu.Unlock()
	if names != nil {
		of := func(protocol, agent string, e *size.Estimate) {
			for _, p := range e.Neighbours() {
				put(gauge, descPair, float64(p.Field), protocol, agent, string(names[p.A]+" with "+names[p.B]))
			}
			if e.CouponErr == nil {
				put(gauge, descCoupon, float64(e.Coupon), protocol, agent)
			}
		}
		of("", "", &sizes.All)
		for i := range sizes.Agents {
			of("", sizes.Agents[i].Name, &sizes.Agents[i].Estimate)
		}
		for i := range sizes.Protocols {
			of(sizes.Protocols[i].Name, "", &sizes.Protocols[i].Estimate)
		}
	}
	put(counter, descPanics, float64(c.guard.Panics()))
}
