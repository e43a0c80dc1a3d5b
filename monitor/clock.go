package monitor

import (
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// A step of the wall clock is reported if it exceeds clockTolerance. The clock is checked every
// clockEvery: a clock that is slewed, by at most 500 ppm, stays within the tolerance in that
// time.
const (
	clockTolerance = 2 * time.Second
	clockEvery     = time.Second
)

// clockWatch detects steps of the wall clock by comparison with the monotonic clock.
type clockWatch struct {
	wall   func() int64         // nanoseconds since 1970 UTC
	steady func() time.Duration // since anything

	lastWall   int64
	lastSteady time.Duration

	back, forward atomic.Uint64
}

// newClockWatch returns a watch of the machine's clock.
func newClockWatch() *clockWatch {
	began := time.Now()
	w := &clockWatch{
		wall:   func() int64 { return time.Now().UnixNano() },
		steady: func() time.Duration { return time.Since(began) },
	}
	w.lastWall, w.lastSteady = w.wall(), w.steady()
	return w
}

// look returns the event of a step since the previous call, or nil.
func (w *clockWatch) look() *event.Event {
	wall, steady := w.wall(), w.steady()
	by := time.Duration(wall-w.lastWall) - (steady - w.lastSteady)
	w.lastWall, w.lastSteady = wall, steady
	switch {
	case by > clockTolerance:
		w.forward.Add(1)
	case by < -clockTolerance:
		w.back.Add(1)
	default:
		return nil
	}
	return &event.Event{Time: wall, Kind: event.KindClockStep, ClockStep: &event.ClockStep{By: by}}
}

func (w *clockWatch) status() pipeline.ClockSteps {
	return pipeline.ClockSteps{Back: w.back.Load(), Forward: w.forward.Load()}
}

// watchClock publishes steps of the clock until done is closed.
func (m *Monitor) watchClock(b *bus.Bus, done <-chan struct{}) {
	t := time.NewTicker(clockEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if e := m.clock.look(); e != nil {
				m.log.Warn("the wall clock was set, or the machine slept", "by", e.ClockStep.By.String())
				b.Publish(e)
			}
		case <-done:
			return
		}
	}
}
