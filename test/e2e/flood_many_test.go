package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/kubo/config"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

const (
	quietPeers = 1000
	quietRate  = 500 // messages a second of all of them together, a want each
	foundAfter = 10 * time.Second
)

// lightHost is a peer that dials and listens nowhere.
func lightHost() (host.Host, error) {
	return libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(tcp.NewTCPTransport), libp2p.DisableRelay(), libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}))
}

// TestAFloodAmongAThousandPeers: a kubo with 1,000 peers, real libp2p hosts that
// want something every other second. One more floods it: it is named within ten
// seconds, and nobody else is.
func TestAFloodAmongAThousandPeers(t *testing.T) {
	points := filepath.Join(t.TempDir(), "points")
	kubo := harness.StartKubo(t, func(c *config.Config) {
		c.Swarm.ConnMgr.LowWater, c.Swarm.ConnMgr.HighWater = config.NewOptionalInteger(4*quietPeers), config.NewOptionalInteger(4*quietPeers)
		c.Swarm.ResourceMgr.Enabled = config.False
		c.Plugins.Plugins = map[string]config.Plugin{monitor.Name: {Config: map[string]any{
			"InfluxDB": map[string]any{"URL": "file://" + points, "History": false}, "PopulatePrometheusInterval": 1,
		}}}
	})
	to, err := peer.AddrInfoFromString(addressOf(kubo))
	require.NoError(t, err)

	quiet, streams := make([]host.Host, quietPeers), make([]network.Stream, quietPeers)
	t.Cleanup(func() {
		for _, h := range quiet {
			if h != nil {
				h.Close()
			}
		}
	})
	connecting, ctx := errgroup.WithContext(t.Context())
	connecting.SetLimit(16)
	began := time.Now()
	for i := range quiet {
		connecting.Go(func() (err error) {
			if quiet[i], err = lightHost(); err != nil {
				return err
			}
			quiet[i].SetStreamHandler("/ipfs/bitswap/1.2.0", func(s network.Stream) { s.Reset() })
			if err := quiet[i].Connect(ctx, *to); err != nil {
				return err
			}
			if streams[i], err = quiet[i].NewStream(ctx, to.ID, "/ipfs/bitswap/1.2.0"); err != nil {
				return err
			}
			return bsmsg.New(false).ToNetV1(streams[i]) // the protocol is agreed on with the first bytes
		})
	}
	require.NoError(t, connecting.Wait())
	t.Logf("%d peers connected in %v", quietPeers, time.Since(began).Round(time.Millisecond))

	loading, stop := context.WithCancel(t.Context())
	var wanted atomic.Int64
	var group errgroup.Group
	group.Go(func() error { return murmur(loading, streams, &wanted) })
	flooder, err := lightHost()
	require.NoError(t, err)
	defer flooder.Close()
	require.NoError(t, flooder.Connect(t.Context(), *to))
	began = time.Now()
	group.Go(func() error { _ = flood(loading, flooder, to.ID); return nil })

	named := map[string]time.Duration{}
	read := func() bool {
		b, err := os.ReadFile(points)
		if err != nil {
			return false
		}
		for _, p := range influxtest.Decode(t, string(b[:bytes.LastIndexByte(b, '\n')+1])) {
			if p.Name == "floods" && p.Tags["state"] == "began" {
				if id := p.Fields["peer"].(string); named[id] == 0 {
					named[id] = time.Since(began)
				}
			}
		}
		return named[flooder.ID().String()] > 0
	}
	require.True(t, waitFor(read, time.Minute), "the flood is not named")
	after := named[flooder.ID().String()]
	t.Logf("named after %v; %d quiet wants in that time", after.Round(time.Millisecond), wanted.Load())
	require.LessOrEqual(t, after, foundAfter)
	time.Sleep(3 * time.Second) // a window and more, in which another could be named by mistake
	read()
	stop()
	require.NoError(t, group.Wait())
	require.Len(t, named, 1, "quiet peers are named")
	require.Positive(t, wanted.Load())
}

// murmur has each peer in turn send a want.
func murmur(ctx context.Context, streams []network.Stream, sent *atomic.Int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begin, n := time.Now(), 0; ; {
		for due := int(time.Since(begin).Seconds() * quietRate); n < due; n++ {
			m := bsmsg.New(false)
			m.AddEntry(blocks.NewBlock(fmt.Appendf(nil, "quiet %d", n)).Cid(), 1, pb.Message_Wantlist_Have, false)
			if err := m.ToNetV1(streams[n%len(streams)]); err != nil && ctx.Err() == nil {
				return err
			}
			sent.Add(1)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
