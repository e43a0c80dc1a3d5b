//go:build programs || all

package programs

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestInfluxDB16 delivers to Debian's InfluxDB.
func TestInfluxDB16(t *testing.T) { deliversTo1(t, harness.StartInfluxDB16) }

// TestInfluxDB113 delivers to the newest InfluxDB 1.x.
func TestInfluxDB113(t *testing.T) { deliversTo1(t, harness.StartInfluxDB113) }

// deliversTo1 delivers to an InfluxDB 1.x.
func deliversTo1(t *testing.T, start func(*testing.T, ...string) (address, authorization string)) {
	address, admin := start(t)
	file := filepath.Join(t.TempDir(), "password")
	d := &harness.Database{
		Config:        influx.Config{URL: address, Username: "monitor", PasswordFile: file, FlushInterval: "100ms"},
		SecretFile:    file,
		Secret:        "the first, with a ü",
		Authorization: admin,
	}
	d.Ask(t, "CREATE USER monitor WITH PASSWORD '"+d.Secret+"' WITH ALL PRIVILEGES")
	d.Rotate = func() string {
		d.Ask(t, "SET PASSWORD FOR monitor = 'the second'")
		return "the second"
	}
	deliversAll(t, d)

	durations := map[any]any{}
	for _, row := range d.Ask(t, "SHOW RETENTION POLICIES ON ipfsmon") {
		durations[row["name"]] = fmt.Sprintf("%v %v", row["duration"], row["default"])
	}
	require.Equal(t, map[any]any{"history": "168h0m0s true", "totals": "0s false"}, durations)
	refusesJustOne(t, d)
}

// TestTagFullInfluxDB16: a real server accepts at most twelve values of a tag; new values are
// then stored as others, summed, and nothing is lost.
func TestTagFullInfluxDB16(t *testing.T) {
	d := harness.NewInfluxDB16(t, `index-version = "inmem"`, "max-values-per-tag = 12")
	r := harness.RunSink(t, d.Config)
	at := time.Now().Add(-time.Minute)
	for second := range 10 { // five new agents in each
		s := &event.Sample{Agents: []event.AgentCount{{Agent: "others", Peers: 1}}}
		for i := range 5 {
			s.Agents = append(s.Agents, event.AgentCount{Agent: event.Clean(fmt.Sprintf("kubo, %d.%d=x", second, i), event.MaxAgentText), Peers: 1})
		}
		r.Publish([]*event.Event{{Time: at.Add(time.Duration(second) * time.Second).UnixNano(), Kind: event.KindSample, Sample: s}})
		r.Until("settled", func(st influx.Stats) bool { return st.Events == uint64(second+1) && st.Queued == 0 })
	}
	st := r.Stats()
	require.Zero(t, st.Rejected+st.Dropped, "%+v", st)
	require.Equal(t, st.Accepted, st.Stored)
	require.Positive(t, st.Others, "%+v", st)
	// The server looks once for all points of a request, so it has a few more;
	// each agent that has its own value was seen once.
	values := len(d.Ask(t, "SHOW TAG VALUES FROM totals.agent_versions WITH KEY = agent"))
	require.GreaterOrEqual(t, values, 12)
	require.Less(t, values, 12+5)
	require.EqualValues(t, 60, d.Ask(t, "SELECT sum(peers) FROM totals.agent_versions")[0]["sum"])
	require.EqualValues(t, 60-(values-1), d.Ask(t, "SELECT sum(peers) FROM totals.agent_versions WHERE agent = 'others'")[0]["sum"])
}
