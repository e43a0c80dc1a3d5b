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
	// readyAfter is how long points may fail to get through before the monitor is no longer
	// ready. docs/operations.md states it.
	readyAfter = 30 * time.Second
	// readyEvery is how often that is checked.
	readyEvery = time.Second
	// fullFrom is the fill level from which a spool drops points because of its limit: it drops
	// the whole oldest segment, at most an eighth.
	fullFrom = 0.8
	// maxWhy bounds the reason of one part, in bytes.
	maxWhy = 500
)

// readiness determines from the monitor's counters whether points get through.
type readiness struct {
	mu    sync.Mutex
	ways  map[string]*way
	fails []string // why the monitor is not ready, as of the last check
	ended []string // the parts that have failed, and why
}

// way is the state of the points to one destination, or of the events to a sink.
type way struct {
	stored, lost uint64    // as of the last check
	open         bool      // the most recently settled points were stored
	good         time.Time // when points last got through, or none were waiting
	losing       time.Time // when losses began; they are over when none occurred for readyAfter
	lastLoss     time.Time
	full         bool // it drops points because of a limit
}

// end records that a part of the monitor has failed.
func (r *readiness) end(name string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = append(r.ended, fmt.Sprintf("%s has failed: %s", name, event.Clean(err.Error(), maxWhy)))
}

// healthy returns which part has failed and will not recover without a restart.
func (r *readiness) healthy() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return joined(r.ended)
}

// ready returns why the monitor is not ready.
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

// look reads the current counters.
func (r *readiness) look(p *pipeline.Pipeline, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var fails []string
	say := func(format string, args ...any) {
		fails = append(fails, string(event.Clean(fmt.Sprintf(format, args...), maxWhy)))
	}
	if s := p.Store; s != nil && !s.Up && s.DownSeconds >= readyAfter.Seconds() {
		say("the embedded InfluxDB has accepted no writes for %v: %s", seconds(s.DownSeconds), s.LastError)
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
	if p.Broker != nil {
		for i := range p.Broker.Exchanges {
			x := &p.Broker.Exchanges[i]
			w := r.way("to the broker: "+x.Name, now)
			w.take(x.Delivered, x.Dropped+x.Rejected, x.Queued == 0, now)
			w.full = x.SpoolFull >= fullFrom && (w.full || w.lastLoss.Equal(now) && x.Dropped > 0)
			why := cmp.Or(x.SpoolError, x.LastError, "no answer yet")
			if x.Failing {
				why = cmp.Or(x.LastError, why)
			}
			switch bad, losing := now.Sub(w.good), w.losses(now); {
			case bad >= readyAfter:
				say("no events have got through to the exchange %s of %s for %v, %d wait: %s", x.Exchange, x.Broker, bad.Truncate(time.Second), x.Queued, why)
			case w.full:
				say("the spool of the broker is full, the oldest events are dropped: %s", why)
			case losing >= readyAfter:
				say("events to the exchange %s of %s have been lost for %v: %s", x.Exchange, x.Broker, losing.Truncate(time.Second), why)
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

// take compares the counters with those of the previous check.
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

// losses returns how long points have been lost repeatedly.
func (w *way) losses(now time.Time) time.Duration {
	if w.lastLoss.IsZero() || now.Sub(w.lastLoss) >= readyAfter {
		return 0
	}
	return now.Sub(w.losing)
}

// watchReady checks the counters until done is closed.
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

// ready returns why the monitor is not ready; nil: it is.
func (m *Monitor) ready() error {
	select {
	case <-m.done:
		return errors.New("the monitor is closing")
	default:
	}
	if f := m.watched.Fleet; f != nil { // a collector has no node
		if err := f.Ready(); err != nil {
			return err
		}
	} else if m.watched.Host == nil {
		return errors.New("the node is offline: it was started without a network")
	}
	return m.readiness.ready()
}
