package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// publish passes events to a sink through a bus, waits until they are settled,
// and ends it.
func publish(t *testing.T, cfg client.Config, events []*event.Event) (Stats, error) {
	t.Helper()
	return publishOver(t, cfg, events, 0, 3*time.Minute)
}

// publishOver is publish with the events spread over a time, and with a bound
// of the wait before the end.
func publishOver(t *testing.T, cfg client.Config, events []*event.Event, over, settle time.Duration) (Stats, error) {
	t.Helper()
	s, err := newSink(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	err = influxtest.RunOver(t, s.Run, events, over, settle, func() bool {
		st := s.Stats()
		return st.Events == uint64(len(events)) && st.Queued == 0
	})
	return s.Stats(), err
}

// newSink is New without rollups: those of a minute that is just over would come in between points that a test
// counts.
func newSink(cfg client.Config, node string) (*Sink, error) {
	if no := false; cfg.Rollups == nil {
		cfg.Rollups = &no
	}
	return New(cfg, node)
}

// 100,000 events in one microsecond are 100,000 points.
func TestEveryEventIsAPoint(t *testing.T) {
	store := storetest.Start(t)
	at := time.Now().UnixNano()
	const n = 100_000
	events := make([]*event.Event, n)
	for i := range events {
		events[i] = &event.Event{
			Time: at + int64(i)/100, Kind: event.KindMessage, Peer: influxtest.Peer(i % 7),
			Wants: []event.Want{{CID: influxtest.CID(i % 1000), Type: event.WantType(i % 2)}},
		}
	}
	cfg := influxtest.StoreAt(store)
	st, err := publish(t, cfg, events)
	if err != nil {
		t.Fatal(err)
	}
	if st.Accepted != n || st.Stored != n || st.Dropped != 0 || st.Rejected != 0 || st.Queued != 0 {
		t.Errorf("stats %+v, want %d stored", st, n)
	}
	got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants", false)
	if !strings.Contains(got, fmt.Sprintf(",%d\n", n)) {
		t.Errorf("stored:\n%s\nwant a count of %d", got, n)
	}
}
