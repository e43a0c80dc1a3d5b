package introspect

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// maxPause is the maximum wait of a playback between two messages.
const maxPause = 10 * time.Second

// Playback plays a capture file to the sessions of a server, as if its node were running. It is
// the server's Introspector.
type Playback struct {
	mu      sync.Mutex
	state   *pb.State
	runtime *pb.Runtime
}

var _ Introspector = (*Playback)(nil)

// NewPlayback returns a playback that has played nothing yet.
func NewPlayback() *Playback { return &Playback{runtime: &pb.Runtime{}} }

// RegisterDataProviders returns an error: all data comes from the file.
func (*Playback) RegisterDataProviders(*DataProviders) error {
	return errors.New("introspect: a playback has no providers")
}

// FetchFullState returns the last state played, ErrNoState before the first.
func (r *Playback) FetchFullState() (*pb.State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == nil {
		return nil, ErrNoState
	}
	return proto.CloneOf(r.state), nil
}

// FetchRuntime returns the runtime in the file.
func (r *Playback) FetchRuntime() (*pb.Runtime, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return proto.CloneOf(r.runtime), nil
}

// Play plays a file once, speed times as fast as it was recorded, starting with the first
// session. It reads the runtime and the first state beforehand, because a session needs them at
// its start. The error is that of the file, or ctx's.
func (r *Playback) Play(ctx context.Context, srv *Server, file io.Reader, speed float64) error {
	in := NewCaptureReader(file)
	types := make(map[string]*EventType)
	var last uint64 // the time of the previous message, milliseconds
	begun := false
	for {
		m, _, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if s, e := m.GetState(), m.GetEvent(); s != nil || e != nil {
			at := max(s.GetInstantTs(), e.GetTs())
			if begun || last != 0 && at > last {
				if err := wait(ctx, srv, &begun, at, last, speed); err != nil {
					return err
				}
			}
			last = max(last, at)
		}
		_ = srv.guard.Call("introspect: play a message", func() error { r.play(srv, types, m); return nil })
	}
}

// wait waits for the first session, then for the time between two messages.
func wait(ctx context.Context, srv *Server, begun *bool, at, last uint64, speed float64) error {
	for !*begun {
		if srv.Stats().Sessions > 0 {
			*begun = true
			break
		}
		if err := backoff.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	if at <= last {
		return ctx.Err()
	}
	pause := time.Duration(float64(at-last) / speed * float64(time.Millisecond))
	return backoff.Sleep(ctx, min(pause, maxPause))
}

// play applies one message.
func (r *Playback) play(srv *Server, types map[string]*EventType, m *pb.ServerMessage) {
	switch {
	case m.GetState() != nil:
		Complete(m.GetState())
		r.mu.Lock()
		r.state = m.GetState()
		r.mu.Unlock()
	case m.GetRuntime() != nil:
		r.mu.Lock()
		r.runtime = m.GetRuntime()
		r.mu.Unlock()
		for _, t := range m.GetRuntime().GetEventTypes() {
			r.learn(srv, types, t)
		}
	case m.GetEvent() != nil:
		e := m.GetEvent()
		t := r.learn(srv, types, e.GetType())
		if t != nil {
			srv.Emit(t, time.UnixMilli(int64(e.GetTs())), func() any { return json.RawMessage(e.GetContent()) })
		}
	}
}

// learn records the columns of a type; nil if there are too many types.
func (r *Playback) learn(srv *Server, types map[string]*EventType, t *pb.EventType) *EventType {
	known := types[t.GetName()]
	if known == nil || len(known.columns) == 0 && len(t.GetPropertyTypes()) > 0 {
		known = NewEventType(t.GetName(), t.GetPropertyTypes()...)
		if !srv.events.add(known) {
			return nil
		}
		types[t.GetName()] = known
	}
	return known
}
