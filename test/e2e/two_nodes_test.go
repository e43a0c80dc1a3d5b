package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestTwoNodesAgree fetches 10 MiB over each transport of libp2p. Both nodes'
// streams, databases and kubo's own counts agree to the entry, and the totals to
// the message.
func TestTwoNodesAgree(t *testing.T) {
	for name, listen := range map[string]string{
		"tcp":           "/ip4/127.0.0.1/tcp/0",
		"quic-v1":       "/ip4/127.0.0.1/udp/0/quic-v1",
		"webtransport":  "/ip4/127.0.0.1/udp/0/quic-v1/webtransport",
		"ws":            "/ip4/127.0.0.1/tcp/0/ws",
		"webrtc-direct": "/ip4/127.0.0.1/udp/0/webrtc-direct",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			confined(t, home, map[string]string{"Addresses.Swarm": fmt.Sprintf("[%q]", listen)})
			a := harness.StartNode(t, home, "--name", "a")
			b := harness.StartNode(t, t.TempDir(), "--name", "b")
			agree(t, a, b, name, addresses(a)[0])
		})
	}
	t.Run("p2p-circuit", func(t *testing.T) {
		t.Parallel()
		// A relay without limits: Bitswap does not use limited connections.
		h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.ForceReachabilityPublic(),
			libp2p.EnableRelayService(relay.WithInfiniteLimits()))
		require.NoError(t, err)
		t.Cleanup(func() { h.Close() })
		address := fmt.Sprintf("%s/p2p/%s", h.Addrs()[0], h.ID())
		settings := map[string]string{"Swarm.Transports.Network.Relay": "true", "Swarm.RelayClient.Enabled": "true"}
		homeB := t.TempDir()
		confined(t, homeB, settings)
		settings["Swarm.RelayClient.StaticRelays"] = fmt.Sprintf("[%q]", address)
		settings["Internal.Libp2pForceReachability"] = `"private"`
		homeA := t.TempDir()
		confined(t, homeA, settings)
		a, b := harness.StartRepo(t, homeA, "--name", "a"), harness.StartRepo(t, homeB, "--name", "b")
		through := address + "/p2p-circuit/p2p/" + a.IPFS("id", "-f", "<id>")
		agree(t, a, b, "p2p-circuit", through)
	})
}

// confined makes an isolated repository with settings of its own, which must
// not lead beyond loopback.
func confined(t *testing.T, home string, settings map[string]string) {
	t.Helper()
	n := harness.StartNode(t, home)
	n.Signal(syscall.SIGINT)
	require.Zero(t, n.Wait(30*time.Second))
	for key, value := range settings {
		n.IPFS("config", "--json", key, value)
	}
}

// addresses returns where a node says that it can be reached, with its ID.
func addresses(n *harness.Node) []string {
	n.T.Helper()
	var id struct{ Addresses []string }
	n.RPC("/api/v0/id", &id)
	require.NotEmpty(n.T, id.Addresses)
	return id.Addresses
}

// agree has b fetch a file of a, of which it knows one address.
func agree(t *testing.T, a, b *harness.Node, over, address string) {
	subA, subB := harness.Subscribe(t, a.Stream), harness.Subscribe(t, b.Stream)

	file := filepath.Join(t.TempDir(), "file")
	data := make([]byte, 10<<20)
	_, err := rand.Read(data)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	cid := a.IPFS("add", "-q", file)
	require.Eventually(t, func() bool { // a takes a moment to get its place at a relay, and does not announce one on loopback
		_, err := harness.Run(b.Env, "ipfs", "swarm", "connect", address)
		return err == nil
	}, 60*time.Second, 100*time.Millisecond)
	var peers struct{ Peers []struct{ Addr string } }
	b.RPC("/api/v0/swarm/peers", &peers)
	require.True(t, slices.ContainsFunc(peers.Peers, func(p struct{ Addr string }) bool { return strings.Contains(p.Addr, "/"+over) }), "connected over %v", peers)
	out := filepath.Join(t.TempDir(), "fetched")
	b.IPFS("get", "-o", out, cid)
	fetched, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, data, fetched)

	var statA, statB struct {
		BlocksReceived, DataReceived, BlocksSent, DataSent, DupBlksReceived float64
	}
	onlyWants := func(m map[string]float64) map[string]float64 {
		return map[string]float64{"want_block": m["want_block"], "want_have": m["want_have"], "cancel": m["cancel"]}
	}
	var wire map[string]float64
	require.EventuallyWithT(t, func(c *assert.CollectT) { // the last cancels take a moment
		a.RPC("/api/v0/bitswap/stat", &statA)
		b.RPC("/api/v0/bitswap/stat", &statB)
		wire = onlyWants(subA.Get())
		assert.GreaterOrEqual(c, wire["want_block"], 41.0) // a slow machine asks again
		assert.Positive(c, wire["cancel"])                 // none for a block that came before its want was sent; kubo's count below says how many
		assert.Positive(c, wire["want_have"])
		storedA, storedB := a.Stored("received"), b.Stored("sent")
		assert.Equal(c, wire, onlyWants(storedA), "stream and InfluxDB of a")
		assert.Equal(c, wire, onlyWants(storedB), "what b sent and a received")
		assert.Equal(c, wire["want_block"]+wire["want_have"]+wire["cancel"], b.Prometheus("exchange_bitswap_wantlists_items_total"),
			"kubo's own count of entries that b has sent")

		// Blocks and bytes: the streams, both databases and kubo on both sides.
		storedA, storedB = a.Stored("sent"), b.Stored("received")
		assert.GreaterOrEqual(c, statB.BlocksReceived, 41.0)
		assert.GreaterOrEqual(c, statB.DataReceived, 10_488_250.0)
		assert.Equal(c, statB.BlocksReceived, subB.Get()["blocks"])
		assert.Equal(c, statB.BlocksReceived, storedB["blocks"])
		assert.Equal(c, statB.DataReceived, storedB["bytes"])
		assert.Equal(c, statA.BlocksSent, storedA["blocks"])
		assert.Equal(c, statA.DataSent, storedA["bytes"])
		assert.Equal(c, statA.DataSent, statB.DataReceived)
		assert.Equal(c, subB.Get()["have"], storedA["have"], "presences")
		assert.Zero(c, storedA["want_block"])
		assert.Zero(c, storedB["want_block"])
	}, time.Minute, 200*time.Millisecond)
	t.Logf("wants: %v; blocks %v, bytes %v", wire, statB.BlocksReceived, statB.DataReceived)

	// Connections: opened once on each side, closed once after b has ended.
	b.Signal(syscall.SIGINT)
	require.Zero(t, b.Wait(30*time.Second))
	require.Eventually(t, func() bool { return subA.Get()["closed"] == subA.Get()["opened"] }, 30*time.Second, 50*time.Millisecond)
	require.Positive(t, subA.Get()["opened"])

	// The totals agree with the history, and with each other to the message.
	a.Signal(syscall.SIGINT)
	require.Zero(t, a.Wait(30*time.Second))
	total := func(n *harness.Node, field, direction string) string {
		t.Helper()
		got, err := harness.Run(n.Env, "query", "--format", "csv", "SELECT sum("+field+") FROM totals.traffic WHERE direction='"+direction+"'")
		require.NoError(t, err, got)
		lines := strings.Split(strings.TrimSpace(got), "\n")
		return lines[len(lines)-1][strings.LastIndexByte(lines[len(lines)-1], ',')+1:]
	}
	for field, want := range wire {
		require.Equal(t, fmt.Sprint(want), total(a, field, "received"), field)
	}
	for _, field := range []string{"messages", "want_block", "want_have", "cancel", "have", "dont_have", "blocks", "block_bytes"} {
		require.Equal(t, total(b, field, "sent"), total(a, field, "received"), "%s from b to a", field)
		require.Equal(t, total(a, field, "sent"), total(b, field, "received"), "%s from a to b", field)
	}
	require.NotEqual(t, "0", total(a, "messages", "sent"))
}
