package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

const (
	// readyAfter is how long points may not get through until the monitor is not
	// ready any more. docs/operations.md states it.
	readyAfter = 30 * time.Second
	// readyEvery is how often that is looked at.
	readyEvery = time.Second
	// fullFrom is how full a spool is that drops points because of its bound: the
	// oldest segment goes whole, an eighth at most.
	fullFrom = 0.8
	// maxWhy is the longest reason of one part, in bytes.
	maxWhy = 500
)

// readiness finds out from the monitor's counters whether points get through.
type readiness struct {
	mu    sync.Mutex
	ways  map[string]*way
	fails []string // why the monitor is not ready, as of the last look
	ended []string // the parts that have ended with an error, and why
}

// way is the way of the points to one destination, or of the events to a sink.
type way struct {
	stored, lost uint64    // as of the last look
	open         bool      // the last points that something became of were stored
	good         time.Time // when points got through, or there was nothing to do
	losing       time.Time // when losses began; they are over when none came for readyAfter
	lastLoss     time.Time
	full         bool // it drops points because of a bound
}

// end says that a part of the monitor has ended with an error.
func (r *readiness) end(name string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = append(r.ended, fmt.Sprintf("%s has ended: %s", name, event.Clean(err.Error(), maxWhy)))
}

// healthy says which part has ended and will not work again before a restart.
func (r *readiness) healthy() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return joined(r.ended)
}

// ready says why the monitor does not do its work.
func (r *readiness) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return joined(append(append([]string{}, r.ended...), r.fails...))
}

func joined(all []string) error {
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}

// look reads the counters, as they are now.
func (r *readiness) look(p *pipeline.Pipeline, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var fails []string
	say := func(format string, args ...any) {
		fails = append(fails, string(event.Clean(fmt.Sprintf(format, args...), maxWhy)))
	}
	if s := p.Store; s != nil && !s.Up && s.DownSeconds >= readyAfter.Seconds() {
		say("the embedded InfluxDB has taken no writes for %v: %s", seconds(s.DownSeconds), s.LastError)
	}
	if p.Influx != nil {
		for i := range p.Influx.Destinations {
			d := &p.Influx.Destinations[i]
			w := r.way("to "+d.Name, now)
			w.take(d.Stored, d.Dropped+d.Rejected, d.Queued == 0, now)
			w.full = d.SpoolFull >= fullFrom && (w.full || w.lastLoss.Equal(now) && d.Dropped > 0)
			where := d.Name + " (" + d.URL + ")"
			why := cmp.Or(d.SpoolError, d.LastError, "no answer yet")
			if d.Failing {
				why = cmp.Or(d.LastError, why)
			}
			switch bad, losing := now.Sub(w.good), w.losses(now); {
			case bad >= readyAfter:
				say("no points have got through to %s for %v, %d wait: %s", where, bad.Truncate(time.Second), d.Queued, why)
			case w.full:
				say("the spool of %s is full, the oldest points are dropped: %s", where, why)
			case losing >= readyAfter:
				say("points to %s have been lost for %v: %s", where, losing.Truncate(time.Second), why)
			}
		}
	}
	for _, b := range p.Bus.Readers {
		w := r.way("events for "+b.Name, now)
		w.take(b.Read, b.Missed, b.Behind == 0, now)
		if losing := w.losses(now); losing >= readyAfter {
			say("%s has been too slow and missed events for %v, %d in all", b.Name, losing.Truncate(time.Second), b.Missed)
		}
	}
	r.fails = fails
}

func seconds(s float64) time.Duration { return time.Duration(s) * time.Second }

func (r *readiness) way(name string, now time.Time) *way {
	if r.ways == nil {
		r.ways = make(map[string]*way)
	}
	w := r.ways[name]
	if w == nil {
		w = &way{open: true, good: now}
		r.ways[name] = w
	}
	return w
}

// take compares the counters with those of the last look.
func (w *way) take(stored, lost uint64, nothingWaits bool, now time.Time) {
	through, losses := stored > w.stored, lost > w.lost
	w.stored, w.lost = stored, lost
	w.open = through || w.open && !losses
	if through || nothingWaits && w.open {
		w.good = now
	}
	if !losses {
		return
	}
	if w.lastLoss.IsZero() || now.Sub(w.lastLoss) >= readyAfter {
		w.losing = now
	}
	w.lastLoss = now
}

// losses is how long points have been lost again and again.
func (w *way) losses(now time.Time) time.Duration {
	if w.lastLoss.IsZero() || now.Sub(w.lastLoss) >= readyAfter {
		return 0
	}
	return now.Sub(w.losing)
}

// watchReady looks at the counters until done is closed.
func (m *Monitor) watchReady(done <-chan struct{}) {
	t := time.NewTicker(readyEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p := m.pipeline()
			m.readiness.look(&p, time.Now())
		case <-done:
			return
		}
	}
}

// ready says why the monitor does not do its work; nil: it does.
func (m *Monitor) ready() error {
	select {
	case <-m.done:
		return errors.New("the monitor is closing")
	default:
	}
	if m.watched.Host == nil {
		return errors.New("the node is offline: it was started without a network")
	}
	return m.readiness.ready()
}
