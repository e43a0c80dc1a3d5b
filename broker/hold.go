package broker

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A Holder keeps messages unacknowledged until what it made of them is stored: they come again
// after a crash, here or at the reader that takes over. What it stores, by bucket, is in queues of
// the broker, where the one that takes over finds it. Run calls all methods, and take, in one
// goroutine.
type Holder interface {
	// Begin starts a connection. What was held of another one cannot be acknowledged any more:
	// all of it comes again, here or elsewhere.
	Begin(*Session)
	// Tick is called every second of a connection. Its error ends the connection.
	Tick(now time.Time) error
	// End ends the connection.
	End()
}

const (
	holdEvery = time.Second
	// maxHeld is the most messages that a holder may hold: RabbitMQ's counter has 16 bits.
	maxHeld = 60_000
	// A state that another reader of it, which has just died, still holds comes within this time.
	stateWait = time.Second
)

// Session is a connection of a consumer with a Holder. It is for the goroutine of Run.
type Session struct {
	ch       *amqp.Channel
	queue    string
	prefetch int
	limit    int
	held     int
}

// hold begins a connection's session.
func (c *Consumer) hold(ch *amqp.Channel) (*Session, error) {
	if c.cfg.Queue == "" {
		return nil, errors.New("a holder without a queue: want a name")
	}
	// What was taken of an earlier connection is taken again.
	c.taken, _ = lru.NewLRU[string, struct{}](max(rememberedBatches, maxHeld), nil) // fails only for a size below 1
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirmations: %w", err)
	}
	s := &Session{ch: ch, queue: c.cfg.Queue, prefetch: c.cfg.Prefetch, limit: c.cfg.Prefetch}
	for b := range Buckets {
		// Each state replaces the one before.
		if _, err := ch.QueueDeclare(s.state(b), true, false, false, false, amqp.Table{"x-max-length": int32(1)}); err != nil {
			return nil, fmt.Errorf("declare the queue %s: %w", s.state(b), err)
		}
	}
	c.cfg.Holder.Begin(s)
	return s, nil
}

// state is the name of the queue of a bucket's state.
func (s *Session) state(bucket int) string { return s.queue + "-state." + strconv.Itoa(bucket) }

// Hold keeps a delivery that take has got until Ack. It reports whether there is room to hold
// more: if not, the holder must acknowledge some.
func (s *Session) Hold(*Delivery) (room bool) {
	s.held++
	return s.held < maxHeld
}

// Ack acknowledges a delivery with the tag that Tag returned; held reports whether it was held.
func (s *Session) Ack(tag uint64, held bool) error {
	if held {
		s.held--
	}
	if err := s.ch.Ack(tag, false); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

// Tag names the delivery in its session.
func (d *Delivery) Tag() uint64 { return d.tag }

// widen lets the broker send more than what is held.
func (s *Session) widen() error {
	if free := s.limit - s.held; free >= s.prefetch && free <= 4*s.prefetch {
		return nil
	}
	s.limit = s.held + 2*s.prefetch
	if err := s.ch.Qos(s.limit, 0, true); err != nil {
		return fmt.Errorf("set the prefetch: %w", err)
	}
	return nil
}

// Load returns the state that Save stored last of a bucket, nil if there is none. Only the reader
// of the bucket's queue may call it. again reports that another reader may have had the state a
// moment ago.
func (s *Session) Load(bucket int, again bool) ([]byte, error) {
	for end := time.Now().Add(stateWait); ; time.Sleep(100 * time.Millisecond) {
		d, ok, err := s.ch.Get(s.state(bucket), false)
		if err != nil {
			return nil, fmt.Errorf("read the queue %s: %w", s.state(bucket), err)
		}
		if ok {
			if err := d.Nack(false, true); err != nil { // it stays there
				return nil, fmt.Errorf("return the state of bucket %d: %w", bucket, err)
			}
			return d.Body, nil
		}
		if !again || time.Now().After(end) {
			return nil, nil
		}
	}
}

// Saved is a state on its way.
type Saved struct{ c *amqp.DeferredConfirmation }

// Save stores the state of a bucket in place of the one before. The broker has it when Done is
// true.
func (s *Session) Save(bucket int, state []byte) (Saved, error) {
	c, err := s.ch.PublishWithDeferredConfirm("", s.state(bucket), false, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "application/json", AppId: "ipfsmon", Body: state})
	if err != nil {
		return Saved{}, fmt.Errorf("store the state of bucket %d: %w", bucket, err)
	}
	return Saved{c}, nil
}

// Done reports whether the broker has stored it; an error if it refused to.
func (s Saved) Done() (bool, error) {
	select {
	case <-s.c.Done():
		if !s.c.Acked() {
			return false, errors.New("the broker does not store a state: a queue is full, or fails")
		}
		return true, nil
	default:
		return false, nil
	}
}
