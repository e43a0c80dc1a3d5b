package collect

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/stream"
)

// world makes round trips to a server whose clock is known.
type world struct {
	r     *rand.Rand
	start time.Time
	ahead time.Duration
	drift float64 // parts
}

func (w *world) at(d time.Duration) time.Time { return w.start.Add(d) }

// server is the server's clock at a time of ours.
func (w *world) server(t time.Time) time.Time {
	return t.Add(w.ahead + time.Duration(w.drift*float64(t.Sub(w.start))))
}

// trip is a round trip that begins after d, with delays of their own on each way.
func (w *world) trip(d time.Duration) stream.RoundTrip {
	delay := func() time.Duration {
		return 20*time.Millisecond + time.Duration(w.r.ExpFloat64()*float64(10*time.Millisecond))
	}
	sent := w.at(d)
	there := sent.Add(delay())
	return stream.RoundTrip{Sent: sent, ServerReceived: w.server(there), ServerSent: w.server(there), Received: there.Add(delay())}
}

// TestClockOffset: the true offset is within the stated error at every time, also
// between the pings and while the clock drifts; the drift is found.
func TestClockOffset(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &world{r: r, start: time.Unix(1_795_185_729, 0), ahead: time.Duration(r.Int64N(int64(48*time.Hour))) - 24*time.Hour, drift: (r.Float64() - 0.5) * 200e-6}
		var c clock
		require.False(t, c.state(w.start).Known)
		for d := time.Duration(0); d < time.Hour; d += 10 * time.Second {
			c.add(w.trip(d))
			for _, later := range []time.Duration{time.Second, 9 * time.Second} {
				now := w.at(d + later)
				s := c.state(now)
				require.True(t, s.Known)
				truth := w.server(now).Sub(now)
				require.LessOrEqual(t, (time.Duration(s.Offset) - truth).Abs(), time.Duration(s.Error)+time.Microsecond, "after %v", d)
				require.Less(t, time.Duration(s.Error), time.Second)
			}
		}
		s := c.state(w.at(time.Hour))
		require.True(t, s.DriftKnown)
		require.InDelta(t, w.drift*1e6, s.Drift, 4*s.DriftErr+1)
		require.Zero(t, s.Steps)
		require.LessOrEqual(t, len(c.best), clockBuckets)
	}
}

// TestClockStep: a clock that is set is followed at once.
func TestClockStep(t *testing.T) {
	w := &world{r: rand.New(rand.NewPCG(1, 2)), start: time.Unix(1_795_185_729, 0)}
	var c clock
	for d := time.Duration(0); d < 10*time.Minute; d += 10 * time.Second {
		c.add(w.trip(d))
	}
	w.ahead = -time.Hour
	c.add(w.trip(10 * time.Minute))
	s := c.state(w.at(10 * time.Minute))
	require.EqualValues(t, 1, s.Steps)
	require.InDelta(t, -time.Hour, time.Duration(s.Offset), float64(s.Error))
	require.False(t, s.DriftKnown, "what was measured before is of another clock")
}

// TestClockLies: round trips that cannot be are not used.
func TestClockLies(t *testing.T) {
	w := &world{r: rand.New(rand.NewPCG(1, 3)), start: time.Unix(1_795_185_729, 0)}
	var c clock
	for _, wrong := range []func(*stream.RoundTrip){
		func(r *stream.RoundTrip) { r.ServerSent = r.ServerReceived.Add(time.Hour) },  // answered an hour after it was asked, in 40 ms
		func(r *stream.RoundTrip) { r.ServerSent = r.ServerReceived.Add(-time.Hour) }, // answered before it was asked
		func(r *stream.RoundTrip) { r.Received = r.Sent.Add(-time.Second) },
		func(r *stream.RoundTrip) { r.ServerSent = time.Unix(math.MaxInt32, 0); r.ServerReceived = time.Time{} },
	} {
		r := w.trip(0)
		wrong(&r)
		c.add(r)
	}
	s := c.state(w.at(0))
	require.False(t, s.Known)
	require.EqualValues(t, 4, s.Bad)
}

// TestSequence: each way in which events can be missed, and none where there is
// none.
func TestSequence(t *testing.T) {
	f := func(want []Hole, steps func(q *sequence, put func(Hole, bool))) {
		t.Helper()
		var q sequence
		var got []Hole
		steps(&q, func(h Hole, is bool) {
			if is {
				h.Why = ""
				got = append(got, h)
			}
		})
		require.Equal(t, want, got)
	}
	f(nil, func(q *sequence, put func(Hole, bool)) { // what it saw before is no loss; other kinds leave holes
		q.connected("a")
		put(q.event(100))
		put(q.event(101))
		put(q.event(107))
	})
	f([]Hole{{Missed: 9}}, func(q *sequence, put func(Hole, bool)) { // a break
		q.connected("a")
		put(q.event(100))
		q.connected("a")
		put(q.event(110))
		put(q.event(111))
	})
	f(nil, func(q *sequence, put func(Hole, bool)) { // a break in which nothing happened
		q.connected("a")
		put(q.event(100))
		q.connected("a")
		q.connected("a")
		put(q.event(101))
	})
	f([]Hole{{Missed: 4, Unknown: true}}, func(q *sequence, put func(Hole, bool)) { // a restart
		q.connected("a")
		put(q.event(100))
		q.connected("b")
		put(q.event(5))
	})
	f([]Hole{{Missed: 199, Unknown: true}}, func(q *sequence, put func(Hole, bool)) { // a restart that numbers past the old one
		q.connected("a")
		put(q.event(100))
		q.connected("b")
		put(q.event(200))
	})
	f([]Hole{{Unknown: true}}, func(q *sequence, put func(Hole, bool)) { // version 3 has no numbers
		q.connected("")
		put(q.event(0))
		put(q.event(0))
		q.connected("")
		put(q.event(0))
	})
	f([]Hole{{Unknown: true}}, func(q *sequence, put func(Hole, bool)) { // a monitor that numbers backwards
		q.connected("a")
		put(q.event(100))
		put(q.event(7))
		put(q.event(8))
	})
	f([]Hole{{Missed: 5}, {Missed: 7}}, func(q *sequence, put func(Hole, bool)) { // what the monitor reports, and a break after it
		q.connected("a")
		put(q.event(100))
		put(q.reported(&stream.Gap{Slow: 2, Bus: 3, First: 101, Last: 110}), true)
		q.connected("a")
		put(q.event(118))
	})
}
