//go:build programs || all

package programs

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestANodeSendsToABroker: a node with --amqp, a collector's queues, and tail at the broker.
func TestANodeSendsToABroker(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	var mu sync.Mutex
	notes := map[string]string{} // kind: monitor
	c, err := broker.NewConsumer(broker.ConsumerConfig{Server: broker.Server{Address: rabbit.Address}, Queue: "fleet"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() {
		end <- c.Run(ctx, func(d *broker.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range d.Events {
				if e.Note != nil {
					notes[e.Note.Kind] = e.Monitor
				}
			}
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); require.ErrorIs(t, <-end, context.Canceled) })
	harness.WaitFor(t, "the collector is connected", func() bool { return c.Stats().Connected })
	has := func(kind string) {
		t.Helper()
		harness.WaitFor(t, "the note "+kind, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return notes[kind] == "de1"
		})
	}

	node := harness.Start(t, harness.Environ(t.TempDir(), "IPFSMON_AMQP_FORMATS=v3,v4"), "run", "--isolated", "--stream", "127.0.0.1:0",
		"--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--amqp", rabbit.Address, "--name", "de1")
	address := node.Find(`Metric Export HTTP server listening on (\S+)`)
	node.Find(`Daemon is (ready)`)
	has("start")
	status, body := harness.Request(t, "GET", "http://"+address+"/metrics", "", "")
	require.Equal(t, 200, status)
	require.Contains(t, string(body), `ipfsmon_broker_connected{format="v4"} 1`)
	require.Contains(t, string(body), `ipfsmon_broker_dropped_events_total{format="v3"} 0`)

	tail := harness.Start(t, harness.Environ(t.TempDir()), "tail", "--kind", "note", "--count", "1", rabbit.Address)
	harness.WaitFor(t, "tail has its queue", func() bool { return strings.Contains(rabbit.Ctl("list_queues", "name"), "amq.gen-") })
	node.Signal(syscall.SIGINT)
	require.Zero(t, node.Wait(60*time.Second), node.Out.String())
	has("stop")
	require.Zero(t, tail.Wait(60*time.Second), tail.Out.String())
	require.Contains(t, tail.Out.String(), "The monitor stopped")
}
