package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	kuboversion "github.com/ipfs/kubo"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestIntrospection introspects the demo's node as the page does: a live node fills all parts
// of a state, and events arrive.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := harness.Environ(home)
	p := harness.Start(t, env, "demo", "--rate", "20", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "1")
	page := p.Find(`Live page at (\S+)`)
	p.Find(`Daemon is (ready)`)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c, err := introspect.Dial(ctx, page, introspect.ClientOptions{Config: &pb.Configuration{StateSnapshotIntervalMs: 500, RetentionPeriodMs: 120_000}})
	require.NoError(t, err)
	defer c.Close()
	rt, _, err := c.Runtime(ctx)
	require.NoError(t, err)
	require.Equal(t, "go-libp2p", rt.GetImplementation())
	require.Equal(t, kuboversion.CurrentVersionNumber, rt.GetKubo())
	require.Equal(t, monitor.Version, rt.GetMonitorVersion())
	require.NotEmpty(t, rt.GetPeerId())
	require.NotEmpty(t, rt.GetVersion())
	require.True(t, rt.GetNamed())
	require.NoError(t, c.Push(ctx, pb.ClientCommand_EVENTS))
	require.NoError(t, c.Push(ctx, pb.ClientCommand_STATE))

	events := map[string]int{}
	wanted := []string{"BitswapMessage", "ConnectionOpened", "ConnectionClosed", "InboundDHTQuery", "OutboundDHTQuery",
		"EvtPeerConnectednessChanged", "EvtPeerIdentificationCompleted"}
	missing := missingParts(&pb.State{})
	for len(missing) > 0 || len(events) < len(wanted) {
		m, _, err := c.Next(ctx)
		require.NoError(t, err, "still missing in the state: %v; events seen: %v", missing, events)
		switch {
		case m.GetState() != nil:
			require.Empty(t, m.GetState().GetFailed())
			// A part seen once is enough: peers connect and disconnect.
			missing = both(missing, missingParts(m.GetState()))
		case m.GetEvent() != nil:
			name := m.GetEvent().GetType().GetName()
			for _, w := range wanted {
				if w == name {
					if events[name]++; events[name] == 1 {
						require.NotEmpty(t, m.GetEvent().GetType().GetPropertyTypes(), name)
					}
				}
			}
			require.True(t, json.Valid([]byte(m.GetEvent().GetContent())), m.GetEvent().GetContent())
		}
	}
	historyOf(t, page)
	commandLine(t, env, page)
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second), p.Out.String())
	replays(t, env, filepath.Join(home, "session.capture"))
}

// both returns what is in a and in b.
func both(a, b []string) (out []string) {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				out = append(out, x)
			}
		}
	}
	return out
}

// missingParts names what a state of the demo's node does not have yet.
func missingParts(st *pb.State) (missing []string) {
	want := func(name string, there bool) {
		if !there {
			missing = append(missing, name)
		}
	}
	sub := st.GetSubsystems()
	var tcp, quic, closed, streams, latency, agents, bitswapStream bool
	for _, c := range sub.GetConnections() {
		if c.GetStatus() == pb.Status_CLOSED {
			closed = closed || c.GetTimeline().GetCloseTs() > 0
			continue
		}
		counted := c.GetTrafficOf() == 1 && c.GetTraffic().GetTrafficIn().GetCumBytes() > 0 && c.GetTraffic().GetTrafficOut().GetCumBytes() > 0
		tcp = tcp || counted && string(c.GetTransportId()) == "ip4+tcp" && c.GetAttribs().GetMultiplexer() == "/yamux/1.0.0"
		quic = quic || counted && strings.Contains(string(c.GetTransportId()), "quic-v1") && c.GetAttribs().GetEncryption() == "tls"
		latency = latency || c.GetLatencyNs() > 0
		agents = agents || c.GetAgentVersion() != ""
		for _, s := range c.GetStreams().GetStreams() {
			streams = true
			bitswapStream = bitswapStream || strings.HasPrefix(s.GetProtocol(), "/ipfs/bitswap") && s.GetTrafficOf() > 0 && s.GetTraffic() != nil
		}
	}
	want("tcp connection with traffic", tcp)
	want("quic connection with traffic", quic)
	want("closed connection", closed)
	want("streams", streams)
	want("bitswap stream with traffic", bitswapStream)
	want("latency", latency)
	want("agent", agents)
	var buckets, in, out bool
	for _, d := range sub.GetDhts() {
		buckets = buckets || len(d.GetBuckets()) > 0 && len(d.GetBuckets()[0].GetPeers()) > 0
		in = in || d.GetIncomingQueries().GetSuccess() > 0
		out = out || d.GetOutgoingQueries().GetSuccess() > 0
	}
	want("dht buckets", buckets)
	want("dht queries in", in)
	want("dht queries out", out)
	want("dht", sub.GetDht().GetSize() > 0)
	want("traffic", st.GetTraffic().GetTrafficIn().GetCumBytes() > 0)
	want("bitswap received", sub.GetBitswap().GetReceived().GetMessages() > 0)
	want("bitswap sent", sub.GetBitswap().GetSent().GetBlocks() > 0)
	want("bitswap rate", sub.GetBitswap().GetReceivedRate().GetMessages() > 0)
	want("ledgers", len(sub.GetBitswap().GetLedgers()) > 0 && sub.GetBitswap().GetLedgers()[0].GetBytesSent() > 0)
	want("peerstore", sub.GetPeerstore().GetPeersWithAddrs() > 0)
	want("resources", len(sub.GetResources().GetScopes()) > 2 && sub.GetResources().GetScopes()[0].GetLimit().GetMemory() > 0)
	want("process", sub.GetProcess().GetResidentBytes() > 0 && sub.GetProcess().GetCpuSeconds() > 0)
	want("content", len(sub.GetContent().GetTopCids()) > 0)
	want("unique", sub.GetContent().GetUnique().GetCidsReceived() > 0)
	want("answer latency", len(sub.GetContent().GetLatency()) > 0)
	want("agents", len(sub.GetAgents()) > 0)
	want("pipeline", sub.GetPipeline().GetInflux().GetStored() > 0 && len(sub.GetPipeline().GetBus().GetReaders()) >= 4)
	want("introspection", sub.GetPipeline().GetIntrospection().GetSessions() > 0)
	return missing
}

// historyOf queries the store through the HTTP API, as the page does at its start.
func historyOf(t *testing.T, page string) {
	require.Eventually(t, func() bool {
		resp, err := http.Get(page + "metric_plugin/v1/history?since=5m&step=5s")
		require.NoError(t, err)
		defer resp.Body.Close()
		var answer struct {
			Result struct {
				Times  []int64
				Series []struct {
					Name, Direction string
					Values          []*float64
				}
			}
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
		seen := map[string]bool{}
		for _, s := range answer.Result.Series {
			require.Len(t, s.Values, len(answer.Result.Times))
			for _, v := range s.Values {
				if v != nil && *v > 0 {
					seen[s.Name+" "+s.Direction] = true
				}
			}
		}
		return seen["messages received"] && seen["messages sent"] && seen["block_bytes sent"] && seen["peers "] && seen["latency_p50_us sent"]
	}, time.Minute, 500*time.Millisecond)
}

// commandLine prints the state in every form, and records a session.
func commandLine(t *testing.T, env []string, page string) {
	for format, want := range map[string]string{"table": "bitswap in", "connections": "/kubo", "streams": "/ipfs/bitswap", "dht": "lan", "json": `"subsystems":`} {
		if format == "connections" {
			want = "ip4+"
		}
		require.Eventually(t, func() bool {
			out, err := harness.Run(env, "introspect", "--format", format, page)
			require.NoError(t, err, out)
			return strings.Contains(out, want)
		}, time.Minute, 200*time.Millisecond, format)
	}
	out, err := harness.Run(env, "introspect", "--format", "json", page)
	require.NoError(t, err, out)
	require.True(t, json.Valid([]byte(out)), out)
	out, err = harness.Run(env, "introspect", "record", "--url", page, "--interval", "500ms", "--duration", "5s", filepath.Join(homeOf(env), "session.capture"))
	require.NoError(t, err, out)
	require.Contains(t, out, "states")
	out, err = harness.Run(env, "introspect", "record", "--url", page, filepath.Join(homeOf(env), "session.capture"))
	require.Error(t, err, "a file is not overwritten")
	require.Contains(t, out, "exists")
	out, err = harness.Run(env, "introspect", "--format", "xml", page)
	require.Error(t, err)
	require.Contains(t, out, "want table, connections, streams, dht or json")
	out, err = harness.Run(env, "introspect", "127.0.0.1:1")
	require.Error(t, err)
	require.Contains(t, out, "connect to ws://127.0.0.1:1/introspect")
}

func homeOf(env []string) string {
	for _, e := range env {
		if home, ok := strings.CutPrefix(e, "HOME="); ok {
			return home
		}
	}
	return ""
}

// replays serves a recorded session and reads it like a node.
func replays(t *testing.T, env []string, file string) {
	p := harness.Start(t, env, "introspect", "replay", "--listen", "127.0.0.1:0", "--speed", "5", file)
	page := p.Find(`Live page at (\S+)`)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := introspect.Dial(ctx, page, introspect.ClientOptions{})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Push(ctx, pb.ClientCommand_EVENTS))
	for {
		m, _, err := c.Next(ctx)
		require.NoError(t, err)
		if m.GetEvent() != nil {
			break
		}
	}
	rt, _, err := c.Runtime(ctx)
	require.NoError(t, err)
	require.Equal(t, kuboversion.CurrentVersionNumber, rt.GetKubo())
	st, _, err := c.State(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, st.GetSubsystems().GetConnections())
	p.Find(`(End) of the file; Ctrl-C exits`)
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second), p.Out.String())
}
