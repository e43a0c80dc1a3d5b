package introspect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// TestQueueAtItsBounds of items, and when there is room again.
func TestQueueAtItsBounds(t *testing.T) {
	q := newQueue()
	for range maxItems {
		q.push(ev(1, ""))
	}
	require.Nil(t, q.notice(), "as many as may wait")
	q.push(ev(1, ""))
	require.EqualValues(t, 1, q.notice().GetDiscardedEvents(), "one more")

	waits := func(q *queue) bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return q.wait(ctx) != nil
	}
	require.True(t, waits(q))
	room := q.room
	q.next()
	select {
	case <-room:
	default:
		require.Fail(t, "nobody is woken when there is room")
	}
	require.False(t, waits(q))

	q = newQueue()
	for range maxItems + 1 {
		q.answer(nil)
	}
	require.True(t, waits(q))
	q.next()
	require.NotNil(t, q.room, "there is no room for one more")
	require.True(t, waits(q))
	q.next()
	require.Nil(t, q.room)

	q = newQueue()
	q.answer(make([]byte, 1))
	q.answer(make([]byte, maxQueued))
	require.True(t, waits(q))
	q.next()
	require.NotNil(t, q.room, "there is no room for a byte")
	q.next()
	require.Nil(t, q.room)
}

// TestRemindWakesForMissesAlone of events or states.
func TestRemindWakesForMissesAlone(t *testing.T) {
	for _, f := range []struct {
		miss func(q *queue)
		woke int
	}{{func(*queue) {}, 0}, {func(q *queue) { q.lose(1) }, 1}, {func(q *queue) { q.lost(stateItem) }, 1}} {
		q := newQueue()
		f.miss(q)
		q.remind()
		require.Len(t, q.filled, f.woke)
		require.Equal(t, f.woke == 1, q.notice() != nil)
	}
}

// TestNoticesHaveTotals of all that was missed, beside what was missed since the last.
func TestNoticesHaveTotals(t *testing.T) {
	q := newQueue()
	for n := uint64(1); n <= 3; n++ {
		q.lost(stateItem)
		q.lost(eventItem)
		q.lose(10)
		got := q.notice()
		require.Equal(t, []uint64{11, 1, 11 * n, n}, []uint64{got.GetDiscardedEvents(), got.GetDiscardedStates(), got.GetTotalEvents(), got.GetTotalStates()})
	}
}

// listener returns a session that gets events, without a client.
func (s *Server) listener() *session {
	ses := newSession(s, address("127.0.0.1:1"))
	ses.states, ses.events = true, true
	s.sessions[ses] = struct{}{}
	s.listening(true)
	return ses
}

// TestEventsAtTheirBounds: the longest content is sent, one byte more is left out; of the
// types as many as may be are sent.
func TestEventsAtTheirBounds(t *testing.T) {
	s := NewServer(Config{Introspector: NewRegistry()})
	defer s.Close()
	ses := s.listener()
	typ := NewEventType("T")
	for _, more := range []int{0, 1} {
		text := strings.Repeat("x", MaxContent-2+more) // and two quotes
		s.Emit(typ, time.Now(), func() any { return text })
		b, ok := ses.q.next()
		require.True(t, ok)
		m, err := DecodeFrame(b)
		require.NoError(t, err)
		require.Equal(t, more == 1, m.GetEvent().GetContent() == "{}")
	}
	for i := range maxTypes + 1 {
		s.Emit(NewEventType("T"+itoa(i)), time.Now(), func() any { return struct{}{} })
	}
	require.Len(t, s.events.types(), maxTypes)
	require.Len(t, drain(ses.q), maxTypes-1)
	s.Emit(typ, time.Now(), func() any { return struct{}{} })
	require.Len(t, drain(ses.q), 1, "a type that is known")
}

// TestTheShortestFrame has a header alone.
func TestTheShortestFrame(t *testing.T) {
	b := make([]byte, headerBytes)
	binary.LittleEndian.PutUint32(b, frameVersion)
	binary.LittleEndian.PutUint32(b[4:], checksum(nil))
	m, err := DecodeFrame(b)
	require.NoError(t, err)
	require.Nil(t, m.GetPayload())
	_, err = DecodeFrame(b[:headerBytes-1])
	require.ErrorContains(t, err, "11 bytes: want 12")

	var file bytes.Buffer
	w := NewCaptureWriter(&file)
	require.NoError(t, w.WriteFrame(b))
	require.NoError(t, w.Flush())
	n, err := readAll(file.Bytes())
	require.Equal(t, 1, n)
	require.Error(t, err)
}

// TestAnEndpointAdmitsAllSessions, and as many requests beside them.
func TestAnEndpointAdmitsAllSessions(t *testing.T) {
	require.Greater(t, maxConns, MaxSessions)
	require.Greater(t, maxConnsPerIP, MaxSessionsPerIP)
}

// TestSnapshotsAtTheirAge: a snapshot is shared for as long as it is asked for, and for
// nine times as long as it took.
func TestSnapshotsAtTheirAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{Introspector: NewRegistry()})
		defer s.Close()
		taken := func(maxAge time.Duration, want uint64) {
			t.Helper()
			snap, err := s.snapshot(maxAge)
			require.NoError(t, err)
			require.Equal(t, want, snap.sequence)
			require.Equal(t, want, s.Stats().Snapshots)
		}
		taken(time.Second, 1)
		time.Sleep(time.Second)
		taken(time.Second, 1)
		time.Sleep(time.Nanosecond)
		taken(time.Second, 2)
		s.last.cost = time.Second
		time.Sleep(9 * time.Second)
		taken(0, 2)
		time.Sleep(time.Nanosecond)
		taken(0, 3)

		// A push takes one that is younger than half its interval.
		ses := s.listener()
		defer s.listening(false)
		pushed := func(want int) {
			t.Helper()
			require.NoError(t, ses.push(2*time.Second))
			require.Len(t, drain(ses.q), want)
		}
		time.Sleep(time.Second)
		pushed(1)
		require.EqualValues(t, 3, s.Stats().Snapshots)
		pushed(0) // the client has it
		time.Sleep(time.Nanosecond)
		pushed(1)
		require.EqualValues(t, 4, s.Stats().Snapshots)
		ses.states = false
		time.Sleep(time.Hour)
		pushed(0)
	})
}

// numberless returns states without a sequence, as the original protocol has them.
type numberless struct{ Introspector }

func (numberless) FetchFullState() (*pb.State, error) { return &pb.State{}, nil }

// TestStatesWithoutASequence are pushed each time.
func TestStatesWithoutASequence(t *testing.T) {
	s := NewServer(Config{Introspector: numberless{}})
	defer s.Close()
	ses := s.listener()
	for range 3 {
		require.NoError(t, ses.push(time.Hour))
		require.Len(t, drain(ses.q), 1)
	}
}

// TestStatesAtTheirBounds: the default limit of connections, the largest routing table,
// and a time between two states that 32 bits do not have.
func TestStatesAtTheirBounds(t *testing.T) {
	for _, f := range []struct{ most, limit int }{{0, DefaultMaxConnections}, {-1, DefaultMaxConnections}, {1, 1}} {
		r := NewRegistry()
		r.MaxConnections = f.most
		var asked ConnectionQuery
		tables := []*pb.DHT{{Protocol: "first", Size: 3}, {Protocol: "second", Size: 3}}
		require.NoError(t, r.RegisterDataProviders(&DataProviders{
			Connections: func(q ConnectionQuery) ([]*pb.Connection, error) { asked = q; return nil, nil },
			DHT:         func() ([]*pb.DHT, error) { return tables, nil },
		}))
		st, err := r.FetchFullState()
		require.NoError(t, err)
		require.Equal(t, ConnectionQuery{Streams: true, Limit: f.limit}, asked)
		require.Equal(t, "first", st.Subsystems.Dht.Protocol, "of two as large the first")
		require.Zero(t, st.SnapshotDurationMs)
		tables[1].Size = 4
		r.before = time.Now().Add(-60 * 24 * time.Hour)
		st, err = r.FetchFullState()
		require.NoError(t, err)
		require.Equal(t, "second", st.Subsystems.Dht.Protocol)
		require.EqualValues(t, uint32(1<<32-1), st.SnapshotDurationMs)
	}
}

// play plays states at these times, in milliseconds, and returns how long that took.
func play(t *testing.T, ctx context.Context, s *Server, speed float64, times ...uint64) (time.Duration, error) {
	t.Helper()
	var file bytes.Buffer
	w := NewCaptureWriter(&file)
	for _, at := range times {
		require.NoError(t, w.Write(&pb.ServerMessage{Payload: &pb.ServerMessage_State{State: &pb.State{InstantTs: at}}}))
	}
	require.NoError(t, w.Flush())
	began := time.Now()
	err := NewPlayback().Play(ctx, s, &file, speed)
	return time.Since(began), err
}

// TestAReplayKeepsTime: as recorded, divided by the speed, and never longer than maxPause
// between two messages. Before the first session it plays the first moment alone.
func TestAReplayKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{})
		defer s.Close()
		took, err := play(t, t.Context(), s, 1, 5000, 5000)
		require.NoError(t, err)
		require.Zero(t, took, "the first moment waits for nobody")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		took, err = play(t, ctx, s, 1, 5000, 5001)
		require.ErrorIs(t, err, context.DeadlineExceeded, "nobody looks")
		require.Equal(t, time.Hour, took)

		s.listener()
		for _, f := range []struct {
			speed float64
			times []uint64
			want  time.Duration
		}{
			{1, []uint64{5000, 7000, 7000, 6000, 7500}, 2500 * time.Millisecond},
			{2, []uint64{5000, 7000}, time.Second},
			{0.5, []uint64{5000, 7000}, 4 * time.Second},
			{1, []uint64{5000, 5000 + 3600_000, 5000 + 3601_000}, maxPause + time.Second},
		} {
			took, err := play(t, t.Context(), s, f.speed, f.times...)
			require.NoError(t, err)
			require.Equal(t, f.want, took, "%v at %v", f.times, f.speed)
		}
	})
}

// TestAReplayLearnsColumns that come with a later event of a type.
func TestAReplayLearnsColumns(t *testing.T) {
	s := NewServer(Config{})
	defer s.Close()
	r, types := NewPlayback(), map[string]*EventType{}
	first := r.learn(s, types, &pb.EventType{Name: "T"})
	require.Empty(t, first.columns)
	second := r.learn(s, types, tick.proto(true))
	require.Len(t, second.columns, 1)
	require.Same(t, second, r.learn(s, types, tick.proto(false)), "without columns they are not forgotten")
	third := r.learn(s, types, &pb.EventType{Name: "T", PropertyTypes: tick.columns})
	require.Len(t, third.columns, 1)
}

// TestWhatIsZeroIsLeftOut of a content; any two figures together are not zero.
func TestWhatIsZeroIsLeftOut(t *testing.T) {
	out := &pb.Content{}
	answered(out, &event.Summary{})
	require.Nil(t, out.GetWanted())
	require.Empty(t, out.GetRetrievals())
	require.Empty(t, out.GetHttpRequests())
	for i := range 8 {
		var s event.Summary
		r := &s.Retrieval
		for j, n := range []*uint64{&r.Wanted, &r.GivenUp, &r.Unanswered, nil, &r.Surplus, &r.Searches, &r.Providers, &r.NotFound} {
			switch {
			case j != 0 && j != i:
			case n == nil:
				r.Waiting = 1
			default:
				*n = 1
			}
		}
		out := &pb.Content{}
		answered(out, &s)
		require.NotNil(t, out.GetWanted(), i)
	}
	dht := &event.DHTSummary{}
	dht.Requests[event.Sent][event.DHTPing].Status[event.DHTTimedOut] = 2
	out = &pb.Content{}
	dhtContent(out, dht)
	require.Len(t, out.GetDhtRequests(), 1)
	require.EqualValues(t, 2, out.GetDhtRequests()[0].GetTimeouts())
}

// TestSessionsOfOneAddress: as many as may be, and again when one has left.
func TestSessionsOfOneAddress(t *testing.T) {
	s := NewServer(Config{})
	defer s.Close()
	var all []*session
	enter := func(remote string, want bool) {
		t.Helper()
		ses, err := s.enter(&http.Request{RemoteAddr: remote})
		if !want {
			require.True(t, errors.Is(err, errTooMany), "%v", err)
			return
		}
		require.NoError(t, err)
		all = append(all, ses)
	}
	for range MaxSessionsPerIP {
		enter("192.0.2.1:1", true)
	}
	enter("192.0.2.1:1", false)
	enter("[::ffff:192.0.2.1]:1", false) // the same
	enter("192.0.2.2:1", true)
	s.leave(all[0])
	enter("192.0.2.1:1", true)
	for len(all) < MaxSessions+1 { // one has left
		enter("127.0.0.1:1", true)
	}
	enter("127.0.0.1:1", false)
	enter("192.0.2.3:1", false)
	for _, ses := range all[1:] {
		s.leave(ses)
	}
	require.Empty(t, s.sessions)
	require.Empty(t, s.perIP)
}

// TestQueriesBeginBeforeTheyEnd: the event of a request of the DHT has the time at which
// it began, and the name of its direction.
func TestQueriesBeginBeforeTheyEnd(t *testing.T) {
	s := NewServer(Config{Introspector: NewRegistry()})
	defer s.Close()
	ses, f := s.listener(), NewFeed(s, nil)
	for dir, name := range map[event.Direction]string{event.Received: "InboundDHTQuery", event.Sent: "OutboundDHTQuery"} {
		f.take(&event.Event{Time: 5e9, Kind: event.KindDHT, Dir: dir, DHT: &event.DHTRequest{Type: event.DHTPing, Elapsed: 2 * time.Second}})
		b, ok := ses.q.next()
		require.True(t, ok)
		m, err := DecodeFrame(b)
		require.NoError(t, err)
		require.Equal(t, name, m.GetEvent().GetType().GetName())
		require.EqualValues(t, 3000, m.GetEvent().GetTs())
		require.Contains(t, m.GetEvent().GetContent(), `"totalTimeMs":2000`)
	}
}
