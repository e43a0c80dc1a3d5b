// Package httpapi is the HTTP API of the monitor, under /metric_plugin/v1.
//
// In: requests, and functions that return the results. Out: for each method an
// envelope of JSON with the status, and the result or an error; paths and
// bodies are those of the old metrics exporter. Promised: every request is
// bounded in time and size; a panic is recovered and answered with 500; requests
// of web pages from elsewhere are rejected, by their Host and Origin (package
// samesite); requests from beyond the loopback interface need a token (package
// access), and so do requests from anywhere that change something. Not promised:
// different rights for different callers; every token permits everything.
package httpapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
	maxBodyBytes      = 1 << 20
	// maxConns is the most connections at once, maxConnsPerAddress the most from
	// one address beyond loopback.
	maxConns           = 256
	maxConnsPerAddress = 64
	// shutdownTime is how long running requests have at shutdown.
	shutdownTime = 2 * time.Second
	// maxLong is the most requests at once that take long or much memory:
	// broadcasts, and lists of all peers.
	maxLong = 4
)

// Server serves the API. All methods may be called from any goroutine.
type Server struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	http  *http.Server
	gate  *access.Gate
	entry *access.Entry
	long  chan struct{} // cap maxLong; has an element for each long request that is running

	closing atomic.Bool
	stop    context.CancelFunc // called by Close
	stopped context.Context
	conns   *listen.Conns
	guard   guard.Guard

	requests requests

	libraryLine, failLine throttle.Line
}

// New returns a server, after it has read the files that the configuration names.
// Close it when it is no longer needed.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	gate, err := access.New(cfg.Config, cfg.Logger)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, deps: deps, log: cfg.Logger, gate: gate, long: make(chan struct{}, maxLong)}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.guard.Log = s.log
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		// The library adds 4096 bytes to this value.
		MaxHeaderBytes: maxHeaderBytes - 4096,
		BaseContext:    access.Contexts(context.Background()),
		ErrorLog:       slog.NewLogLogger(quiet{s.log.Handler(), &s.libraryLine}, slog.LevelDebug),
	}
	s.conns = listen.NewConns(listen.Bounds{Total: maxConns, PerAddress: maxConnsPerAddress})
	s.conns.Serve(s.http)
	s.http.RegisterOnShutdown(s.ending)
	s.entry = gate.Entry("httpapi", cfg.ListenAddresses, s.conns)
	return s, nil
}

// quiet limits the log lines of the HTTP library, for example about failed
// accepts, to one in ten seconds.
type quiet struct {
	slog.Handler
	line *throttle.Line
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	held, ok := q.line.Allow()
	if !ok {
		return nil
	}
	r.AddAttrs(slog.Uint64("held_back", held))
	return q.Handler.Handle(ctx, r)
}

// Listen binds all addresses, or none if one of them cannot be bound. From then
// on clients can connect; Run serves them.
func (s *Server) Listen() error { return s.entry.Listen() }

// Addrs returns the addresses that the server listens on, with their real ports.
func (s *Server) Addrs() []net.Addr { return s.entry.Addrs() }

// Run serves until ctx ends or Close is called. Running requests then have two
// more seconds; new ones on open connections are answered with 503. It may be
// called once, after Listen. Its error is that of a listener that failed.
func (s *Server) Run(ctx context.Context) error {
	listeners, end, err := s.entry.Run()
	if listeners == nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.stopped, cancel)()
	var warning sync.WaitGroup
	warning.Go(func() { s.gate.Run(s.stopped, listeners) })
	err = listen.Serve(ctx, s.http, shutdownTime, access.Listeners(listeners)...)
	s.ending()
	warning.Wait()
	for range maxLong {
		s.long <- struct{}{} // blocks until every long request has left its place
	}
	return err
}

// ending ends the long requests, and answers new ones with 503.
func (s *Server) ending() {
	s.closing.Store(true)
	s.stop()
}

// Close ends the server and waits for Run. It may be called more than once, and
// before Run.
func (s *Server) Close() error {
	s.ending()
	s.entry.Close()()
	return nil
}

// Stats returns the counters of the server.
func (s *Server) Stats() pipeline.HTTP {
	open, refused, evicted := s.conns.Stats()
	return pipeline.HTTP{Requests: s.requests.list(), Connections: uint64(open), Refused: refused, Evicted: evicted, Panics: s.guard.Panics()}
}
