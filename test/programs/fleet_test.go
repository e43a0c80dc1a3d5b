//go:build programs || all

package programs

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestDemoThroughABroker: the demo's monitors send to a broker, and its collector reads there.
func TestDemoThroughABroker(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	p := harness.Start(t, harness.Environ(t.TempDir()), "demo", "--monitors", "3", "--broker", rabbit.Address,
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "2")
	at := p.Find(`fleet: Metric Export HTTP server listening on (\S+)`)
	var state struct {
		Result struct {
			Monitors []struct {
				Name, Address string
				Up, Complete  bool
				Events        uint64
				Missed        uint64
			}
			Counted struct {
				Buckets           []int
				Requests, Matched uint64
			}
		}
	}
	require.Eventually(t, func() bool {
		status, body := harness.Request(t, "GET", "http://"+at+"/metric_plugin/v1/fleet", "", "")
		require.Equal(t, 200, status)
		require.NoError(t, json.Unmarshal(body, &state))
		for _, m := range state.Result.Monitors {
			if !m.Up || !m.Complete || m.Events == 0 {
				return false
			}
		}
		return len(state.Result.Monitors) == 3 && state.Result.Counted.Requests > 0 && state.Result.Counted.Matched > 0
	}, 3*time.Minute, 200*time.Millisecond, "%+v", &state)
	require.NotEmpty(t, state.Result.Counted.Buckets)
	for _, m := range state.Result.Monitors {
		require.Contains(t, []string{"kubo", "watch-1", "watch-2"}, m.Name)
		require.True(t, strings.HasPrefix(m.Address, "amqp://127.0.0.1:"), m.Address)
		require.NotContains(t, m.Address, "guest", "no password")
		require.Zero(t, m.Missed)
	}
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(time.Minute), p.Out.String())
}
