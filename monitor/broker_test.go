package monitor

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

func TestBrokerSettings(t *testing.T) {
	data := t.TempDir()
	f := func(in string, want ...string) {
		t.Helper()
		_, _, err := Layers{Section: section(t, in)}.Effective()
		if len(want) == 0 {
			require.NoError(t, err)
			return
		}
		for _, w := range want {
			require.ErrorContains(t, err, w)
		}
		require.NotContains(t, err.Error(), "geheim")
	}
	f(`{"AMQPServerAddress": "amqp://u:geheim@h:5672/%2f", "MonitorName": "de1"}`)
	f(`{"AMQPServerAddress": "amqps://h/one", "MonitorName": "de1", "AMQPConfig": {"Formats": ["v3", "v4"]}, "DataFolder": "` + data + `"}`)
	f(`{"AMQPServerAddress": "amqp://h", "MonitorName": "de1.example.org"}`, Section+`.MonitorName: "de1.example.org" has a dot`, "want a name without dots")
	f(`{"MonitorName": "de1.example.org"}`)
	f(`{"AMQPServerAddress": "http://h", "MonitorName": "m"}`, Section+".AMQPServerAddress", "want amqp://user:password@host:port/vhost")
	f(`{"AMQPServerAddress": "amqp://u:geheim@h:99999", "MonitorName": "m"}`, "want a port from 1 to 65535")
	f(`{"AMQPServerAddress": "amqp://u:geheim@h/a/b", "MonitorName": "m"}`, "want one virtual host")
	f(`{"AMQPServerAddress": "amqp://u:geheim@h/?cacertfile=x", "MonitorName": "m"}`, "has a query or a fragment")
	f(`{"AMQPServerAddress": "amqp://u:geheim%@h", "MonitorName": "m"}`, "cannot be parsed")
	f(`{"AMQPConfig": {"Formats": ["v4"]}}`, Section+".AMQPServerAddress: is empty, and AMQPConfig is set")
	f(`{"AMQPServerAddress": "amqp://h", "MonitorName": "m", "AMQPConfig": {"Formats": ["v5"]}}`, `AMQPConfig: "v5" in Formats: want v3, v4 or both`)
	f(`{"AMQPServerAddress": "amqp://h", "MonitorName": "m", "AMQPConfig": {"Formats": ["v4"]}}`, "DataFolder: is empty: the batches of v4 need a folder")
	f(`{"AMQPServerAddress": "amqp://h", "MonitorName": "m", "AMQPConfig": {"SpoolMaxBytes": 5, "CAFile": "/none", "PasswordFile": "/none"}}`,
		"AMQPConfig: SpoolMaxBytes: 5: want", "AMQPConfig: CAFile: open /none", "AMQPConfig: PasswordFile: open /none")
	f(`{"AMQPServerAddress": "amqp://h", "MonitorName": "m", "AMQPPrivacy": "none"}`, "AMQPPrivacy")

	t.Setenv("IPFSMON_AMQP_SERVER_ADDRESS", "amqp://u:geheim@h/%2f")
	t.Setenv("IPFSMON_AMQP_FORMATS", "v3,v4")
	t.Setenv("IPFSMON_MONITOR_NAME", "a.b")
	t.Setenv("IPFSMON_DATA_FOLDER", filepath.Join(data, "data"))
	_, _, err := Layers{}.Effective()
	require.ErrorContains(t, err, `IPFSMON_MONITOR_NAME: "a.b" has a dot`)
	t.Setenv("IPFSMON_MONITOR_NAME", "de1")
	cfg, sources, err := Layers{}.Effective()
	require.NoError(t, err)
	require.Equal(t, []string{"v3", "v4"}, cfg.AMQPConfig.Formats)
	require.Contains(t, Entries(cfg, sources), Entry{"AMQPServerAddress", `"amqp://u:***@h/%2f"`, FromEnv})
}

func TestBrokersPasswordInKubosConfiguration(t *testing.T) {
	f := func(address string, n int) {
		t.Helper()
		got := Layers{Section: section(t, `{"MonitorName": "m", "AMQPServerAddress": "`+address+`"}`)}.Warnings()
		require.Len(t, got, n, "%q", got)
		for _, w := range got {
			require.Contains(t, w, Section+".AMQPServerAddress: a secret in kubo's configuration")
			require.Contains(t, w, "AMQPConfig.PasswordFile")
			require.NotContains(t, w, "geheim")
		}
	}
	f("amqp://u:geheim@h", 1)
	f("amqp://u@h", 0)
	f("amqp://guest:guest@h", 0)
}

// TestBrokerReadiness: what does not get through to the broker is said.
func TestBrokerReadiness(t *testing.T) {
	var r readiness
	x := pipeline.Exchange{Name: "v4", Exchange: "ipfsmon.events", Broker: "amqp://h"}
	now := time.Unix(1000, 0)
	look := func(after time.Duration) error {
		now = now.Add(after)
		r.look(&pipeline.Pipeline{Broker: &pipeline.Broker{Exchanges: []pipeline.Exchange{x}}}, now)
		return r.ready()
	}
	x.Accepted, x.Delivered = 5, 5
	require.NoError(t, look(0))
	x.Accepted, x.Queued, x.Failing, x.LastError = 9, 4, true, "connection refused"
	require.NoError(t, look(readyAfter-time.Second))
	require.EqualError(t, look(time.Second), "no events have got through to the exchange ipfsmon.events of amqp://h for 30s, 4 wait: connection refused")
	x.Delivered, x.Queued, x.Failing = 9, 0, false
	require.NoError(t, look(time.Second))

	x.Delivered, x.Rejected, x.SpoolFull = 10, 1, 0.9
	require.NoError(t, look(time.Second), "a spool that is full and drops nothing")
	x.SpoolFull = 0
	for range 15 {
		x.Delivered, x.Dropped = x.Delivered+1, x.Dropped+1
		require.NoError(t, look(time.Second))
		x.Delivered, x.Rejected = x.Delivered+1, x.Rejected+1
	}
	x.LastError = "nacked"
	require.EqualError(t, look(15*time.Second), "events to the exchange ipfsmon.events of amqp://h have been lost for 30s: nacked")
	x.SpoolFull, x.SpoolError = fullFrom, "no room"
	x.Dropped, x.Delivered = x.Dropped+1, x.Delivered+1
	require.EqualError(t, look(time.Second), "the spool of the broker is full, the oldest events are dropped: no room")
	x.SpoolFull, x.Delivered = 0.79, x.Delivered+1
	require.ErrorContains(t, look(time.Second), "have been lost for")
	x.Delivered++
	require.NoError(t, look(readyAfter), "the losses are over")
}

// TestWhatABrokerDidNotGetIsSaid in the last words: what waits, and what is lost for each reason.
func TestWhatABrokerDidNotGetIsSaid(t *testing.T) {
	require.Equal(t, []string{
		"Broker, v4: 7 events are delivered, 2 wait for the next run, 0 are lost.",
		"Broker, v3: 0 events are delivered, 0 wait for the next run, 6 are lost. The last error: refused",
	}, undelivered([]pipeline.Exchange{
		{Name: "whole", Delivered: 5, LastError: "of long ago"},
		{Name: "v4", Delivered: 7, Queued: 2},
		{Name: "v3", Dropped: 3, Rejected: 3, LastError: "refused"},
	}))
}
