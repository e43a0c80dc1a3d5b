package probe

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfsmon/ipfsmon/event"
)

// maxSchedulers is how many names of schedulers, which come from requests, become
// label values. The rest is "other".
const maxSchedulers = 32

// maxSchedulerText bounds one of them, in bytes.
const maxSchedulerText = 128

// ServerMetrics are the Prometheus metrics of a server, with the names and types
// of parsec's program; the quantiles are those of the program (0.99) and of its
// README (0.95).
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
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "parsec_panics_total", Help: "Panics recovered from in the probe."},
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

// scheduler returns the label value for the name that a request has for its scheduler.
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

// Measured counts a measurement.
func (m *ServerMetrics) Measured(provide bool, t Target, r *Measurement, scheduler string) {
	kind := "retrieval_ttfpr"
	if provide {
		kind = "provide_duration"
	}
	m.durations.WithLabelValues(kind, string(t), strconv.FormatBool(r.Err == ""), m.scheduler(scheduler)).Observe(r.Duration.Seconds())
}

// SchedulerMetrics are the Prometheus metrics of a scheduler.
type SchedulerMetrics struct {
	Nodes               prometheus.Gauge
	provides, retrieves *prometheus.CounterVec
}

// NewSchedulerMetrics registers them. queued returns how many results wait for the
// database, lost how many were lost before they got there.
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
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ipfsmon_probe_queued_results", Help: "Results waiting for the database."}, queued),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ipfsmon_probe_lost_results_total", Help: "Results lost before they were in the database."}, lost))
}

// Issued counts a request to a server by its result.
func (m *SchedulerMetrics) Issued(provide, success bool) {
	v := m.retrieves
	if provide {
		v = m.provides
	}
	v.WithLabelValues(strconv.FormatBool(success)).Inc()
}
