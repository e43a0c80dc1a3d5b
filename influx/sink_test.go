package influx

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/status"

	"github.com/ipfsmon/ipfsmon/influx/store/storetest"
)

// testCID returns a different CID for each n: every third one is a CIDv0.
func testCID(n int) cid.Cid {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	sum := sha256.Sum256(b[:])
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err)
	}
	switch n % 3 {
	case 0:
		return cid.NewCidV0(mh)
	case 1:
		return cid.NewCidV1(cid.Raw, mh)
	}
	return cid.NewCidV1(cid.DagProtobuf, mh)
}

// testPeer returns a different peer for each n, in the form of an Ed25519 key.
func testPeer(n int) peer.ID {
	sum := sha256.Sum256([]byte(fmt.Sprint("peer", n)))
	return peer.ID(append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, sum[:]...))
}

// publish gives events to a sink through a bus, waits until they are settled,
// and ends it.
func publish(t *testing.T, cfg Config, events []*event.Event) (Stats, error) {
	t.Helper()
	return publishOver(t, cfg, events, 0, 30*time.Second)
}

// publishOver is publish with the events spread over a time, and with a bound
// of the wait before the end.
func publishOver(t *testing.T, cfg Config, events []*event.Event, over, settle time.Duration) (Stats, error) {
	t.Helper()
	s, err := New(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	s.SetPipeline(func() status.Pipeline {
		return status.Pipeline{Influx: &status.Influx{Delivery: status.Delivery{Accepted: s.Stats().Accepted}}}
	})
	b := bus.New(bus.Config{MaxEvents: len(events) + 1, MaxBytes: 1 << 30})
	r := b.Subscribe("influx")
	b.Live()
	done := make(chan error)
	go func() { done <- s.Run(context.WithoutCancel(t.Context()), r) }()
	for i, e := range events {
		b.Publish(e)
		if over > 0 && i%100 == 99 {
			time.Sleep(over * 100 / time.Duration(len(events)))
		}
	}
	for deadline := time.Now().Add(settle); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if st := s.Stats(); st.Events == uint64(len(events)) && st.Queued == 0 {
			break
		}
	}
	b.Close()
	err = <-done
	return s.Stats(), err
}

// 100,000 events in one microsecond are 100,000 points.
func TestEveryEventIsAPoint(t *testing.T) {
	store := storetest.Start(t)
	at := time.Now().UnixNano()
	const n = 100_000
	events := make([]*event.Event, n)
	for i := range events {
		events[i] = &event.Event{
			Time: at + int64(i)/100, Kind: event.KindMessage, Peer: testPeer(i % 7),
			Wants: []event.Want{{CID: testCID(i % 1000), Type: event.WantType(i % 2)}},
		}
	}
	cfg := storeAt(store)
	st, err := publish(t, cfg, events)
	if err != nil {
		t.Fatal(err)
	}
	if st.Accepted != n || st.Stored != n || st.Dropped != 0 || st.Rejected != 0 || st.Queued != 0 {
		t.Errorf("stats %+v, want %d stored", st, n)
	}
	got := ask(t, cfg, "SELECT count(cid) FROM wants", false)
	if !strings.Contains(got, fmt.Sprintf(",%d\n", n)) {
		t.Errorf("stored:\n%s\nwant a count of %d", got, n)
	}
}
