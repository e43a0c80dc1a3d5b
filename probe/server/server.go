// Package server lets a scheduler measure with one peer: parsec's HTTP API
// around package probe, and the server's row in the store.
//
// In: POST /provide, POST /retrieve/{cid} and GET /readiness, as in
// docs/probe-openapi.yaml. Out: a measurement as JSON; a row in nodes_ecs with a
// heartbeat each minute. Promised: an invalid request is answered with a 4xx and
// the reason, a failed measurement with a 200 and its error, content on a deny list
// with a 451; bodies, names and the number of concurrent measurements are bounded;
// nothing listens beyond loopback without a token unless that was requested. Not
// promised: that concurrent measurements do not disturb each other.
package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/ipni"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// Defaults and times of Config.
const (
	DefaultHeartbeat = time.Minute
	// retryHeartbeat is the wait after a failed heartbeat.
	retryHeartbeat = 5 * time.Second
	// closeTimeout is how long running requests may take at shutdown.
	closeTimeout = 3 * time.Second
)

// Nodes is the part of the store that a server needs; nil in a dry run.
type Nodes interface {
	AddNode(ctx context.Context, n *store.Node) (int, error)
	Heartbeat(ctx context.Context, node int) error
	Offline(ctx context.Context, node int) error
}

// Config configures a server.
type Config struct {
	Address       string // host:port of the API
	AllowInsecure bool   // permits an address beyond loopback without a Token
	Token         string // required as "Authorization: Bearer ..." if not ""

	Measurer   *probe.Measurer
	Indexer    *ipni.Indexer // nil: no IPNI
	Metrics    *probe.ServerMetrics
	Generation Generation // of answers to requests that name none

	Deny []*DenyList // content that is neither retrieved nor provided; Run reads the lists again

	Store Nodes // nil: the server does not register anywhere
	Node  store.Node
	// StartupDelay is the time before the first heartbeat, in which the routing
	// table fills.
	StartupDelay time.Duration
	Heartbeat    time.Duration // 0: DefaultHeartbeat
	Log          *slog.Logger  // nil: slog.Default()
}

// Server is one server.
type Server struct {
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	http     *http.Server
	slots    chan struct{}
	node     int

	closing sync.Once
}

// New binds the address. Run serves it.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, log: cfg.Log, slots: make(chan struct{}, maxParallel)}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.cfg.Heartbeat == 0 {
		s.cfg.Heartbeat = DefaultHeartbeat
	}
	if s.cfg.Generation == 0 {
		s.cfg.Generation = README
	}
	bound, err := listen.All([]string{cfg.Address}, cfg.AllowInsecure || cfg.Token != "")
	if err != nil {
		return nil, fmt.Errorf("probe server: %w", err)
	}
	conns := listen.NewConns(listen.Bounds{Total: maxConns, PerAddress: maxConnsPerAddress})
	s.listener = conns.Listener(bound[0])
	h := s.handler()
	if cfg.Token != "" {
		h = withToken(cfg.Token, h)
	}
	s.http = &http.Server{
		Handler: probe.Guard.Handler("probe: answer a request", h), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		WriteTimeout: probe.AnnounceTimeout + time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	conns.Serve(s.http)
	return s, nil
}

// withToken rejects requests without the token.
func withToken(token string, h http.Handler) http.Handler {
	want := sha256.Sum256([]byte("Bearer " + token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		have := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if subtle.ConstantTimeCompare(want[:], have[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			reply(w, 0, nil, refuse(http.StatusUnauthorized, "want the header Authorization: Bearer TOKEN"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Addr returns the address that the API listens on.
func (s *Server) Addr() *net.TCPAddr {
	a, _ := s.listener.Addr().(*net.TCPAddr)
	return a
}

// Close closes a server that was never run; Run closes it at its end.
func (s *Server) Close() (err error) {
	s.closing.Do(func() { err = errors.Join(s.http.Close(), ignoreClosed(s.listener.Close())) })
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Run writes the server's row, serves until ctx is done, and marks the row offline.
// It may be called once.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Store != nil {
		node := s.cfg.Node
		node.ServerPort = s.Addr().Port
		id, err := s.cfg.Store.AddNode(ctx, &node)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		s.node = id
	}
	var wg sync.WaitGroup
	running, stop := context.WithCancel(ctx)
	defer stop()
	if s.cfg.Store != nil {
		wg.Go(func() { s.beat(running) })
	}
	for _, d := range s.cfg.Deny {
		wg.Go(func() { d.run(running, denyRefresh) })
	}
	var offline error
	wg.Go(func() {
		<-running.Done()
		if s.cfg.Store == nil {
			return
		}
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		offline = s.cfg.Store.Offline(late, s.node)
	})
	// Measurements that still run after the time are aborted.
	err := listen.Serve(running, s.http, closeTimeout, s.listener)
	stop()
	wg.Wait()
	return errors.Join(err, offline)
}

// beat writes heartbeats. It retries a failed one soon, because a scheduler ignores
// a server without one in two minutes.
func (s *Server) beat(ctx context.Context) {
	wait := time.NewTimer(s.cfg.StartupDelay)
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
		case <-ctx.Done():
			return
		}
		next := s.cfg.Heartbeat
		if err := s.cfg.Store.Heartbeat(ctx, s.node); err != nil && ctx.Err() == nil {
			s.log.Warn("probe: heartbeat failed, retrying", "err", err)
			next = min(next, retryHeartbeat)
		}
		wait.Reset(next)
	}
}

// SetStore sets the store, which may be available later than the listener. Call it
// before Run.
func (s *Server) SetStore(n Nodes) { s.cfg.Store = n }
