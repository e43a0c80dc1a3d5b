package capture

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// dhtReadTimeout is how long go-libp2p-kad-dht waits for an answer.
const dhtReadTimeout = 10 * time.Second

// DHT wraps a host so that every request of a DHT that is made with it becomes
// an event of KindDHT once it has ended: those of peers to this node
// (event.Received) and those of this node (event.Sent). Pass the result to
// dht.New or dual.New of go-libp2p-kad-dht in place of h; nothing else needs it.
//
// The wrapped host sees the DHT's own streams, so it needs no option of kad-dht
// and changes nothing of what is sent. A request that a DHT answers without the
// network, out of its own store, passes no stream and is not seen.
func (c *Capture) DHT(h host.Host) host.Host { return &dhtHost{h, c} }

// DHTRequests returns the counters of requests since the start, of one table:
// that of local networks (lan), or the public one. They include requests that
// made no event.
func (c *Capture) DHTRequests(lan bool) (out event.DHTCounters) {
	n := &c.dht[sets.Bit(lan)]
	for d := range n {
		for t := range n[d] {
			for s := range n[d][t] {
				out[d][t][s] = n[d][t][s].Load()
			}
		}
	}
	return out
}

// dhtCounters are the atomic form of event.DHTCounters, by table.
type dhtCounters [2][event.Directions][event.DHTTypes][event.DHTStatuses]atomic.Uint64

// isDHT reports whether a protocol is that of a DHT: /ipfs/kad/1.0.0,
// /ipfs/lan/kad/1.0.0, and those of other prefixes.
func isDHT(p protocol.ID) bool { return strings.Contains(string(p), "/kad/") }

// isLAN reports whether it is that of a DHT of local networks.
func isLAN(p protocol.ID) bool { return strings.Contains(string(p), "/lan/") }

type dhtHost struct {
	host.Host
	capture *Capture
}

func (h *dhtHost) SetStreamHandler(p protocol.ID, f network.StreamHandler) {
	if isDHT(p) {
		inner, lan := f, isLAN(p)
		f = func(s network.Stream) {
			w := &dhtStream{Stream: s, capture: h.capture, dir: event.Received, lan: lan}
			inner(w)
			w.finish()
		}
	}
	h.Host.SetStreamHandler(p, f)
}

func (h *dhtHost) NewStream(ctx context.Context, p peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	began := time.Now()
	s, err := h.Host.NewStream(ctx, p, protocols...)
	if len(protocols) == 0 || !isDHT(protocols[0]) {
		return s, err
	}
	lan := isLAN(protocols[0])
	if err != nil {
		h.capture.dhtUnsent(p, lan, time.Since(began), err)
		return nil, err
	}
	return &dhtStream{Stream: s, capture: h.capture, dir: event.Sent, lan: lan}, nil
}

// dhtUnsent reports a stream that could not be opened.
func (c *Capture) dhtUnsent(p peer.ID, lan bool, took time.Duration, err error) {
	defer c.guard.Recover("capture: open a stream of the DHT")
	r := newDHTSeen(p, event.Sent, event.DHTUnsent, lan)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		r.request.Status = event.DHTTimedOut
	case errors.Is(err, context.Canceled):
		r.request.Status = event.DHTCanceled
	default:
		r.request.Status = event.DHTFailed
	}
	c.dhtDone(r, took)
}

// dhtSeen is a request that was seen, in one allocation.
type dhtSeen struct {
	event   event.Event
	request event.DHTRequest
}

func newDHTSeen(p peer.ID, dir event.Direction, t event.DHTType, lan bool) *dhtSeen {
	r := new(dhtSeen)
	r.event.Kind, r.event.Dir, r.event.Peer, r.event.DHT = event.KindDHT, dir, p, &r.request
	r.request.Type, r.request.LAN = t, lan
	return r
}

// dhtDone counts a request that has ended, and publishes it unless its peer is
// over its limit.
func (c *Capture) dhtDone(r *dhtSeen, elapsed time.Duration) {
	e := &r.event
	r.request.Elapsed = max(elapsed, 0)
	c.dht[sets.Bit(r.request.LAN)][e.Dir][r.request.Type][r.request.Status].Add(1)
	e.Time = c.clock.now()
	info, bucket := c.conns.peer(e.Peer)
	if e.Dir == event.Received && !bucket.take(e.Time, 1) {
		c.limited.Add(1)
		return
	}
	info.fill(e)
	c.place(e)
	c.bus.Publish(e)
}

// dhtStream watches one stream of a DHT. Requests and answers come in turn.
type dhtStream struct {
	network.Stream
	capture *Capture
	dir     event.Direction // of the requests
	lan     bool

	mu       sync.Mutex
	received dhtReader
	sent     dhtReader
	pending  *dhtSeen // a request was seen, and no answer
	asked    time.Time
	ended    bool // the other side ended the stream
}

func (s *dhtStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.passed(&s.received, b[:max(n, 0)], s.dir == event.Received)
	if err != nil {
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
	}
	return n, err
}

func (s *dhtStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	s.passed(&s.sent, b[:max(n, 0)], s.dir == event.Sent)
	return n, err
}

// passed follows bytes of the stream in one direction, which has requests or
// their answers.
func (s *dhtStream) passed(r *dhtReader, b []byte, requests bool) {
	defer s.capture.guard.Recover("capture: read a stream of the DHT")
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(b) > 0 {
		var whole bool
		if b, whole = r.read(b); whole {
			s.message(&r.msg, requests)
		}
	}
}

// message notes a whole message. The caller holds s.mu.
func (s *dhtStream) message(m *dhtMessage, request bool) {
	switch {
	case request:
		if s.pending != nil { // the protocol has no request before the answer to the last
			s.settle(event.DHTFailed)
		}
		t := event.DHTType(min(m.kind, uint32(event.DHTOther)))
		r := newDHTSeen(s.Conn().RemotePeer(), s.dir, t, s.lan)
		r.request.SetKey(m.key, m.whole())
		s.pending, s.asked = r, time.Now()
		if t == event.DHTAddProvider { // the only one without an answer
			r.request.Providers = m.providers
			s.settle(event.DHTAnswered)
		}
	case s.pending != nil:
		s.pending.request.Closer, s.pending.request.Providers = m.closer, m.providers
		s.settle(event.DHTAnswered)
	}
}

// settle ends the request at hand. The caller holds s.mu.
func (s *dhtStream) settle(status event.DHTStatus) {
	r := s.pending
	s.pending = nil
	r.request.Status = status
	s.capture.dhtDone(r, time.Since(s.asked))
}

// finish settles a request that will not be answered any more.
func (s *dhtStream) finish() {
	defer s.capture.guard.Recover("capture: end a stream of the DHT")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.pending == nil:
	case s.dir == event.Received || s.ended:
		s.settle(event.DHTFailed)
	case time.Since(s.asked) >= dhtReadTimeout:
		s.settle(event.DHTTimedOut)
	default:
		s.settle(event.DHTCanceled)
	}
}

func (s *dhtStream) Close() error {
	s.finish()
	return s.Stream.Close()
}

func (s *dhtStream) Reset() error {
	s.finish()
	return s.Stream.Reset()
}

func (s *dhtStream) ResetWithError(code network.StreamErrorCode) error {
	s.finish()
	return s.Stream.ResetWithError(code)
}
