package monitor

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	libp2ptest "github.com/libp2p/go-libp2p/core/test"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/privacy"
	"github.com/ipfsmon/ipfsmon/stream"
)

func TestPrivacyOfEachSink(t *testing.T) {
	f := func(json string, influx, stream privacy.Mode) {
		t.Helper()
		cfg, _, err := Layers{Section: section(t, json)}.Effective()
		require.NoError(t, err)
		require.Equal(t, influx, cfg.InfluxDBPrivacy)
		require.Equal(t, stream, cfg.StreamPrivacy)
	}
	f(`{}`, privacy.Raw, privacy.Raw)
	f(`{"Privacy": "aggregate"}`, privacy.Aggregate, privacy.Aggregate)
	f(`{"Privacy": "aggregate", "StreamPrivacy": "raw"}`, privacy.Aggregate, privacy.Raw)
	f(`{"InfluxDBPrivacy": "pseudonym"}`, privacy.Pseudonym, privacy.Raw)

	t.Setenv("IPFSMON_PRIVACY", "pseudonym")
	f(`{"Privacy": "aggregate"}`, privacy.Pseudonym, privacy.Pseudonym)
	t.Setenv("IPFSMON_INFLUX_DB_PRIVACY", "aggregate")
	t.Setenv("IPFSMON_STREAM_PRIVACY", "raw")
	f(`{"InfluxDBPrivacy": "raw"}`, privacy.Aggregate, privacy.Raw)

	cfg, sources, err := Layers{
		Section: section(t, `{"StreamPrivacy": "aggregate"}`),
		Flags:   func(c *Config) { c.StreamPrivacy = privacy.Pseudonym },
	}.Effective()
	require.NoError(t, err)
	require.Equal(t, privacy.Pseudonym, cfg.StreamPrivacy)
	require.Equal(t, FromFlag, sources["StreamPrivacy"])
	require.Equal(t, FromEnv, sources["InfluxDBPrivacy"])
}

func TestOriginFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	t.Setenv("IPFSMON_GEO_IP_DATABASE", path)
	t.Setenv("IPFSMON_GATEWAY_LIST", path)
	cfg, sources, err := Layers{Section: section(t, `{"GeoIPDatabase": "/nowhere"}`)}.Effective()
	require.NoError(t, err)
	require.Equal(t, path, cfg.GeoIPDatabase)
	require.Equal(t, path, cfg.GatewayList)
	require.Equal(t, FromEnv, sources["GatewayList"])
}

func TestBadPrivacyIsNamed(t *testing.T) {
	f := func(json string, want ...string) {
		t.Helper()
		_, _, err := Layers{Section: section(t, json)}.Effective()
		require.Error(t, err)
		for _, w := range want {
			require.ErrorContains(t, err, w)
		}
	}
	f(`{"Privacy": "secret"}`, Section+`.Privacy: "secret": want one of raw, pseudonym, aggregate`)
	f(`{"StreamPrivacy": "Raw"}`, Section+`.StreamPrivacy: "Raw"`)
	f(`{"InfluxDBPrivacy": "no", "StreamPrivacy": "yes"}`, `.InfluxDBPrivacy: "no"`, `.StreamPrivacy: "yes"`)
	f(`{"Privacy": 1}`, Section+".Privacy: want a string")
	f(`{"StreamPrivacy": "pseudonym", "TCPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}}`, Section+".DataFolder: is empty")
	f(`{"GeoIPDatabase": "/nowhere/x.mmdb"}`, Section+".GeoIPDatabase: want a file that can be read", "/nowhere/x.mmdb")
	f(`{"GatewayList": "/"}`, Section+".GatewayList: want a file that can be read", "not a regular file")
}

// TestFiltersOfTheSinks: each sink's reader receives what its mode permits, and both
// sinks get the same pseudonyms.
func TestFiltersOfTheSinks(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	read := func(t *testing.T, influxMode, streamMode privacy.Mode) (influxSees, streamSees *event.Event, raw *event.Event, folder string) {
		folder = filepath.Join(t.TempDir(), "data")
		b := bus.New(bus.Config{})
		defer b.Close()
		m := &Monitor{bus: b, log: log, stream: new(stream.Server), influx: new(influx.Sink), Config: &Config{
			TCPServerConfig: new(stream.Config), InfluxDB: &influx.Config{URL: "http://127.0.0.1:1"},
			InfluxDBPrivacy: influxMode, StreamPrivacy: streamMode, DataFolder: folder}}
		require.NoError(t, m.openPrivacy())
		i, s := m.subscribe("influx"), m.subscribe("stream")
		raw = &event.Event{Kind: event.KindMessage, Time: time.Now().UnixNano(), Peer: libp2ptest.RandPeerIDFatal(t)}
		b.Publish(raw)
		b.Publish(&event.Event{Kind: event.KindSample, Sample: new(event.Sample)})
		next := func(r *bus.Reader) *event.Event {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var buf [2]*event.Event
			n, _, err := r.Next(ctx, buf[:])
			require.NoError(t, err)
			require.NotZero(t, n)
			return buf[0]
		}
		return next(i), next(s), raw, folder
	}
	i, s, raw, folder := read(t, privacy.Aggregate, privacy.Raw)
	require.Equal(t, event.KindSample, i.Kind)
	require.Equal(t, raw, s)
	require.NoDirExists(t, folder, "no sink needs a key")

	i, s, raw, folder = read(t, privacy.Pseudonym, privacy.Pseudonym)
	require.NotEqual(t, raw.Peer, i.Peer)
	require.NotEmpty(t, i.Peer)
	require.Equal(t, i.Peer, s.Peer)
	require.Equal(t, raw.Seq, i.Seq)
	info, err := os.Stat(filepath.Join(folder, privacy.KeyFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestOriginIsOptional(t *testing.T) {
	b := bus.New(bus.Config{})
	defer b.Close()
	c := capture.New(b, slog.New(slog.DiscardHandler))
	m := &Monitor{Config: new(Config), log: slog.New(slog.DiscardHandler), done: make(chan struct{})}
	require.NoError(t, m.openOrigin(c))
	require.Nil(t, m.origin)

	path := filepath.Join(t.TempDir(), "gateways")
	require.NoError(t, os.WriteFile(path, []byte("nobody\n"), 0o600))
	m.Config.GatewayList = path
	require.ErrorContains(t, m.openOrigin(c), "line 1")
	p := libp2ptest.RandPeerIDFatal(t)
	require.NoError(t, os.WriteFile(path, []byte(p.String()), 0o600))
	require.NoError(t, m.openOrigin(c))
	require.True(t, m.origin.Gateway(p))
	ended := make(chan struct{})
	go func() { defer close(ended); m.followOrigin(c) }()
	close(m.done)
	<-ended
	require.NoError(t, m.origin.Close())
}
