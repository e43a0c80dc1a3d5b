//go:build programs || all

package programs

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core"
	kubolibp2p "github.com/ipfs/kubo/core/node/libp2p"
	"github.com/ipfs/kubo/repo"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/loopback"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestADHTFindsTheLightNode: fifty kubo nodes in a DHT of their own, of which the light node
// knows one. Every kubo finds it in the DHT, and it is connected to all.
func TestADHTFindsTheLightNode(t *testing.T) {
	const count = 50
	nodes := make([]*core.IpfsNode, count)
	for i := range nodes { // one after the other: kubo writes variables of its packages
		nodes[i] = kubo(t)
	}
	first := peer.AddrInfo{ID: nodes[0].Identity, Addrs: nodes[0].PeerHost.Addrs()}
	for _, n := range nodes[1:] {
		require.NoError(t, n.PeerHost.Connect(t.Context(), first))
	}
	w := harness.StartWatch(t, t.TempDir(), "--dht", "server", "--lookup-every", "1s",
		"--bootstrap", fmt.Sprintf("%s/p2p/%s", first.Addrs[0], first.ID))
	id, err := peer.Decode(w.ID)
	require.NoError(t, err)
	for i, n := range nodes {
		require.Eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			found, err := n.DHT.FindPeer(ctx, id)
			return err == nil && len(found.Addrs) > 0 && n.PeerHost.Connect(ctx, found) == nil
		}, 2*time.Minute, 100*time.Millisecond, "node %d does not find it", i)
		require.Equal(t, network.Connected, n.PeerHost.Network().Connectedness(id))
	}
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + w.HTTP + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(b), fmt.Sprintf("\nplugin_metric_export_wiretap_peers %d\n", count))
	}, time.Minute, 100*time.Millisecond)
	require.Eventually(t, func() bool {
		return w.Query("SELECT count(distinct(peer)) FROM connections WHERE state = 'opened'") == count
	}, time.Minute, 100*time.Millisecond)
}

// kubo runs an isolated node in this process until the test's end.
func kubo(t *testing.T) *core.IpfsNode {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	raw, err := crypto.MarshalPrivateKey(key)
	require.NoError(t, err)
	id, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	var cfg config.Config
	cfg.Identity = config.Identity{PeerID: id.String(), PrivKey: base64.StdEncoding.EncodeToString(raw)}
	loopback.Apply(&cfg)
	cfg.Swarm.ConnMgr.Type = config.NewOptionalString("none")
	cfg.Swarm.ResourceMgr.Enabled = config.False
	cfg.Provide.Enabled = config.False
	n, err := core.NewNode(context.Background(), &core.BuildCfg{
		Online: true, Routing: kubolibp2p.DHTServerOption, ShutdownTimeout: 5 * time.Second,
		Repo: &repo.Mock{C: cfg, D: dssync.MutexWrap(ds.NewMapDatastore())},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.Close() })
	return n
}
