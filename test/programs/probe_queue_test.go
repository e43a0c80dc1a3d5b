//go:build programs || all

package programs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/store"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// witness is a probe server that remembers what it answered, and can fall
// silent.
type witness struct {
	*httptest.Server
	node     int
	mu       sync.Mutex
	answered map[string]bool // kind, CID and node
	silent   chan struct{}   // not nil: nothing is answered until it is closed
}

func newWitness(t *testing.T) *witness {
	w := &witness{answered: map[string]bool{}}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(func() { w.speak(); w.Close() })
	return w
}

func (w *witness) serve(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path == "/readiness" {
		return
	}
	kind, cid := "retrieval", strings.TrimPrefix(r.URL.Path, "/retrieve/")
	if r.URL.Path == "/provide" {
		var o struct{ Content []byte }
		_ = json.Unmarshal(body, &o)
		kind, cid = "provide", probe.CIDOf(o.Content).String()
	}
	for {
		w.mu.Lock()
		silent := w.silent
		if silent == nil {
			w.answered[fmt.Sprint(kind, " ", cid, " ", w.node)] = true
			w.mu.Unlock()
			fmt.Fprintf(out, `{"CID":%q,"Duration":1500000,"Error":"","RoutingTableSize":2}`, cid)
			return
		}
		w.mu.Unlock()
		select {
		case <-silent:
		case <-r.Context().Done():
			return
		}
	}
}

func (w *witness) hush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = make(chan struct{})
}

func (w *witness) speak() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent != nil {
		close(w.silent)
		w.silent = nil
	}
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.answered)
}

// TestProbeKilled: PostgreSQL is down, and the scheduler killed in the midst
// of its rounds, several times. Every result is in the database afterwards,
// once, and so are those of the time when both were there.
func TestProbeKilled(t *testing.T) {
	p := startPostgres(t)
	ctx := context.Background()
	st, err := store.Open(ctx, p.config())
	require.NoError(t, err)
	defer st.Close()
	all := []*witness{newWitness(t), newWitness(t), newWitness(t)}
	beat := func() {
		t.Helper()
		for _, w := range all { // the first fails on a connection that the stop has broken
			require.Eventually(t, func() bool { return st.Heartbeat(ctx, w.node) == nil }, harness.ProbePatience, 100*time.Millisecond)
		}
	}
	for _, w := range all {
		at, err := netip.ParseAddrPort(w.Listener.Addr().String())
		require.NoError(t, err)
		w.node, err = st.AddNode(ctx, &store.Node{Fleet: "one", Dependencies: json.RawMessage(`{}`), IP: at.Addr(), ServerPort: int(at.Port())})
		require.NoError(t, err)
	}
	answered := func() (n int) {
		for _, w := range all {
			n += w.count()
		}
		return n
	}
	f := harness.NewProbeFleet(t, p.flags()...)
	queue := filepath.Join(t.TempDir(), "queue.sqlite")
	scheduler := func() *harness.Process { return f.Scheduler("one", "--queue", queue, "--interval", "100ms") }
	kill := func(s *harness.Process) {
		t.Helper()
		s.Signal(syscall.SIGKILL)
		s.Wait(30 * time.Second)
	}

	// Killed while it writes: at most what is under way is unknown, and nothing
	// is there twice.
	for range 5 {
		beat()
		n := answered()
		s := scheduler()
		require.Eventually(t, func() bool { return answered() >= n+20 }, harness.ProbePatience, time.Millisecond)
		kill(s)
	}
	beat()
	s := scheduler()
	n := answered()
	require.Eventually(t, func() bool { return answered() >= n+20 }, harness.ProbePatience, time.Millisecond)
	for _, w := range all { // what was answered before this run may have been under way when it was killed
		w.mu.Lock()
		clear(w.answered)
		w.mu.Unlock()
	}

	p.stop()
	require.Eventually(t, func() bool { return answered() >= 30 }, harness.ProbePatience, time.Millisecond, "rounds continue without the database")
	for _, w := range all {
		w.hush()
	}
	// Nothing is answered any more: wait until the scheduler has taken all.
	waiting := func() (n int) {
		resp, err := http.Get(s.Find(`Metrics on (http://\S+)`))
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		m := regexp.MustCompile(`(?m)^ipfsmon_probe_queued_results (\d+)$`).FindSubmatch(b)
		require.Len(t, m, 2)
		n, err = strconv.Atoi(string(m[1]))
		require.NoError(t, err)
		return n
	}
	last, since := 0, time.Now()
	require.Eventually(t, func() bool {
		if n := waiting(); n != last {
			last, since = n, time.Now()
		}
		return last > 0 && time.Since(since) > 5*time.Second
	}, harness.ProbePatience, 100*time.Millisecond)
	kill(s)
	want := map[string]bool{}
	for _, w := range all {
		maps.Copy(want, w.answered)
	}

	p.start()
	for _, w := range all {
		w.speak()
	}
	beat()
	s = scheduler()
	s.Find(`(results of an earlier run wait)`)
	require.Eventually(t, func() bool { return answered() >= len(want)+20 }, harness.ProbePatience, 10*time.Millisecond)
	s.Signal(syscall.SIGTERM)
	require.Zero(t, s.Wait(30*time.Second))

	results, err := st.Results(ctx, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), nil)
	require.NoError(t, err)
	there := map[string]int{}
	for _, r := range results {
		there[fmt.Sprint(r.Step, " ", r.CID, " ", r.Node)]++
	}
	for what, n := range there {
		require.Equal(t, 1, n, what)
	}
	for what := range want {
		require.Equal(t, 1, there[what], what)
	}
	require.Equal(t, "0", p.value(`SELECT count(*) FROM (SELECT created_at, lag(created_at) OVER (ORDER BY id) AS before FROM provides_ecs) AS x WHERE created_at < before`), "in their order")
	require.Equal(t, "1", p.value(`SELECT count(*) FROM ipfsmon_queues`))
	t.Logf("%d results waited when the scheduler was killed; those of %d answers of this run were looked for, and %d are in the database, each once", last, len(want), len(results))
}
