package capture

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPeer = peer.ID("\x00\x24\x08\x01\x12\x20abcdefghijklmnopqrstuvwxyz012345")

// testCID returns the i-th of a series of different CIDs.
func testCID(i int) cid.Cid {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(i))
	digest, err := mh.Sum(b[:], mh.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, digest)
}

// wantMessage is a message with n wants for blocks.
func wantMessage(n int) bsmsg.BitSwapMessage {
	m := bsmsg.New(false)
	for i := range n {
		m.AddEntry(testCID(i), int32(n-i), pb.Message_Wantlist_Block, true)
	}
	return m
}

// newTest returns a capture and a function that returns the next event.
func newTest(t *testing.T) (*Capture, func() *event.Event) {
	b := bus.New(bus.Config{})
	r := b.Subscribe("test")
	b.Live()
	t.Cleanup(b.Close)
	return New(b, nil), func() *event.Event {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		buf := make([]*event.Event, 1)
		_, missed, err := r.Next(ctx, buf)
		require.NoError(t, err)
		require.Zero(t, missed)
		return buf[0]
	}
}

func TestEveryPartOfAMessage(t *testing.T) {
	c, next := newTest(t)
	block := blocks.NewBlock([]byte("hello"))
	m := bsmsg.New(true)
	m.AddEntry(testCID(1), 7, pb.Message_Wantlist_Have, true)
	m.AddEntry(testCID(2), -3, pb.Message_Wantlist_Block, false)
	m.Cancel(testCID(3))
	m.AddHave(testCID(4))
	m.AddDontHave(testCID(5))
	m.AddBlock(block)
	m.SetPendingBytes(99)

	before := time.Now()
	c.MessageReceived(testPeer, m)
	e := next()
	require.Equal(t, event.KindMessage, e.Kind)
	require.Equal(t, event.Received, e.Dir)
	require.Equal(t, testPeer, e.Peer)
	require.True(t, e.Full)
	require.EqualValues(t, 99, e.PendingBytes)
	require.InDelta(t, before.UnixNano(), e.Time, float64(time.Since(before)+time.Millisecond))
	require.ElementsMatch(t, []event.Want{
		{CID: testCID(1), Priority: 7, Type: event.WantHave, SendDontHave: true},
		{CID: testCID(2), Priority: -3, Type: event.WantBlock},
		{CID: testCID(3), Cancel: true},
	}, e.Wants)
	require.ElementsMatch(t, []event.Presence{
		{CID: testCID(4), Type: event.Have}, {CID: testCID(5), Type: event.DontHave},
	}, e.Presences)
	require.Equal(t, []event.Block{{CID: block.Cid(), Size: 5}}, e.Blocks)
	require.Equal(t, event.Traffic{
		Messages: 1, WantBlock: 1, WantHave: 1, Cancel: 1, Have: 1, DontHave: 1, Blocks: 1, BlockBytes: 5,
	}, c.Traffic(event.Libp2p, event.Received))

	c.MessageSent(testPeer, m)
	require.Equal(t, event.Sent, next().Dir)
	require.EqualValues(t, 1, c.Traffic(event.Libp2p, event.Sent).Messages)
}

func TestEventsAreIndependent(t *testing.T) {
	c, next := newTest(t)
	for i := range 300 { // over several slabs
		m := bsmsg.New(false)
		for j := range i % 40 {
			m.AddEntry(testCID(i*100+j), 1, pb.Message_Wantlist_Block, false)
		}
		c.MessageReceived(testPeer, m)
	}
	for i := range 300 {
		e := next()
		require.Len(t, e.Wants, i%40)
		want := map[cid.Cid]bool{}
		for j := range i % 40 {
			want[testCID(i*100+j)] = true
		}
		for _, w := range e.Wants {
			require.True(t, want[w.CID], "event %d has a want of another message", i)
		}
	}
}

func TestHostileMessageIsBounded(t *testing.T) {
	c, next := newTest(t)
	m := bsmsg.New(false)
	const n = maxRead
	for i := range n {
		m.AddEntry(testCID(i), 1, pb.Message_Wantlist_Have, false)
	}
	for i := range 3000 {
		m.AddHave(testCID(i))
		m.AddBlock(blocks.NewBlock(fmt.Appendf(nil, "block %d", i)))
	}
	c.MessageReceived(testPeer, m)
	e := next()
	require.Len(t, e.Wants, event.MaxEntries)
	require.True(t, len(e.Presences) > 0 && len(e.Presences) <= event.MaxEntries, "%d presences", len(e.Presences))
	require.LessOrEqual(t, len(e.Blocks), event.MaxEntries)
	require.EqualValues(t, n+3000+3000-len(e.Wants)-len(e.Presences)-len(e.Blocks), e.Truncated)
	tr := c.Traffic(event.Libp2p, event.Received)
	require.EqualValues(t, n, tr.WantHave, "truncated entries are still counted")
	require.EqualValues(t, 3000, tr.Have)
	require.EqualValues(t, 3000, tr.Blocks)
	require.EqualValues(t, e.Truncated, tr.Truncated)
}

// TestEncodedSizeIsBounded sends as many of the longest CIDs as fit into a message, and
// measures its lists; TestTheStreamsFormIsBounded does the same for the stream's form.
func TestEncodedSizeIsBounded(t *testing.T) {
	c, next := newTest(t)
	long := func(i int) cid.Cid {
		digest, err := mh.Encode(binary.BigEndian.AppendUint64(make([]byte, event.MaxCIDBytes-14), uint64(i)), mh.IDENTITY)
		require.NoError(t, err)
		return cid.NewCidV1(cid.Raw, digest)
	}
	require.Greater(t, long(1).ByteLen(), event.MaxCIDBytes-8)
	m := bsmsg.New(false)
	for i := range 1000 {
		m.AddEntry(long(i), math.MinInt32, pb.Message_Wantlist_Have, true)
		m.AddDontHave(long(i))
	}
	c.MessageReceived(testPeer, m)
	e := next()
	require.NotEmpty(t, e.Wants)
	require.EqualValues(t, 2000, int(e.Truncated)+len(e.Wants)+len(e.Presences))
	written, err := json.Marshal(map[string]any{"wantlist_entries": e.Wants, "block_presences": e.Presences})
	require.NoError(t, err)
	require.Less(t, len(written), event.MaxEncodedBytes)
	require.Greater(t, len(written), event.MaxEncodedBytes/2, "the bound is close to what is needed")
}

func TestOversizeCIDIsReplaced(t *testing.T) {
	c, next := newTest(t)
	big := make([]byte, 1<<20)
	_, err := rand.Read(big)
	require.NoError(t, err)
	digest, err := mh.Sum(big, mh.IDENTITY, -1)
	require.NoError(t, err)
	huge := cid.NewCidV1(cid.Raw, digest)
	m := bsmsg.New(false)
	m.AddEntry(huge, 1, pb.Message_Wantlist_Block, false)
	c.MessageReceived(testPeer, m)
	e := next()
	require.LessOrEqual(t, e.Wants[0].CID.ByteLen(), event.MaxCIDBytes)
	require.EqualValues(t, huge.ByteLen(), e.OversizeCID)
	sum, err := mh.Sum(huge.Bytes(), mh.SHA2_256, -1)
	require.NoError(t, err)
	require.Equal(t, cid.NewCidV1(cid.Raw, sum), e.Wants[0].CID)
}

// brokenMessage panics at each call.
type brokenMessage struct{ bsmsg.BitSwapMessage }

func (brokenMessage) Full() bool { panic("broken") }

func FuzzMessage(f *testing.F) {
	seed := func(m bsmsg.BitSwapMessage) {
		b, err := protoBytes(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed(wantMessage(1))
	seed(wantMessage(20))
	all := bsmsg.New(true)
	all.AddHave(testCID(1))
	all.AddDontHave(testCID(2))
	all.AddBlock(blocks.NewBlock([]byte("x")))
	all.Cancel(testCID(3))
	seed(all)
	b := bus.New(bus.Config{MaxEvents: 4})
	r := b.Subscribe("fuzz")
	b.Live()
	f.Cleanup(b.Close)
	c := New(b, nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(raw)
		if err != nil {
			return
		}
		c.MessageReceived(testPeer, m)
		if c.Panics() != 0 {
			t.Fatal("capture panicked")
		}
		buf := make([]*event.Event, 1)
		if _, _, err := r.Next(context.Background(), buf); err != nil {
			t.Fatal(err)
		}
		e := buf[0]
		if len(e.Wants) > event.MaxEntries || len(e.Presences) > event.MaxEntries || len(e.Blocks) > event.MaxEntries {
			t.Fatal("not bounded")
		}
		if len(e.Wants) != min(event.MaxEntries, len(m.Wantlist())) || len(e.Blocks) != min(event.MaxEntries, len(m.Blocks())) {
			t.Fatal("entries lost")
		}
		for _, w := range e.Wants {
			if w.CID.ByteLen() > event.MaxCIDBytes {
				t.Fatal("oversize CID kept")
			}
		}
	})
}
