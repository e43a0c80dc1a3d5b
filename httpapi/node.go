package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/julienschmidt/httprouter"

	"github.com/ipfsmon/ipfsmon/event"
)

const (
	// maxBroadcast is the most CIDs of one broadcast.
	maxBroadcast = event.MaxEntries
	// maxBeforeCancel is the longest time, in seconds, between the wants of a
	// request and their cancels.
	maxBeforeCancel = 3600
	// deadlineEvery is the number of peers in a long answer after which its write
	// deadline is extended by writeTimeout.
	deadlineEvery = 256
)

// enter takes one of the maxLong places for long requests; call leave at the end.
func (s *Server) enter() (leave func(), err error) {
	select {
	case s.long <- struct{}{}:
		return func() { <-s.long }, nil
	default:
		return nil, &Error{http.StatusTooManyRequests, fmt.Sprintf("%d requests of this kind are running: want at most that many; retry later", maxLong)}
	}
}

// samplePeerMetadata streams its answer, because a peerstore may be large.
func (s *Server) samplePeerMetadata(w http.ResponseWriter, q *http.Request, _ httprouter.Params) {
	onlyConnected, err := onlyConnected(q)
	if err == nil && s.deps.Peers == nil {
		err = absent("the network")
	}
	if err != nil {
		s.answer(w, q, nil, err)
		return
	}
	leave, err := s.enter()
	if err != nil {
		s.answer(w, q, nil, err)
		return
	}
	defer leave()
	conns, peers := s.deps.Peers(onlyConnected)
	now, err := json.Marshal(time.Now().UTC())
	if err != nil {
		panic(err) // cannot happen before the year 10000
	}
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 64<<10)
	rc := http.NewResponseController(w)
	fmt.Fprintf(out, `{"status":200,"result":{"timestamp":%s,"num_connections":%d,"peer_metadata":[`, now, conns)
	n := 0
	for p := range peers {
		one, err := json.Marshal(p)
		if err != nil {
			panic(fmt.Errorf("httpapi: encode a peer: %w", err))
		}
		if n > 0 {
			out.WriteByte(',')
		}
		if _, err := out.Write(one); err != nil {
			return // the client has disconnected
		}
		if s.closing.Load() {
			panic(http.ErrAbortHandler) // half an answer must not look like a complete one
		}
		if n++; n%deadlineEvery == 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // if that fails, the answer has less time
		}
	}
	out.WriteString("]}}\n")
	_ = out.Flush() // an error means that the client is gone
}

func onlyConnected(q *http.Request) (bool, error) {
	v, err := query(q)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(v.Get("only_connected")) {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	}
	return false, badRequest("only_connected: want true or false")
}

// order is the body of a broadcast request.
type order struct {
	CIDs                []cid.Cid `json:"cids"`
	SecondsBeforeCancel uint32    `json:"seconds_before_cancel"` // broadcast_want_cancel only
}

// broadcast returns a route for a function that sends. Other than for other
// requests, there are no deadlines.
func (s *Server) broadcast(f func(context.Context, order) (any, error)) httprouter.Handle {
	guarded := s.withToken(func(w http.ResponseWriter, q *http.Request, _ httprouter.Params) {
		result, err := s.obey(w, q, f)
		s.answer(w, q, result, err)
	})
	return func(w http.ResponseWriter, q *http.Request, p httprouter.Params) {
		if !s.cfg.EnableBroadcast {
			// The old exporter's text, which its clients look for.
			s.answer(w, q, nil, badRequest("Bitswap probe not enabled"))
			return
		}
		guarded(w, q, p)
	}
}

func (s *Server) obey(w http.ResponseWriter, q *http.Request, f func(context.Context, order) (any, error)) (any, error) {
	o, err := readOrder(q.Body)
	if err != nil {
		return nil, err
	}
	if s.deps.Broadcaster == nil {
		return nil, absent("the network")
	}
	leave, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil {
		return nil, fmt.Errorf("lift the deadlines of a broadcast: %w", err)
	}
	ctx, cancel := context.WithCancel(q.Context())
	defer cancel()
	defer context.AfterFunc(s.stopped, cancel)()
	result, err := f(ctx, o)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // cannot fail: it succeeded above
	return result, err
}

const wantOrder = `want JSON as in {"cids":[{"/":"bafy..."}]}, and for broadcast_want_cancel "seconds_before_cancel":10 beside cids`

func readOrder(body io.Reader) (order, error) {
	var o order
	b, err := io.ReadAll(body)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return o, &Error{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is too long: want at most %d bytes", large.Limit)}
	}
	if err != nil {
		return o, badRequest("the body could not be read to its end")
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&o); err != nil || !json.Valid(b) {
		return o, badRequest("malformed body: " + wantOrder)
	}
	if len(o.CIDs) == 0 || len(o.CIDs) > maxBroadcast {
		return o, badRequest(fmt.Sprintf("cids has %d entries: want 1 to %d", len(o.CIDs), maxBroadcast))
	}
	seen := make(map[cid.Cid]bool, len(o.CIDs))
	unique := o.CIDs[:0]
	for i, c := range o.CIDs {
		if !c.Defined() || c.ByteLen() > event.MaxCIDBytes {
			return o, badRequest(fmt.Sprintf("cids[%d]: want a CID of at most %d bytes", i, event.MaxCIDBytes))
		}
		if !seen[c] {
			seen[c] = true
			unique = append(unique, c)
		}
	}
	o.CIDs = unique
	return o, nil
}

func (s *Server) want(ctx context.Context, o order) (any, error) {
	sent := s.deps.Broadcaster.Want(ctx, o.CIDs)
	return map[string][]WantSent{"peers": append([]WantSent{}, sent...)}, nil // never null
}

func (s *Server) cancel(ctx context.Context, o order) (any, error) {
	sent := s.deps.Broadcaster.Cancel(ctx, o.CIDs)
	return map[string][]CancelSent{"peers": append([]CancelSent{}, sent...)}, nil
}

func (s *Server) wantCancel(ctx context.Context, o order) (any, error) {
	if o.SecondsBeforeCancel > maxBeforeCancel {
		return nil, badRequest(fmt.Sprintf("seconds_before_cancel: want a whole number from 0 to %d", maxBeforeCancel))
	}
	sent := s.deps.Broadcaster.WantCancel(ctx, o.CIDs, time.Duration(o.SecondsBeforeCancel)*time.Second)
	return map[string][]WantCancelSent{"peers": append([]WantCancelSent{}, sent...)}, nil
}
