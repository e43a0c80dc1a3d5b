package lineproto

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// An hour of the usual rate, a storm, calm, a loss that continues, the end.
func TestNotes(t *testing.T) {
	var lost uint64
	e := NewEncoder("n", true)
	e.SetPipeline(func() pipeline.Pipeline {
		return pipeline.Pipeline{Bus: pipeline.Bus{Readers: []pipeline.Reader{{Missed: lost}}}, Influx: &pipeline.Influx{Delivery: pipeline.Delivery{Dropped: lost, Rejected: lost}}}
	})
	var got []string
	at := int64(influxtest.Time)
	take := func(ev *event.Event) {
		for line := range strings.Lines(influxtest.Encode(e, ev)) {
			if p := influxtest.Decode(t, line)[0]; p.Name == schema.Notes.Name {
				checkSchema(t, p)
				got = append(got, fmt.Sprint(p.Tags["kind"], " ", p.Fields["value"]))
			}
		}
	}
	interval := func(wants, times int) {
		for range times {
			at += int64(10 * time.Second)
			s := &event.Sample{Interval: 10 * time.Second}
			s.Traffic[event.Received] = event.Traffic{WantHave: uint64(wants) * 6, WantBlock: uint64(wants) * 4}
			s.Traffic[event.Sent] = event.Traffic{WantBlock: 1 << 40}
			take(&event.Event{Time: at, Kind: event.KindSample, Sample: s})
		}
	}
	want := func(w ...string) {
		t.Helper()
		if strings.Join(got, "; ") != strings.Join(w, "; ") {
			t.Errorf("notes %q, want %q", got, w)
		}
		got = nil
	}
	interval(1000, 10) // not yet known what is usual
	want("start 0")
	interval(40, 700)
	interval(99, 5) // fewer than 100 a second
	want()
	interval(5000, 3)
	want("storm 5000")
	interval(40, 5)
	want("calm 30")
	lost = 1
	interval(40, 1)
	lost = 5
	interval(40, 20)
	want("loss 3")
	interval(40, 10)
	want("loss 12")
	interval(40, 100)
	want()
	interval(5000, 500) // a storm that stays becomes the usual
	if len(got) != 2 || got[0] != "storm 5000" || !strings.HasPrefix(got[1], "calm ") {
		t.Errorf("a storm that stays: %q", got)
	}
	got = nil
	take(&event.Event{Time: at, Kind: KindEnd})
	want("stop 0")

	without := NewEncoder("n", true) // a sink that is not part of a monitor
	if lines := influxtest.Encode(without, &event.Event{Time: at, Kind: event.KindSample, Sample: &event.Sample{}}, &event.Event{Time: at, Kind: KindEnd}); strings.Contains(lines, "notes,") {
		t.Errorf("notes without a pipeline: %s", lines)
	}
}
