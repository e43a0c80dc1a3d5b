package delivery

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// BenchmarkDelivery is the path of a point from the bus to a server that throws
// it away, with gzip, through the queue in memory and through the spool on disk.
func BenchmarkDelivery(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(204)
	}))
	defer server.Close()
	events := influxtest.Numbered(0, 1000)
	no := false
	for _, dir := range []string{client.InMemory, b.TempDir()} {
		name := "disk"
		if dir == client.InMemory {
			name = "memory"
		}
		b.Run(name, func(b *testing.B) {
			sink, err := New(client.Config{URL: server.URL, CreateDatabase: &no, Gzip: "on", SpoolDir: dir, Log: slog.New(slog.DiscardHandler)}, "bench")
			if err != nil {
				b.Fatal(err)
			}
			ring := bus.New(bus.Config{MaxEvents: 1 << 16, MaxBytes: 1 << 30})
			r := ring.Subscribe("influx")
			ring.Live()
			done := make(chan error)
			go func() { done <- sink.Run(context.Background(), r) }()
			b.ResetTimer()
			for i := range b.N {
				for i%1000 == 0 && (uint64(i) > sink.events.Load()+32_000 || sink.Stats().Queued > 100_000) { // neither ring nor bounds are what is measured
					time.Sleep(100 * time.Microsecond)
				}
				e := *events[i%len(events)]
				ring.Publish(&event.Event{Time: e.Time, Kind: e.Kind, Wants: e.Wants})
			}
			for sink.Stats().Stored+sink.Stats().Dropped < uint64(b.N) {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			ring.Close()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			st := sink.Stats()
			if st.Dropped+st.Missed > 0 {
				b.Errorf("%+v", st)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "points/s")
		})
	}
}
