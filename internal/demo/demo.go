// Package demo runs a swarm of other nodes, so that a monitored kubo node has
// traffic.
//
// In: the RPC API of a kubo node that is confined to loopback (see package
// loopback), and how much load to make. Out: a few real kubo nodes in this
// process, with their blocks in memory, connected with each other and with the
// monitored node, and with a DHT among them. All of them, the monitored node
// included, add files, fetch them, cancel, and ask for blocks that nobody has;
// peers disconnect and come back.
//
// Promised: an opening sequence makes every kind of Bitswap message and of
// connection event occur at the monitored node, in both directions, within
// about 15 seconds; the random load after it can run for hours in bounded
// memory. Only loopback is ever dialled, by the nodes and for the RPC API. Not
// promised: the same events for the same seed. The seed fixes identities,
// contents and the order of decisions, but the nodes run concurrently.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
)

// Limits and defaults of Options.
const (
	minPeers     = 5
	maxPeers     = 32 // more take too long to start and stop: all connect with each other through the DHT
	DefaultPeers = 6
	maxRate      = 1000.0
	DefaultRate  = 5.0
)

// Options say what the swarm is like. The zero value of a field means its default.
type Options struct {
	Peers    int           // nodes in addition to the monitored one, 5 to 32, default 6
	Rate     float64       // operations per second of the random load, up to 1000, default 5
	Duration time.Duration // of the whole run, default 0: until the context ends
	Seed     int64         // of identities, contents and decisions
	API      string        // RPC API of the monitored node, multiaddr or http URL, on loopback
	Out      io.Writer     // gets a line of progress every 5 s, default none
	Log      *slog.Logger  // default slog.Default()

	patience time.Duration // instead of apiPatience, in tests
}

func (o Options) withDefaults() Options {
	if o.Peers == 0 {
		o.Peers = DefaultPeers
	}
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.patience == 0 {
		o.patience = apiPatience
	}
	return o
}

// Validate returns all errors of the options, joined. It accepts an empty API,
// because a caller that checks flags early may not know it yet; Run checks it.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	if o.Peers < minPeers || o.Peers > maxPeers {
		errs = append(errs, fmt.Errorf("peers %d: want %d to %d", o.Peers, minPeers, maxPeers))
	}
	if !(o.Rate > 0 && o.Rate <= maxRate) || math.IsNaN(o.Rate) {
		errs = append(errs, fmt.Errorf("rate %g: want more than 0 and at most %g operations per second", o.Rate, maxRate))
	}
	if o.Duration < 0 {
		errs = append(errs, fmt.Errorf("duration %s: want 0 (no end) or more", o.Duration))
	}
	if _, err := apiURL(o.API); err != nil && o.API != "" {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

const (
	// apiPatience is how long the monitored node's API may be unreachable, at the
	// start and later, before the demo fails.
	apiPatience = 10 * time.Second
	// stopTime is how long one of our nodes may take to stop. Run may take three
	// seconds to return; the rest of them is for operations that are running.
	stopTime = 2 * time.Second
)

// Run starts the swarm, puts it under load until the context or the duration
// ends, and stops it, which takes at most about 3 s. It returns an error if the
// swarm cannot be started, or if the monitored node's API is unreachable for
// 10 s. Operations that fail are only counted.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if o.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Duration)
		defer cancel()
	}
	s, err := newSwarm(o)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer s.close()

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.watch(gctx) })
	g.Go(func() error {
		if err := s.start(gctx); err != nil {
			return err
		}
		s.opening(gctx)
		s.load(gctx)
		return nil
	})
	g.Go(func() error { s.report(gctx); return nil })
	err = g.Wait()
	if ctx.Err() != nil {
		err = nil // it failed because the context ended
	}
	fmt.Fprintln(o.Out, s.line("demo ends"))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}
