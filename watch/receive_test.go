package watch

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"
)

func cidOf(n int) cid.Cid { return blocks.NewBlock(fmt.Append(nil, n)).Cid() }

// wantlists are messages of all sizes, of which the first are small ones.
func wantlists() (small, others []bsmsg.BitSwapMessage) {
	for _, n := range []int{0, 1, 2, 9} {
		m := bsmsg.New(n%2 == 1)
		for i := range n {
			m.AddEntry(cidOf(i), math.MaxInt32-int32(i), pb.Message_Wantlist_WantType(i%2), i%3 == 0)
		}
		m.Cancel(cidOf(n))
		small = append(small, m)
	}
	small = append(small, bsmsg.New(false), bsmsg.New(true))
	pending := bsmsg.New(false)
	pending.SetPendingBytes(-7)
	pending.AddEntry(cidOf(1), -1, pb.Message_Wantlist_WantType(5), false)
	small = append(small, pending)
	for _, n := range []int{13, 1000} { // longer than what is read ahead
		m := bsmsg.New(false)
		for i := range n {
			m.AddEntry(cidOf(i), 1, pb.Message_Wantlist_Have, true)
		}
		others = append(others, m)
	}
	m := bsmsg.New(false)
	m.AddEntry(cidOf(1), 1, pb.Message_Wantlist_Have, true)
	m.AddDontHave(cidOf(2))
	m.AddBlock(blocks.NewBlock([]byte("a block that nobody asked for")))
	return small, append(others, m)
}

func requireSame(t *testing.T, want, got bsmsg.BitSwapMessage) {
	t.Helper()
	require.Equal(t, want.Full(), got.Full())
	require.Equal(t, want.Empty(), got.Empty())
	require.Equal(t, want.PendingBytes(), got.PendingBytes())
	require.ElementsMatch(t, want.Wantlist(), got.Wantlist())
	require.ElementsMatch(t, want.Wantlist(), got.FillWantlist(make([]bsmsg.Entry, 3)))
	require.ElementsMatch(t, want.BlockPresences(), got.BlockPresences())
	require.ElementsMatch(t, want.Blocks(), got.Blocks())
	require.ElementsMatch(t, want.DontHaves(), got.DontHaves())
}

func TestMessagesAreReadAsBoxoReadsThem(t *testing.T) {
	small, others := wantlists()
	all := append(append(append([]bsmsg.BitSwapMessage{}, small...), others...), small...)
	var wire bytes.Buffer
	for _, m := range all {
		require.NoError(t, m.ToNetV1(&wire))
	}
	in := reader{in: bufio.NewReaderSize(&wire, readAhead)}
	ours := 0
	for _, want := range all {
		require.NoError(t, in.next(func(got bsmsg.BitSwapMessage) {
			requireSame(t, want, got)
			if _, small := got.(*smallMessage); small {
				ours++
			}
		}))
	}
	require.Equal(t, 2*len(small), ours)
	require.Equal(t, io.EOF, in.next(func(bsmsg.BitSwapMessage) { t.Error("a message after the last") }))
}

func TestMessagesThatAreNone(t *testing.T) {
	for name, b := range map[string][]byte{
		"no length":           {0x80},
		"longer than allowed": {0xff, 0xff, 0xff, 0x0f},
		"cut off":             {10, 1, 2},
		"no tag":              {1, 0},
		"a value cut off":     {2, 0x0a, 9},
		"a CID that is none":  {6, 0x0a, 4, 0x0a, 2, 0x0a, 0},
		"no CID":              {4, 0x0a, 2, 0x0a, 0},
	} {
		in := reader{in: bufio.NewReaderSize(bytes.NewReader(b), readAhead)}
		err := in.next(func(bsmsg.BitSwapMessage) { t.Error(name) })
		require.Error(t, err, name)
		require.NotEqual(t, io.EOF, err, name)
	}
}

// FuzzSmallMessage: what is decoded here is what boxo decodes.
func FuzzSmallMessage(f *testing.F) {
	small, others := wantlists()
	for _, m := range append(small, others...) {
		var wire bytes.Buffer
		require.NoError(f, m.ToNetV1(&wire))
		_, n := binary.Uvarint(wire.Bytes())
		f.Add(wire.Bytes()[n:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m smallMessage
		m.BitSwapMessage = noMessage
		if len(b) > readAhead || !m.decode(b) {
			return
		}
		want, _, err := bsmsg.FromNet(bytes.NewReader(append(binary.AppendUvarint(nil, uint64(len(b))), b...)))
		require.NoError(t, err)
		requireSame(t, want, &m)
	})
}
