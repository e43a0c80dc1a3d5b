package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeServer answers as a parsec server does.
type fakeServer struct {
	*httptest.Server
	mu        sync.Mutex
	calls     []call
	conns     int
	unready   bool
	peer      string                                  // "": not reported, as by parsec's
	provide   func(w http.ResponseWriter, cid string) // nil: the README's answer
	retrieve  func(w http.ResponseWriter, cid string)
	closeThen bool // end the connection during each provide
}

type call struct {
	path      string
	at        time.Time
	scheduler string
	body      string
}

func newServer(t *testing.T) *fakeServer {
	f := &fakeServer{}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	f.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			f.mu.Lock()
			f.conns++
			f.mu.Unlock()
		}
	}
	f.Start()
	t.Cleanup(f.Close)
	return f
}

func (f *fakeServer) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.calls = append(f.calls, call{r.URL.Path, time.Now(), r.Header.Get("X-Scheduler-Id"), string(body)})
	unready, provide, retrieve, broken := f.unready, f.provide, f.retrieve, f.closeThen
	f.mu.Unlock()
	switch {
	case r.URL.Path == "/readiness":
		if f.peer != "" {
			w.Header().Set("X-Peer-Id", f.peer)
		}
		if unready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	case r.URL.Path == "/provide":
		var o struct{ Content []byte }
		_ = json.Unmarshal(body, &o)
		cid := probe.CIDOf(o.Content).String()
		if broken {
			panic(http.ErrAbortHandler)
		}
		if provide != nil {
			provide(w, cid)
			return
		}
		fmt.Fprintf(w, `{"CID":%q,"Duration":1500000000,"Error":"","RoutingTableSize":202}`, cid)
	default:
		cid := strings.TrimPrefix(r.URL.Path, "/retrieve/")
		if retrieve != nil {
			retrieve(w, cid)
			return
		}
		fmt.Fprintf(w, `{"CID":%q,"Measurements":[{"Step":"retrieval","Duration":250000000,"Error":""}],"RoutingTableSize":3,
			"Lookup":{"Hops":2,"RPCs":5,"FailedRPCs":1,"Dials":4,"FailedDials":1,"HopTimes":[1000000,2000000]}}`, cid)
	}
}

// asked returns how often a path was requested.
func (f *fakeServer) asked(path string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if strings.HasPrefix(c.path, path) {
			n++
		}
	}
	return n
}

// fakeStore is a database that can be unavailable.
type fakeStore struct {
	mu      sync.Mutex
	nodes   []store.Node
	offline []int
	results []store.Result
	down    error
	deaf    error // the error that it returns although it has written
	queues  map[string]int64
	refuse  func(*store.Result) error
	noSteps bool
	asked   []string
}

var errDown = errors.New("the database is down")

func (f *fakeStore) AddScheduler(context.Context, []string, json.RawMessage) (int, error) {
	return 3, nil
}

func (f *fakeStore) Nodes(_ context.Context, fleets []string, _ time.Duration) (out []store.Node, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return nil, f.down
	}
	f.asked = fleets
	for _, n := range f.nodes {
		if slices.Contains(fleets, n.Fleet) && !slices.Contains(f.offline, n.ID) {
			out = append(out, n)
		}
	}
	return out, nil
}

func (f *fakeStore) Offline(_ context.Context, id int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return f.down
	}
	f.offline = append(f.offline, id)
	return nil
}

func (f *fakeStore) Queue(_ context.Context, queue string) (int64, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, known := f.queues[queue]
	return n, known, f.down
}

func (f *fakeStore) AddQueue(_ context.Context, queue string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.queues == nil {
		f.queues = map[string]int64{}
	}
	f.queues[queue] += 0
	return f.down
}

func (f *fakeStore) AddQueued(_ context.Context, queue string, rs ...*store.Result) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return f.down
	}
	for _, r := range rs {
		if f.refuse != nil {
			if err := f.refuse(r); err != nil {
				return err
			}
		}
	}
	for _, r := range rs {
		if r.Number > f.queues[queue] {
			f.queues[queue] = r.Number
			f.results = append(f.results, *r)
		}
	}
	return f.deaf
}

func (f *fakeStore) Steps() bool { return !f.noSteps }

func (f *fakeStore) setDown(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// add adds servers to the store, numbered from 1.
func (f *fakeStore) add(t *testing.T, fleet string, servers ...*fakeServer) {
	for _, s := range servers {
		at, err := netip.ParseAddrPort(s.Listener.Addr().String())
		require.NoError(t, err)
		f.nodes = append(f.nodes, store.Node{ID: len(f.nodes) + 1, Fleet: fleet, Region: "here", IP: at.Addr(), ServerPort: int(at.Port()), PeerID: "12D3KooWC262ndt4452Us1TM1qiZi5JJhdNNp92pAUERY9aPC3wN"})
	}
}

// quick is a configuration without long pauses.
func quick(st Store, rounds int) Config {
	return Config{Store: st, Fleets: []string{"f"}, Interval: time.Millisecond, Settle: time.Millisecond, Wait: time.Millisecond, Rounds: rounds}
}

// run runs a scheduler until it ends.
func run(t *testing.T, cfg Config) *Scheduler {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, s.Run(ctx))
	require.NoError(t, ctx.Err(), "it did not end on its own")
	return s
}
