package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a running ipfsmon.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *lines
	done chan struct{} // closed when it has ended
}

// lines keeps what a process prints and lets tests wait for it.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// environ is a process environment with a home of its own, without what the
// tester's own settings would add.
func environ(home string, extra ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "IPFS") && !strings.HasPrefix(e, "HOME=") && !strings.HasPrefix(e, "GOLOG") {
			env = append(env, e)
		}
	}
	return append(append(env, "HOME="+home), extra...)
}

// launchProcess runs a program with args, with the output of both kinds kept.
func launchProcess(env []string, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), out: &lines{}, done: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// kill ends the process and what it started, if it still runs.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// start runs ipfsmon with args; it is killed at the test's end if it still runs.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return launch(t, env, bin, args...)
}

// launch is start for any program.
func launch(t *testing.T, env []string, program string, args ...string) *process {
	t.Helper()
	p, err := launchProcess(env, program, args...)
	require.NoError(t, err)
	p.t = t
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of %s %s:\n%s", program, strings.Join(args, " "), p.out)
		}
	})
	return p
}

// find waits until the output matches, and returns the first group.
func (p *process) find(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(60 * time.Second)
	for {
		if m := re.FindStringSubmatch(p.out.String()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-p.done:
			if m := re.FindStringSubmatch(p.out.String()); m != nil {
				return m[len(m)-1]
			}
			require.FailNow(p.t, "the process ended without printing "+pattern, p.out.String())
		case <-deadline:
			require.FailNow(p.t, "not printed in time: "+pattern, p.out.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// signal sends a signal to the process alone.
func (p *process) signal(s syscall.Signal) {
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// wait returns the exit code; the process must end within the time.
func (p *process) wait(d time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(d):
		require.FailNow(p.t, fmt.Sprintf("still running after %v", d), p.out.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// node is an isolated, monitored node.
type node struct {
	*process
	repo, home string
	env        []string
	stream     string // host:port
	http       string
	influx     string // URL of the embedded InfluxDB, with credentials for reading
}

// startNode runs "ipfsmon run --isolated" on free ports and waits until it is ready.
func startNode(t *testing.T, home string, args ...string) *node {
	t.Helper()
	n := &node{home: home, repo: filepath.Join(home, ".ipfs"), env: environ(home)}
	n.process = start(t, n.env, append([]string{"run", "--isolated",
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "1"}, args...)...)
	n.find(`Daemon is (ready)`)
	if !strings.Contains(strings.Join(args, " "), "--influxdb") {
		n.influx = asReader(t, n.find(`InfluxDB listening on (http://\S+),`), filepath.Join(n.find(`InfluxDB listening on .* data in (\S+)`), "influxdb"))
	}
	n.stream = n.find(`Metric Export TCP server listening on (\S+)`)
	n.http = n.find(`Metric Export HTTP server listening on (\S+)`)
	if n.influx != "" { // the database is made with the first points
		require.Eventually(t, func() bool {
			_, err := influxQL(n.influx, "SELECT count(messages) FROM totals.traffic")
			return err == nil
		}, 20*time.Second, 20*time.Millisecond)
	}
	return n
}

// asReader puts the credentials of a store's user for reading into its URL.
func asReader(t testing.TB, address, folder string) string {
	t.Helper()
	password, err := os.ReadFile(filepath.Join(folder, "reader.password"))
	require.NoError(t, err)
	return strings.Replace(address, "http://", "http://reader:"+strings.TrimSpace(string(password))+"@", 1)
}

// ipfs runs the node's own command line and returns its output.
func (n *node) ipfs(args ...string) string {
	n.t.Helper()
	out, err := run(n.env, append([]string{"ipfs"}, args...)...)
	require.NoError(n.t, err, "ipfs %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(out)
}

// run runs ipfsmon to its end and returns what it printed.
func run(env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// rpc posts to the node's RPC API and decodes the JSON answer.
func (n *node) rpc(path string, into any) {
	n.t.Helper()
	api := n.find(`RPC API server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`)
	resp, err := http.Post("http://127.0.0.1:"+api+path, "", nil)
	require.NoError(n.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	require.Equal(n.t, 200, resp.StatusCode, string(b))
	if s, ok := into.(*string); ok {
		*s = string(b)
		return
	}
	require.NoError(n.t, json.Unmarshal(b, into))
}

// prometheus reads a metric of the node's own endpoint, summed over labels.
func (n *node) prometheus(name string) float64 {
	n.t.Helper()
	api := n.find(`RPC API server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`)
	resp, err := http.Get("http://127.0.0.1:" + api + "/debug/metrics/prometheus")
	require.NoError(n.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	sum, found := 0.0, false
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		var v float64
		_, err := fmt.Sscan(line[strings.LastIndexByte(strings.TrimSpace(line), ' '):], &v)
		require.NoError(n.t, err, line)
		sum += v
		found = true
	}
	require.True(n.t, found, "kubo has no metric %s", name)
	return sum
}

// query runs InfluxQL and returns the last column of the first row of each series by its tags.
func (n *node) query(q string) map[string]float64 {
	n.t.Helper()
	out, err := influxQL(n.influx, q)
	require.NoError(n.t, err)
	return out
}

func influxQL(server, q string) (map[string]float64, error) {
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
