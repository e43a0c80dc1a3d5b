package scheduler

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// openQueue opens a queue as Run does.
func openQueue(t *testing.T, st Store, path string) *queue {
	t.Helper()
	q := newQueue(st, slog.Default())
	require.NoError(t, q.open(path))
	require.NoError(t, q.attach(context.Background()))
	t.Cleanup(func() { _ = q.close() }) // it may be closed already
	return q
}

// settle runs the queue until it is empty.
func settle(t *testing.T, q *queue) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { q.run(ctx, time.Second); close(done) }()
	require.Eventually(t, func() bool { n, _ := q.state(); return n == 0 }, time.Minute, time.Millisecond)
	cancel()
	<-done
}

func numbers(rs []store.Result) (out []int) {
	for _, r := range rs {
		out = append(out, r.Node)
	}
	return out
}

// TestQueueOnDisk: waiting results outlive the process and are stored in order, complete,
// and once, also when the database has stored one and its answer was lost.
func TestQueueOnDisk(t *testing.T) {
	st, path := &fakeStore{}, filepath.Join(t.TempDir(), "new", "queue.sqlite")
	whole := store.Result{Provide: true, Scheduler: 3, Node: 1, Fleet: "f", Region: "r", Step: probe.StepProvide, Table: 7, Duration: 12345678901, CID: "Qm", Error: `"no"`,
		At: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC), Lookup: &probe.Lookup{Hops: 2, RPCs: 9, FailedRPCs: 1, Dials: 3, FailedDials: 2, HopTimes: []time.Duration{5, 6}}}
	q := openQueue(t, st, path)
	st.setDown(errDown)
	first := whole
	q.put(&first)
	for i := 2; i <= 5; i++ {
		q.put(&store.Result{Node: i})
	}
	require.NoError(t, q.close()) // test/ has a test with kill

	st.setDown(nil)
	q = openQueue(t, st, path)
	n, lost := q.state()
	require.Equal(t, 5, n)
	require.Zero(t, lost)
	q.put(&store.Result{Node: 6})
	settle(t, q)
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, numbers(st.results))
	whole.Number = 1
	require.Equal(t, whole, st.results[0])
	require.NoError(t, q.close())

	// Written, and killed before the answer came.
	q = openQueue(t, st, path)
	n, _ = q.state()
	require.Zero(t, n)
	q.put(&store.Result{Node: 7})
	st.deaf = errors.New("the connection broke")
	require.False(t, q.write(context.Background(), q.head()))
	st.deaf = nil
	require.NoError(t, q.close())
	q = openQueue(t, st, path)
	n, _ = q.state()
	require.Zero(t, n, "the database recognises an entry that it has stored")
	// The same without a restart.
	q.put(&store.Result{Node: 8})
	st.deaf = errors.New("the connection broke")
	require.False(t, q.write(context.Background(), q.head()))
	st.deaf = nil
	q.put(&store.Result{Node: 9})
	settle(t, q)
	require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}, numbers(st.results))
}

// TestQueueInUse: two schedulers do not write each other's results.
func TestQueueInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.sqlite")
	openQueue(t, &fakeStore{}, path)
	_, _, err := openJournal(path)
	require.ErrorIs(t, err, errQueueInUse)
	require.ErrorContains(t, err, path)
}

// TestQueueOfAnyName: a path is a file name, whatever its characters mean in SQLite's
// URIs.
func TestQueueOfAnyName(t *testing.T) {
	for _, name := range []string{"50%.sqlite", "a%41b", "a?mode=memory", "a#b", "x y", ":memory:"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "in %2e "+name, name)
		j, aside, err := openJournal(path)
		require.NoError(t, err, name)
		require.Empty(t, aside)
		require.NoError(t, j.db.Close())
		info, err := os.Stat(path)
		require.NoError(t, err, name)
		require.NotZero(t, info.Size(), "%s: the queue is in another file", name)
	}
}

// TestQueueOfAnotherDatabase: the numbers of servers mean other servers there.
func TestQueueOfAnotherDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.sqlite")
	q := openQueue(t, &fakeStore{}, path)
	q.put(&store.Result{Node: 1})
	require.NoError(t, q.close())
	other := &fakeStore{}
	q = openQueue(t, other, path)
	n, lost := q.state()
	require.Zero(t, n)
	require.EqualValues(t, 1, lost)
	q.put(&store.Result{Node: 2})
	settle(t, q)
	require.Equal(t, []int{2}, numbers(other.results))
	aside, err := filepath.Glob(path + ".other-database-*")
	require.NoError(t, err)
	require.NotEmpty(t, aside)
	j, _, err := openJournal(aside[0])
	require.NoError(t, err)
	kept, _, err := j.load()
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.NoError(t, j.close())
	require.NoError(t, q.close())

	// An empty queue continues with any database.
	q = openQueue(t, &fakeStore{}, path)
	_, lost = q.state()
	require.Zero(t, lost)
}

// TestQueueDamaged: a file that is not a queue does not prevent the scheduler from
// starting, and is kept.
func TestQueueDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.sqlite")
	require.NoError(t, os.WriteFile(path, []byte("this is no database, however long one looks at it"), 0o600))
	st := &fakeStore{}
	q := openQueue(t, st, path)
	q.put(&store.Result{Node: 1})
	settle(t, q)
	require.Len(t, st.results, 1)
	aside, err := filepath.Glob(path + ".damaged-*")
	require.NoError(t, err)
	require.Len(t, aside, 1)

	// The same while it runs.
	require.NoError(t, q.disk.tx(fill(100, 2000)))
	require.NoError(t, q.close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 3 * 4096; i < len(b); i++ {
		b[i] = 0xff
	}
	require.NoError(t, os.WriteFile(path, b, 0o600))
	q = openQueue(t, st, path)
	n, _ := q.state()
	require.Zero(t, n)
	aside, err = filepath.Glob(path + ".damaged-*")
	require.NoError(t, err)
	require.Len(t, aside, 2)

	// A row that cannot be decoded is lost alone and counted.
	q.put(&store.Result{Node: 2})
	_, err = q.disk.db.Exec(`INSERT INTO waiting (number, result) VALUES (100, '{"Node"')`)
	require.NoError(t, err)
	require.NoError(t, q.close())
	q = openQueue(t, st, path)
	n, lost := q.state()
	require.Equal(t, "1 1", fmt.Sprint(n, " ", lost))
}

// TestQueueDiskRefuses: results then wait in memory.
func TestQueueDiskRefuses(t *testing.T) {
	st := &fakeStore{}
	q := openQueue(t, st, filepath.Join(t.TempDir(), "queue.sqlite"))
	_, err := q.disk.db.Exec(`DROP TABLE waiting`)
	require.NoError(t, err)
	q.put(&store.Result{Node: 1})
	q.put(&store.Result{Node: 2})
	settle(t, q)
	require.Equal(t, []int{1, 2}, numbers(st.results))
}

// fill puts rows into a journal at once.
func fill(from, to int) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		for i := from; i <= to; i++ {
			if _, err := tx.Exec(`INSERT INTO waiting (number, result) VALUES (?, ?)`, i, fmt.Sprintf(`{"Node":%d}`, i)); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestQueueIsBounded: the oldest results are dropped, from memory and from disk, and
// counted.
func TestQueueIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.sqlite")
	st := &fakeStore{}
	q := openQueue(t, st, path)
	require.NoError(t, q.disk.tx(fill(1, maxQueued)))
	require.NoError(t, q.close())
	q = openQueue(t, st, path)
	for i := range 5 {
		q.put(&store.Result{Node: maxQueued + 1 + i})
	}
	waiting, lost := q.state()
	require.Equal(t, "10000 5 6", fmt.Sprint(waiting, " ", lost, " ", q.head()[0].Node))
	require.NoError(t, q.close())
	q = openQueue(t, st, path)
	waiting, _ = q.state()
	require.Equal(t, "10000 6", fmt.Sprint(waiting, " ", q.head()[0].Node))

	q = newQueue(&fakeStore{down: errDown}, nil) // in memory only
	for i := range maxQueued + 5 {
		q.put(&store.Result{Node: i})
	}
	waiting, lost = q.state()
	require.Equal(t, "10000 5 5", fmt.Sprint(waiting, " ", lost, " ", q.head()[0].Node))
}
