package wire

import (
	"bytes"
	"io"
	"slices"
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"
)

// mixedMessage has everything that a message can have.
func mixedMessage(t testing.TB, sizes ...int) bsmsg.BitSwapMessage {
	m := bsmsg.New(true)
	others := newBlocks(t, 5, 10)
	m.AddEntry(others[0].Cid(), 7, wantBlock, true)
	m.AddEntry(others[1].Cid(), 6, wantHave, false)
	m.Cancel(others[2].Cid())
	m.AddHave(others[3].Cid())
	m.AddDontHave(others[4].Cid())
	m.SetPendingBytes(12345)
	for _, size := range sizes {
		m.AddBlock(newBlocks(t, 1, size)[0])
	}
	return m
}

func requireSame(t testing.TB, want, got bsmsg.BitSwapMessage) {
	t.Helper()
	byCID := func(a, b cid.Cid) int { return bytes.Compare(a.Bytes(), b.Bytes()) }
	sorted := func(in []cid.Cid) []cid.Cid { slices.SortFunc(in, byCID); return in }
	require.Equal(t, want.Full(), got.Full())
	require.Equal(t, want.PendingBytes(), got.PendingBytes())
	require.Equal(t, sorted(want.Haves()), sorted(got.Haves()))
	require.Equal(t, sorted(want.DontHaves()), sorted(got.DontHaves()))
	require.ElementsMatch(t, want.Wantlist(), got.Wantlist())
	a, b := want.Blocks(), got.Blocks()
	require.Len(t, b, len(a))
	less := func(a, b blocks.Block) int { return byCID(a.Cid(), b.Cid()) }
	slices.SortFunc(a, less)
	slices.SortFunc(b, less)
	for i := range a {
		require.Equal(t, a[i].Cid(), b[i].Cid())
		require.True(t, bytes.Equal(a[i].RawData(), b[i].RawData()))
	}
}

func TestMessagesAreReadAsBoxoReadsThem(t *testing.T) {
	var stream bytes.Buffer
	var all []bsmsg.BitSwapMessage
	for _, m := range []bsmsg.BitSwapMessage{
		mixedMessage(t), mixedMessage(t, 1), mixedMessage(t, 100, 200, 300), mixedMessage(t, 5000, 60_000), mixedMessage(t, 256<<10), bsmsg.New(false),
	} {
		require.NoError(t, m.ToNetV1(&stream))
		all = append(all, m)
	}
	v0 := bsmsg.New(false) // of Bitswap 1.0: blocks without a prefix
	v0.AddBlock(blocks.NewBlock([]byte("of old")))
	v0.AddBlock(blocks.NewBlock(make([]byte, 9000)))
	require.NoError(t, v0.ToNetV0(&stream))
	all = append(all, v0)

	in := NewReader(&stream)
	var got []bsmsg.BitSwapMessage
	for {
		m, err := in.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		got = append(got, m) // compared after their buffers were used again
	}
	require.Len(t, got, len(all))
	for i := range all {
		requireSame(t, all[i], got[i])
	}
}

func TestMessagesThatAreNone(t *testing.T) {
	for name, b := range map[string][]byte{
		"no length":           {0x80},
		"longer than allowed": {0xff, 0xff, 0xff, 0x0f},
		"cut off":             {10, 1, 2},
		"no tag":              {1, 0},
		"a value cut off":     {2, 0x1a, 9},
		"a block cut off":     {4, 0x1a, 2, 0x12, 9},
		"a block, no prefix":  {5, 0x1a, 3, 0x12, 1, 7},
		"a CID that is none":  {6, 0x0a, 4, 0x0a, 2, 0x0a, 0},
	} {
		in := NewReader(bytes.NewReader(b))
		_, err := in.Next()
		require.Error(t, err, name)
		require.NotEqual(t, io.EOF, err, name)
	}
}

func TestABlockIsWrittenAsBoxoWritesIt(t *testing.T) {
	for _, size := range []int{smallMessage + 1, firstWrite - maxPreamble, firstWrite, 256 << 10, 1 << 20} {
		m := bsmsg.New(false)
		m.AddBlock(newBlocks(t, 1, size)[0])
		require.IsType(t, &blockMessage{}, NoCopy(m))
		var want, got bytes.Buffer
		require.NoError(t, m.ToNetV1(&want))
		require.NoError(t, NoCopy(m).ToNetV1(&got))
		require.True(t, bytes.Equal(want.Bytes(), got.Bytes()), "of %d bytes", size)
	}
	m := mixedMessage(t, 256<<10)
	require.Same(t, m, NoCopy(m), "a message with more than the block is written by boxo")
}

// FuzzMessage compares what is read with what boxo reads.
func FuzzMessage(f *testing.F) {
	for _, sizes := range [][]int{nil, {1}, {10, 5000}} {
		var b bytes.Buffer
		require.NoError(f, mixedMessage(f, sizes...).ToNetV1(&b))
		f.Add(b.Bytes())
		f.Add([]byte{0}) // an empty message
		b.Reset()
		require.NoError(f, mixedMessage(f, sizes...).ToNetV0(&b))
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, _, theirs := bsmsg.FromNet(bytes.NewReader(b))
		in := NewReader(bytes.NewReader(b))
		got, ours := in.Next()
		require.Equal(t, theirs == nil, ours == nil, "boxo: %v; here: %v", theirs, ours)
		if ours == nil {
			requireSame(t, want, got)
		}
	})
}

// discard counts the bytes that are written to it.
type discard struct{ n int }

func (d *discard) Write(b []byte) (int, error) { d.n += len(b); return len(b), nil }

// A block of 256 KiB is read into one buffer and written from it: the other allocations
// must not grow with its size.
func TestAllocationsOfABlock(t *testing.T) {
	const size = 256 << 10
	m := bsmsg.New(false)
	m.AddBlock(newBlocks(t, 1, size)[0])
	var wire bytes.Buffer
	require.NoError(t, m.ToNetV1(&wire))
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			in := NewReader(bytes.NewReader(wire.Bytes()))
			got, err := in.Next()
			if err != nil {
				b.Fatal(err)
			}
			var out discard
			if err := NoCopy(got).ToNetV1(&out); err != nil || out.n != wire.Len() {
				b.Fatal(err, out.n)
			}
		}
	})
	require.Less(t, r.AllocedBytesPerOp(), int64(size+size/8))
	require.Less(t, r.AllocsPerOp(), int64(40))
	t.Logf("%d allocations of %d bytes for a block of %d", r.AllocsPerOp(), r.AllocedBytesPerOp(), size)
}
