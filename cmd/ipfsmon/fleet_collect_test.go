package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/fleet/collect"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// TestFleetFile: what is wrong in the file is named, with what is wanted.
func TestFleetFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.json")
	f := func(content string, want ...string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := readFleetFile(path)
		for _, w := range append(want, path) {
			require.ErrorContains(t, err, w)
		}
	}
	f(``, "it is empty: want one JSON object")
	f("{\n\n  nonsense}", "line 3: ")
	f(`{} {}`, "text after the object: want one JSON object")
	f(`{"monitors": [{"stream": "a:1", "nam": "x"}], "latness": "1s"}`,
		`monitors.0.nam: unknown key; did you mean name?; want one of name, stream, format, http, page, api, tls, ca-file, tls-name, token-file`,
		`latness: unknown key; did you mean lateness?`)
	f(`{"monitors": {}}`, "monitors: want a list, got object")
	f(`{"monitors": [{"stream": 7}]}`, "monitors.0.stream: want a string, got number")
	f(`{"monitors": []}`, "monitors: 0 of them: want 1 to 64")
	_, err := readFleetFile(path + "x")
	require.ErrorContains(t, err, "--fleet: open")
}

// TestFleetCheck: a line for each setting.
func TestFleetCheck(t *testing.T) {
	cfg := collect.Config{Monitors: []collect.Source{{Name: "de1", Stream: "127.0.0.1:8181"}}}
	mc, sources, err := monitor.Layers{Defaults: fleetDefaults, File: map[string]any{"MonitorName": "fleet"}}.Effective()
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, explainFleet(&b, cfg, mc, sources))
	for _, want := range []string{"monitors.0.name", "its name in every figure", "lateness", "10s", "monitor.MonitorName", `"fleet"`, "(file)", "(default)"} {
		require.Contains(t, b.String(), want)
	}
}
