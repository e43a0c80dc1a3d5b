package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	stdgzip "compress/gzip"

	"github.com/ipfsmon/ipfsmon/event"
)

// oldEncoder makes frames as the old exporter does, which has one encoder for each
// subscriber: encoding/json and the gzip writer of the standard library.
type oldEncoder struct {
	gz  *stdgzip.Writer
	out bytes.Buffer
}

func (o *oldEncoder) frame(e *event.Event) []byte {
	o.out.Reset()
	o.out.Write([]byte{0, 0, 0, 0})
	if o.gz == nil {
		o.gz = stdgzip.NewWriter(&o.out)
	} else {
		o.gz.Reset(&o.out)
	}
	if err := json.NewEncoder(o.gz).Encode(asV3(e)); err != nil {
		panic(err)
	}
	if err := o.gz.Close(); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint32(o.out.Bytes(), uint32(o.out.Len()-4))
	return o.out.Bytes()
}

// BenchmarkEncode compares the cost of an event before it is written: ours once for all
// subscribers, the old design's once for each, alternately.
func BenchmarkEncode(b *testing.B) {
	for _, wants := range []int{1, 16} {
		for _, subscribers := range []int{1, 16} {
			b.Run(fmt.Sprintf("entries=%d/subscribers=%d", wants, subscribers), func(b *testing.B) {
				events := make([]*event.Event, 256)
				for i := range events {
					events[i] = message(i, wants)
				}
				var ours, old time.Duration
				var enc encoder
				before := make([]oldEncoder, subscribers)
				var oursBytes, oldBytes, n int
				b.ReportAllocs()
				for b.Loop() {
					e := events[n%len(events)]
					n++
					start := time.Now()
					enc.reset()
					enc.add(e)
					middle := time.Now()
					for i := range before {
						oldBytes += len(before[i].frame(e))
					}
					ours += middle.Sub(start)
					old += time.Since(middle)
					oursBytes += len(enc.frameData)
				}
				b.ReportMetric(float64(ours.Nanoseconds())/float64(n), "ours-ns/event")
				b.ReportMetric(float64(old.Nanoseconds())/float64(n), "old-ns/event")
				b.ReportMetric(float64(oursBytes)/float64(n), "ours-B/event")
				b.ReportMetric(float64(oldBytes)/float64(n*subscribers), "old-B/event")
				b.ReportMetric(float64(old)/float64(ours), "old/ours")
			})
		}
	}
}

func BenchmarkEncodeOnly(b *testing.B) {
	for _, wants := range []int{1, 16, 256} {
		e := message(1, wants)
		var enc encoder
		b.Run(fmt.Sprintf("json/entries=%d", wants), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				enc.raw = appendV3(enc.raw[:0], e, false)
			}
		})
		b.Run(fmt.Sprintf("frame/entries=%d", wants), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				enc.reset()
				enc.add(e)
			}
		})
	}
}

// BenchmarkFanOut runs a server and its subscribers in one process, and reports events a
// second without a loss, from the bus to the clients' sockets.
func BenchmarkFanOut(b *testing.B) {
	for _, subscribers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			s := start(b, func(c *Config) { c.MaxClients = subscribers })
			var wg sync.WaitGroup
			for _, c := range s.subscribe(b, subscribers) {
				wg.Go(func() { _, _ = io.Copy(io.Discard, c.conn) })
			}
			const round = 1000
			events := make([]event.Event, round)
			for i := range events {
				events[i] = *message(i, 1)
			}
			n := uint64(0)
			for b.Loop() {
				for i := range events {
					e := events[i]
					s.bus.Publish(&e)
				}
				n += round
				for s.Stats().SentFrames < n*uint64(subscribers) && s.Stats().DroppedFrames == 0 {
					time.Sleep(100 * time.Microsecond)
				}
			}
			if st := s.Stats(); st.DroppedFrames > 0 || st.MissedEvents > 0 {
				b.Fatalf("%d frames dropped, %d events missed", st.DroppedFrames, st.MissedEvents)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(n)*float64(subscribers)/b.Elapsed().Seconds(), "deliveries/s")
			s.Close()
			wg.Wait()
		})
	}
}
