//go:build all

package test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
)

// startInfluxDB16 runs Debian's InfluxDB 1.6.7 on loopback until the test's
// end, which asks everyone for a password. The administrator's authorization is
// what it gives beside the address. data are settings of its storage in place of
// an index on disk; those that begin with "http " are of its server.
func startInfluxDB16(t *testing.T, data ...string) (address, authorization string) {
	t.Helper()
	var server, storage []string
	for _, d := range data {
		if s, ok := strings.CutPrefix(d, "http "); ok {
			server = append(server, s)
		} else {
			storage = append(storage, d)
		}
	}
	if storage == nil {
		storage = []string{`index-version = "tsi1"`}
	}
	program, err := exec.LookPath("influxd")
	require.NoError(t, err, "InfluxDB 1.6.7 is missing; on Debian: apt-get install --no-install-recommends influxdb")
	version, err := exec.Command(program, "version").CombinedOutput()
	require.NoError(t, err, string(version))
	require.Contains(t, string(version), "InfluxDB v1.6.7", "%s is of another version", program)

	dir := t.TempDir()
	file := filepath.Join(dir, "influxdb.conf")
	// What switches reporting off is called reporting-disabled upstream, and
	// reporting-enabled in Debian's build. The one ignores the other's name.
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
reporting-disabled = true
reporting-enabled = false
bind-address = "127.0.0.1:0"
[meta]
  dir = %[1]q
[data]
  dir = %[2]q
  wal-dir = %[3]q
  %[4]s
[http]
  bind-address = "127.0.0.1:0"
  auth-enabled = true
  log-enabled = false
  %[5]s
[monitor]
  store-enabled = false
`, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal"), strings.Join(storage, "\n  "), strings.Join(server, "\n  ")), 0o600))
	p := launch(t, withoutInflux(dir), program, "-config", file)
	address = "http://" + p.find(`Listening on HTTP.* addr=(127\.0\.0\.1:\d+)`)
	status, body := request(t, "POST", address+"/query?"+url.Values{
		"q": {"CREATE USER admin WITH PASSWORD 'of-the-test' WITH ALL PRIVILEGES"},
	}.Encode(), "", "")
	require.Equal(t, 200, status, string(body))
	return address, "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:of-the-test"))
}

// TestAllInfluxDB16 is about the InfluxDB that Debian carries.
func TestAllInfluxDB16(t *testing.T) {
	address, admin := startInfluxDB16(t)
	file := filepath.Join(t.TempDir(), "password")
	d := &database{
		cfg:           influx.Config{URL: address, Username: "monitor", PasswordFile: file, FlushInterval: "100ms"},
		secretFile:    file,
		secret:        "the first, with a ü",
		authorization: admin,
	}
	d.ask(t, "CREATE USER monitor WITH PASSWORD '"+d.secret+"' WITH ALL PRIVILEGES")
	d.rotate = func() string {
		d.ask(t, "SET PASSWORD FOR monitor = 'the second'")
		return "the second"
	}
	deliversAll(t, d)

	durations := map[any]any{}
	for _, row := range d.ask(t, "SHOW RETENTION POLICIES ON ipfsmon") {
		durations[row["name"]] = fmt.Sprintf("%v %v", row["duration"], row["default"])
	}
	require.Equal(t, map[any]any{"history": "168h0m0s true", "totals": "0s false"}, durations)
	refusesJustOne(t, d)
}

// TestAllTagFull is a real server that takes no more than twelve values of a
// tag: what is new from then on is stored as others, by sum, and nothing is
// lost.
func TestAllTagFull(t *testing.T) {
	address, admin := startInfluxDB16(t, `index-version = "inmem"`, "max-values-per-tag = 12")
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("of the monitor"), 0o600))
	d := &database{
		cfg: influx.Config{URL: address, Username: "monitor", PasswordFile: file, FlushInterval: "100ms",
			SpoolDir: filepath.Join(t.TempDir(), "spool")},
		secretFile: file, secret: "of the monitor", authorization: admin,
	}
	d.ask(t, "CREATE USER monitor WITH PASSWORD 'of the monitor' WITH ALL PRIVILEGES")
	r := runSink(t, d.cfg)
	at := time.Now().Add(-time.Minute)
	for second := range 10 { // five new agents in each
		s := &event.Sample{Agents: []event.AgentCount{{Agent: "others", Peers: 1}}}
		for i := range 5 {
			s.Agents = append(s.Agents, event.AgentCount{Agent: event.Clean(fmt.Sprintf("kubo, %d.%d=x", second, i), event.MaxAgentText), Peers: 1})
		}
		r.publish([]*event.Event{{Time: at.Add(time.Duration(second) * time.Second).UnixNano(), Kind: event.KindSample, Sample: s}})
		r.until("settled", func(st influx.Stats) bool { return st.Events == uint64(second+1) && st.Queued == 0 })
	}
	st := r.Stats()
	require.Zero(t, st.Rejected+st.Dropped, "%+v", st)
	require.Equal(t, st.Accepted, st.Stored)
	require.Positive(t, st.Others, "%+v", st)
	// The server looks once for all points of a request, so it has a few more;
	// each agent that has a value of its own was seen once.
	values := len(d.ask(t, "SHOW TAG VALUES FROM totals.agent_versions WITH KEY = agent"))
	require.GreaterOrEqual(t, values, 12)
	require.Less(t, values, 12+5)
	require.EqualValues(t, 60, d.ask(t, "SELECT sum(peers) FROM totals.agent_versions")[0]["sum"])
	require.EqualValues(t, 60-(values-1), d.ask(t, "SELECT sum(peers) FROM totals.agent_versions WHERE agent = 'others'")[0]["sum"])
}
