package introspect

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// Endpoint serves the data of an Introspector.
type Endpoint interface {
	// Start starts to serve. A second Start while it serves is an error.
	Start() error
	// Close stops serving and waits for the end. Without a Start, and a second time, it does
	// nothing.
	Close() error
	// ListenAddrs returns its addresses with their real ports; none before Start.
	ListenAddrs() []string
}

// ErrNoState is returned while there is no state yet, as in the playback of a capture file that
// begins with events.
var ErrNoState = errors.New("no state yet")

// Introspector collects the state of a node from its subsystems.
type Introspector interface {
	// RegisterDataProviders adds the functions of p that are set. If one of them exists
	// already, it returns an error and adds nothing.
	RegisterDataProviders(p *DataProviders) error
	// FetchFullState calls all providers. ErrNoState means that there is no state yet. A
	// provider that fails is named in the state's failed; that is not an error. The caller owns
	// the state.
	FetchFullState() (*pb.State, error)
	// FetchRuntime returns the properties that do not change while the node runs.
	FetchRuntime() (*pb.Runtime, error)
}

// ConnectionQuery selects what a provider returns of connections.
type ConnectionQuery struct {
	// Streams: include the open streams in each connection.
	Streams bool
	// Limit is the maximum of open connections; 0: no limit.
	Limit int
	// Scratch: the caller is done with the answer before the next query, so its memory may be
	// reused.
	Scratch bool
}

// StreamQuery selects streams: all of them.
type StreamQuery struct{}

// DataProviders return the parts of a state, one for each subsystem; nil: none. They are called
// one at a time, from any goroutine. Strings that came from a peer must have passed
// event.Clean.
type DataProviders struct {
	Runtime     func() (*pb.Runtime, error)
	Connections func(ConnectionQuery) ([]*pb.Connection, error)
	// Totals returns the numbers of connected peers and of open connections, if connections are
	// not listed.
	Totals func() (peers, connections int)
	// Streams returns streams, which are added to the connections that they refer to by ID.
	// With this provider, connections are queried without streams.
	Streams   func(StreamQuery) ([]*pb.Stream, error)
	Traffic   func() (*pb.Traffic, error)
	DHT       func() ([]*pb.DHT, error)
	Bitswap   func() (*pb.Bitswap, error)
	PubSub    func() (*pb.PubSub, error)
	Peerstore func() (*pb.Peerstore, error)
	Resources func() (*pb.ResourceManager, error)
	Pipeline  func() (*pb.Pipeline, error)
	Process   func() (*pb.Process, error)
	Content   func() (*pb.Content, error)
	Agents    func() ([]*pb.AgentCount, error)
	Proxy     func() (*pb.Proxy, error)
	// Annotate is called last and may add to the state: tags of connections, for example. Each
	// registration adds one.
	Annotate func(*pb.State) error
}

// DefaultMaxConnections is the default of Registry.MaxConnections.
const DefaultMaxConnections = 20_000

// Registry is the Introspector of this package. All methods may be called from
// any goroutine.
type Registry struct {
	// MaxConnections is the maximum of open connections in a state; 0: DefaultMaxConnections.
	// Set it before the first state.
	MaxConnections int
	// Guard catches panics of the providers. Set its Log before the first state.
	Guard guard.Guard

	start    time.Time
	mu       sync.Mutex // one snapshot at a time; also guards the fields below
	p        DataProviders
	annotate []func(*pb.State) error
	sequence uint64
	before   time.Time // time of the last snapshot
}

var _ Introspector = (*Registry)(nil)

// NewRegistry returns a registry without providers.
func NewRegistry() *Registry { return &Registry{start: time.Now()} }

// RegisterDataProviders implements Introspector.
func (r *Registry) RegisterDataProviders(p *DataProviders) error {
	if p == nil {
		return errors.New("introspect: no providers")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	have, more := reflect.ValueOf(&r.p).Elem(), reflect.ValueOf(p).Elem()
	for i := range more.NumField() {
		if !more.Field(i).IsNil() && !have.Field(i).IsNil() {
			return fmt.Errorf("introspect: a provider of %s is registered already", more.Type().Field(i).Name)
		}
	}
	for i := range more.NumField() {
		if !more.Field(i).IsNil() {
			have.Field(i).Set(more.Field(i))
		}
	}
	if p.Annotate != nil {
		r.annotate = append(r.annotate, p.Annotate)
		r.p.Annotate = nil
	}
	return nil
}

// FetchRuntime implements Introspector. Without a provider the answer is nearly empty.
func (r *Registry) FetchRuntime() (*pb.Runtime, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &pb.Runtime{StartTs: pb.Millis(r.start)}
	if r.p.Runtime == nil {
		return out, nil
	}
	err := r.guarded("runtime", func() error {
		got, err := r.p.Runtime()
		if got != nil {
			out = got
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// FetchFullState implements Introspector.
func (r *Registry) FetchFullState() (*pb.State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state(false), nil
}

// state takes a snapshot; r.mu is held. With scratch it is valid until the next.
func (r *Registry) state(scratch bool) *pb.State {
	began := time.Now()
	r.sequence++
	sub := &pb.Subsystems{}
	out := &pb.State{Subsystems: sub, StartTs: pb.Millis(r.start), Sequence: r.sequence}
	if !r.before.IsZero() {
		out.SnapshotDurationMs = uint32(min(began.Sub(r.before).Milliseconds(), 1<<32-1))
	}
	r.before = began
	try := func(name string, f func() error) {
		if err := r.guarded(name, f); err != nil {
			out.Failed = append(out.Failed, string(event.Clean(err.Error(), maxFailure)))
		}
	}

	limit := r.MaxConnections
	if limit <= 0 {
		limit = DefaultMaxConnections
	}
	get(try, "connections", r.p.Connections != nil, func() ([]*pb.Connection, error) {
		return r.p.Connections(ConnectionQuery{Streams: r.p.Streams == nil, Limit: limit, Scratch: scratch})
	}, func(c []*pb.Connection) { sub.Connections = c })
	if r.p.Connections == nil && r.p.Totals != nil {
		try("totals", func() error {
			peers, connections := r.p.Totals()
			out.Peers, out.Connections = uint32(peers), uint32(connections)
			return nil
		})
	}
	get(try, "streams", r.p.Streams != nil, func() ([]*pb.Stream, error) { return r.p.Streams(StreamQuery{}) },
		func(s []*pb.Stream) { putStreams(sub.Connections, s) })
	get(try, "dht", r.p.DHT != nil, r.p.DHT, func(d []*pb.DHT) {
		sub.Dhts = d
		for _, t := range d {
			if sub.Dht == nil || t.GetSize() > sub.Dht.GetSize() {
				sub.Dht = t
			}
		}
	})
	get(try, "traffic", r.p.Traffic != nil, r.p.Traffic, func(t *pb.Traffic) { out.Traffic = t })
	get(try, "bitswap", r.p.Bitswap != nil, r.p.Bitswap, func(b *pb.Bitswap) { sub.Bitswap = b })
	get(try, "pubsub", r.p.PubSub != nil, r.p.PubSub, func(p *pb.PubSub) { sub.Pubsub = p })
	get(try, "peerstore", r.p.Peerstore != nil, r.p.Peerstore, func(p *pb.Peerstore) { sub.Peerstore = p })
	get(try, "resources", r.p.Resources != nil, r.p.Resources, func(m *pb.ResourceManager) { sub.Resources = m })
	get(try, "pipeline", r.p.Pipeline != nil, r.p.Pipeline, func(p *pb.Pipeline) { sub.Pipeline = p })
	get(try, "process", r.p.Process != nil, r.p.Process, func(p *pb.Process) { sub.Process = p })
	get(try, "content", r.p.Content != nil, r.p.Content, func(c *pb.Content) { sub.Content = c })
	get(try, "proxy", r.p.Proxy != nil, r.p.Proxy, func(p *pb.Proxy) { sub.Proxy = p })
	get(try, "agents", r.p.Agents != nil, r.p.Agents, func(a []*pb.AgentCount) { sub.Agents = a })
	for _, f := range r.annotate {
		try("annotate", func() error { return f(out) })
	}
	Complete(out)
	now := time.Now()
	out.InstantTs = pb.Millis(now)
	out.SnapshotCostUs = uint64(now.Sub(began).Microseconds())
	return out
}

// maxFailure bounds the error text of a failed provider in a state, in bytes.
const maxFailure = 256

// get calls one provider, if set, and passes its result to put.
func get[T any](try func(string, func() error), name string, there bool, ask func() (T, error), put func(T)) {
	if !there {
		return
	}
	try(name, func() error {
		got, err := ask()
		if err == nil {
			put(got)
		}
		return err
	})
}

// guarded calls f and returns its panic as an error, so that no provider affects the others.
func (r *Registry) guarded(name string, f func() error) error {
	if err := r.Guard.Call("introspect: call the provider of "+name, f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// count fills the state's totals from its connections, unless a provider has set them in
// Annotate.
func count(out *pb.State, all []*pb.Connection) {
	peers := make(map[string]struct{}, len(all))
	for _, c := range all {
		if c.GetStatus() != pb.Status_CLOSED {
			out.Connections++
			peers[c.GetPeerId()] = struct{}{}
		}
	}
	out.Peers = uint32(len(peers))
}

// putStreams adds each stream to the connection that it refers to by ID.
func putStreams(conns []*pb.Connection, streams []*pb.Stream) {
	byID := make(map[string]*pb.Connection, len(conns))
	for _, c := range conns {
		byID[string(c.GetId())] = c
	}
	for _, s := range streams {
		if c := byID[string(s.GetConn().GetConnId())]; c != nil {
			if c.Streams == nil {
				c.Streams = &pb.StreamList{}
			}
			c.Streams.Streams = append(c.Streams.Streams, s)
		}
	}
}

// Empty messages that states share. They are never written to.
var (
	noTraffic    = &pb.Traffic{TrafficIn: &pb.DataGauge{}, TrafficOut: &pb.DataGauge{}}
	noStreams    = &pb.StreamList{}
	noEndpoints  = &pb.EndpointPair{}
	noAttributes = &pb.Connection_Attributes{}
	noTimeline   = &pb.Connection_Timeline{}
	noTimes      = &pb.Stream_Timeline{}
)

// Complete fills in missing parts that readers of a state rely on. Programs for the original
// protocol access messages without checking that they are set: the visualizer
// (libp2p/observer-toolkit) shows an empty page if a connection has no list of streams. States
// of the original protocol have no totals and at most one routing table, in a separate field.
func Complete(st *pb.State) {
	whole := func(t **pb.Traffic) {
		switch {
		case *t == nil:
			*t = noTraffic
		case (*t).TrafficIn == nil || (*t).TrafficOut == nil:
			*t = &pb.Traffic{TrafficIn: cmp.Or((*t).TrafficIn, noTraffic.TrafficIn), TrafficOut: cmp.Or((*t).TrafficOut, noTraffic.TrafficOut)}
		}
	}
	if st.Subsystems == nil {
		st.Subsystems = &pb.Subsystems{}
	}
	whole(&st.Traffic)
	if st.Peers == 0 && st.Connections == 0 {
		count(st, st.Subsystems.Connections)
	}
	if d := st.Subsystems.Dht; d != nil && len(st.Subsystems.Dhts) == 0 {
		st.Subsystems.Dhts = []*pb.DHT{d}
	}
	for _, c := range st.Subsystems.Connections {
		whole(&c.Traffic)
		c.Streams = cmp.Or(c.Streams, noStreams)
		c.Endpoints = cmp.Or(c.Endpoints, noEndpoints)
		c.Attribs = cmp.Or(c.Attribs, noAttributes)
		c.Timeline = cmp.Or(c.Timeline, noTimeline)
		for _, s := range c.Streams.Streams {
			whole(&s.Traffic)
			s.Timeline = cmp.Or(s.Timeline, noTimes)
		}
	}
}
