// Package backoff has the waits between attempts at something that fails.
//
// In: the first and the longest wait. Out: waits that double from one to the
// other, each a random part between a half and the whole, so that not all
// clients of a server that comes back call at the same moment. Promised: no
// wait is longer than the longest.
package backoff

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Backoff makes the waits of one series of attempts. It is for one goroutine.
type Backoff struct {
	most time.Duration
	exp  backoff.ExponentialBackOff
}

// New returns waits from first to most.
func New(first, most time.Duration) *Backoff {
	// A wait of the library is its interval, a part more or less: three quarters,
	// a third more or less, is a half to the whole.
	return &Backoff{most, backoff.ExponentialBackOff{
		InitialInterval: first * 3 / 4, MaxInterval: most * 3 / 4, Multiplier: 2, RandomizationFactor: 1. / 3,
	}}
}

// Next returns how long to wait before the next attempt.
func (b *Backoff) Next() time.Duration { return min(b.exp.NextBackOff(), b.most) }

// Reset makes the next wait the first again: something worked.
func (b *Backoff) Reset() { b.exp.Reset() }

// Wait waits for Next, and returns ctx's error if that ends before.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Sleep waits for d, and returns ctx's error if that ends before.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
