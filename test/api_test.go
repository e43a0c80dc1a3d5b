package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	kuboversion "github.com/ipfs/kubo"
	"github.com/stretchr/testify/require"
)

const apiToken = "0123456789abcdef0123456789abcdef"

// api asks a node's HTTP API and returns the result, or the error, of the answer.
func (n *node) api(method, path, body string, status int) (result json.RawMessage, reason string) {
	n.t.Helper()
	q, err := http.NewRequest(method, "http://"+n.http+"/metric_plugin/v1"+path, strings.NewReader(body))
	require.NoError(n.t, err)
	q.Header.Set("Authorization", "Bearer "+apiToken)
	resp, err := http.DefaultClient.Do(q)
	require.NoError(n.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	require.Equal(n.t, status, resp.StatusCode, "%s %s: %s", method, path, b)
	var answer struct {
		Result json.RawMessage
		Error  string
	}
	require.NoError(n.t, json.Unmarshal(b, &answer), string(b))
	return answer.Result, answer.Error
}

// TestAPIOfARealNode has one node send wants to another through the API, and
// reads what both tell of it: the API, Prometheus where kubo serves it, and the
// other's stream.
func TestAPIOfARealNode(t *testing.T) {
	home := t.TempDir()
	n := startNode(t, home)
	_, reason := n.api("POST", "/broadcast_want", "{}", 400)
	require.Equal(t, "Bitswap probe not enabled", reason)
	_, reason = n.api("DELETE", "/subscribers/x", "", 403)
	require.Contains(t, reason, "TokenFiles")
	n.signal(syscall.SIGINT)
	require.Zero(t, n.wait(10*time.Second))
	token := filepath.Join(home, "token")
	require.NoError(t, os.WriteFile(token, []byte(apiToken), 0o600))
	n.ipfs("config", "--json", "Plugins.Plugins.metric-export-plugin.Config.HTTPServerConfig",
		fmt.Sprintf(`{"TokenFiles":[%q],"EnableBroadcast":true}`, token))
	n = startNode(t, home)

	m := startNode(t, t.TempDir())
	var id struct {
		ID        string
		Addresses []string
	}
	m.rpc("/api/v0/id", &id)
	n.ipfs("swarm", "connect", id.Addresses[0])
	sub := subscribe(t, m.stream)

	n.api("GET", "/ready", "", 200)
	result, _ := n.api("GET", "/version", "", 200)
	require.Contains(t, string(result), `"kubo":"`+kuboversion.CurrentVersionNumber+`"`)
	result, _ = n.api("GET", "/sample_peer_metadata?only_connected=true", "", 200)
	require.Contains(t, string(result), id.ID)
	require.Contains(t, string(result), `"agent_version":"kubo/`+kuboversion.CurrentVersionNumber)

	const cids = `"cids":[{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}]`
	result, _ = n.api("POST", "/broadcast_want_cancel", `{`+cids+`,"seconds_before_cancel":1}`, 200)
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
		got := sub.get()
		return got["want_have"] >= 1 && got["cancel"] >= 1
	}, 10*time.Second, 10*time.Millisecond, "the other node sees the want and the cancel: %v", sub.get())

	// Prometheus, where kubo serves its own.
	require.Eventually(t, func() bool { return n.prometheus("ipfsmon_capture_entries_total") >= 2 }, 10*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return n.prometheus("plugin_metric_export_peers_by_agent_version") == 1 }, 10*time.Second, 50*time.Millisecond)
	require.EqualValues(t, 1, n.prometheus("plugin_metric_export_wiretap_peers"))
	require.Positive(t, n.prometheus("plugin_metric_export_wiretap_connections"))
	require.Positive(t, n.prometheus("plugin_metric_export_peers_supported_protocols"))
	require.Positive(t, n.prometheus("plugin_metric_export_open_streams"))
	require.GreaterOrEqual(t, n.prometheus("plugin_metric_export_bitswap_senders"), 0.0)
	require.Positive(t, m.prometheus("plugin_metric_export_wiretap_sent_bytes"))
	require.Positive(t, n.prometheus("go_goroutines"), "kubo's own are still there")

	// The other's subscriber is listed; kicking it needs a token there too.
	result, _ = m.api("GET", "/subscribers", "", 200)
	require.Contains(t, string(result), `"id":"tcp-127.0.0.1:`)
	result, _ = n.api("GET", "/pipeline", "", 200)
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

	own := subscribe(t, n.stream)
	var subscribers struct{ Subscribers []struct{ ID string } }
	require.Eventually(t, func() bool {
		result, _ := n.api("GET", "/subscribers", "", 200)
		require.NoError(t, json.Unmarshal(result, &subscribers))
		return len(subscribers.Subscribers) == 1
	}, 10*time.Second, 10*time.Millisecond)
	n.api("DELETE", "/subscribers/"+subscribers.Subscribers[0].ID, "", 200)
	require.Eventually(t, func() bool {
		result, _ := n.api("GET", "/subscribers", "", 200)
		return strings.Contains(string(result), `"subscribers":[]`)
	}, 10*time.Second, 10*time.Millisecond)
	_ = own
}
