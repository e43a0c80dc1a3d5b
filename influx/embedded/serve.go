package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // tz('Europe/Berlin') where the system has no zones

	"github.com/influxdata/influxdb/cmd/influxd/run"
	"github.com/influxdata/influxdb/flux/stdlib/influxdata/influxdb"
	"github.com/influxdata/influxdb/logger"
	"github.com/influxdata/influxdb/services/continuous_querier"
	"github.com/influxdata/influxdb/services/httpd"
	"github.com/influxdata/influxdb/services/meta"
	"github.com/influxdata/influxdb/services/precreator"
	"github.com/influxdata/influxdb/services/retention"
	"github.com/influxdata/influxdb/services/storage"
	"github.com/influxdata/influxdb/services/udp"
	"github.com/influxdata/influxdb/storage/reads"
	"github.com/influxdata/influxdb/toml"
	"go.uber.org/zap/zapcore"

	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// ServerVersion is the version of InfluxDB that Serve runs.
const ServerVersion = "1.8.10"

// maxConns is the maximum of concurrent connections. All come from loopback.
const maxConns = 512

// storeHeader is in every answer of Serve. It distinguishes this store from another server that
// took over its address.
const storeHeader = "X-Ipfsmon-Store"

// Files in the store's folder, beside InfluxDB's own.
const (
	lockFile    = "lock"
	addressFile = "address" // "host:port id" of the running server
)

// StoreDir returns the folder of a data folder's store.
func StoreDir(data string) string { return filepath.Join(data, "influxdb") }

// ErrLocked means that another process has the store open.
var ErrLocked = errors.New("in use by another ipfsmon store")

// checkFolder rejects a store's folder in which InfluxDB would write, and find nothing at its
// next start: it looks for its files with filepath.Glob, for which the path is a pattern.
func checkFolder(dir string) error {
	if strings.ContainsAny(dir, `*?[\`) {
		return fmt.Errorf("store: the folder %q has one of * ? [ \\ in its path, with which InfluxDB does not find its files again: want another folder, or this one under another name", dir)
	}
	return nil
}

// ServerConfig is the configuration of Serve.
type ServerConfig struct {
	Dir    string        // the store's folder; created if missing
	Listen string        // loopback address and port; port 0: any. Empty: 127.0.0.1:8086
	UDP    []UDPListener // none: it takes nothing by UDP
	// MaxBytes bounds the data on disk: beyond it the oldest shards are deleted, first those of
	// policies with a retention, never those being written. It is checked every 30 s. The index
	// is not included: about 10 MiB, as series are few. 0: no limit.
	MaxBytes int64
	// Queries are the names of the monitor's continuous queries. Serve warns of every other one
	// that it finds.
	Queries []string
	Limits  Limits            // of queries
	Ready   func(addr string) // called once when it answers
	LogTo   io.Writer         // warnings of the server; nil: os.Stderr
	Log     *slog.Logger      // nil: slog.Default()
}

// UDPListener accepts line protocol by UDP, for programs that can send no other way. Datagrams
// that come too fast are lost and not counted.
type UDPListener struct {
	Listen   string // loopback address and port
	Database string // created with the first point if missing
	Policy   string // retention policy
}

// Serve runs an InfluxDB 1.8.10 until ctx is done, then closes it in order. It is meant for a
// separate process: it sets the process's umask so that all files are private, and restores it
// at the end. It returns ErrLocked if another process has the store open. However the last
// process ended, the store opens with everything that it had acknowledged.
//
// Flux takes seconds to start, so it starts with the first query.
func Serve(ctx context.Context, cfg ServerConfig) error {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:8086"
	}
	if cfg.LogTo == nil {
		cfg.LogTo = os.Stderr
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if host, _, err := net.SplitHostPort(cfg.Listen); err != nil {
		return fmt.Errorf("store: listen on %q: %w: want a loopback address and a port, such as 127.0.0.1:8086", cfg.Listen, err)
	} else if !listen.LoopbackHost(host) {
		return fmt.Errorf("store: listen on %q: not a loopback address; the store has no TLS: want 127.0.0.1, [::1] or localhost", cfg.Listen)
	}
	for _, u := range cfg.UDP {
		if host, _, err := net.SplitHostPort(u.Listen); err != nil || !listen.LoopbackHost(host) {
			return fmt.Errorf("store: listen on %q by UDP: want a loopback address and a port, such as 127.0.0.1:8089", u.Listen)
		}
	}
	if err := checkFolder(cfg.Dir); err != nil {
		return err
	}
	defer privateFiles()()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("store: create folder: %w", err)
	}
	unlock, err := lock(filepath.Join(cfg.Dir, lockFile))
	if err != nil {
		return fmt.Errorf("store: open %s: %w", cfg.Dir, err)
	}
	defer unlock()
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer ln.Close()

	if err := repair(cfg.Dir, cfg.Log); err != nil {
		return fmt.Errorf("store: open %s: %w", cfg.Dir, err)
	}
	c, err := engineConfig(cfg)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	engine, err := run.NewServer(c, &run.BuildInfo{Version: ServerVersion, Commit: "ipfsmon", Branch: "1.8"})
	if err != nil {
		return fmt.Errorf("store: open %s: %w", cfg.Dir, err)
	}
	logs := logger.NewConfig()
	logs.Format, logs.Level = "logfmt", zapcore.WarnLevel
	if engine.Logger, err = logs.New(cfg.LogTo); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	writes := newWriteWatch(engine.TSDBStore, c.Data.WALDir, cfg.Log)
	engine.PointsWriter.TSDBStore = writes
	bounds, err := newRunaway(engine.QueryExecutor, cfg.Limits, cfg.Log)
	if err != nil {
		return fmt.Errorf("store: open %s: %w", cfg.Dir, err)
	}
	handler := newHandler(engine, bounds)
	if err := openEngine(engine, c); err != nil {
		engine.Close()
		return fmt.Errorf("store: open %s: %w", cfg.Dir, err)
	}
	defer engine.Close()
	if err := accounts(engine.MetaClient, cfg.Dir); err != nil {
		return fmt.Errorf("store: open %s: %w", cfg.Dir, err)
	}
	warnOfQueries(engine.MetaClient.Databases(), cfg.Queries, cfg.Log)
	handler.Open()
	defer handler.Close()

	id := rand.Text()
	server := &http.Server{
		Handler:           guard(writes.mark(closed(bounds.requests(serveBackup(handler, engine)), engine.MetaClient)), id),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    1 << 20, // long queries arrive in the URL
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	conns := listen.NewConns(listen.Bounds{Total: maxConns})
	conns.Serve(server)
	served := make(chan error, 1)
	go func() { served <- listen.Serve(ctx, server, 3*time.Second, conns.Listener(ln)) }()
	watching, stopWatching := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer func() { stopWatching(); watchers.Wait() }()
	watchers.Go(func() { writes.run(watching) })
	watchers.Go(func() { bounds.watchMemory(watching) })
	watchers.Go(func() { keepReader(watching, engine.MetaClient, cfg.Log) })
	if cfg.MaxBytes > 0 {
		watchers.Go(func() { keepSmall(watching, engine, cfg.MaxBytes, limitEvery, cfg.Log) })
	}

	addr := ln.Addr().String()
	address := filepath.Join(cfg.Dir, addressFile)
	if err := os.WriteFile(address, []byte(addr+" "+id+"\n"), 0o600); err != nil {
		cfg.Log.Warn("store: other programs cannot find this server", "err", err)
	}
	defer os.Remove(address)
	if cfg.Ready != nil {
		cfg.Ready(addr)
	}

	if err := <-served; err != nil {
		return fmt.Errorf("store: serve on %s: %w", addr, err)
	}
	return nil
}

// engineConfig is InfluxDB's own configuration.
func engineConfig(cfg ServerConfig) (*run.Config, error) {
	c, dir := run.NewConfig(), cfg.Dir
	c.ReportingDisabled = true // else it reports usage to its maker
	c.Meta.Dir = filepath.Join(dir, "meta")
	c.Meta.LoggingEnabled = false
	c.Data.Dir = filepath.Join(dir, "data")
	c.Data.WALDir = filepath.Join(dir, "wal")
	c.Data.Index = "tsi1" // series on disk, not in memory
	c.Data.QueryLogEnabled = false
	c.Data.CacheMaxMemorySize = 256 << 20
	c.Monitor.StoreEnabled = false
	c.HTTPD.Enabled = false
	c.Subscriber.Enabled = false
	c.ContinuousQuery.LogEnabled = false
	c.GraphiteInputs, c.CollectdInputs, c.OpenTSDBInputs, c.UDPInputs = nil, nil, nil, nil
	for _, u := range cfg.UDP {
		input := udp.NewConfig()
		input.Enabled, input.BindAddress, input.Database, input.RetentionPolicy = true, u.Listen, u.Database, u.Policy
		input.ReadBuffer = 4 << 20 // the maximum that Linux permits by default
		input.BatchTimeout = toml.Duration(100 * time.Millisecond)
		c.UDPInputs = append(c.UDPInputs, input)
	}
	return c, c.Validate()
}

// openEngine does what the server's own Open does, without its HTTP service, which newHandler
// replaces, and without its TCP port for backups, which has no passwords. The server's Close
// works with both.
func openEngine(s *run.Server, c *run.Config) error {
	s.PointsWriter.MetaClient = s.MetaClient
	s.Monitor.MetaClient = s.MetaClient

	ahead := precreator.NewService(c.Precreator)
	ahead.MetaClient = s.MetaClient
	continuous := continuous_querier.NewService(c.ContinuousQuery)
	continuous.MetaClient, continuous.QueryExecutor, continuous.Monitor = s.MetaClient, s.QueryExecutor, s.Monitor
	expiry := retention.NewService(c.Retention)
	expiry.MetaClient, expiry.TSDBStore = s.MetaClient, s.TSDBStore
	s.Services = append(s.Services, s.Monitor, ahead, continuous, expiry)
	for _, input := range c.UDPInputs {
		listener := udp.NewService(input)
		listener.PointsWriter, listener.MetaClient = s.PointsWriter, s.MetaClient
		s.Services = append(s.Services, listener)
	}

	s.TSDBStore.WithLogger(s.Logger)
	s.PointsWriter.WithLogger(s.Logger)
	if err := s.TSDBStore.Open(); err != nil {
		return err
	}
	if err := s.PointsWriter.Open(); err != nil {
		return err
	}
	for _, service := range s.Services {
		service.WithLogger(s.Logger)
		if err := service.Open(); err != nil {
			return err
		}
	}
	return nil
}

// newHandler creates InfluxDB's HTTP handler over an engine, as the engine's own HTTP service
// would, but with Flux started at its first query and with our own listener.
func newHandler(s *run.Server, bounds *runaway) *httpd.Handler {
	c := httpd.NewConfig()
	c.LogEnabled, c.PprofEnabled, c.FluxEnabled, c.AuthEnabled = false, false, true, true
	h := httpd.NewHandler(c)
	authorizer := meta.NewQueryAuthorizer(s.MetaClient)
	h.MetaClient = s.MetaClient
	h.QueryAuthorizer = readsOnly{authorizer}
	h.WriteAuthorizer = meta.NewWriteAuthorizer(s.MetaClient)
	h.QueryExecutor = s.QueryExecutor
	h.Monitor = s.Monitor
	h.PointsWriter = s.PointsWriter
	h.Version, h.BuildType = ServerVersion, "OSS"
	store := storage.NewStore(s.TSDBStore, s.MetaClient)
	h.Store = store
	h.Logger = s.Logger
	h.Controller = &fluxController{
		storage: influxdb.StorageDependencies{MetaClient: s.MetaClient, Reader: reads.NewReader(store), Authorizer: authorizer, AuthEnabled: true},
		log:     s.Logger,
		running: make(chan struct{}, fluxQueries),
		bounds:  bounds,
	}
	return h
}

// guard rejects requests of web pages: a browser on this machine reaches loopback, and
// InfluxDB's handler answers every origin. A Host other than loopback is a rebound DNS name;
// only browsers send an Origin.
func guard(next http.Handler, id string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if !listen.LoopbackHost(strings.Trim(host, "[]")) || r.Header.Get("Origin") != "" {
			http.Error(w, `{"error":"the store answers programs on this machine only: Host must be a loopback address, and Origin must not be set"}`, http.StatusForbidden)
			return
		}
		w.Header().Set(storeHeader, id)
		next.ServeHTTP(w, r)
	})
}
