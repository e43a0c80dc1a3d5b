package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), Config{Path: path})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func node(fleet string) *Node {
	return &Node{CPU: 1, Memory: 2, PeerID: "p", Region: "r", Cmd: "c", Fleet: fleet, Dependencies: json.RawMessage(`{}`),
		IP: netip.MustParseAddr("::1"), ServerPort: 65535, PeerPort: 40001}
}

// TestNodes: a server is listed in its fleets from its first heartbeat until it is marked
// offline or its heartbeat is too old; the next heartbeat lists it again.
func TestNodes(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "new", "p.sqlite"))
	a, err := s.AddNode(ctx, node("a"))
	require.NoError(t, err)
	b, err := s.AddNode(ctx, node("b'; DROP TABLE nodes_ecs; --"))
	require.NoError(t, err)
	f := func(within time.Duration, fleets []string, want ...int) {
		t.Helper()
		nodes, err := s.Nodes(ctx, fleets, within)
		require.NoError(t, err)
		var got []int
		for _, n := range nodes {
			got = append(got, n.ID)
		}
		require.Equal(t, want, got)
	}
	both := []string{"a", "b'; DROP TABLE nodes_ecs; --"}
	f(time.Hour, both)
	require.NoError(t, s.Heartbeat(ctx, a))
	require.NoError(t, s.Heartbeat(ctx, b))
	f(time.Hour, both, a, b)
	f(time.Hour, []string{"a"}, a)
	f(time.Hour, []string{"c"})
	f(time.Hour, nil)
	f(-time.Second, both)
	require.NoError(t, s.Offline(ctx, a))
	f(time.Hour, both, b)
	require.NoError(t, s.Heartbeat(ctx, a))
	f(time.Hour, both, a, b)
	nodes, err := s.Nodes(ctx, []string{"a"}, time.Hour)
	require.NoError(t, err)
	want := *node("a")
	want.ID, want.Dependencies = a, nil
	require.Equal(t, []Node{want}, nodes)
}

// TestHeartbeatFromTheFuture: a server that writes its own clock, which is ahead, counts
// like one with a heartbeat of now, and can be marked offline.
func TestHeartbeatFromTheFuture(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "p.sqlite"))
	id, err := s.AddNode(ctx, node("a"))
	require.NoError(t, err)
	require.NoError(t, s.db.exec(ctx, `UPDATE nodes_ecs SET last_heartbeat = ? WHERE id = ?`, s.t(time.Now().Add(24*time.Hour)), id))
	nodes, err := s.Nodes(ctx, []string{"a"}, time.Minute)
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	nodes, err = s.Nodes(ctx, []string{"a"}, -time.Second)
	require.NoError(t, err)
	require.Empty(t, nodes, "its heartbeat is not later than now")
	require.NoError(t, s.Offline(ctx, id))
	nodes, err = s.Nodes(ctx, []string{"a"}, time.Minute)
	require.NoError(t, err)
	require.Empty(t, nodes)
}

func TestResults(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "p.sqlite"))
	sched, err := s.AddScheduler(ctx, []string{"a", "b"}, json.RawMessage(`{"x":1}`))
	require.NoError(t, err)
	n, err := s.AddNode(ctx, node("a"))
	require.NoError(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	p := Result{Provide: true, Scheduler: sched, Node: n, Step: probe.StepProvide, Table: 7, Duration: 1500 * time.Millisecond, CID: "Qm", At: at,
		Lookup: &probe.Lookup{Hops: 2, RPCs: 9, FailedRPCs: 1, Dials: 3, FailedDials: 2, HopTimes: []time.Duration{time.Millisecond, 2 * time.Millisecond}}}
	r := Result{Scheduler: sched, Node: n, Step: probe.StepRetrieval, Duration: time.Millisecond, CID: "Qm", Error: probe.NotFound, At: at.Add(time.Second)}
	r.Number, p.Number = 1, 2
	require.NoError(t, s.AddQueued(ctx, "q", &r, &p))
	r.Number, p.Number = 0, 0
	all, err := s.Results(ctx, at, at.Add(time.Hour), nil)
	require.NoError(t, err)
	p.Fleet, p.Region, r.Fleet, r.Region = "a", "r", "a", "r"
	require.Equal(t, []Result{p, r}, all)
	none, err := s.Results(ctx, at, at.Add(time.Hour), []string{"b"})
	require.NoError(t, err)
	require.Empty(t, none)
	first, err := s.Results(ctx, at, at.Add(time.Second), nil)
	require.NoError(t, err)
	require.Len(t, first, 1)

	p.Number, r.Number, r.Node = 3, 4, 99
	err = s.AddQueued(ctx, "q", &p, &r)
	require.True(t, Permanent(err), "%v", err)
	all, err = s.Results(ctx, at, at.Add(time.Hour), nil)
	require.NoError(t, err)
	require.Len(t, all, 2, "all or none")
}

// TestMigrationGoesOn: an interrupted migration is completed at the next start.
func TestMigrationGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.sqlite")
	open(t, path)
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	for _, q := range []string{`ALTER TABLE provides_ecs DROP COLUMN lookup`, `ALTER TABLE retrievals_ecs DROP COLUMN lookup`, `DELETE FROM ipfsmon_migrations WHERE version = 3`} {
		_, err = db.Exec(q)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	s := open(t, path)
	require.NoError(t, s.db.exec(context.Background(), `SELECT lookup FROM provides_ecs`))

	// A migration that fails in the middle leaves nothing behind.
	require.Error(t, s.apply(context.Background(), 99, "CREATE TABLE half (x TEXT);\nCREATE TABLE half (x TEXT);\n"))
	require.ErrorContains(t, s.db.exec(context.Background(), `SELECT * FROM half`), "no such table")
}

// TestContention: several stores on one file, as from several processes.
func TestContention(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "p.sqlite")
	const writers, each = 4, 25
	var wg sync.WaitGroup
	errs := make(chan error, writers*each)
	for range writers {
		s := open(t, path)
		wg.Go(func() {
			for range each {
				_, err := s.AddNode(ctx, node("a"))
				errs <- err
			}
		})
	}
	wg.Wait()
	for range writers * each {
		require.NoError(t, <-errs)
	}
}

// TestSQLiteFileOfAnyName: a path is a file name, whatever its characters mean in
// SQLite's URIs.
func TestSQLiteFileOfAnyName(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"50%.sqlite", "a%41b", "a?mode=memory", "a#b", "x y", ":memory:", filepath.Join(t.TempDir(), "100% sure?", "p.sqlite")} {
		for range 2 { // created, and found again
			s, err := Open(t.Context(), Config{Path: name})
			require.NoError(t, err, name)
			require.NoError(t, s.Close())
		}
		s, err := Open(t.Context(), Config{Path: name, ReadOnly: true})
		require.NoError(t, err, name)
		require.NoError(t, s.Close())
		info, err := os.Stat(name)
		require.NoError(t, err, name)
		require.NotZero(t, info.Size(), "%s: the tables are in another file", name)
	}
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, []string{"aAb", "a", "50"}, e.Name())
	}
}

func TestConfig(t *testing.T) {
	f := func(c Config, want string) {
		t.Helper()
		require.ErrorContains(t, c.Validate(), want)
	}
	f(Config{}, "SQLite file")
	f(Config{Host: "h"}, "name of a database")
	f(Config{Host: "h", Name: "n", User: "u", Port: 70000}, "port 70000")
	f(Config{Host: "h", Name: "n", User: "u", SSLMode: "maybe"}, "verify-full")
	require.NotContains(t, fmt.Sprint(Config{Host: "h", Name: "n", User: "u", Password: "secret"}), "secret")
}
