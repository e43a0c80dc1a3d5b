package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/monitor"
)

var update = flag.Bool("write", false, "write the files that are made from the source")

const pageFile = "../../docs/configuration.md"

// exampleFile is the file of settings of the page: its block of JSON.
const exampleFile = `{
  "log-level": "info",
  "monitor": {
    "MonitorName": "de1",
    "InfluxDB": {"URL": "http://influx.example:8086", "HistoryRetention": "30d"}
  },
  "run": {"enable-gc": true},
  "watch": {
    "peers": 5000,
    "dht": "server",
    "monitor": {"MonitorName": "de1-light", "HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:8433"]}}
  },
  "proxy": {"downstream": ["/ip4/127.0.0.1/tcp/5001"], "cache-bytes": "64MiB"},
  "probe": {"server": {"fleet": "default", "heartbeat": "30s"}}
}
`

// TestConfigurationPage makes docs/configuration.md from the settings.
func TestConfigurationPage(t *testing.T) {
	page := configurationPage()
	if *update {
		require.NoError(t, os.WriteFile(pageFile, []byte(page), 0o644))
	}
	have, err := os.ReadFile(pageFile)
	require.NoError(t, err)
	require.Equal(t, page, string(have), "go generate ./cmd/ipfsmon writes it")
}

// configurationPage is docs/configuration.md.
func configurationPage() string {
	var b strings.Builder
	b.WriteString("<!-- Made by `go generate ./cmd/ipfsmon` from the source: change the comments and the flags there. -->\n\n# Configuration\n\n" +
		"Every setting there is. `ipfsmon config --all` prints the same, `ipfsmon config` what is in force and where it comes from, and\n" +
		"`ipfsmon config --check FILE` every problem of a file, with its line and what is wanted.\n\n" +
		"A setting of the monitor has a key in the section `" + monitor.Section + "` of kubo's configuration, the same\n" +
		"key below `monitor` in a file of settings, and a variable in the environment; a few have a flag of `ipfsmon run`. A flag goes before a\n" +
		"variable, a variable before the file, the file before kubo's section, that before the default.\n\n" +
		"Durations are written like `\"90s\"`, `\"6h\"` or `\"7d\"`, sizes like `\"512MiB\"`, `\"1.5GB\"` or a number of bytes. A list in the environment is\n" +
		"separated by commas. What is wrong is reported all at once, by the name of the flag, variable or key that it came from.\n\n" +
		"    ipfsmon ipfs config --json " + monitor.Section + ".AgentVersionCutOff 50\n" +
		"    IPFSMON_INFLUXDB_HISTORY_RETENTION=30d ipfsmon run\n\n" +
		"## A file of settings\n\n" +
		"`ipfsmon run`, `watch`, `proxy` and `probe` read one file, named by `--config FILE` or `IPFSMON_CONFIG`:\n\n" +
		"```json\n" + exampleFile + "```\n\n" +
		"It is one JSON object. `monitor` has the monitor's settings for all of them; below a command's name are its flags, by their names\n" +
		"without the dashes, and a `monitor` with what differs for that command. The flags of the log may stand at the top. In a file for one\n" +
		"command alone its flags may stand at the top too. An unknown key, a key that is there twice and a value of another type are errors.\n")
	part := "\x00"
	for _, s := range allSettings(app()) {
		section := s.section
		if section == "" {
			at := strings.LastIndexByte(s.Key, '.')
			section = "Monitor"
			if at > 0 {
				section = strings.ReplaceAll(s.Key[:at], ".N", " (each)")
			}
		} else if section == everyCommand {
			section = "Flags of every command"
		} else {
			section = "Flags of `ipfsmon " + strings.ReplaceAll(section, ".", " ") + "`"
		}
		if section != part {
			part = section
			fmt.Fprintf(&b, "\n## %s\n\n| key | type | default | variable | flag | since | meaning |\n|---|---|---|---|---|---|---|\n", section)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", code(s.Key), s.Type, cell(s.Default), code(s.Env), code(s.Flag), s.Since, cell(s.Doc))
	}
	return b.String()
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, ", ", "`, `") + "`"
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "*", `\*`).Replace(text)
}

// TestEveryFlagOfAFileIsASetting: each flag of a command that reads a file is listed, with a
// type, a default and a meaning, and can be set in the file.
func TestEveryFlagOfAFileIsASetting(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, listSettings(&out, "json"))
	var all []monitor.Setting
	require.NoError(t, json.Unmarshal(out.Bytes(), &all))
	seen := map[string]bool{}
	for _, s := range all {
		require.False(t, seen[s.Key], s.Key)
		seen[s.Key] = true
		require.NotEmpty(t, s.Type, s.Key)
		require.NotEmpty(t, s.Default, s.Key)
		require.NotEmpty(t, s.Since, s.Key)
		require.NotEmpty(t, s.Doc, s.Key)
	}
	for _, key := range []string{"log-level", "quiet", "watch.peers", "proxy.downstream", "run.enable-gc", "probe.token-file", "probe.server.fleet", "probe.lab.nodes", "MonitorName"} {
		require.True(t, seen[key], key)
	}
	for _, key := range []string{"watch.http", "watch.config", "watch.quiet", "probe.server.token-file"} {
		require.False(t, seen[key], key)
	}
	known := maps.Clone(firstVersions())
	for _, s := range allSettings(app()) {
		if s.section != "" {
			require.Regexp(t, `^0\.[0-9]+$`, s.Since, "a new flag: add the version that has it first, and %s, to since.txt", s.Key)
			delete(known, s.Key)
		}
	}
	require.Empty(t, known, "flags in since.txt that are no settings")
	require.NoError(t, listSettings(&out, "table"))
	require.Contains(t, out.String(), "watch.peers\n    whole number; default: 2000; since 0.2\n    --peers, IPFSMON_WATCH_PEERS\n")
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.json")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// TestPrecedence: flags go before the environment, the environment before the file, the file
// before defaults, for each command that reads a file and for each kind of value.
func TestPrecedence(t *testing.T) {
	f := func(text, flag, want string, line ...string) {
		t.Helper()
		path := file(t, text)
		started, code, _, stderr := tried(t, append(line, "--config", path)...)
		require.Zero(t, code, stderr)
		require.Regexp(t, `^\{?`+regexp.QuoteMeta(want)+`( \{.*\})?$`, started[0].flags[flag], line)
	}
	const watch = `{"watch": {"peers": 100, "listen": ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"], "lookup-every": "1d"}}`
	f(watch, "peers", "100", "watch")
	f(watch, "listen", "[/ip4/127.0.0.1/tcp/1 /ip4/127.0.0.1/tcp/2]", "watch")
	f(watch, "lookup-every", "24h0m0s", "watch")
	f(watch, "peers", "300", "watch", "--peers", "300")
	t.Setenv("IPFSMON_WATCH_PEERS", "200")
	f(watch, "peers", "200", "watch")
	f(watch, "peers", "300", "watch", "--peers", "300")
	f(`{"peers": 100, "rate": 7}`, "rate", "7", "watch")
	f(`{"quiet": true, "run": {"enable-gc": true}}`, "quiet", "true", "run")
	f(`{"quiet": true, "run": {"enable-gc": true}}`, "enable-gc", "true", "run")
	f(`{"run": {"enable-gc": true}}`, "enable-gc", "false", "run", "--enable-gc=false")
	f(`{"proxy": {"cache-bytes": "64MiB", "downstream": ["/ip4/127.0.0.1/tcp/5001"]}}`, "cache-bytes", "67108864", "proxy")
	f(`{"proxy": {"cache-bytes": -1}}`, "cache-bytes", "-1", "proxy")
	f(`{"probe": {"telemetry-port": 1, "server": {"fleet": "a"}}}`, "fleet", "a", "probe", "server")
	f(`{"probe": {"telemetry-port": 1, "server": {"fleet": "a"}}}`, "telemetry-port", "1", "probe", "server")
	f(`{"probe": {"telemetry-port": 1, "server": {"telemetry-port": 2}}}`, "telemetry-port", "3", "probe", "server", "--telemetry-port", "3")
	f(`{"probe": {"telemetry-port": 1, "lab": {"nodes": 5}}}`, "nodes", "5", "probe", "lab")

	// A file that a variable names.
	t.Setenv(configVariable, file(t, `{"proxy": {"max-peers": 5}}`))
	started, code, _, stderr := tried(t, "proxy")
	require.Zero(t, code, stderr)
	require.Equal(t, "5", started[0].flags["max-peers"])
}

// TestMonitorOfAFile: the monitor's settings come from the file's two places, above kubo's
// section and below the environment and the flags.
func TestMonitorOfAFile(t *testing.T) {
	path := file(t, `{"monitor": {"MonitorName": "top", "AgentVersionCutOff": 7, "PopulatePrometheusInterval": 30},
		"run": {"monitor": {"monitorname": "run", "InfluxDB": {"URL": "http://127.0.0.1:1"}}}, "watch": {"monitor": {"MonitorName": "watch"}}}`)
	read, err := readConfigFile(path)
	require.NoError(t, err)
	section := func(names ...string) map[string]any {
		out, _ := read.monitorSection(names).(map[string]any)
		return out
	}
	require.Equal(t, "run", section("run")["MonitorName"])
	require.Equal(t, "watch", section("watch")["MonitorName"])
	require.Equal(t, "top", section("proxy")["MonitorName"])
	require.NotContains(t, section("watch"), "InfluxDB")

	kubo := map[string]any{"MonitorName": "kubo", "AgentVersionCutOff": 3.0, "StreamPrivacy": "aggregate"}
	t.Setenv("IPFSMON_POPULATE_PROMETHEUS_INTERVAL", "20")
	cfg, sources, err := monitor.Layers{Section: kubo, File: read.monitorSection([]string{"run"}), Flags: func(c *monitor.Config) { c.InfluxDB.URL = "http://127.0.0.1:2" }}.Effective()
	require.NoError(t, err)
	require.Equal(t, "run", cfg.MonitorName)
	require.Equal(t, 7, cfg.AgentVersionCutOff)
	require.Equal(t, 20, cfg.PopulatePrometheusInterval)
	require.Equal(t, "http://127.0.0.1:2", cfg.InfluxDB.URL)
	require.EqualValues(t, "aggregate", cfg.StreamPrivacy)
	require.Equal(t, monitor.FromFile, sources["MonitorName"])
	require.Equal(t, monitor.FromKubo, sources["StreamPrivacy"])
	require.Equal(t, monitor.FromEnv, sources["PopulatePrometheusInterval"])
	require.Equal(t, monitor.FromFlag, sources["InfluxDB.URL"])
}

// problems checks a file, and returns its problems without the file's name.
func problems(t *testing.T, text string) []string {
	t.Helper()
	path := file(t, text)
	err := checkFile(path)
	if err == nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(err.Error()) {
		out = append(out, strings.TrimSpace(strings.ReplaceAll(line, path, "F")))
	}
	return out
}

// TestCheckFile: every problem of a file is found at once, with its line and what is wanted,
// whatever the environment says.
func TestCheckFile(t *testing.T) {
	t.Setenv("IPFSMON_WATCH_PEERS", "1")
	t.Setenv("IPFSMON_AGENT_VERSION_CUT_OFF", "many")
	require.Empty(t, problems(t, exampleFile))
	require.Equal(t, "1", os.Getenv("IPFSMON_WATCH_PEERS"))
	f := func(text string, want ...string) {
		t.Helper()
		require.Equal(t, want, problems(t, text))
	}
	f("{\n \"watch\": {\n  \"peers\": \"many\",\n  \"lookup-every\": 5,\n  \"listen\": \"/ip4/1\",\n  \"isolated\": 1\n },\n \"wach\": {}\n}",
		`F:3: watch.peers: want a whole number, got the text many`,
		`F:4: watch.lookup-every: want a duration, as in "10s", got the number 5`,
		`F:5: watch.listen: want a list of texts, got the text /ip4/1`,
		`F:6: watch.isolated: want true or false, got the number 1`,
		`F:8: wach: unknown key; did you mean watch?; want one of monitor, run, proxy, watch, probe, log-level, log-format, quiet`)
	f("{\"watch\": {\"peers\": 7,\n\"listen\": [\n\"nowhere\"]}}",
		`F:1: watch.peers: 7: want 50 to 20000`,
		`F:2: watch.listen: "nowhere": want a multiaddr, as in /ip4/0.0.0.0/tcp/4001: failed to parse multiaddr "nowhere": must begin with /`)
	f("{\"monitor\": {\n\"StoreMaxBytes\": 5,\n\"MonitorNam\": \"x\"}}",
		`F:3: monitor.MonitorNam: unknown key; did you mean MonitorName?; want one of `+keysOf(monitor.Settings()))
	f("{\"monitor\": {\n\"StoreMaxBytes\": 5}}", `F:2: monitor.StoreMaxBytes: 5: want 0 for none, or 64MiB or more`)
	f("{\"watch\": {\"monitor\": {\n\"InfluxDB\": {\n\"Gzip\": \"maybe\", \"URL\": \"http://127.0.0.1:1\"}}}}",
		`F:3: watch.monitor.InfluxDB: Gzip: "maybe": want "auto", "on" or "off"`)
	f("{\"proxy\": {\"http\":\n[\"127.0.0.1:0\"]}}", `F:1: proxy.http: want it as monitor.HTTPServerConfig.ListenAddresses`)
	f("{\"proxy\": {\n\"sticky\": true}}", `F: proxy: You must specify the -d flag: the RPC API of each node, as in /ip4/127.0.0.1/tcp/5001`)
	f("{\"quiet\": true,\n\"quiet\": false}", `F:2: quiet is there twice: want each key once`)
	f("{\"quiet\": true,\n}", `F:2: invalid character '}' looking for beginning of object key string: want one JSON object`)
	f("{\"quiet\": true", `F:1: the file ends early: want one JSON object`)
	f("[]", `F:1: want an object with settings, got array`)
	f("{}\n{}", `F:2: text after the object: want one JSON object`)
	f("{\"peers\": 70}")
	f("{\"peers\": 70, \"rate\": 5,\n\"downstream\": []}", `F:2: downstream: unknown key; want one of `+topKeys("watch"))

	// kubo's own configuration.
	kubo := func(section string) string {
		return "{\"Identity\": {\"PeerID\": \"x\"},\n\"Addresses\": {\"API\": \"/ip4/127.0.0.1/tcp/5001\"},\n\"Plugins\": {\"Plugins\": {\"metric-export-plugin\": {\"Config\": {\n" + section + "}}}}}"
	}
	f(kubo(`"MonitorName": "x"`))
	f(kubo("\"MonitorName\": 5,\n\"TCPServerConfig\": {\"QueueByts\": 1}"),
		`F:4: `+monitor.Section+`.MonitorName: want a string, got number`,
		`F:5: `+monitor.Section+`.TCPServerConfig.QueueByts: unknown key; did you mean QueueBytes?; want one of ListenAddresses, TLSCertFile, TLSKeyFile, TokenFiles, AllowInsecure, MaxClients, MaxClientsPerAddress, ExactAddresses, QueueBytes`)
	f("{\"Identity\": {},\n\"Addresses\": {\"Swarm\": 5}}", `F:2: Addresses.Swarm: want a list, got number`)
	require.ErrorContains(t, checkFile("/nowhere/at/all"), "/nowhere/at/all")
}

func keysOf(all []monitor.Setting) string {
	var out []string
	for _, s := range all {
		name, _, _ := strings.Cut(s.Key, ".")
		if len(out) == 0 || out[len(out)-1] != name {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

func topKeys(command string) string {
	out := []string{"monitor", "run", "proxy", "watch", "probe", "log-level", "log-format", "quiet"}
	for _, s := range allSettings(app()) {
		if s.section == command {
			out = append(out, strings.TrimPrefix(s.Key, command+"."))
		}
	}
	return strings.Join(out, ", ")
}

// TestAWrongFileStartsNothing: its problems are printed with their lines, and the command does
// not start; a part for another command is checked too.
func TestAWrongFileStartsNothing(t *testing.T) {
	for _, command := range [][]string{{"run"}, {"watch"}, {"proxy"}, {"probe", "lab"}, {"probe", "scheduler"}, {"config"}} {
		path := file(t, "{\"watch\":\n{\"peers\": \"x\",\n\"rate\": \"y\"}}")
		started, code, _, stderr := tried(t, append(command, "--config", path)...)
		require.Empty(t, started)
		require.Equal(t, exitUsage, code)
		require.Regexp(t, "(?s)"+regexp.QuoteMeta(path)+":2: watch.peers: want a whole number, got the text x\n"+regexp.QuoteMeta(path)+":3: watch.rate: want", stderr)
	}
	started, code, _, stderr := tried(t, "watch", "--config", file(t, `{"peers": 100, "watch": {"peers": 200}}`))
	require.Empty(t, started)
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, `peers: is at the top and below "watch": want it once`)
}
