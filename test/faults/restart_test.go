//go:build faults || all

package faults

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// long reports whether faults run at full length.
func long() bool { return os.Getenv("FAULTS") != "" }

// R28: kubo with the plugin starts and ends again and again, by signals and by
// its own command, with and without a store; every third time a setting of the
// plugin is wrong: then it ends with a message that names the key, and the next start works.
func TestFaultR28Restarts(t *testing.T) {
	rounds := 6
	if long() {
		rounds = 50
	}
	home := t.TempDir()
	env := harness.Environ(home)
	file := filepath.Join(home, ".ipfs", "config")
	wrong := []struct{ section, says string }{
		{`{"TCPServerConfigs": {}}`, "Config.TCPServerConfigs: unknown key"},
		{`{"AgentVersionCutOff": "many"}`, "Config.AgentVersionCutOff: want a whole number"},
		{`{"TCPServerConfig": {"ListenAddresses": ["no address"]}}`, "Config.TCPServerConfig"},
		{`{"InfluxDB": {"URL": "http://127.0.0.1:1", "FlushInterval": "soon"}}`, `Config.InfluxDB: FlushInterval: "soon": want a duration`},
		{`[1]`, "Config: want an object"},
	}
	configure := func(section string) {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var whole map[string]any
		require.NoError(t, json.Unmarshal(raw, &whole))
		var v any
		require.NoError(t, json.Unmarshal([]byte(section), &v))
		whole["Plugins"].(map[string]any)["Plugins"].(map[string]any)["metric-export-plugin"] = map[string]any{"Config": v}
		raw, err = json.Marshal(whole)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, raw, 0o600))
	}
	right := `{"TCPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}, "HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}}`
	var id string
	for round := range rounds {
		if round%3 == 2 {
			w := wrong[round/3%len(wrong)]
			configure(w.section)
			p := harness.Start(t, env, "ipfs", "daemon")
			require.NotZero(t, p.Wait(time.Minute), "round %d: it started with %s", round, w.section)
			require.Contains(t, p.Out.String(), w.says, "round %d", round)
			require.NotContains(t, p.Out.String(), "goroutine ", "round %d: a stack is no message", round)
			configure(right)
			continue
		}
		args := []string{"ipfs", "daemon"}
		if round%3 == 0 {
			args = []string{"run", "--isolated", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0"}
		}
		p := harness.Start(t, env, args...)
		p.Find(`Daemon is (ready)`)
		now, err := harness.Run(env, "ipfs", "id", "-f", "<id>")
		require.NoError(t, err, now)
		if id == "" {
			id = now
		}
		require.Equal(t, id, now, "it is the same node each time")
		switch round % 4 {
		case 0, 3:
			p.Signal(syscall.SIGINT)
		case 1:
			p.Signal(syscall.SIGTERM)
		case 2:
			out, err := harness.Run(env, "ipfs", "shutdown")
			require.NoError(t, err, out)
		}
		require.Zero(t, p.Wait(time.Minute), "round %d: %s", round, p.Out)
		_, err = os.Stat(filepath.Join(home, ".ipfs", "api"))
		require.ErrorIs(t, err, os.ErrNotExist, "round %d left its API's address behind", round)
		if round == 0 { // from now on also kubo's own command has addresses that are free
			configure(right)
		}
		require.False(t, strings.Contains(p.Out.String(), "panic:"), p.Out.String())
	}
	t.Logf("%d rounds", rounds)
}
