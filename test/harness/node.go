package harness

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ApiToken = "0123456789abcdef0123456789abcdef"

// API asks a node's HTTP API and returns the result, or the error, of the answer.
func (n *Node) API(method, path, body string, status int) (result json.RawMessage, reason string) {
	n.T.Helper()
	q, err := http.NewRequest(method, "http://"+n.HTTP+"/metric_plugin/v1"+path, strings.NewReader(body))
	require.NoError(n.T, err)
	q.Header.Set("Authorization", "Bearer "+ApiToken)
	resp, err := http.DefaultClient.Do(q)
	require.NoError(n.T, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(n.T, err)
	require.Equal(n.T, status, resp.StatusCode, "%s %s: %s", method, path, b)
	var answer struct {
		Result json.RawMessage
		Error  string
	}
	require.NoError(n.T, json.Unmarshal(b, &answer), string(b))
	return answer.Result, answer.Error
}

// Node is an isolated, monitored node.
type Node struct {
	*Process
	Repo, Home string
	Env        []string
	Stream     string // host:port
	HTTP       string
	Influx     string // URL of the embedded InfluxDB, with credentials for reading
}

// StartNode runs "ipfsmon run --isolated" on free ports and waits until it is ready.
func StartNode(t *testing.T, home string, args ...string) *Node {
	t.Helper()
	return StartRepo(t, home, append([]string{"--isolated"}, args...)...)
}

// StartRepo is StartNode without --isolated, for a repository that a test has
// confined to loopback by other means.
func StartRepo(t *testing.T, home string, args ...string) *Node {
	t.Helper()
	n := &Node{Home: home, Repo: filepath.Join(home, ".ipfs"), Env: Environ(home)}
	n.Process = Start(t, n.Env, append([]string{"run",
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "1"}, args...)...)
	n.Find(`Daemon is (ready)`)
	if !strings.Contains(strings.Join(args, " "), "--influxdb") {
		n.Influx = AsReader(t, n.Find(`InfluxDB listening on (http://\S+),`), filepath.Join(n.Find(`InfluxDB listening on .* data in (\S+)`), "influxdb"))
	}
	n.Stream = n.Find(`Metric Export TCP server listening on (\S+)`)
	n.HTTP = n.Find(`Metric Export HTTP server listening on (\S+)`)
	if n.Influx != "" { // the database is made with the first points
		require.Eventually(t, func() bool {
			got, err := InfluxQL(n.Influx, "SELECT count(messages) FROM totals.traffic")
			return err == nil && len(got) > 0
		}, 30*time.Second, 20*time.Millisecond)
	}
	return n
}

// AsReader puts the credentials of a store's user for reading into its URL.
func AsReader(t testing.TB, address, folder string) string {
	t.Helper()
	password, err := os.ReadFile(filepath.Join(folder, "reader.password"))
	require.NoError(t, err)
	return strings.Replace(address, "http://", "http://reader:"+strings.TrimSpace(string(password))+"@", 1)
}

// IPFS runs the node's own command line and returns its output.
func (n *Node) IPFS(args ...string) string {
	n.T.Helper()
	out, err := Run(n.Env, append([]string{"ipfs"}, args...)...)
	require.NoError(n.T, err, "ipfs %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(out)
}

// RPC posts to the node's RPC API and decodes the JSON answer.
func (n *Node) RPC(path string, into any) {
	n.T.Helper()
	api := n.Find(`RPC API server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`)
	resp, err := http.Post("http://127.0.0.1:"+api+path, "", nil)
	require.NoError(n.T, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(n.T, err)
	require.Equal(n.T, 200, resp.StatusCode, string(b))
	if s, ok := into.(*string); ok {
		*s = string(b)
		return
	}
	require.NoError(n.T, json.Unmarshal(b, into))
}

// Prometheus reads a metric of the node's own endpoint, summed over labels.
func (n *Node) Prometheus(name string) float64 {
	n.T.Helper()
	api := n.Find(`RPC API server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`)
	resp, err := http.Get("http://127.0.0.1:" + api + "/debug/metrics/prometheus")
	require.NoError(n.T, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(n.T, err)
	sum, found := 0.0, false
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		var v float64
		_, err := fmt.Sscan(line[strings.LastIndexByte(strings.TrimSpace(line), ' '):], &v)
		require.NoError(n.T, err, line)
		sum += v
		found = true
	}
	require.True(n.T, found, "kubo has no metric %s", name)
	return sum
}

// query runs InfluxQL and returns the last column of the first row of each series by its tags.
func (n *Node) query(q string) map[string]float64 {
	n.T.Helper()
	out, err := InfluxQL(n.Influx, q)
	require.NoError(n.T, err)
	return out
}

func InfluxQL(server, q string) (map[string]float64, error) {
	resp, err := http.Get(server + "/query?" + url.Values{"db": {"ipfsmon"}, "q": {q}}.Encode())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Results []struct {
			Error  string
			Series []struct {
				Name   string
				Tags   map[string]string
				Values [][]any
			}
		}
		Error string
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", q, answer.Error)
	}
	out := map[string]float64{}
	for _, r := range answer.Results {
		if answer.Error += r.Error; answer.Error != "" {
			return nil, fmt.Errorf("%s: %s", q, answer.Error)
		}
		for _, s := range r.Series {
			key := ""
			if b, err := json.Marshal(s.Tags); err == nil && len(s.Tags) > 0 {
				key = string(b)
			}
			if v, ok := s.Values[0][len(s.Values[0])-1].(float64); ok {
				out[key] = v
			}
		}
	}
	return out, nil
}

// StoreOf finds the process of a node's embedded InfluxDB (proc(5): children).
func StoreOf(n *Node) int {
	n.T.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", n.Cmd.Process.Pid))
	require.NoError(n.T, err)
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		for _, child := range strings.Fields(string(b)) {
			line, err := os.ReadFile("/proc/" + child + "/cmdline")
			if err == nil && strings.Contains(string(line), "\x00store\x00") {
				pid, err := strconv.Atoi(child)
				require.NoError(n.T, err)
				return pid
			}
		}
	}
	require.FailNow(n.T, "the node has no store")
	return 0
}

func TextFile(t *testing.T, text string) string {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// Address returns the multiaddr of a node's TCP listener, with its peer ID.
func (n *Node) Address() string {
	n.T.Helper()
	for _, a := range strings.Fields(n.IPFS("id", "-f", "<addrs>")) {
		if strings.Contains(a, "/tcp/") && strings.Contains(a, "127.0.0.1") {
			return a
		}
	}
	require.FailNow(n.T, "the node has no TCP address")
	return ""
}

// Figures reads all of a node's metrics, summed over their labels.
func (n *Node) Figures() (map[string]float64, error) {
	api := n.Find(`RPC API server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`)
	resp, err := http.Get("http://127.0.0.1:" + api + "/debug/metrics/prometheus")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		end := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || end < 0 {
			continue
		}
		name, _, _ := strings.Cut(line[:end], "{")
		v, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		out[name] += v
	}
	return out, lines.Err()
}

// received returns what a node's InfluxDB holds of one direction, by type.
func (n *Node) Stored(direction string) map[string]float64 {
	n.T.Helper()
	out := map[string]float64{}
	where := fmt.Sprintf(" WHERE direction='%s'", direction)
	byTag := func(q, tag string) {
		for tags, v := range n.query(q + where + " GROUP BY " + tag) {
			var name string
			_, err := fmt.Sscanf(strings.ReplaceAll(tags, `"`, " "), "{ "+tag+" : %s }", &name)
			require.NoError(n.T, err, tags)
			out[name] = v
		}
	}
	byTag("SELECT count(cid) FROM wants", "type")
	byTag("SELECT count(cid) FROM presences", "type")
	out["blocks"] = n.query("SELECT count(cid) FROM blocks" + where)[""]
	out["bytes"] = n.query("SELECT sum(size) FROM blocks" + where)[""]
	return out
}
