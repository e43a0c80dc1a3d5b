package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestProxyShowsTraffic: connections, streams and the whole of a proxy have the
// bytes that went by them, and connections the round trip, in introspection and
// in the HTTP API.
func TestProxyShowsTraffic(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	k := harness.StartKubo(t, nil)
	f := harness.NewFile(t, size)
	k.Add(f)
	p := harness.StartProxy(t, "-d", k.Multiaddr())
	p.Metric("kitsune_bitswap_downstream_peers", 1)
	l := harness.NewLight(t)
	l.Connect(t, p.Addr)
	require.NoError(t, l.Get(f, nil))

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := introspect.Dial(ctx, p.Find(`Live page at (\S+)`), introspect.ClientOptions{Config: &pb.Configuration{StateSnapshotIntervalMs: 500, RetentionPeriodMs: 120_000}})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Push(ctx, pb.ClientCommand_STATE))
	for missing := []string{"all"}; len(missing) > 0; {
		m, _, err := c.Next(ctx)
		require.NoError(t, err, "still missing: %v", missing)
		st := m.GetState()
		if st == nil {
			continue
		}
		require.Empty(t, st.GetFailed())
		missing = nil
		want := func(name string, there bool) {
			if !there {
				missing = append(missing, name)
			}
		}
		want("traffic", st.GetTraffic().GetTrafficOut().GetCumBytes() >= size)
		conns := st.GetSubsystems().GetConnections()
		want("a connection", len(conns) == 1)
		for _, c := range conns {
			want("bytes of the connection", c.GetTrafficOf() == 1 && c.GetTraffic().GetTrafficOut().GetCumBytes() >= size && c.GetTraffic().GetTrafficIn().GetCumBytes() > 0)
			want("round trip", c.GetLatencyNs() > 0)
			bitswap := false
			for _, s := range c.GetStreams().GetStreams() {
				bitswap = bitswap || strings.HasPrefix(s.GetProtocol(), "/ipfs/bitswap") && s.GetTraffic().GetTrafficOut().GetCumBytes() >= size
			}
			want("bytes of a stream of Bitswap", bitswap)
		}
	}

	resp, err := http.Get("http://" + p.HTTP + "/metric_plugin/v1/sample_peer_metadata?only_connected=true")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), `"latency_ewma_ns":`)
	require.NotContains(t, string(body), `"latency_ewma_ns":null`)
}

// TestProxySaysWhatIsWrong: errors in the configuration file and in addresses quote the user's
// input.
func TestProxySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	f := func(file, want string, args ...string) {
		t.Helper()
		home := t.TempDir()
		path := filepath.Join(home, "settings")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		out, err := harness.Run(harness.Environ(home), append([]string{"proxy", "--config", path, "-k", filepath.Join(home, "key")}, args...)...)
		require.Error(t, err, out)
		require.Contains(t, out, want)
		require.NotContains(t, out, "json:")
		require.NotContains(t, out, "proxyFile")
	}
	f(`{"downstream": "/ip4/127.0.0.1/tcp/5001"}`, "/settings:1: downstream: want a list of texts, got the text /ip4/127.0.0.1/tcp/5001")
	f(`{"listen": 1}`, "listen: want a list of texts, got the number 1")
	f(`{"fallback": 10}`, `fallback: want a duration, as in "10s", got the number 10`)
	f(`{"max-peers": "many"}`, "max-peers: want a whole number, got the text many")
	f(`{"max-peers": 1.5}`, `max-peers: "1.5": want a whole number of 0 or more`)
	f(`{"sticky": "yes"}`, "sticky: want true or false, got the text yes")
	f(`{"monitor": []}`, "monitor: want an object, got array")
	f(`[]`, "want an object with settings, got array")
	f(`{"dwonstream": []}`, `dwonstream: unknown key; did you mean downstream?`)
	f(`{`, "the file ends early")
	f(`{}`, "-l /ip4/127.0.0.1/udp/4441/quic: /quic is a draft that is no longer supported: want quic-v1, as in /ip4/127.0.0.1/udp/4441/quic-v1",
		"-d", "/ip4/127.0.0.1/tcp/5001", "-l", "/ip4/127.0.0.1/udp/4441/quic")
}
