package e2e

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/logtest"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// jsonLines checks that each line of an output is a log entry in JSON, and returns them.
func jsonLines(t *testing.T, output string) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(output) {
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry), "not JSON: %s", line)
		for _, key := range []string{"level", "ts", "msg"} {
			require.NotEmpty(t, entry[key], line)
		}
		out = append(out, entry)
	}
	return out
}

// TestQuietNodeLogsJSON: with --quiet and --log-format json a node prints nothing, and its log is
// JSON from the first line to the last.
func TestQuietNodeLogsJSON(t *testing.T) {
	t.Parallel()
	home, address := t.TempDir(), harness.FreeAddress(t, "tcp")
	cmd := exec.Command(harness.Bin, "run", "--isolated", "--quiet", "--log-format", "json", "--log-level", "debug",
		"--http", address, "--stream", "127.0.0.1:0", "--store", "127.0.0.1:0")
	var stdout, stderr logtest.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = harness.Environ(home, "IPFSMON_MONITOR_NAM=x"), &stdout, &stderr // which causes a warning
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	require.Eventually(t, func() bool {
		_, err := harness.Run(harness.Environ(home), "health", "--ready", address)
		return err == nil
	}, time.Minute, 200*time.Millisecond, "%s", &stderr)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	select {
	case err := <-ended:
		require.NoError(t, err, stderr.String())
	case <-time.After(time.Minute):
		t.Fatal("the node does not end")
	}
	require.Empty(t, stdout.String())
	require.NotEmpty(t, jsonLines(t, stderr.String()))
}

// TestTracesReachACollector: kubo's variables send the node's traces to a collector of OpenTelemetry.
func TestTracesReachACollector(t *testing.T) {
	t.Parallel()
	var traces logtest.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body := io.Reader(q.Body)
		if q.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(q.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			body = z
		}
		if q.URL.Path == "/v1/traces" {
			_, _ = io.Copy(&traces, body) // with an error the span is missing
		}
	}))
	defer collector.Close()
	home, address := t.TempDir(), harness.FreeAddress(t, "tcp")
	node := harness.Start(t, harness.Environ(home, "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL),
		"run", "--isolated", "--http", address, "--stream", "127.0.0.1:0", "--store", "127.0.0.1:0")
	node.Find("Daemon is (ready)")
	out, err := harness.Run(harness.Environ(home), "ipfs", "swarm", "peers")
	require.NoError(t, err, out)
	require.Eventually(t, func() bool { // they are sent every five seconds
		return strings.Contains(traces.String(), "CoreAPI.SwarmAPI") && strings.Contains(traces.String(), "Kubo")
	}, time.Minute, 100*time.Millisecond)
}

// TestFailuresInJSON: the errors and warnings of every command have the format of the log.
func TestFailuresInJSON(t *testing.T) {
	t.Parallel()
	plain := harness.Environ(t.TempDir(), "IPFSMON_MONITOR_NAM=x")
	for _, args := range [][]string{
		{"health", "127.0.0.1:1", "--log-format", "json"},
		{"query", "--log-format=json", "--url", "http://127.0.0.1:1", "SHOW DATABASES"},
		{"tail", "127.0.0.1:1", "--onc", "--log-format", "json"}, // no such flag
		{"tail", "127.0.0.1:1", "--onc"},
		{"--log-format", "json", "run"}, // not here
	} {
		env := plain
		if !strings.Contains(strings.Join(args, " "), "json") {
			env = append(slices.Clip(env), "IPFSMON_LOG_FORMAT=json")
		}
		code, stdout, stderr := harness.Apart(t, env, args...)
		require.NotZero(t, code, args)
		require.Empty(t, stdout, args)
		levels := map[any]int{}
		for _, entry := range jsonLines(t, stderr) {
			levels[entry["level"]]++
		}
		require.Equal(t, 1, levels["error"], stderr)
	}
}
