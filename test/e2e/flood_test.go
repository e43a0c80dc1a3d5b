package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestAFloodIsNamedAndBlocked floods a node from a peer of a stranger's, reads the
// flood from the API and the store, and runs the command that it names: the peer
// is gone then, and cannot come back. Beside it are a kubo that asks for
// something that the node does not have, and one that asks for nothing: coverage
// must count both.
func TestAFloodIsNamedAndBlocked(t *testing.T) {
	a := harness.StartNode(t, t.TempDir(), "--name", "a")
	to, err := peer.AddrInfoFromString(addresses(a)[0])
	require.NoError(t, err)
	asks, quiet := harness.StartNode(t, t.TempDir(), "--name", "asks"), harness.StartNode(t, t.TempDir(), "--name", "quiet")
	for _, n := range []*harness.Node{asks, quiet} {
		n.IPFS("swarm", "connect", addresses(a)[0])
	}
	missing := blocks.NewBlock([]byte("nobody has this")).Cid().String()
	want := exec.Command(harness.Bin, "ipfs", "block", "get", missing)
	want.Env = asks.Env
	require.NoError(t, want.Start())
	t.Cleanup(func() { _ = want.Process.Kill(); _ = want.Wait() })

	stranger, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.UserAgent("loop/1"))
	require.NoError(t, err)
	t.Cleanup(func() { stranger.Close() })
	dial := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return stranger.Connect(network.WithForceDirectDial(ctx, "test"), *to)
	}
	require.NoError(t, dial())
	began := time.Now()
	sent := make(chan error, 1)
	go func() { sent <- flood(t.Context(), stranger, to.ID) }()

	var found httpapi.Flood
	require.Eventually(t, func() bool {
		for _, f := range floodsOf(a) {
			if f.Peer == stranger.ID().String() && f.Until == nil {
				found = f
				return true
			}
		}
		return false
	}, 60*time.Second, 100*time.Millisecond, "the flood is not named")
	t.Logf("named %v after the peer connected: %+v", time.Since(began).Round(time.Millisecond), found)
	require.EqualValues(t, "loop/1", found.Agent)
	require.Greater(t, found.WantsPerSecond, uint64(200))
	require.Contains(t, string(found.Block), "ipfs swarm filters add /ip4/127.0.0.1/ipcidr/32 && ipfs swarm disconnect /p2p/"+stranger.ID().String())

	require.Eventually(t, func() bool {
		code, out, _ := harness.Apart(t, a.Env, "query", "--format", "csv", "floods")
		return code == 0 && strings.Contains(out, stranger.ID().String()) && strings.Contains(out, string(found.Block))
	}, 60*time.Second, 300*time.Millisecond, "the store does not have the flood")
	require.Eventually(t, func() bool {
		code, out, _ := harness.Apart(t, a.Env, "query", "--format", "csv", "coverage")
		return code == 0 && strings.Contains(out, "kubo,2,1,1") && strings.Contains(out, "other,1,1,1")
	}, 60*time.Second, 300*time.Millisecond, "coverage is not that of two nodes, of which one asked, and a stranger")
	const seen = "of 3 connected peers 2 asked it since they connected, 2 as peers ask all their peers"
	code, rows, beside := harness.Apart(t, a.Env, "query", "--format", "csv", "top-peers")
	require.Zero(t, code)
	require.Contains(t, beside, seen)
	require.NotContains(t, rows, "connected")
	_, _, beside = harness.Apart(t, a.Env, "query", "--format", "csv", "line")
	require.NotContains(t, beside, "connected", "the line is this node's")
	top, _ := a.API("GET", "/top?kind=peers", "", 200)
	require.Contains(t, string(top), `{"family":"kubo","connected":2,"asked":1,"broadcast":1}`)
	require.EqualValues(t, 1, a.Prometheus("ipfsmon_derive_flooding_peers"))

	for _, command := range strings.Split(string(found.Block), " && ") {
		a.IPFS(strings.Fields(command)[1:]...)
	}
	require.Eventually(t, func() bool { return stranger.Network().Connectedness(to.ID) != network.Connected }, 30*time.Second, 10*time.Millisecond, "the peer is still connected")
	require.Error(t, <-sent, "the flood went on")
	for range 3 {
		// Over QUIC the dialer takes a connection for open before it is refused.
		if dial() == nil {
			require.Eventually(t, func() bool { return stranger.Network().Connectedness(to.ID) != network.Connected }, 30*time.Second, 10*time.Millisecond, "the peer came back")
		}
		require.NotContains(t, a.IPFS("swarm", "peers"), stranger.ID().String())
	}
	require.NotContains(t, a.IPFS("swarm", "peers"), stranger.ID().String())
	require.Eventually(t, func() bool {
		for _, f := range floodsOf(a) {
			if f.Peer == stranger.ID().String() && f.Until != nil {
				return true
			}
		}
		return false
	}, 60*time.Second, 100*time.Millisecond, "the flood has no end")
}

// floodsOf asks a node's HTTP API.
func floodsOf(n *harness.Node) []httpapi.Flood {
	n.T.Helper()
	result, _ := n.API("GET", "/floods", "", 200)
	var out struct{ Floods []httpapi.Flood }
	require.NoError(n.T, json.Unmarshal(result, &out))
	return out.Floods
}

// flood sends 40 messages of 20 wants each in a second, until it cannot.
func flood(ctx context.Context, h host.Host, to peer.ID) error {
	s, err := h.NewStream(ctx, to, "/ipfs/bitswap/1.2.0")
	if err != nil {
		return err
	}
	defer s.Close()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		m := bsmsg.New(false)
		for k := range 20 {
			m.AddEntry(blocks.NewBlock(fmt.Appendf(nil, "want %d of %d", k, i)).Cid(), 1, pb.Message_Wantlist_Have, false)
		}
		if err := m.ToNetV1(s); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
