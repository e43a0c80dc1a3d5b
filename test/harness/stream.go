package harness

import (
	"context"
	"maps"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/stream"
)

// tally is what a subscriber of the stream counted.
type tally struct {
	mu    sync.Mutex
	count map[string]float64
}

// Subscribe counts all events of a node's stream until the test's end.
func Subscribe(t *testing.T, addr string) *tally {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c, err := stream.Dial(ctx, addr)
	require.NoError(t, err)
	out := &tally{count: map[string]float64{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			e, err := c.Next()
			if err != nil {
				return
			}
			out.add(e)
		}
	})
	t.Cleanup(func() { cancel(); c.Close(); wg.Wait() })
	return out
}

func (a *tally) add(e *stream.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := e.Message; m != nil {
		a.count["messages"]++
		for _, w := range m.Wants {
			switch {
			case w.Cancel:
				a.count["cancel"]++
			case w.WantType == 0:
				a.count["want_block"]++
			default:
				a.count["want_have"]++
			}
		}
		a.count["blocks"] += float64(len(m.Blocks))
		for _, p := range m.Presences {
			a.count[[]string{"have", "dont_have"}[p.Type]]++
		}
	}
	if c := e.Connection; c != nil {
		a.count[[]string{"opened", "closed"}[c.Type]]++
	}
}

func (a *tally) Get() map[string]float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.count)
}
