package stream

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"
)

// The wait before a new attempt grows from the first to the second; the third
// is how long a stream must have lived for the next wait to be short again.
const (
	followWaitMin = 500 * time.Millisecond
	followWaitMax = 30 * time.Second
	followSettled = 10 * time.Second
)

// Follow follows everything: Options{}.Follow.
func Follow(ctx context.Context, address string, each func(*Event) error, lost func(why error, wait time.Duration)) error {
	return Options{}.Follow(ctx, address, each, lost)
}

// FollowOnce follows everything, once: Options{}.FollowOnce.
func FollowOnce(ctx context.Context, address string, each func(*Event) error) error {
	return Options{}.FollowOnce(ctx, address, each)
}

// Follow calls each with every event of the server at address, until ctx ends
// (then it returns nil) or each returns an error (then it returns that). When
// the stream cannot be had or breaks, it tells lost, if that is not nil, why and how long
// it waits before it tries again; what happens meanwhile is missed.
func (o Options) Follow(ctx context.Context, address string, each func(*Event) error, lost func(why error, wait time.Duration)) error {
	wait := followWaitMin
	for {
		begin := time.Now()
		stop, err := o.followOnce(ctx, address, each)
		if ctx.Err() != nil {
			return nil
		}
		if stop {
			return err
		}
		if time.Since(begin) > followSettled {
			wait = followWaitMin
		}
		// Not all clients of a server that comes back at the same moment.
		jittered := wait/2 + rand.N(wait)
		if lost != nil {
			lost(err, jittered)
		}
		timer := time.NewTimer(jittered)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		wait = min(2*wait, followWaitMax)
	}
}

// FollowOnce is Follow without a second attempt. It returns nil when ctx ends or
// the server ends the stream.
func (o Options) FollowOnce(ctx context.Context, address string, each func(*Event) error) error {
	_, err := o.followOnce(ctx, address, each)
	if ctx.Err() != nil || errors.Is(err, errEnded) {
		return nil
	}
	return err
}

var errEnded = errors.New("stream: the server has ended the stream")

// followOnce follows until an error; stop says that it came from each.
func (o Options) followOnce(ctx context.Context, address string, each func(*Event) error) (stop bool, err error) {
	c, err := o.Dial(ctx, address)
	if err != nil {
		return false, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for {
		e, err := c.Next()
		if errors.Is(err, io.EOF) {
			return false, errEnded
		}
		if err != nil {
			return false, err
		}
		if err := each(e); err != nil {
			return true, err
		}
	}
}
