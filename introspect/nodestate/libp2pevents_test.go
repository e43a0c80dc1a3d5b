package nodestate

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	libp2pevent "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// evtOdd has a field of each kind that an event may have.
type evtOdd struct {
	Peer     peer.ID
	Peers    []peer.ID
	Addr     multiaddr.Multiaddr
	Addrs    []multiaddr.Multiaddr
	At       time.Time
	JSON     json.RawMessage
	Text     string
	Number   int
	Float    float64
	Yes      bool
	Inner    struct{ A, B string }
	Map      map[string]int
	Err      error
	Conn     network.Conn
	Function func()
	Channel  chan int
	Bytes    []byte
	Loop     any
	hidden   string
}

func TestLibp2pEvents(t *testing.T) {
	bus := eventbus.NewBus()
	s, p := serve(t)
	f := newFollower(nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.follow(ctx, bus, s) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })

	emitter, err := bus.Emitter(new(libp2pevent.EvtPeerConnectednessChanged))
	require.NoError(t, err)
	defer emitter.Close()
	id, err := peer.Decode(goldenPeer)
	require.NoError(t, err)
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() { // the subscription may start later
		defer close(ended)
		for {
			_ = emitter.Emit(libp2pevent.EvtPeerConnectednessChanged{Peer: id, Connectedness: network.Connected})
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	e := p.next()
	close(stop)
	<-ended
	require.Equal(t, "EvtPeerConnectednessChanged", e.GetType().GetName())
	require.JSONEq(t, `{"Peer":"`+goldenPeer+`","Connectedness":1}`, e.GetContent())
	require.Equal(t, pb.EventType_EventProperty_PEERID, e.GetType().GetPropertyTypes()[0].GetType())
	require.Equal(t, pb.EventType_EventProperty_NUMBER, e.GetType().GetPropertyTypes()[1].GetType())

	odd, err := bus.Emitter(new(evtOdd))
	require.NoError(t, err)
	defer odd.Close()
	addr := multiaddr.StringCast("/ip4/127.0.0.1/tcp/1")
	loop := map[string]any{}
	loop["self"] = loop
	require.NoError(t, odd.Emit(evtOdd{
		Peer: id, Peers: []peer.ID{id}, Addr: addr, Addrs: []multiaddr.Multiaddr{addr}, At: time.Unix(5, 0), JSON: json.RawMessage(`{"a":1}`),
		Text: "<script>\u202e\x00\xff", Number: -3, Float: 1.5, Yes: true, Map: map[string]int{"k": 1}, Err: errors.New("no\x1b[0m"),
		Function: func() {}, Channel: make(chan int), Bytes: []byte{1}, Loop: loop, hidden: "x",
	}))
	for e.GetType().GetName() != "evtOdd" {
		e = p.next()
	}
	columns := map[string]string{}
	for _, c := range e.GetType().GetPropertyTypes() {
		columns[c.GetName()] = c.GetType().String()
		if c.GetHasMultiple() {
			columns[c.GetName()] += "s"
		}
	}
	require.Equal(t, map[string]string{"Peer": "PEERID", "Peers": "PEERIDs", "Addr": "MULTIADDR", "Addrs": "MULTIADDRs", "At": "TIME", "JSON": "JSON",
		"Text": "STRING", "Number": "NUMBER", "Float": "NUMBER", "Yes": "JSON", "Inner": "JSON", "Map": "JSON", "Err": "STRING", "Conn": "STRING",
		"Function": "JSON", "Channel": "JSON", "Bytes": "NUMBERs", "Loop": "JSON"}, columns)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(e.GetContent()), &got))
	require.Equal(t, "<script>\ufffd\ufffd\ufffd", got["Text"])
	require.Equal(t, "/ip4/127.0.0.1/tcp/1", got["Addr"])
	require.Equal(t, []any{"/ip4/127.0.0.1/tcp/1"}, got["Addrs"])
	require.Equal(t, "1970-01-01T00:00:05Z", got["At"])
	require.Equal(t, map[string]any{"a": 1.0}, got["JSON"])
	require.Equal(t, "no\ufffd[0m", got["Err"])
	require.Nil(t, got["Function"])
	require.Nil(t, got["Conn"])
	require.NotContains(t, got, "hidden")
	require.Zero(t, f.guard.Panics())
}

// TestFollowDoesNotStallLibp2p: an emitter never waits for a session.
func TestFollowDoesNotStallLibp2p(t *testing.T) {
	bus := eventbus.NewBus()
	s, _ := serve(t)
	f := newFollower(nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.follow(ctx, bus, s) }()
	emitter, err := bus.Emitter(new(libp2pevent.EvtPeerConnectednessChanged))
	require.NoError(t, err)
	defer emitter.Close()
	emitted := make(chan struct{})
	go func() {
		defer close(emitted)
		for range 100_000 {
			_ = emitter.Emit(libp2pevent.EvtPeerConnectednessChanged{Peer: "p"})
		}
	}()
	select {
	case <-emitted:
	case <-time.After(patience):
		t.Fatal("an emitter waits for the session")
	}
	cancel()
	require.NoError(t, <-done)
}

// TestAPanicCostsOneEvent: a panic loses one event of libp2p's.
func TestAPanicCostsOneEvent(t *testing.T) {
	log, lines := guardtest.New()
	f := follower{guard: guard.Guard{Log: log}} // a map in which no columns can be stored
	for range 2 {
		f.pass(nil, evtOdd{}, time.Now())
	}
	require.EqualValues(t, 2, f.guard.Panics())
	lines.Once(t, "introspect: forward an event of libp2p", "nodestate.(*follower).pass")
}
