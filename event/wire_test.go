package event_test

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestWireBytesIsBoxos compares the size of messages of every shape with the
// bytes that boxo writes for them.
func TestWireBytesIsBoxos(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	id := func(n int, data []byte) cid.Cid {
		sum := sha256.Sum256(append(data, byte(n), byte(n>>8)))
		h, err := mh.Encode(sum[:], mh.SHA2_256)
		if err != nil {
			t.Fatal(err)
		}
		switch n % 3 {
		case 0:
			return cid.NewCidV0(h)
		case 1:
			return cid.NewCidV1(cid.Raw, h)
		}
		return cid.NewCidV1(0x0200, h)
	}
	for range 500 {
		m, e := bsmsg.New(rng.IntN(2) == 0), &event.Event{Kind: event.KindMessage}
		e.Full = m.Full()
		for i := range rng.IntN(4) {
			c, priority := id(i, nil), int32(rng.IntN(3)-1)*int32(rng.IntN(1<<30))
			w := event.Want{CID: c, Priority: priority, Type: event.WantType(rng.IntN(2)), SendDontHave: rng.IntN(2) == 0}
			if rng.IntN(4) == 0 {
				w = event.Want{CID: c, Cancel: true}
				m.Cancel(c)
			} else {
				m.AddEntry(c, priority, pb.Message_Wantlist_WantType(w.Type), w.SendDontHave)
			}
			e.Wants = append(e.Wants, w)
		}
		for i := range rng.IntN(3) {
			c := id(100+i, nil)
			p := event.PresenceType(rng.IntN(2))
			if p == event.Have {
				m.AddHave(c)
			} else {
				m.AddDontHave(c)
			}
			e.Presences = append(e.Presences, event.Presence{CID: c, Type: p})
		}
		for i := range rng.IntN(3) {
			data := make([]byte, rng.IntN(1<<rng.IntN(18))+i)
			c := id(200+i, nil)
			b, err := blocks.NewBlockWithCid(data, c)
			if err != nil {
				t.Fatal(err)
			}
			m.AddBlock(b)
			e.Blocks = append(e.Blocks, event.Block{CID: c, Size: int32(len(data))})
		}
		if rng.IntN(2) == 0 {
			e.PendingBytes = int32(rng.IntN(1 << 20))
			m.SetPendingBytes(e.PendingBytes)
		}
		var b bytes.Buffer
		if err := m.ToNetV1(&b); err != nil {
			t.Fatal(err)
		}
		if got := e.WireBytes(); got != b.Len() {
			t.Fatalf("%d bytes, boxo writes %d: %+v", got, b.Len(), e)
		}
		if e.WireSize = 5; e.WireBytes() != 5 {
			t.Fatal("a known size does not count")
		}
	}
}
