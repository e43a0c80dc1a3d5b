// Package metrics exposes the state of the node and its monitor to Prometheus.
//
// In: a bus.Reader, of which it keeps the last sample, and a function
// that reads the monitor's counters. Out: a collector, registered where kubo
// serves its own metrics, and a handler that serves it alone. Promised: a
// scrape costs what it prints and does not query the node, however many
// peers there are; every label comes from a closed set or is limited to a number of
// values; a panic costs ipfsmon's own metrics and never the page that they
// are on. Not promised: that figures of peers are newer than the last sample.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/status"
)

// maxScrapes is the most scrapes at once of Handler; others are answered 503.
const maxScrapes = 8

// Config is what the collectors are made of.
type Config struct {
	// Registerer is where they are registered; nil: nowhere.
	Registerer prometheus.Registerer
	// Pipeline reads the monitor's counters; nil: there are none. It is called
	// once a scrape, from any goroutine.
	Pipeline func() status.Pipeline
	// Version and Kubo are those of ipfsmon and of kubo, Monitor the name of
	// this one: the labels of ipfsmon_info.
	Version, Kubo, Monitor string
	// Logger is slog.Default() if nil.
	Logger *slog.Logger
}

// Metrics is a prometheus.Collector. All methods may be called from any
// goroutine.
type Metrics struct {
	cfg     Config
	log     *slog.Logger
	descs   []*prometheus.Desc // of families, one for one
	handler http.Handler

	sampled    atomic.Pointer[[]prometheus.Metric] // made of the last sample
	guard      guard.Guard
	registered bool
	closing    sync.Once
}

var _ prometheus.Collector = (*Metrics)(nil)

// New makes the collectors and registers them. If there is another monitor's
// already, as in a program with two nodes, those stay and these are served by
// Handler alone; the log says so. Close it when it is no longer needed.
func New(cfg Config) (*Metrics, error) {
	m := &Metrics{cfg: cfg, log: cfg.Logger}
	if m.log == nil {
		m.log = slog.Default()
	}
	m.guard.Log = m.log
	for _, f := range families {
		m.descs = append(m.descs, prometheus.NewDesc(f.Name, f.Help, f.labels(), nil))
	}
	own := prometheus.NewRegistry()
	if err := own.Register(m); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m.handler = promhttp.HandlerFor(own, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
	if cfg.Registerer != nil {
		var there prometheus.AlreadyRegisteredError
		switch err := cfg.Registerer.Register(m); {
		case errors.As(err, &there):
			m.log.Warn("metrics: another monitor in this program has registered its metrics; those of this one are on its own listener only")
		case err != nil:
			return nil, fmt.Errorf("metrics: register: %w", err)
		default:
			m.registered = true
		}
	}
	return m, nil
}

// Close takes the collectors out of the registerer. It may be called again.
func (m *Metrics) Close() error {
	m.closing.Do(func() {
		if m.registered {
			m.cfg.Registerer.Unregister(m)
		}
	})
	return nil
}

// Handler serves these metrics and no others, in Prometheus's text formats.
func (m *Metrics) Handler() http.Handler { return m.handler }

// Panics is how many samples and scrapes ended in a fault of our own.
func (m *Metrics) Panics() uint64 { return m.guard.Panics() }

// Run keeps the last sample until the bus is closed or ctx ends. The reader
// stays the caller's.
func (m *Metrics) Run(ctx context.Context, r *bus.Reader) error {
	buf := make([]*event.Event, 256)
	for {
		n, _, err := r.Next(ctx, buf)
		if errors.Is(err, bus.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("metrics: read events: %w", err)
		}
		for _, e := range buf[:n] {
			m.take(e)
		}
		clear(buf[:n])
	}
}

// take makes the metrics of a sample; all other events pass.
func (m *Metrics) take(e *event.Event) {
	defer m.guard.Recover("metrics: read a sample")
	if e.Kind != event.KindSample || e.Sample == nil {
		return
	}
	var out []prometheus.Metric
	for i, f := range families {
		if f.sample != nil {
			f.sample(e.Sample, m.emitter(i, func(metric prometheus.Metric) { out = append(out, metric) }))
		}
	}
	m.sampled.Store(&out)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	defer m.guard.Recover("metrics: collect")
	if sampled := m.sampled.Load(); sampled != nil {
		for _, metric := range *sampled {
			ch <- metric
		}
	}
	var p *status.Pipeline
	if m.cfg.Pipeline != nil {
		read := m.cfg.Pipeline()
		p = &read
	}
	for i, f := range families {
		emit := m.emitter(i, func(metric prometheus.Metric) { ch <- metric })
		switch {
		case f.self != nil:
			f.self(m, emit)
		case f.pipeline != nil && p != nil:
			f.pipeline(p, emit)
		}
	}
}

// emit takes one value of a family with the values of its labels.
type emit func(v float64, labels ...string)

// emitter returns the emit of a family. A value that Prometheus refuses, or one
// for labels that have one, is left out: it would take the whole page with it.
func (m *Metrics) emitter(family int, to func(prometheus.Metric)) emit {
	seen := make(map[string]bool)
	return func(v float64, labels ...string) {
		key := strings.Join(labels, "\xff") // in no valid label
		if seen[key] {
			return
		}
		seen[key] = true
		metric, err := prometheus.NewConstMetric(m.descs[family], families[family].Kind.valueType(), v, labels...)
		if err == nil {
			to(metric)
		}
	}
}
