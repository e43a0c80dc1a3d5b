package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	bench "github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// crowd opens as many connections as this process may, at most n, sends the same bytes on each
// and keeps them open. Connections that are closed at once count too.
func crowd(t *testing.T, address string, n int, say string) {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	for range min(n, int(limit.Cur)-500) {
		c, err := net.DialTimeout("tcp", address, 30*time.Second)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		_, _ = io.WriteString(c, say) // it may be closed by now
	}
}

// allServed asks an address so many times, eight at once, each over a
// connection of its own, and wants every request to be answered.
func allServed(t *testing.T, n int, url string) {
	t.Helper()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	asks := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range asks {
				res, err := client.Get(url)
				if err != nil {
					t.Error(err)
					continue
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode/100 != 2 {
					t.Errorf("%s: %s: %s, %v", url, res.Status, body, err)
				}
			}
		})
	}
	for i := range n {
		asks <- i
	}
	close(asks)
	wg.Wait()
}

const (
	slowHeader = "GET /metric_plugin/v1/ping HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
	wholeAsk   = "GET /metric_plugin/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
)

// One client cannot block others from the listeners of a node: not with headers that do not
// end, with silent connections, or with closed sockets.
func TestOneClientKeepsNobodyFromANode(t *testing.T) {
	t.Parallel()
	n := harness.StartNode(t, t.TempDir())
	ping := "http://" + n.HTTP + "/metric_plugin/v1/ping"
	before := bench.ResidentMiB(n.Cmd.Process.Pid)
	crowd(t, n.HTTP, 500, slowHeader)
	allServed(t, 37, ping)
	crowd(t, n.HTTP, 4000, "")
	crowd(t, n.HTTP, 4000, wholeAsk)
	allServed(t, 37, ping)
	for range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		c, _, err := websocket.Dial(ctx, "ws://"+n.HTTP+"/introspect", nil)
		require.NoError(t, err)
		require.NoError(t, c.CloseNow())
		cancel()
	}
	allServed(t, 37, ping)
	crowd(t, n.Stream, 2000, "")
	harness.Subscribe(t, n.Stream)
	require.Eventually(t, func() bool {
		result, _ := n.API("GET", "/subscribers", "", 200)
		return strings.Contains(string(result), `"id":"tcp-`)
	}, 30*time.Second, 50*time.Millisecond)
	require.Less(t, bench.ResidentMiB(n.Cmd.Process.Pid)-before, 100.0)
}

// The store answers queries while 8,000 connections do nothing, with 1,024
// descriptors for everything; so does `ipfsmon query`.
func TestOneClientKeepsNobodyFromTheStore(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := harness.Launch(t, harness.Environ(data), "sh", "-c", `ulimit -n 1024; exec "$0" "$@"`, harness.Bin, "store", "--create", "--dir", filepath.Join(data, "influxdb"), "--listen", "127.0.0.1:0")
	address := p.Find(`listening on (\S+)`)
	query := harness.AsReader(t, "http://"+address, filepath.Join(data, "influxdb")) + "/query?q=SHOW+DATABASES"
	before := bench.ResidentMiB(p.Cmd.Process.Pid)
	crowd(t, address, 500, slowHeader)
	allServed(t, 37, query)
	crowd(t, address, 4000, "")
	crowd(t, address, 4000, "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
	allServed(t, 37, query)
	out, err := harness.Run(harness.Environ(data), "query", "--data", data, "SHOW DATABASES")
	require.NoError(t, err, out)
	crowd(t, address, 500, "POST /write?db=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
	require.Eventually(t, func() bool { // each is closed when it has been idle for a second
		res, err := http.Get(query)
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, 30*time.Second, 100*time.Millisecond)
	require.Less(t, bench.ResidentMiB(p.Cmd.Process.Pid)-before, 64.0)
}
