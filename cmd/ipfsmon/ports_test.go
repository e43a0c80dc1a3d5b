package main

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/stream"
)

func TestTakenPortsAreNamedTogether(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	taken := l.Addr().String()
	repo := t.TempDir()
	_, err = makeRepo(t.Context(), repo, true)
	require.NoError(t, err)

	cfg := &monitor.Config{
		DataFolder:         repo,
		TCPServerConfig:    &stream.Config{ListenAddresses: []string{"127.0.0.1:0", taken}},
		HTTPServerConfig:   &httpapi.Config{ListenAddresses: []string{taken, "unix:/run/x.sock"}},
		IntrospectConfig:   &monitor.IntrospectConfig{ListenAddresses: []string{taken}},
		StoreListenAddress: taken,
	}
	err = checkPorts(repo, cfg)
	for _, want := range []string{
		"the event stream: " + taken + ": address already in use; want another with --stream HOST:PORT",
		"the HTTP API: " + taken + ": address already in use; want another with --http HOST:PORT",
		"introspection: " + taken,
		"the embedded InfluxDB: " + taken + ": address already in use; want another with --store HOST:PORT; to write to an InfluxDB that is running there, use --influxdb http://" + taken,
	} {
		require.ErrorContains(t, err, want)
	}
	cfg.StoreListenAddress = "127.0.0.1:0"
	cfg.InfluxDB = &influx.Config{URL: "http://" + taken} // is written to, not listened on
	cfg.TCPServerConfig, cfg.HTTPServerConfig, cfg.IntrospectConfig = nil, nil, nil
	require.NoError(t, checkPorts(repo, cfg))

	l.Close()
	err = findTaken([]wantedPort{{"one", taken, "remedy 1"}, {"two", taken, "remedy 2"}})
	require.EqualError(t, err, "one and two are both on "+taken+"; remedy 2")
}

func TestKnownPortsSayWhoIsThere(t *testing.T) {
	for port, name := range map[string]string{"8181": "InfluxDB 3", "8086": "InfluxDB 1 and 2"} {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil { // otherwise another process has it, which serves as well
			defer l.Close()
		}
		err = findTaken([]wantedPort{{"it", "127.0.0.1:" + port, "remedy"}})
		require.ErrorContains(t, err, "("+name+" listen")
		require.True(t, strings.HasSuffix(err.Error(), "; remedy"))
	}
}
