package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
)

// errDone ends a complete flight.
var errDone = errors.New("done")

// flightKey identifies a request; callers with equal requests share one flight.
type flightKey struct {
	cid       cid.Cid
	recursive bool
	unique    bool // without repeated lines
}

// ref is a line of kubo's answer.
type ref struct {
	Ref string
	Err string
}

// flight is one request to a node, whose answer any number of callers can read.
type flight struct {
	key    flightKey
	cancel context.CancelFunc
	users  int // guarded by refsServer.mu

	mu      sync.Mutex
	lines   [][]byte
	end     error // errDone, or the error that ended it
	status  int   // the status if it ended before the first line
	changed chan struct{}
	preload *preload
	from    []netip.Addr // the callers
}

// join returns the flight for a key, started if there is none.
func (s *refsServer) join(key flightKey, from netip.Addr) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[key]
	if f == nil {
		if len(s.flights) >= maxRunning {
			return nil, fmt.Errorf("%d requests are running already: want fewer at a time", maxRunning)
		}
		if len(s.p.engine.nodes()) == 0 {
			return nil, errors.New("none of the nodes is connected")
		}
		ctx, cancel := context.WithTimeout(s.p.ctx, s.p.cfg.PreloadTimeout)
		f = &flight{key: key, cancel: cancel, changed: make(chan struct{}), from: []netip.Addr{from}}
		s.flights[key] = f
		s.p.engine.running(1)
		s.p.tasks.Go(func() {
			defer s.p.engine.running(-1)
			defer cancel()
			if err := s.p.engine.guard.Call("proxy: ask nodes for a preload", func() error { s.fly(ctx, f); return nil }); err != nil {
				f.add(nil, errors.New("internal error"), http.StatusInternalServerError)
			}
			s.mu.Lock()
			if s.flights[key] == f {
				delete(s.flights, key)
			}
			s.mu.Unlock()
		})
	}
	f.users++
	if f.users > 1 {
		f.mu.Lock()
		f.from = append(f.from, from)
		if f.preload != nil {
			s.p.engine.joinPreload(f.preload, from, 1)
		}
		f.mu.Unlock()
	}
	return f, nil
}

// part removes a caller from a flight; without callers it ends.
func (s *refsServer) part(f *flight, from netip.Addr) {
	s.mu.Lock()
	f.users--
	if f.users == 0 {
		f.cancel()
		if s.flights[f.key] == f {
			delete(s.flights, f.key)
		}
	}
	s.mu.Unlock()
	f.mu.Lock()
	if i := slices.Index(f.from, from); i >= 0 {
		f.from = slices.Delete(f.from, i, i+1)
	}
	if f.preload != nil {
		s.p.engine.joinPreload(f.preload, from, -1)
	}
	f.mu.Unlock()
}

// read returns the lines from i on, and the end if nothing follows; changed is closed when
// there is more to read.
func (f *flight) read(i int) (lines [][]byte, changed <-chan struct{}, end error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i < len(f.lines) {
		return f.lines[i:len(f.lines):len(f.lines)], nil, nil
	}
	return nil, f.changed, f.end
}

// refused returns the status of a flight that ended before its first line, otherwise 0.
func (f *flight) refused() (status int, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end == nil || f.status == 0 {
		return 0, ""
	}
	return f.status, string(event.Clean(f.end.Error(), 300))
}

// add appends a line, or the end.
func (f *flight) add(line []byte, end error, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if line != nil {
		f.lines = append(f.lines, line)
	}
	if end != nil && f.end == nil {
		f.end = end
		if len(f.lines) == 0 && !errors.Is(end, errDone) {
			f.status = status
		}
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// fly asks the nodes, in their order for the CID, until one answers.
func (s *refsServer) fly(ctx context.Context, f *flight) {
	var failed []error
	for _, d := range s.p.engine.orderOf(f.key.cid) {
		began, err := s.ask(ctx, f, d)
		if err == nil || began {
			f.add(nil, cmpErr(err, errDone), http.StatusBadGateway)
			return
		}
		failed = append(failed, fmt.Errorf("%s: %w", d.addr.name, err))
		if ctx.Err() != nil {
			break
		}
	}
	status := http.StatusBadGateway
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	case len(failed) == 0:
		status = http.StatusServiceUnavailable
		failed = append(failed, errors.New("none of the nodes is connected"))
	}
	s.p.cfg.Logger.Debug("proxy: a preload failed", "cid", f.key.cid, "err", errors.Join(failed...))
	f.add(nil, errors.Join(failed...), status)
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// ask requests the answer of one node; began: it has sent lines, so that no other node may be
// asked.
func (s *refsServer) ask(ctx context.Context, f *flight, d *downstream) (began bool, err error) {
	e := s.p.engine
	f.mu.Lock()
	way := e.openPreload(f.key.cid, d, f.from) // of all callers, also those who came while another node was asked
	f.preload = way
	f.mu.Unlock()
	defer e.closePreload(way)

	resp, err := s.p.rpc.post(ctx, d.addr, "refs", url.Values{
		"arg": {f.key.cid.String()}, "recursive": {strconv.FormatBool(f.key.recursive)}, "unique": {strconv.FormatBool(f.key.unique)},
	})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, maxRefLine), maxRefLine)
	n := 0
	for lines.Scan() {
		var r ref
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return n > 0, fmt.Errorf("refs: the answer is not kubo's: %w", err)
		}
		if r.Err != "" {
			return n > 0, fmt.Errorf("refs: %s", event.Clean(r.Err, 200))
		}
		c, err := cidtext.Parse(r.Ref)
		if err != nil {
			return n > 0, fmt.Errorf("refs: %q is not a CID", event.Clean(r.Ref, 100))
		}
		if n++; n > s.p.cfg.PreloadNodes {
			return true, fmt.Errorf("more than %d nodes", s.p.cfg.PreloadNodes)
		}
		e.allowPreload(way, c)
		line, err := json.Marshal(ref{Ref: r.Ref})
		if err != nil {
			return true, err
		}
		f.add(append(line, '\n'), nil, 0)
	}
	if err := lines.Err(); err != nil {
		return n > 0, fmt.Errorf("refs: %w", err)
	}
	if t := resp.Trailer.Get("X-Stream-Error"); t != "" {
		return n > 0, fmt.Errorf("refs: %s", event.Clean(t, 200))
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1024)) // so that the connection is used again
	return n > 0, nil
}

// running counts the requests to nodes.
func (e *engine) running(by int) {
	e.mu.Lock()
	e.refsRunning += by
	e.mu.Unlock()
}

// orderOf returns the connected nodes in the order in which to ask them.
func (e *engine) orderOf(c cid.Cid) []*downstream {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.order(&want{cid: c})
}
