// Package monitor is what runs beside a node: it takes what capture sees from
// the bus to every sink, and is the same in each program that has a node: kubo
// with the plugin, the proxy, or another.
//
// In: a configuration, a bus with its capture, and the parts of a node that
// the program has (Watched). Out: a running monitor. Promised: a wrong
// configuration is named as a whole, with the place that each value came from,
// before anything runs; a failed Start leaves nothing running; Close stores
// everything that was accepted, within CloseTimeout. Nothing of kubo's is
// imported here or below.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

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

// CloseTimeout is the longest that Close takes. Each sink has a shorter time
// of its own for what it still holds; this is the end of all patience.
const CloseTimeout = 8 * time.Second

// DataFolder is where a repository's monitor keeps its data by default.
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
	metrics    *metrics.Metrics
	derive     *derive.Deriver
	endDerive  func()
	endPublish func() // nil if nobody else publishes
	endRunning func() // nil if there is no file that says that it runs
	log        *slog.Logger
	filters    map[string]*privacy.Filter // by sink; immutable once set
	origin     *geo.Lookup                // nil when off
	introspect *introspection             // nil when off
	store      *past                      // nil without an InfluxDB that can be asked

	broadcaster *broadcast.Broadcaster // nil where nothing may be sent

	clock     *clockWatch
	readiness readiness
	up        atomic.Bool // all of the above is made
	cancel    context.CancelFunc
	sinks     errgroup.Group

	done     chan struct{} // closed when the monitor begins to close
	closing  sync.Once
	closeErr error
}

// Start runs a monitor; Close ends it. The configuration is one that
// Layers.Effective returned. c publishes on b, and has not started. The error
// names what could not be opened; nothing is left running then, but b is the
// caller's to close.
func Start(cfg *Config, w Watched, b *bus.Bus, c *capture.Capture, log *slog.Logger) (_ *Monitor, err error) {
	// All listeners are opened before anything runs, so that what fails leaves
	// nothing behind; then the sinks start, then the capture of connections. What
	// the tracer saw before that waits on the bus.
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
		return nil, fmt.Errorf("%s.InfluxDB.URL: missing beside Also; only ipfsmon run has a store of its own that it can stand for", Section)
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
		m.influx.SetPipeline(m.pipeline)
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
	if w.Host != nil { // a daemon that is offline has none
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
	b.Live()
	if w.Publish != nil {
		m.endPublish = w.Publish(b.Publish)
	}
	if w.Repo != "" {
		if m.endRunning, err = m.sayRunning(w.Repo); err != nil {
			log.Warn("other commands do not find this monitor without its address", "err", err)
		}
	}
	return m, nil
}

// summariesPerSample says how many samples a summary of derived figures covers:
// a minute at the default interval.
const summariesPerSample = 6

// deriveDrain is how long the end of a monitor waits for what was captured
// before to be counted in the derived figures.
const deriveDrain = time.Second

// startDerive starts what derives figures from the events and puts them back
// on the bus. It is a sink whose results other sinks wait for, so that it ends
// before the bus does: m.endDerive.
func (m *Monitor) startDerive(ctx context.Context) {
	m.derive = derive.New(derive.Config{
		Interval:       time.Duration(m.Config.PopulatePrometheusInterval) * time.Second * summariesPerSample,
		HistoryLatency: true,
		Logger:         m.log,
	}, m.bus.Publish)
	r := m.bus.Subscribe("derive")
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
		_ = r.Drained(soon) // what comes too late is not in the last figures
		r.Close()
		<-ended
	}
}

// abandon closes what a failed start has opened.
func (m *Monitor) abandon() {
	m.cancel()
	m.capture.Close()
	if m.introspect != nil {
		_ = m.introspect.close() // nobody has used it
	}
	if m.influx != nil {
		_ = m.influx.Close() // it did not run
	}
	if m.origin != nil {
		_ = m.origin.Close() // never fails
	}
	if m.stream != nil {
		_ = m.stream.Close() // nothing ran on it
	}
	if m.http != nil {
		_ = m.http.Close()
	}
	if m.metrics != nil {
		_ = m.metrics.Close()
	}
}

// Close ends the capture, lets each sink deliver what it holds, and ends the
// listeners. The error reports what could not be delivered. It may be called
// again and from several goroutines; each call waits for the end.
func (m *Monitor) Close() error {
	m.closing.Do(func() { m.closeErr = m.close() })
	return m.closeErr
}

// Done is closed when the monitor begins to close.
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

// StreamAddresses are where the event stream listens; never nil.
func (m *Monitor) StreamAddresses() []string {
	out := []string{}
	if m.stream != nil {
		for _, a := range m.stream.Addrs() {
			out = append(out, a.String())
		}
	}
	return out
}

// HTTPAddresses are where the HTTP API listens.
func (m *Monitor) HTTPAddresses() []string {
	var out []string
	if m.http != nil {
		for _, a := range m.http.Addrs() {
			out = append(out, a.String())
		}
	}
	return out
}

// Announce writes where everything listens, in the words of the old exporter,
// which some programs read.
func (m *Monitor) Announce(w io.Writer) {
	for _, a := range m.StreamAddresses() {
		fmt.Fprintln(w, "Metric Export TCP server listening on", a)
	}
	for _, a := range m.HTTPAddresses() {
		fmt.Fprintln(w, "Metric Export HTTP server listening on", a)
	}
	for _, u := range m.IntrospectAddresses() {
		fmt.Fprintln(w, "Introspection page at", u)
	}
}

// Silent reports whether nothing that the monitor sees leaves it, but for the
// metrics in the default Prometheus registry.
func (m *Monitor) Silent() bool {
	return m.stream == nil && m.http == nil && m.influx == nil && len(m.IntrospectAddresses()) == 0
}

// Drift is that of Watched: why wants that the node sends are not captured.
func (m *Monitor) Drift() error { return m.watched.Drift }

// Closing is what became of all points, for the last words of a command. It is
// true after Close.
func (m *Monitor) Closing() string {
	if m.influx == nil {
		return "Nothing is stored: no InfluxDB is configured."
	}
	return m.influx.Stats().Closing()
}

// Status is how the monitor stands, for a status line.
type Status struct {
	Peers    int    // connected now
	Messages uint64 // Bitswap messages of both directions since the start
	Stored   uint64 // points that InfluxDB has taken
	Queued   uint64 // points that wait for it
	Dropped  uint64 // events and points lost on the way, at every place together
	Err      string // what is wrong with InfluxDB now, "" if it is well
}

// Status reads the counters.
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
	return s
}
