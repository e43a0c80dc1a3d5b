package capture

import (
	"reflect"
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestShapeIsBoxos fails when a new boxo stores its messages in another way.
func TestShapeIsBoxos(t *testing.T) {
	require.NotNil(t, boxoShape.of)
	m := bsmsg.New(false)
	for i := range 3 {
		m.AddEntry(testCID(i), 1, pb.Message_Wantlist_Block, false)
	}
	m.AddHave(testCID(9))
	m.AddHave(testCID(8))
	m.AddBlock(blocks.NewBlock([]byte("x")))
	w, p, b := boxoShape.lengths(m)
	require.Equal(t, []int{3, 2, 1}, []int{w, p, b})
}

func TestAnUnknownShapeIsReadByTheAccessors(t *testing.T) {
	require.Nil(t, shapeOf(reflect.TypeFor[int]()).of)
	require.Nil(t, shapeOf(reflect.TypeFor[*struct{ wantlist []int }]()).of)
	c, next := newTest(t)
	m := wantMessage(2)
	m.AddHave(testCID(9))
	c.MessageReceived(testPeer, struct{ bsmsg.BitSwapMessage }{m})
	e := next()
	require.Len(t, e.Wants, 2)
	require.Len(t, e.Presences, 1)
}

func TestWantsBeyondReasonAreCountedOnly(t *testing.T) {
	c, next := newTest(t)
	m := wantMessage(maxRead + 1)
	m.AddHave(testCID(1))
	c.MessageReceived(testPeer, m)
	e := next()
	require.Empty(t, e.Wants)
	require.Len(t, e.Presences, 1)
	require.EqualValues(t, maxRead+1, e.Truncated)
	require.EqualValues(t, maxRead+1, c.Traffic(event.Libp2p, event.Received).Truncated)
	c.MessageReceived(testPeer, wantMessage(maxRead))
	require.Len(t, next().Wants, event.MaxEntries)
}
