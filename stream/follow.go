package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
)

// The wait before a new attempt grows from the first to the second; the third
// is how long a stream must have lived for the next wait to be short again.
const (
	followWaitMin = 500 * time.Millisecond
	followWaitMax = 30 * time.Second
	followSettled = 10 * time.Second
	followUnknown = 10 * time.Second // how long a host may be unknown that never answered
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
// the stream cannot be had or breaks, it calls lost, if that is not nil, with the reason and how long
// it waits before it tries again; what happens meanwhile is missed. An address that leads nowhere is an
// error at once where its form is wrong, and after 10 s where no host has its name and none ever had.
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

// unknownHost says whether no host has the name. It may come to be: a container
// that starts has one soon.
func unknownHost(err error) bool {
	var name *net.DNSError
	return errors.As(err, &name) && name.IsNotFound
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
