package monitor

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// What "ready" means: points are delivered and nothing is being lost, or this has not
// been true for less than readyAfter.
func TestReadiness(t *testing.T) {
	f := func(name, want string, seconds int, step func(second int, p *pipeline.Pipeline, d *pipeline.Delivery)) {
		t.Helper()
		var r readiness
		p := pipeline.Pipeline{
			Influx: &pipeline.Influx{Destinations: []pipeline.Destination{{Name: "main", URL: "http://there"}}},
			Bus:    pipeline.Bus{Readers: []pipeline.Reader{{Name: "influx"}}},
		}
		began := time.Now()
		for i := range seconds {
			step(i, &p, &p.Influx.Destinations[0].Delivery)
			r.look(&p, began.Add(time.Duration(i)*readyEvery))
		}
		if want == "" {
			require.NoError(t, r.ready(), name)
		} else {
			require.ErrorContains(t, r.ready(), want, name)
		}
		require.NoError(t, r.healthy(), "%s: a restart of the monitor repairs none of this", name)
	}
	f("nothing happens", "", 3600, func(int, *pipeline.Pipeline, *pipeline.Delivery) {})
	f("points get through every ten seconds", "", 3600, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		if i%10 == 0 {
			d.Stored++
		}
	})
	f("a long backlog drains", "", 600, func(_ int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Queued, d.LagSeconds = 1e6, 1e5
		d.Stored++
	})
	away := func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Queued++
		d.Failing, d.LastError = true, "refused"
	}
	f("a server that is away for a moment", "", 30, away)
	f("a server that is away", "no points have got through to main (http://there) for 30s, 31 wait: refused", 31, away)
	f("a server that came back", "", 100, func(i int, p *pipeline.Pipeline, d *pipeline.Delivery) {
		if i < 90 {
			away(i, p, d)
			return
		}
		d.Queued, d.Failing = 0, false
		d.Stored += 10
	})
	f("a server that takes requests and does not answer", "no points have got through", 40, func(_ int, _ *pipeline.Pipeline, d *pipeline.Delivery) { d.Queued = 1 })
	f("a server that refuses everything", "no points have got through to main (http://there) for 39s, 0 wait: bad line", 40, func(_ int, _ *pipeline.Pipeline, d *pipeline.Delivery) { d.Rejected++; d.LastError = "bad line" })
	f("a line now and then that is refused", "", 3600, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		if i%60 == 0 {
			d.Rejected++
		}
	})
	f("a file that cannot be written: all is dropped", "no points have got through to main", 60, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		if i%10 == 0 {
			d.Dropped += 5
		}
	})
	f("a UDP port without a listener: every second datagram fails", "points to main (http://there) have been lost for", 60, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		if i%20 < 10 {
			d.Stored++
		} else {
			d.Dropped++
		}
	})
	f("a pipe that nobody reads", "no points have got through", 40, func(_ int, _ *pipeline.Pipeline, d *pipeline.Delivery) { d.Queued = 7 })
	f("losses that are over", "", 100, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		if i < 60 {
			d.Dropped++
		}
	})
	f("a spool at its bound, segment by segment, with a slow server", "the spool of main (http://there) is full", 3600, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		d.Queued, d.SpoolFull = 1e6, 0.99
		if i%600 == 500 {
			d.Dropped += 1000
		}
	})
	f("a spool that was full", "", 4000, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		d.Queued, d.SpoolFull = 1e6, 0.99
		if i == 1000 {
			d.Dropped += 1000
		} else if i > 2000 {
			d.SpoolFull = 0.5
		}
	})
	f("a spool without a disk, and a server that takes everything", "", 600, func(_ int, _ *pipeline.Pipeline, d *pipeline.Delivery) { d.Stored++; d.SpoolError = "read-only" })
	f("a spool without a disk that drops", "lost for 39s: read-only", 40, func(_ int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		d.Dropped++
		d.SpoolError = "read-only"
	})
	f("events are missed on the bus", "influx has been too slow and missed events for 39s, 40 in all", 40, func(_ int, p *pipeline.Pipeline, _ *pipeline.Delivery) {
		p.Bus.Readers[0].Read++
		p.Bus.Readers[0].Missed++
	})
	f("a burst that was too much for the bus", "", 60, func(i int, p *pipeline.Pipeline, _ *pipeline.Delivery) { p.Bus.Readers[0].Missed = 1e6 })
	f("a store that is restarted", "", 40, func(i int, p *pipeline.Pipeline, _ *pipeline.Delivery) {
		p.Store = &pipeline.Store{DownSeconds: float64(i % 20)}
	})
	f("a store that is away", "the embedded InfluxDB has accepted no writes for 39s: no room", 40, func(i int, p *pipeline.Pipeline, _ *pipeline.Delivery) {
		p.Store = &pipeline.Store{DownSeconds: float64(i), LastError: "no room"}
	})
	f("a store that is away for as long as it may be", "", 30, func(i int, p *pipeline.Pipeline, _ *pipeline.Delivery) {
		p.Store = &pipeline.Store{DownSeconds: float64(i)}
	})
	f("a store that is away for a moment longer", "has accepted no writes for 30s", 31, func(i int, p *pipeline.Pipeline, _ *pipeline.Delivery) {
		p.Store = &pipeline.Store{DownSeconds: float64(i)}
	})
	lossEvery := func(seconds int) func(int, *pipeline.Pipeline, *pipeline.Delivery) {
		return func(i int, p *pipeline.Pipeline, d *pipeline.Delivery) {
			d.Stored++
			p.Bus.Readers[0].Read++
			if i%seconds == 0 {
				d.Dropped++
				p.Bus.Readers[0].Missed++
			}
		}
	}
	f("losses for as long as they may last", "", 30, lossEvery(29))
	f("losses for a second longer", "points to main (http://there) have been lost for 30s", 31, lossEvery(29))
	f("losses for a second longer", "influx has been too slow and missed events for 30s", 31, lossEvery(29))
	f("losses that are over each time before the next", "", 600, lossEvery(30))
	f("losses that ended as long ago as it takes", "", 71, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		if i <= 40 {
			d.Dropped++
		}
	})
	f("as many points dropped as refused", "points to main (http://there) have been lost for 30s", 31, func(_ int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		d.Dropped++
		d.Rejected++
	})
	full := func(part float64) func(int, *pipeline.Pipeline, *pipeline.Delivery) {
		return func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
			d.Stored++
			d.Queued, d.SpoolFull = 1, part
			if i == 3 {
				d.Dropped++
			}
		}
	}
	f("a spool that drops and is almost full", "", 5, full(0.79))
	f("a spool that drops and is full", "the spool of main (http://there) is full", 5, full(fullFrom))
	f("a spool that is full and drops nothing", "", 5, func(i int, _ *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		d.Queued, d.SpoolFull = 1, 1
		if i == 3 {
			d.Rejected++
		}
	})
	f("the second of two is away", "no points have got through to cloud", 60, func(_ int, p *pipeline.Pipeline, d *pipeline.Delivery) {
		d.Stored++
		p.Influx.Destinations = append(p.Influx.Destinations[:1], pipeline.Destination{Name: "cloud", Delivery: pipeline.Delivery{Queued: 1}})
	})
}

// A part that ended with an error stays ended until the monitor is restarted.
func TestEndedPart(t *testing.T) {
	var r readiness
	r.end("stream", errors.New("listener gone"))
	require.ErrorContains(t, r.healthy(), "stream has failed: listener gone")
	require.ErrorContains(t, r.ready(), "stream has failed: listener gone")
	r.look(&pipeline.Pipeline{}, time.Now())
	require.Error(t, r.ready())
}
