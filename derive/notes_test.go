package derive

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// An hour of the usual rate, a storm, calm, a loss that continues.
func TestNotes(t *testing.T) {
	var lost uint64
	d := quiet(Config{Pipeline: func() event.Pipeline { return event.Pipeline{Missed: lost, Dropped: lost, Rejected: lost} }})
	at := start
	interval := func(wants, times int) {
		for range times {
			at += int64(10 * time.Second)
			s := &event.Sample{Interval: 10 * time.Second}
			s.Traffic[event.Received] = event.Traffic{WantHave: uint64(wants) * 6, WantBlock: uint64(wants) * 4}
			s.Traffic[event.Sent] = event.Traffic{WantBlock: 1 << 40}
			d.see(&event.Event{Time: at, Kind: event.KindSample, Sample: s})
		}
	}
	noted := func() (got []string) {
		for _, e := range d.rhythm.take() {
			switch {
			case e.Kind == event.KindNote:
				got = append(got, fmt.Sprint(e.Note.Kind, " ", e.Note.Value))
				if e.Note.Text == "" || e.Peer != "" || e.Time > at {
					t.Errorf("%+v", e)
				}
			case e.Kind != event.KindPipeline || e.Pipeline.Dropped != lost && e.Time == at:
				t.Errorf("%+v", e)
			}
		}
		return got
	}
	want := func(w ...string) {
		t.Helper()
		if got := noted(); strings.Join(got, "; ") != strings.Join(w, "; ") {
			t.Errorf("notes %q, want %q", got, w)
		}
	}
	interval(1000, 10) // the usual rate is not known yet
	interval(40, 700)
	interval(99, 5) // fewer than 100 a second
	want()
	interval(5000, 3)
	want("storm 5000")
	interval(40, 5)
	want("calm 30")
	lost = 1
	interval(40, 1)
	want("loss 3")
	lost = 5
	interval(40, 20)
	want()
	interval(40, 10)
	want("loss 12")
	interval(40, 100)
	want()
	interval(5000, 500) // a storm that lasts becomes the usual rate
	if got := noted(); len(got) != 2 || got[0] != "storm 5000" || !strings.HasPrefix(got[1], "calm ") {
		t.Errorf("a storm that stays: %q", got)
	}
	d.see(&event.Event{Time: at, Kind: event.KindClockStep, ClockStep: &event.ClockStep{By: -3 * time.Second}})
	want("clock_step -3000")

	without := quiet(Config{})
	without.see(&event.Event{Time: at, Kind: event.KindSample, Sample: &event.Sample{}})
	if out := without.rhythm.take(); out != nil {
		t.Errorf("without the monitor's counters: %+v", out)
	}
}

// Notes that come with a sample are published after it, with its time; a panic of the
// function that reads the counters loses the notes made of them.
func TestPipelineComesWithEachSample(t *testing.T) {
	reads := 0
	r := run(Config{Pipeline: func() event.Pipeline {
		if reads++; reads == 2 {
			panic("no counters")
		}
		return event.Pipeline{Published: uint64(reads), Missed: 1}
	}}, bus.Config{})
	for i := range 3 {
		r.bus.Publish(&event.Event{Kind: event.KindSample, Time: start + int64(i), Sample: &event.Sample{}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.reader.Drained(ctx); err != nil {
		t.Fatal(err)
	}
	r.end(t)
	out := r.published(event.KindPipeline)
	if len(out) != 2 || out[0].Pipeline.Published != 1 || out[1].Pipeline.Published != 3 || out[1].Time != start+2 {
		t.Errorf("published %+v", out)
	}
	if notes := r.published(event.KindNote); len(notes) != 1 || notes[0].Note.Kind != event.NoteLoss {
		t.Errorf("notes %+v", notes)
	}
	if s := r.Stats(); s.Panics != 1 {
		t.Errorf("stats %+v, want one panic", s)
	}
}
