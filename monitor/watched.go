package monitor

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/ipfs/kubo/core"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/status"
	"github.com/ipfsmon/ipfsmon/introspect"
)

// Watched is what a monitor watches: kubo's node, or anything else with a
// libp2p host that speaks Bitswap.
type Watched struct {
	Host   host.Host                        // nil: offline
	Sample func(context.Context) event.Node // what it tells about itself; see capture.Sampling
	// NoBroadcast keeps the HTTP API from sending wants of its own through
	// this host.
	NoBroadcast bool
	// Collectors are served at the HTTP API's /metrics beside the monitor's.
	Collectors []prometheus.Collector
	// Publish, if there is one, is called when everything runs, with what puts
	// events on the bus. What it returns is called when the capture has ended
	// and the bus is still open.
	Publish func(publish func(*event.Event) bool) (end func())

	// Store reads how the embedded InfluxDB stands; nil: there is none.
	Store func() status.Store

	// Panics is how many panics the host's program caught besides the monitor's
	// own; nil: it counts none.
	Panics func() uint64

	// Proxy, where this is one, gives it as it is now, with counters since its
	// start, and its last sample; nil if there was none yet.
	Proxy func() (now, last *event.Proxy)

	// Reporter counts the host's traffic, and Taps are in the host, for
	// introspection; nil: not known.
	Reporter *metrics.BandwidthCounter
	Taps     *introspect.Taps

	node *core.IpfsNode // nil: no node of kubo's
	taps taps           // those that are in it
}

// kubo returns the node of kubo's, or what of one there is.
func (w Watched) kubo() *core.IpfsNode {
	switch {
	case w.node != nil:
		return w.node
	case w.Host != nil:
		return &core.IpfsNode{PeerHost: w.Host, Peerstore: w.Host.Peerstore(), Identity: w.Host.ID(), Reporter: w.Reporter}
	}
	return &core.IpfsNode{}
}

// watchedNode is a node of kubo's.
func watchedNode(n *core.IpfsNode, t taps) Watched {
	return Watched{Host: n.PeerHost, Sample: newNodeSampler(n).sample, node: n, taps: t}
}

// Process reads what this process costs, for Watched.Sample.
func Process() event.Process { return process() }

// Run starts a monitor of something that is no node of kubo's; Close ends it.
// The configuration is one that Layers.Effective gave.
func Run(cfg *Config, w Watched, b *bus.Bus, c *capture.Capture, log *slog.Logger) (*Monitor, error) {
	w.taps.traffic = w.Taps
	return start(cfg, w, b, c, log)
}

// metricsHandler serves the monitor's metrics and those of what it watches.
func (m *Monitor) metricsHandler() http.Handler {
	if len(m.watched.Collectors) == 0 {
		return m.metrics.Handler()
	}
	reg := prometheus.NewRegistry()
	for _, c := range append([]prometheus.Collector{m.metrics}, m.watched.Collectors...) {
		reg.MustRegister(c) // their names are fixed and no two are the same
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 8})
}
