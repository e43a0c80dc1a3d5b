package probe

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfsmon/ipfsmon/event"
)

// maxSchedulers is how many names of schedulers become label values: they come
// with requests. The rest are "other".
const maxSchedulers = 32

// maxSchedulerText bounds one of them, in bytes.
const maxSchedulerText = 128

// ServerMetrics are what a server tells Prometheus, under the names and of the
// types that parsec's program has; the quantiles are those of the program
// (0.99) and of its README (0.95).
type ServerMetrics struct {
	durations *prometheus.SummaryVec
	requests  *prometheus.CounterVec

	mu         sync.Mutex
	schedulers map[string]bool
}

// NewServerMetrics registers them. disk is the size of the datastore in bytes,
// network the estimated size of the DHT.
func NewServerMetrics(reg prometheus.Registerer, disk, network func() float64) (*ServerMetrics, error) {
	m := &ServerMetrics{
		schedulers: make(map[string]bool),
		durations: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "parsec_durations", Help: "Durations of provides and retrievals in seconds.",
			Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.95: 0.005, 0.99: 0.001}, MaxAge: 24 * time.Hour,
		}, []string{"type", "target", "success", "scheduler"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parsec_http_requests_total", Help: "HTTP requests by method, first part of the path and scheduler.",
		}, []string{"method", "path", "scheduler"}),
	}
	return m, register(reg, m.durations, m.requests,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parsec_datastore_disk_usage", Help: "Size of the DHT's datastore in bytes."}, disk),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "parsec_panics_total", Help: "Faults of the probe's own that were caught."},
			func() float64 { return float64(Guard.Panics()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parsec_network_size", Help: "Estimated number of peers in the DHT."}, network))
}

func register(reg prometheus.Registerer, cs ...prometheus.Collector) error {
	for _, c := range cs {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// scheduler makes a label value of what a request calls its scheduler.
func (m *ServerMetrics) scheduler(raw string) string {
	name := string(event.Clean(raw, maxSchedulerText))
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.schedulers[name] {
		if len(m.schedulers) >= maxSchedulers {
			return "other"
		}
		m.schedulers[name] = true
	}
	return name
}

// Request counts a request. Paths and methods beyond those of the API are
// "other".
func (m *ServerMetrics) Request(method, path, scheduler string) {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch path {
	case "provide", "retrieve", "readiness":
	default:
		path = "other"
	}
	switch method {
	case "GET", "POST":
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, path, m.scheduler(scheduler)).Inc()
}

// Measured takes one measurement.
func (m *ServerMetrics) Measured(provide bool, t Target, r *Measurement, scheduler string) {
	kind := "retrieval_ttfpr"
	if provide {
		kind = "provide_duration"
	}
	m.durations.WithLabelValues(kind, string(t), strconv.FormatBool(r.Err == ""), m.scheduler(scheduler)).Observe(r.Duration.Seconds())
}

// SchedulerMetrics are what a scheduler tells Prometheus.
type SchedulerMetrics struct {
	Nodes               prometheus.Gauge
	provides, retrieves *prometheus.CounterVec
}

// NewSchedulerMetrics registers them. queued and lost are the results that
// wait for the database, and those that never came into it.
func NewSchedulerMetrics(reg prometheus.Registerer, queued, lost func() float64) (*SchedulerMetrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"success"})
	}
	m := &SchedulerMetrics{
		Nodes:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "parsec_active_nodes", Help: "Servers that were ready in the last round."}),
		provides:  counter("parsec_issued_provides", "Provides that servers were asked for."),
		retrieves: counter("parsec_issued_retrievals", "Retrievals that servers were asked for."),
	}
	return m, register(reg, m.Nodes, m.provides, m.retrieves,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ipfsmon_probe_queued_results", Help: "Results that wait for the database."}, queued),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ipfsmon_probe_lost_results_total", Help: "Results that never came into the database."}, lost))
}

// Issued counts an order to a server by its end.
func (m *SchedulerMetrics) Issued(provide, success bool) {
	v := m.retrieves
	if provide {
		v = m.provides
	}
	v.WithLabelValues(strconv.FormatBool(success)).Inc()
}
