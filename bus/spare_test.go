package bus

import (
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestAnEventThatAReaderIsAtIsNotUsedAgain: the full queue drops an event while the
// reader that received it last still looks at it.
func TestAnEventThatAReaderIsAtIsNotUsedAgain(t *testing.T) {
	b := New(Config{MaxEvents: 2})
	defer b.Close()
	r := b.Subscribe("slow")
	b.Live()
	var spare [1]*event.Event
	b.Spare(spare[:])
	at := spare[0]
	b.PublishSpare(at)
	if n, _, err := r.Next(t.Context(), make([]*event.Event, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for range 4 {
		b.Spare(spare[:])
		if spare[0] == at {
			t.Fatal("Spare returned the event that the reader still holds")
		}
		b.PublishSpare(spare[0])
	}
	// When the reader is done with it, the event may be used again.
	for range 3 {
		if _, _, err := r.Next(t.Context(), make([]*event.Event, 2)); err != nil {
			t.Fatal(err)
		}
		b.PublishSpare(new(event.Event))
	}
	b.Spare(spare[:])
	if b.Stats().Published != 8 {
		t.Errorf("%d published, want 8", b.Stats().Published)
	}
}

// TestAnEventThatNoReaderTookIsUsedAgain: the queue drops the next event of its only
// reader, which never received it.
func TestAnEventThatNoReaderTookIsUsedAgain(t *testing.T) {
	b := New(Config{MaxEvents: 1})
	defer b.Close()
	b.Subscribe("slow")
	b.Live()
	var spare [1]*event.Event
	b.Spare(spare[:])
	first := spare[0]
	b.PublishSpare(first)
	b.Publish(new(event.Event))
	if b.Spare(spare[:]); spare[0] != first {
		t.Error("the event that was dropped unread was not used again")
	}
}

// TestASpareOfNothing: Spare with an empty slice stores and returns nothing.
func TestASpareOfNothing(t *testing.T) {
	b := New(Config{})
	b.Spare(nil)
	b.Close()
}

// TestTheRingIsNoLargerThanItMustBe: its length is a power of two and holds MaxEvents.
func TestTheRingIsNoLargerThanItMustBe(t *testing.T) {
	for most, want := range map[int]int{1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 64: 64} {
		b := New(Config{MaxEvents: most})
		b.Publish(new(event.Event))
		if len(b.ring) != want {
			t.Errorf("MaxEvents %d: a ring of %d, want %d", most, len(b.ring), want)
		}
		b.Close()
	}
}

// TestMissedIsTheGap: Stats and Next report the same number.
func TestMissedIsTheGap(t *testing.T) {
	b := New(Config{MaxEvents: 3})
	defer b.Close()
	r := b.Subscribe("slow")
	b.Live()
	buf := make([]*event.Event, 1)
	b.Publish(new(event.Event))
	if n, _, err := r.Next(t.Context(), buf); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for range 10 {
		b.Publish(new(event.Event))
	}
	if s := b.Stats().Readers[0]; s.Missed != 7 || s.Behind != 3 {
		t.Errorf("%+v, want 7 missed and 3 behind", s)
	}
	if n, missed, err := r.Next(t.Context(), buf); n != 1 || missed != 7 || err != nil || buf[0].Seq != 9 {
		t.Errorf("%d events, %d missed, %v, Seq %d; want 1, 7, nil, 9", n, missed, err, buf[0].Seq)
	}
	if s := b.Stats().Readers[0]; s.Missed != 7 || s.Behind != 2 {
		t.Errorf("%+v, want 7 missed and 2 behind", s)
	}
}

// TestClosingOneReaderLeavesTheOthers.
func TestClosingOneReaderLeavesTheOthers(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	one, two, three := b.Subscribe("one"), b.Subscribe("two"), b.Subscribe("three")
	b.Live()
	two.Close()
	b.Publish(new(event.Event))
	for _, r := range []*Reader{one, three} {
		if n, _, err := r.Next(t.Context(), make([]*event.Event, 1)); n != 1 || err != nil {
			t.Errorf("%s: %d, %v", r.name, n, err)
		}
	}
	if s := b.Stats().Readers; len(s) != 2 || s[0].Name != "one" || s[1].Name != "three" {
		t.Errorf("readers %+v, want one and three", s)
	}
}

// TestReadersAreWoken: at once after a pause; else when an eighth of the queue is new, by events
// or by bytes. Nobody takes the signal here, so it can be looked at.
func TestReadersAreWoken(t *testing.T) {
	w := new(event.Event).Weight()
	for name, c := range map[string]struct {
		cfg   Config
		every int
	}{
		"events": {Config{MaxEvents: 64}, 8},
		"bytes":  {Config{MaxBytes: 32 * w}, 4},
	} {
		b := New(c.cfg)
		for i := range 3*c.every + 1 {
			b.Publish(new(event.Event))
			woken := false
			select {
			case <-b.wake:
				woken = true
			default:
			}
			if want := i%c.every == 0; woken != want {
				t.Errorf("%s: event %d wakes: %t, want %t", name, i+1, woken, want)
			}
		}
		b.Close()
	}
	for set, want := range map[time.Duration]time.Duration{0: DefaultWakeEvery, -1: DefaultWakeEvery, 1: 1} {
		if got := New(Config{WakeEvery: set}).cfg.WakeEvery; got != want {
			t.Errorf("WakeEvery %v is %v, want %v", set, got, want)
		}
	}
}
