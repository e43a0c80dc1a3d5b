package broker

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/stream"
)

func v4Sink(t *testing.T, dir string) *Sink {
	t.Helper()
	s, err := New(Config{Address: "amqp://127.0.0.1:1", Formats: []string{V4}, SpoolDir: dir}, "de1")
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// deliveries returns what waits, as a broker would deliver it.
func deliveries(t *testing.T, s *Sink) (out []amqp.Delivery) {
	t.Helper()
	s.disk.Seal()
	for {
		m, err := s.disk.next(t.Context())
		if err == errDrained {
			return out
		}
		require.NoError(t, err)
		out = append(out, amqp.Delivery{Exchange: ExchangeV4, RoutingKey: m.key, Headers: m.pub.Headers, Body: m.pub.Body, MessageId: m.pub.MessageId, DeliveryMode: m.pub.DeliveryMode})
	}
}

func consumer(t *testing.T) *Consumer {
	t.Helper()
	c, err := NewConsumer(ConsumerConfig{Server: Server{Address: "amqp://h"}, Formats: []string{V3, V4}})
	require.NoError(t, err)
	t.Cleanup(c.bodies.Close)
	return c
}

// TestV4HasEverything: all that version 4 of the stream has comes out as it went in, by buckets.
func TestV4HasEverything(t *testing.T) {
	s := v4Sink(t, t.TempDir())
	now := time.Now()
	seq := uint64(0)
	wanted := map[uint64]*event.Event{}
	eventtest.EachKind(t, func(e *event.Event) bool {
		seq++
		e.Seq = seq
		before := s.accepted[1].Load()
		s.take(e, now)
		if s.accepted[1].Load() > before {
			wanted[seq] = e
			return true
		}
		return false
	}, map[event.Kind]string{
		event.KindSample: "not in the stream", event.KindLatency: "not in the stream", event.KindSummary: "not in the stream", event.KindProxy: "not in the stream",
		event.KindClockStep: "not in the stream", event.KindSendError: "not in the stream", event.KindPipeline: "not in the stream", event.KindProbe: "not in the stream", event.KindFleet: "not in the stream",
	})
	for i := range 500 {
		seq++
		e := want(i)
		if e.Seq = seq; i%2 == 1 {
			e.Dir = event.Sent
		}
		wanted[seq] = e
		s.take(e, now)
	}
	s.flush()
	c := consumer(t)
	buckets := map[int]bool{}
	got := map[uint64]bool{}
	for _, d := range deliveries(t, s) {
		require.EqualValues(t, amqp.Persistent, d.DeliveryMode)
		out, err := c.read(&d)
		require.NoError(t, err)
		require.Equal(t, V4, out.Format)
		require.Equal(t, d.MessageId, out.id())
		require.Equal(t, d.RoutingKey, out.key())
		require.Equal(t, "de1", out.Monitor)
		require.Equal(t, s.run, out.Run)
		require.Equal(t, out.Batch.Events, len(out.Events))
		buckets[out.Bucket] = true
		last := uint64(0)
		for i := range out.Events {
			e := &out.Events[i]
			require.Equal(t, "de1", e.Monitor)
			require.Greater(t, e.Seq, last)
			last = e.Seq
			back, err := e.ToEvent()
			require.NoError(t, err)
			require.Equal(t, Bucket(back.Peer), out.Bucket)
			require.Equal(t, wanted[e.Seq].Kind, back.Kind)
			require.Equal(t, wanted[e.Seq].Dir, back.Dir)
			got[e.Seq] = true
		}
		require.Equal(t, last, out.Last)
		require.Equal(t, out.Events[0].Seq, out.First)
	}
	require.Equal(t, len(wanted), len(got))
	require.Len(t, buckets, Buckets)
}

// TestBucketNeverChanges: queues are bound to buckets.
func TestBucketNeverChanges(t *testing.T) {
	require.Equal(t, 0, Bucket(""))
	var got []int
	count := map[int]int{}
	for i := range 8 {
		got = append(got, Bucket(testPeer(i)))
	}
	require.Equal(t, []int{9, 13, 11, 4, 14, 15, 1, 8}, got)
	for i := range 16_000 {
		count[Bucket(testPeer(i))]++
	}
	for b := range Buckets {
		require.InDelta(t, 1000, count[b], 200, "bucket %d", b)
	}
}

// TestV4Numbers: a reader of any bucket knows what is missing from it.
func TestV4Numbers(t *testing.T) {
	s := v4Sink(t, t.TempDir())
	now := time.Now()
	for round := range 10 {
		for i := range 200 {
			s.take(want(round*200+i), now)
		}
		if round == 5 {
			s.missed += 7
		}
		s.flush()
	}
	all := deliveries(t, s)
	require.Len(t, all, 10*Buckets)
	c := consumer(t)
	read := func(ds []amqp.Delivery) (events, missed, told uint64) {
		t.Helper()
		c.gaps.init()
		for _, d := range ds {
			err := c.take(&d, func(out *Delivery) error {
				for _, e := range out.Events {
					require.Equal(t, "de1", e.Monitor)
					if e.Gap != nil {
						require.LessOrEqual(t, e.Gap.First, e.Gap.Last)
						told++
						missed += e.Gap.Missed()
					} else {
						events++
					}
				}
				return nil
			})
			require.Error(t, err, "a delivery without a channel cannot be acknowledged")
		}
		return events, missed, told
	}
	events, missed, _ := read(all)
	require.EqualValues(t, 2000, events)
	require.EqualValues(t, 7, missed, "what the sink missed, once")
	events, _, _ = read(all)
	require.Zero(t, events, "all are repeated")
	require.EqualValues(t, len(all), c.Stats().Repeated)

	// One of a bucket is missing; it is said when enough of the later ones have come.
	var batches []Batch
	for _, d := range all {
		b, err := batchOf(d.Headers)
		require.NoError(t, err)
		batches = append(batches, b)
	}
	only := slices.DeleteFunc(slices.Clone(batches), func(b Batch) bool { return b.Bucket != 3 })
	for n := uint64(11); n < 100; n++ {
		b := only[len(only)-1]
		b.Number, b.Before, b.Events, b.First, b.Last = n, b.Before+uint64(b.Events), 1, b.Last+1, b.Last+1
		only = append(only, b)
	}
	var g gaps
	redelivered := 0 // the first ones of a list
	look := func(list []Batch) (all []stream.Gap) {
		g.init()
		for i := range list {
			all = append(all, g.look(&list[i], i < redelivered)...)
		}
		return all
	}
	lost := only[1]
	found := look(slices.Delete(slices.Clone(only), 1, 2))
	found = slices.DeleteFunc(found, func(g stream.Gap) bool { return g.Bus > 0 })
	require.Equal(t, []stream.Gap{{Slow: uint64(lost.Events), First: only[0].Last + 1, Last: only[2].First - 1}}, found)
	// One that comes late, within what may be on its way, is no gap.
	late := slices.Clone(only)
	b := late[1]
	late = slices.Insert(slices.Delete(late, 1, 2), 50, b)
	require.Empty(t, slices.DeleteFunc(look(late), func(g stream.Gap) bool { return g.Bus > 0 }))
	// Who begins in the middle misses nothing.
	require.Empty(t, look(only[20:]))
	// What an earlier reader acknowledged out of order is not missed by the next one: holes among
	// what is delivered again, and before the first that is not. A hole after that is a gap.
	redelivered = 15
	rest := slices.Concat(only[3:10], only[12:20], only[25:])
	ofSink := func(g stream.Gap) bool { return g.Bus > 0 }
	require.Empty(t, slices.DeleteFunc(look(rest), ofSink))
	lost = rest[16]
	found = slices.DeleteFunc(look(slices.Delete(rest, 16, 17)), ofSink)
	require.Equal(t, []stream.Gap{{Slow: uint64(lost.Events), First: lost.First, Last: lost.Last}}, found)
}

// TestV4WaitsOnDisk: what a broker has not accepted is in the next process's queue, as it was.
func TestV4WaitsOnDisk(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Config{Address: "amqp://127.0.0.1:1", Formats: []string{V4}, SpoolDir: dir}, "de1")
	require.NoError(t, err)
	for i := range 300 {
		first.take(want(i), time.Now())
	}
	first.flush()
	require.NoError(t, first.Close())
	second := v4Sink(t, dir)
	all, _ := second.Stats()
	require.EqualValues(t, 300, all[0].Restored)
	require.EqualValues(t, 300, all[0].Queued)
	c := consumer(t)
	n := 0
	for _, d := range deliveries(t, second) {
		out, err := c.read(&d)
		require.NoError(t, err)
		require.Equal(t, first.run, out.Run, "the run that made it")
		n += len(out.Events)
	}
	require.Equal(t, 300, n)
}

// TestPoisonIsRefused: what cannot be read is an error, never a panic, and never a wrong event.
func TestPoisonIsRefused(t *testing.T) {
	s := v4Sink(t, t.TempDir())
	s.take(want(1), time.Now())
	s.flush()
	good := deliveries(t, s)[0]
	c := consumer(t)
	_, err := c.read(&good)
	require.NoError(t, err)
	f := func(change func(d *amqp.Delivery), wanted string) {
		t.Helper()
		d := good
		d.Headers = maps.Clone(good.Headers)
		d.Body = slices.Clone(good.Body)
		change(&d)
		_, err := c.read(&d)
		require.ErrorContains(t, err, wanted)
	}
	f(func(d *amqp.Delivery) { d.Body = nil }, "a batch of 0 bytes")
	f(func(d *amqp.Delivery) { d.Body = d.Body[:len(d.Body)-3] }, "a batch of")
	f(func(d *amqp.Delivery) { d.Body[0] = 5 }, "bad batch header")
	f(func(d *amqp.Delivery) { delete(d.Headers, "run") }, "header run")
	f(func(d *amqp.Delivery) { d.Headers["monitor"] = "\x1b[31m" }, "header monitor")
	f(func(d *amqp.Delivery) { d.Headers["bucket"] = int32(16) }, "header bucket is 16: want 0 to 15")
	f(func(d *amqp.Delivery) { d.Headers["number"] = "1" }, "header number")
	f(func(d *amqp.Delivery) { d.Headers["before"] = int64(-1) }, "header before")
	f(func(d *amqp.Delivery) { d.Headers = nil }, "header")
	f(func(d *amqp.Delivery) { d.Exchange, d.RoutingKey = ExchangeV3, "monitor.a.b.bitswap_messages" }, "its routing key")
	f(func(d *amqp.Delivery) { d.Exchange, d.RoutingKey = ExchangeV3, "monitor.a.bitswap_messages" }, "inflate an array")
	v3 := func(json string) func(d *amqp.Delivery) {
		return func(d *amqp.Delivery) {
			d.Exchange, d.RoutingKey, d.Body = ExchangeV3, "monitor.a.bitswap_messages", s.bodies.V3([]byte(json))
		}
	}
	f(v3(`[{"timestamp":"2026-11-20T12:00:00Z","peer":"p"}`), "want one of bitswap_message and connection_event")
	f(v3(`[null`), "want one of")
	f(v3(`{`), "decode an array")

	// v3 of the exporter itself.
	old := v3Sink(t)
	old.take(want(1), time.Now())
	old.take(connected(2, true), time.Now())
	old.flush()
	for _, m := range old.memory.list {
		out, err := c.read(&amqp.Delivery{Exchange: ExchangeV3, RoutingKey: m.key, Body: m.pub.Body})
		require.NoError(t, err)
		require.Equal(t, V3, out.Format)
		require.Equal(t, "de1", out.Monitor)
		require.Len(t, out.Events, 1)
		_, err = out.Events[0].ToEvent()
		require.NoError(t, err)
	}
}

// FuzzRead: no message makes a consumer panic.
func FuzzRead(f *testing.F) {
	f.Add([]byte("x"), []byte("run"), true)
	f.Fuzz(func(t *testing.T, body, run []byte, v3 bool) {
		c, err := NewConsumer(ConsumerConfig{Server: Server{Address: "amqp://h"}})
		require.NoError(t, err)
		defer c.bodies.Close()
		d := amqp.Delivery{Exchange: ExchangeV4, Body: body, Headers: (&Batch{Monitor: "m", Run: string(run), Number: 1}).headers()}
		if v3 {
			d = amqp.Delivery{Exchange: ExchangeV3, RoutingKey: "monitor." + string(run) + ".conn_events", Body: body}
		}
		_, _ = c.read(&d)
	})
}

func TestConsumerConfig(t *testing.T) {
	f := func(cfg ConsumerConfig, wanted string) {
		t.Helper()
		err := Consume(context.Background(), cfg, nil)
		require.ErrorContains(t, err, wanted)
		require.NotContains(t, err.Error(), "geheim")
	}
	at := Server{Address: "amqp://h"}
	f(ConsumerConfig{}, "want amqp://")
	f(ConsumerConfig{Server: Server{Address: "amqp://u:geheim@h/?x"}}, "has a query")
	f(ConsumerConfig{Server: at, Formats: []string{"v2"}}, `format "v2": want v3 or v4`)
	f(ConsumerConfig{Server: at, Monitors: []string{"a.b"}}, "has a dot")
	f(ConsumerConfig{Server: at, Monitors: []string{"#"}}, "want a name without * and #")
	f(ConsumerConfig{Server: at, Queue: "q", Buckets: []int{16}}, "bucket 16: want 0 to 15")
	f(ConsumerConfig{Server: at, Buckets: []int{1}}, "buckets without a queue")
	f(ConsumerConfig{Server: at, Queue: "amq.x"}, "amq.")
	f(ConsumerConfig{Server: at, Prefetch: -1}, "prefetch -1")
}
