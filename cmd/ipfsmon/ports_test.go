package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
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

// An InfluxDB on a taken port is named with its version, by its answer to /ping; an InfluxDB 3
// with what else can be done. One that wants a token even for that is recognised by its port.
func TestInfluxDB3HasThePort(t *testing.T) {
	s := influxtest.New3()
	url := s.Start(t).URL
	address := strings.TrimPrefix(url, "http://")
	err := findTaken([]wantedPort{{"the event stream", address, "want another with --stream HOST:PORT"}})
	require.EqualError(t, err, "the event stream: "+address+": address already in use by InfluxDB 3.11.2; want another with --stream HOST:PORT; or start InfluxDB 3 on another port (--http-bind); to write to it, --influxdb "+url)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	err = findTaken([]wantedPort{{"the event stream", "0.0.0.0:" + port, "remedy"}})
	require.ErrorContains(t, err, "by InfluxDB 3.11.2; remedy; or start")
	s = influxtest.New3()
	s.Auth = true
	address = strings.TrimPrefix(s.Start(t).URL, "http://")
	err = findTaken([]wantedPort{{"the event stream", address, "remedy"}})
	require.EqualError(t, err, "the event stream: "+address+": address already in use; remedy")
}

// TestPort8181IsTheStreams: InfluxDB 3 listens on the stream's port by default. Nothing that we
// ship or document starts it there: in compose files no server has that port, and a document that
// names it beside InfluxDB 3 speaks of the collision.
func TestPort8181IsTheStreams(t *testing.T) {
	files := []string{"../../docker-compose.yml", "../../README.md"}
	for _, pattern := range []string{"../../docker/*", "../../docker/compose/*.yml", "../../nginx/*", "../../docs/*.md", "../../grafana/provisioning/*/*.yml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	require.Greater(t, len(files), 30)
	compose := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // a folder
		}
		for n, line := range strings.Split(string(b), "\n") {
			if !strings.Contains(line, "8181") {
				continue
			}
			require.False(t, strings.HasSuffix(file, ".yml"), "%s:%d: %s", file, n+1, line)
			require.False(t, regexp.MustCompile(`(?i)(http://[^ ]*:8181|--http-bind[ =][^ ]*8181|-p [0-9.:]*8181|--url[ =][^ ]*8181)`).MatchString(line), "%s:%d: %s", file, n+1, line)
		}
		if strings.HasSuffix(file, "influxdb3.yml") {
			compose++
			require.Contains(t, string(b), "--http-bind=0.0.0.0:8086", "InfluxDB 3 would listen on 8181")
		}
	}
	require.Equal(t, 1, compose, "want the overlay")
}
