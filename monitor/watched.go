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

// Watched is the node that a monitor watches: its parts, and additions of the program.
type Watched struct {
	nodestate.Node // nodestate.Node.Host: nil: the node is offline

	// Sample reads the node's own figures for a sample; nil: read from Node.
	Sample func(context.Context) event.Node
	// Kubo is the version of the linked kubo.
	Kubo string
	// Repo is the node's repository, or another folder, through which other commands
	// find this monitor (FindRunning); "": they cannot.
	Repo string
	// Drift returns why wants that the node sends are not captured; nil: they are.
	Drift error
	// NoBroadcast prevents the HTTP API from sending its own wants through this host.
	NoBroadcast bool
	// Collectors are served at the HTTP API's /metrics beside the monitor's.
	Collectors []prometheus.Collector
	// Publish, if set, is called when everything is running, with the function that publishes
	// events on the bus. The function that it returns is called when the capture has ended and
	// the bus is still open.
	Publish func(publish func(*event.Event) bool) (end func())
	// Store reads the state of the embedded InfluxDB; nil: there is none.
	Store func() pipeline.Store
	// Panics is how many panics the host's program caught besides the monitor's
	// own; nil: it counts none.
	Panics func() uint64
	// Fleet is the fleet that the program collects; nil: it collects none.
	Fleet *Fleet
	// Proxy returns the current state of a proxy, with counters since its start, and its last
	// sample, nil if there was none yet; nil: the program is not a proxy.
	Proxy func() (now, last *event.Proxy)
}

// Fleet is what the HTTP API serves of a fleet. All functions may be called from any
// goroutine, and return values with a JSON form.
type Fleet struct {
	// Status returns the current state; without named it may name no peers and CIDs.
	Status func(named bool) any
	// Past returns the last intervals.
	Past func() any
	// Ready returns why it is not ready; nil: it is.
	Ready func() error
	// Page is the live page of the fleet, as httpapi.Deps.Page.
	Page http.Handler
}

// sample returns the function that reads the node's own figures.
func (w *Watched) sample() func(context.Context) event.Node {
	if w.Sample != nil {
		return w.Sample
	}
	return nodestate.NewSampler(w.Node).Sample
}

// metricsHandler serves the monitor's metrics and those of the watched node.
func (m *Monitor) metricsHandler() http.Handler {
	if len(m.watched.Collectors) == 0 {
		return m.metrics.Handler()
	}
	reg := prometheus.NewRegistry()
	for _, c := range append([]prometheus.Collector{m.metrics}, m.watched.Collectors...) {
		reg.MustRegister(c) // their names are fixed and distinct
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 8, EnableOpenMetrics: true})
}
