package derive

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

const ms = time.Millisecond

// latencies returns only the latency events.
func latencies(in []*event.Event) (out []*event.Event) {
	for _, e := range in {
		if e.Kind == event.KindLatency {
			out = append(out, e)
		}
	}
	return out
}

// TestLatencyBothDirections matches answers with wants by peer, CID and direction, and by
// nothing else.
func TestLatencyBothDirections(t *testing.T) {
	d := quiet(Config{HistoryLatency: true})
	for dir := range event.Directions {
		back := event.Sent - dir
		d.feed(wants(message(dir, 1, 0), event.WantBlock, 10, 11))
		d.feed(wants(message(dir, 2, 5*ms), event.WantHave, 10))
		d.feed(blocks(message(dir, 1, 6*ms), 10))       // same direction as the want: answers nothing
		d.feed(blocks(message(back, 3, 7*ms), 10))      // another peer
		d.feed(blocks(message(back, 1, 8*ms), 12))      // another CID
		d.feed(blocks(message(back, 1, 20*ms), 10, 10)) // the second answers nothing
		d.feed(presences(message(back, 2, 35*ms), event.Have, 10))
		d.feed(presences(message(back, 1, 40*ms), event.DontHave, 11))
		d.feed(blocks(message(back, 1, 50*ms), 11)) // DONT_HAVE has ended it
	}
	type answer struct {
		dir     event.Direction
		peer    int
		cid     uint64
		want    event.WantType
		answer  event.AnswerType
		elapsed time.Duration
	}
	var want []answer
	for dir := range event.Directions {
		want = append(want,
			answer{dir, 1, 10, event.WantBlock, event.AnswerBlock, 20 * ms},
			answer{dir, 2, 10, event.WantHave, event.AnswerHave, 30 * ms},
			answer{dir, 1, 11, event.WantBlock, event.AnswerDontHave, 40 * ms})
	}
	d.out = latencies(d.out)
	if len(d.out) != len(want) {
		t.Fatalf("%d latencies, want %d", len(d.out), len(want))
	}
	for i, w := range want {
		e := d.out[i]
		l := event.Latency{CID: testCID(w.cid), Want: w.want, Answer: w.answer, Elapsed: w.elapsed}
		if e.Kind != event.KindLatency || e.Dir != w.dir || e.Peer != testPeer(w.peer) || *e.Latency != l {
			t.Errorf("latency %d: %v %v %+v, want %+v", i, e.Kind, e.Dir, *e.Latency, w)
		}
	}
	s := d.cut()
	for dir := range event.Directions {
		for a, elapsed := range []time.Duration{20 * ms, 30 * ms, 40 * ms} {
			if l := s.Latency[dir][a]; l.Count != 1 || l.Sum != elapsed || l.Max != elapsed {
				t.Errorf("%v %v: %+v", dir, event.AnswerType(a), l)
			}
		}
	}
	if st := d.Stats(); st.Matched != 6 || st.Unmatched != 2*5 || st.Pending != 2 {
		t.Errorf("stats: %+v", st)
	}
}

// TestOneCIDsAnswers follows everything that can happen to a want.
func TestOneCIDsAnswers(t *testing.T) {
	const c = 1
	sent := func(at time.Duration) *event.Event { return message(event.Sent, 1, at) }
	got := func(at time.Duration) *event.Event { return message(event.Received, 1, at) }
	f := func(name string, wantPending int, want []event.Latency, events ...*event.Event) {
		t.Helper()
		d := quiet(Config{HistoryLatency: true})
		for _, e := range events {
			d.feed(e)
		}
		d.out = latencies(d.out)
		if len(d.out) != len(want) {
			t.Errorf("%s: %d latencies, want %d", name, len(d.out), len(want))
			return
		}
		for i, w := range want {
			w.CID = testCID(c)
			if *d.out[i].Latency != w {
				t.Errorf("%s: latency %d is %+v, want %+v", name, i, *d.out[i].Latency, w)
			}
		}
		if s := d.cut(); s.Pending != wantPending {
			t.Errorf("%s: %d pending, want %d", name, s.Pending, wantPending)
		}
	}
	have := event.Latency{Want: event.WantHave, Answer: event.AnswerHave, Elapsed: 10 * ms}
	f("HAVE leaves it waiting for the block", 1, []event.Latency{have},
		wants(sent(0), event.WantHave, c), presences(got(10*ms), event.Have, c))
	f("HAVE is counted once", 1, []event.Latency{have},
		wants(sent(0), event.WantHave, c), presences(got(10*ms), event.Have, c), presences(got(20*ms), event.Have, c))
	f("a block for a want-have", 0, []event.Latency{have, {Want: event.WantHave, Answer: event.AnswerBlock, Elapsed: 30 * ms}},
		wants(sent(0), event.WantHave, c), presences(got(10*ms), event.Have, c), blocks(got(30*ms), c))
	f("have, then block", 0, []event.Latency{have, {Want: event.WantBlock, Answer: event.AnswerBlock, Elapsed: 15 * ms}},
		wants(sent(0), event.WantHave, c), presences(got(10*ms), event.Have, c),
		wants(sent(20*ms), event.WantBlock, c), blocks(got(35*ms), c))
	f("HAVE, then DONT_HAVE to the want-block", 0, []event.Latency{have, {Want: event.WantBlock, Answer: event.AnswerDontHave, Elapsed: 5 * ms}},
		wants(sent(0), event.WantHave, c), presences(got(10*ms), event.Have, c),
		wants(sent(20*ms), event.WantBlock, c), presences(got(25*ms), event.DontHave, c))
	f("HAVE where a want-block waits too", 1, []event.Latency{have},
		wants(sent(0), event.WantHave, c), wants(sent(3*ms), event.WantBlock, c), presences(got(10*ms), event.Have, c))
	f("HAVE for a want-block", 1, []event.Latency{{Want: event.WantBlock, Answer: event.AnswerHave, Elapsed: 10 * ms}},
		wants(sent(0), event.WantBlock, c), presences(got(10*ms), event.Have, c))
	f("a block where both wait", 0, []event.Latency{{Want: event.WantBlock, Answer: event.AnswerBlock, Elapsed: 7 * ms}},
		wants(sent(0), event.WantHave, c), wants(sent(3*ms), event.WantBlock, c), blocks(got(10*ms), c))
	f("HAVE taken back", 0, []event.Latency{have},
		wants(sent(0), event.WantHave, c), presences(got(10*ms), event.Have, c), presences(got(20*ms), event.DontHave, c))
	f("cancelled", 0, nil, wants(sent(0), event.WantHave, c), cancels(sent(ms), c), blocks(got(2*ms), c))
	f("cancelled and wanted again", 0, []event.Latency{{Want: event.WantBlock, Answer: event.AnswerBlock, Elapsed: 3 * ms}},
		wants(sent(0), event.WantBlock, c), cancels(sent(ms), c), wants(sent(2*ms), event.WantBlock, c), blocks(got(5*ms), c))
	f("repeated: since the first", 0, []event.Latency{{Want: event.WantBlock, Answer: event.AnswerBlock, Elapsed: 31 * time.Second}},
		wants(sent(0), event.WantBlock, c), wants(sent(30*time.Second), event.WantBlock, c), blocks(got(31*time.Second), c))
	f("too old", 0, nil, wants(sent(0), event.WantBlock, c), blocks(got(DefaultExpiry+1), c))
	f("an earlier time is no negative latency", 0, []event.Latency{{Want: event.WantBlock, Answer: event.AnswerBlock}},
		wants(sent(5*ms), event.WantBlock, c), blocks(got(4*ms), c))
}

// TestWaitingSince the earlier of its wants.
func TestWaitingSince(t *testing.T) {
	for _, c := range []struct{ have, block, since int64 }{{5, 0, 5}, {0, 5, 5}, {5, 7, 5}, {7, 5, 5}, {5, 5, 5}} {
		if got := (&waiting{have: c.have, block: c.block}).since(); got != c.since {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestExpiredWantsAreSweptAndCounted(t *testing.T) {
	d := quiet(Config{Expiry: time.Minute})
	d.feed(wants(message(event.Sent, 1, 0), event.WantBlock, 1, 2, 3))
	d.feed(wants(message(event.Sent, 1, 50*time.Second), event.WantBlock, 4))
	if s := d.cut(); s.Pending != 4 {
		t.Errorf("%d pending", s.Pending)
	}
	d.feed(message(event.Received, 2, 61*time.Second)) // the clock advances
	if s, st := d.cut(), d.Stats(); s.Pending != 1 || s.Lost != 0 || st.Expired != 3 {
		t.Errorf("%d pending, %d lost, %d expired", s.Pending, s.Lost, st.Expired)
	}
}

// TestPendingIsBoundedAndCountsLosses compares a full table with an exact one.
func TestPendingIsBoundedAndCountsLosses(t *testing.T) {
	const places = 1 << 12
	d := quiet(Config{MaxPending: places})
	rng := rand.New(rand.NewPCG(1, 1))
	var sent []uint64
	for i := range 10 * places {
		c := rng.Uint64()
		sent = append(sent, c)
		d.feed(wants(message(event.Sent, 1, time.Duration(i)*time.Microsecond), event.WantBlock, c))
	}
	s := d.cut()
	if s.Pending > places || s.Pending+int(s.Lost) != len(sent) {
		t.Errorf("%d places, %d wants: %d pending and %d lost", places, len(sent), s.Pending, s.Lost)
	}
	for _, c := range sent {
		d.feed(blocks(message(event.Received, 1, time.Second), c))
	}
	if st := d.Stats(); int(st.Matched) != s.Pending || st.Unmatched != s.Lost || st.Pending != 0 {
		t.Errorf("after all were answered: %+v", st)
	}
	if s := d.cut(); s.Lost != 0 {
		t.Errorf("losses of the previous interval are reported again: %d", s.Lost)
	}
}

// TestAThirdOfThePlacesLosesNothing holds what Config says of MaxPending.
func TestAThirdOfThePlacesLosesNothing(t *testing.T) {
	p := newPending(1<<18, time.Hour)
	rng := rand.New(rand.NewPCG(1, 2))
	n := 1 << 18 / 3
	for i := range n {
		p.want(rng.Uint64(), event.WantBlock, int64(i+1))
	}
	if float64(p.lost) > 0.005*float64(n) {
		t.Errorf("%d of %d lost", p.lost, n)
	}
}
