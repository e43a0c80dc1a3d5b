// Package metrics exposes the state of the node and its monitor to Prometheus.
//
// In: a bus.Reader, of which it keeps the last sample and the sums of summaries,
// and a function that reads the monitor's counters. Out: a collector, registered where kubo serves its own
// metrics, and a handler that serves it alone. Promised: the cost of a scrape
// does not grow with the number of peers, and a scrape never queries the node;
// every label has a closed set or a limited number of values; a panic loses
// ipfsmon's metrics only, not kubo's on the same page. Not promised: figures of
// peers that are newer than the last sample.
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
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// maxScrapes is the most concurrent scrapes of Handler; more are answered with 503.
const maxScrapes = 8

// Config says what the collectors read and where they are registered.
type Config struct {
	// Registerer is where they are registered; nil: nowhere.
	Registerer prometheus.Registerer
	// Pipeline reads the monitor's counters; nil: there are none. Each scrape
	// calls it once, from any goroutine.
	Pipeline func() pipeline.Pipeline
	// Version is ipfsmon's, Kubo that of kubo, Monitor the monitor's name: the
	// labels of ipfsmon_info.
	Version, Kubo, Monitor string
	// Logger is slog.Default() if nil.
	Logger *slog.Logger
}

// Metrics is a prometheus.Collector. All methods may be called from any
// goroutine.
type Metrics struct {
	cfg     Config
	log     *slog.Logger
	descs   []*prometheus.Desc // one for each of families, in the same order
	handler http.Handler

	sampled    atomic.Pointer[[]prometheus.Metric] // of the last sample
	sums       sums                                // of all summaries; used by Run's goroutine alone
	summed     atomic.Pointer[[]prometheus.Metric] // of sums
	guard      guard.Guard
	registered bool
	closing    sync.Once
}

var _ prometheus.Collector = (*Metrics)(nil)

// New makes the collectors and registers them. If another monitor's are already
// registered, as in a program with two nodes, those stay, and only Handler serves
// these; the log says so. Close it when it is no longer needed.
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
	m.handler = promhttp.HandlerFor(own, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true})
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

// Close unregisters the collectors. It may be called more than once.
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

// Panics returns how many samples and scrapes ended in a panic.
func (m *Metrics) Panics() uint64 { return m.guard.Panics() }

// Run keeps the last sample and the sums of summaries until the bus is closed or ctx ends. It does not close
// the reader.
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

// take makes the metrics of a sample or of an interval's summary, and ignores all
// other events.
func (m *Metrics) take(e *event.Event) {
	defer m.guard.Recover("metrics: read a sample")
	switch {
	case e.Kind == event.KindSample && e.Sample != nil:
		m.sampled.Store(m.made(func(i int, f Family, add func(prometheus.Metric)) {
			if f.sample != nil {
				f.sample(e.Sample, m.emitter(i, add))
			}
		}))
	case e.Kind == event.KindSummary && e.Summary != nil:
		m.sums.add(e.Summary)
		m.summed.Store(m.made(func(i int, f Family, add func(prometheus.Metric)) {
			switch {
			case f.summary != nil:
				f.summary(&m.sums, m.emitter(i, add))
			case f.times != nil:
				f.times(&m.sums, m.timesEmitter(i, add))
			}
		}))
	}
}

// made returns what of adds for all families.
func (m *Metrics) made(of func(i int, f Family, add func(prometheus.Metric))) *[]prometheus.Metric {
	var out []prometheus.Metric
	for i, f := range families {
		of(i, f, func(metric prometheus.Metric) { out = append(out, metric) })
	}
	return &out
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
	for _, made := range []*[]prometheus.Metric{m.sampled.Load(), m.summed.Load()} {
		if made != nil {
			for _, metric := range *made {
				ch <- metric
			}
		}
	}
	var p *pipeline.Pipeline
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

// emitter returns the emit of a family. It leaves out a value that Prometheus
// rejects and a second value for the same labels: each would fail the whole page.
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
