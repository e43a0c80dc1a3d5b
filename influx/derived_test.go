//go:build !race

package influx

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/derive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// deriver derives a node's figures from events with past times. It creates the events that
// accompany a sample; the others are the oracle's.
type deriver struct {
	t      *testing.T
	bus    *bus.Bus
	reader *bus.Reader
	ended  chan error
	sample chan struct{} // the events of a sample were made

	mu   sync.Mutex
	pipe pipeline.Pipeline
	made []*event.Event
}

func newDeriver(t *testing.T) *deriver {
	d := &deriver{t: t, bus: bus.New(bus.Config{MaxEvents: 1 << 14, MaxBytes: 1 << 30, WakeEvery: time.Microsecond}), ended: make(chan error, 1), sample: make(chan struct{}, 1)}
	d.reader = d.bus.Subscribe("derive")
	d.bus.Live()
	of := derive.New(derive.Config{Interval: 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		MaxPending: 1, MaxRepeats: 1, MaxCIDsTracked: 1, MaxPeersTracked: 1,
		Pipeline: func() event.Pipeline {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.pipe.Totals()
		}}, d.take)
	go func() { d.ended <- of.Run(context.WithoutCancel(t.Context()), d.reader) }()
	return d
}

func (d *deriver) take(e *event.Event) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch e.Kind {
	case event.KindNote, event.KindOrigins:
		d.made = append(d.made, e)
	case event.KindPipeline: // the last
		d.made = append(d.made, e)
		d.sample <- struct{}{}
	}
	return true
}

// see returns what is derived at once from an event, with the monitor's own
// counters at that time.
func (d *deriver) see(e *event.Event, pipe pipeline.Pipeline) []*event.Event {
	d.mu.Lock()
	d.pipe = pipe
	d.mu.Unlock()
	d.bus.Publish(e)
	if e.Kind != event.KindSample {
		return nil
	}
	select {
	case <-d.sample:
	case <-time.After(time.Minute):
		d.t.Fatal("nothing is derived from a sample")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	made := d.made
	d.made = nil
	return made
}

func (d *deriver) close() {
	d.reader.Close()
	if err := <-d.ended; err != nil {
		d.t.Error(err)
	}
	d.bus.Close()
}
