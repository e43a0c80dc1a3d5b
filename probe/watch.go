package probe

import (
	"context"
	"strings"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// graceAfter is how long a watcher waits after the answer for the event that names
// the peer that sent it. The measured time does not include it.
const graceAfter = 100 * time.Millisecond

// eventBuffer has room for the events of a whole lookup. If it were full, kad-dht
// would wait for the reader, and the measured time would include that.
const eventBuffer = 1024

// makeRoom sets the buffers of lookup events, which are variables of kad-dht's
// packages and apply to all DHTs of a process. Only processes that make a probe's
// peer change them.
var makeRoom = sync.OnceFunc(func() {
	routing.QueryEventBufferSize = eventBuffer
	dht.LookupEventBufferSize = eventBuffer
})

// step is how far a lookup got with one peer. Times are since the start; 0 means
// that it did not happen.
type step struct {
	depth             int // 1: the peer was in the routing table
	dialled, undialed bool
	asked             int // number of the last request to it; 0: it was not asked
	failed            bool
	answered          time.Duration // it answered with other peers
	queried           time.Duration // the lookup counts its query as successful
}

// watcher follows a lookup by the events that kad-dht publishes. Query events have
// dials, requests, and which peer named which others. Lookup events have the peer
// that ended the lookup, and failed requests, which query events lack in searches
// for providers.
type watcher struct {
	ctx    context.Context // for the lookup
	cancel context.CancelFunc
	began  time.Time
	peers  map[peer.ID]*step
	asked  int           // requests
	stop   chan struct{} // closed when the answer is there
	done   chan struct{} // closed when all events were read
}

// watch starts a watcher. kad-dht closes the channels of events when the context
// with which they were registered is done, so that is a context of the watcher.
// kad-dht also blocks while the channels are full, so they are read until then.
func watch(ctx context.Context) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel: cancel, peers: make(map[peer.ID]*step), stop: make(chan struct{}), done: make(chan struct{})}
	ctx, queries := routing.RegisterForQueryEvents(ctx)
	ctx, lookups := dht.RegisterForLookupEvents(ctx)
	w.ctx, w.began = ctx, time.Now()
	go w.read(queries, lookups)
	return w
}

func (w *watcher) read(queries <-chan *routing.QueryEvent, lookups <-chan *dht.LookupEvent) {
	defer close(w.done)
	stop, ended, stopped := w.stop, false, false
	var grace <-chan time.Time
	for queries != nil || lookups != nil {
		select {
		case e, ok := <-queries:
			if !ok {
				queries = nil
				continue
			}
			func() { defer Guard.Recover("probe: follow a query"); w.query(e) }()
		case e, ok := <-lookups:
			if !ok {
				lookups = nil
				continue
			}
			func() { defer Guard.Recover("probe: follow a lookup"); w.lookup(e) }()
			ended = ended || e.Terminate != nil
		case <-stop:
			stop, stopped = nil, true
			grace = time.After(graceAfter)
		case <-grace:
			ended = true
		}
		if ended && stopped {
			w.cancel()
		}
	}
}

func (w *watcher) at(p peer.ID) *step {
	s := w.peers[p]
	if s == nil {
		s = &step{depth: 1}
		w.peers[p] = s
	}
	return s
}

func (w *watcher) query(e *routing.QueryEvent) {
	if e.ID == "" {
		return
	}
	s := w.at(e.ID)
	switch e.Type {
	case routing.DialingPeer:
		s.dialled = true
	case routing.SendingQuery:
		w.asked++ // some peers are asked again at the end of the lookup
		s.asked = w.asked
	case routing.QueryError:
		if strings.Contains(e.Extra, context.Canceled.Error()) {
			return // the lookup ended and cancelled it
		}
		if s.asked > 0 {
			s.failed = true
		} else {
			s.undialed = true
		}
	case routing.PeerResponse:
		if s.answered == 0 {
			s.answered = time.Since(w.began)
		}
		for _, r := range e.Responses {
			if r != nil && w.peers[r.ID] == nil {
				w.peers[r.ID] = &step{depth: s.depth + 1}
			}
		}
	}
}

func (w *watcher) lookup(e *dht.LookupEvent) {
	if e.Response == nil {
		return
	}
	for _, p := range e.Response.Queried {
		if s := w.at(p.Peer); s.queried == 0 {
			s.queried = time.Since(w.began)
		}
	}
	for _, p := range e.Response.Unreachable {
		if s := w.at(p.Peer); s.asked > 0 && s.answered == 0 {
			s.failed = true
		}
	}
}

// end waits for the last events and returns the sum of the lookup. at is how long it
// took; found is the provider, "" for a provide or if none was found.
func (w *watcher) end(found peer.ID, at time.Duration) Lookup {
	if found == "" {
		w.cancel() // the lookup is over
	}
	close(w.stop)
	<-w.done
	w.cancel()
	l := Lookup{RPCs: w.asked}
	for _, s := range w.peers {
		l.Dials += sets.Bit(s.dialled)
		l.FailedDials += sets.Bit(s.undialed)
		l.FailedRPCs += sets.Bit(s.failed)
	}
	if found != "" && l.RPCs > 0 {
		if f := w.finder(); f != nil {
			f.answered = at
			l.Hops = f.depth
		}
	}
	for _, s := range w.peers {
		if s.asked > 0 && s.answered > 0 && found == "" {
			l.Hops = max(l.Hops, s.depth)
		}
	}
	for _, s := range w.peers {
		if s.asked == 0 || s.answered == 0 || s.depth > l.Hops {
			continue
		}
		s.answered = min(s.answered, at) // events are read a little later
		for len(l.HopTimes) < s.depth {
			l.HopTimes = append(l.HopTimes, 0)
		}
		if t := &l.HopTimes[s.depth-1]; *t == 0 || s.answered < *t {
			*t = s.answered
		}
	}
	return l
}

// finder returns the peer that had the provider: the only one with a successful
// query that named no other peers or, if the events do not show it, the peer that
// was asked last and has not answered.
func (w *watcher) finder() *step {
	var last *step
	for _, s := range w.peers {
		switch {
		case s.asked == 0 || s.answered > 0 || s.failed:
		case s.queried > 0:
			return s
		case last == nil || s.asked > last.asked:
			last = s
		}
	}
	return last
}
