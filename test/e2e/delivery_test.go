package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// The last line of run reports the outcome of the points.
func TestLastWordsAreTrue(t *testing.T) {
	t.Parallel()
	t.Run("waiting on disk", func(t *testing.T) {
		home := t.TempDir()
		n := harness.StartNode(t, home, "--influxdb", "http://127.0.0.1:1")
		n.Find(`(\d+) waiting for InfluxDB`)
		n.Signal(syscall.SIGINT)
		require.Zero(t, n.Wait(time.Minute), n.Out.String())
		require.Regexp(t, `0 points are stored, \d+ waits? in \S+/ipfsmon/spool for the next run\. The last error: .*refused`, n.Out.String())
		require.NotContains(t, n.Out.String(), "Everything is stored")
	})
	t.Run("standard output that ends", func(t *testing.T) {
		home := t.TempDir()
		cmd := exec.Command("sh", "-c", `"$0" run --isolated --stream 127.0.0.1:0 --http 127.0.0.1:0 --interval 1 --influxdb stdout: 2>"$HOME/err" | head -3 >/dev/null`, harness.Bin)
		cmd.Env = harness.Environ(home)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		require.NoError(t, cmd.Start())
		done := make(chan struct{})
		go func() { // ends with the process
			_ = cmd.Wait()
			close(done)
		}()
		t.Cleanup(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-done
		})
		said := func(text string) func() bool {
			return func() bool {
				out, _ := exec.Command("cat", home+"/err").Output() // not there yet: no message
				return strings.Contains(string(out), text)
			}
		}
		require.Eventually(t, said("points dropped, the destination does not accept them"), time.Minute, 50*time.Millisecond)
		require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
		require.Eventually(t, said(" were dropped. The last error: "), time.Minute, 50*time.Millisecond)
		require.False(t, said("Everything is")())
	})
}

// Neither points nor credentials are sent to the proxy in HTTP_PROXY; through that in
// HTTPS_PROXY they are encrypted, and its answers are reported as the proxy's.
func TestProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	var plain atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			plain.Add(1)
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	var served atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		_, _ = io.WriteString(w, `{"results":[{"statement_id":0}]}`)
	}))
	defer server.Close()
	env := func(url string) []string {
		return harness.Environ(t.TempDir(), "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "HTTPS_PROXY="+proxy.URL, "https_proxy="+proxy.URL,
			"IPFSMON_INFLUXDB_URL="+url, "IPFSMON_INFLUXDB_USERNAME=u", "IPFSMON_INFLUXDB_PASSWORD=secret")
	}
	out, err := harness.Run(env(server.URL), "query", "SHOW DATABASES")
	require.NoError(t, err, out)
	require.Positive(t, served.Load())

	out, err = harness.Run(env("http://influx.invalid:8086"), "query", "SHOW DATABASES") // no proxy: the name does not resolve
	require.Error(t, err, out)
	require.Contains(t, out, "influx.invalid")
	require.NotContains(t, out, "Forbidden")

	out, err = harness.Run(env("https://influx.invalid"), "query", "SHOW DATABASES")
	require.Error(t, err, out)
	require.Contains(t, out, "the proxy "+proxy.URL+" answered, not InfluxDB: 403 Forbidden")
	require.Zero(t, plain.Load(), "requests that the proxy can read")
}

// An interactive command ends soon if the server redirects it or is another one, and its error
// says what to set.
func TestCommandsEndWhereTheServerIsAnother(t *testing.T) {
	t.Parallel()
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://influx.example"+r.URL.Path, http.StatusPermanentRedirect)
	}))
	defer moved.Close()
	third := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Influxdb-Version", "3.10.0")
		if r.URL.Path != "/ping" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer third.Close()
	f := func(want, url string, args ...string) {
		t.Helper()
		began := time.Now()
		out, err := harness.Run(harness.Environ(t.TempDir(), "IPFSMON_INFLUXDB_URL="+url), args...)
		require.Error(t, err, out)
		require.Contains(t, out, want, args)
		require.Less(t, time.Since(began), time.Minute, args)
	}
	const where = "to https://influx.example, which is not followed; set URL to that"
	f(where, moved.URL, "query", "SHOW DATABASES")
	f(where, moved.URL, "export", "--kind", "history", "--since", "1h")
	f(where, moved.URL, "setup", "--dir", t.TempDir())
	f("create a token: status 404", third.URL, "setup", "--dir", t.TempDir())
}

// setup waits for a server that is not up yet, with growing pauses.
func TestSetupBacksOff(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	var n atomic.Int32
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			c.Close()
		}
	}()
	out, err := harness.Run(harness.Environ(t.TempDir(), "IPFSMON_INFLUXDB_URL=http://"+l.Addr().String()), "setup", "--dir", t.TempDir(), "--wait", "8s")
	require.Error(t, err, out)
	require.Contains(t, out, "does not answer")
	require.LessOrEqual(t, n.Load(), int32(2*7), "0.25, 0.5, 1, 2, 4 s, and Go's client may connect twice")
	require.GreaterOrEqual(t, n.Load(), int32(3))
}
