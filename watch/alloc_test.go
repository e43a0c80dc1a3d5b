//go:build !race

package watch

// The race detector makes sync.Pool drop entries at random.

import (
	"bufio"
	"bytes"
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/stretchr/testify/require"
)

// TestReadingDoesNotAllocate: only CIDs are allocated.
func TestReadingDoesNotAllocate(t *testing.T) {
	m := bsmsg.New(false)
	m.AddEntry(cidOf(1), 1, pb.Message_Wantlist_Have, true)
	m.Cancel(cidOf(2))
	var one bytes.Buffer
	require.NoError(t, m.ToNetV1(&one))
	const rounds = 1000
	in := reader{in: bufio.NewReaderSize(bytes.NewReader(bytes.Repeat(one.Bytes(), rounds+2)), readAhead)}
	got := testing.AllocsPerRun(rounds, func() {
		if err := in.next(func(bsmsg.BitSwapMessage) {}); err != nil {
			t.Error(err)
		}
	})
	require.LessOrEqual(t, got, 2.1, "one for each CID; a collection may empty the pool")
}
