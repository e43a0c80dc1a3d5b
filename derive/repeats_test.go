package derive

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

func TestWhatIsARepeat(t *testing.T) {
	at := func(d time.Duration) *event.Event { return message(event.Received, 1, d) }
	f := func(name string, duplicates, rebroadcasts uint64, events ...*event.Event) {
		t.Helper()
		d := quiet(Config{})
		for _, e := range events {
			d.feed(e)
		}
		s := d.cut()
		if s.Duplicates[event.Received] != duplicates || s.Rebroadcasts[event.Received] != rebroadcasts {
			t.Errorf("%s: %d duplicates and %d re-broadcasts, want %d and %d", name,
				s.Duplicates[event.Received], s.Rebroadcasts[event.Received], duplicates, rebroadcasts)
		}
	}
	const s = time.Second
	f("once", 0, 0, wants(at(0), event.WantHave, 1))
	f("soon", 1, 0, wants(at(0), event.WantHave, 1), wants(at(s), event.WantHave, 1))
	f("in one message", 1, 0, wants(at(0), event.WantHave, 1, 1))
	f("a re-broadcast in the window", 1, 1, wants(at(0), event.WantHave, 1), wants(at(30*s), event.WantHave, 1))
	f("at the window's end", 1, 1, wants(at(0), event.WantHave, 1), wants(at(31*s), event.WantHave, 1))
	f("a late re-broadcast", 0, 1, wants(at(0), event.WantHave, 1), wants(at(45*s), event.WantHave, 1))
	f("as soon as Bitswap sends it again", 1, 1, wants(at(0), event.WantHave, 1), wants(at(rebroadcastFrom), event.WantHave, 1))
	f("sooner", 1, 0, wants(at(0), event.WantHave, 1), wants(at(rebroadcastFrom-2*ms), event.WantHave, 1))
	f("as late", 0, 1, wants(at(0), event.WantHave, 1), wants(at(rebroadcastTo), event.WantHave, 1))
	f("later", 0, 0, wants(at(0), event.WantHave, 1), wants(at(47*s), event.WantHave, 1))
	f("each since the one before", 2, 2, wants(at(0), event.WantHave, 1), wants(at(30*s), event.WantHave, 1), wants(at(60*s), event.WantHave, 1))
	f("another type", 0, 0, wants(at(0), event.WantHave, 1), wants(at(s), event.WantBlock, 1))
	f("another CID", 0, 0, wants(at(0), event.WantHave, 1), wants(at(s), event.WantHave, 2))
	f("another peer", 0, 0, wants(at(0), event.WantHave, 1), wants(message(event.Received, 2, s), event.WantHave, 1))
	f("another direction", 0, 0, wants(message(event.Sent, 1, 0), event.WantHave, 1), wants(at(s), event.WantHave, 1))
	f("cancelled between", 0, 0, wants(at(0), event.WantHave, 1), cancels(at(s), 1), wants(at(2*s), event.WantHave, 1))
	f("a little back in time", 1, 0, wants(at(s), event.WantHave, 1), wants(at(s-5*ms), event.WantHave, 1))
}

// TestRepeatsAfterWeeks: times have 32 bits of milliseconds, which wrap around
// after 49.7 days.
func TestRepeatsAfterWeeks(t *testing.T) {
	const day = 24 * time.Hour
	f := func(name string, step, until time.Duration) {
		t.Helper()
		at := func(d time.Duration) int64 { return int64(1_800_000_000*time.Second + d) }
		r := newRepeats(1024, DefaultWindow)
		var interval uint32
		want := func(key uint64, typ event.WantType, d time.Duration) bool {
			interval++
			duplicate, rebroadcast, _ := r.want(key, typ, at(d), interval)
			return duplicate || rebroadcast
		}
		want(1, event.WantBlock, 0)
		want(2, event.WantHave, 0)
		for d := step; step > 0 && d < until; d += step { // the other type keeps the entry of 1
			want(1, event.WantHave, d)
		}
		for _, key := range []uint64{1, 2} {
			typ := event.WantType(key - 1)
			if want(key, typ, until) {
				t.Errorf("%s: %v of key %d after %v is a repeat", name, typ, key, until)
			}
			if !want(key, typ, until+time.Second) {
				t.Errorf("%s: %v of key %d a second later is no repeat", name, typ, key)
			}
		}
	}
	for _, until := range []time.Duration{25 * day, 40 * day, 1<<32*ms + 5*time.Second, 1<<32*ms + 31*time.Second, 100 * day} {
		f("nothing between", 0, until)
		f("wants every 40 s", 40*time.Second, until)
		f("wants every 12 days", 12*day, until)
		f("wants every 19 days", 19*day, until)
	}
}

// TestDuplicatesAgainstExact replays ten minutes of a Zipf stream in both directions,
// with cancels, against maps that evict nothing.
func TestDuplicatesAgainstExact(t *testing.T) {
	type want struct {
		peer int
		cid  uint64
		t    event.WantType
		dir  event.Direction
	}
	d := quiet(Config{MaxRepeats: 1 << 16})
	rng := rand.New(rand.NewPCG(5, 6))
	next := zipf(7, 1.2, 10_000)
	last := map[want]time.Duration{}
	var duplicates, rebroadcasts [event.Directions]uint64
	for i := range 120_000 {
		at := time.Duration(i) * 5 * ms
		w := want{rng.IntN(20), next(), event.WantType(rng.IntN(2)), event.Direction(rng.IntN(2))}
		if rng.IntN(10) == 0 {
			for _, typ := range []event.WantType{event.WantBlock, event.WantHave} {
				delete(last, want{w.peer, w.cid, typ, w.dir})
			}
			d.feed(cancels(message(w.dir, w.peer, at), w.cid))
			continue
		}
		if before, ok := last[w]; ok {
			if at-before <= 31*time.Second {
				duplicates[w.dir]++
			}
			if at-before >= 29*time.Second && at-before <= 46*time.Second {
				rebroadcasts[w.dir]++
			}
		}
		last[w] = at
		d.feed(wants(message(w.dir, w.peer, at), w.t, w.cid))
	}
	s := d.cut()
	lost := d.Stats().RepeatsLost
	t.Logf("exactly %v duplicates and %v re-broadcasts, %d lost", duplicates, rebroadcasts, lost)
	if rebroadcasts[0] < 1000 || lost > 100 {
		t.Errorf("the stream does not try much: %v re-broadcasts, %d lost", rebroadcasts, lost)
	}
	check := func(what string, got, exact, slack uint64) {
		if got > exact+slack || got+2*lost+slack < exact {
			t.Errorf("%s: %d, exactly %d, %d lost", what, got, exact, lost)
		}
	}
	for dir := range event.Directions {
		check("duplicates", s.Duplicates[dir], duplicates[dir], 2)
		// Ages are whole milliseconds, so those at the borders may differ.
		check("re-broadcasts", s.Rebroadcasts[dir], rebroadcasts[dir], rebroadcasts[dir]/1000+5)
	}
}

// TestRepeatsAreNeverTooHighWhenFull floods a small table: evicted entries are counted,
// and never become duplicates.
func TestRepeatsAreNeverTooHighWhenFull(t *testing.T) {
	d := quiet(Config{MaxRepeats: 1 << 10})
	for i := range 50_000 {
		d.feed(wants(message(event.Received, 1, time.Duration(i)*100*time.Microsecond), event.WantHave, uint64(i)))
	}
	s, lost := d.cut(), d.Stats().RepeatsLost
	if s.Duplicates[event.Received] != 0 || s.Rebroadcasts[event.Received] != 0 {
		t.Errorf("repeats of CIDs wanted once: %+v %+v", s.Duplicates, s.Rebroadcasts)
	}
	if lost != 50_000-1<<10 {
		t.Errorf("%d lost", lost)
	}
}
