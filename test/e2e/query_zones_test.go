package e2e

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestQueryWarnsOfLostPoints: an answer that may lack points where summer time
// ends comes with a warning, another one with none.
func TestQueryWarnsOfLostPoints(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- embedded.Serve(ctx, embedded.ServerConfig{Dir: embedded.StoreDir(data), Listen: "127.0.0.1:0", LogTo: io.Discard, Ready: func(addr string) { ready <- addr }})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("no store within a minute")
	}
	cancel()
	require.NoError(t, <-done)
	env := harness.Environ(t.TempDir())
	code, _, said := harness.Apart(t, env, "query", "--data", data, "--write", "CREATE DATABASE ipfsmon")
	require.Zero(t, code, said)

	const warning = "points may be missing in the answer"
	f := func(warned bool, statement string, more ...string) {
		t.Helper()
		code, _, said := harness.Apart(t, env, append(append([]string{"query", "--data", data, "--format", "csv"}, more...), statement)...)
		require.Zero(t, code, said)
		if warned {
			require.Contains(t, said, warning, statement)
		} else {
			require.NotContains(t, said, warning, statement)
		}
	}
	const autumn = "time >= '2025-10-24' AND time < '2025-10-30'"
	f(true, "SELECT count(cid) FROM wants WHERE "+autumn+" GROUP BY time(1d,12h) tz('Europe/Berlin')")
	f(true, "SELECT sum(n) FROM (SELECT count(cid) AS n FROM wants GROUP BY time(6h,3h)) WHERE "+autumn+" tz('Europe/Berlin')")
	f(true, "SELECT count(cid) FROM wants GROUP BY time(1d,now()) tz('Europe/Berlin')", "--since", "370d")
	f(false, "SELECT count(cid) FROM wants WHERE "+autumn+" GROUP BY time(1d) tz('Europe/Berlin')")
	f(false, "SELECT count(cid) FROM wants WHERE "+autumn+" GROUP BY time(1d,12h)")
	f(false, "SELECT count(cid) FROM wants WHERE time >= '2025-07-01' AND time < '2025-07-30' GROUP BY time(1d,12h) tz('Europe/Berlin')")
}
