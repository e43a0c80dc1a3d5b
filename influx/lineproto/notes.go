package lineproto

import (
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// When a rate of wants is a storm. The usual rate is an average that forgets
// within an hour, so that a storm which stays becomes the usual.
const (
	stormTimes  = 5.0 // times the usual rate
	stormRate   = 100 // wants per second; fewer are no storm
	calmTimes   = 2.0 // below so many times the usual rate it is over
	usualAfter  = 10 * time.Minute
	usualWithin = time.Hour
)

// lossEvery is how often a continuing loss is reported.
const lossEvery = 5 * time.Minute

// KindEnd is not on the bus: the sink makes it when the bus has ended.
const KindEnd event.Kind = math.MaxUint8

// The kinds of notes, as places in their tag.
const (
	noteStart = iota
	noteStop
	noteLoss
	noteStorm
	noteCalm
	noteClock
)

// noter makes notes of samples. It is the encoder's.
type noter struct {
	started    bool
	lost, told int64 // since the monitor's start; of these, in a note
	toldAt     int64 // when, nanoseconds

	usual  float64       // wants per second
	known  time.Duration // how long it has been averaged
	storm  int64         // when it began, 0: there is none
	stormy float64       // its highest rate
}

// sample looks at an interval and the monitor's counters at its end. Without
// these (SetPipeline) there are no notes.
func (n *noter) sample(t *totals, s *event.Sample, p *pipeline.Pipeline) {
	if !n.started {
		n.started = true
		n.put(t, noteStart, 0, "The monitor started; kubo "+kuboVersion())
	}
	n.losses(t, p)
	if s.Interval > 0 {
		n.wants(t, s)
	}
}

// losses notes the first loss at once, and later ones every five minutes.
func (n *noter) losses(t *totals, p *pipeline.Pipeline) {
	n.lost = 0
	for _, r := range p.Bus.Readers {
		n.lost += whole(r.Missed)
	}
	if p.Influx != nil {
		n.lost += whole(p.Influx.Dropped) + whole(p.Influx.Rejected)
	}
	if more := n.lost - n.told; more > 0 && (n.told == 0 || t.at-n.toldAt >= int64(lossEvery)) {
		n.put(t, noteLoss, more, fmt.Sprintf("%d points or events lost", more))
		n.told, n.toldAt = n.lost, t.at
	}
}

func (n *noter) wants(t *totals, s *event.Sample) {
	received := &s.Traffic[event.Received]
	rate := (float64(received.WantBlock) + float64(received.WantHave)) / s.Interval.Seconds()
	switch {
	case n.storm == 0 && n.known >= usualAfter && rate > stormRate && rate > stormTimes*n.usual:
		n.storm, n.stormy = max(t.at, 1), rate
		n.put(t, noteStorm, whole(uint64(rate)), fmt.Sprintf("Storm of wants: %.0f a second, usual are %.0f", rate, n.usual))
	case n.storm != 0 && (rate < calmTimes*n.usual || rate < stormRate/2):
		lasted := time.Duration(t.at - n.storm).Round(time.Second)
		n.storm = 0
		n.put(t, noteCalm, int64(lasted.Seconds()), fmt.Sprintf("The storm of wants is over after %v; the most was %.0f a second", lasted, n.stormy))
	}
	n.stormy = max(n.stormy, rate)
	n.known += s.Interval
	// In the beginning all that was seen counts the same.
	part := min(s.Interval.Seconds()/min(n.known, usualWithin).Seconds(), 1)
	n.usual += part * (rate - n.usual)
}

// clock reports a step of the wall clock.
func (n *noter) clock(t *totals, s *event.ClockStep) {
	way, by := "forward", s.By
	if by < 0 {
		way, by = "back", -by
	}
	n.put(t, noteClock, s.By.Milliseconds(), fmt.Sprintf("The wall clock went %s by %v", way, by.Round(time.Millisecond)))
}

// end reports that the monitor stops, if it reported that it started.
func (n *noter) end(t *totals) {
	if n.started {
		n.put(t, noteStop, 0, "The monitor stopped")
	}
}

func (n *noter) put(t *totals, kind int, value int64, text string) {
	of := t.e.tables[schema.Notes]
	p := t.e.begin(of, t.b, kind)
	p.text(event.Clean(text, event.MaxAddrText))
	p.int(value)
	t.b = p.end(of.stamp(t.at))
	t.points++
}

// kuboVersion is what this program was built with.
func kuboVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/ipfs/kubo" {
				return m.Version
			}
		}
	}
	return "of an unknown version"
}
