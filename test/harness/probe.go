package harness

import (
	"encoding/csv"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// probeFleet is a small private DHT of probe servers.
type probeFleet struct {
	t        *testing.T
	Env      []string
	Database []string // flags
	first    string   // address of the first one
	n        int
}

func NewProbeFleet(t *testing.T, database ...string) *probeFleet {
	home := t.TempDir()
	var env []string
	for _, e := range Environ(home) {
		if !strings.HasPrefix(e, "PARSEC_") && !strings.HasPrefix(e, "AWS_") && !strings.HasPrefix(e, "ECS_") {
			env = append(env, e)
		}
	}
	return &probeFleet{t: t, Env: env, Database: database}
}

// Server runs "ipfsmon probe server" and returns it once it listens.
func (f *probeFleet) Server(fleet string, args ...string) (p *Process, url string) {
	f.t.Helper()
	bootstrap := f.first
	if bootstrap == "" {
		bootstrap = "none"
	}
	f.n++
	all := append([]string{"probe"}, f.Database...) // parsec takes them before the sub-command
	all = append(all, "server", "--fleet", fleet, "--region", fmt.Sprint("r", f.n), "--dht-server", "--dht-prefix", "/probe-test", "--bootstrap", bootstrap,
		"--peer-host", "127.0.0.1", "--peer-port", "0", "--server-port", "0", "--telemetry-port", "0", "--level-db", "memory", "--startup-delay", "100ms", "--heartbeat", "1s")
	p = Start(f.t, f.Env, append(all, args...)...)
	url = p.Find(`listening on (http://\S+)`)
	if f.first == "" {
		port := p.Find(`Peer \S+ listening on port (\d+)`)
		f.first = "/ip4/127.0.0.1/tcp/" + port + "/p2p/" + p.Find(`Peer (\S+) listening`)
	}
	return p, url
}

func (f *probeFleet) Scheduler(fleets string, args ...string) *Process {
	f.t.Helper()
	all := append([]string{"probe", "scheduler", "--fleets", fleets, "--interval", "200ms", "--settle", "50ms", "--wait", "200ms", "--telemetry-port", "0"}, f.Database...)
	return Start(f.t, f.Env, append(all, args...)...)
}

// Results are the rows of "ipfsmon probe report".
func (f *probeFleet) Results() (rows []map[string]string) {
	f.t.Helper()
	out, err := Run(f.Env, append([]string{"probe", "report", "--format", "csv"}, f.Database...)...)
	require.NoError(f.t, err, out)
	all, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(f.t, err, out)
	for _, r := range all[1:] {
		row := map[string]string{}
		for i, name := range all[0] {
			row[name] = r[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func Good(rows []map[string]string, kind string) (n int) {
	for _, r := range rows {
		if r["kind"] == kind && r["error"] == "" {
			n++
		}
	}
	return n
}

const ProbePatience = 90 * time.Second
