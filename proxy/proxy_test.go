package proxy

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBlocksArriveFromTheNodeThatHasThem(t *testing.T) {
	for _, balance := range Balances {
		t.Run(balance, func(t *testing.T) {
			var cfg Config
			blks := newBlocks(t, 60, 20_000)
			for i := range 3 {
				n := newTestNode(t)
				n.put(t, blks[i*20:(i+1)*20]...)
				cfg.Downstreams = append(cfg.Downstreams, apiAddr(n.api))
			}
			cfg.Balance = balance
			p := startProxy(t, cfg)
			var wg sync.WaitGroup
			for range 4 {
				up := newTestNode(t)
				p.connect(t, up.Host)
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), patient)
					defer cancel()
					if err := up.tryFetch(ctx, blks); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			s := p.Sample(time.Second)
			require.EqualValues(t, 4, s.UpstreamPeers)
			// A peer sends a want twice when its full list and the want cross, and gets
			// two answers.
			require.GreaterOrEqual(t, s.Sent.Blocks, uint64(240))
			require.Less(t, s.Sent.Blocks, uint64(300))
			var verified uint64
			for _, d := range s.Downstreams {
				require.Zero(t, d.Refused)
				verified += d.Verified
			}
			t.Logf("%+v", s)
			require.GreaterOrEqual(t, verified, uint64(60))
			require.Less(t, verified, uint64(240), "a block that four peers want is fetched once")
		})
	}
}
