package test

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/stream"
)

// tally is what a subscriber of the stream counted.
type tally struct {
	mu    sync.Mutex
	count map[string]float64
}

// subscribe counts all that a node's stream tells until the test's end.
func subscribe(t *testing.T, addr string) *tally {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c, err := stream.Dial(ctx, addr)
	require.NoError(t, err)
	out := &tally{count: map[string]float64{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			e, err := c.Next()
			if err != nil {
				return
			}
			out.add(e)
		}
	})
	t.Cleanup(func() { cancel(); c.Close(); wg.Wait() })
	return out
}

func (a *tally) add(e *stream.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := e.Message; m != nil {
		a.count["messages"]++
		for _, w := range m.Wants {
			switch {
			case w.Cancel:
				a.count["cancel"]++
			case w.WantType == 0:
				a.count["want_block"]++
			default:
				a.count["want_have"]++
			}
		}
		a.count["blocks"] += float64(len(m.Blocks))
		for _, p := range m.Presences {
			a.count[[]string{"have", "dont_have"}[p.Type]]++
		}
	}
	if c := e.Connection; c != nil {
		a.count[[]string{"opened", "closed"}[c.Type]]++
	}
}

func (a *tally) get() map[string]float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.count)
}

// received returns what a node's InfluxDB holds of one direction, by type.
func (n *node) stored(direction string) map[string]float64 {
	n.t.Helper()
	out := map[string]float64{}
	where := fmt.Sprintf(" WHERE direction='%s'", direction)
	byTag := func(q, tag string) {
		for tags, v := range n.query(q + where + " GROUP BY " + tag) {
			var name string
			_, err := fmt.Sscanf(strings.ReplaceAll(tags, `"`, " "), "{ "+tag+" : %s }", &name)
			require.NoError(n.t, err, tags)
			out[name] = v
		}
	}
	byTag("SELECT count(cid) FROM wants", "type")
	byTag("SELECT count(cid) FROM presences", "type")
	out["blocks"] = n.query("SELECT count(cid) FROM blocks" + where)[""]
	out["bytes"] = n.query("SELECT sum(size) FROM blocks" + where)[""]
	return out
}

func TestTwoNodesAgree(t *testing.T) {
	a, b := startNode(t, t.TempDir(), "--name", "a"), startNode(t, t.TempDir(), "--name", "b")
	subA, subB := subscribe(t, a.stream), subscribe(t, b.stream)

	file := filepath.Join(t.TempDir(), "file")
	data := make([]byte, 10<<20)
	_, err := rand.Read(data)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	cid := a.ipfs("add", "-q", file)
	var id struct{ Addresses []string }
	a.rpc("/api/v0/id", &id)
	var addr string
	for _, x := range id.Addresses {
		if strings.Contains(x, "/tcp/") {
			addr = x
		}
	}
	b.ipfs("swarm", "connect", addr)
	out := filepath.Join(t.TempDir(), "fetched")
	b.ipfs("get", "-o", out, cid)
	fetched, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, data, fetched)

	var statA, statB struct {
		BlocksReceived, DataReceived, BlocksSent, DataSent, DupBlksReceived float64
	}
	require.Eventually(t, func() bool { // the last cancels take a moment
		a.rpc("/api/v0/bitswap/stat", &statA)
		b.rpc("/api/v0/bitswap/stat", &statB)
		s := subA.get()
		return s["cancel"] == 41 && s["want_block"] >= 41 && a.stored("received")["cancel"] == 41 &&
			b.stored("sent")["cancel"] == 41 && b.stored("received")["blocks"] == 41
	}, 30*time.Second, 200*time.Millisecond, "stream of a: %v, stored at a: %v, sent by b: %v", subA.get(), a.stored("received"), b.stored("sent"))

	onlyWants := func(m map[string]float64) map[string]float64 {
		return map[string]float64{"want_block": m["want_block"], "want_have": m["want_have"], "cancel": m["cancel"]}
	}
	wire := onlyWants(subA.get())
	t.Logf("wants: %v; blocks %v, bytes %v", wire, statB.BlocksReceived, statB.DataReceived)
	require.EqualValues(t, 41, wire["want_block"])
	require.Positive(t, wire["want_have"])
	require.Equal(t, wire, onlyWants(a.stored("received")), "stream and InfluxDB of a")
	require.Equal(t, wire, onlyWants(b.stored("sent")), "what b sent and a received")
	require.Equal(t, wire["want_block"]+wire["want_have"]+wire["cancel"], b.prometheus("exchange_bitswap_wantlists_items_total"),
		"kubo's own count of entries that b has sent")

	// Blocks and bytes: the streams, both databases and kubo on both sides.
	require.EqualValues(t, 41, statB.BlocksReceived)
	require.Equal(t, statB.BlocksReceived, subB.get()["blocks"])
	require.Equal(t, statB.BlocksReceived, b.stored("received")["blocks"])
	require.Equal(t, statB.DataReceived, b.stored("received")["bytes"])
	require.Equal(t, statA.BlocksSent, a.stored("sent")["blocks"])
	require.Equal(t, statA.DataSent, a.stored("sent")["bytes"])
	require.EqualValues(t, 10_488_250, statA.DataSent)
	require.Equal(t, subB.get()["have"], a.stored("sent")["have"], "presences")
	require.Zero(t, a.stored("sent")["want_block"])
	require.Zero(t, b.stored("received")["want_block"])

	// Connections: opened once on each side, closed once after b has gone.
	b.signal(syscall.SIGINT)
	require.Zero(t, b.wait(10*time.Second))
	require.Eventually(t, func() bool { return subA.get()["closed"] == subA.get()["opened"] }, 10*time.Second, 50*time.Millisecond)
	require.Positive(t, subA.get()["opened"])

	// The totals tell the same as the history.
	a.signal(syscall.SIGINT)
	require.Zero(t, a.wait(10*time.Second))
	for _, x := range []struct {
		n         *node
		direction string
		want      map[string]float64
	}{{a, "received", wire}, {b, "sent", wire}} {
		for field, want := range x.want {
			got, err := run(x.n.env, "query", "--format", "csv", "SELECT sum("+field+") FROM totals.traffic WHERE direction='"+x.direction+"'")
			require.NoError(t, err, got)
			require.Contains(t, got, fmt.Sprint(want), "%s of the totals of %s", field, x.direction)
		}
	}
}
