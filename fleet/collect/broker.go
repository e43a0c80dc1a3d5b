package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
	"github.com/ipfsmon/ipfsmon/stream"
)

const (
	// silentAfter is how long a monitor of a broker sends nothing until it counts as
	// away. It sends origins with each sample.
	silentAfter = time.Minute
	// publishedBatches is how many batches are recognised when they come again.
	publishedBatches = 1 << 16
	// brokerPrefetch is the most messages that wait in this process.
	brokerPrefetch = 256
	// stillNeeded is how much older than what is joined an event may be that another
	// one may be a duplicate of.
	stillNeeded = unify.DefaultDuplicate + time.Second
)

// brokerReader reads the monitors of a broker, all in one goroutine. A message is
// acknowledged when everything that its events count for, and all that they could be
// matched with, is in the state that the broker keeps of its bucket: whoever reads
// the bucket next, after a crash, gets the state and every message that the rest
// depends on.
type brokerReader struct {
	c        *Collector
	consumer *broker.Consumer
	sources  map[string]*source // by name

	// Of the running connection:
	session *broker.Session
	buckets [broker.Buckets]held

	published *lru.LRU[string, struct{}] // batches that were counted and published before
	strange   throttle.Line
	full      throttle.Line
}

// held is what waits of a bucket until its state is stored.
type held struct {
	messages []heldMessage
	saving   *saving
	runs     map[string]string // of each monitor
}

type heldMessage struct {
	tag    uint64
	newest int64 // of its events that are joined
}

// saving is a state on its way to the broker.
type saving struct {
	broker.Saved
	counted  sums
	released int64
}

// state is what the broker keeps of a bucket: the sums of the entries before a time.
// Monitors are by name: another collector may have another configuration.
type state struct {
	Released int64                        `json:"released"` // ns
	Requests uint64                       `json:"requests"`
	Entries  uint64                       `json:"entries"`
	Matched  uint64                       `json:"matched"`
	Closed   uint64                       `json:"closed"`
	Seen     map[string]uint64            `json:"seen"`
	Both     map[string]map[string]uint64 `json:"both"`
}

func newBrokerReader(c *Collector) (*brokerReader, error) {
	r := &brokerReader{c: c, sources: map[string]*source{}}
	r.published, _ = lru.NewLRU[string, struct{}](publishedBatches, nil) // fails only for a size below 1
	cfg := broker.ConsumerConfig{
		Server: c.cfg.server, Queue: c.cfg.reads.Queue, Buckets: c.cfg.buckets, Prefetch: brokerPrefetch, Holder: r, Retry: r.retry,
		Name: strings.TrimSpace("ipfsmon fleet collect " + c.cfg.reads.Part), Logger: c.log,
	}
	for _, s := range c.sources {
		switch {
		case !s.amqp:
			continue
		case s.Format == broker.V3:
			cfg.V3Monitors = append(cfg.V3Monitors, s.Name)
		default:
			cfg.Monitors = append(cfg.Monitors, s.Name)
		}
		r.sources[s.Name] = s
	}
	if len(cfg.Monitors) > 0 {
		cfg.Formats = append(cfg.Formats, broker.V4)
	}
	if len(cfg.V3Monitors) > 0 {
		cfg.Formats = append(cfg.Formats, broker.V3)
	}
	var err error
	r.consumer, err = broker.NewConsumer(cfg)
	return r, err
}

// run reads until ctx ends.
func (r *brokerReader) run(ctx context.Context) {
	if err := r.consumer.Run(ctx, r.take); err != nil && ctx.Err() == nil {
		r.away(err)
		r.c.log.Error("fleet: the broker is not read any more", "broker", r.c.cfg.server.Shown(), "err", err)
	}
	for _, s := range r.sources {
		s.recording.close()
	}
}

func (r *brokerReader) retry(why error, wait time.Duration) error {
	r.away(why)
	r.full.Warn(r.c.log, "fleet: the broker is not read", "broker", r.c.cfg.server.Shown(), "err", why, "retry_in", wait.Round(time.Millisecond))
	return nil
}

// away notes that no monitor of the broker is read.
func (r *brokerReader) away(why error) {
	for _, s := range r.sources {
		s.away(why, 0)
	}
}

// Begin implements broker.Holder.
func (r *brokerReader) Begin(s *broker.Session) {
	r.session, r.buckets = s, [broker.Buckets]held{}
	r.c.log.Info("fleet: reading from a broker", "broker", r.c.cfg.server.Shown(), "queue", r.c.cfg.reads.Queue)
}

// End implements broker.Holder.
func (r *brokerReader) End() {
	r.session = nil
	j := r.c.joined
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.parts {
		p.close()
	}
}

// take takes a message.
func (r *brokerReader) take(d *broker.Delivery) error {
	s := r.sources[d.Monitor]
	if s == nil {
		r.strange.Warn(r.c.log, "fleet: a message of a monitor that is not in the configuration is left out", "monitor", string(event.Clean(d.Monitor, event.MaxNameText)))
		return r.session.Ack(d.Tag(), false)
	}
	now := time.Now()
	s.present(d.Format, d.Run, now)
	if d.Format == broker.V3 {
		// Nobody keeps these: there is no more than to count them.
		for b := range broker.Buckets {
			if err := r.open(b, false); err != nil {
				return err
			}
		}
		batch, _ := s.batchOf(d.Events, now, 0, false)
		r.c.joined.push(batch, now)
		return r.session.Ack(d.Tag(), false)
	}
	if err := r.open(d.Bucket, d.Redelivered); err != nil {
		return err
	}
	id := fmt.Sprintf("%s-%d-%d", d.Run, d.Bucket, d.Number)
	again := r.published.Contains(id)
	r.published.Add(id, struct{}{})

	j := r.c.joined
	j.mu.Lock()
	p := j.parts[d.Bucket]
	until, known := p.until, p.until > 0
	j.mu.Unlock()
	before := int64(0) // events before this time were published, by this collector or another one
	if known && d.Redelivered {
		before = until
	}
	batch, newest := s.batchOf(d.Events, now, before, again)
	b := &r.buckets[d.Bucket]
	if was := b.runs[d.Monitor]; was != "" && was != d.Run && len(batch) > 0 {
		batch = append(batch, unify.Event{Kind: unify.Restarted, Monitor: s.index, Time: batch[0].Time})
	}
	b.runs[d.Monitor] = d.Run

	j.mu.Lock()
	p.push(batch, now, !d.Redelivered)
	p.advance(now)
	j.mu.Unlock()

	if len(batch) == 0 {
		return r.session.Ack(d.Tag(), false)
	}
	b.messages = append(b.messages, heldMessage{d.Tag(), newest})
	if r.session.Hold(d) {
		return nil
	}
	r.full.Warn(r.c.log, "fleet: too many messages wait to be acknowledged; the oldest would be missing after a crash now", "lateness", r.c.cfg.lateness)
	longest := b
	for i := range r.buckets {
		if len(r.buckets[i].messages) > len(longest.messages) {
			longest = &r.buckets[i]
		}
	}
	first := longest.messages[0]
	longest.messages = longest.messages[1:]
	return r.session.Ack(first.tag, true)
}

// open begins to join a bucket, when its first message of a connection comes: from
// then on this collector alone has it.
func (r *brokerReader) open(bucket int, again bool) error {
	j := r.c.joined
	j.mu.Lock()
	have := j.parts[bucket].unifier != nil
	j.mu.Unlock()
	if have {
		return nil
	}
	raw, err := r.session.Load(bucket, again)
	if err != nil {
		return err
	}
	r.buckets[bucket] = held{runs: map[string]string{}}
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.parts[bucket]
	if err := p.open(); err != nil {
		return err
	}
	if raw == nil {
		return nil
	}
	var st state
	if err := json.Unmarshal(raw, &st); err != nil {
		return fmt.Errorf("fleet: the state of bucket %d: %w", bucket, err)
	}
	p.until, p.again = st.Released, true
	p.before = r.sums(&st)
	return nil
}

// sums are those of a state, of the monitors that are configured.
func (r *brokerReader) sums(st *state) sums {
	out := r.c.joined.noSums()
	out.requests, out.entries, out.matched, out.coverage.Requests = st.Requests, st.Entries, st.Matched, st.Closed
	for i, a := range r.c.sources {
		out.coverage.Seen[i] = st.Seen[a.stateName()]
		for k, b := range r.c.sources {
			out.coverage.Both[i][k] = st.Both[a.stateName()][b.stateName()]
		}
	}
	return out
}

// Tick implements broker.Holder: it stores what was counted, and acknowledges what
// nothing depends on any more.
func (r *brokerReader) Tick(now time.Time) error {
	for _, s := range r.sources {
		s.silent(now)
	}
	for b := range r.buckets {
		if err := r.tick(b, now); err != nil {
			return err
		}
	}
	return nil
}

func (r *brokerReader) tick(bucket int, now time.Time) error {
	h, j := &r.buckets[bucket], r.c.joined
	p := j.parts[bucket]
	if h.saving != nil {
		done, err := h.saving.Done()
		if err != nil || !done {
			return err
		}
		j.mu.Lock()
		p.stored = h.saving.counted
		j.mu.Unlock()
		over := h.saving.released - int64(stillNeeded)
		kept := h.messages[:0]
		for _, m := range h.messages {
			if m.newest >= over {
				kept = append(kept, m)
			} else if err := r.session.Ack(m.tag, true); err != nil {
				return err
			}
		}
		h.messages, h.saving = kept, nil
	}
	j.mu.Lock()
	if p.unifier == nil {
		j.mu.Unlock()
		return nil
	}
	p.advance(now)
	if p.again { // nothing is counted yet
		j.mu.Unlock()
		return nil
	}
	next := saving{counted: p.counted(), released: p.unifier.Stats().Released}
	all := j.noSums()
	all.add(p.before)
	all.add(next.counted)
	j.mu.Unlock()
	if next.released <= 0 || len(h.messages) == 0 && all.requests == p.before.requests+p.stored.requests && all.entries == p.before.entries+p.stored.entries && all.coverage.Requests == p.before.coverage.Requests+p.stored.coverage.Requests {
		return nil
	}
	st := state{Released: next.released, Requests: all.requests, Entries: all.entries, Matched: all.matched, Closed: all.coverage.Requests,
		Seen: map[string]uint64{}, Both: map[string]map[string]uint64{}}
	for i, a := range r.c.sources {
		st.Seen[a.stateName()] = all.coverage.Seen[i]
		st.Both[a.stateName()] = map[string]uint64{}
		for k, b := range r.c.sources {
			st.Both[a.stateName()][b.stateName()] = all.coverage.Both[i][k]
		}
	}
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if next.Saved, err = r.session.Save(bucket, raw); err != nil {
		return err
	}
	h.saving = &next
	return nil
}

// stateName names the monitor in states.
func (s *source) stateName() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Stream
}

// present notes that a monitor sends to the broker.
func (s *source) present(format, run string, now time.Time) {
	s.mu.Lock()
	was := s.st.Up
	s.st.Up, s.st.Err, s.st.Run, s.heard = true, "", run, now
	if !was {
		s.st.Since = now
		s.st.Connects++
		s.st.Version = 4
		if format == broker.V3 {
			s.st.Version = 3
		}
	}
	s.mu.Unlock()
	if !was {
		s.c.log.Info("fleet: a monitor sends to the broker", "monitor", s.label)
		select {
		case s.readPeers <- struct{}{}:
		default: // one is waiting
		}
	}
}

var errSilent = errors.New("it sends nothing to the broker")

// silent notes that a monitor sends nothing any more.
func (s *source) silent(now time.Time) {
	s.mu.Lock()
	away := s.st.Up && now.Sub(s.heard) > silentAfter
	s.mu.Unlock()
	if away {
		s.away(errSilent, 0)
	}
}

// batchOf returns what is joined of the events of a message, and the newest time
// among it. Those before a time, or all of them if they come again, are not counted and
// published.
func (s *source) batchOf(events []stream.Event, now time.Time, before int64, again bool) (batch []unify.Event, newest int64) {
	t := tally{at: now}
	for i := range events {
		e := &events[i]
		if e.Gap != nil {
			s.hole(Hole{Missed: e.Gap.Missed(), Why: "batches are missing in the broker"}, e)
			continue
		}
		silent := again || e.Timestamp.UnixNano() < before
		if u, ok := s.one(e, Clock{}, &t, silent); ok {
			batch = append(batch, u)
			newest = max(newest, u.Time)
		}
	}
	s.count(&t)
	return batch, newest
}
