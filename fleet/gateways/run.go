package gateways

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/stream"
)

const (
	meetTime   = 30 * time.Second // for the first connection to the monitors' streams
	nodeTime   = 30 * time.Second // for one request to a node
	endTime    = time.Minute      // for removing all blocks at the end
	settleTime = 3 * time.Second  // until what monitors saw has come here
	agentTime  = 5 * time.Second
	maxBody    = 1 << 20 // of a gateway's answer that is read
)

// run is one run.
type run struct {
	Config
	nodes []node
	pace  *rate.Limiter

	running sync.WaitGroup // everything that ends with the run

	mu      sync.Mutex
	readers []Reader
	blocks  map[cid.Cid]*search // by the CID; the control's too
}

// search is what is searched for with one block.
type search struct {
	block  block
	result Gateway
	began  time.Time // of the first request; zero: none was sent
	peers  []*asked
	early  []peer.ID // that asked before
}

// Run searches for the nodes of all gateways. An error is one of the configuration, or that
// nothing can be searched for: what a single gateway does wrong is in the report. If ctx ends,
// the report has what was found until then.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r := &run{Config: cfg, pace: rate.NewLimiter(rate.Limit(cfg.Rate), 1), blocks: map[cid.Cid]*search{}, readers: make([]Reader, len(cfg.Monitors))}
	for _, m := range cfg.Monitors {
		if m.API != nil {
			r.nodes = append(r.nodes, node{m.API})
		}
	}
	out := &Report{Time: time.Now().UTC()}
	var all []*search
	for i := range len(cfg.Gateways) + 1 { // one for the control
		b, err := newBlock()
		if err != nil {
			return nil, err
		}
		s := &search{block: b}
		if i < len(cfg.Gateways) {
			s.result = Gateway{URL: cfg.Gateways[i], CID: b.cid.String(), Error: "it was not asked"}
			all = append(all, s)
		}
		r.blocks[b.cid] = s
	}

	reading, stop := context.WithCancel(ctx)
	defer func() { stop(); r.running.Wait() }()
	if err := r.read(reading); err != nil {
		return nil, err
	}
	defer r.clean(ctx)
	for c, s := range r.blocks {
		if s.result.URL == "" {
			if err := r.place(ctx, s.block); err != nil {
				return nil, err
			}
			r.running.Go(func() { r.provide(reading, c) })
		}
	}
	each := make(chan *search)
	var asking sync.WaitGroup
	for range min(atOnce, len(all)) {
		asking.Go(func() {
			for s := range each {
				r.search(reading, s)
			}
		})
	}
	for _, s := range all {
		each <- s
	}
	close(each)
	asking.Wait()
	_ = backoff.Sleep(ctx, settleTime) // an interrupt only shortens it

	r.report(ctx, out, all)
	if out.Found() == 0 && ctx.Err() != nil {
		return out, ctx.Err()
	}
	return out, nil
}

// read subscribes to all monitors, and returns when each is read or has failed. It is an error
// if none is.
func (r *run) read(ctx context.Context) error {
	var first sync.WaitGroup
	for i, m := range r.Monitors {
		r.readers[i] = Reader{Name: m.Name, Error: "it does not answer"}
		if m.Name == "" {
			r.readers[i].Name = m.Stream
		}
		o := m.Options
		o.Filter = stream.Filter{Kinds: []string{"message"}, Directions: []string{"received"}, Types: []string{"want_block", "want_have"}, Codecs: []string{"raw"}}
		first.Add(1)
		met := sync.OnceFunc(first.Done)
		o.Met = func(c *stream.Client) error {
			defer met()
			name := m.Name
			if name == "" {
				name = c.Monitor()
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.readers[i].Error = ""; event.CheckName(name) == nil {
				r.readers[i].Name = name
			}
			return nil
		}
		failed := func(err error) {
			defer met()
			r.mu.Lock()
			defer r.mu.Unlock()
			r.readers[i].Error = string(event.Clean(err.Error(), event.MaxNoteText))
		}
		r.running.Go(func() {
			err := o.Follow(ctx, m.Stream, func(e *stream.Event) error { r.event(i, e); return nil }, func(why error, _ time.Duration) { failed(why) })
			if err != nil {
				failed(err)
			}
			met()
		})
	}
	done := make(chan struct{})
	r.running.Go(func() { first.Wait(); close(done) })
	select {
	case <-done:
	case <-time.After(meetTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var why []error
	for _, m := range r.readers {
		if m.Error == "" {
			return nil
		}
		why = append(why, fmt.Errorf("monitor %s: %s", m.Name, m.Error))
	}
	return fmt.Errorf("no monitor can be read: %w", errors.Join(why...))
}

// event takes an event of a monitor.
func (r *run) event(monitor int, e *stream.Event) {
	out, err := e.ToEvent()
	if err != nil || out.Kind != event.KindMessage || out.Dir != event.Received {
		return
	}
	for i := range out.Wants {
		if !out.Wants[i].Cancel {
			r.want(monitor, out.Peer, out.Wants[i].CID)
		}
	}
}

// maxAsked bounds the peers of one block: whoever learns the CID can ask for it.
const maxAsked = 1000

func (r *run) want(monitor int, p peer.ID, c cid.Cid) {
	s := r.blocks[c]
	if s == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.began.IsZero() {
		if !slices.Contains(s.early, p) && len(s.early) < maxAsked {
			s.early = append(s.early, p)
		}
		return
	}
	at := slices.IndexFunc(s.peers, func(a *asked) bool { return a.id == p })
	if at < 0 {
		if len(s.peers) == maxAsked {
			return
		}
		at = len(s.peers)
		s.peers = append(s.peers, &asked{id: p, first: time.Now()})
	}
	if name := r.readers[monitor].Name; !slices.Contains(s.peers[at].monitors, name) {
		s.peers[at].monitors = append(s.peers[at].monitors, name)
	}
}

// place puts a block on every node; an error is that of all.
func (r *run) place(ctx context.Context, b block) error {
	var errs []error
	for _, n := range r.nodes {
		ctx, cancel := context.WithTimeout(ctx, nodeTime)
		if err := n.put(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("put a block on the node at %s: %w", n.url, err))
		}
		cancel()
	}
	if len(errs) == len(r.nodes) {
		return errors.Join(errs...)
	}
	return nil
}

// provide announces a block by every node. A node that cannot do it is found by the gateways
// that are connected to it alone.
func (r *run) provide(ctx context.Context, c cid.Cid) {
	for _, n := range r.nodes {
		ctx, cancel := context.WithTimeout(ctx, r.Wait)
		_ = n.provide(ctx, c)
		cancel()
	}
}

// clean removes all blocks, also after an interrupt.
func (r *run) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	for _, n := range r.nodes {
		for c := range r.blocks {
			_ = n.remove(ctx, c) // it may never have been there; the node's own collection removes it too
		}
	}
}

// search asks one gateway until it serves the block, or the tries or the time are over.
func (r *run) search(ctx context.Context, s *search) {
	set := func(change func(g *Gateway)) {
		r.mu.Lock()
		defer r.mu.Unlock()
		change(&s.result)
	}
	defer func() {
		if r.Each != nil {
			r.mu.Lock()
			g := s.result
			r.mu.Unlock()
			r.Each(g)
		}
	}()
	if ctx.Err() != nil {
		return
	}
	if err := r.place(ctx, s.block); err != nil {
		set(func(g *Gateway) { g.Error = string(event.Clean(err.Error(), event.MaxNoteText)) })
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	r.running.Go(func() { r.provide(ctx, s.block.cid) }) // it ends with the search
	client := r.client(s)
	defer client.CloseIdleConnections()
	for try := range r.Tries {
		if r.pace.Wait(ctx) != nil {
			return
		}
		set(func(g *Gateway) {
			if g.Requests = try + 1; try == 0 {
				s.began = time.Now()
			}
		})
		status, served, later, err := r.ask(ctx, client, s)
		set(func(g *Gateway) {
			if g.Served, g.Error = served, ""; status > 0 {
				g.Status = status
			}
			if err != nil {
				g.Error = string(event.Clean(err.Error(), event.MaxNoteText))
			}
		})
		if served || backoff.Sleep(ctx, max(later, r.Pause)) != nil {
			return
		}
	}
}

// client returns one that follows redirects to the gateway's own host, and to hosts below it, as
// gateways with a name for each CID have them.
func (r *run) client(s *search) *http.Client {
	own := ""
	if u, err := address(s.result.URL, s.block.cid.String()); err == nil {
		own = strings.TrimPrefix(u.Hostname(), s.block.cid.String()+".ipfs.")
	}
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext, TLSHandshakeTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(q *http.Request, via []*http.Request) error {
			if h := q.URL.Hostname(); len(via) > 3 || h != own && !strings.HasSuffix(h, "."+own) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// ask sends one request to a gateway. later is how long it wants to be left alone.
func (r *run) ask(ctx context.Context, client *http.Client, s *search) (status int, served bool, later time.Duration, err error) {
	u, err := address(s.result.URL, s.block.cid.String())
	if err != nil {
		return 0, false, 0, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, false, 0, err
	}
	q.Header.Set("User-Agent", r.Agent)
	q.Header.Set("Accept", "application/vnd.ipld.raw, */*;q=0.1")
	resp, err := client.Do(q)
	if err != nil {
		return 0, false, 0, err
	}
	defer resp.Body.Close()
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		later = time.Duration(min(n, 3600)) * time.Second
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case err != nil:
		return resp.StatusCode, false, later, err
	case resp.StatusCode != http.StatusOK:
		return resp.StatusCode, false, later, fmt.Errorf("status %d", resp.StatusCode)
	case !bytes.Equal(body, s.block.data):
		return resp.StatusCode, false, later, errors.New("the answer is not the block")
	}
	return resp.StatusCode, true, 0, nil
}

// report fills the report. Peers that asked for what no gateway was asked for are no gateway's.
func (r *run) report(ctx context.Context, out *Report, all []*search) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Monitors, out.Others, out.Gateways = slices.Clone(r.readers), []Peer{}, []Gateway{}
	var others []peer.ID
	for _, s := range r.blocks {
		for _, p := range s.early {
			if !slices.Contains(others, p) {
				others = append(others, p)
			}
		}
	}
	slices.SortFunc(others, func(a, b peer.ID) int { return strings.Compare(a.String(), b.String()) })
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), agentTime)
	defer cancel()
	agents := map[peer.ID]event.Text{}
	agent := func(p peer.ID) event.Text {
		for _, n := range r.nodes {
			if _, known := agents[p]; !known {
				if a := n.agent(ctx, p); a != "" {
					agents[p] = a
				}
			}
		}
		return agents[p]
	}
	for _, p := range others {
		out.Others = append(out.Others, Peer{ID: p.String(), Agent: agent(p), Monitors: []string{}})
	}
	for _, s := range all {
		g := s.result
		g.Peers = []Peer{}
		for _, a := range s.peers {
			if !slices.Contains(others, a.id) {
				slices.Sort(a.monitors)
				g.Peers = append(g.Peers, Peer{ID: a.id.String(), Agent: agent(a.id), Monitors: a.monitors, After: a.first.Sub(s.began).Seconds()})
			}
		}
		out.Gateways = append(out.Gateways, g)
	}
}
