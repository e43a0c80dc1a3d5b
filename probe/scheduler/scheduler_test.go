package scheduler

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// TestRound: each server in turn provides and all others retrieve, in the fleets that
// were requested.
func TestRound(t *testing.T) {
	st := &fakeStore{}
	a, b, c, other := newServer(t), newServer(t), newServer(t), newServer(t)
	st.add(t, "f", a, b)
	st.add(t, "g", c)
	st.add(t, "h", other)
	cfg := quick(st, 6)
	cfg.Fleets = []string{"f", "g"}
	var mu sync.Mutex
	var events []*event.Event
	cfg.Publish = func(e *event.Event) { mu.Lock(); defer mu.Unlock(); events = append(events, e) }
	reg := prometheus.NewRegistry()
	m, err := probe.NewSchedulerMetrics(reg, func() float64 { return 0 }, func() float64 { return 0 })
	require.NoError(t, err)
	cfg.metrics = m
	run(t, cfg)
	for _, s := range []*fakeServer{a, b, c} {
		require.Equal(t, 2, s.asked("/provide"))
		require.Equal(t, 4, s.asked("/retrieve/"))
		require.Equal(t, "f,g", s.calls[0].scheduler)
		require.LessOrEqual(t, s.conns, 3, "connections are used again: every body is read and closed")
	}
	require.Zero(t, other.asked("/"))
	require.Len(t, st.results, 18)
	p, r := st.results[0], st.results[1]
	require.True(t, p.Provide)
	require.Equal(t, "provide 1.5s 202 <nil> 3 1", fmt.Sprint(p.Step, " ", p.Duration, " ", p.Table, " ", p.Lookup, " ", p.Scheduler, " ", p.Node))
	require.Equal(t, "retrieval 250ms 3", fmt.Sprint(r.Step, " ", r.Duration, " ", r.Table))
	require.Equal(t, &probe.Lookup{Hops: 2, RPCs: 5, FailedRPCs: 1, Dials: 4, FailedDials: 1, HopTimes: []time.Duration{time.Millisecond, 2 * time.Millisecond}}, r.Lookup)
	require.Equal(t, p.CID, r.CID)
	require.Len(t, events, 18)
	e := events[1].Probe
	require.Equal(t, "f here DHT 2 1ms", fmt.Sprint(events[0].Probe.Fleet, " ", e.Region, " ", e.Target, " ", e.Hops, " ", e.HopTimes[0]))
	require.NotEmpty(t, events[0].Peer)
	families, err := reg.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			got[f.GetName()+fmt.Sprint(len(x.GetLabel()))] = x.GetCounter().GetValue() + x.GetGauge().GetValue()
		}
	}
	require.Equal(t, 3.0, got["parsec_active_nodes0"])
	require.Equal(t, 6.0, got["parsec_issued_provides1"])
	require.Equal(t, 12.0, got["parsec_issued_retrievals1"])
}

// TestUnready: parsec sends requests to the wrong servers when one is not ready.
func TestUnready(t *testing.T) {
	st := &fakeStore{}
	a, b, c := newServer(t), newServer(t), newServer(t)
	b.unready = true
	st.add(t, "f", a, b, c)
	run(t, quick(st, 4))
	require.Equal(t, []int{2}, st.offline)
	require.Equal(t, 1, b.asked("/"), "it is only asked for its readiness")
	require.Equal(t, 2, a.asked("/provide"))
	require.Equal(t, 2, c.asked("/provide"))
	for _, r := range st.results {
		require.NotEqual(t, 2, r.Node)
	}
}

// TestOneIsTooFew: parsec continues with a single server.
func TestOneIsTooFew(t *testing.T) {
	st := &fakeStore{}
	a := newServer(t)
	st.add(t, "f", a)
	s, err := New(quick(st, 1))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	require.Eventually(t, func() bool { return a.asked("/readiness") >= 3 }, time.Minute, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.Zero(t, a.asked("/provide"))
}

// TestKilled: a server that ends its connection in a round is marked offline, and the
// rounds continue; parsec's scheduler ends when that server was the provider.
func TestKilled(t *testing.T) {
	st := &fakeStore{}
	a, b, c := newServer(t), newServer(t), newServer(t)
	a.closeThen = true
	st.add(t, "f", a, b, c)
	run(t, quick(st, 3))
	require.Equal(t, []int{1}, st.offline)
	require.Len(t, st.results, 6)

	st = &fakeStore{}
	st.add(t, "f", b, c)
	b.retrieve = func(http.ResponseWriter, string) { panic(http.ErrAbortHandler) }
	d := newServer(t)
	st.add(t, "f", d)
	run(t, quick(st, 4))
	require.Equal(t, []int{1}, st.offline)
	require.NotEmpty(t, st.results)
}

// TestBadAnswers are failed results and do not make a server offline.
func TestBadAnswers(t *testing.T) {
	f := func(answer func(w http.ResponseWriter, cid string), want string) {
		t.Helper()
		st := &fakeStore{}
		a, b := newServer(t), newServer(t)
		st.add(t, "f", a, b)
		for _, s := range []*fakeServer{a, b} {
			s.provide, s.retrieve = nil, answer
		}
		run(t, quick(st, 1))
		require.Len(t, st.results, 2)
		require.Contains(t, st.results[1].Error, want)
		require.LessOrEqual(t, len(st.results[1].Error), 256)

		st.results = nil
		a.provide, b.provide = answer, answer
		run(t, quick(st, 1))
		require.Len(t, st.results, 1, "no server retrieves what was not provided")
		require.Contains(t, st.results[0].Error, want)
		require.Empty(t, st.offline)
	}
	text := func(status int, body string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	f(text(500, "it broke"), "status 500: it broke")
	f(text(429, strings.Repeat("x", 5000)), "status 429")
	f(text(200, "<html>"), "not a measurement: <html>")
	f(text(200, "{}"), "not a measurement")
	f(text(200, ""), "not a measurement")
	f(text(200, strings.Repeat(" ", maxAnswer+1)), "too long")
	f(text(200, `{"CID":"Qmother","Duration":1,"Error":""}`), "another CID")
	f(func(w http.ResponseWriter, cid string) {
		fmt.Fprintf(w, `{"CID":%q,"Duration":1,"Error":"not found\n\u001b[31m","RoutingTableSize":1}`, cid)
	}, "not found")
	f(func(w http.ResponseWriter, cid string) {
		fmt.Fprintf(w, `{"CID":%q,"Measurements":[{"Step":"x","Duration":1,"Error":"second form"}]}`, cid)
	}, "second form")
}

// TestServersInJavaScript: they answer with a CIDv1 of the same bytes and without the
// fields that their generation lacks; they read Target.
func TestServersInJavaScript(t *testing.T) {
	st := &fakeStore{}
	a, b := newServer(t), newServer(t)
	st.add(t, "f", a, b)
	v1 := func(text string) string {
		c, err := cid.Decode(text)
		require.NoError(t, err)
		return cid.NewCidV1(cid.Raw, c.Hash()).String()
	}
	for _, s := range []*fakeServer{a, b} {
		s.provide = func(w http.ResponseWriter, cid string) { fmt.Fprintf(w, `{"CID":%q,"Duration":1234567.5}`, v1(cid)) }
		s.retrieve = func(w http.ResponseWriter, cid string) {
			fmt.Fprintf(w, `{"CID":%q,"Duration":2e6,"Error":null,"RoutingTableSize":7.0}`, v1(cid))
		}
	}
	run(t, quick(st, 1))
	require.Len(t, st.results, 2)
	require.Equal(t, "1.234567ms 0 ", fmt.Sprint(st.results[0].Duration, " ", st.results[0].Table, " ", st.results[0].Error))
	require.Equal(t, "2ms 7 ", fmt.Sprint(st.results[1].Duration, " ", st.results[1].Table, " ", st.results[1].Error))
	require.Equal(t, st.results[0].CID, st.results[1].CID)
	for _, call := range slices.Concat(a.calls, b.calls) {
		if call.path != "/readiness" {
			require.Contains(t, call.body, `"Routing":"DHT"`)
			require.Contains(t, call.body, `"Target":"DHT"`)
		}
	}

	// A failure alone is a measurement too: of the duration of the request.
	for _, s := range []*fakeServer{a, b} {
		s.provide = func(w http.ResponseWriter, _ string) { fmt.Fprint(w, `{"Error":"no peers"}`) }
	}
	st.results = nil
	run(t, quick(st, 1))
	require.Len(t, st.results, 1)
	require.Equal(t, "no peers", st.results[0].Error)
	require.Positive(t, st.results[0].Duration)
}

// TestFailingProvider: parsec sends it the next request at once, forever. This scheduler
// uses the next server, after a pause.
func TestFailingProvider(t *testing.T) {
	st := &fakeStore{}
	a, b := newServer(t), newServer(t)
	fail := func(w http.ResponseWriter, cid string) {
		fmt.Fprintf(w, `{"CID":%q,"Duration":1,"Error":"no peers"}`, cid)
	}
	a.provide, b.provide = fail, fail
	st.add(t, "f", a, b)
	cfg := quick(st, 4)
	cfg.Wait = 150 * time.Millisecond
	run(t, cfg)
	require.Equal(t, 2, a.asked("/provide"))
	require.Equal(t, 2, b.asked("/provide"))
	var last time.Time
	for _, s := range []*fakeServer{a, b, a, b} {
		for i, c := range s.calls {
			if c.path == "/provide" {
				require.GreaterOrEqual(t, c.at.Sub(last), cfg.Wait)
				last, s.calls = c.at, s.calls[i+1:]
				break
			}
		}
	}
}

// TestOutage: while the database is unavailable, rounds continue and nothing is lost.
func TestOutage(t *testing.T) {
	st := &fakeStore{}
	a, b, c := newServer(t), newServer(t), newServer(t)
	st.add(t, "f", a, b, c)
	cfg := quick(st, 12)
	cfg.Queue = filepath.Join(t.TempDir(), "queue.sqlite")
	cfg.Round = func(n int) {
		switch n {
		case 2:
			st.setDown(errDown)
		case 10:
			st.setDown(nil)
		}
	}
	s := run(t, cfg)
	require.Len(t, st.results, 36)
	waiting, lost := s.Waiting()
	require.Zero(t, waiting)
	require.Zero(t, lost)
	for i := 1; i < len(st.results); i++ {
		require.False(t, st.results[i].At.Before(st.results[i-1].At.Add(-time.Second)), "in their order")
	}
}

// TestRefused: a row that the database rejects for its content is lost alone.
func TestRefused(t *testing.T) {
	st := &fakeStore{refuse: func(r *store.Result) error {
		if r.Node == 2 && r.Provide {
			return fmt.Errorf("add: %w", &pgconn.PgError{Code: "23503"})
		}
		return nil
	}}
	a, b := newServer(t), newServer(t)
	st.add(t, "f", a, b)
	s := run(t, quick(st, 4))
	_, lost := s.Waiting()
	require.EqualValues(t, 2, lost)
	require.Len(t, st.results, 6)
}

// TestDryRun writes nothing.
func TestDryRun(t *testing.T) {
	st := &fakeStore{}
	a, b, c := newServer(t), newServer(t), newServer(t)
	c.unready = true
	st.add(t, "f", a, b, c)
	cfg := quick(st, 2)
	cfg.DryRun = true
	var mu sync.Mutex
	n := 0
	cfg.Result = func(store.Result) { mu.Lock(); n++; mu.Unlock() }
	run(t, cfg)
	require.Equal(t, 4, n)
	require.Empty(t, st.results)
	require.Empty(t, st.offline)
}

// TestRestarted: a server that was killed and started again has two rows; it must not
// measure with itself.
func TestRestarted(t *testing.T) {
	st := &fakeStore{}
	a, b := newServer(t), newServer(t)
	st.add(t, "f", a, b, a)
	run(t, quick(st, 2))
	require.Equal(t, []int{1}, st.offline)
	require.Equal(t, 1, a.asked("/provide"))
	require.Equal(t, 1, b.asked("/provide"))
}

// TestAddressOfAnother: a server was killed, and another one now has its address, on
// another network of the same container.
func TestAddressOfAnother(t *testing.T) {
	st := &fakeStore{}
	a, b, c := newServer(t), newServer(t), newServer(t)
	st.add(t, "f", a, b, c)
	a.peer, b.peer = st.nodes[0].PeerID, "12D3KooWJANH2tYmKRN88zshxdjU9dt5CpZq3AWJ3txQ5MV7h6bV"
	run(t, quick(st, 2))
	require.Equal(t, []int{2}, st.offline)
	require.Equal(t, 1, b.asked("/"), "it is only asked for its readiness")
	require.Equal(t, 1, c.asked("/provide"))
}

// TestIPNI: five look-ups for each provide, and a row for each step of a provide if the
// database has steps.
func TestIPNI(t *testing.T) {
	for _, noSteps := range []bool{false, true} {
		st := &fakeStore{noSteps: noSteps}
		a, b := newServer(t), newServer(t)
		a.provide = func(w http.ResponseWriter, cid string) {
			fmt.Fprintf(w, `{"CID":%q,"Measurements":[{"Step":"announce","Duration":1000,"Error":""},{"Step":"index_ad","Duration":2000,"Error":""}]}`, cid)
		}
		st.add(t, "f", a, b)
		cfg := quick(st, 1)
		cfg.Target = probe.IPNI
		run(t, cfg)
		require.Equal(t, 5, b.asked("/retrieve/"))
		require.Contains(t, b.calls[1].body, `"Routing":"IPNI"`)
		if noSteps {
			require.Len(t, st.results, 6)
			require.Equal(t, 3*time.Microsecond, st.results[0].Duration)
			continue
		}
		require.Len(t, st.results, 7)
		require.Equal(t, "announce index_ad", st.results[0].Step+" "+st.results[1].Step)
	}
}

func TestProbes(t *testing.T) {
	st := &fakeStore{}
	a, b := newServer(t), newServer(t)
	st.add(t, "f", a, b)
	cfg := quick(st, 4)
	cfg.Probes, cfg.Interval = 4, time.Hour
	run(t, cfg)
	require.Equal(t, 2, a.asked("/provide"))
	require.Equal(t, 2, b.asked("/provide"))
}

func TestValidate(t *testing.T) {
	for _, cfg := range []Config{{}, {Fleets: []string{""}}, {Fleets: []string{"f"}, Probes: -1}, {Fleets: []string{"f"}, Interval: -1}} {
		_, err := New(cfg)
		require.Error(t, err)
	}
}
