package derive

import (
	"fmt"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
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

// noter makes notes of samples and of steps of the clock. Its methods return nil
// where there is nothing to note. It is for one goroutine.
type noter struct {
	noted   uint64 // lost, and in a note
	notedAt int64  // event time

	usual  float64       // wants per second
	known  time.Duration // how long it has been averaged
	storm  int64         // when it began, 0: there is none
	stormy float64       // its highest rate
}

// losses notes the first loss at once, and later ones every five minutes.
func (n *noter) losses(at int64, p *event.Pipeline) *event.Event {
	lost := p.Lost()
	since := at - n.notedAt // negative if the clock was set back
	if lost <= n.noted || n.noted > 0 && since >= 0 && since < int64(lossEvery) {
		return nil
	}
	more := lost - n.noted
	n.noted, n.notedAt = lost, at
	return event.NewNote(at, event.NoteLoss, int64(more), fmt.Sprintf("%d points or events lost", more))
}

// wants notes the begin and the end of a storm of wants.
func (n *noter) wants(at int64, s *event.Sample) (out *event.Event) {
	if s.Interval <= 0 {
		return nil
	}
	received := &s.Traffic[event.Received]
	rate := (float64(received.WantBlock) + float64(received.WantHave)) / s.Interval.Seconds()
	switch {
	case n.storm == 0 && n.known >= usualAfter && rate > stormRate && rate > stormTimes*n.usual:
		n.storm, n.stormy = max(at, 1), rate
		out = event.NewNote(at, event.NoteStorm, int64(rate), fmt.Sprintf("Storm of wants: %.0f a second, usual are %.0f", rate, n.usual))
	case n.storm != 0 && (rate < calmTimes*n.usual || rate < stormRate/2):
		lasted := time.Duration(max(0, at-n.storm)).Round(time.Second)
		n.storm = 0
		out = event.NewNote(at, event.NoteCalm, int64(lasted.Seconds()), fmt.Sprintf("The storm of wants is over after %v; the most was %.0f a second", lasted, n.stormy))
	}
	n.stormy = max(n.stormy, rate)
	n.known += s.Interval
	// In the beginning all that was seen counts the same.
	part := min(s.Interval.Seconds()/min(n.known, usualWithin).Seconds(), 1)
	n.usual += part * (rate - n.usual)
	return out
}

// clock notes a step of the wall clock.
func (n *noter) clock(at int64, s *event.ClockStep) *event.Event {
	way, by := "forward", s.By
	if by < 0 {
		way, by = "back", -by
	}
	return event.NewNote(at, event.NoteClockStep, s.By.Milliseconds(), fmt.Sprintf("The wall clock went %s by %v", way, by.Round(time.Millisecond)))
}
