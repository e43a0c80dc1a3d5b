package derive

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// rhythm makes what comes with each sample: the sums by origin, the monitor's
// own counters, and notes. It needs no order of events, unlike the figures of an
// interval, and is for Run's goroutine alone.
type rhythm struct {
	origins origins
	notes   noter
	out     []*event.Event // made, and not published yet
}

// see uses one event. The caller does not hold mu: Config.Pipeline may call
// Stats. A panic loses what that event makes.
func (d *Deriver) see(e *event.Event) {
	defer d.guard.Recover("derive: make the events of a sample")
	r := &d.rhythm
	switch e.Kind {
	case event.KindMessage, event.KindConnection:
		r.origins.count(e)
	case event.KindClockStep:
		r.add(r.notes.clock(e.Time, e.ClockStep))
	case event.KindSample:
		r.sumOrigins(e.Time, time.Now())
		r.add(r.notes.wants(e.Time, e.Sample))
		if d.cfg.Pipeline == nil {
			return
		}
		p := d.cfg.Pipeline()
		r.add(r.notes.losses(e.Time, &p))
		r.add(&event.Event{Time: e.Time, Kind: event.KindPipeline, Pipeline: &p})
	}
}

// add adds an event, or nil.
func (r *rhythm) add(e *event.Event) {
	if e != nil {
		r.out = append(r.out, e)
	}
}

// sumOrigins ends an interval of the origins.
func (r *rhythm) sumOrigins(at int64, now time.Time) {
	if o := r.origins.take(now); o != nil {
		r.add(&event.Event{Time: at, Kind: event.KindOrigins, Origins: o})
	}
}

// take returns what was made.
func (r *rhythm) take() []*event.Event {
	out := r.out
	r.out = nil
	return out
}
