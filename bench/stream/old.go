package main

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
)

// oldServer is the old exporter's design: each subscriber has a queue of 100
// events and three goroutines of its own, joined by channels without a buffer,
// that encode with encoding/json, compress with gzip at its default level, and
// write, each frame with its own deadline.
type oldServer struct {
	l  net.Listener
	wg sync.WaitGroup

	mu   sync.Mutex
	subs []*oldSubscriber
	sent uint64
}

type oldSubscriber struct {
	queue chan *event.Event
	gone  chan struct{}
}

// What the old exporter put into its JSON.
type (
	oldFrame struct {
		Event *oldEvent `json:"event,omitempty"`
	}
	oldEvent struct {
		Timestamp time.Time   `json:"timestamp"`
		Peer      string      `json:"peer"`
		Message   *oldMessage `json:"bitswap_message,omitempty"`
	}
	oldMessage struct {
		Wants     []oldWant     `json:"wantlist_entries"`
		Full      bool          `json:"full_wantlist"`
		Blocks    []cid.Cid     `json:"blocks"`
		Presences []oldPresence `json:"block_presences"`
		Addrs     []event.Text  `json:"connected_addresses"`
	}
	oldWant struct {
		Cid          cid.Cid
		Priority     int32
		WantType     int32
		Cancel       bool
		SendDontHave bool
	}
	oldPresence struct {
		Cid  cid.Cid `json:"cid"`
		Type int32   `json:"block_presence_type"`
	}
)

func newOldServer() (*oldServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &oldServer{l: l}
	s.wg.Go(s.accept)
	return s, nil
}

func (s *oldServer) accept() {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			return
		}
		hello := []byte("\x00\x00\x00\x0d{\"version\":3}")
		if _, err := conn.Write(hello); err != nil {
			continue
		}
		if _, err := io.ReadFull(conn, make([]byte, len(hello))); err != nil {
			continue
		}
		sub := &oldSubscriber{queue: make(chan *event.Event, 100), gone: make(chan struct{})}
		s.mu.Lock()
		s.subs = append(s.subs, sub)
		s.mu.Unlock()
		s.serve(sub, conn)
	}
}

// serve starts the three steps of a subscriber. Buffers come from pools.
func (s *oldServer) serve(sub *oldSubscriber, conn net.Conn) {
	pool := sync.Pool{New: func() any { b := make([]byte, 0, 512<<10); return &b }}
	encoded, compressed := make(chan *[]byte), make(chan *[]byte)
	s.wg.Go(func() {
		defer close(encoded)
		for e := range sub.queue {
			buf := &writer{pool.Get().(*[]byte)}
			if err := json.NewEncoder(buf).Encode(oldForm(e)); err != nil {
				panic(err)
			}
			encoded <- buf.b
		}
	})
	s.wg.Go(func() {
		defer close(compressed)
		zip := gzip.NewWriter(nil)
		for raw := range encoded {
			buf := &writer{pool.Get().(*[]byte)}
			*buf.b = append(*buf.b, 0, 0, 0, 0)
			zip.Reset(buf)
			_, err := zip.Write(*raw)
			if err = errors.Join(err, zip.Close()); err != nil {
				panic(err)
			}
			binary.BigEndian.PutUint32(*buf.b, uint32(len(*buf.b)-4))
			*raw = (*raw)[:0]
			pool.Put(raw)
			compressed <- buf.b
		}
	})
	s.wg.Go(func() {
		defer close(sub.gone)
		defer conn.Close()
		for frame := range compressed {
			_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
			n, err := conn.Write(*frame)
			if err != nil {
				panic(err)
			}
			s.mu.Lock()
			s.sent += uint64(n)
			s.mu.Unlock()
			*frame = (*frame)[:0]
			pool.Put(frame)
		}
	})
}

type writer struct{ b *[]byte }

func (w *writer) Write(p []byte) (int, error) {
	*w.b = append(*w.b, p...)
	return len(p), nil
}

func oldForm(e *event.Event) oldFrame {
	m := &oldMessage{Full: e.Full, Wants: make([]oldWant, 0, len(e.Wants)), Blocks: []cid.Cid{}, Presences: []oldPresence{}, Addrs: e.Addrs}
	for _, w := range e.Wants {
		m.Wants = append(m.Wants, oldWant{w.CID, w.Priority, int32(w.Type), w.Cancel, w.SendDontHave})
	}
	return oldFrame{&oldEvent{Timestamp: time.Unix(0, e.Time), Peer: e.Peer.String(), Message: m}}
}

func (s *oldServer) addr() string { return s.l.Addr().String() }

func (s *oldServer) subscribers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs)
}

// publish waits where the old exporter would drop: the rate without a loss is
// what is asked for.
func (s *oldServer) publish(e *event.Event) {
	for _, sub := range s.subs {
		sub.queue <- e
	}
}

func (s *oldServer) close() (lost, bytes uint64) {
	s.l.Close()
	for _, sub := range s.subs {
		close(sub.queue)
	}
	for _, sub := range s.subs {
		<-sub.gone
	}
	s.wg.Wait()
	return 0, s.sent
}
