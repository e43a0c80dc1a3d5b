package influxtest

import (
	"context"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// RunOver runs a sink and publishes events spread over a time; it ends the sink when settled or
// so long after the last event.
func RunOver(t *testing.T, run func(context.Context, *bus.Reader) error, events []*event.Event, over, settle time.Duration, settled func() bool) error {
	t.Helper()
	b := bus.New(bus.Config{MaxEvents: len(events) + 1, MaxBytes: 1 << 30})
	r := b.Subscribe("influx")
	b.Live()
	done := make(chan error)
	go func() { done <- run(context.WithoutCancel(t.Context()), r) }()
	for i, e := range events {
		b.Publish(e)
		if over > 0 && i%100 == 99 {
			time.Sleep(over * 100 / time.Duration(len(events)))
		}
	}
	for deadline := time.Now().Add(settle); !settled() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	b.Close()
	return <-done
}

func WaitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 20 s", what)
		}
	}
}
