package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

func TestTwoNodesAgree(t *testing.T) {
	a, b := harness.StartNode(t, t.TempDir(), "--name", "a"), harness.StartNode(t, t.TempDir(), "--name", "b")
	subA, subB := harness.Subscribe(t, a.Stream), harness.Subscribe(t, b.Stream)

	file := filepath.Join(t.TempDir(), "file")
	data := make([]byte, 10<<20)
	_, err := rand.Read(data)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	cid := a.IPFS("add", "-q", file)
	var id struct{ Addresses []string }
	a.RPC("/api/v0/id", &id)
	var addr string
	for _, x := range id.Addresses {
		if strings.Contains(x, "/tcp/") {
			addr = x
		}
	}
	b.IPFS("swarm", "connect", addr)
	out := filepath.Join(t.TempDir(), "fetched")
	b.IPFS("get", "-o", out, cid)
	fetched, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, data, fetched)

	var statA, statB struct {
		BlocksReceived, DataReceived, BlocksSent, DataSent, DupBlksReceived float64
	}
	require.Eventually(t, func() bool { // the last cancels take a moment
		a.RPC("/api/v0/bitswap/stat", &statA)
		b.RPC("/api/v0/bitswap/stat", &statB)
		s := subA.Get()
		return s["cancel"] == 41 && s["want_block"] >= 41 && a.Stored("received")["cancel"] == 41 &&
			b.Stored("sent")["cancel"] == 41 && b.Stored("received")["blocks"] == 41
	}, 30*time.Second, 200*time.Millisecond, "stream of a: %v, stored at a: %v, sent by b: %v", subA.Get(), a.Stored("received"), b.Stored("sent"))

	onlyWants := func(m map[string]float64) map[string]float64 {
		return map[string]float64{"want_block": m["want_block"], "want_have": m["want_have"], "cancel": m["cancel"]}
	}
	wire := onlyWants(subA.Get())
	t.Logf("wants: %v; blocks %v, bytes %v", wire, statB.BlocksReceived, statB.DataReceived)
	require.EqualValues(t, 41, wire["want_block"])
	require.Positive(t, wire["want_have"])
	require.Equal(t, wire, onlyWants(a.Stored("received")), "stream and InfluxDB of a")
	require.Equal(t, wire, onlyWants(b.Stored("sent")), "what b sent and a received")
	require.Equal(t, wire["want_block"]+wire["want_have"]+wire["cancel"], b.Prometheus("exchange_bitswap_wantlists_items_total"),
		"kubo's own count of entries that b has sent")

	// Blocks and bytes: the streams, both databases and kubo on both sides.
	require.EqualValues(t, 41, statB.BlocksReceived)
	require.Equal(t, statB.BlocksReceived, subB.Get()["blocks"])
	require.Equal(t, statB.BlocksReceived, b.Stored("received")["blocks"])
	require.Equal(t, statB.DataReceived, b.Stored("received")["bytes"])
	require.Equal(t, statA.BlocksSent, a.Stored("sent")["blocks"])
	require.Equal(t, statA.DataSent, a.Stored("sent")["bytes"])
	require.EqualValues(t, 10_488_250, statA.DataSent)
	require.Equal(t, subB.Get()["have"], a.Stored("sent")["have"], "presences")
	require.Zero(t, a.Stored("sent")["want_block"])
	require.Zero(t, b.Stored("received")["want_block"])

	// Connections: opened once on each side, closed once after b has gone.
	b.Signal(syscall.SIGINT)
	require.Zero(t, b.Wait(10*time.Second))
	require.Eventually(t, func() bool { return subA.Get()["closed"] == subA.Get()["opened"] }, 10*time.Second, 50*time.Millisecond)
	require.Positive(t, subA.Get()["opened"])

	// The totals tell the same as the history.
	a.Signal(syscall.SIGINT)
	require.Zero(t, a.Wait(10*time.Second))
	for _, x := range []struct {
		n         *harness.Node
		direction string
		want      map[string]float64
	}{{a, "received", wire}, {b, "sent", wire}} {
		for field, want := range x.want {
			got, err := harness.Run(x.n.Env, "query", "--format", "csv", "SELECT sum("+field+") FROM totals.traffic WHERE direction='"+x.direction+"'")
			require.NoError(t, err, got)
			require.Contains(t, got, fmt.Sprint(want), "%s of the totals of %s", field, x.direction)
		}
	}
}
