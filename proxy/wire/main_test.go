package wire

import (
	"crypto/rand"
	"testing"
	"time"

	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient bounds each wait of a test.
const patient = 60 * time.Second

const (
	wantBlock = pb.Message_Wantlist_Block
	wantHave  = pb.Message_Wantlist_Have
)

// newBlocks returns n raw blocks of random bytes.
func newBlocks(t testing.TB, n, size int) []blocks.Block {
	t.Helper()
	out := make([]blocks.Block, n)
	for i := range out {
		b := make([]byte, size)
		_, err := rand.Read(b)
		require.NoError(t, err)
		c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum(b)
		require.NoError(t, err)
		out[i], err = blocks.NewBlockWithCid(b, c)
		require.NoError(t, err)
	}
	return out
}
