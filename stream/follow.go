package stream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
)

// The wait before another attempt grows from the first to the second; the third
// is how long a stream must have lasted for the next wait to be short again.
const (
	followWaitMin = 500 * time.Millisecond
	followWaitMax = 30 * time.Second
	followSettled = 10 * time.Second
	followUnknown = 10 * time.Second // how long to retry while no host has the name and none ever had
)

// Follow calls each with every event of the server at address, until ctx ends
// (then it returns nil) or each returns an error (then it returns that). When it
// cannot connect or the stream breaks, it calls lost, if not nil, with the reason
// and the wait before it retries; events of the meantime are missed. An address
// in a wrong form is an error at once, a host name that does not resolve is one
// after 10 s if it never did.
func (o Options) Follow(ctx context.Context, address string, each func(*Event) error, lost func(why error, wait time.Duration)) error {
	waits, since, met := backoff.New(followWaitMin, followWaitMax), time.Now(), false
	for {
		begin := time.Now()
		stop, err := o.followOnce(ctx, address, each)
		if ctx.Err() != nil {
			return nil
		}
		unknown := unknownHost(err)
		met = met || !unknown
		if form := (*net.AddrError)(nil); stop || errors.As(err, &form) || !met && time.Since(since) > followUnknown {
			return err
		}
		if time.Since(begin) > followSettled {
			waits.Reset()
		}
		wait := waits.Next()
		if lost != nil {
			lost(err, wait)
		}
		if backoff.Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// unknownHost reports whether the host name did not resolve. It may resolve
// later: that of a container that is starting does.
func unknownHost(err error) bool {
	var name *net.DNSError
	return errors.As(err, &name) && name.IsNotFound
}

// FollowOnce is Follow without retries. It returns nil when ctx ends or the
// server ends the stream.
func (o Options) FollowOnce(ctx context.Context, address string, each func(*Event) error) error {
	_, err := o.followOnce(ctx, address, each)
	if ctx.Err() != nil || errors.Is(err, errEnded) {
		return nil
	}
	return err
}

var errEnded = errors.New("stream: the server has ended the stream")

// followOnce follows until an error; stop is true if it came from each.
func (o Options) followOnce(ctx context.Context, address string, each func(*Event) error) (stop bool, err error) {
	c, err := o.Dial(ctx, address)
	if err != nil {
		return false, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if o.Met != nil {
		if err := o.Met(c); err != nil {
			return true, err
		}
	}
	if c.clock != nil {
		defer c.keepAsking(cmp.Or(o.ClockEvery, DefaultClockEvery))()
	}
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
		if o.Drained != nil && len(c.batches.rest) == 0 {
			if err := o.Drained(); err != nil {
				return true, err
			}
		}
	}
}
