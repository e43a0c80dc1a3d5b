//go:build faults || all

package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// brokerSink is a sink at work, which sends to a broker.
type brokerSink struct {
	*broker.Sink
	t    *testing.T
	bus  *bus.Bus
	end  chan error
	sent int
}

func runBroker(t *testing.T, cfg broker.Config, name string) *brokerSink {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := broker.New(cfg, name)
	require.NoError(t, err)
	r := &brokerSink{Sink: s, t: t, bus: bus.New(bus.Config{MaxEvents: 1 << 16, MaxBytes: 256 << 20}), end: make(chan error, 1)}
	reader := r.bus.Subscribe("broker")
	r.bus.Live()
	done := make(chan struct{})
	go func() { // ended by the cleanup
		defer close(done)
		r.end <- s.Run(context.Background(), reader)
	}()
	t.Cleanup(func() { r.bus.Close(); <-done })
	return r
}

// publish publishes n more events, each of another peer.
func (r *brokerSink) publish(n int) {
	r.t.Helper()
	for range n {
		r.sent++
		require.True(r.t, r.bus.Publish(&event.Event{Time: time.Now().UnixNano(), Kind: event.KindMessage, Peer: harness.PeerOf(r.sent),
			Dir: event.Direction(r.sent % 2), Wants: []event.Want{{CID: harness.CidOf(r.t, r.sent), Priority: 1}}}))
	}
}

func (r *brokerSink) stats(format string) broker.Stats {
	all, panics := r.Stats()
	require.Zero(r.t, panics)
	for _, s := range all {
		if s.Name == format {
			return s
		}
	}
	require.Fail(r.t, "not sent: "+format)
	return broker.Stats{}
}

// until waits until the counters of v4 have reached a state.
func (r *brokerSink) until(what string, ok func(broker.Stats) bool) {
	r.t.Helper()
	var last broker.Stats
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%+v", last)
		}
	}()
	harness.WaitFor(r.t, what, func() bool { last = r.stats(broker.V4); return ok(last) })
}

// fails waits until an error with this text is why nothing is delivered.
func (r *brokerSink) fails(text string) {
	r.t.Helper()
	r.until("the error "+text, func(s broker.Stats) bool { return s.Failing && strings.Contains(s.LastError, text) })
}

// delivered waits until everything published is, and nothing was lost.
func (r *brokerSink) delivered() {
	r.t.Helper()
	n := uint64(r.sent)
	r.until("all is delivered", func(s broker.Stats) bool { return s.Delivered == s.Accepted && s.Accepted >= n })
	s := r.stats(broker.V4)
	require.Zero(r.t, s.Dropped+s.Rejected+s.Queued, "%+v", s)
}

// finish ends the sink as a monitor does.
func (r *brokerSink) finish() {
	r.t.Helper()
	r.bus.Close()
	require.NoError(r.t, <-r.end)
}

// brokerReader is a consumer at work.
type brokerReader struct {
	*broker.Consumer
	t    *testing.T
	stop func()

	mu      sync.Mutex
	seen    map[string]int // events by run and Seq, how often
	buckets map[int]int    // events
	gaps    uint64
	monitor map[string]int
}

func readBroker(t *testing.T, cfg broker.ConsumerConfig) *brokerReader {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := broker.NewConsumer(cfg)
	require.NoError(t, err)
	r := &brokerReader{Consumer: c, t: t, seen: map[string]int{}, buckets: map[int]int{}, monitor: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- c.Run(ctx, r.take) }() // ended by stop
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(t, <-end, context.Canceled)
	})
	t.Cleanup(r.stop)
	return r
}

func (r *brokerReader) take(d *broker.Delivery) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range d.Events {
		if e.Gap != nil {
			r.gaps += e.Gap.Missed()
			continue
		}
		id := d.Run + "/" + strconv.FormatUint(e.Seq, 10)
		if d.Format == broker.V3 {
			id = e.Peer
		}
		r.seen[id]++
		r.buckets[d.Bucket]++
		r.monitor[d.Monitor]++
	}
	return nil
}

func (r *brokerReader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// has waits until n different events have come, and checks that each came once.
func (r *brokerReader) has(n int) {
	r.t.Helper()
	harness.WaitFor(r.t, fmt.Sprintf("%d events read", n), func() bool { return r.count() >= n })
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Len(r.t, r.seen, n)
	for id, times := range r.seen {
		require.Equal(r.t, 1, times, "event %s", id)
	}
	require.Zero(r.t, r.gaps)
}

// ready waits until the consumer has declared its queues.
func (r *brokerReader) ready() *brokerReader {
	r.t.Helper()
	harness.WaitFor(r.t, "a consumer that is connected", func() bool { return r.Consumer.Stats().Connected })
	return r
}

func v4(address, dir string) broker.Config {
	return broker.Config{Address: address, Formats: []string{broker.V4}, SpoolDir: dir}
}

func fleet(address string) broker.ConsumerConfig {
	return broker.ConsumerConfig{Server: broker.Server{Address: address}, Queue: "fleet"}
}

// R35: the broker is killed under load and started again, several times.
func TestFaultR35BrokerKilled(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	reader := readBroker(t, fleet(rabbit.Address)).ready()
	sink := runBroker(t, v4(rabbit.Address, t.TempDir()), "de1")
	kills := 2
	if os.Getenv("FAULTS") != "" {
		kills = 20
	}
	ctx, cancel := context.WithCancel(t.Context())
	busy := make(chan struct{})
	go func() { // ended by cancel
		defer close(busy)
		for ctx.Err() == nil {
			sink.publish(50)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	for i := range kills {
		before := reader.count()
		harness.WaitFor(t, "events arrive", func() bool { return reader.count() > before+500 })
		if i%2 == 0 {
			rabbit.Kill()
		} else {
			rabbit.Stop()
		}
		rabbit.Start()
	}
	cancel()
	<-busy
	sink.delivered()
	reader.has(sink.sent)
}

// R36: there is no broker, for longer than the monitor lives.
func TestFaultR36BrokerAway(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	readBroker(t, fleet(rabbit.Address)).ready().stop() // the queues are there
	rabbit.Stop()
	dir := t.TempDir()
	first := runBroker(t, v4(rabbit.Address, dir), "de1")
	first.publish(2000)
	first.fails("connection refused")
	first.finish()
	require.EqualValues(t, 2000, first.stats(broker.V4).Queued)
	second := runBroker(t, v4(rabbit.Address, dir), "de1")
	second.publish(1000)
	second.until("the rest of the first run", func(s broker.Stats) bool { return s.Restored == 2000 && s.Accepted == 3000 })
	rabbit.Start()
	second.delivered()
	readBroker(t, fleet(rabbit.Address)).has(3000)
}

// R36: more waits than the spool may hold: the oldest are dropped, and counted.
func TestFaultR36BrokerAwayTooLong(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	readBroker(t, fleet(rabbit.Address)).ready().stop()
	rabbit.Stop()
	cfg := v4(rabbit.Address, t.TempDir())
	cfg.SpoolMaxBytes = 1 << 20
	sink := runBroker(t, cfg, "de1")
	for sink.stats(broker.V4).Dropped == 0 {
		sink.publish(2000)
		time.Sleep(100 * time.Millisecond)
	}
	rabbit.Start()
	n := uint64(sink.sent)
	sink.until("all is settled", func(s broker.Stats) bool { return s.Accepted == n && s.Delivered+s.Dropped == n })
	s := sink.stats(broker.V4)
	require.NotZero(t, s.Dropped)
	require.NotZero(t, s.Delivered)
	readBroker(t, fleet(rabbit.Address)).has(int(s.Delivered))
}

// R37: the broker's disk is full: it blocks those who publish.
func TestFaultR37DiskAlarm(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	reader := readBroker(t, fleet(rabbit.Address)).ready()
	sink := runBroker(t, v4(rabbit.Address, t.TempDir()), "de1")
	sink.publish(500)
	sink.delivered()
	rabbit.Ctl("set_disk_free_limit", "100000GB")
	sink.publish(500)
	sink.until("the broker blocks", func(s broker.Stats) bool { return s.Blocked && s.Failing && strings.Contains(s.LastError, "disk") })
	sink.publish(5000)
	sink.until("events wait", func(s broker.Stats) bool { return s.Queued >= 5000 })
	rabbit.Ctl("set_disk_free_limit", "1MB")
	sink.delivered()
	reader.has(6000)
	// A monitor that ends meanwhile keeps what waits.
	rabbit.Ctl("set_disk_free_limit", "100000GB")
	sink.publish(100)
	sink.until("the broker blocks again", func(s broker.Stats) bool { return s.Blocked })
	sink.finish()
}

// R38: the user, the virtual host or a permission is missing, and comes.
func TestFaultR38NoPermission(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	sink := runBroker(t, v4(rabbit.As("mon", "lab"), t.TempDir()), "de1")
	sink.publish(1000)
	sink.fails("username or password not allowed")
	rabbit.Ctl("add_user", "mon", "mon")
	sink.fails("vhost lab not found")
	rabbit.Ctl("add_vhost", "lab")
	sink.fails("access to vhost 'lab' refused for user 'mon'")
	rabbit.Ctl("set_permissions", "-p", "lab", "guest", ".*", ".*", ".*")
	reader := readBroker(t, fleet(strings.TrimSuffix(rabbit.Address, "%2f")+"lab")).ready()
	rabbit.Ctl("set_permissions", "-p", "lab", "mon", "^ipfsmon.*", "^$", "^$")
	sink.fails("access to exchange 'ipfsmon.events' in vhost 'lab' refused for user 'mon'")
	require.Zero(t, reader.count())
	rabbit.Ctl("set_permissions", "-p", "lab", "mon", "^ipfsmon.*", "^ipfsmon.*", "^$")
	sink.delivered()
	reader.has(1000)
}

// R39: a certificate of an authority that is not known, then is.
func TestFaultR39BrokerTLS(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	other, err := os.ReadFile(harness.OtherCA(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ca, other, 0o600))
	cfg := v4(rabbit.TLS, t.TempDir())
	cfg.CAFile = ca
	sink := runBroker(t, cfg, "de1")
	sink.publish(100)
	sink.fails("certificate signed by unknown authority")
	right, err := os.ReadFile(rabbit.CAFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ca, right, 0o600))
	in := fleet(rabbit.TLS)
	in.CAFile = ca
	reader := readBroker(t, in)
	sink.delivered()
	reader.has(100)
}

// onChannel does something at the broker that none of ours does.
func onChannel(t *testing.T, address string, do func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(address)
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, do(ch))
}

// R40: the queues are deleted: what comes later waits on disk for new ones.
func TestFaultR40QueueDeleted(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	sink := runBroker(t, v4(rabbit.Address, t.TempDir()), "de1")
	sink.publish(300)
	sink.fails("no queue is bound to the exchange ipfsmon.events for the routing key v4.de1.")
	require.Zero(t, sink.stats(broker.V4).Delivered)
	reader := readBroker(t, fleet(rabbit.Address)).ready()
	sink.delivered()
	reader.has(300)
	// While they are read: the reader declares them again.
	remove := func(ch *amqp.Channel) error {
		for b := range broker.Buckets {
			if _, err := ch.QueueDelete(fmt.Sprintf("fleet.%d", b), false, false, false); err != nil {
				return err
			}
		}
		return nil
	}
	onChannel(t, rabbit.Address, remove)
	harness.WaitFor(t, "the reader is back", func() bool { return reader.Consumer.Stats().Sessions >= 2 })
	sink.publish(300)
	sink.delivered()
	reader.has(600)
	// While nobody reads.
	reader.stop()
	onChannel(t, rabbit.Address, remove)
	sink.publish(300)
	sink.fails("no queue is bound")
	reader = readBroker(t, fleet(rabbit.Address))
	sink.delivered()
	reader.has(300)
}

// R41: messages that nobody can read, in both exchanges, end no reader.
func TestFaultR41Poison(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	cfg := fleet(rabbit.Address)
	cfg.Formats = broker.Formats
	reader := readBroker(t, cfg).ready()
	const poison = 40
	onChannel(t, rabbit.Address, func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		var errs []error
		for i := range poison {
			exchange, key := broker.ExchangeV4, fmt.Sprintf("v4.evil.%d", i%broker.Buckets)
			if i%2 == 0 {
				exchange, key = broker.ExchangeV3, "monitor.evil.bitswap_messages"
			}
			c, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp.Publishing{Body: []byte(strings.Repeat("x", i)),
				Headers: amqp.Table{"monitor": "\x1b[31m", "number": "many"}})
			if errs = append(errs, err); err == nil {
				c.Wait()
			}
		}
		return errors.Join(errs...)
	})
	sink := runBroker(t, v4(rabbit.Address, t.TempDir()), "de1")
	sink.publish(300)
	sink.delivered()
	reader.has(300)
	harness.WaitFor(t, "poison is counted", func() bool { return reader.Consumer.Stats().Poison == poison })
	require.EqualValues(t, 1, reader.Consumer.Stats().Sessions)
	// They are not delivered again.
	reader.stop()
	again := readBroker(t, cfg).ready()
	sink.publish(100)
	again.has(100)
	require.Zero(t, again.Consumer.Stats().Poison)
}

// R42: a message that the broker never accepts is lost alone.
func TestFaultR42NeverAccepted(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t, "max_message_size = 20000")
	reader := readBroker(t, fleet(rabbit.Address)).ready()
	sink := runBroker(t, v4(rabbit.Address, t.TempDir()), "de1")
	large := &event.Event{Time: time.Now().UnixNano(), Kind: event.KindMessage, Peer: harness.PeerOf(0)}
	for i := range event.MaxEntries {
		large.Wants = append(large.Wants, event.Want{CID: harness.CidOf(t, 1_000_000+i)})
	}
	sink.publish(200)
	sink.delivered()
	require.True(t, sink.bus.Publish(large))
	sink.publish(1000)
	sink.until("all is settled", func(s broker.Stats) bool { return s.Accepted == 1201 && s.Delivered+s.Rejected == 1201 })
	s := sink.stats(broker.V4)
	require.NotZero(t, s.Rejected)
	require.Less(t, s.Rejected, uint64(200), "the events of one bucket in one batch")
	reader.has(1201 - int(s.Rejected))
}

// R43: readers share the buckets; when one dies, the other takes over, and nothing is lost.
func TestFaultR43TakeOver(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	share := func(of int) broker.ConsumerConfig {
		cfg := fleet(rabbit.Address)
		for b := range broker.Buckets {
			if b%2 == of {
				cfg.Buckets = append(cfg.Buckets, b)
			}
		}
		cfg.StandbyAfter = 2 * time.Second
		return cfg
	}
	one, two := readBroker(t, share(0)).ready(), readBroker(t, share(1)).ready()
	all := readBroker(t, broker.ConsumerConfig{Server: broker.Server{Address: rabbit.Address}}).ready() // with a queue of its own
	sink := runBroker(t, v4(rabbit.Address, t.TempDir()), "de1")
	both := func() int { return one.count() + two.count() }
	for range 4 { // for longer than until they stand by for each other
		sink.publish(500)
		n := sink.sent
		harness.WaitFor(t, "both have all together", func() bool { return both() == n })
		time.Sleep(time.Second)
	}
	for of, r := range []*brokerReader{one, two} {
		r.mu.Lock()
		for b := range broker.Buckets {
			require.Equal(t, b%2 == of, r.buckets[b] > 0, "bucket %d of reader %d", b, of)
		}
		r.mu.Unlock()
	}
	one.stop()
	sink.publish(2000)
	sink.delivered()
	n := sink.sent
	harness.WaitFor(t, "the other has the rest", func() bool { return both() == n })
	all.has(n)
	for id := range two.seen {
		require.NotContains(t, one.seen, id)
	}
}

// R44: v3 is as lossy as it was, within its bound, and counts; the exchange is the exporter's.
func TestFaultR44V3(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	old := readBroker(t, broker.ConsumerConfig{Server: broker.Server{Address: rabbit.Address}, Formats: []string{broker.V3}, Monitors: []string{"de1"}}).ready()
	sink := runBroker(t, broker.Config{Address: rabbit.Address}, "de1")
	other := runBroker(t, broker.Config{Address: rabbit.Address}, "de2")
	sink.publish(1000)
	other.publish(100)
	old.has(500) // what was received
	rabbit.Kill()
	rabbit.Start()
	old.ready()
	harness.WaitFor(t, "both are connected again", func() bool {
		sink.publish(2)
		return old.count() > 500 && sink.stats(broker.V3).Queued == 0
	})
	harness.WaitFor(t, "all is settled", func() bool { s := sink.stats(broker.V3); return s.Accepted == s.Delivered+s.Dropped })
	require.Equal(t, []string{"de1"}, []string{func() string {
		for name := range old.monitor {
			return name
		}
		return ""
	}()})
	// Somebody has declared it otherwise.
	onChannel(t, rabbit.Address, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDelete(broker.ExchangeV3, false, false); err != nil {
			return err
		}
		return ch.ExchangeDeclare(broker.ExchangeV3, "topic", true, false, false, false, nil)
	})
	rabbit.Stop()
	rabbit.Start()
	harness.WaitFor(t, "the error is said", func() bool {
		s := other.stats(broker.V3)
		return s.Failing && strings.Contains(s.LastError, "declare the exchange ipfs.passive_monitoring") && strings.Contains(s.LastError, "406")
	})
}
