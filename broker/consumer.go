package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Defaults of ConsumerConfig.
const (
	DefaultPrefetch     = 32
	DefaultStandbyAfter = 5 * time.Second
)

// rememberedBatches is how many batches a consumer recognises when they are repeated.
const rememberedBatches = 1 << 14

// ConsumerConfig says what to read. Only Address is required.
type ConsumerConfig struct {
	Server
	// Formats to read: V3 of old monitors, V4. Default: V4.
	Formats []string
	// Monitors are the names of those to read. Default: all.
	Monitors []string
	// V3Monitors are those to read of V3, if they are others.
	V3Monitors []string
	// Queue is how the names of durable queues begin, one for each bucket, which keep
	// what comes while nobody reads: <Queue>.0 to <Queue>.15, and <Queue>.v3. Default: a queue
	// of this connection, which is gone with it.
	Queue string
	// Buckets are those to read of Queue; the others are read only when the reader
	// of them is gone. Default: all.
	Buckets []int
	// StandbyAfter is how long this consumer waits until it stands by for the others'
	// buckets, so that they can begin with theirs. Default: 5 s.
	StandbyAfter time.Duration
	// Prefetch is the most messages of one queue that wait here for take. Default: 32.
	// With Holder it is of all queues, beyond those that are held.
	Prefetch int
	// Holder, if set, acknowledges the messages, in place of Run.
	Holder Holder
	// Retry, if set, is called with the reason and the wait before another connection. Its error
	// ends Run, which returns it. Default: a log line.
	Retry func(why error, wait time.Duration) error
	// Name is shown by the broker's own tools. Default: ipfsmon consumer.
	Name string
	// Logger is slog.Default() if nil.
	Logger *slog.Logger
}

// Delivery is the events of one message.
type Delivery struct {
	Format string
	// Batch is zero for V3, except for Monitor.
	Batch
	// Events have Monitor set. A gap among them (Event.Gap) comes before the events that
	// follow it.
	Events []stream.Event
	// Redelivered reports that the broker has delivered the message before, to this consumer
	// or another one, and got no answer.
	Redelivered bool

	tag uint64
}

// ConsumerStats counts what a consumer has read.
type ConsumerStats struct {
	Connected bool
	Messages  uint64 // taken
	Events    uint64 // in them
	Repeated  uint64 // messages that were taken before, and not again
	Poison    uint64 // messages that could not be read, and were rejected
	Missed    uint64 // events in gaps
	Sessions  uint64 // connections
	LastError string // kept after it is over
}

// Consumer reads events from a broker.
type Consumer struct {
	cfg  ConsumerConfig
	log  *slog.Logger
	line throttle.Line
	bad  throttle.Line

	// Used by Run's goroutine alone.
	bodies stream.BodyReader
	taken  *lru.LRU[string, struct{}] // ids of batches
	gaps   gaps

	mu sync.Mutex
	st ConsumerStats
}

// NewConsumer checks the configuration. It does not connect.
func NewConsumer(cfg ConsumerConfig) (*Consumer, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := CheckAddress(cfg.Address); err != nil {
		bad("address: %w", err)
	}
	if len(cfg.Formats) == 0 {
		cfg.Formats = []string{V4}
	}
	for _, f := range cfg.Formats {
		if !slices.Contains(Formats, f) {
			bad("format %q: want v3 or v4", f)
		}
	}
	for _, m := range slices.Concat(cfg.Monitors, cfg.V3Monitors) {
		if err := CheckName(m); err != nil || strings.ContainsAny(m, "*#") {
			bad("monitor: %w", cmp.Or(err, fmt.Errorf("%q: want a name without * and #", m)))
		}
	}
	for _, b := range cfg.Buckets {
		if b < 0 || b >= Buckets {
			bad("bucket %d: want 0 to %d", b, Buckets-1)
		}
	}
	if cfg.Queue == "" && len(cfg.Buckets) > 0 {
		bad("buckets without a queue: want the name of a queue that is shared")
	}
	if len(cfg.Queue) > 200 || strings.HasPrefix(cfg.Queue, "amq.") {
		bad("queue %q: want at most 200 bytes, and not amq. at its beginning, which the broker has for itself", cfg.Queue)
	}
	if cfg.Prefetch < 0 || cfg.Prefetch > 1<<15 {
		bad("prefetch %d: want 1 to %d", cfg.Prefetch, 1<<15)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("broker: %w", errors.Join(errs...))
	}
	cfg.Prefetch = cmp.Or(cfg.Prefetch, DefaultPrefetch)
	cfg.StandbyAfter = cmp.Or(cfg.StandbyAfter, DefaultStandbyAfter)
	cfg.Name = cmp.Or(cfg.Name, "ipfsmon consumer")
	c := &Consumer{cfg: cfg, log: cfg.Logger}
	if c.log == nil {
		c.log = slog.Default()
	}
	c.taken, _ = lru.NewLRU[string, struct{}](rememberedBatches, nil) // fails only for a size below 1
	c.gaps.init()
	return c, nil
}

// Consume is NewConsumer and Run.
func Consume(ctx context.Context, cfg ConsumerConfig, take func(*Delivery) error) error {
	c, err := NewConsumer(cfg)
	if err != nil {
		return err
	}
	return c.Run(ctx, take)
}

// errTake wraps the error of take.
type errTake struct{ error }

// Run connects, and connects again whenever that ends, and calls take with each message, one at
// a time. When take returns nil, the message is acknowledged, unless there is a Holder; it will not come again. An error of
// take ends Run, which returns it; the broker delivers the message to the next reader. take must
// not keep the Delivery; its Events may be kept. A message that cannot be read is rejected, counted and logged: the
// broker drops it, or has it in the queue's dead letter exchange. Run returns ctx's error when that
// ends. It may be called once.
func (c *Consumer) Run(ctx context.Context, take func(*Delivery) error) error {
	defer c.bodies.Close()
	wait := backoff.New(retryMin, retryMax)
	for {
		took, err := c.session(ctx, take)
		if ended, ok := err.(errTake); ok {
			return ended.error
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if took {
			wait.Reset()
		}
		c.count(func(st *ConsumerStats) { st.LastError = shown(err.Error()) })
		next := wait.Next()
		if c.cfg.Retry == nil {
			c.line.Warn(c.log, "broker: cannot read, will try again", "broker", c.cfg.Shown(), "err", err)
		} else if err := c.cfg.Retry(err, next); err != nil {
			return err
		}
		if err := backoff.Sleep(ctx, next); err != nil {
			return err
		}
	}
}

// Stats returns the counters. It may be called from any goroutine.
func (c *Consumer) Stats() ConsumerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st
}

func (c *Consumer) count(f func(*ConsumerStats)) {
	c.mu.Lock()
	f(&c.st)
	c.mu.Unlock()
}

// source is a queue and what is bound to it.
type source struct {
	queue, exchange string
	keys            []string
	own             bool // read at once, not only when its reader is gone
}

// sources are the queues to read; without a name they are this connection's.
func (c *Consumer) sources() (out []source) {
	monitors := c.cfg.Monitors
	if len(monitors) == 0 {
		monitors = []string{"*"}
	}
	keys := func(monitors []string, before string, after ...string) (out []string) {
		for _, m := range monitors {
			for _, a := range after {
				out = append(out, before+"."+m+"."+a)
			}
		}
		return out
	}
	name := func(end string) string {
		if c.cfg.Queue == "" {
			return ""
		}
		return c.cfg.Queue + "." + end
	}
	own := func(bucket int) bool { return len(c.cfg.Buckets) == 0 || slices.Contains(c.cfg.Buckets, bucket) }
	if slices.Contains(c.cfg.Formats, V3) {
		of := monitors
		if len(c.cfg.V3Monitors) > 0 {
			of = c.cfg.V3Monitors
		}
		out = append(out, source{name(V3), ExchangeV3, keys(of, "monitor", v3Messages, v3Connections), own(0)})
	}
	if !slices.Contains(c.cfg.Formats, V4) {
		return out
	}
	if c.cfg.Queue == "" {
		return append(out, source{"", ExchangeV4, keys(monitors, "v4", "*"), true})
	}
	for b := range Buckets {
		out = append(out, source{name(strconv.Itoa(b)), ExchangeV4, keys(monitors, "v4", strconv.Itoa(b)), own(b)})
	}
	return out
}

// session reads on one connection until that fails or ctx ends. The error is never nil.
func (c *Consumer) session(ctx context.Context, take func(*Delivery) error) (took bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var forwarders sync.WaitGroup
	defer forwarders.Wait()
	defer cancel()
	conn, err := c.cfg.dial(ctx, c.cfg.Name)
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(closeWait)) }()
	ch, err := conn.Channel()
	if err != nil {
		return false, fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.Qos(c.cfg.Prefetch, 0, c.cfg.Holder != nil); err != nil {
		return false, fmt.Errorf("set the prefetch: %w", err)
	}
	all := c.sources()
	for i := range all {
		if err := c.declare(ch, &all[i]); err != nil {
			return false, err
		}
	}
	if len(c.cfg.Buckets) > 0 {
		c.gaps.init() // others may have read meanwhile
	}
	var tick <-chan time.Time
	var held *Session
	if c.cfg.Holder != nil {
		if held, err = c.hold(ch); err != nil {
			return false, err
		}
		defer c.cfg.Holder.End()
		every := time.NewTicker(holdEvery)
		defer every.Stop()
		tick = every.C
	}
	arrived := make(chan amqp.Delivery)
	lost := make(chan error, 2*len(all))
	consume := func(s source) error {
		from, err := ch.Consume(s.queue, "", false, s.queue == "" || strings.HasPrefix(s.queue, "amq."), false, false, nil)
		if err != nil {
			return fmt.Errorf("read the queue %s: %w", s.queue, err)
		}
		forwarders.Go(func() {
			for d := range from {
				select {
				case arrived <- d:
				case <-ctx.Done(): // the broker delivers it again
				}
			}
			lost <- fmt.Errorf("the queue %s is gone, or the connection", s.queue)
		})
		return nil
	}
	standby := time.NewTimer(c.cfg.StandbyAfter)
	defer standby.Stop()
	for _, s := range all {
		if s.own {
			if err := consume(s); err != nil {
				return false, err
			}
		}
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	c.count(func(st *ConsumerStats) { st.Connected = true; st.Sessions++ })
	defer c.count(func(st *ConsumerStats) { st.Connected = false })
	for {
		select {
		case d := <-arrived:
			if err := c.take(&d, take); err != nil {
				return took, err
			}
			took = true
			if held != nil {
				if err := held.widen(); err != nil {
					return took, err
				}
			}
		case now := <-tick:
			if err := c.cfg.Holder.Tick(now); err != nil {
				return took, err
			}
		case <-standby.C:
			for _, s := range all {
				if !s.own {
					if err := consume(s); err != nil {
						return took, err
					}
				}
			}
		case e := <-closed:
			if e != nil {
				return took, e
			}
			return took, amqp.ErrClosed
		case err := <-lost:
			select {
			case e := <-closed:
				if e != nil {
					err = e
				}
			default:
			}
			return took, err
		case <-ctx.Done():
			return took, ctx.Err()
		}
	}
}

// declare declares the queue and what it needs. Every reader declares all queues, also those
// that others read, so that nothing is lost until they do.
func (c *Consumer) declare(ch *amqp.Channel, s *source) error {
	if err := ch.ExchangeDeclare(s.exchange, "topic", s.exchange == ExchangeV4, false, false, false, nil); err != nil {
		return fmt.Errorf("declare the exchange %s: %w", s.exchange, err)
	}
	named := s.queue != ""
	var args amqp.Table
	if named {
		args = amqp.Table{"x-single-active-consumer": true} // of several readers one gets the messages, until it is gone
	}
	q, err := ch.QueueDeclare(s.queue, named, false, !named, false, args)
	if err != nil {
		return fmt.Errorf("declare the queue %s: %w", s.queue, err)
	}
	s.queue = q.Name
	for _, key := range s.keys {
		if err := ch.QueueBind(q.Name, key, s.exchange, false, nil); err != nil {
			return fmt.Errorf("bind the queue %s to %s of %s: %w", q.Name, key, s.exchange, err)
		}
	}
	return nil
}

// take passes on one message. Its error ends the session.
func (c *Consumer) take(d *amqp.Delivery, take func(*Delivery) error) error {
	out, err := c.read(d)
	if err != nil {
		c.count(func(st *ConsumerStats) { st.Poison++ })
		c.bad.Warn(c.log, "broker: a message cannot be read, it is rejected", "exchange", d.Exchange, "key", string(event.Clean(d.RoutingKey, 255)), "bytes", len(d.Body), "err", err)
		return d.Reject(false)
	}
	id := ""
	if out.Format == V4 {
		id = out.id()
		if c.taken.Contains(id) {
			c.count(func(st *ConsumerStats) { st.Repeated++ })
			return d.Ack(false)
		}
	}
	events := len(out.Events)
	missed := uint64(0)
	if out.Format == V4 {
		found := c.gaps.look(&out.Batch, out.Redelivered && c.cfg.Holder != nil)
		for _, g := range found {
			missed += g.Missed()
		}
		out.Events = append(gapEvents(found, &out.Batch, out.Events), out.Events...)
	}
	if err := take(out); err != nil {
		_ = d.Nack(false, true) // if that fails, the connection has ended, and the broker does the same
		return errTake{err}
	}
	if id != "" {
		c.taken.Add(id, struct{}{})
	}
	c.count(func(st *ConsumerStats) { st.Messages++; st.Events += uint64(events); st.Missed += missed })
	if c.cfg.Holder != nil {
		return nil
	}
	if err := d.Ack(false); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

// read decodes a message.
func (c *Consumer) read(d *amqp.Delivery) (*Delivery, error) {
	out := &Delivery{Redelivered: d.Redelivered, tag: d.DeliveryTag}
	var err error
	if d.Exchange == ExchangeV3 {
		words := strings.Split(d.RoutingKey, ".")
		if len(words) != 3 || words[0] != "monitor" || words[2] != v3Messages && words[2] != v3Connections {
			return nil, errors.New("its routing key is not monitor.NAME." + v3Messages + " or ." + v3Connections)
		}
		if err := event.CheckName(words[1]); err != nil {
			return nil, fmt.Errorf("the monitor's name in its routing key: %w", err)
		}
		out.Format, out.Monitor = V3, words[1]
		out.Events, err = c.bodies.ReadV3(d.Body)
	} else {
		out.Format = V4
		if out.Batch, err = batchOf(d.Headers); err == nil {
			out.Events, err = c.bodies.ReadV4(d.Body)
		}
	}
	if err != nil {
		return nil, err
	}
	for i := range out.Events {
		out.Events[i].Monitor = out.Monitor
	}
	return out, nil
}
