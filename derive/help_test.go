package derive

import (
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCID makes the CID of a number: raw over a sha2-256 digest that is not
// one, which costs less to make.
func testCID(n uint64) cid.Cid {
	var digest [32]byte
	binary.BigEndian.PutUint64(digest[:], n)
	h, err := mh.Encode(digest[:], mh.SHA2_256)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, h)
}

func testPeer(n int) peer.ID {
	var b [34]byte
	b[0], b[1] = 0x12, 0x20
	binary.BigEndian.PutUint64(b[2:], uint64(n))
	return peer.ID(b[:])
}

// start is the first event time of a test's stream.
const start = int64(1_800_000_000) * int64(time.Second)

// quiet makes a Deriver that takes events by feed and publishes to nobody.
func quiet(cfg Config) *Deriver {
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	return New(cfg, func(*event.Event) bool { return true })
}

// feed counts an event at once, as Run does when its time has come.
func (d *Deriver) feed(e *event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.event(e)
}

// cut ends the interval and returns its summary.
func (d *Deriver) cut() *event.Summary {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.summarize(time.Now())
	return d.last
}

func message(dir event.Direction, p int, at time.Duration) *event.Event {
	return &event.Event{Kind: event.KindMessage, Dir: dir, Peer: testPeer(p), Time: start + int64(at)}
}

func wants(e *event.Event, t event.WantType, cids ...uint64) *event.Event {
	for _, c := range cids {
		e.Wants = append(e.Wants, event.Want{CID: testCID(c), Type: t})
	}
	return e
}

func cancels(e *event.Event, cids ...uint64) *event.Event {
	for _, c := range cids {
		e.Wants = append(e.Wants, event.Want{CID: testCID(c), Cancel: true})
	}
	return e
}

func blocks(e *event.Event, cids ...uint64) *event.Event {
	for _, c := range cids {
		e.Blocks = append(e.Blocks, event.Block{CID: testCID(c)})
	}
	return e
}

func presences(e *event.Event, t event.PresenceType, cids ...uint64) *event.Event {
	for _, c := range cids {
		e.Presences = append(e.Presences, event.Presence{CID: testCID(c), Type: t})
	}
	return e
}

// zipf draws from n things, thing 0 most often, the same for every run.
func zipf(seed uint64, s float64, n uint64) func() uint64 {
	return rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), s, 1, n-1).Uint64
}

// within fails unless got is at most part*want away from want.
func within(t *testing.T, what string, got, want uint64, part float64) {
	t.Helper()
	if diff := max(got, want) - min(got, want); float64(diff) > part*float64(want) {
		t.Errorf("%s: %d, exactly %d: off by more than %.1f %%", what, got, want, part*100)
	}
}
