package monitor

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/stream"
)

// TestOtherExportersSections starts with the sections that the first and the last
// exporter documented.
func TestOtherExportersSections(t *testing.T) {
	f := func(in string, check func(*Config), warnings ...string) {
		t.Helper()
		l := Layers{Section: section(t, in)}
		cfg, _, err := l.Effective()
		require.NoError(t, err)
		check(cfg)
		got := l.Warnings()
		require.Len(t, got, len(warnings), "%q", got)
		for i, w := range warnings {
			require.True(t, strings.HasPrefix(got[i], Section+"."), got[i])
			require.Contains(t, got[i], w)
		}
	}

	// The last one: a broker, a probe, HTTP everywhere.
	f(`{"PopulatePrometheusInterval": 10, "AgentVersionCutOff": 20, "EnableBitswapDiscoveryProbe": true,
		"AMQPServerAddress": "amqp://rabbitmq:5672/%2f", "MonitorName": "de1",
		"HTTPServerConfig": {"ListenAddresses": ["0.0.0.0:8432"]}}`,
		func(c *Config) {
			require.Equal(t, "de1", c.MonitorName)
			require.Equal(t, "amqp://rabbitmq:5672/%2f", c.AMQPServerAddress)
			require.Equal(t, []string{"127.0.0.1:8432"}, c.HTTPServerConfig.ListenAddresses)
			require.False(t, c.HTTPServerConfig.EnableBroadcast)
			require.Nil(t, c.TCPServerConfig)
		},
		"EnableBitswapDiscoveryProbe: the probe is off, because only requests with a token may use it: want HTTPServerConfig.TokenFiles beside it",
		"HTTPServerConfig.ListenAddresses: 0.0.0.0:8432 is not a loopback address")
	f(`{"AMQPServerAddress": "", "EnableBitswapDiscoveryProbe": false}`,
		func(c *Config) { require.Nil(t, c.HTTPServerConfig) }, "now called HTTPServerConfig.EnableBroadcast")
	tokens := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(tokens, []byte("0123456789abcdef0123456789abcdef\n"), 0o600))
	f(`{"EnableBitswapDiscoveryProbe": true, "HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:8432"], "TokenFiles": ["`+tokens+`"]}}`,
		func(c *Config) { require.True(t, c.HTTPServerConfig.EnableBroadcast) }, "now called HTTPServerConfig.EnableBroadcast, and used as that")
	f(`{"EnableBitswapDiscoveryProbe": true, "HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:8432"], "TokenFiles": ["`+tokens+`"], "EnableBroadcast": false}}`,
		func(c *Config) { require.False(t, c.HTTPServerConfig.EnableBroadcast) }, "is ignored, because HTTPServerConfig.EnableBroadcast is set too")
	f(`{"AMQPServerAddress": "amqp://broker", "MonitorName": "de1", "HTTPServerConfig": {"ListenAddresses": ["0.0.0.0:8432"]}}`,
		func(c *Config) {
			require.Equal(t, []string{"127.0.0.1:8432"}, c.HTTPServerConfig.ListenAddresses)
		}, "not a loopback address")

	// The first one.
	f(`{"QueryPeerListIntervalSeconds": 30, "TCPServerConfig": {"ListenAddress": "localhost:4321"}}`,
		func(c *Config) {
			require.Equal(t, 30, c.PopulatePrometheusInterval)
			require.Equal(t, []string{"localhost:4321"}, c.TCPServerConfig.ListenAddresses)
		},
		"QueryPeerListIntervalSeconds: is now called PopulatePrometheusInterval, and used as that",
		"TCPServerConfig.ListenAddress: is now called TCPServerConfig.ListenAddresses, and used as that")
	f(`{"tcpserverconfig": {"listenaddress": "0.0.0.0:4321", "ListenAddresses": ["localhost:1"]}}`,
		func(c *Config) { require.Equal(t, []string{"localhost:1"}, c.TCPServerConfig.ListenAddresses) },
		"TCPServerConfig.ListenAddress: is ignored, because TCPServerConfig.ListenAddresses is set too")

	// A protected listener is accepted unchanged, and so is a section without a key of an
	// old exporter.
	f(`{"AMQPServerAddress": "amqp://broker", "MonitorName": "de1", "TCPServerConfig": {"ListenAddresses": ["0.0.0.0:1"], "AllowInsecure": true}}`,
		func(c *Config) { require.Equal(t, []string{"0.0.0.0:1"}, c.TCPServerConfig.ListenAddresses) })
	_, _, err := Layers{Section: section(t, `{"HTTPServerConfig": {"ListenAddresses": ["0.0.0.0:8432"]}}`)}.Effective()
	require.ErrorContains(t, err, "HTTPServerConfig")
	require.ErrorContains(t, err, "not on the loopback interface")
	f(`{"TCPServerConfig": {"ListenAddresses": ["localhost:8181"]}, "HTTPServerConfig": {"ListenAddresses": ["localhost:8432"]}}`, func(*Config) {})

	// A wrong type is still an error that names the key.
	_, _, err = Layers{Section: section(t, `{"TCPServerConfig": {"ListenAddress": 7}}`)}.Effective()
	require.ErrorContains(t, err, "TCPServerConfig.ListenAddresses")
	_, _, err = Layers{Section: section(t, `{"QueryPeerListIntervalSeconds": "often"}`)}.Effective()
	require.ErrorContains(t, err, "PopulatePrometheusInterval")
	in := section(t, `{"AMQPServerAddress": "x", "TCPServerConfig": {"ListenAddress": "0.0.0.0:1"}}`)
	_, _ = translate(Section, in)
	require.Equal(t, section(t, `{"AMQPServerAddress": "x", "TCPServerConfig": {"ListenAddress": "0.0.0.0:1"}}`), in, "kubo's configuration was changed")
}

func TestSecretsInKubosConfigurationAreNamed(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		got := Layers{Section: section(t, in)}.Warnings()
		require.Len(t, got, len(want), "%q", got)
		for i, w := range want {
			require.True(t, strings.HasPrefix(got[i], Section+".InfluxDB."+w+": a secret in kubo's configuration"), got[i])
			require.NotContains(t, got[i], "geheim")
		}
	}
	f(`{"InfluxDB": {"URL": "http://localhost:8086", "TokenFile": "/t", "PasswordFile": "/p", "Username": "u"}}`)
	f(`{"InfluxDB": {"Token": "geheim"}}`, "Token")
	f(`{"influxdb": {"password": "geheim", "Username": "u"}}`, "Password")
	f(`{"InfluxDB": {"URL": "http://u:geheim@localhost:8086"}}`, "URL")
	f(`{"InfluxDB": {"Also": [{"Name": "a", "Token": "geheim"}, {"Name": "b", "Password": "geheim"}]}}`, "Also.0.Token", "Also.1.Password")
	f(`{"InfluxDB": 7}`) // rejected elsewhere
}

func TestPathsMayBeginWithTheHomeFolder(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, "token"), []byte("geheim"), 0o600))
	t.Setenv("HOME", home)
	t.Setenv("IPFSMON_INFLUXDB_ORG", "lab")
	t.Setenv("IPFSMON_INFLUXDB_TOKEN_FILE", "~/token")
	cfg, sources, err := Layers{
		Section: section(t, `{"DataFolder": "~/data", "InfluxDB": {"URL": "http://127.0.0.1:1", "SpoolDir": "~/spool"}}`),
	}.Effective()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(home, "data"), cfg.DataFolder)
	require.Equal(t, filepath.Join(home, "token"), cfg.InfluxDB.TokenFile)
	require.Equal(t, filepath.Join(home, "spool"), cfg.InfluxDB.SpoolDir)
	require.Equal(t, FromKubo, sources["DataFolder"])
	require.Equal(t, FromEnv, sources["InfluxDB.TokenFile"])

	_, _, err = Layers{Section: section(t, `{"DataFolder": "~other/data"}`)}.Effective()
	require.ErrorContains(t, err, Section+`.DataFolder: path "~other/data"`)
}

// TestEveryPathIsExpanded searches for settings whose names say that they are paths but
// that package paths does not know.
func TestEveryPathIsExpanded(t *testing.T) {
	c := &Config{
		TCPServerConfig: new(stream.Config), HTTPServerConfig: new(httpapi.Config), IntrospectConfig: new(IntrospectConfig),
		InfluxDB: &influx.Config{Also: make(client.Destinations, 1)}, AMQPConfig: new(broker.Config),
	}
	known := func() map[*string]bool {
		out := map[*string]bool{}
		for _, p := range c.paths() {
			out[p] = true
		}
		return out
	}
	found := 0
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
					walk(path+"."+f.Name, v.Field(i))
				}
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Struct && v.Len() > 0 {
				walk(path, v.Index(0))
			} else if strings.HasSuffix(path, "Files") {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
				found++
				if !known()[v.Index(0).Addr().Interface().(*string)] {
					t.Errorf("%s is not in Config.paths", path)
				}
			}
		case reflect.String:
			for _, suffix := range []string{"File", "Folder", "Dir", ".GeoIPDatabase", "List"} {
				if strings.HasSuffix(path, suffix) {
					found++
					if !known()[v.Addr().Interface().(*string)] {
						t.Errorf("%s is not in Config.paths", path)
					}
				}
			}
		}
	}
	walk("", reflect.ValueOf(c))
	require.Equal(t, 19, found)
}

func TestMonitorNameIsCleanText(t *testing.T) {
	for _, bad := range []string{"a\xff", "a\nb", "\x1b[31m", "a\u009bb", "a\u202eb", `a\b`} {
		t.Setenv("IPFSMON_MONITOR_NAME", bad)
		_, _, err := Layers{}.Effective()
		require.ErrorContains(t, err, "IPFSMON_MONITOR_NAME: ", "%q", bad)
		require.ErrorContains(t, err, "want 1 to 128 bytes", "%q", bad)
	}
	t.Setenv("IPFSMON_MONITOR_NAME", "büro 2")
	cfg, _, err := Layers{}.Effective()
	require.NoError(t, err)
	require.Equal(t, "büro 2", cfg.MonitorName)
}
