package watch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
)

// counted stands for a network and a stream that take no time.
type counted struct {
	bsnetwork.BitSwapNetwork
	network.Stream
	n int
}

func (c *counted) SendMessage(context.Context, peer.ID, bsmsg.BitSwapMessage) error {
	c.n++
	return nil
}
func (c *counted) Write(b []byte) (int, error) { c.n++; return len(b), nil }

// TestRates: however much is to be sent, it takes the time that the rates say.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(&settings{Config: Config{Rate: 10, Answers: 100}})
		out, began := &counted{}, time.Now()
		server := &budgetNetwork{out, b}
		for range 1100 {
			require.NoError(t, server.SendMessage(t.Context(), "p", nil))
		}
		require.InDelta(t, 10, time.Since(began).Seconds(), 0.1, "100 at once, then 1000 at 100 a second")
		require.Equal(t, 1100, out.n)

		began = time.Now()
		asks := &budgetStream{out, b.begun}
		for range 60 {
			_, err := asks.Write([]byte("request"))
			require.NoError(t, err)
		}
		require.InDelta(t, 5, time.Since(began).Seconds(), 0.1, "10 at once, then 50 at 10 a second")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, wait(ctx, b.begun), "who does not wait does not send")
	})
}
