package demo

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxRunning is how many operations run at once. More are skipped and counted, so
// that a slow machine gets less load and not a growing backlog.
const maxRunning = 32

// task is an operation that is ready to run.
type task struct {
	name string
	run  func(ctx context.Context) error
	done func() // releases the members and the file that it holds
}

// opening makes every kind of message and event occur at the monitored node, in
// both directions. The steps of a group run concurrently; a step that fails is
// retried once.
func (s *swarm) opening(ctx context.Context) {
	in, out := s.peers[0], s.peers[1] // connected inbound and outbound
	var here, there *file             // added by the monitored node, and by a peer
	part, part2 := content(s.rng, 4<<20), content(s.rng, 4<<20)
	// One block each, too big to be sent as the answer to a WANT_HAVE.
	small, small2 := content(s.rng, 200<<10), content(s.rng, 200<<10)
	gone, gone2 := missing(s.rng), missing(s.rng)
	root, err := hollowRoot(s.rng)
	root2, err2 := hollowRoot(s.rng)
	if err := errors.Join(err, err2); err != nil {
		s.fail("opening", err)
		return
	}
	groups := [][]task{{
		// Wants for blocks and presences, HAVEs, blocks and cancels, received and sent.
		{name: "fetch from monitored", run: func(ctx context.Context) (err error) {
			if here, err = s.addFile(ctx, s.mon, small); err != nil {
				return err
			}
			return errors.Join(s.fetch(ctx, in, here), s.fetch(ctx, out, here))
		}},
		{name: "fetch by monitored", run: func(ctx context.Context) (err error) {
			if there, err = s.addFile(ctx, in, small2); err != nil {
				return err
			}
			return s.fetch(ctx, s.mon, there)
		}},
	}, {
		{name: "want missing", run: func(ctx context.Context) error { return s.wantMissing(ctx, in, gone) }},
		{name: "want missing by monitored", run: func(ctx context.Context) error { return s.wantMissing(ctx, s.mon, gone2) }},
		// DONT_HAVE received and sent.
		{name: "want leaves by monitored", run: func(ctx context.Context) error { return s.wantLeaves(ctx, s.mon, in, root) }},
		{name: "want leaves of monitored", run: func(ctx context.Context) error { return s.wantLeaves(ctx, out, s.mon, root2) }},
	}, {
		{name: "fetch a part of monitored", run: func(ctx context.Context) error {
			f, err := s.addFile(ctx, s.mon, part)
			if err != nil {
				return err
			}
			return s.fetchPart(ctx, out, f)
		}},
		{name: "fetch a part by monitored", run: func(ctx context.Context) error {
			f, err := s.addFile(ctx, out, part2)
			if err != nil {
				return err
			}
			return s.fetchPart(ctx, s.mon, f)
		}},
	}, {
		{name: "provide by monitored", run: func(ctx context.Context) error {
			if here == nil {
				return errors.New("nothing to provide: the file was not added")
			}
			return s.announce(ctx, s.mon, in, here)
		}},
		{name: "provide", run: func(ctx context.Context) error {
			if there == nil {
				return errors.New("nothing to provide: the file was not added")
			}
			return s.announce(ctx, in, s.mon, there)
		}},
	}, {
		// Connections closed and opened, inbound and outbound, by either side.
		{name: "reconnect inbound", run: func(ctx context.Context) error { return s.reconnect(ctx, in) }},
		{name: "reconnect outbound", run: func(ctx context.Context) error { return s.reconnect(ctx, out) }},
		{name: "visit inbound", run: func(ctx context.Context) error { return s.visit(ctx, s.peers[2], time.Second) }},
		{name: "visit outbound", run: func(ctx context.Context) error { return s.visit(ctx, s.peers[3], time.Second) }},
	}}
	for _, group := range groups {
		var g errgroup.Group
		for _, t := range group {
			g.Go(func() error {
				s.operations.Add(1)
				err := t.run(ctx)
				if err != nil && ctx.Err() == nil {
					s.o.Log.Debug("opening step failed, retrying once", "step", t.name, "err", err)
					err = t.run(ctx)
				}
				if err != nil && ctx.Err() == nil {
					s.fail(t.name, err)
				}
				return nil
			})
		}
		g.Wait()
	}
}

// load runs random operations until the context ends, and returns when all of
// them have ended.
func (s *swarm) load(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(maxRunning)
	defer g.Wait()
	g.Go(func() error { s.join(ctx); return nil })
	next := time.NewTicker(time.Duration(float64(time.Second) / s.o.Rate))
	defer next.Stop()
	tidy := time.NewTicker(time.Minute)
	defer tidy.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tidy.C:
			if err := s.trimProviders(ctx); err != nil {
				s.fail("trim provider records", err)
			}
			continue
		case <-next.C:
		}
		t := s.choose()
		started := g.TryGo(func() error {
			s.operations.Add(1)
			err := t.run(ctx)
			t.done()
			if err == nil {
				err = s.drop(ctx)
			}
			if err != nil && ctx.Err() == nil {
				s.fail(t.name, err)
			}
			return nil
		})
		if !started {
			t.done()
			s.skipped.Add(1)
		}
	}
}

func (s *swarm) fail(name string, err error) {
	s.failed.Add(1)
	s.o.Log.Debug("demo operation failed", "operation", name, "err", err)
}

// choose returns a random next operation. If it is not possible now, such as a
// fetch when everybody has everything, it adds a file.
func (s *swarm) choose() task {
	var t task
	switch n := s.rng.IntN(100); {
	case n < 22:
		// a new file, below
	case n < 62:
		t = s.chooseFetch("fetch", 0, s.fetch)
	case n < 70:
		t = s.chooseFetch("fetch a part", 1<<20, s.fetchPart)
	case n < 81:
		m, c := s.actor(0.3, nil), missing(s.rng)
		t = task{"want missing", func(ctx context.Context) error { return s.wantMissing(ctx, m, c) }, m.release}
	case n < 87:
		reader := s.actor(0.35, nil)
		holder := s.actor(0.5, reader)
		root, err := hollowRoot(s.rng)
		t = task{"want leaves", func(ctx context.Context) error {
			if err != nil {
				return err
			}
			return s.wantLeaves(ctx, reader, holder, root)
		}, func() { reader.release(); holder.release() }}
	case n < 96:
		t = s.chooseFetch("announce", 0, nil)
	case n < 98:
		if p, ok := s.actor(0, nil).(*ownPeer); ok {
			t = task{"reconnect", func(ctx context.Context) error { return s.reconnect(ctx, p) }, p.release}
		}
	default:
		t = s.chooseVisit()
	}
	if t.run != nil {
		return t
	}
	m, data := s.actor(0.25, nil), content(s.rng, fileSize(s.rng))
	return task{"add", func(ctx context.Context) error { _, err := s.addFile(ctx, m, data); return err }, m.release}
}

// actor returns a random running member, held: with probability monitored the
// monitored one, else one of ours, but never the member not.
func (s *swarm) actor(monitored float64, not member) member {
	if s.rng.Float64() < monitored && not != member(s.mon) {
		return s.mon
	}
	for _, i := range s.rng.Perm(len(s.peers)) {
		if p := s.peers[i]; not != member(p) && p.hold() {
			return p
		}
	}
	return s.mon // all of ours are stopped
}

// chooseFetch chooses a member, and a file of at least minSize bytes that it does
// not have and another running member has. If run is nil, that other member
// announces the file in the DHT and the first one looks for it.
func (s *swarm) chooseFetch(name string, minSize int64, run func(context.Context, member, *file) error) task {
	m := s.actor(0.35, nil)
	// Half of our own peers' fetches are of files of the monitored node, because
	// its traffic is the one that matters.
	ofMonitored := m != member(s.mon) && s.rng.Float64() < 0.5
	var holder member
	f := s.library.pick(s.rng, func(f *file) bool {
		return f.size >= minSize && !f.holders[m] && (!ofMonitored || f.holders[s.mon])
	})
	if f != nil {
		if holder = s.holder(f); holder == nil {
			s.library.done(f)
		}
	}
	if holder == nil {
		m.release()
		return task{}
	}
	done := func() { m.release(); holder.release(); s.library.done(f) }
	if run == nil {
		return task{name, func(ctx context.Context) error { return s.announce(ctx, holder, m, f) }, done}
	}
	return task{name, func(ctx context.Context) error { return run(ctx, m, f) }, done}
}

// holder returns a running member that has the file, held; nil if there is none.
func (s *swarm) holder(f *file) member {
	s.library.mu.Lock()
	defer s.library.mu.Unlock()
	if f.holders[s.mon] {
		return s.mon
	}
	for _, p := range s.peers {
		if f.holders[p] && p.hold() {
			return p
		}
	}
	return nil
}

// chooseVisit chooses a peer that stops for some seconds, one peer at a time. A
// peer that failed to come back before is started again.
func (s *swarm) chooseVisit() task {
	if s.visits.Load() > 0 {
		return task{}
	}
	p := s.peers[s.rng.IntN(len(s.peers))]
	away := 2*time.Second + time.Duration(s.rng.Float64()*float64(4*time.Second))
	return task{"visit", func(ctx context.Context) error { return s.visit(ctx, p, away) }, func() {}}
}
