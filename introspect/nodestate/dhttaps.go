package nodestate

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

	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/sets"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// dhtReadTimeout is how long go-libp2p-kad-dht waits for an answer.
const dhtReadTimeout = 10 * time.Second

// DHTTaps watches the streams of a DHT. It reads the length and type of each passing message,
// and keeps nothing else.
type DHTTaps struct {
	gauges [2][2]queryGauge // by table (wan, lan) and direction (in, out)
	sink   atomic.Pointer[func(introspect.DHTQuery)]
	guard  guard.Guard
}

// Panics counts the panics in the function that reports queries.
func (t *DHTTaps) Panics() uint64 { return t.guard.Panics() }

type queryGauge struct{ success, error, timeout atomic.Uint64 }

func (g *queryGauge) proto() *pb.DHT_QueryGauge {
	return &pb.DHT_QueryGauge{Success: g.success.Load(), Error: g.error.Load(), Timeout: g.timeout.Load()}
}

// NewDHTTaps returns taps that report to nobody yet.
func NewDHTTaps() *DHTTaps { return &DHTTaps{} }

// OnQuery sets the function that is called for each query from now on, on the goroutine of its
// stream: it must not block.
func (t *DHTTaps) OnQuery(f func(introspect.DHTQuery)) { t.sink.Store(&f) }

// Host returns the host to create the DHT with.
func (t *DHTTaps) Host(h host.Host) host.Host { return &dhtHost{h, t} }

// done counts a query and reports it.
func (t *DHTTaps) done(q introspect.DHTQuery) {
	g := &t.gauges[sets.Bit(q.Table == tableLAN)][sets.Bit(!q.Inbound)]
	switch q.Result {
	case introspect.QuerySuccess:
		g.success.Add(1)
	case introspect.QueryTimeout:
		g.timeout.Add(1)
	default:
		g.error.Add(1)
	}
	if f := t.sink.Load(); f != nil {
		defer t.guard.Recover("introspect: report a DHT query") // the DHT's streams must not notice
		(*f)(q)
	}
}

const tableWAN, tableLAN = "wan", "lan"

// isDHT reports whether a protocol is a DHT's; tableOf returns which.
func isDHT(p protocol.ID) bool { return strings.Contains(string(p), "/kad/") }

func tableOf(p protocol.ID) string {
	if strings.Contains(string(p), "/lan/") {
		return tableLAN
	}
	return tableWAN
}

type dhtHost struct {
	host.Host
	taps *DHTTaps
}

func (h *dhtHost) SetStreamHandler(p protocol.ID, f network.StreamHandler) {
	if isDHT(p) {
		inner, table := f, tableOf(p)
		f = func(s network.Stream) {
			w := &dhtStream{Stream: s, taps: h.taps, inbound: true, table: table}
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
	table := tableOf(protocols[0])
	if err != nil {
		result := introspect.QueryError
		if errors.Is(err, context.DeadlineExceeded) {
			result = introspect.QueryTimeout
		}
		if !errors.Is(err, context.Canceled) { // nobody waits for it any more
			h.taps.done(introspect.DHTQuery{Peer: p, Result: result, Table: table, At: began, Duration: time.Since(began)})
		}
		return nil, err
	}
	return &dhtStream{Stream: s, taps: h.taps, table: table}, nil
}

// dhtStream watches one stream. Requests and answers alternate.
type dhtStream struct {
	network.Stream
	taps    *DHTTaps
	inbound bool
	table   string

	mu        sync.Mutex
	received  sniffer
	sent      sniffer
	waiting   bool // a request was seen, and no answer
	kind      uint64
	requested time.Time
}

// addProvider is the type of the requests that are not answered.
const addProvider = 2

var dhtTypes = [...]string{"PUT_VALUE", "GET_VALUE", "ADD_PROVIDER", "GET_PROVIDERS", "FIND_NODE", "PING"}

func (s *dhtStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if n > 0 {
		s.mu.Lock()
		s.received.feed(b[:n], func(kind uint64) { s.message(kind, s.inbound) })
		s.mu.Unlock()
	}
	return n, err
}

func (s *dhtStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	if n > 0 {
		s.mu.Lock()
		s.sent.feed(b[:n], func(kind uint64) { s.message(kind, !s.inbound) })
		s.mu.Unlock()
	}
	return n, err
}

// message records a complete message; s.mu is held.
func (s *dhtStream) message(kind uint64, request bool) {
	now := time.Now()
	switch {
	case request:
		s.waiting, s.kind, s.requested = true, kind, now
		if kind == addProvider {
			s.settle(introspect.QuerySuccess, now)
		}
	case s.waiting:
		s.settle(introspect.QuerySuccess, now)
	}
}

// settle ends the current query; s.mu is held.
func (s *dhtStream) settle(result string, now time.Time) {
	s.waiting = false
	name := "other"
	if s.kind < uint64(len(dhtTypes)) {
		name = dhtTypes[s.kind]
	}
	s.taps.done(introspect.DHTQuery{
		Peer: s.Conn().RemotePeer(), Inbound: s.inbound, Type: name, Result: result, Table: s.table,
		At: s.requested, Duration: now.Sub(s.requested),
	})
}

// finish settles a query that will not be answered any more.
func (s *dhtStream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.waiting {
		return
	}
	now, result := time.Now(), introspect.QueryError
	if !s.inbound && now.Sub(s.requested) >= dhtReadTimeout {
		result = introspect.QueryTimeout
	}
	s.settle(result, now)
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

// sniffer follows a stream of messages, each with its length as a varint before
// it, and finds their types: field 1 of the DHT's protobuf, which comes first
// and is left out where it is 0.
type sniffer struct {
	length, left uint64
	shift        uint
	inside       bool
	broken       bool // not a DHT stream: stop reading
	head         [4]byte
	have         int
}

// maxDHTMessage is network.MessageSizeMax.
const maxDHTMessage = network.MessageSizeMax

func (f *sniffer) feed(b []byte, whole func(kind uint64)) {
	for len(b) > 0 && !f.broken {
		if !f.inside {
			f.length |= uint64(b[0]&0x7f) << f.shift
			f.shift += 7
			more := b[0]&0x80 != 0
			b = b[1:]
			switch {
			case more && f.shift > 28, f.length > maxDHTMessage:
				f.broken = true
				return
			case more:
				continue
			}
			f.inside, f.left, f.have = true, f.length, 0
			if f.length > 0 {
				continue
			}
		} else {
			n := min(f.left, uint64(len(b)))
			if f.have < len(f.head) {
				f.have += copy(f.head[f.have:], b[:n])
			}
			f.left -= n
			b = b[n:]
		}
		if f.left == 0 {
			kind := uint64(0)
			if f.have >= 2 && f.head[0] == 1<<3 {
				kind = uint64(f.head[1])
			}
			f.inside, f.length, f.shift = false, 0, 0
			whole(kind)
		}
	}
}
