//go:build stack || all

package stack

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/grafana"
)

// stackPatience is how long anything in the stack may take.
const stackPatience = 3 * time.Minute

// rows asks the stack's PostgreSQL; a database that does not answer is "".
func (s *stackRun) rows(query string) string {
	out, err := s.try(nil, s.compose[0], append(append([]string{}, s.compose[1:]...), "exec", "-T", "postgres", "psql", "-U", "parsec", "-d", "parsec", "-Atc", query)...)
	if err != nil {
		return ""
	}
	return out
}

// rounds waits for so many more lookups that found what another server
// provided, and returns how many there are.
func (s *stackRun) rounds(what string, more int) {
	s.t.Helper()
	const query = `SELECT count(*) FROM retrievals_ecs r JOIN provides_ecs p USING (cid) WHERE r.error IS NULL AND p.error IS NULL AND r.node_id <> p.node_id`
	first := -1
	require.Eventually(s.t, func() bool {
		n, err := strconv.Atoi(s.rows(query))
		if err == nil && first < 0 {
			first = n
		}
		return err == nil && n >= first+more
	}, stackPatience, 500*time.Millisecond, "no rounds: %s", what)
	s.t.Logf("rounds %s: %v since the start of the test", what, time.Since(s.begun).Round(time.Second))
}

// TestStackProbe runs the profile probe on a real Docker engine: two servers
// that find each other by their database, in their own DHT.
func TestStackProbe(t *testing.T) {
	s := startStack(t, "probe", "IPFSMON_PROBE_BOOTSTRAP=fleet", "IPFSMON_PROBE_DHT_PREFIX=/stack-test", "IPFSMON_PROBE_DHT_SERVER=true",
		"IPFSMON_PROBE_STARTUP_DELAY=1s", "IPFSMON_PROBE_INTERVAL=2s", "IPFSMON_PROBE_SETTLE=200ms")
	s.rounds("after the start", 4)
	require.Equal(t, "2", s.rows(`SELECT count(DISTINCT node_id) FROM provides_ecs WHERE error IS NULL`), "each provides in its turn")
	for _, service := range []string{"probe1", "probe2", "postgres"} {
		require.Eventually(t, func() bool {
			return s.docker("inspect", "-f", "{{.State.Health.Status}}", "ipfsmontest-"+service+"-1") == "healthy"
		}, stackPatience, 500*time.Millisecond, "%s is not healthy", service)
	}
	s.unprivileged(map[string]string{"nginx 8080/tcp": "127.0.0.1"})
	require.Equal(t, "postgres-password\ntoken", s.stack("exec", "-T", "postgres", "ls", "/secrets"))
	s.panels()

	// The database away, and the scheduler killed meanwhile: what it had reported
	// InfluxDB of is in the database afterwards, once.
	s.stack("kill", "postgres")
	n := s.lookups()
	require.Eventually(t, func() bool { return s.lookups() >= n+2 }, stackPatience, 500*time.Millisecond, "rounds continue without the database")
	s.stack("kill", "scheduler")
	s.stack("up", "-d")
	s.rounds("after the database was away", 2)
	s.once()

	s.stack("kill", "probe1")
	require.Eventually(t, func() bool {
		return s.rows(`SELECT count(*) > 0 FROM nodes_ecs WHERE offline_since IS NOT NULL`) == "t"
	}, stackPatience, 500*time.Millisecond,
		"a server that was killed is offline")
	t.Logf("a killed server is offline: %v since the start of the test", time.Since(s.begun).Round(time.Second))
	s.stack("restart") // also of what was killed
	s.rounds("after a server was killed, and a restart of all", 2)
	s.once()
}

// lookups is how many InfluxDB has.
func (s *stackRun) lookups() float64 {
	counts, err := s.count(time.Now())
	if err != nil {
		return 0
	}
	return counts["totals.dht_retrieve"]
}

// panels asks what the dashboard's panels ask.
func (s *stackRun) panels() {
	t := s.t
	t.Helper()
	wanted := map[string]bool{}
	for _, name := range []string{"Published / A", "Found / A", "Measurements / A", "Median by region / A", "Time to publish / A", "Time to find / A", "Requests and hops / A", "Routing table / A"} {
		wanted["DHT probe / "+name] = true
	}
	for _, statement := range grafana.Statements() {
		if !wanted[statement.Where] {
			continue
		}
		delete(wanted, statement.Where)
		require.Eventually(t, func() bool {
			now := time.Now()
			all, err := s.ask(statement.Fill(now.Add(-time.Hour), now, 10*time.Second))
			for _, one := range all {
				for _, row := range one.Values {
					for _, v := range row[1:] {
						if v != nil {
							return err == nil
						}
					}
				}
			}
			return false
		}, stackPatience, 500*time.Millisecond, statement.Where)
	}
	require.Empty(t, wanted, "the dashboard has no such panels")
}

// once looks for each of InfluxDB's results in the database.
func (s *stackRun) once() {
	t := s.t
	t.Helper()
	for _, kind := range []string{"provide", "retrieve"} {
		all, err := s.ask(fmt.Sprintf("SELECT cid FROM totals.dht_%s", kind))
		require.NoError(t, err)
		require.Len(t, all, 1)
		var there map[string]int
		table := map[string]string{"provide": "provides_ecs", "retrieve": "retrievals_ecs"}[kind]
		require.Eventually(t, func() bool {
			there = map[string]int{}
			for _, cid := range strings.Fields(s.rows("SELECT cid FROM " + table)) {
				there[cid]++
			}
			for _, row := range all[0].Values {
				if there[row[1].(string)] == 0 {
					return false
				}
			}
			return true
		}, stackPatience, 500*time.Millisecond, "%s: results are missing in the database", kind)
		for cid, n := range there { // one provider and one that looks for it
			require.Equal(t, 1, n, "%s of %s", kind, cid)
		}
		t.Logf("%d results of %s are in the database, each once", len(all[0].Values), kind)
	}
}
