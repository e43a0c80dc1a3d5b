package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// A block keeps its message in memory only if it is most of it, and never the buffer for small
// messages, which is used again.
func TestBlocksAliasTheirMessage(t *testing.T) {
	for _, c := range []struct {
		block, whole int
		aliases      bool
	}{
		{smallMessage - 100, smallMessage, false},
		{smallMessage - 100, smallMessage + 1, true},
		{5000, 10_000, true},
		{5000, 9_999, true},
		{5000, 10_001, false},
		{1, smallMessage + 1, false},
	} {
		for _, field := range []protowire.Number{fieldBlocks, fieldPayload} {
			data := newBlocks(t, 1, c.block)[0]
			value := data.RawData()
			if field == fieldPayload {
				value = protowire.AppendTag(nil, fieldBlockPrefix, protowire.BytesType)
				value = protowire.AppendBytes(value, data.Cid().Prefix().Bytes())
				value = protowire.AppendTag(value, fieldBlockData, protowire.BytesType)
				value = protowire.AppendBytes(value, data.RawData())
			}
			b := protowire.AppendTag(nil, field, protowire.BytesType)
			b = protowire.AppendBytes(b, value)
			const unknown = 15
			for fill := c.whole - len(b) - 4; ; fill++ { // a field that nobody knows
				x := protowire.AppendBytes(protowire.AppendTag(bytes.Clone(b), unknown, protowire.BytesType), make([]byte, fill))
				if len(x) >= c.whole {
					require.Len(t, x, c.whole)
					b = x
					break
				}
			}
			m, err := decode(b)
			require.NoError(t, err)
			require.Len(t, m.Blocks(), 1)
			got := m.Blocks()[0].RawData()
			require.True(t, bytes.Equal(data.RawData(), got))
			require.Equal(t, len(got), cap(got), "an append to the block must not change the message")
			clear(b)
			require.Equal(t, c.aliases, !bytes.Equal(data.RawData(), got), "%+v, field %d", c, field)
		}
	}
}

// A message as long as libp2p's limit is read, a longer one is an error; the buffer for small
// ones is as long as it may be.
func TestMessageLimits(t *testing.T) {
	read := func(n int) (int, error) {
		field := protowire.AppendTag(nil, 15, protowire.BytesType) // that nobody knows
		for size := n - len(field) - 5; ; size++ {
			if len(field)+protowire.SizeBytes(size) < n {
				continue
			}
			b := protowire.AppendVarint(nil, uint64(n))
			b = append(b, field...)
			b = protowire.AppendBytes(b, make([]byte, size))
			in := NewReader(bytes.NewReader(append(b, b[:1]...)))
			_, err := in.Next()
			if err == nil {
				_, again := in.Next()
				require.ErrorIs(t, again, io.ErrUnexpectedEOF)
			}
			return len(b) - protowire.SizeVarint(uint64(n)), err
		}
	}
	for _, n := range []int{smallMessage - 1, smallMessage, smallMessage + 1, network.MessageSizeMax} {
		got, err := read(n)
		require.NoError(t, err, n)
		require.Equal(t, n, got)
	}
	_, err := read(network.MessageSizeMax + 1)
	require.Error(t, err)
}

// writes notes the length of each write, and fails at one of them.
type writes struct {
	all  []int
	data bytes.Buffer
	fail int
}

var errFull = errors.New("full")

func (w *writes) Write(b []byte) (int, error) {
	w.all = append(w.all, len(b))
	if w.fail == len(w.all) {
		return 0, errFull
	}
	return w.data.Write(b)
}

// A block is written in one write if it fits into the first, else in two, the first of which is
// full; a smaller block is left to boxo.
func TestWritesOfABlock(t *testing.T) {
	message := func(size int) bsmsg.BitSwapMessage {
		m := bsmsg.New(false)
		m.AddBlock(newBlocks(t, 1, size)[0])
		return NoCopy(m)
	}
	require.NotEqual(t, "*wire.blockMessage", typeOf(message(smallMessage)))
	require.Equal(t, "*wire.blockMessage", typeOf(message(smallMessage+1)))
	for _, size := range []int{smallMessage + 1, firstWrite - maxPreamble, firstWrite - 20, firstWrite - 1, firstWrite, 256 << 10} {
		var w writes
		m := message(size)
		require.NoError(t, m.ToNetV1(&w))
		whole := w.data.Len()
		if size+maxPreamble <= firstWrite || whole <= firstWrite {
			require.Equal(t, []int{whole}, w.all, size)
		} else {
			require.Equal(t, []int{firstWrite, whole - firstWrite}, w.all, size)
		}
		for fail := range len(w.all) {
			again := writes{fail: fail + 1}
			require.ErrorIs(t, m.ToNetV1(&again), errFull)
			require.Len(t, again.all, fail+1)
		}
	}
	two := bsmsg.New(false)
	for _, b := range newBlocks(t, 2, smallMessage+1) {
		two.AddBlock(b)
	}
	require.NotEqual(t, "*wire.blockMessage", typeOf(NoCopy(two)))
	for _, add := range []func(bsmsg.BitSwapMessage, cid.Cid){
		func(m bsmsg.BitSwapMessage, c cid.Cid) { m.AddHave(c) },
		func(m bsmsg.BitSwapMessage, c cid.Cid) { m.Cancel(c) },
	} {
		m := bsmsg.New(false)
		m.AddBlock(newBlocks(t, 1, smallMessage+1)[0])
		add(m, newBlocks(t, 1, 1)[0].Cid())
		require.NotEqual(t, "*wire.blockMessage", typeOf(NoCopy(m)))
	}
}

func typeOf(v any) string {
	if _, ok := v.(*blockMessage); ok {
		return "*wire.blockMessage"
	}
	return "boxo's"
}

// oldPeer speaks Bitswap before 1.2, or does not.
type oldPeer struct {
	bsnetwork.MessageSender
	haves bool
}

func (p oldPeer) SupportsHave() bool { return p.haves }

// A peer of an old version is not sent what it cannot read.
func TestReadable(t *testing.T) {
	m := mixedMessage(t, 10, 20)
	require.Same(t, m, Readable(m, oldPeer{haves: true}))
	got := Readable(m, oldPeer{})
	require.Empty(t, got.BlockPresences())
	require.True(t, got.Full())
	require.ElementsMatch(t, m.Blocks(), got.Blocks())
	require.Len(t, got.Wantlist(), 3)
	for _, w := range got.Wantlist() {
		for _, x := range m.Wantlist() {
			if x.Cid == w.Cid {
				require.Equal(t, x, w)
			}
		}
	}
	without := bsmsg.New(false)
	without.Cancel(newBlocks(t, 1, 1)[0].Cid())
	require.Same(t, without, Readable(without, oldPeer{}))
}
