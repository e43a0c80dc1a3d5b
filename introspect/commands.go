package introspect

import (
	"errors"
	"fmt"
	"time"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// Errors for the client, identical to those of the original protocol.
const (
	errNotGreeted   = "client has not greeted server yet"
	errGreeted      = "client had already greeted server"
	errNilConfig    = "client passed nil configuration"
	errEventRequest = "illegal request for events messages"
	errNoPush       = "specified source does not support pushing"
)

// obey executes a command and queues the answer.
func (s *session) obey(c *pb.ClientCommand) error {
	s.mu.Lock()
	greeted := s.greeted
	s.mu.Unlock()
	if !greeted && c.GetCommand() != pb.ClientCommand_HELLO {
		return s.refuse(c, errNotGreeted)
	}
	switch c.GetCommand() {
	case pb.ClientCommand_HELLO:
		if greeted {
			return s.refuse(c, errGreeted)
		}
		s.mu.Lock()
		s.greeted = true
		s.mu.Unlock()
		close(s.hello)
		if c.GetConfig() != nil {
			s.configure(c.GetConfig())
		}
		return s.agree(c, s.effective())
	case pb.ClientCommand_UPDATE_CONFIG:
		if c.GetConfig() == nil {
			return s.refuse(c, errNilConfig)
		}
		s.configure(c.GetConfig())
		return s.agree(c, s.effective())
	case pb.ClientCommand_REQUEST:
		return s.request(c)
	case pb.ClientCommand_PUSH_ENABLE:
		return s.setPush(c, true)
	case pb.ClientCommand_PUSH_DISABLE:
		return s.setPush(c, false)
	case pb.ClientCommand_PUSH_PAUSE:
		s.q.pause()
		return s.agree(c, nil)
	case pb.ClientCommand_PUSH_RESUME:
		s.mu.Lock()
		defer s.mu.Unlock()
		b, err := response(c, "", nil)
		if err != nil {
			return err
		}
		s.forgetLocked(s.q.resume(item{frame: b}, time.Now().Add(-s.retention)))
		return nil
	}
	return s.refuse(c, fmt.Sprintf("unknown command type: %v", c.GetCommand()))
}

// configure applies a configuration; missing values are 0.
func (s *session) configure(c *pb.Configuration) {
	s.mu.Lock()
	s.interval = max(clampMillis(c.GetStateSnapshotIntervalMs()), MinInterval)
	s.retention = min(clampMillis(c.GetRetentionPeriodMs()), MaxRetention)
	s.mu.Unlock()
	s.signalRetime()
}

// clampMillis returns a duration of so many milliseconds, at most a day.
func clampMillis(ms uint64) time.Duration {
	const day = 24 * time.Hour
	return time.Duration(min(ms, uint64(day/time.Millisecond))) * time.Millisecond
}

// effective returns the configuration in use.
func (s *session) effective() *pb.Configuration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.Configuration{
		RetentionPeriodMs:       uint64(s.retention.Milliseconds()),
		StateSnapshotIntervalMs: uint64(s.interval.Milliseconds()),
	}
}

// request answers with the message itself.
func (s *session) request(c *pb.ClientCommand) error {
	switch c.GetSource() {
	case pb.ClientCommand_STATE:
		snap, err := s.srv.snapshot(freshEnough)
		if errors.Is(err, ErrNoState) {
			return s.refuse(c, ErrNoState.Error())
		}
		if err != nil {
			return err
		}
		s.q.answer(snap.frame)
		return nil
	case pb.ClientCommand_RUNTIME:
		b, err := s.srv.runtimeFrame()
		if err != nil {
			return err
		}
		s.q.answer(b)
		return nil
	case pb.ClientCommand_EVENTS:
		return s.refuse(c, errEventRequest)
	}
	return s.refuse(c, fmt.Sprintf("unknown source type: %v", c.GetSource()))
}

// setPush turns the pushes of one source on or off; repeating is harmless.
func (s *session) setPush(c *pb.ClientCommand, on bool) error {
	s.mu.Lock()
	switch c.GetSource() {
	case pb.ClientCommand_STATE:
		if s.states != on {
			s.states = on
			s.signalRetime()
		}
	case pb.ClientCommand_EVENTS:
		if s.events != on {
			s.events = on
			s.srv.listening(on)
		}
	default:
		s.mu.Unlock()
		return s.refuse(c, errNoPush)
	}
	if !s.states && !s.events {
		s.forgetLocked(s.q.drop())
	}
	s.mu.Unlock()
	return s.agree(c, nil)
}

func (s *session) signalRetime() {
	select {
	case s.retime <- struct{}{}:
	default: // already reported
	}
}

func (s *session) agree(c *pb.ClientCommand, effective *pb.Configuration) error {
	return s.respond(c, "", effective)
}

func (s *session) refuse(c *pb.ClientCommand, reason string) error { return s.respond(c, reason, nil) }

func (s *session) respond(c *pb.ClientCommand, reason string, effective *pb.Configuration) error {
	b, err := response(c, reason, effective)
	if err != nil {
		return err
	}
	s.q.answer(b)
	return nil
}

// response returns the answer to a command; without a reason it is OK.
func response(c *pb.ClientCommand, reason string, effective *pb.Configuration) ([]byte, error) {
	r := &pb.CommandResponse{Id: c.GetId(), EffectiveConfig: effective}
	if reason != "" {
		r.Result, r.Error = pb.CommandResponse_ERR, reason
	}
	return encodeFrame(&pb.ServerMessage{Payload: &pb.ServerMessage_Response{Response: r}}, 128)
}
