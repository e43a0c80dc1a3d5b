package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	kuboversion "github.com/ipfs/kubo"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestAPIOfARealNode makes one node send wants to another through the API, and reads what both
// report: the API, Prometheus where kubo serves it, and the other's stream.
func TestAPIOfARealNode(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	n := harness.StartNode(t, home)
	_, reason := n.API("POST", "/broadcast_want", "{}", 400)
	require.Equal(t, "Bitswap probe not enabled", reason)
	_, reason = n.API("DELETE", "/subscribers/x", "", 403)
	require.Contains(t, reason, "TokenFiles")
	n.Signal(syscall.SIGINT)
	require.Zero(t, n.Wait(30*time.Second))
	token := filepath.Join(home, "token")
	require.NoError(t, os.WriteFile(token, []byte(harness.ApiToken), 0o600))
	n.IPFS("config", "--json", "Plugins.Plugins.metric-export-plugin.Config.HTTPServerConfig",
		fmt.Sprintf(`{"TokenFiles":[%q],"EnableBroadcast":true}`, token))
	n = harness.StartNode(t, home)

	m := harness.StartNode(t, t.TempDir())
	var id struct {
		ID        string
		Addresses []string
	}
	m.RPC("/api/v0/id", &id)
	n.IPFS("swarm", "connect", id.Addresses[0])
	sub := harness.Subscribe(t, m.Stream)

	n.API("GET", "/ready", "", 200)
	result, _ := n.API("GET", "/version", "", 200)
	require.Contains(t, string(result), `"kubo":"`+kuboversion.CurrentVersionNumber+`"`)
	result, _ = n.API("GET", "/sample_peer_metadata?only_connected=true", "", 200)
	require.Contains(t, string(result), id.ID)
	require.Contains(t, string(result), `"agent_version":"kubo/`+kuboversion.CurrentVersionNumber)

	const cids = `"cids":[{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}]`
	result, _ = n.API("POST", "/broadcast_want_cancel", `{`+cids+`,"seconds_before_cancel":1}`, 200)
	var sent struct {
		Peers []struct {
			Peer       string
			WantStatus struct {
				Error string
				Type  *int `json:"request_type_sent"`
			} `json:"want_status"`
			CancelStatus struct{ Error string } `json:"cancel_status"`
		}
	}
	require.NoError(t, json.Unmarshal(result, &sent))
	require.Len(t, sent.Peers, 1)
	require.Equal(t, id.ID, sent.Peers[0].Peer)
	require.Empty(t, sent.Peers[0].WantStatus.Error+sent.Peers[0].CancelStatus.Error)
	require.Equal(t, 1, *sent.Peers[0].WantStatus.Type)
	require.Eventually(t, func() bool {
		got := sub.Get()
		return got["want_have"] >= 1 && got["cancel"] >= 1
	}, 30*time.Second, 10*time.Millisecond, "the other node sees the want and the cancel: %v", sub.Get())

	// Prometheus, where kubo serves its own.
	require.Eventually(t, func() bool { return n.Prometheus("ipfsmon_capture_entries_total") >= 2 }, 30*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return n.Prometheus("plugin_metric_export_peers_by_agent_version") == 1 }, 30*time.Second, 50*time.Millisecond)
	require.EqualValues(t, 1, n.Prometheus("plugin_metric_export_wiretap_peers"))
	require.Positive(t, n.Prometheus("plugin_metric_export_wiretap_connections"))
	require.Positive(t, n.Prometheus("plugin_metric_export_peers_supported_protocols"))
	require.Positive(t, n.Prometheus("plugin_metric_export_open_streams"))
	require.GreaterOrEqual(t, n.Prometheus("plugin_metric_export_bitswap_senders"), 0.0)
	require.Positive(t, m.Prometheus("plugin_metric_export_wiretap_sent_bytes"))
	require.Positive(t, n.Prometheus("go_goroutines"), "kubo's own are still there")

	// The other node's subscriber is listed; disconnecting it needs a token too.
	result, _ = m.API("GET", "/subscribers", "", 200)
	require.Contains(t, string(result), `"id":"tcp-127.0.0.1:`)
	result, _ = n.API("GET", "/pipeline", "", 200)
	var p struct {
		Capture struct {
			Sent struct{ WantHave, Cancel uint64 }
		}
		Bus struct{ Readers []struct{ Name string } }
	}
	require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(string(result), "want_have", "WantHave")), &p))
	require.Positive(t, p.Capture.Sent.WantHave)
	require.Positive(t, p.Capture.Sent.Cancel)
	require.NotEmpty(t, p.Bus.Readers)

	own := harness.Subscribe(t, n.Stream)
	var subscribers struct{ Subscribers []struct{ ID string } }
	require.Eventually(t, func() bool {
		result, _ := n.API("GET", "/subscribers", "", 200)
		require.NoError(t, json.Unmarshal(result, &subscribers))
		return len(subscribers.Subscribers) == 1
	}, 30*time.Second, 10*time.Millisecond)
	n.API("DELETE", "/subscribers/"+subscribers.Subscribers[0].ID, "", 200)
	require.Eventually(t, func() bool {
		result, _ := n.API("GET", "/subscribers", "", 200)
		return strings.Contains(string(result), `"subscribers":[]`)
	}, 30*time.Second, 10*time.Millisecond)
	_ = own
}
