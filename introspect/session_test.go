package introspect

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

const (
	cmdHello   = pb.ClientCommand_HELLO
	cmdRequest = pb.ClientCommand_REQUEST
	cmdEnable  = pb.ClientCommand_PUSH_ENABLE
	cmdDisable = pb.ClientCommand_PUSH_DISABLE
	cmdPause   = pb.ClientCommand_PUSH_PAUSE
	cmdResume  = pb.ClientCommand_PUSH_RESUME
	cmdUpdate  = pb.ClientCommand_UPDATE_CONFIG

	srcState   = pb.ClientCommand_STATE
	srcRuntime = pb.ClientCommand_RUNTIME
	srcEvents  = pb.ClientCommand_EVENTS
)

// tick is a type of events with one column.
var tick = NewEventType("Tick", Column("n", number, false))

// TestRefusalsLetterForLetter: requests that the original refuses are refused in its
// words, and the connection stays open after each.
func TestRefusalsLetterForLetter(t *testing.T) {
	p := serve(t, Config{}).connect(t)
	f := func(want string, c pb.ClientCommand_Command, source pb.ClientCommand_Source, cfg *pb.Configuration) {
		t.Helper()
		r := p.ask(c, source, cfg)
		require.Equal(t, pb.CommandResponse_ERR, r.GetResult())
		require.Equal(t, want, r.GetError())
		require.Nil(t, r.GetEffectiveConfig())
	}
	for _, c := range []pb.ClientCommand_Command{cmdRequest, cmdEnable, cmdDisable, cmdPause, cmdResume, cmdUpdate, 6, 77} {
		f("client has not greeted server yet", c, srcState, nil)
	}
	require.Equal(t, pb.CommandResponse_OK, p.ask(cmdHello, 0, nil).GetResult())
	f("client had already greeted server", cmdHello, 0, nil)
	f("client passed nil configuration", cmdUpdate, 0, nil)
	f("illegal request for events messages", cmdRequest, srcEvents, nil)
	f("specified source does not support pushing", cmdEnable, srcRuntime, nil)
	f("specified source does not support pushing", cmdDisable, srcRuntime, nil)
	f("specified source does not support pushing", cmdEnable, 9, nil)
	f("unknown command type: 6", 6, 0, nil)
	f("unknown command type: 77", 77, 0, nil)
	f("unknown source type: 9", cmdRequest, 9, nil)
	p.agrees(cmdEnable, srcEvents)
}

func TestConfigurationIsClamped(t *testing.T) {
	s := serve(t, Config{})
	f := func(p *peerOf, c pb.ClientCommand_Command, cfg *pb.Configuration, interval, retention uint64) {
		t.Helper()
		r := p.ask(c, 0, cfg)
		require.Equal(t, pb.CommandResponse_OK, r.GetResult())
		require.Equal(t, interval, r.GetEffectiveConfig().GetStateSnapshotIntervalMs())
		require.Equal(t, retention, r.GetEffectiveConfig().GetRetentionPeriodMs())
	}
	p := s.connect(t)
	f(p, cmdHello, nil, 1000, 120_000)
	f(p, cmdUpdate, &pb.Configuration{}, 500, 0) // an absent value is 0, as in the original
	f(p, cmdUpdate, &pb.Configuration{StateSnapshotIntervalMs: 499, RetentionPeriodMs: 120_001}, 500, 120_000)
	f(p, cmdUpdate, &pb.Configuration{StateSnapshotIntervalMs: 2000}, 2000, 0)
	f(p, cmdUpdate, &pb.Configuration{StateSnapshotIntervalMs: 1<<64 - 1, RetentionPeriodMs: 1<<64 - 1}, 86_400_000, 120_000)
	f(s.connect(t), cmdHello, &pb.Configuration{StateSnapshotIntervalMs: 1}, 500, 0)
}

// TestRequestsAreAnsweredByTheMessage: the answer is the message itself without a
// response, also to text frames.
func TestRequestsAreAnsweredByTheMessage(t *testing.T) {
	r := NewRegistry()
	require.NoError(t, r.RegisterDataProviders(&DataProviders{
		Runtime:     func() (*pb.Runtime, error) { return &pb.Runtime{Implementation: "go-libp2p", PeerId: goldenPeer}, nil },
		Connections: func(ConnectionQuery) ([]*pb.Connection, error) { return everything().Subsystems.Connections, nil },
	}))
	p := serve(t, Config{Introspector: r}).greet(t, 1000, 1000)
	p.send(cmdRequest, srcRuntime, nil)
	require.Equal(t, goldenPeer, p.next().GetRuntime().GetPeerId())
	p.send(cmdRequest, srcState, nil)
	st := p.next().GetState()
	require.Len(t, st.GetSubsystems().GetConnections(), 2)
	require.EqualValues(t, 1, st.GetConnections(), "the closed one does not count")
	require.EqualValues(t, 1, st.GetPeers())
	require.NotZero(t, st.GetInstantTs())

	b, err := proto.Marshal(&pb.ClientCommand{Command: cmdRequest, Source: srcRuntime})
	require.NoError(t, err)
	require.NoError(t, p.sendBytes(websocket.MessageText, b))
	require.NotNil(t, p.next().GetRuntime())
}

// TestPushes: the first state comes one interval after the request, and a second ENABLE
// is not an error.
func TestPushes(t *testing.T) {
	p := serve(t, Config{}).greet(t, 500, 120_000)
	p.agrees(cmdEnable, srcState)
	began := time.Now()
	p.agrees(cmdEnable, srcState)
	first := p.next().GetState()
	require.NotNil(t, first)
	require.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond, "the first state comes after an interval")
	second := p.next().GetState()
	require.Greater(t, second.GetSequence(), first.GetSequence())
	require.Greater(t, second.GetInstantTs(), first.GetInstantTs())
	p.agrees(cmdDisable, srcState)
	p.agrees(cmdDisable, srcState)
	p.send(cmdRequest, srcRuntime, nil)
	require.NotNil(t, p.next().GetRuntime(), "nothing more is pushed")
}

// TestPauseHoldsAndResumeGives: first OK, then the held messages in order, then live
// ones.
func TestPauseHoldsAndResumeGives(t *testing.T) {
	s := serve(t, Config{})
	p := s.greet(t, 60_000, 120_000)
	p.agrees(cmdEnable, srcEvents)
	p.agrees(cmdPause, 0)
	p.agrees(cmdPause, 0)
	for i := range 50 {
		s.Emit(tick, time.Now(), func() any { return map[string]int{"n": i} })
	}
	p.send(cmdRequest, srcRuntime, nil)
	require.NotNil(t, p.next().GetRuntime(), "answers are not held")
	id := p.send(cmdResume, 0, nil)
	require.Equal(t, id, p.next().GetResponse().GetId())
	s.Emit(NewEventType("Tick"), time.Now(), func() any { return map[string]int{"n": 50} })
	for i := range 51 {
		e := p.next().GetEvent()
		require.JSONEq(t, `{"n":`+itoa(i)+`}`, e.GetContent())
		require.Equal(t, i == 0, len(e.GetType().GetPropertyTypes()) > 0, "only the first event has its columns")
	}
}

// TestRetentionBoundsAPause: with a retention of 0, no message is held beyond one
// tidying.
func TestRetentionBoundsAPause(t *testing.T) {
	s := serve(t, Config{})
	p := s.greet(t, 60_000, 0)
	p.agrees(cmdEnable, srcEvents)
	p.agrees(cmdPause, 0)
	s.Emit(NewEventType("Tick"), time.Now(), func() any { return struct{}{} })
	require.Eventually(t, func() bool {
		id := p.send(cmdResume, 0, nil)
		require.Equal(t, id, p.next().GetResponse().GetId())
		p.send(cmdRequest, srcRuntime, nil)
		return p.next().GetRuntime() != nil
	}, patience, 10*time.Millisecond)
}

// TestDisablingBothClearsThePause: it discards the held messages.
func TestDisablingBothClearsThePause(t *testing.T) {
	s := serve(t, Config{})
	p := s.greet(t, 60_000, 120_000)
	p.agrees(cmdEnable, srcEvents)
	p.agrees(cmdEnable, srcState)
	p.agrees(cmdPause, 0)
	s.Emit(NewEventType("Tick"), time.Now(), func() any { return struct{}{} })
	p.agrees(cmdDisable, srcState)
	p.agrees(cmdDisable, srcEvents)
	p.agrees(cmdEnable, srcEvents)
	p.agrees(cmdResume, 0)
	s.Emit(NewEventType("Tock"), time.Now(), func() any { return struct{}{} })
	require.Equal(t, "Tock", p.next().GetEvent().GetType().GetName())
}

// TestLateClientLearnsColumns: in the original only the clients that were connected first
// did.
func TestLateClientLearnsColumns(t *testing.T) {
	s := serve(t, Config{})
	first := s.greet(t, 60_000, 120_000)
	first.agrees(cmdEnable, srcEvents)
	emit := func() { s.Emit(tick, time.Now(), func() any { return map[string]int{"n": 1} }) }
	emit()
	require.Len(t, first.next().GetEvent().GetType().GetPropertyTypes(), 1)
	late := s.greet(t, 60_000, 120_000)
	late.agrees(cmdEnable, srcEvents)
	emit()
	require.Len(t, late.next().GetEvent().GetType().GetPropertyTypes(), 1)
	require.Empty(t, first.next().GetEvent().GetType().GetPropertyTypes())
	late.send(cmdRequest, srcRuntime, nil)
	types := late.next().GetRuntime().GetEventTypes()
	require.Len(t, types, 1)
	require.Equal(t, "Tick", types[0].GetName())
	require.Len(t, types[0].GetPropertyTypes(), 1)
}

// TestSessionsEndWithTheirClients: the original kept a goroutine for each session that
// had ended.
func TestSessionsEndWithTheirClients(t *testing.T) {
	s := serve(t, Config{})
	before := runtime.NumGoroutine()
	for range 20 {
		p := s.greet(t, 500, 1000)
		p.agrees(cmdEnable, srcState)
		p.agrees(cmdEnable, srcEvents)
		require.NoError(t, p.ws.CloseNow())
	}
	require.Eventually(t, func() bool { return s.Stats().Sessions == 0 && runtime.NumGoroutine() <= before+4 }, patience, 10*time.Millisecond)
	require.Zero(t, s.listeners.Load())
	require.EqualValues(t, 20, s.Stats().Accepted)
}

// TestRequestsThatNobodyReads: the original's loop blocked there forever.
func TestRequestsThatNobodyReads(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	r := NewRegistry()
	require.NoError(t, r.RegisterDataProviders(&DataProviders{Runtime: func() (*pb.Runtime, error) { return &pb.Runtime{Monitor: big}, nil }}))
	s := serve(t, Config{Introspector: r})
	p := s.greet(t, 500, 1000)
	for range 200 {
		b, err := proto.Marshal(&pb.ClientCommand{Command: cmdRequest, Source: srcRuntime})
		require.NoError(t, err)
		if p.sendBytes(websocket.MessageBinary, b) != nil {
			break
		}
	}
	other := s.greet(t, 500, 1000) // other sessions do not notice
	other.agrees(cmdEnable, srcState)
	require.NotNil(t, other.next().GetState())
	require.Eventually(t, func() bool { return s.Stats().Sessions == 1 }, patience, 10*time.Millisecond, "a client that does not read is disconnected")
}

// TestMissedEventsAreTold: a notice has the counts.
func TestMissedEventsAreTold(t *testing.T) {
	s := serve(t, Config{})
	p := s.greet(t, 60_000, 120_000)
	p.agrees(cmdEnable, srcEvents)
	const sent = eventBurst + 2000
	at := time.Now()
	for i := range sent { // exceeds the bound on events on any machine
		if i == eventBurst/2 {
			s.budget.SetBurst(0)
		}
		s.Emit(NewEventType("Tick"), at, func() any { return struct{}{} })
	}
	got, missed, total := uint64(0), uint64(0), uint64(0)
	for got+missed < sent {
		m := p.next()
		if n := m.GetNotice(); n != nil {
			require.Equal(t, pb.ServerNotice_DISCARDING_EVENTS, n.GetKind())
			missed += n.GetDiscardedEvents()
			total = n.GetTotalEvents()
		} else if m.GetEvent() != nil {
			got++
		}
	}
	require.EqualValues(t, sent, got+missed)
	require.NotZero(t, missed)
	require.Equal(t, missed, total)
	require.EqualValues(t, missed, s.Stats().DiscardedEvents)
}

// TestSnapshotsAreShared: many sessions cost no more than one.
func TestSnapshotsAreShared(t *testing.T) {
	var made atomic.Int64
	r := NewRegistry()
	require.NoError(t, r.RegisterDataProviders(&DataProviders{Traffic: func() (*pb.Traffic, error) {
		made.Add(1)
		return goldenTraffic(1), nil
	}}))
	s := serve(t, Config{Introspector: r})
	var all []*peerOf
	for range 16 {
		p := s.greet(t, 60_000, 120_000)
		all = append(all, p)
	}
	for _, p := range all {
		for range 20 {
			p.send(cmdRequest, srcState, nil)
		}
	}
	sequences := map[uint64]bool{}
	for _, p := range all {
		for range 20 {
			sequences[p.next().GetState().GetSequence()] = true
		}
	}
	require.EqualValues(t, made.Load(), len(sequences))
	require.Equal(t, s.Stats().Snapshots, uint64(len(sequences)))
	require.Less(t, len(sequences), 320, "320 snapshots were requested")
}

func TestProvidersThatFail(t *testing.T) {
	log, lines := guardtest.New()
	r := NewRegistry()
	r.Guard.Log = log
	require.NoError(t, r.RegisterDataProviders(&DataProviders{
		Connections: func(ConnectionQuery) ([]*pb.Connection, error) { return nil, errors.New("no\x00 network\u202e") },
		DHT:         func() ([]*pb.DHT, error) { panic("a fault") },
		Traffic:     func() (*pb.Traffic, error) { return goldenTraffic(1), nil },
	}))
	st, err := r.FetchFullState()
	require.NoError(t, err)
	require.Len(t, st.GetFailed(), 2)
	require.Contains(t, st.GetFailed()[0], "connections: no")
	require.NotContains(t, st.GetFailed()[0], "\x00")
	require.NotContains(t, st.GetFailed()[0], "\u202e")
	require.Contains(t, st.GetFailed()[1], "dht: panic: a fault")
	_, err = r.FetchFullState()
	require.NoError(t, err)
	require.EqualValues(t, 2, r.Guard.Panics())
	lines.Once(t, "introspect: call the provider of dht", "introspect.TestProvidersThatFail.func")
	require.EqualValues(t, 1000, st.GetTraffic().GetTrafficIn().GetCumBytes())
}

// brokenIntrospector panics when a state is requested.
type brokenIntrospector struct{ Introspector }

func (brokenIntrospector) FetchFullState() (*pb.State, error) { panic("a fault") }

// TestAPanicEndsOneSession: the client's connection is closed, and others are still
// served.
func TestAPanicEndsOneSession(t *testing.T) {
	log, lines := guardtest.New()
	s := serve(t, Config{Introspector: brokenIntrospector{NewRegistry()}, Logger: log})
	for n := range uint64(2) {
		p := s.connect(t)
		require.Equal(t, pb.CommandResponse_OK, p.ask(cmdHello, 0, nil).GetResult())
		p.send(cmdRequest, srcState, nil)
		p.ended()
		require.EqualValues(t, n+1, s.Stats().Panics)
	}
	lines.Once(t, "introspect: read a session's commands", "introspect.brokenIntrospector.FetchFullState")
	require.Equal(t, pb.CommandResponse_OK, s.connect(t).ask(cmdHello, 0, nil).GetResult())
}

func TestProvidersRegisterOnce(t *testing.T) {
	r := NewRegistry()
	dht := func() ([]*pb.DHT, error) { return []*pb.DHT{{Name: "wan", Size: 1}, {Name: "lan", Size: 2}}, nil }
	require.NoError(t, r.RegisterDataProviders(&DataProviders{DHT: dht}))
	err := r.RegisterDataProviders(&DataProviders{DHT: dht, Traffic: func() (*pb.Traffic, error) { return &pb.Traffic{TrafficIn: &pb.DataGauge{CumBytes: 1}}, nil }})
	require.ErrorContains(t, err, "a provider of DHT is registered already")
	require.Error(t, r.RegisterDataProviders(nil))
	for _, tag := range []string{"a", "b"} {
		require.NoError(t, r.RegisterDataProviders(&DataProviders{Annotate: func(s *pb.State) error { s.Failed = append(s.Failed, tag); return nil }}))
	}
	st, err := r.FetchFullState()
	require.NoError(t, err)
	require.Zero(t, st.GetTraffic().GetTrafficIn().GetCumBytes(), "the rejected registration left no provider")
	require.Equal(t, "lan", st.GetSubsystems().GetDht().GetName())
	require.Equal(t, []string{"a", "b"}, st.GetFailed())
}

// TestCloseEndsSessions with a reason that the client receives.
func TestCloseEndsSessions(t *testing.T) {
	s := serve(t, Config{})
	p := s.greet(t, 500, 1000)
	done := make(chan error, 1)
	go func() { done <- s.Close() }()
	require.Equal(t, websocket.StatusGoingAway, p.ended())
	require.NoError(t, <-done)
	require.NoError(t, s.Close())
	resp, err := http.Get(s.url)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
}

// TestEventContent: content that cannot be encoded, or is too long, becomes an empty object.
func TestEventContent(t *testing.T) {
	s := serve(t, Config{})
	p := s.greet(t, 60_000, 120_000)
	p.agrees(cmdEnable, srcEvents)
	emit := func(name string, content any) { s.Emit(NewEventType(name), time.Now(), func() any { return content }) }
	emit("Odd", func() {})
	require.Equal(t, "{}", p.next().GetEvent().GetContent())
	emit("Long", map[string]string{"a": strings.Repeat("x", MaxContent)})
	require.Equal(t, "{}", p.next().GetEvent().GetContent())
	emit("Bad", map[string]string{"a": "\xff<script>"})
	var got map[string]string
	require.NoError(t, json.Unmarshal([]byte(p.next().GetEvent().GetContent()), &got))
	require.Equal(t, "\ufffd<script>", got["a"])
}

func TestClient(t *testing.T) {
	s := serve(t, Config{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := Dial(ctx, s.url, ClientOptions{Config: &pb.Configuration{StateSnapshotIntervalMs: 700, RetentionPeriodMs: 5}})
	require.NoError(t, err)
	defer c.Close()
	require.EqualValues(t, 700, c.Effective().GetStateSnapshotIntervalMs())
	_, _, err = c.Runtime(ctx)
	require.NoError(t, err)
	_, frame, err := c.State(ctx)
	require.NoError(t, err)
	_, err = DecodeFrame(frame)
	require.NoError(t, err)
	require.NoError(t, c.Push(ctx, srcEvents))
	_, err = c.Ask(ctx, &pb.ClientCommand{Command: cmdRequest, Source: srcEvents})
	require.ErrorContains(t, err, errEventRequest)
	for given, want := range map[string]string{
		"127.0.0.1:1": "ws://127.0.0.1:1/introspect", "https://a.example/x/?y#z": "wss://a.example/x/introspect", "ws://h/introspect": "ws://h/introspect",
	} {
		got, err := SocketURL(given)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"", "ftp://x", "http://"} {
		_, err := SocketURL(bad)
		require.Error(t, err, bad)
	}
}
