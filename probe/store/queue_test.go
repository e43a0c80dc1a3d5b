package store

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/probe"
)

// TestAddQueued: an entry added twice exists once, in each queue separately.
func TestAddQueued(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "p.sqlite"))
	sched, err := s.AddScheduler(ctx, []string{"a"}, json.RawMessage(`{}`))
	require.NoError(t, err)
	n, err := s.AddNode(ctx, node("a"))
	require.NoError(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	result := func(number int64) *Result {
		return &Result{Number: number, Scheduler: sched, Node: n, Step: probe.StepRetrieval, CID: "Qm", At: at.Add(time.Duration(number) * time.Second)}
	}
	count := func() int {
		t.Helper()
		all, err := s.Results(ctx, at, at.Add(time.Hour), nil)
		require.NoError(t, err)
		return len(all)
	}
	state := func(queue string, written int64, known bool) {
		t.Helper()
		w, k, err := s.Queue(ctx, queue)
		require.NoError(t, err)
		require.Equal(t, known, k)
		require.Equal(t, written, w)
	}
	state("q", 0, false)
	require.NoError(t, s.AddQueue(ctx, "q"))
	state("q", 0, true)
	require.NoError(t, s.AddQueued(ctx, "q", result(1), result(2)))
	require.NoError(t, s.AddQueued(ctx, "q", result(1), result(2), result(5)))
	require.NoError(t, s.AddQueued(ctx, "q", result(2), result(5)))
	require.Equal(t, 3, count())
	require.NoError(t, s.AddQueue(ctx, "q"))
	state("q", 5, true)

	bad := result(7)
	bad.Node = 99
	require.True(t, Permanent(s.AddQueued(ctx, "q", result(6), bad)))
	state("q", 5, true)
	require.Equal(t, 3, count())

	require.NoError(t, s.AddQueued(ctx, "other", result(1)), "the database was created again meanwhile")
	state("other", 1, true)
	state("q", 5, true)
}
