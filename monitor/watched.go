package monitor

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

// Watched is what a monitor watches: the parts of a node, and what its program
// adds.
type Watched struct {
	nodestate.Node // nodestate.Node.Host: nil: the node is offline

	// Sample reads the node's own figures for a sample; nil: those of Node.
	Sample func(context.Context) event.Node
	// Kubo is the version of kubo that is linked in.
	Kubo string
	// Repo is the node's repository, in which other commands find this monitor
	// (FindRunning); "": they do not.
	Repo string
	// Drift says why wants that the node sends are not captured; nil: they are.
	Drift error
	// NoBroadcast keeps the HTTP API from sending wants of its own through
	// this host.
	NoBroadcast bool
	// Collectors are served at the HTTP API's /metrics beside the monitor's.
	Collectors []prometheus.Collector
	// Publish, if there is one, is called when everything runs, with what puts
	// events on the bus. What it returns is called when the capture has ended
	// and the bus is still open.
	Publish func(publish func(*event.Event) bool) (end func())
	// Store reads the state of the embedded InfluxDB; nil: there is none.
	Store func() pipeline.Store
	// Panics is how many panics the host's program caught besides the monitor's
	// own; nil: it counts none.
	Panics func() uint64
	// Proxy, where this is one, returns it as it is now, with counters since its
	// start, and its last sample; nil if there was none yet.
	Proxy func() (now, last *event.Proxy)
}

// sample is how the node's own figures are read.
func (w *Watched) sample() func(context.Context) event.Node {
	if w.Sample != nil {
		return w.Sample
	}
	return nodestate.NewSampler(w.Node).Sample
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
