package introspect

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func ev(n int, tells string) item {
	return item{frame: make([]byte, n), kind: eventItem, at: time.Unix(1000, 0), tells: tells}
}

// drain empties the queue and returns how many items of each length it held.
func drain(q *queue) (lengths []int) {
	for {
		b, ok := q.next()
		if !ok {
			return lengths
		}
		lengths = append(lengths, len(b))
	}
}

func TestQueueBoundsEvents(t *testing.T) {
	q := newQueue()
	for range 8 {
		require.Empty(t, q.push(ev(1<<20, "")))
	}
	require.Equal(t, []string{"T"}, q.push(ev(1<<20, "T")), "the columns of T must be sent again")
	require.Empty(t, q.push(item{frame: make([]byte, 10<<20), kind: stateItem}), "one state always fits")
	n := q.notice()
	require.EqualValues(t, 1, n.GetDiscardedEvents())
	require.Zero(t, n.GetDiscardedStates())
	require.Nil(t, q.notice())
	require.Len(t, drain(q), 9)
	require.Zero(t, q.outBytes)
}

func TestQueueKeepsTheNewestState(t *testing.T) {
	q := newQueue()
	for i := range 5 {
		q.push(item{frame: make([]byte, i+1), kind: stateItem})
		q.push(ev(100, ""))
	}
	require.Equal(t, []int{100, 100, 100, 100, 5, 100}, drain(q))
	require.EqualValues(t, 4, q.notice().GetDiscardedStates())
}

func TestPauseIsBoundedInBytesAndTime(t *testing.T) {
	q := newQueue()
	q.pause()
	for i := range 40 {
		it := ev(1<<20, "")
		if i == 0 {
			it.tells = "T"
		}
		untold := q.push(it)
		if i == 16 {
			require.Equal(t, []string{"T"}, untold)
		}
		require.LessOrEqual(t, q.heldBytes, maxHeld)
	}
	require.EqualValues(t, 24, q.notice().GetDiscardedEvents())
	require.Empty(t, drain(q))
	q.held[0].tells = "U"
	require.Equal(t, []string{"U"}, q.prune(time.Unix(1001, 0)))
	require.Zero(t, q.heldBytes)
	require.Nil(t, q.notice(), "expired messages are not missed")

	for range maxItems + 10 {
		q.push(ev(1, ""))
	}
	require.Len(t, q.held, maxItems)
	q.resume(item{frame: make([]byte, 7)}, time.Unix(0, 0))
	got := drain(q)
	require.Equal(t, 7, got[0])
	require.Len(t, got, maxItems+1)
	q.pause()
	q.push(ev(maxHeld+1, "")) // longer than the bound: the one that is kept
	require.Len(t, q.held, 1)
	q.drop()
	require.Zero(t, q.heldBytes)
}

func TestWaitHasRoomAgain(t *testing.T) {
	q := newQueue()
	require.NoError(t, q.wait(context.Background()))
	q.answer(make([]byte, maxQueued))
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, q.wait(ctx), context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() { done <- q.wait(context.Background()) }()
	require.Len(t, drain(q), 1)
	require.NoError(t, <-done)
	q.close()
	q.answer([]byte{1})
	q.push(ev(1, ""))
	require.Empty(t, drain(q))
	require.Error(t, q.wait(context.Background()))
}

func TestBudget(t *testing.T) {
	b := newBudget()
	now, n := time.Unix(1, 0), 0
	for b.AllowN(now, 1) {
		n++
	}
	require.Equal(t, eventBurst, n)
	for n = 0; b.AllowN(now.Add(time.Second), 1); n++ {
	}
	require.Equal(t, eventRate, n)
	for n = 0; b.AllowN(now.Add(time.Hour), 1); n++ {
	}
	require.Equal(t, eventBurst, n)
}
