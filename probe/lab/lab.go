// Package lab runs the whole probe in a private DHT in one process: peers, links
// with delay and loss between them, churn, servers of several fleets and a
// scheduler for each.
//
// In: size, latency, loss, churn and fleets. Out: the results, in the store.
// Promised: everything is real except the links: kad-dht over TCP on loopback,
// parsec's API, the scheduler, SQLite. A link delays all bytes by half a round
// trip each way, and a new connection by one round trip more. A lost segment
// arrives late, after TCP's retransmission timeout, and later segments wait for
// it. Not promised: the speed of the real network. A peer that left refuses
// connections and does not just drop them; all peers share one processor.
package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	logging "github.com/ipfs/go-log/v2"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/scheduler"
	"github.com/ipfsmon/ipfsmon/probe/server"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// Fleet is a configuration of servers that is compared with others.
type Fleet struct {
	Name string
	Peer probe.PeerConfig // Server, OptProv, Concurrency and Resiliency are used
}

// FleetSyntax is the syntax of a fleet for ParseFleet, in words.
const FleetSyntax = "NAME or NAME:OPTION,...; options are client, dht-server, optprov, alpha=N, beta=N"

// ParseFleet parses a fleet, such as "wide:dht-server,alpha=20".
func ParseFleet(s string) (f Fleet, err error) {
	name, options, _ := strings.Cut(s, ":")
	if f.Name = name; name == "" || event.Clean(name, 64) != event.Text(name) || strings.ContainsAny(name, ", ") {
		return f, fmt.Errorf("fleet %q; want %s", s, FleetSyntax)
	}
	for _, o := range strings.Split(options, ",") {
		key, value, has := strings.Cut(o, "=")
		n, nerr := strconv.Atoi(value)
		switch {
		case o == "" || o == "client":
		case o == "dht-server":
			f.Peer.Server = true
		case o == "optprov":
			f.Peer.OptProv = true
		case has && nerr == nil && n > 0 && key == "alpha":
			f.Peer.Concurrency = n
		case has && nerr == nil && n > 0 && key == "beta":
			f.Peer.Resiliency = n
		case o == "fullrt":
			return f, fmt.Errorf("fleet %q: fullrt works with public addresses only, and a lab has none", s)
		default:
			return f, fmt.Errorf("fleet %q: option %q; want %s", s, o, FleetSyntax)
		}
	}
	return f, nil
}

// Config says how large, slow and lossy a lab is, and what it compares.
type Config struct {
	Nodes   int           // peers in addition to the servers
	Bucket  int           // k: how many peers store a record
	Latency time.Duration // mean round trip between two peers
	Loss    float64       // of segments, 0 to 1
	Churn   float64       // peers per minute that leave and are replaced
	Rounds  int           // per fleet
	Servers int           // per fleet
	Fleets  []Fleet
	Settle  time.Duration // between a provide and the retrievals
	Seed    uint64        // of the links
	Dir     string        // gets probe.sqlite

	nodeDHT []dht.Option                // for the peers; tests watch them with it
	Setup   func(done, total int)       // called as peers join; nil: nobody
	Round   func(done, total int)       // called after each round; nil: nobody
	ready   func(servers []*probe.Peer) // called before the first round; nil: nobody
	Publish func(*event.Event)          // gets each result; nil: nobody
	Log     *slog.Logger                // nil: slog.Default()
}

// Validate returns all errors of the configuration, joined.
func (c *Config) Validate() error {
	var errs []error
	in := func(name string, n, least, most int) {
		if n < least || n > most {
			errs = append(errs, fmt.Errorf("%s %d: want %d to %d", name, n, least, most))
		}
	}
	in("nodes", c.Nodes, 5, 500)
	in("k", c.Bucket, 2, 20)
	in("rounds", c.Rounds, 1, 100_000)
	in("servers", c.Servers, 2, 50)
	if c.Bucket >= c.Nodes {
		errs = append(errs, fmt.Errorf("k %d: with %d nodes every node stores everything; want k far below nodes", c.Bucket, c.Nodes))
	}
	if c.Latency < 0 || c.Latency > 10*time.Second {
		errs = append(errs, fmt.Errorf("latency %v: want 0s to 10s", c.Latency))
	}
	if !(c.Loss >= 0 && c.Loss <= 0.5) {
		errs = append(errs, fmt.Errorf("loss %v: want 0%% to 50%%", c.Loss))
	}
	if !(c.Churn >= 0 && c.Churn <= 600) {
		errs = append(errs, fmt.Errorf("churn %v: want 0 to 600 a minute", c.Churn))
	}
	names := map[string]bool{}
	for _, f := range c.Fleets {
		if names[f.Name] {
			errs = append(errs, fmt.Errorf("fleet %q is listed twice: want it once", f.Name))
		}
		names[f.Name] = true
	}
	if len(c.Fleets) == 0 {
		errs = append(errs, errors.New("fleet: want one or more"))
	}
	return errors.Join(errs...)
}

// Outcome is what a lab found.
type Outcome struct {
	Results []store.Result
	Began   time.Time
	Left    int // peers that left by churn
	Joined  int // peers that replaced them
	File    string
}

// Run builds the lab, measures, and closes it. If ctx ends early it returns the
// results so far, and the error of ctx.
func Run(ctx context.Context, cfg Config) (out *Outcome, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	out = &Outcome{Began: time.Now(), File: filepath.Join(cfg.Dir, "probe.sqlite")}
	st, err := store.Open(ctx, store.Config{Path: out.File})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if cfg.Latency > 0 || cfg.Loss > 0 {
		// go-libp2p would log for each connection that our links have no keepalive.
		_ = logging.SetLogLevel("tcp-tpt", "fatal") // the logger exists if TCP does
	}
	n := &private{cfg: &cfg, links: &links{latency: cfg.Latency, loss: cfg.Loss, seed: cfg.Seed}}
	defer func() { err = errors.Join(err, n.close()) }()
	total, joined := cfg.Nodes+cfg.Servers*len(cfg.Fleets), 0
	var mu sync.Mutex
	onJoin := func() {
		mu.Lock()
		defer mu.Unlock()
		if joined++; cfg.Setup != nil {
			cfg.Setup(joined, total)
		}
	}
	if err := n.build(ctx, onJoin); err != nil {
		return nil, err
	}
	l := &lab{cfg: &cfg, net: n, store: st}
	defer l.close()
	if err := l.start(ctx, onJoin); err != nil {
		return nil, err
	}
	if cfg.ready != nil {
		cfg.ready(l.peers)
	}
	churning, stop := context.WithCancel(ctx)
	var churn sync.WaitGroup
	if cfg.Churn > 0 {
		churn.Go(func() { n.churn(churning, time.Duration(float64(time.Minute)/cfg.Churn)) })
	}
	err = l.measure(ctx)
	stop()
	churn.Wait()
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	results, rerr := st.Results(late, out.Began.Add(-time.Second), time.Now().Add(time.Second), nil)
	out.Results, out.Left, out.Joined = results, n.left, n.joined
	return out, errors.Join(err, rerr, ctx.Err())
}

// lab is the state of a running lab, without the network.
type lab struct {
	cfg   *Config
	net   *private
	store *store.Store
	peers []*probe.Peer

	servers errgroup.Group
	stop    context.CancelFunc
}

// start starts the fleets' servers and waits until all are in the store.
func (l *lab) start(ctx context.Context, onJoin func()) error {
	ctx, l.stop = context.WithCancel(ctx)
	for _, f := range l.cfg.Fleets {
		for i := range l.cfg.Servers {
			p, err := l.net.add(ctx, f.Peer)
			if err != nil {
				return err
			}
			l.peers = append(l.peers, p)
			if err := l.net.join(ctx, p); err != nil {
				return err
			}
			if err := l.serve(ctx, f.Name, i, p); err != nil {
				return err
			}
			onJoin()
		}
	}
	for want := l.cfg.Servers * len(l.cfg.Fleets); ; {
		var names []string
		for _, f := range l.cfg.Fleets {
			names = append(names, f.Name)
		}
		nodes, err := l.store.Nodes(ctx, names, time.Hour)
		if err != nil {
			return err
		}
		if len(nodes) == want {
			return nil
		}
		if err := backoff.Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func (l *lab) serve(ctx context.Context, fleet string, i int, p *probe.Peer) error {
	m, err := probe.NewServerMetrics(prometheus.NewRegistry(), func() float64 { return 0 }, func() float64 { return float64(p.NetworkSize()) })
	if err != nil {
		return err
	}
	s, err := server.New(server.Config{
		Address: "127.0.0.1:0", Measurer: &p.Measurer, Metrics: m, Store: l.store, Log: l.cfg.Log,
		Node: store.Node{CPU: 1, Memory: 1, PeerID: p.Host.ID().String(), Region: fmt.Sprintf("lab-%d", i+1), Cmd: "ipfsmon probe lab", Fleet: fleet,
			Dependencies: server.Dependencies(), IP: netip.MustParseAddr("127.0.0.1"), PeerPort: p.Port()},
	})
	if err != nil {
		return err
	}
	l.servers.Go(func() error { return s.Run(ctx) })
	return nil
}

// measure runs a scheduler for each fleet until all have made their rounds. As
// with real fleets, the schedulers run at the same time.
func (l *lab) measure(ctx context.Context) error {
	var g errgroup.Group
	var mu sync.Mutex
	done, total := make([]int, len(l.cfg.Fleets)), l.cfg.Rounds*len(l.cfg.Fleets)
	for i, f := range l.cfg.Fleets {
		s, err := scheduler.New(scheduler.Config{
			Store: l.store, Fleets: []string{f.Name}, Dependencies: server.Dependencies(), Rounds: l.cfg.Rounds,
			Interval: time.Millisecond, Settle: max(l.cfg.Settle, time.Millisecond), Wait: time.Second, Alive: 24 * time.Hour,
			Publish: l.cfg.Publish, Log: l.cfg.Log,
			Round: func(n int) {
				mu.Lock()
				defer mu.Unlock()
				done[i] = n
				sum := 0
				for _, n := range done {
					sum += n
				}
				if l.cfg.Round != nil {
					l.cfg.Round(sum, total)
				}
			},
		})
		if err != nil {
			return err
		}
		g.Go(func() error { return s.Run(ctx) })
	}
	return g.Wait()
}

func (l *lab) close() {
	if l.stop != nil {
		l.stop()
	}
	if err := l.servers.Wait(); err != nil {
		l.cfg.Log.Warn("lab: a server ended with an error", "err", err)
	}
	var wg sync.WaitGroup
	for _, p := range l.peers {
		wg.Go(func() { _ = p.Close() }) // it is not needed any more
	}
	wg.Wait()
}

// ParseLoss parses a share, such as "1%", "0.5 %" or "0.01".
func ParseLoss(s string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		v /= 100
	}
	if err != nil || math.IsNaN(v) {
		return 0, fmt.Errorf("loss %q; want a share, such as 1%% or 0.01", s)
	}
	return v, nil
}

// ParseChurn parses a rate, such as "5/min", "300/h", "0.1/s" or "5" (a minute).
func ParseChurn(s string) (float64, error) {
	number, unit, _ := strings.Cut(s, "/")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	units := []string{"", "min", "m", "h", "s"}
	i := slices.Index(units, strings.TrimSpace(unit))
	if err != nil || i < 0 || math.IsNaN(v) {
		return 0, fmt.Errorf("churn %q; want a number of peers, such as 5/min, 300/h or 0.1/s", s)
	}
	return v * []float64{1, 1, 1, 1. / 60, 60}[i], nil
}
