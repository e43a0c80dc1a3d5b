package collect

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
	"github.com/ipfsmon/ipfsmon/stream"
)

// retryWrong is the wait before a monitor whose address was no good is tried
// again: its name may resolve later.
const retryWrong = 10 * time.Second

// future is how far ahead of this machine's time an event may be, beyond the
// error of the clock's offset.
const future = 2 * time.Second

// maxBatch is how many events are handled together.
const maxBatch = 256

// source is one monitor, read by one goroutine.
type source struct {
	sourceSettings
	c     *Collector
	index int
	label string // for logs and figures until the name is known; its name or address
	clock clock
	peers *peers
	rate  *rate.Limiter

	readPeers chan struct{} // cap 1: read them now

	converter *unify.Converter // of the goroutine that reads
	recording recording

	// Of a stream's goroutine:
	ctx   context.Context
	seq   sequence
	read  int // events since drained
	tally tally
	state Clock
	batch []unify.Event

	mu    sync.Mutex
	st    Monitor
	heard time.Time // of a broker's: its last message

	badLine, gapLine, lateLine, awayLine, peersLine throttle.Line
}

// Monitor is the state of one monitor. Counters are since the collector's start.
type Monitor struct {
	Name    string    `json:"name"`  // configured, or as it calls itself, or its address while that is not known
	Calls   string    `json:"calls"` // what it calls itself
	Address string    `json:"address"`
	Page    string    `json:"page"` // URL of its live page, as configured; "": none
	Up      bool      `json:"up"`
	Run     string    `json:"run"`     // of the monitor; "": not known
	Version int       `json:"version"` // of the protocol
	Since   time.Time `json:"since"`   // of the connection
	Err     string    `json:"error"`   // why it is not up

	Connects  uint64 `json:"connects"`
	Events    uint64 `json:"events"`
	Wants     uint64 `json:"wants"` // of received messages, without cancels
	Cancels   uint64 `json:"cancels"`
	Gaps      uint64 `json:"gaps"`      // places where events are missing
	Unbounded uint64 `json:"unbounded"` // of these, those of which nothing bounds how many
	Missed    uint64 `json:"missed"`    // events that are missing at most, at the others
	Bad       uint64 `json:"bad"`       // lines that are no events
	Untimely  uint64 `json:"untimely"`  // events whose time is too early or in the future: not joined
	Refused   uint64 `json:"refused"`   // connections ended because another monitor has its name, or is the same one

	Last     time.Time `json:"last"`        // when its last event came
	Lag      Seconds   `json:"lag_seconds"` // of its newest event: from its time, by this machine's clock, until it came
	Clock    Clock     `json:"clock"`
	Peers    int       `json:"peers"`       // connected
	Complete bool      `json:"complete"`    // Peers are from its own list
	Overflow uint64    `json:"overflow"`    // connected peers that found no room
	PeersErr string    `json:"peers_error"` // why its own list could not be read

	Recorded   uint64 `json:"recorded"`
	Unrecorded uint64 `json:"unrecorded"` // events that could not be recorded
}

// Seconds is a duration that JSON has in seconds.
type Seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

// run reads the monitor until ctx ends.
func (s *source) run(ctx context.Context) {
	options := s.sourceSettings.stream
	options.Clock = s.clock.add
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	options.Met = s.met
	options.Drained = func() error { return s.drained(ctx) }
	lost := func(why error, wait time.Duration) { s.away(why, wait) }
	for ctx.Err() == nil {
		err := options.Follow(ctx, s.Stream, s.event, lost)
		if err == nil {
			break
		}
		s.away(err, retryWrong)
		if backoff.Sleep(ctx, retryWrong) != nil {
			break
		}
	}
	s.away(nil, 0)
	s.recording.close()
}

// met takes a new connection; an error ends it.
func (s *source) met(c *stream.Client) error {
	calls := c.Monitor()
	name := s.Name
	if name == "" {
		name = calls
	}
	if name == "" { // version 3 does not send it
		name = s.Stream
	}
	if err := event.CheckName(name); err != nil {
		err = fmt.Errorf("the monitor at %s calls itself %w; want a name of its own in the configuration", s.Stream, err)
		s.refuse(err)
		return err
	}
	if err := s.c.claim(s, name, c.Run()); err != nil {
		s.refuse(err)
		return err
	}
	if s.label != name {
		s.recording.close() // the next event opens the folder of the new name
		s.label = name
	}
	s.seq.connected(c.Run())
	s.read, s.batch = 0, s.batch[:0] // of a connection that ended by a panic
	s.mu.Lock()
	s.st.Name, s.st.Calls, s.st.Up, s.st.Err = name, calls, true, ""
	s.st.Run, s.st.Version, s.st.Since = c.Run(), c.Version(), time.Now()
	s.st.Connects++
	s.mu.Unlock()
	s.c.log.Info("fleet: reading a monitor", "monitor", name, "address", s.Stream, "version", c.Version())
	select {
	case s.readPeers <- struct{}{}:
	default: // one is waiting
	}
	return nil
}

func (s *source) refuse(err error) {
	s.mu.Lock()
	s.st.Refused++
	if s.Name == "" {
		s.st.Name = s.Stream
	}
	s.st.Err = err.Error()
	s.mu.Unlock()
	s.c.log.Warn("fleet: a monitor is refused", "address", s.Stream, "err", err)
}

// away notes that the monitor is not read any more.
func (s *source) away(why error, wait time.Duration) {
	s.c.release(s)
	s.peers.forget()
	s.mu.Lock()
	was := s.st.Up
	s.st.Up = false
	if why != nil {
		s.st.Err = string(event.Clean(why.Error(), event.MaxNoteText))
	}
	s.mu.Unlock()
	if why == nil {
		return
	}
	if s.amqp && !was {
		return
	}
	if held, ok := s.awayLine.Allow(); ok {
		s.c.log.Warn("fleet: a monitor is not read", "monitor", s.label, "err", why, "retry_in", wait.Round(time.Millisecond), "held_back", held)
	}
	if was {
		s.c.note(event.NoteLoss, 0, fmt.Sprintf("Monitor %s is not read any more: %v", s.label, why))
	}
}

// event takes an event of the stream.
func (s *source) event(e *stream.Event) error {
	if e.Gap != nil {
		s.hole(s.seq.reported(e.Gap), e)
		return nil
	}
	if h, is := s.seq.event(e.Seq); is {
		s.hole(h, &stream.Event{Timestamp: time.Now().UTC(), Gap: &stream.Gap{Bus: h.Missed}})
	}
	if s.read == 0 {
		s.tally = tally{at: time.Now()}
		s.state = s.clock.state(s.tally.at)
	}
	s.read++
	if u, ok := s.one(e, s.state, &s.tally, false); ok {
		s.batch = append(s.batch, u)
	}
	if s.read >= min(maxBatch, s.c.cfg.MaxRate) {
		return s.drained(s.ctx)
	}
	return nil
}

// drained counts and joins the events that were read since it was called.
func (s *source) drained(ctx context.Context) error {
	n, now := s.read, s.tally.at
	if n == 0 {
		return nil
	}
	s.read = 0
	s.count(&s.tally)
	s.c.joined.push(s.batch, now)
	s.batch = s.batch[:0]
	// What is more than its rate waits in the monitor, which drops and reports it.
	return s.rate.WaitN(ctx, n)
}

// tally is what events add to the counters of a monitor.
type tally struct {
	at                                    time.Time // when they came
	events, wants, cancels, bad, untimely uint64
	lag                                   time.Duration
}

// count adds a tally.
func (s *source) count(t *tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.Events += t.events
	s.st.Wants += t.wants
	s.st.Cancels += t.cancels
	s.st.Bad += t.bad
	s.st.Untimely += t.untimely
	if t.events > 0 {
		s.st.Last, s.st.Lag = t.at, Seconds(t.lag)
	}
}

// one counts and publishes an event, and returns what of it is joined with those of
// other monitors. state is of the monitor's clock. One that comes again is joined
// only.
func (s *source) one(e *stream.Event, state Clock, t *tally, again bool) (u unify.Event, ok bool) {
	// Its own time is published; figures use that of this machine's clock.
	at := e.Timestamp.UnixNano() - int64(state.Offset)
	lag := time.Duration(t.at.UnixNano() - at)
	// Through a broker it may come late: what is too late is found when it is joined.
	timely := (s.amqp || lag <= s.c.cfg.lateness) && lag >= -future-time.Duration(state.Error)
	if !again {
		out, err := e.ToEventWith(s.converter.Peer)
		if err != nil {
			t.bad++
			if held, ok := s.badLine.Allow(); ok {
				s.c.log.Warn("fleet: a monitor sends what is no event", "monitor", s.label, "err", err, "held_back", held)
			}
			return u, false
		}
		out.Monitor = event.Text(s.label)
		s.peers.event(out)
		t.events++
		if out.Kind == event.KindMessage && out.Dir == event.Received {
			wants := uint64(0)
			for i := range out.Wants {
				if out.Wants[i].Cancel {
					t.cancels++
				} else {
					wants++
				}
			}
			t.wants += wants
			s.c.countries.add(out.Country, wants)
		}
		t.lag = lag
		if !timely {
			t.untimely++
		}
		s.recording.add(s.label, e)
		s.c.publish(out)
	}
	if !timely {
		if held, ok := s.lateLine.Allow(); ok {
			s.c.log.Warn("fleet: an event is too late or in the future, and not joined with those of other monitors", "monitor", s.label, "lag", lag, "held_back", held)
		}
		return u, false
	}
	u, ok, err := s.converter.Event(e)
	if err != nil || !ok {
		return u, false // what is no event was counted before
	}
	u.Time = at
	return u, true
}

// hole counts, logs, records and publishes a hole; e is the gap in a recording.
func (s *source) hole(h Hole, e *stream.Event) {
	s.recording.add(s.label, e)
	s.mu.Lock()
	s.st.Gaps++
	if h.Unknown {
		s.st.Unbounded++
	}
	s.st.Missed += h.Missed
	s.mu.Unlock()
	text := fmt.Sprintf("Monitor %s: %d events missed at most: %s", s.label, h.Missed, h.Why)
	if h.Unknown {
		text = fmt.Sprintf("Monitor %s: an unknown number of events missed: %s", s.label, h.Why)
	}
	if held, ok := s.gapLine.Allow(); ok {
		s.c.log.Warn("fleet: events of a monitor are missing", "monitor", s.label, "missed", h.Missed, "unknown", h.Unknown, "why", h.Why, "held_back", held)
	}
	s.c.note(event.NoteLoss, int64(h.Missed), text)
}

// status returns the monitor's state.
func (s *source) status(now time.Time) Monitor {
	s.mu.Lock()
	out := s.st
	s.mu.Unlock()
	out.Clock = s.clock.state(now)
	out.Peers, out.Complete = s.peers.len(s.c.has())
	s.peers.mu.Lock()
	out.Overflow = s.peers.overflow
	s.peers.mu.Unlock()
	out.Recorded, out.Unrecorded = s.recording.counts()
	return out
}

// followPeers reads the monitor's list of connected peers while it is up, until
// ctx ends.
func (s *source) followPeers(ctx context.Context) {
	if s.http == nil {
		return
	}
	tick := time.NewTicker(s.c.cfg.peersEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.readPeers:
		}
		s.mu.Lock()
		up := s.st.Up
		s.mu.Unlock()
		if !up {
			continue
		}
		err := s.fetch(ctx)
		s.mu.Lock()
		if s.st.PeersErr = ""; err != nil {
			s.st.PeersErr = string(event.Clean(err.Error(), event.MaxNoteText))
		}
		s.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			if held, ok := s.peersLine.Allow(); ok {
				s.c.log.Warn("fleet: the connected peers of a monitor cannot be read", "address", s.HTTP, "err", err, "held_back", held)
			}
		}
	}
}
