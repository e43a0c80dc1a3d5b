package monitor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/stream"
)

// section returns JSON as kubo hands it to a plugin.
func section(t *testing.T, s string) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(s), &v))
	return v
}

func TestOldKeysKeepTheirMeaning(t *testing.T) {
	cfg, sources, err := Layers{Section: section(t, `{
		"PopulatePrometheusInterval": 7, "AgentVersionCutOff": 3,
		"TCPServerConfig": {"ListenAddresses": ["localhost:8181"]},
		"httpserverconfig": {"ListenAddresses": ["127.0.0.1:0", "[::1]:0"]}}`)}.Effective()
	require.NoError(t, err)
	require.Equal(t, 7, cfg.PopulatePrometheusInterval)
	require.Equal(t, 3, cfg.AgentVersionCutOff)
	require.Equal(t, []string{"localhost:8181"}, cfg.TCPServerConfig.ListenAddresses)
	require.Equal(t, []string{"127.0.0.1:0", "[::1]:0"}, cfg.HTTPServerConfig.ListenAddresses)
	require.Equal(t, FromKubo, sources["AgentVersionCutOff"])
	require.Equal(t, FromDefault, sources["MonitorName"])

	cfg, _, err = Layers{Section: section(t, `{"PopulatePrometheusInterval": -1, "AgentVersionCutOff": 0, "TCPServerConfig": null}`)}.Effective()
	require.NoError(t, err)
	require.Equal(t, DefaultInterval, cfg.PopulatePrometheusInterval)
	require.Equal(t, DefaultAgentCutOff, cfg.AgentVersionCutOff)
	require.Nil(t, cfg.TCPServerConfig)

	cfg, _, err = Layers{}.Effective()
	require.NoError(t, err)
	require.Nil(t, cfg.TCPServerConfig)
	require.Nil(t, cfg.HTTPServerConfig)
	require.Nil(t, cfg.InfluxDB)
	require.NotEmpty(t, cfg.MonitorName)
}

func TestPrecedence(t *testing.T) {
	t.Setenv("IPFSMON_MONITOR_NAME", "from-env")
	t.Setenv("IPFSMON_AGENT_VERSION_CUT_OFF", "11")
	t.Setenv("IPFSMON_TCP_LISTEN_ADDRESSES", "127.0.0.1:1,127.0.0.1:2")
	l := Layers{
		Defaults: func(c *Config) { c.AgentVersionCutOff, c.PopulatePrometheusInterval = 5, 99 },
		Section:  section(t, `{"MonitorName": "from-kubo", "AgentVersionCutOff": 6}`),
		Flags:    func(c *Config) { c.MonitorName = "from-flag" },
	}
	cfg, sources, err := l.Effective()
	require.NoError(t, err)
	require.Equal(t, "from-flag", cfg.MonitorName)
	require.Equal(t, 11, cfg.AgentVersionCutOff)
	require.Equal(t, 99, cfg.PopulatePrometheusInterval)
	require.Equal(t, []string{"127.0.0.1:1", "127.0.0.1:2"}, cfg.TCPServerConfig.ListenAddresses)
	require.Nil(t, cfg.HTTPServerConfig, "a part without a variable stays off")
	require.Equal(t, map[string]string{
		"MonitorName": FromFlag, "AgentVersionCutOff": FromEnv, "PopulatePrometheusInterval": FromDefault,
		"TCPServerConfig.ListenAddresses": FromEnv,
	}, map[string]string{
		"MonitorName": sources["MonitorName"], "AgentVersionCutOff": sources["AgentVersionCutOff"],
		"PopulatePrometheusInterval":      sources["PopulatePrometheusInterval"],
		"TCPServerConfig.ListenAddresses": sources["TCPServerConfig.ListenAddresses"],
	})
}

func TestBadConfigurationIsNamed(t *testing.T) {
	f := func(json string, want ...string) {
		t.Helper()
		_, _, err := Layers{Section: section(t, json)}.Effective()
		require.Error(t, err)
		for _, w := range want {
			require.ErrorContains(t, err, w)
		}
	}
	f(`"text"`, Section+": want an object, got string")
	f(`{"AgentVersionCutof": 3}`, Section+".AgentVersionCutof: unknown key", "AgentVersionCutOff")
	f(`{"InfluxDB": {"Adress": "x"}}`, Section+".InfluxDB.Adress: unknown key", "URL")
	f(`{"AgentVersionCutOff": "many"}`, Section+".AgentVersionCutOff: want a whole number, got string")
	f(`{"AgentVersionCutOff": 1.5}`, Section+".AgentVersionCutOff: want a whole number")
	f(`{"TCPServerConfig": []}`, Section+".TCPServerConfig: want an object, got array")
	f(`{"TCPServerConfig": {"ListenAddresses": "localhost:1"}}`, Section+".TCPServerConfig.ListenAddresses: want a list, got string")
	f(`{"TCPServerConfig": {}}`, Section+".TCPServerConfig: missing ListenAddresses")
	f(`{"HTTPServerConfig": {"ListenAddresses": []}}`, Section+".HTTPServerConfig: missing ListenAddresses")
	f(`{"TCPServerConfig": {"ListenAddresses": ["nowhere"]}}`, Section+".TCPServerConfig", "nowhere")
	f(`{"InfluxDB": {"URL": "http://127.0.0.1:1", "FlushInterval": "fast"}}`, Section+".InfluxDB", "FlushInterval", "fast")
	f(`{"MonitorName": "a\nb"}`, Section+".MonitorName")
	f(`{"MonitorName": "a\nb", "TCPServerConfig": {}}`, ".MonitorName", ".TCPServerConfig")

	f(`{"InfluxDB": {"Also": [{"Name": "a", "Url": "http://a"}, {"Nam": "b"}]}}`, Section+".InfluxDB.Also.1.Nam: unknown key", "Token")
	f(`{"InfluxDB": {"Also": {"Name": "a"}}}`, Section+".InfluxDB.Also: want a list, got object")
	f(`{"InfluxDB": {"Also": [{"Name": "a"}]}}`, Section+".InfluxDB: Also.a.URL: missing")

	t.Setenv("IPFSMON_INFLUXDB_ALSO", `{"Token": "geheim"}`)
	f(`{}`, "IPFSMON_INFLUXDB_ALSO: want a JSON list")
	_, _, err := Layers{}.Effective()
	require.NotContains(t, err.Error(), "geheim")
	t.Setenv("IPFSMON_INFLUXDB_ALSO", "[]")

	t.Setenv("IPFSMON_AGENT_VERSION_CUT_OFF", "many")
	f(`{}`, "IPFSMON_AGENT_VERSION_CUT_OFF", "many")
}

func TestSecretsAreMasked(t *testing.T) {
	cfg, sources, err := Layers{Section: section(t,
		`{"InfluxDB": {"URL": "http://127.0.0.1:1", "Token": "geheim", "Org": "o"}}`)}.Effective()
	require.NoError(t, err)
	b, err := json.Marshal(Entries(cfg, sources))
	require.NoError(t, err)
	require.NotContains(t, string(b), "geheim")
	require.Contains(t, string(b), "***")
	require.Contains(t, string(b), `"key":"InfluxDB.Org"`)

	t.Setenv("IPFSMON_INFLUXDB_ALSO", `[{"Name": "cloud", "URL": "https://cloud.example", "Org": "o", "Token": "geheim"}]`)
	cfg, sources, err = Layers{}.Effective()
	require.NoError(t, err)
	require.Equal(t, "geheim", cfg.InfluxDB.Also[0].Token)
	require.Contains(t, Entries(cfg, sources), Entry{"InfluxDB.Also.0.Token", `"***"`, FromEnv})
	require.Contains(t, Entries(cfg, sources), Entry{"InfluxDB.Also.0.Name", `"cloud"`, FromEnv})
}

func TestEveryKeyHasAVariable(t *testing.T) {
	// envconfig reads a bare name from the environment where a field has a name of its
	// own: USERNAME or TOKEN would then reach the monitor.
	t.Setenv("LISTEN_ADDRESSES", "127.0.0.1:9")
	t.Setenv("USERNAME", "somebody")
	t.Setenv("TOKEN", "something")
	cfg, _, err := Layers{Defaults: func(c *Config) { c.TCPServerConfig = &stream.Config{ListenAddresses: []string{"127.0.0.1:0"}} }}.Effective()
	require.NoError(t, err)
	require.Nil(t, cfg.InfluxDB)
	require.False(t, strings.Contains(cfg.TCPServerConfig.ListenAddresses[0], ":9"))
}
