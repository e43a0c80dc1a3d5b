package harness

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Watch is an isolated light node.
type Watch struct {
	*Process
	Repo, Home string
	Env        []string
	ID         string // peer ID
	TCP, QUIC  string // multiaddrs, with the peer ID
	Stream     string // host:port
	HTTP       string
	Influx     string // URL of the embedded InfluxDB, with credentials for reading
}

// StartWatch runs "ipfsmon watch --isolated" on free ports and waits until it is ready. Its
// folder is the default one of the home.
func StartWatch(t testing.TB, home string, args ...string) *Watch {
	t.Helper()
	w := &Watch{Home: home, Repo: filepath.Join(home, ".ipfsmon", "watch"), Env: Environ(home)}
	w.Process = Start(t, w.Env, append([]string{"watch", "--isolated",
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "1"}, args...)...)
	w.Find(`The node is (ready)`)
	w.ID = w.Find(`Peer ID: (\S+)`)
	w.TCP = w.Find(`(/ip4/127\.0\.0\.1/tcp/\d+/p2p/\S+)`)
	w.QUIC = w.Find(`(/ip4/127\.0\.0\.1/udp/\d+/quic-v1/p2p/\S+)`)
	w.Stream = w.Find(`Metric Export TCP server listening on (\S+)`)
	w.HTTP = w.Find(`Metric Export HTTP server listening on (\S+)`)
	w.Influx = AsReader(t, w.Find(`InfluxDB listening on (http://\S+),`), filepath.Join(w.Find(`InfluxDB listening on .* data in (\S+)`), "influxdb"))
	require.Eventually(t, func() bool { // the database is made with the first points
		got, err := InfluxQL(w.Influx, "SELECT count(messages) FROM totals.traffic")
		return err == nil && len(got) > 0
	}, time.Minute, 20*time.Millisecond)
	return w
}

// Query runs InfluxQL and returns one number.
func (w *Watch) Query(q string) float64 {
	w.T.Helper()
	out, err := InfluxQL(w.Influx, q)
	require.NoError(w.T, err)
	return out[""]
}
