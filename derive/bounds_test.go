package derive

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestHeavyHalves: of 2*most counters exactly most stay, those with the highest counts;
// what was dropped had at most floor; the sum of what stays is right.
func TestHeavyHalves(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for most := 1; most < 20; most++ {
		for range 50 {
			h := newHeavy[int](most)
			var counts []uint64
			for i := range 2 * most {
				n := uint64(1 + rng.IntN(5)) // many are equal
				counts = append(counts, n)
				h.addN(uint64(i+1), i, n)
			}
			if len(h.slots) != 2*most || h.floor != 0 {
				t.Fatalf("%d counters of %d, floor %d", len(h.slots), 2*most, h.floor)
			}
			h.halve()
			slices.Sort(counts)
			if len(h.slots) != most || h.floor != counts[most-1] {
				t.Fatalf("%d counters of %d stay, floor %d, want %d", len(h.slots), most, h.floor, counts[most-1])
			}
			var kept []uint64
			for i := range h.slots {
				kept = append(kept, h.slots[i].count)
				if c := h.get(h.slots[i].hash); c != &h.slots[i] {
					t.Fatalf("counter %d is not found", i)
				}
			}
			slices.Sort(kept)
			if !slices.Equal(kept, counts[most:]) {
				t.Fatalf("%v stay, want %v", kept, counts[most:])
			}
			if c := h.add(1<<40, 0); c.count != h.floor+1 || c.err != h.floor || len(h.slots) != most+1 {
				t.Fatalf("a new key: %+v", c)
			}
		}
	}
	h := newHeavy[int](8)
	for i := range 1000 {
		h.add(rng.Uint64(), i)
		if len(h.slots) > 2*8 {
			t.Fatalf("%d counters, want at most 16", len(h.slots))
		}
	}
}

// TestTablesHaveRoom: a table has a power of two of buckets, the fewest that have room
// for its places.
func TestTablesHaveRoom(t *testing.T) {
	for places := -1; places < 10*ways; places++ {
		x := newTable[int](places)
		if n := x.most * ways; bits.OnesCount(uint(x.most)) != 1 || n < places || x.most > 1 && n/2 >= places {
			t.Errorf("%d places: %d buckets", places, x.most)
		}
		if len(x.buckets) != min(x.most, fewBuckets) {
			t.Errorf("%d places: begins with %d buckets of %d", places, len(x.buckets), x.most)
		}
	}
	x := newTable[int](4 * fewBuckets * ways)
	for range 2 {
		if !x.grow() {
			t.Error("a table that may grow does not")
		}
	}
	if x.grow() || len(x.buckets) != 4*fewBuckets {
		t.Errorf("%d buckets, want at most %d", len(x.buckets), 4*fewBuckets)
	}
}

// TestOrderAtItsBounds: an event waits until one that is Hold later has come, or there
// are too many, or they are too heavy; equal ones stay in the order in which they came.
func TestOrderAtItsBounds(t *testing.T) {
	o := order{hold: 10}
	f := func(what string, want bool, do func()) {
		t.Helper()
		do()
		e := o.pop(false)
		if (e != nil) != want {
			t.Errorf("%s: %v, want one %v", what, e, want)
		}
	}
	f("nothing later", false, func() { o.push(&event.Event{Time: 100}) })
	f("9 later", false, func() { o.latest = 109 })
	f("10 later", true, func() { o.latest = 110 })
	if o.weight != 0 {
		t.Errorf("none weigh %d", o.weight)
	}
	one := &event.Event{Time: 110}
	for range maxHeldEvents {
		o.push(one)
	}
	f("as many as may wait", false, func() {})
	f("one more", true, func() { o.push(one) })
	f("again", false, func() {})
	for o.pop(true) != nil {
	}
	o.push(one)
	light := o.weight
	f("as heavy as may be", false, func() { o.weight = maxHeldBytes })
	f("heavier", true, func() { o.weight = maxHeldBytes + 1 })
	o.weight -= maxHeldBytes + 1 - light

	for i, at := range []int64{5, 7, 5, 3, 7, 5} {
		o.push(&event.Event{Time: at, Peer: testPeer(i)})
	}
	for i, want := range []int{3, 0, 2, 5, 1, 4} {
		if e := o.pop(true); e.Peer != testPeer(want) {
			t.Errorf("place %d: %v", i, e)
		}
	}
	for range maxHeldEvents + 10 {
		o.done(new(event.Event))
	}
	if len(o.spare) != maxHeldEvents {
		t.Errorf("%d events are kept for reuse, want %d", len(o.spare), maxHeldEvents)
	}
}

// TestAStepOfTheClockIsMoreThanTenSeconds: an event that is later than stepBack is late;
// one that is later still means that the clock was set.
func TestAStepOfTheClockIsMoreThanTenSeconds(t *testing.T) {
	d := quiet(Config{})
	now := start + int64(time.Hour)
	at := func(t int64) *event.Event { return &event.Event{Kind: event.KindMessage, Peer: testPeer(1), Time: t} }
	d.hold(at(now))
	d.hold(at(now - stepBack))
	if s := d.Stats(); s.Events != 0 || s.Held != 2 {
		t.Errorf("a late event: %+v", s)
	}
	d.hold(at(now - stepBack - 1))
	if s := d.Stats(); s.Events != 2 || s.Held != 1 {
		t.Errorf("the clock was set: %+v", s)
	}
	d = quiet(Config{})
	for _, c := range [][2]int64{{now, now}, {now - stepBack, now}, {now - stepBack - 1, now - stepBack - 1}} {
		if d.feed(at(c[0])); d.clock != c[1] {
			t.Errorf("the clock is %d after an event of %d, want %d", d.clock-now, c[0]-now, c[1]-now)
		}
	}
}

// TestEventsOfNoKnownSort: a direction or transport that is not known costs nothing.
func TestEventsOfNoKnownSort(t *testing.T) {
	d := quiet(Config{})
	e := wants(message(event.Directions, 1, 0), event.WantHave, 1)
	d.feed(e)
	e = wants(message(event.Sent, 1, 0), event.WantHave, 1)
	e.Transport = event.MessageTransports
	d.feed(e)
	failed := message(event.Sent, 1, 0)
	failed.Kind, failed.Transport, failed.SendError = event.KindSendError, event.MessageTransports, &event.SendError{Class: "other"}
	d.feed(failed)
	for _, r := range []event.DHTRequest{{Type: event.DHTTypes}, {Status: event.DHTStatuses}, {}} {
		d.hold(&event.Event{Kind: event.KindDHT, Dir: event.Directions, Time: start, DHT: &r})
		d.hold(&event.Event{Kind: event.KindDHT, Dir: event.Sent, Time: start, DHT: &r})
	}
	if s := d.Stats(); s.Panics != 0 || s.Wants != 1 {
		t.Errorf("%+v", s)
	}
	s := d.cut()
	if s.UniquePeers[event.Received] != 0 || s.UniquePeers[event.Sent] != 1 {
		t.Errorf("%v peers", s.UniquePeers)
	}
	failed.Transport, failed.SendError = event.Libp2p, &event.SendError{Class: "of tomorrow", Wants: 1, Presences: 2, Blocks: 3}
	d.feed(failed)
	if x := d.cut().Sending[event.Libp2p].Errors; x[len(x)-1] != (event.SendErrorStats{Messages: 1, Wants: 1, Presences: 2, Blocks: 3}) {
		t.Errorf("an unknown class of error: %+v", x)
	}
}

// TestTopByPeersWithoutACounterOfWants: a CID that many peers want, but that others are
// wanted more often than, has as its error what is not known of its wants.
func TestTopByPeersWithoutACounterOfWants(t *testing.T) {
	v := newInterval(Config{MaxCIDsTracked: 1, MaxPeersTracked: 1}, time.Unix(0, start))
	for _, x := range []struct {
		cid     uint64
		first   bool
		repeats int
	}{{1, true, 3}, {2, true, 1}, {2, false, 10}, {3, false, 1}} {
		for range x.repeats {
			v.rank(testCID(x.cid), x.cid, x.first)
		}
	}
	if v.byWants.get(1) != nil {
		t.Fatal("CID 1 has a counter of wants")
	}
	want := []event.TopCID{{CID: testCID(1), Wants: 3, Error: 0, Peers: 3}, {CID: testCID(2), Wants: 11, Error: 0, Peers: 1}}
	if got := v.topCIDsByPeers(5); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestWhoWantsNothingIsNotOnTop: a peer that sends messages without wants is in no list
// of those that want most.
func TestWhoWantsNothingIsNotOnTop(t *testing.T) {
	d := quiet(Config{})
	d.feed(cancels(message(event.Received, 1, 0), 1))
	d.feed(wants(message(event.Received, 2, 0), event.WantHave, 1))
	if top := d.cut().TopPeers; len(top) != 1 || top[0].Peer != testPeer(2) {
		t.Errorf("%+v", top)
	}
}

// TestRequestsAtTheirBounds: how many are followed, for how long, and that those without
// a place are lost once.
func TestRequestsAtTheirBounds(t *testing.T) {
	d := quiet(Config{HistoryLatency: true, MaxLatencies: 1 << 20})
	ask := func(p int, at time.Duration, n uint64) {
		e := web(message(event.Sent, p, at))
		for c := range n {
			e.Wants = append(e.Wants, event.Want{CID: testCID(c)})
		}
		d.feed(e)
	}
	ask(1, 0, maxRequests)
	if s := d.Stats(); s.Lost != 0 || len(d.requests.open) != maxRequests {
		t.Errorf("%d requests are followed, %d lost", len(d.requests.open), s.Lost)
	}
	ask(2, 0, 5)
	if s := d.Stats(); s.Lost != 5 || len(d.requests.open) != maxRequests {
		t.Errorf("%d requests are followed, %d lost", len(d.requests.open), s.Lost)
	}
	if s := d.cut(); s.Lost != 5 {
		t.Errorf("%d lost", s.Lost)
	}
	if s := d.cut(); s.Lost != 0 {
		t.Errorf("%d lost in the next interval", s.Lost)
	}
	ask(2, 0, 3)
	d.now.uniqueCIDs[event.Received] = nil // the summary fails
	d.cut()
	if s := d.cut(); s.Lost != 0 {
		t.Errorf("%d lost after an interval without a summary", s.Lost)
	}

	d = quiet(Config{HistoryLatency: true})
	unanswered := func() (n int) {
		for _, e := range d.out {
			if e.Kind == event.KindRequest && e.Request.Outcome == event.RequestNoAnswer {
				n++
			}
		}
		return n
	}
	ask(1, 0, 1)
	ask(2, 30*time.Second, 1)
	if n := unanswered(); n != 0 {
		t.Errorf("%d requests are over after 30 s", n)
	}
	ask(3, 38*time.Second, 1) // within a quarter of the time, another message looks
	if n := unanswered(); n != 1 {
		t.Errorf("%d requests are over after 38 s, want 1", n)
	}
	d = quiet(Config{})
	ask(1, 0, 1)
	d.sweepRequests(start + requestExpiry)
	if len(d.requests.open) != 1 {
		t.Error("a request is over at its very limit")
	}
	d.sweepRequests(start + requestExpiry + 1)
	if len(d.requests.open) != 0 {
		t.Error("a request beyond its limit is open")
	}
}

// TestDontHaveEndsTheOlderRequest: a gateway's 404 does not say whether HEAD or GET was
// asked. At the same time HEAD was first, as httpnet asks.
func TestDontHaveEndsTheOlderRequest(t *testing.T) {
	for _, c := range []struct{ head, get time.Duration }{{0, ms}, {ms, 0}, {0, 0}} {
		d := quiet(Config{})
		first := []*event.Event{wants(web(message(event.Sent, 1, c.head)), event.WantHave, 1), wants(web(message(event.Sent, 1, c.get)), event.WantBlock, 1)}
		slices.SortStableFunc(first, byTime)
		for _, e := range first {
			d.feed(e)
		}
		d.feed(presences(web(message(event.Received, 1, 5*ms)), event.DontHave, 1))
		of := event.WantHave
		if c.get < c.head {
			of = event.WantBlock
		}
		if s := d.cut(); s.Requests[of][event.RequestDontHave].Took.Count != 1 {
			t.Errorf("HEAD at %v, GET at %v: %+v", c.head, c.get, s.Requests)
		}
	}
}

// TestPendingAtItsExpiry: a want waits for Expiry and not longer, wherever that is looked at.
func TestPendingAtItsExpiry(t *testing.T) {
	const expiry = int64(time.Second)
	for _, late := range []int64{0, 1} {
		f := func(what string, got, ifLate uint64) {
			t.Helper()
			if want := ifLate * uint64(late); got != want {
				t.Errorf("%s, %d ns late: %d, want %d", what, late, got, want)
			}
		}
		now := 1 + expiry + late
		p := newPending(ways, time.Second)
		p.want(1, event.WantBlock, 1)
		p.want(1, event.WantBlock, now)
		f("wanted again", p.expired, 1)
		p = newPending(ways, time.Second)
		p.want(1, event.WantBlock, 1)
		p.sweep(now)
		f("swept", p.expired, 1)
		p = newPending(ways, time.Second)
		for key := range uint64(ways) {
			p.want(key+1, event.WantBlock, 1+int64(key))
		}
		p.want(100, event.WantBlock, now)
		f("its place taken", p.expired, 1)
		if p.lost+p.expired != 1 || p.used != ways || p.find(1) != nil {
			t.Errorf("%d lost, %d expired, %d used", p.lost, p.expired, p.used)
		}
	}
}

// TestRepeatsAtTheirBounds: sweeping changes no answer, at the very end of what is kept.
func TestRepeatsAtTheirBounds(t *testing.T) {
	const keep = int64(rebroadcastTo)
	for _, typ := range []event.WantType{event.WantBlock, event.WantHave} {
		for _, late := range []int64{0, int64(2 * ms)} {
			r := newRepeats(ways, DefaultWindow)
			r.want(1, typ, start, 1)
			r.swept = start + keep + late - int64(sweepEvery) // so that the next want sweeps
			if _, again, _ := r.want(1, typ, start+keep+late, 2); again != (late == 0) {
				t.Errorf("%v: a re-broadcast %v late: %v", typ, time.Duration(late), again)
			}
			// The other type keeps the entry.
			r = newRepeats(ways, DefaultWindow)
			r.want(1, typ, start, 1)
			r.want(1, 1-typ, start+keep, 1)
			r.swept = start + keep + late - int64(sweepEvery)
			if _, again, _ := r.want(1, typ, start+keep+late, 2); again != (late == 0) {
				t.Errorf("%v beside the other type: a re-broadcast %v late: %v", typ, time.Duration(late), again)
			}
		}
	}
	r := newRepeats(ways, DefaultWindow)
	for i := range 15 * 24 * 60 * 6 { // a sweep in between changes nothing
		duplicate, _, _ := r.want(1, event.WantBlock, start+int64(i)*int64(10*time.Second), 1)
		if duplicate != (i > 0) {
			t.Fatalf("want %d: a duplicate %v", i, duplicate)
		}
	}
	// What is no longer needed makes room without a loss.
	for _, late := range []int64{0, int64(2 * ms)} {
		r := newRepeats(ways, DefaultWindow)
		for key := range uint64(ways) {
			r.want(key+1, event.WantBlock, start, 1)
		}
		if r.want(100, event.WantBlock, start+keep+late, 2); r.lost != map[bool]uint64{late == 0: 1}[true] {
			t.Errorf("%d lost when the oldest is %v beyond what is kept", r.lost, time.Duration(late))
		}
	}
}

// TestOldestRepeatGoesFirst: of a full bucket that may not grow, the entry goes that was wanted
// or cancelled first.
func TestOldestRepeatGoesFirst(t *testing.T) {
	r := newRepeats(ways, DefaultWindow)
	for key := range uint64(ways) {
		r.want(key+1, event.WantBlock, start+int64(time.Duration(key)*10*ms), 1)
	}
	r.cancel(1, start+int64(time.Second))
	r.want(2, event.WantBlock, start+int64(2*time.Second), 1)
	for i, gone := range []uint64{3, 4, 5} {
		if r.want(100+uint64(i), event.WantBlock, start+int64(3*time.Second), 1); r.find(gone) != nil || r.find(gone+1) == nil || r.find(1) == nil || r.find(2) == nil {
			t.Errorf("another entry than that of key %d went", gone)
		}
	}
}

// TestRequestsAreSweptFromTimeToTime: those without an answer are looked for when a request
// begins, a quarter of their time after they were before.
func TestRequestsAreSweptFromTimeToTime(t *testing.T) {
	d := quiet(Config{})
	for _, x := range []struct {
		at   time.Duration
		open int
	}{{0, 1}, {23 * time.Second, 2}, {30*time.Second + 400*ms, 3}, {30*time.Second + 500*ms, 3}} {
		d.feed(wants(web(message(event.Sent, int(x.at), x.at)), event.WantBlock, 1))
		if n := len(d.requests.open); n != x.open {
			t.Errorf("at %v: %d requests, want %d", x.at, n, x.open)
		}
	}
}

// TestRetrievalAtItsBounds: a CID waits for Expiry since it was last asked for, and its
// block is known for five seconds.
func TestRetrievalAtItsBounds(t *testing.T) {
	const expiry = int64(time.Minute)
	f := func(what string, got, want uint64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	for _, late := range []int64{0, 1} {
		now := start + expiry + late
		r := newRetrieval(ways, time.Minute)
		r.want(1, start)
		r.want(1, now)
		f("wanted again", r.now.Unanswered, uint64(late))
		f("wanted again", r.now.Wanted, 1+uint64(late))
		r = newRetrieval(ways, time.Minute)
		r.want(1, start)
		s := r.end(now)
		f("at the end", s.Unanswered, uint64(late))
		f("at the end", uint64(s.Waiting), 1-uint64(late))
		r = newRetrieval(ways, time.Minute)
		for c := range uint64(ways) {
			r.want(c+1, start+int64(c))
		}
		r.want(100, now)
		f("its place taken", r.now.Unanswered, uint64(late))
		f("its place taken", r.lost, 1-uint64(late))

		done := start + settled - 1 + late // one early, just in time
		r = newRetrieval(ways, time.Minute)
		r.want(1, start)
		r.block(1, start)
		r.want(1, done)
		f("after its block", r.now.Wanted, 1+uint64(late))
		r = newRetrieval(ways, time.Minute)
		r.want(1, start)
		r.block(1, start)
		r.end(done)
		f("known after its block", uint64(map[bool]int{true: 1}[r.wanted.find(1) != nil]), 1-uint64(late))
		r = newRetrieval(ways, time.Minute)
		for c := range uint64(ways) {
			r.want(c+1, start+int64(c))
		}
		r.block(7, start)
		r.want(100, done)
		f("a CID with its block is replaced first", uint64(map[bool]int{true: 1}[r.wanted.find(1) != nil]), uint64(late))

		x := newTimes(ways, time.Minute)
		x.set(1, start)
		f("a time", uint64(map[bool]int{true: 1}[x.get(1, now) != 0]), 1-uint64(late))
		x.set(1, now)
		f("a time is kept until it is old", uint64(x.get(1, now)-start), uint64(late)*uint64(now-start))
		x = newTimes(ways, time.Minute)
		for key := range uint64(ways) {
			x.set(key+1, start+int64(key))
		}
		x.set(100, now)
		f("an old time is no loss", x.lost, 1-uint64(late))
		if x.find(1) != nil || x.find(2) == nil {
			t.Error("another than the oldest went")
		}
	}
	r := newRetrieval(ways, time.Minute)
	r.lost, r.found.lost, r.peers.lost = 1, 2, 4
	f("lost", r.end(start).Lost, 7)
	f("lost once", r.end(start).Lost, 0)
}

// TestSearchesAreCounted: by what they found.
func TestSearchesAreCounted(t *testing.T) {
	d := quiet(Config{})
	for _, found := range []int{0, 3, -1} {
		d.feed(search(event.SearchBegan, 0, 0, 1, false))
		e := search(event.SearchEnded, ms, 0, 1, false)
		e.Search.Providers, e.Search.Elapsed = found, ms
		d.feed(e)
	}
	if s := d.cut().Retrieval; s.Searches != 3 || s.Providers != 3 || s.NotFound != 1 || s.Search.Count != 3 || s.Search.Sum != 3*ms {
		t.Errorf("%+v", s)
	}
}

// TestFoundPeersLeave: a peer that the routing named is no longer of the routing when its
// last connection closed, or when it made the first itself.
func TestFoundPeersLeave(t *testing.T) {
	for _, c := range []struct {
		conn event.Conn
		kept bool
	}{
		{event.Conn{Closed: true}, false}, {event.Conn{Closed: true, PeerConns: 1}, true}, {event.Conn{Closed: true, Inbound: true, PeerConns: 1}, true},
		{event.Conn{Inbound: true, PeerConns: 1}, false}, {event.Conn{Inbound: true, PeerConns: 2}, true}, {event.Conn{PeerConns: 1}, true},
	} {
		d := quiet(Config{})
		d.feed(search(event.SearchFound, 0, 1, 1, false))
		d.feed(&event.Event{Kind: event.KindConnection, Time: start, Peer: testPeer(1), Conn: &c.conn})
		if kept := d.retrieval.peers.find(d.peerHash(testPeer(1))) != nil; kept != c.kept {
			t.Errorf("%+v: kept %v, want %v", c.conn, kept, c.kept)
		}
	}
}

// TestPeersWithoutAConnectionStayForTwoSummaries after their last event and go with the
// third. An unknown connection that closes makes the untracked no fewer than none.
func TestPeersWithoutAConnectionStayForTwoSummaries(t *testing.T) {
	d := quiet(Config{})
	d.feed(message(event.Received, 1, 0))
	for i, want := range []int{1, 1, 0} {
		if d.cut(); len(d.peers.of) != want {
			t.Errorf("%d peers after summary %d, want %d", len(d.peers.of), i+1, want)
		}
	}
	leave(d, 2, 0)
	if c := d.cut().Coverage; c.Untracked != 0 {
		t.Errorf("%+v", c)
	}
}

// TestNotesAtTheirBounds of storms, calms and losses.
func TestNotesAtTheirBounds(t *testing.T) {
	second := func(rate uint64) *event.Sample {
		s := &event.Sample{Interval: time.Second}
		s.Traffic[event.Received].WantHave = rate
		return s
	}
	f := func(what string, n noter, rate uint64, want string) {
		t.Helper()
		got := ""
		if e := n.wants(start, second(rate)); e != nil {
			got = string(e.Note.Text)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	usual := func(rate float64, known time.Duration, storm int64) noter {
		return noter{usual: rate, known: known, storm: storm, stormy: 1000}
	}
	f("100 a second", usual(0, time.Hour, 0), 100, "")
	f("more than 100", usual(0, time.Hour, 0), 101, "Storm of wants: 101 a second, usual are 0")
	f("five times", usual(40, time.Hour, 0), 200, "")
	f("more than five times", usual(40, time.Hour, 0), 201, "Storm of wants: 201 a second, usual are 40")
	f("before ten minutes", usual(40, usualAfter-1, 0), 1000, "")
	f("after ten minutes", usual(40, usualAfter, 0), 1000, "Storm of wants: 1000 a second, usual are 40")
	since := start - int64(90*time.Second)
	const over = "The storm of wants is over after 1m30s; the most was 1000 a second"
	f("twice", usual(40, time.Hour, since), 80, "")
	f("less than twice", usual(40, time.Hour, since), 79, over)
	f("50 a second", usual(1, time.Hour, since), 50, "")
	f("less than 50", usual(1, time.Hour, since), 49, over)
	f("it has begun already", usual(40, time.Hour, since), 5000, "")
	f("the clock was set back", usual(40, time.Hour, start+int64(time.Hour)), 79, "The storm of wants is over after 0s; the most was 1000 a second")

	// The usual rate is the mean of what was seen, and after an hour moves by a part of it.
	n := noter{}
	for i := range 600 {
		n.wants(start, second(uint64(i%2*100)))
	}
	if n.usual < 49 || n.usual > 51 || n.known != 10*time.Minute {
		t.Errorf("the usual rate is %v after %v", n.usual, n.known)
	}
	n = noter{usual: 36, known: 2 * time.Hour}
	n.wants(start, second(36+3600))
	if n.usual < 36.99 || n.usual > 37.01 {
		t.Errorf("the usual rate is %v, want 37", n.usual)
	}
	n.wants(start, &event.Sample{}) // a sample of no time
	if math.IsNaN(n.usual) || n.usual < 36.99 || n.usual > 37.01 {
		t.Errorf("the usual rate is %v after a sample of no time, want 37", n.usual)
	}

	n = noter{}
	lost := func(at time.Duration, lost uint64, want int64) {
		t.Helper()
		got := int64(0)
		if e := n.losses(start+int64(at), &event.Pipeline{Missed: lost}); e != nil {
			got = e.Note.Value
		}
		if got != want {
			t.Errorf("at %v: a note of %d lost, want %d", at, got, want)
		}
	}
	lost(0, 0, 0)
	lost(time.Second, 3, 3)
	lost(time.Second, 4, 0) // at the same time
	lost(time.Second+lossEvery-1, 5, 0)
	lost(time.Second+lossEvery, 5, 2)
	lost(time.Second+3*lossEvery, 5, 0)
	lost(-time.Hour, 6, 1) // the clock was set back
	lost(-time.Hour+time.Second, 7, 0)

	for by, want := range map[time.Duration]string{-3 * time.Second: "The wall clock went back by 3s", 3 * time.Second: "The wall clock went forward by 3s"} {
		if e := n.clock(start, &event.ClockStep{By: by}); string(e.Note.Text) != want || e.Note.Value != by.Milliseconds() {
			t.Errorf("%v: %+v", by, e.Note)
		}
	}
}

// TestOriginsOfOneConnectionAndOneMessage are one row, and events that were missed alone
// make an event.
func TestOriginsOfOneConnectionAndOneMessage(t *testing.T) {
	o := newOrigins(time.Now())
	o.count(message(event.Received, 1, 0))
	o.count(&event.Event{Kind: event.KindConnection, Conn: &event.Conn{Inbound: true}})
	if out := o.take(time.Now()); out == nil || len(out.Sums) != 1 || out.Sums[0].Messages != 1 || out.Sums[0].Connections != 1 {
		t.Errorf("%+v", out)
	}
	o.missed = 3
	if out := o.take(time.Now()); out == nil || len(out.Sums) != 0 || out.Missed != 3 {
		t.Errorf("%+v", out)
	}
	if out := o.take(time.Now()); out != nil {
		t.Errorf("%+v", out)
	}
}

// TestFloodsAtTheirBounds: one peer sends so much in each of three windows of two
// seconds, others as much as makes the share exact.
func TestFloodsAtTheirBounds(t *testing.T) {
	serial := uint64(1 << 33)
	f := func(what string, want bool, messages, each, again, others int) {
		t.Helper()
		d := quiet(Config{})
		now := time.Unix(0, start)
		d.floods.began = now
		for w := range floodAfter {
			at := time.Duration(w) * floodWindow
			for range messages {
				e := message(event.Received, 1, at)
				for range each {
					serial++
					wants(e, event.WantHave, serial)
				}
				for range again {
					wants(e, event.WantHave, serial)
				}
				d.feed(e)
			}
			for i := range others { // each with two wants
				d.feed(wants(message(event.Received, 100+i, at), event.WantHave, uint64(2*i), uint64(2*i+1)))
			}
			now = now.Add(floodWindow)
			d.flood(now)
		}
		if got := d.Stats().Floods > 0; got != want {
			t.Errorf("%s: a flood %v, want %v", what, got, want)
		}
	}
	f("a fifth of all wants", true, 40, 10, 0, 800)
	f("less than a fifth", false, 40, 10, 0, 801)
	f("a fifth of all messages", true, 200, 0, 0, 800)
	f("less than a fifth of all messages", false, 200, 0, 0, 801)
	f("as many wants as messages", true, 200, 1, 0, 100)
	f("half of the wants repeat others", true, 200, 1, 1, 1500)
	f("less than half", false, 200, 2, 1, 1500)
	f("half of too few", false, 199, 1, 1, 1500)
	// More senders than are counted: the one that sends much stays.
	f("among very many", true, 1000, 2, 0, 3000)
}

// TestAFloodHasWhatItsPeerIs, also where a window has a single message of it, and as of the
// first message of a window.
func TestAFloodHasWhatItsPeerIs(t *testing.T) {
	for _, messages := range []int{1, 3} {
		d := quiet(Config{})
		now := time.Unix(0, start)
		d.floods.began = now
		for w := range floodAfter {
			for m := range messages {
				e := message(event.Received, 1, time.Duration(w)*floodWindow)
				if m == 0 {
					e.Addrs, e.Country, e.Gateway, e.Side = []event.Text{"/ip4/203.0.113.9/tcp/1"}, "NZ", true, event.Upstream
				}
				for c := range uint64(500) {
					wants(e, event.WantHave, uint64(w)<<40+uint64(m)<<20+c)
				}
				d.feed(e)
			}
			now = now.Add(floodWindow)
			d.flood(now)
		}
		if len(d.out) != 1 {
			t.Fatalf("%d messages: %d events", messages, len(d.out))
		}
		e := d.out[0]
		if len(e.Addrs) != 1 || e.Country != "NZ" || !e.Gateway || e.Side != event.Upstream || e.Flood.Block == "" || e.Flood.MessageRate != uint64(messages)/2 {
			t.Errorf("%d messages: %+v, %+v", messages, e, e.Flood)
		}
	}
}

// TestAWindowOfNoTime, or of less because the clock was set, counts as one of two seconds.
func TestAWindowOfNoTime(t *testing.T) {
	for _, step := range []time.Duration{0, -time.Hour} {
		d := quiet(Config{})
		now := time.Unix(0, start)
		for range 2 * floodAfter {
			d.floods.began = now
			d.feed(wants(message(event.Received, 1, 0), event.WantHave, 1))
			now = now.Add(step)
			d.flood(now)
		}
		if n := d.Stats().Floods; n != 0 {
			t.Errorf("%d floods of one message in each window of %v", n, step)
		}
	}
}

// TestTheLoudestAreFollowed: where there are more loud peers than places, those that send
// most have one. Floods are listed by what they sent; one is over after five quiet windows,
// and what it sent in them counts; the last maxEnded are kept, newest first.
func TestTheLoudestAreFollowed(t *testing.T) {
	const peers = maxSuspects + 16
	d := quiet(Config{Floods: FloodConfig{MessagesPerSecond: 1, SharePercent: 1}})
	now := time.Unix(0, start)
	d.floods.began = now
	window := func(one func(p int) int) {
		for p := range peers {
			for range one(p) {
				d.feed(message(event.Received, p, 0))
			}
		}
		now = now.Add(floodWindow)
		d.flood(now)
	}
	for range floodAfter {
		window(func(p int) int { return 200 + p })
	}
	running, _ := d.Floods()
	if s := d.Stats(); len(running) != maxSuspects || s.FloodsLost != 16*floodAfter || s.Floods != maxSuspects {
		t.Fatalf("%d floods, %+v", len(running), s)
	}
	for i, e := range running {
		p := peers - 1 - i
		if e.Peer != testPeer(p) || e.Flood.Messages != uint64(floodAfter*(200+p)) || e.Flood.MessageRate != uint64(200+p)/2 {
			t.Errorf("place %d: %v with %d messages, %d a second", i, e.Peer, e.Flood.Messages, e.Flood.MessageRate)
		}
	}
	for quiet := 1; quiet <= floodOver; quiet++ {
		window(func(p int) int { return 1 }) // too few
		running, ended := d.Floods()
		if over := quiet == floodOver; len(running) != map[bool]int{false: maxSuspects}[over] || len(ended) != map[bool]int{true: maxEnded}[over] {
			t.Errorf("after %d quiet windows %d run and %d ended", quiet, len(running), len(ended))
		}
	}
	_, ended := d.Floods()
	for _, e := range ended {
		var p int
		for p = range peers {
			if testPeer(p) == e.Peer {
				break
			}
		}
		if want := uint64(floodAfter*(200+p) + floodOver); e.Flood.Messages != want || e.Flood.State != event.FloodEnded {
			t.Errorf("%+v, want %d messages", e.Flood, want)
		}
	}
}

// TestFloodsAreListedByMessagesAndWants together.
func TestFloodsAreListedByMessagesAndWants(t *testing.T) {
	d := quiet(Config{})
	for p, sent := range [][2]uint64{{10, 0}, {1, 12}, {12, 5}, {12, 5}} {
		d.floods.suspects[testPeer(p)] = &suspect{sender: sender{peer: testPeer(p)}, allMessages: sent[0], allWants: sent[1], flooding: true}
	}
	d.floods.suspects[testPeer(9)] = &suspect{sender: sender{peer: testPeer(9)}, allMessages: 100}
	running, _ := d.Floods()
	var got []string
	for _, e := range running {
		got = append(got, fmt.Sprint(e.Flood.Messages, "+", e.Flood.Wants, " ", e.Peer == testPeer(3)))
	}
	if s := strings.Join(got, ", "); s != "12+5 false, 12+5 true, 1+12 false, 10+0 false" {
		t.Errorf("%s", s)
	}
}
