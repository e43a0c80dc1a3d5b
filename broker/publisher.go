package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

const (
	// window is how many messages may wait for their confirmation.
	window = 64
	// The wait between two connections grows from the first to the second.
	retryMin = 250 * time.Millisecond
	retryMax = 10 * time.Second
)

// publisher sends the messages of a queue to an exchange, on a connection of its own.
type publisher struct {
	format    string
	exchange  string
	durable   bool
	mandatory bool // a message that no queue gets was not delivered
	server    Server
	name      string // of the connection
	queue     queue
	log       *slog.Logger
	guard     *guard.Guard
	line      throttle.Line

	// alone is how many messages are still sent one at a time, after the broker closed the
	// channel for one of many. Used by run's goroutine alone.
	alone int

	mu        sync.Mutex
	delivered uint64 // events that the broker confirmed
	connected bool
	blocked   string        // why the broker blocks publishers; "": it does not
	unblocked chan struct{} // closed when blocked becomes ""; nil while it is
	failing   bool
	lastError string
}

// run sends until the queue is drained or ctx ends.
func (p *publisher) run(ctx context.Context) {
	wait := backoff.New(retryMin, retryMax)
	for ctx.Err() == nil {
		var sent int
		err := p.guard.Call("broker: send to the broker", func() (err error) {
			sent, err = p.session(ctx)
			return err
		})
		if errors.Is(err, errDrained) || ctx.Err() != nil {
			return
		}
		if u := (unroutable{}); sent > 0 && !errors.As(err, &u) { // a queue that is missing does not come back so soon
			wait.Reset()
		}
		p.fail(err)
		if wait.Wait(ctx) != nil {
			return
		}
	}
}

// fail records why nothing can be sent.
func (p *publisher) fail(err error) {
	p.mu.Lock()
	p.failing, p.lastError = true, shown(err.Error())
	p.mu.Unlock()
	p.line.Warn(p.log, "broker: cannot deliver, will try again", "format", p.format, "broker", p.server.Shown(), "err", err)
}

// shown returns a text of the broker for people.
func shown(text string) string { return string(event.Clean(text, maxError)) }

// maxError bounds a text of the broker, in bytes.
const maxError = 500

// unroutable is the error when no queue gets a message.
type unroutable struct{ exchange, key string }

func (e unroutable) Error() string {
	return fmt.Sprintf("no queue is bound to the exchange %s for the routing key %s: want one, as docs/broker.md has them", e.exchange, e.key)
}

// session connects, and sends until that fails, the queue is drained or ctx ends. It returns how
// many messages were confirmed, and never nil.
func (p *publisher) session(ctx context.Context) (sent int, err error) {
	conn, err := p.server.dial(ctx, p.name)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(closeWait)) }()
	p.watchBlocked(conn)
	defer p.setBlocked(amqp.Blocking{})
	ch, err := conn.Channel()
	if err != nil {
		return 0, fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.ExchangeDeclare(p.exchange, "topic", p.durable, false, false, false, nil); err != nil {
		return 0, fmt.Errorf("declare the exchange %s: %w", p.exchange, err)
	}
	if err := ch.Confirm(false); err != nil {
		return 0, fmt.Errorf("ask for confirmations: %w", err)
	}
	p.setConnected(true)
	defer p.setConnected(false)
	return p.publish(ctx, ch)
}

// sent is a message that waits for its confirmation.
type sent struct {
	*message
	*amqp.DeferredConfirmation
}

// publish is session on an open channel.
func (p *publisher) publish(ctx context.Context, ch *amqp.Channel) (confirmed int, err error) {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	down := make(chan struct{}) // closed with the channel, after why is set
	why := error(amqp.ErrClosed)
	go func() { // ends with the connection
		if e := <-closed; e != nil {
			why = e
		}
		close(down)
		stop()
	}()
	// A return comes before the confirmation of its message, so it is in this channel when the
	// confirmation has come; there is room for those of all messages.
	returns := ch.NotifyReturn(make(chan amqp.Return, 2*window))
	returned := map[string]bool{}

	tokens := make(chan struct{}, window)
	widen := func() {
		for len(tokens) < cap(tokens)-1 {
			tokens <- struct{}{}
		}
	}
	tokens <- struct{}{}
	alone := p.alone > 0
	if !alone {
		widen()
	}
	flying := make(chan sent, window)
	var ended error // of the sender; set before flying is closed
	go func() {
		defer close(flying)
		ended = p.guard.Call("broker: publish", func() error { return p.send(sending, ch, tokens, flying) })
	}()

	settled := 0
	for m := range flying {
		select {
		case <-m.Done():
		case <-ctx.Done():
		}
		collect(returns, returned)
		fault := error(nil)
		switch {
		case m.Acked() && !returned[m.pub.MessageId]:
		case m.Acked():
			fault = unroutable{p.exchange, m.key}
		case ctx.Err() != nil:
			fault = ctx.Err()
		case !ch.IsClosed():
			fault = fmt.Errorf("the broker does not accept a message for %s: a queue is full, or fails", m.key)
		default:
			<-down // the library closes it with the confirmations
			fault = why
		}
		switch {
		case fault == nil:
			p.queue.done(m.message)
			p.good(m.events)
			confirmed++
			tokens <- struct{}{}
		case ch.IsClosed() && p.refused(fault, alone):
			p.queue.reject(m.message)
			confirmed++ // not delivered, but done with
			p.log.Warn("broker: the broker never accepts a message, its events are lost", "events", m.events, "key", m.key, "bytes", len(m.pub.Body), "err", fault)
			stop()
		default:
			p.queue.back(m.message)
			stop()
		}
		if err == nil {
			err = fault
		}
		if settled++; alone && fault == nil && settled >= p.alone {
			p.alone, alone = 0, false
			widen()
		}
	}
	if err != nil {
		return confirmed, err
	}
	select {
	case <-down:
		return confirmed, why
	default:
		return confirmed, ended
	}
}

// collect adds the messages that came back to returned.
func collect(returns <-chan amqp.Return, returned map[string]bool) {
	for {
		select {
		case r, open := <-returns:
			if !open {
				return
			}
			returned[r.MessageId] = true
		default:
			return
		}
	}
}

// refused reports whether the broker closed the channel because of the one message that it was
// sent; when there were several, the next ones are sent one at a time.
func (p *publisher) refused(why error, alone bool) bool {
	var e *amqp.Error
	if !errors.As(why, &e) || e.Code != amqp.PreconditionFailed && e.Code != amqp.ContentTooLarge {
		return false
	}
	if alone {
		return true
	}
	p.alone = window
	return false
}

// send publishes what the queue has, until ctx ends, the queue is drained or the channel is
// closed. Each message that it took is in flying or back in the queue. The error is never nil.
func (p *publisher) send(ctx context.Context, ch *amqp.Channel, tokens <-chan struct{}, flying chan<- sent) error {
	for {
		select {
		case <-tokens:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := p.waitUnblocked(ctx); err != nil {
			return err
		}
		m, err := p.queue.next(ctx)
		if err != nil {
			return err
		}
		c, err := ch.PublishWithDeferredConfirm(p.exchange, m.key, p.mandatory, false, m.pub)
		if err != nil {
			p.queue.back(m)
			return fmt.Errorf("publish: %w", err)
		}
		flying <- sent{m, c}
	}
}

// watchBlocked follows whether the broker blocks the connection, until it is closed.
func (p *publisher) watchBlocked(conn *amqp.Connection) {
	changes := conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	go func() {
		for b := range changes {
			p.setBlocked(b)
		}
	}()
}

func (p *publisher) setBlocked(b amqp.Blocking) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !b.Active {
		if p.blocked = ""; p.unblocked != nil {
			close(p.unblocked)
			p.unblocked = nil
		}
		return
	}
	p.blocked = cmp.Or(shown(b.Reason), "no reason is known")
	p.failing, p.lastError = true, "the broker blocks publishers: "+p.blocked
	if p.unblocked == nil {
		p.unblocked = make(chan struct{})
	}
	p.line.Warn(p.log, "broker: the broker blocks publishers, waiting", "format", p.format, "broker", p.server.Shown(), "err", p.blocked)
}

// waitUnblocked waits while the broker blocks the connection.
func (p *publisher) waitUnblocked(ctx context.Context) error {
	p.mu.Lock()
	unblocked := p.unblocked
	p.mu.Unlock()
	if unblocked == nil {
		return nil
	}
	select {
	case <-unblocked:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *publisher) setConnected(on bool) {
	p.mu.Lock()
	p.connected = on
	p.mu.Unlock()
}

// good records that the broker confirmed a message.
func (p *publisher) good(events int) {
	p.mu.Lock()
	p.delivered += uint64(events)
	p.failing = false
	p.mu.Unlock()
}

func (p *publisher) fill(s *Stats) {
	p.mu.Lock()
	s.Delivered, s.Connected, s.Blocked, s.Failing, s.LastError = p.delivered, p.connected, p.blocked != "", p.failing, p.lastError
	p.mu.Unlock()
	p.queue.fill(s)
}
