// Package monitor runs the monitor of a node: it connects the capture, the bus and every sink.
// It is the same in each program that has a node: kubo with the plugin, the proxy, or another.
//
// In: a configuration, a bus with its capture, and the parts of a node that the program has
// (Watched). Out: a running monitor. Promised: all errors of a configuration are reported
// together, with the source of each value, before anything runs; a failed Start leaves nothing
// running; Close stores everything that was accepted, within CloseTimeout. Neither this package
// nor its imports import kubo.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/derive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/httpapi/broadcast"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/internal/geo"
	"github.com/ipfsmon/ipfsmon/metrics"
	"github.com/ipfsmon/ipfsmon/privacy"
	"github.com/ipfsmon/ipfsmon/stream"
)

// CloseTimeout bounds Close. Each sink has its own, shorter timeout for the events that it
// still holds.
const CloseTimeout = 8 * time.Second

// DataFolder returns the default folder for the data of a repository's monitor.
func DataFolder(repo string) string { return filepath.Join(repo, "ipfsmon") }

// Monitor is a running monitor.
type Monitor struct {
	Config *Config

	watched    Watched
	bus        *bus.Bus
	capture    *capture.Capture
	stream     *stream.Server  // nil when off
	http       *httpapi.Server // nil when off
	influx     *influx.Sink    // nil when off
	broker     *broker.Sink    // nil when off
	metrics    *metrics.Metrics
	derive     *derive.Deriver
	endDerive  func()
	endPublish func() // nil if nobody else publishes
	endRunning func() // nil without a file that announces it
	log        *slog.Logger
	filters    map[string]*privacy.Filter // by sink; immutable once set
	origin     *geo.Lookup                // nil when off
	introspect *introspection             // nil when off
	store      *past                      // nil without an InfluxDB that can be queried

	broadcaster *broadcast.Broadcaster // nil if nothing may be sent

	clock     *clockWatch
	readiness readiness
	up        atomic.Bool // all of the above is initialised
	cancel    context.CancelFunc
	sinks     errgroup.Group

	done     chan struct{} // closed when Close starts
	closing  sync.Once
	closeErr error
}

// Start starts a monitor; Close ends it. The configuration must come from Layers.Effective. c
// publishes on b, and has not started. The error names what could not be opened; then nothing
// is left running, and the caller must close b.
func Start(cfg *Config, w Watched, b *bus.Bus, c *capture.Capture, log *slog.Logger) (_ *Monitor, err error) {
	// All listeners are opened before anything runs, so that a failure leaves nothing behind;
	// then the sinks start, then the capture of connections. Events that the tracer published
	// earlier wait on the bus.
	w.Node = w.Node.OfHost()
	m := &Monitor{Config: cfg, watched: w, bus: b, capture: c, log: log, done: make(chan struct{}), clock: newClockWatch()}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	defer func() {
		if err != nil {
			m.abandon()
		}
	}()

	if s := cfg.TCPServerConfig; s != nil {
		sc := *s
		sc.Logger, sc.Monitor = log, cfg.MonitorName
		if m.stream, err = stream.New(sc); err == nil {
			err = m.stream.Listen()
		}
		if err != nil {
			return nil, fmt.Errorf("unable to start TCP server: %w", err)
		}
	}
	if m.metrics, err = metrics.New(metrics.Config{
		Registerer: prometheus.DefaultRegisterer, Pipeline: m.pipeline,
		Version: Version, Kubo: w.Kubo, Monitor: cfg.MonitorName, Logger: log,
	}); err != nil {
		return nil, err
	}
	if err = m.openIntrospection(); err != nil {
		return nil, err
	}
	if s := cfg.HTTPServerConfig; s != nil {
		hc := *s
		hc.Logger = log
		if m.http, err = httpapi.New(hc, m.deps()); err == nil {
			err = m.http.Listen()
		}
		if err != nil {
			return nil, fmt.Errorf("unable to start HTTP server: %w", err)
		}
	}
	if s := cfg.InfluxDB; s != nil && s.URL == "" && len(s.Also) > 0 {
		return nil, fmt.Errorf("%s.InfluxDB.URL: missing beside Also; want a URL: only ipfsmon run has its own store to default to", Section)
	} else if s != nil && s.URL != "" {
		ic := *s
		ic.Log = log
		if ic.SpoolDir == "" && cfg.DataFolder != "" {
			if ic.SpoolDir, err = filepath.Abs(filepath.Join(cfg.DataFolder, "spool")); err != nil {
				return nil, fmt.Errorf("find the data folder: %w", err)
			}
		}
		if m.influx, err = influx.New(ic, cfg.MonitorName); err != nil {
			return nil, fmt.Errorf("unable to write to InfluxDB: %w", err)
		}
	}
	if err = m.openBroker(); err != nil {
		return nil, err
	}
	if err = m.openPrivacy(); err != nil {
		return nil, err
	}
	if err = m.openOrigin(c); err != nil {
		return nil, err
	}
	m.openHistory()
	if m.introspect != nil {
		if err = m.introspect.run(); err != nil {
			return nil, err
		}
	}
	if w.Host != nil { // an offline daemon has none
		err = c.Start(w.Host, capture.Sampling{
			Interval:    time.Duration(cfg.PopulatePrometheusInterval) * time.Second,
			AgentCutOff: cfg.AgentVersionCutOff,
			Node:        w.sample(),
		})
		if err != nil {
			return nil, err
		}
	}

	run := func(name string, f func(context.Context, *bus.Reader) error) {
		r := m.subscribe(name)
		m.sinks.Go(func() error {
			defer r.Close()
			if err := f(ctx, r); err != nil && !errors.Is(err, context.Canceled) {
				m.readiness.end(name, err)
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	run("metrics", m.metrics.Run)
	if m.stream != nil {
		run("stream", m.stream.Run)
	}
	if m.influx != nil {
		run("influx", m.influx.Run)
	}
	if m.broker != nil {
		run("broker", m.broker.Run)
	}
	if m.introspect != nil {
		run("introspect", m.introspect.feed.Run)
	}
	if m.http != nil {
		m.sinks.Go(func() error { return m.http.Run(ctx) })
	}
	if m.origin != nil {
		m.sinks.Go(func() error { m.followOrigin(c); return nil })
	}
	m.startDerive(ctx)
	m.sinks.Go(func() error { m.watchClock(b, m.done); return nil })
	m.up.Store(true)
	m.sinks.Go(func() error { m.watchReady(m.done); return nil })
	started := "The monitor started"
	if w.Kubo != "" {
		started += "; kubo " + w.Kubo
	}
	b.Publish(event.NewNote(time.Now().UnixNano(), event.NoteStart, 0, started))
	b.Live()
	if w.Publish != nil {
		m.endPublish = w.Publish(b.Publish)
	}
	if w.Repo != "" {
		if m.endRunning, err = m.sayRunning(w.Repo); err != nil {
			log.Warn("other commands cannot find this monitor without its address", "err", err)
		}
	}
	return m, nil
}

// summariesPerSample is how many samples a summary of derived figures covers: a minute at the
// default interval.
const summariesPerSample = 6

// deriveDrain is how long Close waits until captured events are counted in the derived figures.
const deriveDrain = time.Second

// startDerive starts the sink that derives figures from the events and publishes them on the
// bus. Other sinks wait for its results, so it ends before the bus does: m.endDerive.
func (m *Monitor) startDerive(ctx context.Context) {
	var floods derive.FloodConfig
	if c := m.Config.Floods; c != nil {
		floods = *c
	}
	m.derive = derive.New(derive.Config{
		Floods:         floods,
		Interval:       time.Duration(m.Config.PopulatePrometheusInterval) * time.Second * summariesPerSample,
		HistoryLatency: true,
		Logger:         m.log,
		Pipeline:       func() event.Pipeline { p := m.pipeline(); return p.Totals() },
	}, m.bus.Publish)
	r := m.bus.Subscribe("derive")
	r.Map(own)
	ended := make(chan struct{})
	m.sinks.Go(func() error {
		defer close(ended)
		if err := m.derive.Run(ctx, r); err != nil && !errors.Is(err, context.Canceled) {
			m.readiness.end("derive", err)
			return fmt.Errorf("derive: %w", err)
		}
		return nil
	})
	m.endDerive = func() {
		soon, cancel := context.WithTimeout(context.Background(), deriveDrain)
		defer cancel()
		_ = r.Drained(soon) // late events are not in the last figures
		r.Close()
		<-ended
	}
}

// abandon closes everything that a failed start has opened.
func (m *Monitor) abandon() {
	m.cancel()
	m.capture.Close()
	if m.introspect != nil {
		_ = m.introspect.close() // nobody has used it
	}
	if m.influx != nil {
		_ = m.influx.Close() // it was not running
	}
	if m.broker != nil {
		_ = m.broker.Close() // it was not running
	}
	if m.origin != nil {
		_ = m.origin.Close() // never fails
	}
	if m.stream != nil {
		_ = m.stream.Close() // nothing was running on it
	}
	if m.http != nil {
		_ = m.http.Close()
	}
	if m.metrics != nil {
		_ = m.metrics.Close()
	}
}

// Close ends the capture, waits until each sink has delivered what it holds, and closes the
// listeners. The error reports what could not be delivered. It may be called more than once and
// from several goroutines; each call waits for the end.
func (m *Monitor) Close() error {
	m.closing.Do(func() { m.closeErr = m.close() })
	return m.closeErr
}

// Done is closed when Close starts.
func (m *Monitor) Done() <-chan struct{} { return m.done }

func (m *Monitor) close() error {
	close(m.done)
	late := time.AfterFunc(CloseTimeout, m.cancel)
	defer late.Stop()
	if m.endRunning != nil {
		m.endRunning()
	}
	m.capture.Close()
	if m.endPublish != nil {
		m.endPublish()
	}
	m.endDerive()
	m.bus.Publish(event.NewNote(time.Now().UnixNano(), event.NoteStop, 0, "The monitor stopped"))
	m.bus.Close()
	var errs []error
	if m.origin != nil {
		errs = append(errs, m.origin.Close())
	}
	if m.introspect != nil {
		errs = append(errs, m.introspect.close())
	}
	if m.http != nil {
		errs = append(errs, m.http.Close())
	}
	m.closeHistory()
	errs = append(errs, m.sinks.Wait())
	if m.stream != nil {
		errs = append(errs, m.stream.Close())
	}
	errs = append(errs, m.metrics.Close())
	m.cancel()
	return errors.Join(errs...)
}

// StreamAddresses returns the addresses of the event stream; never nil.
func (m *Monitor) StreamAddresses() []string {
	out := []string{}
	if m.stream != nil {
		for _, a := range m.stream.Addrs() {
			out = append(out, a.String())
		}
	}
	return out
}

// HTTPAddresses returns the addresses of the HTTP API.
func (m *Monitor) HTTPAddresses() []string {
	var out []string
	if m.http != nil {
		for _, a := range m.http.Addrs() {
			out = append(out, a.String())
		}
	}
	return out
}

// Announce prints all listening addresses, in the format of the old exporter, which some
// programs parse.
func (m *Monitor) Announce(w io.Writer) {
	for _, a := range m.StreamAddresses() {
		fmt.Fprintln(w, "Metric Export TCP server listening on", a)
	}
	for _, a := range m.HTTPAddresses() {
		fmt.Fprintln(w, "Metric Export HTTP server listening on", a)
	}
	for _, u := range m.IntrospectAddresses() {
		fmt.Fprintln(w, "Live page at", u)
	}
}

// Silent reports whether no data leaves the monitor except the metrics in the default
// Prometheus registry.
func (m *Monitor) Silent() bool {
	return m.stream == nil && m.http == nil && m.influx == nil && m.broker == nil && len(m.IntrospectAddresses()) == 0
}

// Queryable reports whether points are stored where `ipfsmon query` can ask for them.
func (m *Monitor) Queryable() bool { return m.store != nil }

// Drift returns why wants that the node sends are not captured, as in Watched.
func (m *Monitor) Drift() error { return m.watched.Drift }

// Closing returns the outcome of all points, and of what was sent to a broker, as text for the
// end of a command. It is final after Close.
func (m *Monitor) Closing() string {
	text := "Nothing is stored: no InfluxDB is configured."
	if m.influx != nil {
		text = m.influx.Stats().Closing()
	}
	return strings.Join(append([]string{text}, m.brokerClosing()...), "\n")
}

// Status is the state of the monitor for a status line.
type Status struct {
	Peers    int    // connected now
	Messages uint64 // Bitswap messages of both directions since the start
	Stored   uint64 // points stored in InfluxDB
	Queued   uint64 // points waiting for it
	Dropped  uint64 // events and points lost, sum of all places
	Err      string // InfluxDB's current error; "": none
}

// Status returns the current state.
func (m *Monitor) Status() Status {
	s := Status{
		Messages: m.capture.Traffic(event.Libp2p, event.Received).Messages + m.capture.Traffic(event.Libp2p, event.Sent).Messages,
	}
	if m.watched.Host != nil {
		s.Peers = len(m.watched.Host.Network().Peers())
	}
	for _, r := range m.bus.Stats().Readers {
		s.Dropped += r.Missed
	}
	if m.influx != nil {
		i := m.influx.Stats()
		s.Stored, s.Queued = i.Stored, uint64(i.Queued)
		if i.Failing {
			s.Err = i.LastError
		}
		s.Dropped += i.Dropped + i.Rejected
	}
	if m.broker != nil {
		all, _ := m.broker.Stats()
		for _, x := range all {
			s.Dropped += x.Dropped + x.Rejected
		}
	}
	return s
}
