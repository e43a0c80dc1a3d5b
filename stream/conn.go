package stream

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// kernelBytes bounds the operating system's send buffer for a subscriber. Its
// default would hold several times the queue of a slow subscriber.
const kernelBytes = 256 << 10

// accept accepts connections until the listener is closed. It retries after
// every other error: a node with a hundred thousand connections runs out of file
// descriptors at times, and has some again later.
func (s *Server) accept(l *access.Listener) {
	waits := backoff.New(acceptWaitMin, acceptWaitMax)
	for {
		conn, err := l.Accept()
		if err == nil {
			waits.Reset()
			s.admit(conn, l.NeedsToken)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.mu.Lock()
		s.stats.AcceptErrors++
		s.mu.Unlock()
		if held, ok := s.acceptLine.Allow(); ok {
			s.cfg.Logger.Warn("stream: cannot accept a connection, retrying", "listener", l.Addr().String(), "err", err.Error(), "held_back", held)
		}
		if waits.Wait(s.ctx) != nil {
			return
		}
	}
}

// admit starts the handshake of a connection.
func (s *Server) admit(conn net.Conn, needsToken bool) {
	defer s.guard.Recover("stream: admit a connection")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Accepted++
	if s.ending {
		conn.Close()
		return
	}
	if c := listen.Under(conn); c != nil {
		_ = c.SetWriteBuffer(kernelBytes) // if it fails, the buffer is larger
	}
	s.wg.Go(func() {
		defer conn.Close()
		s.serve(conn, needsToken)
	})
}

// serve does the handshake of a connection and, if it succeeds, serves the
// subscriber until the connection ends.
func (s *Server) serve(conn net.Conn, needsToken bool) {
	defer s.guard.Recover("stream: serve a connection")
	g, clock, err := s.handshake(conn, needsToken)

	s.mu.Lock()
	if c := listen.Under(conn); c != nil {
		c.Busy() // from here on it is not closed to make room for another
	}
	if err != nil {
		s.stats.FailedHandshakes++
		if errors.Is(err, errToken) {
			s.stats.FailedTokens++
		}
		s.mu.Unlock()
		s.cfg.Logger.Debug("stream: handshake failed", "remote", remoteName(conn), "err", err.Error())
		return
	}
	if s.ending || len(s.subs) >= s.cfg.MaxClients {
		s.stats.Refused++
		s.mu.Unlock()
		if g != nil {
			_ = s.refuse(conn, errFull)
		}
		return
	}
	sub := newSubscriber(s.subscriberID(conn), conn, g, int(s.cfg.QueueBytes))
	if g != nil {
		w := welcome{Version: version4, Monitor: s.cfg.Monitor, Encoding: encodingName(g.encoding)}
		if clock {
			now := s.cfg.Now().UTC()
			w.Run, w.Time = s.run, &now
		}
		sub.enqueue(batch{data: jsonFrame(w)})
		sub.signal()
	}
	s.join(sub)
	s.mu.Unlock()

	written := make(chan struct{})
	s.wg.Go(func() {
		defer close(written)
		defer sub.close(errEnding) // if write panics
		defer s.guard.Recover("stream: write to a subscriber")
		sub.close(sub.write(s.cfg.WriteTimeout))
	})
	sub.close(sub.hear(conn, clock, s.cfg.Now))
	<-written
	s.leave(sub)
}

var (
	errToken = errors.New("stream: no valid token: want one, with version 4 of the protocol")
	errFull  = errors.New("stream: the server has as many subscribers as MaxClients permits")
)

// handshake exchanges hellos. The group is nil for version 3. A client of
// version 4 is sent the reason why it is rejected. clock: it may send pings.
func (s *Server) handshake(conn net.Conn, needsToken bool) (_ *group, clock bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout)); err != nil {
		return nil, false, err
	}
	if _, err := conn.Write(helloFrame); err != nil {
		return nil, false, err
	}
	h, err := readHello(conn, version, version4)
	if err != nil {
		if bad := (badHello{}); errors.As(err, &bad) {
			return nil, false, s.refuse(conn, err)
		}
		return nil, false, err
	}
	if *h.Version == version {
		if needsToken {
			return nil, false, errToken
		}
		return nil, false, conn.SetDeadline(time.Time{})
	}
	if needsToken && !s.gate.Allowed(h.Token) {
		return nil, false, s.refuse(conn, errToken)
	}
	encoding, ok := encodings[h.Encoding]
	if !ok {
		return nil, false, s.refuse(conn, fmt.Errorf("stream: encoding %q: want zstd or gzip", h.Encoding))
	}
	match, err := h.Filter.compile()
	if err != nil {
		return nil, false, s.refuse(conn, fmt.Errorf("stream: the filter: %w", err))
	}
	g := &group{match: match, encoding: encoding, key: string(rune('0'+encoding)) + match.key}
	return g, h.Clock, conn.SetDeadline(time.Time{})
}

// refuse sends a client of version 4 the reason why it is rejected, and returns
// that reason.
func (s *Server) refuse(conn net.Conn, why error) error {
	if err := conn.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout)); err == nil {
		_, _ = conn.Write(jsonFrame(welcome{Error: string(event.Clean(why.Error(), maxReason))}))
	}
	return why
}

// maxReason is the longest reason sent to a client, in bytes.
const maxReason = 1024

// subscriberID returns a name for a connection. Connections over unix sockets
// have no address and are numbered. The caller holds mu.
func (s *Server) subscriberID(conn net.Conn) string {
	if _, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return "tcp-" + conn.RemoteAddr().String()
	}
	s.nextUnix++
	return fmt.Sprintf("unix-%d", s.nextUnix)
}

func remoteName(conn net.Conn) string {
	if a := conn.RemoteAddr(); a != nil && a.String() != "" {
		return a.String()
	}
	return "unix socket"
}

// leave removes a subscriber and keeps its totals.
func (s *Server) leave(sub *subscriber) {
	s.mu.Lock()
	s.part(sub)
	last := sub.stats()
	s.stats.add(last)
	ending := s.ending
	s.mu.Unlock()
	if ending {
		return
	}
	if held, ok := s.closeLine.Allow(); ok {
		s.cfg.Logger.Info("stream: a subscriber disconnected", "subscriber", sub.id, "sent", last.SentEvents,
			"dropped", last.DroppedEvents, "reason", fmt.Sprint(sub.why), "held_back", held)
	}
}
