package introspect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/samesite"
)

// Path is the path of the WebSocket.
const Path = "/introspect"

// The maximum of connections of an endpoint, including sessions: in total, and from one address
// other than loopback.
const (
	maxConns      = 2 * MaxSessions
	maxConnsPerIP = 4 * MaxSessionsPerIP
)

// EndpointConfig is the configuration of an endpoint.
type EndpointConfig struct {
	// ListenAddresses are "host:port" or "unix:/path".
	ListenAddresses []string
	access.Config
	// Page serves everything but the WebSocket; nil: 404.
	Page http.Handler
	// Logger; nil: slog.Default().
	Logger *slog.Logger
}

// Validate reports all invalid settings. Missing addresses are not reported: Start fails
// without any.
func (c EndpointConfig) Validate() error {
	if len(c.ListenAddresses) == 0 {
		return nil
	}
	return c.Config.Check(c.ListenAddresses)
}

// endpoint is the Endpoint of a Server.
type endpoint struct {
	cfg  EndpointConfig
	srv  *Server
	gate *access.Gate

	mu      sync.Mutex
	running *listening // nil while it does not serve
}

type listening struct {
	listeners []*access.Listener
	stop      context.CancelFunc
	wg        sync.WaitGroup
	requests  sync.WaitGroup // requests in progress, including sessions; added to while it is running
}

// NewEndpoint returns an endpoint for a server, which may have others. It reads the files that
// the configuration names. The caller still owns the server.
func NewEndpoint(cfg EndpointConfig, srv *Server) (Endpoint, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("introspect: %w", err)
	}
	gate, err := access.New(cfg.Config, cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("introspect: %w", err)
	}
	return &endpoint{cfg: cfg, srv: srv, gate: gate}, nil
}

// Start implements Endpoint. Its errors are those of the original.
func (e *endpoint) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running != nil {
		return errors.New("failed to start WS server: already started")
	}
	if len(e.cfg.ListenAddresses) == 0 {
		return errors.New("failed to start WS server: no listen addresses supplied")
	}
	conns := listen.NewConns(listen.Bounds{Total: maxConns, PerAddress: maxConnsPerIP})
	bound, err := e.gate.Listen(e.cfg.ListenAddresses, conns)
	if err != nil {
		return fmt.Errorf("failed to start WS server: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &listening{listeners: bound, stop: stop}
	server := &http.Server{
		Handler:           e.srv.guard.Handler("introspect: answer a request", e),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    12 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // of clients that disconnect
		BaseContext:       access.Contexts(ctx),
	}
	conns.Serve(server)
	e.running = r
	r.wg.Go(func() { _ = listen.Serve(ctx, server, 0, access.Listeners(bound)...) }) // it ends with Close
	r.wg.Go(func() { e.gate.Run(ctx, bound) })
	return nil
}

// Close implements Endpoint. It also ends the sessions of this endpoint.
func (e *endpoint) Close() error {
	e.mu.Lock()
	r := e.running
	e.running = nil
	e.mu.Unlock()
	if r == nil {
		return nil
	}
	r.stop()
	r.wg.Wait()
	r.requests.Wait()
	return nil
}

// ListenAddrs implements Endpoint.
func (e *endpoint) ListenAddrs() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running == nil {
		return nil
	}
	out := make([]string, 0, len(e.running.listeners))
	for _, l := range e.running.listeners {
		out = append(out, l.Addr().String())
	}
	return out
}

// ServeHTTP serves the WebSocket at Path, and the page elsewhere.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	e.mu.Lock()
	r := e.running
	if r == nil {
		e.mu.Unlock()
		http.Error(w, "closing", http.StatusServiceUnavailable)
		return
	}
	r.requests.Add(1)
	e.mu.Unlock()
	defer r.requests.Done()
	if q.URL.Path != Path {
		if e.cfg.Page == nil {
			http.NotFound(w, q)
			return
		}
		if err := samesite.Check(q, e.srv.cfg.AllowedHosts); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		e.cfg.Page.ServeHTTP(w, q)
		return
	}
	if access.NeedsToken(q) && !e.gate.ShowsSocket(q) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ipfsmon"`)
		http.Error(w, "missing or wrong token", http.StatusUnauthorized)
		return
	}
	e.srv.ServeHTTP(w, q)
}
