package influx

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

func TestMain(m *testing.M) {
	storetest.Main()
	if job := os.Getenv(writerEnv); job != "" {
		os.Exit(writerMain(job))
	}
	goleak.VerifyTestMain(m)
}

// publish has a sink deliver events, waits until they are settled, and ends it.
func publish(t *testing.T, cfg Config, events []*event.Event) (Stats, error) {
	t.Helper()
	return publishOver(t, cfg, events, 0, 2*time.Minute)
}

// publishOver is publish with the events spread over a time, and with a bound
// of the wait before the end.
func publishOver(t *testing.T, cfg Config, events []*event.Event, over, settle time.Duration) (Stats, error) {
	t.Helper()
	if no := false; cfg.Rollups == nil { // they would come in between points that are counted
		cfg.Rollups = &no
	}
	s, err := New(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	err = influxtest.RunOver(t, s.Run, events, over, settle, func() bool {
		st := s.Stats()
		return st.Events == uint64(len(events)) && st.Queued == 0
	})
	return s.Stats(), err
}
